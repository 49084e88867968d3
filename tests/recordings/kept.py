"""The recordings as they are kept: plain text, so that a difference can be read in a diff."""

from base64 import b32encode
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from pathlib import Path

FOLDER = Path(__file__).parent
CALLS = FOLDER / "calls"
LISTS = ("actions", "mails", "answers")
RECORD_TO = "RECORD_TO"
"""The environment variable that names a folder: tests are recorded there, and not compared."""


@dataclass
class Recording:
    """What a test does. kinds: the names of all kinds of it. digests: its parameters to the digest of its calls."""

    kinds: set[str] = field(default_factory=set)
    digests: dict[str, str] = field(default_factory=dict)


def short(text: str) -> str:
    """A name for a text, of five letters and digits."""
    return b32encode(sha256(text.encode()).digest()).decode()[:5].lower()


def place(test: str) -> tuple[str, str, str]:
    """The module, the name and the parameters in a test's id."""
    path, _, rest = test.partition("::")
    name, bracket, parameters = rest.partition("[")
    return Path(path).stem, name, bracket + parameters


@cache
def recordings(module: str) -> Mapping[str, Recording]:
    """By the names of the module's tests."""
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
    """In the place of what was recorded of this module."""
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
    """The name of each kind to the tests that do it."""
    found: dict[str, set[str]] = defaultdict(set)
    for module in modules():
        for name, recording in recordings(module).items():
            for kind in recording.kinds:
                found[kind].add(f"{module}::{name}")
    return found


@cache
def known(which: str) -> Mapping[str, str]:
    """A list of kinds: their names to their words."""
    path = FOLDER / f"{which}.txt"
    blocks = path.read_text().split("\n\n# ")[1:] if path.exists() else []
    return {name: words.rstrip("\n") for name, _, words in (block.partition("\n") for block in blocks)}


def write_known(which: str, kinds: Mapping[str, str], titles: Mapping[str, str]) -> None:
    ordered = sorted(kinds.items(), key=lambda each: (each[1], each[0]))
    text = titles[which] + "".join(f"\n\n# {name}\n{words}" for name, words in ordered) + "\n"
    (FOLDER / f"{which}.txt").write_text(text)
    known.cache_clear()


def words_of(names: Iterable[str]) -> list[str]:
    """The kinds of these names in words, as far as they are known."""
    every = {name: words for which in LISTS for name, words in known(which).items()}
    return sorted(every.get(name, name) for name in names)
