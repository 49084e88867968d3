"""Draws the template's dashboard without CloudWatch: `python -m local.dashboard` writes docs/dashboard.png.

The command plays a day on a local stack made for the purpose. Every hour, new customers subscribe, a sweep renews due
subscriptions, and the clock of the metrics moves on by an hour. Some cards are declined; the gateway is down for two
hours; a message that no consumer can read enters the queue. The command then queries the stack's own CloudWatch with
the dashboard's own JSON. Durations in the picture are durations on this machine.
"""

import json
import math
import random
import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from local.gateway import Sandbox, official_client
from local.progress import console, step
from local.stack import ROOT, Stack, free_port
from local.time_passes import TimePasses

_HOURS = 24
_DOWN = (9, 10)
_POISONED = 15
_SEED = 7
_WORK_SECONDS = 120
_CARDS = {
    "pm_card_visa": 0.86,
    "pm_card_visa_chargeDeclinedInsufficientFunds": 0.08,
    "pm_card_visa_chargeDeclinedLostCard": 0.03,
    "pm_card_authenticationRequired": 0.03,
}
"""The test cards of the customers, with the probability of each card."""

_PRICES = (("29.99", "USD"), ("24.90", "EUR"), ("2980", "JPY"))
_COLORS = {"OK": "#2ca02c", "ALARM": "#d62728", "INSUFFICIENT_DATA": "#999999"}


class _Day:
    """The events of the day on the stack."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._random = random.Random(_SEED)  # noqa: S311  (a story, no secret)
        self._time = TimePasses(stack.endpoint_url)
        self._time.scale_waits_of_workflows(0.05)
        self._gateway = official_client(stack.gateway_url, stack.gateway_key).v1
        self._sandbox = Sandbox(stack.gateway_url)
        tables = stack.session.resource("dynamodb", endpoint_url=stack.endpoint_url)
        self._rows = tables.Table(stack.outputs["SubscriptionsTableName"])
        self._functions, self._sqs = stack.client("lambda"), stack.client("sqs")

    def live(self, hour: int) -> None:
        if hour == _POISONED:
            queue = self._stack.outputs["RenewalQueueUrl"]
            self._sqs.send_message(QueueUrl=queue, MessageBody="{}")
        for number in range(self._random.randint(2, 9)):
            self._subscribe(f"{hour}-{number}")
        if hour in _DOWN:
            self._sandbox.hostile("500", "*", calls=100_000)
        self._call("SweepFunctionName", {"sweep": "due"})
        for _ in range(5):  # the queue delivers a message up to five times within the hour
            self._time.until_all_is_done(_WORK_SECONDS)
            self._time.hidden_messages_appear()
        self._time.until_all_is_done(_WORK_SECONDS)
        self._sandbox.peaceful()
        self._time.for_alarms(3600)

    def night(self) -> None:
        """Run the audit and the catch-up, as their schedules do at night."""
        today = datetime.now(UTC).date()
        days = {"from": (today - timedelta(days=1)).isoformat(), "to": today.isoformat()}
        self._call("AuditFunctionName", days)
        self._call("CatchUpFunctionName", {})

    def _subscribe(self, identity: str) -> None:
        amount, currency = self._random.choice(_PRICES)
        [card] = self._random.choices(list(_CARDS), list(_CARDS.values()))
        customer = self._gateway.customers.create({"name": "Ann Lee"})
        saved = self._gateway.payment_methods.attach("pm_card_visa", {"customer": customer.id})
        self._sandbox.change_card(saved.id, card)
        self._rows.put_item(
            Item={
                "subscription_id": f"sub-{identity}",
                "customer_id": f"cus-{identity}",
                "status": "active",
                "renewal_date": datetime.now(UTC).date().isoformat(),
                "amount": Decimal(amount),
                "currency": currency,
                "plan": "Pro",
                "customer_name": "Ann Lee",
                "customer_email": f"customer-{identity}@example.org",
                "gateway_customer": customer.id,
                "payment_method": saved.id,
            }
        )

    def _call(self, function: str, event: dict[str, str]) -> None:
        self._functions.invoke(FunctionName=self._stack.outputs[function], Payload=json.dumps(event)).get("Payload")


class _Measured:
    """The values of the last `hours` in the stack's CloudWatch."""

    def __init__(self, stack: Stack, hours: int, until: datetime) -> None:
        self._cloudwatch = stack.client("cloudwatch")
        self._until, self._since = until, until - timedelta(hours=hours)

    def widgets(self) -> list[dict[str, Any]]:
        [dashboard] = self._cloudwatch.list_dashboards()["DashboardEntries"]
        body = self._cloudwatch.get_dashboard(DashboardName=dashboard["DashboardName"])["DashboardBody"]
        widgets: list[dict[str, Any]] = json.loads(body)["widgets"]
        return widgets

    def alarms(self) -> dict[str, str]:
        """Return the state of every alarm, by ARN."""
        pages = self._cloudwatch.get_paginator("describe_alarms").paginate()
        return {alarm["AlarmArn"]: alarm["StateValue"] for page in pages for alarm in page["MetricAlarms"]}

    def lines(self, properties: dict[str, Any]) -> Iterator[tuple[str, bool, list[float], list[float]]]:
        """Yield the label, whether the axis is the right one, the hours of the day and the values, for every line of a
        graph.
        """
        for *names, options in properties["metrics"]:
            if "expression" in options:
                yield from self._searched(options["expression"])
                continue
            namespace, metric, *pairs = names
            dimensions = dict(zip(pairs[::2], pairs[1::2], strict=True))
            statistic = options.get("stat", properties["stat"])
            values = self._values(namespace, metric, dimensions, statistic, properties["period"])
            yield options["label"], options.get("yAxis") == "right", *values

    def _searched(self, expression: str) -> Iterator[tuple[str, bool, list[float], list[float]]]:
        """Find the metrics for the only form of SEARCH in the template: all metrics of a name with a given set of
        dimensions.
        """
        [(namespace, names, metric, service, statistic, period)] = re.findall(
            r"^SEARCH\('\{([\w-]+),([\w,]+)\} MetricName=\"(\w+)\" service=\"([\w-]+)\"', '(\w+)', (\d+)\)$", expression
        )
        for found in self._cloudwatch.list_metrics(Namespace=namespace, MetricName=metric)["Metrics"]:
            dimensions = {pair["Name"]: pair["Value"] for pair in found["Dimensions"]}
            if set(dimensions) == set(names.split(",")) and dimensions["service"] == service:
                label = next(value for name, value in dimensions.items() if name != "service")
                yield label, False, *self._values(namespace, metric, dimensions, statistic, int(period))

    def _values(
        self, namespace: str, metric: str, dimensions: dict[str, str], statistic: str, period: int
    ) -> tuple[list[float], list[float]]:
        named = [{"Name": name, "Value": value} for name, value in dimensions.items()]
        asked = {"Namespace": namespace, "MetricName": metric, "Dimensions": named}
        query = {"Id": "asked", "MetricStat": {"Metric": asked, "Period": period, "Stat": statistic}}
        [found] = self._cloudwatch.get_metric_data(
            MetricDataQueries=[query], StartTime=self._since, EndTime=self._until, ScanBy="TimestampAscending"
        )["MetricDataResults"]
        hours = [(at - self._since) / timedelta(hours=1) for at in found["Timestamps"]]
        return hours, list(found["Values"])


