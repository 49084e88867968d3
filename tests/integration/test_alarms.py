"""Every alarm, on a deployed stack: its cause is made to happen and the alarm comes on; the cause is mended and the
alarm goes off.

The alarms are the template's, evaluated as local.alarms says. Tests move nothing but the clock of the alarms.
"""

import json
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import urllib3

from local.cuts import Cuts
from local.gateway import official_client
from renewals.domain import declarations
from renewals.domain.declarations import Declaration, DeclarationKind, DeclarationState, Way
from tests.integration.shop import (
    FAILED,
    SUCCEEDED,
    Shop,
    Subscriber,
    assert_renewed_once,
    assert_untouched,
    oncall,
    wait_until,
    who_waits,
)
from tests.integration.test_cuts import SEND_EMAIL, end_leases, run_once

MINUTES, HOURS = 60, 3600
NEVER_HERE = {"stepfunctions-timed-out", "api-throttled"}
"""The emulator ends no execution after 300 seconds and throttles no API: only
test_template_alarms.py asserts these alarms."""
ELSEWHERE = {"mail-bounces", "dunning-held", "gateway-dead-letters", "disputes"}
"""Alarms on SES's feedback and on events of the gateway have tests of their own: test_mail_feedback.py and
test_gateway_door.py."""


@pytest.fixture(scope="module")
def watch(shop: Shop) -> "Watch":
    return Watch(shop)


class Watch:
    """The person on call: sees the alarms that are on, mends, and lets time pass."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.time = shop.time
        self._cloudwatch = shop.stack.client("cloudwatch")

    def on(self) -> set[str]:
        """Return the names of the alarms that are on, without project and environment."""
        return {_short(alarm["AlarmName"]) for alarm in self._alarms() if alarm["StateValue"] == "ALARM"}

    def names(self) -> set[str]:
        return {_short(alarm["AlarmName"]) for alarm in self._alarms()}

    def comes_on(self, *names: str) -> None:
        wait_until(lambda: set(names) <= self.on())

    def goes_off(self, *names: str, after: float = 5 * MINUTES) -> None:
        """Let `after` seconds pass without further events, and assert that the alarms are off."""
        self.time.for_alarms(after)
        assert self.on().isdisjoint(names)

    def changes(self, name: str) -> list[str]:
        """Return the alarm's state changes so far, oldest first."""
        history = self._cloudwatch.get_paginator("describe_alarm_history").paginate(
            AlarmName=f"subscription-mgmt-{name}-prod", HistoryItemType="StateUpdate", ScanBy="TimestampAscending"
        )
        items = [json.loads(item["HistoryData"]) for page in history for item in page["AlarmHistoryItems"]]
        return [item["newState"]["stateValue"] for item in items if "newState" in item]

    def sweep(self) -> dict[str, Any]:
        """Run an hourly sweep with all the runs that the sweep hands on, but without the queue's messages."""
        return self._call("SweepFunctionName", {"sweep": "due"})

    def audit(self) -> dict[str, Any]:
        day = datetime.now(UTC).date()
        return self._call("AuditFunctionName", {"from": str(day - timedelta(days=1)), "to": str(day)})

    def catch_up(self) -> dict[str, Any]:
        return self._call("CatchUpFunctionName", {})

    def _call(self, function: str, event: dict[str, Any]) -> dict[str, Any]:
        name = self.shop.stack.outputs[function]
        answer = self.shop.functions.invoke(FunctionName=name, Payload=json.dumps(event))
        reply: dict[str, Any] = json.loads(answer["Payload"].read())
        return reply

    def _alarms(self) -> list[dict[str, Any]]:
        pages = self._cloudwatch.get_paginator("describe_alarms").paginate()
        return [alarm for page in pages for alarm in page["MetricAlarms"]]


def _short(alarm: str) -> str:
    return alarm.removeprefix("subscription-mgmt-").removesuffix("-prod")


@contextmanager
def misled(shop: Shop, function: str, **environment: str) -> Iterator[None]:
    """Give the function wrong settings until the block ends."""
    deployed = shop.functions.get_function_configuration(FunctionName=function)["Environment"]["Variables"]
    shop.functions.update_function_configuration(
        FunctionName=function, Environment={"Variables": deployed | environment}
    )
    try:
        yield
    finally:
        shop.functions.update_function_configuration(FunctionName=function, Environment={"Variables": deployed})


