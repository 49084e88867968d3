"""The mails in the ledger: a mail is claimed before sending, and its outcome is recorded.

All functions return steps as values.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from renewals.domain.item_values import Item
from renewals.domain.owed import is_open, is_receipt_next, receipt_mail
from renewals.domain.renewal import UNFINISHED, UNSETTLED, Mail, MailState, Renewal, Status
from renewals.domain.renewal_items import item_of, replaced, shard
from renewals.ledger.steps import (
    LEASE,
    Condition,
    Step,
    Term,
    change,
    changed,
    refunds_as_read,
    same_status,
    stands_as_read,
)
from renewals.runtime.attribute_values import TransactAction

_MOST_EARLIER_MAILS = 20
_MAILED = frozenset({Status.RECEIPTED, Status.DONE, Status.MAIL_UNKNOWN})


def claim_mail(renewal: Renewal, name: str, mail: Mail, now: datetime) -> Step[Renewal]:
    """Claim a mail before sending it. The mail must be unclaimed, or have failed. A parked mail becomes unfinished work
    again."""
    begun: dict[str, object] = {}
    if renewal.notice_is_parked:
        begun = {"parked": None, "unfinished": shard(renewal.subscription_id), "begun_at": now}
    return _write_mail(renewal, name, mail, begun, now)


def park_mail(renewal: Renewal, name: str, mail: Mail, now: datetime) -> Step[Renewal]:
    """Park a mail that cannot be sent to the customer's address, until the address changes.

    A receipt's mail is parked together with its renewal. Any other mail stays owed, but drops out of the unfinished
    work.
    """
    parked: dict[str, object] = {"lease_until": now}  # the lease ends now, so that a corrected address is used at once
    if renewal.status is Status.RECEIPTED:
        parked |= {"status": Status.MAIL_FAILED, "reason": mail.reason}
    else:
        parked |= _parked(renewal)
    return _write_mail(renewal, name, mail, parked, now)


def _write_mail(renewal: Renewal, name: str, mail: Mail, changes: dict[str, object], now: datetime) -> Step[Renewal]:
    earlier = renewal.mails.get(name)
    if earlier is not None and (earlier.to, earlier.cleared) != (mail.to, mail.cleared):
        changes = _with_earlier(renewal, name) | changes
    free = f"(attribute_not_exists(mails.{name}) OR mails.{name}.#state = :failed)"
    condition = (Term(free, {":failed": MailState.FAILED}), same_status(renewal), *refunds_as_read(renewal))
    if renewal.notice:
        condition += (Term("#notice = :notice", {":notice": renewal.notice}),)
    return changed(renewal, {"lease_until": now + LEASE, f"mails.{name}": item_of(mail), **changes}, condition, now)


def mailed(renewal: Renewal, name: str, mail: Mail, now: datetime) -> Step[Renewal]:
    """Record the outcome of the mail that mail.token claimed. A mail recorded as sent stays sent, and a mail recorded
    as returned stays failed.

    The mail of a receipt ends the renewal as done or mail_unknown. The mail of a notice leaves the renewal's status
    alone, because the payment may have progressed meanwhile. If the notice was sent and the receipt was parked, the
    receipt becomes unfinished work again.
    """
    condition: Condition = (
        _same_token(name, mail.token),
        Term(f"mails.{name}.#state <> :sent", {":sent": MailState.SENT}),
        _not_failed(name),
    )
    changes: dict[str, object] = {f"mails.{name}": item_of(mail)}
    if renewal.status is Status.RECEIPTED:
        status = Status.DONE if mail.state is MailState.SENT else Status.MAIL_UNKNOWN
        changes |= {"status": status, "reason": mail.reason}
        mailable = {":receipted": Status.RECEIPTED, ":unknown": Status.MAIL_UNKNOWN}
        condition += (Term("#status IN (:receipted, :unknown)", mailable),)
        # If a refund was requested meanwhile, or its mail is owed, the period stays unfinished work.
        open_still = changes | {"unfinished": shard(renewal.subscription_id)}
        sooner, otherwise = (changes, condition + _nothing_else(renewal)), (open_still, condition)
    else:
        told = changes | _told(renewal)
        if is_receipt_next(renewal, mail):
            next_one = {"notice": None, "status": Status.RECEIPTED, "reason": None, "pickups": 0, "lease_until": now}
            told = changes | next_one
        # If the notice is no longer owed, or the period has gone on, only the mail is recorded.
        sooner, otherwise = (told, condition + _owed(renewal, name)), (changes, condition)
    return replace(changed(renewal, *sooner, now), otherwise=changed(renewal, *otherwise, now))


def reopen_mail(renewal: Renewal, recorded: Sequence[TransactAction], now: datetime) -> Step[Renewal]:
    """Let the mail of a receipt be sent again although it may have been sent: a person has decided so.

    The renewal returns to its state before the claim of the mail.

    Args:
        recorded: further actions of the transaction.
    """
    name = f"mails.{receipt_mail(renewal)}"
    free = min(renewal.lease_until, now)  # the clock of the person's computer may be ahead
    changes: dict[str, object] = {
        "status": Status.RECEIPTED,
        "reason": None,
        name: None,
        "lease_until": free,
        "pickups": 0,
    }
    changes |= _with_earlier(renewal, name.removeprefix("mails."))
    condition = (
        Term("#status = :was", {":was": Status.MAIL_UNKNOWN}),
        Term("attribute_not_exists(notice)", {}),
    )
    after = replaced(renewal, {"status": Status.RECEIPTED, "reason": None})
    return Step(after, (change(renewal, changes, condition, now),), beside=recorded)


def returned(
    renewal: Renewal, name: str, mail: Mail, told: Mapping[str, object], *, owed: bool, now: datetime
) -> Step[Renewal]:
    """Record that the mail sent under mail.token came back: its address is at fault, and a receipt's renewal is parked.

    Args:
        told: as for note_returned.
        owed: whether the mail's content is still true, and the mail is owed again.
    """
    changes: dict[str, object] = {f"mails.{name}": item_of(mail), f"returned_{name}": dict(told)}
    if renewal.status not in (Status.CLAIMED, Status.PAID):  # in these two states an execution works on the renewal
        # SES reports in real time, but the renewal may live on the day of a test clock.
        changes |= {"lease_until": min(renewal.lease_until, now)}
    if renewal.status in _MAILED and name == receipt_mail(renewal):
        changes |= {"status": Status.MAIL_FAILED, "reason": mail.reason, "notice": renewal.notice}
        changes |= _parked(renewal) if renewal.notice_is_parked else {}
    elif owed or renewal.notice == name:
        changes |= {"notice": name, **_parked(renewal)}
    condition = (_same_token(name, mail.token), _not_failed(name), *stands_as_read(renewal))
    return changed(renewal, changes, condition, now)


def note_returned(renewal: Renewal, name: str, token: str, told: Mapping[str, object], now: datetime) -> Step[Renewal]:
    """Keep SES's report about a mail for the timeline, unless the report is kept already.

    Args:
        told: {"kind", "at", "to", "reason", "sent_at"}.
    """
    new = f"(attribute_not_exists(returned_{name}) OR returned_{name}.#at <> :at)"
    condition = (_same_token(name, token), Term(new, {":at": told["at"]}))
    return changed(renewal, {f"returned_{name}": dict(told)}, condition, now)


def drop_notice(renewal: Renewal, name: str, now: datetime) -> Step[Renewal]:
    """Drop a notice that is no longer true: the mail is no longer owed."""
    return changed(renewal, _told(renewal), _owed(renewal, name), now)


def release_mail(renewal: Renewal, name: str, token: str, now: datetime) -> Step[Renewal]:
    """Release a mail that was certainly not sent; the mail can be claimed again."""
    sending = Term(f"mails.{name}.#state = :sending", {":sending": MailState.SENDING})
    return changed(renewal, {f"mails.{name}": None}, (_same_token(name, token), sending), now)


def _same_token(name: str, token: str) -> Term:
    """The token of the mail's claim is unchanged."""
    return Term(f"mails.{name}.#token = :token", {":token": token})


