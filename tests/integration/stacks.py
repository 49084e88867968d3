"""The deployed stacks of the tests, built and deployed as users do, each on a port of its own; what runs on which."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from local.simulate.shop import ENVIRONMENT
from local.stack import ROOT, Stack, free_port
from local.time_passes import TimePasses

_STARTED_BY = "started-by-tests-of"
SCALE_OF_WAITS = 0.05
"""A workflow's pause before it tries again lasts so much of what it says: how long it is, unit tests say."""


@dataclass(frozen=True)
class Share:
    """Test files that run on one stack, in this order; those of another share may run at the same time.

    environment: the one it is deployed as. scheduled: whether it sweeps by itself. Else tests say themselves what is
    renewed, at whatever time of the day they run.
    """

    files: tuple[str, ...]
    environment: str = "prod"
    scheduled: bool = False


LOGS = "test_logs.py"
"""Runs in each share that names it, when all of its other files have."""

SHARES = {
    # The alarms want a stack on which nothing has gone wrong yet, and move on its clock of metrics.
    "after the alarms": Share(
        (
            "test_alarms.py",
            "test_sweep.py",
            "test_restore.py",
            "test_storm.py",
            "test_cuts.py",
            "test_second_opinion.py",
            "test_hostile_gateway.py",
            "test_console.py",
            "test_redeploy.py",
            LOGS,
        )
    ),
    # The audit wants a stack, and a gateway, on which nothing has been charged yet.
    "after the audit": Share(
        (
            "test_audit.py",
            "test_api.py",
            "test_api_document.py",
            "test_emulator.py",
            "test_events.py",
            "test_mail_feedback.py",
            "test_permissions.py",
            "test_renewals.py",
            "test_secret_rotation.py",
            "test_subscriptions_command.py",
            "test_webhook_requests.py",
            LOGS,
        )
    ),
    # Outside production, where a subscription may have a test clock. The ceilings want no more than what was built, on
    # any stack; they come last, since they keep all cores at work where the other shares are done.
    "with test clocks": Share(
        ("test_own_subscription.py", "test_simulation.py", "test_ceilings.py"), ENVIRONMENT, scheduled=True
    ),
}


@contextmanager
def deployed(share: Share, session: pytest.Session) -> Iterator[Stack]:
    """The share's stack, IAM enforced. Its folder stays if a test failed meanwhile, for its logs and mails."""
    stack, failed_before = Stack(free_port(), Environment=share.environment), session.testsfailed
    with stack:
        (stack.folder / _STARTED_BY).write_text(str(_first_process()))
        TimePasses(stack.endpoint_url).scale_waits_of_workflows(SCALE_OF_WAITS)
        if not share.scheduled:
            _disable_schedules(stack)
        yield stack
    if session.testsfailed == failed_before:
        shutil.rmtree(stack.folder)


def end_stacks_of(process: int) -> None:
    """Ends what the tests of this process, or of one that it started, have left running."""
    for note in (ROOT / ".local").glob(f"[0-9]*/{_STARTED_BY}"):
        stack = Stack(int(note.parent.name))
        if note.read_text() == str(process):
            stack.stop()


def _first_process() -> int:
    return os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()


def _disable_schedules(stack: Stack) -> None:
    scheduler = stack.client("scheduler")
    for listed in scheduler.list_schedules()["Schedules"]:
        schedule = scheduler.get_schedule(Name=listed["Name"])
        scheduler.update_schedule(**settings_of(schedule) | {"State": "DISABLED"})


def settings_of(schedule: dict[str, object]) -> dict[str, object]:
    """What a schedule is updated with, which keeps nothing that it is not told again."""
    names = ("Name", "ScheduleExpression", "ScheduleExpressionTimezone", "FlexibleTimeWindow", "Target", "State")
    return {name: schedule[name] for name in names}
