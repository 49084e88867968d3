"""The stack deploys no unneeded permission: every permission, taken away alone, is missed.

A probe is the smallest work that needs a given permission. The permission's owner does the work twice, on subscriptions
of its own: first without the permission, then with it. A table lists the permissions for which the emulator has no use,
with the reason; tests/unit/test_template_roles.py asserts on the template that exactly these are right.
"""

import base64
import json
import re
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode

import pytest
import stripe
import urllib3

from local.gateway import official_client
from local.stack import STACK_NAME
from renewals.domain import declarations
from renewals.domain.address_request import AddressRequest
from renewals.domain.customer_request import CustomerRequest
from renewals.domain.request import Asks
from renewals.ledger import account_links, receipt_links
from renewals.runtime import dynamodb
from tests.integration.shop import RUNNING, SUCCEEDED, Shop, Subscriber, today, wait_until
from tests.integration.stacks import SCALE_OF_WAITS
from tests.streams import record as stream_record

EXECUTION = "an execution of these tests"
type Json = dict[str, Any]


class Grant(NamedTuple):
    """An action that a role may do on a resource.

    on: the end of the resource's ARN with the template's name, as `table/<Renewals>`. For an attached policy of AWS,
    the action is the policy's ARN.
    """

    role: str
    action: str
    on: str


@dataclass(frozen=True)
class Answer:
    """The result of a try. told: the reply and the end of the log, or the errors of a workflow's tasks."""

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
        # Secrets are known by ARN, as on AWS: the emulator lists only their names, and every deployment invents a new
        # end of the ARN.
        self.names["PaymentGatewaySecret"] = shop.stack.outputs["PaymentGatewaySecretArn"]
        self.names["GatewayEventsSecret"] = shop.stack.outputs["GatewayEventsSecretArn"]
        self.names["WebhookSecret"] = shop.stack.outputs["WebhookSecretArn"]
        self.names["EventsSecret"] = shop.stack.outputs["EventsSecretArn"]
        self.names["ReceiptLinkKey"] = shop.stack.outputs["ReceiptLinkKeyArn"]
        self.names["AccountLinkKey"] = shop.stack.outputs["AccountLinkKeyArn"]
        # The emulator lists a queue by its address, which ends in the queue's name.
        queues = """RenewalQueue GatewayEventsQueue MailFeedbackDeadLetterQueue UnreadableRecordsQueue DeliveriesQueue
                    EventsDeadLetterQueue AddressQueue"""
        for queue in queues.split():
            self.names[queue] = self.names[queue].rpartition("/")[2]
        self._roles = [each["LogicalResourceId"] for each in found if each["ResourceType"] == "AWS::IAM::Role"]

    def grants(self) -> set[Grant]:
        """Return everything that the deployed roles allow."""
        inline = {
            self._grant(role, action, resource)
            for role in self._roles
            for document in self._inline(role).values()
            for action, resource in pairs(document)
        }
        return inline | {Grant(role, policy, "*") for role in self._roles for policy in self._attached(role)}

    @contextmanager
    def without(self, *taken: Grant) -> Iterator[None]:
        """Take the grants away from their roles for the duration of the block; the roles keep all other permissions."""
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

    def stream(self, table: str, new: Json) -> Json:
        """Return an event of the table's stream with a new item, as Lambda delivers the event."""
        told = stream_record(self.names[table], None, new, datetime.now(UTC))
        return {"Records": [told]}

    def call(self, function: str, event: Json) -> Answer:
        """Call a function as the account's root."""
        name = self.names[function]
        answer = self.shop.functions.invoke(FunctionName=name, Payload=json.dumps(event), LogType="Tail")
        reply = answer["Payload"].read().decode()
        return Answer(
            json.loads(reply), f"{reply}\n{base64.b64decode(answer.get('LogResult', '')).decode(errors='replace')}"
        )

    def restart(self, function: str) -> None:
        """Make the next call start a new process, which has read no secret yet, by setting the function's timeout to
        its present value."""
        name = self.names[function]
        timeout = self.shop.functions.get_function_configuration(FunctionName=name)["Timeout"]
        self.shop.functions.update_function_configuration(FunctionName=name, Timeout=timeout)

    @contextmanager
    def setting(self, function: str, **changed: str) -> Iterator[None]:
        """Change environment variables of the function for the duration of the block."""
        name = self.names[function]
        kept = self.shop.functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
        self.shop.functions.update_function_configuration(FunctionName=name, Environment={"Variables": kept | changed})
        try:
            yield
        finally:
            self.shop.functions.update_function_configuration(FunctionName=name, Environment={"Variables": kept})

    @contextmanager
    def timeout(self, function: str, seconds: int) -> Iterator[None]:
        """Give the function's runs `seconds` for the duration of the block."""
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
        if not document["Statement"]:  # IAM accepts no policy without statements
            self._iam.delete_role_policy(RoleName=self.names[role], PolicyName=policy)
            return
        self._iam.put_role_policy(RoleName=self.names[role], PolicyName=policy, PolicyDocument=json.dumps(document))


def pairs(document: Json) -> Iterator[tuple[str, str]]:
    """Yield every action of a policy with every resource of the action."""
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
    """Claim, charge and record a renewal; the second call finishes what the first began without the permission."""
    subscriber = deployed.shop.subscribe()
    for _ in range(2):
        yield deployed.pay(subscriber)


def refunds_looked_at(deployed: Deployed) -> Iterator[Answer]:
    """Compare the refunds of a paid period with the gateway's refunds; nothing is charged."""
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


def _saved_card(deployed: Deployed, subscriber: Subscriber) -> str:
    """Have the subscriber save a new card at the gateway's page, and return the session."""
    named = subscriber.subscription_id, subscriber.customer_id
    asked = CustomerRequest(*named, Asks.OPEN_CARD_PAGE, return_url="https://shop.example/account")
    session = str(deployed.call("ProcessPayment", asked.event()).reply["url"]).rpartition("/")[2]
    deployed.shop.sandbox.give_card(session)
    return session


def card_taken(deployed: Deployed) -> Iterator[Answer]:
    """Take the card that a customer has saved at the gateway's page: the change is recorded."""
    subscriber = deployed.shop.subscribe(renewal_date=(today() + timedelta(days=30)).isoformat())
    named, session = (subscriber.subscription_id, subscriber.customer_id), _saved_card(deployed, subscriber)
    for _ in range(2):
        answer = deployed.call("ProcessPayment", CustomerRequest(*named, Asks.TAKE_CARD, session=session).event())
        taken = answer.reply.get("outcome") == "card_taken"
        yield Answer(PROMISED["ProcessPaymentRole"] if taken else {}, answer.told)


