"""Reminders: sent to the right customers, of the renewal and of the card as the gateway knows the card at that moment;
never twice, and never when no longer true."""

import re
from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from email.message import EmailMessage
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from renewals.domain import reminders
from renewals.domain.errors import BadRow
from renewals.domain.reminder_rules import Rules
from renewals.domain.renewal import MailKind
from renewals.domain.subscription import Subscription, parse
from renewals.domain.timeline import timeline
from tests import template
from tests.fake_aws import error
from tests.fakes import DUE, LATER, NOON, PAGE, REMINDER_RULES, SENDER, World
from tests.shares import rotating

WEEK = timedelta(days=7)
DAY = timedelta(days=1)
EARLIER = NOON - timedelta(days=5)
"""A moment when the renewal on 31 January is near."""

YEARLY: dict[str, Any] = {"interval": "year"}


def _row(**attributes: Any) -> Subscription:
    shop = World()
    shop.subscribe(**attributes)
    return parse(shop.row())


def _owed(*, day: date | None = None, **attributes: Any) -> list[MailKind]:
    return reminders.owed(_row(**attributes), day or EARLIER.date(), REMINDER_RULES)


def _card(expires: Any, method: str = "pm_ok") -> dict[str, Any]:
    return {"payment_method": method, "name": "Visa ending in 4242", "expires": expires}


def _text(mail: EmailMessage, kind: str = "plain") -> str:
    part = mail.get_body((kind,))
    assert part is not None
    return str(part.get_content())


def _shown(mail: EmailMessage) -> str:
    """Return the HTML without the elements around amounts."""
    return re.sub("</?bdi[^>]*>", "", _text(mail, "html"))


# --- owed reminders ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plan", "reminded"),
    [
        ({"interval": "year"}, True),
        ({"interval": "year", "interval_count": Decimal(2)}, True),
        ({"interval": "month", "interval_count": Decimal(12)}, True),
        ({"interval": "week", "interval_count": Decimal(52)}, True),
        ({"interval": "day", "interval_count": Decimal(365)}, True),
        ({"interval": "month", "interval_count": Decimal(2)}, True),
        ({"interval": "week", "interval_count": Decimal(5)}, True),
        ({"interval": "day", "interval_count": Decimal(32)}, True),
        ({"interval": "day", "interval_count": Decimal(31)}, False),
        ({"interval": "week", "interval_count": Decimal(4)}, False),
        ({"interval": "week"}, False),
        ({}, False),
    ],
)
def test_of_a_renewal_are_reminded_who_pay_for_more_than_a_month(plan: dict[str, Any], reminded: bool) -> None:
    """Customers whose plan is longer than a month are reminded of the renewal; customers who pay more often need no
    reminder."""
    assert _owed(**plan) == (["upcoming"] if reminded else [])


@pytest.mark.parametrize(("ahead", "reminded"), [(8, False), (7, True), (1, True), (0, False), (-1, False)])
def test_a_renewal_is_near_from_seven_days_before_to_the_day_before(ahead: int, reminded: bool) -> None:
    """A reminder is owed from seven days before the renewal to the day before: the next night makes up for a missed
    night, and on the day itself no reminder makes sense."""
    assert bool(_owed(day=DUE - timedelta(days=ahead), **YEARLY)) is reminded


@pytest.mark.parametrize(
    "change",
    [
        {"status": "canceled"}, {"status": "paused"}, {"status": "unpaid"}, {"status": "past_due"},
        {"cancel_at": "2026-01-31"}, {"cancel_at": "2026-01-28"},
    ],
)  # fmt: skip
def test_who_is_not_charged_is_not_reminded(change: dict[str, Any]) -> None:
    """A subscription that is canceled, paused, unpaid, past due or ending with the period is reminded neither of the
    renewal nor of the card."""
    row = _row(known_card=_card("2025-12"), **YEARLY, **change)
    assert reminders.owed(row, EARLIER.date(), REMINDER_RULES) == []
    assert not reminders.may_be_owed(_row(**YEARLY, **change), EARLIER.date(), REMINDER_RULES)


@pytest.mark.parametrize(
    ("expires", "before"), [("2025-12", True), ("2026-01", False), ("2026-02", False), ("", False)]
)
def test_a_card_is_good_to_the_end_of_its_month(expires: str, before: bool) -> None:
    """A card that expires in January is still good on 31 January; for a card unknown to the gateway no reminder is
    owed."""
    assert _owed(known_card=_card(expires)) == (["card_expires"] if before else [])


