"""The customer page as a browser meets it: requests in, pages out, over AWS in memory."""

import html
import io
import json
import re
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from customer_page import app, visits
from renewals.domain.changes import ChangeKind, of_dispute
from renewals.domain.customer_request import CustomerRequest
from renewals.domain.disputes import DisputeStatus, effect_of
from renewals.language import words
from renewals.language.tags import LANGUAGES
from renewals.ledger import account_links
from renewals.ledger.account_links import Account, Power, Purpose
from renewals.ledger.asked_by import AskedBy
from renewals.ledger.receipt_links import named
from renewals.runtime import aws, clock, telemetry
from renewals.runtime.clock import Moment
from tests.door import Door, forget_secrets
from tests.fake_aws import error
from tests.fakes import LATER, LINKS, NOON, World

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
    "RENEWAL_QUEUE_URL": "queue",
    "ACCOUNT_URL": f"https://{HOST}/prod/account",
    "PAYMENT_GATEWAY_ENDPOINT": "https://gateway.example",
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
    """A customer's browser in front of the function, at a moment. queued: the requests put on the queue of renewals."""

    def __init__(self, shop: World) -> None:
        self.shop = shop
        self.now = NOON
        self.session = ""
        self.queued: list[dict[str, Any]] = []
        self.counted: list[str] = []
        self.secret = json.dumps({"current": "a key"})
        self.trouble: Exception | None = None

    # The function's surroundings

    def get_secret_value(self, **q: Any) -> dict[str, str]:
        return {"SecretString": self.secret if q["SecretId"] == "account key" else "receipts"}

    def send_message_batch(self, **q: Any) -> dict[str, Any]:
        if self.trouble is not None:
            raise self.trouble
        assert q["QueueUrl"] == "queue"
        self.queued += [json.loads(entry["MessageBody"]) for entry in q["Entries"]]
        return {}

    def invoke(self, **q: Any) -> dict[str, Any]:
        """Call ProcessPayment, with the gateway of the shop behind it."""
        if self.trouble is not None:
            raise self.trouble
        assert q["FunctionName"] == "process-payment"
        asked = CustomerRequest.from_fields(json.loads(q["Payload"])["customer_request"])
        reply = self.shop.ask(asked, self.now)
        return {"Payload": io.BytesIO(json.dumps(reply).encode())}

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
            "requestContext": {"path": f"/prod{path}", "identity": {"sourceIp": "203.0.113.7"}},
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
def visiting(shop: World) -> Iterator[Visitor]:
    """Put the page's function behind a browser, over a shop."""
    made = Visitor(shop)

    def current(test_clock: object = None) -> Moment:
        return clock.moment(made.now, "prod", shop.zone, test_clock)

    caches = (visits.register, visits._account_key, visits._receipt_key)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SETTINGS.items():
            patch.setenv(name, value)
        patch.setattr(aws, "dynamodb", lambda: shop.dynamodb)
        patch.setattr(aws, "secrets_manager", lambda: made)
        patch.setattr(aws, "sqs", lambda: made)
        patch.setattr(aws, "patient_functions", lambda: made)
        patch.setattr(clock, "current", current)
        patch.setattr(telemetry, "count", made.counted.append)
        for each in caches:
            each.cache_clear()
        yield made
    for each in caches:
        each.cache_clear()


@pytest.fixture
def visitor(shop: World) -> Iterator[Visitor]:
    """A browser in front of the page of a deployment, with a subscription of 29.99 USD due on 28 February 2026."""
    shop.subscribe(renewal_date="2026-02-28", test_clock=None)
    with visiting(shop) as made:
        yield made


def test_the_link_shows_a_masked_name_and_begins_nothing(visitor: Visitor, shop: World) -> None:
    """A GET of a mailed link, as mail scanners make, shows the masked customer, begins no session, changes nothing."""
    before = dict(shop.row())
    shown = visitor.get(f"link/{visitor.link()}")
    assert shown.status == 200
    assert "Pro" in shown.text
    assert "A*** L***" in shown.text
    assert "a***@c***.example" in shown.text
    assert "Ann" not in shown.text
    assert ANN not in shown.html
    assert shown.cookie is None
    assert shop.row() == before


def test_the_button_begins_a_session_of_half_an_hour(visitor: Visitor) -> None:
    """The session shows the subscription, and ends half an hour after its begin."""
    page = visitor.sign_in()
    assert page.status == 200
    for said in ("Pro", "$29.99 every month", "Active", "28 February 2026 to 27 March 2026"):
        assert said in page.text, said
    visitor.now += timedelta(minutes=29, seconds=59)
    assert visitor.get("overview").status == 200
    visitor.now += timedelta(seconds=1)
    assert visitor.get("overview").status == 404


def test_a_session_does_not_outlast_its_link(visitor: Visitor) -> None:
    """A session that begins a minute before its link expires ends with the link."""
    token = visitor.link()
    visitor.now = NOON + 60 * DAY - timedelta(minutes=1)
    visitor.post("session", {"token": token})
    assert visitor.get("overview").status == 200
    visitor.now += timedelta(minutes=1)
    assert visitor.get("overview").status == 404


def _broken_links(visitor: Visitor, shop: World) -> Iterator[tuple[str, str]]:
    good = visitor.link()
    words, _, mac = good.partition(".")
    yield "forged", f"{words}.{'A' * len(mac)}"
    yield "cut", good[:-1]
    yield "longer", f"{good}A"
    yield "changed", ("A" if good[0] != "A" else "B") + good[1:]
    yield "another customer's", visitor.link(customer_id="cus_2")
    yield "another address", visitor.link(customer_email="old@customer.example")
    yield "signed out", visitor.link(account_links=Decimal(3))
    yield "another subscription", visitor.link(subscription_id="sub_2")
    account = Account.of_row(shop.row())
    yield "expired", account_links.token("a key", Purpose.LINK, account, Power.FULL, NOON)
    yield "rotated", account_links.token("an older key", Purpose.LINK, account, Power.FULL, NOON + DAY)
    yield "a session", account_links.token("a key", Purpose.SESSION, account, Power.FULL, NOON + DAY)
    yield "nonsense", "nonsense"
    yield "nothing", ""
    yield "slashes", "a/b/c"


