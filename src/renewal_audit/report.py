"""The audit's report in S3. Each run writes its findings as a part, and the part tells the beginning of the next part.
The last run follows the parts from the first on, and joins all parts.

    audits/2026-11-20_2026-11-22/report.json         counts, differences by kind, and the first thousand differences
    audits/2026-11-20_2026-11-22/parts/<hash>.json   a part, named by its beginning, with all its differences

If a run is stopped and started again, the run writes its part again: the new part replaces the old part, and the report
continues with the next part that the new part names. Parts therefore neither overlap nor leave a gap, however often
runs are stopped. A further audit of the same days replaces the report; the bucket keeps the earlier version for a
while.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, time, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, NotRequired, TypedDict

from botocore.exceptions import ClientError

from renewal_audit.findings import Count, Difference, Found

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import AttributeValueTypeDef
    from mypy_boto3_s3 import S3Client

DAYS = 3
"""The nightly audit covers this many complete days, the latest of them yesterday. Each day is therefore audited on
three nights, and a difference that nobody mends is reported on three nights. One night would not suffice for a payment
that the customer confirms on the bank's page: if no event of the gateway arrives, the ledger records the payment only
on the next dunning date, at most two days after the charge unless DunningDays says otherwise. The third night still
covers the day of the charge, and finds the payment recorded."""

LISTED = 1000
"""The report lists at most this many differences, so that people can read the report; the parts list all
differences."""


@dataclass(frozen=True, slots=True)
class ReportPart:
    """The work that is left when a run begins. The run's part of the report is named by this work.

    Attributes:
        first, last: the days of the audit, YYYY-MM-DD, in UTC, both included.
        charges_before: the audit must still compare charges before this moment, ISO 8601; None after the last charge.
        after_row: the key of the last subscription already looked at.
        refunds_before: like charges_before, for refunds. Also None in parts of earlier versions, which audited no
            refunds.
        disputes_before: like refunds_before, for disputes.
    """

    first: str
    last: str
    charges_before: str | None
    after_row: dict[str, AttributeValueTypeDef] | None = None
    refunds_before: str | None = None
    disputes_before: str | None = None


def whole(first: str, last: str) -> ReportPart:
    """Return the part for a whole audit. first, last: the days, YYYY-MM-DD, both included."""
    before = (midnight(last) + timedelta(days=1)).isoformat()
    return ReportPart(first, last, before, refunds_before=before, disputes_before=before)


def latest(today: date) -> ReportPart:
    """Return the part for the latest complete days before `today`. Days are in UTC, like the gateway's clock."""
    return whole((today - timedelta(days=DAYS)).isoformat(), (today - timedelta(days=1)).isoformat())


def midnight(day: str) -> datetime:
    """Return the moment at which a day, YYYY-MM-DD, begins in UTC."""
    return datetime.combine(date.fromisoformat(day), time(), UTC)


class Begins(TypedDict):
    """A ReportPart as JSON."""

    first: str
    last: str
    charges_before: str | None
    after_row: NotRequired[dict[str, AttributeValueTypeDef] | None]
    refunds_before: NotRequired[str | None]
    disputes_before: NotRequired[str | None]


class _Written(TypedDict):
    """The fields of a written part that are read again."""

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
"""The report as JSON. differences: the number of each kind. listed: the first thousand differences. parts: the keys of
all parts."""


@dataclass(frozen=True, slots=True)
class Reports:
    """The reports in a bucket. s3, bucket: the place of the reports."""

    s3: S3Client
    bucket: str

    def write(self, part: ReportPart, found: Found, following: ReportPart | None) -> None:
        """Store the findings of a run. following: the beginning of the next part; None after the last part."""
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
        """Join all parts to the report, store the report, and return the report.

        Return None if a part is missing: the run that writes the part was started a second time and is still at work,
        and the report is joined later.
        """
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
        """Return the key of the report of the part's audit."""
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
    """Yield the differences of a part, without the overlaps in earlier parts.

    Two runs may find the same overlap: one run by the charges of the periods, the other run by a refund. The overlap is
    yielded only once.

    overlapping: the overlaps named so far; the function adds the overlaps of the part.
    """
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
