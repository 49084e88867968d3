"""Disputes that meet an open charge of a later period, or an end that somebody set: a disputed customer is not charged
again, and whoever was charged keeps the paid days."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from renewals.domain import disputes
from renewals.domain.changes import ChangeKind
from renewals.domain.disputes import DisputeStatus
from renewals.domain.entitlement import entitlement
from renewals.domain.payment import PaymentState
from renewals.domain.reasons import Reason
from renewals.domain.transitions import Action
from renewals.ledger import payment_steps
from renewals.ledger.asked_by import AskedBy
from tests.cuts import Cut, Cuts
from tests.door import Door, forget_secrets
from tests.fakes import World
from tests.unit.test_change_records import flood

PERIOD, NEXT, LAST = "2026-01-31", "2026-02-28", "2026-03-31"
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
DUE, RETRIED = datetime(2026, 2, 28, 12, tzinfo=UTC), datetime(2026, 3, 7, 12, tzinfo=UTC)
INQUIRY, NEEDS = DisputeStatus.WARNING_NEEDS_RESPONSE, DisputeStatus.NEEDS_RESPONSE


@pytest.fixture
def door(shop: World) -> Iterator[Door]:
    """A customer who has paid for the first period."""
    forget_secrets()
    door = Door(shop)
    shop.subscribe()
    assert shop.run("first", door.now) == "Success"
    door.later(HOUR)
    shop.gateway.events.clear()
    yield door
    forget_secrets()


def _goes_to(door: Door, now: datetime) -> None:
    door.now = door.world.gateway.now = now


def _becomes_past_due(door: Door) -> None:
    """Let the bank refuse the charge of the second period."""
    door.world.edit(payment_method="pm_declined")
    _goes_to(door, DUE)
    assert door.world.run("second", door.now) == "PaymentDeclined"
    door.world.gateway.events.clear()


def _deliver(door: Door, *events: Any) -> None:
    for event in events or door.world.gateway.events:
        assert door.post(event) == 200
    door.work()


def _contest(door: Door, status: DisputeStatus = NEEDS) -> None:
    """Let the customer dispute the first payment, and deliver the event."""
    door.world.gateway.events.clear()
    door.world.gateway.contest("pi_1", status)
    _deliver(door)


def _act(door: Door, action: Action) -> None:
    moment = door.world.moment(door.now)
    with door.deployed():
        door.register.act(door.world.row(), action, moment.today, AskedBy("ann", moment.now))


def _effects(door: Door) -> dict[str, str | None]:
    found = door.world.ledger.get("sub_1", PERIOD)
    return {name: disputes.effect_of(each) for name, each in ((found and found.disputes) or {}).items()}


def _subscription(door: Door) -> tuple[str, str | None]:
    row = door.world.row()
    return row["status"], row.get("cancel_at")


def _second(door: Door) -> str:
    """Return the status of the second period."""
    return str(door.world.items()[NEXT]["status"])


def _calls(door: Door, name: str) -> list[str]:
    copied = door.world.copies()()
    copied.cuts.calls.clear()
    copied.run(name, door.now)
    return copied.cuts.calls


def _cut(door: Door, call: str, *, after: bool) -> None:
    """End the renewal of the second period before or after a call."""
    _goes_to(door, DUE)
    at = 2 * _calls(door, "second").index(call) + after
    door.world.cuts.calls.clear()
    door.world.cuts.at = at
    with pytest.raises(Cut):
        door.world.renew("second", door.now)


def _in_the_midst(door: Door, name: str, call: str, *, after: bool) -> str:
    """Let the customer dispute the first payment in the midst of a renewal, and return how the renewal ends."""
    at = 2 * _calls(door, name).index(call) + after
    door.world.cuts.calls.clear()
    door.world.cuts.happens, door.world.cuts.at = (lambda _: _contest(door)), at
    return door.world.run(name, door.now)


# --- a charge of the next period --------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [False, True], ids=["before the bank", "after the bank"])
def test_a_retry_at_work_is_waited_for(door: Door, after: bool) -> None:
    """A retry of the past due period is on its way to the bank when the customer disputes the period before: the
    dispute waits for the retry. The paid period is the last, and the customer keeps its days."""
    _becomes_past_due(door)
    door.world.edit(payment_method="pm_card")
    _goes_to(door, RETRIED)
    assert _in_the_midst(door, "third", "gateway.confirm", after=after) == "Success"
    assert (_subscription(door), _effects(door)) == (("active", None), {"dp_1": None})
    door.later(HOUR)
    assert (_subscription(door), _effects(door), _second(door)) == (("active", LAST), {"dp_1": "ending"}, "done")
    assert (door.queue.waiting, door.queue.hidden, door.queue.dead) == (0, 0, [])


def test_a_charge_at_work_is_waited_for(door: Door) -> None:
    """The renewal of the second period is on its way to the bank when the customer disputes the first: the dispute
    waits, and the subscription ends with the second period, which the customer has paid."""
    _goes_to(door, DUE)
    assert _in_the_midst(door, "second", "gateway.confirm", after=False) == "Success"
    door.later(HOUR)
    assert (_subscription(door), _second(door)) == (("active", LAST), "done")


@pytest.mark.parametrize("call", ["gateway.create", "gateway.confirm"])
def test_a_claim_that_was_cut_off_before_the_bank_is_given_up(door: Door, call: str) -> None:
    """The claim of the second period was cut off before the charge. The dispute of the first period ends the
    subscription with the first period: nothing is charged, neither by the event nor by a later sweep."""
    _cut(door, call, after=False)
    door.later(HOUR)
    _contest(door)
    door.later(DAY)
    door.world.run("later", door.now)
    assert (_subscription(door), _second(door)) == (("canceled", NEXT), "given_up")
    assert (len(door.world.gateway.charges), _effects(door)) == (1, {"dp_1": "ended"})


def test_a_charge_that_was_cut_off_after_the_bank_is_recorded(door: Door) -> None:
    """The process ended after the bank had taken the money for the second period, and the customer disputes the first:
    the payment is recorded, and the customer keeps the paid days."""
    _cut(door, "gateway.confirm", after=True)
    door.later(HOUR)
    _contest(door)
    assert (_subscription(door), _second(door)) == (("active", LAST), "done")
    assert len(door.world.gateway.charges) == 2


def test_a_past_due_payment_that_succeeded_meanwhile_keeps_its_days(door: Door) -> None:
    """The customer has paid the past due period at the bank's page, and nobody recorded the payment yet. The dispute of
    the period before does not take the paid days."""
    _becomes_past_due(door)
    door.world.gateway.succeed("pi_2")
    _contest(door)
    assert (_subscription(door), _second(door)) == (("active", LAST), "done")


def _entitled(door: Door) -> tuple[str, str | None]:
    """Return the reason and the end of the customer's entitlement today."""
    row = door.world.row()
    history = door.world.ledger.history(row["subscription_id"], row["customer_id"])
    found = entitlement(row, history, door.world.moment(door.now).today, 7 * DAY)
    return str(found.reason), found.until.isoformat() if found.until else None


