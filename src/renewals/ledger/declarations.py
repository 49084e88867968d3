"""The declarations table: what was declared on the public forms, and what has become of each declaration.

A declaration lies under a hash of its words and of the form's random id, so that a form that is sent twice within an
hour is recorded once. A form that is sent again later declares anew: its customer may have resumed the subscription
meanwhile. The table holds names and mail addresses as strangers have typed them, and nothing else of the stack does.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from renewals.domain import declarations
from renewals.domain.declarations import DeclarationState
from renewals.domain.errors import Overtaken
from renewals.runtime import dynamodb

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from typing import Any

    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import UpdateTypeDef

    from renewals.domain.declarations import Declaration, Recorded
    from renewals.runtime.attribute_values import TransactAction

_PAGE = 1000
_TWICE = timedelta(hours=1)
"""A form that is sent again within this time is the same declaration."""


class Declarations:
    """The declarations in their table. Methods raise botocore's errors if AWS fails."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def record(self, declaration: Declaration, form_id: str, at: datetime, count: UpdateTypeDef) -> Recorded | None:
        """Record a declaration, and return the record in the table: of a form that is sent twice, the first record.

        Args:
            declaration: as the form was filled.
            form_id: the random id of the form.
            at: the moment at which the form was sent.
            count: the update that counts a new record, in one transaction with the record, and fails at the limit.

        Returns:
            The record; None if the limit permits no new record, and nothing was recorded.
        """
        key = declarations.key_of(declaration, form_id)
        found = self._put(declarations.recorded(declaration, key, at), count)
        if found is None or at - found.declared_at < _TWICE:
            return found
        key = declarations.key_of(declaration, form_id, again=at)
        return self._put(declarations.recorded(declaration, key, at), count)

    def _put(self, new: Recorded, count: UpdateTypeDef) -> Recorded | None:
        """Write a record, or return the record that lies under the key already; None if the limit is reached."""
        put = dynamodb.put(self._table, declarations.item_of(new), "attribute_not_exists(declaration)", {})
        try:
            dynamodb.transact(self._client, [put, {"Update": count}])
        except Overtaken as overtaken:
            stands = overtaken.failed.get(0)
            return declarations.recorded_from(stands) if stands is not None else None
        return new

    def get(self, key: str) -> Recorded | None:
        """Return a declaration; None if somebody has deleted the declaration. Raises as `recorded_from`."""
        found = self._client.get_item(
            TableName=self._table, Key=dynamodb.attributes({"declaration": key}), ConsistentRead=True
        )
        return declarations.recorded_from(dynamodb.plain(found["Item"])) if "Item" in found else None

    def mark(self, record: Recorded, state: DeclarationState, why: str = "", subscription_id: str = "") -> None:
        """Record what has become of a declaration. Raises Overtaken if the declaration has another state by now."""
        changes = {"state": state, "why": why or None, "subscription_id": subscription_id or None}
        key = {"declaration": record.key}
        changed = dynamodb.change(self._table, key, changes, "#state = :was", {":was": record.state})
        dynamodb.transact(self._client, [{"Update": changed}])

    def still(self, record: Recorded) -> TransactAction:
        """Return the check that the declaration has the state that was read, for the transaction of a change."""
        key = {"declaration": record.key}
        return dynamodb.check(self._table, key, "#state = :was", {":was": record.state})

    def open(self) -> Iterator[Recorded | str]:
        """Yield the declarations that nobody has dealt with yet, in no order; of an item that cannot be read, the key.
        Reads the whole table."""
        query: dict[str, Any] = {
            "TableName": self._table,
            "Limit": _PAGE,
            "FilterExpression": "#state <> :effective AND #state <> :done",
            "ExpressionAttributeNames": {"#state": "state"},
            "ExpressionAttributeValues": dynamodb.attributes(
                {":effective": DeclarationState.EFFECTIVE, ":done": DeclarationState.DONE}
            ),
        }
        start: dict[str, Any] | None = {}
        while start is not None:
            page = self._client.scan(**query, **start)
            for item in map(dynamodb.plain, page["Items"]):
                try:
                    yield declarations.recorded_from(item)
                except (KeyError, TypeError, ValueError):  # somebody wrote the item by hand
                    yield str(item.get("declaration"))
            more = page.get("LastEvaluatedKey")
            start = {"ExclusiveStartKey": more} if more else None
