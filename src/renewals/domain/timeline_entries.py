"""An entry of the timeline: one event in the life of a subscription, told in plain words. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

from renewals.domain.changes import ChangeKind
from renewals.domain.mail_faults import FaultKind
from renewals.domain.worded import Unknown


class EntryKind(StrEnum):
    """The short name of an event, for programs."""

    DUE = "due"
    CLAIMED = "claimed"
    DECLINED = "declined"
    CHALLENGED = "challenged"
    NEXT_ATTEMPT = "next_attempt"
    CHARGED = "charged"
    FAILED = "failed"
    GIVEN_UP = "given_up"
    SKIPPED = "skipped"
    ENDED = "ended"
    FLAG = "flag"
    REFUND = "refund"
    REFUND_FAILED = "refund_failed"
    DISPUTE = "dispute"
    MAILING = "mailing"
    MAILED = "mailed"
    MAIL_FAILED = "mail_failed"
    MAIL_UNKNOWN = "mail_unknown"
    ADDRESS_MARKED = "address_marked"
    HELD = "held"


@dataclass(frozen=True, slots=True)
class Entry:
    """One event.

    Attributes:
        at: The moment of the event, with its time zone.
        kind: The short name of the event: a ChangeKind if somebody asked for a change, a FaultKind if SES reported a
            fault of a mail, otherwise an EntryKind. A stored kind that this version does not know is an Unknown.
        text: The event in words, for people.
        renewal_date: The first day of the billing period to which the event belongs.
        by: The person or the program that asked for the event.
    """

    at: datetime
    kind: EntryKind | ChangeKind | FaultKind | Unknown
    text: str
    renewal_date: date | None = None
    by: str | None = None


type Told = tuple[datetime, EntryKind | FaultKind | Unknown, str]
"""The moment, the kind and the words of an entry that still lacks its billing period."""
