"""A payment that the bank refused because the customer must confirm: the customer is sent to the bank's page, for the
same payment, and is charged at most once, whatever the sweep, a new card, a cancellation or a second tab does
meanwhile."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache, partial
from itertools import product
from typing import Any

import pytest

from renewals.domain.customer_request import RENEWS, CustomerRequest
from renewals.domain.payment import Failure, PaymentState
from renewals.domain.request import Asks
from renewals.domain.timeline import timeline
from renewals.domain.timeline_entries import EntryKind
from renewals.domain.transitions import Action
from renewals.ledger.asked_by import AskedBy
from tests.cuts import Cut
from tests.door import Door, forget_secrets
from tests.fake_gateway import MOST_ATTEMPTS
from tests.fakes import DUE, LATER, NOON, World
from tests.shares import rotating

BACK = "https://shop.example/account/back"
DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
THEN = NOON + timedelta(hours=1)
OPENED = {"outcome": "opened", "reason": "", "subscription_id": "sub_1", "customer_id": "cus_1"}


def confirm(shop: World, now: datetime = THEN, **more: str) -> dict[str, Any]:
    asked = {"subscription_id": "sub_1", "customer_id": "cus_1", "return_url": BACK} | more
    return shop.ask(CustomerRequest(asks=Asks.CONFIRM_ON_SESSION, **asked), now)


def reason(shop: World, now: datetime = THEN) -> str:
    return str(confirm(shop, now)["reason"])


@cache
def _asked_once(card: str, *days: int) -> Callable[[], World]:
    shop = World()
    shop.subscribe(payment_method=card)
    for day in (0, *days):
        shop.run(f"day-{day}", NOON + day * DAY)
    assert shop.items()[DUE.isoformat()]["status"] == "action_required"
    return shop.copies()


def asked(card: str = "pm_3ds", *days: int) -> World:
    """Return a world whose renewal waits for the customer's confirmation. days: the dunning days that have passed."""
    return _asked_once(card, *days)()


def item(shop: World) -> dict[str, Any]:
    return shop.items()[DUE.isoformat()]


def confirmations(shop: World) -> int:
    return shop.cuts.calls.count("gateway.confirm_on_session")


def events(shop: World) -> None:
    """Deliver the gateway's events so far, and act on them."""
    forget_secrets()
    door = Door(shop, shop.gateway.now)
    for event in shop.gateway.events:
        assert door.post(event) == 200
    door.work()
    forget_secrets()


def expect_truth(shop: World) -> None:
    """Check that gateway and ledger agree: one payment, charged at most once, and recorded and receipted if charged."""
    assert len(shop.gateway.payments) == 1
    assert len(shop.gateway.charges) <= 1
    paid = bool(shop.gateway.charges)
    assert ("paid_at" in item(shop)) == paid
    assert len(shop.receipts()) == paid
    assert shop.mail_kinds().count("receipt") == paid


def test_the_customer_is_sent_to_the_bank() -> None:
    """The same payment is confirmed with the claim's card, the reply has the bank's address, and nothing is charged,
    mailed or retried."""
    shop = asked()
    mails, reply = shop.mail_kinds(), confirm(shop)
    challenge = shop.gateway.payments["pi_1"].challenge
    assert challenge is not None
    assert reply == OPENED | {"url": challenge.url}
    assert shop.gateway.attempts == [("pi_1", "pm_3ds"), ("pi_1", "pm_3ds")]
    assert (shop.gateway.charges, shop.mail_kinds(), item(shop)["attempt"]) == ([], mails, 1)
    assert item(shop)["status"] == "action_required"


@pytest.mark.parametrize("by", ["event", "queue", "sweep"])
def test_a_confirmed_payment_is_recorded_and_receipted(by: str) -> None:
    """After the customer has confirmed, the event, the page's request on the queue or the next sweep records the
    payment, and the customer gets one receipt."""
    shop = asked()
    assert shop.gateway.at_the_bank(confirm(shop)["url"])
    if by == "event":
        events(shop)
    else:
        shop.run("later", THEN + MINUTE, period=DUE.isoformat() if by == "sweep" else None)
    assert (item(shop)["status"], shop.row()["status"], len(shop.gateway.charges)) == ("done", "active", 1)
    expect_truth(shop)


