"""`make simulate`: see the package. DAYS, SUBSCRIPTIONS and SEED in the environment choose the size and the story, and
DISPUTED=keep a stack that keeps disputed subscriptions.

The exit status is 1 if a promise was broken, or if too few things of a kind happened in a full year. The last lines
then name every fault, and the command that repeats the story.
"""

import os
import shutil
import sys
from datetime import date

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from local.commands import say_wrong
from local.gateway_events import send_events
from local.progress import console, step
from local.receiver import Receiver
from local.simulate.enough import FULL_YEAR, too_few
from local.simulate.evidence import Verdict, verdict
from local.simulate.happenings import FIRST_DAY
from local.simulate.life import live
from local.simulate.report import plot, table
from local.simulate.shop import ENVIRONMENT, Shop
from local.simulate.story import Story
from local.stack import ROOT, Stack, StackError, free_port

_DEFAULTS = {"DAYS": FULL_YEAR.days, "SUBSCRIPTIONS": FULL_YEAR.subscriptions, "SEED": 1}
_LEAST = {"DAYS": 30, "SUBSCRIPTIONS": 1, "SEED": 0}
_MOST_FAULTS_SHOWN = 40
_LATEST = 3 * 86400
"""Seconds by which an event of the gateway may be late."""


def simulated(story: Story, shop: Shop) -> Verdict:
    """Live the story with a progress bar, and judge the result."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task(_shown(FIRST_DAY), total=story.days)

        def day_is_over(day: date) -> None:
            progress.update(bar, description=_shown(day), advance=1)

        live(story, shop, day_is_over)
    with step("compare gateway, ledger, receipts, mails and events with the expected charges"):
        return verdict(story, shop)


def _shown(day: date) -> str:
    return f"{day:%a %d %b %Y}"


def _story() -> Story:
    """Return the story that the environment asks for. Raises StackError for an invalid setting."""
    asked: dict[str, int] = {}
    for name, default in _DEFAULTS.items():
        text = os.environ.get(name) or str(default)
        if not text.isdecimal() or int(text) < _LEAST[name]:
            raise StackError(f"{name} must be a whole number, at least {_LEAST[name]}, not {text!r}")
        asked[name.lower()] = int(text)
    disputed = os.environ.get("DISPUTED") or "cancel"
    if disputed not in ("cancel", "keep"):
        raise StackError(f"DISPUTED must be cancel or keep, not {disputed!r}")
    return Story(
        seed=asked["seed"],
        days=asked["days"],
        subscriptions=asked["subscriptions"],
        keeps_disputed=disputed == "keep",
    )


def main() -> None:
    try:
        story = _story()
        receiver = Receiver(free_port())
        parameters = {
            "Environment": ENVIRONMENT,
            "EventsUrl": receiver.url,
            "DisputedSubscriptions": story.disputed_subscriptions,
        }
        with receiver, Stack(free_port(), **parameters) as stack:
            send_events(stack, "in_order", "doubled", "shuffled", "late", "never", seconds=_LATEST, seed=story.seed)
            shop = Shop(stack, receiver)
            found = simulated(story, shop)
            events = shop.sandbox.deliveries()["drawn"]
    except StackError as problem:
        sys.exit(f"{problem}")
    except KeyboardInterrupt:
        sys.exit(130)
    name = f"{story.days}-days-{story.subscriptions}-subscriptions-seed-{story.seed}.png"
    picture = ROOT / "simulation-output" / name
    plot(story, found, picture)
    console.print(table(found))
    modes = ", ".join(f"{count} {mode.replace('_', ' ')}" for mode, count in sorted(events.items()))
    console.print(f"Events of the gateway by their way to the stack (never: lost on the way): {modes}")
    console.print(f"Days on which the application was down: {len(story.silent)}")
    console.print(f"Renewals, declines and recoveries over time: {picture.relative_to(ROOT)}")
    for fault in found.faults[:_MOST_FAULTS_SHOWN]:
        say_wrong(str(fault))
    if len(found.faults) > _MOST_FAULTS_SHOWN:
        say_wrong(f"and {len(found.faults) - _MOST_FAULTS_SHOWN} more")
    few = too_few(story, found, events)
    for shortage in few:
        say_wrong(shortage)
    if found.faults or few:
        settings = f"DAYS={story.days} SUBSCRIPTIONS={story.subscriptions} SEED={story.seed}"
        settings += f" DISPUTED={story.disputed_subscriptions}"
        sys.exit(f"To repeat: make simulate {settings}\nLogs and mails: {stack.folder.relative_to(ROOT)}/")
    shutil.rmtree(stack.folder)
    console.print("[green]✓[/green] gateway, ledger, receipts, mails and events match the expected charges")


if __name__ == "__main__":
    main()
