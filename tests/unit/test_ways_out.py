"""A way out of every state: from any state of a period, a new card, a corrected address or a mended row leads on.

Every combination ends renewed, or stands with a reason for an operator; no period is asked about for ever in vain.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import product
from typing import Any

import pytest

from renewals.domain.payment import PaymentState
from renewals.domain.subscription import SubscriptionStatus
from renewals.domain.transitions import Action
from renewals.ledger import payment_steps
from renewals.ledger.asked_by import AskedBy
from tests.fakes import DUE, LATER, NOON, World
from tests.shares import rotating
from tests.unit.test_crashes import CALLS
from tests.unit.test_ends import register
from tests.unit.test_odd_orders import _swept

DAY = timedelta(days=1)
JANUARY = DUE.isoformat()
THEN = NOON + 9 * DAY


def _cut_before(shop: World, call: str, **row: Any) -> None:
    shop.subscribe(**row)
    shop.cuts.at = 2 * CALLS["pays"].index(call)
    shop.run()


def _failed(reason: str) -> Callable[[World], None]:
    def begin(shop: World) -> None:
        _cut_before(shop, "gateway.confirm")
        shop.ledger.apply(payment_steps.failed(shop.ledger.recent("sub_1")[0], reason, NOON))

    return begin


def _refused_to_the_end(shop: World) -> None:
    shop.subscribe(payment_method="pm_declined")
    for day in range(8):
        shop.run(f"day-{day}", NOON + day * DAY)


def _stopped(shop: World) -> None:
    _cut_before(shop, "gateway.confirm")
    shop.gateway.cancel("pi_1")
    shop.run("asked", NOON + LATER)


def _of(**row: Any) -> Callable[[World], None]:
    def begin(shop: World) -> None:
        shop.subscribe(**row)
        shop.run()

    return begin


STATES: dict[str, Callable[[World], None]] = {
    "claimed": lambda shop: _cut_before(shop, "gateway.create"),
    "claimed, with a payment": lambda shop: _cut_before(shop, "gateway.confirm"),
    "declined": _of(payment_method="pm_declined"),
    "action_required": _of(payment_method="pm_3ds"),
    "paid": lambda shop: _cut_before(shop, "s3.PutObject"),
    "receipted": lambda shop: _cut_before(shop, "s3.GetObject"),
    "mail_unknown": lambda shop: _cut_before(shop, "ses.SendRawEmail"),
    "done": _of(),
    "mail_failed": _of(customer_email="bad"),
    "given_up": _refused_to_the_end,
    "failed, of a customer that is gone": _of(gateway_customer="cus_gone"),
    "failed, with a payment": _failed("gateway: some_error"),
    "failed, picked up too often": _failed("picked_up_too_often"),
    "failed, stopped at the gateway": _stopped,
}


def _nothing(_shop: World) -> None:
    return None


MENDS: dict[str, Callable[[World], None]] = {
    "the sweep": _nothing,
    "a new card": lambda shop: shop.edit(payment_method="pm_new"),
    "a corrected address": lambda shop: shop.edit(customer_email="good@customer.example"),
    "a mended row": lambda shop: shop.edit(gateway_customer="cus_gw", status="active", payment_method="pm_new"),
    "resumed": lambda shop: _resume(shop),
    "a webhook": lambda shop: _ignore(shop.run("webhook", THEN)),
}


def _resume(shop: World) -> None:
    if shop.row()["status"] in ("canceled", "active", "past_due"):
        shop.edit(status="paused")
        shop.run("paused", THEN, period=shop.row()["renewal_date"])
        shop.edit(status="active")
        return
    register(shop).act(shop.row(), Action.RESUME, THEN.date(), AskedBy("ann", THEN))


def _ignore(_outcome: object) -> None:
    return None


NEEDS_A_CARD = {"declined", "action_required"}
"""The states in which only the customer can help."""


@pytest.mark.parametrize(
    ("state", "mend"),
    [*product(STATES, ["the sweep"]), *rotating([*STATES], [mend for mend in MENDS if mend != "the sweep"], of=3)],
)
def test_every_state_has_a_way_out(state: str, mend: str) -> None:
    """In five days the sweep alone, without a call by anybody, renews the period with its receipt and mail, or leaves
    it with a reason, and nobody is told to come again for ever."""
    shop = World()
    STATES[state](shop)
    MENDS[mend](shop)
    shop.edit(amount=Decimal("29.99"))
    ends = _swept(shop, [THEN + n * timedelta(hours=12) for n in range(10)], ("due", "all"))
    if mend == "a corrected address":  # by hand: somebody asks for the waiting mail
        shop.run("resend", THEN + 6 * DAY, period=JANUARY)
    item = shop.items().get(JANUARY, {})
    stands = item.get("status")
    assert len(shop.gateway.charges) <= 1
    for _ in range(2):
        outcome = shop.renew("asked", THEN + 6 * DAY)
        assert (outcome.name, outcome.reason) != ("failed", "")
    row = shop.row()
    renewed = stands in ("done", "mail_failed", "mail_unknown") and row["renewal_date"] > JANUARY
    waits = stands in ("declined", "action_required") and row["status"] == "past_due" and "next_attempt" in row
    asked_anew = row["status"] == "past_due" and "next_attempt" in row  # for the period since the resumption
    ended = stands == "given_up" and (row["status"] in ("canceled", "paused", "active", "unpaid") or asked_anew)
    failed = stands == "failed" and bool(item["reason"])
    passed_over = stands == "skipped"
    assert renewed or waits or ended or failed or passed_over, (stands, row["status"], ends)
    if mend in ("a new card", "a mended row") and state not in ("given_up",):
        cured = mend == "a mended row" or state != "failed, of a customer that is gone"
        assert not cured or renewed, (stands, item.get("reason"))
    if failed:
        assert (mend, state) not in {("a webhook", "failed, picked up too often")}
    assert (
        shop.gateway.payments.get("pi_1") is None
        or renewed
        or waits
        or failed
        or (shop.gateway.payments["pi_1"].state in (PaymentState.CANCELED, PaymentState.PAID))
    )


def _noon(year: int, month: int, day: int) -> datetime:
    return NOON.replace(year=year, month=month, day=day)


@pytest.mark.parametrize("interval", ["year", "week", "day", "month"])
@pytest.mark.parametrize("again", [False, True], ids=["once", "twice"])
def test_a_claim_meets_what_its_own_given_up_claim_passed_over(shop: World, interval: str, again: bool) -> None:
    """A subscription late by two periods is declined and dunned to unpaid; with a new interval and a new card it is
    resumed and billed, also after a second decline and giving up in between."""
    shop.dunning = type(shop.dunning)(shop.dunning.days, SubscriptionStatus.UNPAID)
    shop.subscribe(payment_method="pm_declined")
    start = _noon(2026, 4, 2)
    for day in range(9):
        shop.run(f"day-{day}", start + day * DAY)
    assert shop.row()["status"] == "unpaid"
    if again:
        shop.edit(status="active", interval="year")
        for day in range(10, 20):
            shop.run(f"day-{day}", start + day * DAY)
        assert shop.row()["status"] == "unpaid"
    shop.edit(interval=interval, payment_method="pm_ok")
    row = register(shop).act(shop.row(), Action.RESUME, start.date(), AskedBy("ann", start))
    assert isinstance(row, dict)
    ends = [shop.run(f"again-{n}", start + 21 * DAY + n * LATER, period=shop.row()["renewal_date"]) for n in range(3)]
    assert ends[0] == "Success"
    assert len(shop.gateway.charges) == 1
    assert shop.row()["renewal_date"] > start.date().isoformat()


def test_a_new_card_pays_a_failed_period_on_the_same_payment(shop: World) -> None:
    """The new card of the row is charged once, on the failed period's own payment."""
    STATES["failed, with a payment"](shop)
    shop.edit(payment_method="pm_new")
    assert set(_swept(shop, [THEN])) == {"Success"}
    assert shop.gateway.attempts == [("pi_1", "pm_new")]
    assert shop.items()[JANUARY]["attempt"] == 2
    assert [item["status"] for item in shop.items().values()] == ["done"]


