"""RenewalSweep: finds due and interrupted renewals, and sends a request for every such renewal to the queue.

Event: {"sweep": "due"} or {"sweep": "all"} from the schedules, to plan a sweep; {"part": {...}} from the function
itself, to read a part and send its renewals. Reply: counts, as in Swept. Lambda starts a failed run twice more; the
next sweep finds the rest.
"""

import json
from dataclasses import asdict
from datetime import date
from typing import Any

from renewal_sweep.parts import SweepKind, SweepPart
from renewal_sweep.sweep import Sweep, Swept
from renewals.domain.errors import BadEvent, BadRow
from renewals.domain.reminder_rules import Rules
from renewals.ledger.charging import Switch
from renewals.ledger.steps import Row
from renewals.runtime import aws, clock, telemetry
from renewals.runtime.renewal_queue import RenewalQueue
from renewals.runtime.settings import setting
from renewals.runtime.telemetry import Event, Reply


@telemetry.observed
def handler(event: Event, context: Any) -> Reply:
    """Plan a sweep, or read a part of a sweep; see the module."""
    moment = clock.current()
    sweep = Sweep(
        client=aws.dynamodb(),
        subscriptions=setting("DYNAMODB_TABLE"),
        renewals=setting("RENEWALS_TABLE"),
        queue=RenewalQueue(aws.sqs(), setting("RENEWAL_QUEUE_URL")),
        hand_on=_hand_on,
        name=_name,
        seconds_left=lambda: context.get_remaining_time_in_millis() / 1000,
        today=moment.today,
        now=moment.now,
        reminder_rules=Rules.of(setting("REMINDER_DAYS"), setting("REMINDED_PERIOD_DAYS")),
        concurrency=int(setting("RENEWAL_CONCURRENCY")),
        test_clock=_test_clock if clock.heeds_test_clocks(setting("ENVIRONMENT")) else None,
    )
    swept = _swept(sweep, event)
    done: Reply = asdict(swept)
    if swept.backlog:
        telemetry.logger().warning("sweep put off: too many messages wait for a worker", extra=done)
    telemetry.logger().info("swept", extra={**_shown(event), **done})
    if event == {"sweep": SweepKind.DUE}:
        telemetry.count("Sweeps")
    if event in ({"sweep": SweepKind.DUE}, {"sweep": SweepKind.ALL}):
        telemetry.count("SweepPostponed", int(swept.backlog > 0))
        telemetry.count("ChargingIsOff", int(bool(Switch(aws.dynamodb(), setting("CHANGES_TABLE")).items())))
    if swept.oldest is not None:
        telemetry.measure("OldestUnfinished", swept.oldest, "Seconds")
    for metric, counted in (("RenewalsDue", swept.due), ("RenewalsEnqueued", swept.sent), ("BadRows", swept.bad)):
        if counted:
            telemetry.count(metric, counted)
    return done


def _swept(sweep: Sweep, event: Event) -> Swept:
    match event:
        case {"part": dict() as part}:
            return sweep.read(SweepPart.of_event(part))
        case {"sweep": SweepKind.DUE, "from": dict() as part}:
            return sweep.due(SweepPart.of_event(part))
        case {"sweep": SweepKind.DUE}:
            return sweep.due()
        case {"sweep": SweepKind.ALL}:
            return sweep.all()
    raise BadEvent("RenewalSweep: the event names neither a sweep nor a part of a sweep")


def _shown(event: Event) -> dict[str, object]:
    """Return the event for the log, without the key after which the part begins."""
    part = event.get("part") or event.get("from")
    named = {name: part[name] for name in ("kind", "of") if name in part} if isinstance(part, dict) else {}
    return {"sweep": event.get("sweep"), "part": named}


def _hand_on(event: Event) -> None:
    """Start a further run of the function without waiting for the result."""
    function = setting("AWS_LAMBDA_FUNCTION_NAME")
    aws.functions().invoke(FunctionName=function, InvocationType="Event", Payload=json.dumps(event))


def _test_clock(row: Row) -> date | None:
    moment = clock.current(row.get("test_clock"))
    return moment.today if moment.tested else None


def _name(row: Row, bad: BadRow) -> None:
    ids = {name: telemetry.shown_id(row.get(name)) for name in ("subscription_id", "customer_id")}
    telemetry.logger().warning("bad row", extra=ids | {"reason": str(bad)})
