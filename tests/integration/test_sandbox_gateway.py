"""The sandbox gateway keeps Stripe's rules for cards, payments, refunds and parameters, seen through Stripe's own
SDK."""

import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPMessage
from typing import Any
from urllib.parse import urlsplit

import pytest
import stripe

from local.gateway import Gateway, official_client
from tests.sandbox import serving

Params = dict[str, Any]


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with serving() as running:
        yield running


@pytest.fixture(scope="module")
def v1(gateway: Gateway) -> Iterator[Any]:
    """The official SDK's v1 API; untyped here, because the tests also send values that the SDK's types forbid."""
    http: Any = stripe.RequestsClient(timeout=10)
    client = official_client(gateway.url, gateway.api_key, http_client=http, max_network_retries=0)
    yield client.v1
    http.close()


@pytest.fixture
def customer(v1: Any) -> str:
    return str(v1.customers.create({"email": "zoe@example.com", "name": "Zoë Ångström"}).id)


def saved(v1: Any, customer: str, card: str = "pm_card_visa") -> str:
    return str(v1.payment_methods.attach(card, {"customer": customer}).id)


def opened(v1: Any, customer: str | None = None, amount: int = 2999, **more: Any) -> Any:
    given = {"amount": amount, "currency": "usd", "allowed_payment_method_types": ["card"], **more}
    return v1.payment_intents.create({**given, "customer": customer} if customer else given)


def pay(v1: Any, customer: str, card: str, *, off_session: bool = True, **more: Any) -> Any:
    intent = opened(v1, customer, **more)
    return v1.payment_intents.confirm(intent.id, {"payment_method": card, "off_session": off_session})


def refusal(call: Callable[[], Any]) -> stripe.StripeError:
    with pytest.raises(stripe.StripeError) as caught:
        call()
    return caught.value


def detail(error: stripe.StripeError) -> Params:
    body = error.json_body
    assert isinstance(body, dict)
    details: Params = body["error"]
    return details


# Customers and cards


def test_a_customer_is_created_retrieved_and_updated(v1: Any) -> None:
    """An update changes the fields given, merges metadata, and unsets a field given as empty."""
    made = v1.customers.create({"name": "山田太郎", "email": "taro@example.com", "metadata": {"a": "1", "b": "2"}})
    v1.customers.update(made.id, {"email": "", "phone": "+81", "metadata": {"a": "", "c": "3"}})
    now = v1.customers.retrieve(made.id)
    assert (now.name, now.email, now.phone) == ("山田太郎", None, "+81")
    assert now.metadata.to_dict() == {"b": "2", "c": "3"}


def test_a_card_is_made_from_its_number_saved_listed_and_removed_for_good(v1: Any, customer: str) -> None:
    """A detached card leaves the customer's list and may not be used again."""
    card = {"number": "4000 0566 5566 5556", "exp_month": 4, "exp_year": 2044, "cvc": "123"}
    made = v1.payment_methods.create({"type": "card", "card": card, "billing_details": {"name": "Zoë"}})
    assert (made.card.brand, made.card.last4, made.card.exp_month, made.card.exp_year) == ("visa", "5556", 4, 2044)
    assert made.card.funding == "debit"
    assert v1.payment_methods.attach(made.id, {"customer": customer}).customer == customer
    second = saved(v1, customer, "pm_card_mastercard")
    listed = [each.id for each in v1.payment_methods.list({"customer": customer, "type": "card"}).data]
    assert listed == [second, made.id] == [each.id for each in v1.customers.payment_methods.list(customer).data]
    assert v1.payment_methods.detach(made.id).customer is None
    assert [each.id for each in v1.payment_methods.list({"customer": customer}).data] == [second]
    again = refusal(lambda: v1.payment_methods.attach(made.id, {"customer": customer}))
    assert (again.http_status, "may not be used again" in str(again)) == (400, True)


