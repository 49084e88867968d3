"""A customer's browser in front of the customer page: requests in, pages out, over AWS in memory."""

import html
import io
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from customer_page import app, declaring, visits
from renewals.domain.customer_request import CustomerRequest
from renewals.ledger import account_links
from renewals.ledger.account_links import Account, Power, Purpose
from renewals.runtime import aws, clock, telemetry
from renewals.runtime.clock import Moment
from tests.cuts import Cut
from tests.fakes import LINKS, NOON, World

HOST = "abcd1234.execute-api.eu-west-1.amazonaws.com"
ANN = "ann@customer.example"
DAY = timedelta(days=1)
SETTINGS = {
    "DYNAMODB_TABLE": "subscriptions",
    "RENEWALS_TABLE": "renewals",
    "CHANGES_TABLE": "changes",
    "ACCOUNT_LINK_KEY_ARN": "account key",
    "RECEIPT_LINK_KEY_ARN": "receipt key",
    "RECEIPT_LINKS_URL": LINKS,
    "DECLARATIONS_TABLE": "declarations",
    "CANCELLATION_FORM": "off",
    "WITHDRAWAL_FORM": "off",
    "RENEWAL_QUEUE_URL": "queue",
    "ADDRESS_QUEUE_URL": "addresses",
    "COUNTERS_TABLE": "counters",
    "ACCOUNT_URL": f"https://{HOST}/prod/account",
    "PAYMENT_GATEWAY_ENDPOINT": "https://gateway.example",
    "CHECKOUT_URL": "",
    "PROCESS_PAYMENT_FUNCTION": "process-payment",
    "SELLER_NAME": "Example Shop",
    "DUNNING_DAYS": "1,3,5,7",
    "DUNNING_ENDS_AS": "canceled",
    "ENVIRONMENT": "prod",
    "TIME_ZONE": "UTC",
}


class Page:
    """An answer of the page. Each answer is checked on the way for the headers that every page needs."""

    def __init__(self, reply: dict[str, Any]) -> None:
        self.status: int = reply["statusCode"]
        self.headers: dict[str, list[str]] = reply["multiValueHeaders"]
        self.html: str = reply["body"]
        assert "headers" not in reply
        assert all(isinstance(each, str) for values in self.headers.values() for each in values)
        policy = self.header("Content-Security-Policy")
        assert policy.startswith("default-src 'none'; style-src 'sha256-")
        assert policy.endswith("; base-uri 'none'; frame-ancestors 'none'; form-action 'self' https://gateway.example")
        assert self.header("X-Frame-Options") == "DENY"
        assert self.header("Referrer-Policy") == "same-origin"
        assert self.header("X-Content-Type-Options") == "nosniff"
        assert self.header("Cache-Control") == "no-store"
        assert self.header("Strict-Transport-Security") == "max-age=31536000"
        assert "<script" not in self.html
        assert " style=" not in self.html

    def header(self, name: str) -> str:
        return self.headers.get(name, [""])[0]

    @property
    def text(self) -> str:
        """The text of the page as a person reads it."""
        body = re.sub(r"<(title|style)>.*?</\1>", "", self.html, flags=re.DOTALL)
        return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())

    @property
    def fields(self) -> dict[str, str]:
        """The hidden fields of the page's first form."""
        form = self.html.partition("<form")[2].partition("</form>")[0]
        return dict(re.findall(r'name="(\w+)" value="([^"]*)"', form))

    @property
    def cookie(self) -> str | None:
        """The session that the answer sets; None if the answer sets no cookie."""
        set_cookie = self.header("Set-Cookie")
        if not set_cookie:
            return None
        name, _, value = set_cookie.partition(";")[0].partition("=")
        assert name == "__Host-account"
        assert set_cookie.endswith("; Path=/; Secure; HttpOnly; SameSite=Lax")
        return value


