"""The commands with their arguments and options. The other modules of the package do the work."""

import json
from datetime import datetime
from typing import Any

import click

from scripts.deployment import Deployment, given, stack_name
from scripts.oncall import charging, declarations, log, receipts, tables, waiting
from scripts.oncall.dead_letters import DeadLetters
from scripts.oncall.publish import publish as publish_events
from scripts.plainly import Commands, number, reason_fault, tell

_MOST_SHOWN = 20

_day = click.DateTime(["%Y-%m-%d"])


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@stack_name
@click.pass_context
def main(ctx: click.Context, stack_name: str) -> None:
    """Commands for the person on call. docs/runbook.md says when to use them.

    Uses AWS, or the local stack, through the AWS profile of the environment.
    """
    ctx.obj = Deployment(stack_name)


@main.command()
@given
def alarms(deployment: Deployment) -> None:
    """Show the alarms that are on, and since when."""
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
    """Show which renewals and refunds wait.

    Reads only. The last line says whether everything is done: "Over" or "Not over". Two groups are not listed:
    renewals that ended as `failed` (see the alarm renewals-failed), and renewals due for longer than 40 days, which the
    nightly sweep finds. The exit status is 1 if anything waits.
    """
    found = waiting.look(deployment)
    _list("due and not renewed", [f"{name}, period {period}" for name, period in found.due])
    _list("due and cannot be charged", [f"{name}: {fault}" for name, fault in found.bad])
    begun = [f"{name}, period {period}, for {age:.0f} s: {stands}" for age, name, period, stands in found.unfinished]
    _list("begun and not finished", begun)
    told = [f"{name}, period {period}, {what}" for name, period, what in found.refunds]
    refunds = "refund that is not" if len(told) == 1 else "refunds that are not"
    _list(f"{refunds} finished, or failed", told)
    click.echo(f"{number(found.in_queue, 'message')} in the queue: waiting, being processed or to be retried")
    click.echo(f"{number(found.dead_letters, 'message')} in the dead-letter queue")
    tell(charging.state(deployment.client("dynamodb"), deployment.output("ChangesTableName")))
    click.echo("Over: nothing waits." if found.nobody else "Not over.")
    ctx.exit(0 if found.nobody else 1)


def _list(what: str, lines: list[str]) -> None:
    click.echo(f"{len(lines)} {what}")
    for line in lines[:_MOST_SHOWN]:
        tell(f"    {line}")
    if len(lines) > _MOST_SHOWN:
        click.echo(f"    and {len(lines) - _MOST_SHOWN} more")


@main.command()
@click.option(
    "--day", type=_day, metavar="YYYY-MM-DD", help="Only renewals due on this day, even if many messages wait."
)
@click.option("--all", "everything", is_flag=True, help="Read all subscriptions, as the nightly sweep does.")
@given
def sweep(deployment: Deployment, day: datetime | None, *, everything: bool) -> None:
    """Start a sweep now, without waiting for the next hour."""
    if day is not None and everything:
        raise click.UsageError("--day and --all exclude each other")
    event: dict[str, Any] = {"sweep": "all" if everything else "due"}
    if day is not None:
        event = {"part": {"kind": "date", "of": day.date().isoformat()}}
    told = deployment.run("SweepFunctionName", event)
    click.echo(json.dumps(told, indent=2))
    if told["backlog"]:
        click.echo(
            f"The sweep was put off: {told['backlog']} messages wait for a worker, and a sweep would only send the "
            "messages again. A later sweep looks for due renewals when fewer messages wait; --day does not wait."
        )
    elif day is not None:
        click.echo(f"{number(told['sent'], 'renewal')} requested.")
    else:
        parts = int(told["parts"])
        click.echo(f"The sweep runs in {number(parts, 'part')}, in the background; `waiting` shows what is left.")


@main.command()
@click.argument("first", metavar="FROM", type=_day)
@click.argument("last", metavar="TO", type=_day)
@given
def audit(deployment: Deployment, first: datetime, last: datetime) -> None:
    """Run the audit for the days from FROM to TO, inclusive.

    Days are in UTC, YYYY-MM-DD. The audit reports a renewal due today as `missed` from tomorrow on; until then,
    `waiting` lists the renewal.
    """
    if first > last:
        raise click.UsageError("FROM is after TO")
    days = {"from": first.date().isoformat(), "to": last.date().isoformat()}
    told = deployment.run("AuditFunctionName", days)
    click.echo(json.dumps(told, indent=2))
    if not told["finished"]:
        click.echo("The audit continues in the background. The last run writes the report to the key above.")
        return
    report = deployment.client("s3").get_object(Bucket=deployment.output("ReceiptsBucketName"), Key=told["report"])
    listed = json.loads(report["Body"].read())["listed"]
    for difference in listed:
        click.echo(json.dumps(difference))
    click.echo(f"{number(sum(told['differences'].values()), 'difference')}.")


