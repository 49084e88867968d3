"""The money in the ledger: claims, payments, and periods that are passed over.

What moves the subscription too is one transaction with its row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from renewals import dynamodb, pauses
from renewals.errors import Collision, Outdated, Overtaken, RenewalError, repeat_while_outdated
from renewals.ledger import LEASE, Ledger
from renewals.reasons import Reason
from renewals.renewal import UNSETTLED, Flag, Renewal, Status, item_of, replaced, shard
from renewals.spans import PAID_UNTIL, paid_until
from renewals.subscription import ENDED_ON, SubscriptionStatus, anchor_change, ends_after, has_ended, is_live, status_of

if TYPE_CHECKING:
    from renewals.gateway import Payment
    from renewals.subscription import Subscription

MOST_PICK_UPS = 10
"""So often an interrupted renewal is taken up without progress; then it is failed, for a person to look at."""

WATCHED = (
    "status",
    "renewal_date",
    "cancel_at",
    "amount",
    "currency",
    "interval",
    "interval_count",
    "anchor_day",
    "gateway_customer",
    "payment_method",
    "version",
)
"""The attributes of a subscription that decide about a charge, and the number of its last change on request."""

_ANCHORED = ("interval", "anchor_day")
"""What the anchor of the next date is derived from, beside the date."""

_HELD = UNSETTLED | {Status.FAILED}
_MOST_ACTIONS = 100  # https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html
MOST_SKIPPED = 96
_LOOKS = 3
_A_MOMENT = timedelta(minutes=5)

NOT_REFUSED: dict[str, Any] = {"next_attempt": None, "refused_payment_method": None}
"""The attributes of a subscription whose period stands refused: taken away when it does no more."""


class GuardRefused(RenewalError):  # noqa: N818
    """The condition of a guard did not hold: what the guard protects is not done now, and no other try helps."""


class Overlaps(RenewalError):  # noqa: N818
    """Nobody was faster: periods from the claimed date on have been in the ledger for some time."""


class _RowChanged(Outdated):
    """The subscription is no longer what was read; the ledger's item still is."""


