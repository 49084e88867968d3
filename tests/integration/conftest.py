"""The stacks that the integration tests share, and what acts on them and looks at them."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import pytest
from _pytest.nodeid import coerce_node_id
from schemathesis.pytest.plugin import SchemathesisFunction
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from local.stack import Stack

pytest.register_assert_rewrite("tests.integration.shop")

from tests.integration.shop import Shop  # noqa: E402  (its assertions tell what differs only if told so before)
from tests.integration.stacks import SHARES, deployed, end_stacks_of  # noqa: E402

HERE = Path(__file__).parent
PLACES = {
    (name, file): (number, place)
    for number, (name, share) in enumerate(SHARES.items())
    for place, file in enumerate(share.files)
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the tests into the order of their shares. Each has an id of its own: of two with one id xdist would run one.

    Under pytest 9.2 schemathesis gives the tests of all paths one id, and names that differ.
    """
    here = [item for item in items if item.path.parent == HERE]
    for item in here:
        if isinstance(item, SchemathesisFunction) and item.parent:
            item._id = coerce_node_id(f"{item.parent.nodeid}::{item.name}")
    twice = [name for name, count in Counter(item.nodeid for item in here).items() if count > 1]
    if twice:
        raise pytest.UsageError(f"tests that share an id, of which one would run: {', '.join(twice)}")
    here.sort(key=lambda item: PLACES[share_of(item.nodeid), item.path.name])
    items[:] = [item for item in items if item.path.parent != HERE] + here


class OneProcessForEachShare(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """xdist's own --dist loadgroup, version 3.8.0, knows no group under pytest 9.2."""

    def _split_scope(self, nodeid: str) -> str:
        return share_of(nodeid) if "/integration/" in nodeid else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling | None:
    return OneProcessForEachShare(config, log) if config.getoption("dist") == "loadgroup" else None


def share_of(test: str) -> str:
    """The share in which a test runs: the one of its file, or that which its parameter names.

    Raises UsageError where the file is in none, or in several.
    """
    file = test.partition("::")[0].rpartition("/")[2]
    found = [name for name, share in SHARES.items() if file in share.files]
    named = [name for name in found if test.endswith(f"[{name}]")] or found
    if len(named) != 1:
        raise pytest.UsageError(f"{test} is in {len(named)} shares of tests/integration/stacks.py, and not in one")
    return named[0]


def pytest_sessionfinish() -> None:
    """Ends the stacks that a process of these tests has left running: one that was interrupted may not come to it."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        end_stacks_of(os.getpid())


@pytest.fixture(scope="session")
def shop_of(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Shop]]:
    """The shop of a share, whose stack is deployed when it is first asked for."""
    with ExitStack() as running:
        yield cache(lambda share: Shop(running.enter_context(deployed(SHARES[share], request.session))))


@pytest.fixture(scope="module")
def share(request: pytest.FixtureRequest) -> str:
    return share_of(request.node.nodeid)


@pytest.fixture(scope="module")
def shop(shop_of: Callable[[str], Shop], share: str) -> Shop:
    """What makes subscriptions on the stack of the share, sends webhooks, and looks at what became of them."""
    return shop_of(share)


@pytest.fixture(scope="module")
def stack(shop: Shop) -> Stack:
    """The stack of the share."""
    return shop.stack
