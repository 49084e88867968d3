"""The gateway port over Stripe's official SDK, against the sandbox: every answer becomes a state or a named error."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import stripe

from local.gateway import Gateway
from process_payment import app
from renewals.domain.errors import BadSecret
from renewals.domain.gateway_event import GatewayEventType
from renewals.domain.payment import GatewayCard, GatewayRefundState, Payment, PaymentState
from renewals.gateway import access as gateway_access
from renewals.gateway import stripe_answers, stripe_gateway
from renewals.gateway.port import (
    EventSearch,
    GatewayForbidden,
    GatewayRefused,
    GatewayUnauthorized,
    GatewayUnavailable,
    PaymentRequest,
    Saved,
)
from renewals.gateway.stripe_gateway import StripeGateway
from renewals.runtime import aws
from tests.fakes import World
from tests.sandbox import eventually, serving
from tests.shares import share

DEPLOYMENT = "shop/1/eu"
DAY = datetime(2026, 1, 31, tzinfo=UTC)
METADATA = {"subscription_id": "sub_1", "renewal_date": "2026-01-31", "attempt": "1", "deployment": DEPLOYMENT}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Gateway]:
    with serving() as gateway:
        yield gateway


@pytest.fixture(autouse=True)
def _peaceful(sandbox: Gateway) -> None:
    sandbox.sandbox.peaceful()


@pytest.fixture
def gateway(sandbox: Gateway) -> StripeGateway:
    return StripeGateway(sandbox.api_key, sandbox.url)


def _client(sandbox: Gateway) -> stripe.StripeClient:
    return stripe.StripeClient(sandbox.api_key, base_addresses={"api": sandbox.url})


@pytest.fixture
def request_of_29_99(sandbox: Gateway) -> PaymentRequest:
    return _request(sandbox)


def _request(sandbox: Gateway) -> PaymentRequest:
    customer = _client(sandbox).v1.customers.create({"name": "Ann"}).id
    return PaymentRequest("sub_1", date(2026, 1, 31), 1, 2999, "USD", customer, f"key-{customer}", DEPLOYMENT)


@pytest.fixture
def good_card(sandbox: Gateway, request_of_29_99: PaymentRequest) -> str:
    """A card that pays, saved for the request's customer."""
    return _good_card(sandbox, request_of_29_99)


def _good_card(sandbox: Gateway, request: PaymentRequest) -> str:
    return _client(sandbox).v1.payment_methods.attach("pm_card_visa", {"customer": request.gateway_customer}).id


