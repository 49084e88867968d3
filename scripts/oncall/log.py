"""A function's log, with a line for every record."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from scripts.deployment import Deployment
from scripts.plainly import Trouble

_MOST_PAGES = 200
_CUT_OFF = ("Task timed out", "Runtime exited", "[ERROR] Runtime.")
"""Texts of the platform about a function that was ended, or did not even start."""
_NOISE = frozenset(
    "timestamp level message location service cold_start function_name function_memory_size function_arn "
    "function_request_id xray_trace_id request_id execution".split()
)


def lines(deployment: Deployment, function: str, text: str, hours: float) -> Iterator[str]:
    """Yield the records of the last hours that contain `text`, oldest first: the time, the message, and name=value
    pairs.

    Metrics and the platform's own lines are left out, except lines about an interrupted function. function: for example
    process-payment.
    """
    group = f"/aws/lambda/{deployment.function(function)}"
    since = datetime.now(UTC) - timedelta(hours=hours)
    logs = deployment.client("logs")
    asked = {"logGroupName": group, "startTime": int(since.timestamp() * 1000)}
    if text:
        asked["filterPattern"] = json.dumps(text, ensure_ascii=False)
    try:
        pages = iter(logs.get_paginator("filter_log_events").paginate(**asked))
        for _ in range(_MOST_PAGES):
            page = next(pages, None)
            if page is None:
                return
            for event in page["events"]:
                shown = _shown(event["message"])
                if shown and text in event["message"]:  # the local stack does not filter
                    yield f"{datetime.fromtimestamp(event['timestamp'] / 1000, UTC):%Y-%m-%d %H:%M:%S} {shown}"
    except logs.exceptions.ResourceNotFoundException as missing:
        raise Trouble(
            f"There is no log of {function}: the stack has no such function, or the function has not run yet."
        ) from missing
    yield "There are more records: choose a smaller --hours."


def _shown(message: str) -> str | None:
    """Return a record of our functions as a line; None for a foreign line."""
    try:
        record: Any = json.loads(message)
    except ValueError:
        return message.strip().replace("\n", " ") if any(sign in message for sign in _CUT_OFF) else None
    if not isinstance(record, dict) or "message" not in record:
        return None
    told = " ".join(f"{name}={value}" for name, value in record.items() if name not in _NOISE)
    return f"{record.get('level', '')} {record['message']}: {told}".replace("\n", " ")
