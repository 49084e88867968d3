"""The mails in the ledger: claimed before they are sent, and what became of them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from renewals.errors import Overtaken
from renewals.ledger import LEASE, Ledger, refunds_as_read, stands_as_read
from renewals.owed import is_open, is_receipt_next, receipt_mail
from renewals.renewal import UNFINISHED, UNSETTLED, Mail, MailState, Renewal, Status, item_of, replaced, shard

_MAILED = frozenset({Status.RECEIPTED, Status.DONE, Status.MAIL_UNKNOWN})


class MailLedger(Ledger):
    """What the customer is told, and is owed to be told. Raises as Ledger."""

    def claim_mail(self, renewal: Renewal, name: str, mail: Mail, now: datetime) -> Renewal:
        """Claim a mail before it is sent: nobody has, or it failed, and may be tried again. A parked mail is unfinished
        work again from then on."""
        begun: dict[str, Any] = {}
        if renewal.notice_is_parked:
            begun = {"parked": None, "unfinished": shard(renewal.subscription_id), "begun_at": now}
        return self._write_mail(renewal, name, mail, begun, now)

    def park_mail(self, renewal: Renewal, name: str, mail: Mail, now: datetime) -> Renewal:
        """The mail cannot be sent to this address. It is parked until the address changes, a receipt's renewal with
        it; any other stays owed, but is not looked for any more."""
        parked: dict[str, Any] = {"lease_until": now}  # nobody is at work on it: a corrected address is taken at once
        if renewal.status is Status.RECEIPTED:
            parked |= {"status": Status.MAIL_FAILED, "reason": mail.reason}
        else:
            parked |= _parked(renewal)
        return self._write_mail(renewal, name, mail, parked, now)

    def record_mail(self, renewal: Renewal, name: str, mail: Mail, now: datetime) -> Renewal:
        """What became of the mail that mail.token claimed. One that is known as sent stays so, and one that came back
        before this was written stays failed.

        A receipt's mail ends the renewal, as done or mail_unknown. A notice's leaves its status alone: the payment
        may have gone on meanwhile. But where the notice went out and the receipt waited until the customer can be
        mailed, the receipt is unfinished work again.
        """
        condition = f"mails.{name}.#token = :token AND mails.{name}.#state <> :sent AND mails.{name}.#state <> :failed"
        values: dict[str, Any] = {":token": mail.token, ":sent": MailState.SENT, ":failed": MailState.FAILED}
        changes: dict[str, Any] = {f"mails.{name}": item_of(mail)}
        if renewal.status is Status.RECEIPTED:
            status = Status.DONE if mail.state is MailState.SENT else Status.MAIL_UNKNOWN
            changes |= {"status": status, "reason": mail.reason}
            condition += " AND #status IN (:receipted, :unknown)"
            values |= {":receipted": Status.RECEIPTED, ":unknown": Status.MAIL_UNKNOWN}
            alone, read = _nothing_else(renewal)
            try:
                return self._update(renewal, changes, f"{condition} AND {alone}", values | read, now)
            except Overtaken:  # a refund was asked for meanwhile, or its mail is owed: it is looked for still
                open_still = {"unfinished": shard(renewal.subscription_id)}
                return self._update(renewal, changes | open_still, condition, values, now)
        owed, owed_values = _owed(renewal, name)
        told = changes | _told(renewal)
        if is_receipt_next(renewal, mail):
            next_one = {"notice": None, "status": Status.RECEIPTED, "reason": None, "pickups": 0, "lease_until": now}
            told = changes | next_one
        try:
            return self._update(renewal, told, f"{condition} AND {owed}", values | owed_values, now)
        except Overtaken:  # it is owed no more, or the period has gone on: the mail alone is recorded
            return self._update(renewal, changes, condition, values, now)

    def reopen_mail(self, renewal: Renewal, recorded: Sequence[dict[str, Any]], now: datetime) -> Renewal:
        """The mail of a receipt is to go out again, though it may have gone out: somebody has decided so. The renewal
        stands as before its claim. recorded: further actions of that transaction."""
        name = f"mails.{receipt_mail(renewal)}"
        free = min(renewal.lease_until, now)  # whoever decides it may have a clock that is ahead
        changes = {"status": Status.RECEIPTED, "reason": None, name: None, "lease_until": free, "pickups": 0}
        changes |= renewal.with_earlier(name.removeprefix("mails."))
        stands, values = "#status = :was AND attribute_not_exists(notice)", {":was": Status.MAIL_UNKNOWN}
        self._transact([{"Update": self._change(renewal, changes, stands, values, now)}, *recorded])
        return replaced(renewal, {"status": Status.RECEIPTED, "reason": None})

    def record_returned(
        self, renewal: Renewal, name: str, mail: Mail, told: Mapping[str, Any], *, owed: bool, now: datetime
    ) -> Renewal:
        """A mail that went out under mail.token came back: it stands as one whose address is at fault, and a receipt's
        renewal with it. told: as for note_returned. owed: what the mail said is still news, and owed again."""
        changes: dict[str, Any] = {f"mails.{name}": item_of(mail), f"returned_{name}": dict(told)}
        if renewal.status not in (Status.CLAIMED, Status.PAID):  # somebody is at work on it
            # SES speaks in real time, the renewal may live on another day.
            changes |= {"lease_until": min(renewal.lease_until, now)}
        if renewal.status in _MAILED and name == receipt_mail(renewal):
            changes |= {"status": Status.MAIL_FAILED, "reason": mail.reason, "notice": renewal.notice}
            changes |= _parked(renewal) if renewal.notice_is_parked else {}
        elif owed or renewal.notice == name:
            changes |= {"notice": name, **_parked(renewal)}
        as_read, values = stands_as_read(renewal)
        sent = f"mails.{name}.#token = :token AND mails.{name}.#state <> :failed"
        values |= {":token": mail.token, ":failed": MailState.FAILED}
        return self._update(renewal, changes, f"{sent} AND {as_read}", values, now)

    def note_returned(self, renewal: Renewal, name: str, token: str, told: Mapping[str, Any], now: datetime) -> Renewal:
        """Keep what SES said of a mail, for the timeline: {"kind", "at", "to", "reason", "sent_at"}. Raises Overtaken
        where it is kept already."""
        new = f"(attribute_not_exists(returned_{name}) OR returned_{name}.#at <> :at)"
        return self._update(
            renewal,
            {f"returned_{name}": dict(told)},
            f"mails.{name}.#token = :token AND {new}",
            {":token": token, ":at": told["at"]},
            now,
        )

    def drop_notice(self, renewal: Renewal, name: str, now: datetime) -> None:
        """What is owed is not true any more: it is owed no more."""
        self._update(renewal, _told(renewal), *_owed(renewal, name), now)

    def release_mail(self, renewal: Renewal, name: str, token: str, now: datetime) -> Renewal:
        """The mail was certainly not sent, and can be claimed again."""
        return self._update(
            renewal,
            {f"mails.{name}": None},
            f"mails.{name}.#token = :token AND mails.{name}.#state = :sending",
            {":token": token, ":sending": MailState.SENDING},
            now,
        )

    def _write_mail(self, renewal: Renewal, name: str, mail: Mail, changes: dict[str, Any], now: datetime) -> Renewal:
        no_refunds, due = refunds_as_read(renewal)
        earlier = renewal.mails.get(name)
        if earlier is not None and (earlier.to, earlier.cleared) != (mail.to, mail.cleared):
            changes = renewal.with_earlier(name) | changes
        return self._update(
            renewal,
            {"lease_until": now + LEASE, f"mails.{name}": item_of(mail), **changes},
            f"(attribute_not_exists(mails.{name}) OR mails.{name}.#state = :failed) AND #status = :was"
            + f" AND {no_refunds}"
            + (" AND #notice = :notice" if renewal.notice else ""),
            {":failed": MailState.FAILED, ":was": renewal.status}
            | ({":notice": renewal.notice} if renewal.notice else {})
            | due,
            now,
        )


def _nothing_else(renewal: Renewal) -> tuple[str, dict[str, Any]]:
    """The condition that with the mail of its receipt nothing is left to do now, as read: no refund was looked at
    since, and no mail of one is owed, but one that waits for another address."""
    no_refunds, read = refunds_as_read(renewal)
    if not renewal.notice_is_parked:
        return f"attribute_not_exists(notice) AND {no_refunds}", read
    parked = f"#notice = :notice AND mails.{renewal.notice}.#state = :failed"
    return f"{parked} AND {no_refunds}", read | {":notice": renewal.notice, ":failed": MailState.FAILED}


def _told(renewal: Renewal) -> dict[str, Any]:
    """The notice is no longer owed; of a period that is settled, and has no refund to look at, it was the last thing to
    do."""
    return {"notice": None} | ({} if is_open(replace(renewal, notice=None)) else {"unfinished": None})


def _parked(renewal: Renewal) -> dict[str, Any]:
    """What is owed waits until the address changes. A refused period stays in the index for its dunning dates, one with
    refunds to look at for these, and one whose own receipt is on its way for that."""
    if renewal.status in UNSETTLED or renewal.refunds_due is not None:
        return {"parked": True}
    return {} if renewal.status in UNFINISHED else {"unfinished": None}


def _owed(renewal: Renewal, name: str) -> tuple[str, dict[str, Any]]:
    """The condition that this notice is owed, of what was read."""
    no_refunds, due = refunds_as_read(renewal)
    return f"#notice = :notice AND #status = :refused AND {no_refunds}", {
        ":notice": name,
        ":refused": renewal.status,
    } | due
