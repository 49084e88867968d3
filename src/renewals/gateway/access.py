"""The deployment's gateway, with the key of the gateway secret; and what happens where the gateway turns the key away.

The gateway secret in Secrets Manager is {"api_key", "endpoint"} and what is the webhook's, which nobody reads here.

A key that is turned away is the account's fault: the key is wrong, expired or rotated, lacks a permission, or is of the
other mode (test, live). No subscription is marked because of it. It is counted, so that one alarm tells of it, and
whatever was asked is asked again by the next sweep.
"""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING

from renewals.domain.errors import BadSecret
from renewals.gateway.port import GatewayUnauthorized
from renewals.runtime import aws, telemetry
from renewals.runtime.settings import setting

if TYPE_CHECKING:
    from collections.abc import Callable

    from mypy_boto3_secretsmanager import SecretsManagerClient

    from renewals.gateway.port import Gateway


@cache
def gateway() -> Gateway:
    """The gateway, with the key as it was when this process first asked."""
    return current_gateway(aws.secrets_manager(), setting("SECRETS_MANAGER_ARN"))


def current_gateway(client: SecretsManagerClient, arn: str) -> Gateway:
    """A gateway with the key that its secret has now. Raises BadSecret where the secret is not complete, botocore's
    errors where AWS fails."""
    from renewals.gateway.stripe_gateway import StripeGateway

    try:
        secret: dict[str, str] = json.loads(client.get_secret_value(SecretId=arn)["SecretString"])
        key, endpoint = secret["api_key"], secret["endpoint"]
    except KeyError as lacking:
        raise BadSecret(f"the gateway secret lacks {lacking}") from None
    except (ValueError, TypeError):
        raise BadSecret("the gateway secret is not a JSON object") from None
    return StripeGateway(key, endpoint)


def with_current_key[T](ask: Callable[[], T]) -> T:
    """What `ask` gives, asked once more with the key as it is now where the gateway turns this process's key away: it
    may have been rotated. Raises GatewayUnauthorized where that does not help either."""
    try:
        return ask()
    except GatewayUnauthorized:
        gateway.cache_clear()
    try:
        return ask()
    except GatewayUnauthorized as fault:
        gateway.cache_clear()
        tell(fault)
        raise


def tell(fault: GatewayUnauthorized) -> None:
    """Count the account's fault and log it, for the alarm and for whoever looks."""
    telemetry.count("GatewayAccountFault")
    told = {"error": str(fault), "gateway_request_id": fault.request_id}
    telemetry.logger().error("gateway account", extra={name: text for name, text in told.items() if text})
