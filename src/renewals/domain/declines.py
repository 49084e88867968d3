"""The decline codes, with the words for the customer, and the split into hard and soft declines. Pure.

After a hard decline the card will never be charged for this renewal: only a different payment method helps. Every code
that `is_hard` does not know as hard is soft, for example do_not_honor, a bank's phrase for "not now". The bank's advice
code takes precedence over the decline code.

https://docs.stripe.com/declines/codes and https://docs.stripe.com/billing/revenue-recovery/smart-retries (the codes
after which Stripe itself does not retry).

Decision: D31 (DECISIONS.md).
"""

_DECLINED = "the card was declined"
_GONE = "the card is no longer on file"
_LIMIT = "the card's limit is used up"

_HARD = {
    "card_not_supported": "the card cannot be used for this kind of payment",
    "currency_not_supported": "the card cannot be charged in this currency",
    "expired_card": "the card has expired",
    "fraudulent": _DECLINED,
    "highest_risk_level": _DECLINED,
    "incorrect_number": "the card's number was not right",
    "invalid_account": "the card, or the account behind it, is not valid",
    "invalid_expiry_month": _DECLINED,
    "invalid_expiry_year": _DECLINED,
    "invalid_number": _DECLINED,
    "lost_card": _DECLINED,
    "merchant_blacklist": _DECLINED,
    "new_account_information_available": _DECLINED,
    "payment_method_unusable": _GONE,
    "pickup_card": _DECLINED,
    "resource_missing": _GONE,
    "restricted_card": _DECLINED,
    "revocation_of_all_authorizations": _DECLINED,
    "revocation_of_authorization": _DECLINED,
    "stolen_card": _DECLINED,
    "stop_payment_order": _DECLINED,
    "transaction_not_allowed": _DECLINED,
}
_SOFT = {
    "card_velocity_exceeded": _LIMIT,
    "incorrect_cvc": "the card's security code was not right",
    "insufficient_funds": "the card has insufficient funds",
    "payment_intent_authentication_failure": "the confirmation with your bank did not succeed",
    "processing_error": "an error happened while the card was processed",
    "withdrawal_count_limit_exceeded": _LIMIT,
}

# https://docs.stripe.com/declines/card#retrying-issuer-declines
_HARD_ADVICE = frozenset({"do_not_try_again", "confirm_card_data"})
_SOFT_ADVICE = frozenset({"try_again_later"})


def is_hard(decline_code: str | None, advice_code: str | None) -> bool:
    """Whether only a different payment method helps."""
    if advice_code in _HARD_ADVICE:
        return True
    if advice_code in _SOFT_ADVICE:
        return False
    code = decline_code or ""
    return code in _HARD or code.startswith("payment_method")  # a payment method that is gone, or is not a card


def in_words(decline_code: str | None) -> str:
    """Return the words for the customer. As https://docs.stripe.com/declines/codes asks, the words never reveal that a
    card is reported as stolen or that a payment looks like fraud."""
    code = decline_code or ""
    return _HARD.get(code) or _SOFT.get(code) or _DECLINED
