"""The periods of a subscription that were claimed, and the questions that are asked of them. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from renewals.domain.reasons import Reason
from renewals.domain.renewal import UNSETTLED, Renewal, Status


def was_stopped(renewal: Renewal) -> bool:
    """Failed, because somebody canceled its payment at the gateway; whether or not it was passed over since."""
    if renewal.status is Status.SKIPPED:
        return [each["reason"] for each in (renewal.endings or ())][-1:] == [Reason.CANCELED_AT_THE_GATEWAY]
    return renewal.status is Status.FAILED and renewal.reason == Reason.CANCELED_AT_THE_GATEWAY


def is_undecided(renewal: Renewal) -> bool:
    """Failed, with a payment that the gateway may still have taken."""
    return _failed_with_payment(renewal) and not was_stopped(renewal)


def _failed_with_payment(renewal: Renewal) -> bool:
    return renewal.status is Status.FAILED and renewal.paid_at is None and renewal.payment_id is not None


class History(tuple[Renewal, ...]):
    """Periods of one subscription, newest first: ordinarily the latest ten, without those that were passed over."""

    __slots__ = ()

    @classmethod
    def of_customer(cls, renewals: Iterable[Renewal], customer_id: str) -> History:
        """Those of this customer: a subscription may have been another customer's before."""
        return cls(r for r in renewals if r.customer_id == customer_id)

    @property
    def unsettled(self) -> Renewal | None:
        """The period that is claimed or refused. There is at most one."""
        return next((r for r in self if r.status in UNSETTLED), None)

    @property
    def undecided(self) -> History:
        """The failed periods whose payments the gateway may still have taken."""
        return History(r for r in self if is_undecided(r))

    @property
    def has_open_charge(self) -> bool:
        """Whether a charge was begun or refused, or has failed with a payment, and is not paid."""
        return self.unsettled is not None or any(_failed_with_payment(r) for r in self)

    @property
    def ever_paid(self) -> History:
        """The periods that were paid, whether or not they were refunded."""
        return History(r for r in self if r.paid_at is not None)

    @property
    def paid(self) -> History:
        """The periods that are paid, and were not refunded whole."""
        return History(r for r in self if r.is_paid)

    @property
    def paid_until(self) -> date | None:
        """The end of what is paid, the first day after it."""
        return max((r.period_end for r in self.paid), default=None)

    def paid_within(self, start: date, end: date) -> Renewal | None:
        """The newest period of which a day within [start, end) is paid."""
        return next((r for r in self.paid if r.renewal_date < end and start < r.period_end), None)

    def claimed_for(self, day: date) -> Renewal | None:
        """The newest period that was claimed for this date of the subscription, or over it."""
        return next((r for r in self if r.was_claimed_for(day)), None)
