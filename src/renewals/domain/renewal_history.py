"""The claimed billing periods of a subscription, and the questions that the rules ask about these periods. Pure.

Decision: D203 (DECISIONS.md).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from renewals.domain.reasons import Reason
from renewals.domain.renewal import UNSETTLED, Renewal, Status


def was_stopped(renewal: Renewal) -> bool:
    """Whether somebody stopped the renewal by canceling its payment at the gateway.

    A stopped renewal has failed, or failed first and was passed over later.
    """
    if renewal.status is Status.SKIPPED:
        return [each["reason"] for each in (renewal.endings or ())][-1:] == [Reason.CANCELED_AT_THE_GATEWAY]
    return renewal.status is Status.FAILED and renewal.reason == Reason.CANCELED_AT_THE_GATEWAY


def is_undecided(renewal: Renewal) -> bool:
    """Whether the renewal failed although its payment may have succeeded at the gateway."""
    return _failed_with_payment(renewal) and not was_stopped(renewal)


def _failed_with_payment(renewal: Renewal) -> bool:
    return renewal.status is Status.FAILED and renewal.paid_at is None and renewal.payment_id is not None


class History(tuple[Renewal, ...]):
    """Periods of one subscription, newest first: ordinarily the latest ten, without periods that were passed over."""

    __slots__ = ()

    @classmethod
    def of_customer(cls, renewals: Iterable[Renewal], customer_id: str) -> History:
        """Keep only the periods of this customer: the subscription may have belonged to a different customer before."""
        return cls(r for r in renewals if r.customer_id == customer_id)

    @property
    def unsettled(self) -> Renewal | None:
        """The period whose charge is claimed or refused, and not yet settled. At most one period is unsettled."""
        return next((r for r in self if r.status in UNSETTLED), None)

    @property
    def undecided(self) -> History:
        """The failed periods whose payments may still have succeeded at the gateway."""
        return History(r for r in self if is_undecided(r))

    @property
    def possible_charge(self) -> Renewal | None:
        """The newest period whose charge may still take money: the unsettled period, or else an undecided period."""
        return self.unsettled or next(iter(self.undecided), None)

    @property
    def has_open_charge(self) -> bool:
        """Whether a period is not paid and its charge was begun or refused, or has failed after a payment was created
        at the gateway."""
        return self.unsettled is not None or any(_failed_with_payment(r) for r in self)

    @property
    def ever_paid(self) -> History:
        """The periods that were paid, whether or not a refund followed."""
        return History(r for r in self if r.paid_at is not None)

    @property
    def paid(self) -> History:
        """The periods that are paid and not fully refunded."""
        return History(r for r in self if r.is_paid)

    @property
    def paid_until(self) -> date | None:
        """The end of the paid time: the first day after the last paid day."""
        return max((r.period_end for r in self.paid), default=None)

    def paid_within(self, start: date, end: date) -> Renewal | None:
        """Return the newest period with a paid day within [start, end)."""
        return next((r for r in self.paid if r.renewal_date < end and start < r.period_end), None)

    def claimed_for(self, day: date) -> Renewal | None:
        """Return the newest period that was claimed while the subscription's renewal date was `day`, or whose claim
        passed over `day`."""
        return next((r for r in self if r.was_claimed_for(day)), None)
