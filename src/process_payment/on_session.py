"""Have the customer confirm a refused payment at the bank's page, at the request of the customer's page.

Off session the bank has refused the payment because the customer must confirm the payment. With the customer present,
the same payment is confirmed once more, with the card and the amount of the claim. The bank then asks the customer at a
page of its own. A payment succeeds only once: whatever the sweep, a new card or a second tab does meanwhile, the
customer is charged at most once.

The rules are those of every confirmation. The ledger is read first. The payment is the payment of the period's claim.
The step before the confirmation takes the lease, and checks in the same transaction that the subscription may still be
charged, that the card is still the subscription's, and that charging is on.

The result is not recorded here. A payment that has succeeded is recorded and receipted by the workflow, at the
gateway's event or at the request that the customer's page puts on the queue.
"""

from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal

from process_payment import dunning_decisions
from process_payment.payments import asks_customer
from process_payment.snapshot import Around, Snapshot, take_snapshot
from renewals.domain import currencies
from renewals.domain.customer_request import CustomerRequest, Refusal
from renewals.domain.errors import BadRow, Collision, Overtaken, repeat_while_outdated
from renewals.domain.payment import Payment, PaymentState
from renewals.domain.reasons import Reason
from renewals.domain.renewal import Renewal, Status
from renewals.domain.request import RenewalRequest
from renewals.gateway.port import GatewayError
from renewals.ledger import dunning_steps
from renewals.ledger.payment_steps import why_withdrawn
from renewals.ledger.table import GuardRefused

OWNER = "customer/"
"""The beginning of the owner's name while a customer's request holds the lease. The lease of an execution is not waited
for: an execution may hold the lease of a refused period while it sends the mail, and the result is recorded already."""

_RACES = 4
_ENDED = frozenset({Reason.CANCELED, Reason.PAUSED, Reason.UNPAID, Reason.ENDS_BEFORE, Reason.UNKNOWN_STATUS})
_RESULTS = {
    PaymentState.PAID: Refusal.PAID_ALREADY,
    PaymentState.PROCESSING: Refusal.PROCESSING,
    PaymentState.DECLINED: Refusal.CARD_DECLINED,
    PaymentState.CANCELED: Refusal.NOTHING_TO_CONFIRM,
}
"""The answer for a payment that waits for nobody."""


@dataclass(frozen=True, slots=True)
class OnSession(Around):
    """The confirmation of one payment with the customer present. execution: the owner of the lease."""

    def confirm(self, asked: CustomerRequest) -> str | Refusal:
        """Return the address of the bank's page, or the reason why the customer has nothing to confirm.

        Raises:
            GatewayUnavailable, GatewayUnauthorized, GatewayRefused: as for a confirmation.
            PaymentError: the gateway did not take the confirmation.
            Collision: other executions keep changing the subscription.
        """
        busy = Collision("other executions keep changing this subscription")
        return repeat_while_outdated(lambda: self._confirmed(asked), tries=_RACES, otherwise=busy)

    def _confirmed(self, asked: CustomerRequest) -> str | Refusal:
        seen = take_snapshot(RenewalRequest(asked.subscription_id, asked.customer_id, Decimal(0)), self)
        renewal = _period(seen)
        if isinstance(renewal, Refusal):
            return renewal
        payment = self.payments.retrieve_known(renewal)
        self._note_if_closed(renewal, payment)
        if not _waits_for_customer(renewal, payment):
            return _RESULTS.get(payment.state, Refusal.NOTHING_TO_CONFIRM)
        if self.is_off(renewal):
            return Refusal.CHARGING_IS_OFF
        challenge = payment.challenge
        goes_on = challenge is not None and challenge.payment_method == renewal.payment_method
        if challenge is not None and goes_on and dunning_decisions.may_be_confirming(renewal, payment, self.now):
            return challenge.url  # no second challenge begins within the hour in which dunning waits for the first
        if renewal.owner.startswith(OWNER) and renewal.owned_by_another(self.execution, self.now):
            return Refusal.BEING_SETTLED  # a second tab asks at the same moment
        return self._challenged(renewal, payment, asked.return_url)

    def _challenged(self, renewal: Renewal, payment: Payment, return_url: str) -> str | Refusal:
        """Confirm the payment, and return the address of the bank's page."""
        guards = self.switch.guards(renewal.subscription_id)
        try:
            begun = self.ledger.apply(dunning_steps.begin_challenge(renewal, self.execution, self.now, guards=guards))
        except GuardRefused:
            return Refusal.CHARGING_IS_OFF
        try:
            payment = self.payments.confirm_on_session(begun, payment, return_url)
        except GatewayError:
            self._let_go(begun)
            raise
        self._let_go(begun)
        self._note_if_closed(begun, payment)
        if payment.challenge is not None:
            return payment.challenge.url
        return _RESULTS.get(payment.state, Refusal.TRY_AGAIN)

    def _note_if_closed(self, renewal: Renewal, payment: Payment) -> None:
        """Record that the payment is canceled at the gateway, so that the customer is no longer asked to confirm."""
        if payment.state is PaymentState.CANCELED and renewal.closed_at is None:
            with suppress(Overtaken):  # another execution works on the period, and sees the payment, too
                self.ledger.apply(dunning_steps.payment_closed(renewal, self.now))

    def _let_go(self, begun: Renewal) -> None:
        """Give the lease back."""
        # If the step is refused, another execution works on the period by now.
        with suppress(Overtaken):
            self.ledger.apply(dunning_steps.challenge_begun(begun, self.now))


def _period(seen: Snapshot) -> Renewal | Refusal:
    """Return the period whose payment the customer may confirm, as far as ledger and row tell."""
    if isinstance(seen.read, BadRow):
        unknown = seen.read.field == "subscription_id"
        return Refusal.NO_SUBSCRIPTION if unknown else Refusal.NOT_READABLE
    refused = seen.refused
    if refused is None:
        return Refusal.BEING_SETTLED if seen.unsettled is not None else Refusal.NOTHING_TO_CONFIRM
    over = why_withdrawn(refused, seen.subscription.row)
    if over is not None:
        return Refusal.ENDED if over in _ENDED else Refusal.BEING_SETTLED
    if refused.status is not Status.ACTION_REQUIRED or refused.payment_id is None:
        return Refusal.NOTHING_TO_CONFIRM
    return Refusal.CARD_UPDATED if seen.has_new_card else refused


def _waits_for_customer(renewal: Renewal, payment: Payment) -> bool:
    """Whether the bank has asked for the customer, and the payment has the amount of the claim."""
    claimed = currencies.exact_minor_units(renewal.amount, renewal.currency), renewal.currency
    return asks_customer(payment) and (payment.amount, payment.currency) == claimed
