"""Billing periods: the order of renewal dates, and the periods that are due. Pure; callers pass `today`.

Decision: D20 (DECISIONS.md).
"""

import calendar
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Literal

Interval = Literal["day", "week", "month", "year"]


def falls_on(anchor_day: int, day: date) -> bool:
    """Whether a renewal anchored at `anchor_day` can fall on `day`: the anchor day itself, or the last day of a shorter
    month."""
    return day.day == min(anchor_day, calendar.monthrange(day.year, day.month)[1])


def next_on(anchor_day: int, day: date) -> date:
    """Return the first day, not before `day`, on which a renewal anchored at `anchor_day` can fall.

    Raises OverflowError past the year 9999.
    """
    while not falls_on(anchor_day, day):
        day += timedelta(days=1)
    return day


@dataclass(frozen=True, slots=True)
class Schedule:
    """How often a subscription renews.

    A schedule in days or weeks counts from one renewal date to the next and ignores the anchor day.

    Attributes:
        anchor_day: the day of the month on which renewals fall, 1 to 31. A shorter month renews on its last day, and
            the next longer month on the anchor again (31 Jan, 28 Feb, 31 Mar).
    """

    interval: Interval
    count: int
    anchor_day: int

    @property
    def is_anchored(self) -> bool:
        """Whether renewals fall on a day of the month."""
        return self.interval in ("month", "year")

    def beginning_on(self, day: date) -> "Schedule":
        """Return the schedule by which a period that begins on `day` lasts a full interval.

        If a renewal can fall on `day`, the schedule stays unchanged. Otherwise the anchor moves to the day of the month
        of `day`: with the old anchor, the period would be too short or too long.
        """
        return self if falls_on(self.anchor_day, day) else replace(self, anchor_day=day.day)

    def after(self, day: date) -> date:
        """Return the renewal date after `day`. Raises OverflowError past the year 9999."""
        if self.interval == "day":
            return day + timedelta(days=self.count)
        if self.interval == "week":
            return day + timedelta(weeks=self.count)
        months = day.year * 12 + day.month - 1 + self.count * (12 if self.interval == "year" else 1)
        year, month = months // 12, months % 12 + 1
        if year > date.max.year:
            raise OverflowError("the next renewal date is past the year 9999")
        return date(year, month, min(self.anchor_day, calendar.monthrange(year, month)[1]))

    def due(self, first: date, today: date) -> Iterator[date]:
        """Yield every renewal date from `first` up to and including `today`, oldest first."""
        day = first
        while day <= today:
            yield day
            day = self.after(day)


@dataclass(frozen=True, slots=True)
class Billing:
    """The period [start, end) of a renewal, and the earlier due dates passed over by the renewal."""

    start: date
    end: date
    skipped: tuple[date, ...]


def latest_due(schedule: Schedule, renewal_date: date, last: date) -> Billing:
    """Return the latest period beginning on or before `last`. A renewal that is months late is billed for the latest
    period alone.

    Raises ValueError if nothing is due, OverflowError past the year 9999.
    """
    *skipped, start = schedule.due(renewal_date, last)
    return Billing(start, schedule.after(start), tuple(skipped))


MOST_CAUGHT_UP = 12
"""The most missed periods that a subscription with catch_up `each` is billed for. Older periods are passed over."""


def oldest_due(schedule: Schedule, renewal_date: date, last: date) -> Billing:
    """Return the period to bill next if a subscription is billed for every missed period, one after another, oldest
    first.

    Periods that begin after `last` are not due. Of the due periods, only the latest twelve are billed.

    Raises the errors of latest_due.
    """
    due = list(schedule.due(renewal_date, last))
    if not due:
        raise ValueError("nothing is due")
    skipped, start = due[:-MOST_CAUGHT_UP], due[-MOST_CAUGHT_UP:][0]
    return Billing(start, schedule.after(start), tuple(skipped))
