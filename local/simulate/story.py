"""The events of the simulated year: the subscriptions, the actions of the customers, and the failures.

All events are drawn in advance from the seed, with a separate source of random numbers for every subscriber. A seed
therefore always tells the same story, however fast the machine is. This module knows nothing about the product.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import cached_property
from itertools import pairwise
from random import Random
from typing import Any

from local.cuts import Moment
from local.simulate.dates import month_day, renewal_dates

FIRST_DAY = date(2024, 2, 20)
"""The 29 February is nine days away; the clock changes of 10 and 31 March follow soon after."""

DUNNING_DAYS = (1, 3, 5, 7)
"""The parameter of the simulated stack: days after the first attempt."""

_MOST_UNMAILED = 8
"""At most this many periods of a subscription are charged while the customer's mailbox is missing. The product looks
for waiting mails only in the latest ten periods."""

_LATE = 60
"""Only around renewals in this many days before the calm end (Story.calm_from), a mailbox vanishes for ever: the row's
address is never corrected."""

_SHORT = 100
"""In a story of fewer days, every renewal is twice as eventful."""

_WINDOW = DUNNING_DAYS[-1] + 2
"""Days after a refusal until the outcome is final. The calm at the end of the story lasts as long."""


@dataclass(frozen=True)
class Price:
    """A price. amount: major units, as in a row; minor: the whole number for the gateway."""

    amount: str
    currency: str
    minor: int


@dataclass(frozen=True)
class CardBehaves:
    """Changes the behaviour of the saved card from now on.

    behaviour: good; no_money and declined, a soft decline; lost and expired, a hard decline; asks, a payment that needs
    3-D Secure; detached, a card that the customer has removed at the gateway.
    """

    behaviour: str


@dataclass(frozen=True)
class NewCard:
    """The customer saves a new, good card, and the row names the new card."""


@dataclass(frozen=True)
class Confirm:
    """The customer completes 3-D Secure for the waiting payment."""


@dataclass(frozen=True)
class Pause:
    """The subscription is paused."""


@dataclass(frozen=True)
class Resume:
    """The subscription is resumed."""


@dataclass(frozen=True)
class Cancel:
    """The subscription is canceled: at once, or at the given renewal date, the end of a period."""

    at: date | None = None


@dataclass(frozen=True)
class Reprice:
    """The subscription has a new price from now on."""

    price: Price


@dataclass(frozen=True)
class Moved:
    """Somebody writes a different renewal date into the row by hand."""

    to: date


@dataclass(frozen=True)
class ChangeInterval:
    """The subscription renews at a different interval from the next renewal date on."""

    interval: str
    count: int


@dataclass(frozen=True)
class RefundElsewhere:
    """Somebody refunds half of the customer's latest payment in the gateway's dashboard."""


@dataclass(frozen=True)
class RefundFails:
    """The refund made in the dashboard fails: the gateway reports the failure days later."""


@dataclass(frozen=True)
class Webhooks:
    """A number of signed webhooks, sent at once. The webhooks name the given outdated price, or without a price the
    subscription's current price.
    """

    copies: int
    price: Price | None = None


@dataclass(frozen=True)
class GatewayTrouble:
    """The gateway fails for a number of calls about this customer, at most until the end of the day. mode: a hostile
    mode of local.gateway.hostile.
    """

    mode: str
    operation: str
    calls: int
    seconds: float | None = None


@dataclass(frozen=True)
class Killed:
    """A function working for this subscription is killed at AWS call number `call`."""

    function: str
    call: int
    moment: Moment


_HARMLESS = (Webhooks, Pause, Resume, Cancel, Reprice, Moved, ChangeInterval)
type Action = (
    CardBehaves
    | NewCard
    | Confirm
    | Pause
    | Resume
    | Cancel
    | Reprice
    | Moved
    | ChangeInterval
    | RefundElsewhere
    | RefundFails
    | Webhooks
    | GatewayTrouble
    | Killed
)


@dataclass(frozen=True)
class Vanished:
    """A mailbox that is missing from the day `since` on: every mail to `address` bounces.

    corrected: the day on which the row gets the new address `then`, and somebody requests the undelivered mails; None
    if never.
    """

    address: str
    since: date
    corrected: date | None
    then: str

    def is_missed_on(self, day: date) -> bool:
        """Tell whether the row names the missing mailbox on that day."""
        return self.since <= day and (self.corrected is None or day < self.corrected)


@dataclass(frozen=True)
class Subscriber:
    """A subscription with all its events.

    Attributes:
        first: the first renewal date.
        created: the day on which the row is written.
        refused_within: the days from each refusal on, until the refusal can have no more effect. On such days, the
            sweep runs once more if the subscription renews by days or weeks.
        changed: the changes of the interval, each with the renewal date of the change.
    """

    id: str
    name: str
    email: str
    plan: str
    interval: str
    count: int
    anchor: int
    names_anchor: bool
    first: date
    created: date
    catch_up: str
    price: Price
    actions: Mapping[date, tuple[Action, ...]]
    refused_within: frozenset[date]
    changed: tuple[tuple[date, ChangeInterval], ...] = ()

    @property
    def customer_id(self) -> str:
        return f"cus-{self.id}"

    def dates(self, last: date) -> tuple[date, ...]:
        """Return the renewal dates up to `last`, considering no events except changes of the interval."""
        first, interval, count, anchor = self.first, self.interval, self.count, self.anchor
        dates: list[date] = []
        for since, change in self.changed:
            dates += [day for day in renewal_dates(first, interval, count, anchor, last) if day < since]
            # The first date of the new interval keeps the anchor, or sets a new anchor: see _kept.
            first, interval, count, anchor = since, change.interval, change.count, _kept(anchor, since)
        return tuple(dates + list(renewal_dates(first, interval, count, anchor, last)))

    def is_declined_on(self, due: date) -> bool:
        """Tell whether the card is declined on the renewal date `due`, in a subscription whose next renewal date comes
        after the end of dunning.
        """
        behaviours = {action.behaviour for action in self.actions.get(due, ()) if isinstance(action, CardBehaves)}
        return self.interval in ("month", "year") and not behaviours.isdisjoint((*_SOFT, *_HARD, "detached"))

    def is_untroubled(self, first: date, last: date, *, but: date | None = None) -> bool:
        """Tell whether nothing goes wrong from `first` to `last`. but: the day of a refusal that does not count."""
        its = frozenset(but + timedelta(days=n) for n in range(_WINDOW + 8)) if but else frozenset()
        refused = any(first <= day <= last for day in self.refused_within - its)
        wrong = any(
            first - timedelta(days=3) <= day <= last and day not in its and not isinstance(action, _HARMLESS)
            for day, actions in self.actions.items()
            for action in actions
        )
        return not (refused or wrong)


@dataclass(frozen=True)
class Story:
    """A run of the simulation. run: the first part of every id, so that several runs can share a stack."""

    seed: int
    days: int
    subscriptions: int
    run: str = "sim"

    @cached_property
    def calendar(self) -> tuple[date, ...]:
        return tuple(FIRST_DAY + timedelta(days=n) for n in range(self.days))

    @cached_property
    def down(self) -> frozenset[date]:
        """The days without a sweep: a few in a row, every month or two, none at the end."""
        random, down, day = _drawn_from(self.seed, "downtime"), set[date](), FIRST_DAY + timedelta(days=8)
        while day < self.calm_from - timedelta(days=8):
            length = random.randint(1, 6)
            down |= {day + timedelta(days=n) for n in range(length)}
            day += timedelta(days=length + random.randint(20, 70))
        return frozenset(down)

    @cached_property
    def off(self) -> frozenset[date]:
        """The days on which charging is turned off: a few in a row every two or three months, none next to downtime.

        Charging is turned off in the middle of renewals on the first day, and turned on in the middle of a sweep on the
        day after the last. The first day is chosen among fourteen days: the most renewals are under way on that day.
        """
        random, off, day = _drawn_from(self.seed, "switch"), set[date](), FIRST_DAY + timedelta(days=9)
        while True:
            length, pause = random.randint(2, 5), random.randint(50, 80)
            begins = [
                first
                for first in (day + timedelta(days=n) for n in range(14))
                if first < self.calm_from - timedelta(days=8)
                and self.down.isdisjoint(first + timedelta(days=n) for n in range(length + 1))
            ]
            if not begins:
                return frozenset(off)
            first = max(begins, key=lambda begin: len(_caught(self._drafted, begin)))
            off |= {first + timedelta(days=n) for n in range(length)}
            day = first + timedelta(days=length + pause)

    @cached_property
    def silent(self) -> frozenset[date]:
        """The days on which the team's application is down and hears nothing: two to four in a row every few weeks,
        none at the end.
        """
        random, silent, day = _drawn_from(self.seed, "application"), set[date](), FIRST_DAY + timedelta(days=6)
        while day < self.calm_from - timedelta(days=4):
            length = random.randint(2, 4)
            silent |= {day + timedelta(days=n) for n in range(length)}
            day += timedelta(days=length + random.randint(15, 35))
        return frozenset(silent)

    @cached_property
    def stopped(self) -> frozenset[date]:
        """The days without charges, and the days on which the delayed renewals are caught up."""
        return frozenset(day + timedelta(days=n) for day in self.down | self.off for n in (0, 1))

    @cached_property
    def audited(self) -> frozenset[date]:
        """The days on which somebody refunds a payment in the gateway's dashboard, or such a refund fails. The audit
        runs in the evening of each such day.
        """
        return frozenset(
            day
            for subscriber in self.subscribers
            for day, actions in subscriber.actions.items()
            if any(isinstance(action, RefundElsewhere | RefundFails) for action in actions)
        )

    def is_turned_off_on(self, day: date) -> bool:
        return day in self.off and day - timedelta(days=1) not in self.off

    def is_turned_on_on(self, day: date) -> bool:
        return day not in self.off and day - timedelta(days=1) in self.off

    def caught(self, day: date) -> tuple["Subscriber", ...]:
        """Return the subscribers whose renewals are under way when charging is turned off on `day`: the subscribers
        that are due on `day`, and meet no other event on `day`.
        """
        return _caught(self.subscribers, day)

    def seconds_in(self, day: date) -> float:
        """Return the seconds between the start of the day's renewals and turning charging off or on."""
        return _drawn_from(self.seed, f"switch on {day}").uniform(0, 0.6)

    @cached_property
    def killed_sweeps(self) -> Mapping[date, tuple[int, Moment]]:
        """The days on which a part of the sweep is killed, with the call's number and the moment (before or after the
        call).
        """
        random = _drawn_from(self.seed, "sweeps")
        drawn = {day: (random.randint(1, 4), random.choice(_MOMENTS)) for day in self.calendar}
        return {day: cut for day, cut in drawn.items() if random.random() < 0.05 and day < self.calm_from}

    @cached_property
    def unreadable(self) -> frozenset[date]:
        """The days on which an unreadable message lies in the queue and fails at every attempt."""
        random = _drawn_from(self.seed, "unreadable")
        drawn = {day for day in self.calendar if random.random() < 0.15}
        return frozenset(day for day in drawn if day < self.calm_from and day not in self.down | self.off)

    @cached_property
    def _drafted(self) -> tuple[Subscriber, ...]:
        return tuple(_Draft(self, number).subscriber() for number in range(self.subscriptions))

    @cached_property
    def subscribers(self) -> tuple[Subscriber, ...]:
        """The drafted subscribers, with some cards removed at the gateway, rows edited by hand, and outside refunds.

        The additions are drawn after the rest of the story, from random numbers of their own: the rest of the story
        would be the same without the additions.
        """
        sources = (_drawn_from(self.seed, f"{number}/by hand") for number in range(self.subscriptions))
        return tuple(
            _refunded(_edited(_removed_cards(subscriber, random), random, self), random, self)
            for subscriber, random in zip(self._drafted, sources, strict=True)
        )

    @cached_property
    def vanished(self) -> Mapping[str, tuple[Vanished, ...]]:
        """The mailboxes that vanish, for every subscription in the order of the days. A mailbox vanishes only near a
        renewal that meets no failure, or no other failure than a declined card.

        The mailboxes are drawn after the rest of the story, from random numbers of their own: the rest of the story
        would be the same without missing mailboxes.
        """
        return {
            subscriber.id: tuple(self._vanished(subscriber, _drawn_from(self.seed, f"{number}/mail")))
            for number, subscriber in enumerate(self.subscribers)
        }

    def _vanished(self, subscriber: Subscriber, random: Random) -> Iterator[Vanished]:
        often = _often(subscriber.interval, self.days)
        address, free_from = subscriber.email, subscriber.created + timedelta(days=1)
        for due in subscriber.dates(self.calm_from):
            lot, earlier, patience = random.random() / often, random.randint(0, 9), random.choice((2, 5, 12, 40))
            declined = subscriber.is_declined_on(due)
            # If the card is declined, the mailbox vanishes at the latest on the day after the final notice.
            latest = due + timedelta(days=DUNNING_DAYS[-2] + 1 if declined else 0)
            since = self._ordinary_from(max(free_from, latest - timedelta(days=earlier)))
            if lot > (0.5 if declined else 0.2) or since > latest:
                continue
            late, but = due > self.calm_from - timedelta(days=_LATE), due if declined else None
            if lot < 0.06 and late and subscriber.is_untroubled(since, self.calendar[-1], but=but):
                yield Vanished(address, since, None, address)
                return
            patience = 12 if declined else patience
            corrected = self._ordinary_from(max(since, due) + timedelta(days=random.randint(1, patience)))
            over = corrected + timedelta(days=_WINDOW if declined else 0)
            periods = sum(since <= day for day in subscriber.dates(over))
            fits = over in self.calendar and periods <= (1 if declined else _MOST_UNMAILED)
            if fits and subscriber.is_untroubled(since, over, but=but):
                then = f"{subscriber.id}-{corrected:%m%d}@customers.example"
                yield Vanished(address, since, corrected, then)
                address, free_from = then, corrected + timedelta(days=1)

    def _ordinary_from(self, day: date) -> date:
        """Return the first ordinary day, `day` or later. On an ordinary day and on the day before, a sweep runs and
        charging is on.
        """
        stopped = self.down | self.off
        while {day, day - timedelta(days=1)} & stopped:
            day += timedelta(days=1)
        return day

    def vanished_by(self, day: date) -> frozenset[str]:
        """Return the addresses that accept no mail on that day."""
        return frozenset(gone.address for each in self.vanished.values() for gone in each if gone.since <= day)

    def asked_for_mails(self, day: date) -> Iterator[tuple["Subscriber", int]]:
        """Yield each subscriber whose address is corrected on `day`, with the number of periods whose mails may wait
        for the new address.
        """
        for subscriber in self.subscribers:
            for gone in self.vanished[subscriber.id]:
                if gone.corrected == day:
                    yield subscriber, max(1, sum(gone.since <= due for due in subscriber.dates(day)))

    def has_mailbox(self, subscriber: Subscriber, day: date) -> bool:
        """Tell whether mail to the row's address arrives on that day."""
        return not any(gone.is_missed_on(day) for gone in self.vanished.get(subscriber.id, ()))

    def addresses(self, subscriber: Subscriber) -> tuple[str, ...]:
        """Return all addresses of the row, in order."""
        return (subscriber.email, *(gone.then for gone in self.vanished[subscriber.id] if gone.corrected))

    @cached_property
    def troubled(self) -> frozenset[date]:
        """The days with a failure for at least a single subscriber."""
        return frozenset(
            day
            for subscriber in self.subscribers
            for day, actions in subscriber.actions.items()
            if any(isinstance(action, GatewayTrouble | Killed) for action in actions)
        ) | frozenset(self.killed_sweeps)

    def sweeps(self, day: date) -> int:
        """Return the number of sweeps on that day.

        The result is 0 on a day of downtime and 1 while charging is off. After such days, every delayed day adds a
        sweep, because a sweep renews a single period of each subscription.
        """
        if day in self.down:
            return 0
        if day in self.off:
            return 1
        before = day
        while before - timedelta(days=1) in self.down | self.off:
            before -= timedelta(days=1)
        piled_up = (day - before).days
        refused = any(day in s.refused_within and s.interval in ("day", "week") for s in self.subscribers)
        # Yesterday the bank left a payment undecided. The first sweep of today records the bank's decision, and the
        # next sweep renews the period that is due today.
        decided = day - timedelta(days=1) in self.processing
        return 1 + piled_up + (refused or decided)

    @cached_property
    def processing(self) -> frozenset[date]:
        """The days on which the bank leaves a payment undecided until the next day."""
        return frozenset(
            day
            for subscriber in self.subscribers
            for day, actions in subscriber.actions.items()
            if any(isinstance(action, GatewayTrouble) and action.mode == "processing" for action in actions)
        )

    @property
    def calm_from(self) -> date:
        """The first day of the calm end: without new events, everything comes to an end."""
        return FIRST_DAY + timedelta(days=self.days - _WINDOW)


