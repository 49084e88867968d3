"""No day of a subscription is paid twice, whoever moved its renewal date."""

from collections import Counter
from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import product
from typing import Any

import pytest

from renewals.ledger import forecast
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
    """31 January to 27 February is paid: a row moved to 30 January is rejected, because its period would reach into the
    paid period."""
    shop.subscribe()
    shop.run()
    shop.edit(renewal_date="2026-01-30")
    outcome = shop.renew("moved", NOON + LATER)
    assert outcome.name == "rejected"
    assert outcome.reason == (
        "renewal_date: begins a period, 2026-01-30 to 2026-02-27, that overlaps a paid period, 2026-01-31 to 2026-02-27"
    )
    assert len(shop.gateway.charges) == 1


def test_the_sweep_asks_for_a_row_that_reaches_into_what_is_paid_in_vain_and_fails_no_run(shop: World) -> None:
    """The sweep's message for an overlapping row ends in success without a charge, because retries would be useless: no
    message becomes a dead letter night after night, the audit names the row, and the row shows its fault. A webhook is
    rejected. Once the row is mended, the sweep's next message charges."""
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


def _paid_three_times(interval: str, catch_up: str) -> tuple[Callable[[], World], datetime]:
    """Return what makes copies of a shop with three paid periods, and the moment of the third payment."""
    shop = World()
    shop.subscribe(interval=interval, catch_up=catch_up)
    now = NOON
    for _ in range(3):
        now = _noon(shop.row()["renewal_date"])
        shop.run(f"paid-{now}", now)
    return shop.copies(), now


PAID = {each: _paid_three_times(*each) for each in product(["week", "month"], ["latest", "each"])}


@pytest.mark.parametrize(
    ("moved", "interval", "catch_up"), share(product(range(-40, 40, 3), ["week", "month"], ["latest", "each"]), of=13)
)
def test_wherever_a_row_is_moved_to_no_day_is_paid_twice(moved: int, interval: str, catch_up: str) -> None:
    """Three periods are paid, the date is moved, and sweeps come for weeks: no day is paid twice."""
    begin, now = PAID[interval, catch_up]
    shop = begin()
    shop.edit(renewal_date=(now.date() + moved * DAY).isoformat())
    for n in range(8):
        _sweep(shop, now + 9 * n * DAY)
    _expect_no_day_twice(shop)


@pytest.mark.parametrize("first", ["2025-11-07", "2025-11-10"])
def test_a_paid_period_far_in_the_past_is_looked_for(shop: World, first: str) -> None:
    """Eighteen weeks are paid, and the row is moved back by almost twelve weeks, to be caught up week by week: the
    ledger is asked for paid periods older than the latest ten, and nothing is charged."""
    shop.subscribe(interval="week", renewal_date="2025-09-12", catch_up="each")
    for n in range(18):
        shop.run(f"week-{n}", _noon("2025-09-12") + 7 * n * DAY)
    assert len(shop.gateway.charges) == 18
    shop.edit(renewal_date=first)
    _sweep(shop, _noon("2026-01-09") + LATER)
    assert len(shop.gateway.charges) == 18


@pytest.mark.parametrize(("moved", "mails"), [("2026-06-10", 0), ("2027-01-31", 1)])
def test_nobody_is_reminded_of_a_renewal_that_will_be_rejected(shop: World, moved: str, mails: int) -> None:
    """A year is paid, and the date is moved into the year: no mail announces a charge. The renewal after the year is
    announced as usual."""
    shop.subscribe(interval="year")
    shop.run()
    shop.edit(renewal_date=moved)
    receipts = len(shop.mails())
    shop.remind("near", _noon(moved) - 5 * DAY)
    assert len(shop.mails()) == receipts + mails
    assert shop.renew("due", _noon(moved)).name == ("paid" if mails else "rejected")


def test_an_ordinary_renewal_asks_no_more_of_the_ledger(shop: World) -> None:
    """The first to the twelfth renewal make only two queries each: the ledger's latest periods and the row."""
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
    """After a charge for a wrong date was refunded whole, the row is moved to the right date and billed; days that stay
    paid in part are not billed again."""
    shop.subscribe()
    shop.run()
    _refunded(shop, part)
    shop.edit(renewal_date="2026-02-10")
    _sweep(shop, _noon("2026-02-10"))
    assert len(shop.gateway.charges) == charges


def _year_refunded_and_billed_by_weeks(shop: World, weeks: int) -> None:
    """Pay a year by mistake and refund it whole; then bill the subscription by the week, from the second week on."""
    shop.subscribe(interval="year")
    shop.run()
    _refunded(shop, "29.99")
    shop.edit(interval="week", renewal_date="2026-02-07")
    for n in range(weeks):
        shop.run(f"week-{n}", _noon("2026-02-07") + 7 * n * DAY)
    assert len(shop.gateway.charges) == 1 + weeks


def _refund_fails(shop: World) -> None:
    """Let the refund fail weeks later, as refunds can: the year counts as paid again."""
    item = shop.items()["2026-01-31"]
    failed = item["refunds"]["refund_1"] | {"state": "failed"}
    shop.dynamodb.put("renewals", item | {"refunds": {"refund_1": failed}})


