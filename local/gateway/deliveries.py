"""Delivers events to a webhook with the faults of Stripe's delivery: events may arrive late, twice or out of order.

    in_order      every event is sent as soon as the event before was answered
    doubled       every event is sent twice
    shuffled      every event is sent after a random part of `seconds`, so that events overtake each other
    late          every event is sent after `seconds`
    never         no event is sent; GET /v1/events lists the events as not delivered

Sources: Stripe, "Receive Stripe events in your webhook endpoint" (docs.stripe.com/webhooks): the signature, the tries
in live mode for up to three days with growing pauses, the answers that count as success (2xx; a redirect does not).
A delivery becomes due by the sandbox's clock: a clock that is moved past the due time makes the delivery due at once. A
signature, however, holds the real time, because the receiver compares the signature's time with the receiver's clock.
"""

import asyncio
import hmac
import json
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from fnmatch import fnmatchcase
from hashlib import sha256
from random import Random
from typing import Any
from urllib.parse import urlsplit

from local.gateway.world import Object, World

_PAUSES = (5, 60, 600, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 24 * 3600, 24 * 3600)
"""Seconds between a failed try and the next. Stripe publishes no more than "up to three days, exponential"."""

_ANSWER_SECONDS = 10.0
_AT_ONCE = 10
_REMEMBERED = 1000
_SHORTEST_WAIT = 0.02


class Mode(StrEnum):
    IN_ORDER = "in_order"
    DOUBLED = "doubled"
    SHUFFLED = "shuffled"
    LATE = "late"
    NEVER = "never"


@dataclass(frozen=True)
class Webhook:
    """A receiver of events.

    Attributes:
        url: an http:// address on this machine.
        secret: the signing secret, whsec_...
        previous: the signing secret before the last rotation; while set, deliveries carry a second signature.
        modes: the ways of delivery; every event is delivered in a mode drawn at random from these modes.
        seconds: the lateness of `late`, and the longest lateness of `shuffled`.
        seed: the seed of the random modes and of the random lateness.
        enabled_events: patterns of the types to send.
    """

    url: str
    secret: str
    previous: str | None = None
    modes: tuple[Mode, ...] = (Mode.IN_ORDER,)
    seconds: float = 1.0
    seed: int = 0
    enabled_events: tuple[str, ...] = ("*",)

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> "Webhook":
        """Check a webhook that arrived as JSON. Raises TypeError, ValueError."""
        modes = tuple(Mode(mode) for mode in given.get("modes", ("in_order",)))
        made = cls(**{**given, "modes": modes, "enabled_events": tuple(given.get("enabled_events", ("*",)))})
        if urlsplit(made.url).scheme != "http":
            raise ValueError("url must begin with http://")
        if not all(secret.startswith("whsec_") for secret in made.secrets):
            raise ValueError("a signing secret begins with whsec_")
        if not modes:
            raise ValueError("modes must name one mode at least")
        return made

    @property
    def secrets(self) -> tuple[str, ...]:
        return (self.secret, self.previous) if self.previous else (self.secret,)

    def takes(self, event: Object) -> bool:
        return any(fnmatchcase(event["type"], pattern) for pattern in self.enabled_events)


@dataclass(frozen=True)
class _Delivery:
    event: Object
    due: float
    in_order: bool = False
    failed: int = 0