class PaymentLedger(Ledger):
    """What is claimed, tried and paid, and the subscriptions that move with it. Raises as Ledger."""

    def claim(
        self,
        renewal: Renewal,
        skipped: tuple[date, ...],
        subscription: Subscription,
        instead_of: Sequence[Renewal] = (),
        *,
        guards: Sequence[dict[str, Any]],
    ) -> Renewal:
        """Claim the period, unless somebody has or the subscription is no longer what was read. guards: further checks
        of that transaction, two at most. Raises GuardRefused, and Overlaps.

        The item at the subscription's own renewal_date is always among those written, as the claim or as the first
        period passed over. So no two claims of one subscription stand side by side, even when made on two days.

        instead_of: the claims from the same date on that have moved no money and never will: each failed without a
        payment or with a cancelled one, or was given up. The one of this very date is claimed anew, the others are
        passed over; what they had passed over themselves is free again.
        """
        free, standing = _free(instead_of)
        anew = [r for r in instead_of if r.renewal_date == renewal.renewal_date]
        over = [self._over(r, renewal) for r in instead_of if r not in anew]
        # Beyond DynamoDB's limit the oldest is kept, which guards the claim, and counts those without an item.
        room = _MOST_ACTIONS - 2 - len(guards) - len(over)
        kept = skipped[:1] + skipped[1:][-(min(room, MOST_SKIPPED) - 1) :]
        puts = [self._put(_skipped(renewal, day, len(skipped)), free, standing) for day in kept]
        at_its_date = _as_unpaid(anew[0]) if anew else (free, standing)
        puts += [*over, self._put(item_of(renewal), *at_its_date)]
        try:
            self._transact_guarded([*puts, self._unchanged(subscription)], guards)
        except Overtaken as overtaken:
            lost = overtaken.failed
            read = range(len(kept), len(puts) + 1 if anew else len(puts) - 1)  # read just now, and is so no longer
            in_the_way = [item for item in lost.values() if item and item.get("status") in _HELD]
            fresh = any(_is_fresh(item, renewal.claimed_at) for item in in_the_way)
            if fresh or len(puts) in lost or any(position in read for position in lost):
                raise
            raise Overlaps(renewal.subscription_id) from None
        return renewal

    def _over(self, earlier: Renewal, renewal: Renewal) -> dict[str, Any]:
        """An earlier claim is passed over for this one; its own story stays."""
        changes: dict[str, Any] = {"billed_instead": renewal.renewal_date}
        if earlier.status is Status.FAILED:
            changes |= {"status": Status.SKIPPED, "reason": Reason.PASSED_OVER}
        return {"Update": self._change(earlier, changes, *_as_unpaid(earlier), renewal.claimed_at)}

    def take(self, renewal: Renewal, status: Status, execution: str, now: datetime) -> Renewal:
        """Own the renewal for the next 40 seconds, if it stands and is owned as read.

        status: where its work is taken up, the same for one that was merely interrupted. Taking it over from another
        counts as a pick-up; the owner's own retry does not, and progress begins the count anew.
        """
        picked_up = renewal.pickups if renewal.owner == execution else renewal.pickups + 1
        interrupted = status is renewal.status
        return self._update(
            renewal,
            {
                "status": status,
                "owner": execution,
                "lease_until": now + LEASE,
                "pickups": picked_up if interrupted else 0,
                **({} if interrupted else {"begun_at": now, "next_attempt": None}),
            },
            "#status = :was AND #owner = :owner AND lease_until = :until",
            {":was": renewal.status, ":owner": renewal.owner, ":until": renewal.lease_until},
            now,
        )

    def keep_payment_id(
        self, renewal: Renewal, payment_id: str, now: datetime, *, guards: Sequence[dict[str, Any]]
    ) -> Renewal:
        """Write the payment's id into the claim, if none is there and the subscription stands by the claim. Who loses
        takes the winner's. guards: as in claim. Raises GuardRefused."""
        kept = {"payment_id": payment_id}
        free = "claim = :claim AND attribute_not_exists(payment_id) AND #status = :claimed"
        values = {":claim": renewal.claim, ":claimed": Status.CLAIMED}
        update = self._change(renewal, kept, free, values, now)
        self._transact_guarded([{"Update": update}, self._stands_by(renewal)], guards)
        return replaced(renewal, kept)

    def keep_payment_to_end(self, renewal: Renewal, payment_id: str, now: datetime) -> Renewal:
        """As keep_payment_id, for a payment that is not confirmed any more, whatever the subscription says."""
        return self._update(
            renewal,
            {"payment_id": payment_id},
            "claim = :claim AND attribute_not_exists(payment_id)",
            {":claim": renewal.claim},
            now,
        )

    def withdraw(self, renewal: Renewal, reason: str, execution: str, now: datetime) -> Renewal:
        """Own a claimed or failed period that is not to be charged any more, before its payment is cancelled. From here
        on it is given up, unless it is paid; so that a cancellation of ours is never taken for somebody's at the
        gateway. reason: a short name."""
        return self._update(
            renewal,
            {"withdrawn": reason, "owner": execution, "lease_until": now + LEASE},
            "claim = :claim AND #status = :was AND #owner = :owner AND lease_until = :until",
            {
                ":claim": renewal.claim,
                ":was": renewal.status,
                ":owner": renewal.owner,
                ":until": renewal.lease_until,
            },
            now,
        )

    def count_intent_try(self, renewal: Renewal, now: datetime) -> Renewal:
        """The gateway answered the creation with a 5xx and will repeat that under its key: the next key is another."""
        return self._update(
            renewal,
            {"intent_tries": renewal.intent_tries + 1},
            "claim = :claim AND intent_tries = :tries AND attribute_not_exists(payment_id)",
            {":claim": renewal.claim, ":tries": renewal.intent_tries},
            now,
        )

    def forget_payment(self, renewal: Renewal, now: datetime) -> Renewal:
        """The gateway canceled the claim's payment by itself: another is created, under another key."""
        return self._update(
            renewal,
            {"payment_id": None, "failure_id": None, "intent_tries": renewal.intent_tries + 1},
            "claim = :claim AND #status = :claimed AND payment_id = :payment",
            {":claim": renewal.claim, ":claimed": Status.CLAIMED, ":payment": renewal.payment_id},
            now,
        )

    def wait(self, renewal: Renewal, now: datetime, *, until: datetime | None = None) -> Renewal:
        """Leave a claim as it stands, for whoever asks next. What it waits for is no failure of its own: this look is
        no pick-up. until: it is not overdue before."""
        changes: dict[str, Any] = {"lease_until": now, "pickups": 0}
        if until is not None and until > now:
            changes["begun_at"] = until
        return self._update(
            renewal,
            changes,
            "claim = :claim AND #status = :claimed AND #owner = :owner",
            {":claim": renewal.claim, ":claimed": Status.CLAIMED, ":owner": renewal.owner},
            now,
        )

    def move_on(self, renewal: Renewal, row: Mapping[str, Any]) -> None:
        """Put the row of a period that has ended, and was put back since, past that period."""
        anchor = anchor_change(row, renewal.period_end, renewal.anchor_day)
        self._change_row(row, {"renewal_date": renewal.period_end, pauses.NOTE: None, **anchor})

    def resume(self, subscription: Subscription, until: date, now: datetime) -> None:
        """Move a subscription that somebody has made active again after its pause to the day it is billed from."""
        self.pass_over(subscription, (), until, now, resumed={pauses.NOTE: None})

    def end(self, row: Mapping[str, Any]) -> None:
        """Write that the subscription has come to the end that its `cancel_at` names. row: as it was read."""
        key = {name: row[name] for name in ("subscription_id", "customer_id")}
        condition, values = dynamodb.as_read(row, ("renewal_date", "status", "cancel_at"))
        changes = {"status": SubscriptionStatus.CANCELED, ENDED_ON: row["cancel_at"]}
        self._transact([{"Update": dynamodb.change(self._subscriptions, key, changes, condition, values)}])

    def forget_refusal(self, row: Mapping[str, Any]) -> None:
        """Nothing of the subscription stands refused any more. row: as it was read."""
        if not NOT_REFUSED.keys().isdisjoint(row):
            self._change_row(row, {})

    def _change_row(self, row: Mapping[str, Any], changes: Mapping[str, Any]) -> None:
        key = {name: row[name] for name in ("subscription_id", "customer_id")}
        condition, values = dynamodb.as_read(row, ("renewal_date", "status", *_ANCHORED))
        active = {"status": SubscriptionStatus.ACTIVE} if status_of(row) is SubscriptionStatus.PAST_DUE else {}
        change = dynamodb.change(self._subscriptions, key, {**NOT_REFUSED, **active, **changes}, condition, values)
        self._transact([{"Update": change}])

    def record_paid(
        self,
        renewal: Renewal,
        payment: Payment,
        amount: Decimal,
        *,
        charged_at: datetime,
        execution: str,
        now: datetime,
        row: Mapping[str, Any] | None = None,
    ) -> Renewal:
        """The payment succeeded: ledger and subscription move on in one transaction.

        amount: what the gateway took, major units; flagged as amount_differs if it, or its currency, is not what was
        claimed. charged_at: the gateway's own moment of it, whatever day the subscription lives on. row: the
        subscription, where this run has read it already.
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

        def moved_on(row: Mapping[str, Any]) -> dict[str, Any]:
            changed = {
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
                changed["status"] = SubscriptionStatus.ACTIVE
            ends_before = isinstance(row.get("cancel_at"), str) and not ends_after(row, renewal.renewal_date)
            if ends_before and not has_ended(row):
                changed["cancel_at"] = renewal.period_end  # it ends with the period that is paid
            if payment.card is not None:
                changed["known_card"] = asdict(payment.card)
            return changed

        return self._settle(
            renewal,
            changes,
            "claim = :claim AND payment_id = :payment AND #status IN (:c, :d, :a, :f)",
            {
                ":claim": renewal.claim,
                ":payment": payment.id,
                ":c": Status.CLAIMED,
                ":d": Status.DECLINED,
                ":a": Status.ACTION_REQUIRED,
                ":f": Status.FAILED,
            },
            moved_on,
            now,
            row,
        )

    def pass_over(
        self,
        subscription: Subscription,
        days: tuple[date, ...],
        until: date,
        now: datetime,
        *,
        resumed: Mapping[str, Any] | None = None,
        recorded: Sequence[dict[str, Any]] = (),
    ) -> None:
        """Move a paused subscription past today; each of `days` is left as a skipped period. until: its new date.

        resumed: what else changes in its row, where it is resumed with it. recorded: further actions of that
        transaction, two at most.
        """
        kept = days[:1] + days[1:][-(MOST_SKIPPED - 1) :]
        item = {
            "subscription_id": subscription.subscription_id,
            "customer_id": subscription.customer_id,
            "status": Status.SKIPPED,
            "reason": Reason.PAUSED,
            "periods_passed_over": len(days),
            "touched_at": now,
        }
        free, skipped = "attribute_not_exists(subscription_id) OR #status = :skipped", {":skipped": Status.SKIPPED}
        puts = [self._put(item | {"renewal_date": day}, free, skipped) for day in kept]
        moved = {"renewal_date": until, pauses.NOTE: until, **anchor_change(subscription.row, until), **(resumed or {})}
        key = {"subscription_id": subscription.subscription_id, "customer_id": subscription.customer_id}
        move = dynamodb.change(self._subscriptions, key, moved, *dynamodb.as_read(subscription.row, WATCHED))
        while True:
            try:
                self._transact([*puts, {"Update": move}, *recorded])
            except Overtaken as overtaken:
                if any(position >= len(puts) for position in overtaken.failed):
                    raise
                puts = [put for n, put in enumerate(puts) if n not in overtaken.failed]  # what stands there stays
            else:
                return

    def stands_still(self, subscription_id: str, due: str, standing: Renewal | None) -> dict[str, Any]:
        """The check that no charge of a subscription has begun or gone on since it was read, as an action of a
        transaction. due: its renewal_date. standing: what was read of that period, None where it was not claimed.
        Raises Outdated where a charge has begun or gone on already."""
        day = standing.renewal_date.isoformat() if standing else due
        key = {"subscription_id": subscription_id, "renewal_date": day}
        item = self._item(self._renewals, key) or {}
        claim = item.get("claim") if item.get("status") != Status.SKIPPED else None
        if (claim, item.get("status") if claim else None) != (
            standing and standing.claim,
            standing and standing.status,
        ):
            raise Outdated("a charge of the subscription has begun or gone on")
        condition, values = dynamodb.as_read(item, ("subscription_id", "status", "claim", "billed_instead"))
        return dynamodb.check(self._renewals, key, condition, values)

    def record_failed(
        self, renewal: Renewal, reason: str, now: datetime, *, gateway_request_id: str | None = None
    ) -> Renewal:
        """Given up, for a person to look at. reason: a short name. gateway_request_id: the gateway's name of the call
        that it refused, where one is the reason."""
        changes: dict[str, Any] = {
            "status": Status.FAILED,
            "reason": reason,
            "failed_from": renewal.status,
            "endings": renewal.ending(Status.FAILED, reason, now),
            "ended_at": now,
            "gateway_request_id": gateway_request_id,
        }
        if renewal.payment_id is not None and renewal.paid_at is None and reason != Reason.CANCELED_AT_THE_GATEWAY:
            changes |= self._asked_daily(renewal, now)
        values = {":claim": renewal.claim, ":was": renewal.status}
        return self._update(renewal, changes, "claim = :claim AND #status = :was", values, now)

    def ask_daily(self, renewal: Renewal, now: datetime) -> None:
        """Leave a failed period, whose payment can still be paid, to be asked about tomorrow."""
        changes = self._asked_daily(renewal, now)
        if renewal.next_attempt is None or renewal.next_attempt < changes["next_attempt"]:
            values = {":claim": renewal.claim, ":was": renewal.status}
            self._update(renewal, changes, "claim = :claim AND #status = :was", values, now)

    def _asked_daily(self, renewal: Renewal, now: datetime) -> dict[str, Any]:
        """So that the sweep finds it, whatever becomes of its row: a payment that can be paid is left to nobody."""
        return {"unfinished": shard(renewal.subscription_id), "next_attempt": now.date()}

    # How it is written

    def _transact_guarded(self, actions: list[dict[str, Any]], guards: Sequence[dict[str, Any]]) -> None:
        """Raises GuardRefused where a guard's condition does not hold, whatever else does not."""
        try:
            self._transact([*actions, *guards])
        except Overtaken as overtaken:
            if any(position >= len(actions) for position in overtaken.failed):
                raise GuardRefused(str(overtaken)) from None
            raise

    def _put(self, item: Mapping[str, Any], condition: str, values: Mapping[str, Any]) -> dict[str, Any]:
        put = {
            "TableName": self._renewals,
            "Item": dynamodb.attributes(item),
            "ConditionExpression": condition,
            "ExpressionAttributeNames": dynamodb.names(condition),
            "ExpressionAttributeValues": dynamodb.attributes(values),
        }
        return {"Put": {name: value for name, value in put.items() if value}}

    def _settle(
        self,
        renewal: Renewal,
        changes: dict[str, Any],
        condition: str,
        values: Mapping[str, Any],
        row_changes: Callable[[Mapping[str, Any]], dict[str, Any]],
        now: datetime,
        as_read: Mapping[str, Any] | None = None,
    ) -> Renewal:
        """Change the ledger and the subscription in one transaction. as_read: the row as it was read before in this
        run; where it has changed since, it is read again.

        Where the subscription was deleted or moved to another date meanwhile, the ledger is changed alone and
        flagged as subscription_changed: what happened to the money is recorded in any case.
        """
        key = {"subscription_id": renewal.subscription_id, "customer_id": renewal.customer_id}
        read_before = [] if as_read is None else [as_read]

        def settled() -> Renewal:
            row = read_before.pop() if read_before else self.row(renewal)
            if row is None or row.get("renewal_date") != renewal.row_date.isoformat() or "status" not in row:
                alone = self._update(renewal, {"flag": Flag.SUBSCRIPTION_CHANGED} | changes, condition, values, now)
                if row is not None and changes["status"] is Status.PAID:
                    with suppress(Overtaken):  # the row changed since it was read: what somebody wrote there stands
                        self.forget_refusal(row)
                return alone
            # The anchor and the end are derived from what was read: never over one that somebody sets at this moment.
            unchanged, read = dynamodb.as_read(row, ("renewal_date", "status", "cancel_at", *_ANCHORED))
            move = dynamodb.change(self._subscriptions, key, row_changes(row), unchanged, read)
            record = self._change(renewal, changes, condition, values, now)
            try:
                self._transact([{"Update": record}, {"Update": move}])
            except Overtaken as overtaken:
                if 0 in overtaken.failed:
                    raise
                raise _RowChanged(renewal.subscription_id) from None
            return replaced(renewal, changes)

        keeps_changing = Collision("the subscription keeps changing")
        return repeat_while_outdated(settled, tries=_LOOKS, otherwise=keeps_changing, when=_RowChanged)

    def _unchanged(self, subscription: Subscription) -> dict[str, Any]:
        """The check that what decides about a charge is what was read."""
        return self._row_check(subscription, *dynamodb.as_read(subscription.row, WATCHED))

    def _stands_by(self, renewal: Renewal) -> dict[str, Any]:
        """The check that `why_withdrawn` has nothing against the claim, at this moment."""
        live = {f":{status}": status for status in SubscriptionStatus if status.is_live}
        condition = (
            f"#status IN ({', '.join(live)}) AND (attribute_not_exists(cancel_at) OR cancel_at > :period) "
            "AND renewal_date = :row_date AND gateway_customer = :customer"
        )
        claimed = {
            ":period": renewal.renewal_date,
            ":row_date": renewal.row_date,
            ":customer": renewal.gateway_customer,
        }
        return self._row_check(renewal, condition, live | claimed)

    def _row_check(self, of: Subscription | Renewal, condition: str, values: Mapping[str, Any]) -> dict[str, Any]:
        key = {"subscription_id": of.subscription_id, "customer_id": of.customer_id}
        return dynamodb.check(self._subscriptions, key, condition, values)


