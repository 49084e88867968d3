"""Check that the prose stays easy to read: `.venv/bin/python -m scripts.check_prose`.

A pro-form is a word such as "it", "this" or "which": the reader must find out which noun the word stands for. A
docstring with many pro-forms has to be read twice. The check counts the pro-forms in the docstrings of each folder, and
the lines of README.md. The exit status is 1 when a count is above the limit.

`python -m scripts.check_prose PATH [PATH ...]` lists the docstrings of these files and folders, the worst first.
"""

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ("src", "local", "scripts", "tests")
MOST_PRO_FORMS = 6.0  # in 100 words
MOST_README_LINES = 150
_SHORTEST_LISTED = 12  # words: a single pro-form in a short docstring gives a high rate that means little
_LISTED = 40
_PRO_FORMS = frozenset(
    "it its itself they them their theirs this that these those one ones which what whatever who whom whose whoever "
    "another other others none each some any both either neither such so there then here where whatever same".split()
)
_WORD = re.compile(r"[A-Za-z][A-Za-z'’-]*")


@dataclass(frozen=True, slots=True)
class Count:
    """The number of pro-forms and of words in a text or in several texts."""

    pro_forms: int = 0
    words: int = 0

    def __add__(self, more: "Count") -> "Count":
        return Count(self.pro_forms + more.pro_forms, self.words + more.words)

    @property
    def rate(self) -> float:
        """The pro-forms in 100 words."""
        return 100 * self.pro_forms / self.words if self.words else 0.0


@dataclass(frozen=True, slots=True)
class Docstring:
    """A docstring, and the place where the documented object begins."""

    path: Path
    line: int
    text: str

    @property
    def count(self) -> Count:
        """The pro-forms and words of the docstring."""
        words = [word.lower() for word in _WORD.findall(self.text)]
        return Count(sum(word in _PRO_FORMS for word in words), len(words))


def docstrings(path: Path) -> Iterator[Docstring]:
    """Yield every docstring of a Python file, or of all Python files in a folder."""
    for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node)
                if text:
                    yield Docstring(file, getattr(node, "lineno", 1), text)


def total(path: Path) -> Count:
    """Add up the counts of all docstrings of a file or folder."""
    return sum((each.count for each in docstrings(path)), Count())


def check(root: Path) -> int:
    """Print every count beside the limit, and return the exit status.

    Args:
        root: the folder that holds README.md and the folders of Python code.
    """
    failed = False
    for folder in FOLDERS:
        count = total(root / folder)
        failed |= count.rate > MOST_PRO_FORMS
        print(f"{folder}: {count.rate:.1f} pro-forms in 100 words of docstrings, at most {MOST_PRO_FORMS:.1f}")
    lines = len((root / "README.md").read_text(encoding="utf-8").splitlines())
    failed |= lines > MOST_README_LINES
    print(f"README.md: {lines} lines, at most {MOST_README_LINES}")
    return int(failed)


def show(paths: list[Path]) -> None:
    """Print the docstrings with the highest rates of the given files and folders, then the rate of all."""
    found = [each for path in paths for each in docstrings(path)]
    long_enough = [each for each in found if each.count.words >= _SHORTEST_LISTED]
    for each in sorted(long_enough, key=lambda each: -each.count.rate)[:_LISTED]:
        print(f"{each.count.rate:5.1f}  {each.path}:{each.line}  {' '.join(each.text.split())[:150]}")
    count = sum((each.count for each in found), Count())
    print(f"{count.rate:.1f} pro-forms in 100 words of docstrings, {count.words} words")


if __name__ == "__main__":
    if sys.argv[1:]:
        show([Path(argument) for argument in sys.argv[1:]])
    else:
        sys.exit(check(ROOT))
