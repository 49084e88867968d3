"""Disputes in the ledger: each step of a dispute is recorded once.

renewals.domain.disputes explains disputes. The function returns a step as a value.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from renewals.domain.renewal import Renewal
from renewals.ledger.steps import Step, as_read, changed

if TYPE_CHECKING:
    from renewals.domain.stored import DisputeRecord


def record_dispute(renewal: Renewal, dispute_id: str, record: DisputeRecord, now: datetime) -> Step[Renewal]:
    """Record a dispute with the period whose payment is disputed, if no dispute of the period was recorded since the
    read.

    A dispute changes neither the state nor the lease of a renewal: an execution at work is not disturbed.
    """
    known = renewal.disputes
    condition = as_read({} if known is None else {"disputes": known}, ("disputes",))
    return changed(renewal, {"disputes": {**(known or {}), dispute_id: record}}, condition, now)
