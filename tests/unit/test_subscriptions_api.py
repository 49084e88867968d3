"""The API as a caller meets it: requests in, replies out, over AWS in memory."""

import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from decimal import Decimal
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from renewals.domain.item_values import storable
from renewals.gateway import access as gateway_access
from renewals.ledger.asked_by import AskedBy
from renewals.ledger.entity_tags import etag
from renewals.ledger.receipt_links import named
from renewals.runtime import aws
from subscriptions_api import app, receipts, shared
from tests.fake_aws import FakeDynamoDB, error
from tests.fakes import DUE, LATER, LINKS, NOON, World
from tests.shares import share

ANN = "arn:aws:iam::123456789012:user/ann"
ZOE = "arn:aws:sts::123456789012:assumed-role/Operators/zoe"
DAY = timedelta(days=1)
NEW = {
    "subscription_id": "sub_new",
    "customer_id": "cus_new",
    "amount": {"amount": "12.50", "currency": "EUR"},
    "gateway_customer": "cus_gw",
    "payment_method": "pm_ok",
}
type Json = Any


class Reply:
    """A reply: status, headers (names in lower case) and body. Every reply is checked on the way for the content type
    of a problem and for the headers that forbid caching."""

    def __init__(self, reply: dict[str, Any]) -> None:
        self.status: int = reply["statusCode"]
        self.headers = {name.lower(): values[0] for name, values in reply["multiValueHeaders"].items()}
        self.body: Json = json.loads(reply["body"])
        kind = "application/problem+json" if self.status >= 400 else "application/json"
        assert self.headers["content-type"] == kind
        assert (self.headers["cache-control"], self.headers["x-content-type-options"]) == ("no-store", "nosniff")
        if self.status >= 400:
            assert self.body["status"] == self.status

    @property
    def faults(self) -> list[str]:
        return [fault["field"] for fault in self.body["errors"]]


class Api:
    """The API's function over a shop. started: the inputs of the workflows that were started."""

    def __init__(self, shop: World) -> None:
        self.shop = shop
        self.started: list[Json] = []
        self.trouble: Exception | None = None

    def start_execution(self, **q: Any) -> dict[str, str]:
        if self.trouble is not None:
            raise self.trouble
        self.started.append(json.loads(q["input"]))
        return {"executionArn": "arn:aws:states:us-west-2:123456789012:express:renewal:1"}

    def __call__(
        self,
        method: str,
        path: str,
        body: Json = None,
        *,
        who: str | None = ANN,
        query: Mapping[str, str | list[str]] | None = None,
        sent: dict[str, Any] | None = None,
        **headers: Any,
    ) -> Reply:
        text = body if isinstance(body, str) or body is None else json.dumps(body)
        queries = {name: value if isinstance(value, list) else [value] for name, value in (query or {}).items()}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        event = {
            "httpMethod": method,
            "path": path,
            "headers": {"Content-Type": "application/json"} | named,
            "multiValueHeaders": {name: [value] for name, value in named.items()},
            "queryStringParameters": {name: values[-1] for name, values in queries.items()} or None,
            "multiValueQueryStringParameters": queries or None,
            "requestContext": {"identity": {"userArn": who}, "stage": "prod", "path": f"/prod{path}"}
            | {"domainName": "api.example.org"},
            "body": text,
            "isBase64Encoded": False,
        } | (sent or {})
        return Reply(app.handler(event, None))

    def changes(self) -> list[Json]:
        items = self.shop.dynamodb.items("changes").values()
        return sorted((item for item in items if item["change"] != "answer"), key=lambda item: item["at"])


