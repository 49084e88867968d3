"""A renewal that is cut, doubled or changed at any point ends with at most one charge, and with the truth in ledger and
mails.

The points are enumerated, not sampled: before and after every call that leaves the process. When the process ends
between the sending of a mail and its record, nobody can tell whether the mail went out. In that gap alone a mail may
end as unknown; no mail ever goes out twice.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

import pytest

from renewals.domain.payment import PaymentState
from renewals.domain.renewal import UNFINISHED
from renewals.ledger.payment_steps import MOST_PICK_UPS
from tests.fakes import DUE, LATER, NOON, World
from tests.recordings.recorder import unheard

THEN = NOON + timedelta(hours=1)
HOURS = timedelta(hours=6)
DAY = timedelta(days=1)


@cache
@unheard
def _begun(before: Callable[[World], None]) -> Callable[[], World]:
    """Return what makes copies of the world in which thousands of tests begin."""
    shop = World()
    before(shop)
    return shop.copies()


@dataclass(frozen=True)
class Story:
    """A story tells what came before a run, and how the run ends undisturbed.

    status: the ledger's status at the end. cards: the cards that the gateway was asked to charge, in order. mails: the
    names of the mails in the ledger. then: the moment of the run.
    """

    before: Callable[[World], None]
    status: str
    cards: list[str]
    mails: list[str]
    then: datetime = THEN

    @property
    def paid(self) -> bool:
        return self.status == "done"

    def begin(self) -> World:
        return _begun(self.before)()

    def calls(self) -> list[str]:
        """Return the calls of the undisturbed run."""
        shop = self.begin()
        earlier = len(shop.cuts.calls)
        shop.run("first", self.then)
        _expect_the_end(self, shop, uncertain=False)
        return shop.cuts.calls[earlier:]


def _subscribed(card: str) -> Callable[[World], None]:
    return lambda shop: shop.subscribe(payment_method=card)


def _refused(card: str, then: Callable[[World], None]) -> Callable[[World], None]:
    def before(shop: World) -> None:
        shop.subscribe(payment_method=card)
        shop.run("earlier")
        then(shop)

    return before


def _dunned(card: str, *days: int) -> Callable[[World], None]:
    def before(shop: World) -> None:
        shop.subscribe(payment_method=card)
        for day in (0, *days):
            shop.run(f"day-{day}", NOON + day * DAY)

    return before


def _give_card(card: str) -> Callable[[World], None]:
    return lambda shop: shop.edit(payment_method=card)


STORIES = {
    "pays": Story(_subscribed("pm_ok"), "done", ["pm_ok"], ["receipt_1"]),
    "declined": Story(_subscribed("pm_declined"), "declined", ["pm_declined"], ["payment_failed_1"]),
    "3ds": Story(_subscribed("pm_3ds"), "action_required", ["pm_3ds"], ["action_required_1"]),
    "declined-new-card": Story(
        _refused("pm_declined", _give_card("pm_ok")),
        "done", ["pm_declined", "pm_ok"], ["payment_failed_1", "receipt_2"],
    ),
    "declined-declined-again": Story(
        _refused("pm_declined", _give_card("pm_declined_too")),
        "declined", ["pm_declined", "pm_declined_too"], ["payment_failed_1", "payment_failed_2"],
    ),
    "declined-mistyped-card": Story(
        _refused("pm_declined", _give_card("pm_gone")),
        "declined", ["pm_declined"], ["payment_failed_1", "payment_failed_2"],
    ),
    "3ds-new-card": Story(
        _refused("pm_3ds", _give_card("pm_ok")), "done", ["pm_3ds", "pm_ok"], ["action_required_1", "receipt_2"]
    ),
    "3ds-completed": Story(
        _refused("pm_3ds", lambda shop: shop.gateway.succeed("pi_1")),
        "done", ["pm_3ds"], ["action_required_1", "receipt_1"],
    ),
    "dunned": Story(
        _dunned("pm_declined"), "declined", ["pm_declined"] * 2, ["payment_failed_1", "payment_failed_2"], THEN + DAY
    ),
    "dunned-to-the-end": Story(
        _dunned("pm_declined", 1, 3, 5), "given_up", ["pm_declined"] * 5,
        ["canceled_5", "final_notice_4", "payment_failed_1", "payment_failed_2", "payment_failed_3"], THEN + 7 * DAY,
    ),
    "3ds-last-notice": Story(
        _dunned("pm_3ds", 1, 3), "action_required", ["pm_3ds"], ["action_required_1", "final_notice_1"], THEN + 5 * DAY
    ),
    "3ds-to-the-end": Story(
        _dunned("pm_3ds", 1, 3, 5), "given_up", ["pm_3ds"], ["action_required_1", "canceled_1", "final_notice_1"],
        THEN + 7 * DAY,
    ),
}  # fmt: skip


def _kind(subject: str) -> str:
    told = {
        "Receipt for": "receipt", "go through": "payment_failed", "confirm your payment": "action_required",
        "Final notice": "final_notice", "is canceled": "canceled",
    }  # fmt: skip
    return next(kind for words, kind in told.items() if words in subject)


def _expect_truth(shop: World) -> None:
    """Check that ledger, gateway, receipts and mailbox agree, wherever the renewal stands."""
    assert len(shop.gateway.charges) <= 1
    periods = [item for item in shop.items().values() if item["status"] != "skipped"]
    paid = [(item["payment_id"], item["amount"], item["currency"]) for item in periods if "paid_at" in item]
    assert paid == [(payment, Decimal(amount) / 100, currency) for payment, amount, currency in shop.gateway.charges]
    assert list(shop.receipts()) == [f"receipts/cus_1/sub_1/{payment}.pdf" for payment, _, _ in paid]
    for item in periods:
        assert ("unfinished" in item) == (item["status"] in UNFINISHED or "notice" in item)
    claimed = [(name.rpartition("_")[0], mail["state"]) for item in periods for name, mail in item["mails"].items()]
    mailed = [_kind(subject) for subject in shop.ses.subjects()]
    for kind in ("receipt", "payment_failed", "action_required", "final_notice", "canceled"):
        surely, perhaps = claimed.count((kind, "sent")), claimed.count((kind, "unknown"))
        assert surely <= mailed.count(kind) <= surely + perhaps


def _expect_the_end(story: Story, shop: World, *, uncertain: bool) -> None:
    """Check that the story came to its end. uncertain: the run was cut where nobody can tell whether a mail went
    out."""
    _expect_truth(shop)
    item = shop.items()[DUE.isoformat()]
    assert len(shop.gateway.charges) == story.paid
    assert [card for _, card in shop.gateway.attempts] == story.cards
    assert sorted(item["mails"]) == story.mails
    if any(mail["state"] != "sent" for mail in item["mails"].values()):
        assert uncertain
        assert item["status"] == ("mail_unknown" if story.paid else story.status)
    else:
        assert item["status"] == story.status
    row = shop.row()
    ends = {"done": ("2026-02-28", "active"), "given_up": ("2026-01-31", "canceled")}
    assert (row["renewal_date"], row["status"]) == ends.get(story.status, ("2026-01-31", "past_due"))
    assert ("next_attempt" in row) == (row["status"] == "past_due")


def _sending(name: str, moment: int) -> bool:
    """Whether the moment lies between the claim of a mail and the record of its sending."""
    sends = [2 * n for n, call in enumerate(CALLS[name]) if call == "ses.SendRawEmail"]
    return any(send - 1 <= moment <= send + 2 for send in sends)


CALLS = {name: story.calls() for name, story in STORIES.items()}


def _moments(*stories: str) -> list[Any]:
    """Return the moments before and after every call of every story's run.

    Between two calls nothing leaves the process, so after a call the world stands as before the next call. `make test`
    therefore runs the moment before every call and the moment after the last call, and `make proof` runs the rest.
    """
    return [
        pytest.param(
            story,
            2 * n + after,
            id=f"{story}-{'after' if after else 'before'}-{n}-{call}",
            marks=[pytest.mark.proof] if after and n < len(CALLS[story]) - 1 else [],
        )
        for story in stories
        for n, call in enumerate(CALLS[story])
        for after in (0, 1)
    ]


def _each(moments: list[Any], others: Mapping[str, Any] | Iterable[str], of: int) -> list[Any]:
    """Combine every moment with every entry of `others`, by name.

    `make test` runs one combination in `of`, spread over all entries and all calls; `make proof` runs the rest.
    """
    named = others if isinstance(others, Mapping) else {other: other for other in others}
    return [
        pytest.param(
            *moment.values,
            other,
            id=f"{moment.id}-{name}",
            marks=[*moment.marks, *([pytest.mark.proof] if (n // 2 + m) % of else [])],
        )
        for n, moment in enumerate(moments)
        for m, (name, other) in enumerate(named.items())
    ]


def _every_second(moments: list[Any], first: int) -> list[Any]:
    """Mark for `make proof` the moments at every second call. first: the number of the first call for `make test`."""
    return [
        pytest.param(
            *moment.values, id=moment.id, marks=[*moment.marks, *([pytest.mark.proof] if n // 2 % 2 != first else [])]
        )
        for n, moment in enumerate(moments)
    ]


def _at(shop: World, moment: int, happens: Callable[[World], object] | None = None) -> None:
    """Set the moment of the run, counted from now, at which the process ends, or at which `happens` is called."""
    shop.cuts.at = 2 * len(shop.cuts.calls) + moment
    if happens is not None:
        shop.cuts.happens = lambda _point: _ignore(happens(shop))


def _ignore(_outcome: object) -> None:
    return None


@pytest.mark.parametrize(("name", "moment"), _every_second(_moments(*STORIES), first=1))
def test_a_task_that_ends_anywhere_is_run_again_at_once_by_its_own_workflow(name: str, moment: int) -> None:
    """The workflow's own retry finishes a task cut at any point: no card is charged twice and no mail is sent twice."""
    shop = STORIES[name].begin()
    _at(shop, moment)
    shop.run("first", STORIES[name].then, tries=2)
    _expect_the_end(STORIES[name], shop, uncertain=_sending(name, moment))


