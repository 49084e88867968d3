"""GenerateReceipt: render and store the receipt of a paid renewal or of a refund, once.

Event: {"execution": ARN, "renewal": {"subscription_id", "renewal_date", ...}}, the reply of ProcessPayment.
Reply: the renewal with the outcome "receipted" and a "receipt_key"; unchanged if the outcome is "refunded".
A ReceiptError asks the workflow to try again.
Key: receipts/{customer_id}/{subscription_id}/{transaction_id}.pdf. The transaction of a refund is the refund's id.
"""

from __future__ import annotations

import base64
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from generate_receipt.pdf import Receipt, RenderedReceipt, Seller, render
from renewals.domain import currencies, refund_notices, refunds
from renewals.domain.errors import BadEvent, Overtaken, ReceiptError
from renewals.domain.item_values import fields, text
from renewals.domain.outcomes import PaymentOutcome
from renewals.domain.renewal import MailKind, Renewal, Status
from renewals.ledger import receipt_steps
from renewals.ledger.table import Ledger
from renewals.runtime import aws, clock, telemetry
from renewals.runtime.aws_errors import transient_aws_errors_as
from renewals.runtime.settings import setting
from renewals.runtime.telemetry import Event, Reply

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mypy_boto3_s3 import S3Client


@telemetry.observed
def handler(event: Event, _context: object) -> Reply:
    """Store the receipt of the renewal or refund; see the module."""
    asked = fields(event, "renewal")
    telemetry.correlate(asked, execution=event["execution"])
    with transient_aws_errors_as(ReceiptError):
        renewal = _ledger().get(text(asked, "subscription_id"), text(asked, "renewal_date"))
        if renewal is None or renewal.paid_at is None:
            raise BadEvent("GenerateReceipt: this period is not paid")
        if asked["outcome"] == PaymentOutcome.REFUNDED:
            return _refunded(asked, renewal)
        if renewal.status is Status.PAID:
            now = clock.current(asked.get("test_clock")).now
            renewal = issue(renewal, ledger=_ledger(), s3=aws.s3(), bucket=setting("S3_BUCKET"), now=now)
    reply: Reply = {**asked, "outcome": PaymentOutcome.RECEIPTED, "receipt_key": renewal.receipt_key}
    telemetry.renewal_event("receipt", reply)
    return reply


def _refunded(asked: Mapping[str, object], renewal: Renewal) -> Reply:
    """Store the receipt of the refund that the customer must be told of, if the refund succeeded. A refund that is on
    its way or has failed gets no receipt, and SendEmail tells the customer of the refund without a receipt."""
    now = clock.current(asked.get("test_clock")).now
    issue_refund(renewal, ledger=_ledger(), s3=aws.s3(), bucket=setting("S3_BUCKET"), now=now)
    telemetry.renewal_event("refund receipt", asked)
    return dict(asked)


def issue_refund(renewal: Renewal, *, ledger: Ledger, s3: S3Client, bucket: str, now: datetime) -> None:
    """Render, store and record the receipt of a refund, if the renewal owes the customer a mail about the refund."""
    owed = refund_notices.owed(renewal)
    if owed is None or owed.kind is not MailKind.REFUNDED or "receipt_key" in owed.refund:
        return
    rendered = _rendered(refund_receipt_of(renewal, owed.name))
    key = f"receipts/{renewal.customer_id}/{renewal.subscription_id}/{owed.refund['refund_id']}.pdf"
    stored = _store(s3, bucket, key, rendered)
    with suppress(Overtaken):  # another run has recorded the receipt that is stored under this key
        ledger.apply(receipt_steps.refund_receipted(renewal, owed.name, key, sha256(stored).hexdigest(), now))


def refund_receipt_of(renewal: Renewal, name: str) -> Receipt:
    """Return the content of the receipt of a refund, all from the ledger."""
    refund = renewal.refunds[name]
    return replace(
        receipt_of(renewal),
        number=refunds.number(renewal, name),
        paid_at=datetime.fromisoformat(refund["at"]),
        transaction_id=refund["refund_id"],
        amount=currencies.written(refund["amount"], renewal.currency),
        of="refund",
    )


def issue(renewal: Renewal, *, ledger: Ledger, s3: S3Client, bucket: str, now: datetime) -> Renewal:
    """Render, store and record the receipt of a payment. If the key has a stored receipt already, the stored receipt is
    recorded."""
    rendered = _rendered(receipt_of(renewal))
    key = f"receipts/{renewal.customer_id}/{renewal.subscription_id}/{renewal.payment_id}.pdf"
    stored = _store(s3, bucket, key, rendered)
    try:
        return ledger.apply(receipt_steps.receipted(renewal, key, sha256(stored).hexdigest(), now))
    except Overtaken:  # another run recorded the receipt, or the period has left the status paid
        stands = ledger.get(renewal.subscription_id, renewal.renewal_date.isoformat())
    if stands is None or stands.receipt_key is None:
        raise ReceiptError("the ledger item changed while the receipt was made")
    return stands


def _rendered(receipt: Receipt) -> RenderedReceipt:
    rendered = render(receipt)
    if rendered.missing:
        telemetry.count("ReceiptGlyphsMissing", len(rendered.missing))
    return rendered


def receipt_of(renewal: Renewal) -> Receipt:
    """Return the content of the receipt of a payment. All content is from the ledger, so that a receipt made again has
    the same content."""
    if renewal.paid_at is None or renewal.payment_id is None:
        raise BadEvent("a receipt needs a payment")
    seller = renewal.seller
    return Receipt(
        number=renewal.receipt_number,
        paid_at=renewal.paid_at,
        seller=Seller(seller["name"], seller["address"], seller["tax_id"]),
        customer_name=renewal.customer_name or renewal.customer_id,
        customer_id=renewal.customer_id,
        subscription_id=renewal.subscription_id,
        plan=renewal.plan,
        period_start=renewal.renewal_date,
        period_end=renewal.period_end,
        transaction_id=renewal.payment_id,
        payment_method=renewal.card,
        amount=currencies.written(renewal.amount, renewal.currency),
        currency=renewal.currency,
        locale=renewal.locale,
    )


def _store(s3: S3Client, bucket: str, key: str, rendered: RenderedReceipt) -> bytes:
    """Store the receipt unless the key has a receipt, and return the stored bytes."""
    try:
        s3.put_object(
            Bucket=bucket,
            Key=key,
            Body=rendered.pdf,
            ContentType="application/pdf",
            CacheControl="no-store",
            ServerSideEncryption="AES256",
            ChecksumSHA256=base64.b64encode(sha256(rendered.pdf).digest()).decode(),
            IfNoneMatch="*",
        )
    except ClientError as error:
        if error.response["Error"]["Code"] == "ConditionalRequestConflict":
            raise ReceiptError("another execution is storing this receipt") from error
        if error.response["Error"]["Code"] != "PreconditionFailed":
            raise
        return s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    return rendered.pdf


@cache
def _ledger() -> Ledger:
    return Ledger(aws.dynamodb(), renewals=setting("RENEWALS_TABLE"))
