"""The sandbox gateway is no kinder than Stripe: it refuses, leaves out and later reverses as much as Stripe does."""

from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import pytest
import stripe

from local.gateway import Gateway, official_client
from tests.sandbox import serving

INTENT: Any = {"amount": 2999, "currency": "usd", "allowed_payment_method_types": ["card"]}
AWAY: Any = {"off_session": True}


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with serving() as running:
        yield running


@pytest.fixture
def v1(gateway: Gateway) -> Any:
    return official_client(gateway.url, gateway.api_key, max_network_retries=0).v1


@pytest.fixture
def customer(v1: Any) -> str:
    return str(v1.customers.create({"name": "Ann"}).id)


def _cards(v1: Any, customer: str) -> dict[str, str]:
    detached = v1.payment_methods.attach("pm_card_visa", {"customer": customer}).id
    v1.payment_methods.detach(detached)
    other = v1.customers.create({"name": "Bob"}).id
    anothers = v1.payment_methods.attach("pm_card_visa", {"customer": other}).id
    return {"detached": detached, "missing": "pm_typo", "another's": anothers}


REFUSALS = {
    "detached": (None, None),
    "missing": ("resource_missing", "payment_method"),
    "another's": (None, "payment_method"),
}


@pytest.mark.parametrize("gone", REFUSALS)
@pytest.mark.parametrize("call", ["create", "confirm"])
def test_a_card_that_is_gone_is_refused_at_the_call_that_names_it(v1: Any, customer: str, call: str, gone: str) -> None:
    """A call that names an unusable card is refused with Stripe's code and parameter, or without; nothing is created or
    charged."""
    card = _cards(v1, customer)[gone]
    asked = INTENT | {"customer": customer}
    made = v1.payment_intents.create(asked) if call == "confirm" else None

    def name_it() -> Any:
        if made:
            return v1.payment_intents.confirm(made.id, AWAY | {"payment_method": card})
        return v1.payment_intents.create(asked | {"payment_method": card})

    with pytest.raises(stripe.InvalidRequestError) as refused:
        name_it()
    assert (refused.value.code, refused.value.param) == REFUSALS[gone]
    intents = v1.payment_intents.list({"customer": customer}).data
    assert [intent.status for intent in intents] == (["requires_payment_method"] if made else [])


def test_payment_method_types_are_no_longer_taken(v1: Any) -> None:
    """Since 2026-09-30 payment_method_types is refused: https://docs.stripe.com/changelog/endive/2026-09-30."""
    with pytest.raises(stripe.InvalidRequestError) as refused:
        v1.payment_intents.create({"amount": 100, "currency": "usd", "payment_method_types": ["card"]})
    assert (refused.value.code, refused.value.param) == (
        "payment_method_types_no_longer_supported",
        "payment_method_types",
    )


@pytest.mark.parametrize(
    ("currency", "digits"),
    [("usd", 8), ("eur", 8), ("inr", 9), ("jpy", 10), ("cop", 10), ("huf", 10), ("lbp", 11), ("idr", 12)],
)
def test_amounts_have_as_many_digits_as_their_currency_may(v1: Any, currency: str, digits: int) -> None:
    """An amount with more digits than its currency allows is too large."""
    most = 10**digits - 1
    assert v1.payment_intents.create(INTENT | {"amount": most, "currency": currency}).amount == most
    with pytest.raises(stripe.InvalidRequestError) as refused:
        v1.payment_intents.create(INTENT | {"amount": most + 1, "currency": currency})
    assert (refused.value.code, refused.value.param) == ("amount_too_large", "amount")


def test_the_lev_is_gone(v1: Any) -> None:
    """The Bulgarian lev is refused: Bulgaria has the euro."""
    with pytest.raises(stripe.InvalidRequestError, match="Invalid currency: bgn"):
        v1.payment_intents.create(INTENT | {"currency": "bgn"})


