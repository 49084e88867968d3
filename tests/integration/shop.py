"""A shop on the deployed stack: makes subscriptions, sends webhooks, and looks at all results.

Every subscription has ids, a customer and an address of its own, so that many tests can share a stack.
"""

import io
import json
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pikepdf
import pypdfium2
import urllib3
from boto3.dynamodb.conditions import Key

from local.gateway import Sandbox, official_client
from local.stack import ROOT, Stack
from local.time_passes import TimePasses
from local.webhook import Reply, send, signed_headers, signing_secret
from renewals.domain import mail_tags
from renewals.domain.confirmations import CONFIRMATIONS
from renewals.domain.mail_tags import Tagged
from renewals.domain.request import Asks
from renewals.domain.schedule import Schedule

_FEEDBACK = ROOT / "events" / "mail_feedback.json"
RUNNING = "RUNNING"
SUCCEEDED = "SUCCEEDED"
FAILED = "FAILED"


@dataclass(frozen=True)
class Subscriber:
    """A subscription with its customer. amount: in major units, as in the webhook."""

    subscription_id: str
    customer_id: str
    name: str
    email: str
    amount: str
    gateway_customer: str
    payment_method: str

    def request(self, **changes: Any) -> bytes:
        """Return the body of a webhook for a renewal of the subscription, with `changes`; None leaves a field out."""
        fields: dict[str, Any] = {
            "subscription_id": self.subscription_id,
            "customer_id": self.customer_id,
            "amount": self.amount,
        }
        return json.dumps({name: value for name, value in (fields | changes).items() if value is not None}).encode()


@dataclass(frozen=True)
class End:
    """The end of an execution. state: the last state entered. payment: ProcessPayment's reply, or {} without a
    reply."""

    status: str
    error: str | None
    state: str
    payment: dict[str, Any]


def wait_until[T](what: Callable[[], T], *, seconds: float = 90) -> T:
    """Ask `what` ten times a second and return its first true value; fail after `seconds`. The default is long, so that
    a busy machine fails no test."""
    deadline = time.monotonic() + seconds
    while not (value := what()):
        assert time.monotonic() < deadline, f"still {value!r} after {seconds:.0f} s"
        time.sleep(0.1)
    return value


