"""Compares the disputes of the simulated year with the ledger, the timeline, and the events that the application heard.

The catch-up of each night finds every dispute: the ledger must hold how each dispute stood at the end of each day.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from local.receiver import Event
from local.simulate.bank import Disputed, Standing
from local.simulate.drafts import PRICES
from local.simulate.expected import Expected, Fault
from local.simulate.happenings import Contest, Subscriber

_IN_WORDS = {
    "fraud_warning": "may be fraud", "warning_needs_response": "is an inquiry", "warning_closed": "closed without",
    "needs_response": "waits for the seller's evidence", "under_review": "is with the bank", "won": "is won",
    "lost": "is lost",
}  # fmt: skip
"""The words of the timeline about a dispute, by the dispute's status at the gateway."""

_SCALES = {price.currency: price.minor / Decimal(price.amount) for price in PRICES}
"""By currency, the number of minor units in a major unit at the gateway."""


def disputes_in_the_ledger(
    subscriber: Subscriber, result: Expected, disputes: list[Disputed], items: dict[date, dict[str, Any]]
) -> Iterator[Fault]:
    """Yield a fault unless the ledger holds each step of every dispute, and the one effect of every chargeback."""
    charged_back = [each.payment for each in disputes if any(step.withdrawn for step in each.steps)]
    if charged_back != [lost.payment for lost in result.chargebacks]:
        what = f"the bank took back {charged_back}, and the story {result.chargebacks}"
        yield Fault("wrong", subscriber.id, None, what)
    effects = {lost.payment: lost.effect for lost in result.chargebacks}
    for disputed in disputes:
        period, item = next(each for each in items.items() if each[1].get("payment_id") == disputed.payment)
        steps = item.get("disputes", {}).get(disputed.dispute, {}).get("steps", [])
        if [step["status"] for step in steps] != [standing.status for standing in disputed.steps]:
            yield Fault("wrong", subscriber.id, period, f"{disputed} is in the ledger as {steps}")
        found = [step["effect"] for step in steps if "effect" in step]
        must = [effects.get(disputed.payment, "")] if any(step.withdrawn for step in disputed.steps) else []
        if found != must:
            yield Fault("wrong", subscriber.id, period, f"{disputed.dispute} had the effects {found}, not {must}")


def disputes_in_the_timeline(subscriber: Subscriber, disputes: list[Disputed], timeline: list[str]) -> Iterator[Fault]:
    """Yield a fault unless the timeline tells every step of every dispute once, and the movements of money."""
    for disputed in disputes:
        told = [text for text in timeline if f"({disputed.dispute})" in text]
        taken, returned = (sum(words in text for text in told) for words in ("The bank took", "The bank returned"))
        last = disputed.steps[-1]
        stands = _IN_WORDS.get(last.status, "")
        moved = (taken, returned) == (bool(last.withdrawn), bool(last.reinstated))
        if len(told) != len(disputed.steps) or not moved or not any(stands in text for text in told):
            yield Fault("wrong", subscriber.id, None, f"{disputed} is in the timeline as {told}")


def ends_mistold(
    subscriber: Subscriber, result: Expected, mails: list[str], *, reached: int, may_be_unknown: bool
) -> Iterator[Fault]:
    """Yield a fault unless the customer was told once of every end by a chargeback, with the right last day.

    mails: the texts of the mails about such an end that arrived. reached: the number of ends that were set while the
    mailbox took mail. may_be_unknown: whether the story has killed the function that sends the mail.
    """
    ends = result.ended_by_dispute
    if len(mails) > len(ends):
        yield Fault("doubled_mail", subscriber.id, None, f"{len(mails)} mails about {len(ends)} ends by a chargeback")
    if len(mails) < reached and not may_be_unknown:
        yield Fault("no_mail", subscriber.id, None, f"{len(mails)} mails about {reached} ends by a chargeback")
    days = [lost.at - timedelta(days=1) for lost in ends if lost.at and lost.effect == "ending"]
    words = [f"Your last day is {day.day} {day:%B} {day.year}." for day in days]
    words += ["has therefore ended"] * any(lost.effect == "ended" for lost in ends)
    for text in mails:
        if not any(each in text for each in words):
            yield Fault("wrong", subscriber.id, None, f"a mail says another end than {words}: {text}")


def counted(disputes: Iterable[Disputed]) -> Counter[str]:
    """Return the numbers of disputes, of warnings, and of disputes that were won and lost."""
    ways = ["warned" if each.by is Contest.WARNING else "disputed" for each in disputes]
    ends = [each.steps[-1].status for each in disputes if each.steps[-1].status in ("won", "lost")]
    return Counter([*ways, *ends])


def disputes_misheard(result: Expected, disputes: Iterable[Disputed], events: Iterable[Event]) -> Iterator[str]:
    """Yield each difference between the disputes and the heard events: every step of a dispute, and every end of the
    subscription by a dispute, must be heard under exactly one id.
    """
    for disputed in disputes:
        told_of = [event["data"] for event in events if event["data"].get("dispute_id") == disputed.dispute]
        told_as = [Standing(of["status"], _minor(of, "withdrawn"), _minor(of, "reinstated")) for of in told_of]
        if sorted(told_as, key=str) != sorted(disputed.steps, key=str):
            yield f"the application heard {told_as} of {disputed.dispute}, not {disputed.steps}"
    ended_by = [
        (event["type"], event["data"].get("cancel_at")) for event in events if event["data"].get("by") == "dispute"
    ]
    must = [
        ("subscription.cancel_scheduled", str(lost.at)) if lost.at else ("subscription.ended", None)
        for lost in result.ended_by_dispute
    ]
    if sorted(ended_by, key=str) != sorted(must, key=str):
        yield f"the application heard that disputes ended the subscription by {ended_by}, not {must}"


def _minor(told: Mapping[str, str], name: str) -> int:
    return int(Decimal(told[name]) * _SCALES[told["payment_currency"]])
