"""The next charges of a subscription, with date, amount and the reason for the date. Pure; callers pass `today`."""

import calendar
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import cast

from renewals.domain import due, offers, reasons, wording
from renewals.domain.attempts import MOST_ATTEMPTS, is_exhausted
from renewals.domain.payment import GatewayCard
from renewals.domain.reminders import must_be_updated
from renewals.domain.renewal import Renewal, Status
from renewals.domain.schedule import Billing, Schedule
from renewals.domain.subscription import Subscription, SubscriptionStatus, anchor_change, is_over, parse


@dataclass(frozen=True, slots=True)
class NextCharge:
    """A charge to come, for the period [start, end).

    Attributes:
        on: the day of the charge.
        amount: in major units.
        why: the reason for the day, and the obstacles to the charge, in words.
    """

    on: date
    start: date
    end: date
    amount: Decimal
    currency: str
    why: str


@dataclass(frozen=True, slots=True)
class Preview:
    """The charges to come.

    Attributes:
        charges: oldest first.
        then: why no further charges follow, in words; empty if further charges would follow.
    """

    charges: tuple[NextCharge, ...]
    then: str


_NEVER = {
    SubscriptionStatus.PAUSED: "The subscription is paused. Nothing is charged until the subscription is resumed, and "
    "the paused time is not charged later.",
    SubscriptionStatus.CANCELED: "The subscription is canceled. Nothing is charged any more.",
    SubscriptionStatus.UNPAID: "The subscription is suspended as unpaid. Nothing is charged until the subscription is "
    "resumed.",
}


def preview(
    subscription: Subscription,
    *,
    today: date,
    count: int,
    refused: Renewal | None = None,
    failed: Renewal | None = None,
    unpaid: Renewal | None = None,
    card: GatewayCard | None = None,
    resumed: date | None = None,
    paid_until: date | None = None,
) -> Preview:
    """Return the next `count` charges, as far as they are known today.

    Args:
        subscription: the subscription as the table has it.
        today: the business's day.
        count: the most charges to return.
        refused: the refused period, if any; the refused period is charged first.
        failed: the failed period that waits for a person, if any.
        unpaid: the earlier claim for the subscription's date that was not paid, if any; as in due.billing.
        card: the card, if known.
        resumed: the first day that would be billed after a resumption today; None unless the subscription is paused, or
            a person has set the status of the paused row to active by hand.
        paid_until: the end of the paid time, if known.
    """
    if is_over(subscription.row, today):
        ended = wording.day(cast("date", subscription.cancel_at))
        return Preview((), f"The subscription ended on {ended}. Nothing is charged any more.")
    if subscription.status is SubscriptionStatus.PAUSED and resumed is not None:
        return Preview((), f"{_NEVER[subscription.status]} {_if_resumed(subscription, resumed)}")
    if subscription.status.has_ended:
        return Preview((), _NEVER[subscription.status])
    if resumed is not None:
        subscription = _from(subscription, resumed)
    charges: list[NextCharge] = []
    then = ""
    try:
        for charge in _charges(subscription, today, refused, unpaid):
            if subscription.cancel_at is not None and subscription.ends_by(charge.start):
                given_up = _given_up(subscription.cancel_at, charges, paid_until)
                then = f"The subscription ends on {wording.day(subscription.cancel_at)}.{given_up}"
                break
            if len(charges) == count:
                break
            charges.append(_against_failure(_against_card(charge, card), None if charges else failed, today))
    except OverflowError:
        then = "The calendar ends with the year 9999."
    return Preview(tuple(charges), then)


def _given_up(end: date, charges: Sequence[NextCharge], paid_until: date | None) -> str:
    """Say how many days the customer gives up because the subscription ends within a period.

    The period is either paid already, or still to be charged. Days of a period that is still to be charged are not
    called paid, since the charge may be refused.

    Args:
        end: the day on which the subscription ends.
        charges: the charges to come before the end.
        paid_until: the end of the paid time, if known.
    """
    until = charges[-1].end if charges else paid_until
    days = (until - end).days if until else 0
    if days <= 0:
        return ""
    if charges:
        count = "1 day of the period charged last is" if days == 1 else f"{days} days of the period charged last are"
        return f" {count} given up, and once the period is paid, no refund is made automatically."
    count = "1 paid day is" if days == 1 else f"{days} paid days are"
    return f" {count} given up, and no refund is made automatically."


def _from(subscription: Subscription, resumed: date) -> Subscription:
    """Return the subscription with its renewal date moved to the first billed day after the resumption."""
    moved = {**subscription.row, "renewal_date": resumed.isoformat(), **anchor_change(subscription.row, resumed)}
    return parse({name: value for name, value in moved.items() if value is not None})