def _not_failed(name: str) -> Term:
    """The mail has not come back."""
    return Term(f"mails.{name}.#state <> :failed", {":failed": MailState.FAILED})


def _nothing_else(renewal: Renewal) -> Condition:
    """After the mail of the receipt, nothing is left to do: no refund was asked about since the read, and no mail about
    a refund is owed, except a mail parked for a new address."""
    if not renewal.notice_is_parked:
        return (Term("attribute_not_exists(notice)", {}), *refunds_as_read(renewal))
    still_owed = Term("#notice = :notice", {":notice": renewal.notice})
    parked = Term(f"mails.{renewal.notice}.#state = :failed", {":failed": MailState.FAILED})
    return (still_owed, parked, *refunds_as_read(renewal))


def _told(renewal: Renewal) -> dict[str, object]:
    """Return the changes for a notice that is no longer owed. If the period is settled and has no open refund, the
    period is finished."""
    return {"notice": None, **({} if is_open(replace(renewal, notice=None)) else {"unfinished": None})}


def _parked(renewal: Renewal) -> dict[str, object]:
    """Return the changes for a mail that waits for a new address.

    A refused period stays in the index for its dunning dates, a period with open refunds for the refunds, and a period
    with a receipt on the way for the receipt.
    """
    if renewal.status in UNSETTLED or renewal.refunds_due is not None:
        return {"parked": True}
    return {} if renewal.status in UNFINISHED else {"unfinished": None}


def _owed(renewal: Renewal, name: str) -> Condition:
    """The notice is owed, and the period is unchanged since the read."""
    owed = Term("#notice = :notice", {":notice": name})
    return (owed, Term("#status = :refused", {":refused": renewal.status}), *refunds_as_read(renewal))


def _with_earlier(renewal: Renewal, name: str) -> dict[str, object]:
    """Return the change that keeps the record of a mail before a new mail replaces the record."""
    kept: list[Item] = [*(renewal.earlier_mails or ()), {"name": name, **item_of(renewal.mails[name])}]
    return {"earlier_mails": kept[-_MOST_EARLIER_MAILS:]}
