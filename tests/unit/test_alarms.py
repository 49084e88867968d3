"""The alarms of the local stack come on and go off as CloudWatch's do."""

from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from local.alarms import metrics_of, state_of, stays_quiet_at_zero

NOW = 100_000.0
ALARM = {
    "Namespace": "shop",
    "MetricName": "Lost",
    "Dimensions": [{"Name": "service", "Value": "ours"}],
    "Statistic": "Sum",
    "Period": 60,
    "EvaluationPeriods": 1,
    "Threshold": 2,
    "ComparisonOperator": "GreaterThanThreshold",
    "TreatMissingData": "notBreaching",
    "StateValue": "INSUFFICIENT_DATA",
}


def state(alarm: Mapping[str, Any], **values: list[tuple[float, float]]) -> str:
    """Return the state of an alarm. values: by the metric's name, (seconds ago, value), latest first."""

    def points(namespace: str, name: str, dimensions: Mapping[str, str]) -> Iterable[tuple[float, float]]:
        assert (namespace, dimensions) == ("shop", {"service": "ours"})
        return ((NOW - ago, value) for ago, value in values.get(name, []))

    return state_of(alarm, points, NOW)[0]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "ALARM"),
        ({"Threshold": 3}, "OK"),
        ({"Threshold": 3, "ComparisonOperator": "GreaterThanOrEqualToThreshold"}, "ALARM"),
        ({"Statistic": "Maximum", "Threshold": 1}, "ALARM"),
        ({"Statistic": "Maximum"}, "OK"),
        ({"Statistic": "SampleCount", "Threshold": 2, "ComparisonOperator": "LessThanThreshold"}, "OK"),
        ({"Period": 120, "Threshold": 10}, "ALARM"),
        ({"EvaluationPeriods": 2}, "ALARM"),
        ({"EvaluationPeriods": 3}, "OK"),
        ({"EvaluationPeriods": 3, "DatapointsToAlarm": 2}, "ALARM"),
    ],
)
def test_the_latest_periods_are_held_against_the_threshold(changes: dict[str, Any], expected: str) -> None:
    """The statistic of every evaluated period is compared with the threshold. The alarm is on when enough periods
    breach the threshold; older values do not count."""
    assert state(ALARM | changes, Lost=[(5, 2), (50, 1), (70, 9), (1000, 99)]) == expected


@pytest.mark.parametrize("statistic", ["Sum", "Maximum", "Minimum", "Average", "SampleCount"])
@pytest.mark.parametrize("comparison", [f"{each}Threshold" for each in ("GreaterThan", "GreaterThanOrEqualTo",
                                                                        "LessThan", "LessThanOrEqualTo")])  # fmt: skip
@pytest.mark.parametrize("threshold", [-1, 0, 2])
def test_an_alarm_that_stays_quiet_at_zero_is_off_with_a_zero_more(
    statistic: str, comparison: str, threshold: float
) -> None:
    """Each alarm said to stay quiet at a value of 0 is off after the value too, whatever the missing data mean. Each
    quiet alarm on a sum or a maximum above 0 or more is said to stay quiet, and no alarm that is on."""
    said = 0
    cases: list[list[tuple[float, float]]]
    cases = [[], [(70, 0)], [(70, 1)], [(5, 0)], [(5, 1)], [(5, 2), (70, 1)], [(5, 3)]]
    for values in cases:
        for treatment in ("notBreaching", "breaching", "missing", "ignore"):
            alarm = ALARM | {"Statistic": statistic, "ComparisonOperator": comparison, "Threshold": threshold}
            alarm |= {"TreatMissingData": treatment, "EvaluationPeriods": 2, "StateValue": "OK"}
            alarm |= {"StateValue": state(alarm, Lost=values)}
            if stays_quiet_at_zero(alarm):
                said += 1
                assert state(alarm, Lost=[(1, 0), *values]) == "OK" == alarm["StateValue"]
    exceeded = statistic in ("Sum", "Maximum") and comparison == "GreaterThanThreshold" and threshold >= 0
    assert bool(said) == exceeded


@pytest.mark.parametrize(
    ("treatment", "expected"),
    [("notBreaching", "OK"), ("breaching", "ALARM"), ("missing", "INSUFFICIENT_DATA"), ("ignore", "as it was")],
)
def test_silence_is_what_the_alarm_says_it_is(treatment: str, expected: str) -> None:
    """Without data an alarm is off, on, undecided or as before, by its own treatment of missing data."""
    assert state(ALARM | {"TreatMissingData": treatment, "StateValue": "as it was"}, Lost=[(61, 9)]) == expected


def _math(expression: str, *names: str) -> dict[str, Any]:
    stats: list[dict[str, Any]] = [
        {
            "Id": name.lower(),
            "MetricStat": {
                "Metric": {"Namespace": "shop", "MetricName": name, "Dimensions": ALARM["Dimensions"]},
                "Period": 60,
                "Stat": "Sum",
            },
        }
        for name in names
    ]
    unneeded = ("Namespace", "MetricName", "Dimensions", "Statistic", "Period")
    rest = {name: value for name, value in ALARM.items() if name not in unneeded}
    return rest | {"Metrics": [{"Id": "told", "Expression": expression}, *stats]}


@pytest.mark.parametrize(
    ("expression", "values", "expected"),
    [
        ("IF(tried >= 20, 100 * lost / tried, 0)", {"Tried": [(1, 20)], "Lost": [(1, 1)]}, "ALARM"),
        ("IF(tried >= 20, 100 * lost / tried, 0)", {"Tried": [(1, 19)], "Lost": [(1, 19)]}, "OK"),
        ("IF(tried >= 20, 100 * lost / tried, 0)", {"Lost": [(1, 19)]}, "OK"),
        ("lost / tried", {"Tried": [(1, 0)], "Lost": [(1, 19)]}, "OK"),
        ("FILL(tried, 9) + 0", {}, "ALARM"),
        ("FILL(tried, 9) - 8 < 0", {"Tried": [(1, 0)]}, "OK"),
        ("SUM(METRICS())", {"Tried": [(1, 2)], "Lost": [(1, 1)]}, "ALARM"),
        ("SUM(METRICS())", {"Lost": [(1, 3)]}, "ALARM"),
        ("SUM(METRICS())", {"Lost": [(1, 2)]}, "OK"),
        ("SUM(METRICS())", {}, "OK"),
    ],
)
def test_math(expression: str, values: dict[str, list[tuple[float, float]]], expected: str) -> None:
    """In an alarm on an expression, a term without data gives no result, unless the term is filled."""
    alarm = _math(expression, "Tried", "Lost")
    assert state(alarm, **values) == expected
    ours = frozenset({("service", "ours")})
    assert metrics_of(alarm) == {("shop", "Tried", ours), ("shop", "Lost", ours)}


def test_math_that_is_not_known_is_refused() -> None:
    """An expression that would be misunderstood is an error, not an alarm that never fires."""
    with pytest.raises(ValueError, match="RATE"):
        state(_math("RATE(lost)", "Lost"), Lost=[(1, 1)])
