"""Links to receipts: good for years without a login, for whom they were mailed to, until the key is changed.

A token names the period and proves that we named it: base64url of "2026-01-31/sub_1", a dot, and base64url of the
HMAC-SHA256 of the first part. Of its characters none can be another: a token is compared, as text and in constant
time, with the one that would be made of what it says.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import time
from collections.abc import Callable
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

_HELD_SECONDS = 60


class LinkKey:
    """The key of the links, as its secret holds it, read again after a minute: so long a changed key goes unnoticed.

    Raises botocore's errors where AWS fails.
    """

    def __init__(self, client: SecretsManagerClient, arn: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._arn = arn
        self._monotonic = monotonic
        self._held: tuple[str, float] | None = None

    def value(self) -> str:
        """The key."""
        now = self._monotonic()
        if self._held is None or now - self._held[1] >= _HELD_SECONDS:
            self._held = self._client.get_secret_value(SecretId=self._arn)["SecretString"], now
        return self._held[0]


def token(key: str, subscription_id: str, renewal_date: str) -> str:
    """The token of a period's receipt. renewal_date: YYYY-MM-DD."""
    named = _encoded(f"{renewal_date}/{subscription_id}".encode())
    return f"{named}.{_encoded(hmac.digest(key.encode(), named.encode(), sha256))}"


def period(key: str, given: str) -> tuple[str, str] | None:
    """Subscription and renewal date of a token; None for one that this key has not made."""
    named = given.partition(".")[0]
    try:
        text = base64.urlsafe_b64decode(named + "=" * (-len(named) % 4)).decode()
    except (binascii.Error, ValueError):
        return None
    renewal_date, _, subscription_id = text.partition("/")
    made = token(key, subscription_id, renewal_date)
    return (subscription_id, renewal_date) if hmac.compare_digest(made.encode(), given.encode()) else None


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
