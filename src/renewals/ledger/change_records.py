"""The records of changes in the changes table: the changed attributes, the time and the origin of each change.

A record lies under the subscription's id and the time of the change. The record of the creation has "created" in place
of the time, so that a second creation of the same subscription fails. For the same reason, the record of a change that
an object of the gateway or a declaration has caused has the object's id or the declaration's number in place of the
time. A record is written in one transaction with the change.

A request for a link to the customer page, and a declaration on a public form that waits for a person, change nothing,
and strangers may cause both: such records are deleted after two weeks, and never push the records of changes out of the
latest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING
from uuid import uuid4

from renewals.domain.changes import CONFIRMABLE, IMPORTED, Change, ChangeKind, change_from
from renewals.domain.declaration_numbers import CAUSE
from renewals.domain.item_values import Item, storable, text
from renewals.domain.row_attributes import without_personal_data
from renewals.ledger.asked_by import AskedBy
from renewals.runtime import dynamodb
from renewals.runtime.attribute_values import TransactAction

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import QueryInputTypeDef

_MOST_TOLD = 250
_MOST_PAGES = 4
"""Strangers cause at most twenty records a day for a subscription, which lie for two weeks and until DynamoDB deletes
them: fewer than two pages."""

_CREATION = "created"
_OF_STRANGERS = (ChangeKind.LINK_ASKED, ChangeKind.CANCELLATION_DECLARED, ChangeKind.WITHDRAWAL_DECLARED)
_REQUEST_KEPT = timedelta(days=14)


class ChangeRecords:
    """The records of changes in the changes table."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def readable(self, subscription_id: str) -> tuple[list[Change], list[Item], bool]:
        """Return the latest changes that can be read, the records that somebody wrote by hand and that cannot be read,
        and whether the subscription has no further records.

        At most 250 records of changes are returned, and the requests of strangers beside them. A list that is not
        complete lacks the oldest records with a time in the key. Even such a list has the creation, whose key sorts
        after every time.
        """
        items, complete = self._latest(subscription_id)
        changes, unreadable = list[Change](), list[Item]()
        for item in items:
            try:
                changes.append(change_from(item))
            except (KeyError, TypeError, ValueError):
                unreadable.append(item)
        return changes, unreadable, complete

    def _latest(self, subscription_id: str) -> tuple[list[Item], bool]:
        """Return the latest records, and whether no further records exist. The requests of strangers do not count among
        the 250, and a subscription with very many of them has only some of its records read."""
        items = list[Item]()
        asked: QueryInputTypeDef = {
            "TableName": self._table,
            "KeyConditionExpression": "subscription_id = :id",
            "ExpressionAttributeValues": dynamodb.attributes({":id": subscription_id}),
            "ScanIndexForward": False,
            "Limit": _MOST_TOLD,
            "ConsistentRead": True,
        }
        for _ in range(_MOST_PAGES):
            page = self._client.query(**asked)
            items += map(dynamodb.plain, page["Items"])
            last = page.get("LastEvaluatedKey")
            own = [i for i, item in enumerate(items) if item.get("what") not in _OF_STRANGERS]
            if len(own) > _MOST_TOLD:
                return items[: own[_MOST_TOLD]], False
            if last is None or len(own) == _MOST_TOLD:
                return items, last is None
            asked["ExclusiveStartKey"] = last
        return items, False

    def created(self, subscription_ids: Iterable[str]) -> set[str]:
        """Return the ids under which a subscription was ever created, even if people have deleted the row since.
        `subscription_ids` must not name an id twice."""
        keys = ({"subscription_id": each, "change": _CREATION} for each in subscription_ids)
        return {text(item, "subscription_id") for item in dynamodb.get_all(self._client, self._table, keys)}

    def note(self, subscription_id: str, what: ChangeKind, asked: AskedBy) -> None:
        """Record a request that changes no attribute, for example a request for a renewal at once."""
        dynamodb.transact(self._client, [self.record(subscription_id, what, asked, {})])

    def creation(self, subscription_id: str, asked: AskedBy) -> TransactAction:
        """Return the action that records the creation. The action fails if the id was ever created before."""
        return self._put(_item(subscription_id, ChangeKind.CREATED, asked, {}) | {"change": _CREATION})

    def record(
        self, subscription_id: str, what: ChangeKind, asked: AskedBy, details: Mapping[str, tuple[object, object]]
    ) -> TransactAction:
        """Return the action that records a change, for the transaction of the change. `details` has each changed
        attribute with the value before and the value after."""
        return self._put(_item(subscription_id, what, asked, details))

    def request_of(
        self, subscription_id: str, what: ChangeKind, asked: AskedBy, message_id: str, sent: datetime
    ) -> TransactAction:
        """Return the action that records a request that came by a queue. The action fails if the message was recorded
        before.

        Args:
            message_id: The id of the message.
            sent: The moment at which the message was sent; the same at each delivery.
        """
        key = f"{storable(sent)}/{sha256(message_id.encode()).hexdigest()[:8]}"
        return self._put(_item(subscription_id, what, asked, {}) | {"change": key})

    def _put(self, item: Mapping[str, object]) -> TransactAction:
        return dynamodb.put(self._table, item, "attribute_not_exists(subscription_id)", {})


def _item(
    subscription_id: str, what: ChangeKind, asked: AskedBy, details: Mapping[str, tuple[object, object]]
) -> dict[str, object]:
    forgotten = {"expires_at": int(((asked.at or asked.now) + _REQUEST_KEPT).timestamp())}
    marks = {IMPORTED: True} if asked.imports else {CONFIRMABLE: True}
    return (
        marks
        | (forgotten if what in _OF_STRANGERS else {})
        | {
            "subscription_id": subscription_id,
            "change": f"{CAUSE}{asked.cause}" if asked.cause else f"{storable(asked.now)}/{uuid4().hex[:8]}",
            "at": asked.now,
            "by": asked.by,
            "what": what,
            "details": {
                name: [without_personal_data(name, storable(each)) for each in pair] for name, pair in details.items()
            },
        }
    )
