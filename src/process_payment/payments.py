"""The payments of billing periods at the gateway, each by the id that the ledger holds, or by its period."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from hashlib import sha256

from renewals.domain import currencies
from renewals.domain.errors import PaymentError
from renewals.domain.payment import Payment, PaymentState
from renewals.domain.renewal import Renewal, Status
from renewals.gateway.port import Gateway, GatewayRefused, GatewayUnauthorized, PaymentRequest

_LONGEST_KEY = 255  # https://docs.stripe.com/api/idempotent_requests
_REQUEST = "v2"
"""What the gateway is asked at a payment's creation: another name with each change of it, since the gateway refuses
another request under a key that it knows, and the version before may have used the key today."""
REFUSED = {PaymentState.DECLINED: Status.DECLINED, PaymentState.ACTION_REQUIRED: Status.ACTION_REQUIRED}

_FIELDS = {"customer": "gateway_customer", "amount": "amount", "currency": "currency"}


class StillProcessing(PaymentError):  # noqa: N818
    """The payment was confirmed, and its bank takes its time: there is nothing to do but to ask again later."""


@dataclass(frozen=True, slots=True)
class Payments:
    """deployment: project and environment, the first part of idempotency keys.

    Each call may raise what the gateway's own may: GatewayUnavailable, GatewayUnauthorized, GatewayRefused.
    """

    gateway: Gateway
    deployment: str

    def create(self, renewal: Renewal) -> Payment:
        """The period's payment, unconfirmed."""
        request = PaymentRequest(
            subscription_id=renewal.subscription_id,
            renewal_date=renewal.renewal_date,
            attempt=renewal.attempt,
            amount=currencies.exact_minor_units(renewal.amount, renewal.currency),
            currency=renewal.currency,
            gateway_customer=renewal.gateway_customer,
            idempotency_key=idempotency_key(self.deployment, renewal),
        )
        return self.gateway.create(request)

    def find(self, renewal: Renewal, today: date) -> Payment | None:
        """A payment of this very period: a paid one before any other, and else one that can still be paid.

        today: the wall's, since the gateway knows no test clock.
        """
        amount = currencies.exact_minor_units(renewal.amount, renewal.currency)
        day = min(renewal.row_date, today)
        since = datetime.combine(day, time(), UTC) - timedelta(days=1)
        period = {"subscription_id": renewal.subscription_id, "renewal_date": renewal.renewal_date.isoformat()}
        listed = self.gateway.list(renewal.gateway_customer, since)
        alive = []
        for metadata, payment in listed:
            if period.items() <= metadata.items():
                if payment.state is PaymentState.PAID:
                    return payment
                alive += [payment] if payment.state is not PaymentState.CANCELED else []
        fitting = [p for p in alive if (p.amount, p.currency) == (amount, renewal.currency)][:1]
        for payment in alive:
            if payment not in fitting:  # the customer could still complete it, beside ours
                ended = self.cancel(payment)
                if ended.state is PaymentState.PAID:
                    return ended
        return next(iter(fitting), None)

    def retrieve(self, renewal: Renewal) -> Payment:
        """The payment that the ledger holds."""
        return self.gateway.retrieve(str(renewal.payment_id))

    def retrieve_known(self, renewal: Renewal) -> Payment:
        """As retrieve. The gateway made this payment: where it does not know it, our key is of another account."""
        try:
            return self.retrieve(renewal)
        except GatewayRefused as refused:
            raise another_account(refused) from refused

    def is_known(self, renewal: Renewal) -> bool:
        """Whether the gateway knows the payment: one of another account's key stands in nobody's way."""
        try:
            self.retrieve(renewal)
        except GatewayRefused:
            return False
        return True

    def confirm(self, renewal: Renewal, payment: Payment) -> Payment:
        """Charge the attempt's card; what came of it. Raises PaymentError where the gateway did not take it."""
        answer = self.gateway.confirm(payment.id, renewal.payment_method)
        payment = answer or self.retrieve_known(renewal)
        if answer is None and can_be_confirmed(renewal, payment):
            raise PaymentError("the gateway did not take the confirmation")
        return payment

    def cancel(self, payment: Payment) -> Payment:
        """The payment, cancelled, or paid meanwhile. Raises PaymentError where it is neither yet, StillProcessing where
        its bank has not decided."""
        if payment.state is not PaymentState.CANCELED:
            with suppress(GatewayRefused):
                self.gateway.cancel(payment.id)
            payment = self.gateway.retrieve(payment.id)
        if payment.state is PaymentState.PROCESSING:
            raise StillProcessing("the payment is still being processed")
        if payment.state not in (PaymentState.CANCELED, PaymentState.PAID):
            raise PaymentError("an earlier payment of this period cannot be cancelled yet")
        return payment


def can_be_confirmed(renewal: Renewal, payment: Payment) -> bool:
    """Never tried, or tried no further than before this attempt began."""
    refused_before = payment.state in REFUSED and failure_id(payment) == renewal.failure_id
    return payment.state is PaymentState.OPEN or refused_before


def another_account(refused: GatewayRefused) -> GatewayUnauthorized:
    """The gateway does not know a payment that it made itself."""
    return GatewayUnauthorized(f"the gateway does not know the payment: {refused.code}", refused.request_id)


def reason_of(refused: GatewayRefused) -> str:
    """Why a request was refused, as a short name, and the subscription's attribute that is at fault for it."""
    return ": ".join(["gateway", refused.code] + ([_FIELDS[refused.param]] if refused.param in _FIELDS else []))


def failure_id(payment: Payment) -> str:
    """The last failure that the payment shows."""
    return payment.failure.id if payment.failure else "none"


def idempotency_key(deployment: str, renewal: Renewal) -> str:
    """deployment/customer/subscription/date/request, and the number of the try where the key is spent on a failed one.

    Hashed where it is longer than the gateway takes, or not ASCII.
    """
    parts = [deployment, renewal.customer_id, renewal.subscription_id, renewal.renewal_date.isoformat(), _REQUEST]
    key = "/".join(parts + ([str(renewal.intent_tries)] if renewal.intent_tries else []))
    return key if key.isascii() and len(key) <= _LONGEST_KEY else sha256(key.encode()).hexdigest()
