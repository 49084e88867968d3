"""Disputes: customers who contest a charge at their bank.

    warning_needs_response -> warning_under_review -> warning_closed       an inquiry, which moves no money
    warning_... -> needs_response                                          the inquiry becomes a chargeback
    needs_response -> under_review -> won | lost                           a chargeback

Sources: Stripe API reference, "Disputes" and "Balance transactions"; "How disputes work"
(docs.stripe.com/disputes/how-disputes-work); "Testing" (docs.stripe.com/testing#disputes) for the test cards. The bank
takes the money of a chargeback (charge.dispute.funds_withdrawn), and returns the money of a dispute that was won
(charge.dispute.funds_reinstated).
"""

import secrets

from local.gateway import fraud_warnings, params
from local.gateway.errors import refused
from local.gateway.events import tell
from local.gateway.world import Call, Object, World

_DAY = 86400
_DAYS_TO_RESPOND = 9
_FEE = 1500  # the dispute fee in minor units of the account's currency
_SETTLED_IN, _EXCHANGE_RATE = "usd", 1.25
"""The currency of the account's only balance, and the exchange rate. If a dispute has a different currency, the rate
converts the disputed amount to US dollars.
"""

_INQUIRY = "warning_"
_OPEN = ("needs_response", "under_review")
_NETWORK_CODES = {"fraudulent": "10.4", "product_not_received": "13.1", "subscription_canceled": "13.2",
                  "credit_not_processed": "13.7", "duplicate": "12.6"}  # fmt: skip
_REASONS = (
    "bank_cannot_process", "check_returned", "credit_not_processed", "customer_initiated", "debit_not_authorized",
    "duplicate", "fraudulent", "general", "incorrect_account_details", "insufficient_funds", "noncompliant",
    "product_not_received", "product_unacceptable", "subscription_canceled", "unrecognized",
)  # fmt: skip
_EVIDENCE = (
    "access_activity_log", "billing_address", "cancellation_policy", "cancellation_policy_disclosure",
    "cancellation_rebuttal", "customer_communication", "customer_email_address", "customer_name",
    "customer_purchase_ip", "customer_signature", "duplicate_charge_documentation", "duplicate_charge_explanation",
    "duplicate_charge_id", "product_description", "receipt", "refund_policy", "refund_policy_disclosure",
    "refund_refusal_explanation", "service_date", "service_documentation", "shipping_address", "shipping_carrier",
    "shipping_date", "shipping_documentation", "shipping_tracking_number", "uncategorized_file", "uncategorized_text",
)  # fmt: skip

LIST: params.Spec = {
    **params.PAGE,
    "created": params.time_range,
    "charge": params.given,
    "payment_intent": params.given,
}


def by_card(world: World, charge: Object) -> None:
    """Open the dispute or add the early fraud warning that some test cards cause at every charge."""
    card = world.cards.get(charge["payment_method"])
    if card and card.warned:
        fraud_warnings.create(world, charge, "made_with_stolen_card")
    if card and card.disputed == "inquiry":
        create(world, charge, "fraudulent", inquiry=True)
    elif card and card.disputed:
        withdraw(world, create(world, charge, card.disputed)["id"])


def create(world: World, charge: Object, reason: str, *, amount: int | None = None, inquiry: bool = False) -> Object:
    """Open a dispute of a charge. The bank takes the money only in `withdraw`.

    Raises 400 for an unknown reason, for an unpaid charge, and for an amount below 1 or above the charge's amount.
    """
    amount = charge["amount"] if amount is None else amount
    if reason not in _REASONS:
        raise refused(f"reason must be one of {', '.join(_REASONS)}")
    if not charge["paid"] or not 1 <= amount <= charge["amount"]:
        raise refused(f"Charge {charge['id']} did not move {amount}.")
    today = world.now() // _DAY * _DAY
    billing, details = charge["billing_details"], charge["payment_method_details"]
    code, brand = _NETWORK_CODES.get(reason), details.get("card", {}).get("brand")
    kind = "inquiry" if inquiry else "chargeback"
    card = {"brand": brand, "case_type": kind, "network": brand, "network_reason_code": code}
    made = world.add(
        "dispute", amount=amount, balance_transactions=[], charge=charge["id"], currency=charge["currency"],
        enhanced_eligibility_types=[],
        evidence=dict.fromkeys(_EVIDENCE) | {
            "customer_email_address": billing.get("email"), "customer_name": billing.get("name"),
            "enhanced_evidence": {},
        },
        evidence_details={
            "due_by": today + (_DAYS_TO_RESPOND + 1) * _DAY - 1, "enhanced_eligibility": {}, "has_evidence": False,
            "past_due": False, "submission_count": 0,
        },
        is_charge_refundable=inquiry, metadata={}, network_reason_code=code, payment_intent=charge["payment_intent"],
        payment_method_details={"type": "card", "card": card} if brand else {"type": details["type"]},
        reason=reason, status=f"{_INQUIRY if inquiry else ''}needs_response",
    )  # fmt: skip
    charge["disputed"] = True
    tell(world, "charge.dispute.created", made)
    fraud_warnings.settle(world, charge)
    return made


