"""What is transient in AWS becomes the task's own "try again"; what is a fault stays one."""

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    IncompleteReadError,
    ParamValidationError,
    ReadTimeoutError,
)

from renewals.errors import BadRow, Collision, ReceiptError, Throttled, transient_aws_errors_as
from tests.fake_aws import error

TRANSIENT = [
    ConnectTimeoutError(endpoint_url="x"),
    EndpointConnectionError(endpoint_url="x"),
    ReadTimeoutError(endpoint_url="x"),
    IncompleteReadError(actual_bytes=1, expected_bytes=2),
    Collision("an item"),
    Throttled("a table"),
    error("ThrottlingException", "PutItem"),
    error("ProvisionedThroughputExceededException", "PutItem"),
    error("TransactionConflictException", "UpdateItem"),
    error("TransactionInProgressException", "TransactWriteItems"),
    error("SlowDown", "PutObject", 503),
    error("AnErrorOfTomorrow", "PutItem", 500),
    error("", "HeadObject", 503),
]
FAULTS = [
    error("AccessDeniedException", "PutItem"),
    error("ResourceNotFoundException", "PutItem"),
    error("ValidationException", "PutItem", 400),
    error("NoSuchKey", "GetObject", 404),
    ParamValidationError(report="x"),
    BadRow("amount", "is missing"),
    KeyError("a bug"),
]


def _try(trouble: Exception) -> None:
    with transient_aws_errors_as(ReceiptError):
        raise trouble


@pytest.mark.parametrize("trouble", TRANSIENT, ids=repr)
def test_what_is_the_moments_fault_is_tried_again(trouble: Exception) -> None:
    """Lost connections, throttling, conflicts, and any 5xx, with the operation and the code and nothing more."""
    with pytest.raises(ReceiptError) as raised:
        _try(trouble)
    assert raised.value.__cause__ is trouble


@pytest.mark.parametrize("trouble", FAULTS, ids=repr)
def test_what_is_ours_to_mend_is_not(trouble: Exception) -> None:
    """A missing permission or table, a malformed request, a bug: as it is, so that the workflow does not retry it."""
    with pytest.raises(type(trouble)) as raised:
        _try(trouble)
    assert raised.value is trouble


def test_an_error_says_the_operation_and_the_code() -> None:
    """Not AWS's own message, which may quote an item."""
    response = error("ThrottlingException", "UpdateItem").response
    response["Error"]["Message"] = "the item of ann@customer.example"
    with pytest.raises(ReceiptError, match=r"^UpdateItem: ThrottlingException$"):
        _try(ClientError(response, "UpdateItem"))
