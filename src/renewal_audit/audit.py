"""The audit compares the due renewals, the ledger, the gateway's charges, the receipts and the mails.

The audit relies on a single clock, the gateway's. A charge belongs to the day on which the money moved, and the ledger
stores the moment of the charge with each payment. Each charge therefore belongs to exactly one day of an audit, however
late its period was paid, and whatever day a subscription's test clock shows. The gateway lists charges newest first;
the audit reads the ledger's payments through charged-on-index in the same order, and merges both lists. Neither list is
in memory as a whole, and the audit can stop between any two seconds of the gateway's clock and continue later. The
index only names keys: to compare, the audit reads the ledger's items, a hundred at a time. Each charge names the key of
its item, too. If the index is late and lacks a payment, the charge is therefore still compared with its item.

After the charges, the audit reads refunds by the same clock, thirty days back, for two reasons: a successful refund may
still fail for thirty days, and only the gateway knows about a refund that a person made in the gateway's dashboard. The
audit does not change the ledger. If the refunds of a period differ, the audit sends the period to the queue; the
workflow records the gateway's refunds, and tells the customer.

After the refunds, the audit reads the disputes that were opened in the last months: the ledger must have each step of
each dispute. Early fraud warnings move no money, and are not compared.

A due subscription that was not renewed has no charge, and comparing charges does not find such a subscription. The
audit therefore also looks at all subscriptions, and counts the renewals that are overdue at the moment of the audit,
whichever days the audit covers.

Decisions: D56, D59, D60, D61 (DECISIONS.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache, partial
from heapq import merge
from itertools import groupby
from typing import TYPE_CHECKING, Any

from renewal_audit import ledger_items, receipts
from renewal_audit.compare import Compared
from renewal_audit.disputed import compare_dispute
from renewal_audit.findings import Count, Difference, Found
from renewal_audit.keys import Key, is_of, is_ours, key_in, key_of
from renewal_audit.not_read import not_read
from renewal_audit.overdue import compare_due
from renewal_audit.overlaps import is_paid_again, overlapping, overlaps_within, reaches_no_further, says_paid
from renewal_audit.report import Report, ReportPart, Reports, midnight, whole
from renewals.domain import refunds, spans
from renewals.domain.disputes import GatewayDispute
from renewals.domain.errors import BadRow
from renewals.domain.item_values import text
from renewals.domain.payment import GatewayRefund, PaymentState
from renewals.domain.subscription import Subscription, has_ended, parse
from renewals.gateway.port import Charged, Gateway, GatewayForbidden, GatewayRefused
from renewals.ledger.steps import Row
from renewals.ledger.table import Ledger
from renewals.runtime import dynamodb
from renewals.runtime.clock import Moment

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client

REFUND_DAYS = refunds.WATCHED.days
"""The audit reads the refunds of at least this many days. An audit of more days reads the refunds of all its days.
https://docs.stripe.com/refunds#failed-refunds"""

DISPUTE_DAYS = 120
"""The audit reads the disputes that were opened in at least this many days: a bank decides within two to three months
(https://docs.stripe.com/disputes/how-disputes-work)."""

ENOUGH_SECONDS = 120
"""A run with less time left than this writes its part and hands on the rest."""

FULL = 1000
"""A run that has found this many differences writes its part and hands on the rest."""

_AT_ONCE = 10  # a client of boto3 keeps ten connections
_BESIDE = 4
"""The search for overlaps reads this many items of a subscription at once. The first read nearly always suffices,
because the items then include the period itself and the paid period before."""

_WITHIN = 100
"""After a failed refund, the search for overlaps within the refunded period reads this many items at once. A refunded
period of a year may overlap hundreds of short periods."""

_MOST_PAGES = 100
_TOGETHER = 400
_PAGE = 1000


@dataclass(frozen=True, slots=True)
class _Entry:
    """A payment in the ledger: the key of the paid period, and the moment of the charge in whole seconds, by the
    gateway's clock."""

    key: Key
    at: datetime