OTHERWISE = [None, _card("2025-12", "pm_old"), {"expires": "2025-12"}, "2025-12", _card("2025"), _card(5)]


@pytest.mark.parametrize("known", OTHERWISE)
def test_what_is_known_of_another_card_is_not_known_of_this_one(known: Any) -> None:
    """A note of a different card, or an unreadable note, counts for nothing: the gateway must be asked, and no reminder
    is owed on a guess."""
    row = _row(known_card=known)
    assert reminders.asks_for_card(row, EARLIER.date(), REMINDER_RULES)
    assert reminders.owed(row, EARLIER.date(), REMINDER_RULES) == []


@pytest.mark.parametrize("record", ["sent", {"period": "2026-01-31"}, {"period": "2026-01-31", "state": "sent"}])
def test_a_record_that_is_none_is_a_bad_row(record: Any) -> None:
    """An unreadable record of a reminder is a bad row: whoever edited the row by hand is told the attribute, and the
    sweep continues."""
    with pytest.raises(BadRow, match="reminder_upcoming: is not the record of a reminder"):
        _owed(reminder_upcoming=record, **YEARLY)


PLANS: dict[str, dict[str, Any]] = {
    "month": {},
    "two months": {"interval": "month", "interval_count": Decimal(2)},
    "half a year": {"interval": "month", "interval_count": Decimal(6)},
    "52 weeks": {"interval": "week", "interval_count": Decimal(52)},
    "year": YEARLY,
}


@pytest.mark.parametrize(
    ("from_period", "announced"),
    [
        (1, ["month", "two months", "half a year", "52 weeks", "year"]),
        (32, ["two months", "half a year", "52 weeks", "year"]),
        (181, ["half a year", "52 weeks", "year"]),
        (364, ["52 weeks", "year"]),
        (366, []),
    ],
)
@pytest.mark.parametrize("due", ["2026-01-31", "2026-02-28", "2026-08-31", "2026-09-01"])
def test_a_renewal_is_announced_by_the_length_of_its_period(due: str, from_period: int, announced: list[str]) -> None:
    """The parameter RemindedPeriodDays decides by the days of the period to come, whatever the months that the period
    has: 32 never names a month, and 181 always names half a year."""
    rules, day = Rules(21, from_period), date.fromisoformat(due)
    rows = {name: _row(renewal_date=due, **plan) for name, plan in PLANS.items()}
    assert [name for name, row in rows.items() if reminders.owed(row, day - 21 * DAY, rules)] == announced


def _default(parameter: str) -> int:
    return int(template.template()["Parameters"][parameter]["Default"])


def test_the_defaults_lie_within_every_rule_about_a_long_plan() -> None:
    """One reminder by the template's defaults lies 15 to 28 days before the renewal, as California (15 to 45 days),
    Mastercard (7 to 30, over 180 days) and Massachusetts (5 to 30, over a month) want, and names every period longer
    than a month."""
    assert 15 <= _default("ReminderDays") <= 28
    assert _default("RemindedPeriodDays") == 32


@pytest.mark.parametrize(("upgraded", "plan"), rotating(range(30, -2, -1), [*PLANS], of=3))
def test_an_upgrade_on_any_day_announces_each_renewal_once(shop: World, upgraded: int, plan: str) -> None:
    """The nightly sweeps before the upgrade remind seven days ahead and of plans of a year, the sweeps after the
    upgrade by the defaults. On whichever day the upgrade comes, each renewal of a long plan is announced once, and no
    renewal of a month is announced; a renewal that the earlier rule announced is not announced again."""
    before, after = Rules(7, 364), Rules(_default("ReminderDays"), _default("RemindedPeriodDays"))
    shop.subscribe(**PLANS[plan])
    for ahead in range(40, 0, -1):
        rules, now = before if ahead > upgraded else after, NOON - ahead * DAY
        if reminders.may_be_owed(parse(shop.row()), now.date(), rules):
            shop.remind(f"run-{ahead}", now, rules=rules)
    announced = upgraded > 0 or plan in ("52 weeks", "year")
    assert [mail["Subject"].split(" renews")[0] for mail in shop.mails()] == (
        ["Your subscription to Pro"] if announced and plan != "month" else []
    )


