"""The command itself; see the package, and --help."""

import os
from collections.abc import Iterator, Mapping
from typing import Any

import boto3
import click
from botocore.exceptions import ClientError

from scripts.deployment import stack_name
from scripts.plainly import Command
from scripts.preflight import stripe_key, values
from scripts.preflight.account import Account
from scripts.preflight.findings import Finding, Verdict, unknown

_KEY = "PaymentGatewayApiKey"
_COLORS = {Verdict.OK: "green", Verdict.MIND: "yellow", Verdict.WRONG: "red", Verdict.UNKNOWN: "cyan"}


@click.command(cls=Command, context_settings={"help_option_names": ["-h", "--help"]})
@stack_name
@click.argument("overrides", nargs=-1, metavar="[NAME=VALUE]...")
@click.pass_context
def main(ctx: click.Context, stack_name: str, overrides: tuple[str, ...]) -> None:
    """Ask AWS and Stripe what would go wrong with the first deployment. Nothing is changed.

    NAME=VALUE are the words that you will give to `sam deploy --parameter-overrides`. Stripe's key may be in the
    environment variable STRIPE_API_KEY instead. The exit status is 1 if something is wrong.
    """
    session = boto3.Session()
    account_id = session.client("sts").get_caller_identity()["Account"]
    click.echo(f"Account {account_id}, region {session.region_name}, stack {stack_name}\n")
    stack = _stack(session, stack_name)
    given = values.stored(overrides)
    deployed = values.defaults() | _kept(stack) | given
    counted = dict.fromkeys(Verdict, 0)
    for finding in _findings(Account(session, account_id, stack, deployed), overrides, deployed, given.get(_KEY)):
        counted[finding.verdict] += 1
        click.echo(
            f"{click.style(f'{finding.verdict:7}', fg=_COLORS[finding.verdict])}  {finding.about}: {finding.told}"
        )
    click.echo("\n" + ", ".join(f"{number} {verdict}" for verdict, number in counted.items()))
    ctx.exit(1 if counted[Verdict.WRONG] else 0)


def _findings(
    account: Account, overrides: tuple[str, ...], deployed: Mapping[str, str], key: str | None
) -> Iterator[Finding]:
    yield from values.look(overrides, deployed)
    yield from account.look()
    key = key or os.environ.get("STRIPE_API_KEY")
    if key:
        yield from stripe_key.look(key, deployed["PaymentGatewayEndpoint"], deployed["Environment"])
    else:
        yield unknown("Stripe", f"No key was given: set STRIPE_API_KEY, or add {_KEY}=...")


def _stack(session: Any, name: str) -> dict[str, Any] | None:
    try:
        [stack] = session.client("cloudformation").describe_stacks(StackName=name)["Stacks"]
    except ClientError as error:
        if error.response["Error"]["Code"] == "ValidationError":
            return None
        raise
    return dict(stack)


def _kept(stack: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the parameter values that a later deployment keeps, without the hidden key, which AWS shows as stars."""
    parameters = (stack or {}).get("Parameters", [])
    return {each["ParameterKey"]: each["ParameterValue"] for each in parameters if each["ParameterKey"] != _KEY}


if __name__ == "__main__":
    main()
