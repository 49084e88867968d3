"""A customer cancels on the customer page."""

from typing import Any

import pytest

from renewals.language.catalogues import catalogue
from renewals.ledger import account_links
from tests.fakes import LATER, NOON, World
from tests.visitor import DAY, Visitor

STATES: list[tuple[dict[str, Any], str, str, str]] = [
    ({}, "Active", "Your last day is 27 February 2026", "active"),
    ({"status": "past_due"}, "Past due", "ends today", "canceled"),
    ({"status": "paused"}, "Paused", "ends today", "canceled"),
    ({"status": "unpaid"}, "Suspended", "ends today", "canceled"),
    ({"renewal_date": "not a day"}, "Active", "ends today", "canceled"),
    ({"amount": "by hand"}, "Active", "Your last day is 27 February 2026", "active"),
    ({"status": "past_due", "cancel_at": "2026-03-31"}, "Past due", "ends today", "canceled"),
    (
        {"cancel_at": "2026-06-30"},
        "Active. Your last day is 29 June 2026.",
        "Your last day is 27 February 2026",
        "active",
    ),
    ({"cancel_at": "soon"}, "Not known at the moment", "Your last day is 27 February 2026", "active"),
]


@pytest.mark.parametrize(("row", "state", "said", "status"), STATES)
def test_a_customer_cancels_in_every_state(
    visitor: Visitor, shop: World, row: dict[str, Any], state: str, said: str, status: str
) -> None:
    """An active subscription ends with its period, every other one now; the page says so before, and the change is
    recorded as the customer's. A row with a fault can be canceled, too."""
    shop.edit(**row)
    assert state in visitor.sign_in().text
    asked = visitor.get("cancel")
    assert said in asked.text
    assert shop.row().get("version") is None
    done = visitor.post("cancel", asked.fields)
    assert (done.status, done.header("Location")) == (303, "overview?done=canceled")
    assert shop.row()["status"] == status
    if status == "active":
        assert shop.row()["cancel_at"] == "2026-02-28"
        assert "Canceled. Your last day is 27 February 2026." in visitor.get("overview").text
    else:
        assert "Canceled. Nothing is charged any more." in visitor.get("overview").text
    [change] = shop.dynamodb.items("changes").values()
    assert change["by"] == "customer"


@pytest.mark.parametrize(
    "row",
    [
        {"status": "canceled"},
        {"cancel_at": "2026-02-28"},
        {"cancel_at": "2026-01-15", "renewal_date": "2026-01-31"},
        {"status": "?"},
    ],
)
def test_what_has_ended_cannot_be_canceled(visitor: Visitor, shop: World, row: dict[str, Any]) -> None:
    """Where nothing is left to cancel, no page offers to, and a form that was made up changes nothing."""
    shop.edit(**row)
    assert 'href="cancel"' not in visitor.sign_in().html
    assert visitor.get("cancel").header("Location") == "overview"
    before = dict(shop.row())
    form = account_links.form_token("a key", visitor.session)
    assert visitor.post("cancel", {"form": form, "expected": "x"}).status == 409
    assert shop.row() == before


def test_a_doubled_cancellation_changes_nothing_twice(visitor: Visitor, shop: World) -> None:
    """A form that is sent again, even after the customer has resumed, changes nothing."""
    visitor.sign_in()
    form = visitor.get("cancel").fields
    assert visitor.post("cancel", form).status == 303
    assert visitor.post("cancel", form).status == 409
    assert visitor.press("resume").status == 303
    assert "cancel_at" not in shop.row()
    assert visitor.post("cancel", form).status == 409
    assert "cancel_at" not in shop.row()
    assert len(shop.dynamodb.items("changes")) == 2


def test_a_page_that_a_renewal_has_overtaken_changes_nothing(visitor: Visitor, shop: World) -> None:
    """If a renewal moves the end of the period between the page and its button, nothing is canceled, and the next page
    names the new day."""
    shop.edit(renewal_date="2026-01-31")
    visitor.sign_in()
    asked = visitor.get("cancel")
    assert "ends today" in asked.text
    shop.run("run-1", NOON)
    shop.run("run-2", NOON + LATER)
    stale = visitor.post("cancel", asked.fields)
    assert stale.status == 409
    assert "Nothing was changed" in stale.text
    assert "cancel_at" not in shop.row()
    again = visitor.get("cancel")
    assert "Your last day is 27 February 2026" in again.text
    assert visitor.post("cancel", again.fields).status == 303
    assert shop.row()["cancel_at"] == "2026-02-28"


