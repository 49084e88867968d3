"""Refunds in the ledger; renewals.domain.refunds says what a refund is, and what its states are. Each function is one
step, as a value.

While a refund has no final result, its period stands in the index of unfinished work, with the moment at which the
gateway is to be asked about it (`refunds_due`): the sweep finds it there, whoever asked for the refund and was lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from renewals.domain import refunds
from renewals.domain.owed import is_open
from renewals.domain.renewal import MailState, RefundState, Renewal, replaced, shard
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
    """Claim a refund before the gateway is asked, if the period stands as read and has no such one. claim: as in
    renewals.domain.refunds. recorded: further actions of that transaction. due: the real moment, from which on the
    sweep sees to it.

    One mail is owed at a time: that of an earlier refund which waits for another address is owed no more."""
    told = {"notice": None} if renewal.notice_is_parked else {}
    condition = _as_read(renewal) + (_still_parked(renewal) if told else ())
    changes = {f"refunds.{name}": dict(claim), **told, **_waits(renewal, due), "begun_at": now}
    after = replaced(renewal, {"refunds": {**renewal.refunds, name: claim}, "refunds_due": due, **told})
    return Step(after, (change(renewal, changes, condition, now),), beside=recorded)


def count_refund_try(renewal: Renewal, name: str, now: datetime) -> Step[Renewal]:
    """The gateway repeats an error for as long as it remembers the key: the next try has another."""
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
    """What the gateway said of refunds, if the period stands as read. seen: the name of each that changed to all of its
    attributes. notice: the mail that the customer is owed then. due: when the gateway is to be asked again."""
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
    """The period stands as it was read, with its refunds: as many of them, each in its state."""
    no_more = Term(f"attribute_not_exists(refunds.{refunds.next_name(renewal.refunds)})", {})
    states = (
        Term(f"refunds.{name}.#state = :{name}", {f":{name}": refund["state"]})
        for name, refund in renewal.refunds.items()
    )
    return (*stands_as_read(renewal), no_more, *states)


def _still_parked(renewal: Renewal) -> Condition:
    """The mail that is owed still waits for another address."""
    return (Term(f"mails.{renewal.notice}.#state = :failed", {":failed": MailState.FAILED}),)


def _waits(renewal: Renewal, due: datetime | None) -> dict[str, object]:
    """Where the period is found from now on: among the unfinished, as long as there is anything to do for it."""
    waits = is_open(replace(renewal, refunds_due=due))
    return {"refunds_due": due, "unfinished": shard(renewal.subscription_id) if waits else None}
