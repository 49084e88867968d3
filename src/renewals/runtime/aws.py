"""One client for each service, built on first use and shared by the invocations of a warm function.

They are botocore's, which are boto3's: boto3 itself adds resources and transfers that nobody here uses, and takes a
tenth of a function's start.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from botocore.session import Session
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_ses import SESClient
    from mypy_boto3_stepfunctions import SFNClient

# A task has 20 seconds in all, so that no single call may hang for botocore's default of 60.
_CONNECT_SECONDS, _READ_SECONDS = 2, 4
# The workflow's worst case is 219 seconds.
_WORKFLOW_SECONDS = 225


@cache
def dynamodb() -> DynamoDBClient:
    """The ledger's and the subscriptions' client. Repeats lost calls itself (three tries)."""
    client: DynamoDBClient = _client("dynamodb", tries=3)
    return client


@cache
def s3() -> S3Client:
    """The receipts' client."""
    client: S3Client = _client(
        "s3",
        tries=3,
        signature_version="s3v4",  # that of presigned addresses too
        # By the region's own host. botocore presigns for S3's global one, which knows no bucket of a younger region
        # (docs.aws.amazon.com/AmazonS3/latest/userguide/VirtualHosting.html). An address in digits stays path style.
        s3={"addressing_style": "virtual"},
    )
    return client


@cache
def secrets_manager() -> SecretsManagerClient:
    """The gateway secret's client."""
    client: SecretsManagerClient = _client("secretsmanager", tries=3)
    return client


@cache
def step_functions() -> SFNClient:
    """The client that starts the renewal workflow."""
    client: SFNClient = _client("stepfunctions", tries=3)
    return client


@cache
def synchronous_workflows() -> SFNClient:
    """The client that waits for a renewal's end. It never repeats a call, which would be a second execution."""
    client: SFNClient = _client("stepfunctions", tries=1, read_seconds=_WORKFLOW_SECONDS)
    return client


@cache
def sqs() -> Any:
    """The client of the queue of renewals."""
    return _client("sqs", tries=3)


@cache
def functions() -> Any:
    """The client by which a function hands work on to itself."""
    return _client("lambda", tries=3)


@cache
def ses() -> SESClient:
    """The mail client. It never repeats a call: SES takes no idempotency key, so a repeat may be a second mail."""
    client: SESClient = _client("ses", tries=1)
    return client


def _client(
    service: str,
    *,
    tries: int,
    read_seconds: int = _READ_SECONDS,
    signature_version: str | None = None,
    s3: Any = None,
) -> Any:
    from botocore import __version__
    from botocore.config import Config

    config = Config(
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=read_seconds,
        retries={"total_max_attempts": tries, "mode": "standard"},
        signature_version=signature_version,
        s3=s3,
        # botocore's own is put together anew for every call, and is a fifteenth of what a call takes.
        user_agent=f"botocore/{__version__}",
    )
    return _session().create_client(service, config=config)


@cache
def _session() -> Session:
    from botocore.session import Session

    return Session()
