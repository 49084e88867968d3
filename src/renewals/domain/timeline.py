"""Everything that happened to a subscription, in order and in plain words: the answer to "why was I charged, or not?".

Pure. It is told from the ledger's items and from the changes that were made on request, and guesses nothing. Mail
addresses are masked; decline codes stand beside their words, for who has to look them up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, tzinfo
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING

from renewals.domain import declines, item_values, mail_faults, reasons, refunds, reminders, subscription, wording
from renewals.domain.addresses import masked
from renewals.domain.errors import BadRow
from renewals.domain.item_values import Item, Value, storable
from renewals.domain.mail_faults import FaultKind
from renewals.domain.offers import REMINDERS
from renewals.domain.reasons import Reason
from renewals.domain.renewal import (
    UNSETTLED,
    Flag,
    Mail,
    MailKind,
    MailState,
    RefundState,
    Renewal,
    Status,
    mail_from,
    renewal_from,
)
from renewals.domain.row_attributes import without_personal_data
from renewals.domain.subscription import SubscriptionStatus
from renewals.domain.worded import Unknown, Worded, member

if TYPE_CHECKING:
    from renewals.domain.stored import RefundRecord, RefusalRecord

type Details = Mapping[str, tuple[Value, Value]]
"""Attributes, each with its value before and after."""


class EntryKind(StrEnum):
    """What an entry tells, for programs."""

    DUE = "due"
    CLAIMED = "claimed"
    DECLINED = "declined"
    NEXT_ATTEMPT = "next_attempt"
    CHARGED = "charged"
    FAILED = "failed"
    GIVEN_UP = "given_up"
    SKIPPED = "skipped"
    ENDED = "ended"
    FLAG = "flag"
    REFUND = "refund"
    REFUND_FAILED = "refund_failed"
    MAILING = "mailing"
    MAILED = "mailed"
    MAIL_FAILED = "mail_failed"
    MAIL_UNKNOWN = "mail_unknown"
    ADDRESS_MARKED = "address_marked"
    HELD = "held"


class ChangeKind(Worded):
    """What somebody asked for. The words follow the name of whoever asked."""

    CREATED = "created", "created the subscription"
    EDITED = "edited", "changed the subscription"
    CANCELED = "canceled", "canceled the subscription"
    ENDING = "ending", "canceled the subscription at the end of its period"
    PAUSED = "paused", "paused the subscription"
    RESUMED = "resumed", "resumed the subscription"
    CARD = "card", "updated the payment method"
    REFUNDED = "refunded", "asked for a refund"
    RENEWING = "renewing", "asked for a renewal at once"
    REDRIVEN = "redriven", "brought a renewal back that had failed five times"
    RESENT = "resent", "asked for the mail of the receipt to be sent again"
    MAIL_CLEARED = "mail_cleared", "let the customer be mailed again"


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened.

    at: when, aware. kind: a short name for programs; a ChangeKind of what somebody asked for, a FaultKind of what SES
    said of a mail. text: what happened, for people. renewal_date: the period of the entry. by: who asked for what
    happened, where somebody did.
    """

    at: datetime
    kind: EntryKind | ChangeKind | FaultKind | Unknown
    text: str
    renewal_date: date | None = None
    by: str | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """One change that somebody asked for.

    details: each attribute that changed, with its value before and after; None where there was or is none.
    """

    at: datetime
    by: str
    what: ChangeKind | Unknown
    details: Details


type Told = tuple[datetime, EntryKind | FaultKind | Unknown, str]
"""When, what, and in words."""

_TRIED = frozenset(
    {
        EntryKind.DUE,
        EntryKind.CLAIMED,
        EntryKind.DECLINED,
        EntryKind.GIVEN_UP,
        EntryKind.FAILED,
        EntryKind.MAILED,
        EntryKind.MAIL_FAILED,
        EntryKind.MAIL_UNKNOWN,
    }
)
"""What stays true of a period that was passed over after it had been tried."""
_THEN: dict[str, str] = {
    FaultKind.BOUNCED: "nothing more is mailed there",
    FaultKind.COMPLAINED: "no reminders are mailed there",
}
_STOOD: dict[str, str] = {
    FaultKind.BOUNCED: "mail there had come back",
    FaultKind.COMPLAINED: "mail there had been reported as spam",
}
_FLAGS: dict[str, str] = {
    Flag.SUBSCRIPTION_CHANGED: "The subscription was changed while it was charged, so its date was left alone.",
    Flag.AMOUNT_DIFFERS: "The gateway took another amount than was claimed.",
}


