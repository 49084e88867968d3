"""RenewalAudit: compares the due renewals with the ledger, the gateway's charges, the receipts and the mails.

Event: {} from the schedule, for the last three complete days; {"from": "YYYY-MM-DD", "to": "YYYY-MM-DD"} by hand, for
these days in UTC, both included; {"part": {...}} from the function itself, for the rest. Reply: {"report": the report's
key in the bucket, "finished", "differences": {kind: number}, "counts": {name: number}}; only a finished audit returns
differences and counts. Lambda starts a failed run twice more, and the repeated run does the same work again.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import date
from decimal import Decimal
from typing import Any

from renewal_audit.audit import Audit
from renewal_audit.keys import Key
from renewal_audit.report import Report, ReportPart, Reports, latest, whole
from renewals.domain.errors import BadEvent
from renewals.domain.item_values import day
from renewals.domain.request import Asks, RenewalRequest
from renewals.gateway import access as gateway_access
from renewals.gateway.port import GatewayUnauthorized
from renewals.runtime import aws, clock, telemetry
from renewals.runtime.renewal_queue import RenewalQueue
from renewals.runtime.settings import setting
from renewals.runtime.telemetry import Event, Reply


@telemetry.observed
def handler(event: Event, context: Any) -> Reply:
    """Audit the days that the event names; see the module."""
    now = clock.current().wall
    part = _part(event, now.date())
    audit = Audit(
        client=aws.dynamodb(),
        subscriptions=setting("DYNAMODB_TABLE"),
        renewals=setting("RENEWALS_TABLE"),
        # Each run makes a new gateway: the API key may have been rotated since the last night.
        gateway=gateway_access.current_gateway(aws.secrets_manager(), setting("SECRETS_MANAGER_ARN")),
        deployment=setting("DEPLOYMENT"),
        s3=aws.s3(),
        bucket=setting("S3_BUCKET"),
        hand_on=_hand_on,
        settle=_settle,
        seconds_left=lambda: context.get_remaining_time_in_millis() / 1000,
        now=now,
        moment_of=lambda row: clock.current(row.get("test_clock")),
    )
    try:
        report = audit.run(part)
    except GatewayUnauthorized as fault:  # a retry would fail alike; the alarm audit-not-run reports a lasting fault
        gateway_access.tell(fault)
        return {"report": Reports(audit.s3, audit.bucket).key(part), "finished": False}
    reply: Reply = {"report": Reports(audit.s3, audit.bucket).key(part), "finished": report is not None}
    if report is not None:
        reply |= {"differences": report["differences"], "counts": report["counts"]}
        _tell(report)
    telemetry.logger().info("audited", extra=reply)
    return reply


def _part(event: Event, today: date) -> ReportPart:
    match event:
        case {"part": dict() as part}:
            return ReportPart(**part)
        case {"from": first, "to": last}:
            try:
                if day(event, "from") <= day(event, "to"):
                    return whole(str(first), str(last))
            except (TypeError, ValueError):
                pass
            raise BadEvent("RenewalAudit: from and to must be dates, YYYY-MM-DD, and from must not be after to")
        case {"from": _} | {"to": _}:
            raise BadEvent("RenewalAudit: from and to must be given together")
    return latest(today)


def _tell(report: Report) -> None:
    """Log a line for each difference, and count a metric for each kind. A zero is sent, too: without a zero, a night
    without differences would look like a night without an audit."""
    for difference in report["listed"]:
        telemetry.logger().warning("difference", extra=difference)
    for kind, number in report["differences"].items():
        telemetry.count("Audit" + kind.title().replace("_", ""), number)
    telemetry.count("AuditDifferences", sum(report["differences"].values()))


def _settle(periods: Mapping[Key, str]) -> None:
    """Queue requests to settle the refunds of the periods: the audit itself changes nothing."""
    queue = RenewalQueue(aws.sqs(), setting("RENEWAL_QUEUE_URL"))
    queue.send(
        RenewalRequest(name, customer, Decimal(0), date.fromisoformat(day), Asks.SETTLE_REFUNDS)
        for (name, day), customer in periods.items()
    )


def _hand_on(part: ReportPart) -> None:
    """Start a further run of the function without waiting for the result."""
    function = setting("AWS_LAMBDA_FUNCTION_NAME")
    aws.functions().invoke(FunctionName=function, InvocationType="Event", Payload=json.dumps({"part": asdict(part)}))
