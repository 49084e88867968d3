"""Metrics and alarms.

The emulator publishes the metrics in functions' logs (EMF), the metrics of AWS/Lambda for every call, and the metrics
of AWS/ApiGateway. Every LOOK seconds, the emulator publishes the number of waiting messages in every queue, and the age
of the oldest message, hidden or not.

An alarm's state follows from the alarm's own definition, with math, dimensions and missing data: see `local.alarms`.
The emulator evaluates an alarm within a moment after a new value of the alarm's metrics that may change the alarm's
state, before every answer of CloudWatch, and every LOOK seconds, because the passing of time changes alarms too. A
storm of values therefore costs a few evaluations a second, and delays no request. The clock of metrics and alarms can
be moved on: see `local.time_passes`.
"""

import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from local import alarms
from local.emulator.clock import Clock
from local.emulator.patching import replace

LOOK = 10
"""Seconds between two evaluations of all alarms. CloudWatch evaluates every minute."""

_MOMENT = 0.25
"""Seconds between two evaluations of the alarms whose metrics have new values. Every value after an evaluation waits at
most so long for the next evaluation."""

_MOST_RECEIVED = 3
"""A message that was received more often no longer counts for the age of the oldest message:
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html"""


def apply() -> None:
    from ministack.services import cloudwatch, lambda_svc
    from ministack.services.cloudformation import provisioners

    refused = """    if props.get("Metrics"):
        raise ValueError(
            "AWS::CloudWatch::Alarm Properties.Metrics (metric math) is not supported; "
            "use MetricName and Namespace."
        )
"""
    required = "    if not metric_name or not namespace:\n"
    replace(
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
    record, log, evict = cloudwatch.record_metric, lambda_svc._emit_lambda_logs, cloudwatch._evict_old_metrics

    def record_and_tell(namespace: str, name: str, value: float, unit: str, dimensions: dict[str, str]) -> None:
        record(namespace, name, value, unit, dimensions)
        news.tell((namespace, name, frozenset(dimensions.items())), value)

    def look_and_evict() -> None:
        """Evaluate the alarms with new values. CloudWatch calls this function first at every request."""
        news.look()
        evict()

    def log_and_publish(function: Any, request_id: str, text: str, *more: Any, **named: Any) -> None:
        log(function, request_id, text, *more, **named)
        for metric in _embedded_metrics(text):
            record_and_tell(*metric)

    cloudwatch.time = clock
    cloudwatch._evaluate_alarm = _look_at
    cloudwatch.record_metric = record_and_tell
    cloudwatch._evict_old_metrics = look_and_evict
    lambda_svc._emit_lambda_logs = log_and_publish
    _publish_calls()
    threading.Thread(target=_look_now_and_then, daemon=True).start()
    threading.Thread(target=news.look_at_moments, daemon=True).start()


clock = Clock()
_one_look_at_a_time = threading.RLock()


class News:
    """The metrics that have new values since the last evaluation of the alarms."""

    def __init__(self) -> None:
        self._metrics: dict[alarms.Metric, bool] = {}  # whether a new value is not zero
        self._lock = threading.Lock()
        self._arrived = threading.Event()

    def tell(self, metric: alarms.Metric, value: float) -> None:
        with self._lock:
            self._metrics[metric] = bool(value) or self._metrics.get(metric, False)
        self._arrived.set()

    def look(self) -> None:
        """Evaluate the alarms whose state may have changed by new values. After the return, no value from before the
        call is left.
        """
        from ministack.services import cloudwatch

        with _one_look_at_a_time:
            with self._lock:
                fresh, self._metrics = self._metrics, {}
            try:
                for alarm in list(cloudwatch._alarms.values()):
                    values = [fresh[metric] for metric in _metrics_of(alarm) if metric in fresh]
                    if any(values) or (values and not alarms.stays_quiet_at_zero(alarm)):
                        _look_at(alarm)
            except RuntimeError:  # the collections changed during the loop
                for metric, value in fresh.items():
                    self.tell(metric, value)

    def look_at_moments(self) -> None:
        while True:
            self._arrived.wait()
            self._arrived.clear()
            try:
                self.look()
            except Exception:  # an alarm that cannot be evaluated stops no other alarm
                logging.getLogger(__name__).exception("the alarms were not evaluated")
            time.sleep(_MOMENT)


news = News()
_known: dict[int, tuple[dict[str, Any], frozenset[alarms.Metric]]] = {}
"""Maps an alarm object's id in this process to the alarm and its metrics. A redefined alarm is a new object."""


def _metrics_of(alarm: dict[str, Any]) -> frozenset[alarms.Metric]:
    if id(alarm) not in _known:
        _known[id(alarm)] = alarm, alarms.metrics_of(alarm)
    return _known[id(alarm)][1]


def _look_at(alarm: dict[str, Any]) -> None:
    """Bring the alarm into the state that follows from the definition, and run the actions if the state has changed."""
    from ministack.services import cloudwatch

    def points(namespace: str, name: str, dimensions: Any) -> Iterator[tuple[float, float]]:
        kept = cloudwatch._metrics.get((namespace, name, cloudwatch._dims_key(dict(dimensions)))) or []
        return ((point["Timestamp"], point["Value"]) for point in reversed(kept))

    with _one_look_at_a_time:
        before = alarm["StateValue"]
        state, reason = alarms.state_of(alarm, points, clock.time())
        if state != before:
            alarm.update(StateValue=state, StateReason=reason, StateUpdatedTimestamp=int(clock.time()))
            cloudwatch._record_history(alarm["AlarmName"], before, state, reason)
            cloudwatch._dispatch_alarm_actions(alarm, before, state, reason)


def look_at_all() -> None:
    """Publish the queues' metrics and evaluate all alarms: the work that SQS and CloudWatch do every minute."""
    from ministack.services import cloudwatch

    for name, messages in _messages().items():
        dimensions, now = {"QueueName": name}, time.time()
        visible = sum(message.get("visible_at", now) <= now for message in messages)
        age = max(
            (_age(message) for message in messages if message.get("receive_count", 0) <= _MOST_RECEIVED), default=0
        )
        cloudwatch.record_metric("AWS/SQS", "ApproximateNumberOfMessagesVisible", visible, "Count", dimensions)
        cloudwatch.record_metric("AWS/SQS", "ApproximateAgeOfOldestMessage", age, "Seconds", dimensions)
    for alarm in list(cloudwatch._alarms.values()):
        _look_at(alarm)


def move_on(seconds: float) -> None:
    """Move the clock of metrics and alarms on. The messages that are in a queue by now become older.

    The alarms are evaluated first: CloudWatch overlooks no value, however much time passes after the value.
    """
    news.look()
    for messages in _messages().values():
        for message in messages:
            _age(message)
    clock.ahead += seconds


def _messages() -> dict[str, list[dict[str, Any]]]:
    """Return the messages of every queue by the queue's name, hidden messages included."""
    from ministack.services import sqs

    with sqs._queues_lock:
        return {
            each["attributes"]["QueueArn"].rpartition(":")[2]: list(each["messages"]) for each in sqs._queues.values()
        }


def _age(message: dict[str, Any]) -> float:
    """Return the message's age in seconds. The age counts how far the clock was moved on since the first look at the
    message.
    """
    ahead: float = message.setdefault("ahead_at_first_look", clock.ahead)
    return time.time() - float(message["sent_at"]) + clock.ahead - ahead


def _look_now_and_then() -> None:
    while True:
        time.sleep(LOOK)
        with suppress(RuntimeError):  # the collections changed during the loop; the next round sees the change
            look_at_all()


def _publish_calls() -> None:
    """Publish the metrics of AWS/Lambda for every call, however started, and of AWS/ApiGateway for every request."""
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

    replace(
        lambda_svc,
        "_execute_function",
        {
            "_emit_lambda_metrics(fn_name, duration_ms=0.0, error=False, throttle=True)": "throttled(fn_name)",
        },
        throttled=throttled,
    )
    lambda_svc._emit_lambda_metrics = lambda *_, **__: None  # covers only some calls
    lambda_svc._execute_function_dispatch = dispatched
    apigateway_v1.handle_execute = executed


def _embedded_metrics(log: str) -> Iterator[tuple[str, str, float, str, dict[str, str]]]:
    """Yield namespace, name, value, unit and dimensions of every metric in a log (CloudWatch's embedded metric format).

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
