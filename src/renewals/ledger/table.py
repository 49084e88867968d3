"""The ledger holds one item for each subscription and billing period, in the renewals table.

The item is claim, audit trail and work list at once. Every change is conditional: if two executions try the same step,
one execution succeeds and the other gets an error.

    claimed ──► paid ──► receipted ──► done
      │ ▲                    ├───────► mail_failed    the address is at fault: parked until the address changes
      ▼ │ next attempt       └───────► mail_unknown   possibly sent, nobody knows: never sent again automatically
    declined, action_required ──► given_up    dunning is over, or the subscription has ended or was moved: the payment
                                              is canceled, and the period can be claimed anew
    skipped   a period that was passed over for a later period, or that was due during a pause
    failed    a person must look: ten executions in a row took the renewal over without progress, or the gateway
              refused the payment for good. A new request continues the renewal from where the work stopped, or with
              the customer's new card. While the payment can still succeed, the period stays in unfinished-index: every
              day, the sweep sends a request, and the charge asks the gateway about the payment

The key is subscription_id and renewal_date (the first day of the period, YYYY-MM-DD).

An item with work left, now or on a later day, has the attribute `unfinished`, the hash key of unfinished-index. The
attribute has one of sixteen values, so that the index has no hot key. The index lists the item by `touched_at`. A
given-up period is listed until the customer was told. `begun_at` is the beginning of the pending work: the claim, a
further attempt, or the refusal that the customer must be told about. A settled period whose mail waits for a new
address is not in the index. A refused period whose mail waits for a new address stays in the index because of its
dunning dates, and has the attribute `parked`. A period with an unsettled refund is in the index, too, with the
attribute `refunds_due`: from the moment in `refunds_due` on, the sweep sends a request, and the workflow asks the
gateway about the refund.

The index charged-on-index lists paid items by the gateway's own day (`charged_on`, UTC) and moment (`charged_at`) of
the charge. The gateway lists charges in the order of the same moments, and the audit therefore compares both lists side
by side.

This module reads items and takes steps. A step is a value that describes changes and their conditions; taking a step
writes the changes. renewals.ledger.steps lists the modules that make the steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from renewals.domain import item_values
from renewals.domain.errors import Collision, Outdated, Overtaken, RenewalError, repeat_while_outdated
from renewals.domain.item_values import Item
from renewals.domain.renewal import Renewal, Status
from renewals.domain.renewal_items import passed_over_from, renewal_from
from renewals.ledger.steps import Action, Check, Put, Row, Step, Table, Update, as_read, joined
from renewals.runtime import dynamodb
from renewals.runtime.attribute_values import TransactAction

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import (
        AttributeValueTypeDef,
        QueryInputTypeDef,
        QueryOutputTypeDef,
        UpdateTypeDef,
    )

    from renewals.domain.renewal_history import History

RECENT = 10
_PAGE = 200
_LOOKS = 3


class GuardRefused(RenewalError):  # noqa: N818
    """A guard of a step was refused: charging is off. The step is not done, and trying again at once does not help."""


class _RowChanged(Outdated):
    """The subscription has changed since the read; the ledger's item has not."""


