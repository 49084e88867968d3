"""Events of the gateway about refunds: whoever made a refund, and whatever happens to its events, ledger, mails, news
and audit end in the same right state."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from itertools import product
from typing import Any

import pytest

from renewal_audit.report import whole
from renewals.domain import refunds
from renewals.domain.news_of_periods import facts_of_period
from renewals.domain.payment import GatewayRefundState
from renewals.domain.renewal import Renewal
from renewals.domain.timeline import timeline
from renewals.gateway.port import GatewayUnavailable
from renewals.gateway.refund_settlement import Settlement
from renewals.ledger import refund_steps
from tests.door import Door, Order, backwards, doubled, forget_secrets, in_order
from tests.fake_gateway import FakeGateway
from tests.fakes import Cut, World
from tests.shares import rotating
from tests.unit.test_audit import Auditor

PERIOD = "2026-01-31"
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
CREATED, UPDATED, FAILED = "refund.created", "refund.updated", "refund.failed"
type Steps = tuple[Callable[[Door], None], ...]


@pytest.fixture
def door(shop: World) -> Iterator[Door]:
    forget_secrets()
    shop.subscribe()
    yield Door(shop)
    forget_secrets()


def _period(door: Door) -> Renewal:
    period = door.world.ledger.get("sub_1", PERIOD)
    assert period is not None
    return period


def _post(door: Door, since: int = 0) -> int:
    """Post the gateway's events about refunds from number `since` on, and return the number of all events."""
    for event in door.world.gateway.events[since:]:
        if event["type"].startswith("refund."):
            assert door.post(event) == 200
    door.work()
    return len(door.world.gateway.events)


def test_two_refunds_within_seconds_are_both_told(door: Door) -> None:
    """A person makes two refunds in the dashboard, and the first event finds both. The second event has the customer
    told of the other refund, too, without a wait for the sweep."""
    _renew(door)
    door.world.gateway.now = door.now
    door.world.gateway.refund_elsewhere("pi_1", 500)
    door.world.gateway.refund_elsewhere("pi_1", 300)
    _post(door)
    assert (len(_period(door).refunds), door.world.mail_kinds()) == (2, ["receipt", "refunded", "refunded"])
    _post(door)
    assert (len(door.world.mail_kinds()), door.queue.hidden, door.queue.dead) == (3, 0, [])


# --- what happens to a refund --------------------------------------------------------------------------------------


def _renew(door: Door) -> None:
    assert door.world.run("first", door.now) == "Success"
    door.now += HOUR


def _claim(door: Door) -> None:
    """Somebody requests a refund of 10.00 USD by the API, which claims the refund and asks the gateway next."""
    period, now = _period(door), door.now
    name, claim = refunds.new(period, Decimal("10.00"), "USD", by="ann", key="k", caller="arn", at=now)
    door.world.ledger.apply(refund_steps.claim_refund(period, name, claim, [], now, due=now))


def _answer(door: Door) -> None:
    """The gateway makes the requested refund, the API records the answer, and the workflow tells the customer."""
    door.world.gateway.now = door.now
    settlement = Settlement(door.world.ledger, door.world.gateway, door.world.deployment)
    settlement.settle(_period(door), door.world.moment(door.now), "refund_1")
    door.world.run("api", door.now, period=PERIOD)


def _ask(door: Door) -> None:
    _claim(door)
    _answer(door)


def _ask_and_lose_the_answer(door: Door) -> None:
    """The gateway makes the refund, and the connection breaks before the API hears the answer."""
    _claim(door)
    door.world.gateway.trouble.append(("refund", "after"))
    with pytest.raises(GatewayUnavailable):
        _answer(door)
    assert list(door.world.gateway.refunds) == ["re_1"]


def _refund_elsewhere(door: Door) -> None:
    door.world.gateway.now = door.now
    door.world.gateway.refund_elsewhere("pi_1", 500)


def _refund_elsewhere_before_the_record(door: Door) -> None:
    """The process that charged ends after the money moved, and a person refunds a part at once in the dashboard."""
    copied = door.world.copies()()
    copied.run("first", door.now)
    cuts = door.world.cuts
    cuts.at = 2 * copied.cuts.calls.index("gateway.confirm") + 1
    assert door.world.run("first", door.now) != "Success"
    assert _period(door).status == "claimed"
    _refund_elsewhere(door)


