"""Run the unit tests in two processes, each with its own files: `python -m tests.unit`, which `make unit` calls.

`python -m tests.unit COMMAND...` runs a further command at the same time, whose last line counts tests as pytest does:
`make test` names the command of the integration tests. The unit tests then give way (`nice`), and use the times in
which integration tests wait. Each process then begins some seconds after the process before: on a fresh clone the first
process to import a package compiles the package for all, and processes that begin together all compile the same.
"""

import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

FOLDER = Path(__file__).parent
OF_THE_FIRST = frozenset(
    (
        "account_links alarms api_document attribute_values audit audit_dependencies bank between_runs catch_up"
        " clock confirmations crashes currencies dispute_events documents dunning ends entitlement event_publisher"
        " events_out gateway_catch_up import_rows local_stack mail_feedback mail_languages mailbox message metrics"
        " model moves odd_orders offers on_session pauses printable reasons receipt_numbers receipt_pdf"
        " receipt_places receipts refund_events renewal_history rules spans steps sweep telemetry timeline"
        " unit_processes ways_out webhook webhook_handler workflows"
    ).split()
)
"""The files of the first process, which take half of the time. All other files are the second process's, new files too.
Files with the same costly imports stand in the same process."""
PLUGINS = ["-p", "no:xdist", "-p", "no:anyio"]
"""Plugins of pytest that no test uses take a second of each process."""
PYTEST = [
    sys.executable,
    "-c",
    "import os, pytest, sys; ended = pytest.main(); sys.stdout.flush(); os._exit(ended)",
    *PLUGINS,
]
"""This command runs pytest, and then ends the process at once. Python would need two seconds to free what thousands of
tests left in memory."""

APART = 12
"""The seconds between the beginnings of two processes of `make test`."""

_PROGRESS = re.compile(r"[.FEsxX]+ +\[ *\d+%\]\n")
_COUNTED = re.compile(r"(\d+) ([a-z]+)")


def shares() -> list[list[str]]:
    """The test files of each process."""
    found: list[list[str]] = [[], []]
    for path in sorted(FOLDER.glob("test_*.py")):
        found[path.stem.removeprefix("test_") not in OF_THE_FIRST].append(str(path))
    return found


def run(commands: Sequence[Sequence[str]], apart: float = 0) -> int:
    """Run pytest by each command at the same time, and print one last line for all. Returns 1 where any is red.

    apart: the seconds between the beginnings of two commands.
    """
    began = time.monotonic()
    with ThreadPoolExecutor(len(commands)) as pool:
        ran = list(pool.map(_run, commands, (number * apart for number in range(len(commands)))))
    counts = Counter[str]()
    for _, last in ran:
        counts.update({outcome: int(number) for number, outcome in _COUNTED.findall(last.partition(" in ")[0])})
    told = ", ".join(f"{number} {outcome}" for outcome, number in counts.items())
    print(f"{told or 'nothing counted'} in {time.monotonic() - began:.2f}s")
    are_red = any(counts[outcome] for outcome in ("failed", "error", "errors"))
    return int(are_red or any(status != 0 or "passed" not in last for status, last in ran))


def _run(command: Sequence[str], after: float) -> tuple[int, str]:
    """Wait for `after` seconds, and run a command. Lines of progress are printed as they come, and all else in one
    piece. Returns the exit status and the last line."""
    time.sleep(after)
    held: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        for line in process.stdout or ():
            if _PROGRESS.fullmatch(line):
                print(line, end="", flush=True)
            else:
                held.append(line)
    print("".join(held), end="", flush=True)
    return process.returncode, held[-1] if held else ""


def commands(beside: Sequence[str]) -> list[list[str]]:
    """Return the command that runs at the same time, if there is such a command, and the commands of the unit tests."""
    first, second = shares()
    unit = [
        [*PYTEST, "-rs", str(FOLDER), *_without_schemathesis(files), *(f"--ignore={file}" for file in others)]
        for files, others in ((first, second), (second, first))
    ]
    return [list(beside), *(["nice", "-n", "10", *each] for each in unit)] if beside else unit


def _without_schemathesis(files: Sequence[str]) -> list[str]:
    """Return the option for a process without tests of schemathesis (see tests.strangers): to load the plugin takes a
    second."""
    uses = any("from tests.strangers import" in Path(file).read_text() for file in files)
    return [] if uses else ["-p", "no:schemathesis"]


if __name__ == "__main__":
    sys.exit(run(commands(sys.argv[1:]), APART if sys.argv[1:] else 0))
