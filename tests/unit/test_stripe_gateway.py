"""The gateway port over Stripe's official SDK, against the sandbox: every answer becomes a state or a named error."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
import stripe

from local.gateway import Gateway, serving
from renewals.gateway import (
    GatewayRefused,
    GatewayUnauthorized,
    GatewayUnavailable,
    Payment,
    PaymentRequest,
    PaymentState,
)
from renewals.stripe_gateway import StripeGateway


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


@pytest.fixture
def request_of_29_99(sandbox: Gateway) -> PaymentRequest:
    client = stripe.StripeClient(sandbox.api_key, base_addresses={"api": sandbox.url})
    customer = client.v1.customers.create({"name": "Ann"}).id
    card = client.v1.payment_methods.attach("pm_card_visa", {"customer": customer}).id
    return PaymentRequest("sub_1", date(2026, 1, 31), 1, 2999, "USD", customer, card, f"key-{customer}")


def _charges(sandbox: Gateway, payment: Payment) -> int:
    return len(sandbox.sandbox.charges(payment_intent=payment.id, status="succeeded"))


def _confirm(gateway: StripeGateway, payment_id: str, card: str) -> Payment:
    """As the charge does: what the answer does not tell, the payment does."""
    return gateway.confirm(payment_id, card) or gateway.retrieve(payment_id)


def test_a_created_payment_moves_no_money(
    gateway: StripeGateway, sandbox: Gateway, request_of_29_99: PaymentRequest
) -> None:
    """Created unconfirmed, for cards only, with the period in its metadata; the same key gives the same payment."""
    payment = gateway.create(request_of_29_99)
    assert (payment.state, payment.amount, payment.currency) == (PaymentState.OPEN, 2999, "USD")
    assert gateway.create(request_of_29_99).id == payment.id
    [(metadata, listed)] = gateway.list(request_of_29_99.gateway_customer, datetime.now(UTC) - timedelta(days=1))
    assert metadata == {"subscription_id": "sub_1", "renewal_date": "2026-01-31", "attempt": "1"}
    assert listed == payment
    assert _charges(sandbox, payment) == 0


def test_a_confirmed_payment_is_paid_once(
    gateway: StripeGateway, sandbox: Gateway, request_of_29_99: PaymentRequest
) -> None:
    """Confirming again is answered by the payment itself, not by a second charge."""
    payment = gateway.create(request_of_29_99)
    paid = _confirm(gateway, payment.id, request_of_29_99.payment_method)
    assert (paid.state, paid.amount, paid.card) == (PaymentState.PAID, 2999, "Visa ending in 4242")
    assert paid.paid_at is not None
    assert _confirm(gateway, payment.id, request_of_29_99.payment_method) == paid == gateway.retrieve(payment.id)
    assert _charges(sandbox, payment) == 1


@pytest.mark.parametrize(
    ("card", "decline", "advice"),
    [
        ("pm_card_visa_chargeDeclinedInsufficientFunds", "insufficient_funds", "try_again_later"),
        ("pm_card_visa_chargeDeclinedLostCard", "lost_card", "do_not_try_again"),
        ("pm_card_visa_chargeDeclined", "generic_decline", "try_again_later"),
    ],
)
def test_a_decline_is_a_state_with_its_codes(
    gateway: StripeGateway, request_of_29_99: PaymentRequest, card: str, decline: str, advice: str
) -> None:
    """Not an exception; each attempt's failure has an id of its own, and another card can still pay."""
    payment = gateway.create(request_of_29_99)
    first, second = _confirm(gateway, payment.id, card), _confirm(gateway, payment.id, card)
    assert first.state is PaymentState.DECLINED
    assert first.failure is not None
    assert second.failure is not None
    assert (first.failure.decline_code, first.failure.advice_code) == (decline, advice)
    assert first.failure.id != second.failure.id
    assert gateway.retrieve(payment.id) == second
    assert _confirm(gateway, payment.id, request_of_29_99.payment_method).state is PaymentState.PAID


def test_a_card_that_needs_the_customer_is_a_state_of_its_own(
    gateway: StripeGateway, sandbox: Gateway, request_of_29_99: PaymentRequest
) -> None:
    """3-D Secure asked off session; once the customer has completed it, retrieving shows it paid."""
    payment = gateway.create(request_of_29_99)
    asked = _confirm(gateway, payment.id, "pm_card_authenticationRequired")
    assert asked.state is PaymentState.ACTION_REQUIRED
    sandbox.sandbox.authenticate(payment.id)
    assert gateway.retrieve(payment.id).state is PaymentState.PAID


@pytest.mark.parametrize("mode", ["drop_after", "500_after"])
def test_a_charge_whose_answer_was_lost_is_found(
    gateway: StripeGateway, sandbox: Gateway, request_of_29_99: PaymentRequest, mode: str
) -> None:
    """Whatever is not a clear answer is answered by retrieving the payment."""
    payment = gateway.create(request_of_29_99)
    sandbox.sandbox.hostile(mode, "payment_intents.confirm")
    assert _confirm(gateway, payment.id, request_of_29_99.payment_method).state is PaymentState.PAID
    assert _charges(sandbox, payment) == 1


