"""The list of a subscription's attributes: the entity tag goes by the list, and personal data is masked by the name."""

from datetime import UTC, date
from decimal import Decimal
from typing import Any, cast

import pytest

from renewals.domain.changes import Change, ChangeKind
from renewals.domain.item_values import Item, Value
from renewals.domain.row_attributes import ROW_ATTRIBUTES, without_personal_data
from renewals.domain.subscription import parse
from renewals.domain.timeline import timeline
from renewals.ledger.asked_by import AskedBy
from renewals.ledger.entity_tags import etag
from renewals.ledger.register import Register
from tests.fakes import NOON, World

OTHER: dict[str, Value] = {
    "customer_id": "cus_other",
    "status": "past_due",
    "renewal_date": "2026-02-01",
    "cancel_at": "2027-01-31",
    "amount": Decimal("5.01"),
    "currency": "EUR",
    "interval": "year",
    "interval_count": Decimal(7),
    "anchor_day": Decimal(31),
    "catch_up": "each",
    "plan": "Another plan",
    "customer_name": "Zoe",
    "customer_email": "zoe@example.net",
    "locale": "pt-BR",
    "reminders": "required",
    "gateway_customer": "cus_gateway_other",
    "payment_method": "pm_other",
    "test_clock": "2026-01-30",
}


@pytest.mark.parametrize("name", ROW_ATTRIBUTES)
def test_the_entity_tag_changes_with_the_attributes_that_only_people_change(shop: World, name: str) -> None:
    """An edit with the tag of an older row is refused if somebody changed any listed attribute, but not after a
    renewal."""
    shop.subscribe()
    changed = {**shop.row(), name: OTHER[name]}
    assert (etag(changed) != etag(shop.row())) is ROW_ATTRIBUTES[name].is_in_entity_tag


@pytest.mark.parametrize("name", ROW_ATTRIBUTES)
def test_the_import_reads_each_attribute_of_the_checked_row(shop: World, name: str) -> None:
    """Two rows that differ in one attribute have different values of the attribute by the list, by which the import
    compares a line with the existing row."""
    shop.subscribe()
    row: Item = {**shop.row(), **({"status": "canceled"} if name == "status" else {name: OTHER[name]})}
    read = ROW_ATTRIBUTES[name].read
    before = parse(shop.row())
    same = name == "anchor_day"  # the day of the renewal date is the anchor already
    assert (read(parse(row)) == read(before)) is same


@pytest.mark.parametrize("name", [name for name, each in ROW_ATTRIBUTES.items() if each.mask])
def test_a_personal_attribute_is_masked_where_it_is_kept_and_where_it_is_shown(shop: World, name: str) -> None:
    """Neither the changes table nor the timeline has the value of an attribute with a mask, before or after an edit."""
    shop.subscribe()
    before, after = str(shop.row()[name]), str(OTHER[name])
    client = cast(Any, shop.dynamodb)
    register = Register(client, subscriptions="subscriptions", renewals="renewals", changes="changes")
    register.edit(shop.row(), {name: after}, ChangeKind.EDITED, AskedBy("ann", NOON))
    kept = str(shop.dynamodb.items("changes"))
    told = str(timeline({}, [], [Change(NOON, "ann", ChangeKind.EDITED, {name: (before, after)})], UTC))
    assert name in kept
    assert name in told
    assert not [each for each in (before, after) if each in kept + told]


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("customer_email", "ann.lee@example.com", "a***@e***.com"),
        ("customer_email", "not an address", "***"),
        ("why", "ann@example.com and <bob@example.org>: both work", "a***@e***.com and <b***@e***.org>: both work"),
        ("plan", "Pro @ home, 24 h", "Pro @ home, 24 h"),
        ("renewal_date", date(2026, 1, 31), date(2026, 1, 31)),
        ("amount", Decimal(5), Decimal(5)),
    ],
)
def test_an_attribute_is_masked_by_its_name(name: str, value: object, shown: object) -> None:
    """The whole address of a customer is masked, of any other text the addresses alone, and a sign @ that belongs to no
    address hides nothing."""
    assert without_personal_data(name, value) == shown