@pytest.mark.parametrize("status", ["paused", "unpaid"])
def test_a_charge_of_a_stopped_subscription_that_was_cut_off_after_the_bank(door: Door, status: str) -> None:
    """The process ended after the bank had taken the money for the second period, somebody stopped the subscription,
    and the customer disputes the first period: the payment is recorded, and the subscription ends with the second
    period."""
    _cut(door, "gateway.confirm", after=True)
    door.world.edit(status=status)
    door.later(HOUR)
    _contest(door)
    assert (_subscription(door), _effects(door), _second(door)) == ((status, LAST), {"dp_1": "ended"}, "done")
    assert _entitled(door) == ("paid", LAST)
    _goes_to(door, DUE + 31 * DAY)
    door.world.run("later", door.now, period=LAST)
    assert (_subscription(door), len(door.world.gateway.charges)) == (("canceled", LAST), 2)


@pytest.mark.parametrize("succeeds", [True, False])
def test_a_bank_that_still_decides_about_a_paused_subscription(door: Door, succeeds: bool) -> None:
    """A bank decides about the charge of the second period when somebody pauses the subscription and the customer
    disputes the first period. If the payment succeeds days later, the customer keeps the paid days; otherwise the
    subscription is canceled."""
    gateway = door.world.gateway
    gateway.trouble.append(("confirm", "processing"))
    _goes_to(door, DUE)
    door.world.run("second", door.now)
    _act(door, Action.PAUSE)
    door.later(HOUR)
    _contest(door)
    assert (_subscription(door), _effects(door), _second(door)) == (("paused", NEXT), {"dp_1": "ended"}, "claimed")
    assert (door.queue.waiting, door.queue.hidden, door.queue.dead) == (0, 0, [])
    door.later(2 * DAY)
    if succeeds:
        gateway.succeed("pi_2")
    else:
        gateway.payments["pi_2"] = replace(gateway.payments["pi_2"], state=PaymentState.OPEN)
    door.world.run("later", door.now)
    door.world.run("once more", door.now)
    ends = (("paused", LAST), "done") if succeeds else (("canceled", NEXT), "given_up")
    assert (_subscription(door), _second(door)) == ends


