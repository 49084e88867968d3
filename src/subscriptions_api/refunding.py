"""Refunds: money of a paid period is given back, once for each request."""

from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Annotated

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.openapi.params import Header
from aws_lambda_powertools.event_handler.router import APIGatewayRouter

from renewals import currencies, refunds
from renewals.errors import Collision, TryAgain
from renewals.gateway import GatewayRefused, GatewayUnauthorized, GatewayUnavailable
from renewals.gateway_access import gateway as _gateway
from renewals.gateway_access import with_current_key
from renewals.ledger import Lost
from renewals.refunds import NotRefundable
from renewals.register import Row
from renewals.renewal import Renewal
from renewals.settings import setting
from subscriptions_api import models, shared
from subscriptions_api.models import Refund, RefundOut
from subscriptions_api.problems import Missing, documented
from subscriptions_api.shared import SubscriptionId

router = APIGatewayRouter()


@router.post(
    "/subscriptions/<subscription_id>/refund",
    summary="Give money back",
    description="Of a period that was paid: all, or a part of what is left. The customer gets a receipt of it by mail.",
    tags=["Refunds"],
    operation_id="refund",
    status_code=201,
    responses={201: {"description": "Given back."}} | documented(404, 409, 413, 415, 422),
)
def refund(
    subscription_id: SubscriptionId,
    wanted: Refund,
    idempotency_key: Annotated[
        str, Header(alias="Idempotency-Key", pattern=r"^[\x21-\x7e]{1,255}$", description="One for each refund.")
    ],
) -> Response[RefundOut]:
    again = shared.repeatable(router.current_event, idempotency_key, 201)
    again = replace(again, answer=lambda _: None)  # the ledger has it
    amount = Decimal(wanted.amount.amount) if wanted.amount else None
    for _ in range(shared.LOOKS):
        row = shared.row(subscription_id)
        shared.register().answered(again)
        renewal = shared.register().ledger.get(subscription_id, wanted.renewal_date)
        if renewal is None:
            raise Missing(wanted.renewal_date)
        name = refunds.of_request(renewal, idempotency_key)
        if name is None:
            asked = shared.asked(router.current_event, row, again)
            name, claim = refunds.new(
                renewal,
                amount,
                wanted.amount.currency if wanted.amount else renewal.currency,
                by=asked.by,
                key=idempotency_key,
                at=asked.now.astimezone(shared.moment(row).zone),
            )
            claimed = shared.register().claim_refund(renewal, name, claim, asked)
            if isinstance(claimed, Lost):
                continue
            renewal = claimed
        return _refunded(row, renewal, name)
    raise Collision(subscription_id)


def _refunded(row: Row, renewal: Renewal, name: str) -> Response[RefundOut]:
    """A claimed refund, brought to its result, or the result that it has."""
    if renewal.refunds[name]["state"] == "claimed":
        renewal = _given_back(renewal, name, shared.moment(row).now)
        shared.start(row, renewal)
    stands = renewal.refunds[name]
    if stands["state"] == "failed":
        raise NotRefundable(f"The gateway could not give it back: {stands['reason']}.")
    if stands["state"] == "claimed":
        raise Collision(renewal.subscription_id)
    body = RefundOut.model_validate(models.shown_refund(renewal, name))
    return Response(201, "application/json", body)


def _given_back(renewal: Renewal, name: str, now: datetime) -> Renewal:
    """The period after the gateway was asked. Raises TryAgain without a clear answer: the same request goes on."""
    amount = currencies.exact_minor_units(renewal.refunds[name]["amount"], renewal.currency)
    key = refunds.gateway_key(f"{setting('PROJECT_NAME')}-{setting('ENVIRONMENT')}", renewal, name)
    try:
        given = with_current_key(lambda: _gateway().refund(str(renewal.payment_id), amount, key))
        changes = {"refund_id": given.id} | ({} if given.done else {"reason": "the gateway says that it failed"})
        done = given.done
    except GatewayUnavailable as error:
        raise TryAgain(str(error)) from error
    except GatewayUnauthorized as error:
        raise TryAgain("the gateway turns our account away") from error
    except GatewayRefused as error:
        changes, done = {"reason": error.code}, False
    notice = f"{refunds.NOTICE}_{name.rpartition('_')[2]}" if done else None
    changes["state"] = "refunded" if done else "failed"
    recorded = shared.register().refunds.record_refund(renewal, name, changes, notice=notice, now=now)
    if not isinstance(recorded, Lost):
        return recorded
    stands = shared.register().ledger.get(renewal.subscription_id, renewal.renewal_date.isoformat())
    return stands or renewal
