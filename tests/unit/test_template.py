"""The promises of template.yaml asserted on SAM's transformed template: the local emulator drops many of these
settings. The alarms and the roles have tests of their own."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore import xform_name

from event_deliverer import posting
from gateway_worker.app import MOST_TRIES
from layers.aws.prune_botocore import CALLS
from scripts.openapi import document as api_document
from scripts.transformed import transformed
from tests.strangers import open_functions
from tests.template import (
    GIVEN,
    MAIL,
    PSEUDO,
    RETAINED,
    ROOT,
    RUNBOOK,
    WORKFLOW,
    Json,
    expected_alarm,
    holds,
    of_type,
    properties,
    resolve,
    resources,
    template,
)

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
    "LambdaErrorsAlarm": expected_alarm(
        "lambda-errors",
        "Alert when Lambda functions have more than 5 errors in 5 minutes",
        "AWS/Lambda/Errors",
        5,
        {"FunctionName": "<ProcessPayment>"},
    ),
    "StepFunctionsFailedAlarm": expected_alarm(
        "stepfunctions-failed",
        "Alert when Step Functions executions fail",
        "AWS/States/ExecutionsFailed",
        10,
        {"StateMachineArn": "<RenewalWorkflow>"},
    ),
    "ApiGateway5xxAlarm": expected_alarm(
        "api-5xx-errors",
        "Alert when API Gateway returns more than 10 5xx errors in 5 minutes",
        "AWS/ApiGateway/5XXError",
        10,
        {"ApiName": "acme-api-qa", "Stage": "prod"},
    ),
}
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
            {
                "IndexName": "mail-address-index",
                "KeySchema": [
                    {"AttributeName": "customer_email", "KeyType": "HASH"},
                    {"AttributeName": "subscription_id", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            },
        ],
        "a range key lets DynamoDB split a busy date, whose writes would all meet one partition's limit; the API lists "
        "the subscriptions of a customer; the gateway's event of a detached card names the card alone; a customer "
        "without a link has nothing but the mail address",
    ),
    ("Subscriptions", "AttributeDefinitions"): (
        [
            {"AttributeName": "subscription_id", "AttributeType": "S"},
            {"AttributeName": "customer_id", "AttributeType": "S"},
            {"AttributeName": "renewal_date", "AttributeType": "S"},
            {"AttributeName": "payment_method", "AttributeType": "S"},
            {"AttributeName": "customer_email", "AttributeType": "S"},
        ],
        "indexes lead from a card and from a mail address to the subscriptions",
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
        ("CheckoutUrl", "", False),
        ("BrandColor", "", False),
        ("BrandLogoUrl", "", False),
        ("ReplyToEmail", "", False),
        ("SupportUrl", "", False),
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
        (
            "AccountPageUrl",
            ["", "https://my.shop.test/account", "http://127.0.0.1:4566/_local/account"],
            ["https://shop.test/", "http://shop.test/account", "https://shop.test/account/", 'https://a"b/account'],
        ),
        (
            "CheckoutUrl",
            ["", "https://checkout.shop.test", "https://pay-1.xn--bcher-kva.test"],
            [
                "http://pay.test",
                "https://pay.test/",
                "https://pay.test:8443",
                "https://*.test",
                "https://pay.test x",
                "https://a@pay.test",
                "https://pay.test;",
                "https://localhost",
                "https://Pay.test",
                "https://-a.test",
            ],
        ),
        ("GatewayEventBusName", ["aws.partner/stripe.com/ed_61T"], ["default", "aws.partner/other.com/x", "a b", "*"]),
        ("CustomerPageUrl", ["https://shop.test/account?x=1"], ["http://shop.test", 'https://a"b', "javascript:x"]),
        ("BrandColor", ["", "#0A7B55"], ["0A7B55", "#FFF", "green", "#0A7B5G", "#0A7B55;x"]),
        (
            "BrandLogoUrl",
            ["", "https://shop.test/logo.png"],
            ["http://shop.test/a.png", "data:image/png,x", 'https://"'],
        ),
        ("ReplyToEmail", ["", "help@acme.test", "a.b+c@acme.test"], ["Ann <a@b.c>", "a..b@b.test", "a@b", "a,b@c.d"]),
        ("SupportUrl", ["", "https://shop.test/help", "mailto:help@acme.test"], ["http://shop.test", "javascript:x"]),
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
        *sorted(of_type("AWS::DynamoDB::Table").keys() - {"Counters"}),
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


def test_the_counters_are_soon_forgotten() -> None:
    """The counts of sources on the internet are deleted after their `expires_at`, stand in no stream and no backup, and
    are deleted with the stack."""
    table = properties("Counters")
    assert (table["BillingMode"], table["SSESpecification"]) == ("PAY_PER_REQUEST", {"SSEEnabled": True})
    assert table["KeySchema"] == [{"AttributeName": "counter", "KeyType": "HASH"}]
    assert table["TimeToLiveSpecification"] == {"AttributeName": "expires_at", "Enabled": True}
    assert "StreamSpecification" not in table
    assert "PointInTimeRecoverySpecification" not in table
    assert {resources()["Counters"][name] for name in RETAINED} == {"Delete"}


def test_each_update_from_an_earlier_version_adds_one_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """DynamoDB takes one new index in an update. Without the index on the mail address, the subscriptions table is the
    table of the earlier update; the parameter then adds this index alone, with its attribute."""
    with_index = properties("Subscriptions")
    monkeypatch.setitem(GIVEN, "MailAddressIndex", "absent")
    resources.cache_clear()
    try:
        without = properties("Subscriptions")
    finally:
        resources.cache_clear()
    for setting in ("GlobalSecondaryIndexes", "AttributeDefinitions"):
        [added] = [each for each in with_index[setting] if each not in without[setting]]
        assert [each for each in with_index[setting] if each != added] == without[setting]
        assert "customer_email" in json.dumps(added)


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
            "REMINDER_DAYS": "21",
            "REMINDED_PERIOD_DAYS": "32",
            "SELLER_NAME": "Example Ltd",
            "SELLER_ADDRESS": "1 Example Street, 12345 Example City",
            "SELLER_TAX_ID": "",
            "DUNNING_DAYS": "1,3,5,7",
            "DUNNING_ENDS_AS": "canceled",
            "CONFIRMATIONS": "sign_up,cancellation,resumption,changed_terms,new_card,ended_by_dispute",
        },
        "GenerateReceipt": {
            "RENEWALS_TABLE": "<Renewals>",
            "S3_BUCKET": "<Receipts>",
            "TIME_ZONE": "Asia/Kolkata",
        },
        "SendEmail": {
            "DYNAMODB_TABLE": "<Subscriptions>",
            "RENEWALS_TABLE": "<Renewals>",
            "CHANGES_TABLE": "<Changes>",
            "CONFIRMATIONS": "sign_up,cancellation,resumption,changed_terms,new_card,ended_by_dispute",
            "S3_BUCKET": "<Receipts>",
            "SENDER_EMAIL": "bills@acme.test",
            "SELLER_NAME": "Example Ltd",
            "REMINDER_DAYS": "21",
            "REMINDED_PERIOD_DAYS": "32",
            "SES_CONFIGURATION_SET": "<ReceiptsConfigurationSet>",
            "DUNNING_DAYS": "1,3,5,7",
            "DUNNING_ENDS_AS": "canceled",
            "CUSTOMER_PAGE_URL": "",
            "ACCOUNT_URL": "https://<AccountApi>.execute-api.eu-test-1.amazonaws.com/prod/account",
            "ACCOUNT_LINK_KEY_ARN": "<AccountLinkKey.Id>",
            "BRAND_COLOR": "#0A7B55",
            "BRAND_LOGO_URL": "",
            "REPLY_TO_EMAIL": "help@acme.test",
            "SUPPORT_URL": "",
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
            "RECEIPT_LINK_KEY_ARN": "<ReceiptLinkKey.Id>",
            "RECEIPT_LINKS_URL": "",
            "SECRETS_MANAGER_ARN": "<PaymentGatewaySecret.Id>",
            "PROJECT_NAME": "acme",
            "GRACE_DAYS": "7",
            "TIME_ZONE": "Asia/Kolkata",
        },
        "ReceiptLinks": {
            "RENEWALS_TABLE": "<Renewals>",
            "S3_BUCKET": "<Receipts>",
            "RECEIPT_LINK_KEY_ARN": "<ReceiptLinkKey.Id>",
        },
        "CustomerPage": {
            "DYNAMODB_TABLE": "<Subscriptions>",
            "RENEWALS_TABLE": "<Renewals>",
            "CHANGES_TABLE": "<Changes>",
            "RENEWAL_QUEUE_URL": "<RenewalQueue>",
            "ACCOUNT_LINK_KEY_ARN": "<AccountLinkKey.Id>",
            "RECEIPT_LINK_KEY_ARN": "<ReceiptLinkKey.Id>",
            "RECEIPT_LINKS_URL": "https://<SubscriptionApi>.execute-api.eu-test-1.amazonaws.com/prod/receipts",
            "ACCOUNT_URL": "",
            "DECLARATIONS_TABLE": "<Declarations>",
            "CANCELLATION_FORM": "off",
            "WITHDRAWAL_FORM": "off",
            "PAYMENT_GATEWAY_ENDPOINT": "https://api.stripe.com",
            "CHECKOUT_URL": "",
            "PROCESS_PAYMENT_FUNCTION": "<ProcessPayment>",
            "ADDRESS_QUEUE_URL": "<AddressQueue>",
            "COUNTERS_TABLE": "<Counters>",
            "SELLER_NAME": "Example Ltd",
            "DUNNING_DAYS": "1,3,5,7",
            "DUNNING_ENDS_AS": "canceled",
            "TIME_ZONE": "Asia/Kolkata",
        },
        "AddressWorker": {
            "DYNAMODB_TABLE": "<Subscriptions>",
            "CHANGES_TABLE": "<Changes>",
            "COUNTERS_TABLE": "<Counters>",
            "TIME_ZONE": "Asia/Kolkata",
        },
        "DeclarationWorker": {
            "DYNAMODB_TABLE": "<Subscriptions>",
            "RENEWALS_TABLE": "<Renewals>",
            "CHANGES_TABLE": "<Changes>",
            "DECLARATIONS_TABLE": "<Declarations>",
            "RENEWAL_QUEUE_URL": "<RenewalQueue>",
            "CONFIRMATIONS": "sign_up,cancellation,resumption,changed_terms,new_card,ended_by_dispute",
            "MAIL_ADDRESS_INDEX": "present",
            "TIME_ZONE": "Asia/Kolkata",
        },
        "RenewalSweep": {
            "DYNAMODB_TABLE": "<Subscriptions>",
            "RENEWALS_TABLE": "<Renewals>",
            "CHANGES_TABLE": "<Changes>",
            "RENEWAL_QUEUE_URL": "<RenewalQueue>",
            "TIME_ZONE": "Asia/Kolkata",
            "REMINDER_DAYS": "21",
            "REMINDED_PERIOD_DAYS": "32",
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
            "REMINDER_DAYS": "21",
            "REMINDED_PERIOD_DAYS": "32",
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
            "CHANGES_TABLE": "<Changes>",
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
            "CONFIRMATIONS": "sign_up,cancellation,resumption,changed_terms,new_card,ended_by_dispute",
            "RENEWAL_QUEUE_URL": "<RenewalQueue>",
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
        ("ReceiptLinks", "NONE") if operation.get("security") == [] else ("SubscriptionsApi", "AWS_IAM")
    )
    for path, methods in api_document()["paths"].items()
    for method, operation in methods.items()
}


def test_the_api_is_these_methods_of_one_stage() -> None:
    """The REST API has the webhook, the gateway's door and exactly the routes of the API's code, passes every request
    unchanged to the function, and has a single stage."""
    paths = properties("SubscriptionApi")["Body"]["paths"]
    assert {(path, method) for path in paths for method in paths[path]} == set(ROUTES)
    for (path, method), (function, _) in ROUTES.items():
        integration = paths[path][method]["x-amazon-apigateway-integration"]
        assert (integration["type"], integration["httpMethod"]) == ("aws_proxy", "POST")
        assert integration["uri"].endswith(f":lambda:path/2015-03-31/functions/<{function}.Arn>/invocations")
        assert "credentials" not in integration  # with credentials a caller needs lambda:InvokeFunction
    assert "x-amazon-apigateway-binary-media-types" not in properties("SubscriptionApi")["Body"]
    assert set(of_type("AWS::ApiGateway::Stage")) == {"SubscriptionApiprodStage", "AccountApiprodStage"}
    assert [each for each in of_type("AWS::ApiGateway::Deployment").values() if "StageName" in each] == []


ACCOUNT_PATHS = {("/account", "get"), ("/account/{path+}", "get"), ("/account/{path+}", "post")}


def test_the_customer_page_has_an_api_of_its_own() -> None:
    """The customer page's API has the page's paths and nothing else, each open to everybody, since the page checks a
    token."""
    body = properties("AccountApi")["Body"]
    assert {(path, method) for path, methods in body["paths"].items() for method in methods} == ACCOUNT_PATHS
    for path, method in ACCOUNT_PATHS:
        integration = body["paths"][path][method]["x-amazon-apigateway-integration"]
        assert (integration["type"], integration["httpMethod"]) == ("aws_proxy", "POST")
        assert integration["uri"].endswith(":lambda:path/2015-03-31/functions/<CustomerPage.Arn>/invocations")
        assert "security" not in body["paths"][path][method]
    assert "security" not in body


def test_no_token_of_the_customer_page_is_written_by_aws() -> None:
    """The addresses of the customer page hold tokens: its API has no traces, which keep whole addresses, no access log,
    no log of data, and an execution log of errors alone; and it is throttled."""
    stage = properties("AccountApiprodStage")
    assert "TracingEnabled" not in stage
    assert "AccessLogSetting" not in stage
    assert stage["MethodSettings"] == [
        {
            "ResourcePath": "/*",
            "HttpMethod": "*",
            "MetricsEnabled": True,
            "LoggingLevel": "ERROR",
            "ThrottlingRateLimit": 20,
            "ThrottlingBurstLimit": 40,
        }
    ]
    assert stage["Variables"] == {"ExecutionLogs": "<AccountExecutionLogs>", "LoggingRole": "<ApiGatewayAccount>"}
    assert properties("AccountExecutionLogs")["LogGroupName"] == "API-Gateway-Execution-Logs_<AccountApi>/prod"
    answers = properties("AccountApi")["Body"]["x-amazon-apigateway-gateway-responses"]
    for answer in answers.values():
        headers = answer["responseParameters"]
        assert headers["gatewayresponse.header.Content-Type"] == "'text/plain; charset=utf-8'"
        assert headers["gatewayresponse.header.Cache-Control"] == "'no-store'"
        assert "$" not in answer["responseTemplates"]["application/json"]


OF_THE_PAGE = {
    "CustomerPage",
    "CustomerPageRole",
    "CustomerPageLogs",
    "AccountApi",
    "AccountExecutionLogs",
    "AccountPage5xxAlarm",
    "AccountLinksRefusedAlarm",
    "AccountPage4xxAlarm",
    "MailsWithoutLinkAlarm",
}


def test_a_team_with_a_page_of_its_own_has_no_other() -> None:
    """With CustomerPageUrl, the customer page of the stack is not made, mails get no address of it, and nothing refers
    to what is not made."""
    written = template()["Resources"]
    condition = "OffersAccountPage"
    assert template()["Conditions"][condition] == {"Fn::Equals": [{"Ref": "CustomerPageUrl"}, ""]}
    assert {name for name, each in written.items() if each.get("Condition") == condition} == OF_THE_PAGE
    assert template()["Outputs"]["AccountUrl"]["Condition"] == condition
    others = json.dumps(_without(condition, {name: each for name, each in written.items() if name not in OF_THE_PAGE}))
    assert not re.search("|".join(rf'"{name}["."]|\${{{name}[}}.]' for name in OF_THE_PAGE), others)


@pytest.mark.parametrize("form", ["CancellationForm", "WithdrawalForm"])
@pytest.mark.parametrize(("own_page", "is_on"), [(False, False), (False, True), (True, False), (True, True)])
def test_a_form_that_is_on_has_a_page(form: str, own_page: bool, is_on: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A public form is a page of the stack. CloudFormation refuses a form that is on beside CustomerPageUrl, which
    switches the page off: no seller shall believe in a form that does not exist."""
    monkeypatch.setitem(GIVEN, form, "on" if is_on else "off")
    monkeypatch.setitem(GIVEN, "CustomerPageUrl", "https://shop.test/account" if own_page else "")
    [rule] = template()["Rules"].values()
    assert any(map(holds, rule["RuleCondition"]["Fn::Or"])) == is_on
    [assertion] = rule["Assertions"]
    assert holds(assertion["Assert"]) != own_page
    assert "CustomerPageUrl" in assertion["AssertDescription"]


