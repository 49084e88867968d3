"""Guards of the deployed stack, checked for every resource of a kind, whoever adds the resource.

The local emulator accepts and drops most of these properties, so only the transformed template can show them.
"""

import json
import re
from typing import Any

import pytest

from scripts.transformed import written
from tests.template import of_type, properties, resources

type Json = Any

# Kinds of resources with policies: the policy's kind and naming property, and the refused action and resources.
# SNS takes no `sns:*`.
SHARED = {
    "AWS::S3::Bucket": ("AWS::S3::BucketPolicy", "Bucket", "s3:*", ("<{}.Arn>", "<{}.Arn>/*")),
    "AWS::SQS::Queue": ("AWS::SQS::QueuePolicy", "Queues", "sqs:*", ("<{}.Arn>",)),
    "AWS::SNS::Topic": ("AWS::SNS::TopicPolicy", "Topics", "sns:Publish", ("<{}>",)),
}


def _listed(value: Json) -> list[Json]:
    return value if isinstance(value, list) else [value]


def _statements(name: str) -> list[dict[str, Json]]:
    """Return the statements of the single policy of a bucket, queue or topic."""
    kind, member, _, _ = SHARED[resources()[name]["Type"]]
    [policy] = [each for each in of_type(kind).values() if f"<{name}>" in _listed(each[member])]
    statements: list[dict[str, Json]] = policy["PolicyDocument"]["Statement"]
    return statements


SHARED_NAMES = [name for kind in SHARED for name in of_type(kind)]


@pytest.mark.parametrize("name", SHARED_NAMES)
def test_everything_shared_is_for_tls_only(name: str) -> None:
    """Every bucket, queue and topic refuses every action of every caller over plain HTTP."""
    _, _, action, forms = SHARED[resources()[name]["Type"]]
    refusals = [each for each in _statements(name) if each["Effect"] == "Deny"]
    refused = {
        "Principal": "*",
        "Action": action,
        "Resource": {form.format(name) for form in forms},
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    assert [
        each for each in refusals if {**each, "Resource": set(_listed(each["Resource"]))}.items() >= refused.items()
    ]


@pytest.mark.parametrize("name", SHARED_NAMES)
def test_nothing_shared_is_open_to_other_accounts(name: str) -> None:
    """The policy of a bucket, queue or topic lets in only services of AWS, acting for this account or for a resource of
    the stack."""
    for each in _statements(name):
        if each["Effect"] == "Allow":
            acting_for = {key: value for test in each["Condition"].values() for key, value in test.items()}
            assert set(each["Principal"]) == {"Service"}
            assert acting_for.get("aws:SourceAccount") == "123456789012" or acting_for["aws:SourceArn"].startswith("<")


@pytest.mark.parametrize("name", sorted(of_type("AWS::DynamoDB::Table").keys() - {"Counters"}))
def test_tables_are_safe(name: str) -> None:
    """Every table is billed by request, encrypted, and can be restored to any second of the last 35 days. Only the
    counters of sources are in no backup (test_template.py::test_the_counters_are_soon_forgotten)."""
    table = properties(name)
    assert table["BillingMode"] == "PAY_PER_REQUEST"
    assert table["SSESpecification"] == {"SSEEnabled": True}
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}


@pytest.mark.parametrize("name", of_type("AWS::S3::Bucket"))
def test_buckets_are_safe(name: str) -> None:
    """Every bucket is encrypted, keeps versions, and can never be made public."""
    bucket = properties(name)
    [rule] = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"] in {"AES256", "aws:kms"}
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    assert list(bucket["PublicAccessBlockConfiguration"].values()) == [True] * 4


@pytest.mark.parametrize("name", of_type("AWS::SQS::Queue"))
def test_queues_are_safe(name: str) -> None:
    """Every queue is encrypted, and keeps messages for 14 days, the most that SQS allows; addresses that strangers
    typed are kept shorter (test_template.py::test_the_worker_of_typed_addresses_is_bounded)."""
    assert properties(name)["SqsManagedSseEnabled"] is True
    if not name.startswith("Address"):
        assert properties(name)["MessageRetentionPeriod"] == 14 * 24 * 3600


