"""The events in the subscriptions table: rows written by hand, scheduled ends, and reminders. Pure.

Every other change of a row follows from a step of the ledger or from a request, and the ledger or the changes table is
the source of the event. A request raises the row's `version`. Each step of the ledger changes an attribute of _MARKS
together with the status or a date. A write that changes neither `version` nor an attribute of _MARKS counts as made by
hand.

A write that lowers `version`, the date of the last payment or the renewal date brings back an older row, and tells
nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, time, tzinfo
from decimal import Decimal

from renewals.domain.item_values import Item, fields, moment, text
from renewals.domain.news import By, Data, EventType, Fact, priced, text_of
from renewals.domain.pauses import NOTE
from renewals.domain.renewal import MailKind, MailState
from renewals.domain.row_attributes import ROW_ATTRIBUTES
from renewals.domain.subscription import ENDED_ON, MOVED_ON_AT, PAID_UNTIL, SubscriptionStatus, status_of

_MARKS = (
    "payment_status",
    "transaction_id",
    "last_payment",
    "next_attempt",
    "refused_payment_method",
    NOTE,
    ENDED_ON,
    MOVED_ON_AT,
)
_HISTORY = ("version", PAID_UNTIL, *_MARKS)
"""Attributes that only this system writes. If a new row has such an attribute, a request created the row, or somebody
put the row back from a backup. In both cases, the row is not a new subscription that somebody wrote by hand, and the
row tells nothing here."""

_MOVED = frozenset({"status", "renewal_date", "cancel_at"})
"""The attributes that people change by hand, and that the ledger's steps change as well."""

_NOT_TOLD = frozenset({"customer_id", "anchor_day", "test_clock"})
_OF_A_STATUS = {
    SubscriptionStatus.ACTIVE: EventType.RESUMED,
    SubscriptionStatus.PAST_DUE: EventType.PAST_DUE,
    SubscriptionStatus.PAUSED: EventType.PAUSED,
    SubscriptionStatus.CANCELED: EventType.ENDED,
    SubscriptionStatus.UNPAID: EventType.ENDED,
}
_DELETED = ("table", "deleted")
"""The `cause` of a fact begins with these two words if the fact is the deletion of a row."""

_REMINDER = f"reminder_{MailKind.UPCOMING}"


def told_of_row(old: Item | None, new: Item | None, at: datetime, record: str, zone: tzinfo = UTC) -> list[Fact]:
    """Return the facts of a write to a row.

    Args:
        old: the row before the write; None for a new row.
        new: the row after the write; None for a deleted row.
        at: the moment of the write.
        record: the id of the stream's record. The id identifies a write by hand, which leaves no id in the row.
        zone: the business's time zone, in which a scheduled end begins at midnight.

    Raises:
        KeyError, TypeError, ValueError: the row has no ids, or has a record of a reminder that cannot be read.
    """
    if new is None:
        return [_by_hand(EventType.ENDED, old or {}, at, ("deleted", record))]
    if old is None:
        is_new = not any(name in new for name in _HISTORY)
        return [_by_hand(EventType.CREATED, new, at, ("created",))] if is_new else []
    if _goes_back(old, new):
        return []
    known = {fact.key for fact in facts_of_row(old, zone)}
    facts = [fact for fact in facts_of_row(new, zone) if fact.key not in known]
    return facts + _changed(old, new, at, record)


def facts_of_row(row: Item, zone: tzinfo = UTC) -> list[Fact]:
    """Return the facts that the row itself keeps: a scheduled end that has come, and the reminder of the next renewal.
    Raises the errors of `told_of_row`."""
    facts = []
    if _REMINDER in row:
        sent = fields(row, _REMINDER)
        if MailState(text(sent, "state")).is_out and "at" in sent:
            told = {"period": text(sent, "period"), "amount": _amount(row), "currency": text_of(row, "currency")}
            cause = (text(sent, "period"),)
            facts.append(Fact(EventType.UPCOMING, *_ids(row), moment(sent, "at"), cause, told))
    end = text_of(row, ENDED_ON)
    if end is not None and status_of(row) is SubscriptionStatus.CANCELED:
        at = datetime.combine(date.fromisoformat(end), time(), zone)
        facts.append(Fact(EventType.ENDED, *_ids(row), at, ("scheduled", end), {"by": By.SCHEDULE.value}))
    return facts


