"""Make a canary's template of a built one: `python scripts/canary.py [--no-alarms] [TYPE]`, after `sam build`.

Writes .aws-sam/build/canary.json, which is .aws-sam/build/template.yaml but for this: the functions that customers wait
for are called by an alias, and CodeDeploy shifts the alias to a new version by and by. While one of ALARMS is in ALARM
it shifts back, and CloudFormation takes back the whole deployment. TYPE: how it shifts, Canary10Percent5Minutes if
nothing else is said. --no-alarms: what mends the cause of an alarm has to go out while that alarm is on.

Every deployment publishes a new version of these functions. SAM by itself would do so only where code, variables or
memory changed as they are written: a layer's new content or a parameter's new value would stay with versions that no
alias leads to. So all properties count, layers publish with them, and the time of the deployment stands in the
versions' description, since SAM sees a parameter's name and not its value.

https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/automating-updates-to-serverless-apps.html
"""

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from samtranslator.yaml_helper import yaml_parse

BUILT = Path(".aws-sam/build")
ALIAS = "live"
TASKS = ("ProcessPayment", "GenerateReceipt", "SendEmail")
SHIFTED = (*TASKS, "WebhookHandler", "SubscriptionsApi")
"""The others are called by schedules and the queue, which try again."""
ALARMS = ("lambda-errors", "stepfunctions-failed", "stepfunctions-timed-out", "renewals-failed", "api-5xx-errors")


def canary(template: dict[str, Any], shifts: str, made_at: datetime, *, alarmed: bool = True) -> dict[str, Any]:
    """The template, changed in place. alarmed: whether alarms shift back."""
    resources = template["Resources"]
    # By name: an alarm of the workflow would come after the workflow, and that after the aliases that it calls.
    alarms = [{"Fn::Sub": f"${{ProjectName}}-{alarm}-${{Environment}}"} for alarm in ALARMS]
    for name in SHIFTED:
        resources[name]["Properties"] |= {
            "AutoPublishAlias": ALIAS,
            "AutoPublishAliasAllProperties": True,
            "Description": f"Deployed at {made_at:%Y-%m-%dT%H:%M:%SZ}",
            "DeploymentPreference": {"Type": shifts} | ({"Alarms": alarms} if alarmed else {}),
        }
    for layer in (each for each in resources.values() if each["Type"] == "AWS::Serverless::LayerVersion"):
        layer["Properties"]["PublishLambdaVersion"] = True
    called = {f"{name}Arn": {"Ref": f"{name}.Alias"} for name in TASKS}
    resources["RenewalWorkflow"]["Properties"]["DefinitionSubstitutions"] = called
    [policy] = resources["StepFunctionsRole"]["Properties"]["Policies"]
    for statement in policy["PolicyDocument"]["Statement"]:
        if statement["Action"] == "lambda:InvokeFunction":
            # The functions too: an execution in flight calls them as it began.
            statement["Resource"] += called.values()
    return template


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Makes a canary's template of the built one.")
    parser.add_argument("shifts", nargs="?", default="Canary10Percent5Minutes", metavar="TYPE")
    parser.add_argument("--no-alarms", action="store_true", help="let no alarm shift back, since one is on")
    asked = parser.parse_args()
    built = yaml_parse((BUILT / "template.yaml").read_text())
    changed = canary(built, asked.shifts, datetime.now(UTC), alarmed=not asked.no_alarms)
    (BUILT / "canary.json").write_text(json.dumps(changed, indent=1))
