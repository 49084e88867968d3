"""The application hears on the bus what the deployed stack records."""

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from standardwebhooks import Webhook

from tests.integration.shop import SUCCEEDED, Shop, wait_until
from tests.integration.test_alarms import misled
from tests.integration.test_permissions import Deployed, Grant
from tests.shares import share

SOON = 20.0
ACTIONS = ("DescribeStream", "GetRecords", "GetShardIterator", "ListStreams")

type Json = dict[str, Any]


class Listener:
    """A queue that a rule of the bus sends every event to."""

    def __init__(self, shop: Shop) -> None:
        self._sqs, events = shop.stack.client("sqs"), shop.stack.client("events")
        name, bus = f"heard-{uuid.uuid4().hex[:8]}", shop.stack.outputs["EventBusName"]
        self._url = self._sqs.create_queue(QueueName=name)["QueueUrl"]
        arn = self._sqs.get_queue_attributes(QueueUrl=self._url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        pattern = json.dumps({"source": ["subscription-renewals"]})
        rule = events.put_rule(Name=name, EventBusName=bus, EventPattern=pattern)["RuleArn"]
        admits = {"Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"}, "Action": "sqs:SendMessage"}
        admits |= {"Resource": arn, "Condition": {"ArnEquals": {"aws:SourceArn": rule}}}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [admits]})
        self._sqs.set_queue_attributes(QueueUrl=self._url, Attributes={"Policy": policy})
        events.put_targets(Rule=name, EventBusName=bus, Targets=[{"Id": "queue", "Arn": arn}])
        self._events, self._rule, self._bus = events, name, bus
        self.heard: list[Json] = []

    def close(self) -> None:
        self._events.remove_targets(Rule=self._rule, EventBusName=self._bus, Ids=["queue"])
        self._events.delete_rule(Name=self._rule, EventBusName=self._bus)
        self._sqs.delete_queue(QueueUrl=self._url)

    def until(self, happens: Callable[[], bool], seconds: float = SOON) -> bool:
        """Listen until it happens, and return whether it did within the seconds."""
        deadline = time.monotonic() + seconds
        while not happens() and time.monotonic() < deadline:
            answer = self._sqs.receive_message(QueueUrl=self._url, MaxNumberOfMessages=10, WaitTimeSeconds=1)
            for message in answer.get("Messages", []):
                self.heard.append(json.loads(message["Body"]))
                self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"])
        return happens()

    def of(self, subscription_id: str) -> list[Json]:
        return [each["detail"] for each in self.heard if each["detail"]["subscription_id"] == subscription_id]


@pytest.fixture
def listener(shop: Shop) -> Iterator[Listener]:
    made = Listener(shop)
    yield made
    made.close()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("renewals", share([20, 300], of=2))
def test_many_renewals_are_heard_once_each(shop: Shop, listener: Listener, renewals: int) -> None:
    """Twenty subscriptions (three hundred in `make proof`) are created by hand and renewed: the application hears each
    creation and each payment, each under one id, and no second fact about any."""
    subscribers = [shop.subscribe() for _ in range(renewals)]
    with ThreadPoolExecutor(4) as pool:
        assert {end.status for end in pool.map(shop.renew, subscribers)} == {SUCCEEDED}
    ids = [each.subscription_id for each in subscribers]
    assert listener.until(lambda: all(len({e["id"] for e in listener.of(each)}) >= 2 for each in ids), seconds=120)
    for each in ids:
        told = {(event["id"], event["type"]) for event in listener.of(each)}
        assert sorted(type_ for _, type_ in told) == ["renewal.paid", "subscription.created"]
    assert {each["detail-type"] for each in listener.heard} >= {"renewal.paid", "subscription.created"}


class _App(BaseHTTPRequestHandler):
    """The application: checks the signature, and fails the first request about each event."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        event = self.server.webhook.verify(body, dict(self.headers.items()))  # type: ignore[attr-defined]
        heard = self.server.heard  # type: ignore[attr-defined]
        heard.append(event)
        self.send_response(500 if len([each for each in heard if each["id"] == event["id"]]) == 1 else 204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Write nothing."""


def test_an_application_hears_each_event_again_until_it_answers(shop: Shop) -> None:
    """Events are posted to the application's address, signed; an event that the application refuses comes again after
    five seconds."""
    secret = shop.secrets.get_secret_value(SecretId=shop.stack.outputs["EventsSecretArn"])["SecretString"]
    server = ThreadingHTTPServer(("127.0.0.1", 0), _App)
    server.heard, server.webhook = [], Webhook(json.loads(secret)["signing"])  # type: ignore[attr-defined]
    heard: list[Json] = server.heard  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = shop.stack.client("sqs").get_queue_url(QueueName="subscription-mgmt-events-to-deliver-prod")["QueueUrl"]
    with (
        misled(shop, "subscription-mgmt-event-publisher-prod", DELIVERIES_QUEUE_URL=url),
        misled(
            shop, "subscription-mgmt-event-deliverer-prod", EVENTS_URL=f"http://127.0.0.1:{server.server_port}/events"
        ),
    ):
        subscribers = [shop.subscribe() for _ in range(3)]
        assert {shop.renew(each).status for each in subscribers} == {SUCCEEDED}
        ids = {each.subscription_id for each in subscribers}

        def is_heard_twice() -> bool:
            paid = [each["subscription_id"] for each in heard if each["type"] == "renewal.paid"]
            return all(paid.count(each) >= 2 for each in ids)

        wait_until(is_heard_twice, seconds=40)
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("table", "actions"),
    [*(("Changes", (action,)) for action in ACTIONS), ("Renewals", ACTIONS), ("Subscriptions", ACTIONS)],
)
def test_a_stream_is_not_read_without_its_permissions(
    shop: Shop, listener: Listener, table: str, actions: tuple[str, ...]
) -> None:
    """Without a permission on a table's stream, the table's events are not heard; they are heard once the permission is
    back."""
    deployed, subscriber = Deployed(shop), shop.subscribe()
    name = subscriber.subscription_id
    assert listener.until(lambda: bool(listener.of(name)))
    types = {"Changes": "subscription.paused", "Renewals": "renewal.paid", "Subscriptions": "subscription.updated"}

    def is_heard() -> bool:
        return types[table] in {event["type"] for event in listener.of(name)}

    with deployed.without(
        *(Grant("EventPublisherRole", f"dynamodb:{each}", f"table/<{table}>/stream/*") for each in actions)
    ):
        if table == "Changes":
            at = datetime.now(UTC).isoformat()
            shop.changes.put_item(
                Item={
                    "subscription_id": name,
                    "change": f"{at}/0",
                    "at": at,
                    "by": "a test",
                    "what": "paused",
                    "details": {},
                }
            )
        elif table == "Renewals":
            assert shop.renew(subscriber).status == SUCCEEDED
        else:
            shop.edit(subscriber, plan="another")
        assert not listener.until(is_heard, seconds=1.5)
    assert listener.until(is_heard)
