"""Replaces pieces of MiniStack's source in memory.

Its version is pinned, and a piece that is not found exactly once stops the start, so that an upgrade cannot quietly
undo a change.
"""

import importlib.metadata
import inspect
import sys
import textwrap
from typing import Any

_MINISTACK = "1.5.33"


def check_version() -> None:
    """Stops the start where another MiniStack is installed than the one that the changes are made for."""
    installed = importlib.metadata.version("ministack")
    if installed != _MINISTACK:
        raise SystemExit(f"ministack {installed} is installed, and the changes here are made for {_MINISTACK}")


def replace(owner: Any, name: str, changes: dict[str, str], **given: Any) -> None:
    """Compiles `owner.name` anew, each key of `changes` replaced by its value, with `given` in its scope."""
    function = getattr(owner, name)
    source = changed(textwrap.dedent(inspect.getsource(function)), changes)
    scope = vars(sys.modules[function.__module__])
    scope.update(given)
    made: dict[str, Any] = {}
    exec(compile(source, f"<{name}, changed>", "exec"), scope, made)  # noqa: S102  (MiniStack's own source)
    setattr(owner, name, made[name])


def changed(source: str, changes: dict[str, str]) -> str:
    """The source with each key of `changes`, which is in it once, replaced by its value."""
    for old, new in changes.items():
        if source.count(old) != 1:
            raise SystemExit(f"MiniStack has changed: found {source.count(old)} times, not once:\n{old}")
        source = source.replace(old, new)
    return source
