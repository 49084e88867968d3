"""The webhook's checks: first the signature, over the bytes as sent, and then a message for every fault of the body."""

import base64
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from renewals.domain.request import RenewalRequest
from webhook_handler.webhook import BadBody, parse, signed

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
OTHER = "whsec_" + base64.b64encode(b"another-key-of-thirty-two-bytes!").decode()
GOOD = {"subscription_id": "sub_1", "customer_id": "cus_1", "amount": 29.99}


def headers(body: bytes, *, secret: str = SECRET, age: timedelta = timedelta()) -> dict[str, str]:
    sent = datetime.now(UTC) - age
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(sent.timestamp())),
        "webhook-signature": Webhook(secret).sign("msg_1", sent, body.decode()),
    }


BODY = json.dumps(GOOD).encode()


@pytest.mark.parametrize("body", [BODY, b"", b"\xef\xbb\xbf{}\r\n\x00\n", "{'é': 🙂}".encode()])
def test_a_signature_holds_for_the_very_bytes(body: bytes) -> None:
    """A signature holds for the exact bytes, with BOM, CRLF, NUL or trailing newline, and for no other bytes."""
    assert signed(body, headers(body), [SECRET])
    assert not signed(body + b" ", headers(body), [SECRET])


def test_either_secret_is_good_while_a_key_is_rotated() -> None:
    """During a rotation the previous secret is accepted beside the new secret, and a header may carry several
    signatures."""
    assert signed(BODY, headers(BODY, secret=OTHER), [SECRET, OTHER])
    both = headers(BODY)
    both["webhook-signature"] = "v1,AAAA v2,zz " + both["webhook-signature"]
    assert signed(BODY, both, [SECRET])


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-signature": "v1,AAAA"},
        {"webhook-signature": "v1"},
        {"webhook-signature": "v1,a,b"},
        {"webhook-signature": "v1,é"},
        {"webhook-signature": ""},
        {"webhook-id": "msg_2"},
        {"webhook-timestamp": "nan"},
        {"webhook-timestamp": "yesterday"},
        {"webhook-timestamp": "9" * 400},
        {"webhook-timestamp": ""},
    ],
)
def test_a_header_that_is_wrong_in_any_way_is_no_signature(change: dict[str, str]) -> None:
    """Wrong, torn and unreadable headers are refused without an exception."""
    assert not signed(BODY, headers(BODY) | change, [SECRET])


@pytest.mark.parametrize("age", [timedelta(minutes=6), -timedelta(minutes=6), timedelta(days=365)])
def test_old_and_future_signatures_are_refused(age: timedelta) -> None:
    """A timestamp more than five minutes in the past or future is refused."""
    assert not signed(BODY, headers(BODY, age=age), [SECRET])


def test_bytes_that_are_no_text_are_not_signed() -> None:
    """Invalid UTF-8, which cannot be JSON either, is refused before anything reads the body."""
    assert not signed(b"\xff\xfe{}", headers(BODY), [SECRET])


@pytest.mark.parametrize(
    ("amount", "value"),
    [("29.99", "29.99"), (29.99, "29.99"), (30, "30"), ("0.001", "0.001"), ("29.990", "29.990"), (1e2, "100")],
)
def test_an_amount_is_a_number_or_a_decimal_string(amount: Any, value: str) -> None:
    """A JSON number and a decimal string are both read exactly, never as a float."""
    request = parse(json.dumps(GOOD | {"amount": amount}).encode())
    assert request == RenewalRequest("sub_1", "cus_1", Decimal(value))


@pytest.mark.parametrize(
    "amount",
    [None, True, [], {}, "", "abc", "1e5", "+5", " 5", "5 ", "1_000", "٢٩", "29,99", "29.9999", "0", "-5", "0.000",
     "NaN", "Infinity", "1" + "0" * 30, 0, -1, 29.9999, 10**30, 1e400, 1e-7, "free", "29.99\n", "🙂"],
)  # fmt: skip
def test_any_other_amount_is_named_as_wrong(amount: Any) -> None:
    """Any other amount (not positive, not finite, too large, four decimals, digits outside ASCII) is refused with the
    field's name."""
    with pytest.raises(BadBody, match=r"^(amount|the body)"):
        parse(json.dumps(GOOD | {"amount": amount}).encode())


@pytest.mark.parametrize(
    "number", ["1" + "0" * 5000, "1e999999999999999999999", "-1e999999999999999999999", "1e-9999999"]
)
def test_a_number_beyond_all_bounds_is_refused_like_any_other(number: str) -> None:
    """Five thousand digits, or an exponent beyond every decimal, are a 400 and no crash."""
    with pytest.raises(BadBody):
        parse(json.dumps(GOOD).replace("29.99", number).encode())


@pytest.mark.parametrize("field", ["subscription_id", "customer_id", "amount"])
def test_a_missing_field_is_named(field: str) -> None:
    """The message names the missing field."""
    with pytest.raises(BadBody, match=rf"^{field} is missing$"):
        parse(json.dumps({name: value for name, value in GOOD.items() if name != field}).encode())


@pytest.mark.parametrize("field", ["subscription_id", "customer_id"])
@pytest.mark.parametrize(
    "value",
    [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "a\\b",
        "a b",
        "a\n",
        "a\x00",
        "é",
        "客户",
        "🙂",
        "\ud800",
        "x" * 129,
        "%2e",
        7,
        None,
        ["a"],
    ],
)
def test_an_id_that_could_leave_its_place_in_a_path_is_refused(field: str, value: Any) -> None:
    """An id with path characters, control characters, characters outside ASCII, a wrong length or a wrong type is
    refused by the field's name."""
    with pytest.raises(BadBody, match=rf"^{field} must be"):
        parse(json.dumps(GOOD | {field: value}).encode())


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"nonsense", b"[1]", b'"x"', b"null", b'{"amount": NaN}', b"\xef\xbb\xbf{}", b"[" * 60_000,
     b'{"amount": 1, "amount": 2}', b'{"a": 1}{"b": 2}'],
)  # fmt: skip
def test_what_is_not_one_json_object_is_refused(body: bytes) -> None:
    """Anything but a single JSON object is refused: other JSON, NaN, a repeated field, endless nesting."""
    with pytest.raises(BadBody):
        parse(body)


def test_another_event_type_is_left_alone() -> None:
    """A different event type is acknowledged whatever the remaining fields; an event_type of a wrong JSON type is
    refused."""
    assert parse(b'{"event_type": "customer.updated"}') is None
    assert parse(json.dumps(GOOD | {"event_type": "subscription.renewal"}).encode()) is not None
    with pytest.raises(BadBody, match="event_type"):
        parse(b'{"event_type": 7}')


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_no_body_breaks_the_parser(body: bytes) -> None:
    """Any bytes give a request, an ignored event, or a BadBody."""
    try:
        parse(body)
    except BadBody as error:
        assert str(error)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=5))
def test_no_value_breaks_a_field(value: Any) -> None:
    """Any JSON value in any field is accepted, or refused by the field's name."""
    for field in GOOD:
        try:
            parse(json.dumps(GOOD | {field: value}).encode())
        except BadBody as error:
            assert field in str(error) or "body" in str(error)