def event_of_a_new_card(deployed: Deployed) -> Iterator[Answer]:
    """Act on the event of a session in which a customer has saved a card: the card is set."""
    subscriber = deployed.shop.subscribe(renewal_date=(today() + timedelta(days=30)).isoformat())
    session = _saved_card(deployed, subscriber)
    stack = deployed.shop.stack
    opened: Any = official_client(stack.gateway_url, stack.gateway_key).v1.checkout.sessions.retrieve(session)
    event = {"event": "evt_1", "type": "checkout.session.completed", "created": 1, "livemode": False}
    told = json.dumps(event | {"object": session, "metadata": opened.metadata.to_dict()})
    for _ in range(2):
        yield deployed.call("GatewayWorker", {"Records": [record(told)]})
    assert deployed.shop.row(subscriber)["payment_method"] != subscriber.payment_method


def payment_by_a_new_process(deployed: Deployed) -> Iterator[Answer]:
    """Pay in a new process: a process reads the gateway's key only once."""
    deployed.restart("ProcessPayment")
    return payment(deployed)


def payment_that_was_begun(deployed: Deployed) -> Iterator[Answer]:
    """Pay a period that an earlier run claimed: only a run that did not claim the period reads the row again when
    recording the payment."""
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
    """Store an object under the receipt's key first: only a stored receipt is read."""
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
    """Send a reminder: only a reminder is recorded on the subscription's row."""
    day = (today() + timedelta(days=5)).isoformat()
    subscriber = deployed.shop.subscribe(renewal_date=day, interval="year")
    told = {"subscription_id": subscriber.subscription_id, "customer_id": subscriber.customer_id, "renewal_date": day}
    for _ in range(2):
        renewal = told | {"outcome": "remind", "reminders": ["upcoming"]}
        yield deployed.call("SendEmail", {"execution": EXECUTION, "renewal": renewal})


def signed_up(deployed: Deployed) -> Subscriber:
    """Make a subscription whose sign-up is to be confirmed. The record of the change is written in two steps, so that
    its stream asks nobody to confirm the sign-up meanwhile."""
    subscriber = deployed.shop.subscribe(renewal_date=(today() + timedelta(days=40)).isoformat())
    item: Json = {"subscription_id": subscriber.subscription_id, "change": "created"}
    deployed.shop.changes.put_item(Item=item)
    told = {"at": datetime.now(UTC).isoformat(), "by": "a test", "what": "created", "details": {}, "confirmable": True}
    deployed.shop.changes.put_item(Item=item | told)
    return subscriber


def confirmation_asked(deployed: Deployed) -> Iterator[Answer]:
    """Decide which confirmations are owed; nothing is charged."""
    request = json.loads(signed_up(deployed).request()) | {"event_type": Asks.CONFIRM}
    for _ in range(2):
        answer = deployed.call("ProcessPayment", {"execution": EXECUTION, "request": request})
        owed = answer.reply.get("changes") == ["created"]
        yield Answer(PROMISED["ProcessPaymentRole"] if owed else {}, answer.told)


def confirm(deployed: Deployed, subscriber: Subscriber) -> Answer:
    told = {"subscription_id": subscriber.subscription_id, "customer_id": subscriber.customer_id}
    renewal = told | {"outcome": "confirm", "changes": ["created"]}
    return deployed.call("SendEmail", {"execution": EXECUTION, "renewal": renewal})


def confirmation(deployed: Deployed) -> Iterator[Answer]:
    """Confirm a sign-up: only a confirmation is recorded with the change."""
    subscriber = signed_up(deployed)
    for _ in range(2):
        yield confirm(deployed, subscriber)


def mail_by_a_new_process(deployed: Deployed) -> Iterator[Answer]:
    """Mail from a new process: a process reads the key for links only once a minute."""
    deployed.restart("SendEmail")
    return mail(deployed)


def decline_by_a_new_process(deployed: Deployed) -> Iterator[Answer]:
    """Mail about a refused payment from a new process: such a mail links to the customer page. Without the key, the
    mail goes out without the link, and the log says so."""
    deployed.restart("SendEmail")
    for _ in range(2):
        declined = deployed.pay(deployed.shop.subscribe(card="pm_card_chargeCustomerFail")).reply
        answer = deployed.call("SendEmail", {"execution": EXECUTION, "renewal": declined})
        has_link = "a mail without a link" not in answer.told
        yield answer if has_link else Answer({}, answer.told)


def webhook(deployed: Deployed) -> Iterator[Answer]:
    """Send a webhook for a subscription that is not due: the workflow charges nobody."""
    body = deployed.shop.subscribe(renewal_date=(today() + timedelta(days=1)).isoformat()).request()
    event = {"headers": deployed.shop.signed(body), "body": body.decode(), "isBase64Encoded": False}
    for _ in range(2):
        yield deployed.call("WebhookHandler", event)


def webhook_to_a_new_process(deployed: Deployed) -> Iterator[Answer]:
    """Send a webhook to a new process: a process reads the signing secret only once."""
    deployed.restart("WebhookHandler")
    return webhook(deployed)


def api_request(method: str, path: str, body: Json | None = None, key: str | None = None) -> Json:
    """Return the event that API Gateway passes to the function for a request of the account's root.

    path: with or without a query.
    """
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
    """Read a list, or a subscription's part that the path names."""

    def probe(deployed: Deployed) -> Iterator[Answer]:
        subscription_id = deployed.shop.subscribe().subscription_id
        event = api_request("GET", path.replace("ID", subscription_id))
        for _ in range(2):
            yield api(deployed, event)

    return probe


def api_create(deployed: Deployed) -> Iterator[Answer]:
    """Create a subscription; the refused first try leaves nothing behind, and the same request is made again."""
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


def receipt_link(deployed: Deployed) -> Iterator[Answer]:
    """Follow a link to the stored receipt: the bucket answers in the name of the function's role."""
    receipted = deployed.issue_receipt(deployed.pay(deployed.shop.subscribe()).reply).reply
    secret = deployed.shop.stack.client("secretsmanager").get_secret_value(SecretId=deployed.names["ReceiptLinkKey"])
    token = receipt_links.token(secret["SecretString"], receipted["subscription_id"], receipted["renewal_date"])
    for _ in range(2):
        answer = deployed.call("ReceiptLinks", api_request("GET", f"/receipts/{token}"))
        if answer.reply["statusCode"] != 302:
            yield Answer({"done": False}, answer.told)
            continue
        opened = urllib3.request("GET", answer.reply["headers"]["Location"], retries=False, timeout=10)
        yield Answer({"done": opened.data.startswith(b"%PDF-")}, opened.data.decode(errors="replace"))


def receipt_link_by_a_new_process(deployed: Deployed) -> Iterator[Answer]:
    deployed.restart("ReceiptLinks")
    return receipt_link(deployed)


