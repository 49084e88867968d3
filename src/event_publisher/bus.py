"""The bus of the stack, on which the events for the team's application are put."""

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

        An answer with HTTP 200 may refuse single events: `FailedEntryCount` and each entry tell.
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
