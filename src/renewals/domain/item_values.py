"""The values of a table's item as Python types, and readers for attributes that may be written by hand. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import overload

type Value = (
    str | Decimal | bool | list[Value] | dict[str, Value] | bytes | frozenset[str | Decimal | bytes] | int | None
)
"""The value of an attribute. A number read from a table is a Decimal (renewals.runtime.dynamodb.plain); an int occurs
only in a value that is about to be written."""


type Item = Mapping[str, Value]
"""An item as stored in a table. A person may have written the item by hand: every attribute may be absent or of the
wrong type."""


@overload
def storable(value: date) -> str: ...
@overload
def storable(value: Value) -> Value: ...
@overload
def storable(value: object) -> object: ...
def storable(value: object) -> object:
    """Convert a date or time to ISO 8601 and a StrEnum to its plain string; return every other value unchanged."""
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds")
    if isinstance(value, date):
        return value.isoformat()
    return value


def text(item: Mapping[str, object], name: str) -> str:
    """Return the text of an attribute. Raises KeyError for an absent attribute, TypeError for a value of another
    type."""
    value = item[name]
    if not isinstance(value, str):
        raise TypeError(f"{name} is no text")
    return value


def text_or(item: Mapping[str, object], name: str, otherwise: str) -> str:
    """Like text, but return `otherwise` for an absent attribute."""
    return text(item, name) if name in item else otherwise


def number(item: Mapping[str, object], name: str) -> Decimal:
    """Return the number of an attribute. Raises KeyError for an absent attribute, TypeError for a value of another
    type."""
    value = item[name]
    if not isinstance(value, Decimal):
        raise TypeError(f"{name} is no number")
    return value


def whole(item: Mapping[str, object], name: str) -> int:
    """Return the whole number of an attribute.

    Raises KeyError for an absent attribute, TypeError or ValueError for a value that is no whole number.
    """
    value = item[name]
    if not isinstance(value, Decimal | int | str):
        raise TypeError(f"{name} is no number")
    return int(value)


def fields(item: Mapping[str, object], name: str) -> dict[str, Value]:
    """Return the map of an attribute. Raises KeyError for an absent attribute, TypeError for a value of another
    type."""
    value = item[name]
    if not isinstance(value, dict):
        raise TypeError(f"{name} is no map")
    return value


def fields_or_empty(item: Mapping[str, object], name: str) -> dict[str, Value]:
    """Like fields, but return an empty dict for an absent attribute."""
    return fields(item, name) if name in item else {}


def several(item: Mapping[str, object], name: str) -> list[Value]:
    """Return the list of an attribute. Raises KeyError for an absent attribute, TypeError for a value of another
    type."""
    value = item[name]
    if not isinstance(value, list):
        raise TypeError(f"{name} is no list")
    return value


def day(item: Mapping[str, object], name: str) -> date:
    """Return the date of an attribute. Raises the errors of text, and ValueError if the text is no date."""
    return date.fromisoformat(text(item, name))


def moment(item: Mapping[str, object], name: str) -> datetime:
    """Return the moment of an attribute. Raises the errors of text, and ValueError if the text is no moment."""
    return datetime.fromisoformat(text(item, name))
