"""One boto3 client for each service, built on first use and shared by the invocations of a warm function."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from botocore.config import Config
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_ses import SESClient
    from mypy_boto3_stepfunctions import SFNClient

# A task has 20 seconds in all, so that no single call may hang for botocore's default of 60.
_CONNECT_SECONDS, _READ_SECONDS = 2, 4


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
def ses() -> SESClient:
    """The mail client. It never repeats a call: SES takes no idempotency key, so a repeat may be a second mail."""
    import boto3

    return boto3.client("ses", config=_config(tries=1))


def _config(*, tries: int) -> Config:
    from botocore.config import Config

    return Config(
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        retries={"total_max_attempts": tries, "mode": "standard"},
    )