@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        ({"number": "4242424242424241"}, "incorrect_number", "number"),
        ({"number": "4111111111111111"}, "card_declined", None),
        ({"exp_month": 13}, "invalid_expiry_month", "exp_month"),
        ({"exp_year": 2020}, "invalid_expiry_year", "exp_year"),
        ({"cvc": "12"}, "invalid_cvc", "cvc"),
    ],
)
def test_an_impossible_card_is_refused(v1: Any, change: Params, code: str, param: str | None) -> None:
    """Number, date and security code of a card are checked, and only test numbers are taken
    (docs.stripe.com/testing)."""
    card = {"number": "4242424242424242", "exp_month": 1, "exp_year": 2044, **change}
    error = refusal(lambda: v1.payment_methods.create({"type": "card", "card": card}))
    assert isinstance(error, stripe.CardError)
    assert (error.code, error.param) == (code, param)


@pytest.mark.parametrize(
    ("card", "brand", "last4"),
    [
        ("pm_card_visa", "visa", "4242"),
        ("pm_card_mastercard", "mastercard", "4444"),
        ("pm_card_amex", "amex", "0005"),
        ("pm_card_jcb", "jcb", "0505"),
        ("pm_card_unionpay", "unionpay", "0005"),
    ],
)
def test_a_test_id_makes_a_fresh_card_each_time(v1: Any, customer: str, card: str, brand: str, last4: str) -> None:
    """Attaching pm_card_... twice saves two cards of the id's brand (docs.stripe.com/testing)."""
    ids = {saved(v1, customer, card), saved(v1, customer, card)}
    assert len(ids) == 2
    shown = v1.payment_methods.retrieve(ids.pop())
    assert (shown.card.brand, shown.card.last4) == (brand, last4)


def test_a_token_makes_a_card(v1: Any) -> None:
    """card[token]=tok_... makes a card without sending its number."""
    assert v1.payment_methods.create({"type": "card", "card": {"token": "tok_visa"}}).card.last4 == "4242"


def test_a_declined_card_is_declined_when_it_is_saved(v1: Any, customer: str) -> None:
    """Saving a card asks the bank: only 4000000000000341 is saved and declined later (docs.stripe.com/testing)."""
    error = refusal(lambda: saved(v1, customer, "pm_card_visa_chargeDeclinedLostCard"))
    assert (error.http_status, detail(error)["decline_code"]) == (402, "lost_card")
    card = saved(v1, customer, "pm_card_chargeCustomerFail")
    assert refusal(lambda: pay(v1, customer, card)).code == "card_declined"


def test_a_card_of_one_customer_cannot_be_saved_to_or_charged_for_another(v1: Any, customer: str) -> None:
    """The owner of a card is checked on attaching, on an intent of a different customer, and on an intent without a
    customer."""
    other = v1.customers.create().id
    card = saved(v1, other)
    assert refusal(lambda: v1.payment_methods.attach(card, {"customer": customer})).http_status == 400
    error = refusal(lambda: pay(v1, customer, card))
    assert (error.http_status, detail(error)["param"]) == (400, "payment_method")
    assert "does not belong to the Customer you supplied" in str(error)
    nobodys = opened(v1)
    error = refusal(lambda: v1.payment_intents.confirm(nobodys.id, {"payment_method": card}))
    assert (error.code, detail(error)["payment_intent"]["id"]) == ("parameter_missing", nobodys.id)


# Paying


def test_an_intent_is_created_confirmed_and_charged(v1: Any, gateway: Gateway, customer: str) -> None:
    """Creating an intent moves no money; confirming makes the only charge, with the card and the intent's metadata."""
    card = saved(v1, customer, "pm_card_mastercard")
    intent = opened(v1, customer, metadata={"period": "2026-03-01"}, description="March")
    assert (intent.status, intent.latest_charge, intent.amount_received) == ("requires_payment_method", None, 0)
    assert gateway.sandbox.charges(customer=customer) == []
    given = {"payment_method": card, "off_session": True, "expand": ["latest_charge"]}
    paid = v1.payment_intents.confirm(intent.id, given)
    assert (paid.status, paid.amount_received, paid.id) == ("succeeded", 2999, intent.id)
    charge = paid.latest_charge
    assert (charge.amount, charge.currency, charge.paid, charge.captured) == (2999, "usd", True, True)
    assert (charge.description, charge.metadata.to_dict()) == ("March", {"period": "2026-03-01"})
    shown = charge.payment_method_details.card
    assert (shown.brand, shown.last4, shown.exp_month) == ("mastercard", "4444", 12)
    assert [each["id"] for each in gateway.sandbox.charges(customer=customer)] == [charge.id]


