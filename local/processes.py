"""Background processes that outlive the program that starts them, and are ended by it or by a later one.

A process is known by its id and the moment it started: an id alone may belong to another by the time it is ended.
Each leads a session of its own, so that Ctrl-C does not reach it and what it starts can be ended with it.
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

# Those started by this program: their end is waited for here, so that none stays a zombie.
_children: dict[int, subprocess.Popen[bytes]] = {}


class ProcessError(Exception):
    """A process ended, or said nothing in time. The message holds the end of its log."""


@dataclass(frozen=True)
class Process:
    """A process started by this or an earlier program. `started` is opaque."""

    name: str
    pid: int
    started: str
    log: str


def launch(name: str, command: Sequence[str], *, folder: Path, environment: Mapping[str, str], log: Path) -> Process:
    """Starts `command` in `folder`, with nothing but `environment`, its output in `log`."""
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
    """Whether this very process still runs."""
    child = _children.get(process.pid)
    if child is not None and child.poll() is not None:
        return False
    return process.started != "" and _started_at(process.pid) == process.started


def announcement(process: Process, seconds: float = 20) -> dict[str, Any]:
    """The JSON object that a process prints as a line of its own when it is ready. Raises ProcessError."""
    return wait_for(process, lambda: _first_object(Path(process.log)), seconds)


def wait_for[T](process: Process, ready: Callable[[], T | None], seconds: float) -> T:
    """The first result of `ready` that is not None. Raises ProcessError when the process ends or time is up."""
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
    """Ends each with all that it started: asked first, killed if it has not ended soon."""
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
    """The end of a log, introduced by its name."""
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
        child.wait()  # it is a corpse
    return False


def _group_has_members(leader: int) -> bool:
    if _ON_LINUX:
        processes = (_stat(int(entry.name)) for entry in _PROC.iterdir() if entry.name.isdigit())
        return any(fields[_GROUP] == str(leader) for fields in processes if fields)
    try:
        os.killpg(leader, 0)
    except (ProcessLookupError, PermissionError):  # macOS refuses to signal a group of corpses
        return False
    return True


def _started_at(pid: int) -> str:
    """When the process started; nothing if there is none, or only its corpse."""
    if _ON_LINUX:
        fields = _stat(pid)
        return fields[_START] if fields else ""
    command = ["ps", "-o", "lstart=", "-p", str(pid)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def _stat(pid: int) -> list[str]:
    """Linux's account of a running process, from its state on (proc(5)); empty for one that has ended."""
    try:
        # The name before the state is in brackets, and may hold anything.
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [] if fields[0] in "ZX" else fields
