"""Links to receipts: whom they open what for, how long, and to whom they open nothing."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renewals.ledger.receipt_links import LinkKey, named, token
from renewals.runtime import aws
from subscriptions_api import app, receipts, shared
from tests.fake_aws import error
from tests.fakes import LINKS, World

KEY = "a key of sixty-four characters"
TOKEN = token(KEY, "sub_1", "2026-01-31")


def test_a_token_names_its_period() -> None:
    """What was put in comes out, with the same key only."""
    assert named(KEY, TOKEN) == ("sub_1", "2026-01-31", "")
    assert named("another key", TOKEN) is None


def test_a_token_names_a_refund_of_its_period() -> None:
    """And is none of the period itself, nor of another refund."""
    of_refund = token(KEY, "sub_1", "2026-01-31", "refund_1")
    assert named(KEY, of_refund) == ("sub_1", "2026-01-31", "refund_1")
    assert len({of_refund, TOKEN, token(KEY, "sub_1", "2026-01-31", "refund_2")}) == 3


def test_no_bit_of_a_token_can_be_another() -> None:
    """Each single bit changed, in any of its bytes, makes a token that opens nothing."""
    raw = TOKEN.encode()
    for at in range(len(raw)):
        for bit in range(8):
            altered = bytearray(raw)
            altered[at] ^= 1 << bit
            assert named(KEY, altered.decode("latin-1")) is None


@pytest.mark.parametrize(
    "given", ["", ".", "a", TOKEN[:-1], f"{TOKEN}=", f"{TOKEN}A", f" {TOKEN}", TOKEN.split(".")[0]]
)
def test_what_is_no_token(given: str) -> None:
    """Cut short, padded, or none at all."""
    assert named(KEY, given) is None


@given(st.text())
def test_nothing_that_is_made_up_opens(given: str) -> None:
    """Any text at all is answered, and with nothing."""
    assert named(KEY, given) is None


class FakeSecrets:
    """Secrets Manager with the key; reads counts."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.reads = 0

    def get_secret_value(self, **_: str) -> dict[str, str]:
        self.reads += 1
        return {"SecretString": self.key}


def test_a_changed_key_is_noticed_within_a_minute() -> None:
    """The key is held for a minute, so that revoking works and not every click reads the secret."""
    seconds = [0.0]
    secrets: Any = FakeSecrets("old")
    key = LinkKey(secrets, "arn", monotonic=lambda: seconds[0])
    assert [key.value(), key.value()] == ["old", "old"]
    secrets.key, seconds[0] = "new", 59.0
    assert key.value() == "old"
    seconds[0] = 60.0
    assert (key.value(), secrets.reads) == ("new", 2)


@pytest.fixture
def secrets(shop: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSecrets]:
    """The function that opens links, over the shop, whose mails are signed with the same key."""
    made = FakeSecrets("key")
    for name in ("DYNAMODB_TABLE", "RENEWALS_TABLE", "CHANGES_TABLE", "RECEIPT_LINK_KEY_ARN"):
        monkeypatch.setenv(name, name.partition("_")[0].lower())
    monkeypatch.setenv("RENEWALS_TABLE", "renewals")
    monkeypatch.setenv("S3_BUCKET", "receipts")
    monkeypatch.setattr(aws, "dynamodb", lambda: shop.dynamodb)
    monkeypatch.setattr(aws, "s3", lambda: shop.s3)
    monkeypatch.setattr(aws, "secrets_manager", lambda: made)
    caches = (shared.register, receipts._link_key)
    for kept in caches:
        kept.cache_clear()
    yield made
    for kept in caches:
        kept.cache_clear()


def _open(path: str, accept: str = "*/*") -> dict[str, Any]:
    """What is answered to who follows a link: nobody signs it. accept: as a browser says what it can show."""
    context = {"identity": {"userArn": None}, "stage": "prod", "path": f"/prod{path}"}
    event = {"httpMethod": "GET", "path": path, "headers": {"accept": accept}, "requestContext": context, "body": None}
    reply: dict[str, Any] = app.handler(event, None)
    return reply


def _mailed(shop: World) -> str:
    """The path of the link in the receipt's mail."""
    [mail] = shop.mails()
    plain = mail.get_body(("plain",))
    page = mail.get_body(("html",))
    assert plain is not None
    assert page is not None
    (line,) = [line for line in plain.get_content().splitlines() if LINKS in line]
    link = str(line.partition(": ")[2])
    assert f'href="{link}"' in page.get_content()
    return link.removeprefix("https://api.shop.example")


