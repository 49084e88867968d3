"""The promises of template.yaml about alarms and the dashboard, asserted on SAM's transformed template."""

import json
import re
from collections.abc import Iterator
from functools import cache

import pytest

from renewal_audit.findings import Difference
from tests.template import (
    ROOT,
    RUNBOOK,
    Json,
    expected_alarm,
    holds,
    of_type,
    properties,
    resources,
    template,
)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "StepFunctionsTimedOutAlarm",
            expected_alarm(
                "stepfunctions-timed-out",
                "Alert when a Step Functions execution is cut off at 300 seconds, which is not counted as failed",
                "AWS/States/ExecutionsTimedOut",
                0,
                {"StateMachineArn": "<RenewalWorkflow>"},
            ),
        ),
        (
            "RenewalsFailedAlarm",
            expected_alarm(
                "renewals-failed",
                "Alert when a renewal ends as failed and needs a person",
                "acme/RenewalFailed",
                0,
                {"service": "acme-qa"},
            ),
        ),
        (
            "RefundsFailedAlarm",
            expected_alarm(
                "refunds-failed",
                "Alert when a refund failed, so that the customer did not get the money",
                "acme/RefundFailed",
                0,
                {"service": "acme-qa"},
            ),
        ),
        (
            "DisputesAlarm",
            expected_alarm(
                "disputes",
                "Alert when a customer disputes a payment at the bank, or a bank warns of fraud",
                "acme/Disputes",
                0,
                {"service": "acme-qa"},
            ),
        ),
        (
            "DeadLettersAlarm",
            expected_alarm(
                "dead-letters",
                "Alert when a request to renew has failed five times and lies in the dead-letter queue",
                "AWS/SQS/ApproximateNumberOfMessagesVisible",
                0,
                {"QueueName": "<RenewalDeadLetterQueue.QueueName>"},
            )
            | {"Statistic": "Maximum"},
        ),
        (
            "SweepErrorsAlarm",
            expected_alarm(
                "sweep-errors",
                "Alert when the sweep fails as often in an hour as Lambda tries one run",
                "AWS/Lambda/Errors",
                2,
                {"FunctionName": "<RenewalSweep>"},
            )
            | {"Period": 3600},
        ),
        (
            "AuditDifferenceAlarm",
            expected_alarm(
                "audit-difference",
                "Alert when the audit finds what was due, ledger, charges, receipts and mails to differ",
                "acme/AuditDifferences",
                0,
                {"service": "acme-qa"},
            )
            | {"TreatMissingData": "ignore"},
        ),
        (
            "AuditErrorsAlarm",
            expected_alarm(
                "audit-errors",
                "Alert when the audit fails as often in an hour as Lambda tries one run",
                "AWS/Lambda/Errors",
                2,
                {"FunctionName": "<RenewalAudit>"},
            )
            | {"Period": 3600},
        ),
        (
            "CatchUpErrorsAlarm",
            expected_alarm(
                "catch-up-errors",
                "Alert when the catch-up on lost events of the gateway fails as often in an hour as Lambda tries one "
                "run",
                "AWS/Lambda/Errors",
                2,
                {"FunctionName": "<GatewayCatchUp>"},
            )
            | {"Period": 3600},
        ),
        (
            "DeclarationErrorsAlarm",
            expected_alarm(
                "declaration-errors",
                "Alert when the worker of declarations fails as often in an hour as Lambda tries one daily run",
                "AWS/Lambda/Errors",
                2,
                {"FunctionName": "<DeclarationWorker>"},
            )
            | {"Period": 3600},
        ),
        (
            "MailBouncesAlarm",
            expected_alarm(
                "mail-bounces",
                "Mail to customers came back for good, or was reported as spam. docs/runbook.md#mail-bounces",
                "acme/MailBounces",
                0,
                {"service": "acme-qa"},
            ),
        ),
        (
            "DunningHeldAlarm",
            expected_alarm(
                "dunning-held",
                "A subscription stays past due, since its customer could not be told that it ends. "
                "docs/runbook.md#dunning-held",
                "acme/DunningHeld",
                0,
                {"service": "acme-qa"},
            ),
        ),
        (
            "MailFeedbackDeadLettersAlarm",
            expected_alarm(
                "mail-feedback-dead-letters",
                "What SES said of a mail could not be recorded, and lies in a dead-letter queue. "
                "docs/runbook.md#mail-feedback-dead-letters",
                "AWS/SQS/ApproximateNumberOfMessagesVisible",
                0,
                {"QueueName": "<MailFeedbackDeadLetterQueue.QueueName>"},
            )
            | {"Statistic": "Maximum"},
        ),
        (
            "EventsLateAlarm",
            expected_alarm(
                "events-late",
                "Events for the application are told more than 15 minutes late. docs/runbook.md#events-late",
                "AWS/Lambda/IteratorAge",
                900_000,
                {"FunctionName": "<EventPublisher>"},
            )
            | {"Statistic": "Maximum", "Period": 60},
        ),
        (
            "DeclarationsForPersonAlarm",
            expected_alarm(
                "declarations-for-person",
                "Alert when a cancellation or a withdrawal from a public form waits for a person",
                "acme/DeclarationsForPerson",
                0,
                {"service": "acme-qa"},
            ),
        ),
        (
            "ManyDeclarationsAlarm",
            expected_alarm(
                "many-declarations",
                "Alert when the public forms bring more than 50 declarations in an hour, perhaps from one stranger",
                "acme/DeclarationsLookedAt",
                50,
                {"service": "acme-qa"},
            )
            | {"Period": 3600},
        ),
        (
            "DeclarationsLateAlarm",
            expected_alarm(
                "declarations-late",
                "Alert when a declaration from a public form was not looked at for 15 minutes",
                "AWS/Lambda/IteratorAge",
                900_000,
                {"FunctionName": "<DeclarationWorker>"},
            )
            | {"Statistic": "Maximum", "Period": 60},
        ),
        (
            "UnreadableRecordsAlarm",
            expected_alarm(
                "unreadable-records",
                "A write to a table could not be read, and its events were not told. "
                "docs/runbook.md#unreadable-records",
                "AWS/SQS/ApproximateNumberOfMessagesVisible",
                0,
                {"QueueName": "<UnreadableRecordsQueue.QueueName>"},
            )
            | {"Statistic": "Maximum"},
        ),
        (
            "EventsUndeliveredAlarm",
            expected_alarm(
                "events-undelivered",
                "Your application did not take an event in two days of tries, and the event lies in a dead-letter "
                "queue. docs/runbook.md#events-undelivered",
                "AWS/SQS/ApproximateNumberOfMessagesVisible",
                0,
                {"QueueName": "<EventsDeadLetterQueue.QueueName>"},
            )
            | {"Statistic": "Maximum"},
        ),
        (
            "EventsWaitingAlarm",
            expected_alarm(
                "events-waiting",
                "An event has waited for more than 15 minutes to be posted to your application. "
                "What to do is in docs/runbook.md#events-waiting",
                "AWS/SQS/ApproximateAgeOfOldestMessage",
                900,
                {"QueueName": "<DeliveriesQueue.QueueName>"},
            )
            | {"Statistic": "Maximum", "Period": 60},
        ),
        (
            "DelivererErrorsAlarm",
            expected_alarm(
                "deliverer-errors",
                "EventDeliverer failed three times in an hour, and later tries of events may not be made. "
                "What to do is in docs/runbook.md#deliverer-errors",
                "AWS/Lambda/Errors",
                2,
                {"FunctionName": "<EventDeliverer>"},
            )
            | {"Period": 3600},
        ),
        (
            "GatewayDeadLettersAlarm",
            expected_alarm(
                "gateway-dead-letters",
                "An event of the gateway failed five times, and lies in a dead-letter queue. "
                "What to do is in docs/runbook.md#gateway-dead-letters",
                "AWS/SQS/ApproximateNumberOfMessagesVisible",
                0,
                {"QueueName": "<GatewayDeadLetterQueue.QueueName>"},
            )
            | {"Statistic": "Maximum"},
        ),
        (
            "ChargingOffAlarm",
            expected_alarm(
                "charging-off",
                "Alert while charging is turned off",
                "acme/ChargingIsOff",
                0,
                {"service": "acme-qa"},
            )
            | {"Statistic": "Minimum", "Period": 60, "TreatMissingData": "ignore"},
        ),
        (
            "SweepPostponedAlarm",
            expected_alarm(
                "sweep-postponed",
                "Alert when a sweep was put off because too many requests to renew wait for a worker",
                "acme/SweepPostponed",
                0,
                {"service": "acme-qa"},
            )
            | {"Statistic": "Maximum", "Period": 60, "TreatMissingData": "ignore"},
        ),
        (
            "BadRowsAlarm",
            expected_alarm(
                "bad-rows",
                "Alert when the sweep names subscriptions that cannot be charged as they stand",
                "acme/BadRows",
                0,
                {"service": "acme-qa"},
            ),
        ),
        (
            "GatewayUnavailableAlarm",
            expected_alarm(
                "gateway-unavailable",
                "Alert when the payment gateway leaves calls without a clear answer",
                "acme/GatewayUnavailable",
                3,
                {"service": "acme-qa"},
            ),
        ),
        (
            "GatewayAccountAlarm",
            expected_alarm(
                "gateway-account",
                "Alert when the payment gateway turns our account away",
                "acme/GatewayAccountFault",
                0,
                {"service": "acme-qa"},
            )
            | {"EvaluationPeriods": 24, "DatapointsToAlarm": 1},
        ),
        (
            "GatewayPermissionAlarm",
            expected_alarm(
                "gateway-permission",
                "Alert when the key of the payment gateway lacks a permission, such as to read disputes",
                "acme/GatewayPermissionMissing",
                0,
                {"service": "acme-qa"},
            )
            | {"Period": 3600, "EvaluationPeriods": 26, "DatapointsToAlarm": 1},
        ),
        (
            "OldestUnfinishedAlarm",
            expected_alarm(
                "oldest-unfinished",
                "Alert when a renewal was begun an hour ago or longer and is not finished",
                "acme/OldestUnfinished",
                3600,
                {"service": "acme-qa"},
            )
            | {"Statistic": "Maximum", "Period": 900, "TreatMissingData": "ignore"},
        ),
        (
            "MailFailedAlarm",
            expected_alarm(
                "mail-failed",
                "Alert when a mail cannot be sent to the address that the customer has",
                "acme/MailFailed",
                0,
                {"service": "acme-qa"},
            ),
        ),
        (
            "MailUnknownAlarm",
            expected_alarm(
                "mail-unknown",
                "Alert when nobody can tell whether a mail went out",
                "acme/MailUnknown",
                0,
                {"service": "acme-qa"},
            ),
        ),
        (
            "MailsWithoutLinkAlarm",
            expected_alarm(
                "mails-without-link",
                "Alert when a mail goes out without its link to the customer page",
                "acme/MailsWithoutLink",
                0,
                {"service": "acme-qa"},
            ),
        ),
        (
            "ApiRefusedAlarm",
            expected_alarm(
                "api-4xx-errors",
                "Alert when the API refuses more than 1000 requests in 5 minutes, for whatever reason",
                "AWS/ApiGateway/4XXError",
                1000,
                {"ApiName": "acme-api-qa", "Stage": "prod"},
            ),
        ),
        (
            "AccountPage5xxAlarm",
            expected_alarm(
                "account-5xx-errors",
                "Alert when the customer page returns more than 10 5xx errors in 5 minutes",
                "AWS/ApiGateway/5XXError",
                10,
                {"ApiName": "acme-account-qa", "Stage": "prod"},
            ),
        ),
        (
            "AccountLinksRefusedAlarm",
            expected_alarm(
                "account-links-refused",
                "Alert when the customer page refuses more than 100 links and sessions in 5 minutes",
                "acme/AccountLinksRefused",
                100,
                {"service": "acme-qa"},
            ),
        ),
        (
            "AccountPage4xxAlarm",
            expected_alarm(
                "account-4xx-errors",
                "Alert when the customer page refuses more than 1000 requests in 5 minutes, for whatever reason",
                "AWS/ApiGateway/4XXError",
                1000,
                {"ApiName": "acme-account-qa", "Stage": "prod"},
            ),
        ),
        (
            "AddressFormFloodAlarm",
            expected_alarm(
                "address-form-flood",
                "Alert when more than 100 mail addresses are typed on the customer page in 5 minutes",
                "acme/AddressesTyped",
                100,
                {"service": "acme-qa"},
            ),
        ),
        (
            "AddressDeadLettersAlarm",
            expected_alarm(
                "address-dead-letters",
                "Alert when an address that was typed on the customer page was handled in vain five times",
                "AWS/SQS/ApproximateNumberOfMessagesVisible",
                0,
                {"QueueName": "<AddressDeadLetterQueue.QueueName>"},
            )
            | {"Statistic": "Maximum"},
        ),
        (
            "ApiThrottledAlarm",
            expected_alarm(
                "api-throttled",
                "Alert when API Gateway refuses more than 10 requests in 5 minutes as too many",
                "acme/qa/ApiThrottled",
                10,
                {},
            ),
        ),
    ],
)
def test_alarms_of_our_own(name: str, expected: dict[str, Json]) -> None:
    """Every event worth a person's attention raises an alarm at the first occurrence, on a metric really written by the
    code."""
    found = {"Type": resources()[name]["Type"], "Dimensions": [], **properties(name)}
    short = expected["AlarmName"].removeprefix("acme-").removesuffix("-qa")
    where = f". {RUNBOOK}{short}" if "docs/runbook.md" not in expected["AlarmDescription"] else ""
    expected = expected | {"AlarmDescription": expected["AlarmDescription"] + where}
    assert {key: found[key] for key in expected} == expected


