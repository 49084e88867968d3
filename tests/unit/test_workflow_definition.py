"""The definition of the renewal workflow: states, retries, and the way after every outcome."""

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from renewals.domain.errors import BadEvent, MailError, PaymentError, ReceiptError
from tests.cuts import Cut
from tests.workflow import DEFINITION, RENEWAL, UnknownError, Workflow

ROOT = Path(__file__).parents[2]
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


def slowest_way() -> float:
    """Return the seconds of the slowest way through the workflow, where every try of every task times out."""
    ways = _paths(DEFINITION["StartAt"])
    return max(sum(_longest_seconds(TASKS[name]) for name in way if name in TASKS) for way in ways)


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
    """A task retries its own "try again" error and Lambda's hiccups as often as the original did, and never a bug."""
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
    """The three failures keep the error names and causes of the original."""
    assert STATES[name] == {"Type": "Fail", "Error": error, "Cause": cause}


RECEIPT, MAIL = ["GenerateReceipt", "SendEmail"], ["SendEmail"]
AFTER_PAYMENT: dict[str, tuple[list[str], str]] = {
    "paid": (RECEIPT, "Success"),
    "refunded": (RECEIPT, "Success"),
    "receipted": (MAIL, "Success"),
    "remind": (MAIL, "Success"),
    "declined": (MAIL, "PaymentDeclined"),
    "action_required": (MAIL, "PaymentDeclined"),
    "given_up": (MAIL, "PaymentDeclined"),
    "nothing_to_do": ([], "Success"),
    "in_progress": ([], "Success"),
    "rejected": ([], "PaymentFailed"),
    "failed": ([], "PaymentFailed"),
    "a word that nobody knows": ([], "PaymentFailed"),
}
"""For every outcome of ProcessPayment: the functions that follow, and the end after a delivered mail."""
UNDELIVERED = ("mail_failed", "mail_unknown")
MAILED = ("mailed", "dropped", "in_progress", *UNDELIVERED)


class Functions:
    """Functions that answer with set outcomes. called: their names and events, in order. trouble: the errors of a
    function's next calls."""

    def __init__(self, payment: str = "paid", mailed: str = "mailed") -> None:
        self.called: list[tuple[str, Any]] = []
        self.trouble: dict[str, list[BaseException]] = {}
        self._outcomes = {"ProcessPayment": payment, "GenerateReceipt": "receipted", "SendEmail": mailed}

    def run(self, tries: int | None = None, definition: Workflow = RENEWAL) -> str:
        functions = {f"${{{name}Arn}}": partial(self._call, name) for name in self._outcomes}
        return definition.run({"subscription_id": "sub_1"}, "run-1", functions, tries)

    def names(self) -> list[str]:
        return [name for name, _ in self.called]

    def _call(self, name: str, event: Any) -> Any:
        self.called.append((name, event))
        if self.trouble.get(name):
            raise self.trouble[name].pop(0)
        handed_on = event.get("renewal") or event["request"]
        refunded = name == "GenerateReceipt" and handed_on["outcome"] == "refunded"
        return handed_on | {"outcome": "refunded" if refunded else self._outcomes[name]}


@pytest.mark.parametrize("mailed", MAILED)
@pytest.mark.parametrize("payment", AFTER_PAYMENT)
def test_each_outcome_leads_where_it_should(payment: str, mailed: str) -> None:
    """Every outcome of the payment, with every outcome of the mail, calls the right functions with the right events and
    reaches the right end. Nothing is receipted or mailed as paid unless paid."""
    functions = Functions(payment, mailed)
    end = functions.run()
    then, well = AFTER_PAYMENT[payment]
    assert functions.names() == ["ProcessPayment", *then]
    assert end == ("EmailFailed" if then and mailed in UNDELIVERED else well)
    assert functions.called[0][1] == {"execution": "run-1", "request": {"subscription_id": "sub_1"}}
    told = "receipted" if payment == "paid" else payment
    for name, event in functions.called[1:]:
        handed_on = {"subscription_id": "sub_1", "outcome": payment if name == "GenerateReceipt" else told}
        assert event == {"execution": "run-1", "renewal": handed_on}


@pytest.mark.parametrize("error", ["PaymentError", "a cut", "BadEvent"])
@pytest.mark.parametrize("tries", [None, 1, 2])
def test_a_task_is_started_again_as_its_retry_says(error: str, tries: int | None) -> None:
    """A task is started again after its own "try again" error and after an ended process, never after a bug, and never
    more often than a test allows."""
    raised: dict[str, BaseException] = {"PaymentError": PaymentError(), "BadEvent": BadEvent()}
    functions = Functions()
    functions.trouble["ProcessPayment"] = [raised.get(error) or Cut()] * 9
    assert functions.run(tries) == "PaymentFailed"
    assert len(functions.called) == (1 if error == "BadEvent" else tries or 4)


