"""Stripe's test cards and the behaviour of every card.

Sources: Stripe, "Testing" (docs.stripe.com/testing) for numbers, test ids, declines and 3-D Secure; "Decline codes"
(docs.stripe.com/declines/codes) for decline and advice codes. A decline carries an advice code if Stripe's test mode is
known to send the code. `pm_card_NAME` is a payment method id, `tok_NAME` the id of an equal card as a token. Declined
cards have an id with the brand and an id without the brand: both are in use, so the gateway knows both.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Any, Literal

from local.gateway.errors import bad_parameter, card_error

Failure = dict[str, Any]
"""The keys: message, code, decline_code; optionally advice_code and param."""


def _failure(
    message: str, code: str, decline_code: str, advice_code: str | None = None, param: str | None = None
) -> Failure:
    parts = {
        "message": message, "code": code, "decline_code": decline_code, "advice_code": advice_code, "param": param,
    }  # fmt: skip
    return {name: part for name, part in parts.items() if part}


_DECLINED = "Your card was declined."
GENERIC_DECLINE = _failure(_DECLINED, "card_declined", "generic_decline", "try_again_later")
_NO_FUNDS = _failure("Your card has insufficient funds.", "card_declined", "insufficient_funds", "try_again_later")
_LOST = _failure(_DECLINED, "card_declined", "lost_card", "do_not_try_again")
_STOLEN = _failure(_DECLINED, "card_declined", "stolen_card", "do_not_try_again")
_EXPIRED = _failure("Your card has expired.", "expired_card", "expired_card", "confirm_card_data", "exp_month")
_WRONG_CVC = _failure(
    "Your card's security code is incorrect.", "incorrect_cvc", "incorrect_cvc", "confirm_card_data", "cvc"
)
_PROCESSING_ERROR = _failure(
    "An error occurred while processing your card. Try again in a little bit.",
    "processing_error",
    "processing_error",
    "try_again_later",
)
_TOO_OFTEN = _failure(_DECLINED, "card_declined", "card_velocity_exceeded")
_FRAUDULENT = _failure(_DECLINED, "card_declined", "fraudulent")

AUTHENTICATION_REQUIRED = _failure(
    "Your card was declined. This transaction requires authentication.",
    "authentication_required",
    "authentication_required",
)


@dataclass(frozen=True)
class Card:
    """A test card.

    Attributes:
        decline: the failure of every charge, after authentication if the card asks for authentication.
        authentication: when the card asks for 3-D Secure: always, unless the card was set up for off-session use, or
            only on session.
        attachable: if False, attaching the card to a customer is declined.
        risk: the risk level according to Radar.
        refund: the course of refunds to the card.
        disputed: the reason of a dispute that follows a charge at once, or empty.
        warned: whether an early fraud warning follows a charge at once.
        failed_check: the check of the card's details that fails, or empty.
    """

    number: str
    brand: str
    names: tuple[str, ...]
    decline: Failure | None = None
    authentication: Literal["never", "always", "unless_set_up", "on_session"] = "never"
    attachable: bool = True
    funding: str = "credit"
    country: str = "US"
    risk: str = "normal"
    refund: Literal["succeeded", "pending", "fails_later"] = "succeeded"
    disputed: str = ""
    warned: bool = False
    failed_check: str = ""

    @property
    def fingerprint(self) -> str:
        """Return a fingerprint that is stable for a card number, as Stripe's fingerprint is within an account."""
        return hashlib.sha256(self.number.encode()).hexdigest()[:16]


def _declining(number: str, name: str, decline: Failure) -> Card:
    names = (f"chargeDeclined{name}", f"visa_chargeDeclined{name}")
    return Card(number, "visa", names, decline, attachable=False)


