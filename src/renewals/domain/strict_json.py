"""Read JSON from strangers without guessing: a single object, no repeated field, and none of Python's extensions."""

import json
from decimal import Decimal

type Json = str | int | float | Decimal | bool | list[Json] | dict[str, Json] | None
"""A value of JSON. A number is a Decimal in exact reading, otherwise an int or a float."""


class NotAnObject(ValueError):  # noqa: N818
    """The text is not a single JSON object that keeps the rules of the module. The message gives the reason and never
    quotes the text."""


def read_object(text: str | bytes, *, exact: bool = False) -> dict[str, Json]:
    """Read the JSON object of a text. exact: read every number as a Decimal, digit for digit. Raises NotAnObject."""
    number = Decimal if exact else None
    try:
        value: Json = json.loads(
            text, parse_constant=_no_constant, object_pairs_hook=_once, parse_float=number, parse_int=number
        )
    except NotAnObject:
        raise
    except (ValueError, RecursionError):
        raise NotAnObject("is not JSON") from None
    except ArithmeticError:
        raise NotAnObject("has a number with an exponent out of range") from None
    if not isinstance(value, dict):
        raise NotAnObject("is not a JSON object")
    return value


def _once(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise NotAnObject("gives a field more than once")
    return fields


def _no_constant(name: str) -> None:
    raise ValueError(name)  # NaN and Infinity are Python's extensions of JSON
