"""The day on which a subscription lives: the day in the business's time zone, or the day of a test clock."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

import generate_receipt.app
import process_payment.app
import renewal_sweep.app
import send_email.app
from renewals.domain.errors import BadRow, BadSetting
from renewals.gateway import access as gateway_access
from renewals.runtime import aws, clock
from renewals.runtime.clock import Moment, moment, zone_named
from tests.fake_aws import FakeSQS
from tests.fakes import LINKS, SENDER, World

BERLIN = ZoneInfo("Europe/Berlin")
NEW_YORK = ZoneInfo("America/New_York")
HAVANA = ZoneInfo("America/Havana")
ZONES = [UTC, BERLIN, NEW_YORK, HAVANA, *map(ZoneInfo, ("Asia/Kolkata", "Pacific/Kiritimati", "Australia/Lord_Howe"))]
MICROSECOND = timedelta(microseconds=1)


def _utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


# The day


@pytest.mark.parametrize(
    ("zone", "day", "begins", "hours"),
    [
        ("UTC", "2026-03-29", "2026-03-29T00:00", 24),
        ("Europe/Berlin", "2026-03-28", "2026-03-27T23:00", 24),
        ("Europe/Berlin", "2026-03-29", "2026-03-28T23:00", 23),
        ("Europe/Berlin", "2026-10-25", "2026-10-24T22:00", 25),
        ("America/New_York", "2026-03-08", "2026-03-08T05:00", 23),
        ("America/New_York", "2026-11-01", "2026-11-01T04:00", 25),
        ("America/Havana", "2026-03-08", "2026-03-08T05:00", 23),  # the day's first hour is skipped
        ("Pacific/Kiritimati", "2026-01-31", "2026-01-30T10:00", 24),
        ("Asia/Kolkata", "2026-01-31", "2026-01-30T18:30", 24),
        ("Europe/Berlin", "2028-02-29", "2028-02-28T23:00", 24),
        ("America/New_York", "2028-02-29", "2028-02-29T05:00", 24),
    ],
)
def test_a_day_is_the_business_s_from_its_first_moment_to_its_last(
    zone: str, day: str, begins: str, hours: int
) -> None:
    """A day lasts from its first moment to its last in the business's time zone: ahead of UTC, behind UTC, on days when
    clocks change, and on 29 February."""
    first, today = _utc(begins), date.fromisoformat(day)
    end = first + timedelta(hours=hours)
    for wall, expected in (
        (first - MICROSECOND, today - timedelta(days=1)),
        (first, today),
        (end - MICROSECOND, today),
        (end, today + timedelta(days=1)),
    ):
        assert moment(wall, "prod", zone_named(zone)) == Moment(expected, wall, wall, zone=zone_named(zone))


def test_the_moment_of_a_run_is_the_real_one_in_the_zone_that_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run takes the real moment, and the day in the time zone that is set: UTC-12 and UTC+14 never have the same
    date."""
    monkeypatch.setenv("ENVIRONMENT", "prod")
    days = []
    for zone in ("Etc/GMT+12", "Pacific/Kiritimati"):
        monkeypatch.setenv("TIME_ZONE", zone)
        before, found = datetime.now(UTC), clock.current()
        assert before <= found.now == found.wall <= datetime.now(UTC)
        days.append(found.today)
    assert days[0] < days[1]


@pytest.mark.parametrize("name", ["Europe/Berln", "Europe", "", "../UTC", "/etc/localtime", "Europe/Berlin\0"])
def test_an_unknown_zone_is_named_by_its_setting(name: str) -> None:
    """Whatever is wrong with a time zone's name, the error names the setting to mend."""
    with pytest.raises(BadSetting, match=r"^environment variable TIME_ZONE is not the name of a time zone"):
        zone_named(name)


# A test clock


def test_a_test_clock_moves_the_day_and_not_the_time_of_day() -> None:
    """A test clock moves the day and keeps the time of day: at half past midnight in Berlin the test's day, too, is at
    half past midnight."""
    wall = _utc("2026-01-30T23:30")
    found = moment(wall, "dev", BERLIN, "2031-07-01")
    assert found == Moment(date(2031, 7, 1), _utc("2031-06-30T22:30"), wall, tested=True, zone=BERLIN)


