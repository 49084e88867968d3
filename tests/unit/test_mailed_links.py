"""The links from mails to the customer page."""

import re
from datetime import timedelta

import pytest

import send_email.app
from renewals.domain.changes import ChangeKind
from renewals.domain.request import Asks
from renewals.ledger import account_links
from renewals.ledger.account_links import Keys, Power, Purpose
from renewals.ledger.asked_by import AskedBy
from tests import fakes
from tests.fakes import NOON, PAGE, World

OURS = "https://abcd.execute-api.eu-west-1.amazonaws.com/prod/account"
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def our_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stack's own page is on."""
    monkeypatch.setitem(fakes.SETTINGS, "CUSTOMER_PAGE_URL", "")
    monkeypatch.setitem(fakes.SETTINGS, "ACCOUNT_URL", OURS)
    monkeypatch.setattr(send_email.app, "_account_key", lambda: "a key")


def _tokens(shop: World) -> list[str]:
    """Return the tokens of the links to our page in the last mail, in its HTML and in its plain text."""
    parts = [part for part in shop.mails()[-1].walk() if part.get_content_type() in ("text/plain", "text/html")]
    return [token for part in parts for token in re.findall(rf"{OURS}/link/([\w.-]+)", part.get_content())]


def _power(shop: World, token: str) -> Power | None:
    grant = account_links.granted(Keys("a key"), Purpose.LINK, token, shop.row(), NOON + 50 * DAY)
    return grant.power if grant is not None else None


@pytest.mark.parametrize("card", ["pm_declined", "pm_3ds"])
def test_a_mail_about_a_refused_payment_leads_to_the_page(shop: World, card: str) -> None:
    """The mail about a refused payment has links with the full power, also in plain text, which outlast the
    dunning."""
    shop.subscribe(payment_method=card)
    shop.run()
    tokens = _tokens(shop)
    assert len(tokens) >= 2
    assert {_power(shop, token) for token in tokens} == {Power.FULL}


def test_a_receipt_leads_to_the_page_with_the_lesser_power(shop: World) -> None:
    """The links of a receipt's mail can look and change nothing: customers forward receipts."""
    shop.subscribe()
    shop.run()
    assert {_power(shop, token) for token in _tokens(shop)} == {Power.SEE}


def test_a_link_that_was_asked_for_is_mailed_once(shop: World) -> None:
    """A customer who has asked for a link gets a mail with the full power, once, also where the deployment sends no
    confirmations; an earlier request that was mailed already is not mailed again."""
    shop.subscribe(renewal_date="2026-02-28")
    for second in range(2):
        at = NOON + timedelta(seconds=second)
        shop.register.changes.note("sub_1", ChangeKind.LINK_ASKED, AskedBy("customer", at))
        for _ in range(2):
            shop.execute({"event_type": Asks.CONFIRM}, f"run-{second}", at)
    assert [mail["Subject"] for mail in shop.mails()] == ["Your link to your subscription to Pro"] * 2
    assert {_power(shop, token) for token in _tokens(shop)} == {Power.FULL}


def test_a_reminder_leads_to_the_page(shop: World) -> None:
    """The reminder of a renewal has a link with the full power."""
    shop.subscribe(interval="year", renewal_date="2026-02-05")
    shop.remind()
    assert {_power(shop, token) for token in _tokens(shop)} == {Power.FULL}


def test_the_page_of_the_team_gets_no_token(shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a page of the team's own, mails link there, and the address holds no token."""
    monkeypatch.setitem(fakes.SETTINGS, "CUSTOMER_PAGE_URL", PAGE)
    shop.subscribe(payment_method="pm_declined")
    shop.run()
    html = shop.mails()[-1].get_body(("html",))
    assert html is not None
    assert f'href="{PAGE}"' in html.get_content()
    assert _tokens(shop) == []


def test_without_a_page_mails_link_nowhere(shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """If neither page is there, the mail about a refused payment has no link, and no key is read."""
    monkeypatch.setitem(fakes.SETTINGS, "ACCOUNT_URL", "")
    monkeypatch.setattr(send_email.app, "_account_key", lambda: pytest.fail("the key was read"))
    shop.subscribe(payment_method="pm_declined")
    shop.run()
    assert "http" not in shop.mails()[-1].as_string()


def test_the_link_of_a_test_clock_s_mail_works_today(shop: World) -> None:
    """A link expires by the real time, also if the row's test clock says another day."""
    shop.environment = "dev"
    shop.subscribe(payment_method="pm_declined", test_clock="2027-06-30", renewal_date="2027-06-30")
    shop.run()
    assert _power(shop, _tokens(shop)[0]) is Power.FULL
