"""The switch that turns charging off, for everybody and at once. It is asked for each charge and kept by nobody: by a
read of its own, or within a transaction of the ledger's that is written only while charging is on.

It is an item of the changes table, since it is a change to all subscriptions at once: off where it is there. `*` is the
id of no subscription. Where it cannot be read nothing is charged, since the error of the reading ends the attempt.
`python -m scripts.oncall charging` throws it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from renewals import dynamodb

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

KEY = {"subscription_id": "*", "change": "charging_off"}


@dataclass(frozen=True, slots=True)
class Switch:
    """changes: the name of the changes table."""

    client: DynamoDBClient
    changes: str

    @property
    def is_on(self) -> dict[str, Any]:
        """The check that charging is on, as an action of a transaction."""
        condition = "attribute_not_exists(subscription_id)"
        key = dynamodb.attributes(KEY)
        return {"ConditionCheck": {"TableName": self.changes, "Key": key, "ConditionExpression": condition}}

    def is_off(self) -> bool:
        """Whether charging is turned off at this moment. A consistent read. Raises botocore's errors."""
        key = dynamodb.attributes(KEY)
        return "Item" in self.client.get_item(TableName=self.changes, Key=key, ConsistentRead=True)
