"""Reminders that may be declined, by one click in a mail program or by a button, and reminders that may not."""

import re
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from types import SimpleNamespace
from typing import Any

import pytest

import send_email.app
from renewals.domain import reminders
from renewals.domain.changes import CUSTOMER, ChangeKind
from renewals.domain.errors import Overtaken
from renewals.domain.reminder_rules import Rules
from renewals.domain.renewal import MailKind
from renewals.domain.renewal_items import mail_from
from renewals.domain.subscription import parse
from renewals.language.tags import LANGUAGES
from renewals.ledger import account_links
from renewals.ledger.account_links import Account, Power, Purpose
from renewals.ledger.asked_by import AskedBy
from renewals.ledger.reminder_records import Records
from tests import fakes
from tests.fakes import DUE, LATER, NOON, PAGE, World
from tests.visitor import HOST, Visitor, visiting

OURS = f"https://{HOST}/prod/account"
DAY = timedelta(days=1)
EARLIER = NOON - 5 * DAY
EACH_MONTH = Rules(21, 28)
"""A deployment that also reminds the customers of monthly plans."""

ONE_CLICK = "List-Unsubscribe=One-Click"
EXPIRES = {"known_card": {"payment_method": "pm_ok", "name": "Visa ending in 4242", "expires": "2025-12"}}


@pytest.fixture(autouse=True)
def our_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stack's own page is on."""
    monkeypatch.setitem(fakes.SETTINGS, "CUSTOMER_PAGE_URL", "")
    monkeypatch.setitem(fakes.SETTINGS, "ACCOUNT_URL", OURS)
    secret = SimpleNamespace(value=lambda: '{"current": "a key"}')
    monkeypatch.setattr(send_email.app, "_account_secret", lambda: secret)


@pytest.fixture
def visitor(shop: World) -> Iterator[Visitor]:
    with visiting(shop) as made:
        made.now = EARLIER
        yield made


def _remind(shop: World, now: datetime = EARLIER, **row: Any) -> list[EmailMessage]:
    """Remind of a renewal; return the new mails, as a mail program reads them."""
    if row:
        shop.edit(**row)
    before = len(shop.ses.sent)
    assert shop.remind(f"reminder-{now:%m-%d}", now, rules=EACH_MONTH) == "Success"
    return [message_from_bytes(each["RawMessage"]["Data"], policy=default) for each in shop.ses.sent[before:]]


def _address(mail: EmailMessage) -> str:
    return str(mail["List-Unsubscribe"]).removeprefix("<").removesuffix(">")


def _path(mail: EmailMessage) -> str:
    return _address(mail).removeprefix(f"{OURS}/")


def _click(visitor: Visitor, path: str, body: str = ONE_CLICK, **headers: str) -> int:
    """Do what a mail program does for the customer: a POST without a cookie and without an origin."""
    event = visitor.event("POST", f"/account/{path}", body, **headers)
    event["headers"] = {name: value for name, value in event["headers"].items() if name not in ("Origin", "Cookie")}
    event["multiValueHeaders"] = {name: [value] for name, value in event["headers"].items()}
    return visitor.send(event).status


# --- which mails may be declined -------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", [{}, EXPIRES], ids=["a monthly plan", "a card"])
def test_a_reminder_that_may_be_declined_offers_one_click(shop: World, row: dict[str, Any]) -> None:
    """A reminder of a plan of a month, and a reminder about a card, carry the two headers of RFC 8058 unfolded and
    unencoded, and a link that a person sees, in HTML and in plain text."""
    shop.subscribe(**row)
    mail = _remind(shop)[-1]
    raw = shop.ses.sent[-1]["RawMessage"]["Data"].decode().split("\r\n\r\n")[0].split("\r\n")
    [told] = [each for each in raw if each.startswith("List-Unsubscribe: ")]
    assert re.fullmatch(rf"List-Unsubscribe: <{OURS}/reminders/[\w.-]+>", told)
    assert len(told) < 998
    assert "List-Unsubscribe-Post: List-Unsubscribe=One-Click" in raw
    for kind in ("plain", "html"):
        part = mail.get_body((kind,))
        assert part is not None
        assert _address(mail) in part.get_content()


def test_the_longest_id_has_a_header_of_one_line(shop: World) -> None:
    """Also the link of the longest subscription id stands on one line, which has 998 characters at most."""
    shop.subscription_id = "s" * 128
    shop.subscribe(subscription_id=shop.subscription_id)
    mail = _remind(shop)[-1]
    assert len(f"List-Unsubscribe: {mail['List-Unsubscribe']}") < 998


