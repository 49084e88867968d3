"""Gathers what the stack knows of a disputed payment into a folder, for the answer to the customer's bank."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from renewals.domain import disputes, refunds, texts, wording
from renewals.domain.disputes import DisputeStatus
from renewals.domain.item_values import Item, text
from renewals.domain.mail_faults import FaultKind
from renewals.domain.renewal import Mail, MailKind, MailState, Renewal
from renewals.domain.renewal_items import mail_from
from scripts.deployment import Deployment
from scripts.plainly import Trouble

_OWNER_ONLY = 0o700  # the folder holds personal data
_RESULTS = {
    MailState.SENDING: "was being sent",
    MailState.SENT: "was sent",
    MailState.UNKNOWN: "may have been sent",
    MailState.FAILED: "could not be sent",
}
_RETURNED: dict[str, str] = {FaultKind.BOUNCED: "came back", FaultKind.COMPLAINED: "was reported as spam"}


def gather(deployment: Deployment, subscription_id: str, renewal_date: str, folder: Path) -> Iterator[str]:
    """Write the evidence into a new folder, and yield a line about each file.

    Args:
        deployment: the deployed stack.
        subscription_id: the subscription.
        renewal_date: the first day of the disputed period, YYYY-MM-DD.
        folder: the folder, which must be absent or empty.

    Raises:
        Trouble: there is no such subscription, the period was never paid, or the folder has files.
    """
    row = deployment.row(subscription_id)
    period = deployment.register.ledger.get(subscription_id, renewal_date)
    if period is None or period.paid_at is None:
        raise Trouble(f"The ledger has no paid period of {subscription_id} from {renewal_date} on.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Trouble(f"{folder} is not empty: name a new folder.")
    folder.mkdir(mode=_OWNER_ONLY, parents=True, exist_ok=True)
    _write(folder / "facts.txt", _facts(period))
    yield "facts.txt: the customer, the payment and the dispute"
    _write(folder / "timeline.txt", _timeline(deployment, row))
    yield "timeline.txt: everything that happened to the subscription"
    _write(folder / "mails.txt", _mails(period))
    yield "mails.txt: the mails of the period, with their times and results"
    for number, key in _receipts(period):
        yield _receipt(deployment, folder / f"receipt-{number}.pdf", key)


def _write(file: Path, lines: Iterator[str]) -> None:
    file.write_text("".join(f"{texts.printable(line)}\n" for line in lines), encoding="utf-8")


def _facts(period: Renewal) -> Iterator[str]:
    yield f"Subscription: {period.subscription_id}"
    yield f"Customer: {period.customer_name}, {period.customer_email} ({period.customer_id})"
    yield f"Customer at the gateway: {period.gateway_customer}"
    yield f"Plan: {period.plan}"
    yield f"Billing period: {wording.days(period.renewal_date, period.period_end)}"
    yield f"Amount: {wording.money(period.amount, period.currency)}"
    yield f"Paid: {_at(period.paid_at)}, with {period.card or period.payment_method}"
    yield f"Transaction: {period.payment_id}, receipt {period.receipt_number}"
    for name, record in (period.disputes or {}).items():
        step = record["steps"][-1]
        contested = wording.money(record["amount"], record["currency"])
        status = DisputeStatus.words_of(step["status"]) or step["status"]
        yield f"Dispute {name}, opened {_at(record['at'])}: {contested}, reason {record['reason']}; {status}"
        if "due_by" in record:
            yield f"Evidence can be sent until {_at(record['due_by'])}"
        if disputes.is_chargeback(step):
            yield f"Withdrawn: {step.get('withdrawn', 0)}, reinstated: {step.get('reinstated', 0)} {period.currency}"


def _timeline(deployment: Deployment, row: Item) -> Iterator[str]:
    moment = deployment.moment(row)
    told, complete = deployment.register.timeline(row, moment.zone, moment.today)
    if not complete:
        yield "Older events are left out."
    for entry in told:
        yield f"{_at(entry.at)}  {entry.text}"


def _mails(period: Renewal) -> Iterator[str]:
    earlier = [(text(each, "name"), mail_from(each)) for each in period.earlier_mails or ()]
    for name, mail in [*earlier, *period.mails.items()]:
        yield _mail(name, mail)
    for name, said in period.returned.items():
        if isinstance(said, dict):
            kind, to, why = (str(said.get(each)) for each in ("kind", "to", "reason"))
            result = _RETURNED.get(kind, f"got the report {kind}")
            yield f"{_at(said.get('at'))}  The mail {name} to {to} {result}: {why}"


def _mail(name: str, mail: Mail) -> str:
    what = wording.mail(MailKind.of(name))
    number = f", message {mail.message_id}" if mail.message_id else ""
    return f"{_at(mail.at or mail.claimed_until)}  {name} ({what}) {_RESULTS[mail.state]} to {mail.to}{number}"


def _receipts(period: Renewal) -> Iterator[tuple[str, str]]:
    """Yield the number and the key of each stored receipt: of the payment, and of the refunds."""
    if period.receipt_key is not None:
        yield period.receipt_number, period.receipt_key
    for name, refund in refunds.in_order(period.refunds):
        if "receipt_key" in refund:
            yield refunds.number(period, name), refund["receipt_key"]


def _receipt(deployment: Deployment, file: Path, key: str) -> str:
    try:
        found = deployment.client("s3").get_object(Bucket=deployment.output("ReceiptsBucketName"), Key=key)
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchKey":
            raise
        return f"{file.name} is missing in the bucket: `oncall restore-receipt {key}` brings the receipt back"
    file.write_bytes(found["Body"].read())
    return f"{file.name}: the receipt that the customer got"


def _at(moment: Any) -> str:
    found = moment if isinstance(moment, datetime) else datetime.fromisoformat(str(moment))
    return f"{found.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
