"""The simulated year: all subscribers, and the days on which parts of the system stand still.

All events of the year are drawn in advance from the seed, with a separate source of random numbers for every
subscriber. A seed therefore always tells the same story, however fast the machine is. This module knows nothing about
the product.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from random import Random

from local.cuts import Moment
from local.simulate.drafts import MOMENTS, caught_by, drafted, drawn_from, how_often, with_additions
from local.simulate.happenings import (
    DUNNING_DAYS,
    FIRST_DAY,
    WINDOW,
    GatewayTrouble,
    Killed,
    Subscriber,
    Vanished,
)

_MOST_UNMAILED = 8
"""At most this many periods of a subscription are charged while the customer's mailbox is missing. The product looks
for waiting mails only in the latest ten periods."""

_LATE = 60
"""Only around renewals in this many days before the calm end (Story.calm_from), a mailbox vanishes for ever: the row's
address is never corrected."""


@dataclass(frozen=True)
class Story:
    """A run of the simulation.

    Attributes:
        run: the first part of every id, so that several runs can share a stack.
        keeps_disputed: whether the stack keeps disputed subscriptions.
    """

    seed: int
    days: int
    subscriptions: int
    run: str = "sim"
    keeps_disputed: bool = False

    @property
    def disputed_subscriptions(self) -> str:
        """The stack's parameter DisputedSubscriptions."""
        return "keep" if self.keeps_disputed else "cancel"

    @cached_property
    def calendar(self) -> tuple[date, ...]:
        return tuple(FIRST_DAY + timedelta(days=n) for n in range(self.days))

    @cached_property
    def down(self) -> frozenset[date]:
        """The days without a sweep: a few in a row, every month or two, none at the end."""
        return self._spells("downtime", begins=8, before_the_calm=8, lengths=(1, 6), pauses=(20, 70))

    @cached_property
    def off(self) -> frozenset[date]:
        """The days on which charging is turned off: a few in a row every two or three months, none next to downtime.

        Charging is turned off in the middle of renewals on the first day, and turned on in the middle of a sweep on the
        day after the last. The first day is chosen among fourteen days: the most renewals are under way on that day.
        """
        random, off, day = drawn_from(self.seed, "switch"), set[date](), FIRST_DAY + timedelta(days=9)
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
            first = max(begins, key=lambda begin: len(caught_by(self._drafted, begin)))
            off |= {first + timedelta(days=n) for n in range(length)}
            day = first + timedelta(days=length + pause)

    @cached_property
    def silent(self) -> frozenset[date]:
        """The days on which the team's application is down and hears nothing: two to four in a row every few weeks,
        none at the end.
        """
        return self._spells("application", begins=6, before_the_calm=4, lengths=(2, 4), pauses=(15, 35))

    def _spells(
        self, of: str, *, begins: int, before_the_calm: int, lengths: tuple[int, int], pauses: tuple[int, int]
    ) -> frozenset[date]:
        """Draw spells of several days in a row, and return their days.

        Args:
            of: the name of the random numbers.
            begins: the first spell begins so many days after the story's first day.
            before_the_calm: no spell begins in so many days before the calm end of the story.
            lengths, pauses: the least and the most days of a spell, and between two spells.
        """
        random, found, day = drawn_from(self.seed, of), set[date](), FIRST_DAY + timedelta(days=begins)
        while day < self.calm_from - timedelta(days=before_the_calm):
            length = random.randint(*lengths)
            found |= {day + timedelta(days=n) for n in range(length)}
            day += timedelta(days=length + random.randint(*pauses))
        return frozenset(found)

    @cached_property
    def stopped(self) -> frozenset[date]:
        """The days without charges, and the days on which the delayed renewals are caught up."""
        return frozenset(day + timedelta(days=n) for day in self.down | self.off for n in (0, 1))

    def is_turned_off_on(self, day: date) -> bool:
        return day in self.off and day - timedelta(days=1) not in self.off

    def is_turned_on_on(self, day: date) -> bool:
        return day not in self.off and day - timedelta(days=1) in self.off

    def caught(self, day: date) -> tuple["Subscriber", ...]:
        """Return the subscribers whose renewals are under way when charging is turned off on `day`: the subscribers
        that are due on `day`, and meet no other event on `day`.
        """
        return self._caught[day]

    @cached_property
    def _caught(self) -> Mapping[date, tuple[Subscriber, ...]]:
        return {day: caught_by(self.subscribers, day) for day in self.calendar if self.is_turned_off_on(day)}

    def seconds_in(self, day: date) -> float:
        """Return the seconds between the start of the day's renewals and turning charging off or on."""
        return drawn_from(self.seed, f"switch on {day}").uniform(0, 0.6)

    @cached_property
    def killed_sweeps(self) -> Mapping[date, tuple[int, Moment]]:
        """The days on which a part of the sweep is killed, with the call's number and the moment (before or after the
        call).
        """
        random = drawn_from(self.seed, "sweeps")
        drawn = {day: (random.randint(1, 4), random.choice(MOMENTS)) for day in self.calendar}
        return {day: cut for day, cut in drawn.items() if random.random() < 0.05 and day < self.calm_from}

    @cached_property
    def unreadable(self) -> frozenset[date]:
        """The days on which an unreadable message lies in the queue and fails at every attempt."""
        random = drawn_from(self.seed, "unreadable")
        drawn = {day for day in self.calendar if random.random() < 0.15}
        return frozenset(day for day in drawn if day < self.calm_from and day not in self.down | self.off)

    @cached_property
    def _drafted(self) -> tuple[Subscriber, ...]:
        return tuple(drafted(self, number) for number in range(self.subscriptions))

    @cached_property
    def subscribers(self) -> tuple[Subscriber, ...]:
        """The drafted subscribers, with some cards removed at the gateway, rows edited by hand, outside refunds, and
        disputes.

        The additions are drawn after the rest of the story, from random numbers of their own: the rest of the story
        would be the same without the additions.
        """
        sources = (drawn_from(self.seed, f"{number}/by hand") for number in range(self.subscriptions))
        return tuple(
            with_additions(subscriber, random, self) for subscriber, random in zip(self._drafted, sources, strict=True)
        )

    @cached_property
    def vanished(self) -> Mapping[str, tuple[Vanished, ...]]:
        """The mailboxes that vanish, for every subscription in the order of the days. A mailbox vanishes only near a
        renewal that meets no failure, or no other failure than a declined card.

        The mailboxes are drawn after the rest of the story, from random numbers of their own: the rest of the story
        would be the same without missing mailboxes.
        """
        return {
            subscriber.id: tuple(self._vanished(subscriber, drawn_from(self.seed, f"{number}/mail")))
            for number, subscriber in enumerate(self.subscribers)
        }

    def _vanished(self, subscriber: Subscriber, random: Random) -> Iterator[Vanished]:
        often = how_often(subscriber.interval, self.days)
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
            over = corrected + timedelta(days=WINDOW if declined else 0)
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
        """Return the number of sweeps on a day of the story."""
        return self._sweeps[day]

    @cached_property
    def _sweeps(self) -> Mapping[date, int]:
        return {day: self._sweeps_on(day) for day in self.calendar}

    def _sweeps_on(self, day: date) -> int:
        """Count the sweeps on a day.

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
        # Yesterday the bank left a payment undecided. The first sweep of today records the bank's decision, and the
        # next sweep renews the period that is due today.
        decided = day - timedelta(days=1) in self.processing
        return 1 + piled_up + (day in self._refused_often or decided)

    @cached_property
    def _refused_often(self) -> frozenset[date]:
        """The days on which a refusal may have an effect on a subscription that renews by days or weeks."""
        often = (s.refused_within for s in self.subscribers if s.interval in ("day", "week"))
        return frozenset[date]().union(*often)

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
        return FIRST_DAY + timedelta(days=self.days - WINDOW)
