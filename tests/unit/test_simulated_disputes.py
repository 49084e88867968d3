"""The reckoning of the simulated year over disputes: when a disputed subscription must end, and what the ledger and the
timeline must hold."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest

from local.simulate.bank import Disputed, Standing
from local.simulate.disputes import disputes_in_the_ledger, disputes_in_the_timeline, ends_mistold
from local.simulate.expected import Chargeback, Expected, expected
from local.simulate.happenings import (
    Action,
    BankDecides,
    Cancel,
    CardBehaves,
    Contest,
    Contested,
    EndRevoked,
    NewCard,
    Pause,
    RefundElsewhere,
    Resume,
)
from local.simulate.story import Story
from tests.unit.test_simulation import ON_TIME, STORY, charge, day, faults, subscriber, up

DISPUTED = (Contested(Contest.CHARGEBACK),)
ASKED = (Contested(Contest.INQUIRY),)
LATEST = charge(32).payment
"""The latest payment on the days from 33 to 41."""

STORIES: Mapping[str, tuple[Mapping[date, tuple[Action, ...]], list[Chargeback], str]] = {
    "active": ({day(35): DISPUTED}, [Chargeback(LATEST, "ending", day(42))], "canceled"),
    "decided later": (
        {day(35): DISPUTED, day(44): (BankDecides("won"),)},
        [Chargeback(LATEST, "ending", day(42))],
        "canceled",
    ),
    "an inquiry that becomes a chargeback": (
        {day(34): ASKED, day(36): (BankDecides("withdraw"),)},
        [Chargeback(LATEST, "ending", day(42))],
        "canceled",
    ),
    "past due": (
        {day(42): (CardBehaves("no_money"),), day(44): DISPUTED, day(46): (NewCard(),)},
        [Chargeback(LATEST, "ended", day(42))],
        "canceled",
    ),
    "paused": ({day(34): (Pause(),), day(36): DISPUTED}, [Chargeback(LATEST, "ended")], "canceled"),
    "paused, and resumed in vain": (
        {day(34): (Pause(),), day(36): DISPUTED, day(42): (Resume(),)},
        [Chargeback(LATEST, "ended")],
        "canceled",
    ),
    "canceled": ({day(34): (Cancel(),), day(36): DISPUTED}, [Chargeback(LATEST, "none")], "canceled"),
    "to be canceled": ({day(34): (Cancel(at=day(42)),), day(36): DISPUTED}, [Chargeback(LATEST, "none")], "canceled"),
}


@pytest.mark.parametrize("name", STORIES)
def test_a_chargeback_ends_the_subscription(name: str) -> None:
    """A chargeback ends an active subscription with the paid days, and a past due or paused subscription at once; an
    end that was set already stays. A charge after the end is `wrong`."""
    actions, chargebacks, status = STORIES[name]
    before = [each for each in ON_TIME if each.period < day(42)]
    result = expected(subscriber(actions), STORY, before)
    assert (faults(result), result.chargebacks, result.status) == ([], chargebacks, status)
    assert len(result.ended_on) == sum(lost.effect != "none" for lost in chargebacks)
    later = expected(subscriber(actions), STORY, [*before, charge(52)])
    assert ("wrong", day(52)) in faults(later)


@pytest.mark.parametrize(
    ("actions", "kept"),
    [
        ({day(35): ASKED, day(37): (BankDecides("warning_closed"),)}, False),
        ({day(35): (Contested(Contest.WARNING),)}, False),
        ({day(35): DISPUTED, day(38): (EndRevoked(),), day(39): (BankDecides("lost"),)}, False),
        ({day(35): DISPUTED}, True),
    ],
)
def test_what_ends_nothing(actions: Mapping[date, tuple[Action, ...]], *, kept: bool) -> None:
    """An inquiry, a warning of fraud, an end that was taken back, and a chargeback on a stack that keeps disputed
    subscriptions leave the subscription as before: each period must be charged."""
    story = replace(STORY, keeps_disputed=kept)
    result = expected(subscriber(actions), story, ON_TIME)
    assert (faults(result), result.status) == ([], "active")
    missed = expected(subscriber(actions), story, ON_TIME[:-1])
    assert ("missed", day(52)) in faults(missed)


def test_disputes_meet_every_status_and_refunded_payments() -> None:
    """In a year of 300 subscribers, payments of active, past due, paused and canceled subscriptions are disputed, some
    of them after a refund, and some ends are taken back."""
    story = Story(seed=1, days=365, subscriptions=300)
    results = [expected(each, story, []) for each in story.subscribers]
    assert not any(result.chargebacks for result in results)  # nothing is paid, and nothing can be disputed
    seen = Counter[str]()
    for who in story.subscribers:
        for on, happens in who.actions.items():
            if any(isinstance(action, Contested) for action in happens):
                seen[_standing(who.actions, on)] += 1
            seen["revoked"] += any(isinstance(action, EndRevoked) for action in happens)
    assert min(seen[name] for name in ("active", "past due", "paused", "canceled", "refunded", "revoked")) >= 5


def _standing(actions: Mapping[date, tuple[Action, ...]], on: date) -> str:
    before = [(each, action) for each in sorted(actions) if each < on for action in actions[each]]
    changes = [action for _, action in before if isinstance(action, Pause | Resume | Cancel)]
    if changes and isinstance(changes[-1], Cancel | Pause):
        return "canceled" if isinstance(changes[-1], Cancel) else "paused"
    if any((on - each).days < 5 and isinstance(action, CardBehaves) for each, action in before):
        return "past due"
    refunded = any((on - each).days < 20 and isinstance(action, RefundElsewhere) for each, action in before)
    return "refunded" if refunded else "active"


DISPUTES = [
    Disputed(
        LATEST, "dp_1", Contest.CHARGEBACK, {day(35): Standing("needs_response", 2999), day(38): Standing("lost", 2999)}
    )
]
RESULT = Expected(chargebacks=[Chargeback(LATEST, "ending", day(42))])
STEPS = [{"status": "needs_response", "effect": "ending"}, {"status": "lost"}]
TIMELINE = [
    "The dispute waits for the seller's evidence. The bank took USD 29.99 back from the seller. (dp_1)",
    "The dispute is lost: the bank decided for the customer. (dp_1)",
]


def _in_the_ledger(result: Expected, steps: list[dict[str, str]]) -> list[Any]:
    items = {day(32): {"payment_id": LATEST, "disputes": {"dp_1": {"steps": steps}}}}
    return list(disputes_in_the_ledger(subscriber(), result, DISPUTES, items))


@pytest.mark.parametrize(
    ("result", "steps"),
    [
        (RESULT, []),
        (RESULT, STEPS[:1]),
        (RESULT, [*STEPS, {"status": "won"}]),
        (RESULT, [STEPS[0], {"status": "lost", "effect": "ending"}]),
        (RESULT, [{"status": "needs_response"}, {"status": "lost"}]),
        (Expected(), STEPS),
        (Expected(chargebacks=[Chargeback(LATEST, "kept")]), STEPS),
    ],
)
def test_a_dispute_that_stands_wrongly_in_the_ledger_is_a_fault(result: Expected, steps: list[dict[str, str]]) -> None:
    """A dispute or a step that the ledger lacks, a step too many, an effect that is missing, doubled or wrong, and a
    chargeback that the story does not have are faults."""
    assert _in_the_ledger(RESULT, STEPS) == []
    assert _in_the_ledger(result, steps)


@pytest.mark.parametrize("spoil", [lambda told: told[:1], lambda told: told * 2, lambda told: [told[1], told[1]]])
def test_a_dispute_that_the_timeline_tells_wrongly_is_a_fault(spoil: Callable[[list[str]], list[str]]) -> None:
    """A step of a dispute that the timeline lacks or tells twice, and money that the timeline does not tell, are
    faults."""
    assert list(disputes_in_the_timeline(subscriber(), DISPUTES, TIMELINE)) == []
    assert list(disputes_in_the_timeline(subscriber(), DISPUTES, spoil(TIMELINE)))


MAIL = "The subscription therefore ends. Your last day is 11 February 2024."


@pytest.mark.parametrize(
    ("mails", "faults"),
    [
        ([MAIL], []),
        ([], ["no_mail"]),
        ([MAIL, MAIL], ["doubled_mail"]),
        ([MAIL.replace("11", "12")], ["wrong"]),
        (["The subscription has therefore ended."], ["wrong"]),
    ],
)
def test_an_end_that_is_mailed_wrongly_is_a_fault(mails: list[str], faults: list[str]) -> None:
    """A mail about the end by a chargeback that is missing, doubled, or names another day is a fault. A missing mail is
    no fault if the mailbox was missing, or if the function that sends mails was killed."""
    told = day(42) - timedelta(days=1)
    sent = [each.replace("11 February 2024", f"{told.day} {told:%B} {told.year}") for each in mails]
    found = ends_mistold(subscriber(), RESULT, sent, reached=1, may_be_unknown=False)
    assert [each.kind for each in found] == faults
    for reached, killed in ((0, False), (1, True)):
        assert list(ends_mistold(subscriber(), RESULT, [], reached=reached, may_be_unknown=killed)) == []


def test_the_stories_here_fit_the_calendar() -> None:
    """On the days of the disputes the sweep runs: the stories above depend on that."""
    assert all(up(number) == day(number) for number in (32, 42, 52))
