"""GatewayWorker: takes events of the gateway from the queue, and acts on each event.

Event: a batch of SQS; renewals.domain.gateway_event describes the messages. Reply: {"batchItemFailures": [...]}, the
messages to be delivered again. The wait until the next delivery depends on the fault:

- An execution works on the event's period, and therefore holds the period's lease: the rest of the lease.
- Only a person can help: an hour. Either the gateway rejects our account or key, or a disputed subscription's row
  cannot be read, or the gateway does not know the dispute of the event, or this version does not know the type of the
  event. (A newer version, which was deployed for a time, may have queued such a message.)
- The message is no event: no wait, so that the message is in the dead-letter queue within seconds.
- Any other fault: a minute, ten minutes, an hour and four hours, so that an outage of the gateway fills no dead-letter
  queue.

After the fifth delivery the queue moves a failed message to the dead-letter queue; only the event of an unknown dispute
is passed over, with an error in the log.

gateway_worker.handlers has the table from the type of an event to its handler.
"""

from __future__ import annotations

import json
from datetime import date, timedelta
from functools import cache
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from gateway_worker.handlers import HANDLERS
from gateway_worker.handling import UNTIL_A_PERSON_ACTS, EventOutcome, Handled, Seams, later, passed_over
from gateway_worker.mode import is_of_our_mode
from renewals.domain.gateway_event import GatewayEvent, NotTaken, PassedOver, UnknownType
from renewals.domain.item_values import fields, text, whole
from renewals.domain.reasons import Reason
from renewals.domain.reminder_rules import Rules
from renewals.domain.renewal import Renewal
from renewals.domain.request import RenewalRequest
from renewals.domain.subscription import Subscription
from renewals.gateway import access as gateway_access
from renewals.gateway.port import GatewayUnauthorized, is_of_deployment
from renewals.ledger.register import Register
from renewals.ledger.steps import Row
from renewals.runtime import aws, clock, telemetry
from renewals.runtime.clock import Moment
from renewals.runtime.settings import setting
from renewals.runtime.telemetry import Event, Reply, records

_WAITS = (timedelta(minutes=1), timedelta(minutes=10), timedelta(hours=1), timedelta(hours=4), timedelta())
"""The waits after the first failed try and after each further failed try. After the last try, the queue moves the
message to the dead-letter queue at once."""

MOST_TRIES = len(_WAITS)
"""The queue's maxReceiveCount: the deliveries of a message before the dead-letter queue takes the message."""


@telemetry.observed
def handler(event: Event, context: Any) -> Reply:
    """Act on the events in the messages; see the module."""
    waits = [(record, _wait_after(record, context)) for record in records(event)]
    failed = [(record, wait) for record, wait in waits if wait is not None]
    for record, wait in failed:
        _come_back(record, after=wait)
    return {"batchItemFailures": [{"itemIdentifier": record["messageId"]} for record, _ in failed]}


def _wait_after(record: Event, context: Any) -> timedelta | None:
    """Act on the event of a message, and return the time until the next try; None if the event is settled.

    If the handler's answer names a wait, the wait is taken from the answer. From the second try on, a wait for the end
    of a lease is also at least as long as the wait of that try in _WAITS. The reason: an event may be on the queue in
    several messages. During an outage of the gateway, one of the messages runs the workflow in vain, and the others
    find the lease held. With waits as short as a lease, the messages would use up their tries, and become dead letters,
    before the outage is over.
    """
    telemetry.forget()
    telemetry.correlate({}, message_id=record["messageId"])
    try:
        event = GatewayEvent.from_json(text(record, "body"))
    except PassedOver as why:
        telemetry.logger().info("passed over", extra={"reason": str(why)})
        telemetry.count("GatewayEventsPassedOver")
        return None
    except UnknownType as unknown:
        telemetry.logger().error("not handled", extra={"error": str(unknown)})
        return UNTIL_A_PERSON_ACTS
    except NotTaken as bad:
        telemetry.logger().error("not an event", extra={"error": str(bad)})
        return timedelta()
    telemetry.correlate(event.metadata)
    handled = _handled(event, context)
    told = {"outcome": handled.outcome, "reason": handled.reason, "transaction_id": event.payment_intent}
    telemetry.renewal_event("gateway event", told, event=event.event, type=event.type)
    tries = whole(fields(record, "attributes"), "ApproximateReceiveCount")
    dropped = handled.may_be_dropped and tries >= MOST_TRIES
    if dropped:
        lost = {"error": handled.reason, "event": event.event, "type": event.type, "object": event.object_id}
        telemetry.logger().error("not handled", extra=lost)
    if dropped or handled.outcome is EventOutcome.PASSED_OVER:
        telemetry.count("GatewayEventsPassedOver")
    if dropped or handled.outcome is not EventOutcome.LATER:
        return None
    listed = _WAITS[min(tries, MOST_TRIES) - 1]
    if handled.after is None:
        return listed
    is_for_a_lease = timedelta() < handled.after < UNTIL_A_PERSON_ACTS
    return max(handled.after, listed) if is_for_a_lease and tries > 1 else handled.after


