"""ReceiptLinks: opens the receipt behind a mailed link.

Event: an API Gateway proxy event of GET /receipts/{token+}. Reply: a proxy reply with 302 (leads to the PDF, at an
address that is valid for five minutes), 404 (the link opens no receipt), 503 (AWS faltered) or 500 (every other error).

Anybody can call the function, and the token is the only proof. The function reads the key of the links, the ledger and
the stored receipts. The function writes nothing, and holds no key of the payment gateway. Parameters of the query are
ignored, because mail programs and click counters append parameters to links.

Decisions: D76, D77, D328, D329 (DECISIONS.md).
"""

from functools import cache
from http import HTTPStatus

from botocore.exceptions import ClientError

from receipt_links import stored
from receipt_links.refusals import refusal
from receipt_links.stored import NoReceipt
from renewals.domain.errors import TryAgain
from renewals.ledger.receipt_links import LinkKey, named
from renewals.ledger.table import Ledger
from renewals.runtime import aws, request_path, telemetry
from renewals.runtime.aws_errors import transient_aws_errors_as
from renewals.runtime.settings import setting
from renewals.runtime.telemetry import Event, Reply

_PATH = "/receipts/"


@telemetry.observed
def handler(event: Event, _context: object) -> Reply:
    """Open the receipt; see the module."""
    reply = _answer(event)
    telemetry.logger().info("answered", extra={"status": reply["statusCode"]})
    telemetry.annotate(outcome=reply["statusCode"])
    return reply


def _answer(event: Event) -> Reply:
    try:
        with transient_aws_errors_as(TryAgain):
            return _opened(event)
    except NoReceipt:
        return refusal(event, HTTPStatus.NOT_FOUND)
    except TryAgain as error:
        telemetry.logger().error("not answered", extra={"error": str(error)})
        return refusal(event, HTTPStatus.SERVICE_UNAVAILABLE)
    except Exception as error:  # noqa: BLE001  (every error goes to the log, and no detail to a stranger)
        # The message of an AWS error names the missing permission. There is no stack trace, because the lines of a
        # trace can quote the request and its token.
        told = str(error) if isinstance(error, ClientError) else telemetry.named(error)
        telemetry.logger().error("not answered", extra={"error": told})
        return refusal(event, HTTPStatus.INTERNAL_SERVER_ERROR)


def _opened(event: Event) -> Reply:
    path = request_path.plain(event)
    receipt = named(_link_key().value(), path.removeprefix(_PATH)) if path else None
    if receipt is None:
        raise NoReceipt
    telemetry.correlate({"subscription_id": receipt.subscription_id, "renewal_date": receipt.renewal_date})
    renewal = _ledger().get(receipt.subscription_id, receipt.renewal_date)
    if renewal is None:
        raise NoReceipt
    address = stored.address(aws.s3(), setting("S3_BUCKET"), renewal, receipt.refund)
    headers = {"Location": address, "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}
    return {"statusCode": HTTPStatus.FOUND, "headers": headers | {"X-Content-Type-Options": "nosniff"}, "body": ""}


@cache
def _link_key() -> LinkKey:
    return LinkKey(aws.secrets_manager(), setting("RECEIPT_LINK_KEY_ARN"))


@cache
def _ledger() -> Ledger:
    return Ledger(aws.dynamodb(), renewals=setting("RENEWALS_TABLE"))
