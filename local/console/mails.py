"""The mails that the local stack kept, as the console shows them. A mail may hold anything at all."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.header import decode_header
from email.message import Message
from email.parser import BytesParser
from email.policy import compat32
from email.utils import format_datetime, getaddresses
from pathlib import Path

from local.mailbox import slug

_PDF = "application/pdf"


@dataclass(frozen=True, slots=True)
class Attachment:
    """A part of a mail that has a name. content: as it was before it was encoded for the mail."""

    name: str
    content: bytes

    @property
    def kind(self) -> str:
        """What it is served as: a PDF that begins as one, and anything else as bytes that no browser shows."""
        return _PDF if self.content.startswith(b"%PDF-") else "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Mail:
    """One mail. name: of its file. text, html: its bodies, empty where it has none of the kind."""

    name: str
    subject: str
    sender: str
    to: str
    date: str
    text: str
    html: str
    attachments: tuple[Attachment, ...]


def file_named(folder: Path, name: str) -> Path | None:
    """The mail of this file name; None where there is none in this very folder."""
    if name.startswith(".") or not name.endswith(".eml") or not name.isprintable() or name != Path(name).name:
        return None
    file = folder / name
    return file if file.is_file() and not file.is_symlink() else None


def names(folder: Path, *, before: str | None = None) -> list[str]:
    """The names of all mails, newest first. before: only those older than the mail of this name."""
    found = (file.name for file in folder.glob("[!.]*.eml"))
    return sorted((name for name in found if before is None or name < before), reverse=True)


def names_to(folder: Path, address: str) -> list[str]:
    """The names of the mails to an address, newest first."""
    found = sorted((file.name for file in folder.glob(f"[!.]*-{slug(address)}.eml")), reverse=True)
    return [name for name in found if address in _recipients((folder / name).read_bytes())]


def read(name: str, content: bytes) -> Mail:
    """A mail of these bytes. What cannot be decoded is shown as well as it goes; nothing raises."""
    message = _parsed(content)
    parts = list(_parts(message))
    shown = [part for part in parts if not part.get_filename()]
    return Mail(
        name=name,
        subject=_header(message, "Subject"),
        sender=_header(message, "From"),
        to=_header(message, "To"),
        date=_header(message, "Date") or _kept_at(name),
        text=next((_text(part) for part in shown if part.get_content_type() == "text/plain"), ""),
        html=next((_text(part) for part in shown if part.get_content_type() == "text/html"), ""),
        attachments=tuple(Attachment(_name(part), _content(part)) for part in parts if part.get_filename()),
    )


def _kept_at(name: str) -> str:
    """When the mailbox took a mail in, by its file's name (20260131T120000.000000Z-…); empty where it says nothing."""
    try:
        return format_datetime(datetime.strptime(name.partition("-")[0], "%Y%m%dT%H%M%S.%fZ").replace(tzinfo=UTC))
    except ValueError:
        return ""


def _parsed(content: bytes) -> Message:
    # The newer policies raise on some malformed headers when they are read; this one never does.
    return BytesParser(policy=compat32).parsebytes(content)


def _parts(message: Message) -> Iterator[Message]:
    return (part for part in message.walk() if not part.is_multipart())


def _recipients(content: bytes) -> set[str]:
    return {address for _, address in getaddresses([_header(_parsed(content), "To")])}


def _header(message: Message, name: str) -> str:
    return _decoded(str(message.get(name, "")))


def _decoded(header: str) -> str:
    """A header's value in words (RFC 2047), on one line."""
    try:
        pieces = [piece if isinstance(piece, str) else _in(charset, piece) for piece, charset in decode_header(header)]
    except ValueError:  # base64 that is none
        pieces = [header]
    return " ".join("".join(pieces).split())


def _text(part: Message) -> str:
    return _in(part.get_content_charset(), _content(part))


def _in(charset: str | None, content: bytes) -> str:
    try:
        return content.decode(charset or "utf-8", "replace")
    except (LookupError, ValueError):  # a charset that nobody knows
        return content.decode("utf-8", "replace")


def _content(part: Message) -> bytes:
    content = part.get_payload(decode=True)
    return content if isinstance(content, bytes) else b""


def _name(part: Message) -> str:
    return Path(_decoded(part.get_filename() or "").replace("\\", "/")).name or "attachment"