def _becomes(state: GatewayRefundState) -> Callable[[Door], None]:
    def change(door: Door) -> None:
        door.world.gateway.refund_becomes("re_1", state)

    return change


def _begins(state: GatewayRefundState) -> Callable[[Door], None]:
    def begin(door: Door) -> None:
        door.world.gateway.refunds_begin = state

    return begin


@dataclass(frozen=True)
class Story:
    """What happens to the refund re_1 of a paid period, step by step.

    told: the types of the events. state: the refund's state in the ledger at the end; None without a record. mails: the
    mails after the receipt if each event arrives at once. late: the state and the mails if the events arrive after the
    last step. left: the amount that can still be refunded at the end.
    """

    steps: Steps
    told: tuple[str, ...]
    state: str | None
    mails: tuple[str, ...]
    late: tuple[str | None, tuple[str, ...]]
    left: str


_PENDING, _SUCCEEDED, _FAILED = GatewayRefundState
_PENDS, _FAILS = _begins(_PENDING), _begins(_FAILED)
STORIES = {
    "ours": Story((_renew, _ask), (CREATED,), "refunded", ("refunded",), ("refunded", ("refunded",)), "19.99"),
    "ours, on its way and made": Story(
        (_renew, _PENDS, _ask, _becomes(_SUCCEEDED)),
        (CREATED, UPDATED),
        "refunded",
        ("refund_pending", "refunded"),
        ("refunded", ("refund_pending", "refunded")),
        "19.99",
    ),
    "ours, on its way and failed": Story(
        (_renew, _PENDS, _ask, _becomes(_FAILED)),
        (CREATED, UPDATED, FAILED),
        "failed",
        ("refund_pending", "refund_failed"),
        ("failed", ("refund_pending", "refund_failed")),
        "29.99",
    ),
    "ours, failed later": Story(
        (_renew, _ask, _becomes(_FAILED)),
        (CREATED, UPDATED, FAILED),
        "failed",
        ("refunded", "refund_failed"),
        ("failed", ("refunded", "refund_failed")),
        "29.99",
    ),
    "ours, without an answer": Story(
        (_renew, _ask_and_lose_the_answer),
        (CREATED,),
        "refunded",
        ("refunded",),
        ("refunded", ("refunded",)),
        "19.99",
    ),
    "in the dashboard": Story(
        (_renew, _refund_elsewhere), (CREATED,), "refunded", ("refunded",), ("refunded", ("refunded",)), "24.99"
    ),
    "in the dashboard, on its way and made": Story(
        (_renew, _PENDS, _refund_elsewhere, _becomes(_SUCCEEDED)),
        (CREATED, UPDATED),
        "refunded",
        ("refund_pending", "refunded"),
        ("refunded", ("refunded",)),
        "24.99",
    ),
    "in the dashboard, failed later": Story(
        (_renew, _refund_elsewhere, _becomes(_FAILED)),
        (CREATED, UPDATED, FAILED),
        "failed",
        ("refunded", "refund_failed"),
        (None, ()),
        "29.99",
    ),
    "in the dashboard, failed at once": Story(
        (_renew, _FAILS, _refund_elsewhere), (CREATED, FAILED), None, (), (None, ()), "29.99"
    ),
    "in the dashboard, before the payment is recorded": Story(
        (_refund_elsewhere_before_the_record,),
        (CREATED,),
        "refunded",
        ("refunded",),
        ("refunded", ("refunded",)),
        "24.99",
    ),
}


WAYS: dict[str, tuple[Order, timedelta | None]] = {
    "at once": (in_order, None),
    "once": (in_order, timedelta()),
    "doubled": (doubled, timedelta()),
    "backwards": (backwards, timedelta()),
    "after the lease": (in_order, 2 * MINUTE),
    "a week late": (in_order, 7 * DAY),
    "never": (in_order, None),
}
"""What happens to the events: their order, and how late after the last step they come."""


