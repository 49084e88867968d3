"""What a function tells of itself: JSON logs, metrics in CloudWatch's embedded format, traces. Ids and outcomes only.

Powertools for AWS Lambda does the work; it reads its POWERTOOLS_* settings when first used, not at import.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cache, wraps
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aws_lambda_powertools import Logger, Metrics

type Handler = Callable[[dict[str, Any], Any], dict[str, Any]]

_TOLD = ("outcome", "reason", "subscription_id", "customer_id", "renewal_date", "attempt", "transaction_id")


@cache
def logger() -> Logger:
    """The function's logger. Log ids, never whole events, names, addresses or secrets."""
    from aws_lambda_powertools import Logger

    return Logger()


@cache
def _metrics() -> Metrics:
    from aws_lambda_powertools import Metrics

    return Metrics()


def count(metric: str, by: int = 1) -> None:
    """Add to a counter of the deployment's metric namespace."""
    from aws_lambda_powertools.metrics import MetricUnit

    _metrics().add_metric(name=metric, unit=MetricUnit.Count, value=by)


def renewal_event(step: str, reply: Mapping[str, Any]) -> None:
    """One log line for a step's outcome, and its annotations on the trace."""
    told = {name: reply[name] for name in _TOLD if reply.get(name) not in (None, "")}
    logger().info(step, extra=told)
    if _traced():
        from aws_xray_sdk.core import xray_recorder

        subsegment = xray_recorder.current_subsegment()
        if subsegment is not None:
            subsegment.put_annotation("subscription_id", str(reply["subscription_id"]))
            subsegment.put_annotation("outcome", str(reply["outcome"]))


def observed(handler: Handler) -> Handler:
    """Around a Lambda handler: the request id in every log line, metrics flushed, AWS calls traced."""

    @wraps(handler)
    def call(event: dict[str, Any], context: Any) -> dict[str, Any]:
        logger().append_keys(request_id=getattr(context, "aws_request_id", None))
        try:
            with _subsegment(handler):
                return handler(event, context)
        finally:
            if _metrics().metric_set:
                _metrics().flush_metrics()
            if not gc.isenabled():
                gc.freeze()  # what the start made is not looked at again
                gc.enable()

    return call


def _traced() -> bool:
    """X-Ray's recorder wants a running Lambda function around it."""
    return "LAMBDA_TASK_ROOT" in os.environ and os.environ.get("AWS_XRAY_SDK_ENABLED", "true").lower() != "false"


@cache
def _trace_aws_calls() -> None:
    from aws_xray_sdk.core import patch

    patch(("botocore",))


def _subsegment(handler: Handler) -> AbstractContextManager[object]:
    if not _traced():
        return nullcontext()
    from aws_xray_sdk.core import xray_recorder

    _trace_aws_calls()
    context: AbstractContextManager[object] = xray_recorder.in_subsegment(handler.__module__.partition(".")[0])
    return context
