"""The sweep finds due and interrupted renewals, and sends a request for every such renewal to the queue.

The sweep remembers nothing: each sweep starts over from the tables. A sweep that ends half-way therefore loses nothing,
and two sweeps at once only send the same messages twice: the ledger keeps the second message from charging again.

    due   every hour: the renewal dates of the last 40 days, through renewal-date-index, and the unfinished renewals in
          the ledger
    all   every night: a scan of all subscriptions, in segments. The scan finds renewals due for more than 40 days,
          customers who may be owed a reminder, and customers with a new address since their mail bounced. The scan
          also reports each row that cannot be charged as it stands, even a row that no query by date finds (with a
          missing date, or with a badly written date such as 2025-3-1)

A subscription with a refused period is due on the next dunning date. In two cases, the subscription is due earlier, at
the next sweep. If the card was replaced, the workflow tries the new card. If the subscription ended, or its renewal
date was moved, the workflow gives the refused period up. A paused subscription is due once its renewal date has come:
the workflow moves the renewal date to a later day, without a charge.

The hourly sweep is put off if more messages wait for a worker than the workers can take in an hour, and the nightly
sweep if more messages wait than the workers can take in a day. The hourly sweep is also put off if at least as many
messages are waiting as the sweep would read rows: the waiting messages then probably ask for the same renewals already.
A message that a worker has taken does not count as waiting, nor does a failed message during the delay before its next
try.

Both sweeps only plan: a sweep cuts its work into parts, and a separate run reads each part. The sweep counts the rows
of a date page by page, and makes a part of each page: no single run reads or sends all renewals of a busy date. When
the time of a run is nearly over, the run hands the rest of its work to a further run.

Outside production, a subscription may have a test clock. Whether the subscription is due depends on the day of the test
clock, and renewal-date-index does not know the day. The hourly sweep therefore also scans for subscriptions with a test
clock.

Decisions: D42, D46, D48 (DECISIONS.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from renewal_sweep.needs import DAYS, is_unfinished, needs_renewal, request_for, unfinished_seconds
from renewal_sweep.parts import PartKind, SweepKind, SweepPart
from renewals.domain import mail_faults, reminders, subscription
from renewals.domain.errors import BadRow
from renewals.domain.item_values import storable
from renewals.domain.reminder_rules import Rules
from renewals.domain.renewal import CUT_OFF
from renewals.domain.request import Asks, RenewalRequest
from renewals.domain.subscription import SubscriptionStatus
from renewals.ledger.steps import Row
from renewals.runtime import dynamodb
from renewals.runtime.renewal_queue import RenewalQueue

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import QueryOutputTypeDef, ScanOutputTypeDef

SEGMENTS = 16
PAGE = 1000
QUIET = timedelta(minutes=15)
"""A renewal untouched for this long counts as interrupted."""

SECONDS_A_RENEWAL = 2
"""The rough duration of one execution: docs/scale.md."""

_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)

ENOUGH_SECONDS = 60
"""When a run has less time left, the run hands on the rest of its work."""

_CUT_OFF = {f":{status}": status for status in sorted(CUT_OFF)}


@dataclass(slots=True)
class Swept:
    """The result of a run.

    A renewal is unfinished from the moment its work begins (the claim, a further attempt, or a refusal not yet told to
    the customer) until its work is done: the renewal is paid, receipted and mailed, or the customer was told of the
    refusal. A renewal that waits for its next dunning date, for a new address of the customer or for a person is not
    unfinished.

    Attributes:
        rows: the number of rows read.
        due: the number of periods found due.
        sent: the number of requests sent to the queue.
        bad: the number of bad rows reported.
        parts: the number of parts handed on to further runs.
        backlog: how many waiting messages put off the sweep, else 0.
        oldest: the age in seconds of the oldest unfinished renewal met by the run; None if the run did not look. The
            delay of an overdue look at refunds counts as an age, too. In a deployment with test clocks the age can be
            wrong, because an item may hold moments of a test clock.
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
    """A run of the sweep.

    Attributes:
        hand_on: starts a further run with the given event.
        name: reports a bad row and its fault.
        seconds_left: returns the time left before this run is stopped.
        today: the business's day.
        now: the moment, in UTC.
        reminder_rules: when the deployment reminds customers.
        concurrency: how many renewals the workers handle at once.
        test_clock: returns the day on a row's test clock, or None for a row without a test clock; raises BadRow. The
            function is None in production, where rows have no test clocks.
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
    reminder_rules: Rules
    concurrency: int
    test_clock: Callable[[Row], date | None] | None = None

    def due(self, resumed: SweepPart | None = None) -> Swept:
        """Plan the hourly sweep. If the sweep is put off, only measure the unfinished renewals, and send nothing.

        resumed: the part at which an earlier run stopped planning.
        """
        done = Swept()
        left: SweepPart | None = resumed
        if resumed is None:
            waiting = self.queue.waiting()
            if self._is_too_much(waiting, _HOUR) or (waiting and not self._is_more_due_than(waiting)):
                done.backlog = waiting
            left = SweepPart(PartKind.SHARD, "0", sends=False) if done.backlog else self._first()
        unfinished = False
        while left is not None:
            counted = self._page(left, Select="COUNT")  # counting transfers no rows
            if counted["ScannedCount"]:
                unfinished = unfinished or left.kind is PartKind.SHARD
                self._hand_on(replace(left, rows=counted["ScannedCount"]), done)
            if left.is_last_shard and not unfinished:
                done.oldest = 0.0  # no renewal is unfinished, and therefore no part reports an age
            left = left.after(counted) or self._planned_after(left)
            if left is not None and self.seconds_left() < ENOUGH_SECONDS:
                self.hand_on({"sweep": SweepKind.DUE, "from": asdict(left)})
                return done
        return done

    def all(self) -> Swept:
        """Plan the nightly sweep. If the sweep is put off, only report bad rows, and send nothing."""
        waiting = self.queue.waiting()
        done = Swept(backlog=waiting if self._is_too_much(waiting, _DAY) else 0)
        for segment in range(SEGMENTS):
            self._hand_on(SweepPart(PartKind.SEGMENT, str(segment), sends=not done.backlog), done)
        return done

    def read(self, part: SweepPart) -> Swept:
        """Read a part and send its renewals to the queue. Raises NotHandedOver, and botocore's errors."""
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
            left = left.after(answer)
            if left is not None and self.seconds_left() < ENOUGH_SECONDS:
                self._hand_on(left, done)
                return done
        return done

    def _is_too_much(self, waiting: int, until_next: timedelta) -> bool:
        """Whether more messages wait than the workers can take until the next sweep of the same kind."""
        return waiting * SECONDS_A_RENEWAL > self.concurrency * until_next.total_seconds()

    def _is_more_due_than(self, waiting: int) -> bool:
        """Whether the hourly sweep would read more rows than messages are waiting. Counting stops as soon as the answer
        is known."""
        left: SweepPart | None = self._first()
        while left is not None and waiting >= 0:
            counted = self._page(left, Select="COUNT")
            waiting -= counted["Count"]
            left = left.after(counted) or self._planned_after(left)
        return waiting < 0

    def _hand_on(self, part: SweepPart, done: Swept) -> None:
        self.hand_on({"part": asdict(part)})
        done.parts += 1

    def _first(self) -> SweepPart:
        return SweepPart(PartKind.DATE, (self.today - timedelta(days=DAYS - 1)).isoformat())

    def _planned_after(self, part: SweepPart) -> SweepPart | None:
        """Return the part to plan after this part; None after the last part. The sweep plans the renewal dates day by
        day up to today, then the shards of unfinished-index, and finally the subscriptions with a test clock, unless
        the sweep is put off or the deployment has no test clocks."""
        if part.kind is PartKind.DATE:
            day = date.fromisoformat(part.of) + timedelta(days=1)
            return SweepPart(PartKind.DATE, day.isoformat()) if day <= self.today else SweepPart(PartKind.SHARD, "0")
        if part.kind is PartKind.SHARD and not part.is_last_shard:
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
        # Ordinarily, the sweep finds a dunning date through the subscription's row. If the row was deleted, moved or
        # overwritten, the dunning date passes without a request. The index then finds the period by a dunning date
        # before today. In a deployment with test clocks, a dunning date before today may still lie ahead by the
        # subscription's test clock. The filter then compares dunning dates with the empty string, which sorts before
        # every date: no period is found by its dunning date.
        overdue = "" if self.test_clock else self.today
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
                yield request_for(row)

    def _was_corrected(self, part: SweepPart, row: Row) -> bool:
        """Whether mail to the customer bounced within the last forty days, and the row has a new address by now.

        A new address can be written into the row without the API, and the mails that waited for the address must then
        be sent. The row does not say whether mails still wait; the workflow finds out. A row with a test clock is left
        out, because the bounce is dated in real time and cannot be compared with the day of the test clock. The mails
        of such a row wait for the next workflow of the subscription, which a webhook can start.
        """
        if part.kind is not PartKind.SEGMENT or (self.test_clock and self.test_clock(row)):
            return False
        return mail_faults.was_corrected(row, self.now.date() - timedelta(days=DAYS))

    def _taken_up(self, rows: list[Row], done: Swept) -> Iterator[RenewalRequest]:
        """Yield a request for each item: a request to renew, or a request to settle refunds if the item is listed only
        because of its refunds."""
        for row in rows:
            only_refunds = not is_unfinished(row) and "next_attempt" not in row
            try:
                yield request_for(row, Asks.SETTLE_REFUNDS if only_refunds else Asks.RENEW)
            except (KeyError, TypeError):  # somebody wrote the item by hand
                self.name(row, BadRow("customer_id", "is missing or not a string"))
                done.bad += 1

    def _is_quiet(self, row: Row) -> bool:
        """Whether no execution is working on the renewal, as far as the sweep can tell. With test clocks, the moments
        of the item cannot be compared with the moment of the sweep. The sweep then requests every renewal, and the
        charge checks by the test clock whether an execution still works on the renewal."""
        until = {"touched_at": storable(self.now - QUIET), "lease_until": storable(self.now)}
        known = {name: value for name in until if isinstance(value := row.get(name), str)}
        return self.test_clock is not None or all(known[name] < until[name] for name in known)

    def _asks_for(self, part: SweepPart, row: Row) -> RenewalRequest | None:
        """Return the request that the row needs; None if the row needs no request, or if another part sends the
        request. Raises BadRow for a faulty test clock, and for any other fault of the row unless the subscription is
        canceled or unpaid."""
        clock = self.test_clock(row) if self.test_clock else None
        if (part.kind is PartKind.CLOCKS) is (clock is None):
            return None
        if subscription.has_ended(row) and subscription.status_of(row) is not SubscriptionStatus.PAUSED:
            return request_for(row) if "next_attempt" in row and not self._is_the_hourly_ones(part, row) else None
        checked, today = subscription.parse(row), clock or self.today
        if needs_renewal(part, checked, today):
            return request_for(row)
        reminded = part.kind is not PartKind.DATE and reminders.may_be_owed(checked, today, self.reminder_rules)
        return request_for(row, Asks.REMIND) if reminded else None

    def _is_the_hourly_ones(self, part: SweepPart, row: Row) -> bool:
        """Whether the nightly sweep leaves the row to the hourly sweep, because the hourly sweep finds the row by
        date."""
        first, on = (self.today - timedelta(days=DAYS - 1)).isoformat(), row.get("renewal_date")
        return part.kind is PartKind.SEGMENT and isinstance(on, str) and first <= on <= self.today.isoformat()
