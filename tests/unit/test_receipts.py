"""A receipt is stored once, and the stored bytes are the bytes in the ledger's hash and in the mail."""

from collections.abc import Iterator
from hashlib import sha256
from types import SimpleNamespace
from typing import Any

import pytest

from generate_receipt import app
from generate_receipt.app import receipt_of
from generate_receipt.pdf import render
from renewals.domain.errors import BadEvent, ReceiptError
from renewals.runtime import aws
from tests.fake_aws import error
from tests.fakes import DUE, LATER, NOON, World


def test_a_receipt_stands_under_its_key(shop: World) -> None:
    """A receipt has the right key, type and encryption, forbids caching, and shows no id in the headers, because the
    reader of a link sees the headers; the ledger has the hash of the stored bytes."""
    shop.subscribe()
    shop.run()
    [stored] = shop.s3.objects.values()
    item = shop.items()[DUE.isoformat()]
    payment = item["payment_id"]
    assert stored["Key"] == item["receipt_key"] == f"receipts/cus_1/sub_1/{payment}.pdf"
    assert (stored["ContentType"], stored["ServerSideEncryption"]) == ("application/pdf", "AES256")
    assert (stored["CacheControl"], stored.get("Metadata", {})) == ("no-store", {})
    assert item["receipt_sha256"] == sha256(stored["Body"]).hexdigest()


def test_what_is_stored_already_is_kept(shop: World) -> None:
    """Where a second run renders the receipt differently, the first run's bytes stay, and the ledger has their hash."""
    shop.subscribe()
    renewal = shop.renew().renewal
    assert renewal is not None
    key = f"receipts/cus_1/sub_1/{renewal.payment_id}.pdf"
    shop.s3.objects[key] = {"Key": key, "Body": b"%PDF of an earlier run"}
    shop.receipt(renewal, NOON)
    assert shop.receipts() == {key: b"%PDF of an earlier run"}
    assert shop.items()[DUE.isoformat()]["receipt_sha256"] == sha256(b"%PDF of an earlier run").hexdigest()


def test_a_receipt_can_be_rendered_again_from_the_ledger_alone(shop: World) -> None:
    """The ledger alone still renders the same bytes after the subscription was renamed and deleted."""
    shop.subscribe()
    shop.run()
    shop.edit(customer_name="Somebody Else", plan="Other")
    shop.delete_row()
    renewal = shop.ledger.get("sub_1", DUE.isoformat())
    assert renewal is not None
    assert [render(receipt_of(renewal)).pdf] == list(shop.receipts().values())


def test_two_runs_at_once_store_one_receipt(shop: World) -> None:
    """A second run stores and records between the first run's rendering and put: a single receipt is stored."""
    shop.subscribe()
    renewal = shop.renew().renewal
    assert renewal is not None
    shop.cuts.at = 2 * (len(shop.cuts.calls) + 1)  # after the ledger was read, before the put
    shop.cuts.happens = lambda _: _ignore(shop.receipt(renewal, NOON + LATER))
    assert shop.receipt(renewal, NOON).receipt_key == next(iter(shop.receipts()))
    assert len(shop.receipts()) == 1


def test_what_is_not_paid_gets_no_receipt(shop: World) -> None:
    """A declined period gets no receipt."""
    shop.subscribe(payment_method="pm_declined")
    declined = shop.renew().renewal
    assert declined is not None
    with pytest.raises(BadEvent):
        receipt_of(declined)


def _ignore(_renewal: object) -> None:
    return None


def test_two_puts_at_the_same_moment_are_tried_again(shop: World) -> None:
    """Where S3 refuses two puts at the same moment, nothing is recorded, and the workflow's retry finds the stored
    receipt."""
    shop.subscribe()
    renewal = shop.renew().renewal
    assert renewal is not None
    shop.s3.trouble.append(error("ConditionalRequestConflict", "PutObject", 409))
    with pytest.raises(ReceiptError):
        shop.receipt(renewal, NOON)
    assert shop.items()[DUE.isoformat()]["status"] == "paid"
    assert shop.receipt(renewal, NOON).receipt_key == next(iter(shop.receipts()))


@pytest.fixture
def deployed(shop: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """The function's handler over the shop's tables and bucket."""
    monkeypatch.setenv("RENEWALS_TABLE", "renewals")
    monkeypatch.setenv("S3_BUCKET", "receipts")
    monkeypatch.setenv("ENVIRONMENT", "test")
    monkeypatch.setenv("TIME_ZONE", "UTC")
    monkeypatch.setattr(aws, "dynamodb", lambda: shop.dynamodb)
    monkeypatch.setattr(aws, "s3", lambda: shop.s3)
    app._ledger.cache_clear()
    yield shop
    app._ledger.cache_clear()


def _ask(**renewal: Any) -> dict[str, Any]:
    context = SimpleNamespace(aws_request_id="request-1")
    asked = {"subscription_id": "sub_1", "renewal_date": DUE.isoformat(), "outcome": "paid"} | renewal
    return app.handler({"execution": "run-1", "renewal": asked}, context)


def test_a_second_call_for_the_same_receipt_writes_nothing(deployed: World) -> None:
    """A second call gives the workflow the same answer and writes neither to the bucket nor to the ledger."""
    deployed.subscribe()
    deployed.renew()
    first = _ask()
    earlier = len(deployed.cuts.calls)
    assert _ask() == first == {
        "subscription_id": "sub_1", "renewal_date": DUE.isoformat(), "outcome": "receipted",
        "receipt_key": next(iter(deployed.receipts())),
    }  # fmt: skip
    assert deployed.cuts.calls[earlier:] == ["dynamodb.GetItem"]


@pytest.mark.parametrize("renewal_date", ["2026-01-31", "2026-02-28"])
def test_no_receipt_is_made_for_what_nobody_paid(deployed: World, renewal_date: str) -> None:
    """No receipt is made for a declined or an unclaimed period."""
    deployed.subscribe(payment_method="pm_declined")
    deployed.renew()
    with pytest.raises(BadEvent):
        _ask(renewal_date=renewal_date)
    assert not deployed.receipts()
