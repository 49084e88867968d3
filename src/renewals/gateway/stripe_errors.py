"""Stripe's errors as the gateway port names them.

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
"""What https://docs.stripe.com/error-codes says of the account and its key, whatever the HTTP status."""

_OF_THE_ACCOUNT = re.compile(
    r"a similar object exists in (live|test) mode|was a test account created with a testmode key"
    r"|your account cannot currently make (live )?charges",
    re.IGNORECASE,
)
"""Where only the message tells: a key of the other mode is answered as `resource_missing`
(https://github.com/stripe/stripe-node/issues/149)."""


@contextmanager
def named(operation: str) -> Iterator[None]:
    """What the SDK raises within becomes the port's error. operation: what was asked, for the log."""
    try:
        yield
    except stripe.StripeError as error:
        raise port_error(error, operation) from error


def port_error(error: stripe.StripeError, operation: str) -> GatewayError:
    """The port's error for one of the SDK's, which is logged with the gateway's own name of the call."""
    noted(error, operation)
    if _is_of_the_account(error):
        return GatewayUnauthorized(code(error), error.request_id)
    if isinstance(error, (stripe.InvalidRequestError, stripe.IdempotencyError, stripe.CardError)):
        name = type(error).__name__
        return GatewayRefused(code(error), name, error.request_id, param=getattr(error, "param", None) or "")
    return GatewayUnavailable(code(error), error.request_id, answered=(error.http_status or 0) >= 500)


def noted(error: stripe.StripeError, operation: str) -> None:
    """One line in the log: support asks for the request's id first. Never the message, which may quote what we sent."""
    told = {"operation": operation, "code": code(error), "status": error.http_status}
    told["gateway_request_id"] = error.request_id
    telemetry.logger().warning("gateway error", extra={name: value for name, value in told.items() if value})


def code(error: stripe.StripeError) -> str:
    """The error's name. Never its message, which may quote what we sent."""
    details = error.error
    named_in_body = getattr(details, "code", None) or getattr(details, "type", None)
    return error.code or named_in_body or type(error).__name__


def _is_of_the_account(error: stripe.StripeError) -> bool:
    says = error.user_message if isinstance(error.user_message, str) else ""
    return (
        error.http_status in _TURNED_AWAY or code(error) in _ACCOUNT_CODES or _OF_THE_ACCOUNT.search(says) is not None
    )
