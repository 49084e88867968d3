"""The work of a function from the start of its process to its first call of AWS, with tracing, as on Lambda."""

import os
import re
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.built import ROOT, Function
from benchmarks.first_call import REACHED

BARE_PYTHON = ROOT / ".envs/lambda/bin/python3.13"
PYTHON = ROOT / ".venv/bin/python"
VALGRIND = shutil.which("valgrind")
_RUNS = 15
_SECONDS = 600
_SCRIPT = Path(__file__).with_name("first_call.py")


class NotReachedError(Exception):
    """The process did not come to its first call. The message holds the output of the process."""


@dataclass(frozen=True)
class Start:
    """The measured start of a process.

    cpu_ms: user and system time, the least of several runs. instructions: None without valgrind. files: the number of
    opened files.
    """

    cpu_ms: float
    instructions: int | None
    files: int | None


def of_function(function: Function, instructions: int | None) -> Start:
    """Measure a built function, with its instructions counted before."""
    with tempfile.TemporaryDirectory(dir=function.code.parent.parent) as folder:
        command, environment = _start_of(function, Path(folder))
        return Start(
            cpu_ms=min(_cpu_ms(command, environment) for _ in range(_RUNS)),
            instructions=instructions,
            files=int(_run(command, environment | {"COUNT_FILES": "1"})),
        )


def of_command(python: Path, code: str) -> Start:
    """Measure a Python command for comparison."""
    command, environment = [str(python), "-c", code], _LAMBDA | {"PYTHONHASHSEED": "0"}
    _run(command, environment, expected=0)  # writes missing bytecode
    return Start(
        cpu_ms=min(_cpu_ms(command, environment, expected=0) for _ in range(_RUNS)),
        instructions=_instructions(command, environment, expected=0),
        files=None,
    )


def instructions_of(function: Function) -> int | None:
    """Return the number of instructions of a built function's start, which repeats to within a thousandth; None without
    valgrind."""
    with tempfile.TemporaryDirectory(dir=function.code.parent.parent) as folder:
        return _instructions(*_start_of(function, Path(folder)))


def _start_of(function: Function, folder: Path) -> tuple[list[str], dict[str, str]]:
    path = function.lay_out(folder)
    command = [str(BARE_PYTHON), str(_SCRIPT), function.handler, str(function.event)]
    return command, _LAMBDA | function.environment | {"PYTHONPATH": os.pathsep.join(map(str, path))}


# Lambda's variables, https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html, and none of this machine
_LAMBDA = {
    "LAMBDA_TASK_ROOT": "/var/task",
    "AWS_REGION": "us-west-2",
    "AWS_DEFAULT_REGION": "us-west-2",
    "AWS_ACCESS_KEY_ID": "none",
    "AWS_SECRET_ACCESS_KEY": "none",
    "AWS_SESSION_TOKEN": "none",
    "AWS_LAMBDA_FUNCTION_NAME": "function",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
    "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
    "AWS_XRAY_DAEMON_ADDRESS": "127.0.0.1:2000",
    "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
    "_X_AMZN_TRACE_ID": "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1",
    "PYTHONHASHSEED": "0",
}


def _run(command: Sequence[str], environment: dict[str, str], *, expected: int = REACHED) -> str:
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_SECONDS, check=False)
    if ended.returncode != expected:
        raise NotReachedError(f"{' '.join(command)} ended with {ended.returncode}: {ended.stderr[-2000:]}")
    return ended.stdout if expected == REACHED and "COUNT_FILES" in environment else ended.stderr


def _cpu_ms(command: Sequence[str], environment: dict[str, str], *, expected: int = REACHED) -> float:
    before = _children_seconds()
    _run(command, environment, expected=expected)
    return 1000 * (_children_seconds() - before)


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _instructions(command: Sequence[str], environment: dict[str, str], *, expected: int = REACHED) -> int | None:
    if VALGRIND is None:
        return None
    # Callgrind counts the same, but takes twice as long, since Callgrind follows calls. Valgrind must not read code on
    # past a branch, or code behind the branch would be counted without having run.
    counting = ["--tool=cachegrind", "--cache-sim=no", f"--cachegrind-out-file={os.devnull}", "--vex-guest-chase=no"]
    told = _run([VALGRIND, *counting, *command], environment, expected=expected)
    counted = re.search(r"I +refs: +([\d,]+)", told)
    if counted is None:
        raise NotReachedError(f"valgrind counted nothing: {told[-2000:]}")
    return int(counted[1].replace(",", ""))