@pytest.fixture
def api(shop: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """The API's function in a deployment that heeds test clocks."""
    made = Api(shop)
    for name, value in {
        "DYNAMODB_TABLE": "subscriptions",
        "RENEWALS_TABLE": "renewals",
        "CHANGES_TABLE": "changes",
        "STATE_MACHINE_ARN": "arn:aws:states:us-west-2:123456789012:stateMachine:renewal",
        "GRACE_DAYS": "7",
        "ENVIRONMENT": "dev",
        "TIME_ZONE": "UTC",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(aws, "dynamodb", lambda: shop.dynamodb)
    monkeypatch.setattr(aws, "step_functions", lambda: made)
    monkeypatch.setattr(gateway_access, "gateway", cache(lambda: shop.gateway))
    shared.register.cache_clear()
    yield made
    shared.register.cache_clear()


# --- creating -------------------------------------------------------------------------------------------------------


def test_create_with_the_first_charge_now(api: Api) -> None:
    """A subscription created without a date is due today: the row can be charged as it stands, and the workflow is
    started."""
    reply = api("POST", "/subscriptions", NEW)
    assert (reply.status, reply.body["fault"]) == (201, None)
    today = reply.body["renewal_date"]
    assert api.started == [
        {"subscription_id": "sub_new", "customer_id": "cus_new", "amount": "12.50", "renewal_date": today}
    ]
    assert api("GET", "/subscriptions/sub_new").body == reply.body
    assert reply.headers["etag"] == etag(api.shop.dynamodb.items("subscriptions")["sub_new", "cus_new"])


def test_create_with_a_date(api: Api) -> None:
    """With a `renewal_date` nothing is charged before that day, and the row has every field of the request."""
    given = NEW | {
        "renewal_date": "2126-01-31",
        "interval": "year",
        "interval_count": 2,
        "anchor_day": 31,
        "catch_up": "each",
        "plan": "Team",
        "customer_name": "José",
        "customer_email": "jose@example.org",
        "locale": "pt-BR",
    }
    reply = api("POST", "/subscriptions", given)
    assert reply.status == 201
    assert api.started == []
    row = api.shop.dynamodb.items("subscriptions")["sub_new", "cus_new"]
    as_given = {name: value for name, value in given.items() if name not in ("amount", "interval_count", "anchor_day")}
    assert as_given.items() <= row.items()
    assert (row["amount"], row["currency"], row["interval_count"]) == (Decimal("12.50"), "EUR", 2)
    assert (row["anchor_day"], row["version"], row["status"]) == (31, 1, "active")


@pytest.mark.parametrize("imports", [False, True])
def test_the_row_says_when_it_was_created_unless_it_was_imported(api: Api, *, imports: bool) -> None:
    """The moment of the creation tells a trial from a subscription whose first periods were paid elsewhere: an imported
    row has no such moment."""
    row = {"subscription_id": "sub_new", "customer_id": "cus_new"}
    made = api.shop.register.create(row, AskedBy("ops", NOON, imports=imports))
    assert made.get("created_at") == (None if imports else storable(NOON))
    assert api.shop.dynamodb.items("subscriptions")["sub_new", "cus_new"] == made


def test_without_an_id_it_gets_one(api: Api) -> None:
    """Every subscription created without an id gets a new id of its own; null is not an id."""
    assert (
        api("POST", "/subscriptions", NEW | {"subscription_id": None}).status == 400
    )  # null is not the same as an absent field
    given = {name: value for name, value in NEW.items() if name != "subscription_id"}
    made = {api("POST", "/subscriptions", given, Idempotency_Key=key).body["subscription_id"] for key in ("k-1", "k-2")}
    assert len(made) == 2


def test_an_id_is_taken_once(api: Api) -> None:
    """A second subscription with a used id is refused, also for a different customer, and also after the row was
    deleted."""
    assert api("POST", "/subscriptions", NEW).status == 201
    assert api("POST", "/subscriptions", NEW | {"customer_id": "cus_other"}).status == 409
    api.shop.dynamodb.items("subscriptions").clear()
    assert api("POST", "/subscriptions", NEW).status == 409


def test_every_wrong_field_is_named_at_once(api: Api) -> None:
    """A bad request is answered with the names of all wrong fields at once, and the answer never quotes the values
    sent."""
    reply = api(
        "POST",
        "/subscriptions",
        {
            "customer_id": "../x",
            "amount": {"amount": 29.99, "currency": "usd"},
            "gateway_customer": "",
            "interval": "fortnight",
            "interval_count": True,
            "renewal_date": "2026-02-30",
            "customer_email": "secret address",
            "colour": "green",
        },
        Idempotency_Key="a key",
    )
    assert reply.status == 400
    assert sorted(reply.faults) == [
        "body.amount.amount",
        "body.amount.currency",
        "body.colour",
        "body.customer_email",
        "body.customer_id",
        "body.gateway_customer",
        "body.interval",
        "body.interval_count",
        "body.payment_method",
        "body.renewal_date",
        "header.idempotency-key",
    ]
    assert "secret" not in json.dumps(reply.body)


@pytest.mark.parametrize(
    "amount",
    [
        {"amount": 29.99, "currency": "USD"},
        {"amount": 30, "currency": "USD"},
        {"amount": "29.999", "currency": "USD"},
        {"amount": "29.5", "currency": "JPY"},
        {"amount": "-1.00", "currency": "USD"},
        {"amount": "0.10", "currency": "USD"},
        {"amount": "1e2", "currency": "USD"},
        {"amount": "NaN", "currency": "USD"},
        {"amount": "٣٠", "currency": "USD"},
        {"amount": "1.00", "currency": "QQQ"},
        {"amount": "1.00"},
        "29.99",
    ],
)
def test_money_is_exact_or_refused(api: Api, amount: Json) -> None:
    """The API refuses an amount given as a float or a whole JSON number, in need of rounding, or outside what the
    gateway charges, and writes no row."""
    reply = api("POST", "/subscriptions", NEW | {"amount": amount})
    assert reply.status == 400
    assert all(fault.startswith("body.amount") for fault in reply.faults)
    assert api.shop.dynamodb.items("subscriptions") == {}


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        ("{", {}, 400),
        ("", {}, 400),
        ("null", {}, 400),
        (f"[{json.dumps(NEW)}]", {}, 400),
        ('{"customer_id": "a", "customer_id": "b"}', {}, 400),
        ('{"customer_id": NaN}', {}, 400),
        ("[" * 100_000, {}, 413),
        ("[" * 60_000, {}, 400),
        ('{"plan": "\\ud800"}', {}, 400),
        ("customer_id=cus_1", {"Content_Type": "application/x-www-form-urlencoded"}, 415),
        ("--x", {"content_type": "multipart/form-data"}, 415),
        ("{}", {"content_type": "text/plain"}, 415),
        ("{}", {"content_type": "application/jsonx"}, 415),
    ],
)
def test_bodies_that_are_none(api: Api, body: str, headers: dict[str, Any], status: int) -> None:
    """Anything but a single JSON object is refused as the caller's fault."""
    assert api("POST", "/subscriptions", body, **headers).status == status


@pytest.mark.parametrize(
    "kind",
    ["APPLICATION/JSON", "Application/Json; charset=utf-8", "application/json;charset=UTF-8", " application/json ", ""],
)
def test_json_is_json_in_any_spelling(api: Api, kind: str) -> None:
    """A media type is case-insensitive and may have parameters (RFC 9110, 8.3.1); without a media type a body is taken
    for JSON."""
    assert api("POST", "/subscriptions", NEW, content_type=kind).status == 201


def test_a_request_without_a_body_may_have_any_type(api: Api) -> None:
    """A request with a content type and no body is answered by the route, never by a text of the framework."""
    api.shop.subscribe()
    assert api("POST", "/subscriptions/sub_1/pause", content_type="text/plain").status == 200
    assert api("POST", "/subscriptions", "", content_type="text/plain").status == 400


