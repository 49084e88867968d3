"""The public paths, as the template opens them, and requests of strangers to these paths, drawn by Schemathesis."""

import base64
import re
from dataclasses import dataclass
from random import Random
from typing import Any
from urllib.parse import unquote, urlsplit

import requests
import schemathesis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from customer_page import app as customer_page
from customer_page import at_gateway
from customer_page.request import COOKIE
from renewals.ledger.account_links import Purpose
from tests.template import of_type

type Way = tuple[str, str]
"""A method and a path of the template: ("GET", "/account/{path+}")."""

HOST = "abcd1234.execute-api.eu-west-1.amazonaws.com"
_TEXT = {"type": "string", "maxLength": 60}
_FIELDS = (
    *("token", "form", "expected", "x", "address", "id", "name", "contract", "reason", "wished"),
    *("subscription_id", "customer_id", "amount", "event_type"),
)
_CHOICES = {
    "List-Unsubscribe": "One-Click",
    "choice": "all",
    "way": "extraordinary",
    "type": "payment_intent.succeeded",
}
_FORM: dict[str, Any] = {
    "type": "object",
    "properties": {
        **dict.fromkeys(_FIELDS, _TEXT),
        **{name: {"anyOf": [{"const": value}, _TEXT]} for name, value in _CHOICES.items()},
    },
}
_BODIES = {
    "application/x-www-form-urlencoded": {"schema": _FORM},
    "application/json": {"schema": {"anyOf": [_FORM, {}]}},
    "multipart/form-data": {"schema": _FORM},
    "text/plain": {"schema": {"type": "string"}},
    "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
}
_HEADERS = {
    "/webhook": ("Webhook-Id", "Webhook-Timestamp", "Webhook-Signature"),
    "/gateway-events": ("Stripe-Signature",),
    "/receipts/{token}": ("Accept",),
}
_HEADERS_OF_PAGES = ("Accept-Language",)


def public_ways() -> set[Way]:
    """Return the methods and paths that the template opens to callers without a signature of AWS."""
    return {(method, path) for method, path, _ in _open_methods()}


def open_functions() -> set[str]:
    """Return the functions to which the ways of public_ways lead."""
    uris = (described["x-amazon-apigateway-integration"]["uri"] for _, _, described in _open_methods())
    return {re.findall(r"functions/<(\w+)\.Arn>/invocations$", uri)[0] for uri in uris}


def _open_methods() -> list[tuple[str, str, dict[str, Any]]]:
    assert not of_type("AWS::Lambda::Url") | of_type("AWS::ApiGatewayV2::Api"), "another way in, which nobody looks at"
    return [
        (method.upper(), path, described)
        for api in of_type("AWS::ApiGateway::RestApi").values()
        for path, methods in api["Body"]["paths"].items()
        for method, described in methods.items()
        if not _is_signed(api["Body"], described)
    ]


def _is_signed(document: dict[str, Any], described: dict[str, Any]) -> bool:
    schemes = document.get("components", {}).get("securitySchemes", {})
    required = {name for each in described.get("security", []) for name in each}
    return any(schemes.get(name, {}).get("x-amazon-apigateway-authtype") == "awsSigv4" for name in required)


def _pages() -> list[tuple[str, str]]:
    """Return the methods and paths of the customer page, every page that the function knows, and a page that it does
    not know."""
    with_token = ((method, f"{name}/{{token}}") for method, name in _WITH_TOKEN)
    notices = (("GET", path) for path in customer_page._NOTICES)
    known = {*customer_page._FOR_ANYBODY, *customer_page._ROUTES, *with_token, *notices}
    return sorted(known | {("GET", "{token}"), ("POST", "{token}")})


_WITH_TOKEN = (
    ("GET", Purpose.LINK),
    ("GET", Purpose.REMINDERS),
    ("POST", Purpose.REMINDERS),
    ("GET", at_gateway.NEW_CARD),
    ("GET", at_gateway.CONFIRM),
)

