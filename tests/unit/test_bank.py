"""The command that plays the bank on the local stack acts on the right payment, and tells the events."""

from collections.abc import Iterator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
import stripe

from local import bank
from local.gateway import Gateway, official_client
from local.stack import StackError
from tests.sandbox import serving


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with serving() as running:
        yield running


@pytest.fixture
def v1(gateway: Gateway) -> Any:
    return official_client(gateway.url, gateway.api_key, max_network_retries=0).v1


def _pay(v1: Any, subscription_id: str, card: str = "visa") -> str:
    customer = v1.customers.create({"name": "Ann"}).id
    method = v1.payment_methods.attach(f"pm_card_{card}", {"customer": customer}).id
    asked: Any = {"amount": 2999, "currency": "usd", "allowed_payment_method_types": ["card"], "customer": customer}
    metadata = {"subscription_id": subscription_id, "renewal_date": "2026-01-31"}
    made = v1.payment_intents.create(asked | {"metadata": metadata})
    with suppress(stripe.CardError):
        v1.payment_intents.confirm(made.id, {"payment_method": method, "off_session": True})
    return str(made.id)


def _play(gateway: Gateway, *given: str) -> None:
    stack: Any = SimpleNamespace(gateway_url=gateway.url, gateway_key=gateway.api_key)
    bank.play(stack, bank.arguments(list(given)))


STORIES: dict[str, tuple[list[str], list[str]]] = {
    "dispute lost": (["dispute", "lost"],
                     ["charge.dispute.created", "charge.dispute.funds_withdrawn", "charge.dispute.closed"]),
    "dispute won": (["dispute", "respond", "won"],
                    ["charge.dispute.created", "charge.dispute.funds_withdrawn", "charge.dispute.updated",
                     "charge.dispute.closed", "charge.dispute.funds_reinstated"]),
    "refund": (["refund", "fail-refund"], ["refund.created", "refund.updated", "refund.failed"]),
    "warning": (["warn"], ["radar.early_fraud_warning.created"]),
    "card removed": (["detach"], ["payment_method.detached"]),
}  # fmt: skip


@pytest.mark.parametrize("story", STORIES)
def test_an_act_causes_its_events(gateway: Gateway, v1: Any, capsys: pytest.CaptureFixture[str], story: str) -> None:
    """Each act happens to the subscription's own latest payment, and prints the events that the act caused."""
    acts, types = STORIES[story]
    payment = _pay(v1, "sub_1")
    _pay(v1, "sub_2")
    capsys.readouterr()
    for act in acts:
        _play(gateway, act, "sub_1")
    told = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert [word for word in told if word != payment] == types
    assert told.count(payment) == len(acts)


@pytest.mark.parametrize(("act", "status"), [("confirm", "succeeded"), ("refuse", "requires_payment_method")])
def test_the_customer_confirms_the_latest_payment(gateway: Gateway, v1: Any, act: str, status: str) -> None:
    """Without a subscription the act happens to the latest payment of all."""
    payment = _pay(v1, "sub_1", "authenticationRequired")
    _play(gateway, act)
    assert v1.payment_intents.retrieve(payment).status == status


def test_an_inquiry_takes_a_part_of_the_money_later(gateway: Gateway, v1: Any) -> None:
    """An inquiry about a part of the payment becomes a dispute, and is closed in the end."""
    payment = _pay(v1, "sub_1")
    _play(gateway, "dispute", "--inquiry", "--amount", "10.00", "--reason", "duplicate")
    _play(gateway, "withdraw")
    [dispute] = v1.disputes.list({"payment_intent": payment}).data
    assert (dispute.amount, dispute.reason, dispute.status) == (1000, "duplicate", "needs_response")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["dispute", "sub_none"], "knows no payment of sub_none"),
        (["lost"], "has no dispute"),
        (["fail-refund"], "has no refund"),
        (["confirm"], "Nothing to authenticate"),
        (["refund", "--amount", "40.00"], "greater than unrefunded amount"),
        (["refund", "--amount", "5.001"], "--amount"),
    ],
)
def test_an_impossible_act_is_told_in_a_sentence(gateway: Gateway, v1: Any, given: list[str], said: str) -> None:
    """An act without its payment, dispute or refund, and an act that the gateway refuses, end in a sentence."""
    _pay(v1, "sub_1")
    with pytest.raises(StackError, match=said):
        _play(gateway, *given)


@pytest.mark.parametrize(("text", "refunded"), [("5.00", 500), ("5", 500), ("29.99", 2999)])
def test_an_amount_is_given_in_major_units(gateway: Gateway, v1: Any, text: str, refunded: int) -> None:
    """--amount is a decimal number in the currency of the payment, as for local.subscribe."""
    payment = _pay(v1, "sub_1")
    _play(gateway, "refund", "--amount", text)
    assert [refund.amount for refund in v1.refunds.list({"payment_intent": payment}).data] == [refunded]


@pytest.mark.parametrize("text", ["9,99", "five", "-5.00", "NaN", "1e2"])
def test_an_amount_of_another_form_is_refused_in_words(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The refusal shows a right amount."""
    with pytest.raises(SystemExit):
        bank.arguments(["refund", f"--amount={text}"])
    assert f"must be an amount with a point, such as 5.00, not '{text}'" in capsys.readouterr().err