def test_no_other_mail_can_be_declined(shop: World) -> None:
    """Receipts, mails about failed payments, and reminders that rules ask for carry no such header: of a plan longer
    than a month, and of a price that has changed since the reminder."""
    shop.subscribe(interval="year")
    [long] = _remind(shop)
    shop.edit(interval="month", amount=Decimal("39.99"))
    [changed] = _remind(shop, EARLIER + DAY)
    assert "39.99" in str(changed.get_body(("plain",)))
    assert shop.run("paid", NOON, "39.99") == "Success"
    shop.edit(payment_method="pm_declined")
    assert shop.run("declined", datetime(2026, 2, 28, 12, tzinfo=NOON.tzinfo), "39.99") == "PaymentDeclined"
    everything = [message_from_bytes(each["RawMessage"]["Data"], policy=default) for each in shop.ses.sent]
    assert len(everything) == 4
    assert not any("List-Unsubscribe" in mail or "List-Unsubscribe-Post" in mail for mail in (long, *everything))


@pytest.mark.parametrize("days", range(1, 40))
def test_only_reminders_of_short_plans_may_be_declined(days: int) -> None:
    """The longest plan whose reminder may be declined has 31 days: rules ask for a reminder of each longer plan."""
    shop = World()
    shop.subscribe(interval="day", interval_count=Decimal(days))
    row = parse(shop.row())
    assert reminders.may_be_declined(row, MailKind.UPCOMING) is (days <= 31)
    assert reminders.may_be_declined(row, MailKind.CARD_EXPIRES)


def test_the_reminder_of_a_first_charge_cannot_be_declined(shop: World) -> None:
    """The reminder that a trial ends offers no way to decline, and goes to a customer who has declined reminders."""
    shop.subscribe(created_at="2025-12-31T12:00:00+00:00", reminders="required")
    [mail] = _remind(shop)
    assert "List-Unsubscribe" not in mail
    shop.edit(reminders="all")
    assert not reminders.may_be_declined(parse(shop.row()), MailKind.UPCOMING)


