"""MailFeedback: record a mail that came back or was reported as spam, and mark its address.

Event: a notification of SNS, with an event of SES as message. Reply: {"outcomes": [...]}, the results of Feedback.take,
or "ignored". Lambda tries a failed run twice more, and then puts the event into the function's dead-letter queue.
"""

from __future__ import annotations

import json
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING

from mail_feedback.event import parse
from mail_feedback.feedback import Feedback, FeedbackOutcome
from renewals.domain.errors import BadEvent
from renewals.domain.item_values import fields, text
from renewals.domain.mail_faults import FaultKind
from renewals.ledger.reminder_records import Records
from renewals.ledger.table import Ledger
from renewals.runtime import aws, clock, telemetry
from renewals.runtime.settings import setting
from renewals.runtime.telemetry import Event, Reply, records

if TYPE_CHECKING:
    from renewals.ledger.confirmation_records import ConfirmationRecords

_IDS = ("subscription_id", "customer_id", "renewal_date")


@telemetry.observed
def handler(event: Event, _context: object) -> Reply:
    """Take every report of SES; see the module."""
    return {"outcomes": [_take(text(fields(record, "Sns"), "Message")) for record in records(event)]}


def _take(message: str) -> FeedbackOutcome:
    try:
        said: object = json.loads(message)
    except ValueError:
        raise BadEvent("MailFeedback: the message is not JSON") from None
    word = parse(said)
    if word is None:
        return FeedbackOutcome.IGNORED
    ids = {name: telemetry.shown_id(getattr(word.tagged, name)) for name in _IDS} if word.tagged else {}
    telemetry.correlate(ids)
    reminded = Records(aws.dynamodb(), setting("DYNAMODB_TABLE"))
    outcome = Feedback(_ledger(), reminded, _confirmations, _now()).take(word)
    told = {"outcome": outcome, "reason": word.reason} | ids
    telemetry.renewal_event("mail came back", told, kind=word.kind, mail=word.tagged.mail if word.tagged else None)
    if outcome is not FeedbackOutcome.KNOWN:
        telemetry.count("MailsUndelivered" if word.kind is FaultKind.UNDELIVERED else "MailBounces")
    return outcome


def _confirmations() -> ConfirmationRecords:
    from renewals.ledger.confirmation_records import ConfirmationRecords  # few mails are confirmations

    tables = {"subscriptions": setting("DYNAMODB_TABLE"), "changes": setting("CHANGES_TABLE")}
    return ConfirmationRecords(aws.dynamodb(), **tables)


def _now() -> datetime:
    return clock.current().now


@cache
def _ledger() -> Ledger:
    return Ledger(aws.dynamodb(), renewals=setting("RENEWALS_TABLE"))
