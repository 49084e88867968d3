"""The conditions of the ledger's steps: the events that refuse a step, for every step, and the need for every term of a
condition."""

import inspect
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from typing import Any, cast

import pytest

from renewals.domain.errors import Overtaken
from renewals.domain.renewal import Renewal
from renewals.domain.renewal_items import item_of
from renewals.ledger.steps import Put, Step, Term
from renewals.ledger.table import Ledger
from renewals.runtime import dynamodb
from scripts.ledger_page import PAGE, Told, page, sample, told
from tests.fake_aws import FakeDynamoDB
from tests.fakes import INDEXES

type Item = dict[str, Any]
TOLD = {each.name: each for each in told()}
KEY = ("sub_1", "2026-01-31")
ALWAYS = Term("attribute_exists(subscription_id) OR attribute_not_exists(subscription_id)", {})


def _set(**attributes: Any) -> Callable[[Item], Item]:
    return lambda item: item | attributes


def _in(*paths: str, to: Any) -> Callable[[Item], Item]:
    """Return a change that sets other values at these dotted paths."""

    def changed(item: Item) -> Item:
        new = deepcopy(item)
        for path in paths:
            *maps, last = path.split(".")
            at = new
            for name in maps:
                at = at.setdefault(name, {})
            at[last] = to
        return new

    return changed


def _mail(attribute: str, value: str) -> Callable[[Item], Item]:
    return _in(f"mails.receipt_1.{attribute}", f"mails.payment_failed_1.{attribute}", to=value)


MEANWHILE: dict[str, Callable[[Item], Item]] = {
    "the period is claimed anew": _set(claim="another"),
    "the period is passed over": _set(status="skipped", reason="paused"),
    "another attempt begins": _set(attempt=9),
    "another execution takes the period": _set(owner="another"),
    "somebody takes the period": _set(lease_until="2026-01-31T13:00:00.000000+00:00"),
    "another payment is kept": _set(payment_id="pi_9"),
    "a creation is counted": _set(intent_tries=9),
    "a dunning date passes": _set(dunned=9),
    "another mail is owed": _set(notice="another_9"),
    "refunds are looked at": _set(refunds_due="2026-02-01T00:00:00.000000+00:00"),
    "another claims the mail": _mail("token", "another"),
    "the mail is sent": _mail("state", "sent"),
    "the mail comes back": _mail("state", "failed"),
    "what SES says is kept": _set(returned_receipt_1={"at": "2026-01-31T12:00:00+00:00"}),
    "a first refund is claimed": _in("refunds.refund_1", to={"state": "claimed"}),
    "a further refund is claimed": _in("refunds.refund_2", to={"state": "claimed"}),
    "the refund is made": _in("refunds.refund_1.state", to="refunded"),
    "a try of the refund is counted": _in("refunds.refund_1.tries", to=9),
    "a refund gets its receipt": _in("refunds.refund_1.receipt_key", to="receipts/9"),
    "its date is claimed by another": dict,
    "a dispute is recorded": _set(disputes={"dp_9": {"reason": "general"}}),
}
THE_ROW: dict[str, Callable[[Item], Item]] = {
    "the subscription ends": _set(status="canceled"),
    "the subscription is moved": _set(renewal_date="2026-02-15"),
    "its end is set": _set(cancel_at="2026-01-31"),
    "its amount changes": _set(amount=1),
    "its currency changes": _set(currency="EUR"),
    "its interval changes": _set(interval="year"),
    "its number of intervals changes": _set(interval_count=2),
    "its anchor is set": _set(anchor_day=15),
    "its customer at the gateway changes": _set(gateway_customer="cus_9"),
    "its payment method is updated": _set(payment_method="pm_9"),
    "somebody edits it": _set(version=9),
}
CLAIMED_ANEW, PASSED_OVER, ATTEMPT, OWNER, TAKEN, PAYMENT, CREATION, DUNNED, OWED, LOOKED_AT = list(MEANWHILE)[:10]
ANOTHERS_MAIL, SENT, CAME_BACK, KEPT, REFUND, FURTHER, MADE, TRIED, RECEIPTED, DATE_TAKEN, DISPUTED = list(MEANWHILE)[
    10:
]
ENDS, MOVED, END_SET, *_, INTERVAL, _COUNT, ANCHOR, CUSTOMER, CARD, _VERSION = THE_ROW
WATCHED_ROW, MOVES = set(THE_ROW), {ENDS, MOVED, END_SET, INTERVAL, ANCHOR}
MAIL, AS_READ = {ANOTHERS_MAIL, SENT, CAME_BACK}, {PASSED_OVER, OWED, LOOKED_AT}

