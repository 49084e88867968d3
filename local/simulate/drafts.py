"""Draws the subscribers of the simulated year, each with all that happens to the subscriber, from random numbers of the
subscriber's own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import date, timedelta
from itertools import pairwise
from random import Random
from typing import TYPE_CHECKING

from local.cuts import Moment
from local.simulate.dates import renewal_dates
from local.simulate.happenings import (
    FIRST_DAY,
    HARD,
    SOFT,
    WINDOW,
    Action,
    BankDecides,
    Cancel,
    CardBehaves,
    ChangeInterval,
    Confirm,
    Contest,
    Contested,
    EndRevoked,
    GatewayTrouble,
    Killed,
    Moved,
    NewCard,
    Pause,
    Price,
    RefundElsewhere,
    RefundFails,
    Reprice,
    Resume,
    Subscriber,
    Webhooks,
)

if TYPE_CHECKING:
    from local.simulate.story import Story

_SHORT = 100
"""In a story of fewer days, every renewal is twice as eventful."""

_NAMES = (
    "Ann Lee", "José Núñez", "Zoë Ångström", "Иван Петров", "Ελένη Παπαδοπούλου", "محمد الأحمد", "שרה כהן", "山田太郎",
    "王小明", "陳大文", "김민준", "Nguyễn Thị Hương", "Łukasz Żółć", "O'Brien & Sons <Ltd>", "𠮷田花子", "Çağla Şahin",
)  # fmt: skip
_PLANS = ("Pro", "Größe L", "スタンダードプラン", "Базовый", "الخطة", "Team, 5 seats")
PRICES = (
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
_CONTESTED = {"active": 0.1, "past due": 0.9, "paused": 0.3, "canceled": 0.05}
"""The probability that a bank contests the latest payment on one of the looked at days, by the subscription's
status."""

_BY = (Contest.CHARGEBACK, Contest.CHARGEBACK, Contest.INQUIRY, Contest.INQUIRY, Contest.INQUIRY, Contest.WARNING)
"""A chargeback ends most subscriptions, and a subscription that has ended has few payments to dispute or refund:
inquiries, of which many end nothing, are therefore more frequent."""
_AROUND_A_DISPUTE = (Webhooks, Reprice, RefundElsewhere, RefundFails, Contested, BankDecides)
"""The actions that may happen around a dispute."""

_EARLY_IN_DUNNING = [timedelta(days=n) for n in range(1, 4)]
MOMENTS: tuple[Moment, ...] = ("before", "after")


def drafted(story: Story, number: int) -> Subscriber:
    """Draw a subscriber. number: the subscriber's number in the story."""
    return _Draft(story, number).subscriber()


def with_additions(subscriber: Subscriber, random: Random, story: Story) -> Subscriber:
    """Remove some cards at the gateway, edit some rows by hand, refund some payments outside this system, and let banks
    contest some payments.
    """
    refunded = _refunded(_edited(_removed_cards(subscriber, random), random, story), random, story)
    return _contested(refunded, random, story)


class _Draft:
    """Draws a subscriber, from one renewal date to the next."""

    def __init__(self, story: Story, number: int) -> None:
        self._random = drawn_from(story.seed, str(number))
        self._story = story
        self._number = number
        self._last = story.calendar[-1]
        self._calm_from = story.calm_from
        self._actions: defaultdict[date, list[Action]] = defaultdict(list)
        self._refused: set[date] = set()
        self._quiet_until = FIRST_DAY
        self._price = self._random.choice(PRICES)
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
        lot = self._random.random() / how_often(interval, self._story.days)
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
        behaviour = "asks" if asks else draw.choice(SOFT + HARD)
        self._at(due, CardBehaves(behaviour))
        self._refused |= {due + timedelta(days=n) for n in range(WINDOW + 8)}
        self._quiet_until = due + timedelta(days=WINDOW)
        lot, repaired_on = draw.random(), due + timedelta(days=draw.randint(1, 6))
        if lot < 0.25:
            if lot < 0.07:
                self._at(due + timedelta(days=2), Cancel())
            return False
        if asks and lot < 0.7:
            self._at(repaired_on, Confirm())
            self._at(repaired_on + timedelta(days=1), CardBehaves("good"))
        elif behaviour in SOFT and lot < 0.7:
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
            self._at(due, Killed(function, draw.choice(_CALLS[function]), draw.choice(MOMENTS)))
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
        before, price = self._price, self._random.choice(PRICES)
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


def caught_by(subscribers: Iterable[Subscriber], day: date) -> tuple[Subscriber, ...]:
    return tuple(
        s
        for s in subscribers
        if s.created < day and day not in s.actions and day not in s.refused_within and day in s.dates(day)
    )


def _removed_cards(subscriber: Subscriber, random: Random) -> Subscriber:
    """Change half of the hard declines: the card is not lost or expired, but removed by the customer at the gateway."""

    def removed(action: Action) -> Action:
        refused = isinstance(action, CardBehaves) and action.behaviour in HARD
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
        if room < 20 or random.random() > 0.2 or not subscriber.is_untroubled(paid, following):
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
    for paid in subscriber.dates(story.calm_from - timedelta(days=WINDOW)):
        on, fails = paid + timedelta(days=random.randint(1, 3)), random.random() < 0.9
        over = on + timedelta(days=random.randint(2, 5))
        free = not any(paid <= day <= over for day in actions) and subscriber.is_untroubled(paid, over)
        if random.random() < 0.8 and free and subscriber.interval in ("month", "year"):
            actions[on] = [RefundElsewhere()]
            if fails:
                actions[over] = [RefundFails()]
    return replace(subscriber, actions=_frozen(actions))


