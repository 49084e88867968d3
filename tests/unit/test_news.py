"""What was recorded is told as events: each fact once under one id, only steps forward, and nothing personal."""

import json
import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant
from jsonschema import Draft202012Validator

from event_publisher.envelopes import Envelopes
from event_publisher.stream import Reader, Unreadable, period_in, read
from renewals.domain import disputes, news, subscription
from renewals.domain.changes import ChangeKind, of_dispute
from renewals.domain.disputes import DisputeStatus
from renewals.domain.news import EventType, Fact, sequence
from renewals.domain.news_of_changes import facts_of_change
from renewals.domain.news_of_periods import facts_of_period
from renewals.domain.news_of_rows import told_of_row
from renewals.domain.payment import GatewayRefundState
from renewals.domain.subscription import SubscriptionStatus
from renewals.domain.transitions import Action
from renewals.ledger import dispute_steps
from renewals.ledger.asked_by import AskedBy
from renewals.runtime.attribute_values import plain
from scripts import event_schemas
from tests.fakes import DUE, LATER, NOON, World
from tests.streams import Streams, record
from tests.unit.test_status_changes import Calls

DAY = timedelta(days=1)
DEPLOYMENT = "acme/123456789012/eu-central-1"
READER = Reader("renewals", "subscriptions", "changes", UTC, heeds_test_clocks=False)
PERSONAL = ("Ann Lee", "ann@", "customer.example", "pm_", "cus_gw")

type Json = dict[str, Any]


class Shop(World):
    """A world whose events are collected."""

    def __init__(self) -> None:
        super().__init__()
        self.streams = Streams(self.dynamodb, lambda: self.gateway.now)
        self.events: list[Json] = []

    def hear(self, at: datetime, reader: Reader = READER) -> list[Json]:
        """Return the events of the writes since the last call, committed at `at`."""
        heard: list[Json] = []
        with self.deployed(at):
            envelopes = Envelopes(self.ledger, DEPLOYMENT, timedelta(days=7))
            for each in self.streams.records(at):
                heard += [dict(event) for event in envelopes.of(reader.news(read(each)))]
        self.events += heard
        return heard

    def types(self, at: datetime) -> list[str]:
        return [event["type"] for event in self.hear(at)]

    def act(self, action: Action, at: datetime, **given: str) -> None:
        self.register.act(self.row(), action, at.date(), AskedBy("ann", at), given)


@pytest.fixture
def shop() -> Shop:
    made = Shop()
    made.subscribe()
    made.hear(NOON)
    return made


# --- the ledger ------------------------------------------------------------------------------------------------------


def test_a_renewal_is_told_once(shop: Shop) -> None:
    """A whole renewal, with receipt and mail, is one event, and a second run of the workflow tells nothing more."""
    shop.run()
    [event] = shop.hear(NOON)
    assert event["type"] == "renewal.paid"
    assert event["entitled_until"] == "2026-03-07"  # the paid period and the days of grace
    assert event["data"]["period"] == DUE.isoformat()
    assert (event["data"]["amount"], event["data"]["currency"]) == ("29.99", "USD")
    assert (event["subscription_id"], event["customer_id"]) == ("sub_1", "cus_1")
    shop.run("run-2", NOON + LATER)
    assert shop.hear(NOON + LATER) == []


@pytest.mark.parametrize(
    ("amount", "currency"), [("49.90", "EUR"), ("39.00", "EUR"), ("1980", "JPY"), ("10000", "JPY"), ("5.250", "KWD")]
)
def test_an_amount_has_the_decimals_of_its_currency(amount: str, currency: str) -> None:
    """DynamoDB keeps 49.90 as 49.9. The application hears each amount as the API shows the amount: of a payment, of a
    refused payment and of a refund."""
    shop = Shop()
    shop.subscribe(amount=Decimal(amount), currency=currency, payment_method="pm_declined")
    shop.run(amount=amount)
    shop.edit(payment_method="pm_ok")
    shop.run("run-2", NOON + DAY, amount=amount)
    shop.gateway.refund_elsewhere(shop.items()[DUE.isoformat()]["payment_id"], 500)
    shop.settle_refunds("run-3", NOON + DAY + LATER)
    told = {each["type"]: each["data"]["amount"] for each in shop.hear(NOON + DAY + LATER) if "amount" in each["data"]}
    refunded = {"EUR": "5.00", "JPY": "500", "KWD": "0.500"}[currency]
    assert told == {"renewal.failed": amount, "renewal.paid": amount, "renewal.refunded": refunded}


