"""The switch that turns charging off for everybody, as `python -m scripts.oncall charging` throws it.

Off: from the next look on, which is taken just before each confirmation, nothing is charged. It needs PutItem,
DeleteItem and GetItem on the changes table.
"""

from datetime import UTC, datetime
from typing import Any

SWITCH = {"subscription_id": {"S": "*"}, "change": {"S": "charging_off"}}
"""As in src/renewals/charging.py; the item's other attributes are for people."""


def turn_off(dynamodb: Any, changes: str, *, by: str, why: str) -> None:
    """Throw the switch. It is not thrown twice, so that who threw it first, and when, stays."""
    told = {"at": {"S": datetime.now(UTC).isoformat(timespec="seconds")}, "by": {"S": by}, "why": {"S": why}}
    free = "attribute_not_exists(subscription_id)"
    try:
        dynamodb.put_item(TableName=changes, Item=SWITCH | told, ConditionExpression=free)
    except dynamodb.exceptions.ConditionalCheckFailedException:
        return


def turn_on(dynamodb: Any, changes: str) -> None:
    dynamodb.delete_item(TableName=changes, Key=SWITCH)


def state(dynamodb: Any, changes: str) -> str:
    """What the switch says, for people."""
    item = dynamodb.get_item(TableName=changes, Key=SWITCH, ConsistentRead=True).get("Item")
    if item is None:
        return "charging is on"
    at, by, why = (item[name]["S"] if name in item else "not recorded" for name in ("at", "by", "why"))
    return f"charging is off since {at}, by {by}: {why}"
