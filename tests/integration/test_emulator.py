"""The emulator's changed behaviour matches AWS, shown on functions and workflows made for the purpose."""

import json
import re
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
import urllib3
from botocore.exceptions import ClientError

from local.emulator.functions import WORKERS
from tests.integration.cloud import Cloud, Statement
from tests.integration.shop import wait_until


def may_invoke(function: str) -> Statement:
    return {"Effect": "Allow", "Action": "lambda:InvokeFunction", "Resource": function}


def test_a_function_finds_only_the_packages_of_its_layers(cloud: Cloud) -> None:
    """A dependency that no layer brings is missing on the emulator, as on AWS."""
    assert cloud.call(cloud.function(), {})["botocore"] is False
    assert cloud.call(cloud.function(layers=[cloud.aws_layer()]), {})["botocore"] is True


def test_an_exception_keeps_its_name_and_its_process(cloud: Cloud) -> None:
    """An error's type is the exception's class, and the next call finds the same warm process."""
    function = cloud.function()
    failed = cloud.call(function, {"fail": 1})
    assert (failed["errorType"], failed["errorMessage"]) == ("Flaky", "call 1")
    assert cloud.call(function, {})["calls"] == 2


@pytest.mark.parametrize(("retry", "status"), [("Flaky", "SUCCEEDED"), ("Other", "FAILED")])
def test_a_workflow_retries_by_the_name_of_the_exception(cloud: Cloud, retry: str, status: str) -> None:
    """A Retry on the exception's class name tries again; a Retry on a different name does not."""
    function = cloud.function()
    assert cloud.run(function, {"fail": 1}, may_invoke(function), retry=retry)["status"] == status


def test_a_workflow_calls_only_what_its_role_allows(cloud: Cloud) -> None:
    """Without lambda:InvokeFunction on the function, the workflow fails and says so."""
    function = cloud.function()
    end = cloud.run(function, {}, may_invoke(f"{function}-other"), retry="Flaky")
    assert end["status"] == "FAILED"
    assert "is not authorized to perform: lambda:InvokeFunction" in end["cause"]


def test_calls_beyond_the_bound_wait(cloud: Cloud) -> None:
    """Three times as many calls as allowed processes are all answered, and by no more processes than allowed."""
    function = cloud.function()
    with ThreadPoolExecutor(3 * WORKERS) as pool:
        answers = list(pool.map(lambda _: cloud.call(function, {"sleep": 0.2}), range(3 * WORKERS)))
    assert sum(answer["calls"] == 1 for answer in answers) == len({answer["pid"] for answer in answers}) <= WORKERS


