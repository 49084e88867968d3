"""Events of disputes: whatever happens to an event, the dispute is recorded once, and the disputed subscription ends at
most once, as the parameter says."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from renewals.domain import disputes, pauses
from renewals.domain.changes import CUSTOMER
from renewals.domain.disputes import DisputeStatus
from renewals.domain.renewal import Renewal
from renewals.domain.transitions import Action
from renewals.ledger.asked_by import AskedBy
from tests.cuts import Cut
from tests.door import Door, Order, backwards, doubled, forget_secrets, in_order
from tests.fakes import NOON, World
from tests.shares import rotating

PERIOD, NEXT = "2026-01-31", "2026-02-28"
SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
NEEDS, REVIEW, WON, LOST = (
    DisputeStatus.NEEDS_RESPONSE,
    DisputeStatus.UNDER_REVIEW,
    DisputeStatus.WON,
    DisputeStatus.LOST,
)
ASKED, CLOSED = DisputeStatus.WARNING_NEEDS_RESPONSE, DisputeStatus.WARNING_CLOSED


@pytest.fixture
def door(shop: World) -> Iterator[Door]:
    forget_secrets()
    yield Door(shop)
    forget_secrets()


def _period(door: Door) -> Renewal:
    found = door.world.ledger.get("sub_1", PERIOD)
    assert found is not None
    return found


def _recorded(door: Door) -> dict[str, list[str]]:
    """Return the statuses of each recorded dispute, oldest first."""
    return {name: [step["status"] for step in each["steps"]] for name, each in (_period(door).disputes or {}).items()}


def _effects(door: Door) -> dict[str, str | None]:
    return {name: disputes.effect_of(each) for name, each in (_period(door).disputes or {}).items()}


def _subscription(door: Door) -> tuple[str, str | None]:
    row = door.world.row()
    return row["status"], row.get("cancel_at")


def _paid(door: Door, **attributes: Any) -> None:
    """Let a subscription renew, and pass over the events of the payment."""
    door.world.subscribe(**attributes)
    assert door.world.run("first", door.now) == "Success"
    door.now += HOUR
    door.world.gateway.now = door.now
    door.world.gateway.events.clear()


def _deliver(door: Door, *events: Any) -> None:
    """Post events, by default each event that the gateway has emitted, and act on the events."""
    for event in events or door.world.gateway.events:
        assert door.post(event) == 200
    door.work()


def _act(door: Door, action: Action, by: str = "ann") -> None:
    """Change the subscription's status by a request, as the API and the customer page do."""
    moment = door.world.moment(door.now)
    with door.deployed():
        door.register.act(door.world.row(), action, moment.today, AskedBy(by, moment.now))


def _mark(**attributes: Any) -> Callable[[Door], None]:
    return lambda door: door.world.edit(**attributes)


# --- each type of event, and what may happen to the event ---------------------------------------------------------


@dataclass(frozen=True)
class Story:
    """A dispute, step by step at the gateway. told: the types of the events. ends: the statuses and the withdrawn and
    reinstated money in the ledger at last, and how the subscription ends."""

    steps: tuple[Callable[[Door], None], ...]
    told: tuple[str, ...]
    status: str
    money: tuple[str, str]
    ends: tuple[str, str | None]


def _contest(status: DisputeStatus = NEEDS) -> Callable[[Door], None]:
    return lambda door: _ignored(door.world.gateway.contest("pi_1", status))


def _warn(door: Door) -> None:
    door.world.gateway.warn_of_fraud("pi_1")


def _becomes(status: DisputeStatus) -> Callable[[Door], None]:
    return lambda door: door.world.gateway.dispute_becomes("dp_1", status)


def _withdraw(door: Door) -> None:
    door.world.gateway.withdraw("dp_1")


def _reinstate(door: Door) -> None:
    door.world.gateway.reinstate("dp_1")


def _ignored(_: object) -> None:
    """Pass a result over."""


