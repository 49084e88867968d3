"""The streams of the in-memory tables, in the form in which Lambda delivers a stream's records."""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from itertools import count
from typing import Any

from tests.fake_aws import FakeDynamoDB, wire

type Json = dict[str, Any]


class Streams(list[tuple[str, Json | None, Json | None]]):
    """The streams of all tables of a database, from now on. now: the moment of the run that writes."""

    def __init__(self, database: FakeDynamoDB, now: Callable[[], datetime]) -> None:
        super().__init__()
        self._now = now
        self._numbers = count(1)
        self._heard_until: datetime | None = None
        self._moments: list[datetime] = []
        database.stream = self

    def append(self, write: tuple[str, Json | None, Json | None]) -> None:
        super().append(write)
        self._moments.append(self._now())

    def records(self, at: datetime) -> list[Json]:
        """Return the records of the writes since the last call, in the order of the writes. A write outside of a run is
        committed at `at`."""
        until = self._heard_until
        moments = [at if until is not None and each <= until else each for each in self._moments]
        made = [record(*write, moment, next(self._numbers)) for write, moment in zip(self, moments, strict=True)]
        self._heard_until = at
        self.clear()
        self._moments.clear()
        return made


def record(
    table: str, old: Mapping[str, Any] | None, new: Mapping[str, Any] | None, at: datetime, number: int = 1
) -> Json:
    """Return the record of a write. Lambda names the second of the write, and no part of the second."""
    images = {"OldImage": old, "NewImage": new}
    name = "INSERT" if old is None else "REMOVE" if new is None else "MODIFY"
    told: Json = {"ApproximateCreationDateTime": float(int(at.timestamp())), "SequenceNumber": f"{number:025}"}
    told |= {"StreamViewType": "NEW_AND_OLD_IMAGES", "SizeBytes": 1}
    told |= {name: _as_kept(wire(dict(image))) for name, image in images.items() if image is not None}
    return {
        "eventID": f"{number:032x}",
        "eventName": name,
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": "eu-central-1",
        "eventSourceARN": f"arn:aws:dynamodb:eu-central-1:123456789012:table/{table}/stream/2026-01-01T00:00:00.000",
        "dynamodb": told,
    }


def _as_kept(image: Any) -> Any:
    """Return the image with its numbers as DynamoDB keeps numbers, which is without zeros at the end."""
    if isinstance(image, dict):
        return {
            name: f"{Decimal(value).normalize():f}" if name == "N" and isinstance(value, str) else _as_kept(value)
            for name, value in image.items()
        }
    return [_as_kept(each) for each in image] if isinstance(image, list) else image


def by_table(records: list[Json]) -> Iterator[tuple[str, list[Json]]]:
    """Yield each table with its records, in their order: Lambda reads every stream by itself."""
    tables = sorted({each["eventSourceARN"] for each in records})
    for table in tables:
        yield table, [each for each in records if each["eventSourceARN"] == table]
