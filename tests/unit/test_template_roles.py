"""The permissions of template.yaml: each role allows exactly what its service does."""

from collections.abc import Iterator

import pytest

from tests.strangers import open_functions
from tests.template import MAIL, WORKFLOW, of_type, properties

TRACES = {"xray:PutTraceSegments": {"*"}, "xray:PutTelemetryRecords": {"*"}}
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
        "dynamodb:Query": {"<Subscriptions.Arn>", "<Renewals.Arn>", "<Changes.Arn>"},
        "dynamodb:BatchGetItem": {"<Subscriptions.Arn>", "<Changes.Arn>"},
        "dynamodb:GetItem": {"<Subscriptions.Arn>", "<Renewals.Arn>"},
        "dynamodb:UpdateItem": {"<Subscriptions.Arn>", "<Renewals.Arn>"},
        "dynamodb:ConditionCheckItem": {"<Subscriptions.Arn>", "<Changes.Arn>"},
        "dynamodb:PutItem": {"<Renewals.Arn>", "<Changes.Arn>"},
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
        "dynamodb:Query": {"<Renewals.Arn>", "<Changes.Arn>"},
        "dynamodb:UpdateItem": {"<Renewals.Arn>", "<Subscriptions.Arn>", "<Changes.Arn>"},
        "dynamodb:ConditionCheckItem": {"<Subscriptions.Arn>"},
        "s3:ListBucket": {"<Receipts.Arn>"},
        "s3:GetObject": {"<Receipts.Arn>/receipts/*"},
        "secretsmanager:GetSecretValue": {"<ReceiptLinkKey.Id>", "<AccountLinkKey.Id>"},
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
        "states:StartExecution": {WORKFLOW},
        **_own_log("SubscriptionsApi"),
        **TRACES,
    },
    "ReceiptLinksRole": {
        "dynamodb:GetItem": {"<Renewals.Arn>"},
        "secretsmanager:GetSecretValue": {"<ReceiptLinkKey.Id>"},
        "s3:ListBucket": {"<Receipts.Arn>"},
        "s3:GetObject": {"<Receipts.Arn>/receipts/*"},
        **_own_log("ReceiptLinks"),
        **TRACES,
    },
    "CustomerPageRole": {
        "dynamodb:Query": {"<Subscriptions.Arn>", "<Renewals.Arn>", "<Changes.Arn>"},
        "dynamodb:GetItem": {"<Renewals.Arn>"},
        "dynamodb:UpdateItem": {"<Subscriptions.Arn>", "<Counters.Arn>"},
        "dynamodb:PutItem": {"<Renewals.Arn>", "<Changes.Arn>", "<Declarations.Arn>"},
        "dynamodb:ConditionCheckItem": {"<Renewals.Arn>"},
        "secretsmanager:GetSecretValue": {"<AccountLinkKey.Id>", "<ReceiptLinkKey.Id>"},
        "sqs:SendMessage": {"<RenewalQueue.Arn>", "<AddressQueue.Arn>"},
        "lambda:InvokeFunction": {"<ProcessPayment.Arn>"},
        **_own_log("CustomerPage"),
        **TRACES,
    },
    "AddressWorkerRole": {
        "dynamodb:Query": {"<Subscriptions.Arn>/index/mail-address-index"},
        "dynamodb:BatchGetItem": {"<Subscriptions.Arn>"},
        "dynamodb:UpdateItem": {"<Subscriptions.Arn>", "<Counters.Arn>"},
        "dynamodb:PutItem": {"<Changes.Arn>"},
        "sqs:ReceiveMessage": {"<AddressQueue.Arn>"},
        "sqs:DeleteMessage": {"<AddressQueue.Arn>"},
        "sqs:GetQueueAttributes": {"<AddressQueue.Arn>"},
        **_own_log("AddressWorker"),
        **TRACES,
    },
    "DeclarationWorkerRole": {
        **{
            f"dynamodb:{action}": {"<Declarations.Arn>/stream/*"}
            for action in ("DescribeStream", "GetRecords", "GetShardIterator", "ListStreams")
        },
        "dynamodb:Query": {
            "<Subscriptions.Arn>",
            "<Subscriptions.Arn>/index/mail-address-index",
            "<Renewals.Arn>",
            "<Changes.Arn>",
        },
        "dynamodb:BatchGetItem": {"<Subscriptions.Arn>"},
        "dynamodb:GetItem": {"<Declarations.Arn>", "<Renewals.Arn>"},
        "dynamodb:Scan": {"<Declarations.Arn>"},
        "dynamodb:UpdateItem": {"<Declarations.Arn>", "<Subscriptions.Arn>"},
        "dynamodb:PutItem": {"<Changes.Arn>"},
        "dynamodb:ConditionCheckItem": {"<Declarations.Arn>", "<Renewals.Arn>"},
        "sqs:SendMessage": {"<RenewalQueue.Arn>"},
        **_own_log("DeclarationWorker"),
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
        "dynamodb:Query": {
            "<Renewals.Arn>",
            "<Changes.Arn>",
            "<Subscriptions.Arn>",
            "<Subscriptions.Arn>/index/payment-method-index",
        },
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
        "sqs:GetQueueAttributes": {"<GatewayEventsQueue.Arn>"},
        "s3:GetObject": {"<Receipts.Arn>/gateway-catch-up/*"},
        "s3:PutObject": {"<Receipts.Arn>/gateway-catch-up/*"},
        "s3:ListBucket": {"<Receipts.Arn>"},
        "lambda:InvokeFunction": {"arn:aws:lambda:eu-test-1:123456789012:function:acme-gateway-catch-up-qa"},
        **_own_log("GatewayCatchUp"),
        **TRACES,
    },
    "GatewayCatchUpScheduleRole": {"lambda:InvokeFunction": {"<GatewayCatchUp.Arn>"}},
    "MailFeedbackRole": {
        "dynamodb:GetItem": {"<Renewals.Arn>", "<Subscriptions.Arn>", "<Changes.Arn>"},
        "dynamodb:UpdateItem": {"<Renewals.Arn>", "<Subscriptions.Arn>", "<Changes.Arn>"},
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
    "DeclarationsScheduleRole": {"lambda:InvokeFunction": {"<DeclarationWorker.Arn>"}},
    "DeliveriesScheduleRole": {"lambda:InvokeFunction": {"<EventDeliverer.Arn>"}},
    "EventPublisherRole": {
        **{
            f"dynamodb:{action}": {f"<{table}.Arn>/stream/*" for table in ("Subscriptions", "Renewals", "Changes")}
            for action in ("DescribeStream", "GetRecords", "GetShardIterator", "ListStreams")
        },
        "dynamodb:Query": {"<Subscriptions.Arn>", "<Renewals.Arn>"},
        "events:PutEvents": {"<EventBus.Arn>"},
        "sqs:SendMessage": {"<UnreadableRecordsQueue.Arn>", "<DeliveriesQueue.Arn>", "<RenewalQueue.Arn>"},
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
    "DeclarationsScheduleRole": "scheduler.amazonaws.com",
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


def test_who_looks_an_address_up_cannot_charge_or_mail() -> None:
    """The page that strangers reach cannot look an address up. The worker that can reads no secret, starts no workflow,
    asks for no renewal, calls no function, sends no mail and deletes no data."""
    page = {f"{action} {resource}" for action, resource in _grants("CustomerPageRole")}
    assert not any("/index/" in each or "Scan" in each for each in page)
    worker = {f"{action} {resource}" for action, resource in _grants("AddressWorkerRole")}
    for forbidden in ("Secret", "Key", "states:", "ses:", "lambda:", "DeleteItem", "s3:", "RenewalQueue", "Renewals"):
        assert not any(forbidden in each for each in worker), forbidden


def test_no_function_that_strangers_reach_can_read_the_key_of_the_gateway() -> None:
    """Behind each path that needs no signature of AWS is a function whose role reads neither the secret with the
    gateway's key, nor all secrets, and changes no secret and no role."""
    strangers = open_functions()
    assert {"WebhookHandler", "GatewayEvents", "ReceiptLinks", "CustomerPage"} <= strangers
    for name in strangers:
        role = str(properties(name)["Role"]).removeprefix("<").removesuffix(".Arn>")
        for action, resource in _grants(role):
            assert "PaymentGatewaySecret" not in resource, (name, action)
            assert resource != "*" or action in TRACES, (name, action)
            assert not action.startswith(("iam:", "sts:")), (name, action)
            assert not action.startswith("secretsmanager:") or action == "secretsmanager:GetSecretValue", (name, action)


def test_the_customer_page_cannot_charge_or_mail() -> None:
    """The function that strangers reach reads no key of the gateway, starts no workflow, sends no mail and deletes
    nothing; the only function that it calls is ProcessPayment, which serves customers' requests under its own rules."""
    allowed = {f"{action} {resource}" for action, resource in _grants("CustomerPageRole")}
    for forbidden in ("PaymentGatewaySecret", "states:", "ses:", "Delete", "s3:"):
        assert not any(forbidden in each for each in allowed), forbidden