@pytest.mark.parametrize("call", ["gateway.create", "gateway.confirm"])
def test_a_claim_of_a_paused_subscription_that_was_cut_off_before_the_bank_is_given_up(door: Door, call: str) -> None:
    """The claim of the second period was cut off before the charge, and somebody paused the subscription: the dispute
    of the first period cancels the subscription, and nothing is charged."""
    _cut(door, call, after=False)
    _act(door, Action.PAUSE)
    door.later(HOUR)
    _contest(door)
    door.later(DAY)
    door.world.run("later", door.now)
    assert (_subscription(door), _second(door)) == (("canceled", NEXT), "given_up")
    assert (len(door.world.gateway.charges), _effects(door)) == (1, {"dp_1": "ended"})


@pytest.mark.parametrize("status", ["paused", "past_due"])
def test_days_of_another_payment_are_kept(door: Door, status: str) -> None:
    """The customer has paid the second period and disputes the first. A subscription that is paused, or that somebody
    has marked as past due, ends with the second period; an earlier end stands."""
    _goes_to(door, DUE)
    assert door.world.run("second", door.now) == "Success"
    door.later(DAY)
    door.world.edit(status=status)
    _contest(door)
    assert (_subscription(door), _effects(door)) == ((status, LAST), {"dp_1": "ending"})
    door.world.edit(cancel_at="2026-03-15")
    _contest(door)
    assert (_subscription(door), _effects(door)["dp_2"]) == ((status, "2026-03-15"), "none")


@pytest.mark.parametrize("status", ["past_due", "active", "paused"])
@pytest.mark.parametrize("succeeds", [True, False])
def test_a_failed_period_whose_payment_can_still_succeed(door: Door, status: str, succeeds: bool) -> None:
    """The second period was declined and waits for a person, and the customer may have paid at the bank's page. The
    dispute of the first period has the payment looked at: the paid days are kept, and an unpaid period is given up."""
    _becomes_past_due(door)
    failed = door.world.ledger.get("sub_1", NEXT)
    assert failed is not None
    door.world.ledger.apply(payment_steps.failed(failed, Reason.PICKED_UP_TOO_OFTEN, door.now))
    door.world.edit(status=status)
    if succeeds:
        door.world.gateway.succeed("pi_2")
    door.later(HOUR)
    _contest(door)
    assert _second(door) == ("done" if succeeds else "given_up")
    door.world.run("later", door.now)
    kept = "paused" if status == "paused" else "active"
    ends = ((kept, LAST), "done") if succeeds else (("canceled", NEXT), "given_up")
    assert (_subscription(door), _second(door), _effects(door)) == (*ends, {"dp_1": "ended"})
    assert _entitled(door) == (("paid", LAST) if succeeds else ("ended", NEXT))


def test_a_renewal_that_begins_in_the_midst_of_the_event(door: Door) -> None:
    """The second renewal begins before or after any call of the worker, and is cut off before the bank: the customer is
    not charged, and no claim stays open."""
    _goes_to(door, DUE)
    door.world.gateway.contest("pi_1")
    until_the_bank, copies = _calls(door, "second").index("gateway.confirm"), door.world.copies()
    copied = Door(copies(), door.now)
    copied.world.cuts.calls.clear()
    _deliver(copied)
    for at in range(2 * len(copied.world.cuts.calls)):
        copied = Door(copies(), door.now)
        cuts = copied.world.cuts

        def begins(_: str, copied: Door = copied, cuts: Cuts = cuts) -> None:
            cuts.happens, cuts.at = Cuts().happens, 2 * (len(cuts.calls) + until_the_bank)
            with suppress(Cut):
                copied.world.run("second", copied.now)
            cuts.at = None

        cuts.calls.clear()
        cuts.happens, cuts.at = begins, at
        _deliver(copied)
        copied.later(HOUR)
        copied.world.run("later", copied.now)
        assert (_subscription(copied), len(copied.world.gateway.charges)) == (("canceled", NEXT), 1)
        assert copied.world.items().get(NEXT, {"status": "given_up"})["status"] == "given_up"
        assert (copied.queue.waiting, copied.queue.hidden, copied.queue.dead) == (0, 0, [])