@pytest.mark.parametrize("setting", ["CUSTOMER_PAGE_URL", "ACCOUNT_URL"])
def test_without_a_page_of_the_stack_nothing_is_offered(
    shop: World, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    """With a page of the team's own, or without a page, no mail offers to decline reminders: nobody would answer."""
    monkeypatch.setitem(fakes.SETTINGS, setting, PAGE if setting == "CUSTOMER_PAGE_URL" else "")
    shop.subscribe()
    [mail] = _remind(shop)
    assert "List-Unsubscribe" not in mail
    assert "reminders/" not in str(mail.get_body(("plain",)))


# --- one click -------------------------------------------------------------------------------------------------------


MULTIPART = '--x\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--x--\r\n'


@pytest.mark.parametrize(
    ("body", "kind"),
    [(ONE_CLICK, "application/x-www-form-urlencoded"), (MULTIPART, 'multipart/form-data; boundary="x"')],
    ids=["urlencoded", "multipart"],
)
def test_one_click_declines_and_is_recorded(shop: World, visitor: Visitor, body: str, kind: str) -> None:
    """The POST of a mail program, in either form that RFC 8058 allows, declines reminders without a redirection; the
    change is recorded under the name of the customer, once, and no later reminder of the kind goes out."""
    shop.subscribe()
    [mail] = _remind(shop)
    for _ in range(2):
        assert _click(visitor, _path(mail), body, Content_Type=kind) == 200
    assert shop.row()["reminders"] == "required"
    changes, *_ = shop.register.changes.readable("sub_1")
    assert [(each.by, each.what, each.details) for each in changes] == [
        (CUSTOMER, ChangeKind.EDITED, {"reminders": (None, "required")})
    ]
    shop.edit(renewal_date="2026-02-28", **EXPIRES)
    assert _remind(shop, datetime(2026, 2, 22, 12, tzinfo=NOON.tzinfo)) == []


def test_a_get_and_a_post_without_the_words_change_nothing(shop: World, visitor: Visitor) -> None:
    """A scanner that follows the link, or posts something else, changes nothing: the page only offers a button."""
    shop.subscribe()
    [mail] = _remind(shop)
    page = visitor.get(_path(mail))
    assert page.status == 200
    assert "Decline these reminders" in page.text
    for body in ("", "List-Unsubscribe=Two-Clicks", "a=b"):
        assert _click(visitor, _path(mail), body) == 200
    assert "reminders" not in shop.row()


def test_the_button_of_the_page_declines_and_undoes(shop: World, visitor: Visitor) -> None:
    """A person who follows the link declines by a button, and lets all reminders come again by the next button."""
    shop.subscribe()
    [mail] = _remind(shop)
    shown = visitor.get(_path(mail))
    assert re.search(rf'<form method="post" action="{_path(mail).partition("/")[2]}"', shown.html)
    assert 'name="List-Unsubscribe" value="One-Click"' in shown.html
    done = visitor.post(_path(mail), {"List-Unsubscribe": "One-Click"})
    assert "You have declined these reminders." in done.text
    again = visitor.post(_path(mail), done.fields)
    assert "You get all reminders again." in again.text
    assert shop.row()["reminders"] == "all"
    shop.edit(renewal_date="2026-02-28")
    assert len(_remind(shop, datetime(2026, 2, 22, 12, tzinfo=NOON.tzinfo))) == 1


def test_the_overview_lets_reminders_come_again(shop: World, visitor: Visitor) -> None:
    """A customer who has declined reminders sees so on the overview, and undoes the choice there; a form without the
    token of the session does nothing."""
    shop.subscribe(reminders="required")
    overview = visitor.sign_in()
    assert "You have declined some of our reminders." in overview.text
    form = {"form": overview.fields["form"]}
    assert visitor.post("reminders", {}).status == 409
    assert shop.row()["reminders"] == "required"
    assert visitor.post("reminders", form).status == 303
    assert shop.row()["reminders"] == "all"
    assert "You have declined" not in visitor.get("overview").text


def test_the_choice_is_undone_five_times_a_day_and_declined_always(shop: World, visitor: Visitor) -> None:
    """Reminders come again at most five times a day, so that nobody fills the history of a subscription; to decline is
    never refused."""
    shop.subscribe()
    [mail] = _remind(shop)
    statuses = []
    for _ in range(6):
        assert _click(visitor, _path(mail)) == 200
        statuses.append(visitor.post(_path(mail), {"reminders": "all"}).status)
    assert statuses == [200] * 5 + [429]
    assert shop.row()["reminders"] == "required"


def test_the_link_opens_nothing_else(shop: World, visitor: Visitor) -> None:
    """The link for reminders begins no session and opens no other page, and no other link declines reminders. A changed
    link, a link of an earlier address and an expired link are answered like every wrong link."""
    shop.subscribe()
    [mail] = _remind(shop)
    token = _path(mail).partition("/")[2]
    for path in (f"link/{token}", f"new-card/{token}", f"confirm/{token}"):
        assert visitor.get(path).status == 404
    assert visitor.post("session", {"token": token}).status == 404
    account = Account.of_row(shop.row())
    for purpose in (Purpose.LINK, Purpose.SESSION, Purpose.RETURN):
        other = account_links.token("a key", purpose, account, Power.FULL, NOON + 60 * DAY)
        assert _click(visitor, f"reminders/{other}") == 404
    for n, wrong in ((len(token) - 1, "A"), (3, "A"), (len(token) - 1, "B")):
        if token[n] != wrong:
            assert _click(visitor, f"reminders/{token[:n]}{wrong}{token[n + 1 :]}") == 404
    visitor.now = EARLIER + 401 * DAY
    assert _click(visitor, f"reminders/{token}") == 404
    visitor.now = EARLIER
    shop.edit(customer_email="new@customer.example")
    assert _click(visitor, f"reminders/{token}") == 404
    assert "reminders" not in shop.row()


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (ONE_CLICK, "text/plain", 415),
        ("x" * 20_000, "application/x-www-form-urlencoded", 413),
        ("no parts", 'multipart/form-data; boundary="x"', 400),
        (MULTIPART, "multipart/form-data", 400),
        (MULTIPART, 'multipart/form-data; boundary="y"', 400),
        (MULTIPART[:-3] + "\r\n" + MULTIPART, 'multipart/form-data; boundary="x"', 400),
        ("--x\r\n\r\n" * 30, 'multipart/form-data; boundary="x"', 400),
    ],
)
def test_no_form_of_a_stranger_is_an_error_of_ours(
    shop: World, visitor: Visitor, body: str, kind: str, status: int
) -> None:
    """A form that is none, too large, doubled or of a wrong type is refused, and changes nothing."""
    shop.subscribe()
    [mail] = _remind(shop)
    assert _click(visitor, _path(mail), body, Content_Type=kind) == status
    assert "reminders" not in shop.row()


