"""Tags that lead from an SES event to the record of a mail. Pure.

SES receives the tags with the mail, and returns the tags with every event about the mail. The tags hold ids and the
token of the mail's claim, nothing personal. The token proves that an event is genuine, since only the mail's record and
SES know the token. The token also tells the event's mail from a later mail to a new address: each claim of a mail has a
token of its own.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_ses.type_defs import MessageTagTypeDef


@dataclass(frozen=True, slots=True, repr=False)  # without a repr, functions start faster
class Tagged:
    """The identity of a mail.

    Attributes:
        renewal_date: the mail's billing period, YYYY-MM-DD; empty for the confirmation of a change.
        mail: the mail's name, as receipt_1, or the kind of a reminder or of a confirmation.
        change: the key of the confirmed change; empty for every other mail.
    """

    subscription_id: str
    customer_id: str
    renewal_date: str
    mail: str
    token: str
    change: str = ""


_NAMES = tuple(field.name for field in fields(Tagged))


def tags(tagged: Tagged) -> list[MessageTagTypeDef]:
    """Build the tags for SendRawEmail.

    Values are encoded, since an id may contain characters that SES forbids in a tag. Encoding makes 171 characters of
    128, the length of the longest id, and SES allows 256:
    https://docs.aws.amazon.com/ses/latest/APIReference/API_MessageTag.html
    """
    told = {name: value for name, value in asdict(tagged).items() if value}  # SES refuses an empty value
    return [{"Name": name, "Value": _encoded(value)} for name, value in told.items()]


def read(told: object) -> Tagged | None:
    """Read the tags from the `mail.tags` of an SES event, which gives a list of values for each tag. Return None if the
    mail carried no tags of ours."""
    if not isinstance(told, dict):
        return None
    values: dict[str, list[str]] = told
    try:
        told = {name: _decoded(values[name][0]) for name in _NAMES if name in values}
        if "change" in told:
            told["renewal_date"] = ""
        return Tagged(**told)
    except (KeyError, IndexError, TypeError, ValueError, binascii.Error):
        return None


def _encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _decoded(text: str) -> str:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
