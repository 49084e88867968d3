"""Claims of billing periods in the ledger. A claim passes earlier dates over, and never stands beside an open claim.

All functions return steps as values, or judge the failure of such a step.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from renewals.domain.item_values import Item, moment
from renewals.domain.reasons import Reason
from renewals.domain.renewal import UNSETTLED, Renewal, Status
from renewals.domain.renewal_items import item_of
from renewals.ledger.row_steps import MOST_SKIPPED, WATCHED, with_items
from renewals.ledger.steps import (
    MOST_ACTIONS,
    Action,
    Check,
    Condition,
    Put,
    Step,
    Table,
    Term,
    Update,
    as_read,
    change,
    row_key,
    same_claim,
)
from renewals.runtime.attribute_values import TransactAction

if TYPE_CHECKING:
    from renewals.domain.errors import Overtaken
    from renewals.domain.subscription import Subscription

_HELD = UNSETTLED | {Status.FAILED}
_A_MOMENT = timedelta(minutes=5)


def claim(
    renewal: Renewal,
    skipped: tuple[date, ...],
    subscription: Subscription,
    instead_of: Sequence[Renewal] = (),
    *,
    claimed_before: Collection[date] = (),
    guards: Sequence[TransactAction],
) -> Step[Renewal]:
    """Claim the period, unless the period is claimed already or the subscription has changed since the read.

    Every claim writes an item at the subscription's own renewal_date: the claim itself, or the first date passed over.
    Two claims made on different days would both write this item, and the condition of the item refuses the second
    claim. A subscription therefore never has two open claims.

    Args:
        guards: two at most.
        instead_of: the earlier claims from the subscription's date on that have moved no money and never will: claims
            that failed without a payment or with a canceled payment, or that were given up. An earlier claim of the
            same date as the new claim is replaced by the new claim. All other earlier claims are passed over, and dates
            passed over by these claims are free again.
        claimed_before: the dates in `skipped` that already have an item, because a claim of the date was passed over
            for a different period. The item keeps its history, which tells that the idempotency key of the claim is
            spent.
    """
    anew = [r for r in instead_of if r.renewal_date == renewal.renewal_date]
    over = [_over(r, renewal) for r in instead_of if r not in anew]
    # DynamoDB's limit may leave dates without an item. The oldest date always gets an item, which guards the claim;
    # every item names the number of all dates.
    room = MOST_ACTIONS - 2 - len(guards) - len(over)
    kept = with_items(skipped, min(room, MOST_SKIPPED))
    free = _free(instead_of)
    skips = [_skip(renewal, day, len(skipped), free, claimed_before=day in claimed_before) for day in kept]
    claimed = Put(Table.RENEWALS, item_of(renewal), _unpaid(anew[0]) if anew else free)
    return Step(renewal, (*skips, *over, claimed, unchanged(subscription)), guards=guards)


def overlaps(step: Step[Renewal], overtaken: Overtaken) -> bool:
    """Whether a claim was refused although no other execution was faster: an item of some age in the ledger is in the
    way.

    The answer is no if data read before the claim has changed, or if an execution at work wrote the obstructing item a
    moment ago. The charge then reads everything again.
    """
    lost = overtaken.failed
    if any(_was_read(step.actions[position], step.after) for position in lost if position < len(step.actions)):
        return False
    in_the_way = [item for item in lost.values() if item and item.get("status") in _HELD]
    return not any(_is_fresh(item, step.after.claimed_at) for item in in_the_way)


def _was_read(action: Action, renewal: Renewal) -> bool:
    """Whether the condition is about data read before the claim: the row, or an earlier claim. All other conditions are
    about free dates."""
    return isinstance(action, Check) or any(term.text == same_claim(renewal).text for term in action.condition)


def _is_fresh(item: Item, now: datetime) -> bool:
    return now - moment(item, "touched_at") < _A_MOMENT


def _over(earlier: Renewal, renewal: Renewal) -> Update:
    """Pass an earlier claim over for the new claim; the history of the earlier claim stays."""
    changes: dict[str, object] = {"billed_instead": renewal.renewal_date}
    if earlier.status is Status.FAILED:
        changes |= {"status": Status.SKIPPED, "reason": Reason.PASSED_OVER}
    return change(earlier, changes, _unpaid(earlier), renewal.claimed_at)


def _unpaid(earlier: Renewal) -> Condition:
    """The earlier claim is unchanged since the read, has moved no money and never will."""
    without = "(attribute_not_exists(payment_id) OR #reason = :canceled)"
    values = {
        ":failed": Status.FAILED,
        ":given_up": Status.GIVEN_UP,
        ":canceled": Reason.CANCELED_AT_THE_GATEWAY,
    }
    return same_claim(earlier), Term(f"((#status = :failed AND {without}) OR #status = :given_up)", values)


def _free(instead_of: Sequence[Renewal]) -> Condition:
    """The date is free for a claim.

    A free date has no item, or was passed over for one of three reasons. The first reason is a pause. The second reason
    is an earlier period that includes the date; the days of the earlier period are checked like all paid days. The
    third reason is a claim in `instead_of`, whose own condition proves in the same transaction that the claim was never
    paid.
    """
    dates = {f":passed_{n}": r.renewal_date for n, r in enumerate(instead_of)}
    passed_over = "#reason = :paused OR billed_instead < renewal_date" + (
        f" OR billed_instead IN ({', '.join(dates)})" if dates else ""
    )
    free = f"attribute_not_exists(subscription_id) OR (#status = :skipped AND ({passed_over}))"
    return (Term(free, {":skipped": Status.SKIPPED, ":paused": Reason.PAUSED, **dates}),)


def _skip(renewal: Renewal, day: date, count: int, free: Condition, *, claimed_before: bool) -> Put | Update:
    """Pass a date over for the claim."""
    key = {"subscription_id": renewal.subscription_id, "renewal_date": day}
    item = {
        "customer_id": renewal.customer_id,
        "status": Status.SKIPPED,
        "reason": Reason.PASSED_OVER,
        "billed_instead": renewal.renewal_date,
        "periods_passed_over": count,
        "touched_at": renewal.claimed_at,
    }
    return Update(Table.RENEWALS, key, item, free) if claimed_before else Put(Table.RENEWALS, key | item, free)


def unchanged(subscription: Subscription) -> Check:
    """The attributes that decide about a charge are unchanged since the subscription was read."""
    return Check(Table.SUBSCRIPTIONS, row_key(subscription), as_read(subscription.row, WATCHED))