def _live(door: Door, days: int) -> None:
    """Let days pass: each night the audit has the workflow look at refunds that differ, and the sweep takes up what is
    unfinished."""
    for _ in range(days):
        door.later(DAY)
        auditor = Auditor(world=door.world, now=door.now)
        auditor.audit(whole("2026-01-30", f"{door.now - DAY:%Y-%m-%d}"))
        for _, period in auditor.unsettled:
            door.world.settle_refunds(f"audit-{door.now:%d}", door.now, period)
        if "unfinished" in door.world.items()[PERIOD]:
            door.world.run(f"sweep-{door.now:%d}", door.now, period=PERIOD)
            door.world.settle_refunds(f"refunds-{door.now:%d}", door.now, PERIOD)


@pytest.mark.parametrize(
    ("story", "way"),
    [*product(STORIES, ["at once"]), *rotating([*STORIES], [way for way in WAYS if way != "at once"], of=3)],
)
def test_the_end_is_right_whatever_happens_to_an_event(door: Door, story: str, way: str) -> None:
    """Each story ends with the same refund, the same amount left, the same news, true mails and a clean audit, whether
    its events come at once, later, twice, in the wrong order, while a lease is live, a week late or never."""
    told, (order, late) = STORIES[story], WAYS[way]
    posted = 0
    for step in told.steps:
        door.later(MINUTE)
        step(door)
        if way == "at once":
            posted = _post(door, posted)
    events = [event for event in door.world.gateway.events if event["type"].startswith("refund.")]
    assert tuple(event["type"] for event in events) == told.told
    if late is not None:
        _live(door, late.days)
        door.later(timedelta(seconds=late.seconds))
        for event in order(events):
            assert door.post(event) == 200
        door.work()
    _live(door, 9 - (late.days if late else 0))
    assert door.queue.dead == []
    state, mails = (told.state, told.mails) if way == "at once" else told.late
    period = _period(door)
    assert [each["state"] for each in period.refunds.values()] == ([state] if state else [])
    assert refunds.left(period) == Decimal(told.left)
    assert door.world.mail_kinds() == ["receipt", *mails]
    news = [fact.type for fact in facts_of_period(period)]
    told_as_made = ["renewal.refunded"] if "refunded" in mails else []
    told_as_failed = ["renewal.refund_failed"] if state == "failed" else []
    assert news == ["renewal.paid", *told_as_made, *told_as_failed]
    audited = Auditor(world=door.world, now=door.now + DAY).audit(whole("2026-01-30", f"{door.now:%Y-%m-%d}"))
    assert sum(audited["differences"].values()) == 0
    assert len(door.world.gateway.refunds) == 1
    assert len(door.world.gateway.charges) == 1


# --- what an event of a refund does, and what it never does --------------------------------------------------------


def _event(kind: str, refund: str = "re_1", **metadata: str) -> dict[str, Any]:
    about = {"id": refund, "object": "refund", "payment_intent": "pi_1", "metadata": metadata}
    event = {"id": "evt_lie", "object": "event", "type": kind, "created": 1769860800, "livemode": False}
    return event | {"data": {"object": about}}


def test_a_refund_in_the_dashboard_is_told_and_counted_within_seconds(door: Door) -> None:
    """The event has the refund recorded under its id, told to the customer with its own receipt, and counted in what is
    left, without the sweep and without the audit. The request to the workflow names the event."""
    _renew(door)
    _refund_elsewhere(door)
    _post(door)
    [(asked, state)] = door.ran
    assert (asked["event_type"], asked["gateway_event"], state) == ("subscription.refunds", "evt_2", "Success")
    period = _period(door)
    assert (period.refunds["refund_1"]["refund_id"], period.refunds["refund_1"]["by"]) == ("re_1", "the gateway")
    assert (refunds.left(period), door.world.mail_kinds()) == (Decimal("24.99"), ["receipt", "refunded"])
    assert str(door.world.mails()[-1]["Subject"]) == "Refund for Pro: $5.00"


def test_a_refund_that_the_ledger_holds_costs_one_question_and_one_read(door: Door) -> None:
    """The event of a refund by the API finds the refund in the ledger: the workflow does not run."""
    _renew(door)
    _ask(door)
    door.world.cuts.calls.clear()
    _post(door)
    assert door.ran == []
    assert door.world.cuts.calls == ["gateway.retrieve_refund", "dynamodb.GetItem"]


