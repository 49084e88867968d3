"""An event about a subscription names the cause of the change in `by`: for each way in which a row changes."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from renewals.domain.changes import ChangeKind, of_dispute
from renewals.domain.transitions import Action
from renewals.ledger.asked_by import AskedBy
from tests.fakes import NOON
from tests.unit.test_news import Shop

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Way:
    """A way in which a row changes.

    before: what happens first, and is not looked at. change: the change. told: each event about the subscription that
    tells the change, with the event's `by`.
    """

    change: Callable[[Shop, datetime], object]
    told: tuple[str, ...]
    before: tuple[Callable[[Shop, datetime], object], ...] = ()


def run(shop: Shop, at: datetime) -> None:
    shop.run(f"run-{at}-{len(shop.events)}", at)


def by_hand(**attributes: Any) -> Callable[[Shop, datetime], None]:
    return lambda shop, _: shop.edit(**attributes)


def by_request(action: Action) -> Callable[[Shop, datetime], None]:
    return lambda shop, at: shop.act(action, at)


def _created_by_request(shop: Shop, at: datetime) -> None:
    row = shop.row() | {"subscription_id": "sub_2"}
    shop.register.create(row, AskedBy("ann", at))


def _created_by_hand(shop: Shop, _: datetime) -> None:
    shop.dynamodb.put("subscriptions", shop.row() | {"subscription_id": "sub_2"})


def _edited_by_request(shop: Shop, at: datetime) -> None:
    shop.register.edit(shop.row(), {"amount": Decimal(5)}, ChangeKind.EDITED, AskedBy("ann", at))


def _new_card(shop: Shop, at: datetime) -> None:
    shop.register.edit(shop.row(), {"payment_method": "pm_ok"}, ChangeKind.CARD, AskedBy("ann", at))


def _charged_back(shop: Shop, at: datetime) -> None:
    asked = AskedBy(of_dispute("dp_1"), at)
    shop.register.edit(shop.row(), {"cancel_at": shop.row()["renewal_date"]}, ChangeKind.ENDING, asked)


def _confirmed(shop: Shop, at: datetime) -> None:
    """The customer confirms the payment, and the gateway's event runs the workflow."""
    shop.gateway.succeed("pi_1")
    shop.execute({"amount": "29.99", "gateway_event": "evt_1"}, "by-event", at)


def _dunned_to_the_end(shop: Shop, at: datetime) -> None:
    for day in range(1, 30):
        shop.run(f"dunned-{day}", at + day * DAY)
        shop.hear(at + day * DAY)


def _deleted(shop: Shop, _: datetime) -> None:
    shop.delete_row()


declines, confirms = by_hand(payment_method="pm_declined"), by_hand(payment_method="pm_3ds")
WAYS = {
    "created by request": Way(_created_by_request, ("subscription.created request",)),
    "created by hand": Way(_created_by_hand, ("subscription.created table",)),
    "edited by request": Way(_edited_by_request, ("subscription.updated request",)),
    "edited by hand": Way(by_hand(amount=Decimal(5)), ("subscription.updated table",)),
    "a new card by request": Way(_new_card, ("subscription.updated request",), (declines,)),
    "paused by request": Way(by_request(Action.PAUSE), ("subscription.paused request",)),
    "paused by hand": Way(by_hand(status="paused"), ("subscription.paused table",)),
    "passed over while paused": Way(run, (), (by_hand(status="paused"),)),
    "resumed by request": Way(
        by_request(Action.RESUME), ("subscription.resumed request",), (by_request(Action.PAUSE), run)
    ),
    "resumed by hand": Way(by_hand(status="active"), ("subscription.resumed table",), (by_hand(status="paused"), run)),
    "moved past a pause that ended by hand": Way(run, (), (by_hand(status="paused"), run, by_hand(status="active"))),
    "an end by request": Way(by_request(Action.CANCEL_AT_PERIOD_END), ("subscription.cancel_scheduled request",)),
    "an end by hand": Way(by_hand(cancel_at="2026-02-10"), ("subscription.cancel_scheduled table",)),
    "canceled by request": Way(by_request(Action.CANCEL_NOW), ("subscription.ended request",)),
    "canceled by hand": Way(by_hand(status="canceled"), ("subscription.ended table",)),
    "a chargeback": Way(_charged_back, ("subscription.cancel_scheduled dispute",)),
    "an end that has come": Way(run, ("subscription.ended schedule",), (by_hand(cancel_at="2026-01-31"),)),
    "deleted": Way(_deleted, ("subscription.ended table",)),
    "paid": Way(run, ()),
    "refused": Way(run, ("subscription.past_due renewal",), (declines,)),
    "to be confirmed": Way(run, ("subscription.past_due renewal",), (confirms,)),
    "confirmed, told by an event of the gateway": Way(_confirmed, ("subscription.recovered renewal",), (confirms, run)),
    "paid by another card": Way(run, ("subscription.recovered renewal",), (declines, run, _new_card)),
    "dunning is over": Way(_dunned_to_the_end, ("subscription.ended renewal",), (declines, run)),
    "moved back to a paid date by hand": Way(by_hand(renewal_date="2026-01-31"), (), (run,)),
    "moved past a paid date": Way(run, (), (run, by_hand(renewal_date="2026-01-31"))),
    "moved past a paid date for the second time": Way(
        run, (), (run, by_hand(renewal_date="2026-01-31"), run, by_hand(renewal_date="2026-01-31"))
    ),
    "moved forward by hand after that": Way(
        by_hand(renewal_date="2026-03-05"),
        ("subscription.updated table",),
        (run, by_hand(renewal_date="2026-01-31"), run),
    ),
    "past due by hand": Way(by_hand(status="past_due"), ("subscription.past_due table",)),
    "past due by hand, and paid": Way(run, ("subscription.updated renewal",), (by_hand(status="past_due"),)),
    "past due by hand, and moved past a paid date": Way(
        run, ("subscription.updated renewal",), (run, by_hand(renewal_date="2026-01-31", status="past_due"))
    ),
}


@pytest.mark.parametrize("name", WAYS)
def test_an_event_names_the_cause_of_the_change(name: str) -> None:
    """Each way in which a row changes is told by the events of the table above, and by no other event about the
    subscription: by the name of a request, a chargeback, a renewal, a scheduled end, or a change by hand."""
    way, shop = WAYS[name], Shop()
    shop.subscribe()
    at = NOON
    for step in way.before:
        step(shop, at)
        shop.hear(at)
        at += timedelta(minutes=10)
    shop.hear(at)
    shop.events.clear()
    way.change(shop, at)
    shop.hear(at)
    told = [event for event in shop.events if event["type"].startswith("subscription.")]
    assert tuple(f"{event['type']} {event['data']['by']}" for event in told) == way.told
