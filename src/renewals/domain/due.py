"""The period that a due subscription is billed for, by the subscription's way to catch up. Pure."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from renewals.domain.reasons import Reason
from renewals.domain.schedule import Billing, latest_due, oldest_due

if TYPE_CHECKING:
    from renewals.domain.renewal import Renewal
    from renewals.domain.subscription import Subscription

_ENDED_BY = frozenset({Reason.DUNNING_OVER, Reason.CANCELED, Reason.UNPAID})


def billing(subscription: Subscription, unpaid: Renewal | None, start: date, last: date) -> Billing:
    """Return the due period.

    If an earlier claim was given up because the subscription ended, the time since the end is not billed: even with the
    way `each`, only the latest period is billed.

    Args:
        subscription: the subscription.
        unpaid: the earlier claim for the date `start`, which has moved no money and never will; None if no such claim
            exists. The dates before the claimed period count as passed over.
        start: the first date that may be billed.
        last: the last day on which a period may begin.
    """
    if subscription.catch_up == "each" and not (unpaid and unpaid.reason in _ENDED_BY):
        first = unpaid.renewal_date if unpaid and unpaid.renewal_date <= last else start
        return oldest_due(subscription.schedule.beginning_on(first), first, last)
    return latest_due(subscription.schedule, start, last)
