"""The logs of all tests on a stack, this module's included, have ids and outcomes and nothing private."""

import json
import time
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from botocore.credentials import Credentials

from local.signed import call as signed_call
from tests.integration.shop import FAILED, SUCCEEDED, Shop, Subscriber, today, wait_until
from tests.integration.stacks import LOGS, SHARES

CARDS = ("4242424242424242", "4000000000000341", "4000002760003184", "5555555555554444")
NAMED_NOWHERE_ELSE = "Wilhelmina Übergrößenträger"
PLANTED = ("planted.in.place.of@an-id.example", "Friedhelm Fehlplatziert")
WRONG_PLACES: list[dict[str, Any]] = [
    {"subscription_id": PLANTED[0]},
    {"customer_id": PLANTED[0]},
    {"status": PLANTED[0]},
    {"amount": PLANTED[1]},
    {"currency": PLANTED[1]},
    {"interval": PLANTED[1]},
]
MOST_EVENTS = 10_000
STEPS = ["accepted", "payment", "receipt", "mail"]
FUNCTIONS = """process-payment generate-receipt send-email webhook-handler subscriptions-api renewal-sweep
               renewal-worker renewal-audit customer-page declaration-worker gateway-events gateway-worker
               gateway-catch-up mail-feedback event-publisher event-deliverer address-worker receipt-links""".split()


