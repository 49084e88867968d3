"""Check the signature and the body of a webhook. Pure.

Signatures follow https://www.standardwebhooks.com (HMAC-SHA256 over id.timestamp.body, five minutes' tolerance). The
specification's own library checks the signature over the bytes as received, before any parsing.
"""

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from enum import StrEnum

from standardwebhooks import Webhook, WebhookVerificationError

from renewals.domain.currencies import LARGEST
from renewals.domain.request import Asks, RenewalRequest
from renewals.domain.strict_json import Json, NotAnObject, read_object
from renewals.domain.subscription import ID, ID_FORM

LARGEST_BODY = 64 * 1024
"""In bytes. A request holds three short fields; the rest leaves room for the sender's own fields."""

_DECIMAL = re.compile(r"\d{1,12}(\.\d{1,3})?", re.ASCII)
_LONGEST_EVENT_TYPE = 128


class RequestOutcome(StrEnum):
    """The result of a request, for the log and the trace."""

    ACCEPTED = "accepted"
    REFUSED = "refused"


class BadBody(Exception):  # noqa: N818
    """The body breaks the contract. The message names the field and never quotes the body."""


def signed(body: bytes, headers: Mapping[str, str], secrets: Iterable[str]) -> bool:
    """Whether a secret signed the bytes within the last five minutes. The comparison takes constant time, so that
    strangers learn nothing about a correct signature from the duration.

    headers: the headers of the request, with names in lower case.
    """
    return any(_signed_by(secret, body, headers) for secret in secrets)


def _signed_by(secret: str, body: bytes, headers: Mapping[str, str]) -> bool:
    webhook = Webhook(secret)  # outside the try: a malformed secret is our fault, not the sender's
    try:
        webhook.verify(body, dict(headers), json_parse=False)
    except (WebhookVerificationError, ValueError):  # ValueError: the library cannot read a header or the body
        return False
    return True


def parse(body: bytes) -> RenewalRequest | None:
    """Return the request in a body, with a positive amount of at most three decimal places; None for an event type
    other than a renewal. Raises BadBody."""
    try:
        fields = read_object(body, exact=True)
    except NotAnObject as fault:
        raise BadBody(f"the body {fault}") from None
    if _event_type(fields) != Asks.RENEW:
        return None
    return RenewalRequest(_id(fields, "subscription_id"), _id(fields, "customer_id"), _amount(fields))


def _event_type(fields: Mapping[str, Json]) -> str:
    value = fields.get("event_type", Asks.RENEW)
    if not isinstance(value, str) or len(value) > _LONGEST_EVENT_TYPE:
        raise BadBody(f"event_type must be a string of at most {_LONGEST_EVENT_TYPE} characters")
    return value


def _id(fields: Mapping[str, Json], name: str) -> str:
    if name not in fields:
        raise BadBody(f"{name} is missing")
    value = fields[name]
    if not isinstance(value, str) or not ID.fullmatch(value):
        raise BadBody(f"{name} must be {ID_FORM}")
    return value


def _amount(fields: Mapping[str, Json]) -> Decimal:
    if "amount" not in fields:
        raise BadBody("amount is missing")
    value = fields["amount"]
    if isinstance(value, str) and _DECIMAL.fullmatch(value):
        value = Decimal(value)
    if not isinstance(value, Decimal):
        raise BadBody("amount must be a number or a decimal string such as 29.99")
    if not value.is_finite() or not 0 < value < LARGEST:
        raise BadBody("amount must be positive, with at most 12 digits before the point")
    if int(value.as_tuple().exponent) < -3:
        raise BadBody("amount must have at most three decimal places")
    return value