@pytest.mark.parametrize(("days", "asked"), [(28, 7), (21, 7), (7, 7), (3, 3), (0, 0)])
def test_a_card_is_asked_about_seven_days_ahead_at_most(days: int, asked: int) -> None:
    """A reminder about a card comes seven days before the renewal at the earliest, and never before ReminderDays: an
    earlier reminder of a long plan does not bring the card's forward."""
    rules, card = Rules(days, 32), _card("2025-12")
    for plan in ({}, YEARLY):
        told = [
            ahead
            for ahead in range(40, -2, -1)
            if MailKind.CARD_EXPIRES in reminders.owed(_row(known_card=card, **plan), DUE - ahead * DAY, rules)
        ]
        looked = [
            ahead for ahead in range(40, -2, -1) if reminders.asks_for_card(_row(**plan), DUE - ahead * DAY, rules)
        ]
        assert told == looked == list(range(asked, 0, -1))


# --- the first charge after a trial ------------------------------------------------------------------------------


def _nights(shop: World, rules: Rules, first: date, last: date) -> list[tuple[date, str]]:
    """Remind in each night from `first` to `last`; return the day and the subject of each mail."""
    told = []
    for n in range((last - first).days + 1):
        now, before = NOON + (first - NOON.date() + n * DAY), len(shop.mails())
        if reminders.may_be_owed(parse(shop.row()), now.date(), rules):
            shop.remind(f"night-{n}", now, rules=rules)
        told += [(now.date(), subject) for subject in shop.ses.subjects()[before:]]
    return told


@pytest.mark.parametrize("plan", PLANS)
def test_the_first_charge_after_a_trial_is_announced_seven_days_ahead(shop: World, plan: str) -> None:
    """A subscription created thirty days before its first charge is reminded once, seven days before the charge,
    whatever the length of the plan. The mail says amount, day, how to cancel, and that a trial ends with the payment.
    The renewals that follow are announced by the length of the plan."""
    rules = Rules(_default("ReminderDays"), _default("RemindedPeriodDays"))
    shop.subscribe(created_at="2026-01-01T12:00:00+00:00", **PLANS[plan])
    told = _nights(shop, rules, date(2026, 1, 1), DUE)
    assert told == [(DUE - WEEK, "Your subscription to Pro renews on 31 January 2026")]
    [mail] = shop.mails()
    assert "On that day we will charge $29.99" in _text(mail)
    assert "If you are on a trial, your trial ends with this payment." in _text(mail)
    assert f"Go to your account page: {PAGE}" in _text(mail).partition("You can cancel your subscription")[2]
    assert shop.run() == "Success"
    following = date.fromisoformat(shop.row()["renewal_date"])
    ahead = [(following - 21 * DAY, f"Your subscription to Pro renews on {following:%-d %B %Y}")]
    assert _nights(shop, rules, following - 22 * DAY, following) == ([] if plan == "month" else ahead)
    assert "trial" not in _text(shop.mails()[-1])


@pytest.mark.parametrize(
    ("row", "ends"),
    [
        ({"created_at": "2026-01-23T12:00:00+00:00"}, True),
        ({"created_at": "2026-01-24T12:00:00+00:00"}, False),
        ({"created_at": "2026-01-31T12:00:00+00:00"}, False),
        ({}, False),
        ({"created_at": "long ago"}, False),
        ({"created_at": Decimal(1)}, False),
        ({"created_at": "2025-06-01T12:00:00+00:00", "paid_until": "2026-01-31"}, False),
    ],
)
def test_a_trial_is_known_by_the_creation_and_by_no_paid_period(row: dict[str, Any], ends: bool) -> None:
    """The first charge ends a trial if more than seven days lie between creation and charge. A row that was paid
    before, or whose creation is unknown, as of an imported row, is no trial: nobody is told of a first payment who has
    paid before."""
    assert reminders.ends_trial(_row(**row)) is ends
    assert _owed(**row) == (["upcoming"] if ends else [])
    assert reminders.owed(_row(**row), EARLIER.date(), Rules(0, 32)) == []


