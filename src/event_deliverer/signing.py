"""Sign an event by the library of https://www.standardwebhooks.com, with each valid secret.

The secret in Secrets Manager is {"signing": "whsec_..."}, with "previous" during a rotation. During a rotation an event
carries both signatures, so that a receiver with either secret finds a signature of its own.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from standardwebhooks import Webhook

from renewals.domain.errors import BadSecret

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

_REREAD_AFTER_SECONDS = 60


class Signer:
    """The signing secrets, read on first use and again after a minute.

    Args:
        client: Secrets Manager.
        arn: of the secret.
        seconds: a clock that only goes forward.
    """

    def __init__(self, client: SecretsManagerClient, arn: str, seconds: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._arn = arn
        self._seconds = seconds
        self._kept: tuple[Webhook, ...] = ()
        self._read_at = 0.0

    def headers(self, event_id: str, body: str, now: datetime) -> dict[str, str]:
        """Return the headers of a request, signed for this moment: receivers refuse a signature older than five
        minutes.

        Raises:
            BadSecret: the secret has no signing secret.
            botocore's errors: AWS failed.
        """
        signatures = [webhook.sign(event_id, now, body) for webhook in self._webhooks()]
        return {
            "Content-Type": "application/json",
            "User-Agent": "subscription-renewals",
            "webhook-id": event_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(signatures),
        }

    def _webhooks(self) -> Sequence[Webhook]:
        now = self._seconds()
        if not self._kept or now - self._read_at >= _REREAD_AFTER_SECONDS:
            self._kept, self._read_at = _read(self._client, self._arn), now
        return self._kept


def _read(client: SecretsManagerClient, arn: str) -> tuple[Webhook, ...]:
    try:
        values: dict[str, str] = json.loads(client.get_secret_value(SecretId=arn)["SecretString"])
        return tuple(Webhook(values[name]) for name in ("signing", "previous") if name == "signing" or values.get(name))
    except (AttributeError, KeyError, TypeError, ValueError):
        raise BadSecret("the secret of the events has no signing secret") from None
