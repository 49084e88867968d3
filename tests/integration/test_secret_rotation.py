"""The webhook's signing secret is changed while senders still use the old secret."""

import base64
import json
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from local.webhook import signed_headers
from tests.integration.shop import Shop, Subscriber, assert_renewed_once


@pytest.fixture
def rotate(shop: Shop) -> Iterator[dict[str, str]]:
    """The webhook's secret with a new `signing` value and the old value as `previous`; restored at the end."""
    arn = shop.stack.outputs["WebhookSecretArn"]
    before = shop.secrets.get_secret_value(SecretId=arn)["SecretString"]
    new = {
        "signing": "whsec_" + base64.b64encode(secrets.token_bytes(33)).decode(),
        "previous": json.loads(before)["signing"],
    }
    shop.secrets.put_secret_value(SecretId=arn, SecretString=json.dumps(new))
    shop.planted.add(new["signing"].removeprefix("whsec_"))
    yield new
    shop.secrets.put_secret_value(SecretId=arn, SecretString=before)
    start_afresh(shop)


def test_the_webhooks_secret_holds_the_signing_secret_alone(shop: Shop) -> None:
    """As deployed, the webhook's secret has a single value, which the gateway secret has, too, beside its own two
    values."""
    [webhook, gateway] = (
        json.loads(shop.secrets.get_secret_value(SecretId=shop.stack.outputs[output])["SecretString"])
        for output in ("WebhookSecretArn", "PaymentGatewaySecretArn")
    )
    assert webhook == {"signing": gateway["api_secret"]}
    assert set(gateway) == {"api_key", "api_secret", "endpoint"}
    assert webhook["signing"].startswith("whsec_")
    assert len(base64.b64decode(webhook["signing"].removeprefix("whsec_"), validate=True)) == 33


def start_afresh(shop: Shop) -> None:
    """End the warm processes of the webhook's function, as a deployment does; a new process reads the secret."""
    [function] = [f for f in shop.functions.list_functions()["Functions"] if "webhook" in f["FunctionName"]]
    shop.functions.update_function_configuration(FunctionName=function["FunctionName"], Timeout=function["Timeout"])


def deliver(shop: Shop, subscriber: Subscriber, secret: str) -> int:
    body = subscriber.request()
    return shop.post(body, signed_headers(secret, body, message_id="msg_rotated", at=datetime.now(UTC))).status


def test_old_and_new_signatures_are_good_while_a_secret_is_rotated(shop: Shop, rotate: dict[str, str]) -> None:
    """A function that read the secret after the change accepts both signatures and refuses a third."""
    subscriber = shop.subscribe()
    start_afresh(shop)
    third = "whsec_" + base64.b64encode(secrets.token_bytes(33)).decode()
    assert deliver(shop, subscriber, rotate["signing"]) == 202
    assert deliver(shop, subscriber, rotate["previous"]) == 202
    assert deliver(shop, subscriber, third) == 401
    shop.ends(subscriber, 2)
    assert_renewed_once(shop, subscriber)
