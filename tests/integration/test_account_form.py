"""The form for customers without a working link, on a deployed stack: from the typed address to the session."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
import urllib3
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from tests.browser import NEEDS_CHROMIUM, chromium, resize
from tests.integration.shop import Shop, Subscriber, today, wait_until

CONTRAST = Path(__file__).with_name("contrast.js").read_text()


@pytest.fixture(autouse=True)
def nobody_has_typed(shop: Shop) -> None:
    """The counts of earlier tests, which come from the same machine, are forgotten."""
    client, table = shop.stack.client("dynamodb"), "subscription-mgmt-counters-prod"
    for item in client.scan(TableName=table)["Items"]:
        client.delete_item(TableName=table, Key={"counter": item["counter"]})


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with chromium(tmp_path_factory.mktemp("browser")) as running:
        yield running


def _page(shop: Shop) -> str:
    """Return the address of the page at its own host, as AWS would give it."""
    page = urllib3.request("GET", f"{shop.stack.endpoint_url}/_local/account/", redirect=False)
    return page.headers["Location"].rstrip("/")


def _links(shop: Shop, subscriber: Subscriber) -> list[str]:
    """Return the links in the mails that were asked for."""
    mails = [each for each in shop.mails(subscriber) if str(each["Subject"]).startswith("Your link to")]
    parts = [mail.get_body(("html",)) for mail in mails]
    found = [re.search(r'href="(http://[^"]+/account/link/[\w.-]+)"', part.get_content()) for part in parts if part]
    return [each[1] for each in found if each]


def test_the_limit_of_a_source_holds_with_another_x_forwarded_for_on_each_request(shop: Shop) -> None:
    """Ten addresses an hour may be typed from one machine, whatever X-Forwarded-For claims on each request."""
    statuses = []
    for number in range(12):
        claimed = f"203.0.113.{number}"
        headers = {"X-Forwarded-For": claimed, "X-Real-IP": claimed, "Forwarded": f"for={claimed}"}
        headers |= {"Sec-Fetch-Site": "same-origin", "Content-Type": "application/x-www-form-urlencoded"}
        body = urlencode({"address": f"nobody-{number}@example.org"})
        page = urllib3.request(
            "POST", f"{shop.account_api}/account/ask-for-link", headers=headers, body=body, redirect=False
        )
        statuses.append(page.status)
    assert statuses == [303] * 10 + [429] * 2


@NEEDS_CHROMIUM
def test_a_customer_without_a_link_gets_in_by_the_address(shop: Shop, browser: Chrome, tmp_path: Path) -> None:
    """From a link that does not work, by keyboard and without scripts: the form, the typed address, the mail, and the
    subscription. An unknown address gets the same page and no mail, and nothing is charged."""
    subscriber = shop.subscribe(renewal_date=today().replace(year=today().year + 1, day=1).isoformat())
    pages = {}
    for address in ("nobody@example.org", subscriber.email.upper()):
        browser.get(f"{_page(shop)}/link/nobody.made")
        _look(browser, tmp_path, "gone")
        _press(browser, browser.find_element(By.LINK_TEXT, "Have a link mailed to you"))
        _look(browser, tmp_path, "form")
        label = browser.find_element(By.TAG_NAME, "label")
        field = browser.find_element(By.ID, label.get_attribute("for") or "")
        field.send_keys(address)
        _press(browser, field)
        _look(browser, tmp_path, "asked")
        pages[address] = browser.page_source
    assert len(set(pages.values())) == 1
    wait_until(lambda: len(_links(shop, subscriber)) == 1, seconds=30)
    shop.time.until_all_is_done(30)
    [link] = _links(shop, subscriber)
    browser.get(link)
    _press(browser, browser.find_element(By.TAG_NAME, "button"))
    assert "Active" in browser.find_element(By.TAG_NAME, "main").text
    assert shop.charges(subscriber) == []
    assert shop.mails_to("nobody@example.org") == []


def _press(browser: Chrome, element: object) -> None:
    """Press the return key on a link, a button or a field, and wait for the next page."""
    here = browser.find_element(By.TAG_NAME, "html").id
    element.send_keys(Keys.ENTER)  # type: ignore[attr-defined]
    waiting = WebDriverWait(browser, 20, ignored_exceptions=[Exception])
    waiting.until(lambda now: now.find_element(By.TAG_NAME, "html").id != here)
    waiting.until(lambda now: now.find_elements(By.TAG_NAME, "h1"))


def _look(browser: Chrome, pictures: Path, name: str) -> None:
    """Check that nothing is wider than a phone's window, and that all words have contrast."""
    for width in (320, 390):
        resize(browser, width)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width, (name, width)
        assert browser.execute_script(CONTRAST) == [], (name, width)
        browser.save_screenshot(str(pictures / f"{name}-{width}.png"))