def test_a_refused_payment_is_past_due_until_it_recovers(shop: Shop) -> None:
    """A decline tells the attempt and that the subscription is past due; the second decline tells the attempt alone;
    the payment tells that the subscription has recovered."""
    shop.edit(payment_method="pm_declined")
    shop.hear(NOON)
    shop.run()
    assert shop.types(NOON) == ["renewal.failed", "subscription.past_due"]
    assert shop.events[-1]["data"]["status"] == "past_due"
    shop.run("run-2", NOON + DAY)
    assert shop.types(NOON + DAY) == ["renewal.failed"]
    shop.register.edit(shop.row(), {"payment_method": "pm_ok"}, ChangeKind.CARD, AskedBy("ann", NOON + DAY + LATER))
    assert shop.types(NOON + DAY + LATER) == ["subscription.updated"]
    shop.run("run-3", NOON + DAY + 2 * LATER)
    assert shop.types(NOON + DAY + 2 * LATER) == ["renewal.paid", "subscription.recovered"]
    assert shop.events[-1]["data"]["status"] == "active"


def test_dunning_ends_a_subscription(shop: Shop) -> None:
    """The last refused attempt tells that the period is given up and that the subscription has ended."""
    shop.edit(payment_method="pm_declined")
    for n in range(9):
        for again in range(3):
            shop.run(f"day-{n}-{again}", NOON + n * DAY + again * LATER)
        shop.hear(NOON + n * DAY + 3 * LATER)
    ended = [event for event in shop.events if event["type"] == "subscription.ended"]
    assert [(event["data"]["by"], event["data"]["status"]) for event in ended] == [("renewal", "canceled")]
    failed = [event["data"]["outcome"] for event in shop.events if event["type"] == "renewal.failed"]
    assert failed == [*["declined"] * 5, "given_up"]
    assert [event["type"] for event in shop.events].count("subscription.past_due") == 1


def test_a_confirmation_at_the_bank_is_asked_for(shop: Shop) -> None:
    """A payment that the bank wants the customer to confirm tells action_required, not failed."""
    shop.edit(payment_method="pm_3ds")
    shop.hear(NOON)
    shop.run()
    assert shop.types(NOON) == ["renewal.action_required", "subscription.past_due"]


def test_a_refused_period_that_is_given_up_for_another_reason_is_no_longer_past_due(shop: Shop) -> None:
    """A refused period whose subscription was moved is given up, and the event has the status after it."""
    shop.edit(payment_method="pm_declined")
    shop.run()
    shop.hear(NOON)
    shop.edit(renewal_date="2026-03-15")
    shop.hear(NOON + LATER)
    shop.run("run-2", NOON + DAY)
    told = shop.hear(NOON + DAY)
    assert [event["type"] for event in told] == ["renewal.failed", "subscription.updated"]
    assert told[0]["data"]["outcome"] == "given_up"
    assert (told[1]["data"]["status"], told[1]["data"]["by"]) == ("active", "renewal")


@pytest.mark.parametrize("fails", [False, True])
def test_a_refund_is_told_when_it_has_a_result(shop: Shop, fails: bool) -> None:
    """A refund in the gateway's dashboard is told as refunded; when it fails weeks later, the failure is told."""
    shop.run()
    shop.hear(NOON)
    payment = shop.items()[DUE.isoformat()]["payment_id"]
    refund = shop.gateway.refund_elsewhere(payment, 500)
    shop.settle_refunds("run-2", NOON + LATER)
    told = shop.hear(NOON + LATER)
    assert [event["type"] for event in told] == ["renewal.refunded"]
    assert told[0]["data"]["amount"] == "5.00"
    if fails:
        shop.gateway.refund_becomes(refund, GatewayRefundState.FAILED)
        shop.settle_refunds("run-3", NOON + 2 * LATER)
        assert shop.types(NOON + 2 * LATER) == ["renewal.refund_failed"]


