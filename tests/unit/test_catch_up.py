"""Missed periods and paused time: which periods are billed, and which items the ledger keeps."""

from datetime import date, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from renewals.domain.schedule import MOST_CAUGHT_UP
from tests.fakes import LATER, NOON, World


def _noon(month: int, day: int) -> datetime:
    return NOON.replace(month=month, day=day)


def _sweep(shop: World, now: datetime, runs: int = 1) -> None:
    """Run the workflow as the sweep does: every message names the period at which the row stands."""
    for n in range(runs):
        shop.run(f"sweep-{now:%m-%d}-{n}", now + n * LATER, period=shop.row()["renewal_date"])


def _statuses(shop: World) -> dict[str, str]:
    return {day: item["status"] for day, item in shop.items().items()}


# --- catch_up = each ------------------------------------------------------------------------------------------------


def test_each_missed_period_is_billed_oldest_first(shop: World) -> None:
    """With `catch_up` = `each`, the missed periods of January to April are billed oldest first, with a charge, a
    receipt and a mail for every period, and nothing more is billed afterwards."""
    shop.subscribe(catch_up="each")
    _sweep(shop, _noon(4, 30), runs=6)
    assert _statuses(shop) == dict.fromkeys(["2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30"], "done")
    assert len(shop.gateway.charges) == len(shop.receipts()) == len(shop.mails()) == 4
    assert shop.row()["renewal_date"] == "2026-05-31"


def test_a_message_that_comes_again_bills_no_further_period(shop: World) -> None:
    """A message of the sweep delivered again bills no further period, since the message names its period."""
    shop.subscribe(catch_up="each")
    for n in range(5):
        shop.run(f"again-{n}", _noon(4, 30) + n * LATER, period="2026-01-31")
    assert len(shop.gateway.charges) == 1


@pytest.mark.parametrize(
    ("interval", "months"),
    [("day", ["2026-01-20", "2026-02-20"]), ("week", ["2025-11-12", "2025-12-12", "2026-01-12", "2026-02-12"])],
)
def test_a_failed_day_or_week_that_becomes_a_month_is_a_whole_one(
    shop: World, interval: str, months: list[str]
) -> None:
    """More than twelve days or weeks were missed, the oldest of the latest twelve failed for want of a gateway
    customer, and the plan becomes monthly: from the failed period on, every billed month is a whole month."""
    shop.subscribe(interval=interval, renewal_date="2025-10-01", catch_up="each", gateway_customer="cus_gone")
    _sweep(shop, NOON)
    shop.edit(interval="month", gateway_customer="cus_gw")
    _sweep(shop, NOON + LATER, runs=6)
    paid = {day: item["period_end"] for day, item in sorted(shop.items().items()) if "paid_at" in item}
    assert paid == dict(pairwise(months))


@pytest.mark.parametrize("catch_up", ["each", "latest"])
@pytest.mark.parametrize("back", ["2026-01-31", "2026-02-28"])
def test_a_failed_period_keeps_its_date_where_the_row_is_moved_to_an_earlier_one(
    shop: World, catch_up: str, back: str
) -> None:
    """April failed for want of a gateway customer. The row is mended and moved back to bill earlier months: every
    month, April included, is billed on its own date, and the failed claim blocks nothing."""
    shop.subscribe(renewal_date="2026-04-30", anchor_day=Decimal(31), catch_up="each", gateway_customer="cus_gone")
    _sweep(shop, _noon(4, 30))
    assert _statuses(shop) == {"2026-04-30": "failed"}
    shop.edit(gateway_customer="cus_gw", renewal_date=back, catch_up=catch_up)
    _sweep(shop, _noon(4, 30) + LATER, runs=2)
    _sweep(shop, _noon(5, 1), runs=4)
    _sweep(shop, _noon(5, 31), runs=2)
    months = ["2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30", "2026-05-31"]
    due = months[months.index(back) :] if catch_up == "each" else months[-2:]
    assert [day for day, item in sorted(shop.items().items()) if "paid_at" in item] == due