@pytest.mark.parametrize(
    ("zone", "wall", "test_clock", "now"),
    [
        (BERLIN, "2026-01-30T01:30", "2026-03-29", "2026-03-29T01:30"),  # 02:30 is skipped, and becomes 03:30
        (NEW_YORK, "2026-01-30T07:30", "2026-03-08", "2026-03-08T07:30"),
        (BERLIN, "2026-10-25T01:30", "2026-10-25", "2026-10-25T00:30"),  # the second 02:30: the first is taken
        (HAVANA, "2026-11-01T05:30", "2026-03-08", "2026-03-08T05:30"),  # the second 00:30, on a day without 00:30
        (NEW_YORK, "2026-01-30T07:30", "2028-02-29", "2028-02-29T07:30"),
    ],
)
def test_a_time_that_the_day_of_the_test_lacks_or_has_twice(
    zone: ZoneInfo, wall: str, test_clock: str, now: str
) -> None:
    """A time of day that the test's day skips when clocks go forward becomes an hour later on that day. Of a time that
    the test's day has twice when clocks go back, the first is taken."""
    found = moment(_utc(wall), "dev", zone, test_clock)
    assert found.now == _utc(now)
    assert found.now.astimezone(zone).date() == found.today == date.fromisoformat(test_clock)


@given(
    st.datetimes(datetime(2020, 1, 1), datetime(2037, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    st.sampled_from(ZONES),
    st.dates(date(2020, 1, 1), date(2100, 1, 1)),
)
def test_now_is_always_on_the_day_of_the_test(wall: datetime, zone: ZoneInfo, day: date) -> None:
    """Whatever clocks do on the real day or on the test's day, date and time of a test never disagree."""
    found = moment(wall, "dev", zone, day.isoformat())
    assert (found.today, found.now.astimezone(zone).date(), found.wall) == (day, day, wall)


WRONG = ["", "tomorrow", "2026-1-1", "20260101", "2026-02-30", "1999-12-31", "2026-01-01T00:00", Decimal(20260101)]


@pytest.mark.parametrize("test_clock", WRONG)
def test_a_test_clock_that_is_no_date_is_a_bad_row(test_clock: object) -> None:
    """A test clock that is no date makes a bad row and is named, so that nobody trusts a test without a clock."""
    with pytest.raises(BadRow) as raised:
        moment(_utc("2026-01-31T12:00"), "dev", UTC, test_clock)
    assert raised.value.field == "test_clock"


def test_a_row_with_a_wrong_test_clock_is_shown_on_the_real_day(monkeypatch: pytest.MonkeyPatch) -> None:
    """The API and the customer page show a row whose test clock is no date, on the real day; a test clock that is a
    date moves the day."""
    monkeypatch.setenv("ENVIRONMENT", "dev")
    monkeypatch.setenv("TIME_ZONE", "UTC")
    found = clock.of_row({"test_clock": "tomorrow"})
    assert (found.today, found.tested) == (datetime.now(UTC).date(), False)
    assert clock.of_row({"test_clock": "2031-05-06"}).today == date(2031, 5, 6)


def test_the_end_of_time_is_a_bad_row_too() -> None:
    """A test clock on the last evening of the year 9999 in New York makes a bad row, since the moment lies beyond the
    calendar in UTC."""
    with pytest.raises(BadRow, match="test_clock"):
        moment(_utc("2026-02-01T04:00"), "dev", NEW_YORK, "9999-12-31")


@pytest.mark.parametrize("test_clock", ["2031-07-01", *WRONG])
def test_production_has_no_test_clock(test_clock: object) -> None:
    """In production a test clock is ignored, whatever its value."""
    wall = _utc("2026-01-31T12:00")
    assert moment(wall, "prod", BERLIN, test_clock) == moment(wall, "prod", BERLIN)


# The renewal


def test_a_leap_day_in_a_zone_ahead_of_utc(shop: World) -> None:
    """A yearly subscription since 29 February 2028 renews in the first hour of the business's day, which in UTC is the
    evening before: on 28 February in ordinary years, and on the 29th again in 2032."""
    shop.zone = BERLIN
    shop.subscribe(interval="year", renewal_date="2028-02-29")
    assert shop.renew(now=_utc("2028-02-28T22:59")).reason == "not_due"
    days = []
    for year, day in ((2028, 28), (2029, 27), (2030, 27), (2031, 27), (2032, 28)):
        assert shop.run(f"in {year}", datetime(year, 2, day, 23, 30, tzinfo=UTC)) == "Success"
        days.append(shop.row()["renewal_date"])
    assert days == ["2029-02-28", "2030-02-28", "2031-02-28", "2032-02-29", "2033-02-28"]
    assert len(shop.gateway.charges) == len(shop.mails()) == 5


def test_the_ledger_keeps_the_offset_of_the_day_that_was_paid_on(shop: World) -> None:
    """Ledger and row keep the moment of payment with the offset of the business's time zone: noon in UTC is one o'clock
    in Berlin."""
    shop.zone = BERLIN
    shop.subscribe()
    shop.run()
    assert shop.items()["2026-01-31"]["paid_at"] == "2026-01-31T13:00:00.000000+01:00"
    assert shop.row()["last_payment"] == "2026-01-31T13:00:00.000000+01:00"


def test_a_payment_of_a_day_to_come_is_found_at_the_gateway(shop: World) -> None:
    """With the ledger of a subscription under test lost and the idempotency key forgotten, the payment is found at the
    gateway on the real day, and nothing is charged again."""
    shop.environment = "dev"
    shop.subscribe(renewal_date="2031-01-31", test_clock="2031-02-02")
    shop.run()
    shop.dynamodb.items("renewals").clear()
    shop.edit(renewal_date="2031-01-31")
    shop.gateway.by_key.clear()
    assert shop.run("restored") == "Success"
    assert len(shop.gateway.charges) == 1


# The functions


type Function = Callable[[dict[str, Any], Any], dict[str, Any]]


@pytest.fixture
def deployed(shop: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """The functions over the shop, in Berlin and not in production. Yields a MonkeyPatch to change their settings."""
    names = "PROJECT_NAME DEPLOYMENT SELLER_NAME SELLER_ADDRESS SELLER_TAX_ID SES_CONFIGURATION_SET"
    for name in names.split():
        monkeypatch.setenv(name, "acme")
    for name, value in {
        "ENVIRONMENT": "dev",
        "TIME_ZONE": "Europe/Berlin",
        "DYNAMODB_TABLE": "subscriptions",
        "RENEWALS_TABLE": "renewals",
        "CHANGES_TABLE": "changes",
        "S3_BUCKET": "receipts",
        "SENDER_EMAIL": SENDER,
        "RENEWAL_QUEUE_URL": "queue",
        "DUNNING_DAYS": "1,3",
        "DUNNING_ENDS_AS": "canceled",
        "CUSTOMER_PAGE_URL": "",
        "ACCOUNT_URL": "",
        **dict.fromkeys(("BRAND_COLOR", "BRAND_LOGO_URL", "REPLY_TO_EMAIL", "SUPPORT_URL"), ""),
        "RECEIPT_LINK_KEY_ARN": "arn",
        "RECEIPT_LINKS_URL": LINKS,
        "REMINDER_DAYS": "0",
        "REMINDED_PERIOD_DAYS": "32",
        "RENEWAL_CONCURRENCY": "20",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(aws, "dynamodb", lambda: shop.dynamodb)
    monkeypatch.setattr(aws, "s3", lambda: shop.s3)
    monkeypatch.setattr(aws, "ses", lambda: shop.ses)
    monkeypatch.setattr(gateway_access, "gateway", cache(lambda: shop.gateway))
    secrets = SimpleNamespace(get_secret_value=lambda **_: {"SecretString": "key"})
    monkeypatch.setattr(aws, "secrets_manager", lambda: secrets)
    caches = (
        process_payment.app._ledger,
        generate_receipt.app._ledger,
        send_email.app._ledger,
        send_email.app._link_key,
    )
    for kept in caches:
        kept.cache_clear()
    yield monkeypatch
    for kept in caches:
        kept.cache_clear()


def _call(function: Function, **event: Any) -> dict[str, Any]:
    context = SimpleNamespace(aws_request_id="request-1", get_remaining_time_in_millis=lambda: 900_000)
    return function(event, context)


def _pay() -> dict[str, Any]:
    request = {"subscription_id": "sub_1", "customer_id": "cus_1", "amount": "29.99"}
    return _call(process_payment.app.handler, execution="run-1", request=request)


def test_a_whole_renewal_lives_on_the_day_of_its_test(deployed: pytest.MonkeyPatch, shop: World) -> None:
    """Charge, receipt and mail hand on the test clock and live on its day; only the gateway has real time."""
    shop.subscribe(renewal_date="2031-03-31", test_clock="2031-04-02")
    touched = []
    paid = _pay()
    touched.append(shop.items()["2031-03-31"]["touched_at"])
    receipted = _call(generate_receipt.app.handler, execution="run-1", renewal=paid)
    touched.append(shop.items()["2031-03-31"]["touched_at"])
    mailed = _call(send_email.app.handler, execution="run-1", renewal=receipted)
    assert [each["outcome"] for each in (paid, receipted, mailed)] == ["paid", "receipted", "mailed"]
    assert {each["test_clock"] for each in (paid, receipted, mailed)} == {"2031-04-02"}
    [item] = shop.items().values()
    [mail] = item["mails"].values()
    assert item["paid_at"].startswith("2031-04-02T")
    assert item["paid_at"].endswith("+02:00")
    for written in (item["claimed_at"], *touched, mail["at"]):
        assert datetime.fromisoformat(written).astimezone(BERLIN).date() == date(2031, 4, 2)
    assert shop.row()["renewal_date"] == "2031-04-30"
    assert len(shop.receipts()) == 1


def test_a_test_clock_is_moved_on_by_the_row_alone(deployed: pytest.MonkeyPatch, shop: World) -> None:
    """A subscription becomes due by moving the test clock in the row, without any waiting."""
    shop.subscribe(renewal_date="2031-03-31", test_clock="2031-03-30")
    assert (_pay()["outcome"], _pay()["reason"]) == ("nothing_to_do", "not_due")
    shop.edit(test_clock="2031-03-31")
    assert _pay()["outcome"] == "paid"


def test_a_refused_card_is_tried_again_by_the_test_clock(deployed: pytest.MonkeyPatch, shop: World) -> None:
    """The first dunning date is the day after the test's day, whatever the real day is."""
    shop.subscribe(renewal_date="2031-03-31", test_clock="2031-03-31", payment_method="pm_declined")
    for test_clock, attempts in (("2031-03-31", 1), ("2031-03-31", 1), ("2031-04-01", 2)):
        shop.edit(test_clock=test_clock)
        reply = _pay()
        assert (reply["outcome"], reply["test_clock"]) == ("declined", test_clock)
        assert len(shop.gateway.attempts) == attempts
    assert shop.row()["next_attempt"] == "2031-04-03"


def test_in_production_a_renewal_has_no_test_clock(deployed: pytest.MonkeyPatch, shop: World) -> None:
    """In production a row due in a future year stays undue whatever its test clock says, and the reply hands on no test
    clock."""
    deployed.setenv("ENVIRONMENT", "prod")
    shop.subscribe(renewal_date="2131-03-31", test_clock="2131-04-02")
    reply = _pay()
    assert (reply["outcome"], reply["reason"]) == ("nothing_to_do", "not_due")
    assert "test_clock" not in reply
    shop.edit(renewal_date=datetime.now(BERLIN).date().isoformat(), test_clock="not a date")
    assert _pay()["outcome"] == "paid"


def test_a_wrong_test_clock_is_rejected_with_its_reason(deployed: pytest.MonkeyPatch, shop: World) -> None:
    """A wrong test clock is rejected with its reason, and nothing is charged on the real day instead."""
    shop.subscribe(test_clock="2026-13-01")
    reply = _pay()
    assert (reply["outcome"], reply["reason"].partition(":")[0]) == ("rejected", "test_clock")
    assert not shop.gateway.payments


def test_a_row_without_a_test_clock_lives_in_the_business_s_zone(deployed: pytest.MonkeyPatch, shop: World) -> None:
    """A row due today in the time zone farthest ahead is not yet due in the time zone farthest behind."""
    shop.subscribe(renewal_date=datetime.now(ZoneInfo("Pacific/Kiritimati")).date().isoformat())
    deployed.setenv("TIME_ZONE", "Etc/GMT+12")
    assert _pay()["reason"] == "not_due"
    deployed.setenv("TIME_ZONE", "Pacific/Kiritimati")
    reply = _pay()
    assert reply["outcome"] == "paid"
    assert "test_clock" not in reply


def test_the_sweep_s_day_is_the_business_s(deployed: pytest.MonkeyPatch, shop: World) -> None:
    """The sweep goes by the business's day: a row due in Kiritimati is not due on the far side of the date line."""
    queue = FakeSQS()
    deployed.setattr(aws, "sqs", lambda: queue)
    day = datetime.now(ZoneInfo("Pacific/Kiritimati")).date().isoformat()
    shop.subscribe(renewal_date=day)
    sent = []
    for zone in ("Etc/GMT+12", "Pacific/Kiritimati"):
        deployed.setenv("TIME_ZONE", zone)
        sent.append(_call(renewal_sweep.app.handler, part={"kind": "date", "of": day})["sent"])
    assert sent == [0, 1]
    assert [json.loads(body)["renewal_date"] for body in queue.bodies] == [day]


def test_the_sweep_finds_what_is_due_by_its_test_clock(deployed: pytest.MonkeyPatch, shop: World) -> None:
    """Outside production a part of the sweep looks for test clocks, sends rows due by their own clock, years ahead of
    every index, and names bad clocks. In production the sweep has no such part."""
    queue = FakeSQS()
    planned: list[dict[str, Any]] = []
    deployed.setattr(aws, "sqs", lambda: queue)
    deployed.setattr(aws, "functions", lambda: SimpleNamespace(invoke=lambda **q: planned.append(q)))
    deployed.setenv("AWS_LAMBDA_FUNCTION_NAME", "sweep")
    shop.subscribe(subscription_id="due", renewal_date="2031-03-31", test_clock="2031-04-02")
    shop.subscribe(subscription_id="not_due", renewal_date="2031-03-31", test_clock="2031-03-30")
    shop.subscribe(subscription_id="no_clock", test_clock="soon")
    clocks = []
    for environment in ("dev", "prod"):
        deployed.setenv("ENVIRONMENT", environment)
        planned.clear()
        _call(renewal_sweep.app.handler, sweep="due")
        parts = [json.loads(event["Payload"])["part"] for event in planned]
        clocks.append([part for part in parts if part["kind"] == "clocks"])
    [[part], in_production] = clocks
    assert in_production == []
    deployed.setenv("ENVIRONMENT", "dev")
    swept = _call(renewal_sweep.app.handler, part=part)
    assert [json.loads(body)["subscription_id"] for body in queue.bodies] == ["due"]
    assert (swept["sent"], swept["bad"]) == (1, 1)


def test_a_reminder_lives_on_the_day_of_its_test(deployed: pytest.MonkeyPatch, shop: World) -> None:
    """From the sweep over the queue to the mail, a reminder goes by the row's test clock, and nothing is charged."""
    queue = FakeSQS()
    deployed.setattr(aws, "sqs", lambda: queue)
    deployed.setenv("REMINDER_DAYS", "7")
    shop.gateway.expires["pm_ok"] = "2031-03"
    shop.subscribe(renewal_date="2031-03-31", test_clock="2031-03-26", interval="year")
    _call(renewal_sweep.app.handler, part={"kind": "clocks", "of": "all"})
    [message] = queue.bodies
    owed = _call(process_payment.app.handler, execution="run-1", request=json.loads(message))
    assert (owed["outcome"], owed["reminders"], owed["test_clock"]) == ("remind", ["upcoming"], "2031-03-26")
    assert _call(send_email.app.handler, execution="run-1", renewal=owed)["outcome"] == "mailed"
    assert shop.ses.subjects() == ["Your subscription to Pro renews on 31 March 2031"]
    again = _call(process_payment.app.handler, execution="run-2", request=json.loads(message))
    assert (again["outcome"], again["reason"]) == ("nothing_to_do", "nothing_to_remind_of")
    assert shop.gateway.charges == []
