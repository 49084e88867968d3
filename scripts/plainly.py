"""The output of commands: lines without control characters, and problems as plain sentences."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    EndpointConnectionError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOTokenLoadError,
    TokenRetrievalError,
    UnauthorizedSSOTokenError,
)

from renewals.domain import texts
from renewals.domain.errors import BadRow, Collision, RenewalError, Throttled

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
_LONGEST_REASON = 1000
_SIGN_IN = "The AWS credentials have expired: sign in again."


def tell(line: str) -> None:
    """Print a line. Values from a table, a queue or a log cannot send control sequences to the terminal."""
    click.echo(texts.printable(line))


def number(count: int, name: str) -> str:
    """Return the number with its noun: "1 difference", "2 differences"."""
    return f"{count} {name}" if count == 1 else f"{count} {name}s"


def reason_fault(why: str) -> str | None:
    """Return the fault of a reason given for a change, or None for a usable reason."""
    return texts.fault(why, _LONGEST_REASON) if why.strip() else "is blank"


class Trouble(RenewalError):  # noqa: N818
    """The requested work cannot be done. The message is for people."""


@contextmanager
def _plainly() -> Iterator[None]:
    """Turn errors of AWS and faults of a row into Trouble, in a plain sentence."""
    try:
        yield
    except ClientError as error:
        raise Trouble(_refused(error)) from error
    except BotoCoreError as error:
        raise Trouble(_unreached(error)) from error
    except BadRow as bad:
        raise Trouble(f"The subscription cannot be charged as it stands: {bad}.") from bad
    except (Collision, Throttled) as error:
        raise Trouble("Other writers keep changing the data, or AWS is short of capacity: try again.") from error


def _refused(error: ClientError) -> str:
    told = error.response.get("Error", {})
    code, message = told.get("Code", ""), told.get("Message", "")
    if code in _EXPIRED:
        return _SIGN_IN
    if code in _UNKNOWN:
        return "AWS does not know these credentials: does AWS_PROFILE name the right profile?"
    if code in _DENIED:
        return f"AWS does not permit the call: {message}"
    return f"AWS refuses {error.operation_name}: {code}: {message}"


def _unreached(error: BotoCoreError) -> str:
    match error:
        case SSOTokenLoadError() | TokenRetrievalError() | UnauthorizedSSOTokenError():
            return _SIGN_IN
        case NoCredentialsError() | PartialCredentialsError() | CredentialRetrievalError():
            return "There are no AWS credentials: set AWS_PROFILE, and AWS_CONFIG_FILE for the local stack."
        case ProfileNotFound():
            return (
                f"There is no AWS profile {error.kwargs['profile']}: set AWS_PROFILE. The profile of the local stack "
                "is in the file that `make up` names: set AWS_CONFIG_FILE to it while the stack runs."
            )
        case NoRegionError():
            return "No AWS region is set: set AWS_DEFAULT_REGION, or a region in the profile."
        case EndpointConnectionError():
            return f"Nothing answers at {error.kwargs['endpoint_url']}: does the stack run, is there a network?"
    return f"The call to AWS failed: {error}"


class Command(click.Command):
    """A command that ends with a plain sentence and exit status 1 if the work cannot be done."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with _plainly():
                return super().invoke(ctx)
        except Trouble as trouble:
            raise click.ClickException(texts.printable(str(trouble))) from trouble


class Commands(Command, click.Group):
    """A group of commands that all fail with a plain sentence."""
