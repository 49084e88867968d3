"""EventPublisher: every record is told at least once, under one id, whatever happens to the function or to the bus."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from event_publisher import app, envelopes
from event_publisher.outlets import SOURCE
from renewals.domain.changes import ChangeKind
from renewals.domain.entitlement import entitlement
from renewals.domain.errors import NotHandedOver
from renewals.domain.transitions import Action
from renewals.ledger.asked_by import AskedBy
from renewals.runtime import aws, telemetry
from tests.fake_aws import FakeSQS, error, wire
from tests.fake_events import FakeBus, deliver
from tests.fakes import LATER, NOON
from tests.shares import share
from tests.streams import Json, record
from tests.unit.test_news import DEPLOYMENT, ROW, Shop

DAY = timedelta(days=1)
EVENTS = Path(__file__).parents[2] / "events"
SETTINGS = {
    "DYNAMODB_TABLE": "subscriptions",
    "RENEWALS_TABLE": "renewals",
    "CHANGES_TABLE": "changes",
    "EVENT_BUS_NAME": "acme-prod",
    "UNREADABLE_QUEUE_URL": "https://sqs/unreadable",
    "RENEWAL_QUEUE_URL": "https://sqs/renewals",
    "CONFIRMATIONS": "",
    "DELIVERIES_QUEUE_URL": "",
    "DEPLOYMENT": DEPLOYMENT,
    "TIME_ZONE": "UTC",
    "GRACE_DAYS": "7",
    "ENVIRONMENT": "prod",
}


class Publisher:
    """The deployed function over a world, a bus and the queue of unreadable records."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shop = Shop()
        self.bus = FakeBus(self.shop.cuts)
        self.unreadable = FakeSQS(self.shop.cuts.around)
        self.counted: dict[str, int] = {}
        for name, value in SETTINGS.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(aws, "dynamodb", lambda: self.shop.dynamodb)
        monkeypatch.setattr(aws, "events", lambda: self.bus)
        monkeypatch.setattr(aws, "sqs", lambda: self.unreadable)
        monkeypatch.setattr(telemetry, "count", self._count)
        for name in ("_reader", "_envelopes", "_ledger", "_outlets"):
            monkeypatch.setattr(app, name, cache(getattr(app, name).__wrapped__))

    def _count(self, name: str, by: int = 1) -> None:
        if name.startswith("Events"):
            self.counted[name] = self.counted.get(name, 0) + by

    def handle(self, event: Json) -> Json:
        return app.handler(event, None)

    def hear(self, records: list[Json], **how: Any) -> list[Json]:
        """Deliver the records, and return what the bus took."""
        before = len(self.bus.taken)
        deliver(records, self.handle, **how)
        return self.bus.events_since(before)


@pytest.fixture
def publisher(monkeypatch: pytest.MonkeyPatch) -> Publisher:
    return Publisher(monkeypatch)


def _months(shop: Shop, months: int = 3) -> list[Json]:
    """Live some months with every kind of event, and return the records of the streams."""
    shop.subscribe()
    records = shop.streams.records(NOON)
    now = NOON
    for month in range(months):
        now = NOON + 31 * month * DAY
        if month % 2:
            shop.register.edit(shop.row(), {"payment_method": "pm_declined"}, ChangeKind.CARD, AskedBy("ann", now))
            records += shop.streams.records(now)
            shop.run(f"refused-{month}", now + LATER)
            records += shop.streams.records(now + LATER)
            shop.register.edit(
                shop.row(), {"payment_method": "pm_ok"}, ChangeKind.CARD, AskedBy("ann", now + 2 * LATER)
            )
            records += shop.streams.records(now + 2 * LATER)
        shop.run(f"run-{month}", now + 3 * LATER)
        records += shop.streams.records(now + 3 * LATER)
    for n, action in enumerate((Action.PAUSE, Action.RESUME, Action.CANCEL_AT_PERIOD_END)):
        shop.act(action, now + (4 + n) * LATER)
        records += shop.streams.records(now + (4 + n) * LATER)
    return records


def test_a_renewal_costs_two_reads_and_one_call_of_the_bus(publisher: Publisher) -> None:
    """The records of a renewal lead to a read of the row, a read of the periods and one call of the bus, whose entry
    names bus, source and type."""
    publisher.shop.subscribe()
    publisher.shop.streams.records(NOON)
    publisher.shop.run()
    records = publisher.shop.streams.records(NOON)
    assert len(records) > 5
    publisher.shop.cuts.calls.clear()
    [event] = publisher.hear(records)
    assert publisher.shop.cuts.calls == ["dynamodb.Query", "dynamodb.Query", "events.PutEvents"]
    [entry] = publisher.bus.taken
    assert (entry["EventBusName"], entry["Source"], entry["DetailType"]) == ("acme-prod", SOURCE, "renewal.paid")
    assert event["data"]["period"] == "2026-01-31"
    assert publisher.counted == {"EventsTold": 1}