@pytest.mark.parametrize("interval", ["week", "month"])
def test_what_is_due_is_billed_though_periods_before_it_are_paid(shop: World, interval: str) -> None:
    """Two periods were passed over for a third, paid period, and the row is moved back by one more period. The latest
    due period is billed, and the items between stay as they are."""
    days = {"month": ["2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30"],
            "week": ["2026-01-31", "2026-02-07", "2026-02-14", "2026-02-21"]}[interval]  # fmt: skip
    shop.subscribe(interval=interval)
    _sweep(shop, _noon(*map(int, days[2].split("-")[1:])))
    assert _statuses(shop) == {days[0]: "skipped", days[1]: "skipped", days[2]: "done"}
    back = {"month": "2025-12-31", "week": "2026-01-24"}[interval]
    shop.edit(renewal_date=back, anchor_day=Decimal(31))
    _sweep(shop, _noon(*map(int, days[3].split("-")[1:])))
    skipped = {back: "skipped", days[0]: "skipped", days[1]: "skipped"}
    assert _statuses(shop) == skipped | {days[2]: "done", days[3]: "done"}
    assert shop.row()["renewal_date"] > days[3]


def test_a_failed_period_that_an_earlier_one_took_in_is_billed_where_that_was_refunded(shop: World) -> None:
    """The period of 30 April failed, the period of 15 April was billed instead and refunded whole, and the row was
    moved to 30 April. Days of a refunded period are unpaid, so the period of 30 April is billed."""
    shop.subscribe(renewal_date="2026-04-30", gateway_customer="cus_gone")
    _sweep(shop, _noon(4, 30))
    shop.edit(gateway_customer="cus_gw", renewal_date="2026-04-15")
    _sweep(shop, _noon(4, 30) + LATER)
    assert _statuses(shop) == {"2026-04-15": "done", "2026-04-30": "skipped"}
    refund = {"amount": Decimal("29.99"), "state": "refunded", "at": NOON.isoformat(), "by": "ann", "request": "r"}
    item = shop.items()["2026-04-15"] | {"refunds": {"refund_1": refund | {"refund_id": "re_1"}}}
    shop.dynamodb.put("renewals", item)
    shop.edit(renewal_date="2026-04-30")
    _sweep(shop, _noon(5, 1))
    assert _statuses(shop) == {"2026-04-15": "done", "2026-04-30": "done"}


def test_a_webhook_does_not_catch_up(shop: World) -> None:
    """A webhook names no period, so a second delivery would be a second charge: only the sweep bills several missed
    periods."""
    shop.subscribe(catch_up="each")
    assert shop.renew(now=_noon(4, 30)).reason == "caught_up_by_the_sweep"
    assert not shop.items()


def test_a_refused_period_is_settled_before_the_next_is_billed(shop: World) -> None:
    """When January is declined, February is not billed until January is paid."""
    shop.subscribe(catch_up="each", payment_method="pm_declined")
    _sweep(shop, _noon(4, 30), runs=3)
    assert _statuses(shop) == {"2026-01-31": "declined"}
    shop.edit(payment_method="pm_ok")
    _sweep(shop, _noon(4, 30), runs=2)
    assert _statuses(shop) == {"2026-01-31": "done", "2026-02-28": "done"}


def test_each_is_capped(shop: World) -> None:
    """At most twelve missed periods are billed, so that nobody is charged a hundred times in a night; older periods are
    passed over visibly."""
    shop.subscribe(catch_up="each", interval="day")
    _sweep(shop, _noon(3, 31), runs=MOST_CAUGHT_UP + 3)
    assert len(shop.gateway.charges) == MOST_CAUGHT_UP
    skipped = [item for item in shop.items().values() if item["status"] == "skipped"]
    assert {(item["reason"], item["billed_instead"]) for item in skipped} == {("passed_over", "2026-03-20")}
    assert len(skipped) == 60 - MOST_CAUGHT_UP


def test_a_period_claimed_as_the_latest_stays_so(shop: World) -> None:
    """March was claimed as the latest of three periods and failed: setting `catch_up` to `each` afterwards does not
    bring back the periods passed over."""
    shop.subscribe(gateway_customer="cus_gone")
    _sweep(shop, _noon(4, 1))
    shop.edit(gateway_customer="cus_gw", catch_up="each")
    _sweep(shop, _noon(5, 1), runs=4)
    assert _statuses(shop) == {
        "2026-01-31": "skipped",
        "2026-02-28": "skipped",
        "2026-03-31": "done",
        "2026-04-30": "done",
    }


