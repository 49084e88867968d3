"""No answer allowed by Stripe's types can break the adapter: optional fields are left out or null, alone and at random,
in every answer to every operation. The SDK's own classes say which fields are optional."""

import json
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import cycle, product
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import pytest
import stripe
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from local.gateway import official_client
from renewals.domain.gateway_event import GatewayEventType
from renewals.domain.payment import Payment, PaymentState
from renewals.gateway import stripe_gateway
from renewals.gateway.card_setup import CardPageRequest
from renewals.gateway.port import EventSearch, GatewayError, PaymentRequest
from renewals.gateway.stripe_gateway import StripeGateway
from tests.sandbox import serving
from tests.shares import share

type Path = tuple[str, ...]
type Missing = Literal["absent", "null"]
type Change = tuple[Path, Missing]

_CLASSES: dict[str, type[stripe.StripeObject]] = {
    "payment_intent": stripe.PaymentIntent,
    "charge": stripe.Charge,
    "refund": stripe.Refund,
    "dispute": stripe.Dispute,
    "radar.early_fraud_warning": stripe.radar.EarlyFraudWarning,
    "payment_method": stripe.PaymentMethod,
    "customer": stripe.Customer,
    "event": stripe.Event,
    "checkout.session": stripe.checkout.Session,
    "setup_intent": stripe.SetupIntent,
    "setup_attempt": stripe.SetupAttempt,
    "error": stripe.ErrorObject,
}
GATEWAY = StripeGateway("sk_test", "http://127.0.0.1:9", wait=lambda _: None)
REQUEST = PaymentRequest("sub_1", date(2026, 1, 31), 1, 2999, "USD", "cus_1", "key", "shop/1/eu")
SINCE = datetime(2026, 1, 30, tzinfo=UTC)
_SHOP = "https://shop.example"
PAGE = CardPageRequest("sub_1", "cus_1", "cus_gw", "shop", _SHOP, _SHOP, "en", SINCE, "pm_1")
SEARCH = EventSearch([*GatewayEventType], SINCE, None, undelivered=False, after=None)
_STATES = {
    "succeeded": {PaymentState.PAID},
    "canceled": {PaymentState.CANCELED},
    "processing": {PaymentState.PROCESSING},
    "requires_action": {PaymentState.ACTION_REQUIRED},
}
_UNPAID = {PaymentState.OPEN, PaymentState.DECLINED, PaymentState.ACTION_REQUIRED}


@dataclass(frozen=True)
class Answer:
    """Stripe's answer to a call. kind: the class of the body, or of the body's `error` where the status is not 200."""

    status: int
    kind: str
    body: dict[str, Any]

    def changed(self, changes: list[Change]) -> "Answer":
        body = deepcopy(self.body)
        for path, change in changes:
            _change(body, path, change)
        return Answer(self.status, self.kind, body)

    def optional(self) -> list[Path]:
        return list(_optional(self.body, _CLASSES[self.kind], ()))

    @property
    def text(self) -> str:
        return json.dumps(self.body if self.status == 200 else {"error": self.body})


def _change(body: dict[str, Any], path: Path, change: str) -> None:
    for name in path[:-1]:
        inner = body.get(name)
        if not isinstance(inner, dict):
            return
        body = inner
    if change == "null":
        body[path[-1]] = None
    else:
        body.pop(path[-1], None)


def _optional(body: Mapping[str, Any], of: type[stripe.StripeObject], at: Path) -> Iterator[Path]:
    """Yield the paths that Stripe may leave out of an answer, by the annotations of the SDK's classes."""
    for name, value in body.items():
        annotation = of.__annotations__.get(name)
        if annotation is None or _is_optional(annotation):
            yield (*at, name)
        inner = of._inner_class_types.get(name)
        named = value.get("object") if isinstance(value, dict) else None  # the data of an event has an object whole
        if isinstance(named, str) and named in _CLASSES:
            inner = _CLASSES[named]
        if isinstance(value, dict) and inner is not None:
            yield from _optional(value, inner, (*at, name))


def _is_optional(annotation: Any) -> bool:
    return get_origin(annotation) in (Union, UnionType) and NoneType in get_args(annotation)


