"""The price, plan and period that a reminder named for the next renewal. Pure.

The named price, plan and period hold for that renewal. A price changed afterwards is the price of the following period,
unless a further reminder names the new price to the customer in time. A mail counts as sent if nobody knows whether the
mail went out.

Beside the record of a reminder, the subscription's row keeps the content that the reminder named, as told_upcoming or
told_card_expires. Attributes: `token` (of the mail), `period`, `at`, `amount`, `currency`, `plan`, `payment_method`,
`end` (the day after the period that the amount is for, whether or not the mail named the day), `expires` (of the card),
and `before` (the earlier offer, which counts if the mail never arrived). Earlier versions do not know these attributes
and leave them alone.

Decision: D103 (DECISIONS.md).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal

from renewals.domain.item_values import Item, Value, day, fields, number, storable
from renewals.domain.renewal import MailKind, MailState
from renewals.domain.schedule import Billing
from renewals.domain.subscription import Subscription

NOTICE_DAYS = 3
"""The customer is told of a change at least this many days before the renewal, or not at all. A lower price alone may
still be told on the day before."""

REMINDERS = (MailKind.UPCOMING, MailKind.CARD_EXPIRES)
"""The kinds of mails that tell of a renewal before its day."""


@dataclass(frozen=True, slots=True)
class Offer:
    """The price, plan and period that a mail named, or that the row names.

    Attributes:
        amount: in major units.
        end: the day after the period; None if an earlier version did not keep the day.
        at: the moment of the mail.
    """

    amount: Decimal
    currency: str
    plan: str
    end: date | None
    at: str = ""

    def is_that_of(self, subscription: Subscription) -> bool:
        """Whether the row's next renewal has the offer's price, plan and period."""
        end = self.end or subscription.schedule.after(subscription.renewal_date)
        return replace(self, end=end, at="") == of(subscription)

    def applied(self, subscription: Subscription) -> Subscription:
        """Return the subscription with the price and the plan of the offer."""
        return replace(subscription, amount=self.amount, currency=self.currency, plan=self.plan)


def of(subscription: Subscription) -> Offer:
    """Return the next renewal's price, plan and period, as the row stands."""
    return Offer(
        subscription.amount,
        subscription.currency,
        subscription.plan,
        subscription.schedule.after(subscription.renewal_date),
    )


def promised(subscription: Subscription) -> Offer | None:
    """Return the offer named by the latest reminder of the next renewal, if the reminder may have arrived; None
    otherwise."""
    return max((offer for kind in REMINDERS for offer in _named(subscription, kind)), key=_at, default=None)


def changed(subscription: Subscription) -> Offer | None:
    """Return the promised offer if the row now differs from the promise, else None."""
    promise = promised(subscription)
    return None if promise is None or promise.is_that_of(subscription) else promise


def is_in_time(promise: Offer, subscription: Subscription, today: date) -> bool:
    """Whether today is early enough to tell the customer that the renewal differs from the promise."""
    days_left, now = (subscription.renewal_date - today).days, of(subscription)
    same_but_for_the_amount = replace(promise, amount=now.amount).is_that_of(subscription)
    return days_left >= (1 if same_but_for_the_amount and now.amount < promise.amount else NOTICE_DAYS)


def holds_for(promise: Offer, billing: Billing, subscription: Subscription, today: date) -> bool:
    """Whether the promise applies to the period that is billed today.

    The promise applies if the billed period begins on the row's renewal date, or if today lies before the end of the
    promised period. A change of the row's interval since the promise alters nothing: the promised price was named for
    the promised length, and the period is billed at the promised length.

    Args:
        promise: the offer that the customer was told of.
        billing: the period that is due by the row's current interval.
        subscription: the row.
        today: the day of the charge.
    """
    return billing.start == subscription.renewal_date or (promise.end is not None and today < promise.end)


def as_told(subscription: Subscription, today: date) -> Subscription:
    """Return the subscription with the price and plan to name in today's mail."""
    return told(subscription, today).applied(subscription)


def told(subscription: Subscription, today: date) -> Offer:
    """Return the offer to name in today's mail: the promise if the row differs from the promise and no time is left to
    tell the customer of the change, else the row's offer."""
    promise = changed(subscription)
    return of(subscription) if promise is None or is_in_time(promise, subscription, today) else promise


def noted(
    offer: Offer | None, subscription: Subscription, kind: MailKind, token: str, now: datetime, expires: str | None
) -> dict[str, Value]:
    """Build the record of what a mail names.

    Args:
        offer: the offer in the mail; None for a mail that names no price. An earlier promise still holds after such a
            mail.
        subscription: the row.
        kind: the kind of the mail. The record of a mail without a price keeps the promise of the record that it
            replaces, and no promise of the other kind: the mail of the other kind may still come back, and then
            promises nothing.
        token: the token of the mail.
        now: the moment of the mail.
        expires: the last month of the card, if the mail is about a card.
    """
    before = promised(subscription) if offer is not None else next(_named(subscription, kind), None)
    named = before if offer is None else replace(offer, at=storable(now))
    return {
        **(_item(named) if named else {}),
        "token": token,
        "period": subscription.renewal_date.isoformat(),
        "payment_method": subscription.payment_method,
        **({"expires": expires} if expires is not None else {}),
        **({"before": _item(before)} if before else {}),
    }


def warned_card(subscription: Subscription) -> tuple[str, str] | None:
    """Return the payment method and the last month of the card named in a reminder; None if not recorded."""
    told = subscription.row.get(f"told_{MailKind.CARD_EXPIRES}")
    if not isinstance(told, dict) or not {"payment_method", "expires"} <= told.keys():
        return None
    return str(told["payment_method"]), str(told["expires"])


def _named(subscription: Subscription, kind: MailKind) -> Iterator[Offer]:
    """Yield the offer named by the reminder of this kind, or the offer in `before` if the reminder did not arrive.

    A person may have written any value into the row: an unreadable record yields nothing.
    """
    told, mail = subscription.row.get(f"told_{kind}"), subscription.row.get(f"reminder_{kind}")
    if not isinstance(told, dict) or not isinstance(mail, dict | None):
        return
    try:
        if told["period"] != subscription.renewal_date.isoformat():
            return
        arrived = mail is not None and mail["token"] == told["token"] and mail["state"] != MailState.FAILED
        yield _offer(told if arrived else fields(told, "before"))
    except (TypeError, KeyError, ValueError):
        return


def _offer(named: Item) -> Offer:
    end = day(named, "end") if "end" in named else None
    return Offer(number(named, "amount"), str(named["currency"]), str(named["plan"]), end, str(named["at"]))


def _item(offer: Offer) -> dict[str, Value]:
    end = {"end": offer.end.isoformat()} if offer.end else {}
    return {"at": offer.at, "amount": offer.amount, "currency": offer.currency, "plan": offer.plan, **end}


def _at(offer: Offer) -> str:
    return offer.at
