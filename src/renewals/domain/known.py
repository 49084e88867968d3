"""What can be read of a subscription's row that may have a fault. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from renewals.domain import texts
from renewals.domain.errors import BadRow
from renewals.domain.subscription import parse, renewal_date_of, status_of

if TYPE_CHECKING:
    from datetime import date

    from renewals.domain.item_values import Item
    from renewals.domain.subscription import Subscription, SubscriptionStatus


@dataclass(frozen=True, slots=True)
class Known:
    """What can be read of a row, whatever else is wrong with the row.

    Attributes:
        status: the status; None if the status is missing or unknown.
        renewal_date, cancel_at: None for a date that is missing or cannot be read.
        plan, customer_name, locale: as in Subscription; as for a row without the attribute if it cannot be read.
        whole: the subscription; None if the row has a fault.
    """

    subscription_id: str
    status: SubscriptionStatus | None
    renewal_date: date | None
    cancel_at: date | None
    plan: str
    customer_name: str
    locale: str
    whole: Subscription | None


def known(row: Item) -> Known:
    """Return what can be read of a row."""
    try:
        whole = parse(row)
    except BadRow:
        whole = None
    ends = row.get("cancel_at")
    return Known(
        subscription_id=str(row["subscription_id"]),
        status=status_of(row),
        renewal_date=renewal_date_of(row),
        cancel_at=renewal_date_of({"renewal_date": ends}) if ends is not None else None,
        plan=texts.presentable(_readable(row, "plan", "Subscription"), texts.LONGEST_PLAN),
        customer_name=texts.presentable_name(_readable(row, "customer_name", "")),
        locale=_readable(row, "locale", "en"),
        whole=whole,
    )


def _readable(row: Item, field: str, default: str) -> str:
    value = row.get(field, default)
    return value if isinstance(value, str) else default