CREATED, UPDATED, WITHDRAWN, REINSTATED, ENDED = (
    f"charge.dispute.{what}" for what in ("created", "updated", "funds_withdrawn", "funds_reinstated", "closed")
)
STAYS, ENDS = ("active", None), ("active", NEXT)
STORIES = {
    "opened": Story((_contest(),), (CREATED,), NEEDS, ("0", "0"), ENDS),
    "lost": Story(
        (_contest(), _withdraw, _becomes(REVIEW), _becomes(LOST)),
        (CREATED, WITHDRAWN, UPDATED, ENDED), LOST, ("29.99", "0"), ENDS,
    ),
    "won": Story(
        (_contest(), _withdraw, _becomes(WON), _reinstate),
        (CREATED, WITHDRAWN, ENDED, REINSTATED), WON, ("29.99", "29.99"), ENDS,
    ),
    "inquiry": Story((_contest(ASKED), _becomes(CLOSED)), (CREATED, ENDED), CLOSED, ("0", "0"), STAYS),
    "inquiry becomes a chargeback": Story(
        (_contest(ASKED), _becomes(NEEDS), _withdraw), (CREATED, UPDATED, WITHDRAWN), NEEDS, ("29.99", "0"), ENDS,
    ),
    "fraud warning": Story(
        (_warn,), ("radar.early_fraud_warning.created",), DisputeStatus.FRAUD_WARNING, ("0", "0"), STAYS
    ),
    "prevented by an answer": Story(
        (_contest(DisputeStatus.PREVENTED),), (CREATED,), DisputeStatus.PREVENTED, ("0", "0"), STAYS
    ),
    "prevented by a payment": Story(
        (_contest(DisputeStatus.PREVENTED), _withdraw), (CREATED, WITHDRAWN), DisputeStatus.PREVENTED,
        ("29.99", "0"), ENDS,
    ),
    "status of the future": Story((_contest(DisputeStatus.UNKNOWN),), (CREATED,), "unknown", ("0", "0"), STAYS),
}  # fmt: skip


def _end(door: Door) -> tuple[Any, ...]:
    """Return the end of a story: the last status, the money, the row, and everything beside the dispute that must not
    change."""
    ((_, record),) = (_period(door).disputes or {}).items()
    last = record["steps"][-1]
    money = tuple(str(last.get(name, "0")) for name in ("withdrawn", "reinstated"))
    changes = [item["what"] for item in door.world.dynamodb.items("changes").values() if "what" in item]
    return last["status"], money, _subscription(door), changes, door.world.mail_kinds(), len(door.world.gateway.charges)


def _right(story: Story) -> tuple[Any, ...]:
    changes = ["ending"] if story.ends == ENDS else []
    return story.status, story.money, story.ends, changes, ["receipt"], 1


WAYS: dict[str, tuple[Order, timedelta]] = {
    "once": (in_order, timedelta()),
    "doubled": (doubled, timedelta()),
    "backwards": (backwards, timedelta()),
    "the first one never": (lambda events: events[1:] or events, timedelta()),
    "a week late": (in_order, 7 * DAY),
}
"""What happens to the events: their order, and how late they come."""


@pytest.mark.parametrize(("story", "way"), rotating([*STORIES], [*WAYS], of=3))
def test_the_end_is_right_whatever_happens_to_the_events(door: Door, story: str, way: str) -> None:
    """Each story ends with the same dispute in the ledger and the same subscription, whether the events come once,
    twice, in the wrong order, a week late or some never; no event charges or mails."""
    told, (order, late) = STORIES[story], WAYS[way]
    _paid(door)
    for step in told.steps:
        step(door)
    assert tuple(event["type"] for event in door.world.gateway.events) == told.told
    door.later(late)
    _deliver(door, *order(list(door.world.gateway.events)))
    assert _end(door) == _right(told)
    assert (door.queue.waiting, door.queue.dead) == (0, [])


@pytest.mark.parametrize("story", STORIES)
def test_the_end_is_the_same_if_each_event_comes_in_its_time(door: Door, story: str) -> None:
    """Each step of a dispute is heard as soon as the step happens: the end is the same as for events that come
    together, and each step stands in the ledger once."""
    told = STORIES[story]
    _paid(door)
    for step in told.steps:
        step(door)
        _deliver(door, door.world.gateway.events[-1])
        door.later(HOUR)
    assert _end(door) == _right(told)
    ((_, record),) = (_period(door).disputes or {}).items()
    assert len(record["steps"]) == len(told.steps)


@pytest.mark.parametrize("story", STORIES)
def test_events_that_come_in_the_midst_of_a_renewal(door: Door, story: str) -> None:
    """The gateway tells of a dispute while the renewal still runs, before the payment is recorded: the events wait for
    the lease, the renewal is receipted and mailed once, and the dispute is recorded."""
    told, world = STORIES[story], door.world
    world.subscribe()
    calls = _calls_of_a_renewal(door)

    def comes(_: str) -> None:
        world.gateway.events.clear()
        for step in told.steps:
            step(door)
        _deliver(door)

    world.cuts.happens, world.cuts.at = comes, 2 * calls.index("gateway.confirm") + 1
    assert world.run("first", door.now) == "Success"
    door.later(30 * MINUTE)
    assert _end(door) == _right(told)
    assert (door.queue.waiting, door.queue.dead, door.ran) == (0, [], [])


