"""Whether a customer may be mailed: the one answer, for every mail. Pure.

Two things stand against an address. The mark on the subscription's row, `mail_fault`, says that mail to the address
came back or was reported as spam: no further mail is tried there. The record of one mail, `failed`, says that this mail
could not go there: this mail is not tried there again. Each names its address. So another customer_email is free of
both at once, and what SES says late of an old address marks nothing.

Somebody may clear the faults of an address that is in order again (renewals.ledger.register). Then the mark is gone,
and `mail_faults_cleared` on the row is one more: a mail that failed before it may be tried again, at the same address.

Attributes of the mark: address; kind, bounced or complained; at; reason, in SES's own names. `mail_complaint` is the
mark of the latest complaint, which a bounce leaves alone: a customer who complained is mailed again with their consent
only.
"""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import NamedTuple

from renewals.domain.addresses import BadAddress
from renewals.domain.item_values import Item
from renewals.domain.renewal import Mail, MailState
from renewals.domain.worded import Unknown, Worded, member

FIELD = "mail_fault"
CLEARED = "mail_faults_cleared"
COMPLAINT = "mail_complaint"


class FaultKind(Worded):
    """What stands, or stood, against an address; and what SES said of a mail that it had taken. The words complete
    "The mail ...".
    """

    BOUNCED = "bounced", "came back"
    COMPLAINED = "complained", "was reported as spam"
    UNDELIVERED = "undelivered", "may not have arrived"
    """This marks no address: nobody knows whether the next mail will arrive."""
    FAILED = "failed", "could not be sent"
    """No mark: one mail could not go to the address."""


class Address(NamedTuple):
    """Where the customer is mailed. to: the address. cleared: how often faults of the customer's addresses have been
    cleared; None: never."""

    to: str
    cleared: int | None = None


def address_of(row: Item) -> Address:
    """The customer's address as the row has it now, whatever else is wrong with the row."""
    cleared = row.get(CLEARED)
    known = int(cleared) if isinstance(cleared, Decimal) and cleared.is_finite() else None
    return Address(str(row.get("customer_email", "")), known)


def is_in_vain(mail: Mail | None, address: Address) -> bool:
    """Whether this very mail failed with this address, and nobody has cleared the address since. mail: its record."""
    return mail is not None and mail.state is MailState.FAILED and (mail.to, mail.cleared) == address


def kind(row: Item) -> FaultKind | Unknown | None:
    """What stands against the address that the row has now, bounced or complained; None: nothing."""
    mark = row.get(FIELD)
    if not isinstance(mark, Mapping) or mark.get("address") != row.get("customer_email"):
        return None
    return member(FaultKind, str(mark.get("kind")))


def was_corrected(row: Item, since: date) -> bool:
    """Whether mail to an earlier address of the row came back on this day or later, and the row has another by now."""
    mark = row.get(FIELD)
    if not isinstance(mark, Mapping) or mark.get("kind") != FaultKind.BOUNCED:
        return False
    return mark.get("address") != row.get("customer_email") and str(mark.get("at")) >= since.isoformat()


def has_complained(row: Item) -> bool:
    """Whether a mail to the address that the row has now was reported as spam, whatever came after."""
    complaint = row.get(COMPLAINT)
    before = isinstance(complaint, Mapping) and complaint.get("address") == row.get("customer_email")
    return before or kind(row) is FaultKind.COMPLAINED


def refuse(row: Item | None, *, required: bool) -> None:
    """Raises BadAddress where a mail to the row's address would be in vain, or is not wanted.

    required: the mail tells of money or of the subscription's end, and goes to a customer who complained, too; a
    reminder does not.
    """
    stands = kind(row) if row else None
    if stands is FaultKind.BOUNCED:
        raise BadAddress("mail to customer_email came back")
    if stands is FaultKind.COMPLAINED and not required:
        raise BadAddress("mail to customer_email was reported as spam")