def timeline(
    row: Item,
    items: Iterable[Item],
    changes: Iterable[Change],
    zone: tzinfo = UTC,
    today: date | None = None,
) -> list[Entry]:
    """All entries, oldest first.

    row, items: the subscription and its ledger items, as they stand in the tables. zone: whose midnight a date begins
    at. today: the day on which the subscription is looked at, so that an end is told that has come today, and that the
    row's status does not say yet. What is planned, a refused payment's next attempt, stands at its day.
    """
    entries = [_changed(change) for change in changes]
    entries += _reminders(row)
    entries += _marked(row)
    entries += _over(row, zone, today)
    for item in items:
        entries += _readable(item, zone)
    return sorted(entries, key=lambda entry: entry.at)


def _readable(item: Item, zone: tzinfo) -> Iterator[Entry]:
    """What an item of the ledger tells, as far as it can be read: somebody may have written into it by hand."""
    whole = True
    try:
        for entry in _of_item(item, zone):
            if entry.at.tzinfo is None:
                whole = False
            else:
                yield entry
    except (AttributeError, BadRow, KeyError, TypeError, ValueError):
        whole = False
    if not whole:
        with suppress(BadRow):  # a key that is no day
            start = subscription.day(item, "renewal_date")
            told = f"What the ledger has of the period from {wording.day(start)} on cannot be read whole."
            yield Entry(_midnight(start, zone), EntryKind.FLAG, told, start)


def _of_item(item: Item, zone: tzinfo) -> Iterator[Entry]:
    if item["status"] != Status.SKIPPED:
        yield from _period(renewal_from(item), item, zone)
        return
    yield _skipped(item)
    if "claim" in item:  # it was tried before
        yield from (e for e in _period(renewal_from(item), item, zone) if e.kind in _TRIED)


def _over(row: Item, zone: tzinfo, today: date | None) -> Iterator[Entry]:
    """The end that `cancel_at` names, once it has come."""
    is_canceled = subscription.status_of(row) is SubscriptionStatus.CANCELED
    written = is_canceled and row.get(subscription.ENDED_ON) == row.get("cancel_at")
    try:
        end = subscription.day(row, "cancel_at")
    except BadRow:  # there is none, or somebody wrote by hand what is no day
        return
    if written or (today is not None and subscription.is_over(row, today)):
        told = "The subscription ended: this day was set for its end."
        yield Entry(_midnight(end, zone), EntryKind.ENDED, told)


def _changed(change: Change) -> Entry:
    if isinstance(change.what, ChangeKind) and change.what in _OF_A_PERIOD and "period" in change.details:
        return Entry(change.at, change.what, _OF_A_PERIOD[change.what](change), by=change.by)
    details = sorted(_priced(change.details).items())
    said = "; ".join(f"{name} {_from_to(name, old, new)}" for name, (old, new) in details)
    if change.what is ChangeKind.MAIL_CLEARED:
        return Entry(change.at, change.what, _mail_cleared(change), by=change.by)
    did = f"{change.by} {wording.told(change.what, 'made a change of the kind')}"
    return Entry(change.at, change.what, f"{did}: {said}." if said else f"{did}.", by=change.by)


def _priced(details: Details) -> Details:
    """The details with the amount in its currency. Earlier versions kept the currency only where it changed too."""
    if not {"amount", "currency"} <= details.keys():
        return details
    (old, new), (before, now) = details["amount"], details["currency"]
    others = {name: each for name, each in details.items() if name != "currency"}
    return {**others, "amount": (_price(old, before), _price(new, now))}


def _price(amount: Value, currency: Value) -> Value:
    """The amount as 5.00 EUR; None where there is none. A row may have been written by hand, with anything in it."""
    if amount is None or currency is None:
        return amount
    with suppress(BadRow):  # an unknown currency has no decimals that are known
        if isinstance(amount, Decimal) and isinstance(currency, str):
            money = wording.money(amount, currency)
            if Decimal(money.partition(" ")[0]) == amount:
                return money
    return f"{_shown(amount)} {_shown(currency)}"


def _asked_for_refund(change: Change) -> str:
    amount = _priced(change.details).get("amount", (None, None))[1]
    return f"{change.by} asked for a refund of {_shown(amount)}, {_of_period(change)}."


def _asked_for_mail(change: Change) -> str:
    return f"{change.by} {ChangeKind.RESENT.words}, {_of_period(change)}."


def _mail_cleared(change: Change) -> str:
    """In words: which address, what stood against the address, and why the fault was cleared."""
    details = {name: old if name == "fault" else new for name, (old, new) in change.details.items()}
    before = _STOOD.get(str(details.get("fault")), "a mail there had failed")
    told = f"{change.by} {ChangeKind.MAIL_CLEARED.words} at {_said('customer_email', details)}, though {before}"
    return f"{told}: {_said('why', details).rstrip('.')}."


