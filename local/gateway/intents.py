"""PaymentIntents: the only objects through which money moves, and their states.

    requires_payment_method -> requires_confirmation -> (requires_action ->) (processing ->) succeeded
    a declined attempt: back to requires_payment_method, with last_payment_error; `canceled` is final

Sources: Stripe, "How PaymentIntents work" (docs.stripe.com/payments/paymentintents/lifecycle), API reference
"PaymentIntents", "Error codes" for payment_intent_unexpected_state and authentication_required. An intent succeeds only
once, because an attempt is possible only in the three states whose names begin with "requires". Every attempt that
reaches the bank adds a charge to the intent.
"""

import secrets
from typing import Any

from local.gateway import charges, disputes, params, wallet
from local.gateway.cards import AUTHENTICATION_REQUIRED, Failure
from local.gateway.currencies import check_amount
from local.gateway.errors import GatewayError, bad_parameter, card_error, refused
from local.gateway.events import tell
from local.gateway.world import Call, Challenge, Object, Settlement, World

_OPEN = ("requires_payment_method", "requires_confirmation", "requires_action")

_MOST_CONFIRMATIONS = 10
"""Stripe cancels an intent after too many confirmations, and names no number. The sandbox takes the number of declines
that others have measured. Every confirmation counts, also a confirmation that fails at the bank's page, or to which the
customer gives no answer (docs.stripe.com/api/payment_intents/confirm)."""

_CHALLENGE_LASTS = 3600
"""For this many seconds, the customer can answer at the bank's page. Afterwards the intent stays in `requires_action`,
and only a further confirmation begins a new challenge."""

_NOTIFIED_FOR = 26 * 3600
"""For this many seconds, an off-session payment with a card issued in India stays in `processing`, while the customer
is notified (docs.stripe.com/india-recurring-payments)."""


def _types(given: Any) -> list[str] | None:
    chosen: list[str] | None = given.get("allowed_payment_method_types")
    return chosen


def _keep_options(intent: Object, given: Any) -> None:
    """Store the card options. Raises 400 for `stored_credential_usage` together with `setup_future_usage`: the first
    option is about a card that is already saved, and the second option saves a card.

    See docs.stripe.com/payments/cards/charging-saved-cards.
    """
    card = given.get("payment_method_options", {}).get("card", {})
    if "stored_credential_usage" in card and given.get("setup_future_usage", intent["setup_future_usage"]):
        param = "payment_method_options[card][stored_credential_usage]"
        raise refused("stored_credential_usage cannot be used with setup_future_usage.", param=param)
    intent["payment_method_options"]["card"].update(card)


_STORED = (
    "amount", "customer", "description", "receipt_email", "setup_future_usage", "statement_descriptor",
    "statement_descriptor_suffix",
)  # fmt: skip


def create(world: World, call: Call) -> Object:
    given = call.params
    currency = given["currency"].lower()
    check_amount(given["amount"], currency)
    if given.get("off_session") and not given.get("confirm"):
        raise bad_parameter("off_session can only be used when confirm is true.", "off_session")
    customer = given.get("customer")
    if customer is not None:
        world.referred("customer", customer, "customer")
    method = wallet.find_method(world, given["payment_method"]) if "payment_method" in given else None
    if method:
        wallet.check_usable(method, customer, world)
    intent = world.add(
        "payment_intent",
        **{name: given.get(name) for name in _STORED},
        currency=currency,
        amount_capturable=0, amount_details={"tip": {}}, amount_received=0, application=None,
        application_fee_amount=None, automatic_payment_methods=_automatic(given), canceled_at=None,
        cancellation_reason=None, capture_method="automatic_async", confirmation_method="automatic",
        last_payment_error=None, latest_charge=None,
        metadata=params.merge_metadata({}, given.get("metadata", {})),
        next_action=None, on_behalf_of=None, payment_method=method and method["id"],
        payment_method_options={"card": {"request_three_d_secure": "automatic"}},
        payment_method_types=_types(given) or ["card"], processing=None, review=None,
        shipping=None, status="requires_confirmation" if method else "requires_payment_method",
        transfer_data=None, transfer_group=None,
    )  # fmt: skip
    _keep_options(intent, given)
    intent["client_secret"] = f"{intent['id']}_secret_{secrets.token_hex(12)}"
    tell(world, "payment_intent.created", intent)
    return _attempt(world, intent, call) if given.get("confirm") else intent


