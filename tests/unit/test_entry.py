"""The API takes in only customers and cards that the gateway can charge, answers every request once, and ignores no
parameter."""

from datetime import timedelta
from hashlib import sha256
from typing import Any

import pytest

from renewals.domain.callers import caller_of
from renewals.gateway.port import GatewayRefused, GatewayUnauthorized
from scripts.openapi import document
from tests.fakes import LATER, NOON
from tests.unit.test_subscriptions_api import ANN, NEW, ZOE, Api, api

__all__ = ["api"]

DAY = timedelta(days=1)
WITHOUT_ID = {name: value for name, value in NEW.items() if name != "subscription_id"}
CARD = "/subscriptions/sub_1/payment-method"

# By kind of stranger: the request's customer and card, and the fields refused with their reasons.
STRANGERS: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "an unknown customer": (
        {"gateway_customer": "cus_gone"},
        {"body.gateway_customer": "is not known", "body.payment_method": "is saved for another customer"},
    ),
    "a deleted customer, whose card is saved for them still": (
        {"gateway_customer": "cus_deleted", "payment_method": "pm_of_deleted"},
        {"body.gateway_customer": "was deleted"},
    ),
    "an unknown card": ({"payment_method": "pm_gone"}, {"body.payment_method": "is not known to the gateway"}),
    "another customer's card": (
        {"payment_method": "pm_other"},
        {"body.payment_method": "is saved for another customer"},
    ),
    "a detached card": ({"payment_method": "pm_detached"}, {"body.payment_method": "is saved for no customer"}),
    "a bank account": ({"payment_method": "pm_sepa"}, {"body.payment_method": "is not a card"}),
}


@pytest.fixture(autouse=True)
def _owners(api: Api) -> None:
    api.shop.gateway.owners = {"pm_other": "cus_other", "pm_of_deleted": "cus_deleted", "pm_new": "cus_new"}


def reasons(faults: dict[str, str], found: list[dict[str, str]]) -> bool:
    """Whether exactly the fields of `faults` are named, with their reasons."""
    told = {fault["field"]: fault["reason"] for fault in found}
    return told.keys() == faults.keys() and all(reason in told[field] for field, reason in faults.items())


# --- customer and card -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("given", "faults"), STRANGERS.values(), ids=STRANGERS)
def test_what_the_gateway_does_not_know_is_not_taken_in(
    api: Api, given: dict[str, str], faults: dict[str, str]
) -> None:
    """A POST with a customer or card that cannot be charged is refused with the name of the field at fault and leaves
    nothing; `verify=false` takes the subscription in unverified."""
    refused = api("POST", "/subscriptions", NEW | given)
    assert refused.status == 400
    assert reasons(faults, refused.body["errors"]), refused.body
    assert (api.shop.dynamodb.items("subscriptions"), api.started) == ({}, [])
    assert api("POST", "/subscriptions", NEW | given, query={"verify": "false"}).status == 201


@pytest.mark.parametrize(("given", "faults"), [each for each in STRANGERS.values() if "payment_method" in each[0]])
def test_another_card_is_the_customer_s_own(api: Api, given: dict[str, str], faults: dict[str, str]) -> None:
    """PUT payment-method refuses a payment method that is unknown, no card, saved for nobody or saved for a different
    customer, and the row stays unchanged."""
    api.shop.subscribe()
    card = {"payment_method": given["payment_method"]}
    refused = api("PUT", CARD, card)
    assert (refused.status, refused.faults) == (400, ["body.payment_method"])
    assert api.shop.row()["payment_method"] == "pm_ok"
    assert api("PUT", CARD, card, query={"verify": "false"}).status == 200