def test_the_timeline_tells_that_the_customer_was_at_the_bank() -> None:
    """The timeline says when the customer began to confirm, before and after the payment."""
    shop = asked()
    shop.gateway.at_the_bank(confirm(shop)["url"])
    for status in ("action_required", "done"):
        told = [entry for entry in timeline(shop.row(), [item(shop)], []) if entry.kind is EntryKind.CHALLENGED]
        assert item(shop)["status"] == status
        assert [(entry.at, entry.text) for entry in told] == [
            (THEN, "The customer began to confirm the payment with the bank.")
        ]
        shop.run("later", THEN + MINUTE)


def test_an_open_challenge_goes_on() -> None:
    """Asked again, the customer is sent to the same address, and the payment is not confirmed again: not at once, not
    after half an hour, and not with a second return address."""
    shop = asked()
    first = confirm(shop)
    assert confirm(shop) == first
    assert confirm(shop, THEN + 30 * MINUTE, return_url="https://shop.example/other") == first
    assert confirmations(shop) == 1


def test_a_challenge_of_more_than_an_hour_is_begun_anew() -> None:
    """After the hour in which dunning waits, the customer gets a new address with an hour of its own, and the last
    dunning date waits for the customer again."""
    shop = _on_the_last_day()
    first = confirm(shop, LAST + 2 * HOUR)["url"]
    assert first != confirm(shop, LAST + 5 * HOUR)["url"]
    shop.run("sweep", LAST + 5 * HOUR + MINUTE)
    assert item(shop)["status"] == "action_required"
    _accept(shop)
    events(shop)
    assert item(shop)["status"] == "done"
    expect_truth(shop)


@pytest.mark.parametrize("answers", [True, False], ids=["refused at the bank", "left open at the bank"])
def test_after_too_many_challenges_a_further_payment_is_confirmed(answers: bool) -> None:
    """The gateway cancels a payment that was confirmed too often, also if no answer of the customer came. The customer
    then has nothing to confirm, as the ledger notes for the customer's page, until the next dunning date asks with a
    second payment, which is charged once."""
    shop = asked()
    for hours in range(MOST_ATTEMPTS + (not answers)):
        told = confirm(shop, THEN + 2 * hours * HOUR)
        if answers and "url" in told:
            shop.gateway.at_the_bank(told["url"], accepts=False)
            events(shop)
    assert told["reason"] == "nothing_to_confirm"
    (first,) = shop.gateway.payments.values()
    assert (first.state, first.lapsed) == (PaymentState.CANCELED, True)
    assert (item(shop)["status"], "closed_at" in item(shop)) == ("action_required", True)
    for day in range(2, 5):
        shop.run(f"sweep-{day}", THEN + timedelta(days=day))
    assert "closed_at" not in item(shop)
    assert shop.gateway.at_the_bank(confirm(shop, THEN + timedelta(days=4, hours=1))["url"])
    shop.run("paid", THEN + timedelta(days=4, hours=2))
    assert (item(shop)["status"], shop.row()["status"], len(shop.gateway.charges)) == ("done", "active", 1)
    assert item(shop)["payment_id"] != first.id
    assert (len(shop.receipts()), shop.mail_kinds().count("receipt")) == (1, 1)


def test_a_customer_who_refused_is_not_charged_without_a_word() -> None:
    """Off session, a bank may pay what the customer has refused at the bank's page: the next dunning date passes
    without an attempt."""
    shop = asked()
    shop.gateway.at_the_bank(confirm(shop)["url"], accepts=False)
    events(shop)
    tried, date = list(shop.gateway.attempts), item(shop)["next_attempt"]
    for day in range(1, 4):
        shop.run(f"sweep-{day}", THEN + timedelta(days=day))
    assert item(shop)["next_attempt"] != date
    assert (shop.gateway.attempts, shop.gateway.charges) == (tried, [])


