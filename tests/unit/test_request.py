"""The request for a renewal: written and read in a single place, in the spelling known to every version."""

import json
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renewals.domain.request import Asks, NoRequest, RenewalRequest
from renewals.domain.subscription import renewal_date_of
from renewals.runtime import telemetry

WORDS = st.text("abc_:.-", min_size=1, max_size=9)
REQUESTS = st.builds(
    RenewalRequest,
    subscription_id=WORDS,
    customer_id=WORDS,
    amount=st.decimals(0, 999, places=2),
    renewal_date=st.none() | st.dates(date(2000, 1, 1)),
    asks=st.sampled_from(Asks),
    webhook_id=st.none() | st.text(max_size=9),
)
FIELDS: dict[str, Any] = {
    "subscription_id": "sub_1",
    "customer_id": "cus_1",
    "renewal_date": "2026-01-31",
    "amount": "29.99",
    "event_type": "subscription.reminder",
    "webhook_id": "msg_1",
}


@given(REQUESTS)
def test_what_is_written_is_read(request: RenewalRequest) -> None:
    """Reading a written request gives an equal request."""
    assert RenewalRequest.from_json(request.to_json()) == request


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (
            RenewalRequest("s", "c", Decimal("29.90"), date(2026, 1, 31)),
            '{"subscription_id": "s", "customer_id": "c", "renewal_date": "2026-01-31", "amount": "29.90"}',
        ),
        (
            RenewalRequest("s", "c", Decimal("1E+2"), webhook_id=""),
            '{"subscription_id": "s", "customer_id": "c", "amount": "100", '
            '"event_type": "subscription.renewal", "webhook_id": ""}',
        ),
        (
            RenewalRequest("s", "c", Decimal(0), date(2026, 1, 31), Asks.SETTLE_REFUNDS),
            '{"subscription_id": "s", "customer_id": "c", "renewal_date": "2026-01-31", "amount": "0", '
            '"event_type": "subscription.refunds"}',
        ),
        (
            RenewalRequest("s", "c", Decimal(5), date(2026, 1, 31), Asks.REMIND),
            '{"subscription_id": "s", "customer_id": "c", "renewal_date": "2026-01-31", "amount": "5", '
            '"event_type": "subscription.reminder"}',
        ),
    ],
)
def test_a_request_is_spelled_as_it_always_was(request_: RenewalRequest, text: str) -> None:
    """The requests of the sweep, of a webhook, and about refunds and reminders keep the texts that an earlier version
    reads."""
    assert request_.to_json() == text


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("subscription_id", None, "is not a string"),
        ("subscription_id", "", "is empty"),
        ("customer_id", 7, "is not a string"),
        ("customer_id", "", "is empty"),
        ("amount", 29.99, "is not a string"),
        ("amount", True, "is not a string"),
        ("amount", "much", "is not a decimal string such as 29.99"),
        ("amount", "NaN", "is not a decimal string such as 29.99"),
        ("amount", "sNaN", "is not a decimal string such as 29.99"),
        ("amount", "-Infinity", "is not a decimal string such as 29.99"),
        ("renewal_date", None, "is not a string"),
        ("renewal_date", "31.1.2026", "is not a date, YYYY-MM-DD"),
        ("event_type", None, "is not a string"),
        (
            "event_type",
            "invoice.paid",
            f"is none of {', '.join(Asks)}",
        ),
        ("webhook_id", 1, "is not a string"),
    ],
)
def test_what_is_no_request_names_the_field_at_fault(field: str, value: Any, why: str) -> None:
    """A wrong field is refused by name and never quoted, and an unknown event type is never taken for a charge."""
    with pytest.raises(NoRequest) as raised:
        RenewalRequest.from_fields(FIELDS | {field: value})
    assert (raised.value.field, str(raised.value)) == (field, f"{field} {why}")


@pytest.mark.parametrize("field", ["subscription_id", "customer_id", "amount"])
def test_what_no_request_may_lack_is_named(field: str) -> None:
    """A missing required field is named; the remaining fields are optional."""
    told = {name: value for name, value in FIELDS.items() if name in ("subscription_id", "customer_id", "amount")}
    assert RenewalRequest.from_fields(told) == RenewalRequest("sub_1", "cus_1", Decimal("29.99"))
    with pytest.raises(NoRequest, match=rf"^{field} is missing$"):
        RenewalRequest.from_fields({name: value for name, value in told.items() if name != field})


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=5))
def test_no_value_breaks_the_reader(value: Any) -> None:
    """Any JSON value in any field is read, or refused by the field's name."""
    for field in FIELDS:
        try:
            RenewalRequest.from_json(json.dumps(FIELDS | {field: value}))
        except NoRequest as bad:
            assert bad.field in (field, "")


def test_a_request_carries_the_ids_that_its_log_lines_are_found_by() -> None:
    """The request's fields have the names under which telemetry logs the ids."""
    assert set(telemetry._CORRELATED) <= RenewalRequest.from_fields(FIELDS).fields().keys()


@pytest.mark.parametrize("day", [None, "", "2026-1-31", "31.1.2026", 20260131, "2026-02-30"])
def test_a_row_without_a_date_is_asked_about_without_a_period(day: Any) -> None:
    """An ended row without a valid date still gives a valid request, not a message that fails at every try."""
    row = {"subscription_id": "sub_1", "customer_id": "cus_1", "renewal_date": day, "amount": "29.99"}
    request = RenewalRequest.of_row(row, renewal_date_of(row))
    assert RenewalRequest.from_json(request.to_json()) == RenewalRequest("sub_1", "cus_1", Decimal(0))