def _automatic(given: Any) -> Object | None:
    """Return the automatic payment methods; None if the call names the types of payment methods. Without named types,
    the account's settings decide, and the settings allow payment methods that redirect the customer.
    """
    if _types(given):
        return None
    chosen = given.get("automatic_payment_methods", {"enabled": True})
    return {"allow_redirects": "always", **chosen} if chosen["enabled"] else None


def retrieve(world: World, call: Call) -> Object:
    return world.at_path("payment_intent", call.path_id)


def list_all(world: World, call: Call) -> Object:
    customer = call.params.get("customer")
    if customer is not None:
        world.referred("customer", customer, "customer")
    return world.page("payment_intent", "/v1/payment_intents", call.params, customer=customer)


def update(world: World, call: Call) -> Object:
    intent, given = world.at_path("payment_intent", call.path_id), call.params
    fixed = [name for name in ("amount", "currency", "customer", "payment_method") if name in given]
    if fixed and intent["status"] not in _OPEN:
        message = (
            f"This PaymentIntent's {fixed[0]} could not be updated because it has a status of {intent['status']}. You"
            f" may only update the {fixed[0]} of a PaymentIntent with one of the following statuses:"
            f" {', '.join(_OPEN)}."
        )
        raise unexpected(message, intent, param=fixed[0])
    currency = given.get("currency", intent["currency"]).lower()
    check_amount(given.get("amount", intent["amount"]), currency)
    customer = given.get("customer", intent["customer"])
    if "customer" in given:
        world.referred("customer", customer, "customer")
    if "payment_method" in given:
        method = wallet.find_method(world, given["payment_method"])
        wallet.check_usable(method, customer, world, payment_intent=intent)
        intent.update(payment_method=method["id"], status="requires_confirmation", next_action=None)
    _keep_options(intent, given)
    intent.update({name: given[name] for name in _STORED if name in given}, currency=currency)
    intent["metadata"] = params.merge_metadata(intent["metadata"], given.get("metadata", {}))
    return intent


def confirm(world: World, call: Call) -> Object:
    intent = world.at_path("payment_intent", call.path_id)
    if intent["status"] == "succeeded":
        message = (
            "You cannot confirm this PaymentIntent because it has already succeeded after being previously confirmed."
        )
        raise unexpected(message, intent)
    if intent["status"] not in _OPEN:
        message = (
            f"You cannot confirm this PaymentIntent because it has a status of {intent['status']}. Only a"
            f" PaymentIntent with one of the following statuses may be confirmed: {', '.join(_OPEN)}."
        )
        raise unexpected(message, intent)
    return _attempt(world, intent, call)


def cancel(world: World, call: Call) -> Object:
    """Cancel an open intent. An intent in `processing` is refused: Stripe allows the cancellation only "in rare
    cases".
    """
    intent = world.at_path("payment_intent", call.path_id)
    if intent["status"] not in _OPEN:
        message = (
            f"You cannot cancel this PaymentIntent because it has a status of {intent['status']}. Only a PaymentIntent"
            f" with one of the following statuses may be canceled: {', '.join(_OPEN)}."
        )
        raise unexpected(message, intent)
    reason = call.params.get("cancellation_reason")
    intent.update(status="canceled", canceled_at=world.now(), cancellation_reason=reason, next_action=None)
    tell(world, "payment_intent.canceled", intent)
    return intent


