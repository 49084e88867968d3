"""Check receipts in the bucket without reading the receipts: S3 keeps the SHA-256 given at the upload."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from renewals.domain.errors import RenewalError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_AT_ONCE = 10  # a client of boto3 keeps ten connections


class ReceiptsHidden(RenewalError):  # noqa: N818
    """The audit lacks permission to look at the receipts. S3's answer to HEAD has no body to name the missing
    permission."""


def stored(s3: S3Client, bucket: str, keys: Iterable[str]) -> dict[str, str]:
    """Return the hexadecimal SHA-256 that S3 keeps for each key.

    A key without an object is left out. An object without a SHA-256 gives ""; receipts of ours always have a SHA-256.

    Raises ReceiptsHidden, and botocore's errors.
    """

    def look(key: str) -> tuple[str, str | None]:
        try:
            head = s3.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
        except ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            if status == 403:
                raise ReceiptsHidden("s3:GetObject: AccessDenied, or, for an absent object, s3:ListBucket") from error
            if status != 404:
                raise
            return key, None
        return key, base64.b64decode(head.get("ChecksumSHA256", "")).hex()

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return {key: digest for key, digest in pool.map(look, keys) if digest is not None}
