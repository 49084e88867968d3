"""The gateway's door on the deployed stack: signed events of the sandbox gateway come in by HTTP, and are acted on."""

import json
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
import stripe
import urllib3

from local.gateway import official_client
from tests.integration.shop import SUCCEEDED, Shop, Subscriber, assert_renewed_once, assert_untouched, today, wait_until

WANTS_3DS = "pm_card_authenticationRequired"
SECONDS = 5
"""How soon a payment that was confirmed at the bank's page is receipted and mailed."""


@pytest.fixture(scope="module")
def secret(shop: Shop) -> Iterator[str]:
    """The endpoint's secret, in the stack's secret and at the sandbox gateway, which sends its events in order."""
    made = f"whsec_{secrets.token_hex(16)}"
    shop.planted.add(made)
    arn = shop.stack.outputs["GatewayEventsSecretArn"]
    shop.secrets.put_secret_value(SecretId=arn, SecretString=json.dumps({"signing": made}))
    _start_afresh(shop)
    shop.sandbox.send_events(_url(shop), made)
    yield made
    shop.sandbox.send_no_events()
    shop.secrets.put_secret_value(SecretId=arn, SecretString='{"signing":""}')
    _start_afresh(shop)


def _start_afresh(shop: Shop) -> None:
    """End the warm processes of the function, as a deployment does: a warm process reads the secret at most once a
    minute."""
    name = "subscription-mgmt-gateway-events-prod"
    timeout = shop.functions.get_function_configuration(FunctionName=name)["Timeout"]
    shop.functions.update_function_configuration(FunctionName=name, Timeout=timeout)


def _url(shop: Shop) -> str:
    return f"{shop.stack.outputs['LocalApiUrl']}/gateway-events"


def _post(shop: Shop, event: object, secret: str) -> int:
    body = json.dumps(event)
    headers = {"Stripe-Signature": stripe.WebhookSignature.generate_signature_header(body, secret)}
    return urllib3.request("POST", _url(shop), body=body, headers=headers, timeout=30, retries=False).status


def _waits_for_the_bank(shop: Shop) -> tuple[Subscriber, str]:
    """Return a subscriber whose payment waits for a confirmation, and the payment's id."""
    subscriber = shop.subscribe(card=WANTS_3DS)
    assert shop.renew(subscriber).state == "PaymentDeclined"
    [item] = shop.ledger(subscriber)
    return subscriber, str(item["payment_id"])


@pytest.mark.usefixtures("secret")
def test_a_payment_confirmed_at_the_bank_is_receipted_and_mailed_within_seconds(shop: Shop) -> None:
    """The customer confirms the payment at the bank's page, and nobody sends a webhook: the gateway's event leads to
    the receipt and its mail within five seconds, once."""
    warm, payment = _waits_for_the_bank(shop)
    shop.sandbox.authenticate(payment)
    wait_until(lambda: shop.ledger(warm)[0]["status"] == "done")  # starts the functions' processes
    subscriber, payment = _waits_for_the_bank(shop)
    begun = time.monotonic()
    shop.sandbox.authenticate(payment)
    wait_until(lambda: shop.ledger(subscriber)[0]["status"] == "done", seconds=SECONDS)
    assert time.monotonic() - begun < SECONDS
    assert_renewed_once(shop, subscriber, mails=2)


def test_an_event_is_let_in_by_its_signature_alone(shop: Shop, secret: str) -> None:
    """On the deployed stack an event with a wrong signature is refused, an event of a different kind is acknowledged,
    and a body larger than 512 KiB is refused."""
    event: dict[str, Any] = {"id": "evt_x", "object": "event", "type": "invoice.paid", "livemode": False, "created": 1}
    assert _post(shop, event, secret) == 200
    assert _post(shop, event, "whsec_of_a_stranger") == 400
    assert _post(shop, event | {"data": "x" * 512 * 1024}, secret) == 413


def test_a_lying_event_charges_nobody(shop: Shop, secret: str) -> None:
    """A stolen secret signs events that lie: a payment that the gateway does not call paid stays unpaid, and a period
    that is not claimed is not charged."""
    subscriber, payment = _waits_for_the_bank(shop)
    nobody = shop.subscribe()
    [item] = shop.ledger(subscriber)
    for named, period in ((subscriber, item["renewal_date"]), (nobody, shop.row(nobody)["renewal_date"])):
        about = {"id": payment, "metadata": {"subscription_id": named.subscription_id, "renewal_date": period}}
        event = {"id": f"evt_{named.subscription_id}", "object": "event", "type": "payment_intent.succeeded"}
        assert _post(shop, event | {"livemode": False, "created": 1, "data": {"object": about}}, secret) == 200
    queue = shop.stack.outputs["GatewayEventsQueueUrl"]
    wait_until(lambda: _waiting(shop, queue) == 0, seconds=90)  # an event that met a lease comes back after the lease
    assert shop.ledger(subscriber)[0]["status"] == "action_required"
    assert shop.charges(subscriber, status="succeeded") == []
    assert_untouched(shop, nobody)