@pytest.mark.parametrize(
    ("name", "moment", "wait"),
    [
        *_each(_moments(*STORIES), {"minutes": LATER}, of=1),
        *_each(_moments(*STORIES), {"hours": HOURS}, of=8),
    ],
)
def test_a_run_that_ends_anywhere_is_taken_up_by_a_later_one(name: str, moment: int, wait: timedelta) -> None:
    """Minutes or hours later, a new execution finishes a run cut at any point."""
    shop = STORIES[name].begin()
    _at(shop, moment)
    shop.run("first", STORIES[name].then)
    for n in range(3):  # a mail whose lease ran out is looked at again
        shop.run(f"later-{n}", STORIES[name].then + wait + n * LATER)
    _expect_the_end(STORIES[name], shop, uncertain=_sending(name, moment))


@pytest.mark.parametrize(("name", "moment"), _every_second(_moments(*STORIES), first=0))
def test_a_second_execution_in_the_very_middle_of_the_first_changes_nothing(name: str, moment: int) -> None:
    """A second execution that runs whole between any two calls of the first changes nothing in the outcome."""
    shop = STORIES[name].begin()
    then = STORIES[name].then
    _at(shop, moment, lambda shop: shop.run("second", then))
    shop.run("first", then)
    shop.run("third", then + LATER)
    _expect_the_end(STORIES[name], shop, uncertain=False)


