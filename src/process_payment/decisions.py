"""What the charge can decide to do, and what comes of it.

process_payment.rules decides, and process_payment.charge does it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from renewals.domain.outcomes import PaymentOutcome
from renewals.domain.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from process_payment.claims import Claim
    from renewals.domain.payment import Payment
    from renewals.domain.renewal import MailKind, Renewal
    from renewals.domain.request import RenewalRequest
    from renewals.domain.subscription import Subscription, SubscriptionStatus
    from renewals.ledger.steps import Row, Step


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a Choice state reads. reason: why, as a short name, where the name alone does not say."""

    name: PaymentOutcome
    reason: str = ""
    renewal: Renewal | None = None


WHILE_OFF = Outcome(PaymentOutcome.NOTHING_TO_DO, Reason.CHARGING_IS_OFF)
AT_THE_BANK = Outcome(PaymentOutcome.IN_PROGRESS, Reason.PROCESSING)


@dataclass(frozen=True, slots=True)
class Answer:
    """There is nothing to do but to answer."""

    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Note:
    """Write a step, and decide then what is to be done next. Where somebody changed what was read, what they wrote
    stands."""

    step: Step[object]
    then: Callable[[], Decision]


@dataclass(frozen=True, slots=True)
class Move:
    """The subscription moves on without a charge, by this step; then that is answered."""

    step: Step[None]
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class LookAgain:
    """The subscription moves by this step, and everything is looked at again. why: for the log. asked: what is asked
    from then on; None: the same as before."""

    step: Step[None]
    why: str
    asked: RenewalRequest | None = None


@dataclass(frozen=True, slots=True)
class ClaimPeriod:
    """Claim the period that is due, and charge it. by_sweep: the sweep asks."""

    claim: Claim
    subscription: Subscription
    by_sweep: bool


@dataclass(frozen=True, slots=True)
class TakeOver:
    """Own an interrupted, parked or failed period, and go on where its work stands."""

    renewal: Renewal


@dataclass(frozen=True, slots=True)
class RecordPaid:
    """The payment went through before: record it."""

    renewal: Renewal
    payment: Payment


@dataclass(frozen=True, slots=True)
class NextAttempt:
    """Begin the next attempt at the payment, with the subscription's card. dunned: so many dunning dates are behind it
    then."""

    renewal: Renewal
    subscription: Subscription
    payment: Payment
    dunned: int


@dataclass(frozen=True, slots=True)
class PassDate:
    """A dunning date passes without an attempt. dunned: so many are behind it then. next_date: the next one; None: it
    was the last. notice: the mail that the customer is owed. held: the last step waits. outcome: what is answered."""

    renewal: Renewal
    dunned: int
    next_date: date | None
    notice: MailKind | None
    outcome: Outcome
    held: bool = False


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Cancel the period's payment, and give the period up. row: the subscription, None where it is gone. ends_as: what
    the subscription becomes with it, where dunning ends it."""

    renewal: Renewal
    row: Row | None
    reason: str
    ends_as: SubscriptionStatus | None = None


@dataclass(frozen=True, slots=True)
class Fail:
    """Leave the period for a person to look at."""

    renewal: Renewal
    reason: Reason


type Decision = (
    Answer | Note | Move | LookAgain | ClaimPeriod | TakeOver | RecordPaid | NextAttempt | PassDate | GiveUp | Fail
)
