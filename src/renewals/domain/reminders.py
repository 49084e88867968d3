"""Reminders of a renewal that is near, and of a card that expires before the renewal or was detached: the owed
reminders and their records.

A reminder is owed at most once for each combination of subscription, period, kind and content. If the price or the card
changes after a reminder, a further reminder is owed. If no time is left to tell the customer of a new price, the price
named earlier holds (renewals.domain.offers). The record of a reminder is a map in the row's attribute reminder_upcoming
or reminder_card_expires. The map holds the attributes of a renewals.domain.renewal.Mail, and `period`, the renewal date
that the reminder was about. `known_card` on the row keeps the last known card of the row, a
renewals.domain.payment.GatewayCard, so that the gateway need not be asked about every card before every renewal.

The first charge after a trial is announced seven days ahead, whatever the length of the plan (ends_trial): card
networks and laws ask for such a reminder.

A customer may decline some reminders (may_be_declined): no rule of a law or a card network asks for them. The row's
attribute `reminders` then says "required". A customer who reported a mail as spam counts as a customer who has declined
the reminders of short plans, and still gets every reminder that a rule asks for.

Decisions: D101, D104, D257, D299, D320, D321 (DECISIONS.md).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING

from renewals.domain import item_values, mail_faults, offers
from renewals.domain.errors import BadRow
from renewals.domain.item_values import Item, Value, moment
from renewals.domain.offers import REMINDERS
from renewals.domain.payment import GatewayCard
from renewals.domain.reasons import Reason
from renewals.domain.renewal import Mail, MailKind, MailState
from renewals.domain.renewal_items import mail_from
from renewals.domain.subscription import CREATED_AT, PAID_UNTIL, Subscription, SubscriptionStatus, parse

if TYPE_CHECKING:
    from renewals.domain.reminder_rules import Rules

EARLIER = "earlier_reminders"
"""The attribute of a row with the records of reminders that failed and were tried again. The attribute stands outside
the reminder's record, because an earlier version rejects a record with further attributes."""

CHOICE = "reminders"
"""The attribute of a row that says which reminders the customer gets: "all", or "required" after the customer has
declined the reminders that may be declined. Absent means all; every other value was written by hand, and means all."""

ALL, REQUIRED = "all", "required"

_FIRST_CHARGE_DAYS = 7
"""The first charge after a trial is announced this many days ahead, whatever the length of the plan: Visa asks for
seven days or more, Mastercard for three to seven (docs/notices.md)."""

_LONGEST_MONTH = 31
"""In days. Rules of single states ask for a reminder of every period longer than a month (docs/notices.md)."""

_ONCE_IN = timedelta(days=182)
"""A customer who has declined or complained is still reminded of the renewal of a shorter plan so often: some rules ask
for a reminder about every six months, or every year, whatever the plan."""

_MONTH = re.compile(r"(\d{4}-(0[1-9]|1[0-2]))?", re.ASCII)


def at_period(rows: Sequence[Item], customer_id: str, renewal_date: date | None) -> Subscription | None:
    """Return the customer's subscription if the row is sound and still has the given renewal date; None otherwise.

    rows: all rows with the subscription's id.
    """
    if len(rows) != 1 or rows[0]["customer_id"] != customer_id:
        return None
    try:
        subscription = parse(rows[0])
        for kind in REMINDERS:
            record(subscription, kind)
    except BadRow:
        return None
    return subscription if subscription.renewal_date == renewal_date else None


def owed(subscription: Subscription, today: date, rules: Rules) -> list[MailKind]:
    """Return the reminders that are true of the row today and still need work: never sent, still recorded as being
    sent, failed at an earlier address, or sent with facts that have changed since.

    A renewal itself is only announced for long periods (`Rules.from_period`), since customers with shorter plans know
    their renewals; the first charge after a trial is announced for every plan. If a reminder has promised a different
    price, plan or period, the customer is told of the change while there is time.

    Args:
        subscription: the row.
        today: the business's day.
        rules: when the deployment reminds customers.
    """
    if not _near(subscription, today, max(rules.days, _FIRST_CHARGE_DAYS)):
        return []
    card, promise = known_card(subscription), offers.changed(subscription)
    again = promise is not None and offers.is_in_time(promise, subscription, today)
    true = {
        MailKind.UPCOMING: _is_to_be_announced(subscription, today, rules) and (again or not promise),
        MailKind.CARD_EXPIRES: card is not None
        and not has_declined(subscription.row)
        and must_be_updated(card, subscription.renewal_date)
        and _near(subscription, today, rules.card_days),
    }
    return [kind for kind, holds in true.items() if holds and not _settled(subscription, kind, again=again)]


def _is_to_be_announced(subscription: Subscription, today: date, rules: Rules) -> bool:
    """Whether the customer is told of the next charge today, if the customer was not told before."""
    if ends_trial(subscription):
        return rules.days > 0 and _near(subscription, today, _FIRST_CHARGE_DAYS)
    if not _near(subscription, today, rules.days):
        return False
    return offers.changed(subscription) is not None or (
        _period_days(subscription) >= rules.from_period and not _was_reminded_lately(subscription, today)
    )


def ends_trial(subscription: Subscription) -> bool:
    """Whether the next charge is the first charge, and comes more than seven days after the creation. A row without the
    moment of its creation, such as an imported row, may have been charged before, and counts as no trial.

    The row alone cannot tell for sure: the application may have charged the first period at a checkout of its own, and
    a renewal date that somebody moves by hand during a charge leaves no paid period in the row. The mail therefore does
    not say that the payment is the first."""
    if PAID_UNTIL in subscription.row:
        return False
    try:
        created = moment(subscription.row, CREATED_AT)
    except (KeyError, TypeError, ValueError):  # unknown, or written by hand
        return False
    return (subscription.renewal_date - created.date()).days > _FIRST_CHARGE_DAYS


