"""What a reminder named is what is charged, or the customer is told again in time: whatever is changed in between, and
when, and whatever became of the mail."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from renewals.domain import offers, reminders
from renewals.domain.preview import preview
from renewals.domain.subscription import parse
from tests.fake_aws import error
from tests.fakes import DUE, NOON, World
from tests.unit.test_mail_feedback import bounce
from tests.unit.test_reminders import YEARLY, _card, _text
from tests.unit.test_sweep import SENT

DAY = timedelta(days=1)
DOUBLED = {"amount": Decimal("59.98")}


def _before(days: int) -> datetime:
    return NOON - timedelta(days=days)


def _reminded(**attributes: Any) -> World:
    """A yearly subscription that was told a week before of 29.99 USD on 31 January."""
    shop = World()
    shop.subscribe(**YEARLY | {"known_card": _card("2030-12")} | attributes)
    assert shop.remind("told", _before(7)) == "Success"
    assert len(shop.mails()) == 1
    return shop


def _charged(shop: World) -> str:
    """What is charged when the sweep's message comes on its day."""
    shop.run("worker", NOON, str(shop.row()["amount"]), period="2026-01-31")
    [(_, amount, currency)] = shop.gateway.charges
    return f"{Decimal(amount) / 100} {currency}"


def _nights(shop: World, since: int, until: int = 1) -> None:
    """The nightly scan of each day asks to remind where one may be owed."""
    for days in range(since, until - 1, -1):
        if reminders.may_be_owed(parse(shop.row()), _before(days).date(), 7):
            shop.remind(f"night-{days}", _before(days))


def _named(shop: World) -> list[str]:
    """The amounts that the reminders named, oldest first."""
    mails = (_text(mail) for mail in shop.mails() if "renews on" in mail["Subject"] or "card" in mail["Subject"])
    return [text.partition("  Amount: ")[2].splitlines()[0] for text in mails]


# --- another price ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("days", range(7, 2, -1))
def test_another_price_is_told_again_three_days_before_or_earlier(days: int) -> None:
    """Once, on the same or the next night; then that is what is charged."""
    shop = _reminded()
    shop.edit(**DOUBLED)
    _nights(shop, days)
    assert _named(shop) == ["29.99 USD", "59.98 USD"]
    assert _charged(shop) == "59.98 USD"


@pytest.mark.parametrize("days", [2, 1, 0])
def test_what_was_named_holds_where_there_is_no_time_to_tell_again(days: int) -> None:
    """Two days before or later, also on the day itself: this renewal costs what the mail said, the next one the new
    price, and no mail says anything else."""
    shop = _reminded()
    _nights(shop, 6, days + 1)
    shop.edit(**DOUBLED)
    _nights(shop, days)
    assert _named(shop) == ["29.99 USD"]
    assert _charged(shop) == "29.99 USD"
    year = timedelta(days=365)
    assert shop.run("next", NOON + year, "59.98") == "Success"
    assert [amount for _, amount, _ in shop.gateway.charges] == [2999, 5998]


@pytest.mark.parametrize(("days", "charged"), [(1, "19.99 USD"), (0, "29.99 USD")])
def test_a_lower_price_is_told_until_the_day_before(days: int, charged: str) -> None:
    """Good news needs no notice; on the day itself nobody is told any more, and what was named holds."""
    shop = _reminded()
    shop.edit(amount=Decimal("19.99"))
    _nights(shop, days)
    assert _named(shop)[-1] == charged == _charged(shop)


@pytest.mark.parametrize(
    "change",
    [
        {"currency": "EUR"}, {"plan": "Basic"}, {"interval": "month"}, {"interval_count": Decimal(2)},
        {"interval": "month", "amount": Decimal("2.99")}, {"amount": Decimal("19.99"), "currency": "EUR"},
    ],
)  # fmt: skip
@pytest.mark.parametrize("days", [3, 2])
def test_all_that_was_named_is_told_again_or_holds(change: dict[str, Any], days: int) -> None:
    """The currency, the plan and the length of the period, too: what the ledger claims is what the last mail said."""
    shop = _reminded()
    shop.edit(**change)
    _nights(shop, days)
    assert len(shop.mails()) == (2 if days == 3 else 1)
    named, row = _text(shop.mails()[-1]), shop.row()
    _charged(shop)
    [item] = shop.items().values()
    assert f"Amount: {item['amount']} {item['currency']}" in named
    assert f"Plan: {item['plan']}" in named
    last = date.fromisoformat(item["period_end"]) - DAY
    assert f"31 January 2026 to {last.day} {last:%B %Y}" in named
    assert shop.row()["renewal_date"] == item["period_end"]
    assert {name: shop.row()[name] for name in change} == {name: row[name] for name in change}


