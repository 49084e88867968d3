"""The deployed stack as the environment's AWS profile reaches it: tables, workflow, queues, the day, and who asks."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    EndpointConnectionError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    SSOTokenLoadError,
    TokenRetrievalError,
    UnauthorizedSSOTokenError,
)

from renewals import clock
from renewals.clock import Moment
from renewals.errors import BadRow, Collision, RenewalError, Throttled
from renewals.register import Asked, Register, name_of

STACK_NAME = "subscription-mgmt"
WORKERS = 16
_CONNECT_SECONDS, _READ_SECONDS, _TRIES = 5, 20, 5
_WORKFLOW_SECONDS = 225
_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired"})
_UNKNOWN = frozenset(
    {
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
        "IncompleteSignature",
    }
)
_DENIED = frozenset({"AccessDenied", "AccessDeniedException", "AuthorizationError"})
_SIGN_IN = "The AWS credentials have expired: sign in again."


class Trouble(RenewalError):  # noqa: N818
    """What was asked for cannot be done. The message is for people."""


@contextmanager
def plainly() -> Iterator[None]:
    """Whatever AWS or a row has against it as Trouble, in a sentence."""
    try:
        yield
    except ClientError as error:
        raise Trouble(_refused(error)) from error
    except BotoCoreError as error:
        raise Trouble(_unreached(error)) from error
    except BadRow as bad:
        raise Trouble(f"The subscription cannot be charged as it stands: {bad}.") from bad
    except (Collision, Throttled) as error:
        raise Trouble("Others keep writing at this moment, or AWS is short of capacity: try again.") from error


def _refused(error: ClientError) -> str:
    told = error.response.get("Error", {})
    code, message = told.get("Code", ""), told.get("Message", "")
    if code in _EXPIRED:
        return _SIGN_IN
    if code in _UNKNOWN:
        return "AWS does not know these credentials: does AWS_PROFILE name the right profile?"
    if code in _DENIED:
        return f"AWS does not allow it: {message}"
    return f"AWS refuses {error.operation_name}: {code}: {message}"


def _unreached(error: BotoCoreError) -> str:
    match error:
        case SSOTokenLoadError() | TokenRetrievalError() | UnauthorizedSSOTokenError():
            return _SIGN_IN
        case NoCredentialsError() | PartialCredentialsError() | CredentialRetrievalError():
            return "There are no AWS credentials: set AWS_PROFILE, and AWS_CONFIG_FILE for the local stack."
        case NoRegionError():
            return "No AWS region is named: set AWS_DEFAULT_REGION, or a region in the profile."
        case EndpointConnectionError():
            return f"Nothing answers at {error.kwargs['endpoint_url']}: does the stack run, is there a network?"
    return f"AWS cannot be asked: {error}"


class Deployment:
    """One stack. Asks AWS when something is first needed; what fails then is botocore's, or Trouble."""

    def __init__(self, stack_name: str) -> None:
        self._stack_name = stack_name

    def client(self, service: str, *, tries: int = _TRIES, read_seconds: int = _READ_SECONDS) -> Any:
        """A client of the service."""
        config = Config(
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=read_seconds,
            retries={"total_max_attempts": tries, "mode": "standard"},
            max_pool_connections=WORKERS,
        )
        return self._session.client(service, config=config)  # type: ignore[call-overload]

    @cached_property
    def register(self) -> Register:
        """The subscriptions, as the API has them."""
        return Register(
            self.client("dynamodb"),
            subscriptions=self.output("SubscriptionsTableName"),
            renewals=self.output("RenewalsTableName"),
            changes=self.output("ChangesTableName"),
        )

    @cached_property
    def workflows(self) -> Any:
        """The client that waits for a renewal's end. It never repeats a call, which would be a second execution."""
        return self.client("stepfunctions", tries=1, read_seconds=_WORKFLOW_SECONDS)

    @cached_property
    def who(self) -> str:
        """Whose credentials these are, as the API would name them."""
        return name_of(self.client("sts").get_caller_identity()["Arn"])

    def output(self, name: str) -> str:
        """One of the stack's outputs."""
        return self._named("Outputs", "Output", name)

    def row(self, subscription_id: str) -> dict[str, Any]:
        """The subscription's row. Raises Trouble where there is none."""
        row = self.register.row(subscription_id)
        if row is None:
            raise Trouble(f"There is no subscription {subscription_id}.")
        return row

    def moment(self, row: Mapping[str, Any]) -> Moment:
        """When the subscription is looked at: by the deployment's day, and outside production by its row's."""
        environment, zone = self._parameter("Environment"), clock.zone_named(self._parameter("BusinessTimeZone"))
        wall = datetime.now(UTC)
        try:
            return clock.moment(wall, environment, zone, row.get("test_clock"))
        except BadRow:  # it is charged on no day
            return clock.moment(wall, environment, zone)

    def asked(self, row: Mapping[str, Any]) -> Asked:
        """Who asks for a change of the row, and when."""
        return Asked(self.who, self.moment(row).now)

    def _parameter(self, name: str) -> str:
        return self._named("Parameters", "Parameter", name)

    def _named(self, kind: str, prefix: str, name: str) -> str:
        found = {each[f"{prefix}Key"]: each[f"{prefix}Value"] for each in self._described.get(kind, [])}
        if name not in found:
            raise Trouble(f"The stack {self._stack_name} has no {prefix.lower()} {name}: is it another one, or older?")
        return str(found[name])

    @cached_property
    def _described(self) -> dict[str, Any]:
        try:
            [stack] = self.client("cloudformation").describe_stacks(StackName=self._stack_name)["Stacks"]
        except ClientError as error:
            if error.response["Error"]["Code"] != "ValidationError":
                raise
            region = self._session.region_name
            raise Trouble(f"There is no stack {self._stack_name} in {region}; --stack-name names another.") from error
        return dict(stack)

    @cached_property
    def _session(self) -> boto3.Session:
        return boto3.Session()
