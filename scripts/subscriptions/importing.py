"""Imports the subscriptions of a file. Each line is compared with the table: the subscription of the line is new,
exists with the same values, or exists with different values.

The import creates each new subscription in a transaction of its own, as the API does, and never overwrites a
subscription. An interrupted import can therefore be run again: the second run finds the subscriptions that the first
run created, and creates only the rest.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from enum import StrEnum
from itertools import batched
from typing import Any

from renewals.domain.errors import BadRow
from renewals.domain.item_values import Item
from renewals.domain.preview import NextCharge, preview
from renewals.domain.row_attributes import ROW_ATTRIBUTES
from renewals.domain.schedule import MOST_CAUGHT_UP
from renewals.domain.subscription import Subscription, parse
from renewals.ledger.asked_by import AskedBy
from renewals.ledger.register import Register, Taken
from scripts.subscriptions.rows import Line
from scripts.subscriptions.verified import Lookup

_BATCH = 100


class Verdict(StrEnum):
    """The result of a line.

    Attributes:
        NEW: no such subscription exists. A run that writes creates the subscription; the verdict is then CREATED.
        CREATED: the run has created the subscription.
        THERE: the subscription exists, with the values of the line.
        RENEWED: as THERE, but renewals have moved the renewal date since.
        HELD_BACK: the new subscription is already due, and the run does not accept due subscriptions.
        DIFFERENT: the subscription exists with different values, or existed and was deleted.
        UNVERIFIED: the gateway gave no answer about customer and card.
        BAD: the line is at fault, or the gateway does not accept its customer or card.
    """

    NEW = "new"
    CREATED = "created"
    THERE = "there"
    RENEWED = "renewed"
    HELD_BACK = "held back"
    DIFFERENT = "different"
    UNVERIFIED = "unverified"
    BAD = "bad"


LEFT_OUT = frozenset({Verdict.HELD_BACK, Verdict.DIFFERENT, Verdict.UNVERIFIED, Verdict.BAD})


@dataclass(frozen=True, slots=True)
class Judged:
    """A line with its result.

    why: the reasons for leaving the line out, in words. at_once: the charges due as soon as the subscription exists.
    """

    line: Line
    verdict: Verdict
    why: tuple[str, ...] = ()
    at_once: tuple[NextCharge, ...] = ()


@dataclass(slots=True)
class Tally:
    """The results of all lines.

    Attributes:
        lines: the number of lines with each verdict.
        due: the number of subscriptions that are due at once.
        late: the number of due subscriptions that have missed a whole period.
        oldest: the earliest renewal date of a late subscription.
        charges: the number of charges that are due at once.
        money: the sum of these charges, by currency.
    """

    lines: Counter[Verdict] = field(default_factory=Counter)
    due: int = 0
    late: int = 0
    oldest: date | None = None
    charges: int = 0
    money: dict[str, Decimal] = field(default_factory=dict)

    def add(self, judged: Judged) -> None:
        """Count a line."""
        self.lines[judged.verdict] += 1
        new = judged.line.subscription
        if new is None or not judged.at_once:
            return
        self.due += 1
        self.charges += len(judged.at_once)
        for charge in judged.at_once:
            self.money[charge.currency] = self.money.get(charge.currency, Decimal(0)) + charge.amount
        if new.schedule.after(new.renewal_date) <= judged.at_once[0].on:
            self.late += 1
            self.oldest = min(new.renewal_date, self.oldest or new.renewal_date)


@dataclass(frozen=True, slots=True)
class Import:
    """A run over a file.

    Attributes:
        register: the subscriptions.
        today: returns the present date for a row: the day of the row's test clock, if the row has a test clock and the
            deployment heeds test clocks; else today's date in the time zone of the business.
        asked: who imports, and when; None for a dry run, which writes nothing.
        charge_due: whether subscriptions that are already due are accepted.
        workers: the threads.
        lookup: asks the gateway about customer and card of new subscriptions; None skips the question.
    """

    register: Register
    today: Callable[[Mapping[str, Any]], date]
    asked: AskedBy | None
    charge_due: bool
    workers: Executor
    lookup: Lookup | None = None

    def run(self, lines: Iterable[Line]) -> Iterator[Judged]:
        """Yield every line with its result, in order, a hundred at a time."""
        for batch in batched(lines, _BATCH, strict=False):
            yield from self.workers.map(self._settle, self._judge(batch))

    def _judge(self, batch: Iterable[Line]) -> list[Judged]:
        """Return each line with a first result, made of reads alone. `_settle` may still leave out a NEW line."""
        lines = list(batch)
        good = {line.subscription.subscription_id: line.subscription for line in lines if line.subscription is not None}
        keys = ((each, new.customer_id) for each, new in good.items())
        standing = {each: [row] for each, row in self.register.rows(keys)}
        # register.rows finds a row only if the row has both the subscription id and the customer id of the line. A row
        # with the same subscription id and a different customer id remains unseen. A run with --apply notices such a
        # row when the creation fails. A dry run creates nothing, and must therefore read the rows of every subscription
        # id that register.rows did not find.
        if self.asked is None:
            absent = [each for each in good if each not in standing]
            standing |= dict(zip(absent, self.workers.map(self.register.ledger.rows, absent), strict=True))
        gone = self.register.changes.created(each for each in good if not standing.get(each))
        return [self._verdict(line, standing, gone) for line in lines]

    def _verdict(self, line: Line, standing: Mapping[str, list[Item]], gone: set[str]) -> Judged:
        if line.subscription is None:
            return Judged(line, Verdict.BAD, line.faults)
        rows = standing.get(line.subscription.subscription_id)
        if rows:
            return _compared(line, line.subscription, rows)
        if line.subscription.subscription_id in gone:
            return Judged(line, Verdict.DIFFERENT, ("a subscription with this id existed and was deleted",))
        today = self.today(line.subscription.row)
        coming = preview(line.subscription, today=today, count=MOST_CAUGHT_UP + 1).charges
        at_once = tuple(charge for charge in coming if charge.on <= today)
        held_back = at_once and not self.charge_due
        return Judged(line, Verdict.HELD_BACK if held_back else Verdict.NEW, (), at_once)

    def _settle(self, judged: Judged) -> Judged:
        """Return the final result of a line. Write a new subscription, after the look-up of the subscription's customer
        and card at the gateway.
        """
        line = judged.line
        if judged.verdict is not Verdict.NEW or line.subscription is None:
            return judged
        faults = self.lookup.faults(line.subscription) if self.lookup else ()
        if faults is None:
            why = "the gateway gave no answer about customer and card: import the file again"
            return Judged(line, Verdict.UNVERIFIED, (why,))
        if faults:
            return Judged(line, Verdict.BAD, faults)
        return self._write(judged, line.subscription)

    def _write(self, judged: Judged, subscription: Subscription) -> Judged:
        line = judged.line
        if self.asked is None:
            return judged
        try:
            self.register.create(subscription.row, replace(self.asked, imports=True))
        except Taken:  # created meanwhile, or an existing subscription of a different customer
            taken = subscription.subscription_id
            return self._verdict(line, {taken: self.register.ledger.rows(taken)}, {taken})
        return Judged(line, Verdict.CREATED, (), judged.at_once)


def _compared(line: Line, subscription: Subscription, rows: list[Item]) -> Judged:
    """Compare the line with the existing rows. A later renewal date in the row is no difference, because renewals move
    the date.
    """
    try:
        [there] = [parse(each) for each in rows]
    except BadRow as bad:
        return Judged(line, Verdict.DIFFERENT, (f"the existing subscription cannot be read: {bad}",))
    except ValueError:
        return Judged(line, Verdict.DIFFERENT, ("two customers have a subscription with this id",))
    renewed = there.renewal_date > subscription.renewal_date
    differ = [name for name, each in ROW_ATTRIBUTES.items() if each.read(subscription) != each.read(there)]
    if renewed and "renewal_date" in differ:
        differ.remove("renewal_date")
    if differ:
        return Judged(line, Verdict.DIFFERENT, (f"the existing subscription differs in {', '.join(differ)}",))
    return Judged(line, Verdict.RENEWED if renewed else Verdict.THERE)
