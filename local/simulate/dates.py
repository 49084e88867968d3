"""The dates of renewals, computed by the simulation's own arithmetic, so that the simulation need not trust the
product's.

A subscription's dates are counted from the first date, never from the previous date: the n-th date is n intervals after
the first.
"""

from collections.abc import Iterator
from datetime import date, timedelta
from functools import cache

_DAYS = {"day": 1, "week": 7}
_MONTHS = {"month": 1, "year": 12}


def renewal_dates(first: date, interval: str, count: int, anchor: int, last: date) -> Iterator[date]:
    """Yield every renewal date up to and including `last`. anchor: the day of the month that months and years aim
    at.
    """
    day, n = first, 0
    while day <= last:
        yield day
        n += count
        day = _later(first, interval, n, anchor)


def _later(first: date, interval: str, intervals: int, anchor: int) -> date:
    if interval in _DAYS:
        return first + timedelta(days=_DAYS[interval] * intervals)
    years, months = divmod(first.month - 1 + _MONTHS[interval] * intervals, 12)
    return month_day(date(first.year + years, months + 1, 1), anchor)


@cache
def month_day(day: date, anchor: int) -> date:
    """Return the day `anchor` of the month of `day`, or the last day of a shorter month."""
    first_of_month = day.replace(day=1)
    after_it = (first_of_month + timedelta(days=31)).replace(day=1)
    return min(first_of_month + timedelta(days=anchor - 1), after_it - timedelta(days=1))
