"""The sweep beside messages that fail for hours, over a clock that tests move.

Due renewals and owed reminders are found and sent whatever single messages do, and a backlog is not sent again and
again.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest

from renewal_sweep.sweep import SECONDS_A_RENEWAL
from renewal_worker.app import handler as worker
from renewals.runtime import aws, telemetry
from tests.fake_aws import FakeSQS
from tests.fakes import REMINDER_RULES
from tests.shares import share
from tests.unit.test_sweep import GOOD_CARD, SENT, Sweeper

MIDNIGHT = datetime(2026, 1, 31, tzinfo=UTC)
TODAY, IN_THREE_DAYS, LONG_AGO = "2026-01-31", "2026-02-03", "2025-11-30"
NIGHTLY = timedelta(hours=4, minutes=30)
STEP = timedelta(seconds=15)


@dataclass
class Night:
    """A deployment whose hourly schedule runs at `minute` past every hour, from `since` on, with workers that take
    waiting messages as Lambda's queue poller does.

    failing: subscriptions whose workflow always fails, after `failing_takes` seconds. at_work: messages at work, with
    the moment of their end. asked: by subscription, the moment when its workflow first ended.
    """

    minute: int
    since: timedelta = timedelta(hours=2)
    concurrency: int = 20
    counted_late: float = 0
    failing_takes: float = 30
    working: bool = True
    sweeper: Sweeper = field(default_factory=Sweeper)
    failing: set[str] = field(default_factory=set)
    at_work: list[tuple[datetime, dict[str, Any]]] = field(default_factory=list)
    asked: dict[str, datetime] = field(default_factory=dict)
    most_waiting: int = 0

    def __post_init__(self) -> None:
        self.now = MIDNIGHT + self.since
        self.sqs = self.sweeper.sqs = FakeSQS(counted_late=self.counted_late)
        self.sweeper.concurrency, self.sweeper.reminder_rules = self.concurrency, REMINDER_RULES
        self._taken: list[str] = []
        telemetry.logger().setLevel("CRITICAL")

    def add_failing(self, count: int) -> None:
        """Add `count` subscriptions, due since yesterday, whose renewal always fails."""
        for n in range(count):
            self.failing.add(self.sweeper.add(f"failing_{n}", renewal_date="2026-01-30"))

    def until(self, moment: timedelta) -> None:
        """Live until `moment`; a sweep runs before any worker takes the messages that become visible at the sweep's
        moment."""
        while self.now < MIDNIGHT + moment:
            self.sqs.move_clock(self.now.timestamp())
            if self.now.minute == self.minute and not self.now.second:
                self.sweeper.sweep("due", now=self.now)
            if self.now - MIDNIGHT == NIGHTLY:
                self.sweeper.sweep("all", now=self.now)
            self.most_waiting = max(self.most_waiting, self.sqs.waiting)
            if self.working:
                self._work()
            self.now += STEP

    def _work(self) -> None:
        """Let every worker take a message at a time; a quick worker takes many messages in a step."""
        done = [record for ends, record in self.at_work if ends <= self.now]
        self.at_work = [(ends, record) for ends, record in self.at_work if ends > self.now]
        for record in done:
            self._end(record)
        for _ in range(self.concurrency - len(self.at_work)):
            left = STEP.total_seconds()
            while left > 0:
                received = self.sqs.receive_message(QueueUrl="queue").get("Messages")
                if not received:
                    return
                takes = self._takes(received[0])
                left -= takes
                if left >= 0:
                    self._end(received[0])
                else:
                    self.at_work.append((self.now + timedelta(seconds=takes), received[0]))

    def _takes(self, message: dict[str, Any]) -> float:
        asked = json.loads(message["Body"])["subscription_id"]
        if asked in self.failing:
            return self.failing_takes
        return 0.2 if asked in self.asked else SECONDS_A_RENEWAL  # a second message finds the renewal done

    def _end(self, message: dict[str, Any]) -> None:
        record = {
            "messageId": message["MessageId"],
            "receiptHandle": message["ReceiptHandle"],
            "body": message["Body"],
            "attributes": message["Attributes"],
        }
        if not worker({"Records": [record]}, None)["batchItemFailures"]:
            self.sqs.delete_message(QueueUrl="queue", ReceiptHandle=message["ReceiptHandle"])

    def start_sync_execution(self, **q: Any) -> dict[str, Any]:
        """Run the workflow as far as the sweep sees of it: the row moves on, or the reminder is recorded."""
        asked = json.loads(q["input"])
        ended = {"executionArn": "arn", "error": "PaymentFailed"}
        if asked["subscription_id"] in self.failing:
            return ended | {"status": "FAILED"}
        self.asked.setdefault(asked["subscription_id"], self.now)
        tables = self.sweeper.world.dynamodb
        row = dict(tables.items("subscriptions")[asked["subscription_id"], asked["customer_id"]])
        if "event_type" in asked:
            row["reminder_upcoming"] = SENT | {"period": row["renewal_date"]}
        elif row["renewal_date"] == asked["renewal_date"]:
            row["renewal_date"] = "2026-12-31"
        tables.put("subscriptions", row)
        return ended | {"status": "SUCCEEDED"}


@pytest.fixture
def night(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A function that makes a night and gives the worker the night's clients."""
    monkeypatch.setenv("RENEWAL_QUEUE_URL", "queue")
    monkeypatch.setenv("STATE_MACHINE_ARN", "workflow")
    level = telemetry.logger().log_level

    def made(**settings: Any) -> Night:
        one = Night(**settings)
        monkeypatch.setattr(aws, "sqs", lambda: one.sqs)
        monkeypatch.setattr(aws, "synchronous_workflows", lambda: one)
        return one

    yield made
    telemetry.logger().setLevel(level)


