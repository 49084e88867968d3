"""The stacks shared by the integration tests, and the fixtures that act on the stacks and look at them."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import pytest
from _pytest.nodeid import coerce_node_id

from local.stack import Stack

pytest.register_assert_rewrite("tests.integration.shop", "tests.integration.customer")

from tests.integration.cloud import Cloud  # noqa: E402
from tests.integration.shop import Shop  # noqa: E402  (pytest must rewrite its assertions before the import)
from tests.integration.stacks import RUN, SHARES, deployed, end_stacks_of, is_of_others, shares_of  # noqa: E402

HERE = Path(__file__).parent
PLACES = {
    (name, file): (number, place)
    for number, (name, share) in enumerate(SHARES.items())
    for place, file in enumerate(share.files)
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--share", choices=[*SHARES], help="run only the tests of this share of tests/integration/stacks.py"
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Import only the files of the asked share."""
    share = config.getoption("share", None)
    here = collection_path.parent == HERE
    return True if share and here and is_of_others(collection_path.name, share) else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the tests into the order of their shares, leave out the tests of other shares than the asked share, and give
    every test an id of its own, by which a report names the test.

    Under pytest 9.2 schemathesis gives the tests of all paths an equal id, and different names.
    """
    here = [item for item in items if item.path.parent == HERE]
    for item in here:
        if type(item).__name__ == "SchemathesisFunction" and item.parent:
            item._id = coerce_node_id(f"{item.parent.nodeid}::{item.name}")
    twice = [name for name, count in Counter(item.nodeid for item in here).items() if count > 1]
    if twice:
        raise pytest.UsageError(f"several tests have the same id: {', '.join(twice)}")
    if share := config.getoption("share", None):
        here = [item for item in here if share_of(item.nodeid) == share]
    here.sort(key=lambda item: PLACES[share_of(item.nodeid), item.path.name])
    items[:] = [item for item in items if item.path.parent != HERE] + here


def share_of(test: str) -> str:
    """Return the share in which a test runs: the share of the file, or the share named by the test's parameter.

    Raises UsageError where the file is in no share, or in several.
    """
    file = test.partition("::")[0].rpartition("/")[2]
    found = shares_of(file)
    named = [name for name in found if test.endswith(f"[{name}]")] or found
    if len(named) != 1:
        raise pytest.UsageError(f"{test} is in {len(named)} shares of tests/integration/stacks.py, and not in one")
    return named[0]


def pytest_sessionfinish() -> None:
    """End the stacks that this process has left running, as an interrupted process may do."""
    if RUN not in os.environ:
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
