"""The overview never contradicts itself, and says what the customer has just done only if the subscription looks so."""

import re
from itertools import product
from typing import Any

import pytest

from renewals.ledger import account_links
from tests.fakes import LATER, NOON, World
from tests.visitor import Visitor, visiting

STATUSES = ("active", "past_due", "paused", "unpaid", "canceled")
PAYMENTS = {
    "none": "",
    "claimed": "pm_declined",
    "declined": "pm_declined",
    "declined for good": "pm_declined",
    "to be confirmed": "pm_3ds",
    "at the bank": "pm_3ds",
    "canceled at the gateway": "pm_3ds",
    "given up": "pm_declined",
}
"""What is open of the latest payment, and the card that leads there."""
STANDS_REFUSED = ("declined", "declined for good", "to be confirmed", "at the bank", "canceled at the gateway")
ENDS = (None, "2026-01-31", "2026-02-28", "2026-06-30")

NOTHING = ("Nothing is charged any more.", "Nothing is charged until you resume.")
NOW = ("being settled right now", "Your new card is being charged now.")
REFUSED = (
    "We could not collect your last payment.",
    "Your bank asks you to confirm your last payment.",
    "Your card was declined and cannot be charged again.",
)
LATER_TRY = ("we then try again", "because your subscription renews then", "due now")
CONTRADICTIONS = [
    # Nothing is charged, and yet a payment is made, is due, or is expected.
    *product(NOTHING, (*NOW, *LATER_TRY, "If the payment has not gone through")),
    # A payment is being made, and yet the page complains of a refusal, or names no charge or a later one.
    *product(NOW, (*REFUSED, *LATER_TRY, "Next charge None", "Confirm the payment", *NOTHING)),
    ("Your new card is being charged now.", "A payment for"),
    # The payment is past due, and yet its next charge is told as an ordinary renewal, or as none.
    *product(("Past due.",), ("because your subscription renews then", "Next charge None", "Status Active", *NOTHING)),
    *product(REFUSED, ("because your subscription renews then", "Next charge None")),
    *product(("Status Canceled.", "Status Ended."), ("due now", "we then try again", "If the payment has not")),
    *product(("Status Paused.", "Status Suspended"), ("due now", "we then try again", "If the payment has not")),
]


def _shop(payment: str) -> World:
    """Return a shop whose subscription has a payment in the given state."""
    shop = World()
    shop.subscribe()
    if not PAYMENTS[payment]:
        return shop
    shop.edit(renewal_date="2026-01-31", payment_method=PAYMENTS[payment])
    shop.run()
    item = shop.items()["2026-01-31"]
    match payment:
        case "claimed":
            item["status"] = "claimed"
        case "declined for good":
            item["decline_code"] = "stolen_card"
        case "at the bank":
            item["challenged_at"] = item["declined_at"]
        case "canceled at the gateway":
            item["challenged_at"] = item["closed_at"] = item["declined_at"]
        case "given up":
            item["status"] = "given_up"
            for name in ("next_attempt", "refused_payment_method"):
                shop.row().pop(name, None)
    return shop


@pytest.mark.parametrize("payment", PAYMENTS)
def test_the_overview_never_contradicts_itself(payment: str) -> None:
    """In every combination of the row's status, an open payment, a new card and an end, no two sentences of the
    overview contradict each other. The button for a confirmation is there exactly if the page says that the bank asks
    for one."""
    wrong = []
    for status, new_card, end in product(STATUSES, (False, True), ENDS):
        shop = _shop(payment)
        changed: dict[str, Any] = {"status": status} | ({"payment_method": "pm_new"} if new_card else {})
        shop.edit(**changed | ({"cancel_at": end} if end else {}))
        with visiting(shop) as visitor:
            visitor.now = NOON + LATER
            page = visitor.sign_in()
        said = page.text
        wrong += [(status, new_card, end, *pair) for pair in CONTRADICTIONS if all(each in said for each in pair)]
        if payment in ("claimed", *STANDS_REFUSED) and "because your subscription renews then" in said:
            wrong.append((status, new_card, end, "a refused payment", "is told as an ordinary renewal"))
        if payment in STANDS_REFUSED and new_card and any(each in said for each in (*REFUSED, "we then try again")):
            wrong.append((status, new_card, end, "a new card", "and still the old refusal"))
        if payment == "canceled at the gateway" and ("bank asks" in said or "try again" in said):
            wrong.append((status, new_card, end, "a canceled payment", "and still a question or a retry"))
        if ("Your bank asks you" in said) is not ('action="confirm"' in page.html):
            wrong.append((status, new_card, end, "confirm", ""))
    assert wrong == []


