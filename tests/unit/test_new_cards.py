"""A customer's new card: the gateway's page is opened for the subscription, and the saved card is taken once, from the
subscription's own session, and never over a newer decision."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import permutations
from typing import Any

import pytest

from renewals.domain.changes import Change, ChangeKind
from renewals.domain.customer_request import CustomerRequest, Refusal
from renewals.domain.request import Asks
from renewals.domain.timeline import timeline
from renewals.domain.transitions import Action
from renewals.ledger.asked_by import AskedBy
from tests.cuts import Cut
from tests.fakes import DUE, LATER, NOON, World

BACK = "https://shop.example/account/back"
SECOND = timedelta(seconds=1)


def open_page(shop: World, now: datetime = NOON, **more: str) -> dict[str, Any]:
    return shop.ask(_request(Asks.OPEN_CARD_PAGE, return_url=BACK, **more), now)


def take(shop: World, session: str, now: datetime = NOON, **more: str) -> dict[str, Any]:
    return shop.ask(_request(Asks.TAKE_CARD, session=session, **more), now)


def _request(asks: Asks, **more: str) -> CustomerRequest:
    return CustomerRequest(**({"subscription_id": "sub_1", "customer_id": "cus_1", "asks": asks} | more))  # type: ignore[arg-type]


def _session(opened: dict[str, Any]) -> str:
    return str(opened["url"]).rpartition("/")[2]


def _saved(shop: World, card: str = "pm_new", now: datetime = NOON) -> str:
    """Return a session in which the customer has saved a card."""
    session = _session(open_page(shop, now))
    shop.gateway.now = now
    shop.gateway.give_card(session, card)
    return session


def _changes(shop: World) -> list[Change]:
    return shop.register.changes.readable("sub_1")[0]


@pytest.fixture
def shop(shop: World) -> World:
    shop.subscribe(renewal_date="2026-02-28", locale="de-AT")
    return shop


def test_the_page_is_opened_for_the_subscription(shop: World) -> None:
    """The session names the subscription, its customer and the deployment, has an hour, and sends the customer back
    with the session's id, or without a card to the same address."""
    reply = open_page(shop)
    assert (reply["outcome"], reply["reason"], reply["url"]) == ("opened", "", "https://gateway.example/pay/cs_1")
    asked = shop.gateway.pages["cs_1"]
    ours = {"subscription_id": "sub_1", "customer_id": "cus_1", "deployment": "shop-prod"}
    assert asked.metadata == {**ours, "card_before": "pm_ok"}
    assert (asked.gateway_customer, asked.locale, asked.expires_at) == ("cus_gw", "de-AT", NOON + timedelta(hours=1))
    assert asked.cancel_url == BACK
    assert shop.gateway.give_card("cs_1") == f"{BACK}?session=cs_1"


def test_the_session_is_added_to_an_address_with_parameters(shop: World) -> None:
    """A return address with parameters keeps the parameters."""
    shop.ask(_request(Asks.OPEN_CARD_PAGE, return_url=f"{BACK}?of=sub_1"))
    assert shop.gateway.give_card("cs_1") == f"{BACK}?of=sub_1&session=cs_1"


def test_a_new_card_is_taken_as_the_api_takes_a_card(shop: World) -> None:
    """The saved card is the payment method from now on; the change is recorded under the name customer, and the
    timeline tells the change in words."""
    session = _saved(shop)
    assert take(shop, session)["outcome"] == "card_taken"
    assert shop.row()["payment_method"] == "pm_new"
    (change,) = _changes(shop)
    assert (change.what, change.by) == (ChangeKind.CARD, "customer")
    assert change.details == {"payment_method": ("pm_ok", "pm_new")}
    told = [entry.text for entry in timeline(shop.row(), [], [change])]
    assert told == ["customer updated the payment method: payment_method from pm_ok to pm_new."]


@pytest.mark.parametrize("times", [2, 3])
def test_a_session_is_taken_once(shop: World, times: int) -> None:
    """A session that is handed in again changes nothing more: not at once, and not after the card was replaced by
    hand. The answer after the replacement says that the later card stands."""
    session = _saved(shop)
    replies = [take(shop, session) for _ in range(times)]
    assert [(each["outcome"], each["reason"]) for each in replies[1:]] == [("nothing_to_do", "session_used")] * (
        times - 1
    )
    shop.edit(payment_method="pm_by_hand")
    assert take(shop, session)["reason"] == "session_older"
    assert (shop.row()["payment_method"], len(_changes(shop))) == ("pm_by_hand", 1)


