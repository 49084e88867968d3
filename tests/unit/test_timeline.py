"""The timeline: a subscription's history, in order and in plain words."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import product
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from botocore.exceptions import ReadTimeoutError

from renewals.domain import subscription
from renewals.domain.addresses import masked
from renewals.domain.changes import Change, ChangeKind, Details
from renewals.domain.timeline import timeline
from renewals.domain.timeline_entries import Entry
from renewals.ledger import mail_steps
from tests.fakes import DUE, LATER, NOON, World
from tests.shares import share

DAY = timedelta(days=1)


def _told(shop: World, *changes: Change) -> list[Entry]:
    return timeline(shop.row(), shop.items().values(), changes)


def _kinds(entries: list[Entry]) -> list[str]:
    return [entry.kind for entry in entries]


def test_a_renewal_from_due_to_mailed(shop: World) -> None:
    """An ordinary renewal reads in order: due, claimed, charged with card and receipt, mailed to a masked address."""
    shop.subscribe()
    shop.run()
    entries = _told(shop)
    assert _kinds(entries) == ["due", "claimed", "charged", "mailed"]
    assert [entry.at for entry in entries] == sorted(entry.at for entry in entries)
    assert entries[0].text == "29.99 USD for Pro was due, for the period 31 January 2026 to 27 February 2026."
    assert (
        "29.99 USD for Pro was charged to Visa ending in 4242 (transaction pi_1, receipt 20260131-" in entries[2].text
    )
    assert entries[3].text == "Mailed the receipt to a***@c***.example."
    assert {entry.renewal_date for entry in entries} == {date(2026, 1, 31)}


def test_declines_say_why_and_what_comes_next(shop: World) -> None:
    """Every declined attempt is told with the reason in words, the code, the card and the gateway's request id, and the
    next attempt with the date."""
    shop.subscribe(payment_method="pm_declined")
    shop.run("run-1")
    shop.run("run-2", NOON + DAY)
    declined = [entry.text for entry in _told(shop) if entry.kind == "declined"]
    calls = [refusal["gateway_request_id"] for refusal in shop.items()["2026-01-31"]["refusals"].values()]
    assert declined == [
        f"Attempt {n} with pm_declined was declined: the card has insufficient funds (insufficient_funds, gateway "
        f"request {call})."
        for n, call in enumerate(calls, 1)
    ]
    planned = _told(shop)[-1]
    assert (planned.kind, planned.at) == ("next_attempt", datetime(2026, 2, 3, tzinfo=UTC))


def test_what_the_bank_wants_confirmed_is_no_decline(shop: World) -> None:
    """A payment that waits for 3-D Secure is told as waiting for the customer's confirmation, not as declined."""
    shop.subscribe(payment_method="pm_3ds")
    shop.run()
    (refused,) = [entry for entry in _told(shop) if entry.kind == "declined"]
    assert refused.text == "Attempt 1 with pm_3ds: the bank asks the customer to confirm the payment (3-D Secure)."


def test_a_period_that_was_given_up_says_why_and_promises_nothing(shop: World) -> None:
    """After dunning the period is told as given up, with its reason, and no further attempt is announced."""
    shop.subscribe(payment_method="pm_declined")
    for day in range(9):
        shop.run(f"day-{day}", NOON + day * DAY)
    entries = _told(shop)
    (ended,) = [entry for entry in entries if entry.kind == "given_up"]
    assert ended.text == "The payment was given up and canceled, and nothing was charged: all attempts have failed."
    assert ended.at == NOON + 7 * DAY
    assert "next_attempt" not in _kinds(entries)
    assert entries[-1].text == "Mailed the notice that the subscription is canceled to a***@c***.example."


def test_periods_that_were_not_billed_say_why(shop: World) -> None:
    """A period passed over by a late renewal and a period within a pause are told apart."""
    shop.subscribe()
    shop.run("run-1", NOON + 60 * DAY)
    shop.edit(status="paused")
    shop.run("run-2", NOON + 120 * DAY, period="2026-04-30")
    skipped = {str(entry.renewal_date): entry.text for entry in _told(shop) if entry.kind == "skipped"}
    late = "The period from 31 January 2026 on is not billed: the later period from 31 March 2026 on is billed instead."
    assert skipped["2026-01-31"] == late
    assert skipped["2026-04-30"] == "The period from 30 April 2026 on is not billed: the subscription was paused."


def test_mails_that_did_not_arrive_are_told(shop: World) -> None:
    """A mail to an invalid address is told as not mailed, with the reason."""
    shop.subscribe(customer_email="nobody")
    shop.run()
    last = _told(shop)[-1]
    assert last.kind == "mail_failed"
    assert last.text == "Could not mail the receipt to ***: customer_email is not a mail address."


