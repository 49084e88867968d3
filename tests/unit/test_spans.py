"""No day of a subscription is paid twice, whoever moved its renewal date."""

from collections import Counter
from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import product
from typing import Any

import pytest

from renewals.ledger.register import Register
from tests.fakes import LATER, NOON, World
from tests.shares import share
from tests.unit.test_subscriptions_api import Api, api

__all__ = ["api"]  # the fixture

DAY = timedelta(days=1)


def _noon(day: str | date) -> datetime:
    return datetime.combine(date.fromisoformat(str(day)), NOON.timetz())


def _register(shop: World) -> Register:
    client: Any = shop.dynamodb
    return Register(client, subscriptions="subscriptions", renewals="renewals", changes="changes")


def _sweep(shop: World, now: datetime, runs: int = 3) -> None:
    for n in range(runs):
        shop.run(f"sweep-{now:%Y-%m-%d}-{n}", now + n * LATER, period=shop.row()["renewal_date"])


def _expect_no_day_twice(shop: World) -> None:
    days: Counter[date] = Counter()
    for start, item in shop.items().items():
        if "paid_at" in item and not item.get("refunds"):
            first, end = date.fromisoformat(start), date.fromisoformat(item["period_end"])
            days.update(first + n * DAY for n in range((end - first).days))
    assert max(days.values(), default=0) <= 1


def test_a_row_moved_to_a_day_before_a_period_that_is_paid_is_rejected(shop: World) -> None:
    """Paid for 31 January to 27 February; moved to 30 January, its period would reach into that."""
    shop.subscribe()
    shop.run()
    shop.edit(renewal_date="2026-01-30")
    outcome = shop.renew("moved", NOON + LATER)
    assert outcome.name == "rejected"
    assert outcome.reason == (
        "renewal_date: begins a period, 2026-01-30 to 2026-02-27, that reaches into one that is paid, "
        "2026-01-31 to 2026-02-27"
    )
    assert len(shop.gateway.charges) == 1


def test_the_sweep_asks_for_a_row_that_reaches_into_what_is_paid_in_vain_and_fails_no_run(shop: World) -> None:
    """Nothing would come of trying again: no message of the sweep becomes a dead letter, each night another one; the
    audit names the row, and the row shows its fault. A webhook is told that it is rejected. Once the row is mended, the
    sweep's next message charges."""
    shop.subscribe()
    shop.run()
    shop.edit(renewal_date="2026-01-30")
    for day in range(3):
        assert shop.run(f"swept-{day}", NOON + day * DAY, period="2026-01-30") == "Success"
    assert shop.run("webhook", NOON + 3 * DAY) == "PaymentFailed"
    assert len(shop.gateway.charges) == 1
    shop.edit(renewal_date="2026-02-28")
    assert shop.run("mended", _noon("2026-02-28"), period="2026-02-28") == "Success"
    assert len(shop.gateway.charges) == 2


def _paid_three_times(interval: str, catch_up: str) -> tuple[World, datetime]:
    """And when the third period was paid."""
    shop = World()
    shop.subscribe(interval=interval, catch_up=catch_up)
    now = NOON
    for _ in range(3):
        now = _noon(shop.row()["renewal_date"])
        shop.run(f"paid-{now}", now)
    return shop, now


PAID = {each: _paid_three_times(*each) for each in product(["week", "month"], ["latest", "each"])}


@pytest.mark.parametrize("catch_up", ["latest", "each"])
@pytest.mark.parametrize("interval", ["week", "month"])
@pytest.mark.parametrize("moved", share(range(-40, 40, 3), of=3))
def test_wherever_a_row_is_moved_to_no_day_is_paid_twice(moved: int, interval: str, catch_up: str) -> None:
    """Three periods are paid; then the date is moved, and sweeps come for weeks."""
    paid, now = PAID[interval, catch_up]
    shop = paid.copy()
    shop.edit(renewal_date=(now.date() + moved * DAY).isoformat())
    for n in range(8):
        _sweep(shop, now + 9 * n * DAY)
    _expect_no_day_twice(shop)