def all_at_once[T](many: int, what: Callable[[int], T]) -> list[T]:
    with ThreadPoolExecutor(6) as pool:
        return list(pool.map(what, range(many)))


def edit_ledger(shop: Shop, subscriber: Subscriber, **attributes: Any) -> None:
    [item] = shop.ledger(subscriber)
    shop.renewals.put_item(Item=item | attributes)


def is_done(shop: Shop, subscriber: Subscriber) -> bool:
    return [item["status"] for item in shop.ledger(subscriber)] == ["done"]


def test_no_sweep_no_audit_and_no_catch_up(watch: Watch) -> None:
    """The alarms about a missing sweep, audit and catch-up are on until the first run, come on hours after the last
    run, and go off with the next."""
    watch.time.for_alarms(0)
    assert watch.on() == {"sweep-not-run", "audit-not-run", "catch-up-not-run"}
    watch.sweep()
    assert watch.audit()["finished"]
    assert watch.catch_up()["finished"]
    assert watch.on() == set()
    watch.time.for_alarms(2 * HOURS)
    assert watch.on() == set()
    watch.time.for_alarms(1 * HOURS)
    assert watch.on() == {"sweep-not-run"}
    watch.time.for_alarms(27 * HOURS)
    assert watch.on() == {"sweep-not-run", "audit-not-run", "catch-up-not-run"}
    watch.sweep()
    watch.audit()
    watch.catch_up()
    assert watch.on() == set()


def test_a_permission_that_the_key_lacks(shop: Shop, watch: Watch) -> None:
    """If the key may not read events, only `gateway-permission` comes on, and the catch-up does not count. The alarm
    goes off a day after the key got the permission."""
    shop.sandbox.hostile("403", "events.list", calls=1000)
    assert not watch.catch_up()["finished"]
    watch.comes_on("gateway-permission")
    assert watch.on() == {"gateway-permission"}
    shop.sandbox.peaceful()
    assert watch.catch_up()["finished"]
    watch.goes_off("gateway-permission", after=27 * HOURS)
    watch.sweep()
    watch.audit()
    watch.catch_up()
    assert watch.on() == set()


def test_the_topic_is_told_when_an_alarm_comes_on_and_when_it_goes_off(shop: Shop, watch: Watch) -> None:
    """A subscriber of the topic hears when an alarm comes on and when the alarm goes off, with the alarm's name and its
    runbook section."""
    sqs = shop.stack.client("sqs")
    queue = sqs.create_queue(QueueName="told")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    topic = shop.stack.outputs["AlarmTopicArn"]
    publish = {"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage"}
    policy = {"Version": "2012-10-17", "Statement": [publish | {"Resource": arn}]}
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": json.dumps(policy)})
    shop.stack.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    watch.time.for_alarms(3 * HOURS)
    watch.sweep()
    told: list[dict[str, Any]] = []

    def is_told_twice() -> bool:
        found = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, VisibilityTimeout=600)
        told.extend(json.loads(json.loads(each["Body"])["Message"]) for each in found.get("Messages", []))
        return len(told) >= 2

    wait_until(is_told_twice)
    sqs.delete_queue(QueueUrl=queue)
    assert [(each["AlarmName"], each["NewStateValue"]) for each in told] == [
        ("subscription-mgmt-sweep-not-run-prod", "ALARM"),
        ("subscription-mgmt-sweep-not-run-prod", "OK"),
    ]
    assert told[0]["AlarmDescription"].endswith("docs/runbook.md#sweep-not-run")


def test_the_gateway_is_down(shop: Shop, watch: Watch) -> None:
    """While the gateway is down all renewals fail; an hour later, with the gateway mended, the sweep finishes every
    renewal."""
    subscribers = all_at_once(11, lambda _: shop.subscribe())
    shop.sandbox.hostile("500", "*", calls=10_000)
    ends = all_at_once(11, lambda n: shop.renew(subscribers[n]))
    assert {end.status for end in ends} == {FAILED}
    watch.comes_on("gateway-unavailable", "lambda-errors", "stepfunctions-failed")
    hour_ago = (datetime.now(UTC) - timedelta(minutes=61)).isoformat(timespec="microseconds")
    edit_ledger(shop, subscribers[0], begun_at=hour_ago, touched_at=hour_ago, lease_until=hour_ago)
    watch.sweep()
    watch.comes_on("oldest-unfinished")
    watch.time.until_all_is_done(60)  # an execution at work would lose what it writes to the end of the lease
    shop.sandbox.peaceful()
    for subscriber in subscribers:  # before the messages appear: within a lease a request would count as done
        shop.end_lease(subscriber)
    watch.time.hidden_messages_appear()
    watch.sweep()  # a request that met a lease counts as done: the sweep asks again
    shop.retries_until(lambda: all(is_done(shop, each) for each in subscribers))
    watch.time.until_all_is_done(20)
    watch.time.for_alarms(15 * MINUTES)
    assert watch.on() == {"oldest-unfinished"}  # until the next sweep measures again
    watch.sweep()
    assert watch.on() == set()


