"""Handle the events of cards: have the customer asked to update the payment method before the next renewal.

The event of a detached card does not name the customer. An index of the subscriptions leads from the card to the rows.
"""

from dataclasses import replace
from datetime import timedelta

from gateway_worker.handling import KNOWN, EventOutcome, Handled, Seams, later, passed_over
from renewals.domain import reminders
from renewals.domain.errors import BadRow
from renewals.domain.gateway_event import GatewayEvent
from renewals.domain.item_values import Item
from renewals.domain.renewal import MailKind, Status
from renewals.domain.request import Asks, RenewalRequest
from renewals.domain.subscription import Subscription, parse
from renewals.runtime import telemetry

_SECONDS_OF_A_RUN = 225
"""The longest run of the workflow. With less time left, no further run begins."""


def card_detached(event: GatewayEvent, seams: Seams) -> Handled:
    """Run the workflow for each subscription that is still charged by the card, if the gateway calls the card detached.

    The workflow asks the gateway again, keeps the gateway's answer on the row, and mails a reminder if the renewal is
    near. Otherwise the sweep has the reminder mailed, as soon as the renewal is near.
    """
    answers: list[Handled] = []
    for subscription in _charged_by(event.object_id, seams):
        if _is_told(subscription, seams):
            answers.append(KNOWN)
            continue
        earlier = [answer for answer in answers if answer is not KNOWN]
        if not earlier and not _is_detached(event.object_id, seams):
            return passed_over("the gateway does not call the card detached")
        if earlier and seams.seconds_left() < _SECONDS_OF_A_RUN:
            return later("many subscriptions have the card", timedelta())  # the next delivery goes on from here
        answers.append(_reminded(event, subscription, seams))
    by_outcome = {answer.outcome: answer for answer in answers}
    first = (EventOutcome.LATER, EventOutcome.DONE, EventOutcome.KNOWN)
    told = (by_outcome[outcome] for outcome in first if outcome in by_outcome)
    return next(told, passed_over("no subscription has the card"))


def _reminded(event: GatewayEvent, subscription: Subscription, seams: Seams) -> Handled:
    """Run the workflow for the subscription, unless the subscription is being charged: the record of a payment writes
    the payment's card into the row, and would overwrite the gateway's answer about the card."""
    period = seams.ledger.get(subscription.subscription_id, subscription.renewal_date.isoformat())
    charged = seams.lease_of_another(period) if period is not None and period.status is Status.CLAIMED else None
    if charged is not None:
        return charged
    return Handled(EventOutcome.DONE) if seams.run(_reminder(event, subscription)) else later("the workflow failed")


def _is_detached(payment_method: str, seams: Seams) -> bool:
    """Ask the gateway whether the card is detached: an event may be forged, and the customer may have saved the card
    again."""
    card = seams.ask(lambda gateway: gateway.card(payment_method))
    return card is not None and card.is_detached


def _charged_by(payment_method: str, seams: Seams) -> list[Subscription]:
    """Return the subscriptions whose rows have the card. Only the rows with the card are read here: a subscription may
    have a second row with a different card.

    A row that somebody broke by hand is left out. If two rows with the card have the same subscription id, both are
    left out, too. In both cases the workflow would mail no reminder.

    A subscription whose row says already that the card is detached comes last. An earlier mail to the customer of such
    a subscription may have failed, and may fail again: the other customers are mailed first.
    """
    by_id: dict[str, list[Item]] = {}
    for row in seams.ledger.rows_with_card(payment_method):
        by_id.setdefault(str(row["subscription_id"]), []).append(row)
    found = []
    for subscription_id, rows in by_id.items():
        subscription = _remindable(rows)
        if subscription is None:
            telemetry.logger().warning("row left out", extra={"subscription_id": subscription_id})
        else:
            found.append(subscription)
    return sorted(found, key=_has_note)


def _remindable(rows: list[Item]) -> Subscription | None:
    try:
        subscription = parse(rows[0])
    except BadRow:
        return None
    return reminders.at_period(rows, subscription.customer_id, subscription.renewal_date)


def _has_note(subscription: Subscription) -> bool:
    """Whether the row says already that the card is detached."""
    card = reminders.known_card(subscription)
    return card is not None and card.is_detached


def _is_told(subscription: Subscription, seams: Seams) -> bool:
    """Whether the row says already that the card is detached, and the customer is owed no mail about the card now."""
    if not _has_note(subscription):
        return False
    return MailKind.CARD_EXPIRES not in reminders.owed(subscription, seams.today_of(subscription), seams.reminder_rules)


def _reminder(event: GatewayEvent, subscription: Subscription) -> RenewalRequest:
    request = RenewalRequest.of_row(subscription.row, subscription.renewal_date, Asks.REMIND)
    return replace(request, gateway_event=event.event)
