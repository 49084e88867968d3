"""The stored mails of the local stack, in the form that the console shows. A mail may contain anything."""

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
    """A part of a mail with a file name. content: the decoded content."""

    name: str
    content: bytes

    @property
    def kind(self) -> str:
        """Return the media type for serving: PDF for content that begins like a PDF, else a type that no browser
        displays.
        """
        return _PDF if self.content.startswith(b"%PDF-") else "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Mail:
    """A stored mail. `name` is the file name. `text` and `html` are the bodies, or empty if missing."""

    name: str
    subject: str
    sender: str
    to: str
    date: str
    text: str
    html: str
    attachments: tuple[Attachment, ...]


def file_named(folder: Path, name: str) -> Path | None:
    """Return the mail's file; None if the name is not the name of a mail in the folder."""
    if name.startswith(".") or not name.endswith(".eml") or not name.isprintable() or name != Path(name).name:
        return None
    file = folder / name
    return file if file.is_file() and not file.is_symlink() else None


def names(folder: Path, *, before: str | None = None) -> list[str]:
    """Return the names of all mails, newest first. before: only mails older than the mail with this name."""
    found = (file.name for file in folder.glob("[!.]*.eml"))
    return sorted((name for name in found if before is None or name < before), reverse=True)


def names_to(folder: Path, address: str) -> list[str]:
    """Return the names of the mails to an address, newest first."""
    found = sorted((file.name for file in folder.glob(f"[!.]*-{slug(address)}.eml")), reverse=True)
    return [name for name in found if address in _recipients((folder / name).read_bytes())]


def read(name: str, content: bytes) -> Mail:
    """Return the mail for these bytes. Undecodable parts are shown as well as possible; no content raises an error."""
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
    """Return the moment of arrival from the file name (20260131T120000.000000Z-…), or an empty string."""
    try:
        return format_datetime(datetime.strptime(name.partition("-")[0], "%Y%m%dT%H%M%S.%fZ").replace(tzinfo=UTC))
    except ValueError:
        return ""


def _parsed(content: bytes) -> Message:
    # The newer policies raise errors for some malformed headers; compat32 never does.
    return BytesParser(policy=compat32).parsebytes(content)


def _parts(message: Message) -> Iterator[Message]:
    return (part for part in message.walk() if not part.is_multipart())


def _recipients(content: bytes) -> set[str]:
    return {address for _, address in getaddresses([_header(_parsed(content), "To")])}


def _header(message: Message, name: str) -> str:
    return _decoded(str(message.get(name, "")))


def _decoded(header: str) -> str:
    """Decode a header's value (RFC 2047) into a single line."""
    try:
        pieces = [piece if isinstance(piece, str) else _in(charset, piece) for piece, charset in decode_header(header)]
    except ValueError:  # invalid base64
        pieces = [header]
    return " ".join("".join(pieces).split())


def _text(part: Message) -> str:
    return _in(part.get_content_charset(), _content(part))


def _in(charset: str | None, content: bytes) -> str:
    try:
        return content.decode(charset or "utf-8", "replace")
    except (LookupError, ValueError):  # an unknown charset
        return content.decode("utf-8", "replace")


def _content(part: Message) -> bytes:
    content = part.get_payload(decode=True)
    return content if isinstance(content, bytes) else b""


def _name(part: Message) -> str:
    return Path(_decoded(part.get_filename() or "").replace("\\", "/")).name or "attachment"
