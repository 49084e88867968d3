"""The report in S3. Each run writes what it found as a part, which says where the next one begins; who ends the audit
follows them from the first and joins them.

    audits/2026-11-20_2026-11-22/report.json         counts, differences by kind, and the first thousand one by one
    audits/2026-11-20_2026-11-22/parts/<hash>.json   a part, named by where it begins: all its differences

A part that is written again, because its run was ended and started again, replaces itself, and what it then names as
the next is what counts. So parts neither overlap nor leave a gap, however often runs were ended. An audit of the same
days replaces the report; the bucket keeps the earlier version for a while.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, NotRequired, TypedDict

from botocore.exceptions import ClientError

from renewal_audit.compare import Count, Difference, Found

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import AttributeValueTypeDef
    from mypy_boto3_s3 import S3Client

LISTED = 1000
"""So many differences the report names itself, so that it can be read; the parts name all."""


@dataclass(frozen=True, slots=True)
class ReportPart:
    """What a run begins with.

    first, last: the days of the audit, YYYY-MM-DD, UTC, both included. charges_before: the moment before which charges
    are still to be compared, ISO 8601; None: all of them are. after_row: the key of the last subscription looked at.
    refunds_before: as charges_before, for refunds; None in the parts of earlier versions too, which looked at none.
    """

    first: str
    last: str
    charges_before: str | None
    after_row: dict[str, AttributeValueTypeDef] | None = None
    refunds_before: str | None = None


class Begins(TypedDict):
    """A ReportPart as JSON."""

    first: str
    last: str
    charges_before: str | None
    after_row: NotRequired[dict[str, AttributeValueTypeDef] | None]
    refunds_before: NotRequired[str | None]


class _Written(TypedDict):
    """What is read again of a part that was written."""

    begins: Begins
    next: Begins | None
    counts: dict[Count, int]
    differences: list[dict[str, str]]


Report = TypedDict(
    "Report",
    {
        "from": str,
        "to": str,
        "counts": Counter[Count],
        "differences": Counter[Difference],
        "listed": list[dict[str, str]],
        "parts": list[str],
    },
)
"""The report as JSON. differences: how many of each kind. listed: the first thousand of them. parts: the keys of all
parts."""


@dataclass(frozen=True, slots=True)
class Reports:
    """s3, bucket: where reports lie."""

    s3: S3Client
    bucket: str

    def write(self, part: ReportPart, found: Found, following: ReportPart | None) -> None:
        """Keep what a run found. following: where the next one begins; None after the last."""
        told = {
            "from": part.first,
            "to": part.last,
            "begins": asdict(part),
            "next": asdict(following) if following else None,
            "counts": dict(found.counts),
            "differences": found.differences,
        }
        self._put(_key(part), told)

    def join(self, first: ReportPart) -> Report | None:
        """The report over all parts, which is also stored. None where one is missing: the run that is to write it
        was started twice, and the other one is still at it."""
        report: Report = {
            "from": first.first,
            "to": first.last,
            "counts": Counter(dict.fromkeys(Count, 0)),
            "differences": Counter(dict.fromkeys(Difference, 0)),
            "listed": [],
            "parts": [],
        }
        overlapping: set[tuple[str, ...]] = set()
        for part in self._parts(first):
            if part is None:
                return None
            found = list(_once(part["differences"], overlapping))
            report["counts"].update(part["counts"])
            report["differences"].update(Difference(each["kind"]) for each in found)
            report["listed"] += found[: LISTED - len(report["listed"])]
            report["parts"].append(_key(ReportPart(**part["begins"])))
        self._put(self.key(first), report)
        return report

    def key(self, part: ReportPart) -> str:
        """Where the report of the part's audit lies."""
        return f"{_folder(part)}/report.json"

    def _parts(self, first: ReportPart) -> Iterator[_Written | None]:
        following: ReportPart | None = first
        while following is not None:
            part = self._get(_key(following))
            yield part
            following = ReportPart(**part["next"]) if part and part["next"] else None

    def _put(self, key: str, told: Mapping[str, object]) -> None:
        body = json.dumps(told, indent=1, ensure_ascii=False).encode()
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=body, ContentType="application/json")

    def _get(self, key: str) -> _Written | None:
        try:
            part: _Written = json.loads(self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read())
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchKey":
                raise
            return None
        return part


def _once(differences: list[dict[str, str]], overlapping: set[tuple[str, ...]]) -> Iterator[dict[str, str]]:
    """The differences of a part, without an overlap that a part before has named: two periods overlap once, though one
    run met them by their charges and another one by a refund. overlapping: what was named so far."""
    for each in differences:
        if each["kind"] == Difference.OVERLAPPING:
            named = tuple(each.values())
            if named in overlapping:
                continue
            overlapping.add(named)
        yield each


def _folder(part: ReportPart) -> str:
    return f"audits/{part.first}_{part.last}"


def _key(part: ReportPart) -> str:
    begins = json.dumps(asdict(part), sort_keys=True)
    return f"{_folder(part)}/parts/{sha256(begins.encode()).hexdigest()[:16]}.json"
