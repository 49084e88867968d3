"""Links to receipts: the receipt behind a link, the life of a link, and links that open nothing."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import send_email.app
from receipt_links import app
from renewals.ledger.receipt_links import LinkKey, named, token
from renewals.runtime import aws
from tests.fake_aws import error
from tests.fakes import LINKS, World

KEY = "a key of sixty-four characters"
TOKEN = token(KEY, "sub_1", "2026-01-31")


def test_a_token_names_its_period() -> None:
    """A token gives subscription and period back, and only under the key of the signature."""
    assert named(KEY, TOKEN) == ("sub_1", "2026-01-31", "")
    assert named("another key", TOKEN) is None


def test_a_token_names_a_refund_of_its_period() -> None:
    """A refund's token names the refund and differs from the tokens of the period and of every other refund."""
    of_refund = token(KEY, "sub_1", "2026-01-31", "refund_1")
    assert named(KEY, of_refund) == ("sub_1", "2026-01-31", "refund_1")
    assert len({of_refund, TOKEN, token(KEY, "sub_1", "2026-01-31", "refund_2")}) == 3


def test_no_bit_of_a_token_can_be_another() -> None:
    """A token with any single bit changed opens nothing."""
    raw = TOKEN.encode()
    for at in range(len(raw)):
        for bit in range(8):
            altered = bytearray(raw)
            altered[at] ^= 1 << bit
            assert named(KEY, altered.decode("latin-1")) is None


@pytest.mark.parametrize(
    "given",
    [
        *("", ".", "a", TOKEN[:-1], f"{TOKEN}=", f"{TOKEN}A", f" {TOKEN}", TOKEN.split(".")[0]),
        pytest.param(f"{TOKEN}\ud800", id="half a character of UTF-16"),
    ],
)
def test_what_is_no_token(given: str) -> None:
    """A cut, padded or empty token opens nothing."""
    assert named(KEY, given) is None


@given(st.text())
def test_nothing_that_is_made_up_opens(given: str) -> None:
    """A made-up text opens nothing and raises no error."""
    assert named(KEY, given) is None


class FakeSecrets:
    """A Secrets Manager that holds the key and counts reads."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.reads = 0

    def get_secret_value(self, **_: str) -> dict[str, str]:
        self.reads += 1
        return {"SecretString": self.key}


def test_a_changed_key_is_noticed_within_a_minute() -> None:
    """The key is kept for a minute: a new key takes effect soon, and a click does not always read the secret."""
    seconds = [0.0]
    secrets: Any = FakeSecrets("old")
    key = LinkKey(secrets, "arn", monotonic=lambda: seconds[0])
    assert [key.value(), key.value()] == ["old", "old"]
    secrets.key, seconds[0] = "new", 59.0
    assert key.value() == "old"
    seconds[0] = 60.0
    assert (key.value(), secrets.reads) == ("new", 2)


def test_mails_read_both_keys_of_links_once_a_minute_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """An execution environment that sends a mail each second for an hour reads the key of receipts and the key of the
    customer page sixty times together."""
    seconds = [0.0]
    secrets: Any = FakeSecrets("key")
    monkeypatch.setattr(aws, "secrets_manager", lambda: secrets)
    monkeypatch.setenv("RECEIPT_LINK_KEY_ARN", "receipts")
    monkeypatch.setenv("ACCOUNT_LINK_KEY_ARN", "account")
    kept = (send_email.app._link_key, send_email.app._account_secret)
    for each in kept:
        each.cache_clear()
    keys = [each() for each in kept]
    for key in keys:
        key._monotonic = lambda: seconds[0]
    for second in range(3600):
        seconds[0] = second
        assert {key.value() for key in keys} == {"key"}
    assert secrets.reads == 60
    for each in kept:
        each.cache_clear()


@pytest.fixture
def secrets(shop: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSecrets]:
    """The function that opens links, over the shop; the shop's mails are signed with the same key."""
    made = FakeSecrets("key")
    monkeypatch.setenv("RECEIPT_LINK_KEY_ARN", "key")
    monkeypatch.setenv("RENEWALS_TABLE", "renewals")
    monkeypatch.setenv("S3_BUCKET", "receipts")
    monkeypatch.setattr(aws, "dynamodb", lambda: shop.dynamodb)
    monkeypatch.setattr(aws, "s3", lambda: shop.s3)
    monkeypatch.setattr(aws, "secrets_manager", lambda: made)
    caches = (app._ledger, app._link_key)
    for kept in caches:
        kept.cache_clear()
    yield made
    for kept in caches:
        kept.cache_clear()


def _open(path: str, accept: str = "*/*", **more: object) -> dict[str, Any]:
    """Return the answer to an unsigned request for a link. accept: the Accept header, as a browser sends it. more:
    fields of the event."""
    context = {"identity": {"userArn": None}, "stage": "prod", "path": f"/prod{path}"}
    event = {"httpMethod": "GET", "path": path, "headers": {"accept": accept}, "requestContext": context, "body": None}
    reply: dict[str, Any] = app.handler({**event, **more}, None)
    return reply


