"""Reads a file of subscriptions, line by line: every line becomes a row, or a list of all faults.

The file is CSV with a header, or JSON Lines, in UTF-8. The columns of the header, and the keys of a JSON object, are
the attributes of a row; an empty cell is a missing attribute. Two checks make sure that an imported subscription can be
charged: the API's check of a new subscription, and the check of a row before every charge. The reader guesses nothing:
29,99 and 2025-3-1 are refused.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any

from pydantic import Field, ValidationError
from pydantic_core import ErrorDetails

from renewals.domain import subscription, texts
from renewals.domain.errors import BadRow, RenewalError
from renewals.domain.strict_json import NotAnObject, read_object
from renewals.domain.subscription import GATEWAY_ID_FORM, ID_FORM, Subscription, SubscriptionStatus
from scripts.plainly import Trouble
from subscriptions_api.request_models import Day, Id, NewSubscription

_NOT_GIVEN: Any = None
_LONGEST_LINE = 64 * 1024
_WHOLE = re.compile(r"\d{1,4}", re.ASCII)
_NOT_A_DAY = "is not a date of the form YYYY-MM-DD from 2000 on"
_NOT_AN_ID = f"is not an id: {ID_FORM}"
_NOT_A_GATEWAYS_ID = f"is not an id of the gateway's: {GATEWAY_ID_FORM}"
_FORMS = {
    "subscription_id": _NOT_AN_ID,
    "customer_id": _NOT_AN_ID,
    "renewal_date": _NOT_A_DAY,
    "cancel_at": _NOT_A_DAY,
    "test_clock": _NOT_A_DAY,
    "amount": "is not a number such as 29.99, with a point and at most three decimals",
    "currency": "is not an ISO 4217 code in capital letters",
    "gateway_customer": _NOT_A_GATEWAYS_ID,
    "payment_method": _NOT_A_GATEWAYS_ID,
    "interval_count": "is not a whole number from 1 to 1000",
    "anchor_day": "is not a whole number from 1 to 31",
    "locale": "is not a language such as en or pt-BR",
}


class BadFile(Trouble):
    """The file cannot be read."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the file.

    number: counted from 1. subscription: the subscription that the line describes, parsed and checked; None for a bad
    line. faults: all faults of the line, in words.
    """

    number: int
    subscription: Subscription | None
    faults: tuple[str, ...] = ()


class _Imported(NewSubscription):
    """A new subscription as in the API, with additional attributes for subscriptions from a different system."""

    subscription_id: Id
    renewal_date: Day
    status: Annotated[SubscriptionStatus, Field(strict=False)] = SubscriptionStatus.ACTIVE
    cancel_at: Day = _NOT_GIVEN
    test_clock: Day = _NOT_GIVEN


COLUMNS = (*_Imported.model_fields, "currency")
_NEEDED = ("currency", *(name for name, field in _Imported.model_fields.items() if field.is_required()))


class _Bad(RenewalError):  # noqa: N818
    """The line cannot be parsed."""


def from_csv(lines: Iterable[str]) -> Iterator[Line]:
    """Yield the lines after the header. Raises BadFile for an invalid header. Quoted line breaks are not supported."""
    numbered = _numbered(lines)
    first = next(numbered, None)
    header = _header(first[1]) if first else []

    def fields(text: str) -> dict[str, Any]:
        cells = _cells(text)
        if len(cells) != len(header):
            raise _Bad(f"has {len(cells)} cells, and the header has {len(header)}")
        given = {name: cell for name, cell in zip(header, cells, strict=True) if cell}
        numbers = {name: int(given[name]) for name in ("interval_count", "anchor_day") if _is_whole(given.get(name))}
        return given | numbers

    yield from _judged(numbered, fields)


def from_json_lines(lines: Iterable[str]) -> Iterator[Line]:
    """Yield a line for every JSON object. Numbers are read digit by digit, never as floats."""
    yield from _judged(_numbered(lines), _object)


def judge(fields: Mapping[str, Any]) -> Subscription | tuple[str, ...]:
    """Return the subscription that the fields describe, or all faults. An amount is a string, such as "29.99"."""
    unreadable = {name: f"{name} {why}" for name, why in map(_unreadable, fields.items()) if why}
    money = {name: fields[name] for name in ("amount", "currency") if name in fields}
    rest = {name: value for name, value in fields.items() if name not in money}
    try:
        given = _Imported.model_validate({**rest, "amount": money})
        row = given.row(given.subscription_id, subscription.day(fields, "renewal_date")) | {"status": given.status}
        checked = subscription.parse(row)
        subscription.check_anchor(checked)
    except ValidationError as bad:
        errors = [each for each in bad.errors(include_url=False) if each["loc"][-1] not in unreadable]
        return (*unreadable.values(), *map(_said, errors))
    except BadRow as bad:
        return (*unreadable.values(), f"{bad.field} {bad.reason}")
    return tuple(unreadable.values()) or checked


def _judged(numbered: Iterator[tuple[int, str]], fields_of: Any) -> Iterator[Line]:
    seen: dict[Any, int] = {}
    for number, text in numbered:
        try:
            if len(text) > _LONGEST_LINE:
                raise _Bad(f"is longer than {_LONGEST_LINE} characters")
            if any("\udc80" <= c <= "\udcff" for c in text):
                raise _Bad("is not UTF-8 text")
            fields = fields_of(text)
        except _Bad as bad:
            yield Line(number, None, (str(bad),))
            continue
        named = fields.get("subscription_id")
        first = seen.setdefault(named, number) if isinstance(named, str) else number
        judged = judge(fields)
        faults = judged if isinstance(judged, tuple) else ()
        if first != number:
            faults = (*faults, f"subscription_id is already used in line {first}")
        yield Line(number, None if isinstance(judged, tuple) or faults else judged, faults)


def _numbered(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Yield the lines that are not empty, with their numbers."""
    for number, text in enumerate(lines, 1):
        if text.strip(" \t\r\n,"):
            yield number, text.rstrip("\r\n")


