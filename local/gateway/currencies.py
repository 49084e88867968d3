"""The currencies and amounts that can be charged.

Source: Stripe, "Supported currencies" (docs.stripe.com/currencies): presentment currencies, zero-decimal and
three-decimal currencies, special cases, minimum and maximum charge amounts. The list is deliberately independent of the
product's own list: the gateway is a second opinion. The Bulgarian lev was removed in 2026.
"""

from local.gateway.errors import bad_parameter

_CURRENCIES = frozenset(
    """aed afn all amd ang aoa ars aud awg azn bam bbd bdt bhd bif bmd bnd bob brl bsd bwp byn bzd cad cdf chf
    clp cny cop crc cve czk djf dkk dop dzd egp etb eur fjd fkp gbp gel gip gmd gnf gtq gyd hkd hnl htg huf idr ils
    inr isk jmd jod jpy kes kgs khr kmf krw kwd kyd kzt lak lbp lkr lrd lsl mad mdl mga mkd mmk mnt mop mur mvr mwk
    mxn myr mzn nad ngn nio nok npr nzd omr pab pen pgk php pkr pln pyg qar ron rsd rub rwf sar sbd scr sek sgd shp
    sle sos srd std szl thb tjs tnd top try ttd twd tzs uah ugx usd uyu uzs vnd vuv wst xaf xcd xcg xof xpf yer zar
    zmw""".split()
)
_STEPS = {"bhd": 10, "jod": 10, "kwd": 10, "omr": 10, "tnd": 10, "isk": 100, "ugx": 100}
_MINIMUMS = {
    "usd": 50, "aed": 200, "aud": 50, "brl": 50, "cad": 50, "chf": 50, "czk": 1500, "dkk": 250,
    "eur": 50, "gbp": 30, "hkd": 400, "huf": 17500, "inr": 50, "jpy": 50, "mxn": 1000, "myr": 200, "nok": 300,
    "nzd": 50, "pln": 200, "ron": 200, "sek": 300, "sgd": 50, "thb": 1000,
}  # fmt: skip
_DIGITS = {"idr": 12, "lbp": 11, "cop": 10, "huf": 10, "jpy": 10, "inr": 9}
_MOST_DIGITS = 8


def check_amount(amount: int, currency: str) -> None:
    """Check an amount in the currency's minor unit. Raises 400 on `currency` or `amount`, as Stripe does."""
    if currency not in _CURRENCIES:
        raise bad_parameter(f"Invalid currency: {currency}. Stripe currently supports these currencies: "
                            + ", ".join(sorted(_CURRENCIES)), "currency")  # fmt: skip
    if amount < 1:
        message = "This value must be greater than or equal to 1."
        raise bad_parameter(message, "amount", "parameter_invalid_integer")
    most = 10 ** _DIGITS.get(currency, _MOST_DIGITS) - 1
    if amount > most:
        message = f"Amount must be no more than {most} in the minor unit of {currency}"
        raise bad_parameter(message, "amount", "amount_too_large")
    if amount < _MINIMUMS.get(currency, 1):
        message = f"Amount must be at least {_MINIMUMS[currency]} in the minor unit of {currency}"
        raise bad_parameter(message, "amount", "amount_too_small")
    step = _STEPS.get(currency, 1)
    if amount % step:
        message = f"Invalid amount: an amount in {currency} must be evenly divisible by {step}."
        raise bad_parameter(message, "amount", "parameter_invalid_integer")
