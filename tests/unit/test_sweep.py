"""The sweep, over tables and a queue in memory: the messages sent, the bad rows named, and the cost of an
interruption."""

import json
import tracemalloc
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, cast

import pytest

from renewal_sweep import sweep
from renewal_sweep.parts import SweepPart
from renewal_sweep.sweep import Sweep, Swept
from renewals.domain.errors import BadRow, NotHandedOver
from renewals.domain.payment import PaymentState
from renewals.domain.reminder_rules import Rules
from renewals.domain.request import RenewalRequest
from renewals.ledger.steps import Row
from renewals.runtime.renewal_queue import RenewalQueue
from tests.fake_aws import FakeDynamoDB, FakeSQS
from tests.fakes import DUE, INDEXES, LATER, NOON, REMINDER_RULES, Cut, World
from tests.shares import share
from tests.unit.test_mail_feedback import bounce

TODAY = DUE
DAY = timedelta(days=1)
PLENTY = 900.0
NO_REMINDERS = Rules(0, 32)


@dataclass
class Sweeper:
    """Runs sweeps as Lambda does: every event handed on is a further run.

    seconds: the answers to a run's questions for its remaining seconds; after the last answer, plenty remain.
    """

    world: World = field(default_factory=World)
    sqs: FakeSQS = field(default_factory=FakeSQS)
    named: list[tuple[str, str]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    reminder_rules: Rules = NO_REMINDERS
    concurrency: int = 20
    runs: int = 0

    def add(self, number: int | str, **attributes: Any) -> str:
        """Add a subscription, due today unless `attributes` say otherwise."""
        subscription_id = f"sub_{number}"
        self.world.subscribe(subscription_id=subscription_id, **attributes)
        return subscription_id

    def sweep(self, kind: str = "due", *, now: Any = NOON) -> None:
        """Run a whole sweep, with all the runs that the sweep hands on."""
        self.events.append({"sweep": kind})
        while self.events:
            self.run(self.events.pop(0), now)

    def run(self, event: dict[str, Any], now: Any = NOON) -> Swept:
        self.runs += 1
        client: Any = self.world.dynamodb
        one = Sweep(
            client=client,
            subscriptions="subscriptions",
            renewals="renewals",
            queue=RenewalQueue(self.sqs, "queue", wait=lambda _seconds: None),
            hand_on=lambda event: self.events.append(json.loads(json.dumps(event))),
            name=self._name,
            seconds_left=lambda: self.seconds.pop(0) if self.seconds else PLENTY,
            today=now.date(),
            now=now,
            reminder_rules=self.reminder_rules,
            concurrency=self.concurrency,
        )
        if "part" in event:
            return one.read(SweepPart.of_event(event["part"]))
        if event["sweep"] == "all":
            return one.all()
        return one.due(SweepPart.of_event(event["from"]) if "from" in event else None)

    def sent(self) -> list[dict[str, str]]:
        """Take all messages out of the queue and return their bodies."""
        bodies, self.sqs.bodies = self.sqs.bodies, []
        return [json.loads(body) for body in bodies]

    def sent_ids(self) -> list[str]:
        return sorted(body["subscription_id"] for body in self.sent())

    def _name(self, row: Row, bad: BadRow) -> None:
        self.named.append((str(row["subscription_id"]), str(bad)))


@pytest.fixture
def sweeper() -> Sweeper:
    return Sweeper()


def _ago(days: int) -> str:
    return (TODAY - timedelta(days=days)).isoformat()


# --- the messages that a sweep sends -----------------------------------------------------------------------------


def test_a_message_names_the_subscription_its_period_and_its_amount(sweeper: Sweeper) -> None:
    """A message has exactly the subscription, the customer, the billing period and the amount: the workflow needs
    nothing else."""
    sweeper.add(1, amount=Decimal("29.90"))
    sweeper.sweep()
    assert sweeper.sent() == [
        {"subscription_id": "sub_1", "customer_id": "cus_1", "renewal_date": "2026-01-31", "amount": "29.90"}
    ]


def test_the_hourly_sweep_finds_what_is_due_in_its_forty_days(sweeper: Sweeper) -> None:
    """The hourly sweep finds renewals due from today back to the 40th day and none of tomorrow: after a day of downtime
    the next sweep catches up by itself."""
    for days in (-1, 0, 1, 39, 40, 400):
        sweeper.add(days, renewal_date=_ago(days))
    sweeper.sweep()
    assert sweeper.sent_ids() == ["sub_0", "sub_1", "sub_39"]


def test_the_nightly_sweep_finds_just_what_is_older(sweeper: Sweeper) -> None:
    """The nightly sweep finds only rows due before the hourly sweep's forty days: together the two sweeps miss no due
    row and send none twice."""
    for days in (-1, 0, 39, 40, 400, 4000):
        sweeper.add(days, renewal_date=_ago(days))
    sweeper.sweep("all")
    assert sweeper.sent_ids() == ["sub_40", "sub_400", "sub_4000"]


@pytest.mark.parametrize(
    ("attributes", "due"),
    [
        ({"status": "active"}, True),
        ({"status": "past_due"}, True),
        ({"status": "canceled"}, False),
        ({"status": "unpaid", "amount": None}, False),
        ({"cancel_at": "2026-01-31"}, True),  # the subscription's end has come and must be recorded in the row
        ({"status": "canceled", "cancel_at": "2026-01-31"}, False),
        ({"cancel_at": "2026-02-28"}, True),
    ],
)
def test_only_what_is_live_is_handed_over(sweeper: Sweeper, attributes: dict[str, Any], due: bool) -> None:
    """Only active and past due subscriptions are enqueued, also at the subscription's end, which must be recorded. An
    ended subscription is no bad row, whatever the row lacks."""
    sweeper.add(1, **attributes)
    sweeper.sweep()
    assert sweeper.sent_ids() == (["sub_1"] if due else [])
    assert sweeper.named == []


def test_a_busy_date_is_read_in_pages_by_as_many_runs(sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """A date with many due rows is read in pages, and no run reads or sends more than a page; together the runs send
    every row once."""
    monkeypatch.setattr(sweep, "PAGE", 10)
    ids = sorted(sweeper.add(n) for n in range(95))
    sweeper.events.append({"sweep": "due"})
    planned = sweeper.run(sweeper.events.pop())
    pages = [event["part"] for event in sweeper.events if event["part"]["kind"] == "date"]
    assert (len(pages), planned.rows, sweeper.sqs.bodies) == (10, 0, [])
    while sweeper.events:
        assert sweeper.run(sweeper.events.pop()).sent <= 10
    assert sweeper.sent_ids() == ids


# --- reminders ---------------------------------------------------------------------------------------------------

GOOD_CARD = {"payment_method": "pm_ok", "name": "Visa ending in 4242", "expires": "2030-12"}
SENT = {"period": "2026-02-03", "state": "sent", "token": "t", "owner": "o", "to": "ann@customer.example",
        "claimed_until": "2026-01-27T12:00:40+00:00"}  # fmt: skip


def test_the_nightly_sweep_asks_to_remind(sweeper: Sweeper) -> None:
    """The nightly sweep sends a message that asks for a reminder, not for a charge, and names the billing period; the
    hourly sweep sends no such message."""
    sweeper.reminder_rules = REMINDER_RULES
    sweeper.add(1, renewal_date=_ago(-3), interval="year")
    sweeper.sweep("due")
    assert sweeper.sent() == []
    sweeper.sweep("all")
    [message] = sweeper.sent()
    assert message == {
        "subscription_id": "sub_1", "customer_id": "cus_1", "renewal_date": "2026-02-03", "amount": "29.99",
        "event_type": "subscription.reminder",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("attributes", "asked"),
    [
        ({"known_card": GOOD_CARD}, False),
        ({"known_card": GOOD_CARD, "interval": "year"}, True),
        ({"known_card": GOOD_CARD, "interval": "year", "reminder_upcoming": SENT}, False),
        ({"known_card": GOOD_CARD, "interval": "year", "reminder_upcoming": SENT | {"state": "sending"}}, True),
        ({"known_card": GOOD_CARD, "interval": "year", "reminder_upcoming": SENT | {"period": "2025-02-03"}}, True),
        ({"known_card": GOOD_CARD, "interval": "year", "status": "canceled"}, False),
        ({"known_card": GOOD_CARD, "interval": "year", "status": "past_due"}, False),
        ({"known_card": GOOD_CARD, "interval": "year", "renewal_date": _ago(-8)}, False),
        ({"known_card": GOOD_CARD | {"expires": "2026-01"}}, True),
        ({"known_card": GOOD_CARD | {"expires": "2026-01"}, "reminder_card_expires": SENT}, False),
        ({"known_card": GOOD_CARD | {"payment_method": "pm_old"}}, True),
        ({}, True),
    ],
)
def test_only_whom_a_reminder_may_be_owed_is_asked_about(
    sweeper: Sweeper, attributes: dict[str, Any], asked: bool
) -> None:
    """The nightly sweep asks for a reminder only of a near, live renewal that was not reminded of yet, and only on a
    long plan or where the card expires before the renewal or is not known."""
    sweeper.reminder_rules = REMINDER_RULES
    sweeper.add(1, **{"renewal_date": _ago(-3)} | attributes)
    sweeper.sweep("all")
    assert sweeper.sent_ids() == (["sub_1"] if asked else [])
    assert sweeper.named == []


def test_an_address_that_was_corrected_by_hand_is_mailed_what_waited(shop: World) -> None:
    """A mail came back, and somebody wrote a new address into the row: the nightly sweep has the waiting mail sent,
    once. The sweep asks for nothing while the row has the old address, nor later than forty days after the mail came
    back."""
    shop.subscribe()
    shop.run()
    bounce(shop)
    sweeper = Sweeper(shop)
    sweeper.sweep("all", now=NOON + DAY)
    assert sweeper.sent() == []
    shop.edit(customer_email="ann@new.example")
    for n in range(2, 5):
        sweeper.sweep("all", now=NOON + n * DAY)
        [message] = sweeper.sent()
        shop.run(f"night-{n}", NOON + n * DAY, amount=message["amount"], period=message["renewal_date"])
    assert [mail["Destinations"] for mail in shop.ses.sent] == [["ann@customer.example"], ["ann@new.example"]]
    assert (shop.items()["2026-01-31"]["status"], len(shop.gateway.charges)) == ("done", 1)
    shop.edit(renewal_date="2026-12-31")
    sweeper.sweep("all", now=NOON + 41 * DAY)
    assert sweeper.sent() == []


# --- bad rows ----------------------------------------------------------------------------------------------------

BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no-amount": ({"amount": None}, "amount: is missing"),
    "amount-as-text": ({"amount": "29.99"}, "amount: is not a number"),
    "currency": ({"currency": "QQQ"}, "currency: "),
    "interval": ({"interval": "fortnight"}, "interval: is none of day, month, week, year"),
    "customer": ({"gateway_customer": None}, "gateway_customer: is missing"),
    "status": ({"status": "actve"}, "status: is none of "),
}
UNREACHABLE: dict[str, tuple[dict[str, Any], str]] = {
    "short-date": ({"renewal_date": "2025-3-1"}, "renewal_date: is not a date"),
    "timestamp": ({"renewal_date": "2026-01-31T00:00:00Z"}, "renewal_date: is not a date"),
    "no-date": ({"renewal_date": None}, "renewal_date: is missing"),
    "reminder": (
        {"renewal_date": (TODAY + timedelta(days=3)).isoformat(), "interval": "year", "reminder_upcoming": "yes"},
        "reminder_upcoming: is not the record of a reminder",
    ),
}


@pytest.mark.parametrize("kind", ["due", "all"])
def test_bad_rows_are_named_one_by_one_and_stop_nobody(sweeper: Sweeper, kind: str) -> None:
    """The sweep names every bad row once, with the field and the fault, and enqueues the good row among the bad
    rows."""
    sweeper.reminder_rules = REMINDER_RULES
    expected = BAD if kind == "due" else BAD | UNREACHABLE
    for name, (attributes, _) in (BAD | UNREACHABLE).items():
        sweeper.add(name, **attributes)
    good = sweeper.add("good", renewal_date=_ago(0 if kind == "due" else 50))
    sweeper.sweep(kind)
    assert sweeper.sent_ids() == [good]
    named = dict(sweeper.named)
    assert len(named) == len(sweeper.named)
    assert set(named) == {f"sub_{name}" for name in expected}
    for name, (_, reason) in expected.items():
        assert named[f"sub_{name}"].startswith(reason)


ODD: list[Any] = [
    "", "x" * 5000, "\x00", "9999-12-31", "2026-02-30", b"x", True, Decimal(0), Decimal("1E+40"), Decimal("-1E+100"),
    Decimal("1E-100"), [], ["x"], {}, {"period": "2026-02-03"}, {"x"},
]  # fmt: skip
FIELDS = (
    "status", "amount", "currency", "interval", "interval_count", "anchor_day", "cancel_at", "catch_up", "plan",
    "customer_name", "customer_email", "locale", "gateway_customer", "payment_method", "known_card", "mail_fault",
    "reminder_upcoming", "reminder_card_expires", "earlier_reminders", "told_upcoming", "told_card_expires",
    "next_attempt", "version",
)  # fmt: skip


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize(("kind", "days"), [("due", 0), ("all", 50), ("all", -3)])
def test_whatever_stands_in_a_row_holds_up_no_other(field: str, kind: str, days: int) -> None:
    """Values of every type and numbers of every size in any attribute of a row, whether the row is due, old or to be
    reminded, active or declined, do not stop the sweep: the good row in the same page is enqueued."""
    for refused in ({}, {"status": "past_due", "next_attempt": "2026-01-31"}):
        sweeper = Sweeper(reminder_rules=REMINDER_RULES)
        row = {"renewal_date": _ago(days), "interval": "year", "known_card": GOOD_CARD}
        for n, value in enumerate(ODD):
            sweeper.add(n, **(row | refused | {field: value}))
        good = sweeper.add("good", **row)
        sweeper.sweep(kind)
        assert good in sweeper.sent_ids()


@pytest.mark.parametrize("state", ["failed", "sent", "sending"])
@pytest.mark.parametrize("name", [*SENT, "at", "message_id", "reason"])
def test_whatever_stands_in_the_record_of_a_reminder_holds_up_no_other(name: str, state: str) -> None:
    """A reminder's record written by hand, with a value of a wrong type in any attribute, does not stop the sweep: the
    good row in the same page is enqueued."""
    sweeper = Sweeper(reminder_rules=REMINDER_RULES)
    row = {"renewal_date": _ago(-3), "interval": "year", "known_card": GOOD_CARD}
    for n, value in enumerate(ODD):
        sweeper.add(n, **row, reminder_upcoming=SENT | {"state": state, name: value})
    good = sweeper.add("good", **row)
    sweeper.sweep("all")
    assert good in sweeper.sent_ids()


# --- unfinished work ---------------------------------------------------------------------------------------------


def _cut_after(world: World, call: str) -> None:
    """Cut the only renewal off right after the first `call`."""
    try_out = World()
    try_out.subscribe()
    try_out.run()
    world.cuts.at = 2 * try_out.cuts.calls.index(call) + 1
    world.subscribe()
    world.run()


@pytest.mark.parametrize(
    ("call", "status"),
    [("dynamodb.TransactWriteItems", "claimed"), ("gateway.confirm", "claimed"), ("s3.PutObject", "paid")],
)
def test_what_was_cut_off_is_handed_over_once_it_is_quiet(sweeper: Sweeper, call: str, status: str) -> None:
    """A renewal that was cut off is enqueued 15 minutes after its last step, even where the row was deleted, and no
    sooner, because the execution may still be at work."""
    _cut_after(sweeper.world, call)
    sweeper.world.delete_row()
    [item] = sweeper.world.items().values()
    assert item["status"] == status
    sweeper.sweep(now=NOON + LATER)
    assert sweeper.sent() == []
    sweeper.sweep(now=NOON + timedelta(minutes=20))
    [message] = sweeper.sent()
    assert (message["subscription_id"], message["renewal_date"]) == ("sub_1", "2026-01-31")


@pytest.mark.parametrize("card", ["pm_declined", "pm_3ds", "pm_ok"])
def test_what_waits_for_the_customer_or_is_done_is_not_unfinished(sweeper: Sweeper, card: str) -> None:
    """Before the dunning date the sweep enqueues neither a declined payment nor a payment that waits for the customer's
    confirmation; a finished renewal is never enqueued."""
    sweeper.world.subscribe(payment_method=card)
    sweeper.world.run()
    sweeper.world.delete_row()
    sweeper.sweep(now=NOON + timedelta(days=1))
    assert sweeper.sent() == []


def test_a_refusal_that_waits_for_another_address_is_closed_all_the_same(sweeper: Sweeper) -> None:
    """The mail about a declined payment came back, and the subscription is deleted: the sweep leaves the period alone
    until the dunning date, and the execution then cancels the payment, which the customer could still confirm."""
    world = sweeper.world
    world.subscribe(payment_method="pm_3ds")
    world.run()
    bounce(world)
    sweeper.sweep(now=NOON + timedelta(minutes=20))
    assert sweeper.sent() == []
    world.delete_row()
    later = NOON + timedelta(days=2)
    sweeper.sweep(now=later)
    [message] = sweeper.sent()
    assert _ask(world, date.fromisoformat(message["renewal_date"]), later)[0] == "nothing_to_do"
    [payment] = world.gateway.payments.values()
    assert payment.state is PaymentState.CANCELED


def test_a_mail_to_the_corrected_address_that_was_cut_off_is_taken_up(sweeper: Sweeper) -> None:
    """The sweep looks for an owed mail again from the moment that an execution claims the mail for the corrected
    address."""
    world = sweeper.world
    world.subscribe(payment_method="pm_3ds")
    world.run()
    bounce(world)
    world.edit(customer_email="ann@new.example")
    world.ses.trouble = [Cut("in the middle of its sending")]
    assert world.run("corrected", NOON + LATER) == "EmailFailed"
    sweeper.sweep(now=NOON + timedelta(minutes=30))
    [message] = sweeper.sent()
    assert message["renewal_date"] == "2026-01-31"


# --- dunning and pauses ------------------------------------------------------------------------------------------

REFUSED = {
    "status": "past_due",
    "payment_status": "declined",
    "payment_method": "pm_1",
    "refused_payment_method": "pm_1",
    "next_attempt": "2026-02-01",
}


@pytest.mark.parametrize(
    ("change", "sent"),
    [
        ({}, False),
        ({"next_attempt": "2026-01-31"}, True),
        ({"next_attempt": "2026-01-30"}, True),
        ({"payment_method": "pm_2"}, True),
        ({"status": "canceled"}, True),
        ({"status": "unpaid", "amount": None, "renewal_date": DUE.isoformat()}, True),
        ({"status": "paused"}, True),
        ({"cancel_at": DUE.isoformat()}, True),
    ],
)
def test_a_refused_period_is_handed_over_when_there_is_something_to_do(
    sweeper: Sweeper, change: dict[str, Any], sent: bool
) -> None:
    """A declined period is enqueued on the dunning date, after an update of the payment method, and after the
    subscription's end or pause, for the payment to be canceled; in between the hourly sweep leaves the period
    alone."""
    sweeper.add(1, **(REFUSED | change))
    sweeper.sweep()
    assert sweeper.sent_ids() == (["sub_1"] if sent else [])


def test_a_refused_period_whose_row_was_moved_ahead_is_found_at_night(sweeper: Sweeper) -> None:
    """A past due row whose renewal date was moved ahead escapes every query by date, though the customer can still
    complete the payment: the nightly sweep enqueues the row."""
    sweeper.add(1, **(REFUSED | {"renewal_date": "2026-05-15"}))
    sweeper.sweep()
    assert sweeper.sent_ids() == []
    sweeper.sweep("all")
    assert sweeper.sent_ids() == ["sub_1"]


@pytest.mark.parametrize(("renewal_date", "sent"), [(DUE.isoformat(), True), ("2026-02-01", False)])
def test_a_paused_subscription_is_handed_over_when_its_date_has_come(
    sweeper: Sweeper, renewal_date: str, sent: bool
) -> None:
    """A paused subscription is enqueued on the renewal date, for the date to be moved past today; until the next date
    the sweep leaves the row alone."""
    sweeper.add(1, status="paused", renewal_date=renewal_date)
    sweeper.sweep()
    [*messages] = sweeper.sent()
    assert len(messages) == sent
    for message in messages:
        sweeper.world.run("worker", period=message["renewal_date"])
        sweeper.sweep()
        assert sweeper.sent() == []


@pytest.mark.parametrize("card", ["pm_declined", "pm_3ds"])
def test_a_refusal_that_nobody_was_told_of_is_taken_up(sweeper: Sweeper, card: str) -> None:
    """A crash came between the record of a decline and the mail about the decline: a later sweep has the mail sent, and
    the card is not charged again."""
    world = sweeper.world
    world.subscribe(payment_method=card)
    assert world.renew().renewal is not None
    assert not world.mails()
    sweeper.sweep(now=NOON + timedelta(minutes=20))
    [message] = sweeper.sent()
    world.run("worker", NOON + timedelta(minutes=20), period=message["renewal_date"])
    assert (len(world.mails()), len(world.gateway.attempts)) == (1, 1)
    sweeper.sweep(now=NOON + timedelta(minutes=40))
    assert sweeper.sent() == []


# --- the period that a message names -----------------------------------------------------------------------------


def _ask(world: World, period: date, now: datetime = NOON) -> tuple[str, str]:
    outcome = world.charge("worker", now).renew(RenewalRequest("sub_1", "cus_1", Decimal("29.99"), period))
    return outcome.name, outcome.reason


def test_a_message_of_another_period_charges_nothing(sweeper: Sweeper) -> None:
    """The renewal date was moved while the message waited: the message charges nothing, although the new date is due,
    too; a message naming the new date charges."""
    sweeper.add(1, renewal_date=_ago(3))
    assert _ask(sweeper.world, DUE) == ("nothing_to_do", "another_period")
    assert sweeper.world.gateway.charges == []
    assert _ask(sweeper.world, DUE - timedelta(days=3))[0] == "paid"


def test_a_late_message_does_not_renew_the_next_period(sweeper: Sweeper) -> None:
    """A message delivered again a month later, when the next billing period is due, charges nothing: the next period
    has a message of its own."""
    sweeper.add(1)
    sweeper.world.run()
    assert _ask(sweeper.world, DUE, NOON + timedelta(days=28)) == ("nothing_to_do", "another_period")
    assert len(sweeper.world.gateway.charges) == 1


def test_work_that_was_cut_off_is_finished_whatever_period_is_due(sweeper: Sweeper) -> None:
    """The charge of January lacks a receipt, and February is due: a message naming January finishes January."""
    _cut_after(sweeper.world, "gateway.confirm")
    sweeper.world.edit(renewal_date="2026-02-28")
    march = NOON + timedelta(days=29)
    assert _ask(sweeper.world, DUE, march)[0] == "paid"
    assert _ask(sweeper.world, DUE, march)[0] == "paid"  # the receipt is still owed
    assert len(sweeper.world.gateway.charges) == 1


# --- twice, at once, half-way ------------------------------------------------------------------------------------


def _drain(sweeper: Sweeper, now: Any = NOON) -> None:
    """Run the workflow for every message; all messages are of the only subscription."""
    for message in sweeper.sent():
        assert sweeper.world.run("worker", now, message["amount"]) == "Success"


def test_two_sweeps_at_once_charge_once(sweeper: Sweeper) -> None:
    """Two sweeps find the queue empty and both send a message of the same renewal: a single charge and a single mail
    follow."""
    sweeper.add(1)
    plans = [{"sweep": "due"}, {"sweep": "due"}]
    for event in plans:
        sweeper.run(event)
    while sweeper.events:
        sweeper.run(sweeper.events.pop(0))
    assert len(sweeper.sqs.bodies) == 2
    _drain(sweeper)
    assert len(sweeper.world.gateway.charges) == len(sweeper.world.mails()) == 1
    sweeper.sweep()
    assert sweeper.sent() == []


@pytest.mark.parametrize("each", share([3, 1], of=2))
def test_a_sweep_that_is_killed_twice_loses_nothing(each: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep is killed at any call, started again and killed at the same call, and then run whole: every due row has
    been enqueued."""
    monkeypatch.setattr(sweep, "PAGE", 5)
    moment = 0
    while True:
        sweeper = Sweeper()
        world = sweeper.world
        sweeper.sqs.around = world.cuts.around
        ids = sorted(sweeper.add(f"{n:02}", renewal_date=_ago(n % 3)) for n in range(23))
        handed: set[str] = set()
        cuts = 0
        for _ in range(2):
            world.cuts.calls.clear()
            world.cuts.at = moment
            try:
                sweeper.sweep()
            except Cut:
                cuts += 1
            sweeper.events.clear()
            handed |= set(sweeper.sent_ids())
        world.cuts.at = None
        sweeper.sweep()
        assert sorted(handed | set(sweeper.sent_ids())) == ids
        if not cuts:
            break
        moment += each
    assert moment > 100


def test_out_of_time_a_run_hands_on_what_is_left(sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run without time left hands its remaining plans and parts on to further runs: every row is still sent exactly
    once."""
    monkeypatch.setattr(sweep, "PAGE", 2)
    ids = [sweeper.add(f"{n:02}", renewal_date=_ago(n % 3)) for n in range(23)]
    old = [sweeper.add(f"old_{n:02}", renewal_date=_ago(50)) for n in range(99)]
    for kind, expected in (("due", ids), ("all", old)):
        sweeper.seconds, sweeper.runs = [sweep.ENOUGH_SECONDS - 1.0] * 200, 0
        sweeper.sweep(kind)
        assert len(sweeper.seconds) < 200
        assert sweeper.runs > (40 if kind == "due" else sweep.SEGMENTS)
        assert sweeper.sent_ids() == sorted(expected)


# --- the queue ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("waiting", "concurrency"), share([(50_000, 1), (1_000_000, 20)], of=2))
def test_a_sweep_is_put_off_while_more_waits_than_is_taken_until_the_next(
    sweeper: Sweeper, waiting: int, concurrency: int
) -> None:
    """While more messages wait than the workers take until the next sweep, both sweeps are postponed: they send no
    message and report the backlog, and the nightly sweep still names bad rows."""
    sweeper.add("due")
    sweeper.add("old", renewal_date=_ago(50))
    sweeper.add("bad", amount=None)
    sweeper.concurrency, sweeper.sqs.bodies = concurrency, ["{}"] * waiting
    assert sweeper.run({"sweep": "due"}).backlog == waiting
    assert sweeper.events == []
    assert sweeper.run({"sweep": "all"}).backlog == waiting
    while sweeper.events:
        sweeper.run(sweeper.events.pop())
    assert sweeper.sqs.waiting == waiting
    assert [name for name, _ in sweeper.named] == ["sub_bad"]


@pytest.mark.parametrize(("kind", "hours"), [("due", 1), ("all", 24)])
def test_a_sweep_goes_on_top_of_what_is_taken_until_the_next(sweeper: Sweeper, kind: str, hours: int) -> None:
    """A worker takes two seconds for a renewal: with exactly as many waiting messages as are taken until the next sweep
    of the kind, the sweep sends all of its messages; with a single message more the sweep is postponed."""
    sweeper.concurrency = 1
    for n in range(1802):
        sweeper.add(n)
    sweeper.add("old", renewal_date=_ago(50))
    taken = hours * 1800
    for waiting, sent in ((taken, 1802 if kind == "due" else 1), (taken + 1, 0)):
        sweeper.sqs.bodies = ["{}"] * waiting
        sweeper.sweep(kind)
        assert len(sweeper.sqs.bodies) == waiting + sent


@pytest.mark.parametrize(("waiting", "sent"), [(1, 2), (2, 0)])
def test_as_many_messages_as_are_due_are_not_sent_again(sweeper: Sweeper, waiting: int, sent: int) -> None:
    """A waiting message of a single renewal delays no other renewal; where as many messages wait as renewals are due,
    the sweep sends none, since every due renewal may have a message already."""
    sweeper.add("one")
    sweeper.add("two")
    sweeper.sqs.bodies = ["{}"] * waiting
    sweeper.sweep()
    assert len(sweeper.sqs.bodies) == waiting + sent


@pytest.mark.parametrize("kind", ["due", "all"])
def test_what_is_at_work_or_to_be_tried_again_puts_off_nobody(sweeper: Sweeper, kind: str) -> None:
    """Hidden messages, at work or waiting for a retry, postpone no sweep, however many are hidden."""
    sweeper.add("due")
    sweeper.add("old", renewal_date=_ago(50))
    sweeper.concurrency, sweeper.sqs.bodies = 0, ["{}"] * 100
    while sweeper.sqs.receive_message(QueueUrl="queue", MaxNumberOfMessages=10):
        pass
    sweeper.sweep(kind)
    assert sweeper.sent_ids() == ["sub_due" if kind == "due" else "sub_old"]


def test_refused_messages_are_sent_again_and_no_others(sweeper: Sweeper) -> None:
    """After SQS takes only a part of a batch, the sweep sends the refused messages again and no others: every message
    is in the queue once."""
    ids = sorted(sweeper.add(f"{n:02}") for n in range(25))
    sweeper.sqs.trouble = [3, 3, 1, 0, 10, 0]
    sweeper.sweep()
    assert sweeper.sent_ids() == ids


def test_a_message_that_the_queue_keeps_refusing_holds_up_no_other(sweeper: Sweeper) -> None:
    """The run fails over a message that SQS keeps refusing, after handing over all later messages of the page."""
    ids = sorted(sweeper.add(f"{n:02}") for n in range(25))
    sweeper.sqs.trouble = [1] * 5
    with pytest.raises(NotHandedOver, match=r"messages that SQS refused: 1 \(InternalError\)"):
        sweeper.sweep()
    assert sweeper.sent_ids() == ids[1:]


def test_a_queue_that_keeps_refusing_fails_the_run(sweeper: Sweeper) -> None:
    """The run fails where SQS keeps refusing, and Lambda then starts the run again; no refused message counts as
    sent."""
    sweeper.add(1)
    sweeper.sqs.trouble = [1] * 5
    with pytest.raises(NotHandedOver, match=r"messages that SQS refused: 1 \(InternalError\)"):
        sweeper.sweep()
    assert sweeper.sent() == []


# --- growth ------------------------------------------------------------------------------------------------------


class Sink(FakeSQS):
    """A queue that counts messages and forgets them."""

    count = 0

    def send_message_batch(self, **q: Any) -> dict[str, Any]:
        self.count += len(q["Entries"])
        return {}


def due_today(rows: int) -> tuple[Sweeper, Sink]:
    """Make `rows` subscriptions due on the same day, and a queue for their messages."""
    tables = FakeDynamoDB({"subscriptions": "customer_id", "renewals": "renewal_date"}, indexes=INDEXES)
    sweeper, sink = Sweeper(), Sink()
    sweeper.world.dynamodb, sweeper.sqs = tables, cast("FakeSQS", sink)
    for n in range(rows):
        sweeper.add(f"{n:07}")
    tables._in_index("subscriptions", "renewal-date-index")
    return sweeper, sink


def measured(rows: int) -> tuple[int, int]:
    """Sweep `rows` subscriptions due on the same day; return the number of messages and the peak of memory in bytes."""
    sweeper, sink = due_today(rows)
    tracemalloc.start()
    sweeper.sweep()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return sink.count, peak


@pytest.mark.parametrize(("page", "least", "most"), share([(200, 400, 2_000), (sweep.PAGE, 2_000, 10_000)], of=2))
def test_memory_stays_flat(page: int, least: int, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five times as many rows on a date need hardly more memory: no run ever holds more than a page."""
    monkeypatch.setattr(sweep, "PAGE", page)
    (few, little), (many, much) = measured(least), measured(most)
    assert (few, many) == (least, most)
    assert much < 1.2 * little
