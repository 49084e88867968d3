"""axe-core, which finds what keeps people with disabilities from using a page, in the browser of the tests.

The page's policy does not stop axe-core: WebDriver runs scripts beside the page. axe-core does not judge the contrast
of Arabic words, and `FAINT` judges the contrast of all words.
"""

import shutil
import subprocess
import warnings
from functools import cache
from pathlib import Path

import pytest
from selenium.webdriver import Chrome

from tests.browser import empty_page, emulate

ROOT = Path(__file__).parents[1]
FAINT = (ROOT / "tests/integration/contrast.js").read_text()
_SECONDS = 120
_RUN = """
const [pages, done] = arguments;
async function found() {
  const result = await axe.run(document, {resultTypes: ["violations"], preload: false});
  return result.violations.map((each) => `${each.id}: ${each.nodes.map((node) => node.html).join(" ")}`);
}
async function all() {
  if (!pages) return found();
  const faults = {};
  for (const [name, html] of pages) {
    const next = new DOMParser().parseFromString(html, "text/html").documentElement;
    document.replaceChild(document.adoptNode(next), document.documentElement);
    const here = await found();
    if (here.length) faults[name] = here;
  }
  return faults;
}
all().then(done, (error) => done(`axe-core failed: ${error}`));
"""


@cache
def _missing() -> str:
    """Install the program, as package-lock.json locks the program, and return why npm could not; empty otherwise.
    `make check`, which installs from the same lock, fails where npm fails."""
    make, npm = shutil.which("make"), shutil.which("npm")
    if make is None or npm is None:
        return "needs npm on PATH, for axe-core"
    command = [make, "--silent", "--no-print-directory", "node_modules/.made"]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=_SECONDS, check=False)
    return f"npm could not install axe-core: {made.stderr[-300:]}" if made.returncode else ""


def faults(browser: Chrome) -> list[str]:
    """Return what axe-core finds on the present page, in light and in dark colors. Without axe-core, a warning says so,
    and the test goes on."""
    if _missing():
        warnings.warn(_missing(), stacklevel=2)
        return []
    _begin(browser)
    found: list[str] = []
    for scheme in ("light", "dark"):
        emulate(browser, scheme)
        here = browser.execute_async_script(_RUN, None)
        found += [f"{scheme}: {each}" for each in here] if isinstance(here, list) else [here]
    emulate(browser, "light")
    return found


def faults_of(browser: Chrome, pages: dict[str, str], scheme: str) -> dict[str, list[str]]:
    """Return what axe-core finds on many pages, by name. The pages replace the present page. Without axe-core, the test
    is skipped.

    Args:
        browser: the browser.
        pages: name to HTML.
        scheme: light or dark.
    """
    if _missing():
        pytest.skip(_missing())
    empty_page(browser)
    _begin(browser)
    emulate(browser, scheme)
    found: dict[str, list[str]] = browser.execute_async_script(_RUN, list(pages.items()))
    return found


def _begin(browser: Chrome) -> None:
    browser.set_script_timeout(_SECONDS)
    browser.execute_script((ROOT / "node_modules/axe-core/axe.min.js").read_text())
