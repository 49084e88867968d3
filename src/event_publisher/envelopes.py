"""The envelopes of events: a fact, with the present status of the subscription and the end of the entitlement."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

from event_publisher.outlets import Envelope
from renewals.domain import subscription
from renewals.domain.entitlement import entitlement
from renewals.domain.errors import BadRow
from renewals.domain.item_values import Item
from renewals.domain.news import News, SubscriptionNow, text_of
from renewals.domain.news_of_rows import as_it_stands
from renewals.domain.renewal_history import History
from renewals.ledger.table import Ledger
from renewals.runtime import clock


class Envelopes:
    """Makes the envelopes of a deployment's events.

    The row and the latest periods are read consistently after the write that the event tells. Of all events of a
    subscription, the event with the highest sequence therefore has the present status and the present entitlement.

    Attributes:
        grace: for how long after the first refused attempt a customer stays entitled.
    """

    def __init__(self, ledger: Ledger, deployment: str, grace: timedelta) -> None:
        self._ledger = ledger
        self._deployment = deployment
        self._grace = grace

    def of(self, news: Sequence[News]) -> list[Envelope]:
        """Return the envelopes of facts about one subscription."""
        rows = self._ledger.rows(news[0].fact.subscription_id) if news else []
        standing: dict[str | None, SubscriptionNow] = {}
        made: list[Envelope] = []
        for each in news:
            fact = as_it_stands(each.fact, rows)
            if fact.customer_id not in standing:
                standing[fact.customer_id] = self._standing(rows, fact.customer_id)
            made.append(News(fact, each.sequence).event(self._deployment, standing[fact.customer_id]))
        return made

    def _standing(self, rows: Sequence[Item], customer_id: str | None) -> SubscriptionNow:
        row = next((each for each in rows if customer_id in (None, each.get("customer_id"))), None)
        if row is None:
            return SubscriptionNow(None, None, clock.current().today.isoformat())
        today = _today(row)
        status = subscription.status_on(row, today)
        known = next((each.value for each in subscription.SubscriptionStatus if each == status), None)
        return SubscriptionNow(known, text_of(row, "customer_id"), self._entitled_until(row, today))

    def _entitled_until(self, row: Item, today: date) -> str | None:
        try:
            history = self._ledger.history(str(row["subscription_id"]), str(row["customer_id"]))
        except (KeyError, TypeError, ValueError):
            # Somebody wrote a period by hand, and the period cannot be read. The fault must not take the entitlement
            # from a customer: without periods, an active customer counts as entitled.
            history = History()
        stands = entitlement(row, history, today, self._grace)
        if stands.entitled:
            return stands.ends.isoformat() if stands.ends else None
        return min(stands.ends or today, today).isoformat()


def _today(row: Item) -> date:
    """Return the day that counts as today for the subscription: the day of the test clock that the row may name."""
    try:
        return clock.current(row.get("test_clock")).today
    except BadRow:  # the test clock is no date
        return clock.current().today
