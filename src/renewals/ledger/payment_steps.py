"""Payments of claimed periods in the ledger: ownership, the id of the payment, and the result.

The functions return steps as values, except `stands_by`, which returns a check, and `why_withdrawn`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from renewals.domain import pauses
from renewals.domain.reasons import Reason
from renewals.domain.renewal import Flag, Renewal, Status
from renewals.domain.renewal_items import replaced, shard
from renewals.domain.spans import paid_until
from renewals.domain.subscription import PAID_UNTIL, SubscriptionStatus, anchor_change, ends_by, is_live, status_of
from renewals.ledger.row_steps import ANCHORED, NOT_REFUSED, forget_refusal
from renewals.ledger.steps import (
    LEASE,
    Check,
    Condition,
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
    from renewals.domain.payment import Payment

MOST_PICK_UPS = 10
"""An interrupted renewal is picked up at most this many times without progress, and fails afterwards: a person must
look."""


def take(renewal: Renewal, status: Status, execution: str, now: datetime, *, counts: bool = True) -> Step[Renewal]:
    """Own the renewal for the next 40 seconds, if its status, owner and lease are unchanged.

    A take-over of an interrupted renewal from a different owner counts as a pick-up. The owner's own retry does not
    count, and progress sets the count back to zero.

    Args:
        status: the status from which work continues: the present status of an interrupted renewal, or an earlier status
            if a parked or failed renewal continues.
        counts: false if an event of the gateway caused the take-over, which then does not count as a pick-up.
    """
    picked_up = renewal.pickups + (counts and renewal.owner != execution)
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
    """Write the payment's id into the claim, if the claim has no payment yet and the subscription still permits the
    charge.

    If a different execution was faster, the charge uses the payment of the faster execution.

    Args:
        guards: as in claim_steps.claim.
    """
    kept = {"payment_id": payment_id}
    condition = (same_claim(renewal), no_payment(), Term("#status = :claimed", {":claimed": Status.CLAIMED}))
    return Step(replaced(renewal, kept), (change(renewal, kept, condition, now), stands_by(renewal)), guards=guards)


def stands_by(renewal: Renewal) -> Check:
    """Return the check of the subscription's row that refuses a step if the period must not be charged any more. The
    check demands the same as `why_withdrawn`, but at the moment of the step."""
    live = {f":{status}": status for status in SubscriptionStatus if status.is_live}
    condition = (
        Term(f"#status IN ({', '.join(live)})", live),
        Term("(attribute_not_exists(cancel_at) OR cancel_at > :period)", {":period": renewal.renewal_date}),
        Term("renewal_date = :row_date", {":row_date": renewal.row_date}),
        Term("gateway_customer = :customer", {":customer": renewal.gateway_customer}),
    )
    return Check(Table.SUBSCRIPTIONS, row_key(renewal), condition)


def why_withdrawn(renewal: Renewal, row: Row | None) -> Reason | None:
    """Return why a claimed period must no longer be charged; None if the period may be charged.

    A period may be charged while its subscription is live, still has the renewal date and the gateway's customer that
    the claim recorded, and does not end on or before the first day of the period.

    Args:
        row: the subscription's current raw attributes, right or wrong; None if the subscription is deleted.
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
    """Write a payment's id into the claim in order to cancel the payment, whatever state the subscription is in."""
    return changed(renewal, {"payment_id": payment_id}, (same_claim(renewal), no_payment()), now)


def withdraw(renewal: Renewal, reason: str, execution: str, now: datetime) -> Step[Renewal]:
    """Own a claimed or failed period that must no longer be charged, before its payment is canceled.

    From now on, the period is given up unless its payment turns out to have succeeded. The attribute `withdrawn` shows
    to every later execution that our own cancellation ended the payment, and not a person at the gateway.

    Args:
        reason: a short name.
    """
    changes = {"withdrawn": reason, "owner": execution, "lease_until": now + LEASE}
    condition = (same_claim(renewal), same_status(renewal), same_owner(renewal), same_lease(renewal))
    return changed(renewal, changes, condition, now)


def count_intent_try(renewal: Renewal, now: datetime) -> Step[Renewal]:
    """Count a failed creation of the payment. The gateway answered with a 5xx, and repeats the answer for the same
    idempotency key. The next try therefore has a new idempotency key."""
    condition = (same_claim(renewal), Term("intent_tries = :tries", {":tries": renewal.intent_tries}), no_payment())
    return changed(renewal, {"intent_tries": renewal.intent_tries + 1}, condition, now)


