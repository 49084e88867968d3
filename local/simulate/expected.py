"""What should have been charged: each subscriber's days lived again, beside what the gateway says was charged.

The product is not asked. What is expected follows from the story alone: the renewal dates by `dates`, the price of the
day or that which a reminder named, who was live, whose card was good, and on which days the sweep came round with
nothing in its way. On such a day what is due is charged, or refused where the card is bad; on the others it may be.
While charging is turned off nothing is, but for what was at work at that moment.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta

from local.simulate.dates import renewal_dates
from local.simulate.story import (
    DUNNING_DAYS,
    Cancel,
    CardBehaves,
    Confirm,
    GatewayTrouble,
    Killed,
    NewCard,
    Pause,
    Price,
    Reprice,
    Resume,
    Story,
    Subscriber,
    Webhooks,
)

_REMINDED_DAYS, _NOTICE_DAYS = 7, 3
"""So many days before a renewal whoever pays for a year is reminded of it; and told of another price, at the latest."""

_POINTLESS = ("lost", "expired", "detached", "asks")
"""Trying such a card again by itself changes nothing: another card, or the customer, must come."""


@dataclass(frozen=True)
class Charged:
    """A charge that succeeded, as the gateway has it. day: on the gateway's clock. amount: minor units."""

    day: date
    period: date
    amount: int
    currency: str
    payment: str


@dataclass(frozen=True)
class Fault:
    """A promise that was broken. kind: doubled, overlapping (a paid period reaches into another), missed, wrong,
    no_receipt, no_mail, doubled_mail, vain_mail (to an address whose mail had come back), or audit: what the product's
    own audit names."""

    kind: str
    subscription_id: str
    period: date | None
    what: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.subscription_id}, period {self.period or '-'}: {self.what}"


@dataclass
class _Refused:
    """A period that was refused. first: the day of the first attempt. next: the next dunning date. behind: how many
    dunning dates have been. card: which one was refused. warned: whether a final notice has arrived. held: whether the
    last date came before that, and waited."""

    period: date
    cost: tuple[int, str]
    first: date
    card: int
    behaviour: str
    next: date
    behind: int = 0
    warned: bool = False
    held: bool = False

    def waits(self) -> bool:
        """Whether the last date is next, and the customer was not told of it. A request to confirm tells of it too."""
        return self.behind == len(DUNNING_DAYS) - 1 and not self.warned and self.behaviour != "asks"

    def is_tried_on(self, day: date, card: int) -> bool:
        """Whether an attempt is owed by then: another card, or a dunning date where trying again may help."""
        return card != self.card or (self.behaviour not in _POINTLESS and self.next <= day and not self.waits())

    def is_over_after(self, day: date, *, mailbox: bool) -> bool:
        """A day has come to nothing; whether that was the end. Dunning dates that were missed follow day by day.

        mailbox: whether mail arrives. Where the final notice did not, the last date is put off until it does, and then
        is as many days ahead as ever."""
        if self.waits():
            if self.next <= day:
                self.held = True
                self.next = day + timedelta(days=DUNNING_DAYS[-1] - DUNNING_DAYS[-2] if mailbox else 1)
            self.warned = mailbox
        elif self.next <= day:
            self.behind += 1
            if self.behind == len(DUNNING_DAYS):
                return True
            self.next = max(self.first + timedelta(days=DUNNING_DAYS[self.behind]), day + timedelta(days=1))
            self.warned = self.waits() and mailbox
        return False


@dataclass
class Expected:
    """What came of one subscriber. due: the periods that came due while it was live. charged: period to charges.
    refused, recovered: period to the day on which it was refused first, and paid after all. warned: period to the day
    that a final notice named as the last. held: the periods whose last day waited for that notice. status: the row's at
    the end."""

    due: list[date] = field(default_factory=list)
    charged: dict[date, list[Charged]] = field(default_factory=dict)
    refused: dict[date, date] = field(default_factory=dict)
    recovered: dict[date, date] = field(default_factory=dict)
    warned: dict[date, date] = field(default_factory=dict)
    held: list[date] = field(default_factory=list)
    given_up: list[date] = field(default_factory=list)
    skipped: list[date] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    status: str = "active"


def expected(subscriber: Subscriber, story: Story, charged: Iterable[Charged]) -> Expected:
    """Lives the subscriber's days again. charged: every charge of its customer that succeeded, in order."""
    walk = _Walk(subscriber, story)
    by_day: dict[date, list[Charged]] = {}
    for charge in charged:
        by_day.setdefault(charge.day, []).append(charge)
    for day in story.calendar:
        walk.live(day, by_day.pop(day, []))
    for charge in (charge for charges in by_day.values() for charge in charges):
        walk.fault("wrong", charge.period, f"charged on {charge.day}, outside of the story")
    return walk.ended()