@pytest.mark.parametrize(
    "meanwhile",
    [{"state": PaymentState.CANCELED}, {"amount": 2000}, {"currency": "EUR"}],
    ids=lambda made: next(iter(made)),
)
def test_a_new_card_pays_by_another_payment_where_the_first_can_not_be_charged(
    shop: World, meanwhile: dict[str, Any]
) -> None:
    """The failed period's payment was canceled at the gateway, or differs from the claim in amount or currency: the
    sweep after the new card has the price paid by a new payment, and the first payment can never be paid."""
    STATES["failed, with a payment"](shop)
    shop.gateway.payments["pi_1"] = replace(shop.gateway.payments["pi_1"], **meanwhile)
    shop.edit(payment_method="pm_new")
    assert set(_swept(shop, [THEN])) == {"Success"}
    assert shop.gateway.charges == [("pi_2", 2999, "USD")]
    assert shop.gateway.payments["pi_1"].state is PaymentState.CANCELED
    assert shop.items()[JANUARY]["status"] == "done"


@pytest.mark.parametrize("stands", ["declined", "done", "claimed"])
def test_an_item_of_another_customer_in_the_way_is_a_reason(shop: World, stands: str) -> None:
    """The subscription id was given to a new customer while a former customer has an item of the same date: the request
    is rejected with the reason and not treated as a race."""
    shop.subscribe(customer_id="cus_0", payment_method="pm_declined")
    shop.run()
    item = {"touched_at": "2026-01-01T12:00:00.000000+00:00", "status": stands, "customer_id": "cus_0"}
    shop.dynamodb.items("renewals").clear()
    world = World()
    world.subscribe()
    world.run()
    shop.dynamodb.put("renewals", world.items()[JANUARY] | item)
    shop.dynamodb.items("subscriptions").clear()
    shop.subscribe()
    outcome = shop.renew("asked", NOON + DAY)
    assert (outcome.name, outcome.reason[:12]) == ("rejected", "renewal_date")


def test_a_paused_row_put_back_onto_old_periods_is_moved_past_them(shop: World) -> None:
    """A paused row put back onto old periods is moved past the periods, and the periods are unchanged."""
    shop.subscribe(interval="day", renewal_date="2026-01-01")
    for day in range(1, 15):
        shop.run(f"day-{day}", _noon(2026, 1, day))
    stood = {day: item["status"] for day, item in shop.items().items()}
    shop.edit(renewal_date="2025-12-30", status="paused")
    assert shop.run("paused", _noon(2026, 1, 20), period="2025-12-30") == "Success"
    assert shop.row()["renewal_date"] == "2026-01-21"
    assert stood.items() <= {day: item["status"] for day, item in shop.items().items()}.items()


def test_a_failed_period_of_a_deleted_row_is_found_by_the_sweep(shop: World) -> None:
    """A failed period whose row was deleted is found in the ledger's index, and its payment is canceled within a
    day."""
    STATES["failed, with a payment"](shop)
    shop.delete_row()
    assert len(_swept(shop, [NOON + DAY])) == 1
    assert shop.items()[JANUARY]["status"] == "given_up"
    assert shop.gateway.payments["pi_1"].state is PaymentState.CANCELED
    assert _swept(shop, [NOON + 2 * DAY]) == []
