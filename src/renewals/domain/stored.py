"""Types of what the tables keep within an item. Only type checkers load them: no function starts slower for them."""

from decimal import Decimal
from typing import NotRequired, TypedDict


class RefusalRecord(TypedDict):
    """A refused attempt to charge, as its item keeps it. at: when, ISO 8601. gateway_request_id: the gateway's own name
    of the call that it refused."""

    at: str
    payment_method: str
    decline_code: NotRequired[str | None]
    advice_code: NotRequired[str | None]
    gateway_request_id: NotRequired[str | None]


class EndingRecord(TypedDict):
    """One time that the work ended without a payment, as its item keeps it. at: when, ISO 8601."""

    at: str
    status: str
    reason: str | None


class RefundRecord(TypedDict):
    """A refund of a period, as its item keeps it; renewals.domain.refunds says what the attributes mean."""

    amount: Decimal
    state: str
    at: str
    by: str
    request: str
    tries: NotRequired[Decimal]
    refund_id: NotRequired[str]
    gateway_status: NotRequired[str]
    reason: NotRequired[str]
    failed_at: NotRequired[str]
    receipt_key: NotRequired[str]
    receipt_sha256: NotRequired[str]


# A field `subscription` of a class would be a parsed one.
Answer = TypedDict("Answer", {"status": int, "etag": str, "subscription": dict[str, object]})  # noqa: UP013
"""What a request that may come again was answered, as JSON. subscription: as it was shown."""
