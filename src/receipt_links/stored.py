"""The address of a stored receipt."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from renewals.domain import refunds
from renewals.domain.errors import RenewalError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from renewals.domain.renewal import Renewal

_OPEN_SECONDS = 300


class NoReceipt(RenewalError):  # noqa: N818
    """There is no receipt."""


class NotPermitted(RenewalError):  # noqa: N818
    """The role of this function lacks a permission."""


def address(s3: S3Client, bucket: str, renewal: Renewal, refund: str) -> str:
    """Return an address at which everybody can read the receipt for five minutes. Raises NoReceipt.

    Args:
        renewal: The renewal of the receipt's period.
        refund: The name of the refund whose receipt is asked for; empty for the receipt of the payment.
    """
    key, number = renewal.receipt_key, renewal.receipt_number
    if refund:
        recorded = renewal.refunds.get(refund)
        key = recorded.get("receipt_key") if recorded else None
        number = refunds.number(renewal, refund)
    if key is None:
        raise NoReceipt
    _look_for(s3, bucket, key)
    return s3.generate_presigned_url(
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


def _look_for(s3: S3Client, bucket: str, key: str) -> None:
    """Raise NoReceipt if the receipt is gone from the bucket, after seven years or because somebody deleted the
    receipt. Otherwise the link would lead customers to an error of S3."""
    try:
        s3.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        if status == HTTPStatus.FORBIDDEN:  # an answer to HEAD has no body to name the permission
            raise NotPermitted("s3:GetObject: AccessDenied, or of what is not there, s3:ListBucket") from error
        if status != HTTPStatus.NOT_FOUND:
            raise
        raise NoReceipt from None
