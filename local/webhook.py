"""Sends a signed webhook to the local stack, as a sender with the Standard Webhooks library does.

`python -m local.webhook [--subscription-id ID] [--customer-id ID] [--amount AMOUNT]` prints the answer. The environment
variable PORT selects the stack.
"""

import argparse
import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import urllib3
from standardwebhooks.webhooks import Webhook

from local.commands import run, say
from local.sample import AMOUNT, CUSTOMER_ID, SUBSCRIPTION_ID
from local.stack import Stack


@dataclass(frozen=True)
class Reply:
    """The answer to a webhook: the HTTP status, and the body as decoded JSON."""

    status: int
    body: Any


def signing_secret(stack: Stack) -> str:
    """Return the webhook's signing secret, read from Secrets Manager as on AWS."""
    secret = stack.client("secretsmanager").get_secret_value(SecretId=stack.outputs["WebhookSecretArn"])
    return str(json.loads(secret["SecretString"])["signing"])


def signed_headers(secret: str, body: bytes, *, message_id: str, at: datetime) -> dict[str, str]:
    """Return the headers that sign `body`, according to https://www.standardwebhooks.com."""
    return {
        "content-type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign(message_id, at, body.decode()),
    }


def send(url: str, body: bytes, headers: dict[str, str]) -> Reply:
    """Send a webhook once, and return the answer. Waits at most 30 seconds."""
    answer = urllib3.request("POST", url, body=body, headers=headers, timeout=30, retries=False)
    return Reply(answer.status, answer.json())


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m local.webhook",
        description="Sends a signed webhook to the local stack, and prints the answer. "
        "The environment variable PORT selects the stack (default: 4566).",
    )
    parser.add_argument("--subscription-id", default=SUBSCRIPTION_ID, help="the subscription's id (%(default)s)")
    parser.add_argument("--customer-id", default=CUSTOMER_ID, help="the customer's id (%(default)s)")
    parser.add_argument("--amount", default=AMOUNT, help="the amount of the renewal, in major units (%(default)s)")
    body = json.dumps(vars(parser.parse_args())).encode()
    run(lambda stack: _send(stack, body))


def _send(stack: Stack, body: bytes) -> None:
    headers = signed_headers(signing_secret(stack), body, message_id=f"msg_{uuid.uuid4().hex}", at=datetime.now(UTC))
    reply = send(stack.outputs["LocalWebhookUrl"], body, headers)
    say(f"{reply.status} {json.dumps(reply.body, ensure_ascii=False)}")


if __name__ == "__main__":
    main()
