"""A request that the customer's page makes for a customer. Only ProcessPayment holds the gateway's key: the page calls
ProcessPayment directly and waits for the reply, without the workflow and without the queue.

ProcessPayment's event is {"customer_request": {...}} with these fields, all strings:

    subscription_id, customer_id    the subscription and its customer
    event_type                      OPEN_CARD_PAGE, TAKE_CARD or CONFIRM_ON_SESSION of renewals.domain.request.Asks
    return_url                      for OPEN_CARD_PAGE and CONFIRM_ON_SESSION: the address of the customer's page to
                                    which the gateway's page sends the customer back
    session                         for TAKE_CARD: the id of the gateway's session (cs_...)

After the card page, the gateway adds the parameter `session` with the session's id to the return_url. A customer who
leaves the card page without a card comes back to the return_url as it stands. After the bank's page, the gateway adds
payment_intent, payment_intent_client_secret and redirect_status. The page believes none of the parameters: the session
is compared by TAKE_CARD, and the payment is looked up by the workflow.

The reply of ProcessPayment holds "outcome" (a CustomerOutcome), "reason" (a Refusal, or empty), "subscription_id" and
"customer_id"; and "url", the address of the gateway's or the bank's page, if the outcome is OPENED.

After CARD_TAKEN, and after each refusal in RENEWS, the page puts a RenewalRequest for the subscription on the queue of
renewals: a past due payment is then tried with the new card, unless the period has had many attempts, or a payment that
has succeeded is recorded and receipted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from renewals.domain.request import Asks, NoRequest
from renewals.domain.worded import Worded

EVENT = "customer_request"
"""The only field of ProcessPayment's event. The workflow never sends the field, so that a message in the queue of
renewals can never be taken for a request of the customer's page."""

SESSION = "session"
"""The parameter of the return_url with the id of the gateway's session."""

_LONGEST_URL = 2000
_URL = re.compile(r"https?://[!-~]+", re.ASCII)
_SESSION_ID = re.compile(r"cs_[A-Za-z0-9_]{1,250}", re.ASCII)


class CustomerOutcome(StrEnum):
    """The result of a customer's request."""

    OPENED = "opened"
    """The customer goes on at the address in the reply: the gateway's page for a card, or the bank's page."""
    CARD_TAKEN = "card_taken"
    """The card of the session is the subscription's payment method from now on."""
    NOTHING_TO_DO = "nothing_to_do"
    """Nothing was changed; the reason says why."""


class Refusal(Worded):
    """The reason why a customer's request changed nothing. The words are a clause for people who look after a
    subscription; the customer's page has its own words."""

    NO_SUBSCRIPTION = "no_subscription", "the customer has no such subscription"
    ENDED = "ended", "the subscription has ended"
    NOT_READABLE = "not_readable", "the subscription's row has a fault"
    TRY_AGAIN = "try_again", "the gateway gave no clear answer, or the subscription was being changed"
    GATEWAY_REFUSED = "gateway_refused", "the gateway refused the request, for example because its customer is gone"
    GATEWAY_ACCOUNT = "gateway_account", "the gateway rejects our account or key"

    # A session for a new card is not taken.
    SESSION_UNKNOWN = "session_unknown", "the gateway does not know the session"
    SESSION_FOREIGN = "session_foreign", "the session belongs to a different subscription, customer or deployment"
    SESSION_OPEN = "session_open", "the customer has not finished the session"
    SESSION_EXPIRED = "session_expired", "the session expired before the customer finished the session"
    SESSION_USED = "session_used", "the card of the session was taken before"
    SESSION_OLDER = "session_older", "the payment method was updated after the customer finished the session"
    CARD_UNUSABLE = "card_unusable", "the card cannot be charged: the card is detached, or the gateway refuses the card"

    # A payment is not confirmed on session.
    NOTHING_TO_CONFIRM = "nothing_to_confirm", "no payment waits for a confirmation by the customer"
    CARD_UPDATED = "card_updated", "the payment method was updated, and the payment waits for the new card"
    CARD_DECLINED = "card_declined", "the bank declined the payment"
    CHARGING_IS_OFF = "charging_is_off", "charging is turned off"
    BEING_SETTLED = "being_settled", "the period is being charged or settled at this moment"
    PROCESSING = "processing", "the bank has not decided about the payment yet"
    PAID_ALREADY = "paid_already", "the payment has succeeded"


RENEWS = frozenset({Refusal.CARD_UPDATED, Refusal.PAID_ALREADY})
"""The refusals after which the workflow has work for the subscription."""


@dataclass(frozen=True, slots=True)
class CustomerRequest:
    """A request of the customer's page; the module describes the fields. `asks` is the field `event_type`."""

    subscription_id: str
    customer_id: str
    asks: Asks
    return_url: str = ""
    session: str = ""

    def event(self) -> dict[str, dict[str, str]]:
        """Return the request as the event of ProcessPayment."""
        told = {"subscription_id": self.subscription_id, "customer_id": self.customer_id, "event_type": self.asks}
        more = {"return_url": self.return_url, "session": self.session}
        return {EVENT: told | {name: value for name, value in more.items() if value}}

    @classmethod
    def from_fields(cls, fields: Mapping[str, object]) -> CustomerRequest:
        """Read the request from the fields of the event. Raises NoRequest, which names the field at fault."""
        asks = _asks(fields)
        takes_card = asks is Asks.TAKE_CARD
        return cls(
            subscription_id=_text(fields, "subscription_id"),
            customer_id=_text(fields, "customer_id"),
            asks=asks,
            return_url="" if takes_card else _url(fields),
            session=_session(fields) if takes_card else "",
        )


def _asks(fields: Mapping[str, object]) -> Asks:
    asked = _text(fields, "event_type")
    if asked not in Asks or not Asks(asked).is_of_customer:
        raise NoRequest("event_type", "is no request of a customer")
    return Asks(asked)


def _url(fields: Mapping[str, object]) -> str:
    url = _text(fields, "return_url")
    if len(url) > _LONGEST_URL or not _URL.fullmatch(url):
        raise NoRequest("return_url", "is not the address of a page")
    return url


def is_session(given: str) -> bool:
    """Whether a text has the form of the id of a session."""
    return _SESSION_ID.fullmatch(given) is not None


def _session(fields: Mapping[str, object]) -> str:
    session = _text(fields, "session")
    if not is_session(session):
        raise NoRequest("session", "is not the id of a session")
    return session


def _text(fields: Mapping[str, object], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value:
        raise NoRequest(name, "is missing, empty or not a string")
    return value