SERVICE = {"service": "acme-qa"}
TRIED_AGAIN = {
    "EventPublisher",
    "EventDeliverer",
    "GatewayEvents",
    "GatewayWorker",
    "GatewayCatchUp",
    "AddressWorker",
    "DeclarationWorker",
}
"""Functions whose throttled calls are repeated by Lambda, the gateway or a queue; an alarm holds no more than ten
metrics."""
SEEN_ELSEWHERE = {"CustomerPage", "ReceiptLinks"}
"""Functions whose throttled calls raise an alarm of their API: API Gateway answers such a call with a 5xx."""

MATH: dict[str, tuple[str, dict[str, tuple[str, dict[str, str], str]], tuple[int, int], tuple[str, int], str]] = {
    "DeclinesAlarm": (
        "IF(attempts >= 20, 100 * FILL(refused, 0) / attempts, 0)",
        {
            "attempts": ("acme/FirstAttempts", SERVICE, "Sum"),
            "refused": ("acme/FirstAttemptsRefused", SERVICE, "Sum"),
        },
        (1, 3600),
        ("GreaterThanThreshold", 30),
        "notBreaching",
    ),
    "WorkerStoppedAlarm": (
        "IF(FILL(waiting, 0) > 0, IF(FILL(runs, 0) > 0, 0, 1), 0)",
        {
            "waiting": (
                "AWS/SQS/ApproximateNumberOfMessagesVisible",
                {"QueueName": "<RenewalQueue.QueueName>"},
                "Minimum",
            ),
            "runs": ("AWS/Lambda/Invocations", {"FunctionName": "<RenewalWorker>"}, "Sum"),
        },
        (3, 300),
        ("GreaterThanThreshold", 0),
        "notBreaching",
    ),
    "SweepNotRunAlarm": (
        "FILL(sweeps, 0)",
        {"sweeps": ("acme/Sweeps", SERVICE, "Sum")},
        (3, 3600),
        ("LessThanThreshold", 1),
        "breaching",
    ),
    "AuditNotRunAlarm": (
        "FILL(audits, 0)",
        {"audits": ("acme/AuditDifferences", SERVICE, "SampleCount")},
        (30, 3600),
        ("LessThanThreshold", 1),
        "breaching",
    ),
    "CatchUpNotRunAlarm": (
        "FILL(catchups, 0)",
        {"catchups": ("acme/GatewayCatchUps", SERVICE, "SampleCount")},
        (30, 3600),
        ("LessThanThreshold", 1),
        "breaching",
    ),
    "ThrottlesAlarm": (
        "SUM(METRICS())",
        {
            name[0].lower() + name[1:]: ("AWS/Lambda/Throttles", {"FunctionName": f"<{name}>"}, "Sum")
            for name in of_type("AWS::Lambda::Function").keys() - TRIED_AGAIN - SEEN_ELSEWHERE
        },
        (1, 300),
        ("GreaterThanThreshold", 5),
        "notBreaching",
    ),
}


