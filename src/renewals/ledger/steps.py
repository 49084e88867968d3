"""The steps of a renewal as values: the changes of each step, and the conditions on them. No function reads or writes.

renewals.ledger.table carries a step out. The conditions of a step are lists of terms, which can be listed, printed
(docs/ledger.md) and tested one by one. The steps are defined by subject:

    claim_steps      claims of billing periods
    payment_steps    payments of claimed periods, and their results
    dunning_steps    refused periods: retried, moved to the next dunning date, given up
    receipt_steps    receipts of payments and of refunds
    mail_steps       mails: claimed, sent, owed, parked, returned
    refund_steps     refunds
    dispute_steps    disputes
    row_steps        a subscription that moves without a charge

Decision: D200 (DECISIONS.md).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from renewals.domain.item_values import Item
from renewals.domain.renewal import UNFINISHED, Renewal
from renewals.domain.renewal_items import replaced, shard
from renewals.runtime.attribute_values import TransactAction

if TYPE_CHECKING:
    from renewals.domain.subscription import Subscription

LEASE = timedelta(seconds=40)
"""How long an execution owns a renewal after its last step. The lease is longer than a task together with the wait
before its retry, and longer than a function runs. tests/unit/test_leases.py checks the waits that depend on the lease
against the lease's length."""

MOST_ACTIONS = 100  # https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html

type Row = Item
"""The raw attributes of a subscription, valid or not."""


class Table(StrEnum):
    """The table that an action is about."""

    RENEWALS = "renewals"
    SUBSCRIPTIONS = "subscriptions"


class Term(NamedTuple):
    """One term of a condition.

    Attributes:
        text: the term in DynamoDB's language, with reserved names after a #.
        values: the named values, under names with a colon.
    """

    text: str
    values: Mapping[str, object]


type Condition = tuple[Term, ...]
"""A condition holds if all of its terms hold."""


class Update(NamedTuple):
    """Changes of an item. changes: the new value by attribute, or by path with dots; None removes the attribute."""

    table: Table
    key: Mapping[str, object]
    changes: Mapping[str, object]
    condition: Condition


class Put(NamedTuple):
    """A whole item.

    Attributes:
        may_stand: whether the rest of the step is written even if the condition does not hold; the existing item stays
            in that case.
    """

    table: Table
    item: Mapping[str, object]
    condition: Condition
    may_stand: bool = False


class Check(NamedTuple):
    """A condition on an item that does not change."""

    table: Table
    key: Mapping[str, object]
    condition: Condition


type Action = Update | Put | Check


@dataclass(frozen=True, slots=True)
class Step[After]:
    """The changes of one call, written all together or not at all.

    Attributes:
        after: the renewal after the step; None if only a subscription moves.
        beside: further actions of the transaction on other tables, in DynamoDB's form.
        guards: checks in DynamoDB's form. If a guard fails, trying again does not help, and the ledger raises
            GuardRefused.
        otherwise: the step to take if the condition of this step does not hold.
        then: a further step, written afterwards in a call of its own. If the condition of the further step does not
            hold, the table has newer data, and the further step is dropped.
    """

    after: After
    actions: tuple[Action, ...]
    beside: Sequence[TransactAction] = ()
    guards: Sequence[TransactAction] = ()
    otherwise: "Step[After] | None" = None
    then: "Step[None] | None" = None


# Terms that several steps share


def same_claim(renewal: Renewal) -> Term:
    """The period has not been claimed anew."""
    return Term("claim = :claim", {":claim": renewal.claim})


def same_attempt(renewal: Renewal) -> Term:
    """No further attempt has begun."""
    return Term("attempt = :attempt", {":attempt": renewal.attempt})


def same_status(renewal: Renewal) -> Term:
    """The period has the status that was read."""
    return Term("#status = :was", {":was": renewal.status})


def same_owner(renewal: Renewal) -> Term:
    """No other execution has taken the period over."""
    return Term("#owner = :owner", {":owner": renewal.owner})


def same_lease(renewal: Renewal) -> Term:
    """The period was not taken since the read, not even by a retry of the same execution."""
    return Term("lease_until = :until", {":until": renewal.lease_until})


def no_payment() -> Term:
    """The claim holds no payment yet."""
    return Term("attribute_not_exists(payment_id)", {})


def as_read(item: Mapping[str, object], watched: Collection[str]) -> Condition:
    """The attributes have the values that were read; absent attributes are still absent."""
    return tuple(
        Term(f"#{name} = :{name}", {f":{name}": item[name]})
        if name in item
        else Term(f"attribute_not_exists(#{name})", {})
        for name in watched
    )


def refunds_as_read(renewal: Renewal) -> Condition:
    """No refund of the period was claimed or asked about since the read."""
    return as_read({} if renewal.refunds_due is None else {"refunds_due": renewal.refunds_due}, ("refunds_due",))


def stands_as_read(renewal: Renewal) -> Condition:
    """The period has the status and the owed notice that were read, and no refund was claimed or asked about since."""
    stands = {"status": renewal.status, "notice": renewal.notice}
    known = {name: value for name, value in stands.items() if value is not None}
    return as_read(known, tuple(stands)) + refunds_as_read(renewal)


# Changes that several steps share


def change(renewal: Renewal, changes: Mapping[str, object], condition: Condition, now: datetime) -> Update:
    """Return the changes of a period, together with the resulting changes of the index of unfinished work."""
    every = {**changes, "touched_at": now}
    if "status" in changes:
        open_still = changes["status"] in UNFINISHED or changes.get("notice") or renewal.refunds_due
        every = {"unfinished": shard(renewal.subscription_id) if open_still else None, **every}
    if "notice" in changes:
        every = {"parked": None, **every}
    if changes.get("notice") is not None:
        every["begun_at"] = now
    key = {"subscription_id": renewal.subscription_id, "renewal_date": renewal.renewal_date}
    return Update(Table.RENEWALS, key, every, condition)


def changed(renewal: Renewal, changes: Mapping[str, object], condition: Condition, now: datetime) -> Step[Renewal]:
    """Return the step that changes a period, and nothing else."""
    return Step(replaced(renewal, changes), (change(renewal, changes, condition, now),))


def row_key(of: "Renewal | Subscription") -> dict[str, str]:
    """Return the key of a subscription's row, given the subscription or a renewal of the subscription."""
    return {"subscription_id": of.subscription_id, "customer_id": of.customer_id}


def joined(condition: Condition) -> tuple[str, dict[str, object]]:
    """Return the text of a condition for DynamoDB, and the named values."""
    return " AND ".join(term.text for term in condition), {
        name: value for term in condition for name, value in term.values.items()
    }
