"""Receipts in the ledger: where each is stored, and its hash."""

from datetime import datetime

from renewals.ledger import LEASE, Ledger
from renewals.renewal import Renewal, Status


class ReceiptLedger(Ledger):
    """The receipts of payments and of refunds. Raises as Ledger."""

    def record_receipt(self, renewal: Renewal, key: str, digest: str, now: datetime) -> Renewal:
        """The receipt is stored under `key`. digest: SHA-256 of its bytes, hexadecimal."""
        return self._update(
            renewal,
            {
                "status": Status.RECEIPTED,
                "receipt_key": key,
                "receipt_sha256": digest,
                "lease_until": now + LEASE,
                "pickups": 0,
            },
            "claim = :claim AND #status = :paid",
            {":claim": renewal.claim, ":paid": Status.PAID},
            now,
        )

    def record_refund_receipt(self, renewal: Renewal, name: str, key: str, digest: str, now: datetime) -> Renewal:
        """The receipt of a refund is stored under `key`. digest: SHA-256 of its bytes, hexadecimal."""
        return self._update(
            renewal,
            {f"refunds.{name}.receipt_key": key, f"refunds.{name}.receipt_sha256": digest},
            f"attribute_not_exists(refunds.{name}.receipt_key)",
            {},
            now,
        )
