"""EventPublisher: makes events of the records in the tables, and publishes the events for the team's own application.

Event: a batch of records of a table's stream. Reply: {"batchItemFailures": [...]}, the first record whose events could
not be published. Lambda delivers that record and all later records again and again, until the events are published or
the stream forgets the records after a day. An unreadable record goes to the queue of unreadable records, and does not
hold up later records.

Event of `scripts.oncall publish`: {"from", "until", "images"}. The images are items of the tables. The facts in these
items that occurred from `from` to `until` are published again, and each event has the id of the first time. Reply:
{"told": n}, the number of events.

A change that is to be confirmed by mail also puts a request into the queue of renewals, which the workflow answers: the
workflow alone mails. A request that could not be handed over is delivered again like an event.

The streams are the outbox: a renewal makes no call for its events, and succeeds even while no event can be published.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import batched
from typing import NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from event_publisher.confirmations import asked_by
from event_publisher.envelopes import Envelopes
from event_publisher.outlets import Bus, Deliveries, Envelope
from event_publisher.stream import Reader, Unreadable, position_of, read
from renewals.domain.confirmations import wanted
from renewals.domain.errors import BadRow, NotHandedOver
from renewals.domain.item_values import fields, moment, several, text
from renewals.domain.news import News
from renewals.domain.request import RenewalRequest
from renewals.ledger.table import Ledger
from renewals.runtime import aws, clock, telemetry
from renewals.runtime.renewal_queue import RenewalQueue
from renewals.runtime.settings import setting
from renewals.runtime.telemetry import Event, Reply, records

_LARGEST_EVENTS = 20_000
"""The most characters that the events of one record may have. The events of an ordinary record have less than a tenth.
A call of EventBridge or SQS takes ten events, and may have 1 MB: ten of the largest events fit into a call."""

_TOLD_TOGETHER = 10
"""Of an item that is told again, this many facts are made into events at once."""

_LARGEST_MESSAGE = 1_000_000
"""https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html names 1 MiB."""


class _Found(NamedTuple):
    """The events of a record, with the record's position in the stream. request: to confirm the change by mail."""

    position: str
    events: list[Envelope]
    request: RenewalRequest | None = None


@telemetry.observed
def handler(event: Event, _context: object) -> Reply:
    """Publish the facts of the batch; see the module."""
    if "Records" not in event:
        return {"told": _tell_again(event)}
    found, failed = list[_Found](), None
    for record in records(event):
        try:
            found.append(_read(record))
        except (BotoCoreError, ClientError, NotHandedOver) as error:
            telemetry.logger().error("not read", extra={"error": str(error)})
            failed = position_of(record)
            break
    missing = (_not_told(found), _not_asked(found))
    failed = next((each.position for each in found if each.position in missing), failed)
    return {"batchItemFailures": [{"itemIdentifier": failed}] if failed else []}


def _tell_again(event: Event) -> int:
    """Publish again the facts in the given items that occurred in the given span, and return the number of events.
    Raises NotHandedOver if an event was not taken."""
    span = moment(event, "from"), moment(event, "until")
    events = list[Envelope]()
    for number, each in enumerate(several(event, "images")):
        image = fields({"an image": each}, "an image")
        try:
            news = _reader().news_again(text(image, "table"), fields(image, "item"), span, datetime.now(UTC))
            # An item may hold very many facts, more than one write ever tells.
            for some in batched(news, _TOLD_TOGETHER, strict=False):
                events += _made([*some])
        except Unreadable as error:
            telemetry.logger().error("unreadable", extra={"error": str(error), "number": number})
    if _not_told([_Found("any", events)]):
        raise NotHandedOver("some events were not taken: run the command again, since each event keeps its id")
    return len(events)


def _read(record: Event) -> _Found:
    """Return the events and the request of a record. An unreadable record goes to the queue of such records, and has no
    events. If only its events cannot be made, because of values that somebody wrote by hand, its request stays: the
    customer is mailed."""
    request = None
    try:
        written = read(record)
        request = asked_by(written, _reader(), wanted(setting("CONFIRMATIONS")), _ledger())
        return _Found(position_of(record), _made(_reader().news(written)), request)
    except Unreadable as error:
        telemetry.logger().error("unreadable", extra={"error": str(error)})
        telemetry.count("EventsUnreadable")
        _set_aside(record)
        return _Found(position_of(record), [], request)


