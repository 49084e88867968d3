"""The parts of a sweep: each part is a share of the work that a single run reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from renewals.domain.renewal_items import INDEX_SHARDS

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import AttributeValueTypeDef, QueryOutputTypeDef, ScanOutputTypeDef


class SweepKind(StrEnum):
    """The kind of sweep that a schedule starts."""

    DUE = "due"
    ALL = "all"


class PartKind(StrEnum):
    """The kind of data that a part of a sweep reads."""

    DATE = "date"
    """The subscriptions with the same renewal date."""
    SHARD = "shard"
    """One shard of the unfinished renewals."""
    SEGMENT = "segment"
    """One segment of the subscriptions table."""
    CLOCKS = "clocks"
    """All subscriptions with a test clock."""


@dataclass(frozen=True, slots=True)
class SweepPart:
    """The rows for a single run to read.

    Attributes:
        of: the renewal date, or the number of the shard or segment.
        start: the key after which to begin.
        rows: the number of rows; None for all following rows.
        sends: whether due renewals are sent to the queue; false while the sweep is put off. Bad rows are reported in
            any case.
    """

    kind: PartKind
    of: str
    start: dict[str, AttributeValueTypeDef] | None = None
    rows: int | None = None
    sends: bool = True

    @classmethod
    def of_event(cls, told: Mapping[str, Any]) -> SweepPart:
        """Return the part that an event names."""
        return cls(**{**told, "kind": PartKind(told["kind"])})

    @property
    def is_last_shard(self) -> bool:
        """Whether the part is the last shard of the unfinished renewals."""
        return self.kind is PartKind.SHARD and int(self.of) == INDEX_SHARDS - 1

    def after(self, answer: QueryOutputTypeDef | ScanOutputTypeDef) -> SweepPart | None:
        """Return the rest of the part after a page was read; None at the end."""
        rows = None if self.rows is None else self.rows - answer["ScannedCount"]
        if "LastEvaluatedKey" not in answer or (rows is not None and rows <= 0):
            return None
        return replace(self, start=answer["LastEvaluatedKey"], rows=rows)
