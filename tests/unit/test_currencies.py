"""Money: minor units as the gateway counts them, and never a rounded amount."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renewals.currencies import TWO_DECIMAL, ZERO_DECIMAL, decimals, major_units, minor_units, written
from renewals.errors import BadRow


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
    """Two, no and three decimals, and Stripe's special cases."""
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
        ("10", "QQQ", "not a currency"),
        ("10", "usd", "not a currency"),
    ],
)
def test_what_cannot_be_charged_exactly_is_a_bad_row(amount: str, currency: str, why: str) -> None:
    """Rounding, too small, not positive, not finite, unknown: each says what is wrong."""
    with pytest.raises(BadRow, match=why):
        minor_units(Decimal(amount), currency)


AMOUNTS = st.decimals("0.001", "1000000", places=3) | st.integers(0, 10**13).map(Decimal)


@given(AMOUNTS, st.sampled_from(sorted(TWO_DECIMAL | ZERO_DECIMAL | {"KWD", "ISK"})))
def test_money_is_exact_there_and_back(amount: Decimal, currency: str) -> None:
    """Any amount is refused, or comes back as the very same amount."""
    try:
        minor = minor_units(amount, currency)
    except BadRow:
        return
    assert major_units(minor, currency) == amount
    assert Decimal(written(amount, currency)) == amount


def test_the_lists_do_not_overlap() -> None:
    """A currency has one number of decimals."""
    assert not TWO_DECIMAL & ZERO_DECIMAL
    assert {decimals(code) for code in ZERO_DECIMAL} == {0}
