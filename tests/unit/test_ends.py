"""An end that was told to the customer holds, whenever it comes: no charge is confirmed at the gateway any more.

Every kind of end is tried before and after every call of a renewal, with a gateway that is up, slow or down for hours,
and with charging turned off meanwhile. A charge confirmed before the end stands, and is receipted.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from renewals.domain.errors import Overtaken
from renewals.domain.payment import PaymentState
from renewals.domain.request import RenewalRequest
from renewals.domain.transitions import Action, NotAllowed
from renewals.ledger import payment_steps
from renewals.ledger.asked_by import AskedBy
from renewals.ledger.payment_steps import why_withdrawn
from renewals.ledger.register import Register
from renewals.ledger.row_steps import WATCHED
from tests.fake_aws import Condition, plain
from tests.fakes import DUE, LATER, NOON, World
from tests.unit.test_crashes import CALLS, HOURS, STORIES, THEN, _at

END_OF_FEBRUARY = "2026-02-28"
OPERATIONS = ("create", "confirm", "retrieve", "cancel", "list")


def register(shop: World) -> Register:
    client: Any = shop.dynamodb
    return Register(client, subscriptions="subscriptions", renewals="renewals", changes="changes")


def _act(action: Action) -> Callable[[World], dict[str, Any]]:
    """Return an end made by a status change of the API; its result is the row as the API answers."""

    def act(shop: World) -> dict[str, Any]:
        row = register(shop).act(shop.row(), action, THEN.date(), AskedBy("ann", THEN))
        assert isinstance(row, dict)
        return row

    return act


def _by_hand(**attributes: Any) -> Callable[[World], dict[str, Any]]:
    def edit(shop: World) -> dict[str, Any]:
        shop.edit(**attributes)
        return shop.row()

    return edit


def _deleted(shop: World) -> dict[str, Any]:
    shop.delete_row()
    return {}


ENDS: dict[str, Callable[[World], dict[str, Any]]] = {
    "cancel-now": _act(Action.CANCEL_NOW),
    "cancel-at-period-end": _act(Action.CANCEL_AT_PERIOD_END),
    "pause": _act(Action.PAUSE),
    "deleted": _deleted,
    "canceled-by-hand": _by_hand(status="canceled"),
    "paused-by-hand": _by_hand(status="paused"),
    "unpaid-by-hand": _by_hand(status="unpaid"),
    "cancel-at-by-hand": _by_hand(cancel_at=DUE.isoformat()),
}


def _is_down(shop: World) -> None:
    shop.gateway.trouble += [(operation, "before") for operation in OPERATIONS for _ in range(40)]


def _is_slow(shop: World) -> None:
    """Let the gateway do its work and lose the answers."""
    shop.gateway.trouble += [(operation, "after") for operation in ("create", "confirm", "cancel")]


MEANWHILE: dict[str, Callable[[World], object]] = {
    "up": lambda _shop: None,
    "slow": _is_slow,
    "down": _is_down,
    "charging-off": lambda shop: shop.turn_charging_off(),
}


@dataclass
class Ended:
    """The state of things when the end came.

    answered: the row as answered by the API, or as written by hand. attempts: the confirmations so far. call: the
    number of the renewal's first call after the end.
    """

    answered: dict[str, Any]
    attempts: int
    call: int


def _end(name: str, moment: int, end: str, meanwhile: str) -> tuple[World, Ended | None]:
    """Return a world hours after an end at the given moment of the run, and the state of things at the end."""
    shop = STORIES[name].begin()
    ended: list[Ended] = []
    if meanwhile == "slow":
        _is_slow(shop)

    def happens(shop: World) -> None:
        try:
            answered = dict(ENDS[end](shop))
        except NotAllowed:
            return
        next_call = len(shop.cuts.calls) if at % 2 else at // 2  # calls of the API are numbered as well
        ended.append(Ended(answered, len(shop.gateway.attempts), next_call))
        if meanwhile != "slow":
            MEANWHILE[meanwhile](shop)

    at = 2 * len(shop.cuts.calls) + moment
    _at(shop, moment, happens)
    shop.run("first", THEN)
    for n in range(3):
        shop.run(f"meanwhile-{n}", THEN + HOURS + n * LATER)
    shop.gateway.trouble.clear()
    shop.turn_charging_on()
    for n in range(4):
        shop.run(f"later-{n}", THEN + 1.5 * HOURS + n * LATER)
    return shop, ended[0] if ended else None


def _expect_the_end_holds(shop: World, ended: Ended, end: str, *, on_its_way: bool) -> None:
    """Check that the end held. on_its_way: the call after the end was a confirmation whose last look came before the
    end."""
    paid = [item for item in shop.items().values() if "paid_at" in item]
    assert len(shop.gateway.charges) == len(paid) == len(shop.receipts()) <= 1
    answered = ended.answered.get("cancel_at", "")
    if end == "cancel-at-period-end":
        # The period is charged if, and only if, the answered end lies after the period's first day.
        assert bool(paid) == (answered > DUE.isoformat())
    elif not on_its_way:
        assert len(shop.gateway.attempts) == ended.attempts, "confirmed after the end"
    states = {payment.state for payment in shop.gateway.payments.values()}
    assert states <= {PaymentState.PAID, PaymentState.CANCELED}, "somebody could complete a payment"
    for item in shop.items().values():
        assert item["status"] in ("done", "mail_unknown", "given_up", "skipped")
        assert item["status"] != "given_up" or (item["reason"] and not item.get("notice"))
    subjects = shop.ses.subjects()
    assert sum(subject.startswith("Receipt") for subject in subjects) == len(paid)
    assert not any("canceled" in subject for subject in subjects)
    if end != "deleted":
        row = shop.row()
        over = {"active", "canceled"} if end.startswith("cancel-at") else set()  # canceled on its last day
        assert row["status"] in {ended.answered["status"], *over}
        expected = answered
        if end == "cancel-at-by-hand" and paid and row["cancel_at"] != answered:
            expected = END_OF_FEBRUARY  # the subscription ends with the paid period
        assert row.get("cancel_at", "") == expected


def _cases(step: int) -> list[Any]:
    return [
        pytest.param(name, end, meanwhile, step, id=f"{name}-{end}-{meanwhile}")
        for name in ("pays", "declined-new-card")
        for end in ENDS
        for meanwhile in MEANWHILE
    ]


def _look(name: str, end: str, meanwhile: str, step: int) -> None:
    reached = 0
    for moment in range(0, 2 * len(CALLS[name]), step):
        shop, ended = _end(name, moment, end, meanwhile)
        if ended is None:
            continue
        reached += 1
        on_its_way = shop.cuts.calls[ended.call] == "gateway.confirm"
        try:
            _expect_the_end_holds(shop, ended, end, on_its_way=on_its_way)
        except AssertionError as error:
            after, call = "after" if moment % 2 else "before", CALLS[name][moment // 2]
            raise AssertionError(f"the end came {after} call {moment // 2}, {call}: {error}") from error
    assert reached or (name, end) in {("declined-new-card", "cancel-at-period-end"), ("declined-new-card", "pause")}


@pytest.mark.parametrize(("name", "end", "meanwhile", "step"), _cases(11))
def test_an_end_holds_whenever_it_comes(name: str, end: str, meanwhile: str, step: int) -> None:
    """An end at every eleventh moment of a renewal holds; `make proof` tries all moments."""
    _look(name, end, meanwhile, step)


@pytest.mark.proof
@pytest.mark.parametrize(("name", "end", "meanwhile", "step"), _cases(1))
def test_an_end_holds_at_each_moment(name: str, end: str, meanwhile: str, step: int) -> None:
    """An end before or after any call that leaves the process holds."""
    _look(name, end, meanwhile, step)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("call", ["gateway.create", "gateway.confirm"])
def test_what_is_claimed_while_the_gateway_is_down_is_not_charged_after_the_end(end: str, call: str) -> None:
    """The gateway is down at the renewal, the subscription ends an hour later, and in the evening the gateway is up
    again: the claim is given up without a confirmation, and hours in which the payment cannot be canceled count no
    pick-up. After a cancellation at the end of the period, the charge goes on."""
    shop = World()
    shop.subscribe()
    shop.gateway.trouble += [(call.partition(".")[2], "before")] * 40
    shop.run("first")
    assert shop.items()[DUE.isoformat()]["status"] == "claimed"
    answered = dict(ENDS[end](shop))
    goes_on = end == "cancel-at-period-end"
    assert not goes_on or answered["cancel_at"] == END_OF_FEBRUARY
    _is_down(shop)
    for n in range(6):
        shop.run(f"down-{n}", NOON + (n + 1) * timedelta(hours=1))
    shop.gateway.trouble.clear()
    shop.run("up", NOON + timedelta(hours=8), period=DUE.isoformat())
    item = shop.items()[DUE.isoformat()]
    assert (item["status"], len(shop.gateway.charges)) == (("done", 1) if goes_on else ("given_up", 0))
    assert all(payment.state is not PaymentState.OPEN for payment in shop.gateway.payments.values())


@pytest.mark.parametrize("back", ["active", "resumed"])
def test_a_withdrawal_that_was_cut_off_and_taken_back_leaves_the_period_billable(shop: World, back: str) -> None:
    """A claimed renewal is paused, the run is cut right after the cancellation at the gateway, and the subscription
    becomes active again: the cancellation is known as our own, and the period is billed by a new payment."""
    shop.subscribe()
    shop.gateway.trouble.append(("confirm", "before"))
    shop.run("claimed")
    shop.edit(status="paused")
    calls = len(shop.cuts.calls)
    rehearsal = World()
    rehearsal.subscribe()
    rehearsal.gateway.trouble.append(("confirm", "before"))
    rehearsal.run("claimed")
    rehearsal.edit(status="paused")
    rehearsal.run("closing", NOON + LATER)
    shop.cuts.at = 2 * rehearsal.cuts.calls.index("gateway.cancel", calls) + 1
    shop.run("closing", NOON + LATER)
    assert shop.gateway.payments["pi_1"].state is PaymentState.CANCELED
    shop.edit(status="active", **({} if back == "active" else {"payment_method": "pm_other"}))
    for n in range(3):
        shop.run(f"again-{n}", NOON + HOURS + n * LATER)
    [(payment, _, _)] = shop.gateway.charges
    assert payment != "pi_1"
    assert (shop.items()[DUE.isoformat()]["status"], len(shop.receipts())) == ("done", 1)


def test_an_open_payment_of_a_failed_period_is_canceled_with_the_end(shop: World) -> None:
    """When a subscription with a failed period is canceled, paused or deleted, the period is given up and its open
    payment is canceled, so that nobody can complete the payment."""
    for end in ("canceled", "paused", "deleted"):
        shop = World()
        shop.subscribe()
        shop.cuts.at = 2 * CALLS["pays"].index("gateway.confirm")
        shop.run("cut")
        renewal = shop.ledger.recent("sub_1")[0]
        shop.ledger.apply(payment_steps.failed(renewal, "gateway: some_error", NOON))
        if end == "deleted":
            shop.delete_row()
        else:
            shop.edit(status=end)
        shop.run("asked", NOON + timedelta(days=1), period=DUE.isoformat())
        item = shop.items()[DUE.isoformat()]
        assert (item["status"], item["reason"]) == ("given_up", end)
        assert shop.gateway.payments["pi_1"].state is PaymentState.CANCELED
        assert "unfinished" not in item
        assert not shop.gateway.charges


@pytest.mark.parametrize("moment", range(9))
def test_a_failed_period_that_another_run_is_giving_up_gets_no_further_attempt(moment: int) -> None:
    """While a run is about to try a new card for a failed period, the subscription is paused, a second run begins to
    give the period up and is cut before the payment is canceled, and the subscription is made active again. At
    whatever moment this happens, no withdrawn claim is confirmed, and the period is billed once, with the new card."""
    shop = World()
    shop.subscribe()
    shop.cuts.at = 2 * CALLS["pays"].index("gateway.confirm")
    shop.run("cut")
    shop.ledger.apply(payment_steps.failed(shop.ledger.recent("sub_1")[0], "gateway: some_error", NOON))
    shop.edit(payment_method="pm_new")

    def happens(shop: World) -> None:
        shop.edit(status="paused")
        shop.gateway.trouble.append(("retrieve", "before"))
        shop.run("giving-up", NOON + HOURS, period=DUE.isoformat())
        assert shop.items()[DUE.isoformat()]["withdrawn"] == "paused"
        shop.edit(status="active")

    _at(shop, moment, happens)
    shop.run("first", NOON + HOURS)
    assert not shop.gateway.attempts or "withdrawn" not in shop.items()[DUE.isoformat()]
    for n in range(3):
        shop.run(f"later-{n}", NOON + 2 * HOURS + n * LATER)
    assert len(shop.gateway.charges) == 1
    item = shop.items()[DUE.isoformat()]
    assert (item["status"], item["payment_method"], "withdrawn" in item) == ("done", "pm_new", False)
    assert {p.state for p in shop.gateway.payments.values()} <= {PaymentState.PAID, PaymentState.CANCELED}


@pytest.mark.parametrize("succeeds", [True, False])
@pytest.mark.parametrize("end", ["cancel-at-period-end", "cancel-at-by-hand", "cancel-now", "pause", "deleted"])
def test_a_failed_payment_that_its_bank_decides_after_the_end(shop: World, end: str, *, succeeds: bool) -> None:
    """A confirmed payment failed here for want of an answer, and the bank is still undecided when the subscription
    ends. If the bank pays, the period stands and is receipted, and an end by date moves to the end of the period. If
    the bank declines, nothing is paid, and nobody can complete the payment."""
    shop.subscribe()
    shop.cuts.at = 2 * CALLS["pays"].index("gateway.confirm")
    shop.run("cut")
    shop.ledger.apply(payment_steps.failed(shop.ledger.recent("sub_1")[0], "picked_up_too_often", NOON))
    shop.gateway.payments["pi_1"] = replace(shop.gateway.payments["pi_1"], state=PaymentState.PROCESSING)
    shop.edit(customer_email="ann@customer.example")
    ENDS[end](shop)
    for day in range(1, 4):
        shop.run(f"asked-{day}", NOON + day * timedelta(days=1), period=DUE.isoformat())
        assert shop.gateway.payments["pi_1"].state is PaymentState.PROCESSING
    if succeeds:
        shop.gateway.succeed("pi_1")
    else:
        shop.gateway.payments["pi_1"] = replace(shop.gateway.payments["pi_1"], state=PaymentState.DECLINED)
    for day in range(4, 7):
        shop.run(f"asked-{day}", NOON + day * timedelta(days=1), period=DUE.isoformat())
    item = shop.items()[DUE.isoformat()]
    assert (item["status"], len(shop.receipts())) == (("done", 1) if succeeds else ("given_up", 0))
    assert shop.gateway.payments["pi_1"].state is (PaymentState.PAID if succeeds else PaymentState.CANCELED)
    if end.startswith("cancel-at"):
        ends_on = END_OF_FEBRUARY if succeeds else DUE.isoformat()
        assert (shop.row()["status"], shop.row()["cancel_at"]) == ("active" if succeeds else "canceled", ends_on)
        shop.run("ends", NOON.replace(month=2, day=28), period=shop.row()["renewal_date"])
        assert (shop.row()["status"], shop.row()["ended_on"]) == ("canceled", ends_on)
        assert len(shop.gateway.charges) == succeeds


def test_an_end_that_was_taken_back_before_a_refusal_does_not_end_the_next_attempt(shop: World) -> None:
    """The subscription is paused while the bank is asked, a second run begins to give the period up, the subscription
    becomes active again, and the card is declined. The next attempt with a new card, cut before its confirmation, goes
    on later, since no end stands any more."""
    shop.subscribe(payment_method="pm_declined")

    def happens(shop: World) -> None:
        shop.edit(status="paused")
        shop.gateway.trouble.append(("retrieve", "before"))
        shop.run("giving-up", NOON + LATER, period=DUE.isoformat())
        shop.edit(status="active")

    _at(shop, 2 * CALLS["pays"].index("gateway.confirm") + 1, happens)
    shop.run("first")
    item = shop.items()[DUE.isoformat()]
    assert (item["status"], item["withdrawn"]) == ("declined", "paused")
    shop.edit(payment_method="pm_ok")
    shop.gateway.trouble.append(("confirm", "before"))
    shop.run("cut", NOON + HOURS)
    assert shop.items()[DUE.isoformat()]["status"] == "claimed"
    shop.run("later", NOON + 2 * HOURS)
    assert [payment for payment, _, _ in shop.gateway.charges] == ["pi_1"]


def test_a_row_with_a_status_that_is_not_known_is_not_charged_for_what_was_claimed(shop: World) -> None:
    """An unknown status is never charged, not even for a claim made before; once the status is mended, the period is
    billed."""
    shop.subscribe()
    shop.gateway.trouble.append(("create", "before"))
    shop.run("claimed")
    shop.edit(status="aktive")
    shop.run("asked", NOON + LATER)
    assert (shop.gateway.charges, shop.items()[DUE.isoformat()]["reason"]) == ([], "unknown_status")
    shop.edit(status="active")
    shop.run("mended", NOON + 2 * LATER)
    assert len(shop.gateway.charges) == 1


ROWS: list[dict[str, Any] | None] = [
    None,
    *({"status": status} for status in ("active", "past_due", "paused", "canceled", "unpaid", "aktive", Decimal(1))),
    *({"cancel_at": end} for end in ("2026-01-30", "2026-01-31", "2026-02-01", "soon", Decimal(5), None, "")),
    *({"renewal_date": day} for day in ("2026-01-31", "2026-02-28", Decimal(5))),
    *({"gateway_customer": customer} for customer in ("cus_gw", "cus_other", None)),
]


@pytest.mark.parametrize("changed", ROWS, ids=str)
def test_the_check_and_the_look_say_the_same_of_a_row(shop: World, changed: dict[str, Any] | None) -> None:
    """The condition in the transaction and the reason in words agree on every row: a claim on which the two differed
    would be looked at for ever."""
    shop.subscribe()
    shop.cuts.at = 2 * CALLS["pays"].index("gateway.create")
    shop.run("cut")
    renewal = shop.ledger.recent("sub_1")[0]
    row = None if changed is None else shop.row() | changed
    check = shop.ledger.rendered(payment_steps.stands_by(renewal))["ConditionCheck"]
    values: Any = check["ExpressionAttributeValues"]
    holds = Condition(check["ConditionExpression"], dict(check["ExpressionAttributeNames"]), plain(values)).holds(
        row or {}
    )
    assert holds is (why_withdrawn(renewal, row) is None)


def test_no_charge_begins_while_an_end_is_written(shop: World) -> None:
    """A renewal is claimed between the API's look at the ledger and its write: the write fails, and the next try
    answers the end of the claimed period."""
    shop.subscribe()
    row = dict(shop.row())
    calls = len(shop.cuts.calls)
    shop.cuts.at = 2 * (calls + 2)  # after two reads of the ledger, before the transaction
    shop.cuts.happens = lambda _point: _claim_alone(shop)
    with pytest.raises(Overtaken):
        register(shop).act(row, Action.CANCEL_AT_PERIOD_END, DUE, AskedBy("ann", NOON))
    again = register(shop).act(shop.row(), Action.CANCEL_AT_PERIOD_END, DUE, AskedBy("ann", NOON))
    assert again["cancel_at"] == END_OF_FEBRUARY
    assert "cancel_at" in WATCHED


def test_an_end_with_the_period_is_that_of_the_date_that_the_row_has(shop: World) -> None:
    """A renewal is claimed, the renewal date is moved to 5 February, and the subscription is canceled at the end of
    its period: the claim is not charged, the end is the row's new date, and no period begins on that date."""
    shop.subscribe()
    _claim_alone(shop)
    shop.edit(renewal_date="2026-02-05")
    row = register(shop).act(shop.row(), Action.CANCEL_AT_PERIOD_END, DUE, AskedBy("ann", NOON))
    assert isinstance(row, dict)
    assert row["cancel_at"] == "2026-02-05"
    for n in range(3):
        shop.run(f"due-{n}", NOON + timedelta(days=5 + n), period=shop.row()["renewal_date"])
    assert shop.gateway.charges == []
    assert shop.row()["status"] == "canceled"


def _claim_alone(shop: World) -> None:
    shop.gateway.trouble.append(("create", "before"))
    shop.run("claiming")


def test_the_price_and_the_interval_stay_those_of_the_claim(shop: World) -> None:
    """A claim keeps its price and its interval: a later change counts from the next period on."""
    shop.subscribe()
    _claim_alone(shop)
    shop.edit(amount=Decimal("49.99"), interval="year")
    outcome = shop.charge("later", NOON + LATER).renew(RenewalRequest("sub_1", "cus_1", Decimal("49.99")))
    assert outcome.name == "paid"
    assert [amount for _, amount, _ in shop.gateway.charges] == [2999]
    assert shop.items()[DUE.isoformat()]["period_end"] == date(2026, 2, 28).isoformat()