@pytest.mark.parametrize(("name", "moment"), _every_second(_moments(*STORIES), first=1))
def test_the_same_execution_run_twice_at_the_same_time_charges_once(name: str, moment: int) -> None:
    """Step Functions runs an Express workflow at least once, so an execution may have a twin with its name and its
    lease. A twin may ask a declining card once more, but money moves once and every mail is sent once."""
    story, shop = STORIES[name], STORIES[name].begin()
    _at(shop, moment, lambda shop: shop.run("first", story.then))
    shop.run("first", story.then)
    shop.run("later", story.then + LATER)
    assert {card for _, card in shop.gateway.attempts} == set(story.cards)
    shop.gateway.attempts = [("pi_1", card) for card in story.cards]
    _expect_the_end(story, shop, uncertain=_sending(name, moment))


CHANGES: dict[str, dict[str, Any]] = {
    "canceled": {"status": "canceled"},
    "paused": {"status": "paused"},
    "ends": {"cancel_at": DUE.isoformat()},
    "moved": {"renewal_date": "2026-06-15"},
    "deleted": {},
    "price": {"amount": Decimal("49.99")},
    "card": {"payment_method": "pm_other"},
    "customer": {"gateway_customer": "cus_other"},
    "currency": {"currency": "EUR"},
    "interval": {"interval": "year"},
    "count": {"interval_count": Decimal(3)},
    "anchor": {"anchor_day": Decimal(31)},
}
NO_LONGER_DUE = ("canceled", "paused", "ends", "moved", "deleted")
WITHDRAWS = (*NO_LONGER_DUE, "customer")
"""After these changes the subscription no longer stands by the claim."""


def _change(shop: World, change: str) -> None:
    """Change the subscription in the way that `change` names."""
    if change == "deleted":
        shop.delete_row()
    else:
        shop.edit(**CHANGES[change])


def _expect_nothing_open(shop: World) -> None:
    """Check that nobody can complete a payment of a subscription no longer to be charged."""
    states = {payment.state for payment in shop.gateway.payments.values()}
    assert states <= {PaymentState.CANCELED, PaymentState.PAID}