@pytest.fixture(scope="module")
def paid(sandbox: Gateway) -> Callable[[int], tuple[datetime, list[str]]]:
    """What makes many paid payments at a moment of their own, once for all tests that ask for as many. Returns the
    moment, and the ids in the order of the payments."""

    @cache
    def pay(many: int) -> tuple[datetime, list[str]]:
        start = datetime.fromtimestamp(sandbox.sandbox.clock() + many // 2 * 86400, UTC)
        sandbox.sandbox.set_clock(start.timestamp())
        gateway, request = StripeGateway(sandbox.api_key, sandbox.url), _request(sandbox)
        card, made = _good_card(sandbox, request), list[str]()
        for n in range(many):
            made.append(gateway.create(replace(request, idempotency_key=f"{request.idempotency_key}/{n}")).id)
            gateway.confirm(made[-1], card)
        sandbox.sandbox.set_clock(None)
        return start, made

    return pay


def _charges(sandbox: Gateway, payment: Payment) -> int:
    return len(sandbox.sandbox.charges(payment_intent=payment.id, status="succeeded"))


def _confirm(gateway: StripeGateway, payment_id: str, card: str) -> Payment:
    """Confirm a payment as the charge does: where the answer is unclear, retrieve the payment."""
    return gateway.confirm(payment_id, card) or gateway.retrieve(payment_id)


def test_a_created_payment_moves_no_money(
    gateway: StripeGateway, sandbox: Gateway, request_of_29_99: PaymentRequest
) -> None:
    """A payment is created unconfirmed, for cards only, with the billing period in its metadata; the same idempotency
    key gives the same payment."""
    payment = gateway.create(request_of_29_99)
    assert (payment.state, payment.amount, payment.currency) == (PaymentState.OPEN, 2999, "USD")
    assert gateway.create(request_of_29_99).id == payment.id
    [(metadata, listed)] = gateway.list(request_of_29_99.gateway_customer, datetime.now(UTC) - timedelta(days=1))
    assert metadata == METADATA
    assert listed == payment
    assert _charges(sandbox, payment) == 0


def test_a_confirmed_payment_is_paid_once(
    gateway: StripeGateway, sandbox: Gateway, request_of_29_99: PaymentRequest, good_card: str
) -> None:
    """A second confirmation is answered with the paid payment and makes no second charge."""
    payment = gateway.create(request_of_29_99)
    paid = _confirm(gateway, payment.id, good_card)
    assert (paid.state, paid.amount) == (PaymentState.PAID, 2999)
    assert paid.card == gateway.card(good_card)
    assert paid.paid_at is not None
    assert _confirm(gateway, payment.id, good_card) == paid == gateway.retrieve(payment.id)
    assert _charges(sandbox, payment) == 1


def test_a_card_is_told_by_its_name_and_its_last_month(gateway: StripeGateway, sandbox: Gateway) -> None:
    """The gateway tells a card's name and last month as they are now, and whether the card was detached; a card unknown
    to the gateway is None, and a wrong key is still an error."""
    made: Any = {"number": "5555555555554444", "exp_month": 4, "exp_year": 2044}
    api = _client(sandbox).v1
    method = api.payment_methods.create({"type": "card", "card": made}).id
    api.payment_methods.attach(method, {"customer": api.customers.create({}).id})
    assert gateway.card(method) == GatewayCard(method, "Mastercard ending in 4444", "2044-04")
    api.payment_methods.detach(method)
    assert gateway.card(method) == GatewayCard(method, "Mastercard ending in 4444", "2044-04", is_detached=True)
    assert gateway.card("pm_nobody_knows") is None
    with pytest.raises(GatewayUnauthorized):
        StripeGateway("sk_test_wrong", sandbox.url).card(method)


@pytest.mark.parametrize(
    ("card", "decline", "advice"),
    [
        ("pm_card_visa_chargeDeclinedInsufficientFunds", "insufficient_funds", "try_again_later"),
        ("pm_card_visa_chargeDeclinedLostCard", "lost_card", "do_not_try_again"),
        ("pm_card_visa_chargeDeclined", "generic_decline", "try_again_later"),
    ],
)
def test_a_decline_is_a_state_with_its_codes(
    gateway: StripeGateway, request_of_29_99: PaymentRequest, good_card: str, card: str, decline: str, advice: str
) -> None:
    """A decline is a state with its codes and not an exception; every failed attempt has an id of its own, and a
    different card can still pay."""
    payment = gateway.create(request_of_29_99)
    first, second = _confirm(gateway, payment.id, card), _confirm(gateway, payment.id, card)
    assert first.state is PaymentState.DECLINED
    assert first.failure is not None
    assert second.failure is not None
    assert (first.failure.decline_code, first.failure.advice_code) == (decline, advice)
    assert first.failure.id != second.failure.id
    assert gateway.retrieve(payment.id) == second
    assert _confirm(gateway, payment.id, good_card).state is PaymentState.PAID


def test_a_card_that_needs_the_customer_is_a_state_of_its_own(
    gateway: StripeGateway, sandbox: Gateway, request_of_29_99: PaymentRequest
) -> None:
    """A bank that asks for 3-D Secure off session gives the state ACTION_REQUIRED; after the customer has confirmed,
    the retrieved payment is paid."""
    payment = gateway.create(request_of_29_99)
    asked = _confirm(gateway, payment.id, "pm_card_authenticationRequired")
    assert asked.state is PaymentState.ACTION_REQUIRED
    intent = _client(sandbox).v1.payment_intents.retrieve(payment.id)
    assert intent.status == "requires_payment_method", "requires_action is for a customer who is present"
    assert asked.failure is not None
    assert asked.failure.code == "authentication_required"
    sandbox.sandbox.authenticate(payment.id)
    assert gateway.retrieve(payment.id).state is PaymentState.PAID


@pytest.mark.parametrize("mode", ["drop_after", "500_after"])
def test_a_charge_whose_answer_was_lost_is_found(
    gateway: StripeGateway, sandbox: Gateway, request_of_29_99: PaymentRequest, good_card: str, mode: str
) -> None:
    """After an unclear answer the payment is retrieved, and the charge behind the lost answer is found."""
    payment = gateway.create(request_of_29_99)
    sandbox.sandbox.hostile(mode, "payment_intents.confirm")
    assert _confirm(gateway, payment.id, good_card).state is PaymentState.PAID
    assert _charges(sandbox, payment) == 1


@pytest.mark.parametrize("mode", ["drop_before", "500", "429", "503"])
def test_a_confirmation_that_never_arrived_leaves_the_payment_open(
    gateway: StripeGateway, sandbox: Gateway, request_of_29_99: PaymentRequest, good_card: str, mode: str
) -> None:
    """A confirmation that never arrived charges nothing and leaves the payment open, to be confirmed again."""
    payment = gateway.create(request_of_29_99)
    sandbox.sandbox.hostile(mode, "payment_intents.confirm")
    assert _confirm(gateway, payment.id, good_card).state is PaymentState.OPEN
    assert _confirm(gateway, payment.id, good_card).state is PaymentState.PAID


def test_a_card_that_is_gone_refuses_the_attempt(
    gateway: StripeGateway, request_of_29_99: PaymentRequest, good_card: str
) -> None:
    """A mistyped or detached card fails the attempt only: the payment stays open, and a different card can pay."""
    payment = gateway.create(request_of_29_99)
    refused = gateway.confirm(payment.id, "pm_typo")
    assert refused is not None
    assert refused.state is PaymentState.DECLINED
    assert refused.failure is not None
    assert refused.failure.code == "resource_missing"
    assert _confirm(gateway, payment.id, good_card).state is PaymentState.PAID


@pytest.mark.parametrize("mode", ["drop_before", "drop_after", "500", "429"])
def test_no_clear_answer_to_a_confirmation_is_none(
    gateway: StripeGateway, sandbox: Gateway, request_of_29_99: PaymentRequest, good_card: str, mode: str
) -> None:
    """An unclear answer to a confirmation is None: the charge must know whether the gateway answered, since only an
    answer ends an attempt."""
    payment = gateway.create(request_of_29_99)
    sandbox.sandbox.hostile(mode, "payment_intents.confirm")
    assert gateway.confirm(payment.id, good_card) is None


def test_processing_is_a_state_of_its_own(
    gateway: StripeGateway, sandbox: Gateway, request_of_29_99: PaymentRequest, good_card: str
) -> None:
    """A payment in processing is neither paid nor declined until the bank settles the payment."""
    payment = gateway.create(request_of_29_99)
    sandbox.sandbox.hostile("processing", "payment_intents.confirm")
    assert _confirm(gateway, payment.id, good_card).state is PaymentState.PROCESSING
    sandbox.sandbox.settle(payment.id, "succeeded")
    assert gateway.retrieve(payment.id).state is PaymentState.PAID


_NOTIFIED = {"processing": {"type": "card", "card": {"customer_notification": {"completes_at": None}}}}
_COMPLETES = {"processing": {"type": "card", "card": {"customer_notification": {"completes_at": 500_000}}}}


@pytest.mark.parametrize(
    ("told", "settles_at"),
    [
        (_COMPLETES, 500_000),
        (_COMPLETES | {"latest_charge": "ch_1"}, 500_000),
        (_NOTIFIED, 100_000 + 26 * 3600),
        (_NOTIFIED | {"latest_charge": "ch_1"}, None),
        ({"processing": {"type": "card"}}, None),
        ({"processing": None}, None),
        (_COMPLETES | {"status": "requires_action"}, None),
    ],
)
def test_when_a_payment_in_processing_settles(told: dict[str, Any], settles_at: int | None) -> None:
    """A payment in processing settles at the moment named by Stripe, or 26 hours after the charge where Stripe has
    notified the customer and names no moment; a payment waiting for anything else gets no moment of our own."""
    given = {"id": "pi_1", "amount": 2999, "currency": "usd", "status": "processing"}
    given |= {"latest_charge": {"id": "ch_1", "created": 100_000}}
    read = stripe_answers.payment(stripe.PaymentIntent.construct_from(given | told, "sk")).settles_at
    assert read == (datetime.fromtimestamp(settles_at, UTC) if settles_at else None)


def test_a_slow_gateway_is_not_waited_for(
    gateway: StripeGateway,
    sandbox: Gateway,
    request_of_29_99: PaymentRequest,
    good_card: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The client gives up after four seconds (in this test 0.2 seconds), and a further call finds the charge that went
    through meanwhile."""
    payment = gateway.create(request_of_29_99)
    assert stripe_gateway.READ_SECONDS == 4
    monkeypatch.setattr(stripe_gateway, "READ_SECONDS", 0.2)
    sandbox.sandbox.hostile("slow", "payment_intents.confirm", seconds=0.6)
    assert StripeGateway(sandbox.api_key, sandbox.url).confirm(payment.id, good_card) is None
    assert eventually(lambda: gateway.retrieve(payment.id).state is PaymentState.PAID)
    assert _confirm(gateway, payment.id, good_card).state is PaymentState.PAID
    assert _charges(sandbox, payment) == 1


@pytest.mark.parametrize("mode", ["500", "503", "429", "drop_before", "drop_after"])
def test_a_creation_without_an_answer_is_unavailable(
    gateway: StripeGateway, sandbox: Gateway, request_of_29_99: PaymentRequest, mode: str
) -> None:
    """A creation without a clear answer raises GatewayUnavailable, which tells whether the gateway answered with a 5xx:
    the gateway repeats a 5xx under the same idempotency key."""
    sandbox.sandbox.hostile(mode, "payment_intents.create")
    with pytest.raises(GatewayUnavailable) as raised:
        gateway.create(request_of_29_99)
    assert raised.value.answered == (mode in ("500", "503"))
    if mode == "500":
        with pytest.raises(GatewayUnavailable):
            gateway.create(request_of_29_99)
        assert gateway.create(replace(request_of_29_99, idempotency_key="another")).state is PaymentState.OPEN


def test_a_request_that_is_wrong_is_refused_by_name(gateway: StripeGateway, request_of_29_99: PaymentRequest) -> None:
    """An unknown customer and an amount below the minimum are refused with the gateway's own code, for a person to
    read."""
    for change, code in (
        ({"gateway_customer": "cus_none", "idempotency_key": "a"}, "resource_missing"),
        ({"amount": 10, "idempotency_key": "b"}, "amount_too_small"),
    ):
        with pytest.raises(GatewayRefused) as raised:
            gateway.create(replace(request_of_29_99, **change))
        assert raised.value.code == code


def test_a_wrong_key_is_named_as_that(sandbox: Gateway, request_of_29_99: PaymentRequest) -> None:
    """A wrong API key raises GatewayUnauthorized, and is neither a decline nor a network fault."""
    with pytest.raises(GatewayUnauthorized):
        StripeGateway("sk_test_wrong", sandbox.url).create(request_of_29_99)


def test_a_canceled_payment_can_never_be_paid(
    gateway: StripeGateway, request_of_29_99: PaymentRequest, good_card: str
) -> None:
    """A canceled payment stays canceled, also when a card confirms the payment later."""
    payment = gateway.create(request_of_29_99)
    assert gateway.cancel(payment.id).state is PaymentState.CANCELED
    assert _confirm(gateway, payment.id, good_card).state is PaymentState.CANCELED


def test_a_refund_is_one_for_its_key(
    gateway: StripeGateway, sandbox: Gateway, request_of_29_99: PaymentRequest, good_card: str
) -> None:
    """The same idempotency key gives the same refund, and a new key a further partial refund; the gateway lists both
    with their requests, and a refund made in the dashboard without a request."""
    payment = gateway.create(request_of_29_99)
    _confirm(gateway, payment.id, good_card)
    first = gateway.refund(payment.id, 1000, request="r-1", idempotency_key=f"{payment.id}/1")
    assert (first.state, first.amount, first.currency, first.request) == (
        GatewayRefundState.SUCCEEDED,
        1000,
        "USD",
        "r-1",
    )
    assert gateway.refund(payment.id, 1000, request="r-1", idempotency_key=f"{payment.id}/1") == first
    second = gateway.refund(payment.id, 500, request="r-2", idempotency_key=f"{payment.id}/2")
    made_by_hand = _client(sandbox).v1.refunds.create({"payment_intent": payment.id, "amount": 1})
    assert [each.id for each in gateway.refunds_of(payment.id)] == [made_by_hand.id, second.id, first.id]
    assert [each.request for each in gateway.refunds_of(payment.id)] == [None, "r-2", "r-1"]
    (charge,) = sandbox.sandbox.charges(payment_intent=payment.id)
    assert charge["amount_refunded"] == 1501


def test_all_refunds_of_a_payment_are_listed(
    gateway: StripeGateway, sandbox: Gateway, request_of_29_99: PaymentRequest, good_card: str
) -> None:
    """All refunds of a payment are listed once, also beyond a page: the amount left is reckoned from all of them."""
    payment = gateway.create(request_of_29_99)
    _confirm(gateway, payment.id, good_card)
    for n in range(101):
        gateway.refund(payment.id, 1, request=f"r-{n}", idempotency_key=f"{payment.id}/{n}")
    assert len({each.id for each in gateway.refunds_of(payment.id)}) == 101


def test_what_the_account_refunded_is_listed(
    gateway: StripeGateway, sandbox: Gateway, request_of_29_99: PaymentRequest, good_card: str
) -> None:
    """The account's refunds are listed newest first, from a first moment (included) to a last (excluded), with the
    billing period of the refunded payment."""
    payment = gateway.create(request_of_29_99)
    _confirm(gateway, payment.id, good_card)
    start = datetime.fromtimestamp(sandbox.sandbox.clock() + 40 * 86400, UTC)
    made = []
    for minutes in (0, 1, 2):
        sandbox.sandbox.set_clock((start + timedelta(minutes=minutes)).timestamp() + 0.1)
        made.append(gateway.refund(payment.id, 1, request=f"r-{minutes}", idempotency_key=f"{start}/{minutes}").id)
    sandbox.sandbox.set_clock(None)
    listed = list(gateway.refunded_between(start, start + timedelta(minutes=2)))
    assert [each.id for each in listed] == [made[1], made[0]]
    assert (listed[0].payment_id, listed[0].at) == (payment.id, start + timedelta(minutes=1))
    assert listed[0].payment_metadata == METADATA


def test_a_refund_is_retrieved_with_the_metadata_of_its_payment(
    gateway: StripeGateway, sandbox: Gateway, request_of_29_99: PaymentRequest, good_card: str
) -> None:
    """A refund made in the dashboard has no metadata of its own, and is read with the metadata of the refunded payment;
    an unknown refund is None."""
    payment = gateway.create(request_of_29_99)
    _confirm(gateway, payment.id, good_card)
    made = sandbox.sandbox.refund_in_dashboard(payment.id, 500)
    found = gateway.retrieve_refund(made["id"])
    assert found is not None
    assert (found.payment_id, found.amount, found.request) == (payment.id, 500, None)
    assert (found.state, found.payment_metadata) == (GatewayRefundState.SUCCEEDED, METADATA)
    sandbox.sandbox.settle_refund(made["id"], "failed")
    failed = gateway.retrieve_refund(made["id"])
    assert failed is not None
    assert (failed.state, failed.reason) == (GatewayRefundState.FAILED, "expired_or_canceled_card")
    assert gateway.retrieve_refund("re_unknown") is None


@pytest.mark.parametrize("absent", ["status", "metadata", "payment_intent", "failure_reason", "reason", "charge"])
@pytest.mark.parametrize("status", ["pending", "requires_action", "succeeded", "failed", "canceled", "new_one"])
def test_a_refund_may_lack_what_its_type_calls_optional(absent: str, status: str) -> None:
    """A refund is read with any optional field left out or null; a refund without a final status counts as pending."""
    told: dict[str, Any] = {"id": "re_1", "object": "refund", "amount": 1000, "currency": "usd", "created": 1769860800}
    told |= {"status": status, "metadata": {"request": "r-1"}, "payment_intent": "pi_1", "failure_reason": "unknown"}
    told |= {"reason": None, "charge": "ch_1"}
    for given in ({name: value for name, value in told.items() if name != absent}, told | {absent: None}):
        read = stripe_answers.refund(stripe.Refund.construct_from(given, "sk"))
        failed = status in ("failed", "canceled") and absent != "status"
        done = (
            GatewayRefundState.SUCCEEDED if status == "succeeded" and absent != "status" else GatewayRefundState.PENDING
        )
        assert read.state is (GatewayRefundState.FAILED if failed else done)
        assert read.payment_id == ("" if absent == "payment_intent" else "pi_1")
        assert read.request == (None if absent == "metadata" else "r-1")
        assert (read.reason is not None) is failed


def test_more_than_was_paid_is_not_given_back(
    gateway: StripeGateway, request_of_29_99: PaymentRequest, good_card: str
) -> None:
    """The gateway has the last word: a refund beyond the amount paid is refused, and the refusal is passed on as
    GatewayRefused."""
    payment = gateway.create(request_of_29_99)
    _confirm(gateway, payment.id, good_card)
    with pytest.raises(GatewayRefused):
        gateway.refund(payment.id, 3000, request="r-1", idempotency_key=f"{payment.id}/1")


def test_none_of_the_sdks_objects_is_loaded_before_it_is_met() -> None:
    """Building the gateway imports none of the SDK's object classes: the classes are large, and importing them makes a
    start a tenth longer."""
    asked = "from renewals.gateway.stripe_gateway import StripeGateway as S; S('sk', 'http://x')"
    loaded = "import sys; print([n for n in ('charge', 'payment_intent', 'refund') if f'stripe._{n}' in sys.modules])"
    command = [sys.executable, "-c", f"{asked}; {loaded}"]
    source = {"PYTHONPATH": str(Path(stripe_answers.__file__).parents[2])}
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=source)
    assert run.stdout == "[]\n"


def test_nobody_listens(request_of_29_99: PaymentRequest) -> None:
    """A gateway that cannot be reached raises GatewayUnavailable."""
    with pytest.raises(GatewayUnavailable):
        StripeGateway("sk_test", "http://127.0.0.1:9").create(request_of_29_99)


def _both[T](call: Callable[[], T]) -> list[Any]:
    """Make the same call in two threads at the same time; return both answers or errors."""
    with ThreadPoolExecutor() as threads:
        calls = [threads.submit(call) for _ in range(2)]
    return [call.exception() or call.result() for call in calls]


def test_a_key_in_use_this_very_moment_is_unavailable(sandbox: Gateway, request_of_29_99: PaymentRequest) -> None:
    """A 409, because a concurrent call is creating the payment, raises GatewayUnavailable, and is neither a refusal nor
    a 5xx stored under the key."""
    sandbox.sandbox.hostile("slow", "payment_intents.create", seconds=0.5)
    answers = _both(lambda: StripeGateway(sandbox.api_key, sandbox.url).create(request_of_29_99))
    [refused] = [answer for answer in answers if not isinstance(answer, Payment)]
    assert isinstance(refused, GatewayUnavailable)
    assert not refused.answered


def test_a_payment_in_use_this_very_moment_has_no_clear_answer(
    gateway: StripeGateway, sandbox: Gateway, request_of_29_99: PaymentRequest, good_card: str
) -> None:
    """Two calls confirm a payment at the same time: the second call gets no clear answer, and the card is charged
    once."""
    payment, card = gateway.create(request_of_29_99), good_card
    sandbox.sandbox.hostile("slow", "payment_intents.confirm", seconds=0.5)
    answers = _both(lambda: StripeGateway(sandbox.api_key, sandbox.url).confirm(payment.id, card))
    assert answers.count(None) == 1
    assert _charges(sandbox, payment) == 1


def test_of_a_payment_what_was_received_is_told(
    gateway: StripeGateway, sandbox: Gateway, request_of_29_99: PaymentRequest, good_card: str
) -> None:
    """An open payment tells the amount asked for; a paid payment tells the amount received."""
    intents = _client(sandbox).v1.payment_intents
    payment = gateway.create(request_of_29_99)
    gateway.confirm(payment.id, good_card)
    told = intents.retrieve(payment.id)
    told["amount_received"] = 2000
    assert stripe_answers.payment(told).amount == 2000
    assert gateway.create(replace(request_of_29_99, idempotency_key="open")).amount == 2999


@pytest.mark.parametrize("many", share([110, 1100], of=2))
def test_of_a_customer_with_many_payments_ours_is_found(
    gateway: StripeGateway, sandbox: Gateway, request_of_29_99: PaymentRequest, many: int
) -> None:
    """Our payment is found behind more than a page of newer payments of another system; a reader who stops at the first
    payment gets our newest payment."""
    yesterday, customer = datetime.now(UTC) - timedelta(days=1), request_of_29_99.gateway_customer
    oldest = gateway.create(request_of_29_99)
    intents = _client(sandbox).v1.payment_intents
    others: Any = {"amount": 500, "currency": "usd", "customer": customer}
    for _ in range(many):
        intents.create(others)
    assert [payment.id for _, payment in gateway.list(customer, yesterday)] == [oldest.id]
    newest = gateway.create(replace(request_of_29_99, idempotency_key="newest"))
    _, first = next(gateway.list(customer, yesterday))
    assert first.id == newest.id


def test_what_the_account_charged_is_listed(
    gateway: StripeGateway, sandbox: Gateway, request_of_29_99: PaymentRequest, good_card: str
) -> None:
    """Declined and successful attempts are listed once, newest first, with moment, amount and billing period, from a
    first moment (included) to a last (excluded); a payment that was only created is not listed."""
    start = datetime.fromtimestamp(sandbox.sandbox.clock() + 5 * 86400, UTC)
    sandbox.sandbox.set_clock(start.timestamp())
    payment = gateway.create(request_of_29_99)
    gateway.confirm(payment.id, "pm_card_visa_chargeDeclined")
    later = start + timedelta(hours=1)
    sandbox.sandbox.set_clock(later.timestamp())
    gateway.confirm(payment.id, good_card)
    sandbox.sandbox.set_clock(None)
    paid, refused = gateway.charged_between(start, later + timedelta(minutes=1))
    assert (paid.payment_id, paid.succeeded, paid.amount, paid.currency) == (payment.id, True, 2999, "USD")
    assert paid.metadata == METADATA
    assert (refused.payment_id, refused.succeeded) == (payment.id, False)
    assert paid.at == gateway.retrieve(payment.id).paid_at
    assert list(gateway.charged_between(refused.at, paid.at)) == [refused]
    assert list(gateway.charged_between(paid.at, paid.at + timedelta(seconds=1))) == [paid]


@pytest.mark.parametrize("many", share([105, 205], of=2))
def test_a_list_of_many_pages_outlasts_a_bad_moment(
    sandbox: Gateway, paid: Callable[[int], tuple[datetime, list[str]]], many: int
) -> None:
    """While the gateway answers 429 or 500, a list of several pages waits and then has every charge once; where the
    errors do not end, an error is raised instead of an incomplete list."""
    waited: list[float] = []
    gateway = StripeGateway(sandbox.api_key, sandbox.url, wait=waited.append)
    start, made = paid(many)
    until = start + timedelta(hours=1)
    for mode in ("429", "500"):
        sandbox.sandbox.hostile(mode, "charges.list", calls=1)
        listed = [charge.payment_id for charge in gateway.charged_between(start, until)]
        assert (len(listed), set(listed)) == (many, set(made))
    assert waited == [1, 1]
    sandbox.sandbox.hostile("429", "charges.list", calls=99)
    with pytest.raises(GatewayUnavailable):
        list(gateway.charged_between(start, until))
    assert waited == [1, 1, 1, 2, 4, 8]


def test_events_are_found_page_by_page(sandbox: Gateway, paid: Callable[[int], tuple[datetime, list[str]]]) -> None:
    """A search finds the account's events of the named types since a moment, newest first, in pages of a hundred, also
    while the gateway answers 429; the cursor and the moment of a page's last event lead to the next page."""
    waited: list[float] = []
    gateway = StripeGateway(sandbox.api_key, sandbox.url, wait=waited.append)
    start, made = paid(105)
    sandbox.sandbox.set_clock((start + timedelta(hours=1)).timestamp())  # the sandbox lists no event of the future
    types = [GatewayEventType.PAYMENT_SUCCEEDED, GatewayEventType.PAYMENT_FAILED]
    search = EventSearch(types, start, None, undelivered=False, after=None)
    sandbox.sandbox.hostile("429", "events.list", calls=1)
    first = gateway.find_events(search)
    rest = gateway.find_events(replace(search, until=first.until, after=first.after))
    nothing = gateway.find_events(replace(search, undelivered=True))
    later = gateway.find_events(replace(search, since=start + timedelta(days=1)))
    sandbox.sandbox.set_clock(None)
    found = [*first.events, *rest.events]
    assert ([each.object_id for each in found], len(first.events)) == (made[::-1], 100)
    assert {each.type for each in found} == {GatewayEventType.PAYMENT_SUCCEEDED}
    assert found[0].metadata == METADATA
    assert (rest.after, nothing.events, later.events, later.until) == (None, [], [], None)
    assert waited == [1]


def test_undelivered_events_are_found(
    sandbox: Gateway, gateway: StripeGateway, request_of_29_99: PaymentRequest, good_card: str
) -> None:
    """Events that no endpoint has taken are found among the undelivered events, also events of other systems."""
    start = datetime.fromtimestamp(sandbox.sandbox.clock() + 80 * 86400, UTC)
    sandbox.sandbox.set_clock(start.timestamp())
    sandbox.sandbox.send_events("http://127.0.0.1:9/", "whsec_x", "never")
    payment = gateway.create(request_of_29_99)
    gateway.confirm(payment.id, good_card)
    theirs: Any = {"amount": 500, "currency": "usd", "customer": request_of_29_99.gateway_customer, "confirm": True}
    theirs |= {"payment_method": good_card, "off_session": True, "allowed_payment_method_types": ["card"]}
    other = _client(sandbox).v1.payment_intents.create(theirs)
    sandbox.sandbox.send_no_events()
    search = EventSearch([GatewayEventType.PAYMENT_SUCCEEDED], start, None, undelivered=True, after=None)
    found = gateway.find_events(search).events
    sandbox.sandbox.set_clock(None)
    assert [each.object_id for each in found] == [other.id, payment.id]


@pytest.mark.parametrize("operation", ["retrieve", "cancel"])
def test_a_payment_of_another_account_is_refused_by_name(gateway: StripeGateway, operation: str) -> None:
    """A payment of a different account is refused as `resource_missing`, and is neither unclear nor unavailable."""
    with pytest.raises(GatewayRefused) as raised:
        getattr(gateway, operation)("pi_of_another_account")
    assert raised.value.code == "resource_missing"


def test_a_payment_that_is_paid_cannot_be_given_up(
    gateway: StripeGateway, request_of_29_99: PaymentRequest, good_card: str
) -> None:
    """The gateway refuses to cancel a paid payment, and the payment stays paid."""
    payment = gateway.create(request_of_29_99)
    gateway.confirm(payment.id, good_card)
    with pytest.raises(GatewayRefused):
        gateway.cancel(payment.id)
    assert gateway.retrieve(payment.id).state is PaymentState.PAID


@pytest.fixture
def deployed(shop: World, sandbox: Gateway, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """The handler of ProcessPayment over the shop's tables and the sandbox. Yields the gateway secret, for the test to
    edit."""
    secret = {"api_key": sandbox.api_key, "api_secret": "whsec_AAAA", "endpoint": sandbox.url}
    settings = "DYNAMODB_TABLE=subscriptions RENEWALS_TABLE=renewals CHANGES_TABLE=changes SECRETS_MANAGER_ARN=arn"
    settings += " TIME_ZONE=UTC PROJECT_NAME=shop DEPLOYMENT=shop DUNNING_DAYS=1,3,5,7 DUNNING_ENDS_AS=canceled"
    for setting in f"{settings} ENVIRONMENT=test SELLER_NAME=Shop SELLER_ADDRESS=Street SELLER_TAX_ID=1".split():
        monkeypatch.setenv(*setting.split("="))
    secrets = SimpleNamespace(get_secret_value=lambda **_: {"SecretString": json.dumps(secret)})
    monkeypatch.setattr(aws, "dynamodb", lambda: shop.dynamodb)
    monkeypatch.setattr(aws, "secrets_manager", lambda: secrets)
    for kept in (app._ledger, gateway_access.gateway):
        kept.cache_clear()
    sandbox.sandbox.expire_idempotency_keys()  # the same period is renewed by several tests
    yield secret
    for kept in (app._ledger, gateway_access.gateway):
        kept.cache_clear()


def _handle() -> dict[str, Any]:
    request = {"subscription_id": "sub_1", "customer_id": "cus_1", "amount": "29.99"}
    return app.handler({"execution": "run-1", "request": request}, SimpleNamespace(aws_request_id="request-1"))


def test_a_rotated_key_is_read_again_at_once(
    deployed: dict[str, str], shop: World, sandbox: Gateway, request_of_29_99: PaymentRequest, good_card: str
) -> None:
    """After the gateway refuses the API key of a warm process, the same call reads the new key and charges."""
    today = datetime.now(UTC).date().isoformat()
    asked = request_of_29_99
    shop.subscribe(renewal_date=today, gateway_customer=asked.gateway_customer, payment_method=good_card)
    deployed["api_key"] = "sk_test_expired"
    gateway_access.gateway()
    deployed["api_key"] = sandbox.api_key
    assert _handle()["outcome"] == "paid"


def test_one_function_makes_the_gateway_of_a_deployment() -> None:
    """Functions, audit and commands build the gateway in a single place, from the same secret."""
    root = Path(__file__).parents[2]
    texts = {path: path.read_text() for folder in ("src", "scripts") for path in (root / folder).rglob("*.py")}
    makers = {path.name: text.count("StripeGateway(") for path, text in texts.items() if "StripeGateway(" in text}
    assert makers == {"access.py": 1}


@pytest.mark.parametrize(
    ("secret", "why"),
    [
        ("{", "the gateway secret is not a JSON object"),
        ('{"endpoint": "https://api.stripe.com"}', "the gateway secret lacks 'api_key'"),
        ('{"api_key": "sk_test_secret"}', "the gateway secret lacks 'endpoint'"),
        ('["sk_test_secret"]', "the gateway secret is not a JSON object"),
    ],
)
def test_a_secret_that_is_not_complete_is_named_without_its_values(secret: str, why: str) -> None:
    """The error about an incomplete gateway secret names the missing part for whoever wrote the secret, and shows no
    key."""
    secrets: Any = SimpleNamespace(get_secret_value=lambda **_: {"SecretString": secret})
    with pytest.raises(BadSecret) as raised:
        gateway_access.current_gateway(secrets, "arn")
    assert str(raised.value) == why


@pytest.mark.parametrize("mode", ["403", "other_mode"])
def test_an_account_that_is_turned_away_is_told_once_and_heals_by_itself(
    deployed: dict[str, str],
    shop: World,
    sandbox: Gateway,
    request_of_29_99: PaymentRequest,
    good_card: str,
    mode: str,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Turned away by the gateway, the run ends without an error, counts a metric, logs the gateway's request id and
    changes nothing; the next run charges."""
    today, customer = datetime.now(UTC).date().isoformat(), request_of_29_99.gateway_customer
    shop.subscribe(renewal_date=today, gateway_customer=customer, payment_method=good_card)
    row = dict(shop.row())
    sandbox.sandbox.hostile(mode, "payment_intents.*", calls=2)
    reply = _handle()
    assert (reply["outcome"], reply["reason"]) == ("nothing_to_do", "gateway_account")
    written = capsys.readouterr().out
    assert '"GatewayAccountFault":[1.0]' in written
    [told] = [record for record in caplog.records if record.message == "gateway account"]
    assert vars(told)["gateway_request_id"].startswith("req_")
    assert shop.row() == row
    assert shop.items()[today]["status"] == "claimed"
    assert _handle()["outcome"] == "paid"


def test_a_reminder_waits_for_the_account_too(
    deployed: dict[str, str], shop: World, sandbox: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the gateway turns the account away, no reminder of an unseen card is sent, and nothing fails; later the
    card is known."""
    monkeypatch.setenv("REMINDER_DAYS", "7")
    monkeypatch.setenv("REMINDED_PERIOD_DAYS", "32")
    soon = (datetime.now(UTC).date() + timedelta(days=3)).isoformat()
    shop.subscribe(renewal_date=soon)
    request = {"subscription_id": "sub_1", "customer_id": "cus_1", "amount": "29.99", "renewal_date": soon}
    event = {"execution": "run-1", "request": request | {"event_type": "subscription.reminder"}}
    sandbox.sandbox.hostile("403", "payment_methods.retrieve", calls=2)
    context = SimpleNamespace(aws_request_id="request-1")
    assert app.handler(event, context)["reason"] == "gateway_account"
    assert "known_card" not in shop.row()
    assert app.handler(event, context)["reason"] == "nothing_to_remind_of"
    assert "known_card" in shop.row()


FORBIDDEN: dict[str, tuple[str, Callable[[StripeGateway], object]]] = {
    "disputes.retrieve": ("rak_dispute_read", lambda gateway: gateway.dispute("dp_1")),
    "disputes.list": ("rak_dispute_read", lambda gateway: list(gateway.disputed_between(DAY, DAY))),
    "radar.early_fraud_warnings.retrieve": (
        "rak_radar_early_fraud_warning_read",
        lambda gateway: gateway.dispute("issfr_1"),
    ),
    "refunds.retrieve": ("rak_refund_read", lambda gateway: gateway.retrieve_refund("re_1")),
    "refunds.list": ("rak_refund_read", lambda gateway: gateway.refunds_of("pi_1")),
    "refunds.create": (
        "rak_refund_write",
        lambda gateway: gateway.refund("pi_1", 1, request="refund_1", idempotency_key="k"),
    ),
    "events.list": (
        "rak_event_read",
        lambda gateway: gateway.find_events(
            EventSearch([GatewayEventType.REFUND_CREATED], DAY, None, undelivered=False, after=None)
        ),
    ),
    "payment_methods.retrieve": ("rak_payment_method_read", lambda gateway: gateway.saved("pm_1")),
    "customers.retrieve": ("rak_customer_read", lambda gateway: gateway.has_customer("cus_1")),
}


@pytest.mark.parametrize("operation", FORBIDDEN)
def test_a_missing_permission_is_named(gateway: StripeGateway, sandbox: Gateway, operation: str) -> None:
    """A restricted key that lacks the permission for a call which charges nobody raises an error of its own, with
    Stripe's name of the permission."""
    permission, call = FORBIDDEN[operation]
    sandbox.sandbox.hostile("403", operation, calls=1)
    with pytest.raises(GatewayForbidden) as raised:
        call(gateway)
    assert raised.value.permission == permission


def test_a_key_that_may_not_charge_is_the_accounts_fault(
    gateway: StripeGateway, sandbox: Gateway, request_of_29_99: PaymentRequest
) -> None:
    """Without the permission to charge nobody is charged: the fault is the account's, and the error names the
    permission all the same."""
    sandbox.sandbox.hostile("403", "payment_intents.create", calls=1)
    with pytest.raises(GatewayUnauthorized, match="rak_payment_intent_write") as raised:
        gateway.create(request_of_29_99)
    assert not isinstance(raised.value, GatewayForbidden)


def test_whose_card_it_is(
    gateway: StripeGateway, sandbox: Gateway, request_of_29_99: PaymentRequest, good_card: str
) -> None:
    """A saved card names its customer, a detached card names nobody, and a card unknown to the gateway is None."""
    card = good_card
    assert gateway.saved(card) == Saved("card", request_of_29_99.gateway_customer)
    _client(sandbox).v1.payment_methods.detach(card)
    assert gateway.saved(card) == Saved("card", None)
    assert gateway.saved("pm_unknown") is None


def test_customers_that_are_known(gateway: StripeGateway, sandbox: Gateway, request_of_29_99: PaymentRequest) -> None:
    """Neither a deleted customer, for whom Stripe still answers, nor a customer with an unknown id counts as known."""
    customer = request_of_29_99.gateway_customer
    assert gateway.has_customer(customer)
    _client(sandbox).v1.customers.delete(customer)
    assert not gateway.has_customer(customer)
    assert not gateway.has_customer("cus_unknown")


def test_an_event_that_cannot_be_read_is_left_out() -> None:
    """Of a page of events, an event without sense is left out; the place for the next page stays the last event's."""
    good = {"id": "evt_1", "object": "event", "type": "payment_intent.succeeded", "created": 5, "livemode": False}
    good |= {"data": {"object": {"id": "pi_1", "metadata": {"subscription_id": "sub_1"}}}}
    bad = good | {"id": "evt_0", "data": {"object": {"id": None}}, "created": 4}
    page = stripe.ListObject[stripe.Event].construct_from(
        {"object": "list", "url": "/v1/events", "has_more": True, "data": [good, bad]}, "key"
    )
    found = stripe_answers.found_events(page)
    assert [each.event for each in found.events] == ["evt_1"]
    assert (found.after, found.until) == ("evt_0", datetime.fromtimestamp(4, UTC))
