"""The sweep: finds what is due or was cut off, and hands it to the queue. It remembers nothing: each sweep starts over
from the tables, so that one that ends half-way has lost nothing, and two at once only send the same message twice.

    due   every hour: the dates of the last 40 days through renewal-date-index, and what is unfinished in the ledger
    all   every night: a scan of all subscriptions, in segments. It finds what is due since longer, whom a reminder
          may be owed, and who has another address since mail came back; and names each row that cannot be charged as
          it stands, those that no index leads to (2025-3-1, no date at all) among them

A subscription whose period stands refused is due on its next dunning date, at once when it has another card, and when
it has ended or was moved, so that the period is closed. One that is paused is due to be moved past today.

A sweep is put off where more messages wait for a worker than the workers take until the next sweep of its kind, the
hourly one also where as many wait as it would send: it would only send them again. What is at work, or failed and is
hidden until its next try, puts off nobody.

Both only plan: they cut their work into parts, and each part is read by a run of its own. A busy date is cut by
counting, so that no single run reads or sends more than a page of it. A part that outlasts its run is handed on.

Outside production a subscription may live on a day of its own, on which no index leads to it: those with a test_clock
are looked for by a scan, every hour too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from renewal_sweep.queue import RenewalQueue
from renewals.domain import mail_faults, pauses, reminders, subscription
from renewals.domain.errors import BadRow
from renewals.domain.item_values import moment, storable
from renewals.domain.reasons import Reason
from renewals.domain.renewal import CUT_OFF, INDEX_SHARDS
from renewals.domain.request import Asks, RenewalRequest
from renewals.domain.subscription import Subscription, SubscriptionStatus
from renewals.ledger.steps import Row
from renewals.runtime import dynamodb

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import AttributeValueTypeDef, QueryOutputTypeDef, ScanOutputTypeDef

DAYS = 40
"""So far back the hourly sweep looks, today included. What is due since longer is the nightly one's."""

SEGMENTS = 16
PAGE = 1000
QUIET = timedelta(minutes=15)
"""So long nobody has touched what is taken for cut off."""

SECONDS_A_RENEWAL = 2
"""So long one execution takes, roughly: docs/scale.md."""

_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)

ENOUGH_SECONDS = 60
"""With less time left than this, a run hands on what remains of its work."""

_CUT_OFF = {f":{status}": status for status in sorted(CUT_OFF)}


class SweepKind(StrEnum):
    """What a schedule asks for."""

    DUE = "due"
    ALL = "all"


class PartKind(StrEnum):
    """What a part of a sweep is of."""

    DATE = "date"
    """What is due on one day."""
    SHARD = "shard"
    """One shard of the unfinished renewals."""
    SEGMENT = "segment"
    """One segment of the table of subscriptions."""
    CLOCKS = "clocks"
    """All subscriptions that have a test clock."""


@dataclass(frozen=True, slots=True)
class SweepPart:
    """What one run reads.

    of: the day, or the number of the shard or of the segment.
    start: the key after which to begin. rows: how many rows; None: all that follow. sends: whether what is due is
    handed over; bad rows are named in any case.
    """

    kind: PartKind
    of: str
    start: dict[str, AttributeValueTypeDef] | None = None
    rows: int | None = None
    sends: bool = True

    @classmethod
    def of_event(cls, told: Mapping[str, Any]) -> SweepPart:
        """The part that an event names."""
        return cls(**{**told, "kind": PartKind(told["kind"])})


@dataclass(slots=True)
class Swept:
    """What a run did. rows: read. due: periods found due. sent: handed to the queue. bad: named. parts: handed on to
    other runs. backlog: how many messages waited, where the sweep was put off because of them, else 0.

    oldest: for how many seconds the oldest unfinished renewal that was met has been so; None where nobody looked. A
    renewal is unfinished from the moment its work begins (the claim, a further attempt, a refusal that the customer is
    to be told of) until it is receipted and mailed, refused or parked, and has told the customer so. What waits for its
    next dunning date, or for a person, is not. Where rows live on other days (test clocks), it is off by as much.
    """

    rows: int = 0
    due: int = 0
    sent: int = 0
    bad: int = 0
    parts: int = 0
    backlog: int = 0
    oldest: float | None = None


