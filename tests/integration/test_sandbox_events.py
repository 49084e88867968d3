"""The sandbox gateway tells of payments, refunds, disputes and cards by events, as faithfully and as carelessly as
Stripe.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import stripe

from local.gateway import Gateway, SandboxError, official_client
from local.gateway.events import API_VERSION
from tests.sandbox import SECRET, Receiver, eventually, receiving, serving

INTENT: Any = {"amount": 2999, "currency": "usd", "allowed_payment_method_types": ["card"]}
AWAY: Any = {"off_session": True}


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with serving() as running:
        yield running


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as listening:
        yield listening


@pytest.fixture
def v1(gateway: Gateway) -> Any:
    return official_client(gateway.url, gateway.api_key, max_network_retries=0).v1


def _pay(v1: Any, card: str = "visa", **more: Any) -> Any:
    return v1.payment_intents.create(INTENT | {"payment_method": f"pm_card_{card}", "confirm": True} | more)


def _types(v1: Any, **query: Any) -> list[str]:
    """Return the types of all events, oldest first."""
    return [event.type for event in reversed(v1.events.list({"limit": 100, **query}).data)]


def _saved(v1: Any, card: str) -> tuple[str, str]:
    customer = v1.customers.create({"name": "Ann"}).id
    return customer, v1.payment_methods.attach(f"pm_card_{card}", {"customer": customer}).id


def _confirm(v1: Any, card: str) -> Any:
    customer, method = _saved(v1, card)
    made = v1.payment_intents.create(INTENT | {"customer": customer, "metadata": {"deployment": "ours"}})
    return v1.payment_intents.confirm(made.id, AWAY | {"payment_method": method})


def _paid(_gateway: Gateway, v1: Any) -> None:
    _confirm(v1, "visa")


def _declined(_gateway: Gateway, v1: Any) -> None:
    with pytest.raises(stripe.CardError):
        _confirm(v1, "chargeCustomerFail")


def _canceled(_gateway: Gateway, v1: Any) -> None:
    v1.payment_intents.cancel(v1.payment_intents.create(INTENT).id)


def _lapsed(_gateway: Gateway, v1: Any) -> None:
    customer, method = _saved(v1, "chargeCustomerFail")
    made = v1.payment_intents.create(INTENT | {"customer": customer}).id
    for _ in range(10):
        with pytest.raises(stripe.CardError):
            v1.payment_intents.confirm(made, AWAY | {"payment_method": method})


def _settled(gateway: Gateway, v1: Any) -> None:
    gateway.sandbox.settle(_confirm(v1, "in").id)


def _refused_by_the_bank(gateway: Gateway, v1: Any) -> None:
    gateway.sandbox.settle(_confirm(v1, "in").id, "failed")


def _confirmed_at_the_bank(gateway: Gateway, v1: Any) -> None:
    with pytest.raises(stripe.CardError):
        _confirm(v1, "authenticationRequired")
    gateway.sandbox.authenticate(v1.payment_intents.list().data[0].id)


def _failed_at_the_bank(gateway: Gateway, v1: Any) -> None:
    intent = _pay(v1, "authenticationRequired")
    gateway.sandbox.authenticate(intent.id, "failed")


CREATED, SUCCEEDED, FAILED = (f"payment_intent.{what}" for what in ("created", "succeeded", "payment_failed"))
PAYMENTS: dict[str, tuple[Callable[[Gateway, Any], None], list[str]]] = {
    "paid": (_paid, [CREATED, SUCCEEDED]),
    "declined": (_declined, [CREATED, FAILED]),
    "canceled": (_canceled, [CREATED, "payment_intent.canceled"]),
    "lapsed": (_lapsed, [CREATED, *[FAILED] * 10, "payment_intent.canceled"]),
    "settled": (_settled, [CREATED, "payment_intent.processing", SUCCEEDED]),
    "refused by the bank": (_refused_by_the_bank, [CREATED, "payment_intent.processing", FAILED]),
    "confirmed at the bank": (_confirmed_at_the_bank, [CREATED, FAILED, SUCCEEDED]),
    "failed at the bank": (_failed_at_the_bank, [CREATED, "payment_intent.requires_action", FAILED]),
}


@pytest.mark.parametrize("story", PAYMENTS)
def test_every_step_of_a_payment_is_an_event(gateway: Gateway, v1: Any, story: str) -> None:
    """Each change of a payment's status makes an event of its own, in the order of the changes."""
    happens, types = PAYMENTS[story]
    happens(gateway, v1)
    assert _types(v1, type="payment_intent.*") == types


