"""A customer resumes on the customer page; an end that the seller or a dispute has set stands."""

from datetime import date, timedelta
from decimal import Decimal

import pytest
from botocore.exceptions import EndpointConnectionError

from renewals.domain.changes import ChangeKind, of_dispute
from renewals.domain.disputes import DisputeStatus, effect_of
from renewals.language import words
from renewals.ledger.asked_by import AskedBy
from tests.door import Door, forget_secrets
from tests.fakes import LATER, NOON, World
from tests.unit.test_change_records import flood
from tests.visitor import DAY, Visitor


def test_an_end_that_is_set_already_can_be_brought_forward_and_comes_back(visitor: Visitor, shop: World) -> None:
    """A subscription that the seller has set to end in June is active until then: the customer may cancel earlier, is
    told of the charges until June after a resumption, and does not remove the seller's end."""
    shop.edit(cancel_at="2026-06-30")
    page = visitor.sign_in()
    assert "$29.99 on 28 February 2026" in page.text
    assert 'href="resume"' not in page.html
    assert visitor.press("cancel").status == 303
    assert shop.row()["cancel_at"] == "2026-02-28"
    asked = visitor.get("resume")
    assert "We charge $29.99 on 28 February 2026" in asked.text
    assert "Your last day is 29 June 2026. After that day, nothing more is charged." in asked.text
    visitor.now += timedelta(seconds=1)
    assert visitor.post("resume", asked.fields).status == 303
    assert shop.row()["cancel_at"] == "2026-06-30"
    shop.edit(renewal_date="2026-06-30")
    page = visitor.get("overview")
    assert "Canceled. Your last day is 29 June 2026." in page.text
    assert "resume" not in page.html
    assert visitor.get("resume").status == 303


@pytest.mark.parametrize("by", ["ann", of_dispute("dp_1"), None])
def test_an_end_of_somebody_else_is_not_taken_back(visitor: Visitor, shop: World, by: str | None) -> None:
    """An end that the seller, a dispute or an unknown hand has set stands, even after a cancellation of the customer's
    own: the page offers no resumption, asks the customer to write, and a form of an earlier page changes nothing."""
    visitor.sign_in()
    assert visitor.press("cancel").status == 303
    form = visitor.get("resume").fields
    visitor.now += timedelta(seconds=1)
    assert visitor.post("resume", form).status == 303
    if by is None:
        shop.edit(cancel_at="2026-02-28")
    else:
        register, asked = shop.register, AskedBy(by, NOON + LATER)
        register.edit(shop.row(), {"cancel_at": "2026-02-28"}, ChangeKind.ENDING, asked)
    page = visitor.get("overview")
    assert "To keep your subscription, please contact us." in page.text
    assert "resume" not in page.html
    assert visitor.get("resume").header("Location") == "overview"
    before = dict(shop.row())
    assert visitor.post("resume", form).status == 409
    assert shop.row() == before


@pytest.mark.parametrize(
    ("disputed", "decided", "can_resume"),
    [
        (DisputeStatus.NEEDS_RESPONSE, None, False),
        (DisputeStatus.NEEDS_RESPONSE, DisputeStatus.LOST, False),
        (DisputeStatus.NEEDS_RESPONSE, DisputeStatus.WON, True),
        (DisputeStatus.WARNING_NEEDS_RESPONSE, None, True),
    ],
)
def test_the_own_end_stands_after_a_chargeback(
    visitor: Visitor, shop: World, disputed: DisputeStatus, decided: DisputeStatus | None, *, can_resume: bool
) -> None:
    """A customer cancels on the page, and then disputes the payment at the bank. The chargeback sets no end, because
    the customer's end suffices: this end is not taken back, unless the seller wins or the dispute is an inquiry."""
    shop.edit(renewal_date="2026-01-31")
    shop.run()
    visitor.now = NOON + LATER
    visitor.sign_in()
    assert visitor.press("cancel").status == 303
    form = visitor.get("resume").fields
    forget_secrets()
    door = Door(shop, now=visitor.now + LATER)
    shop.gateway.now = door.now
    shop.gateway.events.clear()
    shop.gateway.contest("pi_1", disputed)
    if decided is not None:
        shop.gateway.dispute_becomes("dp_1", decided)
    for event in shop.gateway.events:
        assert door.post(event) == 200
    door.work()
    forget_secrets()
    period = shop.ledger.get("sub_1", "2026-01-31")
    assert period is not None
    assert period.disputes is not None
    is_inquiry = disputed is DisputeStatus.WARNING_NEEDS_RESPONSE
    assert effect_of(period.disputes["dp_1"]) == (None if is_inquiry else "none")
    visitor.now = door.now + LATER
    page = visitor.get("overview")
    assert ("To keep your subscription, please contact us." in page.text) is not can_resume
    assert ('href="resume"' in page.html) is can_resume
    assert visitor.post("resume", form).status == (303 if can_resume else 409)
    assert ("cancel_at" in shop.row()) is not can_resume


