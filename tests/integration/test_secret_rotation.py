"""The webhook's signing secret is changed while senders still use the old one."""

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
    """The secret with a new api_secret and the old one kept as api_secret_previous; put back in the end."""
    arn = shop.stack.outputs["PaymentGatewaySecretArn"]
    before = shop.secrets.get_secret_value(SecretId=arn)["SecretString"]
    old = json.loads(before)
    new = old | {
        "api_secret": "whsec_" + base64.b64encode(secrets.token_bytes(33)).decode(),
        "api_secret_previous": old["api_secret"],
    }
    shop.secrets.put_secret_value(SecretId=arn, SecretString=json.dumps(new))
    shop.planted.add(new["api_secret"].removeprefix("whsec_"))
    yield new
    shop.secrets.put_secret_value(SecretId=arn, SecretString=before)
    start_afresh(shop)


def start_afresh(shop: Shop) -> None:
    """Lets warm processes of the webhook's function go, as a deployment does: a new one reads the secret."""
    [function] = [f for f in shop.functions.list_functions()["Functions"] if "webhook" in f["FunctionName"]]
    shop.functions.update_function_configuration(FunctionName=function["FunctionName"], Timeout=function["Timeout"])


def deliver(shop: Shop, subscriber: Subscriber, secret: str) -> int:
    body = subscriber.request()
    return shop.post(body, signed_headers(secret, body, message_id="msg_rotated", at=datetime.now(UTC))).status


def test_old_and_new_signatures_are_good_while_a_secret_is_rotated(shop: Shop, rotate: dict[str, str]) -> None:
    """A function that read the secret after the change takes both, and nothing signed with a third."""
    subscriber = shop.subscribe()
    start_afresh(shop)
    third = "whsec_" + base64.b64encode(secrets.token_bytes(33)).decode()
    assert deliver(shop, subscriber, rotate["api_secret"]) == 202
    assert deliver(shop, subscriber, rotate["api_secret_previous"]) == 202
    assert deliver(shop, subscriber, third) == 401
    shop.ends(subscriber, 2)
    assert_renewed_once(shop, subscriber)
