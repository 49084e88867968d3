"""The expected charges: a walk through every subscriber's days finds the charges that must or may happen on each day,
and compares them with the charges that the gateway recorded.

The product is not consulted. The expectation follows from the story alone: from the renewal dates of `dates`, the day's
price or the price that a reminder named, the live subscriptions, the good cards, and the days on which an undisturbed
sweep ran. On such days a due period must be charged, or refused if the card is bad; on other days a charge is allowed,
but not required. While charging is turned off, only renewals already under way at that moment may be charged.
"""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta

from local.simulate.dates import renewal_dates
from local.simulate.happenings import (
    DUNNING_DAYS,
    BankDecides,
    Cancel,
    CardBehaves,
    Confirm,
    Contest,
    Contested,
    EndRevoked,
    GatewayTrouble,
    Killed,
    NewCard,
    Pause,
    Price,
    Reprice,
    Resume,
    Subscriber,
    Webhooks,
)
from local.simulate.story import Story

_REMINDED_DAYS, _LONG_PERIOD, _NOTICE_DAYS = 21, 32, 3
"""Subscribers whose next period has at least _LONG_PERIOD days are reminded at most _REMINDED_DAYS before the renewal.
After the first reminder, a further reminder names a changed price at least _NOTICE_DAYS before the renewal.
"""

_POINTLESS = ("lost", "expired", "detached", "asks")
"""Retrying such a card is pointless: the customer must update the payment method or act."""


@dataclass(frozen=True)
class Charged:
    """A successful charge, as recorded by the gateway. day: on the gateway's clock. amount: minor units."""

    day: date
    period: date
    amount: int
    currency: str
    payment: str


@dataclass(frozen=True)
class Fault:
    """A broken promise.

    kind: doubled, overlapping (a paid period reaches into another paid period), missed, wrong, no_receipt, no_mail,
    doubled_mail, vain_mail (to an address whose earlier mail had bounced), audit (reported by the product's own
    audit), not_told (the team's application heard something wrong, or did not hear something), or event_lost (an event
    of the gateway was not acted on).
    """

    kind: str
    subscription_id: str
    period: date | None
    what: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.subscription_id}, period {self.period or '-'}: {self.what}"


@dataclass
class _Refused:
    """A refused period.

    Attributes:
        first: the day of the first attempt.
        next: the next dunning date.
        behind: the number of past dunning dates.
        card: the number of the refused card.
        warned: whether a final notice has arrived.
        held: whether the last date was put off because no final notice had arrived.
    """

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
        """Tell whether the next dunning date is the last date, and no mail has told the customer the last date. The
        mail that asks the customer to confirm the payment tells the last date, as a final notice does.
        """
        return self.behind == len(DUNNING_DAYS) - 1 and not self.warned and self.behaviour != "asks"

    def is_tried_on(self, day: date, card: int) -> bool:
        """Tell whether the product must have tried the payment by this day: the customer has updated the payment
        method, or a dunning date has come and a retry of the card may help.
        """
        return card != self.card or (self.behaviour not in _POINTLESS and self.next <= day and not self.waits())

    def is_over_after(self, day: date, *, mailbox: bool) -> bool:
        """Record a day without success, and tell whether dunning is over. Dunning dates on which nothing could be tried
        are made up for, a date on each following day.

        mailbox: whether mail arrives. If no final notice has arrived by the last date, the last date is put off from
        day to day. Once the notice arrives, the customer has again the usual number of days until the last date.
        """
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


@dataclass(frozen=True)
class Chargeback:
    """A payment that the bank took back, and what the loss did to the subscription.

    Attributes:
        effect: ended (at once), ending (with the paid days), none (an end was set already), or kept (the stack keeps
            disputed subscriptions).
        at: the end in the row; None if the chargeback set no end there.
    """

    payment: str
    effect: str
    at: date | None = None


