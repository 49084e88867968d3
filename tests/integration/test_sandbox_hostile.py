"""The sandbox gateway's idempotency keys, hostile modes, controls and command, seen through the official SDK."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import stripe

from local.gateway import Gateway, SandboxError, official_client
from tests.sandbox import eventually, serving

DAY = 24 * 60 * 60
CONFIRM = "payment_intents.confirm"


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with serving() as running:
        yield running


@pytest.fixture(autouse=True)
def peace(gateway: Gateway) -> Iterator[None]:
    """Every test begins and ends without hostile modes and with the real time."""
    yield
    gateway.sandbox.peaceful()
    gateway.sandbox.set_clock(None)


def connected(gateway: Gateway, timeout: float = 10) -> tuple[Any, Any]:
    http = stripe.RequestsClient(timeout=timeout)
    client = official_client(gateway.url, gateway.api_key, http_client=http, max_network_retries=0)
    return client.v1, http


@pytest.fixture(scope="module")
def v1(gateway: Gateway) -> Iterator[Any]:
    api, http = connected(gateway)
    yield api
    http.close()


@pytest.fixture
def customer(v1: Any) -> str:
    return str(v1.customers.create().id)


@pytest.fixture
def card(v1: Any, customer: str) -> str:
    return str(v1.payment_methods.attach("pm_card_visa", {"customer": customer}).id)


@pytest.fixture
def intent(v1: Any, customer: str, card: str) -> str:
    """An intent that only needs its confirmation."""
    return str(opened(v1, customer, card).id)


def opened(v1: Any, customer: str, card: str, key: str | None = None, amount: int = 2999) -> Any:
    given = {
        "amount": amount, "currency": "usd", "customer": customer, "payment_method": card,
        "allowed_payment_method_types": ["card"],
    }  # fmt: skip
    return v1.payment_intents.create(given, {"idempotency_key": key or f"{customer}-{amount}-{time.monotonic_ns()}"})


def refusal(call: Callable[[], Any]) -> stripe.StripeError:
    with pytest.raises(stripe.StripeError) as caught:
        call()
    return caught.value


def succeeded(gateway: Gateway, intent: str) -> int:
    return len(gateway.sandbox.charges(payment_intent=intent, status="succeeded"))


# Idempotency keys: docs.stripe.com/api/idempotent_requests


def test_the_same_key_gets_the_same_answer(v1: Any, customer: str, card: str) -> None:
    """A repeated key does nothing a second time, and the answer says that it is a replay and of which request."""
    first, again = (opened(v1, customer, card, key=f"{customer}/1") for _ in range(2))
    assert again.id == first.id
    headers = again.last_response.headers
    assert headers["Idempotent-Replayed"] == "true"
    assert headers["Original-Request"] == first.last_response.headers["Request-Id"] != headers["Request-Id"]
    assert "Idempotent-Replayed" not in first.last_response.headers
    assert len(v1.payment_intents.list({"customer": customer}).data) == 1


def test_a_decline_is_replayed_too(v1: Any, gateway: Gateway, customer: str, intent: str) -> None:
    """Under the same key the stored 402 comes back, and the card is not tried again."""
    given, key = {"payment_method": "pm_card_chargeDeclined"}, {"idempotency_key": f"{intent}/1"}
    first, again = (refusal(lambda: v1.payment_intents.confirm(intent, given, key)) for _ in range(2))
    assert first.json_body == again.json_body
    assert len(gateway.sandbox.charges(customer=customer)) == 1


def test_a_key_is_for_one_request_only(v1: Any, customer: str, card: str, intent: str) -> None:
    """Different parameters or a different path under a used key are a 400 idempotency_error and do nothing."""
    key = f"{customer}/2"
    opened(v1, customer, card, key=key)
    for call in (
        lambda: opened(v1, customer, card, key=key, amount=3999),
        lambda: v1.payment_intents.confirm(intent, {}, {"idempotency_key": key}),
    ):
        error = refusal(call)
        assert isinstance(error, stripe.IdempotencyError)
        assert (error.http_status, error.code) == (400, None)
    assert v1.payment_intents.retrieve(intent).status == "requires_confirmation"


def test_a_key_in_use_is_a_409(v1: Any, gateway: Gateway, intent: str) -> None:
    """While the first request is under way, a second request with its key is refused; afterwards the second gets the
    replay."""
    gateway.sandbox.hostile("slow", CONFIRM, seconds=0.4)
    key = {"idempotency_key": f"{intent}/1"}
    first = threading.Thread(target=lambda: v1.payment_intents.confirm(intent, {}, key))
    first.start()
    assert eventually(lambda: gateway.sandbox.hostile_rules() == [])
    error = refusal(lambda: v1.payment_intents.confirm(intent, {}, key))
    assert error.error is not None
    assert (error.http_status, error.error.code) == (409, "idempotency_key_in_use")
    first.join(5)
    assert v1.payment_intents.confirm(intent, {}, key).status == "succeeded"
    assert succeeded(gateway, intent) == 1


@pytest.mark.parametrize("amount", [10, "much"])
def test_a_request_that_fails_validation_leaves_its_key_free(v1: Any, customer: str, card: str, amount: Any) -> None:
    """A request refused by validation stores no result: results are stored only after the endpoint has begun to
    execute."""
    key = f"{customer}/{amount}"
    assert refusal(lambda: opened(v1, customer, card, key=key, amount=amount)).http_status == 400
    assert opened(v1, customer, card, key=key).amount == 2999


def test_a_refusal_by_state_is_stored(v1: Any, intent: str) -> None:
    """Once the endpoint executes, a 400 is stored like any other answer (docs.stripe.com/error-low-level)."""
    v1.payment_intents.cancel(intent)
    key = {"idempotency_key": f"{intent}/late"}
    first, again = (refusal(lambda: v1.payment_intents.confirm(intent, {}, key)) for _ in range(2))
    assert (first.code, again.code) == ("payment_intent_unexpected_state",) * 2
    assert (again.headers or {})["Idempotent-Replayed"] == "true"


def test_keys_are_forgotten_after_a_day(v1: Any, gateway: Gateway, customer: str, card: str) -> None:
    """After 24 hours of the sandbox's clock, or at once by the control, a used key makes a new request."""
    key = f"{customer}/3"
    made = [opened(v1, customer, card, key=key).id]
    gateway.sandbox.set_clock(gateway.sandbox.clock() + DAY - 60)
    assert opened(v1, customer, card, key=key).id == made[0]
    gateway.sandbox.set_clock(gateway.sandbox.clock() + 61)
    made.append(opened(v1, customer, card, key=key).id)
    assert gateway.sandbox.expire_idempotency_keys() > 0
    made.append(opened(v1, customer, card, key=key).id)
    assert len(set(made)) == 3


