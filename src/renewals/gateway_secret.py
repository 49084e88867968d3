"""The gateway secret: {"api_key", "api_secret", "endpoint"[, "api_secret_previous"]} in Secrets Manager."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from renewals.errors import RenewalError

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient


class BadSecret(RenewalError):  # noqa: N818
    """The secret is not what its docstring says. Names the key at fault, never a value."""


@dataclass(frozen=True, slots=True, repr=False)
class GatewaySecret:
    """api_key: the gateway's key. signing_secrets: the webhook's, newest first. endpoint: the gateway's base URL."""

    api_key: str
    signing_secrets: tuple[str, ...]
    endpoint: str

    @classmethod
    def read(cls, client: SecretsManagerClient, arn: str) -> GatewaySecret:
        """The secret as it is now. Raises BadSecret where it is not complete, botocore's errors where AWS fails."""
        try:
            values = json.loads(client.get_secret_value(SecretId=arn)["SecretString"])
            previous = values.get("api_secret_previous")
            signing = (values["api_secret"], *([previous] if previous else []))
            return cls(values["api_key"], signing, values["endpoint"])
        except (KeyError, TypeError) as error:
            raise BadSecret(f"the gateway secret lacks {error}") from None
        except ValueError:
            raise BadSecret("the gateway secret is not JSON") from None
