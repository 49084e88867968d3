"""The switch that turns charging off for everybody, as `python -m scripts.oncall charging` throws it.

Off: from the next look on, which is taken just before each confirmation, nothing is charged. It needs PutItem,
DeleteItem and GetItem on the changes table.
"""

from datetime import UTC, datetime
from typing import Any

from renewals import dynamodb
from renewals.charging import KEY

SWITCH = dynamodb.attributes(KEY)
"""Its other attributes are for people."""


def turn_off(client: Any, changes: str, *, by: str, why: str) -> None:
    """Throw the switch. It is not thrown twice, so that who threw it first, and when, stays."""
    told = {"at": {"S": datetime.now(UTC).isoformat(timespec="seconds")}, "by": {"S": by}, "why": {"S": why}}
    free = "attribute_not_exists(subscription_id)"
    try:
        client.put_item(TableName=changes, Item=SWITCH | told, ConditionExpression=free)
    except client.exceptions.ConditionalCheckFailedException:
        return


def turn_on(client: Any, changes: str) -> None:
    client.delete_item(TableName=changes, Key=SWITCH)


def state(client: Any, changes: str) -> str:
    """What the switch says, for people."""
    item = client.get_item(TableName=changes, Key=SWITCH, ConsistentRead=True).get("Item")
    if item is None:
        return "charging is on"
    at, by, why = (item[name]["S"] if name in item else "not recorded" for name in ("at", "by", "why"))
    return f"charging is off since {at}, by {by}: {why}"
