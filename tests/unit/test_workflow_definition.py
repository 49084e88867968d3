"""The renewal workflow's definition: its states, what it retries, and where each outcome leads."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DEFINITION: dict[str, Any] = json.loads((ROOT / "statemachine/renewal.asl.json").read_text())
STATES: dict[str, dict[str, Any]] = DEFINITION["States"]
TASKS = {name: state for name, state in STATES.items() if state["Type"] == "Task"}
EXPRESS_SECONDS = 300
LAMBDA_HICCUPS = {
    "Lambda.ServiceException",
    "Lambda.AWSLambdaException",
    "Lambda.SdkClientException",
    "Lambda.TooManyRequestsException",
    "Lambda.Unknown",
    "Runtime.ExitError",
    "Sandbox.Timedout",
    "States.Timeout",
}


def _chosen(choice: dict[str, Any], outcome: str) -> str:
    for rule in choice["Choices"]:
        alternatives = rule.get("Or", [rule])
        assert {each["Variable"] for each in alternatives} == {"$.outcome"}
        if outcome in {each["StringEquals"] for each in alternatives}:
            return str(rule["Next"])
    return str(choice["Default"])


def _next(name: str) -> set[str]:
    state = STATES[name]
    branches = [state, *state.get("Catch", []), *state.get("Choices", []), {"Next": state.get("Default")}]
    return {each["Next"] for each in branches if each.get("Next")}


def _paths(name: str) -> list[list[str]]:
    return [[name, *rest] for after in _next(name) for rest in _paths(after)] or [[name]]


def _longest_seconds(task: dict[str, Any]) -> float:
    (retry,) = task["Retry"]
    waits = sum(retry["IntervalSeconds"] * retry["BackoffRate"] ** n for n in range(retry["MaxAttempts"]))
    return float(task["TimeoutSeconds"] * (retry["MaxAttempts"] + 1) + waits)


@pytest.mark.parametrize(
    ("name", "function", "ours", "numbers", "failure"),
    [
        ("ProcessPayment", "ProcessPayment", "PaymentError", (3, 2, 2.0), "PaymentFailed"),
        ("GenerateReceipt", "GenerateReceipt", "ReceiptError", (2, 1, 1.5), "ReceiptFailed"),
        ("SendEmail", "SendEmail", "MailError", (2, 1, 1.5), "EmailFailed"),
        ("SendDeclineEmail", "SendEmail", "MailError", (2, 1, 1.5), "EmailFailed"),
    ],
)
def test_tasks_retry_what_is_transient_and_catch_the_rest(
    name: str, function: str, ours: str, numbers: tuple[int, int, float], failure: str
) -> None:
    """A task repeats its own "try again" error and Lambda's hiccups, as often as the original; never a bug."""
    (retry,) = TASKS[name]["Retry"]
    (catch,) = TASKS[name]["Catch"]
    assert TASKS[name]["Resource"] == f"${{{function}Arn}}"
    assert set(retry["ErrorEquals"]) == {ours} | LAMBDA_HICCUPS
    assert (retry["MaxAttempts"], retry["IntervalSeconds"], retry["BackoffRate"]) == numbers
    assert catch == {"ErrorEquals": ["States.ALL"], "ResultPath": "$.error", "Next": failure}
    assert TASKS[name]["TimeoutSeconds"] == 20


@pytest.mark.parametrize(
    ("name", "error", "cause"),
    [
        ("PaymentFailed", "PaymentProcessingFailed", "Unable to process payment after retries"),
        ("ReceiptFailed", "ReceiptGenerationFailed", "Unable to generate receipt"),
        ("EmailFailed", "EmailSendingFailed", "Unable to send email notification"),
    ],
)
def test_failures_have_the_names_of_the_original(name: str, error: str, cause: str) -> None:
    """The three ways to fail are told apart by the error names and causes of the original."""
    assert STATES[name] == {"Type": "Fail", "Error": error, "Cause": cause}


