"""Lets the sandbox gateway of the local stack send its events to the stack, as a person does at Stripe: by an endpoint
with the stack's address, the types that the stack takes, and a signing secret that is written into the stack's secret.
"""

import json
import secrets
from typing import Any

from local.gateway import Sandbox
from local.stack import Stack
from renewals.domain.gateway_event import GatewayEventType


def send_events(stack: Stack, *modes: str, **more: Any) -> None:
    """Send the gateway's events to the stack from now on.

    Args:
        stack: a deployed stack.
        modes: the ways of delivery, by default in order; see `local.gateway.deliveries`.
        more: further settings of `Sandbox.send_events`, such as `seconds` and `seed`.
    """
    url = f"{stack.outputs['LocalApiUrl']}/gateway-events"
    Sandbox(stack.gateway_url).send_events(
        url, _signing_secret(stack), *modes, enabled_events=[type_.value for type_ in GatewayEventType], **more
    )


def _signing_secret(stack: Stack) -> str:
    """Return the signing secret from the stack's secret, after writing a fresh signing secret into an empty secret."""
    store, place = stack.client("secretsmanager"), stack.outputs["GatewayEventsSecretArn"]
    kept = json.loads(store.get_secret_value(SecretId=place)["SecretString"])
    if not kept["signing"]:
        kept["signing"] = f"whsec_{secrets.token_hex(16)}"
        store.put_secret_value(SecretId=place, SecretString=json.dumps(kept))
    return str(kept["signing"])