def test_a_card_that_was_declined_for_good_on_session_is_not_tried_again() -> None:
    """A hard decline at the confirmation with the customer present ends the attempts with the card."""
    shop = asked()
    payment = shop.gateway.payments["pi_1"]
    stolen = Failure("fail_stolen", "card_declined", "stolen_card", None)
    shop.gateway.payments["pi_1"] = replace(payment, state=PaymentState.DECLINED, failure=stolen)
    tried = list(shop.gateway.attempts)
    for day in range(1, 4):
        shop.run(f"sweep-{day}", THEN + timedelta(days=day))
    assert (shop.gateway.attempts, shop.gateway.charges) == (tried, [])


def test_a_customer_who_refuses_may_try_again_at_once() -> None:
    """A refusal at the bank charges nothing and leaves the period as it was; the customer may begin anew within
    seconds, at a new address."""
    shop = asked()
    url = confirm(shop)["url"]
    shop.gateway.at_the_bank(url, accepts=False)
    events(shop)
    assert (shop.gateway.charges, item(shop)["status"]) == ([], "action_required")
    again = confirm(shop, THEN + timedelta(seconds=5))
    assert again["outcome"] == "opened"
    assert again["url"] != url
    shop.gateway.at_the_bank(again["url"])
    events(shop)
    assert item(shop)["status"] == "done"
    expect_truth(shop)


def test_a_bank_that_asks_nobody_after_all() -> None:
    """If the confirmation pays at once, the reply says that the payment has succeeded and that the page must have the
    payment recorded."""
    shop = asked("pm_3ds_asks_nobody")
    assert reason(shop) == "paid_already"
    assert {"paid_already", "card_updated"} == RENEWS
    assert reason(shop) == "paid_already"
    shop.run("queue", THEN)
    assert (item(shop)["status"], confirmations(shop)) == ("done", 1)
    expect_truth(shop)


def _decline(shop: World) -> None:
    failure = Failure("ch_9", "card_declined", "insufficient_funds", None)
    payment = shop.gateway.payments["pi_1"]
    shop.gateway.payments["pi_1"] = replace(payment, state=PaymentState.DECLINED, failure=failure, challenge=None)


def _process(shop: World) -> None:
    payment = shop.gateway.payments["pi_1"]
    shop.gateway.payments["pi_1"] = replace(payment, state=PaymentState.PROCESSING, challenge=None)


NOTHING: dict[str, tuple[Callable[[World], object], str]] = {
    "paid": (lambda shop: shop.gateway.succeed("pi_1"), "paid_already"),
    "in processing": (_process, "processing"),
    "declined for another reason": (_decline, "card_declined"),
    "canceled at the gateway": (lambda shop: shop.gateway.cancel("pi_1"), "nothing_to_confirm"),
    "of another amount": (
        lambda shop: shop.gateway.payments.update(pi_1=replace(shop.gateway.payments["pi_1"], amount=1)),
        "nothing_to_confirm",
    ),
    "with a new card": (lambda shop: shop.edit(payment_method="pm_ok"), "card_updated"),
    "canceled": (lambda shop: shop.edit(status="canceled"), "ended"),
    "paused": (lambda shop: shop.edit(status="paused"), "ended"),
    "unpaid": (lambda shop: shop.edit(status="unpaid"), "ended"),
    "at its end": (lambda shop: shop.edit(cancel_at=DUE.isoformat()), "ended"),
    "moved": (lambda shop: shop.edit(renewal_date="2026-02-10"), "being_settled"),
    "of another customer of the gateway": (lambda shop: shop.edit(gateway_customer="cus_2"), "being_settled"),
    "with charging off": (lambda shop: shop.turn_charging_off(), "charging_is_off"),
    "with a broken row": (lambda shop: shop.edit(currency="XYZ"), "not_readable"),
    "without a row": (lambda shop: shop.delete_row(), "no_subscription"),
}


