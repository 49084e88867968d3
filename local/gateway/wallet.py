"""Customers and their cards.

Sources: Stripe API reference, "Customers" and "PaymentMethods"; "Testing" (docs.stripe.com/testing) for test ids. A
test id `pm_card_...` in place of a payment method creates a fresh card. As on Stripe, a card cannot be used again after
being detached, or after a charge without being attached.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from local.gateway import cards, params
from local.gateway.cards import Card
from local.gateway.errors import GatewayError, bad_parameter, card_error, missing, refused
from local.gateway.events import tell
from local.gateway.world import Call, Object, World

_SPENT = (
    "This PaymentMethod was previously used without being attached to a Customer or was detached from a Customer,"
    " and may not be used again."
)

_ADDRESS = params.fields(dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"), params.text))
_CONTACT: params.Spec = {**dict.fromkeys(("email", "name", "phone"), params.text), "address": _ADDRESS}
CUSTOMER: params.Spec = {
    **params.EXPAND,
    **_CONTACT,
    "description": params.text,
    "metadata": params.metadata,
    "invoice_settings": params.fields({"default_payment_method": params.text}),
}
CUSTOMER_CREATE: params.Spec = {**CUSTOMER, "payment_method": params.given}
METHOD_CREATE: params.Spec = {
    **params.EXPAND,
    "type": params.one_of("card"),
    "card": params.fields(
        {
            "number": params.given,
            "exp_month": params.integer,
            "exp_year": params.integer,
            "cvc": params.given,
            "token": params.given,
        }
    ),
    "billing_details": params.fields(_CONTACT),
    "metadata": params.metadata,
}
ATTACH: params.Spec = {**params.EXPAND, "customer": params.given}
CUSTOMERS_METHODS: params.Spec = {**params.PAGE, "type": params.one_of("card")}
METHODS: params.Spec = {**CUSTOMERS_METHODS, "customer": params.given}


def create_customer(world: World, call: Call) -> Object:
    customer = world.add(
        "customer", address=None, balance=0, currency=None, default_source=None, delinquent=False, description=None,
        email=None, name=None, phone=None, preferred_locales=[], shipping=None, tax_exempt="none", metadata={},
        invoice_settings={"custom_fields": None, "default_payment_method": None, "footer": None},
    )  # fmt: skip
    try:
        if "payment_method" in call.params:
            attach_to(world, find_method(world, call.params["payment_method"]), customer["id"])
        return _change_customer(world, customer, call.params)
    except GatewayError:
        del world.kinds["customer"][customer["id"]]
        raise


def update_customer(world: World, call: Call) -> Object:
    return _change_customer(world, world.at_path("customer", call.path_id), call.params)


def retrieve_customer(world: World, call: Call) -> Object:
    """Return the customer. A deleted customer is still answered, marked as deleted
    (docs.stripe.com/api/customers/retrieve).
    """
    return world.deleted.get(call.path_id) or world.at_path("customer", call.path_id)


def delete_customer(world: World, call: Call) -> Object:
    """Delete the customer. No further call can name the customer."""
    customer = world.at_path("customer", call.path_id)
    del world.kinds["customer"][customer["id"]]
    world.deleted[customer["id"]] = {"id": customer["id"], "object": "customer", "deleted": True}
    return world.deleted[customer["id"]]


def _change_customer(world: World, customer: Object, change: Any) -> Object:
    default = change.get("invoice_settings", {}).get("default_payment_method")
    if default is not None:
        param = "invoice_settings[default_payment_method]"
        if world.referred("payment_method", default, param)["customer"] != customer["id"]:
            raise refused(f"The customer does not have a payment method with the ID {default}.", param=param)
    customer["invoice_settings"].update(change.get("invoice_settings", {}))
    customer["metadata"] = params.merge_metadata(customer["metadata"], change.get("metadata", {}))
    plain = ("address", "description", "email", "name", "phone")
    customer.update({name: change[name] for name in plain if name in change})
    return customer


def create_method(world: World, call: Call) -> Object:
    given = call.params.get("card", {})
    today = datetime.fromtimestamp(world.now(), UTC)
    if "token" in given:
        card, expiry = cards.by_token(given["token"]), None
    else:
        for name in ("number", "exp_month", "exp_year"):
            if name not in given:
                param = f"card[{name}]"
                raise bad_parameter(f"Missing required param: {param}.", param, "parameter_missing")
        card = cards.by_number(given["number"])
        expiry = cards.check_details(
            given["exp_month"], given["exp_year"], given.get("cvc"), today=(today.year, today.month)
        )
    method = _add_method(world, card, expiry)
    method["billing_details"].update(call.params.get("billing_details", {}))
    method["metadata"] = params.merge_metadata({}, call.params.get("metadata", {}))
    return method


def _add_method(world: World, card: Card, expiry: tuple[int, int] | None = None) -> Object:
    month, year = expiry or (12, datetime.fromtimestamp(world.now(), UTC).year + 3)
    method = world.add(
        "payment_method",
        type="card",
        customer=None,
        allow_redisplay="unspecified",
        billing_details={"address": None, "email": None, "name": None, "phone": None, "tax_id": None},
        metadata={},
        card={
            "brand": card.brand, "display_brand": card.brand, "country": card.country, "funding": card.funding,
            "exp_month": month, "exp_year": year, "fingerprint": card.fingerprint, "last4": card.number[-4:],
            "checks": {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "unchecked"},
            "generated_from": None, "networks": {"available": [card.brand], "preferred": None}, "wallet": None,
            "three_d_secure_usage": {"supported": True},
        },
    )  # fmt: skip
    if card.failed_check:
        method["card"]["checks"][card.failed_check] = "fail"
    world.cards[method["id"]] = card
    return method


def find_method(world: World, identity: str, param: str = "payment_method", *, in_path: bool = False) -> Object:
    """Return the payment method, or a fresh card for a test id. Raises 400, or 404 if the URL names the payment
    method.
    """
    if identity.startswith("pm_card_"):
        card = cards.by_test_id(identity)
        if card is None:
            raise missing("PaymentMethod", identity, param, in_path=in_path)
        return _add_method(world, card)
    if in_path:
        return world.at_path("payment_method", identity)
    return world.referred("payment_method", identity, param)


def retrieve_method(world: World, call: Call) -> Object:
    return find_method(world, call.path_id, in_path=True)


def attach(world: World, call: Call) -> Object:
    customer = world.referred("customer", call.params["customer"], "customer")
    return attach_to(world, find_method(world, call.path_id, in_path=True), customer["id"])


def attach_to(world: World, method: Object, customer: str) -> Object:
    """Attach the card to the customer.

    Raises 402 if the bank declines saving the card, 400 if the card belongs to a different customer or is used up.
    """
    if method["id"] in world.used_up:
        raise refused(_SPENT)
    if method["customer"] not in (None, customer):
        raise refused("The payment method you provided has already been attached to a customer.")
    card = world.cards[method["id"]]
    if card.decline and not card.attachable:
        raise card_error(card.decline)
    method["customer"] = customer
    return method


def detach(world: World, call: Call) -> Object:
    method = world.at_path("payment_method", call.path_id)
    if method["customer"] is None:
        message = "The payment method you provided is not attached to a customer so detachment is impossible."
        raise refused(message)
    method["customer"] = None
    world.used_up.add(method["id"])
    tell(world, "payment_method.detached", method)
    return method


def update_automatically(world: World, identity: str, change: Mapping[str, Any]) -> Object:
    """Play the card network that tells the gateway the details of a renewed card
    (docs.stripe.com/payments/cards/overview#automatic-card-updates). Raises 400 for anything but exp_month, exp_year
    and last4.
    """
    card = world.at_path("payment_method", identity)["card"]
    if not change or not set(change) <= {"exp_month", "exp_year", "last4"}:
        raise refused("An automatic update changes exp_month, exp_year or last4.")
    before = {"card": {name: card[name] for name in change}}
    card.update(change)
    method = world.kinds["payment_method"][identity]
    tell(world, "payment_method.automatically_updated", method, before)
    return method


def check_usable(method: Object, customer: str | None, world: World, **details: Any) -> None:
    """Raise 400 unless a payment of `customer` (None: of no customer) may use this card."""
    identity, owner = method["id"], method["customer"]
    if identity in world.used_up:
        raise refused(_SPENT, **details)
    if owner is not None and customer is None:
        message = (
            f"The `payment_method` parameter supplied {identity} belongs to the Customer {owner}. Please include the"
            " Customer in the `customer` parameter on the PaymentIntent."
        )
        raise refused(message, code="parameter_missing", param="source", **details)
    if owner not in (None, customer):
        message = (
            f"The PaymentMethod {identity} does not belong to the Customer you supplied {customer}. Please use this"
            " PaymentMethod with the Customer that it belongs to instead."
        )
        raise refused(message, param="payment_method", **details)


def list_methods(world: World, call: Call) -> Object:
    """Return the customer's payment methods. Without a customer the list is empty, as on Stripe."""
    identity = call.params.get("customer", "")
    if identity:
        world.referred("customer", identity, "customer")
    return world.page("payment_method", "/v1/payment_methods", call.params, customer=identity)


def list_customers_methods(world: World, call: Call) -> Object:
    world.at_path("customer", call.path_id)
    url = f"/v1/customers/{call.path_id}/payment_methods"
    return world.page("payment_method", url, call.params, customer=call.path_id)
