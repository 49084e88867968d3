"""The sandbox gateway for the tests."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from threading import Thread
from urllib.parse import urlencode, urlsplit

from local import gateway
from local.gateway import DEFAULT_API_KEY, Gateway


@contextmanager
def serving(api_key: str = DEFAULT_API_KEY) -> Iterator[Gateway]:
    """Run a sandbox gateway until the block ends. The gateway needs a fifth of a second to end: the next test runs
    meanwhile."""
    served = gateway.serving(api_key)
    try:
        yield served.__enter__()
    finally:
        Thread(target=served.__exit__, args=(None, None, None), name="gateway ends", daemon=True).start()


def eventually(condition: Callable[[], bool], seconds: float = 5) -> bool:
    """Wait until the condition holds, for so many seconds at most. Returns whether it holds."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


@dataclass
class Answered:
    """An answer to a browser. to: where the browser is sent."""

    status: int
    text: str
    to: str


def visit(url: str, act: str | None = None, **more: str) -> Answered:
    """GET the page, or press the button `act` in the page's form."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.netloc, timeout=10)
    form = None if act is None else urlencode({"act": act, **more})
    headers = {"Content-Type": "application/x-www-form-urlencoded"} if form else {}
    connection.request("GET" if form is None else "POST", parts.path, form, headers)
    response = connection.getresponse()
    answered = Answered(response.status, response.read().decode(), response.headers.get("Location", ""))
    connection.close()
    return answered
