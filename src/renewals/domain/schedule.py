"""Billing periods: which date follows which, and what is due. Pure; `today` is always handed in."""

import calendar
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Literal

Interval = Literal["day", "week", "month", "year"]


def falls_on(anchor_day: int, day: date) -> bool:
    """Whether a renewal anchored at `anchor_day` can fall on `day`: on the anchor itself, or on the last day of a month
    that is too short for it."""
    return day.day == min(anchor_day, calendar.monthrange(day.year, day.month)[1])


def next_on(anchor_day: int, day: date) -> date:
    """The first day from `day` on that a renewal anchored at `anchor_day` falls on. Raises OverflowError past the year
    9999."""
    while not falls_on(anchor_day, day):
        day += timedelta(days=1)
    return day


@dataclass(frozen=True, slots=True)
class Schedule:
    """How often a subscription renews.

    anchor_day: the day of the month that renewals fall on, 1..31; a shorter month renews on its last day, and the
    next longer one on the anchor again (31 Jan, 28 Feb, 31 Mar). Days and weeks are counted and have no anchor.
    """

    interval: Interval
    count: int
    anchor_day: int

    @property
    def is_anchored(self) -> bool:
        """Whether renewals fall on a day of the month."""
        return self.interval in ("month", "year")

    def beginning_on(self, day: date) -> "Schedule":
        """The schedule by which the period that begins on this day is whole: this one, where its anchor allows."""
        return self if falls_on(self.anchor_day, day) else replace(self, anchor_day=day.day)

    def after(self, day: date) -> date:
        """The renewal date that follows `day`. Raises OverflowError past the year 9999."""
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
        """Every renewal date from `first` up to and including `today`, oldest first."""
        day = first
        while day <= today:
            yield day
            day = self.after(day)


@dataclass(frozen=True, slots=True)
class Billing:
    """What one renewal bills: the period [start, end), and the due dates that are passed over for it."""

    start: date
    end: date
    skipped: tuple[date, ...]


def latest_due(schedule: Schedule, renewal_date: date, last: date) -> Billing:
    """The latest period that begins on or before `last`. A renewal that is months late bills one period.

    Raises ValueError where nothing is due, OverflowError past the year 9999.
    """
    *skipped, start = schedule.due(renewal_date, last)
    return Billing(start, schedule.after(start), tuple(skipped))


MOST_CAUGHT_UP = 12
"""So many missed periods are billed, where each is to be. What is older is passed over."""


def oldest_due(schedule: Schedule, renewal_date: date, last: date) -> Billing:
    """The oldest period that begins on or before `last`, of the latest twelve. Raises as latest_due."""
    due = list(schedule.due(renewal_date, last))
    if not due:
        raise ValueError("nothing is due")
    skipped, start = due[:-MOST_CAUGHT_UP], due[-MOST_CAUGHT_UP:][0]
    return Billing(start, schedule.after(start), tuple(skipped))
