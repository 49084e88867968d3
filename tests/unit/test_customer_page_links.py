"""How a customer gets into the customer page by a mailed link, and what ends links and sessions."""

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from customer_page import app, visits
from renewals.ledger import account_links
from renewals.ledger.account_links import Account, Power, Purpose
from tests.fakes import NOON, World
from tests.visitor import ANN, DAY, Visitor


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


def broken_links(visitor: Visitor, shop: World) -> Iterator[tuple[str, str]]:
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
    links = dict(broken_links(visitor, shop))
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


def test_a_request_without_a_link_counts_as_no_refused_link(visitor: Visitor) -> None:
    """Whoever opens an old bookmark without a session is told so, and is not counted among the refused links."""
    assert visitor.get("overview").status == 404
    assert visitor.counted == []


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