def test_an_intent_can_be_confirmed_as_it_is_created(v1: Any, customer: str) -> None:
    """confirm=true creates and confirms; with a payment method alone the intent waits for its confirmation."""
    card = saved(v1, customer)
    assert opened(v1, customer, payment_method=card).status == "requires_confirmation"
    assert opened(v1, customer, payment_method=card, confirm=True).status == "succeeded"


DECLINES = [
    ("pm_card_chargeDeclined", "card_declined", "generic_decline", "try_again_later"),
    ("pm_card_visa_chargeDeclined", "card_declined", "generic_decline", "try_again_later"),
    ("pm_card_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds", "try_again_later"),
    ("pm_card_chargeDeclinedLostCard", "card_declined", "lost_card", "do_not_try_again"),
    ("pm_card_chargeDeclinedStolenCard", "card_declined", "stolen_card", "do_not_try_again"),
    ("pm_card_chargeDeclinedExpiredCard", "expired_card", "expired_card", "confirm_card_data"),
    ("pm_card_chargeDeclinedIncorrectCvc", "incorrect_cvc", "incorrect_cvc", "confirm_card_data"),
    ("pm_card_chargeDeclinedProcessingError", "processing_error", "processing_error", "try_again_later"),
    ("pm_card_visa_chargeDeclinedVelocityLimitExceeded", "card_declined", "card_velocity_exceeded", None),
    ("pm_card_radarBlock", "card_declined", "fraudulent", None),
]


@pytest.mark.parametrize(("card", "code", "decline_code", "advice_code"), DECLINES)
def test_a_declined_card_is_a_402_that_says_why(
    v1: Any, customer: str, card: str, code: str, decline_code: str, advice_code: str | None
) -> None:
    """A decline is a 402 with the codes of docs.stripe.com/testing; the failed charge and the reason stay on the
    intent."""
    intent = opened(v1, customer)
    error = refusal(lambda: v1.payment_intents.confirm(intent.id, {"payment_method": card, "off_session": True}))
    assert isinstance(error, stripe.CardError)
    told = detail(error)
    assert (told["code"], told["decline_code"], told.get("advice_code")) == (code, decline_code, advice_code)
    assert told["payment_intent"]["status"] == "requires_payment_method"
    now = v1.payment_intents.retrieve(intent.id, {"expand": ["latest_charge"]})
    assert (now.status, now.payment_method, now.amount_received) == ("requires_payment_method", None, 0)
    assert (now.last_payment_error.code, now.last_payment_error.decline_code) == (code, decline_code)
    assert now.last_payment_error.payment_method.id == told["payment_method"]["id"]
    assert (now.latest_charge.id, now.latest_charge.status, now.latest_charge.paid) == (told["charge"], "failed", False)


def test_each_attempt_makes_a_charge_and_the_intent_can_still_be_paid(v1: Any, gateway: Gateway, customer: str) -> None:
    """Two declines and a good card on an intent make two failed charges and a successful charge."""
    good, bad = saved(v1, customer), "pm_card_chargeDeclinedInsufficientFunds"
    intent = opened(v1, customer)
    for _ in range(2):
        refusal(lambda: v1.payment_intents.confirm(intent.id, {"payment_method": bad}))
    unnamed = refusal(lambda: v1.payment_intents.confirm(intent.id))
    assert (unnamed.code, "missing a payment method" in str(unnamed)) == ("payment_intent_unexpected_state", True)
    paid = v1.payment_intents.confirm(intent.id, {"payment_method": good})
    assert (paid.status, paid.last_payment_error) == ("succeeded", None)
    statuses = [charge["status"] for charge in gateway.sandbox.charges(payment_intent=intent.id)]
    assert statuses == ["failed", "failed", "succeeded"]
    assert [each.status for each in v1.charges.list({"payment_intent": intent.id}).data] == statuses[::-1]


