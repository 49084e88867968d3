"""Translate Stripe's objects into values of the gateway port.

A field that Stripe's types call optional may be null or missing, and the SDK raises AttributeError for a missing field.
Every optional field is therefore read through `_of`, `_text` or `_whole`. A text or a whole number of a type that
Stripe does not document counts as missing.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from renewals.domain.payment import (
    Challenge,
    Failure,
    GatewayCard,
    GatewayRefund,
    GatewayRefundState,
    Payment,
    PaymentState,
)
from renewals.gateway.port import Charged, FoundEvents, Saved

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import stripe
    from stripe._stripe_object import UntypedStripeObject

    from renewals.domain.disputes import GatewayDispute
    from renewals.domain.gateway_event import GatewayEvent
    from renewals.gateway.card_setup import CardSession

_STATES = {
    "requires_confirmation": PaymentState.OPEN,
    "requires_payment_method": PaymentState.OPEN,
    "requires_action": PaymentState.ACTION_REQUIRED,
    "processing": PaymentState.PROCESSING,
    "succeeded": PaymentState.PAID,
    "canceled": PaymentState.CANCELED,
}

_SUCCEEDED = "succeeded"
"""Stripe's status of a charge that took the money (https://docs.stripe.com/api/charges/object#charge_object-status),
and of a SetupIntent that saved a card."""

_WON = "won"
"""Stripe's status of a dispute whose whole sum is returned (https://docs.stripe.com/api/disputes/object)."""

# https://docs.stripe.com/refunds#failed-refunds; a missing status, or a status outside this list, is no result yet.
_REFUND_STATES = {
    "succeeded": GatewayRefundState.SUCCEEDED,
    "failed": GatewayRefundState.FAILED,
    "canceled": GatewayRefundState.FAILED,
}

_ASKS_FOR_THE_CUSTOMER = "authentication_required"
_BY_STRIPE_ITSELF = (None, "automatic", "expired")
"""The values of `cancellation_reason` of a payment that Stripe itself canceled, for example after too many
confirmations (https://docs.stripe.com/payments/paymentintents/lifecycle). Our own cancellation names a different
reason."""

_NOTIFIED_FOR = timedelta(hours=26)
"""How long the payment of a card issued in India stays in processing, if Stripe names no end
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
        challenge=_challenge(intent),
    )


def _challenge(intent: stripe.PaymentIntent) -> Challenge | None:
    """Return the open challenge of a payment that was confirmed with a return_url. For a payment that waits in another
    way, for example for Stripe's script in a browser, the bank's page has no address."""
    url = _text(_of(intent, "next_action", "redirect_to_url"), "url")
    if intent.status != "requires_action" or not url:
        return None
    return Challenge(url, _id(_of(intent, "payment_method")))


def page_of(session: stripe.checkout.Session) -> str | None:
    """Return the address of the page for a new card. Only an open session has an address."""
    return _text(session, "url")


def card_session(session: stripe.checkout.Session) -> CardSession:
    """Return a session, whose SetupIntent and last SetupAttempt are expanded."""
    from renewals.gateway.card_setup import CardSession, SavedCard, SessionState

    status, setup = _text(session, "status") or "", _of(session, "setup_intent")
    method, succeeded = _id(_of(setup, "payment_method")), _text(setup, "status") == _SUCCEEDED
    at = _moment(_whole(_of(setup, "latest_attempt"), "created") or _whole(setup, "created"))
    return CardSession(
        id=session.id,
        state=SessionState(status) if status in SessionState else SessionState.OPEN,
        gateway_customer=_id(_of(session, "customer")),
        metadata=metadata(session),
        saved=SavedCard(_id(setup), method, at) if succeeded and method and at else None,
    )


def refused_state(why: Failure) -> PaymentState:
    """Return the state of a refused payment. If the customer must act, Stripe answers `authentication_required`, as
    the error's code or as the decline code of an error `card_declined` (https://docs.stripe.com/declines/codes)."""
    asked = _ASKS_FOR_THE_CUSTOMER in (why.code, why.decline_code)
    return PaymentState.ACTION_REQUIRED if asked else PaymentState.DECLINED


def failure(error: object, request_id: str | None = None) -> Failure | None:
    """Return the failure in a payment's last error, or in the error of a refused confirmation: Stripe uses one form for
    the two."""
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
    """Return the metadata of an object, as written by this program or by another creator of the object."""
    written: UntypedStripeObject[str] | None = getattr(made, "metadata", None)
    return written.to_dict() if written else {}


def owner(made: stripe.PaymentMethod | stripe.PaymentIntent) -> str | None:
    """Return the customer who owns the object; None without an owner."""
    return _id(_of(made, "customer")) or None