def test_right_after_a_new_card_the_overview_says_that_the_card_is_charged(visitor: Visitor, shop: World) -> None:
    """A declined customer has saved a new card. Before the workflow begins, while the charge has no result, and after
    the charge, the overview says how things stand, and nothing of the old refusal."""
    shop.edit(renewal_date="2026-01-31", payment_method="pm_declined")
    shop.run()
    visitor.now = NOON + LATER
    assert "We could not collect your last payment." in visitor.sign_in().text
    shop.edit(payment_method="pm_ok")
    page = visitor.get("overview").text
    assert "Past due. Your new card is being charged now. If the payment goes through, you get a receipt" in page
    assert ", being settled right now, for 31 January 2026 to 27 February 2026 Payment method" in page
    shop.items()["2026-01-31"]["status"] = "claimed"
    page = visitor.get("overview").text
    assert "Past due. A payment for 31 January 2026 to 27 February 2026 is being settled right now." in page
    assert ", being settled right now, for 31 January" in page
    shop.items()["2026-01-31"]["status"] = "declined"
    shop.run("new card", NOON + 2 * LATER)
    page = visitor.get("overview").text
    assert "Status Active Next charge $29.99 on 28 February 2026" in page.replace(" ,", ",")


# --- what the customer has just done --------------------------------------------------------------------------------


def _status(html: str) -> str:
    """Return what the overview says of the customer's last deed, as a status."""
    found = re.findall(r'<p class="note" role="status">(.*?)</p>', html)
    assert len(found) <= 1
    return "".join(found)


def test_after_each_change_the_overview_says_what_was_done(visitor: Visitor, shop: World) -> None:
    """After a cancellation, a resumption and the choice of reminders, the next page says in one sentence what was done,
    as a status; the page without the parameter says how things stand, and nothing else."""
    visitor.sign_in()
    for path, told, said in (
        ("cancel", "canceled", "Your subscription is canceled."),
        ("resume", "resumed", "Your subscription goes on."),
    ):
        done = visitor.press(path)
        assert (done.status, done.header("Location")) == (303, f"overview?done={told}")
        assert _status(visitor.get(done.header("Location")).html) == said
        assert _status(visitor.get("overview").html) == ""
    shop.edit(reminders="required")
    form = account_links.form_token("a key", visitor.session)
    done = visitor.post("reminders", {"form": form})
    assert (done.status, done.header("Location")) == (303, "overview?done=reminders")
    assert _status(visitor.get("overview?done=reminders").html) == "You get all reminders again."


TRUE = {
    "Your subscription is canceled.": {"ending", "canceled"},
    "Your subscription goes on.": {"active", "ends later"},
    "You get all reminders again.": {"active", "ends later", "ending", "canceled", "paused", "past due"},
}
"""Each sentence with the states in which the sentence is true."""


@pytest.mark.parametrize(
    "done", ["canceled", "resumed", "reminders", "closed", "<b>Pay at evil.example</b>", "x" * 500]
)
def test_no_link_makes_the_overview_say_what_is_not_so(visitor: Visitor, shop: World, done: str) -> None:
    """Whoever sends a customer a link to the overview with a word of their own makes the page say nothing but a known
    sentence, and only while the sentence is true."""
    visitor.sign_in()
    states: dict[str, dict[str, Any]] = {
        "active": {},
        "ends later": {"cancel_at": "2026-06-30"},
        "ending": {"cancel_at": "2026-02-28"},
        "canceled": {"status": "canceled"},
        "paused": {"status": "paused"},
        "past due": {"status": "past_due"},
        "reminders declined": {"reminders": "required", "status": "paused"},
    }
    for name, row in states.items():
        shop.subscribe(renewal_date="2026-02-28", **row)
        said = _status(visitor.get(f"overview?done={done}").html)
        assert said in ("", *TRUE), said
        assert not said or name in TRUE[said], (name, said)


def test_nobody_with_a_session_is_told_to_be_signed_out(visitor: Visitor) -> None:
    """A link to the page "you are signed out", sent to a customer whose session holds, leads to the subscription; and
    the page about a mailed link is shown to nobody without a session."""
    page = visitor.sign_in()
    for path in ("signed-out", "closed"):
        led = visitor.get(path)
        assert (led.status, led.header("Location")) == (303, "overview")
    assert 'href="overview"' in visitor.get("link-mailed").html
    visitor.post("sign-out", page.fields)
    assert visitor.get("link-mailed").status == 404
    assert "You are signed out" in visitor.get("signed-out").text
    assert 'href="/prod/account"' in visitor.get("signed-out").html
