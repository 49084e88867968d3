"""Tell events about real money from events of a test mode, by the gateway key of the deployment."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from renewals.gateway import access as gateway_access
from renewals.runtime import aws
from renewals.runtime.kept_secret import KeptSecret
from renewals.runtime.settings import setting

if TYPE_CHECKING:
    from renewals.domain.gateway_event import GatewayEvent


def is_of_our_mode(event: GatewayEvent) -> bool:
    """Whether the event is of the mode (test, live) of the deployment's key. An event fits a key that tells no mode."""
    return _keys_mode().passes(lambda mode: mode.is_live in (None, event.livemode))


@cache
def _keys_mode() -> KeptSecret[gateway_access.Mode]:
    return KeptSecret(lambda: gateway_access.mode(aws.secrets_manager(), setting("SECRETS_MANAGER_ARN")))
