"""The gateway's door: what is let in, what is refused, and what is acknowledged and passed over."""

import base64
import json
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import stripe

from gateway_events import app, event_secrets
from renewals.domain.gateway_event import GatewayEvent, GatewayEventType
from renewals.runtime import kept_secret
from tests.door import SECRET, Door, forget_secrets
from tests.fake_aws import error
from tests.fakes import World

TAKEN, REFUSED, TOO_LARGE, AGAIN = 200, 400, 413, 503
PERIOD = {"subscription_id": "sub_1", "renewal_date": "2026-01-31", "deployment": "shop-prod"}


@pytest.fixture
def door(shop: World) -> Iterator[Door]:
    forget_secrets()
    yield Door(shop)
    forget_secrets()


def _event(**changes: Any) -> dict[str, Any]:
    """Return an event of a payment that succeeded, as the gateway sends it, with `changes` to the payment."""
    about = {"id": "pi_1", "object": "payment_intent", "metadata": PERIOD, "receipt_email": "ann@private.example"}
    event = {"id": "evt_1", "object": "event", "type": "payment_intent.succeeded", "created": 1769839200}
    return event | {"livemode": False, "api_version": "2026-10-28.endive", "data": {"object": about | changes}}


def _header(body: str, secret: str = SECRET, age: int = 0) -> str:
    made: str = stripe.WebhookSignature.generate_signature_header(body, secret, int(time.time()) - age)
    return made


def test_an_event_becomes_a_hint_without_personal_data(door: Door) -> None:
    """A signed event is answered with 200 once its hint is on the queue. The hint has ids, type, time and our own
    metadata, and nothing else of the object."""
    about = {"metadata": PERIOD | {"note": "Ann Lee"}}
    assert door.post(_event(**about)) == TAKEN
    assert [json.loads(body) for body in door.queue.bodies] == [
        {
            "event": "evt_1",
            "type": "payment_intent.succeeded",
            "created": 1769839200,
            "livemode": False,
            "object": "pi_1",
            "payment_intent": "pi_1",
            "metadata": PERIOD,
        }
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"headers": {}},
        {"headers": None},
        {"headers": {"Stripe-Signature": ""}},
        {"headers": {"Stripe-Signature": "t=1,v1"}},
        {"headers": {"Stripe-Signature": "v1=00"}},
        {"headers": {"Stripe-Signature": f"t={'9' * 5000},v1=00"}},
        {"headers": {"Stripe-Signature": f"t={int(time.time())},v1=ü"}},
        {"headers": {"Stripe-Signature": f"t={int(time.time())},v0=00"}},
        {"headers": {"Stripe-Signature": _header("another body")}},
        {"headers": {"Stripe-Signature": _header(json.dumps(_event()), age=301)}},
        {"headers": {"Stripe-Signature": _header(json.dumps(_event()), "whsec_of_a_stranger")}},
        {"body": base64.b64encode(b'{"id": "\xff\xfe"}').decode(), "isBase64Encoded": True},
        {"body": "not base64", "isBase64Encoded": True},
        {"body": "ü", "isBase64Encoded": True},
        {"body": '{"id": "\udc80"}'},
        {"body": None},
    ],
)
def test_a_forged_event_is_refused_and_nothing_is_kept(door: Door, changes: dict[str, Any]) -> None:
    """A missing, malformed, foreign or old signature, and bytes that are no UTF-8, are answered with 400 before
    anything is parsed, and nothing is put on the queue."""
    assert door.post(_event(), **changes) == REFUSED
    assert door.queue.bodies == []


@pytest.mark.parametrize(
    "value", [{"signing": ""}, {}, {"signing": "whsec_"}, {"signing": "placeholder"}, {"signing": None}]
)
def test_every_event_is_refused_until_a_secret_is_set(door: Door, value: dict[str, str]) -> None:
    """As long as the secret holds no whsec_..., every event is answered with 400, even an event that is signed with the
    text in the secret."""
    door.secrets["events"] = value
    assert door.post(_event(), secret=value.get("signing") or "whsec_") == REFUSED
    assert door.post(_event()) == REFUSED


def test_an_empty_secret_is_never_a_key(door: Door) -> None:
    """A signature under the empty text is refused, whatever the secret holds."""
    assert door.post(_event(), secret="") == REFUSED


