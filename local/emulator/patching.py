"""Replaces pieces of MiniStack's source in memory.

MiniStack's version is pinned, and the emulator refuses to start unless every piece is found exactly once. An upgrade
therefore cannot quietly undo a change.
"""

import importlib.metadata
import inspect
import sys
import textwrap
from typing import Any

_MINISTACK = "1.5.33"
_SOURCE = "changed_source"
"""The attribute of a changed function that holds the function's source."""


def check_version() -> None:
    """Stop the start if the installed MiniStack is not the version that the changes were written for."""
    installed = importlib.metadata.version("ministack")
    if installed != _MINISTACK:
        raise SystemExit(f"ministack {installed} is installed, but the emulator's changes are written for {_MINISTACK}")


def replace(owner: Any, name: str, changes: dict[str, str], **given: Any) -> None:
    """Compile `owner.name` again, with every key of `changes` replaced by its value, and with the names of `given` in
    scope. Several modules may change the same function, one after the other.
    """
    function = getattr(owner, name)
    source = changed(getattr(function, _SOURCE, None) or textwrap.dedent(inspect.getsource(function)), changes)
    scope = vars(sys.modules[function.__module__])
    scope.update(given)
    made: dict[str, Any] = {}
    exec(compile(source, f"<{name}, changed>", "exec"), scope, made)  # noqa: S102  (MiniStack's own source)
    setattr(made[name], _SOURCE, source)
    setattr(owner, name, made[name])


def changed(source: str, changes: dict[str, str]) -> str:
    """Return the source with every key of `changes` replaced by its value. Every key must occur exactly once."""
    for old, new in changes.items():
        if source.count(old) != 1:
            raise SystemExit(f"MiniStack has changed: found {source.count(old)} times, not once:\n{old}")
        source = source.replace(old, new)
    return source
