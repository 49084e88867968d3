"""The deployed webhook answers strangers and broken senders with the right 4xx and a short reason, and with nothing
else."""

import base64
import hmac
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from local.webhook import Reply
from tests.integration.shop import Shop, Subscriber, assert_renewed_once, assert_untouched

EVENT = Path(__file__).parents[2] / "events/webhook_handler.json"
LARGEST = 64 * 1024
ID = "must be 1 to 128 letters A-Z a-z, digits, . _ : -; the first is a letter, a digit or _"
NUMBER = "amount must be a number or a decimal string such as 29.99"
POSITIVE = "amount must be positive"
PLACES = "amount must have at most three decimal places"
UNSIGNED = "the signature is missing, wrong or too old"


@pytest.fixture(scope="module")
def victim(shop: Shop) -> Iterator[Subscriber]:
    """A due subscription, named by every request of this module that names a subscription; at the end the subscription
    is untouched."""
    subscriber = shop.subscribe()
    yield subscriber
    assert_untouched(shop, subscriber)


@contextmanager
def nothing_starts(shop: Shop) -> Iterator[None]:
    before = shop.all_executions()
    yield
    assert shop.all_executions() == before


def assert_tells_nothing(shop: Shop, reply: Reply) -> None:
    """Assert that a reply has no ARN, account, traceback or secret."""
    text = json.dumps(reply.body)
    secrets = [shop.secret, shop.secret.removeprefix("whsec_"), shop.stack.gateway_key]
    for internal in ["arn:", "Traceback", "File ", ".py", "Error", "Exception", *secrets]:
        assert internal not in text
    assert not re.search(r"\b0{12}\b", text), "the reply shows the account's number"


def with_fields(**changes: Any) -> Callable[[Subscriber], bytes]:
    return lambda victim: victim.request(**changes)


def with_text(old: str, new: str) -> Callable[[Subscriber], bytes]:
    """Return a maker of the request's text with a part replaced, for texts that json.dumps would not write."""
    return lambda victim: victim.request().decode().replace(old, new).encode()


BAD_BODIES: dict[str, tuple[Callable[[Subscriber], bytes], int, str]] = {
    "empty": (lambda _: b"", 400, "the body is not JSON"),
    "not JSON": (lambda _: b"subscription_id=sub_1", 400, "the body is not JSON"),
    "cut off": (lambda victim: victim.request()[:-1], 400, "the body is not JSON"),
    "deep": (lambda _: b"[" * 30_000, 400, "the body is not JSON"),
    "array": (lambda victim: b"[" + victim.request() + b"]", 400, "the body is not a JSON object"),
    "twice": (with_text("{", '{"amount": 0.01, '), 400, "the body gives a field more than once"),
    "huge": (with_fields(note="x" * LARGEST), 413, "the body is larger than 65536 bytes"),
    "no subscription": (with_fields(subscription_id=None), 400, "subscription_id is missing"),
    "no customer": (with_fields(customer_id=None), 400, "customer_id is missing"),
    "no amount": (with_fields(amount=None), 400, "amount is missing"),
    "subscription null": (with_text('"subscription_id": "', '"subscription_id": null, "x": "'), 400, ID),
    "subscription number": (with_fields(subscription_id=7), 400, f"subscription_id {ID}"),
    "subscription empty": (with_fields(subscription_id=""), 400, f"subscription_id {ID}"),
    "subscription long": (with_fields(subscription_id="s" * 129), 400, f"subscription_id {ID}"),
    "subscription emoji": (with_fields(subscription_id="sub_🙂"), 400, f"subscription_id {ID}"),
    "customer path": (with_fields(customer_id="../../etc/passwd"), 400, f"customer_id {ID}"),
    "customer slash": (with_fields(customer_id="cus/1"), 400, f"customer_id {ID}"),
    "customer dots": (with_fields(customer_id=".."), 400, f"customer_id {ID}"),
    "customer control": (with_fields(customer_id="cus_\x00\x1b[31m"), 400, f"customer_id {ID}"),
    "customer newline": (with_fields(customer_id="cus_1\n"), 400, f"customer_id {ID}"),
    "customer list": (with_fields(customer_id=["cus_1"]), 400, f"customer_id {ID}"),
    "customer in Chinese": (with_fields(customer_id="客户"), 400, f"customer_id {ID}"),
    "amount true": (with_fields(amount=True), 400, NUMBER),
    "amount object": (with_fields(amount={"usd": 1}), 400, NUMBER),
    "amount words": (with_fields(amount="free"), 400, NUMBER),
    "amount NaN": (with_text('"29.99"', "NaN"), 400, "the body is not JSON"),
    "amount Infinity": (with_text('"29.99"', "-Infinity"), 400, "the body is not JSON"),
    "amount 'NaN'": (with_fields(amount="NaN"), 400, NUMBER),
    "amount zero": (with_fields(amount=0), 400, POSITIVE),
    "amount negative": (with_fields(amount=-500), 400, POSITIVE),
    "amount '-5'": (with_fields(amount="-5"), 400, NUMBER),
    "amount 10^30": (with_text('"29.99"', "1e30"), 400, POSITIVE),
    "amount 10^30 in digits": (with_fields(amount=10**30), 400, POSITIVE),
    "amount 10^-30": (with_text('"29.99"', "1e-30"), 400, PLACES),
    "amount of a huge exponent": (
        with_text('"29.99"', "1e999999999999999999999"),
        400,
        "an exponent out of range",
    ),
    "amount of a tiny exponent": (
        with_text('"29.99"', "1e-999999999999999999999"),
        400,
        "an exponent out of range",
    ),
    "amount four places": (with_text('"29.99"', "29.9999"), 400, PLACES),
    "amount four places in text": (with_fields(amount="29.9999"), 400, NUMBER),
    "event_type number": (with_fields(event_type=1), 400, "event_type must be a string"),
    "event_type long": (with_fields(event_type="e" * 129), 400, "event_type must be a string"),
}


