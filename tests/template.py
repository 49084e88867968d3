"""SAM's transformed template, with its parameters filled in, for the tests of the template."""

import re
from functools import cache
from pathlib import Path
from typing import Any

from scripts.transformed import transformed, written

ROOT = Path(__file__).parents[1]
# The values differ from the defaults, so that the tests find a name that ignores its parameter.
GIVEN = {
    "ProjectName": "acme",
    "Environment": "qa",
    "SenderEmail": "bills@acme.test",
    "BrandColor": "#0A7B55",
    "ReplyToEmail": "help@acme.test",
    "PaymentGatewayApiKey": "sk_x",
    "BusinessTimeZone": "Asia/Kolkata",
}
PSEUDO = {
    "AWS::AccountId": "123456789012",
    "AWS::Region": "eu-test-1",
    "AWS::Partition": "aws",
    "AWS::URLSuffix": "amazonaws.com",
    "AWS::StackName": "stack",
}
# The functions refer to the workflow by name: a reference would close a circle, because the workflow's mails link to
# the API, and CloudFormation makes the API after its functions.
WORKFLOW = "arn:aws:states:eu-test-1:123456789012:stateMachine:acme-renewal-workflow-qa"
RETAINED = {"DeletionPolicy": "RetainExceptOnCreate", "UpdateReplacePolicy": "Retain"}

type Json = Any


@cache
def template() -> dict[str, Json]:
    """template.yaml as written, with its short-form functions spelled out."""
    return written()


@cache
def resources() -> dict[str, Json]:
    """Return the transformed resources with their parameters filled in; a reference to a resource reads `<Name>` or
    `<Name.Arn>`."""
    resolved: dict[str, Json] = resolve(transformed(PSEUDO["AWS::Region"], dict(GIVEN))["Resources"])
    return resolved


def properties(name: str) -> dict[str, Json]:
    found: dict[str, Json] = resources()[name]["Properties"]
    return found


def of_type(kind: str) -> dict[str, Json]:
    return {name: each["Properties"] for name, each in resources().items() if each["Type"] == kind}


def resolve(node: Json) -> Json:
    if isinstance(node, list):
        return [found for found in map(resolve, node) if found != "<AWS::NoValue>"]
    if not isinstance(node, dict):
        return node
    if set(node) == {"Ref"}:
        return _value(node["Ref"])
    if set(node) == {"Fn::GetAtt"}:
        path = node["Fn::GetAtt"]
        return f"<{path if isinstance(path, str) else '.'.join(path)}>"
    if set(node) == {"Fn::If"}:
        condition, then, otherwise = node["Fn::If"]
        return resolve(then if holds(template()["Conditions"][condition]) else otherwise)
    if set(node) == {"Fn::Sub"}:
        text, names = node["Fn::Sub"] if isinstance(node["Fn::Sub"], list) else (node["Fn::Sub"], {})
        known = {name: resolve(value) for name, value in names.items()}
        return re.sub(r"\$\{([^}!]+)\}", lambda found: str(known.get(found[1]) or _value(found[1])), text)
    return {key: resolve(value) for key, value in node.items() if value != {"Ref": "AWS::NoValue"}}


def holds(condition: Json) -> bool:
    if "Condition" in condition:
        return holds(template()["Conditions"][condition["Condition"]])
    if "Fn::And" in condition:
        return all(map(holds, condition["Fn::And"]))
    if "Fn::Not" in condition:
        return not holds(condition["Fn::Not"][0])
    one, other = (resolve(each) for each in condition["Fn::Equals"])
    return bool(one == other)


def _value(name: str) -> str:
    declared = template()["Parameters"].get(name)
    if declared is None:
        return PSEUDO.get(name) or f"<{name}>"
    return str(GIVEN.get(name, declared["Default"]))


def expected_alarm(
    name: str, description: str, metric: str, threshold: int, dimensions: dict[str, str]
) -> dict[str, Json]:
    namespace, _, metric_name = metric.rpartition("/")
    return {
        "Type": "AWS::CloudWatch::Alarm",
        "AlarmName": f"acme-{name}-qa",
        "AlarmDescription": description,
        "Namespace": namespace,
        "MetricName": metric_name,
        "Dimensions": [{"Name": key, "Value": value} for key, value in dimensions.items()],
        "Statistic": "Sum",
        "Period": 300,
        "EvaluationPeriods": 1,
        "Threshold": threshold,
        "ComparisonOperator": "GreaterThanThreshold",
        "TreatMissingData": "notBreaching",
    }


RUNBOOK = "What to do is in docs/runbook.md#"
MAIL = "arn:aws:ses:eu-test-1:123456789012"
