"""Decide how a chargeback ends the subscription: what changes in the subscription's row. Pure.

The customer keeps the paid days, and is not charged for a day after the paid days. An active subscription therefore
ends on its first unpaid day, even if somebody has set a later end, or if the charge of the next period has begun. A
past due subscription with an open charge ends in the same way.

Every other past due, paused or unpaid subscription ends with the days that the customer has paid by other payments than
the disputed payment. If no such days lie ahead, the subscription is canceled at once.

An open charge is given up. If the bank has taken the money of an open charge already, or takes the money later, the
payment is recorded, and the record moves `cancel_at` to the end of the newly paid period, unless the status is
`canceled` (renewals.ledger.payment_steps.paid). While a charge is open, a subscription is therefore ended by
`cancel_at`, and not by its status: the customer gets the newly paid days.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

from renewals.domain import pauses, subscription, transitions
from renewals.domain.changes import ChangeKind
from renewals.domain.disputes import DisputeEffect
from renewals.domain.errors import BadRow, RenewalError
from renewals.domain.renewal_history import History
from renewals.domain.transitions import Action, Standing

if TYPE_CHECKING:
    from renewals.domain.item_values import Item, Value


class Undecided(RenewalError):  # noqa: N818
    """Nobody can tell whether the seller has resumed the subscription after the chargeback."""


@dataclass(frozen=True, slots=True)
class Chargeback:
    """The facts that decide about the subscription of a charged back payment.

    Attributes:
        row: the raw attributes of the subscription; None if the customer has no such subscription any more.
        disputed: the first day of the disputed period.
        history: the latest periods of the subscription.
        is_kept: whether the deployment keeps disputed subscriptions.
        was_resumed_since: whether the seller has resumed the subscription after the chargeback: an old chargeback
            undoes no newer decision of the seller. A resumption by the customer does not count. None if a record of a
            change cannot be read, or was not read, and may be the record of such a resumption.
        was_won_long_ago: whether the dispute was won before this system first heard of the dispute, and the customer
            has paid a later period since.
    """

    row: Item | None
    disputed: date
    history: History
    today: date
    is_kept: bool
    was_resumed_since: bool | None
    was_won_long_ago: bool


@dataclass(frozen=True, slots=True)
class RowChange:
    """A change of the row. what: the kind of the change. to: the new value of each changed attribute."""

    what: ChangeKind
    to: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class End:
    """The effect of a chargeback. change: the change of the row; None if the row is left alone."""

    effect: DisputeEffect
    change: RowChange | None = None


def ends_as(found: Chargeback) -> End:
    """Return the effect of a chargeback on the subscription. Raises BadRow if the row cannot be read, and Undecided."""
    row, today = found.row, found.today
    if row is None:
        return End(DisputeEffect.GONE)
    stands = transitions.state(row, today)
    if stands is None:
        raise BadRow("status", "is unknown")
    if _is_over(row, stands, found):
        return End(DisputeEffect.NONE)
    if found.is_kept:
        return End(DisputeEffect.KEPT)
    if found.was_resumed_since:
        return End(DisputeEffect.RESUMED)
    if found.was_won_long_ago:
        return End(DisputeEffect.DECIDED)
    if found.was_resumed_since is None:
        raise Undecided("a record of a change may be the record of a resumption by the seller")
    end = _end(row, stands, found)
    if end is None:
        canceled = transitions.changes(row, Action.CANCEL_NOW, today)
        return End(DisputeEffect.ENDED, RowChange(ChangeKind.CANCELED, canceled))
    effect = DisputeEffect.ENDED if end <= today else DisputeEffect.ENDING
    return End(effect, RowChange(ChangeKind.ENDING, {"cancel_at": end.isoformat()}))


def _is_over(row: Item, stands: Standing, found: Chargeback) -> bool:
    """Whether the chargeback has nothing to end: the subscription has ended, or somebody has already set an end that is
    not later than the end that the chargeback would set."""
    if stands in (Standing.CANCELED, Standing.ENDED):
        return True
    own = row.get("cancel_at")
    end = _end(row, stands, found) if isinstance(own, str) else None
    return end is not None and str(own) <= end.isoformat()


def _end(row: Item, stands: Standing, found: Chargeback) -> date | None:
    """Return the first day after the subscription's end; None if the subscription is canceled at once."""
    charge = found.history.possible_charge
    if subscription.is_live(row) and (stands is not Standing.PAST_DUE or charge is not None):
        return _first_unpaid_day(row, found)
    end, others = found.today, History(each for each in found.history if each.renewal_date != found.disputed)
    while (paid := others.paid_within(end, end + timedelta(days=1))) is not None:
        end = paid.period_end
    if end > found.today:
        return end
    return min(charge.renewal_date, end) if charge is not None else None


def _first_unpaid_day(row: Item, found: Chargeback) -> date:
    """Return the first day for which the customer has not paid.

    Ordinarily the first unpaid day is the renewal date. Two cases are different:

    - Somebody has set the renewal date back into paid time: the first unpaid day comes after the periods that are paid
      from this date on.
    - Somebody has ended a pause by hand, by setting the status to active. The renewal date is then the date that the
      sweep set during the pause, and the time before this date is not paid. The first unpaid day is today, or the first
      day after the paid periods if that day is later.
    """
    day, history = subscription.day(row, "renewal_date"), found.history
    if row.get(pauses.NOTE) == day.isoformat():
        return pauses.resumption(subscription.parse(row), found.today, history).until
    while (paid := history.paid.claimed_for(day)) is not None:
        day = paid.period_end
    return day
