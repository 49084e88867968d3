"""A request to renew: what an execution of the workflow is asked to do. Here it is written as JSON, and read from JSON.

The same JSON is a message in the queue, the input of an execution and the `request` in ProcessPayment's event:

    subscription_id, customer_id    strings
    amount                          a decimal string, major units
    renewal_date                    YYYY-MM-DD; left out where no period is named
    event_type                      as Asks has it; left out, it is a renewal
    webhook_id                      as the webhook's sender named it; only in what a webhook asks for

A message may be older or younger than the version that reads it: a field is only ever added, and never renamed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from enum import StrEnum

from renewals.domain.errors import BadEvent
from renewals.domain.item_values import Item, text
from renewals.domain.strict_json import NotAnObject, read_object


class Asks(StrEnum):
    """What is asked for, by the request's `event_type`. A webhook can ask for RENEW alone."""

    RENEW = "subscription.renewal"
    REMIND = "subscription.reminder"
    """Nothing is charged: the customer is reminded before the period, where a reminder is owed."""
    SETTLE_REFUNDS = "subscription.refunds"
    """Nothing is charged: the gateway is asked about the refunds of the period."""


class NoRequest(BadEvent):
    """What was read is no request to renew. Names the field at fault, and never quotes what was sent.

    field: empty where there are no fields at all. reason: what is wrong, in words.
    """

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field or 'the message'} {reason}")
        self.field = field


@dataclass(frozen=True, slots=True)
class RenewalRequest:
    """What an execution is asked to do for one subscription.

    amount: major units; a claim to check, never an instruction.
    renewal_date: the one period that is meant, as the subscription's own renewal_date names it; None: whatever is due.
    webhook_id: None where no webhook asks.
    """

    subscription_id: str
    customer_id: str
    amount: Decimal
    renewal_date: date | None = None
    asks: Asks = Asks.RENEW
    webhook_id: str | None = None

    @classmethod
    def of_row(cls, row: Item, renewal_date: date | None, asks: Asks = Asks.RENEW) -> RenewalRequest:
        """A request about the subscription of a row, or of a renewal's item. A row that has ended may lack its amount:
        what is left to do is done without it."""
        amount = row.get("amount")
        claimed = amount if isinstance(amount, Decimal) else Decimal(0)
        return cls(text(row, "subscription_id"), text(row, "customer_id"), claimed, renewal_date, asks)

    def fields(self) -> dict[str, str]:
        """The request as the fields of its JSON."""
        told = {"subscription_id": self.subscription_id, "customer_id": self.customer_id}
        if self.renewal_date is not None:
            told["renewal_date"] = self.renewal_date.isoformat()
        told["amount"] = f"{self.amount:f}"
        if self.webhook_id is not None:
            return told | {"event_type": self.asks, "webhook_id": self.webhook_id}
        return told | ({"event_type": self.asks} if self.asks is not Asks.RENEW else {})

    def to_json(self) -> str:
        """The request as JSON."""
        return json.dumps(self.fields())

    @classmethod
    def from_json(cls, message: str) -> RenewalRequest:
        """The request that a text holds. Raises NoRequest."""
        try:
            return cls.from_fields(read_object(message))
        except NotAnObject:
            raise NoRequest("", "is not a JSON object") from None

    @classmethod
    def from_fields(cls, fields: Mapping[str, object]) -> RenewalRequest:
        """The request in the fields of a JSON object; those that this version does not know are ignored. Raises
        NoRequest."""
        return cls(
            subscription_id=_id(fields, "subscription_id"),
            customer_id=_id(fields, "customer_id"),
            amount=_amount(fields),
            renewal_date=_day(fields) if "renewal_date" in fields else None,
            asks=_asks(fields),
            webhook_id=_text(fields, "webhook_id") if "webhook_id" in fields else None,
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
