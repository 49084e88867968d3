"""Events of the gateway about payments: whatever happens to an event, ledger, mails and audit end in the same right
state."""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

import gateway_worker.app
from gateway_worker.handlers import HANDLERS
from gateway_worker.handling import Handled
from renewal_audit.report import whole
from renewals.domain.gateway_event import GatewayEvent, GatewayEventType
from renewals.domain.item_values import storable
from renewals.domain.payment import PaymentState
from renewals.domain.request import RenewalRequest
from tests.door import Door, Order, backwards, doubled, forget_secrets, in_order, record_of
from tests.fake_aws import error
from tests.fakes import NOON, Cut, World
from tests.shares import rotating, share
from tests.unit.test_audit import Auditor

PERIOD = "2026-01-31"
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def door(shop: World) -> Iterator[Door]:
    forget_secrets()
    yield Door(shop)
    forget_secrets()


def _deliver_all(door: Door, since: int = 0) -> None:
    """Post each event that the gateway has emitted, and act on the events."""
    for event in door.world.gateway.events[since:]:
        assert door.post(event) == 200
    door.work()


def test_each_type_of_event_has_a_handler() -> None:
    """Every type of event that the door takes has a row in the worker's table."""
    assert HANDLERS.keys() == set(GatewayEventType)


# --- each type of event, and what may happen to the event ---------------------------------------------------------


@dataclass(frozen=True)
class Story:
    """A renewal whose payment changes at the gateway.

    Attributes:
        card: the subscription's card.
        begins: the first run of the workflow.
        happens: the later change of the payment at the gateway.
        told: the types of the events that the gateway sends.
        status: the period's status at the end of the story.
        mails: all mails of the story.
    """

    card: str
    begins: Callable[[Door], None]
    happens: Callable[[Door], None]
    told: tuple[str, ...]
    status: str
    mails: tuple[str, ...]


def _renew(door: Door) -> None:
    door.world.run("first", door.now)


def _process(door: Door) -> None:
    """Renew, but the bank does not decide at once: the payment stays in the status processing."""
    door.world.gateway.trouble.append(("confirm", "processing"))
    _renew(door)


def _cut_after(call: str) -> Callable[[Door], None]:
    def begin(door: Door) -> None:
        """End the process of ProcessPayment just after the call."""
        calls = _copy_run(door)
        # In tests.cuts, the number of the moment after call n is 2n + 1.
        door.world.cuts.at = 2 * (len(door.world.cuts.calls) + calls.index(call)) + 1
        with pytest.raises(Cut):
            door.world.charge("first", door.now).renew(_asked())

    return begin


def _cut_before_confirm(door: Door) -> None:
    """End the process of ProcessPayment when the ledger holds the payment's id, before the payment is confirmed."""
    door.world.cuts.at = 2 * (len(door.world.cuts.calls) + _copy_run(door).index("gateway.confirm"))
    with pytest.raises(Cut):
        door.world.charge("first", door.now).renew(_asked())


def _copy_run(door: Door) -> list[str]:
    """Run the charge in a copy of the world, and return the calls that the charge makes."""
    copied = door.world.copies()()
    before = len(copied.cuts.calls)
    copied.charge("first", door.now).renew(_asked())
    return copied.cuts.calls[before:]


def _asked() -> RenewalRequest:
    return RenewalRequest("sub_1", "cus_1", Decimal("29.99"))


def _nothing(_: Door) -> None:
    """Nothing more happens."""


def _pay(door: Door) -> None:
    door.world.gateway.succeed("pi_1")


def _fail(door: Door) -> None:
    door.world.gateway.fail_authentication("pi_1")
    door.world.edit(payment_method="pm_ok_later")  # the customer updates the payment method


def _cancel(door: Door) -> None:
    door.world.gateway.cancel("pi_1")


