"""Tell events about real money from events of a test mode, by the gateway key of the deployment."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from renewals.gateway import access as gateway_access
from renewals.runtime import aws
from renewals.runtime.settings import setting

if TYPE_CHECKING:
    from renewals.domain.gateway_event import GatewayEvent


def is_of_our_mode(event: GatewayEvent) -> bool:
    """Whether the event is of the mode (test, live) of the deployment's key. An event fits a key that tells no mode.

    The key may have been replaced: before an event is passed over, the key is read again. Raises botocore's errors if
    AWS fails.
    """
    if _fits(event):
        return True
    _mode.cache_clear()
    return _fits(event)


def _fits(event: GatewayEvent) -> bool:
    return _mode().is_live in (None, event.livemode)


@cache
def _mode() -> gateway_access.Mode:
    return gateway_access.mode(aws.secrets_manager(), setting("SECRETS_MANAGER_ARN"))