def test_an_event_has_stripes_shape(v1: Any) -> None:
    """An event names the type, the API version and the request behind the change, and is found by id."""
    made = v1.payment_intents.create(INTENT, {"idempotency_key": "sub_1/2026-01-31/1"})
    [event] = v1.events.list().data
    assert event.id.startswith("evt_")
    assert (event.object, event.type, event.livemode) == ("event", CREATED, False)
    assert event.api_version == API_VERSION == stripe.api_version
    assert event.request.to_dict() == {
        "id": made.last_response.request_id,
        "idempotency_key": "sub_1/2026-01-31/1",
    }
    assert event.data.object.to_dict() == made.to_dict()
    assert v1.events.retrieve(event.id).to_dict() == event.to_dict()


def test_a_change_without_a_request_names_no_request(gateway: Gateway, v1: Any) -> None:
    """Changes by the bank or in the dashboard name no request, and no idempotency key."""
    gateway.sandbox.settle(_confirm(v1, "in").id)
    assert v1.events.list().data[0].request.to_dict() == {"id": None, "idempotency_key": None}


def test_an_event_keeps_the_object_as_the_object_was(v1: Any) -> None:
    """A later change of the object leaves the event as the event was made."""
    _confirm(v1, "visa")
    first = v1.events.list({"type": CREATED}).data[0]
    assert (first.data.object.status, first.data.object.latest_charge) == ("requires_payment_method", None)


def test_a_repeated_request_makes_no_second_event(v1: Any) -> None:
    """The stored answer under an idempotency key is repeated without an event."""
    for _ in range(2):
        _pay(v1, "visa", payment_method="pm_card_visa")
    for _ in range(2):
        v1.payment_intents.create(INTENT, {"idempotency_key": "once"})
    assert _types(v1) == [CREATED, SUCCEEDED, CREATED, SUCCEEDED, CREATED]


def test_a_lost_answer_still_makes_an_event(gateway: Gateway, v1: Any) -> None:
    """A payment makes an event even if the answer to the request is lost, or is a 500."""
    for mode in ("500_after", "drop_after"):
        gateway.sandbox.hostile(mode, "payment_intents.create")
        with pytest.raises((stripe.APIError, stripe.APIConnectionError)):
            _pay(v1)
    assert _types(v1, type=SUCCEEDED) == [SUCCEEDED] * 2


def test_events_are_listed_by_type_time_and_page(gateway: Gateway, v1: Any) -> None:
    """The list of events is newest first, is filtered by types and time, and is paged."""
    start = gateway.sandbox.clock()
    _pay(v1)
    gateway.sandbox.set_clock(start + 86400)
    _pay(v1)
    assert _types(v1) == [CREATED, SUCCEEDED] * 2
    assert _types(v1, types=[SUCCEEDED, "refund.created"]) == [SUCCEEDED] * 2
    assert _types(v1, created={"gte": start + 86400}) == [CREATED, SUCCEEDED]
    first = v1.events.list({"limit": 3})
    rest = v1.events.list({"limit": 3, "starting_after": first.data[-1].id})
    assert (first.has_more, rest.has_more) == (True, False)
    assert [event.type for event in [*first.data, *rest.data]] == [SUCCEEDED, CREATED] * 2
    for wrong in ({"type": SUCCEEDED, "types": [SUCCEEDED]}, {"types": [f"a.{i}" for i in range(21)]}):
        with pytest.raises(stripe.InvalidRequestError):
            v1.events.list(wrong)


def test_events_are_listed_for_thirty_days(gateway: Gateway, v1: Any) -> None:
    """An event that is 30 days old is neither listed nor found."""
    _pay(v1)
    event = v1.events.list().data[0].id
    gateway.sandbox.set_clock(gateway.sandbox.clock() + 30 * 86400 + 1)
    assert v1.events.list().data == []
    with pytest.raises(stripe.InvalidRequestError) as refused:
        v1.events.retrieve(event)
    assert (refused.value.http_status, refused.value.code) == (404, "resource_missing")


def test_events_of_the_future_are_not_listed(gateway: Gateway, v1: Any) -> None:
    """If the clock is set back, an event of a later time is not listed before that time: several simulated years can
    follow each other on one sandbox.
    """
    _pay(v1)
    listed = v1.events.list().data
    now = gateway.sandbox.clock()
    gateway.sandbox.set_clock(now - 86400)
    assert v1.events.list().data == []
    gateway.sandbox.set_clock(now + 1)
    assert v1.events.list().data == listed


def test_events_arrive_signed_and_in_order(gateway: Gateway, v1: Any, receiver: Receiver) -> None:
    """Events arrive in the order of the changes, each under a signature that the official SDK accepts, and count as
    delivered.
    """
    gateway.sandbox.send_events(receiver.url, SECRET)
    for _ in range(5):
        _pay(v1, metadata={"name": "Łukasz"})
    assert receiver.types(10) == [CREATED, SUCCEEDED] * 5
    first = receiver.events(10)[0]
    assert (first.pending_webhooks, first.data.object.metadata.name) == (1, "Łukasz")
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(*receiver.requests[0], "whsec_other")
    _settle_down(gateway)
    assert _types(v1, delivery_success=False) == []
    assert v1.events.list().data[0].pending_webhooks == 0


