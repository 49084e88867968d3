"""The tests' DynamoDB and SQS in memory answer exactly as moto does, a widely used simulation of AWS."""

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from renewals.domain.errors import Overtaken
from renewals.runtime import dynamodb
from tests.fake_aws import FakeDynamoDB, FakeSQS, wire

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import PutTypeDef, UpdateTypeDef

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
    "(attribute_not_exists(mails) OR mails.receipt_1.#state <> :paid) AND attribute_not_exists(#absent)",
    "(attribute_not_exists(mails.receipt_1) OR mails.receipt_1.#state = :paid) AND #status = :claimed",
]
VALUES = {":claimed": "claimed", ":paid": "paid", ":failed": "failed"}


def _begin(client: Any) -> None:
    """Delete the tables of the test before, and make the renewals' table with one item."""
    for name in client.list_tables()["TableNames"]:
        client.delete_table(TableName=name)
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


@pytest.fixture(scope="module")
def moto_dynamodb() -> Iterator[Any]:
    """Start moto once for all tests: starting moto and making a client take longer than a test."""
    with mock_aws():
        yield boto3.client("dynamodb", region_name="us-west-2")


@pytest.fixture
def clients(moto_dynamodb: Any) -> tuple[Any, Any]:
    fake = FakeDynamoDB({"renewals": "renewal_date"})
    fake.put("renewals", ITEM)
    _begin(moto_dynamodb)
    return fake, moto_dynamodb


def _change(condition: str) -> "UpdateTypeDef":
    used = {name: value for name, value in VALUES.items() if name in condition}
    changes = {"status": "paid", "amount": None, "mails.receipt_1": {"state": "sent"}}
    return dynamodb.change("renewals", KEY, changes, condition, used)


def _failed(write: Callable[[], None]) -> object:
    """Return the positions of failed conditions with the items found; None where everything was written."""
    try:
        write()
    except Overtaken as overtaken:
        return overtaken.failed
    return None


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_conditional_update_does_and_leaves_the_same(clients: tuple[Any, Any], condition: str) -> None:
    """A conditional update comes to the same outcome in the fake and in moto, and leaves the same item."""
    outcomes = []
    for client in clients:
        failed = _failed(partial(dynamodb.update, client, _change(condition)))
        (item,) = dynamodb.get_all(client, "renewals", [KEY])
        outcomes.append((failed, {name: value for name, value in item.items() if name != "write"}))
    assert outcomes[0] == outcomes[1]


def test_an_update_may_remove_alone(clients: tuple[Any, Any]) -> None:
    """An update in a transaction may remove an attribute without setting a value, and changes nothing else."""
    left = []
    for client in clients:
        removal = dynamodb.change("renewals", KEY, {"amount": None}, "amount = :three", {":three": 3})
        dynamodb.transact(client, [{"Update": removal}])
        left.append(dynamodb.plain(client.get_item(TableName="renewals", Key=wire(KEY), ConsistentRead=True)["Item"]))
    assert left[0] == left[1]
    assert "amount" not in left[0]


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_transaction_is_all_or_nothing_and_names_what_failed(clients: tuple[Any, Any], condition: str) -> None:
    """A transaction with a failed condition writes nothing, and names the positions of failed conditions with the items
    found."""
    other = {"subscription_id": "s", "renewal_date": "2026-02-28"}
    put: PutTypeDef = {
        "TableName": "renewals",
        "Item": wire(other),
        "ConditionExpression": "attribute_not_exists(subscription_id)",
    }
    outcomes = []
    for client in clients:
        failed = _failed(partial(dynamodb.transact, client, [{"Put": put}, {"Update": _change(condition)}]))
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
    """The fake refuses an unknown condition instead of guessing."""
    with pytest.raises((AssertionError, ClientError)):
        dynamodb.update(clients[0], _change("begins_with(#status, :claimed)"))


def test_a_page_begins_after_a_key_that_is_gone(clients: tuple[Any, Any]) -> None:
    """When the item between two pages was deleted, the next page begins after its key, in either direction."""
    days = ["2026-01-10", "2026-01-31", "2026-02-28"]
    pages = []
    for client in clients:
        for day in days:
            item = ITEM | {"renewal_date": day}
            client.put("renewals", item) if client is clients[0] else client.put_item(
                TableName="renewals", Item=wire(item)
            )
        for forward in (True, False):
            asked = {
                "TableName": "renewals",
                "KeyConditionExpression": "subscription_id = :id",
                "ExpressionAttributeValues": wire({":id": "s"}),
                "ScanIndexForward": forward,
                "Limit": 5,
                "ConsistentRead": True,
                "ExclusiveStartKey": wire(KEY | {"renewal_date": "2026-02-01"}),
            }
            pages.append([dynamodb.plain(item)["renewal_date"] for item in client.query(**asked)["Items"]])
    assert pages == [days[2:], days[1::-1]] * 2


