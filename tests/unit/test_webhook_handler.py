"""The webhook's handler around the checks: the kept secret, the replies when AWS falters, and the workflows started."""

import base64
import hmac
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ConnectTimeoutError
from standardwebhooks import Webhook

from renewals.runtime import aws, kept_secret
from tests.fake_aws import error
from tests.shares import share
from webhook_handler import app

OLD, NEW, OTHER = ("whsec_" + base64.b64encode(key * 32).decode() for key in (b"o", b"n", b"x"))
BODY = json.dumps({"subscription_id": "sub_1", "customer_id": "cus_1", "amount": 29.99})


class FakeSecrets:
    """A Secrets Manager with a single secret; raises `trouble` instead of answering."""

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
    """A Step Functions that records started executions; raises `trouble` instead."""

    def __init__(self) -> None:
        self.started: list[dict[str, Any]] = []
        self.trouble: Exception | None = None

    def start_execution(self, **request: Any) -> dict[str, str]:
        if self.trouble:
            raise self.trouble
        self.started.append(request)
        return {"executionArn": f"arn:aws:states:us-west-2:123456789012:express:renewal:{len(self.started)}"}


class Deployed:
    """A warm process of the function, with a clock that tests move."""

    def __init__(self) -> None:
        self.secrets, self.workflows = FakeSecrets(), FakeWorkflows()
        self.seconds = 1000.0

    def receive(self, *, secret: str = OLD, **event: Any) -> tuple[int, str]:
        """Return status and message of the reply to a signed request, with parts replaced by `event`."""
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
    monkeypatch.setattr(app, "KeptSecret", lambda read: kept_secret.KeptSecret(read, lambda: process.seconds))
    app._secret.cache_clear()
    yield process
    app._secret.cache_clear()


UNSIGNED = (401, "the signature is missing, wrong or too old")
ACCEPTED = (202, "accepted")


def test_an_accepted_request_starts_the_workflow(deployed: Deployed) -> None:
    """An accepted request starts an unnamed execution with the ids and the amount as a decimal string."""
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
    """A body that API Gateway encoded as base64 is decoded before its signature is checked; invalid base64 is a 400."""
    assert deployed.receive(body=base64.b64encode(BODY.encode()).decode(), isBase64Encoded=True) == ACCEPTED
    assert deployed.receive(isBase64Encoded=True) == (400, "the body is marked as base64 but is not base64")
    assert len(deployed.workflows.started) == 1


@pytest.mark.parametrize("event", [{"body": None}, {"headers": None}, {"headers": {}, "body": ""}])
def test_an_empty_request_is_unsigned(deployed: Deployed, event: dict[str, Any]) -> None:
    """A request without a body or headers, for which API Gateway passes null, is unsigned."""
    assert deployed.receive(**event) == UNSIGNED


@pytest.mark.parametrize("path", ["/webhook/", "//webhook", "/webhoo%6B", "/webhook%2F"])
def test_another_spelling_of_the_path_is_no_webhook(deployed: Deployed, path: str) -> None:
    """A different spelling of the path is a 404: API Gateway passes such spellings on, past a resource policy that
    admits the senders' addresses to /webhook alone."""
    sent: dict[str, Any] = {"resource": "/webhook", "requestContext": {"path": f"/prod{path}"}}
    assert deployed.receive(path=path, **sent) == (404, "there is nothing at this path")
    assert deployed.receive(path="/webhook", **sent | {"requestContext": {"path": "/prod/webhook"}}) == ACCEPTED
    assert len(deployed.workflows.started) == 1


def test_the_secret_is_read_once(deployed: Deployed) -> None:
    """Good signatures cost no further read of the secret, however long the process lives."""
    for _ in range(5):
        assert deployed.receive() == ACCEPTED
        deployed.seconds += 3600
    assert deployed.secrets.reads == 1


def test_a_new_secret_is_found_once_the_old_copy_has_aged(deployed: Deployed) -> None:
    """A copy of the secret is trusted for a minute; later, a failed signature makes the function read the secret
    again."""
    assert deployed.receive() == ACCEPTED
    deployed.secrets.value |= {"signing": NEW, "previous": OLD}
    deployed.seconds += 59
    assert deployed.receive(secret=NEW) == UNSIGNED
    deployed.seconds += 1
    assert deployed.receive(secret=NEW) == ACCEPTED
    assert deployed.receive(secret=OLD) == ACCEPTED
    assert deployed.secrets.reads == 2


def test_a_secret_taken_back_ends_with_the_next_reading(deployed: Deployed) -> None:
    """A removed previous secret is refused after the next reading of the secret."""
    deployed.secrets.value |= {"signing": NEW, "previous": OLD}
    assert deployed.receive(secret=OLD) == ACCEPTED
    del deployed.secrets.value["previous"]
    deployed.seconds += 60
    assert deployed.receive(secret=OTHER) == UNSIGNED
    assert deployed.receive(secret=OLD) == UNSIGNED
    assert deployed.receive(secret=NEW) == ACCEPTED


@pytest.mark.parametrize("a_second", share([1, 10], of=2))
def test_a_flood_of_bad_signatures_reads_once_a_minute(deployed: Deployed, a_second: int) -> None:
    """Bad signatures each second, or ten a second, for five minutes read the secret once a minute: strangers cannot
    overload Secrets Manager."""
    for _ in range(300 * a_second):
        assert deployed.receive(secret=OTHER) == UNSIGNED
        deployed.seconds += 1 / a_second
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
    """A secret that cannot be read, or a workflow that cannot be started, is a 503; the same request is accepted
    later."""
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
    """A denied call or a bug is a 500 without details, and the log has the reason."""
    deployed.secrets.trouble = trouble
    assert deployed.receive() == (500, "something is wrong on our side")
    assert type(trouble).__name__ in caplog.text


def test_a_secret_that_is_not_whole_is_our_own_fault(deployed: Deployed) -> None:
    """A secret without its signing key is a 500 without details."""
    del deployed.secrets.value["signing"]
    assert deployed.receive() == (500, "something is wrong on our side")


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_?", "not base64"])
def test_a_signing_secret_that_cannot_be_one_takes_nothing(deployed: Deployed, secret: str) -> None:
    """A mistyped signing secret admits nobody: neither the sender with the right secret nor a stranger with an empty
    key."""
    deployed.secrets.value["signing"] = secret
    assert deployed.receive()[0] in (401, 500)
    at = str(int(datetime.now(UTC).timestamp()))
    digest = hmac.digest(b"", f"msg_1.{at}.{BODY}".encode(), "sha256")
    signature = f"v1,{base64.b64encode(digest).decode()}"
    empty = {"webhook-id": "msg_1", "webhook-timestamp": at, "webhook-signature": signature}
    assert deployed.receive(headers=empty)[0] in (401, 500)
    assert deployed.workflows.started == []


def test_a_secret_that_cannot_be_read_again_leaves_the_old_one(deployed: Deployed) -> None:
    """While Secrets Manager falters, a request with a bad signature gets a 503, and good signatures are accepted by the
    kept copy."""
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
    """A number beyond all bounds is a 400, not a 500, and starts no workflow."""
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