class Shop:
    """A shop on the deployed stack. planted: data given to the stack that must not show in logs."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.time = TimePasses(stack.endpoint_url)
        self.sandbox = Sandbox(stack.gateway_url)
        self.planted: set[str] = set()
        self.workflows = stack.client("stepfunctions")
        self.s3 = stack.client("s3")
        self.functions = stack.client("lambda")
        self.secrets = stack.client("secretsmanager")
        self.workflow = stack.outputs["RenewalWorkflowArn"]
        self.bucket = stack.outputs["ReceiptsBucketName"]
        tables = stack.session.resource("dynamodb", endpoint_url=stack.endpoint_url)
        self.subscriptions = tables.Table(stack.outputs["SubscriptionsTableName"])
        self.renewals = tables.Table(stack.outputs["RenewalsTableName"])
        self.changes = tables.Table(stack.outputs["ChangesTableName"])
        self.declarations = tables.Table(stack.outputs["DeclarationsTableName"])
        self._gateway = official_client(stack.gateway_url, stack.gateway_key).v1
        self._http = urllib3.PoolManager(timeout=10, retries=False)
        self._mails: dict[Path, EmailMessage] = {}

    # Acting

    def subscribe(
        self, *, name: str = "Ann Lee", amount: str = "29.99", card: str = "pm_card_visa", **attributes: Any
    ) -> Subscriber:
        """Make a customer with a saved card at the gateway, and a monthly subscription in USD, due today.

        card: a test id of Stripe's. attributes: differing attributes of the row; None leaves an attribute out.
        """
        identity = uuid.uuid4().hex[:12]
        email = f"customer-{identity}@example.org"
        customer = self._gateway.customers.create({"name": name, "email": email})
        subscriber = Subscriber(
            f"sub_{identity}", f"cus_{identity}", name, email, amount, customer.id, self._attach(card, customer.id)
        )
        self.planted |= {name, email}
        row: dict[str, Any] = {
            "subscription_id": subscriber.subscription_id,
            "customer_id": subscriber.customer_id,
            "status": "active",
            "renewal_date": today().isoformat(),
            "amount": Decimal(amount),
            "currency": "USD",
            "plan": "Pro",
            "customer_name": name,
            "customer_email": email,
            "gateway_customer": subscriber.gateway_customer,
            "payment_method": subscriber.payment_method,
        }
        self.subscriptions.put_item(Item=row)
        if attributes:
            self.edit(subscriber, **attributes)
        return subscriber

    def edit(self, subscriber: Subscriber, **attributes: Any) -> None:
        """Change attributes in the subscription's row, as a person does; None removes an attribute."""
        row = self.row(subscriber) | attributes
        self.subscriptions.put_item(Item={name: value for name, value in row.items() if value is not None})

    def give_card(self, subscriber: Subscriber, card: str) -> str:
        """Save a new card for the customer and write it into the row; return the card's id."""
        saved = self._attach(card, subscriber.gateway_customer)
        self.edit(subscriber, payment_method=saved)
        return saved

    def detach_card(self, subscriber: Subscriber) -> None:
        """Detach the customer's card at the gateway, as a person does in the dashboard."""
        self._gateway.payment_methods.detach(subscriber.payment_method)

    def end_lease(self, subscriber: Subscriber) -> None:
        """End the lease of the subscription's renewals, as if an execution's 40 seconds had passed."""
        for item in self.ledger(subscriber):
            self.renewals.put_item(Item=item | {"lease_until": "2026-01-01T00:00:00.000000+00:00"})

    @cached_property
    def secret(self) -> str:
        """The webhook's signing secret, as deployed."""
        return signing_secret(self.stack)

    @cached_property
    def account_api(self) -> str:
        """The address of the customer page's API, without a host name of its own."""
        apis = self.stack.client("apigateway").get_rest_apis()["items"]
        [api] = [each["id"] for each in apis if each["name"].startswith("subscription-mgmt-account-")]
        return f"{self.stack.endpoint_url}/_aws/execute-api/{api}/prod"

    def signed(self, body: bytes, *, message_id: str | None = None, at: datetime | None = None) -> dict[str, str]:
        """Return headers that sign `body`, by default as a new message sent now."""
        message_id = message_id or f"msg_{uuid.uuid4().hex}"
        return signed_headers(self.secret, body, message_id=message_id, at=at or datetime.now(UTC))

    def post(self, body: bytes, headers: dict[str, str]) -> Reply:
        """Post a webhook over HTTP."""
        return send(self.stack.outputs["LocalWebhookUrl"], body, headers)

    def deliver(self, subscriber: Subscriber, **changes: Any) -> Reply:
        """Post a signed webhook for a renewal of the subscription, with `changes` to its fields."""
        body = subscriber.request(**changes)
        return self.post(body, self.signed(body))

    def renew(self, subscriber: Subscriber, **changes: Any) -> End:
        """Deliver a webhook, which must be accepted, and wait for the end of its execution."""
        before = len(self.executions(subscriber.subscription_id))
        reply = self.deliver(subscriber, **changes)
        assert reply.status == 202, reply
        return self.ends(subscriber, before + 1)[-1]

    def retries_until[T](self, come: Callable[[], T], *, seconds: float = 100) -> T:
        """Return the first true value of `come`, ending the queues' waits between two tries at once."""

        def has_come() -> T:
            self.time.until_all_is_done(seconds)
            self.time.hidden_messages_appear()
            return come()

        return wait_until(has_come, seconds=seconds)

    def nothing_is_due(self) -> None:
        """Remove all subscriptions made earlier and drain the queue."""
        self.sandbox.peaceful()
        self.stack.client("sqs").purge_queue(QueueUrl=self.stack.outputs["RenewalQueueUrl"])
        self.time.until_all_is_done(60)
        for table, keys in (
            (self.subscriptions, ("subscription_id", "customer_id")),
            (self.renewals, ("subscription_id", "renewal_date")),
        ):
            while rows := table.scan()["Items"]:
                with table.batch_writer() as batch:
                    for row in rows:
                        batch.delete_item(Key={key: row[key] for key in keys})

    # Looking

    def executions(self, subscription_id: str) -> list[dict[str, Any]]:
        """Return the executions for the subscription, in the order of their starts, without the executions that confirm
        a change on request: such an execution begins at any moment after the change.

        AWS keeps no list of executions of EXPRESS workflows, only logs; the emulator has a list.
        """
        found = [
            (each, json.loads(each["input"])) for each in self._emulator(f"/_local/executions/{quote(subscription_id)}")
        ]
        return [
            each
            for each, asked in found
            if asked["subscription_id"] == subscription_id and asked.get("event_type") != Asks.CONFIRM
        ]

    def all_executions(self) -> int:
        """Return the number of all executions ever started."""
        pages = self.workflows.get_paginator("list_executions").paginate(stateMachineArn=self.workflow)
        return sum(len(page["executions"]) for page in pages)

    def ends(self, subscriber: Subscriber, count: int, *, seconds: float = 60) -> list[End]:
        """Wait until the subscription's `count` executions have ended, and return the ends in the order of the
        starts."""

        def ended() -> list[dict[str, Any]]:
            found = self.executions(subscriber.subscription_id)
            done = len(found) == count and all(execution["status"] != RUNNING for execution in found)
            return found if done else []

        return [self._end(execution["executionArn"]) for execution in wait_until(ended, seconds=seconds)]

    def history(self, execution_arn: str) -> list[dict[str, Any]]:
        """Return the events of an execution, in order."""
        pages = self.workflows.get_paginator("get_execution_history").paginate(executionArn=execution_arn)
        return [event for page in pages for event in page["events"]]

    def row(self, subscriber: Subscriber) -> dict[str, Any]:
        """Return the subscription's row."""
        key = {"subscription_id": subscriber.subscription_id, "customer_id": subscriber.customer_id}
        row: dict[str, Any] = self.subscriptions.get_item(Key=key, ConsistentRead=True)["Item"]
        return row

    def ledger(self, subscriber: Subscriber) -> list[dict[str, Any]]:
        """Return the subscription's periods in the ledger, oldest first."""
        condition = Key("subscription_id").eq(subscriber.subscription_id)
        items: list[dict[str, Any]] = self.renewals.query(KeyConditionExpression=condition, ConsistentRead=True)[
            "Items"
        ]
        return items

    def charges(self, subscriber: Subscriber, **equal: Any) -> list[dict[str, Any]]:
        """Return the gateway's attempted charges, oldest first; `equal` narrows the list, as status="succeeded"."""
        return self.sandbox.charges(customer=subscriber.gateway_customer, **equal)

    def receipts(self, subscriber: Subscriber) -> dict[str, bytes]:
        """Return the customer's receipts: key to PDF."""
        listed = self.s3.list_objects_v2(Bucket=self.bucket, Prefix=f"receipts/{subscriber.customer_id}/")
        return {
            found["Key"]: self.s3.get_object(Bucket=self.bucket, Key=found["Key"])["Body"].read()
            for found in listed.get("Contents", [])
        }

    def mails(self, subscriber: Subscriber) -> list[EmailMessage]:
        """Return the customer's mails, oldest first, after everything that SES accepted for the address was relayed."""
        return self.mails_to(subscriber.email)

    def mails_to(self, address: str) -> list[EmailMessage]:
        """Return the mails to the address, a text that no other address contains."""
        count = sum(address in "".join(mail["to"]) for mail in self._emulator("/_local/mails"))
        wait_until(lambda: len(self._arrived(address)) >= count)
        return self._arrived(address)

    def bounce_of(self, subscriber: Subscriber, mail: str, **said: Any) -> dict[str, Any]:
        """Return the event that SES publishes for a permanent bounce of the latest mail of this name, with `said` in
        the bounce. The emulator's SES publishes no events; the tags are the tags of the mail as sent.

        https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-examples.html
        """
        change = ""
        if mail in CONFIRMATIONS:
            period, (change, sent) = "", self._confirmation(subscriber)
        elif mail in ("upcoming", "card_expires"):
            row = self.row(subscriber)
            period, sent = row[f"reminder_{mail}"]["period"], row[f"reminder_{mail}"]
        else:
            item = next(item for item in reversed(self.ledger(subscriber)) if mail in item["mails"])
            period, sent = item["renewal_date"], item["mails"][mail]
        tagged = Tagged(subscriber.subscription_id, subscriber.customer_id, period, mail, sent["token"], change)
        event: dict[str, Any] = json.loads(json.loads(_FEEDBACK.read_text())["Records"][0]["Sns"]["Message"])
        diagnostic = f"smtp; 550 5.1.1 {subscriber.name} <{sent['to']}> unknown"
        event["bounce"] |= {"bouncedRecipients": [{"emailAddress": sent["to"], "diagnosticCode": diagnostic}]} | said
        tags = {tag["Name"]: [tag["Value"]] for tag in mail_tags.tags(tagged)}
        event["mail"] |= {"destination": [sent["to"]], "tags": tags, "headers": [{"name": "To", "value": sent["to"]}]}
        return event

    def _confirmation(self, subscriber: Subscriber) -> tuple[str, dict[str, Any]]:
        """Return the key of a confirmed change, and the record of its mail."""
        asked = Key("subscription_id").eq(subscriber.subscription_id)
        items: list[dict[str, Any]] = self.changes.query(KeyConditionExpression=asked)["Items"]
        return next((item["change"], item["confirmation"]) for item in items if "confirmation" in item)

    def publish(self, event: dict[str, Any]) -> None:
        """Publish an event to the topic, as SES does."""
        topic = self.stack.outputs["MailEventsTopicArn"]
        self.stack.client("sns").publish(TopicArn=topic, Message=json.dumps(event))

    def _arrived(self, address: str) -> list[EmailMessage]:
        for file in sorted(self.stack.mail_folder.glob("[!.]*.eml")):
            if file not in self._mails:
                self._mails[file] = BytesParser(EmailMessage, policy=default).parsebytes(file.read_bytes())
        return [mail for mail in self._mails.values() if mail["To"].addresses[0].addr_spec == address]

    def _attach(self, card: str, gateway_customer: str) -> str:
        saved: str = self._gateway.payment_methods.attach(card, {"customer": gateway_customer}).id
        return saved

    def _emulator(self, path: str) -> list[dict[str, Any]]:
        """Return the emulator's answer on a path of its own."""
        answer = self._http.request("GET", f"{self.stack.endpoint_url}{path}")
        found: list[dict[str, Any]] = answer.json()
        return found

    def _end(self, execution_arn: str) -> End:
        described = self.workflows.describe_execution(executionArn=execution_arn)
        return end_of(described, self.history(execution_arn))