# --- on request ------------------------------------------------------------------------------------------------------

ON_REQUEST: dict[ChangeKind, EventType | None] = {
    ChangeKind.CREATED: EventType.CREATED,
    ChangeKind.EDITED: EventType.UPDATED,
    ChangeKind.CANCELED: EventType.ENDED,
    ChangeKind.ENDING: EventType.CANCEL_SCHEDULED,
    ChangeKind.PAUSED: EventType.PAUSED,
    ChangeKind.RESUMED: EventType.RESUMED,
    ChangeKind.CARD: EventType.UPDATED,
    ChangeKind.REFUNDED: None,
    ChangeKind.RENEWING: None,
    ChangeKind.REDRIVEN: None,
    ChangeKind.RESENT: None,
    ChangeKind.MAIL_CLEARED: None,
    ChangeKind.SIGNED_OUT: None,
    ChangeKind.LINK_ASKED: None,
    ChangeKind.CANCELLATION_DECLARED: None,
    ChangeKind.WITHDRAWAL_DECLARED: None,
}


@pytest.mark.parametrize("kind", ChangeKind)
def test_each_kind_of_change_has_its_event(kind: ChangeKind) -> None:
    """Each kind of change on request is told by one event, or by none where another table tells the result."""
    item = {"subscription_id": "sub_1", "change": "2026/1", "at": NOON.isoformat(), "by": "ann", "what": kind.value}
    item["details"] = {"cancel_at": [None, "2026-03-01"]}  # type: ignore[assignment]
    assert [fact.type for fact in facts_of_change(item)] == [each for each in [ON_REQUEST[kind]] if each]


@pytest.mark.parametrize(
    ("does", "type_", "status"),
    [
        (lambda shop, at: shop.act(Action.CANCEL_NOW, at), "subscription.ended", "canceled"),
        (lambda shop, at: shop.act(Action.CANCEL_AT_PERIOD_END, at), "subscription.cancel_scheduled", "active"),
        (lambda shop, at: shop.act(Action.PAUSE, at), "subscription.paused", "paused"),
    ],
)
def test_a_request_is_told_once_though_the_row_changes_too(
    shop: Shop, does: Callable[[Shop, datetime], None], type_: str, status: str
) -> None:
    """A change on request writes the row and the record of the change, and is told by the record alone."""
    shop.run()
    shop.hear(NOON)
    does(shop, NOON + LATER)
    [event] = shop.hear(NOON + LATER)
    assert (event["type"], event["data"]["status"], event["data"]["by"]) == (type_, status, "request")


@pytest.mark.parametrize(
    ("action", "type_"),
    [
        (Action.CANCEL_NOW, "subscription.ended"),
        (Action.CANCEL_AT_PERIOD_END, "subscription.cancel_scheduled"),
    ],
)
def test_an_end_by_a_dispute_is_not_told_as_a_request(shop: Shop, action: Action, type_: str) -> None:
    """The event of an end that a chargeback has caused names the dispute as the cause: nobody has asked for the end."""
    shop.run()
    shop.hear(NOON)
    at = NOON + LATER
    shop.register.act(shop.row(), action, at.date(), AskedBy(of_dispute("dp_1"), at))
    [event] = shop.hear(at)
    assert (event["type"], event["data"]["by"]) == (type_, "dispute")


def test_a_creation_and_an_edit_on_request_are_told_by_the_record() -> None:
    """A subscription that is created on request is told once; an edit names the changed attributes, without values."""
    shop = Shop()
    shop.subscribe()
    row = dict(shop.row())
    shop.delete_row()
    shop.streams.records(NOON)
    shop.register.create(row, AskedBy("ann", NOON))
    assert shop.types(NOON) == ["subscription.created"]
    shop.register.edit(
        shop.row(),
        {"amount": Decimal("5.00"), "currency": "USD", "customer_email": "zoe@customer.example"},
        ChangeKind.EDITED,
        AskedBy("ann", NOON + LATER),
    )
    [event] = shop.hear(NOON + LATER)
    assert (event["type"], event["data"]["changed"]) == ("subscription.updated", ["amount", "customer_email"])


