"""Renewals on the deployed stack: a webhook comes in, and a charge, a receipt, a mail and the next date come out."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.integration.shop import FAILED, SUCCEEDED, Shop, assert_renewed_once, assert_untouched, text_of

DECLINED, WANTS_3DS = "pm_card_chargeCustomerFail", "pm_card_authenticationRequired"


@pytest.mark.parametrize(
    ("name", "amount", "currency", "minor_units"),
    [
        ("Ada Lovelace", "29.99", "USD", 2999),
        ("Zoë Ångström", "1234.50", "EUR", 123450),
        ("山田太郎", "5000", "JPY", 5000),
        ("محمد عبد الله الأحمد", "12.340", "KWD", 12340),
    ],
    ids=["USD", "EUR", "JPY", "KWD"],
)
def test_a_renewal_is_charged_receipted_and_mailed(
    shop: Shop, name: str, amount: str, currency: str, minor_units: int
) -> None:
    """In any script and currency a renewal makes a single charge, a readable receipt, a mail and the next date."""
    subscriber = shop.subscribe(name=name, amount=amount, currency=currency)
    end = shop.renew(subscriber)
    assert (end.status, end.state) == (SUCCEEDED, "Success")
    pdf = assert_renewed_once(shop, subscriber, minor_units=minor_units)
    text = text_of(pdf)
    assert name in text
    assert f"{amount} {currency}" in text
    [charge] = shop.charges(subscriber)
    assert charge["currency"] == currency.lower()
    [mail] = shop.mails(subscriber)
    assert mail["To"].addresses[0].display_name == name
    body = mail.get_body(("plain",))
    assert body is not None
    assert name in body.get_content()
    assert f"{amount} {currency}" in body.get_content()


def test_a_receipt_is_stored_as_the_contract_says(shop: Shop) -> None:
    """The stored receipt has the right type and encryption, forbids caching, and shows no id in its headers."""
    subscriber = shop.subscribe()
    shop.renew(subscriber)
    [key] = shop.receipts(subscriber)
    stored = shop.s3.head_object(Bucket=shop.bucket, Key=key)
    assert (stored["ContentType"], stored["ServerSideEncryption"]) == ("application/pdf", "AES256")
    assert (stored["CacheControl"], stored["Metadata"]) == ("no-store", {})


def test_a_declined_card_is_an_ordinary_day(shop: Shop) -> None:
    """After a decline nothing is charged, the customer is told once, and the period waits; a repeated webhook changes
    nothing."""
    subscriber = shop.subscribe(card=DECLINED)
    renewal_date = shop.row(subscriber)["renewal_date"]
    for _ in range(2):
        end = shop.renew(subscriber)
        assert (end.status, end.state) == (SUCCEEDED, "PaymentDeclined")
        [charge] = shop.charges(subscriber)
        assert charge["status"] == "failed"
        [item] = shop.ledger(subscriber)
        assert (item["status"], item["attempt"], item["decline_code"]) == ("declined", 1, "generic_decline")
        [mail] = shop.mails(subscriber)
        assert "did not go through" in mail["Subject"]
        assert list(mail.iter_attachments()) == []
        assert shop.receipts(subscriber) == {}
        row = shop.row(subscriber)
        assert (row["renewal_date"], row["status"]) == (renewal_date, "past_due")


def test_a_new_card_pays_what_the_old_one_did_not(shop: Shop) -> None:
    """After a decline and a new card, a repeated webhook charges once and mails the receipt."""
    subscriber = shop.subscribe(card=DECLINED)
    shop.renew(subscriber)
    shop.give_card(subscriber, "pm_card_mastercard")
    end = shop.renew(subscriber)
    assert (end.status, end.state) == (SUCCEEDED, "Success")
    assert_renewed_once(shop, subscriber, mails=2)
    assert [charge["status"] for charge in shop.charges(subscriber)] == ["failed", "succeeded"]


def test_3d_secure_waits_for_the_customer(shop: Shop) -> None:
    """Nothing is charged until the customer confirms at the bank; the confirmed payment is then found and recorded as
    the renewal's."""
    subscriber = shop.subscribe(card=WANTS_3DS)
    end = shop.renew(subscriber)
    assert (end.status, end.state) == (SUCCEEDED, "PaymentDeclined")
    assert shop.charges(subscriber, status="succeeded") == []
    [item] = shop.ledger(subscriber)
    assert item["status"] == "action_required"
    [mail] = shop.mails(subscriber)
    assert "Please confirm your payment" in mail["Subject"]

    shop.sandbox.authenticate(item["payment_id"])
    end = shop.renew(subscriber)
    assert (end.status, end.state) == (SUCCEEDED, "Success")
    assert_renewed_once(shop, subscriber, mails=2)


@pytest.mark.parametrize("address", ["no address", None], ids=["wrong", "missing"])
def test_a_bad_address_keeps_the_receipt(shop: Shop, address: str | None) -> None:
    """With an invalid address charge and receipt stand, and the mail is parked with its reason until the address is
    corrected."""
    subscriber = shop.subscribe(customer_email=address)
    end = shop.renew(subscriber)
    assert (end.status, end.error, end.state) == (FAILED, "EmailSendingFailed", "EmailFailed")
    [item] = shop.ledger(subscriber)
    assert item["status"] == "mail_failed"
    assert "customer_email" in item["reason"]
    assert len(shop.receipts(subscriber)) == len(shop.charges(subscriber)) == 1
    assert shop.mails(subscriber) == []

    shop.edit(subscriber, customer_email=subscriber.email)
    for _ in range(2):
        end = shop.renew(subscriber)
        assert (end.status, end.state) == (SUCCEEDED, "Success")
        assert_renewed_once(shop, subscriber)


