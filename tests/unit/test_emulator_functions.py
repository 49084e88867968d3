"""The emulator's log of a call is complete, however late the machine is."""

import queue
from types import SimpleNamespace
from typing import Any

from local.emulator.functions import _END_OF_LOG, _log_of_call


class _Output:
    """The lines that a function writes; None stands for a quarter of a second in which no line comes."""

    def __init__(self, *lines: str | None) -> None:
        self._lines = list(lines)

    def get(self, timeout: float) -> str:
        line = self._lines.pop(0) if self._lines else None
        if line is None:
            raise queue.Empty
        return line


def _worker(output: _Output, exit_code: int | None) -> Any:
    return SimpleNamespace(_stderr_queue=output, _proc=SimpleNamespace(poll=lambda: exit_code))


def test_a_log_that_comes_late_is_waited_for() -> None:
    """While the function's process is alive, the log goes on to its end mark, also after times without a line."""
    output = _Output(None, "first", None, None, None, "last", f"{_END_OF_LOG}", "of the next call")
    assert _log_of_call(_worker(output, None)) == "first\nlast"


def test_the_log_of_a_process_that_died_ends() -> None:
    """A process that has died writes no end mark: its log ends when no line comes any more."""
    assert _log_of_call(_worker(_Output("first", "last", None, "never"), 1)) == "first\nlast"
    assert _log_of_call(SimpleNamespace(_stderr_queue=_Output("only"), _proc=None)) == "only"
