"""The customer page as customers meet the page: from the mail, in a real headless browser, on a phone, by keyboard
alone, in a browser that runs no scripts."""

import json
import re
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from tests.browser import NEEDS_CHROMIUM, chromium, resize
from tests.integration.customer import ZOOMED, Customer
from tests.integration.shop import Shop, Subscriber, today, wait_until

pytestmark = NEEDS_CHROMIUM

DECLINED, ASKS = "pm_card_chargeCustomerFail", "pm_card_authenticationRequired"
VISA, MASTERCARD = 0, 1
"""Places of cards on the gateway's page."""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with chromium(tmp_path_factory.mktemp("browser")) as running:
        yield running


@pytest.fixture
def customer(shop: Shop, browser: Chrome, tmp_path: Path) -> Iterator[Customer]:
    """A customer at the browser; at the end, no page has gone against its policy."""
    made = Customer(shop, browser, tmp_path)
    yield made
    made.has_met_no_violation()


def _refused(shop: Shop, card: str, **attributes: Any) -> Subscriber:
    """Return a subscriber whose payment was refused, and who has a mail about the refusal."""
    subscriber = shop.subscribe(card=card, **attributes)
    shop.renew(subscriber)
    return subscriber


def _reminded(shop: Shop, **attributes: Any) -> Subscriber:
    """Return an active subscriber who has a mail about the next renewal, in five days."""
    day = (today() + timedelta(days=5)).isoformat()
    subscriber = shop.subscribe(renewal_date=day, interval="year", **attributes)
    told = {"subscription_id": subscriber.subscription_id, "customer_id": subscriber.customer_id, "renewal_date": day}
    event = {"execution": "a test", "renewal": told | {"outcome": "remind", "reminders": ["upcoming"]}}
    function = f"{shop.stack.outputs['SweepFunctionName'].replace('renewal-sweep', 'send-email')}"
    shop.functions.invoke(FunctionName=function, Payload=json.dumps(event))
    return subscriber


def _paid(shop: Shop, subscriber: Subscriber) -> int:
    return len(shop.charges(subscriber, status="succeeded"))


def _renew_on(shop: Shop, subscriber: Subscriber, days: int) -> None:
    """Renew the subscription some days from today, by its test clock."""
    shop.time.until_all_is_done(60)
    shop.edit(subscriber, test_clock=(today() + timedelta(days=days)).isoformat())
    shop.renew(subscriber)


def test_a_declined_customer_cancels_from_the_mail(shop: Shop, customer: Customer) -> None:
    """From the mail about a declined card, the link leads to the page, the session begins with a button, the
    cancellation is confirmed on the page and by mail, and nothing is charged on the next dunning date."""
    subscriber = _refused(shop, DECLINED)
    customer.browser.get(customer.link(subscriber))
    assert "execute-api.localhost" in customer.browser.current_url
    assert subscriber.email not in customer.browser.page_source
    customer.look("link")
    customer.press("Continue")
    [cookie] = customer.browser.get_cookies()
    assert (cookie["name"], cookie["httpOnly"], cookie["secure"], cookie["sameSite"], cookie["path"]) == (
        "__Host-account",
        True,
        True,
        "Lax",
        "/",
    )
    assert "Past due" in customer.text
    customer.look("overview")
    customer.press("Cancel subscription")
    assert "is not collected" in customer.text
    customer.look("cancel")
    customer.press("Cancel now")
    assert "Canceled. Nothing is charged any more." in customer.text
    assert shop.row(subscriber)["status"] == "canceled"
    customer.wait_for_mail(subscriber, "is canceled")
    _renew_on(shop, subscriber, 1)
    assert _paid(shop, subscriber) == 0


def test_a_declined_customer_gives_a_new_card_from_the_mail(
    shop: Shop, customer: Customer, record_property: Callable[[str, object], None]
) -> None:
    """From the mail about a declined card: link, button, the gateway's page, a good card; and the past due payment is
    charged, receipted and mailed within ten seconds after the card was given."""
    subscriber = _refused(shop, DECLINED)
    customer.sign_in(subscriber)
    customer.press("Update payment method")
    began = time.monotonic()
    customer.save_card()
    assert "trying to collect the payment that is past due" in customer.text
    customer.wait_for_mail(subscriber, "Receipt for")
    took = time.monotonic() - began
    record_property("seconds from the card to the receipt's mail", round(took, 1))
    customer.press("Back to my subscription")
    assert "Active" in customer.text
    assert "Receipt of" in customer.text
    assert _paid(shop, subscriber) == 1
    assert took < 10