def as_it_stands(fact: Fact, rows: Iterable[Item]) -> Fact:
    """Return the fact. If the fact is the deletion of a row whose subscription was moved to another customer, return an
    update of the subscription instead of the end.

    People move a row by hand in two writes: the row of the other customer is written, and the old row is deleted. The
    deletion looks like the end of the subscription, but the subscription goes on under the other customer.

    Args:
        fact: a fact of a write.
        rows: the subscription's rows after the write.
    """
    customers = {row.get("customer_id") for row in rows}
    if fact.cause[:2] != _DELETED or not customers or fact.customer_id in customers:
        return fact
    data: Data = {"by": By.TABLE.value, "changed": ["customer_id"]}
    return replace(fact, type=EventType.UPDATED, customer_id=None, data=data)


def _changed(old: Item, new: Item, at: datetime, record: str) -> list[Fact]:
    """Return the fact of a write by hand. A write by this system has no fact here, with one exception: the end of a
    past due status that somebody wrote by hand. The ledger has no refused attempt then, and does not tell the end."""
    if old.get("version") != new.get("version"):
        return []
    own = any(old.get(name) != new.get(name) for name in _MARKS)
    if own and _is_past_due_by_hand(old) and status_of(new) is SubscriptionStatus.ACTIVE:
        data: Data = {"by": By.RENEWAL.value, "changed": ["status"]}
        return [Fact(EventType.UPDATED, *_ids(new), at, ("step", record), data)]
    looked_at = ROW_ATTRIBUTES.keys() - _NOT_TOLD - (_MOVED if own else set())
    changed = sorted(name for name in looked_at if old.get(name) != new.get(name))
    if not changed:
        return []
    kind = EventType.UPDATED
    told: dict[str, str | list[str]] = {}
    if "status" in changed:
        kind = _of_status(old, new)
    elif "cancel_at" in changed:
        kind = EventType.CANCEL_SCHEDULED if "cancel_at" in new else EventType.RESUMED
    if kind is EventType.CANCEL_SCHEDULED:
        told["cancel_at"] = str(new["cancel_at"])
    if kind is EventType.UPDATED:
        told["changed"] = list(changed)
    return [_by_hand(kind, new, at, (record,), **told)]


def _is_past_due_by_hand(row: Item) -> bool:
    """Whether somebody set the row to past due by hand: a refused attempt names the next attempt in the row, too."""
    return status_of(row) is SubscriptionStatus.PAST_DUE and "next_attempt" not in row


def _of_status(old: Item, new: Item) -> EventType:
    """Return the event of a status that was written by hand."""
    status = status_of(new)
    if status is None:  # a status unknown to this system: the row is never charged, and is reported as a bad row
        return EventType.UPDATED
    if status is SubscriptionStatus.ACTIVE and status_of(old) is SubscriptionStatus.PAST_DUE:
        return EventType.RECOVERED
    return _OF_A_STATUS[status]


def _goes_back(old: Item, new: Item) -> bool:
    """Whether the write brings back an older row."""
    if _version(new) < _version(old):
        return True
    return any((text_of(new, name) or "") < (text_of(old, name) or "") for name in ("last_payment", "renewal_date"))


def _version(row: Item) -> Decimal | int:
    value = row.get("version")
    return 0 if value is None or isinstance(value, (str, bool, bytes, list, dict, frozenset)) else value


def _by_hand(kind: EventType, row: Item, at: datetime, cause: tuple[str, ...], **data: str | list[str]) -> Fact:
    return Fact(kind, *_ids(row), at, ("table", *cause), {"by": By.TABLE.value, **data})


def _ids(row: Item) -> tuple[str, str]:
    return text(row, "subscription_id"), text(row, "customer_id")


def _amount(row: Item) -> str:
    amount = row.get("amount")
    return priced(amount, text_of(row, "currency")) if isinstance(amount, Decimal) else str(amount)
