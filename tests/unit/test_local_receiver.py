"""The application of the local stack, which hears events in `make demo` and in `make simulate`."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from event_deliverer.posting import NotDelivered, post
from event_deliverer.signing import Signer
from local.receiver import Receiver
from local.stack import free_port
from tests.fake_receiver import SECRET
from tests.streams import Json

FORGED = "whsec_Zm9yZ2VkIGtleQ=="


@pytest.fixture
def told() -> list[Json]:
    return []


@pytest.fixture
def receiver(told: list[Json]) -> Iterator[Receiver]:
    with Receiver(free_port(), says=told.append) as receiver:
        yield receiver


def _secrets(secret: str) -> Any:
    return SimpleNamespace(get_secret_value=lambda **_: {"SecretString": json.dumps({"signing": secret})})


def _listens(receiver: Receiver) -> None:
    stack: Any = SimpleNamespace(client=lambda _: _secrets(SECRET), outputs={"EventsSecretArn": "arn"})
    receiver.listen_to(stack)


def _post(receiver: Receiver, sequence: int, status: str | None = None, until: str = "", secret: str = SECRET) -> str:
    """Post an event as the deliverer does, and return what the deliverer makes of the answer."""
    event = {"id": f"evt_{sequence}", "type": "subscription.updated" if status else "renewal.paid"}
    event |= {"subscription_id": "sub_1", "sequence": sequence, "entitled_until": until}  # type: ignore[dict-item]
    body = json.dumps(event | {"data": {"status": status} if status else {}})
    headers = Signer(_secrets(secret), "arn").headers(event["id"], body, datetime.now(UTC))
    try:
        post(receiver.url, body.encode(), headers, may_be_local=True)
    except NotDelivered as why:
        return str(why)
    return "delivered"


def test_each_event_is_handled_once_and_the_latest_stands(receiver: Receiver, told: list[Json]) -> None:
    """Events in any order and repetition are handled once each, and the application keeps the status and the
    entitlement of the event with the highest sequence."""
    _listens(receiver)
    for sequence, status, until in [(2, "paused", "b"), (1, "active", "a"), (3, None, "c"), (2, "paused", "b")]:
        assert _post(receiver, sequence, status, until) == "delivered"
    heard = receiver.heard["sub_1"]
    assert (heard.status, heard.entitled_until) == ("paused", "c")
    assert [event["id"] for event in told] == [event["id"] for event in heard.events] == ["evt_2", "evt_1", "evt_3"]
    assert receiver.times == {"evt_1": 1, "evt_2": 2, "evt_3": 1}


def test_a_receiver_that_is_down_hears_nothing(receiver: Receiver) -> None:
    """Without the secret, and while the receiver is down, an event is answered 500 and not handled; a forged event is
    answered 400."""
    assert _post(receiver, 1) == "status_500"
    _listens(receiver)
    receiver.is_down = True
    assert _post(receiver, 1) == "status_500"
    receiver.is_down = False
    assert _post(receiver, 1, secret=FORGED) == "status_400"
    assert (receiver.heard, receiver.refused) == ({}, 2)
