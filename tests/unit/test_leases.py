"""The lease of a renewal, and the waits that depend on the lease: every length is read where the product sets the
length, and is checked against its reason.

After its last step an execution owns a renewal for the time of a lease. A second execution within the lease is answered
`in_progress`, which ends as a success. A wait shorter than a lease would therefore lose a retry, and a lease shorter
than the run of a function would let two executions charge side by side.
"""

import re
from datetime import timedelta
from typing import Any

import pytest

from process_payment.charge import _ASKED_AGAIN_WITHIN
from renewal_sweep.sweep import QUIET
from renewal_worker.app import _FIRST_WAIT_SECONDS, MOST_TRIES
from renewals.ledger.steps import LEASE
from renewals.runtime import aws
from tests.fakes import LATER
from tests.template import of_type, properties, template
from tests.unit.test_workflow_definition import EXPRESS_SECONDS, TASKS, slowest_way

LEASE_SECONDS = LEASE.total_seconds()


def _waits(task: dict[str, Any]) -> list[float]:
    """Return the seconds before every retry of a task."""
    (retry,) = task["Retry"]
    return [retry["IntervalSeconds"] * retry["BackoffRate"] ** n for n in range(retry["MaxAttempts"])]


def _function_seconds(task: dict[str, Any]) -> int:
    """Return how many seconds Lambda lets the task's function run, even after the workflow has given the task up."""
    seconds: int = properties(task["Resource"].removeprefix("${").removesuffix("Arn}"))["Timeout"]
    return seconds


@pytest.mark.parametrize("name", TASKS)
def test_a_lease_outlasts_a_task_and_the_longest_wait_before_its_retry(name: str) -> None:
    """A lease outlasts a task and the longest wait before its retry, so that the retrying execution still owns its
    renewal, and no second execution takes the renewal up in between."""
    assert TASKS[name]["TimeoutSeconds"] + max(_waits(TASKS[name])) < LEASE_SECONDS


@pytest.mark.parametrize("name", TASKS)
def test_a_lease_outlasts_the_function_that_began_it(name: str) -> None:
    """A function runs on after the workflow has given its task up: a lease outlasts the function, so that nobody takes
    the renewal up before the function has ended."""
    assert TASKS[name]["TimeoutSeconds"] <= _function_seconds(TASKS[name]) < LEASE_SECONDS


@pytest.mark.parametrize("name", TASKS)
def test_a_message_comes_back_after_the_lease_of_the_run_that_failed(name: str) -> None:
    """A message comes back only after the failed run's lease, even where the last task's function outlived the task and
    began a lease at its very end. Within a lease the next try would end as in progress, and count as done."""
    outlives = _function_seconds(TASKS[name]) - TASKS[name]["TimeoutSeconds"]
    assert outlives + LEASE_SECONDS < _FIRST_WAIT_SECONDS


def test_the_worker_waits_for_the_slowest_workflow() -> None:
    """The worker waits for longer than any workflow runs, and ends before Lambda would end the worker."""
    sources = of_type("AWS::Lambda::EventSourceMapping").values()
    (source,) = (each for each in sources if each["FunctionName"] == "<RenewalWorker>")
    assert slowest_way() < aws._WORKFLOW_SECONDS
    assert source["BatchSize"] * (aws._CONNECT_SECONDS + aws._WORKFLOW_SECONDS) < properties("RenewalWorker")["Timeout"]


def test_a_message_stays_hidden_while_a_worker_is_at_it() -> None:
    """A message stays hidden for six times the worker's timeout, as Lambda demands, in case a worker dies before it has
    set a longer wait."""
    assert properties("RenewalQueue")["VisibilityTimeout"] >= 6 * properties("RenewalWorker")["Timeout"]


def test_the_worker_and_the_queue_count_the_same_tries() -> None:
    """Worker and queue count the same number of tries: after the last try the worker sets no wait, and the message
    becomes a dead letter at once."""
    redrive = {"deadLetterTargetArn": "<RenewalDeadLetterQueue.Arn>", "maxReceiveCount": MOST_TRIES}
    assert properties("RenewalQueue")["RedrivePolicy"] == redrive


def test_what_the_sweep_takes_for_cut_off_has_no_execution_left() -> None:
    """A renewal counts as cut off for the sweep only when untouched for longer than an execution may last, and than the
    queue may wait before its last try."""
    longest = _FIRST_WAIT_SECONDS * 2 ** (MOST_TRIES - 2)
    assert QUIET.total_seconds() > max(EXPRESS_SECONDS, LEASE_SECONDS, longest + slowest_way())


def test_a_claim_that_waits_for_the_account_is_overdue_after_two_sweeps() -> None:
    """A claim waiting for the gateway account is looked at by every sweep, and is overdue after two sweeps. Until then
    only the alarm on the account is on, and stays on from sweep to sweep."""
    schedule = template()["Parameters"]["SweepSchedule"]["Default"]
    (hours,) = re.fullmatch(r"rate\((\d+) hours?\)", schedule).groups()  # type: ignore[union-attr]
    between = timedelta(hours=int(hours))
    assert 2 * between == _ASKED_AGAIN_WITHIN
    alarm = properties("GatewayAccountAlarm")
    assert between < timedelta(seconds=alarm["Period"] * alarm["EvaluationPeriods"]) <= _ASKED_AGAIN_WITHIN


def test_the_tests_wait_longer_than_a_lease() -> None:
    """`LATER`, after which tests let a second execution take up a renewal, is longer than a lease."""
    assert LATER > LEASE
