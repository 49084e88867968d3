"""The decisions of the charge, and the outcomes of carrying them out.

process_payment.rules decides, and process_payment.charge carries the decision out.
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
    """The outcome that a Choice state reads.

    Attributes:
        reason: a short name of the reason, if the outcome alone does not tell why.
    """

    name: PaymentOutcome
    reason: str = ""
    renewal: Renewal | None = None


WHILE_OFF = Outcome(PaymentOutcome.NOTHING_TO_DO, Reason.CHARGING_IS_OFF)
AT_THE_BANK = Outcome(PaymentOutcome.IN_PROGRESS, Reason.PROCESSING)


@dataclass(frozen=True, slots=True)
class Answer:
    """Nothing is left to do but to answer with the outcome."""

    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Note:
    """Write a step, and carry out the decision that `then` returns afterwards. If the step is refused because somebody
    changed the data since the snapshot, the newer data stays, and `then` is called all the same."""

    step: Step[object]
    then: Callable[[], Decision]


@dataclass(frozen=True, slots=True)
class Move:
    """Move the subscription's renewal date on by this step without a charge, and answer with the outcome."""

    step: Step[None]
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class LookAgain:
    """Move the subscription's renewal date by this step, read everything again, and decide anew.

    Attributes:
        why: the reason, for the log.
        asked: the request from now on; None: the request stays as before.
    """

    step: Step[None]
    why: str
    asked: RenewalRequest | None = None


@dataclass(frozen=True, slots=True)
class ClaimPeriod:
    """Claim the due period, and charge the customer. by_sweep: whether the sweep made the request."""

    claim: Claim
    subscription: Subscription
    by_sweep: bool


@dataclass(frozen=True, slots=True)
class TakeOver:
    """Become the owner of an interrupted, parked or failed period, and continue its work. by_event: whether an event of
    the gateway caused the request."""

    renewal: Renewal
    by_event: bool


@dataclass(frozen=True, slots=True)
class RecordPaid:
    """Record a payment that succeeded earlier."""

    renewal: Renewal
    payment: Payment


@dataclass(frozen=True, slots=True)
class NextAttempt:
    """Begin the next attempt at the payment with the subscription's payment method.

    Attributes:
        dunned: the number of dunning dates that have passed once the attempt has begun, today's dunning date included.
    """

    renewal: Renewal
    subscription: Subscription
    payment: Payment
    dunned: int


@dataclass(frozen=True, slots=True)
class PassDate:
    """Let a dunning date pass without an attempt.

    Attributes:
        dunned: the number of dunning dates that count as passed from now on.
        next_date: the next dunning date; None after the last date.
        notice: the kind of mail that the customer is owed.
        held: whether the last dunning date or the end of dunning is put off until the customer was told when dunning
            ends.
        outcome: the answer.
    """

    renewal: Renewal
    dunned: int
    next_date: date | None
    notice: MailKind | None
    outcome: Outcome
    held: bool = False


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Cancel the period's payment, and give the period up.

    Attributes:
        row: the subscription's row; None if the row is deleted.
        ends_as: the status that the subscription gets because dunning is over; None if the period is given up for a
            different reason.
    """

    renewal: Renewal
    row: Row | None
    reason: str
    ends_as: SubscriptionStatus | None = None


@dataclass(frozen=True, slots=True)
class Fail:
    """Mark the period as failed: a person must look at the period."""

    renewal: Renewal
    reason: Reason


type Decision = (
    Answer | Note | Move | LookAgain | ClaimPeriod | TakeOver | RecordPaid | NextAttempt | PassDate | GiveUp | Fail
)
