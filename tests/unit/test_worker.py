"""The worker: a workflow for every message, run to its end; a message without success goes back to the queue."""

import io
import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from renewal_worker.app import handler
from renewals.domain.request import RenewalRequest
from renewals.runtime import aws, telemetry
from tests.fake_aws import error

EVENTS = Path(__file__).parents[2] / "events"


@dataclass
class Workflows:
    """A Step Functions whose executions end as `ends` says, by their input, or raise; by default they succeed."""

    ends: dict[str, Any] = field(default_factory=dict)
    ran: list[str] = field(default_factory=list)

    def start_sync_execution(self, **q: Any) -> dict[str, Any]:
        assert set(q) == {"stateMachineArn", "input"}
        self.ran.append(q["input"])
        end = self.ends.get(q["input"], "SUCCEEDED")
        if isinstance(end, Exception):
            raise end
        return {"executionArn": "arn", "status": end, "ResponseMetadata": {"HTTPStatusCode": 200}}


@dataclass
class Visibility:
    waits: dict[str, int] = field(default_factory=dict)
    trouble: Exception | None = None

    def change_message_visibility(self, **q: Any) -> None:
        if self.trouble:
            raise self.trouble
        self.waits[q["ReceiptHandle"]] = q["VisibilityTimeout"]


@pytest.fixture
def workflows(monkeypatch: pytest.MonkeyPatch) -> Workflows:
    made = Workflows()
    monkeypatch.setattr(aws, "synchronous_workflows", lambda: made)
    monkeypatch.setenv("STATE_MACHINE_ARN", "workflow")
    return made


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Visibility:
    made = Visibility()
    monkeypatch.setattr(aws, "sqs", lambda: made)
    monkeypatch.setenv("RENEWAL_QUEUE_URL", "queue")
    return made


def _body(name: str) -> str:
    return json.dumps({"subscription_id": name, "customer_id": "cus_1", "amount": "1"})


def _record(name: str, tries: int = 1, body: str | None = None) -> dict[str, Any]:
    attributes = {"ApproximateReceiveCount": str(tries)}
    body = _body(name) if body is None else body
    return {"messageId": f"id-{name}", "receiptHandle": f"handle-{name}", "body": body, "attributes": attributes}


def _failed(*records: dict[str, Any]) -> list[str]:
    reply: dict[str, Any] = handler({"Records": list(records)}, None)
    return [each["itemIdentifier"] for each in reply["batchItemFailures"]]


def test_a_workflow_runs_for_each_message_in_order(workflows: Workflows, queue: Visibility) -> None:
    """The body is the workflow's unchanged input, and a message with success is not received again."""
    assert _failed(_record("a"), _record("b")) == []
    assert (workflows.ran, queue.waits) == ([_body("a"), _body("b")], {})


@pytest.mark.parametrize(
    "end", ["FAILED", "TIMED_OUT", error("AccessDenied", "StartSyncExecution"), ReadTimeoutError(endpoint_url="x")]
)
def test_what_does_not_succeed_goes_back_alone(workflows: Workflows, queue: Visibility, end: Any) -> None:
    """A failed execution differs from a good execution only in its status: its message goes back, and the rest of the
    batch is done."""
    workflows.ends[_body("b")] = end
    assert _failed(_record("a"), _record("b"), _record("c")) == ["id-b"]
    assert workflows.ran == [_body("a"), _body("b"), _body("c")]
    assert list(queue.waits) == ["handle-b"]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("poison", "the message is not a JSON object"),
        ("[]", "the message is not a JSON object"),
        ('{"amount": 1, "amount": 2}', "the message is not a JSON object"),
        ('{"amount": NaN}', "the message is not a JSON object"),
        ('{"subscription_id": "b", "amount": "1"}', "customer_id is missing"),
    ],
)
def test_what_is_no_request_never_starts_a_workflow(
    workflows: Workflows, queue: Visibility, body: str, why: str
) -> None:
    """An invalid message goes to the dead letters without a wait; the log has the reason, no quote and no ids of
    earlier messages."""
    written, handler = io.StringIO(), telemetry.logger().registered_handler
    assert isinstance(handler, logging.StreamHandler)
    kept = handler.setStream(written)
    try:
        assert _failed(_record("a"), _record("b", body=body)) == ["id-b"]
    finally:
        handler.setStream(kept)
    assert (workflows.ran, queue.waits) == ([_body("a")], {"handle-b": 0})
    [told] = [json.loads(line) for line in written.getvalue().splitlines() if '"not run"' in line]
    assert told["error"] == why
    assert (told["message_id"], "subscription_id" in told, "execution" in told) == ("id-b", False, False)
    assert body not in str(told)


@pytest.mark.parametrize(("tries", "seconds"), [(1, 60), (2, 120), (3, 240), (4, 480), (5, 0)])
def test_each_further_try_waits_longer(workflows: Workflows, queue: Visibility, tries: int, seconds: int) -> None:
    """The waits grow from a minute, which is longer than a lease: a try within the lease would end as in progress and
    count as done. After the last try the message becomes a dead letter at once."""
    workflows.ends[_body("a")] = "FAILED"
    assert _failed(_record("a", tries)) == ["id-a"]
    assert queue.waits == {"handle-a": seconds}


def test_a_message_fails_even_if_its_wait_cannot_be_set(workflows: Workflows, queue: Visibility) -> None:
    """A message whose wait cannot be set still fails, and comes back after the queue's own timeout."""
    workflows.ends[_body("a")], queue.trouble = "FAILED", error("AccessDenied", "ChangeMessageVisibility")
    assert _failed(_record("a")) == ["id-a"]


def test_the_sample_message_is_what_the_payment_function_takes(workflows: Workflows, queue: Visibility) -> None:
    """The body of events/renewal_worker.json asks for a single period of a single subscription."""
    event = json.loads((EVENTS / "renewal_worker.json").read_text())
    assert handler(event, None) == {"batchItemFailures": []}
    asked = RenewalRequest.from_json(workflows.ran[0])
    assert (asked.subscription_id, str(asked.amount), str(asked.renewal_date)) == ("sub_sample", "120.00", "2026-01-31")


def test_a_field_that_a_newer_version_adds_reaches_the_workflow(workflows: Workflows, queue: Visibility) -> None:
    """An unknown field of a message is passed on: the worker may be older than the sender, while ProcessPayment is
    not."""
    body = _body("a").replace("}", ', "why": "new"}')
    assert _failed(_record("a", body=body)) == []
    assert workflows.ran == [body]