@pytest.mark.parametrize("weeks", [2, 15])
def test_a_long_period_is_found_behind_newer_ones_that_are_paid(api: Api, weeks: int) -> None:
    """The refund of a year fails after weeks of the year were billed instead: no further day of the year is charged,
    the row's fault says so, and nobody is reminded, whether or not the year is among the latest periods."""
    shop = api.shop
    _year_refunded_and_billed_by_weeks(shop, weeks)
    _refund_fails(shop)
    now = _noon(shop.row()["renewal_date"])
    mails = len(shop.mails())
    shop.remind("near", now - 2 * DAY)
    outcome = shop.renew("next", now)
    assert (outcome.name, len(shop.mails())) == ("rejected", mails)
    assert "falls into a paid period, 2026-01-31 to 2027-01-30" in outcome.reason
    assert len(shop.gateway.charges) == 1 + weeks
    shop.edit(test_clock=f"{now:%Y-%m-%d}")
    assert "2026-01-31 to 2027-01-30" in api("GET", "/subscriptions/sub_1").body["fault"]["reason"]


def test_a_subscription_that_ends_is_not_kept_by_a_long_period_that_was_refunded(shop: World) -> None:
    """A year was refunded and weeks were billed instead: the subscription canceled at its week's end ends with the
    week."""
    _year_refunded_and_billed_by_weeks(shop, 3)
    end = shop.row()["renewal_date"]
    shop.edit(cancel_at=end)
    shop.run("ends", _noon(end), period=end)
    assert (shop.row()["status"], shop.row()["ended_on"]) == ("canceled", end)


@pytest.mark.parametrize("moved", ["2026-01-30", "2026-02-10"])
def test_an_overlap_is_shown_wherever_the_row_is(api: Api, moved: str) -> None:
    """Before and after its date, an overlap is shown as the subscription's fault, in lists, and instead of a
    preview."""
    shop = api.shop
    shop.subscribe()
    shop.run()
    shop.edit(renewal_date=moved, test_clock="2026-02-01")
    fault = api("GET", "/subscriptions/sub_1").body["fault"]
    assert fault["field"] == "renewal_date"
    assert "a paid period, 2026-01-31 to 2026-02-27" in fault["reason"]
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
    """Let 2 January end without a payment, and pay 3 to 12 January."""
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
    """Where the claim would write a date that was billed before, the subscription's fault and the preview say so in the
    words of the rejection, although no day would be paid twice; where the date is charged, both say nothing."""
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
        else ("rejected", "renewal_date: the ledger already has a period from this date on")
    )


def test_the_sweep_moves_a_row_past_paid_periods_that_are_older_than_the_latest_ten(api: Api) -> None:
    """The sweep names the row's date, so its execution reads the date's period, however old; fault, preview and webhook
    know only the latest ten periods. The row moves on with each sweep, and no day is paid twice."""
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
    """A row is put back to a given-up period older than the latest ten: a webhook is rejected, the sweep bills the
    latest due day, and no day is paid twice."""
    shop = api.shop
    _given_up_before_ten_paid_days(shop)
    shop.edit(renewal_date="2026-01-02", test_clock="2026-01-20")
    assert api("GET", "/subscriptions/sub_1").body["fault"]
    charges = len(shop.gateway.charges)
    _sweep(shop, _noon("2026-01-20"), runs=1)
    assert (len(shop.gateway.charges), shop.row()["renewal_date"]) == (charges + 1, "2026-01-21")
    _expect_no_day_twice(shop)


def test_a_later_charge_that_would_be_rejected_ends_the_preview(shop: World) -> None:
    """The preview shows the first earlier period, which ends before the paid period, and stops before the next, which
    would overlap."""
    shop.subscribe(renewal_date="2026-03-31", catch_up="each")
    shop.run("paid", _noon("2026-03-31"))
    shop.edit(renewal_date="2026-02-20", anchor_day=Decimal(20))
    shown = forecast.next_charges(_register(shop).ledger, shop.row(), date(2026, 4, 1), 12)
    assert [charge.start for charge in shown.charges] == [date(2026, 2, 20)]
    assert "a paid period, 2026-03-31 to 2026-04-29" in shown.then


def test_a_row_put_back_to_a_paid_date_is_previewed_as_it_will_be_charged(shop: World) -> None:
    """A row put back to a paid date is no overlap: the preview shows the charges after the row has moved past the paid
    period, with its anchor."""
    shop.subscribe()
    shop.run()
    shop.subscribe()
    shown = forecast.next_charges(_register(shop).ledger, shop.row(), date(2026, 2, 1), 2)
    assert [charge.on for charge in shown.charges] == [date(2026, 2, 28), date(2026, 3, 31)]
    assert forecast.fault(_register(shop).ledger, shop.row(), date(2026, 2, 1)) is None


def test_a_row_moved_while_another_run_claims_is_not_billed_beside_it() -> None:
    """After a run has read the ledger, a second run claims the period and the row is moved back by a day: at whichever
    call of the first run, no day is paid twice."""
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