def test_no_reminder_claims_that_a_payment_is_the_first(shop: World) -> None:
    """Somebody moves the renewal date by hand while the bank works: the payment is recorded and has its receipt, but
    the row names no paid period. The reminder of the next charge does not say that the charge is the first."""
    shop.subscribe(created_at="2026-01-01T12:00:00+00:00")
    shop.gateway.trouble.append(("confirm", "processing"))
    shop.run("charge", NOON)
    shop.edit(renewal_date="2026-03-15")
    shop.gateway.succeed(next(iter(shop.gateway.payments)))
    shop.run("settled", NOON + DAY, period=DUE.isoformat())
    assert shop.ses.subjects() == ["Receipt for Pro: $29.99"]
    assert reminders.ends_trial(parse(shop.row()))
    assert len(_nights(shop, REMINDER_RULES, date(2026, 3, 1), date(2026, 3, 14))) == 1
    assert "first payment" not in _text(shop.mails()[-1])


def test_a_trial_that_is_made_longer_is_announced_again(shop: World) -> None:
    """A first charge that was put off after the reminder is announced for its new day, too."""
    shop.subscribe(created_at="2026-01-01T12:00:00+00:00")
    told = _nights(shop, REMINDER_RULES, DUE - WEEK, DUE - 3 * DAY)
    shop.edit(renewal_date="2026-02-14")
    told += _nights(shop, REMINDER_RULES, DUE - 3 * DAY, date(2026, 2, 14))
    assert [day for day, _ in told] == [DUE - WEEK, date(2026, 2, 7)]


# --- sent reminders ----------------------------------------------------------------------------------------------


def test_an_upcoming_renewal_is_announced_once(shop: World) -> None:
    """The reminder tells date, amount and period in text and HTML; the next day's run and a copy of the message send no
    further mail."""
    shop.subscribe(plan="Pro <b>", **YEARLY)
    for n in range(3):
        assert shop.remind(f"run-{n}", EARLIER + n * DAY) == "Success"
    [mail] = shop.mails()
    assert mail["Subject"] == "Your subscription to Pro <b> renews on 31 January 2026"
    assert (mail["To"], mail["From"]) == ("Ann Lee <ann@customer.example>", f"Example Shop <{SENDER}>")
    charge = "On that day we will charge $29.99 for the period 31 January 2026 to 30 January 2027."
    says = f"renews on 31 January 2026. {charge}"
    assert f"Your subscription to Pro <b> {says}" in _text(mail)
    assert f"Your subscription to Pro &lt;b&gt; {says}" in _shown(mail)
    assert f"Update your payment method: {PAGE}" in _text(mail).splitlines()
    record = shop.row()["reminder_upcoming"]
    assert (record["period"], record["state"], record["to"]) == ("2026-01-31", "sent", "ann@customer.example")


def test_the_next_period_is_announced_again(shop: World) -> None:
    """A reminder is sent for every period: the last period's record does not count for the next."""
    shop.subscribe(**YEARLY)
    shop.remind("first", EARLIER)
    assert shop.run() == "Success"
    assert shop.row()["renewal_date"] == "2027-01-31"
    shop.remind("second", EARLIER + timedelta(days=365))
    subjects = shop.ses.subjects()
    assert [subject for subject in subjects if "renews on" in subject] == [
        "Your subscription to Pro renews on 31 January 2026", "Your subscription to Pro renews on 31 January 2027",
    ]  # fmt: skip


def test_a_card_that_expires_before_the_charge_is_told_with_its_month(shop: World) -> None:
    """The gateway is asked about the card, the row keeps the answer, and a single mail names the month and links to the
    customer page."""
    shop.subscribe()
    shop.gateway.expires["pm_ok"] = "2025-12"
    for n in range(3):
        assert shop.remind(f"run-{n}", EARLIER + n * DAY) == "Success"
    [mail] = shop.mails()
    assert mail["Subject"] == "Please update your card for Pro before 31 January 2026"
    for said in (_text(mail), _shown(mail)):
        assert "Visa ending in 4242, is valid until the end of December 2025." in said
        assert "Your next payment is due after that: $29.99 on 31 January 2026." in said
    assert f"Update your payment method: {PAGE}" in _text(mail).splitlines()
    assert shop.row()["known_card"] == _card("2025-12")
    assert shop.cuts.calls.count("gateway.card") == 1


def test_both_reminders_are_two_mails() -> None:
    """A yearly plan with an expiring card gets two mails, with a record for each kind."""
    shop = _expiring()
    shop.remind("run-1", EARLIER)
    shop.remind("run-2", EARLIER + DAY)
    assert [subject.partition(" Pro ")[0] for subject in shop.ses.subjects()] == [
        "Your subscription to",
        "Please update your card for",
    ]


