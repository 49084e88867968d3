"""The period to which an item of the ledger, a charge, a refund or a dispute belongs. Pure."""

from collections.abc import Mapping

from renewals.domain.disputes import GatewayDispute
from renewals.domain.item_values import Item, text
from renewals.domain.payment import GatewayRefund
from renewals.gateway.port import Charged, is_of_deployment

type Key = tuple[str, str]
"""The subscription_id and the renewal_date, YYYY-MM-DD, of a period."""


def key_in(item: Item) -> Key:
    """Return the period of an item of the ledger."""
    return text(item, "subscription_id"), text(item, "renewal_date")


def key_of(of: Charged | GatewayRefund | GatewayDispute) -> Key:
    """Return the period of a charge of ours, or of the refunded or disputed payment."""
    metadata = _metadata(of)
    return metadata["subscription_id"], metadata["renewal_date"]


def is_ours(of: Charged | GatewayRefund | GatewayDispute, deployment: str) -> bool:
    """Whether the metadata of the charge, or of the refunded or disputed payment, name a subscription and a period of
    this deployment."""
    metadata = _metadata(of)
    named = bool(metadata.get("subscription_id") and metadata.get("renewal_date"))
    return named and is_of_deployment(metadata, deployment)


def is_of(item: Item, charge: Charged) -> bool:
    """Whether the ledger has the payment of the charge as paid."""
    return charge.succeeded and "paid_at" in item and item.get("payment_id") == charge.payment_id


def _metadata(of: Charged | GatewayRefund | GatewayDispute) -> Mapping[str, str]:
    return of.metadata if isinstance(of, Charged) else of.payment_metadata
