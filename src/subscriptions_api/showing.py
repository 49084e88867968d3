"""Rows, renewals, refunds and entries of the timeline, shown with the fields of the API's answer models."""

from collections.abc import Callable, Iterator
from datetime import date, datetime
from decimal import Decimal

from renewals.domain import currencies, declines, refunds, reminders, subscription, wording
from renewals.domain.entitlement import Entitlement
from renewals.domain.errors import BadRow
from renewals.domain.item_values import Item
from renewals.domain.payment import GatewayRefundState
from renewals.domain.preview import NextCharge
from renewals.domain.renewal import RefundState, Renewal, Status
from renewals.domain.renewal_items import renewal_from
from renewals.domain.timeline_entries import Entry
from subscriptions_api.answer_models import ReceiptKind, ReceiptOut, SubscriptionOut


def shown(row: Item, today: date, fault: BadRow | None = None) -> dict[str, object]:
    """Show a row as SubscriptionOut.

    Args:
        row: The row of the subscription.
        today: The day on which the row is read. A subscription that has reached its end by this day is shown as
            canceled, even before the sweep writes the status.
        fault: A fault that only the ledger shows: a day of the next period is paid already, for example.
    """
    texts = {name: _text(row.get(name)) for name in SubscriptionOut.model_fields if name not in _OTHER}
    numbers = {"interval_count": _whole(row.get("interval_count")), "anchor_day": _anchor(row)}
    texts["status"] = _text(subscription.status_on(row, today))
    which = reminders.REQUIRED if reminders.has_declined(row) else reminders.ALL
    return {**texts, **numbers, "amount": _row_money(row), "reminders": which, "fault": _fault(row) or _in_words(fault)}


_OTHER = {"amount", "fault", "interval_count", "anchor_day", "reminders"}


def shown_period(item: Item) -> dict[str, object]:
    """Show an item of the ledger as RenewalOut."""
    if item["status"] == Status.SKIPPED:
        return {"renewal_date": item["renewal_date"], "status": item["status"], "reason": item.get("reason")}
    renewal = renewal_from(item)
    pending, refunded = (refunds.in_state(renewal, state) for state in (RefundState.CLAIMED, RefundState.REFUNDED))
    return {
        "renewal_date": renewal.renewal_date.isoformat(),
        "status": renewal.status.value,
        "reason": wording.refused(renewal.reason or "") or renewal.reason,
        "period_end": renewal.period_end.isoformat(),
        "amount": money(renewal.amount, renewal.currency),
        "plan": renewal.plan,
        "attempt": renewal.attempt,
        "next_attempt": renewal.next_attempt.isoformat() if renewal.next_attempt else None,
        "decline_code": renewal.decline_code,
        "decline_reason": declines.in_words(renewal.decline_code) if renewal.decline_code else None,
        "paid_at": renewal.paid_at.isoformat() if renewal.paid_at else None,
        "card": renewal.card,
        "transaction_id": renewal.payment_id,
        "receipt_number": _receipt_number(renewal),
        "refunded": money(refunded, renewal.currency) if renewal.refunds else None,
        "refund_pending": money(pending, renewal.currency) if pending else None,
        "flag": renewal.flag,
    }


def shown_refund(renewal: Renewal, name: str) -> dict[str, object]:
    """Show as RefundOut a refund that the gateway has accepted. `name` is the name of the refund in the renewal."""
    refund = renewal.refunds[name]
    return {
        "refund_number": refunds.number(renewal, name),
        "renewal_date": renewal.renewal_date.isoformat(),
        "state": RefundState.REFUNDED if refund["state"] == RefundState.REFUNDED else GatewayRefundState.PENDING,
        "amount": money(refund["amount"], renewal.currency),
        "transaction_id": refund["refund_id"],
        "left": money(refunds.left(renewal), renewal.currency),
    }


def shown_receipts(item: Item, link: Callable[[str], str]) -> Iterator[dict[str, object]]:
    """Show the receipts of a ledger item as ReceiptOut: the receipts of refunds, the latest first, then the payment's.

    Args:
        item: The item of the ledger.
        link: Returns the link to a receipt. Its argument is the name of the refund, or "" for the payment's receipt.
    """
    if item["status"] == Status.SKIPPED:
        return
    renewal, period = renewal_from(item), shown_period(item)
    for name, refund in reversed(refunds.in_order(renewal.refunds)):
        if "receipt_key" in refund:
            yield {name: period[name] for name in ("renewal_date", "period_end")} | {
                "kind": ReceiptKind.REFUND,
                "void": refund["state"] == RefundState.FAILED,
                "receipt_number": refunds.number(renewal, name),
                "amount": money(refund["amount"], renewal.currency),
                "paid_at": datetime.fromisoformat(refund["at"]).isoformat(),
                "transaction_id": refund["refund_id"],
                "link": link(name),
            }
    if renewal.receipt_key is not None:
        told = {name: period[name] for name in ReceiptOut.model_fields if name in period}
        yield told | {"kind": ReceiptKind.PAYMENT, "void": False, "link": link("")}


def shown_entitlement(subscription_id: str, of: Entitlement) -> dict[str, object]:
    """Show an entitlement as EntitlementOut."""
    return {
        "subscription_id": subscription_id,
        "entitled": of.entitled,
        "reason": of.reason,
        "until": of.until.isoformat() if of.until else None,
        "grace_until": of.grace_until.isoformat() if of.grace_until else None,
    }


def shown_entry(entry: Entry) -> dict[str, object]:
    """Show an entry of the timeline as TimelineEntry."""
    period = entry.renewal_date.isoformat() if entry.renewal_date else None
    return {
        "at": entry.at.isoformat(),
        "kind": entry.kind,
        "text": entry.text,
        "renewal_date": period,
        "by": entry.by,
    }


def shown_charge(charge: NextCharge) -> dict[str, object]:
    """Show a charge to come as PlannedCharge."""
    return {
        "date": charge.on.isoformat(),
        "period_start": charge.start.isoformat(),
        "period_end": charge.end.isoformat(),
        "amount": money(charge.amount, charge.currency),
        "why": charge.why,
    }


def money(amount: Decimal, currency: str) -> dict[str, str]:
    """Show 29.9 USD as {"amount": "29.90", "currency": "USD"}."""
    return {"amount": currencies.written(amount, currency), "currency": currency}


def _receipt_number(renewal: Renewal) -> str | None:
    return renewal.receipt_number if renewal.receipt_key else None


def _row_money(row: Item) -> dict[str, str] | None:
    amount, currency = row.get("amount"), row.get("currency")
    if not isinstance(amount, Decimal) or not isinstance(currency, str):
        return None
    try:
        return money(amount, currency.upper())
    except BadRow:
        return None


def _anchor(row: Item) -> int | None:
    """Return the day of the month on which the subscription renews; None if it renews by days or weeks."""
    try:
        schedule = subscription.parse(row).schedule
    except BadRow:
        return _whole(row.get("anchor_day"))
    return schedule.anchor_day if schedule.is_anchored else None


def _fault(row: Item) -> dict[str, str] | None:
    try:
        subscription.parse(row)
    except BadRow as bad:
        return _in_words(bad)
    return None


def _in_words(fault: BadRow | None) -> dict[str, str] | None:
    return {"field": fault.field, "reason": fault.reason} if fault else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _whole(value: object) -> int | None:
    return int(value) if isinstance(value, Decimal) and value.is_finite() and value % 1 == 0 else None