@pytest.mark.parametrize(("body", "status", "message"), BAD_BODIES.values(), ids=BAD_BODIES.keys())
def test_a_signed_body_that_is_wrong_is_refused(
    shop: Shop, victim: Subscriber, body: Callable[[Subscriber], bytes], status: int, message: str
) -> None:
    """A wrong body is refused with a 4xx that names the field at fault, though rightly signed, and no execution
    starts."""
    sent = body(victim)
    with nothing_starts(shop):
        reply = shop.post(sent, shop.signed(sent))
    assert reply.status == status
    assert list(reply.body) == ["message"]
    assert message in reply.body["message"]
    assert_tells_nothing(shop, reply)


def ago(**age: float) -> Callable[[Shop, bytes], dict[str, str]]:
    return lambda shop, body: shop.signed(body, at=datetime.now(UTC) - timedelta(**age))


def signed_but(**changes: str) -> Callable[[Shop, bytes], dict[str, str]]:
    """Return a maker of valid headers that are changed after signing; an empty value leaves a header out."""
    renamed = {name.replace("_", "-"): value for name, value in changes.items()}

    def headers(shop: Shop, body: bytes) -> dict[str, str]:
        return {name: value for name, value in (shop.signed(body) | renamed).items() if value}

    return headers


BAD_SIGNATURES: dict[str, Callable[[Shop, bytes], dict[str, str]]] = {
    "none": lambda _shop, _body: {"content-type": "application/json"},
    "of another body": lambda shop, body: shop.signed(body + b" "),
    "wrong": signed_but(webhook_signature="v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4="),
    "not base64": signed_but(webhook_signature="v1,?"),
    "of no version": signed_but(webhook_signature="K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4="),
    "of another message": signed_but(webhook_id="msg_other"),
    "without id": signed_but(webhook_id=""),
    "without timestamp": signed_but(webhook_timestamp=""),
    "with another timestamp": signed_but(webhook_timestamp=str(int(datetime.now(UTC).timestamp()) + 1)),
    "with a timestamp in words": signed_but(webhook_timestamp="now"),
    "six minutes old": ago(minutes=6),
    "six minutes ahead": ago(minutes=-6),
}


@pytest.mark.parametrize("headers", BAD_SIGNATURES.values(), ids=BAD_SIGNATURES.keys())
def test_a_request_without_a_good_signature_is_refused(
    shop: Shop, victim: Subscriber, headers: Callable[[Shop, bytes], dict[str, str]]
) -> None:
    """Every missing, wrong, old or future signature is a 401 with the same words, and no execution starts."""
    body = victim.request()
    with nothing_starts(shop):
        reply = shop.post(body, headers(shop, body))
    assert reply == Reply(401, {"message": UNSIGNED})