def api_receipts_by_a_new_process(deployed: Deployed) -> Iterator[Answer]:
    """List the receipts of a subscription with a receipt, whose link is signed."""
    subscription_id = deployed.issue_receipt(deployed.pay(deployed.shop.subscribe()).reply).reply["subscription_id"]
    deployed.restart("SubscriptionsApi")
    for _ in range(2):
        yield api(deployed, api_request("GET", f"/subscriptions/{subscription_id}/receipts"))


def api_resume(deployed: Deployed) -> Iterator[Answer]:
    """Resume a subscription with a renewal date in the pause, which the resumption records as skipped."""
    fell_due = (today() - timedelta(days=3)).isoformat()
    subscriber = deployed.shop.subscribe(status="paused", renewal_date=fell_due)
    for _ in range(2):
        yield api(deployed, api_request("POST", f"/subscriptions/{subscriber.subscription_id}/resume"))


def api_end(deployed: Deployed) -> Iterator[Answer]:
    """Cancel a subscription at the end of its period, while no charge is under way."""
    subscriber = deployed.shop.subscribe(renewal_date=(today() + timedelta(days=1)).isoformat())
    for _ in range(2):
        path = f"/subscriptions/{subscriber.subscription_id}/cancel"
        yield api(deployed, api_request("POST", path, {"when": "at_period_end"}))


def api_refund(deployed: Deployed) -> Iterator[Answer]:
    """Refund a renewal that was receipted and mailed; the repeated request continues where the first was cut off."""
    subscriber = deployed.shop.subscribe()
    deployed.shop.renew(subscriber)
    (item,) = deployed.shop.ledger(subscriber)
    path, body = f"/subscriptions/{subscriber.subscription_id}/refund", {"renewal_date": item["renewal_date"]}
    for _ in range(2):
        yield api(deployed, api_request("POST", path, body, key=subscriber.subscription_id))


def api_refund_by_a_new_process(deployed: Deployed) -> Iterator[Answer]:
    deployed.restart("SubscriptionsApi")
    return api_refund(deployed)


class OnThePage:
    """A customer with a session of the customer page."""

    def __init__(self, deployed: Deployed, subscriber: Subscriber) -> None:
        key = deployed.names["AccountLinkKey"]
        secret = deployed.shop.stack.client("secretsmanager").get_secret_value(SecretId=key)["SecretString"]
        self._key = account_links.Keys.of_secret(secret).current
        self._deployed = deployed
        account = account_links.Account.of_row(deployed.shop.row(subscriber))
        expires = datetime.now(UTC) + timedelta(minutes=30)
        session = account_links.Purpose.SESSION
        self._session = account_links.token(self._key, session, account, account_links.Power.FULL, expires)

    def send(self, method: str, path: str, form: dict[str, str] | None = None) -> Answer:
        """Send a request; `done` in the answer says whether the page is no error."""
        headers = {"Cookie": f"__Host-account={self._session}", "Sec-Fetch-Site": "same-origin"}
        headers |= {"Content-Type": "application/x-www-form-urlencoded"} if form else {}
        event = api_request(method, f"/account/{path}") | {"headers": headers, "body": urlencode(form or {}) or None}
        answer = self._deployed.call("CustomerPage", event)
        return Answer({"done": answer.reply["statusCode"] < 400} | answer.reply, answer.told)

    def press(self, path: str) -> Answer:
        """Open the page of a change, and press its button."""
        asked = self.send("GET", path)
        if not asked.reply["done"]:
            return asked
        fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', asked.reply["body"]))
        return self.send("POST", path, fields)


def page_overview(deployed: Deployed) -> Iterator[Answer]:
    """Look at a subscription with a receipt."""
    subscriber = deployed.shop.subscribe()
    deployed.issue_receipt(deployed.pay(subscriber).reply)
    customer = OnThePage(deployed, subscriber)
    for _ in range(2):
        yield customer.send("GET", "overview")


def page_overview_by_a_new_process(deployed: Deployed) -> Iterator[Answer]:
    """Look at a subscription by a new process, which reads the keys of the links."""
    probe = page_overview(deployed)
    deployed.restart("CustomerPage")
    return probe


def page_cancel(deployed: Deployed) -> Iterator[Answer]:
    """Cancel a subscription at the end of its period, while no charge is under way."""
    customer = OnThePage(deployed, deployed.shop.subscribe(renewal_date=(today() + timedelta(days=1)).isoformat()))
    for _ in range(2):
        yield customer.press("cancel")


def page_resume(deployed: Deployed) -> Iterator[Answer]:
    """Resume a subscription with a renewal date in the pause, which the resumption records as skipped."""
    fell_due = (today() - timedelta(days=3)).isoformat()
    customer = OnThePage(deployed, deployed.shop.subscribe(status="paused", renewal_date=fell_due))
    for _ in range(2):
        yield customer.press("resume")


def page_opens_card_page(deployed: Deployed) -> Iterator[Answer]:
    """Open the gateway's page for a new card, which ProcessPayment does."""
    customer = OnThePage(deployed, deployed.shop.subscribe(renewal_date=(today() + timedelta(days=1)).isoformat()))
    for _ in range(2):
        asked = customer.send("GET", "overview")
        form = re.findall(r'name="form" value="([^"]*)"', asked.reply["body"])[0]
        yield customer.send("POST", "new-card", {"form": form})


def page_declares(deployed: Deployed) -> Iterator[Answer]:
    """Send the public form of a withdrawal, which is on for the local stack."""
    customer = OnThePage(deployed, deployed.shop.subscribe())
    for _ in range(2):
        form = {"id": uuid.uuid4().hex, "name": "Ann", "contract": "sub_none", "address": "ann@nowhere.example"}
        yield customer.send("POST", "withdrawal", form)


def _declared(deployed: Deployed, subscriber: Subscriber) -> Json:
    """Put in a declared cancellation of the subscription, and return the event of the stream. All declarations lie
    under one key, which is first put in as done: the stream's own delivery of the insert does nothing, and later writes
    are no inserts."""
    declaration = declarations.Declaration(
        declarations.DeclarationKind.CANCELLATION, "Ann", subscriber.subscription_id, subscriber.email
    )
    key = declarations.key_of(declaration, uuid.uuid4().hex)
    item = declarations.item_of(declarations.recorded(declaration, key, datetime.now(UTC)))
    table, client = deployed.names["Declarations"], deployed.shop.stack.client("dynamodb")
    place = {"declaration": "probe"}
    if "Item" not in client.get_item(TableName=table, Key=dynamodb.attributes(place)):
        client.put_item(TableName=table, Item=dynamodb.attributes(item | place | {"state": "done"}))
        time.sleep(5)
    client.put_item(TableName=table, Item=dynamodb.attributes(item | place))
    event = stream_record(table, None, {}, datetime.now(UTC))
    event["dynamodb"]["Keys"] = {"declaration": {"S": "probe"}}
    return {"Records": [event]}


