"""Build one client for each AWS service on first use, shared by the invocations of a warm function.

The clients come from botocore. boto3 would return the same clients, would add resources and transfers that nobody here
uses, and would take a tenth of a function's start.
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

# A task of the workflow has 20 seconds in all, so no single call may wait for botocore's default of 60 seconds.
_CONNECT_SECONDS, _READ_SECONDS = 2, 4
# The workflow's worst case is 219 seconds.
_WORKFLOW_SECONDS = 225
# API Gateway waits 29 seconds for the function that waits for a function.
_ANSWER_SECONDS = 22


@cache
def dynamodb() -> DynamoDBClient:
    """Return the client of the ledger and the subscriptions. The client repeats lost calls on its own (three tries)."""
    client: DynamoDBClient = _client("dynamodb", tries=3)
    return client


@cache
def s3() -> S3Client:
    """Return the client of the receipts."""
    client: S3Client = _client(
        "s3",
        tries=3,
        signature_version="s3v4",  # presigned addresses use this version, too
        # Use the region's own host. By default botocore presigns for S3's global host, which does not know the buckets
        # of newer regions (docs.aws.amazon.com/AmazonS3/latest/userguide/VirtualHosting.html). If the host is an IP
        # address, botocore keeps the path style.
        s3={"addressing_style": "virtual"},
    )
    return client


@cache
def secrets_manager() -> SecretsManagerClient:
    """Return the client of the secrets."""
    client: SecretsManagerClient = _client("secretsmanager", tries=3)
    return client


@cache
def step_functions() -> SFNClient:
    """Return the client that starts the renewal workflow."""
    client: SFNClient = _client("stepfunctions", tries=3)
    return client


@cache
def synchronous_workflows() -> SFNClient:
    """Return the client that waits for a renewal's end. The client never repeats a call, because a repeated call would
    start a second execution."""
    client: SFNClient = _client("stepfunctions", tries=1, read_seconds=_WORKFLOW_SECONDS)
    return client


@cache
def sqs() -> Any:
    """Return the client of the queue of renewals."""
    return _client("sqs", tries=3)


@cache
def events() -> Any:
    """Return the client of the event bus."""
    return _client("events", tries=3)


@cache
def functions() -> Any:
    """Return the client of Lambda, with which a function hands work on to itself."""
    return _client("lambda", tries=3)


@cache
def patient_functions() -> Any:
    """Return the client of Lambda that waits for a function's answer. The client never repeats a call: the function may
    have acted."""
    return _client("lambda", tries=1, read_seconds=_ANSWER_SECONDS)


@cache
def ses() -> SESClient:
    """Return the mail client. The client never repeats a call: SES takes no idempotency key, and a repeated call may
    send a second mail."""
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
        # botocore's default user agent is built anew for every call, and takes a fifteenth of a call's time.
        user_agent=f"botocore/{__version__}",
    )
    return _session().create_client(service, config=config)


@cache
def _session() -> Session:
    from botocore.session import Session

    return Session()