HOSTILE_HEADERS = (
    "Content-Disposition: form-data; name*0*=utf-8''%41; name*=a'b'c",
    "Content-Disposition: form-data; name*=no-such-charset''%FF",
    "Content-Disposition: form-data; name*x*=1; name**=2; *=3",
    'Content-Disposition: =?utf-8?b?/////?=; name="=?x?q?=00?="',
    "Content-Disposition: form-data; name*0*=''; name*1=",
    "Content-Transfer-Encoding: =?utf-8?q?=ff?=",
    "Content-Transfer-Encoding: uuencode",
    "Content-Type: text/plain; charset*0*=utf-8''%41; charset*=a'b'c",
    "Content-Type: message/rfc822",
    "Content-Type: message/delivery-status",
    ": \x00\x00",
)


@pytest.mark.parametrize("header", HOSTILE_HEADERS)
def test_no_hostile_header_of_a_part_is_an_error_of_ours(shop: World, visitor: Visitor, header: str) -> None:
    """A part whose header Python's parser of mails trips over is a form that is none, or a form with an unknown field:
    the page answers, and neither raises nor logs an error."""
    shop.subscribe()
    [mail] = _remind(shop)
    for body in (f"--x\r\n{header}\r\n\r\nwords\r\n--x--\r\n", f"--x\r\n{header}\r\n\r\nbegin 666 a\r\n\xff\r\n--x--"):
        assert _click(visitor, _path(mail), body, Content_Type='multipart/form-data; boundary="x"') < 500


def test_parts_in_parts_without_end_are_no_form(shop: World, visitor: Visitor) -> None:
    """A form of parts within parts, as deep as the largest form may be, is refused and is no error of ours."""
    shop.subscribe()
    [mail] = _remind(shop)
    body = "--x\r\n" + "".join(f"Content-Type: multipart/a;boundary={n}\n\n--{n}\n" for n in range(330))
    assert _click(visitor, _path(mail), body, Content_Type='multipart/form-data; boundary="x"') == 400