def test_an_alarm_has_at_most_ten_metrics() -> None:
    """CloudWatch takes at most ten metrics in an alarm, the expression included."""
    assert max(len(properties(name)["Metrics"]) for name in MATH) <= 10


@pytest.mark.parametrize("name", MATH)
def test_alarms_on_more_than_one_metric(name: str) -> None:
    """Every alarm on several metrics computes its expression: the share of declines above a minimum of attempts, a
    queue without a working worker, a missing sweep or audit, and the throttles of all functions that can lose time."""
    expression, metrics, (periods, seconds), (comparison, threshold), missing = MATH[name]
    alarm = properties(name)
    told, *stats = alarm["Metrics"]
    assert told == {"Id": "told", "Expression": expression}
    assert {
        each["Id"]: (
            f"{each['MetricStat']['Metric']['Namespace']}/{each['MetricStat']['Metric']['MetricName']}",
            {pair["Name"]: pair["Value"] for pair in each["MetricStat"]["Metric"]["Dimensions"]},
            each["MetricStat"]["Stat"],
        )
        for each in stats
    } == metrics
    assert {(each["MetricStat"]["Period"], each["ReturnData"]) for each in stats} == {(seconds, False)}
    assert (alarm["EvaluationPeriods"], alarm["ComparisonOperator"], alarm["Threshold"]) == (
        periods,
        comparison,
        threshold,
    )
    assert alarm["TreatMissingData"] == missing


