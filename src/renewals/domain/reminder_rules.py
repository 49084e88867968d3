"""When a deployment reminds customers of a renewal: the parameters ReminderDays and RemindedPeriodDays.

The rules have a module of their own, because functions that read records of reminders start faster without the rules.
"""

from __future__ import annotations

from typing import NamedTuple

CARD_DAYS = 7
"""A reminder about a card comes at most this many days before the renewal. Banks replace many cards shortly before the
card expires: an earlier mail would often ask for an update that the customer need not make."""


class Rules(NamedTuple):
    """When a deployment reminds customers of a renewal.

    Attributes:
        days: a reminder comes at most this many days before the renewal, and the reminder of the first charge after a
            trial at most seven days before; with 0, nobody is reminded of anything.
        from_period: a renewal is announced if its period has this many days or more.
    """

    days: int
    from_period: int

    @classmethod
    def of(cls, days: str, from_period: str) -> Rules:
        """Read the parameters ReminderDays and RemindedPeriodDays."""
        return cls(int(days), int(from_period))

    @property
    def card_days(self) -> int:
        """A reminder about a card comes at most this many days before the renewal."""
        return min(self.days, CARD_DAYS)
