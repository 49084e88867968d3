"""A subscription whose row anybody may move: dates, intervals, anchors, pauses, ends and restores come at random, by
hand and by the API, with renewals by sweep and webhook between.

Whatever comes, every day is paid at most once, every price buys a whole period, the preview names the coming charges,
and an ended subscription stays ended. The test computes its expectations from the row alone, and never asks the
product.
"""

import calendar
from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from renewals.domain.changes import ChangeKind
from renewals.domain.errors import BadRow
from renewals.domain.transitions import Action, NotAllowed
from renewals.ledger import forecast
from renewals.ledger.asked_by import AskedBy
from renewals.ledger.register import Register
from subscriptions_api.changing import _anchored
from subscriptions_api.problems import BadRequest
from tests.fakes import LATER, NOON, World
from tests.unit.test_sweep import Sweeper

DAY = timedelta(days=1)
BY_HAND = ("active", "active", "paused", "canceled", "unpaid")
UNSETTLED = ("claimed", "declined", "action_required")


def _month_after(start: date, months: int, anchor: int) -> date:
    """Return the date `months` months after `start`, on the day `anchor` or on the last day of a shorter month."""
    number = start.year * 12 + start.month - 1 + months
    year, month = number // 12, number % 12 + 1
    return date(year, month, min(anchor, calendar.monthrange(year, month)[1]))


def _ends(start: date, interval: str, count: int) -> set[date]:
    """Return the days on which a whole period beginning on `start` may end."""
    if interval in ("day", "week"):
        return {start + count * timedelta(days=1 if interval == "day" else 7)}
    last = calendar.monthrange(start.year, start.month)[1]
    anchors = range(start.day, 32) if start.day == last else (start.day,)
    return {_month_after(start, count * (12 if interval == "year" else 1), anchor) for anchor in anchors}