def test_a_date_before_today_is_refused(api: Api) -> None:
    """The first charge must be due today or later: a slip bills nobody for the past."""
    reply = api("POST", "/subscriptions", NEW | {"renewal_date": "2020-01-31"})
    assert (reply.status, reply.faults) == (400, ["body.renewal_date"])


# --- repeated requests ----------------------------------------------------------------------------------------------


def test_the_same_request_is_answered_the_same(api: Api) -> None:
    """A request repeated under its idempotency key gets the first answer, though the subscription has changed since,
    and has no effect."""
    first = api("POST", "/subscriptions", NEW, Idempotency_Key="k-1")
    row = api.shop.dynamodb.items("subscriptions")["sub_new", "cus_new"]
    api.shop.dynamodb.put("subscriptions", row | {"plan": "Other"})
    again = api("POST", "/subscriptions", NEW, Idempotency_Key="k-1")
    assert (again.status, again.body, again.headers["etag"]) == (201, first.body, first.headers["etag"])
    assert [change["what"] for change in api.changes()] == ["created"]


def test_another_request_under_the_same_key_is_refused(api: Api) -> None:
    """A used idempotency key with a different body or path is refused with 422 and has no effect."""
    assert api("POST", "/subscriptions", NEW, Idempotency_Key="k-1").status == 201
    other = NEW | {"subscription_id": "sub_other"}
    assert api("POST", "/subscriptions", other, Idempotency_Key="k-1").status == 422
    assert api("POST", "/subscriptions/sub_new/pause", Idempotency_Key="k-1").status == 422
    assert list(api.shop.dynamodb.items("subscriptions")) == [("sub_new", "cus_new")]
    assert api("GET", "/subscriptions/sub_new").body["status"] == "active"


def test_a_status_change_that_comes_again_is_not_refused(api: Api) -> None:
    """Pausing twice is refused, but the same request sent twice is a single pause and is answered alike."""
    api.shop.subscribe()
    first = api("POST", "/subscriptions/sub_1/pause", Idempotency_Key="k-2")
    again = api("POST", "/subscriptions/sub_1/pause", Idempotency_Key="k-2")
    assert (first.status, again.status, first.body) == (200, 200, again.body)
    assert api("POST", "/subscriptions/sub_1/pause").status == 409


def test_one_request_that_comes_twice_at_once_creates_one(api: Api) -> None:
    """A second delivery of the request runs whole between the first delivery's read and write: the second creates the
    subscription, and the first repeats the second's answer."""
    given = {name: value for name, value in NEW.items() if name != "subscription_id"}
    meanwhile: list[Reply] = []
    api.shop.cuts.happens = lambda _: meanwhile.append(api("POST", "/subscriptions", given, Idempotency_Key="k-3"))
    api.shop.cuts.at = 4  # before the third call of the first request, the transaction
    first = api("POST", "/subscriptions", given, Idempotency_Key="k-3")
    assert (first.status, first.body) == (201, meanwhile[0].body)
    assert len(api.shop.dynamodb.items("subscriptions")) == 1


# --- editing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "path", "body"),
    [
        ("POST", "cancel", {"when": "now"}),
        ("POST", "cancel", {"when": "at_period_end"}),
        ("POST", "pause", None),
        ("PUT", "payment-method", {"payment_method": "pm_card_mastercard"}),
    ],
)
def test_the_entity_tag_of_a_change_is_the_one_that_is_read_next(api: Api, verb: str, path: str, body: Any) -> None:
    """The answer to a change has the subscription's new entity tag, so a client can change the subscription again
    without reading it first."""
    api.shop.subscribe()
    query = {"verify": "false"} if verb == "PUT" else {}
    changed = api(verb, f"/subscriptions/sub_1/{path}", body, query=query)
    assert (changed.status, changed.headers["etag"]) == (200, _etag(api))
    assert api("PATCH", "/subscriptions/sub_1", {"plan": "T"}, If_Match=changed.headers["etag"]).status == 200


def _etag(api: Api) -> str:
    return str(api("GET", "/subscriptions/sub_1").headers["etag"])


def test_edit(api: Api) -> None:
    """An edit changes the fields that it names and no others, returns the new entity tag, and is recorded with its
    author."""
    api.shop.subscribe()
    before = dict(api.shop.row())
    edit = {
        "amount": {"amount": "39.00", "currency": "USD"},
        "interval_count": 3,
        "customer_email": "zoe@example.org",
        "plan": "Team",
    }
    reply = api("PATCH", "/subscriptions/sub_1", edit, who=ZOE, If_Match=_etag(api))
    assert reply.status == 200
    assert reply.headers["etag"] == _etag(api)
    changed = {"amount": Decimal("39.00"), "interval_count": 3, "customer_email": "zoe@example.org", "plan": "Team"}
    assert api.shop.row() == before | changed | {"version": 1}
    (change,) = api.changes()
    assert (change["by"], change["what"]) == ("Operators/zoe", "edited")
    assert change["details"]["customer_email"] == ["a***@c***.example", "z***@e***.org"]


@pytest.mark.parametrize("card", ["pm_ok", "pm_declined"])
def test_another_address_is_mailed_what_waited(api: Api, card: str) -> None:
    """After the address is corrected, the waiting mail (a receipt or a decline) is sent; a change of any other field
    mails nothing."""
    api.shop.subscribe(customer_email="nobody", payment_method=card)
    assert api.shop.run() == "EmailFailed"
    assert api("PATCH", "/subscriptions/sub_1", {"plan": "Team"}, If_Match="*").status == 200
    assert api.started == []
    assert api("PATCH", "/subscriptions/sub_1", {"customer_email": "ann@new.example"}, If_Match="*").status == 200
    [work] = api.started
    assert (work["subscription_id"], work["renewal_date"]) == ("sub_1", "2026-01-31")
    api.shop.run("corrected", NOON + LATER, period=work["renewal_date"])
    assert [mail["To"] for mail in api.shop.mails()] == ["Ann Lee <ann@new.example>"]
    assert len(api.shop.gateway.attempts) == 1


