"""Convert Python values to DynamoDB's attribute values, and back.

boto3.dynamodb.types does the same, but loads all of boto3, which takes a tenth of a function's start. The tests compare
this module with boto3.

https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_AttributeValue.html
"""

from __future__ import annotations

from decimal import Clamped, Context, Decimal, Inexact, Overflow, Rounded, Underflow
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import AttributeValueTypeDef, TransactWriteItemTypeDef

    from renewals.domain.item_values import Value


type TransactAction = TransactWriteItemTypeDef
"""An action of a transaction, in DynamoDB's form."""

# DynamoDB keeps numbers of at most 38 digits, with exponents in this range. A number that DynamoDB would round is an
# error.
_NUMBERS = Context(Emin=-128, Emax=126, prec=38, traps=[Clamped, Overflow, Inexact, Rounded, Underflow])


def wire(value: object) -> AttributeValueTypeDef:
    """Convert a value: a str becomes {"S": ...}, and so on.

    Raises:
        TypeError: an item cannot hold the value (a float, for example).
        ArithmeticError: DynamoDB would not keep the number unchanged.
    """
    match value:
        case None:
            return {"NULL": True}
        case bool():
            return {"BOOL": value}
        case int() | Decimal():
            return {"N": _number(value)}
        case str():
            return {"S": str(value)}  # for a member of an enumeration, its text
        case bytes():
            return {"B": value}
        case list() | tuple():
            return {"L": [wire(each) for each in value]}
        case dict():
            return {"M": {name: wire(each) for name, each in value.items()}}
        case frozenset():
            return _wire_set(value)
    raise TypeError(f"{type(value).__name__} cannot be stored in DynamoDB")


def plain(attribute: AttributeValueTypeDef) -> Value:
    """Convert an attribute value back: the inverse of `wire`. Numbers become Decimal, and sets become frozenset."""
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
    raise TypeError(f"{kind} is not an attribute type of DynamoDB")


def _wire_set(values: frozenset[object]) -> AttributeValueTypeDef:
    """Convert a set. Only people make sets, by editing items by hand; after reading, the set is written back
    unchanged."""
    if values and all(isinstance(each, str) for each in values):
        return {"SS": [each for each in values if isinstance(each, str)]}
    if values and all(isinstance(each, bytes) for each in values):
        return {"BS": [each for each in values if isinstance(each, bytes)]}
    numbers = [_number(each) for each in values if isinstance(each, Decimal)]
    if not numbers or len(numbers) < len(values):
        raise TypeError("DynamoDB stores only non-empty sets, of strings, of numbers or of bytes")
    return {"NS": numbers}


def _set(attribute: AttributeValueTypeDef) -> frozenset[str | Decimal | bytes]:
    if "NS" in attribute:
        return frozenset(map(_NUMBERS.create_decimal, attribute["NS"]))
    return frozenset(attribute["SS"]) if "SS" in attribute else frozenset(attribute["BS"])


def _number(value: int | Decimal) -> str:
    number = _NUMBERS.create_decimal(value)
    if not number.is_finite():
        raise TypeError("DynamoDB stores only finite numbers")
    return str(number)