def test_an_open_claim_is_told_as_being_settled(visitor: Visitor, shop: World) -> None:
    """While a claim is open, the pages say that a payment is being settled, and a cancellation names the end of the
    claimed period."""
    shop.edit(renewal_date="2026-01-31")
    shop.renew()  # the payment is made; the workflow has not gone on
    item = shop.items()["2026-01-31"]
    item["status"] = "claimed"
    page = visitor.sign_in()
    assert "A payment for 31 January 2026 to 27 February 2026 is being settled right now." in page.text
    shop.edit(renewal_date="2026-01-31")
    assert "being settled right now" in visitor.get("cancel").text


@pytest.mark.parametrize("key", ["settling", "cancel_settling", "card_saved_retried_text"])
def test_a_page_promises_a_mail_only_for_a_payment_that_goes_through(shop: World, key: str) -> None:
    """Not every payment that is being settled ends with a mail: a payment that the gateway refuses to make waits for a
    person, and nobody is mailed. The pages therefore promise the receipt, and no mail about another result."""
    shop.subscribe()
    shop.gateway.refused.add("create")
    shop.run()
    assert shop.items()["2026-01-31"]["status"] == "failed"
    assert shop.mails() == []
    said = catalogue("page", "en")[key]
    assert said.count("mail") == said.count("If the payment goes through, you get a receipt by mail") == 1


def test_a_refused_payment_is_explained(visitor: Visitor, shop: World) -> None:
    """After a decline, the overview says when the payment is tried again and when the subscription ends, and after a
    cancellation the open payment is given up by the queued work."""
    shop.edit(renewal_date="2026-01-31", payment_method="pm_declined")
    shop.run()
    page = visitor.sign_in()
    assert "Past due" in page.text
    assert "on 1 February 2026: we then try again to collect the payment" in page.text
    assert "If the payment has not gone through by 7 February 2026, your subscription is canceled." in page.text
    asked = visitor.get("cancel")
    assert "The open payment of $29.99 is not collected" in asked.text
    visitor.post("cancel", asked.fields)
    assert "If the payment has not gone through" not in visitor.get("overview").text
    [queued] = visitor.queued
    shop.execute({name: queued[name] for name in ("amount", "renewal_date")}, "run-9", NOON + LATER)
    assert shop.row()["status"] == "canceled"
    assert shop.gateway.charges == []


@pytest.mark.parametrize("card", ["pm_ok", "pm_declined", "pm_3ds"])
def test_an_open_claim_of_a_period_that_is_over_is_not_charged_after_the_cancellation(
    visitor: Visitor, shop: World, card: str
) -> None:
    """The charge of a daily subscription was interrupted for a week. The customer cancels, and reads that the
    subscription ends today and that nothing more is charged: the sweep charges nothing, and nobody is dunned."""
    shop.subscribe(interval="day", renewal_date="2026-01-31", payment_method=card)
    rehearsal = World()
    rehearsal.subscribe(interval="day", renewal_date="2026-01-31", payment_method=card)
    rehearsal.run()
    shop.cuts.at = 2 * rehearsal.cuts.calls.index("gateway.confirm")
    shop.run()
    assert (shop.items()["2026-01-31"]["status"], shop.gateway.attempts) == ("claimed", [])
    visitor.now = NOON + 7 * DAY
    visitor.post("session", {"token": visitor.link(now=visitor.now)})
    asked = visitor.get("cancel")
    assert "Your subscription ends today. A payment of $29.99 is being settled right now." in asked.text
    assert "Nothing more is charged." in asked.text
    assert visitor.post("cancel", asked.fields).status == 303
    for n in range(3):
        shop.run(f"later-{n}", visitor.now + (n + 1) * LATER, period="2026-01-31")
    assert (shop.gateway.attempts, shop.mails(), shop.items()["2026-01-31"]["status"]) == ([], [], "given_up")
    assert "Canceled. Nothing is charged any more." in visitor.get("overview").text
