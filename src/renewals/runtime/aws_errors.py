"""Distinguish AWS errors that pass with time from errors that stay."""

from collections.abc import Iterator
from contextlib import contextmanager

from renewals.domain.errors import Collision, Throttled, TryAgain

# Error codes of AWS that pass with time, in addition to HTTP 5xx and to the errors that botocore has already retried.
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html
_TRANSIENT = frozenset(
    {
        "InternalServerError",
        "LimitExceededException",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "TooManyRequestsException",
        "TransactionConflictException",
        "TransactionInProgressException",
    }
)


@contextmanager
def transient_aws_errors_as(error: type[TryAgain]) -> Iterator[None]:
    """Turn transient AWS errors into `error`, so that the workflow retries all of them under one name.

    All other errors (access denied, a missing table, a bug) pass unchanged, and are not retried.
    """
    from botocore.exceptions import ClientError, ConnectionError, HTTPClientError, IncompleteReadError  # noqa: A004

    try:
        yield
    except (ConnectionError, HTTPClientError, IncompleteReadError, Collision, Throttled) as cause:
        raise error(type(cause).__name__) from cause
    except ClientError as cause:
        code = cause.response.get("Error", {}).get("Code", "")
        status = cause.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code in _TRANSIENT or status >= 500:
            raise error(f"{cause.operation_name}: {code}") from cause
        raise
