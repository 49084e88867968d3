"""Choose the confirmations of changes that a customer is still owed. The gateway is not asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from renewals.domain import confirmations

if TYPE_CHECKING:
    from collections.abc import Collection

    from renewals.domain.request import RenewalRequest
    from renewals.ledger.confirmation_records import ConfirmationRecords
    from renewals.runtime.clock import Moment


def still_owed(
    asked: RenewalRequest, records: ConfirmationRecords, kinds: Collection[str], moment: Moment
) -> list[str]:
    """Return the keys of the changes whose confirmation is true and was not mailed yet.

    The request names only the subscription. A request that comes late or twice therefore finds what is owed now.
    """
    row, changes = records.standing(asked.subscription_id, asked.customer_id)
    if row is None:
        return []
    owed = confirmations.owed(row, changes, kinds, moment.now, tested=moment.tested)
    return [each.change.key for each in owed]
