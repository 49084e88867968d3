"""Read and write items of DynamoDB. The module knows nothing about renewals."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import batched
from typing import TYPE_CHECKING, Literal
from uuid import uuid4

from botocore.exceptions import ClientError

from renewals.domain import item_values
from renewals.domain.errors import Collision, Overtaken, Throttled
from renewals.runtime import attribute_values

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import (
        AttributeValueTypeDef,
        ConditionCheckTypeDef,
        KeysAndAttributesUnionTypeDef,
        PutTypeDef,
        UpdateItemInputTypeDef,
        UpdateTypeDef,
    )

    from renewals.domain.item_values import Item, Value
    from renewals.runtime.attribute_values import TransactAction

_TRIES = 6
_MOST_ITEMS = 100  # https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html
# Reasons to try a canceled transaction again:
# https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html
_PASSING = frozenset({"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"})


def attributes(plain: Mapping[str, object]) -> dict[str, AttributeValueTypeDef]:
    """Convert {"name": "x"} to {"name": {"S": "x"}}."""
    return {name: attribute_values.wire(item_values.storable(value)) for name, value in plain.items()}


def plain(item: Mapping[str, AttributeValueTypeDef]) -> dict[str, Value]:
    """Convert {"name": {"S": "x"}} to {"name": "x"}; numbers become Decimal."""
    return {name: attribute_values.plain(value) for name, value in item.items()}


def names(*expressions: str) -> dict[str, str]:
    """Return ExpressionAttributeNames for every #name in the expressions."""
    return {f"#{name}": name for name in re.findall(r"#(\w+)", " ".join(expressions))}


def get_all(client: DynamoDBClient, table: str, keys: Iterable[Mapping[str, str]]) -> Iterator[Item]:
    """Iterate over the existing items of the keys, in any order, by consistent reads. No key may be repeated. Raises
    Throttled."""
    for batch in batched(keys, _MOST_ITEMS, strict=False):
        yield from (item for _, item in get(client, {table: batch}))


def get_each(client: DynamoDBClient, keys: Mapping[str, Mapping[str, str]]) -> dict[str, Item]:
    """Read one item of each table.

    All items are read in one call. Items that DynamoDB did not return are asked for again. Every item is read
    consistently, but two items may be read at different moments. Raises Throttled.

    Args:
        keys: the key of the item, by table.

    Returns:
        The existing items, by table.
    """
    return dict(get(client, {table: [key] for table, key in keys.items()}))


def get(client: DynamoDBClient, keys: Mapping[str, Iterable[Mapping[str, str]]]) -> Iterator[tuple[str, Item]]:
    """Iterate over the existing items of at most a hundred keys, with their tables.

    All items are read in one call. Items that DynamoDB did not return are asked for again. Every item is read
    consistently, but two items may be read at different moments. Raises Throttled.

    Args:
        keys: the keys, by table.
    """
    asked: Mapping[str, KeysAndAttributesUnionTypeDef] = {
        table: {"Keys": [attributes(key) for key in some], "ConsistentRead": True} for table, some in keys.items()
    }
    for n in range(_TRIES):
        answer = client.batch_get_item(RequestItems=asked)
        for table, items in answer["Responses"].items():
            yield from ((table, plain(item)) for item in items)
        asked = answer.get("UnprocessedKeys", {})
        if not asked:
            return
        _wait(n)
    raise Throttled(f"items of {', '.join(keys)} were not returned")


def as_read(item: Mapping[str, object], watched: Collection[str]) -> tuple[str, dict[str, object]]:
    """Return a condition on an item, and the values that the condition names.

    The condition holds while the watched attributes have the same values as in `item`, which was read before. An
    attribute that was absent must still be absent.
    """
    terms = [f"#{name} = :{name}" if name in item else f"attribute_not_exists(#{name})" for name in watched]
    return " AND ".join(terms), {f":{name}": item[name] for name in watched if name in item}


def change(
    table: str, key: Mapping[str, object], changes: Mapping[str, object], condition: str, values: Mapping[str, object]
) -> UpdateTypeDef:
    """Return the arguments of a conditional update.

    Args:
        changes: the new value by attribute, or by path with dots; None removes the attribute.
        condition: the condition, in which every value begins with a colon. A name may begin with a #, and must if
            DynamoDB reserves the name.
        values: the values in the condition.
    """
    paths = {name: "#" + name.replace(".", ".#") for name in changes}
    marks = {name: ":new_" + name.replace(".", "_") for name in changes}
    sets = [f"{paths[name]} = {marks[name]}" for name, value in changes.items() if value is not None]
    removes = [paths[name] for name, value in changes.items() if value is None]
    expression = " ".join(f"{verb} {', '.join(terms)}" for verb, terms in (("SET", sets), ("REMOVE", removes)) if terms)
    new = {marks[name]: value for name, value in changes.items() if value is not None}
    return {
        "TableName": table,
        "Key": attributes(key),
        "UpdateExpression": expression,
        "ConditionExpression": condition,
        "ExpressionAttributeNames": names(expression, condition),
        "ExpressionAttributeValues": attributes({**values, **new}),
    }


