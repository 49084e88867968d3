"""The switch that turns charging off for everybody, operated by `python -m scripts.oncall charging`.

Every charge reads the switch just before its confirmation; with the switch off, nothing more is charged. Operating the
switch needs PutItem, DeleteItem and BatchGetItem on the changes table. The switch consists of several items, written
and deleted one after the other. After an interruption in between, charging counts as off; repeating the command
finishes the work.
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
    """Turn charging off. Existing items stay unchanged, to keep the first author and time."""
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
    """Return the state of the switch, in words."""
    items = Switch(client, changes).items()
    if not items:
        return "charging is on"
    first = min(items, key=lambda item: str(item.get("at", "~")))
    at, by, why = (str(first.get(name, "not recorded")) for name in ("at", "by", "why"))
    said = f"charging has been off since {at}, by {by}: {why}"
    if len(items) == len(KEYS):
        return said
    part = f"only {len(items)} of {len(KEYS)} parts of the switch are off"
    cause = "the command was interrupted, or a different version of the project turned charging off"
    return f"{said}\n{part}: {cause}. Run `charging off` or `charging on` again to finish."


def _between_charges(client: Any, write: Callable[[], object]) -> None:
    """Write an item of the switch. Retry while a charge's transaction, which checks the item, refuses the write."""
    for _ in range(_TRIES):
        try:
            write()
        except client.exceptions.TransactionConflictException:
            time.sleep(0.05)
        else:
            return
    write()
