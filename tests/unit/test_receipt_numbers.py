"""Receipt numbers: a number of its own for every period, for ever."""

import re
from dataclasses import replace
from datetime import date, timedelta

import pytest

from generate_receipt.pdf import render
from process_payment.claims import receipt_number
from renewals.domain import refunds
from tests.fakes import DUE, LATER, NOON, World
from tests.unit.test_receipt_pdf import RECEIPT, text_of

_DAY = date(2026, 11, 28)


def test_a_number_is_short_and_the_same_for_a_period_always() -> None:
    """A number is the day and three groups of four characters that nobody mistakes for others, and is the same for a
    period in every version."""
    assert receipt_number("sub_1", DUE) == "20260131-AK81-S5Y8-2HYK"
    assert re.fullmatch(r"\d{8}(-[0-9A-HJKMNP-TV-Z]{4}){3}", receipt_number("sub_1", DUE))


def test_two_receipts_of_one_day_that_once_shared_their_number() -> None:
    """Two subscriptions whose periods have the same 32 bits have different numbers."""
    assert receipt_number("sub_023325", _DAY) != receipt_number("sub_029404", _DAY)


@pytest.mark.parametrize("count", [20_000, pytest.param(1_000_000, marks=pytest.mark.proof)])
def test_no_two_receipts_of_a_busy_day_share_a_number(count: int) -> None:
    """A million renewals of a day all have different numbers. With 32 bits 184 renewals shared a number; by the
    birthday bound 60 bits give a shared number on a day in 2.3 million."""
    assert len({receipt_number(f"sub_{n:06}", _DAY) for n in range(count)}) == count
    assert count**2 / 2**61 < 1e-6


def test_no_two_receipts_of_a_subscription_share_a_number() -> None:
    """All periods of a subscription have different numbers."""
    days = [_DAY + timedelta(days=n) for n in range(1000)]
    assert len({receipt_number("sub_1", day) for day in days}) == 1000


def test_a_receipt_that_is_numbered_keeps_its_number(shop: World) -> None:
    """The number stands in the claim: a number written by an earlier version is printed and mailed unchanged."""
    shop.subscribe()
    shop.renew()
    shop.dynamodb.put("renewals", shop.items()[DUE.isoformat()] | {"receipt_number": "20260131-C52C659D"})
    assert shop.run("run-2", NOON + LATER) == "Success"
    [mail] = shop.mails()
    assert "20260131-C52C659D" in str(mail)
    assert shop.items()[DUE.isoformat()]["receipt_number"] == "20260131-C52C659D"


@pytest.mark.parametrize("suffix", ["", "-R1", "-R12"])
def test_a_number_fits_its_column(suffix: str) -> None:
    """Every number fits on a line of the receipt, the longest number of a refund included."""
    number = receipt_number("sub_1", _DAY).replace("1", "W") + suffix
    rendered = render(replace(RECEIPT, number=number, of="refund" if suffix else RECEIPT.of))
    assert f"\n{number} " in text_of(rendered.pdf)


def test_a_refund_is_numbered_after_its_receipt(shop: World) -> None:
    """A refund's number is the receipt's number with a suffix of the refund."""
    shop.subscribe()
    renewed = shop.renew().renewal
    assert renewed is not None
    assert refunds.number(renewed, "refund_1") == f"{renewed.receipt_number}-R1"
