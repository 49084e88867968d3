"""Entries of the timeline about disputes and early fraud warnings. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from renewals.domain import texts, wording
from renewals.domain.disputes import DisputeEffect, DisputeStatus
from renewals.domain.timeline_entries import EntryKind, Told

if TYPE_CHECKING:
    from renewals.domain.renewal import Renewal
    from renewals.domain.stored import DisputeRecord, DisputeStep

_AWAITED = (
    DisputeStatus.WARNING_NEEDS_RESPONSE,
    DisputeStatus.NEEDS_RESPONSE,
    DisputeStatus.APPEAL_NEEDS_RESPONSE,
)

_TOLD_BY_THE_CHANGE = (DisputeEffect.ENDING, DisputeEffect.ENDED)
"""The effects that changed the subscription: the change has an entry of its own."""

_NOTHING = Decimal(0)


def disputes_told(renewal: Renewal) -> Iterator[Told]:
    """Tell each step of each dispute of the period's payment."""
    for name, record in (renewal.disputes or {}).items():
        before: DisputeStep | None = None
        for step in record["steps"]:
            said = " ".join(_sentences(record, before, step, renewal.currency))
            yield datetime.fromisoformat(step["at"]), EntryKind.DISPUTE, f"{said} ({name})"
            before = step


def _sentences(record: DisputeRecord, before: DisputeStep | None, step: DisputeStep, currency: str) -> Iterator[str]:
    if before is None:
        yield _opened(record, step)
    if step["status"] != DisputeStatus.FRAUD_WARNING and (before is None or step["status"] != before["status"]):
        standing = DisputeStatus.words_of(step["status"]) or wording.not_known("has the status", step["status"])
        yield f"The dispute {standing}."
        if step["status"] in _AWAITED and "due_by" in record:
            yield f"Evidence can be sent until {wording.day(datetime.fromisoformat(record['due_by']).date())}."
    taken = step.get("withdrawn", _NOTHING) - (before.get("withdrawn", _NOTHING) if before else _NOTHING)
    returned = step.get("reinstated", _NOTHING) - (before.get("reinstated", _NOTHING) if before else _NOTHING)
    if taken:
        yield f"The bank took {wording.money(taken, currency)} back from the seller."
    if returned:
        yield f"The bank returned {wording.money(returned, currency)} to the seller."
    effect = DisputeEffect.words_of(step.get("effect"))
    if effect and step.get("effect") not in _TOLD_BY_THE_CHANGE:
        yield effect


def _opened(record: DisputeRecord, step: DisputeStep) -> str:
    money = wording.money(record["amount"], record["currency"])
    on, why = wording.day(datetime.fromisoformat(record["at"]).date()), texts.printable(record["reason"])
    if step["status"] == DisputeStatus.FRAUD_WARNING:
        return f"On {on} the card's bank warned that the payment of {money} may be fraud: {why.replace('_', ' ')}."
    return f"On {on} the customer disputed {money} at the bank, for the reason: {why.replace('_', ' ')}."
