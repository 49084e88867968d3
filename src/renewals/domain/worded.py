"""Enumerations of which each member has words for people beside its spelling, and how a stored spelling is read."""

from enum import StrEnum
from typing import NewType, Self

Unknown = NewType("Unknown", str)
"""A stored spelling that this version does not know: another version wrote it."""


class Worded(StrEnum):
    """Each member is its spelling, which is stored and compared. words: the same for people, without any code."""

    words: str

    def __new__(cls, spelling: str, words: str = "") -> Self:
        member = str.__new__(cls, spelling)
        member._value_, member.words = spelling, words
        return member

    @classmethod
    def words_of(cls, stored: object) -> str | None:
        """The words of a stored spelling; None where this version does not know the spelling, or it is no text."""
        return cls(stored).words if isinstance(stored, str) and stored in cls else None


def member[E: StrEnum](of: type[E], stored: object) -> E | Unknown:
    """The member of an enumeration with this stored spelling. Somebody may have written any value by hand."""
    spelling = str(stored)
    return of(spelling) if spelling in of else Unknown(spelling)