@pytest.mark.parametrize("finish", ["confirm", "cancel"])
def test_a_finished_intent_can_not_be_confirmed_canceled_or_changed(v1: Any, customer: str, finish: str) -> None:
    """An intent that has succeeded or is canceled refuses changes with payment_intent_unexpected_state and the intent
    in the error."""
    card = saved(v1, customer)
    intent = opened(v1, customer, payment_method=card)
    done = getattr(v1.payment_intents, finish)(intent.id)
    for call in (
        lambda: v1.payment_intents.confirm(intent.id, {"payment_method": card}),
        lambda: v1.payment_intents.cancel(intent.id),
        lambda: v1.payment_intents.update(intent.id, {"amount": 5000}),
    ):
        error = refusal(call)
        assert (error.http_status, error.code) == (400, "payment_intent_unexpected_state")
        assert detail(error)["payment_intent"]["status"] == done.status
    assert v1.payment_intents.retrieve(intent.id).amount == 2999


def test_an_open_intent_is_updated_and_canceled(v1: Any, customer: str) -> None:
    """Amount and metadata of an unpaid intent can be changed; a cancellation keeps its reason and time."""
    intent = opened(v1, customer, metadata={"attempt": "1"})
    changed = v1.payment_intents.update(intent.id, {"amount": 3500, "metadata": {"attempt": "2"}})
    assert (changed.amount, changed.metadata["attempt"]) == (3500, "2")
    canceled = v1.payment_intents.cancel(intent.id, {"cancellation_reason": "abandoned"})
    assert (canceled.status, canceled.cancellation_reason) == ("canceled", "abandoned")
    assert canceled.canceled_at >= intent.created


def test_twenty_confirmations_at_once_make_one_charge(v1: Any, gateway: Gateway, customer: str) -> None:
    """Of twenty confirmations at once a single confirmation succeeds; the remaining are told that the intent has
    succeeded."""
    card = saved(v1, customer)
    intent = opened(v1, customer)

    def attempt(_: int) -> str | None:
        try:
            return str(v1.payment_intents.confirm(intent.id, {"payment_method": card}).status)
        except stripe.InvalidRequestError as error:
            return error.code

    with ThreadPoolExecutor(20) as pool:
        outcomes = list(pool.map(attempt, range(20)))
    assert sorted(map(str, outcomes)) == ["payment_intent_unexpected_state"] * 19 + ["succeeded"]
    assert len(gateway.sandbox.charges(payment_intent=intent.id)) == 1


def test_an_unattached_card_is_charged_once_or_saved_with_the_payment(v1: Any, customer: str) -> None:
    """A test id on a customer's intent makes a loose card, which its payment uses up, or setup_future_usage keeps."""
    paid = pay(v1, customer, "pm_card_visa")
    assert v1.payment_methods.retrieve(paid.payment_method).customer is None
    assert "may not be used again" in str(refusal(lambda: pay(v1, customer, paid.payment_method)))
    kept = pay(v1, customer, "pm_card_visa", setup_future_usage="off_session")
    assert v1.payment_methods.retrieve(kept.payment_method).customer == customer
    assert pay(v1, customer, kept.payment_method).status == "succeeded"


def test_redirecting_payment_methods_need_a_return_url(v1: Any, customer: str) -> None:
    """Without allowed types the account's settings hold, and the account's payment methods may redirect."""
    card = saved(v1, customer)
    given = {"amount": 1000, "currency": "usd", "customer": customer}
    intent = v1.payment_intents.create(given)
    assert "return_url" in str(refusal(lambda: v1.payment_intents.confirm(intent.id, {"payment_method": card})))
    without = {**given, "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"}}
    intent = v1.payment_intents.create(without)
    assert v1.payment_intents.confirm(intent.id, {"payment_method": card}).status == "succeeded"


