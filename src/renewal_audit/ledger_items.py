"""Attributes of the ledger's items for the audit. No reader raises, though people may have written an item by hand."""

from datetime import datetime, timedelta

from renewals.domain import currencies, wording
from renewals.domain.errors import BadRow
from renewals.domain.item_values import Item, Value, day, moment, number, text, whole
from renewals.domain.schedule import Schedule
from renewals.ledger.row_steps import with_items

LATELY = timedelta(days=1)
"""For this long, a claim may be without a result, and a customer may be without the notice of a refusal."""


def moment_in(item: Item, name: str) -> datetime | None:
    """Return the moment of an attribute; None if the value is not a moment with a time zone."""
    try:
        found = moment(item, name)
    except (KeyError, TypeError, ValueError):
        return None
    return found if found.tzinfo else None


def amount_in(item: Item) -> tuple[int, str] | None:
    """Return the amount in minor units and the currency; None if the item has no exact amount."""
    try:
        currency = text(item, "currency")
        return currencies.exact_minor_units(number(item, "amount"), currency), currency
    except (BadRow, KeyError, TypeError):
        return None


def mails_in(item: Item) -> dict[str, dict[str, Value]]:
    """Return the records of the period's mails, without values that are no records."""
    kept = item.get("mails")
    return {name: each for name, each in kept.items() if isinstance(each, dict)} if isinstance(kept, dict) else {}


def billed_instead(item: Item) -> str | None:
    """Return the period billed in place of a passed-over period; None if the item names no day."""
    try:
        return day(item, "billed_instead").isoformat()
    except (KeyError, TypeError, ValueError):
        return None


def passed_over(item: Item) -> list[str]:
    """Return the dates that a claim passed over and recorded as items of their own. The dates are computed by the
    schedule of the claimed period.

    The list is empty for an item that is no claim of ours.
    """
    try:
        first, start, end = (day(item, name) for name in ("row_date", "renewal_date", "period_end"))
        if not first < start < end:
            return []
        if "anchor_day" in item:
            months = (end.year - start.year) * 12 + end.month - start.month
            schedule = Schedule("month", months, whole(item, "anchor_day"))
        else:
            schedule = Schedule("day", (end - start).days, 1)
        if not schedule.count:
            return []
        dates = [each.isoformat() for each in schedule.due(first, start - timedelta(days=1))]
    except (KeyError, TypeError, ValueError, OverflowError):
        return []
    return list(with_items(dates))


def is_quiet(item: Item, now: datetime) -> bool:
    """Whether the period was untouched for a day. A period whose last touch cannot be read counts as untouched."""
    touched_at = moment_in(item, "touched_at")
    return touched_at is None or now - touched_at >= LATELY


def standing_in_words(item: Item) -> str:
    """Return the status of the period in the ledger, in words."""
    stands = wording.standing(item["status"]) if "status" in item else "nothing of this period"
    return f"the ledger says: {stands}"