def test_an_unsigned_body_is_not_looked_at(shop: Shop) -> None:
    """Nothing is parsed before the signature is checked: a stranger's broken JSON is a 401."""
    assert shop.post(b"{", {}) == Reply(401, {"message": UNSIGNED})


def test_other_event_types_are_acknowledged_and_ignored(shop: Shop, victim: Subscriber) -> None:
    """An event of a different type is acknowledged with 202, and no execution starts."""
    with nothing_starts(shop):
        reply = shop.deliver(victim, event_type="invoice.created")
    assert (reply.status, reply.body) == (
        202,
        {"message": "ignored: only the event_type subscription.renewal starts a renewal"},
    )


def sign_bytes(shop: Shop, body: bytes) -> dict[str, str]:
    """Return headers that sign bytes outside UTF-8; the library signs only text."""
    at = str(int(datetime.now(UTC).timestamp()))
    key = base64.b64decode(shop.secret.removeprefix("whsec_"))
    digest = hmac.digest(key, f"msg_bytes.{at}.".encode() + body, sha256)
    return {
        "webhook-id": "msg_bytes",
        "webhook-timestamp": at,
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


def invoke(shop: Shop, headers: dict[str, str], body: str, *, is_base64: bool) -> Reply:
    """Return the deployed function's answer to API Gateway's event with these headers and this body."""
    event = json.loads(EVENT.read_text()) | {"headers": headers, "body": body, "isBase64Encoded": is_base64}
    [name] = [
        function["FunctionName"]
        for function in shop.functions.list_functions()["Functions"]
        if "webhook" in function["FunctionName"]
    ]
    answer = shop.functions.invoke(FunctionName=name, Payload=json.dumps(event))
    reply = json.loads(answer["Payload"].read())
    return Reply(reply["statusCode"], json.loads(reply["body"]))


INVALID_UTF8 = b'{"subscription_id": "sub_\xff\xfe", "customer_id": "cus_1", "amount": "29.99"}'


def test_bytes_that_are_no_text_are_refused(shop: Shop) -> None:
    """Invalid UTF-8, rightly signed byte for byte, is a 401 both over HTTP and as base64 from API Gateway."""
    headers = sign_bytes(shop, INVALID_UTF8)
    with nothing_starts(shop):
        assert shop.post(INVALID_UTF8, headers).status == 401
        reply = invoke(shop, headers, base64.b64encode(INVALID_UTF8).decode(), is_base64=True)
    assert reply == Reply(401, {"message": UNSIGNED})


def test_what_is_called_base64_must_be_base64(shop: Shop, victim: Subscriber) -> None:
    """A body wrongly marked as base64 is a 400."""
    with nothing_starts(shop):
        reply = invoke(shop, shop.signed(victim.request()), victim.request().decode(), is_base64=True)
    assert reply == Reply(400, {"message": "the body is marked as base64 but is not base64"})


def test_a_base64_body_and_headers_in_any_case_are_taken(shop: Shop) -> None:
    """A base64 body and headers in any letter case, as API Gateway passes them on, are accepted, and the renewal
    runs."""
    subscriber = shop.subscribe()
    body = subscriber.request(amount=29.99)
    headers = {name.title(): value for name, value in shop.signed(body).items()}
    reply = invoke(shop, headers, base64.b64encode(body).decode(), is_base64=True)
    assert reply.status == 202
    assert (reply.body["subscription_id"], reply.body["customer_id"]) == (
        subscriber.subscription_id,
        subscriber.customer_id,
    )
    assert shop.ends(subscriber, 1)[0].state == "Success"
    assert_renewed_once(shop, subscriber)


def test_a_body_of_the_largest_size_is_taken(shop: Shop) -> None:
    """A body of exactly 65,536 bytes is accepted."""
    subscriber = shop.subscribe()
    note = "x" * (LARGEST - len(subscriber.request(note="")))
    assert len(subscriber.request(note=note)) == LARGEST
    assert shop.renew(subscriber, note=note).state == "Success"
