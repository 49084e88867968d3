"""Background processes of the local stack, tested with real processes."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from local import processes
from local.processes import Process, ProcessError, alive, announcement, launch, stop

PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print('{"child": %d}' % child.pid, flush=True)
time.sleep(60)
"""
type Start = Callable[[str], Process]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Process] = []

    def start(program: str) -> Process:
        command = [sys.executable, "-c", program]
        log = tmp_path / f"{len(started)}.log"
        started.append(launch("thing", command, folder=tmp_path, environment=dict(os.environ), log=log))
        return started[-1]

    yield start
    stop(started)


def ended(pid: int) -> bool:
    for _ in range(200):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        if Path(f"/proc/{pid}/stat").exists() and ") Z " in Path(f"/proc/{pid}/stat").read_text():
            return True
        time.sleep(0.01)
    return False


def test_what_a_process_started_ends_with_it(start: Start) -> None:
    """Stopping a process ends its child, too."""
    process = start(PARENT)
    child = announcement(process)["child"]
    assert alive(process)
    stop([process])
    assert not alive(process)
    assert ended(child)


def test_one_that_ignores_the_request_is_killed(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that ignores SIGTERM is gone when stop returns."""
    monkeypatch.setattr(processes, "_SECONDS_TO_END", 0.2)
    process = start("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('{}', flush=True)\n" + PARENT)
    announcement(process)
    stop([process])
    assert not alive(process)


def test_another_process_with_the_same_id_is_left_alone(start: Start) -> None:
    """A process that has the recorded id but a different start time does not count as the recorded process, and is not
    ended."""
    process = start(PARENT)
    announcement(process)
    other = replace(process, started="1")
    assert not alive(other)
    stop([other])
    assert alive(process)


def test_a_process_that_ends_early_is_reported_with_its_log(start: Start) -> None:
    """Waiting for a failed process ends at once with the process's own output."""
    with pytest.raises(ProcessError, match=r"thing ended by itself(.|\n)*port is taken"):
        announcement(start("raise SystemExit('port is taken')"))


def test_waiting_is_bounded(start: Start) -> None:
    """A process that never announces its readiness does not hold up the starter for ever."""
    with pytest.raises(ProcessError, match="was not ready after 0 s"):
        announcement(start("import time; time.sleep(60)"), seconds=0.2)
