"""How a charge answers to the state of the subscription, of the ledger, and of the payment at the gateway."""

from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from process_payment.payments import idempotency_key
from renewals.domain.errors import PaymentError
from renewals.domain.payment import Failure, PaymentState
from renewals.domain.renewal import Renewal
from renewals.domain.request import RenewalRequest
from renewals.gateway.port import GatewayUnauthorized
from renewals.ledger.payment_steps import MOST_PICK_UPS
from tests.fakes import DUE, LATER, NOON, World

DAY = timedelta(days=1)


def _noon(day: date) -> datetime:
    return NOON.replace(year=day.year, month=day.month, day=day.day)


def test_a_renewal_charges_receipts_mails_and_moves_the_subscription_on(shop: World) -> None:
    """A renewal in the plain case leaves one charge, one receipt, one mail, a finished ledger item and a subscription
    due on the next date."""
    shop.subscribe()
    assert shop.run() == "Success"
    [(payment, amount, currency)] = shop.gateway.charges
    assert (amount, currency) == (2999, "USD")
    row = shop.row()
    assert row["renewal_date"] == "2026-02-28"
    assert (row["anchor_day"], row["payment_status"], row["transaction_id"]) == (31, "paid", payment)
    item = shop.items()["2026-01-31"]
    assert (item["status"], item["period_end"], item["payment_id"]) == ("done", "2026-02-28", payment)
    assert "unfinished" not in item
    [mail] = shop.mails()
    assert mail["To"] == "Ann Lee <ann@customer.example>"
    assert "$29.99" in mail["Subject"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"renewal_date": "2026-02-01"}, "not_due"),
        ({"status": "paused"}, "paused"),
        ({"status": "canceled"}, "canceled"),
        ({"status": "unpaid"}, "unpaid"),
        ({"cancel_at": "2026-01-31"}, "cancels_at_period_end"),
        ({"cancel_at": "2026-01-15"}, "cancels_at_period_end"),
    ],
)
def test_what_is_not_to_be_charged_is_not_and_says_why(shop: World, row: dict[str, Any], reason: str) -> None:
    """A subscription that is not due, paused, canceled, unpaid, or canceled at the end of the period is not charged,
    and the outcome gives the reason."""
    shop.subscribe(**row)
    outcome = shop.renew()
    assert (outcome.name, outcome.reason) == ("nothing_to_do", reason)
    assert not shop.gateway.payments
    assert not shop.items()


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({"status": "aktive"}, "status"),
        ({"status": None}, "status"),
        ({"amount": None}, "amount"),
        ({"amount": "29.99"}, "amount"),
        ({"amount": Decimal("29.999")}, "amount"),
        ({"amount": Decimal(-5)}, "amount"),
        ({"amount": Decimal("0.49")}, "amount"),
        ({"currency": "QQQ"}, "currency"),
        ({"currency": None}, "currency"),
        ({"interval": "fortnight"}, "interval"),
        ({"interval_count": Decimal(0)}, "interval_count"),
        ({"interval_count": Decimal("1.5")}, "interval_count"),
        ({"anchor_day": Decimal(32)}, "anchor_day"),
        ({"renewal_date": "2026-1-31"}, "renewal_date"),
        ({"renewal_date": "2026-02-30"}, "renewal_date"),
        ({"renewal_date": "2026-01-31T00:00:00Z"}, "renewal_date"),
        ({"gateway_customer": None}, "gateway_customer"),
        ({"payment_method": ""}, "payment_method"),
        ({"catch_up": "some"}, "catch_up"),
        ({"renewal_date": "1999-12-31"}, "renewal_date"),
        ({"cancel_at": "0001-01-01"}, "cancel_at"),
        ({"plan": "x" * 1001}, "plan"),
        ({"customer_name": "x" * 1001}, "customer_name"),
        ({"customer_email": Decimal(5)}, "customer_email"),
        ({"locale": ["en"]}, "locale"),
    ],
)
def test_a_bad_row_is_rejected_with_its_reason_and_leaves_nothing(shop: World, row: dict[str, Any], field: str) -> None:
    """Whatever is wrong with a row, the outcome names the field without quoting the value, and nothing reaches the
    ledger or the gateway."""
    shop.subscribe(**row)
    outcome = shop.renew()
    assert outcome.name == "rejected"
    assert outcome.reason.startswith(f"{field}: ")
    assert not any(len(str(value)) > 1 and str(value) in outcome.reason for value in row.values() if value is not None)
    assert not shop.gateway.payments
    assert not shop.items()


def test_a_wrong_amount_is_rejected_and_says_so(shop: World) -> None:
    """The amount of a request is a claim to check, never an instruction: a wrong amount is rejected."""
    shop.subscribe()
    outcome = shop.renew(amount="0.01")
    assert (outcome.name, outcome.reason) == ("rejected", "amount: differs from the subscription's amount")
    assert not shop.items()


@pytest.mark.parametrize("amount", ["29.990", "29.99"])
def test_the_same_amount_in_other_digits_is_the_same_amount(shop: World, amount: str) -> None:
    """The amounts 29.99 and 29.990 are one price."""
    shop.subscribe()
    assert shop.renew(amount=amount).name == "paid"


def test_a_stranger_to_the_subscription_gets_nothing(shop: World) -> None:
    """A request in the name of a customer without this subscription is rejected."""
    shop.subscribe(customer_id="cus_2")
    assert shop.renew().reason == "subscription_id: no such subscription of this customer"


