"""The preview: the next charges, with the reason for every date."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from renewals.domain import subscription
from renewals.domain.payment import GatewayCard
from renewals.domain.preview import Preview, preview
from tests.fakes import NOON, World

TODAY = date(2026, 1, 15)


def _row(**attributes: Any) -> subscription.Subscription:
    row: dict[str, Any] = {
        "subscription_id": "sub_1",
        "customer_id": "cus_1",
        "status": "active",
        "renewal_date": "2026-01-31",
        "amount": Decimal("29.99"),
        "currency": "USD",
        "gateway_customer": "cus_gw",
        "payment_method": "pm_ok",
    } | attributes
    return subscription.parse(row)


def _dates(shown: Preview) -> list[str]:
    return [charge.on.isoformat() for charge in shown.charges]


def test_the_anchor_31_is_clamped_and_comes_back() -> None:
    """A subscription of the 31st renews on the last day of shorter months, and every date says so."""
    shown = preview(_row(), today=TODAY, count=4)
    assert _dates(shown) == ["2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30"]
    assert [charge.why for charge in shown.charges] == [
        "every month, on day 31",
        "every month, on day 31; February 2026 ends with day 28",
        "every month, on day 31",
        "every month, on day 31; April 2026 ends with day 30",
    ]
    assert shown.then == ""


def test_what_is_not_live_is_not_charged() -> None:
    """Paused, canceled and unpaid subscriptions have no next charge, and the preview says why."""
    for status, why in (("paused", "paused"), ("canceled", "canceled"), ("unpaid", "unpaid")):
        shown = preview(_row(status=status), today=TODAY, count=3)
        assert shown.charges == ()
        assert why in shown.then


def test_it_ends_where_it_is_to_be_canceled() -> None:
    """No previewed charge begins on or after the subscription's end."""
    shown = preview(_row(cancel_at="2026-03-31"), today=TODAY, count=24)
    assert _dates(shown) == ["2026-01-31", "2026-02-28"]
    assert shown.then == "The subscription ends on 31 March 2026."


def test_what_is_late_is_charged_today() -> None:
    """Of several missed periods the latest is charged today and the earlier are passed over; with `each`, all are
    charged."""
    late = preview(_row(), today=date(2026, 4, 2), count=2)
    assert _dates(late) == ["2026-04-02", "2026-04-30"]
    assert late.charges[0].start == date(2026, 3, 31)
    assert late.charges[0].why == "every month, on day 31; due since 31 March 2026; 2 earlier periods are passed over"
    each = preview(_row(catch_up="each"), today=date(2026, 4, 2), count=4)
    assert [charge.start.isoformat() for charge in each.charges] == [
        "2026-01-31",
        "2026-02-28",
        "2026-03-31",
        "2026-04-30",
    ]


def test_a_refused_period_comes_first(shop: World) -> None:
    """A declined period is previewed first, on its dunning date and at the claimed amount, whatever the row costs
    now."""
    shop.subscribe(payment_method="pm_declined")
    shop.run()
    shop.edit(amount=Decimal("50.00"))
    [refused] = shop.ledger.recent("sub_1")
    shown = preview(subscription.parse(shop.row()), today=NOON.date(), count=2, refused=refused)
    assert [(charge.on.isoformat(), charge.amount) for charge in shown.charges] == [
        ("2026-02-01", Decimal("29.99")),
        ("2026-02-28", Decimal("50.00")),
    ]
    assert shown.charges[0].why.endswith("the charge was refused, and is retried")


def test_a_card_that_expires_before_is_named() -> None:
    """Exactly the charges after the card's last month say that the card expires."""
    shown = preview(_row(), today=TODAY, count=3, card=GatewayCard("pm_ok", "Visa ending in 4242", "2026-02"))
    assert ["expires" in charge.why for charge in shown.charges] == [False, False, True]


def test_a_card_that_was_detached_is_named() -> None:
    """Every charge of a card that was detached at the gateway says so, and not that the card expires."""
    card = GatewayCard("pm_ok", "Visa ending in 4242", "2026-02", is_detached=True)
    shown = preview(_row(), today=TODAY, count=3, card=card)
    assert all(charge.why.endswith("; the card is no longer saved at the gateway") for charge in shown.charges)


def test_weeks_are_counted() -> None:
    """Two weeks are always fourteen days."""
    shown = preview(_row(interval="week", interval_count=Decimal(2)), today=TODAY, count=2)
    assert shown.charges[1].on - shown.charges[0].on == timedelta(days=14)
    assert shown.charges[1].why == "every 2 weeks, counted from the date before"


def test_the_calendar_may_end() -> None:
    """A preview beyond the year 9999 ends instead of failing."""
    shown = preview(
        _row(renewal_date="9000-01-31", interval="year", interval_count=Decimal(400)), today=TODAY, count=24
    )
    assert len(shown.charges) == 2
    assert shown.then == "The calendar ends with the year 9999."


@given(
    start=st.dates(date(2020, 1, 1), date(2030, 1, 1)),
    today=st.dates(date(2020, 1, 1), date(2032, 1, 1)),
    interval=st.sampled_from(["day", "week", "month", "year"]),
    count=st.integers(1, 5),
    catch_up=st.sampled_from(["latest", "each"]),
    ends=st.none() | st.dates(date(2020, 1, 1), date(2032, 1, 1)),
)
def test_periods_follow_one_another(
    start: date, today: date, interval: str, count: int, catch_up: str, ends: date | None
) -> None:
    """With any schedule, every previewed period begins at the end of the period before, no charge is made before today,
    and none at or after the end."""
    attributes = {"cancel_at": ends.isoformat()} if ends else {}
    row = _row(
        renewal_date=start.isoformat(),
        interval=interval,
        interval_count=Decimal(count),
        catch_up=catch_up,
        **attributes,
    )
    shown = preview(row, today=today, count=24)
    for one, following in zip(shown.charges, shown.charges[1:], strict=False):
        assert one.end == following.start
    assert all(charge.on == max(charge.start, today) for charge in shown.charges)
    assert all(ends is None or charge.start < ends for charge in shown.charges)
    assert shown.then or len(shown.charges) == 24
