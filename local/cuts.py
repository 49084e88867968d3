"""The client of a test control of the local emulator, which kills or watches a function at a call to AWS.

A watch waits for the next invocation of `function` whose event contains `text`, for example a subscription's id. The
watched invocation runs in a fresh process. The emulator lists every request of the process to AWS by the request's IAM
action, in order. If the watch has `cut_at`, the emulator kills the process with SIGKILL at the request with this
number: either "before" the request is carried out, or "after", so that the answer is lost. The function's caller
receives Runtime.ExitError.

    POST   /_local/watches  {"function", "text", "cut_at"?: from 1, "moment"?: "before" | "after"}
    GET    /_local/watches  lists the watches: [{..., "met": has the call come?, "calls": ["dynamodb:Query", ...]}]
    DELETE /_local/watches  ends the watches whose invocation has not come
"""

import json
from typing import Any, Literal

import urllib3

type Moment = Literal["before", "after"]


class Cuts:
    """Controls the watches of the emulator at `endpoint_url`."""

    def __init__(self, endpoint_url: str) -> None:
        self._url = f"{endpoint_url}/_local/watches"

    def watch(self, function: str, text: str) -> None:
        """List the calls to AWS of the function's next invocation whose event contains `text`."""
        self._call("POST", function=function, text=text)

    def cut(self, function: str, text: str, cut_at: int, moment: Moment) -> None:
        """Kill the function at AWS call number `cut_at` (counted from 1) of the next invocation whose event contains
        `text`.
        """
        self._call("POST", function=function, text=text, cut_at=cut_at, moment=moment)

    def forget(self) -> None:
        """End every watch whose invocation has not come."""
        self._call("DELETE")

    def calls(self, function: str, text: str) -> list[str]:
        """Return the function's calls to AWS in the latest watched invocation, in order, ending with the call that was
        cut.

        Raises:
            LookupError: no watched invocation has come.
        """
        for watch in reversed(self._call("GET")):
            if (watch["function"], watch["text"]) == (function, text) and watch["met"]:
                calls: list[str] = watch["calls"]
                return calls
        raise LookupError(f"{function} was not called with {text}")

    def _call(self, method: str, **watch: Any) -> list[dict[str, Any]]:
        body = json.dumps(watch) if watch else None
        answer = urllib3.request(method, self._url, body=body, timeout=5, retries=False)
        if answer.status != 200:
            raise ValueError(f"the emulator answered {answer.status}: {answer.data!r}")
        watches: list[dict[str, Any]] = answer.json()
        return watches
