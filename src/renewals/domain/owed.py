"""What a customer is owed to be told of a renewal: the one answer, for everybody who asks. Pure.

One mail is owed at a time. The receipt of a period goes first; the `notice` names any other: of a refusal, of the end
of dunning, of a refund. A mail that cannot go to the customer's address is parked: it stays owed, and nobody is at work
on it, until the address is another or its faults are cleared. renewals.domain.mail_faults says whether the customer may
be mailed.
"""

from renewals.domain import refunds
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
    """The name of the mail that the customer is owed next; None: they have been told everything."""
    paid = renewal.paid_at is not None
    if renewal.notice is not None and not (paid and renewal.status in CUT_OFF):
        return renewal.notice
    return receipt_mail(renewal) if paid and renewal.status in _RECEIPT_LACKS else None


def receipt_mail(renewal: Renewal) -> str:
    """The name of the mail of the period's receipt."""
    return mail_name(MailKind.RECEIPT, renewal.attempt)


def is_of_refund(renewal: Renewal) -> bool:
    """Whether the mail that is owed next is about a refund: a paid period has no other notice."""
    return renewal.paid_at is not None and renewal.notice is not None and owed_mail(renewal) == renewal.notice


def is_parked(renewal: Renewal) -> bool:
    """Whether the mail that is owed next waits until the customer can be mailed."""
    if owed_mail(renewal) == renewal.notice:
        return renewal.notice_is_parked
    return renewal.status is Status.MAIL_FAILED


def has_parked(renewal: Renewal) -> bool:
    """Whether any mail of the period waits until the customer can be mailed: the next one, or one behind it."""
    return renewal.status is Status.MAIL_FAILED or renewal.notice_is_parked


def is_receipt_next(renewal: Renewal, sent: Mail) -> bool:
    """Whether the receipt waited until the customer can be mailed, and they can: this mail of the same renewal went
    out, as far as anybody knows, to an address that the receipt has not failed with."""
    if renewal.status is not Status.MAIL_FAILED or not sent.state.is_out:
        return False
    return not is_in_vain(renewal.mails.get(receipt_mail(renewal)), Address(sent.to, sent.cleared))


def is_open(renewal: Renewal) -> bool:
    """Whether something is left to do for the period, now or on its day, so that the sweep is to find it."""
    told = renewal.notice is None or renewal.notice_is_parked
    return not told or renewal.refunds_due is not None or renewal.status in UNFINISHED


def is_news(renewal: Renewal, notice: str) -> bool:
    """Whether what this notice says is still how the renewal stands. The row of the subscription may know better."""
    kind = MailKind.of(notice)
    if kind in refunds.NOTICES:
        return refunds.is_news(renewal, notice)
    stands = {Status.GIVEN_UP} if kind in _ENDS else _REFUSED
    return renewal.status in stands and notice.rpartition("_")[2] == str(renewal.attempt)


def is_true(renewal: Renewal, row: Item | None) -> bool:
    """Whether the notice that is owed still says how things stand, by the subscription's row too. row: None where it is
    gone."""
    kind = MailKind.of(str(renewal.notice))
    news = is_news(renewal, str(renewal.notice))
    if not news or kind in refunds.NOTICES:
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
