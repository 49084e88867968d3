"""Calls, mails and answers in words that are equal in every run.

A call is put into words twice. In full, a call has its values, with ordinals of first appearance in place of random
marks. As a kind, a call has `<date>`, `<time>`, `<number>` or `<text>` in place of every value except the product's own
words.
"""

import json
import re
from base64 import urlsafe_b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email import message_from_bytes
from email.header import decode_header, make_header
from email.message import Message
from functools import lru_cache
from typing import Any

type Body = Mapping[str, Any]
type Both = tuple[str, str]
"""A text in full, and its kind."""

_MARK = re.compile(r"(?<![0-9a-f])[0-9a-f]{32}(?:[0-9a-f]{32})?(?![0-9a-f])|(?<=\d/)[0-9a-f]{8}\b")
_STORED = re.compile(r"'(?:sub_)?[0-9a-f]{32}(?:[0-9a-f]{32})?'"), re.compile(r"0/[0-9a-f]{8}'")
"""Marks as they stand in DynamoDB. The patterns begin with rare characters, which makes the search 15 times faster."""
_WORD = re.compile(r"[A-Za-z_]{1,40}")
_MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
_KINDS = [
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?"), "<time>"),
    (re.compile(r"\d{4}-\d\d-\d\d"), "<date>"),
    (re.compile(rf"\d{{1,2}} ({_MONTHS}) \d{{4}}"), "<date>"),
    (re.compile(r"\b(19|20)\d{6}-\w{4}-\w{4}-\w{4}\b"), "<receipt number>"),
    (re.compile(r"(?<=/receipts/)[\w-]+\.[\w-]+"), "<token>"),
    (re.compile(r"\b[12]\d{9}\b"), "<time>"),
    (re.compile(r"datetime\.date(time)?\([^)]*\)"), "<time>"),
    (re.compile(r'(anchor_day"?): \d+'), r"\1: <number>"),
    (re.compile(r'"\d+-[0-9a-f]{16}'), '"<etag>'),
]
# The same in each receipt, reminder and mail about a failed payment: test_message.py holds the paragraph for each kind.
_HOW_TO_CANCEL = re.compile(r"You can cancel your subscription [^\n]+\n[^\n]+\n\n")
_NUMBERED = re.compile(r"(?<=[a-z])_\d+\b")
_NAMED_BY_TESTS = re.compile(
    r"\b(owner|to|subscription_id|customer_id|payment_method|refused_payment_method|gateway_customer|interval|currency"
    r"|plan|locale|known|from)( = |: )\w+"
)
_EXPRESSIONS = [f"{name}Expression" for name in ("Update", "Condition", "KeyCondition", "Filter", "Projection")]
_SAID = {*_EXPRESSIONS, "TableName", "Key", "ExpressionAttributeNames", "ExpressionAttributeValues"}
_VARIES = {"ExclusiveStartKey", "Limit", "Segment", "TotalSegments"}


@lru_cache(8192)
def kind(text: str) -> str:
    """Replace the parts of a text that depend on the day."""
    for pattern, name in _KINDS:
        text = pattern.sub(name, text)
    return text


@dataclass
class Marks:
    """The random marks of a test."""

    _known: dict[str, str] = field(default_factory=dict)

    def named(self, text: str) -> str:
        """Return the text with an ordinal in place of every random mark."""
        return _MARK.sub(self._ordinal, text) if len(text) >= 32 else text

    def stored(self, text: str) -> str:
        """Return the arguments of a DynamoDB call with an ordinal in place of every random mark."""
        for pattern in _STORED:
            text = pattern.sub(lambda found: _MARK.sub(self._ordinal, found[0]), text)
        return text

    def _ordinal(self, found: re.Match[str]) -> str:
        """Return the ordinal of a mark. A mark of double length is a checksum, whose bytes separate tests look at."""
        return "<sha256>" if len(found[0]) == 64 else self._known.setdefault(found[0], f"<mark {len(self._known) + 1}>")


def action(verb: str, body: Body, in_full: Callable[[str], str]) -> Both:
    """Put an action on DynamoDB into words. in_full: Marks.named, applied to every text of the action."""
    known, values = body.get("ExpressionAttributeNames", {}), body.get("ExpressionAttributeValues", {})
    said = [f" {name}: {_ordered(body[name])}" for name in _EXPRESSIONS if name in body]
    text = re.sub(r"#\w+", lambda found: str(known[found[0]]), f"{verb} {body['TableName']}{''.join(said)}")
    full = re.sub(r":[a-z]\w*", lambda found: _written(values[found[0]], in_full), text)
    short = re.sub(r":[a-z]\w*", lambda found: _written(values[found[0]], _kind_of), text)
    for name in sorted(body.keys() - _SAID):
        value = body[name]
        is_item = isinstance(value, Mapping)
        full += f" {name}={_written({'M': value} if is_item else value, in_full)}"
        short += f" {name}" if name in _VARIES else f" {name}={_written({'M': value}, _kind_of) if is_item else value}"
    if "Key" in body:
        full += f" Key={_written({'M': body['Key']}, in_full)}"
    return full, _NUMBERED.sub("_<n>", _NAMED_BY_TESTS.sub(r"\1\2<text>", short))


