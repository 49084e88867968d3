"""The state of an alarm, computed from the alarm's definition and the stored metrics, as CloudWatch does on AWS.

The evaluation follows https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation.html and looks at
the latest EvaluationPeriods periods up to now. Two rules are simpler than CloudWatch's. Periods end at the present
moment, not at a full minute. A period without data stays without data: no value from before the latest periods is used
instead. An alarm for silence must therefore fill missing periods explicitly, with `FILL(runs, 0)`; CloudWatch computes
the filled values exactly like this module.

The supported metric math (https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html):
numbers, ids, + - * /, comparisons, FILL(id, number), IF(condition, then, else) and SUM(METRICS()).
"""

import ast
import operator
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any

type Points = Callable[[str, str, Mapping[str, str]], Iterable[tuple[float, float]]]
"""Returns a metric's values as (time in seconds, value), latest first, for the metric's namespace, name and dimensions.
"""

type Metric = tuple[str, str, frozenset[tuple[str, str]]]
"""The namespace, the name and the dimensions of a metric."""

type Value = float | None
"""The value of a period; None if the period has no data."""

_STATISTICS: dict[str, Callable[[list[float]], float]] = {
    "Sum": sum,
    "Maximum": max,
    "Minimum": min,
    "Average": statistics.fmean,
    "SampleCount": len,
}
_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "GreaterThanThreshold": operator.gt,
    "GreaterThanOrEqualToThreshold": operator.ge,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}


def _quotient(one: float, other: float) -> Value:
    return one / other if other else None


_OPERATORS: dict[type[ast.AST], Callable[[float, float], Value]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: _quotient,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Eq: operator.eq,
}


def metrics_of(alarm: Mapping[str, Any]) -> frozenset[Metric]:
    """Return all metrics that the alarm's state depends on."""
    return frozenset(
        (metric["Namespace"], metric["MetricName"], frozenset(_dimensions_of(metric).items()))
        for metric, _, _ in _looked_at(alarm).values()
    )


def stays_quiet_at_zero(alarm: Mapping[str, Any]) -> bool:
    """Tell whether the alarm is off, and a new value of 0 cannot turn the alarm on: the sum or the maximum of a metric
    would have to exceed a threshold of 0 or more.
    """
    exceeds = alarm.get("Statistic") in ("Sum", "Maximum") and alarm["ComparisonOperator"] == "GreaterThanThreshold"
    return alarm["StateValue"] == "OK" and exceeds and float(alarm["Threshold"]) >= 0


def state_of(alarm: Mapping[str, Any], points: Points, now: float) -> tuple[str, str]:
    """Return the alarm's state at a moment, and the reason for the state.

    An alarm without data that ignores missing data keeps its present state.

    Args:
        alarm: the parameters of PutMetricAlarm, together with StateValue.
        points: returns the values of a metric.
        now: the moment, in seconds.

    Raises:
        ValueError: the alarm uses metric math that this module does not support.
    """
    values = _values(alarm, points, now)
    treatment = alarm.get("TreatMissingData", "missing")
    known = [value for value in values if value is not None]
    if not known and treatment in ("missing", "ignore"):
        return ("INSUFFICIENT_DATA" if treatment == "missing" else alarm["StateValue"]), "there is no data"
    breaches, threshold = _COMPARISONS[alarm["ComparisonOperator"]], float(alarm["Threshold"])
    breaching = sum(breaches(value, threshold) for value in known)
    if treatment == "breaching":
        breaching += len(values) - len(known)
    needed = int(alarm.get("DatapointsToAlarm") or alarm["EvaluationPeriods"])
    told = ", ".join("no data" if value is None else f"{value:g}" for value in values)
    reason = f"latest first: {told}; {alarm['ComparisonOperator']} {threshold:g} in {breaching} of {needed} needed"
    return ("ALARM" if breaching >= needed else "OK"), reason


def _looked_at(alarm: Mapping[str, Any]) -> dict[str, tuple[Mapping[str, Any], int, str]]:
    """Return the metric, the period in seconds and the statistic for every id. An alarm without math gets the id
    `only`.
    """
    if not alarm.get("Metrics"):
        return {"only": (alarm, int(alarm["Period"]), alarm["Statistic"])}
    stats = {query["Id"]: query["MetricStat"] for query in alarm["Metrics"] if "MetricStat" in query}
    return {name: (stat["Metric"], int(stat["Period"]), stat["Stat"]) for name, stat in stats.items()}


def _dimensions_of(metric: Mapping[str, Any]) -> dict[str, str]:
    return {each["Name"]: str(each["Value"]) for each in metric.get("Dimensions") or []}


def _values(alarm: Mapping[str, Any], points: Points, now: float) -> list[Value]:
    """Return the value of each of the latest periods, latest first."""
    looked_at, periods = _looked_at(alarm), range(int(alarm["EvaluationPeriods"]))
    series: dict[str, list[Value]] = {}
    for name, (metric, period, statistic) in looked_at.items():
        kept = points(metric["Namespace"], metric["MetricName"], _dimensions_of(metric))
        since = now - len(periods) * period
        recent = list(_after(since, kept))
        series[name] = [_of_period(recent, now - (n + 1) * period, now - n * period, statistic) for n in periods]
    if not alarm.get("Metrics"):
        return series["only"]
    (expression,) = (query["Expression"] for query in alarm["Metrics"] if "Expression" in query)
    parsed = ast.parse(expression, mode="eval").body
    return [_computed(parsed, {name: values[n] for name, values in series.items()}) for n in periods]


def _after(since: float, points: Iterable[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    return takewhile(lambda point: point[0] > since, points)


def _of_period(points: Sequence[tuple[float, float]], since: float, until: float, statistic: str) -> Value:
    values = [value for at, value in points if since < at <= until]
    return float(_STATISTICS[statistic](values)) if values else None


def _computed(node: ast.expr, values: Mapping[str, Value]) -> Value:
    match node:
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.Name(id=name):
            return values[name]
        case ast.Call(func=ast.Name(id="SUM"), args=[ast.Call(func=ast.Name(id="METRICS"))]):
            known = [value for value in values.values() if value is not None]
            return sum(known) if known else None
        case ast.Call(func=ast.Name(id="FILL"), args=[series, filling]):
            filled = _computed(series, values)
            return _computed(filling, values) if filled is None else filled
        case ast.Call(func=ast.Name(id="IF"), args=[condition, then, otherwise]):
            holds = _computed(condition, values)
            return None if holds is None else _computed(then if holds else otherwise, values)
        case ast.BinOp(left, by, right) | ast.Compare(left, [by], [right]) if type(by) in _OPERATORS:
            one, other = _computed(left, values), _computed(right, values)
            return None if one is None or other is None else _OPERATORS[type(by)](one, other)
    raise ValueError(f"unsupported metric math: {ast.unparse(node)}")
