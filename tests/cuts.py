"""Numbers for all calls that leave the process: a test can end the process before or after any call."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


class Cut(BaseException):
    """The end of the process. Not an Exception: nothing in the product can catch a Cut."""


def _end(point: str) -> None:
    raise Cut(point)


@dataclass
class Cuts:
    """Numbers every call out of the process: 2n is the moment before call n, 2n+1 the moment after.

    happens: called once, at moment `at`; by default the process ends.
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