@pytest.fixture(scope="module", params=[name for name, share in SHARES.items() if LOGS in share.files])
def share(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def logged(shop: Shop, since: int = 0, **groups: str) -> Iterator[str]:
    """Yield every event of every log group of the stack, or of the groups that DescribeLogGroups finds by `groups`.

    since: in milliseconds, the moment before which no event is read.
    """
    logs = shop.stack.client("logs")
    for found in logs.get_paginator("describe_log_groups").paginate(**groups):
        for name in [group["logGroupName"] for group in found["logGroups"]]:
            for page in logs.get_paginator("describe_log_streams").paginate(logGroupName=name):
                if streams := [stream["logStreamName"] for stream in page["logStreams"]]:
                    yield from _logged_in(logs, logGroupName=name, logStreamNames=streams, startTime=since)


def _logged_in(logs: Any, **asked: Any) -> Iterator[str]:
    """Yield the events of many streams in a single call, since every call of a function has a stream. The emulator
    returns only the first ten thousand events and would hide further events."""
    events = logs.filter_log_events(**asked)["events"]
    assert len(events) < MOST_EVENTS
    yield from (event["message"] for event in events)


def payloads(shop: Shop) -> Iterator[str]:
    """Yield input, output and history of every execution, which the workflow logs with its execution data."""
    for page in shop.workflows.get_paginator("list_executions").paginate(stateMachineArn=shop.workflow):
        for execution in page["executions"]:
            arn = execution["executionArn"]
            yield json.dumps(shop.workflows.describe_execution(executionArn=arn), default=str)
            yield json.dumps(shop.history(arn), default=str)


def test_nothing_private_is_logged(shop: Shop) -> None:
    """No log or payload has a name, address, card number, key or signing secret, whatever became of the renewals and
    wherever private data was misplaced."""
    good = shop.subscribe(name=NAMED_NOWHERE_ELSE)
    declined = shop.subscribe(name=NAMED_NOWHERE_ELSE, card="pm_card_chargeCustomerFail")
    unmailable = shop.subscribe(name=NAMED_NOWHERE_ELSE, customer_email=f"{NAMED_NOWHERE_ELSE}@")
    assert shop.renew(good).status == shop.renew(declined).status == SUCCEEDED
    assert shop.renew(unmailable).status == FAILED
    refuse_webhooks(shop, good)
    misuse_the_api(shop, good)
    refund_and_remind(shop, good)
    misplace(shop)
    fail_in_every_function(shop)
    shop.publish(shop.bounce_of(good, "receipt_1"))
    wait_until(lambda: shop.ledger(good)[0]["status"] == "mail_failed")
    before = bad_rows_told(shop)
    call(shop, shop.stack.outputs["SweepFunctionName"], {"sweep": "all"})
    for function in ("AuditFunctionName", "CatchUpFunctionName"):
        call(shop, shop.stack.outputs[function], {})
    shop.time.until_all_is_done(60)  # the sweep's parts
    assert bad_rows_told(shop) >= before + len(WRONG_PLACES)

    logs, executions = "\n".join(logged(shop)), "\n".join(payloads(shop))
    for subscriber in (good, declined, unmailable):
        assert subscriber.subscription_id in logs
        assert subscriber.subscription_id in executions
    private = {
        *shop.planted,
        *PLANTED,
        shop.stack.gateway_key,
        shop.secret.removeprefix("whsec_"),
        *CARDS,
    }
    for text in sorted(private):
        for written in {text, json.dumps(text)[1:-1]}:
            assert written not in logs, f"{text!r} is in a log"
            assert written not in executions, f"{text!r} is in a payload"


def test_a_renewal_is_followed_from_the_webhook_to_the_mail(shop: Shop) -> None:
    """The sender's webhook id finds every function's log line, and the lines have subscription, period and
    execution."""
    subscriber, webhook_id, since = shop.subscribe(), f"msg_{uuid.uuid4().hex}", int(1000 * time.time())
    body = subscriber.request()
    assert shop.post(body, shop.signed(body, message_id=webhook_id)).status == 202
    shop.ends(subscriber, 1)
    lines = [json.loads(line) for line in logged(shop, since) if line.startswith("{") and webhook_id in line]
    steps = {line["message"]: line for line in lines}
    assert sorted(steps) == sorted(STEPS)
    assert {line["execution"] for line in lines} == {shop.executions(subscriber.subscription_id)[0]["executionArn"]}
    assert {line["subscription_id"] for line in lines} == {subscriber.subscription_id}
    assert {steps[step]["renewal_date"] for step in STEPS[1:]} == {today().isoformat()}


def bad_rows_told(shop: Shop) -> int:
    group = "/aws/lambda/" + shop.stack.outputs["SweepFunctionName"]
    return sum(line.count('"bad row"') for line in logged(shop, logGroupNamePrefix=group))


def call(shop: Shop, function: str, event: Any) -> None:
    shop.functions.invoke(FunctionName=function, Payload=json.dumps(event))["Payload"].read()


def refuse_webhooks(shop: Shop, subscriber: Subscriber) -> None:
    """Send unsigned and malformed webhooks with private data in every field."""
    for changes in ({"amount": NAMED_NOWHERE_ELSE}, {"subscription_id": PLANTED[0]}, {"customer_id": PLANTED[0]}):
        body = subscriber.request(note=NAMED_NOWHERE_ELSE, **changes)
        assert shop.post(body, shop.signed(body)).status == 400
    headers = shop.signed(b"{}") | {"webhook-id": PLANTED[0]}
    assert shop.post(f"{NAMED_NOWHERE_ELSE}".encode(), headers).status == 401


def misuse_the_api(shop: Shop, subscriber: Subscriber) -> None:
    """Send requests with private data in the path, in the query, and in known and unknown fields."""
    path = f"/subscriptions/{subscriber.subscription_id}"
    private = {"plan": [PLANTED[0]], "amount": PLANTED[0], "customer_email": PLANTED[1], PLANTED[0]: PLANTED[0]}
    assert api(shop, "POST", "/subscriptions", private | {"card": CARDS[0]}) == 400
    assert api(shop, "PATCH", path, private) == 400
    assert api(shop, "GET", f"/subscriptions/{quote(PLANTED[0])}") == 400
    assert api(shop, "GET", f"/subscriptions?customer_id={quote(PLANTED[0])}") == 400
    assert api(shop, "GET", f"/receipts/{quote(PLANTED[0])}") == 404
    for each in ("", "/timeline", "/renewals", "/receipts", "/preview"):
        assert api(shop, "GET", f"{path}{each}") == 200
    assert api(shop, "POST", f"{path}/refund", {"renewal_date": PLANTED[0]}, key="a-key-of-these-tests") == 400


def api(shop: Shop, method: str, path: str, body: Any = None, key: str = "") -> int:
    headers = {"Idempotency-Key": key} if key else {}
    base, credentials = shop.stack.outputs["LocalApiUrl"], Credentials("test", "test")
    return signed_call(f"{base}{path}", method, credentials, body, headers).status


def refund_and_remind(shop: Shop, subscriber: Subscriber) -> None:
    """Refund a renewal with receipt and mail, and send a reminder of a yearly renewal."""
    before = len(shop.executions(subscriber.subscription_id))
    asked, key = {"renewal_date": today().isoformat()}, uuid.uuid4().hex
    assert api(shop, "POST", f"/subscriptions/{subscriber.subscription_id}/refund", asked, key=key) == 201
    shop.ends(subscriber, before + 1)
    day = (today() + timedelta(days=5)).isoformat()
    yearly = shop.subscribe(name=NAMED_NOWHERE_ELSE, renewal_date=day, interval="year")
    reminded = {"subscription_id": yearly.subscription_id, "customer_id": yearly.customer_id, "renewal_date": day}
    renewal = reminded | {"outcome": "remind", "reminders": ["upcoming"]}
    call(shop, "subscription-mgmt-send-email-prod", {"execution": "an execution of these tests", "renewal": renewal})
    assert shop.row(yearly)["reminder_upcoming"]["state"] == "sent"


def misplace(shop: Shop) -> None:
    """Write rows with private data in a wrong place: a key, a date, a status, an amount."""
    for wrong in WRONG_PLACES:
        subscriber = shop.subscribe(name=NAMED_NOWHERE_ELSE)
        shop.subscriptions.put_item(Item=shop.row(subscriber) | wrong)


def fail_in_every_function(shop: Shop) -> None:
    """Send every function an event with private data that no version of the workflow sends; every function fails and
    logs the failure."""
    for name in FUNCTIONS:
        work = {"subscription_id": PLANTED[0], "customer_id": PLANTED[1], "renewal_date": PLANTED[1], "amount": "1.00"}
        event: dict[str, Any] = {
            "execution": PLANTED[0],
            "request": work,
            "renewal": work | {"outcome": PLANTED[0], "attempt": 1},
        }
        event |= {"sweep": PLANTED[0], "from": PLANTED[0], "to": PLANTED[0], "httpMethod": "GET", "path": PLANTED[0]}
        record: dict[str, Any] = {
            "messageId": "m",
            "receiptHandle": "h",
            "body": PLANTED[0],
            "Sns": {"Message": PLANTED[0]},
        }
        event["Records"] = [record | {"attributes": {"ApproximateReceiveCount": "1"}}]
        call(shop, f"subscription-mgmt-{name}-prod", event)
