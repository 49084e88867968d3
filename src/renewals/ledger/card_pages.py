"""Count how often a customer opens the gateway's page for a new card. Whoever tries stolen cards needs many tries.

The count of a day stands in the row's attribute `card_pages`, as "2026-01-31/3". Each count is one conditional write:
two windows cannot both be the last.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from renewals.runtime import dynamodb

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

    from renewals.ledger.steps import Row

COUNT = "card_pages"
MOST_A_DAY = 5


def count(client: DynamoDBClient, table: str, row: Row, today: date) -> bool:
    """Count one more page of today. Returns False, and counts nothing, if the day has no page left. Raises Overtaken if
    another page was counted since the row was read."""
    day, _, counted = str(row.get(COUNT, "")).partition("/")
    opened = int(counted) if day == today.isoformat() and counted.isdecimal() else 0
    if opened >= MOST_A_DAY:
        return False
    key = {name: row[name] for name in ("subscription_id", "customer_id")}
    as_read, values = dynamodb.as_read(row, (COUNT,))
    condition = f"attribute_exists(subscription_id) AND {as_read}"
    new = {COUNT: f"{today.isoformat()}/{opened + 1}"}
    dynamodb.transact(client, [{"Update": dynamodb.change(table, key, new, condition, values)}])
    return True
