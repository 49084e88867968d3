"""The commands by which a newcomer makes and renews a subscription on the local stack."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

from boto3.dynamodb.conditions import Key

from local.stack import ROOT, Stack


def _command(stack: Stack, *arguments: str) -> str:
    """Run a command of the local stack and return its output; fail if the command fails."""
    command = [sys.executable, "-m", *arguments]
    environment = os.environ | {"PORT": str(stack.port)}
    return subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True).stdout


def test_a_subscription_of_ones_own(stack: Stack) -> None:
    """`local.subscribe` shows the first renewal of a new subscription; `local.test_clock` moves the subscription's
    clock to the next date, and the second renewal is made."""
    told = _command(stack, "local.subscribe", "--name", "Zoë Lee", "--amount", "9.99", "--subscription-id", "sub_own")
    assert "9.99 USD for Pro was charged to Visa ending in 4242" in told
    assert "Mailed the receipt to" in told
    tables = stack.session.resource("dynamodb", endpoint_url=stack.endpoint_url)
    [row] = tables.Table(stack.outputs["SubscriptionsTableName"]).query(
        KeyConditionExpression=Key("subscription_id").eq("sub_own")
    )["Items"]
    told = _command(stack, "local.test_clock", "sub_own", str(row["renewal_date"]))
    assert told.count("done") == 2


def test_a_declined_subscription_of_ones_own(stack: Stack) -> None:
    """`local.subscribe --card declined` shows the decline and names the day of the next attempt; `--locale de` makes a
    customer who is written to in German."""
    told = _command(stack, "local.subscribe", "--card", "declined", "--locale", "de", "--subscription-id", "sub_de")
    assert "was declined" in told
    tables = stack.session.resource("dynamodb", endpoint_url=stack.endpoint_url)
    [row] = tables.Table(stack.outputs["SubscriptionsTableName"]).query(
        KeyConditionExpression=Key("subscription_id").eq("sub_de")
    )["Items"]
    assert row["locale"] == "de"
    assert f"The next charge is due on {datetime.now(UTC).date() + timedelta(days=1)}" in told