class Visitor:
    """A customer's browser in front of the function, at a moment. queued: the requests put on the queue of renewals.
    typed: the messages put on the queue of typed addresses. source: where the requests come from."""

    def __init__(self, shop: World) -> None:
        self.shop = shop
        self.now = NOON
        self.session = ""
        self.queued: list[dict[str, Any]] = []
        self.typed: list[str] = []
        self.source = "203.0.113.7"
        self.counted: list[str] = []
        self.secret = json.dumps({"current": "a key"})
        self.trouble: Exception | None = None

    # The function's surroundings

    def get_secret_value(self, **q: Any) -> dict[str, str]:
        with self.shop.cuts.around("secretsmanager.GetSecretValue"):
            return {"SecretString": self.secret if q["SecretId"] == "account key" else "receipts"}

    def send_message_batch(self, **q: Any) -> dict[str, Any]:
        if self.trouble is not None:
            raise self.trouble
        if q["QueueUrl"] == "addresses":
            self.typed += [entry["MessageBody"] for entry in q["Entries"]]
            return {}
        assert q["QueueUrl"] == "queue"
        with self.shop.cuts.around("sqs.SendMessageBatch"):
            self.queued += [json.loads(entry["MessageBody"]) for entry in q["Entries"]]
            return {}

    def invoke(self, **q: Any) -> dict[str, Any]:
        """Call ProcessPayment, with the gateway of the shop behind it. A call whose function ends by an error succeeds,
        and its answer names the error."""
        if self.trouble is not None:
            raise self.trouble
        assert q["FunctionName"] == "process-payment"
        asked = CustomerRequest.from_fields(json.loads(q["Payload"])["customer_request"])
        with self.shop.cuts.around("lambda.Invoke"):
            try:
                answer: dict[str, Any] = {"Payload": self.shop.ask(asked, self.now)}
            except (Cut, BotoCoreError, ClientError) as ended:
                told = {"errorType": type(ended).__name__, "errorMessage": str(ended)}
                answer = {"Payload": told, "FunctionError": "Unhandled"}
        return answer | {"Payload": io.BytesIO(json.dumps(answer["Payload"]).encode())}

    # What a browser does

    def event(self, method: str, path: str, body: str = "", **headers: str) -> dict[str, Any]:
        sent = {"Host": HOST} | ({"Cookie": f"a=b; __Host-account={self.session}"} if self.session else {})
        if method == "POST":
            sent |= {"Content-Type": "application/x-www-form-urlencoded", "Origin": f"https://{HOST}"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        path, _, query = path.partition("?")
        rest = path.removeprefix("/account/")
        return {
            "httpMethod": method,
            "path": path,
            "queryStringParameters": dict(parse_qsl(query)) or None,
            "resource": "/account/{path+}" if rest != path else "/account",
            "pathParameters": {"path": rest} if rest != path else None,
            "headers": sent,
            "multiValueHeaders": {name: [value] for name, value in sent.items()},
            "requestContext": {"path": f"/prod{path}", "identity": {"sourceIp": self.source}},
            "body": body or None,
            "isBase64Encoded": False,
        }

    def send(self, event: dict[str, Any]) -> Page:
        page = Page(app.handler(event, None))
        if page.cookie is not None:
            self.session = page.cookie
        return page

    def get(self, path: str, **headers: str) -> Page:
        return self.send(self.event("GET", f"/account/{path}" if path else "/account", **headers))

    def post(self, path: str, form: dict[str, str], **headers: str) -> Page:
        return self.send(self.event("POST", f"/account/{path}", urlencode(form), **headers))

    def link(self, power: Power = Power.FULL, now: datetime = NOON, **more: Any) -> str:
        """Return the token of a link for 60 days. more: attributes of a row that differs from the shop's."""
        account = Account.of_row(self.shop.row() | more)
        return account_links.token("a key", Purpose.LINK, account, power, now + 60 * DAY)

    def sign_in(self, power: Power = Power.FULL) -> Page:
        """Follow a mailed link, and press the button of its page."""
        shown = self.get(f"link/{self.link(power)}")
        assert shown.status == 200
        begun = self.post("session", shown.fields)
        assert (begun.status, begun.header("Location")) == (303, "overview")
        return self.get("overview")

    def press(self, path: str) -> Page:
        """Open a page that asks for a confirmation, and press its button a second later."""
        form = self.get(path).fields
        self.now += timedelta(seconds=1)
        return self.post(path, form)


@contextmanager
def visiting(shop: World, browser: type[Visitor] = Visitor) -> Iterator[Visitor]:
    """Put the page's function behind a browser, over a shop."""
    made = browser(shop)

    def current(test_clock: object = None) -> Moment:
        return clock.moment(made.now, "prod", shop.zone, test_clock)

    caches = (visits.register, visits._account_key, visits._receipt_key, declaring._table)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SETTINGS.items():
            patch.setenv(name, value)
        patch.setattr(aws, "dynamodb", lambda: shop.dynamodb)
        patch.setattr(aws, "secrets_manager", lambda: made)
        patch.setattr(aws, "sqs", lambda: made)
        patch.setattr(aws, "patient_functions", lambda: made)
        patch.setattr(clock, "current", current)
        patch.setattr(telemetry, "count", lambda name, by=1: made.counted.append(name))
        for each in caches:
            each.cache_clear()
        yield made
    for each in caches:
        each.cache_clear()
