"""Implement the gateway port with Stripe's official SDK. Only functions that use the gateway import this module.

https://docs.stripe.com/payments/paymentintents/lifecycle, https://docs.stripe.com/api/idempotent_requests
stripe_answers translates Stripe's answers, and stripe_errors translates Stripe's errors.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import stripe
import urllib3

from renewals.domain.payment import Failure, GatewayCard, PaymentState
from renewals.gateway import stripe_answers as answers
from renewals.gateway import stripe_errors as errors
from renewals.gateway.port import GatewayRefused, GatewayUnauthorized, GatewayUnavailable
from renewals.runtime import telemetry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime

    from stripe.params import (
        DisputeRetrieveParams,
        EventListParams,
        PaymentIntentCancelParams,
        PaymentIntentConfirmParams,
        PaymentIntentConfirmParamsPaymentMethodOptions,
        PaymentIntentCreateParams,
        RefundCreateParams,
        RefundRetrieveParams,
    )
    from stripe.params.checkout import SessionCreateParams, SessionRetrieveParams
    from stripe.params.radar import EarlyFraudWarningRetrieveParams

    from renewals.domain.disputes import GatewayDispute
    from renewals.domain.payment import GatewayRefund, Payment
    from renewals.gateway.card_setup import CardPageRequest, CardSession
    from renewals.gateway.port import Charged, EventSearch, FoundEvents, PaymentRequest, Saved

_CONNECT_SECONDS = 2
READ_SECONDS = 4
_TOO_MANY_REQUESTS = 429
_LISTING_WAITS = (1, 2, 4, 8)  # seconds: a list of many pages survives a short period of 429 or 5xx
_OURS = {"subscription_id", "renewal_date"}
_FRAUD_WARNING = "issfr_"
"""The beginning of the id of an early fraud warning."""
_RECURRING: PaymentIntentConfirmParamsPaymentMethodOptions = {"card": {"stored_credential_usage": "recurring"}}
"""The card networks require that a charge of a saved card names the kind of the charge
(https://docs.stripe.com/payments/cards/charging-saved-cards)."""
_SPOKEN = frozenset(
    "bg cs da de el en en-GB es es-419 et fi fil fr fr-CA hi-IN hr hu id it ja ko lt lv ms mt nb nl pl pt pt-BR ro ru "
    "sk sl sv th tr vi zh zh-HK zh-TW".split()
)
"""The languages of Stripe's page for a new card
(https://docs.stripe.com/api/checkout/sessions/create#create_checkout_session-locale)."""
CARD_UNUSABLE = "payment_method_unusable"
"""The failure's code if Stripe refuses a card without a code: the card was detached, or belongs to a different
customer."""

stripe.enable_telemetry = False  # the SDK's telemetry would write an id into the home directory


class _Http(stripe.HTTPClient):
    """Run the SDK on the urllib3 that botocore brings, with timeouts, because the SDK's fallback client has no
    timeouts."""

    name = "urllib3"

    def __init__(self) -> None:
        super().__init__()
        self._pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=_CONNECT_SECONDS, read=READ_SECONDS),
            retries=False,
            ca_certs=stripe.ca_bundle_path,
        )

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        post_data: bytes | str | None = None,
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
        # The SDK looks up Request-Id and other headers in lower case.
        return text, status, {name.lower(): value for name, value in response.headers.items()}

    def close(self) -> None:
        self._pool.clear()