def _waiting(shop: Shop, queue: str) -> int:
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = shop.stack.client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=names)["Attributes"]
    return sum(int(each) for each in found.values())


def test_each_renewal_tells_the_door_and_changes_nothing(shop: Shop, secret: str) -> None:
    """A renewal causes an event of its own, which arrives while the workflow still runs, or afterwards: the customer is
    charged and mailed once."""
    subscriber = shop.subscribe()
    assert shop.renew(subscriber).status == SUCCEEDED
    wait_until(lambda: _waiting(shop, shop.stack.outputs["GatewayEventsQueueUrl"]) == 0, seconds=90)
    assert_renewed_once(shop, subscriber)
    assert secret


@pytest.mark.usefixtures("secret")
def test_a_refund_in_the_dashboard_and_its_failure_are_told_within_seconds(shop: Shop) -> None:
    """Somebody refunds a part of a payment in the gateway's dashboard, and the refund fails later: each is recorded,
    and mailed to the customer once, without the sweep and the audit."""
    subscriber = shop.subscribe()
    assert shop.renew(subscriber).status == SUCCEEDED
    [item] = shop.ledger(subscriber)
    made = shop.sandbox.refund_in_dashboard(str(item["payment_id"]), 500)
    wait_until(lambda: "Refund for" in str(shop.mails(subscriber)[-1]["Subject"]))
    [refund] = shop.ledger(subscriber)[0]["refunds"].values()
    assert (refund["refund_id"], refund["state"], refund["by"]) == (made["id"], "refunded", "the gateway")
    shop.sandbox.settle_refund(made["id"], "failed")
    wait_until(lambda: "did not arrive" in str(shop.mails(subscriber)[-1]["Subject"]))
    wait_until(lambda: _waiting(shop, shop.stack.outputs["GatewayEventsQueueUrl"]) == 0, seconds=90)
    assert [each["state"] for each in shop.ledger(subscriber)[0]["refunds"].values()] == ["failed"]
    assert len(shop.mails(subscriber)) == 3


@contextmanager
def _partner_bus(shop: Shop) -> Iterator[str]:
    """Make what the parameter GatewayEventBusName makes: a rule on a bus with a partner's name, with the queue as its
    target, and the queue's permission for the rule. Return the name of the bus."""
    events, sqs, outputs = shop.stack.client("events"), shop.stack.client("sqs"), shop.stack.outputs
    bus, queue = "aws.partner/stripe.com/ed_of_the_tests", outputs["GatewayEventsQueueUrl"]
    before = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["Policy", "QueueArn"])["Attributes"]
    events.create_event_bus(Name=bus)
    pattern = json.dumps({"source": [{"prefix": "aws.partner/stripe.com/"}]})
    rule = events.put_rule(Name="stripe", EventBusName=bus, EventPattern=pattern)["RuleArn"]
    events.put_targets(Rule="stripe", EventBusName=bus, Targets=[{"Id": "queue", "Arn": before["QueueArn"]}])
    admitted = {
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": before["QueueArn"],
        "Condition": {"ArnEquals": {"aws:SourceArn": rule}},
    }
    policy = json.loads(before["Policy"])
    policy["Statement"].append(admitted)
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": json.dumps(policy)})
    try:
        yield bus
    finally:
        sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": before["Policy"]})
        events.remove_targets(Rule="stripe", EventBusName=bus, Ids=["queue"])
        events.delete_rule(Name="stripe", EventBusName=bus)
        events.delete_event_bus(Name=bus)


def test_an_event_by_eventbridge_is_acted_on(shop: Shop) -> None:
    """The events of a payment that was confirmed at the bank's page arrive on a partner event bus, and not at the
    endpoint: the rule puts the events on the queue, and the renewal ends with its receipt, once. Nobody but the partner
    can put such an event on the bus."""
    shop.sandbox.send_no_events()
    subscriber, payment = _waits_for_the_bank(shop)
    shop.sandbox.authenticate(payment)
    v1 = official_client(shop.stack.gateway_url, shop.stack.gateway_key).v1
    listed = [each.to_dict() for each in v1.events.list({"limit": 20}).data]
    told = [each for each in listed if each["data"]["object"].get("id") == payment]
    assert "payment_intent.succeeded" in [each["type"] for each in told]
    with _partner_bus(shop) as bus:
        entries = [{"Source": bus, "DetailType": each["type"], "Detail": json.dumps(each)} for each in told]
        events = shop.stack.client("events")
        forged = events.put_events(Entries=[each | {"EventBusName": bus} for each in entries])
        assert forged["FailedEntryCount"] == len(entries)
        assert events.put_partner_events(Entries=entries)["FailedEntryCount"] == 0
        wait_until(lambda: shop.ledger(subscriber)[0]["status"] == "done", seconds=30)
    wait_until(lambda: _waiting(shop, shop.stack.outputs["GatewayEventsQueueUrl"]) == 0, seconds=30)
    assert_renewed_once(shop, subscriber, mails=2)
    assert _waiting(shop, shop.stack.outputs["GatewayDeadLetterQueueUrl"]) == 0


