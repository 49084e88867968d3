"""The growth of time and memory: `python -m benchmarks.growth sweep|audit|history COUNT`, JSON on stdout.

The measurements run over the tests' tables in memory, whose own time is not counted. Memory is the peak of Python's
memory beyond the tables (tracemalloc), measured in a separate run, since tracemalloc takes time.
"""

import gc
import json
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from functools import partial
from typing import Any

from renewals.domain.subscription import parse
from renewals.domain.timeline import timeline
from tests.fakes import NOON, World
from tests.unit.test_audit import audited_day
from tests.unit.test_sweep import due_today

_RENEWALS = 20
_REPORT = "audits/2026-01-29_2026-01-31/report.json"


class _Stopwatch:
    """Measures seconds of the processor, without the time spent in calls of the fakes."""

    def __init__(self, world: World) -> None:
        self._outside = 0.0
        for fake in (world.dynamodb, world.s3, world.ses):
            fake.around = self._around
        world.gateway.cuts.around = self._around  # type: ignore[method-assign, assignment]

    def seconds(self, work: Callable[[], object]) -> float:
        self._outside, began = 0.0, time.process_time()
        work()
        return time.process_time() - began - self._outside

    @contextmanager
    def _around(self, _name: str) -> Iterator[None]:
        began = time.process_time()
        yield
        self._outside += time.process_time() - began


def sweep(rows: int) -> dict[str, float]:
    """Measure a sweep of one date with `rows` due subscriptions, all handed to the queue."""
    sweeper, sink = due_today(rows)
    found = _measured(sweeper.world, sweeper.sweep)
    if sink.count != 2 * rows:
        raise AssertionError(sink.count)
    return found


def audit(renewals: int) -> dict[str, float]:
    """Measure an audit of one day with `renewals` renewals, compared with charges, receipts and mails."""
    auditor = audited_day(renewals)
    found = _measured(auditor.world, auditor.audit)
    report = json.loads(auditor.world.s3.objects[_REPORT]["Body"])
    if report["counts"]["receipted"] != renewals or any(report["differences"].values()):
        raise AssertionError(report)
    return found


def _measured(world: World, work: Callable[[], object]) -> dict[str, float]:
    gc.collect()
    gc.freeze()  # keeps the tables out of garbage collections during the work
    seconds = _Stopwatch(world).seconds(work)
    tracemalloc.start()
    work()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return {"seconds": seconds, "bytes": peak}


def history(periods: int) -> dict[str, float]:
    """Measure a subscription with `periods` earlier periods: the ms of its next renewal, of its timeline, and of the
    first page of its ledger."""
    world = World()
    world.subscribe(interval="day", renewal_date=(NOON.date() - timedelta(days=1)).isoformat())
    world.run("first", NOON - timedelta(days=1))
    [(key, item)] = world.dynamodb.items("renewals").items()
    first = date.fromisoformat(key[1])
    for n in range(1, periods):
        begins, ends = first - timedelta(days=n), first - timedelta(days=n - 1)
        world.dynamodb.put("renewals", item | {"renewal_date": begins.isoformat(), "period_end": ends.isoformat()})
    watch, due, times = _Stopwatch(world), NOON.date().isoformat(), []
    row = world.row()
    for n in range(_RENEWALS):
        times.append(watch.seconds(partial(_renewed, world, f"run-{n}")))
        del world.dynamodb.items("renewals")["sub_1", due]
        world.dynamodb.put("subscriptions", row)
        world.s3.objects.clear()
    return {
        "renewal_ms": 1000 * min(times),
        "timeline_ms": 1000 * min(watch.seconds(lambda: _told(world, row)) for _ in range(_RENEWALS)),
        "page_ms": 1000 * min(watch.seconds(lambda: world.ledger.page("sub_1", limit=50)) for _ in range(_RENEWALS)),
    }


def _renewed(world: World, execution: str) -> None:
    if world.run(execution) != "Success" or world.items()[NOON.date().isoformat()]["status"] != "done":
        raise AssertionError(world.items())


def _told(world: World, row: dict[str, Any]) -> None:
    """Make the timeline as the API does, from the latest 250 periods."""
    items, _ = world.ledger.page("sub_1", limit=250)
    timeline(parse(row).row, items, [])


if __name__ == "__main__":
    json.dump({"sweep": sweep, "audit": audit, "history": history}[sys.argv[1]](int(sys.argv[2])), sys.stdout)
