"""Stripe's error answers.

Shape and types: Stripe API reference, "Errors" (docs.stripe.com/api/errors); codes: "Error codes"
(docs.stripe.com/error-codes); which of them the idempotency layer keeps: "Advanced error handling"
(docs.stripe.com/error-low-level).
"""

from collections.abc import Mapping
from typing import Any


class GatewayError(Exception):
    """An answer other than 200: `status` and the JSON `body` {"error": {...}}.

    `kept` says whether the answer is stored under the request's idempotency key: errors that come before the
    endpoint starts to execute (parameters, limits, conflicts) are not.
    """

    def __init__(self, status: int, kind: str, message: str, *, kept: bool, **details: Any) -> None:
        super().__init__(message)
        self.status = status
        self.kept = kept
        error = {"type": kind, "message": message, **{name: value for name, value in details.items() if value}}
        if "code" in error:
            error["doc_url"] = f"https://stripe.com/docs/error-codes/{error['code'].replace('_', '-')}"
        self.error: dict[str, Any] = error

    @property
    def body(self) -> dict[str, Any]:
        return {"error": self.error}


def bad_parameter(message: str, param: str, code: str | None = None) -> GatewayError:
    """400 for a request that fails validation: nothing is executed, nothing is stored."""
    return GatewayError(400, "invalid_request_error", message, kept=False, param=param, code=code)


def refused(message: str, *, code: str | None = None, **details: Any) -> GatewayError:
    """400 for a request that is well formed but that the objects' state does not allow."""
    return GatewayError(400, "invalid_request_error", message, kept=True, code=code, **details)


def missing(label: str, identity: str, param: str, *, in_path: bool) -> GatewayError:
    """An id that names nothing: 404 where it is the URL's own object, 400 where a parameter refers to it."""
    message = f"No such {label}: '{identity}'"
    status = 404 if in_path else 400
    return GatewayError(status, "invalid_request_error", message, kept=True, code="resource_missing", param=param)


def unauthorized(message: str) -> GatewayError:
    return GatewayError(401, "invalid_request_error", message, kept=False)


def forbidden() -> GatewayError:
    """403: a restricted key that lacks a permission (docs.stripe.com/keys/restricted-api-keys). It has no code."""
    message = (
        "The provided key 'rk_test_****' does not have the required permissions for this endpoint on account"
        " 'acct_sandbox'. Having the 'rak_payment_intent_write' permission would allow this request to continue."
    )
    return GatewayError(403, "invalid_request_error", message, kept=False)


def other_mode(label: str, identity: str, param: str, *, in_path: bool) -> GatewayError:
    """An id of live mode, asked for with a test key (github.com/stripe/stripe-node/issues/149)."""
    message = (
        f"No such {label}: '{identity}'; a similar object exists in live mode, but a test mode key was used to make"
        " this request."
    )
    status = 404 if in_path else 400
    return GatewayError(status, "invalid_request_error", message, kept=False, code="resource_missing", param=param)


def rate_limited() -> GatewayError:
    message = "Request rate limit exceeded. Learn more about rate limits here https://stripe.com/docs/rate-limits."
    return GatewayError(429, "invalid_request_error", message, kept=False, code="rate_limit")


def locked() -> GatewayError:
    """docs.stripe.com/rate-limits, "Object lock timeouts": HTTP 429 with code lock_timeout."""
    message = (
        "This object cannot be accessed right now because another API request or Stripe process is currently"
        " accessing it. If you see this error intermittently, retry the request. If you see this error"
        " frequently and are making multiple concurrent requests to a single object, make your requests"
        " serially or at a lower rate."
    )
    return GatewayError(429, "invalid_request_error", message, kept=False, code="lock_timeout")


def broken(status: int = 500) -> GatewayError:
    """A fault of the gateway's own. A 500 comes after the endpoint began (so it is stored), a 503 before."""
    message = "An unknown error occurred" if status == 500 else "The service is temporarily unavailable"
    return GatewayError(status, "api_error", message, kept=status == 500)


def card_error(failure: Mapping[str, Any], **details: Any) -> GatewayError:
    """402: `failure` has message, code and, as they apply, decline_code, advice_code and param."""
    rest = {name: value for name, value in failure.items() if name != "message"}
    return GatewayError(402, "card_error", failure["message"], kept=True, **rest, **details)