@pytest.mark.parametrize("first", ["2025-11-07", "2025-11-10"])
def test_a_paid_period_far_in_the_past_is_looked_for(shop: World, first: str) -> None:
    """Eighteen weeks are paid; the row is moved back by twelve of them less a few days, to be caught up one by one: the
    ten latest periods do not go back so far, and the ledger is asked for the older ones."""
    shop.subscribe(interval="week", renewal_date="2025-09-12", catch_up="each")
    for n in range(18):
        shop.run(f"week-{n}", _noon("2025-09-12") + 7 * n * DAY)
    assert len(shop.gateway.charges) == 18
    shop.edit(renewal_date=first)
    _sweep(shop, _noon("2026-01-09") + LATER)
    assert len(shop.gateway.charges) == 18


@pytest.mark.parametrize(("moved", "mails"), [("2026-06-10", 0), ("2027-01-31", 1)])
def test_nobody_is_reminded_of_a_renewal_that_will_be_rejected(shop: World, moved: str, mails: int) -> None:
    """A year is paid, and the date is moved into it: no mail says that another year is charged then. The year after
    it is reminded of as ever."""
    shop.subscribe(interval="year")
    shop.run()
    shop.edit(renewal_date=moved)
    receipts = len(shop.mails())
    shop.remind("near", _noon(moved) - 5 * DAY)
    assert len(shop.mails()) == receipts + mails
    assert shop.renew("due", _noon(moved)).name == ("paid" if mails else "rejected")


def test_an_ordinary_renewal_asks_no_more_of_the_ledger(shop: World) -> None:
    """The first, the second and the twelfth: the ledger's latest periods and the row, a query each."""
    shop.subscribe()
    for _ in range(12):
        calls = len(shop.cuts.calls)
        shop.run(f"run-{shop.row()['renewal_date']}", _noon(shop.row()["renewal_date"]))
        assert shop.cuts.calls[calls:].count("dynamodb.Query") == 2


def _refunded(shop: World, part: str) -> None:
    refund = {"amount": Decimal(part), "state": "refunded", "at": NOON.isoformat(), "by": "ann", "request": "r"}
    item = shop.items()["2026-01-31"] | {"refunds": {"refund_1": refund | {"refund_id": "re_1"}}}
    shop.dynamodb.put("renewals", item)


@pytest.mark.parametrize(("part", "charges"), [("29.99", 2), ("29.98", 1)])
def test_days_that_were_refunded_whole_may_be_billed_again(shop: World, part: str, charges: int) -> None:
    """Charged on a wrong day and refunded: the row is moved to the right one. A part that stays paid keeps its days."""
    shop.subscribe()
    shop.run()
    _refunded(shop, part)
    shop.edit(renewal_date="2026-02-10")
    _sweep(shop, _noon("2026-02-10"))
    assert len(shop.gateway.charges) == charges


def _year_refunded_and_billed_by_weeks(shop: World, weeks: int) -> None:
    """A year is paid by mistake, and refunded whole; the subscription goes on by the week, from its second week on."""
    shop.subscribe(interval="year")
    shop.run()
    _refunded(shop, "29.99")
    shop.edit(interval="week", renewal_date="2026-02-07")
    for n in range(weeks):
        shop.run(f"week-{n}", _noon("2026-02-07") + 7 * n * DAY)
    assert len(shop.gateway.charges) == 1 + weeks


def _refund_fails(shop: World) -> None:
    """Weeks later, as refunds can: the money is ours again, and the year is paid."""
    item = shop.items()["2026-01-31"]
    failed = item["refunds"]["refund_1"] | {"state": "failed"}
    shop.dynamodb.put("renewals", item | {"refunds": {"refund_1": failed}})


@pytest.mark.parametrize("weeks", [2, 15])
def test_a_long_period_is_found_behind_younger_ones_that_are_paid(api: Api, weeks: int) -> None:
    """The refund of a year fails when weeks of that year have been billed instead: no more of its days are charged for
    again, the fault of the row says so, and nobody is reminded, whether or not the year is among the latest periods."""
    shop = api.shop
    _year_refunded_and_billed_by_weeks(shop, weeks)
    _refund_fails(shop)
    now = _noon(shop.row()["renewal_date"])
    mails = len(shop.mails())
    shop.remind("near", now - 2 * DAY)
    outcome = shop.renew("next", now)
    assert (outcome.name, len(shop.mails())) == ("rejected", mails)
    assert "falls into a period that is paid, 2026-01-31 to 2027-01-30" in outcome.reason
    assert len(shop.gateway.charges) == 1 + weeks
    shop.edit(test_clock=f"{now:%Y-%m-%d}")
    assert "2026-01-31 to 2027-01-30" in api("GET", "/subscriptions/sub_1").body["fault"]["reason"]