@pytest.mark.parametrize("last_card", ["pm_ok", "pm_declined"])
@pytest.mark.parametrize("waiting", share([12, 31], of=2))
def test_another_address_is_mailed_all_that_waited(api: Api, waiting: int, last_card: str) -> None:
    """Daily receipts, more than a page of the ledger has, are mailed to the corrected address once each, oldest first,
    also where the latest period is declined; the same correction sent again mails nothing more."""
    shop = api.shop
    days = [DUE - timedelta(days=n) for n in reversed(range(waiting))]
    shop.subscribe(customer_email="nobody", interval="day", renewal_date=days[0].isoformat())
    for n, day in enumerate(days):
        shop.edit(payment_method=last_card if day == days[-1] else "pm_ok")
        assert shop.run(f"day-{n}", NOON - (DUE - day), period=day.isoformat()) == "EmailFailed"
    address = {"customer_email": "ann@new.example"}
    assert api("PATCH", "/subscriptions/sub_1", address, If_Match="*").status == 200
    started = [work["renewal_date"] for work in api.started]
    assert started == [day.isoformat() for day in days]
    for n, period in enumerate(started):
        shop.run(f"corrected-{n}", NOON + LATER, period=period)
    last = "receipt" if last_card == "pm_ok" else "payment_failed"
    assert sorted(shop.mail_kinds()) == sorted([last, *["receipt"] * (waiting - 1)])
    assert len(shop.mails()) == waiting
    api.started.clear()
    assert api("PATCH", "/subscriptions/sub_1", address, If_Match="*").status == 200
    assert api.started == []


def test_a_stale_editor_is_told(api: Api) -> None:
    """An editor who read an earlier state changes nothing and gets 412, whether the API or a person has changed the row
    since."""
    api.shop.subscribe()
    read = _etag(api)
    assert api("PATCH", "/subscriptions/sub_1", {"plan": "A"}, If_Match=read).status == 200
    assert api("PATCH", "/subscriptions/sub_1", {"plan": "B"}, If_Match=read).status == 412
    read = _etag(api)
    api.shop.edit(locale="de")
    assert api("PATCH", "/subscriptions/sub_1", {"plan": "B"}, If_Match=read).status == 412
    assert api.shop.row()["plan"] == "A"


def test_a_change_and_its_undoing_are_seen(api: Api) -> None:
    """A value that was changed and changed back gives a new entity tag, because the tag counts changes too."""
    api.shop.subscribe()
    read = _etag(api)
    for plan in ("Other", "Pro"):
        assert api("PATCH", "/subscriptions/sub_1", {"plan": plan}, If_Match=_etag(api)).status == 200
    assert api("PATCH", "/subscriptions/sub_1", {"plan": "B"}, If_Match=read).status == 412


def test_a_renewal_in_between_makes_no_editor_start_over(api: Api) -> None:
    """A renewal does not change the entity tag, and the edit does not overwrite the renewal."""
    api.shop.subscribe()
    read = _etag(api)
    api.shop.run()
    assert api("PATCH", "/subscriptions/sub_1", {"plan": "Team"}, If_Match=read).status == 200
    assert (api.shop.row()["renewal_date"], api.shop.row()["payment_status"]) == ("2026-02-28", "paid")


def _run(api: Api) -> None:
    api.shop.run()


@pytest.mark.parametrize("call", range(2, 8))
def test_a_renewal_within_an_edit_is_not_overwritten(api: Api, call: int) -> None:
    """A whole renewal runs between any two calls of the edit: the row has the renewal and the edit."""
    api.shop.subscribe()
    read = _etag(api)
    api.shop.cuts.calls.clear()
    api.shop.cuts.happens = lambda _: _run(api)
    api.shop.cuts.at = call
    assert api("PATCH", "/subscriptions/sub_1", {"plan": "Team"}, If_Match=read).status == 200
    row = api.shop.row()
    renewed = row["renewal_date"] == "2026-02-28"
    assert renewed is (api.shop.cuts.at is None)
    assert (row["plan"], row["version"]) == ("Team", 1)


@pytest.mark.parametrize(
    ("edit", "fault"),
    [
        ({}, "body"),
        ({"status": "canceled"}, "body.status"),
        ({"renewal_date": "2026-01-31"}, "body.renewal_date"),
        ({"plan": None}, "body.plan"),
        ({"interval": "year", "interval_count": 0}, "body.interval_count"),
        ({"amount": {"amount": "0.01", "currency": "USD"}}, "body.amount"),
        ({"locale": "English"}, "body.locale"),
    ],
)
def test_edits_that_cannot_be(api: Api, edit: Json, fault: str) -> None:
    """An edit of an uneditable field, or to a value that cannot be charged, is refused by the field's name and writes
    nothing."""
    api.shop.subscribe()
    reply = api("PATCH", "/subscriptions/sub_1", edit, If_Match="*")
    assert (reply.status, reply.faults) == (400, [fault])
    assert "version" not in api.shop.row()


@pytest.mark.parametrize(("tag", "status"), [(None, 400), ("abc", 400), ('W/"1-a"', 400), ('"1-a"', 412), ("*", 200)])
def test_edits_say_what_they_have_read(api: Api, tag: str | None, status: int) -> None:
    """An edit without a strong entity tag is refused with 400, and an edit with an outdated tag with 412; `*` fits any
    state."""
    api.shop.subscribe()
    headers: dict[str, Any] = {"If_Match": tag} if tag else {}
    assert api("PATCH", "/subscriptions/sub_1", {"plan": "Team"}, **headers).status == status