def test_the_gateways_pages_are_good_pages(shop: Shop, customer: Customer) -> None:
    """The sandbox gateway's pages for a card are as good as ours: the choice, a declined card, the bank's question, the
    refusal and the time-out. None of the ways out saves a card or charges anything."""
    subscriber = _refused(shop, DECLINED)
    customer.sign_in(subscriber)
    customer.press("Update payment method")
    customer.look("choice")
    customer.choose_card(5)
    customer.press("Save card")
    customer.look("declined")
    customer.choose_card(3)
    customer.press("Save card")
    customer.look("question")
    customer.press("Refuse")
    customer.press("Go back without a card")
    assert "No card was saved" in customer.text
    customer.press("Back to my subscription")
    customer.press("Update payment method")
    customer.press("Let the page time out")
    customer.look("expired")
    assert shop.row(subscriber)["payment_method"] == subscriber.payment_method
    assert _paid(shop, subscriber) == 0


def test_a_payment_is_confirmed_at_the_bank(shop: Shop, customer: Customer) -> None:
    """A customer whose bank asks for a confirmation refuses, lets the time pass, and confirms: after the refusal and
    the time-out nothing is charged and the page still asks; after the confirmation the payment is charged once,
    receipted and mailed. All of it at 400 % zoom."""
    subscriber = _refused(shop, ASKS)
    customer.sign_in(subscriber)
    resize(customer.browser, ZOOMED)
    for answer, then in (("Refuse", None), ("Let the confirmation time out", "Back to the shop")):
        assert "Your bank asks you to confirm" in customer.text
        customer.press("Confirm the payment")
        assert customer.browser.current_url.startswith(f"{shop.stack.gateway_url}/bank/")
        customer.press(answer)
        if then is not None:
            customer.look("too late")
            customer.press(then)
        shop.time.until_all_is_done(60)
        customer.press("Back to my subscription")
        assert _paid(shop, subscriber) == 0
    customer.press("Confirm the payment")
    customer.look("bank")
    resize(customer.browser, ZOOMED)
    customer.press("Confirm the payment")
    assert "checking your payment" in customer.text
    customer.wait_for_mail(subscriber, "Receipt for")
    customer.press("Back to my subscription")
    assert "Active" in customer.text
    assert _paid(shop, subscriber) == 1


def test_a_customer_leaves_the_bank_and_gives_a_new_card(shop: Shop, customer: Customer) -> None:
    """A customer walks away from the bank's page without an answer, comes back by the mail, and gives another card: the
    payment is charged once, with the new card, and the last dunning day charges and ends nothing."""
    subscriber = _refused(shop, ASKS)
    customer.sign_in(subscriber)
    customer.press("Confirm the payment")
    customer.press("Walk away without an answer")
    customer.look("away")
    customer.sign_in(subscriber)
    customer.press("Update payment method")
    customer.save_card(MASTERCARD)
    customer.wait_for_mail(subscriber, "Receipt for")
    _renew_on(shop, subscriber, 7)
    assert _paid(shop, subscriber) == 1
    assert [str(item["card"]).partition(" ")[0] for item in shop.ledger(subscriber)] == ["Mastercard"]
    assert shop.row(subscriber)["status"] == "active"


def test_two_tabs_and_two_sessions_in_either_order(shop: Shop, customer: Customer) -> None:
    """Of two pages for a card that are open at once in two tabs, the card that was saved last counts, in either order,
    and a way back that is opened again undoes nothing. A session of another customer changes nothing."""
    subscriber, other = _reminded(shop), _reminded(shop)
    browser, first = customer.browser, customer.browser.current_window_handle
    customer.sign_in(subscriber)
    ways_back, cards = [], [subscriber.payment_method]
    for order in ((0, 1), (1, 0)):
        tabs = []
        for _ in order:
            browser.switch_to.new_window("tab")
            Customer(shop, browser, customer.pictures)
            customer.sign_in(subscriber)
            customer.press("Update payment method")
            tabs.append(browser.current_window_handle)
        for card in order:
            browser.switch_to.window(tabs[card])
            customer.save_card(card)
            assert "We charge this card from now on" in customer.text
            ways_back.append(browser.current_url)
            cards.append(shop.row(subscriber)["payment_method"])
        for tab in tabs:
            browser.switch_to.window(tab)
            browser.close()
        browser.switch_to.window(first)
    assert len(set(cards)) == 5
    browser.get(ways_back[-2])
    assert "the later change stands" in customer.text
    assert shop.row(subscriber)["payment_method"] == cards[-1]

    customer.sign_in(other)
    customer.press("Update payment method")
    customer.press("Go back without a card")
    browser.get(f"{browser.current_url}?session={ways_back[-1].partition('session=')[2]}")
    assert "No card was saved" in customer.text
    assert shop.row(other)["payment_method"] == other.payment_method


