"""Hears every call at the seams of the in-memory world, and puts the call into words."""

import re
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import wraps
from hashlib import sha256
from typing import Any

from tests import fake_aws, fake_gateway
from tests.recordings import words

SEAMS: dict[type, tuple[str, str]] = {
    fake_aws.FakeDynamoDB: ("dynamodb", "query scan get_item batch_get_item update_item transact_write_items"),
    fake_aws.FakeS3: ("s3", "put_object get_object head_object"),
    fake_aws.FakeSES: ("ses", "send_raw_email"),
    fake_aws.FakeSQS: ("sqs", "send_message_batch"),
    fake_gateway.FakeGateway: (
        "gateway",
        "create confirm retrieve cancel list charged_between card has_customer saved"
        " refunds_of refund refunded_between find_events",
    ),
}
ANSWERING = ("receipt_links.app", "subscriptions_api.app", "webhook_handler.app")
MOST_KNOWN = 20_000
_DEPLOYMENT = re.compile(r", deployment='[^']*'")
"""The deployment of a new payment is left out: the payment's idempotency key begins with the deployment."""

type Call = tuple[str, tuple[Any, ...], dict[str, Any]]
_heard: list[Call] | None = None
"""The calls heard so far; None while nobody listens."""
_threads: set[int] = set()
"""The threads that made calls since the test began."""
_known: dict[str, list[words.Both]] = {}
"""Calls in words, by the call with ordinals in place of marks: thousands of tests make the same calls."""


@dataclass
class Told:
    """The calls of a test in words.

    lines: all calls in full, in order. kinds: for every list, the kinds of calls in the list.
    """

    lines: list[str] = field(default_factory=list)
    kinds: dict[str, set[str]] = field(default_factory=lambda: {"actions": set(), "mails": set(), "answers": set()})

    @property
    def digest(self) -> str:
        return sha256("\n".join(self.lines).encode()).hexdigest()[:8]


def install() -> None:
    """Put an ear to every seam, in this process."""
    for seam, (service, methods) in SEAMS.items():
        for method in methods.split():
            setattr(seam, method, _hearing(f"{service}.{method}", getattr(seam, method)))


def begin(*, listens: bool) -> None:
    """Start hearing a test. A function that answers requests is heard as soon as the function has been imported."""
    global _heard
    _heard = [] if listens else None
    _threads.clear()
    for name in ANSWERING:
        app: Any = sys.modules.get(name)
        if app is not None and not hasattr(app.handler, "is_heard"):
            app.handler = _answering(app.handler)


def unheard[**P, R](make: Callable[P, R]) -> Callable[P, R]:
    """Do not record the calls of a function that prepares the starting point of many tests: the function runs once in a
    process, so that its calls would count for the first of these tests alone."""

    @wraps(make)
    def made(*given: P.args, **named: P.kwargs) -> R:
        global _heard
        listened, _heard = _heard, None
        try:
            return make(*given, **named)
        finally:
            _heard = listened

    return made


def are_in_order() -> bool:
    """Whether a single thread made all calls of the test. Calls of several threads come in a new order on every
    machine."""
    return len(_threads) < 2


def told(*, without_days: bool) -> Told:
    """Return the calls heard since the test began. without_days: leave out dates, for a test that looks at the real
    clock."""
    found, marks = Told(), words.Marks()
    for call in _heard or []:
        _tell(call, marks, found)
    if without_days:
        found.lines = [words.kind(line) for line in found.lines]
    return found


def _hear(name: str, *given: Any, **named: Any) -> None:
    if _heard is not None:
        _threads.add(threading.get_ident())
        _heard.append((name, given, named))


def _hearing(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def heard(self: Any, *given: Any, **named: Any) -> Any:
        if _heard is not None:
            _hear(name, *given, **named)
        return method(self, *given, **named)

    return heard


def _answering(handler: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(handler)
    def heard(event: dict[str, Any], context: Any) -> Any:
        _hear("request", event.get("httpMethod"), event.get("path"))
        reply = handler(event, context)
        _hear("answer", reply["statusCode"], reply["body"])
        return reply

    heard.is_heard = True  # type: ignore[attr-defined]
    return heard


def _tell(call: Call, marks: words.Marks, found: Told) -> None:
    name, given, named = call
    service, _, operation = name.partition(".")
    if service == "dynamodb":
        lines = _dynamodb(operation, named, marks)
        found.lines += [full for full, _ in lines]
        found.kinds["actions"].update(kind for _, kind in lines)
    elif service == "ses":
        mail = marks.named(words.mail(named))
        found.lines += [mail, marks.named(words.tags(named))]
        found.kinds["mails"].add(words.kind(mail).strip())
    elif name == "answer":
        full, kind = words.answer(*given)
        found.lines.append(marks.named(full))
        found.kinds["answers"].add(kind)
    else:
        more = {key: value for key, value in named.items() if key not in ("Body", "ChecksumSHA256")}
        line = _DEPLOYMENT.sub("", f"{name} {given} {more}")
        found.lines.append(marks.named(line))


def _dynamodb(operation: str, named: dict[str, Any], marks: words.Marks) -> list[words.Both]:
    said = f"{operation} {named}"
    if said in _known:  # a call without marks
        return _known[said]
    key = marks.stored(said)
    if key not in _known:
        if len(_known) >= MOST_KNOWN:
            _known.clear()
        _known[key] = [words.action(verb, body, marks.named) for verb, body in _actions(operation, named)]
    return _known[key]


def _actions(operation: str, named: dict[str, Any]) -> Iterable[tuple[str, dict[str, Any]]]:
    """Split a call into single actions; actions of a transaction are marked as its members."""
    if operation == "transact_write_items":
        for n, action in enumerate(named["TransactItems"]):
            [(verb, body)] = action.items()
            yield f"transaction {verb}" if n == 0 else f"with {verb}", body
    elif operation == "batch_get_item":
        for table, asked in named["RequestItems"].items():
            yield from (("batch_get_item", {"TableName": table, "Key": key}) for key in asked["Keys"])
    else:
        yield operation, named
