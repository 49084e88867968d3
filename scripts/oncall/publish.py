"""Tells the events of a span of days again, for `python -m scripts.oncall publish`.

The ledger, the changes and the rows keep the facts that events tell. The command reads the tables, and EventPublisher
tells the facts of the span, each under the id of the first time. A receiver that has heard an event therefore knows the
event. Writes to rows by hand are kept nowhere, and are not told again.
"""

import json
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from itertools import batched
from typing import Any

from scripts.deployment import Deployment

_TABLES = ("SubscriptionsTableName", "RenewalsTableName", "ChangesTableName")
_MOST_IMAGES = 50
"""Items for a run of the function. Lambda takes 6 MB, and items of these tables have a few kB."""


def publish(deployment: Deployment, first: date, last: date) -> int:
    """Have the events of these days told, both included, UTC, and return the number of events."""
    start, end = (f"{datetime.combine(day, time()).isoformat()}+00:00" for day in (first, last + timedelta(days=1)))
    told = 0
    for images in batched(_images(deployment), _MOST_IMAGES, strict=False):
        event = {"from": start, "until": end, "images": images}
        told += int(deployment.run("EventPublisherFunctionName", event)["told"])
    return told


def _images(deployment: Deployment) -> Iterator[dict[str, Any]]:
    dynamodb = deployment.client("dynamodb")
    for table in map(deployment.output, _TABLES):
        for page in dynamodb.get_paginator("scan").paginate(TableName=table, ConsistentRead=True):
            yield from ({"table": table, "item": item} for item in page["Items"] if _is_json(item))


def _is_json(item: dict[str, Any]) -> bool:
    """Whether the item can be handed over: somebody may have written bytes by hand."""
    try:
        json.dumps(item)
    except TypeError:
        return False
    return True
