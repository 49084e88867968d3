"""The reckoning of the simulated year over what the application heard."""

from collections.abc import Callable
from datetime import date, timedelta

import pytest

from local.receiver import Event, Heard
from local.simulate.bank import Disputed, Refunded, Standing
from local.simulate.expected import Chargeback, Charged, Expected
from local.simulate.happenings import Contest
from local.simulate.news import misheard
from local.simulate.story import Story
from tests.unit.test_simulation import subscriber

PAID, REFUSED, GIVEN_UP = date(2024, 3, 1), date(2024, 4, 1), date(2024, 5, 1)
RESULT = Expected(
    charged={
        PAID: [Charged(PAID, PAID, 2999, "USD", "pi_1")],
        REFUSED: [Charged(REFUSED + timedelta(days=1), REFUSED, 2999, "USD", "pi_2")],
    },
    refused={REFUSED: REFUSED, GIVEN_UP: GIVEN_UP},
    recovered={REFUSED: REFUSED + timedelta(days=1)},
    given_up=[GIVEN_UP],
    chargebacks=[Chargeback("pi_1", "ending", GIVEN_UP)],
    status="canceled",
)
REFUNDS = [Refunded("pi_1", "re_1", 1000, failed=True)]
DISPUTES = [
    Disputed(
        "pi_1",
        "dp_1",
        Contest.CHARGEBACK,
        {PAID: Standing("needs_response", 2999), REFUSED: Standing("won", 2999, 2999)},
    )
]


def _event(type_: str, sequence: int, **data: str) -> Event:
    return {"type": type_, "sequence": sequence, "entitled_until": None, "data": data}


def _disputed(status: str, reinstated: str) -> dict[str, str]:
    moved = {"withdrawn": "29.99", "reinstated": reinstated, "payment_currency": "USD"}
    return {"dispute_id": "dp_1", "status": status, **moved}


def _everything() -> list[Event]:
    paid, refused, given_up = map(str, (PAID, REFUSED, GIVEN_UP))
    return [
        _event("subscription.created", 1, by="table", status="active"),
        _event("renewal.paid", 2, period=paid, transaction_id="pi_1"),
        _event("renewal.refunded", 3, refund_id="re_1"),
        _event("renewal.refund_failed", 4, refund_id="re_1"),
        _event("renewal.disputed", 5, **_disputed("needs_response", reinstated="0.00")),
        _event("subscription.cancel_scheduled", 5, by="dispute", cancel_at=given_up, status="active"),
        _event("renewal.disputed", 5, **_disputed("won", reinstated="29.99")),
        _event("renewal.failed", 5, period=refused, outcome="declined"),
        _event("subscription.past_due", 6, period=refused, by="renewal", status="past_due"),
        _event("renewal.paid", 7, period=refused, transaction_id="pi_2"),
        _event("subscription.recovered", 8, period=refused, status="active"),
        _event("renewal.action_required", 9, period=given_up),
        _event("subscription.past_due", 10, period=given_up, by="renewal", status="past_due"),
        _event("renewal.failed", 11, period=given_up, outcome="given_up"),
        _event("subscription.ended", 12, period=given_up, by="renewal", status="canceled"),
    ]


def _faults(events: list[Event]) -> list[str]:
    heard = Heard()
    for event in events:
        heard.take(event)
    return [fault.what for fault in misheard(subscriber(), RESULT, REFUNDS, DISPUTES, heard)]


def test_an_application_that_heard_everything_is_right() -> None:
    """Each fact under one id, in any order, is no fault."""
    assert _faults(_everything()) == _faults(_everything()[::-1]) == []


@pytest.mark.parametrize("lost", range(len(_everything())))
def test_each_event_that_is_lost_is_a_fault(lost: int) -> None:
    """Whichever event the application did not hear, the reckoning finds a fault."""
    events = _everything()
    del events[lost]
    assert _faults(events)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda events: [*events, events[1] | {"sequence": 0}],
        lambda events: [*events, _event("renewal.paid", 0, period="2024-06-01", transaction_id="pi_3")],
        lambda events: [*events, _event("subscription.resumed", 99, status="active")],
        lambda events: [*events, _event("renewal.refunded", 0, refund_id="re_2")],
        lambda events: [*events, _event("subscription.ended", 0, by="dispute", status="canceled")],
        lambda events: [*events, _event("renewal.disputed", 0, **_disputed("lost", reinstated="0.00"))],
        lambda _: [],
    ],
)
def test_what_was_told_twice_or_wrongly_is_a_fault(spoil: Callable[[list[Event]], list[Event]]) -> None:
    """A fact under two ids, a payment, a refund, an end by a dispute or a step of a dispute that did not happen, a
    wrong status at the end and silence are faults."""
    assert _faults(spoil(_everything()))


def test_the_application_is_down_for_days_in_a_year_and_works_at_the_end() -> None:
    """In a year the application is down on at least 20 days, several in a row, and never in the calm at the end."""
    story = Story(seed=1, days=365, subscriptions=0)
    assert len(story.silent) >= 20
    assert any(day + timedelta(days=1) in story.silent for day in story.silent)
    assert max(story.silent) < story.calm_from
    assert Story(seed=1, days=40, subscriptions=0).silent
