"""The AWS of the local stack: MiniStack, with the gaps closed that our functions and our workflow would fall into.

Runs in an environment of its own (`.envs/emulator`), in the foreground, until it is terminated. IAM is enforced
for the roles of functions; the key `test` with the secret `test` is the account's root.

MiniStack is changed in memory, by replacing pieces of its source. Its version is pinned, and a piece that is not
found exactly once stops the start, so that an upgrade cannot quietly undo a change.

1. Functions run on the interpreter that is given, which has none of the emulator's packages.
2. An exception reaches the workflow by its class name, as on AWS, and does not end the function's process.
3. A function has at most WORKERS processes; further calls wait. Unbounded, 200 calls at once took 21 GB.
4. A layer is unpacked once, not once for each process.
5. A function's log is complete when its call ends, without a fixed wait.
6. A workflow starts at once, may call only the functions that its role allows, and publishes the metrics of
   AWS/States.
7. Metrics in a function's log (EMF) are published, those of AWS/Lambda for every call, and those of AWS/ApiGateway. An
   alarm is in the state that its own definition asks for, math, dimensions and missing data included: see
   `local.alarms`. It is looked at with every new value, and every LOOK seconds, as time makes alarms too. The time that
   metrics and alarms go by can be moved on: see `local.time_passes`.
8. Sending mail is authorized on the sender's identity and the configuration set, as SES does.
9. A request counts as sent over TLS unless its header x-forwarded-proto says http. On AWS all of ours are, and a
   bucket for TLS only would refuse every call on this machine.
10. A function whose process dies ends as Runtime.ExitError, as on AWS, and its next call finds a new process.
11. A function can be killed at any of its calls to AWS, and its calls be listed: see `local.cuts`.
12. A batch of messages is authorized as the single ones are, as SQS does.
13. How many messages wait in a queue is published every LOOK seconds, and with each dead letter.
14. The bound on an event source's concurrency may come from a parameter, which is text.
15. The host of a synchronous workflow has no prefix: `sync-127.0.0.1` is no address.
16. It tells what is at work, and lets the waits of queues end at once, for a simulation: see `local.time_passes`.
17. Links to receipts have an address that is known before the API is deployed: /_local/receipts leads to its own.
18. A deployment ends a function's process after the call that it is at work on, as on AWS, and not in its middle.
"""

import argparse
import asyncio
import base64
import contextvars
import hashlib
import importlib.metadata
import inspect
import io
import itertools
import json
import os
import queue
import secrets
import socket
import sys
import tempfile
import textwrap
import threading
import time
import weakref
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from email.parser import BytesHeaderParser
from email.utils import parseaddr
from typing import Any
from urllib.parse import quote

from local import alarms

MINISTACK = "1.5.33"
# The functions of one renewal run one after the other, and a laptop has cores for few of them at once.
WORKERS = 4
LOOK = 10
"""So many seconds lie between two looks at all alarms; CloudWatch's is every minute."""

_LONGEST_LOOK = 5.0
"""So many seconds an answer about what is at work waits for there being nothing."""

_LONGEST_CALL = 300.0
"""Seconds; more than any function's timeout that a test waits for."""