def test_a_chargeback_before_the_cancellation_does_not_bind_the_customer(visitor: Visitor, shop: World) -> None:
    """A deployment keeps a disputed subscription. The customer who cancels later may take this cancellation back."""
    shop.edit(renewal_date="2026-01-31")
    shop.run()
    forget_secrets()
    door = Door(shop, now=NOON + LATER, disputed="keep")
    shop.gateway.now = door.now
    shop.gateway.events.clear()
    shop.gateway.contest("pi_1")
    for event in shop.gateway.events:
        assert door.post(event) == 200
    door.work()
    forget_secrets()
    visitor.now = door.now + LATER
    visitor.sign_in()
    assert visitor.press("cancel").status == 303
    assert visitor.press("resume").status == 303
    assert "cancel_at" not in shop.row()


def test_a_pause_within_a_set_end_is_resumed_until_the_end(visitor: Visitor, shop: World) -> None:
    """A paused subscription with an end is resumed until this end, and the page says so before."""
    shop.edit(status="paused", renewal_date="2026-01-15", cancel_at="2026-02-20")
    visitor.sign_in()
    asked = visitor.get("resume")
    assert "We charge $29.99 now" in asked.text
    assert "Your last day is 19 February 2026. After that day, nothing more is charged." in asked.text
    assert visitor.post("resume", asked.fields).status == 303
    assert (shop.row()["status"], shop.row()["cancel_at"]) == ("active", "2026-02-20")


def test_a_resumed_subscription_is_charged_as_the_page_says(visitor: Visitor, shop: World) -> None:
    """A subscription that was to end goes on, a paused one from today on, a suspended one is charged now. The page
    names the charge before, and work that is due goes to the queue."""
    visitor.sign_in()
    visitor.press("cancel")
    asked = visitor.get("resume")
    assert "We charge $29.99 on 28 February 2026, for 28 February 2026 to 27 March 2026." in asked.text
    assert visitor.post("resume", asked.fields).status == 303
    assert visitor.queued == []
    shop.edit(status="paused", renewal_date="2026-01-15")
    asked = visitor.get("resume")
    assert "We charge $29.99 now, for 31 January 2026 to 27 February 2026." in asked.text
    assert visitor.post("resume", asked.fields).status == 303
    assert (shop.row()["status"], shop.row()["renewal_date"]) == ("active", "2026-01-31")
    assert [each["renewal_date"] for each in visitor.queued] == ["2026-01-31"]
    shop.edit(status="unpaid")
    asked = visitor.get("resume")
    assert "We charge $29.99 now" in asked.text
    assert visitor.post("resume", asked.fields).status == 303
    assert shop.row()["status"] == "active"
    assert len(visitor.queued) == 2


@pytest.mark.parametrize("catch_up", ["latest", "each"])
@pytest.mark.parametrize("late", [0, 2, 16, 60])
def test_a_suspended_subscription_is_charged_for_the_days_that_the_page_names(
    visitor: Visitor, shop: World, catch_up: str, late: int
) -> None:
    """A weekly subscription was suspended after a declined payment. However late the customer resumes, and however the
    subscription catches up, the charge is for the days that the page has named, and the suspended weeks are free."""
    weekly = {"interval": "week", "interval_count": Decimal(1), "catch_up": catch_up}
    shop.subscribe(renewal_date="2026-01-31", payment_method="pm_declined", test_clock=None, **weekly)
    shop.run("declined", NOON)
    shop.edit(status="unpaid")
    shop.run("given up", NOON + LATER)
    assert shop.items()["2026-01-31"]["status"] == "given_up"
    shop.edit(payment_method="pm_ok")
    visitor.now = NOON + late * DAY
    visitor.post("session", {"token": visitor.link(now=visitor.now)})
    asked = visitor.get("resume")
    assert visitor.post("resume", asked.fields).status == 303
    [queued] = visitor.queued
    work = {name: queued[name] for name in ("amount", "renewal_date")}
    for n in range(3):
        shop.execute(work, f"resumed {n}", visitor.now + (n + 1) * LATER)
    [paid] = [item for item in shop.items().values() if item.get("paid_at")]
    days = words("en").days(*(date.fromisoformat(paid[name]) for name in ("renewal_date", "period_end")))
    assert f"We charge $29.99 now, for {days}." in asked.text
    assert paid["renewal_date"] <= visitor.now.date().isoformat() < paid["period_end"]