def test_an_active_customer_cancels_and_resumes(shop: Shop, customer: Customer) -> None:
    """An active customer cancels at the end of the period and resumes; a tab that was open before changes nothing. The
    old link opens nothing after the address on file has changed, and after the customer has signed out everywhere."""
    subscriber = _reminded(shop)
    browser, link = customer.browser, customer.link(subscriber)
    customer.sign_in(subscriber)
    assert "Active" in customer.text
    customer.press("Cancel subscription")
    customer.press("Keep my subscription")
    customer.press("Cancel subscription")
    here = browser.current_window_handle
    browser.switch_to.new_window("tab")
    in_tab = Customer(shop, browser, customer.pictures)
    in_tab.sign_in(subscriber)
    in_tab.press("Cancel subscription")
    in_tab.press("Cancel at the end of the period")
    assert "Canceled. Your last day is" in in_tab.text
    browser.close()
    browser.switch_to.window(here)
    customer.press("Cancel at the end of the period")
    assert "Nothing was changed" in customer.text
    customer.press("Back to my subscription")
    customer.press("Resume subscription")
    customer.press("Resume")
    assert "Active" in customer.text
    assert "cancel_at" not in shop.row(subscriber)
    customer.wait_for_mail(subscriber, "is canceled")
    shop.edit(subscriber, customer_email=f"new-{subscriber.email}")
    browser.get(link)
    assert "This link does not work any more" in customer.text
    shop.edit(subscriber, customer_email=subscriber.email)
    browser.get(link)
    customer.press("Continue")
    customer.press("Sign out everywhere")
    assert browser.current_url.endswith("/account/closed")
    browser.get(link)
    assert "This link does not work any more" in customer.text


@pytest.mark.parametrize("status", ["active", "paused", "unpaid", "action_required"])
def test_a_customer_cancels_in_each_state(shop: Shop, customer: Customer, status: str) -> None:
    """In each state, the cancellation is confirmed on the page and by mail, and the next date charges nothing."""
    subscriber = _refused(shop, ASKS) if status == "action_required" else _reminded(shop)
    if status in ("paused", "unpaid"):
        shop.edit(subscriber, status=status)
    customer.sign_in(subscriber)
    customer.press("Cancel subscription")
    customer.press("Cancel at the end of the period" if status == "active" else "Cancel now")
    assert "Canceled." in customer.text
    customer.wait_for_mail(subscriber, "is canceled")
    _renew_on(shop, subscriber, 5)
    wait_until(lambda: shop.row(subscriber)["status"] == "canceled" or status == "active")
    assert _paid(shop, subscriber) == 0


def test_a_contract_is_canceled_by_the_public_form_and_taken_back(shop: Shop, customer: Customer) -> None:
    """Without a link, the start page leads to the public form. The cancellation is confirmed at once with its number,
    and takes effect within seconds; from the mail, the customer takes the end back. A withdrawal ends nothing, and its
    receipt is mailed."""
    subscriber = shop.subscribe(renewal_date=(today() + timedelta(days=40)).isoformat())
    home = shop.stack.outputs["AccountUrl"]
    customer.browser.get(home)
    customer.look("home")
    customer.press("Cancel contracts here")
    customer.look("cancellation_form")
    number = _declare(customer, subscriber, "Pro", "cancel now")
    assert number.startswith("C")
    customer.look("cancellation_declared")
    wait_until(lambda: "cancel_at" in shop.row(subscriber), seconds=30)
    customer.wait_for_mail(subscriber, "is canceled")
    mail = shop.mails(subscriber)[-1].get_body(("plain",))
    assert mail is not None
    assert number in mail.get_content()
    customer.sign_in(subscriber)
    customer.press("Resume subscription")
    customer.press("Resume")
    assert "cancel_at" not in shop.row(subscriber)

    customer.browser.get(f"{home}/withdrawal")
    number = _declare(customer, subscriber, subscriber.subscription_id, "confirm withdrawal")
    customer.wait_for_mail(subscriber, "We have received a withdrawal")
    mail = shop.mails(subscriber)[-1].get_body(("plain",))
    assert mail is not None
    assert number in mail.get_content()
    assert "cancel_at" not in shop.row(subscriber)


def _declare(customer: Customer, subscriber: Subscriber, contract: str, button: str) -> str:
    """Fill a public form and press its button, and return the number of the declaration."""
    for field, typed in {"name": subscriber.name, "contract": contract, "address": subscriber.email}.items():
        customer.browser.find_element(By.ID, field).send_keys(typed)
    customer.press(button)
    assert "recorded" in customer.browser.find_element(By.TAG_NAME, "h1").text
    found = re.search(r"\b[CW]\d{8}-\d{6}-[0-9A-F]{8}\b", customer.text)
    assert found is not None
    return found[0]