def test_a_failed_renewal_waits_for_a_person(shop: World) -> None:
    """A renewal refused by the gateway for good is told as failed, with the attribute at fault."""
    shop.subscribe(gateway_customer="cus_gone")
    shop.run()
    last = _told(shop)[-1]
    assert (last.kind, last.at) == ("failed", NOON)
    why = "gateway_customer is not known to the gateway, or was deleted there"
    call = f", gateway request {shop.items()['2026-01-31']['gateway_request_id']}"
    assert last.text == f"The renewal stopped, and waits for a person to look at it: {why}{call}."


@pytest.mark.parametrize(
    "odd",
    [
        {"what": "by hand"},
        {"at": "2026-01-31T12:00:00", "by": "ann", "what": "edited", "details": {}},
        {"at": "2026-01-31T12:00:00+00:00", "by": "ann", "what": "edited", "details": {"plan": "Pro"}},
    ],
)
def test_no_record_of_a_change_hides_the_timeline(shop: World, odd: dict[str, Any]) -> None:
    """A record of a change that somebody wrote by hand, and that cannot be read, is left out, and the timeline says
    that it is not complete."""
    shop.subscribe()
    shop.run()
    shop.dynamodb.put("changes", {"subscription_id": "sub_1", "change": "2026-01-31T12:00:00+00:00/x", **odd})
    told, is_complete = shop.register.timeline(shop.row(), UTC)
    assert not is_complete
    assert "charged" in _kinds(told)


@pytest.mark.parametrize("what", [ChangeKind.REFUNDED, ChangeKind.RESENT])
def test_a_period_that_is_no_date_is_told_as_written(shop: World, what: ChangeKind) -> None:
    """The record of a change names a period that somebody wrote by hand: the change is told, with the text."""
    shop.subscribe()
    [entry] = _told(shop, Change(NOON, "ann", what, {"period": (None, "by hand")}))
    assert entry.text.endswith("period set to by hand.")


def test_changes_stand_among_the_renewals_with_who_made_them(shop: World) -> None:
    """A change is told at its time with its author, the old and the new value, and masked addresses."""
    shop.subscribe()
    shop.run()
    details: Details = {
        "amount": (Decimal("29.99"), Decimal("39.99")),
        "customer_email": ("ann@customer.example", "bob@other.example"),
        "locale": (None, "de"),
        "cancel_at": ("2026-02-28", None),
    }
    entries = _told(
        shop,
        Change(NOON + LATER, "Ops/zoe", ChangeKind.EDITED, details),
        Change(NOON - DAY, "ann", ChangeKind.PAUSED, {}),
    )
    assert (entries[0].kind, entries[0].by, entries[0].text) == ("paused", "ann", "ann paused the subscription.")
    assert entries[-1].text == (
        "Ops/zoe changed the subscription: amount from 29.99 to 39.99; cancel_at removed; "
        "customer_email from a***@c***.example to b***@o***.example; locale set to de."
    )


@pytest.mark.parametrize(
    ("details", "told"),
    [
        ({"amount": (Decimal("19.9"), Decimal(5)), "currency": ("EUR", "EUR")}, "amount from 19.90 EUR to 5.00 EUR"),
        ({"amount": (Decimal(5), Decimal(500)), "currency": ("EUR", "JPY")}, "amount from 5.00 EUR to 500 JPY"),
        ({"amount": (None, Decimal(5)), "currency": (None, "EUR")}, "amount set to 5.00 EUR"),
        ({"currency": ("EUR", "USD")}, "currency from EUR to USD"),
        ({"amount": (Decimal("5.001"), Decimal(5)), "currency": ("EUR", "EUR")}, "amount from 5.001 EUR to 5.00 EUR"),
        ({"amount": ("five", Decimal(5)), "currency": ("QQQ", "EUR")}, "amount from five QQQ to 5.00 EUR"),
        ({"amount": (Decimal("5.1"), Decimal(5)), "currency": ("QQQ", "EUR")}, "amount from 5.1 QQQ to 5.00 EUR"),
    ],
)
def test_a_price_is_told_with_its_currency(shop: World, details: dict[str, Any], told: str) -> None:
    """A changed amount is told with its currency and the usual decimals; a wrong value written by hand is told
    unchanged."""
    shop.subscribe()
    entry = _told(shop, Change(NOON, "ann", ChangeKind.EDITED, details))[-1]
    assert entry.text == f"ann changed the subscription: {told}."


