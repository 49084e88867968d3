"""EventBridge in memory, and Lambda's way to deliver streams to EventPublisher."""

import json
from collections.abc import Callable
from typing import Any

from tests.cuts import Cut, Cuts
from tests.streams import Json, by_table


class FakeBus:
    """A bus that keeps what it takes.

    trouble: for every next call in turn, the numbers of the refused entries. A refused entry makes no error: the answer
    of HTTP 200 counts the refused entries.
    """

    def __init__(self, cuts: Cuts) -> None:
        self._cuts = cuts
        self.trouble: list[set[int]] = []
        self.taken: list[Json] = []

    def put_events(self, **q: Any) -> Json:
        with self._cuts.around("events.PutEvents"):
            entries = q["Entries"]
            assert 1 <= len(entries) <= 10
            refused = self.trouble.pop(0) if self.trouble else set()
            answers: list[Json] = []
            for n, entry in enumerate(entries):
                assert set(entry) == {"EventBusName", "Source", "DetailType", "Detail"}
                detail = json.loads(entry["Detail"])
                assert isinstance(detail, dict)
                if n in refused:
                    answers.append({"ErrorCode": "ThrottlingException", "ErrorMessage": "Rate exceeded"})
                else:
                    self.taken.append(entry)
                    answers.append({"EventId": f"{len(self.taken)}"})
            return {"FailedEntryCount": len(refused & set(range(len(entries)))), "Entries": answers}

    @property
    def events(self) -> list[Json]:
        return self.events_since(0)

    def events_since(self, before: int) -> list[Json]:
        """Return the events that the bus took after the first `before` events."""
        return [json.loads(entry["Detail"]) for entry in self.taken[before:]]


def deliver(records: list[Json], handler: Callable[[Json], Json], *, batch: int = 100, most: int = 1000) -> int:
    """Deliver the records of all streams as Lambda does, until all are taken; return the number of calls.

    A failed call is repeated; a report of a failed record makes Lambda go on from the record. most: the calls after
    which the delivery is given up.
    """
    calls = 0
    for _, left in by_table(records):
        while left:
            calls += 1
            assert calls <= most, "the delivery does not end"
            try:
                reply = handler({"Records": left[:batch]})
            except Cut:
                continue
            failed = [each["itemIdentifier"] for each in reply["batchItemFailures"]]
            numbers = [each["dynamodb"]["SequenceNumber"] for each in left[:batch]]
            assert set(failed) <= set(numbers)
            left = left[min((numbers.index(each) for each in failed), default=len(numbers)) :]
    return calls
