"""Dates and amounts in English, in the formats that operators read, too: English mails and receipts need no Babel."""

from datetime import date
from decimal import Decimal

from renewals.domain import wording


class English:
    """The formats of English; renewals.language.spoken.Formats describes the methods."""

    def day(self, on: date) -> str:
        return wording.day(on)

    def short_day(self, on: date) -> str:
        return f"{on.day} {on:%b} {on.year}"

    def between(self, first: str, last: str) -> str:
        return f"{first} to {last}"

    def month(self, on: date) -> str:
        return f"{on:%B %Y}"

    def price(self, amount: Decimal, currency: str) -> str:
        return wording.price(amount, currency)

    def money(self, amount: Decimal, currency: str) -> str:
        return wording.money(amount, currency)
