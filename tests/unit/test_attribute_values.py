"""The conversion to DynamoDB's attribute values and back agrees with boto3's."""

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from hypothesis import given, settings
from hypothesis import strategies as st

from renewals.domain.item_values import day, fields, fields_or_empty, moment, number, several, text, whole
from renewals.runtime.attribute_values import plain, wire

numbers = st.integers(-(10**37), 10**37) | st.decimals(-(10**9), 10**9, places=3).map(lambda number: number.normalize())
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@settings(max_examples=30)
@given(values)
def test_values_go_out_as_by_boto3(value: Any) -> None:
    """Every value that an item can hold is sent as boto3 would send the value."""
    assert wire(value) == TypeSerializer().serialize(value)


sets = st.sets(st.text(), min_size=1) | st.sets(numbers, min_size=1) | st.sets(st.binary(), min_size=1)


@settings(max_examples=30)
@given(sets | st.lists(sets, max_size=3) | st.dictionaries(st.text(), sets))
def test_whatever_comes_back_can_be_written_again(value: Any) -> None:
    """A value read from an item can be written back unchanged, even a set, which only a person writing by hand
    makes."""
    attribute: Any = TypeSerializer().serialize(value)
    assert TypeDeserializer().deserialize(wire(plain(attribute))) == TypeDeserializer().deserialize(attribute)


@settings(max_examples=30)
@given(values | sets)
def test_values_come_back_as_by_boto3(value: Any) -> None:
    """Every value that boto3 wrote, sets too, is read as boto3 would read the value."""
    attribute: Any = TypeSerializer().serialize(value)
    assert plain(attribute) == TypeDeserializer().deserialize(attribute)


@pytest.mark.proof
@settings(max_examples=2_000, deadline=None)
@given(values, values | sets)
def test_values_go_out_and_come_back_for_long(out: Any, back: Any) -> None:
    """Two thousand random values go out, and two thousand come back, as by boto3."""
    assert wire(out) == TypeSerializer().serialize(out)
    attribute: Any = TypeSerializer().serialize(back)
    assert plain(attribute) == TypeDeserializer().deserialize(attribute)


@pytest.mark.parametrize(
    "value",
    [
        *(1.5, Decimal("NaN"), Decimal("-Infinity"), Decimal("1e200"), Decimal(10**38 + 1), object()),
        *(frozenset(), frozenset({"x", Decimal(1)}), frozenset({1.5}), frozenset({Decimal("NaN")})),
    ],
)
def test_what_dynamodb_would_not_keep_is_refused(value: Any) -> None:
    """A float, a number of 39 digits, NaN, infinity, a foreign object, and an empty or mixed set are errors, alone and
    inside an item."""
    for item in (value, {"deep": [value]}):
        with pytest.raises((TypeError, ArithmeticError)):
            wire(item)


READ: list[tuple[Callable[[Mapping[str, object], str], object], object, object]] = [
    (text, "x", "x"),
    (number, Decimal("1.5"), Decimal("1.5")),
    (whole, Decimal(3), 3),
    (whole, "3", 3),
    (fields, {"a": "b"}, {"a": "b"}),
    (fields_or_empty, {"a": "b"}, {"a": "b"}),
    (several, ["a"], ["a"]),
    (day, "2026-01-31", date(2026, 1, 31)),
    (moment, "2026-01-31T12:00:00+00:00", datetime(2026, 1, 31, 12, tzinfo=UTC)),
]


@pytest.mark.parametrize(("read", "kept", "found"), READ)
def test_an_attribute_is_read_as_what_it_is_or_refused(read: Any, kept: object, found: object) -> None:
    """A reader returns the value, raises KeyError for an absent attribute, and raises TypeError for an attribute of a
    wrong type."""
    assert read({"name": kept}, "name") == found
    others: list[object] = [None, b"x", frozenset({"x"}), [], {}, "x", Decimal(1)]
    for other in others:
        if type(other) is not type(kept) and not (read is whole and isinstance(other, str | Decimal)):
            with pytest.raises(TypeError, match="name"):
                read({"name": other}, "name")
    if read is fields_or_empty:
        assert read({}, "name") == {}
    else:
        with pytest.raises(KeyError, match="name"):
            read({}, "name")


@pytest.mark.parametrize("read", [day, moment, whole])
def test_a_text_that_is_no_such_value_is_refused(read: Any) -> None:
    """A misspelt day, moment or number raises ValueError, as Python's own parsers do."""
    with pytest.raises(ValueError, match="x"):
        read({"name": "x"}, "name")
