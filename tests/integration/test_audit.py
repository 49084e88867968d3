"""The audit on a deployed stack: every kind of difference is planted, found, counted and told."""

import json
from collections import Counter
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any

from local.gateway import official_client
from renewal_audit.findings import Difference
from tests.integration.shop import SUCCEEDED, Shop, Subscriber, today, wait_until


def call(shop: Shop, event: dict[str, str]) -> dict[str, Any]:
    """Call the function and return its reply."""
    name = shop.stack.outputs["AuditFunctionName"]
    answer = shop.functions.invoke(FunctionName=name, Payload=json.dumps(event))
    reply: dict[str, Any] = json.loads(answer["Payload"].read())
    return reply


def audit(shop: Shop, days: int = 1) -> dict[str, Any]:
    """Audit today and the `days` days before."""
    return call(shop, {"from": (today() - timedelta(days=days)).isoformat(), "to": today().isoformat()})


def report(shop: Shop, reply: dict[str, Any]) -> dict[str, Any]:
    body = shop.s3.get_object(Bucket=shop.bucket, Key=reply["report"])["Body"].read()
    found: dict[str, Any] = json.loads(body)
    return found


def alarm(shop: Shop, name: str) -> str:
    names = [f"subscription-mgmt-{name}-prod"]
    [found] = shop.stack.client("cloudwatch").describe_alarms(AlarmNames=names)["MetricAlarms"]
    return str(found["StateValue"])


def renewed(shop: Shop) -> Subscriber:
    subscriber = shop.subscribe()
    assert shop.renew(subscriber).status == SUCCEEDED
    return subscriber


def edit_ledger(shop: Shop, subscriber: Subscriber, **attributes: Any) -> None:
    [item] = shop.ledger(subscriber)
    shop.renewals.put_item(Item=item | attributes)


def is_refunded(shop: Shop, subscriber: Subscriber) -> bool:
    [item] = shop.ledger(subscriber)
    return bool(item["refunds"] and item["refunds"]["refund_1"]["state"] == "refunded")


def charge_past_the_ledger(shop: Shop, subscriber: Subscriber, period: str) -> str:
    """Charge as a second system without memory would; return the payment's id."""
    intents = official_client(shop.stack.gateway_url, shop.stack.gateway_key).v1.payment_intents
    asked: Any = {
        "amount": 2999,
        "currency": "usd",
        "customer": subscriber.gateway_customer,
        "payment_method": subscriber.payment_method,
        "allowed_payment_method_types": ["card"],
        "confirm": True,
        "off_session": True,
        "metadata": {"subscription_id": subscriber.subscription_id, "renewal_date": period},
    }
    return str(intents.create(asked).id)


def test_a_healthy_shop_has_no_difference(shop: Shop) -> None:
    """With paid, declined and unconfirmed payments nothing is named, every kind's metric is written with zero, and the
    alarm stays off."""
    renewed(shop)
    shop.renew(shop.subscribe(card="pm_card_chargeCustomerFail"))
    shop.renew(shop.subscribe(card="pm_card_authenticationRequired"))
    reply = audit(shop)
    assert (reply["finished"], sum(reply["differences"].values())) == (True, 0), report(shop, reply)
    counts = reply["counts"]
    assert (counts["charged"], counts["receipted"], counts["mailed"], counts["declined"]) == (1, 1, 1, 1)
    metrics = {f"Audit{kind.title().replace('_', '')}" for kind in Difference} | {"AuditDifferences"}

    def written() -> set[str]:
        pages = shop.stack.client("cloudwatch").get_paginator("list_metrics").paginate(Namespace="subscription-mgmt")
        return {metric["MetricName"] for page in pages for metric in page["Metrics"]}

    wait_until(lambda: metrics <= written())
    assert alarm(shop, "audit-difference") != "ALARM"


