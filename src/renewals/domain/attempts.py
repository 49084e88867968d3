"""How often the payment of a period may be tried. Pure."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import date

    from renewals.domain.renewal import Renewal

MOST_ATTEMPTS = 15
"""The most attempts at the payment of one period within 30 days, whichever cards are tried. Visa lets a
refused payment be tried again at most 15 times in 30 days with the same card
(https://support.cardpointe.com/compliance/visa-decline-rules; later editions of the rule say 20), and Mastercard 35
times (https://developers.tabapay.com/docs/excessive-retry-rules). A card that a customer saves again has a new id at
the gateway: attempts are therefore counted for the period, and not for the card."""
_COUNTED = timedelta(days=30)


def is_exhausted(renewal: Renewal, today: date) -> bool:
    """Whether the period has had the most attempts, so that no card is tried any more."""
    return attempts(renewal, today) >= MOST_ATTEMPTS


def attempts(renewal: Renewal, today: date) -> int:
    """Return the number of the period's refused attempts of the last 30 days."""
    since = (today - _COUNTED).isoformat()
    return sum(refusal["at"] >= since for refusal in renewal.refusals.values())