def _as_unpaid(earlier: Renewal) -> tuple[str, dict[str, Any]]:
    """The condition that the claim is the one that was read, and has moved no money and never will."""
    no_payment = "(attribute_not_exists(payment_id) OR #reason = :canceled)"
    unpaid = f"((#status = :failed AND {no_payment}) OR #status = :given_up)"
    values = {
        ":failed": Status.FAILED,
        ":claim": earlier.claim,
        ":given_up": Status.GIVEN_UP,
        ":canceled": Reason.CANCELED_AT_THE_GATEWAY,
    }
    return f"claim = :claim AND {unpaid}", values


def _free(instead_of: Sequence[Renewal]) -> tuple[str, dict[str, Any]]:
    """The condition that a date is free for a claim: nothing stands there, or it was passed over: in a pause, for an
    earlier period, which took in its days and is checked as all that is paid, or for one of these claims, whose own
    conditions tell in the same transaction that they were never paid."""
    dates = {f":passed_{n}": r.renewal_date for n, r in enumerate(instead_of)}
    passed_over = "#reason = :paused OR billed_instead < renewal_date" + (
        f" OR billed_instead IN ({', '.join(dates)})" if dates else ""
    )
    free = f"attribute_not_exists(subscription_id) OR (#status = :skipped AND ({passed_over}))"
    return free, {":skipped": Status.SKIPPED, ":paused": Reason.PAUSED, **dates}