# 3-D Secure


@pytest.mark.parametrize("card", ["pm_card_authenticationRequired", "pm_card_threeDSecure2Required"])
def test_a_card_that_needs_3d_secure_is_refused_off_session_and_paid_by_the_customer(
    v1: Any, gateway: Gateway, customer: str, card: str
) -> None:
    """Off session the card is declined as authentication_required without a charge; after the customer authenticates,
    the same intent succeeds."""
    method = saved(v1, customer, card)
    error = refusal(lambda: pay(v1, customer, method))
    told = detail(error)
    assert (error.http_status, told["code"], told["decline_code"]) == (402, *["authentication_required"] * 2)
    intent = v1.payment_intents.retrieve(told["payment_intent"]["id"])
    assert (intent.status, intent.last_payment_error.code) == ("requires_payment_method", "authentication_required")
    assert gateway.sandbox.charges(customer=customer) == []
    gateway.sandbox.authenticate(intent.id)
    paid = v1.payment_intents.retrieve(intent.id, {"expand": ["latest_charge"]})
    assert (paid.status, paid.payment_method) == ("succeeded", method)
    assert paid.latest_charge.payment_method_details.card.three_d_secure.result == "authenticated"
    assert len(gateway.sandbox.charges(customer=customer)) == 1


@pytest.mark.parametrize(("outcome", "status"), [("succeeded", "succeeded"), ("failed", "requires_payment_method")])
def test_on_session_the_intent_waits_for_the_customer(
    v1: Any, gateway: Gateway, customer: str, outcome: str, status: str
) -> None:
    """On session the intent stays in requires_action until the customer has authenticated or failed to."""
    card = saved(v1, customer, "pm_card_authenticationRequired")
    waiting = pay(v1, customer, card, off_session=False)
    assert (waiting.status, waiting.latest_charge) == ("requires_action", None)
    assert waiting.next_action.type == "use_stripe_sdk"
    gateway.sandbox.authenticate(waiting.id, outcome)
    now = v1.payment_intents.retrieve(waiting.id)
    assert (now.status, now.next_action) == (status, None)
    failure = now.last_payment_error and now.last_payment_error.code
    assert failure == (None if outcome == "succeeded" else "payment_intent_authentication_failure")


def test_a_card_that_was_set_up_needs_no_authentication_off_session(v1: Any, gateway: Gateway, customer: str) -> None:
    """4000002500003155 asks off session until a single authenticated payment has set the card up; ...0446 never
    asks."""
    card = saved(v1, customer, "pm_card_authenticationRequiredOnSetup")
    assert refusal(lambda: pay(v1, customer, card)).code == "authentication_required"
    waiting = pay(v1, customer, card, off_session=False, setup_future_usage="off_session")
    gateway.sandbox.authenticate(waiting.id)
    assert pay(v1, customer, card).status == "succeeded"
    ready = saved(v1, customer, "pm_card_authenticationRequiredSetupForOffSession")
    assert pay(v1, customer, ready).status == "succeeded"
    assert pay(v1, customer, ready, off_session=False).status == "requires_action"


def test_an_authenticated_payment_can_still_be_declined(v1: Any, gateway: Gateway, customer: str) -> None:
    """4000008260003178 authenticates, and then has insufficient funds."""
    card = saved(v1, customer, "pm_card_visa")
    gateway.sandbox.change_card(card, "4000008260003178")
    waiting = pay(v1, customer, card, off_session=False)
    now = gateway.sandbox.authenticate(waiting.id)
    assert now["status"] == "requires_payment_method"
    assert now["last_payment_error"]["decline_code"] == "insufficient_funds"
    assert [charge["status"] for charge in gateway.sandbox.charges(customer=customer)] == ["failed"]


# Strictness