def test_the_link_in_the_mail_leads_to_the_receipt(shop: World, secrets: FakeSecrets) -> None:
    """Without a login: to an address of the stored PDF that is good for five minutes, and kept by nobody."""
    shop.subscribe()
    shop.run()
    reply = _open(_mailed(shop))
    headers = {name: values[0] for name, values in reply["multiValueHeaders"].items()}
    (key,) = shop.receipts()
    assert (reply["statusCode"], headers["Location"]) == (302, f"https://s3.example/receipts/{key}?expires=300")
    assert (headers["Cache-Control"], headers["Referrer-Policy"]) == ("no-store", "no-referrer")
    assert shop.s3.presigned["ResponseCacheControl"] == "no-store"
    assert reply["body"] == ""


def test_another_key_closes_every_link(shop: World, secrets: FakeSecrets) -> None:
    """Once the key is another, what was mailed opens nothing."""
    shop.subscribe()
    shop.run()
    secrets.key = "another key"
    assert _open(_mailed(shop))["statusCode"] == 404


def test_a_period_without_a_receipt_opens_nothing(shop: World, secrets: FakeSecrets) -> None:
    """A right token of a period that is not paid, or that nobody knows, is answered like a wrong one."""
    shop.subscribe(payment_method="pm_declined")
    shop.run()
    replies = [_open(f"/receipts/{token('key', 'sub_1', day)}") for day in ("2026-01-31", "2026-02-28")]
    replies.append(_open("/receipts/nonsense"))
    assert [reply["statusCode"] for reply in replies] == [404, 404, 404]
    assert len({reply["body"] for reply in replies}) == 1


def test_a_receipt_that_is_gone_is_not_opened(shop: World, secrets: FakeSecrets) -> None:
    """Deleted, or past its seven years: our own words, and not S3's document about an object."""
    shop.subscribe()
    shop.run()
    link = _mailed(shop)
    shop.s3.objects.clear()
    assert _open(link)["statusCode"] == 404
    assert "This link opens no receipt" in _open(link, BROWSER)["body"]


BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize("path", ["/receipts/nonsense", "/receipts/a%20b", "/receipts/nonsense/", "/receipts/a/b"])
def test_a_link_that_opens_nothing_is_a_page_in_a_browser(shop: World, secrets: FakeSecrets, path: str) -> None:
    """A person reads a sentence on a page without scripts; a program reads a problem document. Nobody keeps either."""
    page, problem = _open(path, BROWSER), _open(path)
    assert page["statusCode"] == problem["statusCode"] == 404
    assert page["multiValueHeaders"]["Content-Type"] == ["text/html; charset=utf-8"]
    assert problem["multiValueHeaders"]["Content-Type"] == ["application/problem+json"]
    assert "This link opens no receipt. Please ask the company" in page["body"]
    assert page["multiValueHeaders"]["Content-Security-Policy"] == ["default-src 'none'; style-src 'unsafe-inline'"]
    assert page["multiValueHeaders"]["Referrer-Policy"] == ["no-referrer"]
    assert _open(path, "TEXT/HTML")["body"] == page["body"]
    for each in (page, problem):
        assert each["multiValueHeaders"]["Cache-Control"] == ["no-store"]
        assert each["multiValueHeaders"]["X-Content-Type-Options"] == ["nosniff"]


def test_a_link_that_does_not_open_just_now_says_so(
    shop: World, secrets: FakeSecrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where AWS falters, or something is wrong on our side, the page asks to come back, and the status says so too."""
    shop.subscribe()
    shop.run()
    link = _mailed(shop)
    for trouble, status in ((error("ThrottlingException", "GetSecretValue"), 503), (RuntimeError("ours"), 500)):
        monkeypatch.setattr(receipts, "_link_key", lambda trouble=trouble: _fails(trouble))
        reply = _open(link, BROWSER)
        assert (reply["statusCode"], "try again in a few minutes" in reply["body"]) == (status, True)


def _fails(trouble: Exception) -> None:
    raise trouble


def test_only_links_are_answered_by_a_page(shop: World, secrets: FakeSecrets) -> None:
    """Every other path speaks to programs, whatever they say that they accept."""
    reply = _open("/subscriptions/sub_1/receipts/x", BROWSER)
    assert reply["statusCode"] == 404
    assert json.loads(reply["body"])["status"] == 404
