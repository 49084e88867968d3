"""Reminders: of a renewal that is near, and of a card that expires before it. What is owed, and its record.

A reminder is owed at most once for each subscription, period, kind and what it named: where that changes (the price,
the card), the customer is told again in time, or what was named holds (renewals.offers). Its record is a map on the
subscription's row, reminder_upcoming or reminder_card_expires: `period`, the renewal date that it was about, beside the
attributes of a renewals.renewal.Mail. The card that the row was last seen to be charged to is `known_card` there: a
renewals.gateway.GatewayCard, kept so that the gateway need not be asked about every card before every renewal.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from renewals import dynamodb, mail_faults, offers
from renewals.errors import BadRow
from renewals.gateway import GatewayCard
from renewals.offers import REMINDERS
from renewals.reasons import Reason
from renewals.renewal import Mail, MailKind, MailState, item_of, mail_from
from renewals.subscription import Subscription, SubscriptionStatus, parse

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

EVENT = "subscription.reminder"
"""The event_type of a request to remind, in the queue and the workflow. No webhook can ask for it."""

EARLIER = "earlier_reminders"
"""The attribute of a row that keeps the records of reminders which failed and were tried again. It is none of the
record itself, in which an earlier version takes no further attribute."""

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
_MONTH = re.compile(r"(\d{4}-\d{2})?", re.ASCII)
_YEAR = {"day": 365, "week": 52, "month": 12, "year": 1}


def at_period(rows: Sequence[Mapping[str, Any]], customer_id: str, renewal_date: date | None) -> Subscription | None:
    """The customer's subscription, of all rows under its id, if nothing is wrong with it and it is at this period."""
    if len(rows) != 1 or rows[0]["customer_id"] != customer_id:
        return None
    try:
        subscription = parse(rows[0])
        for kind in REMINDERS:
            record(subscription, kind)
    except BadRow:
        return None
    return subscription if subscription.renewal_date == renewal_date else None


def owed(subscription: Subscription, today: date, days: int) -> list[MailKind]:
    """The reminders that are true of this row today, and are not settled: never sent, or nobody knows yet.

    days: so long before a renewal it is near. Of a renewal itself only plans of a year or more are reminded, since
    whoever pays each month knows; and whoever was told otherwise of this one, while there is time.
    """
    if not _near(subscription, today, days):
        return []
    card, promise = known_card(subscription), offers.changed(subscription)
    again = promise is not None and offers.is_in_time(promise, subscription, today)
    true = {
        MailKind.UPCOMING: again if promise else subscription.schedule.count >= _YEAR[subscription.schedule.interval],
        MailKind.CARD_EXPIRES: card is not None and expires_before(card, subscription.renewal_date),
    }
    return [kind for kind, holds in true.items() if holds and not _settled(subscription, kind, again=again)]


def may_be_owed(subscription: Subscription, today: date, days: int) -> bool:
    """Whether to ask more closely: a reminder is owed, or hangs on a card that nobody has looked at."""
    return bool(owed(subscription, today, days)) or asks_for_card(subscription, today, days)


def asks_for_card(subscription: Subscription, today: date, days: int) -> bool:
    """Whether a reminder hangs on the card and nobody has looked at this one."""
    return (
        _near(subscription, today, days)
        and known_card(subscription) is None
        and not _settled(subscription, MailKind.CARD_EXPIRES, again=False)
    )


def expires_before(card: GatewayCard, day: date) -> bool:
    """A card is good to the end of its last month. One of which nothing is known expires never."""
    return bool(card.expires) and card.expires < f"{day:%Y-%m}"


def known_card(subscription: Subscription) -> GatewayCard | None:
    """What is known of the row's card; None where that was another one's, or somebody wrote what is no card."""
    try:
        card = GatewayCard(**subscription.row.get("known_card", {}))
    except TypeError:
        return None
    told = all(isinstance(value, str) for value in asdict(card).values()) and _MONTH.fullmatch(card.expires)
    return card if told and card.payment_method == subscription.payment_method else None


def _near(subscription: Subscription, today: date, days: int) -> bool:
    return (
        subscription.status is SubscriptionStatus.ACTIVE
        and subscription.why_not_due(today) is Reason.NOT_DUE
        and subscription.renewal_date <= today + timedelta(days)
    )


