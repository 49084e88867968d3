"""Dates and amounts in languages other than English, by Babel. Imported at first use: Babel takes long to import.

Babel's data separates the parts of an amount by three kinds of space, and marks directions by invisible characters. The
receipts' fonts have no such characters. So all spaces of an amount are U+00A0, at which no line breaks, and directions
are left to renewals.language.marks.
"""

from datetime import date
from decimal import Decimal
from functools import cache

from babel import Locale
from babel.dates import parse_pattern as parse_date_pattern
from babel.numbers import NumberPattern, parse_pattern

from renewals.domain import currencies

_UNIFORM = str.maketrans({"\u202f": "\u00a0", " ": "\u00a0", "\u200e": None, "\u200f": None, "\u061c": None})
_FIRST_OF_MONTH = {"fr": "1er", "pt": "1\u00ba"}  # CLDR writes a plain 1
# CLDR's own short dates of these languages are as long as the long dates, or hold marks of direction.
_SHORT = {"pt": "dd/MM/yyyy", "ar": "d MMMM y"}
_BETWEEN_DAYS = {"ja": "～", "zh": "至"}


class ByBabel:
    """The formats of a language; renewals.language.spoken.Formats describes the methods."""

    def __init__(self, tag: str) -> None:
        self._tag = tag
        self._locale = Locale.parse(tag)

    def day(self, on: date) -> str:
        written = self._written(self._locale.date_formats["long"].pattern, on)
        first = _FIRST_OF_MONTH.get(self._tag)
        return first + written.removeprefix("1") if first and on.day == 1 else written

    def short_day(self, on: date) -> str:
        return self._written(_SHORT.get(self._tag) or self._locale.date_formats["medium"].pattern, on)

    def between(self, first: str, last: str) -> str:
        return f"{first}{_BETWEEN_DAYS.get(self._tag, ' – ')}{last}"

    def month(self, on: date) -> str:
        """Polish has two forms of a month. LLLL is the form beside no day, and MMMM the form within a date."""
        return self._written(self._locale.datetime_skeletons["yMMMM"].pattern.replace("LLLL", "MMMM"), on)

    def price(self, amount: Decimal, currency: str) -> str:
        pattern = _pattern(self._locale.currency_formats["standard"].pattern, currencies.decimals(currency))
        written = pattern.apply(amount, self._locale, currency=currency, currency_digits=False)
        return str(written).translate(_UNIFORM)

    def money(self, amount: Decimal, currency: str) -> str:
        pattern = _pattern(self._locale.decimal_formats[None].pattern, currencies.decimals(currency))
        return f"{pattern.apply(amount, self._locale)} {currency}".translate(_UNIFORM)

    def _written(self, pattern: str, on: date) -> str:
        return str(parse_date_pattern(pattern).apply(on, self._locale))


@cache
def formats(tag: str) -> ByBabel:
    """Return the formats of a language."""
    return ByBabel(tag)


@cache
def _pattern(written: str, decimals: int) -> NumberPattern:
    """Return a pattern with as many decimals as the gateway charges; CLDR rounds some currencies to whole numbers."""
    pattern = parse_pattern(written)
    pattern.frac_prec = (decimals, decimals)
    return pattern