def test_the_key_of_the_account_links_is_json() -> None:
    """The generated secret is JSON with the current key, and no character of the key can end the JSON string."""
    generated = properties("AccountLinkKey")["GenerateSecretString"]
    assert (generated["SecretStringTemplate"], generated["GenerateStringKey"]) == ("{}", "current")
    left = {chr(code) for code in range(33, 127)} - set(generated["ExcludeCharacters"])
    assert all(each.isalnum() for each in left)
    assert generated["PasswordLength"] == 64


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
    """Each API's own address accepts TLS 1.2 and 1.3 with forward secrecy only, and refuses a request whose TLS
    handshake and Host header name different hosts."""
    for api in of_type("AWS::ApiGateway::RestApi").values():
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


def test_the_worker_of_typed_addresses_is_bounded() -> None:
    """At most two runs of the worker are at work at once: a flood of typed addresses leaves the account's concurrency
    to renewals. A failed message fails alone and is tried five times, and what strangers typed is kept for three days
    at most."""
    (source,) = _sources_of("AddressWorker")
    assert source["EventSourceArn"] == "<AddressQueue.Arn>"
    assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert source["ScalingConfig"] == {"MaximumConcurrency": 2}
    queue = properties("AddressQueue")
    assert queue["RedrivePolicy"] == {"deadLetterTargetArn": "<AddressDeadLetterQueue.Arn>", "maxReceiveCount": 5}
    assert queue["VisibilityTimeout"] == 6 * properties("AddressWorker")["Timeout"]
    kept = [properties(name)["MessageRetentionPeriod"] for name in ("AddressQueue", "AddressDeadLetterQueue")]
    assert kept == [24 * 3600, 3 * 24 * 3600]


