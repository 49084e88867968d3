"""The languages of the customers: the texts of mails, receipts and pages, and how dates and amounts are written.

`words(locale)` finds the language for a customer. Operators' words (timeline, console, commands, logs) stay English.
"""

from renewals.language.spoken import Words, words

__all__ = ["Words", "words"]
