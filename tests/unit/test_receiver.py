"""The receiver of docs/connect.md is run as the page shows the receiver."""

import json
import re
import socket
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest

from event_deliverer.posting import NotDelivered, post
from event_deliverer.signing import Signer
from tests.fake_receiver import SECRET
from tests.sandbox import eventually
from tests.streams import Json

PAGE = (Path(__file__).parents[2] / "docs/connect.md").read_text()


class _Secrets:
    def get_secret_value(self, **_: Any) -> Json:
        return {"SecretString": json.dumps({"signing": SECRET})}


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """Run the receiver of the page on a free port, and stop the receiver afterwards."""
    [source] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len([line for line in source.splitlines() if line.strip()]) <= 30
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    servers: list[ThreadingHTTPServer] = []
    serve = ThreadingHTTPServer.serve_forever

    def serve_and_note(server: ThreadingHTTPServer) -> None:
        servers.append(server)
        serve(server, 0.01)

    monkeypatch.setattr(boto3, "client", lambda _: _Secrets())
    monkeypatch.setattr(sys, "argv", ["receiver.py", "subscription-mgmt-events-local", str(port)])
    monkeypatch.setattr(ThreadingHTTPServer, "serve_forever", serve_and_note)
    monkeypatch.setattr("http.server.BaseHTTPRequestHandler.log_message", lambda *_: None)
    state: dict[str, Any] = {}
    thread = threading.Thread(target=exec, args=(compile(source, "receiver.py", "exec"), state), daemon=True)
    thread.start()
    assert eventually(lambda: bool(servers), 10)
    yield SimpleNamespace(url=f"http://127.0.0.1:{port}/events", state=state)
    servers[0].shutdown()
    servers[0].server_close()
    thread.join(5)


def _tell(receiver: SimpleNamespace, event_id: str, sequence: int, until: str, secret: Any = None) -> None:
    event = {"id": event_id, "type": "renewal.paid", "subscription_id": "sub_1", "sequence": sequence}
    body = json.dumps(event | {"entitled_until": until, "data": {}})
    secrets: Any = secret or _Secrets()
    signer = Signer(secrets, "arn")
    post(receiver.url, body.encode(), signer.headers(event_id, body, datetime.now(UTC)), may_be_local=True)


def test_the_receiver_of_the_page_handles_each_event_once(receiver: SimpleNamespace) -> None:
    """The receiver takes signed events in any order and repetition, and keeps the entitlement of the latest."""
    for event_id, sequence, until in [
        ("evt_2", 2, "2026-03-31"),
        ("evt_1", 1, "2026-02-28"),
        ("evt_2", 2, "2026-03-31"),
    ]:
        _tell(receiver, event_id, sequence, until)
    assert receiver.state["seen"] == {"evt_1", "evt_2"}
    assert receiver.state["standing"] == {"sub_1": (2, "2026-03-31")}


def test_the_receiver_of_the_page_refuses_a_forged_event(receiver: SimpleNamespace) -> None:
    """An event that was signed with another secret is refused, and changes nothing."""
    forger = SimpleNamespace(get_secret_value=lambda **_: {"SecretString": json.dumps({"signing": "whsec_Zm9yZ2Vk"})})
    with pytest.raises(NotDelivered, match=r"^status_400$"):
        _tell(receiver, "evt_forged", 9, "2099-01-01", forger)
    assert receiver.state["seen"] == set()
