"""The sweep on the deployed stack, with nothing else due: from a row in the table to a mail, without a webhook."""

import json
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest

from local.stack import ROOT
from tests.integration.shop import (
    SUCCEEDED,
    Shop,
    Subscriber,
    assert_renewed_once,
    assert_untouched,
    today,
    wait_until,
)
from tests.integration.stacks import settings_of


@pytest.fixture(scope="module", autouse=True)
def _nothing_else_is_due(shop: Shop) -> None:
    shop.nothing_is_due()


def sweep(shop: Shop, kind: str = "due") -> dict[str, Any]:
    """Call the function as its schedules do; the planned parts run afterwards."""
    function = shop.stack.outputs["SweepFunctionName"]
    answer = shop.functions.invoke(FunctionName=function, Payload=json.dumps({"sweep": kind}))
    done: dict[str, Any] = json.loads(answer["Payload"].read())
    return done


def messages(shop: Shop, queue: str = "RenewalQueueUrl") -> int:
    names = [f"ApproximateNumberOfMessages{kind}" for kind in ("", "NotVisible", "Delayed")]
    url = shop.stack.outputs[queue]
    counts = shop.stack.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return sum(int(count) for count in counts.values())


def moved_on(shop: Shop, subscriber: Subscriber) -> bool:
    return str(shop.row(subscriber)["renewal_date"]) > today().isoformat()


def logged_by_the_sweep(shop: Shop) -> list[dict[str, Any]]:
    group = "/aws/lambda/" + shop.stack.outputs["SweepFunctionName"]
    pages = shop.stack.client("logs").get_paginator("filter_log_events").paginate(logGroupName=group)
    lines = [event["message"] for page in pages for event in page["events"]]
    return [json.loads(line) for line in lines if line.startswith("{")]


def alarm(shop: Shop, name: str) -> str:
    [found] = shop.stack.client("cloudwatch").describe_alarms(AlarmNames=[f"subscription-mgmt-{name}-prod"])[
        "MetricAlarms"
    ]
    return str(found["StateValue"])


def _ago(days: int) -> str:
    return (today() - timedelta(days=days)).isoformat()


def test_one_sweep_renews_what_is_due(shop: Shop) -> None:
    """A sweep renews subscriptions due today and left over from days of downtime, once and without a webhook. A
    subscription that is not due, ended or not chargeable is not charged; a paused row moves on unbilled; the bad row is
    named and raises its alarm."""
    due = [shop.subscribe(), shop.subscribe(renewal_date=_ago(1)), shop.subscribe(renewal_date=_ago(5))]
    resting = [shop.subscribe(renewal_date=_ago(-1)), shop.subscribe(status="canceled")]
    paused = shop.subscribe(status="paused")
    bad = shop.subscribe(currency="QQQ")
    assert sweep(shop)["backlog"] == 0
    wait_until(lambda: all(moved_on(shop, subscriber) for subscriber in due) and not messages(shop), seconds=60)
    for subscriber in due:
        assert_renewed_once(shop, subscriber)
        assert len(shop.executions(subscriber.subscription_id)) == 1
    for subscriber in [*resting, bad]:
        assert shop.executions(subscriber.subscription_id) == []
    assert shop.charges(paused) == []
    assert [item["reason"] for item in shop.ledger(paused)] == ["paused"]
    assert moved_on(shop, paused)
    named = [line for line in logged_by_the_sweep(shop) if line.get("subscription_id") == bad.subscription_id]
    assert [(line["message"], line["reason"][:10]) for line in named] == [("bad row", "currency: ")]
    assert not {each.subscription_id for each in resting} & {line.get("subscription_id") for line in named}
    assert alarm(shop, "bad-rows") == "ALARM"


