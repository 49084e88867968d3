"""Whether a customer may use the subscribed product today, and until when. Pure.

A customer is entitled for the days that are paid, and for the days before the first charge. If the charge is late
because the sweep was late, charging is off, the gateway gave no answer, or the row or the renewal waits for a person,
the seller is at fault, and the customer stays entitled. If the customer's bank refused the charge, the customer has
some days of grace, counted from the first attempt.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

from renewals.domain import refunds, subscription
from renewals.domain.errors import BadRow
from renewals.domain.item_values import Item
from renewals.domain.renewal import RefundState, Renewal, Status
from renewals.domain.renewal_history import History
from renewals.domain.subscription import SubscriptionStatus


class EntitlementReason(StrEnum):
    """Why a customer is entitled or is not."""

    PAID = "paid"
    """Today is paid."""
    NOT_BILLED_YET = "not_billed_yet"
    """The first charge, or the next charge after a resumption, lies ahead, as in a trial or after an import."""
    DUE = "due"
    """The charge is due and has no result yet, or cannot be made for now. The seller is late, not the customer."""
    PAST_DUE = "past_due"
    """The bank refused the charge."""
    ACTION_REQUIRED = "action_required"
    """The bank asks the customer to confirm the payment."""
    PAUSED = "paused"
    REFUNDED = "refunded"
    """The period of today was refunded whole."""
    DISPUTED = "disputed"
    """The customer disputes the payment of today at the bank. The customer is entitled until the bank has decided, and
    not entitled if the bank has taken the whole payment back for good."""
    UNPAID = "unpaid"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Entitlement:
    """What a customer may use.

    Attributes:
        until: the first day after the days that are paid, or that need no payment, as in a trial. Days of grace do not
            count. None if no such day is known today.
        grace_until: the first day after the days of grace. Days of grace follow if the charge that is due on the day
            `until` was refused, or may still be refused. None if no days of grace would follow.
    """

    reason: EntitlementReason
    entitled: bool
    until: date | None = None
    grace_until: date | None = None

    @property
    def ends(self) -> date | None:
        """The first day without entitlement, as far as anybody knows today; None if no such day is known."""
        return self.grace_until or self.until


_DAY = timedelta(days=1)

_REFUSED: Mapping[Status, EntitlementReason] = {
    Status.DECLINED: EntitlementReason.PAST_DUE,
    Status.ACTION_REQUIRED: EntitlementReason.ACTION_REQUIRED,
}


def entitlement(row: Item, history: History, today: date, grace: timedelta) -> Entitlement:
    """Return what the customer of a subscription may use today.

    Args:
        row: the raw attributes of the subscription. A fault of the row takes nothing from the customer.
        history: the latest periods of this customer.
        today: the business's day, or the day of the subscription's test clock.
        grace: for how long after the first refused attempt the customer stays entitled.
    """
    status, end = subscription.status_of(row), _day(row, "cancel_at")
    if status is SubscriptionStatus.CANCELED or (end is not None and end <= today):
        ended = _day(row, subscription.ENDED_ON) or (end if end is not None and end <= today else None)
        return Entitlement(EntitlementReason.ENDED, entitled=False, until=ended)
    kept = History(period for period in history if not _was_taken_back(period))
    paid = kept.paid_within(today, _later(today, _DAY))
    if paid is not None:
        reason = EntitlementReason.DISPUTED if paid.is_contested else EntitlementReason.PAID
        return _paid(kept, today, end, grace, status, reason)
    if status is SubscriptionStatus.UNPAID:
        return Entitlement(EntitlementReason.UNPAID, entitled=False)
    if status is SubscriptionStatus.PAUSED:
        return Entitlement(EntitlementReason.PAUSED, entitled=False)
    of_today = [period for period in history.ever_paid if period.renewal_date <= today < period.period_end]
    if of_today:
        lost = any(map(_was_taken_back, of_today))
        return Entitlement(EntitlementReason.DISPUTED if lost else EntitlementReason.REFUNDED, entitled=False)
    return _unpaid(row, history, today, end, grace)


def _was_taken_back(period: Renewal) -> bool:
    """Whether the bank has taken the payment back for good: either the whole payment, or, after a refund of a part, the
    rest of the payment."""
    taken = period.lost_to_disputes
    refunded = refunds.in_state(period, RefundState.REFUNDED)
    return taken > 0 and taken + refunded >= period.amount and not period.is_contested


def _paid(
    history: History,
    today: date,
    end: date | None,
    grace: timedelta,
    status: SubscriptionStatus | None,
    reason: EntitlementReason,
) -> Entitlement:
    """Return the entitlement of a customer who has paid for today."""
    until = today
    while (period := history.paid_within(until, _later(until, _DAY))) is not None:
        until = period.period_end
    if end is not None and end <= until:
        return Entitlement(reason, entitled=True, until=end)
    renews = status is None or status.is_live
    return Entitlement(reason, entitled=True, until=until, grace_until=_later(until, grace) if renews else None)


def _unpaid(row: Item, history: History, today: date, end: date | None, grace: timedelta) -> Entitlement:
    """Return the entitlement of a customer who has not paid for today."""
    refused = _refusal(row, history)
    if refused is not None:
        return _refused(*refused, today, end, grace)
    due = subscription.renewal_date_of(row)
    if due is None or due <= today or history.unsettled is not None:
        return Entitlement(EntitlementReason.DUE, entitled=True, until=end)
    if end is not None and end <= due:
        return Entitlement(EntitlementReason.NOT_BILLED_YET, entitled=True, until=end)
    return Entitlement(EntitlementReason.NOT_BILLED_YET, entitled=True, until=due, grace_until=_later(due, grace))


def _refusal(row: Item, history: History) -> tuple[EntitlementReason, date, date] | None:
    """Return the reason of a refused charge, the first day that is unpaid because of the refusal, and the day of the
    first attempt. Return None if no charge was refused. While a further attempt is running, the last refusal still
    counts."""
    unsettled = history.unsettled
    if unsettled is not None:
        was_refused = unsettled.status in _REFUSED or unsettled.refusals
        reason = _REFUSED.get(unsettled.status, EntitlementReason.PAST_DUE)
        return (reason, unsettled.renewal_date, unsettled.first_tried_on) if was_refused else None
    due = subscription.renewal_date_of(row)
    if due is None or subscription.status_of(row) is not SubscriptionStatus.PAST_DUE:
        return None
    failed = history.claimed_for(due)  # None if the status was set by hand or by an import, without a charge
    return EntitlementReason.PAST_DUE, due, failed.first_tried_on if failed else due


def _refused(
    reason: EntitlementReason, unpaid: date, tried: date, today: date, end: date | None, grace: timedelta
) -> Entitlement:
    """Return the entitlement of a customer whose bank refused the charge. The days of grace begin with the first
    attempt, so that a late sweep shortens no grace."""
    grace_until = min(_later(max(tried, unpaid), grace), end or date.max)
    return Entitlement(reason, entitled=today < grace_until, until=unpaid, grace_until=grace_until)


def _later(day: date, by: timedelta) -> date:
    """Return the day that lies `by` after `day`, but not later than 9999-12-31, which people write for "never"."""
    return day + by if by <= date.max - day else date.max


def _day(row: Item, name: str) -> date | None:
    """Return the day in an attribute; None if the attribute is missing or holds no day."""
    try:
        return subscription.day(row, name)
    except BadRow:
        return None