class Ledger:
    """The ledger in the renewals table. The ledger also reads and changes rows of the subscriptions table. All reads
    are consistent.

    Every write raises Overtaken if a different execution was faster, Collision if other executions keep writing the
    items, and botocore's errors if AWS fails.

    Attributes:
        renewals, subscriptions: names of tables; subscriptions is needed only to read or change subscriptions.
    """

    def __init__(self, client: DynamoDBClient, *, renewals: str, subscriptions: str = "") -> None:
        self._client = client
        self._renewals = renewals
        self._subscriptions = subscriptions

    # Reading

    def recent(self, subscription_id: str) -> list[Renewal]:
        """Return the latest ten periods of a subscription, newest first, without passed-over periods."""
        return self.recent_claims(subscription_id)[0]

    def history(self, subscription_id: str, customer_id: str) -> History:
        """Return the periods of `recent` that belong to this customer."""
        # Most functions need no history, and start faster without the import.
        from renewals.domain.renewal_history import History

        return History.of_customer(self.recent(subscription_id), customer_id)

    def recent_claims(self, subscription_id: str) -> tuple[list[Renewal], list[Renewal]]:
        """Return two lists: the periods of `recent`, and the passed-over claims, newest first. A passed-over claim is
        a claim whose period was later passed over for a different period. Passed-over claims older than the oldest
        period in the first list are left out, if that list holds ten periods."""
        periods, passed_over = list[Renewal](), list[Renewal]()
        for claim in self._claims(subscription_id):
            (passed_over if claim.status is Status.SKIPPED else periods).append(claim)
            if len(periods) == RECENT:
                break
        return periods, passed_over

    def periods(self, subscription_id: str) -> Iterator[Renewal]:
        """Iterate over all periods of a subscription, newest first, without passed-over periods; pages are read on
        demand.

        The first page is small because most callers want only the latest ten. Later pages are large because a
        subscription may have hundreds of skipped periods.
        """
        return (claim for claim in self._claims(subscription_id) if claim.status is not Status.SKIPPED)

    def _claims(self, subscription_id: str) -> Iterator[Renewal]:
        """Iterate over the claims of `periods` and over the passed-over claims."""
        limit, start = RECENT, None
        while True:
            page = self._page(self._renewals, subscription_id, limit=limit, newest_first=True, start=start)
            claims = (_claim_in(dynamodb.plain(item)) for item in page["Items"])
            yield from (claim for claim in claims if claim is not None)
            if "LastEvaluatedKey" not in page:
                return
            limit, start = _PAGE, page["LastEvaluatedKey"]

    def named(self, subscription_id: str, renewal_date: date) -> list[Renewal]:
        """Return a list with the period of this date, which a caller can add to the list of `recent`; an empty list if
        the period is not claimed."""
        items, _ = self.page(subscription_id, limit=1, before=(renewal_date + timedelta(days=1)).isoformat())
        found = (_claimed(item) for item in items if item["renewal_date"] == renewal_date.isoformat())
        return [renewal for renewal in found if renewal is not None]

    def reaching(self, start: date, end: date, history: History, *, all_of_it: bool) -> History:
        """Return all periods that may have a paid day in [start, end): the given periods, and older periods if needed.

        If older periods are read, the periods that begin on `end` or later are left out.

        Args:
            history: the latest periods. A history shorter than ten periods is complete. Without `all_of_it`, older
                pages are read until a paid period is found that begins on or before `start`. In an ordinary renewal,
                the latest ten periods hold such a paid period, and no older page is read.
            all_of_it: whether older pages are read back to the first period, whichever periods are paid. Reading all
                pages is needed after the refund of an old, long period failed. While the old period was refunded, newer
                and shorter periods may have billed the same days. The failure makes the old period paid again, and the
                old period may reach into [start, end). A search that ends at a newer paid period would miss the old
                period.
        """
        from renewals.domain.renewal_history import History

        latest = history[:RECENT]  # the history may end with an eleventh, much older period that the request names

        def suffices(renewals: Iterable[Renewal]) -> bool:
            return not all_of_it and any(r.renewal_date <= start for r in History(renewals).paid)

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
        return History(renewal for renewal in found if renewal.renewal_date < end)

    def page(self, subscription_id: str, *, limit: int, before: str | None = None) -> tuple[list[Item], str | None]:
        """Return a page of items of all kinds as stored, newest first.

        Args:
            before: a renewal date, YYYY-MM-DD: only older items are returned. None asks for the first page.

        Returns:
            The items, and the value of `before` for the next page; None in place of the value if no page follows.
        """
        key = {"subscription_id": subscription_id, "renewal_date": before}
        start = dynamodb.attributes(key) if before else None
        page = self._page(self._renewals, subscription_id, limit=limit, newest_first=True, start=start)
        last = dynamodb.plain(page["LastEvaluatedKey"]) if "LastEvaluatedKey" in page else None
        older = item_values.text(last, "renewal_date") if last else None
        return [dynamodb.plain(item) for item in page["Items"]], older

    def get(self, subscription_id: str, renewal_date: str) -> Renewal | None:
        """Return one period; None if not claimed. renewal_date: YYYY-MM-DD."""
        key = {"subscription_id": subscription_id, "renewal_date": renewal_date}
        return _claimed(self._item(self._renewals, key))

    def with_row(self, subscription_id: str, renewal_date: str, customer_id: str) -> tuple[Renewal | None, Item | None]:
        """Return the results of `get` and `row` by one call."""
        key = {"subscription_id": subscription_id, "renewal_date": renewal_date}
        row_key = {"subscription_id": subscription_id, "customer_id": customer_id}
        found = dynamodb.get_each(self._client, {self._renewals: key, self._subscriptions: row_key})
        return _claimed(found.get(self._renewals)), found.get(self._subscriptions)

    def rows(self, subscription_id: str) -> list[Item]:
        """Return the rows of the subscription. Two rows are a fault, because a subscription has one customer."""
        page = self._page(self._subscriptions, subscription_id, limit=2)
        return [dynamodb.plain(item) for item in page["Items"]]

    def rows_with_card(self, payment_method: str) -> Iterator[Item]:
        """Iterate over the rows that are charged by a payment method of the gateway. An index names the rows, and shows
        a change a moment later: each row is therefore read again."""
        start: dict[str, Any] = {}
        while True:
            page = self._client.query(
                TableName=self._subscriptions,
                IndexName="payment-method-index",
                KeyConditionExpression="payment_method = :method",
                ExpressionAttributeValues=dynamodb.attributes({":method": payment_method}),
                Limit=_PAGE,
                **start,
            )
            for named in map(dynamodb.plain, page["Items"]):
                key = {name: item_values.text(named, name) for name in ("subscription_id", "customer_id")}
                row = self._item(self._subscriptions, key)
                if row is not None and row.get("payment_method") == payment_method:
                    yield row
            if "LastEvaluatedKey" not in page:
                return
            start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}

    def row(self, renewal: Renewal) -> Item | None:
        """Return the current row of the renewal's subscription; None if deleted."""
        key = {"subscription_id": renewal.subscription_id, "customer_id": renewal.customer_id}
        return self._item(self._subscriptions, key)

    def row_beside(self, renewal: Renewal, table: str, keys: Sequence[Mapping[str, str]]) -> tuple[Item | None, bool]:
        """Return the result of `row`, and whether an item of the other table exists under the keys, by one call. Raises
        Throttled."""
        row_key = {"subscription_id": renewal.subscription_id, "customer_id": renewal.customer_id}
        found = list(dynamodb.get(self._client, {self._subscriptions: [row_key], table: keys}))
        row = next((item for name, item in found if name == self._subscriptions), None)
        return row, any(name == table for name, _ in found)

    def stands_still(self, subscription_id: str, due: str, standing: Renewal | None) -> TransactAction:
        """Return the check that no charge of the subscription has begun or progressed since the read, as a
        transaction's action.

        Args:
            due: the subscription's renewal_date.
            standing: the claimed period as the caller read the period; None if no period was claimed.

        Raises:
            Outdated: a charge has begun or progressed already.
        """
        day = standing.renewal_date.isoformat() if standing else due
        key = {"subscription_id": subscription_id, "renewal_date": day}
        item = self._item(self._renewals, key) or {}
        claim = item.get("claim") if item.get("status") != Status.SKIPPED else None
        if (claim, item.get("status") if claim else None) != (
            standing and standing.claim,
            standing and standing.status,
        ):
            raise Outdated("a charge of the subscription has begun or gone on")
        still = as_read(item, ("subscription_id", "status", "claim", "billed_instead"))
        return self.rendered(Check(Table.RENEWALS, key, still))

    # Taking a step

    def apply[After](self, step: Step[After]) -> After:
        """Take a step, and return the renewal afterwards.

        Raises:
            GuardRefused: the condition of a guard does not hold, whether or not the other conditions hold.
        """
        try:
            self._write(step)
        except Overtaken:
            if step.otherwise is None:
                raise
            return self.apply(step.otherwise)
        if step.then is not None:
            with suppress(Overtaken):  # newer data stands
                self.apply(step.then)
        return step.after

    def settle(self, renewal: Renewal, step: Callable[[Row | None], Step[Renewal]], read: Row | None = None) -> Renewal:
        """Take a step that changes a period and the row of its subscription together.

        Args:
            step: makes the step from the current row, None if deleted.
            read: the row from an earlier read in this run. If the row has changed since, the ledger reads the row
                again.
        """
        read_before = [] if read is None else [read]

        def settled() -> Renewal:
            try:
                return self.apply(step(read_before.pop() if read_before else self.row(renewal)))
            except Overtaken as overtaken:
                if 0 in overtaken.failed:  # the step's first action, which changes the period itself
                    raise
                raise _RowChanged(renewal.subscription_id) from None

        keeps_changing = Collision("the subscription keeps changing")
        return repeat_while_outdated(settled, tries=_LOOKS, otherwise=keeps_changing, when=_RowChanged)

    def _write(self, step: Step[object]) -> None:
        match step:
            case Step(actions=(), beside=[] | ()):
                return
            case Step(actions=(Update(table=Table.RENEWALS) as update,), beside=[] | (), guards=[] | ()):
                dynamodb.update(self._client, self._change(update))
                return
        actions = [*map(self.rendered, step.actions), *step.beside]
        try:
            dynamodb.transact(self._client, [*actions, *step.guards])
        except Overtaken as overtaken:
            if any(position >= len(actions) for position in overtaken.failed):
                raise GuardRefused(str(overtaken)) from None
            stands = {n for n, each in enumerate(step.actions) if n in overtaken.failed and _may_stand(each)}
            if overtaken.failed.keys() != stands:
                raise
            others = tuple(each for n, each in enumerate(step.actions) if n not in stands)
            self._write(replace(step, actions=others))

    def rendered(self, action: Action) -> TransactAction:
        """Return an action in the form of DynamoDB's transactions."""
        if isinstance(action, Update):
            return {"Update": self._change(action)}
        table, (condition, values) = self._name(action.table), joined(action.condition)
        match action:
            case Put():
                return dynamodb.put(table, action.item, condition, values)
            case Check():
                return dynamodb.check(table, action.key, condition, values)

    def _change(self, update: Update) -> UpdateTypeDef:
        condition, values = joined(update.condition)
        return dynamodb.change(self._name(update.table), update.key, update.changes, condition, values)

    def _name(self, table: Table) -> str:
        return self._renewals if table is Table.RENEWALS else self._subscriptions

    # Reading one page, one item

    def _page(
        self,
        table: str,
        subscription_id: str,
        *,
        limit: int,
        newest_first: bool = False,
        start: Mapping[str, AttributeValueTypeDef] | None = None,
    ) -> QueryOutputTypeDef:
        asked: QueryInputTypeDef = {
            "TableName": table,
            "KeyConditionExpression": "subscription_id = :id",
            "ExpressionAttributeValues": dynamodb.attributes({":id": subscription_id}),
            "ScanIndexForward": not newest_first,
            "Limit": limit,
            "ConsistentRead": True,
        }
        if start is not None:
            asked["ExclusiveStartKey"] = start
        return self._client.query(**asked)

    def _item(self, table: str, key: Mapping[str, str]) -> Item | None:
        found = self._client.get_item(TableName=table, Key=dynamodb.attributes(key), ConsistentRead=True)
        return dynamodb.plain(found["Item"]) if "Item" in found else None


def _claimed(item: Item | None) -> Renewal | None:
    return renewal_from(item) if item and item["status"] != Status.SKIPPED else None


def _claim_in(item: Item) -> Renewal | None:
    """Return the claim in an item, even if the claim was passed over later; None without a claim.

    A passed-over claim has moved no money and never will. If a passed-over claim cannot be read, because somebody wrote
    the item by hand, the item therefore counts as an item without a claim, and no renewal fails.
    """
    if item["status"] != Status.SKIPPED:
        return renewal_from(item)
    if "claim" not in item:
        return None
    try:
        return passed_over_from(item)
    except (KeyError, TypeError, ValueError):
        return None


def _may_stand(action: Action) -> bool:
    return isinstance(action, Put) and action.may_stand
