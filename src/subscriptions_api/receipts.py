"""Receipts: list receipts, and open a receipt by its mailed link."""

from functools import cache, partial
from http import HTTPStatus
from typing import Annotated

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.openapi.params import Path
from aws_lambda_powertools.event_handler.router import APIGatewayRouter
from botocore.exceptions import ClientError

from renewals.domain import refunds
from renewals.domain.item_values import Item, text
from renewals.ledger import receipt_links
from renewals.runtime import aws, request_path
from renewals.runtime.settings import setting
from subscriptions_api import cursors, shared, showing
from subscriptions_api.answer_models import ReceiptOut, ReceiptPage
from subscriptions_api.problems import NoReceipt, documented
from subscriptions_api.shared import Cursor, Limit, SubscriptionId

_OPEN_SECONDS = 300

router = APIGatewayRouter()


@router.get(
    "/subscriptions/<subscription_id>/receipts",
    summary="The receipts of a subscription",
    description="The receipts of payments and of refunds, each with its link.",
    tags=["History"],
    operation_id="listReceipts",
    responses={200: {"description": "One page, newest first."}} | documented(404, 409),
)
def list_receipts(subscription_id: SubscriptionId, cursor: Cursor = None, limit: Limit = 50) -> ReceiptPage:
    shared.row(subscription_id)
    of = f"receipts/{subscription_id}"
    place = cursors.read(cursor, of, 1)
    items, last = shared.register().ledger.page(subscription_id, limit=limit, before=place[0] if place else None)
    receipts = [
        ReceiptOut.model_validate(receipt)
        for item in items
        for receipt in showing.shown_receipts(item, partial(_receipt_link, item))
    ]
    return ReceiptPage(items=receipts, next_cursor=cursors.write(of, last) if last else None)


@router.get(
    "/receipts/<token>",
    summary="Open a receipt",
    description="The link in a mail leads here. The call needs no signature: the token is the proof.",
    tags=["Receipts"],
    operation_id="openReceipt",
    status_code=302,
    openapi_extensions={"security": []},
    responses={302: {"description": "Redirects to the PDF. The address of the PDF is valid for five minutes."}}
    | documented(404),
)
def open_receipt(token: Annotated[str, Path(description="The token in the mailed link.")]) -> Response[None]:
    named = receipt_links.named(_link_key().value(), token)
    renewal = shared.register().ledger.get(named.subscription_id, named.renewal_date) if named else None
    if named is None or renewal is None:
        raise NoReceipt
    key, number = renewal.receipt_key, renewal.receipt_number
    if named.refund:
        refund = renewal.refunds.get(named.refund)
        key = refund.get("receipt_key") if refund else None
        number = refunds.number(renewal, named.refund)
    if key is None:
        raise NoReceipt
    bucket = setting("S3_BUCKET")
    _look_for(bucket, key)
    opened = aws.s3().generate_presigned_url(
        "get_object",
        Params={
            "Bucket": bucket,
            "Key": key,
            "ResponseContentType": "application/pdf",
            "ResponseCacheControl": "no-store",
            "ResponseContentDisposition": f'inline; filename="receipt-{number}.pdf"',
        },
        ExpiresIn=_OPEN_SECONDS,
    )
    return Response(302, headers={"Location": opened, "Referrer-Policy": "no-referrer"})


def _look_for(bucket: str, key: str) -> None:
    """Raise NoReceipt if the receipt is gone from the bucket, after seven years or because somebody deleted the
    receipt. Otherwise the link would lead customers to an error of S3."""
    try:
        aws.s3().head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        if status == HTTPStatus.FORBIDDEN:  # an answer to HEAD has no body to name the permission
            raise PermissionError("s3:GetObject: AccessDenied, or of what is not there, s3:ListBucket") from error
        if status != HTTPStatus.NOT_FOUND:
            raise
        raise NoReceipt from None


def _receipt_link(item: Item, refund: str) -> str:
    event = router.current_event
    here = request_path.base(event.raw_event, event.path)
    begins = setting("RECEIPT_LINKS_URL") or f"https://{event.request_context.domain_name}{here}/receipts"
    token = receipt_links.token(_link_key().value(), text(item, "subscription_id"), text(item, "renewal_date"), refund)
    return f"{begins}/{token}"


@cache
def _link_key() -> receipt_links.LinkKey:
    return receipt_links.LinkKey(aws.secrets_manager(), setting("RECEIPT_LINK_KEY_ARN"))
