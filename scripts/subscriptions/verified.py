"""Customers and cards of a file's lines, looked up at the gateway with the key that the stack has."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from botocore.exceptions import ClientError

from renewals.domain.subscription import Subscription
from renewals.gateway import verifying
from renewals.gateway.access import current_gateway
from renewals.gateway.port import Gateway, GatewayError, GatewayUnavailable
from scripts.deployment import Deployment
from scripts.plainly import Trouble

_WAITS = (1, 2, 4, 8)  # seconds: a file asks more at once than the gateway likes, and is told so by a 429
_UNSEEN = "--no-verify imports customers and cards as they are, without a look."


@dataclass(frozen=True, slots=True)
class Lookup:
    """Asks a gateway about each line. wait: sleeps so many seconds before it is asked again."""

    gateway: Gateway
    wait: Callable[[float], None] = time.sleep

    def faults(self, subscription: Subscription) -> tuple[str, ...] | None:
        """What is wrong with customer and card, in words; None where the gateway gave no answer. Raises Trouble where
        it turns our key away."""
        for seconds in (*_WAITS, None):
            try:
                found = verifying.faults(self.gateway, subscription.gateway_customer, subscription.payment_method)
                return tuple(f"{bad.field} {bad.reason}" for bad in found)
            except GatewayUnavailable:
                if seconds is not None:
                    self.wait(seconds)
            except GatewayError as error:
                raise Trouble(
                    f"The gateway does not let us look customers and cards up ({error}). {_UNSEEN}"
                ) from error
        return None


def lookup(deployment: Deployment) -> Lookup:
    """With the key of the stack's gateway secret. Raises Trouble where this profile may not read it."""
    os.environ.setdefault("POWERTOOLS_METRICS_DISABLED", "true")  # what the gateway's adapter counts and logs is for
    os.environ.setdefault("POWERTOOLS_LOG_LEVEL", "CRITICAL")  # functions: this is a person's terminal
    try:
        gateway = current_gateway(deployment.client("secretsmanager"), deployment.output("PaymentGatewaySecretArn"))
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        if not code.startswith("AccessDenied"):
            raise
        raise Trouble(
            "This AWS profile may not read the gateway's key, with which customers and cards are looked up: it needs "
            f"secretsmanager:GetSecretValue on the secret of the output PaymentGatewaySecretArn. {_UNSEEN}"
        ) from error
    return Lookup(gateway)
