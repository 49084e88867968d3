"""The refunds of a period that have no final result: asked about at the gateway, which is asked for those that nobody
knows it to have made. The sweep and the audit ask for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from process_payment.decisions import Outcome
from renewals.domain.errors import PaymentError
from renewals.domain.outcomes import PaymentOutcome
from renewals.domain.owed import is_of_refund, is_parked
from renewals.domain.reasons import Reason
from renewals.gateway.port import GatewayRefused, GatewayUnavailable
from renewals.gateway.refund_settlement import Settlement

if TYPE_CHECKING:
    from renewals.domain.request import RenewalRequest
    from renewals.runtime.clock import Moment


def settle(asked: RenewalRequest, settlement: Settlement, moment: Moment) -> Outcome:
    """Outcome: refunded, where the customer is owed a mail about a refund, and nothing_to_do. Raises PaymentError where
    it must be tried again."""
    found = settlement.ledger.get(asked.subscription_id, str(asked.renewal_date))
    if found is None or found.customer_id != asked.customer_id or found.paid_at is None:
        return Outcome(PaymentOutcome.NOTHING_TO_DO, Reason.NOT_PAID)
    try:
        renewal = settlement.settle(found, moment)
    except GatewayUnavailable as error:
        raise PaymentError(str(error)) from error
    except GatewayRefused as refused:  # another account's key? It stays unfinished, which the alarm on that counts
        return Outcome(PaymentOutcome.NOTHING_TO_DO, f"gateway: {refused.code}", found)
    if is_of_refund(renewal) and not is_parked(renewal):
        return Outcome(PaymentOutcome.REFUNDED, "", renewal)
    return Outcome(PaymentOutcome.NOTHING_TO_DO, Reason.REFUNDS_LOOKED_AT, renewal)
