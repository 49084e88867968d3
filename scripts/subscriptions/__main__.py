"""The commands with their arguments and options. The other modules of the package do the work."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime
from itertools import chain
from pathlib import Path
from typing import Any

import click
from rich.progress import Progress

from renewals.domain.errors import BadRow
from renewals.domain.item_values import Item, text
from renewals.domain.mail_faults import address_of
from renewals.domain.subscription import ID, ID_FORM, SubscriptionStatus
from renewals.ledger import forecast
from scripts.deployment import WORKERS, Deployment, given, stack_name
from scripts.plainly import Commands, Trouble, number, reason_fault
from scripts.subscriptions import shown
from scripts.subscriptions.clearing import about_suppression, clear_mail_fault
from scripts.subscriptions.evidence import gather
from scripts.subscriptions.importing import LEFT_OUT, Import, Tally
from scripts.subscriptions.renewing import Ended, redrive, renew_now, resend_mail
from scripts.subscriptions.rows import BadFile, Line, from_csv, from_json_lines
from scripts.subscriptions.verified import lookup

_KINDS = {".csv": from_csv, ".jsonl": from_json_lines, ".ndjson": from_json_lines}
_PAGE = 200
_MOST_PAGES = 100
_INTERRUPTED = 130


class _Id(click.ParamType):
    """A subscription's or a customer's id."""

    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not ID.fullmatch(value):
            self.fail(f"{value!r} is not an id: {ID_FORM}", param, ctx)
        return str(value)


class _Day(click.ParamType):
    """A date."""

    name = "YYYY-MM-DD"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        try:
            return datetime.strptime(value, "%Y-%m-%d").date()  # noqa: DTZ007  (a date has no zone)
        except ValueError:
            self.fail(f"{value!r} is not a date of the form YYYY-MM-DD", param, ctx)


_subscription = click.argument("subscription_id", metavar="SUBSCRIPTION", type=_Id())


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@stack_name
@click.pass_context
def main(ctx: click.Context, stack_name: str) -> None:
    """Commands for the subscriptions of a deployed stack.

    Uses AWS, or the local stack, through the AWS profile of the environment.
    """
    ctx.obj = Deployment(stack_name)


@main.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path))
@click.option("--apply", is_flag=True, help="Write the subscriptions. Without --apply, the file is only checked.")
@click.option(
    "--charge-due", is_flag=True, help="Also import subscriptions that are already due, to be charged at once."
)
@click.option(
    "--verify/--no-verify", default=True, show_default=True, help="Look customers and cards up at the gateway first."
)
@given
@click.pass_context
def import_(
    ctx: click.Context, deployment: Deployment, file: Path, *, apply: bool, charge_due: bool, verify: bool
) -> None:
    """Create the subscriptions in FILE, .csv or .jsonl.

    A line that cannot be imported is reported with all its faults, and the remaining lines are imported. Existing
    subscriptions are never changed, so an interrupted import can simply be run again. The exit status is 1 if a line
    was left out.

    Customers and cards are looked up at the gateway with the stack's key. The AWS profile must be allowed to read the
    key: secretsmanager:GetSecretValue on the secret of the output PaymentGatewaySecretArn.
    """
    tally = Tally()
    try:
        _import(deployment, file, tally, apply=apply, charge_due=charge_due, verify=verify)
    except KeyboardInterrupt:
        shown.tally(tally, applied=apply)
        shown.say(
            "Interrupted. The subscriptions written so far are kept; run the same command again for the rest.", "bold"
        )
        ctx.exit(_INTERRUPTED)
    shown.tally(tally, applied=apply)
    if not apply:
        shown.say("Nothing was written. Add --apply to write.", "bold")
    ctx.exit(1 if any(tally.lines[verdict] for verdict in LEFT_OUT) else 0)


def _import(deployment: Deployment, file: Path, tally: Tally, *, apply: bool, charge_due: bool, verify: bool) -> None:
    kind = _KINDS.get(file.suffix.lower())
    if kind is None:
        raise Trouble(f"{file.name} is neither .csv nor .jsonl.")
    with _opened(file) as counted:
        total = sum(1 for _ in counted)
    with _opened(file) as text, ThreadPoolExecutor(WORKERS) as workers, _progress() as progress:
        bar = progress.add_task(file.name, total=total)
        lines: Iterator[Line] = kind(text)
        first = next(lines, None)  # a wrong file is reported before AWS is asked
        if first is None:
            raise BadFile("There are no subscriptions in the file.")
        run = Import(
            register=deployment.register,
            today=lambda row: deployment.moment(row).today,
            asked=deployment.asked({}) if apply else None,
            charge_due=charge_due,
            workers=workers,
            lookup=lookup(deployment) if verify else None,
        )
        for judged in run.run(chain([first], lines)):
            tally.add(judged)
            shown.left_out(judged)
            progress.update(bar, completed=judged.line.number)


def _opened(file: Path) -> Any:
    """Open the file as text. Bytes that are not UTF-8 are kept, to be reported with the line."""
    return file.open(encoding="utf-8-sig", errors="surrogateescape", newline="")


def _progress() -> Progress:
    return Progress(console=shown.console, transient=True, disable=not shown.console.is_terminal)


@main.command("list")
@click.option(
    "--status",
    type=click.Choice(sorted(status.value for status in SubscriptionStatus)),
    help="Only subscriptions with this status.",
)
@click.option("--customer", type=_Id(), help="Only subscriptions of this customer.")
@click.option("--due-before", type=_Day(), help="Only subscriptions whose next charge is before this day.")
@click.option(
    "--limit",
    type=click.IntRange(1, 1000),
    default=50,
    show_default=True,
    help="The largest number of subscriptions to list.",
)
@click.option(
    "--after", metavar="SUBSCRIPTION/CUSTOMER", help="Continue after this subscription, as the previous page says."
)
@given
def list_(
    deployment: Deployment,
    status: str | None,
    customer: str | None,
    due_before: date | None,
    limit: int,
    after: str | None,
) -> None:
    """List subscriptions, a page at a time."""
    place: tuple[str, str] | None = None
    if after is not None:
        subscription_id, slash, customer_id = after.partition("/")
        if not slash:
            raise click.BadParameter("is not SUBSCRIPTION/CUSTOMER", param_hint="--after")
        place = subscription_id, customer_id
    found: list[Item] = []
    for _ in range(_MOST_PAGES):
        page, place = deployment.register.search.find(
            customer_id=customer,
            status=status,
            limit=_PAGE,
            after=place,
            today=lambda row: deployment.moment(row).today,
        )
        found += [row for row in page if due_before is None or str(row.get("renewal_date")) < due_before.isoformat()]
        if len(found) > limit:
            found = found[:limit]
            place = text(found[-1], "subscription_id"), text(found[-1], "customer_id")
        if place is None or len(found) == limit:
            break
    days = [deployment.moment(row).today for row in found]
    ledger = deployment.register.ledger
    faults = [forecast.fault(ledger, row, day, of_many=True) for row, day in zip(found, days, strict=True)]
    shown.rows(zip(found, days, faults, strict=True))
    if place is not None:
        shown.say(f"There may be more: continue with --after {'/'.join(place)}")


@main.command()
@_subscription
@given
def show(deployment: Deployment, subscription_id: str) -> None:
    """Show a subscription, its fault and its next charge."""
    row = deployment.row(subscription_id)
    today = deployment.moment(row).today
    try:
        coming = forecast.next_charges(deployment.register.ledger, row, today, 1)
    except BadRow as bad:
        shown.row(row, today, bad)
    else:
        shown.row(row, today, coming)


@main.command()
@_subscription
@given
def why(deployment: Deployment, subscription_id: str) -> None:
    """Show everything that happened to a subscription.

    The timeline explains why the subscription was charged, or why not.
    """
    row = deployment.row(subscription_id)
    moment = deployment.moment(row)
    told, complete = deployment.register.timeline(row, moment.zone, moment.today)
    shown.entries(told)
    if not told:
        shown.say("Nothing has happened to the subscription yet.")
    if not complete:
        shown.say("Older events are left out.")


@main.command()
@_subscription
@click.option(
    "--count", type=click.IntRange(1, 100), default=12, show_default=True, help="The number of charges to show."
)
@given
def preview(deployment: Deployment, subscription_id: str, count: int) -> None:
    """Show the next charges, with the reason for each date."""
    row = deployment.row(subscription_id)
    shown.charges(forecast.next_charges(deployment.register.ledger, row, deployment.moment(row).today, count))


@main.command("renew-now")
@_subscription
@given
@click.pass_context
def renew_now_(ctx: click.Context, deployment: Deployment, subscription_id: str) -> None:
    """Renew a subscription now, if due, and show the result."""
    _end(ctx, renew_now(deployment, subscription_id))


@main.command("evidence")
@_subscription
@click.argument("renewal_date", metavar="DATE", type=_Day())
@click.option("--into", metavar="FOLDER", type=click.Path(path_type=Path), help="A new folder for the files.")
@given
def evidence_(deployment: Deployment, subscription_id: str, renewal_date: date, into: Path | None) -> None:
    """Gather the evidence about a disputed payment into a folder.

    DATE is the first day of the period. The folder gets the receipts, the timeline, the mails with their results, and
    the facts of payment and dispute. The files hold personal data: delete the files when the dispute is closed.
    """
    folder = into or Path(f"evidence-{subscription_id}-{renewal_date}")
    for line in gather(deployment, subscription_id, renewal_date.isoformat(), folder):
        shown.say(line)
    shown.say(f"The files are in {folder}.", "bold")


@main.command("resend-mail")
@_subscription
@click.argument("renewal_date", metavar="DATE", type=_Day())
@given
@click.pass_context
def resend_mail_(ctx: click.Context, deployment: Deployment, subscription_id: str, renewal_date: date) -> None:
    """Send again a receipt that may not have arrived.

    DATE is the first day of the period. The renewal must have the status mail_unknown or mail_failed. With
    mail_unknown, nobody knows whether the mail went out: the customer may receive the receipt twice. With mail_failed,
    the address was at fault: correct customer_email first.
    """
    _end(ctx, resend_mail(deployment, subscription_id, renewal_date.isoformat()))


@main.command("clear-mail-fault")
@_subscription
@click.option("--why", required=True, help="Why the address works again; shown in the timeline.")
@click.option("--customer-agrees", is_flag=True, help="The customer reported our mail as spam, and now agrees to mail.")
@given
@click.pass_context
def clear_mail_fault_(
    ctx: click.Context, deployment: Deployment, subscription_id: str, why: str, *, customer_agrees: bool
) -> None:
    """Clear a mail fault, and send the waiting mails.

    Use this command if the address is right, but mail bounced or failed because of the mailbox, and the mailbox works
    again. If the address is wrong, correct customer_email instead. First remove the address from SES's
    own suppression list with `aws sesv2 delete-suppressed-destination`, or the mail bounces at once.

    A customer who reported our mail as spam is mailed again only with the customer's consent.
    """
    if fault := reason_fault(why):
        raise click.BadParameter(fault, param_hint="--why")
    ended = clear_mail_fault(deployment, subscription_id, why, customer_agrees=customer_agrees)
    for line in about_suppression(address_of(deployment.row(subscription_id)).to):
        shown.say(line)
    _end(ctx, ended)


def _end(ctx: click.Context, ended: Ended) -> None:
    shown.entries(ended.new)
    shown.say(ended.told)
    ctx.exit(0 if ended.well else 1)


@main.command("redrive")
@given
def redrive_(deployment: Deployment) -> None:
    """Move the dead letters back to the queue of renewals."""
    shown.say(f"{number(redrive(deployment), 'message')} moved back to the queue")


if __name__ == "__main__":
    main(prog_name="python -m scripts.subscriptions")