def _settled(subscription: Subscription, kind: MailKind, *, again: bool) -> bool:
    """again: whether the customer is to be told of another price."""
    mail = record(subscription, kind)
    if mail is None or mail.state is MailState.SENDING:
        return False
    if mail.state is MailState.FAILED:
        return mail_faults.is_in_vain(mail, mail_faults.address_of(subscription.row))
    return not again if kind is MailKind.UPCOMING else not _is_another_card(subscription)


def _is_another_card(subscription: Subscription) -> bool:
    """Whether the card is not the one that the customer was told of, as far as both are known."""
    warned, card = offers.warned_card(subscription), known_card(subscription)
    if warned is None:
        return False
    return warned[0] != subscription.payment_method or (card is not None and card.expires != warned[1])


def record(subscription: Subscription, kind: MailKind) -> Mail | None:
    """What was done about this period's reminder; None: nothing. Raises BadRow for what is no such record."""
    name = f"reminder_{kind}"
    kept = subscription.row.get(name)
    if kept is None:
        return None
    try:
        period, mail = kept["period"], mail_from({name: kept[name] for name in kept if name != "period"})
        if not isinstance(mail.token, str):
            raise TypeError
    except (TypeError, KeyError, ValueError):
        raise BadRow(name, "is not the record of a reminder") from None
    return mail if period == subscription.renewal_date.isoformat() else None


def earlier_records(row: Mapping[str, Any]) -> list[Any]:
    """The records of reminders that failed and were tried again since, oldest first, each with its `kind`; whatever
    somebody wrote among them."""
    kept = row.get(EARLIER)
    return kept if isinstance(kept, list) else []


class Records:
    """Where reminders are recorded: on the rows of the subscriptions table, each under its kind.

    What writes raises Overtaken where another was faster, or the row is no longer what was read.
    """

    def __init__(self, client: DynamoDBClient, subscriptions: str) -> None:
        self._client = client
        self._subscriptions = subscriptions

    def row(self, subscription_id: str, customer_id: str) -> dict[str, Any] | None:
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
        changes: dict[str, Any] = {name: _item(subscription, mail), f"told_{kind}": named}
        if earlier is not None and earlier.state is MailState.FAILED and earlier.token != mail.token:
            kept = [*earlier_records(subscription.row), {"kind": kind} | _item(subscription, earlier)]
            changes[EARLIER] = kept[-_MOST_EARLIER:]
        self._write(subscription.row, changes, f"{free} AND {as_read}", values)

    def record(self, subscription: Subscription, kind: MailKind, mail: Mail) -> None:
        """What became of the mail that mail.token claimed. One that is known as sent stays so, and one that came back
        before this was written stays failed."""
        name = f"reminder_{kind}"
        claimed = f"{name}.#token = :token AND {name}.#state <> :sent AND {name}.#state <> :failed"
        values = {":token": mail.token, ":sent": MailState.SENT, ":failed": MailState.FAILED}
        self._write(subscription.row, {name: _item(subscription, mail)}, claimed, values)

    def record_returned(
        self, row: Mapping[str, Any], kind: MailKind, mail: Mail, mark: Mapping[str, Any] | None
    ) -> None:
        """The reminder that went out under mail.token came back. row: as it was read. mark: of its address, where that
        is the row's."""
        name = f"reminder_{kind}"
        as_read, values = dynamodb.as_read(row, ("customer_email",))
        sent = f"{name}.#token = :token AND {name}.#state <> :failed"
        changes: dict[str, Any] = {name: {"period": row[name]["period"]} | item_of(mail)}
        changes |= {mail_faults.FIELD: dict(mark)} if mark else {}
        self._write(row, changes, f"{sent} AND {as_read}", values | {":token": mail.token, ":failed": MailState.FAILED})

    def mark_address(self, row: Mapping[str, Any], mark: Mapping[str, Any]) -> None:
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

    def _write(self, row: Mapping[str, Any], changes: dict[str, Any], condition: str, values: dict[str, Any]) -> None:
        key = {name: row[name] for name in ("subscription_id", "customer_id")}
        change = dynamodb.change(self._subscriptions, key, changes, condition, values)
        dynamodb.transact(self._client, [{"Update": change}])


def _item(subscription: Subscription, mail: Mail) -> dict[str, Any]:
    return {"period": subscription.renewal_date.isoformat()} | item_of(mail)
