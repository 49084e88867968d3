"""A subscription that has reached its `cancel_at` is canceled for every reader and every caller."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from local.console.look import listed_from
from renewals.domain import subscription, transitions
from renewals.domain.errors import Overtaken
from renewals.domain.preview import preview
from renewals.domain.reasons import Reason
from renewals.domain.renewal import Renewal
from renewals.domain.transitions import Action, NotAllowed
from renewals.ledger.payment_steps import stands_by, why_withdrawn
from renewals.ledger.register import Register
from renewals.ledger.steps import Step
from tests.fakes import DUE, NOON, World
from tests.unit.test_subscriptions_api import Api, api
from tests.unit.test_sweep import Sweeper

__all__ = ["api"]  # the fixture

DAY = timedelta(days=1)
OVER = [
    {"status": "active", "renewal_date": "2026-02-28", "cancel_at": "2026-02-28"},
    {"status": "past_due", "renewal_date": "2026-02-28", "cancel_at": "2026-02-28"},
    {"status": "paused", "renewal_date": "2026-02-28", "cancel_at": "2026-02-28"},
    {"status": "paused", "renewal_date": "2026-01-31", "cancel_at": "2026-02-28"},
    {"status": "unpaid", "renewal_date": "2026-01-31", "cancel_at": "2026-02-28"},
]
LATER_ON = date(2027, 3, 1)


@pytest.mark.parametrize("row", OVER)
def test_the_api_says_canceled_from_the_day_of_the_end_on(api: Api, row: dict[str, Any]) -> None:
    """From the day of its end on, a subscription is read, listed, previewed and told as canceled, before any sweep has
    written the status."""
    api.shop.subscribe(**row, test_clock="2026-02-28")
    assert api("GET", "/subscriptions/sub_1").body["status"] == "canceled"
    for status in ("active", "past_due", "paused", "unpaid", "canceled"):
        listed = api("GET", "/subscriptions", query={"status": status}).body["items"]
        assert [each["status"] for each in listed] == (["canceled"] if status == "canceled" else [])
    assert [each["status"] for each in api("GET", "/subscriptions", query={"customer_id": "cus_1"}).body["items"]] == [
        "canceled"
    ]
    assert api("GET", "/subscriptions/sub_1/preview").body == {
        "items": [],
        "then": "The subscription ended on 28 February 2026. Nothing is charged any more.",
    }
    told = api("GET", "/subscriptions/sub_1/timeline").body["items"]
    assert [(each["kind"], each["at"][:10]) for each in told] == [("ended", "2026-02-28")]
    assert listed_from(api.shop.row(), date(2026, 2, 28), None).status == "canceled"


@pytest.mark.parametrize("row", OVER)
def test_the_day_before_it_is_what_it_was(api: Api, row: dict[str, Any]) -> None:
    """On the day before its end a subscription still has its old status."""
    api.shop.subscribe(**row, test_clock="2026-02-27")
    assert api("GET", "/subscriptions/sub_1").body["status"] == row["status"]
    assert [each["kind"] for each in api("GET", "/subscriptions/sub_1/timeline").body["items"]] == []


@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize("row", OVER)
def test_what_has_ended_takes_no_change(row: dict[str, Any], action: Action) -> None:
    """Every change of an ended subscription is refused with a reason in words, even resuming a subscription that ended
    in its pause."""
    with pytest.raises(NotAllowed, match="it has ended"):
        transitions.changes(row, action, LATER_ON)


def test_resuming_what_ended_in_its_pause_is_refused_by_the_api(api: Api) -> None:
    """The API answers 409 when a subscription that ended in its pause is to be resumed, and leaves the row
    unchanged."""
    api.shop.subscribe(status="paused", renewal_date="2026-02-28", cancel_at="2026-02-28", test_clock="2026-03-05")
    before = dict(api.shop.row())
    refused = api("POST", "/subscriptions/sub_1/resume")
    assert (refused.status, refused.body["detail"]) == (409, "The subscription cannot be resumed: it has ended.")
    assert api.shop.row() == before


@pytest.mark.parametrize("row", OVER[:4])
@pytest.mark.parametrize("kind", ["due", "all"])
def test_the_sweep_writes_the_end(shop: World, row: dict[str, Any], kind: str) -> None:
    """On the day of the end or later the sweep writes the end into the row, once and without a charge, and the timeline
    keeps the day of the end."""
    if kind == "due" and row["renewal_date"] < row["cancel_at"]:
        kind = "all"
    shop.subscribe(**row)
    for n in range(3):
        now = datetime(2026, 2, 28, 12, tzinfo=NOON.tzinfo) + n * DAY
        sweeper = Sweeper(shop)
        sweeper.sweep(kind, now=now)
        sent = sweeper.sent()
        assert len(sent) == (n == 0), sent
        for message in sent:
            shop.run(f"end-{n}", now, amount=message["amount"], period=message["renewal_date"])
    assert (shop.row()["status"], shop.row()["ended_on"]) == ("canceled", "2026-02-28")
    assert not shop.gateway.charges
    client: Any = shop.dynamodb
    register = Register(client, subscriptions="subscriptions", renewals="renewals", changes="changes")
    entries, _ = register.timeline(shop.row(), NOON.tzinfo or NOON.astimezone().tzinfo, LATER_ON)  # type: ignore[arg-type]
    assert [(entry.kind, entry.at.date()) for entry in entries] == [("ended", date(2026, 2, 28))]


def test_what_was_canceled_before_its_end_ended_on_no_other_day(api: Api) -> None:
    """When a subscription with a later end is canceled at once, the timeline tells of the cancellation and of no later
    end."""
    api.shop.subscribe(test_clock="2026-01-10")
    assert api("POST", "/subscriptions/sub_1/cancel", {"when": "at_period_end"}).status == 200
    assert api("POST", "/subscriptions/sub_1/cancel", {"when": "now"}).status == 200
    api.shop.edit(test_clock="2026-06-01")
    kinds = [each["kind"] for each in api("GET", "/subscriptions/sub_1/timeline").body["items"]]
    assert kinds == ["ending", "canceled"]


def test_a_period_that_began_before_the_end_is_still_collected(shop: World) -> None:
    """A period declined on 31 January is still collected after the end on 10 February: the subscription is past due
    until the period is paid, and ended afterwards."""
    shop.subscribe(payment_method="pm_declined", cancel_at="2026-02-10")
    shop.run("declined")
    assert transitions.state(shop.row(), date(2026, 2, 12)) == "past_due"
    shop.edit(payment_method="pm_ok")
    shop.run("paid", NOON + 12 * DAY)
    assert len(shop.gateway.charges) == 1
    assert transitions.state(shop.row(), date(2026, 2, 12)) == "ended"


def test_an_end_within_a_paid_period_comes_on_its_very_day_and_the_preview_warns_of_it(api: Api) -> None:
    """A subscription paid until 27 February and set to end on 15 February is canceled from 15 February on, without a
    refund; before, the preview says how many paid days are given up."""
    api.shop.subscribe()
    api.shop.run()
    end = "The subscription ends on 15 February 2026."
    warning = "13 paid days are given up, and no refund is made automatically."
    api.shop.edit(cancel_at="2026-02-15", test_clock="2026-02-14")
    assert api("GET", "/subscriptions/sub_1").body["status"] == "active"
    assert api("GET", "/subscriptions/sub_1/preview").body == {"items": [], "then": f"{end} {warning}"}
    api.shop.edit(test_clock="2026-02-15")
    assert api("GET", "/subscriptions/sub_1").body["status"] == "canceled"
    api.shop.run("end", NOON + 15 * DAY, period="2026-02-28")
    assert (api.shop.row()["status"], api.shop.row()["ended_on"]) == ("canceled", "2026-02-15")
    assert (len(api.shop.gateway.charges), api.shop.gateway.refunds) == (1, {})


def test_the_preview_warns_of_an_end_within_a_period_that_is_still_to_be_charged(api: Api) -> None:
    """A period that begins before the end is charged whole, and the preview warns that its days after the end are given
    up, if the period is paid. An end together with the period gives up no day, and is told without a warning."""
    api.shop.subscribe(cancel_at="2026-02-27", test_clock="2026-01-10")
    shown = api("GET", "/subscriptions/sub_1/preview").body
    assert [each["period_end"] for each in shown["items"]] == ["2026-02-28"]
    assert shown["then"] == (
        "The subscription ends on 27 February 2026. 1 day of the period charged last is given up, and once the period "
        "is paid, no refund is made automatically."
    )
    api.shop.edit(cancel_at="2026-02-28")
    assert api("GET", "/subscriptions/sub_1/preview").body["then"] == "The subscription ends on 28 February 2026."


def test_the_preview_calls_no_refused_period_paid(shop: World) -> None:
    """After a decline on 31 January and with an end on 15 February, the preview does not call the days given up
    paid."""
    shop.subscribe(payment_method="pm_declined", cancel_at="2026-02-15")
    shop.run("declined")
    [renewal] = shop.ledger.history("sub_1", "cus_1")
    shown = preview(subscription.parse(shop.row()), today=date(2026, 2, 1), count=3, refused=renewal)
    assert len(shown.charges) == 1
    assert "13 days of the period charged last are given up, and once the period is paid, no refund" in shown.then
    assert "that are paid" not in shown.then


def test_an_end_is_refused_to_a_row_that_changes_at_this_moment(shop: World) -> None:
    """When the end is taken back between the look and the write of the end, the edit stands."""
    for at in range(2, 8):
        world = World()
        world.subscribe(renewal_date="2026-02-28", cancel_at="2026-02-28")
        world.cuts.at = at

        def lifted(_point: str, world: World = world) -> None:
            row = {name: value for name, value in world.row().items() if name not in ("cancel_at", "ended_on")}
            world.dynamodb.put("subscriptions", row | {"status": "active"})

        world.cuts.happens = lifted
        world.run("end", NOON + 28 * DAY, period="2026-02-28")
        assert world.row()["status"] != "canceled" or "cancel_at" in world.row()


@pytest.mark.parametrize("written", [None, "31.1.2026"])
@pytest.mark.parametrize("by", ["api", "sweep"])
def test_a_refused_period_is_given_up_though_the_row_that_has_ended_lost_its_date(
    api: Api, by: str, written: str | None
) -> None:
    """A canceled subscription whose row has no date, or no valid date, still has its declined period given up. The
    request that closes the period names no date, and is readable for ProcessPayment."""
    api.shop.subscribe(payment_method="pm_declined")
    api.shop.run()
    row = {name: value for name, value in api.shop.row().items() if name != "renewal_date"}
    api.shop.dynamodb.put("subscriptions", row | ({"renewal_date": written} if written else {}))
    if by == "api":
        assert api("POST", "/subscriptions/sub_1/cancel", {"when": "now"}).status == 200
        [request] = api.started
    else:
        api.shop.edit(status="canceled")
        sweeper = Sweeper(api.shop)
        sweeper.sweep("all", now=NOON + DAY)
        [request] = sweeper.sent()
    assert "renewal_date" not in request
    api.shop.execute(request, "run-2", NOON + DAY)
    assert api.shop.items()["2026-01-31"]["status"] == "given_up"


@pytest.mark.parametrize(
    ("end", "ends"), [(None, False), ("2026-01-30", True), ("2026-01-31", True), ("2026-02-01", False)]
)
def test_an_end_is_compared_with_a_day_alike_wherever_it_is_asked_about(
    shop: World, end: str | None, ends: bool
) -> None:
    """The parsed subscription, the raw row, the reason for withdrawing a claim and the DynamoDB condition of a payment
    agree on whether the period of 31 January lies at or after the end."""
    shop.subscribe()
    shop.run()
    claimed = shop.ledger.get("sub_1", DUE.isoformat())
    assert claimed is not None
    shop.subscribe(cancel_at=end)
    row = shop.row()
    assert subscription.parse(row).ends_by(DUE) is ends
    assert subscription.ends_by(row, DUE) is ends
    assert (why_withdrawn(claimed, row) is Reason.ENDS_BEFORE) is ends
    assert _is_refused(shop, claimed) is ends


def test_for_an_end_that_nobody_can_read_nothing_is_charged(shop: World) -> None:
    """With a number in the place of the end's day the claim is withdrawn, and DynamoDB's condition refuses the
    payment."""
    shop.subscribe()
    shop.run()
    claimed = shop.ledger.get("sub_1", DUE.isoformat())
    assert claimed is not None
    shop.subscribe(cancel_at=Decimal(20260301))
    assert why_withdrawn(claimed, shop.row()) is Reason.ENDS_BEFORE
    assert _is_refused(shop, claimed)


def _is_refused(shop: World, claimed: Renewal) -> bool:
    """Whether DynamoDB, as the row stands, refuses to let the claim's payment be made."""
    try:
        shop.ledger.apply(Step(None, (stands_by(claimed),)))
    except Overtaken:
        return True
    return False


@pytest.mark.parametrize("due", ["2025-3-1", "1999-12-31", "2026-02-30", ""])
def test_a_row_whose_date_is_none_is_not_over_by_itself(shop: World, due: str) -> None:
    """A row without a valid renewal date may owe periods from before its end, and is therefore not shown as
    canceled."""
    shop.subscribe(renewal_date=due, cancel_at="2026-11-20")
    assert not subscription.is_over(shop.row(), date(2026, 11, 29))
