"""Handle the events of disputes and of early fraud warnings: record the dispute, and end the disputed subscription.

The gateway says how the dispute stands, and the metadata of the disputed payment lead to the period. The record and the
end of the subscription are one transaction: each dispute ends a subscription at most once, whatever happens to its
events, and a later resumption stands. renewals.domain.disputes explains the record, and gateway_worker.disputed_rows
decides the end.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gateway_worker.disputed_rows import Chargeback, Undecided, ends_as
from gateway_worker.handling import KNOWN, UNTIL_A_PERSON_ACTS, EventOutcome, Handled, later, passed_over
from gateway_worker.payments import UNDER_LEASE, paid_first, renewed
from renewals.domain import disputes, subscription
from renewals.domain.changes import CUSTOMER, ChangeKind, may_lack, may_tell, of_dispute
from renewals.domain.disputes import DisputeEffect
from renewals.domain.errors import BadRow, Collision, Outdated, repeat_while_outdated
from renewals.domain.gateway_event import GatewayEventType
from renewals.domain.renewal_history import History
from renewals.gateway.port import is_of_deployment
from renewals.ledger.asked_by import AskedBy
from renewals.ledger.dispute_steps import record_dispute, untouched
from renewals.ledger.payment_steps import why_withdrawn
from renewals.runtime import telemetry

if TYPE_CHECKING:
    from gateway_worker.disputed_rows import RowChange
    from gateway_worker.handling import Seams
    from renewals.domain.disputes import GatewayDispute
    from renewals.domain.gateway_event import GatewayEvent
    from renewals.domain.renewal import Renewal
    from renewals.domain.stored import DisputeRecord
    from renewals.ledger.steps import Row, Step
    from renewals.runtime.attribute_values import TransactAction
    from renewals.runtime.clock import Moment

_FURTHER_LOOKS = 3


def disputed(event: GatewayEvent, seams: Seams) -> Handled:
    """Record the dispute, and end the subscription unless the deployment keeps disputed subscriptions."""
    dispute = _fetched(event, seams)
    if dispute is None:
        # The gateway's key may belong to a different account than the endpoint: a person can mend the key. The event
        # may also be forged. The event of a dispute is therefore passed over after the last try, and a real dispute is
        # not lost, because the audit finds the dispute. The event of an early fraud warning is kept in the dead-letter
        # queue, because the audit does not look for warnings.
        return Handled(
            EventOutcome.LATER,
            "the gateway does not know the dispute",
            UNTIL_A_PERSON_ACTS,
            may_be_dropped=event.type is not GatewayEventType.FRAUD_WARNING,
        )
    if not is_of_deployment(dispute.payment_metadata, seams.deployment):
        return passed_over("another deployment")
    telemetry.correlate(dispute.payment_metadata)
    period = seams.period(dispute.payment_metadata)
    if period is None or period.payment_id not in (None, dispute.payment_id):
        return passed_over("no period has the payment")
    if period.paid_at is None:
        return seams.lease_of_another(period) or paid_first(event, period, seams)
    # The gateway was asked before the ledger was read. The answer is used if the ledger has no record of the dispute,
    # or has recorded the same already. In every other case the answer may be older than the record: the ledger is read,
    # and the gateway asked, once more.
    is_new = dispute.id not in (period.disputes or {})
    if is_new or disputes.reported(period, dispute, dispute.at) is None:
        with suppress(Outdated):
            return _recorded(event, seams, period, dispute)
    return repeat_while_outdated(
        lambda: _recorded(event, seams, *_again(event, period, seams)),
        tries=_FURTHER_LOOKS,
        otherwise=Collision("the period keeps changing"),
    )


def _fetched(event: GatewayEvent, seams: Seams) -> GatewayDispute | None:
    return seams.ask(lambda gateway: gateway.dispute(event.object_id))


def _again(event: GatewayEvent, earlier: Renewal, seams: Seams) -> tuple[Renewal | None, GatewayDispute | None]:
    """Read the ledger, and ask the gateway afterwards: the gateway's report is then newer than the ledger's record."""
    return seams.period_of(earlier), _fetched(event, seams)


def _recorded(event: GatewayEvent, seams: Seams, period: Renewal | None, dispute: GatewayDispute | None) -> Handled:
    """Record the gateway's report of the dispute. Raises Outdated if the ledger or the row has changed since."""
    if period is None or dispute is None:
        return passed_over("no period has the payment")
    moment, known = seams.moment_of(period), (period.disputes or {}).get(dispute.id)
    news = disputes.reported(period, dispute, moment.wall.astimezone(moment.zone))
    if news is not None and disputes.needs_attention(known, news):
        telemetry.count("Disputes")  # before the write: an alarm that comes on twice is better than no alarm
    look = _Look(event, seams, period, dispute, moment, news, news or (period.disputes or {})[dispute.id])
    effect = disputes.effect_of(look.record)
    if effect is None and disputes.is_chargeback(look.record["steps"][-1]):
        return look.take_effect()
    look.note()
    settled = KNOWN if news is None else Handled(EventOutcome.DONE)
    ends = effect in (DisputeEffect.ENDED, DisputeEffect.ENDING)
    return (look.give_up_open_charge() if ends else None) or settled