SUCCEEDED, FAILED, CANCELED, PROCESSING = TYPES = [
    kind.value for kind in GatewayEventType if kind.startswith("payment_intent.")
]
STORIES = {
    "renewed": Story("pm_ok", _renew, _nothing, (SUCCEEDED,), "done", ("receipt",)),
    "confirmed at the bank": Story("pm_3ds", _renew, _pay, (FAILED, SUCCEEDED), "done", ("action_required", "receipt")),
    "declined, and paid elsewhere": Story(
        "pm_declined", _renew, _pay, (FAILED, SUCCEEDED), "done", ("payment_failed", "receipt")
    ),
    "processed and paid": Story("pm_ok", _process, _pay, (PROCESSING, SUCCEEDED), "done", ("receipt",)),
    "processed, failed, and paid by another card": Story(
        "pm_ok", _process, _fail, (PROCESSING, FAILED), "done", ("receipt",)
    ),
    "cut off and paid": Story("pm_ok", _cut_after("gateway.confirm"), _nothing, (SUCCEEDED,), "done", ("receipt",)),
    "cut off and canceled": Story("pm_ok", _cut_after("gateway.create"), _cancel, (CANCELED,), "failed", ()),
}


WAYS: dict[str, tuple[Order, timedelta | None]] = {
    "once": (in_order, timedelta()),
    "doubled": (doubled, timedelta()),
    "backwards": (backwards, timedelta()),
    "after the lease": (in_order, 2 * MINUTE),
    "a week late": (in_order, 7 * DAY),
    "never": (in_order, None),
}
"""The ways in which a story's events may arrive. Each way has a function that orders or repeats the events, and the
delay of the events (None: no event arrives).
"""


def _live(door: Door, days: int) -> None:
    """Let days pass. On each day the worker looks again at waiting events, and a sweep requests the period once."""
    for _ in range(days):
        door.later(DAY)
        door.world.run(f"sweep-{door.now:%d}", door.now, period=PERIOD)


def _end(door: Door) -> tuple[Any, ...]:
    """Return the ledger's status, the mails, the number of charges, and the numbers of differences in an audit."""
    world = door.world
    audited = Auditor(world=world, now=door.now + DAY).audit(whole("2026-01-30", f"{door.now:%Y-%m-%d}"))
    item = world.items()[PERIOD]
    return item["status"], tuple(world.mail_kinds()), len(world.gateway.charges), dict(audited["differences"])


@pytest.mark.parametrize(("story", "way"), rotating([*STORIES], [*WAYS], of=3))
def test_the_end_is_right_whatever_happens_to_an_event(door: Door, story: str, way: str) -> None:
    """Each story ends with the same status, mails, charges and a clean audit, whether the story's events arrive once,
    twice, in the wrong order, two minutes late (after the lease), a week late or never."""
    told, (order, late) = STORIES[story], WAYS[way]
    door.world.subscribe(payment_method=told.card)
    told.begins(door)
    told.happens(door)
    assert tuple(event["type"] for event in door.world.gateway.events) == told.told
    events = list(door.world.gateway.events)
    if late is not None:
        _live(door, late.days)
        door.later(timedelta(seconds=late.seconds))
        for event in order(events):
            assert door.post(event) == 200
        door.work()
    _live(door, 9 - (late.days if late else 0))
    assert door.queue.dead == []
    status, mails, charges, differences = _end(door)
    assert (status, mails, charges) == (told.status, told.mails, 1 if told.status == "done" else 0)
    assert sum(differences.values()) == 0


@pytest.mark.parametrize("call", ["gateway.create", "gateway.confirm", "dynamodb.TransactWriteItems"])
def test_an_event_that_comes_before_its_cause_is_recorded(door: Door, call: str) -> None:
    """An event arrives while the charge still runs, before the ledger holds the payment's id or result: the worker
    looks at the event again after the lease has ended, and the customer is charged and mailed once."""
    world = door.world
    world.subscribe()
    first = _copy_run(door).index(call)
    event = _event("payment_intent.succeeded", payment="pi_1")

    def comes(_: str) -> None:
        assert door.post(event) == 200
        door.work()

    world.cuts.happens, world.cuts.at = comes, 2 * first + 1
    assert world.run("first", door.now) == "Success"
    door.later(30 * MINUTE)
    assert door.ran == []  # the run that held the lease did everything
    assert (world.items()[PERIOD]["status"], world.mail_kinds(), len(world.gateway.charges)) == ("done", ["receipt"], 1)
    assert door.queue.dead == []


