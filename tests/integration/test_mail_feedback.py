"""Mail that comes back, on the deployed stack: SES's event reaches the function, which marks the address.

The template's tests assert that an event ends in a dead-letter queue where the function fails: the emulator drops such
events.
"""

from typing import Any

from tests.integration.shop import FAILED, SUCCEEDED, Shop, today, wait_until

_FIVE_MINUTES = 300


def _alarm(shop: Shop, name: str) -> str:
    names = [f"subscription-mgmt-{name}-prod"]
    [found] = shop.stack.client("cloudwatch").describe_alarms(AlarmNames=names)["MetricAlarms"]
    return str(found["StateValue"])


def test_a_bounce_marks_the_address_and_raises_the_alarm(shop: Shop) -> None:
    """A published bounce marks the address in the row, the receipt waits, and the alarm comes on. The corrected address
    gets the mail, and the same bounce, published again, marks nothing. Five minutes after the bounces, the alarm goes
    off."""
    subscriber = shop.subscribe()
    assert shop.renew(subscriber).status == SUCCEEDED
    bounce = shop.bounce_of(subscriber, "receipt_1")
    shop.publish(bounce)
    row: dict[str, Any] = wait_until(lambda: shop.row(subscriber) if "mail_fault" in shop.row(subscriber) else {})
    assert (row["mail_fault"]["address"], row["mail_fault"]["kind"]) == (subscriber.email, "bounced")
    wait_until(lambda: shop.ledger(subscriber)[0]["status"] == "mail_failed")
    wait_until(lambda: _alarm(shop, "mail-bounces") == "ALARM")

    shop.edit(subscriber, customer_email=f"new-{subscriber.email}")
    assert shop.renew(subscriber).status == SUCCEEDED
    assert shop.ledger(subscriber)[0]["status"] == "done"
    assert len(shop.mails_to(f"new-{subscriber.email}")) == 1
    shop.publish(bounce)
    assert shop.ledger(subscriber)[0]["status"] == "done"
    assert shop.row(subscriber)["mail_fault"]["address"] == subscriber.email
    shop.time.for_alarms(_FIVE_MINUTES)
    assert _alarm(shop, "mail-bounces") == "OK"


def test_nobody_is_canceled_without_having_been_told(shop: Shop) -> None:
    """Where the last dunning date has come and the final notice came back, the subscription stays past due, nothing is
    charged, and an alarm comes on. It goes off five minutes later."""
    subscriber = shop.subscribe(card="pm_card_chargeCustomerFail")
    assert shop.renew(subscriber).payment["outcome"] == "declined"

    def last_date_comes() -> None:
        [item] = shop.ledger(subscriber)
        shop.renewals.put_item(Item=item | {"dunned": 3, "next_attempt": today().isoformat()})
        shop.edit(subscriber, next_attempt=today().isoformat())

    last_date_comes()
    assert shop.renew(subscriber).payment["outcome"] == "declined"  # the end waits: the final notice goes out first
    shop.publish(shop.bounce_of(subscriber, "final_notice_1"))
    wait_until(lambda: "mail_fault" in shop.row(subscriber))
    wait_until(lambda: shop.ledger(subscriber)[0]["mails"]["final_notice_1"]["state"] == "failed")
    last_date_comes()
    end = shop.renew(subscriber)
    assert (end.status, end.payment["outcome"], end.payment["reason"]) == (
        SUCCEEDED,
        "nothing_to_do",
        "customer_not_told",
    )
    assert (shop.row(subscriber)["status"], len(shop.charges(subscriber))) == ("past_due", 1)
    wait_until(lambda: _alarm(shop, "dunning-held") == "ALARM")
    shop.time.for_alarms(_FIVE_MINUTES)
    assert _alarm(shop, "dunning-held") == "OK"


def test_mail_to_a_marked_address_is_not_sent(shop: Shop) -> None:
    """The renewal of a marked address is charged and receipted, and stands as mail_failed without a mail."""
    subscriber = shop.subscribe()
    fault = {"address": subscriber.email, "kind": "bounced", "at": "2026-01-31T12:00:00+00:00", "reason": "Permanent"}
    shop.edit(subscriber, mail_fault=fault)
    assert shop.renew(subscriber).status == FAILED
    assert (shop.ledger(subscriber)[0]["status"], shop.mails(subscriber)) == ("mail_failed", [])
    assert len(shop.charges(subscriber, status="succeeded")) == 1
