"""The payment gateway's port in memory, no kinder than the gateway."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from renewals.domain.disputes import DisputeStatus, GatewayDispute
from renewals.domain.gateway_event import GatewayEvent
from renewals.domain.payment import (
    Challenge,
    Failure,
    GatewayCard,
    GatewayRefund,
    GatewayRefundState,
    Payment,
    PaymentState,
)
from renewals.gateway.card_setup import SESSION_ID, CardPageRequest, CardSession, SavedCard, SessionState
from renewals.gateway.port import (
    MOST_EVENT_TYPES,
    Charged,
    EventSearch,
    FoundEvents,
    GatewayForbidden,
    GatewayRefused,
    GatewayUnauthorized,
    GatewayUnavailable,
    PaymentRequest,
    Saved,
)
from tests.cuts import Cuts

type Event = dict[str, Any]
"""An event in the gateway's own form: https://docs.stripe.com/api/events/object"""

_NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
MOST_ATTEMPTS = 10
"""The number of confirmations after which the gateway cancels a payment that fails (Stripe's own number varies)."""

_WITH_THE_BANK = (PaymentState.PROCESSING, PaymentState.UNKNOWN)
_NO_FUNDS = Failure("", "card_declined", "insufficient_funds", "try_again_later")


def _lapsed(payment: Payment) -> Payment:
    return replace(payment, state=PaymentState.CANCELED, lapsed=True, challenge=None)


