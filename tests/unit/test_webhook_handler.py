"""The webhook's handler around the checks: the secret that it keeps, what it says when AWS falters, what it starts."""

import base64
import hmac
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ConnectTimeoutError
from standardwebhooks import Webhook

from renewals.runtime import aws
from tests.fake_aws import error
from webhook_handler import app

OLD, NEW, OTHER = ("whsec_" + base64.b64encode(key * 32).decode() for key in (b"o", b"n", b"x"))
BODY = json.dumps({"subscription_id": "sub_1", "customer_id": "cus_1", "amount": 29.99})


class FakeSecrets:
    """Secrets Manager with one secret; `trouble` is raised instead of an answer."""

    def __init__(self) -> None:
        self.value: dict[str, str] = {"signing": OLD}
        self.reads = 0
        self.trouble: Exception | None = None

    def get_secret_value(self, **_: str) -> dict[str, str]:
        self.reads += 1
        if self.trouble:
            raise self.trouble
        return {"SecretString": json.dumps(self.value)}


class FakeWorkflows:
    """Step Functions that takes note of what is started; `trouble` is raised instead."""

    def __init__(self) -> None:
        self.started: list[dict[str, Any]] = []
        self.trouble: Exception | None = None

    def start_execution(self, **request: Any) -> dict[str, str]:
        if self.trouble:
            raise self.trouble
        self.started.append(request)
        return {"executionArn": f"arn:aws:states:us-west-2:123456789012:express:renewal:{len(self.started)}"}


class Deployed:
    """One warm process of the function, with a clock that stands until it is moved."""

    def __init__(self) -> None:
        self.secrets, self.workflows = FakeSecrets(), FakeWorkflows()
        self.seconds = 1000.0

    def receive(self, *, secret: str = OLD, **event: Any) -> tuple[int, str]:
        """Status and message of the reply to a signed request, with `event` in place of parts of it."""
        now = datetime.now(UTC)
        headers = {
            "Webhook-Id": "msg_1",
            "Webhook-Timestamp": str(int(now.timestamp())),
            "Webhook-Signature": Webhook(secret).sign("msg_1", now, BODY),
        }
        reply: dict[str, Any] = app.handler({"headers": headers, "body": BODY, "isBase64Encoded": False} | event, None)
        return reply["statusCode"], json.loads(reply["body"])["message"]


@pytest.fixture
def deployed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployed]:
    process = Deployed()
    monkeypatch.setenv("STATE_MACHINE_ARN", "arn:aws:states:us-west-2:123456789012:stateMachine:renewal")
    monkeypatch.setenv("WEBHOOK_SECRET_ARN", "arn:aws:secretsmanager:us-west-2:123456789012:secret:webhook")
    monkeypatch.setattr(aws, "secrets_manager", lambda: process.secrets)
    monkeypatch.setattr(aws, "step_functions", lambda: process.workflows)
    monkeypatch.setattr(app, "time", SimpleNamespace(monotonic=lambda: process.seconds))
    app._secret.cache_clear()
    yield process
    app._secret.cache_clear()


UNSIGNED = (401, "the signature is missing, wrong or too old")
ACCEPTED = (202, "accepted")


def test_an_accepted_request_starts_the_workflow(deployed: Deployed) -> None:
    """With the ids and the amount as a decimal string, and without a name of its own."""
    assert deployed.receive() == ACCEPTED
    [started] = deployed.workflows.started
    assert set(started) == {"stateMachineArn", "input"}
    assert json.loads(started["input"]) == {
        "subscription_id": "sub_1",
        "customer_id": "cus_1",
        "amount": "29.99",
        "event_type": "subscription.renewal",
        "webhook_id": "msg_1",
    }


def test_a_base64_body_is_the_bytes_that_were_signed(deployed: Deployed) -> None:
    """API Gateway encodes what it takes for binary; what it calls base64 and is none is a 400."""
    assert deployed.receive(body=base64.b64encode(BODY.encode()).decode(), isBase64Encoded=True) == ACCEPTED
    assert deployed.receive(isBase64Encoded=True) == (400, "the body is not base64, though it is said to be")
    assert len(deployed.workflows.started) == 1


@pytest.mark.parametrize("event", [{"body": None}, {"headers": None}, {"headers": {}, "body": ""}])
def test_an_empty_request_is_unsigned(deployed: Deployed, event: dict[str, Any]) -> None:
    """API Gateway gives null for a missing body and for no headers."""
    assert deployed.receive(**event) == UNSIGNED


@pytest.mark.parametrize("path", ["/webhook/", "//webhook", "/webhoo%6B", "/webhook%2F"])
def test_another_spelling_of_the_path_is_no_webhook(deployed: Deployed, path: str) -> None:
    """API Gateway hands these over too, past a resource policy that admits the senders' addresses to /webhook alone."""
    sent: dict[str, Any] = {"resource": "/webhook", "requestContext": {"path": f"/prod{path}"}}
    assert deployed.receive(path=path, **sent) == (404, "there is nothing at this path")
    assert deployed.receive(path="/webhook", **sent | {"requestContext": {"path": "/prod/webhook"}}) == ACCEPTED
    assert len(deployed.workflows.started) == 1


def test_the_secret_is_read_once(deployed: Deployed) -> None:
    """Good signatures cost no call, however long the process lives."""
    for _ in range(5):
        assert deployed.receive() == ACCEPTED
        deployed.seconds += 3600
    assert deployed.secrets.reads == 1


