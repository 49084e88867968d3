"""Subscriptions as people and programs read and change them: each change once, with who made it, over no other's.

A change is one transaction: the row, as it was read and no longer; the record of who changed what; and, where the
request may come again, the answer that it was given. So none of the three can be there without the others.

`version` counts the changes of a row that were made here. An entity tag covers it and all that only people change.
What a renewal moves (its date, its payment, active and past due) is not covered: a renewal in between makes no
editor start over, and is not overwritten, since each change is conditional on the row as it was read.

The changes table holds, under subscription_id and change: each change, by its time; the creation, as "created"; and the
answers to requests that may come again, under the hash of their caller and key, for seven days.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from renewals.domain import mail_faults, pauses, reminders, spans, subscription, transitions, wording
from renewals.domain.callers import is_of
from renewals.domain.changes import Change, ChangeKind, Details
from renewals.domain.errors import BadRow, Overtaken, RenewalError
from renewals.domain.item_values import Item, Value, fields, moment, number, storable, text
from renewals.domain.mail_faults import FaultKind
from renewals.domain.preview import Preview, preview
from renewals.domain.renewal import RETURNED, MailState, Renewal, Status
from renewals.domain.renewal_history import History
from renewals.domain.row_attributes import IN_ENTITY_TAG, without_personal_data
from renewals.domain.subscription import Subscription, SubscriptionStatus, is_live, status_of
from renewals.domain.timeline import timeline
from renewals.domain.timeline_entries import Entry
from renewals.domain.transitions import Action, NotAllowed
from renewals.domain.worded import member
from renewals.ledger import mail_steps, refund_steps
from renewals.ledger.payment_steps import why_withdrawn
from renewals.ledger.row_steps import WATCHED, pass_over
from renewals.ledger.steps import Row
from renewals.ledger.table import Ledger
from renewals.runtime import dynamodb
from renewals.runtime.attribute_values import TransactAction

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import QueryOutputTypeDef, ScanOutputTypeDef

    from renewals.domain.stored import Answer, RefundRecord

_REMEMBERED = timedelta(days=7)
_A_MOMENT = timedelta(minutes=1)
_ACTIONS = {
    Action.CANCEL_NOW: ChangeKind.CANCELED,
    Action.CANCEL_AT_PERIOD_END: ChangeKind.ENDING,
    Action.PAUSE: ChangeKind.PAUSED,
    Action.RESUME: ChangeKind.RESUMED,
    Action.GIVE_CARD: ChangeKind.CARD,
}
_PAGE = 200
_MOST_PAGES = 10
_MOST_TOLD = 250
_MOST_PERIODS = 250
_CREATION = "created"
"""The key under which the creation of a subscription stands in the changes table."""
_LIVE = "live"
"""The status of a live subscription in its entity tag: active and past due are alike there."""


class KeyUsed(RenewalError):  # noqa: N818
    """This idempotency key came before, with another request."""


class Taken(RenewalError):  # noqa: N818
    """There is, or was, a subscription of this id."""


@dataclass(frozen=True, slots=True)
class Repeatable:
    """A request that may come again, and is answered then as it was the first time.

    caller: whose request it is; another caller's key is another key. key: as it was sent. fingerprint: of everything
    that was asked. answer: of the row as it is when it is done; None where the answer is kept elsewhere.
    """

    caller: str
    key: str
    fingerprint: str
    answer: Callable[[Row], Mapping[str, object] | None]


@dataclass(frozen=True, slots=True)
class AskedBy:
    """Who asks, when (as the subscription counts time), and whether the request may come again."""

    by: str
    now: datetime
    again: Repeatable | None = None


def etag(row: Row) -> str:
    """The entity tag of a row, in quotes."""
    covered = {name: _plain(row[name]) for name in IN_ENTITY_TAG if name in row}
    covered["status"] = _LIVE if is_live(row) else _plain(row.get("status"))
    digest = sha256(json.dumps(covered, sort_keys=True).encode()).hexdigest()[:16]
    return f'"{_version(row)}-{digest}"'


class Register:
    """The subscriptions table, the ledger beside it, and the changes. All reads of one subscription are consistent.

    What writes raises Overtaken where another was faster, or the row is no longer what was read; Collision where
    others keep writing the same items; and botocore's errors where AWS fails.
    """

    def __init__(self, client: DynamoDBClient, *, subscriptions: str, renewals: str, changes: str) -> None:
        self._client = client
        self._subscriptions = subscriptions
        self._changes = changes
        self.ledger = Ledger(client, renewals=renewals, subscriptions=subscriptions)

    # Reading

    def row(self, subscription_id: str) -> Row | None:
        """The subscription's row; None where there is none. Raises BadRow where it has more than one customer."""
        rows = self.ledger.rows(subscription_id)
        if len(rows) > 1:
            raise BadRow("customer_id", "the subscription has more than one customer")
        return rows[0] if rows else None

    def find(
        self,
        *,
        customer_id: str | None,
        status: str | None,
        limit: int,
        after: tuple[str, str] | None,
        today: Callable[[Row], date],
    ) -> tuple[list[Row], tuple[str, str] | None]:
        """Rows of a customer, of a status, of both or of neither, and after which there may be more.

        after: subscription and customer id of the last one before. today: the day on which a row is looked at, since
        the status of one that has come to its end is `canceled`. A status alone is looked for in the whole table,
        2,000 rows at a time, so that a page may hold few of its rows, or none, and still not be the last.
        """
        found: list[Row] = []
        for _ in range(_MOST_PAGES):
            answer = self._found(customer_id, status, after)
            rows = map(dynamodb.plain, answer["Items"])
            found += [row for row in rows if status in (None, subscription.status_on(row, today(row)))]
            if len(found) > limit:
                found = found[:limit]
                return found, _ids(found[-1])
            if "LastEvaluatedKey" not in answer:
                return found, None
            after = _ids(dynamodb.plain(answer["LastEvaluatedKey"]))
        return found, after

    def changes(self, subscription_id: str) -> tuple[list[Change], bool]:
        """The latest changes, at most 250, and whether these are all. The creation is always among them."""
        page = self._client.query(
            TableName=self._changes,
            KeyConditionExpression="subscription_id = :id",
            ExpressionAttributeValues=dynamodb.attributes({":id": subscription_id}),
            ScanIndexForward=False,
            Limit=_MOST_TOLD,
            ConsistentRead=True,
        )
        return [_change(dynamodb.plain(item)) for item in page["Items"]], "LastEvaluatedKey" not in page

    def history(self, row: Row, zone: tzinfo, today: date | None = None) -> tuple[list[Entry], bool]:
        """What happened to the subscription, oldest first, and whether this is all: of a long history it is the latest
        250 periods and changes. zone: the business's. today: as for renewals.domain.timeline."""
        subscription_id = text(row, "subscription_id")
        items, older = self.ledger.page(subscription_id, limit=_MOST_PERIODS)
        changes, all_changes = self.changes(subscription_id)
        return timeline(row, items, changes, zone, today), all_changes and older is None

    def has_open_charge(self, row: Row) -> bool:
        """Whether a charge of the subscription was begun, or refused, or has failed, and may still be paid."""
        return self._recent(row).has_open_charge

    def next_charges(self, row: Row, today: date, count: int) -> Preview:
        """The next `count` charges, as they can be told today. Raises BadRow."""
        checked = subscription.parse(row)
        history = self.ledger.history(checked.subscription_id, checked.customer_id)
        checked = spans.past_what_is_paid(checked, history)
        refused = history.unsettled
        failed = _failed_with(checked, history)
        reaches = spans.may_overlap(checked, unless_told=False)
        resumed: date | None = None
        if checked.status is SubscriptionStatus.PAUSED or pauses.was_resumed_by_hand(checked):
            items, _ = self.ledger.page(checked.subscription_id, limit=_PAGE)
            resumed = pauses.resumption(checked, today, history, items).until
        shown = preview(
            checked,
            today=today,
            count=count,
            refused=refused,
            failed=failed,
            card=reminders.known_card(checked),
            resumed=resumed,
            paid_until=history.paid_until,
        )
        return self._unpaid(shown, checked if resumed is None else None, history, refused, all_of_it=reaches)

    def _unpaid(
        self,
        shown: Preview,
        due: Subscription | None,
        history: History,
        refused: Renewal | None,
        *,
        all_of_it: bool,
    ) -> Preview:
        """The charges before the first one that is rejected, since a day of its period is paid or a date that its claim
        would write was billed before. due: the subscription, where its own date is billed from. Raises BadRow
        where the very next one is."""
        for n, charge in enumerate(shown.charges):
            if refused is not None and charge.start == refused.renewal_date:
                continue
            first = due.renewal_date if due and n == 0 else charge.start
            known = self.ledger.reaching(min(first, charge.start), charge.end, history, all_of_it=all_of_it)
            try:
                spans.check(charge.start, charge.end, known)
                if due and n == 0:
                    spans.check_free(charge.start, list(due.schedule.due(first, charge.start)), known, history)
            except BadRow as bad:
                if n == 0:
                    raise
                return Preview(shown.charges[:n], f"The next charge is rejected: {bad}.")
        return shown

    def fault(self, row: Row, today: date, *, of_many: bool = False) -> BadRow | None:
        """Why the subscription cannot be charged as it stands; None where it can.

        Whether its period reaches into one that is paid is asked of the ledger, unless the row rules that out by the
        end of what was paid last; and of one that is due, whether its renewal failed. of_many: the row is one of a
        list, and the ledger is asked only of a row that names this end.

        The fault is that of a webhook, whose execution knows the latest ten periods. The execution of the sweep knows
        the period of the row's own date too, however old: where that period is paid, the sweep moves the row past the
        period all the same, and where that period came to nothing, the sweep bills the row.
        """
        try:
            checked = subscription.parse(row)
            if checked.status.is_live and spans.may_overlap(checked, unless_told=not of_many):
                self.next_charges(row, today, 1)
        except BadRow as bad:
            return bad
        if of_many or checked.status.has_ended or checked.renewal_date > today:
            return None
        failed = _failed_with(checked, self.ledger.recent(checked.subscription_id))
        found = wording.fault_of(failed.reason) if failed else None
        return BadRow(*found) if found else None

    def rows(self, keys: Iterable[tuple[str, str]]) -> Iterator[tuple[str, Row]]:
        """Those of these subscriptions that are there, each with its id, in no order. keys: subscription and customer
        id, each once."""
        wanted = ({"subscription_id": each, "customer_id": customer} for each, customer in keys)
        for row in dynamodb.get_all(self._client, self._subscriptions, wanted):
            yield text(row, "subscription_id"), row

    def created(self, subscription_ids: Iterable[str]) -> set[str]:
        """Those that were created here, whether they are still there or were deleted by hand. Each id once."""
        keys = ({"subscription_id": each, "change": _CREATION} for each in subscription_ids)
        return {text(item, "subscription_id") for item in dynamodb.get_all(self._client, self._changes, keys)}

    def answered(self, again: Repeatable) -> Answer | None:
        """What this request was answered the first time; None where this is the first time, or where the answer is
        still to come. Raises KeyUsed."""
        item = self._answer(_key_of(again))
        if item is None:
            return self._answered_before_keys_had_callers(again)
        if item["fingerprint"] != again.fingerprint:
            raise KeyUsed(again.key)
        return _answer_of(item)

    def _answered_before_keys_had_callers(self, again: Repeatable) -> Answer | None:
        """As answered, of an answer that an earlier version kept in the last seven days, which does not say whose it
        is: the change that was recorded with it does."""
        item = self._answer({"subscription_id": _request(again.key), "change": "answer"})
        answer = _answer_of(item) if item else None
        if item is None or answer is None or item["fingerprint"] != again.fingerprint:
            return None
        at = datetime.fromtimestamp(int(number(item, "expires_at")), UTC) - _REMEMBERED
        changes, _ = self.changes(str(answer["subscription"]["subscription_id"]))
        own = any(is_of(change.by, again.caller) and abs(change.at - at) < _A_MOMENT for change in changes)
        return answer if own else None

    def _answer(self, key: Mapping[str, str]) -> Item | None:
        found = self._client.get_item(TableName=self._changes, Key=dynamodb.attributes(key), ConsistentRead=True)
        return dynamodb.plain(found["Item"]) if "Item" in found else None

    # Changing

    def create(self, row: Row, asked: AskedBy) -> Row:
        """Put a new subscription in; the row. Raises Taken, and Overtaken where the request was answered meanwhile.

        The record of its creation stands under a key of its own, so that two of one id cannot be created side by
        side, whatever their customers, nor one anew whose history is in the ledger.
        """
        subscription_id = text(row, "subscription_id")
        if self.ledger.rows(subscription_id):
            raise Taken(subscription_id)
        new = {**row, "version": Decimal(1)}
        created = _record(subscription_id, ChangeKind.CREATED, asked, {})
        actions = [
            self._put(self._subscriptions, new),
            self._put(self._changes, created | {"change": _CREATION}),
            *self._remembered(asked, new),
        ]
        try:
            dynamodb.transact(self._client, actions)
        except Overtaken as overtaken:
            if overtaken.failed.keys() == {2}:
                raise
            raise Taken(subscription_id) from None
        return new

    def edit(
        self,
        row: Row,
        changes: Mapping[str, Value],
        what: ChangeKind,
        asked: AskedBy,
        checks: Sequence[TransactAction] = (),
    ) -> Row:
        """Change a row, if it is what was read. changes: attribute to its new value, None for one that goes. checks:
        further ones of that transaction.

        An edit that changes nothing is not written.
        """
        details = _details(row, changes)
        if what is ChangeKind.EDITED and not details:
            return dict(row)
        new = _applied(row, changes)
        watched = sorted({*WATCHED, *IN_ENTITY_TAG} - {"customer_id"})
        change = dynamodb.change(
            self._subscriptions, _key(row), {**changes, "version": new["version"]}, *dynamodb.as_read(row, watched)
        )
        recorded = self._recorded(row, new, what, details, asked)
        dynamodb.transact(self._client, [{"Update": change}, *recorded, *checks])
        return new

    def act(self, row: Row, action: Action, today: date, asked: AskedBy, given: Mapping[str, str] | None = None) -> Row:
        """A status change. given: attributes that change with it. Raises NotAllowed, BadRow where it needs a row that
        can be read, and Outdated where a charge has begun or gone on meanwhile."""
        changes = {**transitions.changes(row, action, today), **(given or {})}
        if action is Action.CANCEL_AT_PERIOD_END:
            return self._end_with_period(row, changes, today, asked)
        if action is Action.RESUME and status_of(row) is SubscriptionStatus.PAUSED:
            return self._resume(row, changes, today, asked)
        return self.edit(row, changes, _ACTIONS[action], asked)

    def _end_with_period(self, row: Row, changes: dict[str, Value], today: date, asked: AskedBy) -> Row:
        """The end is that of the period that is paid, or that of the one whose charge has begun: it goes on, and the
        subscription ends with it. A charge that its row no more stands by is none: the row may be due before the end of
        its period. What was made active by hand after a pause ends when what is paid does, or today: the sweep bills it
        from then on, and not from its date. The date that is answered holds: no charge may begin unseen while it is
        written."""
        due = str(row.get("renewal_date"))
        history = self._recent(row)
        claimed = (r for r in history if r.status is Status.CLAIMED and not r.withdrawn)
        begun = next((r for r in claimed if why_withdrawn(r, row) is None), None)
        if begun is not None:
            changes["cancel_at"] = begun.period_end.isoformat()
        elif pauses.NOTE in row and row[pauses.NOTE] == due:
            changes["cancel_at"] = pauses.resumption(subscription.parse(row), today, history).until.isoformat()
        on = subscription.renewal_date_of(row)
        standing = history.claimed_for(on) if on is not None else None
        still = self.ledger.stands_still(text(row, "subscription_id"), due, standing)
        return self.edit(row, changes, _ACTIONS[Action.CANCEL_AT_PERIOD_END], asked, [still])

    def _resume(self, row: Row, changes: Mapping[str, Value], today: date, asked: AskedBy) -> Row:
        """Paused time is never billed: what fell due in it is left as skipped, and what is billed next begins today."""
        checked = subscription.parse(row)
        history = self.ledger.history(checked.subscription_id, checked.customer_id)
        if history.unsettled is not None:
            raise NotAllowed("The subscription cannot be resumed: a payment from before its pause is not settled yet.")
        known = history.claimed_for(checked.renewal_date)
        if known is not None and known.paid_at is None and known.status is Status.FAILED:
            raise NotAllowed(
                "The subscription cannot be resumed: a renewal failed, and waits for a person to look at it."
            )
        items, _ = self.ledger.page(checked.subscription_id, limit=_PAGE)
        resumed = pauses.resumption(checked, today, history, items)
        moved = {**changes, "renewal_date": resumed.until.isoformat()}
        anchor = subscription.anchor_change(row, resumed.until)
        details, new = _details(row, moved), _applied(row, moved | anchor | {pauses.NOTE: None})
        self.ledger.apply(
            pass_over(
                checked,
                resumed.skipped,
                resumed.until,
                asked.now,
                resumed={**changes, pauses.NOTE: None, "version": new["version"]},
                recorded=self._recorded(row, new, ChangeKind.RESUMED, details, asked),
            )
        )
        return new

    def claim_refund(
        self, renewal: Renewal, name: str, claim: RefundRecord, asked: AskedBy, *, due: datetime
    ) -> Renewal:
        """Claim a refund of a period, and record who asked for it. name, claim: as in renewals.domain.refunds. due: the
        real moment."""
        details = {
            "amount": (None, claim["amount"]),
            "currency": (None, renewal.currency),
            "period": (None, renewal.renewal_date),
        }
        record = _record(renewal.subscription_id, ChangeKind.REFUNDED, asked, details)
        recorded = [self._put(self._changes, record), *self._remembered(asked, {})]
        return self.ledger.apply(refund_steps.claim_refund(renewal, name, claim, recorded, asked.now, due=due))

    def resend_mail(self, renewal: Renewal, asked: AskedBy) -> Renewal:
        """Let the mail of a receipt go out again, though it may have gone out. The next execution sends it."""
        details = {"period": (None, renewal.renewal_date), "mail": (MailState.UNKNOWN, "to be sent")}
        record = _record(renewal.subscription_id, ChangeKind.RESENT, asked, details)
        return self.ledger.apply(mail_steps.reopen_mail(renewal, [self._put(self._changes, record)], asked.now))

    def clear_mail_fault(self, row: Row, why: str, asked: AskedBy) -> Row:
        """Let the customer be mailed again at the address that the row has, though mail to it failed, came back or was
        reported as spam (renewals.domain.mail_faults). why: in words, for the timeline. Raises Overtaken where the row
        has another address or another fault by now."""
        cleared = mail_faults.address_of(row).cleared or 0
        changes = {mail_faults.FIELD: None, mail_faults.CLEARED: Decimal(cleared + 1)}
        new = _applied(row, changes)
        as_read = dynamodb.as_read(row, ("customer_email", "version", *changes))
        change = dynamodb.change(self._subscriptions, _key(row), {**changes, "version": new["version"]}, *as_read)
        stood = mail_faults.kind(row) or FaultKind.FAILED
        details = {"customer_email": (None, row.get("customer_email")), "fault": (stood, None), "why": (None, why)}
        dynamodb.transact(
            self._client, [{"Update": change}, *self._recorded(row, new, ChangeKind.MAIL_CLEARED, details, asked)]
        )
        return new

    def was_complained_of(self, subscription_id: str, address: str) -> bool:
        """Whether SES said that a mail about one of the latest periods, to this address, was reported as spam."""
        items, _ = self.ledger.page(subscription_id, limit=_MOST_PERIODS)
        said = (value for item in items for name, value in item.items() if name.startswith(RETURNED))
        told = [each for each in said if isinstance(each, dict)]  # anything else was written by hand
        return any(each.get("kind") == FaultKind.COMPLAINED and each.get("to") == address for each in told)

    def note(self, subscription_id: str, what: ChangeKind, asked: AskedBy) -> None:
        """Record that somebody asked for what changes no attribute."""
        record = _record(subscription_id, what, asked, {})
        dynamodb.transact(self._client, [self._put(self._changes, record)])

    def _recent(self, row: Row) -> History:
        """The latest periods of the row's own customer, newest first."""
        return self.ledger.history(*_ids(row))

    # How it is written

    def _found(
        self, customer_id: str | None, status: str | None, after: tuple[str, str] | None
    ) -> QueryOutputTypeDef | ScanOutputTypeDef:
        values: dict[str, str] = {}
        query: dict[str, Any] = {"TableName": self._subscriptions, "Limit": _PAGE}
        if status is not None:
            values[":status"] = status
            # What has come to its end is found by that, whatever its status says still.
            ended = " OR attribute_exists(cancel_at)" if status == SubscriptionStatus.CANCELED else ""
            query["FilterExpression"] = f"#status = :status{ended}"
            query["ExpressionAttributeNames"] = {"#status": "status"}
        if after is not None:
            start = {"subscription_id": after[0], "customer_id": after[1]}
            query["ExclusiveStartKey"] = dynamodb.attributes(start)
        if customer_id is not None:
            values[":customer"] = customer_id
            query["IndexName"], query["KeyConditionExpression"] = "customer-index", "customer_id = :customer"
        if values:
            query["ExpressionAttributeValues"] = dynamodb.attributes(values)
        return self._client.scan(**query) if customer_id is None else self._client.query(**query)

    def _recorded(self, row: Row, new: Row, what: ChangeKind, details: Details, asked: AskedBy) -> list[TransactAction]:
        record = _record(text(row, "subscription_id"), what, asked, details)
        return [self._put(self._changes, record), *self._remembered(asked, new)]

    def _remembered(self, asked: AskedBy, new: Row) -> list[TransactAction]:
        if asked.again is None:
            return []
        item = {
            **_key_of(asked.again),
            "fingerprint": asked.again.fingerprint,
            "answer": json.dumps(asked.again.answer(new)),
            "expires_at": int((datetime.now(asked.now.tzinfo) + _REMEMBERED).timestamp()),
        }
        return [self._put(self._changes, item)]

    def _put(self, table: str, item: Mapping[str, object]) -> TransactAction:
        free = "attribute_not_exists(subscription_id)"
        return {"Put": {"TableName": table, "Item": dynamodb.attributes(item), "ConditionExpression": free}}


