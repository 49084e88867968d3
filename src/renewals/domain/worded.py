"""Enumerations whose members have a stored spelling and words for people; and functions to read a stored spelling.

Decisions: D198, D199 (DECISIONS.md).
"""

from enum import StrEnum
from typing import NewType, Self

Unknown = NewType("Unknown", str)
"""A stored spelling unknown to this version: a different version, or a person, wrote the spelling."""


class Worded(StrEnum):
    """An enumeration with words. A member equals its spelling, for storing and comparing. words: the text that people
    read in place of the spelling."""

    words: str

    def __new__(cls, spelling: str, words: str = "") -> Self:
        member = str.__new__(cls, spelling)
        member._value_, member.words = spelling, words
        return member

    @classmethod
    def words_of(cls, stored: object) -> str | None:
        """Return the words of a stored spelling; None for an unknown spelling, or for a value of another type."""
        return cls(stored).words if isinstance(stored, str) and stored in cls else None


def member[E: StrEnum](of: type[E], stored: object) -> E | Unknown:
    """Return the member with the stored spelling, or an Unknown if no member has the spelling. The stored value may be
    of any type, since a person may have written the value by hand."""
    spelling = str(stored)
    return of(spelling) if spelling in of else Unknown(spelling)