# --- rows written by hand --------------------------------------------------------------------------------------------

ROW: Json = {
    "subscription_id": "sub_1",
    "customer_id": "cus_1",
    "renewal_date": "2026-01-31",
    "amount": Decimal("9.99"),
    "currency": "USD",
    "payment_method": "pm_ok",
}
BY_HAND = """
           active     past_due   paused    canceled  unpaid    lost
active     -          past_due   paused    ended     ended     updated
past_due   recovered  -          paused    ended     ended     updated
paused     resumed    past_due   -         ended     ended     updated
canceled   resumed    past_due   paused    -         ended     updated
unpaid     resumed    past_due   paused    ended     -         updated
lost       resumed    past_due   paused    ended     ended     -
"""


def test_each_status_written_by_hand_has_its_event() -> None:
    """Every change from one status to another in a row that somebody wrote by hand, told as the table says."""
    head, *lines = [line.split() for line in BY_HAND.strip().splitlines()]
    assert set(head) == {*SubscriptionStatus, "lost"}
    for before, *cells in lines:
        for after, cell in zip(head, cells, strict=True):
            told = told_of_row({**ROW, "status": before}, {**ROW, "status": after}, NOON, "r1")
            expected = [] if cell == "-" else [f"subscription.{cell}"]
            assert [fact.type for fact in told] == expected, (before, after)
            assert all(fact.data["by"] == "table" for fact in told)


@pytest.mark.parametrize(
    ("before", "after", "types"),
    [
        ({}, {"cancel_at": "2026-02-28"}, ["subscription.cancel_scheduled"]),
        ({"cancel_at": "2026-02-28"}, {}, ["subscription.resumed"]),
        ({}, {"amount": Decimal(5)}, ["subscription.updated"]),
        ({}, {"payment_method": "pm_2"}, ["subscription.updated"]),
        ({}, {"anchor_day": Decimal(31)}, []),
        ({}, {"note": "call Ann"}, []),
        ({"version": Decimal(1)}, {"version": Decimal(2), "amount": Decimal(5)}, []),
        ({"version": Decimal(2)}, {"version": Decimal(1), "status": "paused"}, []),
        ({"last_payment": "2026-02-01"}, {"last_payment": "2026-01-01", "status": "paused"}, []),
        ({"renewal_date": "2026-02-28"}, {"renewal_date": "2026-01-31", "status": "paused"}, []),
        ({}, {"status": "past_due", "payment_status": "declined", "next_attempt": "2026-02-01"}, []),
        ({"status": "past_due", "next_attempt": "2026-02-01"}, {"status": "canceled"}, []),
        ({"cancel_at": "2026-02-01"}, {"cancel_at": "2026-02-01", "status": "canceled", "ended_on": "2026-02-01"},
         ["subscription.ended"]),
    ],
)  # fmt: skip
def test_a_write_to_a_row_is_told_where_no_other_table_tells_it(before: Json, after: Json, types: list[str]) -> None:
    """Writes by hand are told; writes by this system and older rows that are put back are not; a scheduled end that the
    sweep wrote is."""
    active: Json = {**ROW, "status": "active"}
    assert [fact.type for fact in told_of_row(active | before, active | after, NOON, "r1")] == types


def test_a_row_that_was_created_or_deleted_by_hand_is_told() -> None:
    """A new row without anything that this system writes was created by hand; a deleted row has ended."""
    active: Json = {**ROW, "status": "active"}
    assert [fact.type for fact in told_of_row(None, active, NOON, "r1")] == ["subscription.created"]
    assert [fact.type for fact in told_of_row(active, None, NOON, "r1")] == ["subscription.ended"]
    for mark in ({"version": Decimal(1)}, {"last_payment": "2026-01-01"}, {"paid_until": "2026-02-28"}):
        assert told_of_row(None, active | mark, NOON, "r1") == []