@pytest.mark.parametrize("every", share([3, 1], of=2))
@pytest.mark.parametrize(("batch", "first"), [(1, 0), (7, 1), (100, 2)])
def test_a_function_that_ends_at_any_call_loses_no_event(
    publisher: Publisher, batch: int, first: int, every: int
) -> None:
    """The process ends before or after any call: every event is heard at least once, under the ids of an undisturbed
    run. In `make test` the sizes of a batch share the calls; in `make proof` each size meets each call."""
    records = _months(publisher.shop)
    cuts = publisher.shop.cuts
    cuts.calls.clear()
    undisturbed = {event["id"] for event in publisher.hear(records, batch=batch)}
    moments = 2 * len(cuts.calls)
    assert len(undisturbed) > 10
    assert moments > 5
    for moment in range(first % every, moments, every):
        cuts.calls.clear()
        cuts.at = moment
        assert {event["id"] for event in publisher.hear(records, batch=batch)} == undisturbed, moment
        assert cuts.at is None, "the process was not ended"


@pytest.mark.parametrize("refused", [{0}, {3}, {0, 9}, set(range(10))])
def test_a_bus_that_refuses_entries_gets_them_again(publisher: Publisher, refused: set[int]) -> None:
    """An answer with HTTP 200 that refuses single entries is looked at: the next call tells the refused events."""
    records = _months(publisher.shop)
    undisturbed = {event["id"] for event in publisher.hear(records)}
    publisher.bus.trouble = [refused, set(), refused]
    assert {event["id"] for event in publisher.hear(records)} == undisturbed


@pytest.mark.parametrize("call", ["query", "put_events"])
def test_an_error_of_aws_is_reported_as_a_failed_record(publisher: Publisher, call: str) -> None:
    """While DynamoDB or the bus fails, the first record with an event is reported, and no error is raised."""
    records = _months(publisher.shop, months=1)
    of = publisher.shop.dynamodb if call == "query" else publisher.bus

    def fails(**_: Any) -> None:
        raise error("ThrottlingException", call)

    works, of_renewals = getattr(of, call), [each for each in records if "table/renewals/" in each["eventSourceARN"]]
    setattr(of, call, fails)
    reply = publisher.handle({"Records": of_renewals})
    [failed] = [each["itemIdentifier"] for each in reply["batchItemFailures"]]
    setattr(of, call, works)
    left = [each for each in of_renewals if each["dynamodb"]["SequenceNumber"] >= failed]
    assert [event["type"] for event in publisher.hear(left)] == ["renewal.paid"]


def test_an_unreadable_record_goes_whole_to_its_queue(publisher: Publisher) -> None:
    """A record that cannot be read holds up nothing, and lies in the queue with everything that Lambda delivered."""
    publisher.shop.subscribe()
    publisher.shop.streams.records(NOON)
    publisher.shop.run()
    good = publisher.shop.streams.records(NOON)
    item = {"subscription_id": "sub_2", "renewal_date": "2026-01-31", "claim": "c", "touched_at": NOON.isoformat()}
    bad = record("renewals", item | {"status": "claimed"}, item | {"status": "claimed", "refusals": "none"}, NOON, 0)
    events = publisher.hear([bad, *good])
    assert [event["type"] for event in events] == ["renewal.paid"]
    assert [json.loads(body) for body in publisher.unreadable.bodies] == [bad]
    assert publisher.counted == {"EventsUnreadable": 1, "EventsTold": 1}


@pytest.mark.parametrize(
    "by_hand",
    [
        {"renewal_date": "9999-12-31"},
        {"renewal_date": "9999-12-31", "status": "past_due"},
        {"status": ["active"]},
        {"cancel_at": ["2026-12-31"]},
        {"test_clock": Decimal(1)},
    ],
    ids=str,
)
def test_no_row_written_by_hand_holds_up_the_records_behind(publisher: Publisher, by_hand: Json) -> None:
    """A row with the last of all days, or with a list in place of a text, is told like every other row."""
    odd = {**ROW, "status": "active", "subscription_id": "sub_odd", **by_hand}
    good = {**ROW, "status": "active", "subscription_id": "sub_good"}
    for each in (odd, good):
        publisher.shop.dynamodb.put("subscriptions", each)
    events = publisher.hear(publisher.shop.streams.records(NOON), most=5)
    assert [(event["subscription_id"], event["type"]) for event in events] == [
        ("sub_odd", "subscription.created"), ("sub_good", "subscription.created")
    ]  # fmt: skip
    assert not publisher.unreadable.bodies