def test_a_list_of_tags_may_hold_the_right_one(api: Api) -> None:
    """If-Match accepts a list of entity tags that has the current tag."""
    api.shop.subscribe()
    assert api("PATCH", "/subscriptions/sub_1", {"plan": "T"}, If_Match=f'"1-a", {_etag(api)}').status == 200


def test_an_edit_that_changes_nothing_is_no_change(api: Api) -> None:
    """An edit with unchanged values is neither written nor recorded, and keeps the entity tag."""
    api.shop.subscribe()
    read = _etag(api)
    assert api("PATCH", "/subscriptions/sub_1", {"plan": "Pro"}, If_Match=read).headers["etag"] == read
    assert api.changes() == []


# --- status changes -------------------------------------------------------------------------------------------------


def test_cancel_at_the_end_of_the_period_and_take_it_back(api: Api) -> None:
    """Canceling at the period's end sets `cancel_at` to the end of the paid time, and resuming removes `cancel_at`; the
    timeline tells of both."""
    api.shop.subscribe(test_clock="2026-01-10")
    ended = api("POST", "/subscriptions/sub_1/cancel", {"when": "at_period_end"})
    assert (ended.status, ended.body["cancel_at"], ended.body["status"]) == (200, "2026-01-31", "active")
    resumed = api("POST", "/subscriptions/sub_1/resume", who=ZOE)
    assert (resumed.status, resumed.body["cancel_at"]) == (200, None)
    texts = [entry["text"] for entry in api("GET", "/subscriptions/sub_1/timeline").body["items"]]
    assert texts == [
        "ann canceled the subscription at the end of its period: cancel_at set to 2026-01-31.",
        "Operators/zoe resumed the subscription: cancel_at removed.",
    ]


def test_cancel_now(api: Api) -> None:
    """A subscription canceled now is charged no more, and a status change that may not follow is refused with the
    reason."""
    api.shop.subscribe(test_clock="2026-01-31")
    assert api("POST", "/subscriptions/sub_1/cancel", {"when": "now"}).body["status"] == "canceled"
    assert api.shop.run() == "Success"
    assert api.shop.gateway.charges == []
    refused = api("POST", "/subscriptions/sub_1/resume")
    assert (refused.status, refused.body["detail"]) == (409, "The subscription cannot be resumed: it is canceled.")


def test_canceling_what_is_past_due_has_its_payment_closed(api: Api) -> None:
    """Canceling a past due subscription starts the workflow at once to cancel the declined payment, which the customer
    could otherwise still complete."""
    api.shop.subscribe(payment_method="pm_declined", test_clock="2026-01-31")
    api.shop.run()
    assert api("POST", "/subscriptions/sub_1/cancel", {"when": "now"}).status == 200
    assert [work["subscription_id"] for work in api.started] == ["sub_1"]
    api.shop.run("run-2", NOON + DAY)
    assert [item["status"] for item in api.shop.items().values()] == ["given_up"]


def test_resuming_bills_from_the_day_on_which_it_is_active_again(api: Api) -> None:
    """After a resumption every date in the pause is skipped, and the next charge is made at once, for a period from
    today on."""
    api.shop.subscribe(test_clock="2026-01-10")
    assert api("POST", "/subscriptions/sub_1/pause").status == 200
    api.shop.edit(test_clock="2026-03-20")
    before = api("GET", "/subscriptions/sub_1/preview").body
    assert before["items"] == []
    assert before["then"].endswith(
        "If resumed today, the subscription is charged 29.99 USD on 20 March 2026, for 20 March 2026 to 19 April 2026."
    )
    resumed = api("POST", "/subscriptions/sub_1/resume")
    assert (resumed.body["status"], resumed.body["renewal_date"]) == ("active", "2026-03-20")
    assert resumed.body["anchor_day"] == 20
    skipped = {day: (item["status"], item["reason"]) for day, item in api.shop.items().items()}
    assert skipped == dict.fromkeys(("2026-01-31", "2026-02-28"), ("skipped", "paused"))
    assert len(api.started) == 1
    preview = api("GET", "/subscriptions/sub_1/preview", query={"count": "1"}).body["items"]
    assert (preview[0]["period_start"], preview[0]["period_end"]) == ("2026-03-20", "2026-04-20")
    assert [change["what"] for change in api.changes()] == ["paused", "resumed"]


def test_resuming_within_the_period_that_is_paid_moves_nothing(api: Api) -> None:
    """A pause without a renewal date in it moves no date and skips no period."""
    api.shop.subscribe(test_clock="2026-01-10", status="paused")
    assert api("POST", "/subscriptions/sub_1/resume").body["renewal_date"] == "2026-01-31"
    assert api.shop.items() == {}


def test_resuming_waits_for_what_is_not_settled(api: Api) -> None:
    """A payment declined before the pause is canceled before the subscription can be resumed, so that the customer
    cannot pay twice."""
    api.shop.subscribe(payment_method="pm_declined", test_clock="2026-01-31")
    api.shop.run()
    api.shop.edit(status="paused")
    assert api("POST", "/subscriptions/sub_1/resume").status == 409
    api.shop.run("run-2", NOON + DAY)
    assert api("POST", "/subscriptions/sub_1/resume").status == 200
    assert api.shop.items()["2026-01-31"]["status"] == "given_up"


def test_resuming_after_a_row_was_put_back(api: Api) -> None:
    """A paid period to which the row was put back is neither skipped nor billed again by a resumption."""
    api.shop.subscribe(test_clock="2026-02-10")
    api.shop.run()
    api.shop.edit(status="paused", renewal_date="2026-01-31")
    assert api("POST", "/subscriptions/sub_1/resume").body["renewal_date"] == "2026-02-28"
    assert api.shop.items()["2026-01-31"]["status"] == "done"