def test_alarms_on_more_than_one_metric_are_known() -> None:
    """Every alarm on several metrics is asserted above and stays within CloudWatch's limits: ten metrics, and one day
    of evaluation for periods under an hour."""
    alarms = {name: each for name, each in of_type("AWS::CloudWatch::Alarm").items() if "Metrics" in each}
    assert set(alarms) == set(MATH)
    assert all(len(each["Metrics"]) <= 1 + 10 for each in alarms.values())
    assert all(seconds >= 3600 or seconds * periods <= 86400 for _, _, (periods, seconds), _, _ in MATH.values())


ENDED_BY_SILENCE = {
    "StepFunctionsTimedOutAlarm",
    "RenewalsFailedAlarm",
    "RefundsFailedAlarm",
    "DisputesAlarm",
    "SweepErrorsAlarm",
    "AuditErrorsAlarm",
    "CatchUpErrorsAlarm",
    "DeclarationErrorsAlarm",
    "BadRowsAlarm",
    "MailFailedAlarm",
    "MailUnknownAlarm",
    "MailsWithoutLinkAlarm",
    "MailBouncesAlarm",
    "DunningHeldAlarm",
    "MailFeedbackDeadLettersAlarm",
    "UnreadableRecordsAlarm",
    "DeclarationsForPersonAlarm",
    "EventsUndeliveredAlarm",
    "DelivererErrorsAlarm",
}


