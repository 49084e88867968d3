"""Functions, roles and workflows made for a test of the emulator."""

import io
import json
import time
import uuid
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from local.stack import Stack

FUNCTION = """
import importlib.util, json, os, sys, time

class Flaky(Exception):
    pass

calls = 0

# Notes the ids of a batch. Fails at the id in FAILS, or reports that record, as REPORTS says.
def heard(records):
    ids = [record.get("Keys", {}).get("id", {}).get("S", "message") for record in records]
    if "slow" in ids:
        time.sleep(5)
    print("batch", *ids)
    if os.environ.get("FAILS") not in ids:
        return {}
    if not os.environ["REPORTS"]:
        raise Flaky(f"batch {ids}")
    return {"batchItemFailures": [{"itemIdentifier": records[ids.index(os.environ["FAILS"])]["SequenceNumber"]}]}

def handler(event, context):
    global calls
    calls += 1
    match event:
        case {"fail": times} if calls <= times:
            raise Flaky(f"call {calls}")
        case {"sleep": seconds}:
            time.sleep(seconds)
        case {"lines": count}:
            for number in range(count):
                print("line", number)
        case {"Records": records}:
            return heard([record.get("dynamodb") or record for record in records])
        case {"detail": detail}:
            return heard([{"Keys": {"id": {"S": detail.get("id", "")}}}])
        case {"metric": metric}:
            print(json.dumps(metric))
        case {"mail": request}:
            from botocore.session import Session
            Session().create_client("ses").send_raw_email(**request)
        case {"put": request, "protocol": protocol}:
            from botocore.session import Session
            client = Session().create_client("s3")
            def tell(request, **_):
                request.headers["x-forwarded-proto"] = protocol
            client.meta.events.register("before-sign.s3", tell)
            client.put_object(**request)
        case {"requestContext": {"identity": identity}, "body": body}:
            return json.loads(body or "null") or {"statusCode": 200, "body": identity["sourceIp"]}
        case {"put": request}:
            from botocore.session import Session
            Session().create_client("s3").put_object(**request)
    return {"pid": os.getpid(), "calls": calls, "botocore": importlib.util.find_spec("botocore") is not None}
"""
TRUST = {"Effect": "Allow", "Principal": {"Service": ["lambda.amazonaws.com", "states.amazonaws.com"]}}
type Statement = dict[str, Any]


