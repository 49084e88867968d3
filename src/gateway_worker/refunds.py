"""Handle the events of refunds: let the workflow record the gateway's refunds of a payment, and tell the customer.

The refund may be ours, or may have been made by a person in the gateway's dashboard. A refund's own metadata do not
name a billing period. The gateway is therefore asked about the refund, and the metadata of the refunded payment lead to
the period. The workflow lists all refunds of the payment, and records each under its id: the order and the number of
the events do not matter.
"""

from datetime import timedelta

from gateway_worker.handling import KNOWN, EventOutcome, Handled, Seams, later, passed_over
from gateway_worker.payments import paid_first
from renewals.domain import refund_notices, refunds
from renewals.domain.gateway_event import GatewayEvent
from renewals.domain.payment import GatewayRefund
from renewals.domain.renewal import CUT_OFF, Renewal
from renewals.domain.request import Asks, RenewalRequest
from renewals.gateway.port import is_of_deployment
from renewals.ledger.steps import LEASE

_AFTER_THE_ANSWER = timedelta(seconds=5)


def refund_changed(event: GatewayEvent, seams: Seams) -> Handled:
    """Run the workflow for the refunds of the payment. The workflow does not run if both are true already: the ledger
    holds the refund as the gateway has it, and the customer has been told of every refund."""
    made = seams.ask(lambda gateway: gateway.retrieve_refund(event.object_id))
    if made is None:
        return passed_over("the gateway does not know the refund")
    if not is_of_deployment(made.payment_metadata, seams.deployment):
        return passed_over("another deployment")
    period = seams.period(made.payment_metadata)
    if period is None or period.payment_id != made.payment_id:
        return passed_over("no period has the payment")
    return _not_now(event, made, period, seams) or _settled(event, made, period, seams)


def _not_now(event: GatewayEvent, made: GatewayRefund, period: Renewal, seams: Seams) -> Handled | None:
    """Return None if the workflow must record the refunds now. Otherwise return the answer to the event: the ledger
    knows the refund already, or the refund cannot be recorded yet."""
    if made.id in refunds.ids(period) and refunds.holds(period, made) and not refund_notices.untold(period):
        return KNOWN
    at_work = seams.lease_of_another(period) if period.status in CUT_OFF else None
    if at_work is None and period.paid_at is None:
        return paid_first(event, period, seams)
    return at_work or _claim_at_work(period, seams)


def _claim_at_work(period: Renewal, seams: Seams) -> Handled | None:
    """Return the answer `later` if a refund of the period is being requested at this moment; None otherwise. The
    event may be about the requested refund, and the request itself records its result."""
    if period.refunds_due is None or not any(map(refunds.is_unanswered, period.refunds.values())):
        return None
    left = period.refunds_due + LEASE - seams.moment_of(period).wall
    return later("a refund is being requested", left + _AFTER_THE_ANSWER) if left > timedelta() else None


def _settled(event: GatewayEvent, made: GatewayRefund, period: Renewal, seams: Seams) -> Handled:
    if not seams.run(RenewalRequest.of_period(period, event.event, Asks.SETTLE_REFUNDS)):
        return later("the workflow failed")
    stands = seams.period_of(period)
    # A refund can be known at the gateway before the gateway's list of refunds shows the refund.
    recorded = stands is not None and refunds.holds(stands, made)
    return Handled(EventOutcome.DONE) if recorded else later("the refund is not recorded yet")
