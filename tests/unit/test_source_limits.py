"""The limit for one source on the internet."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from renewals.ledger.source_limits import SourceLimit, count, counted_as
from tests.fake_aws import FakeDynamoDB, error

THREE = SourceLimit("form", 3)
NOW = datetime(2026, 1, 31, 12, 30, tzinfo=UTC)
IP = "203.0.113.7"


@pytest.fixture(params=["fake", "moto"])
def client(request: pytest.FixtureRequest) -> Iterator[Any]:
    """The table of counters in memory, and the same table in moto, which must agree."""
    if request.param == "fake":
        yield FakeDynamoDB({}, hash_keys={"counters": "counter"})
        return
    with mock_aws():
        made = boto3.client("dynamodb", region_name="us-west-2")
        made.create_table(
            TableName="counters",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "counter", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "counter", "KeyType": "HASH"}],
        )
        yield made


def counted(client: Any, source: str = IP, now: datetime = NOW, limit: SourceLimit = THREE, key: str = "a key") -> bool:
    return count(client, "counters", key, limit, source, now)


def test_a_source_is_within_its_limit_for_so_many_times_an_hour(client: Any) -> None:
    """The fourth time within an hour is refused, and the next hour begins anew. Other sources and other acts have
    counts of their own."""
    assert [counted(client) for _ in range(5)] == [True, True, True, False, False]
    assert counted(client, source="203.0.113.8")
    assert counted(client, limit=SourceLimit("other", 3))
    assert not counted(client, now=NOW + timedelta(minutes=29))
    assert counted(client, now=NOW + timedelta(minutes=30))


@pytest.mark.parametrize(
    ("source", "same", "other"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:3::1"),
        ("2001:DB8:1:2::1", "2001:0db8:0001:0002:0000:0000:0000:0001", "2001:db8::1"),
        ("::ffff:203.0.113.7", "203.0.113.7", "::ffff:203.0.113.8"),
        ("fe80::1%eth0", "fe80::2", "fe81::1"),
        ("nonsense", "", "203.0.113.7"),
    ],
)
def test_a_source_is_an_address_of_ipv4_or_the_network_of_a_house(source: str, same: str, other: str) -> None:
    """Of IPv6, the first 64 bits count: whoever has a network may send from any address of the network. A source
    without an address is counted too."""
    assert counted_as(source) == counted_as(same) != counted_as(other)


def test_no_address_is_stored_and_every_count_is_deleted_within_two_hours(client: Any) -> None:
    """An item holds a hash that nobody can make without the key and that differs from hour to hour, the count, and the
    moment of the deletion."""
    counted(client)
    counted(client, now=NOW + timedelta(hours=1))
    counted(client, key="another key")
    items = client.tables["counters"].values() if isinstance(client, FakeDynamoDB) else _scanned(client)
    assert len({each["counter"] for each in items}) == 3
    assert IP not in json.dumps([*items], default=str)
    assert {*map(frozenset, items)} == {frozenset({"counter", "times", "expires_at"})}
    assert {int(each["expires_at"]) - int(NOW.timestamp()) for each in items} == {90 * 60, 150 * 60}


def _scanned(client: Any) -> list[dict[str, Any]]:
    return [
        {name: next(iter(value.values())) for name, value in item.items()}
        for item in client.scan(TableName="counters")["Items"]
    ]


@pytest.mark.parametrize("code", ["ProvisionedThroughputExceededException", "AccessDeniedException"])
def test_a_count_that_fails_permits_nothing(code: str) -> None:
    """An error of the counter passes through: whoever could disturb the counter would otherwise be rid of the limit."""
    fake = FakeDynamoDB({}, hash_keys={"counters": "counter"}, trouble=[error(code, "UpdateItem")])
    with pytest.raises(ClientError, match=code):
        counted(fake)