def _header(text: str) -> list[str]:
    try:
        names = _cells(text)
    except _Bad as bad:
        raise BadFile(f"The header {bad}.") from None
    if "\x00" in text or any("\udc80" <= c <= "\udcff" for c in text):
        raise BadFile("The file is not UTF-8 text: save it as CSV UTF-8.")
    if ";" in text and len(names) == 1:
        raise BadFile("The columns are separated by semicolons: separate them by commas.")
    unknown = [name for name in names if name not in COLUMNS]
    missing = [name for name in _NEEDED if name not in names]
    said = [f"unknown attributes: {', '.join(map(repr, unknown))}"] if unknown else []
    said += [f"missing attributes: {', '.join(missing)}"] if missing else []
    said += ["a column occurs twice"] if len(set(names)) < len(names) else []
    if said:
        raise BadFile(f"The first line is not a header that can be read: {'; '.join(said)}.")
    return names


def _cells(text: str) -> list[str]:
    try:
        [cells] = csv.reader([text], strict=True)
    except (csv.Error, ValueError) as error:
        raise _Bad(f"cannot be parsed: {error}") from None
    return cells


def _object(text: str) -> dict[str, Any]:
    try:
        fields = read_object(text, exact=True)
    except NotAnObject as bad:
        raise _Bad(str(bad)) from None
    numbers = {name: value for name, value in fields.items() if isinstance(value, Decimal)}
    return fields | {name: _digits(value) if name == "amount" else _whole(value) for name, value in numbers.items()}


def _digits(number: Decimal) -> str:
    """Return a number in plain notation, unless absurdly large or small."""
    return f"{number:f}" if int(number.as_tuple().exponent) > -20 and number.adjusted() < 20 else str(number)


def _whole(number: Decimal) -> int | Decimal:
    return int(number) if number.adjusted() < 20 and number % 1 == 0 else number


def _is_whole(cell: str | None) -> bool:
    return cell is not None and _WHOLE.fullmatch(cell) is not None


def _unreadable(field: tuple[str, Any]) -> tuple[str, str | None]:
    """Return the field's name and the fault of the field's text, such as a control character; no fault is None."""
    name, value = field
    return name, texts.fault(value) if isinstance(value, str) else None


def _said(error: ErrorDetails) -> str:
    """Return the fault of a field, in words."""
    field, kind, context = str(error["loc"][-1]), error["type"], error.get("ctx", {})
    match kind:
        case "missing":
            return f"{field} is missing"
        case "extra_forbidden":
            return f"{field!r} is not an attribute of a subscription"
        case "money" | "address":
            return error["msg"]
        case "text":
            return f"{field} {error['msg']}"
        case "literal_error" | "enum":
            return f"{field} is none of {context['expected']}"
        case "string_too_long":
            return f"{field} is longer than {context['max_length']} characters"
        case "string_too_short":
            return f"{field} is empty"
        case "string_type" if not _FORMS.get(field):
            return f"{field} is not text"
    return f"{field} {_FORMS.get(field, error['msg'])}"
