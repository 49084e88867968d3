"""Dunning: when a refused renewal is tried again, and when it is given up. Pure; `today` is always handed in.

Day zero is the day of the period's first attempt. On each dunning date the same payment is asked about, and confirmed
again unless that is pointless: after a hard decline only another card helps, and 3-D Secure waits for the customer.
"""

from dataclasses import dataclass
from datetime import date, timedelta

from renewals.domain.errors import BadSetting
from renewals.domain.subscription import SubscriptionStatus

_MOST_DAYS = 30  # the hourly sweep looks back 40
_MOST_DATES = 8
"""The first attempt and these are at most nine confirmations of one payment, and leave room for a new card's: Stripe
cancels a payment after a number of them that it does not tell (https://docs.stripe.com/payments/paymentintents/lifecycle;
ten declines were measured by others). Eight tries are also what Stripe itself advises
(https://docs.stripe.com/billing/revenue-recovery/smart-retries)."""


@dataclass(frozen=True, slots=True)
class Dunning:
    """The schedule. days: of the dunning dates, counted from day zero. ends_as: the subscription's status after them,
    canceled or unpaid."""

    days: tuple[int, ...]
    ends_as: SubscriptionStatus

    @classmethod
    def of(cls, days: str, ends_as: str) -> "Dunning":
        """From settings, such as "1,3,5,7" and "canceled". Raises BadSetting."""
        try:
            counted = tuple(int(day) for day in days.split(","))
        except ValueError:
            raise BadSetting("DUNNING_DAYS", "is not a list of whole numbers, as 1,3,5,7") from None
        if list(counted) != sorted(set(counted)) or not 1 <= counted[0] <= counted[-1] <= _MOST_DAYS:
            raise BadSetting("DUNNING_DAYS", f"does not rise from 1 or more to {_MOST_DAYS} or less")
        if len(counted) > _MOST_DATES:
            raise BadSetting("DUNNING_DAYS", f"has more than {_MOST_DATES} days")
        if ends_as not in (SubscriptionStatus.CANCELED, SubscriptionStatus.UNPAID):
            raise BadSetting("DUNNING_ENDS_AS", "is neither canceled nor unpaid")
        return cls(counted, SubscriptionStatus(ends_as))

    def next_date(self, day_zero: date, behind: int, today: date) -> date | None:
        """The dunning date after `behind` of them; None when that was the last.

        Never before tomorrow: where the dates were missed, they follow day by day, and none is left out.
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

    @property
    def last_step(self) -> timedelta:
        """From the dunning date before the last one to the last: so long the final notice is ahead of the end."""
        return timedelta(days=self.days[-1] - (self.days[-2] if len(self.days) > 1 else 0))

    def ends_on(self, day_zero: date, behind: int, next_date: date) -> date:
        """When it is given up, if nothing changes. next_date: the dunning date after `behind` of them."""
        left = max(len(self.days) - behind - 1, 0)
        return max(day_zero + timedelta(days=self.days[-1]), next_date + timedelta(days=left))
