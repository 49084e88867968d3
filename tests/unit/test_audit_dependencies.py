"""The question whether a locked package has a known vulnerability, and what happens where nobody can answer."""

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
    """Every lock has these packages."""
    return lambda _: read(json.dumps({"dependencies": packages}), "")


def offline(lock: str) -> Answer:
    return read("", f"WARNING\nERROR: no way out for {lock}")


@pytest.mark.parametrize("must_run", [False, True])
def test_a_known_vulnerability_fails_and_is_named(capsys: pytest.CaptureFixture[str], must_run: bool) -> None:
    """One package with a vulnerability among good ones fails, wherever it runs, with the version that mends it."""
    assert audit(about(GOOD, BAD), must_run=must_run) == 1
    assert "bad 2.0: PYSEC-1, mended in 2.1" in capsys.readouterr().out


def test_all_locks_are_looked_up(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a finding it passes, and says how much was looked up."""
    assert audit(about(GOOD), must_run=True) == 0
    assert capsys.readouterr().out == f"{len(LOCKS)} pins of {len(LOCKS)} locks were looked up\n"


@pytest.mark.parametrize("answer", [offline, about(UNKNOWN)], ids=["offline", "an index without the service"])
def test_no_answer_is_said_and_fails_only_where_nobody_would_read_it(
    capsys: pytest.CaptureFixture[str], answer: Callable[[str], Answer]
) -> None:
    """Offline, or where the index knows no package, a laptop is told `not run` and GitHub Actions fails."""
    assert [audit(answer, must_run=must_run) for must_run in (False, True)] == [0, 1]
    assert capsys.readouterr().out.count("not run: no vulnerability service reachable") == 2


def test_a_vulnerability_is_not_forgotten_when_the_service_goes_away() -> None:
    """What the first lock's answer says stands, though the next is not answered."""

    def goes_away(lock: str) -> Answer:
        if lock != LOCKS[0]:
            raise NoAnswerError("gone")
        return about(BAD)(lock)

    assert audit(goes_away, must_run=False) == 1


def test_no_lock_is_left_out() -> None:
    """Every lock that is no layer's is asked about; the layers' pins are the development lock's."""
    locks = {str(each.relative_to(ROOT)) for each in [*ROOT.glob("*requirements*.txt"), *ROOT.glob("local/*.txt")]}
    assert set(LOCKS) == locks
