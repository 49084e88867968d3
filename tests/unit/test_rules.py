"""The rules of the charge, in order: the rule that decides for a subscription, and the rule's decision."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from process_payment.decisions import (
    Answer,
    ClaimPeriod,
    GiveUp,
    LookAgain,
    Move,
    NextAttempt,
    Note,
    PassDate,
    RecordPaid,
    TakeOver,
)
from process_payment.dunning_rules import DUNNING
from process_payment.failed_rules import FAILED
from process_payment.rules import RULES
from process_payment.snapshot import Snapshot, take_snapshot
from renewals.domain.customer_request import CustomerRequest
from renewals.domain.payment import Failure, Payment, PaymentState
from renewals.domain.reasons import Reason
from renewals.domain.request import Asks, RenewalRequest
from renewals.ledger import payment_steps
from tests.fakes import DUE, LATER, NOON, World
from tests.unit.test_crashes import CALLS

DAY = timedelta(days=1)
SWEEP = {"period": DUE}
EVENT = SWEEP | {"gateway_event": "evt_1"}

type Arranged = Callable[[World], object]


def _subscribed(**row: Any) -> Arranged:
    return lambda shop: shop.subscribe(**row)


def _cut_before(call: str, **row: Any) -> Arranged:
    """Arrange an execution that ended before a call, two minutes ago."""

    def arranged(shop: World) -> None:
        shop.subscribe(**row)
        shop.cuts.at = 2 * CALLS["pays"].index(call)
        shop.run("cut")

    return arranged


def _refused(card: str = "pm_declined", **meanwhile: Any) -> Arranged:
    """Arrange a decline on the due date. meanwhile: later changes of the row."""

    def arranged(shop: World) -> None:
        shop.subscribe(payment_method=card)
        shop.run("first")
        shop.edit(**meanwhile)

    return arranged


def _failed(**meanwhile: Any) -> Arranged:
    """Arrange a period that failed before its payment was confirmed."""

    def arranged(shop: World) -> None:
        _cut_before("gateway.confirm")(shop)
        shop.ledger.apply(payment_steps.failed(shop.ledger.recent("sub_1")[0], "picked_up_too_often", NOON))
        shop.edit(**meanwhile)

    return arranged


def _failed_with(state: PaymentState) -> Arranged:
    """Arrange a failed period whose payment has this state since, and an updated payment method."""

    def arranged(shop: World) -> None:
        _failed(payment_method="pm_3ds")(shop)
        shop.gateway.payments["pi_1"] = replace(shop.gateway.payments["pi_1"], state=state)

    return arranged


def _failed_and_owned(shop: World) -> None:
    _failed()(shop)
    until = (NOON + LATER + timedelta(seconds=1)).isoformat(timespec="microseconds")
    shop.dynamodb.put("renewals", shop.items()[DUE.isoformat()] | {"owner": "another", "lease_until": until})


def _failed_while_off(shop: World) -> None:
    _failed(payment_method="pm_3ds")(shop)
    shop.turn_charging_off()


def _renewed(**meanwhile: Any) -> Arranged:
    def arranged(shop: World) -> None:
        shop.subscribe()
        shop.run("first")
        shop.edit(**meanwhile)

    return arranged


def _paid_at_the_bank(shop: World) -> None:
    _refused("pm_3ds")(shop)
    shop.gateway.succeed("pi_1")


def _canceled_while_asked(shop: World) -> None:
    _refused("pm_3ds")(shop)
    shop.gateway.cancel("pi_1")


def _at_the_banks_page(shop: World) -> None:
    """The customer was sent to the bank's page a minute before the look."""
    _refused("pm_3ds")(shop)
    asked = CustomerRequest("sub_1", "cus_1", Asks.CONFIRM_ON_SESSION, return_url="https://shop.example/back")
    assert shop.ask(asked, NOON + 9 * DAY - timedelta(minutes=1))["outcome"] == "opened"


def _switched_off(shop: World) -> None:
    _refused()(shop)
    shop.turn_charging_off()


def _stolen(shop: World) -> None:
    shop.gateway.declines["pm_declined"] = Failure("", "card_declined", "stolen_card", None)
    _refused()(shop)


def _canceled(shop: World) -> None:
    _refused()(shop)
    shop.gateway.payments["pi_1"] = replace(shop.gateway.payments["pi_1"], state=PaymentState.CANCELED)


def _behind(dunned: int, **mails: str) -> Arranged:
    """Arrange a decline after which `dunned` dunning dates have passed. mails: mail names with their states."""

    def arranged(shop: World) -> None:
        _refused()(shop)
        item = shop.items()[DUE.isoformat()]
        known = {"token": "token", "owner": "run", "claimed_until": (NOON + DAY).isoformat(), "to": "ann@example.com"}
        sent = {name: known | {"state": state} for name, state in mails.items()}
        shop.dynamodb.put("renewals", item | {"dunned": Decimal(dunned), "mails": sent})

    return arranged


