"""Charges and refunds: money that moved, or failed to move.

Sources: Stripe API reference, "Charges" and "Refunds"; "Refund and cancel payments" (docs.stripe.com/refunds). Refunds
to cards succeed at once, except for two test cards: the refunds of `pendingRefund` are pending at first, and the
refunds of `refundFail` fail later. A charge is succeeded, failed, or (while the payment is processing) pending.
"""

import secrets
from collections.abc import Mapping
from typing import Any

from local.gateway import fraud_warnings, params
from local.gateway.cards import Failure
from local.gateway.errors import bad_parameter, refused
from local.gateway.events import tell
from local.gateway.world import Call, Object, Settlement, World

_REFUND_SETTLES_AFTER = 3600  # seconds on the sandbox's clock

LIST: params.Spec = {
    **params.PAGE,
    "created": params.time_range,
    "customer": params.given,
    "payment_intent": params.given,
}
REFUND: params.Spec = {
    **params.EXPAND,
    "charge": params.given,
    "payment_intent": params.given,
    "amount": params.integer,
    "reason": params.one_of("duplicate", "fraudulent", "requested_by_customer"),
    "metadata": params.metadata,
}
REFUND_LIST: params.Spec = {
    **params.PAGE,
    "created": params.time_range,
    "charge": params.given,
    "payment_intent": params.given,
}


def add(world: World, intent: Object, method: Object, *, authenticated: bool) -> Object:
    """Add a successful charge for the whole amount of the intent, with the intent's metadata."""
    shown = ("brand", "country", "exp_month", "exp_year", "fingerprint", "funding", "last4", "checks", "wallet")
    card = {name: method["card"][name] for name in shown}
    secured = {"authentication_flow": "challenge", "result": "authenticated"} if authenticated else None
    copied = (
        "amount", "currency", "customer", "description", "receipt_email", "statement_descriptor",
        "statement_descriptor_suffix",
    )  # fmt: skip
    return world.add(
        "charge",
        **{name: intent[name] for name in copied},
        amount_captured=intent["amount"],
        amount_refunded=0,
        balance_transaction=None,
        billing_details=method["billing_details"],
        captured=True,
        disputed=False,
        failure_code=None,
        failure_message=None,
        metadata=dict(intent["metadata"]),
        outcome=_outcome("approved_by_network", "authorized", "Payment complete.")
        | {"risk_level": world.cards[method["id"]].risk},
        paid=True,
        payment_intent=intent["id"],
        payment_method=method["id"],
        payment_method_details={"type": "card", "card": {**card, "network": card["brand"], "three_d_secure": secured}},
        receipt_url=None,
        refunded=False,
        status="succeeded",
    )


def fail(charge: Object, failure: Failure) -> None:
    reason = failure["decline_code"]
    message = f"The bank returned the decline code `{reason}`."
    charge.update(
        amount_captured=0, captured=False, paid=False, status="failed",
        failure_code=failure["code"], failure_message=failure["message"],
        outcome=_outcome("declined_by_network", "issuer_declined", message, reason, failure.get("advice_code")),
    )  # fmt: skip


def _outcome(
    network: str, kind: str, message: str, reason: str | None = None, advice_code: str | None = None
) -> Object:
    outcome = {
        "network_status": network,
        "type": kind,
        "seller_message": message,
        "reason": reason,
        "risk_level": "normal",
    }
    return {**outcome, "advice_code": advice_code} if advice_code else outcome


def retrieve(world: World, call: Call) -> Object:
    return world.at_path("charge", call.path_id)


def list_all(world: World, call: Call) -> Object:
    return world.page("charge", "/v1/charges", call.params, **world.named(call.params))


