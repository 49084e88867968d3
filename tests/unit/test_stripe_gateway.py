"""The gateway port over Stripe's official SDK, against the sandbox: every answer becomes a state or a named error."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import stripe

from local.gateway import Gateway, serving
from process_payment import app
from renewals.domain.errors import BadSecret
from renewals.domain.payment import GatewayCard, GatewayRefundState, Payment, PaymentState
from renewals.gateway import access as gateway_access
from renewals.gateway import stripe_answers
from renewals.gateway.port import GatewayRefused, GatewayUnauthorized, GatewayUnavailable, PaymentRequest, Saved
from renewals.gateway.stripe_gateway import StripeGateway
from renewals.runtime import aws
from tests.fakes import World
from tests.shares import share


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
    client = _client(sandbox)
    customer = client.v1.customers.create({"name": "Ann"}).id
    return PaymentRequest("sub_1", date(2026, 1, 31), 1, 2999, "USD", customer, f"key-{customer}")


@pytest.fixture
def good_card(sandbox: Gateway, request_of_29_99: PaymentRequest) -> str:
    """One that pays, saved for the request's customer."""
    methods = _client(sandbox).v1.payment_methods
    return methods.attach("pm_card_visa", {"customer": request_of_29_99.gateway_customer}).id


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
    gateway: StripeGateway, sandbox: Gateway, request_of_29_99: PaymentRequest, good_card: str
) -> None:
    """Confirming again is answered by the payment itself, not by a second charge."""
    payment = gateway.create(request_of_29_99)
    paid = _confirm(gateway, payment.id, good_card)
    assert (paid.state, paid.amount) == (PaymentState.PAID, 2999)
    assert paid.card == gateway.card(good_card)
    assert paid.paid_at is not None
    assert _confirm(gateway, payment.id, good_card) == paid == gateway.retrieve(payment.id)
    assert _charges(sandbox, payment) == 1


def test_a_card_is_told_by_its_name_and_its_last_month(gateway: StripeGateway, sandbox: Gateway) -> None:
    """As it is at this moment; one that the gateway does not know is none, and a wrong key is still an error."""
    made: Any = {"number": "5555555555554444", "exp_month": 4, "exp_year": 2044}
    method = _client(sandbox).v1.payment_methods.create({"type": "card", "card": made}).id
    assert gateway.card(method) == GatewayCard(method, "Mastercard ending in 4444", "2044-04")
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
    """Not an exception; each attempt's failure has an id of its own, and another card can still pay."""
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
    """3-D Secure asked off session; once the customer has completed it, retrieving shows it paid."""
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
    """Whatever is not a clear answer is answered by retrieving the payment."""
    payment = gateway.create(request_of_29_99)
    sandbox.sandbox.hostile(mode, "payment_intents.confirm")
    assert _confirm(gateway, payment.id, good_card).state is PaymentState.PAID
    assert _charges(sandbox, payment) == 1


@pytest.mark.parametrize("mode", ["drop_before", "500", "429", "503"])
def test_a_confirmation_that_never_arrived_leaves_the_payment_open(
    gateway: StripeGateway, sandbox: Gateway, request_of_29_99: PaymentRequest, good_card: str, mode: str
) -> None:
    """Nothing was charged, and the payment says so: it can be confirmed again."""
    payment = gateway.create(request_of_29_99)
    sandbox.sandbox.hostile(mode, "payment_intents.confirm")
    assert _confirm(gateway, payment.id, good_card).state is PaymentState.OPEN
    assert _confirm(gateway, payment.id, good_card).state is PaymentState.PAID


def test_a_card_that_is_gone_refuses_the_attempt(
    gateway: StripeGateway, request_of_29_99: PaymentRequest, good_card: str
) -> None:
    """A mistyped or detached card is the attempt's failure: the payment is alive, and another card can pay it."""
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
    """The charge must know whether it was answered: only an answer ends an attempt."""
    payment = gateway.create(request_of_29_99)
    sandbox.sandbox.hostile(mode, "payment_intents.confirm")
    assert gateway.confirm(payment.id, good_card) is None


