"""Changes of a subscription on request, and the words of the timeline for a change. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from renewals.domain import subscription, wording
from renewals.domain.declaration_numbers import number_of
from renewals.domain.errors import BadRow
from renewals.domain.item_values import Item, Value, fields, moment, several, text
from renewals.domain.mail_faults import FaultKind
from renewals.domain.renewal import Mail
from renewals.domain.renewal_items import mail_from
from renewals.domain.row_attributes import without_personal_data
from renewals.domain.worded import Unknown, Worded, member

type Details = Mapping[str, tuple[Value, Value]]
"""The changed attributes, each with its value before and after; None if the row had or has no such attribute."""


class ChangeKind(Worded):
    """The kind of a change. In the timeline, the words follow the name of the person or program behind the request."""

    CREATED = "created", "created the subscription"
    EDITED = "edited", "changed the subscription"
    CANCELED = "canceled", "canceled the subscription"
    ENDING = "ending", "canceled the subscription at the end of its period"
    PAUSED = "paused", "paused the subscription"
    RESUMED = "resumed", "resumed the subscription"
    CARD = "card", "updated the payment method"
    REFUNDED = "refunded", "asked for a refund"
    RENEWING = "renewing", "asked for a renewal at once"
    REDRIVEN = "redriven", "moved a renewal from the dead-letter queue back to the queue"
    RESENT = "resent", "asked for the mail of the receipt to be sent again"
    MAIL_CLEARED = "mail_cleared", "allowed mail to the customer again"
    SIGNED_OUT = "signed_out", "closed all links to the customer page"
    LINK_ASKED = "link_asked", "asked for a link to the customer page"
    CANCELLATION_DECLARED = "cancellation_declared", "sent a cancellation by the public form, for a person to look at"
    WITHDRAWAL_DECLARED = "withdrawal_declared", "sent a withdrawal by the public form, for a person to look at"


CUSTOMER = "customer"
"""The `by` of a change that the customer has made on the customer page."""

BY_ADDRESS = "somebody who typed the mail address"
"""The `by` of a request that was made on the customer page without a link: nobody has shown whose the address is."""

SOMEBODY = "somebody"
"""The `by` of a declaration on a public form: nobody knows who has sent the form."""

CONFIRMATION = "confirmation"
"""The attribute of a change's record with the record of the mail that confirms the change."""

EARLIER_CONFIRMATIONS = "earlier_confirmations"
"""The attribute of a change's record with the records of confirmations that failed and were tried again."""

IMPORTED = "imported"
"""The attribute of the record of a creation by an import: the event of the creation does not count as asked for."""

CONFIRMABLE = "confirmable"
"""The attribute of a change's record that is true if the customer may be owed a mail because of the change. The records
of earlier versions lack the attribute, and so does the creation of an imported subscription: an upgrade and an import
mail nobody."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change on request.

    Attributes:
        at: The moment of the change.
        by: The person or the program behind the request.
        what: The kind of the change.
        details: The changed attributes, before and after.
        key: The place of the record among the records of the subscription.
        is_confirmable: Whether the customer may be owed a mail because of the change (CONFIRMABLE).
        mail: The mail that confirms the change; None if no mail was claimed.
        earlier_mails: Confirmations that failed and were tried again, oldest first.
    """

    at: datetime
    by: str
    what: ChangeKind | Unknown
    details: Details
    key: str = ""
    is_confirmable: bool = False
    mail: Mail | None = None
    earlier_mails: Sequence[Mail] = ()


def change_from(item: Item) -> Change:
    """Read the record of a change. Raises KeyError, TypeError or ValueError if the item was not written by this
    system."""
    at = moment(item, "at")
    if at.tzinfo is None:
        raise ValueError("a moment without its time zone")
    return Change(
        at,
        text(item, "by"),
        member(ChangeKind, text(item, "what")),
        {name: _pair(each) for name, each in fields(item, "details").items()},
        text(item, "change"),
        item.get(CONFIRMABLE) is True,
        mail_from(fields(item, CONFIRMATION)) if CONFIRMATION in item else None,
        [mail_from(fields({"a mail": each}, "a mail")) for each in several(item, EARLIER_CONFIRMATIONS)]
        if EARLIER_CONFIRMATIONS in item
        else (),
    )


