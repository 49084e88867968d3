"""Handle the events of payments: run the workflow for the period whose payment has changed.

The workflow asks the gateway about the payment, records the answer, and sends the receipt or the mail. A payment that
the customer confirmed at the bank's page is therefore receipted within seconds, and not on the next dunning date.
"""

from datetime import timedelta

from gateway_worker.handling import KNOWN, EventOutcome, Handled, Seams, later, passed_over
from renewals.domain.gateway_event import GatewayEvent, GatewayEventType
from renewals.domain.renewal import Renewal, Status
from renewals.domain.request import RenewalRequest

UNPAID = frozenset({Status.CLAIMED, Status.DECLINED, Status.ACTION_REQUIRED, Status.FAILED})
"""The states from which a payment can be recorded as paid."""

UNDER_LEASE = frozenset({Status.CLAIMED, Status.FAILED})
"""The states in which a lease shows that an execution works on the payment. A refused period may have a lease too, but
the result of the payment is already recorded."""

_NEWS = {
    GatewayEventType.PAYMENT_SUCCEEDED: UNPAID,
    GatewayEventType.PAYMENT_FAILED: frozenset({Status.CLAIMED}),
    GatewayEventType.PAYMENT_CANCELED: frozenset({Status.CLAIMED, Status.ACTION_REQUIRED}),
    GatewayEventType.PAYMENT_PROCESSING: frozenset({Status.CLAIMED}),
}
"""For each type of event, the states of a period in which the event is news. In every other state the ledger holds the
result of the payment already, or dunning asks the gateway about the payment before the next charge."""


def payment_changed(event: GatewayEvent, seams: Seams) -> Handled:
    """Run the workflow for the period of a changed payment, unless the ledger knows the change already."""
    period = seams.period(event.metadata)
    if period is None or period.payment_id != event.object_id:
        # While an execution holds the lease, the execution may have created the payment and not yet stored the id of
        # the payment. The event is looked at again after the lease, and passed over if the id is still not stored.
        at_work = seams.lease_of_another(period) if period is not None and period.payment_id is None else None
        return at_work or passed_over("no period has the payment")
    return _without_a_run(event, period, seams) or renewed(event, period, seams)


def _without_a_run(event: GatewayEvent, period: Renewal, seams: Seams) -> Handled | None:
    """Return the answer without a run of the workflow; None if the workflow must run."""
    if period.paid_at is not None or period.status not in _NEWS[event.type]:
        return KNOWN
    return seams.lease_of_another(period) if period.status in UNDER_LEASE else None


def renewed(event: GatewayEvent, period: Renewal, seams: Seams) -> Handled:
    """Run the workflow for the period, and return DONE, or LATER if the workflow failed or another execution works on
    the period."""
    if not seams.run(RenewalRequest.of_period(period, event.event)):
        return later("the workflow failed")
    # If a different execution held the lease during this run, this run did nothing, and the other execution may have
    # asked the gateway before the payment changed. The event is therefore looked at again after the lease.
    stands = seams.period_of(period)
    at_work = seams.lease_of_another(stands) if stands is not None and stands.status is Status.CLAIMED else None
    return at_work or Handled(EventOutcome.DONE)


def paid_first(event: GatewayEvent, period: Renewal, seams: Seams) -> Handled:
    """Have the payment of a period recorded before the refund or the dispute of the payment. The event is delivered
    again, because a function has time for a single run of the workflow."""
    if period.status not in UNPAID:
        return passed_over("no period has the payment")
    recorded = renewed(event, period, seams)
    if recorded.outcome is EventOutcome.LATER:
        return recorded
    stands = seams.period_of(period)
    return later("the payment comes first", timedelta() if stands is not None and stands.paid_at is not None else None)
