"""The paid days of a subscription. Pure.

A billing period is a span of days, and no day is paid twice, whoever moved a renewal date. A period is therefore only
claimed if its span overlaps no paid span, earlier or later. A fully refunded period is not paid any more: a period that
begins on a different day may bill the refunded days. No period may begin on the renewal date of the refunded period
again, since the ledger already has an item for the date.

Decisions: D21, D22 (DECISIONS.md).
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

from renewals.domain.errors import BadRow
from renewals.domain.item_values import Item
from renewals.domain.renewal_history import History
from renewals.domain.subscription import PAID_UNTIL, Subscription, anchor_change


def check(start: date, end: date, history: History) -> None:
    """Refuse the period [start, end) if a day of the period is already paid.

    Raises:
        BadRow: names `renewal_date`, and the paid period.
    """
    paid = history.paid_within(start, end)
    if paid is None:
        return
    days = f"{paid.renewal_date} to {paid.period_end - timedelta(days=1)}"
    if paid.renewal_date <= start:
        raise BadRow("renewal_date", f"falls into a paid period, {days}")
    last = end - timedelta(days=1)
    raise BadRow("renewal_date", f"begins a period, {start} to {last}, that overlaps a paid period, {days}")


def in_the_ledger() -> BadRow:
    """Return the error for a claim whose item already exists in the ledger."""
    return BadRow("renewal_date", "the ledger already has a period from this date on")


def check_free(start: date, dates: Sequence[date], known: History, latest: History) -> None:
    """Refuse the claim of the period beginning on `start` if the claim would overwrite an item that must stay.

    The claim is refused if a paid period begins on `start`, even a fully refunded period. The claim is also refused if
    a period older than the latest periods, paid or unpaid, begins on one of `dates`. The charge does not read so old a
    period, and cannot replace the period's item.

    Args:
        start: the first day of the period.
        dates: the dates to pass over, and `start`.
        known: at least the periods from the earliest of `dates` on.
        latest: the latest periods, which the charge reads before each claim. Apart from a paid period on `start`, the
            latest periods are no obstacle. An unsuccessful period on `start` is replaced by the claim. On the other
            dates, paid periods stay unchanged, and unsuccessful periods are recorded as passed over.

    Raises:
        BadRow: names `renewal_date`.
    """
    older = {r.renewal_date for r in known} - {r.renewal_date for r in latest}
    if any(r.renewal_date == start for r in known.ever_paid) or not older.isdisjoint(dates):
        raise in_the_ledger()


def past_what_is_paid(subscription: Subscription, history: History) -> Subscription:
    """Return the subscription with its renewal date moved past the paid time.

    A charge does the same before billing, if somebody has put the renewal date back into paid time.
    """
    ever_paid = history.ever_paid
    while True:
        paid = ever_paid.claimed_for(subscription.renewal_date)
        if paid is None or paid.period_end <= subscription.renewal_date:
            return subscription
        change = anchor_change(subscription.row, paid.period_end, paid.anchor_day)
        anchor = change.get("anchor_day", subscription.row.get("anchor_day"))
        moved = {**subscription.row, "renewal_date": paid.period_end.isoformat(), "anchor_day": anchor}
        subscription = replace(
            subscription,
            renewal_date=paid.period_end,
            schedule=replace(
                subscription.schedule, anchor_day=int(anchor) if isinstance(anchor, Decimal) else paid.period_end.day
            ),
            row={name: value for name, value in moved.items() if value is not None},
        )


def paid_until(row: Item, end: date) -> str:
    """Return the new value of PAID_UNTIL for a row whose period up to `end` has just been paid."""
    known = row.get(PAID_UNTIL)
    return max(known, end.isoformat()) if isinstance(known, str) else end.isoformat()


def may_overlap(subscription: Subscription, *, unless_told: bool) -> bool:
    """Whether the row's renewal date lies before its PAID_UNTIL: the next period perhaps overlaps a paid period.

    unless_told: the answer for a row without PAID_UNTIL.
    """
    until = subscription.row.get(PAID_UNTIL)
    return subscription.renewal_date.isoformat() < until if isinstance(until, str) else unless_told
