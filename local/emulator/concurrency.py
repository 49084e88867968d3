"""Concurrent executions of functions, limited as on AWS.

- The account runs at most so many executions at once: 1,000 unless a test says otherwise. A function with a reservation
  runs as many as are reserved, and no more; all other functions share what the reservations leave
  (https://docs.aws.amazon.com/lambda/latest/dg/configuration-concurrency.html). A template may reserve, too.
- A reservation that would leave fewer than 100 executions to the other functions is refused. In an account of fewer
  than 100 executions, every reservation is refused.
- A workflow's task that is refused fails with Lambda.TooManyRequestsException. An asynchronous call that is refused is
  made again, for up to six hours (https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html).
  `limits` says what API Gateway answers.

POST /_local/concurrency  {"executions"?: of the account, "held"?: a function whose executions do not end; "" for none}
"""

import json
import threading
import time
from http import HTTPStatus
from typing import Any

from local.emulator.patching import replace
from local.emulator.paths import Answer, answer_at, answer_in_json

EXECUTIONS = 1000
_LEAST_UNRESERVED = 100
_LONGEST_HOLD = 60.0
"""In seconds."""
_PAUSE, _LONGEST_ASYNCHRONOUS = 0.5, 6 * 3600


class _Hold:
    """Holds the executions of a function before their end, as a table that does not answer holds them."""

    def __init__(self) -> None:
        self._function = ""
        self._change = threading.Condition()

    def hold(self, function: str) -> None:
        with self._change:
            self._function = function
            self._change.notify_all()

    def pass_by(self, function: str) -> None:
        with self._change:
            self._change.wait_for(lambda: function != self._function, _LONGEST_HOLD)


def apply() -> None:
    from ministack.services import lambda_svc, stepfunctions

    hold = _Hold()
    dispatch = lambda_svc._execute_function_dispatch

    def dispatched(function: Any, config: dict[str, Any], *more: Any) -> dict[str, Any]:
        hold.pass_by(config["FunctionName"])
        result: dict[str, Any] = dispatch(function, config, *more)
        return result

    async def control(_method: str, _path: str, body: bytes) -> Answer:
        asked = json.loads(body)
        lambda_svc._ACCOUNT_CONCURRENCY_CAP = asked.get("executions", lambda_svc._ACCOUNT_CONCURRENCY_CAP)
        hold.hold(asked.get("held", ""))
        return answer_in_json({})

    lambda_svc._execute_function_dispatch = dispatched
    replace(
        lambda_svc,
        "_acquire_execution_slot",
        {
            # A call that waits, such as an asynchronous call, heeds the reservation at the time of the try.
            "_reserved_concurrency(func, config)": 'reservations().get(config.get("FunctionName"))',
            "_ACCOUNT_CONCURRENCY_CAP > 0 and _inflight_total >= _ACCOUNT_CONCURRENCY_CAP": (
                "reserved is None and unreserved_in_flight() >= unreserved()"
            ),
        },
        reservations=_reservations,
        unreserved=_unreserved,
        unreserved_in_flight=_unreserved_in_flight,
    )
    replace(
        lambda_svc,
        "_put_function_concurrency",
        {
            'value = data.get("ReservedConcurrentExecutions", 0)\n': """\
value = int(data.get("ReservedConcurrentExecutions", 0))
    if refusal := refusal_of(func_name, value):
        return error_response_json("InvalidParameterValueException", refusal, 400)
"""
        },
        refusal_of=_refusal,
    )
    replace(
        lambda_svc,
        "invoke_async_with_retry",
        {"last_result = _execute_function(func, event)": "last_result = until_taken(_execute_function, func, event)"},
        until_taken=_until_taken,
    )
    replace(
        stepfunctions,
        "_call_lambda",
        {
            '    if result.get("error"):\n': """\
    if result.get("throttle"):
        raise _ExecutionError("Lambda.TooManyRequestsException", json.dumps(result["body"]))
    if result.get("error"):
"""
        },
    )
    _reserve_by_template()
    answer_at("/_local/concurrency", control)


def _reservations(but: str = "") -> dict[str, int]:
    """Return the reserved executions by the name of their function, without a function."""
    from ministack.services import lambda_svc

    functions = {name: lambda_svc._functions[name].get("concurrency") for name in list(lambda_svc._functions.keys())}
    return {name: int(number) for name, number in functions.items() if number is not None and name != but}


def _unreserved(but: str = "") -> int:
    """Return how many executions the reservations leave to the other functions."""
    from ministack.services import lambda_svc

    return int(lambda_svc._ACCOUNT_CONCURRENCY_CAP) - sum(_reservations(but).values())


def _unreserved_in_flight() -> int:
    """Return how many executions of functions without a reservation run."""
    from ministack.services import lambda_svc

    reserved = _reservations()
    return sum(number for key, number in lambda_svc._inflight.items() if key.rpartition(":")[2] not in reserved)


def _refusal(function: str, number: int) -> str:
    """Return why a reservation is refused; empty if it is not."""
    from ministack.services import lambda_svc

    least = min(_LEAST_UNRESERVED, lambda_svc._ACCOUNT_CONCURRENCY_CAP)
    if number == 0 or _unreserved(but=function) - number >= least:
        return ""
    return (
        "Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below "
        f"its minimum value of [{least}]."
    )


def _until_taken(execute: Any, function: Any, event: Any) -> dict[str, Any]:
    """Run a function as soon as its limit permits, and return the result."""
    begun = time.monotonic()
    result: dict[str, Any] = execute(function, event)
    while result.get("throttle") and time.monotonic() - begun < _LONGEST_ASYNCHRONOUS:
        time.sleep(_PAUSE)
        result = execute(function, event)
    return result


def _reserve_by_template() -> None:
    """Let CloudFormation reserve executions: MiniStack drops the property."""
    from ministack.services import lambda_svc
    from ministack.services.cloudformation import provisioners

    handlers = provisioners._RESOURCE_HANDLERS["AWS::Lambda::Function"]
    create, update = handlers["create"], handlers["update"]

    def reserve(name: str, properties: dict[str, Any]) -> None:
        wanted = properties.get("ReservedConcurrentExecutions")
        if wanted is None:
            lambda_svc._delete_function_concurrency(name)
            return
        status, _, body = lambda_svc._put_function_concurrency(name, {"ReservedConcurrentExecutions": wanted})
        if status != HTTPStatus.OK:
            raise ValueError(f"the reservation of {name} is refused: {body!r}")

    def created(logical_id: str, properties: dict[str, Any], *more: Any) -> Any:
        made = create(logical_id, properties, *more)
        if "ReservedConcurrentExecutions" in properties:
            reserve(made[0], properties)
        return made

    def updated(name: str, old: dict[str, Any], new: dict[str, Any], *more: Any, **named: Any) -> Any:
        made = update(name, old, new, *more, **named)
        if old.get("ReservedConcurrentExecutions") != new.get("ReservedConcurrentExecutions"):
            reserve(made[0], new)
        return made

    handlers["create"], handlers["update"] = created, updated