def end_of(described: dict[str, Any], events: list[dict[str, Any]]) -> End:
    """Return an execution's end, read from the answers of DescribeExecution and GetExecutionHistory."""
    entered = [event["stateEnteredEventDetails"]["name"] for event in events if "stateEnteredEventDetails" in event]
    left = [event["stateExitedEventDetails"] for event in events if "stateExitedEventDetails" in event]
    replies = [json.loads(state["output"]) for state in left if state["name"] == "ProcessPayment"]
    return End(described["status"], described.get("error"), entered[-1], replies[-1] if replies else {})


def oncall(shop: Shop, *arguments: str, fails: bool = False) -> str:
    """Run the runbook's command and return its output; `fails`: the command must refuse, and the refusal is
    returned."""
    done = _oncall(shop, *arguments)
    assert (done.returncode != 0) is fails, done.stderr
    return done.stderr if fails else done.stdout


def who_waits(shop: Shop) -> str:
    """Return the output of `oncall waiting` where somebody waits, which the exit status must tell too."""
    done = _oncall(shop, "waiting")
    assert (done.returncode, done.stderr) == (1, ""), done
    assert done.stdout.endswith("Not over.\n")
    return done.stdout


def _oncall(shop: Shop, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"AWS_CONFIG_FILE": str(shop.stack.aws_config_file), "AWS_PROFILE": "local", "NO_PROXY": "*"}
    command = [sys.executable, "-m", "scripts.oncall", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)


