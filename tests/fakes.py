"""What stands behind the seams in unit tests: AWS in memory, a payment gateway, and a run of the workflow.

Everything that leaves the process goes through `Cuts`, which can end the process before or after any such call.
"""

from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal
from email.message import EmailMessage
from threading import RLock
from typing import Any, cast

from generate_receipt.app import issue, issue_refund
from process_payment import refunding
from process_payment.charge import Charge, Outcome, RenewalRequest
from process_payment.payments import Payments
from process_payment.remind import Remind
from renewals import charging, clock, receipt_links, refunds
from renewals.charging import Switch
from renewals.clock import Moment
from renewals.dunning import Dunning
from renewals.dunning_ledger import DunningLedger
from renewals.errors import TryAgain
from renewals.mail_ledger import MailLedger
from renewals.receipt_ledger import ReceiptLedger
from renewals.refund_ledger import RefundLedger
from renewals.refund_settlement import Settlement
from renewals.reminders import Records
from renewals.renewal import CUT_OFF, Renewal
from send_email.delivery import Delivery
from send_email.post import Post
from send_email.reminding import Reminding
from tests.cuts import Cut, Cuts
from tests.fake_aws import FakeDynamoDB, FakeS3, FakeSES
from tests.fake_gateway import FakeGateway

__all__ = ["Cut", "Cuts", "FakeGateway"]

SENDER = "billing@shop.example"
SELLER = {"name": "Example Shop", "address": "1 Main Street, Springfield", "tax_id": "US-123"}
PAGE = "https://shop.example/account"
LINKS = "https://api.shop.example/receipts"
DUNNING = Dunning.of("1,3,5,7", "canceled")
REFUSED = ("declined", "action_required", "given_up")
DUE = date(2026, 1, 31)
REMINDER_DAYS = 7
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
INDEXES = {
    "renewal-date-index": ("renewal_date", "subscription_id"),
    "unfinished-index": ("unfinished", "touched_at"),
    "charged-on-index": ("charged_on", "charged_at"),
    "customer-index": ("customer_id", "subscription_id"),
}