def withdraw(world: World, identity: str) -> Object:
    """Let the bank take the disputed money. An inquiry becomes a chargeback.

    Raises 400 for a closed dispute, and for a dispute whose money the bank has taken already.
    """
    dispute = world.at_path("dispute", identity)
    if dispute["balance_transactions"]:
        raise refused(f"Dispute {identity} has withdrawn its funds already.")
    _require_open(dispute)
    if dispute["status"].startswith(_INQUIRY):
        before = {"is_charge_refundable": dispute["is_charge_refundable"], "status": dispute["status"]}
        dispute.update(is_charge_refundable=False, status="needs_response")
        dispute["payment_method_details"].get("card", {})["case_type"] = "chargeback"
        tell(world, "charge.dispute.updated", dispute, before)
    dispute["balance_transactions"].append(_balance_transaction(world, dispute, withdrawal=True))
    tell(world, "charge.dispute.funds_withdrawn", dispute)
    return dispute


def respond(world: World, identity: str) -> Object:
    """Submit evidence in the dashboard. Raises 400 for a closed dispute."""
    dispute = world.at_path("dispute", identity)
    _require_open(dispute)
    before = {"status": dispute["status"]}
    details = dispute["evidence_details"]
    details.update(has_evidence=True, submission_count=details["submission_count"] + 1)
    dispute["status"] = dispute["status"].replace("needs_response", "under_review")
    tell(world, "charge.dispute.updated", dispute, before)
    return dispute


def close(world: World, identity: str, status: str) -> Object:
    """Close a chargeback as `won` or `lost`, or an inquiry as `warning_closed`.

    Raises 400 for any other status, and for a dispute that is closed already.

    The bank returns the withdrawn money of a dispute that was won.
    """
    dispute = world.at_path("dispute", identity)
    _require_open(dispute)
    inquiry = dispute["status"].startswith(_INQUIRY)
    if status not in ((f"{_INQUIRY}closed",) if inquiry else ("won", "lost")):
        raise refused(f"A dispute that is {dispute['status']} cannot be closed as {status}.")
    dispute["status"] = status
    tell(world, "charge.dispute.closed", dispute)
    if status == "won" and dispute["balance_transactions"]:
        dispute["balance_transactions"].append(_balance_transaction(world, dispute, withdrawal=False))
        tell(world, "charge.dispute.funds_reinstated", dispute)
    return dispute


def _require_open(dispute: Object) -> None:
    if dispute["status"].removeprefix(_INQUIRY) not in _OPEN:
        raise refused(f"Dispute {dispute['id']} is closed: the status is {dispute['status']}.")


def _balance_transaction(world: World, dispute: Object, *, withdrawal: bool) -> Object:
    """Return the balance transaction that takes the disputed money from the account's balance or brings the
    money back, in the account's currency.
    """
    foreign = dispute["currency"] != _SETTLED_IN
    amount = round(dispute["amount"] * (_EXCHANGE_RATE if foreign else 1)) * (-1 if withdrawal else 1)
    fee = _FEE if withdrawal else 0
    named = {"application": None, "currency": _SETTLED_IN, "description": "Dispute fee", "type": "stripe_fee"}
    return {
        "id": f"txn_{secrets.token_hex(12)}",
        "object": "balance_transaction",
        "amount": amount,
        "available_on": world.now(),
        "created": world.now(),
        "currency": _SETTLED_IN,
        "description": f"Chargeback {'withdrawal' if withdrawal else 'reversal'} for {dispute['charge']}",
        "exchange_rate": _EXCHANGE_RATE if foreign else None,
        "fee": fee,
        "fee_details": [{"amount": fee, **named}] if fee else [],
        "net": amount - fee,
        "reporting_category": "dispute" if withdrawal else "dispute_reversal",
        "source": dispute["id"],
        "status": "available",
        "type": "adjustment",
    }


def retrieve(world: World, call: Call) -> Object:
    return world.at_path("dispute", call.path_id)


def list_all(world: World, call: Call) -> Object:
    return world.page("dispute", "/v1/disputes", call.params, **world.named(call.params))
