"""The sandbox gateway plays disputes, refunds and early fraud warnings as Stripe does: which money moves when, and
which events tell of the moves.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import stripe

from local.gateway import Gateway, SandboxError, official_client
from tests.sandbox import serving

INTENT: Any = {"amount": 2999, "currency": "usd", "allowed_payment_method_types": ["card"]}
CREATED, UPDATED, CLOSED, WITHDRAWN, REINSTATED = (
    f"charge.dispute.{what}" for what in ("created", "updated", "closed", "funds_withdrawn", "funds_reinstated")
)
FINAL = {"won", "lost", "warning_closed"}


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with serving() as running:
        yield running


@pytest.fixture
def v1(gateway: Gateway) -> Any:
    return official_client(gateway.url, gateway.api_key, max_network_retries=0).v1


def _pay(v1: Any, card: str = "visa", **more: Any) -> Any:
    return v1.payment_intents.create(INTENT | {"payment_method": f"pm_card_{card}", "confirm": True} | more)


def _events(v1: Any, pattern: str) -> list[Any]:
    """Return the events of a pattern of types, oldest first."""
    return list(reversed(v1.events.list({"limit": 100, "type": pattern}).data))


def _types(v1: Any, pattern: str) -> list[str]:
    return [event.type for event in _events(v1, pattern)]


def _moved(dispute: Any) -> list[int]:
    return [each.amount for each in dispute.balance_transactions]


STEPS: dict[str, tuple[dict[str, Any], list[str], str, list[int], list[str]]] = {
    "won": ({}, ["respond", "won"], "won", [-2999, 2999], [CREATED, WITHDRAWN, UPDATED, CLOSED, REINSTATED]),
    "lost": ({}, ["respond", "lost"], "lost", [-2999], [CREATED, WITHDRAWN, UPDATED, CLOSED]),
    "accepted": ({}, ["lost"], "lost", [-2999], [CREATED, WITHDRAWN, CLOSED]),
    "withdrawn later": (
        {"withdrawn": False}, ["withdraw", "lost"], "lost", [-2999], [CREATED, WITHDRAWN, CLOSED],
    ),
    "inquiry closed": ({"inquiry": True}, ["respond", "warning_closed"], "warning_closed", [],
                       [CREATED, UPDATED, CLOSED]),
    "inquiry becomes a chargeback": ({"inquiry": True}, ["withdraw", "won"], "won", [-2999, 2999],
                                     [CREATED, UPDATED, WITHDRAWN, CLOSED, REINSTATED]),
}  # fmt: skip


@pytest.mark.parametrize("story", STEPS)
def test_a_dispute_moves_money_and_tells_of_each_step(gateway: Gateway, v1: Any, story: str) -> None:
    """A chargeback takes the money and a won dispute returns the money; an inquiry moves none; each step is an event
    that has the dispute as the dispute was.
    """
    opened, steps, status, moved, types = STEPS[story]
    dispute = gateway.sandbox.dispute(_pay(v1).id, "subscription_canceled", **opened)["id"]
    for step in steps:
        gateway.sandbox.change_dispute(dispute, step)
    after = v1.disputes.retrieve(dispute)
    assert (after.status, _moved(after), after.reason) == (status, moved, "subscription_canceled")
    assert after.is_charge_refundable is (not moved)
    events = _events(v1, "charge.dispute.*")
    assert [event.type for event in events] == types
    at_withdrawal = [_moved(event.data.object) for event in events if event.type in (CREATED, WITHDRAWN)]
    assert at_withdrawal == [[], [-2999]][: len(at_withdrawal)]
    with pytest.raises(SandboxError):
        gateway.sandbox.change_dispute(dispute, "respond")


@pytest.mark.parametrize(
    ("inquiry", "steps"), [(False, ["warning_closed"]), (False, ["withdraw"]), (True, ["won"]), (True, ["lost"])]
)
def test_a_step_that_a_dispute_cannot_take_is_refused(
    gateway: Gateway, v1: Any, inquiry: bool, steps: list[str]
) -> None:
    """An inquiry is neither won nor lost, a chargeback is not closed as an inquiry, and funds are withdrawn once."""
    dispute = gateway.sandbox.dispute(_pay(v1).id, inquiry=inquiry)
    for step in steps:
        with pytest.raises(SandboxError):
            gateway.sandbox.change_dispute(dispute["id"], step)
    assert v1.disputes.retrieve(dispute["id"]).to_dict() == dispute


def test_a_dispute_has_stripes_shape(gateway: Gateway, v1: Any) -> None:
    """A dispute names the payment, the network's reason and the deadline, holds what Stripe knows of the customer, and
    has the fee of the withdrawal.
    """
    method = v1.payment_methods.create(
        {"type": "card", "card": {"token": "tok_visa"}, "billing_details": {"name": "Ann", "email": "ann@example.com"}}
    )
    paid = _pay(v1, payment_method=method.id)
    made = gateway.sandbox.dispute(paid.id, "fraudulent", amount=1000)
    dispute = v1.disputes.retrieve(made["id"])
    assert (dispute.object, dispute.amount, dispute.currency) == ("dispute", 1000, "usd")
    assert (dispute.payment_intent, dispute.charge) == (paid.id, paid.latest_charge)
    assert (dispute.evidence.customer_name, dispute.evidence.customer_email_address) == ("Ann", "ann@example.com")
    due = datetime.fromtimestamp(dispute.evidence_details.due_by, UTC)
    assert (due.hour, due.minute, due.second) == (23, 59, 59)
    assert dispute.evidence_details.due_by > dispute.created + 7 * 86400
    assert dispute.payment_method_details.card.to_dict() == {
        "brand": "visa", "case_type": "chargeback", "network": "visa", "network_reason_code": "10.4",
    }  # fmt: skip
    [moved] = dispute.balance_transactions
    assert (moved.amount, moved.fee, moved.net, moved.type) == (-1000, 1500, -2500, "adjustment")
    assert (moved.reporting_category, moved.source, moved.currency) == ("dispute", dispute.id, "usd")


def test_balances_are_in_the_accounts_currency(gateway: Gateway, v1: Any) -> None:
    """The balance transactions of a dispute in another currency are in the account's own, at a rate."""
    made = gateway.sandbox.dispute(_pay(v1, currency="eur", amount=1000).id)
    dispute = v1.disputes.retrieve(made["id"])
    [moved] = dispute.balance_transactions
    assert (dispute.amount, dispute.currency) == (1000, "eur")
    assert (moved.amount, moved.currency, moved.exchange_rate) == (-1250, "usd", 1.25)


