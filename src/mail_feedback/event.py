"""What SES says of a mail after it took it, as event publishing words it. Pure.

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


@dataclass(frozen=True, slots=True)
class Word:
    """What is said of one mail.

    kind: bounced (the address takes no mail, for good), undelivered (it did not arrive, and nobody knows whether the
    next will) or complained (it arrived, and was reported as spam). at: when, aware. reason: SES's own names for it,
    never what a mail server wrote, which holds addresses. tagged: whose mail it is; None: it went out without our tags.
    """

    kind: FaultKind
    at: datetime
    reason: str
    tagged: Tagged | None


def parse(event: object) -> Word | None:
    """None for an event that asks nothing of us. Raises BadEvent for what SES does not send."""
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
            # Transient: SES has tried for hours and gives up, or somebody is out of office. Undetermined: who knows.
            kind = FaultKind.BOUNCED if told["bounceType"] == "Permanent" else FaultKind.UNDELIVERED
            return kind, (told["bounceType"], told.get("bounceSubType")), moment(told, "timestamp")
        case "Complaint":
            told = fields(event, "complaint")
            if told.get("complaintFeedbackType") == "not-spam":
                return None
            # Complained of once before: SES took the mail, and did not send it.
            unsent = told.get("complaintSubType") == _ON_SUPPRESSION_LIST
            names = (told.get("complaintSubType"), told.get("complaintFeedbackType"))
            return FaultKind.BOUNCED if unsent else FaultKind.COMPLAINED, names, moment(told, "timestamp")
        case "Reject":
            return FaultKind.UNDELIVERED, ("Rejected",), moment(fields(event, "mail"), "timestamp")
    return None