_WAYS: dict[tuple[str, str], Way] = {
    ("POST", "/webhook"): ("POST", "/webhook"),
    ("POST", "/gateway-events"): ("POST", "/gateway-events"),
    ("GET", "/receipts/{token}"): ("GET", "/receipts/{token+}"),
} | {
    (method, f"/account/{page}".rstrip("/")): (method, "/account/{path+}" if page else "/account")
    for method, page in _pages()
}
"""The method and the path of each request, each with its method and path in the template."""

ASKED_WAYS = set(_WAYS.values())


def _document() -> dict[str, Any]:
    paths: dict[str, Any] = {}
    for method, path in _WAYS:
        headers = [(name, "header") for name in _HEADERS.get(path, _HEADERS_OF_PAGES)]
        others = [] if path in _HEADERS else [(COOKIE, "cookie"), ("session", "query")]
        parameters: list[dict[str, Any]] = [
            {"name": name, "in": place, "schema": _TEXT} for name, place in [*headers, *others]
        ]
        if "{token}" in path:
            schema = {"type": "string", "minLength": 1}
            parameters += [{"name": "token", "in": "path", "required": True, "schema": schema}]
        answers = {"default": {"description": "An answer."}}
        described: dict[str, Any] = {"parameters": parameters, "responses": answers}
        if method == "POST":
            described["requestBody"] = {"content": _BODIES}
        paths.setdefault(path, {})[method.lower()] = described
    return {"openapi": "3.1.0", "info": {"title": "The public paths", "version": "1"}, "paths": paths}


public_paths = schemathesis.openapi.from_dict(_document())


def examples(many: int) -> settings:
    """Return the settings of a run with so many requests to each path."""
    return settings(
        max_examples=many, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
    )


@dataclass(frozen=True)
class Oddity:
    """What may be odd about a request beside its fields.

    more: bytes behind the body. passed_on: how API Gateway passes the body on. headers: more headers, each with its
    values. content_type: in place of the body's own; empty for the body's own. times: how often a parameter of the
    query is given, beside others; 0 for the query as drawn. stretch: how often the token in the path is repeated. base:
    the stage, or the base path of a custom domain. is_own_page: whether a form says that it comes from the page itself.
    spelling: what stands behind the path.
    """

    more: bytes
    passed_on: str
    headers: dict[str, list[str]]
    content_type: str
    times: int
    stretch: int
    base: str
    is_own_page: bool
    spelling: str


_ODD_HEADERS = ("X-Odd", "Cookie", "Origin", "Sec-Fetch-Site", "Content-Length", "Stripe-Signature", "Webhook-Id")
_ODD_VALUES = ("", "\x80\xff", "a" * 8000, "=;" * 2000, f"{COOKIE}=a.b; {COOKIE}=c", "t=1,v1=\xe9", "http://[", "-1")
_ODD_TYPES = (
    *("text/html", "application/x-www-form-urlencoded; charset=utf-16", "APPLICATION/JSON;;", "multipart/form-data"),
    *("multipart/form-data; boundary=", "multipart/form-data; boundary*=x''%00", "a" * 4000, "application/cbor"),
)
_ODD_BODIES = (b"\x00", b"&" * 50, b"[" * 9_000, b"%", b"&token=1&token=2", b" " * 70_000, b" " * 600_000)
_FORM_TYPE = "application/x-www-form-urlencoded"
numbers = st.integers(0, 10**6)


def oddity(case: Any, number: int) -> Oddity:
    """Return the oddity of this number for a path. Equal numbers mean different oddities for different paths, because
    Hypothesis draws the same numbers for all paths."""
    chance = Random(f"{case.operation.label} {number}")  # noqa: S311  (no secret)

    def odd[T](share: float, usual: T, *odd: T) -> T:
        return chance.choice(odd) if chance.random() < share else usual

    headers = odd(0.3, 0, 1, 2)
    return Oddity(
        more=odd(0.4, b"", *_ODD_BODIES),
        passed_on=odd(0.6, "text", "base64", "text called base64", "bytes that are no text"),
        headers={
            chance.choice(_ODD_HEADERS): chance.choices(_ODD_VALUES, k=chance.randint(1, 3)) for _ in range(headers)
        },
        content_type=odd(0.6, "", *_ODD_TYPES, *[_FORM_TYPE] * len(_ODD_TYPES)),
        times=odd(0.3, 0, 2, 200),
        stretch=odd(0.2, 1, 300),
        base=odd(0.2, "/prod", "/shop"),
        is_own_page=odd(0.1, True, False),
        spelling=odd(0.1, "", "/", "//", "/..", "%2e", "\x00"),
    )


