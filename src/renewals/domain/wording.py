"""Plain words for what happened, which mails, the timeline and the preview share. Pure."""

from datetime import date, timedelta
from decimal import Decimal

from renewals.domain import currencies, texts
from renewals.domain.renewal import MailKind, Status
from renewals.domain.worded import Unknown, Worded

_NO_REASON = "the gateway names no reason"
# Why a refund was not made, or failed later, for whoever reads the timeline: https://docs.stripe.com/error-codes,
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


def refund_failure(reason: str | None) -> str:
    """Why the gateway did not make a refund, or the refund failed; a reason without words is quoted."""
    return _REFUND_FAILURES.get(reason, f'the gateway says "{reason}"')


# What the gateway refuses a payment for, by its name in the ledger: the attribute at fault, where that does not say it,
# and what is wrong with it.
_REFUSED = {
    "resource_missing": ("gateway_customer", "is not known to the gateway, or was deleted there"),
    "amount_too_large": ("amount", "is more than the gateway takes"),
    "amount_too_small": ("amount", "is less than the gateway takes"),
}


def fault_of(reason: str | None) -> tuple[str, str] | None:
    """The attribute of a subscription that a renewal failed for, and what is wrong with it; None where it failed for
    something else. reason: the ledger's, as "gateway: resource_missing: gateway_customer"."""
    gateway, code, field = [*(reason or "").split(": "), "", ""][:3]
    if gateway != "gateway" or code not in _REFUSED:
        return None
    usual, wrong = _REFUSED[code]
    return field or usual, wrong


def refused(reason: str) -> str | None:
    """What the gateway refused a renewal for, as a clause; None where the reason is another. reason: the ledger's."""
    fault = fault_of(reason)
    if fault is not None:
        return f"{fault[0]} {fault[1]}"
    gateway, code, field = [*reason.split(": "), "", ""][:3]
    if gateway != "gateway" or not code:
        return None
    return f"the gateway refused the payment ({code})" + (f", for the subscription's {field}" if field else "")


def standing(status: object) -> str:
    """Where a renewal stands. status: as the ledger stores it; somebody may have written any value by hand."""
    return Status.words_of(status) or not_known("the status", status)


def mail(kind: MailKind | Unknown) -> str:
    """What a mail of this kind tells."""
    return told(kind, "a mail of the kind")


def told(kind: Worded | Unknown, what: str) -> str:
    """The words of a kind. what: as "a mail of the kind", for a spelling that this version does not know."""
    return kind.words if isinstance(kind, Worded) else not_known(what, kind)


def not_known(what: str, stored: object) -> str:
    """What a table holds that this version does not know: another spelling, or no text at all."""
    return f'{what} "{texts.printable(str(stored))}", which this version does not know'


def day(on: date) -> str:
    """31 January 2026"""
    return f"{on.day} {on:%B} {on.year}"


def days(start: date, end: date) -> str:
    """A period with its last day, as people count it; a day alone where it is one. end: the first day after it."""
    last = end - timedelta(days=1)
    return day(start) if last <= start else f"{day(start)} to {day(last)}"


def money(amount: Decimal, currency: str) -> str:
    """29.99 USD"""
    return f"{currencies.written(amount, currency)} {currency}"