def test_processing_is_a_state_of_its_own(
    gateway: StripeGateway, sandbox: Gateway, request_of_29_99: PaymentRequest, good_card: str
) -> None:
    """Neither paid nor declined, until it is settled."""
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
    """The moment that Stripe names; 26 hours after the charge where Stripe has notified the customer and names none;
    never a moment of our own for a payment that waits for something else."""
    given = {"id": "pi_1", "amount": 2999, "currency": "usd", "status": "processing"}
    given |= {"latest_charge": {"id": "ch_1", "created": 100_000}}
    read = stripe_answers.payment(stripe.PaymentIntent.construct_from(given | told, "sk")).settles_at
    assert read == (datetime.fromtimestamp(settles_at, UTC) if settles_at else None)


def test_a_slow_gateway_is_not_waited_for(
    gateway: StripeGateway, sandbox: Gateway, request_of_29_99: PaymentRequest, good_card: str
) -> None:
    """The client gives up after seconds; the charge that goes through meanwhile is found by asking again."""
    payment = gateway.create(request_of_29_99)
    sandbox.sandbox.hostile("slow", "payment_intents.confirm", seconds=5)
    began = datetime.now(UTC)
    first = _confirm(gateway, payment.id, good_card)
    assert datetime.now(UTC) - began < timedelta(seconds=6)
    if first.state is not PaymentState.PAID:
        assert first.state is PaymentState.OPEN
        again = [_confirm(gateway, payment.id, good_card) for _ in range(2)]
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


def test_a_canceled_payment_can_never_be_paid(
    gateway: StripeGateway, request_of_29_99: PaymentRequest, good_card: str
) -> None:
    """Giving up is for good."""
    payment = gateway.create(request_of_29_99)
    assert gateway.cancel(payment.id).state is PaymentState.CANCELED
    assert _confirm(gateway, payment.id, good_card).state is PaymentState.CANCELED


def test_a_refund_is_one_for_its_key(
    gateway: StripeGateway, sandbox: Gateway, request_of_29_99: PaymentRequest, good_card: str
) -> None:
    """The same key gives the same refund, another key another part; and the gateway lists both by what they carry, with
    one that somebody made in its dashboard."""
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
    """More than a page holds, each once: what is left is reckoned from all of them."""
    payment = gateway.create(request_of_29_99)
    _confirm(gateway, payment.id, good_card)
    for n in range(101):
        gateway.refund(payment.id, 1, request=f"r-{n}", idempotency_key=f"{payment.id}/{n}")
    assert len({each.id for each in gateway.refunds_of(payment.id)}) == 101


def test_what_the_account_refunded_is_listed(
    gateway: StripeGateway, sandbox: Gateway, request_of_29_99: PaymentRequest, good_card: str
) -> None:
    """Newest first, between a moment included and one that is not, each with the period that its payment is of."""
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
    assert listed[0].payment_metadata == {"subscription_id": "sub_1", "renewal_date": "2026-01-31", "attempt": "1"}


@pytest.mark.parametrize("absent", ["status", "metadata", "payment_intent", "failure_reason", "reason", "charge"])
@pytest.mark.parametrize("status", ["pending", "requires_action", "succeeded", "failed", "canceled", "new_one"])
def test_a_refund_may_lack_what_its_type_calls_optional(absent: str, status: str) -> None:
    """Each is left out, and null, in turn: the refund is read, and what is no result yet is on its way."""
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
    """The gateway has the last word: it refuses, and that is what it is told as."""
    payment = gateway.create(request_of_29_99)
    _confirm(gateway, payment.id, good_card)
    with pytest.raises(GatewayRefused):
        gateway.refund(payment.id, 3000, request="r-1", idempotency_key=f"{payment.id}/1")