@pytest.mark.parametrize("order", [*permutations(range(3))])
def test_of_several_sessions_the_card_that_was_saved_last_stays(shop: World, order: tuple[int, ...]) -> None:
    """Whatever the order in which sessions are handed in, doubled or not, the card that the customer saved last is the
    payment method in the end."""
    sessions = [_saved(shop, f"pm_{n}", NOON + n * SECOND) for n in range(3)]
    for n in (*order, *order):
        take(shop, sessions[n], NOON + LATER)
    assert shop.row()["payment_method"] == "pm_2"


def test_two_tabs_are_taken_in_the_order_of_the_customers_acts(shop: World) -> None:
    """A session that was opened first and finished last wins: the customer's last act counts."""
    first, second = _session(open_page(shop)), _session(open_page(shop))
    shop.gateway.give_card(second, "pm_second", NOON + SECOND)
    shop.gateway.give_card(first, "pm_first", NOON + 2 * SECOND)
    assert take(shop, second, NOON + LATER)["outcome"] == "card_taken"
    assert take(shop, first, NOON + LATER)["outcome"] == "card_taken"
    assert shop.row()["payment_method"] == "pm_first"


def test_of_two_cards_of_one_second_the_page_names_the_one_that_stands(shop: World) -> None:
    """Two tabs save a card within one second, which is as exact as the gateway's clock. The way back from the first
    tab, opened again, does not say that the first card is charged from now on."""
    first, second = _saved(shop, "pm_first"), _saved(shop, "pm_second")
    assert [take(shop, each)["outcome"] for each in (first, second)] == ["card_taken"] * 2
    assert take(shop, first)["reason"] == "session_older"
    assert shop.row()["payment_method"] == "pm_second"


def _by_api(shop: World, now: datetime, *, edit: bool) -> None:
    card, asked = {"payment_method": "pm_by_api"}, AskedBy("ann", now)
    if edit:
        shop.register.edit(shop.row(), card | {"gateway_customer": "cus_gw"}, ChangeKind.EDITED, asked)
    else:
        shop.register.act(shop.row(), Action.GIVE_CARD, now.date(), asked, card)


@pytest.mark.parametrize("edit", [False, True])
def test_a_card_of_the_api_that_is_newer_stays(shop: World, edit: bool) -> None:
    """A session that was finished before the last change of the payment method is refused, as an act or as an edit of
    the API; a session that was finished after the change is taken."""
    old, new = _saved(shop, "pm_old", NOON), _session(open_page(shop))
    _by_api(shop, NOON + 2 * SECOND, edit=edit)
    shop.gateway.give_card(new, "pm_new", NOON + 3 * SECOND)
    assert take(shop, old, NOON + LATER)["reason"] == "session_older"
    assert shop.row()["payment_method"] == "pm_by_api"
    assert take(shop, new, NOON + LATER)["outcome"] == "card_taken"
    assert take(shop, old, NOON + LATER)["reason"] == "session_older"
    assert shop.row()["payment_method"] == "pm_new"


@pytest.mark.parametrize("changed", ["by nobody before", "by the API before", "by the customer before"])
def test_a_card_that_was_written_by_hand_meanwhile_stays(shop: World, changed: str) -> None:
    """A person writes a card into the row while a session is open: the session's card is not taken two days later,
    whether or not an earlier change of the card was recorded. A session that is opened afterwards is taken."""
    if changed == "by the API before":
        _by_api(shop, NOON, edit=False)
    opened = _session(open_page(shop))
    if changed == "by the customer before":
        assert take(shop, _saved(shop, "pm_first"), NOON)["outcome"] == "card_taken"
    shop.edit(payment_method="pm_by_hand")
    shop.gateway.give_card(opened, "pm_late", NOON + 2 * SECOND)
    assert take(shop, opened, NOON + timedelta(days=2))["reason"] == "session_older"
    assert shop.row()["payment_method"] == "pm_by_hand"
    assert (
        take(shop, _saved(shop, "pm_new", NOON + timedelta(days=2)), NOON + timedelta(days=2))["outcome"]
        == "card_taken"
    )


def test_a_row_that_had_no_card_keeps_the_card_written_by_hand(shop: World) -> None:
    """A session was opened while the row had no card; a card that a person has written since stays."""
    shop.edit(payment_method="")
    opened = _saved(shop, "pm_late")
    shop.edit(payment_method="pm_by_hand")
    assert take(shop, opened, NOON + LATER)["reason"] == "session_older"


def test_a_late_session_is_taken_if_nothing_has_changed(shop: World) -> None:
    """The event of a session comes days late, and the row still has the card of the opening: the new card is taken."""
    opened = _saved(shop)
    assert take(shop, opened, NOON + timedelta(days=4))["outcome"] == "card_taken"


