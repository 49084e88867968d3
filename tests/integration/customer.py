"""A customer at a real browser: without scripts, by keyboard alone, on a phone."""

import json
import re
from pathlib import Path

from selenium.common.exceptions import WebDriverException
from selenium.webdriver import Chrome
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from tests import axe
from tests.browser import allow_scripts, resize
from tests.integration.shop import Shop, Subscriber, wait_until

PHONE, ZOOMED, DESKTOP = 390, 320, 1280
"""Widths in CSS pixels. ZOOMED is the width of a window of 1,280 pixels at 400 % zoom."""
_SECONDS = 20
_MOST_TABS = 40
_LINK = r'href="(http://127\.0\.0\.1:\d+/_local/account/link/[\w.-]+)"'
_FOCUSED = """
const at = document.activeElement, style = getComputedStyle(at);
const shown = at.closest("label") ?? at;
return [at.type === "radio" ? "radio" : shown.innerText.trim(), parseFloat(style.outlineWidth) > 0];
"""


class Customer:
    """A customer at a browser that runs no scripts. pictures: the folder for a picture of each page looked at."""

    def __init__(self, shop: Shop, browser: Chrome, pictures: Path) -> None:
        self.shop = shop
        self.browser = browser
        self.pictures = pictures
        browser.delete_all_cookies()
        browser.get_log("browser")  # type: ignore[no-untyped-call]  # what earlier tests have logged
        allow_scripts(browser, allowed=False)
        resize(browser, PHONE)

    # Acting

    def link(self, subscriber: Subscriber) -> str:
        """Return the link of the customer's latest mail."""
        page = self.shop.mails(subscriber)[-1].get_body(("html",))
        assert page is not None
        found = re.search(_LINK, page.get_content())
        assert found is not None
        return found[1]

    def sign_in(self, subscriber: Subscriber) -> None:
        """Open the link of the latest mail, and press the button of its page."""
        self.browser.get(self.link(subscriber))
        self.press("Continue")
        assert self.browser.current_url.endswith("/prod/account/overview")

    def press(self, label: str) -> None:
        """Reach a button or a link by the tab key, see that the focus is shown, press the enter key, and wait for the
        next page."""
        here = self._page()
        self._focus(label)
        self._keys(Keys.ENTER)
        waiting = WebDriverWait(self.browser, _SECONDS, 0.1, ignored_exceptions=[WebDriverException])
        waiting.until(lambda _: self._page() != here)
        waiting.until(lambda now: now.find_elements(By.TAG_NAME, "h1"))

    def choose_card(self, number: int) -> None:
        """Choose a card of the gateway's page by its place in the list, with the arrow keys."""
        self._focus("radio")
        for _ in range(number):
            self._keys(Keys.ARROW_DOWN)

    def save_card(self, number: int = 0) -> None:
        """Save a card on the gateway's page, which sends the browser back to ours."""
        assert self.browser.current_url.startswith(self.shop.stack.gateway_url)
        self.choose_card(number)
        self.press("Save card")

    # Looking

    @property
    def text(self) -> str:
        """The words of the page."""
        return self.browser.find_element(By.TAG_NAME, "main").text

    def look(self, name: str) -> None:
        """Check the present page: on a phone, at 400 % zoom and on a desktop nothing is wider than the window, one
        heading stands on top, each button is 44 pixels high or more, no script runs, and axe-core finds
        nothing."""
        run = self.browser.execute_script
        for width in (DESKTOP, ZOOMED, PHONE):
            resize(self.browser, width)
            assert run("return document.documentElement.scrollWidth") <= width, (name, width)
        self.browser.save_screenshot(str(self.pictures / f"{name}.png"))
        assert run("return matchMedia('(scripting: none)').matches")
        assert len(self.browser.find_elements(By.TAG_NAME, "h1")) == 1
        assert run("return document.documentElement.lang") == "en"
        buttons = self.browser.find_elements(By.CSS_SELECTOR, "button, .button")
        assert [each.text for each in buttons if each.size["height"] < 44] == [], name
        allow_scripts(self.browser, allowed=True)  # axe-core waits by timers
        faults = axe.faults(self.browser)
        assert faults == [], name
        allow_scripts(self.browser, allowed=False)

    def has_met_no_violation(self) -> None:
        """Assert that no page since the beginning went against its policy."""
        assert "Content Security Policy" not in json.dumps(self.browser.get_log("browser"))  # type: ignore[no-untyped-call]

    def wait_for_mail(self, subscriber: Subscriber, subject: str, *, seconds: float = 30) -> None:
        """Wait until a mail with these words in its subject has come."""
        wait_until(
            lambda: any(subject in str(mail["Subject"]) for mail in self.shop.mails(subscriber)), seconds=seconds
        )

    def _page(self) -> str:
        return str(self.browser.find_element(By.TAG_NAME, "html").id)

    def _focus(self, label: str) -> None:
        seen = []
        for _ in range(_MOST_TABS):
            self._keys(Keys.TAB)
            focused, is_shown = self.browser.execute_script(_FOCUSED)
            if focused == label:
                assert is_shown, f"the focus on {label} is not shown"
                return
            seen.append(focused)
        raise AssertionError(f"the tab key does not reach {label}: {seen}")

    def _keys(self, key: str) -> None:
        ActionChains(self.browser, duration=0).send_keys(key).perform()
