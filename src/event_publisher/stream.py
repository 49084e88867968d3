"""Read a record of a table's stream, and find the facts that the write tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, cast

from renewals.domain.errors import RenewalError
from renewals.domain.item_values import Item, fields, fields_or_empty, moment, several, text
from renewals.domain.news import Fact, News, sequence
from renewals.domain.news_of_changes import facts_of_change, told_of_change
from renewals.domain.news_of_periods import facts_of_period, told_of_period
from renewals.domain.news_of_rows import facts_of_row, told_of_row
from renewals.domain.renewal import Renewal, Status
from renewals.domain.renewal_items import passed_over_from, renewal_from
from renewals.runtime import dynamodb
from renewals.runtime.telemetry import Event

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import AttributeValueTypeDef

_AT_WORK = timedelta(hours=1)
"""Longer than any function runs. A function that writes an item stores the moment at which the function began in the
item. If more time than _AT_WORK lies between this moment and the write, no function made the write: somebody put the
item back from a backup, or copied the item."""


class Unreadable(RenewalError):  # noqa: N818
    """The record of a stream, or an item in the record, cannot be read. A further try does not help."""


@dataclass(frozen=True, slots=True)
class Record:
    """A write to a table.

    Attributes:
        id: the id of the record in the stream.
        committed: the second of the write.
        old, new: the item before and after the write; None if absent.
    """

    id: str
    table: str
    committed: datetime
    old: Item | None
    new: Item | None


def position_of(record: Event) -> str:
    """Return the record's position in the stream. The reply names a position, and Lambda goes on from the position."""
    return text(fields(record, "dynamodb"), "SequenceNumber")


def read(record: Event) -> Record:
    """Read a record in the form in which Lambda delivers the record. Raises Unreadable."""
    try:
        told = fields(record, "dynamodb")
        old, new = (_image(told, name) for name in ("OldImage", "NewImage"))
        second = _seconds(told["ApproximateCreationDateTime"])
        table = text(record, "eventSourceARN").split("/")[1]
        return Record(text(record, "eventID"), table, datetime.fromtimestamp(second, UTC), old, new)
    except (ArithmeticError, AttributeError, IndexError, KeyError, OSError, TypeError, ValueError) as error:
        raise Unreadable(f"a record of a stream: {type(error).__name__}") from None


def _image(told: Mapping[str, object], name: str) -> Item | None:
    if name not in told:
        return None
    return dynamodb.plain(cast("Mapping[str, AttributeValueTypeDef]", fields_or_empty(told, name)))


def _seconds(value: object) -> int:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError("no moment")
    return int(value)


@dataclass(frozen=True, slots=True)
class Reader:
    """Finds the facts of a write.

    Attributes:
        renewals, subscriptions, changes: the names of the tables.
        zone: the business's time zone.
        heeds_test_clocks: whether rows may have test clocks. In such a stack the moment in an item may come from a test
            clock, and is not compared with the real time of the write.
    """

    renewals: str
    subscriptions: str
    changes: str
    zone: tzinfo
    heeds_test_clocks: bool

    def news(self, record: Record) -> list[News]:
        """Return the facts that the write tells. Raises Unreadable."""
        try:
            recorded, facts = self._facts(record)
        except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise Unreadable(f"an item of {record.table}: {type(error).__name__}") from None
        return [News(fact, sequence(record.committed, recorded, rank)) for rank, fact in enumerate(facts)]

    def was_put_back(self, record: Record, recorded: datetime) -> bool:
        """Whether somebody put the item back from a backup, or copied the item. recorded: the moment in the item."""
        return record.committed - recorded > _AT_WORK and not self.heeds_test_clocks

    def news_again(
        self, table: str, image: Mapping[str, object], span: tuple[datetime, datetime], now: datetime
    ) -> list[News]:
        """Return those facts in an item that occurred in the span. Their events get the ids of the first time.

        Args:
            table: the name of the table.
            image: the item, in DynamoDB's form.
            span: the first moment, and the first moment after the span.
            now: the real moment. A test clock may put a fact into the future, and no sequence may lie in the future.

        Raises:
            Unreadable: the item was not written by this system.
        """
        try:
            item = dynamodb.plain(cast("Mapping[str, AttributeValueTypeDef]", image))
            facts = self._facts_of(table, item)
        except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise Unreadable(f"an item of {table}: {type(error).__name__}") from None
        within = [fact for fact in facts if span[0] <= fact.occurred_at < span[1]]
        moments = [min(fact.occurred_at, now) for fact in within]
        return [News(fact, sequence(at, at, rank)) for rank, (fact, at) in enumerate(zip(within, moments, strict=True))]

    def _facts_of(self, table: str, item: Item) -> list[Fact]:
        if table == self.subscriptions:
            return facts_of_row(item, self.zone)
        if table == self.renewals:
            period = period_in(item)
            return facts_of_period(period) if period else []
        return facts_of_change(item)

    def _facts(self, record: Record) -> tuple[datetime | None, list[Fact]]:
        if record.table == self.subscriptions:
            return None, told_of_row(record.old, record.new, record.committed, record.id, self.zone)
        is_period = record.table == self.renewals
        written = "touched_at" if is_period else "at"
        if record.new is None or written not in record.new:
            return None, []
        recorded = moment(record.new, written)
        if is_period:
            recorded = max([recorded, *_moments_of_disputes(record.new)])
        if self.was_put_back(record, recorded):
            return recorded, []
        if is_period:
            return recorded, told_of_period(period_in(record.old), period_in(record.new))
        return recorded, told_of_change(record.old, record.new)


def _moments_of_disputes(period: Item) -> list[datetime]:
    """Return the moments at which the steps of the period's disputes were recorded: a step of a dispute leaves
    `touched_at` as before."""
    disputes = cast("Mapping[str, Item]", fields_or_empty(period, "disputes"))
    return [moment(cast("Item", step), "at") for each in disputes.values() for step in several(each, "steps")]


def period_in(item: Item | None) -> Renewal | None:
    """Return the claimed period in an item of the ledger, even if the period was skipped after the claim.

    Return None for an item without a claim: such an item records a period that was skipped and never claimed.

    Raises:
        KeyError, TypeError, ValueError: the item was not written by this system.
    """
    if item is None or "claim" not in item:
        return None
    return passed_over_from(item) if item["status"] == Status.SKIPPED else renewal_from(item)