# --- paused ---------------------------------------------------------------------------------------------------------


def test_paused_time_is_passed_over_and_never_billed(shop: World) -> None:
    """A pause over January and February leaves both periods as skipped. The next billed period begins on the day on
    which the subscription is active again, even when somebody resumes the subscription by hand."""
    shop.subscribe(status="paused")
    _sweep(shop, _noon(3, 1))
    assert {day: (item["status"], item["reason"]) for day, item in shop.items().items()} == {
        "2026-01-31": ("skipped", "paused"),
        "2026-02-28": ("skipped", "paused"),
    }
    assert (shop.row()["renewal_date"], shop.row()["anchor_day"]) == ("2026-03-31", 31)
    _sweep(shop, _noon(3, 2))
    assert not shop.gateway.payments
    shop.edit(status="active")
    _sweep(shop, _noon(3, 10), runs=2)
    assert _statuses(shop)["2026-03-10"] == "done"
    assert len(shop.gateway.charges) == 1
    assert (shop.row()["renewal_date"], shop.row()["anchor_day"]) == ("2026-04-10", 10)


def test_what_is_paused_by_a_webhooks_time_is_left_alone(shop: World) -> None:
    """Only the sweep moves a paused subscription; a webhook leaves the row unchanged."""
    shop.subscribe(status="paused")
    assert shop.renew().reason == "paused"
    assert not shop.items()


def test_a_pause_ends_what_stands_refused(shop: World) -> None:
    """When a declined subscription is paused, the payment is canceled, the period is given up, and the renewal date
    moves on."""
    shop.subscribe(payment_method="pm_declined")
    _sweep(shop, NOON)
    shop.edit(status="paused")
    _sweep(shop, _noon(3, 1), runs=2)
    assert _statuses(shop) == {"2026-01-31": "given_up", "2026-02-28": "skipped"}
    assert shop.row()["renewal_date"] == "2026-03-31"
    assert not shop.gateway.charges


@pytest.mark.parametrize("edit", [{"status": "active"}, {"renewal_date": "2026-06-30"}, {"interval": "day"}])
def test_a_row_edited_at_the_very_moment_is_not_moved(shop: World, edit: dict[str, Any]) -> None:
    """When the row is resumed or moved between the sweep's look and the sweep's write, the edit stands."""
    shop.subscribe(status="paused")
    shop.cuts.at = 2 * 2  # after the two queries, before the transaction
    shop.cuts.happens = lambda _point: shop.edit(**edit)
    shop.run("sweep", _noon(2, 1), period="2026-01-31")
    assert edit.items() <= shop.row().items()
    assert len(shop.gateway.charges) == (edit.get("status") == "active")


def test_a_year_of_paused_days_fits_into_one_transaction(shop: World) -> None:
    """After a paused year of a daily subscription, one transaction keeps the oldest and the latest skipped periods and
    the number of all skipped periods."""
    shop.subscribe(status="paused", interval="day", amount=Decimal(1))
    _sweep(shop, NOON.replace(year=2027))
    skipped = shop.items()
    assert len(skipped) == 96
    assert skipped["2026-01-31"]["periods_passed_over"] == 366
    assert max(skipped) == "2027-01-31"
    assert shop.row()["renewal_date"] == date(2027, 2, 1).isoformat()


def test_a_period_that_was_given_up_is_passed_over_as_it_stands(shop: World) -> None:
    """When the row is put back to before a given-up period, the given-up period lies among the missed periods: its item
    stays unchanged, and the latest period is billed."""
    shop.subscribe(payment_method="pm_declined")
    shop.run("declined")
    shop.edit(status="canceled")
    shop.run("given up", NOON + LATER)
    assert _statuses(shop) == {"2026-01-31": "given_up"}
    shop.edit(status="active", renewal_date="2025-12-31", payment_method="pm_ok")
    assert shop.run("active again", _noon(2, 28)) == "Success"
    assert _statuses(shop) == {"2025-12-31": "skipped", "2026-01-31": "given_up", "2026-02-28": "done"}
    assert len(shop.gateway.charges) == 1