def _if_resumed(subscription: Subscription, resumed: date) -> str:
    active = _from(subscription, resumed)
    if active.cancel_at is not None and active.ends_by(resumed):
        return f"If resumed today, the subscription ends on {wording.day(active.cancel_at)}."
    amount = wording.money(subscription.amount, subscription.currency)
    period = wording.days(resumed, active.schedule.after(resumed))
    return f"If resumed today, the subscription is charged {amount} on {wording.day(resumed)}, for {period}."


def _charges(
    subscription: Subscription, today: date, refused: Renewal | None, unpaid: Renewal | None
) -> Iterator[NextCharge]:
    """Yield the charges in order, without end."""
    schedule, start = subscription.schedule, subscription.renewal_date
    if refused is not None:
        on = max(refused.next_attempt or today, today)
        why = f"{_first(schedule, refused.renewal_date)}; {_stands(refused, on)}"
        yield NextCharge(on, refused.renewal_date, refused.period_end, refused.amount, refused.currency, why)
        start = refused.period_end
    elif (promise := offers.changed(subscription)) is not None:
        end = promise.end or schedule.after(start)
        found = _due(subscription, unpaid, start, today) if start <= today else None
        holds = found is None or offers.holds_for(promise, found, subscription, today)
        if not offers.is_in_time(promise, subscription, today) and holds:
            why = f"{_first(schedule, start)}; as announced in a reminder; later changes apply from the next period"
            yield NextCharge(max(start, today), start, end, promise.amount, promise.currency, why)
            start = end
    while start <= today:
        billing = _due(subscription, unpaid, start, today)
        late = f"due since {wording.day(billing.start)}" if billing.start < today else "due today"
        why = f"{_reason(schedule, billing.start)}; {late}{_passed_over(billing)}"
        yield NextCharge(today, billing.start, billing.end, subscription.amount, subscription.currency, why)
        start, unpaid = billing.end, None
    why = _first(schedule, start)
    while True:
        end = schedule.after(start)
        yield NextCharge(start, start, end, subscription.amount, subscription.currency, why)
        start, why = end, _reason(schedule, end)


def _stands(refused: Renewal, on: date) -> str:
    """Say how the charge of a refused period stands, for the next dunning date."""
    if refused.status is Status.CLAIMED:
        return "the charge has no result yet"
    if is_exhausted(refused, on):
        return f"the charge was refused, and is not retried on this day, after {MOST_ATTEMPTS} attempts in 30 days"
    return "the charge was refused, and is retried"


def _due(subscription: Subscription, unpaid: Renewal | None, start: date, today: date) -> Billing:
    return due.billing(subscription, unpaid, start, max(start, subscription.last_day(today)))


def _passed_over(billing: Billing) -> str:
    count = len(billing.skipped)
    return f"; {count} earlier {'period is' if count == 1 else 'periods are'} passed over" if count else ""


def _first(schedule: Schedule, start: date) -> str:
    """Return why the next period begins on the day `start`. If the schedule does not explain the day, the day is called
    the subscription's own renewal date."""
    return _reason(schedule, start) or "the subscription's own renewal date"


def _reason(schedule: Schedule, start: date) -> str:
    """Why a period begins on the day `start`, according to the schedule; empty if the schedule does not explain the
    day."""
    count, unit = schedule.count, schedule.interval
    every = f"every {unit}" if count == 1 else f"every {count} {unit}s"
    if unit in ("day", "week"):
        return f"{every}, counted from the date before"
    anchor, length = schedule.anchor_day, calendar.monthrange(start.year, start.month)[1]
    if start.day == anchor:
        return f"{every}, on day {anchor}"
    if start.day == length < anchor:
        return f"{every}, on day {anchor}; {start:%B} {start.year} ends with day {length}"
    return ""


def _against_failure(charge: NextCharge, failed: Renewal | None, today: date) -> NextCharge:
    if failed is None or charge.on > today:
        return charge
    return replace(charge, why=f"{charge.why}; the charge cannot be made: {reasons.in_words(failed.reason)}")


def _against_card(charge: NextCharge, card: GatewayCard | None) -> NextCharge:
    if card is None or not must_be_updated(card, charge.on):
        return charge
    fault = f"the card expires earlier, at the end of {card.expires}"
    if card.is_detached:
        fault = "the card is no longer saved at the gateway"
    return replace(charge, why=f"{charge.why}; {fault}")
