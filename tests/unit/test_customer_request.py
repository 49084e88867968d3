"""The requests of the customer's page: written and read in a single place; through the workflow a request does
nothing."""

from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renewals.domain.customer_request import EVENT, CustomerRequest
from renewals.domain.request import Asks, NoRequest, RenewalRequest
from tests.fakes import NOON, World

OF_CUSTOMERS = [each for each in Asks if each.is_of_customer]
BACK = "https://shop.example/account/back?of=sub_1"
FIELDS: dict[str, Any] = {
    "subscription_id": "sub_1",
    "customer_id": "cus_1",
    "event_type": "customer.open_card_page",
    "return_url": BACK,
}


@given(st.sampled_from(OF_CUSTOMERS))
def test_a_written_request_is_read(asks: Asks) -> None:
    """Reading a written request gives an equal request."""
    more = {"session": "cs_test_1"} if asks is Asks.TAKE_CARD else {"return_url": BACK}
    request = CustomerRequest("sub_1", "cus_1", asks, **more)
    assert CustomerRequest.from_fields(request.event()[EVENT]) == request


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("subscription_id", ""),
        ("customer_id", None),
        ("event_type", "subscription.renewal"),
        ("event_type", "customer.unheard_of"),
        ("return_url", ""),
        ("return_url", "javascript:alert(1)"),
        ("return_url", "https://shop.example/\nSet-Cookie: a=b"),
        ("return_url", "https://shop.example/" + "a" * 2000),
    ],
)
def test_a_faulty_request_is_refused_by_its_field(field: str, value: object) -> None:
    """A request with a missing or unusable field is refused, and the refusal names the field but not the value."""
    with pytest.raises(NoRequest) as refused:
        CustomerRequest.from_fields(FIELDS | {field: value})
    assert refused.value.field == field
    assert not value or str(value) not in str(refused.value)


@pytest.mark.parametrize("session", ["", "pi_1", "cs_", "cs_a/../b", "cs_" + "a" * 300])
def test_a_session_is_an_id_of_the_gateway(session: str) -> None:
    """Only the id of a session is taken for a session: the id becomes a part of the address of a call."""
    with pytest.raises(NoRequest):
        CustomerRequest.from_fields(FIELDS | {"event_type": "customer.take_card", "session": session})


@pytest.mark.parametrize("asks", OF_CUSTOMERS)
def test_through_the_workflow_a_customers_request_does_nothing(asks: Asks, shop: World) -> None:
    """A customer's request in the queue of renewals runs the workflow without any charge, mail, or call of the
    gateway."""
    shop.subscribe()
    before, asked = shop.row(), RenewalRequest("sub_1", "cus_1", Decimal("29.99"), date(2026, 1, 31), asks)
    assert shop.execute({"event_type": asked.asks, "amount": "29.99"}, "run-1", NOON) == "Success"
    assert (shop.row(), shop.items(), shop.mails(), shop.gateway.payments) == (before, {}, [], {})
