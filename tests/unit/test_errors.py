"""Temporary errors are tried again, faults for a person to mend are not, and overtaken steps are repeated."""

from collections.abc import Callable

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    IncompleteReadError,
    ParamValidationError,
    ReadTimeoutError,
)

from renewals.domain.errors import (
    BadRow,
    Collision,
    Outdated,
    Overtaken,
    ReceiptError,
    Throttled,
    TryAgain,
    repeat_while_outdated,
)
from renewals.runtime.aws_errors import transient_aws_errors_as
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
    """Lost connections, throttling, conflicts and any 5xx become an error that the workflow retries."""
    with pytest.raises(ReceiptError) as raised:
        _try(trouble)
    assert raised.value.__cause__ is trouble


@pytest.mark.parametrize("trouble", FAULTS, ids=repr)
def test_what_is_ours_to_mend_is_not(trouble: Exception) -> None:
    """A missing permission or table, a malformed request or a bug is raised unchanged, so that the workflow does not
    retry."""
    with pytest.raises(type(trouble)) as raised:
        _try(trouble)
    assert raised.value is trouble


def test_an_error_says_the_operation_and_the_code() -> None:
    """An error names the operation and the code, without AWS's own message, which may quote an item."""
    response = error("ThrottlingException", "UpdateItem").response
    response["Error"]["Message"] = "the item of ann@customer.example"
    with pytest.raises(ReceiptError, match=r"^UpdateItem: ThrottlingException$"):
        _try(ClientError(response, "UpdateItem"))


def _overtaken(times: int, by: Exception) -> tuple[list[str], Callable[[], str]]:
    """Return the record of a step's runs and the step itself, which fails with `by` as often as `times` says."""
    done: list[str] = []

    def step() -> str:
        done.append("read, decided")
        if len(done) <= times:
            raise by
        return "written"

    return done, step


@pytest.mark.parametrize("by", [Overtaken({0: None}), Outdated("it was moved on")], ids=repr)
@pytest.mark.parametrize("times", [0, 1, 2])
def test_what_was_overtaken_is_read_and_decided_again(times: int, by: Exception) -> None:
    """An overtaken step reads and decides again until its write succeeds, and then not once more."""
    done, step = _overtaken(times, by)
    assert repeat_while_outdated(step, tries=3, otherwise=Collision("the item")) == "written"
    assert len(done) == times + 1


def test_who_is_overtaken_each_time_gives_up() -> None:
    """A step overtaken in every allowed try ends with the error chosen by the caller."""
    done, step = _overtaken(99, Overtaken({0: None}))
    with pytest.raises(Collision, match="the item"):
        repeat_while_outdated(step, tries=3, otherwise=Collision("the item"))
    assert len(done) == 3


@pytest.mark.parametrize("by", [BadRow("amount", "is missing"), Collision("an item"), Overtaken({0: None})], ids=repr)
def test_what_another_try_cannot_help_is_not_repeated(by: Exception) -> None:
    """An error passes at once, without a second try, unless the error is of the kind that the caller repeats."""

    class _RowChanged(Outdated):
        pass

    done, step = _overtaken(1, by)
    with pytest.raises(type(by)):
        repeat_while_outdated(step, tries=3, otherwise=Collision("the row"), when=_RowChanged)
    assert len(done) == 1


def test_being_overtaken_is_no_request_to_the_workflow() -> None:
    """An overtaken step is repeated within the task and never becomes a retry of the workflow; its error quotes no
    item."""
    overtaken = Overtaken({1: {"customer_email": "ann@customer.example"}, 3: None})
    assert not issubclass(Overtaken, TryAgain)
    with pytest.raises(Overtaken):
        _try(overtaken)
    assert str(overtaken) == "the condition of action 1, 3 did not hold"
