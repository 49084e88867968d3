"""Read the webhook's own secret in Secrets Manager: {"signing": "whsec_..."}, and during a rotation also "previous"."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from renewals.domain.errors import BadSecret

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient


def read(client: SecretsManagerClient, arn: str) -> tuple[str, ...]:
    """Return the valid signing secrets, newest first.

    Raises:
        BadSecret: the stored secret is not JSON, or has no key "signing".
        botocore's errors: AWS failed.
    """
    try:
        values: dict[str, str] = json.loads(client.get_secret_value(SecretId=arn)["SecretString"])
        previous = values.get("previous")
        return (values["signing"], *([previous] if previous else []))
    except (AttributeError, KeyError, TypeError):
        raise BadSecret('the webhook secret has no key "signing"') from None
    except ValueError:
        raise BadSecret("the webhook secret is not JSON") from None
