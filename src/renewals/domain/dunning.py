"""Dunning: the dates on which a refused renewal is retried, and the day on which dunning ends. Pure; callers pass
`today`.

Day zero is the day of the period's first attempt. On each dunning date the gateway is asked about the period's payment.
The payment is then confirmed again unless a retry is pointless: after a hard decline only a different card helps, and a
payment under 3-D Secure waits for the customer.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

from renewals.domain.attempts import MOST_ATTEMPTS, attempts, is_exhausted
from renewals.domain.errors import BadSetting
from renewals.domain.subscription import SubscriptionStatus

if TYPE_CHECKING:
    from renewals.domain.renewal import Renewal

_MOST_DAYS = 30  # less than the 40 days after a renewal date in which the hourly sweep looks at the subscription
_MOST_DATES = 8
"""The first attempt and these retries confirm a payment at most nine times. A tenth confirmation stays possible for a
new card, before Stripe cancels the payment: Stripe does so after an undocumented number of confirmations
(https://docs.stripe.com/payments/paymentintents/lifecycle; others measured ten declines). Stripe itself advises eight
retries, too (https://docs.stripe.com/billing/revenue-recovery/smart-retries)."""


@dataclass(frozen=True, slots=True)
class Dunning:
    """The dunning schedule.

    Attributes:
        days: the dunning dates, as days counted from day zero.
        ends_as: the subscription's status once dunning is over, canceled or unpaid.
    """

    days: tuple[int, ...]
    ends_as: SubscriptionStatus

    @classmethod
    def of(cls, days: str, ends_as: str) -> Dunning:
        """Read the schedule from settings such as "1,3,5,7" and "canceled". Raises BadSetting."""
        try:
            counted = tuple(int(day) for day in days.split(","))
        except ValueError:
            raise BadSetting("DUNNING_DAYS", "is not a list of whole numbers, as 1,3,5,7") from None
        if list(counted) != sorted(set(counted)) or not 1 <= counted[0] <= counted[-1] <= _MOST_DAYS:
            raise BadSetting("DUNNING_DAYS", f"does not list days in rising order, from 1 to {_MOST_DAYS}")
        if len(counted) > _MOST_DATES:
            raise BadSetting("DUNNING_DAYS", f"has more than {_MOST_DATES} days")
        if ends_as not in (SubscriptionStatus.CANCELED, SubscriptionStatus.UNPAID):
            raise BadSetting("DUNNING_ENDS_AS", "is neither canceled nor unpaid")
        return cls(counted, SubscriptionStatus(ends_as))

    def next_date(self, day_zero: date, behind: int, today: date) -> date | None:
        """Return the next dunning date once `behind` dunning dates have passed; None after the last date.

        The next date is never before tomorrow. If several dunning dates were missed, for example while charging was
        off, the retries follow on successive days, and no retry is left out.
        """
        if behind >= len(self.days):
            return None
        return max(day_zero + timedelta(days=self.days[behind]), today + timedelta(days=1))

    def is_last(self, behind: int) -> bool:
        """Whether the next dunning date is the last."""
        return behind == len(self.days) - 1

    def is_ending(self, behind: int) -> bool:
        """Whether at most the last dunning date is left."""
        return behind >= len(self.days) - 1

    def tries_new_card(self, renewal: Renewal, today: date) -> bool:
        """Whether a new card is tried at once. Otherwise the new card is tried on the next dunning date: for each
        dunning date that is left, one attempt is kept back."""
        return attempts(renewal, today) + max(len(self.days) - renewal.dunned, 0) < MOST_ATTEMPTS

    def retry_on(self, renewal: Renewal, today: date) -> date | None:
        """Return the first dunning date ahead on which a card may be tried; None if the period has had so many attempts
        that every dunning date passes without an attempt."""
        on: date | None = max(renewal.next_attempt or today, today)
        behind = renewal.dunned
        while on is not None and is_exhausted(renewal, on):
            behind += 1
            on = self.next_date(renewal.first_tried_on, behind, on)
        return on

    @property
    def last_step(self) -> timedelta:
        """The time between the last two dunning dates. The final notice is mailed this long before dunning ends."""
        return timedelta(days=self.days[-1] - (self.days[-2] if len(self.days) > 1 else 0))

    def ends_on(self, day_zero: date, behind: int, next_date: date) -> date:
        """Return the day on which the renewal is given up if nothing changes. behind: how many dunning dates have
        passed. next_date: the first dunning date still ahead."""
        left = max(len(self.days) - behind - 1, 0)
        return max(day_zero + timedelta(days=self.days[-1]), next_date + timedelta(days=left))
