"""The deployed stack, reached by the AWS profile of the environment: tables, workflow, queues, date and caller."""

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from functools import cached_property
from typing import Any

import boto3
import click
from botocore.config import Config
from botocore.exceptions import ClientError

from renewals.domain.callers import name_of
from renewals.domain.errors import BadRow
from renewals.domain.item_values import Item
from renewals.ledger.asked_by import AskedBy
from renewals.ledger.register import Register
from renewals.runtime import clock
from renewals.runtime.clock import Moment
from scripts.plainly import Trouble

WORKERS = 16
_CONNECT_SECONDS, _READ_SECONDS, _TRIES = 5, 20, 5
_WORKFLOW_SECONDS = 225
_FUNCTION_SECONDS = 910  # an audit may take all of its 15 minutes, and must not be started again meanwhile

stack_name = click.option("--stack-name", default="subscription-mgmt", show_default=True, help="The deployed stack.")


class Deployment:
    """A deployed stack. AWS is asked on the first use of a value; failures are botocore's errors, or Trouble."""

    def __init__(self, stack_name: str) -> None:
        self._stack_name = stack_name

    def client(self, service: str, *, tries: int = _TRIES, read_seconds: int = _READ_SECONDS) -> Any:
        """Return a client of the service."""
        config = Config(
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=read_seconds,
            retries={"total_max_attempts": tries, "mode": "standard"},
            max_pool_connections=WORKERS,
        )
        return self._session.client(service, config=config)  # type: ignore[call-overload]

    @cached_property
    def register(self) -> Register:
        """The subscriptions, in the API's own implementation."""
        return Register(
            self.client("dynamodb"),
            subscriptions=self.output("SubscriptionsTableName"),
            renewals=self.output("RenewalsTableName"),
            changes=self.output("ChangesTableName"),
        )

    @cached_property
    def workflows(self) -> Any:
        """The client that waits for the end of a renewal. The client never repeats a call, because a repeated call
        would start a second execution.
        """
        return self.client("stepfunctions", tries=1, read_seconds=_WORKFLOW_SECONDS)

    @cached_property
    def who(self) -> str:
        """The owner of the credentials, named as the API would name the caller."""
        return name_of(self.client("sts").get_caller_identity()["Arn"])

    def run(self, function: str, event: Mapping[str, Any]) -> dict[str, Any]:
        """Run a function of the stack to the end, and return the reply.

        Args:
            function: the output with the function's name.
            event: the function's input.

        Raises:
            Trouble: the function failed.
        """
        functions = self.client("lambda", tries=1, read_seconds=_FUNCTION_SECONDS)
        answer = functions.invoke(FunctionName=self.output(function), Payload=json.dumps(event))
        told: dict[str, Any] = json.loads(answer["Payload"].read())
        if "FunctionError" in answer:
            raise Trouble(f"The function failed: {told.get('errorType')}: {told.get('errorMessage')}")
        return told

    def output(self, name: str) -> str:
        """Return an output of the stack."""
        return self._named("Outputs", "Output", name)

    def row(self, subscription_id: str) -> Item:
        """Return the subscription's row. Raises Trouble if no such subscription exists."""
        row = self.register.row(subscription_id)
        if row is None:
            raise Trouble(f"There is no subscription {subscription_id}.")
        return row

    def moment(self, row: Mapping[str, Any]) -> Moment:
        """Return the subscription's present moment: outside production, the row's test clock may set the date."""
        try:
            return self._moment(row.get("test_clock"))
        except BadRow:  # a row with an invalid test clock is never charged
            return self._moment(None)

    def test_clock(self, row: Mapping[str, Any]) -> date | None:
        """Return the date of the subscription's test clock; None if the subscription lives on the deployment's date.

        Raises:
            BadRow: the test clock is not a date.
        """
        moment = self._moment(row.get("test_clock"))
        return moment.today if moment.tested else None

    def _moment(self, test_clock: object) -> Moment:
        zone = clock.zone_named(self._parameter("BusinessTimeZone"))
        return clock.moment(datetime.now(UTC), self._parameter("Environment"), zone, test_clock)

    @property
    def heeds_test_clocks(self) -> bool:
        """Tell whether subscriptions may have test clocks."""
        return clock.heeds_test_clocks(self._parameter("Environment"))

    def asked(self, row: Mapping[str, Any]) -> AskedBy:
        """Return the author and the time of a change of the row."""
        at = self.moment(row)
        return AskedBy(self.who, at.now, at=at.wall)

    def function(self, name: str) -> str:
        """Return the deployed name of a function, given for example process-payment."""
        return f"{self._parameter('ProjectName')}-{name}-{self._parameter('Environment')}"

    def _parameter(self, name: str) -> str:
        return self._named("Parameters", "Parameter", name)

    def _named(self, kind: str, prefix: str, name: str) -> str:
        found = {each[f"{prefix}Key"]: each[f"{prefix}Value"] for each in self._described.get(kind, [])}
        if name not in found:
            raise Trouble(
                f"The stack {self._stack_name} has no {prefix.lower()} {name}: is this the right stack, and up to date?"
            )
        return str(found[name])

    @cached_property
    def _described(self) -> dict[str, Any]:
        try:
            [stack] = self.client("cloudformation").describe_stacks(StackName=self._stack_name)["Stacks"]
        except ClientError as error:
            if error.response["Error"]["Code"] != "ValidationError":
                raise
            region = self._session.region_name
            raise Trouble(
                f"There is no stack {self._stack_name} in {region}: name your stack with --stack-name."
            ) from error
        return dict(stack)

    @cached_property
    def _session(self) -> boto3.Session:
        return boto3.Session()


given = click.make_pass_decorator(Deployment)
"""Passes the deployment of the command group to a command."""
