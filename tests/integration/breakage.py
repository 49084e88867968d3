"""The product with its protocol broken on purpose, to see that a simulation notices. Never in the product: a copy of
what was built is changed and put into the deployed function, and the original is put back.
"""

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
    """One place in a source file of a function, and what stands there instead."""

    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Breakage:
    """artifact: the function's logical id in the template. function: the middle of its name. changes: to its source."""

    artifact: str
    function: str
    changes: tuple[Change, ...]


@contextmanager
def broken(shop: Shop, *breakages: Breakage) -> Iterator[None]:
    """The deployed functions run the changed code until the block ends.

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
    """Bytecode is built to be taken without a look at its source."""
    return Path(importlib.util.source_from_cache(bytecode))