def _settle_down(gateway: Gateway) -> list[dict[str, Any]]:
    """Wait until no delivery is open. Returns the tries."""
    eventually(lambda: not gateway.sandbox.deliveries()["open"])
    tries: list[dict[str, Any]] = gateway.sandbox.deliveries()["tries"]
    return tries


def test_a_rotated_secret_signs_twice(gateway: Gateway, v1: Any, receiver: Receiver) -> None:
    """While a secret is rotated, the old secret and the new secret both verify an event."""
    gateway.sandbox.send_events(receiver.url, "whsec_new", previous=SECRET)
    v1.payment_intents.create(INTENT)
    [event] = receiver.events(1)
    assert stripe.Webhook.construct_event(*receiver.requests[0], "whsec_new").id == event.id


def test_only_enabled_types_are_sent(gateway: Gateway, v1: Any, receiver: Receiver) -> None:
    """A webhook receives the types that the webhook has enabled, and the list of events has all of them."""
    gateway.sandbox.send_events(receiver.url, SECRET, enabled_events=["payment_intent.succeeded", "refund.*"])
    v1.refunds.create({"payment_intent": _pay(v1).id})
    assert receiver.types(2) == [SUCCEEDED, "refund.created"]
    assert _types(v1) == [CREATED, SUCCEEDED, "refund.created"]


def test_a_slow_receiver_does_not_hold_up_answers(gateway: Gateway, v1: Any, receiver: Receiver) -> None:
    """The gateway answers while a receiver keeps an event waiting; the next event in order waits for the first."""
    receiver.open.clear()
    gateway.sandbox.send_events(receiver.url, SECRET)
    for _ in range(3):
        v1.payment_intents.create(INTENT)
    receiver.events(1)
    assert len(v1.payment_intents.list().data) == 3
    assert len(receiver.requests) == 1
    receiver.open.set()
    assert len(receiver.events(3)) == 3


def test_events_can_arrive_twice(gateway: Gateway, v1: Any, receiver: Receiver) -> None:
    """A doubled event arrives twice under the same id."""
    gateway.sandbox.send_events(receiver.url, SECRET, "doubled")
    v1.payment_intents.create(INTENT)
    first, second = receiver.events(2)
    assert first.id == second.id


def test_events_can_overtake_each_other(gateway: Gateway, v1: Any, receiver: Receiver) -> None:
    """Shuffled events all arrive, in a different order."""
    gateway.sandbox.send_events(receiver.url, SECRET, "shuffled", seconds=0.5, seed=1)
    made = [v1.payment_intents.create(INTENT).id for _ in range(8)]
    arrived = [event.data.object.id for event in receiver.events(8)]
    assert arrived != made
    assert sorted(arrived) == sorted(made)


def test_events_can_be_late(gateway: Gateway, v1: Any, receiver: Receiver) -> None:
    """A late event arrives when its lateness has passed on the sandbox's clock, with the moment of the change."""
    gateway.sandbox.send_events(receiver.url, SECRET, "late", seconds=7 * 86400)
    v1.payment_intents.create(INTENT)
    changed = gateway.sandbox.clock()
    assert receiver.events(1, wait=0.2) == []
    gateway.sandbox.set_clock(changed + 7 * 86400 + 1)
    [event] = receiver.events(1)
    assert changed - 5 <= event.created <= changed


def test_events_can_get_lost(gateway: Gateway, v1: Any, receiver: Receiver) -> None:
    """An event that is never sent stands in the list of events that were not delivered, and can be sent by hand."""
    gateway.sandbox.send_events(receiver.url, SECRET, "never")
    _pay(v1)
    assert receiver.events(1, wait=0.2) == []
    assert _types(v1, delivery_success=False) == [CREATED, SUCCEEDED]
    gateway.sandbox.send_event(v1.events.list().data[0].id)
    assert receiver.types(1) == [SUCCEEDED]
    _settle_down(gateway)
    assert _types(v1, delivery_success=False) == [CREATED]


def test_every_event_draws_its_way(gateway: Gateway, v1: Any, receiver: Receiver) -> None:
    """With several modes, the seed decides the mode of each event."""
    gateway.sandbox.send_events(receiver.url, SECRET, "doubled", "never", "in_order", seed=3)
    made = {v1.payment_intents.create(INTENT).id for _ in range(12)}
    _settle_down(gateway)
    arrived = [event.data.object.id for event in receiver.events(1)]
    times = {arrived.count(identity) for identity in made}
    assert times == {0, 1, 2}
    sent = gateway.sandbox.deliveries()
    assert (sum(sent["drawn"].values()), sent["due"]) == (12, 0)
    assert sent["tried"] == sent["drawn"]["in_order"] + 2 * sent["drawn"]["doubled"] == len(arrived)


