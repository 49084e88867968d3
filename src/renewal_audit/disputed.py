"""The disputes of the gateway, compared with the ledger. Pure."""

from collections.abc import Mapping
from datetime import datetime

from renewal_audit.findings import Count, Difference, Found
from renewal_audit.keys import Key, key_of
from renewals.domain import disputes
from renewals.domain.disputes import GatewayDispute
from renewals.domain.item_values import Item
from renewals.domain.renewal_items import renewal_from


def compare_dispute(dispute: GatewayDispute, items: Mapping[Key, Item], now: datetime, found: Found) -> None:
    """Compare one dispute of a payment of ours: the ledger must have each step of the dispute.

    The ledger may lack the payment: the second of two payments of the same period, for example. A dispute of such a
    payment is a difference all the same, because nobody was told of the dispute.
    """
    found.counts[Count.DISPUTED] += 1
    key = key_of(dispute)
    item = items.get(key, {})
    says = f"{dispute.id} is {dispute.status}"
    if item.get("payment_id") != dispute.payment_id:
        found.differs(Difference.DISPUTE_UNKNOWN, key, dispute.payment_id, f"{says}: the ledger has no such payment")
        return
    try:
        news = disputes.with_new_step(renewal_from(item), dispute, now)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):  # a person has written the item by hand
        found.differs(Difference.DISPUTE_UNKNOWN, key, dispute.payment_id, f"{says}: the ledger's item cannot be read")
        return
    if news is not None:
        stands = "an earlier step" if len(news["steps"]) > 1 else "nothing of the dispute"
        found.differs(Difference.DISPUTE_UNKNOWN, key, dispute.payment_id, f"{says}: the ledger has {stands}")
