"""The sandbox gateway's two pages for customers, used as a browser uses them, without scripts: the page for a new card,
and the bank's page."""

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import stripe

from local.gateway import Gateway, official_client
from tests.sandbox import Answered, serving, visit

BACK = "https://shop.example/account/back?of=sub_1"


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with serving() as served:
        yield served


@pytest.fixture
def v1(gateway: Gateway) -> Any:
    gateway.sandbox.set_clock(None)
    return official_client(gateway.url, gateway.api_key).v1


@pytest.fixture
def customer(v1: Any) -> str:
    return str(v1.customers.create({"name": "Ann"}).id)


def opened(v1: Any, of: str, /, **more: Any) -> Any:
    asked = {
        "mode": "setup",
        "customer": of,
        "allowed_payment_method_types": ["card"],
        "success_url": f"{BACK}&session={{CHECKOUT_SESSION_ID}}",
        "cancel_url": BACK,
        "metadata": {"deployment": "shop"},
        **more,
    }
    return v1.checkout.sessions.create({name: value for name, value in asked.items() if value is not None})


def events(v1: Any, about: str) -> list[str]:
    """Return the types of the latest events about an object, oldest first."""
    return [each.type for each in reversed(v1.events.list({"limit": 100}).data) if each.data.object.id == about]


def test_a_customer_saves_a_card(v1: Any, customer: str) -> None:
    """A saved card belongs to the customer and completes the session; the browser comes back with the session's id, and
    two events tell what happened."""
    session = opened(v1, customer)
    assert "Save a card" in visit(session.url).text
    assert visit(session.url, "save", card="pm_card_visa").to == f"{BACK}&session={session.id}"
    after = v1.checkout.sessions.retrieve(session.id, {"expand": ["setup_intent.latest_attempt"]})
    assert (after.status, after.url, after.setup_intent.status) == ("complete", None, "succeeded")
    assert after.setup_intent.latest_attempt.status == "succeeded"
    assert v1.payment_methods.retrieve(after.setup_intent.payment_method).customer == customer
    assert events(v1, session.id) == ["checkout.session.completed"]
    assert events(v1, after.setup_intent.id) == ["setup_intent.created", "setup_intent.succeeded"]


def test_looking_changes_nothing_and_a_second_card_is_not_taken(v1: Any, customer: str) -> None:
    """A GET of the page changes nothing, and a complete session takes no second card."""
    session = opened(v1, customer)
    visit(session.url)
    assert v1.checkout.sessions.retrieve(session.id).status == "open"
    url = session.url
    visit(url, "save", card="pm_card_visa")
    again = visit(url, "save", card="pm_card_mastercard")
    assert (again.status, again.to) == (200, "")
    assert len(v1.payment_methods.list({"customer": customer, "type": "card"}).data) == 1


def test_a_card_that_the_bank_declines_leaves_the_session_open(v1: Any, customer: str) -> None:
    """A declined card is told on the page, and the customer may choose a second card."""
    session = opened(v1, customer)
    declined = visit(session.url, "save", card="pm_card_chargeDeclined")
    assert 'role="alert">Your card was declined.' in declined.text
    now = v1.checkout.sessions.retrieve(session.id, {"expand": ["setup_intent"]})
    assert (now.status, now.setup_intent.status) == ("open", "requires_payment_method")
    assert now.setup_intent.last_setup_error.code == "card_declined"
    assert events(v1, now.setup_intent.id)[-1] == "setup_intent.setup_failed"
    assert visit(session.url, "save", card="pm_card_visa").status == 303


@pytest.mark.parametrize(("answer", "status"), [("accept", "complete"), ("refuse", "open")])
def test_the_bank_may_ask_before_a_card_is_saved(v1: Any, customer: str, answer: str, status: str) -> None:
    """A card with 3-D Secure is saved after the customer has confirmed, and is not saved otherwise."""
    session = opened(v1, customer)
    card = "pm_card_authenticationRequiredOnSetup"
    assert "Your bank asks" in visit(session.url, "save", card=card).text
    assert v1.checkout.sessions.retrieve(session.id).status == "open"
    visit(session.url, answer, card=card)
    assert v1.checkout.sessions.retrieve(session.id).status == status
    assert len(v1.payment_methods.list({"customer": customer, "type": "card"}).data) == (status == "complete")