def test_a_date_begins_at_the_businesss_midnight(shop: World) -> None:
    """For a business in New York a period is due five hours after midnight UTC."""
    shop.subscribe()
    shop.run()
    due = timeline(shop.row(), shop.items().values(), [], ZoneInfo("America/New_York"))[0]
    assert due.at.astimezone(UTC) == datetime(2026, 1, 31, 5, tzinfo=UTC)


def test_reminders_are_told(shop: World) -> None:
    """The timeline tells of the recorded reminder and ignores an unreadable record."""
    sent = {"state": "sent", "token": "t", "owner": "run-1", "to": "ann@customer.example", "period": "2026-01-31"}
    times = {"claimed_until": NOON.isoformat(), "at": NOON.isoformat()}
    shop.subscribe(reminder_upcoming=sent | times, reminder_card_expires={"period": "x"})
    (entry,) = _told(shop)
    assert entry.text == "Mailed the reminder of the next renewal to a***@c***.example."
    assert (entry.at, entry.renewal_date) == (NOON, date(2026, 1, 31))


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("ann@example.org", "a***@e***.org"),
        ("a@b.co.uk", "a***@b***.uk"),
        ("no address", "***"),
        ("", "***"),
        ("a@host", "***"),
    ],
)
def test_masked_addresses(address: str, shown: str) -> None:
    """A masked address can be recognized but not written to."""
    assert masked(address) == shown


def test_a_failure_stays_when_a_later_try_succeeds(shop: World) -> None:
    """The gateway refuses for good, somebody mends the row and asks again: the timeline keeps the failure at its moment
    and tells of the success."""
    shop.subscribe(gateway_customer="cus_gone")
    shop.run()
    shop.run("run-2", NOON + DAY)
    shop.edit(gateway_customer="cus_gateway")
    shop.run("run-3", NOON + 2 * DAY)
    entries = _told(shop)
    failed = [entry for entry in entries if entry.kind == "failed"]
    assert [entry.at for entry in failed][:1] == [NOON]
    refused = "gateway_customer is not known to the gateway, or was deleted there."
    assert {entry.text for entry in failed} == {
        f"The renewal stopped, and waited for a person to look at it: {refused}"
    }
    assert _kinds(entries)[-2:] == ["charged", "mailed"]


def test_a_failure_stays_when_a_later_period_is_billed_instead(shop: World) -> None:
    """For a period that was passed over after a failure, the timeline tells of the failure and of the reason for not
    billing."""
    shop.subscribe(gateway_customer="cus_gone")
    shop.run()
    shop.edit(gateway_customer="cus_gateway")
    shop.run("run-2", NOON + 60 * DAY)
    told = {entry.kind for entry in _told(shop) if entry.renewal_date == DUE}
    assert told >= {"due", "failed", "skipped"}


def test_a_mail_that_failed_stays_when_another_address_gets_it(shop: World) -> None:
    """A mail that failed for two addresses and reached the third is told in three entries, in order."""
    shop.subscribe(customer_email="nobody")
    shop.run()
    shop.edit(customer_email="nobody at all")
    shop.run("run-2", NOON + DAY)
    shop.run("run-3", NOON + 2 * DAY)
    shop.edit(customer_email="right@customer.example")
    shop.run("run-4", NOON + 3 * DAY)
    kinds = [entry.kind for entry in _told(shop) if entry.kind.startswith("mail")]
    assert kinds == ["mail_failed", "mail_failed", "mailed"]


def test_a_mail_of_unknown_fate_stays_when_it_is_sent_again(shop: World) -> None:
    """After a mail of unknown fate was sent again, the timeline still tells of the unknown first mail."""
    shop.subscribe()
    shop.ses.trouble.append(ReadTimeoutError(endpoint_url="https://ses"))
    shop.run()
    renewal = shop.ledger.get("sub_1", DUE.isoformat())
    assert renewal is not None
    shop.ledger.apply(mail_steps.reopen_mail(renewal, [], NOON + LATER))
    shop.run("run-2", NOON + DAY)
    assert [entry.kind for entry in _told(shop) if entry.kind.startswith("mail")] == ["mail_unknown", "mailed"]


