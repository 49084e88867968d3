"""The webhook's own secret in Secrets Manager: {"signing": "whsec_..."}, and "previous" while it is rotated."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from renewals.domain.errors import BadSecret

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient


def read(client: SecretsManagerClient, arn: str) -> tuple[str, ...]:
    """The signing secrets that are good now, newest first.

    Raises BadSecret where the secret has none, botocore's errors where AWS fails.
    """
    try:
        values: dict[str, str] = json.loads(client.get_secret_value(SecretId=arn)["SecretString"])
        previous = values.get("previous")
        return (values["signing"], *([previous] if previous else []))
    except (AttributeError, KeyError, TypeError):
        raise BadSecret("the webhook secret lacks signing") from None
    except ValueError:
        raise BadSecret("the webhook secret is not JSON") from None
