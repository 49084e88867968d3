"""Which days of a subscription are paid. Pure.

A period is a span of days, and no day is paid twice, whoever moved a renewal date. So a period is only claimed if its
span meets no paid one, before or after it. A period that was refunded whole is not paid any more: the days in it may be
billed by another period, and its own date, which stands in the ledger, by none.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

from renewals.domain.errors import BadRow
from renewals.domain.item_values import Item
from renewals.domain.renewal_history import History
from renewals.domain.subscription import Subscription, anchor_change

PAID_UNTIL = "paid_until"
"""The attribute of a row that names the end of what was ever paid, the first day after it: ordinarily its date. Where
a refund gave days back, it still names their end, since a refund can fail weeks later."""


def check(start: date, end: date, history: History) -> None:
    """Refuse the period [start, end) where a day of it is paid already.

    Raises:
        BadRow: naming `renewal_date`, and the period that is paid.
    """
    paid = history.paid_within(start, end)
    if paid is None:
        return
    days = f"{paid.renewal_date} to {paid.period_end - timedelta(days=1)}"
    if paid.renewal_date <= start:
        raise BadRow("renewal_date", f"falls into a period that is paid, {days}")
    last = end - timedelta(days=1)
    raise BadRow("renewal_date", f"begins a period, {start} to {last}, that reaches into one that is paid, {days}")


def in_the_ledger() -> BadRow:
    """Why a claim is refused where an item that it would write stands in the ledger already."""
    return BadRow("renewal_date", "a period from here on is in the ledger already")


def check_free(start: date, dates: Sequence[date], known: History, latest: History) -> None:
    """Refuse the claim of the period that begins on `start` where one of its dates was claimed before: `start` itself
    and paid, as by a period that was refunded whole; or any of them, whatever became of it, behind the latest periods.

    dates: those that the claim passes over, with `start`. known: all periods from the first of them on. latest: those
    among them that the charge knows; what they have passed over or paid, the claim leaves alone, and those that came
    to nothing the claim replaces.

    Raises:
        BadRow: naming `renewal_date`.
    """
    older = {r.renewal_date for r in known} - {r.renewal_date for r in latest}
    if any(r.renewal_date == start for r in known.ever_paid) or not older.isdisjoint(dates):
        raise in_the_ledger()


def past_what_is_paid(subscription: Subscription, history: History) -> Subscription:
    """The subscription as a charge would move it first, where it was put back to a date that is paid."""
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
    """What the row names as the end of what was paid, once a period to `end` is paid too."""
    known = row.get(PAID_UNTIL)
    return max(known, end.isoformat()) if isinstance(known, str) else end.isoformat()


def may_overlap(subscription: Subscription, *, unless_told: bool) -> bool:
    """Whether the next period may begin before the end of what is paid, as far as the row itself says.

    unless_told: the answer for a row that does not name the end of what is paid.
    """
    until = subscription.row.get(PAID_UNTIL)
    return subscription.renewal_date.isoformat() < until if isinstance(until, str) else unless_told
