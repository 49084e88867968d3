"""The timeline of a subscription: all events in order, in plain words. It answers "why was I charged, or not?".

The entries come from the items of the ledger and from the records of requested changes; no entry is guessed. Mail
addresses are masked. Decline codes stand beside their words, so that readers can look up a code. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, date, datetime, time, tzinfo
from typing import TYPE_CHECKING

from renewals.domain import declines, item_values, reasons, refunds, subscription, wording
from renewals.domain.attempts import is_exhausted
from renewals.domain.changes import Change, change_in_words
from renewals.domain.errors import BadRow
from renewals.domain.item_values import Item, storable
from renewals.domain.mail_faults import FaultKind
from renewals.domain.reasons import Reason
from renewals.domain.renewal import UNSETTLED, Flag, RefundState, Renewal, Status
from renewals.domain.renewal_items import renewal_from
from renewals.domain.subscription import SubscriptionStatus
from renewals.domain.timeline_disputes import disputes_told
from renewals.domain.timeline_entries import Entry, EntryKind, Told
from renewals.domain.timeline_mails import address_marked, confirmations_told, mails_told, reminders_told
from renewals.domain.worded import Unknown, member

if TYPE_CHECKING:
    from renewals.domain.stored import RefundRecord, RefusalRecord

_TRIED = frozenset(
    {
        EntryKind.DUE,
        EntryKind.CLAIMED,
        EntryKind.DECLINED,
        EntryKind.CHALLENGED,
        EntryKind.GIVEN_UP,
        EntryKind.FAILED,
        EntryKind.MAILED,
        EntryKind.MAIL_FAILED,
        EntryKind.MAIL_UNKNOWN,
    }
)
"""The events of a period that stay true if the period is passed over after a charge was tried."""
_FLAGS: dict[str, str] = {
    Flag.SUBSCRIPTION_CHANGED: "The subscription was changed during the charge, and therefore kept its renewal date.",
    Flag.AMOUNT_DIFFERS: "The gateway charged a different amount than was claimed.",
}


def timeline(
    row: Item,
    items: Iterable[Item],
    changes: Iterable[Change],
    zone: tzinfo = UTC,
    today: date | None = None,
) -> list[Entry]:
    """Return all entries, the oldest entry first. The next attempt at an open payment has an entry beforehand, dated
    with the day of the attempt.

    Args:
        row: The raw row of the subscription.
        items: The raw items of the subscription's ledger.
        changes: The records of the changes that people and programs requested.
        zone: The time zone of the business: an entry that has only a date stands at midnight of this zone.
        today: The day on which the timeline is read. If the subscription has reached its end by this day, the end has
            an entry even before the sweep writes the new status. Without `today`, only a written end has an entry.
    """
    changes = [*changes]
    entries = [Entry(change.at, change.what, change_in_words(change), by=change.by) for change in changes]
    entries += reminders_told(row)
    entries += confirmations_told(changes)
    entries += address_marked(row)
    entries += _over(row, zone, today)
    for item in items:
        entries += _readable(item, zone)
    # If a dispute ended the subscription, both entries have the same moment. The dispute, as the cause, comes first.
    return sorted(entries, key=lambda entry: (entry.at, entry.kind is not EntryKind.DISPUTE))


def _readable(item: Item, zone: tzinfo) -> Iterator[Entry]:
    """Yield the entries of an item as far as the item can be read: somebody may have changed the item by hand."""
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
            told = f"Some of the ledger's data about the period from {wording.day(start)} on cannot be read."
            yield Entry(_midnight(start, zone), EntryKind.FLAG, told, start)


def _of_item(item: Item, zone: tzinfo) -> Iterator[Entry]:
    if item["status"] != Status.SKIPPED:
        yield from _period(renewal_from(item), item, zone)
        return
    yield _skipped(item)
    if "claim" in item:  # a charge was tried before the period was passed over
        yield from (entry for entry in _period(renewal_from(item), item, zone) if entry.kind in _TRIED)


def _over(row: Item, zone: tzinfo, today: date | None) -> Iterator[Entry]:
    """Yield the entry for the end of the subscription on the day in `cancel_at`, once the subscription has ended."""
    is_canceled = subscription.status_of(row) is SubscriptionStatus.CANCELED
    written = is_canceled and row.get(subscription.ENDED_ON) == row.get("cancel_at")
    try:
        end = subscription.day(row, "cancel_at")
    except BadRow:  # the row has no cancel_at, or somebody wrote by hand a value that is no day
        return
    if written or (today is not None and subscription.is_over(row, today)):
        told = "The subscription ended, since its end was set for this day."
        yield Entry(_midnight(end, zone), EntryKind.ENDED, told)


def _skipped(item: Item) -> Entry:
    start = item_values.day(item, "renewal_date")
    if item.get("reason") == Reason.PAUSED:
        text = f"The period from {wording.day(start)} on is not billed: the subscription was paused."
    else:
        instead = item_values.day(item, "billed_instead")
        later = f"the later period from {wording.day(instead)} on is billed instead"
        text = f"The period from {wording.day(start)} on is not billed: {later}."
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
    if renewal.challenged_at is not None:
        told = "The customer began to confirm the payment with the bank."
        yield entry(renewal.challenged_at, EntryKind.CHALLENGED, told)
    if renewal.status in UNSETTLED and renewal.next_attempt is not None:
        told = (
            "On this day the payment is tried again, or the gateway is asked for the result. After an update of the "
            "payment method, the next attempt comes earlier, unless the period has had many attempts already."
        )
        if is_exhausted(renewal, renewal.next_attempt):
            told = "On this day the gateway is asked for the result. No card is tried, after many attempts."
        yield entry(_midnight(renewal.next_attempt, zone), EntryKind.NEXT_ATTEMPT, told)
    if renewal.paid_at is not None:
        card = f" to {renewal.card}" if renewal.card else ""
        number = f"transaction {renewal.payment_id}, receipt {renewal.receipt_number}"
        # The gateway's clock has whole seconds only, so the gateway's time of the charge may lie before the claim.
        yield entry(
            max(renewal.paid_at, renewal.claimed_at), EntryKind.CHARGED, f"{what} was charged{card} ({number})."
        )
    yield from (entry(*ended) for ended in _ended(renewal, item))
    for _, refund in refunds.in_order(renewal.refunds):
        yield from (entry(*told) for told in _refund(refund, renewal.currency))
    yield from (entry(*told) for told in disputes_told(renewal))
    yield from (entry(*said) for said in mails_told(renewal, item))
    if renewal.flag is not None:
        yield entry(
            _touched(item),
            EntryKind.FLAG,
            _FLAGS.get(renewal.flag) or f"The renewal has {wording.not_known('a mark of the kind', renewal.flag)}.",
        )


def _refund(refund: RefundRecord, currency: str) -> Iterator[Told]:
    """Yield the entries of a refund.

    A refund that failed after the gateway had accepted the refund has two entries: the beginning on the day of the
    request, and the failure on a later day.
    """
    amount, why = wording.money(refund["amount"], currency), wording.refund_failure(refund.get("reason"))
    at, by = datetime.fromisoformat(refund["at"]), f"by {refund['by']}"
    if refund["by"] == refunds.ELSEWHERE:
        by = "at the gateway, not through this system"
    with_id = f"(transaction {refund.get('refund_id')})"
    if refunds.is_unanswered(refund):
        yield at, EntryKind.REFUND, f"A refund of {amount} was requested {by}; the gateway has not answered yet."
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
    """Return the end of a sentence with the gateway's id of the refused call; empty without an id. The gateway's
    support asks for this id."""
    return f", gateway request {request_id}" if request_id else ""


def _ended(renewal: Renewal, item: Item) -> Iterator[Told]:
    """Yield an entry for each time that the work on a period ended without a payment.

    Earlier versions recorded only the latest end, in the attributes of a failed or given-up period.
    """
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
        return f"The payment was given up and canceled, and nothing was charged: {reasons.in_words(reason)}."
    waits = "waits" if still else "waited"
    return f"The renewal stopped, and {waits} for a person to look at it: {reasons.in_words(reason)}{call}."


def _touched(item: Item) -> datetime:
    return item_values.moment(item, "touched_at")


def _midnight(day: date, zone: tzinfo) -> datetime:
    return datetime.combine(day, time(), zone)