@pytest.mark.parametrize("told", ["by record", "in one batch", "twice"])
@pytest.mark.parametrize("order", ["put first", "deleted first"])
def test_a_row_that_is_moved_to_another_customer_has_not_ended(publisher: Publisher, told: str, order: str) -> None:
    """Somebody moves a subscription to another customer by hand, which is a new row and a deleted row: no event tells
    an end, and the event with the highest sequence has the new customer and the subscription's status."""
    shop = publisher.shop
    shop.subscribe()
    records = shop.streams.records(NOON)
    shop.run()
    records += shop.streams.records(NOON)
    row = shop.row()
    if order == "put first":
        shop.dynamodb.put("subscriptions", row | {"customer_id": "cus_2"})
    shop.delete_row()
    if order == "deleted first":
        shop.dynamodb.put("subscriptions", row | {"customer_id": "cus_2"})
    moved = shop.streams.records(NOON + LATER)
    publisher.hear(records)
    events = [each for _ in range(1 + (told == "twice"))
              for each in publisher.hear(moved, batch=100 if told == "in one batch" else 1)]  # fmt: skip
    assert {event["type"] for event in events} == {"subscription.updated"}
    last = max(events, key=lambda event: event["sequence"])
    assert (last["customer_id"], last["data"]) == (
        "cus_2", {"by": "table", "changed": ["customer_id"], "status": "active"}
    )  # fmt: skip
    assert last["entitled_until"] is None, "the renewal is due, and takes no entitlement away"
    assert len({event["id"] for event in events}) == 1


def test_a_deleted_row_without_another_row_has_ended(publisher: Publisher) -> None:
    """A row that somebody deletes by hand is told as the end of the subscription, without a status."""
    publisher.shop.subscribe()
    publisher.shop.streams.records(NOON)
    publisher.shop.delete_row()
    [event] = publisher.hear(publisher.shop.streams.records(NOON))
    assert (event["type"], event["customer_id"], event["data"]["status"]) == ("subscription.ended", "cus_1", None)


