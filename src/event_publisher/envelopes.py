"""The envelopes of events: a fact, with the status of its subscription by now."""

from __future__ import annotations

from collections.abc import Iterable

from event_publisher.bus import Envelope
from renewals.domain import subscription
from renewals.domain.errors import BadRow
from renewals.domain.item_values import Item
from renewals.domain.news import News, text_of
from renewals.ledger.table import Ledger
from renewals.runtime import clock


class Envelopes:
    """Makes the envelopes of a deployment's events.

    The subscription's row is read consistently after the write that the event tells. Of all events of a subscription,
    the event with the highest sequence therefore has the status that stands.
    """

    def __init__(self, ledger: Ledger, deployment: str) -> None:
        self._ledger = ledger
        self._deployment = deployment

    def of(self, news: Iterable[News]) -> list[Envelope]:
        """Return the envelopes of facts about one subscription."""
        rows: dict[str, list[Item]] = {}
        made = []
        for each in news:
            name = each.fact.subscription_id
            if name not in rows:
                rows[name] = self._ledger.rows(name)
            made.append(self._envelope(each, rows[name]))
        return made

    def _envelope(self, news: News, rows: list[Item]) -> Envelope:
        customer = news.fact.customer_id
        row = next((each for each in rows if customer in (None, each.get("customer_id"))), None)
        status = _status(row) if row is not None else None
        customer_id = text_of(row, "customer_id") if row is not None else None
        return news.event(self._deployment, status=status, customer_id=customer_id)


def _status(row: Item) -> str | None:
    """Return the status of the row today; None for a status that is none of this system's."""
    try:
        today = clock.current(row.get("test_clock")).today
    except BadRow:  # the test clock is no date
        today = clock.current().today
    status = subscription.status_on(row, today)
    return str(status) if status in frozenset(subscription.SubscriptionStatus) else None
