"""Lets time pass on the local emulator: a control for the simulation, in which a day lasts a second.

    GET  /_local/time    {"at_work": how many messages and records of streams wait for a function or are with one,
                         workflows run, and asynchronous calls of functions and deliveries of events are not over,
                         between two attempts included}: as soon as there is no work, or after five seconds
    POST /_local/time    the visibility timeout of every message of every queue ends now; the same answer, at once
    POST /_local/alarms  {"seconds"}: metrics and alarms go by a clock that is so much further on; every alarm is looked
                         at before it answers
    POST /_local/schedules  {"seconds"}: the same for schedules; each that is due then has called its target before it
                         answers

A Wait of a workflow, which the pauses between its retries are too, can be made shorter by a control of MiniStack's own.
Everything else takes the time it takes.
"""

import time

import urllib3


class TimePasses:
    """The control of the emulator at `endpoint_url`."""

    def __init__(self, endpoint_url: str) -> None:
        self._endpoint_url = endpoint_url
        self._pool = urllib3.PoolManager(timeout=10, retries=False)

    def until_all_is_done(self, seconds: float) -> None:
        """Waits until nothing is at work. Raises TimeoutError after `seconds`."""
        deadline, quiet = time.monotonic() + seconds, 0
        while quiet < 2:  # between two steps of the emulator's own there may be nothing to see
            quiet = quiet + 1 if self._call("GET", "/_local/time") == 0 else 0
            time.sleep(0.01)
            if time.monotonic() > deadline:
                raise TimeoutError(f"there is work left after {seconds:.0f} s")

    def hidden_messages_appear(self) -> None:
        """So much time has passed that every message is visible again. Nothing may be at work."""
        self._call("POST", "/_local/time")

    def scale_waits_of_workflows(self, scale: float) -> None:
        """From now on a workflow's waits, and pauses before retries, last `scale` times as long as they say."""
        asked = {"stepfunctions._SFN_WAIT_SCALE": scale}
        answer = self._pool.request("POST", f"{self._endpoint_url}/_ministack/config", json=asked)
        if answer.json() != {"applied": asked}:
            raise ValueError(f"the emulator answers {answer.status}: {answer.data!r}")

    def for_alarms(self, seconds: float) -> None:
        """So much time has passed for metrics and alarms, and for nothing else. 0: they are looked at now."""
        self._move_on("/_local/alarms", seconds)

    def for_schedules(self, seconds: float) -> None:
        """So much time has passed for schedules, and for nothing else."""
        self._move_on("/_local/schedules", seconds)

    def _move_on(self, path: str, seconds: float) -> None:
        answer = self._pool.request("POST", self._endpoint_url + path, json={"seconds": seconds})
        if answer.status != 200:
            raise ValueError(f"the emulator answers {answer.status}: {answer.data!r}")

    def _call(self, method: str, path: str) -> int:
        answer = self._pool.request(method, self._endpoint_url + path)
        if answer.status != 200:
            raise ValueError(f"the emulator answers {answer.status}: {answer.data!r}")
        return int(answer.json()["at_work"])