@pytest.mark.parametrize("card", ["pm_ok", "pm_gone"])
def test_a_card_that_was_looked_at_is_not_asked_about_again(shop: World, card: str) -> None:
    """For a card that is good for the charge, or gone, no mail is sent, and the row records that nobody needs to ask
    again."""
    shop.subscribe(payment_method=card)
    for n in range(3):
        assert shop.remind(f"run-{n}", EARLIER + n * DAY) == "Success"
    assert shop.cuts.calls.count("gateway.card") == 1
    assert not reminders.may_be_owed(parse(shop.row()), EARLIER.date(), REMINDER_RULES)
    assert not shop.mails()


def test_a_charge_tells_what_its_card_is(shop: World) -> None:
    """A charge records the card and its month, so that the gateway need not be asked after a payment."""
    shop.subscribe()
    assert shop.run() == "Success"
    row = parse(shop.row())
    assert reminders.known_card(row) is not None
    assert not reminders.may_be_owed(row, row.renewal_date - DAY, REMINDER_RULES)


def test_a_card_that_the_bank_replaced_is_not_complained_of(shop: World) -> None:
    """A card that the last charge knew as expiring was renewed at the gateway: no reminder is sent, and the row keeps
    the new month."""
    shop.subscribe(known_card=_card("2025-12"))
    assert shop.remind("run-1", EARLIER) == "Success"
    assert not shop.mails()
    assert shop.row()["known_card"] == _card("2030-12")


def test_a_gateway_that_gives_no_answer_is_asked_again(shop: World) -> None:
    """Without an answer of the gateway the task is retried, and nothing is recorded or mailed on a guess."""
    shop.subscribe()
    shop.gateway.expires["pm_ok"] = "2025-12"
    shop.gateway.trouble.append(("card", "before"))
    assert shop.remind("run-1", EARLIER) == "PaymentFailed"
    assert "known_card" not in shop.row()
    assert shop.remind("run-2", EARLIER) == "Success"
    assert len(shop.mails()) == 1


def test_a_test_clock_is_the_day_that_counts(shop: World) -> None:
    """A subscription with a test clock is reminded by its own clock, five days before the renewal, though the calendar
    is months behind."""
    shop.environment = "dev"
    shop.subscribe(renewal_date="2026-06-30", test_clock="2026-06-25", **YEARLY)
    assert shop.remind("run-1") == "Success"
    assert shop.ses.subjects() == ["Your subscription to Pro renews on 30 June 2026"]
    assert shop.row()["reminder_upcoming"]["at"].startswith("2026-06-25")


# --- reminders overtaken by a change -------------------------------------------------------------------------------

MEANWHILE: list[dict[str, Any]] = [
    {"status": "canceled"}, {"status": "paused"}, {"status": "past_due"}, {"cancel_at": "2026-01-31"},
    {"renewal_date": "2026-02-28"}, {"amount": Decimal("39.99")}, {"payment_method": "pm_new"}, {"currency": "no"},
]  # fmt: skip


@pytest.mark.parametrize("change", MEANWHILE)
def test_what_changes_before_the_mail_is_not_told_as_it_was(change: dict[str, Any]) -> None:
    """A row changed at any moment before a reminder is claimed gets no outdated mail: the reminder is dropped or tells
    the new facts."""
    for at in range(40):
        shop, claimed = _expiring(), set[str]()
        shop.cuts.at = at
        shop.cuts.happens = _edits(shop, change, claimed)
        shop.remind("run-1", EARLIER, period="2026-01-31")
        if shop.cuts.at is not None:
            assert at > 10
            return
        for mail in shop.mails():
            kind = "card_expires" if "card" in mail["Subject"] else "upcoming"
            if kind not in claimed:
                assert not change.keys() & {"status", "cancel_at", "renewal_date", "currency"}
                assert "29.99" not in _text(mail) or "amount" not in change
                assert kind == "upcoming" or "payment_method" not in change
    pytest.fail("the run has more calls than the test interrupts")


def _expiring() -> World:
    """Return a shop with a yearly subscription and an expiring card: two reminders are owed."""
    shop = World()
    shop.subscribe(**YEARLY)
    shop.gateway.expires["pm_ok"] = "2025-12"
    return shop


def _edits(shop: World, change: dict[str, Any], claimed: set[str]) -> Callable[[str], None]:
    def edit(_point: str) -> None:
        claimed.update(kind for kind in ("upcoming", "card_expires") if f"reminder_{kind}" in shop.row())
        shop.edit(**change)

    return edit


