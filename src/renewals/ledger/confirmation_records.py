"""The mails that confirm changes are recorded in the changes table, with the record of the change.

renewals.domain.confirmations explains confirmations, and decides when a customer is owed a confirmation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from renewals.domain.changes import CONFIRMATION, EARLIER_CONFIRMATIONS, Change, change_from
from renewals.domain.renewal import Mail, MailState
from renewals.domain.renewal_items import item_of
from renewals.domain.subscription import SAID_IN_MAILS
from renewals.ledger.change_records import ChangeRecords
from renewals.runtime import dynamodb

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mypy_boto3_dynamodb import DynamoDBClient

    from renewals.domain.item_values import Item
    from renewals.runtime.attribute_values import TransactAction

_MOST_EARLIER = 10
_CLAIMED = f"{CONFIRMATION}.#token = :token"


class ConfirmationRecords:
    """The mails that confirm changes. Every write raises Overtaken if a different execution was faster."""

    def __init__(self, client: DynamoDBClient, *, subscriptions: str, changes: str) -> None:
        self._client = client
        self._subscriptions = subscriptions
        self._changes = changes

    def standing(self, subscription_id: str, customer_id: str) -> tuple[Item | None, list[Change]]:
        """Return the subscription's row, None if the row was deleted, and the latest changes."""
        key = dynamodb.attributes({"subscription_id": subscription_id, "customer_id": customer_id})
        found = self._client.get_item(TableName=self._subscriptions, Key=key, ConsistentRead=True)
        changes, *_ = ChangeRecords(self._client, self._changes).readable(subscription_id)
        return (dynamodb.plain(found["Item"]) if "Item" in found else None), changes

    def change(self, subscription_id: str, change: str) -> Change | None:
        """Return the change that is recorded under the key; None without a record."""
        key = dynamodb.attributes({"subscription_id": subscription_id, "change": change})
        found = self._client.get_item(TableName=self._changes, Key=key, ConsistentRead=True)
        return change_from(dynamodb.plain(found["Item"])) if "Item" in found else None

    def claim(self, row: Item, change: Change, mail: Mail) -> None:
        """Claim a confirmation before sending the mail. A mail that cannot be sent is recorded too.

        The confirmation must be unclaimed or have failed, and the attributes of the row that the mail names must be
        unchanged since the read.
        """
        condition = f"attribute_exists(subscription_id) AND (attribute_not_exists({CONFIRMATION})"
        condition += f" OR {CONFIRMATION}.#state = :failed)"
        changes: dict[str, object] = {CONFIRMATION: item_of(mail)}
        earlier = change.mail
        if earlier is not None and earlier.token != mail.token:
            kept = [*map(item_of, change.earlier_mails), item_of(earlier)]
            changes[EARLIER_CONFIRMATIONS] = kept[-_MOST_EARLIER:]
        as_read = dynamodb.as_read(row, SAID_IN_MAILS)
        key = {name: row[name] for name in ("subscription_id", "customer_id")}
        unchanged = dynamodb.check(self._subscriptions, key, *as_read)
        claimed = self._update(str(row["subscription_id"]), change, changes, condition, {":failed": MailState.FAILED})
        dynamodb.transact(self._client, [claimed, unchanged])

    def record(self, subscription_id: str, change: Change, mail: Mail) -> None:
        """Record the outcome of the mail that mail.token claimed. A mail recorded as sent stays sent, and a mail
        recorded as returned stays failed."""
        condition = f"{_CLAIMED} AND {CONFIRMATION}.#state <> :sent AND {CONFIRMATION}.#state <> :failed"
        values = {":sent": MailState.SENT, ":failed": MailState.FAILED}
        self._write(subscription_id, change, mail.token, {CONFIRMATION: item_of(mail)}, condition, values)

    def record_returned(self, subscription_id: str, change: Change, mail: Mail) -> None:
        """Record that the confirmation sent under mail.token came back."""
        condition = f"{_CLAIMED} AND {CONFIRMATION}.#state <> :failed"
        self._write(
            subscription_id, change, mail.token, {CONFIRMATION: item_of(mail)}, condition, {":failed": MailState.FAILED}
        )

    def release(self, subscription_id: str, change: Change, token: str) -> None:
        """Release a confirmation that was certainly not sent; the confirmation can be claimed again. The record is
        again as before the claim: a confirmation that had failed at an earlier address is again recorded as failed.

        change: the change as read before the claim.
        """
        condition = f"{_CLAIMED} AND {CONFIRMATION}.#state = :sending"
        before: dict[str, object] = {
            CONFIRMATION: item_of(change.mail) if change.mail is not None else None,
            EARLIER_CONFIRMATIONS: [*map(item_of, change.earlier_mails)] or None,
        }
        self._write(subscription_id, change, token, before, condition, {":sending": MailState.SENDING})

    def _write(
        self,
        subscription_id: str,
        change: Change,
        token: str,
        changes: Mapping[str, object],
        condition: str,
        values: Mapping[str, object],
    ) -> None:
        written = self._update(subscription_id, change, changes, condition, {**values, ":token": token})
        dynamodb.transact(self._client, [written])

    def _update(
        self,
        subscription_id: str,
        change: Change,
        changes: Mapping[str, object],
        condition: str,
        values: Mapping[str, object],
    ) -> TransactAction:
        key = {"subscription_id": subscription_id, "change": change.key}
        return {"Update": dynamodb.change(self._changes, key, changes, condition, values)}