@dataclass
class Expected:
    """The expected result of a subscriber.

    Attributes:
        due: the periods that came due while the subscription was live.
        charged: the charges of every charged period.
        refused: the day of the first refusal, by period.
        recovered: the day of the late payment, by period.
        warned: the last day according to the final notice, by period.
        held: the periods whose last day waited for the final notice.
        given_up: the periods whose dunning ended without payment.
        skipped: the periods passed over without a charge.
        chargebacks: the payments that the bank took back, oldest first.
        ended_on: the days on which a chargeback set an end, which the customer must be told.
        revoked: the number of ends by a chargeback that somebody took back.
        ends: the first day without the subscription, if the row names the day.
        faults: the broken promises.
        status: the row's final status.
    """

    due: list[date] = field(default_factory=list)
    charged: dict[date, list[Charged]] = field(default_factory=dict)
    refused: dict[date, date] = field(default_factory=dict)
    recovered: dict[date, date] = field(default_factory=dict)
    warned: dict[date, date] = field(default_factory=dict)
    held: list[date] = field(default_factory=list)
    given_up: list[date] = field(default_factory=list)
    skipped: list[date] = field(default_factory=list)
    chargebacks: list[Chargeback] = field(default_factory=list)
    ended_on: list[date] = field(default_factory=list)
    revoked: int = 0
    ends: date | None = None
    faults: list[Fault] = field(default_factory=list)
    status: str = "active"

    @property
    def ended_by_dispute(self) -> list[Chargeback]:
        """The chargebacks that set an end."""
        return [lost for lost in self.chargebacks if lost.effect in ("ending", "ended")]


def expected(subscriber: Subscriber, story: Story, charged: Iterable[Charged]) -> Expected:
    """Live the subscriber's days again. charged: every successful charge of the customer, in order."""
    walk = _Walk(subscriber, story)
    by_day: dict[date, list[Charged]] = {}
    for charge in charged:
        by_day.setdefault(charge.day, []).append(charge)
    for day in story.calendar:
        walk.live(day, by_day.pop(day, []))
    for charge in (charge for charges in by_day.values() for charge in charges):
        walk.fault("wrong", charge.period, f"charged on {charge.day}, outside the story")
    return walk.ended()


def undisturbed(subscriber: Subscriber, story: Story) -> list[Charged]:
    """Return the charges of a product that charges each due period on the first day on which the period must be
    charged. The ids of the payments are made up.
    """
    walk = _Undisturbed(subscriber, story)
    for day in story.calendar:
        walk.live(day, [])
    return walk.charges


