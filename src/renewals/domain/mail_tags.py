"""How SES's word about a mail finds the mail's record: tags go out with it, and come back with every event of it. Pure.

They hold ids and the token of the mail's claim, nothing personal. The token is what proves an event: nobody has it but
the record and SES, and another claim of the same mail, to another address, has another one.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_ses.type_defs import MessageTagTypeDef


@dataclass(frozen=True, slots=True)
class Tagged:
    """Which mail it is. renewal_date: its period, YYYY-MM-DD. mail: its name, as receipt_1, or a reminder's kind."""

    subscription_id: str
    customer_id: str
    renewal_date: str
    mail: str
    token: str


def tags(tagged: Tagged) -> list[MessageTagTypeDef]:
    """For SendRawEmail. An id of 128 characters, some of which no tag may have, becomes 171 of the 256 that one may.

    https://docs.aws.amazon.com/ses/latest/APIReference/API_MessageTag.html
    """
    return [{"Name": name, "Value": _encoded(value)} for name, value in asdict(tagged).items()]


def read(told: object) -> Tagged | None:
    """From `mail.tags` of an event, where each has a list of values; None where it was sent without ours."""
    if not isinstance(told, dict):
        return None
    values: dict[str, list[str]] = told
    try:
        return Tagged(**{field.name: _decoded(values[field.name][0]) for field in fields(Tagged)})
    except (KeyError, IndexError, TypeError, ValueError, binascii.Error):
        return None


def _encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _decoded(text: str) -> str:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
