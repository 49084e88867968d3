"""The gateway port's calls with the customer present, over Stripe's official SDK and the sandbox: the page for a new
card, the session, and a payment that the customer confirms at the bank's page."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from local.gateway import Gateway, official_client
from renewals.domain.payment import Payment, PaymentState
from renewals.gateway.card_setup import SESSION_ID, CardPageRequest, SessionState
from renewals.gateway.port import GatewayRefused, GatewayUnauthorized, GatewayUnavailable, PaymentRequest
from renewals.gateway.stripe_gateway import StripeGateway
from tests.sandbox import serving

BACK = "https://shop.example/account/back"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Gateway]:
    with serving() as gateway:
        yield gateway


@pytest.fixture
def v1(sandbox: Gateway) -> Any:
    sandbox.sandbox.peaceful()
    return official_client(sandbox.url, sandbox.api_key).v1


@pytest.fixture
def gateway(sandbox: Gateway) -> StripeGateway:
    return StripeGateway(sandbox.api_key, sandbox.url)


@pytest.fixture
def page(v1: Any) -> CardPageRequest:
    return CardPageRequest(
        subscription_id="sub_1",
        customer_id="cus_1",
        gateway_customer=v1.customers.create({"name": "Ann"}).id,
        deployment="shop/1/eu",
        success_url=f"{BACK}?session={SESSION_ID}",
        cancel_url=BACK,
        locale="de-AT",
        expires_at=datetime.now(UTC) + timedelta(hours=1),
        payment_method="pm_1",
    )


def _session(url: str) -> str:
    return url.rpartition("/")[2]


def test_a_session_leads_to_the_saved_card(
    sandbox: Gateway, gateway: StripeGateway, v1: Any, page: CardPageRequest
) -> None:
    """A new session is open and names the subscription, its customer and the deployment. Once the customer has saved a
    card, the session is complete, and the card is saved for the gateway's customer and for payments off session."""
    session = _session(gateway.open_card_page(page))
    opened = gateway.card_session(session)
    assert opened is not None
    assert (opened.state, opened.saved, opened.gateway_customer) == (SessionState.OPEN, None, page.gateway_customer)
    ours = {"subscription_id": "sub_1", "customer_id": "cus_1", "deployment": "shop/1/eu"}
    assert opened.metadata == {**ours, "card_before": "pm_1"}
    setup = v1.setup_intents.retrieve(v1.checkout.sessions.retrieve(session).setup_intent)
    assert setup.metadata.to_dict() == opened.metadata
    began = datetime.now(UTC).replace(microsecond=0)
    sandbox.sandbox.give_card(session)
    complete = gateway.card_session(session)
    assert complete is not None
    assert complete.state is SessionState.COMPLETE
    assert complete.saved is not None
    assert began <= complete.saved.at <= datetime.now(UTC)
    assert v1.payment_methods.retrieve(complete.saved.payment_method).customer == page.gateway_customer
    assert v1.setup_intents.retrieve(complete.saved.setup).usage == "off_session"


def test_an_expired_session_has_no_card(gateway: StripeGateway, v1: Any, page: CardPageRequest) -> None:
    """A session that was ended is expired, and has saved no card."""
    session = _session(gateway.open_card_page(page))
    v1.checkout.sessions.expire(session)
    expired = gateway.card_session(session)
    assert expired is not None
    assert (expired.state, expired.saved) == (SessionState.EXPIRED, None)


@pytest.mark.parametrize(
    ("tag", "shown"),
    [("de-AT", "de"), ("pt-br", "pt-BR"), ("zh-Hans-CN", "zh"), ("ar", "auto"), ("en-GB", "en-GB"), ("", "auto")],
)
def test_the_page_speaks_the_customers_language_where_stripe_speaks_it(
    gateway: StripeGateway, v1: Any, page: CardPageRequest, tag: str, shown: str
) -> None:
    """The page has the customer's language, or the language of the browser where Stripe lacks the language; Stripe
    refuses every other tag."""
    session = _session(gateway.open_card_page(replace(page, locale=tag)))
    assert v1.checkout.sessions.retrieve(session).locale == shown


def test_an_unknown_session_is_none_and_an_unknown_customer_is_refused(
    gateway: StripeGateway, page: CardPageRequest
) -> None:
    """The gateway knows no session of another account, and opens none for a customer who is gone."""
    assert gateway.card_session("cs_test_unknown") is None
    with pytest.raises(GatewayRefused) as refused:
        gateway.open_card_page(replace(page, gateway_customer="cus_gone"))
    assert (refused.value.code, refused.value.param) == ("resource_missing", "customer")