def _mail_waited(shop: World) -> None:
    """January's receipt waits for a corrected address, now in the row; February was declined."""
    shop.subscribe()
    shop.run("first")
    item = shop.items()[DUE.isoformat()]
    shop.edit(payment_method="pm_declined")
    shop.run("second", NOON + 28 * DAY)
    item["mails"]["receipt_1"]["state"] = "failed"
    shop.dynamodb.put("renewals", item | {"status": "mail_failed"})
    shop.edit(customer_email="new@customer.example")


def _receipt_interrupted(shop: World) -> None:
    """The work on January ended before the mail with the receipt; February was declined."""
    _cut_before("ses.SendRawEmail")(shop)
    shop.dynamodb.put("renewals", shop.items()[DUE.isoformat()] | {"status": "receipted"})
    shop.edit(payment_method="pm_declined")
    shop.run("second", NOON + 28 * DAY)


def _stopped(shop: World) -> None:
    _cut_before("gateway.confirm")(shop)
    shop.ledger.apply(payment_steps.failed(shop.ledger.recent("sub_1")[0], Reason.CANCELED_AT_THE_GATEWAY, NOON))


def _passed_over(shop: World) -> None:
    """A claim that passed over two periods failed, and the subscription ends before the claim's period."""
    shop.subscribe(gateway_customer="cus_gone")
    shop.run("first", NOON + 60 * DAY)
    shop.edit(cancel_at="2026-03-15")


