"""The product with its protocol broken on purpose, for a simulation to notice. The product itself is never changed: a
copy of the built code is changed and deployed, and the original code is deployed again at the end."""

import importlib.util
import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from local.simulate.shop import Shop


@dataclass(frozen=True)
class Change:
    """A place in a function's source file, and the text to put there."""

    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Breakage:
    """A change of a function. artifact: the function's logical id in the template. function: the middle of its name.
    changes: the changes of its source."""

    artifact: str
    function: str
    changes: tuple[Change, ...]


@contextmanager
def broken(shop: Shop, *breakages: Breakage) -> Iterator[None]:
    """Let the deployed functions run the changed code until the block ends.

    Raises ValueError where a place to be changed is not found exactly once.
    """
    try:
        for breakage in breakages:
            _deploy(shop, breakage, breakage.changes)
        yield
    finally:
        for breakage in breakages:
            _deploy(shop, breakage, ())


def _deploy(shop: Shop, breakage: Breakage, changes: tuple[Change, ...]) -> None:
    archive = _archive(shop.stack.artifacts_folder / breakage.artifact, changes)
    function = shop.function(breakage.function)
    shop.stack.client("lambda").update_function_code(FunctionName=function, ZipFile=archive)


def _archive(folder: Path, changes: tuple[Change, ...]) -> bytes:
    changed: dict[str, str] = {}
    for change in changes:
        source = changed.get(change.file) or (folder / change.file).read_text()
        if source.count(change.old) != 1:
            raise ValueError(f"found {source.count(change.old)} times in {change.file}, not once: {change.old}")
        changed[change.file] = source.replace(change.old, change.new)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            stale = path.suffix == ".pyc" and _source_of(path).relative_to(folder).as_posix() in changed
            if path.is_file() and not stale:
                archive.writestr(name, changed[name] if name in changed else path.read_bytes())
    return packed.getvalue()


def _source_of(bytecode: Path) -> Path:
    """Return the source of a bytecode file; bytecode is built to be used without a look at its source."""
    return Path(importlib.util.source_from_cache(bytecode))
