"""Reports unfinished work, and lets time pass for queues, alarms and schedules: see `local.time_passes`."""

import asyncio
import itertools
import json
import time
from collections.abc import Callable
from typing import Any

from local.emulator import events, metrics, streams
from local.emulator.clock import Clock
from local.emulator.patching import replace
from local.emulator.paths import Answer, answer_at, answer_in_json

_LONGEST_LOOK = 5.0
"""The longest wait, in seconds, for all work to finish before an answer reports unfinished work."""

_clock_of_schedules = Clock()
_asynchronous_calls: set[object] = set()


def _noted(run: Callable[..., None]) -> Callable[..., None]:
    """Wrap an asynchronous call of a function with its retries. The call counts as work until the last retry is
    over.
    """
    call = object()
    _asynchronous_calls.add(call)

    def run_and_strike_out(*given: Any) -> None:
        try:
            run(*given)
        finally:
            _asynchronous_calls.discard(call)

    return run_and_strike_out


_LATEST = 500  # executions: more than can run at once; a simulated year has tens of thousands


def _at_work() -> int:
    from ministack.services import lambda_svc, sqs, stepfunctions

    sources = [esm["EventSourceArn"] for _, _, esm in lambda_svc._iter_all_esms()]
    queues = [queue for queue in map(sqs._queue_by_arn, sources) if queue]
    now = time.time()
    waiting = sum(message.get("visible_at", now) <= now for queue in queues for message in queue["messages"])
    with_a_function = sum(lambda_svc._esm_inflight.copy().values())
    latest = itertools.islice(reversed(list(stepfunctions._executions._data.values())), _LATEST)
    running = sum(execution["status"] == "RUNNING" for execution in latest)
    deliveries = streams.unread() + events.at_work()
    return int(waiting + with_a_function + running + deliveries + len(_asynchronous_calls))


def _show_all_messages() -> None:
    from ministack.services import lambda_svc, sqs

    with sqs._queues_lock:
        for queue_ in sqs._queues.values():
            for message in queue_["messages"]:
                message["visible_at"] = time.time()
    lambda_svc._esm_wake.set()


def apply() -> None:
    from ministack.services import lambda_svc, scheduler, sns

    replace(lambda_svc, "invoke_async_with_retry", {"args=(_run,)": "args=(noted(_run),)"}, noted=_noted)
    replace(sns, "_fanout", {"args=(_deliver_to_lambda,": "args=(noted(_deliver_to_lambda),"}, noted=_noted)
    scheduler.time = _clock_of_schedules
    answer_at("/_local/alarms", _move_alarms_on)
    answer_at("/_local/schedules", _move_schedules_on)
    answer_at("/_local/time", _tell_what_is_at_work)


async def _move_alarms_on(_method: str, _path: str, body: bytes) -> Answer:
    await asyncio.to_thread(metrics.move_on, json.loads(body)["seconds"])
    await asyncio.to_thread(metrics.look_at_all)
    return answer_in_json({})


async def _move_schedules_on(_method: str, _path: str, body: bytes) -> Answer:
    from ministack.services import scheduler

    _clock_of_schedules.ahead += json.loads(body)["seconds"]
    await asyncio.to_thread(scheduler._tick_schedules)
    return answer_in_json({})


async def _tell_what_is_at_work(method: str, _path: str, _body: bytes) -> Answer:
    until = time.monotonic() + _LONGEST_LOOK
    if method == "POST":
        _show_all_messages()
    while (left := _at_work()) and method == "GET" and time.monotonic() < until:
        await asyncio.sleep(0.02)
    return answer_in_json({"at_work": left})
