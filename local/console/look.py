"""The data of the console's pages, read from the stack with the product's own code. This module never writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from botocore.config import Config

from local.console import mails
from local.stack import STACK_NAME, Stack
from renewals.domain import currencies, declines, reasons, refunds, subscription
from renewals.domain.errors import BadRow
from renewals.domain.item_values import Item, text
from renewals.domain.preview import Preview
from renewals.domain.renewal import Renewal, Status
from renewals.domain.renewal_items import renewal_from
from renewals.domain.subscription import SubscriptionStatus
from renewals.domain.timeline_entries import Entry
from renewals.ledger import forecast
from renewals.ledger.register import Register
from renewals.runtime import clock, dynamodb
from renewals.runtime.clock import Moment

if TYPE_CHECKING:
    from datetime import tzinfo

    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client

STATUSES = (
    SubscriptionStatus.ACTIVE,
    SubscriptionStatus.PAST_DUE,
    SubscriptionStatus.PAUSED,
    SubscriptionStatus.UNPAID,
    SubscriptionStatus.CANCELED,
)
BAD = "bad"
"""Used in place of a status: rows that cannot be charged in their present state."""

PAGE = 50
MOST_ROWS = 2000
MOST_PERIODS = 250
_LEDGER_PAGE, _MOST_PAGES = 1000, 10
_CHARGES = 6


@dataclass(frozen=True, slots=True)
class Listed:
    """A subscription in a list. `amount` includes the currency. `fault` says why the subscription cannot be charged."""

    subscription_id: str
    customer_id: str
    name: str
    status: str
    renewal_date: str
    amount: str
    fault: str


@dataclass(frozen=True, slots=True)
class Counted:
    """The number of subscriptions in every status. Rows that cannot be charged are counted under BAD as well.

    `complete` is False if only the first 2,000 rows were counted.
    """

    of: Mapping[str, int]
    total: int
    complete: bool


@dataclass(frozen=True, slots=True)
class Step:
    """The status of a renewal that changed today. at: the moment of the change."""

    at: datetime
    subscription_id: str
    name: str
    period: str
    amount: str
    status: str
    said: str


@dataclass(frozen=True, slots=True)
class Today:
    """The renewals that changed today.

    Attributes:
        latest: at most 50 renewals, newest first.
        of: the number of renewals in every status.
        total: the number of all renewals that were found.
        complete: whether the whole ledger was read.
    """

    latest: list[Step]
    of: Mapping[str, int]
    total: int
    complete: bool


@dataclass(frozen=True, slots=True)
class Receipt:
    """The receipt of a payment or of a refund. `refund`: the refund's name (renewals.domain.refunds), or empty."""

    number: str
    renewal_date: str
    amount: str
    refund: str = ""


@dataclass(frozen=True, slots=True)
class Shown:
    """The data of a subscription's page.

    Attributes:
        rows: the subscription's rows: empty after a deletion, several rows if the table is faulty.
        status: the status as the API reports the status.
        fault: why the subscription cannot be charged, or empty.
        entries: the timeline, oldest first.
        complete: whether the timeline is complete.
        preview: the next charges, or None if unknown.
        receipts: the receipts of payments and refunds.
        mails: the mails to the customer.
    """

    rows: list[Item]
    status: str
    fault: str
    entries: list[Entry]
    complete: bool
    preview: Preview | None
    receipts: list[Receipt]
    mails: list[mails.Mail]


