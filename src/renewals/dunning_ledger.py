"""Dunning in the ledger: a period that was refused is tried again, asked about on its dates, and given up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from renewals import dynamodb
from renewals.ledger import LEASE
from renewals.payment_ledger import NOT_REFUSED, PaymentLedger
from renewals.renewal import MailKind, Renewal, Status, mail_name, replaced
from renewals.subscription import SubscriptionStatus, status_of

if TYPE_CHECKING:
    from renewals.gateway import Failure
    from renewals.subscription import Subscription


class DunningLedger(PaymentLedger):
    """The money, and what becomes of it where it is refused. Raises as Ledger."""

    def record_refused(
        self,
        renewal: Renewal,
        status: Status,
        failure: Failure,
        *,
        next_attempt: date,
        notice: MailKind | None,
        now: datetime,
    ) -> Renewal:
        """The attempt came to nothing. status: DECLINED or ACTION_REQUIRED. The subscription becomes past due.

        next_attempt: the next dunning date, or today where there is none left and it is to be given up. notice: the
        kind of mail that the customer is owed about it.
        """
        refusal = {
            "at": now.isoformat(timespec="microseconds"),
            "payment_method": renewal.payment_method,
            "decline_code": failure.decline_code or failure.code,
            "advice_code": failure.advice_code,
            "gateway_request_id": failure.request_id,
        }
        return self._settle(
            renewal,
            {
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
            },
            "claim = :claim AND attempt = :attempt AND #status = :claimed",
            {":claim": renewal.claim, ":attempt": renewal.attempt, ":claimed": Status.CLAIMED},
            lambda row: (
                {
                    "payment_status": status,
                    "next_attempt": next_attempt,
                    "refused_payment_method": renewal.payment_method,
                }
                | ({"status": SubscriptionStatus.PAST_DUE} if status_of(row) is SubscriptionStatus.ACTIVE else {})
            ),
            now,
        )

    def next_attempt(
        self,
        renewal: Renewal,
        subscription: Subscription,
        failure_id: str,
        *,
        dunned: int,
        execution: str,
        now: datetime,
        guards: Sequence[dict[str, Any]],
    ) -> Renewal:
        """Begin attempt n+1 with the subscription's card, if attempt n is still the last, stands as it was read and was
        taken by nobody since (who may be giving it up), and the subscription is still what was read. An end of the
        subscription that was taken back is forgotten. failure_id: the last failure that the payment shows before this
        attempt. dunned: one more where this is a dunning date's attempt, as many as before where another card asks for
        it. guards: as in claim. Raises GuardRefused.
        """
        changes = {
            "status": Status.CLAIMED,
            "attempt": renewal.attempt + 1,
            "payment_method": subscription.payment_method,
            "failure_id": failure_id,
            "dunned": dunned,
            "begun_at": now,
            "notice": None,  # what was not told of the attempt before is no news any more
            "owner": execution,
            "lease_until": now + LEASE,
            "pickups": 0,
        }
        if renewal.withdrawn:
            changes["withdrawn"] = None
        stands = "claim = :claim AND attempt = :attempt AND #status = :was"
        values = {":claim": renewal.claim, ":attempt": renewal.attempt, ":was": renewal.status}
        owned = "#owner = :owner AND lease_until = :until"
        values |= {":owner": renewal.owner, ":until": renewal.lease_until}
        begin = self._change(renewal, changes, f"{stands} AND {owned}", values, now)
        self._transact_guarded([{"Update": begin}, self._unchanged(subscription)], guards)
        return replaced(renewal, changes)

    def record_dunning_date(
        self,
        renewal: Renewal,
        *,
        dunned: int,
        next_attempt: date,
        notice: MailKind | None,
        now: datetime,
        held: bool = False,
    ) -> Renewal:
        """A dunning date on which there was nothing to try. Arguments as for record_refused, but that without a notice
        of its own the one before stays owed. dunned: so many dates are behind it then. held: its last step waits."""
        return self._settle(
            renewal,
            {"status": renewal.status, "dunned": dunned, "next_attempt": next_attempt}
            | ({"held_at": renewal.held_at or now} if held else {})
            | ({"notice": _notice(renewal, notice)} if notice else {}),
            "claim = :claim AND attempt = :attempt AND #status = :was AND dunned = :dunned",
            {
                ":claim": renewal.claim,
                ":attempt": renewal.attempt,
                ":was": renewal.status,
                ":dunned": renewal.dunned,
            },
            lambda _row: {"next_attempt": next_attempt},
            now,
        )

    def give_up(
        self,
        renewal: Renewal,
        reason: str,
        row: Mapping[str, Any] | None,
        *,
        ends_as: SubscriptionStatus | None,
        now: datetime,
    ) -> Renewal:
        """The refused period is over, unpaid, and its payment is cancelled; it may be claimed anew.

        reason: a short name. row: the subscription as it was just read, whatever its date; None where it is gone.
        ends_as: what the subscription becomes with it, canceled or unpaid, of which the customer is then told.
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
        condition = "claim = :claim AND attempt = :attempt AND #status = :was"
        values = {":claim": renewal.claim, ":attempt": renewal.attempt, ":was": renewal.status}
        if row is None or "status" not in row or "renewal_date" not in row:
            return self._update(renewal, changes, condition, values, now)
        ended: dict[str, Any] = {"payment_status": Status.GIVEN_UP, **NOT_REFUSED}
        if ends_as or status_of(row) is SubscriptionStatus.PAST_DUE:
            ended["status"] = ends_as or SubscriptionStatus.ACTIVE
        key = {"subscription_id": renewal.subscription_id, "customer_id": renewal.customer_id}
        read = {":status": row["status"], ":renewal_date": row["renewal_date"]}
        as_read = "#status = :status AND #renewal_date = :renewal_date"
        if ends_as and "payment_method" in row:  # a card that comes at this moment is tried first
            read[":payment_method"] = row["payment_method"]
            as_read += " AND #payment_method = :payment_method"
        end = dynamodb.change(self._subscriptions, key, ended, as_read, read)
        record = self._change(renewal, changes, condition, values, now)
        self._transact([{"Update": record}, {"Update": end}])
        return replaced(renewal, changes)


def _notice(renewal: Renewal, kind: MailKind | None) -> str | None:
    return mail_name(kind, renewal.attempt) if kind else None