def test_an_event_that_comes_before_its_payment_is_known_is_looked_at_again(door: Door) -> None:
    """The event arrives before the ledger holds the payment's id, and the charge is cut off after the confirmation:
    when the lease has ended, the worker runs the workflow for the event, and no sweep is needed to end the renewal."""
    world = door.world
    world.subscribe()
    calls, ends = _copy_run(door), world.cuts.happens

    def comes(_: str) -> None:
        before = len(world.cuts.calls)
        assert door.post(_event("payment_intent.succeeded")) == 200
        door.work()
        world.cuts.happens = ends
        world.cuts.at = 2 * (calls.index("gateway.confirm") + len(world.cuts.calls) - before) + 1

    world.cuts.happens, world.cuts.at = comes, 2 * calls.index("gateway.create") + 1
    with pytest.raises(Cut):
        world.charge("first", door.now).renew(_asked())
    assert world.items()[PERIOD]["status"] == "claimed"
    door.later(2 * MINUTE)
    assert (world.items()[PERIOD]["status"], len(world.gateway.charges)) == ("done", 1)


def _event(kind: str, payment: str = "pi_1", **changes: Any) -> dict[str, Any]:
    metadata = {"subscription_id": "sub_1", "renewal_date": PERIOD, "attempt": "1", "deployment": "shop-prod"}
    event = {"id": "evt_lie", "object": "event", "type": kind, "created": int(NOON.timestamp()), "livemode": False}
    return event | {"data": {"object": {"id": payment, "metadata": metadata | changes.pop("metadata", {})}}} | changes


# --- what an event does at once, and what an event never does ------------------------------------------------------


@pytest.mark.parametrize(("card", "first"), [("pm_3ds", "action_required"), ("pm_declined", "payment_failed")])
def test_a_payment_that_the_customer_completes_is_receipted_at_once(door: Door, card: str, first: str) -> None:
    """The customer completes the payment at the bank's page or elsewhere: the event runs the workflow for the period,
    which records the payment and sends the receipt, days before the next dunning date. The input of the workflow names
    the event."""
    door.world.subscribe(payment_method=card)
    assert door.world.run() == "PaymentDeclined"
    door.world.gateway.succeed("pi_1")
    _deliver_all(door)
    assert door.world.items()[PERIOD]["status"] == "done"
    assert door.world.mail_kinds() == [first, "receipt"]
    [(asked, state)] = door.ran
    assert (asked["renewal_date"], asked["gateway_event"], state) == (PERIOD, "evt_2", "Success")


def test_the_event_of_a_renewal_is_known_already(door: Door) -> None:
    """The gateway sends an event for every ordinary renewal. The worker reads in the ledger that the period is paid,
    and calls neither the workflow nor the gateway."""
    door.world.subscribe()
    door.world.run()
    door.world.cuts.calls.clear()
    _deliver_all(door)
    assert door.ran == []
    assert door.world.cuts.calls == ["dynamodb.GetItem"]


def test_an_event_that_meets_a_live_lease_is_looked_at_after_it(door: Door) -> None:
    """The run that confirmed the payment was cut off. While the lease is live, an event starts nothing. After the
    lease, the worker runs the workflow for the event, and no sweep is needed to end the renewal."""
    door.world.subscribe()
    STORIES["cut off and paid"].begins(door)
    _deliver_all(door)
    assert (door.ran, door.world.items()[PERIOD]["status"]) == ([], "claimed")
    door.later(MINUTE)
    assert [state for _, state in door.ran] == ["Success"]
    assert (door.world.items()[PERIOD]["status"], len(door.world.gateway.charges)) == ("done", 1)


def test_an_event_of_a_payment_that_the_ledger_does_not_hold_is_passed_over(door: Door) -> None:
    """The metadata of an event names a period, and the period must have the event's payment. An event with a different
    payment, an unknown period, an invalid renewal date or no metadata is acknowledged, and nothing runs."""
    door.world.subscribe(payment_method="pm_3ds")
    door.world.run()
    for metadata in ({}, {"renewal_date": "2026-02-28"}, {"renewal_date": "x"}, {"subscription_id": "sub_2"}):
        assert door.post(_event("payment_intent.succeeded", "pi_9", metadata=metadata)) == 200
    stray = _event("payment_intent.succeeded")
    stray["data"]["object"]["metadata"] = {}
    assert door.post(stray) == 200
    door.later(MINUTE)
    assert (door.ran, door.queue.waiting, door.queue.dead) == ([], 0, [])


