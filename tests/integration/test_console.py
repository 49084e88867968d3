"""The console and the links to receipts, as a person meets them: in a real browser, headless."""

import json
import os
import re
import signal
import uuid
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

import pytest
import urllib3
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from local.processes import Process, alive
from local.stack import Stack
from tests.browser import NEEDS_CHROMIUM, chromium
from tests.integration.shop import Shop, Subscriber, wait_until

pytestmark = NEEDS_CHROMIUM

HOSTILE = "<script>document.title = 'taken'</script><img src=x onerror=\"document.title = 'taken'\">"
_DIGEST = """
return fetch(location.href)
    .then((answer) => answer.arrayBuffer())
    .then((bytes) => crypto.subtle.digest("SHA-256", bytes))
    .then((digest) => Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join(""));
"""


_BEYOND = """
return Array.from(document.querySelectorAll("main td, main li, main dd, main .badge"))
    .filter(each => each.getBoundingClientRect().right > window.innerWidth).map(each => each.innerText);
"""


class Browser:
    """Chromium, as far as these tests drive it."""

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver

    def open(self, url: str) -> int:
        """Open an address and return the status of the final answer."""
        self.driver.get(url)
        return self.status()

    def status(self) -> int:
        return int(self.run("return performance.getEntriesByType('navigation')[0].responseStatus"))

    def run(self, script: str) -> Any:
        return self.driver.execute_script(script)

    def link(self, text: str) -> WebElement:
        return wait_until(lambda: self.driver.find_elements(By.PARTIAL_LINK_TEXT, text))[0]

    def follow(self, text: str) -> None:
        """Click a link, and again where the page has redrawn the link meanwhile."""

        def clicked() -> bool:
            try:
                self.link(text).click()
            except StaleElementReferenceException:
                return False
            return True

        wait_until(clicked)

    def rows(self) -> list[str]:
        """Return the texts of all table rows, read at a single moment because the page may redraw the rows."""
        texts: list[str] = self.run("return Array.from(document.querySelectorAll('tbody tr'), row => row.innerText)")
        return texts

    def heading(self) -> str:
        (heading,) = self.driver.find_elements(By.TAG_NAME, "h1")
        return heading.text

    def text(self) -> str:
        return self.driver.find_element(By.TAG_NAME, "body").text

    def complaints(self) -> list[str]:
        """Return the new messages of the browser's own console."""
        return [str(entry["message"]) for entry in self.driver.get_log("browser")]  # type: ignore[no-untyped-call]

    def shows_pdf(self) -> str:
        """Assert that the browser shows a PDF, and return the SHA-256 of the file."""
        wait_until(lambda: self.run("return document.contentType") == "application/pdf")
        assert self.status() == 200
        return str(self.run(_DIGEST))

    def in_new_tab(self, click: Callable[[], None]) -> None:
        """Click, and go on in the tab that the click opens."""
        before = set(self.driver.window_handles)
        click()
        (opened,) = wait_until(lambda: set(self.driver.window_handles) - before)
        self.driver.switch_to.window(opened)


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with chromium(tmp_path_factory.mktemp("browser")) as running:
        yield running


@pytest.fixture
def browser(driver: Chrome) -> Iterator[Browser]:
    """A fresh tab, without history."""
    driver.switch_to.new_window("tab")
    for other in set(driver.window_handles) - {driver.current_window_handle}:
        mine = driver.current_window_handle
        driver.switch_to.window(other)
        driver.close()
        driver.switch_to.window(mine)
    browser = Browser(driver)
    browser.complaints()
    yield browser
    driver.set_window_size(1200, 900)


@pytest.fixture(scope="module")
def console(stack: Stack) -> str:
    """The console's address, as `make up` leaves it."""
    stack.serve_console()
    return stack.outputs["ConsoleUrl"]


def _receipt_link(shop: Shop, subscriber: Subscriber) -> str:
    """Return the link to the receipt from the receipt's mail."""
    page = shop.mails(subscriber)[-1].get_body(("html",))
    assert page is not None
    return str(re.findall(r'href="([^"]+/receipts/[^"]+)"', page.get_content())[0])


def test_a_renewal_appears_while_the_page_is_open(shop: Shop, console: str, browser: Browser) -> None:
    """The open page shows the table's counts, and shows a renewal soon afterwards without being loaded again."""
    subscriber = shop.subscribe()
    browser.open(console)
    rows = shop.subscriptions.scan()["Items"]
    active = sum(row["status"] == "active" for row in rows)
    assert f"{active}\nactive" in browser.text()
    browser.run("window.stayed = true")
    shop.renew(subscriber)
    row = wait_until(
        lambda: [each for each in browser.rows() if subscriber.subscription_id in each and "done" in each],
    )[0]
    assert "29.99 USD" in row
    assert browser.run("return window.stayed") is True
    assert browser.complaints() == []


