"""An application that hears the events of the local stack, as the receiver in docs/connect.md does: the application
checks each signature, handles each event once, and keeps the latest status and entitlement of each subscription.
"""

import json
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from standardwebhooks import Webhook, WebhookVerificationError

from local.stack import Stack

type Event = dict[str, Any]


@dataclass
class Heard:
    """What the application knows of one subscription.

    Attributes:
        events: each event once, in the order of hearing.
        status: the status in the `subscription.*` event with the highest sequence; None without such an event.
        entitled_until: from the event with the highest sequence.
    """

    events: list[Event] = field(default_factory=list)
    status: str | None = None
    entitled_until: str | None = None
    _latest: int = 0
    _latest_status: int = 0

    def take(self, event: Event) -> None:
        """Handle an event that was not heard before."""
        self.events.append(event)
        if event["sequence"] >= self._latest:
            self._latest, self.entitled_until = event["sequence"], event["entitled_until"]
        if event["type"].startswith("subscription.") and event["sequence"] >= self._latest_status:
            self._latest_status, self.status = event["sequence"], event["data"]["status"]


class Receiver:
    """The application, on a port of this machine. Used as a context manager.

    Args:
        port: a free port.
        says: called with each event that the application has not heard before.

    Attributes:
        url: the address for the parameter `EventsUrl`.
        is_down: while true, every request is answered 500.
        heard: by subscription.
        times: how often each event was heard, by the event's id.
        refused: the number of requests that were answered 500.
    """

    def __init__(self, port: int, says: Callable[[Event], None] = lambda _: None) -> None:
        self.url = f"http://127.0.0.1:{port}/events"
        self.is_down = False
        self.heard: dict[str, Heard] = {}
        self.times: Counter[str] = Counter()
        self.refused = 0
        self._says = says
        self._webhook: Webhook | None = None
        self._lock = threading.Lock()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(receiver._answer(body, dict(self.headers.items())))
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Write nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def listen_to(self, stack: Stack) -> None:
        """Read the secret with which a deployed stack signs its events. Until then the application answers 500."""
        store, place = stack.client("secretsmanager"), stack.outputs["EventsSecretArn"]
        secret = json.loads(store.get_secret_value(SecretId=place)["SecretString"])
        self._webhook = Webhook(secret["signing"])

    def _answer(self, body: bytes, headers: dict[str, str]) -> int:
        with self._lock:
            if self.is_down or self._webhook is None:
                self.refused += 1
                return 500
            try:
                event: Event = self._webhook.verify(body, headers)
            except WebhookVerificationError:
                return 400
            self.times[event["id"]] += 1
            if self.times[event["id"]] == 1:
                self.heard.setdefault(event["subscription_id"], Heard()).take(event)
                self._says(event)
            return 204