def test_a_subscription_that_ends_is_not_kept_by_a_long_period_that_was_refunded(shop: World) -> None:
    """A year was refunded, and weeks were billed instead: canceled at the end of its week it ends with that week."""
    _year_refunded_and_billed_by_weeks(shop, 3)
    end = shop.row()["renewal_date"]
    shop.edit(cancel_at=end)
    shop.run("ends", _noon(end), period=end)
    assert (shop.row()["status"], shop.row()["ended_on"]) == ("canceled", end)


@pytest.mark.parametrize("moved", ["2026-01-30", "2026-02-10"])
def test_an_overlap_is_shown_wherever_the_row_is(api: Api, moved: str) -> None:
    """Before its date comes and after: as fault of the subscription, in lists, and instead of a preview."""
    shop = api.shop
    shop.subscribe()
    shop.run()
    shop.edit(renewal_date=moved, test_clock="2026-02-01")
    fault = api("GET", "/subscriptions/sub_1").body["fault"]
    assert fault["field"] == "renewal_date"
    assert "that is paid, 2026-01-31 to 2026-02-27" in fault["reason"]
    assert [each["fault"] for each in api("GET", "/subscriptions").body["items"]] == [fault]
    preview = api("GET", "/subscriptions/sub_1/preview")
    assert (preview.status, fault["reason"] in preview.body["detail"]) == (409, True)


def _twelve_days_paid(shop: World) -> None:
    shop.subscribe(interval="day", renewal_date="2026-01-01")
    for day in range(1, 13):
        shop.renew(f"run-{day}", _noon(f"2026-01-{day:02}"))


def _refunded_whole_and_billed_by_weeks(shop: World) -> None:
    shop.subscribe()
    shop.run()
    _refunded(shop, "29.99")
    shop.edit(interval="week")


def _unpaid_before_ten_paid_days(shop: World, **ended: Any) -> None:
    """2 January ended without a payment, 3 to 12 January are paid."""
    shop.subscribe(interval="day", renewal_date="2026-01-02")
    for day in range(2, 13):
        shop.renew(f"run-{day}", _noon(f"2026-01-{day:02}"))
    unpaid = {name: value for name, value in shop.items()["2026-01-02"].items() if name not in ("paid_at", "mails")}
    shop.dynamodb.put("renewals", unpaid | {"mails": {}} | ended)


def _given_up_before_ten_paid_days(shop: World) -> None:
    _unpaid_before_ten_paid_days(shop, status="given_up", reason="dunning_over")


def _failed_before_ten_paid_days(shop: World) -> None:
    _unpaid_before_ten_paid_days(shop, status="failed", reason="gateway: canceled")


@pytest.mark.parametrize(
    ("paid", "moved"),
    [
        *product(
            [_given_up_before_ten_paid_days, _failed_before_ten_paid_days], ["2025-12-31", "2026-01-01", "2026-01-02"]
        ),
        (_given_up_before_ten_paid_days, "2026-01-11"),
        (_twelve_days_paid, "2026-01-01"),
        (_twelve_days_paid, "2025-12-20"),
        (_twelve_days_paid, "2026-01-11"),
        (_refunded_whole_and_billed_by_weeks, "2026-01-24"),
        (_refunded_whole_and_billed_by_weeks, "2026-01-23"),
    ],
)
def test_a_claim_that_the_ledger_would_refuse_is_shown_before(
    api: Api, paid: Callable[[World], None], moved: str
) -> None:
    """No day is paid twice, but a date that the claim would write was billed before: the fault of the subscription and
    the preview say so, word for word as the charge is rejected; and they say nothing where it is charged."""
    shop, day = api.shop, "2026-02-06" if paid is _refunded_whole_and_billed_by_weeks else "2026-01-20"
    paid(shop)
    shop.edit(renewal_date=moved, test_clock=day)
    fault = api("GET", "/subscriptions/sub_1").body["fault"]
    preview = api("GET", "/subscriptions/sub_1/preview")
    outcome = shop.renew("again", _noon(day))
    if outcome.name == "rejected":
        assert f"{fault['field']}: {fault['reason']}" == outcome.reason
        assert (preview.status, fault["reason"] in preview.body["detail"]) == (409, True)
    else:
        assert (fault, preview.status) == (None, 200)
    assert (outcome.name, outcome.reason) == (
        ("paid", "")
        if moved in ("2026-01-11", "2026-01-23")
        else ("rejected", "renewal_date: a period from here on is in the ledger already")
    )


