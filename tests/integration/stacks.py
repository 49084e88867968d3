"""A deployed stack for tests, built and deployed as users do, on a port of its own."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from local.stack import Stack, free_port


@contextmanager
def deployed(session: pytest.Session, *, scheduled: bool = False, **parameters: str) -> Iterator[Stack]:
    """A running stack with IAM enforced. Its folder stays if a test failed meanwhile, for its logs and mails.

    scheduled: whether it sweeps by itself. Else tests say themselves what is renewed, at whatever time of the day they
    run. parameters: of the template, as Stack takes them. The environment is production's, which has real customers,
    unless they name another.
    """
    stack, failed_before = Stack(free_port(), **{"Environment": "prod"} | parameters), session.testsfailed
    with stack:
        if not scheduled:
            scheduler = stack.client("scheduler")
            for schedule in scheduler.list_schedules()["Schedules"]:
                scheduler.delete_schedule(Name=schedule["Name"])
        yield stack
    if session.testsfailed == failed_before:
        shutil.rmtree(stack.folder)
