"""Stripe's error answers.

Sources: Stripe API reference, "Errors" (docs.stripe.com/api/errors) for shape and types; "Error codes"
(docs.stripe.com/error-codes) for codes; "Advanced error handling" (docs.stripe.com/error-low-level) for the errors that
the idempotency layer stores.
"""

from collections.abc import Mapping
from typing import Any


class GatewayError(Exception):
    """An answer other than 200: `status` and the JSON `body` {"error": {...}}.

    `kept` says whether the answer is stored under the request's idempotency key. Errors before the start of the
    endpoint (parameters, limits, conflicts) are not stored.
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
    """Return 400 for a request that fails validation: nothing is executed, nothing is stored."""
    return GatewayError(400, "invalid_request_error", message, kept=False, param=param, code=code)


def refused(message: str, *, code: str | None = None, **details: Any) -> GatewayError:
    """Return 400 for a well-formed request that the state of the objects does not allow."""
    return GatewayError(400, "invalid_request_error", message, kept=True, code=code, **details)


def missing(label: str, identity: str, param: str, *, in_path: bool) -> GatewayError:
    """Return the error for an unknown id: 404 for the object in the URL, 400 for an object named by a parameter."""
    message = f"No such {label}: '{identity}'"
    status = 404 if in_path else 400
    return GatewayError(status, "invalid_request_error", message, kept=True, code="resource_missing", param=param)


def unauthorized(message: str) -> GatewayError:
    return GatewayError(401, "invalid_request_error", message, kept=False)


def forbidden(permission: str) -> GatewayError:
    """Return 403: a restricted key lacks a permission (docs.stripe.com/keys/restricted-api-keys). The error has no
    code, and only its message names the permission.
    """
    message = (
        "The provided key 'rk_test_****' does not have the required permissions for this endpoint on account"
        f" 'acct_sandbox'. Having the '{permission}' permission would allow this request to continue."
    )
    return GatewayError(403, "invalid_request_error", message, kept=False)


def other_mode(label: str, identity: str, param: str, *, in_path: bool) -> GatewayError:
    """Return the error for a live-mode id requested with a test key (github.com/stripe/stripe-node/issues/149)."""
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
    """Return HTTP 429 with code lock_timeout (docs.stripe.com/rate-limits, "Object lock timeouts")."""
    message = (
        "This object cannot be accessed right now because another API request or Stripe process is currently"
        " accessing it. If you see this error intermittently, retry the request. If you see this error"
        " frequently and are making multiple concurrent requests to a single object, make your requests"
        " serially or at a lower rate."
    )
    return GatewayError(429, "invalid_request_error", message, kept=False, code="lock_timeout")


def broken(status: int = 500) -> GatewayError:
    """Return a fault of the gateway. A 500 occurs after the endpoint began, so the answer is stored; a 503 occurs
    before.
    """
    message = "An unknown error occurred" if status == 500 else "The service is temporarily unavailable"
    return GatewayError(status, "api_error", message, kept=status == 500)


def card_error(failure: Mapping[str, Any], **details: Any) -> GatewayError:
    """Return 402. `failure` has message, code and, if applicable, decline_code, advice_code and param."""
    rest = {name: value for name, value in failure.items() if name != "message"}
    return GatewayError(402, "card_error", failure["message"], kept=True, **rest, **details)
