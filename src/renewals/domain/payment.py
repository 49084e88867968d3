"""A payment, a card and a refund as a payment gateway has them, whichever it is. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class PaymentState(StrEnum):
    """What the gateway says of a payment."""

    OPEN = "open"  # never confirmed: no money has moved, it can be confirmed
    PAID = "paid"
    DECLINED = "declined"  # the last attempt was refused; it can be confirmed again
    ACTION_REQUIRED = "action_required"  # the customer must confirm with the bank
    CANCELED = "canceled"  # can never be paid
    PROCESSING = "processing"  # confirmed, and the bank takes its time: ask again later
    UNKNOWN = "unknown"  # a status not named here: ask again later


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt was refused. id tells one attempt's failure from another's. request_id: the gateway's name of the
    call that was refused, which its support asks for."""

    id: str
    code: str
    decline_code: str | None
    advice_code: str | None
    request_id: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class GatewayCard:
    """A card. payment_method: the gateway's id of it. name: "Visa ending in 4242". expires: its last month, YYYY-MM."""

    payment_method: str
    name: str
    expires: str


@dataclass(frozen=True, slots=True)
class Payment:
    """A payment as the gateway has it. amount: minor units as the gateway counts them. card: what was charged.

    settles_at: of one in processing, by when the gateway expects its result, where it says so. lapsed: of a canceled
    one, that the gateway canceled it by itself, and nobody stopped the payment: another may take its place.
    """

    id: str
    state: PaymentState
    amount: int
    currency: str
    failure: Failure | None = None
    card: GatewayCard | None = None
    paid_at: datetime | None = None
    settles_at: datetime | None = None
    lapsed: bool = False


class GatewayRefundState(StrEnum):
    """What the gateway says of a refund. A refund that succeeded can still fail, days later."""

    PENDING = "pending"  # on its way; it can still fail
    SUCCEEDED = "succeeded"
    FAILED = "failed"  # or canceled: the money is the seller's again


@dataclass(frozen=True, slots=True)
class GatewayRefund:
    """A refund as the gateway has it, whoever made it. amount: minor units. at: when it was made, on the gateway's
    clock. request: the request of ours that it carries; None where it was made elsewhere, as in the gateway's
    dashboard. reason: why it failed, in the gateway's words. payment_metadata: that of its payment, where refunds are
    listed by their time."""

    id: str
    payment_id: str
    state: GatewayRefundState
    amount: int
    currency: str
    at: datetime
    request: str | None = None
    reason: str | None = None
    payment_metadata: Mapping[str, str] = field(default_factory=dict)
