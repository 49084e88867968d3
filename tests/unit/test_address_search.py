"""The search for the subscriptions of a mail address that somebody typed."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renewals.domain.addresses import BadAddress, deliverable, spellings
from renewals.ledger import address_search
from tests.fakes import World

ANN = "ann@customer.example"


def found(shop: World, typed: str) -> list[str]:
    client: Any = shop.dynamodb
    return sorted(str(row["subscription_id"]) for row in address_search.rows_of(client, "subscriptions", typed))


@pytest.mark.parametrize(
    ("on_file", "typed"),
    [
        (ANN, ANN),
        (ANN, "Ann@customer.example"),
        (ANN, "ANN@CUSTOMER.EXAMPLE"),
        (ANN, f"  {ANN}\t\n"),
        (ANN, f"\u200b{ANN}\u2069"),
        (ANN, "ann\u200b@customer.example"),
        ("Ann@customer.example", ANN),
        ("Ann.Lee@Customer.Example", "Ann.Lee@Customer.Example"),
        ("Ann.Lee@customer.example", "Ann.Lee@CUSTOMER.example"),
        ("ann@b\u00fccher.example", "ann@xn--bcher-kva.example"),
        ("ann@xn--bcher-kva.example", "Ann@B\u00fccher.example"),
        ("ann@xn--bcher-kva.example", "ann@bu\u0308cher.example"),
    ],
)
def test_an_address_is_found_in_the_ways_in_which_people_type(shop: World, on_file: str, typed: str) -> None:
    """Capitals, blanks, invisible characters and the two forms of a domain do not hide an address on file."""
    shop.subscribe(customer_email=on_file)
    assert found(shop, typed) == ["sub_1"]


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "ann",
        "@",
        "ann@",
        "@customer.example",
        "ann@customer",
        "ann lee@customer.example",
        f"Ann <{ANN}>",
        f"{ANN},bob@customer.example",
        f"{ANN}\r\nBcc: bob@customer.example",
        "bob@customer.example",
        "ann@customer.example.",
        "a" * 65 + "@customer.example",
        "ann@" + "a" * 5_000 + ".example",
        "ann@stra\u00dfe.example",
        "\ud800@customer.example",
        "ann@\ud800.example",
        "\x00",
        "\u202e" * 10_000,
    ],
)
def test_a_text_that_is_no_address_on_file_finds_nothing(shop: World, typed: str) -> None:
    """No text is an error, and no text but the address finds the address."""
    shop.subscribe()
    assert found(shop, typed) == []


def test_the_spellings_of_an_address_are_few() -> None:
    """However an address is written, at most twelve spellings are looked up, each once."""
    assert spellings(ANN) == (ANN, "Ann@customer.example")
    for typed in ("ANN.LEE@B\u00dcCHER.Example", "aNN@XN--BCHER-KVA.example"):
        made = spellings(typed)
        assert len(set(made)) == len(made) <= 12
        assert made[0] == typed


@given(typed=st.text(st.characters(), max_size=80) | st.emails())
def test_no_text_breaks_the_search(typed: str) -> None:
    """Every text has at most twelve spellings, each of which SES delivers to, and a text that is an address in small
    letters has itself among them."""
    made = spellings(typed)
    assert len(set(made)) == len(made) <= 12
    assert [deliverable(each) for each in made if each.isascii()] == [each for each in made if each.isascii()]
    try:
        plain = deliverable(typed)
    except BadAddress:
        return
    assert plain in made or not typed.isascii()


def test_every_subscription_of_the_address_is_found_and_no_other(shop: World) -> None:
    """An address may be shared by two customers, and a customer may have several addresses: the rows with the address
    are found, whoever has them."""
    shop.subscribe()
    for subscription, customer, address in (
        ("sub_2", "cus_1", "ann@work.example"),
        ("sub_3", "cus_2", ANN),
        ("sub_4", "cus_2", "bob@customer.example"),
    ):
        row = shop.row() | {"subscription_id": subscription, "customer_id": customer, "customer_email": address}
        shop.dynamodb.put("subscriptions", row)
    assert found(shop, ANN) == ["sub_1", "sub_3"]
    assert found(shop, "ann@work.example") == ["sub_2"]


def test_a_row_that_a_person_wrote_is_found_at_once_and_no_fault_matters(shop: World) -> None:
    """The index covers what the row holds: a row by hand, restored or imported needs nothing but its address. A row
    whose address is no text is in no index, and fails no search."""
    shop.subscribe(amount="by hand", renewal_date=None, status="unheard of")
    shop.dynamodb.put("subscriptions", {"subscription_id": "sub_9", "customer_id": "c", "customer_email": 9})
    shop.dynamodb.put("subscriptions", {"subscription_id": "sub_8", "customer_id": "c"})
    assert found(shop, ANN) == ["sub_1"]


def test_an_index_that_is_behind_leads_to_nobody_else(shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The index still names a row whose address has changed, and a row that is deleted: neither is found."""
    shop.subscribe()
    shop.dynamodb.put("subscriptions", shop.row() | {"subscription_id": "sub_2"})
    found(shop, ANN)
    behind = dict(shop.dynamodb._indexed)
    shop.edit(customer_email="new@customer.example")
    shop.dynamodb.delete("subscriptions", ("sub_2", "cus_1"))
    monkeypatch.setattr(shop.dynamodb, "_in_index", lambda table, index: behind[table, index])
    assert found(shop, ANN) == []


def test_an_address_in_very_many_rows_costs_a_bounded_search(shop: World) -> None:
    """Of an address in a thousand rows, fifty rows are read."""
    shop.subscribe()
    for number in range(1000):
        shop.dynamodb.put("subscriptions", shop.row() | {"subscription_id": f"sub_{number:04}"})
    assert len(found(shop, ANN)) == 50
