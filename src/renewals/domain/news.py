"""The events that a stack tells the team's application: their names, envelopes, ids and order. Pure.

An event is derived from what was recorded. Each event has one source, so that no event is told by two tables:

    table                   its events                                                module
    renewals (the ledger)   payments, refused attempts, dunning, refunds, disputes    renewals.domain.news_of_periods
    changes                 changes requested by the API or a command                 renewals.domain.news_of_changes
    subscriptions           rows written by hand, scheduled ends, reminders           renewals.domain.news_of_rows

A write tells new facts only: the facts of the item after the write, without the facts of the item before the write. An
item that somebody puts back from a backup, or copies into the table, tells nothing: news_of_periods, news_of_rows and
event_publisher.stream have rules that recognize such an item.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from hashlib import sha256
from typing import TYPE_CHECKING

from renewals.domain import currencies
from renewals.domain.errors import BadRow

if TYPE_CHECKING:
    from renewals.domain.item_values import Item

type Data = Mapping[str, str | int | list[str] | None]
"""The facts of an event: ids, amounts, dates, statuses. Never personal data."""


class EventType(StrEnum):
    """The names of the events. docs/events.md explains each."""

    CREATED = "subscription.created"
    UPDATED = "subscription.updated"
    PAUSED = "subscription.paused"
    RESUMED = "subscription.resumed"
    CANCEL_SCHEDULED = "subscription.cancel_scheduled"
    ENDED = "subscription.ended"
    PAST_DUE = "subscription.past_due"
    RECOVERED = "subscription.recovered"
    PAID = "renewal.paid"
    FAILED = "renewal.failed"
    ACTION_REQUIRED = "renewal.action_required"
    REFUNDED = "renewal.refunded"
    REFUND_FAILED = "renewal.refund_failed"
    DISPUTED = "renewal.disputed"
    UPCOMING = "renewal.upcoming"

    @property
    def is_about_subscription(self) -> bool:
        """Whether the event tells how the subscription stands, and carries the subscription's status."""
        return self.startswith("subscription.")


class By(StrEnum):
    """The cause of an event about a subscription."""

    REQUEST = "request"
    """Somebody asked for the change, by the API or by a command."""
    DISPUTE = "dispute"
    """A chargeback of a payment ends the subscription."""
    RENEWAL = "renewal"
    """A payment, a refused payment or dunning changed the subscription."""
    SCHEDULE = "schedule"
    """The day in `cancel_at` came."""
    TABLE = "table"
    """Somebody wrote the row by hand."""


@dataclass(frozen=True, slots=True)
class Fact:
    """A fact worth an event.

    Attributes:
        customer_id: None if the source does not name the customer.
        cause: the ids that distinguish the fact from all other facts of the same type and subscription.
    """

    type: EventType
    subscription_id: str
    customer_id: str | None
    occurred_at: datetime
    cause: tuple[str, ...]
    data: Data

    @property
    def key(self) -> tuple[str, ...]:
        """The identity of the fact within its deployment."""
        return (self.type, self.subscription_id, *self.cause)


@dataclass(frozen=True, slots=True)
class SubscriptionNow:
    """How a subscription stands when an event about the subscription is made.

    Attributes:
        status: None if the row is gone, or has a status unknown to this system.
        customer_id: None if the row is gone.
        entitled_until: the first day, YYYY-MM-DD, on which the customer is not entitled; today or earlier if the
            customer is not entitled now, None if no such day is known.
    """

    status: str | None
    customer_id: str | None
    entitled_until: str | None


@dataclass(frozen=True, slots=True)
class News:
    """A fact with its place among the events of the subscription.

    Attributes:
        sequence: rises within a subscription. For JavaScript, the number stays below 2**53.
    """

    fact: Fact
    sequence: int

    def event(self, deployment: str, standing: SubscriptionNow) -> dict[str, object]:
        """Return the envelope of the event. deployment: the deployment that tells the event."""
        fact = self.fact
        told = {"status": standing.status} if fact.type.is_about_subscription else {}
        return {
            "id": event_id(deployment, fact),
            "type": fact.type.value,
            "occurred_at": fact.occurred_at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "sequence": self.sequence,
            "subscription_id": fact.subscription_id,
            "customer_id": fact.customer_id or standing.customer_id,
            "entitled_until": standing.entitled_until,
            "data": {**fact.data, **told},
        }


def event_id(deployment: str, fact: Fact) -> str:
    """Return the id of an event. The same fact has the same id, however often and from wherever the fact is told."""
    told = json.dumps([deployment, *fact.key], separators=(",", ":"))
    return f"evt_{sha256(told.encode()).hexdigest()[:40]}"


_SECOND = timedelta(seconds=1)
_HALF_HOUR = timedelta(minutes=30)
_MOST_AT_ONCE = 1000
"""The number of facts of a write that get sequences of their own. The sequences are a microsecond apart, and all lie in
the second of the write: the first fact comes early enough in the second to leave room for 999 further facts. Facts
beyond the thousandth share the last sequence."""


def sequence(committed: datetime, recorded: datetime | None, rank: int) -> int:
    """Return the sequence of a fact, in microseconds.

    DynamoDB names the second in which a write was committed, and the committed second decides first. Within the second,
    the moment that the writing function recorded in the item decides. DynamoDB does not tell which of two writes to
    different tables came first, and only the clocks of the writing functions show the order.

    A test clock changes the day and keeps the local time of day. The recorded moment is then wrong by whole days. If
    daylight saving time begins or ends between the real day and the day of the test clock, the error is larger or
    smaller by an hour, or in a few places by half an hour. The error is therefore always a whole number of half hours.
    Whole half hours are left out of the difference between the recorded moment and the second.

    Args:
        committed: the moment of the write, in whole seconds.
        recorded: the moment in the item; None for a row of the subscriptions table, which records no such moment.
        rank: the place of the fact among the facts of the same write.
    """
    second = int(committed.timestamp())
    start = datetime.fromtimestamp(second, UTC)
    within = timedelta(0)
    if recorded is not None:
        within = (recorded - start + _HALF_HOUR / 2) % _HALF_HOUR - _HALF_HOUR / 2
    room = _SECOND - timedelta(microseconds=_MOST_AT_ONCE)
    within = min(max(within, timedelta(0)), room)
    return second * 1_000_000 + within // timedelta(microseconds=1) + min(rank, _MOST_AT_ONCE - 1)


def priced(amount: Decimal, currency: str | None) -> str:
    """Return the amount with the decimals of its currency. DynamoDB keeps no zeros at the end: 49.90 becomes 49.9.

    Somebody may have written a row by hand with too many decimals, such as 4.999 EUR, or with an unknown currency. The
    amount of such a row is returned exactly.
    """
    try:
        written = currencies.written(amount, currency or "")
    except BadRow:
        return f"{amount:f}"
    return written if Decimal(written) == amount else f"{amount:f}"


def text_of(item: Item, name: str) -> str | None:
    """Return the text of an attribute; None for an absent attribute or a value of another type."""
    value = item.get(name)
    return value if isinstance(value, str) else None
