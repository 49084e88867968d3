"""Requests of strangers to the public paths of the customer page, drawn by Schemathesis from a small schema."""

import logging
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings

from customer_page import app
from tests.fakes import World
from tests.visitor import HOST, Page, visiting

TEXT = {"type": "string", "maxLength": 60}
FORM = {"application/x-www-form-urlencoded": {"schema": {"type": "object", "properties": {
    "token": TEXT, "form": TEXT, "expected": TEXT, "x": TEXT}}}}  # fmt: skip
TOKEN = {"name": "token", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
SESSION = {"name": "session", "in": "query", "schema": TEXT}
COOKIE = {"name": "__Host-account", "in": "cookie", "schema": TEXT}
LANGUAGE = {"name": "Accept-Language", "in": "header", "schema": TEXT}
ANSWERS = {"default": {"description": "A page."}}
LOOKS = ["", "/overview", "/cancel", "/resume", "/closed", "/signed-out", "/link-mailed"]
TOKENS = ["/link/{token}", "/new-card/{token}", "/confirm/{token}"]
BUTTONS = ["/session", "/cancel", "/resume", "/new-card", "/confirm", "/mail-link", "/sign-out", "/sign-out-everywhere"]


def _paths() -> dict[str, Any]:
    paths: dict[str, Any] = {f"/account{each}": {} for each in (*LOOKS, *TOKENS, *BUTTONS)}
    for each in LOOKS:
        paths[f"/account{each}"]["get"] = {"parameters": [COOKIE, LANGUAGE], "responses": ANSWERS}
    for each in TOKENS:
        paths[f"/account{each}"]["get"] = {"parameters": [TOKEN, SESSION, COOKIE], "responses": ANSWERS}
    for each in BUTTONS:
        form = {"content": FORM, "required": True}
        paths[f"/account{each}"]["post"] = {"parameters": [COOKIE], "requestBody": form, "responses": ANSWERS}
    return paths


pages = schemathesis.openapi.from_dict(
    {"openapi": "3.1.0", "info": {"title": "The customer page", "version": "1"}, "paths": _paths()}
)


@pytest.fixture(scope="module")
def shop() -> Iterator[World]:
    """A deployment of the page with one subscription, without log lines."""
    made = World()
    made.subscribe(renewal_date="2026-02-28")
    logging.disable(logging.CRITICAL)
    with visiting(made):
        yield made
    logging.disable(logging.NOTSET)


def _answered(case: Any) -> Page:
    """Send a case as API Gateway passes the request on."""
    asked = case.as_transport_kwargs(base_url=f"https://{HOST}")
    asked = {name: value for name, value in asked.items() if name in ("method", "url", "headers", "params", "data")}
    sent = requests.Request(**asked, cookies=case.cookies).prepare()
    headers = {"Host": HOST, "Origin": f"https://{HOST}"} | dict(sent.headers)
    url = urlsplit(str(sent.url))
    body = sent.body.decode("utf-8", "surrogateescape") if isinstance(sent.body, bytes) else sent.body
    event = {
        "httpMethod": sent.method,
        "path": url.path,
        "queryStringParameters": dict(case.query or {}) or None,
        "headers": headers,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "requestContext": {"path": f"/prod{url.path}", "identity": {"sourceIp": "203.0.113.7"}},
        "body": body,
        "isBase64Encoded": False,
    }
    return Page(app.handler(event, None))


@pytest.mark.proof
@pages.parametrize()
@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None)
def test_no_request_of_a_stranger_is_an_error_of_the_page(case: Any, shop: World) -> None:
    """Whatever a stranger sends to a path of the customer page, the answer is a page below 500, and the subscription is
    unchanged."""
    before = dict(shop.row())
    assert _answered(case).status < 500
    assert shop.row() == before
