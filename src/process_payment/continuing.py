"""Decide how the work on a claimed, parked or failed renewal continues: the part that several rules share."""

from process_payment.claims import stands_at
from process_payment.decisions import WHILE_OFF, Answer, Decision, Fail, GiveUp, Outcome, RecordPaid, TakeOver
from process_payment.payments import REFUSED
from process_payment.snapshot import Snapshot
from renewals.domain.outcomes import PaymentOutcome
from renewals.domain.payment import PaymentState
from renewals.domain.reasons import Reason
from renewals.domain.renewal import Renewal, Status
from renewals.ledger.payment_steps import MOST_PICK_UPS, why_withdrawn

OPEN = frozenset({PaymentState.CANCELED, PaymentState.OPEN, *REFUSED})
"""The states of a payment that has not succeeded and about which no bank is deciding. Unless the payment is canceled
already, the payment can be confirmed or canceled."""


def take_on(seen: Snapshot, renewal: Renewal) -> Decision:
    """Continue an interrupted, parked or failed renewal, unless a different execution works on the renewal."""
    around = seen.around
    if renewal.owned_by_another(around.execution, around.now):
        return Answer(Outcome(PaymentOutcome.IN_PROGRESS, "", renewal))
    stands = stands_at(renewal)
    if stands is Status.CLAIMED:
        row, off = around.look(renewal)
        over = renewal.withdrawn or why_withdrawn(renewal, row)
        if over:
            return GiveUp(renewal, row, over)
        if off:
            return _only_ask(seen, renewal)
    by_event = seen.asked.gateway_event is not None
    interrupted = stands is renewal.status and renewal.owner != around.execution
    # During an outage of the gateway, every copy of every event comes back several times. Only sweeps are counted.
    if interrupted and not by_event and renewal.pickups >= MOST_PICK_UPS:
        return Fail(renewal, Reason.PICKED_UP_TOO_OFTEN)
    return TakeOver(renewal, by_event)


def _only_ask(seen: Snapshot, renewal: Renewal) -> Decision:
    """Record a payment that succeeded before charging was turned off; leave an unpaid payment alone."""
    if renewal.payment_id is not None:
        payment = seen.around.payments.retrieve_known(renewal)  # the current state: the bank may have decided since
        if payment.state is PaymentState.PAID:
            return RecordPaid(renewal, payment)
    return Answer(WHILE_OFF)
