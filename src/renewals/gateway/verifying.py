"""Check a customer and a card at the gateway: can the customer's card be charged at all?

Every way to add a subscription makes the check first. A customer or card unknown to the gateway would otherwise look
right in the subscription, and be refused on the day of the renewal.
"""

from collections.abc import Iterator

from renewals.domain.errors import BadRow
from renewals.gateway.port import CARD, Gateway


def faults(gateway: Gateway, gateway_customer: str, payment_method: str) -> list[BadRow]:
    """Return the faults of the customer and the card, by attribute; empty if the card can be charged. Raises the
    gateway's errors."""
    return [*_of_customer(gateway, gateway_customer), *of_card(gateway, gateway_customer, payment_method)]


def of_card(gateway: Gateway, gateway_customer: str, payment_method: str) -> Iterator[BadRow]:
    """Iterate over the faults of a card for this customer. Raises the gateway's errors."""
    saved = gateway.saved(payment_method)
    if saved is None:
        yield BadRow("payment_method", "is not known to the gateway")
    elif saved.kind != CARD:
        yield BadRow("payment_method", "is not a card")
    elif saved.gateway_customer is None:
        yield BadRow("payment_method", "is saved for no customer of the gateway: it was detached, or never attached")
    elif saved.gateway_customer != gateway_customer:
        yield BadRow("payment_method", "is saved for another customer of the gateway")


def _of_customer(gateway: Gateway, gateway_customer: str) -> Iterator[BadRow]:
    if not gateway.has_customer(gateway_customer):
        yield BadRow("gateway_customer", "is not known to the gateway, or was deleted there")