@pytest.mark.parametrize("name", of_type("AWS::SNS::Topic"))
def test_topics_can_be_published_to(name: str) -> None:
    """No topic uses AWS's own SNS key, which CloudWatch and SES may not use: their messages would be lost."""
    assert properties(name).get("KmsMasterKeyId") != "alias/aws/sns"


@pytest.mark.parametrize("name", of_type("AWS::Logs::LogGroup"))
def test_logs_end(name: str) -> None:
    """Every log group drops its lines after 14 days."""
    assert properties(name)["RetentionInDays"] == 14


def test_nothing_logs_where_logs_never_end() -> None:
    """Everything that writes logs writes to a log group of the template: otherwise the service would create a log group
    that keeps its lines for ever."""
    groups = {f"<{name}>" for name in of_type("AWS::Logs::LogGroup")}
    functions = {name: each["LoggingConfig"]["LogGroup"] for name, each in of_type("AWS::Lambda::Function").items()}
    assert [name for name, group in functions.items() if group not in groups] == []
    assert len(set(functions.values())) == len(functions)
    arns = {f"{group[:-1]}.Arn>" for group in groups}
    for machine in of_type("AWS::StepFunctions::StateMachine").values():
        for destination in machine["LoggingConfiguration"]["Destinations"]:
            assert destination["CloudWatchLogsLogGroup"]["LogGroupArn"] in arns
    names = {each["LogGroupName"] for each in of_type("AWS::Logs::LogGroup").values()}
    for stage in of_type("AWS::ApiGateway::Stage").values():
        if "AccessLogSetting" in stage:  # the customer page has no access log, since its addresses hold tokens
            assert stage["AccessLogSetting"]["DestinationArn"] in arns
        assert f"API-Gateway-Execution-Logs_{stage['RestApiId']}/{stage['StageName']}" in names
        # The stage names the group, so that the group is made first.
        assert stage["Variables"]["ExecutionLogs"] in groups


def test_no_request_or_token_is_logged_by_the_api() -> None:
    """API Gateway logs that a request came, but never its body or headers, nor the path of a link to a receipt or to
    the customer page. No stage is traced, since X-Ray keeps whole addresses."""
    for name, stage in of_type("AWS::ApiGateway::Stage").items():
        assert [each for each in stage["MethodSettings"] if each.get("DataTraceEnabled")] == []
        with_tokens = "receipts" if name == "SubscriptionApiprodStage" else "/*"
        settings = [each for each in stage["MethodSettings"] if with_tokens in each["ResourcePath"]]
        assert [each["LoggingLevel"] for each in settings] == ["ERROR"]
        assert "TracingEnabled" not in stage
        assert "$context.path" not in json.dumps(stage.get("AccessLogSetting"))


def test_every_way_in_is_throttled() -> None:
    """Every method of every stage has a limit of requests a second and of requests at once, and the open paths to
    receipts and to the customer page have a lower limit."""
    for name, stage in of_type("AWS::ApiGateway::Stage").items():
        assert stage["MethodSettings"][0]["HttpMethod"] == "*"
        bounds = {
            each["ResourcePath"]: (each["ThrottlingRateLimit"], each["ThrottlingBurstLimit"])
            for each in stage["MethodSettings"]
        }
        open_to_all = (20, 40)
        is_of_customers = name == "AccountApiprodStage"
        ours = {"/*": (200, 400), "/~1receipts~1{token+}": open_to_all}
        assert bounds == ({"/*": open_to_all} if is_of_customers else ours)


def test_no_secret_is_in_the_open() -> None:
    """A secret's value stands in the secret alone, and in no variable, output or tag."""
    hidden = {name for name, each in written()["Parameters"].items() if each.get("NoEcho")}
    assert hidden
    naming = re.compile(r"\b(" + "|".join(hidden) + r")\b|resolve:secretsmanager")
    others = {
        name: each for name, each in written()["Resources"].items() if each["Type"] != "AWS::SecretsManager::Secret"
    }
    assert not naming.search(json.dumps([others, written()["Globals"], written()["Outputs"]]))


def test_functions_answer_to_this_stack_alone() -> None:
    """Only services of AWS may call a function without a role, on behalf of a named resource, and no function has an
    address of its own."""
    assert of_type("AWS::Lambda::Url") == {}
    for permission in of_type("AWS::Lambda::Permission").values():
        assert permission["Principal"].endswith(".amazonaws.com")
        assert "SourceArn" in permission