class _Walk:
    def __init__(self, subscriber: Subscriber, story: Story) -> None:
        self._subscriber, self._story = subscriber, story
        self._dates = subscriber.dates(story.calendar[-1] + timedelta(days=800))
        self._next = 0  # index in _dates of the first period neither charged nor skipped
        self._price = subscriber.price
        self._named: dict[date, Price] = {}  # the price that the latest reminder of a period named
        self._behaviour, self._card = "good", 0
        self._paused = self._canceled = False
        self._cancel_at: date | None = None
        self._latest = ""  # the customer's latest payment; empty before the first
        self._disputed: list[str] = []  # the disputed payments, oldest first
        self._is_asked_about = False  # whether the latest dispute is an open inquiry
        self._refused: _Refused | None = None
        self._confirmed = False
        self._maybe: dict[date, tuple[int, str]] = {}  # periods possibly claimed on a day of trouble, with their costs
        self._deciding: set[date] = set()  # the part of _maybe whose payments the bank may be deciding about
        self._missed: set[date] = set()
        self._came_due: set[date] = set()
        self._result = Expected()

    def live(self, day: date, charged: list[Charged]) -> None:
        """Live a day: the customer's actions, the actual charges, and the required charges."""
        if day < self._subscriber.created:
            for charge in charged:
                self.fault("wrong", charge.period, "charged before the subscription existed")
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
            # The sweep must charge whatever fails for other subscribers. Exception: charging is turned on in the middle
            # of a sweep, and the first part of the sweep may have found charging off. The renewals of the first part
            # are tried again before the next sweep, but on a day of trouble nobody can rely on the retry.
            uncertain = day in self._story.troubled and self._story.is_turned_on_on(day)
            self._require(day, sweeps - uncertain - done)
        elif webhooks and self._behaviour != "good":
            self._require(day, 1)

    def _live_without_charging(self, day: date, charged: list[Charged]) -> None:
        """Live a day without charging. Renewals already under way may be charged, only claimed, or neither."""
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
                self.fault("overlapping", period, f"the period of {within}, which contains this day, is paid too")
        has_ended = self._cancel_at is not None and self._cancel_at <= self._story.calendar[-1]
        if self._canceled or has_ended:
            result.status = "canceled"
            result.ends = None if self._canceled else self._cancel_at
        elif self._paused:
            result.status = "paused"
        elif self._refused is not None:
            result.status = "past_due"
        else:
            result.ends = self._cancel_at
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
            case _:
                self._contest(action, day)

    def _contest(self, action: object, day: date) -> None:
        """Follow a dispute of the latest payment. Only a chargeback ends the subscription, and ends the subscription
        once: no later step of the same dispute does.
        """
        match action:
            case Contested(Contest.CHARGEBACK | Contest.INQUIRY as by) if self._latest not in ("", *self._disputed):
                self._disputed.append(self._latest)
                self._is_asked_about = by is Contest.INQUIRY
                if by is Contest.CHARGEBACK:
                    self._charge_back(day)
            case BankDecides("withdraw") if self._is_asked_about:
                self._is_asked_about = False
                self._charge_back(day)
            case BankDecides("warning_closed"):
                self._is_asked_about = False
            case EndRevoked() if self._cancel_at is not None:
                self._cancel_at = None
                self._result.revoked += 1

    def _charge_back(self, day: date) -> None:
        """Apply a chargeback of the latest disputed payment: nothing is charged for a day after the paid days."""
        effect, at, first_unpaid = "none", None, self._dates[self._next]
        ends = self._canceled or (self._cancel_at is not None and self._cancel_at <= max(day, first_unpaid))
        if self._story.keeps_disputed:
            effect = "none" if ends else "kept"
        elif ends:
            pass  # the chargeback has nothing to end
        elif self._paused:  # the days of the disputed payment are lost, and no other days are paid
            effect, self._canceled = "ended", True
            self._withdraw()
        else:
            effect, at = ("ending" if first_unpaid > day else "ended"), first_unpaid
            self._cancel_at, self._refused = first_unpaid, None
        self._result.chargebacks.append(Chargeback(self._disputed[-1], effect, at))
        if effect in ("ending", "ended"):
            self._result.ended_on.append(day)

    def _pass_over_until(self, day: date) -> bool:
        """Skip the periods that came due in a pause. Returns whether periods were skipped."""
        since = self._next
        while self._dates[self._next] < day:
            self._result.skipped.append(self._dates[self._next])
            self._next += 1
        return self._next > since

    def _renew_from(self, day: date) -> None:
        """Make the day of the resumption the next renewal date, because a renewal date has passed during the pause."""
        its, last = self._subscriber, self._dates[-1]
        fits = day.day == its.anchor or (day.day < its.anchor and (day + timedelta(days=1)).day == 1)
        anchor = its.anchor if fits else day.day
        self._dates = (*self._dates[: self._next], *renewal_dates(day, its.interval, its.count, anchor, last))

    def _note_due(self, day: date) -> None:
        ends = self._cancel_at is not None and day >= self._cancel_at
        if day in self._dates and not (self._paused or self._canceled or ends):
            self._came_due.add(day)

    def _remind(self, day: date) -> None:
        """Record the price that today's reminder names, because the named price is charged.

        A reminder names a changed price only until _NOTICE_DAYS before the renewal, but a lower price until the day
        before the renewal. A bounced mail names no price.
        """
        period, after = self._dates[self._next : self._next + 2]
        days_left = (period - day).days
        if (after - period).days < _LONG_PERIOD or not 0 < days_left <= _REMINDED_DAYS:
            return
        live = not (self._paused or self._canceled or self._refused)
        mailed = self._story.sweeps(day) > 0 and self._story.has_mailbox(self._subscriber, day)
        if not live or not mailed or (self._cancel_at is not None and self._cancel_at <= period):
            return
        named, now = self._named.get(period), self._price
        lower = named is not None and now.currency == named.currency and now.minor < named.minor
        if named is None or lower or days_left >= _NOTICE_DAYS:
            self._named[period] = now

    def _would_be_charged(self, day: date) -> tuple[date, tuple[int, str]] | None:
        """Return the period that a request of this day charges or has refused, with the period's cost."""
        if self._refused is not None:
            return self._refused.period, self._refused.cost
        if self._paused or self._canceled:
            return None
        last = day if self._cancel_at is None else min(day, self._cancel_at - timedelta(days=1))
        due = self._dates[self._next : bisect_right(self._dates, last)]
        if not due:
            return None
        period = due[0] if self._subscriber.catch_up == "each" else due[-1]
        price = self._named.get(period, self._price)
        return period, (price.minor, price.currency)

    def _accept(self, charge: Charged, day: date, *, asked: bool, by_the_queue: bool = True) -> bool:
        """Record a charge with its faults. Returns whether a request of the product made the charge.

        by_the_queue: whether the charge may come from the queue's retry of a message that failed on a day of trouble.
        """
        period, cost = charge.period, (charge.amount, charge.currency)
        charges = self._result.charged.setdefault(period, [])
        charges.append(charge)
        self._latest = charge.payment
        if len(charges) > 1:
            self.fault("doubled", period, f"charged {len(charges)} times, last on {day}")
            return False
        by_customer = self._confirmed and self._refused is not None and period == self._refused.period
        right = self._would_be_charged(day)
        allowed = dict(self._maybe) | ({right[0]: right[1]} if right else {})
        if period not in allowed:
            self.fault("wrong", period, f"charged on {day}, although {right[0] if right else 'nothing'} was due")
        elif cost != allowed[period]:
            self.fault("wrong", period, f"charged {cost} instead of {allowed[period]} on {day}")
        elif self._behaviour != "good" and not by_customer:
            self.fault("wrong", period, f"charged on {day} although the card is {self._behaviour}")
        elif not (asked or by_customer or (by_the_queue and period in self._maybe)):
            self.fault("wrong", period, f"charged on {day}, although nobody asked")
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
        """Record that the due period may have been claimed on a day of trouble; nothing more is certain.

        confirmed: whether the bank may still be deciding about the payment.
        """
        claimable = self._would_be_charged(day)
        if claimable is not None:
            self._maybe[claimable[0]] = claimable[1]
            if confirmed:
                self._deciding.add(claimable[0])

    def _withdraw(self) -> None:
        """Forget the periods that were possibly claimed, except periods whose payment the bank may be deciding about. A
        claimed period is not charged any more after a pause or a cancellation.
        """
        self._maybe = {period: cost for period, cost in self._maybe.items() if period in self._deciding}

    def _require(self, day: date, requests: int) -> None:
        """Apply a number of undisturbed requests. Every request must have charged the due period."""
        for _ in range(requests):
            wanted = self._would_be_charged(day)
            if wanted is None:
                return
            period, cost = wanted
            owed = self._refused is None or self._refused.is_tried_on(day, self._card)
            if owed and self._behaviour == "good":
                self._miss(day, period, cost)
                continue
            if self._refused is None:
                next_date = day + timedelta(days=DUNNING_DAYS[0])
                self._refused = _Refused(period, cost, day, self._card, self._behaviour, next_date)
                self._result.refused[period] = day
                self._maybe.clear()
            elif self._pass_day(self._refused, day):
                self._result.given_up.append(period)
                self._refused, self._canceled = None, True

    def _miss(self, day: date, period: date, cost: tuple[int, str]) -> None:
        """Record that a period was not charged, although the period must have been charged."""
        if period not in self._missed:
            self.fault("missed", period, f"not charged on {day}, although the sweep ran undisturbed")
        self._missed.add(period)
        self._maybe[period] = cost  # a later charge of the period is not a second fault

    def _pass_day(self, refused: _Refused, day: date) -> bool:
        """Record a day without payment. Returns whether dunning is over."""
        warned, held = refused.warned, refused.held
        over = refused.is_over_after(day, mailbox=self._story.has_mailbox(self._subscriber, day))
        if refused.warned and not warned:
            self._result.warned[refused.period] = refused.next
        if refused.held and not held:
            self._result.held.append(refused.period)
        return over


class _Undisturbed(_Walk):
    """A walk that charges each period as soon as the period must be charged."""

    def __init__(self, subscriber: Subscriber, story: Story) -> None:
        super().__init__(subscriber, story)
        self.charges: list[Charged] = []

    def _act(self, action: object, day: date) -> None:
        super()._act(action, day)
        if self._confirmed and self._refused is not None:
            self._miss(day, self._refused.period, self._refused.cost)

    def _miss(self, day: date, period: date, cost: tuple[int, str]) -> None:
        made = Charged(day, period, *cost, f"pi_{self._subscriber.id}_{len(self.charges)}")
        self.charges.append(made)
        self._accept(made, day, asked=True)
