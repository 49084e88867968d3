"""Billing after a pause: from the day of the resumption on, and never for time already paid."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pytest

from renewals.domain.transitions import Action
from renewals.ledger import forecast
from renewals.ledger.asked_by import AskedBy
from renewals.ledger.register import Register
from tests.fakes import NOON, World
from tests.unit.test_sweep import Sweeper

YEARLY = {"interval": "year", "renewal_date": "2026-01-31"}


def _noon(day: str) -> datetime:
    return datetime.combine(date.fromisoformat(day), NOON.timetz())


def _register(shop: World) -> Register:
    client: Any = shop.dynamodb
    return Register(client, subscriptions="subscriptions", renewals="renewals", changes="changes")


def _act(shop: World, action: Action, day: str) -> dict[str, Any]:
    done = _register(shop).act(shop.row(), action, date.fromisoformat(day), AskedBy("ann", _noon(day)))
    assert isinstance(done, dict)
    return done


def _sweep(shop: World, day: str, *, nights: int = 1) -> None:
    """Run the nightly sweep and two hourly sweeps of a day, and the workflow for every message."""
    sweeper = Sweeper(shop)
    for n, kind in enumerate(("all", "due", "due") * nights):
        sweeper.sweep(kind, now=_noon(day))
        for message in sweeper.sent():
            shop.run(f"sweep-{day}-{n}", _noon(day), amount=message["amount"], period=message["renewal_date"])


def _paid(shop: World) -> dict[str, str]:
    return {day: item["period_end"] for day, item in sorted(shop.items().items()) if "paid_at" in item}


@pytest.mark.parametrize("swept", [True, False])
def test_a_yearly_plan_that_was_paused_over_its_date_is_billed_when_it_is_resumed(shop: World, swept: bool) -> None:
    """A yearly plan paused on 30 January and resumed on 1 February is billed once, from 1 February on, with or without
    a sweep in between."""
    shop.subscribe(**YEARLY)
    _act(shop, Action.PAUSE, "2026-01-30")
    if swept:
        _sweep(shop, "2026-01-31")
        assert shop.row()["renewal_date"] == "2027-01-31"
    assert _act(shop, Action.RESUME, "2026-02-01")["renewal_date"] == "2026-02-01"
    _sweep(shop, "2026-02-01")
    assert _paid(shop) == {"2026-02-01": "2027-02-01"}
    assert shop.items()["2026-01-31"]["status"] == "skipped"
    assert (shop.row()["renewal_date"], shop.row()["anchor_day"]) == ("2027-02-01", 1)


@pytest.mark.parametrize("interval", ["day", "week", "month", "year"])
@pytest.mark.parametrize(("paused", "resumed"), [("2026-03-01", "2026-03-01"), ("2026-03-01", "2026-06-17")])
def test_every_interval_is_billed_from_the_day_of_its_resumption(
    interval: str, paused: str, resumed: str, shop: World
) -> None:
    """A subscription of any interval, paused on its renewal date for no time or a long time, is billed for a whole
    period from the day of the resumption on."""
    shop.subscribe(interval=interval, renewal_date=paused)
    _act(shop, Action.PAUSE, paused)
    if paused != resumed:
        for day in (paused, "2026-03-02", "2026-04-01", "2026-06-01"):
            _sweep(shop, day)
    assert _act(shop, Action.RESUME, resumed)["renewal_date"] == resumed
    _sweep(shop, resumed)
    assert list(_paid(shop)) == [resumed]


def test_paid_time_is_not_billed_again_after_a_pause(shop: World) -> None:
    """A pause within the time paid until 27 February moves no date and bills nothing."""
    shop.subscribe()
    shop.run("paid")
    _act(shop, Action.PAUSE, "2026-02-02")
    _sweep(shop, "2026-02-10")
    assert _act(shop, Action.RESUME, "2026-02-20")["renewal_date"] == "2026-02-28"
    assert len(shop.gateway.charges) == 1


@pytest.mark.parametrize("day", ["2026-02-28", "2026-03-31"])
def test_it_is_resumed_on_a_day_that_was_passed_over(shop: World, day: str) -> None:
    """A sweep skips a date in the morning, and the subscription is resumed at noon: the period from that very date on
    is billed."""
    shop.subscribe(renewal_date="2026-01-31")
    _act(shop, Action.PAUSE, "2026-01-30")
    for swept in ("2026-01-31", "2026-02-28", day):
        _sweep(shop, swept)
    _act(shop, Action.RESUME, day)
    _sweep(shop, day)
    assert list(_paid(shop)) == [day]
    assert shop.row()["anchor_day"] == 31


@pytest.mark.parametrize("interval", ["month", "year"])
def test_made_active_by_hand_it_is_billed_from_the_night_that_finds_it(shop: World, interval: str) -> None:
    """Made active by hand, a row still has the date set by the sweep: the subscription is billed from the night that
    finds the row, since the time before is not paid."""
    shop.subscribe(interval=interval)
    shop.edit(status="paused")
    _sweep(shop, "2026-01-31")
    shop.edit(status="active")
    preview = forecast.next_charges(_register(shop).ledger, shop.row(), date(2026, 2, 10), 1).charges
    assert [charge.on for charge in preview] == [date(2026, 2, 10)]
    _sweep(shop, "2026-02-10")
    assert list(_paid(shop)) == ["2026-02-10"]


def test_a_date_that_somebody_wrote_after_a_pause_is_believed(shop: World) -> None:
    """Made active by hand together with a new date, a subscription is billed from the new date and not before."""
    shop.subscribe()
    shop.edit(status="paused")
    _sweep(shop, "2026-01-31")
    shop.edit(status="active", renewal_date="2026-03-15")
    for day in ("2026-02-10", "2026-03-14", "2026-03-15"):
        _sweep(shop, day)
    assert list(_paid(shop)) == ["2026-03-15"]


def test_a_row_that_an_earlier_version_passed_over_is_billed_when_it_is_resumed(shop: World) -> None:
    """A row moved by an earlier version lacks the note of the move; the ledger's skipped item is enough to bill from
    the resumption on."""
    shop.subscribe(**YEARLY, status="paused")
    _sweep(shop, "2026-01-31")
    row = {name: value for name, value in shop.row().items() if name != "passed_over_to"}
    shop.dynamodb.put("subscriptions", row)
    assert _act(shop, Action.RESUME, "2026-02-01")["renewal_date"] == "2026-02-01"


def test_an_imported_subscription_keeps_the_date_up_to_which_it_was_paid_elsewhere(shop: World) -> None:
    """An imported subscription without ledger items and with a future date keeps the date over a pause."""
    shop.subscribe(renewal_date="2026-06-20")
    _act(shop, Action.PAUSE, "2026-03-01")
    assert _act(shop, Action.RESUME, "2026-03-05")["renewal_date"] == "2026-06-20"


def test_the_preview_of_a_paused_subscription_says_what_its_resumption_costs(shop: World) -> None:
    """The preview of a paused subscription tells the cost of a resumption today."""
    shop.subscribe(**YEARLY, amount=Decimal(120))
    _act(shop, Action.PAUSE, "2026-01-30")
    _sweep(shop, "2026-01-31")
    shown = forecast.next_charges(_register(shop).ledger, shop.row(), date(2026, 2, 1), 3)
    assert shown.charges == ()
    assert shown.then == (
        "The subscription is paused. Nothing is charged until the subscription is resumed, and the paused time is "
        "not charged later. If resumed today, the subscription is charged 120.00 USD on 1 February 2026, "
        "for 1 February 2026 to 31 January 2027."
    )


@pytest.mark.parametrize(("paid", "end"), [(False, "2026-02-03"), (True, "2026-02-28")])
def test_what_is_canceled_after_it_was_resumed_by_hand_is_not_billed(shop: World, paid: bool, end: str) -> None:
    """A subscription passed over in its pause, made active by hand and canceled at the period's end before a sweep ends
    with the paid time, or today where nothing is paid, and is billed no further."""
    shop.subscribe(interval="month" if paid else "year")
    if paid:
        shop.run()
        _act(shop, Action.PAUSE, "2026-02-01")
        shop.edit(renewal_date="2026-03-28", passed_over_to="2026-03-28", status="active")
    else:
        shop.edit(status="paused")
        _sweep(shop, "2026-01-31")
        shop.edit(status="active")
    assert _act(shop, Action.CANCEL_AT_PERIOD_END, "2026-02-03")["cancel_at"] == end
    for day in ("2026-02-03", "2026-02-04", "2026-02-28", "2026-03-28"):
        _sweep(shop, day)
    assert len(_paid(shop)) == paid
    assert shop.row()["status"] == "canceled"