def test_the_nightly_sweep_finds_what_no_index_leads_to(shop: Shop) -> None:
    """The nightly sweep renews a subscription due longer than the hourly sweep looks back, and names an invalid date
    with the reason."""
    old = shop.subscribe(renewal_date=_ago(400), interval="year")
    broken = shop.subscribe(renewal_date="2025-3-1")
    dateless = shop.subscribe(renewal_date=None)
    assert sweep(shop, "all")["backlog"] == 0
    wait_until(lambda: moved_on(shop, old) and not messages(shop), seconds=60)
    assert len(shop.charges(old, status="succeeded")) == 1
    named = {line["subscription_id"]: line["reason"] for line in logged_by_the_sweep(shop) if "reason" in line}
    assert named[broken.subscription_id].startswith("renewal_date: is not a date")
    assert named[dateless.subscription_id] == "renewal_date: is missing"


def test_the_nightly_sweep_reminds_once(shop: Shop) -> None:
    """A yearly renewal in five days is announced in a single mail, nothing is charged, and the next sweep asks for
    nothing."""
    near = shop.subscribe(renewal_date=_ago(-5), interval="year")
    for _ in range(2):
        sweep(shop, "all")
        wait_until(lambda: "reminder_upcoming" in shop.row(near) and not messages(shop), seconds=60)
    [mail] = shop.mails(near)
    assert "renews on" in mail["Subject"]
    row = shop.row(near)
    assert (row["reminder_upcoming"]["state"], row["reminder_upcoming"]["period"]) == ("sent", _ago(-5))
    assert row["known_card"]["name"] == "Visa ending in 4242"
    assert shop.charges(near) == []
    assert [end.status for end in shop.ends(near, 1)] == [SUCCEEDED]


def test_the_schedule_sweeps_by_itself(shop: Shop) -> None:
    """A due subscription is renewed by the schedule alone, once the schedule's hour has passed and not before."""
    scheduler, name = shop.stack.client("scheduler"), "subscription-mgmt-sweep-due-prod"
    schedule = settings_of(scheduler.get_schedule(Name=name))
    subscriber = shop.subscribe()
    scheduler.update_schedule(**schedule | {"State": "ENABLED"})
    try:
        shop.time.for_schedules(30 * 60)  # some minutes have passed since the deployment, too
        shop.time.until_all_is_done(20)
        assert_untouched(shop, subscriber)
        shop.time.for_schedules(30 * 60)
        wait_until(lambda: moved_on(shop, subscriber))
    finally:
        scheduler.update_schedule(**schedule)
    wait_until(lambda: not messages(shop))
    assert_renewed_once(shop, subscriber)


@pytest.mark.timeout(240)
def test_what_always_fails_ends_as_a_dead_letter_and_comes_back(shop: Shop) -> None:
    """While the gateway is broken for a customer, the customer's message becomes a dead letter and raises the alarm.
    The message delays nobody: a subscription due meanwhile is renewed. After the gateway is mended, the redrive command
    brings the message back, and the subscription is renewed."""
    subscriber = shop.subscribe()
    shop.sandbox.hostile("500", "*", customer=subscriber.gateway_customer, calls=1000)
    assert alarm(shop, "dead-letters") != "ALARM"
    sweep(shop)
    wait_until(lambda: messages(shop) == 1)
    another = shop.subscribe()
    assert sweep(shop)["backlog"] == 0
    wait_until(lambda: moved_on(shop, another), seconds=60)

    def has_failed_for_the_last_time() -> bool:
        shop.time.until_all_is_done(60)
        shop.end_lease(subscriber)
        shop.time.hidden_messages_appear()
        return messages(shop, "RenewalDeadLetterQueueUrl") == 1 and not messages(shop)

    wait_until(has_failed_for_the_last_time, seconds=120)
    assert alarm(shop, "dead-letters") == "ALARM"
    assert shop.charges(subscriber) == []

    shop.sandbox.peaceful()
    environment = {"AWS_CONFIG_FILE": str(shop.stack.aws_config_file), "AWS_PROFILE": "local", "NO_PROXY": "*"}
    command = [sys.executable, "-m", "scripts.subscriptions", "redrive"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout == "1 message moved back to the queue\n", done.stderr
    wait_until(lambda: moved_on(shop, subscriber) and not messages(shop), seconds=30)
    assert_renewed_once(shop, subscriber)
    assert messages(shop, "RenewalDeadLetterQueueUrl") == 0
    assert [end.status for end in shop.ends(subscriber, 7)][-1] == SUCCEEDED
