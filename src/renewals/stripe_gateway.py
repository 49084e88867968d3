"""Stripe behind the gateway port, through its official SDK. Imported only by the functions that ask the gateway.

https://docs.stripe.com/payments/paymentintents/lifecycle, https://docs.stripe.com/error-handling,
https://docs.stripe.com/api/idempotent_requests
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import stripe
import urllib3

from renewals import telemetry
from renewals.gateway import (
    Card,
    Charged,
    Failure,
    GatewayRefused,
    GatewayUnauthorized,
    GatewayUnavailable,
    Payment,
    PaymentRequest,
    PaymentState,
    Refunded,
    Saved,
)

_CONNECT_SECONDS, _READ_SECONDS = 2, 4
_MOST_LISTED = 1000
_TOO_MANY_REQUESTS = 429
_LISTING_WAITS = (1, 2, 4, 8)  # seconds: a list of many pages outlasts a moment's 429 or 5xx
_STATES = {
    "requires_confirmation": PaymentState.OPEN,
    "requires_payment_method": PaymentState.OPEN,
    "requires_action": PaymentState.ACTION_REQUIRED,
    "succeeded": PaymentState.PAID,
    "canceled": PaymentState.CANCELED,
}

stripe.enable_telemetry = False  # it would write an id of its own into the home directory


class _Http(stripe.HTTPClient):
    """The SDK over the urllib3 that botocore brings, with timeouts: its own fallback client has none."""

    name = "urllib3"

    def __init__(self) -> None:
        super().__init__()
        self._pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=_CONNECT_SECONDS, read=_READ_SECONDS),
            retries=False,
            ca_certs=stripe.ca_bundle_path,
        )

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        post_data: Any = None,
        *,
        _usage: list[str] | None = None,
    ) -> tuple[str, int, Mapping[str, str]]:
        started, status = time.monotonic(), None
        try:
            response = self._pool.request(method.upper(), url, headers=dict(headers or {}), body=post_data)
            text, status = response.data.decode("utf-8"), response.status
        except (urllib3.exceptions.HTTPError, UnicodeDecodeError) as error:
            raise stripe.APIConnectionError(type(error).__name__) from error  # type: ignore[no-untyped-call]
        finally:
            telemetry.measure("GatewayLatency", 1000 * (time.monotonic() - started), "Milliseconds")
            if status is None or status >= 500 or status == _TOO_MANY_REQUESTS:
                telemetry.count("GatewayUnavailable")
        return text, status, dict(response.headers)

    def close(self) -> None:
        self._pool.clear()


class StripeGateway:
    """The gateway port on Stripe's PaymentIntents. endpoint: the base URL, https://api.stripe.com. wait: sleeps so many
    seconds before a page of a long list is asked for again."""

    def __init__(self, api_key: str, endpoint: str, wait: Callable[[float], None] = time.sleep) -> None:
        client = stripe.StripeClient(
            api_key,
            base_addresses={"api": endpoint.rstrip("/")},
            max_network_retries=0,  # the workflow retries
            http_client=_Http(),
        )
        self._intents = client.v1.payment_intents
        self._refunds = client.v1.refunds
        self._charges = client.v1.charges
        self._wait = wait
        self._methods = client.v1.payment_methods
        self._customers = client.v1.customers

    def create(self, request: PaymentRequest) -> Payment:
        with _named_errors():
            return _payment(
                self._intents.create(
                    {
                        "amount": request.amount,
                        "currency": request.currency.lower(),
                        "customer": request.gateway_customer,
                        "payment_method": request.payment_method,
                        "allowed_payment_method_types": ["card"],
                        "metadata": {
                            "subscription_id": request.subscription_id,
                            "renewal_date": request.renewal_date.isoformat(),
                            "attempt": str(request.attempt),
                        },
                        "expand": ["latest_charge"],
                    },
                    {"idempotency_key": request.idempotency_key},
                )
            )

    def confirm(self, payment_id: str, payment_method: str) -> Payment | None:
        asked: Any = {"payment_method": payment_method, "off_session": True, "expand": ["latest_charge"]}
        try:
            return _payment(self._intents.confirm(payment_id, asked))
        except stripe.CardError:
            return self.retrieve(payment_id)
        except stripe.AuthenticationError as error:
            raise GatewayUnauthorized(_code(error)) from error
        except stripe.InvalidRequestError as error:
            return self._not_confirmed(payment_id, payment_method, error)
        except stripe.StripeError:
            return None  # 429, 409, 5xx, timeout, drop

    def _not_confirmed(self, payment_id: str, payment_method: str, error: stripe.InvalidRequestError) -> Payment | None:
        """A card that is gone or not the customer's refuses the attempt; anything else is wrong with the request."""
        code = _code(error)
        if code == "payment_intent_unexpected_state":
            return None
        if error.param != "payment_method" and not code.startswith("payment_method"):
            raise GatewayRefused(code, "confirm") from error
        failure = Failure(f"{code}/{payment_method}", code, None, None)
        return replace(self.retrieve(payment_id), state=PaymentState.DECLINED, failure=failure)

    def retrieve(self, payment_id: str) -> Payment:
        with _named_errors():
            return _payment(self._intents.retrieve(payment_id, {"expand": ["latest_charge"]}))

    def cancel(self, payment_id: str) -> Payment:
        with _named_errors():
            return _payment(self._intents.cancel(payment_id, {"expand": ["latest_charge"]}))

    def refund(self, payment_id: str, amount: int, idempotency_key: str) -> Refunded:
        asked: Any = {"payment_intent": payment_id, "amount": amount, "metadata": {"request": idempotency_key}}
        with _named_errors():
            # Stripe forgets an idempotency key after a day, and then would give the money back once more.
            listed = self._refunds.list({"payment_intent": payment_id, "limit": 100}).auto_paging_iter()
            known = (r for r in listed if r.metadata and r.metadata.to_dict().get("request") == idempotency_key)
            made = next(known, None) or self._refunds.create(asked, {"idempotency_key": idempotency_key})
        # https://docs.stripe.com/refunds: pending is on its way; failed and canceled brought nothing back.
        return Refunded(made.id, done=made.status in ("succeeded", "pending", "requires_action"))

    def list(self, gateway_customer: str, since: datetime) -> Iterator[tuple[dict[str, str], Payment]]:
        with _named_errors():
            page = self._intents.list(
                {
                    "customer": gateway_customer,
                    "created": {"gte": int(since.timestamp())},
                    "limit": 100,
                    "expand": ["data.latest_charge"],
                }
            )
            for count, intent in enumerate(page.auto_paging_iter()):
                if count == _MOST_LISTED:
                    raise GatewayUnavailable(f"more than {_MOST_LISTED} payments of one customer since {since:%F}")
                yield intent.metadata.to_dict() if intent.metadata else {}, _payment(intent)

    def charged_between(self, since: datetime, until: datetime) -> Iterator[Charged]:
        """Stripe's charges, which carry a copy of their payment's metadata (docs.stripe.com/metadata)."""
        asked: Any = {"created": {"gte": int(since.timestamp()), "lt": int(until.timestamp())}, "limit": 100}
        while True:
            page = self._page_of_charges(asked)
            yield from (_charged(charge) for charge in page.data)
            if not page.has_more:
                return
            asked["starting_after"] = page.data[-1].id

    def _page_of_charges(self, asked: Any) -> stripe.ListObject[stripe.Charge]:
        """By hand, since the SDK's own paging gives up a whole list for one 429."""
        for seconds in _LISTING_WAITS:
            try:
                with _named_errors():
                    return self._charges.list(asked)
            except GatewayUnavailable:
                self._wait(seconds)
        with _named_errors():
            return self._charges.list(asked)

    def card(self, payment_method: str) -> Card | None:
        found = self._found(lambda: self._methods.retrieve(payment_method))
        return _card(payment_method, getattr(found, "card", None))

    def has_customer(self, gateway_customer: str) -> bool:
        """Stripe answers for a deleted customer as well, with `deleted` and nothing else
        (docs.stripe.com/api/customers/retrieve)."""
        found = self._found(lambda: self._customers.retrieve(gateway_customer))
        return found is not None and not getattr(found, "deleted", False)

    def saved(self, payment_method: str) -> Saved | None:
        found = self._found(lambda: self._methods.retrieve(payment_method))
        if found is None:
            return None
        owner = getattr(found, "customer", None)
        return Saved(getattr(found, "type", "card"), getattr(owner, "id", owner))

    @staticmethod
    def _found[T](retrieve: Callable[[], T]) -> T | None:
        """What the gateway has under the id that was asked for; None where it has nothing."""
        try:
            with _named_errors():
                return retrieve()
        except GatewayRefused as refused:
            if refused.code != "resource_missing":
                raise
            return None


