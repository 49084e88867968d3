"""A subscription's life at random: time passes, sweeps and webhooks come, cards fail, people change their minds, and
the process may end at any call out of the process.

In whatever order, the promises hold after every step, and once the trouble is over everything due has come to its end.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import date, timedelta
from decimal import Decimal
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

from renewal_sweep.parts import SweepPart
from renewal_sweep.sweep import Sweep
from renewals.domain import currencies
from renewals.domain.payment import Failure, PaymentState
from renewals.domain.reminder_rules import Rules
from renewals.domain.schedule import Interval, Schedule
from renewals.domain.subscription import is_live
from renewals.runtime.renewal_queue import RenewalQueue
from tests.fake_aws import FakeSQS
from tests.fakes import NOON, Cut, World

CARDS = ("pm_ok", "pm_declined", "pm_declined_stolen", "pm_3ds", "pm_gone")
ENDED = ("paused", "canceled", "unpaid")
PRICES = ("29.99", "39.99", "5.00")
TROUBLE = [
    *((operation, kind) for operation in ("create", "confirm", "retrieve", "cancel") for kind in ("before", "after")),
    ("create", "answered"),
    ("confirm", "processing"),
]
NEWS = {
    "Receipt for": "receipt",
    "go through": "payment_failed",
    "confirm your payment": "action_required",
    "Final notice": "final_notice",
    "is canceled": "canceled",
}
cuts = st.one_of(st.none(), st.integers(0, 60))


class Life(RuleBasedStateMachine):
    """The life of one subscription. The test counts its expectations from its own dates, and never asks the product."""

    @initialize(
        interval=st.sampled_from(["day", "week", "month"]),
        catch_up=st.sampled_from(["latest", "each"]),
        card=st.sampled_from(CARDS),
    )
    def begin(self, interval: Interval, catch_up: str, card: str) -> None:
        self.world = World()
        stolen = Failure("", "card_declined", "stolen_card", "do_not_try_again")
        self.world.gateway.declines["pm_declined_stolen"] = stolen
        self.world.subscribe(interval=interval, catch_up=catch_up, payment_method=card)
        self.schedule = Schedule(interval, 1, 31)
        self.begun_on, self.paused_until, self.now = [NOON.date()], list[date](), NOON
        self.executions = 0
        self.status_changed = False
        self.card_changed_on = NOON.date()
        self.asked_on: set[tuple[str, str, date]] = set()
        self.prices = {Decimal("29.99")}
        self.messages: list[dict[str, str]] = []

    # What happens

    @rule(hours=st.integers(1, 30))
    def time_passes(self, hours: int) -> None:
        self.now += timedelta(hours=hours)

    @rule(days=st.integers(2, 40))
    def nobody_is_there_for_days(self, days: int) -> None:
        self.now += timedelta(days=days)

    @rule(kind=st.sampled_from(["due", "due", "all"]), cut=cuts, after=st.booleans())
    def a_sweep(self, kind: str, cut: int | None, after: bool) -> None:
        with_cut = self._cutting(cut, after=after)
        with_cut(lambda: self._sweep(kind))
        for message in self.messages[-3:]:
            self._work(message)

    @rule(cut=cuts, after=st.booleans(), deliveries=st.integers(1, 2))
    def a_webhook(self, cut: int | None, after: bool, deliveries: int) -> None:
        for _ in range(deliveries):
            self._cutting(cut, after=after)(self._webhook)

    @precondition(lambda self: self.messages)
    @rule(data=st.data(), cut=cuts, after=st.booleans())
    def an_old_message_comes_again(self, data: st.DataObject, cut: int | None, after: bool) -> None:
        message = data.draw(st.sampled_from(self.messages))
        self._cutting(cut, after=after)(lambda: self._work(message))

    @rule(card=st.sampled_from(CARDS))
    def another_card(self, card: str) -> None:
        self.card_changed_on = self._today()
        self.world.edit(payment_method=card)

    @rule(status=st.sampled_from(["active", *ENDED]))
    def another_status(self, status: str) -> None:
        self.status_changed = True
        self.world.edit(status=status)

    @rule(price=st.sampled_from(PRICES))
    def another_price(self, price: str) -> None:
        self.prices.add(Decimal(price))
        self.world.edit(amount=Decimal(price))

    @rule(operation=st.sampled_from(TROUBLE))
    def the_gateway_falters(self, operation: tuple[str, str]) -> None:
        self.world.gateway.trouble.append(operation)

    @rule(succeeds=st.booleans())
    def the_customer_acts_at_the_bank(self, succeeds: bool) -> None:
        gateway = self.world.gateway
        for payment in list(gateway.payments.values()):
            if payment.state is PaymentState.ACTION_REQUIRED:
                (gateway.succeed if succeeds else gateway.fail_authentication)(payment.id)

    @rule()
    def the_gateway_settles(self) -> None:
        for payment in list(self.world.gateway.payments.values()):
            if payment.state in (PaymentState.UNKNOWN, PaymentState.PROCESSING):
                self.world.gateway.succeed(payment.id)

    # Promises that hold after every step

    @invariant()
    def no_period_is_charged_twice(self) -> None:
        periods = Counter(self._period(payment) for payment, _, _ in self.world.gateway.charges)
        assert not [period for period, charges in periods.items() if charges > 1]

    @invariant()
    def only_what_is_due_is_charged_and_at_its_price(self) -> None:
        dates = set(self._dates(self._today()))
        prices = {currencies.minor_units(price, "USD") for price in self.prices}
        for payment, amount, _ in self.world.gateway.charges:
            assert self._period(payment) in dates
            assert amount in prices

    @invariant()
    def no_mail_says_what_did_not_happen_and_none_comes_twice(self) -> None:
        claimed = Counter(
            (name.rpartition("_")[0], mail["state"]) for item in self._items() for name, mail in item["mails"].items()
        )
        for kind, count in self._mailed().items():
            surely, perhaps = claimed[kind, "sent"], claimed[kind, "unknown"] + claimed[kind, "sending"]
            assert surely <= count <= surely + perhaps

    # How it ends

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        self.world.gateway.trouble.clear()
        self.the_gateway_settles()
        for _ in range(30):
            self.now += timedelta(minutes=61)
            for kind in ("due", "all"):
                self.messages.clear()
                self._sweep(kind)
                for message in list(self.messages):
                    self._work(message)
            if any(item["status"] == "failed" for item in self._items()):
                self._webhook()  # a person has looked
        self.no_period_is_charged_twice()
        self.only_what_is_due_is_charged_and_at_its_price()
        self.no_mail_says_what_did_not_happen_and_none_comes_twice()
        self._everything_charged_is_recorded_receipted_and_mailed()
        self._everything_due_is_accounted_for()

    def _everything_charged_is_recorded_receipted_and_mailed(self) -> None:
        charged = {payment: amount for payment, amount, _ in self.world.gateway.charges}
        paid = {item["payment_id"]: item for item in self._items() if "paid_at" in item}
        assert {p: currencies.minor_units(item["amount"], "USD") for p, item in paid.items()} == charged
        assert {item["status"] for item in paid.values()} <= {"done", "mail_unknown"}
        assert sorted(self.world.receipts()) == sorted(f"receipts/cus_1/sub_1/{payment}.pdf" for payment in charged)

    def _everything_due_is_accounted_for(self) -> None:
        row, items = self.world.row(), self.world.items()
        standing = {item["status"] for item in items.values()}
        assert standing <= {"done", "mail_unknown", "skipped", "given_up", "declined", "action_required"}
        reached = date.fromisoformat(row["renewal_date"])
        unaccounted = [day for day in self._dates(reached - timedelta(days=1)) if day.isoformat() not in items]
        assert len(unaccounted) <= _counted_only(items.values())
        refused = standing & {"declined", "action_required"}
        assert bool(refused) == ("next_attempt" in row)
        if row["status"] == "active" and not refused:
            assert reached > self._today()
        if row["status"] in ENDED:
            assert not refused
        for item in self._items():
            if item["status"] in ("declined", "action_required") and not self.status_changed:
                assert any(name.endswith(f"_{item['attempt']}") for name in item["mails"]), "the customer was not told"
        for payment in self.world.gateway.payments.values():
            open_still = payment.state in (PaymentState.DECLINED, PaymentState.ACTION_REQUIRED)
            assert not open_still or is_live(row), "a payment of an ended subscription can still be completed"

    # How it is run

    def _sweep(self, kind: str) -> None:
        queue, events = FakeSQS(), list[Mapping[str, object]]([{"sweep": kind}])
        world: Any = self.world
        one = Sweep(
            client=world.dynamodb,
            subscriptions="subscriptions",
            renewals="renewals",
            queue=RenewalQueue(queue, "queue", wait=lambda _seconds: None),
            hand_on=events.append,
            name=lambda row, bad: pytest.fail(f"{bad}: {row}"),
            seconds_left=lambda: 900.0,
            today=self._today(),
            now=self.now,
            reminder_rules=Rules(0, 32),
            concurrency=20,
        )
        try:
            while events:
                event: Any = events.pop(0)
                if "part" in event:
                    one.read(SweepPart.of_event(event["part"]))
                else:
                    (one.due if event["sweep"] == "due" else one.all)()
        except Cut:
            pass
        self.messages += [json.loads(body) for body in queue.bodies]

    def _work(self, message: dict[str, str]) -> None:
        self._run(message["amount"], message["renewal_date"])

    def _webhook(self) -> None:
        self._run(f"{self.world.row()['amount']}", None)

    def _run(self, amount: str, period: str | None) -> None:
        """Run an execution. While the subscription is not live, the execution claims nothing and tells nobody of a
        decline."""
        live = is_live(self.world.row())
        claims = {item["claim"] for item in self._items()}
        mailed, asked = self._mailed(), len(self.world.gateway.attempts)
        self.executions += 1
        self.now += timedelta(seconds=50)
        resumed, stood_at = self._was_resumed_by_hand(), self.world.row()["renewal_date"]
        self.world.run(f"run-{self.executions}", self.now, amount, period=period)
        if resumed and not self._was_resumed_by_hand():
            self.begun_on.append(max([self._today(), *resumed]))
            self.paused_until.append(date.fromisoformat(stood_at))
        for payment, card in self.world.gateway.attempts[asked:]:
            attempt = payment, card, self._today()
            assert attempt not in self.asked_on or self.card_changed_on == self._today(), (
                "a card was tried twice on one day"
            )
            self.asked_on.add(attempt)
        if not live:
            assert {item["claim"] for item in self._items()} <= claims
            for kind in ("payment_failed", "action_required", "final_notice"):
                assert self._mailed()[kind] == mailed[kind]

    def _cutting(self, cut: int | None, *, after: bool) -> Callable[[Callable[[], None]], None]:
        """Return a function that runs its argument with the process ending at call number `cut`."""

        def run(thing: Callable[[], None]) -> None:
            calls = self.world.cuts.calls
            self.world.cuts.at = None if cut is None else 2 * (len(calls) + cut) + after
            thing()
            self.world.cuts.at = None

        return run

    def _today(self) -> date:
        return self.now.date()

    def _dates(self, last: date) -> list[date]:
        """Return the days on which periods begin. After a pause a subscription begins anew, on a new day."""
        ends = [*(day - timedelta(days=1) for day in self.paused_until), last]
        return [
            day
            for begun, end in zip(self.begun_on, ends, strict=True)
            for day in self.schedule.beginning_on(begun).due(begun, min(end, last))
        ]

    def _was_resumed_by_hand(self) -> list[date]:
        """For a subscription made active by hand in its pause, return today and the days until which its periods are
        paid; an empty list for any other subscription."""
        row = self.world.row()
        if not is_live(row) or row.get("passed_over_to") != row["renewal_date"]:
            return []
        paid = (item for item in self._items() if "paid_at" in item)
        return [self._today(), *(date.fromisoformat(item["period_end"]) for item in paid)]

    def _period(self, payment: str) -> date:
        return self.world.gateway.requests[payment].renewal_date

    def _items(self) -> list[dict[str, Any]]:
        return [item for item in self.world.items().values() if item["status"] != "skipped"]

    def _mailed(self) -> Counter[str]:
        subjects = self.world.ses.subjects()
        return Counter(kind for subject in subjects for words, kind in NEWS.items() if words in subject)


def _counted_only(items: Iterable[dict[str, Any]]) -> int:
    """Return how many periods were passed over without an item: a transaction holds a limited number of items, and the
    rest is only counted."""
    together = Counter(
        (item["touched_at"], item["periods_passed_over"]) for item in items if "periods_passed_over" in item
    )
    return sum(int(told) - kept for (_, told), kept in together.items())


def _settings(lives: int) -> settings:
    return settings(
        max_examples=lives,
        stateful_step_count=50,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )


Life.TestCase.settings = _settings(10)
TestAnyLife = Life.TestCase


@pytest.mark.proof
@pytest.mark.timeout(3600)
def test_twenty_thousand_steps() -> None:
    """The promises hold over 400 lives of 50 steps."""
    run_state_machine_as_test(Life, settings=_settings(400))