def _failed_with(checked: Subscription, history: Iterable[Renewal]) -> Renewal | None:
    """The renewal from the row's date on that failed, unless customer or card have been changed since."""
    for each in history:
        charged = each.customer_id, each.gateway_customer, each.payment_method
        same = charged == (checked.customer_id, checked.gateway_customer, checked.payment_method)
        if each.status is Status.FAILED and same and each.was_claimed_for(checked.renewal_date):
            return each if each.paid_at is None else None
    return None


def _applied(row: Row, changes: Mapping[str, Value]) -> dict[str, Value]:
    """The row as the table has it after the changes."""
    new = {**row, **changes, "version": Decimal(_version(row) + 1)}
    return {name: storable(value) for name, value in new.items() if value is not None}


def _details(row: Row, changes: Mapping[str, Value]) -> Details:
    """What differs, before and after; an amount with its currency, whether that differs or not."""
    changed = {name for name, new in changes.items() if row.get(name) != new}
    kept = changed | ({"currency"} & changes.keys() if "amount" in changed else set())
    return {name: (row.get(name), changes[name]) for name in changes if name in kept}


def _version(row: Row) -> int:
    """How often the row was changed here; a row that was written by hand may lack it, or have anything in its place."""
    version = row.get("version")
    return int(version) if isinstance(version, Decimal) and version.is_finite() else 0


