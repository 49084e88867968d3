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
              the renewal again takes it up where it stood, or with the row's other card. As long as its payment can be
              paid it stands in the index with a date, and is asked about each day

Keys: subscription_id, renewal_date (the first day of the period, YYYY-MM-DD). What is not finished carries
`unfinished` (one of sixteen values, so that the index over it has no hot key) and stands in unfinished-index by
`touched_at`; so does what was given up, until the customer has been told. `begun_at` is when the work began that it
waits for: the claim, a further attempt, or the refusal that the customer is to be told of. Where that telling waits for
another address, what is settled leaves the index; a refused period stays, `parked`, for its dunning dates. A period of
which a refund has no final result stands there too, with the moment from which on the sweep looks at it, `refunds_due`.
What is paid stands in charged-on-index, by the gateway's own day (`charged_on`, UTC) and moment (`charged_at`) of the
charge: the audit reads both sides in this order.

Here is how its items are read, and what all that writes them needs. The steps themselves:

    payment_ledger    the money: claims, payments, and periods that are passed over
    dunning_ledger    what is refused: tried again, asked about on its dates, given up
    receipt_ledger    receipts, of payments and of refunds
    mail_ledger       mails: claimed, sent, owed, parked, returned
    refund_ledger     refunds
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from renewals import dynamodb
from renewals.renewal import UNFINISHED, Renewal, Status, renewal_from, replaced, shard

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

LEASE = timedelta(seconds=40)
"""How long an execution owns a renewal after its last step: longer than a task and the wait before its retry."""

RECENT = 10
_PAGE = 200


