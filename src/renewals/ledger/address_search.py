"""Find the subscriptions of a mail address that a customer typed. Nobody has shown that the address is the customer's:
what is found may go to the address on file alone, and must change no answer to whoever typed.

The index holds the address as the row holds it, so that the index covers each row, whoever has written the row. An
address on file with capitals is found by the same spelling, and by the spellings of `addresses.spellings`.

Decision: D289 (DECISIONS.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from renewals.domain import item_values
from renewals.domain.addresses import spellings
from renewals.runtime import dynamodb

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

    from renewals.domain.item_values import Item

INDEX = "mail-address-index"

_MOST_ROWS = 50
"""Of each spelling, so many rows are read at most: an address of tests, or of a reseller, may stand in very many."""


def rows_of(client: DynamoDBClient, table: str, typed: str) -> list[Item]:
    """Return the rows whose address on file is the typed address, in any order.

    The index shows a change a moment later: each row is read again, consistently. Raises Throttled.

    Args:
        table: The subscriptions table.
        typed: The text that somebody typed, of any form.
    """
    spelled = spellings(typed)
    keys = {key: None for spelling in spelled for key in _keys(client, table, spelling)}
    named = [{"subscription_id": subscription, "customer_id": customer} for subscription, customer in keys]
    rows = dynamodb.get_all(client, table, named)
    return [row for row in rows if row.get("customer_email") in spelled]


def _keys(client: DynamoDBClient, table: str, address: str) -> list[tuple[str, str]]:
    page = client.query(
        TableName=table,
        IndexName=INDEX,
        KeyConditionExpression="customer_email = :address",
        ExpressionAttributeValues=dynamodb.attributes({":address": address}),
        Limit=_MOST_ROWS,
    )
    named = map(dynamodb.plain, page["Items"])
    return [(item_values.text(each, "subscription_id"), item_values.text(each, "customer_id")) for each in named]
