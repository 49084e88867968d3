"""A workflow starts at once, may call only the functions that its role allows, and publishes the metrics of AWS/States.

GET  /_local/executions/<subscription_id>   [{"executionArn", "status", "input"}]: the executions whose input contains
                                            the id, oldest start first. AWS cannot list executions of an EXPRESS
                                            workflow; on AWS, the log shows the executions
"""

import contextvars
import json
import time
from typing import Any
from urllib.parse import unquote

from local.emulator import roles
from local.emulator.patching import replace
from local.emulator.paths import Answer, answer_at, answer_in_json

_EXECUTIONS = "/_local/executions/"


def apply() -> None:
    from ministack.services import cloudwatch, lambda_svc, stepfunctions

    replace(stepfunctions, "_run_execution", {"    time.sleep(0.15)\n": ""})
    run, call = stepfunctions._run_execution, stepfunctions._call_lambda
    current_role: contextvars.ContextVar[str] = contextvars.ContextVar("role of the running workflow")
    counted_as = {"SUCCEEDED": "ExecutionsSucceeded", "FAILED": "ExecutionsFailed", "ABORTED": "ExecutionsAborted"}

    def run_as_role(execution_arn: str) -> None:
        execution = stepfunctions._executions[execution_arn]
        machine = stepfunctions._state_machines[execution["stateMachineArn"]]
        current_role.set(machine["roleArn"])
        dimensions, started = {"StateMachineArn": machine["stateMachineArn"]}, time.monotonic()
        cloudwatch.record_metric("AWS/States", "ExecutionsStarted", 1, "Count", dimensions)
        run(execution_arn)
        milliseconds = 1000 * (time.monotonic() - started)
        cloudwatch.record_metric("AWS/States", counted_as[execution["status"]], 1, "Count", dimensions)
        cloudwatch.record_metric("AWS/States", "ExecutionTime", milliseconds, "Milliseconds", dimensions)

    def call_if_allowed(function: str, event: Any) -> Any:
        role_arn = current_role.get()
        account, role = role_arn.split(":")[4], role_arn.rsplit("/", 1)[-1]
        _, config, name = lambda_svc._get_func_record_for_ref(function)
        action, resource = "lambda:InvokeFunction", (config or {}).get("FunctionArn", name)
        if not roles.allows(role_arn, action, resource):
            raise stepfunctions._ExecutionError(
                "Lambda.AWSLambdaException",
                f"User: arn:aws:sts::{account}:assumed-role/{role}/workflow is not authorized to perform: {action} on "
                f"resource: {resource} because no identity-based policy allows the {action} action",
            )
        return call(function, event)

    stepfunctions._run_execution = run_as_role
    stepfunctions._call_lambda = call_if_allowed
    answer_at(_EXECUTIONS, _tell_executions)


async def _tell_executions(_method: str, path: str, _body: bytes) -> Answer:
    from ministack.services import stepfunctions

    named = json.dumps(unquote(path.removeprefix(_EXECUTIONS)))
    found = [each for each in stepfunctions._executions._data.copy().values() if named in str(each["input"])]
    found.sort(key=lambda execution: execution["startDate"])
    return answer_in_json([{name: each[name] for name in ("executionArn", "status", "input")} for each in found])
