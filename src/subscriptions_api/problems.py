"""Errors as problem details (RFC 9457). Problem details name the faults of the request, and never internal faults."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, TypedDict

from aws_lambda_powertools.event_handler import Response

from renewals.domain.errors import RenewalError
from renewals.runtime.problem_details import CONTENT_TYPE, problem
from subscriptions_api.answer_models import Problem


class BadRequest(RenewalError):  # noqa: N818
    """Fields of the request are at fault. errors: a {"field", "reason"} for each field."""

    def __init__(self, errors: list[dict[str, str]]) -> None:
        super().__init__("a field is at fault")
        self.errors = errors


class Missing(RenewalError):  # noqa: N818
    """The subscription does not exist."""


class Stale(RenewalError):  # noqa: N818
    """The subscription has changed since the caller read the subscription."""


class NotVerified(RenewalError):  # noqa: N818
    """The gateway could not be asked about a customer or a card. The message gives the reason in words."""


class Nobody(RenewalError):  # noqa: N818
    """The request is not signed: its caller is unknown."""


_DESCRIPTIONS = {
    400: "Something is wrong with the request; `errors` names every field at fault.",
    403: "The request is not signed, or its signer may not make it.",
    404: "There is nothing of this name.",
    409: "The request does not fit the present state of the subscription; `detail` gives the reason.",
    405: "The path does not take this method.",
    412: "The subscription has changed since it was read: read it again.",
    413: "The body is larger than 64 KiB.",
    415: "The body is not JSON.",
    422: "The Idempotency-Key came before, with another request.",
    429: "Too many requests: wait a second.",
    500: "Something is wrong on our side.",
    503: "Try again later.",
}
_EVERYWHERE = (400, 403, 429, 500, 503)


class Proxied(TypedDict):
    """A reply in the form that API Gateway expects from a function."""

    statusCode: int
    multiValueHeaders: dict[str, list[str]]
    body: str
    isBase64Encoded: bool


def documented(*statuses: int) -> Any:
    """Return the problems of an operation for the OpenAPI document, with the problems of all operations."""
    return {
        status: {"description": _DESCRIPTIONS[status], "content": {CONTENT_TYPE: {"model": Problem}}}
        for status in sorted({*statuses, *_EVERYWHERE})
    }


def body(status: int, detail: str | None = None, errors: Iterable[Mapping[str, str]] = ()) -> dict[str, object]:
    """Return the body of a problem. detail: a sentence for people; by default the description of the status."""
    faults = [dict(error) for error in errors]
    return problem(status, detail or _DESCRIPTIONS[status]) | ({"errors": faults} if faults else {})


def response(
    status: int, detail: str | None = None, errors: Iterable[Mapping[str, str]] = (), **headers: str
) -> Response[str]:
    """Return a problem as the response of a route."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status, CONTENT_TYPE, json.dumps(body(status, detail, errors)), headers=named)


def reply(status: int, detail: str | None = None) -> Proxied:
    """Return a problem as a reply to API Gateway."""
    return {
        "statusCode": status,
        "multiValueHeaders": {"Content-Type": [CONTENT_TYPE]},
        "body": json.dumps(body(status, detail)),
        "isBase64Encoded": False,
    }
