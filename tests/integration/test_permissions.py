"""Each permission that is deployed is needed, and none beside them: taken away one by one, each is missed.

A probe is the smallest work that needs one permission. Its owner does it twice, on subscriptions of its own: without
the permission, and with it back. What the emulator has no use for stands in one table, with the reason; that those
are the right ones is asserted on the template, in tests/unit/test_template.py.
"""

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import pytest
import urllib3

from local.gateway import official_client
from local.stack import STACK_NAME
from renewals.domain.request import Asks
from renewals.ledger import receipt_links
from tests.integration.shop import RUNNING, SUCCEEDED, Shop, Subscriber, today, wait_until
from tests.integration.stacks import SCALE_OF_WAITS

EXECUTION = "an execution of these tests"
type Json = dict[str, Any]


class Grant(NamedTuple):
    """One action that a role may do on one resource, as `table/<Renewals>`: the end of its ARN, with the template's
    name for it. Where AWS's own policy is attached, the action is that policy's ARN.
    """

    role: str
    action: str
    on: str


@dataclass(frozen=True)
class Answer:
    """What came of one try. told: the reply and the end of the log, or the errors of a workflow's tasks."""

    reply: Json
    told: str

    def gives(self, promised: Json) -> bool:
        return promised.items() <= self.reply.items()


class Deployed:
    """The deployed functions and roles, by their names in the template."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self._iam = shop.stack.client("iam")
        pages = shop.stack.client("cloudformation").get_paginator("list_stack_resources")
        found = [
            resource for page in pages.paginate(StackName=STACK_NAME) for resource in page["StackResourceSummaries"]
        ]
        self.names = {resource["LogicalResourceId"]: resource["PhysicalResourceId"] for resource in found}
        # The ARN, as on AWS: the emulator lists the name, and the ARN's end is made up anew by each deployment.
        self.names["PaymentGatewaySecret"] = shop.stack.outputs["PaymentGatewaySecretArn"]
        self.names["WebhookSecret"] = shop.stack.outputs["WebhookSecretArn"]
        self.names["ReceiptLinkKey"] = shop.stack.outputs["ReceiptLinkKeyArn"]
        # A queue is listed by its address, which ends in its name.
        for queue in ("RenewalQueue", "MailFeedbackDeadLetterQueue"):
            self.names[queue] = self.names[queue].rpartition("/")[2]
        self._roles = [each["LogicalResourceId"] for each in found if each["ResourceType"] == "AWS::IAM::Role"]

    def grants(self) -> set[Grant]:
        """All that the roles allow."""
        inline = {
            self._grant(role, action, resource)
            for role in self._roles
            for document in self._inline(role).values()
            for action, resource in pairs(document)
        }
        return inline | {Grant(role, policy, "*") for role in self._roles for policy in self._attached(role)}

    @contextmanager
    def without(self, *taken: Grant) -> Iterator[None]:
        """For a while the roles have all that they had but these."""
        roles = {grant.role for grant in taken}
        inline = {role: self._inline(role) for role in roles}
        attached = [(role, policy) for role in roles for policy in self._attached(role)]
        try:
            for role, documents in inline.items():
                for name, document in documents.items():
                    left = [pair for pair in pairs(document) if self._grant(role, *pair) not in taken]
                    statements = [{"Effect": "Allow", "Action": action, "Resource": on} for action, on in left]
                    self._put(role, name, {"Version": "2012-10-17", "Statement": statements})
            for role, policy in attached:
                if Grant(role, policy, "*") in taken:
                    self._iam.detach_role_policy(RoleName=self.names[role], PolicyArn=policy)
            yield
        finally:
            for role, documents in inline.items():
                for name, document in documents.items():
                    self._put(role, name, document)
            for role, policy in attached:
                self._iam.attach_role_policy(RoleName=self.names[role], PolicyArn=policy)

    def call(self, function: str, event: Json) -> Answer:
        """One call of a function, made by the account's root."""
        name = self.names[function]
        answer = self.shop.functions.invoke(FunctionName=name, Payload=json.dumps(event), LogType="Tail")
        reply = answer["Payload"].read().decode()
        return Answer(json.loads(reply), f"{reply}\n{base64.b64decode(answer['LogResult']).decode(errors='replace')}")

    def restart(self, function: str) -> None:
        """The next call finds a new process, which has read no secret yet: a setting is set, to what it is."""
        name = self.names[function]
        timeout = self.shop.functions.get_function_configuration(FunctionName=name)["Timeout"]
        self.shop.functions.update_function_configuration(FunctionName=name, Timeout=timeout)

    @contextmanager
    def timeout(self, function: str, seconds: int) -> Iterator[None]:
        """For a while a run of the function has so much time."""
        name = self.names[function]
        kept = self.shop.functions.get_function_configuration(FunctionName=name)["Timeout"]
        self.shop.functions.update_function_configuration(FunctionName=name, Timeout=seconds)
        try:
            yield
        finally:
            self.shop.functions.update_function_configuration(FunctionName=name, Timeout=kept)

    def queue_is_empty(self) -> bool:
        url = self.shop.stack.outputs["RenewalQueueUrl"]
        names = [f"ApproximateNumberOfMessages{kind}" for kind in ("", "NotVisible", "Delayed")]
        counts = self.shop.stack.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return not any(int(count) for count in counts.values())

    def pay(self, subscriber: Subscriber) -> Answer:
        return self.call("ProcessPayment", {"execution": EXECUTION, "request": json.loads(subscriber.request())})

    def issue_receipt(self, paid: Json) -> Answer:
        return self.call("GenerateReceipt", {"execution": EXECUTION, "renewal": paid})

    def _grant(self, role: str, action: str, arn: str) -> Grant:
        named = [(physical, logical) for logical, physical in self.names.items() if physical in arn]
        if named:
            physical, logical = max(named, key=lambda pair: len(pair[0]))
            arn = arn.replace(physical, f"<{logical}>")
        return Grant(role, action, arn.split(":", 5)[-1])

    def _inline(self, role: str) -> dict[str, Json]:
        name = self.names[role]
        policies = self._iam.list_role_policies(RoleName=name)["PolicyNames"]
        return {
            policy: self._iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"] for policy in policies
        }

    def _attached(self, role: str) -> list[str]:
        attached = self._iam.list_attached_role_policies(RoleName=self.names[role])["AttachedPolicies"]
        return [policy["PolicyArn"] for policy in attached]

    def _put(self, role: str, policy: str, document: Json) -> None:
        if not document["Statement"]:  # IAM takes no policy that says nothing
            self._iam.delete_role_policy(RoleName=self.names[role], PolicyName=policy)
            return
        self._iam.put_role_policy(RoleName=self.names[role], PolicyName=policy, PolicyDocument=json.dumps(document))


