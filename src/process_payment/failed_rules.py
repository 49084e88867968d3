"""Decide about a failed period of a due subscription. The period's payment can still succeed.

The rules are asked in the order of `FAILED`, and the first rule that applies decides. After an update of the payment
method, a new attempt is made at the payment. After a correction of the customer or of the date, the period is given up,
so that the corrected subscription gets a new payment.
"""

from collections.abc import Callable

from process_payment.continuing import OPEN, take_on
from process_payment.decisions import WHILE_OFF, Answer, Decision, GiveUp, NextAttempt, Outcome, RecordPaid
from process_payment.snapshot import Snapshot
from renewals.domain import currencies
from renewals.domain.outcomes import PaymentOutcome
from renewals.domain.payment import PaymentState
from renewals.domain.reasons import Reason
from renewals.domain.renewal import Renewal
from renewals.ledger.payment_steps import why_withdrawn


def _worked_on(seen: Snapshot) -> Decision | None:
    """A different execution works on the period."""
    owned = _of(seen).owned_by_another(seen.around.execution, seen.around.now)
    return Answer(Outcome(PaymentOutcome.IN_PROGRESS, "", _of(seen))) if owned else None


def _only_asked(seen: Snapshot) -> Decision | None:
    """An event of the gateway causes no attempt: an unpaid period stays failed."""
    if seen.asked.gateway_event is None:
        return None
    failed = _of(seen)
    return _succeeded_after_all(seen) or Answer(Outcome(PaymentOutcome.NOTHING_TO_DO, failed.reason or "", failed))


def _same_card(seen: Snapshot) -> Decision | None:
    """A period is continued if neither the subscription nor the payment method was corrected."""
    same = _why_withdrawn(seen) is None and seen.subscription.payment_method == _of(seen).payment_method
    return take_on(seen, _of(seen)) if same else None


def _succeeded_after_all(seen: Snapshot) -> Decision | None:
    """The payment has succeeded meanwhile."""
    payment = seen.payment(_of(seen))
    return RecordPaid(_of(seen), payment) if payment.state is PaymentState.PAID else None


def _bank_decides(seen: Snapshot) -> Decision | None:
    """While a bank is deciding, the payment can be neither confirmed nor canceled. This execution takes the period
    over, and the period waits for the bank."""
    return None if seen.payment(_of(seen)).state in OPEN else take_on(seen, _of(seen))


def _failed_while_off(seen: Snapshot) -> Decision | None:
    """While charging is off, a corrected period waits."""
    return Answer(WHILE_OFF) if seen.around.is_off(_of(seen)) else None


def _withdrawn(seen: Snapshot) -> Decision | None:
    """A period is given up if its subscription was moved or was given to a different customer."""
    over = _why_withdrawn(seen)
    return GiveUp(_of(seen), seen.subscription.row, over) if over is not None else None


def _useless_payment(seen: Snapshot) -> Decision | None:
    """A canceled payment cannot be confirmed with the new card, and a payment of a different amount than the period's
    must not be confirmed. The period is given up."""
    failed, payment = _of(seen), seen.payment(_of(seen))
    asked = currencies.exact_minor_units(failed.amount, failed.currency), failed.currency
    if payment.state is not PaymentState.CANCELED and (payment.amount, payment.currency) == asked:
        return None
    return GiveUp(failed, seen.subscription.row, Reason.ANOTHER_CARD)


def _updated_card(seen: Snapshot) -> Decision:
    """A new attempt is made with the updated payment method."""
    return NextAttempt(_of(seen), seen.subscription, seen.payment(_of(seen)), _of(seen).dunned)


FAILED: tuple[Callable[[Snapshot], Decision | None], ...] = (
    _worked_on,
    _only_asked,
    _same_card,
    _succeeded_after_all,
    _bank_decides,
    _failed_while_off,
    _withdrawn,
    _useless_payment,
    _updated_card,
)


def _of(seen: Snapshot) -> Renewal:
    """Return the failed period."""
    if seen.claimed is None:
        raise ValueError("no period is claimed")
    return seen.claimed


def _why_withdrawn(seen: Snapshot) -> str | None:
    return _of(seen).withdrawn or why_withdrawn(_of(seen), seen.subscription.row)
