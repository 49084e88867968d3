"""The mails in the ledger: claimed before they are sent, and what became of them. Each function is one step, as a
value."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from renewals.domain.owed import is_open, is_receipt_next, receipt_mail
from renewals.domain.renewal import UNFINISHED, UNSETTLED, Mail, MailState, Renewal, Status, item_of, replaced, shard
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

_MAILED = frozenset({Status.RECEIPTED, Status.DONE, Status.MAIL_UNKNOWN})


def claim_mail(renewal: Renewal, name: str, mail: Mail, now: datetime) -> Step[Renewal]:
    """Claim a mail before it is sent: nobody has, or it failed, and may be tried again. A parked mail is unfinished
    work again from then on."""
    begun: dict[str, object] = {}
    if renewal.notice_is_parked:
        begun = {"parked": None, "unfinished": shard(renewal.subscription_id), "begun_at": now}
    return _write_mail(renewal, name, mail, begun, now)


def park_mail(renewal: Renewal, name: str, mail: Mail, now: datetime) -> Step[Renewal]:
    """The mail cannot be sent to this address. It is parked until the address changes, a receipt's renewal with
    it; any other stays owed, but is not looked for any more."""
    parked: dict[str, object] = {"lease_until": now}  # nobody is at work on it: a corrected address is taken at once
    if renewal.status is Status.RECEIPTED:
        parked |= {"status": Status.MAIL_FAILED, "reason": mail.reason}
    else:
        parked |= _parked(renewal)
    return _write_mail(renewal, name, mail, parked, now)


def _write_mail(renewal: Renewal, name: str, mail: Mail, changes: dict[str, object], now: datetime) -> Step[Renewal]:
    earlier = renewal.mails.get(name)
    if earlier is not None and (earlier.to, earlier.cleared) != (mail.to, mail.cleared):
        changes = renewal.with_earlier(name) | changes
    free = f"(attribute_not_exists(mails.{name}) OR mails.{name}.#state = :failed)"
    condition = (Term(free, {":failed": MailState.FAILED}), same_status(renewal), *refunds_as_read(renewal))
    if renewal.notice:
        condition += (Term("#notice = :notice", {":notice": renewal.notice}),)
    return changed(renewal, {"lease_until": now + LEASE, f"mails.{name}": item_of(mail), **changes}, condition, now)


def mailed(renewal: Renewal, name: str, mail: Mail, now: datetime) -> Step[Renewal]:
    """What became of the mail that mail.token claimed. One that is known as sent stays so, and one that came back
    before this was written stays failed.

    A receipt's mail ends the renewal, as done or mail_unknown. A notice's leaves its status alone: the payment
    may have gone on meanwhile. But where the notice went out and the receipt waited until the customer can be
    mailed, the receipt is unfinished work again.
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
        # Where a refund was asked for meanwhile, or its mail is owed, the period is looked for still.
        open_still = changes | {"unfinished": shard(renewal.subscription_id)}
        sooner, otherwise = (changes, condition + _nothing_else(renewal)), (open_still, condition)
    else:
        told = changes | _told(renewal)
        if is_receipt_next(renewal, mail):
            next_one = {"notice": None, "status": Status.RECEIPTED, "reason": None, "pickups": 0, "lease_until": now}
            told = changes | next_one
        # Where the notice is owed no more, or the period has gone on, the mail alone is recorded.
        sooner, otherwise = (told, condition + _owed(renewal, name)), (changes, condition)
    return replace(changed(renewal, *sooner, now), otherwise=changed(renewal, *otherwise, now))


def reopen_mail(renewal: Renewal, recorded: Sequence[TransactAction], now: datetime) -> Step[Renewal]:
    """The mail of a receipt is to go out again, though it may have gone out: somebody has decided so. The renewal
    stands as before its claim. recorded: further actions of that transaction."""
    name = f"mails.{receipt_mail(renewal)}"
    free = min(renewal.lease_until, now)  # whoever decides it may have a clock that is ahead
    changes: dict[str, object] = {
        "status": Status.RECEIPTED,
        "reason": None,
        name: None,
        "lease_until": free,
        "pickups": 0,
    }
    changes |= renewal.with_earlier(name.removeprefix("mails."))
    condition = (
        Term("#status = :was", {":was": Status.MAIL_UNKNOWN}),
        Term("attribute_not_exists(notice)", {}),
    )
    after = replaced(renewal, {"status": Status.RECEIPTED, "reason": None})
    return Step(after, (change(renewal, changes, condition, now),), beside=recorded)


