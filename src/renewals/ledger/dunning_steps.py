"""Dunning in the ledger: a refused period is retried, moved to its next dunning date, or given up.

All functions return steps as values.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING

from renewals.domain.renewal import MailKind, Renewal, Status, mail_name
from renewals.domain.renewal_items import replaced
from renewals.domain.subscription import SubscriptionStatus, status_of
from renewals.ledger.claim_steps import unchanged
from renewals.ledger.payment_steps import settled, stands_by
from renewals.ledger.row_steps import NOT_REFUSED
from renewals.ledger.steps import (
    LEASE,
    Check,
    Row,
    Step,
    Table,
    Term,
    Update,
    as_read,
    change,
    changed,
    row_key,
    same_attempt,
    same_claim,
    same_lease,
    same_owner,
    same_status,
)
from renewals.runtime.attribute_values import TransactAction

if TYPE_CHECKING:
    from renewals.domain.payment import Failure
    from renewals.domain.subscription import Subscription


def refused(
    renewal: Renewal,
    status: Status,
    failure: Failure,
    row: Row | None,
    *,
    next_attempt: date,
    notice: MailKind | None,
    now: datetime,
) -> Step[Renewal]:
    """Record that the attempt was refused; the subscription becomes past due.

    Args:
        status: DECLINED or ACTION_REQUIRED.
        row: as for payment_steps.settled.
        next_attempt: the next dunning date, or today if no date is left and the period is to be given up.
        notice: the kind of mail that the customer is owed about the refusal.
    """
    refusal = {
        "at": now.isoformat(timespec="microseconds"),
        "payment_method": renewal.payment_method,
        "decline_code": failure.decline_code or failure.code,
        "advice_code": failure.advice_code,
        "gateway_request_id": failure.request_id,
    }
    changes = {
        "status": status,
        "failure_id": failure.id,
        "decline_code": refusal["decline_code"],
        "advice_code": failure.advice_code,
        "declined_at": now,
        "next_attempt": next_attempt,
        "notice": _notice(renewal, notice),
        f"refusals.attempt_{renewal.attempt}": {k: v for k, v in refusal.items() if v is not None},
        "lease_until": now + LEASE,
        "pickups": 0,
    }

    def past_due(row: Row) -> dict[str, object]:
        moves: dict[str, object] = {
            "payment_status": status,
            "next_attempt": next_attempt,
            "refused_payment_method": renewal.payment_method,
        }
        active = status_of(row) is SubscriptionStatus.ACTIVE
        return moves | ({"status": SubscriptionStatus.PAST_DUE} if active else {})

    claimed = Term("#status = :claimed", {":claimed": Status.CLAIMED})
    return settled(renewal, changes, (same_claim(renewal), same_attempt(renewal), claimed), row, past_due, now)


def next_attempt(
    renewal: Renewal,
    subscription: Subscription,
    failure_id: str,
    *,
    dunned: int,
    execution: str,
    now: datetime,
    guards: Sequence[TransactAction],
) -> Step[Renewal]:
    """Begin attempt n+1 with the subscription's payment method. The subscription must be unchanged, and attempt n must
    still be the last attempt, with an unchanged status, owner and lease (a new owner may be giving the period up).

    A pending withdrawal of the claim is dropped, since its reason no longer holds: for example, the end of the
    subscription was revoked.

    Args:
        failure_id: the last failure that the payment shows before this attempt.
        dunned: the number of passed dunning dates: one more on a dunning date, unchanged after an update of the payment
            method.
        guards: as in claim_steps.claim.
    """
    changes = {
        "status": Status.CLAIMED,
        "attempt": renewal.attempt + 1,
        "payment_method": subscription.payment_method,
        "failure_id": failure_id,
        "dunned": dunned,
        "begun_at": now,
        "notice": None,  # an unsent mail about the previous attempt is outdated
        "owner": execution,
        "lease_until": now + LEASE,
        "pickups": 0,
    }
    if renewal.withdrawn:
        changes["withdrawn"] = None
    if renewal.closed_at:
        changes["closed_at"] = None
    stands = same_claim(renewal), same_attempt(renewal), same_status(renewal), same_owner(renewal), same_lease(renewal)
    begin = change(renewal, changes, stands, now)
    return Step(replaced(renewal, changes), (begin, unchanged(subscription)), guards=guards)


def begin_challenge(
    renewal: Renewal, execution: str, now: datetime, *, guards: Sequence[TransactAction]
) -> Step[Renewal]:
    """Take the lease of a refused period, before its payment is confirmed with the customer present.

    The period must be as read, and the last attempt must have been refused because the customer must confirm the
    payment. The subscription must still permit the charge, and must still have the card of the claim.

    Args:
        guards: as in claim_steps.claim.
    """
    changes = {"owner": execution, "lease_until": now + LEASE, "challenged_at": now}
    asks = Term("#status = :asks", {":asks": Status.ACTION_REQUIRED})
    condition = (same_claim(renewal), same_attempt(renewal), asks, same_owner(renewal), same_lease(renewal))
    row = stands_by(renewal)
    same_card = Term("payment_method = :card", {":card": renewal.payment_method})
    allowed = Check(row.table, row.key, (*row.condition, same_card))
    return Step(replaced(renewal, changes), (change(renewal, changes, condition, now), allowed), guards=guards)


def challenge_begun(renewal: Renewal, now: datetime) -> Step[Renewal]:
    """Let go of the lease once the payment was confirmed with the customer present, so that a customer who refuses at
    the bank's page can try again at once."""
    condition = (same_claim(renewal), same_attempt(renewal), same_status(renewal), same_owner(renewal))
    return changed(renewal, {"lease_until": now}, condition, now)