def _samples() -> dict[str, Answer]:
    """Return a whole answer of every kind, as the sandbox gives it."""
    with serving() as sandbox:
        v1 = official_client(sandbox.url, sandbox.api_key).v1
        customer = v1.customers.create({"name": "Ann"})
        whole: Any = {"expand": ["latest_charge"]}

        def intent(card: str, confirmed: Any = {}) -> Any:  # noqa: B006
            asked: Any = {"amount": 2999, "currency": "usd", "customer": customer.id}
            period = {"subscription_id": "sub_1", "renewal_date": "2026-01-31", "attempt": "1"}
            period["deployment"] = "shop/1/eu"
            asked |= {"allowed_payment_method_types": ["card"], "metadata": period}
            made = v1.payment_intents.create(asked).id
            if card:
                try:
                    v1.payment_intents.confirm(made, confirmed | {"payment_method": f"pm_card_{card}"})
                except stripe.CardError as error:
                    errors[made] = error
            return v1.payment_intents.retrieve(made, whole)

        errors: dict[str, stripe.CardError] = {}
        away: Any = {"off_session": True, "payment_method_options": {"card": {"stored_credential_usage": "recurring"}}}
        intents = {
            "open": intent(""),
            "paid": intent("visa", away),
            "declined": intent("chargeDeclinedInsufficientFunds", away),
            "asked": intent("authenticationRequired", away),
            "action": intent("authenticationRequired"),
            "challenge": intent("authenticationRequired", {"return_url": "https://shop.example/back"}),
            "processing": intent("in", away),
            "canceled": v1.payment_intents.cancel(intent("chargeDeclined", away).id, whole),
        }
        found = {name: Answer(200, "payment_intent", _plain(made)) for name, made in intents.items()}
        for name in ("declined", "asked"):
            body: Any = errors[intents[name].id].json_body
            found[f"{name}_error"] = Answer(402, "error", body["error"])
        paid = intents["paid"]
        intent("createDispute", away)
        intent("createIssuerFraudRecord", away)
        found["charge"] = Answer(200, "charge", _plain(paid.latest_charge))
        found["card"] = Answer(200, "payment_method", _plain(v1.payment_methods.retrieve(paid.payment_method)))
        found["customer"] = Answer(200, "customer", _plain(customer))
        of_payments: Any = {"type": "payment_intent.succeeded", "limit": 1}
        found["event"] = Answer(200, "event", _plain(v1.events.list(of_payments).data[0]))
        found["refund"] = Answer(200, "refund", _plain(v1.refunds.create({"payment_intent": paid.id, "amount": 5})))
        expanded: Any = {"expand": ["payment_intent"]}
        given_back = v1.refunds.retrieve(found["refund"].body["id"], expanded)
        found["refund_expanded"] = Answer(200, "refund", _plain(given_back))
        contested = v1.disputes.list({"limit": 1}).data[0].id
        found["dispute"] = Answer(200, "dispute", _plain(v1.disputes.retrieve(contested, expanded)))
        warned = v1.radar.early_fraud_warnings.list({"limit": 1}).data[0].id
        warning = v1.radar.early_fraud_warnings.retrieve(warned, expanded)
        found["fraud_warning"] = Answer(200, "radar.early_fraud_warning", _plain(warning))
        page: Any = {
            "mode": "setup",
            "customer": customer.id,
            "success_url": "https://shop.example/?s={CHECKOUT_SESSION_ID}",
            "allowed_payment_method_types": ["card"],
        }
        opened = v1.checkout.sessions.create(page)
        found["session_open"] = Answer(200, "checkout.session", _plain(opened))
        sandbox.sandbox.give_card(opened.id)
        attempted: Any = {"expand": ["setup_intent.latest_attempt"]}
        complete = v1.checkout.sessions.retrieve(opened.id, attempted)
        found["session_complete"] = Answer(200, "checkout.session", _plain(complete))
        refused = {"type": "invalid_request_error", "message": "no", "code": "resource_missing"}
        found["refused"] = Answer(400, "error", refused | {"param": "payment_method", "doc_url": "https://"})
        found["unexpected"] = Answer(400, "error", refused | {"code": "payment_intent_unexpected_state"})
        return found


