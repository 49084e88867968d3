"""Items, values and conditional writes as DynamoDB wants them. Knows nothing of renewals."""

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
# Reasons for a cancelled transaction that are no answer: https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/
# API_TransactWriteItems.html
_PASSING = frozenset({"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"})


def attributes(plain: Mapping[str, object]) -> dict[str, AttributeValueTypeDef]:
    """{"name": "x"} as {"name": {"S": "x"}}."""
    return {name: attribute_values.wire(item_values.storable(value)) for name, value in plain.items()}


def plain(item: Mapping[str, AttributeValueTypeDef]) -> dict[str, Value]:
    """{"name": {"S": "x"}} as {"name": "x"}; numbers are Decimal."""
    return {name: attribute_values.plain(value) for name, value in item.items()}


def names(*expressions: str) -> dict[str, str]:
    """ExpressionAttributeNames for every #name in the expressions."""
    return {f"#{name}": name for name in re.findall(r"#(\w+)", " ".join(expressions))}


def get_all(client: DynamoDBClient, table: str, keys: Iterable[Mapping[str, str]]) -> Iterator[Item]:
    """The items of these keys, each named once, as far as they are there; consistent, in no order. Raises Throttled."""
    for batch in batched(keys, _MOST_ITEMS, strict=False):
        yield from (item for _, item in get(client, {table: batch}))


def get_each(client: DynamoDBClient, keys: Mapping[str, Mapping[str, str]]) -> dict[str, Item]:
    """One item of each table by its key, as far as they are there, in one call. keys, and what is returned: by table.
    Consistent, each for itself. Raises Throttled."""
    return dict(get(client, {table: [key] for table, key in keys.items()}))


def get(client: DynamoDBClient, keys: Mapping[str, Iterable[Mapping[str, str]]]) -> Iterator[tuple[str, Item]]:
    """The items of these keys, by table and at most a hundred, each with its table, as far as they are there, in one
    call. Consistent, each for itself. Raises Throttled."""
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
    raise Throttled(", ".join(keys))


def as_read(item: Mapping[str, object], watched: Collection[str]) -> tuple[str, dict[str, object]]:
    """The condition that these attributes are what was read, absent ones absent still, and the values it names."""
    terms = [f"#{name} = :{name}" if name in item else f"attribute_not_exists(#{name})" for name in watched]
    return " AND ".join(terms), {f":{name}": item[name] for name in watched if name in item}


def change(
    table: str, key: Mapping[str, object], changes: Mapping[str, object], condition: str, values: Mapping[str, object]
) -> UpdateTypeDef:
    """The arguments of a conditional update.

    changes: attribute, or path with dots, to its new value; None removes it. condition: names with # before them,
    values with a colon, which `values` gives.
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
    """A whole new item, as an action of a transaction. condition, values: as for change."""
    told: PutTypeDef = {"TableName": table, "Item": attributes(item), "ConditionExpression": condition}
    _name(told, condition, values)
    return {"Put": told}


def check(table: str, key: Mapping[str, object], condition: str, values: Mapping[str, object]) -> TransactAction:
    """A condition on an item, as an action of a transaction. condition, values: as for change."""
    told: ConditionCheckTypeDef = {"TableName": table, "Key": attributes(key), "ConditionExpression": condition}
    _name(told, condition, values)
    return {"ConditionCheck": told}


def _name(told: PutTypeDef | ConditionCheckTypeDef, condition: str, values: Mapping[str, object]) -> None:
    """Say what the condition names. DynamoDB refuses names and values that are said and empty."""
    named = names(condition)
    if named:
        told["ExpressionAttributeNames"] = named
    if values:
        told["ExpressionAttributeValues"] = attributes(values)


def update(client: DynamoDBClient, arguments: UpdateTypeDef) -> None:
    """Run one conditional update. Raises Overtaken where its condition does not hold, and Collision as `transact`.

    Each write leaves a mark of its own in the item (`write`): where the client repeated a call whose answer was lost,
    the condition fails against our own change, and the mark tells that it was ours.
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
    raise Collision("an item")


def transact(client: DynamoDBClient, actions: Iterable[TransactAction]) -> None:
    """Write all or nothing. Raises Overtaken where a condition does not hold.

    A conflict with another writer is no answer and is tried again; Collision when that does not end. The SDK
    sends a token with each transaction, so that a repeated call is no second write.
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
    raise Collision("a transaction")


def _telling(action: TransactAction) -> TransactAction:
    """The action, so that it tells of the item that its condition did not hold for."""
    tells: Literal["ALL_OLD"] = "ALL_OLD"
    if "Update" in action:
        return {"Update": {**action["Update"], "ReturnValuesOnConditionCheckFailure": tells}}
    if "Put" in action:
        return {"Put": {**action["Put"], "ReturnValuesOnConditionCheckFailure": tells}}
    return {"ConditionCheck": {**action["ConditionCheck"], "ReturnValuesOnConditionCheckFailure": tells}}


def _standing(told: object) -> Item | None:
    """The item that a refused write tells of; None where there is none."""
    return plain(told) if isinstance(told, dict) and told else None


def _wait(n: int) -> None:
    """Longer each time, and by chance, so that colliding writers part."""
    time.sleep(random.uniform(0, 0.05 * 2**n))  # noqa: S311
