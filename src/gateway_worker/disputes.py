"""Handle the events of disputes and of early fraud warnings: record the dispute, and end the disputed subscription.

The gateway says how the dispute stands, and the metadata of the disputed payment lead to the period. The record and the
end of the subscription are one transaction: each dispute ends a subscription at most once, whatever happens to its
events, and a later resumption stands. renewals.domain.disputes explains the record.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway_worker.handling import KNOWN, EventOutcome, Handled, later, passed_over
from gateway_worker.payments import paid_first, renewed
from renewals.domain import disputes, transitions
from renewals.domain.changes import ChangeKind
from renewals.domain.disputes import DisputeEffect
from renewals.domain.errors import BadRow, Collision, repeat_while_outdated
from renewals.domain.transitions import Action, Standing
from renewals.gateway.port import is_of_deployment
from renewals.ledger.asked_by import AskedBy
from renewals.ledger.dispute_steps import record_dispute
from renewals.runtime import telemetry

if TYPE_CHECKING:
    from gateway_worker.handling import Seams
    from renewals.domain.disputes import GatewayDispute
    from renewals.domain.gateway_event import GatewayEvent
    from renewals.domain.renewal import Renewal
    from renewals.domain.stored import DisputeRecord
    from renewals.ledger.steps import Row
    from renewals.runtime.clock import Moment

_LOOKS = 4
_OVER = (Standing.ENDING, Standing.CANCELED, Standing.ENDED, None)
"""Subscriptions that end anyway, or whose status is unknown: such a subscription is not charged."""


def disputed(event: GatewayEvent, seams: Seams) -> Handled:
    """Record the dispute, and end the subscription unless the deployment keeps disputed subscriptions."""
    dispute = _fetched(event, seams)
    if dispute is None:
        return passed_over("the gateway does not know the dispute")
    if not is_of_deployment(dispute.payment_metadata, seams.deployment):
        return passed_over("another deployment")
    telemetry.correlate(dispute.payment_metadata)
    period = seams.period(dispute.payment_metadata)
    if period is None or period.payment_id not in (None, dispute.payment_id):
        return passed_over("no period has the payment")
    if period.paid_at is None:
        return seams.lease_of_another(period) or paid_first(event, period, seams)
    return repeat_while_outdated(
        lambda: _recorded(event, period, seams), tries=_LOOKS, otherwise=Collision("the period keeps changing")
    )


def _fetched(event: GatewayEvent, seams: Seams) -> GatewayDispute | None:
    return seams.ask(lambda gateway: gateway.dispute(event.object_id))


def _recorded(event: GatewayEvent, earlier: Renewal, seams: Seams) -> Handled:
    """Record what the gateway says of the dispute. The gateway is asked after the ledger was read: what is recorded is
    never older than what the ledger knew. Raises Outdated if the ledger or the row has changed since."""
    period = seams.period_of(earlier)
    dispute = _fetched(event, seams)
    if period is None or dispute is None:
        return passed_over("no period has the payment")
    moment = seams.moment_of(period)
    news = disputes.seen(period, dispute, moment.wall.astimezone(moment.zone))
    record = news or (period.disputes or {})[dispute.id]
    if disputes.is_chargeback(record["steps"][-1]) and disputes.effect_of(record) is None:
        answer = _take_effect(_Chargeback(period, dispute, record), seams, moment, event)
    else:
        answer = KNOWN if news is None else Handled(EventOutcome.DONE)
        if news is not None:
            seams.ledger.apply(record_dispute(period, dispute.id, news, moment.now))
    if news is not None and disputes.needs_attention(news):
        telemetry.count("Disputes")
    return answer


@dataclass(frozen=True, slots=True)
class _Chargeback:
    """A dispute that has had no effect on the subscription yet. record: the dispute as the ledger is to keep it."""

    period: Renewal
    dispute: GatewayDispute
    record: DisputeRecord


def _take_effect(found: _Chargeback, seams: Seams, moment: Moment, event: GatewayEvent) -> Handled:
    """Record the dispute together with its effect on the subscription."""
    period, name = found.period, found.dispute.id
    row = seams.ledger.row(period)
    effect, action = _effect(row, found.dispute, seams, moment)
    step = record_dispute(period, name, disputes.with_effect(found.record, effect), moment.now)
    if row is None or action is None:
        seams.ledger.apply(step)
        return Handled(EventOutcome.DONE)
    beside = [seams.ledger.rendered(each) for each in step.actions]
    asked = AskedBy(f"the dispute {name}", moment.now)
    try:
        seams.register.act(row, action, moment.today, asked, beside=beside)
    except BadRow:
        # A row that cannot be read is not charged. The dispute is recorded, and the event comes back until somebody has
        # mended the row.
        seams.ledger.apply(record_dispute(period, name, found.record, moment.now))
        return later("the row cannot be read")
    if effect is DisputeEffect.ENDED:
        _give_up_open_payment(period, seams, event)
    return Handled(EventOutcome.DONE)


def _give_up_open_payment(period: Renewal, seams: Seams, event: GatewayEvent) -> None:
    """Run the workflow for the period whose payment is still open, so that nobody can pay for the ended subscription.
    If the run fails, the next sweep does the same."""
    unsettled = seams.ledger.history(period.subscription_id, period.customer_id).unsettled
    if unsettled is not None:
        renewed(event, unsettled, seams)


def _effect(
    row: Row | None, dispute: GatewayDispute, seams: Seams, moment: Moment
) -> tuple[DisputeEffect, Action | None]:
    """Return the effect of a chargeback on the subscription, and the action on the row; None to leave the row alone."""
    stands = None if row is None else transitions.state(row, moment.today)
    if row is None or stands in _OVER:
        return DisputeEffect.NONE, None
    if seams.keeps_disputed:
        return DisputeEffect.KEPT, None
    if _was_resumed_since(row, dispute, seams, moment):
        return DisputeEffect.RESUMED, None
    if stands is Standing.ACTIVE:
        return DisputeEffect.ENDING, Action.CANCEL_AT_PERIOD_END
    return DisputeEffect.ENDED, Action.CANCEL_NOW


def _was_resumed_since(row: Row, dispute: GatewayDispute, seams: Seams, moment: Moment) -> bool:
    """Whether somebody has resumed the subscription after the dispute: an old dispute undoes no newer decision. A test
    clock moves the moments of changes, and the gateway's clock not."""
    at = dispute.at + (moment.now - moment.wall)
    changes, _ = seams.register.changes.latest(str(row["subscription_id"]))
    return any(change.what is ChangeKind.RESUMED and change.at > at for change in changes)