def _plain(made: stripe.StripeObject) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(str(made))
    return plain


SAMPLES = _samples()
INTENTS = [name for name, sample in SAMPLES.items() if sample.kind == "payment_intent"]
CONFIRMED = [*INTENTS, "declined_error", "asked_error", "refused", "unexpected"]


class Stripe:
    """Answers the SDK's HTTP calls. answer: the answer under test; every further call is answered whole, a payment as
    the sample `then`."""

    def __init__(self, answer: Answer, then: str = "open") -> None:
        self.answer, self.then = answer, SAMPLES[then]
        self.asked = False

    def request(self, method: str, url: str, *_: Any, **__: Any) -> tuple[str, int, dict[str, str]]:
        headers = {"request-id": "req_1"}
        path = url.partition("?")[0].partition("/v1/")[2]
        if not self.asked:
            self.asked = True
            if path in ("payment_intents", "charges", "refunds", "disputes", "events") and method == "get":
                return _page(self.answer), 200, headers
            return self.answer.text, self.answer.status, headers
        of_card = path.startswith("payment_methods")
        return (SAMPLES["card"] if of_card else self.then).text, 200, headers


def _page(answer: Answer) -> str:
    return json.dumps({"object": "list", "url": "/v1/x", "has_more": False, "data": [answer.body]})


OPERATIONS: dict[str, tuple[Callable[[StripeGateway], Any], list[str]]] = {
    "create": (lambda g: g.create(REQUEST), [*INTENTS, "refused"]),
    "confirm": (lambda g: g.confirm("pi_1", "pm_1"), CONFIRMED),
    "retrieve": (lambda g: g.retrieve("pi_1"), [*INTENTS, "refused"]),
    "cancel": (lambda g: g.cancel("pi_1"), [*INTENTS, "unexpected"]),
    "list": (lambda g: list(g.list("cus_1", SINCE)), INTENTS),
    "charged_between": (lambda g: list(g.charged_between(SINCE, SINCE)), ["charge"]),
    "refund": (lambda g: g.refund("pi_1", 5, request="r", idempotency_key="k"), ["refund", "refused"]),
    "refunds_of": (lambda g: g.refunds_of("pi_1"), ["refund"]),
    "refunded_between": (lambda g: list(g.refunded_between(SINCE, SINCE)), ["refund", "refund_expanded"]),
    "dispute": (lambda g: g.dispute("dp_1"), ["dispute", "refused"]),
    "disputed_between": (lambda g: list(g.disputed_between(SINCE, SINCE)), ["dispute"]),
    "fraud_warning": (lambda g: g.dispute("issfr_1"), ["fraud_warning", "refused"]),
    "find_events": (lambda g: g.find_events(SEARCH), ["event"]),
    "card": (lambda g: g.card("pm_1"), ["card", "refused"]),
    "saved": (lambda g: g.saved("pm_1"), ["card", "refused"]),
    "confirm_on_session": (lambda g: g.confirm_on_session("pi_1", "pm_1", "https://shop.example"), CONFIRMED),
    "open_card_page": (lambda g: g.open_card_page(PAGE), ["session_open", "refused"]),
    "card_session": (lambda g: g.card_session("cs_1"), ["session_open", "session_complete", "refused"]),
    "has_customer": (lambda g: g.has_customer("cus_1"), ["customer", "refused"]),
}
CASES = [(operation, name) for operation, (_, names) in OPERATIONS.items() for name in names]


def _ask(operation: str, answer: Answer, then: str = "open") -> Any:
    """Return the adapter's answer or its GatewayError; no other error is ever raised."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stripe_gateway._Http, "request", Stripe(answer, then).request)
        try:
            return OPERATIONS[operation][0](GATEWAY)
        except GatewayError as error:
            return error


def _holds(came: Any, answer: Answer) -> None:
    """Assert that a payment's state follows the status, and that a declined payment has a named failure."""
    payments = came if isinstance(came, list) else [came]
    for payment in (each[1] if isinstance(each, tuple) else each for each in payments):
        if not isinstance(payment, Payment):
            continue
        if answer.status == 200:
            assert payment.state in _STATES.get(answer.body["status"], _UNPAID)
        if payment.state is PaymentState.DECLINED:
            assert payment.failure is not None
            assert payment.failure.id
            assert payment.failure.code


