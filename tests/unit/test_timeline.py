"""The timeline: what a subscription's history says, in order and in plain words."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from renewals.addresses import masked
from renewals.timeline import Change, Entry, timeline
from tests.fakes import LATER, NOON, World

DAY = timedelta(days=1)


def _told(shop: World, *changes: Change) -> list[Entry]:
    return timeline(shop.row(), shop.items().values(), changes)


def _kinds(entries: list[Entry]) -> list[str]:
    return [entry.kind for entry in entries]


def test_a_renewal_from_due_to_mailed(shop: World) -> None:
    """An ordinary renewal reads as it went: due, begun, charged with card and receipt, mailed to a masked address."""
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
    """Each refused attempt stands with its reason in words, its code, its card and the gateway's name of the call, and
    the next attempt at its day."""
    shop.subscribe(payment_method="pm_declined")
    shop.run("run-1")
    shop.run("run-2", NOON + DAY)
    declined = [entry.text for entry in _told(shop) if entry.kind == "declined"]
    calls = [refusal["gateway_request_id"] for refusal in shop.items()["2026-01-31"]["refusals"].values()]
    assert declined == [
        f"Attempt {n} with pm_declined was declined: the card has insufficient funds (insufficient_funds, the gateway's"
        f" {call})."
        for n, call in enumerate(calls, 1)
    ]
    planned = _told(shop)[-1]
    assert (planned.kind, planned.at) == ("next_attempt", datetime(2026, 2, 3, tzinfo=UTC))


def test_what_the_bank_wants_confirmed_is_no_decline(shop: World) -> None:
    """3-D Secure is told as what it is."""
    shop.subscribe(payment_method="pm_3ds")
    shop.run()
    (refused,) = [entry for entry in _told(shop) if entry.kind == "declined"]
    assert refused.text == "Attempt 1 with pm_3ds: the bank asks the customer to confirm the payment (3-D Secure)."


def test_a_period_that_was_given_up_says_why_and_promises_nothing(shop: World) -> None:
    """After dunning the period ends as given up, with its reason, and no attempt is announced any more."""
    shop.subscribe(payment_method="pm_declined")
    for day in range(9):
        shop.run(f"day-{day}", NOON + day * DAY)
    entries = _told(shop)
    (ended,) = [entry for entry in entries if entry.kind == "given_up"]
    assert ended.text == "The payment was given up and canceled, nothing was charged: all attempts have failed."
    assert ended.at == NOON + 7 * DAY
    assert "next_attempt" not in _kinds(entries)
    assert entries[-1].text == "Mailed that the subscription is canceled to a***@c***.example."


def test_periods_that_were_not_billed_say_why(shop: World) -> None:
    """What a late renewal passed over and what fell into a pause are told apart."""
    shop.subscribe()
    shop.run("run-1", NOON + 60 * DAY)
    shop.edit(status="paused")
    shop.run("run-2", NOON + 120 * DAY, period="2026-04-30")
    skipped = {str(entry.renewal_date): entry.text for entry in _told(shop) if entry.kind == "skipped"}
    late = "The period from 31 January 2026 on is passed over: that from 31 March 2026 is billed."
    assert skipped["2026-01-31"] == late
    assert skipped["2026-04-30"] == "The period from 30 April 2026 on is not billed: the subscription was paused."


def test_mails_that_did_not_arrive_are_told(shop: World) -> None:
    """A mail to an address that cannot be stands as not mailed, with the reason."""
    shop.subscribe(customer_email="nobody")
    shop.run()
    last = _told(shop)[-1]
    assert last.kind == "mail_failed"
    assert last.text == "Could not mail the receipt to ***: customer_email is not a mail address."


def test_a_failed_renewal_waits_for_a_person(shop: World) -> None:
    """What the gateway refused for good stands as failed, with its name for it."""
    shop.subscribe(gateway_customer="cus_gone")
    shop.run()
    last = _told(shop)[-1]
    assert (last.kind, last.at) == ("failed", NOON)
    call = f", the gateway's {shop.items()['2026-01-31']['gateway_request_id']}"
    assert (
        last.text
        == f"It stopped, and waits for a person to look at it: gateway: resource_missing: gateway_customer{call}."
    )


def test_changes_stand_among_the_renewals_with_who_made_them(shop: World) -> None:
    """What somebody changed stands at its time, by name, with the old and the new value, addresses masked."""
    shop.subscribe()
    shop.run()
    details = {
        "amount": (Decimal("29.99"), Decimal("39.99")),
        "customer_email": ("ann@customer.example", "bob@other.example"),
        "locale": (None, "de"),
        "cancel_at": ("2026-02-28", None),
    }
    entries = _told(
        shop,
        Change(NOON + LATER, "Ops/zoe", "edited", details),
        Change(NOON - DAY, "ann", "paused", {}),
    )
    assert (entries[0].kind, entries[0].by, entries[0].text) == ("paused", "ann", "ann paused the subscription.")
    assert entries[-1].text == (
        "Ops/zoe changed the subscription: amount from 29.99 to 39.99; cancel_at removed; "
        "customer_email from a***@c***.example to b***@o***.example; locale set to de."
    )


def test_a_date_begins_at_the_businesss_midnight(shop: World) -> None:
    """In New York a period is due five hours after UTC's midnight."""
    shop.subscribe()
    shop.run()
    due = timeline(shop.row(), shop.items().values(), [], ZoneInfo("America/New_York"))[0]
    assert due.at.astimezone(UTC) == datetime(2026, 1, 31, 5, tzinfo=UTC)


def test_reminders_are_told(shop: World) -> None:
    """The reminder that the row records stands in the timeline; what is no such record does not."""
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
    """Enough to recognize an address by, and nothing to write to."""
    assert masked(address) == shown