def test_every_end_of_dunning_stays(shop: World) -> None:
    """A subscription that was given up, made active again and given up again is told with two ends, at their
    moments."""
    shop.subscribe(payment_method="pm_declined")
    for day in range(9):
        shop.run(f"day-{day}", NOON + day * DAY)
    first = [entry for entry in _told(shop) if entry.kind == "given_up"]
    shop.edit(status="active", payment_method="pm_declined_too")
    for day in range(10, 20):
        shop.run(f"day-{day}", NOON + day * DAY)
    ends = [entry for entry in _told(shop) if entry.kind == "given_up"]
    assert ends[:1] == first
    assert len(ends) == 2
    shop.edit(status="active", payment_method="pm_ok")
    shop.run("paid", NOON + 21 * DAY)
    entries = _told(shop)
    assert [entry for entry in entries if entry.kind == "given_up"] == ends
    assert "charged" in _kinds(entries)


_REMINDED = {"period": "2026-02-03", "state": "sent", "token": "t", "owner": "o", "to": "ann@customer.example",
             "claimed_until": "2026-01-27T12:00:40+00:00"}  # fmt: skip
_MARK = {"address": "ann@customer.example", "kind": "bounced", "at": "2026-01-27T12:00:40+00:00", "reason": "r"}


@pytest.mark.parametrize(
    "value", ["", "\x00", "9999-12-31", b"x", True, Decimal(0), Decimal("1E+40"), [], ["x"], {}, {"x"}]
)
@pytest.mark.parametrize("state", ["sent", "failed", "unknown", "sending"])
def test_whatever_was_written_by_hand_about_mails_hides_nothing_else(state: str, value: Any) -> None:
    """A value of any type in the record of a reminder, in an earlier reminder's record or in an address's mark does not
    hide the entry of the good reminder."""
    good = {"customer_email": _MARK["address"], "reminder_card_expires": _REMINDED}
    odd = [_REMINDED | {"state": state, name: value} for name in (*_REMINDED, "at", "message_id", "reason")]
    marks = [_MARK | {name: value} for name in _MARK]
    rows: list[dict[str, Any]] = [
        {"reminder_upcoming": each, "earlier_reminders": [{"kind": "upcoming"} | each]} for each in odd
    ]
    rows += [{"mail_fault": mark} for mark in marks] + [
        {"mail_fault": _MARK | {"address": value}, "customer_email": value}
    ]
    for row in rows:
        told = timeline(good | row, [], [])
        assert any(entry.kind == "mailed" and "card" in entry.text for entry in told)


ODD: list[Any] = [
    *("", "x", "soon", "9999-12-31", "2026-02-30", "2026-02-01T12:00:00", b"x", True, None, Decimal(0)),
    *(Decimal("1E+40"), [], ["x"], [True], [None], {}, {"x": None}, {"x"}, {"refund_1": "x"}, {"receipt_1": "x"}),
]


@pytest.mark.parametrize(("odd", "status"), share(product(ODD, ["active", "paused", "canceled", None, {"x"}]), of=3))
def test_no_attribute_of_the_row_hides_the_timeline(shop: World, odd: Any, status: Any) -> None:
    """A value of any type in any attribute of the row, also the subscription's end and the system's notes, hides no
    entry of the ledger."""
    shop.subscribe()
    shop.run()
    noted = ["mail_fault", "mail_complaint", "earlier_reminders", "known_card", "cancel_at", subscription.ENDED_ON]
    noted += [f"{of}_{kind}" for of in ("reminder", "told") for kind in ("upcoming", "card_expires")]
    for name in [*shop.row(), *noted]:
        row = shop.row() | {"status": status, name: odd}
        for each in (row, row | {"cancel_at": odd, subscription.ENDED_ON: odd}):
            told = timeline(each, shop.items().values(), [], UTC, NOON.date())
            assert {"due", "charged", "mailed"} <= {entry.kind for entry in told}, name


@pytest.mark.parametrize("odd", ODD)
def test_no_attribute_of_one_period_hides_the_others(shop: World, odd: Any) -> None:
    """A value of any type in an attribute of a period hides no entry of the remaining periods; of the odd period the
    timeline tells the readable part, and says when a part is unreadable."""
    shop.subscribe()
    shop.run()
    [item] = shop.items().values()
    other = item | {"renewal_date": "2026-02-28", "period_end": "2026-03-31"}
    whole = len(timeline({}, [other], []))
    added = ("flag", "notice", "refunds", "refusals", "endings", "earlier_mails", "returned_receipt_1", "reason")
    for name in [*item, *added]:
        told = timeline({}, [item | {name: odd}, other], [])
        assert len([entry for entry in told if entry.renewal_date == date(2026, 2, 28)]) >= whole, name
    unread = "Some of the ledger's data about the period from 31 January 2026 on cannot be read."
    assert [entry.text for entry in timeline({}, [item | {"mails": "x"}], [])] == [unread]
