"""Confirmations: the mails that tell a customer of a change of the subscription, once for each change. Pure.

A sign-up, a cancellation, a resumption, a new payment method and a change of price, plan or interval are confirmed,
whoever asked for the change. The customer is also told of the end that a chargeback has set: a dispute sets at most one
end, so that the customer is told at most once for each dispute. A change has a record in the changes table, and the
record of the change's mail is kept with the record of the change. Rows that are written by hand have no such record.
The records of imports and of earlier versions lack a mark (CONFIRMABLE). None of these is confirmed.

A link to the customer page that the customer has asked for is mailed in the same way, whichever kinds of confirmations
the deployment sends. So is the receipt of a declaration that a person must look at.

A confirmation is only owed while the confirmation is true. Of several changes that undo or replace each other, only the
latest change is confirmed: a cancellation that was withdrawn before its mail went out is not confirmed. The mail about
a changed price names the price before all changes that the customer was not told of. A new payment method is confirmed
while the row has that payment method, also after the end of the subscription: the mail warns a customer whose link
somebody else has used.

The row may have a fault: the page has such a subscription canceled, too. The mail then says what can be read of the
row. New terms that cannot be read, and the coming end of a canceled subscription that cannot be read, are not told: the
mail is recorded as failed.

Decisions: D264, D317, D323 (DECISIONS.md).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from renewals.domain import mail_faults
from renewals.domain.changes import Change, ChangeKind, is_of_dispute
from renewals.domain.known import TERMS, Known, Terms, known, terms_of
from renewals.domain.renewal import MailKind, MailState
from renewals.domain.subscription import SubscriptionStatus

if TYPE_CHECKING:
    from renewals.domain.item_values import Item, Value

CONFIRMATIONS = (
    MailKind.SIGN_UP,
    MailKind.CANCELLATION,
    MailKind.RESUMPTION,
    MailKind.CHANGED_TERMS,
    MailKind.NEW_CARD,
    MailKind.ENDED_BY_DISPUTE,
)
"""The kinds of mails that tell of a change, as the parameter Confirmations names the kinds."""

_ENDS = (MailKind.CANCELLATION, MailKind.ENDED_BY_DISPUTE)
"""The kinds of mails that tell of the end of a subscription."""

_DECLARED: dict[str, MailKind] = {
    ChangeKind.CANCELLATION_DECLARED: MailKind.CANCELLATION_DECLARED,
    ChangeKind.WITHDRAWAL_DECLARED: MailKind.WITHDRAWAL_DECLARED,
}
"""The declarations on public forms, each with the mail that confirms the receipt."""

_ALWAYS = frozenset({MailKind.ACCOUNT_LINK, *_DECLARED.values()})
"""The kinds of mails that every deployment sends."""

_FRESH = timedelta(days=7)
"""A change is confirmed for so long, also after an outage of days. Later, the confirmation is recorded as failed."""

_TRIED_AGAIN = timedelta(days=40)
"""A confirmation that could not be mailed is tried again at a corrected address for so long. Later, nobody looks at the
change any more."""

_OF_LIFE: dict[str, MailKind | None] = {
    ChangeKind.CREATED: MailKind.SIGN_UP,
    ChangeKind.CANCELED: MailKind.CANCELLATION,
    ChangeKind.ENDING: MailKind.CANCELLATION,
    ChangeKind.RESUMED: MailKind.RESUMPTION,
    ChangeKind.PAUSED: None,
}
"""The changes that decide whether a subscription goes on, each with its confirmation. The latest of these changes makes
the confirmations of the earlier changes untrue. A pause is not confirmed."""


_GO_ON = (SubscriptionStatus.ACTIVE, SubscriptionStatus.PAST_DUE, SubscriptionStatus.PAUSED)
"""The statuses in which a customer is told of new terms."""


def wanted(parameter: str) -> frozenset[str]:
    """Return the kinds that the parameter Confirmations names."""
    return frozenset(filter(None, parameter.split(",")))


@dataclass(frozen=True, slots=True)
class Confirmation:
    """A mail about a change.

    Attributes:
        kind: a member of CONFIRMATIONS, or a kind that every deployment sends.
        change: the change that the mail confirms.
        subscription: what can be read of the row.
        before: the terms that the customer was last told of; None unless the kind is CHANGED_TERMS.
        is_late: whether the mail comes too late to be sent, and is recorded as failed.
    """

    kind: MailKind
    change: Change
    subscription: Known
    before: Terms | None = None
    is_late: bool = False

    @property
    def unreadable(self) -> str:
        """What the mail would have to tell and cannot be read of the row, in words; empty if all can be read."""
        if self.kind is MailKind.CHANGED_TERMS and self.subscription.terms is None:
            return "the new terms"
        is_canceled = self.subscription.status is SubscriptionStatus.CANCELED
        if self.kind in _ENDS and not is_canceled and self.subscription.has_unreadable_end:
            return "the end of the subscription"
        return ""


def kind_of(change: Change) -> MailKind | None:
    """Return the kind of mail that confirms the change; None for a change without a confirmation.

    A change that an import or an earlier version recorded is not confirmed. The end by a dispute is not confirmed as a
    cancellation, because the customer asked the bank and not the seller: the mail of such an end has its own kind.
    """
    if not change.is_confirmable:
        return None
    if change.what is ChangeKind.EDITED:
        return MailKind.CHANGED_TERMS if _terms_before(change) else None
    if change.what is ChangeKind.CARD:
        return MailKind.NEW_CARD if "payment_method" in change.details else None
    if change.what is ChangeKind.LINK_ASKED:
        return MailKind.ACCOUNT_LINK
    kind = _DECLARED.get(change.what) or _OF_LIFE.get(change.what)
    return MailKind.ENDED_BY_DISPUTE if kind is MailKind.CANCELLATION and is_of_dispute(change.by) else kind


def may_owe_mail(change: Change, kinds: Collection[str]) -> bool:
    """Whether somebody must look for owed confirmations after the change: the change is of a confirmed kind, or a
    customer whose mail failed may be mailed again."""
    is_about_address = change.what is ChangeKind.MAIL_CLEARED or "customer_email" in change.details
    kind = kind_of(change)
    return kind in kinds or kind in _ALWAYS or (bool(kinds) and is_about_address)


def owed(
    row: Item, changes: Sequence[Change], kinds: Collection[str], now: datetime, *, tested: bool
) -> list[Confirmation]:
    """Return the confirmations that still need work. A confirmation that is still recorded as being sent needs work,
    even if the confirmation is no longer true: a mail that was interrupted must be recorded as unknown. Any other
    confirmation must be true of the row now, and was never sent, or failed at an earlier address. A row without an
    address owes none: nobody is there to be mailed. An end by a dispute that nobody was told of in time owes none
    either: earlier versions recorded such ends and mailed nobody.

    Args:
        row: the subscription's row.
        changes: the records of the subscription's changes, in any order.
        kinds: the kinds of mails that the deployment sends.
        now: the moment of the subscription.
        tested: whether a test clock sets the moment. The moments of changes are then not compared with `now`, because
            somebody may move the test clock between the change and the mail.
    """
    address = mail_faults.address_of(row)
    if not address.to:
        return []
    subscription = known(row)

    def needs_work(change: Change) -> bool:
        mail = change.mail
        is_open = mail is None or (mail.state is MailState.FAILED and not mail_faults.is_in_vain(mail, address))
        return is_open and (tested or now - change.at < _TRIED_AGAIN)

    def dated(confirmation: Confirmation) -> Confirmation:
        change = confirmation.change
        return replace(confirmation, is_late=change.mail is None and not tested and now - change.at >= _FRESH)

    latest = sorted(changes, key=_moment, reverse=True)
    begun = [each for each in latest if each.mail is not None and each.mail.state is MailState.SENDING]
    links = [Confirmation(MailKind.ACCOUNT_LINK, each, subscription) for each in latest if _asks_for_link(each)][:1]
    received = [Confirmation(_DECLARED[each.what], each, subscription) for each in latest if each.what in _DECLARED]
    changed = [*_of_terms(latest, subscription, row, needs_work), *_of_card(latest, subscription, row)]
    true = [*_of_life(latest, subscription), *changed, *links, *received]
    sent = frozenset(kinds) | _ALWAYS
    owed = [dated(each) for each in true if each.change not in begun and each.kind in sent and needs_work(each.change)]
    owed = [each for each in owed if not (each.is_late and each.kind is MailKind.ENDED_BY_DISPUTE)]
    return [*(Confirmation(kind, each, subscription) for each in begun if (kind := kind_of(each))), *owed]


def _asks_for_link(change: Change) -> bool:
    return change.what is ChangeKind.LINK_ASKED


def _moment(change: Change) -> tuple[bool, datetime, str]:
    """Return the place of a change among all changes. The creation is the first change, although a test clock may have
    dated later changes before the creation. Of two changes at the same moment, every reader takes the same for the
    later one."""
    return change.what is not ChangeKind.CREATED, change.at, change.key


def _of_life(latest: Sequence[Change], subscription: Known) -> Iterator[Confirmation]:
    """Yield the confirmation of the latest change that decides whether the subscription goes on, if the row agrees."""
    change = next((each for each in latest if each.what in _OF_LIFE), None)
    kind = kind_of(change) if change is not None else None
    if change is None or kind is None:
        return
    # A paused or unpaid subscription keeps the end that a dispute has set, and the customer is told of no other end.
    is_live = subscription.status is not None and subscription.status.is_live
    holds = is_live or kind is MailKind.ENDED_BY_DISPUTE
    has_end = subscription.cancel_at is not None or subscription.has_unreadable_end
    ends = subscription.status is SubscriptionStatus.CANCELED or (
        change.what is ChangeKind.ENDING and holds and has_end
    )
    if ends if kind in _ENDS else is_live:
        yield Confirmation(kind, change, subscription)


def _of_terms(
    latest: Sequence[Change], subscription: Known, row: Item, needs_work: Callable[[Change], bool]
) -> Iterator[Confirmation]:
    """Yield the confirmation of the latest change of price, plan or interval, if the row has other terms than the
    customer knows."""
    changes = [each for each in latest if kind_of(each) is MailKind.CHANGED_TERMS]
    if not changes or subscription.status not in _GO_ON:
        return
    told = dict(_terms_before(changes[0]))
    for earlier in changes[1:]:
        if not needs_work(earlier):
            break
        told |= _terms_before(earlier)
    if all(row.get(name) == value for name, value in told.items()):
        return
    if subscription.terms is None:
        yield Confirmation(MailKind.CHANGED_TERMS, changes[0], subscription)
        return
    before = terms_of({name: value for name, value in {**row, **told}.items() if value is not None})
    # Earlier terms that somebody wrote by hand may be unreadable.
    if before is not None and before != subscription.terms:
        yield Confirmation(MailKind.CHANGED_TERMS, changes[0], subscription, before)


def _of_card(latest: Sequence[Change], subscription: Known, row: Item) -> Iterator[Confirmation]:
    """Yield the confirmation of the latest new payment method, if the row still has that payment method. A request that
    gave the same payment method again has a record without details, and replaces no earlier record."""
    change = next((each for each in latest if kind_of(each) is MailKind.NEW_CARD), None)
    if change is None:
        return
    _, given = change.details["payment_method"]
    if given == row.get("payment_method"):
        yield Confirmation(MailKind.NEW_CARD, change, subscription)


def _terms_before(change: Change) -> Mapping[str, Value]:
    """Return the terms before the change that the change replaced. The currency is recorded beside each changed amount,
    and counts only if the currency differs."""
    return {name: old for name in TERMS if name in change.details for old, new in [change.details[name]] if old != new}
