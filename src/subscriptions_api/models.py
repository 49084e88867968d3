"""What the API takes and gives, as pydantic models: they check requests and make the OpenAPI document.

Money is {"amount": "29.99", "currency": "USD"}, a decimal string in major units, never a JSON number: a float has been
rounded before anybody could refuse to round it. Dates are YYYY-MM-DD, times ISO 8601 with their offset.
"""

from collections.abc import Callable, Iterator
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from renewals.domain import currencies, declines, refunds, subscription, texts, wording
from renewals.domain.addresses import BadAddress, deliverable
from renewals.domain.errors import BadRow
from renewals.domain.item_values import Item, Value
from renewals.domain.payment import GatewayRefundState
from renewals.domain.preview import NextCharge
from renewals.domain.renewal import RefundState, Renewal, Status, renewal_from
from renewals.domain.timeline import Entry


def _deliverable(address: str) -> str:
    try:
        deliverable(address)
    except BadAddress as bad:
        raise PydanticCustomError("address", "{reason}", {"reason": str(bad)}) from None
    return address


def _day(text: str) -> str:
    try:
        subscription.day({"date": text}, "date")
    except BadRow as bad:
        raise PydanticCustomError("date", "{reason}", {"reason": bad.reason}) from None
    return text


def _told(fault: Callable[[str], str | None]) -> AfterValidator:
    """Refuses a text that has a fault, in its words."""

    def check(text: str) -> str:
        reason = fault(text)
        if reason is not None:
            raise PydanticCustomError("text", "{reason}", {"reason": reason})
        return text

    return AfterValidator(check)


Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._:-]{0,127}$", examples=["sub_1"])]
GatewayId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{1,255}$", examples=["pm_1", "cus_1"])]
Day = Annotated[
    str,
    Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$", json_schema_extra={"format": "date"}, examples=["2026-01-31"]),
    AfterValidator(_day),
]
Plan = Annotated[str, Field(min_length=1, max_length=texts.LONGEST_PLAN, examples=["Pro"]), _told(texts.plan_fault)]
Name = Annotated[str, Field(max_length=texts.LONGEST_NAME, examples=["Ann Lee"]), _told(texts.name_fault)]
Email = Annotated[str, Field(max_length=320, json_schema_extra={"format": "email"}), AfterValidator(_deliverable)]
Locale = Annotated[str, Field(pattern=r"^[A-Za-z]{2,3}([_-][A-Za-z0-9]{2,8}){0,3}$", examples=["en", "pt-BR"])]
Interval = Literal["day", "week", "month", "year"]
IntervalCount = Annotated[int, Field(strict=True, ge=1, le=1000)]
AnchorDay = Annotated[int, Field(strict=True, ge=1, le=31)]

_NOT_GIVEN: Any = Field(default_factory=lambda: None)


