"""The models of the API's answers. The OpenAPI document is made from the models. Times are ISO 8601 with an offset."""

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel

from renewals.domain.entitlement import EntitlementReason
from renewals.domain.renewal import Status


class FieldFault(BaseModel):
    """The fault of one field. field is the path of the field, for example body.amount.currency."""

    field: str
    reason: str


class Problem(BaseModel):
    """A problem in the form of RFC 9457. errors names every field at fault, and is empty if no field is at fault."""

    type: Literal["about:blank"]
    title: str
    status: int
    detail: str
    errors: list[FieldFault] = []


class SubscriptionOut(BaseModel):
    """A subscription as the subscriptions table holds the row now. An attribute is null if the row has no readable
    value, for example because a person wrote the value by hand.

    cancel_at is the day on which the subscription ends: no period begins on cancel_at or later. A cancel_at within a
    paid period ends the subscription before the period is over, and nothing is refunded. anchor_day is the day of the
    month for monthly and yearly renewals. reminders is required if the customer has declined the reminders that may be
    declined. next_attempt is the next dunning date of a refused payment. fault says why the
    subscription cannot be charged with its present attributes.
    """

    subscription_id: str
    customer_id: str
    status: str | None
    renewal_date: str | None
    cancel_at: str | None
    amount: dict[Literal["amount", "currency"], str] | None
    interval: str | None
    interval_count: int | None
    anchor_day: int | None
    catch_up: str | None
    plan: str | None
    customer_name: str | None
    customer_email: str | None
    locale: str | None
    reminders: Literal["all", "required"]
    gateway_customer: str | None
    payment_method: str | None
    payment_status: str | None
    last_payment: str | None
    transaction_id: str | None
    next_attempt: str | None
    fault: FieldFault | None


class EntitlementOut(BaseModel):
    """Whether the customer may use the subscription today, and why.

    until is the first day that is neither paid nor granted without a payment, not counting grace. grace_until is the
    first day without entitlement if the bank refuses, or has refused, the renewal that is due on until. Both are null
    if no such day is known. A renewal that is late through the seller's own fault leaves the customer entitled.
    """

    subscription_id: str
    entitled: bool
    reason: EntitlementReason
    until: str | None
    grace_until: str | None


class EntitlementPage(BaseModel):
    """One page of a customer's entitlements. next_cursor is null on the last page."""

    items: list[EntitlementOut]
    next_cursor: str | None


class SubscriptionPage(BaseModel):
    """One page of subscriptions. next_cursor is null on the last page. Further pages may follow a page with few items
    or no items."""

    items: list[SubscriptionOut]
    next_cursor: str | None


class RenewalOut(BaseModel):
    """One billing period in the ledger. A skipped period has only renewal_date, status and reason."""

    renewal_date: str
    status: Status
    reason: str | None
    period_end: str | None = None
    amount: dict[Literal["amount", "currency"], str] | None = None
    plan: str | None = None
    attempt: int | None = None
    next_attempt: str | None = None
    decline_code: str | None = None
    decline_reason: str | None = None
    paid_at: str | None = None
    card: str | None = None
    transaction_id: str | None = None
    receipt_number: str | None = None
    refunded: dict[Literal["amount", "currency"], str] | None = None
    refund_pending: dict[Literal["amount", "currency"], str] | None = None
    flag: str | None = None


class RefundOut(BaseModel):
    """A refund. state is refunded, or pending while the refund is on its way and can still fail.

    transaction_id is the gateway's id of the refund. left is the part of the payment that can still be refunded, after
    all refunds requested here or at the gateway.
    """

    refund_number: str
    renewal_date: str
    state: Literal["pending", "refunded"]
    amount: dict[Literal["amount", "currency"], str]
    transaction_id: str
    left: dict[Literal["amount", "currency"], str]


class RenewalPage(BaseModel):
    """One page of billing periods, the newest period first."""

    items: list[RenewalOut]
    next_cursor: str | None


class ReceiptKind(StrEnum):
    """The subject of a receipt."""

    PAYMENT = "payment"
    REFUND = "refund"


class ReceiptOut(BaseModel):
    """One receipt, of a payment or of a refund. void is true if the refund failed after the receipt had been made.

    amount, paid_at and transaction_id belong to the payment or, on the receipt of a refund, to the refund. link opens
    the PDF without a login.
    """

    kind: ReceiptKind
    void: bool
    receipt_number: str
    renewal_date: str
    period_end: str
    amount: dict[Literal["amount", "currency"], str]
    paid_at: str
    transaction_id: str
    link: str


class ReceiptPage(BaseModel):
    """One page of receipts, the newest receipt first. Further pages may follow a page with few items or no items."""

    items: list[ReceiptOut]
    next_cursor: str | None


class TimelineEntry(BaseModel):
    """One event in the life of a subscription. text describes the event for people, kind is a short name of the event
    for programs, and by is the name of the person or the program that asked for the event."""

    at: str
    kind: str
    text: str
    renewal_date: str | None
    by: str | None


class Timeline(BaseModel):
    """The events of a subscription, the oldest event first. complete is false if older periods, or records that cannot
    be read, are left out."""

    items: list[TimelineEntry]
    complete: bool


class PlannedCharge(BaseModel):
    """One charge to come. why tells the reason for the date, and any obstacle to the charge."""

    date: str
    period_start: str
    period_end: str
    amount: dict[Literal["amount", "currency"], str]
    why: str


class PreviewOut(BaseModel):
    """The next charges. then tells why no further charge follows, and is empty if further charges follow."""

    items: list[PlannedCharge]
    then: str
