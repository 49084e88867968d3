"""For whoever is on call: `python -m scripts.oncall COMMAND`, as docs/runbook.md says."""

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import click

from scripts import charging
from scripts.deployment import Deployment, given, stack_name
from scripts.plainly import Commands, Trouble
from scripts.restore import restore

_MOST_LETTERS = 1000
_HIDDEN_SECONDS = 60

_day = click.DateTime(["%Y-%m-%d"])


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@stack_name
@click.pass_context
def main(ctx: click.Context, stack_name: str) -> None:
    """For whoever is on call; docs/runbook.md says when to use what.

    Reaches AWS, or the local stack, by the AWS profile of the environment.
    """
    ctx.obj = Deployment(stack_name)


@main.command()
@given
def alarms(deployment: Deployment) -> None:
    """Show what is wrong now, and since when."""
    pages = deployment.client("cloudwatch").get_paginator("describe_alarms").paginate(StateValue="ALARM")
    topic = deployment.output("AlarmTopicArn")
    ours = [alarm for page in pages for alarm in page["MetricAlarms"] if topic in alarm["AlarmActions"]]
    for alarm in sorted(ours, key=lambda alarm: alarm["StateUpdatedTimestamp"]):
        click.echo(f"{alarm['AlarmName']}, since {alarm['StateUpdatedTimestamp']:%Y-%m-%d %H:%M} UTC")
        click.echo(f"    {alarm['AlarmDescription']}")
    if not ours:
        click.echo("no alarm is on")


@main.command()
@given
def sweep(deployment: Deployment) -> None:
    """Look for what is due now, not within the hour."""
    told = deployment.run("SweepFunctionName", {"sweep": "due"})
    click.echo(json.dumps(told, indent=2))
    if told["backlog"]:
        click.echo(f"Put off: the queue still holds {told['backlog']}. What is due is looked for when it has drained.")


@main.command()
@click.argument("first", metavar="FROM", type=_day)
@click.argument("last", metavar="TO", type=_day)
@given
def audit(deployment: Deployment, first: datetime, last: datetime) -> None:
    """Compare everything of these days, both included."""
    days = {"from": first.date().isoformat(), "to": last.date().isoformat()}
    told = deployment.run("AuditFunctionName", days)
    click.echo(json.dumps(told, indent=2))
    if not told["finished"]:
        click.echo("Other runs go on with it; the report is at its key once the last one has written it.")
        return
    report = deployment.client("s3").get_object(Bucket=deployment.output("ReceiptsBucketName"), Key=told["report"])
    for difference in json.loads(report["Body"].read())["listed"]:
        click.echo(json.dumps(difference))


@main.command("dead-letters")
@given
def dead_letters(deployment: Deployment) -> None:
    """Show the messages that failed five times."""
    letters = list(_letters(deployment))
    for letter in letters:
        _let_go(deployment, letter)
        click.echo(f"{letter['MessageId']}  {letter['Body']}")
    if not letters:
        click.echo("there are no dead letters")


@main.command("delete-dead-letter")
@click.argument("message_id", metavar="ID")
@given
def delete_dead_letter(deployment: Deployment, message_id: str) -> None:
    """Take one away for good."""
    found = None
    for letter in list(_letters(deployment)):
        if letter["MessageId"] == message_id:
            found = letter
        else:
            _let_go(deployment, letter)
    if found is None:
        raise Trouble("There is no such dead letter.")
    queue = deployment.output("RenewalDeadLetterQueueUrl")
    deployment.client("sqs").delete_message(QueueUrl=queue, ReceiptHandle=found["ReceiptHandle"])
    click.echo(f"deleted: {found['Body']}")


@main.command("restore-receipt")
@click.argument("key")
@given
def restore_receipt(deployment: Deployment, key: str) -> None:
    """Bring back the first version of a receipt.

    KEY is where it lies in the bucket, as the audit names it.
    """
    s3, bucket = deployment.client("s3"), deployment.output("ReceiptsBucketName")
    pages = s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=key)
    versions = [each for page in pages for each in page.get("Versions", []) if each["Key"] == key]
    if not versions:
        raise Trouble("The bucket has no version of it any more.")
    first = min(versions, key=lambda version: version["LastModified"])
    receipt = s3.get_object(Bucket=bucket, Key=key, VersionId=first["VersionId"])["Body"].read()
    s3.put_object(Bucket=bucket, Key=key, Body=receipt, ContentType="application/pdf", ChecksumAlgorithm="SHA256")
    at = f"{first['LastModified']:%Y-%m-%d %H:%M} UTC"
    click.echo(f"restored as it was on {at}; the audit says whether it is the one")


@main.command("charging")
@click.argument("turn", type=click.Choice(["off", "on", "status"]))
@click.option("--why", default="", help="Kept with the switch, for the others.")
@given
def charging_(deployment: Deployment, turn: str, why: str) -> None:
    """Turn charging off for everybody, or on again.

    On: a sweep is made, which renews what waits.
    """
    dynamodb, changes = deployment.client("dynamodb"), deployment.output("ChangesTableName")
    if turn == "off":
        caller = deployment.client("sts").get_caller_identity()["Arn"]
        charging.turn_off(dynamodb, changes, by=caller, why=why)
    if turn == "on":
        charging.turn_on(dynamodb, changes)
        deployment.client("lambda").invoke(
            FunctionName=deployment.output("SweepFunctionName"), InvocationType="Event", Payload='{"sweep": "due"}'
        )
    click.echo(charging.state(dynamodb, changes))


@main.command("restore")
@click.argument("copy")
@click.argument("table")
@click.option("--write", is_flag=True, help="Give TABLE what COPY has. Without it, it is only said what differs.")
@click.option("--delete", is_flag=True, help="With --write: take from TABLE what COPY does not have.")
@given
def restore_(deployment: Deployment, copy: str, table: str, *, write: bool, delete: bool) -> None:
    """Bring back what a restored table has.

    COPY is the table that TABLE was restored into.
    """
    counts = restore(deployment.client("dynamodb"), copy, table, write=write, delete=delete)
    click.echo(", ".join(f"{count} {name}" for name, count in counts.items()) or "both are empty")


def _letters(deployment: Deployment) -> Iterator[Mapping[str, Any]]:
    """All dead letters, each hidden for some seconds; those that are met again meanwhile end it."""
    seen: set[str] = set()
    while len(seen) < _MOST_LETTERS:
        got = deployment.client("sqs").receive_message(
            QueueUrl=deployment.output("RenewalDeadLetterQueueUrl"),
            MaxNumberOfMessages=10,
            VisibilityTimeout=_HIDDEN_SECONDS,
            WaitTimeSeconds=1,
        )
        letters = [letter for letter in got.get("Messages", []) if letter["MessageId"] not in seen]
        if not letters:
            return
        seen.update(letter["MessageId"] for letter in letters)
        yield from letters


def _let_go(deployment: Deployment, letter: Mapping[str, Any]) -> None:
    """It was looked at, and is there for the next command."""
    deployment.client("sqs").change_message_visibility(
        QueueUrl=deployment.output("RenewalDeadLetterQueueUrl"),
        ReceiptHandle=letter["ReceiptHandle"],
        VisibilityTimeout=0,
    )


if __name__ == "__main__":
    main(prog_name="python -m scripts.oncall")
