"""A mail that came back, or was reported as spam, in the records: on its address, and where the mail is recorded."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from mail_feedback.event import Word
from renewals.domain import offers
from renewals.domain.errors import Collision, Overtaken, repeat_while_outdated
from renewals.domain.item_values import Item, storable
from renewals.domain.mail_faults import FaultKind, address_of
from renewals.domain.mail_tags import Tagged
from renewals.domain.owed import is_news
from renewals.domain.renewal import Mail, MailKind, MailState
from renewals.domain.renewal_items import mail_from
from renewals.ledger import mail_steps, reminder_records
from renewals.ledger.table import Ledger

_LOOKS = 4


class FeedbackOutcome(StrEnum):
    """What came of a word of SES's."""

    MARKED = "marked"
    """The address is at fault."""
    NOTED = "noted"
    KNOWN = "known"
    """The same was recorded before."""
    UNKNOWN = "unknown"
    """No mail of ours has these tags."""
    IGNORED = "ignored"
    """SES asks nothing of us."""


@dataclass(frozen=True, slots=True)
class Feedback:
    """One word of SES's. now: the moment."""

    ledger: Ledger
    records: reminder_records.Records
    now: datetime

    def take(self, word: Word) -> FeedbackOutcome:
        """Record what is said. Each step may run again: what is said twice or late changes nothing."""
        tagged = word.tagged
        if tagged is None:
            return FeedbackOutcome.UNKNOWN
        if tagged.mail in offers.REMINDERS:
            busy, of_kind = Collision("other executions keep changing the record of a reminder"), self._of_reminder
        else:
            busy, of_kind = Collision("other executions keep changing the record of a mail"), self._of_renewal
        return repeat_while_outdated(lambda: of_kind(word, tagged), tries=_LOOKS, otherwise=busy)

    def _of_renewal(self, word: Word, tagged: Tagged) -> FeedbackOutcome:
        """The address first: a run that ends between the two is made good by the next, which finds the mail as it
        was."""
        name = tagged.mail
        renewal = self.ledger.get(tagged.subscription_id, tagged.renewal_date)
        mail = renewal.mails.get(name) if renewal else None
        if renewal is None or mail is None or mail.token != tagged.token:
            return FeedbackOutcome.UNKNOWN
        if mail.state is MailState.FAILED:
            return FeedbackOutcome.KNOWN
        told = {"kind": word.kind, "at": storable(word.at), "to": mail.to, "reason": word.reason}
        told |= {"sent_at": storable(mail.at)} if mail.at else {}
        key = {"subscription_id": renewal.subscription_id, "customer_id": renewal.customer_id}
        done = (
            FeedbackOutcome.NOTED
            if word.kind is FaultKind.UNDELIVERED
            else self._address_marked(key, _mark(word, mail.to))
        )
        if word.kind is not FaultKind.BOUNCED:
            try:
                self.ledger.apply(mail_steps.note_returned(renewal, name, mail.token, told, self.now))
            except Overtaken:  # it is kept already
                return FeedbackOutcome.KNOWN
            return done
        again = renewal.notice is None and is_news(renewal, name)
        self.ledger.apply(mail_steps.returned(renewal, name, _failed(word, mail), told, owed=again, now=self.now))
        return done

    def _of_reminder(self, word: Word, tagged: Tagged) -> FeedbackOutcome:
        row = self.records.row(tagged.subscription_id, tagged.customer_id) or {}
        mail = _reminder(row, tagged)
        if mail is None:
            return FeedbackOutcome.UNKNOWN
        if mail.state is MailState.FAILED:
            return FeedbackOutcome.KNOWN
        mark = _mark(word, mail.to) if mail.to == address_of(row).to else None
        if word.kind is FaultKind.UNDELIVERED:
            return FeedbackOutcome.NOTED
        if word.kind is not FaultKind.BOUNCED:
            return self._address_marked(row, mark) if mark else FeedbackOutcome.NOTED
        self.records.record_returned(row, MailKind(tagged.mail), _failed(word, mail), mark)
        return FeedbackOutcome.MARKED if mark else FeedbackOutcome.NOTED

    def _address_marked(self, row: Item, mark: Mapping[str, str]) -> FeedbackOutcome:
        """Returns marked, or noted where the address is not the row's any more, or a complaint meets a bounce."""
        try:
            self.records.mark_address(row, mark)
        except Overtaken:
            return FeedbackOutcome.NOTED
        return FeedbackOutcome.MARKED


def _mark(word: Word, to: str) -> dict[str, str]:
    return {"address": to, "kind": word.kind, "at": storable(word.at), "reason": word.reason}


def _failed(word: Word, mail: Mail) -> Mail:
    return replace(mail, state=MailState.FAILED, at=word.at, reason=f"it came back ({word.reason})")


def _reminder(row: Item, tagged: Tagged) -> Mail | None:
    """The record of the very reminder that went out, as far as it is one."""
    kept = row.get(f"reminder_{tagged.mail}")
    try:
        mail = mail_from(kept) if isinstance(kept, dict) and kept else None
    except (TypeError, KeyError, ValueError):
        return None
    return mail if mail is not None and mail.token == tagged.token else None