def test_a_deleted_subscription_is_not_reminded(shop: World) -> None:
    """A row deleted between the sweep and the message gets no mail and causes no failure."""
    shop.subscribe(**YEARLY)
    shop.delete_row()
    assert shop.remind("run-1", EARLIER, period="2026-01-31") == "Success"
    assert not shop.mails()


def test_a_row_that_is_deleted_stays_deleted() -> None:
    """A row deleted at any moment of the run is written anew neither for the card nor for a record."""
    for at in range(60):
        shop = _expiring()
        shop.cuts.at = at
        shop.cuts.happens = lambda _point, shop=shop: shop.delete_row()  # type: ignore[misc]
        shop.remind("run-1", EARLIER)
        if shop.cuts.at is not None:
            assert at > 20
            return
        assert shop.dynamodb.items("subscriptions") == {}
    pytest.fail("the run has more calls than the test interrupts")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"customer_email": "ann@new.example"}, "ann@new.example"),
        ({"customer_name": "Anna Li"}, "Anna Li"),
        ({"locale": "de"}, "29,99"),
    ],
)
def test_a_reminder_goes_out_as_the_row_stands_when_the_mail_is_claimed(change: dict[str, Any], said: str) -> None:
    """Whatever moment of the run a new address, name or language comes in at: a reminder that is claimed afterwards has
    the new value."""
    for at in range(60):
        shop, claimed = World(), list[bool]()
        shop.subscribe(**YEARLY)
        shop.cuts.at, shop.cuts.happens = at, _edited(shop, change, claimed)
        assert shop.remind("run-1", EARLIER) == "Success"
        if shop.cuts.at is not None:
            assert at > 8
            return
        (mail,) = shop.mails()
        assert claimed[0] or said in f"{mail['To']} {_text(mail)}"
    pytest.fail("the run has more calls than the test interrupts")


def _edited(shop: World, change: dict[str, Any], claimed: list[bool]) -> Callable[[str], None]:
    """Return what happens at a call: the row is edited. claimed: filled with whether the reminder was claimed."""

    def happens(_point: str) -> None:
        claimed.append("reminder_upcoming" in shop.row())
        shop.edit(**change)

    return happens


def test_a_row_that_is_broken_by_hand_is_not_reminded(shop: World) -> None:
    """A row broken between the sweep and the message gets no mail and causes no failure; the next sweep names the
    row."""
    shop.subscribe(reminder_card_expires="yes", known_card=_card("2030-12"), **YEARLY)
    assert shop.remind("run-1", EARLIER) == "Success"
    assert not shop.mails()


def test_a_subscription_of_two_customers_is_not_reminded(shop: World) -> None:
    """A subscription id with rows of two customers cannot be charged, so nobody is reminded of a charge."""
    shop.subscribe(**YEARLY)
    shop.subscribe(customer_id="cus_2", **YEARLY)
    assert shop.remind("run-1", EARLIER) == "Success"
    assert not shop.mails()


# --- never twice ---------------------------------------------------------------------------------------------------


def test_a_run_cut_anywhere_sends_each_reminder_at_most_once() -> None:
    """A run is cut at any moment and repeated by its owner, minutes later and a day later: every reminder is sent once,
    except that the reminder being sent at the cut may stand as unknown instead."""
    for at in range(60):
        shop = _expiring()
        shop.cuts.at = at
        shop.remind("run-1", EARLIER, tries=1 + at % 2)
        whole = shop.cuts.at is not None
        for n, now in enumerate((EARLIER + LATER, EARLIER + 2 * LATER, EARLIER + DAY)):
            shop.remind(f"later-{n}", now)
        states = [shop.row()[f"reminder_{kind}"]["state"] for kind in ("upcoming", "card_expires")]
        subjects = shop.ses.subjects()
        assert len(set(subjects)) == len(subjects)
        assert len(subjects) + states.count("unknown") >= 2
        assert sorted(states) in (["sent", "sent"], ["sent", "unknown"])
        if whole:
            assert at > 20
            assert states == ["sent", "sent"]
            return
    pytest.fail("the run has more calls than the test cuts")


