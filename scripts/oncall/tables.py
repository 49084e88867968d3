"""Restores items from a restored copy of a table, for `python -m scripts.oncall restore`.

DynamoDB restores into a table with a new name, but the functions know the name they were deployed with. The command
compares the two tables item by item, and prints the differences. With --write, the table receives the copy's items that
differ or are missing; with --delete, the table loses the items that are missing from the copy. After an interruption,
the command is started again. The switch that turns charging off stays unchanged. docs/runbook.md says what to do
before.
"""

from collections import Counter
from collections.abc import Iterator
from itertools import batched
from typing import Any

from scripts.plainly import tell

_MOST_ITEMS = 100  # https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html
_EVERYBODY = "*"
"""The first character of the switch's keys. No subscription's id begins with the character."""

type Item = dict[str, Any]


def restore(dynamodb: Any, copy: str, table: str, *, write: bool, delete: bool) -> Counter[str]:
    """Compare the tables and restore items.

    Returns:
        The numbers of items that are equal, different, missing, and only in the table, and the numbers of changes.
    """
    keys = [each["AttributeName"] for each in dynamodb.describe_table(TableName=table)["Table"]["KeySchema"]]
    counts: Counter[str] = Counter()
    for items in batched(_items(dynamodb, copy), _MOST_ITEMS, strict=False):
        stand = {_id(item, keys): item for item in _get(dynamodb, table, items, keys)}
        for item in items:
            known = stand.get(_id(item, keys))
            if known == item:
                counts["equal"] += 1
                continue
            counts["different" if known else "missing"] += 1
            if write:
                dynamodb.put_item(TableName=table, Item=item)
                counts["written"] += 1
    for items in batched(_items(dynamodb, table), _MOST_ITEMS, strict=False):
        kept = {_id(item, keys) for item in _get(dynamodb, copy, items, keys)}
        for item in items:
            if _id(item, keys) in kept:
                continue
            counts["only in the table"] += 1
            tell(f"only in the table: {' '.join(_id(item, keys))}")
            if write and delete:
                dynamodb.delete_item(TableName=table, Key={name: item[name] for name in keys})
                counts["deleted"] += 1
    return counts


def _items(dynamodb: Any, table: str) -> Iterator[Item]:
    for page in dynamodb.get_paginator("scan").paginate(TableName=table, ConsistentRead=True):
        yield from (item for item in page["Items"] if not _is_switch(item))


def _is_switch(item: Item) -> bool:
    return str(item.get("subscription_id", {}).get("S", "")).startswith(_EVERYBODY)


def _get(dynamodb: Any, table: str, items: tuple[Item, ...], keys: list[str]) -> Iterator[Item]:
    asked = {table: {"Keys": [{name: item[name] for name in keys} for item in items], "ConsistentRead": True}}
    while asked:  # DynamoDB leaves out what exceeds 16 MB, and reports the missing keys
        answer = dynamodb.batch_get_item(RequestItems=asked)
        yield from answer["Responses"].get(table, [])
        asked = answer.get("UnprocessedKeys")


def _id(item: Item, keys: list[str]) -> tuple[str, ...]:
    return tuple(item[name]["S"] for name in keys)