def payment_closed(renewal: Renewal, now: datetime) -> Step[Renewal]:
    """Record that the payment that the customer should confirm is canceled at the gateway, so that the customer's page
    no longer asks for the confirmation. The dunning dates stay."""
    return changed(renewal, {"closed_at": now}, (same_claim(renewal), same_attempt(renewal), same_status(renewal)), now)


def dunning_date(
    renewal: Renewal,
    row: Row | None,
    *,
    dunned: int,
    next_attempt: date,
    notice: MailKind | None,
    now: datetime,
    held: bool = False,
) -> Step[Renewal]:
    """Record a dunning date that passed without an attempt.

    The arguments are those of `refused`. If no new notice is given, however, the previous notice stays owed.

    Args:
        dunned: the number of dunning dates passed so far.
        held: whether the last dunning date, or the end of dunning, waits until the customer is told of the end.
    """
    changes = (
        {"status": renewal.status, "dunned": dunned, "next_attempt": next_attempt}
        | ({"held_at": renewal.held_at or now} if held else {})
        | ({"notice": _notice(renewal, notice)} if notice else {})
    )
    condition = (
        same_claim(renewal),
        same_attempt(renewal),
        same_status(renewal),
        Term("dunned = :dunned", {":dunned": renewal.dunned}),
    )
    return settled(renewal, changes, condition, row, lambda _row: {"next_attempt": next_attempt}, now)


def give_up(
    renewal: Renewal, reason: str, row: Row | None, *, ends_as: SubscriptionStatus | None, now: datetime
) -> Step[Renewal]:
    """Give the period up, after its payment was canceled at the gateway. The period stays unpaid, and may be claimed
    anew.

    Args:
        reason: as stored, see renewals.domain.reasons.
        row: the subscription's current row, even if its renewal date was moved; None if the row is deleted.
        ends_as: the subscription's new status, canceled or unpaid; the customer is told of the end.
    """
    changes = {
        "status": Status.GIVEN_UP,
        "reason": reason,
        "endings": renewal.ending(Status.GIVEN_UP, reason, now),
        "next_attempt": None,
        "notice": _notice(renewal, MailKind(ends_as) if ends_as else None),
        "ended_at": now,
        "lease_until": now,
        "withdrawn": None,
    }
    condition = (same_claim(renewal), same_attempt(renewal), same_status(renewal))
    if row is None or "status" not in row or "renewal_date" not in row:
        return changed(renewal, changes, condition, now)
    ended: dict[str, object] = {"payment_status": Status.GIVEN_UP, **NOT_REFUSED}
    if ends_as or status_of(row) is SubscriptionStatus.PAST_DUE:
        ended["status"] = ends_as or SubscriptionStatus.ACTIVE
    watched: tuple[str, ...] = ("status", "renewal_date")
    if ends_as and "payment_method" in row:  # if the card is updated at this moment, the new card is tried first
        watched += ("payment_method",)
    move = Update(Table.SUBSCRIPTIONS, row_key(renewal), ended, as_read(row, watched))
    return Step(replaced(renewal, changes), (change(renewal, changes, condition, now), move))


def _notice(renewal: Renewal, kind: MailKind | None) -> str | None:
    return mail_name(kind, renewal.attempt) if kind else None
