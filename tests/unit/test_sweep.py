"""The sweep, over tables and a queue in memory: what it hands over, what it names, and what an interruption costs."""

import json
import tracemalloc
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, cast

import pytest

from renewal_sweep import sweep
from renewal_sweep.queue import RenewalQueue
from renewal_sweep.sweep import Sweep, SweepPart, Swept
from renewals.domain.errors import BadRow, NotHandedOver
from renewals.domain.payment import PaymentState
from renewals.domain.request import RenewalRequest
from renewals.ledger.steps import Row
from tests.fake_aws import FakeDynamoDB, FakeSQS
from tests.fakes import DUE, INDEXES, LATER, NOON, Cut, World
from tests.shares import share
from tests.unit.test_mail_feedback import bounce

TODAY = DUE
DAY = timedelta(days=1)
PLENTY = 900.0


@dataclass
class Sweeper:
    """Runs sweeps as Lambda does: each event handed on is another run, started again twice where it raises.

    seconds: what a run has left each time that it asks; after these, plenty.
    """

    world: World = field(default_factory=World)
    sqs: FakeSQS = field(default_factory=FakeSQS)
    named: list[tuple[str, str]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    reminder_days: int = 0
    concurrency: int = 20
    runs: int = 0

    def add(self, number: int | str, **attributes: Any) -> str:
        """One more subscription that is due today, but for `attributes`."""
        subscription_id = f"sub_{number}"
        self.world.subscribe(subscription_id=subscription_id, **attributes)
        return subscription_id

    def sweep(self, kind: str = "due", *, now: Any = NOON) -> None:
        """A whole sweep, with all that it hands on."""
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
            reminder_days=self.reminder_days,
            concurrency=self.concurrency,
        )
        if "part" in event:
            return one.read(SweepPart.of_event(event["part"]))
        if event["sweep"] == "all":
            return one.all()
        return one.due(SweepPart.of_event(event["from"]) if "from" in event else None)

    def sent(self) -> list[dict[str, str]]:
        """The queue's messages, which it then no longer has."""
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


# --- what is handed over -----------------------------------------------------------------------------------------


def test_a_message_names_the_subscription_its_period_and_its_amount(sweeper: Sweeper) -> None:
    """The workflow needs nothing else, and what it is told is exact."""
    sweeper.add(1, amount=Decimal("29.90"))
    sweeper.sweep()
    assert sweeper.sent() == [
        {"subscription_id": "sub_1", "customer_id": "cus_1", "renewal_date": "2026-01-31", "amount": "29.90"}
    ]


def test_the_hourly_sweep_finds_what_is_due_in_its_forty_days(sweeper: Sweeper) -> None:
    """From today back to the 40th day, and nothing of tomorrow: what a day of downtime left is found by itself."""
    for days in (-1, 0, 1, 39, 40, 400):
        sweeper.add(days, renewal_date=_ago(days))
    sweeper.sweep()
    assert sweeper.sent_ids() == ["sub_0", "sub_1", "sub_39"]


def test_the_nightly_sweep_finds_just_what_is_older(sweeper: Sweeper) -> None:
    """Together the two miss no due row and send none twice."""
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
        ({"cancel_at": "2026-01-31"}, True),  # its end has come, and is to be written
        ({"status": "canceled", "cancel_at": "2026-01-31"}, False),
        ({"cancel_at": "2026-02-28"}, True),
    ],
)
def test_only_what_is_live_is_handed_over(sweeper: Sweeper, attributes: dict[str, Any], due: bool) -> None:
    """Active or past due, and not cancelled at its end. What has ended is no bad row either, whatever it lacks."""
    sweeper.add(1, **attributes)
    sweeper.sweep()
    assert sweeper.sent_ids() == (["sub_1"] if due else [])
    assert sweeper.named == []


