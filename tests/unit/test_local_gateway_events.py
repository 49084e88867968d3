"""The events of the sandbox gateway reach the local stack, and the stack's door takes each of them as Stripe's."""

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from gateway_events.signature import is_signed
from local.gateway import Gateway, official_client
from local.gateway.client import Sandbox
from local.gateway_events import send_events
from renewals.domain.gateway_event import GatewayEvent, GatewayEventType
from tests.sandbox import Receiver, eventually, receiving, serving


class _Store:
    """Secrets Manager with a single secret."""

    def __init__(self, **kept: str) -> None:
        self.kept = json.dumps(kept)

    def get_secret_value(self, **asked: str) -> dict[str, str]:
        assert asked == {"SecretId": "arn:events"}
        return {"SecretString": self.kept}

    def put_secret_value(self, **asked: str) -> None:
        assert asked.pop("SecretId") == "arn:events"
        self.kept = asked.pop("SecretString")


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with serving() as running:
        yield running


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as listening:
        yield listening


def _stack(gateway: Gateway, receiver: Receiver, store: _Store) -> Any:
    return SimpleNamespace(
        gateway_url=gateway.url,
        outputs={"LocalApiUrl": receiver.url.rpartition("/")[0], "GatewayEventsSecretArn": "arn:events"},
        client=lambda _service: store,
    )


def _play(sandbox: Sandbox, v1: Any) -> None:
    """Cause an event of every type that the stack takes."""
    customer = v1.customers.create({"name": "Ann"}).id
    asked: Any = {
        "amount": 2999, "currency": "usd", "allowed_payment_method_types": ["card"], "customer": customer,
        "metadata": {"subscription_id": "sub_1", "renewal_date": "2026-01-31", "attempt": "1", "colour": "red"},
    }  # fmt: skip
    cards = {
        name: v1.payment_methods.attach(f"pm_card_{name}", {"customer": customer}).id
        for name in ("visa", "in", "refundFail")
    }
    away: Any = {"confirm": True, "off_session": True}
    v1.payment_intents.cancel(v1.payment_intents.create(asked).id)
    sandbox.settle(v1.payment_intents.create(asked | away | {"payment_method": cards["in"]}).id, "failed")
    paid = v1.payment_intents.create(asked | away | {"payment_method": cards["refundFail"]}).id
    sandbox.settle_refund(v1.refunds.create({"payment_intent": paid, "amount": 1000}).id, "failed")
    sandbox.warn(paid)
    dispute = sandbox.dispute(paid, "subscription_canceled")["id"]
    for step in ("respond", "won"):
        sandbox.change_dispute(dispute, step)
    sandbox.update_card_automatically(cards["visa"], exp_year=2040)
    v1.payment_methods.detach(cards["visa"])
    page: Any = {"mode": "setup", "customer": customer, "currency": "usd", "success_url": "https://shop.example"}
    sandbox.give_card(v1.checkout.sessions.create(page).id)


def test_the_stack_takes_every_event_that_is_sent(gateway: Gateway, receiver: Receiver) -> None:
    """An event of every type that the stack acts on arrives, passes the door's check of the signature, is read, and
    leads to the payment where the event is about a payment.
    """
    store = _Store(signing="")
    send_events(_stack(gateway, receiver, store))
    _play(gateway.sandbox, official_client(gateway.url, gateway.api_key).v1)
    eventually(lambda: {_type(body) for body, _ in receiver.requests} == set(GatewayEventType))
    secret = json.loads(store.kept)["signing"]
    assert secret.startswith("whsec_")
    for body, signature in receiver.requests:
        assert is_signed(body.encode(), signature, [secret])
        told = GatewayEvent.of_gateway(json.loads(body))
        assert GatewayEvent.from_json(told.to_json()) == told
        assert "colour" not in told.metadata
        if not told.type.startswith(("payment_method.", "checkout.")):
            assert str(told.payment_intent).startswith("pi_")
    assert {_type(body) for body, _ in receiver.requests} == set(GatewayEventType)


def _type(body: str) -> str:
    return str(json.loads(body)["type"])


def test_a_secret_that_is_there_is_kept(gateway: Gateway, receiver: Receiver) -> None:
    """A second `make up` signs with the secret that the stack's warm functions have already read."""
    store = _Store(signing="whsec_first", previous="whsec_zeroth")
    send_events(_stack(gateway, receiver, store), "late", seconds=9)
    assert json.loads(store.kept) == {"signing": "whsec_first", "previous": "whsec_zeroth"}
    webhook = gateway.sandbox.deliveries()["webhook"]
    assert (webhook["secret"], webhook["modes"], webhook["seconds"]) == ("whsec_first", ["late"], 9)
    assert webhook["url"].endswith("/gateway-events")
