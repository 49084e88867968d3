"""Texts that people give and others read: which characters may stand in one, and how one is shown whose may not.

One rule for every way in. What moves a cursor, sets a clipboard, turns the order of a line around, or cannot be seen,
is refused: controls (C0, C1, line separators), bidirectional and other format characters, half a character, and what
Unicode has not assigned. Zero-width joiners hold letters of some scripts, and emoji, together: they may stand inside a
name. A text is kept as it was given, code point for code point: normalized (NFC), some Japanese family names would be
written otherwise.
"""

LONGEST_NAME = LONGEST_PLAN = 100
"""A receipt holds 100 ordinary letters of each in four lines; wider ones are cut there."""

_JOINERS = frozenset("\u200c\u200d")
_SPACES = frozenset("\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000")
_MOST_NAMED = 5
_LINKS = ("://", "www.")
_WORDS = {
    "Cc": "a control character",
    "Cf": "an invisible character",
    "Cs": "half a character",
    "Zl": "a line separator",
    "Zp": "a paragraph separator",
}


def fault(text: str, most: int | None = None) -> str | None:
    """Why this cannot stand where people read it, in words that do not quote it; None where it can."""
    if most is not None and len(text) > most:
        return f"is longer than {most} characters"
    at = next((n for n in range(len(text)) if not _may_stand(text, n)), None) if not text.isprintable() else None
    if at is not None:
        return f"has {_kind(text[at])} (U+{ord(text[at]):04X})"
    if text and not text.strip():
        return "is blank"
    return None


def name_fault(name: str) -> str | None:
    """As fault, of a customer's name, to which mails are addressed: a link in it would be signed by the seller."""
    return fault(name, LONGEST_NAME) or ("has a link in it" if _has_link(name) else _undrawable(name))


def plan_fault(plan: str) -> str | None:
    """As fault, of what a receipt calls the plan."""
    return "is empty" if not plan else fault(plan, LONGEST_PLAN) or _undrawable(plan)


def presentable(text: str, most: int) -> str:
    """A text that was written past the rule, by hand or before there was one, as it may be shown: without what must not
    stand in it, and no longer than it may be."""
    if not text.isprintable():
        text = "".join(c if _may_stand(text, n) else " " * c.isspace() for n, c in enumerate(text))
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


def presentable_name(name: str) -> str:
    """As presentable, of a customer's name; none at all where it has a link."""
    return "" if _has_link(name) else presentable(name, LONGEST_NAME)


def printable(text: str) -> str:
    """A text as a terminal may be given it: what could command the terminal, or not be seen, is escaped as \\x1b."""
    if text.isprintable():
        return text
    return "".join(c if _may_stand(text, n) else c.encode("unicode_escape").decode() for n, c in enumerate(text))


def _may_stand(text: str, n: int) -> bool:
    """Whether the character at this place may stand there: a joiner has a visible character on each side."""
    if text[n] in _JOINERS:
        return 0 < n < len(text) - 1 and _is_visible(text[n - 1]) and _is_visible(text[n + 1])
    return text[n].isprintable() or text[n] in _SPACES


def _is_visible(character: str) -> bool:
    return character.isprintable() and character != " "


def _has_link(text: str) -> bool:
    lower = text.lower()
    return any(link in lower for link in _LINKS)


def _undrawable(text: str) -> str | None:
    """Why a receipt cannot show the text whole: none of its fonts has these characters."""
    if text.isascii():
        return None
    from renewals.domain.printable import (
        unprintable,  # only for who needs it: the table is no part of a function's start
    )

    missing = unprintable(text)
    named = ", ".join(f"U+{ord(c):04X}" for c in missing[:_MOST_NAMED])
    more = ", …" if len(missing) > _MOST_NAMED else ""
    return f"has characters that no receipt can show ({named}{more})" if missing else None


def _kind(character: str) -> str:
    import unicodedata  # only where something is wrong: a function's start does not pay for it

    return _WORDS.get(unicodedata.category(character), "a character that has no meaning of its own")