def test_old_and_new_secrets_are_good_while_a_secret_is_rotated(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """During a rotation both secrets are good. A warm process reads the secret again at the first signature that fails,
    at most once a minute, and a secret taken back is refused after the next reading."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(app, "KeptSecret", lambda read: kept_secret.KeptSecret(read, lambda: clock.now))
    assert door.post(_event()) == TAKEN
    door.secrets["events"] = {"signing": "whsec_new", "previous": SECRET}
    assert door.post(_event(), secret="whsec_new") == REFUSED  # read a moment ago
    clock.now += 61
    assert door.post(_event(), secret="whsec_new") == TAKEN
    assert door.post(_event()) == TAKEN
    door.secrets["events"] = {"signing": "whsec_new"}
    clock.now += 61
    assert door.post(_event(), secret="whsec_of_a_stranger") == REFUSED
    assert door.post(_event()) == REFUSED


def test_strangers_cause_one_reading_a_minute(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forged events cause at most one reading of the secret a minute."""
    reads: list[int] = []

    def read(*_: object) -> tuple[str, ...]:
        reads.append(1)
        return (SECRET,)

    monkeypatch.setattr(event_secrets, "read", read)
    for _ in range(5):
        assert door.post(_event(), secret="whsec_of_a_stranger") == REFUSED
    assert len(reads) == 1


@pytest.mark.parametrize(
    "event",
    [
        _event() | {"account": "acct_another"},
        _event() | {"context": "acct_another"},
        _event(metadata=PERIOD | {"deployment": "shop/another"}),
        _event() | {"type": "invoice.paid"},
        _event() | {"type": None},
        {
            "id": "evt_1",
            "object": "v2.core.event",
            "type": "v1.billing.meter.error_report_triggered",
            "livemode": False,
        },
        _event() | {"data": None},
        _event() | {"data": {"object": "pi_1"}},
        _event() | {"data": []},
        _event() | {"created": "today"},
        _event() | {"livemode": "no"},
        _event(id="pi_1; drop"),
        _event(id=None),
        _event(metadata=[]) | {"livemode": None},
        _event(metadata={"subscription_id": ["sub_1"]}),
        _event(metadata={"subscription_id": "x" * 501}),
        [],
        [_event()],
        "null",
        "nonsense",
        "",
        '{"object": "event", "object": "event"}',
        "[" * 100_000,
    ],
)
def test_a_signed_event_that_is_not_ours_is_acknowledged(
    door: Door, event: object, capsys: pytest.CaptureFixture[str]
) -> None:
    """An event of a different account or deployment, of an unknown type, a thin event and signed nonsense get 200, so
    that the gateway does not repeat them for days, are counted, and put nothing on the queue."""
    assert door.post(event) == TAKEN
    assert door.queue.bodies == []
    assert '"GatewayEventsPassedOver":[1.0]' in capsys.readouterr().out


def test_an_event_without_a_deployment_may_be_ours(door: Door) -> None:
    """Payments of earlier versions name no deployment: the worker compares the payment's id with the ledger."""
    assert door.post(_event(metadata={"subscription_id": "sub_1", "renewal_date": "2026-01-31"})) == TAKEN
    assert len(door.queue.bodies) == 1


def test_an_event_may_be_as_large_as_a_dispute(door: Door) -> None:
    """Events of up to 512 KiB are taken: the evidence of a dispute alone has 150,000 characters. A larger body gets
    413, signed or not."""
    fits = json.dumps(_event(description="")).replace('"description": ""', '"description": "%s"')
    body = fits % ("x" * (app.LARGEST_BODY - len(fits) + 2))
    assert (len(body), door.post(body)) == (app.LARGEST_BODY, TAKEN)
    assert door.post(body + " ") == TOO_LARGE
    assert door.post(body + " ", headers={}) == TOO_LARGE
    assert len(door.queue.bodies) == 1


def test_an_event_is_acknowledged_only_when_its_hint_is_safe(door: Door) -> None:
    """When SQS refuses the hint, the gateway gets 503 and sends the event again."""
    door.queue.trouble = [1]
    assert door.post(_event()) == AGAIN
    assert door.post(_event()) == TAKEN
    assert len(door.queue.bodies) == 1


def test_a_store_of_secrets_that_falters_refuses_no_event(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """While Secrets Manager falters, nobody knows whether a signature is right: 503, and the gateway sends the event
    again."""

    def faltering(*_: object) -> tuple[str, ...]:
        raise error("InternalServiceError", "GetSecretValue", 500)

    with monkeypatch.context() as patch:
        patch.setattr(event_secrets, "read", faltering)
        assert door.post(_event()) == AGAIN
    forget_secrets()
    assert door.post(_event()) == TAKEN


def test_a_permission_that_is_missing_is_our_fault(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that does not pass is 500, without a word about the error."""

    def refused(*_: object) -> tuple[str, ...]:
        raise error("AccessDeniedException", "GetSecretValue")

    monkeypatch.setattr(event_secrets, "read", refused)
    assert door.post(_event()) == 500


def test_another_spelling_of_the_path_is_not_answered(door: Door) -> None:
    """A path with a slash at the end is 404."""
    path: dict[str, Any] = {
        "path": "/gateway-events/",
        "resource": "/gateway-events",
        "requestContext": {},
        "pathParameters": None,
    }
    assert door.post(_event(), **path) == 404


@pytest.mark.parametrize("kind", GatewayEventType)
def test_a_hint_reads_as_it_was_written(kind: GatewayEventType) -> None:
    """A message of the queue, read again, is the event, with and without a payment."""
    event = GatewayEvent(
        "evt_1", kind, 1, livemode=True, object_id="x_1", payment_intent=None, metadata={"attempt": "1"}
    )
    assert GatewayEvent.from_json(event.to_json()) == event
