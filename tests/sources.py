"""Syntax trees of the project's Python files, each parsed and walked once for all tests of a process."""

import ast
from functools import cache
from pathlib import Path


@cache
def tree(path: Path) -> ast.Module:
    """Parse a file. The tree is shared, so no test may change the tree."""
    return ast.parse(path.read_bytes())


@cache
def walked(tree: ast.AST) -> tuple[ast.AST, ...]:
    """Return the tree's nodes as `ast.walk` finds them."""
    return tuple(ast.walk(tree))
