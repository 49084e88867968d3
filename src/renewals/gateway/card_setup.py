"""A customer's session at the gateway's own page for a new card, in terms that fit every payment gateway. Pure.

The customer types the card at the gateway's page: this system never sees the number. The gateway saves the card for the
gateway's customer, and the session leads to the saved card.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class SessionState(StrEnum):
    """The gateway's state of a session."""

    OPEN = "open"
    COMPLETE = "complete"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class CardPageRequest:
    """The request for a session.

    Attributes:
        customer_id: the customer of the subscription, in this system.
        deployment: the deployment that makes the request.
        success_url: the address to which the customer comes back with a new card. SESSION_ID in the address is replaced
            by the session's id.
        cancel_url: the address to which the customer comes back without a new card.
        locale: the customer's language, a tag of BCP 47. For a language that the gateway does not speak, the page has
            the language of the browser.
        expires_at: the end of the session.
        payment_method: the subscription's card when the session is opened; empty without a card.
    """

    subscription_id: str
    customer_id: str
    gateway_customer: str
    deployment: str
    success_url: str
    cancel_url: str
    locale: str
    expires_at: datetime
    payment_method: str

    @property
    def metadata(self) -> dict[str, str]:
        """The mark on the session by which the session is recognized later, and the card that the session replaces."""
        ours = marks(self.subscription_id, self.customer_id, self.deployment)
        return ours | {_CARD_BEFORE: _marked(self.payment_method)}


_CARD_BEFORE = "card_before"


def _marked(payment_method: str) -> str:
    """Return the card as the metadata name the card. The gateway keeps no empty value and at most 500 characters; a
    person may have written anything into the row."""
    return payment_method[:500] or "none"


SESSION_ID = "{CHECKOUT_SESSION_ID}"
"""The text that the gateway replaces by the session's id."""


def marks(subscription_id: str, customer_id: str, deployment: str) -> dict[str, str]:
    """Return the metadata of the sessions of a subscription."""
    return {"subscription_id": subscription_id, "customer_id": customer_id, "deployment": deployment}


@dataclass(frozen=True, slots=True)
class SavedCard:
    """The card that the customer has saved in a session.

    Attributes:
        setup: the gateway's id of the saving (seti_...). A session saves at most one card.
        payment_method: the gateway's id of the card.
        at: when the customer has sent the card, on the gateway's clock, in whole seconds.
    """

    setup: str
    payment_method: str
    at: datetime


@dataclass(frozen=True, slots=True)
class CardSession:
    """A session as the gateway reports the session.

    Attributes:
        gateway_customer: the gateway's customer of the session; empty without a customer.
        saved: the saved card; None if the customer has saved no card.
    """

    id: str
    state: SessionState
    gateway_customer: str
    metadata: Mapping[str, str]
    saved: SavedCard | None

    def was_opened_with(self, payment_method: str) -> bool:
        """Whether the subscription had this card when the session was opened. True too if the session does not say so,
        because a version before 2026-11-29 opened the session."""
        return self.metadata.get(_CARD_BEFORE) in (None, _marked(payment_method))
