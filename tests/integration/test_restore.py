"""All three tables on the deployed stack, restored to a moment before a charge as docs/runbook.md says."""

import json
from collections import Counter
from datetime import timedelta

from local.stack import Stack
from tests.integration.shop import Shop, Subscriber, oncall, today, wait_until

TABLES = ("RenewalsTableName", "SubscriptionsTableName", "ChangesTableName")
"""The tables, in the runbook's order."""


def _differences(shop: Shop, subscribers: list[Subscriber]) -> list[tuple[str, str]]:
    """Return the audit's differences of these subscriptions: (subscription, kind)."""
    ids = {each.subscription_id for each in subscribers}
    days = ((today() - timedelta(days=6)).isoformat(), today().isoformat())
    told = [json.loads(line) for line in oncall(shop, "audit", *days).splitlines() if line.startswith('{"kind"')]
    return sorted((each["subscription_id"], each["kind"]) for each in told if each["subscription_id"] in ids)


def test_nobody_is_charged_again_after_a_restore(shop: Shop, stack: Stack) -> None:
    """The audit names the charges unknown to the restored ledger. After charging is turned on again, both payments are
    found at the gateway, today's by the idempotency key and the late payment by a look at the list: the payments are
    recorded and receipted under the old numbers, and the subscriptions move on."""
    late = shop.subscribe(renewal_date=(today() - timedelta(days=5)).isoformat())
    due = shop.subscribe()
    both = [late, due]
    dynamodb = stack.client("dynamodb")
    tables = [stack.outputs[name] for name in TABLES]
    for table in tables:
        dynamodb.restore_table_to_point_in_time(
            SourceTableName=table, TargetTableName=f"{table}-restored", UseLatestRestorableTime=True
        )
        dynamodb.get_waiter("table_exists").wait(TableName=f"{table}-restored")
    for each in both:
        shop.renew(each)
    paid = {each: shop.ledger(each)[0] for each in both}

    oncall(shop, "charging", "off", "--why", "the ledger is lost")
    for table in tables:
        oncall(shop, "restore", f"{table}-restored", table, "--write", "--delete")
        dynamodb.delete_table(TableName=f"{table}-restored")
    assert [shop.ledger(each) for each in both] == [[], []]
    unknown = [kind for _, kind in _differences(shop, both)]
    assert Counter(unknown) == {"charge_without_ledger": 2, "missed": 1}  # a renewal due today is not overdue

    assert "charging is on" in oncall(shop, "charging", "on")
    for each in both:
        wait_until(lambda each=each: [item["status"] for item in shop.ledger(each)] == ["done"], seconds=60)  # type: ignore[misc]
        [charge] = shop.charges(each)
        [item] = shop.ledger(each)
        assert item["payment_id"] == charge["payment_intent"] == paid[each]["payment_id"]
        assert item["receipt_sha256"] == paid[each]["receipt_sha256"]
        assert len(shop.receipts(each)) == 1
        assert shop.row(each)["renewal_date"] == item["period_end"]
        assert [mail["Subject"] for mail in shop.mails(each)] == 2 * [shop.mails(each)[0]["Subject"]]
    assert _differences(shop, both) == []