_END_OF_LOG = "\x1e"
_RECEIPTS = "/_local/receipts/"
_EXCEPTION = "__exception__"
_ANSWER = (
    "            result = handler_fn(event, context)\n"
    '            _real_stdout.write(json.dumps({"status": "ok", "result": result}) + "\\n")\n'
    "        except Exception as e:\n"
    '            _real_stdout.write(json.dumps({"status": "error", "error": str(e), '
    '"trace": traceback.format_exc()}) + "\\n")\n'
)
_ANSWER_WITH_CLASS_NAME = f"""\
            _result = json.dumps(handler_fn(event, context))
        except Exception as e:
            traceback.print_exc()
            _result = json.dumps({{"{_EXCEPTION}": {{
                "errorMessage": str(e), "errorType": type(e).__name__, "requestId": _ms_ctx.get("request_id", ""),
                "stackTrace": traceback.format_tb(e.__traceback__)[1:]}}}})
        sys.stderr.write({_END_OF_LOG!r} + "\\n")
        sys.stderr.flush()
        _real_stdout.write('{{"status": "ok", "result": ' + _result + "}}\\n")
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="The AWS emulator of the local stack.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--region", required=True)
    parser.add_argument("--smtp", required=True, help="host:port of the mailbox that mail is relayed to")
    parser.add_argument("--python", required=True, help="the interpreter that functions run on")
    arguments = parser.parse_args()

    traces = _trace_sink()
    # MiniStack reads its settings when it is imported, and hands its environment on to the functions.
    os.environ.update(
        GATEWAY_PORT=str(arguments.port),
        BIND_HOST="127.0.0.1",
        MINISTACK_REGION=arguments.region,
        SMTP_HOST=arguments.smtp,
        AUTH="true",
        LAMBDA_ACCOUNT_CONCURRENCY="0",  # it would refuse calls that AWS accepts
        IOT_MTLS_ENABLED="0",
        SFTP_ENABLED="0",
        AWS_DISABLE_HOST_PREFIX_INJECTION="true",
        DOCKER_HOST="unix:///nonexistent",  # the same with and without Docker on the machine
        AWS_XRAY_DAEMON_ADDRESS=f"127.0.0.1:{traces.getsockname()[1]}",
    )
    installed = importlib.metadata.version("ministack")
    if installed != MINISTACK:
        raise SystemExit(f"ministack {installed} is installed, and the changes here are made for {MINISTACK}")
    _change_functions(arguments.python)
    _change_workflows()
    _change_metrics()
    _change_mail()
    _change_queues()
    _change_transport()
    _add_cuts()
    _add_passing_of_time()
    _add_receipt_links()

    threading.Thread(target=_look_now_and_then, daemon=True).start()

    from ministack import app

    sys.argv = sys.argv[:1]
    app.main()


def _trace_sink() -> socket.socket:
    """Where X-Ray segments end. Without it they would go to a daemon of this machine, and from there to AWS."""
    sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sink.bind(("127.0.0.1", 0))
    return sink


def _replace(owner: Any, name: str, changes: dict[str, str], **given: Any) -> None:
    """Compiles `owner.name` anew, each key of `changes` replaced by its value, with `given` in its scope."""
    function = getattr(owner, name)
    source = _changed(textwrap.dedent(inspect.getsource(function)), changes)
    scope = vars(sys.modules[function.__module__])
    scope.update(given)
    made: dict[str, Any] = {}
    exec(compile(source, f"<{name}, changed>", "exec"), scope, made)  # noqa: S102  (MiniStack's own source)
    setattr(owner, name, made[name])


def _changed(source: str, changes: dict[str, str]) -> str:
    for old, new in changes.items():
        if source.count(old) != 1:
            raise SystemExit(f"MiniStack has changed: found {source.count(old)} times, not once:\n{old}")
        source = source.replace(old, new)
    return source


def _change_functions(python: str) -> None:
    from ministack.core import lambda_runtime
    from ministack.services import lambda_svc

    _replace(lambda_runtime, "_detect_runtime_binary", {"return sys.executable,": f"return {python!r},"})
    _replace(
        lambda_runtime.Worker,
        "_spawn",
        {
            "            if layer_data:\n": """\
            if layer_data:
                layers_dirs.append(unpacked_layer(layer_data))
                continue