@pytest.mark.parametrize(
    ("mode", "error"),
    [
        ("403", GatewayUnauthorized),
        ("429", GatewayUnavailable),
        ("500", GatewayUnavailable),
        ("500_after", GatewayUnavailable),
        ("drop_after", GatewayUnavailable),
    ],
)
@pytest.mark.parametrize("operation", ["create", "retrieve"])
def test_a_bad_day_of_the_gateway_is_a_named_error(
    sandbox: Gateway,
    gateway: StripeGateway,
    page: CardPageRequest,
    operation: str,
    mode: str,
    error: type[Exception],
) -> None:
    """A limit, an error, a dropped connection and a key without the permission are the port's own errors."""
    session = _session(gateway.open_card_page(page))
    sandbox.sandbox.hostile(mode, f"checkout.sessions.{operation}")
    with pytest.raises(error):
        gateway.open_card_page(page) if operation == "create" else gateway.card_session(session)


@pytest.fixture
def asked(gateway: StripeGateway, v1: Any) -> tuple[Payment, str]:
    """A payment whose bank has asked for the customer, and the card."""
    return _asked(gateway, v1, "authenticationRequired")


def _asked(gateway: StripeGateway, v1: Any, card: str) -> tuple[Payment, str]:
    customer = v1.customers.create({"name": "Ann"}).id
    saved = v1.payment_methods.attach(f"pm_card_{card}", {"customer": customer}).id
    request = PaymentRequest("sub_1", date(2026, 1, 31), 1, 2999, "USD", customer, f"key-{customer}", "shop/1/eu")
    made = gateway.create(request)
    away = gateway.confirm(made.id, saved)
    assert away is not None
    assert (away.state, away.challenge) == (PaymentState.ACTION_REQUIRED, None), "off session nobody is challenged"
    return away, saved


def test_on_session_the_bank_asks_at_an_address(
    sandbox: Gateway, gateway: StripeGateway, asked: tuple[Payment, str]
) -> None:
    """With the customer present, the same payment has an open challenge with the bank's address. A look at the payment
    shows the same address, and the confirmed payment has no challenge any more."""
    payment, card = asked
    open_ = gateway.confirm_on_session(payment.id, card, BACK)
    assert open_ is not None
    assert open_.challenge is not None
    assert (open_.state, open_.challenge.payment_method) == (PaymentState.ACTION_REQUIRED, card)
    assert gateway.retrieve(payment.id).challenge == open_.challenge
    sandbox.sandbox.authenticate(payment.id)
    paid = gateway.retrieve(payment.id)
    assert (paid.state, paid.challenge) == (PaymentState.PAID, None)


def test_a_customer_who_fails_at_the_bank_has_paid_nothing(
    sandbox: Gateway, gateway: StripeGateway, asked: tuple[Payment, str]
) -> None:
    """A failed confirmation leaves the payment unpaid, without a challenge, and with its own failure."""
    payment, card = asked
    gateway.confirm_on_session(payment.id, card, BACK)
    sandbox.sandbox.authenticate(payment.id, "failed")
    failed = gateway.retrieve(payment.id)
    assert failed.failure is not None
    assert (failed.state, failed.challenge) == (PaymentState.DECLINED, None)
    assert failed.failure.code == "payment_intent_authentication_failure"
    assert sandbox.sandbox.charges(payment_intent=payment.id) == []


def test_a_card_whose_bank_asks_nobody_pays_at_once(gateway: StripeGateway, v1: Any, sandbox: Gateway) -> None:
    """If the bank does not ask after all, the payment is paid by the confirmation itself."""
    payment, card = _asked(gateway, v1, "authenticationRequired")
    sandbox.sandbox.change_card(card, "pm_card_visa")
    paid = gateway.confirm_on_session(payment.id, card, BACK)
    assert paid is not None
    assert paid.state is PaymentState.PAID


@pytest.mark.parametrize("mode", ["429", "500", "500_after", "503", "drop_before", "drop_after"])
def test_an_unclear_answer_is_none(
    sandbox: Gateway, gateway: StripeGateway, asked: tuple[Payment, str], mode: str
) -> None:
    """An unclear answer to a confirmation with the customer present is None, as off session: the payment is looked
    up."""
    payment, card = asked
    sandbox.sandbox.hostile(mode, "payment_intents.confirm")
    assert gateway.confirm_on_session(payment.id, card, BACK) is None


def test_a_card_that_is_gone_is_declined_on_session(
    gateway: StripeGateway, v1: Any, asked: tuple[Payment, str]
) -> None:
    """A card that was detached meanwhile counts as declined, and not as a fault of the request."""
    payment, card = asked
    v1.payment_methods.detach(card)
    declined = gateway.confirm_on_session(payment.id, card, BACK)
    assert declined is not None
    assert declined.state is PaymentState.DECLINED
