"""Translate Stripe's errors into the errors of the gateway port.

https://docs.stripe.com/error-handling, https://docs.stripe.com/error-codes
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

import stripe

from renewals.gateway.port import GatewayError, GatewayRefused, GatewayUnauthorized, GatewayUnavailable
from renewals.runtime import telemetry

if TYPE_CHECKING:
    from collections.abc import Iterator

_TURNED_AWAY = (401, 403)
_ACCOUNT_CODES = frozenset(
    {
        "account_invalid",
        "api_key_expired",
        "livemode_mismatch",
        "platform_api_key_expired",
        "secret_key_required",
        "testmode_charges_only",
        "tls_version_unsupported",
    }
)
"""The codes of https://docs.stripe.com/error-codes that are about the account and its key, whatever the HTTP status."""

_OF_THE_ACCOUNT = re.compile(
    r"a similar object exists in (live|test) mode|was a test account created with a testmode key"
    r"|your account cannot currently make (live )?charges",
    re.IGNORECASE,
)
"""Messages of errors whose code hides that the account is at fault: Stripe answers a key of the other mode with
`resource_missing` (https://github.com/stripe/stripe-node/issues/149)."""


@contextmanager
def named(operation: str) -> Iterator[None]:
    """Translate an error of the SDK into the port's error. operation: the name of the call, for the log."""
    try:
        yield
    except stripe.StripeError as error:
        raise port_error(error, operation) from error


def port_error(error: stripe.StripeError, operation: str) -> GatewayError:
    """Return the port's error for an error of the SDK, and log the error with the gateway's own id of the call."""
    noted(error, operation)
    if _is_of_the_account(error):
        return GatewayUnauthorized(code(error), error.request_id)
    if isinstance(error, (stripe.InvalidRequestError, stripe.IdempotencyError, stripe.CardError)):
        name = type(error).__name__
        return GatewayRefused(code(error), name, error.request_id, param=getattr(error, "param", None) or "")
    return GatewayUnavailable(code(error), error.request_id, answered=(error.http_status or 0) >= 500)


def noted(error: stripe.StripeError, operation: str) -> None:
    """Log the error in one line with the request's id, for which Stripe's support asks first.

    The error's message is never logged, because the message may quote our request.
    """
    told = {"operation": operation, "code": code(error), "status": error.http_status}
    told["gateway_request_id"] = error.request_id
    telemetry.logger().warning("gateway error", extra={name: value for name, value in told.items() if value})


def code(error: stripe.StripeError) -> str:
    """Return the error's code. The error's message is never used, because the message may quote our request."""
    details = error.error
    named_in_body = getattr(details, "code", None) or getattr(details, "type", None)
    return error.code or named_in_body or type(error).__name__


def _is_of_the_account(error: stripe.StripeError) -> bool:
    says = error.user_message if isinstance(error.user_message, str) else ""
    return (
        error.http_status in _TURNED_AWAY or code(error) in _ACCOUNT_CODES or _OF_THE_ACCOUNT.search(says) is not None
    )
