"""Renewals during a storm of the gateway's events, and without a storm: `python -m benchmarks.storm`.

Renewals run one after the other, as in `benchmarks.end_to_end`, on a fresh stack. Rounds with and without a storm
alternate, so that a machine that becomes slower or faster meanwhile changes both alike. During a storm, 1,000 signed
events a minute are posted to `/gateway-events`: events of payments that are recorded already, as most events of a
gateway are. Each event is posted twice. At the end every event must have been answered 200 and settled by the worker,
and no event may be a dead letter. The figures stand in docs/gateway-events.md.
"""

import json
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import urllib3

from benchmarks.end_to_end import Load, Shop, run
from local.gateway import official_client
from local.gateway.deliveries import Webhook, signature
from local.gateway_events import send_events
from local.stack import Stack, free_port

EVENTS_A_MINUTE = 1000
LOAD = Load(renewals=100, in_flight=1)
ROUNDS = 6
_WARM = Load(renewals=20, in_flight=1)
_SENDERS = 4
_SHOWN = ("workflow_p50_ms", "workflow_p95_ms", "webhook_p50_ms", "renewals_per_s")


class Storm:
    """A sender of events. answers: the number of answers, by status."""

    def __init__(self, stack: Stack) -> None:
        self.answers: Counter[int] = Counter()
        self._url = f"{stack.outputs['LocalApiUrl']}/gateway-events"
        self._webhook = Webhook(self._url, _secret(stack))
        self._events = _events(stack)
        self._pool = urllib3.PoolManager(timeout=30, retries=False, maxsize=_SENDERS)
        self._over = threading.Event()
        self._sent = 0

    @contextmanager
    def raging(self) -> Iterator[None]:
        """Send events until the block ends, each event twice in a row."""
        self._over.clear()
        sender = threading.Thread(target=self._send_all)
        sender.start()
        try:
            yield
        finally:
            self._over.set()
            sender.join()

    def _send_all(self) -> None:
        next_at = time.monotonic()
        with ThreadPoolExecutor(_SENDERS) as senders:
            while not self._over.wait(max(0.0, next_at - time.monotonic())):
                senders.submit(self._send, self._events[self._sent // 2 % len(self._events)], self._sent // 2)
                self._sent += 1
                next_at += 60 / EVENTS_A_MINUTE

    def _send(self, event: dict[str, Any], number: int) -> None:
        body = json.dumps({**event, "id": f"evt_storm{number}"}).encode()
        headers = {"Stripe-Signature": signature(self._webhook, body, int(time.time()))}
        self.answers[self._pool.request("POST", self._url, body=body, headers=headers).status] += 1


def _secret(stack: Stack) -> str:
    """Return the signing secret of the stack's endpoint. No other events are sent: the sandbox sends none."""
    send_events(stack, "never")
    store, place = stack.client("secretsmanager"), stack.outputs["GatewayEventsSecretArn"]
    return str(json.loads(store.get_secret_value(SecretId=place)["SecretString"])["signing"])


def _events(stack: Stack) -> list[dict[str, Any]]:
    """Return events of payments that the ledger has recorded."""
    listed = official_client(stack.gateway_url, stack.gateway_key).v1.events.list(
        {"type": "payment_intent.succeeded", "limit": 100}
    )
    return [event.to_dict() for event in listed.data]


def measured() -> tuple[list[dict[str, float]], list[dict[str, float]]]:
    """Return the figures of each round, without a storm and in a storm. Raises RuntimeError if an event was lost."""
    with Stack(free_port(), Environment="prod") as stack:
        scheduler = stack.client("scheduler")
        for schedule in scheduler.list_schedules()["Schedules"]:
            scheduler.delete_schedule(Name=schedule["Name"])
        shop = Shop(stack)
        run(shop, _WARM)
        rages = Storm(stack)
        run(shop, _WARM, rages.raging())
        calm, stormy = [], []
        for number in range(ROUNDS):
            print(f"round {number + 1} of {ROUNDS}", file=sys.stderr)
            if number % 2:  # the stack grows: neither kind of round always comes first
                stormy.append(run(shop, LOAD, rages.raging()))
            calm.append(run(shop, LOAD))
            if not number % 2:
                stormy.append(run(shop, LOAD, rages.raging()))
        if set(rages.answers) != {200} or (left := _left(stack)):
            raise RuntimeError(f"events were lost: {dict(rages.answers)}, {left}")
        print(f"events: {rages.answers[200]}, all answered 200, none left", file=sys.stderr)
        return calm, stormy


def _left(stack: Stack) -> dict[str, int]:
    """Return the number of events that wait or are dead letters, by queue; empty if there are none."""
    counted = {}
    for queue in ("GatewayEventsQueueUrl", "GatewayDeadLetterQueueUrl"):
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        asked = stack.client("sqs").get_queue_attributes(QueueUrl=stack.outputs[queue], AttributeNames=names)
        counted[queue] = sum(map(int, asked["Attributes"].values()))
    return {queue: count for queue, count in counted.items() if count}


def _median(rounds: Sequence[dict[str, float]], name: str) -> float:
    return statistics.median(figures[name] for figures in rounds)


def main() -> None:
    calm, stormy = measured()
    for name in _SHOWN:
        without, during = _median(calm, name), _median(stormy, name)
        print(f"{name}: {without:.1f} without a storm, {during:.1f} in a storm, x {during / without:.2f}")


if __name__ == "__main__":
    main()