@pytest.mark.parametrize("state", NOTHING)
@pytest.mark.parametrize("challenged", [False, True])
def test_nothing_is_confirmed_in_any_other_state(state: str, challenged: bool) -> None:
    """The payment is not confirmed, and no open challenge is handed out, unless the bank has asked, the card is still
    the same, the row is live, and charging is on."""
    shop = asked()
    if challenged:
        confirm(shop)
    before = confirmations(shop)
    change, why = NOTHING[state]
    change(shop)
    reply = confirm(shop)
    assert (reply["outcome"], reply["reason"]) == ("nothing_to_do", why)
    assert confirmations(shop) == before
    assert "url" not in reply


def test_only_a_payment_that_the_bank_asked_about_is_confirmed(shop: World) -> None:
    """A subscription without a refused payment, with a declined payment, or with a paid payment has nothing to
    confirm."""
    shop.subscribe(payment_method="pm_declined")
    assert reason(shop) == "nothing_to_confirm"
    shop.run("first")
    assert reason(shop) == "nothing_to_confirm"
    shop.edit(payment_method="pm_ok")
    shop.run("second", THEN)
    assert reason(shop) == "nothing_to_confirm"
    assert confirmations(shop) == 0


def test_nobody_else_confirms() -> None:
    """A request of a different customer, or for a different subscription, finds no subscription."""
    shop = asked()
    assert confirm(shop, customer_id="cus_9")["reason"] == "no_subscription"
    assert confirm(shop, subscription_id="sub_9")["reason"] == "no_subscription"
    assert confirmations(shop) == 0


@pytest.mark.parametrize("fate", ["before", "answered", "after"])
def test_without_a_clear_answer_the_payment_is_looked_up(fate: str) -> None:
    """A confirmation whose answer was lost leads to the bank's page; a confirmation that was never made may be tried
    again at once."""
    shop = asked()
    shop.gateway.trouble = [("confirm_on_session", fate)]
    first = confirm(shop)
    assert first["outcome"] == ("opened" if fate == "after" else "nothing_to_do")
    assert first["reason"] == ("" if fate == "after" else "try_again")
    second = confirm(shop)
    assert second["outcome"] == "opened"
    assert fate != "after" or second == first
    assert len(shop.gateway.attempts) == 2


@pytest.mark.parametrize("operation", ["retrieve", "confirm_on_session"])
def test_a_rejected_key_is_the_accounts_fault(operation: str) -> None:
    """If the gateway turns the key away, the reply says so, and the next request succeeds."""
    shop = asked()
    shop.gateway.turned_away = {operation}
    assert reason(shop) == "gateway_account"
    shop.gateway.turned_away = set()
    assert confirm(shop)["outcome"] == "opened"


# Cut, doubled, and beside everything else


def _points(begin: Callable[[], World], act: Callable[[World], object]) -> range:
    shop = begin()
    before = len(shop.cuts.calls)
    act(shop)
    return range(2 * (len(shop.cuts.calls) - before))


POINTS = _points(asked, confirm)


@pytest.mark.parametrize("point", POINTS)
def test_a_request_may_be_cut_at_any_point(point: int) -> None:
    """A request that ends before or after any of its calls charges nothing. Once the lease is over, the next request
    leads to the bank, and the confirmed payment is recorded once."""
    shop = asked()
    shop.cuts.at = 2 * len(shop.cuts.calls) + point
    with pytest.raises(Cut):
        confirm(shop)
    assert shop.gateway.charges == []
    again = confirm(shop, THEN + LATER)
    assert again["outcome"] == "opened"
    shop.gateway.at_the_bank(again["url"])
    shop.run("queue", THEN + 2 * LATER)
    assert item(shop)["status"] == "done"
    expect_truth(shop)


@pytest.mark.parametrize("point", POINTS)
def test_two_requests_at_once_begin_one_challenge(point: int) -> None:
    """A second tab at any point of the first request begins no second challenge: both tabs that are sent to the bank
    are sent to the same address."""
    shop, replies = asked(), []
    shop.cuts.at, shop.cuts.happens = 2 * len(shop.cuts.calls) + point, lambda _: replies.append(confirm(shop))
    replies.append(confirm(shop))
    assert confirmations(shop) == 1
    assert {each["url"] for each in replies if "url" in each} == {confirm(shop)["url"]}
    assert {each["reason"] for each in replies} <= {"", "being_settled"}


