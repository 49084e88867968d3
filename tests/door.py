"""The gateway's door over the in-memory world: signed events come in, or are found at night, wait in a queue, and are
acted on."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import ceil
from types import SimpleNamespace
from typing import Any

import pytest
import stripe

import gateway_catch_up.app
import gateway_events.app
import gateway_worker.app
import gateway_worker.mode
from renewals.gateway import access as gateway_access
from renewals.ledger.register import Register
from renewals.runtime import aws
from tests import workflow
from tests.cuts import Cut
from tests.fake_aws import FakeSQS, error
from tests.fake_gateway import FakeGateway
from tests.fakes import FUNCTIONS, NOON, World

SECRET = "whsec_of_the_endpoint"

type Order = Callable[[list[Any]], list[Any]]


def in_order(events: list[Any]) -> list[Any]:
    return events


def doubled(events: list[Any]) -> list[Any]:
    return [each for event in events for each in (event, event)]


def backwards(events: list[Any]) -> list[Any]:
    return events[::-1]


_ROUNDS = 60
_LOOK = timedelta(seconds=30)


@dataclass
class Door:
    """The functions of the door, over the world's tables and gateway.

    now: the clock of the world, the gateway and the queue. secrets: the values in Secrets Manager, by ARN. ran: the
    requests for which the workflow ran, each with its final state. handed_on: the events of the catch-up's further runs
    that Lambda has taken and not yet started.
    """

    world: World
    now: datetime = NOON
    queue: FakeSQS = field(default_factory=FakeSQS)
    secrets: dict[str, dict[str, str]] = field(default_factory=dict)
    ran: list[tuple[dict[str, Any], str]] = field(default_factory=list)
    _is_deployed: bool = False
    handed_on: list[dict[str, Any]] = field(default_factory=list)
    trouble: list[str] = field(default_factory=list)  # statuses of the next executions, instead of a run
    disputed: str = "cancel"  # the parameter DisputedSubscriptions
    no_gateway: bool = False  # whether the catch-up cannot read the gateway's key
    store_falters: bool = False  # whether Secrets Manager refuses every call

    def __post_init__(self) -> None:
        self.secrets |= {
            "events": {"signing": SECRET},
            "gateway": {"api_key": "sk_test_1", "endpoint": "https://gateway"},
        }

    @property
    def register(self) -> Register:
        client: Any = self.world.dynamodb
        return Register(client, subscriptions="subscriptions", renewals="renewals", changes="changes")

    def post(self, event: object, *, secret: str = SECRET, **changes: Any) -> int:
        """Post a signed event, and return the status of the answer. changes: parts of the request to replace."""
        body = event if isinstance(event, str) else json.dumps(event)
        header = stripe.WebhookSignature.generate_signature_header(body, secret)
        request = {"body": body, "headers": {"Stripe-Signature": header}, "isBase64Encoded": False} | changes
        with self.deployed():
            reply: dict[str, Any] = gateway_events.app.handler(request, None)
        assert reply["body"].count("ann@") == 0
        if isinstance(event, dict) and reply["statusCode"] == 200:
            event["pending_webhooks"] = 0  # the gateway counts the event as delivered
        return int(reply["statusCode"])

    def seconds_left(self) -> float:
        """Return the time left for a run of the catch-up or of the worker."""
        return 900

    def pause(self, seconds: float) -> None:
        """Let a pause of the catch-up pass. Nobody works on the queue meanwhile."""

    def catch_up(self, event: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """Run the nightly catch-up with all further runs, and return the replies."""
        self.handed_on = [event or {}]
        replies = []
        context = SimpleNamespace(get_remaining_time_in_millis=lambda: 1000 * self.seconds_left())
        while self.handed_on:
            with self.deployed():
                replies.append(gateway_catch_up.app.handler(self.handed_on.pop(), context))
        return replies

    def invoke(self, **q: Any) -> None:
        """Take an event for a further run of a function, in the place of Lambda."""
        assert (q["FunctionName"], q["InvocationType"]) == ("catch-up", "Event")
        with self.world.cuts.around("lambda.Invoke"):
            self.handed_on.append(json.loads(q["Payload"]))

    def work(self) -> None:
        """Act on the events in the queue as the worker does, message by message, until no message is visible."""
        for _ in range(_ROUNDS * (self.queue.waiting + 1)):
            received = self.queue.receive_message().get("Messages")
            if not received:
                return
            self._act_on(received[0])
        raise AssertionError("the queue never becomes empty")

    def later(self, time: timedelta) -> None:
        """Let time pass, and act on the events that become visible. The worker looks at the queue every 30 seconds; a
        look that would find no event is left out."""
        end = self.now + time
        while self.now < end:
            seconds = min(self.queue.soonest - self._seconds, (end - self.now).total_seconds())
            looks = max(1, ceil(seconds / _LOOK.total_seconds()))
            self.now = self.world.gateway.now = min(end, self.now + looks * _LOOK)
            self.queue.move_clock(self._seconds)
            self.work()

    @property
    def _seconds(self) -> float:
        """The clock of the queue."""
        return (self.now - NOON).total_seconds()

    def _act_on(self, message: dict[str, Any]) -> None:
        context = SimpleNamespace(get_remaining_time_in_millis=lambda: 1000 * self.seconds_left())
        with self.deployed():
            reply: dict[str, Any] = gateway_worker.app.handler({"Records": [record_of(message)]}, context)
        if not reply["batchItemFailures"]:
            self.queue.delete_message(ReceiptHandle=message["ReceiptHandle"])

    def start_sync_execution(self, **q: Any) -> dict[str, Any]:
        """Run the workflow, in the place of Step Functions."""
        if self.trouble:
            return {"executionArn": "arn", "status": self.trouble.pop(0)}
        request, name = json.loads(q["input"]), f"event-{len(self.ran)}"
        try:
            state, output = workflow.RENEWAL.ended(request, name, FUNCTIONS, 1)
        except Cut:
            state, output = "cut", {}
        self.ran.append((request, state))
        if state not in ("Success", "PaymentDeclined"):
            return {"executionArn": name, "status": "FAILED"}
        return {"executionArn": name, "status": "SUCCEEDED", "output": json.dumps(output)}

    def _get_secret_value(self, SecretId: str) -> dict[str, str]:  # noqa: N803  (boto3's name)
        if self.store_falters:
            raise error("ThrottlingException", "GetSecretValue")
        return {"SecretString": json.dumps(self.secrets[SecretId])}

    def _gateway(self, *_: object) -> FakeGateway:
        if self.no_gateway:
            raise error("ThrottlingException", "GetSecretValue")
        return self.world.gateway

    @contextmanager
    def deployed(self) -> Iterator[None]:
        """Put the world, the queue and the secrets behind the functions' clients, for one call or for many."""
        if self._is_deployed:
            yield
            return
        self.world.gateway.now = self.now
        settings = {
            "ENVIRONMENT": self.world.environment,
            "DEPLOYMENT": self.world.deployment,
            "GATEWAY_EVENTS_QUEUE_URL": "queue",
            "GATEWAY_EVENTS_SECRET_ARN": "events",
            "SECRETS_MANAGER_ARN": "gateway",
            "STATE_MACHINE_ARN": "workflow",
            "DISPUTED_SUBSCRIPTIONS": self.disputed,
            "REMINDER_DAYS": "7",
            "REMINDED_PERIOD_DAYS": "32",
            "S3_BUCKET": "receipts",
            "AWS_LAMBDA_FUNCTION_NAME": "catch-up",
        }
        secrets = SimpleNamespace(get_secret_value=self._get_secret_value)
        with self.world.deployed(self.now), pytest.MonkeyPatch.context() as patch:
            patch.setattr(aws, "sqs", lambda: self.queue)
            patch.setattr(aws, "secrets_manager", lambda: secrets)
            patch.setattr(aws, "synchronous_workflows", lambda: self)
            patch.setattr(aws, "functions", lambda: self)
            patch.setattr(gateway_access, "current_gateway", self._gateway)
            patch.setattr(gateway_worker.app, "_register", lambda: self.register)
            patch.setattr(gateway_catch_up.app, "sleep", self.pause)
            for module in (gateway_events.app, gateway_worker.app, gateway_worker.mode, gateway_catch_up.app):
                patch.setattr(module, "setting", settings.__getitem__)
            self._is_deployed = True
            try:
                yield
            finally:
                self._is_deployed = False


def record_of(message: dict[str, Any]) -> dict[str, Any]:
    """Return a received message in the form in which Lambda hands messages to a function."""
    names = {"messageId": "MessageId", "receiptHandle": "ReceiptHandle", "body": "Body", "attributes": "Attributes"}
    return {name: message[theirs] for name, theirs in names.items()}


def forget_secrets() -> None:
    """Let the functions' processes start anew, so that each test reads its own secrets."""
    gateway_events.app._secret.cache_clear()
    gateway_worker.mode._mode.cache_clear()
