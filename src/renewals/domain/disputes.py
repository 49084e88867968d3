"""Disputes of payments: customers who contest a charge at their bank. Pure.

The ledger keeps each dispute with its period, in `disputes`, under the gateway's id of the dispute (dp_...). An early
fraud warning of a card network is kept in the same way, under its own id (issfr_...).

    fraud_warning                                                           a suspicion, which moves no money
    warning_needs_response ─► warning_under_review ─► warning_closed        an inquiry, which moves no money
    warning_... ─► needs_response                                           the inquiry becomes a chargeback
    needs_response ─► under_review ─► won, lost ─► appeal_... ─► won, lost  a chargeback: the bank takes the money, and
                                                                            returns the money of a dispute that is won
    prevented                                                               settled before a chargeback

The gateway says how a dispute stands, and the ledger records each step once. A dispute only moves forward, and the sums
of money that were withdrawn and reinstated only grow.

Attributes of a dispute: amount and currency (the contested sum, exact decimal, major units); reason (the gateway's
name); at (the moment of the dispute, by the gateway's clock); due_by (the deadline for evidence); steps, the oldest
step first. Attributes of a step: at (the moment at which this system heard of the step); status; withdrawn and
reinstated (all money that the bank has taken and returned until the step, in the period's currency; absent if none);
effect (what the dispute did to the subscription, a member of DisputeEffect; at most one step of a dispute has an
effect).

Decisions: D235 to D238 (DECISIONS.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from renewals.domain import currencies
from renewals.domain.worded import Worded

if TYPE_CHECKING:
    from renewals.domain.renewal import Renewal
    from renewals.domain.stored import DisputeRecord, DisputeStep


class DisputeStatus(Worded):
    """How a dispute stands, spelled as the gateway spells the status. The words complete "The dispute ..."."""

    UNKNOWN = "unknown", "has a status that this version does not know"
    FRAUD_WARNING = "fraud_warning", "is a suspicion of fraud"
    WARNING_NEEDS_RESPONSE = "warning_needs_response", "is an inquiry, and no money has moved"
    WARNING_UNDER_REVIEW = "warning_under_review", "is an inquiry, and the bank looks at the answer"
    WARNING_CLOSED = "warning_closed", "was an inquiry, and is closed without a chargeback"
    NEEDS_RESPONSE = "needs_response", "waits for the seller's evidence"
    UNDER_REVIEW = "under_review", "is with the bank, which looks at the evidence"
    PREVENTED = "prevented", "was settled before a chargeback"
    WON = "won", "is won: the bank decided for the seller"
    LOST = "lost", "is lost: the bank decided for the customer"
    APPEAL_NEEDS_RESPONSE = "appeal_needs_response", "can be appealed with further evidence"
    APPEAL_UNDER_REVIEW = "appeal_under_review", "is appealed, and the bank looks at the evidence"


class DisputeEffect(Worded):
    """What a dispute did to the subscription."""

    ENDING = "ending", "The subscription ends with the paid days."
    ENDED = "ended", "The subscription has ended at once."
    KEPT = "kept", "The subscription goes on: the deployment keeps disputed subscriptions."
    RESUMED = "resumed", "The subscription goes on: it was resumed after the customer had disputed the payment."
    NONE = "none", "The subscription had ended, or was to end with the paid days, already."
    GONE = "gone", "The customer has no such subscription any more."
    DECIDED = (
        "decided",
        "The subscription goes on: the dispute was won, and the customer has paid a later period since.",
    )


_DECIDED = frozenset({DisputeStatus.WON, DisputeStatus.LOST, DisputeStatus.PREVENTED})
_APPEALED = frozenset({DisputeStatus.APPEAL_NEEDS_RESPONSE, DisputeStatus.APPEAL_UNDER_REVIEW})
_CHARGEBACK = frozenset(
    {DisputeStatus.NEEDS_RESPONSE, DisputeStatus.UNDER_REVIEW, DisputeStatus.WON, DisputeStatus.LOST, *_APPEALED}
)
"""The states of a chargeback. A prevented dispute counts as a chargeback only if money was withdrawn."""

# A dispute moves forward to a status of a higher rank. All decided statuses have the same rank, below the appeals.
# `_is_forward` permits two further moves: from a decision to a different decision, and from an appeal to a decision.
_RANKS: Mapping[str, int] = {status.value: rank for rank, status in enumerate(DisputeStatus)} | dict.fromkeys(
    map(str, _DECIDED), list(DisputeStatus).index(DisputeStatus.LOST)
)


@dataclass(frozen=True, slots=True)
class GatewayDispute:
    """A dispute or an early fraud warning as the gateway reports it.

    Attributes:
        id: dp_... or issfr_...
        payment_id: empty if the gateway names no payment.
        amount: the contested sum, in minor units.
        reason: the gateway's name of the reason, such as fraudulent.
        at: the moment of the dispute, on the gateway's clock.
        due_by: the deadline for evidence.
        withdrawn: the money taken by the bank, in minor units of `currency`.
        reinstated: the part of `withdrawn` that the bank has returned.
        withdrawn_at: the moment at which the bank first took money, on the gateway's clock.
        payment_metadata: the metadata of the disputed payment.
    """

    id: str
    payment_id: str
    status: DisputeStatus
    amount: int
    currency: str
    reason: str
    at: datetime
    due_by: datetime | None = None
    withdrawn: int = 0
    reinstated: int = 0
    withdrawn_at: datetime | None = None
    payment_metadata: Mapping[str, str] = field(default_factory=dict)


def with_new_step(renewal: Renewal, dispute: GatewayDispute, at: datetime) -> DisputeRecord | None:
    """Return the record of the dispute after the gateway's report; None if the report adds no step to the record.

    The arguments are those of `reported`, which also returns a record that was changed without a new step.
    """
    known, record = (renewal.disputes or {}).get(dispute.id), reported(renewal, dispute, at)
    return record if record is not None and _has_new_step(known, record) else None


def reported(renewal: Renewal, dispute: GatewayDispute, at: datetime) -> DisputeRecord | None:
    """Return the record of the dispute after the gateway's report; None if the report changes nothing in the record.

    A new status, or a movement of money, adds a step to the record. A new deadline, sum or reason changes the record
    without a new step.

    Args:
        renewal: the period whose payment is disputed.
        dispute: the gateway's report.
        at: now, in the business's zone.
    """
    known = (renewal.disputes or {}).get(dispute.id)
    steps = list(known["steps"]) if known else []
    stands = steps[-1] if steps else None
    step = _step(renewal, dispute, stands, at)
    if stands is None or _without(stands) != _without(step):
        steps.append(step)
    record: DisputeRecord = {
        "amount": currencies.major_units(dispute.amount, dispute.currency),
        "currency": dispute.currency,
        "reason": dispute.reason,
        "at": known["at"] if known else _stored(dispute.at.astimezone(at.tzinfo)),
        "steps": steps,
    }
    due_by = known.get("due_by") if known else None
    if dispute.due_by is not None and (due_by is None or datetime.fromisoformat(due_by) != dispute.due_by):
        due_by = _stored(dispute.due_by.astimezone(at.tzinfo))
    if due_by is not None:
        record["due_by"] = due_by
    return None if record == known else record


def is_won(step: DisputeStep) -> bool:
    """Whether the bank has decided for the seller. The bank may return the money later."""
    return step["status"] == DisputeStatus.WON


def with_effect(record: DisputeRecord, effect: DisputeEffect) -> DisputeRecord:
    """Return the record after the dispute has had its effect on the subscription."""
    *before, last = record["steps"]
    return {**record, "steps": [*before, {**last, "effect": effect.value}]}


def effect_of(record: DisputeRecord) -> str | None:
    """Return what the dispute did to the subscription; None if the dispute has had no effect yet."""
    return next((step["effect"] for step in record["steps"] if "effect" in step), None)


def is_chargeback(step: DisputeStep) -> bool:
    """Whether the customer's bank charges the payment back: more than an inquiry or a suspicion."""
    return step["status"] in _CHARGEBACK or bool(step.get("withdrawn"))


