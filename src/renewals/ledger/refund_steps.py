"""Refunds in the ledger: a refund is claimed, and its result is recorded.

renewals.domain.refunds explains refunds and their states. The functions write nothing: each returns a step, which
renewals.ledger.table carries out.

While a refund is unsettled, its period is listed in the index of unfinished work. `refunds_due` is the moment from
which the gateway is to be asked about the refund. The sweep finds the period in the index, even if the process that
began the refund died.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from renewals.domain import refunds
from renewals.domain.owed import is_open
from renewals.domain.renewal import MailState, RefundState, Renewal
from renewals.domain.renewal_items import replaced, shard
from renewals.ledger.steps import Condition, Step, Term, change, changed, stands_as_read
from renewals.runtime.attribute_values import TransactAction

if TYPE_CHECKING:
    from renewals.domain.stored import RefundRecord


def claim_refund(
    renewal: Renewal,
    name: str,
    claim: RefundRecord,
    recorded: Sequence[TransactAction],
    now: datetime,
    *,
    due: datetime,
) -> Step[Renewal]:
    """Claim a refund before asking the gateway, if the period is unchanged and has no refund of this name.

    A period owes the customer one mail at a time. If the mail about an earlier refund still waits for a new address,
    the mail is no longer owed once the new refund is claimed.

    Args:
        claim: as in renewals.domain.refunds.
        recorded: further actions of the transaction.
        due: the moment, in real time, from which the sweep settles the refund.
    """
    told = {"notice": None} if renewal.notice_is_parked else {}
    condition = _as_read(renewal) + (_still_parked(renewal) if told else ())
    changes = {f"refunds.{name}": dict(claim), **told, **_waits(renewal, due), "begun_at": now}
    after = replaced(renewal, {"refunds": {**renewal.refunds, name: claim}, "refunds_due": due, **told})
    return Step(after, (change(renewal, changes, condition, now),), beside=recorded)


def count_refund_try(renewal: Renewal, name: str, now: datetime) -> Step[Renewal]:
    """Count a failed request for a refund. The gateway repeats its error for a repeated idempotency key, so the next
    try has a new key."""
    tries = int(renewal.refunds[name].get("tries", 0))
    claimed = Term(f"refunds.{name}.#state = :claimed", {":claimed": RefundState.CLAIMED})
    counted = Term(f"refunds.{name}.tries = :tries", {":tries": tries})
    not_counted = Term(f"attribute_not_exists(refunds.{name}.tries)", {})
    condition = (claimed, counted if tries else not_counted)
    return changed(renewal, {f"refunds.{name}.tries": tries + 1}, condition, now)


def refunds_looked_at(
    renewal: Renewal,
    seen: Mapping[str, RefundRecord],
    *,
    notice: str | None,
    due: datetime | None,
    now: datetime,
) -> Step[Renewal]:
    """Record the gateway's answer about refunds, if the period is unchanged.

    Args:
        seen: all attributes of every changed refund, by name.
        notice: the mail that the customer is owed afterwards.
        due: the moment of the next question to the gateway.
    """
    condition = _as_read(renewal)
    changes: dict[str, object] = {f"refunds.{name}": dict(refund) for name, refund in seen.items()}
    after = replace(renewal, refunds={**renewal.refunds, **seen}, refunds_due=due, notice=notice)
    changes |= _waits(after, due)
    if notice != renewal.notice:
        changes |= {"notice": notice} | ({"lease_until": now} if notice else {})
        if renewal.notice_is_parked:
            condition += _still_parked(renewal)
    elif renewal.notice_is_parked:
        changes["parked"] = True
    return Step(after, (change(renewal, changes, condition, now),))


def _as_read(renewal: Renewal) -> Condition:
    """The period and its refunds are unchanged since the read: no refund was added, and no state changed."""
    no_more = Term(f"attribute_not_exists(refunds.{refunds.next_name(renewal.refunds)})", {})
    states = (
        Term(f"refunds.{name}.#state = :{name}", {f":{name}": refund["state"]})
        for name, refund in renewal.refunds.items()
    )
    return (*stands_as_read(renewal), no_more, *states)


def _still_parked(renewal: Renewal) -> Condition:
    """The owed mail still waits for a new address."""
    return (Term(f"mails.{renewal.notice}.#state = :failed", {":failed": MailState.FAILED}),)


def _waits(renewal: Renewal, due: datetime | None) -> dict[str, object]:
    """Return the changes for the index: the period stays unfinished as long as work is left for the period."""
    waits = is_open(replace(renewal, refunds_due=due))
    return {"refunds_due": due, "unfinished": shard(renewal.subscription_id) if waits else None}
