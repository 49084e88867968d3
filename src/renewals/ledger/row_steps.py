"""Steps in which a subscription moves without a charge. Each function is one step, as a value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING

from renewals.domain import pauses
from renewals.domain.item_values import Value
from renewals.domain.reasons import Reason
from renewals.domain.renewal import Renewal, Status
from renewals.domain.subscription import ENDED_ON, SubscriptionStatus, anchor_change, status_of
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
"""The attributes of a subscription that decide about a charge, and the number of its last change on request."""

ANCHORED = ("interval", "anchor_day")
"""What the anchor of the next date is derived from, beside the date."""

NOT_REFUSED: dict[str, None] = {"next_attempt": None, "refused_payment_method": None}
"""The attributes of a subscription whose period stands refused: taken away when it does no more."""

MOST_SKIPPED = MOST_ACTIONS - 4
"""So many periods that are passed over get an item of their own; further ones are counted. A claim writes itself, too,
and checks the row and two guards."""


def move_on(renewal: Renewal, row: Row) -> Step[None]:
    """Put the row of a period that has ended, and was put back since, past that period."""
    anchor = anchor_change(row, renewal.period_end, renewal.anchor_day)
    return _not_refused(row, {"renewal_date": renewal.period_end, pauses.NOTE: None, **anchor})


def forget_refusal(row: Row) -> Step[None]:
    """Nothing of the subscription stands refused any more. row: as it was read."""
    return Step(None, ()) if NOT_REFUSED.keys().isdisjoint(row) else _not_refused(row, {})


def _not_refused(row: Row, changes: Mapping[str, object]) -> Step[None]:
    active = {"status": SubscriptionStatus.ACTIVE} if status_of(row) is SubscriptionStatus.PAST_DUE else {}
    condition = as_read(row, ("renewal_date", "status", *ANCHORED))
    every = {**NOT_REFUSED, **active, **changes}
    return Step(None, (Update(Table.SUBSCRIPTIONS, _key(row), every, condition),))


def end(row: Row) -> Step[None]:
    """Write that the subscription has come to the end that its `cancel_at` names. row: as it was read."""
    changes = {"status": SubscriptionStatus.CANCELED, ENDED_ON: row["cancel_at"]}
    condition = as_read(row, ("renewal_date", "status", "cancel_at"))
    return Step(None, (Update(Table.SUBSCRIPTIONS, _key(row), changes, condition),))


def resume(subscription: Subscription, until: date, now: datetime) -> Step[None]:
    """Move a subscription that somebody has made active again after its pause to the day it is billed from."""
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
    """Move a paused subscription past today; each of `days` is left as a skipped period. until: its new date.

    resumed: what else changes in its row, where it is resumed with it. recorded: further actions of that
    transaction, two at most.
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
    """Of the periods that are passed over, those that get an item: the first, and the latest."""
    return (*days[:1], *days[1:][-(most - 1) :])


def _key(row: Row) -> dict[str, Value]:
    return {name: row[name] for name in ("subscription_id", "customer_id")}