""",
            "spawn_env.update(execution_credentials(self.config))": "spawn_env.update(own_credentials(self))",
        },
        unpacked_layer=_LayerFolders().unpacked,
        own_credentials=_own_credentials,
    )
    lambda_runtime._PYTHON_WORKER_SCRIPT = _changed(
        lambda_runtime._PYTHON_WORKER_SCRIPT, {_ANSWER: _ANSWER_WITH_CLASS_NAME}
    )
    lambda_runtime.Worker._drain_stderr_bounded = _log_of_call

    for update in ("_update_code", "_update_config"):
        _replace(lambda_svc, update, {"    invalidate_worker(name, ": "    retire(name, "}, retire=_retire)
    _replace(lambda_svc, "_execute_function_warm", {'"Runtime.HandlerError"': '"Runtime.ExitError"'})
    run = lambda_svc._execute_function_warm
    gates: defaultdict[str, threading.Semaphore] = defaultdict(lambda: threading.Semaphore(WORKERS))

    def run_bounded(function: dict[str, Any], event: Any, request_id: str) -> dict[str, Any]:
        with gates[(function.get("config") or function)["FunctionArn"]]:
            result: dict[str, Any] = run(function, event, request_id)
        body = result.get("body")
        if isinstance(body, dict) and _EXCEPTION in body:
            return {**result, "body": body[_EXCEPTION], "error": True}
        return result

    lambda_svc._execute_function_warm = run_bounded


def _retire(function: str, **_of_whom: str) -> None:
    """No new call goes to the processes that run now; each ends when its own call has."""
    from ministack.core import lambda_runtime

    with lambda_runtime._lock:
        keys = [key for key in lambda_runtime._workers if key.split(":")[-2:] == [function, "$LATEST"]]
        retired = [worker for key in keys for worker in lambda_runtime._workers.pop(key)]

    def end() -> None:
        deadline = time.monotonic() + _LONGEST_CALL
        while any(worker.in_use for worker in retired) and time.monotonic() < deadline:
            time.sleep(0.05)
        lambda_runtime.kill_workers(retired)

    if retired:
        threading.Thread(target=end, daemon=True).start()


_process_of_key: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()


def _own_credentials(worker: Any) -> dict[str, str]:
    """The credentials of the function's role, under a key that no other process has: it tells whose a call is."""
    from ministack.core import lambda_runtime
    from ministack.services import sts

    shared: dict[str, str] = lambda_runtime.execution_credentials(worker.config)
    key = f"ASIA{secrets.token_hex(8).upper()}"
    sts.register_session(key, dict(sts._sessions[shared["AWS_ACCESS_KEY_ID"]]))
    _process_of_key[key] = worker
    return shared | {"AWS_ACCESS_KEY_ID": key}


class _LayerFolders:
    """Each layer unpacked once into a folder that every process of its functions reads."""

    def __init__(self) -> None:
        self._folders: dict[str, str] = {}
        self._lock = threading.Lock()

    def unpacked(self, archive: bytes) -> str:
        digest = hashlib.sha256(archive).hexdigest()
        with self._lock:
            if digest not in self._folders:
                folder = tempfile.mkdtemp(prefix="ministack-layer-")
                with zipfile.ZipFile(io.BytesIO(archive)) as files:
                    files.extractall(folder)
                self._folders[digest] = folder
            return self._folders[digest]


def _log_of_call(worker: Any) -> str:
    """What the function wrote during one call: all up to the mark, or what there is if its process has died."""
    lines = []
    try:
        while True:
            line = worker._stderr_queue.get(timeout=0.25)
            lines.append(line.removesuffix(_END_OF_LOG))
            if line.endswith(_END_OF_LOG):
                break
    except queue.Empty:
        pass
    return "\n".join(lines).rstrip("\n")


def _change_workflows() -> None:
    from ministack.core import iam_evaluator
    from ministack.services import cloudwatch, lambda_svc, stepfunctions

    _replace(stepfunctions, "_run_execution", {"    time.sleep(0.15)\n": ""})
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
        request = iam_evaluator.EvalContext(
            principal_arn=f"arn:aws:sts::{account}:assumed-role/{role}/workflow",
            principal_type="AssumedRole",
            principal_account=account,
            action="lambda:InvokeFunction",
            resource_arn=(config or {}).get("FunctionArn", name),
            region=stepfunctions.get_region(),
        )
        decision = iam_evaluator.evaluate(request, iam_evaluator._gather_role_policies(role, account))
        if decision.decision != "Allow":
            raise stepfunctions._ExecutionError(
                "Lambda.AWSLambdaException",
                f"User: {request.principal_arn} is not authorized to perform: {request.action} on resource: "
                f"{request.resource_arn} because no identity-based policy allows the {request.action} action",
            )
        return call(function, event)

    stepfunctions._run_execution = run_as_role
    stepfunctions._call_lambda = call_if_allowed