@contextmanager
def _named_errors() -> Iterator[None]:
    try:
        yield
    except stripe.AuthenticationError as error:
        raise GatewayUnauthorized(_code(error)) from error
    except (stripe.InvalidRequestError, stripe.IdempotencyError, stripe.PermissionError) as error:
        raise GatewayRefused(_code(error), type(error).__name__) from error
    except stripe.StripeError as error:
        raise GatewayUnavailable(_code(error), answered=(error.http_status or 0) >= 500) from error


def _code(error: stripe.StripeError) -> str:
    """The error's name. Never its message, which may quote what we sent."""
    details = error.error
    return error.code or (details.code or details.type if details else None) or type(error).__name__


def _payment(intent: stripe.PaymentIntent) -> Payment:
    charge = intent.latest_charge if isinstance(intent.latest_charge, stripe.Charge) else None
    state = _STATES.get(intent.status, PaymentState.UNKNOWN)
    failure = _failure(intent)
    if state is PaymentState.OPEN and failure is not None:
        asked = failure.code == "authentication_required"
        state = PaymentState.ACTION_REQUIRED if asked else PaymentState.DECLINED
    return Payment(
        id=intent.id,
        state=state,
        amount=intent.amount_received if state is PaymentState.PAID else intent.amount,
        currency=intent.currency.upper(),
        failure=failure,
        card=_charged_card(charge),
        paid_at=datetime.fromtimestamp(charge.created, UTC) if charge and state is PaymentState.PAID else None,
    )


