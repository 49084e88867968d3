"""Looks up the customers and cards of a file at the gateway, with the stack's key."""

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

_WAITS = (1, 2, 4, 8)  # seconds before each repeated question: an import can exceed the gateway's rate limit (429)
_UNSEEN = "--no-verify imports customers and cards without the lookup."


@dataclass(frozen=True, slots=True)
class Lookup:
    """Asks the gateway about the customer and card of a line. wait: sleeps before a repeated question."""

    gateway: Gateway
    wait: Callable[[float], None] = time.sleep

    def faults(self, subscription: Subscription) -> tuple[str, ...] | None:
        """Return the faults of customer and card, in words; None without an answer of the gateway.

        Raises:
            Trouble: the gateway refuses our key.
        """
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
    """Return a lookup with the key in the stack's gateway secret. Raises Trouble if this profile may not read the
    secret.
    """
    # The gateway's adapter writes metrics and logs for functions; a person's terminal needs neither.
    os.environ.setdefault("POWERTOOLS_METRICS_DISABLED", "true")
    os.environ.setdefault("POWERTOOLS_LOG_LEVEL", "CRITICAL")
    try:
        gateway = current_gateway(deployment.client("secretsmanager"), deployment.output("PaymentGatewaySecretArn"))
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        if not code.startswith("AccessDenied"):
            raise
        raise Trouble(
            "This AWS profile may not read the gateway's key, which the lookup of customers and cards needs: allow "
            f"secretsmanager:GetSecretValue on the secret of the output PaymentGatewaySecretArn. {_UNSEEN}"
        ) from error
    return Lookup(gateway)