def _change_metrics() -> None:
    from ministack.services import cloudwatch, lambda_svc
    from ministack.services.cloudformation import provisioners

    refused = """    if props.get("Metrics"):
        raise ValueError(
            "AWS::CloudWatch::Alarm Properties.Metrics (metric math) is not supported; "
            "use MetricName and Namespace."
        )
"""
    required = "    if not metric_name or not namespace:\n"
    _replace(
        provisioners,
        "_cw_metric_alarm_record",
        {
            refused: "",
            required: '    if not (metric_name and namespace) and not props.get("Metrics"):\n',
            "    if dta is not None:\n": """\
    if props.get("Metrics"):
        alarm["Metrics"] = props["Metrics"]
    if dta is not None:
""",
        },
    )
    record, log = cloudwatch.record_metric, lambda_svc._emit_lambda_logs

    def record_and_look(namespace: str, name: str, *value: Any, **named: Any) -> None:
        record(namespace, name, *value, **named)
        for alarm in list(cloudwatch._alarms.values()):
            if (namespace, name) in alarms.metrics_of(alarm):
                _look_at(alarm)

    def log_and_publish(function: Any, request_id: str, text: str, *more: Any, **named: Any) -> None:
        log(function, request_id, text, *more, **named)
        for metric in _embedded_metrics(text):
            record_and_look(*metric)

    cloudwatch.time = _clock_of_metrics
    cloudwatch._evaluate_alarm = _look_at
    cloudwatch.record_metric = record_and_look
    lambda_svc._emit_lambda_logs = log_and_publish
    _publish_calls()