def test_after_ten_declines_the_payment_is_canceled_by_the_gateway(v1: Any, customer: str) -> None:
    """After ten declines the payment is canceled as `automatic`, keeps its last error, and refuses further
    confirmations."""
    card = v1.payment_methods.attach("pm_card_chargeCustomerFail", {"customer": customer}).id
    made = v1.payment_intents.create(INTENT | {"customer": customer}).id
    for _ in range(10):
        with pytest.raises(stripe.CardError):
            v1.payment_intents.confirm(made, AWAY | {"payment_method": card})
    intent = v1.payment_intents.retrieve(made)
    assert (intent.status, intent.cancellation_reason) == ("canceled", "automatic")
    assert intent.last_payment_error.code == "card_declined"
    with pytest.raises(stripe.InvalidRequestError) as refused:
        v1.payment_intents.confirm(made, AWAY | {"payment_method": card})
    assert refused.value.code == "payment_intent_unexpected_state"


def test_an_indian_card_is_in_processing_until_its_customer_was_told(gateway: Gateway, v1: Any, customer: str) -> None:
    """Off session an Indian card is in processing for 26 hours, and the payment says until when."""
    card = v1.payment_methods.attach("pm_card_in", {"customer": customer}).id
    made = v1.payment_intents.create(INTENT | {"customer": customer}).id
    intent = v1.payment_intents.confirm(made, AWAY | {"payment_method": card})
    assert intent.status == "processing"
    until = intent.processing.card.customer_notification.completes_at
    assert 0 <= until - gateway.sandbox.clock() - 26 * 3600 + 60 <= 60
    gateway.sandbox.set_clock(until + 1)
    assert v1.payment_intents.retrieve(made).status == "succeeded"


def _refund(v1: Any, card: str) -> Any:
    paid = v1.payment_intents.create(INTENT | {"payment_method": f"pm_card_{card}", "confirm": True})
    return v1.refunds.create({"payment_intent": paid.id})


@pytest.mark.parametrize(
    ("card", "first", "later"), [("refundFail", "succeeded", "failed"), ("pendingRefund", "pending", "succeeded")]
)
def test_a_refund_can_come_to_something_else_later(
    gateway: Gateway, v1: Any, card: str, first: str, later: str
) -> None:
    """A refund's state changes an hour later on the sandbox's clock; a failed refund returns the money to the
    seller."""
    refund = _refund(v1, card)
    assert refund.status == first
    gateway.sandbox.set_clock(gateway.sandbox.clock() + 3601)
    assert v1.refunds.retrieve(refund.id).status == later
    assert v1.charges.retrieve(refund.charge).amount_refunded == (0 if later == "failed" else 2999)


@pytest.mark.parametrize("outcome", ["succeeded", "failed"])
def test_a_refund_is_settled_when_told_to(gateway: Gateway, v1: Any, outcome: str) -> None:
    """The control settles any refund of any card."""
    refund = _refund(v1, "visa")
    assert gateway.sandbox.settle_refund(refund.id, outcome)["status"] == outcome
    assert v1.refunds.retrieve(refund.id).status == outcome


@pytest.mark.parametrize(
    ("card", "status", "reason"),
    [
        ("createDispute", "needs_response", "fraudulent"),
        ("createDisputeProductNotReceived", "needs_response", "product_not_received"),
        ("createDisputeInquiry", "warning_needs_response", "fraudulent"),
    ],
)
def test_some_cards_are_disputed_at_once(v1: Any, card: str, status: str, reason: str) -> None:
    """A payment with such a test card is disputed at once: the dispute is found by its payment, and the charge says
    disputed."""
    paid = v1.payment_intents.create(INTENT | {"payment_method": f"pm_card_{card}", "confirm": True})
    [dispute] = v1.disputes.list({"payment_intent": paid.id}).data
    assert (dispute.status, dispute.reason, dispute.charge) == (status, reason, paid.latest_charge)
    assert v1.charges.retrieve(paid.latest_charge).disputed


def test_what_radar_and_the_checks_say_of_a_card(v1: Any) -> None:
    """A charge of a risky card says elevated risk, and a card with a wrong security code says that the check failed."""
    paid = v1.payment_intents.create(INTENT | {"payment_method": "pm_card_riskLevelElevated", "confirm": True})
    assert v1.charges.retrieve(paid.latest_charge).outcome.risk_level == "elevated"
    assert v1.payment_methods.retrieve("pm_card_cvcCheckFail").card.checks.cvc_check == "fail"


