"""The renewal workflow as Step Functions runs it: `statemachine/renewal.asl.json` itself, interpreted.

The interpreter knows exactly the parts of the language that the file uses, and refuses a file with further parts. The
specification gives every part's meaning: https://states-language.net/spec.html.

Decision: D186 (DECISIONS.md).
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from renewals.domain.errors import RenewalError
from tests.cuts import Cut

type Json = Any
type State = Mapping[str, Any]
type Functions = Mapping[str, Callable[[Json], Json]]
"""The deployed functions, by the placeholder of their ARN in the definition."""

DEFINITION: State = json.loads((Path(__file__).parents[1] / "statemachine" / "renewal.asl.json").read_text())
_FIELDS = {
    "Task": {"Resource", "Parameters", "TimeoutSeconds", "Retry", "Catch", "Next"},
    "Choice": {"Choices", "Default"},
    "Succeed": set[str](),
    "Fail": {"Error", "Cause"},
}
_PASSED = {"$$.Execution.Id", "$"}


class UnknownError(Exception):
    """The definition uses a part of the language unknown to the interpreter."""


class Workflow:
    """A definition, read whole at once: a part unknown to the interpreter is refused wherever it stands."""

    def __init__(self, definition: State) -> None:
        _expect(definition, {"StartAt", "States"})
        for state in definition["States"].values():
            _read(state)
        self._definition = definition

    def run(self, sent: Json, execution: str, functions: Functions, tries: int | None = None) -> str:
        """Run an execution, and return the name of the final state.

        tries: the most starts of a task; by default as many as the task's Retry allows. An error of AWS or of the
        product ends a function as on Lambda, and a Cut ends the function's process. Any other error is raised: such an
        error is a mistake, and must not pass for an error that the workflow handles.
        """
        return self.ended(sent, execution, functions, tries)[0]

    def ended(self, sent: Json, execution: str, functions: Functions, tries: int | None = None) -> tuple[str, Json]:
        """Run an execution like `run`, and return the name of the final state with the execution's output."""
        name, data = self._definition["StartAt"], sent
        while True:
            state: State = self._definition["States"][name]
            if state["Type"] == "Task":
                name, data = _perform(state, data, execution, functions, tries)
            elif state["Type"] == "Choice":
                name = _choose(state, data)
            else:
                return str(name), data


def _expect(part: State, fields: set[str], *, some: bool = False) -> None:
    """Refuse unknown and missing fields. some: fields may be missing."""
    unknown, missing = part.keys() - fields - {"Comment"}, set() if some else fields - part.keys()
    if unknown or missing:
        raise UnknownError(f"unknown: {sorted(unknown)}, missing: {sorted(missing)}, in {json.dumps(part)}")


def _read(state: State) -> None:
    _expect(state, {"Type"} | _FIELDS.get(state["Type"], set()))
    if state["Type"] not in _FIELDS:
        raise UnknownError(f"a state of type {state['Type']}")
    for rule in state.get("Choices", []):
        _expect(rule, {"Or", "Next"})
        for comparison in rule["Or"]:
            _expect(comparison, {"Variable", "StringEquals"})
            if not comparison["Variable"].removeprefix("$.").isidentifier():
                raise UnknownError(f"a variable {comparison['Variable']}")
    for retrier in state.get("Retry", []):
        _expect(retrier, {"ErrorEquals", "IntervalSeconds", "MaxAttempts", "BackoffRate"})
    for catcher in state.get("Catch", []):
        _expect(catcher, {"ErrorEquals", "ResultPath", "Next"})
        if catcher["ResultPath"] != "$.error":
            raise UnknownError(f"a ResultPath {catcher['ResultPath']}")
    for name, place in state.get("Parameters", {}).items():
        if not name.endswith(".$") or place not in _PASSED:
            raise UnknownError(f"a parameter {name}: {place}")


def _choose(state: State, data: Json) -> str:
    for rule in state["Choices"]:
        if any(data[each["Variable"].removeprefix("$.")] == each["StringEquals"] for each in rule["Or"]):
            return str(rule["Next"])
    return str(state["Default"])


def _perform(state: State, data: Json, execution: str, functions: Functions, tries: int | None) -> tuple[str, Json]:
    """Run a task as often as its Retry and `tries` allow; return the next state and its input."""
    given = {
        name.removesuffix(".$"): data if place == "$" else execution for name, place in state["Parameters"].items()
    }
    event, starts, retried = json.dumps(given), 0, Counter[int]()
    while True:
        try:
            return state["Next"], json.loads(json.dumps(functions[state["Resource"]](json.loads(event))))
        except (Cut, RenewalError, ClientError, BotoCoreError) as ended:
            starts += 1
            error = "Runtime.ExitError" if isinstance(ended, Cut) else type(ended).__name__
            retrier = _of(state["Retry"], error)
            if retrier is not None and retried[id(retrier)] < retrier["MaxAttempts"] and starts != tries:
                retried[id(retrier)] += 1
                continue
            catcher = _of(state["Catch"], error)
            if catcher is None:
                raise
            return catcher["Next"], data | {"error": {"Error": error}}


def _of(handlers: list[State], error: str) -> State | None:
    """Return the retrier or catcher of an error."""
    named = ("States.ALL", error)
    return next((each for each in handlers if any(name in each["ErrorEquals"] for name in named)), None)


RENEWAL = Workflow(DEFINITION)
