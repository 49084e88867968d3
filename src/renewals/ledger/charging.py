"""The switch turns charging off for all subscriptions at once.

Nobody caches the switch. Every charge asks: by a read, or by a check within a transaction of the ledger, which is
written only while charging is on.

The subscriptions are divided into sixteen shards, and the changes table holds one switch item per shard: DynamoDB
cancels a transaction that checks the same item as a transaction running at the same time. Turning charging off writes
the items of all shards. Charging is off for a shard while its item exists. No subscription id contains the `*` of the
item's key. Nothing is charged if the switch cannot be read, because the read's error ends the attempt. `python -m
scripts.oncall charging` turns charging off and on.

Decisions: D51, D52 (DECISIONS.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from renewals.domain.item_values import Item
from renewals.domain.renewal_items import INDEX_SHARDS, shard
from renewals.runtime import dynamodb
from renewals.runtime.attribute_values import TransactAction

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

type Key = dict[str, str]

_OFF = {"change": "charging_off"}

EARLIER: Key = {"subscription_id": "*", **_OFF}
"""The single item for all subscriptions, as the previous version writes and reads the switch. This version writes the
item in addition to the items of the shards, and checks the item if the item exists when a process begins. No order of
deployment therefore charges while charging is off."""

KEYS: tuple[Key, ...] = (EARLIER, *({"subscription_id": f"*{n}", **_OFF} for n in range(INDEX_SHARDS)))
"""The keys of all items that are written when charging is turned off."""


@dataclass(frozen=True, slots=True)
class Switch:
    """The switch in the changes table.

    Attributes:
        changes: the name of the changes table.
        thrown_earlier: whether the previous version's item existed when this process began; if so, the guards check the
            item as well.
    """

    client: DynamoDBClient
    changes: str
    thrown_earlier: bool = False

    @classmethod
    def of_process(cls, client: DynamoDBClient, changes: str) -> Switch:
        """Return the switch as a process finds it at its beginning. Raises the errors of is_off."""
        return cls(client, changes, thrown_earlier=any(dynamodb.get_all(client, changes, [EARLIER])))

    def guards(self, subscription_id: str) -> list[TransactAction]:
        """Return the checks that charging is on for the subscription, as actions of a transaction."""
        asked = self.keys(subscription_id) if self.thrown_earlier else self.keys(subscription_id)[:1]
        return [dynamodb.check(self.changes, key, "attribute_not_exists(subscription_id)", {}) for key in asked]

    def is_off(self, subscription_id: str) -> bool:
        """Whether charging is off for the subscription now, by a consistent read. Raises Throttled, and botocore's
        errors."""
        return any(dynamodb.get_all(self.client, self.changes, self.keys(subscription_id)))

    def items(self) -> list[Item]:
        """Return the existing items of the switch; no item exists while charging is on. Raises the errors of is_off."""
        return list(dynamodb.get_all(self.client, self.changes, KEYS))

    def keys(self, subscription_id: str) -> list[Key]:
        """Return the keys of the subscription's switch items. Charging is off while at least one item exists."""
        return [{"subscription_id": f"*{shard(subscription_id)}", **_OFF}, EARLIER]
