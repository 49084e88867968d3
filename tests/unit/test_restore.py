"""Items brought back from a restored copy of a table, and the charges after a restore."""

from collections.abc import Iterable, Iterator
from datetime import timedelta
from itertools import batched
from typing import Any

import boto3
import pytest
from moto import mock_aws

from renewals.ledger import charging
from scripts.oncall.tables import restore
from tests.fakes import DUE, NOON, World

COPY, TABLE = "renewals-copy", "renewals"
MANY = 130
"""More items than DynamoDB answers at once."""


@pytest.fixture
def dynamodb() -> Iterator[Any]:
    """A client, and the two tables."""
    with mock_aws():
        client = boto3.client("dynamodb", region_name="us-west-2")
        for table in (COPY, TABLE):
            client.create_table(
                TableName=table,
                BillingMode="PAY_PER_REQUEST",
                AttributeDefinitions=[
                    {"AttributeName": name, "AttributeType": "S"} for name in ("subscription_id", "change")
                ],
                KeySchema=[
                    {"AttributeName": "subscription_id", "KeyType": "HASH"},
                    {"AttributeName": "change", "KeyType": "RANGE"},
                ],
            )
        yield client


def _put(client: Any, table: str, numbers: Iterable[int], status: str) -> None:
    for together in batched(numbers, 25, strict=False):
        puts = [
            {"Item": {"subscription_id": {"S": f"sub_{number}"}, "change": {"S": "x"}, "status": {"S": status}}}
            for number in together
        ]
        answer = client.batch_write_item(RequestItems={table: [{"PutRequest": put} for put in puts]})
        assert answer["UnprocessedItems"] == {}


def _stand(client: Any, table: str) -> dict[str, str]:
    pages = client.get_paginator("scan").paginate(TableName=table)
    return {
        item["subscription_id"]["S"]: item.get("status", {"S": ""})["S"] for page in pages for item in page["Items"]
    }


def _damage(client: Any) -> None:
    """Of many items in the copy, change the first in the table and delete the second; put an additional item into the
    table."""
    _put(client, COPY, range(MANY), "active")
    _put(client, TABLE, range(MANY), "active")
    _put(client, TABLE, [0], "canceled")
    client.delete_item(TableName=TABLE, Key={"subscription_id": {"S": "sub_1"}, "change": {"S": "x"}})
    _put(client, TABLE, [1000], "active")
    for key in charging.KEYS:
        client.put_item(TableName=TABLE, Item={name: {"S": value} for name, value in key.items()})


def test_it_says_what_differs_and_changes_nothing(dynamodb: Any) -> None:
    """Without --write the command counts the differences and changes nothing."""
    _damage(dynamodb)
    before = _stand(dynamodb, TABLE)
    counts = restore(dynamodb, COPY, TABLE, write=False, delete=True)
    assert counts == {"equal": MANY - 2, "different": 1, "missing": 1, "only in the table": 1}
    assert _stand(dynamodb, TABLE) == before


def test_it_brings_back_what_differs_and_is_missing(dynamodb: Any) -> None:
    """Changed and missing items are brought back; later items and the charging switch stay, and a second run finds
    nothing to do."""
    _damage(dynamodb)
    assert restore(dynamodb, COPY, TABLE, write=True, delete=False)["written"] == 2
    stands = _stand(dynamodb, TABLE)
    assert (stands["sub_0"], stands["sub_1"], stands["sub_1000"]) == ("active", "active", "active")
    assert {key["subscription_id"] for key in charging.KEYS} <= stands.keys()
    assert restore(dynamodb, COPY, TABLE, write=True, delete=False)["written"] == 0


def test_it_deletes_what_came_since_if_asked_to_and_never_the_switch(dynamodb: Any) -> None:
    """With --delete the table equals the copy, but charging stays off."""
    _damage(dynamodb)
    restore(dynamodb, COPY, TABLE, write=True, delete=True)
    assert _stand(dynamodb, TABLE) == _stand(dynamodb, COPY) | {key["subscription_id"]: "" for key in charging.KEYS}


@pytest.mark.parametrize("days", [0, 1, 20])
def test_after_a_restore_to_before_the_charge_the_gateway_is_asked_and_nothing_is_charged_again(days: int) -> None:
    """Row and ledger are restored to before the charge, on the same day, the next, or weeks later, when the gateway has
    forgotten its idempotency keys: the payment is found, recorded and receipted, nothing is charged again, and the
    subscription moves on."""
    shop = World()
    shop.subscribe()
    before = dict(shop.row())
    shop.run("charged")
    paid = shop.items()[DUE.isoformat()]["payment_id"]
    shop.dynamodb.items("renewals").clear()
    shop.edit(**before)
    if days:
        shop.gateway.by_key.clear()
    assert shop.run("restored", NOON + timedelta(days=days)) == "Success"
    item = shop.items()[DUE.isoformat()]
    assert (item["status"], item["payment_id"], len(shop.gateway.charges)) == ("done", paid, 1)
    assert shop.row()["renewal_date"] > DUE.isoformat()
    assert len(shop.receipts()) == 1
