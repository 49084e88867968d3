"""Reading: subscriptions, their ledger, their history and their next charges."""

from typing import Annotated

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.openapi.params import Query
from aws_lambda_powertools.event_handler.router import APIGatewayRouter

from renewals.domain.subscription import SubscriptionStatus
from renewals.ledger import forecast
from renewals.runtime import clock
from subscriptions_api import cursors, forms, shared, showing
from subscriptions_api.answer_models import (
    PlannedCharge,
    PreviewOut,
    RenewalOut,
    RenewalPage,
    SubscriptionOut,
    SubscriptionPage,
    Timeline,
    TimelineEntry,
)
from subscriptions_api.problems import BadRequest, documented
from subscriptions_api.shared import Cursor, Limit, SubscriptionId

router = APIGatewayRouter()


@router.get(
    "/subscriptions",
    summary="List subscriptions",
    description="All subscriptions, or the subscriptions of a customer, of a status, or of both.",
    tags=["Subscriptions"],
    operation_id="listSubscriptions",
    responses={200: {"description": "One page."}} | documented(),
)
def list_subscriptions(
    customer_id: Annotated[str | None, Query(pattern=forms.ID)] = None,
    status: Annotated[SubscriptionStatus | None, Query()] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> SubscriptionPage:
    of = f"subscriptions/{customer_id or ''}/{status or ''}"
    place = cursors.read(cursor, of, 2)
    if place is not None and customer_id is not None and place[1] != customer_id:
        raise BadRequest([{"field": "query.cursor", "reason": "is not a next_cursor of this list"}])
    after = (place[0], place[1]) if place else None
    rows, last = shared.register().search.find(
        customer_id=customer_id, status=status, limit=limit, after=after, today=lambda row: clock.of_row(row).today
    )
    items = [SubscriptionOut.model_validate(shared.shown(row, of_many=True)) for row in rows]
    return SubscriptionPage(items=items, next_cursor=cursors.write(of, *last) if last else None)


@router.get(
    "/subscriptions/<subscription_id>",
    summary="Read a subscription",
    tags=["Subscriptions"],
    operation_id="getSubscription",
    responses={200: {"description": "The subscription. Send the `ETag` as If-Match with an edit."}}
    | documented(404, 409),
)
def get_subscription(subscription_id: SubscriptionId) -> Response[SubscriptionOut]:
    return shared.answer(200, shared.row(subscription_id))


@router.get(
    "/subscriptions/<subscription_id>/renewals",
    summary="The ledger of a subscription",
    tags=["History"],
    operation_id="listRenewals",
    responses={200: {"description": "One page, newest period first."}} | documented(404, 409),
)
def list_renewals(subscription_id: SubscriptionId, cursor: Cursor = None, limit: Limit = 50) -> RenewalPage:
    shared.row(subscription_id)
    of = f"renewals/{subscription_id}"
    place = cursors.read(cursor, of, 1)
    items, last = shared.register().ledger.page(subscription_id, limit=limit, before=place[0] if place else None)
    periods = [RenewalOut.model_validate(showing.shown_period(item)) for item in items]
    return RenewalPage(items=periods, next_cursor=cursors.write(of, last) if last else None)


@router.get(
    "/subscriptions/<subscription_id>/timeline",
    summary="Everything that happened, in plain words",
    description="Due dates, charges, declines with their reasons, mails (addresses masked), and changes with their "
    "authors; the oldest event first.",
    tags=["History"],
    operation_id="getTimeline",
    responses={200: {"description": "The whole timeline; of a long history, the latest 250 periods."}}
    | documented(404, 409),
)
def get_timeline(subscription_id: SubscriptionId) -> Timeline:
    row = shared.row(subscription_id)
    moment = clock.of_row(row)
    told, complete = shared.register().timeline(row, moment.zone, moment.today)
    entries = [TimelineEntry.model_validate(showing.shown_entry(entry)) for entry in told]
    return Timeline(items=entries, complete=complete)


@router.get(
    "/subscriptions/<subscription_id>/preview",
    summary="The next charges",
    description="Each charge has its amount and the reason for its date.",
    tags=["History"],
    operation_id="previewCharges",
    responses={200: {"description": "The charges as planned today."}} | documented(404, 409),
)
def preview_charges(
    subscription_id: SubscriptionId, count: Annotated[int, Query(ge=1, le=100, description="How many charges.")] = 24
) -> PreviewOut:
    row = shared.row(subscription_id)
    shown = forecast.next_charges(shared.register().ledger, row, clock.of_row(row).today, count)
    charges = [PlannedCharge.model_validate(showing.shown_charge(charge)) for charge in shown.charges]
    return PreviewOut(items=charges, then=shown.then)
