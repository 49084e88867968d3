"""The mails about refunds: which refund the customer must be told of next, and by which mail.

Each state of a refund that the gateway reports is mailed to the customer once; a failure is mailed only if an earlier
mail told the customer of the refund. The item's `notice` names the mail that is owed next, by the mail's kind and the
refund's number, such as refund_pending_1. A notice is parked while the mail waits for a new address of the customer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from renewals.domain.refunds import in_order
from renewals.domain.renewal import MailKind, MailState, RefundState, Renewal, mail_name

if TYPE_CHECKING:
    from renewals.domain.stored import RefundRecord

NOTICES = (MailKind.REFUND_PENDING, MailKind.REFUNDED, MailKind.REFUND_FAILED)


class Owed(NamedTuple):
    """The refund that the customer is owed a mail about.

    Attributes:
        kind: the kind of the mail, a member of NOTICES.
        name: the name of the refund in the ledger, such as refund_1.
    """

    kind: MailKind
    name: str
    refund: RefundRecord


def owed(renewal: Renewal) -> Owed | None:
    """Return the refund that the period's notice is about; None for a notice about anything else."""
    notice = renewal.notice or ""
    kind, name = MailKind.of(notice), f"refund_{notice.rpartition('_')[2]}"
    if kind not in NOTICES or name not in renewal.refunds:
        return None
    return Owed(MailKind(kind), name, renewal.refunds[name])


def is_news(renewal: Renewal, notice: str) -> bool:
    """Whether a mail about a refund still says how the refund stands."""
    return notice == _notice(renewal, f"refund_{notice.rpartition('_')[2]}")


def untold(renewal: Renewal) -> list[str]:
    """Return the notices about refunds whose present state the customer has not been told, the latest refund first."""
    notices = [_notice(renewal, name) for name, _ in reversed(in_order(renewal.refunds))]
    return [notice for notice in notices if notice is not None and notice not in renewal.mails]


def next_notice(renewal: Renewal, *, tells: bool) -> str | None:
    """Return the notice that the period must have after its refunds were compared with the gateway; None for no notice.

    A notice about a refund is dropped if the notice no longer says how the refund stands. Every other notice stays.

    With `tells`, if the customer has not been told of a refund's present state, the latest such refund may get the
    notice. The refund gets the notice if the period has no notice, or if the notice was dropped, or if the notice is
    parked: a parked notice gives way.

    Args:
        renewal: the period, with its refunds as compared.
        tells: whether the customer may be told of a further refund now. Just before a new refund is requested, the
            caller passes false: with a new notice a mail would be on its way, and renewals.domain.refunds.check refuses
            a refund while a mail is on its way.
    """
    about = owed(renewal)
    if renewal.notice is not None and (about is None or is_news(renewal, renewal.notice)):
        waits = [renewal.notice] if not (tells and renewal.notice_is_parked) else [*untold(renewal), renewal.notice]
        return waits[0]
    return next(iter(untold(renewal)), None) if tells else None


def _notice(renewal: Renewal, name: str) -> str | None:
    """Return the mail that says how the refund stands. A failure is only mailed to a customer who has heard of the
    refund."""
    if name not in renewal.refunds:
        return None
    refund, count = renewal.refunds[name], name.rpartition("_")[2]
    match refund["state"]:
        case RefundState.CLAIMED if "refund_id" in refund:
            return mail_name(MailKind.REFUND_PENDING, count)
        case RefundState.REFUNDED:
            return mail_name(MailKind.REFUNDED, count)
        case RefundState.FAILED if _was_announced(renewal, count):
            return mail_name(MailKind.REFUND_FAILED, count)
    return None


def _was_announced(renewal: Renewal, count: str) -> bool:
    told = (renewal.mails.get(mail_name(kind, count)) for kind in (MailKind.REFUND_PENDING, MailKind.REFUNDED))
    return any(mail is not None and mail.state is not MailState.FAILED for mail in told)
