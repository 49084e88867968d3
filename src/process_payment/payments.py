"""Reach the payments of billing periods at the gateway, by the payment's id in the ledger or by the period.

Decisions: D1, D3, D12 (DECISIONS.md).
"""

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from hashlib import sha256

from renewals.domain import currencies
from renewals.domain.errors import PaymentError
from renewals.domain.payment import Payment, PaymentState
from renewals.domain.renewal import Renewal, Status
from renewals.gateway.port import Gateway, GatewayRefused, GatewayUnauthorized, PaymentRequest, is_of_deployment

_LONGEST_KEY = 255  # https://docs.stripe.com/api/idempotent_requests
_REQUEST = "v2"
"""The version of the request that creates a payment, a part of the idempotency key. Every change of the request needs a
new version. Otherwise, on the day of an upgrade, the gateway would get a changed request under an idempotency key that
the program used before the upgrade, and would refuse the request."""
REFUSED = {PaymentState.DECLINED: Status.DECLINED, PaymentState.ACTION_REQUIRED: Status.ACTION_REQUIRED}

_AUTHENTICATION_FAILED = "payment_intent_authentication_failure"
"""The gateway's code of a payment whose customer failed or refused at the bank's page
(https://docs.stripe.com/error-codes#payment-intent-authentication-failure)."""

_FIELDS = {"customer": "gateway_customer", "amount": "amount", "currency": "currency"}


class StillProcessing(PaymentError):  # noqa: N818
    """The payment was confirmed, and the customer's bank has not decided yet. The gateway must be asked again later."""


@dataclass(frozen=True, slots=True)
class Payments:
    """The payments of one deployment.

    Each method may raise the gateway's errors: GatewayUnavailable, GatewayUnauthorized, GatewayRefused.

    Attributes:
        deployment: the name of the deployment, the first part of idempotency keys.
    """

    gateway: Gateway
    deployment: str

    def create(self, renewal: Renewal) -> Payment:
        """Create the period's payment, unconfirmed."""
        request = PaymentRequest(
            subscription_id=renewal.subscription_id,
            renewal_date=renewal.renewal_date,
            attempt=renewal.attempt,
            amount=currencies.exact_minor_units(renewal.amount, renewal.currency),
            currency=renewal.currency,
            gateway_customer=renewal.gateway_customer,
            idempotency_key=idempotency_key(self.deployment, renewal),
            deployment=self.deployment,
        )
        return self.gateway.create(request)

    def find(self, renewal: Renewal, today: date) -> Payment | None:
        """Find a payment of the period. A paid payment comes before an open payment; other open payments are canceled.

        Payments of a different deployment are left alone. A payment without a deployment was made by an earlier
        version, and counts: after a restore of the ledger, the payment may be the only trace of a paid period.

        Args:
            today: the day of the real clock, because the gateway knows no test clock.
        """
        amount = currencies.exact_minor_units(renewal.amount, renewal.currency)
        day = min(renewal.row_date, today)
        since = datetime.combine(day, time(), UTC) - timedelta(days=1)
        period = {"subscription_id": renewal.subscription_id, "renewal_date": renewal.renewal_date.isoformat()}
        listed = self.gateway.list(renewal.gateway_customer, since)
        alive = []
        for metadata, payment in listed:
            if period.items() <= metadata.items() and is_of_deployment(metadata, self.deployment):
                if payment.state is PaymentState.PAID:
                    return payment
                alive += [payment] if payment.state is not PaymentState.CANCELED else []
        fitting = [p for p in alive if (p.amount, p.currency) == (amount, renewal.currency)][:1]
        for payment in alive:
            if payment not in fitting:  # the customer could still complete such a payment in addition to ours
                ended = self.cancel(payment)
                if ended.state is PaymentState.PAID:
                    return ended
        return next(iter(fitting), None)

    def retrieve(self, renewal: Renewal) -> Payment:
        """Retrieve the payment whose id the ledger holds."""
        return self.gateway.retrieve(str(renewal.payment_id))

    def retrieve_known(self, renewal: Renewal) -> Payment:
        """Retrieve the payment whose id the ledger holds. The gateway made the payment, and must know the payment.

        Raises:
            GatewayUnauthorized: the gateway does not know the payment: our key belongs to a different account.
        """
        try:
            return self.retrieve(renewal)
        except GatewayRefused as refused:
            raise another_account(refused) from refused

    def is_known(self, renewal: Renewal) -> bool:
        """Whether the gateway knows the payment. An unknown payment was made with the key of a different account, and
        blocks no new claim."""
        try:
            self.retrieve(renewal)
        except GatewayRefused:
            return False
        return True

    def confirm(self, renewal: Renewal, payment: Payment) -> Payment:
        """Charge the attempt's card, and return the payment afterwards.

        Raises:
            PaymentError: the gateway did not take the confirmation.
        """
        answer = self.gateway.confirm(payment.id, renewal.payment_method)
        payment = answer or self.retrieve_known(renewal)
        if answer is None and can_be_confirmed(renewal, payment):
            raise PaymentError("the gateway did not take the confirmation")
        return payment

    def confirm_on_session(self, renewal: Renewal, payment: Payment, return_url: str) -> Payment:
        """Charge the claim's card with the customer present, and return the payment afterwards. If the gateway gave no
        clear answer, the payment is looked up."""
        answer = self.gateway.confirm_on_session(payment.id, renewal.payment_method, return_url)
        return answer or self.retrieve_known(renewal)

    def cancel(self, payment: Payment) -> Payment:
        """Cancel the payment, and return its final state: canceled, or paid if the customer paid meanwhile.

        Raises:
            PaymentError: the payment is not final yet.
            StillProcessing: its bank has not decided.
        """
        if payment.state is not PaymentState.CANCELED:
            with suppress(GatewayRefused):
                self.gateway.cancel(payment.id)
            payment = self.gateway.retrieve(payment.id)
        if payment.state is PaymentState.PROCESSING:
            raise StillProcessing("the payment is still being processed")
        if payment.state not in (PaymentState.CANCELED, PaymentState.PAID):
            raise PaymentError("an earlier payment of this period cannot be canceled yet")
        return payment