@pytest.mark.parametrize("story", STORIES)
@pytest.mark.parametrize("call", ["gateway.create", "gateway.confirm"])
def test_events_of_a_payment_that_nobody_recorded(door: Door, story: str, call: str) -> None:
    """The run that charged was cut off, and the event of the payment never came: the event of the dispute has the
    workflow record the payment, and is recorded then."""
    told, world = STORIES[story], door.world
    world.subscribe()
    world.cuts.at = 2 * _calls_of_a_renewal(door).index(call) + 1
    with pytest.raises(Cut):
        world.renew("first", door.now)
    if call == "gateway.create":
        world.gateway.succeed("pi_1")
    world.gateway.events.clear()
    for step in told.steps:
        step(door)
    _deliver(door)
    assert door.ran == []  # the lease is live
    door.later(2 * MINUTE)
    assert _end(door) == _right(told)
    assert (door.queue.waiting, door.queue.dead) == (0, [])


def _calls_of_a_renewal(door: Door) -> list[str]:
    copied = door.world.copies()()
    copied.run("first", door.now)
    return copied.cuts.calls


# --- the subscription ---------------------------------------------------------------------------------------------


ROWS: dict[str, tuple[Callable[[Door], None], tuple[str, str | None], str | None]] = {
    "active": (_mark(), ENDS, "ending"),
    "past due": (_mark(status="past_due"), ("canceled", None), "ended"),
    "paused": (_mark(status="paused"), ("canceled", None), "ended"),
    "unpaid": (_mark(status="unpaid"), ("canceled", None), "ended"),
    "ends already": (_mark(cancel_at=NEXT), ENDS, "none"),
    "ends later": (_mark(cancel_at="2026-05-31"), ENDS, "ending"),
    "canceled": (_mark(status="canceled"), ("canceled", None), "none"),
    "no status of ours": (_mark(status="frozen"), ("frozen", None), None),
}
"""What happens to the row before the dispute, the end of the row, and the recorded effect."""


@pytest.mark.parametrize("state", ROWS)
def test_a_disputed_subscription_ends(door: Door, state: str) -> None:
    """An active subscription ends with the paid period, and every other subscription that has not ended ends at once.
    The ledger says what the dispute did."""
    happens, ends, effect = ROWS[state]
    _paid(door)
    happens(door)
    door.world.gateway.contest("pi_1")
    _deliver(door)
    assert (_subscription(door), _effects(door)) == (ends, {"dp_1": effect})


@pytest.mark.parametrize("state", ROWS)
def test_a_deployment_may_keep_disputed_subscriptions(door: Door, state: str) -> None:
    """With `keep`, a dispute is recorded and ends nothing; nor does the dispute end the subscription after the
    parameter was changed."""
    _paid(door)
    ROWS[state][0](door)
    door.disputed, before = "keep", _subscription(door)
    door.world.gateway.contest("pi_1")
    _deliver(door)
    door.disputed = "cancel"
    door.world.gateway.dispute_becomes("dp_1", LOST)
    _deliver(door)
    assert (_subscription(door), _recorded(door)) == (before, {"dp_1": [NEEDS, LOST]})


def test_a_row_that_was_moved_back_ends_with_the_paid_period(door: Door) -> None:
    """Somebody has moved the row back to the first day of the disputed period, and the sweep has not moved the row on
    yet: the subscription ends with the paid period, and not before."""
    _paid(door)
    door.world.edit(renewal_date=PERIOD)
    door.world.gateway.contest("pi_1")
    _deliver(door)
    assert (_subscription(door), _effects(door)) == (ENDS, {"dp_1": "ending"})
    assert (door.queue.waiting, door.queue.dead) == (0, [])
    door.world.run("sweep", door.now + DAY, period=PERIOD)
    assert _subscription(door) == ENDS