_NAMES = (
    "Ann Lee", "José Núñez", "Zoë Ångström", "Иван Петров", "Ελένη Παπαδοπούλου", "محمد الأحمد", "שרה כהן", "山田太郎",
    "王小明", "陳大文", "김민준", "Nguyễn Thị Hương", "Łukasz Żółć", "O'Brien & Sons <Ltd>", "𠮷田花子", "Çağla Şahin",
)  # fmt: skip
_PLANS = ("Pro", "Größe L", "スタンダードプラン", "Базовый", "الخطة", "Team, 5 seats")
_PRICES = (
    Price("29.99", "USD", 2999), Price("49.9", "EUR", 4990), Price("0.5", "USD", 50), Price("1980", "JPY", 1980),
    Price("9900", "KRW", 9900), Price("5.25", "KWD", 5250), Price("12.34", "BHD", 12340), Price("19", "GBP", 1900),
    Price("2500", "ISK", 250000), Price("123456.78", "EUR", 12345678), Price("99", "CHF", 9900),
)  # fmt: skip
_INTERVALS = (
    ("month", 1), ("month", 3), ("month", 6), ("year", 1), ("week", 1), ("week", 2), ("day", 1), ("day", 10),
)  # fmt: skip
_WEIGHTS = (60, 8, 4, 10, 5, 5, 1, 7)
_TROUBLES = (
    GatewayTrouble("429", "*", 2), GatewayTrouble("503", "*", 1000), GatewayTrouble("500", "payment_intents.create", 1),
    GatewayTrouble("500", "payment_intents.confirm", 2), GatewayTrouble("500_after", "payment_intents.create", 1),
    GatewayTrouble("500_after", "payment_intents.confirm", 1), GatewayTrouble("drop_before", "*", 2),
    GatewayTrouble("drop_after", "payment_intents.create", 1),
    GatewayTrouble("drop_after", "payment_intents.confirm", 1),
    GatewayTrouble("drop_after", "payment_intents.confirm", 1000),
    GatewayTrouble("slow", "payment_intents.confirm", 1, seconds=1), GatewayTrouble("429", "*", 1000),
    GatewayTrouble("slow", "payment_intents.confirm", 1, seconds=5),
    GatewayTrouble("processing", "payment_intents.confirm", 1, seconds=20 * 3600),
    GatewayTrouble("processing", "payment_intents.confirm", 1, seconds=20 * 3600),
)  # fmt: skip
# The numbers of the AWS calls at which a function may be killed. The eighth call of process-payment records the
# payment: a crash there is the most dangerous, and number 8 is drawn as often as all other numbers together.
_CALLS = {
    "process-payment": (1, 3, 5, 6, 8, 8, 8, 8),
    "generate-receipt": (1, 2, 3),
    "send-email": (1, 2, 3, 4, 5),
    "renewal-worker": (1,),
}
_MOMENTS: tuple[Moment, ...] = ("before", "after")
_SOFT, _HARD = ("no_money", "no_money", "declined"), ("lost", "expired")


