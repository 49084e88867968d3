"""Events of the gateway about cards: a customer whose card was detached is asked for a new card once, and nobody else
is mailed."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import cycle
from typing import Any

import pytest

from renewals.domain.request import Asks
from tests.door import Door, forget_secrets
from tests.fake_aws import error
from tests.fakes import World

PERIOD = "2026-01-31"
NEAR, FAR = datetime(2026, 1, 26, 12, tzinfo=UTC), datetime(2026, 1, 10, 12, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def door(shop: World) -> Iterator[Door]:
    forget_secrets()
    shop.subscribe(known_card={"payment_method": "pm_ok", "name": "Visa ending in 4242", "expires": "2030-12"})
    yield Door(shop, NEAR)
    forget_secrets()


def _post(door: Door) -> None:
    for event in door.world.gateway.events:
        assert door.post(event) == 200
    door.work()


def _sweep(door: Door) -> None:
    """Play the nightly scan, which has reminders mailed."""
    door.world.remind(f"scan-{door.now:%d}", door.now)


def _asked(door: Door) -> list[str]:
    return [str(mail["Subject"]) for mail in door.world.mails()]


ASKED = ["Please update your card for Pro before 31 January 2026"]


def _once(door: Door) -> None:
    _post(door)


def _doubled(door: Door) -> None:
    _post(door)
    _post(door)


def _a_day_late(door: Door) -> None:
    _sweep(door)
    door.now += DAY
    _post(door)


@pytest.mark.parametrize("way", [_once, _doubled, _a_day_late])
def test_a_customer_whose_card_was_detached_is_asked_once(door: Door, way: Callable[[Door], None]) -> None:
    """However often and late the event comes, the customer is asked once to update the payment method, before the
    renewal."""
    door.world.gateway.detach("pm_ok")
    way(door)
    assert _asked(door) == ASKED
    assert door.ran[0][0]["event_type"] == Asks.REMIND
    assert (len(door.ran), door.queue.hidden, door.queue.dead) == (1, 0, [])
    for _ in range(2):
        door.now += DAY
        _sweep(door)
    assert _asked(door) == ASKED


def test_a_renewal_that_is_far_is_reminded_of_when_it_is_near(door: Door) -> None:
    """Three weeks before the renewal nobody is mailed yet: the row says that the card is detached, and the nightly scan
    has the reminder mailed as soon as the renewal is near."""
    door.now = FAR
    door.world.gateway.detach("pm_ok")
    _post(door)
    assert (_asked(door), door.world.row()["known_card"]["is_detached"]) == ([], True)
    door.now = NEAR
    _sweep(door)
    assert _asked(door) == ASKED


def test_without_the_event_the_declined_payment_asks(door: Door) -> None:
    """The event never comes: the payment is declined on the due date, and the mail of the decline asks for a new
    card."""
    door.world.gateway.detach("pm_ok")
    door.now = datetime(2026, 1, 31, 12, tzinfo=UTC)
    door.world.run("due", door.now)
    assert door.world.mail_kinds() == ["payment_failed"]


def test_a_customer_who_has_a_new_card_already_hears_nothing(door: Door) -> None:
    """The customer's new card was set before the old card was detached, and the index still shows the old card: nobody
    is mailed, and nothing runs."""
    door.world.dynamodb.query(  # the index as it was
        TableName="subscriptions",
        IndexName="payment-method-index",
        KeyConditionExpression="payment_method = :method",
        ExpressionAttributeValues={":method": {"S": "pm_ok"}},
        Limit=1,
    )
    stale = dict(door.world.dynamodb._indexed)
    door.world.edit(payment_method="pm_new")
    door.world.dynamodb._indexed = stale
    door.world.gateway.detach("pm_ok")
    _post(door)
    assert (door.ran, _asked(door), door.queue.hidden) == ([], [], 0)


@pytest.mark.parametrize("state", ["canceled", "paused", "past_due", "unpaid"])
def test_a_subscription_that_is_not_renewed_is_not_mailed(door: Door, state: str) -> None:
    """The customer of a subscription that is over, paused or in dunning gets no reminder because of the event."""
    door.world.edit(status=state)
    door.world.gateway.detach("pm_ok")
    _post(door)
    assert (_asked(door), door.queue.hidden, door.queue.dead) == ([], 0, [])


def test_each_subscription_with_the_card_is_told(door: Door) -> None:
    """A card pays two subscriptions, and somebody broke a third by hand: the customer is asked for each of the two."""
    door.world.subscribe(subscription_id="sub_2", plan="Max")
    door.world.subscribe(subscription_id="sub_3", amount="much")
    door.world.gateway.detach("pm_ok")
    _post(door)
    assert sorted(_asked(door)) == ["Please update your card for Max before 31 January 2026", *ASKED]


def test_an_event_of_a_card_that_lies_mails_nobody(door: Door) -> None:
    """An event says that a card was detached, and the gateway says otherwise: nobody is mailed. A card of nobody is
    passed over."""
    for card in ("pm_ok", "pm_of_nobody"):
        door.world.gateway.detach(card)
    door.world.gateway.detached.clear()
    _post(door)
    assert (_asked(door), door.queue.hidden, door.queue.dead) == ([], 0, [])
    assert "is_detached" not in door.world.row()["known_card"]


def test_an_event_of_a_card_causes_no_other_reminder(door: Door) -> None:
    """A yearly renewal is near, and its reminder is owed. An event says that the card was detached, and the gateway
    says otherwise: nobody is mailed before the nightly scan. If the card is detached, the event has only the card's
    reminder mailed."""
    door.world.edit(interval="year")
    door.world.gateway.detach("pm_ok")
    door.world.gateway.detached.clear()
    _post(door)
    assert _asked(door) == []
    door.world.gateway.detach("pm_ok")
    _post(door)
    assert _asked(door) == ASKED
    _sweep(door)
    assert len(_asked(door)) == 2


def _detach_during(door: Door, call: str) -> None:
    """The card is detached, and the event is handled, while the charge waits for the gateway's answer to a call."""
    gateway = door.world.gateway
    answer = getattr(gateway, call)

    def answered(*asked: Any) -> Any:
        payment = answer(*asked)
        if "pm_ok" not in gateway.detached:
            gateway.detach("pm_ok")
            _post(door)
        return payment

    setattr(gateway, call, answered)