# --- a worker that is cut off, and rows that cannot be changed now ----------------------------------------------------


def test_the_alarm_and_the_open_charge_survive_a_cut_at_any_call(
    door: Door, capsys: pytest.CaptureFixture[str]
) -> None:
    """The worker's process ends before or after any of its calls, with a past due charge open: the alarm comes on, the
    subscription ends, and the open payment is canceled by the event itself, without a sweep."""
    _becomes_past_due(door)
    door.world.gateway.contest("pi_1")
    copies = door.world.copies()
    copied = Door(copies(), door.now)
    copied.world.cuts.calls.clear()
    _deliver(copied)
    for at in range(2 * len(copied.world.cuts.calls)):
        capsys.readouterr()
        copied = Door(copies(), door.now)
        copied.world.cuts.calls.clear()
        copied.world.cuts.at = at
        for event in copied.world.gateway.events:
            copied.post(event)
        with suppress(Cut):  # the workflow's functions end without the worker
            copied.work()
        copied.later(HOUR)
        assert capsys.readouterr().out.count('"Disputes":[1.0]') >= 1
        assert _second(copied) == "given_up"
        copied.world.run("later", copied.now)
        assert (_subscription(copied), _effects(copied)) == (("canceled", NEXT), {"dp_1": "ended"})
        assert (copied.queue.waiting, copied.queue.hidden, copied.queue.dead) == (0, 0, [])


def test_a_workflow_that_fails_is_run_again(door: Door, capsys: pytest.CaptureFixture[str]) -> None:
    """The workflow fails after the end was recorded: the event comes back, and the open payment is canceled then."""
    _becomes_past_due(door)
    door.trouble += ["FAILED", "TIMED_OUT"]
    _contest(door)
    assert (_effects(door), _second(door)) == ({"dp_1": "ended"}, "declined")
    door.later(HOUR)
    assert (_subscription(door), _second(door)) == (("canceled", NEXT), "given_up")
    assert capsys.readouterr().out.count('"Disputes":[1.0]') == 1


def test_a_row_that_was_moved_back_to_the_disputed_period(door: Door) -> None:
    """The row stands on the date of the disputed period, as after a restored backup: the subscription ends after the
    days that the customer has paid."""
    door.world.edit(renewal_date=PERIOD)
    _contest(door)
    assert (_subscription(door), _effects(door)) == (("active", NEXT), {"dp_1": "ending"})
    assert (door.queue.waiting, door.queue.hidden, door.queue.dead) == (0, 0, [])
    _goes_to(door, DUE)
    door.world.run("later", door.now)
    door.world.run("once more", door.now)
    assert (_subscription(door), len(door.world.gateway.charges)) == (("canceled", NEXT), 1)


@pytest.mark.parametrize("fault", [{"status": "frozen"}, {"renewal_date": "soon"}])
def test_a_row_that_cannot_be_read_waits_for_a_person(door: Door, fault: dict[str, str]) -> None:
    """The row cannot be read, and is not charged: the dispute is recorded, and the event waits for hours. After
    somebody has mended the row, the subscription ends."""
    good = {name: door.world.row()[name] for name in fault}
    door.world.edit(**fault)
    _contest(door)
    assert (_effects(door), door.queue.hidden) == ({"dp_1": None}, 1)
    door.later(3 * HOUR)
    door.world.edit(**good)
    door.later(HOUR)
    assert (_subscription(door), _effects(door)) == (("active", NEXT), {"dp_1": "ending"})
    assert (door.queue.waiting, door.queue.hidden, door.queue.dead) == (0, 0, [])


# --- ends that somebody set -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("end", "effect", "ends"), [(LAST, "ending", NEXT), (NEXT, "none", NEXT), ("2026-02-15", "none", "2026-02-15")]
)
def test_an_end_after_the_paid_days_is_moved_forward(door: Door, end: str, effect: str, ends: str) -> None:
    """A subscription that ends months later would be charged until then: a dispute moves the end to the end of the paid
    days. An earlier end stands."""
    door.world.edit(cancel_at=end)
    _contest(door)
    assert (_subscription(door), _effects(door)) == (("active", ends), {"dp_1": effect})


def test_an_inquiry_that_becomes_a_chargeback_after_a_resumption(door: Door) -> None:
    """Somebody resumes the subscription during an inquiry. The later chargeback is newer than the resumption, and ends
    the subscription; a resumption after the chargeback stands."""
    _contest(door, INQUIRY)
    door.later(DAY)
    for action in (Action.PAUSE, Action.RESUME):
        _act(door, action)
    door.later(10 * DAY)
    door.world.gateway.dispute_becomes("dp_1", NEEDS)
    _deliver(door, door.world.gateway.events[-1])
    assert (_subscription(door), _effects(door)) == (("active", NEXT), {"dp_1": "ending"})


