"""The sandbox gateway for the tests, and a receiver of its events."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any
from urllib.parse import urlencode, urlsplit

import stripe

from local import gateway
from local.gateway import DEFAULT_API_KEY, Gateway

SECRET = "whsec_sandbox"
"""The secret with which events are signed for the receiver."""


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


class Receiver:
    """A webhook that keeps the body and the signature of every request, and answers with `statuses`, then with 200."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests: list[tuple[str, str]] = []
        self.statuses: list[int] = []
        self.open = Event()
        self.open.set()

    def events(self, count: int, wait: float = 5.0) -> list[stripe.Event]:
        """Return the first `count` events, whose signatures the official SDK accepts."""
        eventually(lambda: len(self.requests) >= count, wait)
        return [stripe.Webhook.construct_event(body, signature, SECRET) for body, signature in self.requests]

    def types(self, count: int) -> list[str]:
        return [event.type for event in self.events(count)]


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Receive events on a free port of this machine until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            listening.requests.append((body, self.headers["Stripe-Signature"]))
            listening.open.wait(5)
            self.send_response(listening.statuses.pop(0) if listening.statuses else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listening = Receiver(f"http://127.0.0.1:{server.server_port}/gateway-events?from=stripe")
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield listening
    finally:
        listening.open.set()
        server.shutdown()
        server.server_close()


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