def _of_period(change: Change) -> str:
    return f"of the period from {wording.day(date.fromisoformat(str(change.details['period'][1])))} on"


_OF_A_PERIOD = {ChangeKind.REFUNDED: _asked_for_refund, ChangeKind.RESENT: _asked_for_mail}


def _said(name: str, details: Item) -> str:
    return _shown(without_personal_data(name, details.get(name)))


def _from_to(name: str, old: Value, new: Value) -> str:
    before, after = (
        subscription.status_words(each) if name == "status" else _shown(without_personal_data(name, each))
        for each in (old, new)
    )
    if old is None:
        return f"set to {after}"
    return "removed" if new is None else f"from {before} to {after}"


def _shown(value: object) -> str:
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def _reminders(row: Item) -> Iterator[Entry]:
    """The latest reminder of each kind, and those before it that failed. The row may have been written by hand."""
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


def _marked(row: Item) -> Iterator[Entry]:
    """What stands against the address that the row has."""
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
    then = _THEN.get(kind, "nothing is certain")
    until = "until customer_email is changed, or the fault is cleared"
    yield Entry(
        at,
        EntryKind.ADDRESS_MARKED,
        f"The address {address} is marked, since mail to it {_fault(kind)}: {then} {until}.",
    )


def _skipped(item: Item) -> Entry:
    start = item_values.day(item, "renewal_date")
    if item.get("reason") == Reason.PAUSED:
        text = f"The period from {wording.day(start)} on is not billed: the subscription was paused."
    else:
        instead = item_values.day(item, "billed_instead")
        text = f"The period from {wording.day(start)} on is passed over: that from {wording.day(instead)} is billed."
    return Entry(_touched(item), EntryKind.SKIPPED, text, start)


def _period(renewal: Renewal, item: Item, zone: tzinfo) -> Iterator[Entry]:
    start = renewal.renewal_date

    def entry(at: datetime, kind: EntryKind | FaultKind | Unknown, text: str) -> Entry:
        return Entry(at, kind, text, start)

    what = f"{wording.money(renewal.amount, renewal.currency)} for {renewal.plan}"
    period = f"the period {wording.days(start, renewal.period_end)}"
    yield entry(_midnight(start, zone), EntryKind.DUE, f"{what} was due, for {period}.")
    yield entry(renewal.claimed_at, EntryKind.CLAIMED, f"The charge of {what} was begun, for {period}.")
    for name, refusal in renewal.refusals.items():
        yield entry(datetime.fromisoformat(refusal["at"]), EntryKind.DECLINED, _refused(name, refusal))
    if renewal.status in UNSETTLED and renewal.next_attempt is not None:
        told = "The payment is tried again, or asked about, on this day, or earlier with another card."
        yield entry(_midnight(renewal.next_attempt, zone), EntryKind.NEXT_ATTEMPT, told)
    if renewal.paid_at is not None:
        card = f" to {renewal.card}" if renewal.card else ""
        number = f"transaction {renewal.payment_id}, receipt {renewal.receipt_number}"
        # The gateway's clock has whole seconds: by it, the charge may have come before its claim.
        yield entry(
            max(renewal.paid_at, renewal.claimed_at), EntryKind.CHARGED, f"{what} was charged{card} ({number})."
        )
    yield from (entry(*ended) for ended in _ended(renewal, item))
    for _, refund in refunds.in_order(renewal.refunds):
        yield from (entry(*told) for told in _refund(refund, renewal.currency))
    yield from (entry(*said) for said in _mails(renewal, item))
    if renewal.flag is not None:
        yield entry(
            _touched(item),
            EntryKind.FLAG,
            _FLAGS.get(renewal.flag) or f"The renewal has {wording.not_known('a mark of the kind', renewal.flag)}.",
        )


def _refund(refund: RefundRecord, currency: str) -> Iterator[Told]:
    """What became of a refund. One that failed after the gateway had taken it is told of twice: what was said of it
    before stays true of its day."""
    amount, why = wording.money(refund["amount"], currency), wording.refund_failure(refund.get("reason"))
    at, by = datetime.fromisoformat(refund["at"]), f"by {refund['by']}"
    if refund["by"] == refunds.ELSEWHERE:
        by = "at the gateway, not through this system"
    with_id = f"(transaction {refund.get('refund_id')})"
    if refunds.is_unanswered(refund):
        yield at, EntryKind.REFUND, f"A refund of {amount} was asked for {by}; the gateway has not answered yet."
    elif refund["state"] == RefundState.CLAIMED:
        yield at, EntryKind.REFUND, f"A refund of {amount} to the customer was begun {by} and is on its way {with_id}."
    elif refund["state"] == RefundState.REFUNDED:
        yield at, EntryKind.REFUND, f"{amount} were refunded to the customer {by} {with_id}."
    elif "failed_at" in refund:
        yield at, EntryKind.REFUND, f"A refund of {amount} to the customer was begun {by} {with_id}."
        told = f"The refund of {amount} failed, and the customer did not get it: {why} {with_id}."
        yield datetime.fromisoformat(refund["failed_at"]), EntryKind.REFUND_FAILED, told
    else:
        yield at, EntryKind.REFUND, f"{amount} could not be refunded: {why}."


