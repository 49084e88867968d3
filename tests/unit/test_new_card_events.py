"""Events of the gateway about a session for a new card: a customer who closes the browser after saving the card gets
the card set all the same, once, and a past due payment is tried with the new card."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from renewals.domain.customer_request import CustomerRequest
from renewals.domain.request import Asks
from renewals.domain.transitions import Action
from renewals.ledger.asked_by import AskedBy
from tests.cuts import Cut
from tests.door import Door, doubled, forget_secrets, in_order
from tests.fakes import LATER, NOON, World

BACK = "https://shop.example/account/back"


@pytest.fixture
def door(shop: World) -> Iterator[Door]:
    forget_secrets()
    shop.subscribe(renewal_date="2026-02-28")
    yield Door(shop)
    forget_secrets()


def _saved(door: Door, card: str = "pm_new") -> str:
    """Let the customer save a card and close the browser; return the session."""
    shop = door.world
    asked = CustomerRequest("sub_1", "cus_1", Asks.OPEN_CARD_PAGE, return_url=BACK)
    session = str(shop.ask(asked, door.now)["url"]).rpartition("/")[2]
    shop.gateway.give_card(session, card)
    return session


def _post(door: Door, order: Callable[[list[Any]], list[Any]] = in_order) -> None:
    for event in order(door.world.gateway.events):
        assert door.post(event) == 200
    door.work()


def _take(door: Door, session: str) -> dict[str, Any]:
    return door.world.ask(CustomerRequest("sub_1", "cus_1", Asks.TAKE_CARD, session=session), door.now)


def _records(door: Door) -> int:
    return len(door.register.changes.readable("sub_1")[0])


@pytest.mark.parametrize("order", [in_order, doubled])
def test_a_card_is_set_although_the_browser_was_closed(door: Door, order: Callable[[list[Any]], list[Any]]) -> None:
    """The event sets the card once, under the name customer, and runs no workflow for a subscription that is not
    due."""
    _saved(door)
    _post(door, order)
    assert door.world.row()["payment_method"] == "pm_new"
    (change,) = door.register.changes.readable("sub_1")[0]
    assert (change.by, door.ran, door.queue.hidden, door.queue.dead) == ("customer", [], 0, [])


@pytest.mark.parametrize("first", ["page", "event"])
def test_page_and_event_take_the_card_once(door: Door, first: str) -> None:
    """Whichever comes first, the request of the page or the event, the card is taken once."""
    session = _saved(door)
    if first == "page":
        _take(door, session)
    _post(door)
    assert _take(door, session)["reason"] == "session_used"
    assert (door.world.row()["payment_method"], _records(door)) == ("pm_new", 1)


def test_a_past_due_payment_is_tried_with_the_new_card(shop: World, door: Door) -> None:
    """After a decline, the event alone has the new card charged, once, and the receipt is mailed."""
    shop.edit(renewal_date="2026-01-31", payment_method="pm_declined")
    shop.run("first")
    door.now = NOON + LATER
    _saved(door)
    _post(door, doubled)
    assert [card for _, card in shop.gateway.attempts] == ["pm_declined", "pm_new"]
    assert len(shop.gateway.charges) == 1
    assert shop.mail_kinds()[-1] == "receipt"


def test_a_run_that_failed_is_made_up_for(shop: World, door: Door) -> None:
    """If the workflow fails after the card was taken, the next delivery of the event has the past due payment tried."""
    shop.edit(renewal_date="2026-01-31", payment_method="pm_declined")
    shop.run("first")
    door.now = NOON + LATER
    _saved(door)
    door.trouble = ["FAILED"]
    _post(door)
    assert (shop.row()["payment_method"], len(shop.gateway.charges)) == ("pm_new", 0)
    door.later(timedelta(hours=1))
    assert (len(shop.gateway.charges), door.queue.hidden, door.queue.dead) == (1, 0, [])


def test_a_renewal_at_work_is_waited_for(shop: World, door: Door) -> None:
    """While an execution holds the lease of the due period, the event waits, and nothing is charged twice."""
    shop.edit(renewal_date="2026-01-31")
    _saved(door)
    # Cut right after the confirmation, so that the lease of the claim lives on.
    quiet = shop.copies()()
    quiet.renew("cut", door.now)
    shop.cuts.at = 2 * quiet.cuts.calls.index("gateway.confirm") + 1
    with pytest.raises(Cut):
        shop.renew("cut", door.now)
    door.now += timedelta(seconds=5)
    _post(door)
    door.later(timedelta(hours=5))
    assert (shop.row()["payment_method"], len(shop.gateway.charges), door.queue.dead) == ("pm_new", 1, [])
    assert shop.items()["2026-01-31"]["status"] == "done"


def test_an_old_event_undoes_no_newer_card(door: Door) -> None:
    """A late event of a session changes nothing after the API has set a different card."""
    _saved(door)
    card = {"payment_method": "pm_by_api"}
    asked = AskedBy("ann", NOON + LATER)
    door.register.act(door.world.row(), Action.GIVE_CARD, NOON.date(), asked, card)
    door.now += timedelta(days=3)
    _post(door)
    assert (door.world.row()["payment_method"], door.queue.hidden, door.queue.dead) == ("pm_by_api", 0, [])


@pytest.mark.parametrize(
    "mark", [{"deployment": "shop-dev"}, {"deployment": ""}, {"subscription_id": ""}, {"subscription_id": "sub_9"}]
)
def test_a_session_of_somebody_else_is_passed_over(door: Door, mark: dict[str, str]) -> None:
    """A session of a different deployment or system, or of an unknown subscription, is passed over, without a call of
    the gateway."""
    session = _saved(door)
    about = door.world.gateway.events[-1]["data"]["object"]
    about["metadata"] = {name: value for name, value in {**about["metadata"], **mark}.items() if value}
    before = len(door.world.cuts.calls)
    _post(door)
    assert "gateway.card_session" not in door.world.cuts.calls[before:]
    assert (door.world.row()["payment_method"], door.queue.hidden, door.queue.dead) == ("pm_ok", 0, [])
    assert session in door.world.gateway.sessions


def test_a_forged_event_sets_no_card(door: Door) -> None:
    """An event is a hint: a session that the gateway calls open, or that belongs to a different subscription, sets no
    card, whatever the event says."""
    first, second = _saved(door, "pm_1"), _saved(door, "pm_2")
    gateway = door.world.gateway
    foreign = dict(gateway.sessions[second].metadata) | {"subscription_id": "sub_2"}
    gateway.sessions[second] = replace(gateway.sessions[second], metadata=foreign)
    gateway.events = [each for each in gateway.events if each["data"]["object"]["id"] == second]
    _post(door)
    assert door.world.row()["payment_method"] == "pm_ok"
    assert gateway.sessions[first].saved is not None


def test_a_canceled_subscription_gets_no_card(door: Door) -> None:
    """A customer who cancels after saving a card keeps the canceled subscription as the subscription was."""
    _saved(door)
    door.world.edit(status="canceled")
    _post(door)
    assert (door.world.row()["payment_method"], door.ran, door.queue.dead) == ("pm_ok", [], [])


def test_an_outage_of_the_gateway_is_waited_out(door: Door) -> None:
    """While the gateway gives no answer, or turns the key away, the event comes back, and the card is set in the
    end."""
    _saved(door)
    door.world.gateway.trouble = [("card_session", "before")]
    _post(door)
    assert (door.world.row()["payment_method"], door.queue.hidden) == ("pm_ok", 1)
    door.later(timedelta(minutes=5))
    assert (door.world.row()["payment_method"], door.queue.hidden, door.queue.dead) == ("pm_new", 0, [])


def test_an_event_that_never_arrives_is_found_at_night(door: Door) -> None:
    """The nightly catch-up finds the event of a session that reached nobody, and the card is set."""
    door.catch_up()
    door.now += timedelta(days=1)
    door.world.gateway.now = door.now
    _saved(door)
    door.now += timedelta(hours=12)
    door.catch_up()
    door.work()
    assert door.world.row()["payment_method"] == "pm_new"


def _calls() -> int:
    forget_secrets()
    door = Door(World())
    door.world.subscribe(renewal_date="2026-01-31", payment_method="pm_declined")
    door.world.run("first")
    door.now = NOON + LATER
    _saved(door)
    before = len(door.world.cuts.calls)
    _post(door)
    return len(door.world.cuts.calls) - before


@pytest.mark.parametrize("point", range(2 * _calls()))
def test_the_work_on_an_event_may_be_cut_at_any_point(shop: World, door: Door, point: int) -> None:
    """If the work on the event ends before or after any call, the queue delivers the event again: the new card is set
    once, and charged once."""
    shop.edit(renewal_date="2026-01-31", payment_method="pm_declined")
    shop.run("first")
    door.now = NOON + LATER
    _saved(door)
    shop.cuts.at = 2 * len(shop.cuts.calls) + point
    try:
        _post(door)
    except Cut:
        door.queue.move_clock((door.now - NOON).total_seconds() + 3600)
    door.later(timedelta(hours=10))
    shop.run("sweep", door.now)
    assert [card for _, card in shop.gateway.attempts][:2] == ["pm_declined", "pm_new"]
    assert (len(shop.gateway.charges), _records(door), door.queue.dead) == (1, 1, [])
