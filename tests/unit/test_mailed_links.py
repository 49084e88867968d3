"""The links from mails to the customer page."""

import re
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

import send_email.app
from renewals.domain.changes import ChangeKind
from renewals.domain.dunning import Dunning
from renewals.domain.request import Asks
from renewals.domain.subscription import SubscriptionStatus
from renewals.ledger import account_links
from renewals.ledger.account_links import Keys, Power, Purpose
from renewals.ledger.asked_by import AskedBy
from renewals.ledger.receipt_links import LinkKey
from renewals.runtime import telemetry
from tests import fakes
from tests.fake_aws import error
from tests.fakes import LATER, NOON, PAGE, World

OURS = "https://abcd.execute-api.eu-west-1.amazonaws.com/prod/account"
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def our_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stack's own page is on."""
    monkeypatch.setitem(fakes.SETTINGS, "CUSTOMER_PAGE_URL", "")
    monkeypatch.setitem(fakes.SETTINGS, "ACCOUNT_URL", OURS)
    _secret(monkeypatch, {"SecretString": '{"current": "a key"}'})


def _secret(monkeypatch: pytest.MonkeyPatch, *answers: dict[str, Any] | Exception) -> None:
    """Let Secrets Manager answer so about the key of the links, and for ever as the last time."""
    told = list(answers)

    def get_secret_value(**_: str) -> dict[str, Any]:
        answer = told.pop(0) if len(told) > 1 else told[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    client: Any = SimpleNamespace(get_secret_value=get_secret_value)
    key = LinkKey(client, "arn:key")
    monkeypatch.setattr(send_email.app, "_account_secret", lambda: key)


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


def test_a_mail_about_a_suspension_leads_to_the_page(shop: World) -> None:
    """The mail about a suspension says how to go on and how to cancel, and its links have the full power."""
    shop.dunning = Dunning((2,), SubscriptionStatus.UNPAID)
    shop.subscribe(payment_method="pm_declined")
    shop.run("first", NOON)
    shop.run("last", NOON + 2 * DAY)
    assert shop.mail_kinds()[-1] == "unpaid"
    assert {_power(shop, token) for token in _tokens(shop)} == {Power.FULL}
    body = shop.mails()[-1].get_body(("plain",))
    assert body is not None
    text = body.get_content()
    assert "To continue, please update your payment method and resume your subscription on your account page." in text
    assert f"Resume your subscription: {OURS}/link/" in text
    assert "You can cancel your subscription at any time on your account page." in text


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
    monkeypatch.setattr(send_email.app, "_account_secret", lambda: pytest.fail("the key was read"))
    shop.subscribe(payment_method="pm_declined")
    shop.run()
    assert "http" not in shop.mails()[-1].as_string()


def test_the_link_of_a_test_clock_s_mail_works_today(shop: World) -> None:
    """A link expires by the real time, also if the row's test clock says another day."""
    shop.environment = "dev"
    shop.subscribe(payment_method="pm_declined", test_clock="2027-06-30", renewal_date="2027-06-30")
    shop.run()
    assert _power(shop, _tokens(shop)[0]) is Power.FULL


BROKEN: dict[str, dict[str, Any] | Exception] = {
    "no JSON": {"SecretString": "a key"},
    "no current key": {"SecretString": '{"previous": "a key"}'},
    "a key that is no text": {"SecretString": '{"current": "\\ud800"}'},
    "no text": {"SecretBinary": b"a key"},
    "no right": error("AccessDeniedException", "GetSecretValue"),
    "deleted": error("ResourceNotFoundException", "GetSecretValue"),
    "marked for deletion": error("InvalidRequestException", "GetSecretValue"),
    "no right to decrypt": error("DecryptionFailure", "GetSecretValue"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_key_of_the_links_holds_no_dunning(shop: World, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    """Dunning waits for its mails. While the key of the links cannot be read or is no key, each mail goes out without
    a link and is counted, the subscription ends on its day, and the customer is told."""
    _secret(monkeypatch, BROKEN[fault])
    counted = list[str]()
    monkeypatch.setattr(telemetry, "count", counted.append)
    shop.subscribe(payment_method="pm_declined")
    for n, day in enumerate((0, *shop.dunning.days), 1):
        shop.run(f"run-{n}", NOON + day * DAY)
    kinds = shop.mail_kinds()
    assert (kinds[0], *kinds[-2:]) == ("payment_failed", "final_notice", "canceled")
    assert counted.count("MailsWithoutLink") == len(kinds) - 1  # the mail about the end has no link anyway
    assert _tokens(shop) == []
    _secret(monkeypatch, {"SecretString": '{"current": "a key"}'})
    shop.subscribe(subscription_id="sub_2", payment_method="pm_declined")
    shop.subscription_id = "sub_2"
    shop.run("mended")
    assert len(_tokens(shop)) >= 2


def test_a_busy_secrets_manager_costs_no_link(shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """While Secrets Manager is busy, the mail waits for the next try, and keeps its link."""
    _secret(monkeypatch, error("ThrottlingException", "GetSecretValue"), {"SecretString": '{"current": "a key"}'})
    shop.subscribe(payment_method="pm_declined")
    shop.run("run-1", tries=1)
    shop.run("run-2", NOON + LATER)
    assert len(shop.mails()) == 1
    assert len(_tokens(shop)) >= 2


def test_a_mail_about_a_link_waits_for_the_link(shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mail with the link that a customer has asked for is not sent while there is no link to mail."""
    _secret(monkeypatch, BROKEN["no JSON"])
    shop.subscribe(renewal_date="2026-02-28")
    shop.register.changes.note("sub_1", ChangeKind.LINK_ASKED, AskedBy("customer", NOON))
    assert shop.confirm("run-1", NOON) == "EmailFailed"
    assert shop.mails() == []
    _secret(monkeypatch, {"SecretString": '{"current": "a key"}'})
    assert shop.confirm("run-2", NOON + LATER) == "Success"
    assert {_power(shop, token) for token in _tokens(shop)} == {Power.FULL}
