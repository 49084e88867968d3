"""One local stack for all integration tests, built and deployed as users do, on a port of its own."""

import shutil
from collections.abc import Iterator

import pytest

from local.stack import Stack, free_port

pytest.register_assert_rewrite("tests.integration.shop")

from tests.integration.shop import Shop  # noqa: E402  (its assertions tell what differs only if told so before)


@pytest.fixture(scope="session")
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """A running stack with IAM enforced. Its folder stays if a test failed, for its logs and mails."""
    running = Stack(free_port())
    with running:
        # These tests say themselves what is renewed, at whatever time of the day they run.
        scheduler = running.client("scheduler")
        for schedule in scheduler.list_schedules()["Schedules"]:
            scheduler.delete_schedule(Name=schedule["Name"])
        yield running
    if request.session.testsfailed == 0:
        shutil.rmtree(running.folder)


@pytest.fixture(scope="session")
def shop(stack: Stack) -> Shop:
    """What makes subscriptions on the stack, sends webhooks, and looks at what became of them."""
    return Shop(stack)