@pytest.mark.parametrize(
    ("task", "outcome", "then"),
    [
        ("ProcessPayment", "paid", "GenerateReceipt"),
        ("ProcessPayment", "receipted", "SendEmail"),
        ("ProcessPayment", "remind", "SendEmail"),
        ("ProcessPayment", "declined", "SendDeclineEmail"),
        ("ProcessPayment", "action_required", "SendDeclineEmail"),
        ("ProcessPayment", "nothing_to_do", "Success"),
        ("ProcessPayment", "in_progress", "Success"),
        ("ProcessPayment", "rejected", "PaymentFailed"),
        ("ProcessPayment", "failed", "PaymentFailed"),
        ("ProcessPayment", "a word that nobody knows", "PaymentFailed"),
        ("SendEmail", "mail_failed", "EmailFailed"),
        ("SendEmail", "mail_unknown", "EmailFailed"),
        ("SendEmail", "done", "Success"),
        ("SendDeclineEmail", "mail_failed", "EmailFailed"),
        ("SendDeclineEmail", "mail_unknown", "EmailFailed"),
        ("SendDeclineEmail", "declined", "PaymentDeclined"),
    ],
)
def test_each_outcome_leads_where_it_should(task: str, outcome: str, then: str) -> None:
    """What a task returns decides the next state; nothing is receipted or mailed as paid unless it was paid."""
    assert _chosen(STATES[TASKS[task]["Next"]], outcome) == then


def test_a_receipt_is_always_mailed() -> None:
    """After a receipt there is one way on: the mail that carries it."""
    assert STATES["GenerateReceipt"]["Next"] == "SendEmail"


def test_a_decline_is_not_a_failed_execution() -> None:
    """A declined card ends the execution well, so that it does not raise the alarm on failed executions."""
    assert STATES["PaymentDeclined"]["Type"] == STATES["Success"]["Type"] == "Succeed"


def test_every_state_can_be_reached_and_every_way_ends() -> None:
    """No state is dead, none is named that does not exist, and every way ends in Succeed or Fail."""
    ways = _paths(DEFINITION["StartAt"])
    assert {name for way in ways for name in way} == set(STATES)
    assert {STATES[way[-1]]["Type"] for way in ways} == {"Succeed", "Fail"}


def test_the_slowest_way_ends_before_the_execution_is_cut_off() -> None:
    """With every try of every task timing out but the last, the whole takes less than an Express execution may last."""
    slowest = max(
        sum(_longest_seconds(TASKS[name]) for name in way if name in TASKS) for way in _paths("ProcessPayment")
    )
    assert slowest == 94 + 62.5 + 62.5
    assert slowest < EXPRESS_SECONDS - 60


def test_placeholders_are_arns_alone() -> None:
    """The definition differs between stacks in the three functions' ARNs and nothing else."""
    text = (ROOT / "statemachine/renewal.asl.json").read_text()
    assert set(re.findall(r"\$\{(\w+)}", text)) == {"ProcessPaymentArn", "GenerateReceiptArn", "SendEmailArn"}


@pytest.mark.parametrize(
    ("event", "task"),
    [
        ("process_payment", "ProcessPayment"),
        ("generate_receipt", "GenerateReceipt"),
        ("send_email", "SendEmail"),
    ],
)
def test_sample_events_are_what_the_workflow_sends(event: str, task: str) -> None:
    """A sample event has the keys that the state of its function passes on."""
    sample = json.loads((ROOT / "events" / f"{event}.json").read_text())
    assert set(sample) == {key.removesuffix(".$") for key in TASKS[task]["Parameters"]}
    assert sample["execution"].startswith("arn:aws:states:")


def test_sample_events_are_of_one_renewal() -> None:
    """The sample webhook asks for the renewal that the samples after it process, with its headers in both forms."""
    samples = {path.stem: json.loads(path.read_text()) for path in (ROOT / "events").glob("*.json")}
    webhook = samples["webhook_handler"]
    asked = json.loads(webhook["body"])
    assert asked == samples["process_payment"]["request"]
    for name in ("generate_receipt", "send_email"):
        renewal = samples[name]["renewal"]
        assert (renewal["subscription_id"], renewal["customer_id"]) == (asked["subscription_id"], asked["customer_id"])
    assert webhook["multiValueHeaders"] == {key: [value] for key, value in webhook["headers"].items()}
    assert {"webhook-id", "webhook-timestamp", "webhook-signature"} <= set(webhook["headers"])