def declaration(deployed: Deployed) -> Iterator[Answer]:
    """Look at a declared cancellation that fits: the subscription ends with its period."""
    subscriber = deployed.shop.subscribe(renewal_date=(today() + timedelta(days=40)).isoformat())
    event = _declared(deployed, subscriber)
    for _ in range(2):
        yield deployed.call("DeclarationWorker", event)
    assert "cancel_at" in deployed.shop.row(subscriber)


def declarations_that_are_open(deployed: Deployed) -> Iterator[Answer]:
    """Look at the open declarations, as the schedule does once a day. All are younger than an hour."""
    for _ in range(2):
        answer = deployed.call("DeclarationWorker", {"declarations": "open"})
        done = "looked_at" in answer.reply
        yield Answer(PROMISED["DeclarationWorkerRole"] if done else {}, answer.told)


def declaration_hands_over(deployed: Deployed) -> Iterator[Answer]:
    """Look at a declared cancellation of a subscription whose next attempt is set: the end always stands, and the
    attempt goes to the queue if permitted."""
    for _ in range(2):
        ahead = (today() + timedelta(days=40)).isoformat()
        subscriber = deployed.shop.subscribe(renewal_date=ahead, next_attempt=today().isoformat())
        answer = deployed.call("DeclarationWorker", _declared(deployed, subscriber))
        done = "not handed over" not in answer.told
        yield Answer(PROMISED["DeclarationWorkerRole"] if done else {}, answer.told)


def page_hands_over(deployed: Deployed) -> Iterator[Answer]:
    """Resume a suspended subscription, which is due: the change always stands, and the renewal goes to the queue if
    permitted."""
    for _ in range(2):
        answer = OnThePage(deployed, deployed.shop.subscribe(status="unpaid")).press("resume")
        yield Answer({"done": "not handed over" not in answer.told}, answer.told)


def page_takes_an_address(deployed: Deployed) -> Iterator[Answer]:
    """Type an address on the form for customers without a link, each time from a network of its own."""
    headers = {"Sec-Fetch-Site": "same-origin", "Content-Type": "application/x-www-form-urlencoded"}
    form = urlencode({"address": "nobody@example.org"})
    for _ in range(2):
        event = api_request("POST", "/account/ask-for-link") | {"headers": headers, "body": form}
        event["requestContext"] |= {
            "identity": {"sourceIp": f"2001:db8:{uuid.uuid4().hex[:4]}:{uuid.uuid4().hex[:4]}::1"}
        }
        answer = deployed.call("CustomerPage", event)
        yield Answer({"done": answer.reply["statusCode"] < 400}, answer.told)


def address_looked_up(deployed: Deployed) -> Iterator[Answer]:
    """Look up an address that somebody typed, and record that the customer is to get a link."""
    address = deployed.shop.subscribe(renewal_date=(today() + timedelta(days=1)).isoformat()).email
    for _ in range(2):
        sent = {"SentTimestamp": str(int(datetime.now(UTC).timestamp() * 1000))}
        message = record(AddressRequest(address).to_json()) | {"messageId": uuid.uuid4().hex, "attributes": sent}
        yield deployed.call("AddressWorker", {"Records": [message]})


def api_start(deployed: Deployed) -> Iterator[Answer]:
    """Update the payment method of a due subscription: the API keeps the card, and starts the workflow if permitted."""
    subscriber = deployed.shop.subscribe()
    path = f"/subscriptions/{subscriber.subscription_id}/payment-method"
    for _ in range(2):
        before = deployed.shop.all_executions()
        answer = api(deployed, api_request("PUT", path, {"payment_method": subscriber.payment_method}))
        yield Answer({"done": deployed.shop.all_executions() > before}, answer.told)


def sweep_read(part: Json) -> Probe:
    """Read a single part of a sweep without sending messages."""

    def probe(deployed: Deployed) -> Iterator[Answer]:
        for _ in range(2):
            yield deployed.call("RenewalSweep", {"part": part | {"sends": False}})

    return probe


def sweep_send(deployed: Deployed) -> Iterator[Answer]:
    """Sweep a date of its own, on which a single subscription was due."""
    deployed.shop.subscribe(renewal_date="2020-01-31", interval="year")
    for _ in range(2):
        yield deployed.call("RenewalSweep", {"part": {"kind": "date", "of": "2020-01-31"}})


def sweep_hand_on(deployed: Deployed) -> Iterator[Answer]:
    """Hand on a sweep that begins at tomorrow, when nothing is due yet."""
    start = {"kind": "date", "of": (today() + timedelta(days=1)).isoformat()}
    for _ in range(2):
        yield deployed.call("RenewalSweep", {"sweep": "due", "from": start})


def sweep_ask(deployed: Deployed) -> Iterator[Answer]:
    """Begin the nightly sweep, after the queue is drained of the messages of earlier probes."""
    wait_until(deployed.queue_is_empty)
    for _ in range(2):
        yield deployed.call("RenewalSweep", {"sweep": "all"})


def worker(deployed: Deployed) -> Iterator[Answer]:
    """Work on a message of a subscription that is not due: the workflow charges nobody."""
    body = deployed.shop.subscribe(renewal_date=(today() + timedelta(days=1)).isoformat()).request().decode()
    for _ in range(2):
        yield deployed.call("RenewalWorker", {"Records": [record(body)]})


def worker_that_puts_off(deployed: Deployed) -> Iterator[Answer]:
    """Work on a message of an unknown subscription: the workflow rejects the message, and the worker sets the time of
    the next try. The message does not exist, and SQS says so only to a caller with the permission."""
    nobody = json.dumps({"subscription_id": "sub_nobody", "customer_id": "cus_nobody", "amount": "1.00"})
    for _ in range(2):
        answer = deployed.call("RenewalWorker", {"Records": [record(nobody)]})
        yield Answer({"answered": "ReceiptHandleIsInvalid" in answer.told}, answer.told)


def audit(deployed: Deployed) -> Iterator[Answer]:
    """Audit today, with a finished renewal."""
    day = today().isoformat()
    for _ in range(2):
        yield deployed.call("RenewalAudit", {"from": day, "to": day})


def audit_of_a_renewal(deployed: Deployed) -> Iterator[Answer]:
    """Audit today's charges: the audit reads the ledger's items and looks at the receipts."""
    deployed.shop.renew(deployed.shop.subscribe())
    return audit(deployed)


def audit_of_a_refund(deployed: Deployed) -> Iterator[Answer]:
    """Audit a period that somebody refunded in the gateway's dashboard: the audit asks the workflow to compare the
    refunds."""
    subscriber, stack = deployed.shop.subscribe(), deployed.shop.stack
    deployed.shop.renew(subscriber)
    (item,) = deployed.shop.ledger(subscriber)
    refunds = official_client(stack.gateway_url, stack.gateway_key).v1.refunds
    refunds.create({"payment_intent": item["payment_id"], "amount": 100})
    return audit(deployed)


