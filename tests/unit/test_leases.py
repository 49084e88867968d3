"""A lease, and the waits that hang on it: each is read where it is set, and held to what the comments beside it say.

An execution owns a renewal for a lease after its last step. Whoever asks within the lease of another execution is
answered "in progress", which ends as a success. So a wait that is shorter than a lease would lose a retry, and a lease
that is shorter than a function runs would let two executions charge side by side.
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
from tests.unit.test_template import of_type, properties, template
from tests.unit.test_workflow_definition import EXPRESS_SECONDS, TASKS, slowest_way

LEASE_SECONDS = LEASE.total_seconds()


def _waits(task: dict[str, Any]) -> list[float]:
    """The seconds before each retry of a task."""
    (retry,) = task["Retry"]
    return [retry["IntervalSeconds"] * retry["BackoffRate"] ** n for n in range(retry["MaxAttempts"])]


def _function_seconds(task: dict[str, Any]) -> int:
    """How long Lambda lets the function of a task run, also after the workflow has given the task up."""
    seconds: int = properties(task["Resource"].removeprefix("${").removesuffix("Arn}"))["Timeout"]
    return seconds


@pytest.mark.parametrize("name", TASKS)
def test_a_lease_outlasts_a_task_and_the_longest_wait_before_its_retry(name: str) -> None:
    """So the execution still owns its renewal when it tries again, and no other takes the renewal up in between."""
    assert TASKS[name]["TimeoutSeconds"] + max(_waits(TASKS[name])) < LEASE_SECONDS


@pytest.mark.parametrize("name", TASKS)
def test_a_lease_outlasts_the_function_that_began_it(name: str) -> None:
    """A function goes on where the workflow has given its task up: nobody takes its renewal up before it has ended."""
    assert TASKS[name]["TimeoutSeconds"] <= _function_seconds(TASKS[name]) < LEASE_SECONDS


@pytest.mark.parametrize("name", TASKS)
def test_a_message_comes_back_after_the_lease_of_the_run_that_failed(name: str) -> None:
    """Also where the function of its last task outlived the task, and began a lease at its very end. Within a lease the
    next try would end as in progress, and count as done."""
    outlives = _function_seconds(TASKS[name]) - TASKS[name]["TimeoutSeconds"]
    assert outlives + LEASE_SECONDS < _FIRST_WAIT_SECONDS


def test_the_worker_waits_for_the_slowest_workflow() -> None:
    """It gives up waiting later than any workflow ends, and ends by itself before Lambda ends it."""
    (source,) = of_type("AWS::Lambda::EventSourceMapping").values()
    assert slowest_way() < aws._WORKFLOW_SECONDS
    assert source["BatchSize"] * (aws._CONNECT_SECONDS + aws._WORKFLOW_SECONDS) < properties("RenewalWorker")["Timeout"]


def test_a_message_stays_hidden_while_a_worker_is_at_it() -> None:
    """For six times the worker's time, as Lambda asks for: where a worker dies, and no longer wait was set."""
    assert properties("RenewalQueue")["VisibilityTimeout"] >= 6 * properties("RenewalWorker")["Timeout"]


def test_the_worker_and_the_queue_count_the_same_tries() -> None:
    """After the last try the worker sets no wait: the message becomes a dead letter at once."""
    redrive = {"deadLetterTargetArn": "<RenewalDeadLetterQueue.Arn>", "maxReceiveCount": MOST_TRIES}
    assert properties("RenewalQueue")["RedrivePolicy"] == redrive


def test_what_the_sweep_takes_for_cut_off_has_no_execution_left() -> None:
    """It is longer untouched than an execution may last, and than the queue may wait before its last try."""
    longest = _FIRST_WAIT_SECONDS * 2 ** (MOST_TRIES - 2)
    assert QUIET.total_seconds() > max(EXPRESS_SECONDS, LEASE_SECONDS, longest + slowest_way())


def test_a_claim_that_waits_for_the_account_is_overdue_after_two_sweeps() -> None:
    """Each sweep asks about it again. Until it is overdue, the alarm on the account alone is on, and that stays on from
    one sweep to the next."""
    schedule = template()["Parameters"]["SweepSchedule"]["Default"]
    (hours,) = re.fullmatch(r"rate\((\d+) hours?\)", schedule).groups()  # type: ignore[union-attr]
    between = timedelta(hours=int(hours))
    assert 2 * between == _ASKED_AGAIN_WITHIN
    alarm = properties("GatewayAccountAlarm")
    assert between < timedelta(seconds=alarm["Period"] * alarm["EvaluationPeriods"]) <= _ASKED_AGAIN_WITHIN


def test_the_tests_wait_longer_than_a_lease() -> None:
    """`LATER` is when another execution may take up what one has left."""
    assert LATER > LEASE