def test_a_decline_is_told_once_the_address_is_right(shop: Shop) -> None:
    """A decline that cannot be mailed fails visibly, and the mail goes out with the first run after the correction."""
    subscriber = shop.subscribe(card=DECLINED, customer_email="no address")
    end = shop.renew(subscriber)
    assert (end.status, end.error, end.state) == (FAILED, "EmailSendingFailed", "EmailFailed")
    assert shop.ledger(subscriber)[0]["status"] == "declined"

    shop.edit(subscriber, customer_email=subscriber.email)
    for _ in range(2):
        end = shop.renew(subscriber)
        assert (end.status, end.state) == (SUCCEEDED, "PaymentDeclined")
        assert len(shop.mails(subscriber)) == 1
    assert len(shop.charges(subscriber)) == 1


@pytest.mark.parametrize(
    ("attributes", "asked", "reason"),
    [
        ({}, {"amount": "29.98"}, "amount: differs from the subscription's amount"),
        ({}, {"amount": "0.01"}, "amount: differs from the subscription's amount"),
        ({}, {"customer_id": "cus_somebody_else"}, "subscription_id: no such subscription of this customer"),
        ({"currency": "QQQ"}, {}, "currency: is not a currency that the payment gateway charges in"),
        ({"amount": "29.99"}, {}, "amount: is not a number"),
        ({"renewal_date": "31.01.2026"}, {}, "renewal_date: is not a date of the form YYYY-MM-DD from 2000 on"),
        ({"status": "whatever"}, {}, "status: is none of active, canceled, past_due, paused, unpaid"),
        ({"payment_method": None}, {}, "payment_method: is missing"),
    ],
)
def test_what_cannot_be_charged_is_rejected(
    shop: Shop, attributes: dict[str, str], asked: dict[str, str], reason: str
) -> None:
    """A wrong amount, an unknown customer and a bad row fail the execution with the reason, and nothing is claimed or
    charged."""
    subscriber = shop.subscribe()
    shop.edit(subscriber, **attributes)
    end = shop.renew(subscriber, **asked)
    assert (end.status, end.error, end.state) == (FAILED, "PaymentProcessingFailed", "PaymentFailed")
    assert (end.payment["outcome"], end.payment["reason"]) == ("rejected", reason)
    assert_untouched(shop, subscriber)


def test_an_unknown_subscription_is_rejected(shop: Shop) -> None:
    """The webhook accepts an unknown subscription, and the execution fails with the reason."""
    subscriber = shop.subscribe()
    shop.subscriptions.delete_item(
        Key={"subscription_id": subscriber.subscription_id, "customer_id": subscriber.customer_id}
    )
    end = shop.renew(subscriber)
    assert (end.status, end.error) == (FAILED, "PaymentProcessingFailed")
    assert end.payment["reason"] == "subscription_id: no such subscription of this customer"
    assert_untouched(shop, subscriber)


def test_a_subscription_with_two_customers_is_rejected(shop: Shop) -> None:
    """A subscription id with rows of two customers is rejected for both customers."""
    subscriber = shop.subscribe()
    shop.subscriptions.put_item(Item=shop.row(subscriber) | {"customer_id": "cus_second"})
    for customer_id in (subscriber.customer_id, "cus_second"):
        end = shop.renew(subscriber, customer_id=customer_id)
        assert (end.status, end.error) == (FAILED, "PaymentProcessingFailed")
        assert end.payment["reason"] == "customer_id: the subscription has more than one customer"
    assert_untouched(shop, subscriber)


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"renewal_date": "2999-01-01"}, "not_due"),
        ({"status": "paused"}, "paused"),
        ({"status": "canceled"}, "canceled"),
        ({"status": "unpaid"}, "unpaid"),
        ({"cancel_at": "2020-01-01"}, "cancels_at_period_end"),
    ],
)
def test_what_is_not_to_be_charged_is_left_alone(shop: Shop, attributes: dict[str, str], reason: str) -> None:
    """A subscription that is not due, paused, canceled or unpaid is left alone: the execution succeeds with the
    reason."""
    subscriber = shop.subscribe(**attributes)
    end = shop.renew(subscriber)
    assert (end.status, end.state) == (SUCCEEDED, "Success")
    assert (end.payment["outcome"], end.payment["reason"]) == ("nothing_to_do", reason)
    assert_untouched(shop, subscriber)


def test_a_renewal_that_failed_for_good_raises_its_alarm(shop: Shop) -> None:
    """For a renewal refused for good the ledger has the reason, the metric counts the failure, and the alarm comes
    on."""
    cloudwatch = shop.stack.client("cloudwatch")
    subscriber = shop.subscribe(gateway_customer="cus_nobody")
    before = _failed(cloudwatch)
    end = shop.renew(subscriber)
    assert (end.status, end.error) == (FAILED, "PaymentProcessingFailed")
    assert shop.ledger(subscriber)[0]["reason"] == "gateway: resource_missing: gateway_customer"
    assert _failed(cloudwatch) == before + 1
    [alarm] = cloudwatch.describe_alarms(AlarmNames=["subscription-mgmt-renewals-failed-prod"])["MetricAlarms"]
    assert alarm["StateValue"] == "ALARM"


def _failed(cloudwatch: Any) -> float:
    now = datetime.now(UTC)
    points = cloudwatch.get_metric_statistics(
        Namespace="subscription-mgmt",
        MetricName="RenewalFailed",
        Dimensions=[{"Name": "service", "Value": "subscription-mgmt-prod"}],
        StartTime=now - timedelta(hours=1),
        EndTime=now + timedelta(hours=1),  # tests on this stack move the clock of metrics on
        Period=300,
        Statistics=["Sum"],
    )["Datapoints"]
    return float(sum(point["Sum"] for point in points))
