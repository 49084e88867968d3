"""ProcessPayment: charge one subscription's due period, exactly once.

Event: {"execution": ARN, "request": {"subscription_id", "customer_id", "amount"}}, amount a decimal string, and
optionally "renewal_date", YYYY-MM-DD: the one period that is meant.
Reply: {"outcome", "reason", "subscription_id", "customer_id"} and, where there is a renewal, {"renewal_date",
"attempt", "amount", "currency", "transaction_id"}. PaymentError means: try again.
"""

from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from functools import cache
from typing import Any

from process_payment.charge import Asked, Charge, Outcome
from renewals import aws, currencies, telemetry
from renewals.dunning import Dunning
from renewals.errors import BadEvent, PaymentError, transient_aws_errors_as
from renewals.gateway import Gateway, GatewayUnauthorized
from renewals.gateway_secret import GatewaySecret
from renewals.ledger import Ledger
from renewals.settings import setting


@telemetry.observed
def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Charge what the event asks for; see the module."""
    asked, execution = _asked(event)
    now = datetime.now(UTC)
    try:
        with transient_aws_errors_as(PaymentError):
            charge = Charge(
                ledger=_ledger(),
                gateway=_gateway(),
                execution=execution,
                deployment=f"{setting('PROJECT_NAME')}-{setting('ENVIRONMENT')}",
                seller={name: setting(f"SELLER_{name.upper()}") for name in ("name", "address", "tax_id")},
                today=now.date(),
                now=now,
                dunning=Dunning.of(setting("DUNNING_DAYS"), setting("DUNNING_ENDS_AS")),
            )
            outcome = charge.renew(asked)
    except GatewayUnauthorized as error:
        _gateway.cache_clear()  # the key may have been rotated: the next try reads it again
        raise PaymentError("the gateway does not accept our key") from error
    reply = _reply(asked, outcome)
    telemetry.renewal_event("payment", reply)
    if outcome.name == "failed":
        telemetry.count("RenewalFailed")
    return reply


def _asked(event: dict[str, Any]) -> tuple[Asked, str]:
    try:
        request = event["request"]
        amount = Decimal(request["amount"])
        period = date.fromisoformat(request["renewal_date"]) if "renewal_date" in request else None
        return Asked(request["subscription_id"], request["customer_id"], amount, period), event["execution"]
    except (KeyError, TypeError, ValueError, InvalidOperation) as error:
        raise BadEvent(f"ProcessPayment: {type(error).__name__} {error}") from None


def _reply(asked: Asked, outcome: Outcome) -> dict[str, Any]:
    reply: dict[str, Any] = {
        "outcome": outcome.name,
        "reason": outcome.reason,
        "subscription_id": asked.subscription_id,
        "customer_id": asked.customer_id,
    }
    renewal = outcome.renewal
    if renewal is not None:
        reply |= {
            "renewal_date": renewal.renewal_date.isoformat(),
            "attempt": renewal.attempt,
            "amount": currencies.written(renewal.amount, renewal.currency),
            "currency": renewal.currency,
            "transaction_id": renewal.payment_id,
        }
    return reply


@cache
def _ledger() -> Ledger:
    return Ledger(aws.dynamodb(), renewals=setting("RENEWALS_TABLE"), subscriptions=setting("DYNAMODB_TABLE"))


@cache
def _gateway() -> Gateway:
    from renewals.stripe_gateway import StripeGateway

    secret = GatewaySecret.read(aws.secrets_manager(), setting("SECRETS_MANAGER_ARN"))
    return StripeGateway(secret.api_key, secret.endpoint)