class _Walk:
    def __init__(self, subscriber: Subscriber, story: Story) -> None:
        self._subscriber, self._story = subscriber, story
        self._dates = subscriber.dates(story.calendar[-1] + timedelta(days=800))
        self._next = 0  # into _dates: the first that is neither charged nor passed over
        self._price = subscriber.price
        self._named: dict[date, Price] = {}  # what the latest reminder of a period said that it costs
        self._behaviour, self._card = "good", 0
        self._paused = self._canceled = False
        self._cancel_at: date | None = None
        self._refused: _Refused | None = None
        self._confirmed = False
        self._maybe: dict[date, tuple[int, str]] = {}  # what may have been claimed on a day of trouble, at which cost
        self._deciding: set[date] = set()  # of these, what may have been confirmed, and wait for the bank
        self._missed: set[date] = set()
        self._came_due: set[date] = set()
        self._result = Expected()

    def live(self, day: date, charged: list[Charged]) -> None:
        """One day: what the customer does, what was charged, and what should have been."""
        if day < self._subscriber.created:
            for charge in charged:
                self.fault("wrong", charge.period, "charged before there was a subscription")
            return
        actions = self._subscriber.actions.get(day, ())
        for action in actions:
            self._act(action, day)
        self._note_due(day)
        trouble = any(isinstance(action, GatewayTrouble | Killed) for action in actions)
        webhooks = sum(action.copies for action in actions if isinstance(action, Webhooks))
        sweeps = self._story.sweeps(day)
        self._remind(day)
        if day in self._story.off:
            self._live_without_charging(day, charged)
            return
        done = 0
        for charge in charged:
            done += self._accept(charge, day, asked=sweeps + webhooks > 0)
        if trouble:
            slow = any(isinstance(action, GatewayTrouble) and action.mode == "processing" for action in actions)
            self._remember(day, confirmed=slow)
        elif sweeps:
            # Whatever fails for others meanwhile. A sweep in whose middle charging is turned on may have found charging
            # off; what that sweep left is tried again before the next one, but on days of trouble.
            uncertain = day in self._story.troubled and self._story.is_turned_on_on(day)
            self._require(day, sweeps - uncertain - done)
        elif webhooks and self._behaviour != "good":
            self._require(day, 1)

    def _live_without_charging(self, day: date, charged: list[Charged]) -> None:
        """What was at work when charging was turned off may be charged, or only claimed, or neither."""
        thrown = self._story.is_turned_off_on(day)
        caught = thrown and self._subscriber in self._story.caught(day)
        for charge in charged:
            self._accept(charge, day, asked=caught, by_the_queue=thrown)
        if caught:
            self._remember(day)

    def fault(self, kind: str, period: date | None, what: str) -> None:
        self._result.faults.append(Fault(kind, self._subscriber.id, period, what))

    def ended(self) -> Expected:
        result = self._result
        result.due = sorted(self._came_due)
        for period in result.charged:
            within = max((day for day in self._dates if day <= period), default=period)
            if within != period and within in result.charged:
                self.fault("overlapping", period, f"the period of {within} is paid too")
        has_ended = self._cancel_at is not None and self._cancel_at <= self._story.calendar[-1]
        if self._canceled or has_ended:
            result.status = "canceled"
        elif self._paused:
            result.status = "paused"
        elif self._refused is not None:
            result.status = "past_due"
        return result

    def _act(self, action: object, day: date) -> None:
        match action:
            case CardBehaves(behaviour):
                self._behaviour = behaviour
            case NewCard():
                self._behaviour, self._card = "good", self._card + 1
            case Confirm():
                self._confirmed = self._refused is not None and self._refused.behaviour == "asks"
            case Pause():
                self._paused = True
                self._withdraw()
            case Resume():
                self._paused = False
                if self._pass_over_until(day) and day not in self._dates:
                    self._renew_from(day)
            case Cancel(None):
                self._canceled = True
                self._refused = None
                self._withdraw()
            case Cancel(at):
                self._cancel_at = at
            case Reprice(price):
                self._price = price

    def _pass_over_until(self, day: date) -> bool:
        """Leaves out what came due in a pause; whether anything did."""
        since = self._next
        while self._dates[self._next] < day:
            self._result.skipped.append(self._dates[self._next])
            self._next += 1
        return self._next > since

    def _renew_from(self, day: date) -> None:
        """After a pause over a date it is billed from the day on which it is active again, and renews on that day."""
        its, last = self._subscriber, self._dates[-1]
        fits = day.day == its.anchor or (day.day < its.anchor and (day + timedelta(days=1)).day == 1)
        anchor = its.anchor if fits else day.day
        self._dates = (*self._dates[: self._next], *renewal_dates(day, its.interval, its.count, anchor, last))

    def _note_due(self, day: date) -> None:
        ends = self._cancel_at is not None and day >= self._cancel_at
        if day in self._dates and not (self._paused or self._canceled or ends):
            self._came_due.add(day)

    def _remind(self, day: date) -> None:
        """What a reminder names is what is charged; of another price the customer is told again while there is time,
        and of a lower one until the day before. A mail that comes back has named nothing."""
        live = not (self._paused or self._canceled or self._refused)
        mailed = self._story.sweeps(day) > 0 and self._story.has_mailbox(self._subscriber, day)
        if self._subscriber.interval != "year" or not live or not mailed:
            return
        period = self._dates[self._next]
        days_left = (period - day).days
        if not 0 < days_left <= _REMINDED_DAYS or (self._cancel_at is not None and self._cancel_at <= period):
            return
        named, now = self._named.get(period), self._price
        lower = named is not None and now.currency == named.currency and now.minor < named.minor
        if named is None or lower or days_left >= _NOTICE_DAYS:
            self._named[period] = now

    def _would_be_charged(self, day: date) -> tuple[date, tuple[int, str]] | None:
        """The period that a request of this day charges or is refused for, and what it costs."""
        if self._refused is not None:
            return self._refused.period, self._refused.cost
        if self._paused or self._canceled:
            return None
        last = day if self._cancel_at is None else min(day, self._cancel_at - timedelta(days=1))
        due = [when for when in self._dates[self._next :] if when <= last]
        if not due:
            return None
        period = due[0] if self._subscriber.catch_up == "each" else due[-1]
        price = self._named.get(period, self._price)
        return period, (price.minor, price.currency)

    def _accept(self, charge: Charged, day: date, *, asked: bool, by_the_queue: bool = True) -> bool:
        """Takes note of a charge, with its faults; whether a request of the product's made it.

        by_the_queue: a message that failed on a day of trouble is tried again by the queue, and may have made it.
        """
        period, cost = charge.period, (charge.amount, charge.currency)
        charges = self._result.charged.setdefault(period, [])
        charges.append(charge)
        if len(charges) > 1:
            self.fault("doubled", period, f"charged {len(charges)} times, last on {day}")
            return False
        by_customer = self._confirmed and self._refused is not None and period == self._refused.period
        right = self._would_be_charged(day)
        allowed = dict(self._maybe) | ({right[0]: right[1]} if right else {})
        if period not in allowed:
            self.fault("wrong", period, f"charged on {day}, when {right[0] if right else 'nothing'} was due")
        elif cost != allowed[period]:
            self.fault("wrong", period, f"charged {cost} instead of {allowed[period]} on {day}")
        elif self._behaviour != "good" and not by_customer:
            self.fault("wrong", period, f"charged on {day} although the card is {self._behaviour}")
        elif not (asked or by_customer or (by_the_queue and period in self._maybe)):
            self.fault("wrong", period, f"charged on {day}, when nobody asked")
        if self._refused is not None and period == self._refused.period:
            self._result.recovered[period] = day
            self._refused, self._confirmed = None, False
        self._move_past(period)
        return not by_customer

    def _move_past(self, period: date) -> None:
        while self._dates[self._next] <= period:
            if self._dates[self._next] not in self._result.charged:
                self._result.skipped.append(self._dates[self._next])
            self._next += 1
        self._maybe.clear()

    def _remember(self, day: date, *, confirmed: bool = False) -> None:
        """On a day of trouble what is due may have been claimed, and nothing more is certain. confirmed: the bank may
        still be deciding about it."""
        claimable = self._would_be_charged(day)
        if claimable is not None:
            self._maybe[claimable[0]] = claimable[1]
            if confirmed:
                self._deciding.add(claimable[0])

    def _withdraw(self) -> None:
        """What was claimed and not confirmed is not charged after the end."""
        self._maybe = {period: cost for period, cost in self._maybe.items() if period in self._deciding}

    def _require(self, day: date, requests: int) -> None:
        """With nothing in their way, so many more requests would have charged what is due."""
        for _ in range(requests):
            wanted = self._would_be_charged(day)
            if wanted is None:
                return
            period, cost = wanted
            owed = self._refused is None or self._refused.is_tried_on(day, self._card)
            if owed and self._behaviour == "good":
                if period not in self._missed:
                    self.fault("missed", period, f"not charged on {day}, when the sweep ran and nothing was in its way")
                self._missed.add(period)
                self._maybe[period] = cost  # if it is charged later, that is not another fault
                return
            if self._refused is None:
                next_date = day + timedelta(days=DUNNING_DAYS[0])
                self._refused = _Refused(period, cost, day, self._card, self._behaviour, next_date)
                self._result.refused[period] = day
                self._maybe.clear()
            elif self._pass_day(self._refused, day):
                self._result.given_up.append(period)
                self._refused, self._canceled = None, True

    def _pass_day(self, refused: _Refused, day: date) -> bool:
        """Whether dunning is over."""
        warned, held = refused.warned, refused.held
        over = refused.is_over_after(day, mailbox=self._story.has_mailbox(self._subscriber, day))
        if refused.warned and not warned:
            self._result.warned[refused.period] = refused.next
        if refused.held and not held:
            self._result.held.append(refused.period)
        return over