REFUSED: dict[str, set[str]] = {
    "claim": {*MEANWHILE, *WATCHED_ROW} - {PASSED_OVER},
    "claim, after an unsuccessful claim of the date": {CLAIMED_ANEW, PASSED_OVER, PAYMENT, *WATCHED_ROW},
    "claim, after an unsuccessful claim of a later date": {
        CLAIMED_ANEW,
        PASSED_OVER,
        PAYMENT,
        DATE_TAKEN,
        *WATCHED_ROW,
    },
    "take": {PASSED_OVER, OWNER, TAKEN},
    "keep_payment_id": {CLAIMED_ANEW, PASSED_OVER, PAYMENT, ENDS, MOVED, END_SET, CUSTOMER},
    "keep_payment_to_end": {CLAIMED_ANEW, PAYMENT},
    "withdraw": {CLAIMED_ANEW, PASSED_OVER, OWNER, TAKEN},
    "count_intent_try": {CLAIMED_ANEW, PAYMENT, CREATION},
    "forget_payment": {CLAIMED_ANEW, PASSED_OVER, PAYMENT},
    "wait": {CLAIMED_ANEW, PASSED_OVER, OWNER},
    "paid": {CLAIMED_ANEW, PASSED_OVER, PAYMENT, *MOVES},
    "failed": {CLAIMED_ANEW, PASSED_OVER},
    "ask_daily": {CLAIMED_ANEW, PASSED_OVER},
    "refused": {CLAIMED_ANEW, PASSED_OVER, ATTEMPT, *MOVES},
    "next_attempt": {CLAIMED_ANEW, PASSED_OVER, ATTEMPT, OWNER, TAKEN, *WATCHED_ROW},
    "begin_challenge": {
        CLAIMED_ANEW,
        PASSED_OVER,
        ATTEMPT,
        OWNER,
        TAKEN,
        ENDS,
        MOVED,
        END_SET,
        CUSTOMER,
        CARD,
    },
    "challenge_begun": {CLAIMED_ANEW, PASSED_OVER, ATTEMPT, OWNER},
    "payment_closed": {CLAIMED_ANEW, PASSED_OVER, ATTEMPT},
    "dunning_date": {CLAIMED_ANEW, PASSED_OVER, ATTEMPT, DUNNED, *MOVES},
    "give_up": {CLAIMED_ANEW, PASSED_OVER, ATTEMPT, ENDS, MOVED, CARD},
    "receipted": {CLAIMED_ANEW, PASSED_OVER},
    "refund_receipted": {RECEIPTED},
    "claim_mail": {PASSED_OVER, LOOKED_AT, ANOTHERS_MAIL, SENT},
    "claim_mail, for a mail that is not the receipt": {PASSED_OVER, OWED, LOOKED_AT, ANOTHERS_MAIL, SENT},
    "park_mail": {PASSED_OVER, LOOKED_AT, ANOTHERS_MAIL, SENT},
    "mailed": {PASSED_OVER, OWED, LOOKED_AT, *MAIL},
    "mailed, otherwise": {PASSED_OVER, *MAIL},
    "mailed, for a mail that is not the receipt": {PASSED_OVER, OWED, LOOKED_AT, *MAIL},
    "mailed, for a mail that is not the receipt, otherwise": MAIL,
    "release_mail": MAIL,
    "drop_notice": AS_READ,
    "reopen_mail": {PASSED_OVER, OWED},
    "returned": {PASSED_OVER, OWED, LOOKED_AT, ANOTHERS_MAIL, CAME_BACK},
    "note_returned": {ANOTHERS_MAIL, KEPT},
    "claim_refund": {PASSED_OVER, OWED, LOOKED_AT, REFUND, MADE, TRIED, RECEIPTED},
    "count_refund_try": {MADE, TRIED},
    "refunds_looked_at": {PASSED_OVER, OWED, LOOKED_AT, FURTHER, MADE},
    "record_dispute": {DISPUTED},
    "move_on": MOVES - {END_SET},
    "forget_refusal": MOVES - {END_SET},
    "end": {ENDS, MOVED, END_SET},
    "resume": WATCHED_ROW,
    "pass_over": {*MEANWHILE, *WATCHED_ROW} - {PASSED_OVER},
}