def _pair(kept: Value) -> tuple[Value, Value]:
    """Return the value before and the value after. Raises TypeError and ValueError for a stored value without both."""
    if not isinstance(kept, list):
        raise TypeError("no list")
    old, new = kept
    return old, new


def may_tell(item: Item, what: ChangeKind, since: datetime) -> bool:
    """Whether a record that cannot be read may be the record of a change of the kind `what` after a moment."""
    kind = item.get("what")
    is_other = isinstance(kind, str) and kind in ChangeKind and kind != what
    return not is_other and _may_be_since(item, since)


def may_lack(changes: Sequence[Change], unreadable: Sequence[Item], since: datetime) -> bool:
    """Whether a list of the latest records that is not complete may lack a record of a change after a moment. The list
    lacks records that are older than every record with a time in the key."""
    keys: list[Item] = [*({"change": each.key} for each in changes), *unreadable]
    return all(_may_be_since(each, since) for each in keys)


def _may_be_since(item: Item, since: datetime) -> bool:
    """Whether the key of a record permits that the record was written after a moment."""
    try:
        return datetime.fromisoformat(text(item, "change").partition("/")[0]) > since
    except (TypeError, ValueError):  # no time, or a time without its zone
        return True


_DISPUTE = "the dispute "


def of_dispute(dispute_id: str) -> str:
    """Return the `by` of a change that the dispute has caused."""
    return f"{_DISPUTE}{dispute_id}"


def is_of_dispute(by: str) -> bool:
    """Whether a dispute has caused the change with this `by`."""
    return by.startswith(_DISPUTE)


_FAULT_BEFORE: dict[str, str] = {
    FaultKind.BOUNCED: "an earlier mail had come back",
    FaultKind.COMPLAINED: "an earlier mail had been reported as spam",
}


def change_in_words(change: Change) -> str:
    """Tell a change in a sentence for the timeline."""
    if isinstance(change.what, ChangeKind) and change.what in _OF_A_PERIOD and "period" in change.details:
        with suppress(ValueError):  # somebody wrote the period by hand, and the period is no date
            return _OF_A_PERIOD[change.what](change)
    if change.what is ChangeKind.MAIL_CLEARED:
        return _mail_cleared(change)
    details = sorted(_priced(change.details).items())
    said = "; ".join(f"{name} {_from_to(name, old, new)}" for name, (old, new) in details)
    did = f"{change.by} {wording.told(change.what, 'made a change of the kind')}{_declared(change)}"
    return f"{did}: {said}." if said else f"{did}."


def _declared(change: Change) -> str:
    """Name the declaration that has caused a change."""
    number = number_of(change.key)
    return f" (declaration {number})" if number else ""


def _priced(details: Details) -> Details:
    """Return the details with the amount in its currency. An amount without a recorded currency stays a bare number:
    earlier versions recorded the currency only if the currency itself was changed."""
    if not {"amount", "currency"} <= details.keys():
        return details
    (old, new), (before, now) = details["amount"], details["currency"]
    others = {name: each for name, each in details.items() if name != "currency"}
    return {**others, "amount": (_price(old, before), _price(new, now))}


def _price(amount: Value, currency: Value) -> Value:
    """Return the amount as 5.00 EUR; without an amount or a currency, return the amount unchanged. A row that was
    written by hand may hold any values."""
    if amount is None or currency is None:
        return amount
    with suppress(BadRow):  # the number of decimals of an unknown currency is unknown
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


_OF_A_PERIOD = {ChangeKind.REFUNDED: _asked_for_refund, ChangeKind.RESENT: _asked_for_mail}
"""The changes that belong to a billing period, each with the function that tells the change."""


def _mail_cleared(change: Change) -> str:
    """Tell the address, the fault that the address had, and the reason for clearing the fault."""
    details = {name: old if name == "fault" else new for name, (old, new) in change.details.items()}
    before = _FAULT_BEFORE.get(str(details.get("fault")), "an earlier mail had failed")
    told = f"{change.by} {ChangeKind.MAIL_CLEARED.words}, at {_said('customer_email', details)}, although {before}"
    return f"{told}. The reason given: {_said('why', details).rstrip('.')}."


def _of_period(change: Change) -> str:
    return f"of the period from {wording.day(date.fromisoformat(str(change.details['period'][1])))} on"


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
