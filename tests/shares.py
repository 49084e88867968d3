"""A share of many cases of a kind: `make test` runs the share, `make proof` the rest."""

from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from _pytest.mark import ParameterSet


def share(cases: Iterable[Any], of: int) -> list[ParameterSet]:
    """Return every case; the first of every `of` cases belongs to `make test`, the cases between to `make proof`."""
    marked = []
    for n, case in enumerate(cases):
        given = case if isinstance(case, ParameterSet) else pytest.param(*(case if isinstance(case, tuple) else [case]))
        marks = given.marks if n % of == 0 else [*given.marks, pytest.mark.proof]
        marked.append(pytest.param(*given.values, id=given.id, marks=marks))
    return marked


def rotating(ones: Sequence[Any], others: Sequence[Any], of: int) -> list[ParameterSet]:
    """Combine each of `ones` with each of `others`; one combination in `of` belongs to `make test`, in turn, so that
    `make test` has each of `ones` and each of `others`. Both must have at least `of` entries. An entry of `others` may
    be a tuple of several parameters."""
    assert of <= min(len(ones), len(others))
    spread = [other if isinstance(other, tuple) else (other,) for other in others]
    return [
        pytest.param(one, *other, marks=[pytest.mark.proof] if (n + m) % of else [])
        for n, one in enumerate(ones)
        for m, other in enumerate(spread)
    ]