@pytest.mark.parametrize(
    ("card", "status", "types"),
    [
        ("createDispute", "needs_response", [CREATED, WITHDRAWN]),
        ("createDisputeProductNotReceived", "needs_response", [CREATED, WITHDRAWN]),
        ("createDisputeInquiry", "warning_needs_response", [CREATED]),
    ],
)
def test_a_card_disputes_its_charge_after_the_success(
    gateway: Gateway, v1: Any, card: str, status: str, types: list[str]
) -> None:
    """The test cards are disputed after the success of the payment, and not while the payment is in processing."""
    gateway.sandbox.hostile("processing", "payment_intents.create")
    paid = _pay(v1, card)
    assert v1.disputes.list().data == []
    gateway.sandbox.settle(paid.id)
    [dispute] = v1.disputes.list({"charge": paid.latest_charge}).data
    assert dispute.status == status
    assert _types(v1, "*")[-len(types) - 1 :] == ["payment_intent.succeeded", *types]


def test_disputes_are_listed_by_payment_time_and_page(gateway: Gateway, v1: Any) -> None:
    """The list of disputes is newest first, is filtered by payment and time, and is paged."""
    start = gateway.sandbox.clock()
    paid = [_pay(v1), _pay(v1)]
    first = gateway.sandbox.dispute(paid[0].id)["id"]
    gateway.sandbox.set_clock(start + 86400)
    second = gateway.sandbox.dispute(paid[1].id)["id"]

    def listed(**query: Any) -> list[str]:
        return [dispute.id for dispute in v1.disputes.list(query).data]

    assert listed() == [second, first]
    assert listed(payment_intent=paid[0].id) == listed(charge=paid[0].latest_charge) == [first]
    assert listed(created={"gte": start + 86400}) == listed(limit=1) == [second]
    assert listed(starting_after=second) == [first]
    with pytest.raises(stripe.InvalidRequestError):
        listed(payment_intent="pi_none")


def test_a_charge_that_was_charged_back_is_not_refunded(gateway: Gateway, v1: Any) -> None:
    """A refund of a chargeback is refused as charge_disputed; a refund during an inquiry is possible."""
    back, asked = _pay(v1), _pay(v1)
    gateway.sandbox.dispute(back.id)
    gateway.sandbox.dispute(asked.id, inquiry=True)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        v1.refunds.create({"payment_intent": back.id})
    assert refused.value.code == "charge_disputed"
    assert v1.refunds.create({"payment_intent": asked.id}).status == "succeeded"


def test_only_money_that_moved_is_disputed(gateway: Gateway, v1: Any) -> None:
    """A payment without a charge, a failed charge and an amount above the charge cannot be disputed."""
    open_, paid = v1.payment_intents.create(INTENT).id, _pay(v1).id
    with pytest.raises(stripe.CardError):
        _pay(v1, "chargeCustomerFail")
    declined = v1.payment_intents.list().data[0].id
    for payment, more in ((open_, {}), (declined, {}), (paid, {"amount": 3000}), (paid, {"reason": "boredom"})):
        with pytest.raises(SandboxError):
            gateway.sandbox.dispute(payment, **more)
    assert v1.disputes.list().data == []


