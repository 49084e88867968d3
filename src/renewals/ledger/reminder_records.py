"""The records of reminders: on the rows of the subscriptions table, each under its kind. renewals.domain.reminders says
what a reminder is, and when a customer is owed one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import date, datetime
from typing import TYPE_CHECKING

from renewals.domain import item_values, mail_faults, offers
from renewals.domain.item_values import Item, Value
from renewals.domain.payment import GatewayCard
from renewals.domain.reminders import EARLIER, earlier_records, known_card, record
from renewals.domain.renewal import Mail, MailKind, MailState, item_of
from renewals.domain.subscription import Subscription
from renewals.runtime import dynamodb

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_MOST_EARLIER = 10
_SAID = (
    "status",
    "renewal_date",
    "cancel_at",
    "amount",
    "currency",
    "plan",
    "interval",
    "interval_count",
    "payment_method",
)


class Records:
    """Where reminders are recorded: on the rows of the subscriptions table, each under its kind.

    What writes raises Overtaken where another was faster, or the row is no longer what was read.
    """

    def __init__(self, client: DynamoDBClient, subscriptions: str) -> None:
        self._client = client
        self._subscriptions = subscriptions

    def row(self, subscription_id: str, customer_id: str) -> Item | None:
        """The row as it is now; None where it is gone."""
        key = dynamodb.attributes({"subscription_id": subscription_id, "customer_id": customer_id})
        found = self._client.get_item(TableName=self._subscriptions, Key=key, ConsistentRead=True)
        return dynamodb.plain(found["Item"]) if "Item" in found else None

    def keep_card(self, subscription: Subscription, card: GatewayCard) -> None:
        """What the gateway says of the row's card, while it is the row's."""
        same = "payment_method = :method"
        self._write(subscription.row, {"known_card": asdict(card)}, same, {":method": subscription.payment_method})

    def claim(self, subscription: Subscription, kind: MailKind, mail: Mail, today: date, now: datetime) -> None:
        """Write a mail that is about to be sent, or cannot be, and what it names: nobody has, or it failed with another
        address, or what it named is no more so; and all that it says of the row still holds."""
        name, earlier = f"reminder_{kind}", record(subscription, kind)
        as_read, values = dynamodb.as_read(subscription.row, _SAID)
        free = f"(attribute_not_exists({name}) OR {name}.#period <> :period OR {name}.#state = :failed)"
        values |= {":period": subscription.renewal_date, ":failed": MailState.FAILED}
        if earlier is not None and earlier.state.is_out:
            free, values = f"{name}.#token = :earlier", {**values, ":earlier": earlier.token}
            del values[":period"], values[":failed"]
        card = known_card(subscription) if kind is MailKind.CARD_EXPIRES else None
        expires = card.expires if card else None
        named = offers.noted(offers.told(subscription, today), subscription, mail.token, now, expires)
        changes: dict[str, object] = {name: _item(subscription, mail), f"told_{kind}": named}
        if earlier is not None and earlier.state is MailState.FAILED and earlier.token != mail.token:
            kept = [*earlier_records(subscription.row), {"kind": kind, **_item(subscription, earlier)}]
            changes[EARLIER] = kept[-_MOST_EARLIER:]
        self._write(subscription.row, changes, f"{free} AND {as_read}", values)

    def record(self, subscription: Subscription, kind: MailKind, mail: Mail) -> None:
        """What became of the mail that mail.token claimed. One that is known as sent stays so, and one that came back
        before this was written stays failed."""
        name = f"reminder_{kind}"
        claimed = f"{name}.#token = :token AND {name}.#state <> :sent AND {name}.#state <> :failed"
        values = {":token": mail.token, ":sent": MailState.SENT, ":failed": MailState.FAILED}
        self._write(subscription.row, {name: _item(subscription, mail)}, claimed, values)

    def record_returned(self, row: Item, kind: MailKind, mail: Mail, mark: Mapping[str, str] | None) -> None:
        """The reminder that went out under mail.token came back. row: as it was read. mark: of its address, where that
        is the row's."""
        name = f"reminder_{kind}"
        as_read, values = dynamodb.as_read(row, ("customer_email",))
        sent = f"{name}.#token = :token AND {name}.#state <> :failed"
        period = item_values.fields(row, name)["period"]
        changes: dict[str, object] = {name: {"period": period, **item_of(mail)}}
        changes |= {mail_faults.FIELD: dict(mark)} if mark else {}
        self._write(row, changes, f"{sent} AND {as_read}", values | {":token": mail.token, ":failed": MailState.FAILED})

    def mark_address(self, row: Item, mark: Mapping[str, str]) -> None:
        """Mark the row's address, while the row has that address. A complaint takes the place of no bounce, and is kept
        beside one. row: whose it is."""
        complains = mark["kind"] == mail_faults.FaultKind.COMPLAINED
        if complains:
            self._write(row, {mail_faults.COMPLAINT: dict(mark)}, "customer_email = :to", {":to": mark["address"]})
        free = f"(attribute_not_exists({mail_faults.FIELD}) OR {mail_faults.FIELD}.#address <> :to)"
        condition = "customer_email = :to" + (f" AND {free}" if complains else "")
        self._write(row, {mail_faults.FIELD: dict(mark)}, condition, {":to": mark["address"]})

    def release(self, subscription: Subscription, kind: MailKind, token: str) -> None:
        """The mail was certainly not sent, and can be claimed again."""
        name = f"reminder_{kind}"
        claimed = f"{name}.#token = :token AND {name}.#state = :sending"
        self._write(subscription.row, {name: None}, claimed, {":token": token, ":sending": MailState.SENDING})

    def _write(self, row: Item, changes: Mapping[str, object], condition: str, values: Mapping[str, object]) -> None:
        key = {name: row[name] for name in ("subscription_id", "customer_id")}
        change = dynamodb.change(self._subscriptions, key, changes, condition, values)
        dynamodb.transact(self._client, [{"Update": change}])


def _item(subscription: Subscription, mail: Mail) -> dict[str, Value]:
    return {"period": subscription.renewal_date.isoformat(), **item_of(mail)}
