"""Choose the reminders that a customer gets before a renewal. The gateway is asked about the customer's current
card."""

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date

from renewals.domain import reminders, spans
from renewals.domain.errors import BadRow, Overtaken, PaymentError
from renewals.domain.payment import GatewayCard
from renewals.domain.reminder_rules import Rules
from renewals.domain.renewal import MailKind
from renewals.domain.request import RenewalRequest
from renewals.domain.subscription import Subscription
from renewals.gateway.port import Gateway, GatewayUnavailable
from renewals.ledger import reminder_records
from renewals.ledger.table import Ledger


@dataclass(frozen=True, slots=True)
class Remind:
    """A look at one subscription by one execution.

    Attributes:
        rules: when the deployment reminds customers.
    """

    ledger: Ledger
    records: reminder_records.Records
    gateway: Gateway
    today: date
    rules: Rules

    def still_owed(self, asked: RenewalRequest) -> list[MailKind]:
        """Return the reminders that the customer must get before the requested period and that were not sent yet.

        The gateway is asked about the card if nobody has asked yet, if an event says that the card has changed, and
        before a mail says that a card expires, because the customer's bank may have replaced the card. The gateway's
        answer is kept on the subscription's row, and the mail is written from the row. Nobody is reminded of a renewal
        that will be rejected. An event of a card causes the card's reminder alone: an event may be forged, and the
        sweep has all other reminders mailed.

        Raises:
            PaymentError: the gateway gives no answer.
        """
        subscription = reminders.at_period(
            self.ledger.rows(asked.subscription_id), asked.customer_id, asked.renewal_date
        )
        if subscription is None:
            return []
        owed = reminders.owed(subscription, self.today, self.rules)
        asks = asked.gateway_event is not None or reminders.asks_for_card(subscription, self.today, self.rules)
        if asks or MailKind.CARD_EXPIRES in owed:
            try:
                saved = self.gateway.card(subscription.payment_method)
            except GatewayUnavailable as error:
                raise PaymentError(str(error)) from error
            card = saved or GatewayCard(subscription.payment_method, "", "")
            with suppress(Overtaken):  # the row has a new card: the next sweep asks about the new card
                self.records.keep_card(subscription, card)
            subscription = replace(subscription, row={**subscription.row, "known_card": card.record})
            owed = reminders.owed(subscription, self.today, self.rules)
        if asked.gateway_event is not None:
            owed = [kind for kind in owed if kind is MailKind.CARD_EXPIRES]
        return [] if owed and self._is_paid(subscription) else owed

    def _is_paid(self, subscription: Subscription) -> bool:
        """Whether a day of the next period is paid already, so that the period will not be charged."""
        if not spans.may_overlap(subscription, unless_told=True):
            return False
        start, end = subscription.renewal_date, subscription.schedule.after(subscription.renewal_date)
        history = self.ledger.history(subscription.subscription_id, subscription.customer_id)
        reaches = spans.may_overlap(subscription, unless_told=False)
        try:
            spans.check(start, end, self.ledger.reaching(start, end, history, all_of_it=reaches))
        except BadRow:
            return True
        return False