def test_the_gateway_turns_our_account_away(shop: Shop, watch: Watch) -> None:
    """Where the gateway turns our account away, only `gateway-account` comes on and no renewal is marked; once the
    account is in order, every renewal goes on."""
    subscribers = all_at_once(7, lambda _: shop.subscribe())
    shop.sandbox.hostile("403", "payment_intents.*", calls=10_000)
    ends = all_at_once(7, lambda n: shop.renew(subscribers[n]))
    assert {end.status for end in ends} == {SUCCEEDED}
    watch.comes_on("gateway-account")
    assert watch.on() == {"gateway-account"}
    assert {item["status"] for each in subscribers for item in shop.ledger(each)} == {"claimed"}
    shop.sandbox.peaceful()
    for subscriber in subscribers:
        assert shop.renew(subscriber).status == SUCCEEDED
        assert is_done(shop, subscriber)
    watch.goes_off("gateway-account", after=2 * HOURS)


def test_a_message_that_nobody_can_read(shop: Shop, watch: Watch) -> None:
    """An unreadable message stays among the dead letters until somebody deletes the message."""
    sqs, outputs = shop.stack.client("sqs"), shop.stack.outputs
    sqs.send_message(QueueUrl=outputs["RenewalQueueUrl"], MessageBody='{"subscription_id": "of_nobody"}')
    shop.retries_until(lambda: "dead-letters" in watch.on())
    watch.time.for_alarms(10 * MINUTES)
    assert watch.on() == {"dead-letters"}
    assert oncall(shop, "alarms").startswith("subscription-mgmt-dead-letters-prod, since ")
    told = oncall(shop, "dead-letters")
    assert "not a request, no attempt can succeed" in told
    assert oncall(shop, "delete-dead-letter", told.split()[0]) == 'deleted: {"subscription_id": "of_nobody"}\n'
    watch.goes_off("dead-letters")
    assert oncall(shop, "dead-letters") == "there are no dead letters\n"
    assert oncall(shop, "alarms") == "no alarm is on\n"


def test_the_worker_stands_still(shop: Shop, watch: Watch) -> None:
    """The worker stands still, and the sweep's messages wait: the next sweep is postponed until the worker has caught
    up."""
    worker = "subscription-mgmt-renewal-worker-prod"
    [source] = shop.functions.list_event_source_mappings(FunctionName=worker)["EventSourceMappings"]
    shop.functions.update_event_source_mapping(UUID=source["UUID"], Enabled=False)
    wait_until(lambda: shop.functions.get_event_source_mapping(UUID=source["UUID"])["State"] == "Disabled")
    subscriber = shop.subscribe()
    watch.time.for_alarms(20 * MINUTES)  # the alarm then sees no recent run of the worker
    watch.sweep()
    wait_until(lambda: watch.sweep()["backlog"])
    for _ in range(3):
        assert "worker-stopped" not in watch.on()
        watch.time.for_alarms(5 * MINUTES)
    watch.comes_on("worker-stopped", "sweep-postponed")
    shop.functions.update_event_source_mapping(UUID=source["UUID"], Enabled=True)
    wait_until(lambda: is_done(shop, subscriber))
    watch.goes_off("worker-stopped", after=0)
    watch.time.until_all_is_done(20)
    watch.time.for_alarms(1 * MINUTES)
    watch.sweep()
    assert "sweep-postponed" not in watch.on()


