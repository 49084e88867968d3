"""The switch that turns charging off, for everybody and at once. It is asked for each charge and kept by nobody: by a
read, or within a transaction of the ledger's that is written only while charging is on.

It is an item of the changes table for each of sixteen shards of the subscriptions, since it is a change to all of them
at once, and since two transactions that check one item at the same time are in each other's way. Charging is off where
the shard's item is there. `*` stands in no subscription's id. Where it cannot be read nothing is charged, since the
error of the reading ends the attempt. `python -m scripts.oncall charging` throws it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from renewals.domain.item_values import Item
from renewals.domain.renewal import INDEX_SHARDS, shard
from renewals.runtime import dynamodb
from renewals.runtime.attribute_values import TransactAction

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

type Key = dict[str, str]

_OFF = {"change": "charging_off"}

EARLIER: Key = {"subscription_id": "*", **_OFF}
"""The one item for all subscriptions: what the version before wrote, and all that it asks. It is written, and heeded,
beside those of the shards."""

KEYS: tuple[Key, ...] = (EARLIER, *({"subscription_id": f"*{n}", **_OFF} for n in range(INDEX_SHARDS)))
"""Everything that is written when charging is turned off."""


@dataclass(frozen=True, slots=True)
class Switch:
    """changes: the name of the changes table. thrown_earlier: the version before had turned charging off when this
    process began, so that its item is checked as well."""

    client: DynamoDBClient
    changes: str
    thrown_earlier: bool = False

    @classmethod
    def of_process(cls, client: DynamoDBClient, changes: str) -> Switch:
        """The switch as a process finds it when it begins. Raises as is_off."""
        return cls(client, changes, thrown_earlier=any(dynamodb.get_all(client, changes, [EARLIER])))

    def guards(self, subscription_id: str) -> list[TransactAction]:
        """The checks that charging is on for the subscription, as actions of a transaction."""
        asked = self.keys(subscription_id) if self.thrown_earlier else self.keys(subscription_id)[:1]
        return [dynamodb.check(self.changes, key, "attribute_not_exists(subscription_id)", {}) for key in asked]

    def is_off(self, subscription_id: str) -> bool:
        """Whether charging is turned off for the subscription at this moment. A consistent read. Raises Throttled, and
        botocore's errors."""
        return any(dynamodb.get_all(self.client, self.changes, self.keys(subscription_id)))

    def items(self) -> list[Item]:
        """What is there of all that is written when charging is turned off; nothing while it is on. As is_off."""
        return list(dynamodb.get_all(self.client, self.changes, KEYS))

    def keys(self, subscription_id: str) -> list[Key]:
        """The items by which charging is off for the subscription, where one of them is there."""
        return [{"subscription_id": f"*{shard(subscription_id)}", **_OFF}, EARLIER]
