"""Every call that leaves the process, numbered: a test can end the process before or after any of them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


class Cut(BaseException):
    """The process ended here. Not an Exception: nothing in the product can catch it."""


def _end(point: str) -> None:
    raise Cut(point)


@dataclass
class Cuts:
    """Numbers every call out of the process: 2n is the moment before call n, 2n+1 the moment after it.

    happens: what happens at moment `at`, once: by default the process ends.
    """

    at: int | None = None
    happens: Callable[[str], None] = _end
    calls: list[str] = field(default_factory=list)

    @contextmanager
    def around(self, name: str) -> Iterator[None]:
        number = len(self.calls)
        self.calls.append(name)
        self._moment(2 * number, f"before {name}")
        yield
        self._moment(2 * number + 1, f"after {name}")

    def _moment(self, moment: int, point: str) -> None:
        if self.at == moment:
            self.at = None
            self.happens(point)