def test_a_row_that_cannot_be_read_delays_the_end_alone(door: Door) -> None:
    """A person has made the row active by hand after a pause, with an amount that cannot be read: the dispute is
    recorded at once, and the event comes back until the row is mended and the subscription ends."""
    _paid(door)
    door.world.edit(amount="much", **{pauses.NOTE: NEXT})
    door.world.gateway.contest("pi_1")
    _deliver(door)
    assert (_recorded(door), _effects(door)) == ({"dp_1": [NEEDS]}, {"dp_1": None})
    door.world.edit(amount=Decimal("29.99"))
    door.later(10 * MINUTE)
    assert (_recorded(door), _effects(door)) == ({"dp_1": [NEEDS]}, {"dp_1": "ending"})
    assert (_subscription(door), door.queue.waiting, door.queue.dead) == (ENDS, 0, [])


def test_a_dispute_of_a_deleted_subscription_is_recorded(door: Door) -> None:
    """The row was deleted: the dispute of the payment is recorded all the same."""
    _paid(door)
    door.world.delete_row()
    door.world.gateway.contest("pi_1")
    _deliver(door)
    assert _effects(door) == {"dp_1": "gone"}


@pytest.mark.parametrize("state", ROWS)
def test_a_subscription_that_was_moved_to_another_customer_id_ends(door: Door, state: str) -> None:
    """Somebody has moved the row by hand to a new customer id after the payment: a chargeback ends the moved
    subscription as the chargeback would have ended the row under the old id. No later renewal charges the customer."""
    happens, ends, effect = ROWS[state]
    _paid(door)
    happens(door)
    door.world.move_row("cus_new")
    door.world.gateway.contest("pi_1")
    _deliver(door)
    assert (_subscription(door), _effects(door)) == (ends, {"dp_1": effect})
    assert (door.queue.waiting, door.queue.dead) == (0, [])


def test_a_subscription_that_was_given_to_another_person_goes_on(door: Door) -> None:
    """Somebody has given the row to another person since the payment, with another customer id and another customer of
    the gateway. The first person disputes the payment: the second person's subscription goes on, and nobody is mailed
    about an end."""
    _paid(door)
    door.world.move_row("cus_new")
    door.world.edit(gateway_customer="cus_bob", payment_method="pm_bob", customer_email="bob@customer.example")
    door.world.gateway.contest("pi_1")
    _deliver(door)
    assert (_subscription(door), _effects(door)) == (STAYS, {"dp_1": "gone"})
    assert door.world.confirm("mails", door.now) == "Success"
    assert "bob@customer.example" not in [mail["To"] for mail in door.world.mails()]


def test_a_subscription_with_another_customer_of_the_gateway_alone_ends(door: Door) -> None:
    """A seller has moved the customer to another customer of the gateway, and the row has kept its customer id: a
    chargeback of the earlier payment ends the subscription."""
    _paid(door)
    door.world.edit(gateway_customer="cus_moved", payment_method="pm_moved")
    door.world.gateway.contest("pi_1")
    _deliver(door)
    assert (_subscription(door), _effects(door)) == (ENDS, {"dp_1": "ending"})


def test_a_charge_that_has_begun_under_another_customer_id_is_given_up(door: Door) -> None:
    """The row was moved to a new customer id, and the payment of the next period was refused under the new id: the
    chargeback of the earlier payment ends the subscription and gives the open payment up."""
    _paid(door)
    door.world.move_row("cus_new")
    door.world.edit(payment_method="pm_declined")
    door.now += 28 * DAY
    door.world.run("next", door.now)
    assert door.world.items()[NEXT]["status"] == "declined"
    door.world.gateway.events.clear()
    door.world.gateway.contest("pi_1")
    _deliver(door)
    assert (door.world.items()[NEXT]["status"], _subscription(door)[1]) == ("given_up", NEXT)


def test_a_subscription_with_two_rows_waits_for_a_person(door: Door) -> None:
    """Somebody is moving the row, and has written the new row but not yet deleted the old row: the dispute is recorded,
    and the event comes back. As soon as the old row is deleted, the new row ends."""
    _paid(door)
    old = door.world.row()
    door.world.dynamodb.put("subscriptions", {**old, "customer_id": "cus_new"})
    door.world.gateway.contest("pi_1")
    _deliver(door)
    assert (_recorded(door), _effects(door)) == ({"dp_1": [NEEDS]}, {"dp_1": None})
    door.world.delete_row()
    door.world.customer_id = "cus_new"
    door.later(70 * MINUTE)
    assert (_subscription(door), _effects(door)) == (ENDS, {"dp_1": "ending"})


