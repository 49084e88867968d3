"""What the stack logged during all of the tests before this one, and during these: ids and outcomes, nothing else."""

import json
from collections.abc import Iterator

from tests.integration.shop import FAILED, SUCCEEDED, Shop

CARDS = ("4242424242424242", "4000000000000341", "4000002760003184", "5555555555554444")
NAMED_NOWHERE_ELSE = "Wilhelmina Übergrößenträger"


def logged(shop: Shop) -> Iterator[str]:
    """Every event of every log group of the stack."""
    logs = shop.stack.client("logs")
    for group in logs.get_paginator("describe_log_groups").paginate():
        for name in [found["logGroupName"] for found in group["logGroups"]]:
            for page in logs.get_paginator("filter_log_events").paginate(logGroupName=name):
                yield from (event["message"] for event in page["events"])


def payloads(shop: Shop) -> Iterator[str]:
    """Input, output and history of every execution, which the workflow logs, execution data included."""
    for page in shop.workflows.get_paginator("list_executions").paginate(stateMachineArn=shop.workflow):
        for execution in page["executions"]:
            arn = execution["executionArn"]
            yield json.dumps(shop.workflows.describe_execution(executionArn=arn), default=str)
            yield json.dumps(shop.history(arn), default=str)


def test_nothing_private_is_logged(shop: Shop) -> None:
    """No name, address, card number, key or signing secret in any log or payload, whatever became of the renewal."""
    good = shop.subscribe(name=NAMED_NOWHERE_ELSE)
    declined = shop.subscribe(name=NAMED_NOWHERE_ELSE, card="pm_card_chargeCustomerFail")
    unmailable = shop.subscribe(name=NAMED_NOWHERE_ELSE, customer_email=f"{NAMED_NOWHERE_ELSE}@")
    assert shop.renew(good).status == shop.renew(declined).status == SUCCEEDED
    assert shop.renew(unmailable).status == FAILED
    body = good.request(note=NAMED_NOWHERE_ELSE, amount="nothing")
    assert shop.post(body, shop.signed(body)).status == 400

    logs, executions = "\n".join(logged(shop)), "\n".join(payloads(shop))
    for subscriber in (good, declined, unmailable):
        assert subscriber.subscription_id in logs
        assert subscriber.subscription_id in executions
    private = {
        *shop.planted,
        shop.stack.gateway_key,
        shop.secret.removeprefix("whsec_"),
        *CARDS,
    }
    for text in sorted(private):
        for written in {text, json.dumps(text)[1:-1]}:
            assert written not in logs, f"{text!r} is in a log"
            assert written not in executions, f"{text!r} is in a payload"
