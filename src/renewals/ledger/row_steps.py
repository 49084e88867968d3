"""Steps in which a subscription moves without a charge. All functions return steps as values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING

from renewals.domain import pauses
from renewals.domain.item_values import Value
from renewals.domain.reasons import Reason
from renewals.domain.renewal import Renewal, Status
from renewals.domain.subscription import ENDED_ON, MOVED_ON_AT, SubscriptionStatus, anchor_change, status_of
from renewals.ledger.steps import MOST_ACTIONS, Put, Row, Step, Table, Term, Update, as_read, row_key
from renewals.runtime.attribute_values import TransactAction

if TYPE_CHECKING:
    from renewals.domain.subscription import Subscription

WATCHED = (
    "status",
    "renewal_date",
    "cancel_at",
    "amount",
    "currency",
    "interval",
    "interval_count",
    "anchor_day",
    "gateway_customer",
    "payment_method",
    "version",
)
"""The attributes of a subscription that decide about a charge, and the number of its last requested change."""

ANCHORED = ("interval", "anchor_day")
"""The attributes from which, with the date, the anchor of the next date is derived."""

NOT_REFUSED: dict[str, None] = {"next_attempt": None, "refused_payment_method": None}
"""The changes that remove the marks of a refused period from its subscription."""

MOST_SKIPPED = MOST_ACTIONS - 4
"""The highest number of passed-over dates with an item of their own; further dates are only counted. The rest of the
transaction is the claim itself, the check of the row and two guards."""


def move_on(renewal: Renewal, row: Row, now: datetime) -> Step[None]:
    """Move the row past a finished period, after somebody has moved the row back to the period's date. The moment in
    the row tells the step from a change by hand."""
    anchor = anchor_change(row, renewal.period_end, renewal.anchor_day)
    return _not_refused(row, {"renewal_date": renewal.period_end, pauses.NOTE: None, MOVED_ON_AT: now, **anchor})


def forget_refusal(row: Row) -> Step[None]:
    """Remove the marks of a refusal from a subscription without a refused period. row: the row before the step."""
    return Step(None, ()) if NOT_REFUSED.keys().isdisjoint(row) else _not_refused(row, {})


def _not_refused(row: Row, changes: Mapping[str, object]) -> Step[None]:
    active = {"status": SubscriptionStatus.ACTIVE} if status_of(row) is SubscriptionStatus.PAST_DUE else {}
    condition = as_read(row, ("renewal_date", "status", *ANCHORED))
    every = {**NOT_REFUSED, **active, **changes}
    return Step(None, (Update(Table.SUBSCRIPTIONS, _key(row), every, condition),))


def end(row: Row) -> Step[None]:
    """Record that the subscription has reached the date in its `cancel_at`. row: the row before the step."""
    changes = {"status": SubscriptionStatus.CANCELED, ENDED_ON: row["cancel_at"]}
    condition = as_read(row, ("renewal_date", "status", "cancel_at"))
    return Step(None, (Update(Table.SUBSCRIPTIONS, _key(row), changes, condition),))


def resume(subscription: Subscription, until: date, now: datetime) -> Step[None]:
    """Move the renewal date to the first day to be billed, after somebody has set a paused subscription to active by
    hand."""
    return pass_over(subscription, (), until, now, resumed={pauses.NOTE: None})


def pass_over(
    subscription: Subscription,
    days: tuple[date, ...],
    until: date,
    now: datetime,
    *,
    resumed: Mapping[str, object] | None = None,
    recorded: Sequence[TransactAction] = (),
) -> Step[None]:
    """Move a paused subscription past today, and record each of `days` as a skipped period.

    Args:
        until: the subscription's new date.
        resumed: further changes of the row, if the subscription is resumed in the same step.
        recorded: further actions of the transaction, two at most.
    """
    kept = with_items(days)
    item = {
        "subscription_id": subscription.subscription_id,
        "customer_id": subscription.customer_id,
        "status": Status.SKIPPED,
        "reason": Reason.PAUSED,
        "periods_passed_over": len(days),
        "touched_at": now,
    }
    free = Term("attribute_not_exists(subscription_id) OR #status = :skipped", {":skipped": Status.SKIPPED})
    puts = [Put(Table.RENEWALS, item | {"renewal_date": day}, (free,), may_stand=True) for day in kept]
    moved = {"renewal_date": until, pauses.NOTE: until, **anchor_change(subscription.row, until), **(resumed or {})}
    move = Update(Table.SUBSCRIPTIONS, row_key(subscription), moved, as_read(subscription.row, WATCHED))
    return Step(None, (*puts, move), beside=recorded)


def with_items[Day](days: Sequence[Day], most: int = MOST_SKIPPED) -> tuple[Day, ...]:
    """Return those passed-over periods that are written as items, at most `most`: the first period, and the latest
    periods."""
    return (*days[:1], *days[1:][-(most - 1) :])


def _key(row: Row) -> dict[str, Value]:
    return {name: row[name] for name in ("subscription_id", "customer_id")}