class _Given(BaseModel):
    """What a caller sends: exactly the fields of the model, of exactly their types."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Money(_Given):
    """An exact amount in major units, and its ISO 4217 code."""

    amount: Annotated[str, Field(pattern=r"^(0|[1-9][0-9]{0,11})(\.[0-9]{1,3})?$", examples=["29.99"])]
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$", examples=["USD"])]

    @model_validator(mode="after")
    def _check_chargeable(self) -> Self:
        try:
            currencies.minor_units(Decimal(self.amount), self.currency)
        except BadRow as bad:
            raise PydanticCustomError("money", "{field} {reason}", {"field": bad.field, "reason": bad.reason}) from None
        return self

    def attributes(self) -> dict[str, Value]:
        """As a row has it."""
        return {"amount": Decimal(self.amount), "currency": self.currency}


class NewSubscription(_Given):
    """A subscription to create. Without renewal_date the first charge is made now, and renewals fall on today's day.

    anchor_day: the day of the month that renewals fall on, of months and years: the day of renewal_date, or a later one
    where that month is too short for it. catch_up: of several missed periods `latest` bills the latest, `each` all of
    them.
    """

    subscription_id: Id = _NOT_GIVEN
    customer_id: Id
    amount: Money
    gateway_customer: GatewayId
    payment_method: GatewayId
    renewal_date: Day = _NOT_GIVEN
    interval: Interval = "month"
    interval_count: IntervalCount = 1
    anchor_day: AnchorDay = _NOT_GIVEN
    catch_up: Literal["latest", "each"] = "latest"
    plan: Plan = "Subscription"
    customer_name: Name = ""
    customer_email: Email = _NOT_GIVEN
    locale: Locale = "en"

    def row(self, subscription_id: str, today: date) -> dict[str, Value]:
        """The row that it becomes."""
        given: dict[str, Value] = self.model_dump(exclude={"amount", "subscription_id"}, exclude_none=True)
        numbers = {name: Decimal(value) for name, value in given.items() if isinstance(value, int)}
        return {
            "renewal_date": today.isoformat(),
            **given,
            **numbers,
            **self.amount.attributes(),
            "subscription_id": subscription_id,
            "status": subscription.SubscriptionStatus.ACTIVE,
        }


class Edit(_Given):
    """What is to change, from the next period on; what is not named stays. At least one field.

    anchor_day: another day of the month for renewals. renewal_date moves on to the next such day.
    gateway_customer: with payment_method, a card of theirs; another card of the same customer has a call of its own.
    """

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    plan: Plan = _NOT_GIVEN
    amount: Money = _NOT_GIVEN
    interval: Interval = _NOT_GIVEN
    interval_count: IntervalCount = _NOT_GIVEN
    anchor_day: AnchorDay = _NOT_GIVEN
    customer_name: Name = _NOT_GIVEN
    customer_email: Email = _NOT_GIVEN
    locale: Locale = _NOT_GIVEN
    gateway_customer: GatewayId = _NOT_GIVEN
    payment_method: GatewayId = _NOT_GIVEN

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set:
            raise PydanticCustomError("empty", "names no field to change")
        if len(self.model_fields_set & {"gateway_customer", "payment_method"}) == 1:
            raise PydanticCustomError(
                "together", "names one of gateway_customer and payment_method: a customer comes with a card of theirs"
            )
        return self

    def changes(self) -> dict[str, Value]:
        """The attributes of a row that change."""
        given: dict[str, Value] = self.model_dump(exclude={"amount"}, exclude_unset=True)
        numbers = {name: Decimal(value) for name, value in given.items() if isinstance(value, int)}
        amount = self.amount.attributes() if "amount" in self.model_fields_set else {}
        return {**given, **numbers, **amount}


class Cancel(_Given):
    """When a subscription is to end."""

    when: Literal["now", "at_period_end"]


class Card(_Given):
    """The payment method that is charged from now on. It must be saved for the subscription's customer."""

    payment_method: GatewayId


class Part(_Given):
    """An exact part of what was paid, in major units, and its ISO 4217 code."""

    amount: Annotated[str, Field(pattern=r"^(0|[1-9][0-9]{0,11})(\.[0-9]{1,3})?$", examples=["5.00"])]
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$", examples=["USD"])]

    @model_validator(mode="after")
    def _check_exact(self) -> Self:
        try:
            currencies.exact_minor_units(Decimal(self.amount), self.currency)
        except BadRow as bad:
            raise PydanticCustomError("money", "{field} {reason}", {"field": bad.field, "reason": bad.reason}) from None
        return self


class Refund(_Given):
    """What to refund, of the period that begins on renewal_date. Without amount: all that is left of it."""

    renewal_date: Day
    amount: Part = _NOT_GIVEN


class FieldFault(BaseModel):
    """What is wrong with one field. field: its path, as body.amount.currency."""

    field: str
    reason: str


class Problem(BaseModel):
    """RFC 9457. errors: every field that is at fault, where fields are."""

    type: Literal["about:blank"]
    title: str
    status: int
    detail: str
    errors: list[FieldFault] = []


class SubscriptionOut(BaseModel):
    """A subscription as it stands. Rows may be written by hand: what cannot be read is null, and `fault` says why the
    subscription cannot be charged as it stands. cancel_at: the day on which the subscription ends, and no period
    begins any more; within a period that is paid it gives up the days of the period from then on, and refunds nothing.
    anchor_day: the day of the month that it renews on, of months and years. next_attempt: when a refused payment is
    tried again."""

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
    gateway_customer: str | None
    payment_method: str | None
    payment_status: str | None
    last_payment: str | None
    transaction_id: str | None
    next_attempt: str | None
    fault: FieldFault | None


