"""Settle the refunds of a period that have no final result yet, at the request of the sweep or the audit.

The gateway lists the refunds of the payment. A requested refund is requested again only if the gateway never answered
the request and does not list the refund.
"""

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
    """Settle the refunds of the period.

    Returns:
        The outcome refunded if the customer is owed a mail about a refund, otherwise nothing_to_do.

    Raises:
        PaymentError: the workflow must try again.
    """
    found = settlement.ledger.get(asked.subscription_id, str(asked.renewal_date))
    if found is None or found.customer_id != asked.customer_id or found.paid_at is None:
        return Outcome(PaymentOutcome.NOTHING_TO_DO, Reason.NOT_PAID)
    try:
        renewal = settlement.settle(found, moment)
    except GatewayUnavailable as error:
        raise PaymentError(str(error)) from error
    # Our key may belong to an account without this payment. The refunds stay unsettled, and the alarm on unfinished
    # renewals counts the period.
    except GatewayRefused as refused:
        return Outcome(PaymentOutcome.NOTHING_TO_DO, f"gateway: {refused.code}", found)
    if is_of_refund(renewal) and not is_parked(renewal):
        return Outcome(PaymentOutcome.REFUNDED, "", renewal)
    return Outcome(PaymentOutcome.NOTHING_TO_DO, Reason.REFUNDS_LOOKED_AT, renewal)
