"""A customer replaces the card at the gateway's page, and comes back."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from botocore.exceptions import EndpointConnectionError

from customer_page import app
from renewals.ledger import account_links
from renewals.ledger.account_links import Account, Power, Purpose
from tests.fakes import LATER, NOON, World
from tests.visitor import DAY, HOST, Page, Visitor


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


def test_a_new_card_that_is_not_tried_at_once_is_not_said_to_be_tried(visitor: Visitor, shop: World) -> None:
    """The past due payment has had so many attempts that a new card waits for the next dunning date: neither the notice
    nor the overview says that the new card is being charged. The overview names the day."""
    shop.edit(renewal_date="2026-01-31", payment_method="pm_declined")
    for n in range(11):
        shop.edit(payment_method=f"pm_declined_{n}")
        shop.run(f"card-{n}", NOON + n * LATER)
    visitor.now = NOON + 12 * LATER
    visitor.sign_in()
    address = shop.gateway.give_card(_opened(visitor), "pm_new", visitor.now)
    page = _back(visitor, address)
    assert "We charge this card from now on." in page.text
    assert "trying to collect" not in page.text
    overview = visitor.get("overview").text
    assert "being charged" not in overview
    assert "on 1 February 2026: we then try again to collect the payment" in overview
    shop.run("waits", visitor.now, period="2026-01-31")
    assert shop.gateway.charges == []
    shop.run("date", NOON + DAY, period="2026-01-31")
    assert (len(shop.gateway.charges), shop.row()["status"]) == (1, "active")


def test_a_page_loaded_again_still_tells_of_the_past_due_payment(visitor: Visitor, shop: World) -> None:
    """The gateway's event, or the first load of the page, has taken the card before: while the payment is past due, the
    page says that the payment is tried, and not only that the card is saved."""
    shop.edit(renewal_date="2026-01-31", payment_method="pm_declined")
    shop.run()
    visitor.now = NOON + LATER
    visitor.sign_in()
    address = shop.gateway.give_card(_opened(visitor), "pm_new", visitor.now)
    for _ in range(2):
        assert "trying to collect the payment that is past due" in _back(visitor, address).text


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


@pytest.mark.parametrize(
    ("checkout", "status"),
    [
        ("https://gateway.example", 303),
        ("https://gateway.exampl", 409),
        ("https://pay.gateway.example", 409),
        ("", 409),
    ],
)
def test_stripes_checkout_may_stand_on_a_domain_of_the_seller(
    visitor: Visitor, monkeypatch: pytest.MonkeyPatch, checkout: str, status: int
) -> None:
    """With CheckoutUrl, the page for a new card may stand on the seller's own domain, and the policy of the pages names
    the domain beside Stripe's. A page on any other domain is not opened."""
    visitor.sign_in()
    form = visitor.get("overview").fields
    monkeypatch.setenv("PAYMENT_GATEWAY_ENDPOINT", "https://api.stripe.com")
    monkeypatch.setenv("CHECKOUT_URL", checkout)
    opened = app.handler(visitor.event("POST", "/account/new-card", urlencode(form)), None)
    assert opened["statusCode"] == status
    policy = opened["multiValueHeaders"]["Content-Security-Policy"][0]  # type: ignore[index]
    named = ("'self'", "https://checkout.stripe.com", "https://hooks.stripe.com", checkout)
    assert policy.endswith(f"form-action {' '.join(named).strip()}")