def pairs(document: Json) -> Iterator[tuple[str, str]]:
    """The actions of a policy, each with each of its resources."""
    for statement in document["Statement"]:
        assert set(statement) - {"Condition"} == {"Effect", "Action", "Resource"}
        assert statement["Effect"] == "Allow"
        for action in as_list(statement["Action"]):
            for resource in as_list(statement["Resource"]):
                yield action, resource


def as_list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


@pytest.fixture(scope="module")
def deployed(shop: Shop) -> Deployed:
    return Deployed(shop)


# --- the probes: the first answer is taken without the permission, the second with it ----------------------------

type Probe = Callable[[Deployed], Iterator[Answer]]


def payment(deployed: Deployed) -> Iterator[Answer]:
    """Claims, charges and records; what was begun without the permission is finished with it."""
    subscriber = deployed.shop.subscribe()
    for _ in range(2):
        yield deployed.pay(subscriber)


def refunds_looked_at(deployed: Deployed) -> Iterator[Answer]:
    """The refunds of a paid period are compared with the gateway's, and nothing is charged."""
    subscriber = deployed.shop.subscribe()
    deployed.shop.renew(subscriber)
    (item,) = deployed.shop.ledger(subscriber)
    request = json.loads(subscriber.request()) | {
        "renewal_date": item["renewal_date"],
        "event_type": Asks.SETTLE_REFUNDS,
    }
    for _ in range(2):
        answer = deployed.call("ProcessPayment", {"execution": EXECUTION, "request": request})
        looked = answer.reply.get("reason") == "refunds_looked_at"
        yield Answer(PROMISED["ProcessPaymentRole"] if looked else {}, answer.told)


def payment_by_a_new_process(deployed: Deployed) -> Iterator[Answer]:
    """A process reads the gateway's key once."""
    deployed.restart("ProcessPayment")
    return payment(deployed)


def payment_that_was_begun(deployed: Deployed) -> Iterator[Answer]:
    """Only a run that did not claim the period itself reads the row again when it records the payment."""
    subscriber = deployed.shop.subscribe()
    deployed.shop.sandbox.hostile("503", "payment_intents.create", calls=1, customer=subscriber.gateway_customer)
    deployed.pay(subscriber)
    for _ in range(2):
        yield deployed.pay(subscriber)


def receipt(deployed: Deployed) -> Iterator[Answer]:
    paid = deployed.pay(deployed.shop.subscribe()).reply
    for _ in range(2):
        yield deployed.issue_receipt(paid)