def test_a_price_that_is_changed_back_needs_no_mail(shop: World) -> None:
    """What was named is so again."""
    shop = _reminded()
    shop.edit(**DOUBLED)
    shop.edit(amount=Decimal("29.99"))
    _nights(shop, 5)
    assert _named(shop) == ["29.99 USD"]
    assert _charged(shop) == "29.99 USD"


def test_a_webhook_names_the_price_of_the_row_and_charges_what_was_promised() -> None:
    """Its amount is a check of what its sender knows, not what is charged."""
    shop = _reminded()
    shop.edit(**DOUBLED)
    assert shop.run("webhook", NOON, "59.98") == "Success"
    assert shop.gateway.charges[0][1] == 2999


def test_who_was_never_reminded_pays_the_price_of_the_day() -> None:
    """A monthly plan, and a reminder of a version that kept nothing of what it named."""
    for row in ({}, YEARLY | {"reminder_upcoming": SENT | {"period": "2026-01-31"}}):
        shop = World()
        shop.subscribe(**row)
        shop.edit(**DOUBLED)
        _nights(shop, 5)
        assert _charged(shop) == "59.98 USD"
        assert not [mail for mail in shop.mails() if "renews on" in mail["Subject"]]


@pytest.mark.parametrize("told", ["yes", {"period": "2026-01-31"}, {"period": "2026-01-31", "token": "t", "amount": 5}])
def test_a_promise_that_is_none_promises_nothing(told: Any) -> None:
    """Somebody wrote something by hand: the price of the row is charged, and nothing fails."""
    shop = _reminded()
    told = told | {"token": shop.row()["reminder_upcoming"]["token"]} if isinstance(told, dict) else told
    shop.edit(told_upcoming=told, **DOUBLED)
    assert _charged(shop) == "59.98 USD"


@pytest.mark.parametrize(("catch_up", "charged"), [("latest", 5998), ("each", 2999)])
def test_a_promise_is_of_its_own_period(catch_up: str, charged: int) -> None:
    """Late by more than a year: what is billed instead is a later period, at the price of the day; where each is
    billed, the first one at what was named of it."""
    shop = _reminded(catch_up=catch_up)
    shop.edit(**DOUBLED)
    now = NOON + timedelta(days=400)
    assert shop.run("worker", now, "59.98", period="2026-01-31") == "Success"
    assert shop.gateway.charges[0][1] == charged


@pytest.mark.parametrize("late", [0, 40])
def test_the_price_of_a_month_buys_no_year(late: int) -> None:
    """Told of a month's price by the mail about a card; a yearly plan two days before. It is the month that is charged
    at that price, however late the charge comes, and the year after it at its own; and the preview says so."""
    shop = World()
    shop.subscribe()
    shop.gateway.expires["pm_ok"] = "2025-12"
    shop.remind("card", _before(7))
    shop.edit(interval="year", amount=Decimal("299.00"), payment_method="pm_new")
    now = NOON + late * DAY
    [first, second] = preview(parse(shop.row()), today=now.date(), count=2).charges
    shop.run("worker", now, "299.00", period="2026-01-31")
    [item] = shop.items().values()
    assert (item["amount"], item["period_end"]) == (Decimal("29.99"), "2026-02-28") == (first.amount, str(first.end))
    assert (str(second.start), str(second.amount)) == (shop.row()["renewal_date"], "299.00")


def test_a_mail_about_a_card_keeps_the_length_that_was_promised() -> None:
    """Told of a month at its price, a yearly plan two days before, and then a card that expires: its mail names the
    month's price once more, and that buys a month."""
    shop = World()
    shop.subscribe()
    shop.gateway.expires |= {"pm_ok": "2025-12", "pm_new": "2025-12"}
    shop.remind("card", _before(7))
    shop.edit(interval="year", amount=Decimal("299.00"), payment_method="pm_new")
    shop.remind("again", _before(2))
    assert _named(shop) == ["29.99 USD", "29.99 USD"]
    assert _charged(shop) == "29.99 USD"
    assert shop.row()["renewal_date"] == "2026-02-28"


def test_the_preview_names_the_promise_where_each_period_is_billed() -> None:
    """A year late and more: the first period costs what was named of it, the next one the price of the day."""
    shop = _reminded(catch_up="each")
    shop.edit(**DOUBLED)
    charges = preview(parse(shop.row()), today=(NOON + 400 * DAY).date(), count=2).charges
    assert [str(charge.amount) for charge in charges] == ["29.99", "59.98"]


# --- what became of the mail -----------------------------------------------------------------------------------------


def test_a_mail_that_nobody_can_tell_of_may_have_promised_something() -> None:
    """Cut off while it was sent: told again like any other, and else it holds."""
    for days, charged in ((4, "59.98 USD"), (2, "29.99 USD")):
        shop = World()
        shop.subscribe(known_card=_card("2030-12"), **YEARLY)
        shop.ses.trouble.append(ReadTimeoutError(endpoint_url="x"))
        assert shop.remind("told", _before(7)) == "EmailFailed"
        shop.edit(**DOUBLED)
        _nights(shop, days)
        assert _charged(shop) == charged