@dataclass(frozen=True, slots=True)
class Sweep:
    """One run.

    hand_on: starts another run with the event given to it. name: is told of each bad row and its fault.
    seconds_left: until this run is ended. today: the business's day. now: the moment, UTC. reminder_days: so long
    before a renewal its customer may be reminded. concurrency: how many renewals the workers are at, at once.
    test_clock: the day that a row lives on, if it is not this one; raises BadRow. None in production, where there is no
    such thing.
    """

    client: DynamoDBClient
    subscriptions: str
    renewals: str
    queue: RenewalQueue
    hand_on: Callable[[Mapping[str, object]], None]
    name: Callable[[Row, BadRow], None]
    seconds_left: Callable[[], float]
    today: date
    now: datetime
    reminder_days: int
    concurrency: int
    test_clock: Callable[[Row], date | None] | None = None

    def due(self, resumed: SweepPart | None = None) -> Swept:
        """Plan the hourly sweep. Where it is put off, it only looks at what is unfinished, and sends nothing. resumed:
        where a plan goes on."""
        done = Swept()
        left: SweepPart | None = resumed
        if resumed is None:
            waiting = self.queue.waiting()
            if self._is_too_much(waiting, _HOUR) or (waiting and not self._is_more_due_than(waiting)):
                done.backlog = waiting
            left = SweepPart(PartKind.SHARD, "0", sends=False) if done.backlog else self._first()
        unfinished = False
        while left is not None:
            counted = self._page(left, Select="COUNT")  # no row leaves the table for it
            if counted["ScannedCount"]:
                unfinished = unfinished or left.kind is PartKind.SHARD
                self._hand_on(replace(left, rows=counted["ScannedCount"]), done)
            if _is_last_shard(left) and not unfinished:
                done.oldest = 0.0  # no part will say so
            left = _after(left, counted) or self._planned_after(left)
            if left is not None and self.seconds_left() < ENOUGH_SECONDS:
                self.hand_on({"sweep": SweepKind.DUE, "from": asdict(left)})
                return done
        return done

    def all(self) -> Swept:
        """Plan the nightly sweep. Where it is put off, it names bad rows and sends nothing."""
        waiting = self.queue.waiting()
        done = Swept(backlog=waiting if self._is_too_much(waiting, _DAY) else 0)
        for segment in range(SEGMENTS):
            self._hand_on(SweepPart(PartKind.SEGMENT, str(segment), sends=not done.backlog), done)
        return done

    def read(self, part: SweepPart) -> Swept:
        """Read one part and hand over what is to be renewed. Raises NotHandedOver, and botocore's errors."""
        done = Swept()
        left: SweepPart | None = part
        while left is not None:
            answer = self._page(left)
            rows: list[Row] = [dynamodb.plain(item) for item in answer["Items"]]
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

    def _is_too_much(self, waiting: int, until_next: timedelta) -> bool:
        """Whether the workers do not take so many messages until the next sweep of this kind."""
        return waiting * SECONDS_A_RENEWAL > self.concurrency * until_next.total_seconds()

    def _is_more_due_than(self, waiting: int) -> bool:
        """Whether the hourly sweep looks at more rows than so many. It counts no further than that."""
        left: SweepPart | None = self._first()
        while left is not None and waiting >= 0:
            counted = self._page(left, Select="COUNT")
            waiting -= counted["Count"]
            left = _after(left, counted) or self._planned_after(left)
        return waiting < 0

    def _hand_on(self, part: SweepPart, done: Swept) -> None:
        self.hand_on({"part": asdict(part)})
        done.parts += 1

    def _first(self) -> SweepPart:
        return SweepPart(PartKind.DATE, (self.today - timedelta(days=DAYS - 1)).isoformat())

    def _planned_after(self, part: SweepPart) -> SweepPart | None:
        """Day by day to today, then the shards, then the test clocks where there are any."""
        if part.kind is PartKind.DATE:
            day = date.fromisoformat(part.of) + timedelta(days=1)
            return SweepPart(PartKind.DATE, day.isoformat()) if day <= self.today else SweepPart(PartKind.SHARD, "0")
        if part.kind is PartKind.SHARD and not _is_last_shard(part):
            return SweepPart(PartKind.SHARD, str(int(part.of) + 1), sends=part.sends)
        return (
            SweepPart(PartKind.CLOCKS, "all")
            if part.kind is PartKind.SHARD and part.sends and self.test_clock
            else None
        )

    def _page(self, part: SweepPart, **more: Any) -> QueryOutputTypeDef | ScanOutputTypeDef:
        more["Limit"] = PAGE if part.rows is None else min(PAGE, part.rows)
        if part.start is not None:
            more["ExclusiveStartKey"] = part.start
        if part.kind is PartKind.SEGMENT:
            return self.client.scan(TableName=self.subscriptions, Segment=int(part.of), TotalSegments=SEGMENTS, **more)
        if part.kind is PartKind.CLOCKS:
            return self.client.scan(
                TableName=self.subscriptions, FilterExpression="attribute_exists(test_clock)", **more
            )
        if part.kind is PartKind.DATE:
            return self.client.query(
                TableName=self.subscriptions,
                IndexName="renewal-date-index",
                KeyConditionExpression="renewal_date = :date",
                ExpressionAttributeValues=dynamodb.attributes({":date": part.of}),
                **more,
            )
        untold = "(attribute_exists(notice) AND attribute_not_exists(parked))"
        wanted = f"#status IN ({', '.join(_CUT_OFF)}) OR {untold} OR next_attempt < :today OR refunds_due < :now"
        overdue = "" if self.test_clock else self.today
        # A dunning date that nobody saw to: the row that says it is gone, or was moved or overwritten.
        values = {":shard": part.of, ":today": overdue, ":now": self.now, **_CUT_OFF}
        return self.client.query(
            TableName=self.renewals,
            IndexName="unfinished-index",
            KeyConditionExpression="unfinished = :shard",
            FilterExpression=wanted,
            ExpressionAttributeNames={"#status": "status"},
            ExpressionAttributeValues=dynamodb.attributes(values),
            **more,
        )

    def _requests(self, part: SweepPart, rows: list[Row], done: Swept) -> Iterator[RenewalRequest]:
        if part.kind is PartKind.SHARD:
            done.oldest = max([done.oldest or 0.0, *(unfinished_seconds(row, self.now) for row in rows)])
            yield from self._taken_up([row for row in rows if self._is_quiet(row)], done)
            return
        for row in rows:
            try:
                request = self._asks_for(part, row)
            except BadRow as bad:
                self.name(row, bad)
                done.bad += 1
                continue
            if request is not None:
                done.due += request.asks is Asks.RENEW
                yield request
            elif self._was_corrected(part, row):
                yield _request(row)

    def _was_corrected(self, part: SweepPart, row: Row) -> bool:
        """Whether mail to the customer came back in the last forty days and the row has another address now: whatever
        waited for it is to be mailed, whoever wrote the address. The row does not say whether anything waits still.
        Mail comes back in real time, whatever day a row lives on: one with a test clock is left to its webhooks."""
        if part.kind is not PartKind.SEGMENT or (self.test_clock and self.test_clock(row)):
            return False
        return mail_faults.was_corrected(row, self.now.date() - timedelta(days=DAYS))

    def _taken_up(self, rows: list[Row], done: Swept) -> Iterator[RenewalRequest]:
        """A request for each that is unfinished; where only its refunds are to be looked at, one for these."""
        for row in rows:
            only_refunds = not is_unfinished(row) and "next_attempt" not in row
            try:
                yield _request(row, Asks.SETTLE_REFUNDS if only_refunds else Asks.RENEW)
            except (KeyError, TypeError):  # somebody wrote it by hand
                self.name(row, BadRow("customer_id", "is missing or not a string"))
                done.bad += 1

    def _is_quiet(self, row: Row) -> bool:
        """Whether nobody is at work on a renewal. Of one that lives on another day only the charge can tell."""
        until = {"touched_at": storable(self.now - QUIET), "lease_until": storable(self.now)}
        known = {name: value for name in until if isinstance(value := row.get(name), str)}
        return self.test_clock is not None or all(known[name] < until[name] for name in known)

    def _asks_for(self, part: SweepPart, row: Row) -> RenewalRequest | None:
        """What this part sends of the row. Raises BadRow for one that is to be charged some day, and cannot be."""
        clock = self.test_clock(row) if self.test_clock else None
        if (part.kind is PartKind.CLOCKS) is (clock is None):
            return None
        if subscription.has_ended(row) and subscription.status_of(row) is not SubscriptionStatus.PAUSED:
            return _request(row) if "next_attempt" in row and not self._is_the_hourly_ones(part, row) else None
        checked, today = subscription.parse(row), clock or self.today
        if _wants(part, checked, today):
            return _request(row)
        reminded = part.kind is not PartKind.DATE and reminders.may_be_owed(checked, today, self.reminder_days)
        return _request(row, Asks.REMIND) if reminded else None

    def _is_the_hourly_ones(self, part: SweepPart, row: Row) -> bool:
        """Whether the nightly sweep leaves the row to the hourly one, which finds it by its date."""
        first, on = (self.today - timedelta(days=DAYS - 1)).isoformat(), row.get("renewal_date")
        return part.kind is PartKind.SEGMENT and isinstance(on, str) and first <= on <= self.today.isoformat()


