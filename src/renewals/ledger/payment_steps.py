"""The money in the ledger: claims, payments, and what comes of them. Each function is one step, as a value."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from renewals.domain import pauses
from renewals.domain.item_values import Item, moment
from renewals.domain.reasons import Reason
from renewals.domain.renewal import UNSETTLED, Flag, Renewal, Status, item_of, replaced, shard
from renewals.domain.spans import PAID_UNTIL, paid_until
from renewals.domain.subscription import SubscriptionStatus, anchor_change, ends_by, has_ended, is_live, status_of
from renewals.ledger.row_steps import ANCHORED, MOST_SKIPPED, NOT_REFUSED, WATCHED, forget_refusal, with_items
from renewals.ledger.steps import (
    LEASE,
    MOST_ACTIONS,
    Action,
    Check,
    Condition,
    Put,
    Row,
    Step,
    Table,
    Term,
    Update,
    as_read,
    change,
    changed,
    no_payment,
    row_key,
    same_claim,
    same_lease,
    same_owner,
    same_status,
)
from renewals.runtime.attribute_values import TransactAction

if TYPE_CHECKING:
    from renewals.domain.errors import Overtaken
    from renewals.domain.payment import Payment
    from renewals.domain.subscription import Subscription

MOST_PICK_UPS = 10
"""So often an interrupted renewal is taken up without progress; then it is failed, for a person to look at."""

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
    """Claim the period, unless somebody has or the subscription is no longer what was read. guards: two at most.

    The item at the subscription's own renewal_date is always among those written, as the claim or as the first
    period passed over. So no two claims of one subscription stand side by side, even when made on two days.

    instead_of: the claims from the same date on that have moved no money and never will: each failed without a
    payment or with a cancelled one, or was given up. The one of this very date is claimed anew, the others are
    passed over; what they had passed over themselves is free again.

    claimed_before: the dates among `skipped` whose claim was passed over before, for another period. What was tried and
    told of them stays, and so do their spent idempotency keys.
    """
    anew = [r for r in instead_of if r.renewal_date == renewal.renewal_date]
    over = [_over(r, renewal) for r in instead_of if r not in anew]
    # Beyond DynamoDB's limit the oldest is kept, which guards the claim, and counts those without an item.
    room = MOST_ACTIONS - 2 - len(guards) - len(over)
    kept = with_items(skipped, min(room, MOST_SKIPPED))
    free = _free(instead_of)
    skips = [_skip(renewal, day, len(skipped), free, claimed_before=day in claimed_before) for day in kept]
    claimed = Put(Table.RENEWALS, item_of(renewal), _unpaid(anew[0]) if anew else free)
    return Step(renewal, (*skips, *over, claimed, unchanged(subscription)), guards=guards)


def overlaps(step: Step[Renewal], overtaken: Overtaken) -> bool:
    """Whether a claim was refused though nobody was faster: what stands in its way has been there for some time.

    Where an item that was read just now is another by now, or what stands there was written a moment ago by somebody
    who is at work, all is to be looked at again instead.
    """
    lost = overtaken.failed
    if any(_was_read(step.actions[position], step.after) for position in lost if position < len(step.actions)):
        return False
    in_the_way = [item for item in lost.values() if item and item.get("status") in _HELD]
    return not any(_is_fresh(item, step.after.claimed_at) for item in in_the_way)


def _was_read(action: Action, renewal: Renewal) -> bool:
    """Whether the condition is on what was read: of the row, or of an earlier claim. All others are on free dates."""
    return isinstance(action, Check) or any(term.text == same_claim(renewal).text for term in action.condition)


def _is_fresh(item: Item, now: datetime) -> bool:
    return now - moment(item, "touched_at") < _A_MOMENT


def _over(earlier: Renewal, renewal: Renewal) -> Update:
    """An earlier claim is passed over for this one; its own story stays."""
    changes: dict[str, object] = {"billed_instead": renewal.renewal_date}
    if earlier.status is Status.FAILED:
        changes |= {"status": Status.SKIPPED, "reason": Reason.PASSED_OVER}
    return change(earlier, changes, _unpaid(earlier), renewal.claimed_at)


def _unpaid(earlier: Renewal) -> Condition:
    """The claim is the one that was read, and has moved no money and never will."""
    without = "(attribute_not_exists(payment_id) OR #reason = :canceled)"
    values = {
        ":failed": Status.FAILED,
        ":given_up": Status.GIVEN_UP,
        ":canceled": Reason.CANCELED_AT_THE_GATEWAY,
    }
    return same_claim(earlier), Term(f"((#status = :failed AND {without}) OR #status = :given_up)", values)


def _free(instead_of: Sequence[Renewal]) -> Condition:
    """The date is free for a claim: nothing stands there, or it was passed over: in a pause, for an earlier period,
    which took in its days and is checked as all that is paid, or for one of these claims, whose own conditions tell in
    the same transaction that they were never paid."""
    dates = {f":passed_{n}": r.renewal_date for n, r in enumerate(instead_of)}
    passed_over = "#reason = :paused OR billed_instead < renewal_date" + (
        f" OR billed_instead IN ({', '.join(dates)})" if dates else ""
    )
    free = f"attribute_not_exists(subscription_id) OR (#status = :skipped AND ({passed_over}))"
    return (Term(free, {":skipped": Status.SKIPPED, ":paused": Reason.PAUSED, **dates}),)


def _skip(renewal: Renewal, day: date, count: int, free: Condition, *, claimed_before: bool) -> Put | Update:
    """A date is passed over for this claim."""
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
    """What decides about a charge is what was read of the subscription."""
    return Check(Table.SUBSCRIPTIONS, row_key(subscription), as_read(subscription.row, WATCHED))


def take(renewal: Renewal, status: Status, execution: str, now: datetime) -> Step[Renewal]:
    """Own the renewal for the next 40 seconds, if it stands and is owned as read.

    status: where its work is taken up, the same for one that was merely interrupted. Taking it over from another
    counts as a pick-up; the owner's own retry does not, and progress begins the count anew.
    """
    picked_up = renewal.pickups if renewal.owner == execution else renewal.pickups + 1
    interrupted = status is renewal.status
    changes = {
        "status": status,
        "owner": execution,
        "lease_until": now + LEASE,
        "pickups": picked_up if interrupted else 0,
        **({} if interrupted else {"begun_at": now, "next_attempt": None}),
    }
    return changed(renewal, changes, (same_status(renewal), same_owner(renewal), same_lease(renewal)), now)


def keep_payment_id(
    renewal: Renewal, payment_id: str, now: datetime, *, guards: Sequence[TransactAction]
) -> Step[Renewal]:
    """Write the payment's id into the claim, if none is there and the subscription stands by the claim. Who loses
    takes the winner's. guards: as in claim."""
    kept = {"payment_id": payment_id}
    condition = (same_claim(renewal), no_payment(), Term("#status = :claimed", {":claimed": Status.CLAIMED}))
    return Step(replaced(renewal, kept), (change(renewal, kept, condition, now), stands_by(renewal)), guards=guards)


