"""Errors as RFC 9457 problem details: what is wrong with the request, and never what is wrong inside."""

import json
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, TypedDict

from aws_lambda_powertools.event_handler import Response

from renewals.domain.errors import RenewalError
from subscriptions_api.answer_models import Problem

CONTENT_TYPE = "application/problem+json"


class BadRequest(RenewalError):  # noqa: N818
    """Fields that are at fault. errors: each as {"field", "reason"}."""

    def __init__(self, errors: list[dict[str, str]]) -> None:
        super().__init__("a field is at fault")
        self.errors = errors


class Missing(RenewalError):  # noqa: N818
    """There is no such subscription."""


class NoReceipt(RenewalError):  # noqa: N818
    """The link opens no receipt."""


class Stale(RenewalError):  # noqa: N818
    """The subscription is no longer what the caller has read."""


class NotVerified(RenewalError):  # noqa: N818
    """The gateway could not be asked about a customer or a card. The message says why, in words."""


class Nobody(RenewalError):  # noqa: N818
    """The request carries no identity."""


_DESCRIPTIONS = {
    400: "Something is wrong with the request; `errors` names every field at fault.",
    403: "The request is not signed, or its signer may not make it.",
    404: "There is nothing of this name.",
    409: "The subscription's status does not allow it.",
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


_CLOSED = "This link opens no receipt. Please ask the company that sent it to you for the receipt."
_NOT_NOW = "The receipt cannot be opened at the moment. Please try again in a few minutes."
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Receipt</title>
<style>body {{ font: 1.1rem/1.5 system-ui, sans-serif; max-width: 32rem; margin: 15vh auto; padding: 0 1.5rem }}</style>
</head>
<body><h1>Receipt</h1><p>{told}</p></body>
</html>
"""


class Page(TypedDict):
    """Headers and body of a page for people."""

    multiValueHeaders: dict[str, list[str]]
    body: str


class Proxied(Page):
    """A reply as API Gateway takes it from a function."""

    statusCode: int
    isBase64Encoded: bool


def documented(*statuses: int) -> Any:
    """The problems of an operation for the OpenAPI document, those that any request may meet among them."""
    return {
        status: {"description": _DESCRIPTIONS[status], "content": {CONTENT_TYPE: {"model": Problem}}}
        for status in sorted({*statuses, *_EVERYWHERE})
    }


def body(status: int, detail: str | None = None, errors: Iterable[Mapping[str, str]] = ()) -> dict[str, object]:
    """A problem's body. detail: for people; the status's own description where there is nothing to add."""
    faults = [dict(error) for error in errors]
    told: dict[str, object] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail or _DESCRIPTIONS[status],
    }
    return told | ({"errors": faults} if faults else {})


def response(
    status: int, detail: str | None = None, errors: Iterable[Mapping[str, str]] = (), **headers: str
) -> Response[str]:
    """A problem as a route's response."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status, CONTENT_TYPE, json.dumps(body(status, detail, errors)), headers=named)


def reply(status: int, detail: str | None = None) -> Proxied:
    """A problem as API Gateway takes it from a function."""
    return {
        "statusCode": status,
        "multiValueHeaders": {"Content-Type": [CONTENT_TYPE]},
        "body": json.dumps(body(status, detail)),
        "isBase64Encoded": False,
    }


def page(status: int) -> Page:
    """What a person reads who followed a link to a receipt that does not open: headers and body of the reply."""
    told = _CLOSED if status < HTTPStatus.INTERNAL_SERVER_ERROR else _NOT_NOW
    headers = {
        "Content-Type": ["text/html; charset=utf-8"],
        "Content-Security-Policy": ["default-src 'none'; style-src 'unsafe-inline'"],
        "Referrer-Policy": ["no-referrer"],
    }
    return {"multiValueHeaders": headers, "body": _PAGE.format(told=told)}
