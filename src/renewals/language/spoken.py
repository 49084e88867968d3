"""What is said to a customer, in the customer's language."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from typing import TYPE_CHECKING

from renewals.domain import wording
from renewals.language import marks, tags
from renewals.language.catalogues import catalogue

if TYPE_CHECKING:
    from decimal import Decimal

_ENDING = " ending in "


@dataclass(frozen=True, slots=True)
class Words:
    """A language in use. tag: the language, such as de."""

    tag: str

    @property
    def direction(self) -> str:
        """Return "ltr" or "rtl", as HTML's attribute dir takes the direction of a text."""
        return "rtl" if self.tag in tags.RIGHT_TO_LEFT else "ltr"

    def say(self, area_and_key: str, **values: str) -> str:
        """Return a text of a catalogue with its values.

        The values of HTML are escaped later, by `marks.in_html`, together with the text. The English text is said if
        the catalogue of the language has no such text, or a text that names an unknown value: a slip in an edited file
        must not hold up a mail.

        Args:
            area_and_key: the folder and the key of the text, such as mails.greeting.
            values: a value for each placeholder. Amounts come from `price` and `money`.
        """
        area, _, key = area_and_key.partition(".")
        values = {name: self._value(value) for name, value in values.items()}
        text = catalogue(area, self.tag).get(key)
        if text is not None and self.tag != tags.ENGLISH:
            try:
                return text.format(**values)
            except (KeyError, IndexError, ValueError, AttributeError, TypeError):
                pass
        return catalogue(area, tags.ENGLISH)[key].format(**values)

    def card(self, name: str) -> str:
        """Return the name of a card, which the ledger holds in English, as "Visa ending in 4242"."""
        brand, ending, digits = name.partition(_ENDING)
        return self.say("shared.card", brand=brand, digits=digits) if ending and self.tag != tags.ENGLISH else name

    def plain(self, text: str) -> str:
        """Finish a text for plain text: a text from left to right needs no marks (renewals.language.marks)."""
        return text if self.direction == "rtl" else marks.without(text)

    def day(self, on: date) -> str:
        """Format a day: 31 January 2026"""
        if self.tag == tags.ENGLISH:
            return wording.day(on)
        from renewals.language import formats

        return formats.day(self.tag, on)

    def days(self, start: date, end: date) -> str:
        """Format a period by its first and last day, or by the day alone if the period has a single day. end: the first
        day after the period."""
        if self.tag == tags.ENGLISH:
            return wording.days(start, end)
        from renewals.language import formats

        last = end - timedelta(days=1)
        return self.day(start) if last <= start else formats.between(self.tag, self.day(start), self.day(last))

    def short_days(self, start: date, end: date) -> str:
        """Format a period like `days`, in few characters: 31 Jan 2026 – 27 Feb 2026"""
        last = end - timedelta(days=1)
        if self.tag == tags.ENGLISH:
            return " – ".join(f"{day.day} {day:%b} {day.year}" for day in dict.fromkeys((start, last)))
        from renewals.language import formats

        first = formats.short_day(self.tag, start)
        return first if last <= start else formats.between(self.tag, first, formats.short_day(self.tag, last))

    def month(self, stored: str) -> str:
        """Format a month as stored, 2026-01, as within a date: January 2026"""
        if self.tag == tags.ENGLISH:
            return wording.month(stored)
        from renewals.language import formats

        return formats.month(self.tag, date.fromisoformat(f"{stored}-01"))

    def price(self, amount: Decimal, currency: str) -> str:
        """Format an amount as customers are used to, $1,029.99, as a marked value."""
        if self.tag == tags.ENGLISH:
            return marks.amount(wording.price(amount, currency))
        from renewals.language import formats

        return marks.amount(formats.price(self.tag, amount, currency))

    def money(self, amount: Decimal, currency: str) -> str:
        """Format an amount with the code of its currency, 29.99 USD, as a marked value."""
        if self.tag == tags.ENGLISH:
            return marks.amount(wording.money(amount, currency))
        from renewals.language import formats

        return marks.amount(formats.money(self.tag, amount, currency))

    def _value(self, value: str) -> str:
        if marks.is_amount(value):
            return value
        return marks.isolated(marks.without(value)) if self.direction == "rtl" else marks.without(value)


def words(locale: str) -> Words:
    """Return the language for a customer's language tag. Every text is accepted, and leads to English at the least."""
    return _spoken(tags.serving(locale))


@cache
def _spoken(tag: str) -> Words:
    return Words(tag)
