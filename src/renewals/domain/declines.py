"""The decline codes, with the words for the customer, and the split into hard and soft declines. Pure.

After a hard decline the card will never be charged for this renewal: only a different payment method helps. Every code
that `is_hard` does not know as hard is soft, for example do_not_honor, a bank's phrase for "not now". The bank's advice
code takes precedence over the decline code.

https://docs.stripe.com/declines/codes and https://docs.stripe.com/billing/revenue-recovery/smart-retries (the codes
after which Stripe itself does not retry).

Decision: D31 (DECISIONS.md).
"""

from renewals.domain.worded import Worded


class Why(Worded):
    """Why a payment was declined, as far as a customer is told. The spelling is a part of a key in the catalogues."""

    DECLINED = "declined", "the card was declined"
    GONE = "gone", "the card is no longer on file"
    LIMIT = "limit", "the card's limit is used up"
    NOT_SUPPORTED = "not_supported", "the card cannot be used for this kind of payment"
    WRONG_CURRENCY = "wrong_currency", "the card cannot be charged in this currency"
    EXPIRED = "expired", "the card has expired"
    NUMBER = "number", "the card's number was not right"
    INVALID = "invalid", "the card, or the account behind it, is not valid"
    SECURITY_CODE = "security_code", "the card's security code was not right"
    FUNDS = "funds", "the card has insufficient funds"
    CONFIRMATION = "confirmation", "the confirmation with your bank did not succeed"
    ERROR = "error", "an error happened while the card was processed"


_HARD = {
    "card_not_supported": Why.NOT_SUPPORTED,
    "currency_not_supported": Why.WRONG_CURRENCY,
    "expired_card": Why.EXPIRED,
    "fraudulent": Why.DECLINED,
    "highest_risk_level": Why.DECLINED,
    "incorrect_number": Why.NUMBER,
    "invalid_account": Why.INVALID,
    "invalid_expiry_month": Why.DECLINED,
    "invalid_expiry_year": Why.DECLINED,
    "invalid_number": Why.DECLINED,
    "lost_card": Why.DECLINED,
    "merchant_blacklist": Why.DECLINED,
    "new_account_information_available": Why.DECLINED,
    "payment_method_unusable": Why.GONE,
    "pickup_card": Why.DECLINED,
    "resource_missing": Why.GONE,
    "restricted_card": Why.DECLINED,
    "revocation_of_all_authorizations": Why.DECLINED,
    "revocation_of_authorization": Why.DECLINED,
    "stolen_card": Why.DECLINED,
    "stop_payment_order": Why.DECLINED,
    "transaction_not_allowed": Why.DECLINED,
}
_SOFT = {
    "card_velocity_exceeded": Why.LIMIT,
    "incorrect_cvc": Why.SECURITY_CODE,
    "insufficient_funds": Why.FUNDS,
    "payment_intent_authentication_failure": Why.CONFIRMATION,
    "processing_error": Why.ERROR,
    "withdrawal_count_limit_exceeded": Why.LIMIT,
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


def why(decline_code: str | None) -> Why:
    """Return the reason that the customer is told. As https://docs.stripe.com/declines/codes asks, the reason never
    reveals that a card is reported as stolen or that a payment looks like fraud."""
    code = decline_code or ""
    return _HARD.get(code) or _SOFT.get(code) or Why.DECLINED


def in_words(decline_code: str | None) -> str:
    """Return the reason in the words of operators; customers read the words of their language's catalogue."""
    return why(decline_code).words
