"""Every page of the customer page in each language, as people see the pages on a phone, in a real headless browser."""

from collections.abc import Iterator
from functools import cache

import pytest
from selenium.webdriver import Chrome

from renewals.language.tags import LANGUAGES
from scripts.page_samples import samples
from tests import axe
from tests.browser import NEEDS_CHROMIUM, chromium, empty_page, emulate, resize

pytestmark = NEEDS_CHROMIUM

ZOOMED = 320
"""The width in CSS pixels of a window of 1,280 pixels at 400 % zoom."""
LONG = {"plan": "W" * 120, "customer_name": "Maximiliane-Alexandra von der Wiesenthal-Hohenstein"}


@cache
def _pages(tag: str) -> dict[str, str]:
    """Return each page in a language, by name."""
    return {each.name: each.html for each in samples(tag)}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with chromium(tmp_path_factory.mktemp("browser")) as running:
        yield running


@pytest.mark.parametrize(("tag", "scheme"), [("en", "light"), ("en", "dark"), ("ar", "light")])
def test_axe_finds_nothing_on_any_page(browser: Chrome, tag: str, scheme: str) -> None:
    """axe-core finds nothing on any page, in light and in dark colors, from left to right and from right to left."""
    resize(browser, 390)
    assert axe.faults_of(browser, _pages(tag), scheme) == {}


def test_axe_finds_planted_faults(browser: Chrome) -> None:
    """A text without contrast, a field without a label and a page without a language are found: axe-core judges these
    pages."""
    page = _pages("en")["link"]
    planted = {
        "pale": page.replace("--quiet: #575757", "--quiet: #aaaaaa"),
        "no label": page.replace("</main>", '<input name="address"></main>'),
        "no language": page.replace('<html lang="en"', "<html"),
    }
    found = axe.faults_of(browser, planted, "light")
    rules = {name: [fault.partition(":")[0] for fault in faults] for name, faults in found.items()}
    assert rules == {"pale": ["color-contrast"], "no label": ["label"], "no language": ["html-has-lang"]}


@pytest.mark.parametrize("width", [390, ZOOMED])
@pytest.mark.parametrize("tag", LANGUAGES)
def test_every_page_fits_a_phone_in_every_language(browser: Chrome, tag: str, width: int) -> None:
    """On a phone and at 400 % zoom, in each language: nothing is wider than the window, no amount is broken over two
    lines, no words of a choice stand under the choice's circle, each button is 44 pixels high or more, all words have
    contrast, and each page has one main heading, which runs in the direction of the language. A long name of a plan
    changes nothing of this."""
    pages = _pages(tag) | {f"long {each.name}": each.html for each in samples(tag, **LONG) if "overview" in each.title}
    assert _measured(browser, pages, width) == {}


def test_all_words_have_contrast_in_dark_colors(browser: Chrome) -> None:
    """In dark colors all words of every page stand out from their background."""
    assert _measured(browser, _pages("ar"), 390, "dark") == {}


def test_pages_that_do_not_fit_are_noticed(browser: Chrome) -> None:
    """Planted faults are found: a line that is too wide, a broken amount, a low button, a pale word, a second heading,
    a heading in the other direction, and words under a choice's circle."""
    page = _pages("en")["active"]
    planted = {
        "wide": page.replace("<h1>", '<h1 style="white-space:nowrap;font-size:9rem">'),
        "broken": page.replace(
            'class="whole"', 'class="whole" style="display:inline;white-space:normal;font-size:6rem"'
        ),
        "low": page.replace("min-height: 2.75rem", "").replace("padding: .55rem 1.1rem", "padding: 0"),
        "faint": page.replace("--quiet: #575757", "--quiet: #aaaaaa"),
        "headings": page.replace("<main>", "<main><h1>Two</h1>"),
        "side": page.replace("<h1>", '<h1 dir="rtl">'),
        "under": _pages("de")["cancellation_form"].replace("display: flex; gap: .5rem; ", ""),
    }
    found = _measured(browser, planted, ZOOMED)
    assert {name for name in planted if f"{name} {name}" in found} == planted.keys()


def _measured(browser: Chrome, pages: dict[str, str], width: int, scheme: str = "light") -> dict[str, list[str]]:
    """Return the faults of pages, by the page's name and the kind of fault."""
    resize(browser, width)
    emulate(browser, scheme)
    empty_page(browser)
    found: dict[str, list[str]] = browser.execute_script(_MEASURED % axe.FAINT, list(pages.items()), width)
    return found


_MEASURED = """
const faint = () => { %s };
const [pages, width] = arguments, faults = {};
for (const [name, html] of pages) {
  const next = new DOMParser().parseFromString(html, "text/html").documentElement;
  document.replaceChild(document.adoptNode(next), document.documentElement);
  const box = (each) => each.getBoundingClientRect();
  const words = (found) => Array.from(found).map((each) => each.textContent.trim().slice(0, 60));
  const all = Array.from(document.querySelectorAll("body *"));
  const found = {
    wide: document.documentElement.scrollWidth > width ? [document.documentElement.scrollWidth] : [],
    beyond: words(all.filter((each) => box(each).right > width + 0.5 || box(each).left < -0.5)),
    broken: words(all.filter((each) => each.matches(".whole") && each.getClientRects().length > 1)),
    under: words(all.filter((each) => each.matches("input[type=radio] + span")
      && box(each).left < box(each.previousElementSibling).right
      && box(each).right > box(each.previousElementSibling).left)),
    low: words(all.filter((each) => each.matches("button, .button") && box(each).height < 44)),
    faint: faint(),
    headings: document.querySelectorAll("h1").length === 1 ? [] : words(document.querySelectorAll("h1")),
    side: getComputedStyle(document.querySelector("h1")).direction === document.documentElement.dir ? [] : ["other"],
  };
  for (const [kind, here] of Object.entries(found)) if (here.length) faults[`${name} ${kind}`] = here;
}
return faults;
"""
