"""A payment, a card and a refund, in terms that fit every payment gateway. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from renewals.domain.item_values import Value


class PaymentState(StrEnum):
    """The gateway's state of a payment."""

    OPEN = "open"  # never confirmed: no money has moved; the payment can be confirmed
    PAID = "paid"
    DECLINED = "declined"  # the last attempt was refused; the payment can be confirmed again
    ACTION_REQUIRED = "action_required"  # the customer must confirm with the bank
    CANCELED = "canceled"  # the payment can never be paid
    PROCESSING = "processing"  # confirmed, but the bank has not decided: ask again later
    UNKNOWN = "unknown"  # a status of the gateway not listed here: ask again later


@dataclass(frozen=True, slots=True)
class Failure:
    """The gateway's refusal of an attempt.

    Attributes:
        id: distinguishes the failures of different attempts.
        request_id: the gateway's own id of the refused call, for questions to the gateway's support.
    """

    id: str
    code: str
    decline_code: str | None
    advice_code: str | None
    request_id: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class GatewayCard:
    """A card.

    Attributes:
        payment_method: the gateway's id of the card.
        name: as "Visa ending in 4242".
        expires: the card's last month, YYYY-MM.
        is_detached: whether the card was detached from the customer. A detached card can never be charged again.
    """

    payment_method: str
    name: str
    expires: str
    is_detached: bool = False

    @property
    def record(self) -> dict[str, Value]:
        """The card as a record on the subscription's row. Only the record of a detached card has the attribute
        `is_detached`: an earlier version cannot read a record with the attribute, and asks the gateway again."""
        kept: dict[str, Value] = {"payment_method": self.payment_method, "name": self.name, "expires": self.expires}
        return kept | ({"is_detached": True} if self.is_detached else {})


class Challenge(NamedTuple):
    """An open question of the customer's bank: the payment waits until the customer confirms at the bank's page.

    Attributes:
        url: the address of the bank's page.
        payment_method: the card whose bank asks.
    """

    url: str
    payment_method: str


@dataclass(frozen=True, slots=True)
class Payment:
    """A payment as the gateway reports the payment.

    Attributes:
        amount: in the gateway's minor units.
        card: the charged card.
        settles_at: for a payment in processing, the moment by which the gateway expects a result, if the gateway says
            so.
        lapsed: whether the gateway by itself canceled the payment. Nobody stopped the charge in that case, and a new
            payment may follow.
        challenge: the bank's open question, if the payment was confirmed with the customer present. A confirmation off
            session opens no challenge.
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
    challenge: Challenge | None = None


class GatewayRefundState(StrEnum):
    """The gateway's state of a refund. A refund may succeed and still fail days later."""

    PENDING = "pending"  # on its way; the refund can still fail
    SUCCEEDED = "succeeded"
    FAILED = "failed"  # failed or canceled: the seller has the money again


@dataclass(frozen=True, slots=True)
class GatewayRefund:
    """A refund as the gateway reports the refund, whoever made the refund.

    Attributes:
        amount: in minor units.
        at: the moment of the refund, on the gateway's clock.
        request: the request of this system that made the refund, as the refund's metadata name the request; None for a
            refund made elsewhere, as in the gateway's dashboard.
        reason: why the refund failed, in the gateway's words.
        payment_metadata: the metadata of the refunded payment; empty in a list of one payment's refunds.
    """

    id: str
    payment_id: str
    state: GatewayRefundState
    amount: int
    currency: str
    at: datetime
    request: str | None = None
    reason: str | None = None
    payment_metadata: Mapping[str, str] = field(default_factory=dict)