def _late_chargeback(door: Door) -> Any:
    """Let an inquiry become a chargeback, and somebody resume the subscription afterwards; return the event of the
    chargeback, which nobody has heard yet."""
    _contest(door, INQUIRY)
    door.later(DAY)
    door.world.gateway.dispute_becomes("dp_1", NEEDS)
    late = door.world.gateway.events[-1]
    door.later(DAY)
    for action in (Action.PAUSE, Action.RESUME):
        _act(door, action)
    return late


def test_a_resumption_after_the_chargeback_stands(door: Door) -> None:
    """An inquiry became a chargeback, somebody resumed the subscription afterwards, and the event of the chargeback
    comes late: the old chargeback does not undo the newer decision."""
    late = _late_chargeback(door)
    door.later(DAY)
    _deliver(door, late)
    assert (_subscription(door), _effects(door)) == (("active", None), {"dp_1": "resumed"})


_BAD = {"subscription_id": "sub_1", "at": "2026-01-31T14:00:00+00:00", "by": "ann", "what": "edited", "details": {}}
_BAD_RECORDS: list[dict[str, Any]] = [{"at": "soon"}, {"at": "2026-01-31T14:00:00"}, {"details": None}]


@pytest.mark.parametrize("fault", _BAD_RECORDS)
@pytest.mark.parametrize(
    "harmless", [{"change": "by hand"}, {"change": "2026-01-31T11:00:00+00:00/a", "what": "resumed"},
                 {"change": "by hand", "what": "resumed", "by": "customer"}],
)  # fmt: skip
def test_a_chargeback_ends_in_spite_of_a_record_that_cannot_be_read(
    door: Door, fault: dict[str, Any], harmless: dict[str, Any]
) -> None:
    """The record of a change that somebody wrote by hand, and that cannot be read, does not keep a chargeback from
    ending the subscription if the record tells another change, an earlier one, or one by the customer."""
    door.world.dynamodb.put("changes", _BAD | harmless | fault)
    _contest(door)
    assert (_subscription(door), _effects(door)) == (("active", NEXT), {"dp_1": "ending"})


@pytest.mark.parametrize("fault", _BAD_RECORDS)
@pytest.mark.parametrize("key", ["by hand", "2026-02-20T12:00:00+00:00/a", "2026-02-20T12:00:00/a"])
@pytest.mark.parametrize("what", ["resumed", "by hand"])
def test_a_record_that_may_be_a_resumption_waits_for_a_person(
    door: Door, fault: dict[str, Any], key: str, what: str
) -> None:
    """If a record that cannot be read may be the seller's resumption after the chargeback, the dispute is recorded, and
    the event waits for hours. After somebody has deleted the record, the subscription ends."""
    door.world.dynamodb.put("changes", _BAD | {"change": key, "what": what} | fault)
    _contest(door)
    assert (_subscription(door), _effects(door), door.queue.hidden) == (("active", None), {"dp_1": None}, 1)
    door.world.dynamodb.delete("changes", ("sub_1", key))
    door.later(2 * HOUR)
    assert (_subscription(door), _effects(door)) == (("active", NEXT), {"dp_1": "ending"})


def test_a_resumption_stands_after_weeks_of_strangers_requests(door: Door) -> None:
    """The seller resumes after the chargeback, strangers cause as many records as the limits permit, and the event
    comes two weeks later: the resumption stands."""
    late = _late_chargeback(door)
    flood(door.world, door.now)
    door.later(14 * DAY)
    _deliver(door, late)
    assert (_subscription(door), _effects(door)) == (("active", None), {"dp_1": "resumed"})


def test_changes_that_were_not_read_may_hide_a_resumption(door: Door) -> None:
    """The seller resumes after the chargeback and then makes more changes than are read: the dispute is recorded, and
    the event waits for a person. If a change before the chargeback is among the latest, nothing is hidden."""
    late = _late_chargeback(door)
    for second in range(1, 251):
        moment = AskedBy("ann", door.now + timedelta(seconds=second))
        door.world.register.changes.note("sub_1", ChangeKind.EDITED, moment)
    door.later(DAY)
    _deliver(door, late)
    assert (_subscription(door), _effects(door), door.queue.hidden) == (("active", None), {"dp_1": None}, 1)


