"""Refunds in the ledger. renewals.refunds says what a refund is, and what its states are.

While a refund has no final result, its period stands in the index of unfinished work, with the moment at which the
gateway is to be asked about it (`refunds_due`): the sweep finds it there, whoever asked for the refund and was lost.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from renewals import refunds
from renewals.ledger import Ledger, stands_as_read
from renewals.owed import is_open
from renewals.renewal import MailState, RefundState, Renewal, replaced, shard


class RefundLedger(Ledger):
    """What is refunded: claimed, and what came of it. Raises as Ledger."""

    def claim_refund(
        self,
        renewal: Renewal,
        name: str,
        claim: Mapping[str, Any],
        recorded: Sequence[dict[str, Any]],
        now: datetime,
        *,
        due: datetime,
    ) -> Renewal:
        """Claim a refund before the gateway is asked, if the period stands as read and has no such one. claim: as in
        renewals.refunds. recorded: further actions of that transaction. due: the real moment, from which on the sweep
        sees to it.

        One mail is owed at a time: that of an earlier refund which waits for another address is owed no more."""
        free, values = _as_read(renewal)
        told = {}
        if renewal.notice_is_parked:
            told = {"notice": None}
            free += f" AND mails.{renewal.notice}.#state = :failed"
            values |= {":failed": MailState.FAILED}
        changes = {f"refunds.{name}": dict(claim), **told, **_waits(renewal, due), "begun_at": now}
        begin = self._change(renewal, changes, free, values, now)
        self._transact([{"Update": begin}, *recorded])
        return replaced(renewal, {"refunds": {**renewal.refunds, name: claim}, "refunds_due": due, **told})

    def count_refund_try(self, renewal: Renewal, name: str, now: datetime) -> Renewal:
        """The gateway repeats an error for as long as it remembers the key: the next try has another."""
        tries = int(renewal.refunds[name].get("tries", 0))
        values: dict[str, Any] = {":claimed": RefundState.CLAIMED} | ({":tries": tries} if tries else {})
        as_read = f"refunds.{name}.tries = :tries" if tries else f"attribute_not_exists(refunds.{name}.tries)"
        counted = {f"refunds.{name}.tries": tries + 1}
        return self._update(renewal, counted, f"refunds.{name}.#state = :claimed AND {as_read}", values, now)

    def record_refunds(
        self,
        renewal: Renewal,
        changed: Mapping[str, Mapping[str, Any]],
        *,
        notice: str | None,
        due: datetime | None,
        now: datetime,
    ) -> Renewal:
        """What the gateway said of refunds, if the period stands as read. changed: the name of each to all of its
        attributes. notice: the mail that the customer is owed then. due: when the gateway is to be asked again."""
        as_read, values = _as_read(renewal)
        changes: dict[str, Any] = {f"refunds.{name}": dict(refund) for name, refund in changed.items()}
        after = replace(renewal, refunds={**renewal.refunds, **changed}, refunds_due=due, notice=notice)
        changes |= _waits(after, due)
        if notice != renewal.notice:
            changes |= {"notice": notice} | ({"lease_until": now} if notice else {})
            if renewal.notice_is_parked:
                as_read += f" AND mails.{renewal.notice}.#state = :failed"
                values |= {":failed": MailState.FAILED}
        elif renewal.notice_is_parked:
            changes["parked"] = True
        self._update(renewal, changes, as_read, values, now)
        return after


def _as_read(renewal: Renewal) -> tuple[str, dict[str, Any]]:
    """The condition that the period stands as it was read, with its refunds: as many of them, each in its state."""
    condition, values = stands_as_read(renewal)
    condition += f" AND attribute_not_exists(refunds.{refunds.next_name(renewal.refunds)})"
    for name, refund in renewal.refunds.items():
        condition += f" AND refunds.{name}.#state = :{name}"
        values[f":{name}"] = refund["state"]
    return condition, values


def _waits(renewal: Renewal, due: datetime | None) -> dict[str, Any]:
    """Where the period is found from now on: among the unfinished, as long as there is anything to do for it."""
    waits = is_open(replace(renewal, refunds_due=due))
    return {"refunds_due": due, "unfinished": shard(renewal.subscription_id) if waits else None}
