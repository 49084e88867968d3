"""A queue for its senders, such as the queue of renewals: count the waiting messages, and send messages in batches."""

import random
import time
from collections.abc import Callable, Iterable
from itertools import batched
from typing import Any, NotRequired, TypedDict

from renewals.domain.errors import NotHandedOver
from renewals.domain.request import RenewalRequest

_BATCH = 10  # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html
_TRIES = 5
_VISIBLE = "ApproximateNumberOfMessages"


class _Counted(TypedDict):
    Attributes: dict[str, str]


class _Refused(TypedDict):
    Id: str
    Code: str


class _Sent(TypedDict):
    Failed: NotRequired[list[_Refused]]


class RenewalQueue:
    """The queue of renewals. client: SQS. url: the queue's URL. wait: sleeps the given number of seconds between
    tries."""

    def __init__(self, client: Any, url: str, wait: Callable[[float], None] = time.sleep) -> None:
        self._client = client
        self._url = url
        self._wait = wait

    def waiting(self) -> int:
        """Return how many messages wait for a worker, as exactly as SQS knows.

        Messages that a worker has taken do not count, nor do failed messages during the delay before their next try.
        """
        return self._count(_VISIBLE)

    def held(self) -> int:
        """Return how many messages wait, were taken by a worker, or will be tried again, as exactly as SQS knows."""
        return self._count(*(f"{_VISIBLE}{kind}" for kind in ("", "NotVisible", "Delayed")))

    def send(self, requests: Iterable[RenewalRequest]) -> None:
        """Send requests to renew. Raises NotHandedOver if the queue keeps refusing a message, after the other messages
        were sent."""
        send_messages(self._client, self._url, (each.to_json() for each in requests), self._wait)

    def _count(self, *names: str) -> int:
        answer: _Counted = self._client.get_queue_attributes(QueueUrl=self._url, AttributeNames=list(names))
        counts = answer["Attributes"]
        return sum(int(counts[name]) for name in names)


def send_messages(client: Any, url: str, bodies: Iterable[str], wait: Callable[[float], None] = time.sleep) -> None:
    """Send messages to the queue at the URL, in batches.

    Raises NotHandedOver if the queue keeps refusing a message, after the other messages were sent.
    """
    refused: list[str] = []
    for batch in batched(bodies, _BATCH, strict=False):
        refused += _send(client, url, [{"Id": str(n), "MessageBody": body} for n, body in enumerate(batch)], wait)
    if refused:
        raise NotHandedOver(f"messages that SQS refused: {len(refused)} ({', '.join(sorted(set(refused)))})")


def _send(client: Any, url: str, entries: list[dict[str, str]], wait: Callable[[float], None]) -> list[str]:
    """Send a batch and return the error codes of the messages that the queue still refuses after the last try."""
    refused: dict[str, str] = {}
    for n in range(_TRIES):
        answer: _Sent = client.send_message_batch(QueueUrl=url, Entries=entries)
        refused = {entry["Id"]: entry["Code"] for entry in answer.get("Failed", [])}
        entries = [entry for entry in entries if entry["Id"] in refused]
        if not entries:
            break
        wait(random.uniform(0, 0.1 * 2**n))  # noqa: S311
    return list(refused.values())
