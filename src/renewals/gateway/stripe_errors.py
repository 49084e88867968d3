"""Translate Stripe's errors into the errors of the gateway port.

https://docs.stripe.com/error-handling, https://docs.stripe.com/error-codes
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

import stripe

from renewals.gateway.port import (
    GatewayError,
    GatewayForbidden,
    GatewayRefused,
    GatewayUnauthorized,
    GatewayUnavailable,
)
from renewals.runtime import telemetry

if TYPE_CHECKING:
    from collections.abc import Iterator

_TURNED_AWAY = (401, 403)
_FORBIDDEN = 403
_CHARGING = frozenset({"create", "confirm", "retrieve", "cancel", "list"})
"""The calls without which nobody can be charged."""

_PERMISSION = re.compile(r"\brak_[a-z_]+", re.ASCII)
"""The permission that a restricted key lacks, in the message of the error: "Having the 'rak_dispute_read' permission
would allow this request to continue" (https://github.com/stripe/stripe-node/issues/2246)."""

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
    if error.http_status == _FORBIDDEN and operation not in _CHARGING:
        return GatewayForbidden(_permission(error) or operation, error.request_id)
    if _is_of_the_account(error):
        return GatewayUnauthorized(_permission(error) or code(error), error.request_id)
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
    """Return the error's code. The error's message is not returned, because the message may quote our request."""
    details = error.error
    named_in_body = getattr(details, "code", None) or getattr(details, "type", None)
    return error.code or named_in_body or type(error).__name__


def _permission(error: stripe.StripeError) -> str | None:
    """Return the name of the permission that the key lacks; None if the message of the error names no permission."""
    named = _PERMISSION.search(_says(error))
    return named.group() if named else None


def _says(error: stripe.StripeError) -> str:
    return error.user_message if isinstance(error.user_message, str) else ""


def _is_of_the_account(error: stripe.StripeError) -> bool:
    return (
        error.http_status in _TURNED_AWAY
        or code(error) in _ACCOUNT_CODES
        or _OF_THE_ACCOUNT.search(_says(error)) is not None
    )