def test_a_second_customer_under_one_subscription_is_a_bad_row(shop: World) -> None:
    """When two rows share a subscription id nobody can say which customer is to be charged, so neither customer is
    charged."""
    shop.subscribe()
    shop.subscribe(customer_id="cus_2")
    assert shop.renew().reason == "customer_id: the subscription has more than one customer"


def test_a_redelivery_after_the_renewal_says_that_it_is_renewed(shop: World) -> None:
    """A webhook delivered again after the renewal finds the period finished and the next period not due, and answers
    `renewed_already`."""
    shop.subscribe()
    shop.run()
    outcome = shop.renew("again", NOON + DAY)
    assert (outcome.name, outcome.reason) == ("nothing_to_do", "renewed_already")


def test_a_renewal_three_months_late_bills_one_period_and_moves_past_today(shop: World) -> None:
    """The latest due period is billed. The periods passed over stand in the ledger as skipped, with the date of the
    period billed instead."""
    shop.subscribe()
    shop.run(now=_noon(date(2026, 4, 29)))
    assert len(shop.gateway.charges) == 1
    assert shop.row()["renewal_date"] == "2026-04-30"
    assert {day: item["status"] for day, item in shop.items().items()} == {
        "2026-01-31": "skipped",
        "2026-02-28": "skipped",
        "2026-03-31": "done",
    }
    assert shop.items()["2026-01-31"]["billed_instead"] == "2026-03-31"


def test_a_late_claim_stands_on_later_days(shop: World) -> None:
    """March is claimed at the end of April, the run is cut off, and the renewal is run again in May: March is charged,
    once."""
    shop.subscribe()
    shop.cuts.at = 2 * 3  # before the payment is created (two queries and the claim come first)
    shop.run(now=_noon(date(2026, 4, 29)))
    assert shop.items()["2026-03-31"]["status"] == "claimed"
    shop.run("later", _noon(date(2026, 5, 2)))
    assert shop.items()["2026-03-31"]["status"] == "done"
    assert len(shop.gateway.charges) == 1
    assert shop.row()["renewal_date"] == "2026-04-30"


def test_more_periods_than_a_transaction_holds_are_passed_over_in_one(shop: World) -> None:
    """For a daily subscription a year late, one transaction passes over every missed period: the first skipped item
    guards the claim and counts all periods passed over, since not every period gets an item."""
    shop.subscribe(interval="day", renewal_date="2025-01-31")
    assert shop.run() == "Success"
    skipped = [item for item in shop.items().values() if item["status"] == "skipped"]
    assert len(skipped) == 96
    assert shop.items()["2025-01-31"]["periods_passed_over"] == 365
    assert shop.row()["renewal_date"] == "2026-02-01"


def test_the_fullest_transaction_is_within_the_limit(shop: World) -> None:
    """A daily subscription a year late, with a failed claim to pass over as well, still fits into the hundred actions
    of a DynamoDB transaction."""
    shop.subscribe(interval="day", renewal_date="2025-01-31", gateway_customer="cus_gone")
    assert shop.renew(now=_noon(date(2025, 1, 31))).name == "failed"
    shop.edit(gateway_customer="cus_gateway")
    assert shop.run("a-year-later") == "Success"
    assert (shop.items()["2025-01-31"]["status"], len(shop.items())) == ("skipped", 98)


def test_each_missed_period_is_not_billed_on_request(shop: World) -> None:
    """With several periods due and `catch_up` = `each`, only the sweep bills: every redelivery of a webhook would bill
    one more period."""
    shop.subscribe(catch_up="each")
    assert shop.renew(now=_noon(date(2026, 4, 29))).reason == "caught_up_by_the_sweep"
    assert not shop.items()
    assert shop.renew(now=NOON).name == "paid"


def test_a_declined_card_is_an_outcome_and_stays_one(shop: World) -> None:
    """After a decline the subscription is past due and the customer gets one mail; a webhook delivered again is
    declined again without a call of the gateway."""
    shop.subscribe(payment_method="pm_declined")
    assert shop.run() == "PaymentDeclined"
    assert shop.run("again", NOON + LATER) == "PaymentDeclined"
    assert shop.gateway.attempts == [("pi_1", "pm_declined")]
    item = shop.items()["2026-01-31"]
    assert (item["status"], item["decline_code"], item["advice_code"]) == (
        "declined",
        "insufficient_funds",
        "try_again_later",
    )
    assert shop.row()["status"] == "past_due"
    assert shop.row()["renewal_date"] == "2026-01-31"
    assert len(shop.mails()) == 1
    assert not shop.receipts()


def test_a_new_card_is_tried_on_the_same_payment(shop: World) -> None:
    """After a decline the customer updates the payment method: attempt 2 confirms the same payment intent, and the
    anchor day stays."""
    shop.subscribe(payment_method="pm_declined")
    shop.run()
    shop.edit(payment_method="pm_ok")
    assert shop.run("again", NOON + 3 * DAY) == "Success"
    assert shop.gateway.attempts == [("pi_1", "pm_declined"), ("pi_1", "pm_ok")]
    assert len(shop.gateway.charges) == 1
    assert shop.items()["2026-01-31"]["attempt"] == 2
    assert (shop.row()["status"], shop.row()["renewal_date"]) == ("active", "2026-02-28")
    assert len(shop.mails()) == 2


