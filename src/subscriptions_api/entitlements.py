"""Routes for entitlements: may a customer use the subscribed service today?"""

from datetime import timedelta
from typing import Annotated

from aws_lambda_powertools.event_handler.openapi.params import Path
from aws_lambda_powertools.event_handler.router import APIGatewayRouter

from renewals.domain.entitlement import entitlement
from renewals.domain.item_values import text
from renewals.ledger.steps import Row
from renewals.runtime import clock
from renewals.runtime.settings import setting
from subscriptions_api import cursors, forms, shared, showing
from subscriptions_api.answer_models import EntitlementOut, EntitlementPage
from subscriptions_api.problems import BadRequest, documented
from subscriptions_api.shared import Cursor, Limit, SubscriptionId

router = APIGatewayRouter()


@router.get(
    "/subscriptions/<subscription_id>/entitlement",
    summary="May the customer use the subscription today?",
    description="From the ledger and the row as they are now. A renewal that is late through the seller's own fault "
    "leaves the customer entitled; a refused renewal leaves `GraceDays` days.",
    tags=["Entitlements"],
    operation_id="getEntitlement",
    responses={200: {"description": "The entitlement of today."}} | documented(404, 409),
)
def get_entitlement(subscription_id: SubscriptionId) -> EntitlementOut:
    return _of(shared.row(subscription_id))


@router.get(
    "/customers/<customer_id>/entitlements",
    summary="What may the customer use today?",
    description="The entitlement of each of the customer's subscriptions, ended subscriptions included.",
    tags=["Entitlements"],
    operation_id="listEntitlements",
    responses={200: {"description": "One page. A customer without subscriptions has an empty page."}} | documented(404),
)
def list_entitlements(
    customer_id: Annotated[str, Path(pattern=forms.ID, description="The customer.")],
    cursor: Cursor = None,
    limit: Limit = 50,
) -> EntitlementPage:
    of = f"entitlements/{customer_id}"
    place = cursors.read(cursor, of, 2)
    if place is not None and place[1] != customer_id:
        raise BadRequest([{"field": "query.cursor", "reason": "is not a next_cursor of this list"}])
    after = (place[0], place[1]) if place else None
    listed, last = shared.register().search.find(
        customer_id=customer_id, status=None, limit=limit, after=after, today=lambda row: clock.of_row(row).today
    )
    # The list comes from an index that may lag a moment behind: every listed row is read again, consistently.
    rows = [row for each in listed for row in shared.register().ledger.rows(text(each, "subscription_id"))]
    items = [_of(row) for row in rows if row["customer_id"] == customer_id]
    return EntitlementPage(items=items, next_cursor=cursors.write(of, *last) if last else None)


def _of(row: Row) -> EntitlementOut:
    subscription_id, customer_id = text(row, "subscription_id"), text(row, "customer_id")
    history = shared.register().ledger.history(subscription_id, customer_id)
    grace = timedelta(days=int(setting("GRACE_DAYS")))
    found = entitlement(row, history, clock.of_row(row).today, grace)
    return EntitlementOut.model_validate(showing.shown_entitlement(subscription_id, found))