def stands_by(renewal: Renewal) -> Check:
    """`why_withdrawn` has nothing against the claim, at this moment."""
    live = {f":{status}": status for status in SubscriptionStatus if status.is_live}
    condition = (
        Term(f"#status IN ({', '.join(live)})", live),
        Term("(attribute_not_exists(cancel_at) OR cancel_at > :period)", {":period": renewal.renewal_date}),
        Term("renewal_date = :row_date", {":row_date": renewal.row_date}),
        Term("gateway_customer = :customer", {":customer": renewal.gateway_customer}),
    )
    return Check(Table.SUBSCRIPTIONS, row_key(renewal), condition)


def why_withdrawn(renewal: Renewal, row: Row | None) -> Reason | None:
    """Why a claimed period is not to be charged any more; None while its subscription stands by it:
    while it is live, due on the date that was claimed, the same customer's at the gateway, and does not end before.

    row: the subscription's raw attributes as they are now, whatever else is wrong with them; None where it is gone.
    """
    if row is None:
        return Reason.DELETED
    if not is_live(row):
        status = status_of(row)
        return Reason(status) if status else Reason.UNKNOWN_STATUS
    if ends_by(row, renewal.renewal_date, if_unreadable=True):
        return Reason.ENDS_BEFORE
    if row.get("renewal_date") != renewal.row_date.isoformat():
        return Reason.MOVED
    return Reason.ANOTHER_CUSTOMER if row.get("gateway_customer") != renewal.gateway_customer else None


