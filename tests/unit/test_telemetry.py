"""Telemetry around every handler: the fields of log lines, the annotations of traces, and the moment of garbage
collection."""

import gc
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from aws_xray_sdk.core import xray_recorder
from aws_xray_sdk.core.emitters.udp_emitter import UDPEmitter
from aws_xray_sdk.core.lambda_launcher import LambdaContext
from botocore.exceptions import ClientError, ReadTimeoutError

from renewals.domain.errors import PaymentError
from renewals.runtime import telemetry

EXECUTION = "arn:aws:states:us-west-2:123456789012:express:renewal:1:2"
IDS = {"webhook_id": "msg_1", "subscription_id": "sub_1", "renewal_date": "2026-01-31", "execution": EXECUTION}


@pytest.fixture
def _not_collecting() -> Iterator[None]:
    gc.disable()
    yield
    gc.unfreeze()
    gc.enable()


@telemetry.observed
def _handler(event: Any, _context: object) -> dict[str, Any]:
    if event["fails"]:
        raise RuntimeError
    return {"collects": gc.isenabled()}


@pytest.mark.usefixtures("_not_collecting")
def test_garbage_is_collected_after_the_first_call() -> None:
    """The collector is off while a function starts and on after the first call, and skips the objects of the start."""
    assert _handler({"fails": False}, None) == {"collects": False}
    assert gc.isenabled()
    assert gc.get_freeze_count() > 0


@pytest.mark.usefixtures("_not_collecting")
def test_garbage_is_collected_after_a_call_that_failed() -> None:
    """The collector is on also after a first call that raised."""
    with pytest.raises(RuntimeError):
        _handler({"fails": True}, None)
    assert gc.isenabled()


@telemetry.observed
def _told(event: Any, _context: object) -> dict[str, Any]:
    telemetry.correlate(event.get("work", {}), execution=event.get("execution"))
    telemetry.logger().info("begun")
    if event.get("fails"):
        raise event["fails"]
    telemetry.renewal_event("step", {"outcome": "done", "subscription_id": "sub_1", "customer_name": "Ann Lee"})
    return {}


@pytest.fixture
def lines() -> Iterator[Any]:
    """A function that calls the handler with an event and returns the logged lines."""
    handler = telemetry.logger().registered_handler
    assert isinstance(handler, logging.StreamHandler)
    kept = handler.stream

    def call(**event: Any) -> list[dict[str, Any]]:
        written = io.StringIO()
        handler.setStream(written)
        try:
            _told(event, None)
        except (RuntimeError, ValueError, PaymentError, ClientError, ReadTimeoutError) as error:
            assert error is event["fails"]
        return [json.loads(line) for line in written.getvalue().splitlines()]

    yield call
    handler.setStream(kept)


def test_every_line_of_a_call_says_what_it_belongs_to(lines: Any) -> None:
    """Every line of a call, the first included, has webhook, subscription, period and execution."""
    work = {name: IDS[name] for name in ("webhook_id", "subscription_id", "renewal_date")}
    begun, step = lines(work=work | {"customer_name": "Ann Lee"}, execution=EXECUTION)
    for line in (begun, step):
        assert {name: line[name] for name in IDS} == IDS
    assert "Ann" not in json.dumps([begun, step])


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PaymentError("api_error"), "PaymentError: api_error"),
        (
            ClientError({"Error": {"Code": "Throttling", "Message": "ann@customer.example"}}, "Send"),
            "ClientError: Throttling",
        ),
        (ValueError("ann@customer.example"), "ValueError"),
        (ReadTimeoutError(endpoint_url="https://ses"), "ReadTimeoutError"),
    ],
)
def test_what_is_raised_stands_in_a_line_under_its_renewal(lines: Any, error: Exception, said: str) -> None:
    """A raised error is logged by its name, with our own words only, and with the ids of the renewal."""
    _, raised = lines(work=IDS, execution=EXECUTION, fails=error)
    assert (raised["level"], raised["message"], raised["error"]) == ("ERROR", "raised", said)
    assert {name: raised[name] for name in IDS} == IDS


@pytest.mark.parametrize("fails", [None, RuntimeError()])
def test_nothing_of_one_call_stands_in_the_next(lines: Any, fails: Exception | None) -> None:
    """A warm process forgets a call's ids at its end, also after a failure."""
    lines(work=IDS, execution=EXECUTION, fails=fails)
    begun, _ = lines()
    assert set(IDS) & set(begun) == set()


@pytest.mark.parametrize("text", ["ann@customer.example", "Ann Lee", "Zoë", "", "a" * 301, "a\nb", None, 4])
def test_what_is_no_id_is_not_logged_as_one(lines: Any, text: object) -> None:
    """A text that is not an id, such as an address or a name in the place of an id, is not logged."""
    begun, _ = lines(work={"webhook_id": text})
    assert "webhook_id" not in begun
    assert telemetry.shown_id(text) == "not an id"


class _Sink(UDPEmitter):
    """Collects the segments that X-Ray's SDK would send to the daemon."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[dict[str, Any]] = []

    def send_entity(self, entity: Any) -> None:
        self.sent.append(json.loads(entity.serialize()))


@pytest.fixture
def traces(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """The traced segments, as in a running function."""
    monkeypatch.setenv("LAMBDA_TASK_ROOT", "/var/task")
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1")
    monkeypatch.setattr(telemetry, "_trace_aws_calls", lambda: None)
    kept, sink = (xray_recorder.context, xray_recorder.emitter, xray_recorder.streaming_threshold), _Sink()
    xray_recorder.configure(context=LambdaContext(), emitter=sink, streaming_threshold=0)  # the SDK's context on Lambda
    yield sink.sent
    xray_recorder.configure(context=kept[0], emitter=kept[1], streaming_threshold=kept[2])
    vars(sink)["_socket"].close()


def test_a_trace_can_be_searched_for_subscription_and_outcome(traces: list[dict[str, Any]]) -> None:
    """Subscription and outcome are the only annotations of the function's own subsegment."""
    _told({"work": IDS}, None)
    [segment] = traces
    assert segment["name"] == "tests"
    assert segment["annotations"] == {"subscription_id": "sub_1", "outcome": "done"}
    assert "Ann" not in json.dumps(segment)


def test_a_call_that_fails_is_a_fault_of_its_trace(traces: list[dict[str, Any]]) -> None:
    """X-Ray shows a failed call as a fault with the error's class."""
    with pytest.raises(RuntimeError):
        _told({"fails": RuntimeError()}, None)
    [segment] = traces
    assert segment["fault"] is True
    assert [error["type"] for error in segment["cause"]["exceptions"]] == ["RuntimeError"]