@pytest.mark.parametrize("mode", ["drop_before", "500", "429", "503"])
def test_a_confirmation_that_never_arrived_leaves_the_payment_open(
    gateway: StripeGateway, sandbox: Gateway, request_of_29_99: PaymentRequest, mode: str
) -> None:
    """Nothing was charged, and the payment says so: it can be confirmed again."""
    payment = gateway.create(request_of_29_99)
    sandbox.sandbox.hostile(mode, "payment_intents.confirm")
    assert _confirm(gateway, payment.id, request_of_29_99.payment_method).state is PaymentState.OPEN
    assert _confirm(gateway, payment.id, request_of_29_99.payment_method).state is PaymentState.PAID


def test_a_card_that_is_gone_refuses_the_attempt(gateway: StripeGateway, request_of_29_99: PaymentRequest) -> None:
    """A mistyped or detached card is the attempt's failure: the payment is alive, and another card can pay it."""
    payment = gateway.create(request_of_29_99)
    refused = gateway.confirm(payment.id, "pm_typo")
    assert refused is not None
    assert refused.state is PaymentState.DECLINED
    assert refused.failure is not None
    assert refused.failure.code == "resource_missing"
    assert _confirm(gateway, payment.id, request_of_29_99.payment_method).state is PaymentState.PAID


@pytest.mark.parametrize("mode", ["drop_before", "drop_after", "500", "429"])
def test_no_clear_answer_to_a_confirmation_is_none(
    gateway: StripeGateway, sandbox: Gateway, request_of_29_99: PaymentRequest, mode: str
) -> None:
    """The charge must know whether it was answered: only an answer ends an attempt."""
    payment = gateway.create(request_of_29_99)
    sandbox.sandbox.hostile(mode, "payment_intents.confirm")
    assert gateway.confirm(payment.id, request_of_29_99.payment_method) is None


def test_processing_is_unknown(gateway: StripeGateway, sandbox: Gateway, request_of_29_99: PaymentRequest) -> None:
    """Neither paid nor declined, until it is settled."""
    payment = gateway.create(request_of_29_99)
    sandbox.sandbox.hostile("processing", "payment_intents.confirm")
    assert _confirm(gateway, payment.id, request_of_29_99.payment_method).state is PaymentState.UNKNOWN
    sandbox.sandbox.settle(payment.id, "succeeded")
    assert gateway.retrieve(payment.id).state is PaymentState.PAID


def test_a_slow_gateway_is_not_waited_for(
    gateway: StripeGateway, sandbox: Gateway, request_of_29_99: PaymentRequest
) -> None:
    """The client gives up after seconds; the charge that goes through meanwhile is found by asking again."""
    payment = gateway.create(request_of_29_99)
    sandbox.sandbox.hostile("slow", "payment_intents.confirm", seconds=5)
    began = datetime.now(UTC)
    first = _confirm(gateway, payment.id, request_of_29_99.payment_method)
    assert datetime.now(UTC) - began < timedelta(seconds=6)
    if first.state is not PaymentState.PAID:
        assert first.state is PaymentState.OPEN
        again = [_confirm(gateway, payment.id, request_of_29_99.payment_method) for _ in range(2)]
        assert again[-1].state in (PaymentState.OPEN, PaymentState.PAID)
    assert _charges(sandbox, payment) <= 1


@pytest.mark.parametrize("mode", ["500", "503", "429", "drop_before", "drop_after"])
def test_a_creation_without_an_answer_is_unavailable(
    gateway: StripeGateway, sandbox: Gateway, request_of_29_99: PaymentRequest, mode: str
) -> None:
    """And it tells whether the gateway answered with a 5xx, which it will repeat under the same key."""
    sandbox.sandbox.hostile(mode, "payment_intents.create")
    with pytest.raises(GatewayUnavailable) as raised:
        gateway.create(request_of_29_99)
    assert raised.value.answered == (mode in ("500", "503"))
    if mode == "500":
        with pytest.raises(GatewayUnavailable):
            gateway.create(request_of_29_99)
        assert gateway.create(replace(request_of_29_99, idempotency_key="another")).state is PaymentState.OPEN


def test_a_request_that_is_wrong_is_refused_by_name(gateway: StripeGateway, request_of_29_99: PaymentRequest) -> None:
    """No such customer, an amount below the minimum: the gateway's own code, for a person to read."""
    for change, code in (
        ({"gateway_customer": "cus_none", "idempotency_key": "a"}, "resource_missing"),
        ({"amount": 10, "idempotency_key": "b"}, "amount_too_small"),
    ):
        with pytest.raises(GatewayRefused) as raised:
            gateway.create(replace(request_of_29_99, **change))
        assert raised.value.code == code


def test_a_wrong_key_is_named_as_that(sandbox: Gateway, request_of_29_99: PaymentRequest) -> None:
    """It is not a decline and not the network."""
    with pytest.raises(GatewayUnauthorized):
        StripeGateway("sk_test_wrong", sandbox.url).create(request_of_29_99)


def test_a_canceled_payment_can_never_be_paid(gateway: StripeGateway, request_of_29_99: PaymentRequest) -> None:
    """Giving up is for good."""
    payment = gateway.create(request_of_29_99)
    assert gateway.cancel(payment.id).state is PaymentState.CANCELED
    assert _confirm(gateway, payment.id, request_of_29_99.payment_method).state is PaymentState.CANCELED


def test_nobody_listens(request_of_29_99: PaymentRequest) -> None:
    """A gateway that cannot be reached is unavailable."""
    with pytest.raises(GatewayUnavailable):
        StripeGateway("sk_test", "http://127.0.0.1:9").create(request_of_29_99)