def test_a_mail_that_came_back_has_promised_nothing() -> None:
    """Nobody has read it, and nobody can be told: the price of the day."""
    shop = _reminded()
    bounce(shop)
    assert shop.row()["reminder_upcoming"]["state"] == "failed"
    shop.edit(**DOUBLED)
    _nights(shop, 5)
    assert _charged(shop) == "59.98 USD"


def test_where_the_second_mail_does_not_arrive_the_first_one_holds() -> None:
    """Claimed at the new price and certainly not sent, or sent and come back: the customer knows the first price."""
    for troubled in (True, False):
        shop = _reminded()
        shop.edit(**DOUBLED)
        if troubled:
            shop.ses.trouble = [error("Throttling", "SendRawEmail") for _ in range(5)]
            _nights(shop, 5)
        else:
            _nights(shop, 5)
            bounce(shop)
        assert _charged(shop) == "29.99 USD"


def test_told_again_at_every_cut_charges_what_a_mail_said() -> None:
    """The run that tells again is cut before and after each of its calls, and nobody takes it up: what is charged was
    named by the last mail that went out, or that may have gone out."""
    for at in range(60):
        shop = _reminded()
        shop.edit(**DOUBLED)
        shop.cuts.calls.clear()
        shop.cuts.at = at
        shop.remind("again", _before(4))
        if shop.cuts.at is not None:
            assert at >= 10
            return
        sent, charged = _named(shop), _charged(shop)
        assert charged == sent[-1] or shop.row()["reminder_upcoming"]["state"] == "sending"
    pytest.fail("the run has more calls than were cut")


# --- the card --------------------------------------------------------------------------------------------------------


def test_another_card_that_expires_is_told_of_too() -> None:
    """The customer gave a new card after they were told of the old one: it is looked at, and they are told of that one
    where it expires too."""
    shop = World()
    shop.subscribe()
    shop.gateway.expires |= {"pm_ok": "2025-12", "pm_new": "2026-01", "pm_old": "2025-11"}
    assert shop.remind("first", _before(7)) == "Success"
    for n, (method, mails) in enumerate((("pm_new", 1), ("pm_old", 2), ("pm_old", 2), ("pm_ok", 3))):
        shop.edit(payment_method=method)
        shop.remind(f"again-{n}", _before(5) + n * DAY)
        assert len(shop.mails()) == mails
    assert "valid until the end of 11/2025" in _text(shop.mails()[1])


def test_what_the_mail_about_a_card_said_of_the_amount_holds_as_well() -> None:
    """A monthly plan: the new price is told by a mail of its own where there is time, and else it is for later."""
    for days, charged in ((4, "59.98 USD"), (2, "29.99 USD")):
        shop = World()
        shop.subscribe()
        shop.gateway.expires["pm_ok"] = "2025-12"
        shop.remind("card", _before(7))
        shop.edit(payment_method="pm_new", **DOUBLED)
        _nights(shop, days)
        assert len(shop.mails()) == (2 if days == 4 else 1)
        assert _charged(shop) == charged == _named(shop)[-1]


def test_a_mail_about_a_card_names_the_price_that_holds() -> None:
    """The price was changed too late, and the card turns out to expire: its mail says what will be charged."""
    shop = _reminded()
    shop.gateway.expires["pm_new"] = "2025-12"
    shop.edit(payment_method="pm_new", **DOUBLED)
    shop.remind("card", _before(2))
    assert _named(shop) == ["29.99 USD", "29.99 USD"]
    assert _charged(shop) == "29.99 USD"


# --- what the API says -----------------------------------------------------------------------------------------------


def test_the_preview_says_which_price_the_next_renewal_has() -> None:
    """While there is time the new one, of which the customer is told; then the one that was named, and why."""
    shop = _reminded()
    shop.edit(**DOUBLED)
    row = parse(shop.row())
    for days, amounts in ((3, ["59.98", "59.98"]), (2, ["29.99", "59.98"]), (0, ["29.99", "59.98"])):
        charges = preview(row, today=_before(days).date(), count=2).charges
        assert [str(charge.amount) for charge in charges] == amounts
        assert ("as a reminder has named it" in charges[0].why) is (days < 3)
        assert [charge.start for charge in charges] == [DUE, date(2027, 1, 31)]


def test_an_offer_of_which_nothing_changed_is_told_once() -> None:
    """Seven nights, one mail."""
    shop = _reminded()
    _nights(shop, 6)
    assert offers.changed(parse(shop.row())) is None
    assert len(shop.mails()) == 1
