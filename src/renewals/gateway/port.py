"""The port to the payment gateway: what the charge needs of it, and nothing of Stripe.

One PaymentIntent carries one billing period. It is created unconfirmed, which moves no money; it is confirmed, which
can succeed only once; and it is retrieved, which tells what became of it. Whatever a gateway answers is one of the
`PaymentState`s or one of the three errors below.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol

from renewals.domain.errors import RenewalError
from renewals.domain.payment import GatewayCard, GatewayRefund, Payment

CARD = "card"
"""What the gateway calls a card, among payment methods."""


@dataclass(frozen=True, slots=True)
class Saved:
    """A payment method as the gateway has it.

    kind: what the gateway calls it, as CARD. gateway_customer: whose it is; None: nobody's, since it was detached or
    never attached.
    """

    kind: str
    gateway_customer: str | None


@dataclass(frozen=True, slots=True)
class PaymentRequest:
    """Everything the gateway is asked for one billing period. amount: minor units.

    The card is not in it: a gateway that is given a card here refuses the whole payment where the card is gone. The
    confirmation names the card, and its refusal is a declined attempt.
    """

    subscription_id: str
    renewal_date: date
    attempt: int
    amount: int
    currency: str
    gateway_customer: str
    idempotency_key: str


@dataclass(frozen=True, slots=True)
class Charged:
    """One attempt to charge a payment. at: when it was made, on the gateway's clock, in whole seconds. amount: minor
    units, whatever was refunded since. metadata: the payment's, as it was then."""

    payment_id: str
    succeeded: bool
    amount: int
    currency: str
    at: datetime
    metadata: Mapping[str, str]


class GatewayError(RenewalError):
    """The gateway did not do what it was asked. request_id: the gateway's own name of the call, where it answered."""

    def __init__(self, message: str, request_id: str | None = None) -> None:
        super().__init__(message)
        self.request_id = request_id


class GatewayUnavailable(GatewayError):  # noqa: N818
    """No clear answer (429, 5xx, timeout, dropped connection). answered: the gateway answered with an error that it
    repeats for as long as it remembers the idempotency key."""

    def __init__(self, message: str, request_id: str | None = None, *, answered: bool = False) -> None:
        super().__init__(message, request_id)
        self.answered = answered


class GatewayRefused(GatewayError):  # noqa: N818
    """The request itself is wrong and stays wrong: no such customer, amount too small. code: the gateway's name of the
    fault. param: the part of the request that is at fault, in the gateway's words; empty where it names none."""

    def __init__(self, code: str, message: str, request_id: str | None = None, *, param: str = "") -> None:
        super().__init__(f"{code}: {message}", request_id)
        self.code = code
        self.param = param


class GatewayUnauthorized(GatewayError):  # noqa: N818
    """The gateway turns our account away, whatever is asked: it does not accept our key, or the key lacks a permission
    or belongs to the other mode (test, live). No subscription is at fault."""


class Gateway(Protocol):
    """A payment gateway. Every call answers within six seconds or raises GatewayUnavailable, and may raise
    GatewayRefused or GatewayUnauthorized."""

    def create(self, request: PaymentRequest) -> Payment:
        """An unconfirmed payment. The same idempotency key gives the same payment."""
        ...

    def confirm(self, payment_id: str, payment_method: str) -> Payment | None:
        """Charge this card, off session. A card that is gone or another customer's is DECLINED. None where there is no
        clear answer: retrieving the payment tells what came of it."""
        ...

    def retrieve(self, payment_id: str) -> Payment:
        """What became of the payment."""
        ...

    def cancel(self, payment_id: str) -> Payment:
        """Give the payment up, so that it can never be paid."""
        ...

    def list(self, gateway_customer: str, since: datetime) -> Iterator[tuple[dict[str, str], Payment]]:
        """The customer's payments of billing periods created since then, newest first, each with its metadata. Those
        of other systems are left out."""
        ...

    def charged_between(self, since: datetime, until: datetime) -> Iterator[Charged]:
        """Every attempt of the whole account to charge from `since` until before `until`, newest first."""
        ...

    def refunds_of(self, payment_id: str) -> Sequence[GatewayRefund]:
        """All refunds of a payment, whoever made them."""
        ...

    def refund(self, payment_id: str, amount: int, *, request: str, idempotency_key: str) -> GatewayRefund:
        """Refund `amount`, in minor units, of a payment. request: what the refund carries, to be known by for ever.
        The gateway remembers the idempotency key for a day only: ask `refunds_of` first."""
        ...

    def refunded_between(self, since: datetime, until: datetime) -> Iterator[GatewayRefund]:
        """Every refund of the whole account made from `since` until before `until`, newest first."""
        ...

    def card(self, payment_method: str) -> GatewayCard | None:
        """The card as it is now: banks replace expiring cards by themselves. None where it is gone, or no card."""
        ...

    def has_customer(self, gateway_customer: str) -> bool:
        """Whether the gateway has this customer, and has not deleted it."""
        ...

    def saved(self, payment_method: str) -> Saved | None:
        """The payment method, whoever's it is. None where the gateway has none of this id."""
        ...
