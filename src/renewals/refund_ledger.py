"""Money given back, in the ledger. renewals.refunds says what a refund is."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from renewals.ledger import Ledger, Lost, stands_as_read
from renewals.renewal import Renewal, replaced


class RefundLedger(Ledger):
    """What is given back: claimed, and what came of it."""

    def claim_refund(
        self, renewal: Renewal, name: str, claim: Mapping[str, Any], recorded: Sequence[dict[str, Any]], now: datetime
    ) -> Renewal | Lost:
        """Claim a refund before the gateway is asked, if the period stands as read and has no such one. claim: as in
        renewals.refunds. recorded: further actions of that transaction.

        One mail is owed at a time: that of an earlier refund which waits for another address is owed no more."""
        as_read, values = stands_as_read(renewal)
        free = f"attribute_not_exists(refunds.{name}) AND {as_read}"
        told = {}
        if renewal.notice_is_parked:
            told = {"notice": None}
            free += f" AND mails.{renewal.notice}.#state = :failed"
            values |= {":failed": "failed"}
        begin = self._change(renewal, {f"refunds.{name}": dict(claim), **told}, free, values, now)
        lost = self._transact([{"Update": begin}, *recorded])
        return replaced(renewal, {"refunds": {**renewal.refunds, name: claim}, **told}) if lost is None else Lost()

    def record_refund(
        self, renewal: Renewal, name: str, changes: Mapping[str, Any], *, notice: str | None, now: datetime
    ) -> Renewal | Lost:
        """What the gateway said of a claimed refund. changes: to its attributes. notice: the mail owed of it."""
        told = {"status": renewal.status, "notice": notice, "lease_until": now} if notice else {}
        recorded = self._update(
            renewal,
            {f"refunds.{name}.{attribute}": value for attribute, value in changes.items()} | told,
            f"refunds.{name}.#state = :claimed AND #status = :was",
            {":claimed": "claimed", ":was": renewal.status},
            now,
        )
        refund = {**renewal.refunds[name], **changes}
        return recorded if isinstance(recorded, Lost) else replace(recorded, refunds={**renewal.refunds, name: refund})
