"""A renewal is charged as the reminder named it, or the customer is told again in time: whatever is changed after the
reminder, whenever, and whatever became of the mail.

The price of the day is the row's price at the time of the charge.
"""

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from renewals.domain import offers, reminders
from renewals.domain.preview import preview
from renewals.domain.subscription import parse
from tests.fake_aws import error
from tests.fakes import DUE, NOON, REMINDER_RULES, World
from tests.unit.test_mail_feedback import bounce
from tests.unit.test_reminders import YEARLY, _card, _text
from tests.unit.test_sweep import SENT

DAY = timedelta(days=1)
DOUBLED = {"amount": Decimal("59.98")}


def _before(days: int) -> datetime:
    return NOON - timedelta(days=days)


def _reminded(**attributes: Any) -> World:
    """Return a shop with a yearly subscription that was reminded a week before of 29.99 USD on 31 January."""
    shop = World()
    shop.subscribe(**YEARLY | {"known_card": _card("2030-12")} | attributes)
    assert shop.remind("told", _before(7)) == "Success"
    assert len(shop.mails()) == 1
    return shop


def _charged(shop: World) -> str:
    """Run the execution of the sweep's message on the renewal date, and return the charged amount."""
    shop.run("worker", NOON, str(shop.row()["amount"]), period="2026-01-31")
    [(_, amount, currency)] = shop.gateway.charges
    return f"{Decimal(amount) / 100} {currency}"


def _nights(shop: World, since: int, until: int = 1) -> None:
    """Run the nightly scans, which ask to remind where a reminder may be owed."""
    for days in range(since, until - 1, -1):
        if reminders.may_be_owed(parse(shop.row()), _before(days).date(), REMINDER_RULES):
            shop.remind(f"night-{days}", _before(days))


def _named(shop: World) -> list[str]:
    """Return the amounts named in the reminders, oldest first."""
    mails = (_text(mail) for mail in shop.mails() if "renews on" in mail["Subject"] or "card" in mail["Subject"])
    return [text.partition("  Amount: ")[2].splitlines()[0] for text in mails]


# --- another price ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("days", range(7, 2, -1))
def test_another_price_is_told_again_three_days_before_or_earlier(days: int) -> None:
    """A price changed three days before the renewal or earlier is told once, on that night or the next, and is
    charged."""
    shop = _reminded()
    shop.edit(**DOUBLED)
    _nights(shop, days)
    assert _named(shop) == ["29.99 USD", "59.98 USD"]
    assert _charged(shop) == "59.98 USD"


@pytest.mark.parametrize("days", [2, 1, 0])
def test_what_was_named_holds_where_there_is_no_time_to_tell_again(days: int) -> None:
    """After a change two days before the renewal or later, also on the day, the renewal costs the price of the reminder
    and the next renewal the new price, and no mail says otherwise."""
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
    """A lower price is still told and charged when changed on the day before, since good news needs no notice period;
    on the day itself nobody is told, and the price of the reminder is charged."""
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
    """Currency, plan and length of the period are told again in time or hold like the price: the ledger claims the
    period as the last mail named it."""
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
    """A price that was changed and changed back needs no further mail."""
    shop = _reminded()
    shop.edit(**DOUBLED)
    shop.edit(amount=Decimal("29.99"))
    _nights(shop, 5)
    assert _named(shop) == ["29.99 USD"]
    assert _charged(shop) == "29.99 USD"


def test_a_webhook_names_the_price_of_the_row_and_charges_what_was_promised() -> None:
    """A webhook's amount is compared with the row's price and does not decide the charge: the promised price is
    charged."""
    shop = _reminded()
    shop.edit(**DOUBLED)
    assert shop.run("webhook", NOON, "59.98") == "Success"
    assert shop.gateway.charges[0][1] == 2999


def test_who_was_never_reminded_pays_the_price_of_the_day() -> None:
    """The price of the day is charged without a reminder (a monthly plan), and after a reminder of an earlier version,
    which recorded no price."""
    for row in ({}, YEARLY | {"reminder_upcoming": SENT | {"period": "2026-01-31"}}):
        shop = World()
        shop.subscribe(**row)
        shop.edit(**DOUBLED)
        _nights(shop, 5)
        assert _charged(shop) == "59.98 USD"
        assert not [mail for mail in shop.mails() if "renews on" in mail["Subject"]]


@pytest.mark.parametrize("told", ["yes", {"period": "2026-01-31"}, {"period": "2026-01-31", "token": "t", "amount": 5}])
def test_a_promise_that_is_none_promises_nothing(told: Any) -> None:
    """An unreadable promise, written by hand, promises nothing: the row's price is charged, and nothing fails."""
    shop = _reminded()
    told = told | {"token": shop.row()["reminder_upcoming"]["token"]} if isinstance(told, dict) else told
    shop.edit(told_upcoming=told, **DOUBLED)
    assert _charged(shop) == "59.98 USD"


