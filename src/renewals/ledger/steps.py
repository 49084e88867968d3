"""The steps of a renewal as values: what each changes, and under which condition. Nothing here reads or writes.

A step is taken by renewals.ledger.table. Its conditions are lists of terms, so that they can be
listed, printed (docs/ledger.md) and tried one by one. The steps themselves, by what they are about:

    payment_steps    the money: claims, payments, and what comes of them
    dunning_steps    what is refused: tried again, asked about on its dates, given up
    receipt_steps    receipts, of payments and of refunds
    mail_steps       mails: claimed, sent, owed, parked, returned
    refund_steps     refunds
    row_steps        a subscription that moves without a charge
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from renewals.domain.item_values import Item
from renewals.domain.renewal import UNFINISHED, Renewal, replaced, shard
from renewals.runtime.attribute_values import TransactAction

if TYPE_CHECKING:
    from renewals.domain.subscription import Subscription

LEASE = timedelta(seconds=40)
"""How long an execution owns a renewal after its last step: longer than a task and the wait before its retry, and
longer than a function runs. The waits that hang on it are tied to it by tests/unit/test_leases.py."""

MOST_ACTIONS = 100  # https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html

type Row = Item
"""The raw attributes of a subscription, whatever is wrong with them."""


class Table(StrEnum):
    """Which table an action is about."""

    RENEWALS = "renewals"
    SUBSCRIPTIONS = "subscriptions"


class Term(NamedTuple):
    """One term of a condition. text: as DynamoDB reads it, reserved names after a #. values: those that it names, each
    under its name with a colon."""

    text: str
    values: Mapping[str, object]


type Condition = tuple[Term, ...]
"""All of the terms hold."""


class Update(NamedTuple):
    """Changes of an item. changes: attribute, or path with dots, to its new value; None removes it."""

    table: Table
    key: Mapping[str, object]
    changes: Mapping[str, object]
    condition: Condition


class Put(NamedTuple):
    """A whole item. may_stand: where the condition does not hold, the item that is there stays, and all the rest of the
    step is written."""

    table: Table
    item: Mapping[str, object]
    condition: Condition
    may_stand: bool = False


class Check(NamedTuple):
    """A condition on an item that is not changed."""

    table: Table
    key: Mapping[str, object]
    condition: Condition


type Action = Update | Put | Check


@dataclass(frozen=True, slots=True)
class Step[After]:
    """What is written in one call, all of it or nothing. after: how the renewal stands then; None where only a
    subscription moves.

    beside: further actions in one transaction with these, of other tables, as DynamoDB takes them.
    guards: as beside: checks whose failure no other try helps against; the ledger raises GuardRefused.
    otherwise: the step that is taken where the condition of this one does not hold.
    then: a further step, in a call of its own. Where its condition does not hold, what somebody wrote meanwhile stands.
    """

    after: After
    actions: tuple[Action, ...]
    beside: Sequence[TransactAction] = ()
    guards: Sequence[TransactAction] = ()
    otherwise: "Step[After] | None" = None
    then: "Step[None] | None" = None


# Terms that several steps have


def same_claim(renewal: Renewal) -> Term:
    """Nobody has claimed the period anew."""
    return Term("claim = :claim", {":claim": renewal.claim})


def same_attempt(renewal: Renewal) -> Term:
    """No further attempt has begun."""
    return Term("attempt = :attempt", {":attempt": renewal.attempt})


def same_status(renewal: Renewal) -> Term:
    """The period has come no further than it was read."""
    return Term("#status = :was", {":was": renewal.status})


def same_owner(renewal: Renewal) -> Term:
    """No other execution has taken the period over."""
    return Term("#owner = :owner", {":owner": renewal.owner})


def same_lease(renewal: Renewal) -> Term:
    """Nobody has taken the period since it was read, the same execution in another try included."""
    return Term("lease_until = :until", {":until": renewal.lease_until})


def no_payment() -> Term:
    """The claim holds no payment yet."""
    return Term("attribute_not_exists(payment_id)", {})


def as_read(item: Mapping[str, object], watched: Collection[str]) -> Condition:
    """These attributes are what was read, absent ones absent still."""
    return tuple(
        Term(f"#{name} = :{name}", {f":{name}": item[name]})
        if name in item
        else Term(f"attribute_not_exists(#{name})", {})
        for name in watched
    )


def refunds_as_read(renewal: Renewal) -> Condition:
    """No refund of the period was claimed or looked at since it was read."""
    return as_read({} if renewal.refunds_due is None else {"refunds_due": renewal.refunds_due}, ("refunds_due",))


def stands_as_read(renewal: Renewal) -> Condition:
    """The period stands as it was read, owes the same notice, and no refund of it was claimed or looked at since."""
    stands = {"status": renewal.status, "notice": renewal.notice}
    known = {name: value for name, value in stands.items() if value is not None}
    return as_read(known, tuple(stands)) + refunds_as_read(renewal)


# What several steps write


def change(renewal: Renewal, changes: Mapping[str, object], condition: Condition, now: datetime) -> Update:
    """Changes of a period, with what follows from them for the index of unfinished work."""
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
    """The step that changes a period, and nothing else."""
    return Step(replaced(renewal, changes), (change(renewal, changes, condition, now),))


def row_key(of: "Renewal | Subscription") -> dict[str, str]:
    """The key of a subscription, by anything that names it."""
    return {"subscription_id": of.subscription_id, "customer_id": of.customer_id}
