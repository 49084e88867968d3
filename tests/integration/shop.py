"""A shop on the deployed stack: makes subscriptions, sends webhooks, and looks at all that became of them.

Each subscription has ids, a customer and an address of its own, so that many tests share one stack.
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
from renewals.domain.mail_tags import Tagged
from renewals.domain.schedule import Schedule

_FEEDBACK = ROOT / "events" / "mail_feedback.json"
RUNNING = "RUNNING"
SUCCEEDED = "SUCCEEDED"
FAILED = "FAILED"


@dataclass(frozen=True)
class Subscriber:
    """A subscription with its customer. amount: major units, as the webhook carries it."""

    subscription_id: str
    customer_id: str
    name: str
    email: str
    amount: str
    gateway_customer: str
    payment_method: str

    def request(self, **changes: Any) -> bytes:
        """The body of a webhook that asks to renew it, with `changes`; None leaves a field out."""
        fields: dict[str, Any] = {
            "subscription_id": self.subscription_id,
            "customer_id": self.customer_id,
            "amount": self.amount,
        }
        return json.dumps({name: value for name, value in (fields | changes).items() if value is not None}).encode()


@dataclass(frozen=True)
class End:
    """Where an execution ended. state: the last one entered. payment: ProcessPayment's reply, {} if it gave none."""

    status: str
    error: str | None
    state: str
    payment: dict[str, Any]