def receipt_that_is_stored(deployed: Deployed) -> Iterator[Answer]:
    """Only a receipt that somebody stored before is read."""
    paid = deployed.pay(deployed.shop.subscribe()).reply
    key = f"receipts/{paid['customer_id']}/{paid['subscription_id']}/{paid['transaction_id']}.pdf"
    deployed.shop.s3.put_object(Bucket=deployed.shop.bucket, Key=key, Body=b"a receipt")
    for _ in range(2):
        yield deployed.issue_receipt(paid)


def mail(deployed: Deployed) -> Iterator[Answer]:
    receipted = deployed.issue_receipt(deployed.pay(deployed.shop.subscribe()).reply).reply
    for _ in range(2):
        yield deployed.call("SendEmail", {"execution": EXECUTION, "renewal": receipted})


def reminder(deployed: Deployed) -> Iterator[Answer]:
    """Only a reminder is recorded on the subscription's row."""
    day = (today() + timedelta(days=5)).isoformat()
    subscriber = deployed.shop.subscribe(renewal_date=day, interval="year")
    told = {"subscription_id": subscriber.subscription_id, "customer_id": subscriber.customer_id, "renewal_date": day}
    for _ in range(2):
        renewal = told | {"outcome": "remind", "reminders": ["upcoming"]}
        yield deployed.call("SendEmail", {"execution": EXECUTION, "renewal": renewal})


def mail_by_a_new_process(deployed: Deployed) -> Iterator[Answer]:
    """A process reads the key of the links once a minute."""
    deployed.restart("SendEmail")
    return mail(deployed)


def webhook(deployed: Deployed) -> Iterator[Answer]:
    """Not due, so that what it starts charges nobody."""
    body = deployed.shop.subscribe(renewal_date=(today() + timedelta(days=1)).isoformat()).request()
    event = {"headers": deployed.shop.signed(body), "body": body.decode(), "isBase64Encoded": False}
    for _ in range(2):
        yield deployed.call("WebhookHandler", event)


def webhook_to_a_new_process(deployed: Deployed) -> Iterator[Answer]:
    """A process reads the signing secret once."""
    deployed.restart("WebhookHandler")
    return webhook(deployed)


def api_request(method: str, path: str, body: Json | None = None, key: str | None = None) -> Json:
    """What API Gateway hands the function for a request of the account's root. path: with a query or without."""
    path, _, query = path.partition("?")
    return {
        "httpMethod": method,
        "path": path,
        "headers": {"Idempotency-Key": key} if key else {},
        "requestContext": {"identity": {"userArn": "arn:aws:iam::000000000000:root"}, "stage": "prod", "path": path},
        "queryStringParameters": dict(parse_qsl(query)) or None,
        "multiValueQueryStringParameters": {name: [value] for name, value in parse_qsl(query)} or None,
        "body": json.dumps(body) if body else None,
    }


def api(deployed: Deployed, event: Json) -> Answer:
    answer = deployed.call("SubscriptionsApi", event)
    return Answer({"done": answer.reply["statusCode"] < 300}, answer.told)


def api_read(path: str) -> Probe:
    """A list, or what the path says of a subscription."""

    def probe(deployed: Deployed) -> Iterator[Answer]:
        subscription_id = deployed.shop.subscribe().subscription_id
        event = api_request("GET", path.replace("ID", subscription_id))
        for _ in range(2):
            yield api(deployed, event)

    return probe


def api_create(deployed: Deployed) -> Iterator[Answer]:
    """Nothing is there when the first try was refused, so that the same request is made again."""
    subscriber = deployed.shop.subscribe(renewal_date=(today() + timedelta(days=1)).isoformat())
    body = {
        "subscription_id": f"{subscriber.subscription_id}_new",
        "customer_id": subscriber.customer_id,
        "amount": {"amount": subscriber.amount, "currency": "USD"},
        "gateway_customer": subscriber.gateway_customer,
        "payment_method": subscriber.payment_method,
        "renewal_date": (today() + timedelta(days=1)).isoformat(),
    }
    for _ in range(2):
        yield api(deployed, api_request("POST", "/subscriptions", body, key=subscriber.subscription_id))


def api_receipt(deployed: Deployed) -> Iterator[Answer]:
    """A link is followed to the end: the bucket is asked in the name of the function's role."""
    receipted = deployed.issue_receipt(deployed.pay(deployed.shop.subscribe()).reply).reply
    secret = deployed.shop.stack.client("secretsmanager").get_secret_value(SecretId=deployed.names["ReceiptLinkKey"])
    token = receipt_links.token(secret["SecretString"], receipted["subscription_id"], receipted["renewal_date"])
    for _ in range(2):
        answer = deployed.call("SubscriptionsApi", api_request("GET", f"/receipts/{token}"))
        if answer.reply["statusCode"] != 302:
            yield Answer({"done": False}, answer.told)
            continue
        opened = urllib3.request("GET", answer.reply["multiValueHeaders"]["Location"][0], retries=False, timeout=10)
        yield Answer({"done": opened.data.startswith(b"%PDF-")}, opened.data.decode(errors="replace"))