def _mailed(shop: World) -> str:
    """Return the path of the link in the receipt's mail."""
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
    """The link leads without a login to an address of the stored PDF, valid for five minutes and closed to caches."""
    shop.subscribe()
    shop.run()
    reply = _open(_mailed(shop))
    headers = reply["headers"]
    (key,) = shop.receipts()
    assert (reply["statusCode"], headers["Location"]) == (302, f"https://s3.example/receipts/{key}?expires=300")
    assert (headers["Cache-Control"], headers["Referrer-Policy"]) == ("no-store", "no-referrer")
    assert shop.s3.presigned["ResponseCacheControl"] == "no-store"
    assert reply["body"] == ""


def test_another_key_closes_every_link(shop: World, secrets: FakeSecrets) -> None:
    """After a change of the key the mailed links open nothing."""
    shop.subscribe()
    shop.run()
    secrets.key = "another key"
    assert _open(_mailed(shop))["statusCode"] == 404


def test_a_period_without_a_receipt_opens_nothing(shop: World, secrets: FakeSecrets) -> None:
    """A valid token of an unpaid or unknown period is answered like an invalid token."""
    shop.subscribe(payment_method="pm_declined")
    shop.run()
    replies = [_open(f"/receipts/{token('key', 'sub_1', day)}") for day in ("2026-01-31", "2026-02-28")]
    replies.append(_open("/receipts/nonsense"))
    assert [reply["statusCode"] for reply in replies] == [404, 404, 404]
    assert len({reply["body"] for reply in replies}) == 1


def test_a_link_with_more_behind_it_opens(shop: World, secrets: FakeSecrets) -> None:
    """Mail programs and click counters append parameters to a link, and the link still opens."""
    shop.subscribe()
    shop.run()
    assert _open(_mailed(shop), queryStringParameters={"utm_source": "mail"})["statusCode"] == 302


def test_no_log_holds_a_token(
    shop: World, secrets: FakeSecrets, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whether a link opens, opens nothing or fails, the log has neither the token nor the address of the PDF."""
    shop.subscribe()
    shop.run()
    link = _mailed(shop)
    caplog.clear()
    _open(link)
    _open(f"{link}x")
    monkeypatch.setattr(app, "_link_key", lambda: _fails(RuntimeError(link)))
    _open(link)
    logged = "".join(str(vars(record)) for record in caplog.records)
    assert [record.message for record in caplog.records].count("answered") == 3
    for secret in (*link.rpartition("/")[2].split("."), "s3.example"):
        assert secret not in logged


def test_a_receipt_that_is_gone_is_not_opened(shop: World, secrets: FakeSecrets) -> None:
    """For a receipt that was deleted or is past its seven years, the answer has our own words and not S3's document."""
    shop.subscribe()
    shop.run()
    link = _mailed(shop)
    shop.s3.objects.clear()
    assert _open(link)["statusCode"] == 404
    assert "This link opens no receipt" in _open(link, BROWSER)["body"]


BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize("path", ["/receipts/nonsense", "/receipts/a%20b", "/receipts/nonsense/", "/receipts/a/b"])
def test_a_link_that_opens_nothing_is_a_page_in_a_browser(shop: World, secrets: FakeSecrets, path: str) -> None:
    """A person gets a sentence on a page without scripts, a program gets a problem document, and caches keep
    neither."""
    page, problem = _open(path, BROWSER), _open(path)
    assert page["statusCode"] == problem["statusCode"] == 404
    assert page["headers"]["Content-Type"] == "text/html; charset=utf-8"
    assert problem["headers"]["Content-Type"] == "application/problem+json"
    assert "This link opens no receipt. Please ask the company" in page["body"]
    assert page["headers"]["Content-Security-Policy"] == "default-src 'none'; style-src 'unsafe-inline'"
    assert page["headers"]["Referrer-Policy"] == "no-referrer"
    assert _open(path, "TEXT/HTML")["body"] == page["body"]
    for each in (page, problem):
        assert each["headers"]["Cache-Control"] == "no-store"
        assert each["headers"]["X-Content-Type-Options"] == "nosniff"


def test_a_link_that_does_not_open_just_now_says_so(
    shop: World, secrets: FakeSecrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where AWS falters, or we are at fault, the page asks the customer to come back, and the status tells programs
    so."""
    shop.subscribe()
    shop.run()
    link = _mailed(shop)
    for trouble, status in ((error("ThrottlingException", "GetSecretValue"), 503), (RuntimeError("ours"), 500)):
        monkeypatch.setattr(app, "_link_key", lambda trouble=trouble: _fails(trouble))
        reply = _open(link, BROWSER)
        assert (reply["statusCode"], "try again in a few minutes" in reply["body"]) == (status, True)


def _fails(trouble: Exception) -> None:
    raise trouble