def test_many_cards_are_declined(shop: Shop, watch: Watch) -> None:
    """Seven declines of twenty first attempts raise the alarm; six would be an ordinary day, and dunning's attempts do
    not count."""
    cards = ["pm_card_visa"] * 13 + ["pm_card_chargeCustomerFail"] * 6
    watch.time.for_alarms(1 * HOURS)
    subscribers = all_at_once(19, lambda n: shop.subscribe(card=cards[n]))
    all_at_once(19, lambda n: shop.renew(subscribers[n]))
    for subscriber in subscribers[-3:]:
        shop.give_card(subscriber, "pm_card_chargeCustomerFail")
        shop.renew(subscriber)
    shop.renew(shop.subscribe())
    assert "declines" not in watch.on()
    shop.renew(shop.subscribe(card="pm_card_chargeCustomerFail"))
    shop.renew(shop.subscribe(card="pm_card_authenticationRequired"))
    watch.comes_on("declines")
    watch.goes_off("declines", after=1 * HOURS)


def test_a_renewal_that_the_gateway_refuses_for_good(shop: Shop, watch: Watch) -> None:
    """A renewal that the gateway refuses for good ends as failed and is reported once."""
    subscriber = shop.subscribe(gateway_customer="cus_gone")
    shop.renew(subscriber)
    assert [item["status"] for item in shop.ledger(subscriber)] == ["failed"]
    watch.comes_on("renewals-failed")
    shop.edit(subscriber, status="canceled")
    watch.goes_off("renewals-failed")


def test_a_row_that_cannot_be_charged(shop: Shop, watch: Watch) -> None:
    """The sweep names a bad row until the row is corrected."""
    subscriber = shop.subscribe(currency="QQQ")
    watch.sweep()
    watch.comes_on("bad-rows")
    shop.edit(subscriber, currency="USD")
    watch.goes_off("bad-rows")
    watch.sweep()
    wait_until(lambda: is_done(shop, subscriber))
    assert "bad-rows" not in watch.on()


def test_a_mail_without_an_address(shop: Shop, watch: Watch) -> None:
    """A mail without a valid address is parked until the address is corrected and a further webhook comes."""
    subscriber = shop.subscribe(customer_email="nobody")
    shop.renew(subscriber)
    watch.comes_on("mail-failed")
    shop.edit(subscriber, customer_email=subscriber.email)
    shop.renew(subscriber)
    watch.goes_off("mail-failed")
    assert is_done(shop, subscriber)


def test_a_mail_of_which_nobody_can_tell(shop: Shop, watch: Watch) -> None:
    """The function is killed right after sending the mail: the next execution records that the mail may have gone
    out."""
    cuts, first, second = Cuts(shop.stack.endpoint_url), shop.subscribe(), shop.subscribe()
    cuts.watch(SEND_EMAIL, first.subscription_id)
    assert shop.renew(first).status == SUCCEEDED
    number = 1 + cuts.calls(SEND_EMAIL, first.subscription_id).index("ses:SendRawEmail")
    cuts.cut(SEND_EMAIL, second.subscription_id, number, "after")
    assert run_once(shop, second) == "Runtime.ExitError"
    end_leases(shop, second)
    shop.renew(second)
    watch.comes_on("mail-unknown")
    watch.goes_off("mail-unknown")


def test_a_refund_that_fails_weeks_after(shop: Shop, watch: Watch) -> None:
    """Somebody refunds in the gateway's dashboard: the audit finds the refund, and the workflow records it and tells
    the customer. Later the bank sends the money back: the audit finds the failure, and the customer and the person on
    call are told."""
    subscriber = shop.subscribe()
    shop.renew(subscriber)
    (item,) = shop.ledger(subscriber)
    refunds = official_client(shop.stack.gateway_url, shop.stack.gateway_key).v1.refunds
    made = refunds.create({"payment_intent": item["payment_id"], "amount": 1000})

    def state() -> str | None:
        (stands,) = shop.ledger(subscriber)
        return str(stands["refunds"]["refund_1"]["state"]) if stands["refunds"] else None

    assert watch.audit()["differences"]["refund_unknown"] == 1
    wait_until(lambda: state() == "refunded")
    wait_until(lambda: len(shop.mails(subscriber)) == 2)
    assert watch.audit()["differences"]["refund_unknown"] == 0
    shop.sandbox.settle_refund(made.id, "failed")
    assert watch.audit()["differences"]["refund_failed"] == 1
    wait_until(lambda: state() == "failed")
    watch.comes_on("refunds-failed", "audit-difference")
    wait_until(lambda: len(shop.mails(subscriber)) == 3)
    assert f"{subscriber.subscription_id}, period {item['renewal_date']}, refund_1 failed" in who_waits(shop)
    watch.time.for_alarms(10 * MINUTES)
    assert watch.on() & {"refunds-failed", "audit-difference"} == {"audit-difference"}  # until an audit finds nothing
    assert sum(watch.audit()["differences"].values()) == 0
    watch.goes_off("audit-difference", after=0)
    subjects = [mail["Subject"] for mail in shop.mails(subscriber)]
    assert subjects[1:] == ["Refund for Pro: $10.00", "Your refund for Pro did not arrive: $10.00"]


