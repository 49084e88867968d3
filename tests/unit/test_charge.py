"""What a charge does with what it finds: the subscription, the ledger, the gateway's answers."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from process_payment.charge import idempotency_key
from renewals.errors import PaymentError
from renewals.gateway import PaymentState
from renewals.ledger import MOST_PICK_UPS
from renewals.renewal import Renewal
from tests.fakes import DUE, LATER, NOON, World

DAY = timedelta(days=1)


def _noon(day: date) -> datetime:
    return NOON.replace(year=day.year, month=day.month, day=day.day)


def test_a_renewal_charges_receipts_mails_and_moves_the_subscription_on(shop: World) -> None:
    """The plain case, with everything that it leaves behind."""
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
    assert "29.99 USD" in mail["Subject"]


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
    """Not due, paused, cancelled, unpaid, cancelled at the period's end: nothing happens, and the outcome names it."""
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
        ({"currency": "XXX"}, "currency"),
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
    ],
)
def test_a_bad_row_is_rejected_with_its_reason_and_leaves_nothing(shop: World, row: dict[str, Any], field: str) -> None:
    """Whatever is wrong with a row, it is named, and neither the ledger nor the gateway hears of it."""
    shop.subscribe(**row)
    outcome = shop.renew()
    assert outcome.name == "rejected"
    assert outcome.reason.startswith(f"{field}: ")
    assert not shop.gateway.payments
    assert not shop.items()


def test_a_wrong_amount_is_rejected_and_says_so(shop: World) -> None:
    """The amount asked is a claim to check, never an instruction."""
    shop.subscribe()
    outcome = shop.renew(amount="0.01")
    assert (outcome.name, outcome.reason) == ("rejected", "amount: is not what the subscription costs")
    assert not shop.items()


@pytest.mark.parametrize("amount", ["29.990", "29.99"])
def test_the_same_amount_in_other_digits_is_the_same_amount(shop: World, amount: str) -> None:
    """29.99 and 29.990 are one price."""
    shop.subscribe()
    assert shop.renew(amount=amount).name == "paid"


def test_a_stranger_to_the_subscription_gets_nothing(shop: World) -> None:
    """Another customer's id, or an unknown subscription, is rejected."""
    shop.subscribe(customer_id="cus_2")
    assert shop.renew().reason == "subscription_id: no such subscription of this customer"


def test_a_second_customer_under_one_subscription_is_a_bad_row(shop: World) -> None:
    """Nobody can say who is to be charged, so nobody is."""
    shop.subscribe()
    shop.subscribe(customer_id="cus_2")
    assert shop.renew().reason == "customer_id: the subscription has more than one customer"


def test_a_redelivery_after_the_renewal_says_that_it_is_renewed(shop: World) -> None:
    """The period is finished and the next is not due."""
    shop.subscribe()
    shop.run()
    outcome = shop.renew("again", NOON + DAY)
    assert (outcome.name, outcome.reason) == ("nothing_to_do", "renewed_already")


def test_a_renewal_three_months_late_bills_one_period_and_moves_past_today(shop: World) -> None:
    """The latest due period is billed; those passed over are in the ledger as skipped, with the one billed instead."""
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
    """Claimed for March at the end of April, cut off, and run again in May: March is what is charged, once."""
    shop.subscribe()
    shop.cuts.at = 2 * 3  # before the payment is created (the second query, then the claim, come first)
    shop.run(now=_noon(date(2026, 4, 29)))
    assert shop.items()["2026-03-31"]["status"] == "claimed"
    shop.run("later", _noon(date(2026, 5, 2)))
    assert shop.items()["2026-03-31"]["status"] == "done"
    assert len(shop.gateway.charges) == 1
    assert shop.row()["renewal_date"] == "2026-04-30"


def test_more_periods_than_a_transaction_holds_are_passed_over_in_one(shop: World) -> None:
    """A daily subscription a year late: the first passed-over period guards the claim and counts the rest."""
    shop.subscribe(interval="day", renewal_date="2025-01-31")
    assert shop.run() == "Success"
    skipped = [item for item in shop.items().values() if item["status"] == "skipped"]
    assert len(skipped) == 98
    assert shop.items()["2025-01-31"]["periods_passed_over"] == 365
    assert shop.row()["renewal_date"] == "2026-02-01"


def test_each_missed_period_is_not_billed_on_request(shop: World) -> None:
    """catch_up = each with several periods due is the sweep's: a redelivered webhook would bill the next one."""
    shop.subscribe(catch_up="each")
    assert shop.renew(now=_noon(date(2026, 4, 29))).reason.startswith("catch_up: ")
    assert shop.renew(now=NOON).name == "paid"