def test_a_function_runs_as_many_executions_as_are_reserved(cloud: Cloud) -> None:
    """With a reservation of one, a second call at the same time is refused, and the next call is not. With none, every
    call is refused by the name of the reservation. API Gateway answers 500 in the place of a refused call."""
    function = cloud.function()
    api = cloud.api(function)
    cloud.functions.put_function_concurrency(FunctionName=function, ReservedConcurrentExecutions=1)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(cloud.call, function, {"sleep": 3})
        wait_until(lambda: urllib3.request("POST", api, retries=False).status == 500)
        assert not slow.done()
    assert urllib3.request("POST", api, retries=False).status == 200
    cloud.functions.put_function_concurrency(FunctionName=function, ReservedConcurrentExecutions=0)
    with pytest.raises(cloud.functions.exceptions.TooManyRequestsException) as refusal:
        cloud.call(function, {})
    assert refusal.value.response["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded"


def test_a_reservation_leaves_a_hundred_executions_to_others(cloud: Cloud) -> None:
    """A reservation that leaves fewer than 100 executions is refused, and what is reserved is no longer left."""
    function, left = cloud.function(), unreserved(cloud)
    with pytest.raises(ClientError, match=r"below its minimum value of \[100\]"):
        cloud.functions.put_function_concurrency(FunctionName=function, ReservedConcurrentExecutions=left - 99)
    cloud.functions.put_function_concurrency(FunctionName=function, ReservedConcurrentExecutions=left - 100)
    assert unreserved(cloud) == 100
    cloud.functions.put_function_concurrency(FunctionName=function, ReservedConcurrentExecutions=0)
    assert unreserved(cloud) == left


def unreserved(cloud: Cloud) -> int:
    return int(cloud.functions.get_account_settings()["AccountLimit"]["UnreservedConcurrentExecutions"])


def test_a_refused_task_fails_by_the_name_of_lambda(cloud: Cloud) -> None:
    """A workflow's task that Lambda refuses fails with Lambda.TooManyRequestsException. A Retry may name the error."""
    function, name = cloud.function(), "Lambda.TooManyRequestsException"
    cloud.functions.put_function_concurrency(FunctionName=function, ReservedConcurrentExecutions=0)
    end = cloud.run(function, {}, may_invoke(function), retry=name)
    assert (end["status"], end["error"]) == ("FAILED", name)
    assert refused(cloud, function) == 3


def refused(cloud: Cloud, function: str) -> float:
    """Return how many calls of the function Lambda has refused."""
    return cloud.total("AWS/Lambda", "Throttles", "FunctionName", function.rpartition(":")[2])


def test_a_refused_asynchronous_call_is_made_later(cloud: Cloud) -> None:
    """Lambda keeps an asynchronous call of a function that may not run now, and makes the call when the function may
    run."""
    function = cloud.function()
    cloud.functions.put_function_concurrency(FunctionName=function, ReservedConcurrentExecutions=0)
    cloud.functions.invoke(FunctionName=function, InvocationType="Event", Payload="{}")
    wait_until(lambda: refused(cloud, function) > 3)  # a call that fails is made only twice again
    cloud.functions.delete_function_concurrency(FunctionName=function)
    wait_until(lambda: cloud.total("AWS/Lambda", "Invocations", "FunctionName", function.rpartition(":")[2]) == 1)


def test_a_log_is_complete_when_the_call_ends(cloud: Cloud) -> None:
    """Every line that a function prints is in its log group, in order, when the call ends."""
    function = cloud.function()
    cloud.call(function, {"lines": 3000})
    logs, group = cloud.stack.client("logs"), f"/aws/lambda/{function.rpartition(':')[2]}"
    [stream] = logs.describe_log_streams(logGroupName=group)["logStreams"]
    events = logs.get_log_events(
        logGroupName=group, logStreamName=stream["logStreamName"], limit=10000, startFromHead=True
    )["events"]
    printed = [event["message"] for event in events if event["message"].startswith("line ")]
    assert printed == [f"line {number}" for number in range(3000)]


def test_an_alarm_heeds_its_dimensions(cloud: Cloud) -> None:
    """A metric printed by a function sets off the alarm on its dimensions, and not the alarm on different
    dimensions."""
    watch, namespace = cloud.stack.client("cloudwatch"), f"test-{uuid.uuid4().hex[:12]}"
    for service in ("ours", "theirs"):
        watch.put_metric_alarm(
            AlarmName=f"{namespace}-{service}",
            Namespace=namespace,
            MetricName="Lost",
            Dimensions=[{"Name": "service", "Value": service}],
            Statistic="Sum",
            Period=300,
            EvaluationPeriods=1,
            Threshold=2,
            ComparisonOperator="GreaterThanThreshold",
        )
    directive = {
        "Namespace": namespace,
        "Dimensions": [["service"]],
        "Metrics": [{"Name": "Lost", "Unit": "Count"}],
    }
    header = {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [directive]}
    cloud.call(cloud.function(), {"metric": {"_aws": header, "service": "ours", "Lost": [1, 2]}})
    alarms = watch.describe_alarms(AlarmNamePrefix=namespace)["MetricAlarms"]
    states = {alarm["AlarmName"].removeprefix(f"{namespace}-"): alarm["StateValue"] for alarm in alarms}
    assert states["ours"] == "ALARM"
    assert states["theirs"] != "ALARM"


def test_a_failure_is_counted(cloud: Cloud) -> None:
    """A workflow that fails at a function's exception counts as a failed execution and as an error of the function."""
    function = cloud.function()
    end = cloud.run(function, {"fail": 9}, may_invoke(function), retry="Other")
    assert cloud.total("AWS/States", "ExecutionsFailed", "StateMachineArn", end["stateMachineArn"]) == 1
    assert cloud.total("AWS/Lambda", "Errors", "FunctionName", function.rpartition(":")[2]) == 1


@pytest.mark.parametrize(
    ("granted", "sent"),
    [
        (("identity/noreply@example.com", "identity/a@example.com", "configuration-set/test"), True),
        (("identity/noreply@example.com", "configuration-set/test"), False),
        (("identity/noreply@example.com", "identity/a@example.com"), False),
        (("identity/other@example.com", "identity/a@example.com", "configuration-set/test"), False),
    ],
)
@pytest.mark.parametrize("source", [{"Source": "noreply@example.com"}, {}])
def test_mail_needs_the_identity_and_the_configuration_set(
    cloud: Cloud, granted: tuple[str, ...], sent: bool, source: dict[str, str]
) -> None:
    """SES in its sandbox demands permissions on the identities of sender and recipient, and on the configuration set of
    the mail."""
    resources = [f"arn:aws:ses:us-west-2:000000000000:{name}" for name in granted]
    statement = {"Effect": "Allow", "Action": "ses:SendRawEmail", "Resource": resources}
    function = cloud.function(statement, layers=[cloud.aws_layer()])
    message = {"Data": "From: noreply@example.com\r\nTo: a@example.com\r\nSubject: test\r\n\r\ntest\r\n"}
    request = {"Destinations": ["a@example.com"], "RawMessage": message, "ConfigurationSetName": "test"}
    answer = cloud.call(function, {"mail": request | source})
    assert ("pid" in answer) is sent
    assert sent or "is not authorized to perform: ses:SendRawEmail" in answer["errorMessage"]


@pytest.mark.parametrize(("over", "let_in"), [({}, True), ({"protocol": "http"}, False)])
def test_the_bucket_is_for_tls_only(cloud: Cloud, over: dict[str, str], let_in: bool) -> None:
    """A role with permission to write into the receipts bucket is denied when the call did not come over TLS."""
    bucket = cloud.stack.outputs["ReceiptsBucketName"]
    statement = {"Effect": "Allow", "Action": "s3:PutObject", "Resource": f"arn:aws:s3:::{bucket}/test"}
    function = cloud.function(statement, layers=[cloud.aws_layer()])
    answer = cloud.call(function, {"put": {"Bucket": bucket, "Key": "test", "Body": "test"}} | over)
    assert ("pid" in answer) is let_in
    assert let_in or "with an explicit deny in a resource-based policy" in answer["errorMessage"]


def test_a_function_is_told_where_a_request_comes_from(cloud: Cloud) -> None:
    """The source address is the caller's own, whatever X-Forwarded-For claims."""
    answer = urllib3.request("POST", cloud.api(cloud.function()), headers={"X-Forwarded-For": "203.0.113.7"})
    assert (answer.status, answer.data) == (200, b"127.0.0.1")


def test_a_header_is_text_and_none_is_lost(cloud: Cloud) -> None:
    """A list as a header's value is a malformed answer; no cookie is lost, whichever way a function returns cookies."""
    url = cloud.api(cloud.function())
    listed = {"statusCode": 200, "headers": {"X-Test": ["a", "b"]}, "body": ""}
    assert urllib3.request("POST", url, json=listed).status == 502
    cookies = {"headers": {"Set-Cookie": "a=1"}, "multiValueHeaders": {"set-cookie": ["b=2", "c=3"]}}
    answer = urllib3.request("POST", url, json={"statusCode": 200, "body": ""} | cookies)
    assert answer.headers.getlist("set-cookie") == ["a=1", "b=2", "c=3"]


def test_a_mailed_link_leads_to_the_api_that_has_its_path(cloud: Cloud) -> None:
    """Of several APIs, the link to a receipt leads to the API that opens receipts, and the link to the customer page
    leads to the page's own host."""
    cloud.api(cloud.function())
    base = f"{cloud.stack.endpoint_url}/_local"
    receipt = urllib3.request("GET", f"{base}/receipts/nobody.made", headers={"Accept": "text/html"})
    assert (receipt.status, b"opens no receipt" in receipt.data) == (404, True)
    page = urllib3.request("GET", f"{base}/account/link/nobody.made", redirect=False)
    assert page.status == 307
    host = rf"http://[0-9a-f]+\.execute-api\.localhost:{cloud.stack.port}"
    assert re.fullmatch(rf"{host}/prod/account/link/nobody\.made", page.headers["Location"])


def test_a_path_is_throttled(cloud: Cloud) -> None:
    """A method's own limit holds, under the spelling of the path in templates."""
    stacks, name = cloud.stack.client("cloudformation"), f"test-{uuid.uuid4().hex[:12]}"
    api = {"RestApiId": {"Ref": "Api"}}
    limit = {"ResourcePath": "/~1one", "HttpMethod": "POST", "ThrottlingRateLimit": 0.1, "ThrottlingBurstLimit": 2}
    resources = {
        "Api": {"Type": "AWS::ApiGateway::RestApi", "Properties": {"Name": name}},
        "One": {
            "Type": "AWS::ApiGateway::Resource",
            "Properties": api | {"ParentId": {"Fn::GetAtt": ["Api", "RootResourceId"]}, "PathPart": "one"},
        },
        "Method": {
            "Type": "AWS::ApiGateway::Method",
            "Properties": api
            | {"ResourceId": {"Ref": "One"}, "HttpMethod": "POST", "AuthorizationType": "NONE"}
            | {"Integration": {"Type": "MOCK", "IntegrationResponses": [{"StatusCode": "200"}]}},
        },
        "Deployment": {"Type": "AWS::ApiGateway::Deployment", "Properties": api, "DependsOn": "Method"},
        "Stage": {
            "Type": "AWS::ApiGateway::Stage",
            "Properties": api | {"StageName": "test", "DeploymentId": {"Ref": "Deployment"}, "MethodSettings": [limit]},
        },
    }
    outputs = {"Api": {"Value": {"Ref": "Api"}}}
    stacks.create_stack(StackName=name, TemplateBody=json.dumps({"Resources": resources, "Outputs": outputs}))
    stacks.get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 20})
    [output] = stacks.describe_stacks(StackName=name)["Stacks"][0]["Outputs"]
    url = f"{cloud.stack.endpoint_url}/_aws/execute-api/{output['OutputValue']}/test/one"
    answers = [urllib3.request("POST", url).status for _ in range(4)]
    stacks.delete_stack(StackName=name)
    assert [status == 429 for status in answers] == [False, False, True, True]