def test_the_sweep_moves_a_row_past_paid_periods_that_are_older_than_the_latest_ten(api: Api) -> None:
    """The sweep names the date of the row, so that its execution reads the period of that date too, however old; fault
    and preview, as a webhook, know the latest ten alone. The row moves on with each sweep, and no day is paid twice."""
    shop = api.shop
    _twelve_days_paid(shop)
    shop.edit(renewal_date="2026-01-01", test_clock="2026-01-20")
    dates = [shop.row()["renewal_date"]]
    while dates[-1] < "2026-01-13":
        assert len(shop.gateway.charges) == 12
        before = api("GET", "/subscriptions/sub_1").body["fault"]
        assert (before is None) == (dates[-1] >= "2026-01-03")
        _sweep(shop, _noon("2026-01-20"), runs=1)
        assert shop.row()["renewal_date"] > dates[-1]
        dates.append(shop.row()["renewal_date"])
    _sweep(shop, _noon("2026-01-20"), runs=1)
    assert (len(shop.gateway.charges), shop.row()["renewal_date"]) == (13, "2026-01-21")
    _expect_no_day_twice(shop)


def test_the_sweep_bills_a_row_put_back_to_a_period_that_came_to_nothing_before_the_latest_ten(api: Api) -> None:
    """As above, where the period of the row's date was given up: a webhook is rejected, the sweep bills the latest day
    that is due, and no day twice."""
    shop = api.shop
    _given_up_before_ten_paid_days(shop)
    shop.edit(renewal_date="2026-01-02", test_clock="2026-01-20")
    assert api("GET", "/subscriptions/sub_1").body["fault"]
    charges = len(shop.gateway.charges)
    _sweep(shop, _noon("2026-01-20"), runs=1)
    assert (len(shop.gateway.charges), shop.row()["renewal_date"]) == (charges + 1, "2026-01-21")
    _expect_no_day_twice(shop)


def test_a_later_charge_that_would_be_rejected_ends_the_preview(shop: World) -> None:
    """The first period back ends where the paid one begins; the one after it falls into that."""
    shop.subscribe(renewal_date="2026-03-31", catch_up="each")
    shop.run("paid", _noon("2026-03-31"))
    shop.edit(renewal_date="2026-02-20", anchor_day=Decimal(20))
    shown = _register(shop).next_charges(shop.row(), date(2026, 4, 1), 12)
    assert [charge.start for charge in shown.charges] == [date(2026, 2, 20)]
    assert "that is paid, 2026-03-31 to 2026-04-29" in shown.then


def test_a_row_put_back_to_a_paid_date_is_previewed_as_it_will_be_charged(shop: World) -> None:
    """It is no overlap: the charge moves it past what is paid first, with its anchor."""
    shop.subscribe()
    shop.run()
    shop.subscribe()
    shown = _register(shop).next_charges(shop.row(), date(2026, 2, 1), 2)
    assert [charge.on for charge in shown.charges] == [date(2026, 2, 28), date(2026, 3, 31)]
    assert _register(shop).fault(shop.row(), date(2026, 2, 1)) is None


def test_a_row_moved_while_another_run_claims_is_not_billed_beside_it() -> None:
    """A run has read the ledger; meanwhile another one claims the period, and the row is moved back by a day: at
    whichever call of the first run that happens, no day is paid twice."""
    for at in range(12):
        shop = World()
        shop.subscribe()
        shop.cuts.at = at

        def meanwhile(_point: str, shop: World = shop) -> None:
            shop.cuts.at = len(shop.cuts.calls) * 2 + 6  # after the claim of the second run
            shop.cuts.happens = lambda _point: shop.edit(renewal_date="2026-01-30")
            shop.run("second", NOON)

        shop.cuts.happens = meanwhile
        shop.run("first", NOON)
        for n in range(3):
            shop.run(f"later-{n}", NOON + (n + 1) * LATER)
        _expect_no_day_twice(shop)