@pytest.mark.parametrize("given", [{"MailAddressIndex": "absent"}, {"CustomerPageUrl": "https://shop.test/account"}])
def test_without_index_or_page_there_is_no_form(given: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the index on the mail address, or with a page of the team's own, the worker of typed addresses is not
    made, the page gets no queue, and nothing refers to what is not made."""
    written = template()["Resources"]
    names = {name for name, each in written.items() if each.get("Condition") == "OffersAddressForm"}
    assert names == {
        "AddressWorker",
        "AddressWorkerRole",
        "AddressWorkerLogs",
        "AddressQueue",
        "AddressDeadLetterQueue",
        "AddressQueuePolicy",
        "AddressDeadLetterQueuePolicy",
        "AddressFormFloodAlarm",
        "AddressDeadLettersAlarm",
    }
    for name, value in given.items():
        monkeypatch.setitem(GIVEN, name, value)
    assert not holds(template()["Conditions"]["OffersAddressForm"])
    others = json.dumps(resolve({name: each for name, each in written.items() if name not in names}))
    assert not re.search("|".join(rf"<{name}[>.]" for name in names), others)


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
    resolved: dict[str, Json] = resolve(transformed(PSEUDO["AWS::Region"], dict(GIVEN))["Resources"])
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


RESERVED = sorted(open_functions() | {"EventPublisher"})
"""The functions that strangers reach, and the function that a storm of writes drives."""


@pytest.mark.parametrize("function", RESERVED)
def test_executions_are_reserved_on_demand(function: str) -> None:
    """By default nothing is reserved and nothing is bounded: a new account may have only ten executions, and cannot
    reserve any."""
    assert template()["Parameters"][f"{function}Concurrency"]["Default"] == 0
    assert not holds(template()["Conditions"][f"ReservesFor{function}"])
    assert properties(function)["ReservedConcurrentExecutions"] == "<AWS::NoValue>"


@pytest.mark.parametrize("function", RESERVED)
def test_a_flood_of_a_function_with_a_reservation_leaves_payments_their_executions(
    function: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its parameter set, a function that strangers reach, or that a storm of writes drives, runs so many
    executions at most: the others stay for payments, and no function of a payment is bounded."""
    monkeypatch.setitem(GIVEN, f"{function}Concurrency", "7")
    made: dict[str, Json] = resolve(transformed(PSEUDO["AWS::Region"], dict(GIVEN))["Resources"])
    reserved = {name: each["Properties"].get("ReservedConcurrentExecutions", "<AWS::NoValue>") for name, each in
                made.items() if each["Type"] == "AWS::Lambda::Function"}  # fmt: skip
    assert {name for name, number in reserved.items() if number != "<AWS::NoValue>"} == {function}
    assert reserved[function] == "7"


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


def test_declarations_are_recorded_and_looked_at() -> None:
    """The table of declarations deletes a declaration after its `expires_at`. Every new declaration comes to
    DeclarationWorker, from the first record on, without a limit of tries or of age, and in halves after an error."""
    table = properties("Declarations")
    assert table["KeySchema"] == [{"AttributeName": "declaration", "KeyType": "HASH"}]
    assert table["TimeToLiveSpecification"] == {"AttributeName": "expires_at", "Enabled": True}
    assert table["StreamSpecification"] == {"StreamViewType": "KEYS_ONLY"}
    [source] = _sources_of("DeclarationWorker")
    assert source == {
        "EventSourceArn": "<Declarations.StreamArn>",
        "FunctionName": "<DeclarationWorker>",
        "StartingPosition": "TRIM_HORIZON",
        "BatchSize": 10,
        "BisectBatchOnFunctionError": True,
        "FilterCriteria": {"Filters": [{"Pattern": '{"eventName": ["INSERT"]}'}]},
    }


def test_the_open_declarations_are_looked_at_once_a_day() -> None:
    """Once a day, DeclarationWorker looks at declarations that were missed, and counts those that wait for a person."""
    every = of_type("AWS::Scheduler::Schedule").values()
    (schedule,) = (each for each in every if each["Name"] == "acme-declarations-qa")
    assert schedule["ScheduleExpression"] == "cron(0 8 * * ? *)"
    assert schedule["Target"]["Arn"] == "<DeclarationWorker.Arn>"
    assert schedule["Target"]["RoleArn"] == "<DeclarationsScheduleRole.Arn>"
    assert json.loads(schedule["Target"]["Input"]) == {"declarations": "open"}


@pytest.mark.parametrize("name", ["CancellationForm", "WithdrawalForm"])
def test_a_public_form_is_off_unless_its_parameter_says_so(name: str) -> None:
    """Each public form has a parameter of its own, which is off by default."""
    declared = template()["Parameters"][name]
    assert (declared["Default"], declared["AllowedValues"]) == ("off", ["off", "on"])


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


# --- outputs, layers, commands ----------------------------------------------------------------------------------


def test_outputs() -> None:
    """The stack's outputs name everything needed by people and programs that use the stack, and every output has a
    description."""
    outputs = template()["Outputs"]
    assert {name: resolve(each["Value"]) for name, each in outputs.items()} == {
        "WebhookUrl": "https://<SubscriptionApi>.execute-api.eu-test-1.amazonaws.com/prod/webhook",
        "GatewayEventsUrl": "https://<SubscriptionApi>.execute-api.eu-test-1.amazonaws.com/prod/gateway-events",
        "GatewayEventsSecretArn": "<GatewayEventsSecret.Id>",
        "GatewayEventsQueueUrl": "<GatewayEventsQueue>",
        "GatewayDeadLetterQueueUrl": "<GatewayDeadLetterQueue>",
        "SubscriptionsApiUrl": "https://<SubscriptionApi>.execute-api.eu-test-1.amazonaws.com/prod",
        "AccountUrl": "https://<AccountApi>.execute-api.eu-test-1.amazonaws.com/prod/account",
        "AccountLinkKeyArn": "<AccountLinkKey.Id>",
        "SubscriptionsTableName": "<Subscriptions>",
        "RenewalsTableName": "<Renewals>",
        "ChangesTableName": "<Changes>",
        "DeclarationsTableName": "<Declarations>",
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
    "LanguageLayer": "language",
    "ApiLayer": "api",
    "PageLayer": "page",
}


def test_functions_have_the_layers_they_need_and_no_more() -> None:
    """Functions that ask the gateway have Stripe, functions that write to customers have Babel, the receipt function
    has the PDF library, the webhook's function the signature library, the API pydantic, and the customer page Jinja;
    none has more layers."""
    shared = template()["Globals"]["Function"]["Layers"]
    declared = {
        name: [layer["Ref"] for layer in [*shared, *each["Properties"].get("Layers", [])]]
        for name, each in template()["Resources"].items()
        if each["Type"] == "AWS::Serverless::Function"
    }
    assert declared == {
        "ProcessPayment": ["AwsLayer", "PaymentLayer"],
        "GenerateReceipt": ["AwsLayer", "ReceiptLayer", "LanguageLayer"],
        "SendEmail": ["AwsLayer", "LanguageLayer"],
        "WebhookHandler": ["AwsLayer", "WebhookLayer"],
        "SubscriptionsApi": ["AwsLayer", "ApiLayer", "PaymentLayer"],
        "ReceiptLinks": ["AwsLayer"],
        "CustomerPage": ["AwsLayer", "PageLayer", "LanguageLayer"],
        "AddressWorker": ["AwsLayer"],
        "RenewalSweep": ["AwsLayer"],
        "RenewalWorker": ["AwsLayer"],
        "RenewalAudit": ["AwsLayer", "PaymentLayer"],
        "GatewayCatchUp": ["AwsLayer", "PaymentLayer"],
        "GatewayEvents": ["AwsLayer", "PaymentLayer"],
        "GatewayWorker": ["AwsLayer", "PaymentLayer"],
        "MailFeedback": ["AwsLayer"],
        "EventPublisher": ["AwsLayer"],
        "EventDeliverer": ["AwsLayer", "WebhookLayer"],
        "DeclarationWorker": ["AwsLayer"],
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