@pytest.mark.parametrize(
    ("name", "moment", "change"),
    _each(
        _moments("pays", "declined-new-card"),
        ["canceled", "paused", "ends", "moved", "deleted", "price", "card"],
        of=4,
    ),
)
def test_a_subscription_changed_while_nobody_worked(name: str, moment: int, change: str) -> None:
    """A run is cut, the subscription is changed, and a later run takes the renewal up hours afterwards. A confirmed
    charge is receipted and mailed. A charge not yet confirmed is made only if the subscription still stands by the
    claim, and then on the claimed terms; otherwise the payment is canceled."""
    story, shop = STORIES[name], STORIES[name].begin()
    _at(shop, moment)
    shop.run("first", THEN)
    item = shop.items().get(DUE.isoformat())
    begun = item is not None and item["status"] != "declined"
    confirmed = len(shop.gateway.attempts) == len(story.cards)
    _change(shop, change)
    for n in range(3):
        shop.run(f"later-{n}", THEN + HOURS + n * LATER)
    _expect_truth(shop)
    if confirmed or (begun and change not in NO_LONGER_DUE):
        assert [card for _, card in shop.gateway.attempts] == story.cards
        assert len(shop.gateway.charges) == 1
        assert shop.items()[DUE.isoformat()]["status"] == "done" or _sending(name, moment)
    elif change in NO_LONGER_DUE or (item is None and change == "price"):
        assert not shop.gateway.charges
        assert [card for _, card in shop.gateway.attempts] == story.cards[:-1]
        _expect_nothing_open(shop)
        assert change == "price" or not item or shop.items()[DUE.isoformat()]["status"] == "given_up"
    else:
        card = "pm_other" if change == "card" else "pm_ok"
        assert [card for _, card in shop.gateway.attempts] == [*story.cards[:-1], card]


def _terms(shop: World) -> dict[str, Any]:
    """Return the terms of the claim and of the charge: the customer, the card, the amount and the period."""
    item = shop.items().get(DUE.isoformat(), {})
    claimed = ("status", "attempt", "amount", "currency", "period_end", "gateway_customer", "payment_method")
    asked = [(request.gateway_customer, request.amount, request.currency) for request in shop.gateway.requests.values()]
    return {name: item.get(name) for name in claimed} | {
        "charges": shop.gateway.charges,
        "attempts": shop.gateway.attempts,
        "asked": asked,
    }


@cache
@unheard
def _undisturbed(name: str, change: str, *, first: bool) -> dict[str, Any]:
    """Return the terms of a run without disturbance, with the change made before the run (`first`) or not at all."""
    shop = STORIES[name].begin()
    if first:
        _change(shop, change)
    shop.run("first", THEN)
    assert not (first and change in NO_LONGER_DUE and shop.gateway.charges)
    return _terms(shop)


@pytest.mark.parametrize(
    ("name", "moment", "change"),
    [
        *_each(_moments("pays"), list(CHANGES), of=4),
        *_each(_moments("declined"), ["canceled", "moved", "deleted"], of=2),
        *_each(_moments("declined-new-card"), [*NO_LONGER_DUE, "card"], of=4),
    ],
)
def test_a_change_in_the_very_middle_is_as_if_it_came_before_the_claim_or_after_the_run(
    name: str, moment: int, change: str
) -> None:
    """The row is edited between any two calls of a run that goes on. After an edit before the claim's transaction
    nothing is charged on the old terms; after an edit later than the claim everything is charged as claimed. Until the
    last look before the confirmation, an end, a new date or a new gateway customer still withdraws the claim, and its
    payment is given up."""
    story, shop = STORIES[name], STORIES[name].begin()
    _at(shop, moment, lambda shop: _change(shop, change))
    shop.run("first", THEN)
    _expect_truth(shop)
    first = moment <= 2 * CALLS[name].index("dynamodb.TransactWriteItems")
    if change in WITHDRAWS and not first and moment <= 2 * _last_look(name):
        asked = [card for _, card in shop.gateway.attempts]
        assert asked == story.cards[:-1] + (["pm_ok"] if change == "customer" else [])
        assert len(shop.gateway.charges) == (change == "customer")  # of the row's new gateway customer
        assert [request.gateway_customer for request in shop.gateway.requests.values()][1:] == (
            ["cus_other"] if change == "customer" else []
        )
        _expect_nothing_open(shop)
        assert shop.items()[DUE.isoformat()]["status"] == ("done" if change == "customer" else "given_up")
    else:
        assert _terms(shop) == _undisturbed(name, change, first=first)
    rows = list(shop.dynamodb.items("subscriptions").values())
    assert len(rows) == (change != "deleted")
    word = dict(CHANGES[change])
    if change == "ends" and shop.gateway.charges and moment <= 2 * _record(name):
        word["cancel_at"] = "2026-02-28"  # the subscription ends with the paid period
    assert all(word.items() <= row.items() for row in rows), "the edit of the row is lost"