def _contested(subscriber: Subscriber, random: Random, story: Story) -> Subscriber:
    """Let banks contest some payments: of active, past due, paused and canceled subscriptions, and payments that were
    refunded in part.

    A bank contests a payment only if the subscription stands the same for some days: the events of the dispute may
    arrive on the day or on the day after.
    """
    if subscriber.interval not in ("month", "year"):
        return subscriber
    often = how_often(subscriber.interval, story.days)
    on = subscriber.first + timedelta(days=2)
    while (on := on + timedelta(days=random.randint(1, 6))) < story.calm_from:
        lot = random.random() / often
        stands = _stands(subscriber, on, story)
        if stands is None or lot > _CONTESTED[stands]:
            continue
        acts, goes_on = _dispute(on, stands, subscriber, random, story)
        actions = {day: list(happens) for day, happens in subscriber.actions.items()}
        for day, action in acts:
            actions.setdefault(day, []).append(action)
        subscriber = replace(subscriber, actions=_frozen(actions))
        if not goes_on:
            return _without_changes_after(on, subscriber)
        on = max(day for day, _ in acts) + timedelta(days=5)
    return subscriber


def _stands(subscriber: Subscriber, on: date, story: Story) -> str | None:
    """Return how the subscription stands on a day, and on the days around the day; None if that is uncertain."""
    refused = on in subscriber.refused_within
    around = [on + timedelta(days=n) for n in range(-1, 2 if refused else 4)]
    before = [(day, action) for day in sorted(subscriber.actions) if day <= on for action in subscriber.actions[day]]
    troubled = any(isinstance(a, GatewayTrouble | Killed) for day, a in before if day >= on - timedelta(days=5))
    changed = any(_changes(a) for day in around for a in subscriber.actions.get(day, ()) if day >= on or not refused)
    if troubled or changed or not story.stopped.isdisjoint([on - timedelta(days=2), *around]):
        return None
    by_people = [action for _, action in before if isinstance(action, Pause | Resume | Cancel)]
    if by_people and not isinstance(by_people[-1], Resume):
        return "paused" if isinstance(by_people[-1], Pause) else "canceled"
    if refused:
        begun = max(day for day, a in before if isinstance(a, CardBehaves) and a.behaviour != "good")
        return "past due" if on - begun in _EARLY_IN_DUNNING else None
    return "active" if set(around).isdisjoint(subscriber.dates(around[-1])) else None


def _changes(action: Action) -> bool:
    """Tell whether the action may change how a disputed subscription stands."""
    return not isinstance(action, _AROUND_A_DISPUTE)


def _dispute(
    on: date, stands: str, subscriber: Subscriber, random: Random, story: Story
) -> tuple[list[tuple[date, Action]], bool]:
    """Draw a dispute that begins on a day. Return its actions, and whether the subscription goes on."""
    by, decided = random.choice(_BY), on + timedelta(days=random.randint(2, 6))
    end, last = random.choice(("won", "won", "lost", "lost", "respond")), story.calendar[-1] - timedelta(days=4)
    acts: list[tuple[date, Action]] = [(on, Contested(by))]
    if by is Contest.WARNING:
        return acts, True
    if by is Contest.INQUIRY:
        fits = stands == "active" and decided < story.calm_from and _stands(subscriber, decided, story) == stands
        if not fits or random.random() < 0.4:
            return [*acts, (min(decided, last), BankDecides("warning_closed"))], True
        acts.append((decided, BankDecides("withdraw")))
        decided += timedelta(days=random.randint(2, 4))
    acts.append((min(decided, last), BankDecides(end)))
    revoked = min(decided, last) + timedelta(days=random.randint(1, 3))
    quiet = (revoked - timedelta(days=n) for n in range((revoked - on).days))
    fits = stands == "active" and all(_stands(subscriber, day, story) == stands for day in quiet)
    if fits and revoked < story.calm_from and end == "won":
        return [*acts, (revoked, EndRevoked())], True
    return acts, False


def _without_changes_after(on: date, subscriber: Subscriber) -> Subscriber:
    """Leave out what people change in the row of a subscription whose payment was charged back: an end that was set by
    hand would move the end.
    """
    left_out = (Pause, Cancel, Moved, ChangeInterval)
    actions = {
        day: tuple(a for a in happens if day <= on or not isinstance(a, left_out))
        for day, happens in subscriber.actions.items()
    }
    return replace(subscriber, actions={day: happens for day, happens in actions.items() if happens})


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


def how_often(interval: str, days: int) -> float:
    """Return a factor for the probability of events around a renewal: 1 for a monthly renewal in a long story."""
    return {"day": 0.15, "week": 0.5}.get(interval, 1.0) * (2 if days < _SHORT else 1)


def drawn_from(seed: int, what: str) -> Random:
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