def api_receipt_by_a_new_process(deployed: Deployed) -> Iterator[Answer]:
    deployed.restart("SubscriptionsApi")
    return api_receipt(deployed)


def api_resume(deployed: Deployed) -> Iterator[Answer]:
    """A date fell into the pause: it is left as skipped."""
    fell_due = (today() - timedelta(days=3)).isoformat()
    subscriber = deployed.shop.subscribe(status="paused", renewal_date=fell_due)
    for _ in range(2):
        yield api(deployed, api_request("POST", f"/subscriptions/{subscriber.subscription_id}/resume"))


def api_end(deployed: Deployed) -> Iterator[Answer]:
    """At the end of the period, while no charge begins."""
    subscriber = deployed.shop.subscribe(renewal_date=(today() + timedelta(days=1)).isoformat())
    for _ in range(2):
        path = f"/subscriptions/{subscriber.subscription_id}/cancel"
        yield api(deployed, api_request("POST", path, {"when": "at_period_end"}))


def api_refund(deployed: Deployed) -> Iterator[Answer]:
    """Of a renewal that was receipted and mailed; the same request goes on where it was cut off."""
    subscriber = deployed.shop.subscribe()
    deployed.shop.renew(subscriber)
    (item,) = deployed.shop.ledger(subscriber)
    path, body = f"/subscriptions/{subscriber.subscription_id}/refund", {"renewal_date": item["renewal_date"]}
    for _ in range(2):
        yield api(deployed, api_request("POST", path, body, key=subscriber.subscription_id))


def api_refund_by_a_new_process(deployed: Deployed) -> Iterator[Answer]:
    deployed.restart("SubscriptionsApi")
    return api_refund(deployed)


def api_start(deployed: Deployed) -> Iterator[Answer]:
    """A card for a subscription that is due: it is kept, and the workflow is started if it may be."""
    subscriber = deployed.shop.subscribe()
    path = f"/subscriptions/{subscriber.subscription_id}/payment-method"
    for _ in range(2):
        before = deployed.shop.all_executions()
        answer = api(deployed, api_request("PUT", path, {"payment_method": subscriber.payment_method}))
        yield Answer({"done": deployed.shop.all_executions() > before}, answer.told)


def sweep_read(part: Json) -> Probe:
    """One part of a sweep, of which nothing is sent."""

    def probe(deployed: Deployed) -> Iterator[Answer]:
        for _ in range(2):
            yield deployed.call("RenewalSweep", {"part": part | {"sends": False}})

    return probe


def sweep_send(deployed: Deployed) -> Iterator[Answer]:
    """A date of its own, on which one subscription was due."""
    deployed.shop.subscribe(renewal_date="2020-01-31", interval="year")
    for _ in range(2):
        yield deployed.call("RenewalSweep", {"part": {"kind": "date", "of": "2020-01-31"}})


def sweep_hand_on(deployed: Deployed) -> Iterator[Answer]:
    """Begun at tomorrow, when nothing is due yet."""
    start = {"kind": "date", "of": (today() + timedelta(days=1)).isoformat()}
    for _ in range(2):
        yield deployed.call("RenewalSweep", {"sweep": "due", "from": start})


def sweep_ask(deployed: Deployed) -> Iterator[Answer]:
    """The nightly one, which finds the queue drained of what the other probes sent."""
    wait_until(deployed.queue_is_empty)
    for _ in range(2):
        yield deployed.call("RenewalSweep", {"sweep": "all"})


def worker(deployed: Deployed) -> Iterator[Answer]:
    """Not due, so that the workflow charges nobody."""
    body = deployed.shop.subscribe(renewal_date=(today() + timedelta(days=1)).isoformat()).request().decode()
    for _ in range(2):
        yield deployed.call("RenewalWorker", {"Records": [record(body)]})


def worker_that_puts_off(deployed: Deployed) -> Iterator[Answer]:
    """The workflow rejects an unknown subscription, and the worker says when the message is to come back. There is no
    such message, which SQS says only to those who may ask."""
    nobody = json.dumps({"subscription_id": "sub_nobody", "customer_id": "cus_nobody", "amount": "1.00"})
    for _ in range(2):
        answer = deployed.call("RenewalWorker", {"Records": [record(nobody)]})
        yield Answer({"answered": "ReceiptHandleIsInvalid" in answer.told}, answer.told)