def today() -> date:
    """Return the functions' present day."""
    return datetime.now(UTC).date()


def a_month_later(day: str) -> str:
    """Return the renewal date after `day` of a monthly subscription."""
    renewed_on = date.fromisoformat(day)
    return Schedule("month", 1, renewed_on.day).after(renewed_on).isoformat()


def assert_renewed_once(shop: Shop, subscriber: Subscriber, *, minor_units: int = 2999, mails: int = 1) -> bytes:
    """Assert a single charge of the amount, a finished period, a receipt with the ledger's hash, and a mail with the
    receipt.

    mails: the number of all mails to the customer, including mails about earlier declines. Returns the receipt.
    """
    [charge] = shop.charges(subscriber, status="succeeded")
    assert (charge["amount"], charge["amount_refunded"]) == (minor_units, 0)
    [item] = shop.ledger(subscriber)
    assert (item["status"], item["payment_id"]) == ("done", charge["payment_intent"])
    assert "unfinished" not in item
    key = f"receipts/{subscriber.customer_id}/{subscriber.subscription_id}/{charge['payment_intent']}.pdf"
    [(stored_as, pdf)] = shop.receipts(subscriber).items()
    assert stored_as == item["receipt_key"] == key
    assert sha256(pdf).hexdigest() == item["receipt_sha256"]
    got = shop.mails(subscriber)
    assert len(got) == mails
    [attached] = [part.get_content() for mail in got for part in mail.iter_attachments()]
    assert attached == pdf
    row = shop.row(subscriber)
    assert row["renewal_date"] == a_month_later(item["renewal_date"])
    assert (row["status"], row["payment_status"], row["transaction_id"]) == ("active", "paid", charge["payment_intent"])
    return pdf


def assert_untouched(shop: Shop, subscriber: Subscriber) -> None:
    """Assert that no charge was attempted, nothing was claimed, and no mail was sent."""
    assert shop.charges(subscriber) == []
    assert shop.ledger(subscriber) == []
    assert shop.receipts(subscriber) == {}
    assert shop.mails(subscriber) == []


def text_of(pdf: bytes) -> str:
    """Return the text that a reader sees in the PDF, after checking the file's syntax."""
    with pikepdf.open(io.BytesIO(pdf)) as document:
        assert document.check_pdf_syntax() == []
    with pypdfium2.PdfDocument(pdf) as document:
        assert len(document) == 1
        return str(document[0].get_textpage().get_text_range())
