"""The gateway secret in Secrets Manager: {"api_key", "endpoint"} and what is the webhook's, which nobody reads here."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from renewals.errors import BadSecret

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient


@dataclass(frozen=True, slots=True, repr=False)
class GatewaySecret:
    """api_key: the gateway's key. endpoint: the gateway's base URL."""

    api_key: str
    endpoint: str

    @classmethod
    def read(cls, client: SecretsManagerClient, arn: str) -> GatewaySecret:
        """The secret as it is now. Raises BadSecret where it is not complete, botocore's errors where AWS fails."""
        try:
            values = json.loads(client.get_secret_value(SecretId=arn)["SecretString"])
            return cls(values["api_key"], values["endpoint"])
        except (KeyError, TypeError) as error:
            raise BadSecret(f"the gateway secret lacks {error}") from None
        except ValueError:
            raise BadSecret("the gateway secret is not JSON") from None