def test_a_queue_has_the_limits_of_sqs(cloud: Cloud) -> None:
    """A message can be delayed for at most 15 minutes and hidden for at most 12 hours."""
    queues, url = cloud.stack.client("sqs"), cloud.queue()
    with pytest.raises(ClientError, match="InvalidParameterValue"):
        queues.send_message(QueueUrl=url, MessageBody="late", DelaySeconds=901)
    batch = queues.send_message_batch(
        QueueUrl=url,
        Entries=[{"Id": "1", "MessageBody": "late", "DelaySeconds": 901}, {"Id": "2", "MessageBody": "now"}],
    )
    assert [entry["Id"] for entry in batch["Failed"]] == ["1"]
    with pytest.raises(ClientError, match="InvalidParameterValue"):
        queues.receive_message(QueueUrl=url, VisibilityTimeout=43_201)
    [message] = queues.receive_message(QueueUrl=url)["Messages"]
    handle = message["ReceiptHandle"]
    with pytest.raises(ClientError, match="InvalidParameterValue"):
        queues.change_message_visibility(QueueUrl=url, ReceiptHandle=handle, VisibilityTimeout=43_201)
    hidden = [{"Id": "1", "ReceiptHandle": handle, "VisibilityTimeout": 43_201}]
    changed = queues.change_message_visibility_batch(QueueUrl=url, Entries=hidden)
    assert [entry["Id"] for entry in changed["Failed"]] == ["1"]


