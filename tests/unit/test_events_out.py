"""The whole way of events out: tables, streams, publisher, queue, deliverer and receiver, over one moved clock.

The publisher is ended before and after each of its calls, the deliverer at a call of every seventh run, and the
receiver is down for two days: every fact is heard at least once under one id, and the receiver ends in the right state.
"""

import logging
import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

import pytest

import event_deliverer.app
from renewals.domain.changes import ChangeKind
from renewals.domain.entitlement import entitlement
from renewals.domain.payment import GatewayRefundState
from renewals.domain.transitions import Action
from renewals.ledger.asked_by import AskedBy
from renewals.runtime import aws
from scripts.subscriptions.importing import Import
from scripts.subscriptions.rows import from_csv
from tests.fake_aws import wire
from tests.fake_events import deliver
from tests.fake_gateway import FakeGateway
from tests.fakes import LATER, NOON
from tests.shares import share
from tests.streams import Json, record
from tests.unit.test_event_deliverer import SETTINGS, START, Deliverer
from tests.unit.test_event_publisher import Publisher

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
GRACE = timedelta(days=7)
MONTHS = 10
TABLES = ("subscriptions", "renewals", "changes")


@dataclass
class Books:
    """The books that the application keeps, as docs/events.md advises. The books stand for a list of heard events.

    heard: how often each event was heard, by the event's id. standing: the highest sequence of each subscription, and
    `entitled_until` of the event with the highest sequence. status: the same for `subscription.*` events, and their
    status. paid: the paid periods of each subscription.
    """

    heard: Counter[str] = field(default_factory=Counter)
    standing: dict[str, tuple[int, str | None]] = field(default_factory=dict)
    status: dict[str, tuple[int, str | None]] = field(default_factory=dict)
    paid: dict[str, set[str]] = field(default_factory=dict)

    def append(self, event: Json) -> None:
        self.heard[event["id"]] += 1
        if self.heard[event["id"]] > 1:
            return
        name, sequence = event["subscription_id"], event["sequence"]
        if sequence >= self.standing.get(name, (0, None))[0]:
            self.standing[name] = sequence, event["entitled_until"]
        if event["type"].startswith("subscription.") and sequence >= self.status.get(name, (0, None))[0]:
            self.status[name] = sequence, event["data"]["status"]
        if event["type"] == "renewal.paid":
            self.paid.setdefault(name, set()).add(event["data"]["period"])

    def of(self, name: str) -> "Right":
        return Right(self.status[name][1], self.standing[name][1], frozenset(self.paid[name]))


@dataclass(frozen=True)
class Right:
    """What the application must know of a subscription: its status, its entitlement and its paid periods."""

    status: str | None
    until: str | None
    paid: frozenset[str]