def draw(measured: _Measured, file: Path, told: str) -> None:
    """Draw the dashboard's widgets in their places and write the picture to the file. told: the picture's title."""
    # Imported late, because only drawing needs matplotlib: a stack starts without matplotlib.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    widgets = measured.widgets()
    rows = max(widget["y"] + widget["height"] for widget in widgets)
    figure = Figure(figsize=(16, 0.5 * rows + 0.4), dpi=75)
    FigureCanvasAgg(figure)
    figure.suptitle(told, fontsize=10, color="#555555", y=0.995)
    for widget in widgets:
        box = (
            widget["x"] / 24,
            1 - (widget["y"] + widget["height"]) / rows,
            widget["width"] / 24,
            widget["height"] / rows,
        )
        left, bottom, width, height = box[0], 0.97 * box[1], box[2], 0.97 * box[3]
        properties = widget["properties"]
        if widget["type"] == "text":
            figure.text(
                left + 0.012, bottom + height / 3, properties["markdown"].lstrip("# "), fontsize=15, weight="bold"
            )
            continue
        axes = figure.add_axes((left + 0.03, bottom + 0.2 * height, width - 0.055, 0.62 * height))
        axes.set_title(properties["title"], fontsize=10, loc="left")
        if widget["type"] == "alarm":
            _draw_alarms(axes, properties["alarms"], measured.alarms())
            continue
        right = None
        for number, (label, on_right, times, values) in enumerate(measured.lines(properties)):
            if on_right and right is None:
                right = axes.twinx()
                right.tick_params(labelsize=7)
            axis = right if on_right and right is not None else axes
            axis.plot(
                times,
                values,
                label=label,
                color=f"C{number}",
                linewidth=1.2,
                marker=".",
                markersize=4,
            )
        for line in properties.get("annotations", {}).get("horizontal", []):
            axes.axhline(line["value"], color="#d62728", linestyle="--", linewidth=1, label=line["label"])
        axes.set_ylim(bottom=0)
        axes.set_xlim(0, _HOURS + 1)
        axes.set_xticks(range(0, _HOURS + 1, 4))
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.25)
        handles, labels = axes.get_legend_handles_labels()
        if right is not None:
            more_handles, more_labels = right.get_legend_handles_labels()
            handles, labels = handles + more_handles, labels + more_labels
        axes.legend(
            handles, labels, fontsize=6.5, loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=3, frameon=False
        )
    figure.savefig(file)


def _draw_alarms(axes: Any, arns: list[str], states: dict[str, str]) -> None:
    axes.set_axis_off()
    rows = math.ceil(len(arns) / 5)
    for number, arn in enumerate(arns):
        row, column = divmod(number, 5)
        axes.text(
            column / 5,
            0.95 - row / rows,
            f"  {arn.rpartition(':')[2]}",
            fontsize=8,
            color="white",
            transform=axes.transAxes,
            bbox={"facecolor": _COLORS[states[arn]], "edgecolor": "none", "boxstyle": "round,pad=0.35"},
        )


def main() -> None:
    stack = Stack(free_port(), Environment="prod")
    with stack:
        for schedule in stack.client("scheduler").list_schedules()["Schedules"]:
            stack.client("scheduler").delete_schedule(Name=schedule["Name"])
        day = _Day(stack)
        with step("a day"):
            for hour in range(_HOURS):
                day.live(hour)
            day.night()
        until = datetime.now(UTC) + timedelta(hours=_HOURS, minutes=5)
        file = ROOT / "docs/dashboard.png"
        draw(
            _Measured(stack, _HOURS + 1, until),
            file,
            "A day on a local stack, lived in minutes. The gateway was down for two hours; one message cannot be read.",
        )
    shutil.rmtree(stack.folder)
    console.print(f"written: {file.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
