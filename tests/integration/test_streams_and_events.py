"""The emulator delivers records of a stream and events of a bus as AWS does, and is no kinder."""

import json
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
import urllib3
from botocore.exceptions import ClientError

from tests.integration.cloud import Cloud, Statement

READING = ("DescribeStream", "GetRecords", "GetShardIterator", "ListStreams")
SOON = 15.0
"""Seconds within which what is to happen has happened."""


def soon(happens: Callable[[], Any], *, what: str) -> Any:
    """What the function gives, as soon as it gives something."""
    deadline = time.monotonic() + SOON
    while not (given := happens()):
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
    return given


class Table:
    """A table with a stream, and mappings of the stream to functions that keep what they hear in another table."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud, self._tables = cloud, cloud.stack.client("dynamodb")
        self._name = f"test-{uuid.uuid4().hex[:12]}"
        key = {
            "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
            "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
            "BillingMode": "PAY_PER_REQUEST",
        }
        stream = {"StreamSpecification": {"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"}}
        made = self._tables.create_table(TableName=self._name, **key, **stream)["TableDescription"]
        self.stream: str = made["LatestStreamArn"]
        cloud.remove_later(lambda: self._tables.delete_table(TableName=self._name))

    def write(self, *items: str) -> None:
        for each in items:
            self._tables.put_item(TableName=self._name, Item={"id": {"S": each}})

    def mapping(self, function: str, **settings: Any) -> str:
        """A mapping of the stream to the function, from the first record on; its id."""
        functions = self._cloud.functions
        made = functions.create_event_source_mapping(
            EventSourceArn=self.stream, FunctionName=function, StartingPosition="TRIM_HORIZON", **settings
        )
        identifier = str(made["UUID"])
        self._cloud.remove_later(lambda: functions.delete_event_source_mapping(UUID=identifier))
        return identifier


@pytest.fixture
def table(cloud: Cloud) -> Table:
    return Table(cloud)


def may_read(table: Table, *actions: str) -> Statement:
    return {"Effect": "Allow", "Action": [f"dynamodb:{action}" for action in actions], "Resource": table.stream}


def heard(cloud: Cloud, function: str) -> list[list[str]]:
    """The ids of the records in each batch that the function was called with, in the order of the calls."""
    group = f"/aws/lambda/{function.rsplit(':', 1)[-1]}"
    try:
        events = cloud.stack.client("logs").filter_log_events(logGroupName=group)["events"]
    except ClientError:
        return []
    lines = [line for event in events for line in event["message"].splitlines() if line.startswith("batch ")]
    return [line.split()[1:] for line in lines]


def listener(cloud: Cloud, *statements: Statement, fails: str = "", reports: bool = False) -> str:
    """A function that notes the ids in its batch, and fails at a record with the id `fails`, or reports that record."""
    return cloud.function(*statements, environment={"FAILS": fails, "REPORTS": "1" if reports else ""})


def test_a_report_of_a_failed_record_is_heeded(cloud: Cloud, table: Table) -> None:
    """Records from the first reported one on are delivered again, and the records before it are not."""
    table.write("a", "b", "c")
    function = listener(cloud, may_read(table, *READING), fails="b", reports=True)
    table.mapping(function, FunctionResponseTypes=["ReportBatchItemFailures"], MaximumRetryAttempts=2)
    calls = soon(lambda: len(heard(cloud, function)) >= 3 and heard(cloud, function), what="three attempts")
    assert calls[:3] == [["a", "b", "c"], ["b", "c"], ["b", "c"]]


def test_a_report_counts_only_where_the_mapping_asks_for_it(cloud: Cloud, table: Table) -> None:
    """Without ReportBatchItemFailures the answer of a function is not looked at."""
    table.write("a", "b")
    function = listener(cloud, may_read(table, *READING), fails="a", reports=True)
    table.mapping(function)
    soon(lambda: heard(cloud, function), what="the first batch")
    table.write("c")
    soon(lambda: ["c"] in heard(cloud, function), what="the next batch")
    assert heard(cloud, function) == [["a", "b"], ["c"]]


def test_a_failed_batch_is_split_and_given_up_after_its_attempts(cloud: Cloud, table: Table) -> None:
    """The good half gets through, the bad record is tried as often as the mapping says and told to the destination."""
    queues, url = cloud.stack.client("sqs"), cloud.queue()
    queue = queues.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    may_send = {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": queue}
    table.write("a", "b", "c", "d")
    function = listener(cloud, may_read(table, *READING), may_send, fails="c")
    table.mapping(
        function,
        BisectBatchOnFunctionError=True,
        MaximumRetryAttempts=1,
        DestinationConfig={"OnFailure": {"Destination": queue}},
    )
    calls = soon(lambda: ["d"] in heard(cloud, function) and heard(cloud, function), what="the last record")
    assert calls == [["a", "b", "c", "d"], ["a", "b"], ["c", "d"], ["c"], ["c"], ["d"]]
    [message] = soon(lambda: queues.receive_message(QueueUrl=url).get("Messages"), what="a message about the record")
    told = json.loads(message["Body"])
    assert told["requestContext"]["condition"] == "RetryAttemptsExhausted"
    assert told["DDBStreamBatchInfo"]["batchSize"] == 1
    assert "Records" not in told


def test_a_destination_gets_nothing_from_a_role_that_may_not_send(cloud: Cloud, table: Table) -> None:
    """A role without sqs:SendMessage loses the message about records that were given up."""
    queues, url = cloud.stack.client("sqs"), cloud.queue()
    queue = queues.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    table.write("a")
    function = listener(cloud, may_read(table, *READING), fails="a")
    table.mapping(function, MaximumRetryAttempts=0, DestinationConfig={"OnFailure": {"Destination": queue}})
    soon(lambda: heard(cloud, function), what="the only attempt")
    table.write("b")
    soon(lambda: ["b"] in heard(cloud, function), what="the next record")
    assert not queues.receive_message(QueueUrl=url).get("Messages")


@pytest.mark.parametrize("missing", READING)
def test_a_stream_is_read_with_the_functions_own_permissions(cloud: Cloud, table: Table, missing: str) -> None:
    """Each of the four actions is needed: a function whose role lacks one hears nothing."""
    table.write("a")
    without = listener(cloud, may_read(table, *(action for action in READING if action != missing)))
    mapping = table.mapping(without)
    soon(
        lambda: "PROBLEM" in cloud.functions.get_event_source_mapping(UUID=mapping)["LastProcessingResult"],
        what="the mapping says what is wrong",
    )
    assert heard(cloud, without) == []


def test_the_age_of_records_is_measured(cloud: Cloud, table: Table) -> None:
    """IteratorAge grows while a function fails."""
    table.write("a")
    function = listener(cloud, may_read(table, *READING), fails="a")
    table.mapping(function)
    name = function.rsplit(":", 1)[-1]

    def age() -> float:
        now = datetime.now(UTC)
        points = cloud.stack.client("cloudwatch").get_metric_statistics(
            Namespace="AWS/Lambda",
            MetricName="IteratorAge",
            Dimensions=[{"Name": "FunctionName", "Value": name}],
            StartTime=now - timedelta(minutes=5),
            EndTime=now + timedelta(minutes=1),
            Period=60,
            Statistics=["Maximum"],
        )["Datapoints"]
        return max((point["Maximum"] for point in points), default=0.0)

    soon(lambda: age() > 1000, what="the record is older than a second")


def test_a_slow_function_behind_a_stream_holds_up_no_queue(cloud: Cloud, table: Table) -> None:
    """The mapping of a queue goes on while a function behind a stream is at work."""
    table.write("slow")
    slow = listener(cloud, may_read(table, *READING))
    table.mapping(slow)
    queues, url = cloud.stack.client("sqs"), cloud.queue()
    queue = queues.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    receiving = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"]
    quick = cloud.function({"Effect": "Allow", "Action": receiving, "Resource": queue})
    made = cloud.functions.create_event_source_mapping(EventSourceArn=queue, FunctionName=quick, BatchSize=1)
    cloud.remove_later(lambda: cloud.functions.delete_event_source_mapping(UUID=made["UUID"]))
    for _ in range(3):
        before = len(heard(cloud, quick))
        queues.send_message(QueueUrl=url, MessageBody="quick")
        soon(partial(lambda before: len(heard(cloud, quick)) > before, before), what="the message is delivered")
    assert heard(cloud, slow) == []


class Bus:
    """A bus of events with one rule that takes all of them."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud, self._events = cloud, cloud.stack.client("events")
        self.name = f"test-{uuid.uuid4().hex[:12]}"
        self._events.create_event_bus(Name=self.name)
        pattern = json.dumps({"source": ["test"]})
        made = self._events.put_rule(Name="all", EventBusName=self.name, EventPattern=pattern)
        self.rule: str = made["RuleArn"]
        cloud.remove_later(self._remove)

    def _remove(self) -> None:
        named = {"Rule": "all", "EventBusName": self.name}
        targets = self._events.list_targets_by_rule(**named)["Targets"]
        if targets:
            self._events.remove_targets(Ids=[target["Id"] for target in targets], **named)
        self._events.delete_rule(Name="all", EventBusName=self.name)
        self._events.delete_event_bus(Name=self.name)

    def target(self, arn: str, **settings: Any) -> None:
        target = {"Id": "one", "Arn": arn} | settings
        self._events.put_targets(Rule="all", EventBusName=self.name, Targets=[target])

    def put(self, *details: str, **other: Any) -> dict[str, Any]:
        entry = {"Source": "test", "DetailType": "test", "EventBusName": self.name} | other
        answer: dict[str, Any] = self._events.put_events(Entries=[entry | {"Detail": detail} for detail in details])
        return answer

    def let_go_wrong(self, **trouble: int) -> None:
        url = f"{self._cloud.stack.endpoint_url}/_local/events"
        assert urllib3.request("POST", url, json=trouble).status == 200


