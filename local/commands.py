"""How the commands for the local stack print to the terminal, and how the commands end.

Names, plans and answers come from strangers. All printed text is therefore escaped: no text can send control sequences
to the terminal.
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
    """Return the text in a form that is safe to print on the console: markup and control characters are escaped."""
    return markup.escape(printable(text))


def say(text: str) -> None:
    """Print the text on a single line, however long. Control characters are escaped."""
    console.print(escape(text), soft_wrap=True)


def say_wrong(text: str) -> None:
    """Print a problem, in red."""
    console.print(f"[red]✗ {escape(text)}[/red]")


def run(command: Callable[[Stack], None]) -> None:
    """Run a command on the stack that the environment variable PORT selects. If the command fails, end the program with
    a plain sentence.
    """
    with plainly():
        command(Stack(port_from_environment()).require_running())


@contextmanager
def plainly() -> Iterator[None]:
    """End the program with a plain sentence if the work cannot be done."""
    try:
        yield
    except (StackError, urllib3.exceptions.HTTPError, BotoCoreError, ClientError) as problem:
        sys.exit("\n".join(map(printable, str(problem).splitlines())))
    except KeyboardInterrupt:
        sys.exit(130)