def test_resuming_what_is_unpaid_bills_it_anew(api: Api) -> None:
    """A resumed `unpaid` subscription is due for its unpaid period, and the workflow is started."""
    api.shop.subscribe(status="unpaid", test_clock="2026-02-10")
    assert api("POST", "/subscriptions/sub_1/resume").body["status"] == "active"
    assert [work["renewal_date"] for work in api.started] == ["2026-01-31"]


def test_another_card_is_tried_at_once_where_a_payment_is_past_due(api: Api) -> None:
    """The new payment method is written into the row, and the workflow is started only where a payment is past due."""
    api.shop.subscribe(payment_method="pm_declined", test_clock="2026-01-31")
    api.shop.run()
    reply = api("PUT", "/subscriptions/sub_1/payment-method", {"payment_method": "pm_new"})
    assert (reply.status, reply.body["payment_method"], len(api.started)) == (200, "pm_new", 1)
    assert api.shop.run("run-2", NOON + timedelta(minutes=2)) == "Success"
    api("PUT", "/subscriptions/sub_1/payment-method", {"payment_method": "pm_third"})
    assert len(api.started) == 1


def test_a_start_that_fails_takes_nothing_back(api: Api) -> None:
    """A change stays made, and is answered as made, where the workflow cannot be started: the next sweep finds the
    renewal."""
    api.trouble = EndpointConnectionError(endpoint_url="https://states")
    assert api("POST", "/subscriptions", NEW).status == 201


# --- reading --------------------------------------------------------------------------------------------------------


def test_what_is_not_there(api: Api) -> None:
    """An unknown subscription and an unknown path are answered with 404, an unknown method with 405 and the allowed
    methods."""
    assert api("GET", "/subscriptions/sub_1").status == 404
    assert api("GET", "/subscriptions/sub_1/timeline").status == 404
    assert api("POST", "/subscriptions/sub_1/pause").status == 404
    assert api("GET", "/nothing").status == 404
    refused = api("DELETE", "/subscriptions/sub_1")
    assert (refused.status, refused.headers["allow"]) == (405, "GET, PATCH")


def test_a_row_that_was_written_wrong_can_be_read(api: Api) -> None:
    """A row with wrong values can be read: unreadable fields are null, and `fault` names the fault; calls that need a
    readable row answer 409."""
    api.shop.subscribe(amount="29.99", interval_count=Decimal("1.5"), status="Active", version="x")
    reply = api("GET", "/subscriptions/sub_1")
    assert (reply.status, reply.body["amount"], reply.body["interval_count"]) == (200, None, None)
    assert reply.body["fault"] == {"field": "amount", "reason": "is not a number"}
    assert api("GET", "/subscriptions/sub_1/preview").status == 409
    assert api("POST", "/subscriptions/sub_1/pause").status == 409
    edit = {"amount": {"amount": "5.00", "currency": "USD"}}
    assert api("PATCH", "/subscriptions/sub_1", edit, If_Match=reply.headers["etag"]).status == 200


def test_two_customers_are_a_fault(api: Api) -> None:
    """A subscription id with rows of two customers is answered with 409."""
    api.shop.subscribe()
    api.shop.subscribe(customer_id="cus_2")
    assert api("GET", "/subscriptions/sub_1").status == 409


def _many(shop: World, count: int) -> None:
    for n in range(count):
        status = "paused" if n % 5 == 0 else "active"
        shop.subscribe(subscription_id=f"sub_{n:04}", customer_id=f"cus_{n % 3}", status=status)


def _pages(api: Api, path: str, **query: Any) -> list[Json]:
    """Return all items of a list, page by page."""
    items: list[Json] = []
    for _ in range(100):
        page = api("GET", path, query=query)
        assert page.status == 200
        items += page.body["items"]
        if page.body["next_cursor"] is None:
            return items
        query["cursor"] = page.body["next_cursor"]
    raise AssertionError("the list has more than 100 pages")


@pytest.mark.parametrize("limit", ["1", "7", "100"])
def test_lists_are_whole_page_by_page(api: Api, limit: str) -> None:
    """Lists by customer, by status, by both and without a filter have every subscription once, whatever the size of a
    page."""
    _many(api.shop, 31)
    rows = list(api.shop.dynamodb.items("subscriptions").values())
    for query in ({}, {"customer_id": "cus_1"}, {"status": "paused"}, {"customer_id": "cus_0", "status": "paused"}):
        wanted = sorted(row["subscription_id"] for row in rows if query.items() <= row.items())
        found = [item["subscription_id"] for item in _pages(api, "/subscriptions", limit=limit, **query)]
        assert sorted(found) == wanted


def test_a_rare_status_is_found_beyond_the_first_rows(api: Api) -> None:
    """The last of 2,500 rows is found by its rare status, though the first page reads 2,000 rows and returns none."""
    for n in range(2500):
        status = "unpaid" if n == 2499 else "active"
        api.shop.subscribe(subscription_id=f"sub_{n:04}", status=status)
    first = api("GET", "/subscriptions", query={"status": "unpaid"}).body
    assert (first["items"], first["next_cursor"] is None) == ([], False)
    (found,) = _pages(api, "/subscriptions", status="unpaid")
    assert found["subscription_id"] == "sub_2499"