def audit_hand_on(deployed: Deployed) -> Iterator[Answer]:
    """Audit with less time than a run wants to have left: the run writes its part and hands on the rest."""
    with deployed.timeout("RenewalAudit", 100):
        for answer in audit(deployed):
            yield Answer({"finished": answer.reply.get("finished") is False}, answer.told)


def catch_up(deployed: Deployed) -> Iterator[Answer]:
    """Catch up on the events of the gateway, a refund among them, which goes to the queue in any case."""
    subscriber, stack = deployed.shop.subscribe(), deployed.shop.stack
    deployed.shop.renew(subscriber)
    (item,) = deployed.shop.ledger(subscriber)
    refunds = official_client(stack.gateway_url, stack.gateway_key).v1.refunds
    refunds.create({"payment_intent": item["payment_id"], "amount": 100})
    for _ in range(2):
        yield deployed.call("GatewayCatchUp", {})


def catch_up_hand_on(deployed: Deployed) -> Iterator[Answer]:
    """Catch up with less time than a run wants to have left: the run reads a page and hands on the rest."""
    with deployed.timeout("GatewayCatchUp", 55):
        for _ in range(2):
            answer = deployed.call("GatewayCatchUp", {})
            yield Answer({"finished": answer.reply.get("finished") is False}, answer.told)


def event_of_the_gateway(deployed: Deployed) -> Iterator[Answer]:
    """Receive a signed event, by a new process at first, which reads the endpoint's secret."""
    secret, arn = "whsec_of_the_permissions", deployed.names["GatewayEventsSecret"]
    deployed.shop.planted.add(secret)
    deployed.shop.secrets.put_secret_value(SecretId=arn, SecretString=json.dumps({"signing": secret}))
    about = {"id": "pi_nobody", "metadata": {"subscription_id": "sub_nobody", "renewal_date": "2020-01-31"}}
    event = {"id": "evt_1", "object": "event", "type": "payment_intent.succeeded", "livemode": False, "created": 1}
    body = json.dumps(event | {"data": {"object": about}})
    deployed.restart("GatewayEvents")
    for _ in range(2):
        header = stripe.WebhookSignature.generate_signature_header(body, secret)
        yield deployed.call("GatewayEvents", {"body": body, "headers": {"Stripe-Signature": header}})


def event_at_work(deployed: Deployed) -> Iterator[Answer]:
    """Act on the event of a payment that the customer has confirmed at the bank, by a new process at first, which reads
    the gateway's secret."""
    subscriber = deployed.shop.subscribe(card="pm_card_authenticationRequired")
    deployed.shop.renew(subscriber)
    (item,) = deployed.shop.ledger(subscriber)
    deployed.shop.sandbox.authenticate(item["payment_id"])
    deployed.restart("GatewayWorker")
    for _ in range(2):
        yield deployed.call("GatewayWorker", {"Records": [record(_hint(item, item["payment_id"]))]})


def _hint(item: Json, payment: str) -> str:
    metadata = {name: str(item[name]) for name in ("subscription_id", "renewal_date")}
    event = {"event": "evt_1", "type": "payment_intent.succeeded", "created": 1, "livemode": False, "object": payment}
    return json.dumps(event | {"payment_intent": payment, "metadata": metadata})


def event_under_a_lease(deployed: Deployed) -> Iterator[Answer]:
    """Act on an event that meets a live lease: the worker sets the time of the next look. The message does not exist,
    and SQS says so only to a caller with the permission."""
    subscriber = deployed.shop.subscribe(card="pm_card_authenticationRequired")
    deployed.shop.renew(subscriber)
    (item,) = deployed.shop.ledger(subscriber)
    until = (datetime.now(UTC) + timedelta(minutes=9)).isoformat()
    deployed.shop.renewals.put_item(Item=item | {"status": "claimed", "lease_until": until})
    for _ in range(2):
        answer = deployed.call("GatewayWorker", {"Records": [record(_hint(item, item["payment_id"]))]})
        yield Answer({"answered": "ReceiptHandleIsInvalid" in answer.told}, answer.told)


def event_of_a_detached_card(deployed: Deployed) -> Iterator[Answer]:
    """Act on the event of a card that was detached at the gateway: an index leads from the card to the row."""
    subscriber = deployed.shop.subscribe()
    card = str(deployed.shop.row(subscriber)["payment_method"])
    event = {"event": "evt_1", "type": "payment_method.detached", "created": 1, "livemode": False, "object": card}
    for _ in range(2):
        yield deployed.call("GatewayWorker", {"Records": [record(json.dumps(event | {"metadata": {}}))]})


def event_where_test_clocks_are_heeded(deployed: Deployed) -> Iterator[Answer]:
    """Act on the event of an interrupted claim as outside production: there the subscription's row may name a test
    clock, by which the lease is compared."""
    subscriber = deployed.shop.subscribe(card="pm_card_authenticationRequired")
    deployed.shop.renew(subscriber)
    (item,) = deployed.shop.ledger(subscriber)
    deployed.shop.sandbox.authenticate(item["payment_id"])
    until = (datetime.now(UTC) - timedelta(minutes=9)).isoformat()
    deployed.shop.renewals.put_item(Item=item | {"status": "claimed", "lease_until": until})
    with deployed.setting("GatewayWorker", ENVIRONMENT="dev"):
        for _ in range(2):
            yield deployed.call("GatewayWorker", {"Records": [record(_hint(item, item["payment_id"]))]})


def event_of_a_dispute(deployed: Deployed) -> Iterator[Answer]:
    """Act on the event of a dispute, which ends the subscription with its paid period."""
    subscriber = deployed.shop.subscribe()
    deployed.shop.renew(subscriber)
    (item,) = deployed.shop.ledger(subscriber)
    dispute = deployed.shop.sandbox.dispute(item["payment_id"])["id"]
    hint = {"event": "evt_1", "type": "charge.dispute.created", "created": 1, "livemode": False, "object": dispute}
    for _ in range(2):
        yield deployed.call("GatewayWorker", {"Records": [record(json.dumps(hint | {"metadata": {}}))]})


def feedback(deployed: Deployed) -> Iterator[Answer]:
    """Process the bounce of a receipt's mail; the second call finishes what the first began without the permission."""
    subscriber = deployed.shop.subscribe()
    receipted = deployed.issue_receipt(deployed.pay(subscriber).reply).reply
    deployed.call("SendEmail", {"execution": EXECUTION, "renewal": receipted})
    event = deployed.shop.bounce_of(subscriber, "receipt_1")
    for _ in range(2):
        yield deployed.call("MailFeedback", sns_event(event))


