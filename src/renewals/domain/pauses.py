"""Pauses: the time that is charged after a pause. Pure.

Paused time is never billed, and paid time is not billed again. A subscription resumed within its paid time keeps its
renewal date. Every other subscription is billed from the day of the resumption: the renewal date becomes the day of the
resumption, and the anchor day follows the renewal date.

While a subscription is paused, the sweep moves the renewal date past each day on which the subscription would have
renewed. The time before a renewal date is ordinarily paid, but the time before a renewal date set by the sweep is not.
To tell the two apart, the sweep notes the date that the sweep has set in the row's attribute `passed_over_to`. If the
row's renewal date differs from the note, a person moved the row, and the person's date counts.

Decisions: D18, D19 (DECISIONS.md).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from renewals.domain.item_values import Item, day, text
from renewals.domain.reasons import Reason
from renewals.domain.renewal import Status
from renewals.domain.renewal_history import History
from renewals.domain.subscription import Subscription

NOTE = "passed_over_to"
"""The attribute of a row that holds the renewal date which the sweep set during a pause."""


@dataclass(frozen=True, slots=True)
class Resumption:
    """The effect of resuming a subscription.

    Attributes:
        until: the new renewal date.
        skipped: the renewal dates that fell into the pause and are not in the ledger yet.
    """

    until: date
    skipped: tuple[date, ...]


def was_passed_over(subscription: Subscription) -> bool:
    """Whether the sweep set the row's renewal date during a pause. The time before the date is not paid in that
    case."""
    return bool(subscription.row.get(NOTE) == subscription.renewal_date.isoformat())


def was_resumed_by_hand(subscription: Subscription) -> bool:
    """Whether a person set the paused row's status to active again and left the date that the sweep had set."""
    return subscription.status.is_live and was_passed_over(subscription)


def resumption(subscription: Subscription, today: date, history: History, items: Iterable[Item] = ()) -> Resumption:
    """Return the effect of resuming a paused subscription today.

    Args:
        subscription: the paused subscription.
        today: the day of the resumption.
        history: the subscription's latest periods.
        items: the latest items of the subscription's ledger, newest first, passed-over periods included.
    """
    put_back = history.paid.claimed_for(subscription.renewal_date)
    first = put_back.period_end if put_back is not None else subscription.renewal_date
    if first > today and not (put_back is None and _is_unpaid_before(subscription, items)):
        return Resumption(first, ())
    until = max(today, history.paid_until or today)
    standing = {item["renewal_date"] for item in items}
    due = subscription.schedule.due(first, today)
    return Resumption(until, tuple(day for day in due if day < until and day.isoformat() not in standing))


def _is_unpaid_before(subscription: Subscription, items: Iterable[Item]) -> bool:
    """Whether the time before the renewal date is unpaid, because the sweep moved the renewal date during a pause.

    Earlier versions left no note in the row. For such rows, the ledger's item of the passed-over date gives the answer.
    """
    if NOTE in subscription.row:
        return was_passed_over(subscription)
    date_now = subscription.renewal_date.isoformat()
    last = next((item for item in items if text(item, "renewal_date") < date_now), None)
    if last is None or last["status"] != Status.SKIPPED or last.get("reason") != Reason.PAUSED:
        return False
    return subscription.schedule.after(day(last, "renewal_date")) == subscription.renewal_date
