"""What can happen in the simulated year: the actions of customers and others, the failures, and the subscribers."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import Any

from local.cuts import Moment
from local.simulate.dates import month_day, renewal_dates

FIRST_DAY = date(2024, 2, 20)
"""The 29 February is nine days away; the clock changes of 10 and 31 March follow soon after."""

DUNNING_DAYS = (1, 3, 5, 7)
"""The parameter of the simulated stack: days after the first attempt."""

WINDOW = DUNNING_DAYS[-1] + 2
"""Days after a refusal until the outcome is final. The calm at the end of the story lasts as long."""

SOFT, HARD = ("no_money", "no_money", "declined"), ("lost", "expired")
"""The behaviours of a card that is declined: a soft decline, a hard decline."""


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


class Contest(StrEnum):
    """The ways in which a bank contests the customer's latest payment."""

    CHARGEBACK = "chargeback"
    """The customer disputes the payment, and the bank takes the money at once."""
    INQUIRY = "inquiry"
    """The bank only asks, and moves no money."""
    WARNING = "warning"
    """The bank warns of fraud, before any dispute."""


@dataclass(frozen=True)
class Contested:
    """A bank contests the customer's latest payment, unless a dispute of the payment is known already."""

    by: Contest


@dataclass(frozen=True)
class BankDecides:
    """The customer's latest dispute takes a step: withdraw (an inquiry becomes a chargeback), respond (evidence is
    submitted), won, lost, or warning_closed.
    """

    step: str


@dataclass(frozen=True)
class EndRevoked:
    """Somebody takes the subscription's end out of the row by hand, after a dispute."""


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
    | Contested
    | BankDecides
    | EndRevoked
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
        return self.interval in ("month", "year") and not behaviours.isdisjoint((*SOFT, *HARD, "detached"))

    def is_untroubled(self, first: date, last: date, *, but: date | None = None) -> bool:
        """Tell whether nothing goes wrong from `first` to `last`. but: the day of a refusal that does not count."""
        its = frozenset(but + timedelta(days=n) for n in range(WINDOW + 8)) if but else frozenset()
        refused = any(first <= day <= last for day in self.refused_within - its)
        wrong = any(
            first - timedelta(days=3) <= day <= last and day not in its and not isinstance(action, _HARMLESS)
            for day, actions in self.actions.items()
            for action in actions
        )
        return not (refused or wrong)


def _kept(anchor: int, day: date) -> int:
    """Return the anchor of the renewals from `day` on. If `day` is the date of the old `anchor` in its month, the
    anchor stays the same; otherwise the day of the month of `day` is the new anchor.
    """
    return anchor if month_day(day, anchor) == day else day.day


def gateway_rule(trouble: GatewayTrouble) -> dict[str, Any]:
    """Return the number of failing calls, and the seconds if set, in the form that the sandbox's control expects."""
    rule: dict[str, Any] = {"calls": trouble.calls}
    return rule if trouble.seconds is None else rule | {"seconds": trouble.seconds}
