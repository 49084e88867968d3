"""The emulator evaluates alarms soon after new values of their metrics, and loses no value."""

import sys
from contextlib import nullcontext
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from local.emulator.metrics import News, clock, move_on, news


class CloudWatch(ModuleType):
    """The part of MiniStack's CloudWatch that keeps alarms and values.

    changes: the names and states of the alarms whose state has changed, oldest first.
    """

    def __init__(self) -> None:
        super().__init__("cloudwatch")
        self._alarms = {name: _alarm(name) for name in ("ours", "theirs")}
        self._metrics: dict[Any, list[dict[str, float]]] = {}
        self.changes: list[tuple[str, str]] = []

    def _dims_key(self, dimensions: dict[str, str]) -> tuple[tuple[str, str], ...]:
        return tuple(sorted(dimensions.items()))

    def _record_history(self, alarm: str, _before: str, state: str, _reason: str) -> None:
        self.changes.append((alarm, state))

    def _dispatch_alarm_actions(self, *_: object) -> None:
        """Call nobody."""

    def keep(self, service: str) -> None:
        key = ("Test", "Lost", (("service", service),))
        self._metrics.setdefault(key, []).append({"Timestamp": clock.time(), "Value": 1.0})


def _alarm(service: str) -> dict[str, Any]:
    return {
        "AlarmName": service, "Namespace": "Test", "MetricName": "Lost", "StateValue": "OK", "Statistic": "Sum",
        "Dimensions": [{"Name": "service", "Value": service}], "Period": 300, "EvaluationPeriods": 1, "Threshold": 0,
        "ComparisonOperator": "GreaterThanThreshold", "TreatMissingData": "notBreaching",
    }  # fmt: skip


def _metric(service: str) -> tuple[str, str, frozenset[tuple[str, str]]]:
    return "Test", "Lost", frozenset({("service", service)})


@pytest.fixture
def cloudwatch(monkeypatch: pytest.MonkeyPatch) -> CloudWatch:
    made = CloudWatch()
    monkeypatch.setitem(sys.modules, "ministack", ModuleType("ministack"))
    sqs = SimpleNamespace(_queues_lock=nullcontext(), _queues={})
    monkeypatch.setitem(sys.modules, "ministack.services", SimpleNamespace(cloudwatch=made, sqs=sqs))
    return made


def test_an_alarm_with_a_new_value_is_evaluated(cloudwatch: CloudWatch) -> None:
    """A look evaluates the alarms on metrics with new values, and no other alarms: an alarm without news costs
    nothing."""
    news = News()
    for service in ("ours", "theirs"):
        cloudwatch.keep(service)
    news.tell(_metric("ours"), 1)
    news.look()
    assert cloudwatch.changes == [("ours", "ALARM")]
    news.tell(_metric("theirs"), 1)
    news.look()
    assert cloudwatch.changes == [("ours", "ALARM"), ("theirs", "ALARM")]


def test_a_value_that_comes_during_a_look_is_seen_by_the_next(cloudwatch: CloudWatch) -> None:
    """A value may arrive while the alarms are evaluated: the next look evaluates the value's alarm."""
    news, record = News(), cloudwatch._record_history

    def comes_meanwhile(alarm: str, _before: str, state: str, _reason: str) -> None:
        record(alarm, _before, state, _reason)
        cloudwatch.keep("theirs")
        news.tell(_metric("theirs"), 1)

    cloudwatch.keep("ours")
    cloudwatch._record_history = comes_meanwhile  # type: ignore[method-assign]
    news.tell(_metric("ours"), 1)
    news.look()
    cloudwatch._record_history = record  # type: ignore[method-assign]
    news.look()
    assert cloudwatch.changes == [("ours", "ALARM"), ("theirs", "ALARM")]


def test_a_look_that_was_disturbed_is_repeated(cloudwatch: CloudWatch) -> None:
    """If the collections change in the midst of a look, nothing is raised, and the next look sees the same news."""
    news, calls = News(), []

    def disturbed(dimensions: dict[str, str]) -> tuple[tuple[str, str], ...]:
        calls.append(dimensions)
        if len(calls) == 1:
            raise RuntimeError("dictionary changed size during iteration")
        return tuple(dimensions.items())

    cloudwatch.keep("ours")
    cloudwatch._dims_key = disturbed  # type: ignore[method-assign]
    news.tell(_metric("ours"), 1)
    news.look()
    assert cloudwatch.changes == []
    news.look()
    assert cloudwatch.changes == [("ours", "ALARM")]


def test_a_zero_beside_another_value_hides_no_value(cloudwatch: CloudWatch) -> None:
    """A value of zero alone evaluates no alarm that zeros cannot turn on. A zero before or after a larger value does
    not keep the alarm from the evaluation."""
    news = News()
    cloudwatch.keep("ours")
    news.tell(_metric("ours"), 0)
    news.look()
    assert cloudwatch.changes == []
    for value in (0, 1, 0):
        news.tell(_metric("ours"), value)
    news.look()
    assert cloudwatch.changes == [("ours", "ALARM")]


def test_a_value_is_seen_before_the_clock_is_moved_on(cloudwatch: CloudWatch, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test may move the clock on a moment after a value: the alarm of the value has come on before, as CloudWatch
    would have turned the alarm on meanwhile."""
    monkeypatch.setattr(clock, "ahead", 0.0)
    cloudwatch.keep("ours")
    news.tell(_metric("ours"), 1)
    move_on(3600)
    assert cloudwatch.changes == [("ours", "ALARM")]