@pytest.mark.parametrize(("catch_up", "charged"), [("latest", 5998), ("each", 2999)])
def test_a_promise_is_of_its_own_period(catch_up: str, charged: int) -> None:
    """More than a year late, the latest period is billed at the price of the day; where every missed period is billed,
    the first costs the price of its reminder."""
    shop = _reminded(catch_up=catch_up)
    shop.edit(**DOUBLED)
    now = NOON + timedelta(days=400)
    assert shop.run("worker", now, "59.98", period="2026-01-31") == "Success"
    assert shop.gateway.charges[0][1] == charged


@pytest.mark.parametrize("late", [0, 40])
def test_the_price_of_a_month_buys_no_year(late: int) -> None:
    """A mail about a card named the price of a month, and the plan becomes yearly two days before: a month is charged
    at that price, however late, and the year after it at its own price, as the preview says."""
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
    """A month was promised at its price, the plan becomes yearly two days before, and the new card expires: the mail
    about the card names the month's price again, and the charge buys a month."""
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
    """More than a year late, the preview shows the first period at the price of its reminder and the next at the price
    of the day."""
    shop = _reminded(catch_up="each")
    shop.edit(**DOUBLED)
    charges = preview(parse(shop.row()), today=(NOON + 400 * DAY).date(), count=2).charges
    assert [str(charge.amount) for charge in charges] == ["29.99", "59.98"]


# --- reminders that did not arrive -----------------------------------------------------------------------------------


def test_a_mail_that_nobody_can_tell_of_may_have_promised_something() -> None:
    """A reminder cut off while being sent counts as a promise: a change is told again in time, and otherwise the
    promised price is charged."""
    for days, charged in ((4, "59.98 USD"), (2, "29.99 USD")):
        shop = World()
        shop.subscribe(known_card=_card("2030-12"), **YEARLY)
        shop.ses.trouble.append(ReadTimeoutError(endpoint_url="x"))
        assert shop.remind("told", _before(7)) == "EmailFailed"
        shop.edit(**DOUBLED)
        _nights(shop, days)
        assert _charged(shop) == charged


def test_a_mail_that_came_back_has_promised_nothing() -> None:
    """A reminder that came back promises nothing, since nobody read it: the price of the day is charged."""
    shop = _reminded()
    bounce(shop)
    assert shop.row()["reminder_upcoming"]["state"] == "failed"
    shop.edit(**DOUBLED)
    _nights(shop, 5)
    assert _charged(shop) == "59.98 USD"


def test_where_the_second_mail_does_not_arrive_the_first_one_holds() -> None:
    """Where the mail about the new price certainly did not go out, or came back, the customer knows only the first
    price, and the first price is charged."""
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
    """The run that tells the customer again is cut before and after every call, and never resumed: the price charged
    was named by the last mail that went out, or may have gone out."""
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
    pytest.fail("the run has more calls than the test cuts")


# --- the card --------------------------------------------------------------------------------------------------------


def test_another_card_that_expires_is_told_of_too() -> None:
    """The customer updated the payment method after a mail about the expiring card: the gateway is asked about the new
    card, and the customer is told if the new card expires, too."""
    shop = World()
    shop.subscribe()
    shop.gateway.expires |= {"pm_ok": "2025-12", "pm_new": "2026-01", "pm_old": "2025-11"}
    assert shop.remind("first", _before(7)) == "Success"
    for n, (method, mails) in enumerate((("pm_new", 1), ("pm_old", 2), ("pm_old", 2), ("pm_ok", 3))):
        shop.edit(payment_method=method)
        shop.remind(f"again-{n}", _before(5) + n * DAY)
        assert len(shop.mails()) == mails
    assert "valid until the end of November 2025" in _text(shop.mails()[1])


def test_what_the_mail_about_a_card_said_of_the_amount_holds_as_well() -> None:
    """On a monthly plan the mail about an expiring card promises its price: a new price is told in time by a further
    mail, and otherwise holds for later periods only."""
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
    """The price was changed too late, and the new card expires: the mail about the card names the price that will be
    charged."""
    shop = _reminded()
    shop.gateway.expires["pm_new"] = "2025-12"
    shop.edit(payment_method="pm_new", **DOUBLED)
    shop.remind("card", _before(2))
    assert _named(shop) == ["29.99 USD", "29.99 USD"]
    assert _charged(shop) == "29.99 USD"


# --- what the API says -----------------------------------------------------------------------------------------------


def test_the_preview_says_which_price_the_next_renewal_has() -> None:
    """While there is time to tell the customer, the preview shows the new price, and afterwards the reminder's price
    with the reason."""
    shop = _reminded()
    shop.edit(**DOUBLED)
    row = parse(shop.row())
    for days, amounts in ((3, ["59.98", "59.98"]), (2, ["29.99", "59.98"]), (0, ["29.99", "59.98"])):
        charges = preview(row, today=_before(days).date(), count=2).charges
        assert [str(charge.amount) for charge in charges] == amounts
        assert ("as announced in a reminder" in charges[0].why) is (days < 3)
        assert [charge.start for charge in charges] == [DUE, date(2027, 1, 31)]


def test_an_offer_of_which_nothing_changed_is_told_once() -> None:
    """Seven nights without a change send a single reminder."""
    shop = _reminded()
    _nights(shop, 6)
    assert offers.changed(parse(shop.row())) is None
    assert len(shop.mails()) == 1