@pytest.mark.parametrize(
    ("amount", "currency", "code", "param"),
    [
        ("29.99", "usd", "parameter_invalid_integer", "amount"),
        ("many", "usd", "parameter_invalid_integer", "amount"),
        (0, "usd", "parameter_invalid_integer", "amount"),
        (-100, "usd", "parameter_invalid_integer", "amount"),
        (49, "usd", "amount_too_small", "amount"),
        (49, "jpy", "amount_too_small", "amount"),
        (1499, "czk", "amount_too_small", "amount"),
        (100_000_000, "usd", "amount_too_large", "amount"),
        (5121, "kwd", "parameter_invalid_integer", "amount"),
        (550, "isk", "parameter_invalid_integer", "amount"),
        (50_050, "ugx", "parameter_invalid_integer", "amount"),
        (1000, "xyz", None, "currency"),
    ],
)
def test_a_bad_amount_is_refused(v1: Any, amount: Any, currency: str, code: str | None, param: str) -> None:
    """Amounts outside the minimums, maximum and special cases of docs.stripe.com/currencies are refused."""
    error = refusal(lambda: v1.payment_intents.create({"amount": amount, "currency": currency}))
    assert (error.http_status, error.code, detail(error)["param"]) == (400, code, param)


@pytest.mark.parametrize(
    ("amount", "currency"), [(50, "USD"), (50, "jpy"), (5120, "kwd"), (500, "isk"), (1, "mga"), (99_999_999, "eur")]
)
def test_a_good_amount_in_any_currency_is_taken(v1: Any, amount: int, currency: str) -> None:
    """Amounts at the limits are taken in currencies of no, two and three decimals; codes come back in lower case."""
    made = v1.payment_intents.create({"amount": amount, "currency": currency})
    assert (made.amount, made.currency) == (amount, currency.lower())


INTENT = {"amount": 1000, "currency": "usd"}


@pytest.mark.parametrize(
    ("given", "code", "param"),
    [
        ({**INTENT, "colour": "red"}, "parameter_unknown", "colour"),
        ({"currency": "usd"}, "parameter_missing", "amount"),
        ({"amount": 1000}, "parameter_missing", "currency"),
        ({**INTENT, "automatic_payment_methods": {"allowed": 1}}, "parameter_unknown",
         "automatic_payment_methods[allowed]"),
        ({**INTENT, "automatic_payment_methods": {}, "customer": ""}, "parameter_invalid_empty", "customer"),
        ({**INTENT, "confirm": "yes"}, None, "confirm"),
        ({**INTENT, "off_session": True}, None, "off_session"),
        ({**INTENT, "allowed_payment_method_types": ["cash"]}, None, "allowed_payment_method_types[0]"),
        ({**INTENT, "metadata": {"k" * 41: "v"}}, None, f"metadata[{'k' * 41}]"),
        ({**INTENT, "metadata": {str(n): "v" for n in range(51)}}, None, "metadata"),
        ({**INTENT, "description": "x" * 5001}, None, "description"),
        ({**INTENT, "customer": "cus_unknown"}, "resource_missing", "customer"),
        ({**INTENT, "payment_method": "pm_unknown"}, "resource_missing", "payment_method"),
        ({**INTENT, "payment_method": "pm_card_unknown"}, "resource_missing", "payment_method"),
        ({**INTENT, "expand": ["latest_fee"]}, None, "expand"),
    ],
)  # fmt: skip
def test_a_bad_parameter_is_named(v1: Any, given: Params, code: str | None, param: str) -> None:
    """A bad parameter is a 400 invalid_request_error with Stripe's code (docs.stripe.com/error-codes) and the
    parameter's full name."""
    error = refusal(lambda: v1.payment_intents.create(given))
    told = detail(error)
    assert (error.http_status, told["type"]) == (400, "invalid_request_error")
    assert (told.get("code"), told["param"]) == (code, param)


