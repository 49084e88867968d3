"""Receipts in the ledger: the object key and the hash of each receipt.

All functions return steps as values.
"""

from datetime import datetime

from renewals.domain.renewal import Renewal, Status
from renewals.ledger.steps import LEASE, Step, Term, changed, same_claim


def receipted(renewal: Renewal, key: str, digest: str, now: datetime) -> Step[Renewal]:
    """Record the storage of the receipt under `key`. digest: SHA-256 of the PDF's bytes, hexadecimal."""
    changes = {
        "status": Status.RECEIPTED,
        "receipt_key": key,
        "receipt_sha256": digest,
        "lease_until": now + LEASE,
        "pickups": 0,
    }
    return changed(renewal, changes, (same_claim(renewal), Term("#status = :paid", {":paid": Status.PAID})), now)


def refund_receipted(renewal: Renewal, name: str, key: str, digest: str, now: datetime) -> Step[Renewal]:
    """Record the storage of a refund's receipt under `key`. digest: SHA-256 of the PDF's bytes, hexadecimal."""
    none_yet = Term(f"attribute_not_exists(refunds.{name}.receipt_key)", {})
    changes = {f"refunds.{name}.receipt_key": key, f"refunds.{name}.receipt_sha256": digest}
    return changed(renewal, changes, (none_yet,), now)
