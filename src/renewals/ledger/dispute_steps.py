"""Disputes in the ledger: each step of a dispute is recorded once.

renewals.domain.disputes explains disputes. The functions write nothing: they return a step or a check, which
renewals.ledger.table or a caller's transaction carries out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from renewals.domain.renewal import Renewal
from renewals.domain.renewal_items import replaced
from renewals.ledger.steps import (
    Check,
    Step,
    Table,
    Update,
    as_read,
    same_claim,
    same_lease,
    same_owner,
    same_status,
)

if TYPE_CHECKING:
    from renewals.domain.stored import DisputeRecord


def record_dispute(renewal: Renewal, dispute_id: str, record: DisputeRecord) -> Step[Renewal]:
    """Record a dispute with the period whose payment is disputed, if no dispute of the period was recorded since the
    read.

    A dispute changes neither the state nor the lease of a renewal: an execution at work is not disturbed. Nor does a
    dispute count as progress of an unfinished renewal: `touched_at` stays as before, and the renewal keeps its place in
    the sweep, which takes up the renewals with the oldest `touched_at` first.
    """
    known = renewal.disputes
    changes = {"disputes": {**(known or {}), dispute_id: record}}
    condition = as_read({} if known is None else {"disputes": known}, ("disputes",))
    return Step(replaced(renewal, changes), (Update(Table.RENEWALS, _key(renewal), changes, condition),))


def untouched(renewal: Renewal) -> Check:
    """Return the check that no execution has taken up the period since the read."""
    condition = (same_claim(renewal), same_status(renewal), same_owner(renewal), same_lease(renewal))
    return Check(Table.RENEWALS, _key(renewal), condition)


def _key(renewal: Renewal) -> dict[str, object]:
    return {"subscription_id": renewal.subscription_id, "renewal_date": renewal.renewal_date}