@main.command()
@click.argument("first", metavar="FROM", type=_day)
@click.argument("last", metavar="TO", type=_day)
@given
def publish(deployment: Deployment, first: datetime, last: datetime) -> None:
    """Tell your application the events of these days again, both included.

    Days are UTC's, YYYY-MM-DD. Each event has the id of the first time. Writes to rows by hand are not told again.
    """
    if first > last:
        raise click.UsageError("FROM is after TO")
    click.echo(f"{number(publish_events(deployment, first.date(), last.date()), 'event')} told.")


@main.command("log")
@click.argument("function")
@click.argument("text", default="")
@click.option(
    "--hours", type=click.FloatRange(0, 24 * 14), default=1.0, show_default=True, help="The hours to look back."
)
@given
def log_(deployment: Deployment, function: str, text: str, hours: float) -> None:
    """Show a function's log, a line for each record.

    FUNCTION is the function's short name, such as process-payment. Only lines that contain TEXT are shown, for example
    sub_1 or Error.
    """
    for line in log.lines(deployment, function, text, hours):
        tell(line)


@main.command("dead-letters")
@given
def dead_letters(deployment: Deployment) -> None:
    """Show the messages in the dead-letter queue.

    A message is moved to the dead-letter queue after five failed attempts.
    """
    for line in DeadLetters(deployment).show():
        tell(line)


@main.command("delete-dead-letter")
@click.argument("message_id", metavar="ID")
@given
def delete_dead_letter(deployment: Deployment, message_id: str) -> None:
    """Delete a dead letter for good. `dead-letters` shows the ID."""
    tell(f"deleted: {DeadLetters(deployment).delete(message_id)}")


@main.command("restore-receipt")
@click.argument("key")
@given
def restore_receipt(deployment: Deployment, key: str) -> None:
    """Restore a receipt that was deleted or replaced.

    KEY is the receipt's key in the bucket, as the audit reports the key.
    """
    tell(receipts.restore(deployment, key))


@main.command("charging")
@click.argument("turn", type=click.Choice(["off", "on", "status"]))
@click.option("--why", default="", help="Why charging is turned off. Everybody can read the reason later.")
@given
def charging_(deployment: Deployment, turn: str, why: str) -> None:
    """Turn charging off for everybody, or on again.

    `off` and `on` also start a sweep: the sweep updates the alarm, and renews what waited.
    """
    if turn == "off" and not why.strip():
        raise click.UsageError(
            'off needs --why "…": everybody who finds charging turned off must be able to read the reason'
        )
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


@main.command("declarations")
@given
@click.pass_context
def declarations_(ctx: click.Context, deployment: Deployment) -> None:
    """Show the open declarations of the public forms, oldest first, and last those that fit no subscription.

    Reads the whole table. The exit status is 1 if a declaration is open.
    """
    found, unreadable = declarations.waiting(deployment)
    for key in unreadable:
        tell(f"an item that somebody wrote by hand, and that cannot be read: {key}")
    for record in found:
        for line in declarations.lines(record):
            tell(line)
    click.echo(f"{number(len(found), 'open declaration')}.")
    ctx.exit(1 if found or unreadable else 0)


@main.command("declaration-done")
@click.argument("declared", metavar="NUMBER")
@given
def declaration_done(deployment: Deployment, declared: str) -> None:
    """Mark a declaration as done, after a person has answered.

    `declarations` shows the NUMBER. The mark changes no subscription.
    """
    declarations.done(deployment, declared)
    tell(f"done: {declared}")


@main.command("declarations-done")
@click.argument("day", metavar="YYYY-MM-DD", type=_day)
@given
def declarations_done(deployment: Deployment, day: datetime) -> None:
    """Mark the declarations of a day that fit no subscription as done, after a flood.

    The day is a day in UTC. Look at the list of `declarations` first: a customer may have declared under a second mail
    address. The mark changes no subscription.
    """
    marked = declarations.done_without_fit(deployment, day.date())
    tell(f"done: {number(marked, 'declaration')} without a subscription")


@main.command("restore")
@click.argument("copy")
@click.argument("table")
@click.option(
    "--write",
    is_flag=True,
    help="Write the items of COPY that are missing or different in TABLE. Without --write, only show the differences.",
)
@click.option("--delete", is_flag=True, help="With --write: delete the items of TABLE that COPY does not have.")
@given
def restore_(deployment: Deployment, copy: str, table: str, *, write: bool, delete: bool) -> None:
    """Restore items of a table from a restored copy.

    TABLE is the table that the functions use. COPY is the table that DynamoDB restored.
    """
    counts = tables.restore(deployment.client("dynamodb"), copy, table, write=write, delete=delete)
    click.echo(", ".join(f"{count} {name}" for name, count in counts.items()) or "both tables are empty")


if __name__ == "__main__":
    main(prog_name="python -m scripts.oncall")