def test_a_receipt_is_deleted(shop: Shop, watch: Watch) -> None:
    """The audit misses a deleted receipt every night until the same receipt is restored."""
    subscriber = shop.subscribe()
    shop.renew(subscriber)
    watch.audit()
    assert "audit-difference" not in watch.on()
    [(key, receipt)] = shop.receipts(subscriber).items()
    shop.s3.delete_object(Bucket=shop.bucket, Key=key)
    day = datetime.now(UTC).date().isoformat()
    assert f'"kind": "receipt_missing", "subscription_id": "{subscriber.subscription_id}"' in oncall(
        shop, "audit", day, day
    )
    watch.comes_on("audit-difference")
    watch.time.for_alarms(12 * HOURS)
    assert "audit-difference" in watch.on()
    assert oncall(shop, "restore-receipt", key).startswith("restored the version of ")
    assert oncall(shop, "restore-receipt", key).startswith("nothing to do: ")
    shop.s3.put_object(Bucket=shop.bucket, Key=key, Body=b"something else")
    assert oncall(shop, "restore-receipt", key).startswith("restored the version of ")
    assert shop.receipts(subscriber) == {key: receipt}
    assert watch.audit()["differences"]["receipt_missing"] == 0
    assert "audit-difference" not in watch.on()


@pytest.mark.parametrize(
    ("name", "output", "setting", "run"),
    [
        ("sweep-errors", "SweepFunctionName", "RENEWAL_QUEUE_URL", Watch.sweep),
        ("audit-errors", "AuditFunctionName", "SECRETS_MANAGER_ARN", Watch.audit),
        ("catch-up-errors", "CatchUpFunctionName", "SECRETS_MANAGER_ARN", Watch.catch_up),
    ],
)
def test_a_nightly_function_fails(
    shop: Shop, watch: Watch, name: str, output: str, setting: str, run: Callable[[Watch], dict[str, Any]]
) -> None:
    """A single failure may be bad luck; the alarm comes on at three failures in an hour, as often as Lambda tries a
    run."""
    with misled(shop, shop.stack.outputs[output], **{setting: "https://127.0.0.1:1/gone"}):
        for _ in range(2):
            assert "errorType" in run(watch)
        assert name not in watch.on()
        assert "errorType" in run(watch)
        watch.comes_on(name)
    assert "errorType" not in run(watch)
    watch.goes_off(name, after=1 * HOURS)


def test_charging_is_turned_off(shop: Shop, watch: Watch) -> None:
    """With charging off, a webhook is accepted, and nothing is charged or written. Turned on again, the sweep that the
    command starts renews the waiting subscription once, and the alarm goes off within a minute. Turning charging off
    without a reason is refused."""
    assert "off needs --why" in oncall(shop, "charging", "off", fails=True)
    assert "wrong prices" in oncall(shop, "charging", "off", "--why", "wrong prices")
    try:
        watch.comes_on("charging-off")
        watch.time.until_all_is_done(20)
        waits = shop.subscribe()
        end = shop.renew(waits)
        assert (end.state, end.payment["reason"]) == ("Success", "charging_is_off")
        assert_untouched(shop, waits)
    finally:
        assert "charging is on" in oncall(shop, "charging", "on")
    wait_until(lambda: [item["status"] for item in shop.ledger(waits)] == ["done"])
    assert_renewed_once(shop, waits)
    watch.time.until_all_is_done(20)  # the sweep that renewed the subscription reports the switch at its end
    watch.goes_off("charging-off", after=1 * MINUTES)


