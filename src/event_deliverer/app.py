"""EventDeliverer: posts events to the team's own address (`EventsUrl`). A post is signed as the specification Standard
Webhooks says (https://www.standardwebhooks.com).

Event: a batch of SQS with events to deliver, or {"deliveries": "due"} from the schedule. Reply to a batch:
{"batchItemFailures": [...]}, the messages that SQS delivers again, because AWS failed, the signing secret is not usable
or the message cannot be read. Reply to the schedule: {"moved": n}, the number of waiting tries that were moved into the
queue.

If the receiver does not take an event, the message of the event is settled all the same: a new message or an item of
the table holds the next try. After the last try the event lies in the dead-letter queue. If an item of the table holds
no readable try, the item goes to the dead-letter queue as well. The next try is stored before the previous message or
item is deleted. A crash may therefore cause a try to happen twice, and loses no event.
"""

import json
import os
import time
from datetime import UTC, datetime
from functools import cache

from botocore.exceptions import BotoCoreError, ClientError

from event_deliverer.posting import NotDelivered, post
from event_deliverer.signing import Signer
from event_deliverer.tries import LONGEST_DELAY, Try, Waiting
from renewals.domain.errors import BadSecret
from renewals.domain.item_values import Item, text
from renewals.runtime import aws, telemetry
from renewals.runtime.settings import setting
from renewals.runtime.telemetry import Event, Reply, records

_MOVING_SECONDS = 40
"""How long a scheduled run moves tries into the queue. The next run moves the remaining tries."""

_NO_TRY = (AttributeError, KeyError, RecursionError, TypeError, ValueError)
"""The errors of reading a try from a message or an item that holds no try."""


@telemetry.observed
def handler(event: Event, _context: object) -> Reply:
    """Deliver the events of the batch, or move the waiting tries; see the module."""
    if "Records" not in event:
        return {"moved": _move_due()}
    failed = []
    for record in records(event):
        telemetry.forget()
        telemetry.correlate({}, message_id=record["messageId"])
        try:
            _take(Try.of(text(record, "body")))
        except (BotoCoreError, ClientError, BadSecret, *_NO_TRY) as error:
            telemetry.logger().error("not tried", extra={"error": str(error)})
            failed.append(text(record, "messageId"))
    return {"batchItemFailures": [{"itemIdentifier": each} for each in failed]}


def _take(each: Try) -> None:
    """Deliver an event, or keep the next try."""
    headers = _signer().headers(each.id, each.body, datetime.now(UTC))
    try:
        post(setting("EVENTS_URL"), each.body.encode(), headers, may_be_local=_is_local())
    except NotDelivered as why:
        told = {"event": each.id, "reason": str(why), "tries": each.failed + 1}
        telemetry.logger().warning("not delivered", extra=told)
        telemetry.count("EventsNotDelivered")
        _try_later(each)
    else:
        telemetry.logger().info("delivered", extra={"event": each.id, "tries": each.failed + 1})
        telemetry.count("EventsDelivered")


def _try_later(each: Try) -> None:
    following = each.next()
    if following is None:
        _send(setting("EVENTS_DEAD_LETTERS_URL"), each)
        return
    again, wait = following
    if wait <= LONGEST_DELAY:
        _send(setting("DELIVERIES_QUEUE_URL"), again, int(wait.total_seconds()))
    else:
        _waiting().keep(again, datetime.now(UTC) + wait)


def _send(url: str, each: Try, delay: int = 0) -> None:
    aws.sqs().send_message(QueueUrl=url, MessageBody=each.message(), DelaySeconds=delay)


def _move_due() -> int:
    """Move all waiting tries that are due into the queue, and return the number of moved tries."""
    moved, end = 0, time.monotonic() + _MOVING_SECONDS
    for page in _waiting().due(datetime.now(UTC)):
        for item in page:
            moved += _move(item)
            _waiting().forget(item)
        if time.monotonic() > end:
            break
    telemetry.logger().info("moved", extra={"moved": moved})
    return moved


def _move(item: Item) -> bool:
    """Move a waiting try into the queue, and return whether the item is a try.

    An item that is no try was written by hand. The whole item goes into the dead-letter queue, which turns on the alarm
    events-undelivered, and does not hold up later tries.
    """
    try:
        waiting = Try.of(text(item, "message"))
    except _NO_TRY as error:
        telemetry.logger().error("no try", extra={"error": str(error), "due": str(item.get("due"))})
        aws.sqs().send_message(
            QueueUrl=setting("EVENTS_DEAD_LETTERS_URL"), MessageBody=json.dumps(item, default=str), DelaySeconds=0
        )
        return False
    _send(setting("DELIVERIES_QUEUE_URL"), waiting)
    return True


def _is_local() -> bool:
    """Whether the function runs on the local stack, whose receiver is on the same machine. On AWS, the variable
    AWS_ENDPOINT_URL is not set."""
    return os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://127.0.0.1:")


@cache
def _signer() -> Signer:
    return Signer(aws.secrets_manager(), setting("EVENTS_SECRET_ARN"))


@cache
def _waiting() -> Waiting:
    return Waiting(aws.dynamodb(), setting("DELIVERIES_TABLE"))