def _attempt(world: World, intent: Object, call: Call) -> Object:
    """Confirm an open intent. Raises 402 for a decline, 400 for an impossible attempt."""
    given = call.params
    method = _method_to_charge(world, intent, given.get("payment_method"))
    types = _types(given)
    redirecting = not types and (intent["automatic_payment_methods"] or {}).get("allow_redirects") == "always"
    if redirecting and "return_url" not in given:
        message = (
            "This PaymentIntent is configured to accept payment methods enabled in your Dashboard. Because some of"
            " these payment methods might redirect your customer off of your page, you must provide a `return_url`."
            " If you don't want to accept redirect-based payment methods, set"
            " `automatic_payment_methods[enabled]` to `true` and `automatic_payment_methods[allow_redirects]` to"
            " `never` when creating Setup Intents and Payment Intents."
        )
        raise refused(message, payment_intent=intent)
    _keep_options(intent, given)
    intent.update({name: given[name] for name in ("receipt_email", "setup_future_usage") if name in given})
    if types:
        intent.update(payment_method_types=types, automatic_payment_methods=None)
    if world.confirmations[intent["id"]] >= _MOST_CONFIRMATIONS:  # the last confirmation still waits for an answer
        return _cancel_automatically(world, intent)
    world.confirmations[intent["id"]] += 1
    off_session = bool(given.get("off_session"))
    if _asks_for_authentication(world, method, off_session=off_session):
        if off_session:
            raise _declined(world, intent, method, AUTHENTICATION_REQUIRED, bare=call.bare)
        return _ask_customer(world, intent, method, given.get("return_url"))
    processing = call.processing
    if off_session and world.cards[method["id"]].country == "IN" and processing is None:
        processing = Settlement(succeeds=True, due=world.now() + _NOTIFIED_FOR)
    return charge(world, intent, method, processing, bare=call.bare)


def _ask_customer(world: World, intent: Object, method: Object, return_url: str | None) -> Object:
    """Wait for the customer's confirmation at the bank. With a return_url, the customer is to be sent to the bank's
    page (`pages.py`). Each confirmation begins a new challenge, at a new address, and an earlier challenge is over.

    The error of an earlier attempt is cleared, as whenever an intent is updated
    (docs.stripe.com/api/payment_intents/object#payment_intent_object-last_payment_error).
    """
    action: Object = {"type": "use_stripe_sdk", "use_stripe_sdk": {"type": "three_d_secure_redirect"}}
    challenge = secrets.token_hex(12)
    world.challenges[intent["id"]] = Challenge(challenge, world.now() + _CHALLENGE_LASTS)
    if return_url is not None:
        urls = {"return_url": return_url, "url": f"{world.url}/bank/{intent['id']}/{challenge}"}
        action = {"type": "redirect_to_url", "redirect_to_url": urls}
    intent.update(
        status="requires_action", payment_method=method["id"], next_action=action, last_payment_error=None
    )  # fmt: skip
    tell(world, "payment_intent.requires_action", intent)
    return intent


def _method_to_charge(world: World, intent: Object, named: str | None) -> Object:
    identity = named or intent["payment_method"]
    if identity is None:
        message = "You cannot confirm this PaymentIntent because it's missing a payment method."
        if intent["customer"]:
            message += (
                f" To confirm the PaymentIntent with {intent['customer']}, specify a payment method attached to this"
                " customer along with the customer ID."
            )
        raise unexpected(message, intent)
    method = wallet.find_method(world, identity)
    wallet.check_usable(method, intent["customer"], world, payment_intent=intent)
    return method


def _asks_for_authentication(world: World, method: Object, *, off_session: bool) -> bool:
    asks = world.cards[method["id"]].authentication
    if asks == "unless_set_up":
        return not off_session or method["id"] not in world.set_up
    return asks == "always" or (asks == "on_session" and not off_session)


