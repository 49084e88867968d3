"""The simulation's reckoning, without a stack: the dates, the stories, and the faults found by the judgement."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date, timedelta
from functools import cache
from itertools import combinations, takewhile
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.text import Text

from local.simulate.dates import renewal_dates
from local.simulate.expected import Charged, Expected, expected
from local.simulate.happenings import (
    FIRST_DAY,
    Action,
    BankDecides,
    Cancel,
    CardBehaves,
    ChangeInterval,
    GatewayTrouble,
    Moved,
    NewCard,
    Pause,
    Price,
    Reprice,
    Resume,
    Subscriber,
    Vanished,
)
from local.simulate.report import drawn
from local.simulate.story import Story
from renewals.domain.schedule import Interval, Schedule
from tests.shares import share

STORY = Story(seed=1, days=60, subscriptions=0)
LAST = STORY.calendar[-1]


@given(
    interval=st.sampled_from(["day", "week", "month", "year"]),
    count=st.integers(1, 14),
    first=st.dates(date(2020, 1, 1), date(2030, 1, 1)),
    anchor=st.sampled_from([29, 30, 31, None]),
)
def test_two_ways_to_count_dates_agree(interval: Interval, count: int, first: date, anchor: int | None) -> None:
    """Counting from the first date, as the simulation does, and from the last date, as the product does, gives the same
    dates."""
    schedule = Schedule(interval, count, anchor if anchor and first.day >= 28 else first.day)
    until = first + timedelta(days=900)

    def by_the_product() -> Iterator[date]:
        day = first
        while True:
            yield day
            day = schedule.after(day)

    ours = list(renewal_dates(first, interval, count, schedule.anchor_day, until))
    assert ours == list(takewhile(lambda day: day <= until, by_the_product()))


def test_a_seed_tells_one_story() -> None:
    """A seed always gives the same subscribers, fates, mailboxes, days of downtime and days without charging; a
    different seed gives a different story."""

    def told(seed: int) -> object:
        story = Story(seed, days=120, subscriptions=30)
        return story.subscribers, story.vanished, story.down, story.off, story.killed_sweeps

    assert told(5) == told(5) != told(6)


@cache
def _a_year() -> Story:
    """Return a year of 300 subscribers, which several tests look at."""
    return Story(seed=1, days=365, subscriptions=300)


def test_a_year_has_everything_in_it() -> None:
    """300 subscribers over a year meet every kind of action, interval, currency and way of catching up, and the
    calendar has a 29 February and the days on which the clocks change."""
    story = _a_year()
    actions = {type(action) for s in story.subscribers for each in s.actions.values() for action in each}
    assert actions == set(Action.__value__.__args__)
    assert {s.interval for s in story.subscribers} == {"day", "week", "month", "year"}
    assert {s.anchor for s in story.subscribers} >= {29, 30, 31}
    assert {s.catch_up for s in story.subscribers} == {"latest", "each"}
    assert {s.price.currency for s in story.subscribers} >= {"USD", "JPY", "KWD", "ISK"}
    assert {date(2024, 2, 29), date(2024, 3, 31), date(2024, 10, 27)} <= set(story.calendar)


@pytest.mark.parametrize(
    ("repriced", "minor", "charged"), [(3, 3999, 3999), (2, 3999, 2999), (1, 1999, 1999), (0, 1999, 2999)]
)
def test_what_a_reminder_named_is_what_a_year_costs(repriced: int, minor: int, charged: int) -> None:
    """A higher price is told again until three days before the renewal, a lower price until the day before; after that
    the price of the reminder is charged."""
    due = up(20)
    while any(due - timedelta(days=n) in STORY.down | STORY.off for n in range(9)):
        due += timedelta(days=1)
    actions: dict[date, tuple[Action, ...]] = {due - timedelta(days=repriced): (Reprice(Price("", "USD", minor)),)}
    yearly = replace(subscriber(actions), interval="year", count=1, first=due)
    for amount in (2999, minor):
        faults = expected(yearly, STORY, [Charged(due, due, amount, "USD", "pi_1")]).faults
        assert (faults == []) is (amount == charged)


def test_mailboxes_vanish_in_every_way() -> None:
    """In a year of 300 subscribers, mailboxes vanish for good or until the address is corrected, several times in a
    row, for several charges, and around declined cards. An address is corrected only on a day that begins without a
    backlog."""
    story = _a_year()
    gone = [(who, mailbox) for who in story.subscribers for mailbox in story.vanished[who.id]]
    corrected = [mailbox.corrected for _, mailbox in gone if mailbox.corrected]
    assert 0 < len(corrected) < len(gone)
    assert max(len(mailboxes) for mailboxes in story.vanished.values()) > 2
    assert max(sum(map(mailbox.is_missed_on, who.dates(LAST))) for who, mailbox in gone) > 2
    declined = [(who, due) for who, _ in gone for due in who.dates(story.calm_from) if who.is_declined_on(due)]
    final_notice = timedelta(days=5)
    assert any(not story.has_mailbox(who, due + final_notice) for who, due in declined)
    stopped = story.down | story.off
    assert not any({day, day - timedelta(days=1)} & stopped for day in corrected)


def subscriber(actions: Mapping[date, tuple[Action, ...]] | None = None) -> Subscriber:
    """Return a subscriber renewed every ten days from the third day on, at 29.99 USD, who catches up by the latest
    period."""
    return Subscriber(
        id="sim-0001", name="Ann", email="ann@example.org", plan="Pro", interval="day", count=10, anchor=1,
        names_anchor=False, first=day(2), created=FIRST_DAY, catch_up="latest", price=Price("29.99", "USD", 2999),
        actions=actions or {}, refused_within=frozenset(),
    )  # fmt: skip


def day(number: int) -> date:
    return FIRST_DAY + timedelta(days=number)


def up(number: int) -> date:
    """Return the day with that number, or the first later day on which the sweep runs and charging is on."""
    found = day(number)
    while found in STORY.down | STORY.off:
        found += timedelta(days=1)
    return found


def charge(period: int, on: int | None = None, amount: int = 2999) -> Charged:
    """Return a charge for the period that begins on the day with that number, made as the sweep makes it or on the day
    `on`."""
    return Charged(up(period) if on is None else day(on), day(period), amount, "USD", f"pi_{period}_{on}")


ON_TIME = [charge(period) for period in (2, 12, 22, 32, 42, 52)]


def judged(charges: list[Charged], who: Subscriber | None = None) -> Expected:
    return expected(who or subscriber(), STORY, sorted(charges, key=lambda charge: charge.day))


def faults(result: Expected) -> list[tuple[str, date | None]]:
    return [(fault.kind, fault.period) for fault in result.faults]


def test_what_is_right_is_found_right() -> None:
    """Periods charged on their days, or once the sweep ran again, at the price of the day, are judged without a
    fault."""
    result = judged(ON_TIME)
    assert faults(result) == []
    assert (len(result.due), len(result.charged), result.status) == (6, 6, "active")


def test_a_second_charge_of_a_period_is_doubled() -> None:
    """A second charge of a period is `doubled`, whenever the charge was made."""
    assert faults(judged([*ON_TIME, charge(22, on=47)])) == [("doubled", day(22))]


def test_a_charge_within_a_paid_period_is_overlapping() -> None:
    """A charge for a period that begins within a paid period is `overlapping`: somebody moved the date, and the product
    billed."""
    assert ("overlapping", day(25)) in faults(judged([*ON_TIME, charge(25, on=26)]))


def test_a_row_that_is_moved_into_a_paid_period_is_charged_for_nothing() -> None:
    """A row moved into a paid period must not be charged until the row is corrected; afterwards the row renews on its
    old dates."""
    moved = subscriber({day(25): (Moved(day(24)),), day(27): (Moved(day(32)),)})
    assert faults(judged(ON_TIME, moved)) == []
    assert ("wrong", day(24)) in faults(judged([*ON_TIME, charge(24, on=25)], moved))


def test_another_interval_counts_from_the_next_date_on() -> None:
    """A changed interval counts from the next date on: months keep their day where the new date fits that day, and
    otherwise fall on the new date's day."""
    weekly, monthly = ChangeInterval("week", 1), ChangeInterval("month", 1)
    who = replace(subscriber(), interval="month", count=1, anchor=31, first=date(2026, 1, 31))
    changed = replace(who, changed=((date(2026, 2, 28), weekly), (date(2026, 3, 14), monthly)))
    dates = ["2026-01-31", "2026-02-28", "2026-03-07", "2026-03-14", "2026-04-14"]
    assert [str(each) for each in changed.dates(date(2026, 4, 30))] == dates
    fits = replace(who, changed=((date(2026, 2, 28), ChangeInterval("month", 2)),))
    assert [str(each) for each in fits.dates(date(2026, 4, 30))] == ["2026-01-31", "2026-02-28", "2026-04-30"]