def test_the_application_is_told_late(shop: Shop, watch: Watch) -> None:
    """While the bus refuses every entry, renewals go on; after 15 minutes the alarm comes on, and goes off once the bus
    takes the waiting events."""
    throttle(shop, 100_000)
    try:
        assert shop.renew(shop.subscribe()).status == SUCCEEDED
        watch.time.for_alarms(16 * MINUTES)
        watch.comes_on("events-late")
    finally:
        throttle(shop, 0)
    watch.time.until_all_is_done(60)
    watch.goes_off("events-late")


def throttle(shop: Shop, entries: int) -> None:
    """Have the bus refuse this many entries from now on."""
    address = f"{shop.stack.endpoint_url}/_local/events"
    urllib3.request("POST", address, body=json.dumps({"refused_entries": entries}), timeout=10, retries=False)


def test_a_write_that_cannot_be_read(shop: Shop, watch: Watch) -> None:
    """An item that somebody wrote by hand cannot be read: its record lies in the queue until a person deletes the
    record."""
    url = shop.stack.outputs["UnreadableRecordsQueueUrl"]
    now = datetime.now(UTC).isoformat()
    odd = {
        "subscription_id": f"sub_{uuid.uuid4().hex}",
        "change": "odd",
        "at": now,
        "what": "ending",
        "details": "none",
    }
    shop.changes.put_item(Item=odd)
    watch.comes_on("unreadable-records")
    sqs = shop.stack.client("sqs")
    [message] = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=5)["Messages"]
    assert json.loads(message["Body"])["dynamodb"]["NewImage"]["change"] == {"S": "odd"}
    sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    watch.goes_off("unreadable-records")


def test_an_application_that_takes_nothing(shop: Shop, watch: Watch) -> None:
    """An event whose last try fails becomes a dead letter, and the alarm comes on until a person deletes the letter."""
    sqs, url = shop.stack.client("sqs"), shop.stack.outputs["EventsDeadLetterQueueUrl"]
    queue = sqs.get_queue_url(QueueName="subscription-mgmt-events-to-deliver-prod")["QueueUrl"]
    message = {"event": json.dumps({"id": "evt_untaken"}), "failed": 7}
    sqs.send_message(QueueUrl=queue, MessageBody=json.dumps(message))
    watch.comes_on("events-undelivered")
    [letter] = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=5)["Messages"]
    assert json.loads(letter["Body"]) == message
    sqs.delete_message(QueueUrl=url, ReceiptHandle=letter["ReceiptHandle"])
    watch.goes_off("events-undelivered")


def test_events_wait_for_an_application_that_does_not_answer(shop: Shop, watch: Watch) -> None:
    """While EventDeliverer cannot take an event out of the queue, the alarm comes on after 15 minutes; it goes off when
    the queue is empty."""
    sqs, function = shop.stack.client("sqs"), "subscription-mgmt-event-deliverer-prod"
    queue = sqs.get_queue_url(QueueName="subscription-mgmt-events-to-deliver-prod")["QueueUrl"]
    with misled(shop, function, EVENTS_SECRET_ARN="gone"):
        sqs.send_message(QueueUrl=queue, MessageBody=json.dumps({"event": json.dumps({"id": "evt_1"}), "failed": 0}))
        watch.time.for_alarms(16 * MINUTES)
        watch.comes_on("events-waiting")
    watch.time.hidden_messages_appear()
    watch.time.until_all_is_done(60)
    sqs.purge_queue(QueueUrl=queue)
    watch.goes_off("events-waiting")


def test_later_tries_of_events_cannot_be_moved(shop: Shop, watch: Watch) -> None:
    """Three runs of the schedule fail: no waiting try is moved, and no dead letter would tell so."""
    function = "subscription-mgmt-event-deliverer-prod"
    event = json.dumps({"deliveries": "due"})
    with misled(shop, function, DELIVERIES_TABLE="gone"):
        for _ in range(3):
            assert "FunctionError" in shop.functions.invoke(FunctionName=function, Payload=event)
        watch.comes_on("deliverer-errors")
    assert "FunctionError" not in shop.functions.invoke(FunctionName=function, Payload=event)
    watch.goes_off("deliverer-errors", after=1 * HOURS)


def test_lambda_refuses_calls(shop: Shop, watch: Watch) -> None:
    """Without concurrency left for the webhook's function, senders are refused and can come again."""
    function = "subscription-mgmt-webhook-handler-prod"
    shop.functions.put_function_concurrency(FunctionName=function, ReservedConcurrentExecutions=0)
    subscriber = shop.subscribe()
    replies = [shop.deliver(subscriber).status for _ in range(6)]
    assert 202 not in replies
    watch.comes_on("throttles")
    shop.functions.delete_function_concurrency(FunctionName=function)
    assert shop.renew(subscriber).status == SUCCEEDED
    watch.goes_off("throttles")


