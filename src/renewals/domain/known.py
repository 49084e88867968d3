"""What can be read of a subscription's row that may have a fault. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from renewals.domain import texts
from renewals.domain.errors import BadRow
from renewals.domain.subscription import SubscriptionStatus, parse, renewal_date_of, status_of

if TYPE_CHECKING:
    from datetime import date
    from decimal import Decimal

    from renewals.domain.item_values import Item
    from renewals.domain.subscription import Subscription


TERMS = ("amount", "currency", "plan", "interval", "interval_count")
"""The attributes of a row with the terms of the subscription."""

_SOUND: Item = {
    "subscription_id": "any",
    "customer_id": "any",
    "status": SubscriptionStatus.ACTIVE,
    "renewal_date": "2000-01-01",
    "gateway_customer": "cus_any",
    "payment_method": "pm_any",
}
"""A sound row without terms, so that `parse` checks the terms of another row alone."""


@dataclass(frozen=True, slots=True)
class Terms:
    """The price, the plan and the time between two payments, as in Subscription and Schedule."""

    amount: Decimal
    currency: str
    plan: str
    interval: str
    count: int


@dataclass(frozen=True, slots=True)
class Known:
    """What can be read of a row, whatever else is wrong with the row.

    Attributes:
        status: the status; None if the status is missing or unknown.
        renewal_date, cancel_at: None for a date that is missing or cannot be read.
        has_unreadable_end: whether the row has an end that cannot be read.
        terms: the terms; None if one of the terms cannot be read.
        plan, customer_name, locale: as in Subscription; as for a row without the attribute if it cannot be read.
        whole: the subscription; None if the row has a fault.
    """

    subscription_id: str
    status: SubscriptionStatus | None
    renewal_date: date | None
    cancel_at: date | None
    has_unreadable_end: bool
    terms: Terms | None
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
    ends = renewal_date_of({"renewal_date": row.get("cancel_at")})
    return Known(
        subscription_id=str(row["subscription_id"]),
        status=status_of(row),
        renewal_date=renewal_date_of(row),
        cancel_at=ends,
        has_unreadable_end="cancel_at" in row and ends is None,
        terms=terms_of(row),
        plan=texts.presentable(_readable(row, "plan", "Subscription"), texts.LONGEST_PLAN),
        customer_name=texts.presentable_name(_readable(row, "customer_name", "")),
        locale=_readable(row, "locale", "en"),
        whole=whole,
    )


def terms_of(row: Item) -> Terms | None:
    """Return the terms of a row, whatever else is wrong with the row; None if one of the terms cannot be read."""
    try:
        sound = parse({**_SOUND, **{name: row[name] for name in TERMS if name in row}})
    except BadRow:
        return None
    return Terms(sound.amount, sound.currency, sound.plan, sound.schedule.interval, sound.schedule.count)


def _readable(row: Item, field: str, default: str) -> str:
    value = row.get(field, default)
    return value if isinstance(value, str) else default
