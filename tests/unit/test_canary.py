"""The template of a canary deployment, checked as transformed by SAM, since the local emulator has no CodeDeploy."""

import json
import re
import runpy
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from scripts.canary import ALARMS, SHIFTED, TASKS, canary
from scripts.transformed import transformed, written
from tests.template import GIVEN, PSEUDO, ROOT, of_type, resolve, resources

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


@cache
def shifted(made_at: datetime = NOON, layer: str = "", *, alarmed: bool = True) -> dict[str, Any]:
    """Return the transformed resources of a canary deployment.

    layer: a text that gives the layer of all functions a new content.
    """
    changed = canary(written(), "Canary10Percent5Minutes", made_at, alarmed=alarmed)
    if layer:
        changed["Resources"]["AwsLayer"]["Properties"]["Description"] = layer
    return dict(transformed(PSEUDO["AWS::Region"], dict(GIVEN), changed)["Resources"])


def _versions(resources: dict[str, Any]) -> set[str]:
    """Return the logical ids of the functions' versions: CloudFormation publishes a version where an id is new."""
    return {name for name, each in resources.items() if each["Type"] == "AWS::Lambda::Version"}


def _named(name: str) -> dict[str, Any]:
    found: dict[str, Any] = resolve(shifted()[name]["Properties"])
    return found


@pytest.mark.parametrize("name", SHIFTED)
def test_an_alias_is_shifted_and_alarms_shift_it_back(name: str) -> None:
    """For five minutes an alias leads a tenth of the calls to the new version, then all calls. Alarms of the stack,
    failures and a request to stop roll the deployment back."""
    update = shifted()[f"{name}Aliaslive"]["UpdatePolicy"]["CodeDeployLambdaAliasUpdate"]
    group = _named(update["DeploymentGroupName"]["Ref"])
    assert resolve(group["DeploymentConfigName"]).endswith("CodeDeployDefault.LambdaCanary10Percent5Minutes")
    alarms = {f"acme-{each}-qa" for each in ALARMS}
    assert {alarm["Name"] for alarm in group["AlarmConfiguration"]["Alarms"]} == alarms
    assert alarms <= {each["AlarmName"] for each in of_type("AWS::CloudWatch::Alarm").values()}
    assert group["AlarmConfiguration"]["Enabled"] is True
    assert set(group["AutoRollbackConfiguration"]["Events"]) == {
        "DEPLOYMENT_FAILURE", "DEPLOYMENT_STOP_ON_ALARM", "DEPLOYMENT_STOP_ON_REQUEST",
    }  # fmt: skip


def test_every_deployment_publishes_new_versions() -> None:
    """A changed layer publishes new versions, and so does a changed parameter, unseen by SAM, because the time of the
    deployment stands in every version. Otherwise an alias would lead to a version deployed long ago."""
    assert len(_versions(shifted())) == len(SHIFTED)
    assert not _versions(shifted()) & _versions(shifted(layer="another content"))
    assert not _versions(shifted()) & _versions(shifted(NOON + timedelta(seconds=1)))


def test_what_mends_the_cause_of_an_alarm_can_go_out() -> None:
    """Without alarms only failures and a request to stop roll a deployment back, so that a repair can go out while an
    alarm is on: under an alarm CodeDeploy refuses the deployment."""
    group = shifted(alarmed=False)[f"{SHIFTED[0]}DeploymentGroup"]["Properties"]
    assert "AlarmConfiguration" not in group
    assert "DEPLOYMENT_FAILURE" in group["AutoRollbackConfiguration"]["Events"]