def test_how_a_saved_card_is_used_is_kept(v1: Any, customer: str) -> None:
    """The stored credential usage is kept from the confirmation, and is refused where the card is only about to be
    saved."""
    usage = {"payment_method_options": {"card": {"stored_credential_usage": "recurring"}}}
    made = v1.payment_intents.create(INTENT | {"customer": customer})
    card = v1.payment_methods.attach("pm_card_visa", {"customer": customer}).id
    paid = v1.payment_intents.confirm(made.id, AWAY | usage | {"payment_method": card})
    assert paid.payment_method_options.card.stored_credential_usage == "recurring"
    with pytest.raises(stripe.InvalidRequestError):
        v1.payment_intents.create(INTENT | usage | {"setup_future_usage": "off_session"})


def test_what_is_paid_elsewhere_lacks_what_stripe_may_leave_out(gateway: Gateway, v1: Any, customer: str) -> None:
    """A Link payment is listed among the customer's payments without metadata, and its charge has no card."""
    paid = gateway.sandbox.pay_elsewhere(customer, 500)
    [intent] = v1.payment_intents.list({"customer": customer, "expand": ["data.latest_charge"]}).data
    assert (intent.id, intent.metadata.to_dict()) == (paid["id"], {})
    assert not hasattr(intent.latest_charge.payment_method_details, "card")
    assert not hasattr(intent, "last_payment_error")


def test_a_key_without_a_permission(gateway: Gateway, v1: Any) -> None:
    """A key without the permission gets a 403 without a code."""
    gateway.sandbox.hostile("403", "payment_intents.create")
    with pytest.raises(stripe.PermissionError) as refused:
        v1.payment_intents.create(INTENT)
    assert (refused.value.http_status, refused.value.code) == (403, None)


def test_a_key_of_the_other_mode(gateway: Gateway, v1: Any, customer: str) -> None:
    """For a key of the wrong mode the object is missing, and only the message says why: 400 for a parameter, 404 for
    the URL's object."""
    gateway.sandbox.hostile("other_mode", calls=2)
    with pytest.raises(stripe.InvalidRequestError, match="a similar object exists in live mode") as refused:
        v1.payment_intents.create(INTENT | {"customer": customer})
    assert (refused.value.http_status, refused.value.code, refused.value.param) == (400, "resource_missing", "customer")
    with pytest.raises(stripe.InvalidRequestError, match="a similar object exists in live mode") as refused:
        v1.payment_intents.retrieve("pi_live")
    assert (refused.value.http_status, refused.value.code) == (404, "resource_missing")


def _headers(gateway: Gateway, method: str, path: str, body: str = "") -> tuple[int, dict[str, str]]:
    connection = HTTPConnection(urlsplit(gateway.url).netloc, timeout=10)
    headers = {"Authorization": f"Bearer {gateway.api_key}", "Content-Type": "application/x-www-form-urlencoded"}
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    response.read()
    connection.close()
    return response.status, {name.lower(): value for name, value in response.getheaders()}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1/charges/ch_none", 404),
        ("GET", "/v1/charges", 200),
        ("POST", "/v1/customers", 200),
        ("POST", "/v1/payment_intents", 400),
    ],
)
def test_every_answer_has_a_name(gateway: Gateway, method: str, path: str, status: int) -> None:
    """Every answer has a Request-Id, and every answer to a POST says whether a retry makes sense."""
    answered, headers = _headers(gateway, method, path)
    assert answered == status
    assert headers["request-id"].startswith("req_")
    assert headers.get("stripe-should-retry") == ("false" if method == "POST" else None)


def test_who_asks_too_often_is_told_why(gateway: Gateway) -> None:
    """A 429 names the exceeded limit and says that a retry makes sense."""
    gateway.sandbox.hostile("429", "customers.create")
    status, headers = _headers(gateway, "POST", "/v1/customers")
    assert (status, headers["stripe-rate-limited-reason"]) == (429, "global-rate")
    assert headers["stripe-should-retry"] == "true"
