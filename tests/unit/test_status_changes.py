"""Any sequence of calls, renewals and days: no canceled or paused subscription is charged, and no renewal is lost."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from renewals.domain.changes import ChangeKind
from renewals.domain.errors import Collision, Overtaken
from renewals.domain.item_values import text
from renewals.domain.renewal import Status
from renewals.domain.schedule import Schedule
from renewals.domain.transitions import Action, NotAllowed
from renewals.ledger.asked_by import AskedBy
from renewals.ledger.entity_tags import etag
from renewals.ledger.register import Register, Taken
from tests.fakes import LATER, NOON, World
from tests.shares import share

DAY = timedelta(days=1)
LIVE = ("active", "past_due")
PAID = (Status.DONE, Status.RECEIPTED, Status.PAID)


def _register(shop: World) -> Register:
    client: Any = shop.dynamodb
    return Register(client, subscriptions="subscriptions", renewals="renewals", changes="changes")


class Calls(RuleBasedStateMachine):
    """A subscription whose calls and renewals come in any order over months."""

    def __init__(self) -> None:
        super().__init__()
        self.shop = World()
        self.register = _register(self.shop)
        self.now = NOON
        self.runs = 0
        self.counted_from, self.anchor = NOON.date(), 31  # the first date and the anchor day of the count

    @initialize(card=st.sampled_from(["pm_ok", "pm_declined"]), catch_up=st.sampled_from(["latest", "each"]))
    def subscribe(self, card: str, catch_up: str) -> None:
        self.shop.subscribe(payment_method=card, catch_up=catch_up, test_clock=None)

    @property
    def row(self) -> dict[str, Any]:
        return self.shop.row()

    @property
    def today(self) -> date:
        return self.now.date()

    @rule(days=st.integers(1, 45))
    def days_pass(self, days: int) -> None:
        self.now += days * DAY

    @rule(period=st.booleans())
    def renew(self, period: bool) -> None:
        """Renew as a webhook asks, or by the date as the sweep asks, and once more, to finish owed receipts and
        mails."""
        before, charged = dict(self.row), len(self.shop.gateway.charges)
        for _ in range(2):
            self.runs += 1
            self.now += LATER
            date_meant = self.row["renewal_date"] if period else None
            self.shop.run(f"run-{self.runs}", self.now, amount=f"{self.row['amount']:f}", period=date_meant)
        if len(self.shop.gateway.charges) > charged:
            assert before["status"] in LIVE, "charged a subscription that is neither active nor past due"
            assert before["renewal_date"] <= self.today.isoformat(), "charged before its date"
            assert before.get("cancel_at", "9999") > before["renewal_date"], "charged after its end"

    def _act(self, action: Action, **given: Any) -> None:
        before = dict(self.row)
        try:
            done = self.register.act(self.row, action, self.today, AskedBy("ann", self.now), given)
        except NotAllowed:
            assert self.row == before
        else:
            assert self.row == done
            assert self.row["version"] == before.get("version", 0) + 1

    @rule()
    def cancel_now(self) -> None:
        self._act(Action.CANCEL_NOW)

    @rule()
    def cancel_at_period_end(self) -> None:
        self._act(Action.CANCEL_AT_PERIOD_END)

    @rule()
    def pause(self) -> None:
        self._act(Action.PAUSE)

    @rule()
    def resume(self) -> None:
        was = self.row["status"]
        self._act(Action.RESUME)
        if was == "paused" and self.row["status"] == "active":
            assert self.row["renewal_date"] >= self.today.isoformat(), "resumed into the past"
            self.no_renewal_is_lost()
            self.counted_from = date.fromisoformat(self.row["renewal_date"])
            self.anchor = int(self.row.get("anchor_day", self.counted_from.day))

    @rule(card=st.sampled_from(["pm_ok", "pm_declined", "pm_3ds"]))
    def give_card(self, card: str) -> None:
        self._act(Action.GIVE_CARD, payment_method=card)

    @rule(amount=st.integers(100, 9999))
    def reprice(self, amount: int) -> None:
        changes = {"amount": Decimal(amount).scaleb(-2)}
        self.register.edit(self.row, changes, ChangeKind.EDITED, AskedBy("ann", self.now))

    @precondition(lambda self: self.row["status"] == "canceled")
    @rule()
    def nothing_brings_it_back(self) -> None:
        for action in Action:
            self._act(action, **({"payment_method": "pm_ok"} if action is Action.GIVE_CARD else {}))
        assert self.row["status"] == "canceled"

    @invariant()
    def each_period_is_charged_at_most_once(self) -> None:
        paid = [item for item in self.shop.items().values() if item["status"] in PAID]
        assert len(self.shop.gateway.charges) == len(paid)

    @invariant()
    def no_renewal_is_lost(self) -> None:
        """Every date from the first to the row's own stands in the ledger: paid, skipped, given up or under way."""
        if "subscriptions" not in self.shop.dynamodb.tables:
            return
        schedule, day = Schedule("month", 1, self.anchor), self.counted_from
        while day.isoformat() < self.row["renewal_date"]:
            assert day.isoformat() in self.shop.items(), f"the ledger has nothing of {day}"
            day = schedule.after(day)


