"""Enumerations with a spelling and words for people in every member, and the reading of stored spellings.

Decisions: D198, D199 (DECISIONS.md).
"""

from enum import StrEnum
from typing import NewType, Self

Unknown = NewType("Unknown", str)
"""A stored spelling unknown to this version: a different version, or a person, wrote the spelling."""


class Worded(StrEnum):
    """An enumeration with words. A member equals its spelling, for storing and comparing. words: for people, without
    codes."""

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
    """Return the member with the stored spelling. A person may have written any value by hand."""
    spelling = str(stored)
    return of(spelling) if spelling in of else Unknown(spelling)
