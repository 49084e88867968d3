"""Python values as DynamoDB's attribute values, and back.

boto3.dynamodb.types does the same, but loads all of boto3, a tenth of a function's start. The tests hold one to the
other.

https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_AttributeValue.html
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Clamped, Context, Decimal, Inexact, Overflow, Rounded, Underflow
from enum import StrEnum
from typing import TYPE_CHECKING, overload

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import AttributeValueTypeDef, TransactWriteItemTypeDef

type Value = (
    str | Decimal | bool | list[Value] | dict[str, Value] | bytes | frozenset[str | Decimal | bytes] | int | None
)
"""What an attribute of an item holds. `plain` reads a number as a Decimal; an int is only on its way to the table."""

type Item = Mapping[str, Value]
"""An item as it stands in a table. Somebody may have written it by hand: an attribute may be of any type, or absent."""

type TransactAction = TransactWriteItemTypeDef
"""An action of a transaction, as DynamoDB takes it."""

# DynamoDB keeps 38 digits and these exponents. What would be rounded is an error, never another number.
_NUMBERS = Context(Emin=-128, Emax=126, prec=38, traps=[Clamped, Overflow, Inexact, Rounded, Underflow])


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


def wire(value: object) -> AttributeValueTypeDef:
    """A str as {"S": ...}, and so on. Raises TypeError for what has no place in an item (a float, for one), and
    ArithmeticError for a number that DynamoDB would not keep as it is."""
    match value:
        case None:
            return {"NULL": True}
        case bool():
            return {"BOOL": value}
        case int() | Decimal():
            return {"N": _number(value)}
        case str():
            return {"S": str(value)}  # of a member of an enumeration its text
        case bytes():
            return {"B": value}
        case list() | tuple():
            return {"L": [wire(each) for each in value]}
        case dict():
            return {"M": {name: wire(each) for name, each in value.items()}}
        case frozenset():
            return _wire_set(value)
    raise TypeError(f"{type(value).__name__} is no attribute value")


def plain(attribute: AttributeValueTypeDef) -> Value:
    """The inverse of `wire`; numbers are Decimal, sets are frozenset."""
    (kind,) = attribute
    match kind:
        case "NULL":
            return None
        case "N":
            return _NUMBERS.create_decimal(attribute["N"])
        case "M":
            return {name: plain(each) for name, each in attribute["M"].items()}
        case "L":
            return [plain(each) for each in attribute["L"]]
        case "NS" | "SS" | "BS":
            return _set(attribute)
        case "S":
            return attribute["S"]
        case "B":
            return attribute["B"]
        case "BOOL":
            return attribute["BOOL"]
    raise TypeError(f"{kind} is no type of DynamoDB's")


def _wire_set(values: frozenset[object]) -> AttributeValueTypeDef:
    """Only somebody who writes by hand makes sets; what is read of such an item is written back as it was."""
    if values and all(isinstance(each, str) for each in values):
        return {"SS": [each for each in values if isinstance(each, str)]}
    if values and all(isinstance(each, bytes) for each in values):
        return {"BS": [each for each in values if isinstance(each, bytes)]}
    numbers = [_number(each) for each in values if isinstance(each, Decimal)]
    if not numbers or len(numbers) < len(values):
        raise TypeError("DynamoDB keeps sets of texts, of numbers, or of bytes, and none that is empty")
    return {"NS": numbers}


def _set(attribute: AttributeValueTypeDef) -> frozenset[str | Decimal | bytes]:
    if "NS" in attribute:
        return frozenset(map(_NUMBERS.create_decimal, attribute["NS"]))
    return frozenset(attribute["SS"]) if "SS" in attribute else frozenset(attribute["BS"])


# Attributes that have one type wherever this system wrote them


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


def _number(value: int | Decimal) -> str:
    number = _NUMBERS.create_decimal(value)
    if not number.is_finite():
        raise TypeError("DynamoDB keeps finite numbers only")
    return str(number)
