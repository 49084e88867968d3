"""Money: minor units as the gateway counts them, and never a rounded amount."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renewals.domain.currencies import (
    TWO_DECIMAL,
    ZERO_DECIMAL,
    decimals,
    exact_minor_units,
    major_units,
    minor_units,
    written,
)
from renewals.domain.errors import BadRow


@pytest.mark.parametrize(
    ("amount", "currency", "minor", "text"),
    [
        ("29.99", "USD", 2999, "29.99"),
        ("29.9", "EUR", 2990, "29.90"),
        ("30", "USD", 3000, "30.00"),
        ("3E+1", "USD", 3000, "30.00"),
        ("500", "JPY", 500, "500"),
        ("500.0", "JPY", 500, "500"),
        ("12000", "MGA", 12000, "12000"),
        ("5", "ISK", 500, "5"),
        ("4000", "UGX", 400000, "4000"),
        ("1.25", "KWD", 1250, "1.250"),
        ("0.50", "USD", 50, "0.50"),
    ],
)
def test_amounts_as_stripe_counts_them(amount: str, currency: str, minor: int, text: str) -> None:
    """Amounts in currencies of two, no and three decimals, and in Stripe's special cases, become the minor units that
    Stripe counts."""
    assert minor_units(Decimal(amount), currency) == minor
    assert major_units(minor, currency) == Decimal(amount)
    assert written(Decimal(amount), currency) == text


@pytest.mark.parametrize(
    ("amount", "currency", "why"),
    [
        ("29.999", "USD", "would need rounding"),
        ("0.5", "JPY", "would need rounding"),
        ("99.5", "ISK", "would need rounding"),
        ("1.255", "KWD", "would need rounding"),
        ("0.49", "USD", "minimum"),
        ("49", "JPY", "minimum"),
        ("0", "USD", "not a positive amount"),
        ("-5", "USD", "not a positive amount"),
        ("NaN", "USD", "not a positive amount"),
        ("Infinity", "USD", "not a positive amount"),
        ("1E+30", "USD", "not a positive amount"),
        ("999999.99", "USD", None),
        ("1000000", "USD", "above the gateway's maximum of 999999.99 USD"),
        ("9999999999.99", "IDR", None),
        ("10000000000", "IDR", "above the gateway's maximum of 9999999999.99 IDR"),
        ("1000000000", "LBP", "above the gateway's maximum of 999999999.99 LBP"),
        ("99999999.99", "HUF", None),
        ("100000000", "COP", "above the gateway's maximum of 99999999.99 COP"),
        ("9999999999", "JPY", None),
        ("10000000000", "JPY", "above the gateway's maximum of 9999999999 JPY"),
        ("10000000", "INR", "above the gateway's maximum of 9999999.99 INR"),
        ("100000000", "KRW", "above the gateway's maximum of 99999999 KRW"),
        ("100000", "KWD", "above the gateway's maximum of 99999.990 KWD"),
        ("1000000", "ISK", "above the gateway's maximum of 999999 ISK"),
        ("49", "KRW", "minimum of 50 KRW"),
        ("10", "XCG", None),
        ("10", "ANG", "is no longer in use: XCG has replaced ANG"),
        ("10", "BGN", "is no longer in use: EUR has replaced BGN"),
        ("10", "GHS", "not a currency"),
        ("10", "QQQ", "not a currency"),
        ("10", "usd", "not a currency"),
    ],
)
def test_what_cannot_be_charged_exactly_is_a_bad_row(amount: str, currency: str, why: str | None) -> None:
    """An amount that needs rounding, is too small, too large, not positive or not finite, or of a dropped or unknown
    currency, makes a bad row with the reason."""
    if why is None:
        assert minor_units(Decimal(amount), currency)
        return
    with pytest.raises(BadRow, match=why):
        minor_units(Decimal(amount), currency)


AMOUNTS = st.decimals("0.001", "1000000", places=3) | st.integers(0, 10**13).map(Decimal)


@given(AMOUNTS, st.sampled_from(sorted(TWO_DECIMAL | ZERO_DECIMAL | {"KWD", "ISK"})))
def test_money_is_exact_there_and_back(amount: Decimal, currency: str) -> None:
    """Any amount is either refused, or comes back from minor units unchanged."""
    try:
        minor = minor_units(amount, currency)
    except BadRow:
        return
    assert major_units(minor, currency) == amount
    assert Decimal(written(amount, currency)) == amount


@pytest.mark.parametrize("currency", ["ANG", "BGN"])
def test_what_was_paid_in_a_dropped_currency_can_still_be_read(currency: str) -> None:
    """A payment in a dropped currency can still be printed in a receipt, refunded and compared by the audit."""
    assert exact_minor_units(Decimal("19.9"), currency) == 1990
    assert written(major_units(1990, currency), currency) == "19.90"


def test_the_lists_do_not_overlap() -> None:
    """Every currency has exactly one number of decimals."""
    assert not TWO_DECIMAL & ZERO_DECIMAL
    assert {decimals(code) for code in ZERO_DECIMAL} == {0}