class SubscriptionPage(BaseModel):
    """One page. next_cursor: null on the last one; a page may hold few items, or none, and not be the last."""

    items: list[SubscriptionOut]
    next_cursor: str | None


class RenewalOut(BaseModel):
    """One billing period in the ledger; of one that was passed over or paused only the first four fields."""

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
    """A refund. state: refunded, or pending while it is on its way and can still fail. transaction_id: the gateway's id
    of it. left: what of the payment has not been refunded, nor been asked to be, here or at the gateway."""

    refund_number: str
    renewal_date: str
    state: Literal["pending", "refunded"]
    amount: dict[Literal["amount", "currency"], str]
    transaction_id: str
    left: dict[Literal["amount", "currency"], str]


class RenewalPage(BaseModel):
    """One page, newest period first."""

    items: list[RenewalOut]
    next_cursor: str | None


class ReceiptKind(StrEnum):
    """What a receipt is of."""

    PAYMENT = "payment"
    REFUND = "refund"


class ReceiptOut(BaseModel):
    """One receipt. kind: of a payment or of a refund. void: of a refund that failed after its receipt was made.
    amount, paid_at, transaction_id: the payment's or the refund's own. link: opens the PDF, without a login."""

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
    """One page, newest first. A page may hold few items, or none, and not be the last."""

    items: list[ReceiptOut]
    next_cursor: str | None


class TimelineEntry(BaseModel):
    """One thing that happened. text: in plain words; kind: for programs. by: who asked for it."""

    at: str
    kind: str
    text: str
    renewal_date: str | None
    by: str | None


class Timeline(BaseModel):
    """Oldest first. complete: whether this is all; else older periods are left out."""

    items: list[TimelineEntry]
    complete: bool


class PlannedCharge(BaseModel):
    """One charge to come. why: the reason for the date, and what stands against the charge."""

    date: str
    period_start: str
    period_end: str
    amount: dict[Literal["amount", "currency"], str]
    why: str


class PreviewOut(BaseModel):
    """The next charges. then: why there are no more of them; empty where more would follow."""

    items: list[PlannedCharge]
    then: str


def shown(row: Item, today: date, fault: BadRow | None = None) -> dict[str, object]:
    """A row as SubscriptionOut. today: the day on which it is looked at. fault: what is wrong with it beside what the
    row itself shows."""
    texts = {name: _text(row.get(name)) for name in SubscriptionOut.model_fields if name not in _OTHER}
    numbers = {"interval_count": _whole(row.get("interval_count")), "anchor_day": _anchor(row)}
    texts["status"] = _text(subscription.status_on(row, today))
    return {**texts, **numbers, "amount": _row_money(row), "fault": _fault(row) or _in_words(fault)}


_OTHER = {"amount", "fault", "interval_count", "anchor_day"}


def shown_period(item: Item) -> dict[str, object]:
    """A ledger item as RenewalOut."""
    if item["status"] == Status.SKIPPED:
        return {"renewal_date": item["renewal_date"], "status": item["status"], "reason": item.get("reason")}
    renewal = renewal_from(item)
    pending, refunded = (refunds.in_state(renewal, state) for state in (RefundState.CLAIMED, RefundState.REFUNDED))
    return {
        "renewal_date": renewal.renewal_date.isoformat(),
        "status": renewal.status.value,
        "reason": wording.refused(renewal.reason or "") or renewal.reason,
        "period_end": renewal.period_end.isoformat(),
        "amount": money(renewal.amount, renewal.currency),
        "plan": renewal.plan,
        "attempt": renewal.attempt,
        "next_attempt": renewal.next_attempt.isoformat() if renewal.next_attempt else None,
        "decline_code": renewal.decline_code,
        "decline_reason": declines.in_words(renewal.decline_code) if renewal.decline_code else None,
        "paid_at": renewal.paid_at.isoformat() if renewal.paid_at else None,
        "card": renewal.card,
        "transaction_id": renewal.payment_id,
        "receipt_number": _receipt_number(renewal),
        "refunded": money(refunded, renewal.currency) if renewal.refunds else None,
        "refund_pending": money(pending, renewal.currency) if pending else None,
        "flag": renewal.flag,
    }


