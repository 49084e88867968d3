"""The deployed stacks of the tests, built and deployed as users do, on separate ports; and the test files of every
stack."""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from local.simulate.shop import ENVIRONMENT
from local.stack import ROOT, Stack, free_port
from local.time_passes import TimePasses

_STARTED_BY = "started-by-tests-of"
RUN = "INTEGRATION_RUN"
"""The environment variable with the process that started a run of several processes, and ends all their stacks."""
RESERVED_FOR_THE_PAGE = 10
"""The executions of Lambda reserved for the customer page on the stack of test_flood.py."""
SCALE_OF_WAITS = 0.05
"""The scale of a workflow's pauses before its retries; unit tests assert the unscaled lengths."""


@dataclass(frozen=True)
class Share:
    """Test files that run on the same stack in this order, at the same time as the files of other shares.

    environment: the stack's Environment. parameters: more of the template's parameters. scheduled: whether the
    schedules run. Without schedules the tests alone decide what is renewed, at any time of the day.
    """

    files: tuple[str, ...]
    environment: str = "prod"
    parameters: Mapping[str, str] = field(default_factory=dict)
    scheduled: bool = False


LOGS = "test_logs.py"
"""A file that runs in several shares, after all other files of the share."""

SHARES = {
    # The alarms need a stack on which nothing has gone wrong yet, and move the clock of the stack's metrics. The pages
    # of the console, mails and customers need no stack.
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
            "test_console_pages.py",
            "test_mail_pages.py",
            "test_account_pages.py",
            "test_redeploy.py",
            LOGS,
        )
    ),
    # The audit needs a stack and a gateway on which nothing has been charged yet.
    "after the audit": Share(
        (
            "test_audit.py",
            "test_api.py",
            "test_api_document.py",
            "test_emulator.py",
            "test_events.py",
            "test_events_out.py",
            "test_gateway_door.py",
            "test_mail_feedback.py",
            "test_permissions.py",
            "test_renewals.py",
            "test_secret_rotation.py",
            "test_streams_and_events.py",
            "test_subscriptions_command.py",
            "test_webhook_requests.py",
            "test_public_paths.py",
            "test_wrong_links.py",
            "test_account_form.py",
            "test_flood.py",
            LOGS,
        ),
        parameters={"CustomerPageConcurrency": str(RESERVED_FOR_THE_PAGE)},
    ),
    # Outside production a subscription may have a test clock. The sandbox gateway runs in the tests' own process, and
    # neither its tests nor the check's need a stack. The ceilings need only the built functions, on any stack, and come
    # last, since they keep all cores busy while the other shares are done.
    "with test clocks": Share(
        (
            "test_own_subscription.py",
            "test_customer_page_in_a_browser.py",
            "test_simulation.py",
            "test_sandbox_gateway.py",
            "test_sandbox_strict.py",
            "test_sandbox_hostile.py",
            "test_sandbox_pages.py",
            "test_sandbox_events.py",
            "test_sandbox_disputes.py",
            "test_check.py",
            "test_ceilings.py",
        ),
        ENVIRONMENT,
        scheduled=True,
    ),
}


def shares_of(file: str) -> list[str]:
    """Return the names of the shares in which a test file runs."""
    return [name for name, share in SHARES.items() if file in share.files]


def is_of_others(file: str, share: str) -> bool:
    """Tell whether a file belongs to other shares alone. A file without any share belongs to none, so that each share
    collects and refuses the file."""
    return bool(shares_of(file)) and share not in shares_of(file)


@contextmanager
def deployed(share: Share, session: pytest.Session) -> Iterator[Stack]:
    """Deploy the share's stack with IAM enforced; after a failed test the stack's folder stays, for the logs and
    mails."""
    stack, failed_before = Stack(free_port(), Environment=share.environment, **share.parameters), session.testsfailed
    with stack:
        (stack.folder / _STARTED_BY).write_text(os.environ.get(RUN, str(os.getpid())))
        TimePasses(stack.endpoint_url).scale_waits_of_workflows(SCALE_OF_WAITS)
        if not share.scheduled:
            _disable_schedules(stack)
        yield stack
    if session.testsfailed == failed_before:
        shutil.rmtree(stack.folder)


def end_stacks_of(process: int) -> None:
    """End the stacks left running by the tests of a process, or of a run of several processes."""
    for note in (ROOT / ".local").glob(f"[0-9]*/{_STARTED_BY}"):
        stack = Stack(int(note.parent.name))
        if note.read_text() == str(process):
            stack.stop()


def _disable_schedules(stack: Stack) -> None:
    scheduler = stack.client("scheduler")
    for listed in scheduler.list_schedules()["Schedules"]:
        schedule = scheduler.get_schedule(Name=listed["Name"])
        scheduler.update_schedule(**settings_of(schedule) | {"State": "DISABLED"})


def settings_of(schedule: dict[str, object]) -> dict[str, object]:
    """Return a schedule's settings for an update: an update drops all settings not given again."""
    names = ("Name", "ScheduleExpression", "ScheduleExpressionTimezone", "FlexibleTimeWindow", "Target", "State")
    return {name: schedule[name] for name in names}