class Cloud:
    """Makes functions, roles and workflows with unused names, and removes them."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.functions = stack.client("lambda")
        self.workflows = stack.client("stepfunctions")
        self._made: list[Callable[[], Any]] = []

    def role(self, *statements: Statement) -> str:
        """Make a role with the statements' permissions and return the role's ARN."""
        iam, name = self.stack.client("iam"), f"test-{uuid.uuid4().hex[:12]}"
        trust = json.dumps({"Version": "2012-10-17", "Statement": [TRUST | {"Action": "sts:AssumeRole"}]})
        arn: str = iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)["Role"]["Arn"]
        if statements:
            policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
            iam.put_role_policy(RoleName=name, PolicyName="all", PolicyDocument=policy)
        return arn

    def function(
        self,
        *statements: Statement,
        layers: list[str] | None = None,
        environment: dict[str, str] | None = None,
    ) -> str:
        """Make a function from FUNCTION with the statements' permissions and return the function's ARN."""
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as files:
            files.writestr("app.py", FUNCTION)
        made = self.functions.create_function(
            FunctionName=f"test-{uuid.uuid4().hex[:12]}",
            Runtime="python3.13",
            Handler="app.handler",
            Role=self.role(*statements),
            Code={"ZipFile": archive.getvalue()},
            Layers=layers or [],
            Environment={"Variables": environment or {}},
            Timeout=20,
        )
        arn: str = made["FunctionArn"]
        self._made.append(lambda: self.functions.delete_function(FunctionName=arn))
        return arn

    def aws_layer(self) -> str:
        """Return the ARN of the deployed layer with botocore."""
        layers = self.functions.list_layers()["Layers"]
        [arn] = [layer["LatestMatchingVersion"]["LayerVersionArn"] for layer in layers if "-aws-" in layer["LayerName"]]
        return str(arn)

    def call(self, function: str, event: dict[str, Any]) -> dict[str, Any]:
        """Return the function's answer, or its error as AWS reports the error."""
        answer = self.functions.invoke(FunctionName=function, Payload=json.dumps(event))
        parsed: dict[str, Any] = json.loads(answer["Payload"].read())
        return parsed

    def run(self, function: str, event: dict[str, Any], *statements: Statement, retry: str) -> dict[str, Any]:
        """Return the end of an execution that calls the function, and again after an error named `retry`."""
        retries = [{"ErrorEquals": [retry], "IntervalSeconds": 1, "MaxAttempts": 2}]
        task = {"Type": "Task", "Resource": function, "Retry": retries, "End": True}
        machine = self.workflows.create_state_machine(
            name=f"test-{uuid.uuid4().hex[:12]}",
            definition=json.dumps({"StartAt": "Call", "States": {"Call": task}}),
            roleArn=self.role(*statements),
        )["stateMachineArn"]
        self._made.append(lambda: self.workflows.delete_state_machine(stateMachineArn=machine))
        execution = self.workflows.start_execution(stateMachineArn=machine, input=json.dumps(event))["executionArn"]
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            end: dict[str, Any] = self.workflows.describe_execution(executionArn=execution)
            if end["status"] != "RUNNING":
                return end
            time.sleep(0.05)
        raise AssertionError(f"the execution still runs: {end}")

    def api(self, function: str) -> str:
        """Make an API with a single path to the function and return the API's address."""
        gateway = self.stack.client("apigateway")
        api = gateway.create_rest_api(name=f"test-{uuid.uuid4().hex[:12]}")["id"]
        self._made.append(lambda: gateway.delete_rest_api(restApiId=api))
        root = gateway.get_resources(restApiId=api)["items"][0]["id"]
        path = gateway.create_resource(restApiId=api, parentId=root, pathPart="one")["id"]
        gateway.put_method(restApiId=api, resourceId=path, httpMethod="POST", authorizationType="NONE")
        gateway.put_integration(
            restApiId=api,
            resourceId=path,
            httpMethod="POST",
            type="AWS_PROXY",
            integrationHttpMethod="POST",
            uri=f"arn:aws:apigateway:us-west-2:lambda:path/2015-03-31/functions/{function}/invocations",
        )
        gateway.create_deployment(restApiId=api, stageName="test")
        return f"{self.stack.endpoint_url}/_aws/execute-api/{api}/test/one"

    def queue(self) -> str:
        """Make a queue; return its address."""
        queues = self.stack.client("sqs")
        url: str = queues.create_queue(QueueName=f"test-{uuid.uuid4().hex[:12]}")["QueueUrl"]
        self._made.append(lambda: queues.delete_queue(QueueUrl=url))
        return url

    def total(self, namespace: str, metric: str, dimension: str, value: str) -> float:
        """Return the sum of a metric since an hour ago."""
        now = datetime.now(UTC)
        points = self.stack.client("cloudwatch").get_metric_statistics(
            Namespace=namespace,
            MetricName=metric,
            Dimensions=[{"Name": dimension, "Value": value}],
            StartTime=now - timedelta(hours=1),
            EndTime=now + timedelta(days=30),  # earlier tests may have moved the clock of metrics on
            Period=60,
            Statistics=["Sum"],
        )["Datapoints"]
        return float(sum(point["Sum"] for point in points))

    def remove_later(self, removal: Callable[[], Any]) -> None:
        """Have `removal` called at the end, before the removals registered earlier."""
        self._made.append(removal)

    def remove(self) -> None:
        for removal in reversed(self._made):
            removal()
