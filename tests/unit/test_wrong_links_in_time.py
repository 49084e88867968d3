"""Wrong links are refused in the same time, whatever is wrong: a stranger learns nothing from the time or the words."""

import logging
import sys
from collections.abc import Iterator
from random import Random
from statistics import median
from time import thread_time_ns
from typing import Any

import pytest

from customer_page import app
from renewals.ledger.account_links import NOBODY, subscription_in
from tests.fake_aws import wire
from tests.fakes import World
from tests.unit.test_customer_page_links import broken_links
from tests.visitor import Visitor

ROUNDS = 200
MEASUREMENTS = 4
SAME_WORK, SAME_TIME = 0.01, 0.05
"""The parts by which the work, and the time, for one kind may differ from all kinds."""
UNREADABLE = 0.15
"""The same for a text that names no subscription at all. A stranger who has sent such a text knows as much before."""


class Answers:
    """A table that answers in constant time: the answers were made before."""

    def __init__(self, shop: World) -> None:
        self._row = {"Items": [wire(shop.row())]}

    def query(self, **q: Any) -> dict[str, Any]:
        return self._row if q["ExpressionAttributeValues"][":id"] == {"S": "sub_1"} else {"Items": []}


@pytest.fixture
def kinds(visitor: Visitor, shop: World) -> Iterator[dict[str, str]]:
    """Every kind of wrong link, without log lines, over a table that answers in constant time."""
    made = {name: token for name, token in broken_links(visitor, shop) if token}
    good = visitor.link()
    for bit in (0, 3, 5, 40, 8 * len(good) - 8):
        changed = bytearray(good.encode())
        changed[bit // 8] ^= 1 << bit % 8
        made[f"bit {bit}"] = changed.decode(errors="replace")
    made["forged, of nobody"] = made["another subscription"].partition(".")[0] + "." + "A" * 43
    logging.disable(logging.CRITICAL)
    shop.dynamodb.query = Answers(shop).query  # type: ignore[method-assign]
    yield made
    logging.disable(logging.NOTSET)


def fastest_tenth(times: list[int]) -> int:
    """Return the time below which a tenth of the calls lie. The slow calls tell of the machine."""
    return sorted(times)[len(times) // 10]


def times_of(events: dict[str, Any], rounds: int) -> dict[str, list[int]]:
    """Return the times of the calls for every kind, in nanoseconds of the processor: nothing is waited for here. All
    kinds take turns, in a new order each time."""
    times: dict[str, list[int]] = {name: [] for name in events}
    order, chance = [*events], Random(1)  # noqa: S311  (no secret)
    for _ in range(rounds):
        chance.shuffle(order)
        for name in order:
            begun = thread_time_ns()
            app.handler(events[name], None)
            times[name].append(thread_time_ns() - begun)
    return times


def steps_of(event: dict[str, Any]) -> int:
    """Return the number of calls of functions, in Python and in C, that an answer takes."""
    counted = 0

    def count(_frame: object, what: str, _argument: object) -> None:
        nonlocal counted
        counted += what in ("call", "c_call")

    sys.setprofile(count)
    try:
        app.handler(event, None)
    finally:
        sys.setprofile(None)
    return counted


def test_every_wrong_link_takes_the_same_work(visitor: Visitor, kinds: dict[str, str]) -> None:
    """A link that is forged, changed in a bit, expired, another customer's, of a rotated key or of no subscription at
    all is refused after as many calls of functions as every other link, and with the same answer."""
    events = {name: visitor.event("GET", f"/account/link/{token}") for name, token in kinds.items()}
    assert len({repr(app.handler(event, None)) for event in events.values()}) == 1
    assert apart({name: steps_of(event) for name, event in events.items()}, kinds, SAME_WORK) == {}


@pytest.mark.proof
def test_every_wrong_link_is_refused_in_the_same_time(visitor: Visitor, kinds: dict[str, str]) -> None:
    """Over many calls of each kind in turn, no kind of wrong link is refused earlier or later than the others. What is
    the product's own shows in each of several measurements, and what is the machine's does not."""
    events = {name: visitor.event("GET", f"/account/link/{token}") for name, token in kinds.items()}
    measured = []
    for _ in range(MEASUREMENTS):
        times = {name: fastest_tenth(each) for name, each in times_of(events, ROUNDS).items()}
        measured.append(apart(times, kinds, SAME_TIME))
    assert set.intersection(*(set(each) for each in measured)) == set()


def apart(costs: dict[str, int], kinds: dict[str, str], fair: float) -> dict[str, float]:
    """Return the kinds that cost more or less than all readable kinds, by more than is fair."""
    readable = {name for name, token in kinds.items() if subscription_in(token) != NOBODY}
    middle = median(costs[name] for name in readable)
    differs = {name: cost / middle - 1 for name, cost in costs.items()}
    return {name: part for name, part in differs.items() if abs(part) > (fair if name in readable else UNREADABLE)}
