"""GatewayCatchUp: asks the gateway for events that may not have arrived, and puts the same hints on the queue as the
gateway's door does.

Event: {} from the schedule, for the time since the last complete catch-up; {"from": "YYYY-MM-DD"} by hand, for the time
since that day in UTC, or since the last complete catch-up if that is earlier; {"left": [...]} from the function itself,
for the pages that the run before has not read. Reply: {"finished": whether the catch-up is complete, "found": the
number of hints that this run has put on the queue}. If the catch-up is not complete, a further run continues, or the
gateway has rejected the key, or the key may not read some of the events. A run with a search that the gateway does not
answer makes all other searches, and then fails. Lambda starts a failed run twice more, and the repeated run does the
same work again: an event may be on the queue twice.

Decision: D239 (DECISIONS.md).
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from time import sleep
from typing import Any

from gateway_catch_up.catch_up import CatchUp
from gateway_catch_up.marks import Marks
from gateway_catch_up.searches import Search, plan
from renewals.domain.errors import BadEvent
from renewals.domain.item_values import day, several
from renewals.gateway import access as gateway_access
from renewals.gateway.port import GatewayUnauthorized
from renewals.runtime import aws, clock, telemetry
from renewals.runtime.renewal_queue import RenewalQueue, send_messages
from renewals.runtime.settings import setting
from renewals.runtime.telemetry import Event, Reply

FIRST_NIGHT = timedelta(days=1)
"""How far the first catch-up of a type of event reaches back. Older events are not searched: they happened before this
system began to hear events of the type."""

LISTED = timedelta(days=30)
"""How long the gateway lists an event (https://docs.stripe.com/api/events/list)."""


@telemetry.observed
def handler(event: Event, context: Any) -> Reply:
    """Catch up on events; see the module."""
    marks = Marks(aws.s3(), setting("S3_BUCKET"))
    # This call also stores the marks of types without a mark. The call comes first, so that the marks are stored even
    # in a night in which the gateway fails.
    searches = _searches(event, marks)
    catch_up = CatchUp(
        # Each run makes a new gateway: the API key may have been rotated since the last night.
        gateway=gateway_access.current_gateway(aws.secrets_manager(), setting("SECRETS_MANAGER_ARN")),
        deployment=setting("DEPLOYMENT"),
        marks=marks,
        waiting=RenewalQueue(aws.sqs(), setting("GATEWAY_EVENTS_QUEUE_URL")).waiting,
        pause=sleep,
        send=lambda bodies: send_messages(aws.sqs(), setting("GATEWAY_EVENTS_QUEUE_URL"), bodies),
        hand_on=_hand_on,
        seconds_left=lambda: context.get_remaining_time_in_millis() / 1000,
    )
    try:
        finished = catch_up.run(searches)
    except GatewayUnauthorized as fault:  # a retry would fail alike; the alarm catch-up-not-run reports a lasting fault
        gateway_access.tell(fault)
        finished = False
    lost = [each for each in searches if each.since < each.caught_up - LISTED]
    for each in lost:  # GatewayCatchUps is not counted: the alarm catch-up-not-run stays on for another night
        telemetry.logger().error("events are lost", extra={"types": [*each.types], "since": each.since.isoformat()})
    if finished and not lost:
        telemetry.count("GatewayCatchUps")
    telemetry.count("GatewayEventsCaughtUp", catch_up.found)
    reply: Reply = {"finished": finished, "found": catch_up.found}
    telemetry.logger().info("caught up", extra=reply)
    if catch_up.fault is not None:  # all other searches are made: the failed run turns on the alarm catch-up-errors
        raise catch_up.fault
    return reply


def _searches(event: Event, marks: Marks) -> Sequence[Search]:
    now = clock.current().wall
    try:
        if "left" in event:
            return [Search.from_json(each) for each in several(event, "left")]
        begins = datetime.combine(day(event, "from"), time(), UTC) if "from" in event else now
    except (KeyError, TypeError, ValueError):
        raise BadEvent("GatewayCatchUp: from must be a date, YYYY-MM-DD") from None
    caught_up = marks.read(otherwise=now - FIRST_NIGHT)
    return plan({each: min(until, begins) for each, until in caught_up.items()}, now)


def _hand_on(left: Sequence[Search]) -> None:
    """Start a further run of the function without waiting for the result."""
    payload = json.dumps({"left": [each.to_json() for each in left]})
    aws.functions().invoke(FunctionName=setting("AWS_LAMBDA_FUNCTION_NAME"), InvocationType="Event", Payload=payload)