CASES: dict[str, tuple[str, type, Arranged, timedelta, dict[str, Any]]] = {
    "a mail that waited, while another period stands refused": (
        "_mail_that_waited", TakeOver, _mail_waited, 29 * DAY, SWEEP,
    ),
    "an interrupted receipt, while another period stands refused": (
        "_mail_that_waited", TakeOver, _receipt_interrupted, 29 * DAY, SWEEP,
    ),
    "an execution ended before its payment was confirmed": (
        "_interrupted_claim", TakeOver, _cut_before("gateway.confirm"), LATER, {},
    ),
    "it is at work still": ("_interrupted_claim", Answer, _cut_before("gateway.confirm"), timedelta(seconds=1), {}),
    "the row of a refused period cannot be read": (
        "_refused_without_a_subscription", Answer, _refused(amount="much"), DAY, {},
    ),
    "it has ended, too": (
        "_refused_without_a_subscription", GiveUp, _refused(amount="much", status="canceled"), DAY, {},
    ),
    "a refused subscription was paused": ("_refused_and_over", GiveUp, _refused(status="paused"), DAY, {}),
    "a declined card, before its date": ("_nothing_new", Answer, _refused(), LATER, {}),
    "the customer has paid meanwhile": ("_paid_elsewhere", RecordPaid, _paid_at_the_bank, LATER, {}),
    "the payment that the customer should confirm is canceled, and an event says so": (
        "_closed_at_the_gateway", Note, _canceled_while_asked, LATER, EVENT,
    ),
    "the same, without an event": ("_not_confirmed_yet", Answer, _canceled_while_asked, LATER, {}),
    "the customer has not confirmed yet": ("_not_confirmed_yet", Answer, _refused("pm_3ds"), LATER, {}),
    "a dunning date while charging is off": ("_dunning_while_off", Answer, _switched_off, 9 * DAY, {}),
    "a dunning date while the customer is at the bank's page": (
        "_at_the_banks_page", Answer, _at_the_banks_page, 9 * DAY, {},
    ),
    "a dunning date": ("_tried_again", NextAttempt, _refused(), 9 * DAY, {}),
    "the payment method was updated": ("_tried_again", NextAttempt, _refused(payment_method="pm_ok"), LATER, {}),
    "a dunning date of a card that is stolen": ("_pointless", PassDate, _stolen, 4 * DAY, {}),
    "the last step, of which nobody was told": ("_held", PassDate, _behind(3), 9 * DAY, {}),
    "the last date is behind it": ("_over", GiveUp, _behind(4, final_notice_1="sent"), 9 * DAY, {}),
    "somebody canceled the refused payment": ("_canceled_at_the_gateway", GiveUp, _canceled, 9 * DAY, {}),
    "a row that cannot be read": ("_bad_row", Answer, _subscribed(amount="much"), LATER, {}),
    "the end has come": ("_end", Note, _subscribed(cancel_at="2026-01-15"), LATER, {}),
    "active again by hand after a pause": (
        "_resumed_by_hand", LookAgain, _subscribed(passed_over_to="2026-01-31"), LATER, {},
    ),
    "paused, and asked by the sweep": ("_paused", Move, _subscribed(status="paused"), LATER, SWEEP),
    "paused, and asked by a webhook": ("_not_due", Answer, _subscribed(status="paused"), LATER, {}),
    "not due": ("_not_due", Answer, _subscribed(renewal_date="2026-02-15"), LATER, {}),
    "ended, and something of it stands refused": (
        "_not_due", Note, _subscribed(status="canceled", next_attempt="2026-02-03"), LATER, {},
    ),
    "put back to a date that is paid": ("_paid_already", LookAgain, _renewed(renewal_date="2026-01-31"), LATER, {}),
    "a failed payment that can be paid": ("_same_card", TakeOver, _failed(), LATER, {}),
    "a failed payment that an event names": ("_only_asked", Answer, _failed(), LATER, EVENT),
    "a failed payment that an event rightly calls paid": (
        "_only_asked", RecordPaid, _failed_with(PaymentState.PAID), LATER, EVENT,
    ),
    "a dunning date, asked by an event": ("_not_confirmed_yet", Answer, _refused(), 9 * DAY, EVENT),
    "a failed payment that another execution works on": ("_worked_on", Answer, _failed_and_owned, LATER, {}),
    "a failed payment that succeeded, and another card": (
        "_succeeded_after_all", RecordPaid, _failed_with(PaymentState.PAID), LATER, {},
    ),
    "a failed payment that a bank decides about, and another card": (
        "_bank_decides", TakeOver, _failed_with(PaymentState.PROCESSING), LATER, {},
    ),
    "a failed payment and another card, while charging is off": (
        "_failed_while_off", Answer, _failed_while_off, LATER, {},
    ),
    "a failed payment, and another customer": ("_withdrawn", GiveUp, _failed(gateway_customer="cus_new"), LATER, {}),
    "a failed payment that was canceled, and another card": (
        "_useless_payment", GiveUp, _failed_with(PaymentState.CANCELED), LATER, {},
    ),
    "a failed payment, and another card": ("_updated_card", NextAttempt, _failed(payment_method="pm_3ds"), LATER, {}),
    "somebody canceled the payment": ("_stopped", Answer, _stopped, LATER, {}),
    "claimed for a day after the end": ("_ends_before", Note, _passed_over, 61 * DAY, {}),
    "a period within one that is paid": ("_overlap", Answer, _renewed(renewal_date="2026-02-10"), 12 * DAY, {}),
    "asked for another amount": ("_another_amount", Answer, _subscribed(), LATER, {"amount": "30.00"}),
    "several periods, asked by a webhook": ("_one_at_a_time", Answer, _subscribed(catch_up="each"), 40 * DAY, {}),
    "moved away from a failed payment": (
        "_moved_from_a_payment", GiveUp, _failed(renewal_date="2026-03-15"), 50 * DAY, {},
    ),
    "due, asked by an event": ("_event_claims_nothing", Answer, _subscribed(), LATER, EVENT),
    "due": ("_due", ClaimPeriod, _subscribed(), LATER, {}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_first_rule_that_applies_decides(shop: World, case: str) -> None:
    """For every case the first applicable rule makes its decision, and deciding writes nothing."""
    rule, decision, arranged, after, asked = CASES[case]
    arranged(shop)
    before = shop.items(), dict(shop.row())
    seen = _look(shop, NOON + after, **asked)
    name, decided = _decided(seen)
    assert (name, type(decided)) == (rule, decision)
    assert (shop.items(), shop.row()) == before


def _look(
    shop: World, now: datetime, period: date | None = None, amount: str = "29.99", gateway_event: str | None = None
) -> Snapshot:
    asked = RenewalRequest("sub_1", "cus_1", Decimal(amount), period, gateway_event=gateway_event)
    return take_snapshot(asked, shop.charge("run-2", now))


_LISTS = {"_refused": DUNNING, "_failed": FAILED}
"""The rules that hand on to a list of rules of their own."""


def _decided(seen: Snapshot) -> tuple[str, object]:
    for rule in RULES:
        decided = rule(seen)
        if decided is not None and rule.__name__ in _LISTS:
            return next((each.__name__, said) for each in _LISTS[rule.__name__] if (said := each(seen)) is not None)
        if decided is not None:
            return rule.__name__, decided
    raise AssertionError("no rule decides")


def test_every_rule_decides_for_something() -> None:
    """Every rule decides for at least one case: no rule is useless."""
    decided = {rule for rule, *_ in CASES.values()} | _LISTS.keys()
    assert {rule.__name__ for rule in (*RULES, *DUNNING, *FAILED)} == decided


def test_a_failed_payment_that_its_bank_decides_between_two_looks_is_recorded_while_charging_is_off(
    shop: World,
) -> None:
    """While charging is off and the row has a new card, the gateway is asked again before the period is left alone: the
    first card's payment was slow at the bank and is recorded as paid."""
    _failed(payment_method="pm_3ds")(shop)
    shop.turn_charging_off()
    payment = shop.gateway.payments["pi_1"]
    shop.gateway.payments["pi_1"] = replace(payment, state=PaymentState.PROCESSING)
    charge = shop.charge("run-2", NOON + LATER)
    decides = shop.gateway.retrieve

    def retrieve(payment_id: str) -> Payment:
        seen = decides(payment_id)
        shop.gateway.payments["pi_1"] = replace(payment, state=PaymentState.PAID)
        return seen

    shop.gateway.retrieve = retrieve  # type: ignore[method-assign]
    assert charge.renew(RenewalRequest("sub_1", "cus_1", Decimal("29.99"))).name == "paid"
