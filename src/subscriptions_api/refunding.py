"""Refund a paid period, in full or in part. A repeated request makes no second refund."""

from dataclasses import replace
from decimal import Decimal
from typing import Annotated

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.openapi.params import Header
from aws_lambda_powertools.event_handler.router import APIGatewayRouter

from renewals.domain import refunds, wording
from renewals.domain.errors import TryAgain
from renewals.domain.refunds import NotRefundable
from renewals.domain.renewal import RefundState, Renewal
from renewals.gateway import access as gateway_access
from renewals.gateway.port import GatewayRefused, GatewayUnauthorized, GatewayUnavailable
from renewals.gateway.refund_settlement import Settlement
from renewals.ledger.steps import Row
from renewals.runtime import clock
from renewals.runtime.clock import Moment
from renewals.runtime.settings import setting
from subscriptions_api import forms, shared, showing
from subscriptions_api.answer_models import RefundOut
from subscriptions_api.problems import Missing, documented
from subscriptions_api.request_models import Refund
from subscriptions_api.shared import SubscriptionId

router = APIGatewayRouter()


@router.post(
    "/subscriptions/<subscription_id>/refund",
    summary="Refund a period",
    description="Refunds a paid period, in full or in part. Refunds made in the gateway's dashboard count too. The "
    "customer gets a receipt of the refund by mail. `state` is `pending` while the gateway is still processing the "
    "refund: the customer is told that the refund is on its way, and told again when it arrives or fails.",
    tags=["Refunds"],
    operation_id="refund",
    status_code=201,
    responses={201: {"description": "Refunded, or on its way."}} | documented(404, 409, 413, 415, 422),
)
def refund(
    subscription_id: SubscriptionId,
    wanted: Refund,
    idempotency_key: Annotated[
        str, Header(alias="Idempotency-Key", pattern=forms.IDEMPOTENCY_KEY, description="A new key for each refund.")
    ],
) -> Response[RefundOut]:
    again = shared.repeatable(router.current_event, idempotency_key, 201)
    again = replace(again, answer=lambda _: None)  # the refund in the ledger gives the answer
    amount = Decimal(wanted.amount.amount) if wanted.amount else None

    def looked_at() -> Response[RefundOut]:
        row = shared.row(subscription_id)
        shared.register().answers.of(again)
        renewal = shared.register().ledger.get(subscription_id, wanted.renewal_date)
        if renewal is None:
            raise Missing(wanted.renewal_date)
        name = refunds.of_request(renewal, idempotency_key, again.caller)
        if name is None:
            asked = shared.asked(router.current_event, row, again)
            refunds.check(renewal)
            renewal = _settled(renewal, clock.of_row(row))
            name, claim = refunds.new(
                renewal,
                amount,
                wanted.amount.currency if wanted.amount else renewal.currency,
                by=asked.by,
                key=idempotency_key,
                caller=again.caller,
                at=asked.now.astimezone(clock.of_row(row).zone),
            )
            renewal = shared.register().claim_refund(renewal, name, claim, asked, due=clock.of_row(row).wall)
        return _refunded(row, renewal, name)

    return shared.again_while_outdated(looked_at, subscription_id)


def _refunded(row: Row, renewal: Renewal, name: str) -> Response[RefundOut]:
    """Answer with the result of a refund. A claimed refund is settled first."""
    if renewal.refunds[name]["state"] == RefundState.CLAIMED:
        renewal = _settled(renewal, clock.of_row(row), name)
        if renewal.notice is not None:
            shared.start(row, renewal)
    stands = renewal.refunds[name]
    if stands["state"] == RefundState.FAILED:
        why = wording.refund_failure(stands.get("reason"))
        raise NotRefundable(f"The refund failed, and the money did not reach the customer: {why}.")
    body = RefundOut.model_validate(showing.shown_refund(renewal, name))
    return Response(201, "application/json", body)


def _settled(renewal: Renewal, moment: Moment, asked_for: str | None = None) -> Renewal:
    """Make the refund `asked_for` at the gateway, or without a refund only record refunds that other people made there.
    Return the period afterwards.

    Raises:
        TryAgain: the gateway gave no clear answer; the same request, sent again, goes on.
        NotRefundable: the gateway refused to list the refunds.
    """
    try:
        return gateway_access.with_current_key(lambda: _looked_at(renewal, moment, asked_for))
    except GatewayUnavailable as error:
        raise TryAgain(str(error)) from error
    except GatewayUnauthorized as error:
        raise TryAgain("the gateway turns our account away") from error
    except GatewayRefused as error:
        raise NotRefundable(f"The gateway refused to say what was refunded of this payment ({error.code}).") from error


def _looked_at(renewal: Renewal, moment: Moment, asked_for: str | None) -> Renewal:
    deployment = f"{setting('PROJECT_NAME')}-{setting('ENVIRONMENT')}"
    settlement = Settlement(shared.register().ledger, gateway_access.gateway(), deployment)
    return settlement.settle(renewal, moment, asked_for) if asked_for else settlement.look(renewal, moment)