@pytest.mark.parametrize("trouble", ["before", "unauthorized", "forbidden"])
def test_nothing_is_taken_while_the_gateway_cannot_be_asked(
    api: Api, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    """While the gateway cannot be asked, the API answers 503 with advice, and leaves no row, no change and no
    execution; the request is taken once the gateway answers."""
    api.shop.subscribe()
    raised = {"unauthorized": GatewayUnauthorized("no"), "forbidden": GatewayRefused("more_permissions", "no")}

    def refuses(*_: str) -> None:
        raise raised[trouble]

    asked: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
        ("POST", "/subscriptions", NEW, {"Idempotency_Key": "k"}),
        ("PUT", CARD, {"payment_method": "pm_2"}, {}),
        (
            "PATCH",
            "/subscriptions/sub_1",
            {"gateway_customer": "cus_new", "payment_method": "pm_new"},
            {"If_Match": "*"},
        ),
    ]
    for method, path, body, headers in asked:
        with monkeypatch.context() as patch:
            if trouble == "before":
                api.shop.gateway.trouble = [("saved", "before"), ("has_customer", "before")]
            else:
                patch.setattr(api.shop.gateway, "saved", refuses)
                patch.setattr(api.shop.gateway, "has_customer", refuses)
            refused = api(method, path, body, **headers)
        assert (refused.status, "verify=false" in refused.body["detail"]) == (503, True)
        assert list(api.shop.dynamodb.items("subscriptions")) == [("sub_1", "cus_1")]
        assert (api.changes(), api.started) == ([], [])
        assert api.shop.row()["payment_method"] == "pm_ok"
    api.shop.gateway.trouble = []
    assert api(*asked[0][:3], Idempotency_Key="k").status == 201