def _charged(charge: stripe.Charge) -> Charged:
    return Charged(
        payment_id=str(charge.payment_intent or charge.id),
        succeeded=charge.status == "succeeded",
        amount=charge.amount,
        currency=charge.currency.upper(),
        at=datetime.fromtimestamp(charge.created, UTC),
        metadata=charge.metadata.to_dict() if charge.metadata else {},
    )


def _failure(intent: stripe.PaymentIntent) -> Failure | None:
    error = intent.last_payment_error
    if error is None:
        return None
    method = getattr(error, "payment_method", None)
    return Failure(
        id=getattr(error, "charge", None) or f"{error.code}/{method.id if method else None}",
        code=error.code or "card_declined",
        decline_code=getattr(error, "decline_code", None),
        advice_code=getattr(error, "advice_code", None),
    )


def _charged_card(charge: stripe.Charge | None) -> Card | None:
    details = charge.payment_method_details if charge else None
    return _card(charge.payment_method or "", details.card) if charge and details else None


def _card(payment_method: str, card: Any) -> Card | None:
    """Of a payment method or of a charge: both have these."""
    if card is None or not card.brand or not card.last4:
        return None
    name = f"{card.brand.replace('_', ' ').title()} ending in {card.last4}"
    return Card(payment_method, name, f"{card.exp_year}-{card.exp_month:02}")