def test_unknown_parameters_are_refused_on_every_operation(v1: Any, customer: str) -> None:
    """Every operation refuses unknown parameters, also an operation that takes nothing but `expand`."""
    intent = opened(v1, customer)
    for call in (
        lambda: v1.customers.create({"colour": "red"}),
        lambda: v1.customers.retrieve(customer, {"colour": "red"}),
        lambda: v1.payment_intents.confirm(intent.id, {"customer": customer}),
        lambda: v1.payment_intents.list({"status": "succeeded"}),
        lambda: v1.refunds.create({"colour": "red"}),
    ):
        assert refusal(call).code == "parameter_unknown"


@pytest.mark.parametrize("collection", ["customers", "payment_methods", "payment_intents", "charges", "refunds"])
def test_an_unknown_id_in_the_url_is_a_404(v1: Any, collection: str) -> None:
    """An unknown id in the URL is a 404 resource_missing (an unknown id in a parameter is a 400)."""
    error = refusal(lambda: getattr(v1, collection).retrieve("xx_unknown"))
    assert (error.http_status, error.code) == (404, "resource_missing")


# Lists and refunds


def test_lists_come_newest_first_in_pages(v1: Any, customer: str) -> None:
    """limit, has_more, starting_after, ending_before and the SDK's own paging walk a list newest first."""
    made = [opened(v1, customer, amount=100 + n).id for n in range(5)][::-1]
    first = v1.payment_intents.list({"customer": customer, "limit": 2})
    assert ([each.id for each in first.data], first.has_more) == (made[:2], True)
    rest = v1.payment_intents.list({"customer": customer, "limit": 3, "starting_after": made[1]})
    assert ([each.id for each in rest.data], rest.has_more) == (made[2:], False)
    before = v1.payment_intents.list({"customer": customer, "limit": 2, "ending_before": made[3]})
    assert ([each.id for each in before.data], before.has_more) == (made[1:3], True)
    assert [each.id for each in first.auto_paging_iter()] == made
    assert refusal(lambda: v1.payment_intents.list({"limit": 101})).code == "parameter_invalid_integer"


def test_lists_are_narrowed_by_time(v1: Any, gateway: Gateway, customer: str) -> None:
    """created[gte], gt, lte and lt narrow a list by the sandbox's clock."""
    start = gateway.sandbox.clock()
    early = opened(v1, customer)
    gateway.sandbox.set_clock(start + 86400)
    late = opened(v1, customer)
    gateway.sandbox.set_clock(None)

    def found(**created: int) -> list[str]:
        return [each.id for each in v1.payment_intents.list({"customer": customer, "created": created}).data]

    assert late.created >= start + 86400
    assert found(gte=late.created) == found(gt=early.created) == [late.id]
    assert found(lte=early.created) == found(lt=late.created) == [early.id]
    assert found(gte=early.created, lte=late.created) == [late.id, early.id]


def test_objects_expand_in_single_answers_and_in_lists(v1: Any, customer: str) -> None:
    """Answers expand expand[]=latest_charge, data.latest_charge and deeper paths
    (docs.stripe.com/api/expanding_objects)."""
    paid = pay(v1, customer, saved(v1, customer))
    listed = v1.payment_intents.list({"customer": customer, "expand": ["data.latest_charge", "data.customer"]}).data[0]
    assert (listed.latest_charge.payment_intent, listed.customer.name) == (paid.id, "Zoë Ångström")
    charge = v1.charges.retrieve(paid.latest_charge, {"expand": ["payment_intent.payment_method"]})
    assert charge.payment_intent.payment_method.card.last4 == "4242"
    assert v1.payment_intents.retrieve(paid.id).latest_charge == charge.id
    assert "cannot be expanded" in str(refusal(lambda: v1.payment_intents.list({"expand": ["latest_charge"]})))