def keep_payment_to_end(renewal: Renewal, payment_id: str, now: datetime) -> Step[Renewal]:
    """As keep_payment_id, for a payment that is not confirmed any more, whatever the subscription says."""
    return changed(renewal, {"payment_id": payment_id}, (same_claim(renewal), no_payment()), now)


def withdraw(renewal: Renewal, reason: str, execution: str, now: datetime) -> Step[Renewal]:
    """Own a claimed or failed period that is not to be charged any more, before its payment is cancelled. From here
    on it is given up, unless it is paid; so that a cancellation of ours is never taken for somebody's at the
    gateway. reason: a short name."""
    changes = {"withdrawn": reason, "owner": execution, "lease_until": now + LEASE}
    condition = (same_claim(renewal), same_status(renewal), same_owner(renewal), same_lease(renewal))
    return changed(renewal, changes, condition, now)


def count_intent_try(renewal: Renewal, now: datetime) -> Step[Renewal]:
    """The gateway answered the creation with a 5xx and will repeat that under its key: the next key is another."""
    condition = (same_claim(renewal), Term("intent_tries = :tries", {":tries": renewal.intent_tries}), no_payment())
    return changed(renewal, {"intent_tries": renewal.intent_tries + 1}, condition, now)


def forget_payment(renewal: Renewal, now: datetime) -> Step[Renewal]:
    """The gateway canceled the claim's payment by itself: another is created, under another key."""
    changes = {"payment_id": None, "failure_id": None, "intent_tries": renewal.intent_tries + 1}
    condition = (
        same_claim(renewal),
        Term("#status = :claimed", {":claimed": Status.CLAIMED}),
        Term("payment_id = :payment", {":payment": renewal.payment_id}),
    )
    return changed(renewal, changes, condition, now)


def wait(renewal: Renewal, now: datetime, *, until: datetime | None = None) -> Step[Renewal]:
    """Leave a claim as it stands, for whoever asks next. What it waits for is no failure of its own: this look is
    no pick-up. until: it is not overdue before."""
    changes: dict[str, object] = {"lease_until": now, "pickups": 0}
    if until is not None and until > now:
        changes["begun_at"] = until
    claimed = Term("#status = :claimed", {":claimed": Status.CLAIMED})
    return changed(renewal, changes, (same_claim(renewal), claimed, same_owner(renewal)), now)