def test_a_lost_event_is_found_at_night(shop: Shop, secret: str) -> None:
    """The event of a payment that was confirmed at the bank's page is never delivered. The nightly catch-up finds the
    event, and the renewal ends with its receipt. The next catch-up finds nothing more to do."""
    shop.sandbox.send_events(_url(shop), secret, "never")
    subscriber, payment = _waits_for_the_bank(shop)
    shop.sandbox.authenticate(payment)
    for _ in range(2):
        name = shop.stack.outputs["CatchUpFunctionName"]
        reply = json.loads(shop.functions.invoke(FunctionName=name, Payload="{}")["Payload"].read())
        assert reply["finished"]
        assert reply["found"] >= 1
        wait_until(lambda: shop.ledger(subscriber)[0]["status"] == "done")
    wait_until(lambda: _waiting(shop, shop.stack.outputs["GatewayEventsQueueUrl"]) == 0, seconds=30)
    assert_renewed_once(shop, subscriber, mails=2)
    shop.sandbox.send_events(_url(shop), secret)


@pytest.mark.usefixtures("secret")
def test_a_customer_whose_card_was_detached_is_asked_within_seconds(shop: Shop) -> None:
    """A card is detached at the gateway three days before the renewal: the customer is asked for a new card, and
    nothing is charged."""
    subscriber = shop.subscribe(renewal_date=(today() + timedelta(days=3)).isoformat())
    shop.detach_card(subscriber)
    wait_until(lambda: shop.mails(subscriber))
    [mail] = shop.mails(subscriber)
    assert str(mail["Subject"]).startswith("Please update your card for Pro before")
    assert shop.charges(subscriber) == []


def test_events_that_fail_raise_an_alarm_until_they_are_brought_back(shop: Shop) -> None:
    """A message that is no event ends in the dead-letter queue, and the alarm comes on. When the queue is empty again,
    the alarm goes off."""
    sqs, outputs = shop.stack.client("sqs"), shop.stack.outputs
    sqs.send_message(QueueUrl=outputs["GatewayEventsQueueUrl"], MessageBody="nonsense")
    dead = outputs["GatewayDeadLetterQueueUrl"]
    wait_until(lambda: _waiting(shop, dead) == 1, seconds=60)
    wait_until(lambda: _alarm(shop) == "ALARM")
    sqs.purge_queue(QueueUrl=dead)
    shop.time.for_alarms(300)
    wait_until(lambda: _alarm(shop) == "OK")


@pytest.mark.usefixtures("secret")
def test_a_dispute_ends_the_subscription_and_raises_an_alarm(shop: Shop) -> None:
    """A customer disputes a payment at the bank: the dispute is recorded with its period, the subscription ends with
    the paid period, the customer is told of the end once, and the alarm comes on until five minutes pass without a
    dispute. A fraud warning ends nothing."""
    subscriber, warned = shop.subscribe(), shop.subscribe()
    for each in (subscriber, warned):
        assert shop.renew(each).status == SUCCEEDED
    shop.sandbox.warn(shop.ledger(warned)[0]["payment_id"])
    wait_until(lambda: "disputes" in shop.ledger(warned)[0])
    wait_until(lambda: _alarm(shop, "disputes") == "ALARM")
    shop.time.for_alarms(300)
    wait_until(lambda: _alarm(shop, "disputes") == "OK")
    dispute = shop.sandbox.dispute(shop.ledger(subscriber)[0]["payment_id"], "subscription_canceled")["id"]
    wait_until(lambda: "withdrawn" in _steps(shop, subscriber, dispute)[-1])
    assert shop.row(subscriber)["cancel_at"] == shop.row(subscriber)["renewal_date"]
    assert "cancel_at" not in shop.row(warned)
    wait_until(lambda: _alarm(shop, "disputes") == "ALARM")
    shop.sandbox.change_dispute(dispute, "won")
    wait_until(lambda: "reinstated" in _steps(shop, subscriber, dispute)[-1])
    assert [each["status"] for each in _steps(shop, subscriber, dispute)][-1] == "won"
    wait_until(lambda: len(shop.mails(subscriber)) > 1)
    assert_renewed_once(shop, subscriber, mails=2)
    assert str(shop.mails(subscriber)[1]["Subject"]).startswith("The end of your subscription to ")


def _steps(shop: Shop, subscriber: Subscriber, dispute: str) -> list[dict[str, Any]]:
    known: dict[str, Any] = shop.ledger(subscriber)[0].get("disputes", {})
    found: list[dict[str, Any]] = known.get(dispute, {}).get("steps", [{}])
    return found


def _alarm(shop: Shop, name: str = "gateway-dead-letters") -> str:
    names = [f"subscription-mgmt-{name}-prod"]
    [found] = shop.stack.client("cloudwatch").describe_alarms(AlarmNames=names)["MetricAlarms"]
    return str(found["StateValue"])
