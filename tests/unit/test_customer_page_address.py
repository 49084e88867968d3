"""The form of the customer page for customers without a working link."""

import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from customer_page import by_address
from customer_page.request import LARGEST_FORM
from renewals.language.tags import LANGUAGES
from renewals.runtime.renewal_queue import send_messages
from tests.fake_aws import error
from tests.fakes import World
from tests.visitor import ANN, Page, Visitor

LINK = 'href="/prod/account"'
"""The way to the form, as each page leads there."""


def typed(visitor: Visitor, address: str = ANN, **headers: str) -> Page:
    """Open the form, type an address and send the form, as a browser does."""
    shown = visitor.get("")
    [action] = re.findall(r'action="([^"]*)"', shown.html)
    assert action == "/prod/account/ask-for-link"
    assert re.search(r'<label for="address">.*<input id="address" name="address" type="email"', shown.html, re.DOTALL)
    return visitor.post("ask-for-link", {"address": address}, **headers)


@contextmanager
def calls_of_aws(shop: World) -> Iterator[list[str]]:
    """List the calls of the tables."""
    made: list[str] = []

    @contextmanager
    def around(name: str) -> Iterator[None]:
        made.append(name)
        yield

    before, shop.dynamodb.around = shop.dynamodb.around, around
    try:
        yield made
    finally:
        shop.dynamodb.around = before


def test_a_typed_address_goes_to_the_queue_and_nowhere_else(visitor: Visitor, shop: World) -> None:
    """The form works without a cookie and begins no session. The typed address is put on a queue: nothing is read or
    changed for it, and nothing is put on the queue of renewals."""
    before = dict(shop.row())
    with calls_of_aws(shop) as calls:
        done = typed(visitor)
    assert (done.status, done.header("Location"), done.cookie) == (303, "link-asked", None)
    assert [json.loads(message) for message in visitor.typed] == [{"address": ANN}]
    assert calls == ["dynamodb.UpdateItem"]
    assert visitor.queued == []
    assert shop.row() == before
    assert shop.dynamodb.items("changes") == {}
    assert visitor.get("link-asked").status == 200


TYPED = {
    "known": ANN,
    "unknown": "nobody@customer.example",
    "no address": "ann",
    "nothing": "",
    "long": "a" * 10_000,
    "control characters": "\x00\r\nBcc: x@y.example",
    "markup": "<script>alert(1)</script>@customer.example",
}


def test_every_text_gets_one_answer_after_the_same_work(visitor: Visitor, shop: World) -> None:
    """A known address, an unknown address and a text that is no address get the same answer, byte by byte, after the
    same calls: neither the words nor the time tell whether the address is known."""
    answers = set()
    for number, text in enumerate(TYPED.values()):
        visitor.source = f"203.0.113.{number}"
        with calls_of_aws(shop) as calls:
            page = visitor.post("ask-for-link", {"address": text})
        shown = visitor.get("link-asked")
        answers.add(repr((page.status, page.html, page.headers, calls, shown.html, shown.headers)))
    assert len(answers) == 1
    assert len(visitor.typed) == len(TYPED)
    assert max(len(message) for message in visitor.typed) < 2_000


def test_the_form_is_offered_where_a_link_does_not_work(visitor: Visitor) -> None:
    """Each page without a way on leads to the form: a link or a session that does not work, an unknown page, after
    signing out everywhere, and after an address was typed. Pages of a customer who is in do not."""
    for path in ("link/nobody.made", "overview", "no-such-page", "closed", "link-asked"):
        assert LINK in visitor.get(path).html, path
    assert LINK in visitor.post("session", {"token": "x"}).html
    assert LINK not in visitor.sign_in().html


def test_the_way_to_the_form_leads_to_no_other_host(visitor: Visitor) -> None:
    """A path that begins with two slashes, which browsers take for another host, gets no link made of it."""
    event = visitor.event("GET", "/account/link/x")
    event["requestContext"]["path"] = "//evil.example/account/link/x"
    page = visitor.send(event)
    assert page.status == 404
    assert "evil.example" not in page.html


