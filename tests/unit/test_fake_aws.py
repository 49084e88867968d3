"""The in-memory DynamoDB of these tests answers as moto's does, whose whole business that is."""

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from renewals import dynamodb
from tests.fake_aws import FakeDynamoDB, wire

KEY = {"subscription_id": "s", "renewal_date": "2026-01-31"}
ITEM = KEY | {"status": "claimed", "amount": 3, "mails": {"receipt_1": {"state": "failed"}}}

CONDITIONS = [
    "attribute_not_exists(subscription_id)",
    "#status = :claimed",
    "#status <> :claimed",
    "absent <> :claimed",
    "absent = :claimed",
    "attribute_not_exists(absent) AND #status = :claimed",
    "attribute_not_exists(subscription_id) OR (#status = :claimed AND attribute_not_exists(absent))",
    "#status IN (:paid, :claimed)",
    "absent IN (:paid, :claimed)",
    "mails.receipt_1.#state = :failed",
    "(attribute_not_exists(mails.receipt_1) OR mails.receipt_1.#state = :paid) AND #status = :claimed",
]
VALUES = {":claimed": "claimed", ":paid": "paid", ":failed": "failed"}


def _moto() -> Any:
    client = boto3.client("dynamodb", region_name="us-west-2")
    client.create_table(
        TableName="renewals",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in KEY],
        KeySchema=[
            {"AttributeName": "subscription_id", "KeyType": "HASH"},
            {"AttributeName": "renewal_date", "KeyType": "RANGE"},
        ],
    )
    client.put_item(TableName="renewals", Item=wire(ITEM))
    return client


@pytest.fixture
def clients() -> Iterator[tuple[Any, Any]]:
    fake = FakeDynamoDB({"renewals": "renewal_date"})
    fake.put("renewals", ITEM)
    with mock_aws():
        yield fake, _moto()


def _change(condition: str) -> dict[str, Any]:
    used = {name: value for name, value in VALUES.items() if name in condition}
    changes = {"status": "paid", "amount": None, "mails.receipt_1": {"state": "sent"}}
    return dynamodb.change("renewals", KEY, changes, condition, used)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_conditional_update_does_and_returns_the_same(clients: tuple[Any, Any], condition: str) -> None:
    """Done or not, and the item as it stands after it."""
    outcomes = []
    for client in clients:
        done, item = dynamodb.update(client, _change(condition))
        outcomes.append((done, {name: value for name, value in (item or {}).items() if name != "write"}))
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_transaction_is_all_or_nothing_and_names_what_failed(clients: tuple[Any, Any], condition: str) -> None:
    """The positions whose condition failed, and what stands there; nothing is written then."""
    other = {"subscription_id": "s", "renewal_date": "2026-02-28"}
    put = {
        "TableName": "renewals",
        "Item": wire(other),
        "ConditionExpression": "attribute_not_exists(subscription_id)",
    }
    outcomes = []
    for client in clients:
        failed = dynamodb.transact(client, [{"Put": put}, {"Update": _change(condition)}])
        left = client.query(
            TableName="renewals",
            KeyConditionExpression="subscription_id = :id",
            ExpressionAttributeValues=wire({":id": "s"}),
            ScanIndexForward=False,
            Limit=5,
            ConsistentRead=True,
        )["Items"]
        outcomes.append((failed, [dynamodb.plain(item) for item in left]))
    assert outcomes[0] == outcomes[1]


def test_a_condition_that_cannot_be_read_is_an_error(clients: tuple[Any, Any]) -> None:
    """The fake refuses what it does not know instead of guessing."""
    with pytest.raises((AssertionError, ClientError)):
        dynamodb.update(clients[0], _change("begins_with(#status, :claimed)"))