def test_a_refund_in_the_dashboard_has_no_metadata(gateway: Gateway, v1: Any) -> None:
    """A refund in the dashboard is listed like any refund, without metadata, and its event names no request."""
    paid = _pay(v1)
    made = gateway.sandbox.refund_in_dashboard(paid.id, 1000, reason="duplicate")
    [listed] = v1.refunds.list({"payment_intent": paid.id}).data
    assert (listed.id, listed.amount, listed.reason, listed.metadata.to_dict()) == (made["id"], 1000, "duplicate", {})
    [event] = _events(v1, "refund.*")
    assert (event.type, event.data.object.payment_intent, event.request.id) == ("refund.created", paid.id, None)
    assert gateway.sandbox.refund_in_dashboard(paid.id)["amount"] == 1999


@pytest.mark.parametrize(
    ("card", "first", "later", "types"),
    [
        ("refundFail", "succeeded", "failed", ["refund.created", "refund.updated", "refund.failed"]),
        ("pendingRefund", "pending", "succeeded", ["refund.created", "refund.updated"]),
    ],
)
def test_a_refund_that_changes_later_is_told(
    gateway: Gateway, v1: Any, card: str, first: str, later: str, types: list[str]
) -> None:
    """The cards 5126 and 7726: each change of a refund is an event; a failed refund has a reason and the transaction
    that returned the money.
    """
    refund = v1.refunds.create({"payment_intent": _pay(v1, card).id, "metadata": {"request": "r1"}})
    gateway.sandbox.set_clock(gateway.sandbox.clock() + 3601)
    after = v1.refunds.retrieve(refund.id)
    assert (refund.status, after.status) == (first, later)
    events = _events(v1, "refund.*")
    assert [event.type for event in events] == types
    assert events[1].data.previous_attributes.to_dict() == {"status": first}
    assert [event.data.object.metadata.request for event in events] == ["r1"] * len(types)
    if later == "failed":
        assert after.failure_reason == "expired_or_canceled_card"
        assert after.failure_balance_transaction.startswith("txn_")


def test_a_canceled_refund_returns_the_money(gateway: Gateway, v1: Any) -> None:
    """A pending refund can be canceled: the charge is no longer refunded, and refund.updated tells."""
    paid = _pay(v1, "pendingRefund")
    refund = v1.refunds.create({"payment_intent": paid.id})
    assert gateway.sandbox.settle_refund(refund.id, "canceled")["status"] == "canceled"
    assert v1.charges.retrieve(paid.latest_charge).amount_refunded == 0
    assert _types(v1, "refund.*") == ["refund.created", "refund.updated"]
    with pytest.raises(SandboxError):
        gateway.sandbox.settle_refund(refund.id, "succeeded")


def test_refunds_are_listed_by_time_and_page(gateway: Gateway, v1: Any) -> None:
    """The list of refunds is newest first, is filtered by time, and is paged."""
    paid, start = _pay(v1), gateway.sandbox.clock()
    first = gateway.sandbox.refund_in_dashboard(paid.id, 1)["id"]
    gateway.sandbox.set_clock(start + 86400)
    second = gateway.sandbox.refund_in_dashboard(paid.id, 1)["id"]

    def listed(**query: Any) -> list[str]:
        return [refund.id for refund in v1.refunds.list(query).data]

    assert listed(charge=paid.latest_charge) == [second, first]
    assert listed(created={"gte": start + 86400}) == listed(limit=1) == [second]
    assert listed(starting_after=second) == [first]


def test_an_early_fraud_warning_moves_no_money(gateway: Gateway, v1: Any) -> None:
    """A warning is listed by its payment; a refund or a dispute makes the warning pointless."""
    paid, other = _pay(v1, "createIssuerFraudRecord"), _pay(v1)
    made = gateway.sandbox.warn(other.id, "misc")
    [listed] = v1.radar.early_fraud_warnings.list({"payment_intent": paid.id}).data
    assert listed.id.startswith("issfr_")
    assert (listed.object, listed.charge, listed.actionable) == (
        "radar.early_fraud_warning", paid.latest_charge, True,
    )  # fmt: skip
    v1.refunds.create({"payment_intent": paid.id})
    gateway.sandbox.dispute(other.id)
    for identity in (listed.id, made["id"]):
        assert not v1.radar.early_fraud_warnings.retrieve(identity).actionable
    assert _types(v1, "radar.*") == [
        *["radar.early_fraud_warning.created"] * 2, *["radar.early_fraud_warning.updated"] * 2,
    ]  # fmt: skip
    assert not v1.charges.retrieve(paid.latest_charge).disputed
