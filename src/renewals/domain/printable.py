"""Present text written by one person to other readers: on a single line, without invisible characters. Pure.

Mails and receipts present names, plans and addresses through this module and therefore agree.
"""

import re
from functools import cache

# Default_Ignorable_Code_Point (https://www.unicode.org/reports/tr44/#Default_Ignorable_Code_Point) without the two
# joiners. These characters are invisible, and the direction overrides among them could make a name read as a different
# name. Variation selectors are included as well: they choose between two pictures of an emoji, and receipts have no
# emoji.
_INVISIBLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0e\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
# After these characters, a joiner decides the form of a letter, as in the Sinhala "Sri" and in Persian names. The
# ranges cover Arabic, the scripts of India and Sri Lanka, Burmese, Khmer and Mongolian. After an emoji, a joiner merges
# two emoji into one.
_JOINS = "\u0600-\u0dff\u1000-\u109f\u1780-\u18af\ufb50-\ufdff\ufe70-\ufefc\u2190-\u2bff\ufe0f\U0001f000-\U0001faff"
# The regular expressions below are kept as texts, which `re` compiles at first use: compiling takes long, and most
# receipts need none of the expressions.
_JOINERS = "\u200c\u200d"
_VIRAMA = 9  # a canonical combining class: https://www.unicode.org/reports/tr44/#Canonical_Combining_Class_Values
_WRITTEN_BEFORE = "\u0e40\u0e41\u0e42\u0e43\u0e44\u0ec0\u0ec1\u0ec2\u0ec3\u0ec4"
_EMOJI_PARTS = "\ufe0f|(?<=[\u2190-\u2bff\U0001f000-\U0001faff])\u200d"
# People write their names with these characters, and NFC would replace the characters by different characters.
_COMPATIBILITY_HAN = "([\uf900-\ufaff\U0002f800-\U0002fa1f]+)"
_UNSEEN = f"[{_INVISIBLE}]+|(?<![{_JOINS}])[{_JOINERS}]+|(?<=[{_JOINERS}])[{_JOINERS}]+"


def visible(text: str) -> str:
    """Remove invisible characters from the text. A joiner stays if it decides how a letter is drawn."""
    return text if text.isascii() else re.sub(_UNSEEN, "", text)


def composed(text: str) -> str:
    """Return the text as receipts draw the text.

    A letter and its marks become a single character wherever Unicode has such a character (NFC). Invisible characters
    are removed, and so are the characters for merging two emoji, since receipts have no emoji.
    """
    import unicodedata  # imported here, as below: most mails do not need the module, and SendEmail must start fast

    parts = re.split(_COMPATIBILITY_HAN, text)
    parts[::2] = [unicodedata.normalize("NFC", part) for part in parts[::2]]
    return re.sub(_EMOJI_PARTS, "", visible("".join(parts)))


def unprintable(text: str) -> str:
    """Return the characters missing from the receipt's fonts, without repetition, in the order of the text. A receipt
    would show U+FFFD instead."""
    return "".join(dict.fromkeys(c for c in composed(text) if not c.isspace() and not _is_covered(c)))


def _is_covered(character: str) -> bool:
    from bisect import bisect_right

    return bisect_right(_bounds(), ord(character)) % 2 == 1


@cache
def _bounds() -> list[int]:
    """The bounds of the ranges that the receipt's fonts can draw: beginnings and ends, alternating."""
    from renewals.domain.printable_ranges import RANGES

    runs = [run.partition("-") for run in RANGES.split()]
    return [bound for first, _, last in runs for bound in (int(first, 16), int(last or first, 16) + 1)]


def line(text: str, most: int) -> str:
    """Return the text on one line of at most `most` characters: single spaces, no control characters, nothing
    invisible.

    A longer text ends in an ellipsis, and no letter loses its marks.
    """
    seen = visible(text)
    if not seen.isprintable():  # joiners count as unprintable
        seen = "".join(c if c.isprintable() or c in _JOINERS else " " for c in seen)
    words = " ".join(seen.split())
    return words if len(words) <= most else words[: whole(words, most - 1)].rstrip() + "…"


def whole(text: str, at: int) -> int:
    """Return the last position, not after `at`, where a cut of the text parts no letter from its marks; return `at` if
    there is no such position."""
    place = at
    while 0 < place < len(text) and _belong_together(text[place - 1], text[place]):
        place -= 1
    return place or at


def _belong_together(first: str, second: str) -> bool:
    """Whether two adjacent characters must stay together: the second is a mark or a joiner; or the first is a joiner, a
    virama, or a Thai or Lao vowel, which is written before its letter."""
    import unicodedata

    return (
        unicodedata.category(second)[0] == "M"
        or second in _JOINERS
        or first in _JOINERS
        or unicodedata.combining(first) == _VIRAMA
        or first in _WRITTEN_BEFORE
    )
