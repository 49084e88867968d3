"""EventDeliverer posts an event until the receiver takes the event, with a new signature at each try.

Nothing is posted to an address inside: an address of the machine, of a private network or of AWS's metadata.
"""

import io
import json
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from event_deliverer import app, posting
from event_deliverer.posting import NotDelivered, is_outside, post
from event_deliverer.tries import WAITS
from renewals.runtime import aws, telemetry
from tests.cuts import Cut, Cuts
from tests.fake_aws import error, wire
from tests.fake_receiver import SECRET, Clock, DelayQueue, Receiver, WaitingTable
from tests.shares import share
from tests.streams import Json

START = datetime(2026, 1, 31, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
EVENTS = Path(__file__).parents[2] / "events"
SETTINGS = {
    "EVENTS_URL": "https://app.example/events",
    "EVENTS_SECRET_ARN": "arn:secret",
    "DELIVERIES_QUEUE_URL": "https://sqs/deliveries",
    "DELIVERIES_TABLE": "deliveries",
    "EVENTS_DEAD_LETTERS_URL": "https://sqs/dead",
}


class _Now:
    """Stands for the class datetime in the function."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def now(self, _zone: object) -> datetime:
        return self._clock.now


class _Secrets:
    def __init__(self) -> None:
        self.value: Json = {"signing": SECRET}
        self.fails = False

    def get_secret_value(self, **_: Any) -> Json:
        if self.fails:
            raise error("AccessDeniedException", "GetSecretValue")
        return {"SecretString": json.dumps(self.value)}


class Deliverer:
    """The deployed function over a queue, a table, a receiver and a clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cuts, self.clock = Cuts(), Clock(START)
        self.receiver = Receiver(self.clock, self.cuts)
        self.queue = DelayQueue(self.clock, self.cuts, SETTINGS["EVENTS_DEAD_LETTERS_URL"])
        self.table = WaitingTable(self.cuts)
        self.secrets = _Secrets()
        for name, value in SETTINGS.items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
        monkeypatch.setattr(app, "datetime", _Now(self.clock))
        monkeypatch.setattr(app, "post", self.receiver.post)
        monkeypatch.setattr(aws, "sqs", lambda: self.queue)
        monkeypatch.setattr(aws, "dynamodb", lambda: self.table)
        monkeypatch.setattr(aws, "secrets_manager", lambda: self.secrets)
        monkeypatch.setattr(telemetry, "count", lambda *_: None)
        for name in ("_waiting", "_signer"):
            monkeypatch.setattr(app, name, cache(getattr(app, name).__wrapped__))

    def tell(self, *ids: str) -> None:
        """Put events on the queue, as EventPublisher does."""
        for each in ids:
            event = json.dumps({"id": each, "type": "renewal.paid"})
            message = json.dumps({"event": event, "failed": 0})
            self.queue.send_message(QueueUrl=SETTINGS["DELIVERIES_QUEUE_URL"], MessageBody=message, DelaySeconds=0)

    def run(self, span: timedelta, step: timedelta = timedelta(minutes=1)) -> None:
        """Let time pass: Lambda delivers the visible messages, and after each step the schedule calls the function."""
        end = self.clock.now + span
        while True:
            while batch := self.queue.visible(3):
                self._deliver(batch)
            if self.clock.now >= end:
                return
            self.clock.now += step
            self._call({"deliveries": "due"})

    def _deliver(self, batch: list[tuple[str, str]]) -> None:
        records = [{"messageId": name, "body": body} for name, body in batch]
        reply = self._call({"Records": records})
        failed = {name for name, _ in batch} if reply is None else {
            each["itemIdentifier"] for each in reply["batchItemFailures"]
        }  # fmt: skip
        for name, _ in batch:
            if name in failed:  # hidden for the visibility timeout
                self.queue.hide(name, self.clock.now + timedelta(seconds=360))
            else:
                del self.queue.messages[name]

    def _call(self, event: Json) -> Json | None:
        try:
            return app.handler(event, None)
        except Cut:
            return None

    @property
    def heard(self) -> list[str]:
        return [event["id"] for event in self.receiver.heard]


@pytest.fixture
def deliverer(monkeypatch: pytest.MonkeyPatch) -> Deliverer:
    return Deliverer(monkeypatch)


def test_an_event_is_posted_once_and_nothing_is_left(deliverer: Deliverer) -> None:
    """An event that the receiver takes is posted once; queue, table and dead letters are empty."""
    deliverer.tell("evt_1", "evt_2")
    deliverer.run(HOUR)
    assert deliverer.heard == ["evt_1", "evt_2"]
    assert (deliverer.queue.messages, deliverer.table.items, deliverer.queue.dead) == ({}, {}, [])


def test_the_tries_follow_the_schedule_and_end_in_the_dead_letter_queue(deliverer: Deliverer) -> None:
    """A receiver that never takes the event hears eight tries, each with a new signature. The waits between the tries
    are the waits in WAITS. After the eighth try the event lies in the dead-letter queue."""
    deliverer.receiver.answers = lambda _: "status_500"
    deliverer.tell("evt_1")
    deliverer.run(timedelta(hours=45))
    moments = [at for at, _ in deliverer.receiver.tries]
    waits = [later - earlier for earlier, later in pairwise(moments)]
    assert len(waits) == len(WAITS)
    assert all(timedelta(0) <= waited - wait <= timedelta(minutes=2) for waited, wait in zip(waits, WAITS, strict=True))
    assert deliverer.heard == []
    assert [json.loads(json.loads(body)["event"])["id"] for body in deliverer.queue.dead] == ["evt_1"]
    assert (deliverer.queue.messages, deliverer.table.items) == ({}, {})


def test_a_dead_letter_that_is_moved_back_is_tried_once_more(deliverer: Deliverer) -> None:
    """A dead letter has the form of a message of the deliveries queue. When an operator moves a dead letter back into
    that queue, the event is posted again."""
    deliverer.receiver.answers = lambda _: "status_500"
    deliverer.tell("evt_1")
    deliverer.run(timedelta(hours=45))
    deliverer.receiver.answers = lambda _: None
    [body] = deliverer.queue.dead
    deliverer.queue.send_message(QueueUrl=SETTINGS["DELIVERIES_QUEUE_URL"], MessageBody=body, DelaySeconds=0)
    deliverer.run(HOUR)
    assert deliverer.heard == ["evt_1"]


@pytest.mark.parametrize("events", share([40, 2_000], of=2))
@pytest.mark.parametrize("trouble", ["status_500", "timed_out", "heard_but_slow"])
def test_a_receiver_that_is_down_for_two_days_misses_nothing(deliverer: Deliverer, events: int, trouble: str) -> None:
    """The receiver answers 500, answers not at all, or answers too late for 40 hours: no event is lost, and in the end
    the receiver has received every event."""
    back = START + timedelta(hours=40)
    deliverer.receiver.answers = lambda now: None if now >= back else trouble
    ids = [f"evt_{n}" for n in range(events)]
    deliverer.tell(*ids)
    deliverer.run(timedelta(hours=48), step=timedelta(minutes=5))
    assert set(deliverer.heard) == set(ids)
    assert deliverer.queue.dead == []


def test_a_function_that_ends_at_any_call_loses_nothing(deliverer: Deliverer) -> None:
    """Three events fail three times each, wait in the queue and in the table, and the process ends once, before or
    after any call but the later queries that find no due try: the receiver hears each event in the end."""
    back = START + timedelta(minutes=20)
    deliverer.receiver.answers = lambda now: None if now >= back else "status_500"

    def live(cut: int | None) -> list[str]:
        """Deliver three events, and return the names of the calls."""
        deliverer.clock.now = START
        deliverer.receiver.heard.clear()
        deliverer.tell("evt_1", "evt_2", "evt_3")
        deliverer.cuts.calls.clear()
        deliverer.cuts.at = cut
        deliverer.run(HOUR)
        assert set(deliverer.heard) == {"evt_1", "evt_2", "evt_3"}, cut
        ended.append(deliverer.cuts.at is None)
        deliverer.cuts.at = None
        return list(deliverer.cuts.calls)

    ended: list[bool] = []
    calls = live(None)
    kept, gone = (next(n for n, name in enumerate(calls) if verb in name) for verb in ("PutItem", "DeleteItem"))
    assert 0 < kept < gone
    cut = [n for n, name in enumerate(calls) if "Query" not in name or calls[n + 1 : n + 2] != [name]]
    for number in cut:
        live(2 * number)
        live(2 * number + 1)
    # Fewer runs are cut off: a post that the receiver refuses raises an exception, and tests.cuts has no moment after a
    # call that raised an exception.
    assert sum(ended) > 1.5 * len(cut)


@pytest.mark.parametrize(
    "body",
    [
        *("", "[]", "{}", '{"event": "{}"}', '{"event": "[]"}', '{"event": "{}", "failed": "x"}'),
        json.dumps({"event": json.dumps({"id": "evt_2"}), "failed": -8}),
        json.dumps({"event": "[" * 100_000, "failed": 0}),
    ],
    ids=lambda body: body[:20],
)
def test_a_message_of_another_form_fails_alone(deliverer: Deliverer, body: str) -> None:
    """A message that somebody put into the queue by hand is reported, and the events beside it are posted once."""
    good = json.dumps({"event": json.dumps({"id": "evt_1", "type": "renewal.paid"}), "failed": 0})
    records = [{"messageId": "m-odd", "body": body}, {"messageId": "m-good", "body": good}]
    assert app.handler({"Records": records}, None) == {"batchItemFailures": [{"itemIdentifier": "m-odd"}]}
    assert [event["id"] for event in deliverer.receiver.heard] == ["evt_1"]


@pytest.mark.parametrize(
    "odd",
    [{}, {"message": "none"}, {"message": b"\x00"}, {"message": json.dumps({"event": "{}", "failed": -1}), "n": 1}],
    ids=str,
)
def test_an_item_that_is_no_try_does_not_hold_up_the_tries_behind(deliverer: Deliverer, odd: Json) -> None:
    """An item that somebody wrote into the table of waiting tries by hand goes whole into the dead-letter queue, and
    the tries behind the item are made at their time."""
    back = START + timedelta(minutes=20)
    deliverer.receiver.answers = lambda now: None if now >= back else "status_500"
    deliverer.tell("evt_1", "evt_2")
    deliverer.run(timedelta(minutes=20))
    for shard in {shard for shard, _ in deliverer.table.items}:
        deliverer.table.put_item(Item=wire({"shard": shard, "due": "2026"} | odd))
    deliverer.run(HOUR)
    assert sorted(deliverer.heard) == ["evt_1", "evt_2"]
    assert not deliverer.table.items
    assert {json.loads(body)["due"] for body in deliverer.queue.dead} == {"2026"}


def test_a_secret_that_cannot_be_read_is_no_failed_try(deliverer: Deliverer) -> None:
    """While the secret cannot be read, nothing is posted, the message comes back from the queue, and no try is used
    up."""
    deliverer.secrets.fails = True
    deliverer.tell("evt_1")
    deliverer.run(timedelta(minutes=5))
    assert deliverer.receiver.tries == []
    deliverer.secrets.fails = False
    deliverer.run(timedelta(minutes=10))
    assert deliverer.heard == ["evt_1"]


@pytest.mark.parametrize("known", [SECRET, "whsec_" + "bmV3a2V5" * 5])
def test_while_a_secret_is_rotated_both_signatures_are_sent(deliverer: Deliverer, known: str) -> None:
    """During a rotation, a receiver with the old secret and a receiver with the new secret both find a good
    signature."""
    deliverer.secrets.value = {"signing": "whsec_" + "bmV3a2V5" * 5, "previous": SECRET}
    deliverer.receiver.secret = known
    deliverer.tell("evt_1")
    deliverer.run(HOUR)
    assert deliverer.heard == ["evt_1"]


def test_the_sample_event_is_posted(deliverer: Deliverer) -> None:
    """The sample in events/ has the form in which Lambda delivers a batch of the queue, and the sample is posted."""
    sample = json.loads((EVENTS / "event_deliverer.json").read_text())
    assert app.handler(sample, None) == {"batchItemFailures": []}
    assert [event["type"] for event in deliverer.receiver.heard] == ["renewal.paid"]


# --- where events are posted to --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    """127.0.0.1 10.1.2.3 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 0.0.0.0 255.255.255.255 224.0.0.1 198.18.0.1
       192.0.2.1 ::1 :: fe80::1 fc00::1 fd00:ec2::254 ff02::1 ::ffff:127.0.0.1 ::ffff:169.254.169.254 64:ff9b::a00:1
       64:ff9b:1::a00:1 2002:7f00:1::""".split(),
)
def test_an_address_inside_is_known(address: str) -> None:
    """Addresses of the machine, of private networks, of AWS's metadata and of reserved ranges are inside, and so are
    IPv6 addresses that stand for such an IPv4 address."""
    assert not is_outside(ip_address(address))


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "::ffff:93.184.215.14"])
def test_an_address_of_the_internet_is_outside(address: str) -> None:
    """Addresses of hosts in the internet are allowed."""
    assert is_outside(ip_address(address))


def _resolves(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[object]:
    """Have each look-up of a host give the next answer. Return a list to which every look-up will add the host."""
    asked: list[object] = []

    def look_up(host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        answer = answers[min(len(asked), len(answers) - 1)]
        asked.append(host)
        return [
            (socket.AF_INET6 if ":" in each else socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port))
            for each in answer
        ]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return asked


@pytest.mark.parametrize("found", [["169.254.169.254"], ["93.184.215.14", "10.0.0.1"], ["::ffff:10.0.0.1"], []])
def test_a_host_with_an_address_inside_gets_nothing(monkeypatch: pytest.MonkeyPatch, found: list[str]) -> None:
    """A host gets no connection if any address of the host is inside, or if the host has no address."""
    _resolves(monkeypatch, found)
    monkeypatch.setattr(posting, "connected", lambda *_: pytest.fail("connected"))
    with pytest.raises(NotDelivered, match=r"^(address_inside|no_address)$"):
        post("https://app.example/events", b"{}", {})


def test_the_connection_goes_to_the_checked_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host is looked up once, and the connection goes to the checked address: a host that would give a different
    address at a second look-up (DNS rebinding) gains nothing."""
    asked, reached = _resolves(monkeypatch, ["93.184.215.14"], ["127.0.0.1"]), []

    def connect(address: posting.CheckedAddress, port: int, _seconds: float) -> socket.socket:
        reached.append((address.host, port))
        raise ConnectionRefusedError

    monkeypatch.setattr(posting, "connected", connect)
    with pytest.raises(NotDelivered, match=r"^no_answer$"):
        post("https://app.example/events", b"{}", {})
    assert asked == ["app.example"]
    assert reached == [("93.184.215.14", 443)]


@pytest.mark.parametrize("url", ["http://app.example/", "ftp://app.example/", "//app.example/", "file:///etc/passwd"])
def test_nothing_but_https_is_posted_to(url: str) -> None:
    """An address that is no https address gets nothing, except on the local stack."""
    with pytest.raises(NotDelivered, match=r"^not_https$"):
        post(url, b"{}", {})


@pytest.mark.parametrize("url", ["https://127.0.0.1:1/", "https://localhost:1/", "https://[::1]:1/", "https://0x7f.1/"])
def test_this_machine_gets_nothing(url: str) -> None:
    """Except on the local stack, nothing is posted to the function's own machine, whatever name the URL uses."""
    with pytest.raises(NotDelivered, match=r"^(address_inside|no_address)$"):
        post(url, b"{}", {})


class _Handler(BaseHTTPRequestHandler):
    """Answers by the path: a status, a redirect, a large body, or bytes that drip."""

    def do_POST(self) -> None:
        self.server.heard.append(self.rfile.read(int(self.headers["Content-Length"])))  # type: ignore[attr-defined]
        self.server.hosts.append(self.headers["Host"])  # type: ignore[attr-defined]
        kind = self.path.strip("/")
        if kind == "drip":
            with suppress(OSError):
                for _ in range(100):
                    self.wfile.write(b"H")
                    self.wfile.flush()
                    time.sleep(0.05)
            return
        self.send_response(int(kind) if kind.isdecimal() else 200)
        if kind == "307":
            self.send_header("Location", "/200")
        self.end_headers()
        if kind == "large":
            with suppress(OSError):
                self.wfile.write(b"x" * 50_000_000)

    def log_message(self, *_: object) -> None:
        """Write nothing."""


@pytest.fixture
def receiver() -> Iterator[tuple[str, list[bytes]]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.heard, server.hosts = [], []  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", server.heard  # type: ignore[attr-defined]
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("path", "reason"),
    [("199", "status_199"), ("200", None), ("204", None), ("299", None), ("300", "status_300"), ("307", "status_307"),
     ("410", "status_410"), ("500", "status_500")],
)  # fmt: skip
def test_two_hundred_and_something_is_success(receiver: tuple[str, list[bytes]], path: str, reason: str | None) -> None:
    """Each answer of 2xx is a success, every other answer is a failure with the status as the reason, and a redirect is
    not followed."""
    url, heard = receiver
    try:
        post(f"{url}/{path}", b'{"a": 1}', {}, may_be_local=True)
        told = None
    except NotDelivered as why:
        told = str(why)
    assert told == reason
    assert heard == [b'{"a": 1}']


class _CountingSocket(socket.socket):
    """A connection that counts the bytes read from the receiver."""

    bytes_read = 0

    def recv_into(self, *given: Any, **named: Any) -> int:
        read = super().recv_into(*given, **named)
        self.bytes_read += read
        return read


def test_of_a_large_answer_little_is_read(receiver: tuple[str, list[bytes]], monkeypatch: pytest.MonkeyPatch) -> None:
    """The receiver takes the event and answers with a body of 50 MB: the post is a success, and no more than a few
    kilobytes of the body are read."""
    connections: list[_CountingSocket] = []
    reach = posting.connected

    def counted(*given: Any) -> socket.socket:
        connections.append(_CountingSocket(fileno=reach(*given).detach()))
        return connections[-1]

    monkeypatch.setattr(posting, "connected", counted)
    url, heard = receiver
    post(f"{url}/large", b'{"a": 1}', {}, may_be_local=True)
    assert heard == [b'{"a": 1}']
    [connection] = connections
    # http.client reads through a buffer of DEFAULT_BUFFER_SIZE bytes. The buffer is filled for the headers, and filled
    # again until MOST_READ bytes of the body are read: the connection reads up to two buffers more than MOST_READ.
    assert posting.MOST_READ <= connection.bytes_read <= posting.MOST_READ + 2 * io.DEFAULT_BUFFER_SIZE


def test_an_answer_that_drips_is_ended(receiver: tuple[str, list[bytes]], monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer whose bytes come one by one is ended when the time for the whole request is over."""
    monkeypatch.setattr(posting, "SECONDS", 0.2)
    began = time.monotonic()
    with pytest.raises(NotDelivered, match=r"^timed_out$"):
        post(f"{receiver[0]}/drip", b"{}", {}, may_be_local=True)
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(("look_up", "answer", "reason"), [(2, 0, "timed_out"), (0.4, 5, "timed_out"), (0.1, 0, None)])
def test_the_look_up_of_the_host_counts_too(
    receiver: tuple[str, list[bytes]],
    monkeypatch: pytest.MonkeyPatch,
    look_up: float,
    answer: float,
    reason: str | None,
) -> None:
    """Name servers that answer slowly leave less time for the rest of the request: look-up and answer together end in
    time, so that a batch of three requests ends before the function's own time-out."""
    monkeypatch.setattr(posting, "SECONDS", 0.6)
    asked: Callable[..., Any] = socket.getaddrinfo

    def slowly(*of: Any, **more: Any) -> Any:
        time.sleep(look_up)
        return asked(*of, **more)

    monkeypatch.setattr(socket, "getaddrinfo", slowly)
    began, told = time.monotonic(), None
    try:
        post(f"{receiver[0]}/{'drip' if answer else '200'}", b"{}", {}, may_be_local=True)
    except NotDelivered as why:
        told = str(why)
    assert told == reason
    assert time.monotonic() - began < 0.9


@pytest.fixture
def safe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    """A receiver with https and a trusted certificate for app.example. Every host name leads to the receiver."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=app.example"
    names = ["-addext", "subjectAltName=DNS:app.example", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*made.split(), *names], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.heard, server.hosts = [], []  # type: ignore[attr-defined]
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    trusting: Callable[..., ssl.SSLContext] = ssl.create_default_context
    monkeypatch.setattr(ssl, "create_default_context", lambda: trusting(cafile=str(certificate)))
    _resolves(monkeypatch, ["127.0.0.1"])
    yield server
    server.shutdown()
    server.server_close()


def test_a_certificate_of_another_name_is_refused(safe: ThreadingHTTPServer) -> None:
    """The certificate must be good for the host's name, though the connection goes to an address."""
    post(f"https://app.example:{safe.server_port}/200", b"{}", {}, may_be_local=True)
    with pytest.raises(NotDelivered, match=r"^certificate$"):
        post(f"https://other.example:{safe.server_port}/200", b"{}", {}, may_be_local=True)


def test_the_time_that_ends_while_the_connection_is_made_ends_the_request(
    safe: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time for the request runs out while the connection is still being made. At that moment the timer has no
    socket to shut down. The function nevertheless ends the request, and sends nothing to the receiver."""
    monkeypatch.setattr(posting, "SECONDS", 0.2)
    reach = posting.connected

    def slowly(address: posting.CheckedAddress, port: int, seconds: float) -> socket.socket:
        time.sleep(0.3)
        return reach(address, port, seconds)

    monkeypatch.setattr(posting, "connected", slowly)
    began = time.monotonic()
    with pytest.raises(NotDelivered, match=r"^timed_out$"):
        post(f"https://app.example:{safe.server_port}/drip", b"{}", {}, may_be_local=True)
    assert time.monotonic() - began < 2
    assert not safe.heard  # type: ignore[attr-defined]


def test_the_ordinary_port_is_not_named_in_the_header(
    safe: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The header Host names the port only if the port is not 443, as every client does."""
    reach = posting.connected
    monkeypatch.setattr(posting, "connected", lambda address, _, seconds: reach(address, safe.server_port, seconds))
    post("https://app.example/200", b"{}", {}, may_be_local=True)
    post("https://app.example:8443/200", b"{}", {}, may_be_local=True)
    assert safe.hosts == ["app.example", "app.example:8443"]  # type: ignore[attr-defined]
