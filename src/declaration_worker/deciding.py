"""The rules about declarations: which cancellation takes effect by itself, and which declaration waits for a person.

Anybody who knows an address can send a declaration. A cancellation therefore takes effect by itself only if the
customer is told by mail at the address on file, and can take the end back on the customer page: the subscription is
active, and three whole days lie between today and the end of the period. A declaration that names the subscription's id
proves no more: receipts and links show the id, too.

A declaration does not undo a newer decision, such as a resumption, that was made before a late look at the declaration.
A renewal that was charged after the declaration is left to a person, and the subscription ends all the same.

A customer who takes an end back is safe from further declarations for 30 days: each waits for a person.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from renewals.domain import declarations, mail_faults, subscription, transitions
from renewals.domain.changes import CUSTOMER, SOMEBODY, Change, ChangeKind
from renewals.domain.declaration_numbers import number_of
from renewals.domain.declarations import DeclarationKind, DeclarationState, Doubt, Recorded, Way
from renewals.domain.errors import BadRow, Collision, Overtaken, repeat_while_outdated
from renewals.domain.item_values import text
from renewals.domain.mail_faults import FaultKind
from renewals.domain.renewal import MailKind
from renewals.domain.transitions import Action, NotAllowed, Standing
from renewals.ledger.asked_by import AskedBy
from renewals.ledger.customer_changes import act, cancellation, history_of
from renewals.ledger.register import Register
from renewals.ledger.steps import Row

if TYPE_CHECKING:
    from datetime import datetime

    from renewals.domain.renewal_history import History
    from renewals.runtime.attribute_values import TransactAction
    from renewals.runtime.clock import Moment

_LOOKS = 4
_SAFE = timedelta(days=30)
_TO_TAKE_BACK = timedelta(days=3)
_OVER = (Standing.CANCELED, Standing.ENDED)
_ENDS = (ChangeKind.CANCELED, ChangeKind.ENDING)
_RECEIVED = {
    DeclarationKind.CANCELLATION: ChangeKind.CANCELLATION_DECLARED,
    DeclarationKind.WITHDRAWAL: ChangeKind.WITHDRAWAL_DECLARED,
}


class Decision(NamedTuple):
    """What becomes of a declaration. subscription_id: the subscription that the declaration fits, or empty."""

    state: DeclarationState
    why: str = ""
    subscription_id: str = ""


@dataclass(frozen=True, slots=True)
class Deciding:
    """The decisions about declarations.

    Attributes:
        rows_at: returns the rows with a mail address.
        moment_of: returns the present moment for a row.
        may_mail: counts one more mail about the receipt of a declaration, and returns whether the limit permits it.
        kinds: the kinds of confirmations that the deployment mails.
        still: returns the check that nobody has dealt with the declaration since the read.
    """

    register: Register
    rows_at: Callable[[str], Iterable[Row]]
    moment_of: Callable[[Row], Moment]
    may_mail: Callable[[Row], bool]
    kinds: Collection[str]
    still: Callable[[Recorded], TransactAction]

    def decide(self, record: Recorded) -> Decision:
        """Decide about a new declaration, and carry the decision out.

        Raises:
            Collision: other writers keep changing the subscription, or somebody has dealt with the declaration.
        """
        busy = Collision("the subscription")
        return repeat_while_outdated(lambda: self._looked_at(record), tries=_LOOKS, otherwise=busy)

    def _looked_at(self, record: Recorded) -> Decision:
        row = declarations.fitting(record.declaration, self._candidates(record), self._is_over)
        if row is None:
            return Decision(DeclarationState.FOR_A_PERSON, Doubt.NO_FIT)
        subscription_id = text(row, "subscription_id")
        if record.declaration.kind is DeclarationKind.WITHDRAWAL:
            why: Doubt | None = Doubt.WITHDRAWAL
        else:
            try:
                why = self._canceled(record, row)
            except (BadRow, NotAllowed):
                why = Doubt.UNREADABLE
        if why is None:
            return Decision(DeclarationState.EFFECTIVE, subscription_id=subscription_id)
        self._confirm_receipt(record, row)
        return Decision(DeclarationState.FOR_A_PERSON, why, subscription_id)

    def _candidates(self, record: Recorded) -> Iterator[Row]:
        """Yield the rows that the declaration may be about: of the named ids, and of the typed address."""
        at_address = (text(row, "subscription_id") for row in self.rows_at(record.declaration.address))
        for each in dict.fromkeys([*declarations.names_in(record.declaration.contract), *at_address]):
            rows = self.register.ledger.rows(each)
            if len(rows) == 1:  # nobody can tell whose a subscription of two customers is
                yield rows[0]

    def _is_over(self, row: Row) -> bool:
        return transitions.state(row, self.moment_of(row).today) in _OVER

    def _canceled(self, record: Recorded, row: Row) -> Doubt | None:
        """Cancel the subscription as its customer does on the page.

        Returns why a person must look at the declaration; None if the subscription ends and nothing is left to decide.
        """
        moment = self.moment_of(row)
        declared_at = record.declared_at + (moment.now - moment.wall)  # by the subscription's clock
        changes, unreadable, is_complete = self.register.changes.readable(text(row, "subscription_id"))
        history = history_of(self.register, row)
        rest = _left_to_decide(record, history, declared_at)
        earlier = next((each for each in changes if number_of(each.key) == record.number), None)
        if earlier is not None:  # an earlier run was cut off
            return rest if earlier.what in _ENDS else Doubt.CUT_OFF
        subscription.parse(row)  # no mail can be written of a row that cannot be read
        found = cancellation(self.register, row, moment.today, lambda: history)
        if found is None:
            return rest or Doubt.ENDS_ALREADY
        action, ends_on = found
        wished = record.declaration.wished
        if wished is not None and wished > ends_on:
            return Doubt.LATER_DAY
        # A record that cannot be read keeps customers from taking an end back: see looking.resumption_of.
        has_time = ends_on - moment.today > _TO_TAKE_BACK
        if action is not Action.CANCEL_AT_PERIOD_END or unreadable or not has_time:
            return Doubt.NO_WAY_BACK
        doubt = self._cannot_tell(row) or _decided_since(changes, declared_at, moment.now)
        if not is_complete:  # further records may have resumptions
            doubt = doubt or Doubt.TAKEN_BACK
        if doubt is None:
            asked = AskedBy(CUSTOMER, moment.now, at=moment.wall, cause=record.number)
            act(self.register, row, action, moment.today, asked, beside=[self.still(record)])
        return doubt or rest

    def _cannot_tell(self, row: Row) -> Doubt | None:
        is_told = MailKind.CANCELLATION in self.kinds and mail_faults.kind(row) is not FaultKind.BOUNCED
        return None if is_told else Doubt.CANNOT_TELL

    def _confirm_receipt(self, record: Recorded, row: Row) -> None:
        """Have the receipt of the declaration confirmed by mail to the address on file, as often as the limit permits.
        Nothing is mailed to an address that only a stranger has typed."""
        if self.may_mail(row):
            moment = self.moment_of(row)
            asked = AskedBy(SOMEBODY, moment.now, at=moment.wall, cause=record.number)
            with suppress(Overtaken):  # the record of the end, or of an earlier run, names the declaration already
                self.register.changes.note(text(row, "subscription_id"), _RECEIVED[record.declaration.kind], asked)


def _left_to_decide(record: Recorded, history: History, declared_at: datetime) -> Doubt | None:
    """Return what a person decides after the subscription has ended by the declaration; None if nothing is left."""
    if any(each.claimed_at >= declared_at for each in history):
        return Doubt.CHARGED
    return Doubt.EXTRAORDINARY if record.declaration.way is Way.EXTRAORDINARY else None


def _decided_since(changes: Sequence[Change], declared_at: datetime, now: datetime) -> Doubt | None:
    """Return the doubt that a decision about the subscription is newer than the declaration, or that such an end was
    taken back lately; otherwise None."""
    if any(each.at >= declared_at and _is_decision(each) for each in changes):
        return Doubt.NEWER
    return Doubt.TAKEN_BACK if _is_taken_back(changes, now) else None


def _is_decision(change: Change) -> bool:
    """Whether the change is a decision that the subscription goes on, or about its end."""
    is_edit_of_end = change.what is ChangeKind.EDITED and bool({"cancel_at", "status"} & change.details.keys())
    return is_edit_of_end or change.what in (ChangeKind.CREATED, ChangeKind.RESUMED)


def _is_taken_back(changes: Sequence[Change], now: datetime) -> bool:
    """Whether the subscription was resumed within 30 days after a declaration had canceled it."""
    ends = [each.at for each in changes if each.what in _ENDS and number_of(each.key) is not None]
    resumed = [each.at for each in changes if each.what is ChangeKind.RESUMED and now - each.at < _SAFE]
    return bool(ends and resumed) and min(ends) < max(resumed)
