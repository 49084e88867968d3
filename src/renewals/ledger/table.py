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

Here is how its items are read, and how a step is taken. The steps are values: renewals.ledger.steps says where each
stands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING

from renewals.domain import item_values
from renewals.domain.errors import Collision, Outdated, Overtaken, RenewalError, repeat_while_outdated
from renewals.domain.item_values import Item
from renewals.domain.renewal import Renewal, Status, passed_over_from, renewal_from
from renewals.ledger.steps import Action, Check, Condition, Put, Row, Step, Table, Update, as_read
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
    """The condition of a guard did not hold: what the guard protects is not done now, and no other try helps."""


class _RowChanged(Outdated):
    """The subscription is no longer what was read; the ledger's item still is."""


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

    def history(self, subscription_id: str, customer_id: str) -> History:
        """`recent`, of this customer alone."""
        # Most functions ask for no history, and start faster without the import.
        from renewals.domain.renewal_history import History

        return History.of_customer(self.recent(subscription_id), customer_id)

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
        limit, start = RECENT, None
        while True:
            page = self._page(self._renewals, subscription_id, limit=limit, newest_first=True, start=start)
            claims = (_claim_in(dynamodb.plain(item)) for item in page["Items"])
            yield from (claim for claim in claims if claim is not None)
            if "LastEvaluatedKey" not in page:
                return
            limit, start = _PAGE, page["LastEvaluatedKey"]

    def named(self, subscription_id: str, renewal_date: date) -> list[Renewal]:
        """The period of this date, if it is claimed; by a query, as `recent`."""
        items, _ = self.page(subscription_id, limit=1, before=(renewal_date + timedelta(days=1)).isoformat())
        found = (_claimed(item) for item in items if item["renewal_date"] == renewal_date.isoformat())
        return [renewal for renewal in found if renewal is not None]

    def reaching(self, start: date, end: date, history: History, *, all_of_it: bool) -> History:
        """Periods, with all among them that have a day in [start, end).

        history: the latest ones. Only where they do not go back so far, which no ordinary renewal meets, are the older
        ones read: back to one that is paid and begins no later than `start`. all_of_it: back to the first one, since a
        long period may lie behind younger ones that are paid.
        """
        from renewals.domain.renewal_history import History

        latest = history[:RECENT]  # an older one, that was asked for, may follow them

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
        """Items of all kinds as they stand in the table, newest first, and the date before which there are more.

        before: a renewal date, YYYY-MM-DD.
        """
        key = {"subscription_id": subscription_id, "renewal_date": before}
        start = dynamodb.attributes(key) if before else None
        page = self._page(self._renewals, subscription_id, limit=limit, newest_first=True, start=start)
        last = dynamodb.plain(page["LastEvaluatedKey"]) if "LastEvaluatedKey" in page else None
        older = item_values.text(last, "renewal_date") if last else None
        return [dynamodb.plain(item) for item in page["Items"]], older

    def get(self, subscription_id: str, renewal_date: str) -> Renewal | None:
        """One period; None where it is not claimed. renewal_date: YYYY-MM-DD."""
        key = {"subscription_id": subscription_id, "renewal_date": renewal_date}
        return _claimed(self._item(self._renewals, key))

    def with_row(self, subscription_id: str, renewal_date: str, customer_id: str) -> tuple[Renewal | None, Item | None]:
        """`get` and `row` in one call."""
        key = {"subscription_id": subscription_id, "renewal_date": renewal_date}
        row_key = {"subscription_id": subscription_id, "customer_id": customer_id}
        found = dynamodb.get_each(self._client, {self._renewals: key, self._subscriptions: row_key})
        return _claimed(found.get(self._renewals)), found.get(self._subscriptions)

    def rows(self, subscription_id: str) -> list[Item]:
        """The subscription's rows: none, one, or two, which is a bad row, since it has one customer."""
        page = self._page(self._subscriptions, subscription_id, limit=2)
        return [dynamodb.plain(item) for item in page["Items"]]

    def row(self, renewal: Renewal) -> Item | None:
        """The renewal's subscription as it is now; None where it is gone."""
        key = {"subscription_id": renewal.subscription_id, "customer_id": renewal.customer_id}
        return self._item(self._subscriptions, key)

    def row_beside(self, renewal: Renewal, table: str, keys: Sequence[Mapping[str, str]]) -> tuple[Item | None, bool]:
        """`row`, and whether any of these items of another table is there, in one call. Raises Throttled."""
        row_key = {"subscription_id": renewal.subscription_id, "customer_id": renewal.customer_id}
        found = list(dynamodb.get(self._client, {self._subscriptions: [row_key], table: keys}))
        row = next((item for name, item in found if name == self._subscriptions), None)
        return row, any(name == table for name, _ in found)

    def stands_still(self, subscription_id: str, due: str, standing: Renewal | None) -> TransactAction:
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
        still = as_read(item, ("subscription_id", "status", "claim", "billed_instead"))
        return self.rendered(Check(Table.RENEWALS, key, still))

    # Taking a step

    def apply[After](self, step: Step[After]) -> After:
        """Take a step: how the renewal stands then. Raises GuardRefused where a guard's condition does not hold,
        whatever else does not."""
        try:
            self._write(step)
        except Overtaken:
            if step.otherwise is None:
                raise
            return self.apply(step.otherwise)
        if step.then is not None:
            with suppress(Overtaken):  # what somebody wrote meanwhile stands
                self.apply(step.then)
        return step.after

    def settle(self, renewal: Renewal, step: Callable[[Row | None], Step[Renewal]], read: Row | None = None) -> Renewal:
        """Take a step that moves the subscription on with its period. step: of the row as it is now, None where it is
        gone. read: the row as it was read before in this run; where it has changed since, it is read again."""
        read_before = [] if read is None else [read]

        def settled() -> Renewal:
            try:
                return self.apply(step(read_before.pop() if read_before else self.row(renewal)))
            except Overtaken as overtaken:
                if 0 in overtaken.failed:  # the period itself
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
        """An action as DynamoDB takes it in a transaction."""
        if isinstance(action, Update):
            return {"Update": self._change(action)}
        table, (condition, values) = self._name(action.table), _joined(action.condition)
        match action:
            case Put():
                return dynamodb.put(table, action.item, condition, values)
            case Check():
                return dynamodb.check(table, action.key, condition, values)

    def _change(self, update: Update) -> UpdateTypeDef:
        condition, values = _joined(update.condition)
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
    """The claim that an item holds, also of a period that was passed over later; None where it holds none.

    A claim that was passed over decides about no money. So one that cannot be read, since somebody wrote it by hand,
    ends no renewal: the period counts as one without a claim.
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


def _joined(condition: Condition) -> tuple[str, dict[str, object]]:
    """A condition as DynamoDB takes it, and the values that it names."""
    return " AND ".join(term.text for term in condition), {
        name: value for term in condition for name, value in term.values.items()
    }
