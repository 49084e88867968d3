"""What a customer on the customer page calls: `python -m benchmarks.page`, JSON on stdout.

A browser visits the page over the tests' own tables in memory, and DynamoDB's calls are counted by DynamoDB's rules, as
in benchmarks.units.
"""

import json
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, cast

from benchmarks.units import MeteredDynamoDB
from renewals.domain.customer_request import CustomerRequest
from renewals.ledger import account_links
from tests.fakes import NOON, World
from tests.visitor import Page, Visitor, visiting


@dataclass(frozen=True)
class Visit:
    """What one customer causes, from the link in a mail on.

    Attributes:
        requests: the requests to the page.
        reads, writes: the units of DynamoDB, also those of ProcessPayment.
        dynamodb: the calls of DynamoDB.
        payment_runs: the runs of ProcessPayment for the page.
        gateway: the calls of Stripe in these runs.
        messages: the requests for a renewal that are put on the queue.
        changes: the changes that are recorded, each of which a mail may confirm.
    """

    requests: int
    reads: float
    writes: float
    dynamodb: int
    payment_runs: int
    gateway: int
    messages: int
    changes: int


class _World(World):
    database = MeteredDynamoDB
    payment_runs = 0

    def ask(self, asked: CustomerRequest, now: datetime = NOON) -> dict[str, Any]:
        self.payment_runs += 1
        return super().ask(asked, now)


class _Browser(Visitor):
    """A browser that counts its requests."""

    requests = 0

    def send(self, event: dict[str, Any]) -> Page:
        self.requests += 1
        return super().send(event)


def _look(_browser: Visitor) -> None:
    """Do no more than to look."""


def _cancel(browser: Visitor) -> None:
    browser.press("cancel")
    browser.get("overview")


def _update_card(browser: Visitor) -> None:
    form = account_links.form_token("a key", browser.session)
    session = browser.post("new-card", {"form": form}).header("Location").rpartition("/")[2]
    back = browser.shop.gateway.give_card(session, "pm_new", browser.now)
    browser.get(back.partition("/account/")[2])


_VISITS: dict[str, Callable[[Visitor], None]] = {"look": _look, "cancel": _cancel, "update_card": _update_card}


def measured() -> dict[str, Any]:
    """Return what a customer causes who looks, who cancels, and who updates the payment method."""
    return {name: asdict(_visited(act, declined=name == "update_card")) for name, act in _VISITS.items()}


def _visited(act: Callable[[Visitor], None], *, declined: bool) -> Visit:
    world = _World()
    world.subscribe(payment_method="pm_declined" if declined else "pm_ok")
    world.run()
    metered = cast("MeteredDynamoDB", world.dynamodb)
    reads, writes, calls = metered.reads, metered.writes, Counter(_services(world))
    changes = len(metered.items("changes"))
    with visiting(world, _Browser) as browser:
        browser.sign_in()
        act(browser)
    called = Counter(_services(world)) - calls
    return Visit(
        requests=cast("_Browser", browser).requests,
        reads=metered.reads - reads,
        writes=metered.writes - writes,
        dynamodb=called["dynamodb"],
        payment_runs=world.payment_runs,
        gateway=called["gateway"],
        messages=len(browser.queued),
        changes=len(metered.items("changes")) - changes,
    )


def _services(world: World) -> list[str]:
    return [call.partition(".")[0] for call in world.cuts.calls]


def main() -> None:
    json.dump(measured(), sys.stdout)


if __name__ == "__main__":
    main()
