"""Decide which mail about a renewal the customer is owed. Every caller takes the decision from here. Pure.

A single mail is owed at a time. The receipt of a period goes first. Any other owed mail is named by the `notice` of the
renewal: a mail about a refusal, about the end of dunning or about a refund. A mail is parked if mail cannot go to the
customer's address: the mail stays owed, but nobody works on a parked mail until the address changes or its faults are
cleared. renewals.domain.mail_faults decides whether the customer may be mailed.

Decisions: D34, D107 (DECISIONS.md).
"""

from renewals.domain import refund_notices
from renewals.domain.item_values import Item
from renewals.domain.mail_faults import Address, is_in_vain
from renewals.domain.renewal import CUT_OFF, UNFINISHED, Mail, MailKind, Renewal, Status, mail_name
from renewals.domain.subscription import SubscriptionStatus, ends_by, is_live, status_of

_RECEIPT_LACKS = frozenset({Status.PAID, Status.RECEIPTED, Status.FAILED, Status.MAIL_FAILED})
_REFUSED = frozenset({Status.DECLINED, Status.ACTION_REQUIRED})
_ENDS: dict[str, SubscriptionStatus] = {
    MailKind.CANCELED: SubscriptionStatus.CANCELED,
    MailKind.UNPAID: SubscriptionStatus.UNPAID,
}


def owed_mail(renewal: Renewal) -> str | None:
    """Return the name of the next mail owed to the customer; None if the customer has been told everything."""
    paid = renewal.paid_at is not None
    if renewal.notice is not None and not (paid and renewal.status in CUT_OFF):
        return renewal.notice
    return receipt_mail(renewal) if paid and renewal.status in _RECEIPT_LACKS else None


def receipt_mail(renewal: Renewal) -> str:
    """Return the name of the mail with the period's receipt."""
    return mail_name(MailKind.RECEIPT, renewal.attempt)


def is_of_refund(renewal: Renewal) -> bool:
    """Whether the next owed mail is about a refund. The kind of the mail decides."""
    name = owed_mail(renewal)
    return name is not None and name == renewal.notice and MailKind.of(name) in refund_notices.NOTICES


def is_parked(renewal: Renewal) -> bool:
    """Whether the next owed mail waits until the customer can be mailed."""
    if owed_mail(renewal) == renewal.notice:
        return renewal.notice_is_parked
    return renewal.status is Status.MAIL_FAILED


def has_parked(renewal: Renewal) -> bool:
    """Whether a mail of the period, the next owed mail or a later mail, waits until the customer can be mailed."""
    return renewal.status is Status.MAIL_FAILED or renewal.notice_is_parked


def is_receipt_next(renewal: Renewal, sent: Mail) -> bool:
    """Whether a parked receipt can be mailed now, because a different mail of the renewal went out.

    The address of `sent` counts as reachable if `sent` went out or may have gone out. The receipt is mailed next,
    unless the receipt has already failed at the address of `sent`.
    """
    if renewal.status is not Status.MAIL_FAILED or not sent.state.is_out:
        return False
    return not is_in_vain(renewal.mails.get(receipt_mail(renewal)), Address(sent.to, sent.cleared))


def is_open(renewal: Renewal) -> bool:
    """Whether the period needs work, now or on a later day. The sweep must find every open period."""
    told = renewal.notice is None or renewal.notice_is_parked
    return not told or renewal.refunds_due is not None or renewal.status in UNFINISHED


def is_news(renewal: Renewal, notice: str) -> bool:
    """Whether the notice still says how the renewal stands. The subscription's row, not read here, may contradict the
    notice."""
    kind = MailKind.of(notice)
    if kind in refund_notices.NOTICES:
        return refund_notices.is_news(renewal, notice)
    stands = {Status.GIVEN_UP} if kind in _ENDS else _REFUSED
    return renewal.status in stands and notice.rpartition("_")[2] == str(renewal.attempt)


def is_true(renewal: Renewal, row: Item | None) -> bool:
    """Whether the owed notice still says how the renewal and the subscription stand. row: None if the subscription is
    gone."""
    kind = MailKind.of(str(renewal.notice))
    news = is_news(renewal, str(renewal.notice))
    if not news or kind in refund_notices.NOTICES:
        return news
    if renewal.status is Status.GIVEN_UP:
        return row is not None and status_of(row) is _ENDS[kind]
    if row is None or not is_live(row):
        return False
    return (
        row.get("renewal_date") == renewal.row_date.isoformat()
        and row.get("payment_method") == renewal.payment_method
        and not ends_by(row, renewal.renewal_date)
    )