def test_an_event_of_another_deployment_or_mode_is_passed_over(door: Door, capsys: pytest.CaptureFixture[str]) -> None:
    """A worker with a test key passes an event about real money over, and any worker passes over an event in the queue
    that names a different deployment: the worker does not act on the event, and the metric GatewayEventsPassedOver
    counts the event. Once a live key has replaced the test key, the worker acts on an event about real money."""
    door.world.subscribe(payment_method="pm_3ds")
    door.world.run()
    door.world.gateway.succeed("pi_1")
    assert door.post(_event("payment_intent.succeeded", livemode=True)) == 200
    door.work()
    for event in door.world.gateway.events:
        assert door.post(event) == 200
    door.world.stack = "copy"
    door.work()
    door.world.stack = "shop"
    assert door.ran == []
    assert capsys.readouterr().out.count('"GatewayEventsPassedOver":[1.0]') == 3
    door.secrets["gateway"]["api_key"] = "sk_live_1"  # the key was replaced a moment ago
    assert door.post(_event("payment_intent.succeeded", livemode=True)) == 200
    door.work()
    assert door.world.items()[PERIOD]["status"] == "done"


def test_an_event_is_not_passed_over_by_a_key_that_cannot_be_read(door: Door) -> None:
    """The worker knows a test key, and an event about real money arrives while Secrets Manager fails. The worker cannot
    find out whether a live key has replaced the test key, and therefore keeps the event for a later try."""
    door.world.subscribe(payment_method="pm_3ds")
    door.world.run()
    assert door.post(_event("payment_intent.processing")) == 200
    door.work()  # the worker knows the test key
    door.world.gateway.succeed("pi_1")
    door.secrets["gateway"]["api_key"] = "sk_live_1"
    assert door.post(_event("payment_intent.succeeded", livemode=True)) == 200
    door.store_falters = True
    door.work()
    door.later(MINUTE)
    assert door.world.items()[PERIOD]["status"] == "action_required"
    door.store_falters = False
    door.later(HOUR)
    assert (door.world.items()[PERIOD]["status"], door.queue.waiting, door.queue.dead) == ("done", 0, [])


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("card", ["pm_3ds", "pm_declined", "pm_ok"])
def test_an_event_that_lies_changes_nothing(door: Door, kind: str, card: str) -> None:
    """An event claims a change that did not happen at the gateway. The workflow asks the gateway, and the false event
    causes no charge, no mail, and no change of the period's status or the subscription."""
    door.world.subscribe(payment_method=card)
    door.world.run()
    before = door.world.items(), door.world.row(), door.world.mail_kinds(), list(door.world.gateway.attempts)
    assert door.post(_event(kind)) == 200
    door.later(HOUR)
    assert door.world.items()[PERIOD]["status"] == before[0][PERIOD]["status"]
    assert (door.world.row(), door.world.mail_kinds(), door.world.gateway.attempts) == before[1:]


@pytest.mark.parametrize("by_the_gateway", [True, False], ids=["by the gateway", "by a person"])
def test_a_canceled_payment_can_no_longer_be_confirmed(door: Door, *, by_the_gateway: bool) -> None:
    """The bank has asked for a confirmation, and the payment is canceled at the gateway: by the event, the ledger knows
    that the customer can confirm nothing. No attempt is made, no date moves, and nobody is mailed."""
    world = door.world
    world.subscribe(payment_method="pm_3ds")
    world.run()
    before = world.items()[PERIOD], world.row(), world.mail_kinds(), list(world.gateway.attempts)
    payment = world.gateway.payments["pi_1"]
    world.gateway.payments["pi_1"] = replace(payment, state=PaymentState.CANCELED, lapsed=by_the_gateway)
    for _ in range(2):
        assert door.post(_event("payment_intent.canceled")) == 200
        door.later(HOUR)
    item = world.items()[PERIOD]
    changed = {name for name in {*item, *before[0]} if item.get(name) != before[0].get(name)}
    assert changed - {"touched_at", "write"} == {"closed_at"}
    assert (world.row(), world.mail_kinds(), world.gateway.attempts) == before[1:]


@pytest.mark.parametrize("card", ["pm_3ds", "pm_declined"])
@pytest.mark.parametrize("due", ["dunning date", "new card"])
def test_an_event_makes_no_attempt(door: Door, card: str, due: str) -> None:
    """On a dunning date, or after an update of the payment method, a false event makes no attempt, moves no dunning
    date and causes no mail: the sweep alone retries the payment."""
    world = door.world
    world.subscribe(payment_method=card)
    world.run()
    if due == "new card":
        world.edit(payment_method="pm_ok_later")
    else:
        door.now += 40 * DAY
    before = world.items(), world.row(), world.mail_kinds(), list(world.gateway.attempts)
    assert door.post(_event(SUCCEEDED)) == 200
    door.work()
    assert [state for _, state in door.ran] == ["PaymentDeclined"]
    assert (world.items(), world.row(), world.mail_kinds(), world.gateway.attempts) == before