@pytest.mark.parametrize("name", of_type("AWS::CloudWatch::Alarm"))
def test_alarms_tell_someone(name: str) -> None:
    """Every alarm notifies the stack's topic when the alarm comes on, and also at its end unless mere silence ends the
    alarm."""
    assert properties(name)["AlarmActions"] == ["<Alarms>"]
    assert properties(name).get("OKActions") == (None if name in ENDED_BY_SILENCE else ["<Alarms>"])


def test_an_address_can_be_told() -> None:
    """An `AlarmEmail` is subscribed to the topic of the alarms; by default nobody is subscribed."""
    subscription = resources()["AlarmSubscription"]
    assert subscription["Condition"] == "HasAlarmEmail"
    assert not holds(template()["Conditions"]["HasAlarmEmail"])
    assert subscription["Properties"] == {"TopicArn": "<Alarms>", "Protocol": "email", "Endpoint": ""}
    pattern = template()["Parameters"]["AlarmEmail"]["AllowedPattern"]
    assert [bool(re.fullmatch(pattern, text)) for text in ("", "a@b.example", "A <a@b.example>", "nobody")] == [
        True,
        True,
        False,
        False,
    ]


PARTS = ["What it means to customers", "How to look", "How to mend", "How to know that it is over"]


def test_each_alarm_has_its_section_in_the_runbook() -> None:
    """Every alarm has a section in the runbook, and every section has an alarm. A section says what the alarm means to
    customers, how to look, how to mend, and how to know that the trouble is over."""
    runbook = (ROOT / "docs/runbook.md").read_text()
    alarms, _, _ = runbook.partition("\n# Alarms\n")[2].partition("\n# Operations\n")
    _, *sections = re.split(r"^## ", alarms, flags=re.MULTILINE)
    titles = [section.partition("\n")[0] for section in sections]
    names = [each["AlarmName"].removeprefix("acme-").removesuffix("-qa") for each in of_type(ALARM).values()]
    assert sorted(titles) == sorted(names)
    for name in of_type(ALARM):
        short = properties(name)["AlarmName"].removeprefix("acme-").removesuffix("-qa")
        assert properties(name)["AlarmDescription"].endswith(f"docs/runbook.md#{short}")
    for section in sections:
        assert re.findall(r"^\*\*(.+?)\.\*\*", section, re.MULTILINE) == PARTS, section


