"""A receiver of events in memory, the queue with delays, and the table of waiting tries, over one clock."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from typing import Any

from standardwebhooks import Webhook

from event_deliverer.posting import NotDelivered
from tests.cuts import Cuts
from tests.fake_aws import error, plain
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
    """A standard queue with delays. dead: the bodies sent to the dead-letter queue."""

    def __init__(self, clock: Clock, cuts: Cuts, dead_letters: str) -> None:
        self._clock, self._cuts, self._dead_letters = clock, cuts, dead_letters
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
                due = self._clock.now + timedelta(seconds=q["DelaySeconds"])
                self.messages[f"m-{next(self._numbers)}"] = due, q["MessageBody"]
            return {}

    def visible(self, most: int) -> list[tuple[str, str]]:
        return [(name, body) for name, (due, body) in self.messages.items() if due <= self._clock.now][:most]


class WaitingTable:
    """The table of waiting tries, by shard and due moment."""

    def __init__(self, cuts: Cuts) -> None:
        self._cuts = cuts
        self.items: dict[tuple[str, str], Json] = {}

    def put_item(self, **q: Any) -> Json:
        with self._cuts.around("dynamodb.PutItem"):
            item = plain(q["Item"])
            self.items[item["shard"], item["due"]] = item
            return {}

    def delete_item(self, **q: Any) -> Json:
        with self._cuts.around("dynamodb.DeleteItem"):
            key = plain(q["Key"])
            self.items.pop((key["shard"], key["due"]), None)
            return {}

    def query(self, **q: Any) -> Json:
        from tests.fake_aws import wire

        with self._cuts.around("dynamodb.Query"):
            # As DynamoDB, which has reserved words, "shard" among them: each name stands behind a #.
            assert q["KeyConditionExpression"] == "#shard = :shard AND #due <= :now"
            assert q["ExpressionAttributeNames"] == {"#shard": "shard", "#due": "due"}
            values = plain(q["ExpressionAttributeValues"])
            found = sorted(k for k in self.items if k[0] == values[":shard"] and k[1] <= values[":now"])
            return {"Items": [wire(self.items[key]) for key in found[: q["Limit"]]]}