def test_a_reminder_cut_after_its_claim_is_unknown_and_stays_so(shop: World) -> None:
    """Where nobody can tell whether a reminder went out, the record says unknown, and no later run sends the
    reminder."""
    shop.subscribe(known_card=_card("2030-12"), **YEARLY)
    shop.ses.trouble.append(ReadTimeoutError(endpoint_url="x"))
    assert shop.remind("run-1", EARLIER) == "EmailFailed"
    assert shop.row()["reminder_upcoming"]["state"] == "unknown"
    assert shop.remind("run-2", EARLIER + DAY) == "Success"
    assert shop.cuts.calls.count("ses.SendRawEmail") == 1


def test_of_two_runs_at_once_one_sends() -> None:
    """A second run executes whole at any moment of the first: a single mail of each kind is sent."""
    for at in range(60):
        shop = _expiring()
        shop.cuts.at = at
        shop.cuts.happens = _second(shop)
        shop.remind("first", EARLIER)
        assert len(shop.mails()) == 2
        assert {shop.row()[f"reminder_{kind}"]["state"] for kind in ("upcoming", "card_expires")} == {"sent"}
        if shop.cuts.at is not None:
            return
    pytest.fail("the run has more calls than the test interrupts")


def _second(shop: World) -> Callable[[str], None]:
    return lambda _point: _expect(shop.remind("second", EARLIER), "Success")


def _expect(state: str, expected: str) -> None:
    assert state == expected


@pytest.mark.parametrize("now", [EARLIER, EARLIER + DAY])
def test_a_reminder_that_was_certainly_not_sent_is_sent_again(shop: World, now: datetime) -> None:
    """A throttled mail's claim is released, and the retry or the next night sends the reminder."""
    shop.subscribe(known_card=_card("2030-12"), **YEARLY)
    shop.ses.trouble.append(error("Throttling", "SendRawEmail", 503))
    assert shop.remind("run-1", EARLIER) == "EmailFailed"
    assert shop.remind("run-2", now) == "Success"
    assert len(shop.mails()) == 1


def test_every_failure_of_a_reminder_stays_in_the_timeline(shop: World) -> None:
    """Two addresses were at fault before a third got the mail: the timeline tells of all three in order and ignores
    entries written by hand among the earlier failures; at most ten failures are kept."""
    shop.subscribe(known_card=_card("2030-12"), **YEARLY)
    shop.edit(**{reminders.EARLIER: ["x", {"kind": "upcoming"}, {"kind": "receipt", "period": "2026-01-31"}]})
    for n, address in enumerate(["nobody", "bad", "right@customer.example"]):
        shop.edit(customer_email=address)
        shop.remind(f"run-{n}", EARLIER + n * LATER)
    told = [(entry.kind, entry.text) for entry in timeline(shop.row(), [], [])]
    assert [kind for kind, _ in told] == ["mail_failed", "mail_failed", "mailed"]
    assert len(shop.mails()) == 1
    for n in range(12):
        shop.edit(customer_email=f"bad-{n}", renewal_date="2026-02-01")
        shop.remind(f"more-{n}", EARLIER + DAY + n * LATER, period="2026-02-01")
    assert len(shop.row()[reminders.EARLIER]) == 10


@pytest.mark.parametrize(
    "odd", [{"x"}, {Decimal(1)}, {b"x"}, b"x", None, Decimal("1E+40"), True, [{"x"}], {"a": {"x"}}]
)
@pytest.mark.parametrize("name", ["reason", "message_id", "owner", "note", None])
def test_a_value_of_any_type_beside_an_earlier_failure_keeps_nobody_from_being_reminded(
    shop: World, name: str | None, odd: Any
) -> None:
    """Somebody wrote an odd value among the earlier failures, or into the latest record: the corrected address gets the
    mail, and the value among the earlier failures is kept."""
    shop.subscribe(known_card=_card("2030-12"), customer_email="nobody", **YEARLY)
    assert shop.remind("run-1", EARLIER) == "EmailFailed"
    if name is None:
        shop.edit(**{reminders.EARLIER: [odd]})
    else:
        shop.edit(reminder_upcoming=shop.row()["reminder_upcoming"] | {name: odd})
    shop.edit(customer_email="right@customer.example")
    assert shop.remind("run-2", EARLIER + DAY) == "Success"
    assert [mail["To"] for mail in shop.mails()] == ["Ann Lee <right@customer.example>"]
    if name is None:
        assert shop.row()[reminders.EARLIER][0] == odd