def test_a_refund_is_made_once_for_its_key(v1: Any, intent: str) -> None:
    """The same refund sent twice under a key is made once."""
    paid = v1.payment_intents.confirm(intent)
    given, key = {"payment_intent": intent, "amount": 1000}, {"idempotency_key": f"{intent}/refund"}
    first, again = (v1.refunds.create(given, key) for _ in range(2))
    assert first.id == again.id
    assert v1.charges.retrieve(paid.latest_charge).amount_refunded == 1000


# Hostile modes


@pytest.mark.parametrize(("mode", "charged"), [("drop_before", 0), ("drop_after", 1)])
def test_a_dropped_connection_says_nothing_of_what_was_done(
    v1: Any, gateway: Gateway, intent: str, mode: str, charged: int
) -> None:
    """The SDK sees a broken connection whether or not the charge was made; repeated with the key, the request ends with
    a single charge either way."""
    gateway.sandbox.hostile(mode, CONFIRM)
    key = {"idempotency_key": f"{intent}/1"}
    assert isinstance(refusal(lambda: v1.payment_intents.confirm(intent, {}, key)), stripe.APIConnectionError)
    assert succeeded(gateway, intent) == charged
    assert v1.payment_intents.confirm(intent, {}, key).status == "succeeded"
    assert succeeded(gateway, intent) == 1


@pytest.mark.parametrize(("mode", "charged"), [("500", 0), ("500_after", 1)])
def test_a_500_is_stored_whether_or_not_it_charged(
    v1: Any, gateway: Gateway, intent: str, mode: str, charged: int
) -> None:
    """The key answers 500 for ever, whether or not the charge was made; only retrieving the intent tells."""
    gateway.sandbox.hostile(mode, CONFIRM)
    key = {"idempotency_key": f"{intent}/1"}
    for _ in range(2):
        error = refusal(lambda: v1.payment_intents.confirm(intent, {}, key))
        assert isinstance(error, stripe.APIError)
        assert error.http_status == 500
    assert succeeded(gateway, intent) == charged
    assert (v1.payment_intents.retrieve(intent).status == "succeeded") is bool(charged)


