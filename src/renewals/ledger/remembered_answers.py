"""The answers to requests with an idempotency key, remembered in the changes table for seven days.

An answer lies under a hash of the caller and the key, and is written in one transaction with the change. A repeated
request therefore never meets a change without the answer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING

from renewals.domain.callers import is_of
from renewals.domain.errors import RenewalError
from renewals.domain.item_values import Item, number, text
from renewals.ledger.asked_by import AskedBy, Repeatable
from renewals.ledger.change_records import ChangeRecords
from renewals.ledger.steps import Row
from renewals.runtime import dynamodb
from renewals.runtime.attribute_values import TransactAction

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

    from renewals.domain.stored import Answer

_REMEMBERED = timedelta(days=7)
_A_MOMENT = timedelta(minutes=1)


class KeyUsed(RenewalError):  # noqa: N818
    """The caller used the idempotency key before, for a different request."""


class RememberedAnswers:
    """The answers in the changes table. `changes` reads the records of changes, which lie in the same table."""

    def __init__(self, client: DynamoDBClient, table: str, changes: ChangeRecords) -> None:
        self._client = client
        self._table = table
        self._changes = changes

    def of(self, again: Repeatable) -> Answer | None:
        """Return the answer of the first time; None for a new request, or if the ledger keeps the answer, as for a
        refund.

        Raises:
            KeyUsed: The caller used the key for a different request.
        """
        item = self._item(_key_of(again))
        if item is None:
            return self._without_caller(again)
        if item["fingerprint"] != again.fingerprint:
            raise KeyUsed(again.key)
        return _answer_of(item)

    def remember(self, asked: AskedBy, row: Row) -> list[TransactAction]:
        """Return the action that remembers the answer, for the transaction of the change; no action without an
        idempotency key. `row` is the row after the change."""
        if asked.again is None:
            return []
        item = {
            **_key_of(asked.again),
            "fingerprint": asked.again.fingerprint,
            "answer": json.dumps(asked.again.answer(row)),
            "expires_at": int((datetime.now(asked.now.tzinfo) + _REMEMBERED).timestamp()),
        }
        return [dynamodb.put(self._table, item, "attribute_not_exists(subscription_id)", {})]

    def _without_caller(self, again: Repeatable) -> Answer | None:
        """Return an answer that an earlier version remembered without the caller. The answer belongs to the caller if a
        record of a change, made within the same minute, names the caller."""
        item = self._item({"subscription_id": _request(again.key), "change": "answer"})
        answer = _answer_of(item) if item else None
        if item is None or answer is None or item["fingerprint"] != again.fingerprint:
            return None
        at = datetime.fromtimestamp(int(number(item, "expires_at")), UTC) - _REMEMBERED
        changes, *_ = self._changes.readable(str(answer["subscription"]["subscription_id"]))
        own = any(is_of(change.by, again.caller) and abs(change.at - at) < _A_MOMENT for change in changes)
        return answer if own else None

    def _item(self, key: Mapping[str, str]) -> Item | None:
        found = self._client.get_item(TableName=self._table, Key=dynamodb.attributes(key), ConsistentRead=True)
        return dynamodb.plain(found["Item"]) if "Item" in found else None


def _answer_of(item: Item) -> Answer | None:
    """Return the answer in the item; None if the ledger keeps the answer."""
    answer: Answer | None = json.loads(text(item, "answer"))
    return answer


def _key_of(again: Repeatable) -> dict[str, str]:
    return {"subscription_id": _request(f"{again.caller} {again.key}"), "change": "answer"}


def _request(key: str) -> str:
    """Return the place of an answer. The slash keeps the place apart from the ids of subscriptions, which have no
    slash. The blank between a caller and a key is unambiguous, since no ARN and no key has a blank."""
    return f"request/{sha256(key.encode()).hexdigest()}"