def test_rows_are_moved_between_renewals_alone() -> None:
    """In a year of 300 subscribers many rows are put back into a paid period, on days without any other action but a
    bank's, and corrected before the next renewal; cards are removed, some subscribers renew weekly for a while, and on
    many days an unreadable message is in the queue."""
    story = _a_year()
    moves = 0
    for who in story.subscribers:
        dates = who.dates(story.calendar[-1])
        for on, [action, *rest] in who.actions.items():
            if isinstance(action, Moved) and action.to not in dates:
                paid = max(date for date in dates if date <= action.to)
                following = min(date for date in dates if date > action.to)
                corrected = [day for day, does in who.actions.items() if Moved(following) in does and day > on]
                assert all(isinstance(other, BankDecides) for other in rest)
                assert paid < action.to <= on < min(corrected) < following
                moves += 1
    assert moves > 50
    assert sum(bool(who.changed) for who in story.subscribers) > 5
    assert len(story.unreadable) > 20


def test_a_period_without_a_charge_is_missed() -> None:
    """A period without a charge is `missed`, and the remaining periods are still judged right."""
    assert faults(judged([c for c in ON_TIME if c.period != day(32)])) == [("missed", day(32))]


def test_a_late_charge_is_missed_on_its_day() -> None:
    """A charge made a day late, though the sweep ran and nothing was in its way, counts as `missed`."""
    late = charge(42, on=43)
    assert faults(judged([c for c in ON_TIME if c.period != day(42)] + [late])) == [("missed", day(42))]


