"""One boto3 client for each service, built on first use and shared by the invocations of a warm function."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from botocore.config import Config
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
    import boto3

    return boto3.client("dynamodb", config=_config(tries=3))


@cache
def s3() -> S3Client:
    """The receipts' client."""
    import boto3

    return boto3.client("s3", config=_config(tries=3))


@cache
def secrets_manager() -> SecretsManagerClient:
    """The gateway secret's client."""
    import boto3

    return boto3.client("secretsmanager", config=_config(tries=3))


@cache
def step_functions() -> SFNClient:
    """The client that starts the renewal workflow."""
    import boto3

    return boto3.client("stepfunctions", config=_config(tries=3))


@cache
def synchronous_workflows() -> SFNClient:
    """The client that waits for a renewal's end. It never repeats a call, which would be a second execution."""
    import boto3

    return boto3.client("stepfunctions", config=_config(tries=1, read_seconds=_WORKFLOW_SECONDS))


@cache
def sqs() -> Any:
    """The client of the queue of renewals."""
    import boto3

    return boto3.client("sqs", config=_config(tries=3))


@cache
def functions() -> Any:
    """The client by which a function hands work on to itself."""
    import boto3

    return boto3.client("lambda", config=_config(tries=3))


@cache
def ses() -> SESClient:
    """The mail client. It never repeats a call: SES takes no idempotency key, so a repeat may be a second mail."""
    import boto3

    return boto3.client("ses", config=_config(tries=1))


def _config(*, tries: int, read_seconds: int = _READ_SECONDS) -> Config:
    from botocore.config import Config

    return Config(
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=read_seconds,
        retries={"total_max_attempts": tries, "mode": "standard"},
    )
