"""Record that a mail came back or was reported as spam: mark the customer's address, and change the record of the
mail."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from renewals.ledger.confirmation_records import ConfirmationRecords

_LOOKS = 4


class FeedbackOutcome(StrEnum):
    """The result of a report of SES."""

    MARKED = "marked"
    """The address is marked as faulty."""
    NOTED = "noted"
    """The report is about a mail of ours, and marks no address."""
    KNOWN = "known"
    """The report was recorded before."""
    UNKNOWN = "unknown"
    """We sent no mail with the tags of the report."""
    IGNORED = "ignored"
    """The report needs no action."""


# Without a repr and a comparison, which nobody uses, the function starts faster.
@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Feedback:
    """The records that a report of SES changes.

    Attributes:
        confirmations: makes the records of confirmations, which few reports are about.
        now: the present moment.
    """

    ledger: Ledger
    records: reminder_records.Records
    confirmations: Callable[[], ConfirmationRecords]
    now: datetime

    def take(self, word: Word) -> FeedbackOutcome:
        """Record a report. Every step may run again: a repeated report changes nothing, and a late report does not mark
        an address that has replaced the reported address."""
        tagged = word.tagged
        if tagged is None:
            return FeedbackOutcome.UNKNOWN
        if tagged.change:
            busy, of_kind = Collision("other executions keep changing a confirmation"), self._of_confirmation
        elif tagged.mail in offers.REMINDERS:
            busy, of_kind = Collision("other executions keep changing the record of a reminder"), self._of_reminder
        else:
            busy, of_kind = Collision("other executions keep changing the record of a mail"), self._of_renewal
        return repeat_while_outdated(lambda: of_kind(word, tagged), tries=_LOOKS, otherwise=busy)

    def _of_renewal(self, word: Word, tagged: Tagged) -> FeedbackOutcome:
        """Mark the address, then record the mail. If a run ends in between, the next run finds the mail unchanged and
        records the mail."""
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
            except Overtaken:  # the report was recorded before
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

    def _of_confirmation(self, word: Word, tagged: Tagged) -> FeedbackOutcome:
        """Mark the address, then record the mail. If a run ends in between, the next run finds the mail unchanged and
        records the mail."""
        confirmations = self.confirmations()
        change = confirmations.change(tagged.subscription_id, tagged.change)
        mail = change.mail if change else None
        if change is None or mail is None or mail.token != tagged.token:
            return FeedbackOutcome.UNKNOWN
        if mail.state is MailState.FAILED:
            return FeedbackOutcome.KNOWN
        if word.kind is FaultKind.UNDELIVERED:
            return FeedbackOutcome.NOTED
        key = {"subscription_id": tagged.subscription_id, "customer_id": tagged.customer_id}
        done = self._address_marked(key, _mark(word, mail.to))
        if word.kind is FaultKind.BOUNCED:
            confirmations.record_returned(tagged.subscription_id, change, _failed(word, mail))
        return done

    def _address_marked(self, row: Item, mark: Mapping[str, str]) -> FeedbackOutcome:
        """Mark the address, and return MARKED. Return NOTED if the row has a different address now, or if the report is
        a complaint and the address is marked already."""
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
    """Return the record of the reminder that was sent; None if the row has no readable record of that reminder."""
    kept = row.get(f"reminder_{tagged.mail}")
    try:
        mail = mail_from(kept) if isinstance(kept, dict) and kept else None
    except (TypeError, KeyError, ValueError):
        return None
    return mail if mail is not None and mail.token == tagged.token else None