def audit(deployed: Deployed) -> Iterator[Answer]:
    """Of today, with a renewal that is done."""
    day = today().isoformat()
    for _ in range(2):
        yield deployed.call("RenewalAudit", {"from": day, "to": day})


def audit_of_a_renewal(deployed: Deployed) -> Iterator[Answer]:
    """Today's charges are read from the ledger, and their receipts looked at."""
    deployed.shop.renew(deployed.shop.subscribe())
    return audit(deployed)


def audit_of_a_refund(deployed: Deployed) -> Iterator[Answer]:
    """Somebody refunded in the gateway's dashboard: the workflow is asked to look at the period's refunds."""
    subscriber, stack = deployed.shop.subscribe(), deployed.shop.stack
    deployed.shop.renew(subscriber)
    (item,) = deployed.shop.ledger(subscriber)
    refunds = official_client(stack.gateway_url, stack.gateway_key).v1.refunds
    refunds.create({"payment_intent": item["payment_id"], "amount": 100})
    return audit(deployed)


def audit_hand_on(deployed: Deployed) -> Iterator[Answer]:
    """No run has as much time as it wants to have left: it writes its part and hands on the rest."""
    with deployed.timeout("RenewalAudit", 100):
        for answer in audit(deployed):
            yield Answer({"finished": answer.reply.get("finished") is False}, answer.told)


def feedback(deployed: Deployed) -> Iterator[Answer]:
    """The mail of a receipt came back: what was begun without the permission is finished with it."""
    subscriber = deployed.shop.subscribe()
    receipted = deployed.issue_receipt(deployed.pay(subscriber).reply).reply
    deployed.call("SendEmail", {"execution": EXECUTION, "renewal": receipted})
    event = deployed.shop.bounce_of(subscriber, "receipt_1")
    for _ in range(2):
        yield deployed.call("MailFeedback", sns_event(event))


def feedback_on_a_reminder(deployed: Deployed) -> Iterator[Answer]:
    """Only a reminder is looked for on the subscription's row."""
    day = (today() + timedelta(days=5)).isoformat()
    subscriber = deployed.shop.subscribe(renewal_date=day, interval="year")
    told = {"subscription_id": subscriber.subscription_id, "customer_id": subscriber.customer_id, "renewal_date": day}
    renewal = told | {"outcome": "remind", "reminders": ["upcoming"]}
    deployed.call("SendEmail", {"execution": EXECUTION, "renewal": renewal})
    event = deployed.shop.bounce_of(subscriber, "upcoming")
    for _ in range(2):
        yield deployed.call("MailFeedback", sns_event(event))


def sns_event(message: Json) -> Json:
    return {"Records": [{"EventSource": "aws:sns", "Sns": {"Message": json.dumps(message)}}]}


def record(body: str) -> Json:
    attributes = {"ApproximateReceiveCount": "1"}
    return {"messageId": "m", "receiptHandle": "h", "body": body, "attributes": attributes}


def workflow(deployed: Deployed) -> Iterator[Answer]:
    """A whole renewal. It repeats a task that it could not call, and then, after a pause as on AWS, may call it."""
    deployed.shop.time.scale_waits_of_workflows(1)
    workflows, asked = deployed.shop.workflows, deployed.shop.subscribe().request().decode()
    execution = workflows.start_execution(stateMachineArn=deployed.shop.workflow, input=asked)["executionArn"]

    def failures() -> list[str]:
        events = deployed.shop.history(execution)
        return [event["taskFailedEventDetails"]["cause"] for event in events if "taskFailedEventDetails" in event]

    def stands() -> Json:
        described: Json = workflows.describe_execution(executionArn=execution)
        return described

    wait_until(lambda: failures() or stands()["status"] != RUNNING)
    yield Answer(stands(), str(failures()))
    wait_until(lambda: stands()["status"] != RUNNING)
    deployed.shop.time.scale_waits_of_workflows(SCALE_OF_WAITS)
    yield Answer(stands(), str(failures()))


