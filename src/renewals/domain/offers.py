"""What a reminder has named of the next renewal: its price, its plan and its period. Pure.

It holds for that renewal: a price that is changed afterwards is the one of the period after, unless the customer is
told again in time, by another reminder that names it. A mail of which nobody knows whether it went out counts as sent.

What a reminder named stands on the subscription's row beside the reminder's own record, as told_upcoming or
told_card_expires: `token`, that of the mail, `period`, `at`, `amount`, `currency`, `plan`, `payment_method`, `end` (the
day after the period that the amount is for, whether or not the mail said it), `expires` (of the card), and `before`:
what had been named until then, for where this mail never arrived. Versions before knew nothing of it, and leave it
alone.
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
"""A customer is told again so many days before the renewal, or not at all. Of a lower price, until the day before."""

REMINDERS = (MailKind.UPCOMING, MailKind.CARD_EXPIRES)
"""The kinds of mails that tell of a renewal before its day."""


@dataclass(frozen=True, slots=True)
class Offer:
    """amount: major units. end: the day after the period; None where it was not kept. at: when it was named."""

    amount: Decimal
    currency: str
    plan: str
    end: date | None
    at: str = ""

    def is_that_of(self, subscription: Subscription) -> bool:
        """Whether the row's next renewal costs and brings the same."""
        end = self.end or subscription.schedule.after(subscription.renewal_date)
        return replace(self, end=end, at="") == of(subscription)

    def applied(self, subscription: Subscription) -> Subscription:
        """The row with the price and the plan of this offer."""
        return replace(subscription, amount=self.amount, currency=self.currency, plan=self.plan)


def of(subscription: Subscription) -> Offer:
    """What the next renewal costs and brings by the row as it stands."""
    return Offer(
        subscription.amount,
        subscription.currency,
        subscription.plan,
        subscription.schedule.after(subscription.renewal_date),
    )


def promised(subscription: Subscription) -> Offer | None:
    """What the latest reminder of this renewal named that may have arrived; None where there was none."""
    return max((offer for kind in REMINDERS for offer in _named(subscription, kind)), key=_at, default=None)


def changed(subscription: Subscription) -> Offer | None:
    """What the customer was told of this renewal, where it is no more what the row says."""
    promise = promised(subscription)
    return None if promise is None or promise.is_that_of(subscription) else promise


def is_in_time(promise: Offer, subscription: Subscription, today: date) -> bool:
    """Whether the customer can be told today that this renewal is another one than was promised."""
    days_left, now = (subscription.renewal_date - today).days, of(subscription)
    same_but_for_the_amount = replace(promise, amount=now.amount).is_that_of(subscription)
    return days_left >= (1 if same_but_for_the_amount and now.amount < promise.amount else NOTICE_DAYS)


def holds_for(promise: Offer, billing: Billing, subscription: Subscription, today: date) -> bool:
    """Whether the promise is of what is billed today. billing: what is due by the row's own interval. One of a length
    that is no more the row's is billed as it was promised: its price is of no other."""
    return billing.start == subscription.renewal_date or (promise.end is not None and today < promise.end)


def as_told(subscription: Subscription, today: date) -> Subscription:
    """The row with the price and plan that a mail of today is to name: the promise, where that holds."""
    return told(subscription, today).applied(subscription)


def told(subscription: Subscription, today: date) -> Offer:
    """What a mail of today names: the row, or the promise, where that holds."""
    promise = changed(subscription)
    return of(subscription) if promise is None or is_in_time(promise, subscription, today) else promise


def noted(offer: Offer, subscription: Subscription, token: str, now: datetime, expires: str | None) -> dict[str, Value]:
    """What the mail of this token names, as it is kept. offer: what it names. expires: of the card that it is about."""
    offer, before = replace(offer, at=storable(now)), promised(subscription)
    return {
        **_item(offer),
        "token": token,
        "period": subscription.renewal_date.isoformat(),
        "payment_method": subscription.payment_method,
        **({"expires": expires} if expires is not None else {}),
        **({"before": _item(before)} if before else {}),
    }


def warned_card(subscription: Subscription) -> tuple[str, str] | None:
    """The payment method and the last month of the card that a reminder was about; None where that is not known."""
    told = subscription.row.get(f"told_{MailKind.CARD_EXPIRES}")
    if not isinstance(told, dict) or not {"payment_method", "expires"} <= told.keys():
        return None
    return str(told["payment_method"]), str(told["expires"])


def _named(subscription: Subscription, kind: MailKind) -> Iterator[Offer]:
    """By a mail of this kind, or before it where it did not arrive. Somebody may have written anything there."""
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