def paid(
    renewal: Renewal,
    payment: Payment,
    amount: Decimal,
    row: Row | None,
    *,
    charged_at: datetime,
    execution: str,
    now: datetime,
) -> Step[Renewal]:
    """The payment succeeded: ledger and subscription move on in one transaction.

    amount: what the gateway took, major units; flagged as amount_differs if it, or its currency, is not what was
    claimed. row: as for settled. charged_at: the gateway's own moment of it, whatever day the subscription lives on.
    """
    changes = {
        "status": Status.PAID,
        "amount": amount,
        "currency": payment.currency,
        "paid_at": payment.paid_at or now,
        "charged_on": charged_at.astimezone(UTC).date(),
        "charged_at": charged_at.astimezone(UTC),
        "card": payment.card.name if payment.card else None,
        "next_attempt": None,
        "notice": None,
        "owner": execution,
        "lease_until": now + LEASE,
        "pickups": 0,
    }
    if renewal.withdrawn:
        changes["withdrawn"] = None
    if (amount, payment.currency) != (renewal.amount, renewal.currency):
        changes["flag"] = Flag.AMOUNT_DIFFERS

    def moved_on(row: Row) -> dict[str, object]:
        moves: dict[str, object] = {
            "renewal_date": renewal.period_end,
            "payment_status": Status.PAID,
            "last_payment": changes["paid_at"],
            "transaction_id": payment.id,
            PAID_UNTIL: paid_until(row, renewal.period_end),
            **NOT_REFUSED,
            **({pauses.NOTE: None} if pauses.NOTE in row else {}),
            **anchor_change(row, renewal.period_end, renewal.anchor_day),
        }
        if status_of(row) is SubscriptionStatus.PAST_DUE:
            moves["status"] = SubscriptionStatus.ACTIVE
        if ends_by(row, renewal.renewal_date) and not has_ended(row):
            moves["cancel_at"] = renewal.period_end  # it ends with the period that is paid
        if payment.card is not None:
            moves["known_card"] = asdict(payment.card)
        return moves

    unpaid = {":c": Status.CLAIMED, ":d": Status.DECLINED, ":a": Status.ACTION_REQUIRED, ":f": Status.FAILED}
    condition = (
        same_claim(renewal),
        Term("payment_id = :payment", {":payment": payment.id}),
        Term("#status IN (:c, :d, :a, :f)", unpaid),
    )
    return settled(renewal, changes, condition, row, moved_on, now)


def settled(
    renewal: Renewal,
    changes: Mapping[str, object],
    condition: Condition,
    row: Row | None,
    row_changes: Callable[[Row], Mapping[str, object]],
    now: datetime,
) -> Step[Renewal]:
    """The step that changes the ledger and the subscription together. row: as it was just read, None where it is gone.

    Where the subscription was deleted or moved to another date meanwhile, the ledger is changed alone and
    flagged as subscription_changed: what happened to the money is recorded in any case.
    """
    if row is None or row.get("renewal_date") != renewal.row_date.isoformat() or "status" not in row:
        alone = changed(renewal, {"flag": Flag.SUBSCRIPTION_CHANGED, **changes}, condition, now)
        then = forget_refusal(row) if row is not None and changes["status"] is Status.PAID else None
        return Step(alone.after, alone.actions, then=then)
    # The anchor and the end are derived from what was read: never over one that somebody sets at this moment.
    read = as_read(row, ("renewal_date", "status", "cancel_at", *ANCHORED))
    move = Update(Table.SUBSCRIPTIONS, row_key(renewal), row_changes(row), read)
    return Step(replaced(renewal, changes), (change(renewal, changes, condition, now), move))


def failed(renewal: Renewal, reason: str, now: datetime, *, gateway_request_id: str | None = None) -> Step[Renewal]:
    """Given up, for a person to look at. reason: a short name. gateway_request_id: the gateway's name of the call
    that it refused, where one is the reason."""
    changes: dict[str, object] = {
        "status": Status.FAILED,
        "reason": reason,
        "failed_from": renewal.status,
        "endings": renewal.ending(Status.FAILED, reason, now),
        "ended_at": now,
        "gateway_request_id": gateway_request_id,
    }
    if renewal.payment_id is not None and renewal.paid_at is None and reason != Reason.CANCELED_AT_THE_GATEWAY:
        changes |= _asked_daily(renewal, now)
    return changed(renewal, changes, (same_claim(renewal), same_status(renewal)), now)


def ask_daily(renewal: Renewal, now: datetime) -> Step[Renewal]:
    """Leave a failed period, whose payment can still be paid, to be asked about tomorrow. Where it is left so already,
    nothing is written."""
    if renewal.next_attempt is not None and renewal.next_attempt >= now.date():
        return Step(renewal, ())
    return changed(renewal, _asked_daily(renewal, now), (same_claim(renewal), same_status(renewal)), now)


def _asked_daily(renewal: Renewal, now: datetime) -> dict[str, object]:
    """So that the sweep finds it, whatever becomes of its row: a payment that can be paid is left to nobody."""
    return {"unfinished": shard(renewal.subscription_id), "next_attempt": now.date()}