@pytest.mark.parametrize("amount", [2998, 299900])
def test_another_amount_is_wrong(amount: int) -> None:
    """A charge that differs from the price by a cent is `wrong`."""
    assert faults(judged([charge(2, amount=amount), *ON_TIME[1:]])) == [("wrong", day(2))]


def test_what_is_not_due_is_wrong() -> None:
    """A charge made a day before its period begins is `wrong`."""
    assert ("wrong", day(52)) in faults(judged([*ON_TIME[:-1], charge(52, on=51)]))


def test_a_day_of_trouble_excuses_that_day_alone() -> None:
    """With the gateway down for a customer the charge may come on the next day, and no later."""
    trouble = subscriber({day(42): (GatewayTrouble("503", "*", 1000),)})
    rest = [c for c in ON_TIME if c.period != day(42)]
    assert faults(judged([*rest, charge(42, on=43)], trouble)) == []
    assert faults(judged([*rest, charge(42, on=44)], trouble)) == [("missed", day(42))]


def test_what_failed_is_tried_again_by_the_queue_while_the_sweep_stands_still() -> None:
    """After trouble on the day before the sweep's downtime, the queue's retry may charge on a day without a sweep;
    without the trouble the period was missed on its day."""
    down = min(STORY.down)
    before = (down - FIRST_DAY).days - 1
    who = replace(subscriber(), count=100, first=day(before))
    late = [Charged(down, day(before), 2999, "USD", "pi_late")]
    trouble = replace(who, actions={day(before): (GatewayTrouble("503", "*", 1000),)})
    assert faults(judged(late, trouble)) == []
    assert faults(judged(late, who)) == [("missed", day(before))]
    assert ("wrong", day(before + 100)) in faults(judged([Charged(down, day(before + 100), 2999, "USD", "pi_x")], who))


@pytest.mark.parametrize("seed", range(20))
def test_charging_is_turned_off_and_on_within_the_story(seed: int) -> None:
    """However short the story, charging is turned off and on outside the sweep's downtime, and with many subscribers a
    renewal is under way at that moment."""
    story = Story(seed, days=40, subscriptions=60)
    [thrown] = [day for day in story.calendar if story.is_turned_off_on(day)]
    [released] = [day for day in story.calendar if story.is_turned_on_on(day)]
    assert thrown < released < story.calm_from
    assert story.down.isdisjoint({*story.off, released})
    assert story.caught(thrown)
    assert story.sweeps(released) > len(story.off)