class StripeGateway:
    """The gateway port on Stripe's PaymentIntents.

    Attributes:
        endpoint: the base URL, https://api.stripe.com.
        wait: sleeps for a number of seconds before a page of a long list is requested again.
    """

    def __init__(self, api_key: str, endpoint: str, wait: Callable[[float], None] = time.sleep) -> None:
        client = stripe.StripeClient(
            api_key,
            base_addresses={"api": endpoint.rstrip("/")},
            max_network_retries=0,  # the workflow retries
            http_client=_Http(),
        )
        self._client = client
        self._intents = client.v1.payment_intents
        self._refunds = client.v1.refunds
        self._charges = client.v1.charges
        self._v1 = client.v1
        self._wait = wait
        self._methods = client.v1.payment_methods
        self._customers = client.v1.customers

    def create(self, request: PaymentRequest) -> Payment:
        asked: PaymentIntentCreateParams = {
            "amount": request.amount,
            "currency": request.currency.lower(),
            "customer": request.gateway_customer,
            "allowed_payment_method_types": ["card"],
            "metadata": {
                "subscription_id": request.subscription_id,
                "renewal_date": request.renewal_date.isoformat(),
                "attempt": str(request.attempt),
                "deployment": request.deployment,
            },
            "expand": ["latest_charge"],
        }
        try:
            return answers.payment(self._intents.create(asked, {"idempotency_key": request.idempotency_key}))
        except stripe.IdempotencyError as error:  # the key belongs to a different request: only a new key helps
            errors.noted(error, "create")
            raise GatewayUnavailable(errors.code(error), error.request_id, answered=True) from error
        except stripe.StripeError as error:
            raise errors.port_error(error, "create") from error

    def confirm(self, payment_id: str, payment_method: str) -> Payment | None:
        asked: PaymentIntentConfirmParams = {
            "payment_method": payment_method,
            "off_session": True,
            "payment_method_options": _RECURRING,
            "expand": ["latest_charge"],
        }
        return self._confirmed(payment_id, payment_method, asked)

    def confirm_on_session(self, payment_id: str, payment_method: str, return_url: str) -> Payment | None:
        asked: PaymentIntentConfirmParams = {
            "payment_method": payment_method,
            "off_session": False,
            "return_url": return_url,
            "expand": ["latest_charge"],
        }
        return self._confirmed(payment_id, payment_method, asked)

    def _confirmed(self, payment_id: str, payment_method: str, asked: PaymentIntentConfirmParams) -> Payment | None:
        try:
            return answers.payment(self._intents.confirm(payment_id, asked))
        except stripe.StripeError as error:
            fault = errors.port_error(error, "confirm")
            if isinstance(fault, GatewayUnauthorized):
                raise fault from error
            if isinstance(error, stripe.CardError):
                return self._declined(payment_id, error)
            if isinstance(error, stripe.InvalidRequestError):
                return self._not_confirmed(payment_id, payment_method, error)
            return None  # 429, 409, 5xx, timeout, drop

    def _declined(self, payment_id: str, error: stripe.CardError) -> Payment:
        """Return the declined payment. The failure is the failure that the payment shows, or else the failure in the
        error."""
        payment, why = self.retrieve(payment_id), answers.failure(error.error, error.request_id)
        why = why or Failure(errors.code(error), errors.code(error), None, None, error.request_id)
        if payment.state is PaymentState.OPEN:
            return replace(payment, state=answers.refused_state(why), failure=why)
        shown = payment.failure and replace(payment.failure, request_id=error.request_id)
        return replace(payment, failure=shown)

    def _not_confirmed(self, payment_id: str, payment_method: str, error: stripe.InvalidRequestError) -> Payment | None:
        """Return the payment as DECLINED if the card is gone or belongs to a different customer. Every other error is a
        fault of the request."""
        code = errors.code(error)
        if code == "payment_intent_unexpected_state":
            return None
        of_the_card = error.param == "payment_method" or code.startswith("payment_method")
        if not of_the_card and (error.code or error.param or self._is_usable(payment_id, payment_method)):
            raise GatewayRefused(code, "confirm", error.request_id, param=error.param or "") from error
        told = code == "resource_missing" or code.startswith("payment_method")
        why = code if told else CARD_UNUSABLE
        failure = Failure(f"{why}/{payment_method}", why, None, None, error.request_id)
        return replace(self.retrieve(payment_id), state=PaymentState.DECLINED, failure=failure)

    def _is_usable(self, payment_id: str, payment_method: str) -> bool:
        """Whether the card belongs to the paying customer.

        Stripe's refusal of a detached card has no code and no parameter, and looks like the refusal of other faults.
        Only a look at the card tells.
        """
        saved = self.saved(payment_method)
        if saved is None or saved.gateway_customer is None:
            return False
        with errors.named("confirm"):
            return saved.gateway_customer == answers.owner(self._intents.retrieve(payment_id))

    def open_card_page(self, request: CardPageRequest) -> str:
        language, _, region = request.locale.partition("-")
        spoken = (request.locale, f"{language}-{region.upper()}", language)
        asked: SessionCreateParams = {
            "mode": "setup",
            "customer": request.gateway_customer,
            "allowed_payment_method_types": ["card"],
            "metadata": request.metadata,
            "setup_intent_data": {"metadata": request.metadata},
            "success_url": request.success_url,
            "cancel_url": request.cancel_url,
            "locale": next((each for each in spoken if each in _SPOKEN), "auto"),
            "expires_at": int(request.expires_at.timestamp()),
        }
        with errors.named("open_card_page"):
            # The SDK imports its part for sessions here, and a charge never does.
            url = answers.page_of(self._v1.checkout.sessions.create(asked))
        if url is None:
            raise GatewayUnavailable("the session has no address")
        return url

    def card_session(self, session_id: str) -> CardSession | None:
        asked: SessionRetrieveParams = {"expand": ["setup_intent.latest_attempt"]}
        found = self._found("card_session", lambda: self._v1.checkout.sessions.retrieve(session_id, asked))
        return answers.card_session(found) if found else None

    def retrieve(self, payment_id: str) -> Payment:
        with errors.named("retrieve"):
            return answers.payment(self._intents.retrieve(payment_id, {"expand": ["latest_charge"]}))

    def cancel(self, payment_id: str) -> Payment:
        # The reason marks our own cancellation. After a cancellation by the gateway itself, a new payment is made.
        asked: PaymentIntentCancelParams = {"cancellation_reason": "abandoned", "expand": ["latest_charge"]}
        with errors.named("cancel"):
            return answers.payment(self._intents.cancel(payment_id, asked))

    def refunds_of(self, payment_id: str) -> Sequence[GatewayRefund]:
        with errors.named("refunds_of"):
            listed = self._refunds.list({"payment_intent": payment_id, "limit": 100})
            return [answers.refund(each) for each in listed.auto_paging_iter()]

    def retrieve_refund(self, refund_id: str) -> GatewayRefund | None:
        asked: RefundRetrieveParams = {"expand": ["payment_intent"]}
        found = self._found("retrieve_refund", lambda: self._refunds.retrieve(refund_id, asked))
        return answers.refund(found) if found else None

    def refund(self, payment_id: str, amount: int, *, request: str, idempotency_key: str) -> GatewayRefund:
        asked: RefundCreateParams = {"payment_intent": payment_id, "amount": amount, "metadata": {"request": request}}
        with errors.named("refund"):
            return answers.refund(self._refunds.create(asked, {"idempotency_key": idempotency_key}))

    def list(self, gateway_customer: str, since: datetime) -> Iterator[tuple[dict[str, str], Payment]]:
        with errors.named("list"):
            page = self._intents.list(
                {
                    "customer": gateway_customer,
                    "created": {"gte": int(since.timestamp())},
                    "limit": 100,
                    "expand": ["data.latest_charge"],
                }
            )
            for intent in page.auto_paging_iter():
                metadata = answers.metadata(intent)
                if metadata.keys() >= _OURS:
                    yield metadata, answers.payment(intent)

    def charged_between(self, since: datetime, until: datetime) -> Iterator[Charged]:
        """Iterate over Stripe's charges. A charge carries a copy of its payment's metadata
        (docs.stripe.com/metadata)."""
        yield from map(answers.charged, self._between("charges", self._charges.list, since, until))

    def refunded_between(self, since: datetime, until: datetime) -> Iterator[GatewayRefund]:
        listed = self._between("refunds", self._refunds.list, since, until, expand=["data.payment_intent"])
        yield from map(answers.refund, listed)

    def find_events(self, search: EventSearch) -> FoundEvents:
        asked: EventListParams = {
            "types": [*search.types],
            "created": {"gte": int(search.since.timestamp())},
            "limit": 100,
        }
        if search.until is not None:
            asked["created"] = {"gte": int(search.since.timestamp()), "lte": int(search.until.timestamp())}
        if search.undelivered:
            asked["delivery_success"] = False
        if search.after is not None:
            asked["starting_after"] = search.after
        # The SDK imports its part for events here, and the functions that charge never do.
        page = self._page("find_events", self._client.v1.events.list, asked)
        return answers.found_events(page)

    def disputed_between(self, since: datetime, until: datetime) -> Iterator[GatewayDispute]:
        listed = self._between("disputes", self._v1.disputes.list, since, until, expand=["data.payment_intent"])
        yield from map(answers.dispute, listed)

    def _between[T: (stripe.Charge, stripe.Refund, stripe.Dispute)](
        self,
        operation: str,
        listed: Callable[[Any], stripe.ListObject[T]],
        since: datetime,
        until: datetime,
        **more: object,
    ) -> Iterator[T]:
        """Iterate over a list page by page, newest first."""
        asked: dict[str, object] = {
            "created": {"gte": int(since.timestamp()), "lt": int(until.timestamp())},
            "limit": 100,
            **more,
        }
        while True:
            page = self._page(operation, listed, asked)
            yield from page.data
            if not page.has_more:
                return
            asked["starting_after"] = page.data[-1].id

    def _page[T: (stripe.Charge, stripe.Refund, stripe.Event, stripe.Dispute)](
        self, operation: str, listed: Callable[[Any], stripe.ListObject[T]], asked: Mapping[str, object]
    ) -> stripe.ListObject[T]:
        """Return one page. The SDK's own paging would give up a whole list for a single 429."""
        for seconds in _LISTING_WAITS:
            try:
                with errors.named(operation):
                    return listed(asked)
            except GatewayUnavailable:
                self._wait(seconds)
        with errors.named(operation):
            return listed(asked)

    def dispute(self, dispute_id: str) -> GatewayDispute | None:
        warning = dispute_id.startswith(_FRAUD_WARNING)
        return self._fraud_warning(dispute_id) if warning else self._dispute(dispute_id)

    def _dispute(self, dispute_id: str) -> GatewayDispute | None:
        asked: DisputeRetrieveParams = {"expand": ["payment_intent"]}
        found = self._found("dispute", lambda: self._v1.disputes.retrieve(dispute_id, asked))
        return answers.dispute(found) if found else None

    def _fraud_warning(self, warning_id: str) -> GatewayDispute | None:
        asked: EarlyFraudWarningRetrieveParams = {"expand": ["payment_intent"]}
        found = self._found("fraud_warning", lambda: self._v1.radar.early_fraud_warnings.retrieve(warning_id, asked))
        return answers.fraud_warning(found) if found else None

    def card(self, payment_method: str) -> GatewayCard | None:
        found = self._found("card", lambda: self._methods.retrieve(payment_method))
        return answers.card_of(found) if found else None

    def has_customer(self, gateway_customer: str) -> bool:
        found = self._found("has_customer", lambda: self._customers.retrieve(gateway_customer))
        return found is not None and not answers.is_deleted(found)

    def saved(self, payment_method: str) -> Saved | None:
        found = self._found("saved", lambda: self._methods.retrieve(payment_method))
        return answers.saved(found) if found else None

    @staticmethod
    def _found[T](operation: str, retrieve: Callable[[], T]) -> T | None:
        """Return the gateway's object of the requested id; None if the gateway does not know the id."""
        try:
            with errors.named(operation):
                return retrieve()
        except GatewayRefused as refused:
            if refused.code != "resource_missing":
                raise
            return None
