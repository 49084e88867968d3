"""The stacks shared by the integration tests, and the fixtures that act on the stacks and look at them."""

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

pytest.register_assert_rewrite("tests.integration.shop", "tests.integration.customer")

from tests.integration.cloud import Cloud  # noqa: E402
from tests.integration.shop import Shop  # noqa: E402  (pytest must rewrite its assertions before the import)
from tests.integration.stacks import SHARES, deployed, end_stacks_of  # noqa: E402

HERE = Path(__file__).parent
PLACES = {
    (name, file): (number, place)
    for number, (name, share) in enumerate(SHARES.items())
    for place, file in enumerate(share.files)
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests into the order of their shares, and give every test an id of its own: xdist runs only the first of
    two tests with equal ids.

    Under pytest 9.2 schemathesis gives the tests of all paths an equal id, and different names.
    """
    here = [item for item in items if item.path.parent == HERE]
    for item in here:
        if isinstance(item, SchemathesisFunction) and item.parent:
            item._id = coerce_node_id(f"{item.parent.nodeid}::{item.name}")
    twice = [name for name, count in Counter(item.nodeid for item in here).items() if count > 1]
    if twice:
        raise pytest.UsageError(f"several tests have the same id, and only one of them would run: {', '.join(twice)}")
    here.sort(key=lambda item: PLACES[share_of(item.nodeid), item.path.name])
    items[:] = [item for item in items if item.path.parent != HERE] + here


class OneProcessForEachShare(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """A scheduler by shares: xdist's own --dist loadgroup, version 3.8.0, finds no groups under pytest 9.2."""

    def _split_scope(self, nodeid: str) -> str:
        return share_of(nodeid) if "/integration/" in nodeid else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling | None:
    return OneProcessForEachShare(config, log) if config.getoption("dist") == "loadgroup" else None


def share_of(test: str) -> str:
    """Return the share in which a test runs: the share of the file, or the share named by the test's parameter.

    Raises UsageError where the file is in no share, or in several.
    """
    file = test.partition("::")[0].rpartition("/")[2]
    found = [name for name, share in SHARES.items() if file in share.files]
    named = [name for name in found if test.endswith(f"[{name}]")] or found
    if len(named) != 1:
        raise pytest.UsageError(f"{test} is in {len(named)} shares of tests/integration/stacks.py, and not in one")
    return named[0]


def pytest_sessionfinish() -> None:
    """End the stacks that a test process has left running, as an interrupted process may do."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        end_stacks_of(os.getpid())


@pytest.fixture(scope="session")
def shop_of(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Shop]]:
    """A function that returns the shop of a share and deploys the share's stack at the first call."""
    with ExitStack() as running:
        yield cache(lambda share: Shop(running.enter_context(deployed(SHARES[share], request.session))))


@pytest.fixture(scope="module")
def share(request: pytest.FixtureRequest) -> str:
    return share_of(request.node.nodeid)


@pytest.fixture(scope="module")
def shop(shop_of: Callable[[str], Shop], share: str) -> Shop:
    """The shop on the share's stack: makes subscriptions, sends webhooks, and looks at the results."""
    return shop_of(share)


@pytest.fixture(scope="module")
def stack(shop: Shop) -> Stack:
    """The share's stack."""
    return shop.stack


@pytest.fixture
def cloud(stack: Stack) -> Iterator[Cloud]:
    """A maker of functions, queues and workflows for a single test, all removed at the test's end."""
    made = Cloud(stack)
    yield made
    made.remove()