class _Draft:
    """Draws a subscriber, from one renewal date to the next."""

    def __init__(self, story: Story, number: int) -> None:
        self._random = _drawn_from(story.seed, str(number))
        self._story = story
        self._number = number
        self._last = story.calendar[-1]
        self._calm_from = story.calm_from
        self._actions: defaultdict[date, list[Action]] = defaultdict(list)
        self._refused: set[date] = set()
        self._quiet_until = FIRST_DAY
        self._price = self._random.choice(_PRICES)
        self._dates: tuple[date, ...] = ()

    def subscriber(self) -> Subscriber:
        draw = self._random
        interval, count = draw.choices(_INTERVALS, _WEIGHTS)[0]
        created = FIRST_DAY + timedelta(days=draw.choice((0, 0, draw.randrange(max(1, self._story.days // 2)))))
        span = {"day": 1, "week": 7, "month": 28, "year": 300}[interval] * count
        room = max(1, (self._calm_from - created).days - 2)
        first = created + timedelta(days=draw.randrange(min(span, room)))
        anchor, names_anchor = first.day, draw.random() < 0.3
        if interval in ("month", "year") and draw.random() < 0.4:
            first, anchor = _month_end(first, draw.choice((29, 30, 31)), created, self._calm_from)
            names_anchor = first.day != anchor or names_anchor
        price = self._price
        self._dates = tuple(renewal_dates(first, interval, count, anchor, self._last))
        for due in self._dates:
            if created < due and self._quiet_until < due < self._calm_from and not self._befall(due, interval):
                break
        identity = f"{self._story.run}-{self._number:04}"
        return Subscriber(
            id=identity,
            name=draw.choice(_NAMES),
            email=f"{identity}@customers.example",
            plan=draw.choice(_PLANS),
            interval=interval,
            count=count,
            anchor=anchor,
            names_anchor=names_anchor,
            first=first,
            created=created,
            catch_up=draw.choice(("latest", "latest", "each")),
            price=price,
            actions={day: tuple(actions) for day, actions in self._actions.items()},
            refused_within=frozenset(self._refused),
        )

    def _befall(self, due: date, interval: str) -> bool:
        """Draw the events around a renewal date. Returns False if the subscription ends."""
        lot = self._random.random() / _often(interval, self._story.days)
        if lot < 0.11:
            return self._refusal(due, interval)
        if lot < 0.25:
            self._trouble(due)
        elif lot < 0.35:
            self._webhooks(due)
        elif lot < 0.38:
            return self._pause(due)
        elif lot < 0.405:
            self._at(self._before(due), Cancel())
            self._late_webhook(due + timedelta(days=1), None)
            return False
        elif lot < 0.42:
            self._at(self._before(due), Cancel(at=due))
            self._late_webhook(due, None)
            return False
        elif lot < 0.46:
            self._reprice(due)
        return True

    def _refusal(self, due: date, interval: str) -> bool:
        draw = self._random
        asks = interval in ("month", "year") and draw.random() < 0.3
        behaviour = "asks" if asks else draw.choice(_SOFT + _HARD)
        self._at(due, CardBehaves(behaviour))
        self._refused |= {due + timedelta(days=n) for n in range(_WINDOW + 8)}
        self._quiet_until = due + timedelta(days=_WINDOW)
        lot, repaired_on = draw.random(), due + timedelta(days=draw.randint(1, 6))
        if lot < 0.25:
            if lot < 0.07:
                self._at(due + timedelta(days=2), Cancel())
            return False
        if asks and lot < 0.7:
            self._at(repaired_on, Confirm())
            self._at(repaired_on + timedelta(days=1), CardBehaves("good"))
        elif behaviour in _SOFT and lot < 0.7:
            self._at(repaired_on, CardBehaves("good"))
        else:
            self._at(repaired_on, NewCard())
        return True

    def _trouble(self, due: date) -> None:
        draw = self._random
        if draw.random() < 0.6:
            self._at(due, draw.choice(_TROUBLES))
        else:
            function = draw.choice(tuple(_CALLS))
            self._at(due, Killed(function, draw.choice(_CALLS[function]), draw.choice(_MOMENTS)))
        if draw.random() < 0.3:
            self._at(due, Webhooks(draw.randint(1, 3)))
        self._quiet_until = due + timedelta(days=2)

    def _webhooks(self, due: date) -> None:
        self._at(due, Webhooks(self._random.choice((1, 1, 2, 3))))
        self._late_webhook(due + timedelta(days=self._random.randint(1, 5)), None)

    def _late_webhook(self, day: date, price: Price | None) -> None:
        """Add a webhook that nobody needs, because the day's sweep starts the renewals that are due. On a day without a
        sweep, the webhook itself would start a renewal: no webhook is added on such a day.
        """
        if day in self._story.calendar and day not in self._story.down:
            self._at(day, Webhooks(1, price))
            self._quiet_until = max(self._quiet_until, day)

    def _pause(self, due: date) -> bool:
        """Pause, and resume on a later renewal date.

        On the day of the resumption, the row's renewal date is the same day: on the day before, the sweep moved the
        date past the periods of the pause. Resuming on a different day would move the renewal date to the different
        day. A day is therefore left out if no sweep runs on the day or on the day before.
        """
        paused_on = self._before(due)
        later = due + timedelta(days=self._random.randint(2, 40))
        stopped = {day + timedelta(days=n) for day in self._story.down for n in (0, 1)}
        resumed_on = next((day for day in self._dates if day >= later and day not in stopped), self._calm_from)
        self._at(paused_on, Pause())
        if resumed_on >= self._calm_from:
            return False
        self._at(resumed_on, Resume())
        self._quiet_until = resumed_on
        return True

    def _reprice(self, due: date) -> None:
        before, price = self._price, self._random.choice(_PRICES)
        self._at(self._before(due), Reprice(price))
        self._price = price
        self._late_webhook(due, before if before != price else None)
        self._quiet_until = max(self._quiet_until, due)

    def _before(self, due: date) -> date:
        """Draw a day up to three days before `due`, after all earlier events."""
        earliest = max(self._quiet_until + timedelta(days=1), due - timedelta(days=3))
        return due - timedelta(days=self._random.randint(0, (due - earliest).days))

    def _at(self, day: date, action: Action) -> None:
        self._actions[day].append(action)


def _caught(subscribers: Iterable[Subscriber], day: date) -> tuple[Subscriber, ...]:
    return tuple(
        s
        for s in subscribers
        if s.created < day and day in s.dates(day) and day not in s.actions and day not in s.refused_within
    )


def _removed_cards(subscriber: Subscriber, random: Random) -> Subscriber:
    """Change half of the hard declines: the card is not lost or expired, but removed by the customer at the gateway."""

    def removed(action: Action) -> Action:
        refused = isinstance(action, CardBehaves) and action.behaviour in _HARD
        return CardBehaves("detached") if refused and random.random() < 0.5 else action

    actions = {day: tuple(map(removed, happens)) for day, happens in subscriber.actions.items()}
    return replace(subscriber, actions=actions)


def _edited(subscriber: Subscriber, random: Random, story: Story) -> Subscriber:
    """Add edits by hand.

    Between uneventful renewals, the renewal date is moved back into a paid period, and corrected some days later. After
    the last event, some subscriptions renew weekly for a while.
    """
    actions = {day: list(happens) for day, happens in subscriber.actions.items()}
    dates = subscriber.dates(story.calm_from)
    for paid, following in pairwise(dates):
        room = (following - paid).days
        if room < 20 or random.random() > 0.15 or not subscriber.is_untroubled(paid, following):
            continue
        on = paid + timedelta(days=random.randint(3, 8))
        if any(paid <= day <= following for day in actions) or not story.stopped.isdisjoint({paid, on}):
            continue
        actions[on] = [Moved(paid + timedelta(days=random.randint(1, (on - paid).days)))]
        actions[on + timedelta(days=random.randint(1, 5))] = [Moved(following)]
    return _renewed_by_the_week(replace(subscriber, actions=_frozen(actions)), random, story)


def _refunded(subscriber: Subscriber, random: Random, story: Story) -> Subscriber:
    """Refund some payments in part in the gateway's dashboard. Some of the refunds fail days later."""
    actions = {day: list(happens) for day, happens in subscriber.actions.items()}
    for paid in subscriber.dates(story.calm_from - timedelta(days=_WINDOW)):
        on, fails = paid + timedelta(days=random.randint(1, 3)), random.random() < 0.5
        over = on + timedelta(days=random.randint(2, 5))
        free = not any(paid <= day <= over for day in actions) and subscriber.is_untroubled(paid, over)
        if random.random() < 0.12 and free and subscriber.interval in ("month", "year"):
            actions[on] = [RefundElsewhere()]
            if fails:
                actions[over] = [RefundFails()]
    return replace(subscriber, actions=_frozen(actions))


def _renewed_by_the_week(subscriber: Subscriber, random: Random, story: Story) -> Subscriber:
    """Let most monthly subscriptions renew weekly for four weeks, and then monthly again. The monthly renewals after
    the four weeks fall on a different day of the month.
    """
    quiet_from = max((*subscriber.actions, *subscriber.refused_within, subscriber.created)) + timedelta(days=2)
    dates = [day for day in subscriber.dates(story.calm_from) if day > quiet_from]
    ended = any(isinstance(a, Cancel | Pause) for happens in subscriber.actions.values() for a in happens)
    if ended or subscriber.interval != "month" or len(dates) < 3 or random.random() > 0.8:
        return subscriber
    weekly, monthly = ChangeInterval("week", 1), ChangeInterval("month", subscriber.count)
    again = dates[1] + timedelta(weeks=4)
    before, before_again = dates[1] - timedelta(days=2), again - timedelta(days=2)
    if again >= story.calm_from or not story.stopped.isdisjoint({dates[0], before, before_again}):
        return subscriber
    actions = {day: list(happens) for day, happens in subscriber.actions.items()}
    actions[before], actions[before_again] = [weekly], [monthly]
    return replace(subscriber, actions=_frozen(actions), changed=((dates[1], weekly), (again, monthly)))


def _frozen(actions: Mapping[date, list[Action]]) -> dict[date, tuple[Action, ...]]:
    return {day: tuple(happens) for day, happens in actions.items()}


def _kept(anchor: int, day: date) -> int:
    """Return the anchor of the renewals from `day` on. If `day` is the date of the old `anchor` in its month, the
    anchor stays the same; otherwise the day of the month of `day` is the new anchor.
    """
    return anchor if month_day(day, anchor) == day else day.day


def _often(interval: str, days: int) -> float:
    """Return a factor for the probability of events around a renewal: 1 for a monthly renewal in a long story."""
    return {"day": 0.15, "week": 0.5}.get(interval, 1.0) * (2 if days < _SHORT else 1)


def _drawn_from(seed: int, what: str) -> Random:
    return Random(f"{seed}/{what}")  # noqa: S311 - must be repeatable, need not be secret


def _month_end(first: date, anchor: int, earliest: date, before: date) -> tuple[date, int]:
    """Return a first renewal date that falls on `anchor`, and the anchor. The date lies in the month of `first` or in
    the next month. If neither date lies from `earliest` on and before `before`, return `first` and its own day of the
    month.
    """
    for month in (first.replace(day=1), (first.replace(day=1) + timedelta(days=31)).replace(day=1)):
        last = (month + timedelta(days=31)).replace(day=1) - timedelta(days=1)
        day = min(month + timedelta(days=anchor - 1), last)
        if earliest <= day < before:
            return day, anchor
    return first, first.day


def gateway_rule(trouble: GatewayTrouble) -> dict[str, Any]:
    """Return the number of failing calls, and the seconds if set, in the form that the sandbox's control expects."""
    rule: dict[str, Any] = {"calls": trouble.calls}
    return rule if trouble.seconds is None else rule | {"seconds": trouble.seconds}