class _ClockOfMetrics:
    """What metrics and alarms take for the time: it can be moved on."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def time(self) -> float:
        return time.time() + self.ahead


_clock_of_metrics = _ClockOfMetrics()
_one_look_at_a_time = threading.RLock()


def _look_at(alarm: dict[str, Any]) -> None:
    """Puts the alarm into the state that it is in by its definition, and tells those who are to be told."""
    from ministack.services import cloudwatch

    def points(namespace: str, name: str, dimensions: Any) -> Iterator[tuple[float, float]]:
        kept = cloudwatch._metrics.get((namespace, name, cloudwatch._dims_key(dict(dimensions)))) or []
        return ((point["Timestamp"], point["Value"]) for point in reversed(kept))

    with _one_look_at_a_time:
        before = alarm["StateValue"]
        state, reason = alarms.state_of(alarm, points, _clock_of_metrics.time())
        if state != before:
            alarm.update(StateValue=state, StateReason=reason, StateUpdatedTimestamp=int(_clock_of_metrics.time()))
            cloudwatch._record_history(alarm["AlarmName"], before, state, reason)
            cloudwatch._dispatch_alarm_actions(alarm, before, state, reason)


def _look_at_all() -> None:
    """What CloudWatch and SQS do each minute by themselves."""
    from ministack.services import cloudwatch, sqs

    with sqs._queues_lock:
        now = time.time()
        waiting = {
            queue_["attributes"]["QueueArn"].rpartition(":")[2]: [
                message["sent_at"] for message in queue_["messages"] if message.get("visible_at", now) <= now
            ]
            for queue_ in sqs._queues.values()
        }
    for name, sent in waiting.items():
        dimensions, age = {"QueueName": name}, now - min(sent, default=now)
        cloudwatch.record_metric("AWS/SQS", "ApproximateNumberOfMessagesVisible", len(sent), "Count", dimensions)
        cloudwatch.record_metric("AWS/SQS", "ApproximateAgeOfOldestMessage", age, "Seconds", dimensions)
    for alarm in list(cloudwatch._alarms.values()):
        _look_at(alarm)


def _look_now_and_then() -> None:
    while True:
        time.sleep(LOOK)
        with suppress(RuntimeError):  # something came or went meanwhile: the next look sees it
            _look_at_all()


def _publish_calls() -> None:
    """AWS/Lambda for each call, however it came about, and AWS/ApiGateway for each request."""
    from ministack.services import apigateway_v1, cloudwatch, lambda_svc

    dispatch, execute = lambda_svc._execute_function_dispatch, apigateway_v1.handle_execute

    def dispatched(function: Any, config: dict[str, Any], *more: Any) -> dict[str, Any]:
        started, dimensions = time.monotonic(), {"FunctionName": config["FunctionName"]}
        result: dict[str, Any] = dispatch(function, config, *more)
        milliseconds = 1000 * (time.monotonic() - started)
        cloudwatch.record_metric("AWS/Lambda", "Invocations", 1, "Count", dimensions)
        cloudwatch.record_metric("AWS/Lambda", "Errors", int(bool(result.get("error"))), "Count", dimensions)
        cloudwatch.record_metric("AWS/Lambda", "Duration", milliseconds, "Milliseconds", dimensions)
        return result

    def throttled(function: str) -> None:
        cloudwatch.record_metric("AWS/Lambda", "Throttles", 1, "Count", {"FunctionName": function})

    async def executed(api_id: str, stage: str, *request: Any) -> tuple[int, dict[str, str], bytes]:
        started = time.monotonic()
        answer: tuple[int, dict[str, str], bytes] = await execute(api_id, stage, *request)
        name = next((api["name"] for (*_, of), api in apigateway_v1._rest_apis.all_items() if of == api_id), api_id)
        dimensions, milliseconds = {"ApiName": name, "Stage": stage}, 1000 * (time.monotonic() - started)
        cloudwatch.record_metric("AWS/ApiGateway", "Count", 1, "Count", dimensions)
        cloudwatch.record_metric("AWS/ApiGateway", "4XXError", int(400 <= answer[0] < 500), "Count", dimensions)
        cloudwatch.record_metric("AWS/ApiGateway", "5XXError", int(answer[0] >= 500), "Count", dimensions)
        cloudwatch.record_metric("AWS/ApiGateway", "Latency", milliseconds, "Milliseconds", dimensions)
        return answer

    _replace(
        lambda_svc,
        "_execute_function",
        {
            "_emit_lambda_metrics(fn_name, duration_ms=0.0, error=False, throttle=True)": "throttled(fn_name)",
        },
        throttled=throttled,
    )
    lambda_svc._emit_lambda_metrics = lambda *_, **__: None  # of some calls only
    lambda_svc._execute_function_dispatch = dispatched
    apigateway_v1.handle_execute = executed


def _embedded_metrics(log: str) -> Iterator[tuple[str, str, float, str, dict[str, str]]]:
    """Namespace, name, value, unit and dimensions of each metric in a log, by CloudWatch's embedded metric format.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
    """
    for line in log.splitlines():
        try:
            document = json.loads(line) if '"_aws"' in line else {}
        except ValueError:
            continue
        for directive in document.get("_aws", {}).get("CloudWatchMetrics", []):
            for names in directive.get("Dimensions") or [[]]:
                dimensions = {name: str(document[name]) for name in names}
                for metric in directive["Metrics"]:
                    values = document[metric["Name"]]
                    for value in values if isinstance(values, list) else [values]:
                        yield directive["Namespace"], metric["Name"], value, metric.get("Unit", "None"), dimensions


def _change_mail() -> None:
    from ministack import app
    from ministack.core import iam_actions
    from ministack.services import ses

    resource_arn = iam_actions.extract_resource_arn

    def resource_or_sender_arn(
        service: str, method: str, path: str, headers: Any, body: Any, query: Any, region: str, account: str
    ) -> str:
        sender = service == "ses" and _sender(
            iam_actions._query_param(query, "Source"), iam_actions._query_param(query, "RawMessage.Data")
        )
        if sender:
            identity, _ = ses._notification_identity(sender) or (parseaddr(sender)[1], None)
            return f"arn:aws:ses:{region}:{account}:identity/{identity}"
        found: str = resource_arn(service, method, path, headers, body, query, region, account)
        return found

    def configuration_set_arns(query: Any, region: str, account: str) -> list[str]:
        name = iam_actions._query_param(query, "ConfigurationSetName")
        return [f"arn:aws:ses:{region}:{account}:configuration-set/{name}"] if name else []

    iam_actions.extract_resource_arn = resource_or_sender_arn
    _replace(
        app,
        "_dispatch_service_request",
        {
            '            if service == "iot" and not denied:\n': """\
            if service == "ses" and not denied:
                for extra_arn in configuration_set_arns(routing_params, region, get_account_id()):
                    denied = enforce(access_key, iam_action, service, region, resource_arn=extra_arn)
                    resource_arn = extra_arn
            if service == "iot" and not denied:
"""
        },
        configuration_set_arns=configuration_set_arns,
    )


def _sender(source: str | None, message: str | None) -> str:
    """The address a mail is sent from: the parameter Source or else the message's own From; nothing for other calls."""
    if source or not message:
        return source or ""
    return str(BytesHeaderParser().parsebytes(base64.b64decode(message))["From"])


