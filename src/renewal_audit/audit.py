"""The audit: what was due, the ledger, the gateway's charges, the receipts and the mails, side by side.

It goes by one clock, the gateway's: a charge belongs to the day on which the money moved, and the ledger keeps that
moment with what it records as paid. So each charge is in one window and no other, however late its period was paid
and whatever day a subscription under test lives on. Both sides are read in this order, newest first as the gateway
lists them, and merged: memory is a page's, and an audit can be ended and go on at any second. The ledger's item is
then read by the key that the charge names, a hundred at a time, and nothing rests on the index being up to date.

Refunds are read after the charges, by the same clock, thirty days back: so long one that succeeded may still fail, and
what others refund at the gateway is nowhere else to be found. The ledger is not changed here: a period whose refunds
differ is handed to the queue, and the workflow records what the gateway has, and tells the customer.

What is due and was not renewed has no charge. It is found in the subscriptions themselves, all of which are looked at:
that something is overdue is a fact of this moment, whatever days are audited.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import cache, partial
from heapq import merge
from itertools import groupby
from typing import TYPE_CHECKING, Any

from renewal_audit import compare, receipts
from renewal_audit.compare import Compared, Count, Found, Key
from renewal_audit.report import Report, ReportPart, Reports
from renewals.domain import refunds, spans
from renewals.domain.errors import BadRow
from renewals.domain.item_values import text
from renewals.domain.payment import GatewayRefund, PaymentState
from renewals.domain.subscription import Subscription, has_ended, parse
from renewals.gateway.port import Charged, Gateway, GatewayRefused
from renewals.ledger.steps import Row
from renewals.ledger.table import Ledger
from renewals.runtime import dynamodb
from renewals.runtime.clock import Moment

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client

DAYS = 3
"""So many days the nightly audit goes back, all of them complete. What a customer pays at the bank's page is recorded
at the next dunning date, two days later at most unless DunningDays says otherwise; and a difference is named again on
three nights."""

REFUND_DAYS = refunds.WATCHED.days
"""So many days at least refunds are read back. https://docs.stripe.com/refunds#failed-refunds"""

ENOUGH_SECONDS = 120
"""With less time left than this, a run writes its part and hands on the rest."""

FULL = 1000
"""With so many differences a part is full."""

_AT_ONCE = 10  # as many connections as a client of boto3 keeps
_BESIDE = 4
"""So many items of a subscription are nearly always enough: the period itself and the one before it."""

_WITHIN = 100
"""So many periods are read at once of those that lie within another one."""

_MOST_PAGES = 100
_TOGETHER = 400
_PAGE = 1000


@dataclass(frozen=True, slots=True)
class _Entry:
    """A period that the ledger says was charged at this moment of the gateway's, in whole seconds."""

    key: Key
    at: datetime


