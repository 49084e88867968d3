"""The commands for the local stack on PORT: what they say to the terminal, and how they end.

Names, plans and answers were written by others: each is escaped before it is shown, so that none of them can command
the terminal.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import urllib3
from botocore.exceptions import BotoCoreError, ClientError
from rich import markup

from local.progress import console
from local.stack import Stack, StackError, port_from_environment
from renewals.domain.texts import printable


def escape(text: str) -> str:
    """A text as it may stand in a line of the console: without markup, and with nothing that commands the terminal."""
    return markup.escape(printable(text))


def say(text: str) -> None:
    """One line, as long as it is; whatever in it is no ordinary character is escaped."""
    console.print(escape(text), soft_wrap=True)


def say_wrong(text: str) -> None:
    """As say, of what is not as it should be."""
    console.print(f"[red]✗ {escape(text)}[/red]")


def run(command: Callable[[Stack], None]) -> None:
    """Run a command on the stack of PORT. Whatever stands against the command ends it with a sentence."""
    with plainly():
        command(Stack(port_from_environment()).require_running())


@contextmanager
def plainly() -> Iterator[None]:
    """End the program with a sentence where the work cannot be done."""
    try:
        yield
    except (StackError, urllib3.exceptions.HTTPError, BotoCoreError, ClientError) as problem:
        sys.exit("\n".join(map(printable, str(problem).splitlines())))
    except KeyboardInterrupt:
        sys.exit(130)