def test_a_failure_counts_once_for_the_alarm(door: Door, capsys: pytest.CaptureFixture[str]) -> None:
    """A refund that fails weeks later is counted once for the alarm and told once, however often its two events
    come."""
    _renew(door)
    _refund_elsewhere(door)
    posted = _post(door)
    door.later(20 * DAY)
    _becomes(_FAILED)(door)
    for _ in range(3):
        _post(door, posted)
    assert capsys.readouterr().out.count('"RefundFailed":[1.0]') == 1
    assert door.world.mail_kinds() == ["receipt", "refunded", "refund_failed"]


def test_an_event_waits_while_a_refund_is_requested(door: Door) -> None:
    """The event comes while the API still waits for the gateway's answer: nothing runs, and the refund is recorded once
    as the requested refund."""
    _renew(door)
    _claim(door)
    calls = door.world.cuts.calls

    def comes(_: str) -> None:
        door.world.cuts.at = None
        _post(door)
        assert (door.ran, door.queue.hidden) == ([], 1)

    copied = Door(door.world.copies()(), door.now)
    _answer(copied)
    answered = copied.world.cuts.calls.index("gateway.refund", len(calls))
    door.world.cuts.happens, door.world.cuts.at = comes, 2 * answered + 1
    _answer(door)
    door.later(HOUR)
    assert [each["by"] for each in _period(door).refunds.values()] == ["ann"]
    assert (door.ran, door.world.mail_kinds()) == ([], ["receipt", "refunded"])
    assert (door.queue.hidden, door.queue.dead) == (0, [])


def test_an_unknown_refund_waits_for_an_open_claim(door: Door) -> None:
    """A refund in the dashboard is told of while a requested refund has no answer, because the API's process ended
    before the call: the event waits, and then each refund is made and recorded once."""
    _renew(door)
    _claim(door)
    _refund_elsewhere(door)
    _post(door)
    assert (door.ran, list(_period(door).refunds)) == ([], ["refund_1"])
    door.later(HOUR)
    assert [(each["by"], each["state"]) for _, each in refunds.in_order(_period(door).refunds)] == [
        ("ann", "refunded"),
        ("the gateway", "refunded"),
    ]
    assert refunds.left(_period(door)) == Decimal("14.99")
    assert sorted(each.amount for each in door.world.gateway.refunds.values()) == [500, 1000]
    door.world.settle_refunds("sweep", door.now)
    assert door.world.mail_kinds() == ["receipt", "refunded", "refunded"]


