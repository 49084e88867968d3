"""The table from the type of an event to its handler. gateway_worker.handling describes the interface of
handlers."""

from collections.abc import Callable, Mapping

from gateway_worker.cards import card_detached
from gateway_worker.disputes import disputed
from gateway_worker.handling import Handled, Seams
from gateway_worker.new_cards import card_saved
from gateway_worker.payments import payment_changed
from gateway_worker.refunds import refund_changed
from renewals.domain.gateway_event import GatewayEvent, GatewayEventType

type Handler = Callable[[GatewayEvent, Seams], Handled]

HANDLERS: Mapping[GatewayEventType, Handler] = {
    GatewayEventType.PAYMENT_SUCCEEDED: payment_changed,
    GatewayEventType.PAYMENT_FAILED: payment_changed,
    GatewayEventType.PAYMENT_CANCELED: payment_changed,
    GatewayEventType.PAYMENT_PROCESSING: payment_changed,
    GatewayEventType.REFUND_CREATED: refund_changed,
    GatewayEventType.REFUND_UPDATED: refund_changed,
    GatewayEventType.REFUND_FAILED: refund_changed,
    GatewayEventType.DISPUTE_CREATED: disputed,
    GatewayEventType.DISPUTE_UPDATED: disputed,
    GatewayEventType.DISPUTE_WITHDRAWN: disputed,
    GatewayEventType.DISPUTE_REINSTATED: disputed,
    GatewayEventType.DISPUTE_CLOSED: disputed,
    GatewayEventType.FRAUD_WARNING: disputed,
    GatewayEventType.CARD_DETACHED: card_detached,
    GatewayEventType.CARD_SAVED: card_saved,
}
