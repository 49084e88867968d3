"""Types of the records within the tables' items. Only type checkers load the module, to keep functions starting
fast."""

from decimal import Decimal
from typing import NotRequired, TypedDict


class RefusalRecord(TypedDict):
    """The record of a refused attempt to charge.

    Attributes:
        at: the moment, ISO 8601.
        gateway_request_id: the gateway's own id of the refused call.
    """

    at: str
    payment_method: str
    decline_code: NotRequired[str | None]
    advice_code: NotRequired[str | None]
    gateway_request_id: NotRequired[str | None]


class EndingRecord(TypedDict):
    """The record of a renewal that ended without a payment, because the renewal failed or was given up. at: the moment,
    ISO 8601."""

    at: str
    status: str
    reason: str | None


class RefundRecord(TypedDict):
    """The record of a refund; renewals.domain.refunds explains the attributes."""

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


class DisputeStep(TypedDict):
    """The record of a step of a dispute; renewals.domain.disputes explains the attributes."""

    at: str
    status: str
    withdrawn: NotRequired[Decimal]
    reinstated: NotRequired[Decimal]
    effect: NotRequired[str]


class DisputeRecord(TypedDict):
    """The record of a dispute; renewals.domain.disputes explains the attributes."""

    amount: Decimal
    currency: str
    reason: str
    at: str
    due_by: NotRequired[str]
    steps: list[DisputeStep]


# Written as a call, because a class may annotate a field named `subscription` only as a parsed Subscription.
Answer = TypedDict("Answer", {"status": int, "etag": str, "subscription": dict[str, object]})  # noqa: UP013
"""The stored answer to a request that may be repeated, as JSON. subscription: the subscription as shown in the
answer."""