class World:
    """Tables, bucket, mailbox and gateway in memory, and the three tasks of the workflow over them.

    zone: the business's. database: what the tables are.
    """

    zone: tzinfo = UTC
    database: type[FakeDynamoDB] = FakeDynamoDB

    def __init__(self) -> None:
        self.cuts = Cuts()
        self.dunning = DUNNING
        self.gateway = FakeGateway(self.cuts)
        keys = {"subscriptions": "customer_id", "renewals": "renewal_date", "changes": "change"}
        self.dynamodb = self.database(keys, self.cuts.around, INDEXES)
        self.s3 = FakeS3(self.cuts.around)
        self.ses = FakeSES(self.cuts.around)
        client: Any = self.dynamodb
        self.ledger = DunningLedger(client, renewals="renewals", subscriptions="subscriptions")
        self.mail_ledger = MailLedger(client, renewals="renewals", subscriptions="subscriptions")
        self.receipt_ledger = ReceiptLedger(client, renewals="renewals")
        self.refund_ledger = RefundLedger(client, renewals="renewals")

    def copy(self) -> "World":
        """This world as it stands, apart from it: what happens in one does not happen in the other."""
        return deepcopy(self, {id(self.dynamodb.lock): RLock()})

    # The workflow

    def run(
        self,
        execution: str = "run-1",
        now: datetime = NOON,
        amount: str = "29.99",
        tries: int = 1,
        period: str | None = None,
    ) -> str:
        """One execution as the workflow makes it. Returns where it ended: a state's name.

        tries: how often a task that raised or was cut is started, by the same owner. period: the renewal date that is
        meant, as the sweep names it.
        """
        asked = RenewalRequest("sub_1", "cus_1", Decimal(amount), date.fromisoformat(period) if period else None)
        try:
            paid = self._task(lambda: self.charge(execution, now).renew(asked), tries)
        except (TryAgain, Cut):
            return "PaymentFailed"
        if paid.name in ("nothing_to_do", "in_progress"):
            return "Success"
        if paid.name not in ("paid", "receipted", "refunded", *REFUSED) or paid.renewal is None:
            return "PaymentFailed"
        renewal = paid.renewal
        if paid.name in ("paid", "refunded"):
            try:
                self._task(lambda: self.receipt(renewal, now), tries)
            except (TryAgain, Cut):
                return "ReceiptFailed"
        kind = paid.name if paid.name in (*REFUSED, "refunded") else "receipted"
        return self._mail(renewal, kind, execution, now, tries)

    def settle_refunds(self, execution: str = "run-1", now: datetime = NOON, period: str = "2026-01-31") -> str:
        """One execution that the sweep asked to look at the refunds of a period."""
        asked = RenewalRequest("sub_1", "cus_1", Decimal("29.99"), date.fromisoformat(period))
        self.gateway.now = now
        settlement = Settlement(self.refund_ledger, self.gateway, "shop-dev")
        try:
            found = refunding.settle(asked, settlement, self.moment(now))
            if found.name != "refunded" or found.renewal is None:
                return "Success"
            self.receipt(found.renewal, now)
        except (TryAgain, Cut):
            return "PaymentFailed"
        return self._mail(found.renewal, "refunded", execution, now, 1)

    def _mail(self, renewal: Renewal, kind: str, execution: str, now: datetime, tries: int) -> str:
        key = renewal.subscription_id, renewal.customer_id, renewal.renewal_date.isoformat()
        try:
            mailed = self._task(lambda: self.delivery(execution, now).deliver(*key, kind, renewal.attempt), tries)
        except (TryAgain, Cut):
            return "EmailFailed"
        if mailed in ("mail_failed", "mail_unknown"):
            return "EmailFailed"
        return "PaymentDeclined" if kind in REFUSED else "Success"

    def remind(self, execution: str = "run-1", now: datetime = NOON, period: str = "", tries: int = 1) -> str:
        """One execution that the sweep asked to remind of the renewal on `period`: by default, the row's own date."""
        asked = RenewalRequest(
            "sub_1", "cus_1", Decimal("29.99"), date.fromisoformat(period or self.row()["renewal_date"])
        )
        records, moment = Records(cast("Any", self.dynamodb), "subscriptions"), self.moment(now)
        look = Remind(self.ledger, records, self.gateway, moment.today, REMINDER_DAYS)
        post = self.post(execution, moment.now)
        send = Reminding(records, post, SELLER["name"], PAGE, moment.today, REMINDER_DAYS)
        try:
            kinds = self._task(lambda: look.still_owed(asked), tries)
        except (TryAgain, Cut):
            return "PaymentFailed"
        if not kinds:
            return "Success"
        key = asked.subscription_id, asked.customer_id, str(asked.renewal_date)
        try:
            came = self._task(lambda: send.deliver(*key, kinds), tries)
        except (TryAgain, Cut):
            return "EmailFailed"
        return "EmailFailed" if came in ("mail_failed", "mail_unknown") else "Success"

    def _task[T](self, task: Callable[[], T], tries: int) -> T:
        for left in reversed(range(tries)):
            try:
                return task()
            except (TryAgain, Cut):
                if not left:
                    raise
        raise AssertionError("no tries")

    def charge(self, execution: str, now: datetime) -> Charge:
        self.gateway.now = now
        moment = self.moment(now)
        payments = Payments(self.gateway, "shop-test")
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
        """When the subscription is looked at, its own clock heeded. now: the real moment."""
        row = self.dynamodb.items("subscriptions").get(("sub_1", "cus_1"), {})
        return clock.moment(now, "test", self.zone, row.get("test_clock"))

    def renew(self, execution: str = "run-1", now: datetime = NOON, amount: str = "29.99") -> Outcome:
        return self.charge(execution, now).renew(RenewalRequest("sub_1", "cus_1", Decimal(amount)))

    def receipt(self, renewal: Renewal, now: datetime) -> Renewal:
        stands = self.ledger.get(renewal.subscription_id, renewal.renewal_date.isoformat())
        assert stands is not None
        if refunds.owed(stands) is not None and stands.status not in CUT_OFF:
            issue_refund(stands, ledger=self.receipt_ledger, s3=cast("Any", self.s3), bucket="receipts", now=now)
            return stands
        return issue(stands, ledger=self.receipt_ledger, s3=cast("Any", self.s3), bucket="receipts", now=now)

    def delivery(self, execution: str, now: datetime) -> Delivery:
        def read(key: str) -> bytes:
            body: bytes = self.s3.get_object(Bucket="receipts", Key=key)["Body"].read()
            return body

        def link(renewal: Renewal, refund: str) -> str:
            of = renewal.subscription_id, renewal.renewal_date.isoformat(), refund
            return f"{LINKS}/{receipt_links.token('key', *of)}"

        return Delivery(self.mail_ledger, self.post(execution, now), read, link, self.dunning, PAGE)

    def post(self, execution: str, now: datetime) -> Post:
        return Post(cast("Any", self.ses), SENDER, "receipts", execution, now)

    # What is in it

    def subscribe(self, **attributes: Any) -> None:
        """One monthly subscription of 29.99 USD, due on 31 January 2026, but for `attributes`; None leaves one out."""
        row = {
            "subscription_id": "sub_1",
            "customer_id": "cus_1",
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
        """What a user does to the row meanwhile."""
        self.dynamodb.put("subscriptions", self.row() | attributes)

    def delete_row(self) -> None:
        self.dynamodb.delete("subscriptions", ("sub_1", "cus_1"))

    def row(self) -> dict[str, Any]:
        return self.dynamodb.items("subscriptions")["sub_1", "cus_1"]

    def items(self) -> dict[str, dict[str, Any]]:
        """The ledger: renewal_date to item."""
        return {key[1]: item for key, item in self.dynamodb.items("renewals").items()}

    def receipts(self) -> dict[str, bytes]:
        return {key: stored["Body"] for key, stored in self.s3.objects.items()}

    def mail_kinds(self) -> list[str]:
        """Of all mails that the ledger knows as sent, in the order in which they were."""
        mails = [(mail["at"], name) for item in self.items().values() for name, mail in item["mails"].items()
                 if mail["state"] == "sent"]  # fmt: skip
        return [name.rpartition("_")[0] for _, name in sorted(mails)]

    def mails(self) -> list[EmailMessage]:
        return self.ses.mails()


LATER = timedelta(minutes=2)
"""Longer than a lease."""
