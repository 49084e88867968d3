"""A canary deployment's template, asserted on what SAM makes of it: the local emulator has no CodeDeploy."""

import re
from functools import cache
from typing import Any

import pytest

from scripts.canary import ALARMS, SHIFTED, TASKS, canary
from scripts.transformed import transformed, written
from tests.unit.test_template import GIVEN, PSEUDO, _resolve, of_type, resources


@cache
def shifted() -> dict[str, Any]:
    """The transformed resources of a canary deployment."""
    changed = canary(written(), "Canary10Percent5Minutes")
    return dict(transformed(PSEUDO["AWS::Region"], dict(GIVEN), changed)["Resources"])


def _named(name: str) -> dict[str, Any]:
    found: dict[str, Any] = _resolve(shifted()[name]["Properties"])
    return found


@pytest.mark.parametrize("name", SHIFTED)
def test_an_alias_is_shifted_and_alarms_shift_it_back(name: str) -> None:
    """Five minutes with a tenth of the calls, then all; alarms that there are, failures and wishes to stop end it."""
    update = shifted()[f"{name}Aliaslive"]["UpdatePolicy"]["CodeDeployLambdaAliasUpdate"]
    group = _named(update["DeploymentGroupName"]["Ref"])
    assert _resolve(group["DeploymentConfigName"]).endswith("CodeDeployDefault.LambdaCanary10Percent5Minutes")
    alarms = {f"acme-{each}-qa" for each in ALARMS}
    assert {alarm["Name"] for alarm in group["AlarmConfiguration"]["Alarms"]} == alarms
    assert alarms <= {each["AlarmName"] for each in of_type("AWS::CloudWatch::Alarm").values()}
    assert group["AlarmConfiguration"]["Enabled"] is True
    assert set(group["AutoRollbackConfiguration"]["Events"]) == {
        "DEPLOYMENT_FAILURE", "DEPLOYMENT_STOP_ON_ALARM", "DEPLOYMENT_STOP_ON_REQUEST",
    }  # fmt: skip


def test_the_workflow_and_the_api_call_the_aliases() -> None:
    """Definition, role, API and its permissions name the alias: what calls a function itself would get the new code.
    The role may still do so, for executions that began before there was an alias."""
    called = {f"{name}Arn": f"<{name}Aliaslive>" for name in TASKS}
    assert _named("RenewalWorkflow")["DefinitionSubstitutions"] == called
    [policy] = _named("StepFunctionsRole")["Policies"]
    allowed = [each["Resource"] for each in policy["PolicyDocument"]["Statement"] if "lambda" in str(each["Action"])]
    assert allowed == [[*(f"<{name}.Arn>" for name in TASKS), *called.values()]]
    uris = set(re.findall(r"functions/(<[^>]+>)/invocations", str(_resolve(shifted()["SubscriptionApi"]))))
    assert uris == {"<WebhookHandlerAliaslive>", "<SubscriptionsApiAliaslive>"}
    permissions = [name for name, each in shifted().items() if each["Type"] == "AWS::Lambda::Permission"]
    by_the_api = [name for name in permissions if "apigateway" in _named(name)["Principal"]]
    permitted = {_named(name)["FunctionName"] for name in by_the_api}
    assert permitted == uris


def test_all_else_is_as_it_is_deployed_at_once() -> None:
    """Every resource is there, and those that know nothing of an alias are the same; no alias without the canary."""
    assert set(resources()) - set(shifted()) <= {name for name in resources() if "Deployment" in name}
    aware = {"RenewalWorkflow", "StepFunctionsRole", "SubscriptionApi", "SubscriptionApiprodStage"}
    for name, each in resources().items():
        if name in shifted() and name not in aware and each["Type"] != "AWS::Lambda::Permission":
            assert _resolve(shifted()[name]["Properties"]) == each["Properties"], name
    assert of_type("AWS::Lambda::Alias") == {}


def test_nothing_waits_for_itself() -> None:
    """Aliases come before the workflow that calls them; no alarm of the workflow comes before the aliases."""
    named = re.compile(r"(?:'(?:Ref|Fn::GetAtt|DependsOn)': \[?'|\$\{)([A-Za-z0-9]+)")
    waits = {name: set(named.findall(str(each))) - {name} for name, each in shifted().items()}

    def before(name: str, seen: frozenset[str]) -> frozenset[str]:
        for each in waits.get(name, set()) - seen:
            seen = before(each, seen | {each})
        return seen

    assert [name for name in shifted() if name in before(name, frozenset())] == []
