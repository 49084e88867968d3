"""The customer page as a customer meets the page: from the mail, in a real headless browser, without scripts."""

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from selenium.common.exceptions import WebDriverException
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from tests.browser import NEEDS_CHROMIUM, chromium, resize
from tests.integration.shop import Shop, Subscriber, today

pytestmark = NEEDS_CHROMIUM

CONTRAST = Path(__file__).with_name("contrast.js").read_text()
ZOOMED = 320
"""The width in CSS pixels of a window of 1,280 pixels at 400 % zoom."""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with chromium(tmp_path_factory.mktemp("browser")) as running:
        yield running


def _mailed_link(shop: Shop, subscriber: Subscriber) -> str:
    page = shop.mails(subscriber)[-1].get_body(("html",))
    assert page is not None
    found = re.search(r'href="(http://127\.0\.0\.1:\d+/_local/account/link/[\w.-]+)"', page.get_content())
    assert found is not None
    return found[1]


def _press(browser: Chrome, label: str) -> None:
    """Press a button or follow a link, by keyboard alone, and wait for the next page."""
    here = browser.find_element(By.TAG_NAME, "html").id
    [found] = [each for each in browser.find_elements(By.CSS_SELECTOR, "a, button") if each.text == label]
    found.send_keys(Keys.ENTER)
    waiting = WebDriverWait(browser, 20, ignored_exceptions=[WebDriverException])  # while the page is being replaced
    waiting.until(lambda now: now.find_element(By.TAG_NAME, "html").id != here)
    waiting.until(lambda now: now.find_elements(By.TAG_NAME, "h1"))


def _text(browser: Chrome) -> str:
    return browser.find_element(By.TAG_NAME, "main").text


def _look(browser: Chrome, name: str, pictures: Path) -> None:
    """Check the present page on a phone, at 400 % zoom and on a desktop: nothing is wider than the window, all words
    have contrast, and one heading stands on top. A picture of each goes to the folder."""
    for width in (390, ZOOMED, 1280):
        resize(browser, width)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width, (name, width)
        assert browser.execute_script(CONTRAST) == [], (name, width)
        browser.save_screenshot(str(pictures / f"{name}-{width}.png"))
    assert len(browser.find_elements(By.TAG_NAME, "h1")) == 1
    assert browser.execute_script("return document.documentElement.lang") == "en"
    small = [
        each.text for each in browser.find_elements(By.CSS_SELECTOR, "button, .button") if each.size["height"] < 44
    ]
    assert small == [], name


def test_a_declined_customer_cancels_from_the_mail(shop: Shop, browser: Chrome, tmp_path: Path) -> None:
    """From the mail about a declined card, the link leads to the page, the session begins with a button, the
    cancellation is confirmed, and nothing is charged on the next dunning date. All of it by keyboard, without
    scripts."""
    subscriber = shop.subscribe(card="pm_card_chargeCustomerFail")
    shop.renew(subscriber)
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    browser.get(_mailed_link(shop, subscriber))
    assert "execute-api.localhost" in browser.current_url
    assert subscriber.email not in browser.page_source
    _look(browser, "link", tmp_path)
    _press(browser, "Continue")
    assert browser.current_url.endswith("/prod/account/overview")
    [cookie] = browser.get_cookies()
    assert (cookie["name"], cookie["httpOnly"], cookie["secure"], cookie["sameSite"], cookie["path"]) == (
        "__Host-account",
        True,
        True,
        "Lax",
        "/",
    )
    assert "Past due" in _text(browser)
    _look(browser, "overview", tmp_path)
    _press(browser, "Cancel subscription")
    assert "is not collected" in _text(browser)
    _look(browser, "cancel", tmp_path)
    _press(browser, "Cancel now")
    assert "Canceled. Nothing is charged any more." in _text(browser)
    _look(browser, "canceled", tmp_path)
    assert shop.row(subscriber)["status"] == "canceled"
    shop.time.until_all_is_done(60)  # the page has put the canceled payment on the queue
    shop.edit(subscriber, test_clock=(today() + timedelta(days=1)).isoformat())
    shop.renew(subscriber)
    assert shop.charges(subscriber, status="succeeded") == []
    log = json.dumps(browser.get_log("browser"))  # type: ignore[no-untyped-call]
    assert "Content Security Policy" not in log


def test_a_declined_customer_gives_a_new_card_from_the_mail(shop: Shop, browser: Chrome, tmp_path: Path) -> None:
    """From the mail about a declined card: link, button, the gateway's page, a good card; and the past due payment is
    charged and receipted."""
    subscriber = shop.subscribe(card="pm_card_chargeCustomerFail")
    shop.renew(subscriber)
    browser.get(_mailed_link(shop, subscriber))
    _press(browser, "Continue")
    _press(browser, "Update payment method")
    assert browser.current_url.startswith(shop.stack.gateway_url)
    browser.find_element(By.CSS_SELECTOR, "button").send_keys(Keys.ENTER)
    WebDriverWait(browser, 20).until(lambda now: "/account/new-card/" in now.current_url)
    assert "trying to collect the payment that is past due" in _text(browser)
    _look(browser, "card", tmp_path)
    shop.ends(subscriber, 2)
    _press(browser, "Back to my subscription")
    assert "Active" in _text(browser)
    assert "Receipt of" in _text(browser)
    assert len(shop.charges(subscriber, status="succeeded")) == 1


def test_an_active_customer_cancels_and_resumes(shop: Shop, browser: Chrome, tmp_path: Path) -> None:
    """An active customer cancels at the end of the period and resumes; after signing out everywhere, the link of the
    mail opens nothing."""
    day = (today() + timedelta(days=5)).isoformat()
    subscriber = shop.subscribe(renewal_date=day, interval="year")
    told = {"subscription_id": subscriber.subscription_id, "customer_id": subscriber.customer_id, "renewal_date": day}
    event = {"execution": "a test", "renewal": told | {"outcome": "remind", "reminders": ["upcoming"]}}
    function = f"{shop.stack.outputs['SweepFunctionName'].replace('renewal-sweep', 'send-email')}"
    shop.functions.invoke(FunctionName=function, Payload=json.dumps(event))
    link = _mailed_link(shop, subscriber)
    browser.get(link)
    _press(browser, "Continue")
    assert "Active" in _text(browser)
    _press(browser, "Cancel subscription")
    _press(browser, "Keep my subscription")
    _press(browser, "Cancel subscription")
    _press(browser, "Cancel at the end of the period")
    assert "Canceled. Your subscription ends on" in _text(browser)
    _press(browser, "Resume subscription")
    _look(browser, "resume", tmp_path)
    _press(browser, "Resume")
    assert "Active" in _text(browser)
    assert "cancel_at" not in shop.row(subscriber)
    _press(browser, "Sign out everywhere")
    assert browser.current_url.endswith("/account/closed")
    browser.get(link)
    assert "This link does not work any more" in _text(browser)
    _look(browser, "gone", tmp_path)
