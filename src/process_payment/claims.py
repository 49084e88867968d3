"""Decide about claims: which period is due, which facts a new claim holds, and from which status the work on an earlier
claim continues.

The functions are pure, except for the random name of each claim.

Decisions: D2, D7, D9, D10 (DECISIONS.md).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from hashlib import sha256
from itertools import batched
from uuid import uuid4

from renewals.domain import due, offers
from renewals.domain.renewal import Renewal, Status
from renewals.domain.renewal_history import History, was_stopped
from renewals.domain.schedule import Billing
from renewals.domain.subscription import Subscription
from renewals.ledger.steps import LEASE
from renewals.runtime.clock import Moment

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_NUMBER_BITS = 60


@dataclass(frozen=True, slots=True)
class Claim:
    """A new claim before it is written.

    Attributes:
        skipped: the due dates that the claim passes over.
        claimed_before: the dates in `skipped` that have items of their own already, because their claims were passed
            over earlier for a different period.
        instead_of: the earlier claims that the new claim replaces: claims for the subscription's renewal date or a
            later date that have moved no money and never will. An earlier claim is not replaced if all its dates (its
            own date and the dates that the claim passed over) lie after the new period.
    """

    renewal: Renewal
    skipped: tuple[date, ...]
    claimed_before: frozenset[date]
    instead_of: tuple[Renewal, ...]


def due_claim(
    subscription: Subscription,
    failed: Renewal | None,
    history: History,
    passed_over: History,
    *,
    execution: str,
    seller: Mapping[str, str],
    moment: Moment,
) -> Claim:
    """Return the claim of the due period.

    Args:
        failed: the newest claim for the subscription's date, or for a later date if the claim passed the subscription's
            date over. The claim has moved no money and never will. None if no such claim exists.
        passed_over: claims that were passed over for another period.
        execution, seller, moment: as for the charge.
    """
    subscription, billing = due_as_promised(subscription, failed, moment.today)
    new = _new(subscription, billing, execution, seller, moment)
    beside = (r for r in history if r.renewal_date >= subscription.renewal_date and r.row_date < billing.end)
    unpaid = [r for r in beside if moved_no_money(r)]
    dates = {r.renewal_date for r in unpaid}
    settled = [r for r in unpaid if r is failed or r.renewal_date == billing.start]
    settled += history.ever_paid
    skipped = tuple(
        day
        # A date that an earlier claim passed over is recorded already, and a paid date stays paid.
        for day in billing.skipped
        if day not in dates and not any(r.was_claimed_for(day) for r in settled)
    )
    of_this_date = [r for r in (*unpaid, *passed_over) if r.renewal_date == new.renewal_date]
    if unpaid or of_this_date:  # the idempotency keys of those claims are spent
        new = replace(new, intent_tries=max(r.intent_tries for r in (*unpaid, *of_this_date)) + 1)
    anew = next(iter(of_this_date), None)
    if anew is not None:  # the period's earlier attempts and mails stay on record
        attempt = anew.attempt + (anew.status is Status.GIVEN_UP)
        new = replace(
            new,
            attempt=attempt,
            refusals=anew.refusals,
            mails=anew.mails,
            endings=anew.endings,
            earlier_mails=anew.earlier_mails,
            returned=anew.returned,
        )
    claimed_before = frozenset(r.renewal_date for r in passed_over).intersection(skipped)
    return Claim(new, skipped, claimed_before, tuple(unpaid))


def moved_no_money(renewal: Renewal) -> bool:
    """Whether the claim ended without a payment, and can no longer lead to a payment."""
    failed = renewal.status is Status.FAILED and renewal.paid_at is None
    return renewal.status is Status.GIVEN_UP or (failed and (renewal.payment_id is None or was_stopped(renewal)))


def stands_at(renewal: Renewal) -> Status:
    """Return the status from which work on a renewal continues, even after the renewal failed: claimed, paid or
    receipted."""
    if renewal.paid_at is None:
        return Status.CLAIMED
    return Status.PAID if renewal.receipt_key is None else Status.RECEIPTED


def due_as_promised(subscription: Subscription, failed: Renewal | None, today: date) -> tuple[Subscription, Billing]:
    """Return the subscription and the due period, with the price, plan and length that a reminder promised.

    A promise covers only the period that begins on the subscription's own date, and no later period that is billed
    instead.
    """
    start, last = subscription.renewal_date, subscription.last_day(today)
    billing, promise = due.billing(subscription, failed, start, last), offers.promised(subscription)
    if promise is None or (failed is not None and failed.renewal_date != subscription.renewal_date):
        return subscription, billing
    if offers.holds_for(promise, billing, subscription, today):
        return promise.applied(subscription), Billing(subscription.renewal_date, promise.end or billing.end, ())
    return subscription, billing


def _new(
    subscription: Subscription, billing: Billing, execution: str, seller: Mapping[str, str], moment: Moment
) -> Renewal:
    return Renewal(
        subscription_id=subscription.subscription_id,
        renewal_date=billing.start,
        customer_id=subscription.customer_id,
        claim=uuid4().hex,
        owner=execution,
        lease_until=moment.now + LEASE,
        claimed_at=moment.now,
        row_date=subscription.renewal_date,
        first_tried_on=moment.today,
        period_end=billing.end,
        anchor_day=subscription.schedule.beginning_on(billing.start).anchor_day
        if subscription.schedule.is_anchored
        else None,
        amount=subscription.amount,
        currency=subscription.currency,
        plan=subscription.plan,
        customer_name=subscription.customer_name,
        customer_email=subscription.customer_email,
        locale=subscription.locale,
        gateway_customer=subscription.gateway_customer,
        payment_method=subscription.payment_method,
        seller=seller,
        receipt_number=receipt_number(subscription.subscription_id, billing.start),
    )


def receipt_number(subscription_id: str, renewal_date: date) -> str:
    """Return the period's receipt number, which never changes and is short enough to read out: 20261128-7KQ2-M0XT-9ZVB.

    The letters are Crockford's alphabet, in which no letter looks like a digit or like a second letter. Among n periods
    of one day, two share their 60 bits with a probability of n * n / 2**61: for a million renewals a day, once in some
    six thousand years.
    """
    bits = int.from_bytes(sha256(f"{subscription_id}/{renewal_date}".encode()).digest()) >> (256 - _NUMBER_BITS)
    letters = [_CROCKFORD[bits >> shift & 31] for shift in reversed(range(0, _NUMBER_BITS, 5))]
    groups = ("".join(group) for group in batched(letters, 4, strict=True))
    return f"{renewal_date:%Y%m%d}-{'-'.join(groups)}"
