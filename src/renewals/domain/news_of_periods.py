"""The events of a billing period: payments, refused attempts, dunning, refunds and disputes. Pure.

The ledger keeps every step of a period. The facts in a period's item are therefore all facts that happened so far. The
item after a write has the facts of the item before the write, and the new facts.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from renewals.domain import refunds
from renewals.domain.news import By, EventType, Fact, priced
from renewals.domain.reasons import Reason
from renewals.domain.renewal import Flag, RefundState, Renewal, Status

if TYPE_CHECKING:
    from renewals.domain.stored import EndingRecord, RefundRecord, RefusalRecord

_ASKS_FOR_THE_CUSTOMER = frozenset({"authentication_required", Status.ACTION_REQUIRED.value})
"""The decline codes of a payment that the customer must confirm. `authentication_required` is the gateway's code. The
ledger has the other code if the gateway named no code."""


def facts_of_period(renewal: Renewal) -> list[Fact]:
    """Return all facts that the period has told so far, the oldest fact first."""
    return [*_of_payment(renewal), *_of_refunds(renewal), *_of_disputes(renewal)]


def told_of_period(old: Renewal | None, new: Renewal | None) -> list[Fact]:
    """Return the new facts of a write.

    A new claim tells nothing yet. If a period is new to the table and already has a payment or a refused attempt,
    somebody put the period back from a backup, or copied the period, and the period tells nothing either.

    Args:
        old: the period before the write; None without a claim.
        new: the period after the write; None without a claim.
    """
    if old is None or new is None:
        return []
    known = {fact.key for fact in facts_of_period(old)}
    failed = {name for name, each in old.refunds.items() if "failed_at" in each}
    facts = (fact for fact in facts_of_period(new) if fact.key not in known)
    # A refund with `failed_at` failed at the gateway for good. If such a refund becomes refunded, the write put back an
    # older item.
    return [fact for fact in facts if fact.type is not EventType.REFUNDED or fact.cause[1] not in failed]


def _of_payment(renewal: Renewal) -> Iterator[Fact]:
    steps: list[tuple[datetime, int, str, Any]] = [
        (datetime.fromisoformat(refusal["at"]), 0, name, refusal) for name, refusal in renewal.refusals.items()
    ]
    steps += [(datetime.fromisoformat(each["at"]), 1, "", each) for each in renewal.endings or ()]
    past_due = False
    for at, _, attempt, step in sorted(steps, key=lambda each: each[:3]):
        if attempt:
            yield from _refused(renewal, attempt, step, at, first=not past_due)
            past_due = True
        elif not (renewal.paid_at is not None and at > renewal.paid_at):
            # A failure after the payment is left out: the receipt failed, and not the charge.
            yield from _ended(renewal, step, at, past_due=past_due)
            past_due = past_due and step["status"] != Status.GIVEN_UP
    if renewal.paid_at is not None:
        at = max(renewal.paid_at, renewal.claimed_at)
        paid = {"transaction_id": renewal.payment_id, "receipt_number": renewal.receipt_number}
        yield _fact(renewal, EventType.PAID, at, (renewal.claim,), **_priced(renewal, renewal.amount), **paid)
        if past_due:
            yield _status_changed(renewal, EventType.RECOVERED, at, (renewal.claim,))


def _refused(renewal: Renewal, attempt: str, refusal: RefusalRecord, at: datetime, *, first: bool) -> Iterator[Fact]:
    code = refusal.get("decline_code")
    asks = code in _ASKS_FOR_THE_CUSTOMER
    cause = (attempt, refusal["at"])
    told = _priced(renewal, renewal.amount) | {"attempt": int(attempt.rpartition("_")[2]), "reason": code}
    if asks:
        yield _fact(renewal, EventType.ACTION_REQUIRED, at, cause, **told)
    else:
        yield _fact(renewal, EventType.FAILED, at, cause, **told, outcome=Status.DECLINED.value)
    # With the flag, the row was deleted or moved to a different date before the refusal. The ledger left the row alone.
    if first and renewal.flag != Flag.SUBSCRIPTION_CHANGED:
        yield _status_changed(renewal, EventType.PAST_DUE, at, cause)


def _ended(renewal: Renewal, ending: EndingRecord, at: datetime, *, past_due: bool) -> Iterator[Fact]:
    status, reason, cause = ending["status"], ending["reason"], (ending["status"], ending["at"])
    told = _priced(renewal, renewal.amount) | {"attempt": renewal.attempt, "reason": reason}
    yield _fact(renewal, EventType.FAILED, at, cause, **told, outcome=status)
    if status == Status.GIVEN_UP and reason == Reason.DUNNING_OVER:
        yield _status_changed(renewal, EventType.ENDED, at, cause)
    elif status == Status.GIVEN_UP and past_due:
        yield _status_changed(renewal, EventType.UPDATED, at, cause, changed=["status"])


def _of_refunds(renewal: Renewal) -> Iterator[Fact]:
    for name, refund in refunds.in_order(renewal.refunds):
        yield from _refund(renewal, name, refund)


def _refund(renewal: Renewal, name: str, refund: RefundRecord) -> Iterator[Fact]:
    told = _priced(renewal, refund["amount"]) | {"refund": name, "refund_id": refund.get("refund_id")}
    cause = (name, refund["request"])
    # A refund has a receipt only after a success: a refund that failed later was told as refunded before.
    if refund["state"] == RefundState.REFUNDED or "receipt_key" in refund:
        yield _fact(renewal, EventType.REFUNDED, datetime.fromisoformat(refund["at"]), cause, **told)
    if refund["state"] == RefundState.FAILED:
        at = datetime.fromisoformat(refund.get("failed_at") or refund["at"])
        yield _fact(renewal, EventType.REFUND_FAILED, at, cause, **told, reason=refund.get("reason"))


def _of_disputes(renewal: Renewal) -> Iterator[Fact]:
    """Return a fact for each step of each dispute: a recorded step is never changed or taken back."""
    for name, dispute in (renewal.disputes or {}).items():
        contested = {"amount": priced(dispute["amount"], dispute["currency"]), "currency": dispute["currency"]}
        for n, step in enumerate(dispute["steps"], start=1):
            yield _fact(
                renewal,
                EventType.DISPUTED,
                datetime.fromisoformat(step["at"]),
                (name, str(n)),
                **contested,
                dispute_id=name,
                status=step["status"],
                reason=dispute["reason"],
                due_by=dispute.get("due_by"),
                payment_currency=renewal.currency,
                withdrawn=priced(step.get("withdrawn", Decimal(0)), renewal.currency),
                reinstated=priced(step.get("reinstated", Decimal(0)), renewal.currency),
            )


def _priced(renewal: Renewal, amount: Decimal) -> dict[str, Any]:
    return {"amount": priced(amount, renewal.currency), "currency": renewal.currency}


def _status_changed(renewal: Renewal, kind: EventType, at: datetime, cause: tuple[str, ...], **data: list[str]) -> Fact:
    return _fact(renewal, kind, at, cause, by=By.RENEWAL.value, **data)


def _fact(
    renewal: Renewal, kind: EventType, at: datetime, cause: tuple[str, ...], **data: str | int | list[str] | None
) -> Fact:
    period = renewal.renewal_date.isoformat()
    told = {"period": period, "period_end": renewal.period_end.isoformat(), **data}
    return Fact(kind, renewal.subscription_id, renewal.customer_id, at, (period, *cause), told)