def feedback_on_a_reminder(deployed: Deployed) -> Iterator[Answer]:
    """Process the bounce of a reminder: only for a reminder is the subscription's row read."""
    day = (today() + timedelta(days=5)).isoformat()
    subscriber = deployed.shop.subscribe(renewal_date=day, interval="year")
    told = {"subscription_id": subscriber.subscription_id, "customer_id": subscriber.customer_id, "renewal_date": day}
    renewal = told | {"outcome": "remind", "reminders": ["upcoming"]}
    deployed.call("SendEmail", {"execution": EXECUTION, "renewal": renewal})
    event = deployed.shop.bounce_of(subscriber, "upcoming")
    for _ in range(2):
        yield deployed.call("MailFeedback", sns_event(event))


def feedback_on_a_confirmation(deployed: Deployed) -> Iterator[Answer]:
    """Process the bounce of a confirmation: only for a confirmation is the record of a change read."""
    subscriber = signed_up(deployed)
    confirm(deployed, subscriber)
    event = deployed.shop.bounce_of(subscriber, "sign_up")
    for _ in range(2):
        yield deployed.call("MailFeedback", sns_event(event))


def publication_to_confirm(deployed: Deployed) -> Iterator[Answer]:
    """Tell a sign-up: EventPublisher puts a request to confirm the sign-up into the queue of renewals. The table has no
    such sign-up, so that nobody is mailed."""
    return publication(deployed, "created")


def publication(deployed: Deployed, what: str = "paused") -> Iterator[Answer]:
    """Tell a change on request: EventPublisher reads the row and the periods, and puts the event on the bus. The row is
    of an earlier test, so that no stream has anything to tell meanwhile."""
    row = deployed.shop.subscriptions.scan(Limit=1, ConsistentRead=True)["Items"][0]
    at = datetime.now(UTC).isoformat()
    item = {"subscription_id": row["subscription_id"], "change": f"{at}/0", "at": at, "by": "a test"}
    stream = deployed.stream("Changes", item | {"what": what, "details": {}, "confirmable": True})
    for _ in range(2):
        yield deployed.call("EventPublisher", stream)


def publication_to_an_address(deployed: Deployed) -> Iterator[Answer]:
    """Tell a change while the stack posts events to an address: EventPublisher also puts the event into a queue."""
    function, shop = deployed.names["EventPublisher"], deployed.shop
    variables = shop.functions.get_function_configuration(FunctionName=function)["Environment"]["Variables"]
    url = shop.stack.client("sqs").get_queue_url(QueueName=deployed.names["DeliveriesQueue"])["QueueUrl"]
    told = {"Variables": variables | {"DELIVERIES_QUEUE_URL": url}}
    shop.functions.update_function_configuration(FunctionName=function, Environment=told)
    answers = publication(deployed)
    try:
        yield next(answers)
        last = next(answers)
    finally:
        shop.functions.update_function_configuration(FunctionName=function, Environment={"Variables": variables})
    yield last


def delivery(failed: int) -> Probe:
    """Post an event to no address, after so many failed tries: the next try is kept, or the event is given up."""

    def probe(deployed: Deployed) -> Iterator[Answer]:
        deployed.restart("EventDeliverer")
        message = {"event": json.dumps({"id": f"evt_{uuid.uuid4().hex}"}), "failed": failed}
        for _ in range(2):
            yield deployed.call("EventDeliverer", {"Records": [record(json.dumps(message))]})

    return probe


def deliveries_due(deployed: Deployed) -> Iterator[Answer]:
    """Move a try whose time has come into the queue."""
    tables = deployed.shop.stack.client("dynamodb")
    message = json.dumps({"event": json.dumps({"id": "evt_due"}), "failed": 7})
    item = {"shard": "0", "due": "2020-01-01T00:00:00/evt_due", "message": message}
    for _ in range(2):
        told = {name: {"S": value} for name, value in item.items()}
        tables.put_item(TableName=deployed.names["Deliveries"], Item=told)
        answer = deployed.call("EventDeliverer", {"deliveries": "due"})
        yield Answer({"batchItemFailures": []} if "moved" in answer.reply else {}, answer.told)


def publication_of_an_unreadable_record(deployed: Deployed) -> Iterator[Answer]:
    """Put a record aside whose item cannot be read."""
    item = {"subscription_id": "sub_odd", "change": "odd", "at": "no moment", "by": "a test", "what": "paused"}
    stream = deployed.stream("Changes", item)
    for _ in range(2):
        yield deployed.call("EventPublisher", stream)


def sns_event(message: Json) -> Json:
    return {"Records": [{"EventSource": "aws:sns", "Sns": {"Message": json.dumps(message)}}]}


def record(body: str) -> Json:
    attributes = {"ApproximateReceiveCount": "1"}
    return {"messageId": "m", "receiptHandle": "h", "body": body, "attributes": attributes}


