"""The check of locked packages for known vulnerabilities, and its outcome where nobody can answer."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from scripts.audit_dependencies import LOCKS, Answer, NoAnswerError, audit, read

ROOT = Path(__file__).parents[2]
GOOD = {"name": "good", "version": "1.0", "vulns": []}
BAD = {"name": "bad", "version": "2.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1"]}]}
UNKNOWN = {"name": "ours", "skip_reason": "not found"}


def about(*packages: Mapping[str, object]) -> Callable[[str], Answer]:
    """Return an answer of the same packages for every lock."""
    return lambda _: read(json.dumps({"dependencies": packages}), "")


def offline(lock: str) -> Answer:
    return read("", f"WARNING\nERROR: no way out for {lock}")


@pytest.mark.parametrize("must_run", [False, True])
def test_a_known_vulnerability_fails_and_is_named(capsys: pytest.CaptureFixture[str], must_run: bool) -> None:
    """A vulnerable package among good packages fails the check everywhere, and is named with the version that mends the
    vulnerability."""
    assert audit(about(GOOD, BAD), must_run=must_run) == 1
    assert "bad 2.0: PYSEC-1, fixed in 2.1" in capsys.readouterr().out


def test_all_locks_are_looked_up(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a finding the check passes, and says how many pins and locks were looked up."""
    assert audit(about(GOOD), must_run=True) == 0
    assert capsys.readouterr().out == f"{len(LOCKS)} pins of {len(LOCKS)} locks were looked up\n"


@pytest.mark.parametrize("answer", [offline, about(UNKNOWN)], ids=["offline", "an index without the service"])
def test_no_answer_is_said_and_fails_only_where_nobody_would_read_it(
    capsys: pytest.CaptureFixture[str], answer: Callable[[str], Answer]
) -> None:
    """Offline, or with an index that knows no package, a laptop is told `not run`, and GitHub Actions fails."""
    assert [audit(answer, must_run=must_run) for must_run in (False, True)] == [0, 1]
    assert capsys.readouterr().out.count("not run: no vulnerability service reachable") == 2


def test_a_vulnerability_is_not_forgotten_when_the_service_goes_away() -> None:
    """A vulnerability found in the first lock stands, even when the next lock gets no answer."""

    def goes_away(lock: str) -> Answer:
        if lock != LOCKS[0]:
            raise NoAnswerError("gone")
        return about(BAD)(lock)

    assert audit(goes_away, must_run=False) == 1


def test_no_lock_is_left_out() -> None:
    """Every lock outside the layers is checked; the layers' pins are pins of the development lock."""
    locks = {str(each.relative_to(ROOT)) for each in [*ROOT.glob("*requirements*.txt"), *ROOT.glob("local/*.txt")]}
    assert set(LOCKS) == locks