def test_a_declined_card_is_an_outcome_and_stays_one(shop: World) -> None:
    """Declined: past due, one mail, and a redelivery is declined again without asking the gateway."""
    shop.subscribe(payment_method="pm_declined")
    assert shop.run() == "PaymentDeclined"
    assert shop.run("again", NOON + DAY) == "PaymentDeclined"
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
    """After a decline the customer changes the card: attempt 2 confirms the same intent, and the anchor day stays."""
    shop.subscribe(payment_method="pm_declined")
    shop.run()
    shop.edit(payment_method="pm_ok")
    assert shop.run("again", NOON + 3 * DAY) == "Success"
    assert shop.gateway.attempts == [("pi_1", "pm_declined"), ("pi_1", "pm_ok")]
    assert len(shop.gateway.charges) == 1
    assert shop.items()["2026-01-31"]["attempt"] == 2
    assert (shop.row()["status"], shop.row()["renewal_date"]) == ("active", "2026-02-28")
    assert len(shop.mails()) == 2


def test_a_new_card_of_a_cancelled_subscription_is_not_tried(shop: World) -> None:
    """Cancelled after a decline: nothing was paid, and nothing is tried any more."""
    shop.subscribe(payment_method="pm_declined")
    shop.run()
    shop.edit(payment_method="pm_ok", status="canceled")
    shop.run("again", NOON + DAY)
    assert not shop.gateway.charges


def test_a_decline_whose_record_was_lost_is_not_tried_again(shop: World) -> None:
    """Cut between the gateway's refusal and its record: the card is tried once, the refusal is recorded and told."""
    shop.subscribe(payment_method="pm_declined")
    shop.cuts.at = 2 * 5 + 1  # after the confirmation
    shop.run()
    assert shop.cuts.calls[-1] == "gateway.confirm"
    assert shop.run("again", NOON + LATER) == "PaymentDeclined"
    assert len(shop.gateway.attempts) == 1
    assert len(shop.mails()) == 1


def test_a_payment_that_needs_the_customer_is_paid_when_the_customer_has_acted(shop: World) -> None:
    """3-D Secure: one mail that says so; completed meanwhile, the next look finds it paid and receipts it."""
    shop.subscribe(payment_method="pm_3ds")
    assert shop.run() == "PaymentDeclined"
    assert shop.run("again", NOON + LATER) == "PaymentDeclined"
    assert shop.items()["2026-01-31"]["status"] == "action_required"
    assert len(shop.mails()) == 1
    shop.gateway.succeed("pi_1")
    assert shop.run("third", NOON + DAY) == "Success"
    assert len(shop.receipts()) == 1
    assert len(shop.mails()) == 2


def test_a_payment_still_in_process_is_neither_paid_nor_declined(shop: World) -> None:
    """processing: no receipt, no mail, no new attempt; it is asked again later."""
    shop.subscribe()
    shop.gateway.trouble.append(("confirm", "processing"))
    assert shop.run(tries=3) == "PaymentFailed"
    assert not shop.receipts()
    assert not shop.mails()
    shop.gateway.succeed("pi_1")
    assert shop.run("later", NOON + LATER) == "Success"
    assert len(shop.gateway.charges) == 1


def test_a_creation_answered_with_a_5xx_gets_another_key(shop: World) -> None:
    """The gateway would repeat the 5xx for a day under the same key; an unconfirmed payment more costs nothing."""
    shop.subscribe()
    shop.gateway.trouble.append(("create", "answered"))
    assert shop.run(tries=2) == "Success"
    assert list(shop.gateway.by_key) == ["shop-test/cus_1/sub_1/2026-01-31/1"]


def test_a_request_that_the_gateway_refuses_for_good_is_failed_and_can_be_mended(shop: World) -> None:
    """No such customer: failed with the gateway's code; the row mended, the next run charges with another key."""
    shop.subscribe(gateway_customer="cus_gone")
    outcome = shop.renew()
    assert (outcome.name, outcome.reason) == ("failed", "gateway: resource_missing")
    shop.edit(gateway_customer="cus_gw", amount=Decimal(35))
    assert shop.run("again", NOON + DAY, amount="35") == "Success"
    assert [amount for _, amount, _ in shop.gateway.charges] == [3500]


def test_a_canceled_payment_is_failed_for_a_person_to_look_at(shop: World) -> None:
    """Cancelled at the gateway by hand: never paid, never replaced by another payment by itself."""
    shop.subscribe()
    shop.cuts.at = 2 * 5  # before the confirmation
    shop.run()
    shop.gateway.cancel("pi_1")
    assert shop.run("again", NOON + LATER) == "PaymentFailed"
    assert shop.run("third", NOON + DAY) == "PaymentFailed"
    assert shop.items()["2026-01-31"]["reason"] == "gateway: canceled"
    assert len(shop.gateway.payments) == 1