class Look:
    """Reads a deployed stack. All methods raise botocore's errors if the stack does not answer.

    `renewals` and `bucket` are names. `environment` and `zone` are the settings of the deployment.
    """

    def __init__(
        self,
        register: Register,
        client: DynamoDBClient,
        s3: S3Client,
        *,
        renewals: str,
        bucket: str,
        environment: str,
        zone: tzinfo,
        mail_folder: Path,
    ) -> None:
        self._register, self._client, self._s3 = register, client, s3
        self._renewals, self._bucket = renewals, bucket
        self._environment, self.zone = environment, zone
        self.mail_folder = mail_folder

    def counted(self) -> Counted:
        """Return the number of subscriptions in every status."""
        rows, more = self._found(None, MOST_ROWS, None)
        of = Counter(dict.fromkeys((*STATUSES, BAD), 0))
        for listed in rows:
            of.update({listed.status} & set(STATUSES))
            of.update({BAD} if listed.fault else ())
        return Counted(of, len(rows), more is None)

    def subscriptions(
        self, status: str | None, after: tuple[str, str] | None
    ) -> tuple[list[Listed], tuple[str, str] | None]:
        """Return a page of subscriptions, and the key to continue after, or None at the end.

        status: None for all subscriptions, BAD for rows that cannot be charged.
        """
        if status != BAD:
            return self._found(status, PAGE, after)
        rows, more = self._found(None, MOST_ROWS, after)
        bad, last = _page([listed for listed in rows if listed.fault])
        return bad, (last.subscription_id, last.customer_id) if last else more

    def _found(
        self, status: str | None, limit: int, after: tuple[str, str] | None
    ) -> tuple[list[Listed], tuple[str, str] | None]:
        """Return subscriptions of a status, or all subscriptions, and the key to continue after."""
        now = datetime.now(UTC)

        def today(row: Mapping[str, Any]) -> date:
            return self._moment_of(row, now).today

        rows, more = self._register.search.find(customer_id=None, status=status, limit=limit, after=after, today=today)
        ledger = self._register.ledger
        return [
            listed_from(row, day := today(row), forecast.fault(ledger, row, day, of_many=True)) for row in rows
        ], more

    def today(self, now: datetime) -> Today:
        """Return the renewals that changed since midnight in the business's time zone. now: an aware datetime."""
        midnight = datetime.combine(self._moment(now).today, time(), self.zone).astimezone(UTC)
        items, complete = self._touched_since(midnight.isoformat(timespec="microseconds"))
        steps = sorted(map(step_from, items), key=lambda step: step.at, reverse=True)
        return Today(steps[:PAGE], Counter(step.status for step in steps), len(steps), complete)

    def subscription(self, subscription_id: str, now: datetime) -> Shown | None:
        """Return everything about a subscription; None for an unknown subscription."""
        if not subscription_id:  # DynamoDB has no empty keys
            return None
        rows = self._register.ledger.rows(subscription_id)
        items, _ = self._register.ledger.page(subscription_id, limit=MOST_PERIODS)
        if not rows and not items:
            return None
        row: Mapping[str, Any] = rows[0] if rows else {"subscription_id": subscription_id}
        today = self._moment_of(row, now).today
        entries, complete = self._register.timeline(row, self.zone, today)
        fault, charges = "", None
        if len(rows) > 1:
            fault = "customer_id: the subscription has more than one customer"
        elif rows:
            try:
                day = self._moment(now, row.get("test_clock")).today
                charges = forecast.next_charges(self._register.ledger, row, day, _CHARGES)
            except BadRow as bad:
                fault = str(bad)
        return Shown(
            rows=rows,
            status=_text(subscription.status_on(row, today)),
            fault=fault,
            entries=entries,
            complete=complete,
            preview=charges,
            receipts=[receipt for item in items for receipt in _receipts(item)],
            mails=[mail for address in sorted(_addresses(rows, items)) for mail in self._mails_to(address)],
        )

    def receipt(self, subscription_id: str, renewal_date: str, refund: str) -> tuple[str, bytes] | None:
        """Return the number and the PDF of a receipt; None for a missing receipt. refund: a name, or empty for the
        payment's receipt.
        """
        renewal = self._register.ledger.get(subscription_id, renewal_date) if subscription_id and renewal_date else None
        if renewal is None:
            return None
        given: Mapping[str, Any] = renewal.refunds.get(refund, {})
        key = given.get("receipt_key") if refund else renewal.receipt_key
        if key is None:
            return None
        stored = self._s3.get_object(Bucket=self._bucket, Key=key)
        return _number(renewal, refund), stored["Body"].read()

    def all_mails(self, before: str | None) -> tuple[list[mails.Mail], str | None]:
        """Return a page of all mails, newest first, and the name to continue before."""
        names, last = _page(mails.names(self.mail_folder, before=before))
        return [self._mail(name) for name in names], last

    def mail(self, name: str) -> mails.Mail | None:
        """Return the mail with this file name; None for an unknown name."""
        file = mails.file_named(self.mail_folder, name)
        return mails.read(name, file.read_bytes()) if file else None

    def _mails_to(self, address: str) -> list[mails.Mail]:
        return [self._mail(name) for name in mails.names_to(self.mail_folder, address)]

    def _mail(self, name: str) -> mails.Mail:
        return mails.read(name, (self.mail_folder / name).read_bytes())

    def _moment(self, now: datetime, test_clock: object = None) -> Moment:
        return clock.moment(now, self._environment, self.zone, test_clock)

    def _moment_of(self, row: Mapping[str, Any], now: datetime) -> Moment:
        """Return the subscription's present moment. An invalid test clock is ignored."""
        try:
            return self._moment(now, row.get("test_clock"))
        except BadRow:
            return self._moment(now)

    def _touched_since(self, moment: str) -> tuple[list[dict[str, Any]], bool]:
        """Return the items changed since a moment, and whether the search was complete.

        No index lists failed renewals by time. The whole ledger is therefore read, up to 10,000 items.
        """
        items: list[dict[str, Any]] = []
        start: dict[str, Any] = {}
        for _ in range(_MOST_PAGES):
            page: Any = self._client.scan(
                TableName=self._renewals,
                FilterExpression="touched_at >= :moment AND #status <> :skipped",
                ExpressionAttributeNames={"#status": "status"},
                ExpressionAttributeValues=dynamodb.attributes({":moment": moment, ":skipped": Status.SKIPPED}),
                Limit=_LEDGER_PAGE,
                **start,
            )
            items += [dynamodb.plain(item) for item in page["Items"]]
            if "LastEvaluatedKey" not in page:
                return items, True
            start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}
        return items, False