def test_a_deployment_without_the_index_has_no_form(visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the queue, /account says how customers get in, no page leads to the form, and the form's target is
    unknown."""
    monkeypatch.setenv("ADDRESS_QUEUE_URL", "")
    home = visitor.get("")
    assert (home.status, "<form" in home.html) == (200, False)
    assert "newest mail" in home.text
    assert LINK not in visitor.get("link/nobody.made").html
    assert visitor.post("ask-for-link", {"address": ANN}).status == 404
    assert visitor.typed == []


def test_ten_addresses_an_hour_may_be_typed_from_one_source(visitor: Visitor) -> None:
    """The eleventh address within an hour gets 429, whatever X-Forwarded-For and other headers claim; a different
    source and the next hour are not concerned."""
    for number in range(13):
        claimed = f"198.51.100.{number}"
        page = typed(
            visitor, f"{number}@x.example", X_Forwarded_For=claimed, Forwarded=f"for={claimed}", X_Real_IP=claimed
        )
        assert page.status == (303 if number < 10 else 429), number
    assert "in an hour" in page.text
    assert len(visitor.typed) == 10
    assert visitor.counted.count("AddressesTyped") == 13
    visitor.source = "203.0.113.8"
    assert typed(visitor).status == 303
    visitor.source = "203.0.113.7"
    visitor.now += timedelta(hours=1)
    assert typed(visitor).status == 303


def test_a_network_of_ipv6_is_one_source(visitor: Visitor) -> None:
    """Whoever has a network of IPv6 cannot type more addresses by changing the own address within the network."""
    statuses = []
    for number in range(11):
        visitor.source = f"2001:db8:1:2::{number:x}"
        statuses.append(typed(visitor).status)
    assert statuses == [303] * 10 + [429]


@pytest.mark.parametrize("code", ["ProvisionedThroughputExceededException", "AccessDeniedException"])
def test_without_a_count_nothing_is_queued(visitor: Visitor, shop: World, code: str) -> None:
    """While the count fails, the customer is asked to try again, and nothing goes on: a flood that disturbs the counter
    is not rid of the limit."""
    shop.dynamodb.trouble.append(error(code, "UpdateItem"))
    assert typed(visitor).status in (500, 503)
    assert visitor.typed == []
    assert typed(visitor).status == 303


def test_a_queue_that_fails_is_told(visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the queue refuses the message, no page promises a mail."""

    def refused(**q: Any) -> dict[str, Any]:
        return {"Failed": [{"Id": each["Id"], "Code": "InternalError"} for each in q["Entries"]]}

    monkeypatch.setattr(visitor, "send_message_batch", refused)
    monkeypatch.setattr(by_address, "send_messages", partial(send_messages, wait=lambda _: None))
    assert typed(visitor).status == 503


def test_the_form_is_taken_from_our_own_page_alone(visitor: Visitor) -> None:
    """A form from a different site, a form that is too large, or a form with a doubled field is refused, and is neither
    counted nor queued."""
    assert typed(visitor, Origin="https://evil.example").status == 403
    assert typed(visitor, Sec_Fetch_Site="cross-site").status == 403
    large = visitor.event("POST", "/account/ask-for-link", "address=" + "a" * LARGEST_FORM)
    assert visitor.send(large).status == 413
    doubled = visitor.event("POST", "/account/ask-for-link", "address=a%40b.example&address=c%40d.example")
    assert visitor.send(doubled).status == 400
    assert visitor.get("ask-for-link").status == 404
    assert (visitor.typed, visitor.shop.dynamodb.items("counters")) == ([], {})


@pytest.mark.parametrize("tag", LANGUAGES)
def test_the_form_speaks_the_browsers_language(visitor: Visitor, tag: str) -> None:
    """The form, the answer and the answer at the limit come in the language that the browser asks for."""
    pages = [visitor.get("", Accept_Language=f"{tag};q=0.9"), visitor.get("link-asked", Accept_Language=tag)]
    for _ in range(11):
        page = visitor.post("ask-for-link", {"address": ANN}, Accept_Language=tag)
    for shown in (*pages, page):
        assert shown.header("Content-Language") == tag
        assert f'<html lang="{tag}" dir="{"rtl" if tag == "ar" else "ltr"}">' in shown.html


def test_no_log_holds_a_typed_address(visitor: Visitor, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the address nor the source is in any line of the log."""
    caplog.set_level(logging.DEBUG)
    for _ in range(11):
        typed(visitor, "someone.private@customer.example")
    text = caplog.text + "".join(str(record.__dict__) for record in caplog.records)
    assert "someone.private" not in text
    assert visitor.source not in text
