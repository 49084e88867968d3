"""Requests of strangers to every public path, drawn by Schemathesis: no error of ours, and nothing kept of what was
refused."""

import base64
import json
import logging
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

import gateway_events.app
import receipt_links.app
import webhook_handler.app
from customer_page import app as customer_page
from renewals.runtime import aws
from tests.fakes import World
from tests.strangers import ASKED_WAYS, Oddity, event_of, examples, numbers, oddity, public_paths, public_ways, sent
from tests.visitor import Page, Visitor, visiting

SECRETS = {
    "webhook": {"signing": "whsec_" + base64.b64encode(b"w" * 32).decode()},
    "events": {"signing": "whsec_of_the_endpoint"},
}
SETTINGS = {
    "STATE_MACHINE_ARN": "workflow",
    "WEBHOOK_SECRET_ARN": "webhook",
    "GATEWAY_EVENTS_SECRET_ARN": "events",
    "GATEWAY_EVENTS_QUEUE_URL": "events",
    "DEPLOYMENT": "shop-prod",
    "S3_BUCKET": "receipts",
    "PROJECT_NAME": "shop",
    "GRACE_DAYS": "7",
    "CANCELLATION_FORM": "on",
    "WITHDRAWAL_FORM": "on",
}
HANDLERS: dict[str, Callable[[dict[str, Any], Any], dict[str, Any]]] = {
    "/webhook": webhook_handler.app.handler,
    "/gateway-events": gateway_events.app.handler,
    "/receipts/{token+}": receipt_links.app.handler,
    "/account": customer_page.handler,
    "/account/{path+}": customer_page.handler,
}


class Deployment(Visitor):
    """The functions behind the public paths, over a shop with one subscription. started: executions of the workflow.
    hints: messages on the queue of the gateway's events."""

    def __init__(self, shop: World) -> None:
        super().__init__(shop)
        self.started: list[Any] = []
        self.hints: list[Any] = []

    def get_secret_value(self, **q: Any) -> dict[str, str]:
        told = SECRETS.get(q["SecretId"])
        return {"SecretString": json.dumps(told)} if told else super().get_secret_value(**q)

    def start_execution(self, **q: Any) -> dict[str, str]:
        self.started.append(q)
        return {"executionArn": "execution"}

    def send_message(self, **q: Any) -> None:
        self.hints.append(q)

    def kept(self) -> dict[str, Any]:
        """Return everything that was kept. The counters of the sources are no data of a request."""
        tables = ("subscriptions", "renewals", "changes", "declarations")
        kept = {table: sorted(map(repr, self.shop.dynamodb.items(table).items())) for table in tables}
        messages = {"queued": [*self.queued], "typed": [*self.typed], "hints": [*self.hints]}
        return kept | messages | {"started": [*self.started], "objects": sorted(self.shop.s3.objects)}

    def forget(self) -> None:
        """Forget what an accepted form has left."""
        for table in ("declarations", "counters"):
            self.shop.dynamodb.items(table).clear()
        self.typed.clear()

    def answer(self, case: Any, odd: Oddity) -> int:
        """Pass a request on to its function, and return the status of the answer, which has the headers and the form of
        all answers."""
        request = sent(case, odd)
        _, template = request.way
        reply = HANDLERS[template](event_of(request, odd), SimpleNamespace(aws_request_id="1"))
        json.dumps(reply)
        if template.startswith("/account"):
            return Page(reply).status
        headers = {name: [value] for name, value in reply.get("headers", {}).items()} | reply.get(
            "multiValueHeaders", {}
        )
        assert (headers["Cache-Control"], headers["X-Content-Type-Options"]) == (["no-store"], ["nosniff"])
        assert isinstance(reply["body"], str)
        status: int = reply["statusCode"]
        return status


@pytest.fixture(scope="module")
def deployment() -> Iterator[Deployment]:
    """A deployment with one subscription, without log lines."""
    shop = World()
    shop.subscribe(renewal_date="2026-02-28")
    receipt_caches = (receipt_links.app._link_key, receipt_links.app._ledger)
    caches = (webhook_handler.app._secret, gateway_events.app._secret, *receipt_caches)
    logging.disable(logging.CRITICAL)
    with visiting(shop, Deployment) as made, pytest.MonkeyPatch.context() as patch:
        for name, value in SETTINGS.items():
            patch.setenv(name, value)
        patch.setattr(aws, "step_functions", lambda: made)
        patch.setattr(aws, "s3", lambda: shop.s3)
        for each in caches:
            each.cache_clear()
        assert isinstance(made, Deployment)
        yield made
    for each in caches:
        each.cache_clear()
    logging.disable(logging.NOTSET)


def test_no_public_path_is_forgotten() -> None:
    """Each path that the template opens without a signature of AWS gets the requests of the tests below, and those of
    the tests on the local stack."""
    ways = public_ways()
    assert ways == ASKED_WAYS
    assert {path for _, path in ways} == HANDLERS.keys()


def ask(case: Any, odd: Oddity, deployment: Deployment) -> None:
    before = deployment.kept()
    status = deployment.answer(case, odd)
    assert status < 500, odd
    after = deployment.kept()
    if status < 400:
        assert before | {name: after[name] for name in ("declarations", "typed")} == after, odd
        deployment.forget()
    else:
        assert after == before, odd


@public_paths.given(number=numbers)
@public_paths.parametrize()
@examples(4)
def test_no_request_of_a_stranger_is_an_error_of_ours(case: Any, number: int, deployment: Deployment) -> None:
    """Whatever a stranger sends to a public path, the answer is below 500. A refused request leaves no row, no message
    and no execution. An accepted request, as of a typed address, leaves its own record or message and nothing else."""
    ask(case, oddity(case, number), deployment)


@pytest.mark.proof
@public_paths.given(number=numbers)
@public_paths.parametrize()
@examples(100)
def test_none_of_very_many_requests_is_an_error_of_ours(case: Any, number: int, deployment: Deployment) -> None:
    """The same holds for thousands of requests."""
    ask(case, oddity(case, number), deployment)