def _last_look(name: str) -> int:
    """Return the number of the call before the last confirmation: the last look at the subscription and the charging
    switch."""
    calls = CALLS[name]
    look = len(calls) - 1 - calls[::-1].index("gateway.confirm") - 1
    assert calls[look] == "dynamodb.TransactWriteItems"
    return look


def _record(name: str) -> int:
    """Return the number of the call that records the outcome of the last confirmation and moves the subscription on."""
    return CALLS[name].index("dynamodb.TransactWriteItems", _last_look(name) + 1)


@pytest.mark.parametrize("passed", [1, 45], ids=["in-the-lease", "after-the-lease"])
@pytest.mark.parametrize(("name", "moment"), _moments("declined", "3ds"))
def test_a_new_card_in_the_very_middle_of_the_old_ones_refusal(name: str, moment: int, passed: int) -> None:
    """The customer updates the payment method, and a second run goes whole between any two calls of the first, even
    around the first run's mail: the period is paid once and recorded as paid, and no later write of the first run
    undoes the record."""
    shop = STORIES[name].begin()

    def second(shop: World) -> None:
        shop.edit(payment_method="pm_ok")
        shop.run("second", THEN + timedelta(seconds=passed))

    _at(shop, moment, second)
    shop.run("first", THEN)
    for n in range(4):
        shop.run(f"later-{n}", THEN + HOURS + n * LATER)
    _expect_truth(shop)
    assert len(shop.gateway.charges) == 1
    assert shop.items()[DUE.isoformat()]["status"] == "done"
    assert (shop.row()["renewal_date"], shop.row()["status"]) == ("2026-02-28", "active")


@pytest.mark.parametrize("name", STORIES)
def test_every_write_repeated_by_the_client_is_one_write(name: str) -> None:
    """The answer to every update is lost, and the client sends the update again: the condition fails against the first
    write, and the write is recognised as our own."""
    shop = STORIES[name].begin()
    shop.dynamodb.answers_lost = True
    shop.run("first", STORIES[name].then)
    _expect_the_end(STORIES[name], shop, uncertain=False)


@pytest.mark.parametrize("kind", ["before", "after", "answered"])
@pytest.mark.parametrize("operation", ["create", "confirm", "retrieve"])
def test_a_gateway_that_answers_nothing_clear_is_asked_again(operation: str, kind: str) -> None:
    """A call of the gateway lost before or after its work, or answered with a 5xx, leads to one charge and one mail
    once the workflow has retried."""
    shop = World()
    shop.subscribe()
    shop.gateway.trouble.append((operation, kind))
    assert shop.run(tries=3) == "Success"
    assert len(shop.gateway.charges) == len(shop.mails()) == 1


def _may_still_confirm(name: str, moment: int) -> bool:
    """Whether the moment lies between the last look at the charging switch and the confirmation right behind that
    look."""
    calls = CALLS[name]
    confirms = [n for n, call in enumerate(calls) if call == "gateway.confirm"]
    assert all(calls[n - 1] == "dynamodb.TransactWriteItems" for n in confirms)
    return any(2 * n - 1 <= moment <= 2 * n for n in confirms)


@pytest.mark.parametrize(("name", "moment"), _every_second(_moments(*STORIES), first=0))
def test_charging_turned_off_in_the_very_middle_and_on_again(name: str, moment: int) -> None:
    """From the moment that charging is turned off no card is charged, unless the confirmation is the very next call.
    However often the renewal is run meanwhile, nobody is canceled and no pick-up counts. With charging on again, the
    story ends as it would have ended undisturbed."""
    story, shop = STORIES[name], STORIES[name].begin()
    asked_before: list[tuple[str, str]] = []

    def turn_off(shop: World) -> None:
        shop.turn_charging_off()
        asked_before.extend(shop.gateway.attempts)

    _at(shop, moment, turn_off)
    shop.run("first", story.then)
    asked = list(shop.gateway.attempts)
    assert asked == asked_before or (_may_still_confirm(name, moment) and len(asked) == len(asked_before) + 1)
    stands = shop.row()["status"]
    for n in range(MOST_PICK_UPS + 2):
        assert shop.run(f"off-{n}", story.then + HOURS + n * LATER) in ("Success", "PaymentDeclined")
    assert (shop.gateway.attempts, shop.row()["status"]) == (asked, stands)
    _expect_truth(shop)
    shop.turn_charging_on()
    shop.run("on", story.then + 1.5 * HOURS)
    _expect_the_end(story, shop, uncertain=False)