def test_a_charge_while_charging_is_off_is_wrong() -> None:
    """The period of day 12 comes due while charging is off: a charge on day 12, or later while charging is off, is
    `wrong`, and a charge is expected as soon as charging is on again."""
    assert {day(12), day(14)} < STORY.off
    rest = [c for c in ON_TIME if c.period != day(12)]
    for on in (12, 14):
        assert faults(judged([*rest, charge(12, on=on)])) == [("wrong", day(12))]
    back = (up(12) - FIRST_DAY).days
    assert faults(judged([*rest, charge(12, on=back)])) == []
    assert faults(judged([*rest, charge(12, on=back + 1)])) == [("missed", day(12))]


class _Caught(Story):
    """A story in which our subscriber's renewal is at work when charging is turned off."""

    def caught(self, day: date) -> tuple[Subscriber, ...]:
        return (subscriber(),)


def test_what_is_at_work_when_charging_is_turned_off_may_be_charged() -> None:
    """A renewal at work when charging is turned off may be charged on that day or once charging is on again, at the
    price of either day; not in between, and not never."""
    story = _Caught(STORY.seed, STORY.days, STORY.subscriptions)
    thrown = next(day for day in story.calendar if story.is_turned_off_on(day))
    assert thrown == day(12)

    def found(*charges: Charged) -> list[tuple[str, date | None]]:
        rest = [c for c in ON_TIME if c.period != day(12)]
        return faults(expected(subscriber(), story, sorted([*rest, *charges], key=lambda charge: charge.day)))

    assert found(charge(12, on=12)) == found(charge(12)) == []
    assert found(charge(12, on=13)) == [("wrong", day(12))]
    assert found() == [("missed", day(12))]
    assert found(charge(12, on=12), charge(12)) == [("doubled", day(12))]


def test_nothing_is_charged_of_paused_time() -> None:
    """A pause from day 20 to day 42 leaves out two periods, and a charge for a paused period is `wrong`."""
    paused = subscriber({day(20): (Pause(),), day(42): (Resume(),)})
    rest = [c for c in ON_TIME if c.period not in (day(22), day(32))]
    assert faults(judged(rest, paused)) == []
    assert faults(judged([*rest, charge(22)], paused)) == [("wrong", day(22))]


def test_what_is_charged_after_a_pause_begins_on_the_day_of_the_resumption() -> None:
    """A subscription resumed on day 40, between two dates, is charged for a period from day 40 on, and every ten days
    from then on."""
    paused = subscriber({day(20): (Pause(),), day(40): (Resume(),)})
    before = [c for c in ON_TIME if c.period < day(22)]
    after = [charge(n) for n in range(40, (STORY.calendar[-1] - day(0)).days + 1, 10)]
    assert faults(judged([*before, *after], paused)) == []
    assert ("missed", day(40)) in faults(judged([*before, *after[1:]], paused))
    assert ("wrong", day(42)) in faults(judged([*before, *after, charge(42)], paused))


def test_nothing_is_charged_after_a_cancellation() -> None:
    """Nothing is charged after an immediate cancellation, nor from the day of `cancel_at` on."""
    for action in (Cancel(), Cancel(at=day(42))):
        canceled = subscriber({day(41): (action,)})
        assert faults(judged(ON_TIME[:-2], canceled)) == []
        assert ("wrong", day(42)) in faults(judged(ON_TIME[:-1], canceled))


def test_a_soft_decline_is_tried_again_on_dunning_days_only() -> None:
    """With money on the card again on day 44, the retry of day 45, the third after the first attempt, charges the card;
    a charge on day 44 is `wrong`."""
    poor = subscriber({day(42): (CardBehaves("no_money"),), day(44): (CardBehaves("good"),)})
    rest = [c for c in ON_TIME if c.period != day(42)]
    result = judged([*rest, charge(42, on=45)], poor)
    assert faults(result) == []
    assert (result.refused, result.recovered) == ({day(42): day(42)}, {day(42): day(45)})
    assert faults(judged(rest, poor))[0] == ("missed", day(42))


def test_a_lost_card_is_not_tried_again_but_another_one_is_at_once() -> None:
    """A hard decline ends with a new card on the same day, or with the subscription after the last dunning day."""
    lost = {day(42): (CardBehaves("lost"),)}
    rest = [c for c in ON_TIME if c.period != day(42)]
    assert faults(judged([*rest, charge(42, on=46)], subscriber(lost | {day(46): (NewCard(),)}))) == []
    ended = judged(ON_TIME[:-2], subscriber(lost))
    assert (faults(ended), ended.given_up, ended.status) == ([], [day(42)], "canceled")
    assert ("wrong", day(52)) in faults(judged([*ON_TIME[:-2], ON_TIME[-1]], subscriber(lost)))