def test_a_click_leads_to_the_timeline_the_receipt_and_the_mail(shop: Shop, console: str, browser: Browser) -> None:
    """Clicks lead from the start page to everything known of a subscription, and the receipt's PDF opens in the browser
    as stored."""
    subscriber = shop.subscribe()
    shop.renew(subscriber)
    (item,) = shop.ledger(subscriber)
    browser.open(console)
    browser.follow(subscriber.subscription_id)
    assert subscriber.subscription_id in browser.heading()
    assert "29.99 USD for Pro was charged to Visa ending in 4242" in browser.text()
    browser.link(item["receipt_number"]).click()
    assert browser.shows_pdf() == item["receipt_sha256"]
    browser.driver.back()
    browser.link("Receipt for Pro: $29.99").click()
    assert browser.heading() == "Receipt for Pro: $29.99"
    browser.driver.switch_to.frame(browser.driver.find_element(By.TAG_NAME, "iframe"))
    assert "We have received your payment of $29.99" in browser.text()
    browser.in_new_tab(browser.link("Open the receipt").click)
    assert browser.shows_pdf() == item["receipt_sha256"]
    browser.driver.close()
    browser.driver.switch_to.window(browser.driver.window_handles[0])
    browser.link(".pdf").click()
    assert browser.shows_pdf() == item["receipt_sha256"]
    # The mailed link leads to the emulator, and the emulator has no icon.
    theirs = f"{shop.stack.endpoint_url}/favicon.ico"
    assert [told for told in browser.complaints() if not told.startswith(theirs)] == []


def test_no_script_but_its_own_runs(shop: Shop, stack: Stack, console: str, browser: Browser) -> None:
    """No script from a customer's name or from a mail runs on the console, and both texts are shown."""
    subscriber = shop.subscribe(name=HOSTILE)
    shop.renew(subscriber)
    for path in ("/", f"/subscription?id={subscriber.subscription_id}"):
        browser.open(console + path)
        assert "<script>document.title" in browser.text()
        assert browser.run("return document.title") != "taken"
        assert browser.complaints() == []
    mail = EmailMessage()
    mail["Subject"], mail["To"] = HOSTILE, f"{uuid.uuid4().hex}@example.org"
    mail.set_content(f"{HOSTILE}<p>read me</p><script>top.document.title = 'taken'</script>", subtype="html")
    file = stack.mail_folder / f"20260101T000000.000000Z-000000-{uuid.uuid4().hex}.eml"
    file.write_bytes(mail.as_bytes())
    try:
        browser.open(f"{console}/mail?name={file.name}")
        assert HOSTILE in browser.text()
        browser.driver.switch_to.frame(browser.driver.find_element(By.TAG_NAME, "iframe"))
        assert "read me" in browser.text()
        browser.driver.switch_to.default_content()
        assert browser.run("return document.title").startswith("<script>")
    finally:
        file.unlink()


def test_a_link_to_a_receipt_opens_it_and_no_other_token_does(shop: Shop, browser: Browser) -> None:
    """The mailed link opens the PDF with the ledger's hash; with any single bit of the token changed, at the ends, in
    the middle or around the dot, the answer is 404."""
    subscriber = shop.subscribe()
    shop.renew(subscriber)
    (item,) = shop.ledger(subscriber)
    link = _receipt_link(shop, subscriber)
    browser.open(link)
    assert browser.shows_pdf() == item["receipt_sha256"]
    base, _, token = link.rpartition("/")
    dot, last = token.index("."), len(token) - 1
    opened = {}
    for place in (0, dot // 2, dot - 1, dot, dot + 1, (dot + last) // 2, last - 1, last):
        for bit in range(8):
            altered = bytearray(token.encode())
            altered[place] ^= 1 << bit
            opened[place, bit] = browser.open(f"{base}/{quote_from_bytes(bytes(altered), safe='')}")
    assert opened == dict.fromkeys(opened, 404)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_fit_a_phone_and_can_be_read_aloud(shop: Shop, console: str, browser: Browser, scheme: str) -> None:
    """No page is wider than a small phone. Every page names its language, has a single first-rank heading and skips no
    rank, and its words reach WCAG AA's contrast (4.5 to 1)."""
    subscriber = shop.subscribe(name="Maximiliane-Alexandra von der Wiesenthal-Hohenstein " * 3)
    shop.renew(subscriber)
    emulation = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", emulation)
    phone = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    mail = sorted(stack_mail.name for stack_mail in shop.stack.mail_folder.glob("[!.]*.eml"))[-1]
    for path in (
        "/",
        "/subscriptions",
        f"/subscription?id={subscriber.subscription_id}",
        "/mails",
        f"/mail?name={mail}",
    ):
        browser.open(console + path)
        assert browser.run("return [document.documentElement.scrollWidth, document.documentElement.lang]") == [
            360,
            "en",
        ]
        assert browser.run(_BEYOND) == []
        ranks = browser.run("return Array.from(document.querySelectorAll('h1,h2,h3,h4'), h => +h.tagName[1])")
        assert ranks.count(1) == 1
        assert all(after <= before + 1 for before, after in zip([0, *ranks], ranks, strict=False))
        assert browser.run(Path(__file__).with_name("contrast.js").read_text()) == []


def test_a_console_that_died_is_served_again(stack: Stack, console: str) -> None:
    """The stack runs without the console, and `make up` starts the console again."""
    running = json.loads((stack.folder / "running.json").read_text())
    (process,) = [process for process in running["processes"] if process["name"] == "console"]
    os.kill(process["pid"], signal.SIGKILL)
    wait_until(lambda: not alive(Process(**process)))
    assert stack.runs
    stack.serve_console()
    assert urllib3.request("GET", stack.outputs["ConsoleUrl"], timeout=10, retries=False).status == 200
    again = json.loads((stack.folder / "running.json").read_text())["processes"]
    assert len(again) == len(running["processes"])