def saved(method: stripe.PaymentMethod) -> Saved:
    return Saved(_text(method, "type") or "unknown", owner(method))


def is_deleted(customer: stripe.Customer) -> bool:
    """Whether the customer was deleted. For a deleted customer, Stripe answers with `deleted` and nothing else
    (https://docs.stripe.com/api/customers/retrieve)."""
    return bool(_of(customer, "deleted"))


def refund(made: stripe.Refund) -> GatewayRefund:
    """Return a refund. Most attributes of Stripe's refund may be absent, even the status and the payment."""
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


def dispute(made: stripe.Dispute) -> GatewayDispute:
    """Return a dispute."""
    from renewals.domain.disputes import DisputeStatus, GatewayDispute

    moved = sorted(made.balance_transactions, key=lambda each: _whole(each, "created") or 0)
    withdrawn, reinstated = _moved(made, [each.amount for each in moved])
    status, payment = _text(made, "status") or "", _of(made, "payment_intent")
    return GatewayDispute(
        id=made.id,
        payment_id=_id(payment),
        status=DisputeStatus(status) if status in DisputeStatus else DisputeStatus.UNKNOWN,
        amount=made.amount,
        currency=made.currency.upper(),
        reason=_text(made, "reason") or "not given",
        at=datetime.fromtimestamp(made.created, UTC),
        due_by=_moment(_whole(_of(made, "evidence_details"), "due_by")),
        withdrawn=withdrawn,
        reinstated=reinstated,
        withdrawn_at=next((_moment(_whole(each, "created")) for each in moved if each.amount < 0), None),
        payment_metadata=metadata(payment),
    )


def _moved(made: stripe.Dispute, movements: list[int]) -> tuple[int, int]:
    """Return all money that the bank has taken and returned, in the currency of the dispute.

    The movements stand in the currency of the account's balance, the oldest first, each converted at the rate of its
    day. Only a comparison of a movement with the contested sum is therefore safe. A movement away takes the contested
    sum, or takes the sum again after the sum was returned. A movement back returns the sum, or a part: Stripe calls a
    dispute that was won in part `lost`
    (https://support.stripe.com/questions/dispute-for-full-charge-amount-after-a-partial-refund-was-issued).
    """
    withdrawn = reinstated = taken = returned = 0
    for each in movements:
        if each < 0 and returned:
            reinstated, taken, returned = withdrawn, 0, 0
        if each < 0:
            withdrawn += 0 if taken else made.amount
            taken -= each
        elif taken:
            returned += each
    if returned and made.status == _WON:
        return withdrawn, withdrawn
    return withdrawn, reinstated + (made.amount * min(returned, taken) // taken if taken else 0)


def fraud_warning(made: stripe.radar.EarlyFraudWarning) -> GatewayDispute:
    """Return an early fraud warning. A warning names no sum: the amount is the payment's."""
    from renewals.domain.disputes import DisputeStatus, GatewayDispute

    payment = _of(made, "payment_intent")
    return GatewayDispute(
        id=made.id,
        payment_id=_id(payment),
        status=DisputeStatus.FRAUD_WARNING,
        amount=_whole(payment, "amount") or 0,
        currency=(_text(payment, "currency") or "").upper(),
        reason=_text(made, "fraud_type") or "not given",
        at=datetime.fromtimestamp(made.created, UTC),
        payment_metadata=metadata(payment),
    )


def found_events(page: stripe.ListObject[stripe.Event]) -> FoundEvents:
    last = page.data[-1] if page.data else None
    until = datetime.fromtimestamp(last.created, UTC) if last else None
    return FoundEvents([*_read(page.data)], last.id if last and page.has_more else None, until)


def _read(listed: Iterable[stripe.Event]) -> Iterator[GatewayEvent]:
    """Iterate over the events that this system can read."""
    from renewals.domain.gateway_event import GatewayEvent, NotTaken

    for each in listed:
        with suppress(NotTaken):
            yield GatewayEvent.of_gateway(each.to_dict())


def card_of(method: stripe.PaymentMethod) -> GatewayCard | None:
    """Return the card of a payment method; None if the payment method is not a card. A card without a customer was
    detached (https://docs.stripe.com/api/payment_methods/detach)."""
    found = card(method.id, _of(method, "card"))
    return replace(found, is_detached=owner(method) is None) if found else None


def card(payment_method: str, details: object) -> GatewayCard | None:
    """Return the card in the details of a payment method or of a charge: Stripe uses one form for the two. None if the
    payment was not made by card, but for example by Link."""
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
    """Return a nested field of an object; None if a field on the way is null or missing."""
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
    """Return the id of a referenced object, whether Stripe sent the whole object or only its id; empty without a
    reference."""
    return str(reference if isinstance(reference, str) else _of(reference, "id") or "")


def _moment(seconds: int | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