def charge(
    world: World,
    intent: Object,
    method: Object,
    processing: Settlement | None = None,
    *,
    authenticated: bool = False,
    bare: bool = False,
) -> Object:
    """Attempt the card once. The attempt adds a charge, and the charge succeeds, fails (raises 402), or is pending
    while the intent is in `processing`.
    """
    decline = world.cards[method["id"]].decline
    if decline:
        raise _declined(world, intent, method, decline, attempted=True, bare=bare)
    charge = charges.add(world, intent, method, authenticated=authenticated)
    intent.update(payment_method=method["id"], latest_charge=charge["id"], next_action=None)
    _keep_or_use_up(world, intent, method)
    if processing:
        charge.update(status="pending", paid=False, captured=False, amount_captured=0)
        intent["status"] = "processing"
        if world.cards[method["id"]].country == "IN":
            notified = {"approval_requested": False, "completes_at": processing.due and int(processing.due)}
            intent["processing"] = {"type": "card", "card": {"customer_notification": notified}}
        world.settlements[intent["id"]] = processing
        tell(world, "payment_intent.processing", intent)
    else:
        succeed(world, intent, charge)
    return intent


def succeed(world: World, intent: Object, charge: Object) -> None:
    """Record that the money moved. The money of some test cards is disputed at once
    (docs.stripe.com/testing#disputes).
    """
    intent.update(
        status="succeeded", amount_received=intent["amount"], last_payment_error=None, processing=None
    )  # fmt: skip
    tell(world, "payment_intent.succeeded", intent)
    disputes.by_card(world, charge)


def _keep_or_use_up(world: World, intent: Object, method: Object) -> None:
    """Mark an unattached card as used up, or, with `setup_future_usage`, attach the card to the intent's customer."""
    if intent["setup_future_usage"] == "off_session":
        world.set_up.add(method["id"])
    if method["customer"] is None:
        if intent["setup_future_usage"] and intent["customer"]:
            method["customer"] = intent["customer"]
        else:
            world.used_up.add(method["id"])


def _declined(
    world: World, intent: Object, method: Object, failure: Failure, *, attempted: bool = False, bare: bool = False
) -> GatewayError:
    """Record a declined attempt, and return the 402.

    Every attempt that reached the bank leaves a failed charge. An off-session attempt refused for lack of
    authentication does not reach the bank.
    """
    charge_id = None
    if attempted:
        charge = charges.add(world, intent, method, authenticated=False)
        charges.fail(charge, failure)
        charge_id = intent["latest_charge"] = charge["id"]
    error = {"type": "card_error", **failure, "charge": charge_id, "payment_method": dict(method)}
    fail(world, intent, error, bare=bare)
    if bare:
        failure = {"message": failure["message"]}
    return card_error(failure, charge=charge_id, payment_intent=intent, payment_method=method)


def fail(world: World, intent: Object, error: Object, *, bare: bool = False) -> None:
    """Record a failed confirmation. After too many confirmations, the intent is canceled."""
    error = {name: value for name, value in error.items() if value is not None}
    error["doc_url"] = f"https://stripe.com/docs/error-codes/{error['code'].replace('_', '-')}"
    if bare:
        error = {name: error[name] for name in ("type", "message")}
    intent.update(
        status="requires_payment_method", payment_method=None, next_action=None, last_payment_error=error,
        processing=None,
    )  # fmt: skip
    tell(world, "payment_intent.payment_failed", intent)
    if world.confirmations[intent["id"]] >= _MOST_CONFIRMATIONS:
        _cancel_automatically(world, intent)


def _cancel_automatically(world: World, intent: Object) -> Object:
    intent.update(status="canceled", canceled_at=world.now(), cancellation_reason="automatic", next_action=None)
    tell(world, "payment_intent.canceled", intent)
    return intent


def unexpected(message: str, intent: Object, **details: Any) -> GatewayError:
    return refused(message, code="payment_intent_unexpected_state", payment_intent=intent, **details)
