"""A request: the work that an execution of the workflow is asked to do, in most cases a renewal. This module writes
requests as JSON, and reads requests from JSON.

The same JSON serves as a message in the queue, as the input of an execution and as the `request` in ProcessPayment's
event:

    subscription_id, customer_id    strings
    amount                          a decimal string, major units
    renewal_date                    YYYY-MM-DD; absent if no period is named
    event_type                      a member of Asks; if absent, a renewal
    webhook_id                      the id given by the webhook's sender; only in requests by webhook
    gateway_event                   the id of the gateway's event that caused the request

A message may be older or newer than the version that reads the message. Fields may therefore be added, but never be
renamed.

Decision: D202 (DECISIONS.md).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import TYPE_CHECKING

from renewals.domain.errors import BadEvent
from renewals.domain.item_values import Item, text
from renewals.domain.strict_json import NotAnObject, read_object

if TYPE_CHECKING:
    from renewals.domain.renewal import Renewal


class Asks(StrEnum):
    """The kind of work that a request asks for, stored as `event_type`. A webhook may only ask for RENEW.

    The members `customer.*` are requests of the customer's page (renewals.domain.customer_request). Sent through the
    queue or the workflow, a request of the customer's page changes nothing.
    """

    RENEW = "subscription.renewal"
    REMIND = "subscription.reminder"
    """Nothing is charged: the customer gets a reminder of the period, if a reminder is owed."""
    SETTLE_REFUNDS = "subscription.refunds"
    """Nothing is charged: the gateway is asked about the refunds of the period."""
    CONFIRM = "subscription.confirmation"
    """Nothing is charged: the customer gets the owed confirmations of changes."""
    OPEN_CARD_PAGE = "customer.open_card_page"
    TAKE_CARD = "customer.take_card"
    CONFIRM_ON_SESSION = "customer.confirm_on_session"

    @property
    def is_of_customer(self) -> bool:
        """Whether the customer's page makes the request."""
        return self.startswith("customer.")


class NoRequest(BadEvent):
    """The JSON is no request to renew. The message names the field at fault and never quotes the JSON.

    Attributes:
        field: the field at fault; empty if the JSON has no fields at all.
    """

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field or 'the message'} {reason}")
        self.field = field


@dataclass(frozen=True, slots=True)
class RenewalRequest:
    """The work that an execution is asked to do for one subscription.

    Attributes:
        amount: the amount that the sender expects, in major units. The amount is checked, and never decides what is
            charged.
        renewal_date: the requested period, by the subscription's own renewal date; None for whatever is due.
        webhook_id: None for a request without webhook.
        gateway_event: None for a request without an event of the gateway. With an event, the gateway is asked about a
            refused payment even between the dunning dates, and about a card even if the card is known.
    """

    subscription_id: str
    customer_id: str
    amount: Decimal
    renewal_date: date | None = None
    asks: Asks = Asks.RENEW
    webhook_id: str | None = None
    gateway_event: str | None = None

    @classmethod
    def of_row(cls, row: Item, renewal_date: date | None, asks: Asks = Asks.RENEW) -> RenewalRequest:
        """Build a request from the row of a subscription, or from the item of a renewal.

        The row of an ended subscription may lack its amount: the remaining work needs no amount.
        """
        amount = row.get("amount")
        claimed = amount if isinstance(amount, Decimal) else Decimal(0)
        return cls(text(row, "subscription_id"), text(row, "customer_id"), claimed, renewal_date, asks)

    @classmethod
    def of_period(cls, period: Renewal, gateway_event: str, asks: Asks = Asks.RENEW) -> RenewalRequest:
        """Build a request for a claimed period, because of an event of the gateway."""
        return cls(
            period.subscription_id,
            period.customer_id,
            period.amount,
            period.renewal_date,
            asks,
            gateway_event=gateway_event,
        )

    def fields(self) -> dict[str, str]:
        """Return the request as the fields of its JSON."""
        told = {"subscription_id": self.subscription_id, "customer_id": self.customer_id}
        if self.renewal_date is not None:
            told["renewal_date"] = self.renewal_date.isoformat()
        told["amount"] = f"{self.amount:f}"
        if self.gateway_event is not None:
            told["gateway_event"] = self.gateway_event
        if self.webhook_id is not None:
            return told | {"event_type": self.asks, "webhook_id": self.webhook_id}
        return told | ({"event_type": self.asks} if self.asks is not Asks.RENEW else {})

    def to_json(self) -> str:
        """Return the request as JSON."""
        return json.dumps(self.fields())

    @classmethod
    def from_json(cls, message: str) -> RenewalRequest:
        """Read the request from JSON text. Raises NoRequest."""
        try:
            return cls.from_fields(read_object(message))
        except NotAnObject:
            raise NoRequest("", "is not a JSON object") from None

    @classmethod
    def from_fields(cls, fields: Mapping[str, object]) -> RenewalRequest:
        """Read the request from the fields of a JSON object. Fields unknown to this version are ignored. Raises
        NoRequest."""
        return cls(
            subscription_id=_id(fields, "subscription_id"),
            customer_id=_id(fields, "customer_id"),
            amount=_amount(fields),
            renewal_date=_day(fields) if "renewal_date" in fields else None,
            asks=_asks(fields),
            webhook_id=_text(fields, "webhook_id") if "webhook_id" in fields else None,
            gateway_event=_text(fields, "gateway_event") if "gateway_event" in fields else None,
        )


def _text(fields: Mapping[str, object], name: str) -> str:
    if name not in fields:
        raise NoRequest(name, "is missing")
    value = fields[name]
    if not isinstance(value, str):
        raise NoRequest(name, "is not a string")
    return value


def _id(fields: Mapping[str, object], name: str) -> str:
    value = _text(fields, name)
    if not value:
        raise NoRequest(name, "is empty")
    return value


def _amount(fields: Mapping[str, object]) -> Decimal:
    value = fields.get("amount")
    written = str(value) if type(value) is int else _text(fields, "amount")
    try:
        amount = Decimal(written)
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite():
        raise NoRequest("amount", "is not a decimal string such as 29.99")
    return amount


def _day(fields: Mapping[str, object]) -> date:
    try:
        return date.fromisoformat(_text(fields, "renewal_date"))
    except ValueError:
        raise NoRequest("renewal_date", "is not a date, YYYY-MM-DD") from None


def _asks(fields: Mapping[str, object]) -> Asks:
    try:
        return Asks(_text(fields, "event_type")) if "event_type" in fields else Asks.RENEW
    except ValueError:
        raise NoRequest("event_type", f"is none of {', '.join(Asks)}") from None
