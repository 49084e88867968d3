"""The marks of the catch-up, in the bucket. The mark of a type of event is the time of the last complete catch-up.

Each type has its own mark. A type that is new in this version begins with a first night. The mark of a type of a
newer version stays in the bucket while an older version is deployed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from renewals.domain.gateway_event import GatewayEventType

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mypy_boto3_s3 import S3Client

KEY = "gateway-catch-up/caught-up.json"


@dataclass(frozen=True, slots=True)
class Marks:
    """The object with the marks. s3, bucket: the place of the object."""

    s3: S3Client
    bucket: str

    def read(self, otherwise: datetime) -> dict[GatewayEventType, datetime]:
        """Return the mark of each type of this version, and `otherwise` for a type without a mark. Raises botocore's
        errors."""
        stored = self._stored()
        return {
            each: datetime.fromisoformat(stored[each]) if each in stored else otherwise for each in GatewayEventType
        }

    def move(self, types: Iterable[GatewayEventType], to: datetime) -> None:
        """Move the marks of the types forward, and never back. Raises botocore's errors."""
        stored = self._stored()
        moved = {each.value: max(stored.get(each, ""), to.isoformat()) for each in types}
        body = json.dumps(stored | moved, indent=1).encode()
        self.s3.put_object(Bucket=self.bucket, Key=KEY, Body=body, ContentType="application/json")

    def _stored(self) -> dict[str, str]:
        """Return the marks, in UTC, by type; empty before the first night."""
        try:
            marks: dict[str, str] = json.loads(self.s3.get_object(Bucket=self.bucket, Key=KEY)["Body"].read())
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchKey":
                raise
            return {}
        return marks