def test_a_new_secret_is_found_once_the_old_copy_has_aged(deployed: Deployed) -> None:
    """Within a minute of its last reading a copy is trusted; after it, a signature that fails makes it read again."""
    assert deployed.receive() == ACCEPTED
    deployed.secrets.value |= {"signing": NEW, "previous": OLD}
    deployed.seconds += 59
    assert deployed.receive(secret=NEW) == UNSIGNED
    deployed.seconds += 1
    assert deployed.receive(secret=NEW) == ACCEPTED
    assert deployed.receive(secret=OLD) == ACCEPTED
    assert deployed.secrets.reads == 2


def test_a_secret_taken_back_ends_with_the_next_reading(deployed: Deployed) -> None:
    """Once the senders have changed over and the previous one is removed, it is good no longer."""
    deployed.secrets.value |= {"signing": NEW, "previous": OLD}
    assert deployed.receive(secret=OLD) == ACCEPTED
    del deployed.secrets.value["previous"]
    deployed.seconds += 60
    assert deployed.receive(secret=OTHER) == UNSIGNED
    assert deployed.receive(secret=OLD) == UNSIGNED
    assert deployed.receive(secret=NEW) == ACCEPTED


def test_a_flood_of_bad_signatures_reads_once_a_minute(deployed: Deployed) -> None:
    """Ten a second for five minutes: strangers cannot make the function hammer Secrets Manager."""
    for _ in range(3000):
        assert deployed.receive(secret=OTHER) == UNSIGNED
        deployed.seconds += 0.1
    assert deployed.secrets.reads <= 6


THROTTLED = error("ThrottlingException", "GetSecretValue")
TRANSIENT = [
    THROTTLED,
    error("InternalServiceError", "GetSecretValue", 500),
    ConnectTimeoutError(endpoint_url="https://x"),
]
FOR_GOOD = [
    error("AccessDeniedException", "GetSecretValue"),
    RuntimeError("arn:aws:secretsmanager"),
]


@pytest.mark.parametrize("trouble", TRANSIENT, ids=repr)
def test_the_sender_is_asked_to_come_again_when_aws_falters(deployed: Deployed, trouble: Exception) -> None:
    """503, whether the secret cannot be read or the workflow not be started; once it can, the same request is taken."""
    deployed.secrets.trouble = trouble
    assert deployed.receive() == (503, "try again later")
    deployed.secrets.trouble, deployed.workflows.trouble = None, trouble
    assert deployed.receive() == (503, "try again later")
    deployed.workflows.trouble = None
    assert deployed.receive() == ACCEPTED
    assert len(deployed.workflows.started) == 1


@pytest.mark.parametrize("trouble", FOR_GOOD, ids=repr)
def test_our_own_fault_is_told_to_nobody(
    deployed: Deployed, trouble: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """A denied call or a bug is a 500 without a word of it, and the log has the reason."""
    deployed.secrets.trouble = trouble
    assert deployed.receive() == (500, "something is wrong on our side")
    assert type(trouble).__name__ in caplog.text


def test_a_secret_that_is_not_whole_is_our_own_fault(deployed: Deployed) -> None:
    """Without its signing secret nothing is taken, and nothing of it is said."""
    del deployed.secrets.value["signing"]
    assert deployed.receive() == (500, "something is wrong on our side")


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_?", "not base64"])
def test_a_signing_secret_that_cannot_be_one_takes_nothing(deployed: Deployed, secret: str) -> None:
    """Mistyped by hand, it lets nobody in: neither the sender with the right one nor a stranger with an empty key."""
    deployed.secrets.value["signing"] = secret
    assert deployed.receive()[0] in (401, 500)
    at = str(int(datetime.now(UTC).timestamp()))
    digest = hmac.digest(b"", f"msg_1.{at}.{BODY}".encode(), "sha256")
    signature = f"v1,{base64.b64encode(digest).decode()}"
    empty = {"webhook-id": "msg_1", "webhook-timestamp": at, "webhook-signature": signature}
    assert deployed.receive(headers=empty)[0] in (401, 500)
    assert deployed.workflows.started == []


def test_a_secret_that_cannot_be_read_again_leaves_the_old_one(deployed: Deployed) -> None:
    """Secrets Manager falters while a stranger knocks: he is told to come again, and those who sign rightly are
    served from the copy."""
    assert deployed.receive() == ACCEPTED
    deployed.secrets.trouble = THROTTLED
    deployed.seconds += 60
    assert deployed.receive(secret=OTHER) == (503, "try again later")
    assert deployed.receive() == ACCEPTED
    deployed.secrets.trouble = None
    assert deployed.receive(secret=OTHER) == UNSIGNED
    assert deployed.receive() == ACCEPTED


@pytest.mark.parametrize("number", ["1e99999999999999999999", "-1e99999999999999999999", "1" + "0" * 5000])
def test_a_number_beyond_all_bounds_is_the_senders_fault(deployed: Deployed, number: str) -> None:
    """400 and not 500, and no workflow starts."""
    body = BODY.replace("29.99", number)
    assert deployed.receive(body=body, headers=_signed_headers(body))[0] == 400
    assert deployed.workflows.started == []


def _signed_headers(body: str) -> dict[str, str]:
    now = datetime.now(UTC)
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(OLD).sign("msg_1", now, body),
    }
