"""The stacks that the integration tests share, and what acts on them and looks at them."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import pytest

from local.stack import Stack

pytest.register_assert_rewrite("tests.integration.shop")

from tests.integration.shop import Shop  # noqa: E402  (its assertions tell what differs only if told so before)
from tests.integration.stacks import SHARES, deployed  # noqa: E402

HERE = Path(__file__).parent
PLACES = {
    (name, file): (number, place)
    for number, (name, share) in enumerate(SHARES.items())
    for place, file in enumerate(share.files)
}


@pytest.hookimpl(tryfirst=True)  # before xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the tests into the order of their shares, each of which has a process of its own under --dist loadgroup."""
    here = [item for item in items if item.path.parent == HERE]
    for item in here:
        item.add_marker(pytest.mark.xdist_group(_share_of(item)))
    here.sort(key=lambda item: PLACES[_share_of(item), item.path.name])
    items[:] = [item for item in items if item.path.parent != HERE] + here


def _share_of(item: pytest.Item) -> str:
    parameters = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    return str(parameters.get("share") or share_of(item.path.name))


def share_of(file: str) -> str:
    """The share in which all tests of a file run. Raises UsageError where the file is in none, or in several."""
    found = [name for name, share in SHARES.items() if file in share.files]
    if len(found) != 1:
        raise pytest.UsageError(f"{file} is in {len(found)} shares of tests/integration/stacks.py, and not in one")
    return found[0]


@pytest.fixture(scope="session")
def shop_of(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Shop]]:
    """The shop of a share, whose stack is deployed when it is first asked for."""
    with ExitStack() as running:
        yield cache(lambda share: Shop(running.enter_context(deployed(SHARES[share], request.session))))


@pytest.fixture(scope="module")
def share(request: pytest.FixtureRequest) -> str:
    return share_of(request.path.name)


@pytest.fixture(scope="module")
def shop(shop_of: Callable[[str], Shop], share: str) -> Shop:
    """What makes subscriptions on the stack of the share, sends webhooks, and looks at what became of them."""
    return shop_of(share)


@pytest.fixture(scope="module")
def stack(shop: Shop) -> Stack:
    """The stack of the share."""
    return shop.stack
