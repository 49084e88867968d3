"""The command itself; see the package, and --help."""

import json
from datetime import datetime
from typing import Any

import click

from scripts.deployment import Deployment, given, stack_name
from scripts.oncall import charging, log, receipts, tables, waiting
from scripts.oncall.dead_letters import DeadLetters
from scripts.plainly import Commands, number, reason_fault, tell

_MOST_SHOWN = 20

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
        tell(f"{alarm['AlarmName']}, since {alarm['StateUpdatedTimestamp']:%Y-%m-%d %H:%M} UTC")
        tell(f"    {alarm['AlarmDescription']}")
    if not ours:
        click.echo("no alarm is on")


@main.command("waiting")
@given
@click.pass_context
def waiting_(ctx: click.Context, deployment: Deployment) -> None:
    """Show who waits, and for what: over is what ends here.

    Reads only. Not looked for: what ended as `failed` (alarm renewals-failed), and what is due for longer than 40 days,
    which the nightly sweep finds. The exit status is 1 where somebody waits.
    """
    found = waiting.look(deployment)
    _list("due and not renewed", [f"{name}, period {period}" for name, period in found.due])
    _list("due and cannot be charged", [f"{name}: {fault}" for name, fault in found.bad])
    begun = [f"{name}, period {period}, for {age:.0f} s: {stands}" for age, name, period, stands in found.unfinished]
    _list("begun and not finished", begun)
    told = [f"{name}, period {period}, {what}" for name, period, what in found.refunds]
    refunds = "refund that is not" if len(told) == 1 else "refunds that are not"
    _list(f"{refunds} finished, or failed", told)
    click.echo(f"{found.in_queue} in the queue, at work or to be tried again")
    click.echo(f"{found.dead_letters} in the dead-letter queue")
    tell(charging.state(deployment.client("dynamodb"), deployment.output("ChangesTableName")))
    click.echo("Over: nobody waits." if found.nobody else "Not over.")
    ctx.exit(0 if found.nobody else 1)


def _list(what: str, lines: list[str]) -> None:
    click.echo(f"{len(lines)} {what}")
    for line in lines[:_MOST_SHOWN]:
        tell(f"    {line}")
    if len(lines) > _MOST_SHOWN:
        click.echo(f"    and {len(lines) - _MOST_SHOWN} more")


@main.command()
@click.option("--day", type=_day, help="What is due on this day alone, however many messages wait.")
@click.option("--all", "everything", is_flag=True, help="As at night: a scan of all subscriptions.")
@given
def sweep(deployment: Deployment, day: datetime | None, *, everything: bool) -> None:
    """Look for what is due now, not within the hour."""
    if day is not None and everything:
        raise click.UsageError("--day and --all exclude each other")
    event: dict[str, Any] = {"sweep": "all" if everything else "due"}
    if day is not None:
        event = {"part": {"kind": "date", "of": day.date().isoformat()}}
    told = deployment.run("SweepFunctionName", event)
    click.echo(json.dumps(told, indent=2))
    if told["backlog"]:
        click.echo(
            f"Put off: {told['backlog']} messages wait for a worker, and a sweep would only send them again. What is "
            "due is looked for when fewer wait; --day does not wait for that."
        )
    elif day is not None:
        click.echo(f"{told['sent']} asked for.")
    else:
        parts = int(told["parts"])
        read = "is read by a run of its own" if parts == 1 else "are read by runs of their own"
        click.echo(f"{number(parts, 'part')} of it {read}; `waiting` says what is left.")


@main.command()
@click.argument("first", metavar="FROM", type=_day)
@click.argument("last", metavar="TO", type=_day)
@given
def audit(deployment: Deployment, first: datetime, last: datetime) -> None:
    """Compare everything of these days, both included.

    Days are UTC's, YYYY-MM-DD. What is due today and not renewed is `missed` from tomorrow on; `waiting` names it.
    """
    if first > last:
        raise click.UsageError("FROM is after TO")
    days = {"from": first.date().isoformat(), "to": last.date().isoformat()}
    told = deployment.run("AuditFunctionName", days)
    click.echo(json.dumps(told, indent=2))
    if not told["finished"]:
        click.echo("Other runs go on with it; the report is at its key once the last one has written it.")
        return
    report = deployment.client("s3").get_object(Bucket=deployment.output("ReceiptsBucketName"), Key=told["report"])
    listed = json.loads(report["Body"].read())["listed"]
    for difference in listed:
        click.echo(json.dumps(difference))
    click.echo(f"{number(sum(told['differences'].values()), 'difference')}.")


@main.command("log")
@click.argument("function")
@click.argument("text", default="")
@click.option("--hours", type=click.FloatRange(0, 24 * 14), default=1.0, show_default=True, help="So far back.")
@given
def log_(deployment: Deployment, function: str, text: str, hours: float) -> None:
    """Show a function's log, one line a record.

    FUNCTION is its short name, as process-payment; TEXT what a line must have in it, as sub_1 or Error.
    """
    for line in log.lines(deployment, function, text, hours):
        tell(line)


@main.command("dead-letters")
@given
def dead_letters(deployment: Deployment) -> None:
    """Show the messages that failed five times."""
    for line in DeadLetters(deployment).show():
        tell(line)


@main.command("delete-dead-letter")
@click.argument("message_id", metavar="ID")
@given
def delete_dead_letter(deployment: Deployment, message_id: str) -> None:
    """Take one away for good."""
    tell(f"deleted: {DeadLetters(deployment).delete(message_id)}")


@main.command("restore-receipt")
@click.argument("key")
@given
def restore_receipt(deployment: Deployment, key: str) -> None:
    """Bring back a receipt that was deleted or replaced.

    KEY is where it lies in the bucket, as the audit names it.
    """
    tell(receipts.restore(deployment, key))


@main.command("charging")
@click.argument("turn", type=click.Choice(["off", "on", "status"]))
@click.option("--why", default="", help="The reason to turn it off, kept with the switch for the others.")
@given
def charging_(deployment: Deployment, turn: str, why: str) -> None:
    """Turn charging off for everybody, or on again.

    A sweep is started either way: it tells the alarm, and renews what waited.
    """
    if turn == "off" and not why.strip():
        raise click.UsageError('off needs --why "…": whoever finds charging turned off has to know the reason')
    if why and (fault := reason_fault(why)):
        raise click.BadParameter(fault, param_hint="--why")
    dynamodb, changes = deployment.client("dynamodb"), deployment.output("ChangesTableName")
    if turn == "off":
        caller = deployment.client("sts").get_caller_identity()["Arn"]
        charging.turn_off(dynamodb, changes, by=caller, why=why)
    if turn == "on":
        charging.turn_on(dynamodb, changes)
    if turn != "status":
        deployment.client("lambda").invoke(
            FunctionName=deployment.output("SweepFunctionName"), InvocationType="Event", Payload='{"sweep": "due"}'
        )
    tell(charging.state(dynamodb, changes))


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
    counts = tables.restore(deployment.client("dynamodb"), copy, table, write=write, delete=delete)
    click.echo(", ".join(f"{count} {name}" for name, count in counts.items()) or "both are empty")


if __name__ == "__main__":
    main(prog_name="python -m scripts.oncall")
