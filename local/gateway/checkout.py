"""Checkout Sessions in setup mode, and their SetupIntents: the customer saves a new card at the gateway's own page.

    session       open -> complete | expired
    SetupIntent   requires_payment_method -> succeeded | canceled

Sources: Stripe API reference, "Checkout Sessions", "SetupIntents" and "SetupAttempts"; "Set up future payments"
(docs.stripe.com/payments/checkout/save-and-reuse). `pages.py` serves the page.
"""

import re
from typing import Any

from local.gateway import params, wallet
from local.gateway.errors import GatewayError, bad_parameter, refused
from local.gateway.events import tell
from local.gateway.intent_params import TYPES
from local.gateway.world import Call, Object, World

SESSION_ID = "{CHECKOUT_SESSION_ID}"
"""Stripe replaces this text in a success_url by the session's id."""

_SHORTEST, _LONGEST = 30 * 60, 24 * 3600
_LOCALES = (
    "auto", "bg", "cs", "da", "de", "el", "en", "en-GB", "es", "es-419", "et", "fi", "fil", "fr", "fr-CA", "hi-IN",
    "hr", "hu", "id", "it", "ja", "ko", "lt", "lv", "ms", "mt", "nb", "nl", "pl", "pt", "pt-BR", "ro", "ru", "sk", "sl",
    "sv", "th", "tr", "vi", "zh", "zh-HK", "zh-TW",
)  # fmt: skip


def _url(value: Any, name: str) -> str:
    url = params.given(value, name)
    if not re.fullmatch(r"https?://[^\s/]+\S*", url):
        raise bad_parameter("Not a valid URL", name, "url_invalid")
    return url


CREATE: params.Spec = {
    **params.EXPAND,
    **TYPES,
    "cancel_url": _url,
    "client_reference_id": params.given,
    "currency": params.given,
    "customer": params.given,
    "expires_at": params.integer,
    "locale": params.one_of(*_LOCALES),
    "metadata": params.metadata,
    "mode": params.one_of("setup"),
    "setup_intent_data": params.fields({"description": params.text, "metadata": params.metadata}),
    "success_url": _url,
    "ui_mode": params.one_of("hosted_page"),
}


def create(world: World, call: Call) -> Object:
    """Open a session in setup mode.

    Raises 400 without a success_url, without both a currency and the allowed types of payment methods, and for an end
    that is not between 30 minutes and 24 hours ahead.
    """
    given, now = call.params, world.now()
    if "success_url" not in given:
        raise bad_parameter("Missing required param: success_url.", "success_url", "parameter_missing")
    if "currency" not in given and "allowed_payment_method_types" not in given:
        message = "`currency` is required in `setup` mode when `allowed_payment_method_types` is not set."
        raise bad_parameter(message, "currency", "parameter_missing")
    ends = given.get("expires_at", now + _LONGEST)
    if not now + _SHORTEST <= ends <= now + _LONGEST:
        message = "The `expires_at` timestamp must be between 30 minutes and 24 hours from Checkout Session creation."
        raise bad_parameter(message, "expires_at")
    customer = given.get("customer")
    if customer is not None:
        world.referred("customer", customer, "customer")
    of_intent = given.get("setup_intent_data", {})
    types = given.get("allowed_payment_method_types", ["card"])
    intent = world.add(
        "setup_intent", application=None, attach_to_self=False, automatic_payment_methods=None,
        cancellation_reason=None, customer=customer, description=of_intent.get("description"), last_setup_error=None,
        latest_attempt=None, mandate=None, metadata=params.merge_metadata({}, of_intent.get("metadata", {})),
        next_action=None, on_behalf_of=None, payment_method=None, payment_method_types=types,
        status="requires_payment_method", usage="off_session",
    )  # fmt: skip
    session = world.add(
        "checkout.session", after_expiration=None, amount_subtotal=None, amount_total=None,
        cancel_url=given.get("cancel_url"), client_reference_id=given.get("client_reference_id"),
        currency=given.get("currency"), customer=customer, customer_creation=None, customer_email=None,
        expires_at=ends, invoice=None, locale=given.get("locale"),
        metadata=params.merge_metadata({}, given.get("metadata", {})), mode="setup", payment_intent=None,
        payment_link=None, payment_method_types=types, payment_status="no_payment_required", recovered_from=None,
        setup_intent=intent["id"], status="open", submit_type=None, subscription=None,
        success_url=given["success_url"], ui_mode="hosted_page",
    )  # fmt: skip
    session["url"] = f"{world.url}/c/pay/{session['id']}"
    tell(world, "setup_intent.created", intent)
    return session