@pytest.fixture
def bus(cloud: Cloud) -> Bus:
    return Bus(cloud)


def queue_of(cloud: Cloud, rule: str | None) -> tuple[str, str]:
    """A queue, with a policy that lets the rule in; its address and its ARN."""
    queues, url = cloud.stack.client("sqs"), cloud.queue()
    arn: str = queues.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    if rule:
        statement = {
            "Effect": "Allow",
            "Principal": {"Service": "events.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": arn,
            "Condition": {"ArnEquals": {"aws:SourceArn": rule}},
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        queues.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    return url, arn


def received(cloud: Cloud, url: str) -> list[dict[str, Any]]:
    """The messages of a queue, with their attributes."""
    answer = cloud.stack.client("sqs").receive_message(
        QueueUrl=url, MessageAttributeNames=["All"], MaxNumberOfMessages=10
    )
    return list(answer.get("Messages", []))


@pytest.mark.parametrize("detail", ["no JSON", "[]", '"text"', "1"])
def test_a_detail_is_a_json_object(bus: Bus, detail: str) -> None:
    """An entry with another detail is refused, and the other entry of the call is taken."""
    answer = bus.put("{}", detail)
    assert answer["FailedEntryCount"] == 1
    assert [entry.get("ErrorCode") for entry in answer["Entries"]] == [None, "MalformedDetail"]


def test_an_entry_has_a_source_a_type_and_at_most_256_kilobytes(bus: Bus) -> None:
    """An entry that lacks one of them, or is larger, is refused."""
    large = json.dumps({"text": "x" * 262_144})
    answers = [bus.put("{}", Source=""), bus.put("{}", DetailType=""), bus.put(large)]
    assert [answer["FailedEntryCount"] for answer in answers] == [1, 1, 1]
    assert {answer["Entries"][0]["ErrorCode"] for answer in answers} == {"InvalidArgument"}


def test_entries_can_be_throttled_one_by_one(bus: Bus) -> None:
    """A call succeeds although some of its entries are refused: the caller has to look at each."""
    bus.let_go_wrong(refused_entries=1)
    answer = bus.put("{}", "{}")
    assert answer["FailedEntryCount"] == 1
    assert [entry.get("ErrorCode") for entry in answer["Entries"]] == ["ThrottlingException", None]


def test_a_queue_lets_only_named_rules_in(cloud: Cloud, bus: Bus) -> None:
    """Without a policy for the rule an event goes to the dead-letter queue at once, with the reason."""
    closed, arn = queue_of(cloud, None)
    letters, letters_arn = queue_of(cloud, bus.rule)
    bus.target(arn, DeadLetterConfig={"Arn": letters_arn})
    bus.put("{}")
    [letter] = soon(lambda: received(cloud, letters), what="a dead letter")
    attributes = {name: value["StringValue"] for name, value in letter["MessageAttributes"].items()}
    assert attributes == {"ERROR_CODE": "NO_PERMISSIONS", "RULE_ARN": bus.rule, "TARGET_ARN": arn}
    assert received(cloud, closed) == []


@pytest.mark.parametrize("rule_of", ["the bus", "another bus"])
def test_the_policy_of_a_queue_names_the_rule(cloud: Cloud, bus: Bus, rule_of: str) -> None:
    """A policy for the rule lets its events in, and a policy for another rule does not."""
    url, arn = queue_of(cloud, bus.rule if rule_of == "the bus" else bus.rule.replace(bus.name, "another"))
    letters, letters_arn = queue_of(cloud, bus.rule)
    bus.target(arn, DeadLetterConfig={"Arn": letters_arn})
    bus.put("{}")
    opened, shut = (url, letters) if rule_of == "the bus" else (letters, url)
    soon(lambda: received(cloud, opened), what="the event arrives")
    assert received(cloud, shut) == []


def test_a_failed_delivery_is_tried_again_until_the_policy_ends_it(cloud: Cloud, bus: Bus) -> None:
    """Two failures are outlived by two retries, and not by one."""
    url, arn = queue_of(cloud, bus.rule)
    letters, letters_arn = queue_of(cloud, bus.rule)
    bus.target(arn, DeadLetterConfig={"Arn": letters_arn}, RetryPolicy={"MaximumRetryAttempts": 2})
    bus.let_go_wrong(failed_deliveries=2)
    bus.put("{}")
    soon(lambda: received(cloud, url), what="the event arrives")
    bus.target(arn, DeadLetterConfig={"Arn": letters_arn}, RetryPolicy={"MaximumRetryAttempts": 1})
    bus.let_go_wrong(failed_deliveries=2)
    bus.put("{}")
    [letter] = soon(lambda: received(cloud, letters), what="a dead letter")
    assert letter["MessageAttributes"]["ERROR_CODE"]["StringValue"] == "SERVICE_UNAVAILABLE"


def test_a_function_is_called_by_a_rule_only_where_its_policy_says_so(cloud: Cloud, bus: Bus) -> None:
    """A function without a policy for the rule is not called; with one it is, and Lambda tries a failure again."""
    function = listener(cloud, fails="x")
    letters, letters_arn = queue_of(cloud, bus.rule)
    bus.target(function, DeadLetterConfig={"Arn": letters_arn})
    bus.put("{}")
    soon(lambda: received(cloud, letters), what="a dead letter")
    cloud.functions.add_permission(
        FunctionName=function,
        StatementId="rule",
        Action="lambda:InvokeFunction",
        Principal="events.amazonaws.com",
        SourceArn=bus.rule,
    )
    bus.put(json.dumps({"id": "x"}))
    soon(lambda: len(heard(cloud, function)) == 3, what="three attempts of Lambda's")
    assert received(cloud, letters) == []
