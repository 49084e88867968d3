"""Numbers for all calls that leave the process: a test can end the process before or after any call."""

from collections.abc import Callable
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

    def around(self, name: str) -> "_Around":
        return _Around(self, name)

    def begins(self, name: str) -> int:
        """Return the number of a call that begins now."""
        number = len(self.calls)
        self.calls.append(name)
        if self.at == 2 * number:
            self._happens(f"before {name}")
        return number

    def has_ended(self, name: str, number: int) -> None:
        if self.at == 2 * number + 1:
            self._happens(f"after {name}")

    def _happens(self, point: str) -> None:
        self.at = None
        self.happens(point)


class _Around:
    """A call out of the process. A class of its own, since a generator takes three times as long."""

    __slots__ = ("_cuts", "_name", "_number")

    def __init__(self, cuts: Cuts, name: str) -> None:
        self._cuts, self._name = cuts, name

    def __enter__(self) -> None:
        self._number = self._cuts.begins(self._name)

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        """A call that raised an error has no moment after it."""
        if kind is None:
            self._cuts.has_ended(self._name, self._number)