def test_the_api_is_broken(shop: Shop, watch: Watch) -> None:
    """Where the workflow cannot be started, every sender is asked to try again."""
    subscriber = shop.subscribe()
    with misled(shop, "subscription-mgmt-webhook-handler-prod", STATE_MACHINE_ARN="arn:aws:states:us-west-2:1:x:y"):
        assert [shop.deliver(subscriber).status for _ in range(11)] == [500] * 11
        watch.comes_on("api-5xx-errors")
    assert shop.renew(subscriber).status == SUCCEEDED
    watch.goes_off("api-5xx-errors")


def test_the_customer_page_is_broken(shop: Shop, watch: Watch) -> None:
    """Eleven pages that fail, since the page finds no table, turn on the alarm of the page, until pages open again."""
    url = f"{shop.account_api}/account/link/nobody.made"
    with misled(shop, "subscription-mgmt-customer-page-prod", DYNAMODB_TABLE="gone"):
        assert [urllib3.request("GET", url).status for _ in range(11)] == [500] * 11
        watch.comes_on("account-5xx-errors")
    assert urllib3.request("GET", url).status == 404
    watch.goes_off("account-5xx-errors")


def test_somebody_tries_links_to_the_customer_page(shop: Shop, watch: Watch) -> None:
    """More than a hundred refused links within five minutes turn on an alarm, which goes off after the last."""
    url = f"{shop.account_api}/account/link/nobody.made"
    refused = 0
    while refused <= 100:
        refused += urllib3.request("GET", url).status == 404  # the stage may throttle some
    watch.comes_on("account-links-refused")
    watch.goes_off("account-links-refused")


def test_a_flood_at_the_customer_page_raises_an_alarm(shop: Shop, watch: Watch) -> None:
    """More than a thousand requests that the customer page's API refuses within five minutes raise an alarm, even if no
    request reaches the function."""
    url = f"{shop.account_api}/account/overview"
    with ThreadPoolExecutor(8) as pool:
        statuses = set(pool.map(lambda _: urllib3.request("PUT", url, timeout=30, retries=False).status, range(1010)))
    assert statuses <= {403, 429}
    watch.comes_on("account-4xx-errors")
    watch.goes_off("account-4xx-errors")


def test_many_addresses_are_typed_on_the_customer_page(shop: Shop, watch: Watch) -> None:
    """More than a hundred addresses typed within five minutes turn on an alarm, which goes off after the last. The
    source has reached its limit long before."""
    url, typed, statuses = f"{shop.account_api}/account/ask-for-link", 0, set[int]()
    headers = {"Sec-Fetch-Site": "same-origin", "Content-Type": "application/x-www-form-urlencoded"}
    while typed <= 100:
        page = urllib3.request("POST", url, headers=headers, body="address=nobody%40example.org", redirect=False)
        if page.headers["Content-Type"].startswith("text/html"):  # the stage may throttle some
            statuses.add(page.status)
            typed += 1
    assert 429 in statuses
    watch.comes_on("address-form-flood")
    watch.goes_off("address-form-flood")


def test_a_typed_address_that_cannot_be_handled(shop: Shop, watch: Watch) -> None:
    """A message that fails five times lies among the dead letters and turns on an alarm, until a person deletes the
    message."""
    queues = shop.stack.client("sqs")
    [queue] = queues.list_queues(QueueNamePrefix="subscription-mgmt-address-requests")["QueueUrls"]
    [dead] = queues.list_queues(QueueNamePrefix="subscription-mgmt-address-dead")["QueueUrls"]
    queues.send_message(QueueUrl=queue, MessageBody="{}")
    shop.retries_until(lambda: "address-dead-letters" in watch.on())
    queues.purge_queue(QueueUrl=dead)
    watch.goes_off("address-dead-letters")


