"""The date that follows a date, and the due periods: the anchor day, leap years, and months of every length."""

import calendar
from datetime import date, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renewals.domain.schedule import Schedule, latest_due

DAYS = st.dates(date(1990, 1, 1), date(2200, 1, 1))
SCHEDULES = st.builds(
    Schedule,
    st.sampled_from(["day", "week", "month", "year"]),
    st.integers(1, 36),
    st.integers(1, 31),
)


@pytest.mark.parametrize(
    ("interval", "count", "first", "following"),
    [
        ("month", 1, "2026-01-31", ["2026-02-28", "2026-03-31", "2026-04-30", "2026-05-31"]),
        ("month", 1, "2028-01-30", ["2028-02-29", "2028-03-30"]),
        ("month", 3, "2025-11-30", ["2026-02-28", "2026-05-30"]),
        ("year", 1, "2024-02-29", ["2025-02-28", "2026-02-28", "2027-02-28", "2028-02-29"]),
        ("year", 1, "2026-06-15", ["2027-06-15"]),
        ("week", 2, "2026-12-24", ["2027-01-07"]),
        ("day", 10, "2026-02-25", ["2026-03-07"]),
        ("month", 12, "2096-02-29", ["2097-02-28"]),
    ],
)
def test_known_calendars(interval: str, count: int, first: str, following: list[str]) -> None:
    """Month ends, leap days and long intervals give the written-out dates."""
    day = date.fromisoformat(first)
    schedule = Schedule(interval, count, day.day)  # type: ignore[arg-type]
    for expected in following:
        day = schedule.after(day)
        assert day == date.fromisoformat(expected)


@given(SCHEDULES, DAYS)
def test_the_next_date_is_always_later(schedule: Schedule, day: date) -> None:
    """No schedule stands still or runs backwards."""
    assert schedule.after(day) > day


@given(DAYS, st.integers(1, 31), st.integers(1, 12))
def test_the_anchor_day_never_drifts(day: date, anchor: int, count: int) -> None:
    """After any month, however short, the date is the anchor day again or the month's last day."""
    schedule = Schedule("month", count, anchor)
    for _ in range(24):
        day = schedule.after(day)
        assert day.day == min(anchor, calendar.monthrange(day.year, day.month)[1])


@given(SCHEDULES, DAYS, st.integers(0, 2000))
def test_one_billing_covers_today_and_passes_over_everything_before(schedule: Schedule, due: date, late: int) -> None:
    """The billed period is the latest period begun; with the passed-over periods every day is covered exactly once."""
    today = due + timedelta(days=late)
    billing = latest_due(schedule, due, today)
    assert billing.start <= today < billing.end
    days = [*billing.skipped, billing.start, billing.end]
    assert days[0] == due
    assert all(schedule.after(earlier) == later for earlier, later in pairwise(days))


def test_nothing_due_is_an_error() -> None:
    """Asking for the latest due period where nothing is due is a bug of the caller and raises."""
    with pytest.raises(ValueError, match="not enough values"):
        latest_due(Schedule("month", 1, 1), date(2026, 2, 1), date(2026, 1, 31))


def test_time_ends_with_the_year_9999() -> None:
    """Past the calendar's end the schedule raises an error instead of giving a wrong date."""
    for interval in ("day", "week", "month", "year"):
        with pytest.raises(OverflowError):
            Schedule(interval, 1000, 31).after(date(9999, 12, 31))
