"""The layout of the mails: from a letter to HTML and plain text, in the customer's language. Pure.

The HTML stands in the files of `layout`, which a team edits without touching code. Decision: D276 (DECISIONS.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from email.headerregistry import Address, BaseHeader, HeaderRegistry, UnstructuredHeader
from email.message import EmailMessage
from email.policy import SMTP
from functools import cache
from html import escape
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, NamedTuple

from renewals.domain import printable
from renewals.language import marks

if TYPE_CHECKING:
    from email.policy import Policy

    from renewals.language import Words

_LAYOUT = Path(__file__).with_name("layout")


class _Headers(HeaderRegistry):
    """Python's registry of header classes, with a cache. Without the cache, Python makes a new class for every header,
    and spends a tenth of the time of composing a mail on the classes."""

    @cache  # noqa: B019  (there is one registry)
    def __getitem__(self, name: str) -> type[BaseHeader]:
        made: type[BaseHeader] = super().__getitem__(name)
        return made


class _WholeHeader(UnstructuredHeader, BaseHeader):
    """A header of one line. Python would encode an address that is longer than a line, and no mail program reads an
    encoded address. A line of a mail may have 998 characters (RFC 5322, 2.1.1)."""

    def fold(self, *, policy: Policy) -> str:
        return f"{self.name}: {self}{policy.linesep}"


# Some servers do not relay mail with eight-bit characters. A mail encoded in seven bits passes through every server.
_HEADERS = _Headers()
_HEADERS.map_to_type("List-Unsubscribe", _WholeHeader)
_POLICY = SMTP.clone(cte_type="7bit", header_factory=_HEADERS)


class Link(NamedTuple):
    """A link of a mail. text: a sentence before the link, or empty."""

    label: str
    url: str
    text: str = ""


class Brand(NamedTuple):
    """The look of a seller's mails, and the ways to reach the seller. Every field may be empty.

    Attributes:
        colour: as #0c7a55; the colour of the button.
        logo: the https address of a picture.
        reply_to: the address that answers to a mail go to.
        support: the address of a page, or mailto: and an address.
    """

    colour: str = ""
    logo: str = ""
    reply_to: str = ""
    support: str = ""

    @property
    def ground(self) -> str:
        """The colour of the button. A colour that cannot be read gives way to the green of the receipts."""
        return self.colour.lower() if _luminance(self.colour) is not None else _GREEN

    @property
    def ink(self) -> str:
        """The colour of the button's text: white or black, by the greater contrast. The greater contrast is at least
        4.5, as WCAG 2.2 AA asks (1.4.3), since the two contrasts multiply to 21."""
        ground = _luminance(self.ground) or 0.0
        return "#ffffff" if 1.05 / (ground + 0.05) >= (ground + 0.05) / 0.05 else "#000000"


PLAIN = Brand()
"""The look of a seller who has set nothing."""
_GREEN = "#0c7a55"
_HEXADECIMAL = frozenset("0123456789abcdefABCDEF")


def _luminance(colour: str) -> float | None:
    """Return the relative luminance (https://www.w3.org/TR/WCAG22/#dfn-relative-luminance); None for no colour."""
    if len(colour) != 7 or colour[0] != "#" or not _HEXADECIMAL.issuperset(colour[1:]):
        return None
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@dataclass(frozen=True, slots=True)
class Letter:
    """The content of a mail. Texts may hold marks (renewals.language.marks).

    Attributes:
        words: the language of the customer.
        name: the customer's name.
        action: the one link that helps, shown as a button; None without a link.
        facts: labels and values.
        seller: the seller's name.
        notes: further links, in small letters below the facts.
        one_click: the https address at which a mail program declines such mails for the customer; empty for a mail that
            cannot be declined.
    """

    words: Words
    subject: str
    name: str
    paragraphs: list[str]
    action: Link | None
    facts: list[tuple[str, str]]
    seller: str
    notes: tuple[Link, ...] = ()
    brand: Brand = PLAIN
    one_click: str = ""


def message(letter: Letter, sender: str, to: str) -> EmailMessage:
    """Put the letter into a mail. sender, to: deliverable addresses."""
    mail = EmailMessage(policy=_POLICY)
    mail["Subject"] = _subject(letter.words.plain(letter.subject))
    mail["From"] = Address(_display_name(letter.seller), addr_spec=sender)
    mail["To"] = Address(_display_name(letter.name), addr_spec=to)
    if letter.brand.reply_to:
        mail["Reply-To"] = Address(addr_spec=letter.brand.reply_to)
    if letter.one_click:  # RFC 8058
        mail["List-Unsubscribe"] = f"<{letter.one_click}>"
        mail["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    mail.set_content(_text(letter))
    mail.add_alternative(_html(letter), subtype="html")
    return mail


def line(text: str) -> str:
    """Return a user's text as a single line. Without line breaks, the text cannot forge a header or a line of the
    mail."""
    return printable.line(text, 200)


def _greeting(letter: Letter) -> str:
    name = line(letter.name)
    return letter.words.say("mails.greeting", name=name) if name else letter.words.say("mails.greeting_nameless")


def _notes(letter: Letter) -> tuple[Link, ...]:
    say = letter.words.say
    support = letter.brand.support
    contact = (Link(say("mails.support_link"), support, say("mails.support")),) if support else ()
    return letter.notes + contact


def _text(letter: Letter) -> str:
    words = letter.words
    action = [_text_link(words, letter.action)] if letter.action else []
    facts = "\n".join(f"  {words.say('mails.line', label=label, value=value)}" for label, value in letter.facts)
    notes = [f"{note.text}\n{_text_link(words, note)}" for note in _notes(letter)]
    parts = [_greeting(letter), *letter.paragraphs, *action, facts, *notes, letter.seller]
    return words.plain("\n\n".join(parts)) + "\n"


def _text_link(words: Words, link: Link) -> str:
    """Return the label and the address. In a text from right to left the address has a line of its own, without marks:
    programs that find addresses in a text would take a mark behind the address for a part of the address."""
    if words.direction == "rtl":
        return f"{link.label}:\n{link.url}"
    return words.say("mails.line", label=link.label, value=link.url)


def _html(letter: Letter) -> str:
    html, words, brand = marks.in_html, letter.words, letter.brand
    shared = {
        "start": "right" if words.direction == "rtl" else "left",
        "colour": brand.ground,
        "ink": brand.ink,
        "logo": escape(brand.logo),
        "seller": html(words.value(letter.seller)),
    }

    def filled(part: str, **values: str) -> str:
        return _layout(part).substitute(shared, **values)

    action, subject = letter.action, html(letter.subject)
    return filled(
        "mail",
        lang=words.tag,
        dir=words.direction,
        title=escape(words.plain(letter.subject)),
        subject=subject,
        # A logo without https is not shown: a mail program warns of a picture that was loaded over plain HTTP.
        logo=filled("logo") if brand.logo.startswith("https://") else "",
        paragraphs="".join(filled("paragraph", text=html(text)) for text in (_greeting(letter), *letter.paragraphs)),
        button=filled("button", label=html(action.label), url=escape(action.url)) if action else "",
        facts="".join(
            filled("fact", label=html(label), value=html(words.value(value))) for label, value in letter.facts
        ),
        notes="".join(
            filled("note", text=html(note.text), label=html(note.label), url=escape(note.url))
            for note in _notes(letter)
        ),
    )


@cache
def _layout(part: str) -> Template:
    return Template((_LAYOUT / f"{part}.html").read_text(encoding="utf-8"))


def _display_name(text: str) -> str:
    """Return a name that can safely stand before an address in a header. The name is a single line, and has no special
    characters of a header.

    Quotes do not protect a comma in a name: Python's header folding drops the quotes of a long name, and the comma
    would then begin a further address. Encoding does not protect a comma either: some mail programs first decode an
    encoded word (=?utf-8?q?Lee=2C_eve=40evil=2Eexample?=), and then look for commas. The equals signs and question
    marks of encoded words are therefore removed, too.
    """
    return printable.line(text.translate(_SPECIALS), 60)


_SPECIALS = str.maketrans(dict.fromkeys('()<>[]:;@\\,."=?', " "))


def _subject(text: str) -> str:
    """Return a subject with a space inside every "=?". The signs "=?" begin an encoded word; after the change, no mail
    program decodes a part of the subject."""
    return text.replace("=?", "= ?")