def test_a_new_card_of_a_canceled_subscription_is_not_tried(shop: World) -> None:
    """When a subscription is canceled after a decline, its new card is not charged."""
    shop.subscribe(payment_method="pm_declined")
    shop.run()
    shop.edit(payment_method="pm_ok", status="canceled")
    shop.run("again", NOON + DAY)
    assert not shop.gateway.charges


def test_a_decline_whose_record_was_lost_is_not_tried_again(shop: World) -> None:
    """After a cut between the gateway's decline and its record, the card is not tried again; the decline is recorded,
    and the customer is told once."""
    shop.subscribe(payment_method="pm_declined")
    shop.cuts.at = 2 * 5 + 1  # after the confirmation
    shop.run()
    assert shop.cuts.calls[-1] == "gateway.confirm"
    assert shop.run("again", NOON + LATER) == "PaymentDeclined"
    assert len(shop.gateway.attempts) == 1
    assert len(shop.mails()) == 1


def test_a_payment_that_needs_the_customer_is_paid_when_the_customer_has_acted(shop: World) -> None:
    """A payment that needs 3-D Secure is told to the customer in one mail. Once the customer has confirmed, the next
    run finds the payment paid, and sends the receipt."""
    shop.subscribe(payment_method="pm_3ds")
    assert shop.run() == "PaymentDeclined"
    assert shop.run("again", NOON + LATER) == "PaymentDeclined"
    assert shop.items()["2026-01-31"]["status"] == "action_required"
    assert len(shop.mails()) == 1
    shop.gateway.succeed("pi_1")
    assert shop.run("third", NOON + DAY) == "Success"
    assert len(shop.receipts()) == 1
    assert len(shop.mails()) == 2


@pytest.mark.parametrize("code", ["card_declined", "authentication_required"])
def test_a_decline_for_want_of_the_customer_asks_the_customer(shop: World, code: str) -> None:
    """Whether the gateway demands authentication by the error's code or by the decline code, the customer is asked to
    confirm, and no dunning date tries the card in vain."""
    shop.gateway.declines["pm_declined"] = Failure("", code, "authentication_required", None)
    shop.subscribe(payment_method="pm_declined")
    assert shop.run() == "PaymentDeclined"
    assert (shop.items()["2026-01-31"]["status"], shop.mail_kinds()) == ("action_required", ["action_required"])
    shop.run("dunned", NOON + DAY)
    assert len(shop.gateway.attempts) == 1


def test_a_payment_still_in_process_is_neither_paid_nor_declined(shop: World) -> None:
    """A payment in state `processing` brings no receipt, no mail, no new attempt and no failed workflow; the gateway is
    asked again later."""
    shop.subscribe()
    shop.gateway.trouble.append(("confirm", "processing"))
    assert shop.run() == "Success"
    assert not shop.receipts()
    assert not shop.mails()
    shop.gateway.succeed("pi_1")
    assert shop.run("later", NOON + LATER) == "Success"
    assert len(shop.gateway.charges) == 1


def test_a_creation_answered_with_a_5xx_gets_another_key(shop: World) -> None:
    """After a 5xx the payment is created under a new idempotency key, since the gateway would repeat the 5xx for a day
    under the old key. An additional unconfirmed payment costs nothing."""
    shop.subscribe()
    shop.gateway.trouble.append(("create", "answered"))
    assert shop.run(tries=2) == "Success"
    assert list(shop.gateway.by_key) == [f"{shop.deployment}/cus_1/sub_1/2026-01-31/v2/1"]


def test_a_request_that_the_gateway_refuses_for_good_is_failed_and_can_be_mended(shop: World) -> None:
    """A customer unknown to the gateway fails the renewal with the gateway's code, the row's attribute at fault and the
    gateway's name of the call. Once the row is mended, the next run charges under a new idempotency key."""
    shop.subscribe(gateway_customer="cus_gone")
    outcome = shop.renew()
    assert (outcome.name, outcome.reason) == ("failed", "gateway: resource_missing: gateway_customer")
    assert shop.items()["2026-01-31"]["gateway_request_id"].startswith("req_")
    shop.edit(gateway_customer="cus_gw", amount=Decimal(35))
    assert shop.run("again", NOON + DAY, amount="35") == "Success"
    assert [amount for _, amount, _ in shop.gateway.charges] == [3500]


def test_a_canceled_payment_is_failed_for_a_person_to_look_at(shop: World) -> None:
    """A payment canceled by hand at the gateway fails the renewal, and no new payment is ever made without a person's
    doing."""
    shop.subscribe()
    shop.cuts.at = 2 * 5  # before the confirmation
    shop.run()
    shop.gateway.cancel("pi_1")
    assert shop.run("again", NOON + LATER) == "PaymentFailed"
    assert shop.run("third", NOON + DAY) == "PaymentFailed"
    assert shop.items()["2026-01-31"]["reason"] == "gateway: canceled"
    assert len(shop.gateway.payments) == 1


def test_another_execution_within_the_lease_is_in_progress(shop: World) -> None:
    """For forty seconds a renewal belongs to its owner: a second execution is told `in_progress`, and the owner's own
    retry goes on."""
    shop.subscribe()
    shop.cuts.at = 2 * 3
    shop.run("owner")
    assert shop.renew("other", NOON + timedelta(seconds=39)).name == "in_progress"
    assert shop.renew("owner", NOON + timedelta(seconds=39)).name == "paid"