def retrieve(world: World, call: Call) -> Object:
    return world.at_path("checkout.session", call.path_id)


def retrieve_intent(world: World, call: Call) -> Object:
    return world.at_path("setup_intent", call.path_id)


def expire(world: World, call: Call) -> Object:
    """End an open session. Raises 400 for any other session."""
    session = world.at_path("checkout.session", call.path_id)
    if session["status"] != "open":
        message = (
            'Only Checkout Sessions with a status in ["open"] can be expired. This Checkout Session has a status of'
            f" `{session['status']}`."
        )
        raise refused(message)
    session.update(status="expired", url=None)
    intent = world.kinds["setup_intent"][session["setup_intent"]]
    intent.update(status="canceled", cancellation_reason="abandoned")
    tell(world, "setup_intent.canceled", intent)
    tell(world, "checkout.session.expired", session)
    return session


def expire_due(world: World) -> None:
    """End the open sessions whose time is over on the sandbox's clock."""
    now = world.now()
    for session in world.kinds["checkout.session"].values():
        if session["status"] == "open" and session["expires_at"] <= now:
            expire(world, Call(session["id"], {}))


def give_card(world: World, identity: str, method: Object, *, authenticated: bool = False) -> Object:
    """Play the customer who saves this new card at the page. The card is attached to the session's customer.

    Raises:
        GatewayError: 402 if the bank declines saving the card, or the customer fails at the bank; the session stays
            open. 400 for a session that is not open.
    """
    session = world.at_path("checkout.session", identity)
    if session["status"] != "open":
        raise refused(f"This Checkout Session is {session['status']}.")
    intent = world.kinds["setup_intent"][session["setup_intent"]]
    attempt = world.add(
        "setup_attempt", application=None, attach_to_self=False, customer=session["customer"], flow_directions=None,
        on_behalf_of=None, payment_method=method["id"], payment_method_details={"type": "card", "card": {}},
        setup_error=None, setup_intent=intent["id"], status="succeeded", usage="off_session",
    )  # fmt: skip
    intent["latest_attempt"] = attempt["id"]
    try:
        if session["customer"] is not None:
            wallet.attach_to(world, method, session["customer"])
    except GatewayError as declined:
        return _failed(world, intent, attempt, method, declined)
    if authenticated:
        world.set_up.add(method["id"])
    intent.update(status="succeeded", payment_method=method["id"], last_setup_error=None)
    session.update(status="complete", url=None)
    tell(world, "setup_intent.succeeded", intent)
    tell(world, "checkout.session.completed", session)
    return session


def fail_authentication(world: World, identity: str, method: Object) -> Object:
    """Play the customer who fails at the bank while saving a card. The session stays open. Raises 402 always."""
    session = world.at_path("checkout.session", identity)
    intent = world.kinds["setup_intent"][session["setup_intent"]]
    message = (
        "The latest attempt to set up the payment method has failed because authentication failed. Try again, or use"
        " a different card."
    )
    error = GatewayError(
        402, "card_error", message, kept=True, code="setup_intent_authentication_failure", payment_method=dict(method)
    )
    return _failed(world, intent, None, method, error)


def _failed(world: World, intent: Object, attempt: Object | None, method: Object, error: GatewayError) -> Object:
    if attempt is not None:
        attempt.update(status="failed", setup_error=dict(error.error))
    intent["last_setup_error"] = {**error.error, "payment_method": dict(method)}
    tell(world, "setup_intent.setup_failed", intent)
    raise error
