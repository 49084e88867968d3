"""Compares what the application heard in the simulated year with what the application must have heard."""

from collections.abc import Collection, Iterable, Iterator
from datetime import date

from local.receiver import Event, Heard
from local.simulate.bank import Disputed, Refunded
from local.simulate.disputes import disputes_misheard
from local.simulate.expected import Expected, Fault
from local.simulate.happenings import Subscriber


def misheard(
    subscriber: Subscriber,
    result: Expected,
    refunds: Collection[Refunded],
    disputes: Iterable[Disputed],
    heard: Heard | None,
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
    for what in _not_made(result, refunds, events):
        yield fault(None, what)
    for what in disputes_misheard(result, disputes, events):
        yield fault(None, what)
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
    if result.status == "canceled" and result.ends:
        yield None, "subscription.ended", {"by": "schedule"}
    for made in refunds:
        yield None, "renewal.refunded", {"refund_id": made.refund}
        if made.failed:
            yield None, "renewal.refund_failed", {"refund_id": made.refund}


def _not_made(result: Expected, refunds: Iterable[Refunded], events: Iterable[Event]) -> Iterator[str]:
    """Yield each heard payment and refund that was not made."""
    for event in events:
        if event["type"] == "renewal.paid" and date.fromisoformat(event["data"]["period"]) not in result.charged:
            yield f"the application heard of a payment of {event['data']['period']}, which was not made"
    refunded = {event["data"]["refund_id"] for event in events if event["type"].startswith("renewal.refund")}
    for unknown in refunded - {made.refund for made in refunds}:
        yield f"the application heard of the refund {unknown}, which was not made"


def _is_refused(event: Event, period: date) -> bool:
    """Tell whether the event says that an attempt at the period was refused."""
    told = {"period": str(period)}
    declined = event["type"] == "renewal.failed" and _agrees(event, told | {"outcome": "declined"})
    return declined or (event["type"] == "renewal.action_required" and _agrees(event, told))


def _agrees(event: Event, told: dict[str, str]) -> bool:
    return all(event["data"].get(name) == value for name, value in told.items())
