"""What is said to a customer, in the customer's language."""

from __future__ import annotations

from datetime import date, timedelta
from functools import cache
from typing import TYPE_CHECKING

from renewals.language import marks, tags
from renewals.language.catalogues import catalogue

if TYPE_CHECKING:
    from decimal import Decimal
    from typing import Protocol

    class Formats(Protocol):
        """How a language writes dates and amounts."""

        def day(self, on: date) -> str:
            """Format a day: 31 January 2026"""
            ...

        def short_day(self, on: date) -> str:
            """Format a day in few characters: 31 Jan 2026"""
            ...

        def between(self, first: str, last: str) -> str:
            """Join the first and the last day of a period."""
            ...

        def month(self, on: date) -> str:
            """Format a month as within a date: January 2026"""
            ...

        def price(self, amount: Decimal, currency: str) -> str:
            """Format an amount with the sign of its currency: $29.99"""
            ...

        def money(self, amount: Decimal, currency: str) -> str:
            """Format an amount with the code of its currency: 29.99 USD"""
            ...


_ENDING, _NO_BRAND = " ending in ", "Unknown"
_WITHOUT_SPACES = ("ja", "zh")


class Words:
    """A language in use. tag: the language, such as de."""

    __slots__ = ("tag",)

    def __init__(self, tag: str) -> None:
        self.tag = tag

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
        values = {name: self.value(value) for name, value in values.items()}
        text = catalogue(area, self.tag).get(key)
        if text is not None and self.tag != tags.ENGLISH:
            try:
                return text.format(**values)
            except (KeyError, IndexError, ValueError, AttributeError, TypeError):
                pass
        return catalogue(area, tags.ENGLISH)[key].format(**values)

    def value(self, value: str) -> str:
        """Mark a value for its place in a text, such as an id or the name of a plan; `say` marks its values itself."""
        if marks.is_amount(value):
            return value
        if self.direction == "ltr":
            return marks.without(value)
        return marks.isolated(value if marks.is_balanced(value) else marks.without(value))

    def joined(self, *sentences: str) -> str:
        """Return a paragraph of sentences. Japanese and Chinese have no space between sentences."""
        return ("" if self.tag in _WITHOUT_SPACES else " ").join(sentences)

    def card(self, name: str) -> str:
        """Return the name of a card, which the ledger holds in English, as "Visa ending in 4242". The gateway calls a
        brand that it does not know "unknown"; a customer then reads of a card."""
        brand, ending, digits = name.partition(_ENDING)
        if ending and brand == _NO_BRAND:
            return self.say("shared.card_of_no_brand", digits=digits)
        return self.say("shared.card", brand=brand, digits=digits) if ending and self.tag != tags.ENGLISH else name

    def plain(self, text: str) -> str:
        """Finish a text for plain text: a text from left to right needs no marks (renewals.language.marks)."""
        return text if self.direction == "rtl" else marks.without(text)

    def day(self, on: date) -> str:
        """Format a day: 31 January 2026"""
        return self._formats.day(on)

    def days(self, start: date, end: date) -> str:
        """Format a period by its first and last day, or by the day alone if the period has a single day. end: the first
        day after the period."""
        first, last = (self._formats.day(day) for day in (start, end - timedelta(days=1)))
        return first if end - start <= timedelta(days=1) else self._formats.between(first, last)

    def short_days(self, start: date, end: date) -> str:
        """Format a period like `days`, in few characters: 31 Jan 2026 – 27 Feb 2026"""
        first, last = (self._formats.short_day(day) for day in (start, end - timedelta(days=1)))
        return first if first == last else f"{first} – {last}"

    def month(self, stored: str) -> str:
        """Format a month as stored, 2026-01, as within a date: January 2026"""
        return self._formats.month(date.fromisoformat(f"{stored}-01"))

    def price(self, amount: Decimal, currency: str) -> str:
        """Format an amount as customers are used to, $1,029.99, as a marked value."""
        return marks.amount(self._formats.price(amount, currency))

    def money(self, amount: Decimal, currency: str) -> str:
        """Format an amount with the code of its currency, 29.99 USD, as a marked value."""
        return marks.amount(self._formats.money(amount, currency))

    @property
    def _formats(self) -> Formats:
        """The formats are imported at first use: the function that makes receipts must start fast, and Babel is for
        languages other than English alone."""
        if self.tag == tags.ENGLISH:
            from renewals.language.english import English

            return English()
        from renewals.language.by_babel import formats

        return formats(self.tag)


def words(locale: str) -> Words:
    """Return the language for a customer's language tag. Every text is accepted, and leads to English at the least."""
    return _spoken(tags.serving(locale))


@cache
def _spoken(tag: str) -> Words:
    return Words(tag)
