"""Handle the events of cards: have the customer asked for a new card before the next renewal.

The event of a detached card does not name the customer. An index of the subscriptions leads from the card to the rows.
"""

from collections.abc import Iterator
from dataclasses import replace

from gateway_worker.handling import KNOWN, EventOutcome, Handled, Seams, later, passed_over
from renewals.domain import reminders
from renewals.domain.errors import BadRow
from renewals.domain.gateway_event import GatewayEvent
from renewals.domain.renewal import Status
from renewals.domain.request import Asks, RenewalRequest
from renewals.domain.subscription import Subscription, parse


def card_detached(event: GatewayEvent, seams: Seams) -> Handled:
    """Run the workflow, which asks the gateway about the card, for each subscription that is still charged by the card.

    The workflow keeps the gateway's answer on the row, and mails a reminder if the renewal is near. Otherwise the sweep
    has the reminder mailed, as soon as the renewal is near.
    """
    charged = list(_charged_by(event.object_id, seams))
    if not charged:
        return passed_over("no subscription has the card")
    untold = [subscription for subscription in charged if not _knows(subscription)]
    if not untold:
        return KNOWN
    answers = [_told(event, subscription, seams) for subscription in untold]
    return next((answer for answer in answers if answer.outcome is EventOutcome.LATER), Handled(EventOutcome.DONE))


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


def _knows(subscription: Subscription) -> bool:
    """Whether the row says already that the card is detached."""
    card = reminders.known_card(subscription)
    return card is not None and card.is_detached


def _reminder(event: GatewayEvent, subscription: Subscription) -> RenewalRequest:
    request = RenewalRequest.of_row(subscription.row, subscription.renewal_date, Asks.REMIND)
    return replace(request, gateway_event=event.event)