def is_unfinished(row: Row) -> bool:
    """Whether it is work that is to go on now."""
    status = row.get("status")
    return (isinstance(status, str) and status in CUT_OFF) or ("notice" in row and "parked" not in row)


def unfinished_seconds(row: Row, now: datetime) -> float:
    """For how long a renewal of unfinished-index has been unfinished, or its refunds have been to be looked at; nothing
    where it waits for its next dunning date, for another address, or for a refund that is on its way."""
    begins = ("begun_at" if "begun_at" in row else "touched_at") if is_unfinished(row) else "refunds_due"
    try:
        return max((now - moment(row, begins)).total_seconds(), 0.0)
    except (KeyError, TypeError, ValueError):  # no refund is to be looked at, or somebody wrote what is no moment
        return 0.0


def _wants(part: SweepPart, checked: Subscription, today: date) -> bool:
    """Whether the row is to be renewed, and this part is the one to send it."""
    if subscription.is_over(checked.row, today):  # its status is to say so
        return True
    if pauses.was_resumed_by_hand(checked):  # and is to be billed from now on
        return True
    refused = "next_attempt" in checked.row
    reason = checked.why_not_due(today)
    if refused and reason is not None:
        return True
    if reason is not None and not (reason is Reason.PAUSED and checked.renewal_date <= today):
        return False
    if refused and not _is_asked_again(checked.row, today):
        return False
    return part.kind is not PartKind.SEGMENT or checked.renewal_date <= today - timedelta(days=DAYS)


def _is_asked_again(row: Row, today: date) -> bool:
    """Whether a refused period is tried again: its dunning date has come, or another card."""
    another_card = row.get("payment_method") != row.get("refused_payment_method")
    try:
        return another_card or subscription.day(row, "next_attempt") <= today
    except BadRow:
        return True


def _is_last_shard(part: SweepPart) -> bool:
    return part.kind is PartKind.SHARD and int(part.of) == INDEX_SHARDS - 1


def _after(part: SweepPart, answer: QueryOutputTypeDef | ScanOutputTypeDef) -> SweepPart | None:
    """What is left of a part after a page of it."""
    rows = None if part.rows is None else part.rows - answer["ScannedCount"]
    if "LastEvaluatedKey" not in answer or (rows is not None and rows <= 0):
        return None
    return replace(part, start=answer["LastEvaluatedKey"], rows=rows)


def _request(row: Row, asks: Asks = Asks.RENEW) -> RenewalRequest:
    """A request about a subscription's row or a renewal's item: it names the period that is meant, unless the row of a
    subscription that has ended lacks its date. Its refused period is closed without one."""
    return RenewalRequest.of_row(row, subscription.renewal_date_of(row), asks)
