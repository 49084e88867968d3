"""The conversion to DynamoDB's attribute values and back, held to boto3's."""

from decimal import Decimal
from typing import Any

import pytest
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from hypothesis import given, settings
from hypothesis import strategies as st

from renewals.attribute_values import plain, wire

numbers = st.integers(-(10**37), 10**37) | st.decimals(-(10**9), 10**9, places=3).map(lambda number: number.normalize())
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@settings(max_examples=30)
@given(values)
def test_values_go_out_as_by_boto3(value: Any) -> None:
    """Whatever an item can hold is sent as boto3 would send it."""
    assert wire(value) == TypeSerializer().serialize(value)


sets = st.sets(st.text(), min_size=1) | st.sets(numbers, min_size=1) | st.sets(st.binary(), min_size=1)


@settings(max_examples=30)
@given(values | sets)
def test_values_come_back_as_by_boto3(value: Any) -> None:
    """Whatever boto3 wrote, sets too, is read as boto3 would read it."""
    attribute: Any = TypeSerializer().serialize(value)
    assert plain(attribute) == TypeDeserializer().deserialize(attribute)


@pytest.mark.proof
@settings(max_examples=2_000, deadline=None)
@given(values, values | sets)
def test_values_go_out_and_come_back_for_long(out: Any, back: Any) -> None:
    """As above, two thousand of each."""
    assert wire(out) == TypeSerializer().serialize(out)
    attribute: Any = TypeSerializer().serialize(back)
    assert plain(attribute) == TypeDeserializer().deserialize(attribute)


@pytest.mark.parametrize(
    "value", [1.5, Decimal("NaN"), Decimal("-Infinity"), Decimal("1e200"), Decimal(10**38 + 1), object()]
)
def test_what_dynamodb_would_not_keep_is_refused(value: Any) -> None:
    """A float, a number of 39 digits and what is no number at all are errors, alone and inside an item."""
    for item in (value, {"deep": [value]}):
        with pytest.raises((TypeError, ArithmeticError)):
            wire(item)
