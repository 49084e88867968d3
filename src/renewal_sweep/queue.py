"""The queue of renewals, as the sweep uses it: how full it is, and handing over in batches."""

import json
import random
import time
from collections.abc import Callable, Iterable, Mapping
from itertools import batched
from typing import Any

from renewals.errors import NotHandedOver

_BATCH = 10  # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html
_TRIES = 5
_COUNTS = ("", "NotVisible", "Delayed")


class RenewalQueue:
    """client: SQS. url: of the queue. wait: sleeps so many seconds between tries."""

    def __init__(self, client: Any, url: str, wait: Callable[[float], None] = time.sleep) -> None:
        self._client = client
        self._url = url
        self._wait = wait

    def backlog(self) -> int:
        """How many messages wait, are at work, or are to be tried again: as good as SQS knows."""
        names = [f"ApproximateNumberOfMessages{kind}" for kind in _COUNTS]
        counts = self._client.get_queue_attributes(QueueUrl=self._url, AttributeNames=names)["Attributes"]
        return sum(int(counts[name]) for name in names)

    def send(self, requests: Iterable[Mapping[str, str]]) -> None:
        """Hand over requests to renew. Raises NotHandedOver where the queue keeps refusing some; the rest is sent."""
        for batch in batched(requests, _BATCH, strict=False):
            self._send([{"Id": str(n), "MessageBody": json.dumps(request)} for n, request in enumerate(batch)])

    def _send(self, entries: list[dict[str, str]]) -> None:
        refused: dict[str, str] = {}
        for n in range(_TRIES):
            answer = self._client.send_message_batch(QueueUrl=self._url, Entries=entries)
            refused = {entry["Id"]: entry["Code"] for entry in answer.get("Failed", [])}
            entries = [entry for entry in entries if entry["Id"] in refused]
            if not entries:
                return
            self._wait(random.uniform(0, 0.1 * 2**n))  # noqa: S311
        raise NotHandedOver(f"{len(entries)} messages: {', '.join(sorted(set(refused.values())))}")
