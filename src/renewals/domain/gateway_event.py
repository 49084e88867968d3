"""An event of the gateway, in the form of a message in the queue. The event is a mere hint: the event names an object,
and the reader of the message asks the gateway about the object. Pure.

The form of a message, in JSON:

    event           evt_..., the gateway's id of the event
    type            a member of GatewayEventType
    created         seconds since 1970, by the gateway's clock
    livemode        whether the event is about real money
    object          the id of the object that the event is about, such as pi_..., re_... or dp_...
    payment_intent  the id of the payment; absent if the event names no payment
    metadata        the entries of the object's metadata that this system has written

The gateway may also send its events by EventBridge. Such a message is the envelope of EventBridge, with the whole event
of the gateway under `detail`, and is read as the same hint.

A message of the form above holds no personal data. A message may be older or newer than the version that reads the
message. Fields may therefore be added, but never be renamed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from renewals.domain.errors import BadEvent
from renewals.domain.strict_json import NotAnObject, read_object

_ID = re.compile(r"[A-Za-z0-9_]{1,255}", re.ASCII)
_TYPE = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)+", re.ASCII)
_OURS = ("subscription_id", "renewal_date", "attempt", "deployment", "request")
_LONGEST_VALUE = 500  # https://docs.stripe.com/api/metadata


class GatewayEventType(StrEnum):
    """A type of event on which this system acts, spelled as the gateway spells the type. Events of every other type are
    acknowledged and ignored."""

    PAYMENT_SUCCEEDED = "payment_intent.succeeded"
    PAYMENT_FAILED = "payment_intent.payment_failed"
    PAYMENT_CANCELED = "payment_intent.canceled"
    PAYMENT_PROCESSING = "payment_intent.processing"
    REFUND_CREATED = "refund.created"
    REFUND_UPDATED = "refund.updated"
    REFUND_FAILED = "refund.failed"
    DISPUTE_CREATED = "charge.dispute.created"
    DISPUTE_UPDATED = "charge.dispute.updated"
    DISPUTE_WITHDRAWN = "charge.dispute.funds_withdrawn"
    DISPUTE_REINSTATED = "charge.dispute.funds_reinstated"
    DISPUTE_CLOSED = "charge.dispute.closed"
    FRAUD_WARNING = "radar.early_fraud_warning.created"
    CARD_DETACHED = "payment_method.detached"
    CARD_SAVED = "checkout.session.completed"

    @property
    def of_object(self) -> str:
        """The kind of object that events of the type are about, in the gateway's spelling, such as "charge.dispute"."""
        return self.rpartition(".")[0]

    @property
    def is_of_each_renewal(self) -> bool:
        """Whether each renewal causes an event about a payment, such as an event of this type: a night's events of the
        type may be millions."""
        return self.startswith("payment_intent.")


class NotTaken(BadEvent):
    """This system does not act on the event. The text of the error is a short reason, and never quotes the event."""


class UnknownType(NotTaken):
    """The event has no fault, but this version does not act on the type of the event. A different version may."""


class PassedOver(NotTaken):
    """The gateway sent the event by EventBridge, and this system does not act on the event. The reason may be the type
    of the event, or a different account."""


@dataclass(frozen=True, slots=True)
class GatewayEvent:
    """A hint of the gateway; the module describes the fields. `object_id` is the field `object`."""

    event: str
    type: GatewayEventType
    created: int
    livemode: bool
    object_id: str
    payment_intent: str | None
    metadata: Mapping[str, str]

    @classmethod
    def of_gateway(cls, event: Mapping[str, object]) -> GatewayEvent:
        """Read an event in the gateway's own form (https://docs.stripe.com/api/events/object). Raises NotTaken."""
        if event.get("object") != "event":  # a "v2.core.event" comes without its object
            raise NotTaken("no event with its object")
        if event.get("account") is not None or event.get("context") is not None:
            raise NotTaken("an event of a different account")
        data = event.get("data")
        found = data.get("object") if isinstance(data, dict) else None
        if not isinstance(found, dict):
            raise NotTaken("no event with its object")
        kind = _type(event)
        return cls._of(
            {
                "event": event.get("id"),
                "type": kind,
                "created": event.get("created"),
                "livemode": event.get("livemode"),
                "object": found.get("id"),
                "payment_intent": _payment(kind, found),
                "metadata": found.get("metadata") or {},
            }
        )

    @classmethod
    def from_json(cls, message: str) -> GatewayEvent:
        """Read the event from a message of the queue. Raises NotTaken, UnknownType or PassedOver."""
        try:
            fields = read_object(message)
        except NotAnObject as fault:
            raise NotTaken(f"the message {fault}") from None
        sent_by_bus = fields.get("detail")
        if not isinstance(sent_by_bus, dict):
            return cls._of(fields)
        try:
            return cls.of_gateway(sent_by_bus)
        except NotTaken as why:
            raise PassedOver(str(why)) from None

    def to_json(self) -> str:
        """Return the event as a message of the queue."""
        fields = {
            "event": self.event,
            "type": self.type,
            "created": self.created,
            "livemode": self.livemode,
            "object": self.object_id,
            "metadata": dict(self.metadata),
        }
        return json.dumps(fields | ({"payment_intent": self.payment_intent} if self.payment_intent else {}))

    @classmethod
    def _of(cls, fields: Mapping[str, object]) -> GatewayEvent:
        created, live, metadata = (fields.get(name) for name in ("created", "livemode", "metadata"))
        if not isinstance(created, int) or not isinstance(live, bool) or not isinstance(metadata, dict):
            raise NotTaken("created, livemode or metadata is of a different type")
        kept = {name: metadata[name] for name in _OURS if name in metadata}
        if not all(isinstance(value, str) and len(value) <= _LONGEST_VALUE for value in kept.values()):
            raise NotTaken("the metadata hold a value that is no text")
        payment = fields.get("payment_intent")
        return cls(
            event=_id(fields, "event"),
            object_id=_id(fields, "object"),
            payment_intent=None if payment is None else _id(fields, "payment_intent"),
            created=created,
            livemode=live,
            metadata=kept,
            type=_type(fields),  # checked last: UnknownType promises that the message has no other fault
        )


def _type(fields: Mapping[str, object]) -> GatewayEventType:
    named = fields.get("type")
    if not isinstance(named, str) or not _TYPE.fullmatch(named):
        raise NotTaken("type is no type of event")
    try:
        return GatewayEventType(named)
    except ValueError:
        raise UnknownType("an event of a type that is not acted on") from None


def _id(fields: Mapping[str, object], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise NotTaken(f"{name} is no id")
    return value


def _payment(kind: GatewayEventType, found: Mapping[str, object]) -> object:
    """Return the id of the payment that an object belongs to. The gateway names the payment by its id, or puts the
    whole payment in the place of the id."""
    if kind.startswith("payment_intent."):
        return found.get("id")
    named = found.get("payment_intent")
    return named.get("id") if isinstance(named, dict) else named