def test_ten_pick_ups_without_progress_fail_the_renewal(shop: World) -> None:
    """When the gateway never answers, the renewal stands visibly as failed after ten pick-ups instead of being tried
    for ever."""
    shop.subscribe()
    for n in range(MOST_PICK_UPS + 1):
        shop.gateway.trouble.append(("create", "before"))
        with pytest.raises(PaymentError):
            shop.renew(f"run-{n}", NOON + n * LATER)
    outcome = shop.renew("last", NOON + 20 * LATER)
    assert (outcome.name, outcome.reason) == ("failed", "picked_up_too_often")


def test_a_period_paid_before_a_restore_from_backup_is_found_at_the_gateway(shop: World) -> None:
    """The ledger's item is lost and the row is old: the existing payment of the period is found at the gateway and
    recorded, and no card is charged."""
    shop.subscribe()
    shop.run()
    shop.dynamodb.items("renewals").clear()
    shop.delete_row()
    shop.subscribe()
    shop.gateway.by_key.clear()  # a day later the gateway has forgotten the idempotency key
    outcome = shop.renew("restored", NOON + 3 * DAY)
    assert outcome.name == "paid"
    assert len(shop.gateway.charges) == 1
    assert len(shop.gateway.payments) == 1


def test_what_the_gateway_took_is_what_is_recorded(shop: World) -> None:
    """A payment found at the gateway with a different amount is recorded with the amount taken, and flagged, so that
    receipts tell the truth."""
    shop.subscribe()
    shop.run()
    shop.dynamodb.items("renewals").clear()
    shop.edit(renewal_date=DUE.isoformat(), amount=Decimal(99))
    shop.gateway.by_key.clear()
    shop.renew("restored", NOON + 3 * DAY, amount="99")
    item = shop.items()["2026-01-31"]
    assert (item["amount"], item["flag"]) == (Decimal("29.99"), "amount_differs")


def test_an_edited_subscription_is_flagged_and_the_payment_recorded(shop: World) -> None:
    """Somebody moves the renewal date between claim and record: the payment is recorded in the ledger, and the row
    keeps the editor's date."""
    shop.subscribe()
    shop.cuts.at, shop.cuts.happens = 2 * 5, lambda _: shop.edit(renewal_date="2026-06-15")
    assert shop.run() == "Success"
    assert shop.items()["2026-01-31"]["flag"] == "subscription_changed"
    assert shop.row()["renewal_date"] == "2026-06-15"


def test_a_cancellation_after_the_claim_stays_a_cancellation(shop: World) -> None:
    """A subscription canceled just before the confirmation is charged and receipted as claimed, and stays
    canceled."""
    shop.subscribe()
    shop.cuts.at, shop.cuts.happens = 2 * 5, lambda _: shop.edit(status="canceled")
    assert shop.run() == "Success"
    assert shop.row()["status"] == "canceled"


def test_older_work_is_taken_up_when_nothing_is_to_be_charged(shop: World) -> None:
    """A paid period whose receipt was never stored is finished by a later webhook."""
    shop.subscribe()
    shop.renew()
    assert shop.run("again", NOON + DAY) == "Success"
    assert shop.items()["2026-01-31"]["status"] == "done"


def test_a_key_too_long_or_not_ascii_is_hashed(shop: World) -> None:
    """Stripe takes idempotency keys of at most 255 characters: a key too long or not ASCII is hashed, and a period
    always has the same key."""
    shop.subscribe()
    renewal = shop.renew().renewal
    assert isinstance(renewal, Renewal)
    assert idempotency_key("shop-prod", renewal) == "shop-prod/cus_1/sub_1/2026-01-31/v2"
    for deployment in ("x" * 255, "bücher"):
        assert len(idempotency_key(deployment, renewal)) == 64
        assert idempotency_key(deployment, renewal) == idempotency_key(deployment, renewal)


def test_the_gateway_is_asked_for_exactly_what_the_ledger_holds(shop: World) -> None:
    """Yen have no minor unit: 500 yen are sent to the gateway as 500."""
    shop.subscribe(amount=Decimal(500), currency="jpy")
    assert shop.run(amount="500") == "Success"
    [payment] = shop.gateway.payments.values()
    assert (payment.amount, payment.currency, payment.state) == (500, "JPY", PaymentState.PAID)


# Edits of a subscription, by a person or an import, between two requests


def test_a_customer_unknown_to_the_gateway_mended_weeks_later_is_charged_once(shop: World) -> None:
    """A period refused before a payment existed is claimed anew, with the customer and the card of the later day, and
    charged once."""
    shop.subscribe(gateway_customer="cus_gone")
    assert shop.renew().name == "failed"
    shop.edit(gateway_customer="cus_gw")
    assert shop.run("again", _noon(date(2026, 2, 20))) == "Success"
    assert shop.run("third", _noon(date(2026, 2, 21))) == "Success"
    assert len(shop.gateway.charges) == 1
    assert shop.row()["renewal_date"] == "2026-02-28"


def test_a_customer_unknown_to_the_gateway_and_late_from_the_start_is_charged_once(shop: World) -> None:
    """The periods passed over by the first, failed claim stay passed over, and the latest period is charged once."""
    shop.subscribe(gateway_customer="cus_gone")
    assert shop.renew(now=_noon(date(2026, 4, 29))).name == "failed"
    shop.edit(gateway_customer="cus_gw")
    for n in range(3):
        assert shop.run(f"again-{n}", _noon(date(2026, 4, 29)) + n * LATER) == "Success"
    assert [day for day, item in shop.items().items() if item["status"] == "done"] == ["2026-03-31"]
    assert len(shop.gateway.charges) == 1
    assert shop.row()["renewal_date"] == "2026-04-30"