def test_every_wrong_link_gets_one_answer_after_the_same_work(
    visitor: Visitor, shop: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forged, changed, expired, revoked, foreign and rotated links get the same answer, byte by byte, after one look at
    the table and one pair of proofs; and the answer is also that of a POST and of a wrong session."""
    work: list[str] = []
    real_query, real_token = shop.dynamodb.query, account_links.token

    def query(**q: Any) -> Any:
        work.append("query")
        return real_query(**q)

    def proof(*of: Any) -> str:
        work.append("proof")
        return real_token(*of)

    monkeypatch.setattr(shop.dynamodb, "query", query)
    links = dict(_broken_links(visitor, shop))
    monkeypatch.setattr(account_links, "token", proof)
    answers = {}
    for name, token in links.items():
        if not token:  # without a token there is no such path
            continue
        work.clear()
        page = visitor.get(f"link/{token}")
        answers[name] = (page.status, page.html, page.headers)
        assert work == ["query", "proof", "proof"], name
    for name, token in links.items():
        page = visitor.post("session", {"token": token})
        answers[f"posted {name}"] = (page.status, page.html, page.headers)
        assert page.cookie is None
    visitor.session = links["forged"]
    page = visitor.get("overview")
    answers["session"] = (page.status, page.html, page.headers)
    page = visitor.get("no-such-page")
    answers["no page"] = (page.status, page.html, page.headers)
    assert len({repr(each) for each in answers.values()}) == 1
    assert answers["forged"][0] == 404
    assert set(visitor.counted) == {"AccountLinksRefused"}


def test_a_rotated_key_keeps_links_open_until_it_is_dropped(visitor: Visitor) -> None:
    """During a rotation, a link and a session of the previous key hold; after the rotation, neither does."""
    token = visitor.link()
    visitor.sign_in()
    for secret, status in (({"current": "new", "previous": "a key"}, 200), ({"current": "new"}, 404)):
        visitor.secret = json.dumps(secret)
        visits._account_key.cache_clear()
        assert visitor.get(f"link/{token}").status == status
        assert visitor.get("overview").status == status


def test_a_changed_address_ends_links_and_sessions(visitor: Visitor, shop: World) -> None:
    """After the address on file is changed, neither the link to the earlier address nor its session holds."""
    token = visitor.link()
    visitor.sign_in()
    shop.edit(customer_email="new@customer.example")
    assert visitor.get(f"link/{token}").status == 404
    assert visitor.get("overview").status == 404
    assert visitor.get("cancel").status == 404


def test_signing_out_everywhere_closes_every_link_and_session(visitor: Visitor, shop: World) -> None:
    """Signing out everywhere ends other sessions and all mailed links, is recorded as the customer's, and a link of a
    later mail works."""
    token = visitor.link()
    visitor.sign_in()
    other, form = visitor.session, visitor.get("overview").fields
    done = visitor.post("sign-out-everywhere", form)
    assert (done.status, done.header("Location"), visitor.session) == (303, "closed", "")
    assert visitor.get("closed").status == 200
    visitor.session = other
    assert visitor.get("overview").status == 404
    assert visitor.get(f"link/{token}").status == 404
    assert visitor.sign_in().status == 200
    assert shop.row()["account_links"] == 1
    [change] = shop.dynamodb.items("changes").values()
    assert (change["what"], change["by"]) == ("signed_out", "customer")


def test_signing_out_ends_the_session_of_this_browser(visitor: Visitor) -> None:
    """Signing out takes the cookie away."""
    visitor.sign_in()
    done = visitor.post("sign-out", visitor.get("overview").fields)
    assert (done.status, done.header("Location"), visitor.session) == (303, "signed-out", "")
    assert visitor.get("signed-out").status == 200


def test_a_receipts_link_can_look_and_change_nothing(visitor: Visitor, shop: World) -> None:
    """With the lesser power, the overview has no way to a change but to ask for a link, and every change gets 404."""
    page = visitor.sign_in(Power.SEE)
    assert page.status == 200
    assert re.findall('action="([^"]*)"', page.html) == ["mail-link"]
    assert 'href="cancel"' not in page.html
    before = dict(shop.row())
    form = account_links.form_token("a key", visitor.session)
    for path in ("cancel", "resume", "sign-out-everywhere"):
        assert visitor.get(path).status == 404
        assert visitor.post(path, {"form": form, "expected": ""}).status == 404
    assert shop.row() == before


def test_whoever_looks_can_have_a_full_link_mailed(visitor: Visitor, shop: World) -> None:
    """From a receipt's link, the customer has a link with the full power mailed to the address on file: three times an
    hour, ten times a day, and beyond that with the same answer and no mail."""
    for hour, mailed in ((0, 3), (1, 6), (2, 9), (3, 10)):
        visitor.now = NOON + timedelta(hours=hour)
        page = visitor.sign_in(Power.SEE)
        for _ in range(4):
            visitor.now += timedelta(seconds=1)
            done = visitor.post("mail-link", page.fields)
            assert (done.status, done.header("Location")) == (303, "link-mailed")
        asked = shop.dynamodb.items("changes").values()
        assert [(each["what"], each["by"]) for each in asked] == [("link_asked", "customer")] * mailed
    assert "sending a new link" in visitor.get("link-mailed").text
    assert visitor.post("mail-link", {"form": "x"}).status == 409


STATES: list[tuple[dict[str, Any], str, str, str]] = [
    ({}, "Active", "ends on 28 February 2026", "active"),
    ({"status": "past_due"}, "Past due", "ends today", "canceled"),
    ({"status": "paused"}, "Paused", "ends today", "canceled"),
    ({"status": "unpaid"}, "Suspended", "ends today", "canceled"),
    ({"renewal_date": "not a day"}, "Active", "ends today", "canceled"),
    ({"amount": "by hand"}, "Active", "ends on 28 February 2026", "active"),
    ({"status": "past_due", "cancel_at": "2026-03-31"}, "Past due", "ends today", "canceled"),
    (
        {"cancel_at": "2026-06-30"},
        "Active. Your subscription ends on 30 June 2026.",
        "ends on 28 February 2026",
        "active",
    ),
    ({"cancel_at": "soon"}, "Not known at the moment", "ends on 28 February 2026", "active"),
]


@pytest.mark.parametrize(("row", "state", "said", "status"), STATES)
def test_a_customer_cancels_in_every_state(
    visitor: Visitor, shop: World, row: dict[str, Any], state: str, said: str, status: str
) -> None:
    """An active subscription ends with its period, every other one now; the page says so before, and the change is
    recorded as the customer's. A row with a fault can be canceled, too."""
    shop.edit(**row)
    assert state in visitor.sign_in().text
    asked = visitor.get("cancel")
    assert said in asked.text
    assert shop.row().get("version") is None
    done = visitor.post("cancel", asked.fields)
    assert (done.status, done.header("Location")) == (303, "overview")
    assert shop.row()["status"] == status
    if status == "active":
        assert shop.row()["cancel_at"] == "2026-02-28"
        assert "Canceled. Your subscription ends on 28 February 2026." in visitor.get("overview").text
    else:
        assert "Canceled. Nothing is charged any more." in visitor.get("overview").text
    [change] = shop.dynamodb.items("changes").values()
    assert change["by"] == "customer"


@pytest.mark.parametrize(
    "row",
    [
        {"status": "canceled"},
        {"cancel_at": "2026-02-28"},
        {"cancel_at": "2026-01-15", "renewal_date": "2026-01-31"},
        {"status": "?"},
    ],
)
def test_what_has_ended_cannot_be_canceled(visitor: Visitor, shop: World, row: dict[str, Any]) -> None:
    """Where nothing is left to cancel, no page offers to, and a form that was made up changes nothing."""
    shop.edit(**row)
    assert 'href="cancel"' not in visitor.sign_in().html
    assert visitor.get("cancel").header("Location") == "overview"
    before = dict(shop.row())
    form = account_links.form_token("a key", visitor.session)
    assert visitor.post("cancel", {"form": form, "expected": "x"}).status == 409
    assert shop.row() == before


def test_a_doubled_cancellation_changes_nothing_twice(visitor: Visitor, shop: World) -> None:
    """A form that is sent again, even after the customer has resumed, changes nothing."""
    visitor.sign_in()
    form = visitor.get("cancel").fields
    assert visitor.post("cancel", form).status == 303
    assert visitor.post("cancel", form).status == 409
    assert visitor.press("resume").status == 303
    assert "cancel_at" not in shop.row()
    assert visitor.post("cancel", form).status == 409
    assert "cancel_at" not in shop.row()
    assert len(shop.dynamodb.items("changes")) == 2


def test_an_end_that_is_set_already_can_be_brought_forward_and_comes_back(visitor: Visitor, shop: World) -> None:
    """A subscription that the seller has set to end in June is active until then: the customer may cancel earlier, is
    told of the charges until June after a resumption, and does not remove the seller's end."""
    shop.edit(cancel_at="2026-06-30")
    page = visitor.sign_in()
    assert "$29.99 on 28 February 2026" in page.text
    assert 'href="resume"' not in page.html
    assert visitor.press("cancel").status == 303
    assert shop.row()["cancel_at"] == "2026-02-28"
    asked = visitor.get("resume")
    assert "We charge $29.99 on 28 February 2026" in asked.text
    assert "Your subscription ends on 30 June 2026, and is not charged after that." in asked.text
    visitor.now += timedelta(seconds=1)
    assert visitor.post("resume", asked.fields).status == 303
    assert shop.row()["cancel_at"] == "2026-06-30"
    shop.edit(renewal_date="2026-06-30")
    page = visitor.get("overview")
    assert "Canceled. Your subscription ends on 30 June 2026." in page.text
    assert "resume" not in page.html
    assert visitor.get("resume").status == 303


@pytest.mark.parametrize("by", ["ann", of_dispute("dp_1"), None])
def test_an_end_of_somebody_else_is_not_taken_back(visitor: Visitor, shop: World, by: str | None) -> None:
    """An end that the seller, a dispute or an unknown hand has set stands, even after a cancellation of the customer's
    own: the page offers no resumption, asks the customer to write, and a form of an earlier page changes nothing."""
    visitor.sign_in()
    assert visitor.press("cancel").status == 303
    form = visitor.get("resume").fields
    visitor.now += timedelta(seconds=1)
    assert visitor.post("resume", form).status == 303
    if by is None:
        shop.edit(cancel_at="2026-02-28")
    else:
        register, asked = shop.register, AskedBy(by, NOON + LATER)
        register.edit(shop.row(), {"cancel_at": "2026-02-28"}, ChangeKind.ENDING, asked)
    page = visitor.get("overview")
    assert "To keep your subscription, please contact us." in page.text
    assert "resume" not in page.html
    assert visitor.get("resume").header("Location") == "overview"
    before = dict(shop.row())
    assert visitor.post("resume", form).status == 409
    assert shop.row() == before


@pytest.mark.parametrize(
    ("disputed", "decided", "can_resume"),
    [
        (DisputeStatus.NEEDS_RESPONSE, None, False),
        (DisputeStatus.NEEDS_RESPONSE, DisputeStatus.LOST, False),
        (DisputeStatus.NEEDS_RESPONSE, DisputeStatus.WON, True),
        (DisputeStatus.WARNING_NEEDS_RESPONSE, None, True),
    ],
)
def test_the_own_end_stands_after_a_chargeback(
    visitor: Visitor, shop: World, disputed: DisputeStatus, decided: DisputeStatus | None, *, can_resume: bool
) -> None:
    """A customer cancels on the page, and then disputes the payment at the bank. The chargeback sets no end, because
    the customer's end suffices: this end is not taken back, unless the seller wins or the dispute is an inquiry."""
    shop.edit(renewal_date="2026-01-31")
    shop.run()
    visitor.now = NOON + LATER
    visitor.sign_in()
    assert visitor.press("cancel").status == 303
    form = visitor.get("resume").fields
    forget_secrets()
    door = Door(shop, now=visitor.now + LATER)
    shop.gateway.now = door.now
    shop.gateway.events.clear()
    shop.gateway.contest("pi_1", disputed)
    if decided is not None:
        shop.gateway.dispute_becomes("dp_1", decided)
    for event in shop.gateway.events:
        assert door.post(event) == 200
    door.work()
    forget_secrets()
    period = shop.ledger.get("sub_1", "2026-01-31")
    assert period is not None
    assert period.disputes is not None
    is_inquiry = disputed is DisputeStatus.WARNING_NEEDS_RESPONSE
    assert effect_of(period.disputes["dp_1"]) == (None if is_inquiry else "none")
    visitor.now = door.now + LATER
    page = visitor.get("overview")
    assert ("To keep your subscription, please contact us." in page.text) is not can_resume
    assert ('href="resume"' in page.html) is can_resume
    assert visitor.post("resume", form).status == (303 if can_resume else 409)
    assert ("cancel_at" in shop.row()) is not can_resume


def test_a_chargeback_before_the_cancellation_does_not_bind_the_customer(visitor: Visitor, shop: World) -> None:
    """A deployment keeps a disputed subscription. The customer who cancels later may take this cancellation back."""
    shop.edit(renewal_date="2026-01-31")
    shop.run()
    forget_secrets()
    door = Door(shop, now=NOON + LATER, disputed="keep")
    shop.gateway.now = door.now
    shop.gateway.events.clear()
    shop.gateway.contest("pi_1")
    for event in shop.gateway.events:
        assert door.post(event) == 200
    door.work()
    forget_secrets()
    visitor.now = door.now + LATER
    visitor.sign_in()
    assert visitor.press("cancel").status == 303
    assert visitor.press("resume").status == 303
    assert "cancel_at" not in shop.row()


def test_a_pause_within_a_set_end_is_resumed_until_the_end(visitor: Visitor, shop: World) -> None:
    """A paused subscription with an end is resumed until this end, and the page says so before."""
    shop.edit(status="paused", renewal_date="2026-01-15", cancel_at="2026-02-20")
    visitor.sign_in()
    asked = visitor.get("resume")
    assert "We charge $29.99 now" in asked.text
    assert "Your subscription ends on 20 February 2026, and is not charged after that." in asked.text
    assert visitor.post("resume", asked.fields).status == 303
    assert (shop.row()["status"], shop.row()["cancel_at"]) == ("active", "2026-02-20")


def test_a_resumed_subscription_is_charged_as_the_page_says(visitor: Visitor, shop: World) -> None:
    """A subscription that was to end goes on, a paused one from today on, a suspended one is charged now. The page
    names the charge before, and work that is due goes to the queue."""
    visitor.sign_in()
    visitor.press("cancel")
    asked = visitor.get("resume")
    assert "We charge $29.99 on 28 February 2026, for 28 February 2026 to 27 March 2026." in asked.text
    assert visitor.post("resume", asked.fields).status == 303
    assert visitor.queued == []
    shop.edit(status="paused", renewal_date="2026-01-15")
    asked = visitor.get("resume")
    assert "We charge $29.99 now, for 31 January 2026 to 27 February 2026." in asked.text
    assert visitor.post("resume", asked.fields).status == 303
    assert (shop.row()["status"], shop.row()["renewal_date"]) == ("active", "2026-01-31")
    assert [each["renewal_date"] for each in visitor.queued] == ["2026-01-31"]
    shop.edit(status="unpaid")
    asked = visitor.get("resume")
    assert "We charge $29.99 now" in asked.text
    assert visitor.post("resume", asked.fields).status == 303
    assert shop.row()["status"] == "active"
    assert len(visitor.queued) == 2


@pytest.mark.parametrize("catch_up", ["latest", "each"])
@pytest.mark.parametrize("late", [0, 2, 16, 60])
def test_a_suspended_subscription_is_charged_for_the_days_that_the_page_names(
    visitor: Visitor, shop: World, catch_up: str, late: int
) -> None:
    """A weekly subscription was suspended after a declined payment. However late the customer resumes, and however the
    subscription catches up, the charge is for the days that the page has named, and the suspended weeks are free."""
    weekly = {"interval": "week", "interval_count": Decimal(1), "catch_up": catch_up}
    shop.subscribe(renewal_date="2026-01-31", payment_method="pm_declined", test_clock=None, **weekly)
    shop.run("declined", NOON)
    shop.edit(status="unpaid")
    shop.run("given up", NOON + LATER)
    assert shop.items()["2026-01-31"]["status"] == "given_up"
    shop.edit(payment_method="pm_ok")
    visitor.now = NOON + late * DAY
    visitor.post("session", {"token": visitor.link(now=visitor.now)})
    asked = visitor.get("resume")
    assert visitor.post("resume", asked.fields).status == 303
    [queued] = visitor.queued
    work = {name: queued[name] for name in ("amount", "renewal_date")}
    for n in range(3):
        shop.execute(work, f"resumed {n}", visitor.now + (n + 1) * LATER)
    [paid] = [item for item in shop.items().values() if item.get("paid_at")]
    days = words("en").days(*(date.fromisoformat(paid[name]) for name in ("renewal_date", "period_end")))
    assert f"We charge $29.99 now, for {days}." in asked.text
    assert paid["renewal_date"] <= visitor.now.date().isoformat() < paid["period_end"]


def test_a_subscription_is_resumed_five_times_a_day(visitor: Visitor, shop: World) -> None:
    """Who presses the buttons without end causes five resumptions a day, and can still cancel: the sixth resumption is
    refused until the next day, and causes no record and no mail."""
    visitor.sign_in()
    for _ in range(5):
        assert visitor.press("cancel").status == 303
        assert visitor.press("resume").status == 303
    assert visitor.press("cancel").status == 303
    refused = visitor.press("resume")
    assert refused.status == 429
    assert "five times a day" in refused.text
    assert shop.row()["cancel_at"] == "2026-02-28"
    assert len(shop.dynamodb.items("changes")) == 11
    visitor.now += DAY
    visitor.sign_in()
    assert visitor.press("resume").status == 303


def _spoil_the_ledger(shop: World) -> None:
    shop.items()["2026-01-31"]["period_end"] = "not a day"


def _spoil_a_refund(shop: World) -> None:
    refund = {"receipt_key": "x", "state": "refunded", "amount": Decimal(1), "at": "no moment"}
    shop.items()["2026-01-31"]["refunds"] = {"refund": refund}


def _spoil_the_card(shop: World) -> None:
    shop.edit(known_card={"payment_method": "pm_ok", "name": "Visa", "expires": "2026-13"})


@pytest.mark.parametrize("spoil", [_spoil_the_ledger, _spoil_a_refund, _spoil_the_card])
def test_data_that_cannot_be_read_fails_no_page(visitor: Visitor, shop: World, spoil: Callable[[World], None]) -> None:
    """An item of the ledger, a refund or a card that somebody wrote by hand is left out: every page answers, and a page
    that cannot say what would happen asks the customer to write."""
    shop.edit(renewal_date="2026-01-31")
    shop.run()
    spoil(shop)
    page = visitor.sign_in()
    assert (page.status, "Active" in page.text) == (200, True)
    for path in ("cancel", "resume"):
        assert visitor.get(path).status in (200, 303, 409)
    form = account_links.form_token("a key", visitor.session)
    assert visitor.post("cancel", {"form": form, "expected": "x"}).status == 409


def test_a_request_without_a_link_counts_as_no_refused_link(visitor: Visitor) -> None:
    """Whoever opens an old bookmark without a session is told so, and is not counted among the refused links."""
    assert visitor.get("overview").status == 404
    assert visitor.counted == []


def test_a_page_that_a_renewal_has_overtaken_changes_nothing(visitor: Visitor, shop: World) -> None:
    """If a renewal moves the end of the period between the page and its button, nothing is canceled, and the next page
    names the new day."""
    shop.edit(renewal_date="2026-01-31")
    visitor.sign_in()
    asked = visitor.get("cancel")
    assert "ends today" in asked.text
    shop.run("run-1", NOON)
    shop.run("run-2", NOON + LATER)
    stale = visitor.post("cancel", asked.fields)
    assert stale.status == 409
    assert "Nothing was changed" in stale.text
    assert "cancel_at" not in shop.row()
    again = visitor.get("cancel")
    assert "ends on 28 February 2026" in again.text
    assert visitor.post("cancel", again.fields).status == 303
    assert shop.row()["cancel_at"] == "2026-02-28"


def test_an_open_claim_is_told_as_being_settled(visitor: Visitor, shop: World) -> None:
    """While a claim is open, the pages say that a payment is being settled, and a cancellation names the end of the
    claimed period."""
    shop.edit(renewal_date="2026-01-31")
    shop.renew()  # the payment is made; the workflow has not gone on
    item = shop.items()["2026-01-31"]
    item["status"] = "claimed"
    page = visitor.sign_in()
    assert "A payment for 31 January 2026 to 27 February 2026 is being settled right now." in page.text
    shop.edit(renewal_date="2026-01-31")
    assert "being settled right now" in visitor.get("cancel").text


def test_a_refused_payment_is_explained(visitor: Visitor, shop: World) -> None:
    """After a decline, the overview says when the payment is tried again and when the subscription ends, and after a
    cancellation the open payment is given up by the queued work."""
    shop.edit(renewal_date="2026-01-31", payment_method="pm_declined")
    shop.run()
    page = visitor.sign_in()
    assert "Past due" in page.text
    assert "on 1 February 2026: we then try again to collect the payment" in page.text
    assert "If the payment has not gone through by 7 February 2026, your subscription is canceled." in page.text
    asked = visitor.get("cancel")
    assert "The open payment of $29.99 is not collected" in asked.text
    visitor.post("cancel", asked.fields)
    assert "If the payment has not gone through" not in visitor.get("overview").text
    [queued] = visitor.queued
    shop.execute({name: queued[name] for name in ("amount", "renewal_date")}, "run-9", NOON + LATER)
    assert shop.row()["status"] == "canceled"
    assert shop.gateway.charges == []


def _opened(visitor: Visitor) -> str:
    """Press the button for a new card; return the id of the gateway's session."""
    opened = visitor.post("new-card", visitor.get("overview").fields)
    assert (opened.status, opened.header("Location").rpartition("/")[0]) == (303, "https://gateway.example/pay")
    return opened.header("Location").rpartition("/")[2]


def _back(visitor: Visitor, address: str) -> Page:
    """Come back from the gateway's page."""
    assert address.startswith(f"https://{HOST}/prod/account/new-card/")
    return visitor.get(address.removeprefix(f"https://{HOST}/prod/account/"))


def test_a_new_card_is_taken_and_what_is_past_due_is_tried_at_once(visitor: Visitor, shop: World) -> None:
    """A declined customer presses the button, saves a card at the gateway's page, and comes back: the card is taken,
    the past due payment goes to the queue, and is paid. The reloaded page does nothing more."""
    shop.edit(renewal_date="2026-01-31", payment_method="pm_declined")
    shop.run()
    visitor.now = NOON + LATER
    visitor.sign_in()
    address = shop.gateway.give_card(_opened(visitor), "pm_new", visitor.now)
    page = _back(visitor, address)
    assert (page.status, shop.row()["payment_method"]) == (200, "pm_new")
    assert "trying to collect the payment that is past due" in page.text
    assert 'href="../overview"' in page.html
    [queued] = visitor.queued
    shop.execute({name: queued[name] for name in ("amount", "renewal_date")}, "run-2", NOON + 2 * LATER)
    assert (shop.row()["status"], len(shop.gateway.charges)) == ("active", 1)
    assert _back(visitor, address).text.startswith("Example Shop Your payment method is updated")
    assert len(visitor.queued) == 1


def test_the_way_back_works_without_a_cookie(visitor: Visitor, shop: World) -> None:
    """A customer who comes back without a session, as in another browser, has the card taken all the same, and gets no
    session."""
    visitor.sign_in()
    address = shop.gateway.give_card(_opened(visitor))
    visitor.session = ""
    page = _back(visitor, address)
    assert (page.status, shop.row()["payment_method"], visitor.session) == (200, "pm_new", "")
    assert "overview" not in page.html


def test_of_the_way_back_only_the_gateway_is_believed(visitor: Visitor, shop: World) -> None:
    """A session that is open, unknown, foreign or no session takes no card; nor does a token that is not ours or has
    expired."""
    visitor.sign_in()
    session = _opened(visitor)
    back = shop.gateway.pages[session].cancel_url.removeprefix(f"https://{HOST}/prod/account/")
    for query in ("", "?session=", f"?session={session}", "?session=cs_unknown", "?session=../x", "?other=1"):
        page = visitor.get(f"{back}{query}")
        assert (page.status, "was not changed" in page.text) == (200, True), query
    shop.gateway.give_card(session)
    metadata = dict(shop.gateway.sessions[session].metadata) | {"subscription_id": "sub_2"}
    shop.gateway.sessions["cs_foreign"] = replace(shop.gateway.sessions[session], metadata=metadata)
    assert "was not changed" in visitor.get(f"{back}?session=cs_foreign").text
    assert visitor.get(f"{back}x?session={session}").status == 404
    visitor.now += timedelta(hours=3)
    assert visitor.get(f"{back}?session={session}").status == 404
    assert shop.row()["payment_method"] == "pm_ok"


def test_a_way_back_that_is_called_without_end_asks_ten_times_an_hour(visitor: Visitor, shop: World) -> None:
    """Whoever calls the way back from the bank or from the card page in a loop puts ten messages on the queue of all
    renewals within an hour, and has the gateway asked no more often: the further calls get 429, which the alarm
    counts."""
    shop.edit(renewal_date="2026-01-31", payment_method="pm_3ds")
    shop.run()
    account = Account.of_row(shop.row())
    token = account_links.token("a key", Purpose.RETURN, account, Power.FULL, visitor.now + timedelta(hours=3))
    pages = [visitor.get(f"confirm/{token}") for _ in range(12)]
    assert [page.status for page in pages] == [200] * 10 + [429] * 2
    assert "We are checking your payment" in pages[-1].text
    assert len(visitor.queued) == 10
    visitor.trouble = AssertionError("the gateway is asked beyond the limit")
    assert visitor.get(f"new-card/{token}?session=cs_x").status == 429
    visitor.trouble = None
    visitor.now += timedelta(hours=1)
    assert "was not changed" in visitor.get(f"new-card/{token}?session=cs_x").text
    assert shop.row()["returns"] == "2026-01-31T13/1"


def test_two_windows_that_come_back_at_once_are_both_counted(
    visitor: Visitor, shop: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If another window comes back between the look at the row and the count, the look is repeated: both are counted,
    and the customer sees no failure."""
    account = Account.of_row(shop.row())
    token = account_links.token("a key", Purpose.RETURN, account, Power.FULL, visitor.now + timedelta(hours=3))
    real, others = shop.dynamodb.transact_write_items, ["2026-01-31T12/4"]

    def write(**q: Any) -> Any:
        if others:
            shop.edit(returns=others.pop())
        return real(**q)

    monkeypatch.setattr(shop.dynamodb, "transact_write_items", write)
    assert visitor.get(f"confirm/{token}").status == 200
    assert shop.row()["returns"] == "2026-01-31T12/5"


def test_a_card_page_is_opened_five_times_a_day(visitor: Visitor, shop: World) -> None:
    """The sixth card page of a day is refused, and the next day has five again."""
    visitor.sign_in()
    for _ in range(5):
        _opened(visitor)
    refused = visitor.post("new-card", visitor.get("overview").fields)
    assert refused.status == 429
    assert "five times a day" in refused.text
    assert len(shop.gateway.pages) == 5
    visitor.now += DAY
    visitor.sign_in()
    _opened(visitor)
    assert shop.row()["card_pages"] == "2026-02-01/1"


def test_a_card_page_needs_the_form_and_the_full_power(visitor: Visitor, shop: World) -> None:
    """Without the form's token, with a receipt's link, or for an ended subscription, no gateway's page is opened."""
    visitor.sign_in()
    assert visitor.post("new-card", {"form": "x"}).status == 409
    visitor.sign_in(Power.SEE)
    assert visitor.post("new-card", {"form": account_links.form_token("a key", visitor.session)}).status == 404
    visitor.sign_in()
    form = visitor.get("overview").fields
    shop.edit(status="canceled")
    assert "new-card" not in visitor.get("overview").html
    assert visitor.post("new-card", form).status == 409
    assert shop.gateway.pages == {}


def test_trouble_at_the_gateway_changes_nothing(visitor: Visitor, shop: World) -> None:
    """If ProcessPayment does not answer, or answers with an address that is not the gateway's, the customer is told
    that nothing was changed."""
    visitor.sign_in()
    form = visitor.get("overview").fields
    visitor.trouble = EndpointConnectionError(endpoint_url="https://lambda.example")
    assert visitor.post("new-card", form).status == 409
    visitor.trouble = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PAYMENT_GATEWAY_ENDPOINT", "https://api.stripe.com")
        reply = app.handler(visitor.event("POST", "/account/new-card", urlencode(form)), None)
        assert reply["statusCode"] == 409
        policy = reply["multiValueHeaders"]["Content-Security-Policy"][0]  # type: ignore[index]
    assert policy.endswith("form-action 'self' https://checkout.stripe.com https://hooks.stripe.com")
    assert shop.row()["payment_method"] == "pm_ok"


def _asked_to_confirm(visitor: Visitor, shop: World) -> Page:
    """Sign in after the bank has asked for a confirmation, and press the button; return the answer."""
    shop.edit(renewal_date="2026-01-31", payment_method="pm_3ds")
    shop.run()
    visitor.now = NOON + LATER
    page = visitor.sign_in()
    assert "Your bank asks you to confirm your last payment." in page.text
    return visitor.post("confirm", {"form": page.fields["form"]})


def test_a_payment_is_confirmed_at_the_bank_and_recorded_by_the_workflow(
    visitor: Visitor, shop: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The button leads to the bank's page. On the way back the workflow asks the gateway: what the browser brings back
    is not believed, and the payment is charged once."""
    monkeypatch.setenv("PAYMENT_GATEWAY_ENDPOINT", "https://bank.example")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Page, "__init__", _unchecked)
        opened = _asked_to_confirm(visitor, shop)
        assert opened.status == 303
        assert opened.header("Location").startswith("https://bank.example/")
        token = account_links.token(
            "a key", Purpose.RETURN, Account.of_row(shop.row()), Power.FULL, visitor.now + timedelta(hours=1)
        )
        back = visitor.get(f"confirm/{token}?redirect_status=succeeded&payment_intent=pi_else")
        assert "We are asking the bank about your payment. If the payment went through, you get a receipt" in back.text
        [queued] = visitor.queued
        work = {name: queued[name] for name in ("amount", "renewal_date")}
        shop.execute(work, "run-2", NOON + 2 * LATER)
        assert shop.gateway.charges == []
        assert shop.gateway.at_the_bank(opened.header("Location"))
        for n in (3, 4):
            shop.execute(work, f"run-{n}", NOON + n * LATER)
        assert (shop.row()["status"], len(shop.gateway.charges)) == ("active", 1)
        assert visitor.get(f"confirm/{token}").text.startswith("Example Shop No payment waits for you")
        assert visitor.get(f"confirm/{token}x").status == 404


def test_the_bank_is_asked_for_a_confirmation_five_times_a_day(
    visitor: Visitor, shop: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever presses the button and refuses at the bank's page, again and again, causes five questions of the bank a
    day; the sixth press asks nobody, and the next day has five again."""
    monkeypatch.setenv("PAYMENT_GATEWAY_ENDPOINT", "https://bank.example")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Page, "__init__", _unchecked)
        opened = [_asked_to_confirm(visitor, shop)]
        form = {"form": account_links.form_token("a key", visitor.session)}
        for _ in range(4):
            assert shop.gateway.at_the_bank(opened[-1].header("Location"), accepts=False)
            visitor.now += timedelta(seconds=1)
            opened.append(visitor.post("confirm", form))
        assert [page.status for page in opened] == [303] * 5
        visitor.trouble = AssertionError("the bank is asked beyond the limit")
        refused = visitor.post("confirm", form)
        assert (refused.status, "five times a day" in refused.text) == (429, True)
        visitor.trouble, visitor.now = None, visitor.now + DAY
        visitor.sign_in()
        visitor.post("confirm", {"form": account_links.form_token("a key", visitor.session)})
        assert shop.row()["confirmations"] == "2026-02-01/1"


def test_a_payment_that_the_bank_may_have_made_is_not_called_uncollected(
    visitor: Visitor, shop: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A customer who has just confirmed the payment at the bank opens the page for a cancellation: the page says that
    the payment is being settled, and not that the payment is not collected. A form of a page from before says something
    else, and cancels nothing."""
    monkeypatch.setenv("PAYMENT_GATEWAY_ENDPOINT", "https://bank.example")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Page, "__init__", _unchecked)
        shop.edit(renewal_date="2026-01-31", payment_method="pm_3ds")
        shop.run()
        visitor.sign_in()
        before = visitor.get("cancel")
        assert "The open payment of $29.99 is not collected" in before.text
        opened = visitor.post("confirm", {"form": before.fields["form"]})
        assert shop.gateway.at_the_bank(opened.header("Location"))
        asked = visitor.get("cancel")
        assert "A payment of $29.99 is being settled right now" in asked.text
        assert "not collected" not in asked.text
        assert visitor.post("cancel", before.fields).status == 409
        assert visitor.post("cancel", asked.fields).status == 303


def _unchecked(page: Page, reply: dict[str, Any]) -> None:
    page.status, page.headers, page.html = reply["statusCode"], reply["multiValueHeaders"], reply["body"]


def test_there_is_nothing_to_confirm_without_a_refused_payment(visitor: Visitor, shop: World) -> None:
    """An active subscription offers no confirmation, and a made-up form opens no page of a bank."""
    page = visitor.sign_in()
    assert 'action="confirm"' not in page.html
    form = account_links.form_token("a key", visitor.session)
    assert "No payment waits for you" in visitor.post("confirm", {"form": form}).text
    assert visitor.post("confirm", {"form": "x"}).status == 409


def test_receipts_are_listed_with_their_links(visitor: Visitor, shop: World) -> None:
    """The overview lists the receipts of this customer, each with a link that opens the receipt."""
    shop.edit(renewal_date="2026-01-31")
    shop.run()
    page = visitor.sign_in()
    [link] = re.findall(rf'href="{LINKS}/([^"]+)"', page.html)
    assert named("receipts", link) == ("sub_1", "2026-01-31", "")
    assert "Receipt of 31 January 2026: $29.99" in page.text
    shop.items()["2026-01-31"]["customer_id"] = "cus_before"
    assert LINKS not in visitor.get("overview").html


@pytest.mark.parametrize("tag", LANGUAGES)
def test_the_pages_speak_the_customers_language(visitor: Visitor, shop: World, tag: str) -> None:
    """Each page names its language and its direction, and amounts and days are written in the language."""
    shop.edit(locale=tag, known_card={"payment_method": "pm_ok", "name": "Visa ending in 4242", "expires": "2030-12"})
    shown = visitor.get(f"link/{visitor.link()}", Accept_Language="xx")
    pages = [shown, visitor.sign_in(), visitor.get("cancel")]
    direction = "rtl" if tag == "ar" else "ltr"
    assert [f'<html lang="{tag}" dir="{direction}">' in page.html for page in pages] == [True] * 3
    assert [page.header("Content-Language") for page in pages] == [tag] * 3
    assert ("29.99" in pages[1].text) is (tag in ("en", "ja", "zh", "ar"))
    assert ("Your subscription" in "".join(page.text for page in pages)) is (tag == "en")


def test_a_stranger_is_answered_in_the_browsers_language(visitor: Visitor) -> None:
    """An answer to a wrong link is in the language that the browser asks for."""
    page = visitor.get("link/nobody", Accept_Language="de-AT,de;q=0.9,en;q=0.8")
    assert (page.status, page.header("Content-Language")) == (404, "de")
    assert "Dieser Link funktioniert nicht mehr" in page.text


def test_a_form_from_elsewhere_changes_nothing(visitor: Visitor, shop: World) -> None:
    """A POST from another site is refused, whatever it carries, and so is a form of another session."""
    visitor.sign_in()
    form = visitor.get("cancel").fields
    before = dict(shop.row())
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://["},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Sec_Fetch_Site": "none"},
    ):
        assert visitor.post("cancel", form, **headers).status == 403, headers
        refused = visitor.post("session", {"token": visitor.link()}, **headers)
        assert refused.status == 403
        assert refused.cookie is None
    for wrong in ("", "x", account_links.form_token("a key", "another session"), "\u00e9"):
        assert visitor.post("cancel", form | {"form": wrong}).status == 409
        assert visitor.post("sign-out-everywhere", {"form": wrong}).status == 409
    assert shop.row() == before
    assert visitor.post("cancel", form, Sec_Fetch_Site="same-origin").status == 303


def test_the_session_of_one_subscription_is_useless_for_another(visitor: Visitor, shop: World) -> None:
    """Two windows, two subscriptions: a form of the first, sent with the session of the second, changes neither."""
    visitor.sign_in()
    form = visitor.get("cancel").fields
    other = shop.row() | {"subscription_id": "sub_2"}
    shop.dynamodb.put("subscriptions", other)
    token = account_links.token("a key", Purpose.LINK, Account.of_row(other), Power.FULL, NOON + DAY)
    visitor.post("session", {"token": token})
    assert visitor.post("cancel", form).status == 409
    assert all("cancel_at" not in row for row in shop.dynamodb.items("subscriptions").values())


def test_a_planted_cookie_is_no_session(visitor: Visitor) -> None:
    """A session is only what the function has made: a cookie that an attacker planted opens nothing, and a sign-in puts
    a new session in its place (session fixation)."""
    visitor.session = "planted"
    assert visitor.get("overview").status == 404
    visitor.sign_in()
    assert visitor.session != "planted"


def test_the_page_speaks_to_the_lines_of_the_row_safely(visitor: Visitor, shop: World) -> None:
    """Names and plans are text on the page, never HTML."""
    shop.edit(plan="<b>Pro</b>\u202e", customer_name='"><img src=x>', customer_email="a<b@c.de")
    shown = visitor.get(f"link/{visitor.link()}")
    overview = visitor.sign_in()
    assert "<b>" not in shown.html + overview.html
    assert "<img" not in shown.html + overview.html
    assert "\u202e" not in overview.html


def test_a_queue_that_fails_does_not_fail_the_change(visitor: Visitor, shop: World) -> None:
    """If the queue does not take the work, the change stands all the same; the next sweep finds the work."""
    shop.edit(status="unpaid", renewal_date="2026-01-31")
    visitor.sign_in()
    visitor.trouble = EndpointConnectionError(endpoint_url="https://sqs.example")
    assert visitor.press("resume").status == 303
    assert shop.row()["status"] == "active"


def test_trouble_of_aws_is_told_without_details(visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table that falters is 503, a missing permission is 500, and neither page shows the error."""

    def fails(trouble: Exception) -> Any:
        def query(**_: Any) -> Any:
            raise trouble

        return query

    denied: ClientError = error("AccessDeniedException", "secret detail")
    for trouble, status in (
        (EndpointConnectionError(endpoint_url="https://secret.detail"), 503),
        (denied, 500),
        (RuntimeError("secret detail"), 500),
    ):
        monkeypatch.setattr(visitor.shop.dynamodb, "query", fails(trouble))
        page = visitor.get(f"link/{visitor.link()}")
        assert page.status == status
        assert "secret" not in page.html


def test_no_token_is_ever_logged(
    visitor: Visitor, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No log line holds a link's token, a session or a form's token, also where a request fails."""
    token = visitor.link()
    visitor.sign_in()
    session, form = visitor.session, visitor.get("cancel").fields
    visitor.post("cancel", form)
    visitor.get(f"link/{token}x")
    monkeypatch.setattr(app, "visit_of", lambda *given: (_ for _ in ()).throw(RuntimeError(f"trouble with {given}")))
    visitor.get(f"link/{token}")
    visitor.post("session", {"token": token})
    visitor.get("overview")
    logged = "".join(str(vars(record)) for record in caplog.records)
    assert "answered" in logged
    for secret in (token, token.partition(".")[2], session, session.partition(".")[2], form["form"]):
        assert secret not in logged


REFUSALS: list[tuple[dict[str, Any], int]] = [
    ({"headers": {"Content-Type": "text/plain", "Origin": f"https://{HOST}", "Host": HOST}}, 415),
    ({"headers": {"Origin": f"https://{HOST}", "Host": HOST}}, 415),
    ({"body": "x" * 20_000}, 413),
    ({"body": "é", "isBase64Encoded": True}, 400),
    ({"body": b64encode(b"\xff\xfe").decode(), "isBase64Encoded": True}, 400),
    ({"body": "token=a&token=b"}, 400),
    ({"body": "&".join(f"f{n}=1" for n in range(50))}, 400),
    ({"body": "\ud800"}, 400),
    ({"httpMethod": "PUT"}, 405),
    ({"path": "/account/session/"}, 404),
    ({"path": "/account/%73ession"}, 404),
    ({"path": "/elsewhere", "resource": "/elsewhere", "pathParameters": None}, 404),
    ({"body": None}, 404),
]


@pytest.mark.parametrize(("sent", "status"), REFUSALS)
def test_odd_requests_are_refused(visitor: Visitor, sent: dict[str, Any], status: int) -> None:
    """Wrong content types, huge or undecodable bodies, doubled fields, odd paths and methods are refused by their
    status."""
    event = visitor.event("POST", "/account/session", "token=a") | sent
    assert visitor.send(event).status == status


texts = st.text(st.characters(), max_size=40)
bodies = st.one_of(
    st.none(),
    texts,
    st.dictionaries(st.sampled_from(["token", "form", "expected", "x"]), texts, max_size=4).map(
        lambda form: "&".join(f"{name}={value}" for name, value in form.items())
    ),
    st.binary(max_size=60).map(lambda data: b64encode(data).decode()),
)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    method=st.sampled_from(["GET", "POST", "HEAD", "PUT"]),
    path=st.one_of(
        st.sampled_from(
            ["link/", "session", "overview", "cancel", "resume", "sign-out", "sign-out-everywhere", "closed", ""]
        ),
        texts,
    ),
    cookie=texts,
    body=bodies,
    encoded=st.booleans(),
    language=texts,
    kind=st.sampled_from(["application/x-www-form-urlencoded", "multipart/form-data", "", "é"]),
    signed_in=st.booleans(),
)
def test_nothing_that_a_stranger_sends_is_an_error_of_ours(
    visitor: Visitor,
    method: str,
    path: str,
    cookie: str,
    body: str | None,
    encoded: bool,
    language: str,
    kind: str,
    signed_in: bool,
) -> None:
    """Whatever a request holds, the answer is below 500, and the subscription is unchanged."""
    visitor.session = ""
    if signed_in:
        visitor.sign_in()
    before = dict(visitor.shop.row())
    headers = {"Content_Type": kind, "Accept_Language": language, "Sec_Fetch_Site": "same-origin"}
    if cookie and not signed_in:
        headers["Cookie"] = f"__Host-account={cookie}"
    event = visitor.event(method, f"/account/{path}" if path else "/account", **headers)
    event |= {"body": body, "isBase64Encoded": encoded}
    assert Page(app.handler(event, None)).status < 500
    assert visitor.shop.row() == before
