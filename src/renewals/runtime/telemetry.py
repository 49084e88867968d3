"""Write the logs (JSON), the metrics (CloudWatch's embedded format) and the traces of a function. Only ids and outcomes
are written.

Every line of every call carries the ids by which a renewal is followed from the webhook to the mail: webhook_id (as
named by the webhook's sender), subscription_id, renewal_date, and the execution's ARN.

Powertools for AWS Lambda does the work, and reads its POWERTOOLS_* settings on first use, not at import.
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
"""The event of a function. Nothing is known about an event until its content was checked."""

type Reply = dict[str, object]
"""The answer of a function."""

type Handler = Callable[[Event, Any], Reply]

_TOLD = ("outcome", "reason", "subscription_id", "customer_id", "renewal_date", "attempt", "transaction_id")
_CORRELATED = ("webhook_id", "subscription_id", "renewal_date")
_KEYS = (*_CORRELATED, "execution", "message_id")
# Ids, dates and ARNs match. A mail address, or a name with a space, does not match.
_ID = re.compile(r"[A-Za-z0-9._:/-]{1,300}", re.ASCII)


@cache
def logger() -> Logger:
    """Return the function's logger. Log ids, and never whole events, names, addresses or secrets."""
    from aws_lambda_powertools import Logger

    return Logger()


class _Unheard:
    """Metrics that nobody collects."""

    metric_set: ClassVar[dict[str, object]] = {}

    def add_metric(self, **_: object) -> None:
        """Keep nothing."""


@cache
def _metrics() -> Metrics:
    # With metrics disabled, Powertools would still collect values, and print the values after every hundredth.
    if os.environ.get("POWERTOOLS_METRICS_DISABLED") == "true":
        return cast("Metrics", _Unheard())
    from aws_lambda_powertools import Metrics

    return Metrics()


def count(metric: str, by: int = 1) -> None:
    """Add to a counter in the deployment's metric namespace."""
    from aws_lambda_powertools.metrics import MetricUnit

    _metrics().add_metric(name=metric, unit=MetricUnit.Count, value=by)


def measure(metric: str, value: float, unit: Literal["Milliseconds", "Seconds"]) -> None:
    """Record one value of a metric that is no counter."""
    _metrics().add_metric(name=metric, unit=unit, value=value)


def amount(metric: str, value: float, currency: str) -> None:
    """Add to a sum of money in major units, with one sum for each currency (ISO 4217).

    The sum is written in a document of its own. In the embedded metric format, dimensions hold for a whole document:
    the other metrics would also get the currency as a dimension, and their alarms would have to name a currency.
    """
    from aws_lambda_powertools import single_metric
    from aws_lambda_powertools.metrics import MetricUnit

    with single_metric(name=metric, unit=MetricUnit.Count, value=value, default_dimensions={"currency": currency}):
        pass


def flush() -> None:
    """Write the collected metrics now. A run that is killed later does not lose them."""
    if _metrics().metric_set:
        _metrics().flush_metrics()


def records(event: Event) -> list[Event]:
    """Return the records of an event with several records. Raises KeyError and TypeError for an event that AWS does not
    send."""
    return [fields({"a record": each}, "a record") for each in several(event, "Records")]


def shown_id(value: object) -> str:
    """Return an id for the log, or "not an id": the author of a row or request may have put anything in the id's
    place."""
    return value if isinstance(value, str) and _ID.fullmatch(value) else "not an id"


def correlate(work: Mapping[str, object], **more: object) -> None:
    """From now on, write the ids in `work` and in `more` into every log line of this call."""
    known = {name: work.get(name) for name in _CORRELATED} | more
    logger().append_keys(
        **{name: value for name, value in known.items() if isinstance(value, str) and _ID.fullmatch(value)}
    )


def forget() -> None:
    """From now on, write no ids into the log lines, because the next work concerns a different renewal."""
    logger().remove_keys(_KEYS)


def renewal_event(step: str, reply: Mapping[str, object], **more: object) -> None:
    """Log a step's outcome in one line, and annotate the trace with the subscription and the outcome."""
    told = {name: reply[name] for name in _TOLD if reply.get(name) not in (None, "")}
    logger().info(step, extra=told | more)
    annotate(subscription_id=reply.get("subscription_id"), outcome=reply["outcome"])


def annotate(**ids: object) -> None:
    """Write the ids on the trace of a traced call, so that people can search traces by id."""
    if _traced():
        from aws_xray_sdk.core import xray_recorder

        subsegment = xray_recorder.current_subsegment()
        for name, value in ids.items():
            if subsegment is not None and value is not None:
                subsegment.put_annotation(name, str(value))


def observed(handler: Handler) -> Handler:
    """Wrap a Lambda handler: every log line carries the request id, an error is logged under the ids of the renewal,
    metrics are flushed, and AWS calls are traced."""

    @wraps(handler)
    def call(event: Event, context: Any) -> Reply:
        logger().append_keys(request_id=getattr(context, "aws_request_id", None))
        try:
            with _subsegment(handler):
                return handler(event, context)
        except Exception as error:
            logger().error("raised", extra={"error": named(error)})
            raise
        finally:
            forget()
            flush()
            if not gc.isenabled():
                # From now on, the garbage collector skips all objects made during the start.
                gc.freeze()
                gc.enable()

    return call


def named(error: Exception) -> str:
    """Return the error's name, and the message if the words are ours. Foreign messages may hold addresses, and are
    replaced by AWS's code if possible."""
    name = type(error).__name__
    if isinstance(error, RenewalError):
        return f"{name}: {error}"
    # botocore's connection errors have a response too, which is None.
    response = getattr(error, "response", None)
    fault = response.get("Error") if isinstance(response, dict) else None
    code = fault.get("Code") if isinstance(fault, dict) else None
    return f"{name}: {code}" if code else name


def _traced() -> bool:
    """Whether calls are traced: X-Ray's recorder works only in a running Lambda function."""
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
