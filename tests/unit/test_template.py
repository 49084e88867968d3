"""The promises of template.yaml, asserted on SAM's transformed template: the local emulator drops many of these
settings."""

import json
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore import xform_name

from event_deliverer import posting
from gateway_worker.app import MOST_TRIES
from layers.aws.prune_botocore import CALLS
from renewal_audit.findings import Difference
from scripts.openapi import document as api_document
from scripts.transformed import transformed, written

ROOT = Path(__file__).parents[2]
# The values differ from the defaults, so that the tests find a name that ignores its parameter.
GIVEN = {
    "ProjectName": "acme",
    "Environment": "qa",
    "SenderEmail": "bills@acme.test",
    "PaymentGatewayApiKey": "sk_x",
    "BusinessTimeZone": "Asia/Kolkata",
}
PSEUDO = {
    "AWS::AccountId": "123456789012",
    "AWS::Region": "eu-test-1",
    "AWS::Partition": "aws",
    "AWS::URLSuffix": "amazonaws.com",
    "AWS::StackName": "stack",
}
# The functions refer to the workflow by name: a reference would close a circle, because the workflow's mails link to
# the API, and CloudFormation makes the API after its functions.
WORKFLOW = "arn:aws:states:eu-test-1:123456789012:stateMachine:acme-renewal-workflow-qa"
RETAINED = {"DeletionPolicy": "RetainExceptOnCreate", "UpdateReplacePolicy": "Retain"}

type Json = Any


@cache
def template() -> dict[str, Json]:
    """template.yaml as written, with its short-form functions spelled out."""
    return written()


@cache
def resources() -> dict[str, Json]:
    """Return the transformed resources with their parameters filled in; a reference to a resource reads `<Name>` or
    `<Name.Arn>`."""
    resolved: dict[str, Json] = _resolve(transformed(PSEUDO["AWS::Region"], dict(GIVEN))["Resources"])
    return resolved


def properties(name: str) -> dict[str, Json]:
    found: dict[str, Json] = resources()[name]["Properties"]
    return found


def of_type(kind: str) -> dict[str, Json]:
    return {name: each["Properties"] for name, each in resources().items() if each["Type"] == kind}


def _resolve(node: Json) -> Json:
    if isinstance(node, list):
        return [found for found in map(_resolve, node) if found != "<AWS::NoValue>"]
    if not isinstance(node, dict):
        return node
    if set(node) == {"Ref"}:
        return _value(node["Ref"])
    if set(node) == {"Fn::GetAtt"}:
        path = node["Fn::GetAtt"]
        return f"<{path if isinstance(path, str) else '.'.join(path)}>"
    if set(node) == {"Fn::If"}:
        condition, then, otherwise = node["Fn::If"]
        return _resolve(then if _holds(template()["Conditions"][condition]) else otherwise)
    if set(node) == {"Fn::Sub"}:
        text, names = node["Fn::Sub"] if isinstance(node["Fn::Sub"], list) else (node["Fn::Sub"], {})
        known = {name: _resolve(value) for name, value in names.items()}
        return re.sub(r"\$\{([^}!]+)\}", lambda found: str(known.get(found[1]) or _value(found[1])), text)
    return {key: _resolve(value) for key, value in node.items() if value != {"Ref": "AWS::NoValue"}}


def _holds(condition: Json) -> bool:
    if "Fn::Not" in condition:
        return not _holds(condition["Fn::Not"][0])
    one, other = (_resolve(each) for each in condition["Fn::Equals"])
    return bool(one == other)


def _value(name: str) -> str:
    declared = template()["Parameters"].get(name)
    if declared is None:
        return PSEUDO.get(name) or f"<{name}>"
    return str(GIVEN.get(name, declared["Default"]))


# --- the original system, resource by resource ------------------------------------------------------------------

ACCESS_LOG = {
    "requestId": "$context.requestId",
    "ip": "$context.identity.sourceIp",
    "caller": "$context.identity.caller",
    "user": "$context.identity.user",
    "requestTime": "$context.requestTime",
    "httpMethod": "$context.httpMethod",
    "resourcePath": "$context.resourcePath",
    "status": "$context.status",
    "protocol": "$context.protocol",
    "responseLength": "$context.responseLength",
}


def _alarm(name: str, description: str, metric: str, threshold: int, dimensions: dict[str, str]) -> dict[str, Json]:
    namespace, _, metric_name = metric.rpartition("/")
    return {
        "Type": "AWS::CloudWatch::Alarm",
        "AlarmName": f"acme-{name}-qa",
        "AlarmDescription": description,
        "Namespace": namespace,
        "MetricName": metric_name,
        "Dimensions": [{"Name": key, "Value": value} for key, value in dimensions.items()],
        "Statistic": "Sum",
        "Period": 300,
        "EvaluationPeriods": 1,
        "Threshold": threshold,
        "ComparisonOperator": "GreaterThanThreshold",
        "TreatMissingData": "notBreaching",
    }


def _function(name: str, memory: int) -> dict[str, Json]:
    return {
        "Type": "AWS::Lambda::Function",
        "FunctionName": f"acme-{name}-qa",
        "Handler": "index.handler",
        "Runtime": "nodejs20.x",
        "Timeout": 30,
        "MemorySize": memory,
    }


def _log_group(name: str) -> dict[str, Json]:
    return {"Type": "AWS::Logs::LogGroup", "LogGroupName": name, "RetentionInDays": 14}