def test_a_subscription_resumed_after_a_dispute_is_not_ended_again(door: Door) -> None:
    """Somebody resumes the subscription after the dispute had ended it. Later and doubled events of the same dispute
    leave the subscription alone, and the dispute of another payment ends the subscription."""
    _paid(door)
    door.world.gateway.contest("pi_1")
    _deliver(door)
    assert _subscription(door) == ENDS
    door.later(HOUR)
    _act(door, Action.RESUME)
    door.world.gateway.withdraw("dp_1")
    door.world.gateway.dispute_becomes("dp_1", LOST)
    _deliver(door)
    _deliver(door)
    assert _subscription(door) == STAYS
    door.later(HOUR)
    door.world.gateway.contest("pi_1")
    _deliver(door)
    assert (_subscription(door), _effects(door)) == (ENDS, {"dp_1": "ending", "dp_2": "ending"})


@pytest.mark.parametrize("clock", [None, "2026-02-02"])
def test_a_subscription_resumed_before_the_event_came_is_not_ended(door: Door, clock: str | None) -> None:
    """The event of a dispute comes a week late. Meanwhile the subscription was paused and resumed: the old dispute does
    not undo the newer decision, whatever a test clock says."""
    door.world.environment = "dev" if clock else "prod"
    _paid(door)
    if clock:
        door.world.edit(test_clock=clock)
    door.world.gateway.contest("pi_1")
    door.later(DAY)
    for action in (Action.CANCEL_AT_PERIOD_END, Action.RESUME):
        _act(door, action)
    door.later(6 * DAY)
    _deliver(door)
    assert (_subscription(door), _effects(door)) == (STAYS, {"dp_1": "resumed"})


def test_a_customer_cannot_undo_the_end_by_the_own_chargeback(door: Door) -> None:
    """Before the event of the dispute comes, the customer cancels and resumes on the customer page: the chargeback ends
    the subscription all the same."""
    _paid(door)
    door.world.gateway.contest("pi_1")
    door.later(HOUR)
    for action in (Action.CANCEL_AT_PERIOD_END, Action.RESUME):
        _act(door, action, CUSTOMER)
    door.later(HOUR)
    _deliver(door)
    assert (_subscription(door), _effects(door)) == (ENDS, {"dp_1": "ending"})


@pytest.mark.parametrize("clock", [None, "2026-02-02"])
def test_a_resumption_before_the_dispute_counts_for_nothing(door: Door, clock: str | None) -> None:
    """The subscription was resumed before the customer disputed the payment: the dispute ends the subscription,
    whatever a test clock says."""
    door.world.environment = "dev" if clock else "prod"
    _paid(door)
    if clock:
        door.world.edit(test_clock=clock)
    for action in (Action.CANCEL_AT_PERIOD_END, Action.RESUME):
        _act(door, action)
    door.later(DAY)
    door.world.gateway.contest("pi_1")
    _deliver(door)
    assert (_subscription(door), _effects(door)) == (ENDS, {"dp_1": "ending"})


def test_an_open_payment_is_given_up_with_the_subscription(door: Door) -> None:
    """The next period is past due when the customer disputes the period before: the subscription ends at once, and the
    open payment is canceled within the same event."""
    _paid(door)
    door.world.edit(payment_method="pm_declined")
    door.now = datetime(2026, 2, 28, 12, tzinfo=UTC)
    assert door.world.run("second", door.now) == "PaymentDeclined"
    door.world.gateway.events.clear()
    door.world.gateway.contest("pi_1")
    _deliver(door)
    assert _subscription(door) == ("canceled", NEXT)
    assert door.world.items()[NEXT]["status"] == "given_up"
    assert len(door.world.gateway.charges) == 1


# --- cuts, faults and lies ------------------------------------------------------------------------------------------


def _calls_of_an_event(door: Door) -> int:
    copied = Door(door.world.copies()(), door.now)
    copied.world.cuts.calls.clear()
    _deliver(copied)
    return len(copied.world.cuts.calls)


