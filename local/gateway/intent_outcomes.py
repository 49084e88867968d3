"""What becomes of a PaymentIntent without a call of the API: the customer confirms or fails at the bank, a bank decides
at last, or the customer pays a different system.

Sources: as for `intents.py`.
"""

from local.gateway import charges, intents
from local.gateway.cards import GENERIC_DECLINE
from local.gateway.errors import GatewayError
from local.gateway.events import tell
from local.gateway.world import Object, World


def authenticate(world: World, identity: str, *, succeeds: bool) -> Object:
    """Play the customer at the bank's 3-D Secure page.

    The intent must be in requires_action, or the last off-session attempt must have been refused as
    authentication_required: in the second case the customer confirms on session, with the refused card. Raises 400 in
    any other state.
    """
    intent = world.at_path("payment_intent", identity)
    refusal = intent["last_payment_error"] or {}
    if intent["status"] == "requires_action":
        method_id = intent["payment_method"]
    elif intent["status"] == "requires_payment_method" and refusal.get("code") == "authentication_required":
        method_id = refusal["payment_method"]["id"]
        world.confirmations[identity] += 1
    else:
        raise intents.unexpected(f"Nothing to authenticate: the status is {intent['status']}.", intent)
    method = world.referred("payment_method", method_id, "payment_method")
    if not succeeds:
        message = (
            "The provided PaymentMethod has failed authentication. You can provide payment_method_data or a new"
            " PaymentMethod to attempt to fulfill this PaymentIntent again."
        )
        code = "payment_intent_authentication_failure"
        error = {"type": "invalid_request_error", "code": code, "message": message, "payment_method": dict(method)}
        intents.fail(world, intent, error)
        return intent
    try:
        return intents.charge(world, intent, method, authenticated=True)
    except GatewayError:  # the bank may decline an authenticated payment too; the intent shows the decline
        return intent


def paid_elsewhere(world: World, customer: str, amount: int, currency: str, kind: str) -> Object:
    """Add a payment of this customer made through a different system, by Link or another `kind` that is not a card.

    The intent and the charge are made without the attributes that Stripe may leave out.
    """
    world.referred("customer", customer, "customer")
    intent = world.add(
        "payment_intent", amount=amount, amount_received=amount, currency=currency, customer=customer, metadata={},
        capture_method="automatic", confirmation_method="automatic", payment_method_types=[kind],
        status="succeeded",
    )  # fmt: skip
    charge = world.add(
        "charge", amount=amount, amount_captured=amount, amount_refunded=0, currency=currency, customer=customer,
        billing_details={}, captured=True, disputed=False, metadata={}, paid=True, payment_intent=intent["id"],
        payment_method=None, payment_method_details={"type": kind}, refunded=False, status="succeeded",
        failure_code=None,
    )  # fmt: skip
    intent["latest_charge"] = charge["id"]
    tell(world, "payment_intent.succeeded", intent)
    return intent


def settle(world: World, identity: str, *, succeeds: bool) -> Object:
    """End the state `processing` of an intent, with success or with a decline. Raises 400 if the intent has any other
    state.
    """
    intent = world.at_path("payment_intent", identity)
    if intent["status"] != "processing":
        raise intents.unexpected(f"Nothing to settle: the status is {intent['status']}.", intent)
    del world.settlements[identity]
    charge = world.kinds["charge"][intent["latest_charge"]]
    if succeeds:
        charge.update(status="succeeded", paid=True, captured=True, amount_captured=charge["amount"])
        intents.succeed(world, intent, charge)
    else:
        charges.fail(charge, GENERIC_DECLINE)
        method = world.kinds["payment_method"][charge["payment_method"]]
        error = {"type": "card_error", **GENERIC_DECLINE, "charge": charge["id"], "payment_method": dict(method)}
        intents.fail(world, intent, error)
    return intent


def settle_due(world: World) -> None:
    """End `processing` for all intents whose time has come on the sandbox's clock."""
    for identity, succeeds in world.due(world.settlements):
        settle(world, identity, succeeds=succeeds)
