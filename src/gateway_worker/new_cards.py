"""Handle the event of a session in which a customer has saved a new card: the customer may have closed the browser
before coming back from the gateway's page.

The card is taken as at the request of the customer's page (renewals.gateway.taking_card), and once. The workflow then
tries a past due payment with the new card.
"""

from gateway_worker.handling import KNOWN, EventOutcome, Handled, Seams, later, passed_over
from gateway_worker.payments import UNDER_LEASE
from renewals.domain import subscription
from renewals.domain.customer_request import Refusal
from renewals.domain.errors import BadRow
from renewals.domain.gateway_event import GatewayEvent
from renewals.domain.request import RenewalRequest
from renewals.gateway.port import Gateway, GatewayRefused
from renewals.gateway.taking_card import CustomersCard
from renewals.ledger.steps import Row


def card_saved(event: GatewayEvent, seams: Seams) -> Handled:
    """Take the card of the session, and run the workflow if a payment of the subscription is past due or due."""
    named = event.metadata.get("subscription_id")
    if named is None or event.metadata.get("deployment") != seams.deployment:
        return passed_over("no session of this deployment")
    try:
        row = seams.register.row(named)
    except BadRow:
        return later("the row cannot be read")
    if row is None:
        return passed_over("no such subscription")
    try:
        taken = seams.ask(lambda gateway: _taken(event, row, gateway, seams))
    except GatewayRefused as refused:
        return later(f"gateway: {refused.code}")
    if isinstance(taken, Refusal):
        return _refused(taken, seams.register.row(named) or row, seams)
    return _tried(taken, seams)


def _taken(event: GatewayEvent, row: Row, gateway: Gateway, seams: Seams) -> Row | Refusal:
    card = CustomersCard(
        register=seams.register,
        gateway=gateway,
        deployment=seams.deployment,
        subscription_id=str(row["subscription_id"]),
        customer_id=str(row["customer_id"]),
        moment=seams.moment_of_row(row),
    )
    return card.take(event.object_id)


def _refused(refusal: Refusal, row: Row, seams: Seams) -> Handled:
    if refusal is Refusal.SESSION_USED:
        # An earlier delivery may have taken the card, and may have ended before the run of the workflow.
        return _tried(row, seams) if _waits_for_card(row) else KNOWN
    if refusal is Refusal.SESSION_OPEN:
        return Handled(EventOutcome.LATER, refusal, may_be_dropped=True)
    return later(refusal) if refusal is Refusal.NOT_READABLE else passed_over(refusal)


def _tried(row: Row, seams: Seams) -> Handled:
    """Run the workflow if the subscription has work for the new card."""
    due = subscription.renewal_date_of(row)
    is_due = due is not None and subscription.is_live(row) and due <= seams.moment_of_row(row).today
    if not is_due and not _waits_for_card(row):
        return Handled(EventOutcome.DONE)
    period = seams.ledger.get(str(row["subscription_id"]), due.isoformat()) if due else None
    at_work = seams.lease_of_another(period) if period is not None and period.status in UNDER_LEASE else None
    if at_work is not None:
        return at_work
    # The request names no event: a request with an event causes no attempt at a refused payment.
    return Handled(EventOutcome.DONE) if seams.run(RenewalRequest.of_row(row, due)) else later("the workflow failed")


def _waits_for_card(row: Row) -> bool:
    """Whether a payment was refused, and the payment method is a different card since."""
    return "next_attempt" in row and row.get("payment_method") != row.get("refused_payment_method")
