"""Count the attempts whose results were just recorded. Every function takes the renewal as read before the recording,
because only a renewal without refusals shows that the attempt is the first.

First attempts have counters of their own, because most attempts of dunning are refused even on a good day.
"""

from decimal import Decimal

from renewals.domain.declines import is_hard
from renewals.domain.payment import Failure
from renewals.domain.renewal import Renewal, Status
from renewals.runtime import telemetry


def count_paid(renewal: Renewal, amount: Decimal, currency: str) -> None:
    """Count a paid attempt. amount: the amount that the gateway took, in major units."""
    if _is_first(renewal):
        telemetry.count("FirstAttempts")
    telemetry.count("RenewalsCharged")
    telemetry.amount("AmountCharged", float(amount), currency)


def count_refused(renewal: Renewal, status: Status, failure: Failure) -> None:
    """Count a refused attempt. status: DECLINED or ACTION_REQUIRED."""
    if _is_first(renewal):
        telemetry.count("FirstAttempts")
    telemetry.count(_kind(status, failure))
    if _is_first(renewal):
        telemetry.count("FirstAttemptsRefused")


def _is_first(renewal: Renewal) -> bool:
    return not renewal.refusals


def _kind(status: Status, failure: Failure) -> str:
    """Return the counter of a refusal. After a soft decline, a later retry may succeed; after a hard decline, only an
    updated payment method helps."""
    if status is Status.ACTION_REQUIRED:
        return "RenewalsActionRequired"
    hard = is_hard(failure.decline_code or failure.code, failure.advice_code)
    return "RenewalsDeclinedHard" if hard else "RenewalsDeclinedSoft"
