"""The secret of the gateway's endpoint in Secrets Manager: {"signing": "whsec_..."}, with "previous" during a rotation.

The template makes the secret with an empty `signing`: until a person sets the endpoint's own secret, no signature is
valid.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from renewals.runtime import telemetry

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

_PREFIX = "whsec_"
"""The beginning of each signing secret of the gateway. A text of a different form, such as an empty text, is no signing
secret."""


def read(client: SecretsManagerClient, arn: str) -> tuple[str, ...]:
    """Return the valid signing secrets, newest first; empty if none is set. Raises botocore's errors if AWS fails."""
    try:
        values: object = json.loads(client.get_secret_value(SecretId=arn)["SecretString"])
    except (KeyError, ValueError):
        values = None
    named = [values.get(name) for name in ("signing", "previous")] if isinstance(values, dict) else []
    secrets = tuple(each for each in named if isinstance(each, str) and _is_secret(each))
    if not secrets:
        telemetry.logger().error("no signing secret", extra={"error": "the secret of gateway events has no whsec_..."})
    return secrets


def _is_secret(value: str) -> bool:
    return value.startswith(_PREFIX) and len(value.strip()) > len(_PREFIX)
