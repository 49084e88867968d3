"""A receiver of events in memory, the queue with delays, and the table of waiting tries, over one clock."""

import json
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from heapq import heappop, heappush
from itertools import count
from typing import Any

from standardwebhooks import Webhook

from event_deliverer.posting import NotDelivered
from tests.cuts import Cuts
from tests.fake_aws import error, plain, wire
from tests.streams import Json

SECRET = "whsec_" + "c2VjcmV0" * 5


class Clock:
    """The moment for queue, table, receiver and function."""

    def __init__(self, now: datetime) -> None:
        self.now = now


@dataclass
class Receiver:
    """A receiver that checks each signature by the official library.

    answers: the answer to a try: None for 2xx, else the reason for NotDelivered.
    """

    clock: Clock
    cuts: Cuts
    answers: Callable[[datetime], str | None] = lambda _: None
    secret: str = SECRET
    heard: list[Json] = field(default_factory=list)
    tries: list[tuple[datetime, str]] = field(default_factory=list)

    def post(self, url: str, body: bytes, headers: dict[str, str], *, may_be_local: bool = False) -> None:
        with self.cuts.around("post"):
            assert url == "https://app.example/events"
            event: Json = json.loads(body)
            self.tries.append((self.clock.now, str(event["id"])))
            assert headers["webhook-id"] == event["id"]
            assert abs(int(headers["webhook-timestamp"]) - self.clock.now.timestamp()) < 2
            Webhook(self.secret).sign(headers["webhook-id"], self.clock.now, body.decode())
            signature = Webhook(self.secret).sign(
                headers["webhook-id"], datetime.fromtimestamp(int(headers["webhook-timestamp"]), self.clock.now.tzinfo),
                body.decode(),
            )  # fmt: skip
            assert signature in headers["webhook-signature"].split(" ")
            reason = self.answers(self.clock.now)
            if reason != "heard_but_slow" and reason is not None:
                raise NotDelivered(reason)
            self.heard.append(event)
            if reason:
                raise NotDelivered("timed_out")


class DelayQueue:
    """A standard queue with delays, from which a message becomes a dead letter after five receives.

    messages: the moment at which a message appears, and the body, by the message's id. dead: the bodies in the
    dead-letter queue.
    """

    MAX_RECEIVE_COUNT = 5

    def __init__(self, clock: Clock, cuts: Cuts, dead_letters: str) -> None:
        self._clock, self._cuts, self._dead_letters = clock, cuts, dead_letters
        self._order: list[tuple[datetime, int]] = []
        self._received: dict[str, int] = {}
        self._numbers = count(1)
        self.messages: dict[str, tuple[datetime, str]] = {}
        self.dead: list[str] = []

    def send_message(self, **q: Any) -> Json:
        with self._cuts.around("sqs.SendMessage"):
            if not 0 <= q["DelaySeconds"] <= 900:
                raise error("InvalidParameterValue", "SendMessage")
            if q["QueueUrl"] == self._dead_letters:
                self.dead.append(q["MessageBody"])
            else:
                self._add(q["MessageBody"], self._clock.now + timedelta(seconds=q["DelaySeconds"]))
            return {}

    def send_message_batch(self, **q: Any) -> Json:
        with self._cuts.around("sqs.SendMessageBatch"):
            assert 1 <= len(q["Entries"]) <= 10
            for entry in q["Entries"]:
                self._add(entry["MessageBody"], self._clock.now)
            return {"Successful": [{"Id": entry["Id"]} for entry in q["Entries"]]}

    def visible(self, most: int) -> list[tuple[str, str]]:
        """Receive the messages that have appeared, the oldest first. Each must be deleted or hidden next."""
        found: list[tuple[str, str]] = []
        while self._order and self._order[0][0] <= self._clock.now and len(found) < most:
            _, number = heappop(self._order)
            name = f"m-{number}"
            self._received[name] = self._received.get(name, 0) + 1
            if self._received[name] > self.MAX_RECEIVE_COUNT:
                self.dead.append(self.messages.pop(name)[1])
            else:
                found.append((name, self.messages[name][1]))
        return found

    def hide(self, name: str, until: datetime) -> None:
        """Hide a received message that was not deleted."""
        self.messages[name] = until, self.messages[name][1]
        heappush(self._order, (until, int(name.removeprefix("m-"))))

    def move_dead_letters_back(self) -> None:
        """Move the dead letters into the queue, as the operator does when the receiver works again."""
        for body in self.dead:
            self._add(body, self._clock.now)
        self.dead.clear()

    def _add(self, body: str, due: datetime) -> None:
        number = next(self._numbers)
        self.messages[f"m-{number}"] = due, body
        heappush(self._order, (due, number))


class WaitingTable:
    """The table of waiting tries, by shard and due moment."""

    def __init__(self, cuts: Cuts) -> None:
        self._cuts = cuts
        self._order: dict[str, list[str]] = {}
        self.items: dict[tuple[str, str], Json] = {}

    def put_item(self, **q: Any) -> Json:
        with self._cuts.around("dynamodb.PutItem"):
            item = plain(q["Item"])
            key = item["shard"], item["due"]
            if key not in self.items:
                insort(self._order.setdefault(item["shard"], []), item["due"])
            self.items[key] = item
            return {}

    def delete_item(self, **q: Any) -> Json:
        with self._cuts.around("dynamodb.DeleteItem"):
            key = plain(q["Key"])
            if self.items.pop((key["shard"], key["due"]), None):
                del self._order[key["shard"]][bisect_left(self._order[key["shard"]], key["due"])]
            return {}

    def query(self, **q: Any) -> Json:
        with self._cuts.around("dynamodb.Query"):
            # As DynamoDB, which has reserved words, "shard" among them: each name stands behind a #.
            assert q["KeyConditionExpression"] == "#shard = :shard AND #due <= :now"
            assert q["ExpressionAttributeNames"] == {"#shard": "shard", "#due": "due"}
            values = plain(q["ExpressionAttributeValues"])
            order = self._order.get(values[":shard"], [])
            found = order[: min(bisect_right(order, values[":now"]), q["Limit"])]
            return {"Items": [wire(self.items[values[":shard"], due]) for due in found]}