@dataclass
class FakeGateway:
    """The gateway port in memory. A card's id tells its behaviour: pm_declined..., pm_3ds..., pm_gone, pm_detached.
    With the customer present, the bank asks for pm_3ds..., but pm_3ds_asks_nobody pays at once. All other cards pay,
    unless `owners` gives them to a different customer or somebody has detached them.

    now: the gateway's clock. charged: every attempt to charge. by_key: the payment made under every idempotency key, as
    long as the gateway remembers.
    """

    cuts: Cuts = field(default_factory=Cuts)
    now: datetime = _NOON
    payments: dict[str, Payment] = field(default_factory=dict)
    requests: dict[str, PaymentRequest] = field(default_factory=dict)
    created: dict[str, datetime] = field(default_factory=dict)
    by_key: dict[str, str] = field(default_factory=dict)
    charges: list[tuple[str, int, str]] = field(default_factory=list)
    attempts: list[tuple[str, str]] = field(default_factory=list)
    declines: dict[str, Failure] = field(default_factory=dict)  # card to its failure, where not insufficient funds
    charged: list[Charged] = field(default_factory=list)
    expires: dict[str, str] = field(default_factory=dict)  # payment method to its last month
    trouble: list[tuple[str, str]] = field(default_factory=list)  # (operation, the fate of its next call)
    refunds: dict[str, GatewayRefund] = field(default_factory=dict)  # by id, refunds made in the dashboard included
    refund_keys: dict[str, str] = field(default_factory=dict)  # remembered idempotency keys to their refunds
    errors_by_key: set[str] = field(default_factory=set)  # keys whose stored 500 is repeated
    refunds_begin: GatewayRefundState = GatewayRefundState.SUCCEEDED  # the state of a new refund
    turned_away: set[str] = field(default_factory=set)  # operations refused to our account
    refused: set[str] = field(default_factory=set)  # operations that get 400
    unknown_types: set[str] = field(default_factory=set)  # types of events whose search gets 400
    unanswered_types: set[str] = field(default_factory=set)  # types of events whose search gets 500
    forbidden: set[str] = field(
        default_factory=set
    )  # operations, or kinds of events, that the key has no permission for
    settles_at: datetime | None = None  # the gateway's settling moment of a payment in processing
    owners: dict[str, str] = field(default_factory=dict)  # payment method to its customer
    detached: set[str] = field(default_factory=lambda: {"pm_detached"})
    disputes: dict[str, GatewayDispute] = field(default_factory=dict)  # by id, early fraud warnings included
    made: int = 0  # the number of payments and charges
    sessions: dict[str, CardSession] = field(default_factory=dict)  # by id
    pages: dict[str, CardPageRequest] = field(default_factory=dict)  # the request of each session
    events: list[Event] = field(default_factory=list)  # the events so far, oldest first
    events_on_a_page: int = 100
    bank: str = "https://bank.example"  # the origin of the bank's pages
    ways_back: dict[str, str] = field(default_factory=dict)  # the bank's page to the address for the way back
    _begun: dict[str, GatewayRefundState] = field(default_factory=dict)  # refund to the state first answered

    def _next_number(self) -> int:
        self.made += 1
        return self.made

    def create(self, request: PaymentRequest) -> Payment:
        with self._call("create"):
            if request.gateway_customer in ("cus_gone", "cus_deleted"):
                raise GatewayRefused("resource_missing", "customer", self._request_id(), param="customer")
            known = self.by_key.get(request.idempotency_key)
            if known is None:
                known = f"pi_{self._next_number()}"
                self.payments[known] = Payment(known, PaymentState.OPEN, request.amount, request.currency)
                self.requests[known] = request
                self.created[known] = self.now
                self.by_key[request.idempotency_key] = known
            if self.requests[known] != request:
                raise GatewayUnavailable("idempotency_error", self._request_id(), answered=True)
            return Payment(known, PaymentState.OPEN, request.amount, request.currency)  # the first answer, repeated

    def confirm(self, payment_id: str, payment_method: str) -> Payment | None:
        return self._confirmed("confirm", payment_id, payment_method)

    def confirm_on_session(self, payment_id: str, payment_method: str, return_url: str) -> Payment | None:
        assert return_url, "the bank's page must send the customer back"
        confirmed = self._confirmed("confirm_on_session", payment_id, payment_method)
        challenge = self.payments[payment_id].challenge
        if challenge is not None:
            self.ways_back.setdefault(challenge.url, return_url)
        return confirmed

    def _confirmed(self, operation: str, payment_id: str, payment_method: str) -> Payment | None:
        try:
            with self._call(operation):
                payment = self.payments[payment_id]
                if payment.state in (PaymentState.PAID, PaymentState.CANCELED, *_WITH_THE_BANK):
                    return None
                unusable = self._unusable(payment_id, payment_method)
                if unusable is not None:
                    failure = Failure(f"{unusable}/{payment_method}", unusable, None, None, self._request_id())
                    return replace(payment, state=PaymentState.DECLINED, failure=failure)
                if self._is_tried_too_often(payment_id):  # the last confirmation still waits for an answer
                    self.payments[payment_id] = _lapsed(payment)
                    self._tell("payment_intent.canceled", payment_id)
                    return self.payments[payment_id]
                self.attempts.append((payment_id, payment_method))
                payment = replace(payment, challenge=None)
                if operation == "confirm_on_session" and payment_method == "pm_3ds_asks_nobody":
                    self.succeed(payment_id)
                    return self.payments[payment_id]
                if operation == "confirm_on_session" and payment_method.startswith("pm_3ds"):
                    self.payments[payment_id] = self._challenged(payment, payment_method)
                    return self.payments[payment_id]
                self.payments[payment_id] = self._attempt(payment, payment_method)
                self._tell_of_attempt(payment_id)
                return self.payments[payment_id]
        except GatewayUnavailable:
            return None

    def retrieve(self, payment_id: str) -> Payment:
        with self._call("retrieve"):
            if payment_id not in self.payments:
                raise GatewayRefused("resource_missing", "intent")
            return self.payments[payment_id]

    def cancel(self, payment_id: str) -> Payment:
        with self._call("cancel"):
            if self.payments[payment_id].state in (PaymentState.PAID, PaymentState.CANCELED, *_WITH_THE_BANK):
                raise GatewayRefused("payment_intent_unexpected_state", "cancel")
            canceled = replace(self.payments[payment_id], state=PaymentState.CANCELED, challenge=None)
            self.payments[payment_id] = canceled
            self._tell("payment_intent.canceled", payment_id)
            return self.payments[payment_id]

    def list(self, gateway_customer: str, since: datetime) -> Iterator[tuple[dict[str, str], Payment]]:
        with self._call("list"):
            for known, request in reversed(self.requests.items()):
                if request.gateway_customer == gateway_customer and self.created[known] >= since:
                    yield self._metadata(known), self.payments[known]

    def charged_between(self, since: datetime, until: datetime) -> Iterator[Charged]:
        with self._call("charged_between"):
            yield from sorted((c for c in self.charged if since <= c.at < until), key=lambda c: c.at, reverse=True)

    def refunds_of(self, payment_id: str) -> Sequence[GatewayRefund]:
        with self._call("refunds_of"):
            if payment_id not in self.payments:
                raise GatewayRefused("resource_missing", "refunds")
            ours = [replace(each, payment_metadata={}) for each in self.refunds.values()]
            return [each for each in reversed(ours) if each.payment_id == payment_id]

    def refund(self, payment_id: str, amount: int, *, request: str, idempotency_key: str) -> GatewayRefund:
        try:
            if idempotency_key in self.errors_by_key:
                raise GatewayUnavailable("the stored answer, again", answered=True)
            with self._call("refund"):
                known = self.refund_keys.get(idempotency_key)
                if known is None:
                    known = self.refund_keys[idempotency_key] = self.refund_elsewhere(payment_id, amount, request)
                return replace(self.refunds[known], state=self._begun[known])  # the first answer, repeated
        except GatewayUnavailable as error:
            if error.answered:
                self.errors_by_key.add(idempotency_key)
            raise

    def retrieve_refund(self, refund_id: str) -> GatewayRefund | None:
        with self._call("retrieve_refund"):
            return self.refunds.get(refund_id)

    def refund_elsewhere(self, payment_id: str, amount: int, request: str | None = None) -> str:
        """Make a refund in the gateway's dashboard; return its id. request: set for a call of ours."""
        if self._is_charged_back(payment_id):
            raise GatewayRefused("charge_disputed", "refund")
        if amount > self.payments[payment_id].amount - self.refunded(payment_id):
            raise GatewayRefused("charge_already_refunded", "refund")
        known, state, currency = f"re_{len(self.refunds) + 1}", self.refunds_begin, self.payments[payment_id].currency
        metadata = self._metadata(payment_id) if payment_id in self.requests else {}
        self.refunds[known] = GatewayRefund(
            known, payment_id, state, amount, currency, self.now, request, payment_metadata=metadata
        )
        self._begun[known] = state
        self._enter(known, state)
        self._tell_of_refund("refund.created", known)
        return known

    def refund_becomes(self, refund_id: str, state: GatewayRefundState) -> None:
        """Change a refund's state, as happens even weeks later."""
        self._enter(refund_id, state)
        self._tell_of_refund("refund.updated", refund_id)

    def _enter(self, refund_id: str, state: GatewayRefundState) -> None:
        reason = "expired_or_canceled_card" if state is GatewayRefundState.FAILED else None
        self.refunds[refund_id] = replace(self.refunds[refund_id], state=state, reason=reason)

    def _tell_of_refund(self, kind: str, refund_id: str) -> None:
        """Emit the event of a refund, and the further event of a failure. The metadata are the refund's own, not the
        payment's."""
        made = self.refunds[refund_id]
        about = {
            "id": refund_id,
            "object": "refund",
            "payment_intent": made.payment_id,
            "metadata": {"request": made.request} if made.request else {},
            "instructions_email": "ann@private.example",
        }
        self._emit(kind, about)
        if made.state is GatewayRefundState.FAILED:
            self._emit("refund.failed", about)

    def dispute(self, dispute_id: str) -> GatewayDispute | None:
        with self._call("dispute"):
            return self.disputes.get(dispute_id)

    def disputed_between(self, since: datetime, until: datetime) -> Iterator[GatewayDispute]:
        with self._call("disputed_between"):
            made = [each for each in self.disputes.values() if each.id.startswith("dp_") and since <= each.at < until]
            yield from sorted(made, key=lambda each: each.at, reverse=True)

    def contest(
        self, payment_id: str, status: DisputeStatus = DisputeStatus.NEEDS_RESPONSE, amount: int | None = None
    ) -> str:
        """Open a dispute, whose money the bank has not taken yet; return its id."""
        known, payment = f"dp_{len(self.disputes) + 1}", self.payments[payment_id]
        self.disputes[known] = GatewayDispute(
            known,
            payment_id,
            status,
            payment.amount if amount is None else amount,
            payment.currency,
            "subscription_canceled",
            self.now,
            due_by=self.now + timedelta(days=9),
            payment_metadata=self._metadata(payment_id),
        )
        self._tell_of_dispute("charge.dispute.created", known)
        return known

    def warn_of_fraud(self, payment_id: str) -> str:
        """Add an early fraud warning; return its id."""
        known, payment = f"issfr_{len(self.disputes) + 1}", self.payments[payment_id]
        warned = DisputeStatus.FRAUD_WARNING
        self.disputes[known] = GatewayDispute(
            known,
            payment_id,
            warned,
            payment.amount,
            payment.currency,
            "made_with_stolen_card",
            self.now,
            payment_metadata=self._metadata(payment_id),
        )
        self._tell_of_dispute("radar.early_fraud_warning.created", known)
        return known

    def dispute_becomes(self, dispute_id: str, status: DisputeStatus) -> None:
        self.disputes[dispute_id] = replace(self.disputes[dispute_id], status=status)
        closed = status in (DisputeStatus.WON, DisputeStatus.LOST, DisputeStatus.WARNING_CLOSED)
        self._tell_of_dispute(f"charge.dispute.{'closed' if closed else 'updated'}", dispute_id)

    def withdraw(self, dispute_id: str) -> None:
        """Let the bank take the disputed money."""
        self.disputes[dispute_id] = replace(
            self.disputes[dispute_id], withdrawn=self.disputes[dispute_id].amount, withdrawn_at=self.now
        )
        self._tell_of_dispute("charge.dispute.funds_withdrawn", dispute_id)

    def reinstate(self, dispute_id: str, amount: int | None = None) -> None:
        """Let the bank return the disputed money, or a part."""
        back = self.disputes[dispute_id].amount if amount is None else amount
        self.disputes[dispute_id] = replace(self.disputes[dispute_id], reinstated=back)
        self._tell_of_dispute("charge.dispute.funds_reinstated", dispute_id)

    def _tell_of_dispute(self, kind: str, dispute_id: str) -> None:
        """Emit the event of a dispute. The metadata are the dispute's own, and not the payment's."""
        payment = self.disputes[dispute_id].payment_id
        about = {"id": dispute_id, "object": "dispute", "payment_intent": payment, "metadata": {}}
        self._emit(kind, about | {"evidence": {"customer_email_address": "ann@private.example"}})

    def _is_charged_back(self, payment_id: str) -> bool:
        made = (each for each in self.disputes.values() if each.payment_id == payment_id)
        return any(not each.status.startswith(("warning_", "fraud_")) for each in made)

    def refunded(self, payment_id: str) -> int:
        """Return the part of a payment that has left the seller's balance, in minor units."""
        made = [each for each in self.refunds.values() if each.payment_id == payment_id]
        return sum(each.amount for each in made if each.state is not GatewayRefundState.FAILED)

    def refunded_between(self, since: datetime, until: datetime) -> Iterator[GatewayRefund]:
        with self._call("refunded_between"):
            made = [each for each in self.refunds.values() if since <= each.at < until]
            yield from sorted(made, key=lambda each: each.at, reverse=True)

    def find_events(self, search: EventSearch) -> FoundEvents:
        """Find events. An event that no endpoint has taken has pending webhooks, unless the emitter says otherwise."""
        with self._call("find_events"):
            if len(search.types) > MOST_EVENT_TYPES:
                raise GatewayRefused("parameter_invalid", "find_events", self._request_id(), param="types")
            if self.forbidden & {each.rpartition(".")[0] for each in search.types}:
                raise GatewayForbidden("rak_event_read", self._request_id())
            if self.unknown_types & set(search.types):
                raise GatewayRefused("parameter_invalid", "find_events", self._request_id(), param="types[0]")
            if self.unanswered_types & set(search.types):
                raise GatewayUnavailable("api_error", self._request_id(), answered=True)
            first = max(int(search.since.timestamp()), int((self.now - timedelta(days=30)).timestamp()))
            found = [
                each
                for each in reversed(self.events)
                if each["type"] in search.types and each["created"] >= first
                if search.until is None or each["created"] <= int(search.until.timestamp())
                if not search.undelivered or each.get("pending_webhooks", 1)
            ]
            if search.after is not None:
                # A cursor that the filters have removed meanwhile ends the list.
                ids = [each["id"] for each in found]
                found = found[ids.index(search.after) + 1 :] if search.after in ids else []
            page, more = found[: self.events_on_a_page], len(found) > self.events_on_a_page
            until = datetime.fromtimestamp(page[-1]["created"], UTC) if page else None
            events = [GatewayEvent.of_gateway(each) for each in page]
            return FoundEvents(events, page[-1]["id"] if more else None, until)

    def card(self, payment_method: str) -> GatewayCard | None:
        with self._call("card"):
            is_detached = payment_method in self.detached
            return None if payment_method == "pm_gone" else replace(self._card(payment_method), is_detached=is_detached)

    def detach(self, payment_method: str) -> None:
        """Detach a card from its customer, as a person does in the dashboard. The event does not name the customer."""
        self.detached.add(payment_method)
        about: dict[str, Any] = {"id": payment_method, "object": "payment_method", "customer": None, "metadata": {}}
        self._emit("payment_method.detached", about | {"billing_details": {"email": "ann@private.example"}})

    def has_customer(self, gateway_customer: str) -> bool:
        with self._call("has_customer"):
            return gateway_customer not in ("cus_gone", "cus_deleted")

    def saved(self, payment_method: str) -> Saved | None:
        """Return a saved card: pm_gone is unknown, pm_detached is nobody's, pm_sepa is no card; all others belong to
        `owners`, or to cus_gw."""
        with self._call("saved"):
            if payment_method == "pm_gone":
                return None
            owner = None if payment_method in self.detached else self.owners.get(payment_method, "cus_gw")
            return Saved("sepa_debit" if payment_method == "pm_sepa" else "card", owner)

    def _card(self, payment_method: str) -> GatewayCard:
        return GatewayCard(payment_method, "Visa ending in 4242", self.expires.get(payment_method, "2030-12"))

    def succeed(self, payment_id: str) -> None:
        """Move the money of a payment."""
        payment = self.payments[payment_id]
        self.charges.append((payment_id, payment.amount, payment.currency))
        self._charged(payment, succeeded=True)
        card = self._card(next((card for tried, card in reversed(self.attempts) if tried == payment_id), "pm_ok"))
        paid = replace(payment, state=PaymentState.PAID, card=card, paid_at=self.now, failure=None, settles_at=None)
        self.payments[payment_id] = replace(paid, challenge=None)
        self._tell("payment_intent.succeeded", payment_id)

    def _charged(self, payment: Payment, *, succeeded: bool) -> None:
        metadata = self._metadata(payment.id)
        self.charged.append(Charged(payment.id, succeeded, payment.amount, payment.currency, self.now, metadata))

    def _metadata(self, payment_id: str) -> dict[str, str]:
        request = self.requests[payment_id]
        period = {"renewal_date": request.renewal_date.isoformat(), "attempt": str(request.attempt)}
        named = {"deployment": request.deployment} if request.deployment else {}  # earlier versions named none
        return {"subscription_id": request.subscription_id} | period | named

    def fail_authentication(self, payment_id: str) -> None:
        """Let the customer fail at 3-D Secure."""
        failure = Failure(
            "payment_intent_authentication_failure/pm_3ds", "payment_intent_authentication_failure", None, None
        )
        failed = replace(self.payments[payment_id], challenge=None)
        self.payments[payment_id] = self._failed(failed, failure)
        self._tell_of_attempt(payment_id)

    def _challenged(self, payment: Payment, card: str) -> Payment:
        """Open a challenge at a new address. The error of the earlier attempt is cleared."""
        challenge = Challenge(f"{self.bank}/{payment.id}/{self._next_number()}", card)
        return replace(payment, state=PaymentState.ACTION_REQUIRED, failure=None, challenge=challenge)

    def at_the_bank(self, url: str, *, accepts: bool = True) -> bool:
        """Let the customer answer at the bank's page, and return whether the page still asked: a challenge is over once
        the payment is paid, canceled or confirmed anew."""
        asked = [each for each in self.payments.values() if each.challenge is not None and each.challenge.url == url]
        for payment in asked:
            if accepts:
                self.succeed(payment.id)
            else:
                self.fail_authentication(payment.id)
        return bool(asked)

    def open_card_page(self, request: CardPageRequest) -> str:
        with self._call("open_card_page"):
            if request.gateway_customer in ("cus_gone", "cus_deleted"):
                raise GatewayRefused("resource_missing", "open_card_page", self._request_id(), param="customer")
            if not timedelta(minutes=30) <= request.expires_at - self.now <= timedelta(days=1):
                raise GatewayRefused("parameter_invalid", "open_card_page", self._request_id(), param="expires_at")
            known = f"cs_{len(self.sessions) + 1}"
            self.sessions[known] = CardSession(
                known, SessionState.OPEN, request.gateway_customer, request.metadata, None
            )
            self.pages[known] = request
            return f"https://gateway.example/pay/{known}"

    def card_session(self, session_id: str) -> CardSession | None:
        with self._call("card_session"):
            return self.sessions.get(session_id)

    def give_card(self, session_id: str, card: str = "pm_new", at: datetime | None = None) -> str:
        """Let the customer save a card at the gateway's page; return the address to which the customer comes back."""
        session = self.sessions[session_id]
        assert session.state is SessionState.OPEN
        self.owners[card] = session.gateway_customer
        moment = (at or self.now).replace(microsecond=0)
        saved = SavedCard(f"seti_{session_id.removeprefix('cs_')}", card, moment)
        self.sessions[session_id] = replace(session, state=SessionState.COMPLETE, saved=saved)
        about = {"id": session_id, "object": "checkout.session", "metadata": dict(session.metadata)}
        more = {"payment_intent": None, "customer_details": {"email": "ann@private.example"}}
        self._emit("checkout.session.completed", about | more)
        return self.pages[session_id].success_url.replace(SESSION_ID, session_id)

    def expire_session(self, session_id: str) -> None:
        self.sessions[session_id] = replace(self.sessions[session_id], state=SessionState.EXPIRED)

    def _tell_of_attempt(self, payment_id: str) -> None:
        """Emit the event of an attempt; `succeed` emits the event of a success."""
        state, lapsed = self.payments[payment_id].state, self.payments[payment_id].lapsed
        if state in (PaymentState.DECLINED, PaymentState.ACTION_REQUIRED) or lapsed:
            self._tell("payment_intent.payment_failed", payment_id)
        if state is PaymentState.PROCESSING:
            self._tell("payment_intent.processing", payment_id)
        if state is PaymentState.CANCELED:
            self._tell("payment_intent.canceled", payment_id)

    def _tell(self, kind: str, payment_id: str) -> None:
        metadata = self._metadata(payment_id) if payment_id in self.requests else {}
        about = {
            "id": payment_id,
            "object": "payment_intent",
            "metadata": metadata,
            "receipt_email": "ann@private.example",
        }
        self._emit(kind, about)

    def _emit(self, kind: str, about: dict[str, Any]) -> None:
        event = {"id": f"evt_{len(self.events) + 1}", "object": "event", "type": kind, "livemode": False}
        created = int(self.now.timestamp())
        self.events.append(event | {"created": created, "data": {"object": about}, "api_version": "2026-10-28.endive"})

    def _attempt(self, payment: Payment, card: str) -> Payment:
        if ("confirm", "unknown") in self.trouble:
            self.trouble.remove(("confirm", "unknown"))
            return replace(payment, state=PaymentState.UNKNOWN)
        if ("confirm", "processing") in self.trouble:
            self.trouble.remove(("confirm", "processing"))
            return replace(payment, state=PaymentState.PROCESSING, settles_at=self.settles_at)
        if card.startswith("pm_declined"):
            self._charged(payment, succeeded=False)
            failure = replace(
                self.declines.get(card, _NO_FUNDS), id=f"ch_{self._next_number()}", request_id=self._request_id()
            )
            return self._failed(payment, failure)
        if card.startswith("pm_3ds"):
            failure = Failure(
                f"authentication_required/{card}", "authentication_required", "authentication_required", None
            )
            return self._failed(payment, failure)
        self.succeed(payment.id)
        return self.payments[payment.id]

    def _failed(self, payment: Payment, failure: Failure) -> Payment:
        """Return the payment after a failed confirmation. After too many confirmations, the gateway cancels the
        payment by itself."""
        payment = replace(payment, failure=failure)
        if self._is_tried_too_often(payment.id):
            return _lapsed(payment)
        asks = "authentication_required" in (failure.code, failure.decline_code)
        return replace(payment, state=PaymentState.ACTION_REQUIRED if asks else PaymentState.DECLINED)

    def _is_tried_too_often(self, payment_id: str) -> bool:
        return [tried for tried, _ in self.attempts].count(payment_id) >= MOST_ATTEMPTS

    def _unusable(self, payment_id: str, card: str) -> str | None:
        """Return the reason why the gateway does not even try this card for the payment's customer, or None."""
        if card == "pm_gone":
            return "resource_missing"
        customer = self.requests[payment_id].gateway_customer
        theirs = card not in self.detached and self.owners.get(card, customer) == customer
        return None if theirs else "payment_method_unusable"

    def _request_id(self) -> str:
        return f"req_{len(self.cuts.calls)}"

    @contextmanager
    def _call(self, operation: str) -> Iterator[None]:
        with self.cuts.around(f"gateway.{operation}"):
            if operation in self.turned_away:
                raise GatewayUnauthorized("invalid_api_key", self._request_id())
            if operation in self.forbidden:
                raise GatewayForbidden(f"rak_{operation}", self._request_id())
            if operation in self.refused:
                raise GatewayRefused("parameter_invalid", operation, self._request_id())
            for kind in ("before", "answered"):
                if (operation, kind) in self.trouble:
                    self.trouble.remove((operation, kind))
                    raise GatewayUnavailable(kind, answered=kind == "answered")
            yield
            if (operation, "after") in self.trouble:
                self.trouble.remove((operation, "after"))
                raise GatewayUnavailable("after")
