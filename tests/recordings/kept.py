"""The recordings as kept on disk: plain text, so that a diff shows every difference."""

from base64 import b32encode
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from hashlib import sha256
from pathlib import Path

FOLDER = Path(__file__).parent
CALLS = FOLDER / "calls"
LISTS = ("actions", "mails", "answers")
RECORD_TO = "RECORD_TO"
"""An environment variable that names a folder: tests are recorded into the folder instead of being compared."""


@dataclass
class Recording:
    """The calls of a test.

    kinds: the names of all kinds of calls, mails and answers. digests: from the test's parameters to the digest of its
    calls.
    """

    kinds: set[str] = field(default_factory=set)
    digests: dict[str, str] = field(default_factory=dict)


def short(text: str) -> str:
    """Return a name of five letters and digits for a text."""
    return b32encode(sha256(text.encode()).digest()).decode()[:5].lower()


@lru_cache(4)
def place(test: str) -> tuple[str, str, str]:
    """Split a test's id into module, name and parameters."""
    path, _, rest = test.partition("::")
    name, bracket, parameters = rest.partition("[")
    return Path(path).stem, name, bracket + parameters


@cache
def recordings(module: str) -> Mapping[str, Recording]:
    """Return the recordings of a module by the names of its tests."""
    found: dict[str, Recording] = {}
    path = CALLS / f"{module}.txt"
    for line in path.read_text().splitlines() if path.exists() else []:
        if line.startswith("  "):
            digest, _, parameters = line.strip().partition(" ")
            next(reversed(found.values())).digests[parameters] = digest
        else:
            name, _, kinds = line.partition(":")
            found[name] = Recording(set(kinds.split()))
    return found


def write_recordings(module: str, recorded: Mapping[str, Recording]) -> None:
    """Replace the recordings of a module."""
    lines: list[str] = []
    for name, recording in sorted(recorded.items()):
        lines.append(f"{name}: {' '.join(sorted(recording.kinds))}".rstrip())
        lines += [f"  {digest} {parameters}".rstrip() for parameters, digest in sorted(recording.digests.items())]
    path = CALLS / f"{module}.txt"
    CALLS.mkdir(exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines)) if lines else path.unlink(missing_ok=True)
    recordings.cache_clear()


def modules() -> list[str]:
    return sorted(path.stem for path in CALLS.glob("*.txt"))


def kinds_in_use() -> dict[str, set[str]]:
    """Return, for the name of every kind, the tests with calls of that kind."""
    found: dict[str, set[str]] = defaultdict(set)
    for module in modules():
        for name, recording in recordings(module).items():
            for kind in recording.kinds:
                found[kind].add(f"{module}::{name}")
    return found


@cache
def known(which: str) -> Mapping[str, str]:
    """Return a list of kinds, from names to words."""
    path = FOLDER / f"{which}.txt"
    blocks = path.read_text().split("\n\n# ")[1:] if path.exists() else []
    return {name: words.rstrip("\n") for name, _, words in (block.partition("\n") for block in blocks)}


def write_known(which: str, kinds: Mapping[str, str], titles: Mapping[str, str]) -> None:
    ordered = sorted(kinds.items(), key=lambda each: (each[1], each[0]))
    text = titles[which] + "".join(f"\n\n# {name}\n{words}" for name, words in ordered) + "\n"
    (FOLDER / f"{which}.txt").write_text(text)
    known.cache_clear()


def words_of(names: Iterable[str]) -> list[str]:
    """Return the kinds with these names in words; an unknown kind stays a name."""
    every = {name: words for which in LISTS for name, words in known(which).items()}
    return sorted(every.get(name, name) for name in names)
