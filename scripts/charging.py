"""Turn charging off for everybody, or on again: `python scripts/charging.py off|on|status [--why WHY]`.

Off: from the next look on, which is taken just before each confirmation, nothing is charged. On: the next sweep renews
what waits, and one is started. Reaches AWS, or the local stack, by the AWS profile of the environment; it needs
PutItem, DeleteItem and GetItem on the changes table and, to turn on, lambda:InvokeFunction on the sweep.
"""

import argparse
import json
from datetime import UTC, datetime
from typing import Any

import boto3

STACK_NAME = "subscription-mgmt"
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


def main() -> None:
    parser = argparse.ArgumentParser(description="Turns charging off for everybody, or on again.")
    parser.add_argument("turn", choices=("off", "on", "status"))
    parser.add_argument("--why", default="")
    parser.add_argument("--stack-name", default=STACK_NAME)
    asked = parser.parse_args()
    [stack] = boto3.client("cloudformation").describe_stacks(StackName=asked.stack_name)["Stacks"]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
    dynamodb, changes = boto3.client("dynamodb"), outputs["ChangesTableName"]
    if asked.turn == "off":
        turn_off(dynamodb, changes, by=boto3.client("sts").get_caller_identity()["Arn"], why=asked.why)
    if asked.turn == "on":
        turn_on(dynamodb, changes)
        sweep = json.dumps({"sweep": "due"})
        boto3.client("lambda").invoke(FunctionName=outputs["SweepFunctionName"], InvocationType="Event", Payload=sweep)
    print(state(dynamodb, changes))


if __name__ == "__main__":
    main()
