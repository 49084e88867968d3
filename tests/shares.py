"""A share of many cases of one kind: `make test` runs the share, `make proof` the rest."""

from collections.abc import Iterable
from typing import Any

import pytest
from _pytest.mark import ParameterSet


def share(cases: Iterable[Any], of: int) -> list[ParameterSet]:
    """Every case; the first of so many belongs to `make test`, and those between to `make proof`."""
    marked = []
    for n, case in enumerate(cases):
        given = case if isinstance(case, ParameterSet) else pytest.param(*(case if isinstance(case, tuple) else [case]))
        marks = given.marks if n % of == 0 else [*given.marks, pytest.mark.proof]
        marked.append(pytest.param(*given.values, id=given.id, marks=marks))
    return marked
