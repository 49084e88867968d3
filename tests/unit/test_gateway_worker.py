"""Events of the gateway about payments: whatever happens to an event, ledger and mails end in the same right state."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from gateway_worker.handlers import HANDLERS
from renewals.domain.gateway_event import EventType
from tests.door import Door, forget_secrets
from tests.fakes import World

LEASE = timedelta(minutes=1)
"""Longer than a lease, and longer than the wait of an event that met the lease."""


@pytest.fixture
def door(shop: World) -> Iterator[Door]:
    forget_secrets()
    yield Door(shop)
    forget_secrets()


def _deliver_all(door: Door) -> None:
    """Post each event that the gateway has emitted, and act on it."""
    for event in door.world.gateway.events:
        assert door.post(event) == 200
    door.work()


def test_each_type_of_event_has_a_handler() -> None:
    """Every type of event that the door takes has a row in the worker's table."""
    assert HANDLERS.keys() == set(EventType)


def test_a_payment_confirmed_at_the_bank_is_receipted_at_once(door: Door) -> None:
    """The customer confirms the payment at the bank's page: the event runs the workflow for the period, which records
    the payment and sends the receipt, days before the next dunning date."""
    door.world.subscribe(payment_method="pm_3ds")
    assert door.world.run() == "PaymentDeclined"
    door.world.gateway.succeed("pi_1")
    _deliver_all(door)
    assert door.world.items()["2026-01-31"]["status"] == "done"
    assert door.world.mail_kinds() == ["action_required", "receipt"]
    assert [(asked["renewal_date"], state) for asked, state in door.ran] == [("2026-01-31", "Success")]


def test_the_event_of_a_renewal_is_known_already(door: Door) -> None:
    """Each renewal causes an event of its own: the ledger says paid, and neither the workflow nor the gateway is
    asked."""
    door.world.subscribe()
    door.world.run()
    door.world.cuts.calls.clear()
    _deliver_all(door)
    assert door.ran == []
    assert door.world.cuts.calls == ["dynamodb.GetItem"]
