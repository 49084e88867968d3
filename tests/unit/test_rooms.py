"""The rooms of the code: the imports allowed to every room, so that pure code stays pure, and no circle of imports."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests import sources

ROOT = Path(__file__).parents[2]
ROOMS = {
    "domain": set[str](),
    "language": {"domain"},
    "runtime": {"domain"},
    "ledger": {"domain", "runtime"},
    "gateway": {"domain", "runtime", "ledger"},
}
"""The rooms of `renewals`, with the rooms open to their imports."""
OUTSIDE = {"boto3", "botocore", "stripe", "urllib3", "urllib", "socket", "subprocess", "os", "io", "pathlib", "time",
           "random", "logging", "aws_lambda_powertools", "aws_xray_sdk", "mypy_boto3_dynamodb"}  # fmt: skip
"""Packages that read, write, or know the machine."""


@cache
def _imports(path: Path) -> tuple[tuple[str, bool], ...]:
    """Return every imported name with its module, and whether only type checkers import the name."""
    return tuple(_imports_of(sources.tree(path), for_types=False))


def _imports_of(part: ast.AST, *, for_types: bool) -> Iterator[tuple[str, bool]]:
    """Yield the imports of a statement and of all statements in it; expressions, which import nothing, are left out."""
    if isinstance(part, ast.Import):
        yield from ((each.name, for_types) for each in part.names)
    elif isinstance(part, ast.ImportFrom) and part.module:
        yield from ((f"{part.module}.{each.name}", for_types) for each in part.names)
    else:
        for_types |= isinstance(part, ast.If) and isinstance(part.test, ast.Name) and part.test.id == "TYPE_CHECKING"
        for field in ("body", "handlers", "orelse", "finalbody", "cases"):
            for inner in getattr(part, field, ()):
                yield from _imports_of(inner, for_types=for_types)


def _imported(path: Path, *, when_run: bool = False) -> Iterator[str]:
    """Yield the modules imported by a module, with the imported names. when_run: leave out imports for types alone."""
    return (name for name, for_types in _imports(path) if not (when_run and for_types))


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_from_the_rooms_below(room: str) -> None:
    """A room imports only from the rooms below, also for types: a reader of a room need not know the rooms above."""
    above = [
        f"{path.name} imports {each}"
        for path in (ROOT / "src/renewals" / room).glob("*.py")
        for each in _imported(path)
        if each.startswith("renewals.") and each.split(".")[1] not in ROOMS[room] | {room}
    ]
    assert above == []


def test_every_module_has_a_room() -> None:
    """`renewals` holds nothing beside the rooms, and imports from no function's folder."""
    package = ROOT / "src/renewals"
    assert {each.name for each in package.iterdir() if each.name != "__pycache__"} == {*ROOMS, "__init__.py"}
    functions = {each.name for each in (ROOT / "src").iterdir() if each.is_dir()} - {"renewals"}
    upward = [each for path in package.rglob("*.py") for each in _imported(path) if each.split(".")[0] in functions]
    assert upward == []


def test_no_function_imports_from_another_function() -> None:
    """A function needs its own folder and the shared code, and nothing of another function."""
    functions = {each.name for each in (ROOT / "src").iterdir() if each.is_dir()} - {"renewals"}
    beside = [
        f"{name}/{path.name} imports {each}"
        for name in functions
        for path in (ROOT / "src" / name).glob("*.py")
        for each in _imported(path)
        if each.split(".")[0] in functions - {name}
    ]
    assert beside == []


def test_the_domain_reads_and_writes_nothing() -> None:
    """The domain imports no client, file, clock or environment."""
    found = [
        f"{path.name} imports {each}"
        for path in (ROOT / "src/renewals/domain").glob("*.py")
        for each in _imported(path)
        if each.split(".")[0] in OUTSIDE
    ]
    assert found == []


def test_few_modules_of_the_domain_turn_items_into_renewals() -> None:
    """A rule is asked about a Renewal. Only the timeline and the reminders turn items into renewals and mails, since
    both must tell even of an item that people have changed by hand."""
    readers = {
        path.name
        for path in (ROOT / "src/renewals/domain").glob("*.py")
        if any(each.startswith("renewals.domain.renewal_items.") for each in _imported(path))
    }
    assert readers == {"changes.py", "timeline.py", "timeline_mails.py", "reminders.py"}


@pytest.mark.parametrize("folder", ["src", "local", "scripts", "benchmarks", "tests"])
def test_nothing_imports_in_a_circle(folder: str) -> None:
    """No modules import in a circle: every module can be read and loaded before its importers."""
    base = ROOT / "src" if folder == "src" else ROOT
    paths = (ROOT / folder).rglob("*.py")
    modules = {".".join(path.relative_to(base).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}
    imports = {
        name: {known for each in _imported(path, when_run=True)
               if (known := each if each in modules else each.rpartition(".")[0]) in modules and known != name}
        for name, path in modules.items()
    }  # fmt: skip
    while free := {name for name, of in imports.items() if not of & imports.keys()}:
        imports = {name: of for name, of in imports.items() if name not in free}
    assert sorted(imports) == []


def test_no_file_is_too_long() -> None:
    """Every file of the source holds one idea, and no file has more than 400 lines."""
    lines = {path.relative_to(ROOT): len(path.read_text().splitlines()) for path in (ROOT / "src").rglob("*.py")}
    assert {str(path): count for path, count in lines.items() if count > 400} == {}
