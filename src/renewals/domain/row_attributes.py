"""The list of the attributes that people give a subscription, and the rules that go by the attribute's name. Pure.

A new attribute of a row must be added to the list. The import compares a line with the existing row by the list, the
entity tag covers those attributes of the list that are marked for the tag, and the history of changes masks an
attribute by the mask in the list.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING

from renewals.domain.addresses import masked, masked_within

if TYPE_CHECKING:
    from renewals.domain.subscription import Subscription


@dataclass(frozen=True, slots=True)
class RowAttribute:
    """An attribute of a subscription's row.

    Attributes:
        read: Reads the value from the checked subscription.
        is_in_entity_tag: Whether the entity tag of the row covers the attribute. The tag leaves out the test clock and
            the attributes that a renewal changes. A person whose edit overlaps with a renewal therefore need not start
            over.
        mask: Hides the personal data in the value; None if the attribute holds no personal data.
    """

    read: Callable[[Subscription], object]
    is_in_entity_tag: bool = True
    mask: Callable[[str], str] | None = None


def _live_or_ended(subscription: Subscription) -> str:
    """Return "live" for active and past due alike, since renewals change active to past due and back."""
    return "live" if subscription.status.is_live else subscription.status


def _anchor_day(subscription: Subscription) -> int | None:
    return subscription.schedule.anchor_day if subscription.schedule.is_anchored else None


def _reminders(subscription: Subscription) -> object:
    return subscription.row.get("reminders", "all")


def _test_clock(subscription: Subscription) -> object:
    return subscription.row.get("test_clock")


ROW_ATTRIBUTES = {
    "customer_id": RowAttribute(attrgetter("customer_id")),
    "status": RowAttribute(_live_or_ended, is_in_entity_tag=False),
    "renewal_date": RowAttribute(attrgetter("renewal_date"), is_in_entity_tag=False),
    "cancel_at": RowAttribute(attrgetter("cancel_at")),
    "amount": RowAttribute(attrgetter("amount")),
    "currency": RowAttribute(attrgetter("currency")),
    "interval": RowAttribute(attrgetter("schedule.interval")),
    "interval_count": RowAttribute(attrgetter("schedule.count")),
    "anchor_day": RowAttribute(_anchor_day, is_in_entity_tag=False),
    "catch_up": RowAttribute(attrgetter("catch_up")),
    "plan": RowAttribute(attrgetter("plan")),
    "customer_name": RowAttribute(attrgetter("customer_name")),
    "customer_email": RowAttribute(attrgetter("customer_email"), mask=masked),
    "locale": RowAttribute(attrgetter("locale")),
    "gateway_customer": RowAttribute(attrgetter("gateway_customer")),
    "payment_method": RowAttribute(attrgetter("payment_method")),
    "reminders": RowAttribute(_reminders, is_in_entity_tag=False),
    "test_clock": RowAttribute(_test_clock, is_in_entity_tag=False),
}
"""The attributes that people give a subscription beside its id, each by its name."""

IN_ENTITY_TAG = tuple(name for name, each in ROW_ATTRIBUTES.items() if each.is_in_entity_tag)
"""The attributes whose stored values the entity tag of a row covers. The tag covers the status in addition, with active
and past due alike."""


def without_personal_data(name: str, value: object) -> object:
    """Return the value of an attribute as the history of changes keeps and shows the value.

    The mask of the attribute is applied to the whole text. In the text of an attribute without a mask, for example the
    reason for clearing a mail fault, every mail address is masked.
    """
    if not isinstance(value, str):
        return value
    attribute = ROW_ATTRIBUTES.get(name)
    mask = attribute.mask if attribute else None
    return mask(value) if mask else masked_within(value)