PROBES: dict[Grant, Probe] = {
    Grant("ProcessPaymentRole", "dynamodb:GetItem", "table/<Subscriptions>"): payment_that_was_begun,
    Grant("ProcessPaymentRole", "dynamodb:Query", "table/<Subscriptions>"): payment,
    Grant("ProcessPaymentRole", "dynamodb:UpdateItem", "table/<Subscriptions>"): payment,
    Grant("ProcessPaymentRole", "dynamodb:ConditionCheckItem", "table/<Subscriptions>"): payment,
    Grant("ProcessPaymentRole", "dynamodb:GetItem", "table/<Renewals>"): refunds_looked_at,
    Grant("ProcessPaymentRole", "dynamodb:Query", "table/<Renewals>"): payment,
    Grant("ProcessPaymentRole", "dynamodb:PutItem", "table/<Renewals>"): payment,
    Grant("ProcessPaymentRole", "dynamodb:UpdateItem", "table/<Renewals>"): payment,
    Grant("ProcessPaymentRole", "dynamodb:BatchGetItem", "table/<Subscriptions>"): payment_that_was_begun,
    Grant("ProcessPaymentRole", "dynamodb:BatchGetItem", "table/<Changes>"): payment_that_was_begun,
    Grant("ProcessPaymentRole", "dynamodb:ConditionCheckItem", "table/<Changes>"): payment,
    Grant("ProcessPaymentRole", "secretsmanager:GetSecretValue", "<PaymentGatewaySecret>"): payment_by_a_new_process,
    Grant("GenerateReceiptRole", "dynamodb:GetItem", "table/<Renewals>"): receipt,
    Grant("GenerateReceiptRole", "dynamodb:UpdateItem", "table/<Renewals>"): receipt,
    Grant("GenerateReceiptRole", "s3:PutObject", "<Receipts>/receipts/*"): receipt,
    Grant("GenerateReceiptRole", "s3:GetObject", "<Receipts>/receipts/*"): receipt_that_is_stored,
    Grant("SendEmailRole", "dynamodb:BatchGetItem", "table/<Renewals>"): mail,
    Grant("SendEmailRole", "dynamodb:UpdateItem", "table/<Renewals>"): mail,
    Grant("SendEmailRole", "dynamodb:BatchGetItem", "table/<Subscriptions>"): mail,
    Grant("SendEmailRole", "dynamodb:GetItem", "table/<Subscriptions>"): reminder,
    Grant("SendEmailRole", "dynamodb:UpdateItem", "table/<Subscriptions>"): reminder,
    Grant("SendEmailRole", "s3:GetObject", "<Receipts>/receipts/*"): mail,
    Grant("SendEmailRole", "secretsmanager:GetSecretValue", "<ReceiptLinkKey>"): mail_by_a_new_process,
    Grant("SendEmailRole", "ses:SendRawEmail", "identity/*"): mail,
    Grant("SendEmailRole", "ses:SendRawEmail", "configuration-set/<ReceiptsConfigurationSet>"): mail,
    Grant("WebhookHandlerRole", "states:StartExecution", "<RenewalWorkflow>"): webhook,
    Grant("WebhookHandlerRole", "secretsmanager:GetSecretValue", "<WebhookSecret>"): webhook_to_a_new_process,
    Grant("SubscriptionsApiRole", "dynamodb:Query", "table/<Subscriptions>"): api_read("/subscriptions/ID"),
    Grant("SubscriptionsApiRole", "dynamodb:Query", "table/<Subscriptions>/index/customer-index"): api_read(
        "/subscriptions?customer_id=cus_1"
    ),
    Grant("SubscriptionsApiRole", "dynamodb:Scan", "table/<Subscriptions>"): api_read("/subscriptions"),
    Grant("SubscriptionsApiRole", "dynamodb:Query", "table/<Renewals>"): api_read("/subscriptions/ID/renewals"),
    Grant("SubscriptionsApiRole", "dynamodb:Query", "table/<Changes>"): api_read("/subscriptions/ID/timeline"),
    Grant("SubscriptionsApiRole", "dynamodb:GetItem", "table/<Changes>"): api_create,
    Grant("SubscriptionsApiRole", "dynamodb:GetItem", "table/<Renewals>"): api_receipt,
    Grant("SubscriptionsApiRole", "secretsmanager:GetSecretValue", "<ReceiptLinkKey>"): api_receipt_by_a_new_process,
    Grant("SubscriptionsApiRole", "s3:GetObject", "<Receipts>/receipts/*"): api_receipt,
    Grant("SubscriptionsApiRole", "dynamodb:PutItem", "table/<Subscriptions>"): api_create,
    Grant("SubscriptionsApiRole", "dynamodb:PutItem", "table/<Changes>"): api_create,
    Grant("SubscriptionsApiRole", "dynamodb:UpdateItem", "table/<Subscriptions>"): api_resume,
    Grant("SubscriptionsApiRole", "dynamodb:PutItem", "table/<Renewals>"): api_resume,
    Grant("SubscriptionsApiRole", "dynamodb:UpdateItem", "table/<Renewals>"): api_refund,
    Grant("SubscriptionsApiRole", "dynamodb:ConditionCheckItem", "table/<Renewals>"): api_end,
    Grant(
        "SubscriptionsApiRole", "secretsmanager:GetSecretValue", "<PaymentGatewaySecret>"
    ): api_refund_by_a_new_process,
    Grant("SubscriptionsApiRole", "states:StartExecution", "<RenewalWorkflow>"): api_start,
    Grant("RenewalSweepRole", "dynamodb:Scan", "table/<Subscriptions>"): sweep_read({"kind": "segment", "of": "0"}),
    Grant("RenewalSweepRole", "dynamodb:Query", "table/<Subscriptions>/index/renewal-date-index"): sweep_read(
        {"kind": "date", "of": "2020-01-31"}
    ),
    Grant("RenewalSweepRole", "dynamodb:Query", "table/<Renewals>/index/unfinished-index"): sweep_read(
        {"kind": "shard", "of": "0"}
    ),
    Grant("RenewalSweepRole", "dynamodb:BatchGetItem", "table/<Changes>"): sweep_ask,
    Grant("RenewalSweepRole", "sqs:SendMessage", "<RenewalQueue>"): sweep_send,
    Grant("RenewalSweepRole", "lambda:InvokeFunction", "function:<RenewalSweep>"): sweep_hand_on,
    Grant("RenewalSweepRole", "sqs:GetQueueAttributes", "<RenewalQueue>"): sweep_ask,
    Grant("RenewalWorkerRole", "states:StartSyncExecution", "<RenewalWorkflow>"): worker,
    Grant("RenewalWorkerRole", "sqs:ChangeMessageVisibility", "<RenewalQueue>"): worker_that_puts_off,
    Grant("RenewalAuditRole", "dynamodb:Scan", "table/<Subscriptions>"): audit,
    Grant("RenewalAuditRole", "dynamodb:Query", "table/<Renewals>/index/charged-on-index"): audit,
    Grant("RenewalAuditRole", "dynamodb:BatchGetItem", "table/<Renewals>"): audit_of_a_renewal,
    Grant("RenewalAuditRole", "dynamodb:Query", "table/<Renewals>"): audit_of_a_renewal,
    Grant("RenewalAuditRole", "s3:GetObject", "<Receipts>/receipts/*"): audit_of_a_renewal,
    Grant("RenewalAuditRole", "s3:GetObject", "<Receipts>/audits/*"): audit,
    Grant("RenewalAuditRole", "s3:PutObject", "<Receipts>/audits/*"): audit,
    Grant("RenewalAuditRole", "secretsmanager:GetSecretValue", "<PaymentGatewaySecret>"): audit,
    Grant("RenewalAuditRole", "sqs:SendMessage", "<RenewalQueue>"): audit_of_a_refund,
    Grant("RenewalAuditRole", "lambda:InvokeFunction", "function:<RenewalAudit>"): audit_hand_on,
    Grant("MailFeedbackRole", "dynamodb:GetItem", "table/<Renewals>"): feedback,
    Grant("MailFeedbackRole", "dynamodb:UpdateItem", "table/<Renewals>"): feedback,
    Grant("MailFeedbackRole", "dynamodb:GetItem", "table/<Subscriptions>"): feedback_on_a_reminder,
    Grant("MailFeedbackRole", "dynamodb:UpdateItem", "table/<Subscriptions>"): feedback,
    Grant("StepFunctionsRole", "lambda:InvokeFunction", "function:<ProcessPayment>"): workflow,
    Grant("StepFunctionsRole", "lambda:InvokeFunction", "function:<GenerateReceipt>"): workflow,
    Grant("StepFunctionsRole", "lambda:InvokeFunction", "function:<SendEmail>"): workflow,
}
PROMISED: dict[str, Json] = {
    "ProcessPaymentRole": {"outcome": "paid"},
    "GenerateReceiptRole": {"outcome": "receipted"},
    "SendEmailRole": {"outcome": "mailed"},
    "WebhookHandlerRole": {"statusCode": 202},
    "SubscriptionsApiRole": {"done": True},
    "RenewalSweepRole": {"backlog": 0},
    "RenewalWorkerRole": {"batchItemFailures": []},
    "RenewalAuditRole": {"finished": True},
    "MailFeedbackRole": {"outcomes": ["marked"]},
    "StepFunctionsRole": {"status": SUCCEEDED},
    "sqs:ChangeMessageVisibility": {"answered": True},
}

