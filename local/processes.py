"""Background processes that outlive the program that started them. The same or a later program ends the processes.

A process is identified by its id and its start time: after the process has ended, the system may reuse the id. Every
process leads a session of its own. Ctrl-C in the terminal therefore does not reach the process, and children of the
process can be ended together with the process.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SECONDS_TO_END = 2.0
_PROC = Path("/proc")
_ON_LINUX = (_PROC / "self" / "stat").exists()
_GROUP, _START = 2, 19

# The processes started by this program. The program must wait for their end, or ended processes stay as zombies.
_children: dict[int, subprocess.Popen[bytes]] = {}


class ProcessError(Exception):
    """A process ended, or was not ready in time. The message holds the end of the process's log."""


@dataclass(frozen=True)
class Process:
    """A process started by this program or an earlier program. `started` is an opaque value."""

    name: str
    pid: int
    started: str
    log: str


def launch(name: str, command: Sequence[str], *, folder: Path, environment: Mapping[str, str], log: Path) -> Process:
    """Start `command` in `folder` with no environment variables but `environment`. The output goes to `log`."""
    with log.open("wb") as output:
        child = subprocess.Popen(
            command,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    _children[child.pid] = child
    return Process(name, child.pid, _started_at(child.pid), str(log))


def alive(process: Process) -> bool:
    """Tell whether exactly this process still runs."""
    child = _children.get(process.pid)
    if child is not None and child.poll() is not None:
        return False
    return process.started != "" and _started_at(process.pid) == process.started


def announcement(process: Process, seconds: float = 20) -> dict[str, Any]:
    """Return the JSON object that a process prints on its own line when ready. Raises ProcessError."""
    return wait_for(process, lambda: _first_object(Path(process.log)), seconds)


def wait_for[T](process: Process, ready: Callable[[], T | None], seconds: float) -> T:
    """Return the first result of `ready` other than None. Raises ProcessError if the process ends or time is up."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        running = alive(process)
        result = ready()
        if result is not None:
            return result
        if not running:
            raise ProcessError(f"{process.name} ended by itself. {tail(Path(process.log))}")
        time.sleep(0.02)
    raise ProcessError(f"{process.name} was not ready after {seconds:.0f} s. {tail(Path(process.log))}")


def stop(processes: Sequence[Process]) -> None:
    """End all processes together with their children: first with SIGTERM, and after two seconds with SIGKILL."""
    groups = [process.pid for process in processes if alive(process)]
    for sent in (signal.SIGTERM, signal.SIGKILL):
        for group in groups:
            with suppress(ProcessLookupError):
                os.killpg(group, sent)
        deadline = time.monotonic() + _SECONDS_TO_END
        while groups and time.monotonic() < deadline:
            groups = [group for group in groups if _group_runs(group)]
            time.sleep(0.02)


def tail(log: Path, lines: int = 25) -> str:
    """Return the last lines of a log, below the log's name."""
    text = log.read_text(errors="replace").splitlines()[-lines:] if log.exists() else []
    return "\n".join([f"The end of {log}:", *text])


def _first_object(log: Path) -> dict[str, Any] | None:
    for line in log.read_text(errors="replace").splitlines(keepends=True):
        if line.startswith("{") and line.endswith("\n"):
            found: dict[str, Any] = json.loads(line)
            return found
    return None


def _group_runs(leader: int) -> bool:
    if _group_has_members(leader):
        return True
    child = _children.pop(leader, None)
    if child is not None:
        child.wait()  # collects the zombie
    return False


def _group_has_members(leader: int) -> bool:
    if _ON_LINUX:
        processes = (_stat(int(entry.name)) for entry in _PROC.iterdir() if entry.name.isdigit())
        return any(fields[_GROUP] == str(leader) for fields in processes if fields)
    try:
        os.killpg(leader, 0)
    except (ProcessLookupError, PermissionError):  # macOS refuses to signal a group of zombies
        return False
    return True


def _started_at(pid: int) -> str:
    """Return the process's start time; an empty string if the process has ended, even if a zombie is left."""
    if _ON_LINUX:
        fields = _stat(pid)
        return fields[_START] if fields else ""
    command = ["ps", "-o", "lstart=", "-p", str(pid)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the process state on (Linux, proc(5)); empty for an ended process."""
    try:
        # The name before the state stands in brackets and may contain anything.
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [] if fields[0] in "ZX" else fields