def _handled(event: GatewayEvent, context: Any) -> Handled:
    """Return the answer of the event's handler. An error of the handler fails only this event, not the whole batch."""
    try:
        if not is_of_deployment(event.metadata, setting("DEPLOYMENT")):
            return passed_over("another deployment")
        if not is_of_our_mode(event):
            return passed_over("another mode")
        return HANDLERS[event.type](event, _seams(context))
    except GatewayUnauthorized:
        return later("the gateway rejects our account or key", UNTIL_A_PERSON_ACTS)
    except Exception as error:  # noqa: BLE001  (whatever fails, the event comes back, and the batch goes on)
        # The message of an AWS error is logged whole: the message names a missing permission, and the messages of
        # DynamoDB and Step Functions name no customer.
        told = str(error) if isinstance(error, (BotoCoreError, ClientError)) else telemetry.named(error)
        telemetry.logger().error("not handled", extra={"error": told})
        return later("an error")


def _seams(context: Any) -> Seams:
    return Seams(
        register=_register(),
        deployment=setting("DEPLOYMENT"),
        gateway=gateway_access.gateway,
        run=_succeeds,
        moment_of=_moment_of,
        keeps_disputed=setting("DISPUTED_SUBSCRIPTIONS") == "keep",
        seconds_left=lambda: context.get_remaining_time_in_millis() / 1000,
        today_of=_today_of,
        moment_of_row=_moment_of_row,
        reminder_rules=Rules.of(setting("REMINDER_DAYS"), setting("REMINDED_PERIOD_DAYS")),
    )


def _today_of(subscription: Subscription) -> date:
    """Return the day that counts as today for the subscription; see _moment_of."""
    return _moment_of_row(subscription.row).today


def _moment_of_row(row: Row) -> Moment:
    """Return the moment that counts as now for the row's subscription; see _moment_of. Raises BadRow for a faulty test
    clock."""
    return clock.current(row.get("test_clock") if _heeds_test_clocks() else None)


def _moment_of(period: Renewal) -> Moment:
    """Return the moment that counts as now for the period's subscription. Outside production, the row of the
    subscription may name a test clock. In production the row is not read."""
    row = _register().ledger.row(period) if _heeds_test_clocks() else None
    return clock.current(row.get("test_clock") if row else None)


def _heeds_test_clocks() -> bool:
    return clock.heeds_test_clocks(setting("ENVIRONMENT"))


def _succeeds(request: RenewalRequest) -> bool:
    """Run the workflow to its end, and return whether the execution succeeded. AWS answers with HTTP 200 even if the
    execution fails: only the execution's status shows the failure.

    Raises:
        GatewayUnauthorized: the gateway turned the workflow away. The execution succeeded nevertheless, but has learnt
            nothing about the payment.
    """
    ended = aws.synchronous_workflows().start_sync_execution(
        stateMachineArn=setting("STATE_MACHINE_ARN"), input=request.to_json()
    )
    telemetry.correlate({}, execution=ended["executionArn"])
    if ended["status"] != "SUCCEEDED":
        return False
    if json.loads(ended["output"]).get("reason") == Reason.GATEWAY_ACCOUNT:
        raise GatewayUnauthorized(Reason.GATEWAY_ACCOUNT)
    return True


def _come_back(record: Event, *, after: timedelta) -> None:
    """Have SQS deliver the message again after a time. If the call fails, the queue's own visibility timeout
    applies."""
    try:
        aws.sqs().change_message_visibility(
            QueueUrl=setting("GATEWAY_EVENTS_QUEUE_URL"),
            ReceiptHandle=text(record, "receiptHandle"),
            VisibilityTimeout=int(after.total_seconds()),
        )
    except (BotoCoreError, ClientError) as error:
        telemetry.logger().warning("retry time not set", extra={"message_id": record["messageId"], "error": str(error)})


@cache
def _register() -> Register:
    return Register(
        aws.dynamodb(),
        subscriptions=setting("DYNAMODB_TABLE"),
        renewals=setting("RENEWALS_TABLE"),
        changes=setting("CHANGES_TABLE"),
    )
