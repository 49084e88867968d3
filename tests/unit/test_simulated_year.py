"""A full simulated year has enough happenings of each kind, whatever the seed. No stack runs: the story is rehearsed
with a product that charges what must be charged."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import fields, replace
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest

from local.simulate.bank import Bank
from local.simulate.enough import FULL_YEAR, LEAST, too_few
from local.simulate.evidence import Verdict
from local.simulate.expected import expected, undisturbed
from local.simulate.happenings import BankDecides, Contest, Contested, RefundElsewhere, RefundFails, Subscriber
from local.simulate.story import Story
from tests.shares import share

SEEDS = (*range(1, 20), 8675309)
ENOUGH = Verdict({}, [], **{field.name: LEAST for field in fields(Verdict)[2:]})
WAYS = {"in_order": 0, "never": LEAST, "doubled": LEAST, "shuffled": LEAST, "late": LEAST}


class Gateway:
    """The payments, refunds and disputes of a single customer, with what `Bank` asks a gateway and a sandbox.

    payments: newest first.
    """

    def __init__(self) -> None:
        self.payments: list[SimpleNamespace] = []
        self.payment_intents = SimpleNamespace(list=self._listed)
        self.refunds = SimpleNamespace(create=lambda _: SimpleNamespace(id="re_1"))
        self._disputes: dict[str, dict[str, Any]] = {}

    def _listed(self, asked: Mapping[str, Any]) -> SimpleNamespace:
        return SimpleNamespace(data=self.payments[: asked["limit"]])

    def settle_refund(self, refund: str, state: str) -> None:
        """Let the refund fail. `Bank` remembers the failure."""

    def charges(self, **_: str) -> list[dict[str, int]]:
        return [{"amount": 100, "amount_refunded": 0}]

    def warn(self, payment: str) -> dict[str, str]:
        return {"id": f"issfr_{payment}"}

    def dispute(self, payment: str, *, amount: int, inquiry: bool) -> dict[str, Any]:
        status = "warning_needs_response" if inquiry else "needs_response"
        made = {"id": f"dp_{payment}", "amount": amount, "status": status, "balance_transactions": []}
        self._disputes[f"dp_{payment}"] = made
        return made

    def change_dispute(self, dispute: str, step: str) -> dict[str, Any]:
        changed = self._disputes[dispute]
        changed["status"] = {"withdraw": "needs_response", "respond": "under_review"}.get(step, step)
        return changed


def happened(story: Story) -> Counter[str]:
    """Return the numbers of refunds in the dashboard, of refunds that failed later, and of disputes."""
    counts: Counter[str] = Counter()
    for subscriber in story.subscribers:
        bank = _rehearsed(subscriber, story)
        refunds = bank.refunds.get(subscriber.id, [])
        counts["refunded"] += len(refunds)
        counts["refunds_failed"] += sum(refund.failed for refund in refunds)
        counts["disputed"] += sum(each.by is not Contest.WARNING for each in bank.disputes.get(subscriber.id, []))
    return counts


def _rehearsed(subscriber: Subscriber, story: Story) -> Bank:
    """Live the subscriber's year without a stack. On each day the bank acts before the sweep charges."""
    gateway: Any = Gateway()
    bank, charges = Bank(gateway, gateway), undisturbed(subscriber, story)
    result = expected(subscriber, story, charges)
    refused = {period: day for period, day in result.refused.items() if result.recovered.get(period) != day}
    tried = sorted(
        [*((day, period, False) for period, day in refused.items()), *((c.day, c.period, True) for c in charges)]
    )
    for day in sorted(subscriber.actions):
        before = {period: paid for on, period, paid in tried if on < day}
        gateway.payments = [_payment(str(period), succeeded=paid) for period, paid in reversed(before.items())]
        bank.today = day
        for action in subscriber.actions[day]:
            if isinstance(action, RefundElsewhere | RefundFails | Contested | BankDecides):
                bank.act(subscriber.id, "cus_1", action)
    return bank


def _payment(identity: str, *, succeeded: bool) -> SimpleNamespace:
    status = "succeeded" if succeeded else "requires_payment_method"
    return SimpleNamespace(id=identity, status=status, amount=100)


@cache
def year(seed: int) -> Story:
    return Story(seed, days=FULL_YEAR.days, subscriptions=FULL_YEAR.subscriptions)


@pytest.mark.parametrize("seed", share(SEEDS, of=5))
def test_a_full_year_has_enough_of_each(seed: int) -> None:
    """In the year that `make simulate` tells by default, at least 20 refunds are made in the dashboard, at least 20 of
    these fail later, at least 20 payments are disputed, and the application is down on at least 20 days, with each
    seed."""
    counts = happened(year(seed))
    assert min(counts[kind] for kind in ("refunded", "refunds_failed", "disputed")) >= LEAST, counts
    assert len(year(seed).silent) >= LEAST


def test_a_product_that_charges_what_it_must_breaks_no_promise() -> None:
    """The charges of the rehearsal are the charges that the reckoning expects: the reckoning finds no fault."""
    story = year(1)
    for subscriber in story.subscribers:
        charges = undisturbed(subscriber, story)
        assert expected(subscriber, story, charges).faults == []


@pytest.mark.parametrize("kind", ["refunded", "refunds_failed", "disputed"])
def test_a_full_year_with_too_few_of_a_kind_is_no_success(kind: str) -> None:
    """A full year in which nineteen of a kind happened is told as too few; with twenty of each, nothing is told. A
    smaller story may have fewer."""
    fewer: Any = {kind: LEAST - 1}
    found = replace(ENOUGH, **fewer)
    assert too_few(year(1), ENOUGH, WAYS) == []
    assert len(too_few(year(1), found, WAYS)) == 1
    assert too_few(Story(1, days=FULL_YEAR.days - 1, subscriptions=FULL_YEAR.subscriptions), found, WAYS) == []
    assert too_few(Story(1, days=FULL_YEAR.days, subscriptions=FULL_YEAR.subscriptions - 1), found, WAYS) == []


@pytest.mark.parametrize("way", ["never", "doubled", "shuffled", "late"])
def test_a_full_year_needs_every_way_of_an_event(way: str) -> None:
    """A full year in which nineteen events of the gateway were lost, or doubled, or shuffled, or late, is told as too
    few."""
    (told,) = too_few(year(1), ENOUGH, WAYS | {way: LEAST - 1})
    assert told.startswith(f"too few: {LEAST - 1} events of the gateway")
