"""Settle the refunds of a period: request them from the gateway, and record their results in the ledger."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from renewals.domain import currencies, refund_notices, refunds
from renewals.domain.errors import Collision, Overtaken, repeat_while_outdated
from renewals.domain.payment import GatewayRefund
from renewals.domain.renewal import RefundState
from renewals.gateway.port import Gateway, GatewayRefused, GatewayUnavailable
from renewals.ledger import refund_steps
from renewals.runtime import telemetry

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from renewals.domain.renewal import Renewal
    from renewals.domain.stored import RefundRecord
    from renewals.ledger.table import Ledger
    from renewals.runtime.clock import Moment

_LOOKS = 4


@dataclass(frozen=True, slots=True)
class Settlement:
    """The refunds of one deployment.

    Each method raises the gateway's errors (GatewayUnavailable, GatewayUnauthorized, GatewayRefused for an unknown
    payment), Collision if other executions keep working on the period, and botocore's errors.

    Attributes:
        deployment: project and environment, the first part of the mark on our refunds at the gateway.
    """

    ledger: Ledger
    gateway: Gateway
    deployment: str

    def look(self, renewal: Renewal, moment: Moment) -> Renewal:
        """Record the state of the period's refunds at the gateway, including refunds made by other people.

        No mail becomes owed yet, because an owed mail would delay a refund requested now. The next sweep lets the
        customer be told.
        """
        return self._settled(renewal, moment, asks=False)

    def settle(self, renewal: Renewal, moment: Moment, asked_for: str | None = None) -> Renewal:
        """Request the refunds that the gateway has not answered, record the answers, and let the customer get a mail.

        Args:
            asked_for: the refund whose caller waits for the answer. The caller learns of a failure from the answer, and
                the failure is not counted for the alarm.
        """
        return self._settled(renewal, moment, asks=True, asked_for=asked_for)

    def _settled(self, renewal: Renewal, moment: Moment, *, asks: bool, asked_for: str | None = None) -> Renewal:
        stands = renewal

        def settled() -> Renewal:
            nonlocal stands
            seen = self._seen(stands, moment, asks=asks)
            try:
                recorded = self._recorded(stands, seen, moment, tells=asks)
            except Overtaken:
                stands = self.ledger.get(stands.subscription_id, stands.renewal_date.isoformat()) or stands
                raise
            _count_failed(stands, recorded, asked_for)
            return recorded

        return repeat_while_outdated(
            settled, tries=_LOOKS, otherwise=Collision("other executions keep changing the period")
        )

    def _seen(self, renewal: Renewal, moment: Moment, *, asks: bool) -> dict[str, RefundRecord]:
        """Return the new and changed refunds, according to the gateway."""
        listed = list(self.gateway.refunds_of(str(renewal.payment_id)))
        requests = {refunds.request_of(self.deployment, renewal, name): name for name in renewal.refunds}
        refused: dict[str, RefundRecord] = {}
        made = {each.request for each in listed}
        for request, name in requests.items():
            if asks and request not in made and refunds.is_unanswered(renewal.refunds[name]):
                try:
                    listed.append(self._make(renewal, name, request, moment.now))
                except GatewayRefused as error:
                    refused[name] = refunds.refused(renewal.refunds[name], error.code)
        at = moment.wall.astimezone(moment.zone)
        return refused | refunds.seen(renewal, listed, requests, at)

    def _make(self, renewal: Renewal, name: str, request: str, now: datetime) -> GatewayRefund:
        """Make a refund. The caller has just read the gateway's list, and the list holds no refund for the request.

        The list is the lasting protection against a second refund, because the gateway forgets an idempotency key after
        a day. The key protects only against two requests at the same moment.
        """
        refund = renewal.refunds[name]
        amount = currencies.exact_minor_units(refund["amount"], renewal.currency)
        key = refunds.idempotency_key(request, int(refund.get("tries", 0)))
        try:
            return self.gateway.refund(str(renewal.payment_id), amount, request=request, idempotency_key=key)
        except GatewayUnavailable as error:
            if error.answered:
                # Another execution has counted this try, or has recorded the refund's result.
                with suppress(Overtaken):
                    self.ledger.apply(refund_steps.count_refund_try(renewal, name, now))
            raise

    def _recorded(self, renewal: Renewal, seen: Mapping[str, RefundRecord], moment: Moment, *, tells: bool) -> Renewal:
        after = replace(renewal, refunds={**renewal.refunds, **seen})
        notice = refund_notices.next_notice(after, tells=tells)
        due = refunds.look_at(after, moment.wall)
        # One mail is owed at a time: the next sweep takes care of the remaining mails.
        if set(refund_notices.untold(after)) - {notice}:
            due = moment.wall
        if not seen and notice == renewal.notice and due == renewal.refunds_due:
            return renewal
        step = refund_steps.refunds_looked_at(renewal, seen, notice=notice, due=due, now=moment.now)
        return self.ledger.apply(step)


def _count_failed(before: Renewal, after: Renewal, asked_for: str | None) -> None:
    failed = {name for name, refund in after.refunds.items() if refund["state"] == RefundState.FAILED}
    known = {name for name, refund in before.refunds.items() if refund["state"] == RefundState.FAILED}
    new = failed - known - {asked_for}
    if new:
        telemetry.count("RefundFailed", len(new))