_CARDS = (
    Card("4242424242424242", "visa", ("visa",)),
    Card("4000056655665556", "visa", ("visa_debit",), funding="debit"),
    Card("5555555555554444", "mastercard", ("mastercard",)),
    Card("2223003122003222", "mastercard", ()),
    Card("5200828282828210", "mastercard", ("mastercard_debit",), funding="debit"),
    Card("5105105105105100", "mastercard", ("mastercard_prepaid",), funding="prepaid"),
    Card("378282246310005", "amex", ("amex", "amex_threeDSecureNotSupported")),
    Card("371449635398431", "amex", ()),
    Card("6011111111111117", "discover", ("discover",)),
    Card("6011000990139424", "discover", ()),
    Card("3056930009020004", "diners", ("diners",)),
    Card("36227206271667", "diners", ()),
    Card("3566002020360505", "jcb", ("jcb",), country="JP"),
    Card("6200000000000005", "unionpay", ("unionpay",), country="CN"),
    Card("4000002760000016", "visa", ("de",), country="DE"),
    Card("4000002500000003", "visa", ("fr",), country="FR"),
    Card("4000008260000000", "visa", ("gb",), country="GB"),
    Card("4000003920000003", "visa", ("jp",), country="JP"),
    Card("4000003560000008", "visa", ("in",), country="IN"),
    Card("4000000760000002", "visa", ("br",), country="BR"),
    Card("4000001240000000", "visa", ("ca",), country="CA"),
    Card("4000004840008001", "visa", ("mx",), country="MX"),
    Card("4000000360000006", "visa", ("au",), country="AU"),
    Card("4000007560000009", "visa", ("ch",), country="CH"),
    Card("4000007240000007", "visa", ("es",), country="ES"),
    Card("4000003800000008", "visa", ("it",), country="IT"),
    Card("4000005280000002", "visa", ("nl",), country="NL"),
    Card("4000007520000008", "visa", ("se",), country="SE"),
    Card("4000000000000077", "visa", ("bypassPending",)),
    Card("4000003720000278", "visa", ("bypassPendingInternational",)),
    Card("4000000000005126", "visa", ("refundFail",), refund="fails_later"),
    Card("4000000000007726", "visa", ("pendingRefund",), refund="pending"),
    Card("4000000000000259", "visa", ("createDispute",), disputed="fraudulent"),
    Card("4000000000002685", "visa", ("createDisputeProductNotReceived",), disputed="product_not_received"),
    Card("4000000000001976", "visa", ("createDisputeInquiry",), disputed="inquiry"),
    Card("4000000000005423", "visa", ("createIssuerFraudRecord",), warned=True),
    Card("4000000000009235", "visa", ("riskLevelElevated",), risk="elevated"),
    Card("4000000000004954", "visa", ("riskLevelHighest",), risk="highest"),
    Card("4000000000000010", "visa", ("avsFail",), failed_check="address_postal_code_check"),
    Card("4000000000000028", "visa", ("avsLine1Fail",), failed_check="address_line1_check"),
    Card("4000000000000036", "visa", ("avsZipFail",), failed_check="address_postal_code_check"),
    Card("4000000000000101", "visa", ("cvcCheckFail",), failed_check="cvc_check"),
    _declining("4000000000000002", "", GENERIC_DECLINE),
    _declining("4000000000009995", "InsufficientFunds", _NO_FUNDS),
    _declining("4000000000009987", "LostCard", _LOST),
    _declining("4000000000009979", "StolenCard", _STOLEN),
    _declining("4000000000000069", "ExpiredCard", _EXPIRED),
    _declining("4000000000000127", "IncorrectCvc", _WRONG_CVC),
    _declining("4000000000000119", "ProcessingError", _PROCESSING_ERROR),
    _declining("4000000000006975", "VelocityLimitExceeded", _TOO_OFTEN),
    Card("4000000000000341", "visa", ("chargeCustomerFail",), GENERIC_DECLINE),
    Card("4100000000000019", "visa", ("radarBlock", "chargeDeclinedFraudulent"), _FRAUDULENT),
    Card("4000002500003155", "visa", ("authenticationRequiredOnSetup",), authentication="unless_set_up"),
    Card("4000002760003184", "visa", ("authenticationRequired",), authentication="always"),
    Card("4000003800000446", "visa", ("authenticationRequiredSetupForOffSession",), authentication="on_session"),
    Card(
        "4000008260003178",
        "visa",
        ("authenticationRequiredChargeDeclinedInsufficientFunds",),
        _NO_FUNDS,
        authentication="always",
    ),
    Card("4000000000003220", "visa", ("threeDSecure2Required",), authentication="always", country="IE"),
    Card("4000000000003063", "visa", ("threeDSecureRequired",), authentication="always"),
    Card(
        "4000008400001629",
        "visa",
        ("threeDSecureRequiredChargeDeclined",),
        GENERIC_DECLINE,
        authentication="always",
    ),
    Card("4000008400001280", "visa", ("threeDSecureRequiredProcessingError",), GENERIC_DECLINE),
    Card("4000000000003055", "visa", ("threeDSecureOptional",)),
    Card("4000000000003097", "visa", ("threeDSecureOptionalProcessingError",)),
)
_BY_NUMBER = {card.number: card for card in _CARDS}
_BY_ID = {prefix + name: card for card in _CARDS for name in card.names for prefix in ("pm_card_", "tok_")}


def by_test_id(identity: str) -> Card | None:
    """Return the card for pm_card_... or tok_...; None for an unknown id."""
    return _BY_ID.get(identity)


def by_number(number: str) -> Card:
    """Return the card with this number (spaces and dashes allowed). Raises 402 for a number that is not a test
    card's.
    """
    digits = re.sub(r"[ -]", "", number)
    if not _is_card_number(digits):
        raise card_error({"message": "Your card number is incorrect.", "code": "incorrect_number", "param": "number"})
    if digits not in _BY_NUMBER:
        message = (
            f"{_DECLINED} Your request was in test mode, but used a non test (live) card. For a list of valid"
            " test cards, visit: https://stripe.com/docs/testing."
        )
        raise card_error(_failure(message, "card_declined", "test_mode_live_card"))
    return _BY_NUMBER[digits]


def check_details(month: int, year: int, cvc: str | None, *, today: tuple[int, int]) -> tuple[int, int]:
    """Return (exp_month, exp_year with four digits).

    Raises 402 for a past or impossible date, or an invalid security code. `today` is (year, month).
    """
    full_year = year + 2000 if year < 100 else year
    if not 1 <= month <= 12:
        raise _invalid_detail("expiration month", "invalid_expiry_month", "exp_month")
    if (full_year, month) < today or full_year > today[0] + 50:
        raise _invalid_detail("expiration year", "invalid_expiry_year", "exp_year")
    if cvc is not None and not re.fullmatch(r"[0-9]{3,4}", cvc):
        raise _invalid_detail("security code", "invalid_cvc", "cvc")
    return month, full_year


def by_token(token: str) -> Card:
    """Return the card for tok_.... Raises 400 for an unknown token."""
    card = by_test_id(token) if token.startswith("tok_") else None
    if card is None:
        raise bad_parameter(f"No such token: '{token}'", "card[token]", "resource_missing")
    return card


def _invalid_detail(what: str, code: str, param: str) -> Exception:
    return card_error({"message": f"Your card's {what} is invalid.", "code": code, "param": param})


def _is_card_number(digits: str) -> bool:
    if not re.fullmatch(r"[0-9]{12,19}", digits):
        return False
    doubled = (int(digit) * 2 for digit in digits[-2::-2])
    return (sum(map(int, digits[-1::-2])) + sum(twice - 9 * (twice > 9) for twice in doubled)) % 10 == 0