class ManyCalls(Calls):
    """The calls above, in many more examples."""


Calls.TestCase.settings = settings(max_examples=15, stateful_step_count=30, deadline=None)
TestCalls = Calls.TestCase
ManyCalls.TestCase.settings = settings(max_examples=600, stateful_step_count=30, deadline=None)
TestManyCalls = pytest.mark.proof(ManyCalls.TestCase)


# --- many editors at once -------------------------------------------------------------------------------------------


@contextmanager
def _one_at_a_time(shop: World) -> Iterator[None]:
    """Let the in-memory tables take call after call, as DynamoDB does for an item; anything may happen between two
    calls."""
    lock = threading.Lock()

    @contextmanager
    def around(_: str) -> Iterator[None]:
        with lock:
            yield

    shop.dynamodb.around = around
    yield


@pytest.mark.parametrize("edits", share([200, 1000], of=2))
def test_a_thousand_editors_lose_no_update(shop: World, edits: int) -> None:
    """Every edit follows a fresh read, and many run at once: every accepted edit saw the edit before, the row has the
    last edit, and all stand in the history."""
    shop.subscribe(plan="0")
    shop.dynamodb.holds = 0.001
    register = _register(shop)

    def edit(_: int) -> bool:
        read = register.row("sub_1")
        assert read is not None
        tag = etag(read)
        try:
            stands = register.row("sub_1")
            assert stands is not None
            if etag(stands) != tag:
                return False
            counted = {"plan": str(int(text(read, "plan")) + 1)}
            register.edit(stands, counted, ChangeKind.EDITED, AskedBy("ann", NOON))
        except (Overtaken, Collision):
            return False
        return True

    with _one_at_a_time(shop), ThreadPoolExecutor(16) as editors:
        accepted = sum(editors.map(edit, range(edits)))
    assert 1 <= accepted < edits
    assert shop.row()["plan"] == str(accepted)
    assert shop.row()["version"] == accepted
    plans = {tuple(item["details"]["plan"]) for item in shop.dynamodb.items("changes").values()}
    assert plans == {(str(n), str(n + 1)) for n in range(accepted)}


def test_two_creations_at_once_are_one(shop: World) -> None:
    """Of many concurrent creations of the same id for different customers a single creation succeeds."""
    register = _register(shop)
    shop.subscribe()
    row = dict(shop.row())
    shop.delete_row()

    def create(n: int) -> bool:
        try:
            register.create(row | {"customer_id": f"cus_{n}"}, AskedBy("ann", NOON))
        except Taken:
            return False
        return True

    with _one_at_a_time(shop), ThreadPoolExecutor(16) as creators:
        assert sum(creators.map(create, range(50))) == 1
    assert len(shop.dynamodb.items("subscriptions")) == 1


@pytest.mark.parametrize("other", ["renew", "pause"])
def test_a_change_meets_another_between_any_two_of_its_calls(other: str) -> None:
    """A renewal or a cancellation runs whole at any moment of a resumption: no period is both skipped and charged, and
    no period is forgotten."""
    for at in range(2, 12):
        shop = World()
        register = _register(shop)
        shop.subscribe(status="paused")
        row = dict(shop.row())

        def meanwhile(_: str, shop: World = shop, register: Register = register) -> None:
            if other == "renew":
                shop.edit(status="active")
                shop.run("run-other", NOON)
            else:
                register.act(shop.row(), Action.CANCEL_NOW, NOON.date(), AskedBy("zoe", NOON))

        shop.cuts.calls.clear()
        shop.cuts.happens, shop.cuts.at = meanwhile, at
        resumed = None
        with suppress(Overtaken):  # the other was faster
            resumed = register.act(row, Action.RESUME, NOON.date(), AskedBy("ann", NOON))
        charged = len(shop.gateway.charges)
        statuses = {item["status"] for item in shop.items().values()}
        if other == "renew" and charged:  # instead of the resumption, or after it
            assert statuses == {"done"}
            assert resumed is None or resumed["renewal_date"] == NOON.date().isoformat()
        assert json.dumps(sorted(statuses)) in ('["done"]', '["skipped"]', "[]")
