"""The tries of an event's delivery, and the table that keeps the later tries. Pure but for the table's calls.

A try that is due within 15 minutes waits in the queue: 15 minutes are the longest delay of SQS. A later try waits in
the table, and a schedule moves the try into the queue when the try is due. A visibility timeout could not replace the
table: SQS hides a received message for twelve hours at most, and the longest wait is 24 hours.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING

from renewals.domain.item_values import Item, storable, text
from renewals.runtime import dynamodb

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

WAITS = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=24),
)
"""The waits before the further tries: the example schedule of Standard Webhooks without the waits of 14 and 20 hours.
https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md"""

LONGEST_DELAY = timedelta(minutes=15)
"""https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-delay-queues.html"""

SHARDS = 4
"""The waiting tries spread over this many keys, since a key of DynamoDB takes a thousand writes a second."""

_KEPT = timedelta(days=30)
"""A try that no scheduled run moves into the queue is deleted this long after its time. If the scheduled runs fail, the
alarm deliverer-errors turns on long before the deletion."""
_PAGE = 100
_DUE = "#shard = :shard AND #due <= :now"  # "shard" is one of DynamoDB's reserved words


@dataclass(frozen=True, slots=True)
class Try:
    """An event to deliver. failed: the number of tries that have failed."""

    id: str
    body: str
    failed: int = 0

    @classmethod
    def of(cls, message: str) -> Try:
        """Read a message of the queue.

        Raises:
            AttributeError, KeyError, RecursionError, TypeError, ValueError: the message is no try.
        """
        told: dict[str, object] = json.loads(message)
        failed = told.get("failed", 0)
        if not isinstance(failed, int) or failed < 0:
            raise ValueError("failed is no number of tries")
        body = text(told, "event")
        return cls(str(json.loads(body)["id"]), body, failed)

    def message(self) -> str:
        """Return the message of the queue."""
        return json.dumps({"event": self.body, "failed": self.failed})

    def next(self) -> tuple[Try, timedelta] | None:
        """Return the next try after a failure, and the wait before the try; None after the last try."""
        if self.failed >= len(WAITS):
            return None
        return replace(self, failed=self.failed + 1), WAITS[self.failed]


class Waiting:
    """The table of the tries that wait for longer than SQS can delay. client: DynamoDB."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def keep(self, each: Try, due: datetime) -> None:
        """Keep a try until its time."""
        at = str(storable(due))
        key = {"shard": str(sha256(each.id.encode()).digest()[0] % SHARDS), "due": f"{at}/{each.id}"}
        item = {**key, "message": each.message(), "expires_at": int((due + _KEPT).timestamp())}
        self._client.put_item(TableName=self._table, Item=dynamodb.attributes(item))

    def due(self, now: datetime) -> Iterator[list[Item]]:
        """Iterate over the tries that are due, in pages, shard after shard. Within a shard, the oldest try comes first.

        The caller must call `forget` for each try of a page before the caller asks for the next page.
        """
        for shard in range(SHARDS):
            while page := self._page(str(shard), now):
                yield page
                if len(page) < _PAGE:
                    break

    def _page(self, shard: str, now: datetime) -> list[Item]:
        values = {":shard": shard, ":now": f"{storable(now)}~"}  # a key is "moment/id", and "~" sorts after "/"
        answer = self._client.query(
            TableName=self._table,
            KeyConditionExpression=_DUE,
            ExpressionAttributeNames=dynamodb.names(_DUE),
            ExpressionAttributeValues=dynamodb.attributes(values),
            ConsistentRead=True,
            Limit=_PAGE,
        )
        return [dynamodb.plain(item) for item in answer["Items"]]

    def forget(self, item: Item) -> None:
        """Delete a try that was moved into the queue."""
        key = {name: text(item, name) for name in ("shard", "due")}
        self._client.delete_item(TableName=self._table, Key=dynamodb.attributes(key))