def _assert_nobody_waits(one: Night) -> None:
    """Assert that a subscription due between two sweeps, a subscription overdue for more than forty days and an owed
    reminder are asked for in time."""
    one.sweeper.add("old", renewal_date=LONG_AGO)
    one.sweeper.add("yearly", renewal_date=IN_THREE_DAYS, interval="year", known_card=GOOD_CARD)
    one.until(timedelta(hours=3, minutes=10))
    one.sweeper.add("due", renewal_date=TODAY)
    one.until(timedelta(hours=5, minutes=30))
    late = {name: one.asked[f"sub_{name}"] - MIDNIGHT for name in ("due", "old", "yearly")}
    in_a_while = timedelta(minutes=15)  # behind other messages at work
    assert late["due"] <= timedelta(hours=4, minutes=10) + in_a_while
    assert late["old"] <= NIGHTLY + in_a_while
    assert late["yearly"] <= NIGHTLY + in_a_while
    assert one.failing.isdisjoint(one.asked)


@pytest.mark.parametrize("minute", share(range(60), of=7))
def test_one_message_that_keeps_failing_puts_off_nobody(night: Any, minute: int) -> None:
    """In a deployment of any minute of the hour, due renewals are asked for within the hour, and the nightly scan finds
    older renewals and owed reminders, though a renewal fails at every try and is in retry at that moment."""
    one = night(minute=minute)
    one.add_failing(1)
    _assert_nobody_waits(one)
    assert one.sqs.dead


@pytest.mark.parametrize(("minute", "counted_late"), share(product(range(4, 60, 8), [0, 60]), of=3))
def test_many_messages_that_keep_failing_put_off_nobody(night: Any, minute: int, counted_late: float) -> None:
    """Eighty failing messages that become visible together, with four workers and counts a minute old, delay nobody."""
    one = night(minute=minute, concurrency=4, counted_late=counted_late)
    one.add_failing(80)
    _assert_nobody_waits(one)


@pytest.mark.parametrize("minute", [32, 36, 40])
def test_what_fails_since_the_night_puts_off_no_hourly_sweep(night: Any, minute: int) -> None:
    """Eighty renewals found only by the nightly scan fail at every try and are in retry at the next hourly sweep. A
    single due renewal is then asked for at once, since hidden messages wait for no worker."""
    one = night(minute=minute, concurrency=4, failing_takes=1, since=timedelta(hours=4))
    for n in range(80):
        one.failing.add(one.sweeper.add(f"failing_{n}", renewal_date=LONG_AGO))
    one.until(NIGHTLY + timedelta(minutes=1))
    one.sweeper.add("due", renewal_date=TODAY)
    one.until(timedelta(hours=5))
    assert one.asked["sub_due"] - MIDNIGHT <= timedelta(hours=4, minutes=minute + 1)


# --- a backlog is not multiplied ---------------------------------------------------------------------------------


def _due(one: Night, count: int) -> None:
    for n in range(count):
        one.sweeper.add(f"{n:05}", renewal_date=TODAY, interval="year")


@pytest.mark.parametrize(("count", "concurrency"), share([(3_600, 1), (9_000, 2)], of=2))
def test_a_backlog_of_hours_grows_by_less_than_an_hours_work(night: Any, count: int, concurrency: int) -> None:
    """With hours of work due on a date, hourly and nightly sweeps never make more messages wait than the whole work and
    copies of an hour's work; every subscription is renewed, and in the end no message waits."""
    one = night(minute=0, concurrency=concurrency)
    one.add_failing(20)
    _due(one, count)
    one.until(timedelta(hours=8))
    assert one.most_waiting <= count + 20 + concurrency * 1_800
    assert len(one.asked) == count
    assert one.sqs.waiting == 0


@pytest.mark.parametrize("count", [1, 300, *share([1_000, 5_000], of=2)])
def test_while_nobody_works_what_waits_is_not_sent_again(night: Any, count: int) -> None:
    """While the worker stands still for hours, every due renewal waits in the queue once, however often the sweep
    runs."""
    one = night(minute=0, concurrency=2, working=False)
    _due(one, count)
    one.until(timedelta(hours=8))
    assert one.most_waiting == count


def test_a_small_backlog_is_doubled_at_most(night: Any) -> None:
    """With less than an hour's work due, the worker stops after a few renewals: the sweep sends copies only until as
    many messages wait as the sweep finds due rows."""
    one = night(minute=0, concurrency=2)
    _due(one, 1_000)
    one.until(timedelta(hours=2, minutes=5))
    one.working = False
    one.until(timedelta(hours=12))
    assert 0 < len(one.asked) < 1_000
    assert one.most_waiting < 2_000