def test_a_subscription_is_resumed_five_times_a_day(visitor: Visitor, shop: World) -> None:
    """Who presses the buttons without end causes five resumptions a day, and can still cancel: the sixth resumption is
    refused until the next day, and causes no record and no mail."""
    visitor.sign_in()
    for _ in range(5):
        assert visitor.press("cancel").status == 303
        assert visitor.press("resume").status == 303
    assert visitor.press("cancel").status == 303
    refused = visitor.press("resume")
    assert refused.status == 429
    assert "five times a day" in refused.text
    assert shop.row()["cancel_at"] == "2026-02-28"
    assert len(shop.dynamodb.items("changes")) == 11
    visitor.now += DAY
    visitor.sign_in()
    assert visitor.press("resume").status == 303


@pytest.mark.parametrize(
    ("key", "left"),
    [("2026-01-31T12:00:00+00:00/ab12", 2), ("by hand", 2), ("2026-01-31T12:00:00/ab12", 2),
     ("2026-01-20T12:00:00+00:00/ab12", 5)],
)  # fmt: skip
def test_records_that_cannot_be_read_do_not_lift_the_limit(visitor: Visitor, shop: World, key: str, left: int) -> None:
    """Three records of changes that somebody wrote by hand count as three resumptions of today, unless their keys tell
    an earlier day."""
    for n in range(3):
        shop.dynamodb.put("changes", {"subscription_id": "sub_1", "change": f"{key}{n}", "what": "by hand"})
    shop.edit(status="paused")
    visitor.sign_in()
    for _ in range(left):
        assert visitor.press("resume").status == 303
        shop.edit(status="paused")
    assert visitor.press("resume").status == 429


def test_an_end_stands_if_a_record_of_a_change_cannot_be_read(visitor: Visitor, shop: World) -> None:
    """While a record of a change cannot be read, nobody knows who has set the end: the customer may not take the end
    back."""
    visitor.sign_in()
    assert visitor.press("cancel").status == 303
    shop.dynamodb.put("changes", {"subscription_id": "sub_1", "change": "by hand", "what": "by hand"})
    assert 'href="resume"' not in visitor.get("overview").html


def test_a_customer_takes_the_own_end_back_after_weeks_of_strangers_requests(visitor: Visitor, shop: World) -> None:
    """However many links and declarations strangers cause, the customer's own end is known, and can be taken back."""
    visitor.sign_in()
    assert visitor.press("cancel").status == 303
    flood(shop, NOON + timedelta(hours=1))
    assert 'href="resume"' in visitor.get("overview").html


@pytest.mark.parametrize("kind", [ChangeKind.LINK_ASKED, ChangeKind.EDITED])
def test_resumptions_that_were_not_read_do_not_lift_the_limit(visitor: Visitor, shop: World, kind: ChangeKind) -> None:
    """If more records of this day exist than are read, the limit of resumptions counts as reached."""
    shop.edit(status="paused")
    visitor.sign_in()
    for n in range(1001):
        shop.register.changes.note("sub_1", kind, AskedBy("ann", visitor.now + timedelta(milliseconds=n)))
    assert visitor.press("resume").status == 429


def test_a_queue_that_fails_does_not_fail_the_change(visitor: Visitor, shop: World) -> None:
    """If the queue does not take the work, the change stands all the same; the next sweep finds the work."""
    shop.edit(status="unpaid", renewal_date="2026-01-31")
    visitor.sign_in()
    visitor.trouble = EndpointConnectionError(endpoint_url="https://sqs.example")
    assert visitor.press("resume").status == 303
    assert shop.row()["status"] == "active"