@dataclass(frozen=True, slots=True)
class Audit:
    """One run.

    hand_on: starts another run with the part given to it. settle: has the workflow look at the refunds of periods, each
    with its customer. seconds_left: until this run is ended. now: the moment, UTC.
    moment_of: when a subscription is looked at, by its row, its own clock heeded. Raises BadRow.
    """

    client: DynamoDBClient
    subscriptions: str
    renewals: str
    gateway: Gateway
    s3: S3Client
    bucket: str
    hand_on: Callable[[ReportPart], None]
    settle: Callable[[Mapping[Key, str]], None]
    seconds_left: Callable[[], float]
    now: datetime
    moment_of: Callable[[Row], Moment]

    def run(self, part: ReportPart) -> Report | None:
        """Compare what the part begins with, as far as the time goes. The report, or None where others go on.

        Raises Throttled, what the gateway raises, and botocore's errors.
        """
        found, left = Found(), part
        for step in self._steps(part, found):
            if step is None:
                self._reports.write(part, found, None)
                return self._reports.join(whole(part.first, part.last))
            left = step
            if self.seconds_left() < ENOUGH_SECONDS or len(found.differences) >= FULL:
                break
        self._reports.write(part, found, left)
        self.hand_on(left)
        return None

    @property
    def _reports(self) -> Reports:
        return Reports(self.s3, self.bucket)

    def _steps(self, part: ReportPart, found: Found) -> Iterator[ReportPart | None]:
        """Do the work, and say after each step what is left of it; None at the end."""
        if part.charges_before is not None:
            yield from self._over_charges(part, datetime.fromisoformat(part.charges_before), found)
            part = replace(part, charges_before=None)
        if part.refunds_before is not None:
            yield from self._over_refunds(part, datetime.fromisoformat(part.refunds_before), found)
            part = replace(part, refunds_before=None)
        yield from self._over_rows(part, found)

    # The charges

    def _over_charges(self, part: ReportPart, before: datetime, found: Found) -> Iterator[ReportPart]:
        since = _midnight(part.first)
        charges: Iterator[Charged | _Entry] = self.gateway.charged_between(since, before)
        both = merge(charges, self._entries(since, before), key=_moment, reverse=True)
        gathered: list[Charged | _Entry] = []
        for at, together in groupby(both, key=_moment):
            gathered += together
            if len(gathered) >= _TOGETHER:  # only whole seconds, so that a charge is beside its entry
                self._compare(gathered, found)
                gathered = []
                yield replace(part, charges_before=at.isoformat())
        self._compare(gathered, found)
        yield replace(part, charges_before=None)

    def _entries(self, since: datetime, before: datetime) -> Iterator[_Entry]:
        """What the ledger says was charged, newest first."""
        day = (before - timedelta(seconds=1)).date()
        while day >= since.date():
            asked: dict[str, Any] = {}
            while True:
                page = self.client.query(
                    TableName=self.renewals,
                    IndexName="charged-on-index",
                    KeyConditionExpression="charged_on = :day AND charged_at < :before",
                    ExpressionAttributeValues=dynamodb.attributes({":day": day, ":before": before}),
                    ScanIndexForward=False,
                    Limit=_PAGE,
                    **asked,
                )
                for item in map(dynamodb.plain, page["Items"]):
                    if (at := compare.moment_in(item, "charged_at")) is not None:  # else somebody wrote it by hand
                        yield _Entry(compare.key_in(item), at.replace(microsecond=0))
                if "LastEvaluatedKey" not in page:
                    break
                asked = {"ExclusiveStartKey": page["LastEvaluatedKey"]}
            day -= timedelta(days=1)

    def _compare(self, gathered: list[Charged | _Entry], found: Found) -> None:
        ours = [each for each in gathered if isinstance(each, Charged) and compare.is_ours(each)]
        entries = [each.key for each in gathered if isinstance(each, _Entry)]
        items = self._items({*entries, *map(compare.key_of, ours)})
        held = [items[key] for each in ours if compare.is_of(items.get(key := compare.key_of(each), {}), each)]
        items |= self._items(
            {(text(each, "subscription_id"), day) for each in held for day in compare.passed_over(each)}
        )
        keys = {receipt_key for each in held if isinstance(receipt_key := each.get("receipt_key"), str)}
        stored = receipts.stored(self.s3, self.bucket, sorted(keys))
        compared = Compared(items, stored, cache(self._is_paid), cache(self._refund_ids), self.now, found)
        for charge in ours:
            compared.charge(charge)
        charges = {each.payment_id: compare.key_of(each) for each in ours if each.succeeded}
        for key in entries:
            compared.entry(key, charges)
        for item, other in self._overlapping(held):
            found.overlaps(item, other)
        self._settle(found)

    def _overlapping(self, held: list[Row]) -> Iterator[tuple[Row, Row]]:
        """Each of these periods with each one that it overlaps: of all that the ledger has of the subscription before
        the end of the period, back to a paid one that begins before it. Nothing that is paid reaches over that one,
        but for a period whose refund failed: see _within."""
        ledger = Ledger(self.client, renewals=self.renewals)

        def look(item: Row) -> list[tuple[Row, Row]]:
            found: list[Row] = []
            before: str | None = text(item, "period_end")
            for _ in range(_MOST_PAGES):
                if before is None or any(
                    compare.reaches_no_further(each, text(item, "renewal_date")) for each in found
                ):
                    break
                page, before = ledger.page(text(item, "subscription_id"), limit=_BESIDE, before=before)
                found += page
            return [(item, other) for other in compare.overlapping(item, found)]

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for overlaps in pool.map(look, filter(compare.says_paid, held)):
                yield from overlaps

    def _within(self, item: Row) -> list[Row]:
        """What the ledger has from the first day of a period to its last: what was billed of its days while they were
        refunded."""
        ledger = Ledger(self.client, renewals=self.renewals)
        found: list[Row] = []
        before: str | None = text(item, "period_end")
        for _ in range(_MOST_PAGES):
            if before is None or before <= text(item, "renewal_date"):
                break
            page, before = ledger.page(text(item, "subscription_id"), limit=_WITHIN, before=before)
            found += page
        return found

    def _items(self, keys: set[Key]) -> dict[Key, Row]:
        """Those items of the ledger that are there."""
        named = [dict(zip(("subscription_id", "renewal_date"), key, strict=True)) for key in sorted(keys)]
        items = dynamodb.get_all(self.client, self.renewals, named)
        return {compare.key_in(item): item for item in items}

    def _is_paid(self, payment_id: str) -> bool:
        try:
            return self.gateway.retrieve(payment_id).state is PaymentState.PAID
        except GatewayRefused:
            return False

    def _refund_ids(self, payment_id: str) -> frozenset[str]:
        try:
            return frozenset(refund.id for refund in self.gateway.refunds_of(payment_id))
        except GatewayRefused:
            return frozenset()

    # The refunds

    def _over_refunds(self, part: ReportPart, before: datetime, found: Found) -> Iterator[ReportPart]:
        since = min(_midnight(part.first), _midnight(part.last) - timedelta(days=REFUND_DAYS - 1))
        gathered: list[GatewayRefund] = []
        for at, together in groupby(self.gateway.refunded_between(since, before), key=_moment):
            gathered += filter(compare.is_ours, together)
            if len(gathered) >= _TOGETHER:
                self._compare_refunds(gathered, found)
                gathered = []
                yield replace(part, refunds_before=at.isoformat())
        self._compare_refunds(gathered, found)
        yield replace(part, refunds_before=None)

    def _compare_refunds(self, gathered: list[GatewayRefund], found: Found) -> None:
        items = self._items(set(map(compare.key_of, gathered)))
        compared = Compared(items, {}, self._is_paid, self._refund_ids, self.now, found)
        for refund in gathered:
            compared.refund(refund)
            item = items.get(compare.key_of(refund), {})
            if compare.is_paid_again(refund, item):
                for later, other in compare.overlaps_within(item, self._within(item)):
                    found.overlaps(later, other)
        self._settle(found)

    def _settle(self, found: Found) -> None:
        """Whoever runs this again asks again, which is harmless."""
        if found.unsettled:
            self.settle(found.unsettled)
            found.unsettled = {}

    # The subscriptions

    def _over_rows(self, part: ReportPart, found: Found) -> Iterator[ReportPart | None]:
        left: ReportPart | None = part
        while left is not None:
            asked: dict[str, Any] = {"ExclusiveStartKey": left.after_row} if left.after_row else {}
            page = self.client.scan(TableName=self.subscriptions, Limit=_PAGE, **asked)
            self._look_at([dynamodb.plain(item) for item in page["Items"]], found)
            after = page.get("LastEvaluatedKey")
            left = replace(part, after_row=after) if after else None
            yield left

    def _look_at(self, rows: list[Row], found: Found) -> None:
        due = list(self._due(rows, found))
        items = self._items({_key(row) for row, _ in due})
        instead = {key: (key[0], day) for key, item in items.items() if (day := compare.billed_instead(item))}
        items |= self._items(set(instead.values()) - set(items))
        for row, moment in due:
            key = _key(row)
            item = items.get(instead.get(key, key))
            compare.due(row, item, moment, found, partial(self._overlap_of, row, moment))

    def _overlap_of(self, due: Subscription, moment: Moment) -> str | None:
        """Why a subscription that is due cannot be charged: a day of its next period is paid already."""
        if not spans.may_overlap(due, unless_told=False):
            return None
        from renewals.ledger.register import Register

        register = Register(self.client, subscriptions=self.subscriptions, renewals=self.renewals, changes="")
        try:
            register.next_charges(due.row, moment.today, 1)
        except BadRow as bad:
            return str(bad)
        except (AttributeError, KeyError, TypeError, ValueError):  # the ledger has an item that is no claim of ours
            return None
        return None

    def _due(self, rows: list[Row], found: Found) -> Iterator[tuple[Subscription, Moment]]:
        """What has been due since yesterday or longer: what is due today has the day to be renewed."""
        for row in rows:
            if has_ended(row):
                continue
            try:
                checked, moment = parse(row), self.moment_of(row)
            except BadRow:
                found.counts[Count.BAD_ROWS] += 1
                continue
            if checked.why_not_due(moment.today - timedelta(days=1)) is None:
                yield checked, moment


def whole(first: str, last: str) -> ReportPart:
    """The part that is all of an audit of these days, YYYY-MM-DD, both included."""
    before = (_midnight(last) + timedelta(days=1)).isoformat()
    return ReportPart(first, last, before, refunds_before=before)


def latest(today: date) -> ReportPart:
    """The last days that are complete, before `today`, which is UTC's as the gateway's clock is."""
    return whole((today - timedelta(days=DAYS)).isoformat(), (today - timedelta(days=1)).isoformat())


def _moment(each: Charged | GatewayRefund | _Entry) -> datetime:
    return each.at


def _key(subscription: Subscription) -> Key:
    return subscription.subscription_id, subscription.renewal_date.isoformat()


def _midnight(day: str) -> datetime:
    return datetime.combine(date.fromisoformat(day), time(), UTC)