@pytest.mark.parametrize("paid", [False, True])
@pytest.mark.parametrize("card", ["pm_ok", "pm_ok_later"])
def test_an_event_of_a_failed_period_only_asks(door: Door, card: str, *, paid: bool) -> None:
    """A failed period waits for a person, and an event arrives. The workflow asks the gateway about the payment: a paid
    payment is recorded and receipted, and an unpaid payment is not tried again, even with a new payment method."""
    world = door.world
    world.subscribe()
    _cut_before_confirm(door)
    failed = {"status": "failed", "reason": "picked_up_too_often"}
    world.dynamodb.put("renewals", world.items()[PERIOD] | failed)
    world.edit(payment_method=card)
    door.now += HOUR
    if paid:
        world.gateway.succeed("pi_1")
    attempts = list(world.gateway.attempts)
    assert door.post(_event(SUCCEEDED)) == 200
    door.work()
    assert [state for _, state in door.ran] == ["Success"]
    assert world.gateway.attempts == attempts
    assert world.items()[PERIOD]["status"] == ("done" if paid else "failed")


def test_an_event_claims_no_period(door: Door) -> None:
    """The subscription got a different customer at the gateway after the charge was cut off. The workflow that an event
    starts gives the old claim up, and does not claim the period again. Only the workflow that the sweep starts claims
    the period again, and charges the new customer."""
    world = door.world
    world.subscribe()
    _cut_before_confirm(door)
    world.edit(gateway_customer="cus_other")
    door.now += HOUR
    assert door.post(_event(CANCELED)) == 200
    door.work()
    assert [state for _, state in door.ran] == ["Success"]
    assert (world.items()[PERIOD]["status"], world.gateway.attempts) == ("given_up", [])
    world.run("sweep", door.now, period=PERIOD)
    assert (world.items()[PERIOD]["status"], len(world.gateway.charges)) == ("done", 1)


@pytest.mark.parametrize("state", ["canceled", "deleted", "moved", "paused", "owned by another customer"])
def test_an_event_of_a_subscription_that_is_gone_charges_nothing(door: Door, state: str) -> None:
    """When the payment turns out paid, the subscription has been canceled, deleted or paused, has a different renewal
    date, or belongs to a different customer at the gateway. The payment is recorded once with its receipt, and nothing
    new is charged."""
    world = door.world
    world.subscribe(payment_method="pm_3ds")
    world.run()
    match state:
        case "deleted":
            world.delete_row()
        case "moved":
            world.edit(renewal_date="2026-02-10")
        case "owned by another customer":
            world.edit(gateway_customer="cus_other")
        case status:
            world.edit(status=status)
    world.gateway.succeed("pi_1")
    _deliver_all(door)
    door.later(HOUR)
    assert [payment for payment, _, _ in world.gateway.charges] == ["pi_1"]
    assert "paid_at" in world.items()[PERIOD]
    assert world.mail_kinds() == ["action_required", "receipt"]
    assert door.queue.dead == []


def test_an_event_starts_no_period_of_its_own(door: Door) -> None:
    """An event never starts the charge of a period that is due but not yet claimed."""
    door.world.subscribe()
    for kind in GatewayEventType:
        assert door.post(_event(kind)) == 200
    door.later(HOUR)
    assert (door.ran, door.world.gateway.charges, door.world.items()) == ([], [], {})


def test_charging_that_is_off_stays_off(door: Door) -> None:
    """While charging is off, an event of a paid payment leads to the record of the payment, and to no new charge."""
    world = door.world
    world.subscribe(payment_method="pm_3ds")
    world.run()
    world.turn_charging_off()
    world.gateway.succeed("pi_1")
    _deliver_all(door)
    assert (world.items()[PERIOD]["status"], len(world.gateway.charges)) == ("done", 1)


# --- failures ------------------------------------------------------------------------------------------------------


