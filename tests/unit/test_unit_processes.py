"""`make unit` runs the tests in two processes, `make test` also the command of the integration tests, and each fails if
any process fails."""

import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.integration import __main__ as integration
from tests.integration.stacks import SHARES, is_of_others
from tests.unit import __main__ as unit
from tests.unit.__main__ import FOLDER, OF_THE_FIRST, PYTEST, commands, run, shares


def _printing(text: str, status: int = 0) -> list[str]:
    return [sys.executable, "-S", "-c", f"import sys; print({text!r}); sys.exit({status})"]


def test_each_file_runs_in_exactly_one_process() -> None:
    """Every test file, a new file included, runs in exactly one of the two processes, and both processes have files."""
    first, second = shares()
    files = [str(path) for pattern in ("test_*.py", "*_test.py") for path in FOLDER.rglob(pattern)]
    assert sorted(first + second) == sorted(files)
    for command, others in zip(commands([]), (second, first), strict=True):
        assert str(FOLDER) in command
        assert [each.removeprefix("--ignore=") for each in command if each.startswith("--ignore=")] == others
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


_LEAVES_A_FILE_OPEN = """
def test_it():
    left = [open(__file__)]
    left.append(left)
"""


@pytest.mark.parametrize("text", ["def test_it():\n    assert False", _LEAVES_A_FILE_OPEN], ids=["fails", "leaves"])
def test_a_process_that_ends_at_once_still_tells_its_failures(
    text: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The end of a process loses neither a failure nor a warning that pytest finds when its tests are over."""
    (tmp_path / "test_it.py").write_text(text)
    (tmp_path / "pytest.ini").write_text("[pytest]")
    status, _ = unit._run([*PYTEST, "-p", "no:schemathesis", "-W", "error", str(tmp_path)], 0)
    assert status != 0
    assert re.search("1 failed|ResourceWarning", capfd.readouterr().out)


def test_processes_can_begin_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Each process waits before it begins, longer than the process before, and all count."""
    happened: list[str] = []

    def begin(command: list[str], **how: Any) -> Any:
        happened.append("begins")
        return subprocess.Popen(command, **how)

    monkeypatch.setattr(
        unit, "time", SimpleNamespace(sleep=lambda waits: happened.append(f"waits {waits}"), monotonic=time.monotonic)
    )
    monkeypatch.setattr(
        unit, "subprocess", SimpleNamespace(Popen=begin, PIPE=subprocess.PIPE, STDOUT=subprocess.STDOUT)
    )
    green = _printing("1 passed in 0.01s")
    assert run([green], apart=12) == 0
    assert happened == ["waits 0", "begins"]
    assert run([green] * 3, apart=12) == 0
    assert {"waits 0", "waits 12", "waits 24"} <= {*happened[2:]}
    assert capfd.readouterr().out.splitlines()[-1].startswith("3 passed in ")