@pytest.mark.parametrize("status", [302, 400, 500])
def test_a_refused_event_is_sent_again(gateway: Gateway, v1: Any, receiver: Receiver, status: int) -> None:
    """An answer that is not 2xx is followed by further tries with growing pauses, under fresh signatures, until the
    receiver takes the event.
    """
    receiver.statuses = [status, status]
    gateway.sandbox.send_events(receiver.url, SECRET)
    v1.payment_intents.create(INTENT)
    for number, pause in enumerate((5, 60), start=1):
        assert len(receiver.events(number)) == number
        assert _types(v1, delivery_success=False) == [CREATED]
        _wait_for_tries(gateway, number)
        gateway.sandbox.set_clock(gateway.sandbox.clock() + pause + 1)
    assert len({event.id for event in receiver.events(3)}) == 1
    assert [each["status"] for each in _settle_down(gateway)] == [status, status, 200]
    assert _types(v1, delivery_success=False) == []


def _wait_for_tries(gateway: Gateway, count: int) -> None:
    eventually(lambda: len(gateway.sandbox.deliveries()["tries"]) >= count)


def test_the_tries_end_after_three_days(gateway: Gateway, v1: Any, receiver: Receiver) -> None:
    """A refused event is sent again for three days, and then no more."""
    receiver.statuses = [500] * 20
    gateway.sandbox.send_events(receiver.url, SECRET)
    v1.payment_intents.create(INTENT)
    start = gateway.sandbox.clock()
    for number in range(1, 12):
        _wait_for_tries(gateway, min(number, 10))
        gateway.sandbox.set_clock(gateway.sandbox.clock() + 86401)
    tries = _settle_down(gateway)
    assert [each["status"] for each in tries] == [500] * 10
    assert gateway.sandbox.clock() > start + 3 * 86400
    assert _types(v1, delivery_success=False) == [CREATED]


def test_a_receiver_that_is_not_there_is_tried_again(gateway: Gateway, v1: Any) -> None:
    """A closed port counts as a failed try, and a webhook that is set again receives the event."""
    with receiving() as gone:
        url = gone.url
    gateway.sandbox.send_events(url, SECRET)
    v1.payment_intents.create(INTENT)
    _wait_for_tries(gateway, 1)
    with receiving() as back:
        gateway.sandbox.send_events(back.url, SECRET)
        gateway.sandbox.set_clock(gateway.sandbox.clock() + 6)
        assert back.types(1) == [CREATED]
    assert gateway.sandbox.deliveries()["tries"][0]["status"] is None


def test_a_payment_that_settles_by_itself_is_told(gateway: Gateway, v1: Any, receiver: Receiver) -> None:
    """A payment in processing ends by the clock alone, and the event is sent without a further request."""
    gateway.sandbox.send_events(receiver.url, SECRET, enabled_events=[SUCCEEDED])
    _confirm(v1, "in")
    gateway.sandbox.set_clock(gateway.sandbox.clock() + 26 * 3600 + 1)
    assert receiver.types(1) == [SUCCEEDED]


@pytest.mark.parametrize(
    "wrong",
    [{"url": "https://example.com"}, {"secret": "plain"}, {"modes": ["sideways"]}, {"modes": []}, {"colour": "red"}],
)
def test_a_wrong_webhook_is_refused(gateway: Gateway, wrong: dict[str, Any]) -> None:
    """A webhook with an unusable address, secret, mode or setting is refused."""
    asked: dict[str, Any] = {"url": "http://127.0.0.1:9/", "secret": SECRET, **wrong}
    with pytest.raises(SandboxError):
        gateway.sandbox._call("POST", "/webhook", asked)


def test_a_card_is_detached_without_its_customer(gateway: Gateway, v1: Any) -> None:
    """The event of a detached card no longer names the customer."""
    _, method = _saved(v1, "visa")
    v1.payment_methods.detach(method)
    event = v1.events.list().data[0]
    assert (event.type, event.data.object.id) == ("payment_method.detached", method)
    assert event.data.object.customer is None
    assert not hasattr(event.data, "previous_attributes")


def test_a_renewed_card_is_told_with_its_old_details(gateway: Gateway, v1: Any) -> None:
    """An automatic card update changes the saved card, and the event has the earlier values."""
    _, method = _saved(v1, "visa")
    before = v1.payment_methods.retrieve(method).card.exp_year
    gateway.sandbox.update_card_automatically(method, exp_year=2040, last4="1881")
    event = v1.events.list().data[0]
    assert event.type == "payment_method.automatically_updated"
    assert event.data.previous_attributes.to_dict() == {"card": {"exp_year": before, "last4": "4242"}}
    assert v1.payment_methods.retrieve(method).card.last4 == "1881"
