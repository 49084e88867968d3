"""Kills a function's process at one of its calls to AWS, or lists these calls: a control of the local emulator.

A watch waits for the next call of `function` with `text` in its event (a subscription's id, for one), which then runs
in a fresh process. Every request of that process to AWS is listed by its IAM action, in order. At number `cut_at`, if
one is given, the process is killed with SIGKILL: "before" the request is carried out, or "after", when its answer is
lost. The function's caller sees Runtime.ExitError.

    POST   /_local/watches  {"function", "text", "cut_at"?: from 1, "moment"?: "before" | "after"}
    GET    /_local/watches  all of them: [{..., "met": the call has come, "calls": ["dynamodb:Query", ...]}]
    DELETE /_local/watches  ends those whose call has not come
"""

import json
from typing import Any, Literal

import urllib3

type Moment = Literal["before", "after"]


class Cuts:
    """The control of the emulator at `endpoint_url`."""

    def __init__(self, endpoint_url: str) -> None:
        self._url = f"{endpoint_url}/_local/watches"

    def watch(self, function: str, text: str) -> None:
        """Lists the calls that the function makes when it is next called with `text` in its event."""
        self._call("POST", function=function, text=text)

    def cut(self, function: str, text: str, cut_at: int, moment: Moment) -> None:
        """Kills the function then, at its call number `cut_at` (from 1)."""
        self._call("POST", function=function, text=text, cut_at=cut_at, moment=moment)

    def forget(self) -> None:
        """Ends every watch whose call has not come."""
        self._call("DELETE")

    def calls(self, function: str, text: str) -> list[str]:
        """What it called then, in order, the call that was cut last. Raises LookupError if it has not been called."""
        for watch in reversed(self._call("GET")):
            if (watch["function"], watch["text"]) == (function, text) and watch["met"]:
                calls: list[str] = watch["calls"]
                return calls
        raise LookupError(f"{function} was not called with {text}")

    def _call(self, method: str, **watch: Any) -> list[dict[str, Any]]:
        body = json.dumps(watch) if watch else None
        answer = urllib3.request(method, self._url, body=body, timeout=5, retries=False)
        if answer.status != 200:
            raise ValueError(f"the emulator answers {answer.status}: {answer.data!r}")
        watches: list[dict[str, Any]] = answer.json()
        return watches
