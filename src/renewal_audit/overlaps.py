"""Paid periods of a subscription with a day in common. Pure."""

from collections.abc import Iterable

from renewals.domain.item_values import Item, text
from renewals.domain.payment import GatewayRefund, GatewayRefundState
from renewals.domain.renewal_items import renewal_from


def overlapping(item: Item, beside: Iterable[Item]) -> list[Item]:
    """Return the paid periods in `beside` that share a day with the period `item` and were charged before `item`."""
    return [other for other in beside if _has_a_day_of(item, other) and _charged_before(other, item)]


def overlaps_within(item: Item, within: Iterable[Item]) -> list[tuple[Item, Item]]:
    """Return a pair for each paid period in `within` that shares a day with the period `item`. The pair holds both
    periods; the period that was charged later comes first."""
    return [
        (item, other) if _charged_before(other, item) else (other, item)
        for other in within
        if _has_a_day_of(item, other)
    ]


def is_paid_again(made: GatewayRefund, item: Item) -> bool:
    """Whether a refund of the period failed, so that the period counts as paid again. Before the failure, a different
    period may have billed the same days."""
    return made.state is GatewayRefundState.FAILED and made.payment_id == item.get("payment_id") and says_paid(item)


def reaches_no_further(item: Item, start: str) -> bool:
    """Whether the period `item` is paid and begins before `start`. A still older paid period then has no day from
    `start` on, unless the older period also overlaps `item`."""
    return says_paid(item) and text(item, "renewal_date") < start


def says_paid(item: Item) -> bool:
    """Whether the ledger has the period as paid, and not as wholly refunded."""
    try:
        return "period_end" in item and renewal_from(item).is_paid
    except (AttributeError, KeyError, ValueError, TypeError):  # the item is no claim of ours
        return False


def _has_a_day_of(one: Item, other: Item) -> bool:
    if not (says_paid(one) and says_paid(other)) or one["renewal_date"] == other["renewal_date"]:
        return False
    starts, ends = ([text(each, name) for each in (one, other)] for name in ("renewal_date", "period_end"))
    return starts[0] < ends[1] and starts[1] < ends[0]


def _charged_before(one: Item, other: Item) -> bool:
    first, second = ((str(each.get("charged_at", "")), text(each, "renewal_date")) for each in (one, other))
    return first < second