def test_a_reminder_is_told_when_it_was_sent() -> None:
    """The reminder of a renewal is told once, when its mail is with the customer."""
    active: Json = {**ROW, "status": "active"}

    def reminded(state: str) -> Json:
        sent = {"state": state, "at": NOON.isoformat(), "period": "2026-01-31", "to": "ann@customer.example"}
        return active | {"reminder_upcoming": sent}

    assert told_of_row(active, reminded("sending"), NOON, "r1") == []
    [fact] = told_of_row(reminded("sending"), reminded("sent"), NOON, "r2")
    assert (fact.type, fact.data["period"], fact.data["amount"]) == ("renewal.upcoming", "2026-01-31", "9.99")
    assert told_of_row(reminded("sent"), reminded("sent") | {"plan": "Max"}, NOON, "r3")[:1] != [fact]


# --- backups, imports, earlier versions ------------------------------------------------------------------------------


def _facts(item: Json) -> list[Fact]:
    period = period_in(item)
    return facts_of_period(period) if period else []


def _told(old: Json | None, new: Json | None, table: str, at: datetime = NOON) -> list[str]:
    return [each.fact.type for each in READER.news(read(record(table, old, new, at)))]


def test_a_restore_tells_nothing() -> None:
    """Every older image of every item that is written back over a newer image, or into the place of a deleted item,
    tells nothing."""
    shop = Shop()
    shop.subscribe(payment_method="pm_declined")
    for n in range(3):
        shop.run(f"run-{n}", NOON + n * DAY)
    shop.register.edit(shop.row(), {"payment_method": "pm_ok"}, ChangeKind.CARD, AskedBy("ann", NOON + 3 * DAY))
    shop.run("run-4", NOON + 3 * DAY + LATER)
    payment = shop.items()[DUE.isoformat()]["payment_id"]
    refund = shop.gateway.refund_elsewhere(payment, 500)
    shop.settle_refunds("run-5", NOON + 3 * DAY + 2 * LATER)
    shop.gateway.refund_becomes(refund, GatewayRefundState.FAILED)
    shop.settle_refunds("run-6", NOON + 3 * DAY + 3 * LATER)
    images: dict[str, list[Json]] = {}
    for table, _, new in shop.streams:
        images.setdefault(table, []).append(new or {})
    assert len(images["renewals"]) > 10
    for table in ("renewals", "changes"):
        for n, newer in enumerate(images[table]):
            for older in images[table][:n]:
                assert _told(newer, older, table, NOON + 4 * DAY) == []
                assert _told(newer, older, table, NOON + 3 * DAY + 4 * LATER) == []
            assert _told(None, newer, table, NOON + 6 * DAY) == []
    rows = images["subscriptions"]
    charged = [row for row in rows if "last_payment" in row]
    assert all(_told(charged[-1], older, "subscriptions") == [] for older in rows if older not in charged)
    assert all(_told(None, row, "subscriptions") == [] for row in rows[1:])


def test_rows_that_are_written_by_hand_are_told_once_each() -> None:
    """A row that somebody writes into the table is told as created, with the same id when the row is written again."""
    shop = Shop()
    for _ in range(2):
        for n in range(20):
            shop.dynamodb.put("subscriptions", {**ROW, "status": "active", "subscription_id": f"sub_{n}"})
        shop.dynamodb.items("subscriptions").clear()
    events = shop.hear(NOON)
    assert len(events) == 40
    assert len({event["id"] for event in events}) == 20
    assert {event["type"] for event in events} == {"subscription.created"}


def _earlier_items() -> Iterable[tuple[str, Json]]:
    for file in sorted((Path(__file__).parent / "earlier").glob("*.json")):
        yield from _items_in(json.loads(file.read_text()))


