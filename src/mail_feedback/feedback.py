"""A mail that came back, or was reported as spam, in the records: on its address, and where the mail is recorded."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from mail_feedback.event import UNDELIVERED, Word
from renewals import dynamodb, offers, refunds, reminders
from renewals.errors import Collision
from renewals.ledger import Lost
from renewals.mail_faults import BOUNCED
from renewals.mail_ledger import MailLedger
from renewals.mail_tags import Tagged
from renewals.renewal import Mail, Renewal, Status, mail_from
from renewals.subscription import mail_address

_LOOKS = 4
_ENDS = ("canceled", "unpaid")


@dataclass(frozen=True, slots=True)
class Feedback:
    """One word of SES's. now: the moment."""

    ledger: MailLedger
    records: reminders.Records
    now: datetime

    def take(self, word: Word) -> str:
        """Record what is said. Returns marked (the address is at fault), noted, known (it was recorded before) or
        unknown: no mail of ours has these tags. Each step may run again: what is said twice or late changes nothing."""
        if word.tagged is None:
            return "unknown"
        if word.tagged.mail in (offers.UPCOMING, offers.CARD_EXPIRES):
            return self._of_reminder(word, word.tagged)
        for _ in range(_LOOKS):
            renewal = self.ledger.get(word.tagged.subscription_id, word.tagged.renewal_date)
            mail = renewal.mails.get(word.tagged.mail) if renewal else None
            if renewal is None or mail is None or mail.token != word.tagged.token:
                return "unknown"
            done = self._of_renewal(word, renewal, word.tagged.mail, mail)
            if done is not None:
                return done
        raise Collision("a mail's record")

    def _of_renewal(self, word: Word, renewal: Renewal, name: str, mail: Mail) -> str | None:
        """None where another was faster. The address first: a run that ends between the two is made good by the next,
        which finds the mail as it was."""
        if mail.state == "failed":
            return "known"
        told = {"kind": word.kind, "at": dynamodb.storable(word.at), "to": mail.to, "reason": word.reason}
        told |= {"sent_at": dynamodb.storable(mail.at)} if mail.at else {}
        key = {"subscription_id": renewal.subscription_id, "customer_id": renewal.customer_id}
        marked = word.kind != UNDELIVERED and self.records.mark_address(key, _mark(word, mail.to))
        if word.kind != BOUNCED:
            noted = self.ledger.note_returned(renewal, name, mail.token, told, self.now)
            return "known" if isinstance(noted, Lost) else "marked" if marked else "noted"
        returned = self.ledger.record_returned(
            renewal, name, _failed(word, mail), told, owed=_is_news(renewal, name), now=self.now
        )
        return None if isinstance(returned, Lost) else "marked" if marked else "noted"

    def _of_reminder(self, word: Word, tagged: Tagged) -> str:
        for _ in range(_LOOKS):
            row = self.records.row(tagged.subscription_id, tagged.customer_id) or {}
            mail = _reminder(row, tagged)
            if mail is None:
                return "unknown"
            if mail.state == "failed":
                return "known"
            mark = _mark(word, mail.to) if mail.to == mail_address(row) else None
            if word.kind == UNDELIVERED:
                return "noted"
            if word.kind != BOUNCED:
                return "marked" if mark and self.records.mark_address(row, mark) else "noted"
            if self.records.record_returned(row, tagged.mail, _failed(word, mail), mark):
                return "marked" if mark else "noted"
        raise Collision("a reminder's record")


def _mark(word: Word, to: str) -> dict[str, Any]:
    return {"address": to, "kind": word.kind, "at": dynamodb.storable(word.at), "reason": word.reason}


def _failed(word: Word, mail: Mail) -> Mail:
    return replace(mail, state="failed", at=word.at, reason=f"it came back ({word.reason})")


def _reminder(row: Mapping[str, Any], tagged: Tagged) -> Mail | None:
    """The record of the very reminder that went out, as far as it is one."""
    kept = row.get(f"reminder_{tagged.mail}")
    try:
        mail = mail_from({name: kept[name] for name in kept if name != "period"}) if kept else None
    except (TypeError, KeyError, ValueError):
        return None
    return mail if mail is not None and mail.token == tagged.token else None


def _is_news(renewal: Renewal, name: str) -> bool:
    """Whether what the mail said still says how things stand, and nothing newer is owed."""
    kind, _, attempt = name.rpartition("_")
    if renewal.notice is not None or kind == "receipt":
        return False
    if kind in refunds.NOTICES:
        return refunds.is_news(renewal, name)
    stands = {Status.GIVEN_UP} if kind in _ENDS else {Status.DECLINED, Status.ACTION_REQUIRED}
    return renewal.status in stands and attempt == str(renewal.attempt)