def _cancel(shop: World, _point: str = "") -> None:
    shop.register.act(shop.row(), Action.CANCEL_NOW, DUE, AskedBy("customer", THEN))


MEANWHILE: dict[str, Callable[[World], object]] = {
    "canceled": lambda shop: _cancel(shop),
    "paused": lambda shop: shop.edit(status="paused"),
    "moved": lambda shop: shop.edit(renewal_date="2026-02-10"),
    "of another customer of the gateway": lambda shop: shop.edit(gateway_customer="cus_2"),
    "with a new card": lambda shop: shop.edit(payment_method="pm_new"),
    "with charging off": lambda shop: shop.turn_charging_off(),
    "taken over": lambda shop: shop.run("workflow", THEN),
}


@pytest.mark.parametrize("change", MEANWHILE)
@pytest.mark.parametrize("point", POINTS)
def test_a_change_before_the_lease_is_taken_stops_the_confirmation(point: int, change: str) -> None:
    """A change at any point of the request, before the lease is taken, is seen: nothing is confirmed that may no longer
    be charged. After a change that permits the charge, the request reads everything again, and leads to the bank."""
    shop, begun = asked(), []

    def happens(_: str) -> None:
        begun.append("challenged_at" in item(shop))
        MEANWHILE[change](shop)

    shop.cuts.at, shop.cuts.happens = 2 * len(shop.cuts.calls) + point, happens
    reply = confirm(shop)
    assert confirmations(shop) == (begun == [True] or change == "taken over")
    assert (reply["outcome"] == "opened") == (confirmations(shop) == 1)


@pytest.mark.parametrize("point", POINTS)
def test_a_cancellation_at_any_point_of_the_request_is_not_charged(point: int) -> None:
    """If the subscription is canceled at any point of the request, the workflow cancels the payment: the bank's page is
    over before the customer answers, and nothing is charged."""
    shop = asked()
    shop.cuts.at, shop.cuts.happens = 2 * len(shop.cuts.calls) + point, partial(_cancel, shop)
    reply = confirm(shop)
    shop.run("canceled", THEN + MINUTE)
    if "url" in reply:
        assert not shop.gateway.at_the_bank(reply["url"])
    assert (shop.gateway.charges, item(shop)["status"]) == ([], "given_up")
    assert reason(shop) in ("ended", "nothing_to_confirm")
    expect_truth(shop)


def _canceled() -> World:
    shop = asked()
    confirm(shop)
    _cancel(shop)
    return shop


def _accept(shop: World, _point: str = "") -> None:
    challenge = shop.gateway.payments["pi_1"].challenge
    if challenge is not None:
        shop.gateway.at_the_bank(challenge.url)


def _run(shop: World, now: datetime = THEN + MINUTE) -> str:
    return shop.run("workflow", now)


@pytest.mark.parametrize("point", _points(_canceled, _run))
def test_a_confirmation_at_any_point_of_giving_up_is_charged_and_receipted_or_not_charged(point: int) -> None:
    """The customer confirms at the bank at any point while the period of a canceled subscription is given up. Either
    the payment was canceled first, and nothing is charged; or the payment succeeded first, and is recorded and
    receipted."""
    shop = _canceled()
    shop.cuts.at, shop.cuts.happens = 2 * len(shop.cuts.calls) + point, partial(_accept, shop)
    _run(shop)
    events(shop)
    shop.run("sweep", THEN + LATER + MINUTE)
    assert item(shop)["status"] == ("done" if shop.gateway.charges else "given_up")
    assert shop.row()["status"] == "canceled"
    expect_truth(shop)


LAST = NOON + 7 * DAY


