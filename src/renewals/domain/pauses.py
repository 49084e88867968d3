"""Pauses: what is charged after one. Pure.

Paused time is never billed, and paid time is not billed again. A subscription that is resumed within the time that is
paid keeps its renewal date. Any other is billed from the day on which it is active again: its renewal date becomes that
day, and so does the day of the month that it renews on.

While a subscription is paused the sweep moves its renewal date past each day on which it would have renewed. The time
before such a date is not paid. So the sweep notes the date in the row as `passed_over_to`; a row whose renewal date is
another one was moved by somebody else, and is believed.
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
"""The attribute of a row that names the date to which the sweep has moved it in a pause."""


@dataclass(frozen=True, slots=True)
class Resumption:
    """What a resumption does. until: the new renewal date. skipped: the renewal dates that fell into the pause and
    stand nowhere yet."""

    until: date
    skipped: tuple[date, ...]


def was_passed_over(subscription: Subscription) -> bool:
    """Whether the sweep has set the row's renewal date in a pause, so that the time before it is not paid."""
    return bool(subscription.row.get(NOTE) == subscription.renewal_date.isoformat())


def was_resumed_by_hand(subscription: Subscription) -> bool:
    """Whether somebody has made the row active again after its pause, and left its date as the sweep had set it."""
    return subscription.status.is_live and was_passed_over(subscription)


def resumption(subscription: Subscription, today: date, history: History, items: Iterable[Item] = ()) -> Resumption:
    """What a paused subscription becomes when it is resumed today.

    Args:
        subscription: as it is while it is paused.
        today: the day on which it is active again.
        history: its latest periods.
        items: the latest items of its ledger, newest first, those passed over included.
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
    """As was_passed_over; earlier versions left no note, but the item of the date that was passed over."""
    if NOTE in subscription.row:
        return was_passed_over(subscription)
    date_now = subscription.renewal_date.isoformat()
    last = next((item for item in items if text(item, "renewal_date") < date_now), None)
    if last is None or last["status"] != Status.SKIPPED or last.get("reason") != Reason.PAUSED:
        return False
    return subscription.schedule.after(day(last, "renewal_date")) == subscription.renewal_date