@pytest.mark.parametrize(("cancel_at", "billed"), [("2026-03-15", "2026-02-28"), ("2026-03-31", "2026-02-28"),
                                                   ("2026-04-01", "2026-03-31")])  # fmt: skip
def test_nothing_that_begins_when_the_subscription_has_ended_is_billed(
    shop: World, cancel_at: str, billed: str
) -> None:
    """A subscription that ended between its renewal date and the late run is billed for the last period that begins
    before the end, and never again."""
    shop.subscribe(cancel_at=cancel_at)
    shop.run(now=_noon(date(2026, 4, 29)))
    assert [day for day, item in shop.items().items() if item["status"] == "done"] == [billed]
    assert shop.run("again", _noon(date(2026, 5, 29))) == "Success"
    assert len(shop.gateway.charges) == 1


@pytest.mark.parametrize(
    "edit",
    [{"status": "canceled"}, {"status": "paused"}, {"cancel_at": "2026-01-31"}, {"renewal_date": "2026-07-15"}],
    ids=lambda edit: next(iter(edit)),
)
def test_a_new_card_is_tried_only_for_what_is_still_due(shop: World, edit: dict[str, str]) -> None:
    """The new card of a subscription canceled, paused, ended or moved since the decline is not charged for the old
    period."""
    shop.subscribe(payment_method="pm_declined")
    shop.run()
    shop.edit(payment_method="pm_ok", **edit)
    shop.run("again", _noon(date(2026, 6, 15)))
    assert shop.gateway.attempts == [("pi_1", "pm_declined")]


@pytest.mark.parametrize("card", ["pm_declined", "pm_3ds"])
def test_a_refused_period_is_given_up_when_the_subscription_was_moved_on(shop: World, card: str) -> None:
    """The payment of a declined period is canceled once the renewal date was moved on, so that nobody can pay it any
    more; the new date is billed when due."""
    shop.subscribe(payment_method=card)
    shop.run()
    shop.edit(renewal_date="2026-07-15", payment_method="pm_ok")
    shop.run("early", _noon(date(2026, 7, 14)))
    assert not shop.gateway.charges
    assert shop.run("july", _noon(date(2026, 7, 15))) == "Success"
    assert shop.gateway.payments["pi_1"].state is PaymentState.CANCELED
    assert shop.items()["2026-01-31"]["reason"] == "moved"
    assert (shop.items()["2026-01-31"]["status"], shop.items()["2026-07-15"]["status"]) == ("given_up", "done")
    assert len(shop.gateway.charges) == 1


def test_a_refused_period_that_the_customer_paid_is_not_given_up(shop: World) -> None:
    """The renewal date was moved on, and the customer confirms at the bank just before the payment would be canceled:
    the payment is recorded and receipted, and the new date is billed as well."""
    shop.subscribe(payment_method="pm_3ds")
    shop.run()
    shop.edit(renewal_date="2026-07-15", payment_method="pm_ok")
    earlier = len(shop.cuts.calls)
    shop.cuts.at = 2 * (earlier + 3)  # after the two queries and the retrieval, before the cancellation
    shop.cuts.happens = lambda _: shop.gateway.succeed("pi_1")
    assert shop.run("july", _noon(date(2026, 7, 15))) == "Success"
    assert shop.cuts.calls[earlier + 3] == "gateway.cancel"
    assert shop.items()["2026-01-31"]["status"] == "done"
    assert shop.row()["renewal_date"] == "2026-07-15"
    assert shop.run("again", _noon(date(2026, 7, 15)) + LATER) == "Success"
    assert [payment for payment, _, _ in shop.gateway.charges] == ["pi_1", shop.items()["2026-07-15"]["payment_id"]]


def test_a_new_card_is_tried_though_the_customer_failed_at_the_bank_meanwhile(shop: World) -> None:
    """The payment shows a failure newer than the recorded failure: the newer failure is not taken for a decline of the
    new card."""
    shop.subscribe(payment_method="pm_3ds")
    shop.run()
    shop.gateway.fail_authentication("pi_1")
    shop.edit(payment_method="pm_ok")
    assert shop.run("again", NOON + DAY) == "Success"
    assert shop.gateway.attempts == [("pi_1", "pm_3ds"), ("pi_1", "pm_ok")]
    assert len(shop.gateway.charges) == 1


def test_a_confirmation_that_was_not_taken_is_no_decline_of_the_new_card(shop: World) -> None:
    """The gateway does not answer the confirmation, and its payment still shows the old card's failure: the new card is
    tried again, and no mail is sent."""
    shop.subscribe(payment_method="pm_declined")
    shop.run()
    shop.edit(payment_method="pm_ok")
    shop.gateway.trouble.append(("confirm", "before"))
    assert shop.run("again", NOON + DAY) == "PaymentFailed"
    assert (shop.items()["2026-01-31"]["status"], len(shop.mails())) == ("claimed", 1)
    assert shop.run("third", NOON + DAY + LATER) == "Success"
    assert len(shop.gateway.charges) == 1


