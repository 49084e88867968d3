"""All pages of the customer page: their receipts, their languages, and the requests that the pages refuse."""

import re
from base64 import b64encode
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from customer_page import app
from renewals.language.tags import LANGUAGES
from renewals.ledger import account_links
from renewals.ledger.receipt_links import named
from tests.fake_aws import error
from tests.fakes import LINKS, NOON, World
from tests.visitor import DAY, HOST, Page, Visitor


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


@pytest.mark.parametrize(("state", "queries"), [("active", 3), ("ending", 4), ("paused", 4), ("unpaid", 3)])
def test_the_overview_reads_the_history_once(visitor: Visitor, shop: World, state: str, queries: int) -> None:
    """The overview reads the row, the latest periods and the receipts once each, and the changes only if an end is set.
    For a paused subscription, the periods of the pause are read as well."""
    shop.edit(renewal_date="2026-01-31")
    shop.run()
    visitor.sign_in()
    if state == "ending":
        assert visitor.press("cancel").status == 303
    elif state != "active":
        shop.edit(status=state)
    before = shop.cuts.calls.count("dynamodb.Query")
    assert visitor.get("overview").status == 200
    assert shop.cuts.calls.count("dynamodb.Query") - before == queries


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


def test_receipts_are_listed_however_many_periods_were_passed_over_since(visitor: Visitor, shop: World) -> None:
    """A daily subscription is paid once, and then stands still for two months, of which each day is passed over: the
    overview still lists the receipt, and reads no ledger without end."""
    shop.subscribe(interval="day", renewal_date="2026-01-31")
    shop.run()
    shop.subscribe(interval="day", renewal_date="2026-02-01", payment_method="pm_declined")
    visitor.now = NOON + 60 * DAY
    shop.run("late", visitor.now)
    assert sum(item["status"] == "skipped" for item in shop.items().values()) > 50
    visitor.post("session", {"token": visitor.link(now=visitor.now)})
    assert "Receipt of 31 January 2026: $29.99" in visitor.get("overview").text
    shop.items().clear()
    for n in range(500):
        day = (NOON - n * DAY).date().isoformat()
        skipped = {"subscription_id": "sub_1", "customer_id": "cus_1", "renewal_date": day, "status": "skipped"}
        shop.dynamodb.put("renewals", skipped)
    shop.cuts.calls.clear()
    assert "There is no receipt yet." in visitor.get("overview").text
    assert len(shop.cuts.calls) < 20


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
    assert ("Visa ending in" in pages[1].text) is (tag == "en")
    assert "4242" in pages[1].text
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


def test_the_page_speaks_to_the_lines_of_the_row_safely(visitor: Visitor, shop: World) -> None:
    """Names and plans are text on the page, never HTML."""
    shop.edit(plan="<b>Pro</b>\u202e", customer_name='"><img src=x>', customer_email="a<b@c.de")
    shown = visitor.get(f"link/{visitor.link()}")
    overview = visitor.sign_in()
    assert "<b>" not in shown.html + overview.html
    assert "<img" not in shown.html + overview.html
    assert "\u202e" not in overview.html


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
    st.dictionaries(st.sampled_from(["token", "form", "expected", "address", "x"]), texts, max_size=4).map(
        lambda form: "&".join(f"{name}={value}" for name, value in form.items())
    ),
    st.binary(max_size=60).map(lambda data: b64encode(data).decode()),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    method=st.sampled_from(["GET", "POST", "HEAD", "PUT"]),
    path=st.one_of(
        st.sampled_from(
            [
                "link/",
                "session",
                "overview",
                "cancel",
                "resume",
                "sign-out",
                "sign-out-everywhere",
                "closed",
                "",
                "ask-for-link",
            ]
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