def test_an_event_that_fails_comes_back_and_ends_as_a_dead_letter(door: Door) -> None:
    """A workflow that fails is tried again after a minute, ten minutes, an hour and four hours. After the fifth
    failure the event lies in the dead-letter queue; brought back, the event is acted on."""
    door.world.subscribe(payment_method="pm_3ds")
    door.world.run()
    door.world.gateway.succeed("pi_1")
    door.trouble = ["FAILED"] * 5
    _deliver_all(door)
    tries = [len(door.trouble)]
    for wait in (MINUTE, 10 * MINUTE, HOUR, 4 * HOUR):
        door.later(wait - MINUTE / 2)
        assert len(door.trouble) == tries[-1]
        door.later(MINUTE / 2)
        tries.append(len(door.trouble))
    assert tries == [4, 3, 2, 1, 0]
    door.later(MINUTE)
    [dead] = door.queue.dead
    door.queue.bodies = [dead]
    door.work()
    assert door.world.items()[PERIOD]["status"] == "done"


def test_an_outage_of_the_gateway_fails_no_period(door: Door) -> None:
    """The process that charged ended after the money had moved, and the gateway does not answer for two hours. The
    payment's event arrives twelve times meanwhile: no try counts as a pick-up, no copy becomes a dead letter, and the
    payment is recorded and receipted once the gateway answers."""
    door.world.subscribe()
    STORIES["cut off and paid"].begins(door)
    door.later(HOUR)
    [event] = door.world.gateway.events
    door.world.gateway.trouble += [("retrieve", "before")] * 500
    for _ in range(12):
        assert door.post(event) == 200
        door.later(10 * MINUTE)
    item = door.world.items()[PERIOD]
    assert (item["status"], item["pickups"], door.queue.dead, len(door.ran) > 12) == ("claimed", 0, [], True)
    door.world.gateway.trouble.clear()
    door.later(4 * HOUR)
    assert door.world.items()[PERIOD]["status"] == "done"
    assert (len(door.world.gateway.charges), door.world.mail_kinds(), door.queue.dead) == (1, ["receipt"], [])


@pytest.mark.parametrize(
    "trouble", [error("ThrottlingException", "StartSyncExecution"), ReadTimeoutError(endpoint_url="https://states")]
)
def test_an_error_of_aws_loses_no_event(door: Door, monkeypatch: pytest.MonkeyPatch, trouble: Exception) -> None:
    """After an error of AWS, the queue delivers the event again, and the renewal ends as without the error."""
    door.world.subscribe(payment_method="pm_3ds")
    door.world.run()
    door.world.gateway.succeed("pi_1")

    def fails(**_: Any) -> None:
        raise trouble

    with monkeypatch.context() as patch:
        patch.setattr(Door, "start_sync_execution", lambda _, **q: fails(**q))
        _deliver_all(door)
    door.later(2 * MINUTE)
    assert door.world.items()[PERIOD]["status"] == "done"


def test_a_message_that_is_no_event_is_a_dead_letter_soon(door: Door) -> None:
    """A message that is no event goes to the dead-letter queue without a wait, and stops no other message."""
    door.world.subscribe(payment_method="pm_3ds")
    door.world.run()
    door.world.gateway.succeed("pi_1")
    door.queue.bodies = ["nonsense", '{"event": "evt_1", "type": "invoice.paid"}']
    _deliver_all(door)
    door.work()
    assert set(door.queue.dead) == {"nonsense", '{"event": "evt_1", "type": "invoice.paid"}'}
    assert door.world.items()[PERIOD]["status"] == "done"


def test_a_lease_that_never_ends_is_bounded(door: Door) -> None:
    """An event that meets a live lease at each of five tries ends in the dead-letter queue."""
    door.world.subscribe()
    STORIES["cut off and paid"].begins(door)
    _deliver_all(door)
    for _ in range(6 * 60):
        item = door.world.items()[PERIOD]
        until = storable(door.now + 2 * MINUTE)
        door.world.dynamodb.put("renewals", item | {"lease_until": until})
        door.later(MINUTE)
    assert (len(door.queue.dead), door.ran) == (1, [])