def shown_refund(renewal: Renewal, name: str) -> dict[str, object]:
    """A refund that was made as RefundOut."""
    refund = renewal.refunds[name]
    return {
        "refund_number": refunds.number(renewal, name),
        "renewal_date": renewal.renewal_date.isoformat(),
        "state": RefundState.REFUNDED if refund["state"] == RefundState.REFUNDED else GatewayRefundState.PENDING,
        "amount": money(refund["amount"], renewal.currency),
        "transaction_id": refund["refund_id"],
        "left": money(refunds.left(renewal), renewal.currency),
    }


def shown_receipts(item: Item, link: Callable[[str], str]) -> Iterator[dict[str, object]]:
    """The receipts of a ledger item as ReceiptOut, the latest first: those of its refunds, and that of its payment.
    link: to that of a refund, by its name, or of the payment, by none."""
    if item["status"] == Status.SKIPPED:
        return
    renewal, period = renewal_from(item), shown_period(item)
    for name, refund in reversed(refunds.in_order(renewal.refunds)):
        if "receipt_key" in refund:
            yield {name: period[name] for name in ("renewal_date", "period_end")} | {
                "kind": ReceiptKind.REFUND,
                "void": refund["state"] == RefundState.FAILED,
                "receipt_number": refunds.number(renewal, name),
                "amount": money(refund["amount"], renewal.currency),
                "paid_at": datetime.fromisoformat(refund["at"]).isoformat(),
                "transaction_id": refund["refund_id"],
                "link": link(name),
            }
    if renewal.receipt_key is not None:
        told = {name: period[name] for name in ReceiptOut.model_fields if name in period}
        yield told | {"kind": ReceiptKind.PAYMENT, "void": False, "link": link("")}


def shown_entry(entry: Entry) -> dict[str, object]:
    """A timeline's entry as TimelineEntry."""
    period = entry.renewal_date.isoformat() if entry.renewal_date else None
    return {
        "at": entry.at.isoformat(),
        "kind": entry.kind,
        "text": entry.text,
        "renewal_date": period,
        "by": entry.by,
    }


def shown_charge(charge: NextCharge) -> dict[str, object]:
    """A charge to come as PlannedCharge."""
    return {
        "date": charge.on.isoformat(),
        "period_start": charge.start.isoformat(),
        "period_end": charge.end.isoformat(),
        "amount": money(charge.amount, charge.currency),
        "why": charge.why,
    }


def money(amount: Decimal, currency: str) -> dict[str, str]:
    """29.9 USD as {"amount": "29.90", "currency": "USD"}."""
    return {"amount": currencies.written(amount, currency), "currency": currency}


def _receipt_number(renewal: Renewal) -> str | None:
    return renewal.receipt_number if renewal.receipt_key else None


def _row_money(row: Item) -> dict[str, str] | None:
    amount, currency = row.get("amount"), row.get("currency")
    if not isinstance(amount, Decimal) or not isinstance(currency, str):
        return None
    try:
        return money(amount, currency.upper())
    except BadRow:
        return None


def _anchor(row: Item) -> int | None:
    """The day of the month that the subscription renews on; None where it counts days or weeks."""
    try:
        schedule = subscription.parse(row).schedule
    except BadRow:
        return _whole(row.get("anchor_day"))
    return schedule.anchor_day if schedule.is_anchored else None


def _fault(row: Item) -> dict[str, str] | None:
    try:
        subscription.parse(row)
    except BadRow as bad:
        return _in_words(bad)
    return None


def _in_words(fault: BadRow | None) -> dict[str, str] | None:
    return {"field": fault.field, "reason": fault.reason} if fault else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _whole(value: object) -> int | None:
    return int(value) if isinstance(value, Decimal) and value.is_finite() and value % 1 == 0 else None
