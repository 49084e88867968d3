"""Text that people wrote, as other people see it: on one line, and with nothing invisible in it. Pure.

Mails and receipts show names, plans and addresses through this module, so that both show the same.
"""

import re
from functools import cache

# Default_Ignorable_Code_Point (https://www.unicode.org/reports/tr44/#Default_Ignorable_Code_Point) without the two
# joiners: nothing to see, and the overrides of direction among them could make a name read as another. Variation
# selectors belong to it as well: they choose between two pictures of one emoji, and receipts have neither.
_INVISIBLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0e\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
# After these, a joiner decides which form a letter takes, as in the Sinhala "Sri" and in Persian names: from Arabic
# to the scripts of India and Sri Lanka, Burmese, Khmer, Mongolian. After an emoji, it makes one of two.
_JOINS = "\u0600-\u0dff\u1000-\u109f\u1780-\u18af\ufb50-\ufdff\ufe70-\ufefc\u2190-\u2bff\ufe0f\U0001f000-\U0001faff"
# Most receipts need none of these expressions, which take long to compile: they are compiled when they are used.
_JOINERS = "\u200c\u200d"
_VIRAMA = 9  # its canonical combining class: https://www.unicode.org/reports/tr44/#Canonical_Combining_Class_Values
_WRITTEN_BEFORE = "\u0e40\u0e41\u0e42\u0e43\u0e44\u0ec0\u0ec1\u0ec2\u0ec3\u0ec4"
_EMOJI_PARTS = "\ufe0f|(?<=[\u2190-\u2bff\U0001f000-\U0001faff])\u200d"
# NFC turns these into other characters than the ones that people write their names with.
_COMPATIBILITY_HAN = "([\uf900-\ufaff\U0002f800-\U0002fa1f]+)"
_UNSEEN = f"[{_INVISIBLE}]+|(?<![{_JOINS}])[{_JOINERS}]+|(?<=[{_JOINERS}])[{_JOINERS}]+"


def visible(text: str) -> str:
    """The text without what cannot be seen. A joiner stays where it decides how a letter is drawn."""
    return text if text.isascii() else re.sub(_UNSEEN, "", text)


def composed(text: str) -> str:
    """The text as receipts draw it: a letter and its marks as one character where there is one (NFC), nothing unseen.

    What makes one emoji of two is left out, since receipts have no emoji.
    """
    import unicodedata  # as below: most mails need none of it, and their function is to start fast

    parts = re.split(_COMPATIBILITY_HAN, text)
    parts[::2] = [unicodedata.normalize("NFC", part) for part in parts[::2]]
    return re.sub(_EMOJI_PARTS, "", visible("".join(parts)))


def unprintable(text: str) -> str:
    """The characters that a receipt cannot draw, each once, in the order of the text: U+FFFD would stand for them."""
    return "".join(dict.fromkeys(c for c in composed(text) if not c.isspace() and not _is_covered(c)))


def _is_covered(character: str) -> bool:
    from bisect import bisect_right

    return bisect_right(_bounds(), ord(character)) % 2 == 1


@cache
def _bounds() -> list[int]:
    """Where what the receipt's fonts can draw begins and ends, by turns."""
    from renewals.domain.printable_ranges import RANGES

    runs = [run.partition("-") for run in RANGES.split()]
    return [bound for first, _, last in runs for bound in (int(first, 16), int(last or first, 16) + 1)]


def line(text: str, most: int) -> str:
    """The text on one line of at most `most` characters: single spaces, no control characters, nothing invisible.

    A longer text ends in an ellipsis, and no letter loses its marks.
    """
    seen = visible(text)
    if not seen.isprintable():  # joiners count as unprintable
        seen = "".join(c if c.isprintable() or c in _JOINERS else " " for c in seen)
    words = " ".join(seen.split())
    return words if len(words) <= most else words[: whole(words, most - 1)].rstrip() + "…"


def whole(text: str, at: int) -> int:
    """The last place up to `at` where the text can be parted without tearing a letter from its marks; `at` for none."""
    place = at
    while 0 < place < len(text) and _belong_together(text[place - 1], text[place]):
        place -= 1
    return place or at


def _belong_together(first: str, second: str) -> bool:
    """A mark or joiner and the letter before it; a letter and the joiner, the virama or the Thai or Lao vowel that is
    written before it."""
    import unicodedata

    return (
        unicodedata.category(second)[0] == "M"
        or second in _JOINERS
        or first in _JOINERS
        or unicodedata.combining(first) == _VIRAMA
        or first in _WRITTEN_BEFORE
    )