def _on_the_last_day(card: str = "pm_3ds") -> World:
    """A customer is sent to the bank's page on the last dunning day, minutes before the sweep."""
    shop = asked(card, 1, 3, 5)
    assert confirm(shop, LAST - 10 * MINUTE)["outcome"] == "opened"
    return shop


def test_the_sweep_waits_an_hour_for_the_customer_at_the_bank() -> None:
    """On the last dunning day the period is not given up while the customer may be at the bank's page. After an hour it
    is given up, the payment is canceled, and the bank's page is over."""
    shop = _on_the_last_day()
    for minutes in (0, 49):
        shop.run(f"sweep-{minutes}", LAST + minutes * MINUTE)
        assert (item(shop)["status"], shop.row()["status"]) == ("action_required", "past_due")
    shop.run("sweep-51", LAST + 51 * MINUTE)
    assert (item(shop)["status"], shop.row()["status"]) == ("given_up", "canceled")
    challenge = shop.gateway.payments["pi_1"].challenge
    assert (challenge, shop.gateway.payments["pi_1"].state) == (None, PaymentState.CANCELED)
    expect_truth(shop)


def test_a_customer_who_comes_back_within_the_hour_has_paid() -> None:
    """A customer who confirms within the hour pays on the last day, and the subscription goes on."""
    shop = _on_the_last_day()
    shop.run("sweep", LAST)
    _accept(shop)
    shop.run("later", LAST + 40 * MINUTE)
    assert (item(shop)["status"], shop.row()["status"]) == ("done", "active")
    expect_truth(shop)


def test_the_hour_is_not_given_without_a_customer_at_the_bank() -> None:
    """A customer who was never at the bank's page, or has refused there, holds up no dunning date."""
    shop = asked("pm_3ds", 1, 3, 5)
    shop.run("sweep", LAST)
    assert item(shop)["status"] == "given_up"
    shop = _on_the_last_day()
    shop.gateway.fail_authentication("pi_1")
    shop.run("sweep", LAST)
    assert item(shop)["status"] == "given_up"


@pytest.mark.parametrize("point", _points(_on_the_last_day, partial(_run, now=LAST + 51 * MINUTE)))
def test_a_confirmation_at_any_point_of_the_last_sweep_is_recorded_or_not_charged(point: int) -> None:
    """The customer confirms at the bank at any point of the sweep that gives the period up: charged and receipted, or
    given up and not charged."""
    shop = _on_the_last_day()
    shop.cuts.at, shop.cuts.happens = 2 * len(shop.cuts.calls) + point, partial(_accept, shop)
    _run(shop, LAST + 51 * MINUTE)
    events(shop)
    shop.run("sweep", LAST + 60 * MINUTE)
    assert item(shop)["status"] == ("done" if shop.gateway.charges else "given_up")
    expect_truth(shop)


def _with_new_card(card: str = "pm_new") -> World:
    shop = asked()
    confirm(shop)
    shop.edit(payment_method=card)
    return shop


@pytest.mark.parametrize(
    ("point", "answer", "card"),
    rotating(
        _points(_with_new_card, _run),
        [*product(["accepts", "refuses"], ["pm_new", "pm_3ds_too", "pm_declined"])],
        of=3,
    ),
)
def test_a_new_card_and_the_bank_at_any_point_charge_once(point: int, answer: str, card: str) -> None:
    """The customer has given a new card, and answers at the bank about the earlier card at any point while the new card
    is tried: the payment is charged once, by one of the cards, or is refused and not charged."""
    shop = _with_new_card(card)
    act = _accept if answer == "accepts" else lambda shop, _: _refuse(shop)
    shop.cuts.at, shop.cuts.happens = 2 * len(shop.cuts.calls) + point, partial(act, shop)
    _run(shop)
    events(shop)
    shop.run("sweep", THEN + LATER + MINUTE)
    if card == "pm_new":
        assert item(shop)["status"] == "done"
    expect_truth(shop)


def _refuse(shop: World) -> None:
    challenge = shop.gateway.payments["pi_1"].challenge
    if challenge is not None:
        shop.gateway.at_the_bank(challenge.url, accepts=False)