def test_a_large_table_is_queried_as_it_stands() -> None:
    """The keys of a large table are kept in order between queries: an item that has come is found, and an item that has
    gone is not, also if one came and one went between two queries."""
    made = FakeDynamoDB({"renewals": "renewal_date"})
    asked = {
        "TableName": "renewals", "KeyConditionExpression": "subscription_id = :id", "ConsistentRead": True,
        "ExpressionAttributeValues": {":id": {"S": "s"}}, "Limit": 10, "ScanIndexForward": True,
    }  # fmt: skip

    def found() -> list[str]:
        return [item["renewal_date"]["S"] for item in made.query(**asked)["Items"]]

    for n in range(2000):
        made.put("renewals", {"subscription_id": f"other_{n}", "renewal_date": "2026-01-31"})
    for day in ("2026-03-31", "2026-01-31"):
        made.put("renewals", {"subscription_id": "s", "renewal_date": day})
    assert found() == ["2026-01-31", "2026-03-31"]
    made.put("renewals", {"subscription_id": "s", "renewal_date": "2026-02-28"})
    made.delete("renewals", ("s", "2026-03-31"))
    assert found() == ["2026-01-31", "2026-02-28"]


def test_two_actions_on_one_item_are_refused(clients: tuple[Any, Any]) -> None:
    """Both the fake and moto refuse a transaction with a check and an update of one item."""
    update = _change("#status = :claimed")
    check = {name: update[name] for name in ("TableName", "Key", "ExpressionAttributeNames")}
    check |= {"ConditionExpression": "#status = :claimed", "ExpressionAttributeValues": wire({":claimed": "claimed"})}
    check["ExpressionAttributeNames"] = {"#status": "status"}
    for client in clients:
        with pytest.raises(ClientError) as refused:
            client.transact_write_items(TransactItems=[{"ConditionCheck": check}, {"Update": update}])
        assert refused.value.response["Error"]["Code"] == "ValidationException"


def _check(day: str) -> dict[str, Any]:
    key = wire(KEY | {"renewal_date": day})
    return {"ConditionCheck": {"TableName": "renewals", "Key": key, "ConditionExpression": _FREE}}


_FREE = "attribute_not_exists(subscription_id)"


def test_an_item_in_a_transaction_is_written_by_nobody_else() -> None:
    """While a transaction holds an item, a second transaction on the item is canceled and a plain write is refused,
    whatever their conditions. Our client tries both again, and a read is answered."""
    fake: Any = FakeDynamoDB({"renewals": "renewal_date"})
    fake.put("renewals", ITEM)
    place = "renewals", ("s", "2026-01-31")
    fake.busy[place] = 1
    with pytest.raises(ClientError) as canceled:
        fake.transact_write_items(TransactItems=[_check("2026-02-28"), _check("2026-01-31")])
    reasons: Any = canceled.value.response
    assert [reason["Code"] for reason in reasons["CancellationReasons"]] == ["None", "TransactionConflict"]
    fake.busy[place] = 1
    with pytest.raises(ClientError) as refused:
        fake.update_item(**_change("#status = :claimed"))
    assert refused.value.response["Error"]["Code"] == "TransactionConflictException"
    fake.busy[place] = 2
    assert fake.get_item(TableName="renewals", Key=wire(KEY), ConsistentRead=True)["Item"]
    dynamodb.update(fake, _change("#status = :claimed"))
    assert not fake.busy


def test_transactions_of_threads_collide_on_what_they_only_check() -> None:
    """When two transactions at once check one item and write an item each, one of the two is canceled for the
    conflict."""
    fake: Any = FakeDynamoDB({"renewals": "renewal_date"}, holds=0.2)
    begin = threading.Barrier(2)

    def write(day: str) -> str:
        put = {"TableName": "renewals", "Item": wire(ITEM | {"renewal_date": day}), "ConditionExpression": _FREE}
        begin.wait(timeout=5)
        try:
            fake.transact_write_items(TransactItems=[{"Put": put}, _check("2025-01-01")])
        except ClientError as error:
            reasons: Any = error.response
            return str(reasons["CancellationReasons"][1]["Code"])
        return "written"

    with ThreadPoolExecutor(2) as pool:
        ends = sorted(pool.map(write, ("2026-01-31", "2026-02-28")))
    assert ends == ["TransactionConflict", "written"]