def may_be_declined(subscription: Subscription, kind: MailKind) -> bool:
    """Whether the customer may decline the reminder, and has not done so yet.

    No rule asks for a reminder about a card. Rules ask for reminders of the renewal of a plan longer than a month, for
    the notice of a changed price, and for a reminder of the first charge after a trial: such reminders cannot be
    declined.
    """
    if has_declined(subscription.row):
        return False
    return kind is MailKind.CARD_EXPIRES or not _is_asked_by_rules(subscription)


def _is_asked_by_rules(subscription: Subscription) -> bool:
    """Whether a rule of a law or a card network asks for the reminder of the next charge."""
    is_long = _period_days(subscription) > _LONGEST_MONTH
    return is_long or ends_trial(subscription) or offers.changed(subscription) is not None


def has_declined(row: Item) -> bool:
    """Whether the customer of the row has declined the reminders that may be declined."""
    return row.get(CHOICE) == REQUIRED


def _was_reminded_lately(subscription: Subscription, today: date) -> bool:
    """Whether a customer who has declined reminders of a short plan, or has complained, was reminded within the last
    half year. A reminder that failed at an address that still stands counts too: every further reminder would fail in
    the same way."""
    has_complained = mail_faults.kind(subscription.row) is mail_faults.FaultKind.COMPLAINED
    is_unwanted = has_complained or has_declined(subscription.row)
    if not is_unwanted or _period_days(subscription) > _LONGEST_MONTH:
        return False
    kept = subscription.row.get(f"reminder_{MailKind.UPCOMING}")
    try:
        mail = mail_from(kept) if isinstance(kept, dict) else None
    except (TypeError, KeyError, ValueError):
        return False
    if mail is None or mail.at is None:
        return False
    if not mail.state.is_out and not mail_faults.is_in_vain(mail, mail_faults.address_of(subscription.row)):
        return False
    return today - mail.at.date() < _ONCE_IN


def _period_days(subscription: Subscription) -> int:
    return (subscription.schedule.after(subscription.renewal_date) - subscription.renewal_date).days


def may_be_owed(subscription: Subscription, today: date, rules: Rules) -> bool:
    """Whether a closer look is needed: a reminder is owed, or depends on a card not looked at yet."""
    return bool(owed(subscription, today, rules)) or asks_for_card(subscription, today, rules)


def asks_for_card(subscription: Subscription, today: date, rules: Rules) -> bool:
    """Whether a reminder depends on the card, and nobody has looked at the card yet."""
    return (
        _near(subscription, today, rules.card_days)
        and not has_declined(subscription.row)
        and known_card(subscription) is None
        and not _settled(subscription, MailKind.CARD_EXPIRES, again=False)
    )


def must_be_updated(card: GatewayCard, day: date) -> bool:
    """Whether the card cannot be charged on the day: the card was detached, or expires before."""
    return card.is_detached or expires_before(card, day)


def expires_before(card: GatewayCard, day: date) -> bool:
    """Whether the card expires before the day. A card is good until the end of its last month; a card whose last month
    is unknown never expires."""
    return bool(card.expires) and card.expires < f"{day:%Y-%m}"


def known_card(subscription: Subscription) -> GatewayCard | None:
    """Return the recorded card of the row; None if the record is about a different payment method, or unreadable."""
    kept = subscription.row.get("known_card")
    values = kept if isinstance(kept, dict) else {}
    texts = {name: value for name, value in values.items() if isinstance(value, str)}
    try:
        card = GatewayCard(**texts, is_detached=values.get("is_detached") is True)
    except TypeError:
        return None
    told = card.record == kept and _MONTH.fullmatch(card.expires)
    return card if told and card.payment_method == subscription.payment_method else None


def _near(subscription: Subscription, today: date, days: int) -> bool:
    return (
        subscription.status is SubscriptionStatus.ACTIVE
        and subscription.why_not_due(today) is Reason.NOT_DUE
        and subscription.renewal_date <= today + timedelta(days)
    )


def _settled(subscription: Subscription, kind: MailKind, *, again: bool) -> bool:
    """Whether the reminder needs no further work. again: whether the customer must be told of a different price."""
    mail = record(subscription, kind)
    if mail is None or mail.state is MailState.SENDING:
        return False
    if mail.state is MailState.FAILED:
        return mail_faults.is_in_vain(mail, mail_faults.address_of(subscription.row))
    return not again if kind is MailKind.UPCOMING else not _is_another_card(subscription)


def _is_another_card(subscription: Subscription) -> bool:
    """Whether the card differs from the card in the customer's reminder, as far as both cards are known."""
    warned, card = offers.warned_card(subscription), known_card(subscription)
    if warned is None:
        return False
    return warned[0] != subscription.payment_method or (card is not None and card.expires != warned[1])


def record(subscription: Subscription, kind: MailKind) -> Mail | None:
    """Return the record of the period's reminder; None if nothing is recorded. Raises BadRow for an unreadable
    record."""
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
    """Return the records of failed reminders with a later retry, oldest first, with their `kind`. Values written by
    hand are returned, too."""
    kept = row.get(EARLIER)
    return kept if isinstance(kept, list) else []
