"""The emulator delivers a stream's records and a bus's events as AWS does, and is no kinder."""

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
"""The seconds within which an expected event must happen."""


def soon(happens: Callable[[], Any], *, what: str) -> Any:
    """Return the first true value of `happens`, and fail after SOON seconds."""
    deadline = time.monotonic() + SOON
    while not (given := happens()):
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
    return given


class Table:
    """A table with a stream, and mappings of the stream to functions that log the records' ids."""

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
        """Map the stream to the function from the first record on, and return the mapping's id."""
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
    """Return the ids of the records in every batch of the function, in the order of the calls."""
    group = f"/aws/lambda/{function.rsplit(':', 1)[-1]}"
    try:
        events = cloud.stack.client("logs").filter_log_events(logGroupName=group)["events"]
    except ClientError:
        return []
    lines = [line for event in events for line in event["message"].splitlines() if line.startswith("batch ")]
    return [line.split()[1:] for line in lines]


def listener(cloud: Cloud, *statements: Statement, fails: str = "", reports: bool = False) -> str:
    """Make a function that logs the ids of a batch, and fails at a record with the id `fails`, or reports the
    record."""
    return cloud.function(*statements, environment={"FAILS": fails, "REPORTS": "1" if reports else ""})


def test_a_report_of_a_failed_record_is_heeded(cloud: Cloud, table: Table) -> None:
    """After a report of a failed record, the records from the failed record on are delivered again, and earlier records
    are not."""
    table.write("a", "b", "c")
    function = listener(cloud, may_read(table, *READING), fails="b", reports=True)
    table.mapping(function, FunctionResponseTypes=["ReportBatchItemFailures"], MaximumRetryAttempts=2)
    calls = soon(lambda: len(heard(cloud, function)) >= 3 and heard(cloud, function), what="three attempts")
    assert calls[:3] == [["a", "b", "c"], ["b", "c"], ["b", "c"]]


def test_a_report_counts_only_where_the_mapping_asks_for_it(cloud: Cloud, table: Table) -> None:
    """A mapping without ReportBatchItemFailures ignores the function's answer."""
    table.write("a", "b")
    function = listener(cloud, may_read(table, *READING), fails="a", reports=True)
    table.mapping(function)
    soon(lambda: heard(cloud, function), what="the first batch")
    table.write("c")
    soon(lambda: ["c"] in heard(cloud, function), what="the next batch")
    assert heard(cloud, function) == [["a", "b"], ["c"]]


def test_a_failed_batch_is_split_and_given_up_after_its_attempts(cloud: Cloud, table: Table) -> None:
    """A failed batch is split: the good records get through, and the bad record is tried as often as the mapping says
    and then reported to the destination."""
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
    """Where the role lacks sqs:SendMessage, the message about a record that was given up is lost."""
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
    """A function whose role lacks any of the four actions gets no records."""
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
            EndTime=now + timedelta(days=30),  # tests before this one may have moved the clock of metrics on
            Period=86_400,
            Statistics=["Maximum"],
        )["Datapoints"]
        return max((point["Maximum"] for point in points), default=0.0)

    soon(lambda: age() > 1000, what="the record is older than a second")


def test_a_slow_function_behind_a_stream_holds_up_no_queue(cloud: Cloud, table: Table) -> None:
    """A queue's mapping goes on while a function behind a stream is at work."""
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
    """A bus of events with a single rule for all events."""

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
    """Make a queue whose policy admits the rule; return address and ARN."""
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
    """Return the messages of a queue, with their attributes."""
    answer = cloud.stack.client("sqs").receive_message(
        QueueUrl=url, MessageAttributeNames=["All"], MaxNumberOfMessages=10
    )
    return list(answer.get("Messages", []))


@pytest.mark.parametrize("detail", ["no JSON", "[]", '"text"', "1"])
def test_a_detail_is_a_json_object(bus: Bus, detail: str) -> None:
    """An entry whose detail is no JSON object is refused, and the good entry of the call is accepted."""
    answer = bus.put("{}", detail)
    assert answer["FailedEntryCount"] == 1
    assert [entry.get("ErrorCode") for entry in answer["Entries"]] == [None, "MalformedDetail"]


def test_an_entry_has_a_source_a_type_and_at_most_256_kilobytes(bus: Bus) -> None:
    """An entry without a source or type, or above 256 kilobytes, is refused."""
    large = json.dumps({"text": "x" * 262_144})
    answers = [bus.put("{}", Source=""), bus.put("{}", DetailType=""), bus.put(large)]
    assert [answer["FailedEntryCount"] for answer in answers] == [1, 1, 1]
    assert {answer["Entries"][0]["ErrorCode"] for answer in answers} == {"InvalidArgument"}


def test_entries_can_be_throttled_one_by_one(bus: Bus) -> None:
    """A call succeeds although an entry is refused: the caller must look at every entry."""
    bus.let_go_wrong(refused_entries=1)
    answer = bus.put("{}", "{}")
    assert answer["FailedEntryCount"] == 1
    assert [entry.get("ErrorCode") for entry in answer["Entries"]] == ["ThrottlingException", None]


def test_a_queue_lets_only_named_rules_in(cloud: Cloud, bus: Bus) -> None:
    """Where the queue's policy does not admit the rule, an event goes to the dead-letter queue at once, with the
    reason."""
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
    """A policy for the rule admits the rule's events, and a policy for a different rule does not."""
    url, arn = queue_of(cloud, bus.rule if rule_of == "the bus" else bus.rule.replace(bus.name, "another"))
    letters, letters_arn = queue_of(cloud, bus.rule)
    bus.target(arn, DeadLetterConfig={"Arn": letters_arn})
    bus.put("{}")
    opened, shut = (url, letters) if rule_of == "the bus" else (letters, url)
    soon(lambda: received(cloud, opened), what="the event arrives")
    assert received(cloud, shut) == []


def test_a_failed_delivery_is_tried_again_until_the_policy_ends_it(cloud: Cloud, bus: Bus) -> None:
    """With two retries a delivery survives two failures, with a single retry it does not."""
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
    """A rule calls a function only if the function's policy admits the rule, and Lambda then retries a failed call."""
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
