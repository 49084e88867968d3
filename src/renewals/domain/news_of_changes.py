"""The events in the changes table: the changes that somebody requested by the API or by a command, and the ends of
subscriptions by chargebacks. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from renewals.domain.changes import IMPORTED, ChangeKind, is_of_dispute
from renewals.domain.item_values import fields_or_empty, moment, several, text
from renewals.domain.news import By, EventType, Fact

if TYPE_CHECKING:
    from renewals.domain.item_values import Item

_TYPES: dict[str, EventType] = {
    ChangeKind.CREATED: EventType.CREATED,
    ChangeKind.EDITED: EventType.UPDATED,
    ChangeKind.CARD: EventType.UPDATED,
    ChangeKind.PAUSED: EventType.PAUSED,
    ChangeKind.RESUMED: EventType.RESUMED,
    ChangeKind.ENDING: EventType.CANCEL_SCHEDULED,
    ChangeKind.CANCELED: EventType.ENDED,
}
"""The changes with an event. A request for a refund or for a renewal has no event here, because the result of the
request has an event: the ledger is the source of the result's event."""


def facts_of_change(item: Item) -> list[Fact]:
    """Return the fact in an item of the changes table, if the item is the record of a change with an event.

    The event names the changed attributes, and no values: values may be personal data.

    Raises:
        KeyError, TypeError, ValueError: the item was not written by this system.
    """
    if "what" not in item or str(item["what"]) not in _TYPES:
        return []
    kind, details = _TYPES[text(item, "what")], fields_or_empty(item, "details")
    by = By.DISPUTE if is_of_dispute(str(item.get("by"))) else By.TABLE if IMPORTED in item else By.REQUEST
    data: dict[str, str | int | list[str] | None] = {"by": by.value}
    if kind is EventType.UPDATED:
        data["changed"] = sorted(name for name in details if _differs(details, name))
    if kind is EventType.CANCEL_SCHEDULED:
        _, end = several(details, "cancel_at")
        data["cancel_at"] = str(end)
    return [Fact(kind, text(item, "subscription_id"), None, moment(item, "at"), (text(item, "change"),), data)]


def told_of_change(old: Item | None, new: Item | None) -> list[Fact]:
    """Return the fact of a write: the record of a change is written once. Raises the errors of `facts_of_change`."""
    return facts_of_change(new) if old is None and new is not None else []


def _differs(details: Item, name: str) -> bool:
    """Whether a recorded attribute has changed. Only the currency may be recorded unchanged: a changed amount is
    recorded together with the currency, even if the currency is the same as before."""
    before, after = several(details, name)
    return before != after or name != "currency"