@pytest.mark.parametrize("way", ["before the record", "during the charge"])
def test_a_payment_by_the_card_leaves_the_note_about_the_card(door: Door, way: str) -> None:
    """The card is detached before its successful payment is recorded. The row still says that the card is detached, and
    the customer is asked for a new card before the next renewal."""
    world, door.now = door.world, datetime(2026, 1, 31, 12, tzinfo=UTC)
    if way == "before the record":
        copied = world.copies()()
        copied.run("first", door.now)
        world.cuts.at = 2 * copied.cuts.calls.index("gateway.confirm") + 1
        assert world.run("first", door.now) != "Success"
        door.now += HOUR
        world.gateway.detach("pm_ok")
        assert door.post(world.gateway.events[-1]) == 200  # the payment's own event is lost
        door.work()
    else:
        _detach_during(door, "confirm")
    assert world.run("second", door.now) == "Success"
    door.later(HOUR)
    assert (world.mail_kinds(), world.row()["known_card"].get("is_detached")) == (["receipt"], True)
    door.now = datetime(2026, 2, 25, 12, tzinfo=UTC)
    _sweep(door)
    assert _asked(door)[1:] == ["Please update your card for Pro before 28 February 2026"]


def test_a_mail_that_failed_is_tried_again_by_the_event(door: Door) -> None:
    """The row says that the card is detached, and SES refuses the mail: the event comes back, and the customer is asked
    on the same day."""
    door.world.gateway.detach("pm_ok")
    door.world.ses.trouble = [error("Throttling", "SendRawEmail")]
    _post(door)
    assert (_asked(door), door.world.row()["known_card"]["is_detached"]) == ([], True)
    door.now += HOUR
    door.queue.move_clock(10_000)
    door.work()
    assert (_asked(door), door.queue.hidden, door.queue.dead) == (ASKED, 0, [])


