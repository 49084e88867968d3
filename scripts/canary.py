"""Makes a canary's template: `python scripts/canary.py [--no-alarms] [TYPE]`, after `sam build`.

The command writes .aws-sam/build/canary.json, a changed copy of .aws-sam/build/template.yaml: the functions that
customers wait for are called through an alias, and CodeDeploy shifts the alias to a new version step by step. If an
alarm of ALARMS goes off meanwhile, CodeDeploy shifts back, and CloudFormation rolls back the whole deployment. TYPE is
the way of shifting, by default Canary10Percent5Minutes. --no-alarms is for a deployment that removes the cause of an
alarm: such a deployment must go out while the alarm is on.

Every deployment publishes a new version of these functions. SAM alone would publish a version only if code, variables
or memory changed in the text of the template: a layer's new content or a parameter's new value would reach no version
with an alias. Therefore all properties count, layers publish with the functions, and the versions' description holds
the time of the deployment, since SAM sees a parameter's name but not the value.

https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/automating-updates-to-serverless-apps.html

Decisions: D124, D125 (DECISIONS.md).
"""

import argparse
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from samtranslator.yaml_helper import yaml_parse

BUILT = Path(".aws-sam/build")
ALIAS = "live"
TASKS = ("ProcessPayment", "GenerateReceipt", "SendEmail")
SHIFTED = (*TASKS, "WebhookHandler", "SubscriptionsApi")
"""The functions that new code reaches little by little. Schedules, queues and streams call most of the remaining
functions, and retry failed calls. The customer page, the links to receipts and the door for events of the gateway get
new code at once, because no renewal waits for them."""
ALARMS = ("lambda-errors", "stepfunctions-failed", "stepfunctions-timed-out", "renewals-failed", "api-5xx-errors")


def canary(template: dict[str, Any], shifts: str, made_at: datetime, *, alarmed: bool = True) -> dict[str, Any]:
    """Change the template in place, and return the template. alarmed: whether alarms shift back."""
    resources = template["Resources"]
    # The alarms are named by text. With references, an alarm of the workflow would depend on the workflow, and the
    # workflow on the aliases.
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
    page = resources["CustomerPage"]["Properties"]["Environment"]["Variables"]
    page["PROCESS_PAYMENT_FUNCTION"] = called["ProcessPaymentArn"]
    # The permissions cover the functions as well: a running execution calls the functions it started with, and so does
    # the customer page until the page has its new variables.
    _permit(resources["StepFunctionsRole"], called.values())
    _permit(resources["CustomerPageRole"], [called["ProcessPaymentArn"]])
    return template


def _permit(role: dict[str, Any], aliases: Iterable[object]) -> None:
    """Let a role that may call functions call these aliases, too."""
    [policy] = role["Properties"]["Policies"]
    for statement in policy["PolicyDocument"]["Statement"]:
        if statement.get("Action") == "lambda:InvokeFunction":
            known = statement["Resource"]
            statement["Resource"] = [*(known if isinstance(known, list) else [known]), *aliases]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Makes a canary's template from the built template.")
    parser.add_argument(
        "shifts",
        nargs="?",
        default="Canary10Percent5Minutes",
        metavar="TYPE",
        help="how CodeDeploy shifts (%(default)s)",
    )
    parser.add_argument(
        "--no-alarms",
        action="store_true",
        help="do not shift back when an alarm is on: for a deployment that removes the alarm's cause",
    )
    asked = parser.parse_args()
    built = yaml_parse((BUILT / "template.yaml").read_text())
    changed = canary(built, asked.shifts, datetime.now(UTC), alarmed=not asked.no_alarms)
    (BUILT / "canary.json").write_text(json.dumps(changed, indent=1))