class Deliveries:
    """The waiting deliveries, and the task that sends each delivery at the delivery's time.

    The task also calls `pass_time`, which settles each payment in `processing` and each pending refund when the time of
    the settlement has come: the payment or the refund then succeeds or fails.
    """

    def __init__(self, world: World, pass_time: Callable[[], None]) -> None:
        self._world, self._pass_time = world, pass_time
        self._webhook: Webhook | None = None
        self._random = Random()  # noqa: S311 - the draws must be repeatable, not secret
        self._waiting: list[_Delivery] = []
        self._sending: set[asyncio.Task[None]] = set()
        self._tries: deque[dict[str, Any]] = deque(maxlen=_REMEMBERED)
        self._tried, self._drawn = 0, Counter[str]()
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._in_turn, self._at_once = asyncio.Lock(), asyncio.Semaphore(_AT_ONCE)

    def set_webhook(self, webhook: Webhook | None) -> None:
        """Send the waiting deliveries and all later events to the webhook. None: drop deliveries that become due."""
        self._webhook = webhook
        if webhook:
            self._random.seed(webhook.seed)
            self._task = self._task or asyncio.get_running_loop().create_task(self._run())
        self.wake()

    def shown(self) -> dict[str, Any]:
        """Return the webhook, and what has become of the events.

        The keys are `open` (the number of deliveries that wait or are being sent), `due` (the number of open deliveries
        whose time has come), `drawn` (the number of events by mode), `tried` (the number of tries) and `tries` (the
        latest tries with the status of the answer, oldest first).
        """
        now = self._world.exactly_now()
        return {
            "webhook": self._webhook and asdict(self._webhook),
            "open": len(self._waiting) + len(self._sending),
            "due": sum(delivery.due <= now for delivery in self._waiting) + len(self._sending),
            "drawn": dict(self._drawn),
            "tried": self._tried,
            "tries": list(self._tries),
        }

    def wake(self) -> None:
        """Look for due deliveries now, because the clock, the webhook or the planned deliveries have changed."""
        self._woken.set()

    def take(self, event: Object) -> None:
        """Plan the delivery of a new event."""
        webhook, now = self._webhook, self._world.exactly_now()
        if webhook is None or not webhook.takes(event):
            return
        event["pending_webhooks"] = 1
        mode = self._random.choice(webhook.modes)
        self._drawn[mode] += 1
        match mode:
            case Mode.IN_ORDER:
                self._plan(_Delivery(event, now, in_order=True))
            case Mode.DOUBLED:
                self._plan(_Delivery(event, now), _Delivery(event, now))
            case Mode.SHUFFLED:
                self._plan(_Delivery(event, now + webhook.seconds * self._random.random()))
            case Mode.LATE:
                self._plan(_Delivery(event, now + webhook.seconds))
            case Mode.NEVER:
                pass

    def send(self, event: Object, seconds: float) -> None:
        """Plan a further delivery of an event after `seconds`, whatever the mode."""
        self._plan(_Delivery(event, self._world.exactly_now() + seconds))

    def _plan(self, *deliveries: _Delivery) -> None:
        self._waiting.extend(deliveries)
        self.wake()

    async def _run(self) -> None:
        while True:
            self._woken.clear()
            self._pass_time()
            now = self._world.exactly_now()
            due = sorted((each for each in self._waiting if each.due <= now), key=lambda each: each.due)
            self._waiting = [each for each in self._waiting if each.due > now]
            for delivery in due:
                task = asyncio.get_running_loop().create_task(self._deliver(delivery))
                self._sending.add(task)
                task.add_done_callback(self._sending.discard)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), self._seconds_to_wait(now))

    def _seconds_to_wait(self, now: float) -> float | None:
        """Return the seconds until the next delivery or settlement; None if no delivery and no settlement waits."""
        times = [each.due for each in self._waiting]
        settlement = self._world.next_settlement()
        if settlement is not None:
            times.append(settlement)
        return max(_SHORTEST_WAIT, min(times) - now) if times else None

    async def _deliver(self, delivery: _Delivery) -> None:
        event, webhook = delivery.event, self._webhook
        if webhook is None:
            return
        async with self._in_turn if delivery.in_order else self._at_once:
            status = await _post(webhook, event)
        self._tried += 1
        self._tries.append({"event": event["id"], "type": event["type"], "status": status, "at": self._world.now()})
        if status is not None and 200 <= status < 300:
            event["pending_webhooks"] = 0
        elif delivery.failed < len(_PAUSES):
            again = self._world.exactly_now() + _PAUSES[delivery.failed]
            self._plan(replace(delivery, due=again, in_order=False, failed=delivery.failed + 1))


def signature(webhook: Webhook, body: bytes, at: int) -> str:
    """Return the Stripe-Signature header of a body (docs.stripe.com/webhooks/signature)."""
    signed = f"{at}.".encode() + body
    each = [hmac.new(secret.encode(), signed, sha256).hexdigest() for secret in webhook.secrets]
    return ",".join([f"t={at}", *(f"v1={hexdigest}" for hexdigest in each)])


async def _post(webhook: Webhook, event: Object) -> int | None:
    """Send an event once. Returns the status of the answer, or None without an answer."""
    body = json.dumps(event, indent=2, ensure_ascii=False).encode()
    address = urlsplit(webhook.url)
    head = [
        f"POST {address.path or '/'}{'?' if address.query else ''}{address.query} HTTP/1.1",
        f"Host: {address.netloc}",
        "User-Agent: Stripe/1.0 (+https://stripe.com/docs/webhooks)",
        "Accept: */*; q=0.5, application/xml",
        "Cache-Control: no-cache",
        "Content-Type: application/json; charset=utf-8",
        f"Content-Length: {len(body)}",
        f"Stripe-Signature: {signature(webhook, body, int(time.time()))}",
        "Connection: close",
    ]
    with suppress(OSError, TimeoutError, ValueError, IndexError):
        async with asyncio.timeout(_ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection(address.hostname, address.port or 80)
            try:
                writer.write("\r\n".join([*head, "", ""]).encode() + body)
                await writer.drain()
                answer = await reader.read()
            finally:
                writer.close()
        return int(answer.split(None, 2)[1])
    return None
