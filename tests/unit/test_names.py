"""Names and comments of the source, read from its syntax trees: a name means one thing, what is ignored says why."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
MODULES = sorted(path for folder in ("src", "scripts") for path in (ROOT / folder).rglob("*.py"))


def _suppressed(tree: ast.AST) -> Iterator[ast.With]:
    """Where being overtaken is ignored, rather than repeated or answered."""
    for node in ast.walk(tree):
        if isinstance(node, ast.With) and any("suppress(Overtaken" in ast.unparse(each) for each in node.items):
            yield node


def test_who_ignores_being_overtaken_says_why() -> None:
    """Each place that goes on where another writer was faster has the reason beside it, and ignores a single write."""
    silent, seen = [], 0
    for path in MODULES:
        lines = path.read_text().splitlines()
        for node in _suppressed(ast.parse(path.read_text())):
            seen += 1
            if "  # " not in lines[node.lineno - 1] or len(node.body) != 1:
                silent.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert silent == []
    assert seen > 10
