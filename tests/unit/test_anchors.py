"""The day of the month on which a subscription renews is derived anew whenever its date or interval changes."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renewals.domain import subscription
from renewals.domain.errors import BadRow
from renewals.domain.item_values import Item, Value, whole
from renewals.domain.schedule import falls_on
from renewals.domain.subscription import anchor_change
from tests.fakes import NOON, World
from tests.unit.test_subscriptions_api import Api, api

__all__ = ["api"]  # the fixture

DAY = timedelta(days=1)


def _noon(day: str) -> datetime:
    return datetime.combine(date.fromisoformat(day), NOON.timetz())


def _paid(shop: World) -> list[tuple[str, str]]:
    """Return the first and the last day of every paid period, oldest first."""
    items = sorted(shop.items().items())
    last = [date.fromisoformat(item["period_end"]) - DAY for _, item in items if "paid_at" in item]
    return list(zip([day for day, item in items if "paid_at" in item], map(str, last), strict=True))


def test_months_after_weeks_are_counted_from_the_date_that_the_weeks_led_to(api: Api) -> None:
    """A subscription due on the 1st, changed to weeks, renewed four times and changed back to months pays one price for
    29 April to 28 May."""
    shop = api.shop
    shop.subscribe(renewal_date="2026-04-01", anchor_day=Decimal(1))
    assert api("PATCH", "/subscriptions/sub_1", {"interval": "week"}, If_Match="*").body["anchor_day"] is None
    for _ in range(4):
        shop.run(f"run-{shop.row()['renewal_date']}", _noon(shop.row()["renewal_date"]))
    changed = api("PATCH", "/subscriptions/sub_1", {"interval": "month"}, If_Match="*").body
    assert (changed["renewal_date"], changed["anchor_day"]) == ("2026-04-29", 29)
    shop.run("month", _noon("2026-04-29"))
    assert _paid(shop)[-1] == ("2026-04-29", "2026-05-28")
    assert (shop.row()["renewal_date"], shop.row()["anchor_day"]) == ("2026-05-29", 29)


@pytest.mark.parametrize("first", ["2026-04-02", "2026-04-09"])
def test_months_after_weeks_changed_by_hand(shop: World, first: str) -> None:
    """A change from weeks to months by hand counts months from the weeks' last date. The old anchor is removed by the
    first weekly renewal, even where the last week ends on the last day of a month, which would fit the old anchor."""
    shop.subscribe(renewal_date=first, anchor_day=Decimal(31), interval="week")
    while (due := shop.row()["renewal_date"]) < "2026-04-30":
        shop.run(f"run-{due}", _noon(due))
    assert "anchor_day" not in shop.row()
    shop.edit(interval="month")
    shop.run("month", _noon(due))
    assert shop.row()["anchor_day"] == date.fromisoformat(due).day


def test_a_date_that_was_moved_by_hand_is_the_new_anchor(shop: World) -> None:
    """A subscription due on the 1st, canceled, and made active again with a new renewal date pays one price for 28
    March to 27 April."""
    shop.subscribe(renewal_date="2026-02-01")
    shop.run("first", _noon("2026-02-01"))
    assert shop.row()["anchor_day"] == 1
    shop.edit(status="canceled")
    shop.edit(status="active", renewal_date="2026-03-28")
    shop.run("again", _noon("2026-03-28"))
    assert _paid(shop)[-1] == ("2026-03-28", "2026-04-27")
    assert (shop.row()["renewal_date"], shop.row()["anchor_day"]) == ("2026-04-28", 28)


@pytest.mark.parametrize(
    ("first", "attributes", "following"),
    [
        ("2026-01-31", {}, ["2026-02-28", "2026-03-31", "2026-04-30", "2026-05-31"]),
        ("2026-01-31", {"interval_count": Decimal(3)}, ["2026-04-30", "2026-07-31"]),
        ("2024-02-29", {"interval": "year"}, ["2025-02-28", "2026-02-28", "2027-02-28", "2028-02-29"]),
    ],
)
@pytest.mark.parametrize("put_back", [1, 2])
def test_a_row_put_back_as_first_written_keeps_its_anchor(
    shop: World, first: str, attributes: dict[str, Any], following: list[str], put_back: int
) -> None:
    """A row overwritten without its anchor after some renewals, as an import writes rows, moves past the paid periods
    and renews on its former day."""
    shop.subscribe(renewal_date=first, **attributes)
    for _ in range(put_back):
        shop.run(f"run-{shop.row()['renewal_date']}", _noon(shop.row()["renewal_date"]))
    shop.subscribe(renewal_date=first, **attributes)
    shop.run("restored", _noon(following[put_back - 1]) - DAY)
    for day in following[put_back - 1 : -1]:
        assert shop.row()["renewal_date"] == day
        _renew_on(shop, day)
    assert shop.row()["renewal_date"] == following[-1]
    assert len(shop.gateway.charges) == len(following)


def _renew_on(shop: World, day: str) -> None:
    shop.run(f"run-{day}", _noon(day))


def test_an_anchor_that_somebody_sets_while_a_charge_runs_stays(shop: World) -> None:
    """An anchor written between any two calls of a renewal stays in the row: before the claim the anchor shapes the
    period, and after the claim the claimed period stands."""
    for at in range(14):
        world = World()
        world.subscribe(renewal_date="2026-02-28")
        world.cuts.at = at
        world.cuts.happens = lambda _point, world=world: world.edit(anchor_day=Decimal(31))  # type: ignore[misc]
        world.run("run", _noon("2026-02-28"))
        [(start, _)] = _paid(world)
        row = subscription.parse(world.row())
        assert start == "2026-02-28"
        assert row.renewal_date.isoformat() in ("2026-03-28", "2026-03-31")
        assert falls_on(row.schedule.anchor_day, row.renewal_date)


def test_the_api_shows_the_anchor_and_lets_it_be_set(api: Api) -> None:
    """A subscription of 28 February with anchor 31 renews on 31 March; an anchor that does not fit the date is
    refused."""
    new = {
        "subscription_id": "sub_new",
        "customer_id": "cus_new",
        "amount": {"amount": "12.50", "currency": "EUR"},
        "gateway_customer": "cus_gw",
        "payment_method": "pm_ok",
        "renewal_date": "2127-02-28",
    }
    refused = api("POST", "/subscriptions", new | {"anchor_day": 30, "renewal_date": "2127-03-28"})
    assert refused.status == 400
    assert refused.body["errors"] == [
        {"field": "body.anchor_day", "reason": "does not fit renewal_date, which falls on day 28"}
    ]
    assert api("POST", "/subscriptions", new | {"anchor_day": 31}).body["anchor_day"] == 31
    preview = api("GET", "/subscriptions/sub_new/preview", query={"count": "2"}).body["items"]
    assert [charge["date"] for charge in preview] == ["2127-02-28", "2127-03-31"]
    api.shop.subscribe(subscription_id="sub_plain", renewal_date="2126-01-31")
    assert api("GET", "/subscriptions/sub_plain").body["anchor_day"] == 31


def test_another_anchor_moves_the_date_on_to_the_next_such_day(api: Api) -> None:
    """A new anchor moves the renewal date to the next such day, and the days until then are not charged: no price buys
    a part of a month."""
    api.shop.subscribe(test_clock="2026-01-10")
    changed = api("PATCH", "/subscriptions/sub_1", {"anchor_day": 15}, If_Match="*")
    assert (changed.status, changed.body["anchor_day"], changed.body["renewal_date"]) == (200, 15, "2026-02-15")
    preview = api("GET", "/subscriptions/sub_1/preview", query={"count": "2"}).body["items"]
    assert [(each["period_start"], each["period_end"]) for each in preview] == [
        ("2026-02-15", "2026-03-15"),
        ("2026-03-15", "2026-04-15"),
    ]


def test_an_anchor_is_not_changed_while_a_charge_is_due(api: Api) -> None:
    """No new anchor is taken while a charge is due, since the due period is billed first, nor for a weekly plan."""
    api.shop.subscribe(test_clock="2026-01-31")
    assert api("PATCH", "/subscriptions/sub_1", {"anchor_day": 15}, If_Match="*").status == 409
    assert api("PATCH", "/subscriptions/sub_1", {"anchor_day": 31}, If_Match="*").status == 200
    api.shop.subscribe(test_clock="2026-01-10", interval="week")
    assert api("PATCH", "/subscriptions/sub_1", {"anchor_day": 15}, If_Match="*").status == 400


def test_an_anchor_is_not_changed_while_a_row_that_was_resumed_by_hand_waits_for_its_date(api: Api) -> None:
    """A paused subscription made active again by hand is billed from the day of the next sweep. A new anchor before
    that sweep is refused, since it would give away the days until the next such day."""
    shop = api.shop
    shop.subscribe(status="paused", test_clock="2026-02-10")
    shop.run("paused", NOON + timedelta(days=10), period="2026-01-31")
    shop.edit(status="active")
    assert shop.row()["passed_over_to"] == shop.row()["renewal_date"] == "2026-02-28"
    assert api("PATCH", "/subscriptions/sub_1", {"anchor_day": 15}, If_Match="*").status == 409
    shop.run("resumed", NOON + timedelta(days=10), period="2026-02-28")
    assert [day for day, item in shop.items().items() if "paid_at" in item] == ["2026-02-10"]
    assert api("PATCH", "/subscriptions/sub_1", {"anchor_day": 15}, If_Match="*").body["renewal_date"] == "2026-03-15"


def test_a_given_anchor_is_checked_against_the_date() -> None:
    """Every entry of rows checks the anchor: 31 fits 28 February, and does not fit 27 February."""
    row: dict[str, Value] = {
        "subscription_id": "sub_1",
        "customer_id": "cus_1",
        "status": "active",
        "amount": Decimal("29.99"),
        "currency": "USD",
        "gateway_customer": "cus_gw",
        "payment_method": "pm_ok",
        "anchor_day": Decimal(31),
    }
    subscription.check_anchor(subscription.parse(row | {"renewal_date": "2026-02-28"}))
    with pytest.raises(BadRow, match="anchor_day"):
        subscription.check_anchor(subscription.parse(row | {"renewal_date": "2026-02-27"}))


@given(
    start=st.dates(date(2020, 1, 1), date(2030, 1, 1)),
    anchor=st.none() | st.integers(-5, 40).map(Decimal) | st.just("x"),
    interval=st.sampled_from([None, "day", "week", "month", "year", "fortnight"]),
    until=st.dates(date(2020, 1, 1), date(2030, 1, 1)),
    claimed=st.none() | st.integers(1, 31),
)
def test_whatever_stands_in_a_row_the_anchor_fits_the_new_date(
    start: date, anchor: Value, interval: str | None, until: date, claimed: int | None
) -> None:
    """Whatever a row held before, after a move anchor and date agree, and plans of days or weeks have no anchor."""
    given: dict[str, Value] = {"renewal_date": start.isoformat(), "anchor_day": anchor, "interval": interval}
    row = {name: value for name, value in given.items() if value is not None}
    new: Item = {**row, **anchor_change(row, until, claimed)}
    if interval in ("day", "week"):
        assert new.get("anchor_day") is None
    else:
        assert falls_on(whole(new, "anchor_day"), until)
