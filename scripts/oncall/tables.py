"""Items brought back from a restored copy of a table, as `python -m scripts.oncall restore` does it.

DynamoDB restores into a table of another name, and the functions know the one they were deployed with. This compares
the two, item by item, and says what differs; with --write the table gets the copy's items where they differ or are
missing, and with --delete it loses those that the copy does not have. Cut off, it is started again. The switch that
turns charging off stays as it is. docs/runbook.md says what to do before.
"""

from collections import Counter
from collections.abc import Iterator
from itertools import batched
from typing import Any

from scripts.plainly import tell

_MOST_ITEMS = 100  # https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html
_EVERYBODY = "*"
"""Begins the switch's keys, and no subscription's id."""

type Item = dict[str, Any]


def restore(dynamodb: Any, copy: str, table: str, *, write: bool, delete: bool) -> Counter[str]:
    """How many items were the same, other, missing, and in the table alone; and what was done about it."""
    keys = [each["AttributeName"] for each in dynamodb.describe_table(TableName=table)["Table"]["KeySchema"]]
    counts: Counter[str] = Counter()
    for items in batched(_items(dynamodb, copy), _MOST_ITEMS, strict=False):
        stand = {_id(item, keys): item for item in _get(dynamodb, table, items, keys)}
        for item in items:
            known = stand.get(_id(item, keys))
            if known == item:
                counts["same"] += 1
                continue
            counts["other" if known else "missing"] += 1
            if write:
                dynamodb.put_item(TableName=table, Item=item)
                counts["written"] += 1
    for items in batched(_items(dynamodb, table), _MOST_ITEMS, strict=False):
        kept = {_id(item, keys) for item in _get(dynamodb, copy, items, keys)}
        for item in items:
            if _id(item, keys) in kept:
                continue
            counts["in the table alone"] += 1
            tell(f"in the table alone: {' '.join(_id(item, keys))}")
            if write and delete:
                dynamodb.delete_item(TableName=table, Key={name: item[name] for name in keys})
                counts["deleted"] += 1
    return counts


def _items(dynamodb: Any, table: str) -> Iterator[Item]:
    for page in dynamodb.get_paginator("scan").paginate(TableName=table, ConsistentRead=True):
        yield from (item for item in page["Items"] if not item["subscription_id"]["S"].startswith(_EVERYBODY))


def _get(dynamodb: Any, table: str, items: tuple[Item, ...], keys: list[str]) -> Iterator[Item]:
    asked = {table: {"Keys": [{name: item[name] for name in keys} for item in items], "ConsistentRead": True}}
    while asked:  # DynamoDB leaves out what does not fit into 16 MB, and says so
        answer = dynamodb.batch_get_item(RequestItems=asked)
        yield from answer["Responses"].get(table, [])
        asked = answer.get("UnprocessedKeys")


def _id(item: Item, keys: list[str]) -> tuple[str, ...]:
    return tuple(item[name]["S"] for name in keys)
