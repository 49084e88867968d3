"""What is around every handler."""

import gc
from collections.abc import Iterator
from typing import Any

import pytest

from renewals import telemetry


@pytest.fixture
def _not_collecting() -> Iterator[None]:
    gc.disable()
    yield
    gc.unfreeze()
    gc.enable()


@telemetry.observed
def _handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    if event["fails"]:
        raise RuntimeError
    return {"collects": gc.isenabled()}


@pytest.mark.usefixtures("_not_collecting")
def test_garbage_is_collected_after_the_first_call() -> None:
    """The collector, off while a function starts, is on again after its first call, and passes over what that made."""
    assert _handler({"fails": False}, None) == {"collects": False}
    assert gc.isenabled()
    assert gc.get_freeze_count() > 0


@pytest.mark.usefixtures("_not_collecting")
def test_garbage_is_collected_after_a_call_that_failed() -> None:
    """Also where the first call raises."""
    with pytest.raises(RuntimeError):
        _handler({"fails": True}, None)
    assert gc.isenabled()