def test_a_session_of_the_version_before_is_taken_by_the_moment_alone(shop: World) -> None:
    """A session that does not say which card it replaces was opened by the version before, and is taken."""
    opened = _saved(shop)
    stands = shop.gateway.sessions[opened]
    told = {name: value for name, value in stands.metadata.items() if name != "card_before"}
    shop.gateway.sessions[opened] = replace(stands, metadata=told)
    shop.edit(payment_method="pm_by_hand")
    assert take(shop, opened, NOON + LATER)["outcome"] == "card_taken"


def test_a_test_clock_does_not_count_against_the_gateways_clock() -> None:
    """A card that the API sets while a test clock stands in the far future blocks no card that the customer saves
    later, by the real clock."""
    shop = World()
    shop.environment = "dev"
    shop.subscribe(test_clock="2027-01-01", renewal_date="2027-02-01")
    far = datetime(2027, 1, 1, 12, tzinfo=UTC)
    asked = AskedBy("ann", far, at=NOON)
    shop.register.act(shop.row(), Action.GIVE_CARD, far.date(), asked, {"payment_method": "pm_by_api"})
    assert take(shop, _saved(shop, "pm_new", NOON + SECOND), NOON + LATER)["outcome"] == "card_taken"


FOREIGN = {
    "another deployment": {"deployment": "shop-dev"},
    "another subscription": {"subscription_id": "sub_2"},
    "another customer": {"customer_id": "cus_2"},
    "no mark": {"deployment": ""},
}


@pytest.mark.parametrize("mark", FOREIGN)
def test_a_foreign_session_is_refused(shop: World, mark: str) -> None:
    """A session of a different deployment, subscription or customer, or of a different system, sets no card, although
    the gateway's customer is the same."""
    session = _saved(shop)
    stands = shop.gateway.sessions[session]
    told = {name: value for name, value in {**stands.metadata, **FOREIGN[mark]}.items() if value}
    shop.gateway.sessions[session] = replace(stands, metadata=told)
    assert take(shop, session)["reason"] == "session_foreign"
    assert shop.row()["payment_method"] == "pm_ok"


def test_a_session_of_another_customer_of_the_gateway_is_refused(shop: World) -> None:
    """A session that was opened before the subscription got a different customer at the gateway sets no card."""
    session = _saved(shop)
    shop.edit(gateway_customer="cus_gw_2")
    assert take(shop, session)["reason"] == "session_foreign"


def test_an_unfinished_expired_or_unknown_session_is_refused_by_its_name(shop: World) -> None:
    """A session without a card gives its own reason."""
    unfinished, expired = _session(open_page(shop)), _session(open_page(shop))
    shop.gateway.expire_session(expired)
    reasons = [take(shop, each)["reason"] for each in (unfinished, expired, "cs_unheard_of")]
    assert reasons == ["session_open", "session_expired", "session_unknown"]


@pytest.mark.parametrize("gone", ["detached", "no card"])
def test_a_card_that_cannot_be_charged_is_not_taken(shop: World, gone: str) -> None:
    """A card that was detached after the session, or a payment method that is no card, is refused, as by the API."""
    card = "pm_sepa" if gone == "no card" else "pm_new"
    session = _saved(shop, card)
    if gone == "detached":
        shop.gateway.detach(card)
    assert take(shop, session)["reason"] == "card_unusable"
    assert shop.row()["payment_method"] == "pm_ok"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"status": "canceled"}, "ended"),
        ({"cancel_at": "2026-01-31"}, "ended"),
        ({"status": "paused"}, ""),
        ({"status": "unpaid"}, ""),
        ({"status": "past_due"}, ""),
        ({"status": "on_hold"}, "ended"),
    ],
)
def test_the_subscription_must_not_have_ended(shop: World, row: dict[str, str], reason: str) -> None:
    """A new card is possible in each state but after the end; the state counts when the card is taken, too."""
    session = _saved(shop)
    shop.edit(**({"renewal_date": "2026-01-31"} | row))
    assert open_page(shop)["reason"] == reason
    assert take(shop, session)["reason"] == reason


@pytest.mark.parametrize("asks", ["open", "take"])
def test_nobody_else_gets_the_page_or_sets_the_card(shop: World, asks: str) -> None:
    """A request for an unknown subscription, or for a subscription of a different customer, finds no subscription; a
    second row under the id is a fault."""
    session = _saved(shop)

    def ask(**more: str) -> dict[str, Any]:
        return open_page(shop, NOON, **more) if asks == "open" else take(shop, session, NOON, **more)

    assert ask(subscription_id="sub_9")["reason"] == "no_subscription"
    assert ask(customer_id="cus_9")["reason"] == "no_subscription"
    shop.dynamodb.put("subscriptions", shop.row() | {"customer_id": "cus_2"})
    assert ask()["reason"] == "not_readable"


