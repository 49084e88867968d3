"""Kills a function at a call to AWS, and lists a function's calls to AWS: see `local.cuts`."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from local.emulator.functions import process_of_key
from local.emulator.paths import Answer, answer_at, answer_in_json


@dataclass
class _Watch:
    """A watch of a function's next invocation whose event contains `text`. See `local.cuts`, which creates and lists
    watches.
    """

    function: str
    text: str
    cut_at: int | None = None
    moment: str = "before"
    met: bool = False
    calls: list[str] = field(default_factory=list)

    def next(self, action: str) -> str | None:
        """Record a call to AWS. Returns the moment of the cut if the call must be cut, else None."""
        self.calls.append(action)
        return self.moment if len(self.calls) == self.cut_at else None


def _change_watches(watches: list[_Watch], method: str, body: bytes) -> None:
    if method == "POST":
        watches.append(_Watch(**json.loads(body)))
    if method == "DELETE":
        watches[:] = [watch for watch in watches if watch.met]


def _end(worker: Any) -> None:
    """Kill the function's process. After the return, no answer can reach the process."""
    process = worker._proc
    process.kill()
    process.wait()


def apply() -> None:
    from ministack import app
    from ministack.core import iam_actions, lambda_runtime

    watches: list[_Watch] = []
    invoke, dispatch = lambda_runtime.Worker.invoke, app._dispatch_service_request

    def invoke_watched(worker: Any, event: Any, *more: Any, **named: Any) -> dict[str, Any]:
        function, text = worker.func_name, json.dumps(event)
        worker.watch = next((w for w in watches if not w.met and w.function == function and w.text in text), None)
        if worker.watch:
            worker.watch.met = True
            worker.kill()  # makes the number of a call independent of the process's earlier work
        answer: dict[str, Any] = invoke(worker, event, *more, **named)
        return answer

    async def dispatch_watched(
        method: str, path: str, headers: Any, body: bytes, query: Any, request_id: str
    ) -> tuple[int, dict[str, str], Any]:
        worker = process_of_key.get(app.extract_access_key_id(headers, query))
        watch: _Watch | None = worker.watch if worker else None
        moment = watch.next(action_of(method, path, headers, body, query)) if watch else None
        if moment == "before":
            _end(worker)
            return 503, {}, b""  # the receiver is dead
        answer: tuple[int, dict[str, str], Any] = await dispatch(method, path, headers, body, query, request_id)
        if moment == "after":
            _end(worker)
        return answer

    def action_of(method: str, path: str, headers: Any, body: bytes, query: Any) -> str:
        parameters = app._routing_params(method, path, headers, body, query)
        service = app.detect_service(method, path, headers, parameters)
        return str(iam_actions.extract_iam_action(service, method, path, headers, body, parameters))

    async def control(method: str, _path: str, body: bytes) -> Answer:
        _change_watches(watches, method, body)
        return answer_in_json([asdict(watch) for watch in watches])

    lambda_runtime.Worker.invoke = invoke_watched
    app._dispatch_service_request = dispatch_watched
    answer_at("/_local/watches", control)
