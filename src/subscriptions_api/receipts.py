"""Receipts: list the receipts of a subscription, each with its link."""

from functools import cache, partial

from aws_lambda_powertools.event_handler.router import APIGatewayRouter

from renewals.domain.item_values import Item, text
from renewals.ledger import receipt_links
from renewals.runtime import aws, request_path
from renewals.runtime.settings import setting
from subscriptions_api import cursors, shared, showing
from subscriptions_api.answer_models import ReceiptOut, ReceiptPage
from subscriptions_api.problems import documented
from subscriptions_api.shared import Cursor, Limit, SubscriptionId

router = APIGatewayRouter()


@router.get(
    "/subscriptions/<subscription_id>/receipts",
    summary="The receipts of a subscription",
    description="The receipts of payments and of refunds, each with its link.",
    tags=["History"],
    operation_id="listReceipts",
    responses={200: {"description": "One page, newest first."}} | documented(404, 409),
)
def list_receipts(subscription_id: SubscriptionId, cursor: Cursor = None, limit: Limit = 50) -> ReceiptPage:
    shared.row(subscription_id)
    of = f"receipts/{subscription_id}"
    place = cursors.read(cursor, of, 1)
    items, last = shared.register().ledger.page(subscription_id, limit=limit, before=place[0] if place else None)
    receipts = [
        ReceiptOut.model_validate(receipt)
        for item in items
        for receipt in showing.shown_receipts(item, partial(_receipt_link, item))
    ]
    return ReceiptPage(items=receipts, next_cursor=cursors.write(of, last) if last else None)


def _receipt_link(item: Item, refund: str) -> str:
    event = router.current_event
    here = request_path.base(event.raw_event, event.path)
    begins = setting("RECEIPT_LINKS_URL") or f"https://{event.request_context.domain_name}{here}/receipts"
    token = receipt_links.token(_link_key().value(), text(item, "subscription_id"), text(item, "renewal_date"), refund)
    return f"{begins}/{token}"


@cache
def _link_key() -> receipt_links.LinkKey:
    return receipt_links.LinkKey(aws.secrets_manager(), setting("RECEIPT_LINK_KEY_ARN"))
