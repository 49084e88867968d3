"""The deployment's gateway, with the key of the gateway secret; and what happens where the gateway turns the key away.

That is the account's fault: a key that is wrong, expired or rotated, lacks a permission, or is of the other mode (test,
live). No subscription is marked because of it. It is counted, so that one alarm tells of it, and whatever was asked is
asked again by the next sweep.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from renewals import aws, telemetry
from renewals.gateway import GatewayUnauthorized
from renewals.gateway_secret import GatewaySecret
from renewals.settings import setting

if TYPE_CHECKING:
    from collections.abc import Callable

    from renewals.gateway import Gateway


@cache
def gateway() -> Gateway:
    """The gateway, with the key as it was when this process first asked."""
    from renewals.stripe_gateway import StripeGateway

    secret = GatewaySecret.read(aws.secrets_manager(), setting("SECRETS_MANAGER_ARN"))
    return StripeGateway(secret.api_key, secret.endpoint)


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