def test_a_mistyped_new_card_is_a_declined_attempt(shop: World) -> None:
    """A mistyped card is a declined attempt, not a failed renewal: the next card pays the same payment, and every
    decline is told once."""
    shop.subscribe(payment_method="pm_declined")
    shop.run()
    shop.edit(payment_method="pm_gone")
    assert shop.run("typo", NOON + DAY) == "PaymentDeclined"
    assert shop.items()["2026-01-31"]["decline_code"] == "resource_missing"
    shop.edit(payment_method="pm_ok")
    assert shop.run("right", NOON + 2 * DAY) == "Success"
    assert shop.gateway.attempts == [("pi_1", "pm_declined"), ("pi_1", "pm_ok")]
    assert len(shop.mails()) == 3


@pytest.mark.parametrize("day", ["2026-01-31", "2026-02-28", "2026-03-31"])
def test_a_row_put_back_after_its_payment_moves_on_again(shop: World, day: str) -> None:
    """An import run again puts the row back to the paid period, or to a period passed over for the paid period: nothing
    is charged, the owed receipt is sent, and the next period is billed when due."""
    april = _noon(date(2026, 4, 29))
    shop.subscribe()
    shop.renew(now=april)
    shop.edit(renewal_date=day)
    assert shop.run("again", april + LATER) == "Success"
    assert (shop.row()["renewal_date"], len(shop.gateway.charges)) == ("2026-04-30", 1)
    assert (len(shop.receipts()), len(shop.mails())) == (1, 1)
    assert shop.run("next", _noon(date(2026, 4, 30))) == "Success"
    assert len(shop.gateway.charges) == 2


def test_a_row_moved_into_a_period_that_is_paid_is_rejected(shop: World) -> None:
    """A renewal date within a paid period is rejected, so that nobody pays for the same days twice."""
    shop.subscribe()
    shop.run()
    shop.edit(renewal_date="2026-02-10")
    outcome = shop.renew("again", _noon(date(2026, 2, 10)))
    paid = "2026-01-31 to 2026-02-27"
    assert (outcome.name, outcome.reason) == ("rejected", f"renewal_date: falls into a paid period, {paid}")
    assert len(shop.gateway.charges) == 1


def test_a_row_put_back_before_all_that_is_remembered_is_rejected(shop: World) -> None:
    """Every claim also takes the date of the row: where the ledger already has an item of that date, nothing is
    charged."""
    shop.subscribe(interval="day", renewal_date="2026-01-01")
    for day in range(1, 13):
        shop.renew(f"run-{day}", _noon(date(2026, 1, day)))
    shop.edit(renewal_date="2026-01-01")
    assert shop.renew("again", _noon(date(2026, 1, 20))).reason.startswith("renewal_date: the ledger already has")
    assert len(shop.gateway.charges) == 12


def test_a_period_of_another_customer_is_none_of_this_ones_business(shop: World) -> None:
    """A subscription id passes to a new customer after a decline: the new customer's period is charged, and the former
    customer's payment and ledger item stay unchanged."""
    shop.subscribe(customer_id="cus_0", payment_method="pm_declined")
    shop.charge("earlier", NOON).renew(RenewalRequest("sub_1", "cus_0", Decimal("29.99")))
    shop.dynamodb.delete("subscriptions", ("sub_1", "cus_0"))
    shop.subscribe(renewal_date="2026-02-15")
    assert shop.renew(now=_noon(date(2026, 2, 15))).name == "paid"
    assert shop.items()["2026-01-31"]["status"] == "declined"
    assert shop.gateway.payments["pi_1"].state is PaymentState.DECLINED


def test_a_row_without_a_status_at_the_end_is_flagged_and_the_payment_recorded(shop: World) -> None:
    """Even when the row loses its status during the charge, the payment is recorded in the ledger."""
    shop.subscribe()
    shop.cuts.at = 2 * 5  # before the confirmation
    shop.cuts.happens = lambda _: shop.row().pop("status")
    assert shop.renew().name == "paid"
    assert shop.items()["2026-01-31"]["flag"] == "subscription_changed"


# Receipts that are owed


def test_owed_receipts_are_found_behind_many_that_were_passed_over_oldest_first(shop: World) -> None:
    """A daily subscription was paid three times and cut off before the receipt each time, with eighteen and eighty-nine
    days passed over between: every request finishes the oldest paid period still open."""
    shop.subscribe(interval="day", renewal_date="2026-01-01")
    for day in (date(2026, 1, 1), date(2026, 1, 20), date(2026, 4, 20)):
        assert shop.renew("cut", _noon(day)).name == "paid"
    days = ["2026-01-01", "2026-01-20", "2026-04-20"]
    for n in range(3):
        assert shop.run(f"again-{n}", _noon(date(2026, 4, 20)) + (n + 1) * LATER) == "Success"
        done = [day for day in days if shop.items()[day]["status"] == "done"]
        assert done == days[: n + 1]


@pytest.mark.parametrize("change", [{"amount": Decimal(49)}, {"status": "aktive"}])
def test_an_owed_receipt_comes_before_a_rejection(shop: World, change: dict[str, Any]) -> None:
    """Whatever is wrong with the row by now, the customer gets the receipt of the paid period first."""
    shop.subscribe()
    shop.renew()
    shop.edit(**change)
    assert shop.run("again", _noon(date(2026, 4, 1))) == "Success"
    assert (len(shop.receipts()), len(shop.mails())) == (1, 1)
    assert shop.renew("third", _noon(date(2026, 4, 2))).name == "rejected"


# Pick-ups


