"""Decide whether a customer may be mailed. Every function that mails asks this module. Pure.

Two facts can speak against an address. The mark `mail_fault` on the subscription's row says that mail to the address
bounced or was reported as spam. After a bounce no further mail goes to the address, and after a complaint only required
mails do (see `refuse`). The record of a single mail, with the state `failed`, says that the mail could not be sent to
the address: only the failed mail is not tried again at the address. Both facts name the address that they speak
against. As soon as customer_email is changed, neither fact counts any more, and late news from SES about an old address
marks nothing.

A person may clear the faults of an address that is in order again (renewals.ledger.register). Clearing removes the mark
and adds one to the row's `mail_faults_cleared`: a mail that failed before the clearing may be tried again at the same
address.

Attributes of the mark: address; kind, bounced or complained; at; reason, in SES's own names. `mail_complaint` holds the
mark of the latest complaint, and a bounce never overwrites `mail_complaint`: a customer who complained is mailed again
only with the customer's consent.

Decisions: D106, D108, D321 (DECISIONS.md).
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
    """The kind of a fault that an address has or had, or that SES reported about a mail after accepting the mail. The
    words complete "The mail ..."."""

    BOUNCED = "bounced", "came back"
    COMPLAINED = "complained", "was reported as spam"
    UNDELIVERED = "undelivered", "may not have arrived"
    """An undelivered mail marks no address: nobody knows whether the next mail will arrive."""
    FAILED = "failed", "could not be sent"
    """A single mail could not be sent to the address; the address gets no mark."""


class Address(NamedTuple):
    """The address at which the customer is mailed.

    Attributes:
        to: the address.
        cleared: how often the faults of the customer's addresses have been cleared; None if never.
    """

    to: str
    cleared: int | None = None


def address_of(row: Item) -> Address:
    """Return the customer's current address from the row, whatever else is wrong with the row."""
    cleared = row.get(CLEARED)
    known = int(cleared) if isinstance(cleared, Decimal) and cleared.is_finite() else None
    return Address(str(row.get("customer_email", "")), known)


def is_in_vain(mail: Mail | None, address: Address) -> bool:
    """Whether the mail failed at this very address, and the faults were not cleared since. mail: the record of the
    mail."""
    return mail is not None and mail.state is MailState.FAILED and (mail.to, mail.cleared) == address


def kind(row: Item) -> FaultKind | Unknown | None:
    """Return the fault of the row's current address, bounced or complained; an Unknown for a kind unknown to this
    version; None if the address has no fault."""
    mark = row.get(FIELD)
    if not isinstance(mark, Mapping) or mark.get("address") != row.get("customer_email"):
        return None
    return member(FaultKind, str(mark.get("kind")))


def was_corrected(row: Item, since: date) -> bool:
    """Whether mail to an earlier address of the row bounced on the day `since` or later, and the row has a new
    address."""
    mark = row.get(FIELD)
    if not isinstance(mark, Mapping) or mark.get("kind") != FaultKind.BOUNCED:
        return False
    return mark.get("address") != row.get("customer_email") and str(mark.get("at")) >= since.isoformat()


def has_complained(row: Item) -> bool:
    """Whether a mail to the row's current address was reported as spam, whatever happened afterwards."""
    complaint = row.get(COMPLAINT)
    before = isinstance(complaint, Mapping) and complaint.get("address") == row.get("customer_email")
    return before or kind(row) is FaultKind.COMPLAINED


def refuse(row: Item | None, *, required: bool) -> None:
    """Refuse a mail to an address if mail to the address bounced or is unwanted.

    Args:
        row: the subscription's row, with the address; None if the row is gone.
        required: whether the mail tells of money or of the subscription's end, or is a reminder of a charge to come. A
            required mail goes to a customer who complained, too; a reminder about a card does not.

    Raises:
        BadAddress: the mail must not be sent.
    """
    stands = kind(row) if row else None
    if stands is FaultKind.BOUNCED:
        raise BadAddress("mail to customer_email came back")
    if stands is FaultKind.COMPLAINED and not required:
        raise BadAddress("mail to customer_email was reported as spam")