def test_a_busy_date_is_read_in_pages_by_as_many_runs(sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """No run reads or sends more than a page; together they send each row once."""
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
    """The message says that nothing is to be charged, and of which period; the hourly sweep sends none."""
    sweeper.reminder_days = 7
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
    """Near, charged, not reminded yet, and a long plan, or a card that expires or that nobody has looked at."""
    sweeper.reminder_days = 7
    sweeper.add(1, **{"renewal_date": _ago(-3)} | attributes)
    sweeper.sweep("all")
    assert sweeper.sent_ids() == (["sub_1"] if asked else [])
    assert sweeper.named == []


def test_an_address_that_was_corrected_by_hand_is_mailed_what_waited(shop: World) -> None:
    """Mail came back, and somebody wrote another address into the row: the nightly sweep has what waited mailed, once.
    It asks for nothing as long as the address is the old one, and no more forty days after the mail came back."""
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
    """Each is named once, with the field and what is wrong with it; the good row among them is handed over."""
    sweeper.reminder_days = 7
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
    """Values of every type, and numbers of every size, in each attribute: due, old or to be reminded, alive or refused;
    the row beside them in the same page is handed over."""
    for refused in ({}, {"status": "past_due", "next_attempt": "2026-01-31"}):
        sweeper = Sweeper(reminder_days=7)
        row = {"renewal_date": _ago(days), "interval": "year", "known_card": GOOD_CARD}
        for n, value in enumerate(ODD):
            sweeper.add(n, **(row | refused | {field: value}))
        good = sweeper.add("good", **row)
        sweeper.sweep(kind)
        assert good in sweeper.sent_ids()


@pytest.mark.parametrize("state", ["failed", "sent", "sending"])
@pytest.mark.parametrize("name", [*SENT, "at", "message_id", "reason"])
def test_whatever_stands_in_the_record_of_a_reminder_holds_up_no_other(name: str, state: str) -> None:
    """A record that somebody wrote by hand, with a token that is a number or any other value in any other type: the row
    beside it in the same page is handed over."""
    sweeper = Sweeper(reminder_days=7)
    row = {"renewal_date": _ago(-3), "interval": "year", "known_card": GOOD_CARD}
    for n, value in enumerate(ODD):
        sweeper.add(n, **row, reminder_upcoming=SENT | {"state": state, name: value})
    good = sweeper.add("good", **row)
    sweeper.sweep("all")
    assert good in sweeper.sent_ids()


# --- unfinished work ---------------------------------------------------------------------------------------------


def _cut_after(world: World, call: str) -> None:
    """The one renewal is cut off right after its first `call`."""
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
    """Not while it may be at work; 15 minutes later, even where the subscription is gone from the index."""
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
    """A declined card and a confirmation that is asked for wait for their own dates; done is done."""
    sweeper.world.subscribe(payment_method=card)
    sweeper.world.run()
    sweeper.world.delete_row()
    sweeper.sweep(now=NOON + timedelta(days=1))
    assert sweeper.sent() == []


def test_a_refusal_that_waits_for_another_address_is_closed_all_the_same(sweeper: Sweeper) -> None:
    """Its mail came back and the subscription is deleted: looked for no sooner than its dunning date, and then its
    payment, which the customer could still confirm, is cancelled."""
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
    """What is owed is looked for again from the moment its mail is claimed anew."""
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
    """On its dunning date, with another card, and when the subscription has ended, so that the payment is called off;
    not every hour in between."""
    sweeper.add(1, **(REFUSED | change))
    sweeper.sweep()
    assert sweeper.sent_ids() == (["sub_1"] if sent else [])


def test_a_refused_period_whose_row_was_moved_ahead_is_found_at_night(sweeper: Sweeper) -> None:
    """No date's query meets it, and its payment can still be completed."""
    sweeper.add(1, **(REFUSED | {"renewal_date": "2026-05-15"}))
    sweeper.sweep()
    assert sweeper.sent_ids() == []
    sweeper.sweep("all")
    assert sweeper.sent_ids() == ["sub_1"]


@pytest.mark.parametrize(("renewal_date", "sent"), [(DUE.isoformat(), True), ("2026-02-01", False)])
def test_a_paused_subscription_is_handed_over_when_its_date_has_come(
    sweeper: Sweeper, renewal_date: str, sent: bool
) -> None:
    """To be moved past today; then it is left alone until its next date."""
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
    """Cut between the refusal's record and its mail: later the mail is sent, and the card not asked again."""
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
    """The row was moved while the message waited: its new period is due too, and not this message's business."""
    sweeper.add(1, renewal_date=_ago(3))
    assert _ask(sweeper.world, DUE) == ("nothing_to_do", "another_period")
    assert sweeper.world.gateway.charges == []
    assert _ask(sweeper.world, DUE - timedelta(days=3))[0] == "paid"


def test_a_late_message_does_not_renew_the_next_period(sweeper: Sweeper) -> None:
    """Delivered again a month later, when the next period is due: that one has a message of its own."""
    sweeper.add(1)
    sweeper.world.run()
    assert _ask(sweeper.world, DUE, NOON + timedelta(days=28)) == ("nothing_to_do", "another_period")
    assert len(sweeper.world.gateway.charges) == 1


def test_work_that_was_cut_off_is_finished_whatever_period_is_due(sweeper: Sweeper) -> None:
    """The charge of January lacks its receipt, and February is due: a message of January's finishes January's."""
    _cut_after(sweeper.world, "gateway.confirm")
    sweeper.world.edit(renewal_date="2026-02-28")
    march = NOON + timedelta(days=29)
    assert _ask(sweeper.world, DUE, march)[0] == "paid"
    assert _ask(sweeper.world, DUE, march)[0] == "paid"  # the receipt is still owed
    assert len(sweeper.world.gateway.charges) == 1


# --- twice, at once, half-way ------------------------------------------------------------------------------------


def _drain(sweeper: Sweeper, now: Any = NOON) -> None:
    """The workflow for every message, each of the one subscription."""
    for message in sweeper.sent():
        assert sweeper.world.run("worker", now, message["amount"]) == "Success"


def test_two_sweeps_at_once_charge_once(sweeper: Sweeper) -> None:
    """Both find the queue empty and send the same message: one charge, one mail."""
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
    """Ended at any call, run and ended there again, and then run whole: each due row has been handed over."""
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
    """With no time left after each step, plans and parts go on in other runs: each row is still sent just once."""
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
    """Messages that wait are not sent again by either sweep, and both say so; bad rows are named all the
    same."""
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
    """A worker takes a renewal in two seconds: as many as are taken until the next sweep of the kind put off nobody,
    one more does."""
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
    """One renewal's message that waits puts off no other's; where each may wait, nothing is lost by waiting."""
    sweeper.add("one")
    sweeper.add("two")
    sweeper.sqs.bodies = ["{}"] * waiting
    sweeper.sweep()
    assert len(sweeper.sqs.bodies) == waiting + sent


@pytest.mark.parametrize("kind", ["due", "all"])
def test_what_is_at_work_or_to_be_tried_again_puts_off_nobody(sweeper: Sweeper, kind: str) -> None:
    """However many messages are hidden, nobody waits for their next try."""
    sweeper.add("due")
    sweeper.add("old", renewal_date=_ago(50))
    sweeper.concurrency, sweeper.sqs.bodies = 0, ["{}"] * 100
    while sweeper.sqs.receive_message(QueueUrl="queue", MaxNumberOfMessages=10):
        pass
    sweeper.sweep(kind)
    assert sweeper.sent_ids() == ["sub_due" if kind == "due" else "sub_old"]


def test_refused_messages_are_sent_again_and_no_others(sweeper: Sweeper) -> None:
    """Of a batch that is taken in part, only the rest is repeated: every message is in the queue once."""
    ids = sorted(sweeper.add(f"{n:02}") for n in range(25))
    sweeper.sqs.trouble = [3, 3, 1, 0, 10, 0]
    sweeper.sweep()
    assert sweeper.sent_ids() == ids


def test_a_message_that_the_queue_keeps_refusing_holds_up_no_other(sweeper: Sweeper) -> None:
    """The run fails, and what comes after it in the page has been handed over all the same."""
    ids = sorted(sweeper.add(f"{n:02}") for n in range(25))
    sweeper.sqs.trouble = [1] * 5
    with pytest.raises(NotHandedOver, match=r"messages that SQS refused: 1 \(InternalError\)"):
        sweeper.sweep()
    assert sweeper.sent_ids() == ids[1:]


def test_a_queue_that_keeps_refusing_fails_the_run(sweeper: Sweeper) -> None:
    """Then Lambda starts it again; nothing is taken for sent that is not."""
    sweeper.add(1)
    sweeper.sqs.trouble = [1] * 5
    with pytest.raises(NotHandedOver, match=r"messages that SQS refused: 1 \(InternalError\)"):
        sweeper.sweep()
    assert sweeper.sent() == []


# --- growth ------------------------------------------------------------------------------------------------------


class Sink(FakeSQS):
    """Counts messages and forgets them."""

    count = 0

    def send_message_batch(self, **q: Any) -> dict[str, Any]:
        self.count += len(q["Entries"])
        return {}


def due_today(rows: int) -> tuple[Sweeper, Sink]:
    """So many rows due on one day, and where their messages go."""
    tables = FakeDynamoDB({"subscriptions": "customer_id", "renewals": "renewal_date"}, indexes=INDEXES)
    sweeper, sink = Sweeper(), Sink()
    sweeper.world.dynamodb, sweeper.sqs = tables, cast("FakeSQS", sink)
    for n in range(rows):
        sweeper.add(f"{n:07}")
    tables._in_index("subscriptions", "renewal-date-index")
    return sweeper, sink


def measured(rows: int) -> tuple[int, int]:
    """A sweep of so many rows due on one day: messages sent, and the most bytes it held at any time."""
    sweeper, sink = due_today(rows)
    tracemalloc.start()
    sweeper.sweep()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return sink.count, peak


@pytest.mark.parametrize(("least", "most"), share([(1_000, 5_000), (2_000, 10_000)], of=2))
def test_memory_stays_flat(least: int, most: int) -> None:
    """Five times as many rows on one date need hardly more memory: no run ever holds more than a page."""
    (few, little), (many, much) = measured(least), measured(most)
    assert (few, many) == (least, most)
    assert much < 1.2 * little
