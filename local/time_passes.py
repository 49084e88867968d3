"""Lets time pass on the local emulator: a control for the simulation, where a day lasts a second.

    GET  /_local/time    {"at_work": the amount of unfinished work}: answers as soon as no work is left, or after five
                         seconds. Counted are messages and stream records that wait for a function or are being
                         processed, running workflows, and asynchronous calls of functions and deliveries of events
                         that are not over, pauses between attempts included
    POST /_local/time    ends the visibility timeout of every message in every queue; answers like GET, but at once
    POST /_local/alarms  {"seconds"}: moves the clock of metrics and alarms on, and evaluates every alarm before
                         answering
    POST /_local/schedules  {"seconds"}: moves the clock of schedules on, and calls the target of every due schedule
                         before answering

A control of MiniStack shortens the Wait states of workflows and the pauses between a workflow's retries. No control
shortens anything else.
"""

import time

import urllib3


class TimePasses:
    """Controls the clocks of the emulator at `endpoint_url`."""

    def __init__(self, endpoint_url: str) -> None:
        self._endpoint_url = endpoint_url
        self._pool = urllib3.PoolManager(timeout=10, retries=False)

    def until_all_is_done(self, seconds: float) -> None:
        """Wait until no work is left. Raises TimeoutError after `seconds`."""
        deadline, quiet = time.monotonic() + seconds, 0
        while quiet < 2:  # between two steps of the emulator, work may be invisible for a moment
            quiet = quiet + 1 if self._call("GET", "/_local/time") == 0 else 0
            time.sleep(0.01)
            if time.monotonic() > deadline:
                raise TimeoutError(f"work is left after {seconds:.0f} s")

    def hidden_messages_appear(self) -> None:
        """Make every hidden message visible, as if the visibility timeouts had passed. No work may be left."""
        self._call("POST", "/_local/time")

    def scale_waits_of_workflows(self, scale: float) -> None:
        """Multiply the waits of workflows, and the pauses before retries, by `scale` from now on."""
        asked = {"stepfunctions._SFN_WAIT_SCALE": scale}
        answer = self._pool.request("POST", f"{self._endpoint_url}/_ministack/config", json=asked)
        if answer.json() != {"applied": asked}:
            raise ValueError(f"the emulator answered {answer.status}: {answer.data!r}")

    def for_alarms(self, seconds: float) -> None:
        """Let `seconds` pass for metrics and alarms, and for nothing else. With 0, all alarms are evaluated now."""
        self._move_on("/_local/alarms", seconds)

    def for_schedules(self, seconds: float) -> None:
        """Let `seconds` pass for schedules, and for nothing else."""
        self._move_on("/_local/schedules", seconds)

    def _move_on(self, path: str, seconds: float) -> None:
        answer = self._pool.request("POST", self._endpoint_url + path, json={"seconds": seconds})
        if answer.status != 200:
            raise ValueError(f"the emulator answered {answer.status}: {answer.data!r}")

    def _call(self, method: str, path: str) -> int:
        answer = self._pool.request(method, self._endpoint_url + path)
        if answer.status != 200:
            raise ValueError(f"the emulator answered {answer.status}: {answer.data!r}")
        return int(answer.json()["at_work"])
