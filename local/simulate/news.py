"""Compares what the application heard in the simulated year with what the application must have heard."""

from collections.abc import Iterable, Iterator
from datetime import date

from local.receiver import Event, Heard
from local.simulate.expected import Expected, Fault
from local.simulate.happenings import Subscriber
from local.simulate.shop import Refunded


def misheard(
    subscriber: Subscriber, result: Expected, refunds: Iterable[Refunded], heard: Heard | None
) -> Iterator[Fault]:
    """Yield a fault for each difference between the facts and the events that the application heard.

    The application must hear each fact under exactly one id, must hear of no payment that was not made, and must know
    the right status at the end.
    """
    events = heard.events if heard else []

    def fault(period: date | None, what: str) -> Fault:
        return Fault("not_told", subscriber.id, period, what)

    for period, type_, told in _facts(result, refunds):
        found = [event for event in events if event["type"] == type_ and _agrees(event, told)]
        if len(found) != 1:
            yield fault(period, f"the application heard of {type_} {told} under {len(found)} ids")
    for period, day in result.refused.items():
        if not any(_is_refused(event, period) for event in events):
            yield fault(period, f"refused on {day}, and the application heard nothing")
    for event in events:
        if event["type"] == "renewal.paid" and date.fromisoformat(event["data"]["period"]) not in result.charged:
            yield fault(None, f"the application heard of a payment of {event['data']['period']}, which was not made")
    if heard is None or heard.status != result.status:
        yield fault(None, f"the application takes the subscription for {heard and heard.status}, not {result.status}")


def _facts(result: Expected, refunds: Iterable[Refunded]) -> Iterator[tuple[date | None, str, dict[str, str]]]:
    """Yield the period, the event's type and the data of each fact that has exactly one event."""
    yield None, "subscription.created", {"by": "table"}
    for period, charges in result.charged.items():
        for charge in charges:
            yield period, "renewal.paid", {"period": str(period), "transaction_id": charge.payment}
    for period in result.refused:
        yield period, "subscription.past_due", {"period": str(period), "by": "renewal"}
    for period in result.recovered:
        yield period, "subscription.recovered", {"period": str(period)}
    for period in result.given_up:
        yield period, "renewal.failed", {"period": str(period), "outcome": "given_up"}
        yield period, "subscription.ended", {"period": str(period)}
    for made in refunds:
        yield None, "renewal.refunded", {"refund_id": made.refund}
        if made.failed:
            yield None, "renewal.refund_failed", {"refund_id": made.refund}


def _is_refused(event: Event, period: date) -> bool:
    """Tell whether the event says that an attempt at the period was refused."""
    told = {"period": str(period)}
    declined = event["type"] == "renewal.failed" and _agrees(event, told | {"outcome": "declined"})
    return declined or (event["type"] == "renewal.action_required" and _agrees(event, told))


def _agrees(event: Event, told: dict[str, str]) -> bool:
    return all(event["data"].get(name) == value for name, value in told.items())
