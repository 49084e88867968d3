"""Handle the events of payments: run the workflow for the period whose payment has changed.

The workflow asks the gateway about the payment, records the answer, and sends the receipt or the mail. A payment that
the customer confirmed at the bank's page is therefore receipted within seconds, and not on the next dunning date.
"""

from gateway_worker.handling import KNOWN, EventOutcome, Handled, Seams, later, passed_over
from renewals.domain.gateway_event import GatewayEvent, GatewayEventType
from renewals.domain.renewal import Renewal, Status
from renewals.domain.request import RenewalRequest

_UNPAID = frozenset({Status.CLAIMED, Status.DECLINED, Status.ACTION_REQUIRED, Status.FAILED})
"""The states from which a payment can be recorded as paid."""

_UNDER_LEASE = frozenset({Status.CLAIMED, Status.FAILED})
"""The states in which an execution at work holds the lease. The lease of a refused period has done its work."""

_NEWS = {
    GatewayEventType.PAYMENT_SUCCEEDED: _UNPAID,
    GatewayEventType.PAYMENT_FAILED: frozenset({Status.CLAIMED}),
    GatewayEventType.PAYMENT_CANCELED: frozenset({Status.CLAIMED}),
    GatewayEventType.PAYMENT_PROCESSING: frozenset({Status.CLAIMED}),
}
"""For each type of event, the states of a period for which the event is news. In every other state the ledger says so
already, or dunning asks the gateway before anything is charged."""


def payment_changed(event: GatewayEvent, seams: Seams) -> Handled:
    """Run the workflow for the period of a changed payment, unless the ledger knows the change already."""
    period = seams.period(event)
    if period is None or period.payment_id != event.object_id:
        # A claim may be about to get its payment: only a period at rest says that the payment is not its own.
        at_work = seams.lease_of_another(period) if period is not None and period.payment_id is None else None
        return at_work or passed_over("no period has the payment")
    return _told(event, period, seams) or _renewed(event, period, seams)


def _told(event: GatewayEvent, period: Renewal, seams: Seams) -> Handled | None:
    """Return the answer without a run of the workflow; None if the workflow must run."""
    if period.paid_at is not None or period.status not in _NEWS[event.type]:
        return KNOWN
    return seams.lease_of_another(period) if period.status in _UNDER_LEASE else None


def _renewed(event: GatewayEvent, period: Renewal, seams: Seams) -> Handled:
    request = RenewalRequest(
        period.subscription_id,
        period.customer_id,
        period.amount,
        period.renewal_date,
        gateway_event=event.event,
    )
    if not seams.run(request):
        return later("the workflow failed")
    # An execution that was faster may have asked the gateway before the payment changed.
    stands = seams.ledger.get(period.subscription_id, period.renewal_date.isoformat())
    at_work = seams.lease_of_another(stands) if stands is not None and stands.status is Status.CLAIMED else None
    return at_work or Handled(EventOutcome.DONE)
