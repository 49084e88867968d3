"""The marks of the catch-up, in the bucket. The mark of a type of event is the time of the last complete catch-up.

Each type has its own mark. The first catch-up of a new type stores the beginning of its search as the mark, before the
search: nights that fail do not move the beginning. While an older version is deployed, the bucket keeps the marks of
types that only a newer version knows.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from renewals.domain.gateway_event import GatewayEventType

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mypy_boto3_s3 import S3Client

KEY = "gateway-catch-up/caught-up.json"


@dataclass(frozen=True, slots=True)
class Marks:
    """The object with the marks. s3, bucket: the place of the object."""

    s3: S3Client
    bucket: str

    def read(self, otherwise: datetime) -> dict[GatewayEventType, datetime]:
        """Return the mark of each type of this version. A type without a mark gets `otherwise` as its mark, and the
        bucket keeps the new mark. Raises botocore's errors."""
        stored = self._stored()
        new = {each.value: otherwise.isoformat() for each in GatewayEventType if each not in stored}
        if new:
            self._store(stored | new)
        return {each: datetime.fromisoformat((stored | new)[each]) for each in GatewayEventType}

    def move(self, types: Iterable[GatewayEventType], to: datetime) -> None:
        """Move the marks of the types forward, and never back. Raises botocore's errors."""
        stored = self._stored()
        moved = {each.value: max(stored.get(each, ""), to.isoformat()) for each in types}
        self._store(stored | moved)

    def _stored(self) -> dict[str, str]:
        """Return the marks, in UTC, by type; empty before the first night."""
        try:
            marks: dict[str, str] = json.loads(self.s3.get_object(Bucket=self.bucket, Key=KEY)["Body"].read())
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchKey":
                raise
            return {}
        return marks

    def _store(self, marks: Mapping[str, str]) -> None:
        body = json.dumps(marks, indent=1).encode()
        self.s3.put_object(Bucket=self.bucket, Key=KEY, Body=body, ContentType="application/json")