def forget_payment(renewal: Renewal, now: datetime) -> Step[Renewal]:
    """Forget the claim's payment, which the gateway itself has canceled. A new payment is created under a new
    idempotency key."""
    changes = {"payment_id": None, "failure_id": None, "intent_tries": renewal.intent_tries + 1}
    condition = (
        same_claim(renewal),
        Term("#status = :claimed", {":claimed": Status.CLAIMED}),
        Term("payment_id = :payment", {":payment": renewal.payment_id}),
    )
    return changed(renewal, changes, condition, now)


def wait(renewal: Renewal, now: datetime, *, until: datetime | None = None) -> Step[Renewal]:
    """Let a claim wait for the next execution. The lease ends now, and the count of pick-ups is set back to zero,
    because the claim is not at fault for the wait.

    Args:
        until: the moment from which the age of the claim counts for the alarm about unfinished renewals; None leaves
            the age as it is.
    """
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
    """Record that the payment succeeded: the ledger and the subscription change in one transaction.

    Args:
        amount: the amount that the gateway took, in major units. The period gets the flag amount_differs if the amount
            or the currency differs from the claim.
        row: as for settled.
        charged_at: the gateway's own time of the charge, even if a test clock moves the subscription to a different
            day.
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
        if ends_by(row, renewal.renewal_date) and status_of(row) is not SubscriptionStatus.CANCELED:
            moves["cancel_at"] = renewal.period_end  # the subscription ends with the paid period
        if payment.card is not None and not _has_detached_card(row):
            moves["known_card"] = payment.card.record
        return moves

    unpaid = {":c": Status.CLAIMED, ":d": Status.DECLINED, ":a": Status.ACTION_REQUIRED, ":f": Status.FAILED}
    condition = (
        same_claim(renewal),
        Term("payment_id = :payment", {":payment": payment.id}),
        Term("#status IN (:c, :d, :a, :f)", unpaid),
    )
    return settled(renewal, changes, condition, row, moved_on, now)


def _has_detached_card(row: Row) -> bool:
    """Whether the row says that its card was detached. Such a card can never be charged again, although a payment by
    the card may be recorded later."""
    note = row.get("known_card")
    if not isinstance(note, dict):
        return False
    return note.get("is_detached") is True and note.get("payment_method") == row.get("payment_method")


def settled(
    renewal: Renewal,
    changes: Mapping[str, object],
    condition: Condition,
    row: Row | None,
    row_changes: Callable[[Row], Mapping[str, object]],
    now: datetime,
) -> Step[Renewal]:
    """Return the step that changes the ledger and the subscription together.

    If the subscription was deleted or moved to a different date meanwhile, only the ledger changes, with the flag
    subscription_changed: the fate of the money is recorded in any case.

    Args:
        row: the subscription's current row; None if deleted.
    """
    if row is None or row.get("renewal_date") != renewal.row_date.isoformat() or "status" not in row:
        alone = changed(renewal, {"flag": Flag.SUBSCRIPTION_CHANGED, **changes}, condition, now)
        then = forget_refusal(row) if row is not None and changes["status"] is Status.PAID else None
        return Step(alone.after, alone.actions, then=then)
    # The anchor and the end are derived from these attributes. If somebody edits one of the attributes at this moment,
    # the step is refused, and the edit is not overwritten.
    read = as_read(row, ("renewal_date", "status", "cancel_at", *ANCHORED))
    move = Update(Table.SUBSCRIPTIONS, row_key(renewal), row_changes(row), read)
    return Step(replaced(renewal, changes), (change(renewal, changes, condition, now), move))


def failed(renewal: Renewal, reason: str, now: datetime, *, gateway_request_id: str | None = None) -> Step[Renewal]:
    """Mark the period as failed, for a person to look at.

    Args:
        reason: a short name.
        gateway_request_id: the gateway's id of the refused call, if a refused call is the reason.
    """
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
    """Have the sweep ask tomorrow about a failed period whose payment can still succeed. The step sets `next_attempt`
    to today, and the sweep asks as soon as `next_attempt` is in the past. If `next_attempt` is today or later already,
    nothing is written."""
    if renewal.next_attempt is not None and renewal.next_attempt >= now.date():
        return Step(renewal, ())
    return changed(renewal, _asked_daily(renewal, now), (same_claim(renewal), same_status(renewal)), now)


def _asked_daily(renewal: Renewal, now: datetime) -> dict[str, object]:
    """Return the changes by which the sweep finds the period, whatever happens to the subscription's row. A payment
    that can still succeed is never forgotten."""
    return {"unfinished": shard(renewal.subscription_id), "next_attempt": now.date()}
