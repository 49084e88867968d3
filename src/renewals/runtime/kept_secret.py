"""Keep a secret for the life of a process, and read the secret again after a rotation."""

from __future__ import annotations

import time
from collections.abc import Callable

_REREAD_AFTER_SECONDS = 60


class KeptSecret[T]:
    """A secret that is read on first use, and again if a check fails, at most once a minute.

    Strangers can make a check fail as often as they like. Without the limit of one reading in a minute, every false
    request would cause a call to the secret's store.
    """

    def __init__(self, read: Callable[[], T], seconds: Callable[[], float] = time.monotonic) -> None:
        """read: reads the secret from its store. seconds: a clock that only goes forward."""
        self._read = read
        self._seconds = seconds
        self._kept: T | None = None
        self._read_at: float | None = None

    def passes(self, check: Callable[[T], bool]) -> bool:
        """Whether the secret passes the check. If the kept secret fails, the secret may have been rotated, and is read
        again and checked once more. If reading fails, the old copy stays, and the store's error is raised."""
        if self._kept is not None and check(self._kept):
            return True
        now = self._seconds()
        if self._kept is not None and self._read_at is not None and now - self._read_at < _REREAD_AFTER_SECONDS:
            return False
        self._read_at = now
        self._kept = self._read()
        return check(self._kept)