def test_a_refund_that_the_gateway_does_not_list_yet_is_looked_at_again(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gateway knows the refund of the event before its list of refunds shows the refund: the event comes back, and
    the refund is recorded once the list shows the refund."""
    _renew(door)
    _refund_elsewhere(door)
    with monkeypatch.context() as patch:
        patch.setattr(FakeGateway, "refunds_of", lambda *_: [])
        _post(door)
        assert (_period(door).refunds, door.queue.hidden) == ({}, 1)
    door.later(2 * MINUTE)
    assert ([*_period(door).refunds], door.queue.hidden) == (["refund_1"], 0)


@pytest.mark.parametrize("kind", [CREATED, UPDATED, FAILED])
def test_an_event_of_a_refund_that_lies_changes_nothing(door: Door, kind: str) -> None:
    """An event says what the gateway does not say, of a known or of an unknown refund: nothing is recorded, told or
    refunded."""
    _renew(door)
    _ask(door)
    before = door.world.items()[PERIOD]["refunds"], door.world.mail_kinds(), dict(door.world.gateway.refunds)
    assert door.post(_event(kind)) == 200
    assert door.post(_event(kind, "re_9")) == 200
    door.later(HOUR)
    assert (door.world.items()[PERIOD]["refunds"], door.world.mail_kinds(), door.world.gateway.refunds) == before
    assert (door.queue.hidden, door.queue.dead) == (0, [])


def test_a_refund_of_another_deployment_or_payment_is_passed_over(
    door: Door, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two deployments share an account of the gateway and have a period of the same name: the event of a refund leads
    by its payment to the deployment that charged. A refund of a payment that the ledger does not hold is passed over
    too."""
    _renew(door)
    gateway = door.world.gateway
    theirs = replace(gateway.requests["pi_1"], deployment="copy/1/eu", idempotency_key="theirs")
    second = replace(gateway.requests["pi_1"], idempotency_key="second")
    for request in (theirs, second):
        made = gateway.create(request)
        gateway.succeed(made.id)
        gateway.refund_elsewhere(made.id, 700)
    gateway.payments["pi_alien"] = replace(gateway.payments["pi_1"], id="pi_alien")
    gateway.refund_elsewhere("pi_alien", 700)
    _post(door)
    assert (door.ran, _period(door).refunds) == ([], {})
    assert capsys.readouterr().out.count('"GatewayEventsPassedOver":[1.0]') == 3
    assert (door.queue.hidden, door.queue.dead) == (0, [])


def test_a_copy_of_the_ledger_in_another_deployment_is_told_nothing(door: Door) -> None:
    """A test deployment on the same account works on a copy of the ledger: a refund of the first deployment's payment
    is neither recorded nor mailed by the copy."""
    _renew(door)
    _refund_elsewhere(door)
    door.world.stack = "copy"
    _post(door)
    assert (door.ran, _period(door).refunds, door.world.mail_kinds()) == ([], {}, ["receipt"])


def test_the_refund_of_a_payment_of_an_earlier_version_is_recorded(door: Door) -> None:
    """Payments of earlier versions name no deployment: the ledger's payment id decides."""
    _renew(door)
    request = door.world.gateway.requests["pi_1"]
    door.world.gateway.requests["pi_1"] = replace(request, deployment="")
    _refund_elsewhere(door)
    _post(door)
    assert [*_period(door).refunds] == ["refund_1"]


def test_a_gateway_that_fails_loses_no_event(door: Door) -> None:
    """The gateway does not answer, then turns the key away, then answers: the event comes back until the refund is
    recorded."""
    _renew(door)
    _refund_elsewhere(door)
    door.world.gateway.trouble.append(("retrieve_refund", "before"))
    _post(door)
    door.world.gateway.turned_away.add("retrieve_refund")
    door.later(MINUTE)
    assert (_period(door).refunds, door.queue.hidden) == ({}, 1)
    door.world.gateway.turned_away.clear()
    door.later(HOUR)
    assert ([*_period(door).refunds], door.world.mail_kinds()) == (["refund_1"], ["receipt", "refunded"])
    assert door.queue.dead == []


def test_an_event_that_meets_a_receipt_on_its_way_is_looked_at_after_it(door: Door) -> None:
    """A person refunds a payment whose receipt is still being made: the event waits for the lease, the receipt goes out
    first, and the refund is told after the receipt."""
    copied = door.world.copies()()
    copied.run("first", door.now)
    door.world.cuts.at = 2 * copied.cuts.calls.index("s3.PutObject")
    door.world.run("first", door.now)
    assert _period(door).status == "paid"
    _refund_elsewhere(door)
    _post(door)
    assert (door.ran, _period(door).refunds) == ([], {})
    _live(door, 1)
    assert (door.world.mail_kinds(), door.queue.dead) == (["receipt", "refunded"], [])


def test_the_timeline_tells_of_a_refund_in_the_dashboard_and_its_failure(door: Door) -> None:
    """The timeline says in plain words that the refund was not made through this system, and that it failed."""
    _renew(door)
    _refund_elsewhere(door)
    posted = _post(door)
    assert _texts(door)[-2:] == [
        "5.00 USD were refunded to the customer at the gateway, not through this system (transaction re_1).",
        "Mailed the receipt of the refund to a***@c***.example.",
    ]
    door.later(DAY)
    _becomes(_FAILED)(door)
    _post(door, posted)
    failed = "The refund of 5.00 USD failed, and the customer did not get it: the customer's card has expired or was"
    assert any(text.startswith(failed) for text in _texts(door))
    assert _texts(door)[-1] == "Mailed the notice that the refund failed to a***@c***.example."


def _texts(door: Door) -> list[str]:
    entries = timeline(door.world.row(), [door.world.items()[PERIOD]], [])
    return [entry.text for entry in entries]


def test_an_end_of_a_process_at_any_call_loses_and_doubles_nothing(door: Door) -> None:
    """The worker's or the workflow's process ends before or after any of its calls: the event comes back, and in the
    end the refund is recorded once and told at most once; a mail that was being sent may stand as unknown."""
    _renew(door)
    _refund_elsewhere(door)
    copies, events = door.world.copies(), [door.world.gateway.events[-1]]
    for at in range(200):
        cut = Door(copies(), door.now)
        cut.world.gateway.events = events
        cut.world.cuts.calls.clear()
        cut.world.cuts.at = at
        with suppress(Cut):
            _post(cut)
        whole, cut.world.cuts.at = cut.world.cuts.at is not None, None
        _live(cut, 2)
        [refund] = _period(cut).refunds.values()
        assert (refund["refund_id"], refund["state"], cut.queue.dead) == ("re_1", "refunded", [])
        state = _period(cut).mails["refunded_1"].state
        assert state in ("sent", "unknown")
        assert cut.world.ses.subjects().count("Refund for Pro: $5.00") <= 1
        if whole:
            assert at > 20
            assert state == "sent"
            return
    pytest.fail("the event has more calls than the test cuts")


def _interrupt(door: Door, at: int) -> None:
    """Act on the next event of the queue at the moment `at` of the present work."""
    door.world.cuts.at, door.world.cuts.happens = at, lambda _: door.work()


def test_two_events_of_a_refund_at_work_at_once_tell_once(door: Door) -> None:
    """The second copy of an event is acted on at any moment of the first copy's work: the refund is recorded once and
    told once."""
    _renew(door)
    _refund_elsewhere(door)
    copies, event = door.world.copies(), door.world.gateway.events[-1]
    for at in range(200):
        both = Door(copies(), door.now)
        assert (both.post(event), both.post(event)) == (200, 200)
        both.world.cuts.calls.clear()
        _interrupt(both, at)
        both.work()
        whole, both.world.cuts.at = both.world.cuts.at is not None, None
        _live(both, 2)
        assert [each["refund_id"] for each in _period(both).refunds.values()] == ["re_1"]
        assert both.world.ses.subjects().count("Refund for Pro: $5.00") == 1
        assert (both.queue.hidden, both.queue.dead) == (0, [])
        if whole:
            assert at > 20
            return
    pytest.fail("the event has more calls than the test interrupts")


@pytest.mark.parametrize("gone", [False, True])
@pytest.mark.parametrize(("card", "first"), [("pm_3ds", "action_required"), ("pm_declined", "payment_failed")])
def test_a_refund_tells_of_a_payment_whose_own_event_was_lost(door: Door, card: str, first: str, *, gone: bool) -> None:
    """The customer completed the payment at the bank's page, a person refunded a part, and the payment's event never
    came: the refund's event has the payment recorded and receipted first, even of a subscription that is gone."""
    door.world.edit(payment_method=card)
    door.world.run("first", door.now)
    door.now += HOUR
    door.world.gateway.succeed("pi_1")
    if gone:
        door.world.delete_row()
    _refund_elsewhere(door)
    _post(door)
    assert door.world.mail_kinds() == [first, "receipt", "refunded"]
    assert refunds.left(_period(door)) == Decimal("24.99")
    assert (len(door.ran), door.queue.hidden, door.queue.dead) == (2, 0, [])


def test_a_refund_of_a_period_that_was_given_up_is_passed_over(door: Door) -> None:
    """The ledger gave the period up, and the gateway has a refund of its payment all the same: nothing is recorded, and
    the event is counted."""
    _renew(door)
    _refund_elsewhere(door)
    item = {name: value for name, value in door.world.items()[PERIOD].items() if name != "paid_at"}
    door.world.dynamodb.put("renewals", item | {"status": "given_up", "reason": "canceled"})
    _post(door)
    assert (door.ran, _period(door).refunds, door.queue.hidden) == ([], {}, 0)
