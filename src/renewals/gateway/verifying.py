"""Customer and card as the gateway has them: whether this card of this customer can be charged at all.

Asked before a subscription is taken in, by whatever way it comes: what the gateway does not know would stand there as
if it were right, and be refused on the day of its renewal.
"""

from collections.abc import Iterator

from renewals.domain.errors import BadRow
from renewals.gateway.port import CARD, Gateway


def faults(gateway: Gateway, gateway_customer: str, payment_method: str) -> list[BadRow]:
    """What is wrong with the two, each named; nothing where the card can be charged. Raises what the gateway does."""
    return [*_of_customer(gateway, gateway_customer), *of_card(gateway, gateway_customer, payment_method)]


def of_card(gateway: Gateway, gateway_customer: str, payment_method: str) -> Iterator[BadRow]:
    """What is wrong with a card for this customer. Raises what the gateway does."""
    saved = gateway.saved(payment_method)
    if saved is None:
        yield BadRow("payment_method", "is not known to the gateway")
    elif saved.kind != CARD:
        yield BadRow("payment_method", "is no card")
    elif saved.gateway_customer is None:
        yield BadRow("payment_method", "is saved for no customer of the gateway: it was detached, or never attached")
    elif saved.gateway_customer != gateway_customer:
        yield BadRow("payment_method", "is saved for another customer of the gateway")


def _of_customer(gateway: Gateway, gateway_customer: str) -> Iterator[BadRow]:
    if not gateway.has_customer(gateway_customer):
        yield BadRow("gateway_customer", "is not known to the gateway, or was deleted there")