def can_be_confirmed(renewal: Renewal, payment: Payment) -> bool:
    """Whether this attempt, which is off session, may confirm the payment: the payment was never confirmed, or its last
    failure is older than the attempt.

    An open challenge, and a failure of the customer at the bank's page, are older too: both come from a confirmation
    with the customer present, before this attempt.
    """
    refused_before = payment.state in REFUSED and failure_id(payment) == renewal.failure_id
    on_session = payment.challenge is not None or (payment.state in REFUSED and _failed_at_the_bank(payment))
    return payment.state is PaymentState.OPEN or refused_before or on_session


def asks_customer(payment: Payment) -> bool:
    """Whether the bank wants the customer to confirm the payment. A customer who failed at the bank's page, or refused
    there, may try again."""
    return payment.state is PaymentState.ACTION_REQUIRED or (
        payment.state is PaymentState.DECLINED and _failed_at_the_bank(payment)
    )


def _failed_at_the_bank(payment: Payment) -> bool:
    return payment.failure is not None and payment.failure.code == _AUTHENTICATION_FAILED


def another_account(refused: GatewayRefused) -> GatewayUnauthorized:
    """Return the error for a payment made by the gateway but unknown to it: our key belongs to a different account."""
    return GatewayUnauthorized(f"the gateway does not know the payment: {refused.code}", refused.request_id)


def reason_of(refused: GatewayRefused) -> str:
    """Return why a request was refused: a short name, and the subscription's attribute at fault, if known."""
    return ": ".join(["gateway", refused.code] + ([_FIELDS[refused.param]] if refused.param in _FIELDS else []))


def failure_id(payment: Payment) -> str:
    """Return the id of the payment's last failure."""
    return payment.failure.id if payment.failure else "none"


def idempotency_key(deployment: str, renewal: Renewal) -> str:
    """Return the key deployment/customer/subscription/date/version of the request. If an earlier try has spent the key,
    the number of the current try is appended.

    A key that is longer than the gateway takes, or not ASCII, is hashed.
    """
    parts = [deployment, renewal.customer_id, renewal.subscription_id, renewal.renewal_date.isoformat(), _REQUEST]
    key = "/".join(parts + ([str(renewal.intent_tries)] if renewal.intent_tries else []))
    return key if key.isascii() and len(key) <= _LONGEST_KEY else sha256(key.encode()).hexdigest()
