"""Open the deployment's gateway with the key of the gateway secret, and report a rejected key.

The gateway secret in Secrets Manager holds "api_key" and "endpoint". (The secret's field for the webhook is not read
here.)

If the gateway turns the key away, the account is at fault: the key is wrong, expired or rotated, may not charge, or
belongs to the wrong mode (test, live). No subscription is marked because of the key. The fault is counted for an alarm,
and the next sweep requests the unfinished renewals again. A key that may charge, but lacks a different permission, is
counted apart for an alarm of its own, which names the permission.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from renewals.domain.errors import BadSecret
from renewals.gateway.port import GatewayForbidden, GatewayUnauthorized
from renewals.runtime import aws, telemetry
from renewals.runtime.settings import setting

if TYPE_CHECKING:
    from collections.abc import Callable

    from mypy_boto3_secretsmanager import SecretsManagerClient

    from renewals.gateway.port import Gateway


@cache
def gateway() -> Gateway:
    """Return the gateway, with the key as first read by this process."""
    return current_gateway(aws.secrets_manager(), setting("SECRETS_MANAGER_ARN"))


def current_gateway(client: SecretsManagerClient, arn: str) -> Gateway:
    """Return a gateway with the current key of the secret.

    Raises:
        BadSecret: the secret is not complete.
        botocore's errors: AWS fails.
    """
    from renewals.gateway.stripe_gateway import StripeGateway

    key, endpoint = _secret(client, arn)
    return StripeGateway(key, endpoint)


@dataclass(frozen=True, slots=True)
class Mode:
    """The mode of a gateway key.

    Attributes:
        is_live: whether the key moves real money; None if the form of the key does not tell.
    """

    is_live: bool | None


def mode(client: SecretsManagerClient, arn: str) -> Mode:
    """Return the mode of the secret's current key. Raises the errors of current_gateway."""
    key, _ = _secret(client, arn)
    named = next(iter(key.split("_")[1:]), "")
    return Mode({"live": True, "test": False}.get(named))


def _secret(client: SecretsManagerClient, arn: str) -> tuple[str, str]:
    """Return the key and the endpoint in the gateway secret."""
    try:
        secret: dict[str, str] = json.loads(client.get_secret_value(SecretId=arn)["SecretString"])
        return secret["api_key"], secret["endpoint"]
    except KeyError as lacking:
        raise BadSecret(f"the gateway secret lacks {lacking}") from None
    except (ValueError, TypeError):
        raise BadSecret("the gateway secret is not a JSON object") from None


def with_current_key[T](ask: Callable[[], T]) -> T:
    """Return the result of `ask`. If the gateway turns this process's key away, ask once more with the secret's current
    key, because the key may have been rotated.

    Raises:
        GatewayUnauthorized: the gateway turns the current key away, too.
    """
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
    """Count and log the fault of the account or of the key's permissions, for the alarm and for the operator."""
    lacks_permission = isinstance(fault, GatewayForbidden)
    telemetry.count("GatewayPermissionMissing" if lacks_permission else "GatewayAccountFault")
    told = {"error": str(fault), "gateway_request_id": fault.request_id}
    telemetry.logger().error(
        "gateway permission" if lacks_permission else "gateway account",
        extra={name: text for name, text in told.items() if text},
    )