@pytest.mark.parametrize(("operation", "name"), CASES)
def test_each_optional_field_can_be_missing(operation: str, name: str) -> None:
    """An answer with a single optional field missing, absent or null by turns, is read. Each case leaves out every
    fifth field; `make proof` leaves out all."""
    paths = SAMPLES[name].optional()[CASES.index((operation, name)) % 5 :: 5]
    _leave_out_each(operation, SAMPLES[name], paths, ("absent", "null"))


@pytest.mark.proof
@pytest.mark.parametrize("turns", [("absent", "null"), ("null", "absent")])
@pytest.mark.parametrize(("operation", "name"), CASES)
def test_each_optional_field_can_be_missing_either_way(
    operation: str, name: str, turns: tuple[Missing, Missing]
) -> None:
    """An answer with any single optional field missing is read, whether the field is absent or null."""
    _leave_out_each(operation, SAMPLES[name], SAMPLES[name].optional(), turns)


def _leave_out_each(operation: str, sample: Answer, paths: list[Path], turns: tuple[Missing, Missing]) -> None:
    for path, change in zip(paths, cycle(turns)):
        answer = sample.changed([(path, change)])
        _holds(_ask(operation, answer), answer)


def test_two_thousand_answers_are_tried_and_all_that_is_read_is_among_them() -> None:
    """At least 2000 answers are tried, and the fields whose absence once broke the adapter are optional by the SDK's
    own classes."""
    assert sum(2 * len(SAMPLES[name].optional()) for _, name in CASES) >= 2000
    declined = set(SAMPLES["declined"].optional())
    assert {("last_payment_error",), ("last_payment_error", "code"), ("last_payment_error", "charge")} <= declined
    paid = set(SAMPLES["paid"].optional())
    assert {("latest_charge", "payment_method_details", "card"), ("payment_method",), ("latest_charge",)} <= paid
    assert ("processing", "card", "customer_notification", "completes_at") in SAMPLES["processing"].optional()
    assert ("status",) in SAMPLES["refund"].optional()


@st.composite
def _any_answer(draw: st.DrawFn) -> tuple[str, Answer, str]:
    operation, name = draw(st.sampled_from(CASES))
    paths = SAMPLES[name].optional()
    chosen = draw(st.lists(st.sampled_from(paths), unique=True))
    changes: list[Change] = [(path, draw(st.sampled_from(("absent", "null")))) for path in chosen]
    return operation, SAMPLES[name].changed(changes), draw(st.sampled_from(INTENTS))


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_any_answer())
def test_any_of_them_can_be_missing_together(case: tuple[str, Answer, str]) -> None:
    """Answers with any optional fields missing together are read, with every state of the payment that is asked about
    afterwards."""
    operation, answer, then = case
    came = _ask(operation, answer, then)
    if not operation.startswith("confirm") or answer.status == 200:
        _holds(came, answer)


@pytest.mark.proof
@settings(max_examples=20_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_any_answer())
def test_any_of_them_can_be_missing_together_for_long(case: tuple[str, Answer, str]) -> None:
    """Twenty thousand random answers are read, too."""
    _ask(*case)


NONSENSE = {
    "no object": "[]",
    "a text": '"no"',
    "no JSON": "<html>Forbidden</html>",
    "nothing": "",
    "an error without anything": '{"error": {}}',
    "an object without anything": "{}",
}


@pytest.mark.parametrize(
    ("operation", "body", "status"), share(product(OPERATIONS, NONSENSE, [400, 402, 403, 409, 500]), of=3)
)
def test_an_error_that_is_no_error_of_stripes_is_an_error(
    operation: str, body: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy's or firewall's answer is a named error, or no clear answer to a confirmation."""
    answer = NONSENSE[body], status, {"content-type": "text/html"}
    monkeypatch.setattr(stripe_gateway._Http, "request", lambda *_, **__: answer)
    try:
        assert OPERATIONS[operation][0](GATEWAY) is None
    except GatewayError as error:
        assert str(error)
