"""How the commands of the local stack show progress: the running step, and the time that a step took."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)


@contextmanager
def step(title: str) -> Iterator[None]:
    """Show `title` with a running clock on a terminal, and print a line with the elapsed time at the end."""
    started = time.monotonic()
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        progress.add_task(title)
        yield
    console.print(f"[green]✓[/green] {title} [dim]{time.monotonic() - started:.1f} s[/dim]")