def test_cursors_are_good_for_their_own_list(api: Api) -> None:
    """An invented cursor, or a cursor of a different list, is refused as the caller's fault."""
    _many(api.shop, 9)
    cursor = api("GET", "/subscriptions", query={"customer_id": "cus_1", "limit": "1"}).body["next_cursor"]
    for query in (
        {"cursor": cursor},
        {"cursor": cursor, "customer_id": "cus_2"},
        {"cursor": cursor, "customer_id": "cus_1", "status": "active"},
        {"cursor": "", "customer_id": "cus_1"},
        {"cursor": "é", "customer_id": "cus_1"},
        {"cursor": "WyJzdWJzY3JpcHRpb25zLy8iXQ=="},
        {"cursor": "bnVsbA=="},
        {"cursor": "A"},
    ):
        refused = api("GET", "/subscriptions", query=query)
        assert (refused.status, refused.faults) == (400, ["query.cursor"])
    assert api("GET", "/subscriptions/sub_0001/renewals", query={"cursor": cursor}).status == 400


def test_the_ledger_in_pages(api: Api) -> None:
    """The list of renewals has every period once, newest first: paid, declined and passed over, with the facts of the
    period."""
    api.shop.subscribe(payment_method="pm_ok")
    api.shop.run("run-1", NOON + 60 * DAY)
    api.shop.edit(payment_method="pm_declined")
    api.shop.run("run-2", NOON + 95 * DAY)
    items = _pages(api, "/subscriptions/sub_1/renewals", limit="1")
    assert [(item["renewal_date"], item["status"]) for item in items] == [
        ("2026-04-30", "declined"),
        ("2026-03-31", "done"),
        ("2026-02-28", "skipped"),
        ("2026-01-31", "skipped"),
    ]
    assert items[0]["decline_reason"] == "the card has insufficient funds"
    assert items[1]["amount"] == {"amount": "29.99", "currency": "USD"}
    assert items[1]["receipt_number"].startswith("20260331-")
    assert items[2]["reason"] == "passed_over"


