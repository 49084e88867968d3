"""One local stack for all integration tests but those that have their own."""

from collections.abc import Iterator

import pytest

from local.simulate.shop import ENVIRONMENT
from local.stack import Stack

pytest.register_assert_rewrite("tests.integration.shop")

from tests.integration.shop import Shop  # noqa: E402  (its assertions tell what differs only if told so before)
from tests.integration.stacks import deployed  # noqa: E402


@pytest.fixture(scope="session")
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """The one that all of them share."""
    with deployed(request.session) as running:
        yield running


@pytest.fixture(scope="session")
def stack_with_test_clocks(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """One outside production, whose subscriptions may live on a day of their own; it sweeps by itself."""
    with deployed(request.session, scheduled=True, Environment=ENVIRONMENT) as running:
        yield running


@pytest.fixture(scope="session")
def shop(stack: Stack) -> Shop:
    """What makes subscriptions on the stack, sends webhooks, and looks at what became of them."""
    return Shop(stack)