def wait_until[T](what: Callable[[], T], *, seconds: float = 30) -> T:
    """The first true value of `what`, asked ten times a second. Fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (value := what()):
        assert time.monotonic() < deadline, f"still {value!r} after {seconds:.0f} s"
        time.sleep(0.1)
    return value


class Shop:
    """See the module. planted: what was given to the stack and must not show in logs."""

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
        self._gateway = official_client(stack.gateway_url, stack.gateway_key).v1
        self._http = urllib3.PoolManager(timeout=10, retries=False)
        self._mails: dict[Path, EmailMessage] = {}

    # Acting

    def subscribe(
        self, *, name: str = "Ann Lee", amount: str = "29.99", card: str = "pm_card_visa", **attributes: Any
    ) -> Subscriber:
        """A customer with a saved card at the gateway, and a monthly subscription in USD that is due today.

        card: one of Stripe's test ids. attributes: what is otherwise in the row; None leaves one out.
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
        """What a user changes in the subscription's row; None removes an attribute."""
        row = self.row(subscriber) | attributes
        self.subscriptions.put_item(Item={name: value for name, value in row.items() if value is not None})

    def give_card(self, subscriber: Subscriber, card: str) -> str:
        """Saves another card for the customer and writes it into the row; its id."""
        saved = self._attach(card, subscriber.gateway_customer)
        self.edit(subscriber, payment_method=saved)
        return saved

    def end_lease(self, subscriber: Subscriber) -> None:
        """As if the 40 seconds had passed for which an execution owns a renewal."""
        for item in self.ledger(subscriber):
            self.renewals.put_item(Item=item | {"lease_until": "2026-01-01T00:00:00.000000+00:00"})

    @cached_property
    def secret(self) -> str:
        """The webhook's signing secret, as it was deployed."""
        return signing_secret(self.stack)

    def signed(self, body: bytes, *, message_id: str | None = None, at: datetime | None = None) -> dict[str, str]:
        """Headers that sign `body`: as a new message, now, if nothing else is said."""
        message_id = message_id or f"msg_{uuid.uuid4().hex}"
        return signed_headers(self.secret, body, message_id=message_id, at=at or datetime.now(UTC))

    def post(self, body: bytes, headers: dict[str, str]) -> Reply:
        """One webhook over HTTP."""
        return send(self.stack.outputs["LocalWebhookUrl"], body, headers)

    def deliver(self, subscriber: Subscriber, **changes: Any) -> Reply:
        """One signed webhook that asks to renew the subscription, with `changes` to its fields."""
        body = subscriber.request(**changes)
        return self.post(body, self.signed(body))

    def renew(self, subscriber: Subscriber, **changes: Any) -> End:
        """Delivers one webhook, which must be accepted, and waits for the end of its execution."""
        before = len(self.executions(subscriber.subscription_id))
        reply = self.deliver(subscriber, **changes)
        assert reply.status == 202, reply
        return self.ends(subscriber, before + 1)[-1]

    def retries_until[T](self, come: Callable[[], T], *, seconds: float = 60) -> T:
        """The first true value of `come`. The queues' waits between two tries end at once."""

        def has_come() -> T:
            self.time.until_all_is_done(seconds)
            self.time.hidden_messages_appear()
            return come()

        return wait_until(has_come, seconds=seconds)

    def nothing_is_due(self) -> None:
        """As if all subscriptions that were made here before had ended, and the queue were drained."""
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
        """The executions that were asked to renew the subscription, in the order in which they started.

        AWS has no such list for EXPRESS workflows, and logs them instead; the emulator has it.
        """
        found = self._emulator(f"/_local/executions/{quote(subscription_id)}")
        return [each for each in found if json.loads(each["input"])["subscription_id"] == subscription_id]

    def all_executions(self) -> int:
        """How many executions were ever started."""
        pages = self.workflows.get_paginator("list_executions").paginate(stateMachineArn=self.workflow)
        return sum(len(page["executions"]) for page in pages)

    def ends(self, subscriber: Subscriber, count: int, *, seconds: float = 60) -> list[End]:
        """The ends of the subscription's `count` executions, in the order of their starts, once all have ended."""

        def ended() -> list[dict[str, Any]]:
            found = self.executions(subscriber.subscription_id)
            done = len(found) == count and all(execution["status"] != RUNNING for execution in found)
            return found if done else []

        return [self._end(execution["executionArn"]) for execution in wait_until(ended, seconds=seconds)]

    def history(self, execution_arn: str) -> list[dict[str, Any]]:
        """The events of an execution, in order."""
        pages = self.workflows.get_paginator("get_execution_history").paginate(executionArn=execution_arn)
        return [event for page in pages for event in page["events"]]

    def row(self, subscriber: Subscriber) -> dict[str, Any]:
        """The subscription's row."""
        key = {"subscription_id": subscriber.subscription_id, "customer_id": subscriber.customer_id}
        row: dict[str, Any] = self.subscriptions.get_item(Key=key, ConsistentRead=True)["Item"]
        return row

    def ledger(self, subscriber: Subscriber) -> list[dict[str, Any]]:
        """The subscription's periods in the ledger, oldest first."""
        condition = Key("subscription_id").eq(subscriber.subscription_id)
        items: list[dict[str, Any]] = self.renewals.query(KeyConditionExpression=condition, ConsistentRead=True)[
            "Items"
        ]
        return items

    def charges(self, subscriber: Subscriber, **equal: Any) -> list[dict[str, Any]]:
        """The charges that the gateway attempted, oldest first; `equal` narrows, as status="succeeded"."""
        return self.sandbox.charges(customer=subscriber.gateway_customer, **equal)

    def receipts(self, subscriber: Subscriber) -> dict[str, bytes]:
        """The customer's receipts: key to PDF."""
        listed = self.s3.list_objects_v2(Bucket=self.bucket, Prefix=f"receipts/{subscriber.customer_id}/")
        return {
            found["Key"]: self.s3.get_object(Bucket=self.bucket, Key=found["Key"])["Body"].read()
            for found in listed.get("Contents", [])
        }

    def mails(self, subscriber: Subscriber) -> list[EmailMessage]:
        """What the customer got, oldest first: once everything that SES took for the address has been relayed."""
        return self.mails_to(subscriber.email)

    def mails_to(self, address: str) -> list[EmailMessage]:
        """What came to the address, which no other address contains."""
        count = sum(address in "".join(mail["to"]) for mail in self._emulator("/_local/mails"))
        wait_until(lambda: len(self._arrived(address)) >= count, seconds=10)
        return self._arrived(address)

    def bounce_of(self, subscriber: Subscriber, mail: str, **said: Any) -> dict[str, Any]:
        """The event that SES publishes where the latest mail of this name came back for good, but for what is `said` of
        the bounce. The emulator's SES publishes none; the tags are those that the mail went out with.

        https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-examples.html
        """
        if mail in ("upcoming", "card_expires"):
            row = self.row(subscriber)
            period, sent = row[f"reminder_{mail}"]["period"], row[f"reminder_{mail}"]
        else:
            item = next(item for item in reversed(self.ledger(subscriber)) if mail in item["mails"])
            period, sent = item["renewal_date"], item["mails"][mail]
        tagged = Tagged(subscriber.subscription_id, subscriber.customer_id, period, mail, sent["token"])
        event: dict[str, Any] = json.loads(json.loads(_FEEDBACK.read_text())["Records"][0]["Sns"]["Message"])
        diagnostic = f"smtp; 550 5.1.1 {subscriber.name} <{sent['to']}> unknown"
        event["bounce"] |= {"bouncedRecipients": [{"emailAddress": sent["to"], "diagnosticCode": diagnostic}]} | said
        tags = {tag["Name"]: [tag["Value"]] for tag in mail_tags.tags(tagged)}
        event["mail"] |= {"destination": [sent["to"]], "tags": tags, "headers": [{"name": "To", "value": sent["to"]}]}
        return event

    def publish(self, event: dict[str, Any]) -> None:
        """As SES does it."""
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
        """What the emulator answers on a path of its own."""
        answer = self._http.request("GET", f"{self.stack.endpoint_url}{path}")
        found: list[dict[str, Any]] = answer.json()
        return found

    def _end(self, execution_arn: str) -> End:
        described = self.workflows.describe_execution(executionArn=execution_arn)
        return end_of(described, self.history(execution_arn))


