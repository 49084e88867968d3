"""The search for rows of subscriptions by customer and by status, in pages."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import TYPE_CHECKING, Any

from renewals.domain import subscription
from renewals.domain.item_values import Item, text
from renewals.domain.subscription import SubscriptionStatus
from renewals.ledger.steps import Row
from renewals.runtime import dynamodb

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import QueryOutputTypeDef, ScanOutputTypeDef

_PAGE = 200
_MOST_PAGES = 10


class RowSearch:
    """The search in the subscriptions table."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def find(
        self,
        *,
        customer_id: str | None,
        status: str | None,
        limit: int,
        after: tuple[str, str] | None,
        today: Callable[[Row], date],
    ) -> tuple[list[Row], tuple[str, str] | None]:
        """Find rows by customer, by status, by both or by neither; at most `limit` rows.

        A search by status alone reads the whole table, 2,000 rows in a call. A page may therefore hold few rows or no
        rows, and further pages may follow.

        Args:
            customer_id: The customer; None for all customers.
            status: The status; None for every status.
            limit: The size of a page.
            after: The subscription id and the customer id of the last row on the page before.
            today: Returns the present day for a row. Once the day in the row's `cancel_at` has come, the status counts
                as `canceled`.

        Returns:
            The rows, and the ids of the last row; None in place of the ids after the last page.
        """
        found: list[Row] = []
        for _ in range(_MOST_PAGES):
            answer = self._found(customer_id, status, after)
            rows = map(dynamodb.plain, answer["Items"])
            found += [row for row in rows if status in (None, subscription.status_on(row, today(row)))]
            if len(found) > limit:
                found = found[:limit]
                return found, _ids(found[-1])
            if "LastEvaluatedKey" not in answer:
                return found, None
            after = _ids(dynamodb.plain(answer["LastEvaluatedKey"]))
        return found, after

    def _found(
        self, customer_id: str | None, status: str | None, after: tuple[str, str] | None
    ) -> QueryOutputTypeDef | ScanOutputTypeDef:
        values: dict[str, str] = {}
        query: dict[str, Any] = {"TableName": self._table, "Limit": _PAGE}
        if status is not None:
            values[":status"] = status
            # A row past its cancel_at counts as canceled even before the sweep writes the status. The filter therefore
            # lets rows with a cancel_at pass, and `find` looks at the day.
            ended = " OR attribute_exists(cancel_at)" if status == SubscriptionStatus.CANCELED else ""
            query["FilterExpression"] = f"#status = :status{ended}"
            query["ExpressionAttributeNames"] = {"#status": "status"}
        if after is not None:
            start = {"subscription_id": after[0], "customer_id": after[1]}
            query["ExclusiveStartKey"] = dynamodb.attributes(start)
        if customer_id is not None:
            values[":customer"] = customer_id
            query["IndexName"], query["KeyConditionExpression"] = "customer-index", "customer_id = :customer"
        if values:
            query["ExpressionAttributeValues"] = dynamodb.attributes(values)
        return self._client.scan(**query) if customer_id is None else self._client.query(**query)


def _ids(row: Item) -> tuple[str, str]:
    return text(row, "subscription_id"), text(row, "customer_id")
