"""Receipts are stored once, and what is stored is what the ledger and the mail have."""

from hashlib import sha256

import pytest

from generate_receipt.app import receipt_of
from generate_receipt.pdf import render
from renewals.errors import BadEvent
from tests.fakes import DUE, LATER, NOON, World


def test_a_receipt_stands_under_its_key_with_its_metadata(shop: World) -> None:
    """The seed's key, type, encryption and metadata; the hash in the ledger is the stored bytes'."""
    shop.subscribe()
    shop.run()
    [stored] = shop.s3.objects.values()
    item = shop.items()[DUE.isoformat()]
    payment = item["payment_id"]
    assert stored["Key"] == item["receipt_key"] == f"receipts/cus_1/sub_1/{payment}.pdf"
    assert (stored["ContentType"], stored["ServerSideEncryption"]) == ("application/pdf", "AES256")
    assert stored["Metadata"] == {"subscription_id": "sub_1", "customer_id": "cus_1", "transaction_id": payment}
    assert item["receipt_sha256"] == sha256(stored["Body"]).hexdigest()


def test_what_is_stored_already_is_kept(shop: World) -> None:
    """Two runs, the second with another rendering: the first one's bytes stay, and the ledger has their hash."""
    shop.subscribe()
    renewal = shop.renew().renewal
    assert renewal is not None
    key = f"receipts/cus_1/sub_1/{renewal.payment_id}.pdf"
    shop.s3.objects[key] = {"Key": key, "Body": b"%PDF of an earlier run"}
    shop.receipt(renewal, NOON)
    assert shop.receipts() == {key: b"%PDF of an earlier run"}
    assert shop.items()[DUE.isoformat()]["receipt_sha256"] == sha256(b"%PDF of an earlier run").hexdigest()


def test_a_receipt_can_be_rendered_again_from_the_ledger_alone(shop: World) -> None:
    """The subscription is renamed and deleted: the ledger still prints the same bytes."""
    shop.subscribe()
    shop.run()
    shop.edit(customer_name="Somebody Else", plan="Other")
    shop.delete_row()
    renewal = shop.ledger.get("sub_1", DUE.isoformat())
    assert renewal is not None
    assert [render(receipt_of(renewal)).pdf] == list(shop.receipts().values())


def test_two_runs_at_once_store_one_receipt(shop: World) -> None:
    """The second run stores and records between the first one's rendering and its put."""
    shop.subscribe()
    renewal = shop.renew().renewal
    assert renewal is not None
    shop.cuts.at = 2 * (len(shop.cuts.calls) + 1)  # after the ledger was read, before the put
    shop.cuts.happens = lambda _: _ignore(shop.receipt(renewal, NOON + LATER))
    assert shop.receipt(renewal, NOON).receipt_key == next(iter(shop.receipts()))
    assert len(shop.receipts()) == 1


def test_what_is_not_paid_gets_no_receipt(shop: World) -> None:
    """A decline has no paid_at to print."""
    shop.subscribe(payment_method="pm_declined")
    declined = shop.renew().renewal
    assert declined is not None
    with pytest.raises(BadEvent):
        receipt_of(declined)


def _ignore(_renewal: object) -> None:
    return None
