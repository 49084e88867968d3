"""Registers the local stack as a receiver of the sandbox gateway's events, as a person registers an endpoint at Stripe.

The endpoint has the stack's address, the types of events that the stack takes, and a signing secret. The stack reads
the signing secret from Secrets Manager.
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
        modes: the ways of delivery that `local.gateway.deliveries` describes; in_order by default.
        more: further settings of `Sandbox.send_events`, such as `seconds` and `seed`.
    """
    url = f"{stack.outputs['LocalApiUrl']}/gateway-events"
    Sandbox(stack.gateway_url).send_events(
        url, _signing_secret(stack), *modes, enabled_events=[type_.value for type_ in GatewayEventType], **more
    )


def _signing_secret(stack: Stack) -> str:
    """Return the signing secret that the stack keeps in Secrets Manager. If the stack has no signing secret yet, first
    store a fresh signing secret.
    """
    store, place = stack.client("secretsmanager"), stack.outputs["GatewayEventsSecretArn"]
    kept = json.loads(store.get_secret_value(SecretId=place)["SecretString"])
    if not kept["signing"]:
        kept["signing"] = f"whsec_{secrets.token_hex(16)}"
        store.put_secret_value(SecretId=place, SecretString=json.dumps(kept))
    return str(kept["signing"])