def workflow(deployed: Deployed) -> Iterator[Answer]:
    """Run a whole renewal. The workflow fails to call a task, retries after a pause, as on AWS, and by then may call
    the task."""
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
    Grant("ProcessPaymentRole", "dynamodb:Query", "table/<Changes>"): confirmation_asked,
    Grant("ProcessPaymentRole", "dynamodb:PutItem", "table/<Changes>"): card_taken,
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
    Grant("SendEmailRole", "dynamodb:ConditionCheckItem", "table/<Subscriptions>"): confirmation,
    Grant("SendEmailRole", "dynamodb:Query", "table/<Renewals>"): confirmation,
    Grant("SendEmailRole", "dynamodb:Query", "table/<Changes>"): confirmation,
    Grant("SendEmailRole", "dynamodb:UpdateItem", "table/<Changes>"): confirmation,
    Grant("SendEmailRole", "s3:GetObject", "<Receipts>/receipts/*"): mail,
    Grant("SendEmailRole", "secretsmanager:GetSecretValue", "<ReceiptLinkKey>"): mail_by_a_new_process,
    Grant("SendEmailRole", "secretsmanager:GetSecretValue", "<AccountLinkKey>"): decline_by_a_new_process,
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
    Grant("SubscriptionsApiRole", "dynamodb:GetItem", "table/<Renewals>"): api_refund,
    Grant("SubscriptionsApiRole", "secretsmanager:GetSecretValue", "<ReceiptLinkKey>"): api_receipts_by_a_new_process,
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
    Grant("ReceiptLinksRole", "dynamodb:GetItem", "table/<Renewals>"): receipt_link,
    Grant("ReceiptLinksRole", "secretsmanager:GetSecretValue", "<ReceiptLinkKey>"): receipt_link_by_a_new_process,
    Grant("ReceiptLinksRole", "s3:GetObject", "<Receipts>/receipts/*"): receipt_link,
    Grant("CustomerPageRole", "dynamodb:Query", "table/<Subscriptions>"): page_overview,
    Grant("CustomerPageRole", "dynamodb:Query", "table/<Renewals>"): page_overview,
    Grant("CustomerPageRole", "secretsmanager:GetSecretValue", "<AccountLinkKey>"): page_overview_by_a_new_process,
    Grant("CustomerPageRole", "secretsmanager:GetSecretValue", "<ReceiptLinkKey>"): page_overview_by_a_new_process,
    Grant("CustomerPageRole", "dynamodb:UpdateItem", "table/<Subscriptions>"): page_cancel,
    Grant("CustomerPageRole", "dynamodb:GetItem", "table/<Renewals>"): page_cancel,
    Grant("CustomerPageRole", "dynamodb:ConditionCheckItem", "table/<Renewals>"): page_cancel,
    Grant("CustomerPageRole", "dynamodb:PutItem", "table/<Changes>"): page_cancel,
    Grant("CustomerPageRole", "dynamodb:PutItem", "table/<Renewals>"): page_resume,
    Grant("CustomerPageRole", "dynamodb:Query", "table/<Changes>"): page_resume,
    Grant("CustomerPageRole", "sqs:SendMessage", "<RenewalQueue>"): page_hands_over,
    Grant("CustomerPageRole", "dynamodb:PutItem", "table/<Declarations>"): page_declares,
    Grant("DeclarationWorkerRole", "dynamodb:GetItem", "table/<Declarations>"): declaration,
    Grant("DeclarationWorkerRole", "dynamodb:UpdateItem", "table/<Declarations>"): declaration,
    Grant("DeclarationWorkerRole", "dynamodb:ConditionCheckItem", "table/<Declarations>"): declaration,
    Grant("DeclarationWorkerRole", "dynamodb:Scan", "table/<Declarations>"): declarations_that_are_open,
    Grant("DeclarationWorkerRole", "dynamodb:Query", "table/<Subscriptions>"): declaration,
    Grant("DeclarationWorkerRole", "dynamodb:Query", "table/<Subscriptions>/index/mail-address-index"): declaration,
    Grant("DeclarationWorkerRole", "dynamodb:BatchGetItem", "table/<Subscriptions>"): declaration,
    Grant("DeclarationWorkerRole", "dynamodb:UpdateItem", "table/<Subscriptions>"): declaration,
    Grant("DeclarationWorkerRole", "dynamodb:Query", "table/<Renewals>"): declaration,
    Grant("DeclarationWorkerRole", "dynamodb:GetItem", "table/<Renewals>"): declaration,
    Grant("DeclarationWorkerRole", "dynamodb:ConditionCheckItem", "table/<Renewals>"): declaration,
    Grant("DeclarationWorkerRole", "dynamodb:Query", "table/<Changes>"): declaration,
    Grant("DeclarationWorkerRole", "dynamodb:PutItem", "table/<Changes>"): declaration,
    Grant("DeclarationWorkerRole", "sqs:SendMessage", "<RenewalQueue>"): declaration_hands_over,
    Grant("CustomerPageRole", "lambda:InvokeFunction", "function:<ProcessPayment>"): page_opens_card_page,
    Grant("CustomerPageRole", "dynamodb:UpdateItem", "table/<Counters>"): page_takes_an_address,
    Grant("CustomerPageRole", "sqs:SendMessage", "<AddressQueue>"): page_takes_an_address,
    Grant("AddressWorkerRole", "dynamodb:Query", "table/<Subscriptions>/index/mail-address-index"): address_looked_up,
    Grant("AddressWorkerRole", "dynamodb:BatchGetItem", "table/<Subscriptions>"): address_looked_up,
    Grant("AddressWorkerRole", "dynamodb:UpdateItem", "table/<Subscriptions>"): address_looked_up,
    Grant("AddressWorkerRole", "dynamodb:UpdateItem", "table/<Counters>"): address_looked_up,
    Grant("AddressWorkerRole", "dynamodb:PutItem", "table/<Changes>"): address_looked_up,
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
    Grant("GatewayEventsRole", "secretsmanager:GetSecretValue", "<GatewayEventsSecret>"): event_of_the_gateway,
    Grant("GatewayEventsRole", "sqs:SendMessage", "<GatewayEventsQueue>"): event_of_the_gateway,
    Grant("GatewayWorkerRole", "dynamodb:GetItem", "table/<Renewals>"): event_at_work,
    Grant("GatewayWorkerRole", "dynamodb:GetItem", "table/<Subscriptions>"): event_where_test_clocks_are_heeded,
    Grant("GatewayWorkerRole", "dynamodb:UpdateItem", "table/<Renewals>"): event_of_a_dispute,
    Grant("GatewayWorkerRole", "dynamodb:Query", "table/<Renewals>"): event_of_a_dispute,
    Grant("GatewayWorkerRole", "dynamodb:ConditionCheckItem", "table/<Renewals>"): event_of_a_dispute,
    Grant("GatewayWorkerRole", "dynamodb:UpdateItem", "table/<Subscriptions>"): event_of_a_dispute,
    Grant("GatewayWorkerRole", "dynamodb:Query", "table/<Changes>"): event_of_a_dispute,
    Grant("GatewayWorkerRole", "dynamodb:Query", "table/<Subscriptions>"): event_of_a_new_card,
    Grant("GatewayWorkerRole", "dynamodb:PutItem", "table/<Changes>"): event_of_a_dispute,
    Grant("GatewayWorkerRole", "dynamodb:Query", "table/<Subscriptions>/index/payment-method-index"): (
        event_of_a_detached_card
    ),
    Grant("GatewayWorkerRole", "secretsmanager:GetSecretValue", "<PaymentGatewaySecret>"): event_at_work,
    Grant("GatewayWorkerRole", "states:StartSyncExecution", "<RenewalWorkflow>"): event_at_work,
    Grant("GatewayWorkerRole", "sqs:ChangeMessageVisibility", "<GatewayEventsQueue>"): event_under_a_lease,
    Grant("GatewayCatchUpRole", "secretsmanager:GetSecretValue", "<PaymentGatewaySecret>"): catch_up,
    Grant("GatewayCatchUpRole", "sqs:SendMessage", "<GatewayEventsQueue>"): catch_up,
    Grant("GatewayCatchUpRole", "sqs:GetQueueAttributes", "<GatewayEventsQueue>"): catch_up,
    Grant("GatewayCatchUpRole", "s3:GetObject", "<Receipts>/gateway-catch-up/*"): catch_up,
    Grant("GatewayCatchUpRole", "s3:PutObject", "<Receipts>/gateway-catch-up/*"): catch_up,
    Grant("GatewayCatchUpRole", "lambda:InvokeFunction", "function:<GatewayCatchUp>"): catch_up_hand_on,
    Grant("MailFeedbackRole", "dynamodb:GetItem", "table/<Renewals>"): feedback,
    Grant("MailFeedbackRole", "dynamodb:UpdateItem", "table/<Renewals>"): feedback,
    Grant("MailFeedbackRole", "dynamodb:GetItem", "table/<Subscriptions>"): feedback_on_a_reminder,
    Grant("MailFeedbackRole", "dynamodb:UpdateItem", "table/<Subscriptions>"): feedback,
    Grant("MailFeedbackRole", "dynamodb:GetItem", "table/<Changes>"): feedback_on_a_confirmation,
    Grant("MailFeedbackRole", "dynamodb:UpdateItem", "table/<Changes>"): feedback_on_a_confirmation,
    Grant("EventPublisherRole", "sqs:SendMessage", "<RenewalQueue>"): publication_to_confirm,
    Grant("EventPublisherRole", "dynamodb:Query", "table/<Subscriptions>"): publication,
    Grant("EventPublisherRole", "dynamodb:Query", "table/<Renewals>"): publication,
    Grant("EventPublisherRole", "sqs:SendMessage", "<DeliveriesQueue>"): publication_to_an_address,
    Grant("EventDelivererRole", "secretsmanager:GetSecretValue", "<EventsSecret>"): delivery(0),
    Grant("EventDelivererRole", "sqs:SendMessage", "<DeliveriesQueue>"): delivery(0),
    Grant("EventDelivererRole", "dynamodb:PutItem", "table/<Deliveries>"): delivery(2),
    Grant("EventDelivererRole", "sqs:SendMessage", "<EventsDeadLetterQueue>"): delivery(7),
    Grant("EventDelivererRole", "dynamodb:Query", "table/<Deliveries>"): deliveries_due,
    Grant("EventDelivererRole", "dynamodb:DeleteItem", "table/<Deliveries>"): deliveries_due,
    Grant("EventPublisherRole", "events:PutEvents", "event-bus/<EventBus>"): publication,
    Grant("EventPublisherRole", "sqs:SendMessage", "<UnreadableRecordsQueue>"): publication_of_an_unreadable_record,
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
    "ReceiptLinksRole": {"done": True},
    "CustomerPageRole": {"done": True},
    "AddressWorkerRole": {"batchItemFailures": []},
    "DeclarationWorkerRole": {"looked_at": 1},
    "RenewalSweepRole": {"backlog": 0},
    "RenewalWorkerRole": {"batchItemFailures": []},
    "RenewalAuditRole": {"finished": True},
    "GatewayEventsRole": {"statusCode": 200},
    "GatewayWorkerRole": {"batchItemFailures": []},
    "GatewayCatchUpRole": {"finished": True},
    "MailFeedbackRole": {"outcomes": ["marked"]},
    "EventPublisherRole": {"batchItemFailures": []},
    "EventDelivererRole": {"batchItemFailures": []},
    "StepFunctionsRole": {"status": SUCCEEDED},
    "sqs:ChangeMessageVisibility": {"answered": True},
}

