"""Serve the requests of the customer's page: open the gateway's page for a new card, take the new card, and have the
customer confirm a payment at the bank's page.

renewals.domain.customer_request describes the requests and the replies.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING
from uuid import uuid4

from process_payment.on_session import OWNER, OnSession
from process_payment.payments import Payments
from renewals.domain.customer_request import EVENT, CustomerOutcome, CustomerRequest, Refusal
from renewals.domain.dunning import Dunning
from renewals.domain.errors import BadRow, Collision, PaymentError
from renewals.domain.item_values import fields
from renewals.domain.request import Asks
from renewals.gateway import access as gateway_access
from renewals.gateway.port import GatewayRefused, GatewayUnauthorized, GatewayUnavailable
from renewals.gateway.taking_card import CustomersCard
from renewals.ledger.charging import Switch
from renewals.ledger.register import Register
from renewals.runtime import aws, clock, telemetry
from renewals.runtime.settings import setting

if TYPE_CHECKING:
    from renewals.runtime.clock import Moment
    from renewals.runtime.telemetry import Event, Reply


@dataclass(frozen=True, slots=True)
class _Done:
    """The result of a request. url: the address at which the customer goes on."""

    outcome: CustomerOutcome
    url: str = ""


def reply_to(event: Event) -> Reply:
    """Do as the customer's page asks, and return the reply. Raises NoRequest for a faulty request, and botocore's
    errors."""
    asked = CustomerRequest.from_fields(fields(event, EVENT))
    telemetry.correlate({"subscription_id": asked.subscription_id})
    done = _answered(asked)
    told: Reply = {"subscription_id": asked.subscription_id, "customer_id": asked.customer_id}
    if isinstance(done, Refusal):
        reply: Reply = {"outcome": CustomerOutcome.NOTHING_TO_DO, "reason": done, **told}
    else:
        reply = {"outcome": done.outcome, "reason": "", **told}
    telemetry.renewal_event(asked.asks, reply)  # without the address, with which anybody could go on
    return reply if isinstance(done, Refusal) or not done.url else reply | {"url": done.url}


def _answered(asked: CustomerRequest) -> _Done | Refusal:
    execution = f"{OWNER}{uuid4().hex}"
    try:
        return gateway_access.with_current_key(lambda: _done(asked, execution))
    except GatewayUnauthorized:  # our key or account is at fault, and the fault is counted
        return Refusal.GATEWAY_ACCOUNT
    except (GatewayUnavailable, PaymentError, Collision):
        return Refusal.TRY_AGAIN
    except GatewayRefused:
        return Refusal.GATEWAY_REFUSED


def _done(asked: CustomerRequest, execution: str) -> _Done | Refusal:
    try:
        moment = _moment(asked)
    except BadRow:
        return Refusal.NOT_READABLE
    card = CustomersCard(
        register=_register(),
        gateway=gateway_access.gateway(),
        deployment=setting("DEPLOYMENT"),
        subscription_id=asked.subscription_id,
        customer_id=asked.customer_id,
        moment=moment,
    )
    if asked.asks is Asks.OPEN_CARD_PAGE:
        page = card.open_page(asked.return_url)
        return page if isinstance(page, Refusal) else _Done(CustomerOutcome.OPENED, page)
    if asked.asks is Asks.TAKE_CARD:
        taken = card.take(asked.session)
        return taken if isinstance(taken, Refusal) else _Done(CustomerOutcome.CARD_TAKEN)
    page = _on_session(moment, execution).confirm(asked)
    return page if isinstance(page, Refusal) else _Done(CustomerOutcome.OPENED, page)


def _on_session(moment: Moment, execution: str) -> OnSession:
    return OnSession(
        ledger=_register().ledger,
        payments=Payments(gateway_access.gateway(), setting("DEPLOYMENT")),
        switch=Switch.of_process(aws.dynamodb(), setting("CHANGES_TABLE")),
        execution=execution,
        seller={},  # nothing is claimed
        moment=moment,
        dunning=Dunning.of(setting("DUNNING_DAYS"), setting("DUNNING_ENDS_AS")),
    )


def _moment(asked: CustomerRequest) -> Moment:
    """Return the moment that counts as now for the subscription. Raises BadRow for a faulty test clock."""
    if not clock.heeds_test_clocks(setting("ENVIRONMENT")):
        return clock.current()
    row = _register().row(asked.subscription_id)
    return clock.current(row.get("test_clock") if row else None)


@cache
def _register() -> Register:
    return Register(
        aws.dynamodb(),
        subscriptions=setting("DYNAMODB_TABLE"),
        renewals=setting("RENEWALS_TABLE"),
        changes=setting("CHANGES_TABLE"),
    )
