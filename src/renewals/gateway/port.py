"""The port to the payment gateway: the methods for the charge, without any of Stripe's types.

One PaymentIntent carries one billing period. A created payment is unconfirmed, and has moved no money; a confirmation
can succeed only once; and a retrieval tells the result, always as a `PaymentState`. A call that fails raises one of the
three errors below.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Protocol

from renewals.domain.errors import RenewalError
from renewals.domain.payment import GatewayCard, GatewayRefund, Payment

if TYPE_CHECKING:
    # No import at run time: few functions need disputes, events and sessions for a new card.
    from renewals.domain.disputes import GatewayDispute
    from renewals.domain.gateway_event import GatewayEvent, GatewayEventType
    from renewals.gateway.card_setup import CardPageRequest, CardSession

CARD = "card"
"""The gateway's name for a card, among payment methods."""


MOST_EVENT_TYPES = 20
"""The most types that one search may name: https://docs.stripe.com/api/events/list"""


@dataclass(frozen=True, slots=True)
class Saved:
    """A payment method as saved at the gateway.

    Attributes:
        kind: the gateway's name for the kind of payment method, such as CARD.
        gateway_customer: the owner; None if the payment method was detached or never attached.
    """

    kind: str
    gateway_customer: str | None


@dataclass(frozen=True, slots=True)
class PaymentRequest:
    """The request for the payment of one billing period.

    The request holds no card, because the gateway would refuse to create a payment with a card that no longer exists.
    The later confirmation names the card, and a refused confirmation counts as a declined attempt.

    Attributes:
        amount: in minor units.
        deployment: the deployment that makes the request; see is_of_deployment.
    """

    subscription_id: str
    renewal_date: date
    attempt: int
    amount: int
    currency: str
    gateway_customer: str
    idempotency_key: str
    deployment: str


@dataclass(frozen=True, slots=True)
class Charged:
    """One attempt to charge a payment.

    Attributes:
        at: the moment of the attempt, on the gateway's clock, in whole seconds.
        amount: in minor units; later refunds do not reduce the amount.
        metadata: the payment's metadata at the moment of the attempt.
    """

    payment_id: str
    succeeded: bool
    amount: int
    currency: str
    at: datetime
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class EventSearch:
    """A search for events at the gateway.

    Attributes:
        types: at most MOST_EVENT_TYPES.
        since: finds events created at this moment or later.
        until: finds events created at this moment or earlier; None: up to the newest event.
        undelivered: whether to find only events that at least one endpoint of the account has not taken yet.
        after: continues after the event with this id. An empty page follows if the search no longer finds the event,
            because an endpoint has taken the event meanwhile.
    """

    types: Sequence[GatewayEventType]
    since: datetime
    until: datetime | None
    undelivered: bool
    after: str | None


@dataclass(frozen=True, slots=True)
class FoundEvents:
    """A page of found events.

    Attributes:
        events: newest first; events that this system cannot read are left out.
        after: the id of the page's last event, for the search for the next page; None if no page follows.
        until: the creation of the page's last event; None for an empty page.
    """

    events: Sequence[GatewayEvent]
    after: str | None
    until: datetime | None


def is_of_deployment(metadata: Mapping[str, str], deployment: str) -> bool:
    """Whether a payment with this metadata may belong to the deployment.

    Several deployments can share one account of the gateway, and each payment names its deployment. Payments of earlier
    versions name no deployment, and may belong to any deployment of the account.
    """
    return metadata.get("deployment", deployment) == deployment


class GatewayError(RenewalError):
    """The gateway did not do as asked.

    Attributes:
        request_id: the gateway's own id of the call, if the gateway answered.
    """

    def __init__(self, message: str, request_id: str | None = None) -> None:
        super().__init__(message)
        self.request_id = request_id


class GatewayUnavailable(GatewayError):  # noqa: N818
    """The gateway gave no clear answer (429, 5xx, timeout, dropped connection).

    Attributes:
        answered: whether the gateway answered with an error. A new try then needs a new idempotency key, because the
            gateway repeats the error as long as the gateway remembers the key.
    """

    def __init__(self, message: str, request_id: str | None = None, *, answered: bool = False) -> None:
        super().__init__(message, request_id)
        self.answered = answered


class GatewayRefused(GatewayError):  # noqa: N818
    """The request itself is wrong and stays wrong: an unknown customer, or an amount that is too small.

    Attributes:
        code: the gateway's name of the fault.
        param: the part of the request at fault, in the gateway's words; empty if the gateway names no part.
    """

    def __init__(self, code: str, message: str, request_id: str | None = None, *, param: str = "") -> None:
        super().__init__(f"{code}: {message}", request_id)
        self.code = code
        self.param = param


