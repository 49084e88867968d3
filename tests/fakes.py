"""The far side of the seams in unit tests: AWS in memory, a payment gateway, and a run of the workflow.

Every call that leaves the process goes through `Cuts`, which can end the process before or after the call.
"""

import json
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal
from email.message import EmailMessage
from functools import cache, partial
from types import SimpleNamespace
from typing import Any, cast

import generate_receipt.app
import process_payment.app
import process_payment.customers
import send_email.app
from generate_receipt.app import issue, issue_refund
from process_payment.charge import Charge
from process_payment.decisions import Outcome
from process_payment.payments import Payments
from renewals.domain import refund_notices
from renewals.domain.confirmations import CONFIRMATIONS
from renewals.domain.customer_request import CustomerRequest
from renewals.domain.dunning import Dunning
from renewals.domain.reminder_rules import Rules
from renewals.domain.renewal import CUT_OFF, Renewal
from renewals.domain.request import Asks, RenewalRequest
from renewals.gateway import access as gateway_access
from renewals.ledger import charging, receipt_links
from renewals.ledger.charging import Switch
from renewals.ledger.register import Register
from renewals.ledger.table import Ledger
from renewals.runtime import aws, clock, telemetry
from renewals.runtime.clock import Moment
from send_email import confirmation_mail, message
from send_email.delivery import Delivery
from send_email.post import Post
from tests import mails, workflow
from tests.cuts import Cut, Cuts
from tests.fake_aws import FakeDynamoDB, FakeS3, FakeSES
from tests.fake_gateway import FakeGateway

__all__ = ["Cut", "Cuts", "FakeGateway"]

SENDER = "billing@shop.example"
SELLER = {"name": "Example Shop", "address": "1 Main Street, Springfield", "tax_id": "US-123"}
PAGE = "https://shop.example/account"
LINKS = "https://api.shop.example/receipts"
DUNNING = Dunning.of("1,3,5,7", "canceled")
DUE = date(2026, 1, 31)
REMINDER_RULES = Rules(days=7, from_period=32)
SETTINGS = {
    "PROJECT_NAME": "shop",
    "RENEWALS_TABLE": "renewals",
    "DYNAMODB_TABLE": "subscriptions",
    "CHANGES_TABLE": "changes",
    "S3_BUCKET": "receipts",
    "SENDER_EMAIL": SENDER,
    "SES_CONFIGURATION_SET": "receipts",
    "CUSTOMER_PAGE_URL": PAGE,
    "ACCOUNT_URL": "",
    "RECEIPT_LINKS_URL": LINKS,
    **dict.fromkeys(("BRAND_COLOR", "BRAND_LOGO_URL", "REPLY_TO_EMAIL", "SUPPORT_URL"), ""),
} | {f"SELLER_{name.upper()}": value for name, value in SELLER.items()}
FUNCTIONS = {
    "${ProcessPaymentArn}": lambda event: process_payment.app.handler(event, None),
    "${GenerateReceiptArn}": lambda event: generate_receipt.app.handler(event, None),
    "${SendEmailArn}": lambda event: send_email.app.handler(event, None),
}
_CUSTOMERS: Any = process_payment.customers
_APPS: tuple[Any, ...] = (process_payment.app, generate_receipt.app, send_email.app)
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
INDEXES = {
    "renewal-date-index": ("renewal_date", "subscription_id"),
    "unfinished-index": ("unfinished", "touched_at"),
    "charged-on-index": ("charged_on", "charged_at"),
    "customer-index": ("customer_id", "subscription_id"),
    "payment-method-index": ("payment_method", "subscription_id"),
    "mail-address-index": ("customer_email", "subscription_id"),
}