def refund(world: World, call: Call) -> Object:
    charge = _charge_to_refund(world, call.params)
    disputes = [each for each in world.kinds["dispute"].values() if each["charge"] == charge["id"]]
    if not all(dispute["is_charge_refundable"] for dispute in disputes):
        message = f"Charge {charge['id']} has been charged back; cannot issue a refund."
        raise refused(message, code="charge_disputed")
    left = charge["amount"] - charge["amount_refunded"]
    if not left:
        message = f"Charge {charge['id']} has already been refunded."
        raise refused(message, code="charge_already_refunded")
    amount = call.params.get("amount", left)
    if amount < 1:
        raise bad_parameter("Invalid positive integer", "amount", "parameter_invalid_integer")
    if amount > left:
        currency = charge["currency"].upper()
        message = f"Refund amount ({amount} {currency}) is greater than unrefunded amount on charge ({left} {currency})"
        raise refused(message, param="amount")
    fares = world.cards[charge["payment_method"]].refund if charge["payment_method"] in world.cards else "succeeded"
    _give_back(charge, amount)
    made = world.add(
        "refund", amount=amount, balance_transaction=None, charge=charge["id"], currency=charge["currency"],
        destination_details={"card": {"type": "refund"}, "type": "card"},
        metadata=params.merge_metadata({}, call.params.get("metadata", {})),
        payment_intent=charge["payment_intent"], reason=call.params.get("reason"), receipt_number=None,
        source_transfer_reversal=None, status="pending" if fares == "pending" else "succeeded", transfer_reversal=None,
    )  # fmt: skip
    tell(world, "refund.created", made)
    fraud_warnings.settle(world, charge)
    if fares != "succeeded":
        later = world.now() + _REFUND_SETTLES_AFTER
        world.refund_settlements[made["id"]] = Settlement(succeeds=fares == "pending", due=later)
    return made


def _give_back(charge: Object, amount: int) -> None:
    charge["amount_refunded"] += amount
    charge["refunded"] = charge["amount_refunded"] == charge["amount"]


def settle_refund(world: World, identity: str, status: str) -> Object:
    """Give a refund its final status: succeeded, or failed or canceled with the money back in the merchant's balance.

    Follows docs.stripe.com/refunds#failed-refunds. Raises 400 for a refund that has already failed or was canceled.
    """
    made = world.at_path("refund", identity)
    world.refund_settlements.pop(identity, None)
    before = made["status"]
    if before not in ("pending", "succeeded"):
        raise refused(f"Nothing to settle: the status is {before}.")
    if status == before:
        return made
    made["status"] = status
    if status != "succeeded":
        _give_back(world.kinds["charge"][made["charge"]], -made["amount"])
    if status == "failed":
        returned = f"txn_{secrets.token_hex(12)}"
        made.update(failure_reason="expired_or_canceled_card", failure_balance_transaction=returned)
    tell(world, "refund.updated", made, {"status": before})
    if status == "failed":
        tell(world, "refund.failed", made)
    return made


def settle_refunds_due(world: World) -> None:
    """Finish the delayed refunds whose time has come on the sandbox's clock."""
    for identity, succeeds in world.due(world.refund_settlements):
        settle_refund(world, identity, "succeeded" if succeeds else "failed")


def _charge_to_refund(world: World, given: Mapping[str, Any]) -> Object:
    if ("charge" in given) == ("payment_intent" in given):
        message = "You must provide exactly one of the following parameters: charge, payment_intent."
        raise bad_parameter(message, "charge", "parameter_missing")
    if "charge" in given:
        charge = world.referred("charge", given["charge"], "charge")
    else:
        intent = world.referred("payment_intent", given["payment_intent"], "payment_intent")
        charge = world.kinds["charge"].get(intent["latest_charge"], {"paid": False, "payment_intent": intent["id"]})
    if not charge["paid"]:
        intent_id = charge["payment_intent"]
        raise refused(f"This PaymentIntent ({intent_id}) does not have a successful charge to refund.")
    return charge


def retrieve_refund(world: World, call: Call) -> Object:
    return world.at_path("refund", call.path_id)


def list_refunds(world: World, call: Call) -> Object:
    return world.page("refund", "/v1/refunds", call.params, **world.named(call.params))