def test_feedback_of_ses_that_cannot_be_recorded(shop: Shop, watch: Watch) -> None:
    """A message among the dead letters of SES's feedback turns on an alarm, until a person deletes the message. (The
    emulator drops an event that the function cannot handle: the message is put there by hand.)"""
    queues = shop.stack.client("sqs")
    [dead] = queues.list_queues(QueueNamePrefix="subscription-mgmt-mail-feedback-dead-letters")["QueueUrls"]
    queues.send_message(QueueUrl=dead, MessageBody="{}")
    watch.comes_on("mail-feedback-dead-letters")
    queues.purge_queue(QueueUrl=dead)
    watch.goes_off("mail-feedback-dead-letters")


def test_declarations_wait_for_a_person(shop: Shop, watch: Watch) -> None:
    """A cancellation on the public form that fits no subscription waits for a person: an alarm tells. More than fifty
    declarations within an hour turn on an alarm of their own."""
    table = shop.declarations
    _declare(table, 1)
    watch.comes_on("declarations-for-person")
    watch.goes_off("declarations-for-person")
    _declare(table, 51)
    watch.comes_on("many-declarations", "declarations-for-person")
    wait_until(lambda: all(each["state"] == DeclarationState.FOR_A_PERSON for each in table.scan()["Items"]))
    _forget(table)
    watch.goes_off("many-declarations", "declarations-for-person", after=61 * MINUTES)


def test_declarations_are_looked_at_late(shop: Shop, watch: Watch) -> None:
    """While the worker of declarations fails, an alarm tells of the errors. After 15 minutes a second alarm tells that
    the oldest declaration waits. Both go off once the worker has looked at the declaration."""
    table = shop.declarations
    with misled(shop, "subscription-mgmt-declaration-worker-prod", DECLARATIONS_TABLE="gone"):
        _declare(table, 1)
        watch.comes_on("declaration-errors")
        watch.time.for_alarms(16 * MINUTES)  # not earlier: the age counts from the first attempt
        watch.comes_on("declarations-late")
    wait_until(lambda: all(each["state"] == DeclarationState.FOR_A_PERSON for each in table.scan()["Items"]))
    _forget(table)
    watch.time.until_all_is_done(60)
    watch.goes_off("declarations-late", "declaration-errors", "declarations-for-person", after=2 * HOURS)


def _declare(table: Any, number: int) -> None:
    """Record declarations that fit no subscription, as the public form does."""
    said = Declaration(DeclarationKind.CANCELLATION, "Ann", "Pro", "nobody@example.org", Way.ORDINARY)
    with table.batch_writer() as batch:
        for _ in range(number):
            record = declarations.recorded(said, declarations.key_of(said, uuid.uuid4().hex), datetime.now(UTC))
            item = declarations.item_of(record)
            batch.put_item(Item=item | {"declared_at": record.declared_at.isoformat()})


def _forget(table: Any) -> None:
    for each in table.scan()["Items"]:
        table.delete_item(Key={"declaration": each["declaration"]})


def test_the_key_of_the_links_cannot_be_read(shop: Shop, watch: Watch) -> None:
    """A receipt goes out without the link to the customer page while the key of the links cannot be read, and an alarm
    comes on."""
    subscriber = shop.subscribe()
    with misled(shop, "subscription-mgmt-send-email-prod", ACCOUNT_LINK_KEY_ARN="gone"):
        assert shop.renew(subscriber).status == SUCCEEDED
        watch.comes_on("mails-without-link")
    assert is_done(shop, subscriber)
    watch.goes_off("mails-without-link")


def test_very_many_refusals_raise_an_alarm(watch: Watch) -> None:
    """More than a thousand unsigned requests within five minutes raise an alarm, which goes off after the requests
    stop."""
    url = f"{watch.shop.stack.outputs['LocalApiUrl']}/subscriptions"
    with ThreadPoolExecutor(8) as pool:
        statuses = set(pool.map(lambda _: urllib3.request("GET", url, timeout=30, retries=False).status, range(1010)))
    assert statuses == {403}
    watch.comes_on("api-4xx-errors")
    watch.goes_off("api-4xx-errors")


def test_every_alarm_was_seen_to_come_on_and_go_off(watch: Watch) -> None:
    """By CloudWatch's own history, every alarm came on and went off in this module, except the alarms that cannot
    happen here."""
    assert watch.names() >= NEVER_HERE | ELSEWHERE
    for name in sorted(watch.names() - NEVER_HERE - ELSEWHERE):
        changes = watch.changes(name)
        assert "ALARM" in changes, name
        assert "OK" in changes[changes.index("ALARM") :], name