def _refused(attempt: str, refusal: RefusalRecord) -> str:
    code = refusal.get("decline_code")
    number, card = attempt.rpartition("_")[2], refusal["payment_method"]
    if code == "authentication_required":
        return f"Attempt {number} with {card}: the bank asks the customer to confirm the payment (3-D Secure)."
    call = _call(refusal.get("gateway_request_id"))
    return f"Attempt {number} with {card} was declined: {declines.in_words(code)} ({code}{call})."


def _call(request_id: object) -> str:
    """The gateway's own name of the call that it refused, which its support asks for."""
    return f", the gateway's {request_id}" if request_id else ""


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
        told = f"Whether the mail about {what} to {to} went out, nobody can tell: {reasons.in_words(mail.reason)}."
        return mail.at or mail.claimed_until, EntryKind.MAIL_UNKNOWN, told
    return mail.claimed_until, EntryKind.MAILING, f"Mailing {what} to {to}."


def _mails(renewal: Renewal, item: Item) -> Iterator[Told]:
    """Each mail, what SES said of it later, and whether the end waits for one."""
    earlier = [(item_values.text(each, "name"), mail_from(each)) for each in renewal.earlier_mails or ()]
    for name, mail in [*earlier, *renewal.mails.items()]:
        returned = item.get(f"returned_{name}", {})
        if not isinstance(returned, dict) or returned.get("at") != storable(mail.at):  # which says more of the mail
            yield _mailed(MailKind.of(name), mail)
    for name in item:
        if name.startswith("returned_"):
            yield from _returned(name.removeprefix("returned_"), item_values.fields(item, name), renewal)
    if renewal.held_at is not None:
        told = "The last attempt and the end wait: the customer could not be told of them. Correct customer_email, or "
        yield renewal.held_at, EntryKind.HELD, f"{told}cancel the subscription."


def _returned(name: str, said: Item, renewal: Renewal) -> Iterator[Told]:
    """What SES said of a mail after it was sent; with the sending, where the mail's own record tells of it no more."""
    what, to = wording.mail(MailKind.of(name)), masked(item_values.text(said, "to"))
    if "sent_at" in said and (name not in renewal.mails or storable(renewal.mails[name].at) != said["sent_at"]):
        yield item_values.moment(said, "sent_at"), EntryKind.MAILED, f"Mailed {what} to {to}."
    reason = f" ({without_personal_data('reason', said['reason'])})" if said["reason"] else ""
    kind = member(FaultKind, item_values.text(said, "kind"))
    yield item_values.moment(said, "at"), kind, f"The mail to {to} about {what} {_fault(kind)}{reason}."


def _ended(renewal: Renewal, item: Item) -> Iterator[Told]:
    """Each time that the work ended without a payment. Versions before kept the last time alone, while it stood."""
    endings = [*(renewal.endings or ())]
    at = item_values.moment(item, "ended_at") if "ended_at" in item else _touched(item)
    stands = renewal.status in (Status.FAILED, Status.GIVEN_UP)
    if stands and storable(at) not in {each["at"] for each in endings}:
        endings.append({"at": storable(at), "status": renewal.status, "reason": renewal.reason})
    for each in endings:
        still = stands and each is endings[-1]
        told = _ending(
            each["status"], each["reason"] or "", _call(item.get("gateway_request_id")) if still else "", still=still
        )
        yield datetime.fromisoformat(each["at"]), member(EntryKind, str(each["status"])), told


def _ending(status: str, reason: str, call: str, *, still: bool) -> str:
    if status == Status.GIVEN_UP:
        return f"The payment was given up and canceled, nothing was charged: {reasons.in_words(reason)}."
    waits = "It stopped, and waits for a person to look at it" if still else "It stopped, for a person to look at it"
    return f"{waits}: {reasons.in_words(reason)}{call}."


def _fault(kind: FaultKind | Unknown) -> str:
    """What became of a mail that SES had taken."""
    return wording.told(kind, "met a fault of the kind")


def _touched(item: Item) -> datetime:
    return item_values.moment(item, "touched_at")


def _midnight(day: date, zone: tzinfo) -> datetime:
    return datetime.combine(day, time(), zone)
