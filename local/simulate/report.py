"""The report at the end of a simulation: a table, and a picture of the year."""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Table

from local.simulate.evidence import Verdict
from local.simulate.story import Story
from scripts.plainly import number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BROKEN = {
    "doubled": "doubled", "overlapping": "overlapping", "missed": "missed", "wrong": "wrong",
    "no_receipt": "no receipt", "no_mail": "no mail", "doubled_mail": "doubled mails",
    "vain_mail": "mail to a bad address", "audit": "found by the audit",
    "not_told": "not told", "event_lost": "event of the gateway lost",
}  # fmt: skip
"""The table's names for the kinds of faults. The number of every kind must be zero."""


def table(verdict: Verdict) -> Table:
    """Return a table with the numbers of the year, next to the numbers that must be zero."""
    results = verdict.results.values()
    happened = {
        "due": sum(len(result.due) for result in results),
        "charged": sum(len(charges) for result in results for charges in result.charged.values()),
        "receipted": verdict.receipted,
        "mailed": verdict.mailed,
        "declined": sum(len(result.refused) for result in results),
        "recovered": sum(len(result.recovered) for result in results),
        "last date put off": sum(len(result.held) for result in results),
        "given up": sum(len(result.given_up) for result in results),
        "skipped": sum(len(result.skipped) for result in results),
        "mail unknown": verdict.unknown,
        "mail bounced": verdict.returned,
        "address corrected": verdict.corrected,
        "mail failed": verdict.unmailed,
        "refunded elsewhere": verdict.refunded,
        "refund failed later": verdict.refunds_failed,
        "disputed": verdict.disputed,
        "dispute won": verdict.won,
        "dispute lost": verdict.lost,
        "warned of fraud": verdict.warned,
        "ended by a dispute": sum(len(result.ended_by_dispute) for result in results),
        "such an end revoked": sum(result.revoked for result in results),
        "events caught up": verdict.caught_up,
        "events heard": verdict.heard,
        "events heard again": verdict.heard_again,
        "posted to a dead app": verdict.in_vain,
    }
    faults = Counter(fault.kind for fault in verdict.faults)
    shown = Table(box=SIMPLE_HEAD)
    for heading in ("happened", "times", "must not happen", "times"):
        shown.add_column(heading, justify="right" if heading == "times" else "left")
    broken = [(name, f"[{'red' if faults[kind] else 'green'}]{faults[kind]}[/]") for kind, name in BROKEN.items()]
    for (name, count), row in zip_longest(happened.items(), broken, fillvalue=("", "")):
        shown.add_row(str(name), str(count), *row)
    return shown


def plot(story: Story, verdict: Verdict, file: Path) -> None:
    """Write the picture as a PNG."""
    file.parent.mkdir(parents=True, exist_ok=True)
    drawn(story, verdict).savefig(file, dpi=130)


def drawn(story: Story, verdict: Verdict) -> Figure:
    """Draw renewals, declines and recoveries over time, and the days without a sweep or with charging off."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    step = 7 if story.days > 100 else 1
    starts = [story.calendar[n] for n in range(0, story.days, step)]
    results = verdict.results.values()
    recovered = [day for result in results for day in result.recovered.values()]
    declined = [day for result in results for day in result.refused.values()]
    renewed = [
        charge.day
        for result in results
        for period, charges in result.charged.items()
        for charge in charges
        if period not in result.recovered
    ]

    def counted(days: list[date]) -> list[int]:
        per = Counter((day - story.calendar[0]).days // step for day in days)
        return [per[n] for n in range(len(starts))]

    figure = Figure(figsize=(12, 6), layout="constrained")
    FigureCanvasAgg(figure)
    up, down = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    middles = [start + timedelta(days=step / 2) for start in starts]
    first, second = counted(renewed), counted(recovered)
    up.bar(middles, first, width=step * 0.86, color="#2f6f9f", label="renewed at once")
    up.bar(middles, second, width=step * 0.86, bottom=first, color="#5bb58a", label="recovered after a decline")
    down.bar(middles, counted(declined), width=step * 0.86, color="#d9694f", label="declined")
    down.invert_yaxis()
    for axes in (up, down):
        for days, label, color in (
            (story.down, "no sweep ran", "#c8ccd2"),
            (story.off, "charging was off", "#f2dca6"),
        ):
            for nth, day in enumerate(sorted(days)):
                span = {"label": label} if nth == 0 and axes is up else {}
                axes.axvspan(day, day + timedelta(days=1), color=color, alpha=0.6, linewidth=0, **span)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#e6e8eb")
        axes.set_axisbelow(True)
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.margins(x=0.01, y=0.08)
    ending = f"{number(len(verdict.faults), 'promise').upper()} BROKEN" if verdict.faults else "no promise broken"
    many, length = number(story.subscriptions, "subscription"), number(story.days, "day")
    told = f"{many} over {length}, seed {story.seed}"
    up.set_title(f"{told}: {number(len(renewed) + len(recovered), 'renewal')}, {ending}", loc="left")
    up.set_ylabel("renewals a week" if step == 7 else "renewals a day")
    down.set_ylabel("declines")
    figure.legend(loc="outside lower center", ncols=5, frameon=False)
    locator = AutoDateLocator()  # type: ignore[no-untyped-call]
    down.xaxis.set_major_locator(locator)
    down.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    return figure