class Ledger:
    """The renewals table, and the subscriptions that it moves on. All reads are consistent.

    renewals, subscriptions: names of tables; the second is needed where subscriptions are read or moved.
    What writes raises Overtaken where another was faster, Collision where others keep writing the same items, and
    botocore's errors where AWS fails.
    """

    def __init__(self, client: DynamoDBClient, *, renewals: str, subscriptions: str = "") -> None:
        self._client = client
        self._renewals = renewals
        self._subscriptions = subscriptions

    # Reading

    def recent(self, subscription_id: str) -> list[Renewal]:
        """The latest ten periods of a subscription, newest first, without those passed over."""
        return self.recent_claims(subscription_id)[0]

    def recent_claims(self, subscription_id: str) -> tuple[list[Renewal], list[Renewal]]:
        """`recent`, and the claims between these periods that were passed over for another one."""
        periods, passed_over = list[Renewal](), list[Renewal]()
        for claim in self._claims(subscription_id):
            (passed_over if claim.status is Status.SKIPPED else periods).append(claim)
            if len(periods) == RECENT:
                break
        return periods, passed_over

    def periods(self, subscription_id: str) -> Iterator[Renewal]:
        """All periods of a subscription, newest first, without those passed over; read in pages, as they are asked for.

        Nearly always the latest ten are what is wanted; skipped ones may come by the hundred.
        """
        return (claim for claim in self._claims(subscription_id) if claim.status is not Status.SKIPPED)

    def _claims(self, subscription_id: str) -> Iterator[Renewal]:
        """As periods, with the claims that were passed over later."""
        limit, start = RECENT, dict[str, Any]()
        while True:
            page = self._page(self._renewals, subscription_id, limit=limit, newest_first=True, **start)
            items = (dynamodb.plain(item) for item in page["Items"])
            yield from (renewal_from(item) for item in items if item["status"] != Status.SKIPPED or "claim" in item)
            if "LastEvaluatedKey" not in page:
                return
            limit, start = _PAGE, {"ExclusiveStartKey": page["LastEvaluatedKey"]}

    def named(self, subscription_id: str, renewal_date: date) -> list[Renewal]:
        """The period of this date, if it is claimed; by a query, as `recent`."""
        items, _ = self.page(subscription_id, limit=1, before=(renewal_date + timedelta(days=1)).isoformat())
        found = (_claimed(item) for item in items if item["renewal_date"] == renewal_date.isoformat())
        return [renewal for renewal in found if renewal is not None]

    def reaching(self, start: date, end: date, history: list[Renewal], *, all_of_it: bool) -> list[Renewal]:
        """Periods, with all among them that have a day in [start, end).

        history: the latest ones, as `recent` gives them. Only where they do not go back so far, which no ordinary
        renewal meets, are the older ones read: back to one that is paid and begins no later than `start`. all_of_it:
        back to the first one, since a long period may lie behind younger ones that are paid.
        """
        latest = history[:RECENT]  # an older one, that was asked for, may follow them

        def suffices(renewals: list[Renewal]) -> bool:
            return not all_of_it and any(r.is_paid and r.renewal_date <= start for r in renewals)

        if len(latest) < RECENT or suffices(latest):
            return history
        found, before = list(latest), latest[-1].renewal_date.isoformat()
        while True:
            items, older = self.page(history[0].subscription_id, limit=_PAGE, before=before)
            renewals = [renewal for item in items if (renewal := _claimed(item)) is not None]
            found += renewals
            if older is None or suffices(renewals):
                break
            before = older
        return [renewal for renewal in found if renewal.renewal_date < end]

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

    def row_beside(
        self, renewal: Renewal, table: str, keys: Sequence[Mapping[str, str]]
    ) -> tuple[dict[str, Any] | None, bool]:
        """`row`, and whether any of these items of another table is there, in one call. Raises Throttled."""
        row_key = {"subscription_id": renewal.subscription_id, "customer_id": renewal.customer_id}
        found = list(dynamodb.get(self._client, {self._subscriptions: [row_key], table: keys}))
        row = next((item for name, item in found if name == self._subscriptions), None)
        return row, any(name == table for name, _ in found)

    # How it is written

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

    def _update(
        self, renewal: Renewal, changes: Mapping[str, Any], condition: str, values: Mapping[str, Any], now: datetime
    ) -> Renewal:
        dynamodb.update(self._client, self._change(renewal, changes, condition, values, now))
        return replaced(renewal, changes)

    def _change(
        self, renewal: Renewal, changes: Mapping[str, Any], condition: str, values: Mapping[str, Any], now: datetime
    ) -> dict[str, Any]:
        every = {**changes, "touched_at": now}
        if "status" in changes:
            open_still = changes["status"] in UNFINISHED or changes.get("notice") or renewal.refunds_due
            every = {"unfinished": shard(renewal.subscription_id) if open_still else None, **every}
        if "notice" in changes:
            every = {"parked": None, **every}
        if changes.get("notice") is not None:
            every["begun_at"] = now
        key = {"subscription_id": renewal.subscription_id, "renewal_date": renewal.renewal_date}
        return dynamodb.change(self._renewals, key, every, condition, values)

    def _transact(self, actions: list[dict[str, Any]]) -> None:
        dynamodb.transact(self._client, actions)


def _claimed(item: Mapping[str, Any] | None) -> Renewal | None:
    return renewal_from(item) if item and item["status"] != Status.SKIPPED else None


def stands_as_read(renewal: Renewal) -> tuple[str, dict[str, Any]]:
    """The condition that the period stands as it was read, owes the same notice, and that no refund of it was claimed
    or looked at meanwhile."""
    stands = {"status": renewal.status, "notice": renewal.notice, "refunds_due": renewal.refunds_due}
    return dynamodb.as_read({name: value for name, value in stands.items() if value is not None}, tuple(stands))


def refunds_as_read(renewal: Renewal) -> tuple[str, dict[str, Any]]:
    """The condition that no refund of the period was claimed or looked at since it was read."""
    stands = {} if renewal.refunds_due is None else {"refunds_due": renewal.refunds_due}
    return dynamodb.as_read(stands, ("refunds_due",))
