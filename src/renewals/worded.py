"""Enumerations of which each member has words for people beside its spelling."""

from enum import StrEnum
from typing import Self


class Worded(StrEnum):
    """Each member is its spelling, which is stored and compared. words: the same for people, without any code."""

    words: str

    def __new__(cls, spelling: str, words: str = "") -> Self:
        member = str.__new__(cls, spelling)
        member._value_, member.words = spelling, words
        return member

    @classmethod
    def words_of(cls, spelling: str) -> str | None:
        """The words of a stored spelling; None where this version does not know the spelling."""
        return cls(spelling).words if spelling in cls else None