@pytest.mark.parametrize("operation", ["open_card_page", "card_session", "saved"])
def test_a_bad_day_of_the_gateway_changes_nothing(shop: World, operation: str) -> None:
    """Without a clear answer the page may try again; a rejected key is the account's fault."""
    session = _saved(shop)

    def reason() -> str:
        return str((open_page(shop) if operation == "open_card_page" else take(shop, session))["reason"])

    shop.gateway.trouble = [(operation, "before")]
    assert reason() == "try_again"
    shop.gateway.turned_away = {operation}
    assert reason() == "gateway_account"
    assert shop.row()["payment_method"] == "pm_ok"


def test_a_customer_whom_the_gateway_does_not_know_gets_no_page(shop: World) -> None:
    """A customer who is gone at the gateway has no page, and the request says so."""
    shop.edit(gateway_customer="cus_gone")
    assert open_page(shop)["reason"] == "gateway_refused"


def test_with_charging_off_a_card_is_still_taken(shop: World) -> None:
    """A new card charges nothing: the page opens and the card is taken while charging is off."""
    shop.turn_charging_off()
    assert take(shop, _saved(shop))["outcome"] == "card_taken"


def _taken(shop: World, session: str, _point: str) -> None:
    take(shop, session)


def _calls() -> list[str]:
    shop = World()
    shop.subscribe(renewal_date="2026-02-28")
    session, before = _saved(shop), len(shop.cuts.calls)
    take(shop, session)
    return shop.cuts.calls[before:]


@pytest.mark.parametrize("point", range(2 * len(_calls())))
def test_taking_a_card_may_be_cut_at_any_point(shop: World, point: int) -> None:
    """A request that ends before or after any of its calls leaves the old card or the new card, and the next request
    ends with the new card and one record."""
    session = _saved(shop)
    shop.cuts.at = 2 * len(shop.cuts.calls) + point
    with pytest.raises(Cut):
        take(shop, session)
    assert shop.row()["payment_method"] in ("pm_ok", "pm_new")
    assert take(shop, session)["reason"] in ("", "session_used")
    assert (shop.row()["payment_method"], len(_changes(shop))) == ("pm_new", 1)


@pytest.mark.parametrize("point", range(2 * len(_calls())))
def test_taking_a_card_twice_at_once_takes_the_card_once(shop: World, point: int) -> None:
    """A second request with the same session at any point of the first request changes nothing more."""
    session = _saved(shop)
    shop.cuts.at, shop.cuts.happens = 2 * len(shop.cuts.calls) + point, partial(_taken, shop, session)
    take(shop, session)
    assert (shop.row()["payment_method"], len(_changes(shop))) == ("pm_new", 1)


@pytest.mark.parametrize("point", range(2 * len(_calls())))
def test_a_cancellation_at_any_point_is_not_undone(shop: World, point: int) -> None:
    """A subscription that is canceled at any point of the request stays canceled, and has one of the two cards."""
    session = _saved(shop)

    def cancel(_: str) -> None:
        shop.register.act(shop.row(), Action.CANCEL_NOW, DUE, AskedBy("ann", NOON))

    shop.cuts.at, shop.cuts.happens = 2 * len(shop.cuts.calls) + point, cancel
    reply = take(shop, session)
    assert shop.row()["status"] == "canceled"
    taken = shop.row()["payment_method"] == "pm_new"
    assert (reply["outcome"], reply["reason"]) == (("card_taken", "") if taken else ("nothing_to_do", Refusal.ENDED))


def test_a_past_due_payment_is_tried_with_the_new_card_once() -> None:
    """After a decline, the new card pays by the request that the page puts on the queue, and pays once."""
    shop = World()
    shop.subscribe(payment_method="pm_declined")
    shop.run("first")
    take(shop, _saved(shop, now=NOON + LATER), NOON + LATER)
    for execution in ("second", "third"):
        shop.run(execution, NOON + 2 * LATER)
    assert [card for _, card in shop.gateway.attempts] == ["pm_declined", "pm_new"]
    assert len(shop.gateway.charges) == 1


def test_a_new_card_at_any_moment_of_a_renewal_charges_once() -> None:
    """A card that is taken before or after any call of a renewal, under a live lease, leads to one charge, and the
    renewal ends well."""
    quiet = World()
    quiet.subscribe()
    _saved(quiet)
    before = len(quiet.cuts.calls)
    quiet.run()
    for point in range(2 * before, 2 * len(quiet.cuts.calls)):
        shop = World()
        shop.subscribe()
        session = _saved(shop)
        shop.cuts.at, shop.cuts.happens = point, partial(_taken, shop, session)
        assert shop.run() == "Success"
        shop.run("again", NOON + LATER)
        assert (len(shop.gateway.charges), shop.row()["payment_method"]) == (1, "pm_new")