@pytest.mark.parametrize("operation", ["saved", "has_customer"])
def test_a_missing_permission_is_told_to_a_person(api: Api, operation: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The key may not read cards or customers: the API answers 503 with advice, and the alarm for a missing permission
    comes on, not the alarm for a rejected account."""
    api.shop.gateway.forbidden.add(operation)
    refused = api("POST", "/subscriptions", NEW)
    assert (refused.status, "verify=false" in refused.body["detail"]) == (503, True)
    told = capsys.readouterr().out
    assert ('"GatewayPermissionMissing":[1.0]' in told, "GatewayAccountFault" in told) == (True, False)


def test_a_request_that_comes_again_asks_the_gateway_nothing(api: Api) -> None:
    """A repeated request gets the first answer, whatever the gateway says by now."""
    first = api("POST", "/subscriptions", WITHOUT_ID, Idempotency_Key="k")
    api.shop.gateway.trouble = [("saved", "before"), ("has_customer", "before")]
    again = api("POST", "/subscriptions", WITHOUT_ID, Idempotency_Key="k")
    assert (first.status, again.status, again.body) == (201, 201, first.body)


def test_no_other_call_asks_the_gateway(api: Api) -> None:
    """Reading, edits without a customer and status changes look nothing up at the gateway, and need no gateway key."""
    api.shop.subscribe()
    api.shop.cuts.calls.clear()
    api("GET", "/subscriptions/sub_1")
    api("PATCH", "/subscriptions/sub_1", {"plan": "Team"}, If_Match="*")
    api("POST", "/subscriptions/sub_1/pause")
    assert not [call for call in api.shop.cuts.calls if call.startswith("gateway.")]


# --- another customer of the gateway ---------------------------------------------------------------------------------


def test_a_wrong_customer_is_mended_with_a_card_of_theirs(api: Api) -> None:
    """A subscription taken in unverified fails for its gateway customer; PATCH gives the right customer with a card,
    and the subscription is charged."""
    api.shop.subscribe(gateway_customer="cus_gone", payment_method="pm_new", test_clock="2026-01-31")
    assert api.shop.run() == "PaymentFailed"
    edit = {"gateway_customer": "cus_new", "payment_method": "pm_new"}
    reply = api("PATCH", "/subscriptions/sub_1", edit, If_Match="*")
    assert (reply.status, reply.body["gateway_customer"], reply.body["payment_method"]) == (200, "cus_new", "pm_new")
    [work] = api.started
    assert api.shop.run("run-2", NOON + LATER, period=work["renewal_date"]) == "Success"
    assert len(api.shop.gateway.charges) == 1
    assert [request.gateway_customer for request in api.shop.gateway.requests.values()] == ["cus_new"]


def test_an_open_payment_of_the_customer_before_is_given_up(api: Api) -> None:
    """A payment declined for one gateway customer is canceled once the new customer is charged for the period."""
    api.shop.subscribe(payment_method="pm_declined", test_clock="2026-01-31")
    api.shop.run()
    edit = {"gateway_customer": "cus_new", "payment_method": "pm_new"}
    assert api("PATCH", "/subscriptions/sub_1", edit, If_Match="*").status == 200
    assert len(api.started) == 1
    for run in range(2, 5):
        api.shop.run(f"run-{run}", NOON + run * LATER)
    states = {request.gateway_customer: api.shop.gateway.payments[payment].state.value
              for payment, request in api.shop.gateway.requests.items()}  # fmt: skip
    assert states == {"cus_gw": "canceled", "cus_new": "paid"}
    assert api.shop.row()["status"] == "active"


@pytest.mark.parametrize("edit", [{"gateway_customer": "cus_new"}, {"payment_method": "pm_new"}])
def test_a_customer_comes_with_a_card(api: Api, edit: dict[str, str]) -> None:
    """A gateway customer or a card alone is refused in a PATCH: a card belongs to its customer, and a new card alone
    has its own call."""
    api.shop.subscribe()
    refused = api("PATCH", "/subscriptions/sub_1", edit, If_Match="*")
    assert (refused.status, refused.faults) == (400, ["body"])
    assert "gateway_customer and payment_method" in refused.body["errors"][0]["reason"]


def test_another_customer_s_card_is_refused_in_an_edit(api: Api) -> None:
    """PATCH looks customer and card up at the gateway as POST does."""
    api.shop.subscribe()
    edit = {"gateway_customer": "cus_new", "payment_method": "pm_other"}
    refused = api("PATCH", "/subscriptions/sub_1", edit, If_Match="*")
    assert (refused.status, refused.faults) == (400, ["body.payment_method"])
    assert api("PATCH", "/subscriptions/sub_1", edit, If_Match="*", query={"verify": "false"}).status == 200


@pytest.mark.parametrize("reason", ["gateway: resource_missing: gateway_customer", "gateway: resource_missing"])
def test_a_row_of_an_unknown_customer_is_shown_as_one_that_cannot_be_charged(api: Api, reason: str) -> None:
    """Once the gateway does not know the customer, every view names the field in plain words and never the gateway's
    error code. After an update of customer and card the fault is gone. (Earlier versions wrote the reason without the
    field.)"""
    api.shop.subscribe(gateway_customer="cus_gone", test_clock="2026-01-31")
    api.shop.run()
    api.shop.dynamodb.put("renewals", api.shop.items()["2026-01-31"] | {"reason": reason})
    wrong = "is not known to the gateway, or was deleted there"
    path = "/subscriptions/sub_1"
    assert api("GET", path).body["fault"] == {"field": "gateway_customer", "reason": wrong}
    told = [api("GET", f"{path}/{view}").body for view in ("preview", "timeline", "renewals")]
    assert told[0]["items"][0]["why"].endswith(f"; the charge cannot be made: gateway_customer {wrong}")
    assert all(f"gateway_customer {wrong}" in str(each) and "resource_missing" not in str(each) for each in told)
    edit = {"gateway_customer": "cus_new", "payment_method": "pm_new"}
    assert api("PATCH", path, edit, If_Match="*").status == 200
    assert api("GET", path).body["fault"] is None
    assert "cannot be charged" not in str(api("GET", f"{path}/preview").body)


# --- once for each request -------------------------------------------------------------------------------------------


def test_a_request_that_could_not_be_told_from_its_copy_is_refused(api: Api) -> None:
    """A POST without an id and without an idempotency key, sent twice, would create two subscriptions: the request is
    refused, and the answer names both fields."""
    for _ in range(2):
        refused = api("POST", "/subscriptions", WITHOUT_ID)
        assert (refused.status, refused.faults) == (400, ["header.idempotency-key", "body.subscription_id"])
    assert api.shop.dynamodb.items("subscriptions") == {}
    made = [api("POST", "/subscriptions", WITHOUT_ID, Idempotency_Key="k") for _ in range(2)]
    assert len(api.shop.dynamodb.items("subscriptions")) == 1
    assert made[0].body == made[1].body


def test_every_call_that_makes_something_needs_a_name_for_it() -> None:
    """Every API call that creates (201) requires an idempotency key, or documents that an id serves instead."""
    for path, methods in document()["paths"].items():
        for method, operation in methods.items():
            if "201" not in operation["responses"]:
                continue
            keys = [each for each in operation["parameters"] if each["name"] == "idempotency-key"]
            assert keys, (method, path)
            assert keys[0].get("required") or "Idempotency-Key" in operation["description"]


@pytest.mark.parametrize("path", ["/subscriptions", "/subscriptions/sub_1/pause"])
def test_a_key_is_its_caller_s(api: Api, path: str) -> None:
    """Two callers who happen to choose the same idempotency key make two requests: neither caller gets the other's
    answer, nor a 422."""
    api.shop.subscribe()
    first = api("POST", path, WITHOUT_ID if path == "/subscriptions" else None, who=ANN, Idempotency_Key="1")
    second = api("POST", path, WITHOUT_ID if path == "/subscriptions" else None, who=ZOE, Idempotency_Key="1")
    if path == "/subscriptions":
        assert (first.status, second.status) == (201, 201)
        assert first.body["subscription_id"] != second.body["subscription_id"]
    else:
        assert (first.status, second.status) == (200, 409)
    other = NEW | {"plan": "Other"}
    assert api("POST", "/subscriptions", other, who="arn:aws:iam::1:user/eve", Idempotency_Key="1").status == 201


@pytest.mark.parametrize(
    ("arn", "caller"),
    [
        (ANN, ANN),
        (ZOE, "arn:aws:sts::123456789012:assumed-role/Operators"),
        ("arn:aws:sts::1:assumed-role/Backend/i-0123", "arn:aws:sts::1:assumed-role/Backend"),
        ("arn:aws:iam::1:user/team/eve", "arn:aws:iam::1:user/team/eve"),
        ("arn:aws:iam::1:root", "arn:aws:iam::1:root"),
        ("arn:aws:sts::1:federated-user/bob", "arn:aws:sts::1:federated-user/bob"),
    ],
)
def test_a_service_repeats_its_request_from_another_place(arn: str, caller: str) -> None:
    """The session of a role is not part of the caller's identity, because a backend that retries has a new session."""
    assert caller_of(arn) == caller


def _as_an_earlier_version_kept_it(api: Api, key: str) -> None:
    """Move the only stored answer to the place of an earlier version: under the idempotency key alone."""
    changes = api.shop.dynamodb.items("changes")
    [(name, item)] = [each for each in changes.items() if each[1]["change"] == "answer"]
    del changes[name]
    api.shop.dynamodb.put("changes", item | {"subscription_id": f"request/{sha256(key.encode()).hexdigest()}"})


def test_an_answer_of_an_earlier_version_is_its_caller_s_alone(api: Api) -> None:
    """An answer stored without its caller is given to the caller who made the change, under any session, and to nobody
    else. The record of a change that somebody wrote by hand, and that cannot be read, disturbs nothing."""
    first = api("POST", "/subscriptions", WITHOUT_ID, who=ZOE, Idempotency_Key="k")
    _as_an_earlier_version_kept_it(api, "k")
    by_hand = {"subscription_id": first.body["subscription_id"], "change": "by hand", "what": "by hand"}
    api.shop.dynamodb.put("changes", by_hand)
    again = api("POST", "/subscriptions", WITHOUT_ID, who=ZOE.replace("zoe", "yan"), Idempotency_Key="k")
    assert (again.status, again.body) == (201, first.body)
    other = api("POST", "/subscriptions", WITHOUT_ID, who=ANN, Idempotency_Key="k")
    assert (other.status, other.body["subscription_id"] != first.body["subscription_id"]) == (201, True)
    assert len(api.shop.dynamodb.items("subscriptions")) == 2


def test_a_refund_s_key_is_its_caller_s_too(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two callers' refunds under the same idempotency key are two refunds; a refund that an earlier version stored
    without a caller belongs to the caller who asked for the refund."""
    monkeypatch.setenv("PROJECT_NAME", "shop")
    api.shop.subscribe()
    api.shop.run()
    body, path = (
        {"renewal_date": "2026-01-31", "amount": {"amount": "5.00", "currency": "USD"}},
        "/subscriptions/sub_1/refund",
    )

    def numbers(*callers: str) -> list[str]:
        made = []
        for who in callers:
            made.append(api("POST", path, body, who=who, Idempotency_Key="1").body["refund_number"][-2:])
            while api.shop.items()["2026-01-31"].get("notice"):
                api.shop.run("mail", NOON + LATER, period="2026-01-31")
        return made

    assert numbers(ANN, ANN, ZOE, ZOE) == ["R1", "R1", "R2", "R2"]
    item = api.shop.items()["2026-01-31"]
    old = {name: refund | {"request": sha256(b"1").hexdigest()} for name, refund in item["refunds"].items()}
    api.shop.dynamodb.put("renewals", item | {"refunds": old})
    assert numbers(ZOE, ANN) == ["R2", "R1"]


# --- parameters ------------------------------------------------------------------------------------------------------


def _calls() -> list[tuple[str, str]]:
    calls = ((method, path) for path, methods in document()["paths"].items() for method in methods)
    return [(method.upper(), path) for method, path in calls if path != "/receipts/{token}"]  # a link, and no call


@pytest.mark.parametrize(("method", "path"), _calls())
def test_no_call_ignores_a_parameter(api: Api, method: str, path: str) -> None:
    """Every route refuses an unknown parameter by name, together with whatever else is wrong, and changes nothing."""
    api.shop.subscribe()
    before = repr(api.shop.dynamodb.tables)
    place = path.format(subscription_id="sub_1", customer_id="cus_1")
    refused = api(method, place, {} if method != "GET" else None, query={"stauts": "active", "verify\x1b": "1"})
    assert refused.status == 400
    assert {"query.stauts", "query.verify\\x1b"} <= set(refused.faults)
    assert repr(api.shop.dynamodb.tables) == before


def test_a_parameter_is_given_once(api: Api) -> None:
    """A parameter given twice is refused even with equal values, since one of the values would be ignored."""
    refused = api("GET", "/subscriptions", query={"status": ["active", "paused"], "limit": ["1", "1"]})
    assert (refused.status, refused.faults) == (400, ["query.status", "query.limit"])
    assert api("GET", "/subscriptions", query={"status": ["active"], "limit": ["1"]}).status == 200


def test_what_is_nowhere_is_nowhere_with_a_query_too(api: Api) -> None:
    """An unknown path stays 404 and an unknown method stays 405, whatever parameters the request has."""
    assert api("GET", "/nothing", query={"a": "b"}).status == 404
    assert api("DELETE", "/subscriptions/sub_1", query={"a": "b"}).status == 405


@pytest.mark.parametrize("value", ["yes please", "", "2"])
def test_verify_is_true_or_false(api: Api, value: str) -> None:
    """A `verify` that is neither true nor false is refused by name, and nothing is taken in on a guess."""
    refused = api("POST", "/subscriptions", NEW, query={"verify": value})
    assert (refused.status, refused.faults) == (400, ["query.verify"])


def test_the_gateway_is_loaded_by_nobody_who_does_not_ask_it() -> None:
    """Starting the API does not load the gateway's SDK."""
    import subprocess
    import sys

    look = "import subscriptions_api.app, sys; print('stripe' in sys.modules)"
    told: Any = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True,
                               env={"PYTHONPATH": "src", "PATH": ""})  # fmt: skip
    assert told.stdout.strip() == "False"