def test_a_card_that_was_set_up_pays_off_session(v1: Any, customer: str) -> None:
    """A card that asks only once pays off session after the session."""
    session = opened(v1, customer)
    visit(session.url, "accept", card="pm_card_authenticationRequiredOnSetup")
    saved = v1.checkout.sessions.retrieve(session.id, {"expand": ["setup_intent"]}).setup_intent.payment_method
    asked = {"amount": 100, "currency": "usd", "customer": customer, "payment_method": saved, "confirm": True}
    paid = v1.payment_intents.create(asked | {"off_session": True, "allowed_payment_method_types": ["card"]})
    assert paid.status == "succeeded"


def test_a_customer_leaves_without_a_card(v1: Any, customer: str) -> None:
    """The way back leads to the cancel_url, and the session stays open."""
    session = opened(v1, customer)
    assert visit(session.url, "leave").to == BACK
    assert v1.checkout.sessions.retrieve(session.id).status == "open"


def test_a_session_times_out(v1: Any, customer: str, gateway: Gateway) -> None:
    """A session ends by the page's button, by a call, or with its time. An ended session has no address, saves no card,
    and is told by an event."""
    by_button, by_call, by_time = (opened(v1, customer) for _ in range(3))
    visit(by_button.url, "expire")
    v1.checkout.sessions.expire(by_call.id)
    gateway.sandbox.set_clock(gateway.sandbox.clock() + 24 * 3600)
    for session in (by_button, by_call, by_time):
        ended = v1.checkout.sessions.retrieve(session.id, {"expand": ["setup_intent"]})
        assert (ended.status, ended.url, ended.setup_intent.status) == ("expired", None, "canceled")
        assert "expired" in visit(session.url, "save", card="pm_card_visa").text
        assert events(v1, session.id) == ["checkout.session.expired"]
    with pytest.raises(stripe.InvalidRequestError):
        v1.checkout.sessions.expire(by_call.id)
    assert v1.payment_methods.list({"customer": customer, "type": "card"}).data == []


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"allowed_payment_method_types": None}, "currency"),
        ({"payment_method_types": ["card"]}, "payment_method_types"),
        ({"success_url": None}, "success_url"),
        ({"success_url": "shop.example"}, "success_url"),
        ({"mode": "payment"}, "mode"),
        ({"customer": "cus_gone"}, "customer"),
        ({"locale": "ar"}, "locale"),
        ({"expires_at": 1}, "expires_at"),
        ({"line_items": []}, "line_items"),
        ({"amount": 5}, "amount"),
    ],
)
def test_a_wrong_session_is_refused(v1: Any, customer: str, change: dict[str, Any], param: str) -> None:
    """The sandbox refuses what Stripe refuses: a session without a currency or types, a removed, unknown or invalid
    parameter."""
    if param == "line_items":
        change = {"line_items": [{"price": "price_1"}]}
    with pytest.raises(stripe.InvalidRequestError) as refused:
        opened(v1, customer, **change)
    assert refused.value.param == param


def test_the_ends_of_a_session_lie_between_half_an_hour_and_a_day_ahead(
    v1: Any, customer: str, gateway: Gateway
) -> None:
    """A session may end in 30 minutes to 24 hours; without a named end a session ends after 24 hours."""
    now = gateway.sandbox.clock()
    for seconds in (29 * 60, 24 * 3600 + 60):
        with pytest.raises(stripe.InvalidRequestError):
            opened(v1, customer, expires_at=now + seconds)
    assert opened(v1, customer, expires_at=now + 3600).expires_at == now + 3600
    assert 0 <= opened(v1, customer).expires_at - now - 24 * 3600 <= 5


