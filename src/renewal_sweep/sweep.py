"""The sweep: finds what is due or was cut off, and hands it to the queue. It remembers nothing: each sweep starts over
from the tables, so that one that ends half-way has lost nothing, and two at once only send the same message twice.

    due   every hour: the dates of the last 40 days through renewal-date-index, and what is unfinished in the ledger
    all   every night: a scan of all subscriptions, in segments. It finds what is due since longer, and names each row
          that cannot be charged as it stands, those that no index leads to (2025-3-1, no date at all) among them

Both only plan: they cut their work into parts, and each part is read by a run of its own. A busy date is cut by
counting, so that no single run reads or sends more than a page of it. A part that outlasts its run is handed on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from renewal_sweep.queue import RenewalQueue
from renewals import dynamodb, subscription
from renewals.errors import BadRow
from renewals.renewal import INDEX_SHARDS, Status

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

DAYS = 40
"""So far back the hourly sweep looks, today included. What is due since longer is the nightly one's."""

SEGMENTS = 16
PAGE = 1000
QUIET = timedelta(minutes=15)
"""So long nobody has touched what is taken for cut off."""

ENOUGH_SECONDS = 60
"""With less time left than this, a run hands on what remains of its work."""

_CUT_OFF = {":claimed": Status.CLAIMED, ":paid": Status.PAID, ":receipted": Status.RECEIPTED}

type Key = dict[str, Any]
type Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Part:
    """What one run reads.

    kind, of: "date" and its day, "shard" of the unfinished and its number, or "segment" of the table and its number.
    start: the key after which to begin. rows: how many rows; None: all that follow. sends: whether what is due is
    handed over; bad rows are named in any case.
    """

    kind: str
    of: str
    start: Key | None = None
    rows: int | None = None
    sends: bool = True


@dataclass(slots=True)
class Swept:
    """What a run did. rows: read. sent: handed to the queue. bad: named. parts: handed on to other runs.
    backlog: what the queue still held, where nothing was sent because of it."""

    rows: int = 0
    sent: int = 0
    bad: int = 0
    parts: int = 0
    backlog: int = 0


@dataclass(frozen=True, slots=True)
class Sweep:
    """One run.

    hand_on: starts another run with the event given to it. name: is told of each bad row and its fault.
    seconds_left: until this run is ended. today: the business's day. now: the moment, UTC.
    """

    client: DynamoDBClient
    subscriptions: str
    renewals: str
    queue: RenewalQueue
    hand_on: Callable[[dict[str, Any]], None]
    name: Callable[[Row, BadRow], None]
    seconds_left: Callable[[], float]
    today: date
    now: datetime

    def due(self, resumed: Part | None = None) -> Swept:
        """Plan the hourly sweep, unless the queue still holds an earlier one's. resumed: where a plan goes on."""
        done = Swept()
        if resumed is None:
            done.backlog = self.queue.backlog()
            if done.backlog:
                return done
        left: Part | None = resumed or Part("date", (self.today - timedelta(days=DAYS - 1)).isoformat())
        while left is not None:
            counted = self._page(left, Select="COUNT")  # no row leaves the table for it
            if counted["ScannedCount"]:
                self._hand_on(replace(left, rows=counted["ScannedCount"]), done)
            left = _after(left, counted) or self._day_after(left)
            if left is not None and self.seconds_left() < ENOUGH_SECONDS:
                self.hand_on({"sweep": "due", "from": asdict(left)})
                return done
        for shard in range(INDEX_SHARDS):
            self._hand_on(Part("shard", str(shard)), done)
        return done

    def all(self) -> Swept:
        """Plan the nightly sweep. While the queue still holds an earlier one's, it names bad rows and sends nothing."""
        done = Swept(backlog=self.queue.backlog())
        for segment in range(SEGMENTS):
            self._hand_on(Part("segment", str(segment), sends=not done.backlog), done)
        return done

    def read(self, part: Part) -> Swept:
        """Read one part and hand over what is to be renewed. Raises NotHandedOver, and botocore's errors."""
        done = Swept()
        left: Part | None = part
        while left is not None:
            answer = self._page(left)
            rows = [dynamodb.plain(item) for item in answer["Items"]]
            requests = list(self._requests(left, rows, done))
            if left.sends:
                self.queue.send(requests)
                done.sent += len(requests)
            done.rows += answer["ScannedCount"]
            left = _after(left, answer)
            if left is not None and self.seconds_left() < ENOUGH_SECONDS:
                self._hand_on(left, done)
                return done
        return done

    def _hand_on(self, part: Part, done: Swept) -> None:
        self.hand_on({"part": asdict(part)})
        done.parts += 1

    def _day_after(self, part: Part) -> Part | None:
        day = date.fromisoformat(part.of) + timedelta(days=1)
        return Part("date", day.isoformat()) if day <= self.today else None

    def _page(self, part: Part, **more: Any) -> dict[str, Any]:
        more["Limit"] = PAGE if part.rows is None else min(PAGE, part.rows)
        if part.start is not None:
            more["ExclusiveStartKey"] = part.start
        answer: Any
        if part.kind == "segment":
            answer = self.client.scan(
                TableName=self.subscriptions, Segment=int(part.of), TotalSegments=SEGMENTS, **more
            )
        elif part.kind == "date":
            answer = self.client.query(
                TableName=self.subscriptions,
                IndexName="renewal-date-index",
                KeyConditionExpression="renewal_date = :date",
                ExpressionAttributeValues=dynamodb.attributes({":date": part.of}),
                **more,
            )
        else:
            values = {":shard": part.of, ":before": self.now - QUIET, ":now": self.now, **_CUT_OFF}
            answer = self.client.query(
                TableName=self.renewals,
                IndexName="unfinished-index",
                KeyConditionExpression="unfinished = :shard AND touched_at < :before",
                FilterExpression=f"#status IN ({', '.join(_CUT_OFF)}) AND lease_until < :now",
                ExpressionAttributeNames={"#status": "status"},
                ExpressionAttributeValues=dynamodb.attributes(values),
                **more,
            )
        found: dict[str, Any] = answer
        return found

    def _requests(self, part: Part, rows: list[dict[str, Any]], done: Swept) -> Iterator[dict[str, str]]:
        for row in rows:
            if part.kind == "shard":
                yield _request(row)
                continue
            try:
                due = self._is_due(part, row)
            except BadRow as bad:
                self.name(row, bad)
                done.bad += 1
                continue
            if due:
                yield _request(row)

    def _is_due(self, part: Part, row: Row) -> bool:
        """Whether this part sends the row. Raises BadRow for one that is to be charged some day, and cannot be."""
        if row.get("status") in subscription.ENDED:
            return False
        checked = subscription.parse(row)
        if checked.why_not_due(self.today) is not None:
            return False
        return part.kind == "date" or checked.renewal_date <= self.today - timedelta(days=DAYS)


def _after(part: Part, answer: Mapping[str, Any]) -> Part | None:
    """What is left of a part after a page of it."""
    rows = None if part.rows is None else part.rows - answer["ScannedCount"]
    if "LastEvaluatedKey" not in answer or (rows is not None and rows <= 0):
        return None
    return replace(part, start=answer["LastEvaluatedKey"], rows=rows)


def _request(row: Row) -> dict[str, str]:
    """A request to renew, of a subscription's row or of a renewal's item: it names the period that is meant."""
    told = {name: row[name] for name in ("subscription_id", "customer_id", "renewal_date")}
    return told | {"amount": f"{row['amount']:f}"}
