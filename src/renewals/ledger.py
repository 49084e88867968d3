"""The ledger: one item for each subscription and billing period, in the renewals table.

It is the claim, the audit trail and the work list in one. Every change is conditional, so that of two who try the
same step one wins and the other is told.

    claimed ──► paid ──► receipted ──► done
      │ ▲                    ├───────► mail_failed    the address is at fault: parked until it changes
      ▼ │ next attempt       └───────► mail_unknown   sent or not, nobody can tell: never sent again by itself
    declined, action_required ──► given_up    dunning is over, or the subscription has ended or was moved: the payment
                                              is cancelled, and the period can be claimed anew
    skipped   a period that was passed over for a later one, or in which the subscription was paused
    failed    ten pick-ups without progress, or refused by the gateway for good: a person must look, and asking for
              the renewal again takes it up where it stood

Keys: subscription_id, renewal_date (the first day of the period, YYYY-MM-DD). What is not finished carries
`unfinished` (one of sixteen values, so that the index over it has no hot key) and stands in unfinished-index by
`touched_at`; so does what was given up, until the customer has been told. `begun_at` is when the work began that it
waits for: the claim, a further attempt, or the refusal that the customer is to be told of. `parked`: that telling waits
for another address.
What is paid stands in charged-on-index, by the gateway's own day (`charged_on`, UTC) and moment (`charged_at`) of the
charge: the audit reads both sides in this order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from renewals import dynamodb, refunds
from renewals.errors import Collision
from renewals.renewal import UNFINISHED, UNSETTLED, Mail, Renewal, Status, item_of, renewal_from, replaced, shard
from renewals.subscription import anchor

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

    from renewals.gateway import Failure, Payment
    from renewals.subscription import Subscription

LEASE = timedelta(seconds=40)
"""How long an execution owns a renewal after its last step: longer than a task and the wait before its retry."""

CANCELED_AT_THE_GATEWAY = "gateway: canceled"
"""The reason of a failed claim whose payment somebody cancelled at the gateway."""

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

_HELD = UNSETTLED | {Status.FAILED}
RECENT = 10
_PAGE = 40
_MOST_PAGES = 10
MOST_SKIPPED = 96  # DynamoDB's limit of 100 actions in a transaction, less the claim, a failed one and two checks
_LOOKS = 3


@dataclass(frozen=True, slots=True)
class Lost:
    """A condition that did not hold: another was faster, and all is to be looked at again.

    overlaps: it was not a race, but periods that stand in the ledger already. guarded: it was the guard's condition.
    """

    overlaps: bool = False
    guarded: bool = False


class Ledger:
    """The renewals table, and the subscriptions that it moves on. All reads are consistent.

    renewals, subscriptions: names of tables; the second is needed where subscriptions are read or moved.
    Raises Collision where others keep writing the same items, and botocore's errors where AWS fails.
    """

    def __init__(self, client: DynamoDBClient, *, renewals: str, subscriptions: str = "") -> None:
        self._client = client
        self._renewals = renewals
        self._subscriptions = subscriptions

    # Reading

    def recent(self, subscription_id: str) -> list[Renewal]:
        """The latest ten periods of a subscription, newest first, without those passed over."""
        renewals: list[Renewal] = []
        start: dict[str, Any] = {}
        for n in range(_MOST_PAGES):
            # Nearly always the first ten are what is wanted; skipped ones may come by the dozen.
            limit = _PAGE if n else RECENT
            page = self._page(self._renewals, subscription_id, limit=limit, newest_first=True, **start)
            items = [dynamodb.plain(item) for item in page["Items"]]
            renewals += [renewal_from(item) for item in items if item["status"] != Status.SKIPPED]
            if len(renewals) >= RECENT or "LastEvaluatedKey" not in page:
                break
            start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}
        return renewals[:RECENT]

    def named(self, subscription_id: str, renewal_date: date) -> list[Renewal]:
        """The period of this date, if it is claimed; by a query, as `recent`."""
        items, _ = self.page(subscription_id, limit=1, before=(renewal_date + timedelta(days=1)).isoformat())
        found = (_claimed(item) for item in items if item["renewal_date"] == renewal_date.isoformat())
        return [renewal for renewal in found if renewal is not None]

    def page(
        self, subscription_id: str, *, limit: int, before: str | None = None
    ) -> tuple[list[dict[str, Any]], str | None]:
        """Items of all kinds as they stand in the table, newest first, and the date before which there are more.

        before: a renewal date, YYYY-MM-DD.
        """
        key = {"subscription_id": subscription_id, "renewal_date": before}
        start = {"ExclusiveStartKey": dynamodb.attributes(key)} if before else {}
        page = self._page(self._renewals, subscription_id, limit=limit, newest_first=True, **start)
        last = dynamodb.plain(page.get("LastEvaluatedKey", {}))
        return [dynamodb.plain(item) for item in page["Items"]], last.get("renewal_date")

    def get(self, subscription_id: str, renewal_date: str) -> Renewal | None:
        """One period; None where it is not claimed. renewal_date: YYYY-MM-DD."""
        key = {"subscription_id": subscription_id, "renewal_date": renewal_date}
        return _claimed(self._item(self._renewals, key))

    def with_row(
        self, subscription_id: str, renewal_date: str, customer_id: str
    ) -> tuple[Renewal | None, dict[str, Any] | None]:
        """`get` and `row` in one call."""
        key = {"subscription_id": subscription_id, "renewal_date": renewal_date}
        row_key = {"subscription_id": subscription_id, "customer_id": customer_id}
        found = dynamodb.get_each(self._client, {self._renewals: key, self._subscriptions: row_key})
        return _claimed(found.get(self._renewals)), found.get(self._subscriptions)

    def rows(self, subscription_id: str) -> list[dict[str, Any]]:
        """The subscription's rows: none, one, or two, which is a bad row, since it has one customer."""
        page = self._page(self._subscriptions, subscription_id, limit=2)
        return [dynamodb.plain(item) for item in page["Items"]]

    def row(self, renewal: Renewal) -> dict[str, Any] | None:
        """The renewal's subscription as it is now; None where it is gone."""
        key = {"subscription_id": renewal.subscription_id, "customer_id": renewal.customer_id}
        return self._item(self._subscriptions, key)

    # The payment

    def claim(
        self,
        renewal: Renewal,
        skipped: tuple[date, ...],
        subscription: Subscription,
        instead_of: Renewal | None = None,
        *,
        guard: dict[str, Any],
    ) -> Renewal | Lost:
        """Claim the period, unless somebody has or the subscription is no longer what was read. guard: one more check
        of that transaction.

        The item at the subscription's own renewal_date is always among those written, as the claim or as the first
        period passed over. So no two claims of one subscription stand side by side, even when made on two days.

        instead_of: a claim from the same date on that has moved no money and never will: one that failed without a
        payment or with a cancelled one, or was given up. It is claimed anew, or passed over where a later period is due
        by now.
        """
        free = "attribute_not_exists(subscription_id)"
        # Beyond DynamoDB's limit the oldest is kept, which guards the claim, and counts those without an item.
        kept = skipped[:1] + skipped[1:][-(MOST_SKIPPED - 1) :]
        puts = [self._put(_skipped(renewal, day, len(skipped)), free, {}) for day in kept]
        if instead_of is None:
            puts.append(self._put(item_of(renewal), free, {}))
        else:
            no_payment = "(attribute_not_exists(payment_id) OR #reason = :canceled)"
            unpaid = f"((#status = :failed AND {no_payment}) OR #status = :given_up)"
            values = {
                ":failed": Status.FAILED,
                ":claim": instead_of.claim,
                ":given_up": Status.GIVEN_UP,
                ":canceled": CANCELED_AT_THE_GATEWAY,
            }
            as_failed = f"claim = :claim AND {unpaid}"
            if instead_of.renewal_date == renewal.renewal_date:
                puts.append(self._put(item_of(renewal), as_failed, values))
            else:  # its own story stays
                passed_over: dict[str, Any] = {"billed_instead": renewal.renewal_date}
                if instead_of.status is Status.FAILED:
                    passed_over |= {"status": Status.SKIPPED, "reason": "passed_over"}
                over = self._change(instead_of, passed_over, as_failed, values, renewal.claimed_at)
                puts += [{"Update": over}, self._put(item_of(renewal), free, {})]
        lost = self._transact([*puts, self._unchanged(subscription), guard])
        if lost is None:
            return renewal
        if len(puts) + 1 in lost:
            return Lost(guarded=True)
        standing = [item["status"] for item in lost.values() if item and "status" in item]
        raced = len(puts) in lost or any(status in _HELD for status in standing)
        return Lost(overlaps=not raced and instead_of is None)

    def take(self, renewal: Renewal, status: Status, execution: str, now: datetime) -> Renewal | Lost:
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
                **({} if interrupted else {"begun_at": now}),
            },
            "#status = :was AND #owner = :owner AND lease_until = :until",
            {":was": renewal.status, ":owner": renewal.owner, ":until": renewal.lease_until},
            now,
        )

    def keep_payment_id(
        self, renewal: Renewal, payment_id: str, now: datetime, *, guard: dict[str, Any]
    ) -> Renewal | Lost:
        """Write the payment's id into the claim, if none is there. Who loses takes the winner's. guard: as in claim."""
        kept = {"payment_id": payment_id}
        free = "claim = :claim AND attribute_not_exists(payment_id) AND #status = :claimed"
        values = {":claim": renewal.claim, ":claimed": Status.CLAIMED}
        lost = self._transact([{"Update": self._change(renewal, kept, free, values, now)}, guard])
        return replaced(renewal, kept) if lost is None else Lost(guarded=1 in lost)

    def count_intent_try(self, renewal: Renewal, now: datetime) -> Renewal | Lost:
        """The gateway answered the creation with a 5xx and will repeat that under its key: the next key is another."""
        return self._update(
            renewal,
            {"intent_tries": renewal.intent_tries + 1},
            "claim = :claim AND intent_tries = :tries AND attribute_not_exists(payment_id)",
            {":claim": renewal.claim, ":tries": renewal.intent_tries},
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
    ) -> Renewal | Lost:
        """Begin attempt n+1 with the subscription's card, if attempt n is still the last and stands refused, and the
        subscription is still what was read. failure_id: the last failure that the payment shows before this attempt.
        dunned: one more where this is a dunning date's attempt, as many as before where another card asks for it.
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
        values = {":claim": renewal.claim, ":attempt": renewal.attempt, ":was": renewal.status}
        begin = self._change(renewal, changes, "claim = :claim AND attempt = :attempt AND #status = :was", values, now)
        lost = self._transact([{"Update": begin}, self._unchanged(subscription)])
        return replaced(renewal, changes) if lost is None else Lost()

    def move_on(self, renewal: Renewal, row: Mapping[str, Any]) -> None:
        """Put the row of a period that has ended, and was put back since, past that period. Nothing, if it moved."""
        self._change_row(row, {"renewal_date": renewal.period_end})

    def forget_refusal(self, row: Mapping[str, Any]) -> None:
        """Nothing of the subscription stands refused any more. row: as it was read; nothing, if it changed since."""
        if not _NOT_REFUSED.keys().isdisjoint(row):
            self._change_row(row, {})

    def _change_row(self, row: Mapping[str, Any], changes: Mapping[str, Any]) -> None:
        key = {name: row[name] for name in ("subscription_id", "customer_id")}
        condition, values = dynamodb.as_read(row, ("renewal_date", "status"))
        active = {"status": "active"} if row.get("status") == "past_due" else {}
        change = dynamodb.change(self._subscriptions, key, {**_NOT_REFUSED, **active, **changes}, condition, values)
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
    ) -> Renewal | Lost:
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
        if (amount, payment.currency) != (renewal.amount, renewal.currency):
            changes["flag"] = "amount_differs"

        def moved_on(row: Mapping[str, Any]) -> dict[str, Any]:
            changed = {
                "renewal_date": renewal.period_end,
                "payment_status": "paid",
                "last_payment": changes["paid_at"],
                "transaction_id": payment.id,
                **_NOT_REFUSED,
            }
            if renewal.anchor_day is not None and "anchor_day" not in row:
                changed["anchor_day"] = renewal.anchor_day
            if row.get("status") == "past_due":
                changed["status"] = "active"
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

    def record_refused(
        self,
        renewal: Renewal,
        status: Status,
        failure: Failure,
        *,
        next_attempt: date,
        notice: str | None,
        now: datetime,
    ) -> Renewal | Lost:
        """The attempt came to nothing. status: DECLINED or ACTION_REQUIRED. The subscription becomes past due.

        next_attempt: the next dunning date, or today where there is none left and it is to be given up. notice: the
        kind of mail that the customer is owed about it.
        """
        refusal = {
            "at": now.isoformat(timespec="microseconds"),
            "payment_method": renewal.payment_method,
            "decline_code": failure.decline_code or failure.code,
            "advice_code": failure.advice_code,
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
                | ({"status": "past_due"} if row.get("status") == "active" else {})
            ),
            now,
        )

    def record_dunning_date(
        self,
        renewal: Renewal,
        *,
        dunned: int,
        next_attempt: date,
        notice: str | None,
        now: datetime,
        held: bool = False,
    ) -> Renewal | Lost:
        """A dunning date on which there was nothing to try. Arguments as for record_refused, but that without a notice
        of its own the one before stays owed. dunned: so many dates are behind it then. held: its last step waits."""
        return self._settle(
            renewal,
            {"dunned": dunned, "next_attempt": next_attempt}
            | ({"held_at": renewal.held_at or now} if held else {})
            | ({"status": renewal.status, "notice": _notice(renewal, notice)} if notice else {}),
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
        ends_as: str | None,
        now: datetime,
    ) -> Renewal | Lost:
        """The refused period is over, unpaid, and its payment is cancelled; it may be claimed anew.

        reason: a short name. row: the subscription as it was just read, whatever its date; None where it is gone.
        ends_as: what the subscription becomes with it, canceled or unpaid, of which the customer is then told.
        """
        changes = {
            "status": Status.GIVEN_UP,
            "reason": reason,
            "next_attempt": None,
            "notice": _notice(renewal, ends_as),
            "ended_at": now,
            "lease_until": now,
        }
        condition = "claim = :claim AND attempt = :attempt AND #status = :was"
        values = {":claim": renewal.claim, ":attempt": renewal.attempt, ":was": renewal.status}
        if row is None or "status" not in row or "renewal_date" not in row:
            return self._update(renewal, changes, condition, values, now)
        ended = {"payment_status": Status.GIVEN_UP, **_NOT_REFUSED}
        if ends_as or row["status"] == "past_due":
            ended["status"] = ends_as or "active"
        key = {"subscription_id": renewal.subscription_id, "customer_id": renewal.customer_id}
        read = {":status": row["status"], ":renewal_date": row["renewal_date"]}
        as_read = "#status = :status AND #renewal_date = :renewal_date"
        if ends_as and "payment_method" in row:  # a card that comes at this moment is tried first
            read[":payment_method"] = row["payment_method"]
            as_read += " AND #payment_method = :payment_method"
        end = dynamodb.change(self._subscriptions, key, ended, as_read, read)
        record = self._change(renewal, changes, condition, values, now)
        lost = self._transact([{"Update": record}, {"Update": end}])
        return replaced(renewal, changes) if lost is None else Lost()

    def pass_over(
        self,
        subscription: Subscription,
        days: tuple[date, ...],
        until: date,
        now: datetime,
        *,
        resumed: Mapping[str, Any] | None = None,
        recorded: Sequence[dict[str, Any]] = (),
    ) -> Lost | None:
        """Move a paused subscription past today; each of `days` is left as a skipped period. until: its new date.

        resumed: what else changes in its row, where it is resumed with it. recorded: further actions of that
        transaction, two at most.
        """
        kept = days[:1] + days[1:][-(MOST_SKIPPED - 1) :]
        item = {
            "subscription_id": subscription.subscription_id,
            "customer_id": subscription.customer_id,
            "status": Status.SKIPPED,
            "reason": "paused",
            "periods_passed_over": len(days),
            "touched_at": now,
        }
        free, skipped = "attribute_not_exists(subscription_id) OR #status = :skipped", {":skipped": Status.SKIPPED}
        puts = [self._put(item | {"renewal_date": day}, free, skipped) for day in kept]
        moved = {"renewal_date": until, **anchor(subscription), **(resumed or {})}
        key = {"subscription_id": subscription.subscription_id, "customer_id": subscription.customer_id}
        move = dynamodb.change(self._subscriptions, key, moved, *dynamodb.as_read(subscription.row, WATCHED))
        return None if self._transact([*puts, {"Update": move}, *recorded]) is None else Lost()

    def record_failed(self, renewal: Renewal, reason: str, now: datetime) -> Renewal | Lost:
        """Given up, for a person to look at. reason: a short name."""
        return self._update(
            renewal,
            {"status": Status.FAILED, "reason": reason, "failed_from": renewal.status, "ended_at": now},
            "claim = :claim AND #status = :was",
            {":claim": renewal.claim, ":was": renewal.status},
            now,
        )

    # Money given back

    def claim_refund(
        self, renewal: Renewal, name: str, claim: Mapping[str, Any], recorded: Sequence[dict[str, Any]], now: datetime
    ) -> Renewal | Lost:
        """Claim a refund before the gateway is asked, if the period stands as read and has no such one. claim: as in
        renewals.refunds. recorded: further actions of that transaction."""
        as_read, values = _as_read(renewal)
        free = f"attribute_not_exists(refunds.{name}) AND {as_read}"
        begin = self._change(renewal, {f"refunds.{name}": dict(claim)}, free, values, now)
        lost = self._transact([{"Update": begin}, *recorded])
        return replaced(renewal, {"refunds": {**renewal.refunds, name: claim}}) if lost is None else Lost()

    def record_refund(
        self, renewal: Renewal, name: str, changes: Mapping[str, Any], *, notice: str | None, now: datetime
    ) -> Renewal | Lost:
        """What the gateway said of a claimed refund. changes: to its attributes. notice: the mail owed of it."""
        told = {"status": renewal.status, "notice": notice, "lease_until": now} if notice else {}
        recorded = self._update(
            renewal,
            {f"refunds.{name}.{attribute}": value for attribute, value in changes.items()} | told,
            f"refunds.{name}.#state = :claimed AND #status = :was",
            {":claimed": "claimed", ":was": renewal.status},
            now,
        )
        refund = {**renewal.refunds[name], **changes}
        return recorded if isinstance(recorded, Lost) else replace(recorded, refunds={**renewal.refunds, name: refund})

    def record_refund_receipt(
        self, renewal: Renewal, name: str, key: str, digest: str, now: datetime
    ) -> Renewal | Lost:
        """The receipt of a refund is stored under `key`. digest: SHA-256 of its bytes, hexadecimal."""
        return self._update(
            renewal,
            {f"refunds.{name}.receipt_key": key, f"refunds.{name}.receipt_sha256": digest},
            f"attribute_not_exists(refunds.{name}.receipt_key)",
            {},
            now,
        )

    # The receipt and the mails

    def record_receipt(self, renewal: Renewal, key: str, digest: str, now: datetime) -> Renewal | Lost:
        """The receipt is stored under `key`. digest: SHA-256 of its bytes, hexadecimal."""
        return self._update(
            renewal,
            {
                "status": Status.RECEIPTED,
                "receipt_key": key,
                "receipt_sha256": digest,
                "lease_until": now + LEASE,
                "pickups": 0,
            },
            "claim = :claim AND #status = :paid",
            {":claim": renewal.claim, ":paid": Status.PAID},
            now,
        )

    def claim_mail(self, renewal: Renewal, name: str, mail: Mail, now: datetime) -> Renewal | Lost:
        """Claim a mail before it is sent: nobody has, or it failed with another address."""
        begun = {"parked": None, "unfinished": shard(renewal.subscription_id)} if renewal.notice else {}
        return self._write_mail(renewal, name, mail, begun, now)

    def park_mail(self, renewal: Renewal, name: str, mail: Mail, now: datetime) -> Renewal | Lost:
        """The mail cannot be sent to this address. It is parked until the address changes, a receipt's renewal with
        it; what is owed about a refusal stays owed, but is not looked for any more."""
        parked: dict[str, Any] = {"lease_until": now}  # nobody is at work on it: a corrected address is taken at once
        if renewal.status is Status.RECEIPTED:
            parked |= {"status": Status.MAIL_FAILED, "reason": mail.reason}
        else:
            parked |= _parked(renewal)
        return self._write_mail(renewal, name, mail, parked, now)

    def record_mail(self, renewal: Renewal, name: str, mail: Mail, now: datetime) -> Renewal | Lost:
        """What became of the mail that mail.token claimed. One that is known as sent stays so, and one that came back
        before this was written stays failed.

        A receipt's mail ends the renewal, as done or mail_unknown. A notice's leaves its status alone: the payment
        may have gone on meanwhile.
        """
        condition = f"mails.{name}.#token = :token AND mails.{name}.#state <> :sent AND mails.{name}.#state <> :failed"
        values: dict[str, Any] = {":token": mail.token, ":sent": "sent", ":failed": "failed"}
        changes: dict[str, Any] = {f"mails.{name}": item_of(mail)}
        if renewal.status is Status.RECEIPTED:
            ended = Status.DONE if mail.state == "sent" else Status.MAIL_UNKNOWN
            changes |= {"status": ended, "reason": mail.reason}
            condition += " AND #status IN (:receipted, :unknown)"
            values |= {":receipted": Status.RECEIPTED, ":unknown": Status.MAIL_UNKNOWN}
            return self._update(renewal, changes, condition, values, now)
        told = self._update(
            renewal, changes | _told(renewal, mail.to), f"{condition} AND {_OWED}", values | _owed(renewal, name), now
        )
        return told if isinstance(told, Renewal) else self._update(renewal, changes, condition, values, now)

    def reopen_mail(self, renewal: Renewal, recorded: Sequence[dict[str, Any]], now: datetime) -> Renewal | Lost:
        """The mail of a receipt is to go out again, though it may have gone out: somebody has decided so. The renewal
        stands as before its claim. recorded: further actions of that transaction."""
        name = f"mails.receipt_{renewal.attempt}"
        free = min(renewal.lease_until, now)  # whoever decides it may have a clock that is ahead
        changes = {"status": Status.RECEIPTED, "reason": None, name: None, "lease_until": free, "pickups": 0}
        stands, values = "#status = :was AND attribute_not_exists(notice)", {":was": Status.MAIL_UNKNOWN}
        lost = self._transact([{"Update": self._change(renewal, changes, stands, values, now)}, *recorded])
        return Lost() if lost is not None else replaced(renewal, {"status": Status.RECEIPTED, "reason": None})

    def record_returned(
        self, renewal: Renewal, name: str, mail: Mail, told: Mapping[str, Any], *, owed: bool, now: datetime
    ) -> Renewal | Lost:
        """A mail that went out under mail.token came back: it stands as one whose address is at fault, and a receipt's
        renewal with it. told: as for note_returned. owed: what the mail said is still news, and owed again."""
        changes: dict[str, Any] = {f"mails.{name}": item_of(mail), f"returned_{name}": dict(told)}
        if renewal.status not in (Status.CLAIMED, Status.PAID):  # somebody is at work on it
            changes |= {"lease_until": now}
        if renewal.status in _MAILED and name == f"receipt_{renewal.attempt}":
            changes |= {"status": Status.MAIL_FAILED, "reason": mail.reason, "notice": renewal.notice}
        elif owed or renewal.notice == name:
            changes |= {"notice": name, **_parked(renewal)}
        as_read, values = _as_read(renewal)
        sent = f"mails.{name}.#token = :token AND mails.{name}.#state <> :failed"
        values |= {":token": mail.token, ":failed": "failed"}
        return self._update(renewal, changes, f"{sent} AND {as_read}", values, now)

    def note_returned(
        self, renewal: Renewal, name: str, token: str, told: Mapping[str, Any], now: datetime
    ) -> Renewal | Lost:
        """Keep what SES said of a mail, for the timeline: {"kind", "at", "to", "reason", "sent_at"}. Lost where it is
        kept already."""
        new = f"(attribute_not_exists(returned_{name}) OR returned_{name}.#at <> :at)"
        return self._update(
            renewal,
            {f"returned_{name}": dict(told)},
            f"mails.{name}.#token = :token AND {new}",
            {":token": token, ":at": told["at"]},
            now,
        )

    def drop_notice(self, renewal: Renewal, name: str, now: datetime) -> None:
        """What is owed is not true any more: it is owed no more."""
        mail = renewal.mails.get(name)
        self._update(renewal, _told(renewal, mail.to if mail else None), _OWED, _owed(renewal, name), now)

    def release_mail(self, renewal: Renewal, name: str, token: str, now: datetime) -> Renewal | Lost:
        """The mail was certainly not sent, and can be claimed again."""
        return self._update(
            renewal,
            {f"mails.{name}": None},
            f"mails.{name}.#token = :token AND mails.{name}.#state = :sending",
            {":token": token, ":sending": "sending"},
            now,
        )

    # How it is written

    def _write_mail(
        self, renewal: Renewal, name: str, mail: Mail, changes: dict[str, Any], now: datetime
    ) -> Renewal | Lost:
        return self._update(
            renewal,
            {"lease_until": now + LEASE, f"mails.{name}": item_of(mail), **changes},
            f"(attribute_not_exists(mails.{name}) OR mails.{name}.#state = :failed) AND #status = :was"
            + (" AND #notice = :notice" if renewal.notice else ""),
            {":failed": "failed", ":was": renewal.status} | ({":notice": renewal.notice} if renewal.notice else {}),
            now,
        )

    def _page(
        self, table: str, subscription_id: str, *, limit: int, newest_first: bool = False, **start: Any
    ) -> dict[str, Any]:
        page: Any = self._client.query(
            TableName=table,
            KeyConditionExpression="subscription_id = :id",
            ExpressionAttributeValues=dynamodb.attributes({":id": subscription_id}),
            ScanIndexForward=not newest_first,
            Limit=limit,
            ConsistentRead=True,
            **start,
        )
        return dict(page)

    def _item(self, table: str, key: Mapping[str, str]) -> dict[str, Any] | None:
        found = self._client.get_item(TableName=table, Key=dynamodb.attributes(key), ConsistentRead=True)
        return dynamodb.plain(found["Item"]) if "Item" in found else None

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
    ) -> Renewal | Lost:
        """Change the ledger and the subscription in one transaction. as_read: the row as it was read before in this
        run; where it has changed since, it is read again.

        Where the subscription was deleted or moved to another date meanwhile, the ledger is changed alone and
        flagged as subscription_changed: what happened to the money is recorded in any case.
        """
        key = {"subscription_id": renewal.subscription_id, "customer_id": renewal.customer_id}
        for n in range(_LOOKS):
            row = self.row(renewal) if n or as_read is None else as_read
            if row is None or row.get("renewal_date") != renewal.row_date.isoformat() or "status" not in row:
                alone = self._update(renewal, {"flag": "subscription_changed"} | changes, condition, values, now)
                if row is not None and changes["status"] is Status.PAID:
                    self.forget_refusal(row)
                return alone
            moved = row_changes(row)
            unchanged = "renewal_date = :as_claimed AND #status = :as_read"
            if "anchor_day" in moved:  # never over one that somebody sets at this moment
                unchanged += " AND attribute_not_exists(anchor_day)"
            read = {":as_claimed": renewal.row_date, ":as_read": row["status"]}
            move = dynamodb.change(self._subscriptions, key, moved, unchanged, read)
            record = self._change(renewal, changes, condition, values, now)
            lost = self._transact([{"Update": record}, {"Update": move}])
            if lost is None:
                return replaced(renewal, changes)
            if 0 in lost:
                return Lost()
        raise Collision("the subscription keeps changing")

    def _update(
        self, renewal: Renewal, changes: Mapping[str, Any], condition: str, values: Mapping[str, Any], now: datetime
    ) -> Renewal | Lost:
        done = dynamodb.update(self._client, self._change(renewal, changes, condition, values, now))
        return replaced(renewal, changes) if done else Lost()

    def _change(
        self, renewal: Renewal, changes: Mapping[str, Any], condition: str, values: Mapping[str, Any], now: datetime
    ) -> dict[str, Any]:
        every = {**changes, "touched_at": now}
        if "status" in changes:
            open_still = changes["status"] in UNFINISHED or changes.get("notice") is not None
            every["unfinished"] = shard(renewal.subscription_id) if open_still else None
        if "notice" in changes:
            every = {"parked": None, **every}
        if changes.get("notice") is not None:
            every["begun_at"] = now
        key = {"subscription_id": renewal.subscription_id, "renewal_date": renewal.renewal_date}
        return dynamodb.change(self._renewals, key, every, condition, values)

    def _transact(self, actions: list[dict[str, Any]]) -> dict[int, dict[str, Any] | None] | None:
        return dynamodb.transact(self._client, actions)

    def _unchanged(self, subscription: Subscription) -> dict[str, Any]:
        """The check that what decides about a charge is what was read."""
        condition, values = dynamodb.as_read(subscription.row, WATCHED)
        key = {"subscription_id": subscription.subscription_id, "customer_id": subscription.customer_id}
        return {
            "ConditionCheck": {
                "TableName": self._subscriptions,
                "Key": dynamodb.attributes(key),
                "ConditionExpression": condition,
                "ExpressionAttributeNames": dynamodb.names(condition),
                "ExpressionAttributeValues": dynamodb.attributes(values),
            }
        }


def _claimed(item: Mapping[str, Any] | None) -> Renewal | None:
    return renewal_from(item) if item and item["status"] != Status.SKIPPED else None


_MAILED = frozenset({Status.RECEIPTED, Status.DONE, Status.MAIL_UNKNOWN})

# The attributes of a subscription whose period stands refused: taken away when it does no more.
_NOT_REFUSED: dict[str, Any] = {"next_attempt": None, "refused_payment_method": None}

_OWED = "#notice = :notice AND #status = :refused"


def _told(renewal: Renewal, to: str | None) -> dict[str, Any]:
    """The notice is no longer owed; of a period that is settled, it was the last thing to do, but for an earlier refund
    that could not be told: its turn comes, if this one's address is another. to: this one's."""
    earlier = refunds.untold(renewal)
    if earlier is None:
        return {"notice": None} | ({} if renewal.status in UNSETTLED else {"unfinished": None})
    mail = renewal.mails[earlier]
    return {"notice": earlier} | (_parked(renewal) if mail.state == "failed" and mail.to == to else {})


def _parked(renewal: Renewal) -> dict[str, Any]:
    """What is owed waits until the address changes. A refused period stays in the index for its dunning dates."""
    return {"parked": True} if renewal.status in UNSETTLED else {"unfinished": None}


def _as_read(renewal: Renewal) -> tuple[str, dict[str, Any]]:
    """The condition that the period stands as it was read, and owes the same notice."""
    stands = {"status": renewal.status} | ({"notice": renewal.notice} if renewal.notice else {})
    return dynamodb.as_read(stands, ("status", "notice"))


def _owed(renewal: Renewal, name: str) -> dict[str, Any]:
    return {":notice": name, ":refused": renewal.status}


def _notice(renewal: Renewal, kind: str | None) -> str | None:
    return f"{kind}_{renewal.attempt}" if kind else None


def _skipped(renewal: Renewal, day: date, count: int) -> dict[str, Any]:
    return {
        "subscription_id": renewal.subscription_id,
        "renewal_date": day,
        "customer_id": renewal.customer_id,
        "status": Status.SKIPPED,
        "reason": "passed_over",
        "billed_instead": renewal.renewal_date,
        "periods_passed_over": count,
        "touched_at": renewal.claimed_at,
    }