@dataclass(frozen=True, slots=True)
class Audit:
    """A run of the audit.

    Attributes:
        deployment: the name of the deployment. Several deployments may share an account at the gateway; the audit
            leaves out the charges of other deployments.
        hand_on: starts a further run with the given part.
        settle: sends periods, with their customers, to the workflow to settle their refunds.
        seconds_left: returns the time left before this run is stopped.
        now: the moment, in UTC.
        moment_of: returns the present moment for a subscription's row, by the row's test clock if set. Raises BadRow.
    """

    client: DynamoDBClient
    subscriptions: str
    renewals: str
    gateway: Gateway
    deployment: str
    s3: S3Client
    bucket: str
    hand_on: Callable[[ReportPart], None]
    settle: Callable[[Mapping[Key, str]], None]
    seconds_left: Callable[[], float]
    now: datetime
    moment_of: Callable[[Row], Moment]

    def run(self, part: ReportPart) -> Report | None:
        """Compare as much of the part as the time allows. Return the report, or None if further runs continue.

        Raises Throttled, the gateway's errors, and botocore's errors.
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
        """Do the work. After each step, yield the rest of the part; None at the end."""
        if part.charges_before is not None:
            yield from self._over_charges(part, datetime.fromisoformat(part.charges_before), found)
            part = replace(part, charges_before=None)
        if part.refunds_before is not None:
            yield from self._over_refunds(part, datetime.fromisoformat(part.refunds_before), found)
            part = replace(part, refunds_before=None)
        if part.disputes_before is not None:
            yield from self._over_disputes(part, datetime.fromisoformat(part.disputes_before), found)
            part = replace(part, disputes_before=None)
        yield from self._over_rows(part, found)

    # Charges

    def _over_charges(self, part: ReportPart, before: datetime, found: Found) -> Iterator[ReportPart]:
        since = midnight(part.first)
        charges: Iterator[Charged | _Entry] = self.gateway.charged_between(since, before)
        both = merge(charges, self._entries(since, before), key=_moment, reverse=True)
        gathered: list[Charged | _Entry] = []
        for at, together in groupby(both, key=_moment):
            gathered += together
            # A charge and its entry have the same second, and stay together: the list is cut between seconds only.
            if len(gathered) >= _TOGETHER:
                self._compare(gathered, found)
                gathered = []
                yield replace(part, charges_before=at.isoformat())
        self._compare(gathered, found)
        yield replace(part, charges_before=None)

    def _entries(self, since: datetime, before: datetime) -> Iterator[_Entry]:
        """Yield the charged periods according to the ledger, newest first."""
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
                    if (at := ledger_items.moment_in(item, "charged_at")) is not None:  # None: written by hand
                        yield _Entry(key_in(item), at.replace(microsecond=0))
                if "LastEvaluatedKey" not in page:
                    break
                asked = {"ExclusiveStartKey": page["LastEvaluatedKey"]}
            day -= timedelta(days=1)

    def _compare(self, gathered: list[Charged | _Entry], found: Found) -> None:
        ours = [each for each in gathered if isinstance(each, Charged) and is_ours(each, self.deployment)]
        entries = [each.key for each in gathered if isinstance(each, _Entry)]
        items = self._items({*entries, *map(key_of, ours)})
        held = [items[key] for each in ours if is_of(items.get(key := key_of(each), {}), each)]
        items |= self._items(
            {(text(each, "subscription_id"), day) for each in held for day in ledger_items.passed_over(each)}
        )
        keys = {receipt_key for each in held if isinstance(receipt_key := each.get("receipt_key"), str)}
        stored = receipts.stored(self.s3, self.bucket, sorted(keys))
        compared = Compared(items, stored, cache(self._is_paid), cache(self._refund_ids), self.now, found)
        for charge in ours:
            compared.charge(charge)
        charges = {each.payment_id: key_of(each) for each in ours if each.succeeded}
        for key in entries:
            compared.entry(key, charges)
        for item, other in self._overlapping(held):
            found.overlaps(item, other)
        self._settle(found)

    def _overlapping(self, held: list[Row]) -> Iterator[tuple[Row, Row]]:
        """Yield each paid period of `held` with every overlapping period that was charged earlier.

        For each audited period, the search reads the subscription's periods backwards from the last day of the audited
        period. The search ends at the preceding paid period: the newest paid period that begins before the audited
        period. The periods before the preceding paid period need no search. Because the ledger prevents overlaps, an
        older paid period ended before the preceding paid period began, and cannot reach into the audited period. The
        only exception is an old period that a failed refund makes paid again: _compare_refunds looks for the overlaps
        of such a period.
        """
        ledger = Ledger(self.client, renewals=self.renewals)

        def look(item: Row) -> list[tuple[Row, Row]]:
            found: list[Row] = []
            before: str | None = text(item, "period_end")
            for _ in range(_MOST_PAGES):
                if before is None or any(reaches_no_further(each, text(item, "renewal_date")) for each in found):
                    break
                page, before = ledger.page(text(item, "subscription_id"), limit=_BESIDE, before=before)
                found += page
            return [(item, other) for other in overlapping(item, found)]

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for overlaps in pool.map(look, filter(says_paid, held)):
                yield from overlaps

    def _within(self, item: Row) -> list[Row]:
        """Return all items of the ledger from a period's first day to its last day. After the refund of the period,
        other periods may have billed the same days, and the failure of the refund makes the days paid twice."""
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
        """Return the ledger's items with the keys; absent items are left out."""
        named = [dict(zip(("subscription_id", "renewal_date"), key, strict=True)) for key in sorted(keys)]
        items = dynamodb.get_all(self.client, self.renewals, named)
        return {key_in(item): item for item in items}

    def _is_paid(self, payment_id: str) -> bool:
        try:
            return self.gateway.retrieve(payment_id).state is PaymentState.PAID
        except GatewayRefused:
            return False

    def _refund_ids(self, payment_id: str) -> frozenset[str] | None:
        try:
            return frozenset(refund.id for refund in self.gateway.refunds_of(payment_id))
        except GatewayRefused:
            return frozenset()
        except GatewayForbidden:  # _over_refunds tells that the key may not read refunds
            return None

    # Refunds

    def _over_refunds(self, part: ReportPart, before: datetime, found: Found) -> Iterator[ReportPart]:
        since = min(midnight(part.first), midnight(part.last) - timedelta(days=REFUND_DAYS - 1))
        gathered: list[GatewayRefund] = []
        try:
            for at, together in groupby(self.gateway.refunded_between(since, before), key=_moment):
                gathered += (each for each in together if is_ours(each, self.deployment))
                if len(gathered) >= _TOGETHER:
                    self._compare_refunds(gathered, found)
                    gathered = []
                    yield replace(part, refunds_before=at.isoformat())
        except (GatewayForbidden, GatewayRefused) as fault:
            not_read(fault, Difference.REFUND_UNKNOWN, "refunds", found)
        self._compare_refunds(gathered, found)
        yield replace(part, refunds_before=None)

    def _compare_refunds(self, gathered: list[GatewayRefund], found: Found) -> None:
        items = self._items(set(map(key_of, gathered)))
        compared = Compared(items, {}, self._is_paid, self._refund_ids, self.now, found)
        for refund in gathered:
            compared.refund(refund)
            item = items.get(key_of(refund), {})
            if is_paid_again(refund, item):
                for later, other in overlaps_within(item, self._within(item)):
                    found.overlaps(later, other)
        self._settle(found)

    def _settle(self, found: Found) -> None:
        """Send the gathered periods to the queue. A repeated run sends the periods again, which is harmless."""
        if found.unsettled:
            self.settle(found.unsettled)
            found.unsettled = {}

    # Disputes

    def _over_disputes(self, part: ReportPart, before: datetime, found: Found) -> Iterator[ReportPart]:
        since = min(midnight(part.first), midnight(part.last) - timedelta(days=DISPUTE_DAYS - 1))
        gathered: list[GatewayDispute] = []
        try:
            for at, together in groupby(self.gateway.disputed_between(since, before), key=_moment):
                gathered += (each for each in together if is_ours(each, self.deployment))
                if len(gathered) >= _TOGETHER:
                    self._compare_disputes(gathered, found)
                    gathered = []
                    yield replace(part, disputes_before=at.isoformat())
        except (GatewayForbidden, GatewayRefused) as fault:
            not_read(fault, Difference.DISPUTE_UNKNOWN, "disputes", found)
        self._compare_disputes(gathered, found)
        yield replace(part, disputes_before=None)

    def _compare_disputes(self, gathered: list[GatewayDispute], found: Found) -> None:
        items = self._items(set(map(key_of, gathered)))
        for dispute in gathered:
            compare_dispute(dispute, items, self.now, found)

    # Subscriptions

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
        instead = {key: (key[0], day) for key, item in items.items() if (day := ledger_items.billed_instead(item))}
        items |= self._items(set(instead.values()) - set(items))
        for row, moment in due:
            key = _key(row)
            item = items.get(instead.get(key, key))
            compare_due(row, item, moment, found, partial(self._overlap_of, row, moment))

    def _overlap_of(self, due: Subscription, moment: Moment) -> str | None:
        """Return the fault if the due period cannot be claimed, because a day of the period is paid already, or because
        the claim would replace an item of the ledger that must stay. Return None if the ledger allows the claim."""
        if not spans.may_overlap(due, unless_told=False):
            return None
        from renewals.ledger import forecast

        ledger = Ledger(self.client, renewals=self.renewals)
        try:
            forecast.next_charges(ledger, due.row, moment.today, 1)
        except BadRow as bad:
            return str(bad)
        except (AttributeError, KeyError, TypeError, ValueError):  # the ledger holds an item not written by this system
            return None
        return None

    def _due(self, rows: list[Row], found: Found) -> Iterator[tuple[Subscription, Moment]]:
        """Yield the subscriptions that have been due since yesterday or longer. A subscription due today has the rest
        of the day for its renewal."""
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


def _moment(each: Charged | GatewayRefund | GatewayDispute | _Entry) -> datetime:
    return each.at


def _key(subscription: Subscription) -> Key:
    return subscription.subscription_id, subscription.renewal_date.isoformat()