# --- permissions that nothing on the emulator misses -------------------------------------------------------------

FUNCTIONS = """ProcessPayment GenerateReceipt SendEmail WebhookHandler SubscriptionsApi RenewalSweep RenewalWorker
               RenewalAudit CustomerPage GatewayEvents GatewayWorker GatewayCatchUp MailFeedback EventPublisher
               EventDeliverer AddressWorker DeclarationWorker ReceiptLinks""".split()
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
    "the messages of queues": (
        "the emulator takes messages from a queue and deletes them itself, not in the name of the function's role",
        [
            Grant(role, f"sqs:{action}", queue)
            for role, queue in (
                ("RenewalWorkerRole", "<RenewalQueue>"),
                ("EventDelivererRole", "<DeliveriesQueue>"),
                ("GatewayWorkerRole", "<GatewayEventsQueue>"),
                ("AddressWorkerRole", "<AddressQueue>"),
            )
            for action in ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes")
        ],
    ),
    "the tables' streams": (
        "the emulator reads a stream in the name of the function's role: test_events_out.py takes each action away",
        [
            Grant(f"{role}Role", f"dynamodb:{action}", f"table/<{table}>/stream/*")
            for action in ("DescribeStream", "GetRecords", "GetShardIterator", "ListStreams")
            for role, table in (
                ("EventPublisher", "Subscriptions"),
                ("EventPublisher", "Renewals"),
                ("EventPublisher", "Changes"),
                ("DeclarationWorker", "Declarations"),
            )
        ],
    ),
    "the dead letters of mail": (
        "the emulator itself puts a function's failed events into the dead-letter queue, in nobody's name",
        [Grant("MailFeedbackRole", "sqs:SendMessage", "<MailFeedbackDeadLetterQueue>")],
    ),
    "the schedules' calls": (
        "the emulator calls a schedule's target itself, in nobody's name",
        [
            Grant("SweepSchedulesRole", "lambda:InvokeFunction", "function:<RenewalSweep>"),
            Grant("AuditScheduleRole", "lambda:InvokeFunction", "function:<RenewalAudit>"),
            Grant("GatewayCatchUpScheduleRole", "lambda:InvokeFunction", "function:<GatewayCatchUp>"),
            Grant("DeclarationsScheduleRole", "lambda:InvokeFunction", "function:<DeclarationWorker>"),
            Grant("DeliveriesScheduleRole", "lambda:InvokeFunction", "function:<EventDeliverer>"),
        ],
    ),
    "the bucket's list": (
        "the emulator says that an object is missing to whoever may read it; S3 says so to those who may list",
        [
            Grant(f"{function}Role", "s3:ListBucket", "<Receipts>")
            for function in ("RenewalAudit", "GatewayCatchUp", "GenerateReceipt", "SendEmail", "ReceiptLinks")
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
    """The deployed roles allow exactly the permissions that are probed or stand in the table."""
    known = {*PROBES, *UNMISSED}
    granted = deployed.grants()
    assert granted - known == set(), "a role has a permission that no probe needs"
    assert known - granted == set(), "no role has this permission of the tables"


@pytest.mark.parametrize("grant", PROBES, ids=" ".join)
def test_a_permission_is_missed(deployed: Deployed, grant: Grant) -> None:
    """Without the permission the work is not done, and the error names the permission; with the permission the work is
    done."""
    promised = PROMISED.get(grant.action) or PROMISED[grant.role]
    answers = PROBES[grant](deployed)
    with deployed.without(grant):
        without = next(answers)
    assert not without.gives(promised), without.told
    # SES names addresses in its message; the product therefore passes on the action and the code alone.
    named = (f"is not authorized to perform: {grant.action}", f"{grant.action}: AccessDenied")
    assert any(text in without.told for text in named), without.told
    restored = next(answers)
    assert restored.gives(promised), restored.told


def test_what_is_not_asked_for_is_not_missed(deployed: Deployed) -> None:
    """Without all permissions of the table a renewal still runs to its end: otherwise a probe could be written for
    them."""
    deployed.restart("ProcessPayment")
    with deployed.without(*UNMISSED):
        end = deployed.shop.renew(deployed.shop.subscribe())
    assert (end.status, end.state) == (SUCCEEDED, "Success")
