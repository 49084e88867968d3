"""The console's pages as people see them on a phone and on a desktop, in a real headless browser."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from local.console import gallery, pages
from local.console.gallery import Gallery
from local.stack import StackError
from tests.browser import NEEDS_CHROMIUM, chromium, resize
from tests.fakes import World
from tests.unit.test_console import MAIL, Browser, _deliver, browser, look

__all__ = ["browser", "look"]

pytestmark = NEEDS_CHROMIUM


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> World:
    """A world in memory, instead of the shop on a stack."""
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "test")
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "test")
    return World()


def test_nothing_lies_beyond_the_edge_of_a_phone(
    shop: World, browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a width of 390 pixels every amount, date, badge and sample is seen without scrolling sideways."""
    monkeypatch.setattr(Gallery, "look", lambda _, locale: list(gallery.samples(locale)))  # in this process
    now = datetime.now(UTC)
    shop.subscribe(renewal_date=now.date().isoformat(), customer_name="Maximiliane-Alexandra von der Wiesenthal " * 2)
    shop.run(now=now)
    shop.subscribe(subscription_id="sub_" + "x" * 60, amount=Decimal("99999999.99"), customer_name="Ann Lee")
    shop.subscribe(subscription_id="sub_bad", amount=Decimal(-1), status="past_due")
    _deliver(shop, tmp_path)
    style = (Path(pages.__file__).parent / "static/console.css").read_text()
    beyond = {}
    with chromium(tmp_path / "home") as driver:
        for number, target in enumerate(
            ("/", "/subscriptions", "/subscription?id=sub_1", "/mails", f"/mail?name={MAIL}", "/gallery?kind=mails")
        ):
            file = tmp_path / f"{number}.html"
            file.write_text(browser(target).text.replace("</head>", f"<style>{style}</style></head>"))
            for width in (390, 1280):
                resize(driver, width)
                driver.get(file.as_uri())
                found = driver.execute_script(_BEYOND, width)
                if found != [True, []]:
                    beyond[target, width] = found
    assert beyond == {}


def test_a_new_process_makes_the_samples_of_the_gallery(shop: World, browser: Browser) -> None:
    """The gallery asks no stack, and shows what a new process has made: frames that run and load nothing."""
    browser.now = StackError("no stack runs")
    page = browser("/gallery?locale=de&kind=mails").text
    assert page.count("<iframe") == page.count('src="/gallery/sample?locale=de&amp;name=') > 0
    shown = browser("/gallery/sample?locale=de&name=receipt")
    assert 'lang="de"' in shown.text
    assert shown.headers["content-security-policy"].startswith("sandbox; default-src 'none'; style-src")
    assert browser("/gallery/sample?locale=de&name=refund_pdf").headers["content-type"] == "application/pdf"


_BEYOND = """
const width = arguments[0];  // a phone's own innerWidth grows with a page that is too wide for it
const all = Array.from(document.querySelectorAll("main td, main li, main dd, main .badge, main time, main iframe"));
const beyond = all.filter(each => each.getBoundingClientRect().right > width).map(each => each.innerText);
return [document.documentElement.scrollWidth <= width, beyond];
"""
