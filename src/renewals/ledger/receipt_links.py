"""Links to receipts work for years without a login, until the key is changed.

A token names the receipt of a period or of a refund, and proves that the name comes from us: base64url of
"2026-01-31/sub_1" or "2026-01-31/sub_1/refund_1", a dot, and base64url of the HMAC-SHA256 of the first part. A token
with an altered character names no receipt: a token is made anew from the first part of the given token, and must equal
the given token as text. The comparison takes constant time.

Decisions: D76, D77 (DECISIONS.md).
"""

from __future__ import annotations

import base64
import binascii
import hmac
import time
from collections.abc import Callable
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from renewals.domain.errors import BadSecret

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

_HELD_SECONDS = 60


class LinkKey:
    """The key of the links, read from its secret again after `held_seconds`. A changed key stays unnoticed for up to
    this time.

    Raises BadSecret for a secret that is no text, and botocore's errors if AWS fails.
    """

    def __init__(
        self,
        client: SecretsManagerClient,
        arn: str,
        held_seconds: int = _HELD_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._arn = arn
        self._held_seconds = held_seconds
        self._monotonic = monotonic
        self._held: tuple[str, float] | None = None

    def value(self) -> str:
        """Return the key."""
        now = self._monotonic()
        if self._held is None or now - self._held[1] >= self._held_seconds:
            told = self._client.get_secret_value(SecretId=self._arn)
            if "SecretString" not in told:
                raise BadSecret("the secret of the links is binary, and no text")
            self._held = told["SecretString"], now
        return self._held[0]


class Named(NamedTuple):
    """A receipt, as named by a token. refund: such as refund_1; empty for the receipt of the payment."""

    subscription_id: str
    renewal_date: str
    refund: str


def token(key: str, subscription_id: str, renewal_date: str, refund: str = "") -> str:
    """Return the token for the receipt of a period or a refund. renewal_date: YYYY-MM-DD. refund: as in Named."""
    named = _encoded("/".join(filter(None, (renewal_date, subscription_id, refund))).encode())
    return f"{named}.{_encoded(hmac.digest(key.encode(), named.encode(), sha256))}"


def named(key: str, given: str) -> Named | None:
    """Return the receipt named by a token; None for a token made with a different key."""
    told = given.partition(".")[0]
    try:
        text = base64.urlsafe_b64decode(told + "=" * (-len(told) % 4)).decode()
    except (binascii.Error, ValueError):
        return None
    renewal_date, _, rest = text.partition("/")
    subscription_id, _, refund = rest.partition("/")
    made = token(key, subscription_id, renewal_date, refund)
    of = Named(subscription_id, renewal_date, refund)
    return of if hmac.compare_digest(made.encode(), given.encode("utf-8", "surrogatepass")) else None


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
