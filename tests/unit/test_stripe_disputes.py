"""Disputes and early fraud warnings over Stripe's official SDK, against the sandbox, which is as strict as Stripe."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from local.gateway import Gateway, official_client
from renewals.domain.disputes import DisputeStatus
from renewals.gateway import stripe_answers
from renewals.gateway.stripe_gateway import StripeGateway
from tests.sandbox import serving

METADATA = {"subscription_id": "sub_1", "renewal_date": "2026-01-31", "deployment": "shop/1/eu"}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Gateway]:
    with serving() as running:
        yield running


@pytest.fixture
def gateway(sandbox: Gateway) -> StripeGateway:
    return StripeGateway(sandbox.api_key, sandbox.url)


def _pay(sandbox: Gateway, currency: str = "usd", amount: int = 2999) -> str:
    """Let a customer pay, and return the payment's id."""
    intents = official_client(sandbox.url, sandbox.api_key).v1.payment_intents
    asked: Any = {"amount": amount, "currency": currency, "payment_method": "pm_card_visa", "confirm": True}
    return str(intents.create(asked | {"allowed_payment_method_types": ["card"], "metadata": METADATA}).id)


@pytest.mark.parametrize(("currency", "amount"), [("usd", 2999), ("eur", 2999), ("jpy", 3333)])
def test_moved_money_is_told_in_the_currency_of_the_dispute(
    gateway: StripeGateway, sandbox: Gateway, currency: str, amount: int
) -> None:
    """Stripe tells the moved money in the currency of the account's balance; the adapter tells the money in the
    currency of the dispute, at every step."""
    payment = _pay(sandbox, currency, amount)
    name = sandbox.sandbox.dispute(payment, "subscription_canceled", withdrawn=False)["id"]

    def stands() -> tuple[str, int, int]:
        found = gateway.dispute(name)
        assert found is not None
        assert (found.payment_id, found.amount, found.currency) == (payment, amount, currency.upper())
        assert (found.reason, dict(found.payment_metadata)) == ("subscription_canceled", METADATA)
        assert found.due_by is not None
        assert found.due_by > found.at
        return found.status, found.withdrawn, found.reinstated

    assert stands() == ("needs_response", 0, 0)
    sandbox.sandbox.change_dispute(name, "withdraw")
    assert stands() == ("needs_response", amount, 0)
    sandbox.sandbox.change_dispute(name, "respond")
    assert stands() == ("under_review", amount, 0)
    sandbox.sandbox.change_dispute(name, "won")
    assert stands() == ("won", amount, amount)


def test_an_inquiry_and_a_warning_of_fraud_move_no_money(gateway: StripeGateway, sandbox: Gateway) -> None:
    """An inquiry and an early fraud warning are read with the metadata of their payment, and without moved money."""
    payment = _pay(sandbox)
    warned = gateway.dispute(sandbox.sandbox.warn(payment, "made_with_stolen_card")["id"])
    asked = gateway.dispute(sandbox.sandbox.dispute(payment, inquiry=True)["id"])
    assert warned is not None
    assert asked is not None
    assert (warned.status, warned.reason, warned.amount, warned.currency) == (
        DisputeStatus.FRAUD_WARNING,
        "made_with_stolen_card",
        2999,
        "USD",
    )
    assert asked.status is DisputeStatus.WARNING_NEEDS_RESPONSE
    for each in (warned, asked):
        assert (each.payment_id, each.withdrawn, dict(each.payment_metadata)) == (payment, 0, METADATA)


def test_ids_that_the_gateway_does_not_know_are_nothing(gateway: StripeGateway) -> None:
    """An id of nothing is no error: the event that named the id was forged, or is of a different account."""
    assert gateway.dispute("dp_nothing") is None
    assert gateway.dispute("issfr_nothing") is None


def test_the_disputes_of_a_span_are_listed_newest_first(gateway: StripeGateway, sandbox: Gateway) -> None:
    """All disputes of the account are listed, with the metadata of their payments, however many pages there are."""
    made = {sandbox.sandbox.dispute(_pay(sandbox))["id"] for _ in range(3)}
    now = datetime.now(UTC)
    listed = list(gateway.disputed_between(now - timedelta(days=1), now + timedelta(days=1)))
    assert made <= {each.id for each in listed}
    assert [each.at for each in listed] == sorted((each.at for each in listed), reverse=True)
    assert all(each.payment_metadata for each in listed)


@pytest.mark.parametrize(
    ("moved", "withdrawn", "reinstated"),
    [
        ([], 0, 0),
        ([-3749], 2999, 0),
        ([-3749, 3749], 2999, 2999),
        ([-3749, 1000], 2999, 799),
        ([-3749, 3800], 2999, 2999),
    ],
)
def test_a_part_of_the_money_can_come_back(moved: list[int], withdrawn: int, reinstated: int) -> None:
    """A dispute that is won in part returns a part: the part is rounded down, and is never more than the bank took,
    whatever the exchange rate on the day of the return."""
    transactions = [SimpleNamespace(amount=each) for each in moved]
    made: Any = SimpleNamespace(
        id="dp_1", balance_transactions=transactions, payment_intent="pi_1", amount=2999, currency="eur",
        status="lost", reason="fraudulent", created=0, evidence_details=None,
    )  # fmt: skip
    found = stripe_answers.dispute(made)
    assert (found.withdrawn, found.reinstated) == (withdrawn, reinstated)


@pytest.mark.parametrize("status", ["a_status_of_the_future", None, 7])
def test_a_status_of_the_future_is_unknown(status: object) -> None:
    """A status that this version does not know ends nothing, and breaks nothing."""
    made: Any = SimpleNamespace(
        id="dp_1", balance_transactions=[], payment_intent=None, amount=1, currency="eur", status=status, created=0
    )
    assert stripe_answers.dispute(made).status is DisputeStatus.UNKNOWN