def test_changes_that_were_not_read_are_older_than_those_read(door: Door) -> None:
    """More changes than are read lie before the chargeback: none of them can be a resumption after the chargeback, and
    the subscription ends."""
    for second in range(300):
        moment = AskedBy("ann", door.now - DAY + timedelta(seconds=second))
        door.world.register.changes.note("sub_1", ChangeKind.EDITED, moment)
    _contest(door)
    assert (_subscription(door), _effects(door)) == (("active", NEXT), {"dp_1": "ending"})


# --- disputes that are old, and reports that change little ------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "returned", "ends", "effect"),
    [
        (DisputeStatus.WON, True, ("active", None), "decided"),
        (DisputeStatus.WON, False, ("active", None), "decided"),
        (DisputeStatus.LOST, True, ("active", LAST), "ending"),
    ],
)
def test_a_dispute_that_was_won_long_ago_ends_nothing(
    door: Door, status: DisputeStatus, returned: bool, ends: tuple[str, str | None], effect: str
) -> None:
    """The system first hears of a dispute after the bank has decided for the seller, and after the customer has paid a
    later period: the subscription goes on, whether or not the bank has returned the money yet. A lost dispute still
    counts."""
    gateway = door.world.gateway
    gateway.contest("pi_1")
    gateway.withdraw("dp_1")
    _goes_to(door, DUE)
    assert door.world.run("second", door.now) == "Success"
    gateway.dispute_becomes("dp_1", status)
    if returned:
        gateway.reinstate("dp_1")
    door.later(HOUR)
    _deliver(door, gateway.events[-1])
    assert (_subscription(door), _effects(door)) == (ends, {"dp_1": effect})


def test_a_won_dispute_ends_nothing_although_the_row_could_not_be_read_at_first(door: Door) -> None:
    """The system first hears of a won dispute while the row cannot be read, and the bank returns the money before
    somebody has mended the row: the subscription goes on, as if the row had been readable."""
    gateway = door.world.gateway
    gateway.contest("pi_1")
    gateway.withdraw("dp_1")
    _goes_to(door, DUE)
    assert door.world.run("second", door.now) == "Success"
    gateway.dispute_becomes("dp_1", DisputeStatus.WON)
    door.world.edit(status="frozen")
    door.later(HOUR)
    _deliver(door, gateway.events[-1])
    gateway.reinstate("dp_1")
    door.world.edit(status="active")
    door.later(HOUR)
    assert (_subscription(door), _effects(door)) == (("active", None), {"dp_1": "decided"})


def test_a_new_deadline_is_recorded_without_a_step(door: Door, capsys: pytest.CaptureFixture[str]) -> None:
    """The bank moves the deadline for evidence, and nothing else changes: the ledger has the new deadline, no further
    step, and no second alarm. A report without a deadline leaves the known deadline."""
    _contest(door)
    gateway, before = door.world.gateway, _record(door)
    later = gateway.disputes["dp_1"].due_by
    assert later is not None
    capsys.readouterr()
    for due_by in (later + DAY, None):
        gateway.disputes["dp_1"] = replace(gateway.disputes["dp_1"], due_by=due_by)
        _deliver(door)
    assert _record(door) == before | {"due_by": (later + DAY).isoformat(timespec="microseconds")}
    assert '"Disputes"' not in capsys.readouterr().out


def test_a_dispute_is_no_progress_of_a_renewal(door: Door) -> None:
    """A dispute leaves the moment of the period's last progress, by which the sweep takes up interrupted renewals."""
    before = door.world.items()[PERIOD]["touched_at"]
    _contest(door)
    assert door.world.items()[PERIOD]["touched_at"] == before


def test_the_gateway_is_asked_once_for_each_event(door: Door) -> None:
    """A new dispute and a doubled event cost one call of the gateway each; a further step, whose report could be older
    than the ledger, costs a second call."""
    gateway = door.world.gateway
    gateway.contest("pi_1")
    (opened,) = gateway.events
    gateway.events.clear()
    asked = []
    for n in range(3):
        if n == 2:
            gateway.withdraw("dp_1")
        door.world.cuts.calls.clear()
        _deliver(door, opened)
        asked.append(door.world.cuts.calls.count("gateway.dispute"))
    assert asked == [1, 1, 2]


def _record(door: Door) -> dict[str, Any]:
    found: dict[str, Any] = door.world.items()[PERIOD]["disputes"]["dp_1"]
    return found