def _change_queues() -> None:
    from ministack.core import iam_actions
    from ministack.services import cloudwatch, lambda_svc, sqs

    bound = '(esm.get("ScalingConfig") or {}).get("MaximumConcurrency") or _ESM_SQS_DEFAULT_CONCURRENCY'
    _replace(lambda_svc, "_sqs_esm_concurrency", {bound: f"int({bound})"})
    action, sweep = iam_actions.extract_iam_action, sqs._dlq_sweep

    def single_action(service: str, *request: Any) -> str | None:
        found: str | None = action(service, *request)
        return found.removesuffix("Batch") if found and service == "sqs" else found

    def sweep_and_publish(queue: dict[str, Any]) -> None:
        target = json.loads(queue["attributes"].get("RedrivePolicy") or "{}").get("deadLetterTargetArn", "")
        dead_letters = sqs._queue_by_arn(target) if target else None
        before = len(dead_letters["messages"]) if dead_letters else 0
        sweep(queue)
        if dead_letters and len(dead_letters["messages"]) > before:
            cloudwatch.record_metric(
                "AWS/SQS",
                "ApproximateNumberOfMessagesVisible",
                len(dead_letters["messages"]),
                "Count",
                {"QueueName": target.rpartition(":")[2]},
            )

    iam_actions.extract_iam_action = single_action
    sqs._dlq_sweep = sweep_and_publish


def _change_transport() -> None:
    from ministack import app

    told = 'headers.get("x-forwarded-proto", "").split(",")[0].strip().lower() == "https")'
    _replace(app, "app", {told: told.replace('"")', '"https")')})


@dataclass
class _Watch:
    """On one call of a function: that with `text` in its event. Shown and made by the control, see `local.cuts`."""

    function: str
    text: str
    cut_at: int | None = None
    moment: str = "before"
    met: bool = False
    calls: list[str] = field(default_factory=list)

    def next(self, action: str) -> str | None:
        """Notes a call to AWS. When it is to be cut, if it is."""
        self.calls.append(action)
        return self.moment if len(self.calls) == self.cut_at else None


def _change_watches(watches: list[_Watch], method: str, body: bytes) -> None:
    if method == "POST":
        watches.append(_Watch(**json.loads(body)))
    if method == "DELETE":
        watches[:] = [watch for watch in watches if watch.met]


def _end(worker: Any) -> None:
    """Kills the function's process. No answer can reach it when this returns."""
    process = worker._proc
    process.kill()
    process.wait()


def _add_cuts() -> None:
    from ministack import app
    from ministack.core import iam_actions, lambda_runtime

    watches: list[_Watch] = []
    invoke, dispatch, shortcut = (
        lambda_runtime.Worker.invoke,
        app._dispatch_service_request,
        app._handle_post_body_shortcuts,
    )

    def invoke_watched(worker: Any, event: Any, *more: Any, **named: Any) -> dict[str, Any]:
        function, text = worker.func_name, json.dumps(event)
        worker.watch = next((w for w in watches if not w.met and w.function == function and w.text in text), None)
        if worker.watch:
            worker.watch.met = True
            worker.kill()  # so that the number of a call does not depend on what the process has done before
        answer: dict[str, Any] = invoke(worker, event, *more, **named)
        return answer

    async def dispatch_watched(
        method: str, path: str, headers: Any, body: bytes, query: Any, request_id: str
    ) -> tuple[int, dict[str, str], Any]:
        worker = _process_of_key.get(app.extract_access_key_id(headers, query))
        watch: _Watch | None = worker.watch if worker else None
        moment = watch.next(action_of(method, path, headers, body, query)) if watch else None
        if moment == "before":
            _end(worker)
            return 503, {}, b""  # to nobody
        answer: tuple[int, dict[str, str], Any] = await dispatch(method, path, headers, body, query, request_id)
        if moment == "after":
            _end(worker)
        return answer

    def action_of(method: str, path: str, headers: Any, body: bytes, query: Any) -> str:
        parameters = app._routing_params(method, path, headers, body, query)
        service = app.detect_service(method, path, headers, parameters)
        return str(iam_actions.extract_iam_action(service, method, path, headers, body, parameters))

    async def shortcut_or_control(
        method: str, path: str, headers: Any, body: bytes, query: Any, request_id: str
    ) -> tuple[int, dict[str, str], bytes] | None:
        if path != "/_local/watches":
            answer: tuple[int, dict[str, str], bytes] | None
            answer = await shortcut(method, path, headers, body, query, request_id)
            return answer
        _change_watches(watches, method, body)
        return 200, {"Content-Type": "application/json"}, json.dumps([asdict(watch) for watch in watches]).encode()

    lambda_runtime.Worker.invoke = invoke_watched
    app._dispatch_service_request = dispatch_watched
    app._handle_post_body_shortcuts = shortcut_or_control


