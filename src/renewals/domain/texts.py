"""Texts that people write for other people: the characters allowed in a text, and how to show a text that holds
forbidden characters.

The same rule guards every way into the system. A text is refused if it contains characters that move a cursor, set a
clipboard, reverse the order of a line, or are invisible: controls (C0, C1, line separators), bidirectional and other
format characters, unpaired surrogates (halves of a character), and characters not assigned by Unicode. Zero-width
joiners, which bind letters in certain scripts and the parts of an emoji, are allowed between two visible characters. A
text is kept as written, code point for code point: normalization (NFC) would change the spelling of certain Japanese
family names.

Decision: D82 (DECISIONS.md).
"""

LONGEST_NAME = LONGEST_PLAN = 100
"""A receipt shows 100 ordinary letters of a name or plan on four lines, and cuts off wider letters at the end of the
fourth line."""

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
    """Return why the text must not be shown to people, without quoting the text; None for a good text."""
    if most is not None and len(text) > most:
        return f"is longer than {most} characters"
    at = next((n for n in range(len(text)) if not _may_stand(text, n)), None) if not text.isprintable() else None
    if at is not None:
        return f"has {_kind(text[at])} (U+{ord(text[at]):04X})"
    if text and not text.strip():
        return "is blank"
    return None


def name_fault(name: str) -> str | None:
    """Like fault, for a customer's name. A name with a link is refused, because the seller's mails address the customer
    by name: the seller would send the link on in the seller's own name."""
    return fault(name, LONGEST_NAME) or ("has a link in it" if _has_link(name) else _undrawable(name))


def plan_fault(plan: str) -> str | None:
    """Like fault, for the plan as named on a receipt."""
    return "is empty" if not plan else fault(plan, LONGEST_PLAN) or _undrawable(plan)


def presentable(text: str, most: int) -> str:
    """Return a displayable form of a text that bypassed the rule, for example a text written by hand or before the rule
    existed: without refused characters, and cut to the allowed length."""
    if not text.isprintable():
        text = "".join(c if _may_stand(text, n) else " " * c.isspace() for n, c in enumerate(text))
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


def presentable_name(name: str) -> str:
    """Like presentable, for a customer's name; empty for a name with a link."""
    return "" if _has_link(name) else presentable(name, LONGEST_NAME)


def printable(text: str) -> str:
    """Return a text for a terminal. Invisible characters, and characters that could command the terminal, are escaped,
    as \\x1b."""
    if text.isprintable():
        return text
    return "".join(c if _may_stand(text, n) else c.encode("unicode_escape").decode() for n, c in enumerate(text))


def _may_stand(text: str, n: int) -> bool:
    """Whether the character at position `n` is allowed: a joiner needs a visible character on each side."""
    if text[n] in _JOINERS:
        return 0 < n < len(text) - 1 and _is_visible(text[n - 1]) and _is_visible(text[n + 1])
    return text[n].isprintable() or text[n] in _SPACES


def _is_visible(character: str) -> bool:
    return character.isprintable() and character != " "


def _has_link(text: str) -> bool:
    lower = text.lower()
    return any(link in lower for link in _LINKS)


def _undrawable(text: str) -> str | None:
    """Return why a receipt cannot show the whole text: the characters missing from all of its fonts."""
    if text.isascii():
        return None
    from renewals.domain.printable import (
        unprintable,  # imported here: only this call needs the large table, and functions must start fast
    )

    missing = unprintable(text)
    named = ", ".join(f"U+{ord(c):04X}" for c in missing[:_MOST_NAMED])
    more = ", …" if len(missing) > _MOST_NAMED else ""
    return f"has characters that no receipt can show ({named}{more})" if missing else None


def _kind(character: str) -> str:
    import unicodedata  # imported here: only faulty texts need the module, and functions must start fast

    return _WORDS.get(unicodedata.category(character), "a character that has no meaning of its own")