def test_none_of_the_sdks_objects_is_loaded_before_it_is_met() -> None:
    """Their classes are large, and a start that loads them takes a tenth longer."""
    asked = "from renewals.gateway.stripe_gateway import StripeGateway as S; S('sk', 'http://x')"
    loaded = "import sys; print([n for n in ('charge', 'payment_intent', 'refund') if f'stripe._{n}' in sys.modules])"
    command = [sys.executable, "-c", f"{asked}; {loaded}"]
    source = {"PYTHONPATH": str(Path(stripe_answers.__file__).parents[2])}
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=source)
    assert run.stdout == "[]\n"


def test_nobody_listens(request_of_29_99: PaymentRequest) -> None:
    """A gateway that cannot be reached is unavailable."""
    with pytest.raises(GatewayUnavailable):
        StripeGateway("sk_test", "http://127.0.0.1:9").create(request_of_29_99)


def _both[T](call: Callable[[], T]) -> list[Any]:
    """What two threads get for the same call at the same time: answers or errors."""
    with ThreadPoolExecutor() as threads:
        calls = [threads.submit(call) for _ in range(2)]
    return [call.exception() or call.result() for call in calls]


def test_a_key_in_use_this_very_moment_is_unavailable(sandbox: Gateway, request_of_29_99: PaymentRequest) -> None:
    """409: another is creating this payment. It is not a refusal, and no 5xx that the key would remember."""
    sandbox.sandbox.hostile("slow", "payment_intents.create", seconds=0.5)
    answers = _both(lambda: StripeGateway(sandbox.api_key, sandbox.url).create(request_of_29_99))
    [refused] = [answer for answer in answers if not isinstance(answer, Payment)]
    assert isinstance(refused, GatewayUnavailable)
    assert not refused.answered


def test_a_payment_in_use_this_very_moment_has_no_clear_answer(
    gateway: StripeGateway, sandbox: Gateway, request_of_29_99: PaymentRequest, good_card: str
) -> None:
    """Another is confirming it: whoever comes second learns nothing, and the card is charged once."""
    payment, card = gateway.create(request_of_29_99), good_card
    sandbox.sandbox.hostile("slow", "payment_intents.confirm", seconds=0.5)
    answers = _both(lambda: StripeGateway(sandbox.api_key, sandbox.url).confirm(payment.id, card))
    assert answers.count(None) == 1
    assert _charges(sandbox, payment) == 1


def test_of_a_payment_what_was_received_is_told(
    gateway: StripeGateway, sandbox: Gateway, request_of_29_99: PaymentRequest, good_card: str
) -> None:
    """What was asked for is what an open payment tells; what the customer paid is what a paid one does."""
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
    """More than a page of them, most of another system, ours the oldest: it is found; who stops at the first gets the
    newest."""
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
    """Refused and paid, each attempt once, newest first, with its moment, its amount and its period; what was only
    created is none. The bounds are a moment included and a moment not."""
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
    assert paid.metadata == {"subscription_id": "sub_1", "renewal_date": "2026-01-31", "attempt": "1"}
    assert (refused.payment_id, refused.succeeded) == (payment.id, False)
    assert paid.at == gateway.retrieve(payment.id).paid_at
    assert list(gateway.charged_between(refused.at, paid.at)) == [refused]
    assert list(gateway.charged_between(paid.at, paid.at + timedelta(seconds=1))) == [paid]


@pytest.mark.parametrize("many", share([105, 205], of=2))
def test_a_list_of_many_pages_outlasts_a_bad_moment(
    sandbox: Gateway, request_of_29_99: PaymentRequest, good_card: str, many: int
) -> None:
    """More charges than a page holds, while the gateway answers 429 and 500: each of them once, after a wait; and where
    that does not end, no list that is short of some."""
    waited: list[float] = []
    gateway = StripeGateway(sandbox.api_key, sandbox.url, wait=waited.append)
    start = datetime.fromtimestamp(sandbox.sandbox.clock() + 20 * 86400, UTC)
    sandbox.sandbox.set_clock(start.timestamp())
    made = set()
    for n in range(many):
        payment = gateway.create(replace(request_of_29_99, idempotency_key=f"{request_of_29_99.idempotency_key}/{n}"))
        gateway.confirm(payment.id, good_card)
        made.add(payment.id)
    sandbox.sandbox.set_clock(None)
    until = start + timedelta(hours=1)
    for mode in ("429", "500"):
        sandbox.sandbox.hostile(mode, "charges.list", calls=1)
        listed = [charge.payment_id for charge in gateway.charged_between(start, until)]
        assert (len(listed), set(listed)) == (many, made)
    assert waited == [1, 1]
    sandbox.sandbox.hostile("429", "charges.list", calls=99)
    with pytest.raises(GatewayUnavailable):
        list(gateway.charged_between(start, until))
    assert waited == [1, 1, 1, 2, 4, 8]