_asynchronous_calls: set[object] = set()


def _noted(run: Callable[[], None]) -> Callable[[], None]:
    """An asynchronous call of a function with its retries, which counts as work until it is over."""
    call = object()
    _asynchronous_calls.add(call)

    def run_and_strike_out() -> None:
        try:
            run()
        finally:
            _asynchronous_calls.discard(call)

    return run_and_strike_out


_LATEST = 500  # executions: more than can run at once, and a year has tens of thousands


def _at_work() -> int:
    from ministack.services import lambda_svc, sqs, stepfunctions

    sources = [esm["EventSourceArn"] for _, _, esm in lambda_svc._iter_all_esms()]
    queues = [queue for queue in map(sqs._queue_by_arn, sources) if queue]
    now = time.time()
    waiting = sum(message.get("visible_at", now) <= now for queue in queues for message in queue["messages"])
    with_a_function = sum(lambda_svc._esm_inflight.copy().values())
    latest = itertools.islice(reversed(list(stepfunctions._executions._data.values())), _LATEST)
    running = sum(execution["status"] == "RUNNING" for execution in latest)
    return int(waiting + with_a_function + running + len(_asynchronous_calls))


def _show_all_messages() -> None:
    from ministack.services import lambda_svc, sqs

    with sqs._queues_lock:
        for queue_ in sqs._queues.values():
            for message in queue_["messages"]:
                message["visible_at"] = time.time()
    lambda_svc._esm_wake.set()


def _add_passing_of_time() -> None:
    from ministack import app
    from ministack.services import lambda_svc

    _replace(lambda_svc, "invoke_async_with_retry", {"args=(_run,)": "args=(noted(_run),)"}, noted=_noted)
    shortcut = app._handle_post_body_shortcuts

    async def shortcut_or_control(
        method: str, path: str, headers: Any, body: bytes, query: Any, request_id: str
    ) -> tuple[int, dict[str, str], bytes] | None:
        if path == "/_local/alarms" and method == "POST":
            _clock_of_metrics.ahead += json.loads(body)["seconds"]
            await asyncio.to_thread(_look_at_all)
            return 200, {"Content-Type": "application/json"}, b"{}"
        if path != "/_local/time":
            answer: tuple[int, dict[str, str], bytes] | None
            answer = await shortcut(method, path, headers, body, query, request_id)
            return answer
        until = time.monotonic() + _LONGEST_LOOK
        if method == "POST":
            _show_all_messages()
        while (left := _at_work()) and method == "GET" and time.monotonic() < until:
            await asyncio.sleep(0.02)
        return 200, {"Content-Type": "application/json"}, json.dumps({"at_work": left}).encode()

    app._handle_post_body_shortcuts = shortcut_or_control


def _add_receipt_links() -> None:
    from ministack import app
    from ministack.services import apigateway_v1

    shortcut = app._handle_post_body_shortcuts

    async def shortcut_or_link(method: str, path: str, *request: Any) -> tuple[int, dict[str, str], bytes] | None:
        if not path.startswith(_RECEIPTS):
            answer: tuple[int, dict[str, str], bytes] | None = await shortcut(method, path, *request)
            return answer
        (api_id,) = {api_id for (_, _, api_id), _ in apigateway_v1._rest_apis.all_items()}
        token = quote(path.removeprefix(_RECEIPTS))
        return 307, {"Location": f"/_aws/execute-api/{api_id}/prod/receipts/{token}"}, b""

    app._handle_post_body_shortcuts = shortcut_or_link


if __name__ == "__main__":
    main()