ORIGINAL: dict[str, dict[str, Json]] = {
    "Subscriptions": {
        "Type": "AWS::DynamoDB::Table",
        "TableName": "acme-subscriptions-qa",
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [
            {"AttributeName": "subscription_id", "AttributeType": "S"},
            {"AttributeName": "customer_id", "AttributeType": "S"},
            {"AttributeName": "renewal_date", "AttributeType": "S"},
        ],
        "KeySchema": [
            {"AttributeName": "subscription_id", "KeyType": "HASH"},
            {"AttributeName": "customer_id", "KeyType": "RANGE"},
        ],
        "GlobalSecondaryIndexes": [
            {
                "IndexName": "renewal-date-index",
                "KeySchema": [{"AttributeName": "renewal_date", "KeyType": "HASH"}],
                "Projection": {"ProjectionType": "ALL"},
            }
        ],
        "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True},
        "SSESpecification": {"SSEEnabled": True},
    },
    "Receipts": {
        "Type": "AWS::S3::Bucket",
        "BucketName": "acme-receipts-qa-123456789012",
        "VersioningConfiguration": {"Status": "Enabled"},
        "BucketEncryption": {
            "ServerSideEncryptionConfiguration": [{"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
        },
        "PublicAccessBlockConfiguration": {
            "BlockPublicAcls": True,
            "BlockPublicPolicy": True,
            "IgnorePublicAcls": True,
            "RestrictPublicBuckets": True,
        },
        "LifecycleConfiguration": {
            "Rules": [
                {
                    "Id": "archive-old-receipts",
                    "Status": "Enabled",
                    "Transitions": [{"TransitionInDays": 90, "StorageClass": "GLACIER"}],
                    "ExpirationInDays": 2555,
                }
            ]
        },
    },
    "PaymentGatewaySecret": {
        "Type": "AWS::SecretsManager::Secret",
        "Name": "acme-payment-gateway-qa",
        "Description": "Payment gateway API credentials",
        "SecretString": {
            "api_key": "sk_x",
            "api_secret": "placeholder-api-secret",
            "endpoint": "https://api.paymentgateway.com",
        },
    },
    "Sender": {"Type": "AWS::SES::EmailIdentity", "EmailIdentity": "bills@acme.test"},
    "ReceiptsConfigurationSet": {"Type": "AWS::SES::ConfigurationSet", "Name": "acme-receipts-qa"},
    "ReceiptsEventDestination": {
        "Type": "AWS::SES::ConfigurationSetEventDestination",
        "ConfigurationSetName": "<ReceiptsConfigurationSet>",
        "EventDestination": {
            "Name": "cloudwatch-destination",
            "Enabled": True,
            "MatchingEventTypes": ["send", "reject", "bounce", "complaint", "delivery"],
            "CloudWatchDestination": {
                "DimensionConfigurations": [
                    {
                        "DefaultDimensionValue": "default",
                        "DimensionName": "ses:configuration-set",
                        "DimensionValueSource": "messageTag",
                    }
                ]
            },
        },
    },
    "StepFunctionsRole": {"Type": "AWS::IAM::Role", "RoleName": "acme-stepfunctions-execution-qa"},
    "ApiGatewayCloudWatchRole": {
        "Type": "AWS::IAM::Role",
        "RoleName": "acme-apigateway-cloudwatch-qa",
        "ManagedPolicyArns": ["arn:aws:iam::aws:policy/service-role/AmazonAPIGatewayPushToCloudWatchLogs"],
    },
    "ProcessPayment": _function("process-payment", 512),
    "GenerateReceipt": _function("generate-receipt", 512),
    "SendEmail": _function("send-email", 256),
    "WebhookHandler": _function("webhook-handler", 256),
    "WebhookHandlerWebhookPermissionprod": {
        "Type": "AWS::Lambda::Permission",
        "Action": "lambda:InvokeFunction",
        "FunctionName": "<WebhookHandler>",
        "Principal": "apigateway.amazonaws.com",
        "SourceArn": "arn:aws:execute-api:eu-test-1:123456789012:<SubscriptionApi>/*/*",
    },
    "RenewalWorkflow": {
        "Type": "AWS::StepFunctions::StateMachine",
        "StateMachineName": "acme-renewal-workflow-qa",
        "StateMachineType": "EXPRESS",
        "RoleArn": "<StepFunctionsRole.Arn>",
        "LoggingConfiguration": {
            "Level": "ALL",
            "IncludeExecutionData": True,
            "Destinations": [{"CloudWatchLogsLogGroup": {"LogGroupArn": "<StepFunctionsLogs.Arn>"}}],
        },
    },
    "SubscriptionApi": {
        "Type": "AWS::ApiGateway::RestApi",
        "Name": "acme-api-qa",
        "Description": "API for subscription payment webhooks",
        "EndpointConfiguration": {"Types": ["REGIONAL"]},
    },
    "SubscriptionApiprodStage": {
        "Type": "AWS::ApiGateway::Stage",
        "StageName": "prod",
        "RestApiId": "<SubscriptionApi>",
        "AccessLogSetting": {"DestinationArn": "<ApiGatewayLogs.Arn>", "Format": ACCESS_LOG},
        "MethodSettings": [{"ResourcePath": "/*", "HttpMethod": "*", "MetricsEnabled": True, "LoggingLevel": "INFO"}],
    },
    "ApiGatewayAccount": {"Type": "AWS::ApiGateway::Account", "CloudWatchRoleArn": "<ApiGatewayCloudWatchRole.Arn>"},
    "ApiGatewayLogs": _log_group("/aws/apigateway/acme-qa"),
    "StepFunctionsLogs": _log_group("/aws/vendedlogs/states/acme-qa"),
    "ProcessPaymentLogs": _log_group("/aws/lambda/acme-process-payment-qa"),
    "GenerateReceiptLogs": _log_group("/aws/lambda/acme-generate-receipt-qa"),
    "SendEmailLogs": _log_group("/aws/lambda/acme-send-email-qa"),
    "WebhookHandlerLogs": _log_group("/aws/lambda/acme-webhook-handler-qa"),
    "LambdaErrorsAlarm": _alarm(
        "lambda-errors",
        "Alert when Lambda functions have more than 5 errors in 5 minutes",
        "AWS/Lambda/Errors",
        5,
        {"FunctionName": "<ProcessPayment>"},
    ),
    "StepFunctionsFailedAlarm": _alarm(
        "stepfunctions-failed",
        "Alert when Step Functions executions fail",
        "AWS/States/ExecutionsFailed",
        10,
        {"StateMachineArn": "<RenewalWorkflow>"},
    ),
    "ApiGateway5xxAlarm": _alarm(
        "api-5xx-errors",
        "Alert when API Gateway returns more than 10 5xx errors in 5 minutes",
        "AWS/ApiGateway/5XXError",
        10,
        {"ApiName": "acme-api-qa", "Stage": "prod"},
    ),
}

RUNBOOK = "What to do is in docs/runbook.md#"
DIFFERENCES: dict[tuple[str, str], tuple[Json, str]] = {
    **{
        (name, "AlarmDescription"): (
            f"{ORIGINAL[name]['AlarmDescription']}. {RUNBOOK}{ORIGINAL[name]['AlarmName'][5:-3]}",
            "the alarm says where to read on",
        )
        for name in ("LambdaErrorsAlarm", "StepFunctionsFailedAlarm", "ApiGateway5xxAlarm")
    },
    ("Subscriptions", "GlobalSecondaryIndexes"): (
        [
            {
                "IndexName": "renewal-date-index",
                "KeySchema": [
                    {"AttributeName": "renewal_date", "KeyType": "HASH"},
                    {"AttributeName": "subscription_id", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "ALL"},
            },
            {
                "IndexName": "customer-index",
                "KeySchema": [
                    {"AttributeName": "customer_id", "KeyType": "HASH"},
                    {"AttributeName": "subscription_id", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "ALL"},
            },
            {
                "IndexName": "payment-method-index",
                "KeySchema": [
                    {"AttributeName": "payment_method", "KeyType": "HASH"},
                    {"AttributeName": "subscription_id", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            },
        ],
        "a range key lets DynamoDB split a busy date, whose writes would all meet one partition's limit; the API lists "
        "the subscriptions of a customer; the gateway's event of a detached card names the card alone",
    ),
    ("Subscriptions", "AttributeDefinitions"): (
        [
            {"AttributeName": "subscription_id", "AttributeType": "S"},
            {"AttributeName": "customer_id", "AttributeType": "S"},
            {"AttributeName": "renewal_date", "AttributeType": "S"},
            {"AttributeName": "payment_method", "AttributeType": "S"},
        ],
        "an index leads from a card to its subscriptions",
    ),
    ("SubscriptionApiprodStage", "MethodSettings"): (
        [
            {
                "ResourcePath": "/*",
                "HttpMethod": "*",
                "MetricsEnabled": True,
                "LoggingLevel": "INFO",
                "ThrottlingRateLimit": 200,
                "ThrottlingBurstLimit": 400,
            },
            {
                "ResourcePath": "/~1receipts~1{token+}",
                "HttpMethod": "GET",
                "MetricsEnabled": True,
                "LoggingLevel": "ERROR",
                "ThrottlingRateLimit": 20,
                "ThrottlingBurstLimit": 40,
            },
        ],
        "one caller cannot take all that the account's other APIs may, and nobody guesses at receipts",
    ),
    ("Receipts", "LifecycleConfiguration"): (
        {
            "Rules": [
                {
                    "Id": "archive-old-receipts",
                    "Status": "Enabled",
                    "Transitions": [{"TransitionInDays": 90, "StorageClass": "GLACIER_IR"}],
                    "ExpirationInDays": 2555,
                    "NoncurrentVersionExpiration": {"NoncurrentDays": 30},
                    "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
                },
                {"Id": "remove-expired-delete-markers", "Status": "Enabled", "ExpiredObjectDeleteMarker": True},
            ]
        },
        "an old receipt opens at once; versioning would keep what expired for ever",
    ),
    ("PaymentGatewaySecret", "SecretString"): (
        {
            "api_key": "sk_x",
            "api_secret": "whsec_{{resolve:secretsmanager:<WebhookSigningSecret.Id>:SecretString}}",
            "endpoint": "https://api.stripe.com",
        },
        "a real gateway, and a signing secret that nobody has to think up",
    ),
    ("WebhookHandlerWebhookPermissionprod", "SourceArn"): (
        "arn:aws:execute-api:eu-test-1:123456789012:<SubscriptionApi>/*/POST/webhook",
        "the one method that exists",
    ),
    **{
        (name, "Runtime"): ("python3.13", "the functions are in Python")
        for name in ("ProcessPayment", "GenerateReceipt", "SendEmail", "WebhookHandler")
    },
    **{
        (name, "Handler"): (f"{folder}.app.handler", "a folder under src/ for every function, beside the shared code")
        for name, folder in {
            "ProcessPayment": "process_payment",
            "GenerateReceipt": "generate_receipt",
            "SendEmail": "send_email",
            "WebhookHandler": "webhook_handler",
        }.items()
    },
}


@pytest.mark.parametrize("name", ORIGINAL)
def test_every_setting_of_the_original_is_there(name: str) -> None:
    """Every resource of the original system has every property with the original's value, or with the value stated in
    DIFFERENCES."""
    ours = {"Type": resources()[name]["Type"], **properties(name)}
    for setting, original in ORIGINAL[name].items():
        value = ours[setting]
        if (name, setting) == ("PaymentGatewaySecret", "SecretString"):
            value = json.loads(value)
        if (name, setting) == ("SubscriptionApiprodStage", "AccessLogSetting"):
            value = {**value, "Format": json.loads(value["Format"])}
        expected, why = DIFFERENCES.get((name, setting), (original, "as in the original"))
        assert value == expected, f"{name}.{setting}: {why}"


@pytest.mark.parametrize(("name", "setting"), DIFFERENCES)
def test_every_difference_from_the_original_is_one(name: str, setting: str) -> None:
    """Every stated difference names a setting of the original and gives a different value: a stale difference would
    excuse anything."""
    assert DIFFERENCES[name, setting][0] != ORIGINAL[name][setting]


@pytest.mark.parametrize(
    ("name", "default", "hidden"),
    [
        ("ProjectName", "subscription-mgmt", False),
        ("Environment", "prod", False),
        ("SenderEmail", "noreply@example.com", False),
        ("PaymentGatewayApiKey", "placeholder-api-key", True),
        ("PaymentGatewayEndpoint", "https://api.stripe.com", False),
        ("DunningDays", "1,3,5,7", False),
        ("CustomerPageUrl", "", False),
        ("GatewayEventBusName", "", False),
    ],
)
def test_parameters_and_their_defaults(name: str, default: str, hidden: bool) -> None:
    """The parameters have these names and defaults, their patterns admit the defaults, and CloudFormation hides the
    key."""
    declared = template()["Parameters"][name]
    assert (declared["Default"], declared.get("NoEcho", False)) == (default, hidden)
    assert re.fullmatch(declared["AllowedPattern"], default)


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("ProjectName", ["a", "shop-2"], ["Shop", "-shop", "shop-", "a--b", "a_b", ""]),
        ("Environment", ["dev", "qa-2"], ["Dev", "qa-", "q.a", ""]),
        ("SenderEmail", ["a+b@x.test"], ["a", "A <a@b.test>", 'a"@b.test', "a b@c.test", ""]),
        ("PaymentGatewayApiKey", ["sk_live_51Ab"], ['a"b', "a\\b", "a b", "a\nb", "{{resolve:x}}", ""]),
        (
            "PaymentGatewayEndpoint",
            ["https://gw.test:8443", "http://127.0.0.1:4571", "http://localhost:80"],
            ["http://gw.test:80", "https://gw.test/v1", 'https://a"b', "http://127.0.0.1:1@gw.test", "ftp://gw.test"],
        ),
        ("SellerAddress", ["", "1 Main Street, 12345 City", "1 Rue\nParis"], ["1", "Hauptstraße", " ", "1 "]),
        ("DunningDays", ["1", "2,30", "1,2,3,4,5,6,7,8"], ["", "0", "31", "1,", "1;2", "-1", "1,2,3,4,5,6,7,8,9"]),
        (
            "ReceiptLinksUrl",
            ["https://shop.test/receipts", "http://127.0.0.1:4566/_local/receipts"],
            ["https://shop.test/", "http://shop.test/receipts", 'https://a"b', "https://a b/c", "javascript:x"],
        ),
        ("GatewayEventBusName", ["aws.partner/stripe.com/ed_61T"], ["default", "aws.partner/other.com/x", "a b", "*"]),
        ("CustomerPageUrl", ["https://shop.test/account?x=1"], ["http://shop.test", 'https://a"b', "javascript:x"]),
        (
            "BusinessTimeZone",
            ["UTC", "America/Argentina/Buenos_Aires", "America/Port-au-Prince", "Etc/GMT+5"],
            ["", "/etc/localtime", "../UTC", "Europe/", "Europe Berlin"],
        ),
    ],
)
def test_parameters_refuse_what_would_break_a_name_or_the_secret(name: str, good: list[str], bad: list[str]) -> None:
    """No value can end the secret's JSON string, send the key unencrypted to a remote machine, or spoil a name."""
    pattern = template()["Parameters"][name]["AllowedPattern"]
    assert [value for value in good if not re.search(pattern, value)] == []
    assert [value for value in bad if re.fullmatch(pattern, value)] == []


def test_the_longest_names_are_allowed_by_aws() -> None:
    """With the longest project and environment that the parameters admit, all names are within AWS's limits."""
    longest = {name: template()["Parameters"][name]["MaxLength"] for name in ("ProjectName", "Environment")}
    spare = sum(longest.values()) - len("acme") - len("qa")
    for kind, setting, limit in (
        ("AWS::IAM::Role", "RoleName", 64),
        ("AWS::Lambda::Function", "FunctionName", 64),
        ("AWS::S3::Bucket", "BucketName", 63),
        ("AWS::SQS::Queue", "QueueName", 80),
        ("AWS::Scheduler::Schedule", "Name", 64),
    ):
        assert max(len(each[setting]) for each in of_type(kind).values()) + spare <= limit


# --- additions to the original ----------------------------------------------------------------------------------


def test_the_ledger() -> None:
    """The renewals table has one item for every subscription and billing period, a sparse index of unfinished renewals
    and a sparse index of charged renewals."""
    table = properties("Renewals")
    assert table["TableName"] == "acme-renewals-qa"
    assert table["KeySchema"] == [
        {"AttributeName": "subscription_id", "KeyType": "HASH"},
        {"AttributeName": "renewal_date", "KeyType": "RANGE"},
    ]
    assert table["GlobalSecondaryIndexes"] == [
        {
            "IndexName": "unfinished-index",
            "KeySchema": [
                {"AttributeName": "unfinished", "KeyType": "HASH"},
                {"AttributeName": "touched_at", "KeyType": "RANGE"},
            ],
            "Projection": {"ProjectionType": "ALL"},
        },
        {
            "IndexName": "charged-on-index",
            "KeySchema": [
                {"AttributeName": "charged_on", "KeyType": "HASH"},
                {"AttributeName": "charged_at", "KeyType": "RANGE"},
            ],
            "Projection": {"ProjectionType": "KEYS_ONLY"},
        },
    ]


def test_the_changes() -> None:
    """The changes table has an item for every change and every stored answer, and deletes an item after its
    `expires_at`."""
    table = properties("Changes")
    assert table["TableName"] == "acme-changes-qa"
    assert table["KeySchema"] == [
        {"AttributeName": "subscription_id", "KeyType": "HASH"},
        {"AttributeName": "change", "KeyType": "RANGE"},
    ]
    assert table["TimeToLiveSpecification"] == {"AttributeName": "expires_at", "Enabled": True}


@pytest.mark.parametrize(
    "name",
    [
        *of_type("AWS::DynamoDB::Table"),
        *of_type("AWS::S3::Bucket"),
        *of_type("AWS::S3::BucketPolicy"),
        *of_type("AWS::SecretsManager::Secret"),
        "ApiGatewayAccount",
        "ApiGatewayCloudWatchRole",
        *of_type("AWS::SES::EmailIdentity"),
    ],
)
def test_what_outlives_the_stack(name: str) -> None:
    """Data, secrets, API Gateway's logging role and the sender's identity outlive the stack; a failed creation of the
    stack still removes them."""
    assert {key: resources()[name].get(key) for key in RETAINED} == RETAINED


def test_the_signing_secret_is_valid_base64() -> None:
    """The characters left to the generated secret are ASCII's letters and digits, and its length is 44: whole
    base64."""
    generated = properties("WebhookSigningSecret")["GenerateSecretString"]
    left = {chr(code) for code in range(33, 127)} - set(generated["ExcludeCharacters"])
    assert all(each.isalnum() for each in left)
    assert len(left) == 62
    assert generated == {"PasswordLength": 44, "ExcludePunctuation": True} | {
        "ExcludeCharacters": generated["ExcludeCharacters"]
    }


def test_the_webhook_has_a_secret_of_its_own() -> None:
    """The webhook handler's secret holds the signing secret and nothing else. CloudFormation copies the value from the
    gateway secret when the webhook's secret is made, and an older stack keeps the signing secret of its senders."""
    composed = json.loads(properties("WebhookSecret")["SecretString"])
    assert composed == {"signing": "{{resolve:secretsmanager:<PaymentGatewaySecret.Id>:SecretString:api_secret}}"}


def test_functions_get_their_settings() -> None:
    """Every function gets exactly the environment variables read by its code."""
    everyone = {
        "ENVIRONMENT": "qa",
        "POWERTOOLS_SERVICE_NAME": "acme-qa",
        "POWERTOOLS_METRICS_NAMESPACE": "acme",
        "POWERTOOLS_LOG_LEVEL": "INFO",
    }
    own = {
        "ProcessPayment": {
            "DYNAMODB_TABLE": "<Subscriptions>",
            "RENEWALS_TABLE": "<Renewals>",
            "CHANGES_TABLE": "<Changes>",
            "SECRETS_MANAGER_ARN": "<PaymentGatewaySecret.Id>",
            "PROJECT_NAME": "acme",
            "DEPLOYMENT": "stack/123456789012/eu-test-1",
            "TIME_ZONE": "Asia/Kolkata",
            "REMINDER_DAYS": "7",
            "SELLER_NAME": "Example Ltd",
            "SELLER_ADDRESS": "1 Example Street, 12345 Example City",
            "SELLER_TAX_ID": "",
            "DUNNING_DAYS": "1,3,5,7",
            "DUNNING_ENDS_AS": "canceled",
        },
        "GenerateReceipt": {
            "RENEWALS_TABLE": "<Renewals>",
            "S3_BUCKET": "<Receipts>",
            "TIME_ZONE": "Asia/Kolkata",
        },
        "SendEmail": {
            "DYNAMODB_TABLE": "<Subscriptions>",
            "RENEWALS_TABLE": "<Renewals>",
            "S3_BUCKET": "<Receipts>",
            "SENDER_EMAIL": "bills@acme.test",
            "SELLER_NAME": "Example Ltd",
            "REMINDER_DAYS": "7",
            "SES_CONFIGURATION_SET": "<ReceiptsConfigurationSet>",
            "DUNNING_DAYS": "1,3,5,7",
            "DUNNING_ENDS_AS": "canceled",
            "CUSTOMER_PAGE_URL": "",
            "RECEIPT_LINK_KEY_ARN": "<ReceiptLinkKey.Id>",
            "RECEIPT_LINKS_URL": "https://<SubscriptionApi>.execute-api.eu-test-1.amazonaws.com/prod/receipts",
            "TIME_ZONE": "Asia/Kolkata",
        },
        "WebhookHandler": {
            "STATE_MACHINE_ARN": WORKFLOW,
            "WEBHOOK_SECRET_ARN": "<WebhookSecret.Id>",
        },
        "SubscriptionsApi": {
            "DYNAMODB_TABLE": "<Subscriptions>",
            "RENEWALS_TABLE": "<Renewals>",
            "CHANGES_TABLE": "<Changes>",
            "STATE_MACHINE_ARN": WORKFLOW,
            "S3_BUCKET": "<Receipts>",
            "RECEIPT_LINK_KEY_ARN": "<ReceiptLinkKey.Id>",
            "RECEIPT_LINKS_URL": "",
            "SECRETS_MANAGER_ARN": "<PaymentGatewaySecret.Id>",
            "PROJECT_NAME": "acme",
            "GRACE_DAYS": "7",
            "TIME_ZONE": "Asia/Kolkata",
        },
        "RenewalSweep": {
            "DYNAMODB_TABLE": "<Subscriptions>",
            "RENEWALS_TABLE": "<Renewals>",
            "CHANGES_TABLE": "<Changes>",
            "RENEWAL_QUEUE_URL": "<RenewalQueue>",
            "TIME_ZONE": "Asia/Kolkata",
            "REMINDER_DAYS": "7",
            "RENEWAL_CONCURRENCY": "3",
        },
        "RenewalWorker": {"STATE_MACHINE_ARN": "<RenewalWorkflow>", "RENEWAL_QUEUE_URL": "<RenewalQueue>"},
        "RenewalAudit": {
            "DYNAMODB_TABLE": "<Subscriptions>",
            "RENEWALS_TABLE": "<Renewals>",
            "S3_BUCKET": "<Receipts>",
            "RENEWAL_QUEUE_URL": "<RenewalQueue>",
            "SECRETS_MANAGER_ARN": "<PaymentGatewaySecret.Id>",
            "DEPLOYMENT": "stack/123456789012/eu-test-1",
            "TIME_ZONE": "Asia/Kolkata",
        },
        "GatewayEvents": {
            "DEPLOYMENT": "stack/123456789012/eu-test-1",
            "GATEWAY_EVENTS_SECRET_ARN": "<GatewayEventsSecret.Id>",
            "GATEWAY_EVENTS_QUEUE_URL": "<GatewayEventsQueue>",
        },
        "GatewayWorker": {
            "DEPLOYMENT": "stack/123456789012/eu-test-1",
            "DYNAMODB_TABLE": "<Subscriptions>",
            "RENEWALS_TABLE": "<Renewals>",
            "SECRETS_MANAGER_ARN": "<PaymentGatewaySecret.Id>",
            "STATE_MACHINE_ARN": "<RenewalWorkflow>",
            "GATEWAY_EVENTS_QUEUE_URL": "<GatewayEventsQueue>",
            "TIME_ZONE": "Asia/Kolkata",
            "CHANGES_TABLE": "<Changes>",
            "DISPUTED_SUBSCRIPTIONS": "cancel",
            "REMINDER_DAYS": "7",
        },
        "GatewayCatchUp": {
            "DEPLOYMENT": "stack/123456789012/eu-test-1",
            "S3_BUCKET": "<Receipts>",
            "SECRETS_MANAGER_ARN": "<PaymentGatewaySecret.Id>",
            "GATEWAY_EVENTS_QUEUE_URL": "<GatewayEventsQueue>",
            "TIME_ZONE": "Asia/Kolkata",
        },
        "MailFeedback": {
            "DYNAMODB_TABLE": "<Subscriptions>",
            "RENEWALS_TABLE": "<Renewals>",
            "TIME_ZONE": "Asia/Kolkata",
        },
        "EventDeliverer": {
            "EVENTS_URL": "",
            "EVENTS_SECRET_ARN": "<EventsSecret.Id>",
            "DELIVERIES_QUEUE_URL": "<DeliveriesQueue>",
            "DELIVERIES_TABLE": "<Deliveries>",
            "EVENTS_DEAD_LETTERS_URL": "<EventsDeadLetterQueue>",
        },
        "EventPublisher": {
            "DYNAMODB_TABLE": "<Subscriptions>",
            "RENEWALS_TABLE": "<Renewals>",
            "CHANGES_TABLE": "<Changes>",
            "GRACE_DAYS": "7",
            "EVENT_BUS_NAME": "<EventBus>",
            "DELIVERIES_QUEUE_URL": "",
            "UNREADABLE_QUEUE_URL": "<UnreadableRecordsQueue>",
            "DEPLOYMENT": "stack/123456789012/eu-test-1",
            "TIME_ZONE": "Asia/Kolkata",
        },
    }
    given = {name: each["Environment"]["Variables"] for name, each in of_type("AWS::Lambda::Function").items()}
    assert given == {name: everyone | variables for name, variables in own.items()}


@pytest.mark.parametrize("name", of_type("AWS::Lambda::Function"))
def test_functions_can_be_traced_and_found(name: str) -> None:
    """Every function exists in src/, has a role of its own, is traced, and writes to its own log group, kept for 14
    days."""
    function = properties(name)
    assert (ROOT / "src" / Path(*function["Handler"].split(".")[:-1]).with_suffix(".py")).is_file()
    assert function["Role"] == f"<{name}Role.Arn>"
    assert function["TracingConfig"] == {"Mode": "Active"}
    assert function["LoggingConfig"] == {"LogGroup": f"<{name}Logs>"}
    assert properties(f"{name}Logs")["LogGroupName"] == f"/aws/lambda/{function['FunctionName']}"


def test_the_workflow_is_traced_and_calls_the_three_tasks() -> None:
    """The state machine is traced, and the placeholders of its definition are the payment, receipt and mail
    functions."""
    workflow = properties("RenewalWorkflow")
    assert workflow["TracingConfiguration"] == {"Enabled": True}
    assert workflow["DefinitionSubstitutions"] == {
        f"{name}Arn": f"<{name}.Arn>" for name in ("ProcessPayment", "GenerateReceipt", "SendEmail")
    }
    assert template()["Resources"]["RenewalWorkflow"]["Properties"]["DefinitionUri"] == "statemachine/renewal.asl.json"


ROUTES = {
    ("/webhook", "post"): ("WebhookHandler", "NONE"),
    ("/gateway-events", "post"): ("GatewayEvents", "NONE"),
} | {
    (str(path).replace("{token}", "{token+}"), str(method)): (
        "SubscriptionsApi",
        "NONE" if operation.get("security") == [] else "AWS_IAM",
    )
    for path, methods in api_document()["paths"].items()
    for method, operation in methods.items()
}


def test_the_api_is_these_methods_of_one_stage() -> None:
    """The REST API has the webhook, the gateway's door and exactly the routes of the API's code, passes every request
    unchanged to the function, and has a single, traced stage."""
    paths = properties("SubscriptionApi")["Body"]["paths"]
    assert {(path, method) for path in paths for method in paths[path]} == set(ROUTES)
    for (path, method), (function, _) in ROUTES.items():
        integration = paths[path][method]["x-amazon-apigateway-integration"]
        assert (integration["type"], integration["httpMethod"]) == ("aws_proxy", "POST")
        assert integration["uri"].endswith(f":lambda:path/2015-03-31/functions/<{function}.Arn>/invocations")
        assert "credentials" not in integration  # with credentials a caller needs lambda:InvokeFunction
    assert "x-amazon-apigateway-binary-media-types" not in properties("SubscriptionApi")["Body"]
    assert list(of_type("AWS::ApiGateway::Stage")) == ["SubscriptionApiprodStage"]
    assert [each for each in of_type("AWS::ApiGateway::Deployment").values() if "StageName" in each] == []
    assert properties("SubscriptionApiprodStage")["TracingEnabled"] is True


def test_no_resource_waits_for_itself() -> None:
    """CloudFormation refuses a template in which a resource waits for itself, by the resources that the resource names
    or depends on."""
    waits: dict[str, set[str]] = {}
    for name, resource in resources().items():
        first = resource.get("DependsOn", [])
        named = {each.partition(".")[0] for each in re.findall(r"<([\w.]+)>", json.dumps(resource["Properties"]))}
        waits[name] = (named | set([first] if isinstance(first, str) else first)) & resources().keys()
    while free := [name for name, of in waits.items() if not of & waits.keys()]:
        for name in free:
            del waits[name]
    assert waits == {}


def test_the_account_can_log_before_the_stage_does() -> None:
    """CloudFormation sets the account's logging role after the API, because an account without any API may refuse the
    setting, and before the stage, which names the role. No API waits for the account."""
    assert resources()["ApiGatewayAccount"]["DependsOn"] == "SubscriptionApi"
    named = {"ExecutionLogs": "<ApiExecutionLogs>", "LoggingRole": "<ApiGatewayAccount>"}
    assert properties("SubscriptionApiprodStage")["Variables"] == named
    assert "DependsOn" not in resources()["SubscriptionApi"]


def test_old_tls_is_refused() -> None:
    """The API's own address accepts TLS 1.2 and 1.3 with forward secrecy only, and refuses a request whose TLS
    handshake and Host header name different hosts."""
    api = properties("SubscriptionApi")
    assert api["SecurityPolicy"] == "SecurityPolicy_TLS13_1_2_PFS_PQ_2025_09"
    assert api["EndpointAccessMode"] == "STRICT"


@pytest.mark.parametrize(
    ("parameter", "condition", "names"),
    [
        ("SenderIdentity", "CreatesSenderIdentity", {"Sender"}),
        ("ApiGatewayAccountRole", "OwnsApiGatewayAccount", {"ApiGatewayAccount", "ApiGatewayCloudWatchRole"}),
    ],
)
def test_what_an_account_has_once_is_made_once(parameter: str, condition: str, names: set[str]) -> None:
    """With `existing`, a second stack in an account and region leaves the account's resource alone. References to the
    resource stand under the condition too, and nothing is missing without the resource."""
    declared = template()["Parameters"][parameter]
    assert (declared["Default"], declared["AllowedValues"]) == ("create", ["create", "existing"])
    assert template()["Conditions"][condition] == {"Fn::Equals": [{"Ref": parameter}, "create"]}
    written = template()["Resources"]
    assert {name for name, each in written.items() if each.get("Condition") == condition} == names
    others = json.dumps(_without(condition, {name: each for name, each in written.items() if name not in names}))
    assert not re.search("|".join(rf'"{name}["."]|\${{{name}[}}.]' for name in names), others)


def _without(condition: str, node: Json) -> Json:
    """Return the template as CloudFormation reads the template where the condition does not hold."""
    if isinstance(node, list):
        return [_without(condition, each) for each in node]
    if not isinstance(node, dict):
        return node
    if node.get("Fn::If", [None])[0] == condition:
        return _without(condition, node["Fn::If"][2])
    return {key: _without(condition, each) for key, each in node.items()}


@pytest.mark.parametrize(("path", "method"), ROUTES)
def test_who_may_call_what(path: str, method: str) -> None:
    """Every path requires a request signed by a caller whom IAM allows, except the paths whose functions check the
    callers."""
    body = properties("SubscriptionApi")["Body"]
    schemes = {name for required in body["paths"][path][method].get("security", []) for name in required}
    signed = {
        name
        for name, scheme in body["components"]["securitySchemes"].items()
        if scheme.get("x-amazon-apigateway-authtype") == "awsSigv4"
    }
    assert (bool(schemes & signed), ROUTES[path, method][1]) in {(True, "AWS_IAM"), (False, "NONE")}


def test_only_webhooks_events_and_receipts_are_open() -> None:
    """Only webhooks, events of the gateway and links to receipts need no AWS signature, whatever the API's code
    says."""
    open_to_all = {"/webhook", "/gateway-events", "/receipts/{token+}"}
    assert {path for (path, _), (_, who) in ROUTES.items() if who == "NONE"} == open_to_all


def test_what_api_gateway_refuses_itself_is_a_problem_too() -> None:
    """API Gateway's own answers, given before or without our code, are RFC 9457 documents closed to caches and free of
    internals. API Gateway fills in the status where the template gives no number, and puts the message in quotes."""
    answers = properties("SubscriptionApi")["Body"]["x-amazon-apigateway-gateway-responses"]
    statuses = {}
    for name, answer in answers.items():
        template = answer["responseTemplates"]["application/json"]
        problem = json.loads(template.replace("$context.error.messageString", '"Forbidden"'))
        assert answer["responseParameters"]["gatewayresponse.header.Content-Type"] == "'application/problem+json'"
        assert answer["responseParameters"]["gatewayresponse.header.Cache-Control"] == "'no-store'"
        assert {"type", "title", "detail"} <= set(problem) <= {"type", "title", "status", "detail"}
        statuses[name] = problem.get("status")
        assert answer.get("statusCode") == (str(problem["status"]) if "status" in problem else None)
    refused = ("ACCESS_DENIED", "MISSING_AUTHENTICATION_TOKEN", "INVALID_SIGNATURE", "EXPIRED_TOKEN")
    others = {"DEFAULT_4XX": None, "DEFAULT_5XX": None}
    assert statuses == dict.fromkeys(refused, 403) | {"THROTTLED": 429} | others


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "StepFunctionsTimedOutAlarm",
            _alarm(
                "stepfunctions-timed-out",
                "Alert when a Step Functions execution is cut off at 300 seconds, which is not counted as failed",
                "AWS/States/ExecutionsTimedOut",
                0,
                {"StateMachineArn": "<RenewalWorkflow>"},
            ),
        ),
        (
            "RenewalsFailedAlarm",
            _alarm(
                "renewals-failed",
                "Alert when a renewal ends as failed and needs a person",
                "acme/RenewalFailed",
                0,
                {"service": "acme-qa"},
            ),
        ),
        (
            "RefundsFailedAlarm",
            _alarm(
                "refunds-failed",
                "Alert when a refund failed, so that the customer did not get the money",
                "acme/RefundFailed",
                0,
                {"service": "acme-qa"},
            ),
        ),
        (
            "DisputesAlarm",
            _alarm(
                "disputes",
                "Alert when a customer disputes a payment at the bank, or a bank warns of fraud",
                "acme/Disputes",
                0,
                {"service": "acme-qa"},
            ),
        ),
        (
            "DeadLettersAlarm",
            _alarm(
                "dead-letters",
                "Alert when a request to renew has failed five times and lies in the dead-letter queue",
                "AWS/SQS/ApproximateNumberOfMessagesVisible",
                0,
                {"QueueName": "<RenewalDeadLetterQueue.QueueName>"},
            )
            | {"Statistic": "Maximum"},
        ),
        (
            "SweepErrorsAlarm",
            _alarm(
                "sweep-errors",
                "Alert when the sweep fails as often in an hour as Lambda tries one run",
                "AWS/Lambda/Errors",
                2,
                {"FunctionName": "<RenewalSweep>"},
            )
            | {"Period": 3600},
        ),
        (
            "AuditDifferenceAlarm",
            _alarm(
                "audit-difference",
                "Alert when the audit finds what was due, ledger, charges, receipts and mails to differ",
                "acme/AuditDifferences",
                0,
                {"service": "acme-qa"},
            )
            | {"TreatMissingData": "ignore"},
        ),
        (
            "AuditErrorsAlarm",
            _alarm(
                "audit-errors",
                "Alert when the audit fails as often in an hour as Lambda tries one run",
                "AWS/Lambda/Errors",
                2,
                {"FunctionName": "<RenewalAudit>"},
            )
            | {"Period": 3600},
        ),
        (
            "CatchUpErrorsAlarm",
            _alarm(
                "catch-up-errors",
                "Alert when the catch-up on lost events of the gateway fails as often in an hour as Lambda tries one "
                "run",
                "AWS/Lambda/Errors",
                2,
                {"FunctionName": "<GatewayCatchUp>"},
            )
            | {"Period": 3600},
        ),
        (
            "MailBouncesAlarm",
            _alarm(
                "mail-bounces",
                "Mail to customers came back for good, or was reported as spam. docs/runbook.md#mail-bounces",
                "acme/MailBounces",
                0,
                {"service": "acme-qa"},
            ),
        ),
        (
            "DunningHeldAlarm",
            _alarm(
                "dunning-held",
                "A subscription stays past due, since its customer could not be told that it ends. "
                "docs/runbook.md#dunning-held",
                "acme/DunningHeld",
                0,
                {"service": "acme-qa"},
            ),
        ),
        (
            "MailFeedbackDeadLettersAlarm",
            _alarm(
                "mail-feedback-dead-letters",
                "What SES said of a mail could not be recorded, and lies in a dead-letter queue. "
                "docs/runbook.md#mail-feedback-dead-letters",
                "AWS/SQS/ApproximateNumberOfMessagesVisible",
                0,
                {"QueueName": "<MailFeedbackDeadLetterQueue.QueueName>"},
            )
            | {"Statistic": "Maximum"},
        ),
        (
            "EventsLateAlarm",
            _alarm(
                "events-late",
                "Events for the application are told more than 15 minutes late. docs/runbook.md#events-late",
                "AWS/Lambda/IteratorAge",
                900_000,
                {"FunctionName": "<EventPublisher>"},
            )
            | {"Statistic": "Maximum", "Period": 60},
        ),
        (
            "UnreadableRecordsAlarm",
            _alarm(
                "unreadable-records",
                "A write to a table could not be read, and its events were not told. "
                "docs/runbook.md#unreadable-records",
                "AWS/SQS/ApproximateNumberOfMessagesVisible",
                0,
                {"QueueName": "<UnreadableRecordsQueue.QueueName>"},
            )
            | {"Statistic": "Maximum"},
        ),
        (
            "EventsUndeliveredAlarm",
            _alarm(
                "events-undelivered",
                "Your application did not take an event in two days of tries, and the event lies in a dead-letter "
                "queue. docs/runbook.md#events-undelivered",
                "AWS/SQS/ApproximateNumberOfMessagesVisible",
                0,
                {"QueueName": "<EventsDeadLetterQueue.QueueName>"},
            )
            | {"Statistic": "Maximum"},
        ),
        (
            "EventsWaitingAlarm",
            _alarm(
                "events-waiting",
                "An event has waited for more than 15 minutes to be posted to your application. "
                "What to do is in docs/runbook.md#events-waiting",
                "AWS/SQS/ApproximateAgeOfOldestMessage",
                900,
                {"QueueName": "<DeliveriesQueue.QueueName>"},
            )
            | {"Statistic": "Maximum", "Period": 60},
        ),
        (
            "DelivererErrorsAlarm",
            _alarm(
                "deliverer-errors",
                "EventDeliverer failed three times in an hour, and later tries of events may not be made. "
                "What to do is in docs/runbook.md#deliverer-errors",
                "AWS/Lambda/Errors",
                2,
                {"FunctionName": "<EventDeliverer>"},
            )
            | {"Period": 3600},
        ),
        (
            "GatewayDeadLettersAlarm",
            _alarm(
                "gateway-dead-letters",
                "An event of the gateway failed five times, and lies in a dead-letter queue. "
                "What to do is in docs/runbook.md#gateway-dead-letters",
                "AWS/SQS/ApproximateNumberOfMessagesVisible",
                0,
                {"QueueName": "<GatewayDeadLetterQueue.QueueName>"},
            )
            | {"Statistic": "Maximum"},
        ),
        (
            "ChargingOffAlarm",
            _alarm(
                "charging-off",
                "Alert while charging is turned off",
                "acme/ChargingIsOff",
                0,
                {"service": "acme-qa"},
            )
            | {"Statistic": "Minimum", "Period": 60, "TreatMissingData": "ignore"},
        ),
        (
            "SweepPostponedAlarm",
            _alarm(
                "sweep-postponed",
                "Alert when a sweep was put off because too many requests to renew wait for a worker",
                "acme/SweepPostponed",
                0,
                {"service": "acme-qa"},
            )
            | {"Statistic": "Maximum", "Period": 60, "TreatMissingData": "ignore"},
        ),
        (
            "BadRowsAlarm",
            _alarm(
                "bad-rows",
                "Alert when the sweep names subscriptions that cannot be charged as they stand",
                "acme/BadRows",
                0,
                {"service": "acme-qa"},
            ),
        ),
        (
            "GatewayUnavailableAlarm",
            _alarm(
                "gateway-unavailable",
                "Alert when the payment gateway leaves calls without a clear answer",
                "acme/GatewayUnavailable",
                3,
                {"service": "acme-qa"},
            ),
        ),
        (
            "GatewayAccountAlarm",
            _alarm(
                "gateway-account",
                "Alert when the payment gateway turns our account away",
                "acme/GatewayAccountFault",
                0,
                {"service": "acme-qa"},
            )
            | {"EvaluationPeriods": 24, "DatapointsToAlarm": 1},
        ),
        (
            "OldestUnfinishedAlarm",
            _alarm(
                "oldest-unfinished",
                "Alert when a renewal was begun an hour ago or longer and is not finished",
                "acme/OldestUnfinished",
                3600,
                {"service": "acme-qa"},
            )
            | {"Statistic": "Maximum", "Period": 900, "TreatMissingData": "ignore"},
        ),
        (
            "MailFailedAlarm",
            _alarm(
                "mail-failed",
                "Alert when a mail cannot be sent to the address that the customer has",
                "acme/MailFailed",
                0,
                {"service": "acme-qa"},
            ),
        ),
        (
            "MailUnknownAlarm",
            _alarm(
                "mail-unknown",
                "Alert when nobody can tell whether a mail went out",
                "acme/MailUnknown",
                0,
                {"service": "acme-qa"},
            ),
        ),
        (
            "ApiRefusedAlarm",
            _alarm(
                "api-4xx-errors",
                "Alert when the API refuses more than 1000 requests in 5 minutes, for whatever reason",
                "AWS/ApiGateway/4XXError",
                1000,
                {"ApiName": "acme-api-qa", "Stage": "prod"},
            ),
        ),
        (
            "ApiThrottledAlarm",
            _alarm(
                "api-throttled",
                "Alert when API Gateway refuses more than 10 requests in 5 minutes as too many",
                "acme/qa/ApiThrottled",
                10,
                {},
            ),
        ),
    ],
)
def test_alarms_of_our_own(name: str, expected: dict[str, Json]) -> None:
    """Every event worth a person's attention raises an alarm at the first occurrence, on a metric really written by the
    code."""
    found = {"Type": resources()[name]["Type"], "Dimensions": [], **properties(name)}
    short = expected["AlarmName"].removeprefix("acme-").removesuffix("-qa")
    where = f". {RUNBOOK}{short}" if "docs/runbook.md" not in expected["AlarmDescription"] else ""
    expected = expected | {"AlarmDescription": expected["AlarmDescription"] + where}
    assert {key: found[key] for key in expected} == expected


def test_ses_says_what_became_of_a_mail() -> None:
    """SES sends bounces, complaints and rejections of the configuration set to a topic open to SES alone, and the topic
    invokes the function. An event that the function fails to process ends in a dead-letter queue of its own."""
    destination = properties("MailFeedbackDestination")
    assert destination["ConfigurationSetName"] == "<ReceiptsConfigurationSet>"
    assert destination["EventDestination"]["MatchingEventTypes"] == ["bounce", "complaint", "reject"]
    assert destination["EventDestination"]["SnsDestination"] == {"TopicARN": "<MailEvents>"}
    assert resources()["MailFeedbackDestination"]["DependsOn"] == "MailEventsPolicy"
    assert properties("MailEventsPolicy")["Topics"] == ["<MailEvents>"]
    allowed, refused = properties("MailEventsPolicy")["PolicyDocument"]["Statement"]
    assert (allowed["Principal"], allowed["Action"]) == ({"Service": "ses.amazonaws.com"}, "sns:Publish")
    assert allowed["Condition"]["StringEquals"] == {
        "aws:SourceAccount": "123456789012",
        "aws:SourceArn": f"{MAIL}:configuration-set/<ReceiptsConfigurationSet>",
    }
    assert (refused["Effect"], refused["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})
    subscriptions = of_type("AWS::SNS::Subscription").values()
    (subscription,) = (each for each in subscriptions if each["TopicArn"] == "<MailEvents>")
    assert subscription["Endpoint"] == "<MailFeedback.Arn>"
    permissions = [each for each in of_type("AWS::Lambda::Permission").values() if "sns" in each["Principal"]]
    assert [each["SourceArn"] for each in permissions] == ["<MailEvents>"]
    dead_letters = {"TargetArn": "<MailFeedbackDeadLetterQueue.Arn>"}
    assert properties("MailFeedback")["DeadLetterConfig"] == dead_letters


SERVICE = {"service": "acme-qa"}
TRIED_AGAIN = {"EventPublisher", "EventDeliverer", "GatewayEvents", "GatewayWorker", "GatewayCatchUp"}
"""Functions whose throttled calls are repeated by Lambda, the gateway or a queue; an alarm holds no more than ten
metrics."""

MATH: dict[str, tuple[str, dict[str, tuple[str, dict[str, str], str]], tuple[int, int], tuple[str, int], str]] = {
    "DeclinesAlarm": (
        "IF(attempts >= 20, 100 * FILL(refused, 0) / attempts, 0)",
        {
            "attempts": ("acme/FirstAttempts", SERVICE, "Sum"),
            "refused": ("acme/FirstAttemptsRefused", SERVICE, "Sum"),
        },
        (1, 3600),
        ("GreaterThanThreshold", 30),
        "notBreaching",
    ),
    "WorkerStoppedAlarm": (
        "IF(FILL(waiting, 0) > 0, IF(FILL(runs, 0) > 0, 0, 1), 0)",
        {
            "waiting": (
                "AWS/SQS/ApproximateNumberOfMessagesVisible",
                {"QueueName": "<RenewalQueue.QueueName>"},
                "Minimum",
            ),
            "runs": ("AWS/Lambda/Invocations", {"FunctionName": "<RenewalWorker>"}, "Sum"),
        },
        (3, 300),
        ("GreaterThanThreshold", 0),
        "notBreaching",
    ),
    "SweepNotRunAlarm": (
        "FILL(sweeps, 0)",
        {"sweeps": ("acme/Sweeps", SERVICE, "Sum")},
        (3, 3600),
        ("LessThanThreshold", 1),
        "breaching",
    ),
    "AuditNotRunAlarm": (
        "FILL(audits, 0)",
        {"audits": ("acme/AuditDifferences", SERVICE, "SampleCount")},
        (30, 3600),
        ("LessThanThreshold", 1),
        "breaching",
    ),
    "CatchUpNotRunAlarm": (
        "FILL(catchups, 0)",
        {"catchups": ("acme/GatewayCatchUps", SERVICE, "SampleCount")},
        (30, 3600),
        ("LessThanThreshold", 1),
        "breaching",
    ),
    "ThrottlesAlarm": (
        "SUM(METRICS())",
        {
            name[0].lower() + name[1:]: ("AWS/Lambda/Throttles", {"FunctionName": f"<{name}>"}, "Sum")
            for name in of_type("AWS::Lambda::Function").keys() - TRIED_AGAIN
        },
        (1, 300),
        ("GreaterThanThreshold", 5),
        "notBreaching",
    ),
}


def test_an_alarm_has_at_most_ten_metrics() -> None:
    """CloudWatch takes at most ten metrics in an alarm, the expression included."""
    assert max(len(properties(name)["Metrics"]) for name in MATH) <= 10


@pytest.mark.parametrize("name", MATH)
def test_alarms_on_more_than_one_metric(name: str) -> None:
    """Every alarm on several metrics computes its expression: the share of declines above a minimum of attempts, a
    queue without a working worker, a missing sweep or audit, and the throttles of all functions that can lose time."""
    expression, metrics, (periods, seconds), (comparison, threshold), missing = MATH[name]
    alarm = properties(name)
    told, *stats = alarm["Metrics"]
    assert told == {"Id": "told", "Expression": expression}
    assert {
        each["Id"]: (
            f"{each['MetricStat']['Metric']['Namespace']}/{each['MetricStat']['Metric']['MetricName']}",
            {pair["Name"]: pair["Value"] for pair in each["MetricStat"]["Metric"]["Dimensions"]},
            each["MetricStat"]["Stat"],
        )
        for each in stats
    } == metrics
    assert {(each["MetricStat"]["Period"], each["ReturnData"]) for each in stats} == {(seconds, False)}
    assert (alarm["EvaluationPeriods"], alarm["ComparisonOperator"], alarm["Threshold"]) == (
        periods,
        comparison,
        threshold,
    )
    assert alarm["TreatMissingData"] == missing


def test_alarms_on_more_than_one_metric_are_known() -> None:
    """Every alarm on several metrics is asserted above and stays within CloudWatch's limits: ten metrics, and one day
    of evaluation for periods under an hour."""
    alarms = {name: each for name, each in of_type("AWS::CloudWatch::Alarm").items() if "Metrics" in each}
    assert set(alarms) == set(MATH)
    assert all(len(each["Metrics"]) <= 1 + 10 for each in alarms.values())
    assert all(seconds >= 3600 or seconds * periods <= 86400 for _, _, (periods, seconds), _, _ in MATH.values())


def test_what_the_api_throttles_is_counted() -> None:
    """A metric filter counts throttled requests in the access log, where the status is text; API Gateway has no metric
    of throttled requests."""
    counted = properties("ApiThrottledFilter")
    assert (counted["LogGroupName"], counted["FilterPattern"]) == ("<ApiGatewayLogs>", '{ $.status = "429" }')
    transformation = {"MetricNamespace": "acme/qa", "MetricName": "ApiThrottled", "MetricValue": "1", "Unit": "Count"}
    assert counted["MetricTransformations"] == [transformation]
    assert ACCESS_LOG["status"] == "$context.status"


def test_the_worker_is_bounded_and_answers_for_each_message() -> None:
    """The parameter sets how many renewals run at once, and a failed message does not fail the other messages of its
    batch."""
    (source,) = _sources_of("RenewalWorker")
    declared = template()["Parameters"]["RenewalConcurrency"]
    assert source["FunctionName"] == "<RenewalWorker>"
    assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert source["ScalingConfig"] == {"MaximumConcurrency": str(declared["Default"])}
    assert (declared["Default"], declared["MinValue"], declared["MaxValue"]) == (3, 2, 1000)


def _sources_of(function: str) -> list[dict[str, Any]]:
    """Return the event sources of a function."""
    found = of_type("AWS::Lambda::EventSourceMapping").values()
    return [each for each in found if each["FunctionName"] == f"<{function}>"]


def test_the_worker_of_events_is_bounded() -> None:
    """At most two events of the gateway are at work at once, each in a call of its own: a storm of events leaves the
    account's concurrency to renewals. A failed event is tried five times, and waits for a whole run of the worker."""
    (source,) = _sources_of("GatewayWorker")
    assert (source["EventSourceArn"], source["BatchSize"]) == ("<GatewayEventsQueue.Arn>", 1)
    assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert source["ScalingConfig"] == {"MaximumConcurrency": 2}
    queue = properties("GatewayEventsQueue")
    assert queue["RedrivePolicy"] == {"deadLetterTargetArn": "<GatewayDeadLetterQueue.Arn>", "maxReceiveCount": 5}
    assert queue["VisibilityTimeout"] == 6 * properties("GatewayWorker")["Timeout"]
    assert MOST_TRIES == 5


def _with_a_bus(monkeypatch: pytest.MonkeyPatch) -> dict[str, Json]:
    """Return the resources of a stack whose events of the gateway also arrive by EventBridge."""
    monkeypatch.setitem(GIVEN, "GatewayEventBusName", "aws.partner/stripe.com/ed_1")
    resolved: dict[str, Json] = _resolve(transformed(PSEUDO["AWS::Region"], dict(GIVEN))["Resources"])
    return resolved


def test_events_by_eventbridge_go_to_the_same_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a partner event bus, a rule puts Stripe's events, and no others, on the queue of the worker. What cannot be
    put there goes to the dead-letter queue."""
    made = _with_a_bus(monkeypatch)["GatewayBusRule"]
    assert made["Condition"] == "HasGatewayEventBus"
    assert {name: made["Properties"][name] for name in ("EventBusName", "EventPattern", "Targets")} == {
        "EventBusName": "aws.partner/stripe.com/ed_1",
        "EventPattern": {"source": [{"prefix": "aws.partner/stripe.com/"}]},
        "Targets": [
            {
                "Id": "queue",
                "Arn": "<GatewayEventsQueue.Arn>",
                "DeadLetterConfig": {"Arn": "<GatewayDeadLetterQueue.Arn>"},
            }
        ],
    }


@pytest.mark.parametrize("queue", ["GatewayEventsQueue", "GatewayDeadLetterQueue"])
def test_only_the_rule_of_the_bus_is_let_into_the_queues(queue: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The queues' policies admit EventBridge for the one rule and for sending alone, and without a bus not at all."""
    policy = f"{queue}Policy"
    [_, admitted] = _with_a_bus(monkeypatch)[policy]["Properties"]["PolicyDocument"]["Statement"]
    assert admitted == {
        "Sid": "FromGatewayBus",
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": f"<{queue}.Arn>",
        "Condition": {"ArnEquals": {"aws:SourceArn": "<GatewayBusRule.Arn>"}},
    }
    [tls_only] = properties(policy)["PolicyDocument"]["Statement"]
    assert tls_only["Effect"] == "Deny"


def test_no_secret_of_events_is_known_before_a_person_sets_one() -> None:
    """The template makes the secret of the gateway's events without a value: a placeholder would be a secret that
    everybody knows."""
    assert json.loads(properties("GatewayEventsSecret")["SecretString"]) == {"signing": ""}


def test_executions_are_reserved_for_events_on_demand() -> None:
    """By default nothing is reserved for the gateway's events: a new account may have only ten executions, and cannot
    reserve any."""
    assert not _holds(template()["Conditions"]["ReservesForGatewayEvents"])
    assert properties("GatewayEvents")["ReservedConcurrentExecutions"] == "<AWS::NoValue>"


def test_executions_are_reserved_for_the_publisher_on_demand() -> None:
    """By default nothing is reserved for the publisher of events, and nothing is bounded: a new account cannot reserve
    any executions."""
    assert template()["Parameters"]["EventPublisherConcurrency"]["Default"] == 0
    assert not _holds(template()["Conditions"]["ReservesForEventPublisher"])
    assert properties("EventPublisher")["ReservedConcurrentExecutions"] == "<AWS::NoValue>"


def test_a_batch_of_events_is_posted_within_the_deliverers_time() -> None:
    """Each event of a batch may take the whole time for a request, and the function still ends in time: a function that
    is ended would post the events of the batch again."""
    (source,) = _sources_of("EventDeliverer")
    assert source["BatchSize"] * posting.SECONDS < properties("EventDeliverer")["Timeout"]
    assert properties("DeliveriesQueue")["VisibilityTimeout"] == 6 * properties("EventDeliverer")["Timeout"]


def test_the_default_fits_into_a_new_account() -> None:
    """A renewal of the queue holds two executions of Lambda at once, and a new account may have only ten in all
    (docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html): the default leaves four for webhooks, the API and
    the sweep."""
    assert 2 * template()["Parameters"]["RenewalConcurrency"]["Default"] <= 10 - 4


def test_the_audit_is_scheduled() -> None:
    """By default the audit runs every night after the nightly sweep, and its event names no days. Lambda's loop
    detection does not stop a long chain of runs, where every run hands on less work than the run before."""
    (schedule,) = (each for each in of_type("AWS::Scheduler::Schedule").values() if each["Name"] == "acme-audit-qa")
    assert schedule["ScheduleExpression"] == "cron(30 5 * * ? *)"
    assert schedule["ScheduleExpressionTimezone"] == "Asia/Kolkata"
    assert schedule["Target"]["Arn"] == "<RenewalAudit.Arn>"
    assert schedule["Target"]["RoleArn"] == "<AuditScheduleRole.Arn>"
    sample = json.loads((ROOT / "events/renewal_audit.json").read_text())
    assert json.loads(schedule["Target"]["Input"]) == sample == {}
    assert properties("RenewalAudit")["RecursiveLoop"] == properties("RenewalSweep")["RecursiveLoop"] == "Allow"


def test_the_catch_up_is_scheduled() -> None:
    """Every night, before the audit, lost events of the gateway are looked for, by an event that names no day and
    equals the sample event. Lambda's loop detection does not stop a long chain of runs."""
    every = of_type("AWS::Scheduler::Schedule").values()
    (schedule,) = (each for each in every if each["Name"] == "acme-gateway-catch-up-qa")
    assert schedule["ScheduleExpression"] == "cron(45 4 * * ? *)"
    assert schedule["ScheduleExpressionTimezone"] == "Asia/Kolkata"
    assert schedule["Target"]["Arn"] == "<GatewayCatchUp.Arn>"
    assert schedule["Target"]["RoleArn"] == "<GatewayCatchUpScheduleRole.Arn>"
    sample = json.loads((ROOT / "events/gateway_catch_up.json").read_text())
    assert json.loads(schedule["Target"]["Input"]) == sample == {}
    assert properties("GatewayCatchUp")["RecursiveLoop"] == "Allow"


def test_the_sweeps_are_scheduled() -> None:
    """By default a sweep runs every hour and a nightly sweep every night, in the business's time zone, with events
    known to the function. The business's time zone is UTC by default."""
    every = {each["Name"]: each for each in of_type("AWS::Scheduler::Schedule").values()}
    schedules = {name: each for name, each in every.items() if "sweep" in name}
    expressions = {name: each["ScheduleExpression"] for name, each in schedules.items()}
    assert expressions == {"acme-sweep-due-qa": "rate(1 hour)", "acme-sweep-all-qa": "cron(30 4 * * ? *)"}
    inputs = {name: json.loads(each["Target"]["Input"]) for name, each in schedules.items()}
    assert inputs == {"acme-sweep-due-qa": {"sweep": "due"}, "acme-sweep-all-qa": {"sweep": "all"}}
    assert template()["Parameters"]["BusinessTimeZone"]["Default"] == "UTC"
    for each in schedules.values():
        assert (each.get("State", "ENABLED"), each["Target"]["Arn"]) == ("ENABLED", "<RenewalSweep.Arn>")
        assert each["ScheduleExpressionTimezone"] == "Asia/Kolkata"
        assert each["Target"]["RoleArn"] == "<SweepSchedulesRole.Arn>"
    assert json.loads((ROOT / "events/renewal_sweep.json").read_text()) in inputs.values()


def test_the_streams_are_read_without_end_and_record_by_record() -> None:
    """Every table's stream has both images and a mapping to EventPublisher: from the first record on, without a limit
    of tries or of age, in halves after an error, and with reports of the first failed record."""
    mappings = {each["EventSourceArn"]: each for each in of_type("AWS::Lambda::EventSourceMapping").values()}
    for table in ("Subscriptions", "Renewals", "Changes"):
        assert properties(table)["StreamSpecification"] == {"StreamViewType": "NEW_AND_OLD_IMAGES"}
        assert mappings[f"<{table}.StreamArn>"] == {
            "EventSourceArn": f"<{table}.StreamArn>",
            "FunctionName": "<EventPublisher>",
            "StartingPosition": "TRIM_HORIZON",
            "BatchSize": 100,
            "FunctionResponseTypes": ["ReportBatchItemFailures"],
            "BisectBatchOnFunctionError": True,
        }


ENDED_BY_SILENCE = {
    "StepFunctionsTimedOutAlarm",
    "RenewalsFailedAlarm",
    "RefundsFailedAlarm",
    "DisputesAlarm",
    "SweepErrorsAlarm",
    "AuditErrorsAlarm",
    "CatchUpErrorsAlarm",
    "BadRowsAlarm",
    "MailFailedAlarm",
    "MailUnknownAlarm",
    "MailBouncesAlarm",
    "DunningHeldAlarm",
    "MailFeedbackDeadLettersAlarm",
    "UnreadableRecordsAlarm",
    "EventsUndeliveredAlarm",
    "DelivererErrorsAlarm",
}


@pytest.mark.parametrize("name", of_type("AWS::CloudWatch::Alarm"))
def test_alarms_tell_someone(name: str) -> None:
    """Every alarm notifies the stack's topic when the alarm comes on, and also at its end unless mere silence ends the
    alarm."""
    assert properties(name)["AlarmActions"] == ["<Alarms>"]
    assert properties(name).get("OKActions") == (None if name in ENDED_BY_SILENCE else ["<Alarms>"])


def test_an_address_can_be_told() -> None:
    """An `AlarmEmail` is subscribed to the topic of the alarms; by default nobody is subscribed."""
    subscription = resources()["AlarmSubscription"]
    assert subscription["Condition"] == "HasAlarmEmail"
    assert not _holds(template()["Conditions"]["HasAlarmEmail"])
    assert subscription["Properties"] == {"TopicArn": "<Alarms>", "Protocol": "email", "Endpoint": ""}
    pattern = template()["Parameters"]["AlarmEmail"]["AllowedPattern"]
    assert [bool(re.fullmatch(pattern, text)) for text in ("", "a@b.example", "A <a@b.example>", "nobody")] == [
        True,
        True,
        False,
        False,
    ]


PARTS = ["What it means to customers", "How to look", "How to mend", "How to know that it is over"]


def test_each_alarm_has_its_section_in_the_runbook() -> None:
    """Every alarm has a section in the runbook, and every section has an alarm. A section says what the alarm means to
    customers, how to look, how to mend, and how to know that the trouble is over."""
    runbook = (ROOT / "docs/runbook.md").read_text()
    alarms, _, _ = runbook.partition("\n# Alarms\n")[2].partition("\n# Operations\n")
    _, *sections = re.split(r"^## ", alarms, flags=re.MULTILINE)
    titles = [section.partition("\n")[0] for section in sections]
    names = [each["AlarmName"].removeprefix("acme-").removesuffix("-qa") for each in of_type(ALARM).values()]
    assert sorted(titles) == sorted(names)
    for name in of_type(ALARM):
        short = properties(name)["AlarmName"].removeprefix("acme-").removesuffix("-qa")
        assert properties(name)["AlarmDescription"].endswith(f"docs/runbook.md#{short}")
    for section in sections:
        assert re.findall(r"^\*\*(.+?)\.\*\*", section, re.MULTILINE) == PARTS, section


# --- the dashboard ----------------------------------------------------------------------------------------------

ALARM = "AWS::CloudWatch::Alarm"
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html
WIDGETS = {
    "alarm": {"title", "alarms"},
    "text": {"markdown"},
    "metric": {"title", "region", "view", "stat", "period", "annotations", "metrics"},
}
OPTIONS = {"label", "stat", "yAxis", "expression", "id"}


@cache
def _widgets() -> list[dict[str, Json]]:
    body: dict[str, Json] = json.loads(properties("Dashboard")["DashboardBody"])
    assert set(body) == {"widgets"}
    widgets: list[dict[str, Json]] = body["widgets"]
    return widgets


def _drawn() -> Iterator[tuple[str, str, dict[str, str]]]:
    """Yield namespace, name and dimensions of every metric drawn by name on the dashboard."""
    for widget in _widgets():
        for metric in widget["properties"].get("metrics", []):
            if not isinstance(metric[0], dict):
                yield metric[0], metric[1], dict(zip(metric[2:-1:2], metric[3:-1:2], strict=True))


def test_the_dashboard_is_one_that_cloudwatch_takes() -> None:
    """The dashboard has only known widgets with known properties, on a grid of 24 columns, and no two widgets
    overlap."""
    taken: set[tuple[int, int]] = set()
    for widget in _widgets():
        assert set(widget) == {"type", "x", "y", "width", "height", "properties"}
        assert set(widget["properties"]) <= WIDGETS[widget["type"]]
        assert widget["x"] + widget["width"] <= 24
        cells = {(widget["x"] + x, widget["y"] + y) for x in range(widget["width"]) for y in range(widget["height"])}
        assert taken.isdisjoint(cells)
        taken |= cells
        for metric in widget["properties"].get("metrics", []):
            assert set(metric[-1]) <= OPTIONS
            assert isinstance(metric[0], dict) or len(metric) % 2 == 1
    assert {widget["properties"].get("view", "timeSeries") for widget in _widgets()} == {"timeSeries"}


def test_the_dashboard_shows_every_alarm() -> None:
    """The first widget of the dashboard shows every alarm by its ARN."""
    first, *others = _widgets()
    prefix = "arn:aws:cloudwatch:eu-test-1:123456789012:alarm:"
    assert sorted(first["properties"]["alarms"]) == sorted(
        prefix + each["AlarmName"] for each in of_type(ALARM).values()
    )
    assert "alarm" not in {widget["type"] for widget in others}


def test_every_metric_that_is_looked_at_is_written() -> None:
    """The code writes every metric that an alarm or a graph reads: an alarm on an unwritten metric would never come
    on."""
    source = "".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    audited = {f"Audit{kind.title().replace('_', '')}" for kind in Difference}
    written = audited | set(re.findall(r'"([A-Z]\w+)"', source))
    ours = {name for namespace, name, _ in _drawn() if namespace == "acme"}
    for alarm in of_type(ALARM).values():
        metrics = [each["MetricStat"]["Metric"] for each in alarm.get("Metrics", [{}])[1:]] or [alarm]
        ours |= {each["MetricName"] for each in metrics if each["Namespace"] == "acme"}
    assert len(ours) > 20
    assert ours - written == set()
    assert {tuple(dimensions.items()) for namespace, _, dimensions in _drawn() if namespace == "acme"} == {
        (("service", "acme-qa"),)
    }


def test_the_dashboard_names_resources_that_there_are() -> None:
    """The dashboard's graphs of AWS's own metrics name functions, queues, a workflow and an API of the template."""
    names = {each["FunctionName"] for each in of_type("AWS::Lambda::Function").values()}
    names |= {each["QueueName"] for each in of_type("AWS::SQS::Queue").values()}
    names |= {"<RenewalWorkflow>", properties("SubscriptionApi")["Name"], "prod"}
    drawn = {value for namespace, _, dimensions in _drawn() if namespace != "acme" for value in dimensions.values()}
    assert len(drawn) > 5
    assert drawn - names == set()
    [search] = [m[0]["expression"] for w in _widgets() for m in w["properties"].get("metrics", []) if len(m) == 1]
    assert search == ("SEARCH('{acme,service,currency} MetricName=\"AmountCharged\" service=\"acme-qa\"', 'Sum', 3600)")


# --- tags -------------------------------------------------------------------------------------------------------


def test_no_resource_has_tags_of_its_own() -> None:
    """Tags are written once, for the whole stack: no resource of template.yaml repeats the tags."""
    assert [name for name, each in template()["Resources"].items() if "Tags" in each["Properties"]] == []
    assert "Tags" not in json.dumps(template()["Globals"])


def test_every_deployment_tags_the_stack_with_its_environment() -> None:
    """Each `sam deploy` and `sam sync` tags the stack with the Environment that the template's parameter gets."""
    config = tomllib.loads((ROOT / "samconfig.toml").read_text())
    commands = [command for each in config.values() if isinstance(each, dict) for command in each.items()]
    given = [command["parameters"] for name, command in commands if name in ("deploy", "sync")]
    assert len(given) == 8
    assert all(re.fullmatch(r"Environment=\w+", each["tags"]) for each in given)
    assert [each["tags"] for each in given] == [each["parameter_overrides"] for each in given]


# --- permissions ------------------------------------------------------------------------------------------------

TRACES = {"xray:PutTraceSegments": {"*"}, "xray:PutTelemetryRecords": {"*"}}
MAIL = "arn:aws:ses:eu-test-1:123456789012"
LOG_DELIVERY = {
    "logs:CreateLogDelivery",
    "logs:GetLogDelivery",
    "logs:UpdateLogDelivery",
    "logs:DeleteLogDelivery",
    "logs:ListLogDeliveries",
    "logs:PutResourcePolicy",
    "logs:DescribeResourcePolicies",
    "logs:DescribeLogGroups",
}


def _own_log(name: str) -> dict[str, set[str]]:
    return {action: {f"<{name}Logs.Arn>"} for action in ("logs:CreateLogStream", "logs:PutLogEvents")}


GRANTS: dict[str, dict[str, set[str]]] = {
    "ProcessPaymentRole": {
        "dynamodb:Query": {"<Subscriptions.Arn>", "<Renewals.Arn>"},
        "dynamodb:BatchGetItem": {"<Subscriptions.Arn>", "<Changes.Arn>"},
        "dynamodb:GetItem": {"<Subscriptions.Arn>", "<Renewals.Arn>"},
        "dynamodb:UpdateItem": {"<Subscriptions.Arn>", "<Renewals.Arn>"},
        "dynamodb:ConditionCheckItem": {"<Subscriptions.Arn>", "<Changes.Arn>"},
        "dynamodb:PutItem": {"<Renewals.Arn>"},
        "secretsmanager:GetSecretValue": {"<PaymentGatewaySecret.Id>"},
        **_own_log("ProcessPayment"),
        **TRACES,
    },
    "GenerateReceiptRole": {
        "dynamodb:GetItem": {"<Renewals.Arn>"},
        "dynamodb:UpdateItem": {"<Renewals.Arn>"},
        "s3:PutObject": {"<Receipts.Arn>/receipts/*"},
        "s3:ListBucket": {"<Receipts.Arn>"},
        "s3:GetObject": {"<Receipts.Arn>/receipts/*"},
        **_own_log("GenerateReceipt"),
        **TRACES,
    },
    "SendEmailRole": {
        "dynamodb:BatchGetItem": {"<Renewals.Arn>", "<Subscriptions.Arn>"},
        "dynamodb:GetItem": {"<Subscriptions.Arn>"},
        "dynamodb:UpdateItem": {"<Renewals.Arn>", "<Subscriptions.Arn>"},
        "s3:ListBucket": {"<Receipts.Arn>"},
        "s3:GetObject": {"<Receipts.Arn>/receipts/*"},
        "secretsmanager:GetSecretValue": {"<ReceiptLinkKey.Id>"},
        "ses:SendRawEmail": {f"{MAIL}:identity/*", f"{MAIL}:configuration-set/<ReceiptsConfigurationSet>"},
        **_own_log("SendEmail"),
        **TRACES,
    },
    "WebhookHandlerRole": {
        "states:StartExecution": {WORKFLOW},
        "secretsmanager:GetSecretValue": {"<WebhookSecret.Id>"},
        **_own_log("WebhookHandler"),
        **TRACES,
    },
    "SubscriptionsApiRole": {
        "dynamodb:Query": {
            "<Subscriptions.Arn>",
            "<Subscriptions.Arn>/index/customer-index",
            "<Renewals.Arn>",
            "<Changes.Arn>",
        },
        "dynamodb:Scan": {"<Subscriptions.Arn>"},
        "dynamodb:UpdateItem": {"<Subscriptions.Arn>", "<Renewals.Arn>"},
        "dynamodb:ConditionCheckItem": {"<Renewals.Arn>"},
        "dynamodb:PutItem": {"<Subscriptions.Arn>", "<Renewals.Arn>", "<Changes.Arn>"},
        "dynamodb:GetItem": {"<Renewals.Arn>", "<Changes.Arn>"},
        "secretsmanager:GetSecretValue": {"<ReceiptLinkKey.Id>", "<PaymentGatewaySecret.Id>"},
        "s3:ListBucket": {"<Receipts.Arn>"},
        "s3:GetObject": {"<Receipts.Arn>/receipts/*"},
        "states:StartExecution": {WORKFLOW},
        **_own_log("SubscriptionsApi"),
        **TRACES,
    },
    "RenewalSweepRole": {
        "dynamodb:Scan": {"<Subscriptions.Arn>"},
        "dynamodb:Query": {
            "<Subscriptions.Arn>/index/renewal-date-index",
            "<Renewals.Arn>/index/unfinished-index",
        },
        "dynamodb:BatchGetItem": {"<Changes.Arn>"},
        "sqs:SendMessage": {"<RenewalQueue.Arn>"},
        "sqs:GetQueueAttributes": {"<RenewalQueue.Arn>"},
        "lambda:InvokeFunction": {"arn:aws:lambda:eu-test-1:123456789012:function:acme-renewal-sweep-qa"},
        **_own_log("RenewalSweep"),
        **TRACES,
    },
    "RenewalWorkerRole": {
        "states:StartSyncExecution": {"<RenewalWorkflow>"},
        **{
            f"sqs:{action}": {"<RenewalQueue.Arn>"}
            for action in ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes", "ChangeMessageVisibility")
        },
        **_own_log("RenewalWorker"),
        **TRACES,
    },
    "RenewalAuditRole": {
        "dynamodb:Scan": {"<Subscriptions.Arn>"},
        "dynamodb:BatchGetItem": {"<Renewals.Arn>"},
        "dynamodb:Query": {"<Renewals.Arn>", "<Renewals.Arn>/index/charged-on-index"},
        "s3:GetObject": {"<Receipts.Arn>/receipts/*", "<Receipts.Arn>/audits/*"},
        "s3:PutObject": {"<Receipts.Arn>/audits/*"},
        "s3:ListBucket": {"<Receipts.Arn>"},
        "secretsmanager:GetSecretValue": {"<PaymentGatewaySecret.Id>"},
        "sqs:SendMessage": {"<RenewalQueue.Arn>"},
        "lambda:InvokeFunction": {"arn:aws:lambda:eu-test-1:123456789012:function:acme-renewal-audit-qa"},
        **_own_log("RenewalAudit"),
        **TRACES,
    },
    "GatewayEventsRole": {
        "secretsmanager:GetSecretValue": {"<GatewayEventsSecret.Id>"},
        "sqs:SendMessage": {"<GatewayEventsQueue.Arn>"},
        **_own_log("GatewayEvents"),
        **TRACES,
    },
    "GatewayWorkerRole": {
        "dynamodb:GetItem": {"<Renewals.Arn>", "<Subscriptions.Arn>"},
        "dynamodb:UpdateItem": {"<Renewals.Arn>", "<Subscriptions.Arn>"},
        "dynamodb:ConditionCheckItem": {"<Renewals.Arn>"},
        "dynamodb:Query": {"<Renewals.Arn>", "<Changes.Arn>", "<Subscriptions.Arn>/index/payment-method-index"},
        "dynamodb:PutItem": {"<Changes.Arn>"},
        "secretsmanager:GetSecretValue": {"<PaymentGatewaySecret.Id>"},
        "states:StartSyncExecution": {"<RenewalWorkflow>"},
        **{
            f"sqs:{action}": {"<GatewayEventsQueue.Arn>"}
            for action in ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes", "ChangeMessageVisibility")
        },
        **_own_log("GatewayWorker"),
        **TRACES,
    },
    "GatewayCatchUpRole": {
        "secretsmanager:GetSecretValue": {"<PaymentGatewaySecret.Id>"},
        "sqs:SendMessage": {"<GatewayEventsQueue.Arn>"},
        "s3:GetObject": {"<Receipts.Arn>/gateway-catch-up/*"},
        "s3:PutObject": {"<Receipts.Arn>/gateway-catch-up/*"},
        "s3:ListBucket": {"<Receipts.Arn>"},
        "lambda:InvokeFunction": {"arn:aws:lambda:eu-test-1:123456789012:function:acme-gateway-catch-up-qa"},
        **_own_log("GatewayCatchUp"),
        **TRACES,
    },
    "GatewayCatchUpScheduleRole": {"lambda:InvokeFunction": {"<GatewayCatchUp.Arn>"}},
    "MailFeedbackRole": {
        "dynamodb:GetItem": {"<Renewals.Arn>", "<Subscriptions.Arn>"},
        "dynamodb:UpdateItem": {"<Renewals.Arn>", "<Subscriptions.Arn>"},
        "sqs:SendMessage": {"<MailFeedbackDeadLetterQueue.Arn>"},
        **_own_log("MailFeedback"),
        **TRACES,
    },
    "EventDelivererRole": {
        **{
            f"sqs:{action}": {"<DeliveriesQueue.Arn>"}
            for action in ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes")
        },
        "sqs:SendMessage": {"<DeliveriesQueue.Arn>", "<EventsDeadLetterQueue.Arn>"},
        **{f"dynamodb:{action}": {"<Deliveries.Arn>"} for action in ("PutItem", "Query", "DeleteItem")},
        "secretsmanager:GetSecretValue": {"<EventsSecret.Id>"},
        **_own_log("EventDeliverer"),
        **TRACES,
    },
    "DeliveriesScheduleRole": {"lambda:InvokeFunction": {"<EventDeliverer.Arn>"}},
    "EventPublisherRole": {
        **{
            f"dynamodb:{action}": {f"<{table}.Arn>/stream/*" for table in ("Subscriptions", "Renewals", "Changes")}
            for action in ("DescribeStream", "GetRecords", "GetShardIterator", "ListStreams")
        },
        "dynamodb:Query": {"<Subscriptions.Arn>", "<Renewals.Arn>"},
        "events:PutEvents": {"<EventBus.Arn>"},
        "sqs:SendMessage": {"<UnreadableRecordsQueue.Arn>", "<DeliveriesQueue.Arn>"},
        **_own_log("EventPublisher"),
        **TRACES,
    },
    "SweepSchedulesRole": {"lambda:InvokeFunction": {"<RenewalSweep.Arn>"}},
    "AuditScheduleRole": {"lambda:InvokeFunction": {"<RenewalAudit.Arn>"}},
    "StepFunctionsRole": {
        "lambda:InvokeFunction": {"<ProcessPayment.Arn>", "<GenerateReceipt.Arn>", "<SendEmail.Arn>"},
        **{action: {"*"} for action in LOG_DELIVERY},
        **TRACES,
        "xray:GetSamplingRules": {"*"},
        "xray:GetSamplingTargets": {"*"},
    },
    "ApiGatewayCloudWatchRole": {},
}
SERVICES = {
    "StepFunctionsRole": "states.amazonaws.com",
    "ApiGatewayCloudWatchRole": "apigateway.amazonaws.com",
    "SweepSchedulesRole": "scheduler.amazonaws.com",
    "AuditScheduleRole": "scheduler.amazonaws.com",
    "GatewayCatchUpScheduleRole": "scheduler.amazonaws.com",
    "DeliveriesScheduleRole": "scheduler.amazonaws.com",
}


CONDITIONS = {"ses:SendRawEmail": {"StringEquals": {"ses:FromAddress": "bills@acme.test"}}}
"""The condition of each action that has a condition; all other permissions have no condition."""
FOR_THIS_ACCOUNT = {"StringEquals": {"aws:SourceAccount": "123456789012"}}


def _grants(role: str) -> Iterator[tuple[str, str]]:
    for policy in properties(role).get("Policies", []):
        for statement in policy["PolicyDocument"]["Statement"]:
            assert set(statement) - {"Condition"} == {"Effect", "Action", "Resource"}
            assert statement["Effect"] == "Allow"
            assert statement.get("Condition") == CONDITIONS.get(str(statement["Action"]))
            for action in _as_list(statement["Action"]):
                for resource in _as_list(statement["Resource"]):
                    yield action, resource


def _as_list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


@pytest.mark.parametrize("role", GRANTS)
def test_a_role_allows_what_its_service_does_and_no_more(role: str) -> None:
    """Every role allows exactly the actions called by its owner, on exactly the needed resources, and trusts a single
    service acting for this account. (API Gateway does not say on whose behalf the role is used.)"""
    allowed: dict[str, set[str]] = {}
    for action, resource in _grants(role):
        allowed.setdefault(action, set()).add(resource)
    assert allowed == GRANTS[role]
    (trust,) = properties(role)["AssumeRolePolicyDocument"]["Statement"]
    service = SERVICES.get(role, "lambda.amazonaws.com")
    assert trust == {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": service}} | (
        {} if service == "apigateway.amazonaws.com" else {"Condition": FOR_THIS_ACCOUNT}
    )


def test_there_are_no_other_permissions() -> None:
    """No role or policy exists beside the roles in GRANTS, and only actions without ARNs are allowed on `*`."""
    assert set(of_type("AWS::IAM::Role")) == set(GRANTS)
    assert of_type("AWS::IAM::Policy") == of_type("AWS::IAM::ManagedPolicy") == {}
    attached = {name for name, role in of_type("AWS::IAM::Role").items() if "ManagedPolicyArns" in role}
    assert attached == {"ApiGatewayCloudWatchRole"}
    everywhere = {action for role in GRANTS for action, resource in _grants(role) if resource == "*"}
    assert {action for action in everywhere if not action.startswith("xray:")} == LOG_DELIVERY


# --- outputs, layers, commands ----------------------------------------------------------------------------------


def test_outputs() -> None:
    """The stack's outputs name everything needed by people and programs that use the stack, and every output has a
    description."""
    outputs = template()["Outputs"]
    assert {name: _resolve(each["Value"]) for name, each in outputs.items()} == {
        "WebhookUrl": "https://<SubscriptionApi>.execute-api.eu-test-1.amazonaws.com/prod/webhook",
        "GatewayEventsUrl": "https://<SubscriptionApi>.execute-api.eu-test-1.amazonaws.com/prod/gateway-events",
        "GatewayEventsSecretArn": "<GatewayEventsSecret.Id>",
        "GatewayEventsQueueUrl": "<GatewayEventsQueue>",
        "GatewayDeadLetterQueueUrl": "<GatewayDeadLetterQueue>",
        "SubscriptionsApiUrl": "https://<SubscriptionApi>.execute-api.eu-test-1.amazonaws.com/prod",
        "SubscriptionsTableName": "<Subscriptions>",
        "RenewalsTableName": "<Renewals>",
        "ChangesTableName": "<Changes>",
        "ReceiptsBucketName": "<Receipts>",
        "EventBusName": "<EventBus>",
        "EventPublisherFunctionName": "<EventPublisher>",
        "EventsSecretArn": "<EventsSecret.Id>",
        "EventsDeadLetterQueueUrl": "<EventsDeadLetterQueue>",
        "UnreadableRecordsQueueUrl": "<UnreadableRecordsQueue>",
        "RenewalWorkflowArn": "<RenewalWorkflow>",
        "RenewalQueueUrl": "<RenewalQueue>",
        "RenewalDeadLetterQueueUrl": "<RenewalDeadLetterQueue>",
        "SweepFunctionName": "<RenewalSweep>",
        "AuditFunctionName": "<RenewalAudit>",
        "CatchUpFunctionName": "<GatewayCatchUp>",
        "MailEventsTopicArn": "<MailEvents>",
        "PaymentGatewaySecretArn": "<PaymentGatewaySecret.Id>",
        "WebhookSecretArn": "<WebhookSecret.Id>",
        "ReceiptLinkKeyArn": "<ReceiptLinkKey.Id>",
        "SesConfigurationSetName": "<ReceiptsConfigurationSet>",
        "AlarmTopicArn": "<Alarms>",
    }
    assert all(each["Description"] for each in outputs.values())


LAYERS = {
    "AwsLayer": "aws",
    "WebhookLayer": "webhook",
    "PaymentLayer": "payment",
    "ReceiptLayer": "receipt",
    "ApiLayer": "api",
}


def test_functions_have_the_layers_they_need_and_no_more() -> None:
    """Functions that ask the gateway have Stripe, the receipt function has the PDF library, the webhook's function the
    signature library, and the API pydantic; no function has more layers."""
    shared = template()["Globals"]["Function"]["Layers"]
    declared = {
        name: [layer["Ref"] for layer in [*shared, *each["Properties"].get("Layers", [])]]
        for name, each in template()["Resources"].items()
        if each["Type"] == "AWS::Serverless::Function"
    }
    assert declared == {
        "ProcessPayment": ["AwsLayer", "PaymentLayer"],
        "GenerateReceipt": ["AwsLayer", "ReceiptLayer"],
        "SendEmail": ["AwsLayer"],
        "WebhookHandler": ["AwsLayer", "WebhookLayer"],
        "SubscriptionsApi": ["AwsLayer", "ApiLayer", "PaymentLayer"],
        "RenewalSweep": ["AwsLayer"],
        "RenewalWorker": ["AwsLayer"],
        "RenewalAudit": ["AwsLayer", "PaymentLayer"],
        "GatewayCatchUp": ["AwsLayer", "PaymentLayer"],
        "GatewayEvents": ["AwsLayer", "PaymentLayer"],
        "GatewayWorker": ["AwsLayer", "PaymentLayer"],
        "MailFeedback": ["AwsLayer"],
        "EventPublisher": ["AwsLayer"],
        "EventDeliverer": ["AwsLayer", "WebhookLayer"],
    }


@pytest.mark.parametrize(("name", "folder"), LAYERS.items())
def test_layers_hold_what_was_tested(name: str, folder: str) -> None:
    """Every layer pins, by hash and without an index, the versions used by the tests, for the functions' version of
    Python."""
    layer = template()["Resources"][name]
    assert layer["Metadata"]["BuildMethod"] == "makefile"
    assert layer["Properties"]["ContentUri"] == f"layers/{folder}/"
    assert layer["Properties"]["CompatibleRuntimes"] == [template()["Globals"]["Function"]["Runtime"]]
    assert re.search(rf"(?m)^build-{name}:$", (ROOT / "layers" / folder / "Makefile").read_text())
    lock = (ROOT / "layers" / folder / "requirements.txt").read_text()
    pinned = _pins(lock)
    assert pinned
    assert pinned.items() <= _pins((ROOT / "requirements-dev.txt").read_text()).items()
    assert all("--hash=sha256:" in each for each in re.split(r"(?m)^(?=\S)", lock) if each)
    assert "://" not in lock


def test_the_layer_knows_every_call_that_is_made() -> None:
    """The pruned service descriptions hold every client built in the sources and every method called in the sources."""
    sources = "".join(source.read_text() for source in (ROOT / "src").rglob("*.py"))
    built = set(re.findall(r"""_client\(\s*["']([a-z0-9-]+)["']""", sources))
    assert built == CALLS.keys() - {"sts"}
    for service in built:
        operations = {
            xform_name(name): name for name in botocore.session.Session().get_service_model(service).operation_names
        }
        called = {operations[method] for method in re.findall(r"\.([a-z_0-9]+)\(", sources) if method in operations}
        assert called == CALLS[service], service


def test_functions_are_compiled() -> None:
    """The makefile recipe that compiles bytecode builds every function: Lambda cannot write bytecode to /var/task."""
    functions = [each for each in template()["Resources"].values() if each["Type"] == "AWS::Serverless::Function"]
    assert functions
    assert [each["Metadata"] for each in functions] == [{"BuildMethod": "makefile"}] * len(functions)
    assert {each["Properties"].get("CodeUri", "src/") for each in functions} == {"src/"}


def _pins(requirements: str) -> dict[str, str]:
    return dict(re.findall(r"(?m)^([a-z0-9-]+)==(\S+)", requirements))


@pytest.mark.parametrize(
    ("environment", "stack", "named"),
    [
        ("default", "subscription-mgmt", "prod"),
        ("prod", "subscription-mgmt", "prod"),
        ("staging", "subscription-mgmt-staging", "staging"),
        ("dev", "subscription-mgmt-dev", "dev"),
        ("local", "subscription-mgmt", "local"),
    ],
)
def test_sam_commands_need_no_flags(environment: str, stack: str, named: str) -> None:
    """For every environment samconfig.toml names the deployed stack, allows named roles, and lets SAM find its
    bucket."""
    text = (ROOT / "samconfig.toml").read_text()
    config = tomllib.loads(text)[environment]
    deploy = config["deploy"]["parameters"]
    assert config["global"]["parameters"]["stack_name"] == stack
    assert "CAPABILITY_NAMED_IAM" in deploy["capabilities"].split()
    assert deploy["resolve_s3"] is True
    assert deploy["parameter_overrides"] == f"Environment={named}"
    assert config["build"]["parameters"] == {"cached": True, "parallel": True}


def test_sync_never_touches_production() -> None:
    """`sam sync` changes functions without a change set; outside the local stack `sam sync` therefore always means the
    dev stack."""
    config = tomllib.loads((ROOT / "samconfig.toml").read_text())
    synced = {name: each["sync"]["parameters"] for name, each in config.items() if name != "version" and "sync" in each}
    assert set(synced) == {"default", "dev", "local"}
    assert synced["default"]["stack_name"] == config["dev"]["global"]["parameters"]["stack_name"]
    assert {synced[name]["parameter_overrides"] for name in ("default", "dev")} == {"Environment=dev"}
    assert synced["local"]["profile"] == "local"