def test_a_payment_is_refunded_in_parts_and_never_beyond(v1: Any, customer: str) -> None:
    """Partial refunds add up; a refund beyond the amount left, and a refund after everything was refunded, are a
    400."""
    paid = pay(v1, customer, saved(v1, customer))
    part = v1.refunds.create({"payment_intent": paid.id, "amount": 999, "metadata": {"why": "late"}})
    assert (part.status, part.amount, part.charge) == ("succeeded", 999, paid.latest_charge)
    over = refusal(lambda: v1.refunds.create({"payment_intent": paid.id, "amount": 2001}))
    assert (over.http_status, detail(over)["param"]) == (400, "amount")
    rest = v1.refunds.create({"charge": paid.latest_charge, "reason": "requested_by_customer"})
    charge = v1.charges.retrieve(paid.latest_charge)
    assert (rest.amount, charge.amount_refunded, charge.refunded) == (2000, 2999, True)
    assert refusal(lambda: v1.refunds.create({"charge": charge.id})).code == "charge_already_refunded"
    assert [each.id for each in v1.refunds.list({"payment_intent": paid.id}).data] == [rest.id, part.id]
    assert v1.refunds.retrieve(part.id).metadata["why"] == "late"


def test_what_was_not_paid_is_not_refunded(v1: Any, customer: str) -> None:
    """An unpaid intent and a failed charge have nothing to refund."""
    intent = opened(v1, customer)
    assert "successful charge" in str(refusal(lambda: v1.refunds.create({"payment_intent": intent.id})))
    refusal(lambda: v1.payment_intents.confirm(intent.id, {"payment_method": "pm_card_chargeDeclined"}))
    assert "successful charge" in str(refusal(lambda: v1.refunds.create({"payment_intent": intent.id})))


# The wire


def ask(gateway: Gateway, method: str, path: str, body: str = "", **headers: str) -> tuple[int, HTTPMessage, Any]:
    connection = HTTPConnection(urlsplit(gateway.url).netloc, timeout=10)
    connection.request(method, path, body or None, {name.replace("_", "-"): text for name, text in headers.items()})
    response = connection.getresponse()
    answer = json.loads(response.read())
    connection.close()
    return response.status, response.headers, answer


def test_only_the_right_key_is_let_in(gateway: Gateway) -> None:
    """A wrong key (masked in the message) and a missing key are a 401 with Stripe's body; Bearer and Basic both carry a
    key."""
    wrong = official_client(gateway.url, "sk_test_wrong", max_network_retries=0)
    error = refusal(lambda: wrong.v1.customers.create())
    assert isinstance(error, stripe.AuthenticationError)
    assert "Invalid API Key provided: *********rong" in str(error)
    status, _, answer = ask(gateway, "GET", "/v1/charges")
    assert (status, answer["error"]["type"]) == (401, "invalid_request_error")
    basic = b64encode(f"{gateway.api_key}:".encode()).decode()
    assert ask(gateway, "GET", "/v1/charges", Authorization=f"Basic {basic}")[0] == 200


def test_errors_carry_a_request_id_and_a_link(gateway: Gateway) -> None:
    """The error body's shape and the Request-Id header are Stripe's (docs.stripe.com/api/errors)."""
    status, headers, answer = ask(gateway, "GET", "/v1/charges/ch_1", Authorization=f"Bearer {gateway.api_key}")
    assert (status, headers["Request-Id"][:4]) == (404, "req_")
    assert answer["error"] == {
        "type": "invalid_request_error",
        "code": "resource_missing",
        "message": "No such charge: 'ch_1'",
        "param": "id",
        "doc_url": "https://stripe.com/docs/error-codes/resource-missing",
    }


def test_what_the_gateway_does_not_speak_is_refused(gateway: Gateway) -> None:
    """An unknown URL or method is unrecognized, and a JSON body is refused as no form."""
    key = f"Bearer {gateway.api_key}"
    for method, path in (("GET", "/v1/unicorns"), ("DELETE", "/v1/charges")):
        status, _, answer = ask(gateway, method, path, Authorization=key)
        assert (status, answer["error"]["message"].split(" (")[0]) == (404, "Unrecognized request URL")
    status, _, answer = ask(
        gateway, "POST", "/v1/customers", '{"name": "Zoe"}', Authorization=key, Content_Type="application/json"
    )
    assert (status, "application/x-www-form-urlencoded" in answer["error"]["message"]) == (400, True)