def test_a_bad_address_is_told_once_and_a_corrected_one_gets_the_mail(shop: World) -> None:
    """A reminder to an invalid address is parked on the row, and no further run asks while the address stays; the
    corrected address gets the mail."""
    shop.subscribe(known_card=_card("2030-12"), customer_email="nobody", **YEARLY)
    assert shop.remind("run-1", EARLIER) == "EmailFailed"
    assert not reminders.may_be_owed(parse(shop.row()), EARLIER.date(), REMINDER_RULES)
    assert shop.remind("run-2", EARLIER + DAY) == "Success"
    shop.edit(customer_email="right@customer.example")
    assert shop.remind("run-3", EARLIER + DAY) == "Success"
    assert [mail["To"] for mail in shop.mails()] == ["Ann Lee <right@customer.example>"]


# --- a card that was detached ------------------------------------------------------------------------------------


def test_a_customer_whose_card_was_detached_is_asked_for_a_new_one_once(shop: World) -> None:
    """A card was detached at the gateway: the customer is asked once, before the renewal, to update the payment method,
    and after the update nothing more is mailed."""
    shop.subscribe(payment_method="pm_detached")
    for n in range(3):
        assert shop.remind(f"run-{n}", EARLIER + n * DAY) == "Success"
    [mail] = shop.mails()
    assert mail["Subject"] == "Please update your card for Pro before 31 January 2026"
    says = "is not saved for your account any more, so we cannot charge this card. Your next payment is due on"
    assert f"Visa ending in 4242, {says} 31 January 2026." in _text(mail)
    assert "valid until" not in _text(mail)
    assert "29.99" not in _text(mail)
    assert shop.row()["known_card"]["is_detached"] is True
    shop.edit(payment_method="pm_ok")
    shop.remind("run-4", EARLIER + 3 * DAY)
    assert len(shop.mails()) == 1


@pytest.mark.parametrize("plan", [{}, YEARLY])
def test_a_mail_of_a_detached_card_promises_no_price(shop: World, plan: dict[str, Any]) -> None:
    """The mail about a detached card names no price: a promise of an earlier reminder still holds, and without such a
    reminder the price of the row is charged."""
    shop.subscribe(**plan)
    shop.remind("run-1", EARLIER)
    shop.gateway.detach("pm_ok")
    asked = {"event_type": "subscription.reminder", "renewal_date": DUE.isoformat(), "gateway_event": "evt_1"}
    shop.execute(asked, "event", EARLIER + LATER)
    assert [str(mail["Subject"]).split()[0] for mail in shop.mails()] == (["Your", "Please"] if plan else ["Please"])
    shop.edit(amount=Decimal("39.99"), payment_method="pm_new")
    shop.run("charge", NOON, amount="39.99")
    [(_, charged, _)] = shop.gateway.charges
    assert charged == (2999 if plan else 3999)


def test_a_mail_of_a_detached_card_revives_no_promise_that_came_back(shop: World) -> None:
    """A reminder names a price, the mail about the detached card follows, and then the reminder comes back: nobody read
    the price, and the price of the row is charged."""
    shop.subscribe(**YEARLY)
    shop.remind("run-1", EARLIER)
    shop.gateway.detach("pm_ok")
    asked = {"event_type": "subscription.reminder", "renewal_date": DUE.isoformat(), "gateway_event": "evt_1"}
    shop.execute(asked, "event", EARLIER + LATER)
    reminder = shop.row()["reminder_upcoming"]
    shop.edit(reminder_upcoming=reminder | {"state": "failed"}, amount=Decimal("39.99"), payment_method="pm_new")
    shop.run("charge", NOON, amount="39.99")
    [(_, charged, _)] = shop.gateway.charges
    assert (len(shop.mails()) > 1, charged) == (True, 3999)


def test_a_detached_card_without_a_last_month_is_told(shop: World) -> None:
    """The gateway names no last month of a detached card: the mail is written all the same."""
    shop.subscribe()
    shop.gateway.expires["pm_ok"] = ""
    shop.gateway.detach("pm_ok")
    shop.remind("run", EARLIER)
    assert [str(mail["Subject"]).split()[0] for mail in shop.mails()] == ["Please"]


def test_an_earlier_version_reads_the_note_of_a_good_card(shop: World) -> None:
    """The note of a card that was not detached has the form of earlier versions, which refuse further attributes."""
    shop.subscribe(**YEARLY)
    shop.remind("run", EARLIER)
    assert shop.row()["known_card"] == _card("2030-12", "pm_ok")
