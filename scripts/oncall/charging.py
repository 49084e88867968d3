"""The switch that turns charging off for everybody, as `python -m scripts.oncall charging` throws it.

Off: from the next look on, which is taken just before each confirmation, nothing is charged. It needs PutItem,
DeleteItem and BatchGetItem on the changes table. It is several items, written and deleted one after the other: where
that was cut off, charging counts as off, and doing the same once more finishes it.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from renewals.ledger.charging import KEYS, Switch
from renewals.runtime import dynamodb

_TRIES = 50
_FREE = "attribute_not_exists(subscription_id)"


def turn_off(client: Any, changes: str, *, by: str, why: str) -> None:
    """Throw the switch. What is thrown already stays as it is, so that it is known who threw it first, and when."""
    told = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "by": by, "why": why}
    for key in KEYS:
        item = dynamodb.attributes({**key, **told})
        try:
            _between_charges(client, lambda: client.put_item(TableName=changes, Item=item, ConditionExpression=_FREE))  # noqa: B023
        except client.exceptions.ConditionalCheckFailedException:
            continue


def turn_on(client: Any, changes: str) -> None:
    for key in map(dynamodb.attributes, KEYS):
        _between_charges(client, lambda: client.delete_item(TableName=changes, Key=key))  # noqa: B023


def state(client: Any, changes: str) -> str:
    """What the switch says, for people."""
    items = Switch(client, changes).items()
    if not items:
        return "charging is on"
    first = min(items, key=lambda item: str(item.get("at", "~")))
    at, by, why = (str(first.get(name, "not recorded")) for name in ("at", "by", "why"))
    said = f"charging is off since {at}, by {by}: {why}"
    if len(items) == len(KEYS):
        return said
    part = f"for {len(items)} of {len(KEYS)} parts only: turning it was cut off, or another version turned it off"
    return f"{said}\n{part}. Turn it off once more, or on, and it is so for all."


def _between_charges(client: Any, write: Callable[[], object]) -> None:
    """A write of an item that each charge checks in a transaction, which is refused as long as one is at it."""
    for _ in range(_TRIES):
        try:
            write()
        except client.exceptions.TransactionConflictException:
            time.sleep(0.05)
        else:
            return
    write()
