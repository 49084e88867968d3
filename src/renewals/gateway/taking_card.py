"""Open the gateway's page for a new card, and take the card that the customer has saved there.

The customer comes back from the page with the id of the session, and the gateway sends an event about the session. Both
are hints: the gateway is asked about the session, and the card is taken once, whatever comes first or twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from renewals.domain import transitions
from renewals.domain.changes import CUSTOMER
from renewals.domain.customer_request import SESSION, Refusal
from renewals.domain.errors import BadRow, Collision, Overtaken, repeat_while_outdated
from renewals.domain.item_values import moment, text_or
from renewals.domain.subscription import CARD_CHANGED_AT
from renewals.domain.transitions import Action, NotAllowed
from renewals.gateway import verifying
from renewals.gateway.card_setup import SESSION_ID, CardPageRequest, CardSession, SavedCard, SessionState, marks
from renewals.gateway.port import GatewayRefused
from renewals.ledger.asked_by import AskedBy

if TYPE_CHECKING:
    from renewals.gateway.port import Gateway
    from renewals.ledger.register import Register
    from renewals.ledger.steps import Row
    from renewals.runtime.clock import Moment

_OPEN_FOR = timedelta(hours=1)
"""How long a customer may use the gateway's page. The gateway takes half an hour to a day."""

_RECORD = 1
"""The position of the change's record in the transaction of a change (renewals.ledger.register)."""

_RACES = 4


@dataclass(frozen=True, slots=True)
class CustomersCard:
    """The page for a new card, and the new card, of one customer's subscription.

    Each method raises the gateway's errors (GatewayUnavailable, GatewayUnauthorized; `take` also GatewayRefused),
    Collision if other writers keep changing the subscription, and botocore's errors.

    Attributes:
        deployment: the name of the deployment, by which the sessions of this deployment are recognized.
        moment: the moment that counts as now for the subscription.
    """

    register: Register
    gateway: Gateway
    deployment: str
    subscription_id: str
    customer_id: str
    moment: Moment

    def open_page(self, return_url: str) -> str | Refusal:
        """Open a session for a new card, and return the address of the gateway's page. The session changes nothing
        until the card is taken. Charging may be off: nothing is charged."""
        row = self._row()
        if isinstance(row, Refusal):
            return row
        try:
            transitions.changes(row, Action.GIVE_CARD, self.moment.today)
        except NotAllowed:
            return Refusal.ENDED
        request = CardPageRequest(
            subscription_id=self.subscription_id,
            customer_id=self.customer_id,
            gateway_customer=text_or(row, "gateway_customer", ""),
            deployment=self.deployment,
            success_url=f"{return_url}{'&' if '?' in return_url else '?'}{SESSION}={SESSION_ID}",
            cancel_url=return_url,
            locale=text_or(row, "locale", "en"),
            expires_at=self.moment.wall + _OPEN_FOR,
            payment_method=str(row.get("payment_method", "")),
        )
        try:
            return self.gateway.open_card_page(request)
        except GatewayRefused:
            return Refusal.GATEWAY_REFUSED

    def take(self, session_id: str) -> Row | Refusal:
        """Make the session's card the payment method of the subscription, and return the changed row.

        The session must be complete, and must belong to the deployment, the subscription and the gateway's customer. A
        card is taken once. A card that the customer saved before the last change of the payment method is not taken:
        an old session, or a late event, undoes no newer decision. Nobody knows when a card was written into the row by
        hand: if the row has such a card, and had a different card when the session was opened, the row's card stays.
        """
        session = self.gateway.card_session(session_id)
        if session is None:
            return Refusal.SESSION_UNKNOWN
        busy = Collision("other writers keep changing the subscription")
        return repeat_while_outdated(lambda: self._taken(session), tries=_RACES, otherwise=busy)

    def _taken(self, session: CardSession) -> Row | Refusal:
        row = self._row()
        if isinstance(row, Refusal):
            return row
        saved = self._saved(session, row)
        if isinstance(saved, Refusal):
            return saved
        if row.get("payment_method") == saved.payment_method:
            return Refusal.SESSION_USED
        if _is_older(saved, row) or self._was_changed_by_hand(session, row):
            return Refusal.SESSION_OLDER
        if [*verifying.of_card(self.gateway, session.gateway_customer, saved.payment_method)]:
            return Refusal.CARD_UNUSABLE
        asked = AskedBy(CUSTOMER, self.moment.now, at=saved.at, cause=saved.setup)
        given = {"payment_method": saved.payment_method}
        try:
            return self.register.act(row, Action.GIVE_CARD, self.moment.today, asked, given)
        except NotAllowed:
            return Refusal.ENDED
        except Overtaken as overtaken:
            if overtaken.failed.keys() == {_RECORD}:  # the card was taken, and the payment method was updated since
                return Refusal.SESSION_OLDER
            raise

    def _was_changed_by_hand(self, session: CardSession, row: Row) -> bool:
        """Whether the row's card was changed since the session was opened, and the latest record of a changed card
        names a different card than the row. The records are read only for a card that was changed meanwhile."""
        card = str(row.get("payment_method", ""))
        if session.was_opened_with(card):
            return False
        changes, _, _ = self.register.changes.readable(self.subscription_id)
        recorded = [
            (each.at, each.details["payment_method"][1]) for each in changes if "payment_method" in each.details
        ]
        latest = max((at for at, _ in recorded), default=None)
        return CARD_CHANGED_AT not in row or (latest, card) not in recorded

    def _saved(self, session: CardSession, row: Row) -> SavedCard | Refusal:
        """Return the card of a complete session of this subscription."""
        ours = marks(self.subscription_id, self.customer_id, self.deployment)
        owner = row.get("gateway_customer")
        if not ours.items() <= session.metadata.items() or not owner or session.gateway_customer != owner:
            return Refusal.SESSION_FOREIGN
        if session.state is SessionState.EXPIRED:
            return Refusal.SESSION_EXPIRED
        if session.state is SessionState.OPEN or session.saved is None:
            return Refusal.SESSION_OPEN
        return session.saved

    def _row(self) -> Row | Refusal:
        try:
            row = self.register.row(self.subscription_id)
        except BadRow:
            return Refusal.NOT_READABLE
        if row is None or row.get("customer_id") != self.customer_id:
            return Refusal.NO_SUBSCRIPTION
        return row


def _is_older(saved: SavedCard, row: Row) -> bool:
    """Whether the payment method was changed after the customer saved the card. A row without a readable moment was
    never changed on request."""
    try:
        return saved.at < moment(row, CARD_CHANGED_AT)
    except (KeyError, TypeError, ValueError):
        return False
