"""Stripe's objects as values of the gateway port.

What Stripe's types call optional may be null or not there at all, and the SDK raises AttributeError for what is not
there. So everything optional is read through `_of`, `_text` or `_whole`. A text or a whole number that is of another
type than Stripe documents counts as not there.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from renewals.domain.payment import Failure, GatewayCard, GatewayRefund, GatewayRefundState, Payment, PaymentState
from renewals.gateway.port import Charged, Saved

if TYPE_CHECKING:
    import stripe
    from stripe._stripe_object import UntypedStripeObject

_STATES = {
    "requires_confirmation": PaymentState.OPEN,
    "requires_payment_method": PaymentState.OPEN,
    "requires_action": PaymentState.ACTION_REQUIRED,
    "processing": PaymentState.PROCESSING,
    "succeeded": PaymentState.PAID,
    "canceled": PaymentState.CANCELED,
}

_SUCCEEDED = "succeeded"
"""Stripe's status of a charge that took the money (https://docs.stripe.com/api/charges/object#charge_object-status)."""

# https://docs.stripe.com/refunds#failed-refunds; a status that is not named here, or none, is no result yet.
_REFUND_STATES = {
    "succeeded": GatewayRefundState.SUCCEEDED,
    "failed": GatewayRefundState.FAILED,
    "canceled": GatewayRefundState.FAILED,
}

_ASKS_FOR_THE_CUSTOMER = "authentication_required"
_BY_STRIPE_ITSELF = (None, "automatic", "expired")
"""The `cancellation_reason` of a payment that nobody stopped: it was confirmed too often, for one
(https://docs.stripe.com/payments/paymentintents/lifecycle). Our own cancellation names another."""

_NOTIFIED_FOR = timedelta(hours=26)
"""So long an India-issued card stays in processing where Stripe names no moment
(https://docs.stripe.com/india-recurring-payments)."""


def payment(intent: stripe.PaymentIntent) -> Payment:
    charge = _of(intent, "latest_charge")
    charge = None if isinstance(charge, str) else charge
    state, why = _STATES.get(intent.status, PaymentState.UNKNOWN), failure(_of(intent, "last_payment_error"))
    if state is PaymentState.OPEN and why is not None:
        state = refused_state(why)
    paid = state is PaymentState.PAID
    return Payment(
        id=intent.id,
        state=state,
        amount=(_whole(intent, "amount_received") or intent.amount) if paid else intent.amount,
        currency=intent.currency.upper(),
        failure=why,
        card=card(_id(_of(charge, "payment_method")), _of(charge, "payment_method_details", "card")),
        paid_at=_moment(_whole(charge, "created")) if paid else None,
        settles_at=_settles_at(intent, charge) if state is PaymentState.PROCESSING else None,
        lapsed=state is PaymentState.CANCELED and _of(intent, "cancellation_reason") in _BY_STRIPE_ITSELF,
    )


def refused_state(why: Failure) -> PaymentState:
    """Stripe asks for the customer by the error's code, or by the decline code of an error `card_declined`
    (https://docs.stripe.com/declines/codes)."""
    asked = _ASKS_FOR_THE_CUSTOMER in (why.code, why.decline_code)
    return PaymentState.ACTION_REQUIRED if asked else PaymentState.DECLINED


def failure(error: object, request_id: str | None = None) -> Failure | None:
    """Of a payment's last error, or of the error that refused a confirmation: both look alike."""
    if error is None:
        return None
    code = _text(error, "code") or _text(error, "type") or "card_declined"
    return Failure(
        id=_id(_of(error, "charge")) or f"{code}/{_id(_of(error, 'payment_method')) or None}",
        code=code,
        decline_code=_text(error, "decline_code"),
        advice_code=_text(error, "advice_code"),
        request_id=request_id,
    )


def charged(charge: stripe.Charge) -> Charged:
    return Charged(
        payment_id=_id(_of(charge, "payment_intent")) or charge.id,
        succeeded=charge.status == _SUCCEEDED,
        amount=charge.amount,
        currency=charge.currency.upper(),
        at=datetime.fromtimestamp(charge.created, UTC),
        metadata=metadata(charge),
    )


def metadata(made: object) -> dict[str, str]:
    """What we, or whoever made it, wrote on an object."""
    written: UntypedStripeObject[str] | None = getattr(made, "metadata", None)
    return written.to_dict() if written else {}


def owner(made: stripe.PaymentMethod | stripe.PaymentIntent) -> str | None:
    """The customer whose it is; None where it is nobody's."""
    return _id(_of(made, "customer")) or None


def saved(method: stripe.PaymentMethod) -> Saved:
    return Saved(_text(method, "type") or "unknown", owner(method))


def is_deleted(customer: stripe.Customer) -> bool:
    """Stripe answers for a deleted customer as well, with `deleted` and nothing else
    (https://docs.stripe.com/api/customers/retrieve)."""
    return bool(_of(customer, "deleted"))


def refund(made: stripe.Refund) -> GatewayRefund:
    """Most of a refund's attributes may be absent, its status and its payment among them."""
    status, payment = _text(made, "status"), _of(made, "payment_intent")
    state = _REFUND_STATES.get(status or "", GatewayRefundState.PENDING)
    return GatewayRefund(
        id=made.id,
        payment_id=_id(payment),
        state=state,
        amount=made.amount,
        currency=made.currency.upper(),
        at=datetime.fromtimestamp(made.created, UTC),
        request=metadata(made).get("request"),
        reason=(_text(made, "failure_reason") or status) if state is GatewayRefundState.FAILED else None,
        payment_metadata=metadata(payment),
    )


def card_of(method: stripe.PaymentMethod) -> GatewayCard | None:
    """The card that a payment method is, if it is one."""
    return card(method.id, _of(method, "card"))


def card(payment_method: str, details: object) -> GatewayCard | None:
    """Of a payment method or of a charge: both have these. None for what is paid otherwise, by Link for one."""
    brand, last4 = _text(details, "brand"), _text(details, "last4")
    if not brand or not last4:
        return None
    year, month = _whole(details, "exp_year"), _whole(details, "exp_month")
    expires = f"{year}-{month:02}" if year and month else ""
    return GatewayCard(payment_method, f"{brand.replace('_', ' ').title()} ending in {last4}", expires)


def _settles_at(intent: stripe.PaymentIntent, charge: object) -> datetime | None:
    notification = _of(intent, "processing", "card", "customer_notification")
    completes_at = _moment(_whole(notification, "completes_at"))
    begun = _moment(_whole(charge, "created"))
    return completes_at or (begun + _NOTIFIED_FOR if begun and notification is not None else None)


def _of(made: object, *names: str) -> object:
    """A field of a field of an object; None where one of them is null or not there."""
    for name in names:
        made = getattr(made, name, None)
    return made


def _text(made: object, name: str) -> str | None:
    value = _of(made, name)
    return value if isinstance(value, str) else None


def _whole(made: object, name: str) -> int | None:
    value = _of(made, name)
    return value if isinstance(value, int) else None


def _id(reference: object) -> str:
    """The id of what is referred to, whether it is there whole or only by its id; empty where it is not."""
    return str(reference if isinstance(reference, str) else _of(reference, "id") or "")


def _moment(seconds: int | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
