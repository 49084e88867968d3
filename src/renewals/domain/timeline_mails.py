"""Entries of the timeline about mails: mails to the customer, faults that SES reported, and marked addresses. Pure.

Every mail address is masked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from renewals.domain import confirmations, item_values, mail_faults, reasons, reminders, wording
from renewals.domain.addresses import masked
from renewals.domain.changes import Change
from renewals.domain.item_values import Item, storable
from renewals.domain.mail_faults import FaultKind
from renewals.domain.offers import REMINDERS
from renewals.domain.renewal import Mail, MailKind, MailState, Renewal
from renewals.domain.renewal_items import mail_from
from renewals.domain.row_attributes import without_personal_data
from renewals.domain.timeline_entries import Entry, EntryKind, Told
from renewals.domain.worded import Unknown, member

_CONSEQUENCES: dict[str, str] = {
    FaultKind.BOUNCED: "nothing more is mailed there",
    FaultKind.COMPLAINED: "no reminders that a customer may decline are mailed there",
}
"""The consequence of a fault for further mails to the address."""


def reminders_told(row: Item) -> Iterator[Entry]:
    """Tell the latest reminder of every kind, and failed earlier reminders. The row may have been written by hand."""
    earlier = [each for each in reminders.earlier_records(row) if isinstance(each, dict)]
    failed = [(kind, each) for each in earlier for kind in REMINDERS if each.get("kind") == kind]
    latest = [(kind, kept) for kind in REMINDERS if isinstance(kept := row.get(f"reminder_{kind}"), dict) and kept]
    for kind, kept in [*failed, *latest]:
        try:
            mail = mail_from(kept)
            told, period = _mailed(kind, mail), item_values.day(kept, "period")
        except (AttributeError, TypeError, KeyError, ValueError):
            continue
        if told[0].tzinfo is not None:
            yield Entry(*told, period)


def confirmations_told(changes: Iterable[Change]) -> Iterator[Entry]:
    """Tell every mail that confirms a change, and failed earlier mails."""
    for change in changes:
        kind = confirmations.kind_of(change)
        mails = [*change.earlier_mails, *([change.mail] if change.mail else [])]
        if kind is not None:
            yield from (Entry(*_mailed(kind, mail)) for mail in mails)


def address_marked(row: Item) -> Iterator[Entry]:
    """Tell that the customer's present address is marked, if mail to the address met a fault."""
    kind = mail_faults.kind(row)
    if kind is None:
        return
    try:
        mark = item_values.fields(row, mail_faults.FIELD)
        at, address = item_values.moment(mark, "at"), masked(item_values.text(mark, "address"))
    except (AttributeError, TypeError, KeyError, ValueError):
        return
    if at.tzinfo is None:
        return
    then = _CONSEQUENCES.get(kind, "whether mail is sent there is not certain")
    until = "until customer_email is changed, or the fault is cleared"
    yield Entry(
        at,
        EntryKind.ADDRESS_MARKED,
        f"The address {address} is marked, since mail to it {_fault(kind)}: {then} {until}.",
    )


def mails_told(renewal: Renewal, item: Item) -> Iterator[Told]:
    """Tell every mail of a billing period, the later reports of SES about mails, and an end of dunning that waits until
    the customer can be mailed."""
    earlier = [(item_values.text(each, "name"), mail_from(each)) for each in renewal.earlier_mails or ()]
    for name, mail in [*earlier, *renewal.mails.items()]:
        returned = item.get(f"returned_{name}", {})
        # If a report of SES, such as a bounce, has overwritten the mail's record, the record has the moment of the
        # report. Such a mail gets no entry here, because _returned below tells both the sending and the report.
        if not isinstance(returned, dict) or returned.get("at") != storable(mail.at):
            yield _mailed(MailKind.of(name), mail)
    for name in item:
        if name.startswith("returned_"):
            yield from _returned(name.removeprefix("returned_"), item_values.fields(item, name), renewal)
    if renewal.held_at is not None:
        told = "The last attempt and the end of dunning wait, since no mail about them has reached the customer."
        yield renewal.held_at, EntryKind.HELD, f"{told} Correct customer_email, or cancel the subscription."


def _mailed(kind: MailKind | Unknown, mail: Mail) -> Told:
    what, to = wording.mail(kind), masked(mail.to)
    if mail.state is MailState.SENT:
        return mail.at or mail.claimed_until, EntryKind.MAILED, f"Mailed {what} to {to}."
    if mail.state is MailState.FAILED:
        return (
            mail.at or mail.claimed_until,
            EntryKind.MAIL_FAILED,
            f"Could not mail {what} to {to}: {reasons.in_words(mail.reason)}.",
        )
    if mail.state is MailState.UNKNOWN:
        told = f"It is unknown whether {what} went out to {to}: {reasons.in_words(mail.reason)}."
        return mail.at or mail.claimed_until, EntryKind.MAIL_UNKNOWN, told
    return mail.claimed_until, EntryKind.MAILING, f"Mailing {what} to {to}."


def _returned(name: str, said: Item, renewal: Renewal) -> Iterator[Told]:
    """Tell a report of SES about a sent mail. Tell the sending first if the mail's record no longer holds the moment of
    the sending."""
    what, to = wording.mail(MailKind.of(name)), masked(item_values.text(said, "to"))
    if "sent_at" in said and (name not in renewal.mails or storable(renewal.mails[name].at) != said["sent_at"]):
        yield item_values.moment(said, "sent_at"), EntryKind.MAILED, f"Mailed {what} to {to}."
    reason = f" ({without_personal_data('reason', said['reason'])})" if said["reason"] else ""
    kind = member(FaultKind, item_values.text(said, "kind"))
    yield item_values.moment(said, "at"), kind, f"The mail to {to} with {what} {_fault(kind)}{reason}."


def _fault(kind: FaultKind | Unknown) -> str:
    """Return the words for the fault of a mail that SES had accepted."""
    return wording.told(kind, "met a fault of the kind")