@pytest.mark.parametrize("operation", ["retrieve", "cancel"])
def test_a_payment_of_another_account_is_refused_by_name(gateway: StripeGateway, operation: str) -> None:
    """Not unknown and not unavailable: the gateway has no such payment."""
    with pytest.raises(GatewayRefused) as raised:
        getattr(gateway, operation)("pi_of_another_account")
    assert raised.value.code == "resource_missing"


def test_a_payment_that_is_paid_cannot_be_given_up(
    gateway: StripeGateway, request_of_29_99: PaymentRequest, good_card: str
) -> None:
    """The cancellation is refused, and the payment stays paid."""
    payment = gateway.create(request_of_29_99)
    gateway.confirm(payment.id, good_card)
    with pytest.raises(GatewayRefused):
        gateway.cancel(payment.id)
    assert gateway.retrieve(payment.id).state is PaymentState.PAID


@pytest.fixture
def deployed(shop: World, sandbox: Gateway, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """The handler of ProcessPayment over the shop's tables and the sandbox. Yields the gateway secret to be edited."""
    secret = {"api_key": sandbox.api_key, "api_secret": "whsec_AAAA", "endpoint": sandbox.url}
    settings = "DYNAMODB_TABLE=subscriptions RENEWALS_TABLE=renewals CHANGES_TABLE=changes SECRETS_MANAGER_ARN=arn"
    settings += " TIME_ZONE=UTC PROJECT_NAME=shop DUNNING_DAYS=1,3,5,7 DUNNING_ENDS_AS=canceled"
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
    """The gateway no longer takes the key that a warm process holds: the same call finds the new one."""
    today = datetime.now(UTC).date().isoformat()
    asked = request_of_29_99
    shop.subscribe(renewal_date=today, gateway_customer=asked.gateway_customer, payment_method=good_card)
    deployed["api_key"] = "sk_test_expired"
    gateway_access.gateway()
    deployed["api_key"] = sandbox.api_key
    assert _handle()["outcome"] == "paid"


def test_one_function_makes_the_gateway_of_a_deployment() -> None:
    """Functions, audit and commands get the same gateway from the same secret."""
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
    """Whoever wrote it by hand reads in the log what it lacks, and nobody reads a key there."""
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
    """The run ends without an error, a metric counts it and the log has the gateway's name of the call; nothing is
    marked, and the next run charges."""
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
    """Nobody is told of a card that could not be looked at, and nothing fails; later the card is known."""
    monkeypatch.setenv("REMINDER_DAYS", "7")
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


def test_whose_card_it_is(
    gateway: StripeGateway, sandbox: Gateway, request_of_29_99: PaymentRequest, good_card: str
) -> None:
    """A saved card names its customer; a detached one nobody; an id that the gateway does not have is None."""
    card = good_card
    assert gateway.saved(card) == Saved("card", request_of_29_99.gateway_customer)
    _client(sandbox).v1.payment_methods.detach(card)
    assert gateway.saved(card) == Saved("card", None)
    assert gateway.saved("pm_unknown") is None


def test_customers_that_are_known(gateway: StripeGateway, sandbox: Gateway, request_of_29_99: PaymentRequest) -> None:
    """A deleted customer is none, though Stripe answers for it; neither is one of an unknown id."""
    customer = request_of_29_99.gateway_customer
    assert gateway.has_customer(customer)
    _client(sandbox).v1.customers.delete(customer)
    assert not gateway.has_customer(customer)
    assert not gateway.has_customer("cus_unknown")