@pytest.fixture
def links(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A key for signing links to receipts."""
    keys = SimpleNamespace(get_secret_value=lambda **_: {"SecretString": "key"})
    monkeypatch.setattr(aws, "secrets_manager", lambda: keys)
    monkeypatch.setenv("RECEIPT_LINK_KEY_ARN", "arn")
    receipts._link_key.cache_clear()
    yield
    receipts._link_key.cache_clear()


def test_receipts(api: Api, links: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The list of receipts has every paid period with the receipt's number and the mailed link, and no period without a
    receipt."""
    api.shop.subscribe()
    api.shop.run("run-1", NOON + 30 * DAY)
    for base, begins in (("", "https://api.example.org/prod/receipts/"), (LINKS, f"{LINKS}/")):
        monkeypatch.setenv("RECEIPT_LINKS_URL", base)
        (receipt,) = _pages(api, "/subscriptions/sub_1/receipts", limit="1")
        assert receipt["renewal_date"] == "2026-02-28"
        assert receipt["amount"] == {"amount": "29.99", "currency": "USD"}
        assert receipt["link"].startswith(begins)
    assert named("key", receipt["link"].removeprefix(f"{LINKS}/")) == ("sub_1", "2026-02-28", "")


PAUSE = "/subscriptions/{subscription_id}/pause"
PAUSE_SUB_1 = {"resource": PAUSE, "pathParameters": {"subscription_id": "sub_1"}}


@pytest.mark.parametrize(
    "spelled",
    [
        "/subscriptions/sub_1/pause/",
        "/subscriptions/sub_1/pause//",
        "/subscriptions/sub_1/pause%2F",
        "/subscriptions/sub_1//pause",
        "//subscriptions/sub_1/pause",
        "/subscriptions//sub_1/pause",
        "/subscriptions/sub_1/%70ause",
        "/subscriptions/sub%5F1/pause",
        "/subscriptions/sub_1/%2e/pause",
        "/subscriptions/sub_1/./pause",
        "/subscriptions/x/../sub_1/pause",
        "/subscriptions/sub_1/PAUSE",
        "/Subscriptions/sub_1/pause",
        "/subscriptions/sub_1/pause;x=1",
    ],
)
def test_a_path_that_is_not_exactly_a_route_is_nothing(api: Api, spelled: str) -> None:
    """A path that is not spelled exactly as a route is answered with 404. API Gateway matches the route and passes on
    the caller's spelling (REST APIs keep `path` encoded), and a policy that denies the route by its path would miss an
    odd spelling."""
    api.shop.subscribe()
    paths = {"path": spelled, "requestContext": {"identity": {"userArn": ANN}, "path": f"/prod{spelled}"}}
    for sent in (paths, paths | PAUSE_SUB_1, paths | PAUSE_SUB_1 | {"path": "/subscriptions/sub_1/pause"}):
        assert api("POST", spelled, sent=sent).status == 404
    assert api.shop.row()["status"] == "active"
    assert api("POST", "/subscriptions/sub_1/pause", sent=PAUSE_SUB_1).status == 200


def test_a_domain_of_ones_own_with_a_base_path(api: Api, links: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where API Gateway puts a custom domain's base path before `path`, the routes are still found, and links in
    answers have the base path."""
    monkeypatch.setenv("RECEIPT_LINKS_URL", "")
    api.shop.subscribe()
    api.shop.run("run-1", NOON + 30 * DAY)
    for base in ("", "/billing", "/v1/billing"):
        path = f"{base}/subscriptions/sub_1/receipts"
        sent = {
            "resource": "/subscriptions/{subscription_id}/receipts",
            "pathParameters": {"subscription_id": "sub_1"},
            "requestContext": {"domainName": "shop.example", "stage": "prod", "path": path},
        }
        reply = api("GET", path, sent=sent)
        assert reply.status == 200
        assert reply.body["items"][0]["link"].startswith(f"https://shop.example{base}/receipts/")
        assert api("GET", f"{path}/", sent=sent).status == 404


def test_preview(api: Api) -> None:
    """The preview returns the next charges, as many as asked for, and refuses a count that is too large."""
    api.shop.subscribe(test_clock="2026-01-10")
    shown = api("GET", "/subscriptions/sub_1/preview", query={"count": "2"}).body
    assert [charge["date"] for charge in shown["items"]] == ["2026-01-31", "2026-02-28"]
    assert shown["items"][0]["amount"] == {"amount": "29.99", "currency": "USD"}
    assert len(api("GET", "/subscriptions/sub_1/preview").body["items"]) == 24
    assert api("GET", "/subscriptions/sub_1/preview", query={"count": "1000"}).faults == ["query.count"]


# --- authors of changes, and internals that no answer reveals -------------------------------------------------------


@pytest.mark.parametrize(
    ("arn", "name"),
    [
        (ANN, "ann"),
        (ZOE, "Operators/zoe"),
        ("arn:aws:iam::123456789012:user/team/eve", "team/eve"),
        ("arn:aws:iam::123456789012:root", "root"),
    ],
)
def test_changes_are_recorded_by_name(api: Api, arn: str, name: str) -> None:
    """The history names the signer of the request."""
    api.shop.subscribe()
    api("POST", "/subscriptions/sub_1/pause", who=arn)
    assert [change["by"] for change in api.changes()] == [name]


def test_nobody_changes_nothing(api: Api) -> None:
    """A request without an identity, should API Gateway let such a request through, is refused before any effect."""
    api.shop.subscribe()
    assert api("POST", "/subscriptions/sub_1/pause", who=None).status == 403
    assert api.shop.row()["status"] == "active"


@pytest.mark.parametrize(
    ("trouble", "status"),
    [
        (error("InternalServerError", "Query", 500), 503),
        (error("ProvisionedThroughputExceededException", "Query", 400), 503),
        (error("AccessDeniedException", "Query", 400), 500),
        (RuntimeError("table prod-secret at 10.0.0.1"), 500),
    ],
)
def test_what_is_wrong_inside_is_not_told(
    api: Api, monkeypatch: pytest.MonkeyPatch, trouble: Exception, status: int
) -> None:
    """A failure of AWS is answered with 503, and the caller may try again; our own failure with 500. Neither answer
    reveals internals."""

    def raises(*_: Any, **__: Any) -> None:
        raise trouble

    monkeypatch.setattr(FakeDynamoDB, "query", raises)
    reply = api("GET", "/subscriptions/sub_1")
    assert (reply.status, set(reply.body)) == (status, {"type", "title", "status", "detail"})
    assert "secret" not in json.dumps(reply.body)


def test_writers_that_never_end_are_answered_with_wait(api: Api) -> None:
    """Where somebody changes the row between every read and write, the caller is told to wait, and no change is
    lost."""
    api.shop.subscribe()
    count = iter(range(100))

    def others(_: str) -> None:
        api.shop.edit(locale=f"x{next(count)}")
        api.shop.cuts.at = 2 * len(api.shop.cuts.calls) + 2  # before the next transaction: a query lies between

    api.shop.cuts.happens, api.shop.cuts.at = others, 2
    reply = api("POST", "/subscriptions/sub_1/pause")
    assert (reply.status, reply.headers["retry-after"]) == (429, "1")
    assert api.shop.row()["status"] == "active"


def test_an_entitlement_is_that_of_the_subscriptions_own_day(api: Api) -> None:
    """A subscription with a test clock is judged on the day of its clock. A subscription that does not exist is 404."""
    api.shop.subscribe(test_clock="2026-01-30")
    answer = api("GET", "/subscriptions/sub_1/entitlement")
    told = {"subscription_id": "sub_1", "entitled": True, "reason": "not_billed_yet"}
    assert answer.body == told | {"until": "2026-01-31", "grace_until": "2026-02-07"}
    api.shop.edit(test_clock="2026-02-01")
    assert api("GET", "/subscriptions/sub_1/entitlement").body["reason"] == "due"
    assert api("GET", "/subscriptions/sub_2/entitlement").status == 404


def test_a_customer_s_entitlements_come_in_pages(api: Api) -> None:
    """Each subscription of the customer is listed once, whatever its state, and nobody else's."""
    for n in range(5):
        api("POST", "/subscriptions", NEW | {"subscription_id": f"sub_{n}", "renewal_date": "2027-01-31"})
    api("POST", "/subscriptions", NEW | {"subscription_id": "sub_z", "customer_id": "cus_z"})
    api("POST", "/subscriptions/sub_3/cancel", {"when": "now"})
    found: list[Json] = []
    cursor: dict[str, str] = {}
    while True:
        page = api("GET", "/customers/cus_new/entitlements", query={"limit": "2"} | cursor).body
        found += page["items"]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert [each["subscription_id"] for each in found] == [f"sub_{n}" for n in range(5)]
    assert [each["reason"] for each in found].count("ended") == 1
    assert api("GET", "/customers/cus_none/entitlements").body == {"items": [], "next_cursor": None}
    other = api("GET", "/customers/cus_z/entitlements", query={"limit": "1"} | cursor)
    assert (other.status, other.faults) == (400, ["query.cursor"])


def test_a_row_that_is_gone_from_the_table_is_not_listed(api: Api) -> None:
    """The list comes from an index that may be a moment old: each row is read again, and a deleted row is left out."""
    api("POST", "/subscriptions", NEW | {"renewal_date": "2027-01-31"})
    index = api.shop.dynamodb._index_page

    def stale(*given: Any, **named: Any) -> Any:
        page = index(*given, **named)
        api.shop.dynamodb.delete("subscriptions", ("sub_new", "cus_new"))
        return page

    api.shop.dynamodb._index_page = stale  # type: ignore[method-assign]
    assert api("GET", "/customers/cus_new/entitlements").body == {"items": [], "next_cursor": None}