def test_a_renewal_failed_in_an_unknown_state_is_finished_once_the_money_has_moved(shop: World) -> None:
    """A renewal fails after ten pick-ups, and the payment succeeds at the gateway afterwards: the next webhook brings
    one receipt and one mail."""
    shop.subscribe()
    shop.gateway.trouble.append(("confirm", "unknown"))
    for n in range(MOST_PICK_UPS + 2):
        assert shop.run(f"run-{n}", NOON + n * LATER) == "PaymentFailed"
    assert shop.items()["2026-01-31"]["status"] == "failed"
    shop.gateway.succeed("pi_1")
    assert shop.run("at last", NOON + DAY) == "Success"
    assert shop.items()["2026-01-31"]["status"] == "done"
    assert (len(shop.gateway.charges), len(shop.receipts()), len(shop.mails())) == (1, 1, 1)


@pytest.mark.parametrize("change", [{"status": "canceled"}, {"renewal_date": "2026-06-15"}, {"amount": Decimal(-1)}])
def test_money_that_moved_after_a_failure_is_found_whatever_became_of_the_row(
    shop: World, change: dict[str, Any]
) -> None:
    """A payment that succeeded after the failure is recorded, receipted and mailed, even where the row was canceled,
    moved or spoiled meanwhile."""
    shop.subscribe()
    shop.gateway.trouble.append(("confirm", "unknown"))
    for n in range(MOST_PICK_UPS + 2):
        shop.run(f"run-{n}", NOON + n * LATER)
    shop.edit(**change)
    shop.gateway.succeed("pi_1")
    assert shop.run("at last", NOON + DAY) == "Success"
    assert (len(shop.receipts()), len(shop.mails())) == (1, 1)


def test_a_receipt_that_could_not_be_stored_ten_times_is_not_lost(shop: World) -> None:
    """A paid renewal whose receipt fails ten times stands visibly as failed, and the next request finishes the
    renewal."""
    shop.subscribe()
    shop.renew()
    for n in range(MOST_PICK_UPS):
        assert shop.renew(f"run-{n}", NOON + (n + 1) * LATER).name == "paid"
    assert shop.renew("one more", NOON + 20 * LATER).reason == "picked_up_too_often"
    assert shop.run("at last", NOON + DAY) == "Success"
    assert shop.items()["2026-01-31"]["status"] == "done"
    assert len(shop.mails()) == 1


def test_the_owners_own_retry_is_no_pick_up(shop: World) -> None:
    """Retries by the workflow of the tenth owner are neither stopped by nine earlier pick-ups nor counted as
    pick-ups."""
    shop.subscribe()
    for n in range(MOST_PICK_UPS + 1):
        for _ in range(3):
            shop.gateway.trouble.append(("create", "before"))
            with pytest.raises(PaymentError):
                shop.renew(f"run-{n}", NOON + n * LATER)
    assert shop.items()["2026-01-31"]["pickups"] == MOST_PICK_UPS
    assert shop.renew(f"run-{MOST_PICK_UPS}", NOON + DAY).name == "paid"


# Payments that the gateway knows and the ledger does not


def _restore(shop: World, **row: Any) -> None:
    """Empty the ledger, and put the row back to before the renewal, with the edits of `row`."""
    shop.dynamodb.items("renewals").clear()
    shop.edit(renewal_date=DUE.isoformat(), **row)


def test_a_restored_subscription_is_not_charged_again_a_day_later(shop: World) -> None:
    """The renewal was paid right after midnight by a gateway whose clock stood before midnight, and is restored late on
    the next day, when the gateway has just forgotten the idempotency key: the payment is found by search."""
    shop.subscribe()
    shop.run(now=NOON.replace(hour=0))
    shop.gateway.created["pi_1"] = NOON.replace(day=30, hour=23, minute=59)
    _restore(shop)
    shop.gateway.by_key.clear()
    assert shop.run("restored", NOON.replace(month=2, day=1, hour=0, minute=30)) == "Success"
    assert len(shop.gateway.charges) == 1
    assert shop.items()["2026-01-31"]["payment_id"] == "pi_1"


def test_a_period_paid_before_an_upgrade_and_restored_after_it_is_found_from_the_next_day_on(shop: World) -> None:
    """The version that took the payment had a different idempotency key and named no deployment. From the next midnight
    on the payment is found by search: until then an operator keeps charging off (docs/upgrade.md)."""
    shop.subscribe()
    shop.run()
    paid = replace(shop.gateway.requests["pi_1"], idempotency_key="key of 0.1.0", deployment="")
    shop.gateway.requests["pi_1"], shop.gateway.by_key = paid, {"key of 0.1.0": "pi_1"}
    _restore(shop)
    assert shop.run("restored", NOON.replace(month=2, day=1, hour=0, minute=1)) == "Success"
    assert len(shop.gateway.charges) == 1
    assert shop.items()["2026-01-31"]["payment_id"] == "pi_1"


@pytest.mark.parametrize("change", [{}, {"payment_method": "pm_other"}], ids=["as-it-was", "another-card"])
def test_a_subscription_restored_at_once_is_not_charged_again(shop: World, change: dict[str, str]) -> None:
    """The same idempotency key gives the same payment. With a changed card the gateway refuses the key, and the next
    request searches for the payment made under the key."""
    shop.subscribe()
    shop.run()
    _restore(shop, **change)
    shop.run("restored", NOON + LATER)
    assert shop.run("again", NOON + 2 * LATER) == "Success"
    assert len(shop.gateway.charges) == 1
    assert shop.items()["2026-01-31"]["status"] == "done"


