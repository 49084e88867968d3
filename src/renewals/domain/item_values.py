"""What stands in an item, as Python has it, and how an attribute is read that may have been written by hand. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import overload

type Value = (
    str | Decimal | bool | list[Value] | dict[str, Value] | bytes | frozenset[str | Decimal | bytes] | int | None
)
"""What an attribute of an item holds. `plain` reads a number as a Decimal; an int is only on its way to the table."""


type Item = Mapping[str, Value]
"""An item as it stands in a table. Somebody may have written it by hand: an attribute may be of any type, or absent."""


@overload
def storable(value: date) -> str: ...
@overload
def storable(value: Value) -> Value: ...
@overload
def storable(value: object) -> object: ...
def storable(value: object) -> object:
    """Dates and times as ISO 8601, a StrEnum as the plain string it is; anything else as it comes."""
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds")
    if isinstance(value, date):
        return value.isoformat()
    return value


def text(item: Mapping[str, object], name: str) -> str:
    """The text of an attribute. Raises KeyError where it is absent, TypeError where it is no text."""
    value = item[name]
    if not isinstance(value, str):
        raise TypeError(f"{name} is no text")
    return value


def text_or(item: Mapping[str, object], name: str, otherwise: str) -> str:
    """As text; `otherwise` where the attribute is absent."""
    return text(item, name) if name in item else otherwise


def number(item: Mapping[str, object], name: str) -> Decimal:
    """The number of an attribute. Raises KeyError where it is absent, TypeError where it is no number."""
    value = item[name]
    if not isinstance(value, Decimal):
        raise TypeError(f"{name} is no number")
    return value


def whole(item: Mapping[str, object], name: str) -> int:
    """A whole number. Raises KeyError where the attribute is absent, TypeError or ValueError where it holds none."""
    value = item[name]
    if not isinstance(value, Decimal | int | str):
        raise TypeError(f"{name} is no number")
    return int(value)


def fields(item: Mapping[str, object], name: str) -> dict[str, Value]:
    """The attributes within an attribute. Raises KeyError where it is absent, TypeError where it holds none."""
    value = item[name]
    if not isinstance(value, dict):
        raise TypeError(f"{name} holds no attributes")
    return value


def fields_or_empty(item: Mapping[str, object], name: str) -> dict[str, Value]:
    """As fields; none where the attribute is absent."""
    return fields(item, name) if name in item else {}


def several(item: Mapping[str, object], name: str) -> list[Value]:
    """The values that an attribute lists. Raises KeyError where it is absent, TypeError where it is no list."""
    value = item[name]
    if not isinstance(value, list):
        raise TypeError(f"{name} is no list")
    return value


def day(item: Mapping[str, object], name: str) -> date:
    """The day of an attribute. Raises as text, and ValueError where the text is no day."""
    return date.fromisoformat(text(item, name))


def moment(item: Mapping[str, object], name: str) -> datetime:
    """The moment of an attribute. Raises as text, and ValueError where the text is no moment."""
    return datetime.fromisoformat(text(item, name))