def _made(news: list[News]) -> list[Envelope]:
    """Return the envelopes of facts about one subscription.

    Raises:
        Unreadable: somebody wrote values into the row or the period that no event can hold. The caller goes on with
            the later records.
    """
    try:
        made = _envelopes().of(news)
        size = len(json.dumps(made))
    except (ArithmeticError, AttributeError, BadRow, KeyError, TypeError, ValueError) as error:
        raise Unreadable(f"the events of a record: {type(error).__name__}") from None
    if size > _LARGEST_EVENTS:
        raise Unreadable("the events of a record are too large")
    return made


def _set_aside(record: Event) -> None:
    """Put an unreadable record into the queue of unreadable records, as delivered by Lambda.

    If the record is larger than a message may be, the images of the item are left out: the keys in the record still
    name the item. Raises NotHandedOver if the queue refuses the record.
    """
    body = json.dumps(record)
    if len(body) > _LARGEST_MESSAGE:
        images = ("OldImage", "NewImage")
        told = {name: each for name, each in fields(record, "dynamodb").items() if name not in images}
        body = json.dumps({**record, "dynamodb": told})
    entries = [{"Id": "0", "MessageBody": body}]
    answer = aws.sqs().send_message_batch(QueueUrl=setting("UNREADABLE_QUEUE_URL"), Entries=entries)
    if answer.get("Failed"):
        raise NotHandedOver("the queue refused an unreadable record")


def _not_told(found: list[_Found]) -> str | None:
    """Put the events into the outlets. Return the position of the first record with an event that was not taken."""
    events = [event for each in found for event in each.events]
    if not events:
        return None
    try:
        refused = set[str]().union(*(outlet.put(events) for outlet in _outlets()))
    except (BotoCoreError, ClientError) as error:
        telemetry.logger().error("not told", extra={"error": str(error)})
        refused = {str(event["id"]) for event in events}
    telemetry.count("EventsTold", len(events) - len(refused))
    with_refused = (each.position for each in found if any(event["id"] in refused for event in each.events))
    return next(with_refused, None)


def _not_asked(found: list[_Found]) -> str | None:
    """Put the requests to confirm changes into the queue of renewals. Return the position of the first record with a
    request if the queue did not take all."""
    asking = [(each.request, each.position) for each in found if each.request is not None]
    if not asking:
        return None
    try:
        RenewalQueue(aws.sqs(), setting("RENEWAL_QUEUE_URL")).send(dict(asking))
    except (BotoCoreError, ClientError, NotHandedOver) as error:
        telemetry.logger().error("not asked to confirm", extra={"error": str(error)})
        return asking[0][1]
    return None


@cache
def _reader() -> Reader:
    return Reader(
        renewals=setting("RENEWALS_TABLE"),
        subscriptions=setting("DYNAMODB_TABLE"),
        changes=setting("CHANGES_TABLE"),
        zone=clock.zone_named(setting("TIME_ZONE")),
        heeds_test_clocks=clock.heeds_test_clocks(setting("ENVIRONMENT")),
    )


@cache
def _envelopes() -> Envelopes:
    return Envelopes(_ledger(), setting("DEPLOYMENT"), timedelta(days=int(setting("GRACE_DAYS"))))


@cache
def _ledger() -> Ledger:
    return Ledger(aws.dynamodb(), renewals=setting("RENEWALS_TABLE"), subscriptions=setting("DYNAMODB_TABLE"))


@cache
def _outlets() -> tuple[Bus | Deliveries, ...]:
    """Return the bus, and the queue of EventDeliverer if the deployment has an `EventsUrl`."""
    bus, url = Bus(aws.events(), setting("EVENT_BUS_NAME")), setting("DELIVERIES_QUEUE_URL")
    return (bus, Deliveries(aws.sqs(), url)) if url else (bus,)