@pytest.mark.parametrize(
    ("name", "error", "end", "starts"),
    [
        ("ProcessPayment", PaymentError(), "PaymentFailed", 4),
        ("GenerateReceipt", ReceiptError(), "ReceiptFailed", 3),
        ("SendEmail", MailError(), "EmailFailed", 3),
        ("SendEmail", ReceiptError(), "EmailFailed", 1),
    ],
)
def test_errors_end_where_their_task_says(name: str, error: BaseException, end: str, starts: int) -> None:
    """Up to the last retry an error does not change the execution; beyond the last retry the execution ends in the
    task's failure."""
    functions = Functions()
    functions.trouble[name] = [error] * (starts - 1)
    assert functions.run() == "Success"
    functions = Functions()
    functions.trouble[name] = [error] * starts
    assert functions.run() == end
    assert functions.names().count(name) == starts


def test_a_mistake_is_no_end_of_the_workflow() -> None:
    """An error from neither the product nor AWS is raised to the test, though Step Functions would catch it."""
    functions = Functions()
    functions.trouble["ProcessPayment"] = [KeyError("a bug")]
    with pytest.raises(KeyError, match="a bug"):
        functions.run()


@pytest.mark.parametrize(
    ("state", "change"),
    [
        ("ProcessPayment", {"ResultPath": "$.paid"}),
        ("ProcessPayment", {"Parameters": {"request.$": "$.request"}}),
        ("ProcessPayment", {"Catch": [{"ErrorEquals": ["States.ALL"], "Next": "PaymentFailed"}]}),
        ("ProcessPayment", {"Retry": [TASKS["ProcessPayment"]["Retry"][0] | {"MaxDelaySeconds": 5}]}),
        ("PaymentOutcome", {"Choices": [{"Variable": "$.attempt", "NumericEquals": 1, "Next": "Success"}]}),
        ("PaymentOutcome", {"Type": "Parallel"}),
        ("Success", {"Output": "{% 1 %}"}),
    ],
)
def test_what_the_interpreter_does_not_know_is_refused(state: str, change: dict[str, Any]) -> None:
    """Every part of the language beyond the definition's present parts is refused, wherever it stands."""
    changed = {**DEFINITION, "States": STATES | {state: STATES[state] | change}}
    with pytest.raises(UnknownError):
        Workflow(changed)


def test_a_decline_is_not_a_failed_execution() -> None:
    """A declined card ends the execution in success, so that the alarm on failed executions stays off."""
    assert STATES["PaymentDeclined"]["Type"] == STATES["Success"]["Type"] == "Succeed"


def test_every_state_can_be_reached_and_every_way_ends() -> None:
    """Every state can be reached, every named state exists, and every way ends in Succeed or Fail."""
    ways = _paths(DEFINITION["StartAt"])
    assert {name for way in ways for name in way} == set(STATES)
    assert {STATES[way[-1]]["Type"] for way in ways} == {"Succeed", "Fail"}


def test_the_slowest_way_ends_before_the_execution_is_cut_off() -> None:
    """With every try but the last timing out, an execution takes less time than an Express execution may last."""
    assert slowest_way() == 94 + 62.5 + 62.5
    assert slowest_way() < EXPRESS_SECONDS - 60


def test_placeholders_are_arns_alone() -> None:
    """The definition differs between stacks only in the three functions' ARNs."""
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
    """A sample event has the keys passed on by its function's state."""
    sample = json.loads((ROOT / "events" / f"{event}.json").read_text())
    assert set(sample) == {key.removesuffix(".$") for key in TASKS[task]["Parameters"]}
    assert sample["execution"].startswith("arn:aws:states:")


def test_sample_events_are_of_one_renewal() -> None:
    """The sample webhook asks for the same renewal as the later samples, and has its headers in both forms."""
    samples = {path.stem: json.loads(path.read_text()) for path in (ROOT / "events").glob("*.json")}
    webhook = samples["webhook_handler"]
    asked = json.loads(webhook["body"])
    assert asked == samples["process_payment"]["request"]
    for name in ("generate_receipt", "send_email"):
        renewal = samples[name]["renewal"]
        assert (renewal["subscription_id"], renewal["customer_id"]) == (asked["subscription_id"], asked["customer_id"])
    assert webhook["multiValueHeaders"] == {key: [value] for key, value in webhook["headers"].items()}
    assert {"webhook-id", "webhook-timestamp", "webhook-signature"} <= set(webhook["headers"])
