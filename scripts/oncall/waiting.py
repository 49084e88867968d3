"""The renewals and refunds that wait at this moment, according to the sweep's own rules.

Two groups are not listed here: renewals that ended as `failed`, because a failed renewal waits for a person and is in
no index, and renewals due for longer than the sweep's 40 days, which the nightly sweep finds. An alarm and the audit
report both groups.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from renewal_sweep.needs import DAYS, is_unfinished, unfinished_seconds
from renewal_sweep.parts import PartKind, SweepPart
from renewal_sweep.sweep import PAGE, Sweep
from renewals.domain import refunds, wording
from renewals.domain.reminder_rules import Rules
from renewals.domain.renewal import MailKind
from renewals.domain.renewal_items import INDEX_SHARDS
from renewals.domain.request import RenewalRequest
from renewals.runtime import dynamodb
from renewals.runtime.renewal_queue import RenewalQueue
from scripts.deployment import Deployment

_NO_END = 1e9
_NO_REMINDERS = Rules(days=0, from_period=0)


@dataclass(frozen=True, slots=True)
class Waiting:
    """Everything that waits.

    Attributes:
        due: the requests that a sweep would send for rows, as (subscription, period).
        bad: rows that cannot be charged, as (subscription, fault).
        unfinished: begun renewals, as (seconds, subscription, period, state in words), oldest first.
        refunds: unfinished and failed refunds, as (subscription, period, state in words).
        in_queue: the number of messages that wait, are being processed or will be retried.
        dead_letters: the number of messages in the dead-letter queue.
    """

    due: list[tuple[str, str]]
    bad: list[tuple[str, str]]
    unfinished: list[tuple[float, str, str, str]]
    refunds: list[tuple[str, str, str]]
    in_queue: int
    dead_letters: int

    @property
    def nobody(self) -> bool:
        return not (self.due or self.bad or self.unfinished or self.refunds or self.dead_letters)


class _Kept(RenewalQueue):
    """Collects the requests instead of sending messages."""

    def __init__(self) -> None:
        super().__init__(None, "")
        self.asked: list[tuple[str, str]] = []

    def send(self, requests: Iterable[RenewalRequest]) -> None:
        self.asked += [(each.subscription_id, str(each.renewal_date or "no date")) for each in requests]


def look(deployment: Deployment) -> Waiting:
    """Read the due, unfinished renewals of the last 40 days, and everything begun but unfinished."""
    now, today = datetime.now(UTC), deployment.moment({}).today
    kept, bad = _Kept(), list[tuple[str, str]]()
    sweep = Sweep(
        client=deployment.client("dynamodb"),
        subscriptions=deployment.output("SubscriptionsTableName"),
        renewals=deployment.output("RenewalsTableName"),
        queue=kept,
        hand_on=lambda _event: None,
        name=lambda row, fault: bad.append((str(row["subscription_id"]), str(fault))),
        seconds_left=lambda: _NO_END,
        today=today,
        now=now,
        reminder_rules=_NO_REMINDERS,
        concurrency=0,
        test_clock=deployment.test_clock if deployment.heeds_test_clocks else None,
    )
    for part in _parts(today, clocks=deployment.heeds_test_clocks):
        sweep.read(part)
    rows = list(_in_index(deployment))
    # All begun renewals, including subscriptions with test clocks, and even if this machine's clock is behind.
    begun = (row for row in rows if is_unfinished(row))
    unfinished = sorted(((unfinished_seconds(row, now), *_named(row), _stands(row)) for row in begun), reverse=True)
    waiting = [(*_named(row), what) for row in rows for what in refunds.waiting(row)]
    asked_again = replace(sweep, queue=(overdue := _Kept()))
    for shard in range(INDEX_SHARDS):
        asked_again.read(SweepPart(PartKind.SHARD, str(shard)))
    known = {*kept.asked, *((each[1], each[2]) for each in unfinished), *((each[0], each[1]) for each in waiting)}
    kept.asked += [each for each in overdue.asked if each not in known]  # missed dunning dates
    sqs = deployment.client("sqs")
    in_queue, dead_letters = (
        RenewalQueue(sqs, deployment.output(name)).held() for name in ("RenewalQueueUrl", "RenewalDeadLetterQueueUrl")
    )
    return Waiting(kept.asked, bad, unfinished, waiting, in_queue, dead_letters)


def _parts(today: date, *, clocks: bool) -> Iterator[SweepPart]:
    for days in reversed(range(DAYS)):
        yield SweepPart(PartKind.DATE, (today - timedelta(days=days)).isoformat())
    if clocks:
        yield SweepPart(PartKind.CLOCKS, "all")


def _named(row: Mapping[str, Any]) -> tuple[str, str]:
    return row["subscription_id"], row["renewal_date"]


def _stands(row: Mapping[str, Any]) -> str:
    """Return the state of a begun renewal, and the mail that the customer must still receive, in words."""
    stands = wording.standing(row["status"])
    return f"{stands}; to be mailed: {wording.mail(MailKind.of(row['notice']))}" if "notice" in row else stands


def _in_index(deployment: Deployment) -> Iterator[dict[str, Any]]:
    client = deployment.client("dynamodb")
    for shard in range(INDEX_SHARDS):
        start: dict[str, Any] | None = {}
        while start is not None:
            page = client.query(
                TableName=deployment.output("RenewalsTableName"),
                IndexName="unfinished-index",
                KeyConditionExpression="unfinished = :shard",
                ExpressionAttributeValues={":shard": {"S": str(shard)}},
                Limit=PAGE,
                **start,
            )
            yield from map(dynamodb.plain, page["Items"])
            more = page.get("LastEvaluatedKey")
            start = {"ExclusiveStartKey": more} if more else None
