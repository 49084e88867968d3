"""Chromium without a window, for pages as people see them."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

_CHROMIUM, _DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
NEEDS_CHROMIUM = pytest.mark.skipif(
    not (_CHROMIUM and _DRIVER), reason="needs chromium and chromedriver on PATH (apt-get install chromium-driver)"
)


@contextmanager
def chromium(home: Path) -> Iterator[Chrome]:
    """Run a browser that reaches only this machine. home: the browser's folder."""
    options = Options()
    options.binary_location = str(_CHROMIUM)
    options.add_argument("--headless=new")
    options.add_argument("--window-size=1200,900")
    options.add_argument("--disable-dev-shm-usage")  # /dev/shm of a container is small
    # The APIs of the local stack have host names of their own, which end in localhost.
    options.add_argument(
        "--host-resolver-rules=MAP *.execute-api.localhost 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
    )
    options.add_argument(f"--user-data-dir={home}")
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # Chromium's sandbox does not run as root
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = Service(str(_DRIVER), env=os.environ | {"HOME": str(home)})
    with Chrome(options=options, service=service) as running:
        running.set_page_load_timeout(30)
        yield running


def resize(browser: Chrome, width: int) -> None:
    """Make the page as wide as a device with `width` CSS pixels; a device below 600 pixels is a phone."""
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def emulate(browser: Chrome, scheme: str) -> None:
    """Show pages as on a device whose owner prefers light or dark colors. scheme: light or dark."""
    prefers = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": prefers})


def allow_scripts(browser: Chrome, *, allowed: bool) -> None:
    """Let pages run scripts, or not. The tests' own scripts run either way, but without timers where pages may run
    no scripts."""
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not allowed})


def empty_page(browser: Chrome) -> None:
    """Open a page without content, in the mode of today's standards, for a test that puts its own pages there."""
    browser.get("data:text/html,<!doctype html>")
