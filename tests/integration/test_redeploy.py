"""A second deployment during webhooks and a sweep: every function gets new code, and some get new settings."""

import json
import threading
from collections import Counter
from typing import Any

import pytest

from local.stack import STACK_NAME, Stack
from tests.integration.shop import Shop, Subscriber, assert_renewed_once, wait_until

SUBSCRIBERS, DUE_BY_THE_SWEEP = 24, 8
_BETWEEN_WEBHOOKS = 0.2
_MOST_SECONDS = 300


class _NextRelease(Stack):
    """The stack on the same port with a new build: every function has an additional file, and its code differs."""

    def _build(self) -> None:
        super()._build()
        for function in self.artifacts_folder.iterdir():
            if (function / "renewals").is_dir():
                (function / "next_release").touch()


class _Load(threading.Thread):
    """Posts webhook after webhook until told to stop. answers: the number of answers by status."""

    def __init__(self, shop: Shop, subscribers: list[Subscriber]) -> None:
        super().__init__(daemon=True)
        self.answers: Counter[int] = Counter()
        self.stopped = threading.Event()
        self._shop, self._subscribers = shop, subscribers

    def run(self) -> None:
        for n in range(int(_MOST_SECONDS / _BETWEEN_WEBHOOKS)):
            self.answers[self._shop.deliver(self._subscribers[n % len(self._subscribers)]).status] += 1
            if self.stopped.wait(_BETWEEN_WEBHOOKS):
                return


def _functions(stack: Stack) -> dict[str, tuple[str, Any]]:
    """Return every deployed function with its code's hash and its settings."""
    resources = stack.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=STACK_NAME)
    names = [
        each["PhysicalResourceId"]
        for page in resources
        for each in page["StackResourceSummaries"]
        if each["ResourceType"] == "AWS::Lambda::Function"
    ]
    found = {name: stack.client("lambda").get_function_configuration(FunctionName=name) for name in names}
    return {name: (each["CodeSha256"], each["Environment"]["Variables"]) for name, each in found.items()}


@pytest.mark.timeout(400)
def test_a_deployment_over_running_load_refuses_no_webhook_and_loses_no_renewal(shop: Shop) -> None:
    """Webhooks posted before, during and after the deployment are all answered 202. The renewals of the webhooks and of
    a concurrent sweep are charged, receipted and mailed once."""
    shop.nothing_is_due()
    stack, by_webhook = shop.stack, [shop.subscribe() for _ in range(SUBSCRIBERS)]
    before = _functions(stack)
    load = _Load(shop, by_webhook)
    load.start()
    wait_until(lambda: load.answers.total() > 2)
    by_sweep = [shop.subscribe() for _ in range(DUE_BY_THE_SWEEP)]
    sweep, event = stack.outputs["SweepFunctionName"], json.dumps({"sweep": "due"})
    shop.functions.invoke(FunctionName=sweep, InvocationType="Event", Payload=event)
    posted_before = load.answers.total()
    _NextRelease(stack.port, Environment="prod", SellerName="After Ltd", BusinessTimeZone="Etc/UTC").deploy()
    posted_during = load.answers.total() - posted_before
    wait_until(lambda: load.answers.total() > posted_before + posted_during + 2)
    load.stopped.set()
    load.join(timeout=60)

    after = _functions(stack)
    assert after.keys() == before.keys()
    assert all(after[name][0] != before[name][0] for name in before), "a function still has the old code"
    assert [name for name in before if after[name][1] != before[name][1]], "no function has new settings"
    assert load.answers == {202: load.answers.total()}
    assert posted_during > 20
    shop.functions.invoke(FunctionName=sweep, Payload=event)  # the next hourly sweep
    for subscriber in by_webhook + by_sweep:
        wait_until(lambda: [item["status"] for item in shop.ledger(subscriber)] == ["done"], seconds=60)  # noqa: B023
        assert_renewed_once(shop, subscriber)
