"""DynamoDB's bill for one renewal: `python -m benchmarks.units`, JSON on stdout.

A renewal runs over the tests' own tables in memory, and its calls are counted by DynamoDB's published rules:
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/read-write-operations.html (reads in 4 kB, writes in 1
kB, twice in a transaction) and GSI.html (an index entry that moves is deleted and written).
"""

import json
import sys
from collections import Counter
from datetime import datetime, timedelta
from math import ceil
from typing import Any, cast
from uuid import UUID

from process_payment.charge import Charge
from renewals.domain.item_values import storable
from renewals.domain.renewal import Renewal
from renewals.runtime.attribute_values import wire
from send_email.delivery import Delivery
from tests.fake_aws import FakeDynamoDB, Item
from tests.fakes import INDEXES, World

# The indexes of every table, and the indexes with keys alone.
_INDEXES_OF = {
    "subscriptions": ("renewal-date-index", "customer-index", "payment-method-index"),
    "renewals": ("unfinished-index", "charged-on-index"),
    "changes": (),
}
_KEYS_ONLY = {"charged-on-index", "payment-method-index"}
_EXECUTION = (
    f"arn:aws:states:us-west-2:123456789012:express:subscription-mgmt-renewal-workflow-prod:{UUID(int=0)}:{UUID(int=0)}"
)


class MeteredDynamoDB(FakeDynamoDB):
    """Counts request units. Eight-byte timestamps and item overheads are DynamoDB's own and not billed to requests."""

    reads = 0.0
    writes = 0.0

    def query(self, **q: Any) -> Item:
        answer = super().query(**q)
        self.reads += max(1, ceil(sum(map(_bytes, answer["Items"])) / 4096))
        return answer

    def get_item(self, **q: Any) -> Item:
        answer = super().get_item(**q)
        self.reads += max(1, ceil(_bytes(answer.get("Item", {})) / 4096))
        return answer

    def batch_get_item(self, **q: Any) -> Item:
        answer = super().batch_get_item(**q)
        for table, asked in q["RequestItems"].items():
            found = answer["Responses"][table]
            self.reads += sum(ceil(_bytes(item) / 4096) for item in found) + len(asked["Keys"]) - len(found)
        return answer

    def update_item(self, **q: Any) -> Item:
        before = self._all()
        answer = super().update_item(**q)
        self._count(before, 1)
        return answer

    def transact_write_items(self, **q: Any) -> None:
        before = self._all()
        super().transact_write_items(**q)
        self._count(before, 2)
        checked = [action["ConditionCheck"] for action in q["TransactItems"] if "ConditionCheck" in action]
        self.writes += sum(2 * max(1, _units(self._item(body))) for body in checked)  # an absent item costs a unit too

    def _all(self) -> dict[tuple[str, Any], Item]:
        return {(table, key): item for table, items in self.tables.items() for key, item in items.items()}

    def _count(self, before: dict[tuple[str, Any], Item], times: int) -> None:
        for place, item in self._all().items():
            old = before.get(place, {})
            if item is not old:
                self.writes += times * max(_units(old), _units(item))
                self.writes += sum(self._index_writes(name, old, item) for name in _INDEXES_OF[place[0]])

    def _index_writes(self, name: str, old: Item, new: Item) -> int:
        names = INDEXES[name]
        entries = [
            {k: item[k] for k in (*names, "subscription_id")} if name in _KEYS_ONLY else item
            for item in (old, new)
            if all(k in item for k in names)
        ]
        if len(entries) == 2 and all(old[k] == new[k] for k in names):
            return 0 if entries[0] == entries[1] else max(map(_units, entries))
        return sum(map(_units, entries))


class _MeteredWorld(World):
    """A world in which every function runs a second later than the function before, so that the sort key of an index
    moves with every write."""

    database = MeteredDynamoDB
    seconds = 0

    def charge(self, execution: str, now: datetime) -> Charge:
        return super().charge(execution, self._later(now))

    def receipt(self, renewal: Renewal, now: datetime) -> Renewal:
        return super().receipt(renewal, self._later(now))

    def delivery(self, execution: str, now: datetime) -> Delivery:
        return super().delivery(execution, self._later(now))

    def _later(self, now: datetime) -> datetime:
        self.seconds += 1
        return now + timedelta(seconds=self.seconds)


def _units(item: Item) -> int:
    return ceil(_bytes({name: wire(storable(value)) for name, value in item.items()}) / 1024)


def _bytes(item: Item) -> int:
    """Return an item's size: names and values (docs: "DynamoDB item sizes and formats")."""
    return sum(len(name.encode()) + _value_bytes(value) for name, value in item.items())


def _value_bytes(value: dict[str, Any]) -> int:
    ((kind, plain),) = value.items()
    match kind:
        case "N":
            return ceil(len(plain.strip("-.")) / 2) + 1
        case "BOOL" | "NULL":
            return 1
        case "M":
            return 3 + sum(1 + len(name.encode()) + _value_bytes(each) for name, each in plain.items())
        case "L":
            return 3 + sum(1 + _value_bytes(each) for each in plain)
        case _:
            return len(plain.encode())


def main() -> None:
    world = _MeteredWorld()
    metered = cast("MeteredDynamoDB", world.dynamodb)
    world.subscribe()
    written: list[Any] = []
    metered.stream = written
    if world.run(_EXECUTION) != "Success":
        raise AssertionError(world.items())
    (item,) = metered.items("renewals").values()
    gateway = Counter(call.replace(".", ":") for call in world.cuts.calls if call.startswith("gateway."))
    told = {"item_kb": _units(item), "stream_records": len(written), "gateway": gateway}
    json.dump({"reads": metered.reads, "writes": metered.writes} | told, sys.stdout)


if __name__ == "__main__":
    main()