def _time_for_one_run(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Give each delivery of an event time for one run of the workflow. Return the times that are still to come."""
    left = cycle([240, 200])  # before the first run of a delivery, and after this run
    monkeypatch.setattr(Door, "seconds_left", lambda _: next(left))
    return left


def test_a_card_of_many_subscriptions_is_told_over_several_deliveries(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A card pays four subscriptions, and each delivery of the event has time for one run: the event comes back at
    once, goes on with the next subscription, and each customer is asked once."""
    for n in (2, 3, 4):
        door.world.subscribe(subscription_id=f"sub_{n}")
    left = _time_for_one_run(monkeypatch)
    door.world.gateway.detach("pm_ok")
    _post(door)
    assert (_asked(door), len(door.ran), door.queue.hidden, door.queue.dead) == (ASKED * 4, 4, 0, [])
    assert next(left) == 200  # four deliveries: the last delivery ended after its run


def test_a_failure_loses_no_event(door: Door) -> None:
    """The gateway does not answer: the event comes back, and the customer is asked once."""
    door.world.gateway.detach("pm_ok")
    door.world.gateway.trouble.append(("card", "before"))
    _post(door)
    assert (_asked(door), door.queue.hidden) == ([], 1)
    door.now += HOUR
    door.queue.move_clock(10_000)
    door.work()
    assert (_asked(door), door.queue.hidden, door.queue.dead) == (ASKED, 0, [])


def test_the_event_holds_no_personal_data(door: Door) -> None:
    """The message in the queue names the card, and neither the customer nor an address."""
    door.world.gateway.detach("pm_ok")
    [event] = door.world.gateway.events
    assert door.post(event) == 200
    [body] = door.queue.bodies
    expected: dict[str, Any] = {"type": "payment_method.detached", "object": "pm_ok"}
    assert all(f'"{name}": "{value}"' in body for name, value in expected.items())
    assert "private" not in body


def test_a_row_that_cannot_be_reminded_holds_up_no_other_row(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rows of one subscription have the card, and the record of a reminder on the row of another subscription
    cannot be read. Each delivery of the event has time for one run: no run is spent on these rows, and the customers of
    the rows behind are asked."""
    door.world.edit(reminder_card_expires="sent")
    for customer in ("cus_1", "cus_2"):
        door.world.subscribe(subscription_id="sub_2", customer_id=customer, plan="Max")
    for n in (3, 4):
        door.world.subscribe(subscription_id=f"sub_{n}")
    _time_for_one_run(monkeypatch)
    door.world.gateway.detach("pm_ok")
    _post(door)
    assert (_asked(door), len(door.ran), door.queue.hidden, door.queue.dead) == (ASKED * 2, 2, 0, [])


def test_rows_whose_mail_fails_wait_behind_rows_without_the_note(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mail to the first customer fails time after time, and each delivery of the event has time for one run: the
    customers of the other rows are asked before the mail is tried again."""
    door.world.subscribe(subscription_id="sub_2")
    door.world.subscribe(subscription_id="sub_3")
    door.world.gateway.detach("pm_ok")
    door.world.edit(known_card={**door.world.row()["known_card"], "is_detached": True})
    _time_for_one_run(monkeypatch)
    _post(door)
    assert [request["subscription_id"] for request, _ in door.ran] == ["sub_2", "sub_3", "sub_1"]
    assert (_asked(door), door.queue.hidden) == (ASKED * 3, 0)


@pytest.mark.parametrize("card", ["pm_ok", "pm_gone"])
def test_a_card_that_the_gateway_does_not_call_detached_runs_nothing(door: Door, card: str) -> None:
    """A card pays three subscriptions, an event says that the card was detached, and the gateway says otherwise or
    knows no such card: the gateway is asked once, and no workflow runs for any of the subscriptions."""
    door.world.edit(payment_method=card)
    for n in (2, 3):
        door.world.subscribe(subscription_id=f"sub_{n}", payment_method=card)
    door.world.gateway.detach(card)
    door.world.gateway.detached.clear()
    before = len(door.world.cuts.calls)
    _post(door)
    assert (door.ran, door.queue.hidden, door.queue.dead) == ([], 0, [])
    assert [call for call in door.world.cuts.calls[before:] if call.startswith("gateway.")] == ["gateway.card"]
