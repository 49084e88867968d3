"""Plain words for events, shared by mails, the timeline and the preview. Pure."""

from datetime import date, timedelta
from decimal import Decimal

from renewals.domain import currencies, texts
from renewals.domain.renewal import MailKind, Status
from renewals.domain.worded import Unknown, Worded

_NO_REASON = "the gateway names no reason"
# Why a refund was refused, or failed later, in the timeline's words: https://docs.stripe.com/error-codes,
# https://docs.stripe.com/api/refunds/object#refund_object-failure_reason
_REFUND_FAILURES: dict[str | None, str] = {
    None: _NO_REASON,
    "canceled": "it was canceled at the gateway",
    "charge_already_refunded": "the payment was refunded already",
    "charge_disputed": "the customer disputed the payment",
    "charge_for_pending_refund_disputed": "the customer disputed the payment while the refund was on its way",
    "declined": "the customer's bank declined it",
    "expired_or_canceled_card": "the customer's card has expired or was canceled",
    "failed": _NO_REASON,
    "insufficient_funds": "the balance at the gateway was too low",
    "lost_or_stolen_card": "the customer's card was reported lost or stolen",
    "merchant_request": "it was canceled at the gateway on the seller's request",
    "unknown": _NO_REASON,
}

REFUND_FAILED_BY_DISPUTE = ("charge_disputed", "charge_for_pending_refund_disputed")
"""The reasons of refunds that failed because the customer disputed the payment."""


def refund_failure(reason: str | None) -> str:
    """Return why the gateway refused a refund, or why the refund failed later; a reason without words is quoted."""
    return _REFUND_FAILURES.get(reason, f'the gateway says "{reason}"')


# Refusals of a payment by the gateway, by their code in the ledger. Each value is a pair: the attribute at fault, in
# case the ledger's reason names no attribute; and the fault in words.
_REFUSED = {
    "resource_missing": ("gateway_customer", "is not known to the gateway, or was deleted there"),
    "amount_too_large": ("amount", "is more than the gateway takes"),
    "amount_too_small": ("amount", "is less than the gateway takes"),
}


def fault_of(reason: str | None) -> tuple[str, str] | None:
    """Return the subscription's attribute that made a renewal fail, and its fault; None if the renewal failed for a
    different reason.

    reason: as in the ledger, for example "gateway: resource_missing: gateway_customer".
    """
    gateway, code, field = [*(reason or "").split(": "), "", ""][:3]
    if gateway != "gateway" or code not in _REFUSED:
        return None
    usual, wrong = _REFUSED[code]
    return field or usual, wrong


def refused(reason: str) -> str | None:
    """Return a clause about the gateway's refusal of a renewal; None if the gateway did not refuse. reason: as in the
    ledger."""
    fault = fault_of(reason)
    if fault is not None:
        return f"{fault[0]} {fault[1]}"
    gateway, code, field = [*reason.split(": "), "", ""][:3]
    if gateway != "gateway" or not code:
        return None
    return f"the gateway refused the payment ({code})" + (f", for the subscription's {field}" if field else "")


def standing(status: object) -> str:
    """Return the words for a renewal's status. status: as in the ledger; a person may have written any value."""
    return Status.words_of(status) or not_known("the status", status)


def mail(kind: MailKind | Unknown) -> str:
    """Return the words for a mail of the kind."""
    return told(kind, "a mail of the kind")


def told(kind: Worded | Unknown, what: str) -> str:
    """Return the words of a kind. what: the noun for an unknown spelling, as "a mail of the kind"."""
    return kind.words if isinstance(kind, Worded) else not_known(what, kind)


def not_known(what: str, stored: object) -> str:
    """Return words for a stored value unknown to this version: an unknown spelling, or a value that is not a text."""
    return f'{what} "{texts.printable(str(stored))}", which this version does not know'


def day(on: date) -> str:
    """Format a day: 31 January 2026"""
    return f"{on.day} {on:%B} {on.year}"


def days(start: date, end: date) -> str:
    """Format a period by its first and last day, as people count, or by the day alone if the period has a single day.
    end: the first day after the period."""
    last = end - timedelta(days=1)
    return day(start) if last <= start else f"{day(start)} to {day(last)}"


def month(stored: str) -> str:
    """Format a month as stored, 2026-01: January 2026"""
    return f"{date.fromisoformat(f'{stored}-01'):%B %Y}"


def money(amount: Decimal, currency: str) -> str:
    """Format an amount: 29.99 USD"""
    return f"{currencies.written(amount, currency)} {currency}"


# As English writes the currencies (https://cldr.unicode.org). Each sign stands for a single currency.
_SIGNS = {
    "AUD": "A$",
    "BRL": "R$",
    "CAD": "CA$",
    "CNY": "CN¥",
    "EUR": "€",
    "GBP": "£",
    "HKD": "HK$",
    "ILS": "₪",
    "INR": "₹",
    "JPY": "¥",
    "KRW": "₩",
    "MXN": "MX$",
    "NZD": "NZ$",
    "PHP": "₱",
    "TWD": "NT$",
    "USD": "$",
    "VND": "₫",
}


def price(amount: Decimal, currency: str) -> str:
    """Format an amount as customers are used to: $1,029.99; 1,029.99 CHF if the currency has no sign here."""
    written = f"{amount:,.{currencies.decimals(currency)}f}"
    sign = _SIGNS.get(currency)
    return f"{sign}{written}" if sign else f"{written} {currency}"