@pytest.mark.parametrize(
    ("mode", "status", "kind"), [("429", 429, stripe.RateLimitError), ("503", 503, stripe.APIError)]
)
def test_a_limit_does_nothing_and_stores_nothing(
    v1: Any, gateway: Gateway, intent: str, mode: str, status: int, kind: type[Exception]
) -> None:
    """After a 429 or 503 the same key succeeds at the next try."""
    gateway.sandbox.hostile(mode, CONFIRM)
    key = {"idempotency_key": f"{intent}/1"}
    error = refusal(lambda: v1.payment_intents.confirm(intent, {}, key))
    assert (type(error), error.http_status, succeeded(gateway, intent)) == (kind, status, 0)
    assert v1.payment_intents.confirm(intent, {}, key).status == "succeeded"


def test_a_slow_confirmation_charges_after_its_caller_gave_up_and_locks_the_intent(
    v1: Any, gateway: Gateway, intent: str
) -> None:
    """While a slow confirmation runs, the intent can be read but not confirmed: 429 lock_timeout
    (docs.stripe.com/rate-limits)."""
    gateway.sandbox.hostile("slow", CONFIRM, seconds=0.6)
    hasty, http = connected(gateway, timeout=0.2)
    assert isinstance(refusal(lambda: hasty.payment_intents.confirm(intent)), stripe.APIConnectionError)
    http.close()
    assert v1.payment_intents.retrieve(intent).status == "requires_confirmation"
    error = refusal(lambda: v1.payment_intents.confirm(intent))
    assert error.error is not None
    assert (error.http_status, error.error.code) == (429, "lock_timeout")
    assert eventually(lambda: v1.payment_intents.retrieve(intent).status == "succeeded")
    assert succeeded(gateway, intent) == 1


@pytest.mark.parametrize(
    ("outcome", "status", "charge"),
    [("succeeded", "succeeded", "succeeded"), ("failed", "requires_payment_method", "failed")],
)
def test_a_payment_stays_in_processing_until_it_is_settled(
    v1: Any, gateway: Gateway, intent: str, outcome: str, status: str, charge: str
) -> None:
    """A payment in processing can be neither confirmed nor canceled; its only charge is pending until the test settles
    it."""
    gateway.sandbox.hostile("processing", CONFIRM)
    assert v1.payment_intents.confirm(intent).status == "processing"
    for call in (lambda: v1.payment_intents.confirm(intent), lambda: v1.payment_intents.cancel(intent)):
        assert refusal(call).code == "payment_intent_unexpected_state"
    assert [each["status"] for each in gateway.sandbox.charges(payment_intent=intent)] == ["pending"]
    gateway.sandbox.settle(intent, outcome)
    assert v1.payment_intents.retrieve(intent).status == status
    assert [each["status"] for each in gateway.sandbox.charges(payment_intent=intent)] == [charge]


def test_processing_ends_by_itself_on_the_sandboxs_clock(v1: Any, gateway: Gateway, customer: str, card: str) -> None:
    """After `seconds` on the sandbox's clock a payment in processing ends as `outcome` says."""
    ends = {}
    for outcome in ("succeeded", "failed"):
        gateway.sandbox.hostile("processing", CONFIRM, seconds=3600, outcome=outcome)
        ends[outcome] = v1.payment_intents.confirm(opened(v1, customer, card).id).id
    gateway.sandbox.set_clock(gateway.sandbox.clock() + 3000)
    assert {v1.payment_intents.retrieve(each).status for each in ends.values()} == {"processing"}
    gateway.sandbox.set_clock(gateway.sandbox.clock() + 700)
    assert v1.payment_intents.retrieve(ends["succeeded"]).status == "succeeded"
    assert v1.payment_intents.retrieve(ends["failed"]).status == "requires_payment_method"


def test_a_rule_meets_only_the_calls_that_it_names(v1: Any, gateway: Gateway, customer: str, intent: str) -> None:
    """A rule meets calls by operation, by customer and for a number of calls, and the calls left can be read."""
    other = v1.customers.create().id
    gateway.sandbox.hostile("429", "payment_intents.*", customer=customer, calls=2)
    assert v1.payment_intents.list({"customer": other}).data == []
    assert v1.customers.retrieve(customer).id == customer
    assert refusal(lambda: v1.payment_intents.retrieve(intent)).http_status == 429
    assert [rule["calls"] for rule in gateway.sandbox.hostile_rules()] == [1]
    assert refusal(lambda: v1.payment_intents.confirm(intent)).http_status == 429
    assert v1.payment_intents.confirm(intent).status == "succeeded"