class World:
    """Tables, bucket, mailbox and gateway in memory, and the workflow's three tasks over them.

    environment: the deployment's; every environment but prod heeds test clocks. stack: the first part of the
    deployment's name. zone: the business's time zone. database: the tables' class. subscription_id, customer_id: the
    subscription and its customer, for methods without a parameter for a subscription.
    """

    environment: str = "prod"
    stack: str = "shop"
    zone: tzinfo = UTC
    database: type[FakeDynamoDB] = FakeDynamoDB
    subscription_id: str = "sub_1"
    customer_id: str = "cus_1"

    def __init__(self) -> None:
        self.cuts = Cuts()
        self.dunning = DUNNING
        self.reminder_rules = REMINDER_RULES
        self.confirmations = ",".join(CONFIRMATIONS)
        self.gateway = FakeGateway(self.cuts)
        keys = {"subscriptions": "customer_id", "renewals": "renewal_date", "changes": "change"}
        alone = {"counters": "counter", "declarations": "declaration"}
        self.dynamodb = self.database(keys, self.cuts.around, INDEXES, hash_keys=alone)
        self.s3 = FakeS3(self.cuts.around)
        self.ses = FakeSES(self.cuts.around)
        client: Any = self.dynamodb
        self.ledger = Ledger(client, renewals="renewals", subscriptions="subscriptions")

    def copies(self) -> Callable[[], "World"]:
        """Return what makes copies of this world as it stands now. What happens in a copy happens only there."""
        stored = pickle.dumps(self)

        def made() -> World:
            copied: World = pickle.loads(stored)  # noqa: S301  (our own; a tenth of deepcopy's time)
            return copied

        return made

    # The workflow

    def run(
        self,
        execution: str = "run-1",
        now: datetime = NOON,
        amount: str = "29.99",
        tries: int = 1,
        period: str | None = None,
    ) -> str:
        """Run an execution of the workflow for a webhook, and return the name of its final state.

        tries: the most starts of a task that raised or was cut. period: the renewal date, for a request as the sweep
        sends it.
        """
        return self.execute({"amount": amount} | ({"renewal_date": period} if period else {}), execution, now, tries)

    def settle_refunds(self, execution: str = "run-1", now: datetime = NOON, period: str = "2026-01-31") -> str:
        """Run an execution for the sweep's request to look at a period's refunds."""
        return self.execute({"event_type": Asks.SETTLE_REFUNDS, "renewal_date": period}, execution, now)

    def remind(
        self,
        execution: str = "run-1",
        now: datetime = NOON,
        period: str = "",
        tries: int = 1,
        rules: Rules = REMINDER_RULES,
    ) -> str:
        """Run an execution for the sweep's request to remind of the renewal on `period`, by default the row's renewal
        date. rules: the parameters of the deployment."""
        asked = {"event_type": Asks.REMIND, "renewal_date": period or self.row()["renewal_date"]}
        self.reminder_rules = rules
        return self.execute(asked, execution, now, tries)

    def confirm(self, execution: str = "run-1", now: datetime = NOON, tries: int = 1) -> str:
        """Run an execution for EventPublisher's request to confirm changes."""
        return self.execute({"event_type": Asks.CONFIRM}, execution, now, tries)

    def execute(self, asked: dict[str, str], execution: str, now: datetime, tries: int = 1) -> str:
        """Run an execution of the workflow with the deployed functions over this world.

        asked: the fields of the request beside the subscription.
        """
        request = {"subscription_id": self.subscription_id, "customer_id": self.customer_id, "amount": "29.99"} | asked
        self.gateway.now = now
        with self.deployed(now):
            return workflow.RENEWAL.run(request, execution, FUNCTIONS, tries)

    @contextmanager
    def deployed(self, now: datetime) -> Iterator[None]:
        """Put this world behind the functions' clients, and this moment on their clock."""

        def current(test_clock: object = None) -> Moment:
            return clock.moment(now, self.environment, self.zone, test_clock)

        settings = SETTINGS | {
            "ENVIRONMENT": self.environment,
            "DEPLOYMENT": self.deployment,
            "DUNNING_DAYS": ",".join(map(str, self.dunning.days)),
            "DUNNING_ENDS_AS": self.dunning.ends_as,
            "CONFIRMATIONS": self.confirmations,
            "REMINDER_DAYS": str(self.reminder_rules.days),
            "REMINDED_PERIOD_DAYS": str(self.reminder_rules.from_period),
        }
        stand_ins: list[tuple[Any, str, object]] = [
            (clock, "current", current),
            (message, "message", mails.Once),
            (confirmation_mail, "message", mails.Once),
            (telemetry, "renewal_event", lambda *_, **__: None),  # a twentieth of a run's time, unread
            *((aws, client, partial(getattr, self, client)) for client in ("dynamodb", "s3", "ses")),
            *((app, "setting", settings.__getitem__) for app in (*_APPS, _CUSTOMERS)),
            (_CUSTOMERS, "_register", lambda: self.register),
            *((app, "_ledger", lambda: self.ledger) for app in _APPS),
            (gateway_access, "gateway", cache(lambda: self.gateway)),
            (process_payment.app, "_switch", lambda: self.switch),
            (send_email.app, "_link_key", lambda: SimpleNamespace(value=lambda: "key")),
        ]
        stood = [(place, name, getattr(place, name)) for place, name, _ in stand_ins]
        for place, name, stand_in in stand_ins:
            setattr(place, name, stand_in)
        try:
            yield
        finally:
            for place, name, before in stood:
                setattr(place, name, before)

    def ask(self, asked: CustomerRequest, now: datetime = NOON) -> dict[str, Any]:
        """Make a request of the customer's page, and return ProcessPayment's reply as Lambda passes the reply on."""
        self.gateway.now = now
        with self.deployed(now):
            reply: dict[str, Any] = json.loads(json.dumps(process_payment.app.handler(asked.event(), None)))
        return reply

    @property
    def register(self) -> Register:
        client: Any = self.dynamodb
        return Register(client, subscriptions="subscriptions", renewals="renewals", changes="changes")

    @property
    def deployment(self) -> str:
        return f"{self.stack}-{self.environment}"

    def charge(self, execution: str, now: datetime) -> Charge:
        self.gateway.now = now
        moment = self.moment(now)
        payments = Payments(self.gateway, self.deployment)
        return Charge(self.ledger, payments, self.switch, execution, SELLER, moment, self.dunning)

    @property
    def switch(self) -> Switch:
        return Switch(cast("Any", self.dynamodb), "changes")

    def turn_charging_off(self) -> None:
        for key in charging.KEYS:
            self.dynamodb.put("changes", key)

    def turn_charging_on(self) -> None:
        self.dynamodb.items("changes").clear()

    def moment(self, now: datetime) -> Moment:
        """Return the moment as the subscription sees it, test clock included. now: the real moment."""
        row = self.dynamodb.items("subscriptions").get((self.subscription_id, self.customer_id), {})
        return clock.moment(now, self.environment, self.zone, row.get("test_clock"))

    def renew(self, execution: str = "run-1", now: datetime = NOON, amount: str = "29.99") -> Outcome:
        return self.charge(execution, now).renew(
            RenewalRequest(self.subscription_id, self.customer_id, Decimal(amount))
        )

    def receipt(self, renewal: Renewal, now: datetime) -> Renewal:
        stands = self.ledger.get(renewal.subscription_id, renewal.renewal_date.isoformat())
        assert stands is not None
        if refund_notices.owed(stands) is not None and stands.status not in CUT_OFF:
            issue_refund(stands, ledger=self.ledger, s3=cast("Any", self.s3), bucket="receipts", now=now)
            return stands
        return issue(stands, ledger=self.ledger, s3=cast("Any", self.s3), bucket="receipts", now=now)

    def delivery(self, execution: str, now: datetime) -> Delivery:
        def read(key: str) -> bytes:
            body: bytes = self.s3.get_object(Bucket="receipts", Key=key)["Body"].read()
            return body

        def link(renewal: Renewal, refund: str) -> str:
            of = renewal.subscription_id, renewal.renewal_date.isoformat(), refund
            return f"{LINKS}/{receipt_links.token('key', *of)}"

        post, today = self.post(execution, now), self.moment(now).today
        return Delivery(self.ledger, post, today, read, link, self.dunning, lambda _row, _power: PAGE)

    def post(self, execution: str, now: datetime) -> Post:
        return Post(cast("Any", self.ses), SENDER, "receipts", execution, now)

    # The world's contents

    def subscribe(self, **attributes: Any) -> None:
        """Put in a monthly subscription of 29.99 USD, due on 31 January 2026, with differing `attributes`; None leaves
        an attribute out."""
        row = {
            "subscription_id": self.subscription_id,
            "customer_id": self.customer_id,
            "status": "active",
            "renewal_date": DUE.isoformat(),
            "amount": Decimal("29.99"),
            "currency": "USD",
            "plan": "Pro",
            "customer_name": "Ann Lee",
            "customer_email": "ann@customer.example",
            "gateway_customer": "cus_gw",
            "payment_method": "pm_ok",
        } | attributes
        self.dynamodb.put("subscriptions", {name: value for name, value in row.items() if value is not None})

    def edit(self, **attributes: Any) -> None:
        """Change attributes of the row, as a person does meanwhile."""
        self.dynamodb.put("subscriptions", self.row() | attributes)

    def delete_row(self) -> None:
        self.dynamodb.delete("subscriptions", (self.subscription_id, self.customer_id))

    def move_row(self, customer_id: str) -> None:
        """Move the row to a different customer id, as a person does: a new row is written, and the old row is deleted.
        The methods without a parameter for a subscription follow the row."""
        self.dynamodb.put("subscriptions", self.row() | {"customer_id": customer_id})
        self.delete_row()
        self.customer_id = customer_id

    def row(self) -> dict[str, Any]:
        return self.dynamodb.items("subscriptions")[self.subscription_id, self.customer_id]

    def items(self) -> dict[str, dict[str, Any]]:
        """Return the ledger's items by renewal date."""
        return {key[1]: item for key, item in self.dynamodb.items("renewals").items()}

    def receipts(self) -> dict[str, bytes]:
        return {key: stored["Body"] for key, stored in self.s3.objects.items()}

    def mail_kinds(self) -> list[str]:
        """Return the kinds of all mails recorded as sent, in the order of sending."""
        mails = [(mail["at"], name) for item in self.items().values() for name, mail in item["mails"].items()
                 if mail["state"] == "sent"]  # fmt: skip
        return [name.rpartition("_")[0] for _, name in sorted(mails)]

    def mails(self) -> list[EmailMessage]:
        return self.ses.mails()


LATER = timedelta(minutes=2)
"""A time longer than a lease."""