class _Gone(Story):
    """A story in which our subscriber's mailbox is gone from the day before the final notice to day 50, or for good."""

    is_corrected = True

    @property
    def vanished(self) -> Mapping[str, tuple[Vanished, ...]]:
        return {"sim-0001": (Vanished("ann@example.org", day(46), day(50) if self.is_corrected else None, "b@x.org"),)}


class _GoneForGood(_Gone):
    is_corrected = False


def test_the_end_waits_until_the_final_notice_has_arrived() -> None:
    """A subscription declined on day 42 would end on day 49, but the final notice of day 47 comes back. After the
    address is corrected on day 50 the end comes as long after the notice as after any notice, and a card that is good
    by then is charged on that day. Without an address the subscription does not end."""

    def found(story: type[Story], actions: Mapping[date, tuple[Action, ...]], *charges: Charged) -> Expected:
        who = replace(subscriber(actions), count=100, first=day(42))
        return expected(who, story(STORY.seed, STORY.days, STORY.subscriptions), charges)

    lost = {day(42): (CardBehaves("lost"),)}
    assert found(Story, lost).warned == {day(42): day(49)}
    late = found(_Gone, lost)
    assert (late.held, late.warned, late.given_up) == ([day(42)], {day(42): day(52)}, [day(42)])
    assert (late.faults, late.status) == ([], "canceled")
    never = found(_GoneForGood, lost)
    assert (never.held, never.warned, never.given_up, never.status) == ([day(42)], {}, [], "past_due")

    money = {day(42): (CardBehaves("no_money"),), day(48): (CardBehaves("good"),)}
    assert faults(found(_Gone, money, charge(42, on=52))) == []
    assert faults(found(_Gone, money, charge(42, on=53))) == [("missed", day(42))]
    assert faults(found(Story, money, charge(42, on=52))) == [("missed", day(42))]


def test_of_several_missed_periods_the_latest_or_each_is_charged() -> None:
    """After downtime the latest missed period is charged, or every missed period, as the subscription says."""
    down = sorted(STORY.down)
    assert down, "the story has no day without a sweep"
    first, back = down[0], up((down[0] - FIRST_DAY).days)
    daily = replace(subscriber(), count=1, first=first)
    missed = [first + timedelta(days=n) for n in range((back - first).days + 1)]
    after = [day for day in STORY.calendar if day > back and day not in STORY.down]
    again = [Charged(day, day, 2999, "USD", f"pi_{day}") for day in after if day - timedelta(days=1) not in STORY.down]
    latest = judged([Charged(back, back, 2999, "USD", "pi_latest"), *again], daily)
    assert not [fault for fault in latest.faults if fault.period and fault.period <= back]
    assert set(missed[:-1]) <= set(latest.skipped)
    each = [Charged(back, period, 2999, "USD", f"pi_{period}") for period in missed]
    assert not [
        fault
        for fault in judged([*each, *again], replace(daily, catch_up="each")).faults
        if fault.period and fault.period <= back
    ]


@pytest.mark.parametrize(("days", "subscriptions"), share([(30, 1), (30, 20), (365, 60)], of=2))
def test_nothing_of_the_picture_lies_on_anything_else(days: int, subscriptions: int) -> None:
    """Title, legend and the two charts do not overlap, and all lie within the picture."""
    story = Story(8675309, days, subscriptions)
    result: Any = SimpleNamespace(
        charged={day: [SimpleNamespace(day=day)] * subscriptions for day in story.calendar[1::3]},
        recovered={day: day for day in story.calendar[4::9]},
        refused={day: day for day in story.calendar[2::9]},
    )
    found: Any = SimpleNamespace(results={"sub": result}, faults=[None] * 12)
    figure = drawn(story, found)
    figure.draw_without_rendering()
    up, down = figure.axes
    parts = [up.title, up._left_title, figure.legends[0], up.patch, down.patch]  # type: ignore[attr-defined]
    boxes = [part.get_window_extent() for part in parts if not isinstance(part, Text) or part.get_text()]
    assert len(boxes) == 4
    for one, other in combinations(boxes, 2):
        assert not one.overlaps(other)
    for box in boxes:
        assert figure.bbox.x0 <= box.x0 <= box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 <= box.y1 <= figure.bbox.y1
