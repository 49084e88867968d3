"""Reminders: of a renewal that is near, and of a card that expires before it. What is owed, and its record.

A reminder is owed at most once for each subscription, period, kind and what it named: where that changes (the price,
the card), the customer is told again in time, or what was named holds (renewals.domain.offers). Its record is a map on
the subscription's row, reminder_upcoming or reminder_card_expires: `period`, the renewal date that it was about, beside
the attributes of a renewals.domain.renewal.Mail. The card that the row was last seen to be charged to is `known_card`
there: a renewals.domain.payment.GatewayCard, kept so that the gateway need not be asked about every card before every
renewal.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, timedelta

from renewals.domain import item_values, mail_faults, offers
from renewals.domain.errors import BadRow
from renewals.domain.item_values import Item, Value
from renewals.domain.offers import REMINDERS
from renewals.domain.payment import GatewayCard
from renewals.domain.reasons import Reason
from renewals.domain.renewal import Mail, MailKind, MailState, mail_from
from renewals.domain.subscription import Subscription, SubscriptionStatus, parse

EARLIER = "earlier_reminders"
"""The attribute of a row that keeps the records of reminders which failed and were tried again. It is none of the
record itself, in which an earlier version takes no further attribute."""

_MONTH = re.compile(r"(\d{4}-\d{2})?", re.ASCII)
_YEAR = {"day": 365, "week": 52, "month": 12, "year": 1}


def at_period(rows: Sequence[Item], customer_id: str, renewal_date: date | None) -> Subscription | None:
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
    kept = subscription.row.get("known_card")
    texts = {name: value for name, value in kept.items() if isinstance(value, str)} if isinstance(kept, dict) else {}
    try:
        card = GatewayCard(**texts)
    except TypeError:
        return None
    told = texts == kept and _MONTH.fullmatch(card.expires)
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
    if subscription.row.get(name) is None:
        return None
    try:
        kept = item_values.fields(subscription.row, name)
        period, mail = kept["period"], mail_from(kept)
        if not isinstance(mail.token, str):
            raise TypeError
    except (TypeError, KeyError, ValueError):
        raise BadRow(name, "is not the record of a reminder") from None
    return mail if period == subscription.renewal_date.isoformat() else None


def earlier_records(row: Item) -> list[Value]:
    """The records of reminders that failed and were tried again since, oldest first, each with its `kind`; whatever
    somebody wrote among them."""
    kept = row.get(EARLIER)
    return kept if isinstance(kept, list) else []
