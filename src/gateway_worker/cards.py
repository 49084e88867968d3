"""Handle the events of cards: have the customer asked to update the payment method before the next renewal.

The event of a detached card does not name the customer. An index of the subscriptions leads from the card to the rows.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

from gateway_worker.handling import KNOWN, EventOutcome, Handled, Seams, later, passed_over
from renewals.domain import reminders
from renewals.domain.errors import BadRow
from renewals.domain.gateway_event import GatewayEvent
from renewals.domain.renewal import MailKind, Status
from renewals.domain.request import Asks, RenewalRequest
from renewals.domain.subscription import Subscription, parse

_SECONDS_OF_A_RUN = 225
"""The longest run of the workflow. With less time left, no further run begins."""


def card_detached(event: GatewayEvent, seams: Seams) -> Handled:
    """Run the workflow, which asks the gateway about the card, for each subscription that is still charged by the card.

    The workflow keeps the gateway's answer on the row, and mails a reminder if the renewal is near. Otherwise the sweep
    has the reminder mailed, as soon as the renewal is near.
    """
    answers: list[Handled] = []
    for subscription in _charged_by(event.object_id, seams):
        if _is_told(subscription, seams):
            answers.append(KNOWN)
        elif seams.seconds_left() < _SECONDS_OF_A_RUN and any(answer is not KNOWN for answer in answers):
            return later("many subscriptions have the card", timedelta())  # the next delivery goes on from here
        else:
            answers.append(_told(event, subscription, seams))
    by_outcome = {answer.outcome: answer for answer in answers}
    first = (EventOutcome.LATER, EventOutcome.DONE, EventOutcome.KNOWN)
    told = (by_outcome[outcome] for outcome in first if outcome in by_outcome)
    return next(told, passed_over("no subscription has the card"))


def _told(event: GatewayEvent, subscription: Subscription, seams: Seams) -> Handled:
    """Run the workflow for the subscription, unless the subscription is being charged: the record of a payment writes
    the payment's card into the row, and would overwrite the gateway's answer about the card."""
    period = seams.ledger.get(subscription.subscription_id, subscription.renewal_date.isoformat())
    charged = seams.lease_of_another(period) if period is not None and period.status is Status.CLAIMED else None
    if charged is not None:
        return charged
    return Handled(EventOutcome.DONE) if seams.run(_reminder(event, subscription)) else later("the workflow failed")


def _charged_by(payment_method: str, seams: Seams) -> Iterator[Subscription]:
    """Yield the subscriptions with the card. A row that somebody broke by hand is left out: the sweep names the row."""
    for row in seams.ledger.rows_with_card(payment_method):
        try:
            yield parse(row)
        except BadRow:
            continue


def _is_told(subscription: Subscription, seams: Seams) -> bool:
    """Whether the row says already that the card is detached, and the customer is owed no mail about the card now."""
    card = reminders.known_card(subscription)
    if card is None or not card.is_detached:
        return False
    return MailKind.CARD_EXPIRES not in reminders.owed(subscription, seams.today_of(subscription), seams.reminder_days)


def _reminder(event: GatewayEvent, subscription: Subscription) -> RenewalRequest:
    request = RenewalRequest.of_row(subscription.row, subscription.renewal_date, Asks.REMIND)
    return replace(request, gateway_event=event.event)
