"""What a function tells of itself: JSON logs, metrics in CloudWatch's embedded format, traces. Ids and outcomes only.

From the webhook to the mail a renewal is followed by what stands in every line of every call: webhook_id, as its sender
named it, subscription_id, renewal_date, and the execution's ARN.

Powertools for AWS Lambda does the work; it reads its POWERTOOLS_* settings when first used, not at import.
"""

from __future__ import annotations

import gc
import os
import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cache, wraps
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from renewals.domain.errors import RenewalError
from renewals.domain.item_values import fields, several

if TYPE_CHECKING:
    from aws_lambda_powertools import Logger, Metrics

type Event = Mapping[str, object]
"""What a function is called with. Nothing is known of an event until somebody has looked."""

type Reply = dict[str, object]
"""What a function answers."""

type Handler = Callable[[Event, Any], Reply]

_TOLD = ("outcome", "reason", "subscription_id", "customer_id", "renewal_date", "attempt", "transaction_id")
_CORRELATED = ("webhook_id", "subscription_id", "renewal_date")
_KEYS = (*_CORRELATED, "execution", "message_id")
# Ids, dates and ARNs. An address or a name with a space in it is none of them.
_ID = re.compile(r"[A-Za-z0-9._:/-]{1,300}", re.ASCII)


@cache
def logger() -> Logger:
    """The function's logger. Log ids, never whole events, names, addresses or secrets."""
    from aws_lambda_powertools import Logger

    return Logger()


class _Unheard:
    """Metrics that nobody collects."""

    metric_set: ClassVar[dict[str, object]] = {}

    def add_metric(self, **_: object) -> None:
        """Nothing is kept."""


@cache
def _metrics() -> Metrics:
    if os.environ.get("POWERTOOLS_METRICS_DISABLED") == "true":  # Powertools would write each hundredth all the same
        return cast("Metrics", _Unheard())
    from aws_lambda_powertools import Metrics

    return Metrics()


def count(metric: str, by: int = 1) -> None:
    """Add to a counter of the deployment's metric namespace."""
    from aws_lambda_powertools.metrics import MetricUnit

    _metrics().add_metric(name=metric, unit=MetricUnit.Count, value=by)


def measure(metric: str, value: float, unit: Literal["Milliseconds", "Seconds"]) -> None:
    """One value of something that is no counter."""
    _metrics().add_metric(name=metric, unit=unit, value=value)


def amount(metric: str, value: float, currency: str) -> None:
    """Add to a sum of money, one for each currency (ISO 4217), in major units.

    Written by itself: in the embedded metric format dimensions hold for a whole document, and an alarm on another
    metric of it would have to name a currency too.
    """
    from aws_lambda_powertools import single_metric
    from aws_lambda_powertools.metrics import MetricUnit

    with single_metric(name=metric, unit=MetricUnit.Count, value=value, default_dimensions={"currency": currency}):
        pass


def records(event: Event) -> list[Event]:
    """The records of an event that brings several. Raises KeyError and TypeError for what AWS does not send."""
    return [fields({"a record": each}, "a record") for each in several(event, "Records")]


def shown_id(value: object) -> str:
    """An id as it may be logged: whoever writes rows and requests may have put anything in its place."""
    return value if isinstance(value, str) and _ID.fullmatch(value) else "not an id"


def correlate(work: Mapping[str, object], **more: object) -> None:
    """From here on these ids stand in every line of this call: those that `work` has, and `more`."""
    known = {name: work.get(name) for name in _CORRELATED} | more
    logger().append_keys(
        **{name: value for name, value in known.items() if isinstance(value, str) and _ID.fullmatch(value)}
    )


def forget() -> None:
    """What comes is about something else: no id stands in the lines any more."""
    logger().remove_keys(_KEYS)


def renewal_event(step: str, reply: Mapping[str, object], **more: object) -> None:
    """One log line for a step's outcome, and its annotations on the trace: subscription and outcome."""
    told = {name: reply[name] for name in _TOLD if reply.get(name) not in (None, "")}
    logger().info(step, extra=told | more)
    annotate(subscription_id=reply.get("subscription_id"), outcome=reply["outcome"])


def annotate(**ids: object) -> None:
    """Write these on the trace, where there is one, so that traces can be searched for them."""
    if _traced():
        from aws_xray_sdk.core import xray_recorder

        subsegment = xray_recorder.current_subsegment()
        for name, value in ids.items():
            if subsegment is not None and value is not None:
                subsegment.put_annotation(name, str(value))


def observed(handler: Handler) -> Handler:
    """Around a Lambda handler: the request id in every log line, and what it raises in one of them, under the ids of
    the renewal; metrics flushed, AWS calls traced."""

    @wraps(handler)
    def call(event: Event, context: Any) -> Reply:
        logger().append_keys(request_id=getattr(context, "aws_request_id", None))
        try:
            with _subsegment(handler):
                return handler(event, context)
        except Exception as error:
            logger().error("raised", extra={"error": _named(error)})
            raise
        finally:
            forget()
            if _metrics().metric_set:
                _metrics().flush_metrics()
            if not gc.isenabled():
                gc.freeze()  # what the start made is not looked at again
                gc.enable()

    return call


def _named(error: Exception) -> str:
    """Its name, and what it says where the words are ours: those of others may hold addresses. AWS's have a code."""
    name = type(error).__name__
    if isinstance(error, RenewalError):
        return f"{name}: {error}"
    response = getattr(error, "response", None)  # botocore's errors of the connection have one too, and it is None
    fault = response.get("Error") if isinstance(response, dict) else None
    code = fault.get("Code") if isinstance(fault, dict) else None
    return f"{name}: {code}" if code else name


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