def _ordered(expression: str) -> str:
    """Sort the terms of an update, since their order means nothing."""
    sets, _, removes = f" {expression}".partition(" REMOVE ")
    if not sets.startswith(" SET "):
        return expression
    told = [("SET ", sets.removeprefix(" SET ")), ("REMOVE ", removes)]
    return " ".join(verb + ", ".join(sorted(terms.split(", "))) for verb, terms in told if terms)


def _written(value: Any, text: Callable[[str], str]) -> str:
    """Write a value of DynamoDB's, or a plain value."""
    if not isinstance(value, dict):
        return f"{value}"
    [(letter, held)] = value.items()
    if letter == "M":
        return "{" + ", ".join(f"{name}: {_written(held[name], text)}" for name in sorted(held)) + "}"
    if letter == "L":
        return "[" + ", ".join(_written(each, text) for each in held) + "]"
    return text(held) if letter in ("S", "N") else f"{held}"


@lru_cache(4096)
def _kind_of(text: str) -> str:
    """Return the kind of a stored text or number; a single word stays as it is."""
    if re.fullmatch(r"-?[\d.]+", text):
        return "<number>"
    if _WORD.fullmatch(text):
        return text
    replaced = kind(_MARK.sub("<mark>", text))
    return replaced if re.fullmatch(r"<\w+>", replaced) else "<text>"


def answer(status: object, body: str | None) -> Both:
    """Put an answer to a request into words."""
    try:
        told = json.loads(body or "null")
    except ValueError:
        return f"{status} {body}", f"{status} {kind(body or '').strip()}"
    full = f"{status} {json.dumps(told, sort_keys=True)}"
    return full, _NUMBERED.sub("_<n>", f"{status} {json.dumps(_kinds(told), sort_keys=True)}")


def _kinds(value: Any, name: str = "") -> Any:
    """Return the kinds of an answer's values: of a list every kind of member once, and sentences as they are."""
    if isinstance(value, dict):
        return {key: _kinds(each, key) for key, each in value.items()}
    if isinstance(value, list):
        kinds = {json.dumps(_kinds(each), sort_keys=True): _kinds(each) for each in value}
        return [kinds[each] for each in sorted(kinds)]
    if isinstance(value, str):
        if _NAMED_BY_TESTS.fullmatch(f"{name}: x"):
            return "<text>"
        return _MARK.sub("<mark>", kind(value)) if " " in value else _kind_of(value)
    return "<number>" if isinstance(value, int | float) and not isinstance(value, bool) else value


def mail(sent: Body) -> str:
    """Return a mail as handed over: the addressees, the subject, the plain text, and the names of attachments."""
    return f"To: {', '.join(sent['Destinations'])}\n{_said(sent['RawMessage']['Data'])}"


def tags(sent: Body) -> str:
    """Return the sender of a mail, and the tags that SES repeats when the mail bounces."""
    told = {tag["Name"]: urlsafe_b64decode(tag["Value"] + "==").decode() for tag in sent["Tags"]}
    return f"{sent['Source']} {sent['ConfigurationSetName']} {told}"


@lru_cache(512)
def _said(raw: bytes) -> str:
    whole = re.sub(rb"={15}\d+==", b"boundary", raw)
    return _read(re.sub(rb"\n\n[A-Za-z0-9+/=\n]{500,}", b"\n\n", whole))


@lru_cache(512)
def _read(raw: bytes) -> str:
    message: Message[str, str] = message_from_bytes(raw)
    parts = [part for part in message.walk() if not part.is_multipart()]
    attached = [part.get_filename() for part in parts if part.get_filename()]
    texts: list[Any] = [part.get_payload(decode=True) for part in parts if part.get_content_type() == "text/plain"]
    subject = make_header(decode_header(message["Subject"]))
    text = _HOW_TO_CANCEL.sub("", texts[0].decode().replace("\r\n", "\n"))
    return f"Subject: {subject}\nAttached: {', '.join(map(str, attached)) or 'nothing'}\n\n{text}"
