"""`make unit` runs the tests in two processes, `make test` also a third, and each fails if any process fails."""

import sys
import time
from types import SimpleNamespace

import pytest

from tests.integration import __main__ as integration
from tests.integration.stacks import SHARES, is_of_others
from tests.unit import __main__ as unit
from tests.unit.__main__ import FOLDER, OF_THE_FIRST, commands, run, shares


def _printing(text: str, status: int = 0) -> list[str]:
    return [sys.executable, "-S", "-c", f"import sys; print({text!r}); sys.exit({status})"]


def test_each_file_runs_in_exactly_one_process() -> None:
    """Every test file, a new file included, runs in exactly one of the two processes, and both processes have files."""
    first, second = shares()
    assert sorted(first + second) == sorted(map(str, FOLDER.glob("test_*.py")))
    assert {path.removeprefix(f"{FOLDER}/test_").removesuffix(".py") for path in first} == OF_THE_FIRST
    assert second


def test_the_last_line_counts_the_tests_of_both_processes(capfd: pytest.CaptureFixture[str]) -> None:
    """The lines of progress and the reports of both processes are printed; the last line adds up the outcomes."""
    status = run([_printing("..s [100%]\n2 passed, 1 skipped in 0.01s"), _printing(".   [100%]\n1 passed in 9.99s")])
    *lines, last = capfd.readouterr().out.splitlines()
    assert {"..s [100%]", ".   [100%]", "2 passed, 1 skipped in 0.01s", "1 passed in 9.99s"} <= set(lines)
    assert last.startswith("3 passed, 1 skipped in ")
    assert status == 0


@pytest.mark.parametrize(
    "red",
    [
        _printing("1 failed, 2 passed in 0.01s", 1),
        _printing("no tests ran in 0.01s", 5),
        _printing("no tests ran in 0.01s"),
        _printing(""),
        [sys.executable, "-S", "-c", "import os; os.abort()"],
    ],
    ids=["failed", "no-tests", "no-tests-and-status-0", "nothing-said", "aborted"],
)
def test_one_red_process_makes_the_run_red(red: list[str]) -> None:
    """A process that fails, runs no test, or dies fails the whole run, in either place."""
    green = _printing("2 passed in 0.01s")
    assert run([green, green]) == 0
    assert run([green, red]) == run([red, green]) == 1


def test_the_unit_tests_give_way_to_the_integration_tests() -> None:
    """Beside the integration tests the same unit tests run, at a lower priority; without them at the usual priority."""
    alone, (beside, first, second) = commands([]), commands(["pytest", "tests/integration"])
    assert [["nice", "-n", "10", *each] for each in alone] == [first, second]
    assert beside == ["pytest", "tests/integration"]
    assert run([["nice", "-n", "10", *_printing("1 passed in 0.01s")], _printing("1 failed in 0.01s", 1)]) == 1


def test_each_stack_has_a_process_of_its_own() -> None:
    """Each share of the integration tests has a process, to which further arguments are passed on. A process leaves out
    the files of other shares, keeps a file of several shares, and also collects, to refuse it, a file without a
    share."""
    started = integration.commands(["-k", "words"])
    assert [each[each.index("--share") + 1] for each in started] == [*SHARES]
    assert all(each[-2:] == ["-k", "words"] for each in started)
    for name, share in SHARES.items():
        assert not any(is_of_others(file, name) for file in (*share.files, "test_of_no_share.py"))
    assert is_of_others("test_audit.py", "after the alarms")
    assert not is_of_others("test_logs.py", "after the alarms")


def test_processes_can_begin_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Each process begins later than the process before, and all count."""
    waited: list[float] = []
    monkeypatch.setattr(unit, "time", SimpleNamespace(sleep=waited.append, monotonic=time.monotonic))
    assert run([_printing("1 passed in 0.01s")] * 3, apart=12) == 0
    assert sorted(waited) == [0, 12, 24]
    assert capfd.readouterr().out.splitlines()[-1].startswith("3 passed in ")