def _ids(row: Row) -> tuple[str, str]:
    """The key of a row: subscription and customer id."""
    return text(row, "subscription_id"), text(row, "customer_id")


def _key(row: Row) -> dict[str, Value]:
    return {"subscription_id": row["subscription_id"], "customer_id": row["customer_id"]}


def _answer_of(item: Item) -> Answer | None:
    """The answer that an item keeps; None where the answer is kept elsewhere."""
    answer: Answer | None = json.loads(text(item, "answer"))
    return answer


def _key_of(again: Repeatable) -> dict[str, str]:
    return {"subscription_id": _request(f"{again.caller} {again.key}"), "change": "answer"}


def _request(key: str) -> str:
    """A slash stands in no subscription's id, and a blank in no ARN and no idempotency key."""
    return f"request/{sha256(key.encode()).hexdigest()}"


def _record(
    subscription_id: str, what: ChangeKind, asked: AskedBy, details: Mapping[str, tuple[object, object]]
) -> dict[str, object]:
    return {
        "subscription_id": subscription_id,
        "change": f"{asked.now.isoformat(timespec='microseconds')}/{uuid4().hex[:8]}",
        "at": asked.now,
        "by": asked.by,
        "what": what,
        "details": {
            name: [without_personal_data(name, storable(each)) for each in pair] for name, pair in details.items()
        },
    }


def _change(item: Item) -> Change:
    details = {name: _pair(each) for name, each in fields(item, "details").items()}
    return Change(moment(item, "at"), text(item, "by"), member(ChangeKind, text(item, "what")), details)


def _pair(kept: Value) -> tuple[Value, Value]:
    """A value before and after. Raises TypeError and ValueError for what is no pair."""
    if not isinstance(kept, list):
        raise TypeError("no list")
    old, new = kept
    return old, new


def _plain(value: object) -> str:
    """A value of any type as JSON takes it, equal amounts alike."""
    return f"{value.normalize():f}" if isinstance(value, Decimal) else repr(value)
