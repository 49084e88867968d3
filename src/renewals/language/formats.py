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


def day(tag: str, on: date) -> str:
    """Format a day: 31. Januar 2026"""
    written = str(_locale(tag).date_formats["long"].apply(on, tag))
    first = _FIRST_OF_MONTH.get(tag)
    return first + written.removeprefix("1") if first and on.day == 1 else written


def short_day(tag: str, on: date) -> str:
    """Format a day in few characters: 31.01.2026"""
    pattern = parse_date_pattern(_SHORT[tag]) if tag in _SHORT else _locale(tag).date_formats["medium"]
    return str(pattern.apply(on, tag))


def between(tag: str, first: str, last: str) -> str:
    """Join the first and the last day of a period."""
    return f"{first}{_BETWEEN_DAYS.get(tag, ' – ')}{last}"


def month(tag: str, on: date) -> str:
    """Format a month as within a date: Januar 2026, in Polish in the genitive: stycznia 2026"""
    skeleton = _locale(tag).datetime_skeletons["yMMMM"].pattern
    return str(parse_date_pattern(skeleton.replace("LLLL", "MMMM")).apply(on, tag))


def price(tag: str, amount: Decimal, currency: str) -> str:
    """Format an amount with the sign of its currency: 29,99 €"""
    pattern = _pattern(_locale(tag).currency_formats["standard"].pattern, currencies.decimals(currency))
    return str(pattern.apply(amount, tag, currency=currency, currency_digits=False)).translate(_UNIFORM)


def money(tag: str, amount: Decimal, currency: str) -> str:
    """Format an amount with the code of its currency: 29,99 EUR"""
    decimal = _locale(tag).decimal_formats[None].pattern
    number = _pattern(decimal, currencies.decimals(currency)).apply(amount, tag)
    return f"{number} {currency}".translate(_UNIFORM)


@cache
def _locale(tag: str) -> Locale:
    return Locale.parse(tag)


@cache
def _pattern(written: str, decimals: int) -> NumberPattern:
    """Return a pattern with as many decimals as the gateway charges; CLDR rounds some currencies to whole numbers."""
    pattern = parse_pattern(written)
    pattern.frac_prec = (decimals, decimals)
    return pattern
