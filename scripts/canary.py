"""Make a canary's template of a built one: `python scripts/canary.py [TYPE]`, after `sam build`.

Writes .aws-sam/build/canary.json, which is .aws-sam/build/template.yaml but for this: the functions that customers wait
for are called by an alias, and CodeDeploy shifts the alias to a new version by and by. While one of ALARMS is in ALARM
it shifts back, and CloudFormation takes back the whole deployment. TYPE: how it shifts, Canary10Percent5Minutes if
nothing else is said.

https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/automating-updates-to-serverless-apps.html
"""

import json
import sys
from pathlib import Path
from typing import Any

from samtranslator.yaml_helper import yaml_parse

BUILT = Path(".aws-sam/build")
ALIAS = "live"
TASKS = ("ProcessPayment", "GenerateReceipt", "SendEmail")
SHIFTED = (*TASKS, "WebhookHandler", "SubscriptionsApi")
"""The others are called by schedules and the queue, which try again."""
ALARMS = ("lambda-errors", "stepfunctions-failed", "stepfunctions-timed-out", "renewals-failed", "api-5xx-errors")


def canary(template: dict[str, Any], shifts: str) -> dict[str, Any]:
    """The template, changed in place."""
    resources = template["Resources"]
    # By name: an alarm of the workflow would come after the workflow, and that after the aliases that it calls.
    alarms = [{"Fn::Sub": f"${{ProjectName}}-{alarm}-${{Environment}}"} for alarm in ALARMS]
    for name in SHIFTED:
        resources[name]["Properties"] |= {
            "AutoPublishAlias": ALIAS,
            "DeploymentPreference": {"Type": shifts, "Alarms": alarms},
        }
    called = {f"{name}Arn": {"Ref": f"{name}.Alias"} for name in TASKS}
    resources["RenewalWorkflow"]["Properties"]["DefinitionSubstitutions"] = called
    [policy] = resources["StepFunctionsRole"]["Properties"]["Policies"]
    for statement in policy["PolicyDocument"]["Statement"]:
        if statement["Action"] == "lambda:InvokeFunction":
            # The functions too: an execution in flight calls them as it began.
            statement["Resource"] += called.values()
    return template


if __name__ == "__main__":
    asked = sys.argv[1] if len(sys.argv) > 1 else "Canary10Percent5Minutes"
    changed = canary(yaml_parse((BUILT / "template.yaml").read_text()), asked)
    (BUILT / "canary.json").write_text(json.dumps(changed, indent=1))
