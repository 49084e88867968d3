"""Amounts of money: in the payment gateway's units, and in the form that people read.

Source: Stripe, "Supported currencies" (docs.stripe.com/currencies), read anew on 2026-11-28: presentment currencies,
zero-decimal and three-decimal currencies, special cases, minimum and maximum charge amounts. Stripe's list differs from
ISO 4217: MGA has no decimals at Stripe; ISK and UGX are sent with two decimals although only whole amounts exist;
three-decimal amounts must end in 0. (Whole amounts of HUF and TWD are demanded for payouts alone, and not for charges.)
A row with a currency outside these tables, or with an amount that would need rounding, is a bad row: money is never
rounded here.

Decisions: D118, D119 (DECISIONS.md).
"""

from decimal import Decimal

from renewals.domain.errors import BadRow

ZERO_DECIMAL = frozenset("BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF VND VUV XAF XOF XPF".split())
_THREE_DECIMAL = frozenset("BHD JOD KWD OMR TND".split())
_WHOLE_SENT_WITH_TWO = frozenset("ISK UGX".split())
TWO_DECIMAL = frozenset(
    """AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BWP BYN BZD CAD CDF CHF CNY COP CRC CVE CZK
    DKK DOP DZD EGP ETB EUR FJD FKP GBP GEL GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR JMD KES KGS KHR KYD KZT LAK LBP
    LKR LRD LSL MAD MDL MKD MMK MNT MOP MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON
    RSD RUB SAR SBD SCR SEK SGD SHP SLE SOS SRD STD SZL THB TJS TOP TRY TTD TWD TZS UAH USD UYU UZS WST XCD XCG YER ZAR
    ZMW""".split()
)

# Currencies in which renewals are no longer charged, each with its successor. Old payments in these currencies can
# still be read and refunded. ANG: since 2025-03-31 (ISO 4217, amendment 176). BGN: since 2026-01-01, Bulgaria uses the
# euro (docs.stripe.com/changelog/clover/2026-01-28/bulgaria-currency-mapping-bgn-to-eur).
_REPLACED = {"ANG": "XCG", "BGN": "EUR"}

# The smallest charge in major units, for a gateway account whose payouts are in the same currency. For an account with
# payouts in a different currency, the minimum of the payout currency applies instead. The gateway has the last word in
# such a case, and for currencies without a minimum in Stripe's list.
_MINIMUM = {
    code: Decimal(least)
    for code, least in (
        pair.split("=")
        for pair in """USD=0.50 AED=2.00 ARS=0.50 AUD=0.50 BRL=0.50 CAD=0.50 CHF=0.50 COP=0.50 CZK=15.00 DKK=2.50
        EUR=0.50 GBP=0.30 HKD=4.00 HUF=175.00 IDR=0.50 ILS=0.50 INR=0.50 JPY=50 KRW=50 MXN=10 MYR=2.00 NOK=3.00
        NZD=0.50 PHP=0.50 PLN=2.00 RON=2.00 RUB=0.50 SEK=3.00 SGD=0.50 THB=10 ZAR=0.50""".split()
    )
}

# The most digits that the gateway accepts in an amount of minor units: 99999999 is 999,999.99 USD.
_MOST_DIGITS = {"COP": 10, "HUF": 10, "IDR": 12, "INR": 9, "JPY": 10, "LBP": 11}
_MOST_DIGITS_OF_OTHERS = 8

LARGEST = Decimal(10) ** 12
"""Every real amount, in any currency, is below this number of major units. A larger amount is a mistake."""


def decimals(currency: str) -> int:
    """Return how many decimals people write in the currency: 0, 2 or 3. The replaced currencies, in which nothing is
    charged any more, have their decimals too.

    Raises:
        BadRow: the currency is not known.
    """
    if currency in TWO_DECIMAL or currency in _REPLACED:
        return 2
    if currency in ZERO_DECIMAL or currency in _WHOLE_SENT_WITH_TWO:
        return 0
    if currency in _THREE_DECIMAL:
        return 3
    raise BadRow("currency", "is not a currency that the payment gateway charges in")


def minor_units(amount: Decimal, currency: str) -> int:
    """Convert an amount to the integer that the gateway expects.

    Examples: (29.99, "USD") -> 2999, (500, "JPY") -> 500, (5, "ISK") -> 500.

    Raises:
        BadRow: the currency is no longer charged in, or the amount is not positive, is too large or too small for the
            currency, or would need rounding.
    """
    if currency in _REPLACED:
        raise BadRow("currency", f"is no longer in use: {_REPLACED[currency]} has replaced {currency}")
    sent = exact_minor_units(amount, currency)
    if amount < _MINIMUM.get(currency, 0):
        raise BadRow("amount", f"is below the gateway's minimum of {_MINIMUM[currency]} {currency}")
    most = 10 ** _MOST_DIGITS.get(currency, _MOST_DIGITS_OF_OTHERS) - 1
    if sent > most:
        largest = written(major_units(most, currency).quantize(_step(currency), "ROUND_DOWN"), currency)
        raise BadRow("amount", f"is above the gateway's maximum of {largest} {currency}")
    return sent


def exact_minor_units(amount: Decimal, currency: str) -> int:
    """Convert an amount like minor_units, but without minimum and maximum, and in every known currency: a partial
    refund has no minimum."""
    step = _step(currency)
    if not amount.is_finite() or not 0 < amount < LARGEST:
        raise BadRow("amount", f"is not a positive amount below {LARGEST:,}")
    if amount % step:
        raise BadRow("amount", f"would need rounding: {currency} is charged in steps of {step}")
    return int(amount.scaleb(2 if currency in _WHOLE_SENT_WITH_TWO else decimals(currency)))


def major_units(minor: int, currency: str) -> Decimal:
    """Invert minor_units: (2999, "USD") -> 29.99."""
    return Decimal(minor).scaleb(-2 if currency in _WHOLE_SENT_WITH_TWO else -decimals(currency))


def written(amount: Decimal, currency: str) -> str:
    """Format the amount with the decimals of its currency and without the currency code: (29.9, "USD") -> "29.90"."""
    return f"{amount:.{decimals(currency)}f}"


def _step(currency: str) -> Decimal:
    """Return the smallest difference between two amounts that can be charged."""
    return Decimal(1).scaleb(-min(decimals(currency), 2))