@pytest.mark.parametrize(
    ("point", "answer"), rotating(_points(_with_new_card, _run), ["accepts", "refuses", "nothing"], of=3)
)
def test_a_new_card_is_tried_although_its_attempt_was_cut(point: int, answer: str) -> None:
    """The attempt with the new card is cut at any point, and the customer answers at the bank meanwhile: the new card
    is tried by the next execution unless the payment has succeeded, and the payment is charged once."""
    shop = _with_new_card()
    shop.cuts.at = 2 * len(shop.cuts.calls) + point
    _run(shop)
    if answer != "nothing":
        (_accept if answer == "accepts" else _refuse)(shop)
    for n in range(3):
        shop.run(f"sweep-{n}", THEN + (n + 1) * LATER + MINUTE)
    assert item(shop)["status"] in ("done", "mail_unknown")
    assert len(shop.gateway.charges) == 1


def test_an_abandoned_challenge_does_not_hold_up_a_new_card() -> None:
    """A customer who abandons the bank's page and gives a new card is charged at once with the new card, and the
    abandoned page is over."""
    shop = asked()
    url = confirm(shop)["url"]
    shop.edit(payment_method="pm_new")
    _run(shop)
    assert (item(shop)["status"], shop.gateway.attempts[-1]) == ("done", ("pi_1", "pm_new"))
    assert not shop.gateway.at_the_bank(url)
    expect_truth(shop)


def test_a_challenge_of_an_earlier_card_is_not_handed_out() -> None:
    """If a new card was refused for a confirmation too, the customer confirms with the new card, and not at the address
    of the earlier card."""
    shop = asked()
    first = confirm(shop)["url"]
    shop.edit(payment_method="pm_3ds_too")
    _run(shop)
    second = confirm(shop, THEN + LATER)
    assert second["url"] != first
    challenge = shop.gateway.payments["pi_1"].challenge
    assert challenge is not None
    assert challenge.payment_method == "pm_3ds_too"


def test_a_challenge_that_another_system_has_begun_is_begun_anew() -> None:
    """If somebody confirmed the payment elsewhere with a different card, the customer is asked about the claim's
    card."""
    shop = asked()
    confirm(shop)
    payment = shop.gateway.payments["pi_1"]
    assert payment.challenge is not None
    elsewhere = payment.challenge._replace(payment_method="pm_elsewhere")
    shop.gateway.payments["pi_1"] = replace(payment, challenge=elsewhere)
    assert confirm(shop)["url"] != elsewhere.url
    assert shop.gateway.attempts[-1] == ("pi_1", "pm_3ds")


def _confirm_at_noon(shop: World, _point: str) -> None:
    confirm(shop, NOON)


def _due(card: str) -> World:
    shop = World()
    shop.subscribe(payment_method=card)
    return shop


@pytest.mark.parametrize("card", ["pm_ok", "pm_3ds", "pm_declined"])
def test_a_request_at_any_moment_of_a_renewal_charges_once(card: str) -> None:
    """A request before or after any call of a renewal, under a live lease, disturbs nothing: the renewal ends as
    undisturbed, with at most one charge."""
    quiet = _due(card)
    end = quiet.run()
    for point in range(2 * len(quiet.cuts.calls)):
        shop = _due(card)
        shop.cuts.at, shop.cuts.happens = point, partial(_confirm_at_noon, shop)
        assert shop.run() == end
        assert item(shop)["status"] == quiet.items()[DUE.isoformat()]["status"]
        assert len(shop.gateway.charges) == len(quiet.gateway.charges)


def test_what_is_at_the_bank_is_left_alone_while_charging_is_off() -> None:
    """While charging is off, an open challenge is neither handed out nor given up; a payment that succeeded is recorded
    and receipted."""
    shop = asked()
    confirm(shop)
    shop.turn_charging_off()
    _run(shop)
    assert item(shop)["status"] == "action_required"
    _accept(shop)
    shop.run("sweep", THEN + LATER)
    assert item(shop)["status"] == "done"
    expect_truth(shop)
