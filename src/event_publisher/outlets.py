"""The places that events are put into: the bus of the stack, and the queue of EventDeliverer."""

import json
from collections.abc import Mapping, Sequence
from itertools import batched
from typing import Any

SOURCE = "subscription-renewals"
"""The source of every event on the bus."""

_BATCH = 10  # https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html

type Envelope = Mapping[str, object]


class Bus:
    """An event bus of EventBridge. client: EventBridge. name: of the bus."""

    def __init__(self, client: Any, name: str) -> None:
        self._client = client
        self._name = name

    def put(self, events: Sequence[Envelope]) -> set[str]:
        """Put events on the bus, and return the ids of the refused events.

        An answer with HTTP 200 may refuse single events: `FailedEntryCount` is the number of refused events, and the
        entry of a refused event has an `ErrorCode`.
        """
        refused: set[str] = set()
        for batch in batched(events, _BATCH, strict=False):
            answer = self._client.put_events(Entries=[self._entry(event) for event in batch])
            if not answer["FailedEntryCount"]:
                continue
            told = zip(batch, answer["Entries"], strict=True)
            refused |= {str(event["id"]) for event, entry in told if "ErrorCode" in entry}
        return refused

    def _entry(self, event: Envelope) -> dict[str, str]:
        detail = json.dumps(event, ensure_ascii=False)
        return {"EventBusName": self._name, "Source": SOURCE, "DetailType": str(event["type"]), "Detail": detail}


class Deliveries:
    """The queue of EventDeliverer. client: SQS. url: the queue's URL."""

    def __init__(self, client: Any, url: str) -> None:
        self._client = client
        self._url = url

    def put(self, events: Sequence[Envelope]) -> set[str]:
        """Send events to the queue, and return the ids of the refused events."""
        refused: set[str] = set()
        for batch in batched(events, _BATCH, strict=False):
            entries = [{"Id": str(n), "MessageBody": _message(event)} for n, event in enumerate(batch)]
            answer = self._client.send_message_batch(QueueUrl=self._url, Entries=entries)
            refused |= {str(batch[int(entry["Id"])]["id"]) for entry in answer.get("Failed", [])}
        return refused


def _message(event: Envelope) -> str:
    """Return the message of an event: the text to sign and to post, and the number of failed tries."""
    return json.dumps({"event": json.dumps(event, ensure_ascii=False), "failed": 0})