def _items_in(node: Any) -> Iterable[tuple[str, Json]]:
    """Yield the items of tables in a file of an earlier version, wherever they lie."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name in ("renewals", "subscriptions", "changes") and isinstance(value, list):
                yield from ((name, {k: plain(v) for k, v in item.items()}) for item in value)
            else:
                yield from _items_in(value)
    elif isinstance(node, list):
        for value in node:
            yield from _items_in(value)


def test_items_of_earlier_versions_are_read() -> None:
    """Every item that an earlier version wrote is read, and its facts fit the schemas."""
    items = list(_earlier_items())
    assert {table for table, _ in items} >= {"renewals", "subscriptions"}
    types = set()
    for table, item in items:
        facts = _facts(item) if table == "renewals" else facts_of_change(item) if table == "changes" else []
        for fact in facts:
            _check(news.News(fact, 1).event(DEPLOYMENT, news.SubscriptionNow("active", "cus_1", None)))
            types.add(fact.type)
    assert types >= {EventType.PAID, EventType.FAILED, EventType.REFUNDED}


@pytest.mark.parametrize("late", [LATER, timedelta(hours=2), timedelta(days=20)], ids=["soon", "hours", "weeks"])
def test_each_step_of_a_dispute_is_told_once(shop: Shop, late: timedelta) -> None:
    """Each recorded step of a dispute is told with the gateway's status and the money that has moved, however long
    after the renewal, and a renewal's other writes tell nothing more of the dispute."""
    shop.run()
    shop.hear(NOON)
    shop.gateway.contest("pi_1")
    shop.gateway.withdraw("dp_1")
    at = NOON + late
    _record_dispute(shop, at)
    [first] = shop.hear(at)
    period = {"period": "2026-01-31", "period_end": "2026-02-28"}
    assert first["data"] == period | {
        "dispute_id": "dp_1",
        "status": "needs_response",
        "reason": "subscription_canceled",
        "amount": "29.99",
        "currency": "USD",
        "due_by": "2026-02-09T12:00:00.000000+00:00",
        "payment_currency": "USD",
        "withdrawn": "29.99",
        "reinstated": "0.00",
    }
    shop.gateway.dispute_becomes("dp_1", DisputeStatus.WON)
    shop.gateway.reinstate("dp_1")
    _record_dispute(shop, at + LATER)
    [second] = shop.hear(at + LATER)
    assert (second["type"], second["data"]["status"], second["data"]["reinstated"]) == (
        "renewal.disputed",
        "won",
        "29.99",
    )
    assert first["id"] != second["id"]
    assert first["sequence"] < second["sequence"]
    shop.settle_refunds("run-2", at + 2 * LATER)
    assert shop.hear(at + 2 * LATER) == []


def test_a_dispute_in_another_currency_names_both_currencies(shop: Shop) -> None:
    """The bank contests a payment in dollars in another currency: the event names the currency of the contested sum and
    the currency of the payment, in which the money that moved is told."""
    shop.run()
    shop.hear(NOON)
    shop.gateway.contest("pi_1")
    shop.gateway.disputes["dp_1"] = replace(shop.gateway.disputes["dp_1"], amount=4700, currency="JPY", withdrawn=4700)
    _record_dispute(shop, NOON + LATER)
    [event] = shop.hear(NOON + LATER)
    told = event["data"]
    assert (told["amount"], told["currency"]) == ("4700", "JPY")
    assert (told["withdrawn"], told["reinstated"], told["payment_currency"]) == ("29.99", "0.00", "USD")


def _record_dispute(shop: Shop, at: datetime) -> None:
    """Record how the gateway's dispute stands, as the worker of events does."""
    period = shop.ledger.get("sub_1", DUE.isoformat())
    assert period is not None
    record = disputes.with_new_step(period, shop.gateway.disputes["dp_1"], at)
    assert record is not None
    shop.ledger.apply(dispute_steps.record_dispute(period, "dp_1", record))


def test_an_item_that_cannot_be_read_is_named() -> None:
    """A record whose item somebody wrote by hand in a form that cannot be read is unreadable, and names its table."""
    claimed = {"subscription_id": "sub_1", "renewal_date": "2026-01-31", "status": "claimed", "claim": "c"}
    broken = claimed | {"touched_at": NOON.isoformat(), "refusals": "none"}
    with pytest.raises(Unreadable, match="an item of renewals: "):
        _told(claimed | {"touched_at": NOON.isoformat()}, broken, "renewals")
    wrong: Json
    for wrong in ({}, {"dynamodb": {}}, {"dynamodb": {"NewImage": {"a": {"Q": "1"}}}}):
        with pytest.raises(Unreadable, match="a record of a stream: "):
            read(wrong)


# --- the envelope ----------------------------------------------------------------------------------------------------


def _check(event: Json) -> None:
    """Check an event against its schema, and that the event holds nothing that the schema does not name."""
    schema = event_schemas.schema(EventType(event["type"]))
    Draft202012Validator(schema).validate(event)
    assert event.keys() == schema["properties"].keys()
    assert event["data"].keys() <= schema["properties"]["data"]["properties"].keys()
    assert not any(word in json.dumps(event) for word in PERSONAL)