@pytest.mark.parametrize("way", ["cut", "resumed"])
def test_a_worker_that_is_cut_off_at_any_call_ends_the_same(door: Door, way: str) -> None:
    """The worker's process ends before or after each of its calls, and the event comes again: the dispute is recorded
    once and ends the subscription once, even if the subscription was resumed in between."""
    _paid(door)
    door.world.gateway.contest("pi_1")
    calls, copies = _calls_of_an_event(door), door.world.copies()
    assert calls > 5
    for at in range(2 * calls):
        copied = Door(copies(), door.now)
        copied.world.cuts.at = len(copied.world.cuts.calls) * 2 + at
        for event in copied.world.gateway.events:
            assert copied.post(event) == 200
        with pytest.raises(Cut):
            copied.work()
        resumed = way == "resumed" and _subscription(copied) == ENDS
        copied.later(SECOND)
        if resumed:
            _act(copied, Action.RESUME)
        copied.later(HOUR)
        assert (_recorded(copied), _effects(copied)) == ({"dp_1": [NEEDS]}, {"dp_1": "ending"})
        assert _subscription(copied) == (STAYS if resumed else ENDS)


def test_two_workers_record_a_dispute_once(door: Door) -> None:
    """A second worker takes the same event at each call of the first: the dispute is recorded once and ends the
    subscription once. The first worker looks again by itself, and no event has to come back."""
    _paid(door)
    door.world.gateway.contest("pi_1")
    calls, copies = _calls_of_an_event(door), door.world.copies()
    for at in range(2 * calls):
        copied = Door(copies(), door.now)

        def comes(_: str, copied: Door = copied) -> None:
            _deliver(copied)

        copied.world.cuts.happens = comes
        copied.world.cuts.at = len(copied.world.cuts.calls) * 2 + at
        _deliver(copied)
        assert copied.queue.hidden == 0
        copied.later(HOUR)
        assert (_recorded(copied), _subscription(copied)) == ({"dp_1": [NEEDS]}, ENDS)
        assert len(copied.world.dynamodb.items("changes")) == 1
        assert copied.queue.dead == []


def test_a_slow_answer_of_the_gateway_sets_no_dispute_back(door: Door) -> None:
    """A worker was told that the dispute is open, and records the answer only after the dispute was lost, was appealed
    and was won: the ledger keeps the newest state."""
    _paid(door)
    gateway = door.world.gateway
    gateway.contest("pi_1")
    old = gateway.disputes["dp_1"]
    for status in (LOST, DisputeStatus.APPEAL_UNDER_REVIEW, WON):
        gateway.dispute_becomes("dp_1", status)
        _deliver(door, gateway.events[-1])
    assert _recorded(door) == {"dp_1": [LOST, DisputeStatus.APPEAL_UNDER_REVIEW, WON]}
    assert disputes.with_new_step(_period(door), old, door.now) is None