def put(table: str, item: Mapping[str, object], condition: str, values: Mapping[str, object]) -> TransactAction:
    """Return the action of a transaction that writes a whole new item. condition, values: as for change."""
    told: PutTypeDef = {"TableName": table, "Item": attributes(item), "ConditionExpression": condition}
    _name(told, condition, values)
    return {"Put": told}


def check(table: str, key: Mapping[str, object], condition: str, values: Mapping[str, object]) -> TransactAction:
    """Return the action of a transaction that checks a condition on an item. condition, values: as for change."""
    told: ConditionCheckTypeDef = {"TableName": table, "Key": attributes(key), "ConditionExpression": condition}
    _name(told, condition, values)
    return {"ConditionCheck": told}


def _name(told: PutTypeDef | ConditionCheckTypeDef, condition: str, values: Mapping[str, object]) -> None:
    """Add the names and values of the condition. DynamoDB refuses a request with an empty map of names or values."""
    named = names(condition)
    if named:
        told["ExpressionAttributeNames"] = named
    if values:
        told["ExpressionAttributeValues"] = attributes(values)


def update(client: DynamoDBClient, arguments: UpdateTypeDef) -> None:
    """Run one conditional update.

    Every write leaves a mark of its own in the item, in the attribute `write`. If the client repeats a call because the
    answer was lost, the first call may have changed the item already, and the condition of the repeated call fails. The
    mark then proves that the change is ours.

    Raises:
        Overtaken: the condition does not hold.
        Collision: as for `transact`.
    """
    mark: AttributeValueTypeDef = {"S": uuid4().hex}
    marked: UpdateItemInputTypeDef = {
        "TableName": arguments["TableName"],
        "Key": arguments["Key"],
        "ConditionExpression": arguments["ConditionExpression"],
        "UpdateExpression": arguments["UpdateExpression"].replace("SET ", "SET #write = :write, ", 1),
        "ExpressionAttributeNames": {**arguments["ExpressionAttributeNames"], "#write": "write"},
        "ExpressionAttributeValues": {**arguments["ExpressionAttributeValues"], ":write": mark},
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }
    for n in range(_TRIES):
        try:
            client.update_item(**marked)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code == "ConditionalCheckFailedException":
                stands = _standing(error.response.get("Item"))
                if stands is not None and stands.get("write") == mark["S"]:
                    return
                raise Overtaken({0: stands}) from None
            if code != "TransactionConflictException":
                raise
            _wait(n)
        else:
            return
    raise Collision("other writers keep changing an item")


def transact(client: DynamoDBClient, actions: Iterable[TransactAction]) -> None:
    """Write all actions or nothing.

    After a conflict with a different writer, the transaction is tried again. The SDK sends a token with each
    transaction. By the token, DynamoDB recognizes a call that the SDK repeats, and writes the actions only once.

    Raises:
        Overtaken: a condition does not hold.
        Collision: conflicts with other writers do not end.
    """
    told = [_telling(action) for action in actions]
    for n in range(_TRIES):
        try:
            client.transact_write_items(TransactItems=told)
        except ClientError as error:
            if error.response["Error"]["Code"] != "TransactionCanceledException":
                raise
            reasons = error.response.get("CancellationReasons", [])
            codes = [reason.get("Code") for reason in reasons]
            if "ConditionalCheckFailed" in codes:
                failed = [i for i, code in enumerate(codes) if code == "ConditionalCheckFailed"]
                raise Overtaken({i: _standing(reasons[i].get("Item")) for i in failed}) from None
            if not _PASSING.intersection(codes):
                raise
            _wait(n)
        else:
            return
    raise Collision("other writers keep changing the items of a transaction")


def _telling(action: TransactAction) -> TransactAction:
    """Return the action with an added field that asks DynamoDB to report the stored item if the condition fails."""
    tells: Literal["ALL_OLD"] = "ALL_OLD"
    if "Update" in action:
        return {"Update": {**action["Update"], "ReturnValuesOnConditionCheckFailure": tells}}
    if "Put" in action:
        return {"Put": {**action["Put"], "ReturnValuesOnConditionCheckFailure": tells}}
    return {"ConditionCheck": {**action["ConditionCheck"], "ReturnValuesOnConditionCheckFailure": tells}}


def _standing(told: object) -> Item | None:
    """Return the item in the report of a refused write; None without an item."""
    return plain(told) if isinstance(told, dict) and told else None


def _wait(n: int) -> None:
    """Wait longer after every try, and for a random time: colliding writers then try again at different moments."""
    time.sleep(random.uniform(0, 0.05 * 2**n))  # noqa: S311