def test_the_schemas_are_those_of_the_code() -> None:
    """docs/events/ holds exactly what `python -m scripts.event_schemas` writes."""
    assert {each.name: each.read_text() for each in event_schemas.FOLDER.iterdir()} == event_schemas.files()


def test_the_id_of_an_event_is_of_its_deployment_alone(shop: Shop) -> None:
    """Two deployments that tell the same fact tell it under different ids."""
    shop.run()
    facts = [fact for item in shop.items().values() for fact in _facts(item)]
    assert {news.event_id(DEPLOYMENT, fact) for fact in facts} == {event["id"] for event in shop.hear(NOON)}
    assert not {news.event_id("other", fact) for fact in facts} & {event["id"] for event in shop.events}


@given(
    first=st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1)),  # noqa: DTZ001
    apart=st.timedeltas(timedelta(microseconds=2), timedelta(days=30)),
    late=st.timedeltas(timedelta(0), timedelta(milliseconds=1)),
    test_clock=st.integers(-5000, 5000),
)
def test_a_sequence_rises_with_the_moment(first: datetime, apart: timedelta, late: timedelta, test_clock: int) -> None:
    """Of two writes, the later write has the higher sequence, with and without a test clock, although DynamoDB names
    only the second; and no sequence is too large for a number of JavaScript."""
    one = first.replace(tzinfo=UTC)
    two = one + apart
    day = test_clock * DAY
    moments = [(one + late, one + day), (two + late, two + day)]
    low, high = (sequence(committed.replace(microsecond=0), recorded, 0) for committed, recorded in moments)
    assert low <= high
    assert low < high or moments[0][0].replace(microsecond=0) == moments[1][0].replace(microsecond=0)
    assert high < 2**53


# --- the receiver ----------------------------------------------------------------------------------------------------


class Receiver:
    """A receiver as docs/events.md advises: each id once, the status of the highest sequence, a paid period stays."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self.latest = -1
        self.status: str | None = None
        self.paid: set[str] = set()
        self.refunds: dict[str, str] = {}

    def take(self, event: Json) -> None:
        if event["id"] in self.seen:
            return
        self.seen.add(event["id"])
        if event["type"].startswith("subscription.") and event["sequence"] > self.latest:
            self.latest, self.status = event["sequence"], event["data"]["status"]
        if event["type"] == "renewal.paid":
            self.paid.add(event["data"]["period"])


class Heard(Calls):
    """The calls of test_status_changes, with the events heard in any order and repetition."""

    def __init__(self) -> None:
        super().__init__()
        self.shop: Any = Shop()
        self.register = self.shop.register

    def _act(self, action: Action, **given: Any) -> None:
        self.now += timedelta(seconds=1)
        super()._act(action, **given)

    @invariant()
    def hear(self) -> None:
        if "subscriptions" in self.shop.dynamodb.tables:
            self.shop.hear(self.now)

    def teardown(self) -> None:
        if "subscriptions" not in self.shop.dynamodb.tables:
            return
        row, today = self.shop.row(), self.now.date()
        if row["status"] != subscription.status_on(row, today):
            return  # the day in cancel_at has come, and the sweep has not written the end yet
        paid = {day for day, item in self.shop.items().items() if "paid_at" in item}
        events = self.shop.events
        for event in events:
            _check(event)
        assert len({event["id"] for event in events}) == len(events)
        for seed in range(5):
            order = random.Random(seed).sample(events * 2, len(events) * 2)  # noqa: S311
            receiver = Receiver()
            for event in order:
                receiver.take(event)
            assert receiver.status in (row["status"], None)
            assert receiver.paid == paid


Heard.TestCase.settings = settings(max_examples=10, stateful_step_count=30, deadline=None)
TestHeard = Heard.TestCase


class MuchHeard(Heard):
    """The same, in many more examples."""


MuchHeard.TestCase.settings = settings(max_examples=400, stateful_step_count=40, deadline=None)
TestMuchHeard = pytest.mark.proof(MuchHeard.TestCase)