class Looks:
    """Provides a Look at the stack on a port, always for the latest deployment."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self._lock = Lock()
        self._held: tuple[float, Look] | None = None

    def now(self) -> Look:
        """Return a Look at the present deployment. Raises StackError if nothing is deployed, and botocore's errors."""
        outputs = self.stack.outputs
        deployed = self.stack.outputs_file.stat().st_mtime
        with self._lock:
            if self._held is None or self._held[0] != deployed:
                self._held = deployed, self._look(outputs)
            return self._held[1]

    def _look(self, outputs: Mapping[str, str]) -> Look:
        client = self._client("dynamodb")
        stacks = self._client("cloudformation").describe_stacks(StackName=STACK_NAME)["Stacks"]
        parameters = {each["ParameterKey"]: each["ParameterValue"] for each in stacks[0]["Parameters"]}
        register = Register(
            client,
            subscriptions=outputs["SubscriptionsTableName"],
            renewals=outputs["RenewalsTableName"],
            changes=outputs["ChangesTableName"],
        )
        return Look(
            register,
            client,
            self._client("s3"),
            renewals=outputs["RenewalsTableName"],
            bucket=outputs["ReceiptsBucketName"],
            environment=parameters["Environment"],
            zone=clock.zone_named(parameters["BusinessTimeZone"]),
            mail_folder=self.stack.mail_folder,
        )

    def _client(self, service: str) -> Any:
        # With a short timeout, the console reports a missing stack at once.
        config = Config(connect_timeout=1, read_timeout=10, retries={"total_max_attempts": 1})
        return self.stack.session.client(service, endpoint_url=self.stack.endpoint_url, config=config)  # type: ignore[call-overload]


def _page[T](found: list[T]) -> tuple[list[T], T | None]:
    """Return the first page, and the page's last entry if more entries follow."""
    return found[:PAGE], found[PAGE - 1] if len(found) > PAGE else None


def listed_from(row: Mapping[str, Any], today: date, fault: BadRow | None) -> Listed:
    """Return the list entry of a row, whatever the row contains. today: the subscription's present date."""
    return Listed(
        subscription_id=row["subscription_id"],
        customer_id=row["customer_id"],
        name=_text(row.get("customer_name")),
        status=_text(subscription.status_on(row, today)),
        renewal_date=_text(row.get("renewal_date")),
        amount=money(row.get("amount"), row.get("currency")),
        fault=str(fault) if fault else "",
    )


def step_from(item: Mapping[str, Any]) -> Step:
    """Return the step of a ledger item. The item must not be a skipped period."""
    status = Status(item["status"])
    said = declines.in_words(item.get("decline_code")) if status is Status.DECLINED else status.words
    if status in (Status.FAILED, Status.GIVEN_UP, Status.MAIL_FAILED) and "reason" in item:
        said += f": {reasons.in_words(item['reason'])}"
    if "next_attempt" in item:
        said += f"; next attempt {item['next_attempt']}"
    return Step(
        at=datetime.fromisoformat(item["touched_at"]),
        subscription_id=item["subscription_id"],
        name=_text(item.get("customer_name")),
        period=item["renewal_date"],
        amount=money(item.get("amount"), item.get("currency")),
        status=status.value,
        said=said,
    )


def _receipts(item: Mapping[str, Any]) -> Iterator[Receipt]:
    if item["status"] == Status.SKIPPED:
        return
    renewal, day = renewal_from(item), item["renewal_date"]
    for name, refund in renewal.refunds.items():
        if "receipt_key" in refund:
            yield Receipt(_number(renewal, name), day, f"−{money(refund['amount'], renewal.currency)}", name)
    if renewal.receipt_key is not None:
        yield Receipt(renewal.receipt_number, day, money(renewal.amount, renewal.currency))


def _number(renewal: Renewal, refund: str) -> str:
    return refunds.number(renewal, refund) if refund else renewal.receipt_number


def _addresses(rows: list[Item], items: list[Item]) -> set[str]:
    """Return the addresses that mails about the subscription were sent to, or would be sent to."""
    current = {address for row in rows if isinstance(address := row.get("customer_email"), str)}
    mails = [mail for item in items if isinstance(of := item.get("mails"), dict) for mail in of.values()]
    return (current | {text(mail, "to") for mail in mails if isinstance(mail, dict)}) - {""}


def money(amount: object, currency: object) -> str:
    """Return amount and currency in the form "29.90 EUR", whatever the table contains."""
    if not isinstance(amount, Decimal) or not isinstance(currency, str):
        return " ".join(filter(None, (_text(amount), _text(currency))))
    try:
        return f"{currencies.written(amount, currency.upper())} {currency.upper()}"
    except BadRow:
        return f"{amount} {currency}"


def _text(value: object) -> str:
    """Return a value of any type as text; a missing value becomes empty."""
    return "" if value is None else str(value)