def _many(client: Any) -> None:
    """Create moto's table for twelve subscriptions on two dates, with its index."""
    client.create_table(
        TableName="subscriptions",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[
            {"AttributeName": name, "AttributeType": "S"} for name in ("subscription_id", "customer_id", "renewal_date")
        ],
        KeySchema=[
            {"AttributeName": "subscription_id", "KeyType": "HASH"},
            {"AttributeName": "customer_id", "KeyType": "RANGE"},
        ],
        GlobalSecondaryIndexes=[
            {
                "IndexName": "renewal-date-index",
                "KeySchema": [
                    {"AttributeName": "renewal_date", "KeyType": "HASH"},
                    {"AttributeName": "subscription_id", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "ALL"},
            }
        ],
    )


def _rows() -> Iterator[dict[str, Any]]:
    for n in range(12):
        row = {"subscription_id": f"s{n:02}", "customer_id": "c", "status": "active" if n % 3 else "paused"}
        yield row | ({"renewal_date": f"2026-01-{30 + n % 2}"} if n else {})


def _pages(ask: Any, **q: Any) -> list[tuple[Any, ...]]:
    """Read page after page: the items of a page, the number of items read, and the key at which the page ended."""
    pages: list[tuple[Any, ...]] = []
    while not pages or q.get("ExclusiveStartKey"):
        answer = ask(TableName="subscriptions", Limit=2, **q)
        found = [dynamodb.plain(item) for item in answer.get("Items", [])]
        pages.append((found, answer["ScannedCount"], answer.get("LastEvaluatedKey")))
        q["ExclusiveStartKey"] = answer.get("LastEvaluatedKey")
        if q["ExclusiveStartKey"] is None:
            del q["ExclusiveStartKey"]
    return pages


def test_an_index_is_read_page_by_page_alike(clients: tuple[Any, Any]) -> None:
    """Fake and moto read the rows of a date in the same pages: ordered by id, within a range, backwards, filtered after
    counting, and only counted."""
    fake, moto = clients
    fake.keys["subscriptions"], fake.indexes["renewal-date-index"] = "customer_id", ("renewal_date", "subscription_id")
    _many(moto)
    for row in _rows():
        fake.put("subscriptions", row)
        moto.put_item(TableName="subscriptions", Item=wire(row))
    questions: list[dict[str, Any]] = [
        {"KeyConditionExpression": "renewal_date = :date"},
        {"KeyConditionExpression": "renewal_date = :date", "Select": "COUNT"},
        {
            "KeyConditionExpression": "renewal_date = :date AND subscription_id < :id",
            "ScanIndexForward": False,
        },
        {
            "KeyConditionExpression": "renewal_date = :date AND subscription_id < :id",
            "FilterExpression": "#status IN (:active)",
            "ExpressionAttributeNames": {"#status": "status"},
        },
        {
            "KeyConditionExpression": "renewal_date = :date",
            "FilterExpression": "#status >= :paused",
            "ExpressionAttributeNames": {"#status": "status"},
        },
    ]
    for question in questions:
        used = {":date": "2026-01-30", ":id": "s08", ":active": "active", ":paused": "paused"}
        text = json.dumps(question)
        values = wire({name: value for name, value in used.items() if name in text})
        asked = question | {"IndexName": "renewal-date-index", "ExpressionAttributeValues": values}
        assert _pages(fake.query, **asked) == _pages(moto.query, **asked)


def test_the_segments_of_a_scan_are_the_table(clients: tuple[Any, Any]) -> None:
    """DynamoDB decides which row lies in which segment of a scan; all segments together hold every row once."""
    fake, moto = clients
    fake.keys["subscriptions"] = "customer_id"
    _many(moto)
    for row in _rows():
        fake.put("subscriptions", row)
        moto.put_item(TableName="subscriptions", Item=wire(row))
    for client in clients:
        pages = [page for n in range(3) for page in _pages(client.scan, Segment=n, TotalSegments=3)]
        rows = sorted((row for page, _, _ in pages for row in page), key=lambda row: row["subscription_id"])
        assert rows == list(_rows())


def test_a_filtered_scan_counts_what_it_read(clients: tuple[Any, Any]) -> None:
    """A scan of the whole table counts rows dropped by the filter as read, whether the rows are asked for or only
    counted."""
    fake, moto = clients
    fake.keys["subscriptions"] = "customer_id"
    _many(moto)
    for row in _rows():
        fake.put("subscriptions", row)
        moto.put_item(TableName="subscriptions", Item=wire(row))
    for client in clients:
        asked = {"TableName": "subscriptions", "Limit": 100, "FilterExpression": "attribute_exists(renewal_date)"}
        found, counted = client.scan(**asked), client.scan(**asked, Select="COUNT")
        assert (found["Count"], found["ScannedCount"], len(found["Items"])) == (11, 12, 11)
        assert (counted["Count"], counted["ScannedCount"], "Items" in counted) == (11, 12, False)


def test_items_of_two_tables_are_read_in_one_call_alike(clients: tuple[Any, Any]) -> None:
    """One call reads an item from both tables, as far as the items exist, and asks again for an item left out of the
    first answer."""
    fake, moto = clients
    fake.keys["subscriptions"] = "customer_id"
    _many(moto)
    (row, *_) = _rows()
    fake.put("subscriptions", row)
    moto.put_item(TableName="subscriptions", Item=wire(row))
    row_key = {name: row[name] for name in ("subscription_id", "customer_id")}
    read = [dynamodb.get_each(client, {"renewals": KEY, "subscriptions": row_key}) for client in clients]
    assert read[0] == read[1] == {"renewals": ITEM, "subscriptions": row}
    fake.unanswered = [1]
    assert dynamodb.get_each(fake, {"renewals": KEY, "subscriptions": row_key}) == read[0]
    absent = KEY | {"renewal_date": "2026-02-28"}
    read = [dynamodb.get_each(client, {"renewals": absent, "subscriptions": row_key}) for client in clients]
    assert read[0] == read[1] == {"subscriptions": row}


def test_many_items_are_read_at_once_alike(clients: tuple[Any, Any]) -> None:
    """A batch reads the items that exist; fake and moto both refuse a key given twice."""
    absent = KEY | {"renewal_date": "2026-02-28"}
    read = [list(dynamodb.get_all(client, "renewals", [KEY, absent])) for client in clients]
    assert read[0] == read[1] == [ITEM]
    for client in clients:
        with pytest.raises((AssertionError, ClientError)):
            list(dynamodb.get_all(client, "renewals", [KEY, KEY]))


@pytest.fixture
def queues() -> Iterator[tuple[FakeSQS, Any, str]]:
    """The fake's queue and moto's, both empty, with dead letters after five receives."""
    with mock_aws():
        moto = boto3.client("sqs", region_name="us-west-2")
        dead = moto.create_queue(QueueName="dead")["QueueUrl"]
        arn = moto.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        redrive = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": FakeSQS.MAX_RECEIVE_COUNT})
        url = moto.create_queue(QueueName="renewals", Attributes={"RedrivePolicy": redrive})["QueueUrl"]
        yield FakeSQS(), moto, url


def test_a_queue_hides_shows_and_counts_alike(queues: tuple[FakeSQS, Any, str]) -> None:
    """In fake and moto a received message is hidden and counted apart, and a message put back is seen again with its
    number of receives. After five receives a message is a dead letter. A message hidden for longer than SQS allows is
    refused."""
    fake, moto, url = queues
    told: list[list[Any]] = []
    for client in (fake, moto):
        seen: list[Any] = []

        def counted(client: Any = client) -> tuple[str, ...]:
            names = [f"ApproximateNumberOfMessages{kind}" for kind in ("", "NotVisible")]
            counts = client.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
            return tuple(counts[name] for name in names)

        entries = [{"Id": str(n), "MessageBody": f"body {n}"} for n in range(2)]
        client.send_message_batch(QueueUrl=url, Entries=entries)
        seen.append(counted())
        for _ in range(FakeSQS.MAX_RECEIVE_COUNT):
            received = client.receive_message(QueueUrl=url, MaxNumberOfMessages=10, AttributeNames=["All"])["Messages"]
            seen += sorted((each["Body"], each["Attributes"]["ApproximateReceiveCount"]) for each in received)
            seen.append(counted())
            for each in received:
                put_back = {"QueueUrl": url, "ReceiptHandle": each["ReceiptHandle"]}
                client.change_message_visibility(**put_back, VisibilityTimeout=0)
            seen.append(counted())
        with pytest.raises(ClientError) as refused:
            client.change_message_visibility(**put_back, VisibilityTimeout=43_201)
        seen.append(refused.value.response["Error"]["Code"])
        seen.append("Messages" in client.receive_message(QueueUrl=url, MaxNumberOfMessages=10))
        seen.append(counted())
        told.append(seen)
    assert told[0] == told[1]
    assert fake.dead == ["body 0", "body 1"]


def test_a_queue_shows_again_when_the_time_has_come() -> None:
    """A hidden message is seen again only after its time, as the queue foretells, and the counts are as old as the fake
    was told to make them."""
    queue = FakeSQS(counted_late=60)
    assert queue.soonest == float("inf")
    name = "ApproximateNumberOfMessages"
    queue.send_message_batch(QueueUrl="queue", Entries=[{"Id": "0", "MessageBody": "body"}])
    [message] = queue.receive_message(QueueUrl="queue")["Messages"]
    hidden = {"QueueUrl": "queue", "ReceiptHandle": message["ReceiptHandle"], "VisibilityTimeout": 120}
    queue.change_message_visibility(**hidden)
    assert queue.soonest == 120
    for now, seen, counted in ((119, 0, "0"), (120, 1, "0"), (179, 1, "0"), (181, 1, "1")):
        queue.move_clock(now)
        counts = queue.get_queue_attributes(QueueUrl="queue", AttributeNames=[name])["Attributes"]
        assert (queue.waiting, counts[name]) == (seen, counted)
    assert queue.soonest == 181
