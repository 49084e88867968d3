"""Reminders are recorded on the rows of the subscriptions table, with one record for each kind of reminder.

renewals.domain.reminders explains reminders, and decides when a customer is owed a reminder.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import TYPE_CHECKING

from renewals.domain import item_values, mail_faults, offers
from renewals.domain.item_values import Item, Value
from renewals.domain.payment import GatewayCard
from renewals.domain.reminders import EARLIER, earlier_records, known_card, record
from renewals.domain.renewal import Mail, MailKind, MailState
from renewals.domain.renewal_items import item_of
from renewals.domain.subscription import SAID_IN_MAILS, Subscription
from renewals.runtime import dynamodb

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_MOST_EARLIER = 10


class Records:
    """The reminders on the rows of the subscriptions table.

    Every write raises Overtaken if a different execution was faster, or if the row has changed since the read.
    """

    def __init__(self, client: DynamoDBClient, subscriptions: str) -> None:
        self._client = client
        self._subscriptions = subscriptions

    def row(self, subscription_id: str, customer_id: str) -> Item | None:
        """Return the subscription's current row; None if deleted."""
        key = dynamodb.attributes({"subscription_id": subscription_id, "customer_id": customer_id})
        found = self._client.get_item(TableName=self._subscriptions, Key=key, ConsistentRead=True)
        return dynamodb.plain(found["Item"]) if "Item" in found else None

    def keep_card(self, subscription: Subscription, card: GatewayCard) -> None:
        """Write the gateway's answer about the row's card, if the row still has the card."""
        same = "payment_method = :method"
        self._write(subscription.row, {"known_card": card.record}, same, {":method": subscription.payment_method})

    def claim(self, subscription: Subscription, kind: MailKind, mail: Mail, today: date, now: datetime) -> None:
        """Claim a reminder before sending the mail, and record the facts that the mail names. A mail that cannot be
        sent is recorded too.

        The period's reminder must be unclaimed, or have failed, or have named facts that are outdated now. The
        attributes of the row that the mail names must be unchanged since the read.
        """
        name, earlier = f"reminder_{kind}", record(subscription, kind)
        as_read, values = dynamodb.as_read(subscription.row, SAID_IN_MAILS)
        free = f"(attribute_not_exists({name}) OR {name}.#period <> :period OR {name}.#state = :failed)"
        values |= {":period": subscription.renewal_date, ":failed": MailState.FAILED}
        if earlier is not None and earlier.state.is_out:
            free, values = f"{name}.#token = :earlier", {**values, ":earlier": earlier.token}
            del values[":period"], values[":failed"]
        card = known_card(subscription) if kind is MailKind.CARD_EXPIRES else None
        expires = card.expires if card else None
        offer = None if card is not None and card.is_detached else offers.told(subscription, today)
        named = offers.noted(offer, subscription, kind, mail.token, now, expires)
        changes: dict[str, object] = {name: _item(subscription, mail), f"told_{kind}": named}
        if earlier is not None and earlier.state is MailState.FAILED and earlier.token != mail.token:
            kept = [*earlier_records(subscription.row), {"kind": kind, **_item(subscription, earlier)}]
            changes[EARLIER] = kept[-_MOST_EARLIER:]
        self._write(subscription.row, changes, f"{free} AND {as_read}", values)

    def record(self, subscription: Subscription, kind: MailKind, mail: Mail) -> None:
        """Record the outcome of the mail that mail.token claimed. A mail recorded as sent stays sent, and a mail
        recorded as returned stays failed."""
        name = f"reminder_{kind}"
        claimed = f"{name}.#token = :token AND {name}.#state <> :sent AND {name}.#state <> :failed"
        values = {":token": mail.token, ":sent": MailState.SENT, ":failed": MailState.FAILED}
        self._write(subscription.row, {name: _item(subscription, mail)}, claimed, values)

    def record_returned(self, row: Item, kind: MailKind, mail: Mail, mark: Mapping[str, str] | None) -> None:
        """Record that the reminder sent under mail.token came back.

        Args:
            row: the subscription's row, as the caller has read the row.
            mark: the fault of the mail's address, if the row still has the address.
        """
        name = f"reminder_{kind}"
        as_read, values = dynamodb.as_read(row, ("customer_email",))
        sent = f"{name}.#token = :token AND {name}.#state <> :failed"
        period = item_values.fields(row, name)["period"]
        changes: dict[str, object] = {name: {"period": period, **item_of(mail)}}
        changes |= {mail_faults.FIELD: dict(mark)} if mark else {}
        self._write(row, changes, f"{sent} AND {as_read}", values | {":token": mail.token, ":failed": MailState.FAILED})

    def mark_address(self, row: Item, mark: Mapping[str, str]) -> None:
        """Mark the address as faulty if the row still has the address.

        A complaint never overwrites a bounce, and is kept beside a bounce.

        Args:
            row: the row of the address's owner.
        """
        complains = mark["kind"] == mail_faults.FaultKind.COMPLAINED
        if complains:
            self._write(row, {mail_faults.COMPLAINT: dict(mark)}, "customer_email = :to", {":to": mark["address"]})
        free = f"(attribute_not_exists({mail_faults.FIELD}) OR {mail_faults.FIELD}.#address <> :to)"
        condition = "customer_email = :to" + (f" AND {free}" if complains else "")
        self._write(row, {mail_faults.FIELD: dict(mark)}, condition, {":to": mark["address"]})

    def release(self, subscription: Subscription, kind: MailKind, token: str) -> None:
        """Release a reminder that was certainly not sent; the reminder can be claimed again."""
        name = f"reminder_{kind}"
        claimed = f"{name}.#token = :token AND {name}.#state = :sending"
        self._write(subscription.row, {name: None}, claimed, {":token": token, ":sending": MailState.SENDING})

    def _write(self, row: Item, changes: Mapping[str, object], condition: str, values: Mapping[str, object]) -> None:
        key = {name: row[name] for name in ("subscription_id", "customer_id")}
        change = dynamodb.change(self._subscriptions, key, changes, condition, values)
        dynamodb.transact(self._client, [{"Update": change}])


def _item(subscription: Subscription, mail: Mail) -> dict[str, Value]:
    return {"period": subscription.renewal_date.isoformat(), **item_of(mail)}