def test_a_dispute_that_the_gateway_does_not_know_changes_nothing(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    """A forged event names a dispute that the gateway does not know: nothing changes, and the event is acknowledged at
    last. A line of the log at the level of an error then names the dispute, because the event may also be real."""
    _paid(door)
    door.world.gateway.contest("pi_1")
    (event,) = door.world.gateway.events
    del door.world.gateway.disputes["dp_1"]
    before = door.world.items(), door.world.row()
    _deliver(door, event)
    door.later(3 * HOUR)
    assert "ERROR" not in [record.levelname for record in caplog.records]
    door.later(2 * HOUR)
    assert (door.world.items(), door.world.row()) == before
    assert (door.queue.waiting, door.queue.dead) == (0, [])
    [told] = [record.__dict__ for record in caplog.records if record.levelname == "ERROR"]
    assert (told["object"], told["event"], told["error"]) == (
        "dp_1",
        event["id"],
        "the gateway does not know the dispute",
    )


def test_a_fraud_warning_that_the_gateway_does_not_know_brings_the_event_to_a_person(door: Door) -> None:
    """The gateway key belongs to a different account, which does not know an early fraud warning: the event ends in the
    dead-letter queue, because the audit does not look for fraud warnings, and nobody else would notice the loss."""
    _paid(door)
    door.world.gateway.warn_of_fraud("pi_1")
    door.world.gateway.disputes.clear()
    _deliver(door)
    door.later(5 * HOUR)
    assert (door.queue.waiting, len(door.queue.dead)) == (0, 1)


def test_a_key_of_a_different_account_loses_no_dispute(door: Door) -> None:
    """For hours the gateway key belongs to a different account, which does not know the dispute: the event comes back,
    and the dispute is recorded after a person has mended the key."""
    _paid(door)
    door.world.gateway.contest("pi_1")
    known = door.world.gateway.disputes.pop("dp_1")
    _deliver(door)
    door.later(3 * HOUR)
    door.world.gateway.disputes["dp_1"] = known
    door.later(HOUR)
    assert (_recorded(door), _subscription(door), door.queue.hidden) == ({"dp_1": [NEEDS]}, ENDS, 0)


@pytest.mark.parametrize("deployment", ["copy", "earlier version"])
def test_only_disputes_of_our_payments_count(door: Door, deployment: str) -> None:
    """Two deployments share an account. The dispute of a payment of the other deployment changes nothing here, even
    under our period's name; a payment of an earlier version names no deployment, and is ours by its id."""
    _paid(door)
    gateway = door.world.gateway
    gateway.contest("pi_1")
    metadata = dict(gateway.disputes["dp_1"].payment_metadata)
    metadata["deployment"] = "copy-prod"
    if deployment == "earlier version":
        del metadata["deployment"]
    gateway.disputes["dp_1"] = replace(gateway.disputes["dp_1"], payment_metadata=metadata)
    _deliver(door)
    assert _subscription(door) == (ENDS if deployment == "earlier version" else STAYS)
    gateway.disputes["dp_1"] = replace(gateway.disputes["dp_1"], payment_id="pi_9", id="dp_9")
    gateway.disputes["dp_9"] = gateway.disputes.pop("dp_1")
    _deliver(door, gateway.events[0] | {"data": {"object": {"id": "dp_9", "metadata": {}}}})
    assert "dp_9" not in _recorded(door)


@pytest.mark.parametrize("trouble", ["before", "answered", "after"])
def test_a_gateway_that_falters_is_asked_again(door: Door, trouble: str) -> None:
    """The gateway gives no clear answer about the dispute: the event comes back, and nothing is lost."""
    _paid(door)
    door.world.gateway.contest("pi_1")
    door.world.gateway.trouble += [("dispute", trouble)] * 2
    _deliver(door)
    assert _recorded(door) == {}
    door.later(15 * MINUTE)
    assert (_recorded(door), _subscription(door), door.queue.dead) == ({"dp_1": [NEEDS]}, ENDS, [])


def test_a_key_without_the_permission_brings_the_event_to_a_person(
    door: Door, capsys: pytest.CaptureFixture[str]
) -> None:
    """A restricted key may not read disputes: each try turns on the alarm for a missing permission, and not the alarm
    for a rejected account. The events wait for hours, and end in the dead-letter queue, whose alarm wakes a person."""
    _paid(door)
    door.world.gateway.contest("pi_1")
    door.world.gateway.forbidden.add("dispute")
    _deliver(door)
    door.later(5 * HOUR)
    assert (_recorded(door), len(door.queue.dead)) == ({}, 1)
    told = capsys.readouterr().out
    assert (told.count('"GatewayPermissionMissing":[1.0]'), "GatewayAccountFault" in told) == (5, False)


def test_an_event_without_the_permission_is_acted_on_once_the_key_has_the_permission(door: Door) -> None:
    """Somebody gives the key the permission to read disputes within four hours: the waiting event is acted on."""
    _paid(door)
    door.world.gateway.contest("pi_1")
    door.world.gateway.forbidden.add("dispute")
    _deliver(door)
    door.later(3 * HOUR)
    door.world.gateway.forbidden.clear()
    door.later(HOUR)
    assert (_recorded(door), _subscription(door), door.queue.dead) == ({"dp_1": [NEEDS]}, ENDS, [])


# --- what people see ------------------------------------------------------------------------------------------------


def test_the_alarm_counts_each_dispute_once(door: Door, capsys: pytest.CaptureFixture[str]) -> None:
    """A new dispute, an inquiry that becomes a chargeback, and an early fraud warning count for the alarm; further
    steps and doubled events do not."""
    _paid(door)
    gateway = door.world.gateway
    gateway.warn_of_fraud("pi_1")
    gateway.contest("pi_1", ASKED)
    _deliver(door)
    assert capsys.readouterr().out.count('"Disputes":[1.0]') == 2
    gateway.dispute_becomes("dp_2", NEEDS)
    _deliver(door)
    assert capsys.readouterr().out.count('"Disputes":[1.0]') == 1
    gateway.withdraw("dp_2")
    gateway.dispute_becomes("dp_2", LOST)
    _deliver(door)
    _deliver(door)
    assert '"Disputes"' not in capsys.readouterr().out


def test_the_timeline_tells_a_dispute_in_plain_words(door: Door) -> None:
    """The timeline has an entry for each step: what the customer contests, until when evidence can be sent, the money
    that moved, and the end of the subscription with its cause."""
    _paid(door)
    gateway = door.world.gateway
    gateway.warn_of_fraud("pi_1")
    gateway.contest("pi_1")
    _deliver(door)
    door.later(HOUR)
    gateway.withdraw("dp_2")
    _deliver(door)
    door.later(HOUR)
    gateway.dispute_becomes("dp_2", WON)
    gateway.reinstate("dp_2")
    _deliver(door)
    entries, _ = door.register.timeline(door.world.row(), UTC)
    told = [(entry.kind, entry.text) for entry in entries if entry.kind in ("dispute", "ending")]
    assert told == [
        (
            "dispute",
            "On 31 January 2026 the card's bank warned that the payment of 29.99 USD may be fraud: made with stolen "
            "card. (issfr_1)",
        ),
        (
            "dispute",
            "On 31 January 2026 the customer disputed 29.99 USD at the bank, for the reason: subscription canceled. "
            "The dispute waits for the seller's evidence. Evidence can be sent until 9 February 2026. (dp_2)",
        ),
        (
            "ending",
            "the dispute dp_2 canceled the subscription at the end of its period: cancel_at set to 2026-02-28.",
        ),
        ("dispute", "The bank took 29.99 USD back from the seller. (dp_2)"),
        (
            "dispute",
            "The dispute is won: the bank decided for the seller. The bank returned 29.99 USD to the seller. (dp_2)",
        ),
    ]


@pytest.mark.parametrize(
    ("disputed", "end", "said"),
    [
        ("keep", None, "The subscription goes on: the deployment keeps disputed subscriptions."),
        ("cancel", NEXT, "The subscription had ended, or was to end with the paid days, already."),
    ],
)
def test_a_dispute_that_changes_nothing_says_why(door: Door, disputed: str, end: str | None, said: str) -> None:
    """The timeline says why a dispute did not change the subscription."""
    _paid(door)
    door.disputed = disputed
    if end:
        door.world.edit(cancel_at=end)
    door.world.gateway.contest("pi_1")
    _deliver(door)
    entries, _ = door.register.timeline(door.world.row(), UTC)
    (told,) = [entry.text for entry in entries if entry.kind == "dispute"]
    assert said in told


# --- sums -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("amount", "currency", "withdrawn", "reinstated", "taken"),
    [
        (2999, "USD", 0, 0, "0"),
        (2999, "USD", 2999, 0, "29.99"),
        (1000, "USD", 1000, 0, "10"),
        (2999, "USD", 2999, 2999, "0"),
        (2999, "USD", 2999, 1000, "19.99"),
        (2700, "EUR", 2700, 0, "29.99"),
        (2700, "EUR", 2700, 1000, "29.99"),
        (2700, "EUR", 2700, 2700, "0"),
    ],
)
def test_the_money_that_a_dispute_took(
    door: Door, amount: int, currency: str, withdrawn: int, reinstated: int, taken: str
) -> None:
    """The period knows the money that banks took and did not return. A dispute in a different currency counts as the
    whole payment, until the bank has returned the whole sum."""
    _paid(door)
    door.world.gateway.contest("pi_1")
    found = replace(
        door.world.gateway.disputes["dp_1"],
        amount=amount,
        currency=currency,
        withdrawn=withdrawn,
        reinstated=reinstated,
    )
    door.world.gateway.disputes["dp_1"] = found
    _deliver(door)
    assert _period(door).charged_back == Decimal(taken)


@pytest.mark.parametrize(("amount", "currency"), [(2999, "USD"), (2700, "EUR")])
def test_money_that_a_bank_takes_again_counts_again(door: Door, amount: int, currency: str) -> None:
    """A bank takes the money, returns the money and takes the money again: the bank holds the whole payment."""
    _paid(door)
    gateway = door.world.gateway
    gateway.contest("pi_1")
    for withdrawn, reinstated in ((amount, 0), (amount, amount), (2 * amount, amount)):
        gateway.disputes["dp_1"] = replace(
            gateway.disputes["dp_1"], amount=amount, currency=currency, withdrawn=withdrawn, reinstated=reinstated
        )
        _deliver(door)
    assert _period(door).charged_back == Decimal("29.99")


def test_a_period_without_disputes_writes_nothing_of_them(door: Door) -> None:
    """An ordinary renewal has no attribute for disputes, as in earlier versions."""
    _paid(door)
    assert "disputes" not in door.world.items()[PERIOD]
    assert date.fromisoformat(PERIOD) == NOON.date()