# --- what cannot be missed here ----------------------------------------------------------------------------------

FUNCTIONS = """ProcessPayment GenerateReceipt SendEmail WebhookHandler SubscriptionsApi RenewalSweep RenewalWorker
               RenewalAudit MailFeedback""".split()
NOT_ASKED_FOR: dict[str, tuple[str, list[Grant]]] = {
    "functions' logs": (
        "the emulator writes the log of a function itself, not in its role's name",
        [
            Grant(f"{function}Role", action, f"log-group:<{function}Logs>:*")
            for function in FUNCTIONS
            for action in ("logs:CreateLogStream", "logs:PutLogEvents")
        ],
    ),
    "functions' traces": (
        "the SDK hands segments to the daemon of Lambda by UDP, and there is no daemon that would call X-Ray",
        [
            Grant(f"{function}Role", action, "*")
            for function in FUNCTIONS
            for action in ("xray:PutTraceSegments", "xray:PutTelemetryRecords")
        ],
    ),
    "the workflow's traces": (
        "the emulator traces no workflow",
        [
            Grant("StepFunctionsRole", f"xray:{action}", "*")
            for action in ("PutTraceSegments", "PutTelemetryRecords", "GetSamplingRules", "GetSamplingTargets")
        ],
    ),
    "the workflow's logs": (
        "the emulator keeps a workflow's logging configuration, and delivers no logs",
        [
            Grant("StepFunctionsRole", f"logs:{action}", "*")
            for action in """CreateLogDelivery GetLogDelivery UpdateLogDelivery DeleteLogDelivery ListLogDeliveries
                             PutResourcePolicy DescribeResourcePolicies DescribeLogGroups""".split()
        ],
    ),
    "the worker's messages": (
        "the emulator takes messages from a queue and deletes them itself, not in the name of the function's role",
        [
            Grant("RenewalWorkerRole", f"sqs:{action}", "<RenewalQueue>")
            for action in ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes")
        ],
    ),
    "the dead letters of mail": (
        "the emulator puts what a function could not take into its dead-letter queue itself, in nobody's name",
        [Grant("MailFeedbackRole", "sqs:SendMessage", "<MailFeedbackDeadLetterQueue>")],
    ),
    "the schedules' calls": (
        "the emulator calls a schedule's target itself, in nobody's name",
        [
            Grant("SweepSchedulesRole", "lambda:InvokeFunction", "function:<RenewalSweep>"),
            Grant("AuditScheduleRole", "lambda:InvokeFunction", "function:<RenewalAudit>"),
        ],
    ),
    "the bucket's list": (
        "the emulator says that an object is missing to whoever may read it; S3 says so to those who may list",
        [
            Grant(f"{function}Role", "s3:ListBucket", "<Receipts>")
            for function in ("RenewalAudit", "GenerateReceipt", "SendEmail", "SubscriptionsApi")
        ],
    ),
    "API Gateway's logs": (
        "the emulator keeps the account's logging role, and writes no access log",
        [
            Grant(
                "ApiGatewayCloudWatchRole",
                "arn:aws:iam::aws:policy/service-role/AmazonAPIGatewayPushToCloudWatchLogs",
                "*",
            )
        ],
    ),
}
UNMISSED = [grant for _, grants in NOT_ASKED_FOR.values() for grant in grants]