def way_of(case: Any) -> Way:
    """Return the method and the path of the template to which a request goes."""
    return _WAYS[case.operation.method.upper(), case.operation.path]


@dataclass(frozen=True)
class Sent:
    """A request as it is sent. path: as spelled, without the stage. headers, queries: each with its values."""

    way: Way
    path: str
    headers: dict[str, list[str]]
    queries: dict[str, list[str]]
    body: bytes


def sent(case: Any, odd: Oddity, host: str = HOST) -> Sent:
    """Return a drawn request with its oddity, for the API at a host."""
    asked = case.as_transport_kwargs(base_url=f"https://{host}")
    parts = ("url", "headers", "params", "data", "json", "files")
    plain = requests.Request(
        case.operation.method,
        **{name: value for name, value in asked.items() if name in parts},
        cookies=case.cookies,
    ).prepare()
    path = urlsplit(str(plain.url)).path + odd.spelling
    if odd.stretch > 1 and "{token}" in case.operation.path:
        path += path.rpartition("/")[2] * odd.stretch
    body = plain.body.encode() if isinstance(plain.body, str) else plain.body or b""
    assert isinstance(body, bytes)
    headers = {name: [str(value)] for name, value in plain.headers.items() if name != "Content-Length"}
    headers |= {"Host": [host], **odd.headers}
    if odd.is_own_page:
        headers |= {"Origin": [f"https://{host}"], "Sec-Fetch-Site": ["same-origin"]}
    if odd.content_type:
        headers["Content-Type"] = [odd.content_type]
    queries = {name: [str(each)] for name, each in (case.query or {}).items()}
    if odd.times:
        queries |= {"session": ["cs_test_1"] * odd.times, "": [""], "a[]": ["%", "\x00"]}
    return Sent(way_of(case), path, headers, queries, body + odd.more)


def event_of(request: Sent, odd: Oddity) -> dict[str, Any]:
    """Return the event with which API Gateway passes a request on to the function."""
    method, template = request.way
    return {
        "resource": template,
        "path": request.path if odd.base == "/prod" else odd.base + request.path,
        "httpMethod": method,
        "headers": {name: values[-1] for name, values in request.headers.items()},
        "multiValueHeaders": request.headers,
        "queryStringParameters": {name: values[-1] for name, values in request.queries.items()} or None,
        "multiValueQueryStringParameters": request.queries or None,
        "pathParameters": _parameters(template, request.path),
        "stageVariables": None,
        "requestContext": {
            "path": odd.base + request.path,
            "resourcePath": template,
            "httpMethod": method,
            "stage": "prod",
            "domainName": HOST,
            "identity": {"sourceIp": "203.0.113.7", "userAgent": None, "user": None},
        },
        **_passed_on(request.body, odd.passed_on),
    }


def _parameters(template: str, path: str) -> dict[str, str] | None:
    before, brace, name = template.partition("{")
    return {name.rstrip("+}"): unquote(path.removeprefix(before))} if brace else None


def _passed_on(body: bytes, how: str) -> dict[str, Any]:
    if how == "base64":
        return {"body": base64.b64encode(body).decode(), "isBase64Encoded": True}
    if how == "bytes that are no text":
        return {"body": (body + b"\xff").decode("utf-8", "surrogateescape"), "isBase64Encoded": False}
    text = body.decode("utf-8", "replace")
    return {"body": text or None, "isBase64Encoded": how == "text called base64"}