@dataclass(frozen=True, slots=True)
class _Look:
    """A look at a dispute and its subscription, for one event.

    Attributes:
        news: the new record of the dispute, which must be written; None if the ledger's record is up to date.
        record: the record that the ledger holds at the end: `news`, or the ledger's record if there is no news.
    """

    event: GatewayEvent
    seams: Seams
    period: Renewal
    dispute: GatewayDispute
    moment: Moment
    news: DisputeRecord | None
    record: DisputeRecord

    def note(self) -> None:
        """Record the dispute without an effect on the subscription."""
        if self.news is not None:
            self.seams.ledger.apply(record_dispute(self.period, self.dispute.id, self.news))

    def take_effect(self) -> Handled:
        """Record the dispute together with its effect on the subscription. If the effect cannot be decided yet, the
        dispute is recorded alone, and the event comes back."""
        try:
            row = self._row()
            history = self._history(row)
            end = ends_as(self._chargeback(row, history))
        except BadRow:
            # A row that cannot be read is not charged, nor is a subscription with two rows. The event comes back until
            # somebody has mended the row, or has deleted one of the two rows.
            self.note()
            return later("the row cannot be read", UNTIL_A_PERSON_ACTS)
        except Undecided:
            # To end the subscription could undo a decision of the seller; to leave the subscription alone could charge
            # the customer again. A person mends or deletes the record, or ends the subscription.
            self.note()
            return later("the records of changes do not tell whether the seller has resumed", UNTIL_A_PERSON_ACTS)
        if row is None or end.change is None:
            self.seams.ledger.apply(self._with_effect(end.effect))
            return Handled(EventOutcome.DONE)
        return self._end(row, end.effect, end.change, history)

    def _end(self, row: Row, effect: DisputeEffect, change: RowChange, history: History) -> Handled:
        """End the subscription, and have the workflow give up or record an open charge. A charge at work is waited for:
        the bank may be taking the money at this moment."""
        charge = history.possible_charge
        at_work = self._at_work(charge) if charge is not None else None
        if at_work is not None:
            self.note()
            return at_work
        recorded = map(self.seams.ledger.rendered, self._with_effect(effect).actions)
        asked = AskedBy(of_dispute(self.dispute.id), self.moment.now)
        self.seams.register.edit(row, change.to, change.what, asked, [*recorded, *self._still(row, history)])
        return Handled(EventOutcome.DONE) if charge is None else renewed(self.event, charge, self.seams)

    def _still(self, row: Row, history: History) -> list[TransactAction]:
        """Return the check that no charge of the subscription has begun or gone on since the read."""
        if history.unsettled is not None:
            return [self.seams.ledger.rendered(untouched(history.unsettled))]
        on = subscription.renewal_date_of(row)
        standing = history.claimed_for(on) if on is not None else None
        if on is None or (standing is not None and standing.renewal_date == self.period.renewal_date):
            # No check is needed for a row without a date, because such a row is never charged. No check is needed
            # either if the date leads to the disputed period, because the disputed period is paid already. (A check
            # would be refused: the transaction writes the item of the disputed period, and DynamoDB permits only one
            # action on an item in a transaction.)
            return []
        return [self.seams.ledger.stands_still(self.period.subscription_id, on.isoformat(), standing)]

    def give_up_open_charge(self) -> Handled | None:
        """Run the workflow for an open charge that must be given up, because the subscription ends before the charged
        period. Return None if no such charge exists.

        An earlier delivery of the event may have recorded the end of the subscription, and may have been cut off before
        the run of the workflow. The charge is then still open.
        """
        try:
            row = self._row()
        except BadRow:
            return later("the row cannot be read", UNTIL_A_PERSON_ACTS)
        charge = self._history(row).possible_charge
        if charge is None or why_withdrawn(charge, row) is None:
            return None
        return self._at_work(charge) or renewed(self.event, charge, self.seams)

    def _at_work(self, charge: Renewal) -> Handled | None:
        """Return the answer `later` while an execution works on a claimed or failed charge. A refused period is not
        waited for, even if a lease is left: the result is recorded already, and the next attempt begins with a new
        claim."""
        return self.seams.lease_of_another(charge) if charge.status in UNDER_LEASE else None

    def _row(self) -> Row | None:
        """Return the subscription's row, even if somebody has moved the row to a different customer id since the
        disputed payment: the moved subscription would charge the same person again. None if the row has both a
        different customer id and a different customer of the gateway: somebody has given the subscription to another
        person, who has disputed nothing. Raises BadRow if the subscription has two rows, because nobody can tell which
        row stays."""
        row = self.seams.register.row(self.period.subscription_id)
        if row is None or row["customer_id"] == self.period.customer_id:
            return row
        return row if row.get("gateway_customer") == self.period.gateway_customer else None

    def _history(self, row: Row | None) -> History:
        """Return the latest periods under the row's customer id and under the customer id of the disputed payment."""
        customers = {self.period.customer_id, *([row["customer_id"]] if row else [])}
        recent = self.seams.ledger.recent(self.period.subscription_id)
        return History(each for each in recent if each.customer_id in customers)

    def _with_effect(self, effect: DisputeEffect) -> Step[Renewal]:
        return record_dispute(self.period, self.dispute.id, disputes.with_effect(self.record, effect))

    def _chargeback(self, row: Row | None, history: History) -> Chargeback:
        # A test clock shifts the moments of changes and payments, but not the moments that the gateway reports.
        ahead = self.moment.now - self.moment.wall
        paid = [each.paid_at for each in history if each.renewal_date > self.period.renewal_date]
        return Chargeback(
            row,
            self.period.renewal_date,
            history,
            self.moment.today,
            is_kept=self.seams.keeps_disputed,
            was_resumed_since=self._resumed_since(self._begun_at() + ahead),
            was_won_long_ago=all(map(disputes.is_won, self.record["steps"]))
            and any(at is not None and at > self.dispute.at + ahead for at in paid),
        )

    def _resumed_since(self, since: datetime) -> bool | None:
        """Return whether the seller has resumed the subscription since a moment; None if nobody can tell."""
        changes, unreadable, complete = self.seams.register.changes.readable(self.period.subscription_id)
        # A customer who has disputed a payment cannot undo the end by a resumption on the customer page.
        resumed = [each.at for each in changes if each.what is ChangeKind.RESUMED and each.by != CUSTOMER]
        if any(at > since for at in resumed):
            return True
        others = [each for each in unreadable if each.get("by") != CUSTOMER]
        by_hand = any(may_tell(each, ChangeKind.RESUMED, since) for each in others)
        is_missing = not complete and may_lack(changes, unreadable, since)
        return None if by_hand or is_missing else False

    def _begun_at(self) -> datetime:
        """Return the moment of the chargeback, by the gateway's clock.

        The chargeback begins with the dispute, unless the dispute was an inquiry before. After an inquiry, the
        chargeback begins when the bank first took money, or, if no money was taken, when the event was created.
        """
        dispute, before = self.dispute, self.record["steps"][:-1]
        if all(map(disputes.is_chargeback, before)):
            return dispute.at
        return dispute.withdrawn_at or max(dispute.at, datetime.fromtimestamp(self.event.created, UTC))