# --- the tests ---------------------------------------------------------------------------------------------------


def test_every_permission_is_probed_or_known_not_to_be_asked_for(deployed: Deployed) -> None:
    """What the deployed roles allow is just what is probed here or stands in the table: no more, no less."""
    known = {*PROBES, *UNMISSED}
    granted = deployed.grants()
    assert granted - known == set(), "granted, and no probe needs it"
    assert known - granted == set(), "in the tables, and no role has it"


@pytest.mark.parametrize("grant", PROBES, ids=" ".join)
def test_a_permission_is_missed(deployed: Deployed, grant: Grant) -> None:
    """Without this one permission the work is not done and the error names it; with it back, the work is done."""
    promised = PROMISED.get(grant.action) or PROMISED[grant.role]
    answers = PROBES[grant](deployed)
    with deployed.without(grant):
        without = next(answers)
    assert not without.gives(promised), without.told
    # SES names addresses in its message, so that the product passes on the action and the code alone.
    named = (f"is not authorized to perform: {grant.action}", f"{grant.action}: AccessDenied")
    assert any(text in without.told for text in named), without.told
    restored = next(answers)
    assert restored.gives(promised), restored.told


def test_what_is_not_asked_for_is_not_missed(deployed: Deployed) -> None:
    """Without all that stands in the table a renewal still runs to its end: else a probe could be written for it."""
    deployed.restart("ProcessPayment")
    with deployed.without(*UNMISSED):
        end = deployed.shop.renew(deployed.shop.subscribe())
    assert (end.status, end.state) == (SUCCEEDED, "Success")