def is_charged_back_since(record: DisputeRecord, since: datetime) -> bool:
    """Whether the dispute has become a chargeback since a moment, and the bank has not decided for the seller."""
    steps = record["steps"]
    first = next((step for step in steps if is_chargeback(step)), None)
    return first is not None and not is_won(steps[-1]) and datetime.fromisoformat(first["at"]) >= since


def needs_attention(known: DisputeRecord | None, record: DisputeRecord) -> bool:
    """Whether the record is news for a person: a new dispute, or an inquiry that has become a chargeback. known: the
    record before."""
    *before, last = record["steps"]
    is_news = not before or (is_chargeback(last) and not any(map(is_chargeback, before)))
    return is_news and _has_new_step(known, record)


def _has_new_step(known: DisputeRecord | None, record: DisputeRecord) -> bool:
    return known is None or len(known["steps"]) < len(record["steps"])


def _step(renewal: Renewal, dispute: GatewayDispute, stands: DisputeStep | None, at: datetime) -> DisputeStep:
    moved = {"withdrawn": _taken(renewal, dispute), "reinstated": _returned(renewal, dispute)}
    step: DisputeStep = {"at": _stored(at), "status": dispute.status.value}
    if stands is not None and not _is_forward(stands["status"], dispute.status):
        step["status"] = stands["status"]
    withdrawn = max(moved["withdrawn"], stands.get("withdrawn", Decimal(0)) if stands else Decimal(0))
    reinstated = max(moved["reinstated"], stands.get("reinstated", Decimal(0)) if stands else Decimal(0))
    if withdrawn:
        step["withdrawn"] = withdrawn
    if reinstated:
        step["reinstated"] = min(reinstated, withdrawn)
    return step


def _is_forward(before: str, after: DisputeStatus) -> bool:
    if after in _DECIDED and (before in _APPEALED or before in _DECIDED):
        return before != after
    return _RANKS[after] > _RANKS.get(before, 0)


def _taken(renewal: Renewal, dispute: GatewayDispute) -> Decimal:
    """Return the withdrawn money in the period's currency. If the dispute has a different currency, any withdrawal
    counts as the whole payment (the share is rounded up), so that nothing of the payment can be refunded."""
    if dispute.currency == renewal.currency:
        return currencies.major_units(dispute.withdrawn, dispute.currency)
    return renewal.amount * -(-dispute.withdrawn // max(dispute.amount, 1))


def _returned(renewal: Renewal, dispute: GatewayDispute) -> Decimal:
    """Return the reinstated money in the period's currency. If the dispute has a different currency, the payment counts
    as returned only when the bank has returned the whole contested sum (the share is rounded down)."""
    if dispute.currency == renewal.currency:
        return currencies.major_units(dispute.reinstated, dispute.currency)
    return renewal.amount * (dispute.reinstated // max(dispute.amount, 1))


def _without(step: DisputeStep) -> dict[str, object]:
    """Return the step without its moment and its effect."""
    return {name: value for name, value in step.items() if name not in ("at", "effect")}


def _stored(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds")
