"""What the bucket says of receipts, without reading them: S3 keeps the SHA-256 that each was stored with."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from renewals.domain.errors import RenewalError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_AT_ONCE = 10  # as many connections as a client of boto3 keeps


class ReceiptsHidden(RenewalError):  # noqa: N818
    """We may not look at the receipts. S3's answer to HEAD has no body that would name the permission."""


def stored(s3: S3Client, bucket: str, keys: Iterable[str]) -> dict[str, str]:
    """Key to the SHA-256 that S3 has of what lies there, hexadecimal; "" where it has none, which no receipt of ours
    lacks. A key under which nothing lies is left out. Raises ReceiptsHidden, and botocore's errors."""

    def look(key: str) -> tuple[str, str | None]:
        try:
            head = s3.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
        except ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            if status == 403:
                raise ReceiptsHidden("s3:GetObject: AccessDenied, or of what is not there, s3:ListBucket") from error
            if status != 404:
                raise
            return key, None
        return key, base64.b64decode(head.get("ChecksumSHA256", "")).hex()

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return {key: digest for key, digest in pool.map(look, keys) if digest is not None}