def _steps() -> Iterator[tuple[str, tuple[Told, Step[Any]]]]:
    for each in TOLD.values():
        yield each.name, (each, replace(each.step, otherwise=None))
        if each.step.otherwise is not None:
            yield f"{each.name}, otherwise", (each, each.step.otherwise)


STEPS = dict(_steps())


def _is_refused(name: str, meanwhile: str = "", step: Step[Any] | None = None) -> bool:
    """Tell whether a step is refused. meanwhile: an event between reading and writing. step: a step to try instead."""
    read, own = STEPS[name]
    step = step or own
    client = FakeDynamoDB({"subscriptions": "customer_id", "renewals": "renewal_date"}, indexes=INDEXES)
    client.put("subscriptions", THE_ROW.get(meanwhile, dict)(dict(read.row)))
    period = read.period or (sample() if meanwhile in MEANWHILE else None)
    before = _stored(period) if period else {}
    if period:
        before = MEANWHILE.get(meanwhile, dict)(before)
        client.put("renewals", before)
    if meanwhile == DATE_TAKEN and KEY not in client.items("renewals"):
        client.put("renewals", _stored(sample()))
    ledger = Ledger(cast("Any", client), renewals="renewals", subscriptions="subscriptions")
    try:
        ledger.apply(step)
    except Overtaken:
        return True
    stands = before and client.items("renewals")[before["subscription_id"], before["renewal_date"]] == before
    return bool(stands and any(isinstance(action, Put) and action.may_stand for action in step.actions))


def _stored(period: Renewal) -> Item:
    return dynamodb.plain(dynamodb.attributes(item_of(period)))


def test_the_page_is_current() -> None:
    """docs/ledger.md is exactly the output of `python -m scripts.ledger_page`."""
    assert PAGE.read_text() == page()


def test_every_step_is_told() -> None:
    """Every function that makes a step is on the page and in the table of refusing events."""
    modules = filter(None, {inspect.getmodule(each.function) for each in TOLD.values()})
    functions = [f for module in modules for _, f in inspect.getmembers(module, inspect.isfunction)]
    made = {f.__name__ for f in functions if "Step[" in str(inspect.signature(f).return_annotation)}
    helpers = {name for name in made if name.startswith("_")} | {"settled", "changed"}
    assert made - helpers == {each.function.__name__ for each in TOLD.values()}
    assert STEPS.keys() == REFUSED.keys()


@pytest.mark.parametrize("name", REFUSED)
def test_a_step_is_refused_after_what_must_not_have_happened_meanwhile(name: str) -> None:
    """A step is refused after exactly its events of the table, and taken after every other event and without an
    event."""
    assert not _is_refused(name)
    assert {each for each in [*MEANWHILE, *THE_ROW] if _is_refused(name, each)} == REFUSED[name]


@pytest.mark.parametrize(
    ("name", "action", "term"),
    [
        pytest.param(name, a, t, id=f"{name}: {term.text}")
        for name, (_, step) in STEPS.items()
        for a, action in enumerate(step.actions)
        for t, term in enumerate(action.condition)
    ],
)
def test_a_step_without_one_of_its_terms_is_taken_when_it_must_not_be(name: str, action: int, term: int) -> None:
    """Without any single term of a condition the step is taken after an event that must refuse the step, and the test
    above would fail: every term is needed."""
    _, step = STEPS[name]
    of = step.actions[action]
    without = of._replace(condition=(*of.condition[:term], ALWAYS, *of.condition[term + 1 :]))
    mutant = replace(step, actions=(*step.actions[:action], without, *step.actions[action + 1 :]))
    assert not all(_is_refused(name, each, mutant) for each in REFUSED[name])
