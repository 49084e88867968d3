"""What somebody is told whose link opens no receipt: people get a page, programs a problem document."""

import json
from http import HTTPStatus

from renewals.runtime import request_path
from renewals.runtime.problem_details import CONTENT_TYPE, problem
from renewals.runtime.telemetry import Event, Reply

_CLOSED = "This link opens no receipt. Please ask the company that sent it to you for the receipt."
_NOT_NOW = "The receipt cannot be opened at the moment. Please try again in a few minutes."
_DETAILS = {
    HTTPStatus.NOT_FOUND: "This link opens no receipt. Please ask for the receipt.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "Something is wrong on our side.",
    HTTPStatus.SERVICE_UNAVAILABLE: "Try again later.",
}
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
_OF_THE_PAGE = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "Referrer-Policy": "no-referrer",
}


def refusal(event: Event, status: HTTPStatus) -> Reply:
    """Return the reply to a request whose link opens no receipt: never, or not just now."""
    if "text/html" in request_path.headers(event).get("accept", "").lower():
        told = _NOT_NOW if status.is_server_error else _CLOSED
        headers, body = _OF_THE_PAGE, _PAGE.format(told=told)
    else:
        headers, body = {"Content-Type": CONTENT_TYPE}, json.dumps(problem(status, _DETAILS[status]))
    # No cache may keep an answer to a token, and no browser may guess the type of a body.
    kept_by_nobody = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return {"statusCode": status, "headers": headers | kept_by_nobody, "body": body}