def test_no_token_is_logged(shop: World, visitor: Visitor, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the sending of the mail nor the click writes the token of the link to the log."""
    shop.subscribe()
    [mail] = _remind(shop)
    _click(visitor, _path(mail))
    told = "".join(str(vars(each)) for each in caplog.records)
    assert "'route': 'reminders'" in told
    assert _path(mail).partition("/")[2] not in told


@pytest.mark.parametrize("tag", LANGUAGES)
def test_the_page_speaks_the_customers_language(shop: World, visitor: Visitor, tag: str) -> None:
    """The page, and the words in the mail, are in the customer's language."""
    shop.subscribe(locale=tag)
    [mail] = _remind(shop)
    page = visitor.get(_path(mail))
    assert f'<html lang="{tag}"' in page.html
    said = page.text + str(mail.get_body(("plain",)))
    assert ("Decline these reminders" in said) is (tag == "en")


# --- at the moment of sending ----------------------------------------------------------------------------------------


def test_a_click_between_the_look_and_the_claim_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """A customer who declines at any call of the reminder's run either has the mail claimed before, or gets no mail."""
    for at in range(60):
        shop = World()
        shop.subscribe()
        was_claimed = list[bool]()

        def declines(_point: str, shop: World = shop, was_claimed: list[bool] = was_claimed) -> None:
            was_claimed.append(_claimed_period(shop) == "2026-01-31")
            register, asked = shop.register, AskedBy(CUSTOMER, EARLIER)
            register.edit(shop.row(), {"reminders": "required"}, ChangeKind.EDITED, asked)

        shop.edit(reminder_upcoming=_sent("2025-12-31", EARLIER - 30 * DAY))
        shop.cuts.at, shop.cuts.happens = 2 * len(shop.cuts.calls) + at, declines
        shop.remind("reminder", EARLIER, rules=EACH_MONTH)
        if shop.cuts.at is not None:  # the run was over before
            assert at > 8
            break
        assert len(shop.mails()) == int(was_claimed[0])
    else:
        raise AssertionError("the run does not end")


def _claimed_period(shop: World) -> str:
    return str(shop.row()["reminder_upcoming"]["period"])


def _sent(period: str, at: datetime) -> dict[str, str]:
    """Return the record of a reminder that went out."""
    until = (at + LATER).isoformat()
    return {
        "period": period, "state": "sent", "token": "t", "owner": "run", "claimed_until": until, "to": "a@b.example",
        "at": at.isoformat(),
    }  # fmt: skip


@pytest.mark.parametrize(("days", "owed"), [(30, False), (181, False), (183, True), (None, True)])
def test_a_declined_plan_is_reminded_of_about_every_half_year(days: int | None, *, owed: bool) -> None:
    """Some rules ask for a reminder about every six months or every year, whatever the plan: a customer who has
    declined is still reminded so often, without an offer to decline."""
    shop = World()
    record = {} if days is None else {"reminder_upcoming": _sent("2025-01-31", EARLIER - timedelta(days=days))}
    shop.subscribe(reminders="required", **record)
    found = reminders.owed(parse(shop.row()), EARLIER.date(), EACH_MONTH)
    assert (MailKind.UPCOMING in found) is owed
    if owed:
        [mail] = _remind(shop)
        assert "List-Unsubscribe" not in mail


@pytest.mark.parametrize(("days", "owed"), [(None, True), (30, False), (181, False), (182, True)])
def test_a_complaint_declines_the_reminders_of_a_short_plan_alone(days: int | None, *, owed: bool) -> None:
    """A customer who reported a mail as spam is reminded of a plan of a month about every half year, like a customer
    who has declined, and the reminder is sent."""
    shop = World()
    record = {} if days is None else {"reminder_upcoming": _sent("2025-01-31", EARLIER - timedelta(days=days))}
    complained = {"address": "ann@customer.example", "kind": "complained", "at": "2025-01-01", "reason": "abuse"}
    shop.subscribe(mail_fault=complained, **record)
    assert (MailKind.UPCOMING in reminders.owed(parse(shop.row()), EARLIER.date(), EACH_MONTH)) is owed
    assert len(_remind(shop)) == owed


@pytest.mark.parametrize(
    ("days", "to", "owed"),
    [(30, "bad@customer.example", False), (183, "bad@customer.example", True), (30, "earlier@customer.example", True)],
)
def test_a_failed_reminder_of_a_declined_plan_is_not_tried_each_period(days: int, to: str, *, owed: bool) -> None:
    """A customer who has declined, and whose half-yearly reminder failed, is not owed a reminder of every period: the
    next is owed after half a year, or when the address was corrected."""
    shop = World()
    failed = _sent("2025-12-31", EARLIER - days * DAY) | {"state": "failed", "to": to}
    shop.subscribe(reminders="required", customer_email="bad@customer.example", reminder_upcoming=failed)
    assert (MailKind.UPCOMING in reminders.owed(parse(shop.row()), EARLIER.date(), EACH_MONTH)) is owed


def test_a_corrected_address_is_reminded_of_the_same_period(shop: World) -> None:
    """A customer who has declined, and whose reminder came back, gets the reminder of the same period at a corrected
    address, once."""
    failed = _sent("2026-01-31", EARLIER - DAY) | {"state": "failed", "to": "bad@customer.example"}
    shop.subscribe(reminders="required", reminder_upcoming=failed)
    assert len(_remind(shop)) == 1
    assert _remind(shop, EARLIER + DAY) == []


def test_a_choice_that_somebody_writes_by_hand_is_heard_too(shop: World) -> None:
    """A choice that a person writes into the row after the reminder was composed keeps the reminder from being claimed,
    although the version of the row stays the same."""
    shop.subscribe(reminder_upcoming=_sent("2025-12-31", EARLIER - 30 * DAY))
    read = parse(shop.row())
    shop.edit(reminders="required")
    client: Any = shop.dynamodb
    records, mail = Records(client, "subscriptions"), mail_from(_sent("2026-01-31", EARLIER))
    with pytest.raises(Overtaken):
        records.claim(read, MailKind.UPCOMING, mail, EARLIER.date(), EARLIER)


def test_required_reminders_go_out_although_declined(shop: World) -> None:
    """A customer who has declined still gets the reminder of a plan longer than a month, and is told of a price that
    differs from the reminder's."""
    shop.subscribe(reminders="required", interval="year", reminder_upcoming=_sent("2025-01-31", EARLIER - 20 * DAY))
    assert len(_remind(shop)) == 1
    shop.edit(amount=Decimal("39.99"))
    assert len(_remind(shop, EARLIER + DAY)) == 1


def test_the_gateway_is_not_asked_about_a_card_that_nobody_is_reminded_of(shop: World) -> None:
    """A customer who has declined reminders about cards costs no call of the gateway."""
    shop.subscribe(reminders="required")
    row = parse(shop.row())
    assert not reminders.asks_for_card(row, EARLIER.date(), EACH_MONTH)


@pytest.mark.parametrize("by_hand", [Decimal(1), True, "no", None, ["required"]])
def test_a_choice_by_hand_declines_nothing_and_holds_up_no_renewal(shop: World, by_hand: Any) -> None:
    """A value of the attribute that somebody wrote by hand declines nothing, and the subscription is renewed."""
    shop.subscribe(reminders=by_hand)
    assert len(_remind(shop)) == 1
    assert shop.run("paid", DUE if isinstance(DUE, datetime) else NOON) == "Success"
    assert date.fromisoformat(shop.row()["renewal_date"]) > NOON.date()
