"""The emulator's log of a call is complete, however late the machine is, and functions may start at the same moment."""

import queue
import sys
import threading
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from local.emulator.functions import _END_OF_LOG, _log_of_call, _register_sessions_one_at_a_time


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


def test_of_two_functions_that_start_at_once_one_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a session is registered, no other thread changes the sessions, which MiniStack then looks through."""
    registered: list[str] = []
    meanwhile: list[threading.Thread] = []

    def register(access_key: str, _session: dict[str, Any]) -> None:
        if access_key == "first":
            meanwhile.append(threading.Thread(target=sts.register_session, args=("second", {})))
            meanwhile[0].start()
            meanwhile[0].join(0.05)
        registered.append(access_key)

    sts = SimpleNamespace(register_session=register)
    monkeypatch.setitem(sys.modules, "ministack", ModuleType("ministack"))
    monkeypatch.setitem(sys.modules, "ministack.services", SimpleNamespace(sts=sts))
    _register_sessions_one_at_a_time()
    sts.register_session("first", {})
    meanwhile[0].join(5)
    assert registered == ["first", "second"]