@pytest.mark.parametrize(("words", "alarmed"), [([], True), (["--no-alarms"], False)])
def test_the_command_lets_alarms_shift_back_unless_it_is_told_not_to(
    words: list[str], alarmed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`scripts/canary.py` writes a template with alarms, and `scripts/canary.py --no-alarms` a template without."""
    names = (*SHIFTED, "RenewalWorkflow", "StepFunctionsRole", "CustomerPage", "CustomerPageRole")
    built = {"Resources": {name: each for name, each in written()["Resources"].items() if name in names}}
    folder = tmp_path / ".aws-sam/build"
    folder.mkdir(parents=True)
    (folder / "template.yaml").write_text(json.dumps(built))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["canary.py", *words])
    runpy.run_path(str(ROOT / "scripts/canary.py"), run_name="__main__")
    made = json.loads((folder / "canary.json").read_text())["Resources"]
    assert {"Alarms" in made[name]["Properties"]["DeploymentPreference"] for name in SHIFTED} == {alarmed}


def test_the_customer_page_has_payments_confirmed_by_the_alias() -> None:
    """The customer page calls ProcessPayment by the alias, and may: a payment that a customer confirms during a canary
    meets the new code as often as every other payment. The role may still call the function itself, as the page before
    the first canary does."""
    variables = _named("CustomerPage")["Environment"]["Variables"]
    assert variables["PROCESS_PAYMENT_FUNCTION"] == "<ProcessPaymentAliaslive>"
    [policy] = _named("CustomerPageRole")["Policies"]
    allowed = [each for each in policy["PolicyDocument"]["Statement"] if each.get("Action") == "lambda:InvokeFunction"]
    assert [each["Resource"] for each in allowed] == [["<ProcessPayment.Arn>", "<ProcessPaymentAliaslive>"]]


def test_the_workflow_and_the_api_call_the_aliases() -> None:
    """Definition, role, API and permissions name the alias: a caller of the function itself would get the new code at
    once. The role may still call functions, for executions that began before the alias existed. The gateway's events
    reach a function without an alias, which only puts hints into a queue. The customer page and the links to receipts
    have no alias, because no renewal needs them."""
    called = {f"{name}Arn": f"<{name}Aliaslive>" for name in TASKS}
    assert _named("RenewalWorkflow")["DefinitionSubstitutions"] == called
    [policy] = _named("StepFunctionsRole")["Policies"]
    allowed = [each["Resource"] for each in policy["PolicyDocument"]["Statement"] if "lambda" in str(each["Action"])]
    assert allowed == [[*(f"<{name}.Arn>" for name in TASKS), *called.values()]]
    uris = set(re.findall(r"functions/(<[^>]+>)/invocations", str(resolve(shifted()["SubscriptionApi"]))))
    shifted_uris = {"<WebhookHandlerAliaslive>", "<SubscriptionsApiAliaslive>"}
    assert uris == {*shifted_uris, "<GatewayEvents.Arn>", "<ReceiptLinks.Arn>"}
    permissions = [name for name, each in shifted().items() if each["Type"] == "AWS::Lambda::Permission"]
    by_the_api = [name for name in permissions if "apigateway" in _named(name)["Principal"]]
    permitted = {_named(name)["FunctionName"] for name in by_the_api}
    assert permitted == {*shifted_uris, "<GatewayEvents>", "<ReceiptLinks>", "<CustomerPage>"}


def test_all_else_is_as_it_is_deployed_at_once() -> None:
    """A canary deployment has every resource of an ordinary deployment, unchanged unless the resource names an alias;
    an ordinary deployment has no alias."""
    named_by_content = ("AWS::ApiGateway::Deployment", "AWS::Lambda::LayerVersion")
    assert {resources()[name]["Type"] for name in set(resources()) - set(shifted())} <= set(named_by_content)
    aware = {
        "RenewalWorkflow",
        "StepFunctionsRole",
        "CustomerPage",
        "CustomerPageRole",
        "SubscriptionApi",
        "SubscriptionApiprodStage",
        *SHIFTED,
    }
    for name, each in resources().items():
        if name in shifted() and name not in aware and each["Type"] != "AWS::Lambda::Permission":
            ours = json.dumps([resolve(shifted()[name]["Properties"]), each["Properties"]], sort_keys=True)
            one, other = json.loads(re.sub(r"(Layer)[0-9a-f]{10}", r"\1", ours))
            assert one == other, name
    assert of_type("AWS::Lambda::Alias") == {}


def test_nothing_waits_for_itself() -> None:
    """Aliases come before the workflow that calls them, and no alarm of the workflow comes before the aliases."""
    named = re.compile(r"(?:'(?:Ref|Fn::GetAtt|DependsOn)': \[?'|\$\{)([A-Za-z0-9]+)")
    waits = {name: set(named.findall(str(each))) - {name} for name, each in shifted().items()}

    def before(name: str, seen: frozenset[str]) -> frozenset[str]:
        for each in waits.get(name, set()) - seen:
            seen = before(each, seen | {each})
        return seen

    assert [name for name in shifted() if name in before(name, frozenset())] == []