def _is_fresh(item: Mapping[str, Any], now: datetime) -> bool:
    """Whether an item was written a moment ago: by another who is at work, and is seen when all is looked at again."""
    return now - datetime.fromisoformat(item["touched_at"]) < _A_MOMENT


def why_withdrawn(renewal: Renewal, row: Mapping[str, Any] | None) -> Reason | None:
    """Why a claimed period is not to be charged any more; None while its subscription stands by it:
    while it is live, due on the date that was claimed, the same customer's at the gateway, and does not end before.

    row: the subscription's raw attributes as they are now, whatever else is wrong with them; None where it is gone.
    """
    if row is None:
        return Reason.DELETED
    if not is_live(row):
        status = status_of(row)
        return Reason(status) if status else Reason.UNKNOWN_STATUS
    if "cancel_at" in row and not ends_after(row, renewal.renewal_date):
        return Reason.ENDS_BEFORE
    if row.get("renewal_date") != renewal.row_date.isoformat():
        return Reason.MOVED
    return Reason.ANOTHER_CUSTOMER if row.get("gateway_customer") != renewal.gateway_customer else None


def _skipped(renewal: Renewal, day: date, count: int) -> dict[str, Any]:
    return {
        "subscription_id": renewal.subscription_id,
        "renewal_date": day,
        "customer_id": renewal.customer_id,
        "status": Status.SKIPPED,
        "reason": Reason.PASSED_OVER,
        "billed_instead": renewal.renewal_date,
        "periods_passed_over": count,
        "touched_at": renewal.claimed_at,
    }