class Moves(RuleBasedStateMachine):
    """The life of one subscription."""

    @initialize(
        interval=st.sampled_from(["day", "week", "month", "month", "year"]),
        count=st.sampled_from([1, 1, 2]),
        catch_up=st.sampled_from(["latest", "each"]),
        first=st.sampled_from(["2026-01-31", "2026-01-01", "2026-01-29", "2025-12-15"]),
    )
    def subscribe(self, interval: str, count: int, catch_up: str, first: str) -> None:
        self.shop = World()
        client: Any = self.shop.dynamodb
        self.register = Register(client, subscriptions="subscriptions", renewals="renewals", changes="changes")
        self.now = NOON
        self.runs = 0
        self.known: set[str] = set()
        self.shop.subscribe(interval=interval, interval_count=Decimal(count), catch_up=catch_up, renewal_date=first)
        self.backups = [dict(self.row)]

    @property
    def row(self) -> dict[str, Any]:
        return self.shop.row()

    @property
    def today(self) -> date:
        return self.now.date()

    def _write(self, **attributes: Any) -> None:
        """Edit the row by hand; None removes an attribute."""
        row = self.row | attributes
        self.shop.dynamodb.put("subscriptions", {name: value for name, value in row.items() if value is not None})

    # What happens

    @rule(days=st.one_of(st.integers(1, 8), st.integers(1, 45)))
    def days_pass(self, days: int) -> None:
        self.now = self.now.replace(hour=12, minute=0) + days * DAY

    @rule(days=st.integers(-45, 45))
    def the_date_is_moved(self, days: int) -> None:
        self._write(renewal_date=(date.fromisoformat(self.row["renewal_date"]) + days * DAY).isoformat())

    @rule(days=st.integers(-100, 20))
    def the_date_is_set(self, days: int) -> None:
        self._write(renewal_date=(self.today + days * DAY).isoformat())

    @rule(interval=st.sampled_from(["day", "week", "month", "year", None]), count=st.integers(1, 3))
    def another_interval_by_hand(self, interval: str | None, count: int) -> None:
        self._write(interval=interval, interval_count=Decimal(count))

    @rule(anchor=st.none() | st.integers(1, 31).map(Decimal))
    def another_anchor_by_hand(self, anchor: Decimal | None) -> None:
        self._write(anchor_day=anchor)

    @rule(status=st.sampled_from(BY_HAND))
    def another_status_by_hand(self, status: str) -> None:
        self._write(status=status)

    @rule(days=st.none() | st.integers(-40, 60))
    def another_end_by_hand(self, days: int | None) -> None:
        self._write(cancel_at=None if days is None else (self.today + days * DAY).isoformat())

    @rule(catch_up=st.sampled_from(["latest", "each"]))
    def another_way_to_catch_up(self, catch_up: str) -> None:
        self._write(catch_up=catch_up)

    @rule(card=st.sampled_from(["pm_ok", "pm_ok", "pm_other", "pm_declined"]))
    def another_card(self, card: str) -> None:
        self._write(payment_method=card)

    @rule(data=st.data(), bare=st.booleans())
    def the_row_is_put_back(self, data: st.DataObject, bare: bool) -> None:
        """Put the row back to an earlier state; with `bare` as an import writes rows, without the system's own
        notes."""
        row = data.draw(st.sampled_from(self.backups))
        noted = ("anchor_day", "paid_until", "passed_over_to", "version", "ended_on") if bare else ()
        self.shop.dynamodb.put("subscriptions", {name: row[name] for name in row if name not in noted})

    @rule()
    def a_backup_is_made(self) -> None:
        self.backups.append(dict(self.row))

    @rule(action=st.sampled_from([Action.PAUSE, Action.RESUME, Action.RESUME, Action.CANCEL_AT_PERIOD_END]))
    def the_api_is_asked(self, action: Action) -> None:
        over = self._is_over()
        before = self.row
        try:
            done = self.register.act(before, action, self.today, AskedBy("ann", self.now))
        except (NotAllowed, BadRow):
            assert self.row == before
            return
        assert not over, "an ended subscription took a change"
        assert done == self.row

    @rule(
        changes=st.fixed_dictionaries(
            {},
            optional={
                "interval": st.sampled_from(["day", "week", "month", "year"]),
                "anchor_day": st.integers(1, 31).map(Decimal),
            },
        )
    )
    def the_api_edits(self, changes: dict[str, Any]) -> None:
        try:
            moved = _anchored(self.row, changes, self.today)
        except (BadRequest, NotAllowed):
            return
        self.register.edit(self.row, moved, ChangeKind.EDITED, AskedBy("ann", self.now))

    @precondition(lambda self: any("paid_at" in item for item in self.shop.items().values()))
    @rule(data=st.data())
    def a_period_is_refunded_whole(self, data: st.DataObject) -> None:
        day = data.draw(st.sampled_from(sorted(day for day, item in self.shop.items().items() if "paid_at" in item)))
        item = self.shop.items()[day]
        refund = {"amount": item["amount"], "state": "refunded", "at": self.now.isoformat(), "by": "ann"}
        refund |= {"request": "r", "refund_id": "re_1"}
        self.shop.dynamodb.put("renewals", item | {"refunds": {"refund_1": refund}})

    @rule(period=st.booleans())
    def a_webhook(self, period: bool) -> None:
        with_row, over = dict(self.row), self._is_over()
        self._run(self.row["renewal_date"] if period else None)
        self._expect_whole_periods(with_row, over=over)

    @rule()
    def a_night(self) -> None:
        """Sweep until nothing is left to do: exactly the charges that the preview names for today are made."""
        for _ in range(30):
            with_row, over = dict(self.row), self._is_over()
            said, unsettled = self._said(), self._unsettled()
            before = set(self._paid())
            sweeper = Sweeper(self.shop)
            for kind in ("all", "due"):
                sweeper.sweep(kind, now=self.now)
            messages = sweeper.sent()
            for message in messages[:1]:
                self._run(message["renewal_date"])
            self._expect_whole_periods(with_row, over=over)
            charged = sorted(set(self._paid()) - before)
            good = with_row["payment_method"] != "pm_declined"
            if charged and good and not unsettled and not self._unsettled():
                assert charged == said[: len(charged)], f"charged {charged}, and the preview said {said}"
            if not messages or (dict(self.row) == with_row and not charged):
                break
        else:
            pytest.fail("the sweep never comes to an end")
        live = self.row["status"] in ("active", "past_due") and not self._is_over()
        assert not live or self.row.get("passed_over_to") != self.row["renewal_date"], "not billed since its pause"
        if not self._unsettled() and self.row["payment_method"] != "pm_declined":
            left = [start for start, _ in self._said() if not self._stands_in_the_ledger(start)]
            assert left == [], "the preview names a charge of today that no sweep makes"

    # Promises that hold after every step

    @invariant()
    def each_day_is_paid_at_most_once(self) -> None:
        spans = sorted(self._paid()) if hasattr(self, "shop") else []
        for (_, end), (start, _) in pairwise(spans):
            assert end <= start, f"paid until {end}, and from {start} on again"

    # Runs and expectations

    def _run(self, period: str | None) -> None:
        self.runs += 1
        self.now += LATER
        self.shop.run(f"run-{self.runs}", self.now, amount=f"{self.row['amount']:f}", period=period)

    def _said(self) -> list[tuple[str, str]]:
        """Return the periods that the preview charges today; none for a row at fault."""
        try:
            shown = forecast.next_charges(self.register.ledger, self.row, self.today, 13)
        except BadRow:
            return []
        return [(str(charge.start), str(charge.end)) for charge in shown.charges if charge.on <= self.today]

    def _is_over(self) -> bool:
        """Whether the end named by the row has come."""
        end = self.row.get("cancel_at", "9999")
        reached = end <= self.row["renewal_date"] or self.row["status"] in ("paused", "unpaid")
        return end <= self.today.isoformat() and reached and self.row["status"] != "canceled"

    def _stands_in_the_ledger(self, start: str) -> bool:
        """Whether a date from the row's date up to `start` was claimed or passed over before: such a period is
        rejected, which the preview does not foresee."""
        return any(self.row["renewal_date"] <= day <= start for day in self.shop.items())

    def _unsettled(self) -> bool:
        return any(item["status"] in UNSETTLED for item in self.shop.items().values())

    def _paid(self) -> list[tuple[str, str]]:
        items = self.shop.items().items()
        return [(day, item["period_end"]) for day, item in items if "paid_at" in item and not item.get("refunds")]

    def _expect_whole_periods(self, row: dict[str, Any], *, over: bool) -> None:
        """Check that every new claim is a whole period by the row's interval, and that an ended row (`over`) has no new
        claim."""
        new = {day: item for day, item in self.shop.items().items() if item.get("claim", day) not in self.known}
        for day, item in new.items():
            if "claim" not in item:
                continue
            self.known.add(item["claim"])
            assert not over, "charged after the end"
            start, end = date.fromisoformat(day), date.fromisoformat(item["period_end"])
            assert end in _ends(start, row.get("interval", "month"), int(row["interval_count"])), (start, end, row)


def _settings(examples: int, steps: int) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )


Moves.TestCase.settings = _settings(25, 30)
TestMoves = Moves.TestCase


@pytest.mark.proof
@pytest.mark.timeout(3600)
def test_twenty_thousand_steps() -> None:
    """The promises hold over 500 lives of 50 steps."""
    run_state_machine_as_test(Moves, settings=_settings(500, 50))
