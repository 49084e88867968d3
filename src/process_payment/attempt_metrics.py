"""Counts attempts whose result was just recorded, each by the renewal as it stood before.

The first attempts are counted by themselves too: of dunning's, most are refused on the best of days.
"""

from decimal import Decimal

from renewals.domain.declines import is_hard
from renewals.domain.payment import Failure
from renewals.domain.renewal import Renewal, Status
from renewals.runtime import telemetry


def count_paid(renewal: Renewal, amount: Decimal, currency: str) -> None:
    """amount: what the gateway took, major units."""
    if _is_first(renewal):
        telemetry.count("FirstAttempts")
    telemetry.count("RenewalsCharged")
    telemetry.amount("AmountCharged", float(amount), currency)


def count_refused(renewal: Renewal, status: Status, failure: Failure) -> None:
    """status: DECLINED or ACTION_REQUIRED."""
    if _is_first(renewal):
        telemetry.count("FirstAttempts")
    telemetry.count(_kind(status, failure))
    if _is_first(renewal):
        telemetry.count("FirstAttemptsRefused")


def _is_first(renewal: Renewal) -> bool:
    return not renewal.refusals


def _kind(status: Status, failure: Failure) -> str:
    """The counter of a refusal: a soft one may pass by itself, a hard one needs another card."""
    if status is Status.ACTION_REQUIRED:
        return "RenewalsActionRequired"
    hard = is_hard(failure.decline_code or failure.code, failure.advice_code)
    return "RenewalsDeclinedHard" if hard else "RenewalsDeclinedSoft"