def test_one_index_is_made_in_an_update(cloud: Cloud) -> None:
    """A stack update adding two indexes to a table is rolled back; an update adding a single index succeeds."""
    stacks, name = cloud.stack.client("cloudformation"), f"test-{uuid.uuid4().hex[:12]}"

    def template(*indexes: str) -> str:
        names = ["id", *indexes]
        table = {
            "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [{"AttributeName": each, "AttributeType": "S"} for each in names],
            "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
            "GlobalSecondaryIndexes": [
                {
                    "IndexName": each,
                    "KeySchema": [{"AttributeName": each, "KeyType": "HASH"}],
                    "Projection": {"ProjectionType": "KEYS_ONLY"},
                }
                for each in indexes
            ],
        }
        return json.dumps({"Resources": {"Table": {"Type": "AWS::DynamoDB::Table", "Properties": table}}})

    def updated(*indexes: str) -> str:
        stacks.update_stack(StackName=name, TemplateBody=template(*indexes))
        deadline = time.monotonic() + 20
        while (status := stacks.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"]).endswith("IN_PROGRESS"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return str(status)

    stacks.create_stack(StackName=name, TemplateBody=template("a"))
    stacks.get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 20})
    assert updated("a", "b", "c") == "UPDATE_ROLLBACK_COMPLETE"
    assert updated("a", "b") == "UPDATE_COMPLETE"
    stacks.delete_stack(StackName=name)