def test_another_execution_within_the_lease_is_in_progress(shop: World) -> None:
    """Forty seconds belong to the owner; the owner's own retry passes."""
    shop.subscribe()
    shop.cuts.at = 2 * 3
    shop.run("owner")
    assert shop.renew("other", NOON + timedelta(seconds=39)).name == "in_progress"
    assert shop.renew("owner", NOON + timedelta(seconds=39)).name == "paid"


def test_ten_pick_ups_without_progress_fail_the_renewal(shop: World) -> None:
    """A gateway that never answers: the renewal stands as failed, visibly, instead of being tried for ever."""
    shop.subscribe()
    for n in range(MOST_PICK_UPS + 1):
        shop.gateway.trouble.append(("create", "before"))
        with pytest.raises(PaymentError):
            shop.renew(f"run-{n}", NOON + n * LATER)
    outcome = shop.renew("last", NOON + 20 * LATER)
    assert (outcome.name, outcome.reason) == ("failed", "picked_up_too_often")


def test_a_period_paid_before_a_restore_from_backup_is_found_at_the_gateway(shop: World) -> None:
    """The ledger is gone and the row is old, but the payment of this period exists: it is taken, nothing is charged."""
    shop.subscribe()
    shop.run()
    shop.dynamodb.items("renewals").clear()
    shop.delete_row()
    shop.subscribe()
    shop.gateway.by_key.clear()  # a day later the gateway has forgotten the key
    outcome = shop.renew("restored", NOON + 3 * DAY)
    assert outcome.name == "paid"
    assert len(shop.gateway.charges) == 1
    assert len(shop.gateway.payments) == 1


def test_what_the_gateway_took_is_what_is_recorded(shop: World) -> None:
    """A found payment of another amount is recorded as it was taken, and flagged: receipts tell the truth."""
    shop.subscribe()
    shop.run()
    shop.dynamodb.items("renewals").clear()
    shop.edit(renewal_date=DUE.isoformat(), amount=Decimal(99))
    shop.gateway.by_key.clear()
    shop.renew("restored", NOON + 3 * DAY, amount="99")
    item = shop.items()["2026-01-31"]
    assert (item["amount"], item["flag"]) == (Decimal("29.99"), "amount_differs")


def test_an_edited_subscription_is_flagged_and_the_payment_recorded(shop: World) -> None:
    """Somebody moved the date between claim and record: the money is in the ledger, the row is left to its editor."""
    shop.subscribe()
    shop.cuts.at, shop.cuts.happens = 2 * 5, lambda _: shop.edit(renewal_date="2026-06-15")
    assert shop.run() == "Success"
    assert shop.items()["2026-01-31"]["flag"] == "subscription_changed"
    assert shop.row()["renewal_date"] == "2026-06-15"


def test_a_cancellation_after_the_claim_stays_a_cancellation(shop: World) -> None:
    """What was claimed before is charged and receipted, and the subscription stays cancelled."""
    shop.subscribe()
    shop.cuts.at, shop.cuts.happens = 2 * 5, lambda _: shop.edit(status="canceled")
    assert shop.run() == "Success"
    assert shop.row()["status"] == "canceled"


def test_older_work_is_taken_up_when_nothing_is_to_be_charged(shop: World) -> None:
    """A period whose receipt could not be stored is finished by a later delivery."""
    shop.subscribe()
    shop.renew()
    assert shop.run("again", NOON + DAY) == "Success"
    assert shop.items()["2026-01-31"]["status"] == "done"


def test_a_key_too_long_or_not_ascii_is_hashed(shop: World) -> None:
    """Stripe takes 255 characters; the same period gives the same key in any case."""
    shop.subscribe()
    renewal = shop.renew().renewal
    assert isinstance(renewal, Renewal)
    assert idempotency_key("shop-test", renewal) == "shop-test/cus_1/sub_1/2026-01-31"
    for deployment in ("x" * 255, "bücher"):
        assert len(idempotency_key(deployment, renewal)) == 64
        assert idempotency_key(deployment, renewal) == idempotency_key(deployment, renewal)


def test_the_gateway_is_asked_for_exactly_what_the_ledger_holds(shop: World) -> None:
    """Yen have no minor unit: 500 is sent as 500."""
    shop.subscribe(amount=Decimal(500), currency="jpy")
    assert shop.run(amount="500") == "Success"
    [payment] = shop.gateway.payments.values()
    assert (payment.amount, payment.currency, payment.state) == (500, "JPY", PaymentState.PAID)
