"""Python values as DynamoDB's attribute values, and back.

boto3.dynamodb.types does the same, but loads all of boto3, a tenth of a function's start. The tests hold one to the
other.

https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_AttributeValue.html
"""

from datetime import date, datetime
from decimal import Clamped, Context, Decimal, Inexact, Overflow, Rounded, Underflow
from enum import StrEnum
from typing import Any

# DynamoDB keeps 38 digits and these exponents. What would be rounded is an error, never another number.
_NUMBERS = Context(Emin=-128, Emax=126, prec=38, traps=[Clamped, Overflow, Inexact, Rounded, Underflow])


def storable(value: Any) -> Any:
    """Dates and times as ISO 8601, a StrEnum as the plain string it is; anything else as it comes."""
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds")
    if isinstance(value, date):
        return value.isoformat()
    return value


def wire(value: Any) -> dict[str, Any]:
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
    raise TypeError(f"{type(value).__name__} is no attribute value")


def plain(attribute: dict[str, Any]) -> Any:
    """The inverse of `wire`; numbers are Decimal, sets are frozenset."""
    ((kind, value),) = attribute.items()
    match kind:
        case "NULL":
            return None
        case "N":
            return _NUMBERS.create_decimal(value)
        case "M":
            return {name: plain(each) for name, each in value.items()}
        case "L":
            return [plain(each) for each in value]
        case "NS":
            return frozenset(map(_NUMBERS.create_decimal, value))
        case "SS" | "BS":
            return frozenset(value)
        case "S" | "B" | "BOOL":
            return value
    raise TypeError(f"{kind} is no type of DynamoDB's")


def _number(value: int | Decimal) -> str:
    number = _NUMBERS.create_decimal(value)
    if not number.is_finite():
        raise TypeError("DynamoDB keeps finite numbers only")
    return str(number)