ALARM = "AWS::CloudWatch::Alarm"
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html
WIDGETS = {
    "alarm": {"title", "alarms"},
    "text": {"markdown"},
    "metric": {"title", "region", "view", "stat", "period", "annotations", "metrics"},
}
OPTIONS = {"label", "stat", "yAxis", "expression", "id"}


@cache
def _widgets() -> list[dict[str, Json]]:
    body: dict[str, Json] = json.loads(properties("Dashboard")["DashboardBody"])
    assert set(body) == {"widgets"}
    widgets: list[dict[str, Json]] = body["widgets"]
    return widgets


def _drawn() -> Iterator[tuple[str, str, dict[str, str]]]:
    """Yield namespace, name and dimensions of every metric drawn by name on the dashboard."""
    for widget in _widgets():
        for metric in widget["properties"].get("metrics", []):
            if not isinstance(metric[0], dict):
                yield metric[0], metric[1], dict(zip(metric[2:-1:2], metric[3:-1:2], strict=True))


def test_the_dashboard_is_one_that_cloudwatch_takes() -> None:
    """The dashboard has only known widgets with known properties, on a grid of 24 columns, and no two widgets
    overlap."""
    taken: set[tuple[int, int]] = set()
    for widget in _widgets():
        assert set(widget) == {"type", "x", "y", "width", "height", "properties"}
        assert set(widget["properties"]) <= WIDGETS[widget["type"]]
        assert widget["x"] + widget["width"] <= 24
        cells = {(widget["x"] + x, widget["y"] + y) for x in range(widget["width"]) for y in range(widget["height"])}
        assert taken.isdisjoint(cells)
        taken |= cells
        for metric in widget["properties"].get("metrics", []):
            assert set(metric[-1]) <= OPTIONS
            assert isinstance(metric[0], dict) or len(metric) % 2 == 1
    assert {widget["properties"].get("view", "timeSeries") for widget in _widgets()} == {"timeSeries"}


def test_the_dashboard_shows_every_alarm() -> None:
    """The first widget of the dashboard shows every alarm by its ARN."""
    first, *others = _widgets()
    prefix = "arn:aws:cloudwatch:eu-test-1:123456789012:alarm:"
    assert sorted(first["properties"]["alarms"]) == sorted(
        prefix + each["AlarmName"] for each in of_type(ALARM).values()
    )
    assert "alarm" not in {widget["type"] for widget in others}


def test_every_metric_that_is_looked_at_is_written() -> None:
    """The code writes every metric that an alarm or a graph reads: an alarm on an unwritten metric would never come
    on."""
    source = "".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    audited = {f"Audit{kind.title().replace('_', '')}" for kind in Difference}
    written = audited | set(re.findall(r'"([A-Z]\w+)"', source))
    ours = {name for namespace, name, _ in _drawn() if namespace == "acme"}
    for alarm in of_type(ALARM).values():
        metrics = [each["MetricStat"]["Metric"] for each in alarm.get("Metrics", [{}])[1:]] or [alarm]
        ours |= {each["MetricName"] for each in metrics if each["Namespace"] == "acme"}
    assert len(ours) > 20
    assert ours - written == set()
    assert {tuple(dimensions.items()) for namespace, _, dimensions in _drawn() if namespace == "acme"} == {
        (("service", "acme-qa"),)
    }


def test_the_dashboard_names_resources_that_there_are() -> None:
    """The dashboard's graphs of AWS's own metrics name functions, queues, a workflow and APIs of the template."""
    names = {each["FunctionName"] for each in of_type("AWS::Lambda::Function").values()}
    names |= {each["QueueName"] for each in of_type("AWS::SQS::Queue").values()}
    names |= {"<RenewalWorkflow>", properties("SubscriptionApi")["Name"], properties("AccountApi")["Name"], "prod"}
    drawn = {value for namespace, _, dimensions in _drawn() if namespace != "acme" for value in dimensions.values()}
    assert len(drawn) > 5
    assert drawn - names == set()
    [search] = [m[0]["expression"] for w in _widgets() for m in w["properties"].get("metrics", []) if len(m) == 1]
    assert search == ("SEARCH('{acme,service,currency} MetricName=\"AmountCharged\" service=\"acme-qa\"', 'Sum', 3600)")