def test_chance_is_repeatable_by_its_seed(v1: Any, gateway: Gateway, customer: str) -> None:
    """A seed always gives the same fate to the same calls, about as often as the probability says."""

    def fates(seed: int) -> list[bool]:
        gateway.sandbox.peaceful()
        gateway.sandbox.hostile("429", "customers.*", probability=0.3, seed=seed)
        outcomes = []
        for _ in range(40):
            try:
                v1.customers.retrieve(customer)
                outcomes.append(True)
            except stripe.RateLimitError:
                outcomes.append(False)
        return outcomes

    first = fates(7)
    assert first == fates(7) != fates(8)
    assert 5 <= first.count(False) <= 20


def test_hostile_modes_can_be_taken_back(v1: Any, gateway: Gateway, customer: str) -> None:
    """After peaceful() no rule is left."""
    gateway.sandbox.hostile("500", calls=100)
    gateway.sandbox.peaceful()
    assert gateway.sandbox.hostile_rules() == []
    assert v1.customers.retrieve(customer).id == customer


# The controls


@pytest.mark.parametrize(
    "rule",
    [{"mode": "meteor"}, {"mode": "slow"}, {"mode": "429", "calls": 1, "probability": 0.5}, {"mode": "429", "x": 1}],
)
def test_a_rule_that_makes_no_sense_is_refused(gateway: Gateway, rule: dict[str, Any]) -> None:
    """A misspelled rule is refused, so that a typing error in a test does not pass as a peaceful gateway."""
    with pytest.raises(SandboxError):
        gateway.sandbox.hostile(**rule)
    assert gateway.sandbox.hostile_rules() == []


def test_nothing_is_authenticated_or_settled_that_does_not_wait_for_it(gateway: Gateway, intent: str) -> None:
    """The controls refuse to authenticate or settle an intent that does not wait for it."""
    with pytest.raises(SandboxError, match="Nothing to authenticate"):
        gateway.sandbox.authenticate(intent)
    with pytest.raises(SandboxError, match="Nothing to settle"):
        gateway.sandbox.settle(intent)
    with pytest.raises(SandboxError, match="No such payment_intent"):
        gateway.sandbox.settle("pi_unknown")


def test_a_saved_card_can_go_bad_and_recover(v1: Any, gateway: Gateway, customer: str, card: str) -> None:
    """A changed card behaves like a different test card until changed again, and stays the same payment method."""
    intent = opened(v1, customer, card).id
    gateway.sandbox.change_card(card, "pm_card_chargeDeclinedStolenCard")
    error = refusal(lambda: v1.payment_intents.confirm(intent))
    assert error.error is not None
    assert error.error.decline_code == "stolen_card"
    gateway.sandbox.change_card(card, "4242424242424242")
    assert v1.payment_intents.confirm(intent, {"payment_method": card}).status == "succeeded"


def test_the_clock_goes_on_from_where_it_is_set(v1: Any, gateway: Gateway) -> None:
    """New objects are created in the sandbox's time."""
    future = int(time.time()) + 200 * DAY
    gateway.sandbox.set_clock(future)
    assert future <= v1.customers.create().created <= future + 5
    gateway.sandbox.set_clock(None)
    assert abs(gateway.sandbox.clock() - time.time()) < 5


def test_the_ledger_view_shows_every_attempt(v1: Any, gateway: Gateway, customer: str, card: str) -> None:
    """The list of charges shows amount, status and metadata of every attempt, for the tests to count."""
    made = v1.payment_intents.create(
        {
            "amount": 500,
            "currency": "jpy",
            "customer": customer,
            "allowed_payment_method_types": ["card"],
            "metadata": {"p": "1"},
        }
    )
    refusal(lambda: v1.payment_intents.confirm(made.id, {"payment_method": "pm_card_chargeDeclined"}))
    v1.payment_intents.confirm(made.id, {"payment_method": card})
    failed, paid = gateway.sandbox.charges(customer=customer)
    assert (failed["status"], failed["paid"], failed["failure_code"]) == ("failed", False, "card_declined")
    assert (paid["status"], paid["paid"], paid["captured"]) == ("succeeded", True, True)
    for each in (failed, paid):
        assert (each["payment_intent"], each["amount"], each["currency"]) == (made.id, 500, "jpy")
        assert each["metadata"] == {"p": "1"}


def test_the_command_serves_until_it_is_terminated() -> None:
    """The command's first line of output is a URL where the SDK is served with the given key."""
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "local.gateway", "--port", "0", "--api-key", "sk_test_given"]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = json.loads(process.stdout.readline())["url"]
            http: Any = stripe.RequestsClient(timeout=5)
            client = official_client(url, "sk_test_given", http_client=http)
            assert client.v1.customers.create({"name": "Zoë"}).name == "Zoë"
            http.close()
        finally:
            process.terminate()
        process.wait(10)
    assert process.returncode is not None
