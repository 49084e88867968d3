"""The register of subscriptions: people and programs read the subscriptions here, and change them.

A change is one transaction of three parts: the row, on the condition that the row is as read; the record of the change;
and the answer to a request with an idempotency key.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, tzinfo
from decimal import Decimal
from typing import TYPE_CHECKING

from renewals.domain import mail_faults, pauses, subscription, transitions
from renewals.domain.changes import ChangeKind, Details
from renewals.domain.errors import BadRow, Overtaken, RenewalError
from renewals.domain.item_values import Value, storable, text
from renewals.domain.mail_faults import FaultKind
from renewals.domain.renewal import MailState, Renewal, Status
from renewals.domain.renewal_history import History
from renewals.domain.renewal_items import RETURNED
from renewals.domain.row_attributes import IN_ENTITY_TAG
from renewals.domain.subscription import SubscriptionStatus, status_of
from renewals.domain.timeline import timeline
from renewals.domain.timeline_entries import Entry
from renewals.domain.transitions import Action, NotAllowed, Standing
from renewals.ledger import mail_steps, refund_steps
from renewals.ledger.asked_by import AskedBy
from renewals.ledger.change_records import ChangeRecords
from renewals.ledger.entity_tags import version
from renewals.ledger.payment_steps import why_withdrawn
from renewals.ledger.remembered_answers import RememberedAnswers
from renewals.ledger.row_search import RowSearch
from renewals.ledger.row_steps import WATCHED, pass_over
from renewals.ledger.steps import Row
from renewals.ledger.table import Ledger
from renewals.runtime import dynamodb
from renewals.runtime.attribute_values import TransactAction

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

    from renewals.domain.stored import RefundRecord

_ACTIONS = {
    Action.CANCEL_NOW: ChangeKind.CANCELED,
    Action.CANCEL_AT_PERIOD_END: ChangeKind.ENDING,
    Action.PAUSE: ChangeKind.PAUSED,
    Action.RESUME: ChangeKind.RESUMED,
    Action.GIVE_CARD: ChangeKind.CARD,
}
_PAGE = 200
_MOST_PERIODS = 250


class Taken(RenewalError):  # noqa: N818
    """A subscription of this id exists, or existed before."""


class Register:
    """The subscriptions table, and beside the table the ledger, the records of changes and the remembered answers.

    All reads of one subscription are consistent. A method that writes raises Overtaken if the row is no longer as read,
    Collision if other writers keep writing the same items, and botocore's errors if AWS fails.
    """

    def __init__(self, client: DynamoDBClient, *, subscriptions: str, renewals: str, changes: str) -> None:
        self._client = client
        self._subscriptions = subscriptions
        self.ledger = Ledger(client, renewals=renewals, subscriptions=subscriptions)
        self.changes = ChangeRecords(client, changes)
        self.search = RowSearch(client, subscriptions)
        self.answers = RememberedAnswers(client, changes, self.changes)

    # Reading

    def row(self, subscription_id: str) -> Row | None:
        """Return the row; None if the subscription does not exist. Raises BadRow if two customers have a row."""
        rows = self.ledger.rows(subscription_id)
        if len(rows) > 1:
            raise BadRow("customer_id", "the subscription has more than one customer")
        return rows[0] if rows else None

    def rows(self, keys: Iterable[tuple[str, str]]) -> Iterator[tuple[str, Row]]:
        """Return the existing rows, each with the subscription's id, in no order.

        Each key is a subscription id with the customer id. No key may be named twice.
        """
        wanted = ({"subscription_id": each, "customer_id": customer} for each, customer in keys)
        for row in dynamodb.get_all(self._client, self._subscriptions, wanted):
            yield text(row, "subscription_id"), row

    def timeline(self, row: Row, zone: tzinfo, today: date | None = None) -> tuple[list[Entry], bool]:
        """Return the timeline, the oldest entry first, and whether the timeline is complete.

        A long timeline has only the latest 250 periods and the latest 250 changes. A change whose record was written by
        hand and cannot be read is left out, and the timeline is not complete. `zone` is the time zone of the
        business, `today` the day on which the timeline is read.
        """
        subscription_id = text(row, "subscription_id")
        items, older = self.ledger.page(subscription_id, limit=_MOST_PERIODS)
        changes, unreadable, all_changes = self.changes.readable(subscription_id)
        return timeline(row, items, changes, zone, today), all_changes and not unreadable and older is None

    def has_open_charge(self, row: Row) -> bool:
        """Whether an unpaid charge of the row is open: begun, refused, or failed after its payment was created."""
        return self._recent(row).has_open_charge

    def has_work(self, row: Row, today: date) -> bool:
        """Whether the row has work for the workflow: a due payment, a refused payment, or an open payment of a
        subscription that is no longer live. The workflow gives up the open payment of a subscription that is no longer
        live."""
        live = subscription.is_live(row)
        due = live and str(row.get("renewal_date")) <= today.isoformat()
        return due or "next_attempt" in row or (not live and self.has_open_charge(row))

    def was_complained_of(self, subscription_id: str, address: str) -> bool:
        """Whether SES reported a spam complaint about a mail to this address, among the mails of the latest periods."""
        items, _ = self.ledger.page(subscription_id, limit=_MOST_PERIODS)
        said = (value for item in items for name, value in item.items() if name.startswith(RETURNED))
        told = [each for each in said if isinstance(each, dict)]  # other values were written by hand
        return any(each.get("kind") == FaultKind.COMPLAINED and each.get("to") == address for each in told)

    # Changing

    def create(self, row: Row, asked: AskedBy) -> Row:
        """Create a subscription, and return the row in the table.

        The key of the creation's record names only the id, neither the customer nor the time. A second creation of the
        id has the same key, and is refused. Therefore two callers cannot create the same id at once, not even for two
        customers, and a deleted id, whose renewals are still in the ledger, cannot be created again.

        Raises:
            Taken: A subscription of this id exists, or existed before.
            Overtaken: The same request was answered in the meantime.
        """
        subscription_id = text(row, "subscription_id")
        if self.ledger.rows(subscription_id):
            raise Taken(subscription_id)
        created = {} if asked.imports else {subscription.CREATED_AT: storable(asked.now)}
        new = {**row, **created, "version": Decimal(1)}
        actions = [
            dynamodb.put(self._subscriptions, new, "attribute_not_exists(subscription_id)", {}),
            self.changes.creation(subscription_id, asked),
            *self.answers.remember(asked, new),
        ]
        try:
            dynamodb.transact(self._client, actions)
        except Overtaken as overtaken:
            if overtaken.failed.keys() == {2}:  # only the answer was there already
                raise
            raise Taken(subscription_id) from None
        return new

    def edit(
        self,
        row: Row,
        changes: Mapping[str, Value],
        what: ChangeKind,
        asked: AskedBy,
        beside: Sequence[TransactAction] = (),
    ) -> Row:
        """Change a row on the condition that the row is as read, and return the changed row.

        An edit without a change is not written.

        Args:
            row: The row as read.
            changes: The new value of each changed attribute; None removes an attribute.
            what: The kind of the change.
            asked: The origin of the change.
            beside: Further actions and conditions for the same transaction.
        """
        details = _details(row, changes)
        if what is ChangeKind.EDITED and not details:
            return dict(row)
        if "payment_method" in details:
            changes = {**changes, subscription.CARD_CHANGED_AT: storable(asked.at or asked.now)}
        new = _applied(row, changes)
        watched = sorted({*WATCHED, *IN_ENTITY_TAG} - {"customer_id"})
        change = dynamodb.change(
            self._subscriptions, _key(row), {**changes, "version": new["version"]}, *dynamodb.as_read(row, watched)
        )
        recorded = self._recorded(row, new, what, details, asked)
        dynamodb.transact(self._client, [{"Update": change}, *recorded, *beside])
        return new

    def act(
        self,
        row: Row,
        action: Action,
        today: date,
        asked: AskedBy,
        given: Mapping[str, str] | None = None,
        beside: Sequence[TransactAction] = (),
    ) -> Row:
        """Change the status, with the further attributes in `given`, and return the changed row. `beside` has further
        actions and conditions for the same transaction.

        Raises:
            NotAllowed: The action may not follow the present status.
            BadRow: The action needs an attribute that cannot be read.
            Outdated: Since the read, a charge has begun, or the status of a charge has changed.
        """
        changes = {**transitions.changes(row, action, today), **(given or {})}
        if action is Action.CANCEL_AT_PERIOD_END:
            return self._end_with_period(row, changes, today, asked, beside)
        if action is Action.RESUME and status_of(row) is SubscriptionStatus.PAUSED:
            return self._resume(row, changes, today, asked, beside)
        return self.edit(row, changes, _ACTIONS[action], asked, beside)

    def _end_with_period(
        self, row: Row, changes: dict[str, Value], today: date, asked: AskedBy, beside: Sequence[TransactAction]
    ) -> Row:
        """Cancel the subscription at the end of the paid period, or of the period whose charge has begun.

        A charge that has begun goes on, and the subscription ends with the charged period. A begun charge that the row
        no longer permits (why_withdrawn) does not count as begun here, because the charge will be given up. If the
        subscription lasted until the end of the given-up period, a further period could begin before this end and be
        billed.

        Without a begun charge, the subscription ends on the renewal date, where the paid period ends. After a pause
        that people ended by hand, the renewal date is not the end of the paid period, because the sweep moved the date
        during the pause. The subscription then ends on the day from which the sweep would bill next: the day after the
        paid days, or today if today is later.

        The end date in the answer holds, since the transaction fails if a charge begins in the meantime.
        """
        history = self._recent(row)
        changes["cancel_at"] = end = self.end_of_period(row, today, history)
        if isinstance(row.get("cancel_at"), str) and str(row["cancel_at"]) <= str(end):
            raise transitions.not_allowed(Action.CANCEL_AT_PERIOD_END, Standing.ENDING)
        on = subscription.renewal_date_of(row)
        standing = history.claimed_for(on) if on is not None else None
        still = self.ledger.stands_still(text(row, "subscription_id"), str(row.get("renewal_date")), standing)
        return self.edit(row, changes, _ACTIONS[Action.CANCEL_AT_PERIOD_END], asked, [still, *beside])

    def end_of_period(self, row: Row, today: date, history: History) -> Value:
        """Return the `cancel_at` that a cancellation at the end of the period would set now; see _end_with_period."""
        claimed = (r for r in history if r.status is Status.CLAIMED and not r.withdrawn)
        begun = next((r for r in claimed if why_withdrawn(r, row) is None), None)
        if begun is not None:
            return begun.period_end.isoformat()
        if pauses.NOTE in row and row[pauses.NOTE] == str(row.get("renewal_date")):
            return pauses.resumption(subscription.parse(row), today, history).until.isoformat()
        return row.get("renewal_date")

    def _resume(
        self, row: Row, changes: Mapping[str, Value], today: date, asked: AskedBy, beside: Sequence[TransactAction]
    ) -> Row:
        """Resume a paused subscription. Periods that fell due in the pause are skipped.

        The next period begins today, or after the paid days if the paid days reach beyond today.
        """
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
                recorded=[*self._recorded(row, new, ChangeKind.RESUMED, details, asked), *beside],
            )
        )
        return new

    def claim_refund(
        self, renewal: Renewal, name: str, claim: RefundRecord, asked: AskedBy, *, due: datetime
    ) -> Renewal:
        """Claim a refund of a paid period, and record the request.

        `name` and `claim` are the name and the record of the refund, as in renewals.domain.refunds. From the moment
        `due` on, the sweep settles a refund that is still open. `due` is a moment in real time, whereas `asked.now` may
        be a moment of the subscription's test clock.
        """
        details = {
            "amount": (None, claim["amount"]),
            "currency": (None, renewal.currency),
            "period": (None, renewal.renewal_date),
        }
        record = self.changes.record(renewal.subscription_id, ChangeKind.REFUNDED, asked, details)
        recorded = [record, *self.answers.remember(asked, {})]
        return self.ledger.apply(refund_steps.claim_refund(renewal, name, claim, recorded, asked.now, due=due))

    def resend_mail(self, renewal: Renewal, asked: AskedBy) -> Renewal:
        """Reopen the mail of a receipt: the next execution sends the mail again. The mail may have gone out before."""
        details = {"period": (None, renewal.renewal_date), "mail": (MailState.UNKNOWN, "to be sent")}
        record = self.changes.record(renewal.subscription_id, ChangeKind.RESENT, asked, details)
        return self.ledger.apply(mail_steps.reopen_mail(renewal, [record], asked.now))

    def clear_mail_fault(self, row: Row, why: str, asked: AskedBy) -> Row:
        """Allow mail to the row's address again after mail failed, came back or was reported as spam; return the row.

        renewals.domain.mail_faults tells the faults of an address. `why` is the reason in words, for the timeline.

        Raises:
            Overtaken: The row has a new address or a new fault by now.
        """
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

    # Parts of the above

    def _recent(self, row: Row) -> History:
        """Return the latest periods of the row's customer, the newest period first."""
        return self.ledger.history(*_ids(row))

    def _recorded(self, row: Row, new: Row, what: ChangeKind, details: Details, asked: AskedBy) -> list[TransactAction]:
        record = self.changes.record(text(row, "subscription_id"), what, asked, details)
        return [record, *self.answers.remember(asked, new)]


def _applied(row: Row, changes: Mapping[str, Value]) -> dict[str, Value]:
    """Return the row after the changes, as stored in the table, with the next version."""
    new = {**row, **changes, "version": Decimal(version(row) + 1)}
    return {name: storable(value) for name, value in new.items() if value is not None}


def _details(row: Row, changes: Mapping[str, Value]) -> Details:
    """Return the changed attributes, before and after.

    If the amount changes and `changes` names the currency, the currency is returned too, changed or not.
    """
    changed = {name for name, new in changes.items() if row.get(name) != new}
    kept = changed | ({"currency"} & changes.keys() if "amount" in changed else set())
    return {name: (row.get(name), changes[name]) for name in changes if name in kept}


def _ids(row: Row) -> tuple[str, str]:
    """Return the subscription id and the customer id of a row."""
    return text(row, "subscription_id"), text(row, "customer_id")


def _key(row: Row) -> dict[str, Value]:
    return {"subscription_id": row["subscription_id"], "customer_id": row["customer_id"]}
