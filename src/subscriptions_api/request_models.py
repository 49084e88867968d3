"""The models of the API's requests. Pydantic checks requests by the models. The OpenAPI document is made from them.

Money is {"amount": "29.99", "currency": "USD"}: a decimal string in major units, never a JSON number. JSON libraries
read a number as a float, and the amount would be rounded before the API could check the amount. Dates are YYYY-MM-DD.
"""

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from renewals.domain import currencies, subscription, texts
from renewals.domain.addresses import BadAddress, deliverable
from renewals.domain.errors import BadRow
from renewals.domain.item_values import Value
from subscriptions_api import forms


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
    """Return a check that refuses a text if `fault` returns a reason; the refusal gives the reason."""

    def check(text: str) -> str:
        reason = fault(text)
        if reason is not None:
            raise PydanticCustomError("text", "{reason}", {"reason": reason})
        return text

    return AfterValidator(check)


Id = Annotated[str, Field(pattern=forms.ID, examples=["sub_1"])]
GatewayId = Annotated[str, Field(pattern=forms.GATEWAY_ID, examples=["pm_1", "cus_1"])]
Day = Annotated[
    str,
    Field(pattern=forms.DAY, json_schema_extra={"format": "date"}, examples=["2026-01-31"]),
    AfterValidator(_day),
]
Plan = Annotated[str, Field(min_length=1, max_length=texts.LONGEST_PLAN, examples=["Pro"]), _told(texts.plan_fault)]
Name = Annotated[str, Field(max_length=texts.LONGEST_NAME, examples=["Ann Lee"]), _told(texts.name_fault)]
Email = Annotated[str, Field(max_length=320, json_schema_extra={"format": "email"}), AfterValidator(_deliverable)]
Locale = Annotated[str, Field(pattern=forms.LOCALE, examples=["en", "pt-BR"])]
Reminders = Literal["all", "required"]
Interval = Literal["day", "week", "month", "year"]
IntervalCount = Annotated[int, Field(strict=True, ge=1, le=1000)]
AnchorDay = Annotated[int, Field(strict=True, ge=1, le=31)]

_NOT_GIVEN: Any = Field(default_factory=lambda: None)


class _Given(BaseModel):
    """A part of a request. Pydantic refuses unknown fields, and values of a wrong type."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Money(_Given):
    """An exact amount in major units, and the ISO 4217 code of the currency."""

    amount: Annotated[str, Field(pattern=forms.AMOUNT, examples=["29.99"])]
    currency: Annotated[str, Field(pattern=forms.CURRENCY, examples=["USD"])]

    @model_validator(mode="after")
    def _check_chargeable(self) -> Self:
        try:
            currencies.minor_units(Decimal(self.amount), self.currency)
        except BadRow as bad:
            raise PydanticCustomError("money", "{field} {reason}", {"field": bad.field, "reason": bad.reason}) from None
        return self

    def attributes(self) -> dict[str, Value]:
        """Return the amount and the currency as the attributes of a row."""
        return {"amount": Decimal(self.amount), "currency": self.currency}


class NewSubscription(_Given):
    """A subscription to create. Without renewal_date the first charge is made now, and renewals count from today.

    anchor_day is the day of the month that monthly and yearly renewals fall on: the day of renewal_date, or a later day
    if the month of renewal_date is too short. reminders says which reminders are mailed: all, or required, without the
    reminders that a customer may decline. catch_up says how missed periods are billed: `latest` bills the latest
    missed period, `each` bills all missed periods.
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
    reminders: Reminders = _NOT_GIVEN

    def row(self, subscription_id: str, today: date) -> dict[str, Value]:
        """Return the row of the new subscription."""
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
    """The fields to change, at least one. The changes count from the next period on. A field that is left out keeps its
    value.

    anchor_day is the new day of the month for renewals: renewal_date moves on to the next date with this day.
    reminders says which reminders are mailed: all, or required, without the reminders that a customer may decline.
    gateway_customer must come together with payment_method, a card of the new customer. For a new card of the same
    customer, use the call that sets the payment method.
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
    reminders: Reminders = _NOT_GIVEN
    gateway_customer: GatewayId = _NOT_GIVEN
    payment_method: GatewayId = _NOT_GIVEN

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set:
            raise PydanticCustomError("empty", "names no field to change")
        if len(self.model_fields_set & {"gateway_customer", "payment_method"}) == 1:
            raise PydanticCustomError(
                "together", "names only one of gateway_customer and payment_method: an edit names both, or neither"
            )
        return self

    def changes(self) -> dict[str, Value]:
        """Return the changed attributes of the row with the new values."""
        given: dict[str, Value] = self.model_dump(exclude={"amount"}, exclude_unset=True)
        numbers = {name: Decimal(value) for name, value in given.items() if isinstance(value, int)}
        amount = self.amount.attributes() if "amount" in self.model_fields_set else {}
        return {**given, **numbers, **amount}


class Cancel(_Given):
    """When the subscription is to end."""

    when: Literal["now", "at_period_end"]


class Card(_Given):
    """The payment method to charge from now on. The gateway must have saved the card for this customer."""

    payment_method: GatewayId


class Part(_Given):
    """An exact part of the amount that was paid, in major units, and the ISO 4217 code of the currency."""

    amount: Annotated[str, Field(pattern=forms.AMOUNT, examples=["5.00"])]
    currency: Annotated[str, Field(pattern=forms.CURRENCY, examples=["USD"])]

    @model_validator(mode="after")
    def _check_exact(self) -> Self:
        try:
            currencies.exact_minor_units(Decimal(self.amount), self.currency)
        except BadRow as bad:
            raise PydanticCustomError("money", "{field} {reason}", {"field": bad.field, "reason": bad.reason}) from None
        return self


class Refund(_Given):
    """A refund of the period that begins on renewal_date. Without amount, the whole rest of the payment is refunded."""

    renewal_date: Day
    amount: Part = _NOT_GIVEN