class Pipeline:
    """Publisher and deliverer over one queue and one receiver.

    facts: the ids of all events that the bus took. ends: how often the publisher was ended.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.deliverer = Deliverer(monkeypatch)
        event_deliverer.app._waiting()
        self.publisher = Publisher(monkeypatch)
        monkeypatch.setenv("DELIVERIES_QUEUE_URL", SETTINGS["DELIVERIES_QUEUE_URL"])
        monkeypatch.setattr(aws, "sqs", lambda: self.deliverer.queue)
        self.deliverer.queue._cuts = self.shop.cuts
        self.deliverer.table._cuts = self.shop.cuts
        self.deliverer.receiver.cuts = self.shop.cuts
        self.books = Books()
        self.deliverer.receiver.heard = self.books  # type: ignore[assignment]
        self.facts: set[str] = set()
        self.ends = 0
        self._attempts = 0
        self._now = NOON

    @property
    def shop(self) -> Any:
        return self.publisher.shop

    def tell(self, at: datetime) -> list[Json]:
        """Deliver the records of the streams to the publisher, which ends before and after each of its calls; return
        what the bus took."""
        self._now, before = at, len(self.publisher.bus.taken)
        deliver(self.shop.streams.records(at), self._publish, batch=100, most=100_000)
        events = self.publisher.bus.events_since(before)
        self.facts |= {event["id"] for event in events}
        return events

    def _publish(self, event: Json) -> Json:
        cuts = self.shop.cuts
        cuts.calls.clear()
        cuts.at, self._attempts = self._attempts, self._attempts + 1
        with self.shop.deployed(self._now):
            reply = self.publisher.handle(event)
        self.ends += self._attempts - 1
        cuts.at, self._attempts = None, 0
        return reply


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipeline]:
    logging.disable(logging.CRITICAL)
    yield Pipeline(monkeypatch)
    logging.disable(logging.NOTSET)


def _months(pipeline: Pipeline, number: int) -> Iterator[datetime]:
    """Live the months of a subscription, and yield the moment after each step."""
    shop, chance, now = pipeline.shop, random.Random(number), NOON  # noqa: S311

    def step(apart: timedelta = LATER) -> datetime:
        nonlocal now
        now += apart
        return now

    def edit(**changes: Any) -> None:
        shop.register.edit(shop.row(), changes, ChangeKind.CARD, AskedBy("ann", step()))

    shop.subscribe()
    yield now
    for month in range(MONTHS):
        due = str(shop.row()["renewal_date"])
        now = max(now, datetime.combine(date.fromisoformat(due), NOON.timetz()))
        if chance.random() < 0.15:
            edit(payment_method="pm_declined")
            yield now
            shop.run(f"{number}-{month}-refused", step())
            yield now
            edit(payment_method="pm_ok")
            yield now
        shop.run(f"{number}-{month}", step())
        yield now
        if chance.random() < 0.1:
            refund = shop.gateway.refund_elsewhere(shop.items()[due]["payment_id"], 500)
            shop.settle_refunds(f"{number}-{month}-refund", step(), due)
            yield now
            if chance.random() < 0.5:
                shop.gateway.refund_becomes(refund, GatewayRefundState.FAILED)
                shop.settle_refunds(f"{number}-{month}-failed", step(), due)
                yield now
    for action in [(), (Action.PAUSE,), (Action.PAUSE, Action.RESUME), (Action.CANCEL_NOW,)][number % 4]:
        shop.act(action, step())
        yield now


def _right(shop: Any, at: datetime) -> Right:
    """Return how the subscription stands by the tables alone."""
    row, name = shop.row(), shop.subscription_id
    stands = entitlement(row, shop.ledger.history(name, "cus_1"), at.date(), GRACE)
    until = stands.ends if stands.entitled else min(stands.ends or at.date(), at.date())
    paid = frozenset(day for day, item in shop.items().items() if "paid_at" in item)
    return Right(row["status"], until.isoformat() if until else None, paid)


def _forget_the_world(shop: Any) -> None:
    shop.dynamodb.tables.clear()
    shop.s3.objects.clear()
    shop.ses.sent.clear()
    shop.gateway = FakeGateway(shop.cuts)


@pytest.mark.parametrize(("first", "lives"), share([(0, 2), *((n, 250) for n in range(2, 1002, 250))], of=5))
def test_every_event_is_heard_though_everything_ends_and_the_receiver_is_down_for_two_days(
    pipeline: Pipeline, first: int, lives: int
) -> None:
    """Of ten renewals of each subscription with declines, refunds and requests, each fact is heard at least once under
    one id, and nothing else is heard. The application ends in the right state, and would in any other order and
    repetition. A span that is told again has the ids that went out live."""
    span, shop, right, seen = 24 * HOUR / lives, pipeline.shop, dict[str, Right](), Counter[str]()
    pipeline.deliverer.receiver.answers = _down_for_two_days
    runs = 0
    _end_the_deliverer_now_and_then(pipeline, seen)
    for number in range(first, first + lives):
        shop.subscription_id = f"sub_{number}"
        told, now = list[Json](), NOON
        for now in _months(pipeline, number):
            told += pipeline.tell(now)
        right[shop.subscription_id] = _right(shop, now)
        runs += len(right[shop.subscription_id].paid)
        _heard_in_any_order(told, shop.subscription_id, right[shop.subscription_id], number)
        again = _told_again(pipeline, now)
        assert again == {event["id"] for event in told if event["data"].get("by") != "table"}
        _forget_the_world(shop)
        pipeline.publisher.bus.taken.clear()
        pipeline.deliverer.run(span, min(span, HOUR / 4))
    pipeline.deliverer.run(72 * HOUR, HOUR / 4)
    assert pipeline.deliverer.queue.dead, "two days are longer than all tries of the first events"
    pipeline.deliverer.queue.move_dead_letters_back()
    pipeline.deliverer.run(2 * HOUR, HOUR / 4)

    assert runs == lives * MONTHS
    assert (pipeline.deliverer.queue.messages, pipeline.deliverer.table.items, pipeline.deliverer.queue.dead) == (
        {}, {}, []
    )  # fmt: skip
    assert set(pipeline.books.heard) == pipeline.facts
    assert len(pipeline.facts) > 1.2 * runs
    assert {name: pipeline.books.of(name) for name in right} == right
    assert pipeline.ends > 8 * runs
    assert seen["ends"] > runs / 10
    assert len(pipeline.deliverer.receiver.tries) > 20 * runs


def _down_for_two_days(now: datetime) -> str | None:
    """For 48 hours, the receiver answers 500, then hears and answers too late, then does not answer at all."""
    hours = (now - START) / HOUR
    return "status_500" if hours < 16 else "heard_but_slow" if hours < 20 else "timed_out" if hours < 48 else None


def _end_the_deliverer_now_and_then(pipeline: Pipeline, seen: Counter[str]) -> None:
    """End the deliverer at a call of every seventh run, at another call each time. seen: counts runs and
    ends."""
    run, cuts = pipeline.deliverer._call, pipeline.shop.cuts

    def call(event: Json) -> Json | None:
        seen["runs"] += 1
        cuts.calls.clear()
        is_seventh = seen["runs"] % 7 == 0
        cuts.at = seen["runs"] // 7 % 12 if is_seventh else None
        reply = run(event)
        seen["ends"] += is_seventh and cuts.at is None
        cuts.at = None
        return reply

    pipeline.deliverer._call = call  # type: ignore[method-assign]


def _heard_in_any_order(told: list[Json], name: str, right: Right, seed: int) -> None:
    """Assert that the application ends in the right state, in whatever order the events come, each twice."""
    for _ in range(2):
        books = Books()
        for event in random.Random(seed).sample(told * 2, len(told) * 2):  # noqa: S311
            books.append(event)
        assert books.of(name) == right


def _told_again(pipeline: Pipeline, now: datetime) -> set[str]:
    """Tell the whole life of the subscription again as `oncall publish` does, and return the ids."""
    images = [
        {"table": table, "item": wire(item)}
        for table in TABLES
        for item in pipeline.shop.dynamodb.items(table).values()
    ]
    before = len(pipeline.publisher.bus.taken)
    with pipeline.shop.deployed(now):
        pipeline.publisher.handle(
            {"from": (NOON - DAY).isoformat(), "until": (now + DAY).isoformat(), "images": images}
        )
    return {event["id"] for event in pipeline.publisher.bus.events_since(before)}


@pytest.mark.parametrize("rows", share([200, 10_000], of=2))
def test_an_import_is_told_once_for_each_row(pipeline: Pipeline, rows: int) -> None:
    """An import of many rows is told as one creation each, marked as a write to the table and not as a request of
    the application; a second run of the import tells nothing."""
    shop = pipeline.shop
    shop.dynamodb.holds = 0  # the import's only worker collides with nobody
    header = "subscription_id,customer_id,renewal_date,amount,currency,gateway_customer,payment_method"
    table = "\n".join([header, *(f"sub_{n},cus_{n},2026-03-31,29.99,USD,cus_gw,pm_ok" for n in range(rows))])
    told: list[list[Json]] = []
    with ThreadPoolExecutor(1) as worker:
        for _ in range(2):
            importing = Import(shop.register, lambda _: NOON.date(), AskedBy("ann", NOON), False, worker)
            assert len(list(importing.run(from_csv(table.splitlines(keepends=True))))) == rows
            told.append(shop.streams.records(NOON))
    assert len(told[0]) == 2 * rows
    assert told[1] == []
    with shop.deployed(NOON):
        events = pipeline.publisher.hear(told[0], most=100_000)
    assert {(event["type"], event["data"]["by"]) for event in events} == {("subscription.created", "table")}
    assert len({event["id"] for event in events}) == len(events) == rows


@pytest.mark.parametrize("rows", share([100, 10_000], of=2))
def test_a_restore_of_many_rows_tells_nothing(pipeline: Pipeline, rows: int) -> None:
    """The tables of many subscriptions are put back from backups of any moment, over newer items and into the place of
    deleted items: no event is told."""
    shop = pipeline.shop
    images: dict[tuple[str, tuple[str, ...]], list[Json]] = {}
    for now in _months(pipeline, 5):
        for table, _, new in shop.streams:
            if new is not None:
                key = (
                    table,
                    tuple(str(new.get(name)) for name in ("renewal_date", "change") if table != "subscriptions"),
                )
                images.setdefault(key, []).append(new)
        pipeline.tell(now)
    until = now + 2 * DAY
    before = len(pipeline.publisher.bus.taken)
    chance, records = random.Random(rows), list[Json]()  # noqa: S311
    restored = 0
    while restored < rows:
        name = f"sub_{restored}"
        for (table, _), versions in images.items():
            kept = chance.randrange(len(versions))
            newest = None if chance.random() < 0.5 and (table != "subscriptions" or kept) else versions[-1]
            old, new = ({**each, "subscription_id": name} if each else None for each in (newest, versions[kept]))
            if old != new:
                records.append(record(table, old, new, until, len(records) + 1))
                restored += 1
    with shop.deployed(until):
        pipeline.publisher.hear(records, most=100_000)
    assert [event["type"] for event in pipeline.publisher.bus.events_since(before)] == []
    assert not pipeline.publisher.unreadable.bodies
    assert len(records) >= rows