def test_a_repeated_request_opens_one_session(v1: Any, customer: str) -> None:
    """Under an idempotency key, the same request gets the same session."""
    asked = {"mode": "setup", "customer": customer, "currency": "eur", "success_url": BACK}
    first, second = (v1.checkout.sessions.create(asked, {"idempotency_key": "k"}) for _ in range(2))
    assert first.id == second.id


@pytest.fixture
def challenged(v1: Any, customer: str) -> Any:
    """A payment that waits at the bank's page."""
    return _challenged(v1, customer, "pm_card_authenticationRequired")


def _challenged(v1: Any, customer: str, card: str) -> Any:
    saved = v1.payment_methods.attach(card, {"customer": customer}).id
    asked = {"amount": 2999, "currency": "usd", "customer": customer, "allowed_payment_method_types": ["card"]}
    made = v1.payment_intents.create(asked)
    with pytest.raises(stripe.CardError):
        v1.payment_intents.confirm(made.id, {"payment_method": saved, "off_session": True})
    return _confirmed(v1, made.id, saved)


def _confirmed(v1: Any, payment: str, card: str) -> Any:
    intent = v1.payment_intents.confirm(payment, {"payment_method": card, "off_session": False, "return_url": BACK})
    assert intent.status == "requires_action"
    assert intent.last_payment_error is None, "Stripe clears the error of the earlier attempt"
    return intent


def _at_the_bank(intent: Any) -> str:
    return str(intent.next_action.redirect_to_url.url)


def _told(answered: Answered) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(answered.to).query).items()}


def test_a_customer_confirms_at_the_bank(v1: Any, challenged: Any) -> None:
    """A confirmed payment has succeeded, and the browser comes back with the payment's id, its secret and the
    result."""
    assert "2999 USD" in visit(_at_the_bank(challenged)).text
    answered = visit(_at_the_bank(challenged), "accept")
    assert answered.to.startswith(BACK)
    assert _told(answered) == {
        "of": "sub_1",
        "payment_intent": challenged.id,
        "payment_intent_client_secret": challenged.client_secret,
        "redirect_status": "succeeded",
    }
    assert v1.payment_intents.retrieve(challenged.id).status == "succeeded"
    assert visit(_at_the_bank(challenged), "accept").to == "", "the page asks once"


@pytest.mark.parametrize("act", ["refuse", "time_out"])
def test_a_customer_who_does_not_confirm_has_paid_nothing(v1: Any, challenged: Any, act: str, gateway: Gateway) -> None:
    """A payment that is refused or not confirmed in time needs a payment method again, and shows the failure of the
    authentication."""
    answered = visit(_at_the_bank(challenged), act)
    assert act == "time_out" or _told(answered)["redirect_status"] == "failed"
    intent = v1.payment_intents.retrieve(challenged.id)
    assert intent.status == "requires_payment_method"
    assert intent.last_payment_error.code == "payment_intent_authentication_failure"
    assert events(v1, challenged.id)[-1] == "payment_intent.payment_failed"
    assert gateway.sandbox.charges(payment_intent=challenged.id) == []


@pytest.mark.parametrize("act", [None, "abandon"])
def test_a_customer_who_walks_away_decides_nothing(v1: Any, challenged: Any, act: str | None) -> None:
    """A look at the bank's page, and a customer without an answer, leave the payment waiting at the same address."""
    visit(_at_the_bank(challenged), act)
    intent = v1.payment_intents.retrieve(challenged.id)
    assert (intent.status, _at_the_bank(intent)) == ("requires_action", _at_the_bank(challenged))