def test_of_several_payments_of_a_period_the_paid_one_is_found(shop: World) -> None:
    """Of several payments of a period the paid payment is taken, not a newer payment still open."""
    shop.subscribe()
    shop.run()
    newer = replace(shop.gateway.requests["pi_1"], idempotency_key="another")
    shop.gateway.create(newer)
    _restore(shop)
    shop.gateway.by_key.clear()
    assert shop.run("restored", NOON + 2 * DAY) == "Success"
    assert shop.items()["2026-01-31"]["payment_id"] == "pi_1"
    assert len(shop.gateway.charges) == 1


@pytest.mark.parametrize("left", ["canceled", "another price", "another period"])
def test_a_payment_that_cannot_be_this_ones_is_left_alone(shop: World, left: str) -> None:
    """A payment that is canceled, unpaid and of a different amount, or of a different period is left alone: the claim
    gets its own payment."""
    shop.subscribe(payment_method="pm_3ds", renewal_date="2026-01-30" if left == "another period" else "2026-01-31")
    shop.run()
    if left == "canceled":
        shop.gateway.cancel("pi_1")
    price = Decimal("49.99") if left == "another price" else Decimal("29.99")
    _restore(shop, payment_method="pm_ok", amount=price)
    shop.gateway.by_key.clear()
    assert shop.run("restored", NOON + 2 * DAY, amount=str(price)) == "Success"
    assert [payment for payment, _, _ in shop.gateway.charges] == ["pi_2"]


@pytest.mark.parametrize("lost", ["before", "after"])
def test_a_creation_whose_answer_was_lost_is_asked_for_with_the_same_key(shop: World, lost: str) -> None:
    """When the answer to a creation is lost, the next creation has the same idempotency key, so that a payment already
    made is found under the key."""
    shop.subscribe()
    shop.gateway.trouble.append(("create", lost))
    assert shop.run(tries=2) == "Success"
    assert shop.gateway.by_key == {f"{shop.deployment}/cus_1/sub_1/2026-01-31/v2": "pi_1"}
    assert "gateway.list" not in shop.cuts.calls


def test_a_payment_taken_in_another_currency_is_recorded_and_receipted_in_that(shop: World) -> None:
    """The gateway took dollars, and the row says yen by now: the receipt says dollars, and the ledger item is
    flagged."""
    shop.subscribe()
    shop.run()
    _restore(shop, currency="JPY", amount=Decimal(3000))
    shop.gateway.by_key.clear()
    assert shop.run("restored", NOON + 3 * DAY, amount="3000") == "Success"
    item = shop.items()["2026-01-31"]
    assert (item["amount"], item["currency"], item["flag"]) == (Decimal("29.99"), "USD", "amount_differs")
    assert "$29.99" in shop.mails()[-1]["Subject"]


@pytest.mark.parametrize("change", [{"amount": 299900}, {"currency": "EUR"}])
def test_a_payment_of_another_amount_than_claimed_is_never_confirmed(shop: World, change: dict[str, Any]) -> None:
    """A payment altered at the gateway between creation and confirmation fails for a person to look at, and no money
    moves."""
    shop.subscribe()
    shop.cuts.at = 2 * 5  # before the confirmation
    shop.run()
    shop.gateway.payments["pi_1"] = replace(shop.gateway.payments["pi_1"], **change)
    outcome = shop.renew("again", NOON + LATER)
    assert (outcome.name, outcome.reason.partition(":")[0]) == ("failed", "amount_differs")
    assert not shop.gateway.charges


@pytest.mark.parametrize("stage", ["claimed", "action_required", "given up"])
def test_a_payment_that_the_gateway_does_not_know_is_asked_for_again(shop: World, stage: str) -> None:
    """With the key of a wrong Stripe account deployed, the account is at fault and no renewal fails; with the right key
    everything goes on."""
    shop.subscribe(payment_method="pm_3ds")
    if stage == "claimed":
        shop.cuts.at = 2 * 5
    shop.run()
    if stage == "given up":
        shop.edit(renewal_date="2026-02-01")
    stands = shop.items()["2026-01-31"]["status"]
    known, shop.gateway.payments = shop.gateway.payments, {}
    with pytest.raises(GatewayUnauthorized):
        shop.renew("wrong account", NOON + DAY)
    assert shop.items()["2026-01-31"]["status"] == stands
    shop.gateway.payments = known
    shop.gateway.succeed("pi_1")
    assert shop.run("right account", NOON + 2 * DAY) == "Success"
    assert shop.items()["2026-01-31"]["status"] == "done"


@pytest.mark.parametrize(("attribute", "value"), [("currency", "BGN"), ("amount", Decimal(2000000))])
def test_what_was_claimed_before_a_currency_or_an_amount_was_refused_is_finished(
    shop: World, attribute: str, value: object
) -> None:
    """A claim of an earlier version, in a currency or of an amount no longer accepted in a row, is still charged and
    finished without an error."""
    shop.subscribe()
    shop.gateway.trouble = [("create", "before")]
    assert shop.run() == "PaymentFailed"
    shop.dynamodb.put("renewals", shop.items()["2026-01-31"] | {attribute: value})
    assert shop.run("run-2", NOON + LATER) == "Success"
    assert shop.items()["2026-01-31"]["status"] == "done"