def test_events_that_cannot_be_made_hold_up_nothing(publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record whose events cannot be made for a reason that nobody foresaw goes whole to the queue of unreadable
    records."""

    def fails(row: Json, *more: Any) -> Any:
        if row["subscription_id"] == "sub_odd":
            raise OverflowError("date value out of range")
        return entitlement(row, *more)

    monkeypatch.setattr(envelopes, "entitlement", fails)
    for name in ("sub_odd", "sub_good"):
        publisher.shop.dynamodb.put("subscriptions", {**ROW, "status": "active", "subscription_id": name})
    records = publisher.shop.streams.records(NOON)
    assert [event["subscription_id"] for event in publisher.hear(records, most=5)] == ["sub_good"]
    assert [json.loads(body) for body in publisher.unreadable.bodies] == records[:1]


def test_an_unreadable_record_beyond_the_size_of_a_message_goes_without_its_images(publisher: Publisher) -> None:
    """Two images of 400 kB are more than SQS takes: the queue gets the keys, which name the item in its table."""
    item = {"subscription_id": "sub_2", "renewal_date": "2026-01-31", "claim": "c", "touched_at": NOON.isoformat()}
    item |= {"status": "claimed", "note": "\u4e2d" * 130_000}
    bad = record("renewals", item, item | {"refusals": "none"}, NOON)
    bad["dynamodb"]["Keys"] = wire({"subscription_id": "sub_2", "renewal_date": "2026-01-31"})
    assert deliver([bad], publisher.handle, most=3) == 1
    [body] = publisher.unreadable.bodies
    told = json.loads(body)
    assert told["dynamodb"]["Keys"] == bad["dynamodb"]["Keys"]
    assert told["eventID"] == bad["eventID"]
    assert not {"OldImage", "NewImage"} & set(told["dynamodb"])


def test_an_unreadable_record_that_the_queue_refuses_is_delivered_again(publisher: Publisher) -> None:
    """An unreadable record is not lost where its queue is throttled."""
    item = {"subscription_id": "sub_2", "renewal_date": "2026-01-31", "claim": "c", "touched_at": NOON.isoformat()}
    bad = record("renewals", item | {"status": "claimed"}, item | {"status": "claimed", "refusals": "none"}, NOON)
    publisher.unreadable.trouble = [1]
    assert deliver([bad], publisher.handle) == 2
    assert len(publisher.unreadable.bodies) == 1


def test_the_sample_event_is_told(publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sample in events/ is a record of the changes table as Lambda delivers the record."""
    monkeypatch.setenv("CHANGES_TABLE", "subscription-mgmt-changes-prod")
    sample = json.loads((EVENTS / "event_publisher.json").read_text())
    assert publisher.handle(sample) == {"batchItemFailures": []}
    assert [event["type"] for event in publisher.bus.events] == ["subscription.paused"]


def test_a_span_is_told_again_under_the_same_ids(publisher: Publisher) -> None:
    """The events of a span that the items keep are told again: under the ids of the first time, and no event of another
    span. Only what was written to rows by hand is not kept."""
    live = publisher.hear(_months(publisher.shop))
    kept = {event["id"] for event in live if event["data"].get("by") != "table"}
    images = [
        {"table": table, "item": wire(item)}
        for table in ("subscriptions", "renewals", "changes")
        for item in publisher.shop.dynamodb.items(table).values()
    ]

    def told(start: datetime, end: datetime) -> list[Json]:
        before = len(publisher.bus.taken)
        publisher.handle({"from": start.isoformat(), "until": end.isoformat(), "images": images})
        return publisher.bus.events_since(before)

    again = told(NOON - DAY, NOON + 400 * DAY)
    assert {event["id"] for event in again} == kept
    assert len(kept) > 10
    some = {event["id"] for event in told(NOON + 20 * DAY, NOON + 40 * DAY)}
    assert some == {event["id"] for event in again if "2026-02-20" < event["occurred_at"] < "2026-03-12"}
    assert some < kept


def test_a_period_with_very_many_facts_is_told_again(publisher: Publisher) -> None:
    """A period was refunded in eighty small parts. Live, each refund is told by a write of its own; told again, all
    refunds stand in a single item, and every refund is told."""
    publisher.shop.subscribe()
    publisher.shop.run("run-1", NOON)
    (item,) = publisher.shop.items().values()
    refund = {"amount": Decimal("0.10"), "state": "refunded", "at": NOON.isoformat(), "by": "ann", "request": "hash"}
    item["refunds"] = {f"refund_{n}": {**refund, "refund_id": f"re_{n:030}"} for n in range(1, 81)}
    image = {"table": "renewals", "item": wire(item)}
    span = {"from": (NOON - DAY).isoformat(), "until": (NOON + DAY).isoformat()}
    assert publisher.handle({**span, "images": [image]}) == {"told": 81}
    told = [event["data"]["refund"] for event in publisher.bus.events if event["type"] == "renewal.refunded"]
    assert told == [f"refund_{n}" for n in range(1, 81)]


def test_a_span_that_the_bus_refuses_is_an_error(publisher: Publisher) -> None:
    """The command fails where an event was not taken, and is started again."""
    _months(publisher.shop, months=1)
    images = [{"table": "renewals", "item": wire(each)} for each in publisher.shop.items().values()]
    publisher.bus.trouble = [{0}]
    with pytest.raises(NotHandedOver):
        publisher.handle({"from": NOON.isoformat(), "until": (NOON + 40 * DAY).isoformat(), "images": images})


def _everything(publisher: Publisher, renewals: int, cut: Callable[[int], int | None]) -> tuple[set[str], set[str]]:
    """Renew many times, end the publisher as `cut` says, and return the ids of the facts and the ids heard."""
    shop, facts = publisher.shop, set[str]()
    for n in range(renewals):
        shop.dynamodb.tables.clear()
        shop.subscribe(plan=f"plan {n}")
        shop.streams.records(NOON)
        shop.run(f"run-{n}", NOON + n * timedelta(seconds=10))
        records = shop.streams.records(NOON + n * timedelta(seconds=10))
        before = len(publisher.bus.taken)
        deliver(records, publisher.handle)
        facts |= {event["id"] for event in publisher.bus.events_since(before)}
        shop.cuts.calls.clear()
        shop.cuts.at = cut(n)
        deliver(records, publisher.handle)
        shop.cuts.at = None
    return facts, {json.loads(entry["Detail"])["id"] for entry in publisher.bus.taken}


@pytest.mark.parametrize("renewals", share([25, 10_000], of=2))
def test_of_many_renewals_no_event_is_lost(publisher: Publisher, renewals: int) -> None:
    """Of many renewals, each is told under one id of its own, with the publisher ended at another call each time."""
    facts, heard = _everything(publisher, renewals, lambda n: n % 4)
    assert heard == facts
    assert len(heard) == renewals