class GatewayUnauthorized(GatewayError):  # noqa: N818
    """The gateway turns our account away, whatever the request: the gateway does not accept our key, or the key may not
    charge or belongs to the other mode (test, live). No subscription is at fault."""


class GatewayForbidden(GatewayUnauthorized):
    """Our key lacks a permission for a call that charges nobody, such as the permission to read disputes. Other calls
    go on. permission: the gateway's name of the permission, or the name of the call if the gateway names none."""

    def __init__(self, permission: str, request_id: str | None = None) -> None:
        super().__init__(f"the key lacks the permission {permission}", request_id)
        self.permission = permission


class Gateway(Protocol):
    """A payment gateway. Every call answers within six seconds or raises GatewayUnavailable, and may raise
    GatewayRefused or GatewayUnauthorized."""

    def create(self, request: PaymentRequest) -> Payment:
        """Create an unconfirmed payment. An idempotency key that was used before returns the earlier payment."""
        ...

    def confirm(self, payment_id: str, payment_method: str) -> Payment | None:
        """Charge the card, off session, and return the payment afterwards.

        A card that is gone or belongs to a different customer gives DECLINED. None means that the gateway gave no clear
        answer: the caller retrieves the payment to learn the result.
        """
        ...

    def confirm_on_session(self, payment_id: str, payment_method: str, return_url: str) -> Payment | None:
        """Charge the card with the customer present, and return the payment afterwards.

        If the bank asks the customer to confirm, the payment has an open challenge, and the bank's page sends the
        customer back to `return_url`. Every confirmation of a payment ends the payment's earlier challenge. The result
        is otherwise as for `confirm`.
        """
        ...

    def open_card_page(self, request: CardPageRequest) -> str:
        """Open a session for a new card, and return the address of the gateway's page."""
        ...

    def card_session(self, session_id: str) -> CardSession | None:
        """Return the session in its current state; None if the gateway does not know the id."""
        ...

    def retrieve(self, payment_id: str) -> Payment:
        """Return the payment in its current state."""
        ...

    def cancel(self, payment_id: str) -> Payment:
        """Cancel the payment, so that it can never be paid."""
        ...

    def list(self, gateway_customer: str, since: datetime) -> Iterator[tuple[dict[str, str], Payment]]:
        """Iterate over the customer's payments of billing periods created since `since`, newest first, with their
        metadata.

        Payments of other systems are left out.
        """
        ...

    def charged_between(self, since: datetime, until: datetime) -> Iterator[Charged]:
        """Iterate over the whole account's attempts to charge at `since` or later, and before `until`, newest first."""
        ...

    def refunds_of(self, payment_id: str) -> Sequence[GatewayRefund]:
        """Return all refunds of a payment, whoever made them."""
        ...

    def retrieve_refund(self, refund_id: str) -> GatewayRefund | None:
        """Return the refund in its current state, with the metadata of the refunded payment; None if the gateway does
        not know the id."""
        ...

    def refund(self, payment_id: str, amount: int, *, request: str, idempotency_key: str) -> GatewayRefund:
        """Refund a part or all of a payment.

        The gateway remembers the idempotency key for a day only, so the caller first looks for the refund with
        `refunds_of`.

        Args:
            amount: in minor units.
            request: a mark that stays on the refund at the gateway, and by which the caller recognizes the refund
                later.
        """
        ...

    def refunded_between(self, since: datetime, until: datetime) -> Iterator[GatewayRefund]:
        """Iterate over the whole account's refunds made at `since` or later, and before `until`, newest first."""
        ...

    def dispute(self, dispute_id: str) -> GatewayDispute | None:
        """Return the dispute, or the early fraud warning, in its current state, with the metadata of its payment; None
        if the gateway does not know the id."""
        ...

    def find_events(self, search: EventSearch) -> FoundEvents:
        """Return a page of the account's events, at most a hundred. The gateway lists an event for thirty days."""
        ...

    def disputed_between(self, since: datetime, until: datetime) -> Iterator[GatewayDispute]:
        """Iterate over the whole account's disputes opened at `since` or later, and before `until`, newest first.
        Early fraud warnings are left out."""
        ...

    def card(self, payment_method: str) -> GatewayCard | None:
        """Return the card in its current state, because banks replace expiring cards without notice. None if the
        payment method is gone, or is not a card."""
        ...

    def has_customer(self, gateway_customer: str) -> bool:
        """Whether the gateway knows this customer, and has not deleted the customer."""
        ...

    def saved(self, payment_method: str) -> Saved | None:
        """Return the payment method, even of a different customer; None if the gateway does not know the id."""
        ...