def test_each_kind_is_found_and_told(shop: Shop) -> None:
    """A difference of every kind is planted: exactly the planted differences are named with their subscriptions, in the
    reply, the report, the log and the alarm."""
    day = today().isoformat()
    planted: dict[str, Subscriber] = {}

    planted["missed"] = shop.subscribe(renewal_date=(today() - timedelta(days=2)).isoformat())

    planted["doubled"] = renewed(shop)
    second = charge_past_the_ledger(shop, planted["doubled"], day)

    planted["wrong_amount"] = renewed(shop)
    edit_ledger(shop, planted["wrong_amount"], amount=19)

    planted["charge_without_ledger"] = shop.subscribe(status="paused")
    charge_past_the_ledger(shop, planted["charge_without_ledger"], day)

    original, planted["ledger_without_charge"] = renewed(shop), shop.subscribe(status="paused")
    [item] = shop.ledger(original)
    copied = {"subscription_id": planted["ledger_without_charge"].subscription_id, "payment_id": "pi_of_nobody"}
    shop.renewals.put_item(Item=item | copied)

    planted["overlapping"] = renewed(shop)
    [item] = shop.ledger(planted["overlapping"])
    before = today() - timedelta(days=10)  # not among the audited days
    earlier = {"renewal_date": before.isoformat(), "period_end": (today() + timedelta(days=1)).isoformat()}
    charged = {"charged_on": before.isoformat(), "charged_at": f"{before}T12:00:00.000000+00:00"}
    shop.renewals.put_item(Item=item | earlier | charged | {"payment_id": "pi_of_ten_days_ago"})

    planted["refund_unknown"] = renewed(shop)
    [item] = shop.ledger(planted["refund_unknown"])
    refunds = official_client(shop.stack.gateway_url, shop.stack.gateway_key).v1.refunds
    refunds.create({"payment_intent": item["payment_id"], "amount": 100})

    planted["refund_failed"] = renewed(shop)
    refund = {"amount": Decimal(1), "at": item["claimed_at"], "by": "ann", "request": "hash", "state": "refunded"}
    edit_ledger(shop, planted["refund_failed"], refunds={"refund_1": refund | {"refund_id": "re_of_nobody"}})

    planted["refund_unanswered"] = renewed(shop)
    long_ago = (today() - timedelta(days=3)).isoformat() + "T12:00:00.000000+00:00"
    unanswered = {"refund_1": refund | {"state": "claimed"}}
    edit_ledger(shop, planted["refund_unanswered"], refunds=unanswered, touched_at=long_ago)

    planted["dispute_unknown"] = renewed(shop)
    [item] = shop.ledger(planted["dispute_unknown"])
    shop.sandbox.dispute(item["payment_id"])

    planted["receipt_missing"] = renewed(shop)
    [key] = shop.receipts(planted["receipt_missing"])
    shop.s3.delete_object(Bucket=shop.bucket, Key=key)

    planted["receipt_altered"] = renewed(shop)
    [key] = shop.receipts(planted["receipt_altered"])
    shop.s3.put_object(Bucket=shop.bucket, Key=key, Body=b"%PDF-another", ChecksumAlgorithm="SHA256")

    planted["mail_missing"] = renewed(shop)
    edit_ledger(shop, planted["mail_missing"], mails={})

    reply = audit(shop)
    listed = report(shop, reply)["listed"]
    found = {(each["kind"], each["subscription_id"]) for each in listed}
    assert found == {(kind, subscriber.subscription_id) for kind, subscriber in planted.items()}
    assert len(listed) == len(found)
    assert reply["differences"] == dict.fromkeys(Difference, 1)
    assert [each["payment_id"] for each in listed if each["kind"] == "doubled"] == [second]
    wait_until(lambda: alarm(shop, "audit-difference") == "ALARM")
    told = Counter(
        line["kind"] for line in logged(shop) if line.get("message") == "difference" and line["level"] == "WARNING"
    )
    assert told == dict.fromkeys(Difference, 1)
    for kind in ("refund_unknown", "refund_unanswered"):  # the audit asks the workflow to look at the refunds
        wait_until(partial(is_refunded, shop, planted[kind]))


def test_a_run_without_time_hands_on_and_the_last_one_reports(shop: Shop) -> None:
    """An audit in several runs, each with its part, makes the same report as an audit in a single run."""
    at_once = report(shop, audit(shop))
    name = shop.stack.outputs["AuditFunctionName"]
    shop.functions.update_function_configuration(FunctionName=name, Timeout=100)  # less than a run wants to have left
    reply = audit(shop, days=2)
    assert reply["finished"] is False

    def handed_on() -> dict[str, Any]:
        key = {"Bucket": shop.bucket, "Prefix": reply["report"]}
        return report(shop, reply) if shop.s3.list_objects_v2(**key).get("Contents") else {}

    in_parts = wait_until(handed_on, seconds=60)
    shop.functions.update_function_configuration(FunctionName=name, Timeout=900)
    assert len(in_parts["parts"]) > len(at_once["parts"])
    assert in_parts["listed"] == at_once["listed"]
    assert in_parts["counts"] == at_once["counts"]


def test_the_nightly_audit_is_of_complete_days(shop: Shop) -> None:
    """The schedule's event audits the last three days without today, which is not over."""
    reply = call(shop, {})
    first, last = (today() - timedelta(days=days) for days in (3, 1))
    assert reply["report"] == f"audits/{first}_{last}/report.json"
    assert reply["counts"]["charged"] == 0


def logged(shop: Shop) -> list[dict[str, Any]]:
    group = "/aws/lambda/" + shop.stack.outputs["AuditFunctionName"]
    pages = shop.stack.client("logs").get_paginator("filter_log_events").paginate(logGroupName=group)
    lines = [event["message"] for page in pages for event in page["events"]]
    return [json.loads(line) for line in lines if line.startswith("{")]