def returned(
    renewal: Renewal, name: str, mail: Mail, told: Mapping[str, object], *, owed: bool, now: datetime
) -> Step[Renewal]:
    """A mail that went out under mail.token came back: it stands as one whose address is at fault, and a receipt's
    renewal with it. told: as for note_returned. owed: what the mail said is still news, and owed again."""
    changes: dict[str, object] = {f"mails.{name}": item_of(mail), f"returned_{name}": dict(told)}
    if renewal.status not in (Status.CLAIMED, Status.PAID):  # somebody is at work on it
        # SES speaks in real time, the renewal may live on another day.
        changes |= {"lease_until": min(renewal.lease_until, now)}
    if renewal.status in _MAILED and name == receipt_mail(renewal):
        changes |= {"status": Status.MAIL_FAILED, "reason": mail.reason, "notice": renewal.notice}
        changes |= _parked(renewal) if renewal.notice_is_parked else {}
    elif owed or renewal.notice == name:
        changes |= {"notice": name, **_parked(renewal)}
    condition = (_same_token(name, mail.token), _not_failed(name), *stands_as_read(renewal))
    return changed(renewal, changes, condition, now)


def note_returned(renewal: Renewal, name: str, token: str, told: Mapping[str, object], now: datetime) -> Step[Renewal]:
    """Keep what SES said of a mail, for the timeline, unless it is kept already: {"kind", "at", "to", "reason",
    "sent_at"}."""
    new = f"(attribute_not_exists(returned_{name}) OR returned_{name}.#at <> :at)"
    condition = (_same_token(name, token), Term(new, {":at": told["at"]}))
    return changed(renewal, {f"returned_{name}": dict(told)}, condition, now)


def drop_notice(renewal: Renewal, name: str, now: datetime) -> Step[Renewal]:
    """What is owed is not true any more: it is owed no more."""
    return changed(renewal, _told(renewal), _owed(renewal, name), now)


def release_mail(renewal: Renewal, name: str, token: str, now: datetime) -> Step[Renewal]:
    """The mail was certainly not sent, and can be claimed again."""
    sending = Term(f"mails.{name}.#state = :sending", {":sending": MailState.SENDING})
    return changed(renewal, {f"mails.{name}": None}, (_same_token(name, token), sending), now)


def _same_token(name: str, token: str) -> Term:
    """The mail is the one that this token claimed."""
    return Term(f"mails.{name}.#token = :token", {":token": token})


def _not_failed(name: str) -> Term:
    """The mail has not come back."""
    return Term(f"mails.{name}.#state <> :failed", {":failed": MailState.FAILED})


def _nothing_else(renewal: Renewal) -> Condition:
    """With the mail of its receipt nothing is left to do now, as read: no refund was looked at since, and no mail of
    one is owed, but one that waits for another address."""
    if not renewal.notice_is_parked:
        return (Term("attribute_not_exists(notice)", {}), *refunds_as_read(renewal))
    still_owed = Term("#notice = :notice", {":notice": renewal.notice})
    parked = Term(f"mails.{renewal.notice}.#state = :failed", {":failed": MailState.FAILED})
    return (still_owed, parked, *refunds_as_read(renewal))


def _told(renewal: Renewal) -> dict[str, object]:
    """The notice is no longer owed; of a period that is settled, and has no refund to look at, it was the last thing to
    do."""
    return {"notice": None, **({} if is_open(replace(renewal, notice=None)) else {"unfinished": None})}


def _parked(renewal: Renewal) -> dict[str, object]:
    """What is owed waits until the address changes. A refused period stays in the index for its dunning dates, one with
    refunds to look at for these, and one whose own receipt is on its way for that."""
    if renewal.status in UNSETTLED or renewal.refunds_due is not None:
        return {"parked": True}
    return {} if renewal.status in UNFINISHED else {"unfinished": None}


def _owed(renewal: Renewal, name: str) -> Condition:
    """This notice is owed, of what was read."""
    owed = Term("#notice = :notice", {":notice": name})
    return (owed, Term("#status = :refused", {":refused": renewal.status}), *refunds_as_read(renewal))
