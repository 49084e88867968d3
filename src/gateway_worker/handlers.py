"""The table from the type of an event to its handler. gateway_worker.handling says what a handler gets and answers."""

from collections.abc import Callable, Mapping

from gateway_worker.handling import Handled, Seams
from gateway_worker.payments import payment_changed
from renewals.domain.gateway_event import EventType, GatewayEvent

type Handler = Callable[[GatewayEvent, Seams], Handled]

HANDLERS: Mapping[EventType, Handler] = {
    EventType.PAYMENT_SUCCEEDED: payment_changed,
    EventType.PAYMENT_FAILED: payment_changed,
    EventType.PAYMENT_CANCELED: payment_changed,
    EventType.PAYMENT_PROCESSING: payment_changed,
}