@pytest.mark.parametrize("since", ["canceled", "confirmed anew", "paid with another card"])
def test_a_challenge_is_over_once_the_payment_has_moved_on(
    v1: Any, challenged: Any, customer: str, gateway: Gateway, since: str
) -> None:
    """The bank's page of a payment that was canceled, confirmed anew or paid meanwhile takes no answer."""
    if since == "canceled":
        v1.payment_intents.cancel(challenged.id)
    elif since == "confirmed anew":
        _confirmed(v1, challenged.id, challenged.payment_method)
    else:
        other = v1.payment_methods.attach("pm_card_visa", {"customer": customer}).id
        v1.payment_intents.confirm(challenged.id, {"payment_method": other, "off_session": True})
    before = v1.payment_intents.retrieve(challenged.id).status
    answered = visit(_at_the_bank(challenged), "accept")
    assert (answered.to, "Nothing to confirm" in answered.text) == ("", True)
    assert v1.payment_intents.retrieve(challenged.id).status == before
    assert len(gateway.sandbox.charges(payment_intent=challenged.id)) == (since == "paid with another card")


def test_a_challenge_ends_after_an_hour(v1: Any, challenged: Any, gateway: Gateway) -> None:
    """After an hour the bank's page takes no answer, and the payment still waits: a further confirmation leads to a
    page that asks."""
    gateway.sandbox.set_clock(gateway.sandbox.clock() + 3601)
    assert visit(_at_the_bank(challenged), "accept").to == ""
    assert v1.payment_intents.retrieve(challenged.id).status == "requires_action"
    anew = _confirmed(v1, challenged.id, challenged.payment_method)
    assert _told(visit(_at_the_bank(anew), "accept"))["redirect_status"] == "succeeded"


@pytest.mark.parametrize("act", ["refuse", "abandon"])
def test_after_ten_confirmations_at_the_bank_the_payment_is_canceled_by_the_gateway(
    v1: Any, challenged: Any, act: str
) -> None:
    """A confirmation that fails at the bank's page counts, and so does a confirmation without an answer: the tenth
    refusal, or the eleventh confirmation, cancels the payment as `automatic`."""
    intent = challenged
    for _ in range(8):  # the payment was confirmed twice before, off session and on session
        visit(_at_the_bank(intent), act)
        intent = _confirmed(v1, challenged.id, challenged.payment_method)
    assert intent.status == "requires_action"
    visit(_at_the_bank(intent), act)
    if act == "abandon":
        v1.payment_intents.confirm(challenged.id, {"payment_method": challenged.payment_method, "return_url": BACK})
    after = v1.payment_intents.retrieve(challenged.id)
    assert (after.status, after.cancellation_reason, after.next_action) == ("canceled", "automatic", None)
    assert events(v1, challenged.id)[-1] == "payment_intent.canceled"


def test_an_authenticated_payment_may_still_be_declined(v1: Any, customer: str) -> None:
    """The bank may decline a payment that the customer has confirmed: the browser comes back with the result failed."""
    waiting = _challenged(v1, customer, "pm_card_threeDSecureRequiredChargeDeclined")
    assert _told(visit(_at_the_bank(waiting), "accept"))["redirect_status"] == "failed"
    assert v1.payment_intents.retrieve(waiting.id).last_payment_error.code == "card_declined"


def test_an_unknown_page_is_not_there(gateway: Gateway) -> None:
    """A session or a payment that the gateway does not know has no page."""
    for path in ("/c/pay/cs_test_none", "/bank/pi_none/none"):
        assert visit(gateway.url + path).status == 404


def test_no_text_of_a_request_becomes_markup(v1: Any, customer: str) -> None:
    """A return address with markup stays a text on the page."""
    saved = v1.payment_methods.attach("pm_card_authenticationRequired", {"customer": customer}).id
    made = v1.payment_intents.create({"amount": 100, "currency": "usd", "customer": customer,
                                      "allowed_payment_method_types": ["card"]})  # fmt: skip
    evil = 'https://shop.example/"><script>alert(1)</script>'
    waiting = v1.payment_intents.confirm(made.id, {"payment_method": saved, "return_url": evil})
    assert not re.search("<script", visit(_at_the_bank(waiting), "time_out").text)