def test_another_execution_at_work_is_waited_for(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second execution takes the period over after the worker has read the ledger. The second execution may have
    asked the gateway before the payment changed. The worker therefore looks at the event again after the second
    execution's lease."""
    world = door.world
    world.subscribe()
    STORIES["cut off and paid"].begins(door)
    door.later(2 * MINUTE)
    run = Door.start_sync_execution

    def overtaken(self: Door, **q: Any) -> dict[str, Any]:
        item = world.items()[PERIOD]
        until = storable(door.now + MINUTE / 2)
        world.dynamodb.put("renewals", item | {"owner": "another", "lease_until": until})
        return run(self, **q)

    with monkeypatch.context() as patch:
        patch.setattr(Door, "start_sync_execution", overtaken)
        _deliver_all(door)
    assert world.items()[PERIOD]["status"] == "claimed"
    door.later(MINUTE)
    assert world.items()[PERIOD]["status"] == "done"


def test_a_test_clock_decides_about_the_lease(door: Door) -> None:
    """The ledger holds the end of a lease in the time of the subscription's test clock. Outside production the worker
    therefore compares the end of the lease with the test clock, and not with the real time."""
    door.world.environment = "dev"
    door.world.subscribe(renewal_date="2031-05-05", test_clock="2031-05-05")
    STORIES["cut off and paid"].begins(door)
    _deliver_all(door)
    door.later(MINUTE)
    assert door.world.items()["2031-05-05"]["status"] == "done"


@pytest.mark.parametrize("payments", share([15, 50], of=2))
def test_a_storm_of_events_loses_nothing(door: Door, payments: int) -> None:
    """Many payments first wait for the customer and are then confirmed at the bank. Each payment causes two events, and
    four times as many events are about unknown payments. All events arrive twice, in any order: no event is lost, and
    each payment is recorded, receipted and mailed once."""
    world, numbers = door.world, range(payments)
    for number in numbers:
        name = f"sub_{number}"
        world.subscribe(subscription_id=name, payment_method="pm_3ds")
        world.execute({"subscription_id": name}, f"run-{number}", door.now)
    for payment in list(world.gateway.payments):
        world.gateway.succeed(payment)
    strays = [_event("payment_intent.succeeded", f"pi_stray{number}") for number in range(8 * payments)]
    events = (world.gateway.events + strays) * 2
    random.Random(1).shuffle(events)  # noqa: S311  (the order must be repeatable, not secret)
    assert len(events) == 20 * payments
    with door.deployed():
        for event in events:
            assert door.post(event) == 200
        door.work()
    items = [item for _, item in world.dynamodb.items("renewals").items()]
    assert [item["status"] for item in items] == ["done"] * len(numbers)
    assert [sorted(item["mails"]) for item in items] == [["action_required_1", "receipt_1"]] * len(numbers)
    assert (len(world.gateway.charges), len(door.ran), door.queue.dead) == (payments, payments, [])


def test_an_event_that_comes_while_the_gateway_rejects_our_account_is_not_lost(door: Door) -> None:
    """While the gateway rejects the key, the workflow succeeds but learns nothing about the payment, because the key is
    at fault and not the renewal. The event of the payment comes back each hour, and is acted on after somebody has
    mended the key."""
    world = door.world
    world.subscribe(payment_method="pm_3ds")
    world.run()
    world.gateway.succeed("pi_1")
    world.gateway.turned_away = {"retrieve"}
    _deliver_all(door)
    door.later(3 * HOUR)
    assert (world.items()[PERIOD]["status"], door.queue.dead) == ("action_required", [])
    assert [state for _, state in door.ran] == ["Success"] * len(door.ran)
    world.gateway.turned_away = set()
    door.later(HOUR)
    assert (world.items()[PERIOD]["status"], world.mail_kinds()) == ("done", ["action_required", "receipt"])
    assert (door.queue.waiting, door.queue.dead) == (0, [])


def test_a_type_that_this_version_does_not_know_waits_for_the_newer_version(door: Door) -> None:
    """A newer version queued an event before an older version was deployed again. The worker tries the
    event five times, an hour apart. An hour after the fifth try, the event becomes a dead letter."""
    message = {"event": "evt_1", "type": "refund.approved", "created": 1, "livemode": False, "object": "re_1"}
    body = json.dumps(message | {"metadata": {}, "a field of the newer version": [1]})
    door.queue.bodies = [body]
    door.work()
    for _ in range(4):
        assert (door.queue.waiting, door.queue.dead) == (0, [])
        door.later(HOUR)
    assert door.queue.dead == []
    door.later(HOUR)
    assert door.queue.dead == [body]


@pytest.mark.parametrize("fault", [{"object": "no id"}, {"created": None}, {"type": "no type"}, {"type": None}])
def test_nonsense_of_an_unknown_type_is_a_dead_letter_soon(door: Door, fault: dict[str, Any]) -> None:
    """A message with any other fault than an unknown type goes to the dead-letter queue without a wait: no version can
    read the message."""
    message = {"event": "evt_1", "type": "refund.approved", "created": 1, "livemode": False, "object": "re_1"}
    door.queue.bodies = [json.dumps(message | {"metadata": {}} | fault)]
    door.work()
    assert len(door.queue.dead) == 1


def test_a_mistake_in_a_handler_takes_no_other_event_of_the_batch_with_it(
    door: Door, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A handler raises an unforeseen exception: only the event of the handler fails and is reported to SQS, and the
    other events of the batch are acted on. The log holds the type of the exception without the exception's message."""
    world = door.world
    world.subscribe(payment_method="pm_3ds")
    world.run()
    world.gateway.succeed("pi_1")

    def mistaken(*_: object) -> Handled:
        raise ZeroDivisionError("ann@private.example")

    monkeypatch.setattr(gateway_worker.app, "HANDLERS", {**HANDLERS, GatewayEventType.PAYMENT_FAILED: mistaken})
    for event in world.gateway.events:
        assert door.post(event) == 200
    messages = door.queue.receive_message(MaxNumberOfMessages=10)["Messages"]
    with door.deployed():
        reply = gateway_worker.app.handler({"Records": [record_of(each) for each in messages]}, None)
    assert reply == {"batchItemFailures": [{"itemIdentifier": messages[0]["MessageId"]}]}
    assert world.items()[PERIOD]["status"] == "done"
    [error] = [each.__dict__["error"] for each in caplog.records if each.levelname == "ERROR"]
    assert error == "ZeroDivisionError"


# --- events that arrive by EventBridge ------------------------------------------------------------------------------


def _by_bus(event: dict[str, Any]) -> str:
    """Return the message that EventBridge puts on a queue for an event of the gateway."""
    envelope = {"version": "0", "id": "6a7e8feb", "source": "aws.partner/stripe.com/ed_1", "account": "123456789012"}
    envelope |= {"detail-type": event.get("type", ""), "time": "2026-01-31T12:00:00Z", "region": "eu-test-1"}
    return json.dumps(envelope | {"resources": [], "detail": event})


@pytest.mark.parametrize("story", STORIES)
def test_events_that_arrive_by_eventbridge_end_in_the_same_state(door: Door, story: str) -> None:
    """EventBridge delivers every event of a story, and the endpoint delivers the events as well: the story ends with
    the same status, mails, charges and a clean audit."""
    told = STORIES[story]
    door.world.subscribe(payment_method=told.card)
    told.begins(door)
    told.happens(door)
    door.later(2 * MINUTE)
    door.queue.bodies = [_by_bus(event) for event in door.world.gateway.events]
    _deliver_all(door)
    door.work()
    _live(door, 9)
    status, mails, charges, differences = _end(door)
    assert (status, mails, charges) == (told.status, told.mails, 1 if told.status == "done" else 0)
    assert (sum(differences.values()), door.queue.dead) == (0, [])


@pytest.mark.parametrize("kind", GatewayEventType)
def test_an_event_by_eventbridge_is_the_same_hint(kind: GatewayEventType) -> None:
    """The envelope of EventBridge holds the gateway's whole event, from which the same hint is made as at the
    endpoint."""
    event = _event(kind) | {"receipt_email": "ann@private.example"}
    assert GatewayEvent.from_json(_by_bus(event)) == GatewayEvent.of_gateway(event)


@pytest.mark.parametrize(
    "event",
    [
        _event("invoice.paid"),
        _event("payment_intent.succeeded") | {"account": "acct_other"},
        _event("payment_intent.succeeded") | {"data": {}},
        {"type": "v1.payment_intent.succeeded", "object": "v2.core.event", "related_object": {"id": "pi_1"}},
        {},
    ],
)
def test_an_event_by_eventbridge_that_is_not_acted_on_is_passed_over(
    door: Door, event: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """A bus gets every event that somebody chose in the Dashboard. An event of a type that is not acted on, of a
    different account or without its object is counted, does not come back, and is no dead letter."""
    door.queue.bodies = [_by_bus(event)]
    door.later(DAY)
    assert (door.queue.waiting, door.queue.dead, door.ran) == (0, [], [])
    assert '"GatewayEventsPassedOver":[1.0]' in capsys.readouterr().out
