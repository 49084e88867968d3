"""What a customer is to be reminded of before a renewal, with the card as the gateway has it at this moment."""

from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import date

from renewals.domain import reminders, spans
from renewals.domain.errors import BadRow, Overtaken, PaymentError
from renewals.domain.payment import GatewayCard
from renewals.domain.renewal import MailKind
from renewals.domain.request import RenewalRequest
from renewals.domain.subscription import Subscription
from renewals.gateway.port import Gateway, GatewayUnavailable
from renewals.ledger import reminder_records
from renewals.ledger.table import Ledger


@dataclass(frozen=True, slots=True)
class Remind:
    """One execution's look at one subscription. days: so long before a renewal it is near."""

    ledger: Ledger
    records: reminder_records.Records
    gateway: Gateway
    today: date
    days: int

    def still_owed(self, asked: RenewalRequest) -> list[MailKind]:
        """The reminders that are true before the period asked for, and were not sent.

        The gateway is asked where nobody has looked at the card, and before a customer is told that it expires: their
        bank may have replaced it. What it says is kept on the row, and the mail says what is kept. Nobody is reminded
        of a renewal that will be rejected. Raises PaymentError where the gateway gives no answer.
        """
        subscription = reminders.at_period(
            self.ledger.rows(asked.subscription_id), asked.customer_id, asked.renewal_date
        )
        if subscription is None:
            return []
        owed = reminders.owed(subscription, self.today, self.days)
        if MailKind.CARD_EXPIRES in owed or reminders.asks_for_card(subscription, self.today, self.days):
            try:
                saved = self.gateway.card(subscription.payment_method)
            except GatewayUnavailable as error:
                raise PaymentError(str(error)) from error
            card = saved or GatewayCard(subscription.payment_method, "", "")
            with suppress(Overtaken):  # the row has another card now: the next sweep has it looked at
                self.records.keep_card(subscription, card)
            subscription = replace(subscription, row={**subscription.row, "known_card": asdict(card)})
            owed = reminders.owed(subscription, self.today, self.days)
        return [] if owed and self._is_paid(subscription) else owed

    def _is_paid(self, subscription: Subscription) -> bool:
        """Whether a day of the next period is paid already, so that nothing will be charged for it."""
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
