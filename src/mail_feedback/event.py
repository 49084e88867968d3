"""Read the events by which SES reports what became of a mail after SES had accepted the mail. Pure.

https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html

Decisions: D109, D112 (DECISIONS.md).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from renewals.domain import mail_tags
from renewals.domain.errors import BadEvent
from renewals.domain.item_values import fields, moment
from renewals.domain.mail_faults import FaultKind
from renewals.domain.mail_tags import Tagged

_NAME = re.compile(r"[A-Za-z-]{1,50}", re.ASCII)
_ON_SUPPRESSION_LIST = "OnAccountSuppressionList"


@dataclass(frozen=True, slots=True, repr=False)  # as for Feedback
class Word:
    """A report about a mail.

    kind: bounced (the address will never take mail), undelivered (the mail did not arrive, and a later mail may arrive)
    or complained (the mail arrived, and was reported as spam). at: the time of the report, with an offset. reason: the
    names that SES gives. The text of a mail server is left out, because such a text holds addresses. tagged: identifies
    the mail; None for a mail without our tags.
    """

    kind: FaultKind
    at: datetime
    reason: str
    tagged: Tagged | None


def parse(event: object) -> Word | None:
    """Read the report in an event.

    Returns:
        None for an event that needs no action.

    Raises:
        BadEvent: SES does not send such an event.
    """
    try:
        if not isinstance(event, dict):
            raise TypeError("no object")
        found = _kind(event)
        if found is None:
            return None
        kind, names, at = found
        reason = ", ".join(name for name in names if isinstance(name, str) and _NAME.fullmatch(name))
        return Word(kind, at, reason, mail_tags.read(fields(event, "mail").get("tags")))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadEvent(f"MailFeedback: {type(error).__name__}") from None


def _kind(event: Mapping[str, object]) -> tuple[FaultKind, tuple[object, ...], datetime] | None:
    match event["eventType"]:
        case "Bounce":
            told = fields(event, "bounce")
            # Transient: SES tried for hours and gave up, or a person is out of office. Undetermined: SES does not know.
            kind = FaultKind.BOUNCED if told["bounceType"] == "Permanent" else FaultKind.UNDELIVERED
            return kind, (told["bounceType"], told.get("bounceSubType")), moment(told, "timestamp")
        case "Complaint":
            told = fields(event, "complaint")
            if told.get("complaintFeedbackType") == "not-spam":
                return None
            # An earlier mail to the address was reported as spam: SES accepted this mail without sending the mail.
            unsent = told.get("complaintSubType") == _ON_SUPPRESSION_LIST
            names = (told.get("complaintSubType"), told.get("complaintFeedbackType"))
            return FaultKind.BOUNCED if unsent else FaultKind.COMPLAINED, names, moment(told, "timestamp")
        case "Reject":
            return FaultKind.UNDELIVERED, ("Rejected",), moment(fields(event, "mail"), "timestamp")
    return None