def end_of(described: dict[str, Any], events: list[dict[str, Any]]) -> End:
    """An execution's end, from what DescribeExecution and GetExecutionHistory say of it."""
    entered = [event["stateEnteredEventDetails"]["name"] for event in events if "stateEnteredEventDetails" in event]
    left = [event["stateExitedEventDetails"] for event in events if "stateExitedEventDetails" in event]
    replies = [json.loads(state["output"]) for state in left if state["name"] == "ProcessPayment"]
    return End(described["status"], described.get("error"), entered[-1], replies[-1] if replies else {})


def oncall(shop: Shop, *arguments: str, fails: bool = False) -> str:
    """What the command of the runbook prints. fails: whether it is to refuse; then what it says of that."""
    done = _oncall(shop, *arguments)
    assert (done.returncode != 0) is fails, done.stderr
    return done.stderr if fails else done.stdout


def who_waits(shop: Shop) -> str:
    """What `oncall waiting` prints where somebody waits, which its exit status says too."""
    done = _oncall(shop, "waiting")
    assert (done.returncode, done.stderr) == (1, ""), done
    assert done.stdout.endswith("Not over.\n")
    return done.stdout


def _oncall(shop: Shop, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"AWS_CONFIG_FILE": str(shop.stack.aws_config_file), "AWS_PROFILE": "local", "NO_PROXY": "*"}
    command = [sys.executable, "-m", "scripts.oncall", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)


def today() -> date:
    """The day that the functions go by."""
    return datetime.now(UTC).date()


def a_month_later(day: str) -> str:
    """The renewal date after `day`, as the row gave it, of a monthly subscription."""
    renewed_on = date.fromisoformat(day)
    return Schedule("month", 1, renewed_on.day).after(renewed_on).isoformat()


def assert_renewed_once(shop: Shop, subscriber: Subscriber, *, minor_units: int = 2999, mails: int = 1) -> bytes:
    """One charge of the amount, one finished period, one receipt that the ledger's hash is of, one mail that brings it.

    mails: how many the customer got in all, those of refusals before it included. Returns the receipt.
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
    """No charge was tried, nothing claimed, nobody written to."""
    assert shop.charges(subscriber) == []
    assert shop.ledger(subscriber) == []
    assert shop.receipts(subscriber) == {}
    assert shop.mails(subscriber) == []


def text_of(pdf: bytes) -> str:
    """What a reader of the PDF sees, once the file is known to be sound."""
    with pikepdf.open(io.BytesIO(pdf)) as document:
        assert document.check_pdf_syntax() == []
    with pypdfium2.PdfDocument(pdf) as document:
        assert len(document) == 1
        return str(document[0].get_textpage().get_text_range())
