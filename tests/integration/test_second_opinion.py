"""The workflow's definition under a second interpreter, moto's, which calls the same deployed functions.

The emulator is lenient with Amazon States Language where moto is strict (a missing path, for example). The definition
means the intended workflow if both interpreters agree on every end.
"""

import json
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import unquote

import boto3
import pytest
import urllib3
from moto.server import ThreadedMotoServer

from tests.integration.shop import FAILED, RUNNING, SUCCEEDED, End, Shop, Subscriber, end_of, wait_until

DEFINITION = Path(__file__).parents[2] / "statemachine/renewal.asl.json"


class Functions(BaseHTTPRequestHandler):
    """Lambda's Invoke, passed on to the deployed functions: the emulator does not know the key of moto's signatures."""

    functions: Any

    def do_POST(self) -> None:
        name = unquote(self.path).removeprefix("/2015-03-31/functions/").removesuffix("/invocations")
        payload = self.rfile.read(int(self.headers["Content-Length"]))
        answer = self.functions.invoke(FunctionName=name, Payload=payload)
        body = answer["Payload"].read()
        self.send_response(answer["StatusCode"])
        if "FunctionError" in answer:
            self.send_header("X-Amz-Function-Error", answer["FunctionError"])
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


class Interpreter:
    """moto's Step Functions with the project's workflow."""

    def __init__(self, workflows: Any, definition: str) -> None:
        self._workflows = workflows
        self._workflow = workflows.create_state_machine(
            name="renewal", definition=definition, roleArn="arn:aws:iam::123456789012:role/any", type="EXPRESS"
        )["stateMachineArn"]

    def run(self, request: bytes) -> End:
        """Run an execution with this input and return its end."""
        execution = self._workflows.start_execution(
            stateMachineArn=self._workflow, name=f"second-{uuid.uuid4().hex}", input=request.decode()
        )["executionArn"]

        def ended() -> dict[str, Any] | None:
            described: dict[str, Any] = self._workflows.describe_execution(executionArn=execution)
            return described if described["status"] != RUNNING else None

        described = wait_until(ended, seconds=60)
        assert described
        return end_of(described, self._workflows.get_execution_history(executionArn=execution)["events"])


@contextmanager
def deployed_functions(shop: Shop) -> Iterator[int]:
    """Serve Functions on a free port."""
    answering = type("Answering", (Functions,), {"functions": shop.functions})
    with ThreadingHTTPServer(("127.0.0.1", 0), answering) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def moto() -> Iterator[str]:
    """Run moto's server with workflows switched on; yield its address."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        configuration = {"stepfunctions": {"execute_state_machine": True}}
        urllib3.request("POST", f"{url}/moto-api/config", json=configuration, timeout=10, retries=False)
        yield url
    finally:
        server.stop()


@pytest.fixture(scope="module")
def interpreter(shop: Shop) -> Iterator[Interpreter]:
    with deployed_functions(shop) as port, moto() as url, pytest.MonkeyPatch.context() as environment:
        environment.setenv("MOTO_PORT", str(port))  # moto looks for Lambda at this port
        workflows = boto3.client(
            "stepfunctions",
            endpoint_url=url,
            region_name=shop.stack.outputs["Region"],
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
        yield Interpreter(workflows, definition(shop))


def definition(shop: Shop) -> str:
    """Return the definition with the deployed functions' ARNs filled in, as SAM does."""
    text = DEFINITION.read_text()
    for function in shop.functions.list_functions()["Functions"]:
        words = function["FunctionName"].removeprefix("subscription-mgmt-").split("-")[:-1]
        text = text.replace(f"${{{''.join(map(str.title, words))}Arn}}", function["FunctionArn"])
    return text


@dataclass(frozen=True)
class Case:
    """A renewal, the gateway's behaviour, and the end that both interpreters must reach."""

    status: str
    state: str
    outcome: str | None
    error: str | None = None
    subscribed: dict[str, Any] = field(default_factory=dict)
    asked: dict[str, Any] = field(default_factory=dict)
    hostile: dict[str, Any] = field(default_factory=dict)


CASES = {
    "success": Case(SUCCEEDED, "Success", "paid"),
    "nothing to do": Case(SUCCEEDED, "Success", "nothing_to_do", subscribed={"status": "paused"}),
    "decline": Case(SUCCEEDED, "PaymentDeclined", "declined", subscribed={"card": "pm_card_chargeCustomerFail"}),
    "rejected": Case(FAILED, "PaymentFailed", "rejected", "PaymentProcessingFailed", asked={"amount": "0.01"}),
    "mail failed": Case(FAILED, "EmailFailed", "paid", "EmailSendingFailed", subscribed={"customer_email": "nobody"}),
    "three errors, then paid": Case(
        SUCCEEDED, "Success", "paid", hostile={"mode": "500", "operation": "payment_intents.create", "calls": 3}
    ),
    "four errors": Case(
        FAILED, "PaymentFailed", None, "PaymentProcessingFailed", hostile={"mode": "503", "operation": "*", "calls": 4}
    ),
}


@pytest.fixture(scope="module")
def both(shop: Shop, interpreter: Interpreter) -> Iterator[dict[str, tuple[Subscriber, Future[End]]]]:
    """Start every case twice at once, in the emulator and in moto, since most of a run is waiting."""

    def subscribe(case: Case) -> Subscriber:
        subscriber = shop.subscribe(**case.subscribed)
        if case.hostile:
            shop.sandbox.hostile(**case.hostile, customer=subscriber.gateway_customer)
        return subscriber

    with ThreadPoolExecutor(len(CASES)) as pool:
        begun = {}
        for name, case in CASES.items():
            here, there = subscribe(case), subscribe(case)
            assert shop.deliver(here, **case.asked).status == 202
            request = json.dumps(json.loads(there.request(**case.asked)) | {"event_type": "subscription.renewal"})
            begun[name] = here, pool.submit(interpreter.run, request.encode())
        yield begun


@pytest.mark.parametrize("name", CASES)
def test_both_interpreters_end_alike(shop: Shop, both: dict[str, tuple[Subscriber, Future[End]]], name: str) -> None:
    """Emulator and moto end with the case's status, error, last state and payment outcome."""
    case, (subscriber, run) = CASES[name], both[name]
    [emulated] = shop.ends(subscriber, 1)
    interpreted = run.result(timeout=60)
    for end in (emulated, interpreted):
        assert (end.status, end.state, end.error) == (case.status, case.state, case.error)
        assert end.payment.get("outcome") == case.outcome
